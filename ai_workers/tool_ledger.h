/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the model of one call has asked for and what became of it. Pure: calls, results and a clock in, answers out.
 *
 * The rules it keeps: whoever carries a function out is asked once; every call of the model is answered once on the connection
 * that waits for it, or given up by name (cancelled, lost); what comes too late changes nothing. The service asks again under a
 * new id when the caller spoke into a call that was still open, so a call is the same business as an earlier one
 *
 *   - with the arguments that the tool's `key` names, and the earlier one still waits or has succeeded;
 *   - without a `key`: with all the same arguments, and the earlier one still waits;
 *
 * and then gets its result. A model may leave ids out (Vertex AI); towards the platform every call has one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "tools.h"

#define TOOL_ID_SIZE	  65	/* of the platform's name for a call, NUL included */
#define TOOL_MODEL_ID_MAX 256u	/* bytes of the model's */
#define TOOL_ARGS_MAX	  8192u /* bytes of arguments, printed */
#define TOOL_RESULT_MAX	  8192u /* bytes of a result, printed: long ones have made the service close sessions */
#define TOOL_OPEN_MAX	  16u	/* calls without an answer at one time */
#define TOOL_LEDGER_MAX	  32u	/* calls remembered */
#define TOOL_CONFIRM_MS	  300u	/* what the model says so long after an answer, it says knowing it */

enum tool_state {
	TOOL_CALL_WAITING,   /* the platform, or a built-in, owes the result */
	TOOL_CALL_FOLLOWS,   /* it gets the result of `leader` */
	TOOL_CALL_ANSWERED,  /* the answer is there */
	TOOL_CALL_CANCELLED, /* the model does not want it any more */
	TOOL_CALL_LOST,	     /* the session that asked is gone */
};

struct tool_call {
	struct tool_call *prev, *next;
	char id[TOOL_ID_SIZE]; /* the platform's, unique in the ledger */
	char *model_id;	       /* NULL: the model gave none */
	char name[TOOL_NAME_SIZE];
	enum tool_kind kind;
	char *args; /* a JSON object */
	char *key;  /* what makes another call the same business */
	bool keyed; /* the tool has a `key`: the result stands for the rest of the call */
	enum tool_state state;
	struct tool_call *leader; /* FOLLOWS */
	uint64_t deadline_ms;	  /* WAITING */
	char *answer;		  /* a JSON object; NULL: there was no memory for it */
	bool failed;		  /* it is an error */
	bool expired;		  /* and this one: nothing came in time */
	bool sent, confirmed;
	bool noted;	     /* the owner has put it into the call's history */
	uint32_t epoch;	     /* session of the model in which it was asked */
	uint32_t connection; /* on which the answer was sent */
	uint64_t message;    /* the owner's number of what it was sent in */
	bool went_out;	     /* that is no longer waiting for room in the socket */
	uint64_t sent_ms;    /* since then */
};

/* Owner: one call. Zeroed at its start. */
struct tool_ledger {
	struct tool_call *calls; /* oldest first */
	unsigned int count, open;
	uint32_t epoch, connection, numbered;
};

/* A call as the model sent it; everything is borrowed. */
struct tool_request {
	const char *model_id; /* NULL: none */
	const char *name;
	const cJSON *args;	 /* NULL: none */
	const struct tool *tool; /* declaration, NULL: there is none */
};

enum tool_verdict {
	TOOL_ASK,     /* new: have it carried out */
	TOOL_SHARED,  /* the same business as an earlier call: its result serves this one too */
	TOOL_KNOWN,   /* this very call again */
	TOOL_REFUSED, /* cannot be taken, for *why; its entry holds that answer */
};

/*
 * A call of the model. Worker loop. Returns what to do; *call is the ledger's entry, valid until the next call of a function that
 * changes the ledger. NULL, only for REFUSED: there is no room or no memory even for an entry that only says so, and the owner
 * answers without one.
 */
enum tool_verdict tool_ledger_begin(struct tool_ledger *ledger, const struct tool_request *request, uint64_t now_ms,
	struct tool_call **call, const char **why);

/*
 * The result of the call that the platform knows as `id`: the text of a JSON object, at most TOOL_RESULT_MAX bytes. Worker loop.
 * Returns 0, -ENOENT (no such call), -EALREADY (it has one), -ETIME (too late), -ECANCELED, -ESTALE (lost), -EMSGSIZE or -ENOMEM;
 * then nothing has changed.
 */
int tool_ledger_result(struct tool_ledger *ledger, const char *id, const char *answer, bool failed);

/* The same with {"error": text}. Worker loop. */
int tool_ledger_fail(struct tool_ledger *ledger, const char *id, const char *text);

/* The next call whose time is over; it is answered with an error now. Worker loop, until it returns NULL. */
struct tool_call *tool_ledger_expire(struct tool_ledger *ledger, uint64_t now_ms);

/*
 * The model does not want the answer of `model_id` any more. Worker loop. Returns the call when whoever carries it out is to be
 * told, else NULL: it is unknown, answered, or another call waits for the same result.
 */
struct tool_call *tool_ledger_cancel(struct tool_ledger *ledger, const char *model_id);

/* The oldest answer that is to be sent now, NULL when there is none. Worker loop, while the session is ready. */
struct tool_call *tool_ledger_due(const struct tool_ledger *ledger);

/* The text of its answer, a JSON object. Any. */
const char *tool_call_answer(const struct tool_call *call);

/* The oldest call of `kind` without an answer that leads, NULL when there is none. Worker loop. */
struct tool_call *tool_ledger_open(const struct tool_ledger *ledger, enum tool_kind kind);

/* It is on its way out as the owner's message number `message`, counted from 1. Worker loop. */
void tool_ledger_sent(struct tool_ledger *ledger, struct tool_call *call, uint64_t message);

/* The owner's message number `message` has left. Worker loop. */
void tool_ledger_went_out(struct tool_ledger *ledger, uint64_t message, uint64_t now_ms);

/*
 * The connection is gone, and what was waiting for room in it with it: the answers that never went out were not sent, whatever the model
 * has said since. Worker loop.
 */
void tool_ledger_dropped(struct tool_ledger *ledger);

/* The model has said something, or ended a turn: what went out well before has arrived. Worker loop. */
void tool_ledger_heard(struct tool_ledger *ledger, uint64_t now_ms);

/*
 * A new connection is ready. `resumed`: it continues the session; calls are answered there under their old ids, and what may not
 * have arrived on the old one is due again. Else the session is a new one that knows nothing of any call: calls without an answer
 * are lost, see tool_ledger_lost(), and answers that were not sent are not sent any more, so the owner tells of both before this. Worker loop.
 */
void tool_ledger_connected(struct tool_ledger *ledger, bool resumed);

/* The next call that was lost and not told yet. Worker loop, until it returns NULL. */
struct tool_call *tool_ledger_lost(struct tool_ledger *ledger);

/* Free what it owns. Worker loop. */
void tool_ledger_free(struct tool_ledger *ledger);
