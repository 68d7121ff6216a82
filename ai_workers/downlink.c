/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transcoding, queue and pace of the model's audio, see downlink.h.
 */
#include "downlink.h"

#include <errno.h>
#include <string.h>

#include "../shared/base64.h"
#include "gemini_message.h"
#include "stats.h"

#define BYTES_PER_MS 8u
#define BLOCK_CHARS  2560u /* base64 handled at a time: 40 ms of 24 kHz PCM */
#define BLOCK_BYTES  VL_BASE64_DECODED_MAX(BLOCK_CHARS)
#define BLOCK_OUT    1024u /* 8 kHz samples, more than the resampler makes of a block */

int downlink_init(struct downlink *d, enum vl_g711_law law)
{
	*d = (struct downlink){.law = law, .prebuffer_ms = DOWNLINK_PREBUFFER_MS};
	d->resampler = vl_resampler_new(GEMINI_MODEL_RATE, VL_G711_RATE_HZ);
	return d->resampler != NULL ? 0 : -ENOMEM;
}

void downlink_free(struct downlink *d)
{
	vl_resampler_free(d->resampler);
	byte_queue_clear(&d->queue);
	byte_queue_clear(&d->sent);
	d->resampler = NULL;
}

/* PCM bytes, with a sample that was cut between two messages put together again. */
static int append_pcm(struct downlink *d, const uint8_t *bytes, size_t len)
{
	int16_t in[BLOCK_BYTES / 2 + 1], out[BLOCK_OUT];
	uint8_t encoded[BLOCK_OUT];
	size_t total = len + (d->half ? 1 : 0), samples = total / 2, count;

	if (d->half)
		memcpy(in, &d->half_byte, 1);
	memcpy((uint8_t *)in + (d->half ? 1 : 0), bytes, len);
	d->half = total % 2 != 0;
	if (d->half)
		d->half_byte = ((uint8_t *)in)[total - 1];
	count = vl_resampler_process(d->resampler, in, samples, out);
	vl_g711_encode(d->law, out, encoded, count);
	return byte_queue_push(&d->queue, encoded, count) == 0 ? 0 : -ENOBUFS;
}

/* The data plane's queue has run dry in the middle of a turn, as far as is known yet. */
static void notice_dry(struct downlink *d, uint64_t now_ms)
{
	if (d->waiting || !d->playing || d->complete || d->queue.len >= DOWNLINK_FRAME || now_ms < d->play_end_ms)
		return;
	d->playing = false;
	/* Between two turns it is a pause like any other. */
	d->dry = !downlink_passed(d);
}

/* More audio of the turn that ran dry: the caller heard a pause where there was none. */
static void note_underrun(struct downlink *d, struct vl_worker_stats *stats)
{
	d->dry = false;
	d->underruns++;
	d->prebuffer_ms *= 2;
	if (d->prebuffer_ms > DOWNLINK_PREBUFFER_MAX_MS)
		d->prebuffer_ms = DOWNLINK_PREBUFFER_MAX_MS;
	stats_add(&stats->down_underruns, 1);
}

/* A turn is whole. One that was too short to run dry says nothing about the service. */
static void note_end(struct downlink *d)
{
	uint32_t queued_ms = (uint32_t)((d->queue.len - d->next_at) / BYTES_PER_MS),
		 whole_ms = queued_ms + (d->next ? 0 : d->played_ms);

	d->dry = false;
	if ((d->underruns > 0 && !d->next) || whole_ms <= DOWNLINK_PREBUFFER_MAX_MS)
		return;
	d->prebuffer_ms -= d->prebuffer_ms / 4;
	if (d->prebuffer_ms < DOWNLINK_PREBUFFER_MIN_MS)
		d->prebuffer_ms = DOWNLINK_PREBUFFER_MIN_MS;
}

static void begin_turn(struct downlink *d)
{
	d->underruns = d->played_ms = 0;
	d->next = false;
	d->next_at = 0;
}

/* The first audio of a turn. One that comes while two others wait is counted to the second. */
static void follow(struct downlink *d)
{
	d->dry = false;
	if (d->queue.len == 0) {
		begin_turn(d);
	} else if (!d->next) {
		d->next = true;
		d->next_at = d->queue.len;
	}
}

bool downlink_passed(const struct downlink *d)
{
	return d->next && d->next_at == 0;
}

bool downlink_stalled(const struct downlink *d, uint64_t now_ms)
{
	uint64_t since_ms = d->arrived_ms > d->play_end_ms ? d->arrived_ms : d->play_end_ms;

	return !d->complete && !d->paused && d->queue.len < DOWNLINK_FRAME && now_ms >= since_ms + DOWNLINK_SILENT_MS;
}

