/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's way to the model, one call's part of it: puts RTP payloads in order, fills what is missing, keeps the first words
 * until the session is ready, and cuts the stream into messages of fixed length. Pure: payloads and a clock in, PCM out.
 *
 * A model that listens needs the right order but no steady beat, so there is no playout delay: a payload in order passes at once,
 * and only behind a gap the stream waits for UPLINK_WAIT_MS at most. When nothing comes at all (hold, silence suppression, loss),
 * silence is made in real time, because the model's voice detection needs it to end a turn; after UPLINK_SILENCE_MS of it the
 * stream is ended until the caller is heard again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../shared/g711.h"
#include "../shared/worker_stats.h"
#include "byte_queue.h"

#define UPLINK_WINDOW	  8u	 /* payloads that can wait for an earlier one */
#define UPLINK_WAIT_MS	  60u	 /* longest wait for a missing payload */
#define UPLINK_STALL_MS	  120u	 /* no payload for so long: make silence */
#define UPLINK_SILENCE_MS 3000u	 /* silence made until the stream is ended */
#define UPLINK_BACKLOG_MS 10000u /* caller audio kept while no session is ready, the newest */
#define UPLINK_UNHEARD_MS \
	8000u /* of his voice kept when it was sent and the service has not shown that it heard it, the newest: 64 KB */
#define UPLINK_BEFORE_MS      200u  /* and this before his voice was noticed */
#define UPLINK_GAP_MAX_MS     2000u /* a longer hole in the RTP timestamps is a new stream, not a gap */
#define UPLINK_HISTORY	      280u  /* samples that concealment looks back on */
#define UPLINK_SAMPLES_PER_MS 8u    /* G.711 */
#define UPLINK_MESSAGE_MS_MAX 200u

/* How a call's uplink works. */
struct uplink_config {
	enum vl_g711_law law;
	uint8_t payload_type;	    /* of the voice */
	uint8_t event_payload_type; /* RFC 4733 telephone-event, 0: none */
	uint16_t message_ms;	    /* 20..UPLINK_MESSAGE_MS_MAX */
};

/* One RTP payload as it came. */
struct uplink_packet {
	const uint8_t *payload;
	uint16_t len;
	uint16_t seq;
	uint32_t timestamp;
	uint32_t ssrc;
	uint8_t payload_type;
	uint64_t tsc; /* arrival */
};

/* A payload that waits for an earlier one. */
struct uplink_waiting {
	uint8_t *payload; /* allocated: reordering is rare */
	uint16_t len, seq;
	uint32_t timestamp;
	bool used, voice;
	uint64_t tsc;
};

struct uplink {
	struct uplink_config config;
	struct byte_queue queue; /* in order, complete, still G.711 */
	uint32_t waiting_count;
	uint64_t waiting_since_ms; /* when the gap at the front was seen */
	bool started, held, streaming;
	bool end_due;		 /* audioStreamEnd is to be sent */
	bool backlog;		 /* what is queued has waited for a session, so its age says nothing about the path */
	uint32_t ssrc;		 /* of the stream */
	uint16_t next_seq;	 /* expected */
	uint32_t next_timestamp; /* expected, of the next voice sample */
	uint16_t probe_seq;	 /* expected of a stream that has jumped (RFC 3550 A.1) */
	bool probing;
	uint32_t made;	    /* silence made since the last payload, samples: not made again when the timestamps show the hole */
	uint64_t heard_ms;  /* the stream is complete up to this time */
	uint64_t silent_ms; /* silence made since the caller was heard */
	uint64_t last_tsc;  /* arrival of the newest payload in the queue */
	uint64_t next_message_ms;  /* pace of a backlog: at most twice real time */
	struct byte_queue before;  /* the newest that was sent and is nobody's voice: one begins before he is noticed */
	uint64_t before_ms;	   /* when its newest was sent */
	struct byte_queue unheard; /* voice that was sent, and that the service has not shown to have heard */
	uint64_t unheard_ms;	   /* since when there is any in it, 0: there is none */
	uint64_t voiced_ms;	   /* when its newest was sent */
	size_t unheard_lost;	   /* samples that were too many for it */
	size_t arrived;		   /* its first samples: the service was alive behind them, whatever it made of them */
	uint64_t unarrived_ms;	   /* since when there is any behind those, 0: there is none */
	size_t arrived_lost;	   /* of unheard_lost, what was of them */
	size_t discarded;	   /* samples nobody will hear, since the owner cleared it */
	bool voiced;		   /* set by the owner: what is taken now is somebody's voice, as far as it knows */
	struct uplink_waiting waiting[UPLINK_WINDOW];
	uint8_t history[UPLINK_HISTORY];
};

/* Prepare for one call. Worker loop. */
void uplink_init(struct uplink *uplink, const struct uplink_config *config);

/* Free what it owns. Worker loop. */
void uplink_free(struct uplink *uplink);

/* Take one payload. Worker loop. Counts into `stats`. */
void uplink_packet(struct uplink *uplink, const struct uplink_packet *packet, uint64_t now_ms, struct vl_worker_stats *stats);

/* The caller is on hold, or back. Worker loop. Payloads that come during hold are dropped. */
void uplink_hold(struct uplink *uplink, bool held);

/* Let time pass: give up waiting for missing payloads, make silence. Worker loop, every few ms. */
void uplink_tick(struct uplink *uplink, uint64_t now_ms, struct vl_worker_stats *stats);

/* Samples of one message. Any. */
size_t uplink_message_samples(const struct uplink *uplink);

/* Whether a message is due at `now_ms`; only asked while the session is ready. Worker loop. */
bool uplink_due(const struct uplink *uplink, uint64_t now_ms);

/* A session is ready, the first or the next: what is queued now has waited for it. Worker loop. */
void uplink_ready(struct uplink *uplink);

/*
 * Take one message, uplink_message_samples() of 8 kHz PCM; uplink_due() was true. Worker loop. Returns the arrival tsc of the newest
 * payload in the queue, which came uplink_behind_us() after the message's last sample; 0 when that is silence, or the message is of
 * what waited for the session.
 */
uint64_t uplink_take(struct uplink *uplink, int16_t *pcm, uint64_t now_ms);

/* A sign of life of the service, if only a pong: what it was sent has arrived. Worker loop. */
void uplink_arrived(struct uplink *uplink, uint64_t now_ms);

/* The service has shown what it makes of the caller's words: they are not said again. Worker loop. */
void uplink_heard(struct uplink *uplink, uint64_t now_ms);

/* The connection is gone: what was sent on it and not put back by uplink_send_again() is never said again. Worker loop. */
void uplink_forget(struct uplink *uplink);

/*
 * The caller's words go in front of the queue again: with `all` whatever the service has not shown to have heard, without it only what it was sent since its
 * last sign of life. Worker loop. Returns when the first of them was sent, 0: there was none.
 */
uint64_t uplink_send_again(struct uplink *uplink, bool all, struct vl_worker_stats *stats);

/* How long the caller spoke on behind the message just taken, microseconds: what is left in the queue. Worker loop. */
uint64_t uplink_behind_us(const struct uplink *uplink);

/* Whether audioStreamEnd is to be sent now; true once. Worker loop, when uplink_due() is false. */
bool uplink_take_end(struct uplink *uplink);
