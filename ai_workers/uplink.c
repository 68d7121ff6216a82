/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order, gaps and pace of the caller's audio, see uplink.h. Sequence numbers say what is missing, timestamps say how long it was:
 * a hole in both is loss and is concealed, a hole in the timestamps alone is silence suppression (or a telephone-event) and
 * becomes silence.
 */
#include "uplink.h"

#include <stdlib.h>
#include <string.h>

#include <spandsp.h>

#include "stats.h"

#define SEQ_FAR	       100  /* a jump of more than this is another stream */
#define CONCEAL_MAX_MS 60u  /* concealment fades to silence within 50 ms */
#define BLOCK	       160u /* samples handled at a time */
#define BEFORE	       (UPLINK_BEFORE_MS * UPLINK_SAMPLES_PER_MS)

void uplink_init(struct uplink *u, const struct uplink_config *config)
{
	*u = (struct uplink){.config = *config};
	memset(u->history, vl_g711_silence(config->law), sizeof(u->history));
}

static void forget_waiting(struct uplink *u)
{
	for (uint32_t i = 0; i < UPLINK_WINDOW; i++) {
		free(u->waiting[i].payload);
		u->waiting[i] = (struct uplink_waiting){0};
	}
	u->waiting_count = 0;
}

void uplink_free(struct uplink *u)
{
	forget_waiting(u);
	byte_queue_clear(&u->queue);
	byte_queue_clear(&u->before);
	byte_queue_clear(&u->unheard);
}

/* Keep the newest: a model that hears the past late answers late. */
static void bound_backlog(struct uplink *u, struct vl_worker_stats *stats)
{
	size_t max = UPLINK_BACKLOG_MS * UPLINK_SAMPLES_PER_MS;

	if (u->queue.len <= max)
		return;
	stats_add(&stats->up_discarded_ms, (u->queue.len - max) / UPLINK_SAMPLES_PER_MS);
	u->discarded += u->queue.len - max;
	byte_queue_pop(&u->queue, NULL, u->queue.len - max);
}

static void remember(struct uplink *u, const uint8_t *bytes, size_t len)
{
	if (len >= UPLINK_HISTORY) {
		memcpy(u->history, bytes + len - UPLINK_HISTORY, UPLINK_HISTORY);
		return;
	}
	memmove(u->history, u->history + len, UPLINK_HISTORY - len);
	memcpy(u->history + UPLINK_HISTORY - len, bytes, len);
}

static void append_silence(struct uplink *u, size_t samples, struct vl_worker_stats *stats)
{
	byte_queue_fill(&u->queue, vl_g711_silence(u->config.law), samples);
	bound_backlog(u, stats);
}

/* Fill a lost stretch from what was heard before it; the state is made only now, because loss is rare. */
static void conceal(struct uplink *u, size_t samples, struct vl_worker_stats *stats)
{
	plc_state_t plc;
	int16_t pcm[UPLINK_HISTORY];
	uint8_t bytes[BLOCK];
	size_t left = samples;

	if (left > CONCEAL_MAX_MS * UPLINK_SAMPLES_PER_MS)
		left = CONCEAL_MAX_MS * UPLINK_SAMPLES_PER_MS;
	plc_init(&plc);
	vl_g711_decode(u->config.law, u->history, pcm, UPLINK_HISTORY);
	plc_rx(&plc, pcm, UPLINK_HISTORY);
	samples -= left;
	while (left > 0) {
		size_t n = left < BLOCK ? left : BLOCK;

		plc_fillin(&plc, pcm, (int)n);
		vl_g711_encode(u->config.law, pcm, bytes, n);
		byte_queue_push(&u->queue, bytes, n);
		left -= n;
	}
	plc_release(&plc);
	append_silence(u, samples, stats);
}

/* Bring the stream up to `timestamp`, minus the silence that was already made for the same hole. */
static void fill_gap(struct uplink *u, uint32_t timestamp, uint32_t lost, struct vl_worker_stats *stats)
{
	int32_t gap = (int32_t)(timestamp - u->next_timestamp);
	uint32_t samples;

	stats_add(&stats->up_lost, lost);
	if (gap <= 0 || gap > (int32_t)(UPLINK_GAP_MAX_MS * UPLINK_SAMPLES_PER_MS))
		return;
	samples = (uint32_t)gap;
	if (samples <= u->made)
		return;
	samples -= u->made;
	if (lost > 0)
		conceal(u, samples, stats);
	else
		append_silence(u, samples, stats);
}

