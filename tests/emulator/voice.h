/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the emulated model says: 24 kHz audio that carries the identity of the API key's label, so that a caller can tell whose
 * answer it hears. Pure, apart from loading WAV files.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define VOICE_RATE 24000u

/* One answer. The base64 form is of the whole audio: messages on 3-byte boundaries are slices of it. */
struct voice_answer {
	int16_t *samples;
	size_t count;
	char *base64;
	size_t base64_size;
};

/*
 * A melody of two-tone notes (200 ms each, 350 to 3,100 Hz, inside the telephone band) whose frequencies are drawn from the
 * label: two labels share no note. Any thread. Returns 0 or -ENOMEM; free with voice_answer_free().
 */
int voice_tone(const char *label, uint32_t duration_ms, struct voice_answer *answer);

/* Resample `count` samples of `rate` Hz into an answer. Returns 0 or -errno. */
int voice_from_pcm(const int16_t *samples, size_t count, uint32_t rate, struct voice_answer *answer);

/* Free and clear. */
void voice_answer_free(struct voice_answer *answer);
