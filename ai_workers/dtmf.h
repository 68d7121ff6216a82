/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that the caller presses, from telephone-event payloads (RFC 4733): one digit per event, however many of its packets come,
 * in whatever order. An event is its timestamp and its code; the marker is not looked at, the end bit of any of the three end
 * packets ends it, and so does silence when all three are lost. Pure: payloads and a clock in, digits out.
 *
 * Digits that follow each other are told to the model together: a text starts an answer, and the first digit of a card number is
 * nothing to answer to. What was told is kept until the model has shown that it heard it, and told again behind a lost connection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DTMF_LOST_MS   250u  /* without a packet of an open event: its end was lost */
#define DTMF_FORGET_MS 5000u /* how long packets of an event that is over are recognised */
#define DTMF_PAUSE_MS  800u  /* behind the last digit until the model is told; '#' ends an entry at once */
#define DTMF_PERIOD_MS 50u   /* a key every so often, on average; more is no finger */
#define DTMF_BURST     8u    /* and as many at once */
#define DTMF_KEYS_MAX  32u   /* of one text for the model */
#define DTMF_TEXT_SIZE 128u
#define DTMF_CONFIRM_MS \
	300u /* what the model says so long after a text went out, it says with the text in its context, as with a function's result */

/* One key that was pressed. */
struct dtmf_digit {
	char digit; /* 0-9, *, #, A-D */
	uint32_t duration_ms;
};

/* Owner: one call. Zeroed at its start. */
struct dtmf {
	bool open;
	uint8_t code;
	unsigned int ready_count, key_count; /* here, because a tick looks at these and `open` and mostly at nothing else */
	uint32_t timestamp, duration;	     /* of the open event; of its present segment */
	uint32_t before;		     /* duration of its earlier segments */
	uint64_t heard_ms;
	struct {
		bool used;
		uint8_t code;
		uint32_t timestamp;
		uint64_t ms;
	} over[4]; /* events that are over, the next one replaces over[over_next] */
	unsigned int over_next;
	struct dtmf_digit ready[DTMF_BURST];
	uint64_t allowed_ms; /* rate limit */
	char keys[DTMF_KEYS_MAX + 1];
	uint64_t pressed_ms;
	/* Told to the model, which has not shown yet that it heard it; the newest, when there are too many. */
	char told[DTMF_KEYS_MAX];
	unsigned int told_count;
	uint64_t message; /* the owner's number of what they were told in, 0: of none that can still go out */
	uint64_t out_ms;  /* when it went out, 0: not on this connection */
};

/* One telephone-event payload, `timestamp` of its RTP header. Worker loop. What is no event of a key is ignored. */
void dtmf_packet(struct dtmf *dtmf, const uint8_t *payload, size_t len, uint32_t timestamp, uint64_t now_ms);

/* Let time pass. Worker loop, every few ms. */
void dtmf_tick(struct dtmf *dtmf, uint64_t now_ms);

/* The next key that was released. Worker loop. Returns whether there is one. */
bool dtmf_next(struct dtmf *dtmf, struct dtmf_digit *digit);

/* What to tell the model now, if anything: "Caller pressed 1 2 #.". Worker loop. Returns whether `text` was filled: then dtmf_told() or dtmf_forget(). */
bool dtmf_text(struct dtmf *dtmf, char text[DTMF_TEXT_SIZE], uint64_t now_ms);

/* What to tell it again on another connection: all that it has not shown to have heard. Worker loop. Returns whether `text` was filled: then dtmf_told(). */
bool dtmf_text_again(const struct dtmf *dtmf, char text[DTMF_TEXT_SIZE]);

/* All of it is in the message that the owner will count as `message`. Worker loop. */
void dtmf_told(struct dtmf *dtmf, uint64_t message);

/* Message number `message` went out. Worker loop. */
void dtmf_went_out(struct dtmf *dtmf, uint64_t message, uint64_t now_ms);

/* The connection is gone, and what was waiting for room in it with it. Worker loop. */
void dtmf_dropped(struct dtmf *dtmf);

/* The model has said something. Worker loop. */
void dtmf_answered(struct dtmf *dtmf, uint64_t now_ms);

/* Nobody is told. Worker loop. */
void dtmf_forget(struct dtmf *dtmf);
