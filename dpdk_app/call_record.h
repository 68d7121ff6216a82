/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is remembered of one call for its record: notes go in while it runs, one line of JSON comes out when it has ended
 * (doc/call-records.md). The same notes, read back from the journal, give the same record, so that a call survives the end of
 * the process. Pure: no I/O, time is a parameter. Control thread only.
 *
 * Memory is taken only when there is something to remember and is bounded: beyond CALL_RECORD_TURNS_MAX and the like nothing
 * more is kept of that list and the record says so ("truncated").
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#define CALL_RECORD_VERSION	1
#define CALL_RECORD_TURNS_MAX	65536u /* bytes of JSON kept of who said what */
#define CALL_RECORD_TOOLS_MAX	16384u /* the same of tool calls */
#define CALL_RECORD_GAPS_MAX	8192u  /* and of gaps */
#define CALL_RECORD_WORKERS_MAX 1024u
#define CALL_RECORD_TEXT_MAX	8192u /* bytes of what one side says in one turn */
#define CALL_RECORD_TIMES_MAX	1024u /* response times for the median; later ones count for the maximum only */

/* X(IDENTIFIER, "word of the journal") */
#define CALL_RECORD_NOTES(X)                                                                           \
	X(BOUND, "bound")	    /* the caller's stream was locked: "bound" */                      \
	X(WORKER, "worker")	    /* another one holds it: "worker", or null and "reason" */         \
	X(STATE, "state")	    /* of the conversation, as the worker reported it */               \
	X(TRANSCRIPT, "transcript") /* the same */                                                     \
	X(EVENT, "event")	    /* the same; a turn with the times that call_times_turn() gives */ \
	X(FULL, "full")		    /* what came later is not among the notes; of a lost call only */

enum call_record_note {
#define X(identifier, word) CALL_RECORD_##identifier,
	CALL_RECORD_NOTES(X)
#undef X
		CALL_RECORD_NOTE_COUNT
};

struct call_record;

/* The word of a note, and the note of a word; CALL_RECORD_NOTE_COUNT for none. Any thread. */
const char *call_record_word(enum call_record_note note);
enum call_record_note call_record_note_of(const char *word);

/*
 * Begin. `begin` holds the members that do not change (node, session, user, trunk, codec, local, remote) and "created_unix_ms".
 * Returns NULL with errno ENOMEM or EINVAL.
 */
struct call_record *call_record_new(const cJSON *begin);

/* Free; NULL is legal. */
void call_record_free(struct call_record *record);

/*
 * Something happened `at_ms` after the call was created. `body` is checked by the caller to be what worker_messages.c lets
 * through; a member that is missing or of another type changes nothing. Without memory the record is marked truncated.
 */
void call_record_add(struct call_record *record, enum call_record_note note, const cJSON *body, uint64_t at_ms);

/* Whether an event of that word changes anything in a record. Others, such as keys pressed, are not to be kept. Any thread. */
bool call_record_uses_event(const char *event);

/* Milliseconds after the beginning of the newest note, for a record whose call was lost. */
uint64_t call_record_last_ms(const struct call_record *record);

/*
 * The line, with its newline. `end` holds "end", "reason" and, unless the call was lost, what call_describe() says of it then.
 * Returns it, to be freed with free(), or NULL without memory.
 */
char *call_record_line(struct call_record *record, const cJSON *end, uint64_t at_ms);
