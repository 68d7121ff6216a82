/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sound files of the test tools: any WAV that libsndfile reads becomes 16-bit mono at a wanted rate, and two mono tracks become one stereo WAV.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* 16-bit mono samples. Owned by whoever loaded it; free with wav_free(). */
struct wav {
	int16_t *samples;
	size_t count;
	unsigned int rate; /* Hz */
};

/*
 * Load `path`, mix its channels to one and resample to `rate` Hz. Any thread. Returns 0, or -errno with one sentence in `error`
 * (`error_size` bytes). At most WAV_SECONDS_MAX seconds are taken.
 */
#define WAV_SECONDS_MAX 3600u
int wav_load(const char *path, unsigned int rate, struct wav *wav, char *error, size_t error_size);

/* Free the samples; legal on a zeroed struct. */
void wav_free(struct wav *wav);

/* Write a 16-bit stereo WAV; the shorter track is filled up with zeros. Any thread. Returns 0 or -errno with one sentence in `error`. */
int wav_write_stereo(const char *path, unsigned int rate, const int16_t *left, size_t left_count, const int16_t *right,
	size_t right_count, char *error, size_t error_size);
