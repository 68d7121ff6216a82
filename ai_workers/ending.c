/* SPDX-License-Identifier: Apache-2.0 */
/* See ending.h. */
#include "ending.h"

void ending_voice(struct ending *ending)
{
	ending->voice = true;
}

void ending_caller(struct ending *ending)
{
	*ending = (struct ending){0};
}

bool ending_begin(struct ending *ending, uint64_t now_ms)
{
	if (!ending->wanted)
		ending->deadline_ms = now_ms + ENDING_MAX_MS;
	ending->wanted = true;
	ending->silent_since_ms = 0;
	return ending->voice;
}

bool ending_due(struct ending *ending, bool silent, bool complete, uint64_t now_ms)
{
	if (!ending->wanted)
		return false;
	if (now_ms >= ending->deadline_ms)
		return true;
	if (!silent || !ending->voice) {
		ending->silent_since_ms = 0;
		return false;
	}
	if (ending->silent_since_ms == 0)
		ending->silent_since_ms = now_ms;
	return now_ms - ending->silent_since_ms >= (complete ? ENDING_GRACE_MS : ENDING_PAUSE_MS);
}
