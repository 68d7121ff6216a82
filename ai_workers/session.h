/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one call's Gemini session as an explicit state machine: dial, set up, talk, change connections before the service
 * cuts, lose the connection, come back. Pure: events and a clock in, actions out; whoever holds the websocket carries the actions
 * out and reports what became of them.
 *
 * The service refuses a resume while it still holds the old connection, so there is never more than one connection: the old one
 * is closed first, and only when it is really gone the next one is dialled.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "close_codes.h"
#include "gemini_message.h"

#define SESSION_REASON_SIZE 192u
#define SESSION_NEVER	    UINT64_MAX

/* Deadlines of a dial, each from the end of the phase before it. */
#define SESSION_DNS_MS	   3000u /* an address for the service's name; it is looked up again every 2 s */
#define SESSION_TCP_MS	   3000u
#define SESSION_TLS_MS	   3000u
#define SESSION_UPGRADE_MS 5000u
#define SESSION_DIAL_MS	   6000u /* all four together, however many addresses are tried */
#define SESSION_SETUP_MS   6000u /* setup to setupComplete: 0.25 s, 0.6 s for a resume; the service can stay silent */
#define SESSION_CLOSE_MS   3000u /* our Close to the end of the connection; its echo takes up to 3 s */
#define SESSION_ABORT_MS   20u	 /* a dropped connection is gone by then */

/* First output of the model: nudge, then another connection, then another session. */
#define SESSION_ANSWER_MS  8000u  /* end of the caller's turn to the first output */
#define SESSION_INSISTS_MS 16000u /* and from the first of several questions, or from when the connection was ready */
#define SESSION_NUDGED_MS  5000u  /* the same after a nudge */

/* Coming back. */
#define SESSION_STABLE_MS 10000u /* a session that lived this long clears the failures before it */
#define SESSION_FIRST_MS  10000u /* how long a call that has never had a session tries: the platform can still send it elsewhere */
#define SESSION_RETRY_MS \
	30000u /* the same in a conversation: silence is bad, its end is worse; the platform sees `reconnecting` */
#define SESSION_BACKOFF_MS     500u /* first delay, doubled up to SESSION_BACKOFF_MAX_MS, with jitter */
#define SESSION_BACKOFF_MAX_MS 4000u
#define SESSION_RESUME_AGAIN_MS \
	1000u /* a resume is refused for about so long after the connection is gone; retried 1, 2 and 4 s after it */
#define SESSION_HANDLE_TRIES 2u	   /* failed resumes until a handle is given up; one that came too early does not count */
#define SESSION_THROTTLE_MS  5000u /* delay when the project is over its quota; a call that has never talked fails at once */
#define SESSION_TURN_MS	     1000u /* how long the last retry waits for its turn */
#define SESSION_YOUNG_DEATHS 8u	   /* sessions in a row that were ready and died before they were stable */

/* Changing connections before the service cuts. */
#define SESSION_ROTATE_AFTER_S	 540u	  /* the service says "around 10 minutes", and cuts at 9:43 at the earliest we know of */
#define SESSION_ROTATE_MIN_S	 5u	  /* configurable: from here */
#define SESSION_ROTATE_MAX_S	 3420u	  /* to here */
#define SESSION_ROTATE_WINDOW_MS 30000u	  /* from the configured age to the last moment */
#define SESSION_ROTATE_LAST_MS	 3475000u /* whatever is configured: no service is known to keep a connection beyond 58:00 */
#define SESSION_GO_AWAY_GUARD_MS 5000u	  /* rotate at the latest this long before the service cuts */
#define SESSION_GO_AWAY_MS	 50000u	  /* when goAway does not say how long */
#define SESSION_LULL_MS		 1000u /* of quiet before a rotation, in the first half of its window: who has just listened, answers */

enum session_state {
	SESSION_IDLE,
	SESSION_DIALLING, /* see session.phase */
	SESSION_SETUP,
	SESSION_READY,	 /* may talk */
	SESSION_CLOSING, /* our Close is out, a new connection follows */
	SESSION_WAITING, /* no connection, waiting to dial again */
	SESSION_FAILED,	 /* given up; only hang-up is left */
	SESSION_CLOSED,	 /* hung up */
};

/* What a dial is waiting for; each has a deadline and a reason of its own. */
enum session_phase {
	SESSION_PHASE_TURN, /* not begun: other calls dial first (gate.h) */
	SESSION_PHASE_DNS,
	SESSION_PHASE_TCP,
	SESSION_PHASE_TLS,
	SESSION_PHASE_UPGRADE,
	SESSION_PHASE_SETUP,
	SESSION_PHASES
};

enum session_event_type {
	SESSION_START,
	SESSION_DIAL_BEGINS,	/* it is this call's turn to dial (gate.h) */
	SESSION_REFUSED,	/* it will not be: key or project are refused at present */
	SESSION_RESOLVED,	/* DIALLING: an address is being dialled, the first or the next one */
	SESSION_CONNECTED,	/* DIALLING: TCP is up */
	SESSION_SECURED,	/* DIALLING: TLS is up, the upgrade is out */
	SESSION_UPGRADED,	/* the websocket is open */
	SESSION_SETUP_COMPLETE, /* the service is ready */
	SESSION_LOST,		/* the connection is gone, whoever ended it */
	SESSION_ERROR,		/* the service said in a message that this session is over: `http_status`, `reason` */
	SESSION_GO_AWAY,
	SESSION_STAY, /* until `until_ms` another connection is hard to get: this one is not given up for its age before, if it can be helped */
	SESSION_HANDLE,
	SESSION_QUIET,	   /* nobody speaks */
	SESSION_BUSY,	   /* caller or model speaks */
	SESSION_ASKED,	   /* the caller, or the greeting, waits for the model's answer */
	SESSION_ANSWERED,  /* the answer has begun */
	SESSION_TURN_OVER, /* the model's turn is over, with or without an answer */
	SESSION_HANG_UP,
	SESSION_TICK, /* the deadline has passed */
};

