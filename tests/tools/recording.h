/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One side of a call on a sample-accurate time line: sound is put where its RTP timestamp says, anchored at the first packet's arrival.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORDING_SAMPLES_MAX (8000u * 3600u)
#define RECORDING_DRIFT_MAX   16000 /* samples between time line and arrival after which it is anchored anew */

struct recording {
	int16_t *samples;
	size_t count, room;
	bool anchored;
	uint32_t ssrc;	/* of the anchor */
	int64_t anchor; /* position of anchor_timestamp, samples */
	uint32_t anchor_timestamp;
};

/* Put `count` samples at `position` (samples; parts before zero or beyond RECORDING_SAMPLES_MAX are cut). Returns 0 or -ENOMEM. */
int recording_put(struct recording *recording, int64_t position, const int16_t *samples, size_t count);

/*
 * Put a packet's sound by its timestamp; `arrival` is the position its arrival time stands for. A new SSRC, or a timestamp more than RECORDING_DRIFT_MAX
 * away from the arrival, anchors the line anew. Returns 0 or -ENOMEM.
 */
int recording_put_rtp(
	struct recording *recording, uint32_t ssrc, uint32_t timestamp, int64_t arrival, const int16_t *samples, size_t count);

/* Free the samples; legal on a zeroed struct. */
void recording_free(struct recording *recording);
