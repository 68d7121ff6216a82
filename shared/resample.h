/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sampling-rate conversion of one direction of one call, 16-bit mono: the telephone's 8 kHz to 16 kHz for the model, and its 24 kHz to the
 * telephone's 8 kHz. Chunks of any size give the same samples as one large chunk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vl_resampler;

/*
 * A converter from 8,000 to 16,000 Hz or from 24,000 to 8,000 Hz. Worker loop. Returns NULL with errno (EINVAL: other rates, ENOMEM); the
 * caller frees it.
 */
struct vl_resampler *vl_resampler_new(uint32_t rate_in, uint32_t rate_out);

/* The same with or without AVX2, which this processor must have then; for the test that both give the same samples. */
struct vl_resampler *vl_resampler_new_for(uint32_t rate_in, uint32_t rate_out, bool avx2);

/* Free; NULL is legal. Worker loop. */
void vl_resampler_free(struct vl_resampler *resampler);

/* Samples that vl_resampler_process() may write at most for `count` in. Any thread. */
size_t vl_resampler_out_max(const struct vl_resampler *resampler, size_t count);

/*
 * Convert `count` samples into `out`, which has room for vl_resampler_out_max(count). The filter's delay (2 ms) is kept back and comes with the next
 * samples or the flush; nothing is put in front. Worker loop. Returns the number of samples written.
 */
size_t vl_resampler_process(struct vl_resampler *resampler, const int16_t *samples, size_t count, int16_t *out);

/*
 * The end of a turn: write what the filter kept back, at most vl_resampler_out_max(0), and be as new. The samples out of a turn are then those in
 * times the rates' ratio, rounded. Worker loop. Returns the number of samples written.
 */
size_t vl_resampler_flush(struct vl_resampler *resampler, int16_t *out);

/* Forget the past without an end: after barge-in. Worker loop. */
void vl_resampler_reset(struct vl_resampler *resampler);
