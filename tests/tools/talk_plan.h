/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a caller speaks: utterances with pauses between them, or an utterance each time the answer has been heard for a while (barge-in).
 * Pure: time and what is heard are parameters.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TALK_FRAME_SAMPLES 160u /* 20 ms at 8 kHz */

struct talk_plan {
	/* Set by the owner. */
	const int16_t *samples; /* one utterance, 8 kHz */
	size_t count;
	unsigned int utterances; /* how often; 0: for ever */
	int64_t start_delay_us;	 /* silence before the first */
	int64_t pause_us;	 /* silence between two */
	int64_t when_hearing_us; /* <0: off; else utterances after the first begin when the answer has been heard for so long; pause_us is then
				       how long to wait for an answer before speaking anyway */
	/* Its own. */
	bool started, talking;
	unsigned int said;
	size_t at;
	int64_t quiet_since_us;
};

/*
 * Fill the next 20 ms at `now_us`. `hearing_since_us` is when the sound that is heard now began, <0 when none is. Returns whether the frame belongs to an
 * utterance.
 */
bool talk_plan_next(struct talk_plan *plan, int64_t now_us, int64_t hearing_since_us, int16_t frame[TALK_FRAME_SAMPLES]);

/* Every utterance has been said and the pause after the last one is over. */
bool talk_plan_done(const struct talk_plan *plan, int64_t now_us);
