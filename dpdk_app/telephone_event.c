/* SPDX-License-Identifier: Apache-2.0 */
/* See telephone_event.h. Section numbers are of RFC 4733. */
#include "telephone_event.h"

#include <string.h>

#define END    0x80u
#define VOLUME 10u /* -10 dBm0 (2.3.3) */

_Static_assert(TELEPHONE_EVENT_TONE_BEATS + TELEPHONE_EVENT_ENDS - 1 <= TELEPHONE_EVENT_BEATS, "the ends are sent in the pause");
_Static_assert((TELEPHONE_EVENT_DIGITS_MAX & (TELEPHONE_EVENT_DIGITS_MAX - 1)) == 0, "positions are masked");

int telephone_event_code(char digit)
{
	static const char digits[] = "0123456789*#ABCD";
	const char *at = digit != '\0' ? strchr(digits, digit) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

void telephone_event_reset(struct telephone_event *event)
{
	atomic_store_explicit(&event->done, 0, memory_order_relaxed);
	event->head = event->count = event->beat = 0;
}

static void count_done(struct telephone_event *event, uint32_t n)
{
	atomic_store_explicit(&event->done, atomic_load_explicit(&event->done, memory_order_relaxed) + n, memory_order_relaxed);
}

void telephone_event_push(struct telephone_event *event, uint8_t payload_type, const uint8_t *codes, unsigned int count)
{
	event->payload_type = payload_type;
	for (unsigned int i = 0; i < count; i++) {
		if (event->count == TELEPHONE_EVENT_DIGITS_MAX) {
			count_done(event, count - i);
			return;
		}
		event->codes[(event->head + event->count) & (TELEPHONE_EVENT_DIGITS_MAX - 1)] = codes[i];
		event->count++;
	}
}

static void next(struct telephone_event *event)
{
	event->beat = 0;
	event->head = (event->head + 1) & (TELEPHONE_EVENT_DIGITS_MAX - 1);
	event->count--;
	count_done(event, 1);
}

void telephone_event_restream(struct telephone_event *event)
{
	if (event->count > 0 && event->beat > 0)
		next(event);
}

void telephone_event_beat(struct telephone_event *event, struct session_playout *playout, struct playout_packet *packet)
{
	unsigned int tone = event->beat < TELEPHONE_EVENT_TONE_BEATS ? event->beat + 1u : TELEPHONE_EVENT_TONE_BEATS;
	uint16_t duration = (uint16_t)(tone * PLAYOUT_SAMPLES);

	if (event->beat == 0)
		event->timestamp = playout->timestamp;
	if (event->beat < TELEPHONE_EVENT_TONE_BEATS + TELEPHONE_EVENT_ENDS - 1) {
		event->payload[0] = event->codes[event->head];
		event->payload[1] = (uint8_t)(VOLUME | (tone == TELEPHONE_EVENT_TONE_BEATS ? END : 0));
		event->payload[2] = (uint8_t)(duration >> 8);
		event->payload[3] = (uint8_t)duration;
		playout_beat_event(playout, packet, event->payload, sizeof(event->payload));
		packet->payload_type = event->payload_type;
		packet->timestamp = event->timestamp;
		packet->marker = event->beat == 0; /* 2.5.1.1 */
	} else {
		playout_beat_quiet(playout, packet);
	}
	event->beat++;
	if (event->beat == TELEPHONE_EVENT_BEATS)
		next(event);
}