/* The next payload in order. */
static void deliver(struct uplink *u, const struct uplink_waiting *p, struct vl_worker_stats *stats)
{
	uint32_t lost = (uint16_t)(p->seq - u->next_seq);

	u->next_seq = (uint16_t)(p->seq + 1);
	if (!p->voice) {
		stats_add(&stats->up_lost, lost);
		return; /* its place in time is the hole before the next voice payload */
	}
	fill_gap(u, p->timestamp, lost, stats);
	byte_queue_push(&u->queue, p->payload, p->len);
	bound_backlog(u, stats);
	remember(u, p->payload, p->len);
	u->next_timestamp = p->timestamp + p->len;
	u->made = 0;
	u->last_tsc = p->tsc;
	u->streaming = true;
	u->end_due = false;
	u->silent_ms = 0;
}

static struct uplink_waiting *earliest_waiting(struct uplink *u)
{
	struct uplink_waiting *first = NULL;

	for (uint32_t i = 0; i < UPLINK_WINDOW; i++) {
		struct uplink_waiting *w = &u->waiting[i];

		if (w->used && (first == NULL || (int16_t)(w->seq - first->seq) < 0))
			first = w;
	}
	return first;
}

/* Deliver what waits, as far as it is in order, or one payload beyond a gap when `force` is set. */
static void release_waiting(struct uplink *u, bool force, uint64_t now_ms, struct vl_worker_stats *stats)
{
	while (u->waiting_count > 0) {
		struct uplink_waiting *first = earliest_waiting(u);

		if (first->seq != u->next_seq && !force)
			break;
		force = false;
		deliver(u, first, stats);
		free(first->payload);
		*first = (struct uplink_waiting){0};
		u->waiting_count--;
		u->waiting_since_ms = now_ms;
	}
}

static void keep_waiting(struct uplink *u, const struct uplink_waiting *p, uint64_t now_ms, struct vl_worker_stats *stats)
{
	struct uplink_waiting *free_slot = NULL;

	if (u->waiting_count == UPLINK_WINDOW)
		release_waiting(u, true, now_ms, stats);
	for (uint32_t i = 0; i < UPLINK_WINDOW; i++) {
		if (u->waiting[i].used && u->waiting[i].seq == p->seq) {
			stats_add(&stats->up_late, 1); /* a duplicate */
			return;
		}
		if (!u->waiting[i].used)
			free_slot = &u->waiting[i];
	}
	/* Releasing may have caught up with this very payload, or passed it. */
	if (p->seq == u->next_seq) {
		deliver(u, p, stats);
		release_waiting(u, false, now_ms, stats);
		return;
	}
	if (free_slot == NULL || (int16_t)(p->seq - u->next_seq) < 0) {
		stats_add(&stats->up_late, 1);
		return;
	}
	*free_slot = *p;
	free_slot->payload = malloc(p->len != 0 ? p->len : 1);
	if (free_slot->payload == NULL) {
		*free_slot = (struct uplink_waiting){0};
		return;
	}
	memcpy(free_slot->payload, p->payload, p->len);
	free_slot->used = true;
	if (u->waiting_count++ == 0)
		u->waiting_since_ms = now_ms;
}

/* A jump is believed when the next payload confirms it (RFC 3550 A.1). Returns whether the payload is to be taken. */
static bool believe_jump(struct uplink *u, const struct uplink_waiting *p, struct vl_worker_stats *stats)
{
	if (u->probing && p->seq == u->probe_seq) {
		forget_waiting(u);
		u->probing = false;
		u->next_seq = p->seq;
		u->next_timestamp = p->timestamp;
		return true;
	}
	u->probing = true;
	u->probe_seq = (uint16_t)(p->seq + 1);
	stats_add(&stats->up_late, 1);
	return false;
}

