/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one call's Gemini session as an explicit state machine: dial, set up, talk, lose the connection, come back. Pure:
 * events and a clock in, actions out; whoever holds the websocket carries the actions out and reports what became of them.
 *
 * The service refuses a resume while it still holds the old connection, so there is never more than one connection: the old one
 * is closed first, and only when it is really gone the next one is dialled.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "close_codes.h"
#include "gemini_message.h"

#define SESSION_REASON_SIZE	 192u
#define SESSION_NEVER		 UINT64_MAX
#define SESSION_DIAL_MS		 5000u	/* TCP, TLS and upgrade, from DIAL_BEGINS */
#define SESSION_SETUP_MS	 8000u	/* setup to setupComplete; the service can stay silent */
#define SESSION_CLOSE_MS	 3000u	/* our Close to the end of the connection */
#define SESSION_STABLE_MS	 10000u /* a session that lived this long clears the failures before it */
#define SESSION_RETRY_MS	 30000u /* how long a call without a session is retried */
#define SESSION_TURN_MS		 1000u	/* how long the last retry waits for its turn */
#define SESSION_BACKOFF_MS	 500u	/* first delay, doubled up to SESSION_BACKOFF_MAX_MS, with jitter */
#define SESSION_BACKOFF_MAX_MS	 4000u
#define SESSION_RESUME_AGAIN_MS	 1000u	/* a resume right after a close is refused for about a second */
#define SESSION_HANDLE_TRIES	 2u	/* failed resumes until a handle is given up */
#define SESSION_THROTTLE_MS	 5000u	/* delay when the project is over its quota */
#define SESSION_GO_AWAY_GUARD_MS 5000u	/* rotate at the latest this long before the service cuts */
#define SESSION_GO_AWAY_MS	 50000u /* when goAway does not say how long */
#define SESSION_ANSWER_MS	 8000u	/* how long an answer that has not begun holds a rotation back */
#define SESSION_YOUNG_DEATHS	 8u	/* sessions in a row that were ready and died before they were stable */

enum session_state {
	SESSION_IDLE,
	SESSION_DIALLING,
	SESSION_SETUP,
	SESSION_READY,	 /* may talk */
	SESSION_CLOSING, /* our Close is out, a new connection follows */
	SESSION_WAITING, /* no connection, waiting to dial again */
	SESSION_FAILED,	 /* given up; only hang-up is left */
	SESSION_CLOSED,	 /* hung up */
};

enum session_event_type {
	SESSION_START,
	SESSION_DIAL_BEGINS,	/* it is this call's turn to dial (gate.h) */
	SESSION_REFUSED,	/* it will not be: key or project are refused at present */
	SESSION_UPGRADED,	/* the websocket is open */
	SESSION_SETUP_COMPLETE, /* the service is ready */
	SESSION_LOST,		/* the connection is gone, whoever ended it */
	SESSION_GO_AWAY,
	SESSION_HANDLE,
	SESSION_QUIET,	  /* nobody speaks */
	SESSION_BUSY,	  /* caller or model speaks */
	SESSION_ASKED,	  /* the caller, or the greeting, waits for the model's answer */
	SESSION_ANSWERED, /* the answer has begun, or there is none */
	SESSION_HANG_UP,
	SESSION_TICK, /* the deadline has passed */
};

struct session_event {
	enum session_event_type type;
	uint16_t code;	       /* LOST: close code, 1006 without one */
	int http_status;       /* LOST: status of the refused upgrade, or of an error inside a message; else 0 */
	const char *reason;    /* LOST, REFUSED: text, never NULL then */
	uint32_t time_left_ms; /* GO_AWAY, GEMINI_TIME_UNSAID: not said */
	const char *handle;    /* HANDLE: NULL or text */
	bool resumable;	       /* HANDLE */
};

/* What to do now. */
#define SESSION_DO_DIAL	  0x01u /* open a connection when it is our turn, then say DIAL_BEGINS */
#define SESSION_DO_SETUP  0x02u /* send setup with session_handle() */
#define SESSION_DO_CLOSE  0x04u /* send Close, go on reporting until LOST */
#define SESSION_DO_ABORT  0x08u /* drop the connection; its LOST is reported by the event loop, or never, both are fine */
#define SESSION_DO_REPORT 0x10u /* state or reason has changed */

/* Owner: the call. Read the fields freely, only session_step() writes them. */
struct session {
	enum session_state state;
	bool busy;
	bool resumed;	       /* the current connection was set up with a handle */
	bool dial_begun;       /* DIALLING: it was our turn, the deadline is the dial's */
	bool has_talked;       /* some session of this call was ready */
	bool fresh_tried;      /* CLOSE_ONCE has had its one new session */
	uint16_t code;	       /* of the last loss */
	uint32_t random;       /* xorshift state */
	uint32_t attempt;      /* dials in a row without a stable session */
	uint32_t resume_fails; /* of this handle */
	uint32_t young_deaths; /* in a row */
	uint64_t deadline_ms;  /* call session_step(TICK) at this time, SESSION_NEVER: not needed */
	uint64_t ready_ms;     /* when the session became ready */
	uint64_t lost_ms;      /* when the call lost its session: the retry budget runs from here */
	uint64_t answer_ms;    /* an answer is awaited up to this time, 0: none */
	uint64_t rotate_ms;    /* go away: latest time to change connections, SESSION_NEVER: no */
	enum close_class class;
	char *handle; /* newest resumption handle or NULL */
	char reason[SESSION_REASON_SIZE];
};

/* Prepare for one call; `seed` drives the jitter. Worker loop. */
void session_init(struct session *session, uint32_t seed);

/* Free what it owns. Worker loop. */
void session_free(struct session *session);

/* One event. Worker loop. Returns SESSION_DO_*. An event that does not fit the state is ignored. */
uint32_t session_step(struct session *session, const struct session_event *event, uint64_t now_ms);

/* The handle to set up with, or NULL for a new session. Worker loop. */
const char *session_handle(const struct session *session);

/* The state's name on the link: dialling, setup, ready, reconnecting, failed; NULL before the start and after the end. Any. */
const char *session_state_name(const struct session *session);
