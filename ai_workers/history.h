/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was said and done in one call, in the call's own memory: the transcripts of both sides and the functions that were called. When
 * the service has lost a session, a new one is told of it, so that the conversation goes on. Bounded, the newest is kept. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define HISTORY_BYTES_MAX 16384u /* of text; about four minutes of talk, and four thousand tokens that every turn pays again */
#define HISTORY_TURN_MAX  4096u	 /* of one turn, its end is kept */
#define HISTORY_VALUE_MAX 512u	 /* of a function's arguments, and of its result */
#define HISTORY_TAIL_MAX  160u

enum history_role {
	HISTORY_CALLER,
	HISTORY_MODEL,
	HISTORY_NOTE, /* for the model to know, nobody has said it */
};

struct history_turn;

/* Owner: the call. Zeroed is empty. */
struct history {
	struct history_turn *first, *last;
	size_t bytes;
	bool closed; /* what comes next begins a new turn */
};

/* What a new session must know beyond what was said. */
enum history_owed {
	HISTORY_NOTHING, /* wait for the caller */
	HISTORY_ANSWER,	 /* the caller has asked, and has no answer */
	HISTORY_REST,	 /* the model was cut off */
};

/* A fragment of what one side says; fragments of a side follow each other in one turn. Worker loop. Without memory it is dropped. */
void history_say(struct history *history, enum history_role role, const char *text);

/* The turn is over. Worker loop. */
void history_end_turn(struct history *history);

/*
 * A function was called, and what came of it; both are JSON or any other text, `result` NULL: none will come. Worker loop. To be called once,
 * when the result is known or the call is given up, so that no session repeats it.
 */
void history_tool(struct history *history, const char *name, const char *arguments, const char *result);

/* Whether there is anything to tell. Worker loop. */
bool history_is_empty(const struct history *history);

/*
 * The end of what one side has said last, at most HISTORY_TAIL_MAX bytes from a word's beginning; "" when it has said nothing, or the
 * model has spoken since. Worker loop.
 */
const char *history_tail(const struct history *history, enum history_role role);

/*
 * What asks the model for what is owed, as a sentence for it; not for HISTORY_NOTHING. Worker loop. Returns `to`.
 */
char *history_request(const struct history *history, enum history_owed owed, char *to, size_t size);

/*
 * The message that tells a new session of everything (clientContent). It makes the model speak only when something is owed; a model
 * that takes history in no other way than as history (GEMINI_FEATURE_HISTORY) is asked by a message of its own behind it. Worker
 * loop. Returns its text, to be freed by the caller, or NULL when memory is short or the model takes none.
 */
char *history_seed(const struct history *history, const char *model, enum history_owed owed);

/* Free what it owns; it is empty behind. Worker loop. */
void history_free(struct history *history);
