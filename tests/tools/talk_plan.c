/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a caller speaks.
 */
#include "talk_plan.h"

#include <string.h>

static bool should_begin(const struct talk_plan *plan, int64_t now_us, int64_t hearing_since_us)
{
	if (!plan->count || (plan->utterances && plan->said >= plan->utterances))
		return false;
	int64_t quiet = now_us - plan->quiet_since_us;
	if (!plan->said)
		return quiet >= plan->start_delay_us;
	if (plan->when_hearing_us < 0)
		return quiet >= plan->pause_us;
	if (hearing_since_us < 0)
		return quiet >= plan->pause_us;
	int64_t heard = now_us - hearing_since_us;
	return (heard < quiet ? heard : quiet) >= plan->when_hearing_us;
}

bool talk_plan_next(struct talk_plan *plan, int64_t now_us, int64_t hearing_since_us, int16_t frame[TALK_FRAME_SAMPLES])
{
	if (!plan->started) {
		plan->started = true;
		plan->quiet_since_us = now_us;
	}
	memset(frame, 0, TALK_FRAME_SAMPLES * sizeof(*frame));
	if (!plan->talking) {
		if (!should_begin(plan, now_us, hearing_since_us))
			return false;
		plan->talking = true;
		plan->at = 0;
	}
	size_t left = plan->count - plan->at, take = left < TALK_FRAME_SAMPLES ? left : TALK_FRAME_SAMPLES;
	memcpy(frame, plan->samples + plan->at, take * sizeof(*frame));
	plan->at += take;
	if (plan->at == plan->count) {
		plan->talking = false;
		plan->said++;
		plan->quiet_since_us = now_us;
	}
	return true;
}

bool talk_plan_done(const struct talk_plan *plan, int64_t now_us)
{
	return plan->utterances && plan->said >= plan->utterances && now_us - plan->quiet_since_us >= plan->pause_us;
}
