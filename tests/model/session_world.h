/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call's session (ai_workers/session.h) against a simulated service in virtual time: a service that has every fault of the
 * emulator, a caller and a model that speak, the worker's gate. session_world.c plays them and checks after each step what must always
 * hold; session_model.c runs them by the million.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ai_workers/session.h"

#define WORLD_DIALS_WINDOW_MS 10000u
#define WORLD_DIALS_MAX	      10u /* in any such window, whatever the service does */
#define WORLD_HANDLES	      64u

/* The client's one connection. */
enum link_state { LINK_NONE, LINK_DIALLING, LINK_OPEN, LINK_SETUP, LINK_READY, LINK_CLOSING };

/* How the service answers this setup. */
enum answer { ANSWER_READY, ANSWER_NEVER, ANSWER_CLOSE, ANSWER_ERROR };

/* What can go wrong, each in 256ths; drawn for each run, so that some runs are calm and others a storm. */
struct world_faults {
	uint32_t pacing, refused;	    /* the gate */
	uint32_t hang, unreachable, http;   /* a dial */
	uint32_t never, close_setup, error; /* a setup */
	uint32_t refuse_resume;
	uint32_t short_life, go_away, no_go_away; /* a connection */
	uint32_t silent, half_open_close, not_resumable, same_handle;
	uint32_t no_answer, empty_turn, spurious;
};

struct world {
	struct session session;
	struct world_faults faults;
	uint64_t now_ms, random;
	uint32_t rotate_after_s;
	bool trace;
	const char *finding; /* NULL: none yet */

	enum link_state link;
	uint64_t turn_ms; /* the gate grants, SESSION_NEVER: nothing asked */
	uint64_t link_ms; /* next thing of the connection */
	uint64_t gone_ms; /* a dropped connection is gone by then */
	uint32_t phase;	  /* of a dial */
	uint32_t hang_at; /* phase in which this dial hangs */
	enum answer answer;
	bool silent;				 /* the service is dead and the socket is open */
	uint64_t life_ms, go_away_ms, handle_ms; /* of this connection */
	uint64_t locked_ms;			 /* the service holds the session up to then */
	bool held;				 /* so it has refused a resume since the last session */
	bool fair;				 /* and had no other cause to, nor has a dial failed */

	bool caller, model, owed; /* who speaks; an answer is owed */
	uint64_t talk_ms;
	uint64_t due_ms, hard_ms; /* of this connection's rotation, by the rules */
	bool losing;		  /* the event that is being played ends the session by the service's doing, of this kind */
	int kind;
	uint32_t handles;	  /* given out so far; the text is "h" and the number */
	uint32_t newest, used;	  /* 0: none */
	uint32_t refusals;	  /* setups with `used` that failed */
	bool dead[WORLD_HANDLES]; /* handles the session has given up */
	uint64_t dials_ms[WORLD_DIALS_MAX + 1];
	uint64_t dials;
	uint64_t out_ms; /* without a session since then, SESSION_NEVER: has one */
	uint32_t nudges; /* since the model was heard */
	uint64_t events, ready_count, rotations;
};

/* Draw a run. */
void world_begin(struct world *world, uint64_t seed, bool trace);

/* Play the next event. Returns false at the end of the call. */
bool world_step(struct world *world);

/* From here on the service behaves; then the call must talk, or have ended, within two minutes. */
void world_heal(struct world *world);

/* Whether the call talks. */
bool world_talks(const struct world *world);

/* Free what the run holds. */
void world_end(struct world *world);
