/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys pressed towards the caller (RFC 4733), in place of frames of the playout: the stream keeps its SSRC and its sequence, the event
 * keeps the timestamp at which it began while its duration grows, and voice waits in its queue meanwhile. Neither a flush nor a change
 * of worker cuts a key short. Pure: no DPDK, no clock; the beat is the playout's.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "playout.h"

#define TELEPHONE_EVENT_DIGITS_MAX 32u /* that can wait */
#define TELEPHONE_EVENT_TONE_BEATS 5u  /* 100 ms */
#define TELEPHONE_EVENT_BEATS	   10u /* of a key with the pause behind it: 200 ms */
#define TELEPHONE_EVENT_MS	   200u
#define TELEPHONE_EVENT_ENDS	   3u /* times the end is sent (RFC 4733 2.5.1.4) */

/* Writer: the owning lcore. Reader of `done`: control, relaxed. Zeroed at the start of a call. */
struct telephone_event {
	_Atomic uint32_t done; /* digits that are over */
	uint32_t timestamp;    /* at which the present one began */
	uint8_t payload_type;
	uint8_t head, count;
	uint8_t beat; /* of the present one */
	uint8_t payload[4];
	uint8_t codes[TELEPHONE_EVENT_DIGITS_MAX];
};

/* A key as an event code (RFC 4733 3.2), -1 for none. Any thread. */
int telephone_event_code(char digit);

/* Nothing waits, nothing was sent. Owning lcore. */
void telephone_event_reset(struct telephone_event *event);

/* Queue keys, as codes. Owning lcore. Those that find no room are over at once; whoever sends them counts. */
void telephone_event_push(struct telephone_event *event, uint8_t payload_type, const uint8_t *codes, unsigned int count);

/* The stream goes on as another one: a key that has begun is over. Owning lcore. */
void telephone_event_restream(struct telephone_event *event);

/* Whether a key has the next beat. Owning lcore. */
static inline bool telephone_event_is_active(const struct telephone_event *event)
{
	return event->count > 0;
}

/* One beat while telephone_event_is_active(), instead of playout_beat(). Owning lcore. */
void telephone_event_beat(struct telephone_event *event, struct session_playout *playout, struct playout_packet *packet);
