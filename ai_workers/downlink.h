/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model's way to the caller, one call's part of it: decodes and transcodes the model's audio as it comes, keeps it in the
 * call's own codec, and hands 20 ms frames to the data plane by the data plane's clock. Pure: text and a clock in, frames out.
 *
 * The model speaks four to five times faster than real time, in pieces of any size. The data plane's queue is short on purpose,
 * so that `interrupted` is heard at once, and so this side keeps the rest and stays about DOWNLINK_AHEAD_MS ahead.
 *
 * At times the service is slower than real time, or stalls in the middle of a sentence. Speech starts only with a prebuffer, and
 * when it runs dry it gathers one again: a few long pauses are understood, stutter is not. The prebuffer doubles when a turn ran
 * dry, and shrinks by a quarter with every turn that did not.
 *
 * A socket that is not read holds `interrupted` back behind the audio, so it is read up to DOWNLINK_FULL_MS, longer than any answer
 * we know (1.2 MB of a call that has it, nothing of the others). Only during an answer still longer than that an interruption
 * waits in the socket until DOWNLINK_RESUME_MS is left.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../shared/g711.h"
#include "../shared/resample.h"
#include "../shared/worker_stats.h"
#include "byte_queue.h"

#define DOWNLINK_FRAME		  160u /* bytes of 20 ms of G.711 */
#define DOWNLINK_FRAME_MS	  20u
#define DOWNLINK_AHEAD_MS	  120u /* kept in the data plane's queue, which holds 16 frames */
#define DOWNLINK_PREBUFFER_MS	  100u /* of speech before it starts, unless it is shorter: in a call's first turn */
#define DOWNLINK_PREBUFFER_MIN_MS 60u
#define DOWNLINK_PREBUFFER_MAX_MS 400u
#define DOWNLINK_UNHEARD_MS	  160u	  /* handed over and perhaps not heard yet, at most */
#define DOWNLINK_STALLED_MS	  600u	  /* nothing came for so long: what has been gathered is played */
#define DOWNLINK_SILENT_MS	  5000u	  /* and for so long: more than a pause */
#define DOWNLINK_FULL_MS	  150000u /* queued: stop reading the socket */
#define DOWNLINK_RESUME_MS	  140000u /* read again */
#define DOWNLINK_MAX_MS		  180000u /* what was under way when we stopped still fits; beyond this audio is dropped */
#define DOWNLINK_MUTE_MS	  1000u	  /* after `interrupted`: late audio is dropped until turnComplete, at most so long */

/* What is to be put into the downlink ring next. */
enum downlink_due { DOWNLINK_NOTHING, DOWNLINK_FRAME_DUE, DOWNLINK_FLUSH_DUE, DOWNLINK_MARK_DUE };

struct downlink {
	struct byte_queue queue; /* G.711, ready to play */
	struct byte_queue sent;	 /* the newest of what was handed over, with DOWNLINK_UNHEARD_MS in it: for downlink_pause() */
	struct vl_resampler *resampler;
	enum vl_g711_law law;
	uint32_t turn; /* counted up by a flush */
	bool half;     /* a sample's first byte waits for its second in the next message */
	uint8_t half_byte;
	bool flush_due, mark_due;
	bool complete; /* generationComplete: no more audio of this turn */
	bool playing;  /* prebuffered */
	bool keeps;    /* what was handed over, so that playing can be paused */
	bool paused;
	bool waiting;		/* the caller does not hear yet: downlink_listen() */
	bool dry;		/* ran out in the middle of a turn, if more of it comes */
	bool speaking;		/* from the first frame of a turn until DRAINED */
	uint64_t play_end_ms;	/* when the data plane's queue runs dry */
	uint64_t wait_until_ms; /* the data plane sends something else until then */
	uint64_t muted_until_ms;
	uint64_t arrived_ms;   /* newest audio */
	uint32_t prebuffer_ms; /* at present */
	/* Numbers of the turn that is played; when another one follows it in the queue, that one's begin with its own first frame. */
	uint32_t played_ms; /* handed over */
	uint32_t underruns;
	bool next;	/* another one follows */
	size_t next_at; /* behind so many bytes */
};

/* Prepare for one call. Worker loop. Returns 0 or -ENOMEM. */
int downlink_init(struct downlink *downlink, enum vl_g711_law law);

/* Free what it owns. Worker loop. */
void downlink_free(struct downlink *downlink);

/*
 * One audio part of the model: base64 of 16-bit PCM at 24 kHz, any length. Worker loop. Returns 0, -EBADMSG (not base64, nothing
 * taken beyond the bad place) or -ENOBUFS (beyond DOWNLINK_MAX_MS, or no memory). What is dropped is counted.
 */
int downlink_audio(struct downlink *downlink, const char *base64, size_t len, uint64_t now_ms, struct vl_worker_stats *stats);

/* Whether the turn that was played has been handed over to its end while another one follows it: its numbers stand until the next frame. Worker loop. */
bool downlink_passed(const struct downlink *downlink);

/* Whether a turn, if there is one, is not complete, and nothing of it has come or been played for DOWNLINK_SILENT_MS. Worker loop. */
bool downlink_stalled(const struct downlink *downlink, uint64_t now_ms);

/* The model has sent all of its turn: pad the last frame, ask for DRAINED behind it. Worker loop. */
void downlink_generation_complete(struct downlink *downlink);

/* The caller spoke over the model: forget everything of this turn, and what may still come of it. Worker loop. */
void downlink_interrupted(struct downlink *downlink, uint64_t now_ms, struct vl_worker_stats *stats);

/*
 * The caller may have begun to speak: stop at once, and keep everything, also what the data plane has and has not played. Only with
 * `keeps`. Worker loop. Returns whether there was anything to stop.
 */
bool downlink_pause(struct downlink *downlink, uint64_t now_ms);

/* It was nothing: play on from where it stopped. Worker loop. */
void downlink_resume(struct downlink *downlink);

/* The data plane plays nothing for `ms`: so much later it wants the next frame. Worker loop. */
void downlink_wait(struct downlink *downlink, uint32_t ms, uint64_t now_ms);

/* The turn is over on the service's side; audio after it is a new turn's. Worker loop. */
void downlink_turn_complete(struct downlink *downlink);

/* Another data plane, or another place in it: its turns start at 0 and nothing of ours is queued there. Worker loop. */
void downlink_restart(struct downlink *downlink);

/*
 * Whether the caller hears what is handed over. While he does not, frames and MARK are kept: a greeting said before his first packet came
 * is heard from its beginning. A pause of this kind is no underrun. Worker loop.
 */
void downlink_listen(struct downlink *downlink, bool listening, uint64_t now_ms);

/* The data plane has played up to the mark of `turn`. Worker loop. Returns whether the model has now stopped speaking. */
bool downlink_drained(struct downlink *downlink, uint32_t turn);

/* What to hand over now; repeat until DOWNLINK_NOTHING. Worker loop. */
enum downlink_due downlink_next(struct downlink *downlink, uint64_t now_ms);

/*
 * It has been handed over: `frame` receives DOWNLINK_FRAME bytes when `due` is DOWNLINK_FRAME_DUE, else it may be NULL. Worker
 * loop.
 */
void downlink_take(struct downlink *downlink, enum downlink_due due, uint8_t *frame, uint64_t now_ms);

/*
 * Whether the socket should be read: false from DOWNLINK_FULL_MS down to DOWNLINK_RESUME_MS; `reading` is the present state.
 * Worker loop.
 */
bool downlink_wants_more(const struct downlink *downlink, bool reading);
