/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An identity that survives codecs, resampling and a model's messages: three tones at once, another three for each identity, in
 * every 20 ms of sound. What was heard is judged window by window, so a single frame of somebody else is found, whether it
 * stands alone, in place of own sound, or mixed into it. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TONE_MARK_TONES	     20u  /* 400 Hz to 3250 Hz, 150 Hz apart */
#define TONE_MARK_IDENTITIES 560u /* three of them with two between each */
#define TONE_MARK_NOBODY     TONE_MARK_IDENTITIES

/* Windows of 20 ms, one every 10 ms. */
struct tone_mark_result {
	uint32_t silent;
	uint32_t own;
	uint32_t edge;	  /* of own sound that begins, ends or is interrupted in the window; and what is too faint to be judged */
	uint32_t foreign; /* with a tone that the identity does not have */
	uint32_t heard[TONE_MARK_IDENTITIES + 1]; /* foreign ones by whose they are alone; the last: nobody's, a mixture */
};

/* Write `count` samples at `rate` Hz, 8,000 or more, which begin at sample `at` of the identity's endless sound. Any thread. */
void tone_mark_write(unsigned int identity, unsigned int rate, size_t at, int16_t *samples, size_t count);

/* Judge sound that only `identity` may be heard in. Any thread. */
void tone_mark_judge(
	unsigned int identity, unsigned int rate, const int16_t *samples, size_t count, struct tone_mark_result *result);