struct session_event {
	enum session_event_type type;
	uint16_t code;	       /* LOST: close code, 1006 without one */
	bool dropped;	       /* LOST: we have cut the connection ourselves, it is gone within SESSION_ABORT_MS */
	bool silent;	       /* LOST: nothing at all was heard of the service any more while an answer was owed */
	int http_status;       /* LOST: status of the refused upgrade; ERROR: the error's code; else 0 */
	const char *reason;    /* LOST, ERROR, REFUSED: text, never NULL then */
	uint32_t way_ms;       /* ASKED: what asks is on its way to the service for so long */
	uint32_t time_left_ms; /* GO_AWAY, GEMINI_TIME_UNSAID: not said */
	uint64_t until_ms;     /* STAY */
	const char *handle;    /* HANDLE: NULL or text */
	bool resumable;	       /* HANDLE */
};

/* What to do now. */
#define SESSION_DO_DIAL	  0x01u /* open a connection when it is our turn, then say DIAL_BEGINS */
#define SESSION_DO_SETUP  0x02u /* send setup with session_handle() */
#define SESSION_DO_CLOSE  0x04u /* send Close, go on reporting until LOST */
#define SESSION_DO_ABORT  0x08u /* drop the connection; its LOST is reported by the event loop, or never, both are fine */
#define SESSION_DO_REPORT 0x10u /* state or reason has changed */
#define SESSION_DO_NUDGE  0x20u /* remind the model of its answer */
#define SESSION_DO_GIVE_UP \
	0x40u /* the model stays mute after all that was tried since asked_ms: nothing more is done about this question */

/* Owner: the call. Read the fields freely, only session_step() writes them. */
struct session {
	enum session_state state;
	enum session_phase phase; /* DIALLING and SETUP */
	bool busy;
	bool asked;	       /* an answer is owed; outlives connections: when ready again, ask for it */
	bool resumed;	       /* the current connection was set up with a handle */
	bool has_talked;       /* was ready at least once */
	bool fresh_tried;      /* CLOSE_ONCE has had its one new session */
	bool sent_away;	       /* the rotation is the service's wish */
	bool closing_young;    /* CLOSING: the session had not become stable */
	bool given_up;	       /* given_up_handle is one */
	bool fresh_next;       /* the next session is a new one, whatever handles the old connection still brings */
	uint16_t code;	       /* of the last loss */
	uint32_t random;       /* xorshift state */
	uint32_t attempt;      /* dials in a row without a stable session */
	uint32_t resume_fails; /* of this handle */
	uint32_t young_deaths; /* in a row */
	uint32_t mute;	       /* how often in a row the model owed an answer */
	uint32_t
		conversation; /* counts sessions that began without a handle: ids of an older one's tool calls mean nothing here */
	uint32_t rotate_after_ms;
	uint32_t took_ms[SESSION_PHASES]; /* of the last dial */
	uint64_t deadline_ms;		  /* call session_step(TICK) at this time, SESSION_NEVER: not needed */
	uint64_t phase_ms;		  /* when the phase began */
	uint64_t dial_end_ms;
	uint64_t opened_ms;	  /* when the websocket was opened: the service counts from here */
	uint64_t ready_ms;	  /* when the session became ready */
	uint64_t lost_ms;	  /* when the call lost its session: the retry budget runs from here */
	uint64_t gone_ms;	  /* when the connection of that session was gone: the service lets go of it some time later */
	uint64_t quiet_ms;	  /* since when nobody speaks */
	uint64_t asked_ms;	  /* when the question came that has no answer yet */
	uint64_t answer_ms;	  /* an answer is awaited up to this time, 0: none */
	uint64_t due_ms;	  /* a rotation is wanted from here on, SESSION_NEVER: no */
	uint64_t rotate_ms;	  /* latest time to change connections, SESSION_NEVER: no */
	uint64_t stay_ms;	  /* nor before this time, unless the service says so */
	uint64_t given_up_handle; /* hash: it is never taken again */
	enum close_class class;
	char *handle; /* newest resumption handle or NULL */
	char reason[SESSION_REASON_SIZE];
};

/* Prepare for one call; `seed` drives the jitter, `rotate_after_s` is the age at which connections are changed. Worker loop. */
void session_init(struct session *session, uint32_t seed, uint32_t rotate_after_s);

/* Free what it owns. Worker loop. */
void session_free(struct session *session);

/* One event. Worker loop. Returns SESSION_DO_*. An event that does not fit the state is ignored. */
uint32_t session_step(struct session *session, const struct session_event *event, uint64_t now_ms);

/* The handle to set up with, or NULL for a new session. Worker loop. */
const char *session_handle(const struct session *session);

/* The state's name on the link: dialling, setup, ready, reconnecting, failed; NULL before the start and after the end. Any. */
const char *session_state_name(const struct session *session);