int downlink_audio(struct downlink *d, const char *base64, size_t len, uint64_t now_ms, struct vl_worker_stats *stats)
{
	struct vl_base64_decoder decoder = {0};
	uint8_t bytes[BLOCK_BYTES];

	if (now_ms < d->muted_until_ms) {
		stats_add(&stats->down_discarded_ms, len / 4 * 3 / (2 * GEMINI_MODEL_RATE / 1000));
		return 0;
	}
	/* New audio after a complete turn that is still being played belongs to the next one, and plays right behind. */
	if (d->complete || (!d->speaking && d->queue.len == 0))
		follow(d);
	d->complete = false;
	d->mark_due = false;
	notice_dry(d, now_ms);
	if (d->dry)
		note_underrun(d, stats);
	d->arrived_ms = now_ms;
	while (len > 0) {
		size_t n = len < BLOCK_CHARS ? len : BLOCK_CHARS;
		ssize_t decoded = vl_base64_decode_more(&decoder, base64, n, bytes);

		if (decoded < 0)
			return -EBADMSG;
		if (d->queue.len > DOWNLINK_MAX_MS * BYTES_PER_MS || append_pcm(d, bytes, (size_t)decoded) != 0) {
			stats_add(&stats->down_discarded_ms, len / 4 * 3 / (2 * GEMINI_MODEL_RATE / 1000));
			return -ENOBUFS;
		}
		base64 += n;
		len -= n;
	}
	return vl_base64_decode_end(&decoder) == 0 ? 0 : -EBADMSG;
}

void downlink_generation_complete(struct downlink *d)
{
	int16_t out[BLOCK_OUT];
	uint8_t encoded[BLOCK_OUT];
	size_t count = vl_resampler_flush(d->resampler, out), tail;

	vl_g711_encode(d->law, out, encoded, count);
	byte_queue_push(&d->queue, encoded, count);
	tail = d->queue.len % DOWNLINK_FRAME;
	if (tail != 0)
		byte_queue_fill(&d->queue, vl_g711_silence(d->law), DOWNLINK_FRAME - tail);
	d->half = false;
	if (!d->complete)
		note_end(d);
	d->complete = true;
	d->mark_due = d->speaking || d->queue.len > 0;
}

/* Nothing waits in the data plane any more; keys that are being sent are sent to their end all the same. */
static void stop_clock(struct downlink *d, uint64_t now_ms)
{
	d->play_end_ms = d->wait_until_ms > now_ms ? d->wait_until_ms : now_ms;
}

void downlink_interrupted(struct downlink *d, uint64_t now_ms, struct vl_worker_stats *stats)
{
	stats_add(&stats->down_discarded_ms, d->queue.len / BYTES_PER_MS);
	byte_queue_clear(&d->queue);
	vl_resampler_reset(d->resampler);
	d->half = false;
	/* What was paused has been flushed already. */
	if (!d->paused) {
		d->turn++;
		d->flush_due = true;
	}
	byte_queue_clear(&d->sent);
	d->paused = d->next = false;
	d->next_at = 0;
	d->mark_due = d->complete = d->playing = d->speaking = d->dry = false;
	stop_clock(d, now_ms);
	d->muted_until_ms = now_ms + DOWNLINK_MUTE_MS;
}

/* These bytes are played again; some of them may be of the turn before, and are not counted to this one. */
static void take_back(struct downlink *d, size_t unheard)
{
	size_t played = (size_t)d->played_ms * BYTES_PER_MS, own = unheard < played ? unheard : played;

	d->played_ms -= (uint32_t)(own / BYTES_PER_MS);
	if (d->next) {
		d->next_at += unheard;
	} else if (own < unheard) {
		d->next = true;
		d->next_at = unheard - own;
	}
}

bool downlink_pause(struct downlink *d, uint64_t now_ms)
{
	size_t unheard = d->play_end_ms > now_ms ? (size_t)(d->play_end_ms - now_ms) * BYTES_PER_MS : 0;
	uint8_t bytes[DOWNLINK_UNHEARD_MS * BYTES_PER_MS];

	if (!d->keeps || !d->speaking || d->paused)
		return false;
	/* A frame that is being played is played again rather than lost. */
	unheard = (unheard + DOWNLINK_FRAME - 1) / DOWNLINK_FRAME * DOWNLINK_FRAME;
	if (unheard < d->sent.len)
		byte_queue_pop(&d->sent, NULL, d->sent.len - unheard);
	unheard = d->sent.len;
	byte_queue_pop(&d->sent, bytes, unheard);
	if (byte_queue_push_front(&d->queue, bytes, unheard) != 0)
		return false;
	take_back(d, unheard);
	d->turn++;
	d->paused = d->flush_due = true;
	d->mark_due = d->playing = false;
	stop_clock(d, now_ms);
	return true;
}

