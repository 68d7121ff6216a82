/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The playout queue of one call and what its 20 ms beat sends. One writer, so counters are a relaxed load and a relaxed store.
 */
#include "playout.h"

#include <errno.h>
#include <string.h>

#define load(field)	    atomic_load_explicit(&(field), memory_order_relaxed)
#define store(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define add(field, value)   store(field, load(field) + (value))

#define PAYLOAD_TYPE_PCMU 0u
#define PAYLOAD_TYPE_CN	  13u
#define NOISE_BEATS	  10u /* a CN packet every 200 ms */

_Static_assert((PLAYOUT_QUEUE_FRAMES & (PLAYOUT_QUEUE_FRAMES - 1)) == 0, "positions are masked");

static const uint8_t silence_pcmu[PLAYOUT_FRAME_SIZE] = {[0 ... PLAYOUT_FRAME_SIZE - 1] = 0xff};
static const uint8_t silence_pcma[PLAYOUT_FRAME_SIZE] = {[0 ... PLAYOUT_FRAME_SIZE - 1] = 0xd5};
/* RFC 3389 3: one byte, the level in -dBov; no spectral parameters. */
static const uint8_t noise[1] = {70};

static void set_count(struct session_playout *playout, uint8_t count)
{
	playout->count = count;
	store(playout->queued, count);
}

void playout_start(struct session_playout *playout, uint32_t ssrc, uint16_t seq, uint32_t timestamp, uint8_t payload_type,
	enum playout_idle idle)
{
	store(playout->packets, 0);
	store(playout->frames, 0);
	store(playout->flushed, 0);
	store(playout->underruns, 0);
	playout->payload_type = payload_type;
	playout->idle = (uint8_t)idle;
	playout_restream(playout, ssrc, seq, timestamp);
	playout_reattach(playout);
}

void playout_restream(struct session_playout *playout, uint32_t ssrc, uint16_t seq, uint32_t timestamp)
{
	playout->ssrc = ssrc;
	playout->seq = seq;
	playout->timestamp = timestamp;
	playout->started = false;
}

void playout_reattach(struct session_playout *playout)
{
	playout->turn = 0;
	playout->head = 0;
	playout->talking = false;
	playout->marked = false;
	playout->mark_after = 0;
	playout->idle_beats = 0;
	set_count(playout, 0);
}

int playout_push(struct session_playout *playout, uint32_t turn, const uint8_t *frame, uint16_t len, uint64_t message_tsc)
{
	if (len != PLAYOUT_FRAME_SIZE)
		return -EINVAL;
	if (turn != playout->turn)
		return -ESTALE;
	if (playout->count == PLAYOUT_QUEUE_FRAMES)
		return -ENOBUFS;
	unsigned int position = (playout->head + playout->count) & (PLAYOUT_QUEUE_FRAMES - 1);

	memcpy(playout->frame[position], frame, PLAYOUT_FRAME_SIZE);
	/* A talkspurt begins with a frame that found the queue empty. */
	if (playout->count == 0)
		playout->message_tsc = message_tsc;
	set_count(playout, (uint8_t)(playout->count + 1));
	return 0;
}

unsigned int playout_flush(struct session_playout *playout, uint32_t turn)
{
	unsigned int dropped = playout->count;

	playout->turn = turn;
	playout->marked = false;
	playout->talking = false;
	add(playout->flushed, dropped);
	set_count(playout, 0);
	return dropped;
}

int playout_mark(struct session_playout *playout, uint32_t turn)
{
	if (turn != playout->turn)
		return -ESTALE;
	playout->marked = true;
	playout->mark_after = playout->count;
	return 0;
}

