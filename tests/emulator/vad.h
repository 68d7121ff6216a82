/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Energy voice activity detection over received audio, in frames of 10 ms at 16 kHz. It counts audio time, not wall time, as the
 * service's audioOffset does. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VAD_RATE	  16000u
#define VAD_FRAME_SAMPLES 160u
#define VAD_FRAME_MS	  10u

enum vad_event { VAD_EVENT_NONE, VAD_EVENT_START, VAD_EVENT_END };

struct vad {
	/* Settings, set by vad_init(). */
	uint32_t start_ms;   /* speech needed before START */
	uint32_t silence_ms; /* silence needed before END */
	double threshold;    /* least mean square of speech, in sample units squared */
	/* State. */
	int16_t frame[VAD_FRAME_SAMPLES];
	size_t frame_size;
	double noise;	  /* estimate of the background's mean square */
	uint64_t time_ms; /* audio taken */
	uint32_t voiced_ms, quiet_ms;
	bool active;
	uint64_t start_at_ms, last_voiced_ms; /* where the present utterance begins; end of the last voiced frame */
};

/* `prefix_padding_ms` < 0 means the service's default; `low_sensitivity` is START_SENSITIVITY_LOW. */
void vad_init(struct vad *vad, int prefix_padding_ms, int silence_ms, bool low_sensitivity);

/* Take at most `count` samples, stop after the first event. Sets *used. Any thread, one at a time per detector. */
enum vad_event vad_feed(struct vad *vad, const int16_t *samples, size_t count, size_t *used);

/* The stream stops (audioStreamEnd): ends a running utterance at once. Returns VAD_EVENT_END or NONE. */
enum vad_event vad_flush(struct vad *vad);
