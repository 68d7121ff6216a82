/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may dial now. Every handshake costs the worker's one loop about a millisecond, and every refused one costs the project's
 * quota, so calls queue here before they dial: for the worker a pace, for each project a rate that closes after a refusal for
 * quota, for each key a short memory of having been refused. Pure: the clock comes in, tickets come out.
 *
 * Fair: projects take turns, so that one tenant's storm does not hold up another tenant's call; within a project the call whose
 * caller waits longest goes first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "close_codes.h"

#define GATE_LABEL_SIZE	     96u
#define GATE_REASON_SIZE     256u
#define GATE_QUOTA_MS	     30000u /* a project over its quota is left alone for 30 to 65 s (GEMINI_LIVE 6.2) */
#define GATE_QUOTA_JITTER_MS 35000u
#define GATE_TRICKLE_MS	     5000u  /* meanwhile the calls that have already talked share one dial in so long */
#define GATE_DEAD_MS	     30000u /* a refused key or project is believed dead for so long, then asked again */
#define GATE_RATE_FIRST	     1u	    /* dials a second after the pause, doubled by each success */
#define GATE_RATE_MAX	     128u   /* from here on it counts as recovered */
#define GATE_CATCH_UP_US     10000u /* a late loop makes up for so much of the worker's pace, not for more */

struct gate_config {
	unsigned int dials_max;	 /* handshakes under way at a time */
	unsigned int per_second; /* handshakes begun */
};

struct gate_ticket;

/* What is remembered about one project or one key. Owner: the gate. Read by tests and messages only. */
struct gate_scope {
	UT_hash_handle hh; /* by label */
	char label[GATE_LABEL_SIZE];
	unsigned int holders;	  /* tickets that name it */
	unsigned int per_second;  /* its own limit, 0: none */
	unsigned int rate;	  /* while it recovers from a quota close: dials a second, 0: recovered */
	uint64_t next_us;	  /* no dial of the project before */
	uint64_t closed_until_ms; /* quota */
	uint64_t dead_until_ms;	  /* fatal for the key or project */
	uint64_t quota_refusals;
	char reason[GATE_REASON_SIZE];	/* of the service, for whichever of the two holds */
	struct gate_ticket *fresh;	/* calls that have never talked, longest waiting first */
	struct gate_ticket *talked;	/* calls that had a session */
	struct gate_scope *prev, *next; /* among the projects with waiting calls */
	bool listed;
};

enum gate_place {
	GATE_OUTSIDE,
	GATE_WAITING,
	GATE_REFUSED,  /* gate_next() has not told yet */
	GATE_DIALLING, /* counts against dials_max */
	GATE_SETUP,    /* connected; what the service says now is about key and project */
};

/* A call's place. Owner: the call; only the gate writes. */
struct gate_ticket {
	struct gate_scope *project, *key;
	struct gate_ticket *prev, *next;
	uint64_t since_ms; /* the caller waits since then */
	enum gate_place place;
	bool talked;
};

/* Owner: the worker. */
struct gate {
	struct gate_config config;
	struct gate_scope *scopes;   /* all, by label */
	struct gate_scope *projects; /* with waiting calls, whose turn it is first */
	struct gate_ticket *refused;
	unsigned int dialling, waiting;
	uint64_t next_us;
	uint32_t random; /* xorshift state */
};

/* Prepare; `seed` drives the jitter. Worker loop. */
void gate_init(struct gate *gate, const struct gate_config *config, uint32_t seed);

/* Forget everything. Only when no ticket is left. Worker loop. */
void gate_free(struct gate *gate);

/*
 * A call begins: it belongs to the project and to the key with these labels (the same one where a key is its own project). Labels
 * are shown to people and never contain a key. `per_second` is the project's own limit or 0. Worker loop. Returns 0 or -ENOMEM.
 */
int gate_join(struct gate *gate, struct gate_ticket *ticket, const char *project, const char *key, unsigned int per_second);

/* The call is over, wherever its ticket is. Worker loop. A ticket that never joined is legal. */
void gate_part(struct gate *gate, struct gate_ticket *ticket);

/*
 * The call wants to dial: gate_next() returns it when it may, or may not. `since_ms`: how long its caller waits already;
 * `talked`: it had a session, so it is not shed. Worker loop.
 */
void gate_ask(struct gate *gate, struct gate_ticket *ticket, uint64_t since_ms, bool talked, uint64_t now_ms);

/*
 * The next ticket about which something is decided: *granted, dial now, or not, gate_reason() says why. NULL: nobody. Worker
 * loop, every few ms.
 */
struct gate_ticket *gate_next(struct gate *gate, uint64_t now_ms, bool *granted);

/* Why a call of these two is not dialled, as one sentence. Any. */
void gate_reason(const struct gate_ticket *ticket, uint64_t now_ms, char text[GATE_REASON_SIZE]);

/* The websocket is open: the expensive part is over. Worker loop. */
void gate_opened(struct gate *gate, struct gate_ticket *ticket);

/* The service took the session: key and project are good. Worker loop. */
void gate_worked(struct gate *gate, struct gate_ticket *ticket, uint64_t now_ms);

/*
 * The connection is gone, or given up, or not wanted any more; `class` and `reason` as the service said, CLOSE_RESUME when it said
 * nothing. Worker loop. Returns how long in ms the project is closed because of it, 0: it is not.
 */
uint32_t gate_lost(struct gate *gate, struct gate_ticket *ticket, enum close_class class, const char *reason, uint64_t now_ms);

/* Forget refusals: a reload may have brought other keys or limits. Worker loop. */
void gate_forgive(struct gate *gate);