/* Nothing is queued: what keeps the stream alive. */
static void beat_idle(struct session_playout *playout, struct playout_packet *packet)
{
	if (playout->talking) {
		playout->talking = false;
		if (!playout->marked)
			add(playout->underruns, 1);
	}
	packet->action = PLAYOUT_SEND_NOTHING;
	packet->payload = NULL;
	packet->payload_len = 0;
	if (playout->idle == PLAYOUT_IDLE_SILENCE) {
		packet->action = PLAYOUT_SEND_SILENCE;
		packet->payload = playout->payload_type == PAYLOAD_TYPE_PCMU ? silence_pcmu : silence_pcma;
		packet->payload_len = PLAYOUT_FRAME_SIZE;
	} else if (playout->idle == PLAYOUT_IDLE_COMFORT_NOISE && playout->idle_beats == 0) {
		packet->action = PLAYOUT_SEND_NOISE;
		packet->payload_type = PAYLOAD_TYPE_CN;
		packet->payload = noise;
		packet->payload_len = sizeof(noise);
	}
	playout->idle_beats = playout->idle_beats + 1 == NOISE_BEATS ? 0 : (uint8_t)(playout->idle_beats + 1);
}

static void beat_frame(struct session_playout *playout, struct playout_packet *packet)
{
	packet->action = PLAYOUT_SEND_FRAME;
	packet->payload = playout->frame[playout->head];
	packet->payload_len = PLAYOUT_FRAME_SIZE;
	packet->talkspurt = !playout->talking;
	packet->message_tsc = packet->talkspurt ? playout->message_tsc : 0;
	/* RFC 3551 4.1: a sender that never pauses sets no marker after its first packet. */
	packet->marker = packet->talkspurt && playout->idle != PLAYOUT_IDLE_SILENCE;
	playout->talking = true;
	playout->idle_beats = 0;
	playout->head = (playout->head + 1) & (PLAYOUT_QUEUE_FRAMES - 1);
	set_count(playout, (uint8_t)(playout->count - 1));
	if (playout->marked && playout->mark_after > 0)
		playout->mark_after--;
	add(playout->frames, 1);
}

void playout_skip(struct session_playout *playout)
{
	playout->timestamp += PLAYOUT_SAMPLES;
}

static void begin_beat(const struct session_playout *playout, struct playout_packet *packet)
{
	packet->payload_type = playout->payload_type;
	packet->marker = false;
	packet->talkspurt = false;
	packet->drained = false;
	packet->message_tsc = 0;
	packet->seq = playout->seq;
	packet->timestamp = playout->timestamp;
}

static void end_beat(struct session_playout *playout, struct playout_packet *packet)
{
	playout->timestamp += PLAYOUT_SAMPLES;
	if (packet->action == PLAYOUT_SEND_NOTHING)
		return;
	if (!playout->started && packet->action != PLAYOUT_SEND_NOISE)
		packet->marker = true;
	playout->started = true;
	playout->seq++;
	add(playout->packets, 1);
}

void playout_beat(struct session_playout *playout, struct playout_packet *packet)
{
	begin_beat(playout, packet);
	if (playout->count > 0)
		beat_frame(playout, packet);
	else
		beat_idle(playout, packet);
	end_beat(playout, packet);
	if (playout->marked && playout->mark_after == 0) {
		packet->drained = true;
		packet->drained_turn = playout->turn;
		playout->marked = false;
		/* The turn is over with this beat: what follows is no underrun. */
		if (playout->count == 0)
			playout->talking = false;
	}
}

void playout_beat_event(struct session_playout *playout, struct playout_packet *packet, const uint8_t *payload, uint16_t len)
{
	begin_beat(playout, packet);
	packet->action = PLAYOUT_SEND_EVENT;
	packet->payload = payload;
	packet->payload_len = len;
	end_beat(playout, packet);
}

void playout_beat_quiet(struct session_playout *playout, struct playout_packet *packet)
{
	bool talking = playout->talking;

	/* The voice is held back, it has not run dry. */
	playout->talking = false;
	begin_beat(playout, packet);
	beat_idle(playout, packet);
	end_beat(playout, packet);
	playout->talking = talking;
}
