/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a call that the model asked for (end_call): not before the caller has heard the goodbye, not against a caller who
 * speaks again, and not later than ENDING_MAX_MS. Pure: what is heard and a clock in, when to end out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ENDING_MAX_MS	15000u /* from end_call to the end, whatever happens */
#define ENDING_GRACE_MS 400u   /* behind the last packet of the goodbye: the caller's jitter buffer plays on */
#define ENDING_PAUSE_MS 2000u  /* silence after which the goodbye is over even if the model has not said so */

/* Owner: one call. Zeroed at its start. */
struct ending {
	bool wanted;
	bool voice; /* the model has spoken since the caller did */
	uint64_t deadline_ms, silent_since_ms;
};

/* The model's voice came. Worker loop. */
void ending_voice(struct ending *ending);

/* The caller speaks, so what the model said before is no goodbye, and a call that was about to end goes on. Worker loop. */
void ending_caller(struct ending *ending);

/* end_call. Worker loop. Returns whether the goodbye was said already; if not, the model should be told to say it. */
bool ending_begin(struct ending *ending, uint64_t now_ms);

/*
 * Whether to end now. `silent`: nothing of the model's voice is left to be sent to the caller, and the caller does not speak;
 * `complete`: the model has said that this was all. Worker loop, every few ms.
 */
bool ending_due(struct ending *ending, bool silent, bool complete, uint64_t now_ms);