void uplink_packet(struct uplink *u, const struct uplink_packet *packet, uint64_t now_ms, struct vl_worker_stats *stats)
{
	struct uplink_waiting p = {.payload = (uint8_t *)(uintptr_t)packet->payload,
		.len = packet->len,
		.seq = packet->seq,
		.timestamp = packet->timestamp,
		.voice = packet->payload_type == u->config.payload_type,
		.tsc = packet->tsc};
	int16_t ahead;

	stats_add(&stats->up_packets, 1);
	if (u->held)
		return;
	/* Telephone-events and comfort noise (13) are in the sequence but not audio; anything else should not be here. */
	if (!p.voice && packet->payload_type != 13 &&
		(u->config.event_payload_type == 0 || packet->payload_type != u->config.event_payload_type))
		stats_add(&stats->up_unwanted, 1);
	/* Another SSRC, verified by the data plane (hold, transfer): its numbers may lie anywhere, also just behind the old ones. */
	if (u->started && packet->ssrc != u->ssrc) {
		while (u->waiting_count > 0)
			release_waiting(u, true, now_ms, stats);
		u->started = false;
	}
	if (!u->started) {
		if (!p.voice)
			return;
		u->ssrc = packet->ssrc;
		u->started = true;
		u->next_seq = p.seq;
		u->next_timestamp = p.timestamp;
	}
	ahead = (int16_t)(p.seq - u->next_seq);
	if (ahead > SEQ_FAR || ahead < -SEQ_FAR) {
		if (!believe_jump(u, &p, stats))
			return;
		ahead = 0;
	}
	u->probing = false;
	if (ahead < 0) {
		stats_add(&stats->up_late, 1);
		return;
	}
	if (p.voice)
		u->heard_ms = now_ms;
	if (ahead > 0) {
		keep_waiting(u, &p, now_ms, stats);
		return;
	}
	deliver(u, &p, stats);
	release_waiting(u, false, now_ms, stats);
}

void uplink_hold(struct uplink *u, bool held)
{
	if (u->held == held)
		return;
	u->held = held;
	forget_waiting(u);
	/* What comes after hold continues nothing. */
	if (held)
		u->started = false;
}

static void make_silence(struct uplink *u, uint64_t now_ms, struct vl_worker_stats *stats)
{
	uint64_t stalled_ms = now_ms - u->heard_ms;
	uint32_t ms = u->config.message_ms;

	/* Stay UPLINK_STALL_MS behind, so that a payload which is merely late finds its place free. */
	while (stalled_ms >= UPLINK_STALL_MS + ms) {
		if (u->silent_ms >= UPLINK_SILENCE_MS) {
			u->streaming = false;
			u->end_due = true;
			return;
		}
		append_silence(u, ms * UPLINK_SAMPLES_PER_MS, stats);
		u->last_tsc = 0;
		u->made += ms * UPLINK_SAMPLES_PER_MS;
		u->silent_ms += ms;
		u->heard_ms += ms;
		stalled_ms -= ms;
	}
}

void uplink_tick(struct uplink *u, uint64_t now_ms, struct vl_worker_stats *stats)
{
	if (u->waiting_count > 0 && now_ms - u->waiting_since_ms >= UPLINK_WAIT_MS)
		release_waiting(u, true, now_ms, stats);
	if (u->streaming)
		make_silence(u, now_ms, stats);
}

size_t uplink_message_samples(const struct uplink *u)
{
	return (size_t)u->config.message_ms * UPLINK_SAMPLES_PER_MS;
}

void uplink_ready(struct uplink *u)
{
	u->backlog = u->queue.len >= uplink_message_samples(u);
}

bool uplink_due(const struct uplink *u, uint64_t now_ms)
{
	return u->queue.len >= uplink_message_samples(u) && now_ms >= u->next_message_ms;
}

/* As much silence as the detection of voice needs. */
static void keep_before(struct uplink *u, const uint8_t *bytes, size_t samples, uint64_t now_ms)
{
	size_t over = u->before.len + samples > BEFORE ? u->before.len + samples - BEFORE : 0;

	u->before_ms = now_ms;
	byte_queue_pop(&u->before, NULL, over < u->before.len ? over : u->before.len);
	byte_queue_push(&u->before, bytes, samples);
}

static void keep_voice(struct uplink *u, const uint8_t *bytes, size_t samples)
{
	size_t max = UPLINK_UNHEARD_MS * UPLINK_SAMPLES_PER_MS, arrived;
	size_t over = u->unheard.len + samples > max ? u->unheard.len + samples - max : 0;

	arrived = over < u->arrived ? over : u->arrived;
	u->arrived -= arrived;
	u->arrived_lost += arrived;
	byte_queue_pop(&u->unheard, NULL, over);
	if (byte_queue_push(&u->unheard, bytes, samples) != 0)
		over += samples;
	u->unheard_lost += over;
}

