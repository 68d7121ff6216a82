/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Energy voice activity detection (see vad.h).
 */
#include "vad.h"

#include <string.h>

/*
 * The live service reports a start about 140 ms after speech begins, which includes the client's chunk and the frame in progress.
 * The noise floor follows the quiet frames; speech must stand 10 dB above it.
 */
#define DEFAULT_START_MS    120u
#define LOW_SENSITIVITY_MS  160u
#define MIN_START_MS	    20u
#define THRESHOLD_RMS	    180.0 /* about -45 dBFS */
#define LOW_SENSITIVITY_RMS 400.0
#define ABOVE_NOISE	    10.0 /* in power */
#define NOISE_MAX	    (600.0 * 600.0)
#define NOISE_FOLLOW	    0.02
#define VOICED_LEAK_MS	    5u /* a quiet frame takes this much back before START */

void vad_init(struct vad *vad, int prefix_padding_ms, int silence_ms, bool low_sensitivity)
{
	memset(vad, 0, sizeof(*vad));
	vad->start_ms = low_sensitivity ? LOW_SENSITIVITY_MS : DEFAULT_START_MS;
	if (prefix_padding_ms >= 0)
		vad->start_ms = prefix_padding_ms < (int)MIN_START_MS ? MIN_START_MS : (uint32_t)prefix_padding_ms;
	vad->silence_ms = (uint32_t)silence_ms;
	vad->threshold = low_sensitivity ? LOW_SENSITIVITY_RMS * LOW_SENSITIVITY_RMS : THRESHOLD_RMS * THRESHOLD_RMS;
}

static bool is_voiced(struct vad *vad)
{
	double sum = 0, power = 0;
	for (size_t i = 0; i < VAD_FRAME_SAMPLES; i++) {
		sum += vad->frame[i];
		power += (double)vad->frame[i] * vad->frame[i];
	}
	sum /= VAD_FRAME_SAMPLES;
	power = power / VAD_FRAME_SAMPLES - sum * sum;
	bool voiced = power > vad->threshold && power > vad->noise * ABOVE_NOISE;
	if (!voiced && vad->noise < NOISE_MAX)
		vad->noise += (power - vad->noise) * NOISE_FOLLOW;
	return voiced;
}

static enum vad_event take_frame(struct vad *vad)
{
	bool voiced = is_voiced(vad);
	vad->frame_size = 0;
	vad->time_ms += VAD_FRAME_MS;
	if (voiced) {
		vad->voiced_ms += VAD_FRAME_MS;
		vad->quiet_ms = 0;
		vad->last_voiced_ms = vad->time_ms;
	} else {
		vad->quiet_ms += VAD_FRAME_MS;
	}
	if (!vad->active) {
		if (!voiced)
			vad->voiced_ms = vad->voiced_ms > VOICED_LEAK_MS ? vad->voiced_ms - VOICED_LEAK_MS : 0;
		if (vad->voiced_ms < vad->start_ms)
			return VAD_EVENT_NONE;
		vad->active = true;
		vad->start_at_ms = vad->time_ms > vad->voiced_ms ? vad->time_ms - vad->voiced_ms : 0;
		return VAD_EVENT_START;
	}
	if (vad->quiet_ms < vad->silence_ms || voiced)
		return VAD_EVENT_NONE;
	vad->active = false;
	vad->voiced_ms = 0;
	return VAD_EVENT_END;
}

enum vad_event vad_feed(struct vad *vad, const int16_t *samples, size_t count, size_t *used)
{
	*used = 0;
	while (*used < count) {
		size_t take = VAD_FRAME_SAMPLES - vad->frame_size;
		if (take > count - *used)
			take = count - *used;
		memcpy(vad->frame + vad->frame_size, samples + *used, take * sizeof(*samples));
		vad->frame_size += take;
		*used += take;
		if (vad->frame_size < VAD_FRAME_SAMPLES)
			break;
		enum vad_event event = take_frame(vad);
		if (event != VAD_EVENT_NONE)
			return event;
	}
	return VAD_EVENT_NONE;
}

enum vad_event vad_flush(struct vad *vad)
{
	vad->frame_size = 0;
	vad->voiced_ms = 0;
	if (!vad->active)
		return VAD_EVENT_NONE;
	vad->active = false;
	return VAD_EVENT_END;
}
