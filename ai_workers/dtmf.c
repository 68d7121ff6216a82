/* SPDX-License-Identifier: Apache-2.0 */
/* Telephone-events to digits, see dtmf.h. Section numbers are of RFC 4733. */
#include "dtmf.h"

#include <stdio.h>
#include <string.h>

#define EVENT_SIZE	4u
#define END		0x80u
#define SEGMENT_MAX	0xffffu /* duration of a full segment (2.5.1.3) */
#define UNITS_PER_MS	8u
#define EVENTS_A_PACKET 8u

static const char digits[] = "0123456789*#ABCD";

static bool is_over(const struct dtmf *d, uint32_t timestamp, uint8_t code, uint64_t now_ms)
{
	for (size_t i = 0; i < sizeof(d->over) / sizeof(d->over[0]); i++)
		if (d->over[i].used && d->over[i].timestamp == timestamp && d->over[i].code == code &&
			now_ms - d->over[i].ms < DTMF_FORGET_MS)
			return true;
	return false;
}

static void remember(struct dtmf *d, uint64_t now_ms)
{
	d->over[d->over_next].used = true;
	d->over[d->over_next].timestamp = d->timestamp;
	d->over[d->over_next].code = d->code;
	d->over[d->over_next].ms = now_ms;
	d->over_next = (d->over_next + 1) % (sizeof(d->over) / sizeof(d->over[0]));
}

/* The key is released. */
static void finish(struct dtmf *d, uint64_t now_ms)
{
	struct dtmf_digit digit = {.digit = digits[d->code], .duration_ms = (d->before + d->duration) / UNITS_PER_MS};

	d->open = false;
	remember(d, now_ms);
	if (d->allowed_ms < now_ms)
		d->allowed_ms = now_ms;
	if (d->allowed_ms - now_ms >= DTMF_BURST * DTMF_PERIOD_MS || d->ready_count == DTMF_BURST)
		return;
	d->allowed_ms += DTMF_PERIOD_MS;
	d->ready[d->ready_count++] = digit;
	if (d->key_count < DTMF_KEYS_MAX)
		d->keys[d->key_count++] = digit.digit;
	d->pressed_ms = now_ms;
}

/* One event of a packet. */
static void take(struct dtmf *d, uint8_t code, bool end, uint32_t duration, uint32_t timestamp, uint64_t now_ms)
{
	bool next_segment = d->open && code == d->code && d->duration == SEGMENT_MAX && timestamp == d->timestamp + SEGMENT_MAX;

	if (next_segment) {
		remember(d, now_ms);
		d->before += d->duration;
		d->timestamp = timestamp;
		d->duration = 0;
	} else if (!d->open || timestamp != d->timestamp || code != d->code) {
		if (is_over(d, timestamp, code, now_ms))
			return;
		if (d->open)
			finish(d, now_ms); /* its end was lost */
		d->open = true;
		d->code = code;
		d->timestamp = timestamp;
		d->duration = d->before = 0;
	}
	d->heard_ms = now_ms;
	if (duration > d->duration)
		d->duration = duration;
	if (end)
		finish(d, now_ms);
}

void dtmf_packet(struct dtmf *d, const uint8_t *payload, size_t len, uint32_t timestamp, uint64_t now_ms)
{
	size_t count = len / EVENT_SIZE;

	/* Events that follow each other without a gap may share a packet (2.5.1.5): each begins where the one before ended. */
	for (size_t i = 0; i < count && i < EVENTS_A_PACKET; i++, payload += EVENT_SIZE) {
		uint32_t duration = (uint32_t)payload[2] << 8 | payload[3];
		bool end = (payload[1] & END) != 0 || i + 1 < count;

		if (payload[0] < sizeof(digits) - 1)
			take(d, payload[0], end, duration, timestamp, now_ms);
		timestamp += duration;
	}
}

void dtmf_tick(struct dtmf *d, uint64_t now_ms)
{
	if (d->open && now_ms - d->heard_ms >= DTMF_LOST_MS)
		finish(d, now_ms);
}

bool dtmf_next(struct dtmf *d, struct dtmf_digit *digit)
{
	if (d->ready_count == 0)
		return false;
	*digit = d->ready[0];
	d->ready_count--;
	memmove(d->ready, d->ready + 1, d->ready_count * sizeof(d->ready[0]));
	return true;
}

/* The oldest ones go when there are too many. */
static void keep(struct dtmf *d)
{
	unsigned int over = d->told_count + d->key_count > DTMF_KEYS_MAX ? d->told_count + d->key_count - DTMF_KEYS_MAX : 0;

	d->told_count -= over;
	memmove(d->told, d->told + over, d->told_count);
	memcpy(d->told + d->told_count, d->keys, d->key_count);
	d->told_count += d->key_count;
	d->key_count = 0;
}

static void write_text(char text[DTMF_TEXT_SIZE], const char *keys, unsigned int count, const char *end)
{
	size_t at = (size_t)snprintf(text, DTMF_TEXT_SIZE, "Caller pressed");

	for (unsigned int i = 0; i < count; i++) {
		text[at++] = ' ';
		text[at++] = keys[i];
	}
	snprintf(text + at, DTMF_TEXT_SIZE - at, "%s", end);
}

bool dtmf_text(struct dtmf *d, char text[DTMF_TEXT_SIZE], uint64_t now_ms)
{
	if (d->key_count == 0 || d->open)
		return false;
	if (now_ms - d->pressed_ms < DTMF_PAUSE_MS && d->keys[d->key_count - 1] != '#' && d->key_count < DTMF_KEYS_MAX)
		return false;
	write_text(text, d->keys, d->key_count, ".");
	keep(d);
	return true;
}

bool dtmf_text_again(const struct dtmf *d, char text[DTMF_TEXT_SIZE])
{
	if (d->told_count == 0)
		return false;
	write_text(text, d->told, d->told_count, " before the connection was lost.");
	return true;
}

void dtmf_told(struct dtmf *d, uint64_t message)
{
	d->message = message;
	d->out_ms = 0;
}

void dtmf_went_out(struct dtmf *d, uint64_t message, uint64_t now_ms)
{
	if (d->message == 0 || d->message != message)
		return;
	d->message = 0;
	d->out_ms = now_ms;
}

void dtmf_dropped(struct dtmf *d)
{
	d->message = d->out_ms = 0;
}

void dtmf_answered(struct dtmf *d, uint64_t now_ms)
{
	if (d->out_ms != 0 && now_ms >= d->out_ms + DTMF_CONFIRM_MS)
		dtmf_forget(d);
}

void dtmf_forget(struct dtmf *d)
{
	explicit_bzero(d->told, sizeof(d->told));
	d->told_count = 0;
	d->message = d->out_ms = 0;
}