/* Silence behind words is not worth its memory. */
static void keep_sent(struct uplink *u, const uint8_t *bytes, size_t samples, uint64_t now_ms)
{
	uint8_t before[BEFORE];
	size_t len = u->before.len;

	if (!u->voiced && !u->backlog) {
		keep_before(u, bytes, samples, now_ms);
		return;
	}
	if (u->unheard_ms == 0)
		u->unheard_ms = now_ms;
	if (u->unarrived_ms == 0)
		u->unarrived_ms = now_ms;
	u->voiced_ms = now_ms;
	byte_queue_pop(&u->before, before, len);
	/* A caller who sends no silence has the end of his last word in it. */
	if (now_ms <= u->before_ms + UPLINK_BEFORE_MS)
		keep_voice(u, before, len);
	keep_voice(u, bytes, samples);
}

/* The newest of the voice, which may still have been under way when the service gave a sign. */
static size_t under_way(const struct uplink *u, uint64_t now_ms)
{
	if (now_ms > u->voiced_ms + UPLINK_BEFORE_MS)
		return 0;
	return u->unheard.len < BEFORE ? u->unheard.len : BEFORE;
}

void uplink_arrived(struct uplink *u, uint64_t now_ms)
{
	if (u->unarrived_ms == 0)
		return;
	u->unarrived_ms = 0;
	u->arrived = u->unheard.len - under_way(u, now_ms);
	u->arrived_lost = u->unheard_lost;
}

static void clear_unheard(struct uplink *u)
{
	byte_queue_clear(&u->unheard);
	u->unheard_ms = u->unarrived_ms = 0;
	u->unheard_lost = u->arrived_lost = u->arrived = 0;
}

void uplink_forget(struct uplink *u)
{
	byte_queue_clear(&u->before);
	clear_unheard(u);
}

void uplink_heard(struct uplink *u, uint64_t now_ms)
{
	uint8_t newest[BEFORE];
	size_t len = under_way(u, now_ms);

	if (u->unheard_ms == 0)
		return;
	byte_queue_pop(&u->unheard, NULL, u->unheard.len - len);
	byte_queue_pop(&u->unheard, newest, len);
	if (u->before.len == 0)
		keep_before(u, newest, len, u->voiced_ms);
	clear_unheard(u);
}

uint64_t uplink_send_again(struct uplink *u, bool all, struct vl_worker_stats *stats)
{
	uint64_t since_ms = all ? u->unheard_ms : u->unarrived_ms;
	size_t lost = u->unheard_lost - (all ? 0 : u->arrived_lost), len;
	uint8_t *bytes;

	if (!all)
		byte_queue_pop(&u->unheard, NULL, since_ms != 0 ? u->arrived : u->unheard.len);
	len = u->unheard.len;
	bytes = malloc(len != 0 ? len : 1);
	if (bytes != NULL)
		byte_queue_pop(&u->unheard, bytes, len);
	if (bytes == NULL || byte_queue_push_front(&u->queue, bytes, len) != 0)
		lost += len;
	free(bytes);
	if (since_ms != 0) {
		stats_add(&stats->up_discarded_ms, lost / UPLINK_SAMPLES_PER_MS);
		u->discarded += lost;
	}
	clear_unheard(u);
	bound_backlog(u, stats);
	return since_ms;
}

uint64_t uplink_take(struct uplink *u, int16_t *pcm, uint64_t now_ms)
{
	uint8_t bytes[UPLINK_MESSAGE_MS_MAX * UPLINK_SAMPLES_PER_MS];
	size_t samples = uplink_message_samples(u);
	bool backlog = u->backlog;

	byte_queue_pop(&u->queue, bytes, samples);
	vl_g711_decode(u->config.law, bytes, pcm, samples);
	keep_sent(u, bytes, samples, now_ms);
	u->next_message_ms = now_ms + u->config.message_ms / 2;
	if (u->queue.len < BLOCK)
		u->backlog = false;
	return backlog ? 0 : u->last_tsc;
}

uint64_t uplink_behind_us(const struct uplink *u)
{
	return u->queue.len * 1000u / UPLINK_SAMPLES_PER_MS;
}

bool uplink_take_end(struct uplink *u)
{
	bool due = u->end_due;

	u->end_due = false;
	return due;
}
