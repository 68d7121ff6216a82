/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One side of a recorded call.
 */
#include "recording.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int make_room(struct recording *recording, size_t needed)
{
	if (needed <= recording->room)
		return 0;
	size_t room = recording->room ? recording->room : 8000u * 16;
	while (room < needed)
		room *= 2;
	int16_t *grown = realloc(recording->samples, room * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + recording->room, 0, (room - recording->room) * sizeof(*grown));
	recording->samples = grown;
	recording->room = room;
	return 0;
}

int recording_put(struct recording *recording, int64_t position, const int16_t *samples, size_t count)
{
	if (position < 0) {
		if ((uint64_t)-position >= count)
			return 0;
		samples += -position;
		count -= (size_t)-position;
		position = 0;
	}
	if (position >= RECORDING_SAMPLES_MAX || !count)
		return 0;
	size_t at = (size_t)position;
	if (count > RECORDING_SAMPLES_MAX - at)
		count = RECORDING_SAMPLES_MAX - at;
	if (make_room(recording, at + count))
		return -ENOMEM;
	memcpy(recording->samples + at, samples, count * sizeof(*samples));
	if (at + count > recording->count)
		recording->count = at + count;
	return 0;
}

int recording_put_rtp(
	struct recording *recording, uint32_t ssrc, uint32_t timestamp, int64_t arrival, const int16_t *samples, size_t count)
{
	int64_t position = recording->anchor + (int32_t)(timestamp - recording->anchor_timestamp);
	int64_t drift = position - arrival;
	if (!recording->anchored || recording->ssrc != ssrc || drift > RECORDING_DRIFT_MAX || drift < -RECORDING_DRIFT_MAX) {
		recording->anchored = true;
		recording->ssrc = ssrc;
		position = arrival;
	}
	/* The anchor moves along, so that a call of any length stays within 31 bits of it. */
	recording->anchor = position;
	recording->anchor_timestamp = timestamp;
	return recording_put(recording, position, samples, count);
}

void recording_free(struct recording *recording)
{
	free(recording->samples);
	*recording = (struct recording){0};
}