void downlink_resume(struct downlink *d)
{
	if (!d->paused)
		return;
	d->paused = false;
	d->mark_due = d->complete;
}

void downlink_wait(struct downlink *d, uint32_t ms, uint64_t now_ms)
{
	if (d->play_end_ms < now_ms)
		d->play_end_ms = now_ms;
	d->play_end_ms += ms;
	d->wait_until_ms = (d->wait_until_ms > now_ms ? d->wait_until_ms : now_ms) + ms;
}

void downlink_turn_complete(struct downlink *d)
{
	d->muted_until_ms = 0;
	if (!d->complete && (d->speaking || d->queue.len > 0))
		downlink_generation_complete(d);
	if (d->queue.len > 0)
		return;
	/* A part of a sample must not shift the next turn by a byte. */
	d->half = false;
	vl_resampler_reset(d->resampler);
}

void downlink_restart(struct downlink *d)
{
	d->turn = 0;
	d->flush_due = d->playing = d->speaking = d->dry = d->paused = false;
	byte_queue_clear(&d->sent);
	d->mark_due = d->complete && d->queue.len > 0;
	d->play_end_ms = d->wait_until_ms = 0;
}

void downlink_listen(struct downlink *d, bool listening, uint64_t now_ms)
{
	/* What was handed over before still waits there, so the clock stands still rather than running dry. */
	if (d->waiting && listening && d->play_end_ms < now_ms)
		d->play_end_ms = now_ms;
	d->waiting = !listening;
}

bool downlink_drained(struct downlink *d, uint32_t turn)
{
	/* More of the same turn may have come since the mark; then the model still speaks. */
	if (turn != d->turn || !d->speaking || !d->complete || d->queue.len > 0 || d->mark_due)
		return false;
	d->speaking = false;
	return true;
}

/* Enough to begin with, or all there will be for a while. */
static bool gathered(const struct downlink *d, uint64_t now_ms)
{
	return d->complete || d->queue.len >= d->prebuffer_ms * BYTES_PER_MS || now_ms - d->arrived_ms >= DOWNLINK_STALLED_MS;
}

enum downlink_due downlink_next(struct downlink *d, uint64_t now_ms)
{
	if (d->flush_due)
		return DOWNLINK_FLUSH_DUE;
	if (d->paused || d->waiting)
		return DOWNLINK_NOTHING;
	notice_dry(d, now_ms);
	if (d->queue.len < DOWNLINK_FRAME)
		return d->complete && d->mark_due ? DOWNLINK_MARK_DUE : DOWNLINK_NOTHING;
	if ((d->playing || gathered(d, now_ms)) && d->play_end_ms < now_ms + DOWNLINK_AHEAD_MS)
		return DOWNLINK_FRAME_DUE;
	return DOWNLINK_NOTHING;
}

/* Without memory a pause loses what it would have kept. */
static void keep(struct downlink *d, const uint8_t *frame)
{
	if (d->sent.len + DOWNLINK_FRAME > DOWNLINK_UNHEARD_MS * BYTES_PER_MS)
		byte_queue_pop(&d->sent, NULL, DOWNLINK_FRAME);
	byte_queue_push(&d->sent, frame, DOWNLINK_FRAME);
}

/* A frame of the turn before the next one, or its own first. */
static void pass(struct downlink *d)
{
	if (d->next_at == 0)
		begin_turn(d);
	else
		d->next_at -= d->next_at < DOWNLINK_FRAME ? d->next_at : DOWNLINK_FRAME;
}

void downlink_take(struct downlink *d, enum downlink_due due, uint8_t *frame, uint64_t now_ms)
{
	switch (due) {
	case DOWNLINK_FLUSH_DUE:
		d->flush_due = false;
		break;
	case DOWNLINK_MARK_DUE:
		d->mark_due = false;
		d->playing = false;
		break;
	case DOWNLINK_FRAME_DUE:
		byte_queue_pop(&d->queue, frame, DOWNLINK_FRAME);
		if (d->next)
			pass(d);
		if (d->keeps)
			keep(d, frame);
		d->playing = d->speaking = true;
		if (d->play_end_ms < now_ms)
			d->play_end_ms = now_ms;
		d->play_end_ms += DOWNLINK_FRAME_MS;
		d->played_ms += DOWNLINK_FRAME_MS;
		break;
	case DOWNLINK_NOTHING:
		break;
	}
}

bool downlink_wants_more(const struct downlink *d, bool reading)
{
	return d->queue.len < (reading ? DOWNLINK_FULL_MS : DOWNLINK_RESUME_MS) * BYTES_PER_MS;
}
