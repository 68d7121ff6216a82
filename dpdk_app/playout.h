/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The playout of one call: a short queue of encoded frames, the turn generation that barge-in moves, and the RTP sequence and timestamp that
 * go on from answer to hang-up whatever the AI side does. Pure: no DPDK, no clock; the wheel (wheel.h) says when a frame is due.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAYOUT_FRAME_SIZE   160u /* bytes: 20 ms of G.711 */
#define PLAYOUT_QUEUE_FRAMES 16u  /* 320 ms; a power of two */
#define PLAYOUT_SAMPLES	     160u /* RTP timestamp units a frame at 8 kHz */

enum playout_idle {
	PLAYOUT_IDLE_SILENCE,	    /* G.711 silence in frames of the negotiated payload type */
	PLAYOUT_IDLE_COMFORT_NOISE, /* RFC 3389 CN (payload type 13), then every 200 ms; the beat of seq/timestamp goes on */
	PLAYOUT_IDLE_NONE,	    /* nothing is sent between talkspurts */
};

/* What is to be sent on a beat. */
enum playout_action {
	PLAYOUT_SEND_FRAME,   /* a frame from the queue */
	PLAYOUT_SEND_SILENCE, /* an encoded silent frame */
	PLAYOUT_SEND_NOISE,   /* a CN packet */
	PLAYOUT_SEND_EVENT,   /* a telephone-event (telephone_event.h) */
	PLAYOUT_SEND_NOTHING,
};

struct playout_packet {
	enum playout_action action;
	uint8_t payload_type;
	bool marker;	/* first packet of the stream, and of a talkspurt after a pause in sending (RFC 3551 4.1) */
	bool talkspurt; /* FRAME: the first since the queue was empty */
	uint16_t seq;
	uint32_t timestamp;
	const uint8_t *payload; /* valid until the next call for this session */
	uint16_t payload_len;
	bool drained; /* the MARK was reached with this beat: tell the worker */
	uint32_t drained_turn;
	uint64_t message_tsc; /* talkspurt: when the worker read the message it begins with, 0 if unknown: latency */
};

/* Writer: the owning lcore. Counters are read by control and telemetry, relaxed. */
struct session_playout {
	_Atomic uint64_t packets;   /* RTP packets sent */
	_Atomic uint64_t frames;    /* of them from the queue */
	uint64_t message_tsc;	    /* of the frame that begins the next talkspurt */
	_Atomic uint32_t flushed;   /* frames dropped by flushes */
	_Atomic uint32_t underruns; /* queue ran empty inside a talkspurt (before its MARK) */
	_Atomic uint32_t queued;    /* frames in the queue now */
	uint32_t turn;		    /* current turn; frames of another are refused */
	uint32_t ssrc, timestamp;
	uint16_t seq;
	uint8_t payload_type;
	uint8_t idle; /* enum playout_idle */
	uint8_t head, count;
	uint8_t mark_after; /* frames still to play before the MARK */
	uint8_t idle_beats; /* since the last frame, for the CN interval */
	bool started, talking, marked;
	/* Everything above is one cache line. */
	uint8_t frame[PLAYOUT_QUEUE_FRAMES][PLAYOUT_FRAME_SIZE] __attribute__((aligned(64)));
};
_Static_assert(offsetof(struct session_playout, frame) == 64, "a beat touches one line and the frame");

/* Begin: sequence, timestamp and SSRC are given (random, RFC 3550 5.1), the queue is empty, the turn is 0. Owning lcore. */
void playout_start(struct session_playout *playout, uint32_t ssrc, uint16_t seq, uint32_t timestamp, uint8_t payload_type,
	enum playout_idle idle);

/*
 * Go on as another stream: SSRC, sequence and timestamp are given, its first packet is marked. Queue, turn and counters stay. Owning
 * lcore.
 */
void playout_restream(struct session_playout *playout, uint32_t ssrc, uint16_t seq, uint32_t timestamp);

/* A new worker took the call: empty the queue and expect turn 0; sequence and timestamp go on. Owning lcore. */
void playout_reattach(struct session_playout *playout);

/* Queue one frame of PLAYOUT_FRAME_SIZE bytes. Owning lcore. Returns 0, -ESTALE (other turn), -ENOBUFS (full), -EINVAL (length). */
int playout_push(struct session_playout *playout, uint32_t turn, const uint8_t *frame, uint16_t len, uint64_t message_tsc);

/*
 * Barge-in: drop everything queued, `turn` is current from now on. A mark not reached is gone: look at playout->marked before. Owning lcore.
 * Returns the frames dropped.
 */
unsigned int playout_flush(struct session_playout *playout, uint32_t turn);

/* The worker wants to know when all that is queued now has been sent. Owning lcore. Returns 0, -ESTALE. */
int playout_mark(struct session_playout *playout, uint32_t turn);

/* Whether the next beat would send silence in the middle of a turn, because nothing is queued. Lcore. */
static inline bool playout_is_dry(const struct session_playout *playout)
{
	return playout->count == 0 && playout->talking && !playout->marked;
}

/*
 * One 20 ms beat on which nothing can be sent, because nobody knows yet where to: only time goes on. What is queued waits, a MARK is not reached,
 * the stream does not begin. Owning lcore.
 */
void playout_skip(struct session_playout *playout);

/* One 20 ms beat: what to send now. Always advances the timestamp; the sequence only with a packet. Owning lcore. */
void playout_beat(struct session_playout *playout, struct playout_packet *packet);

/*
 * One beat that belongs to a telephone-event: its payload is sent in place of a frame, which waits, and a MARK is not reached. Owning
 * lcore.
 */
void playout_beat_event(struct session_playout *playout, struct playout_packet *packet, const uint8_t *payload, uint16_t len);

/* One beat of the pause behind a telephone-event: what is sent when nothing is queued, whatever is queued. Owning lcore. */
void playout_beat_quiet(struct session_playout *playout, struct playout_packet *packet);
