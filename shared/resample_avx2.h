/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bulk of the two filters of resample.c with AVX2, eight outputs at a time; for resample.c only, which does the rest.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define RESAMPLE_DOWN_TAPS 96u /* one of them zero */
#define RESAMPLE_UP_TAPS   32u

/*
 * 3 to 1, taps in Q15: output i of `outputs` is of the 96 samples from z[3 * i] on. Any thread. Returns the outputs done, all but fewer than 8.
 */
size_t resample_down_avx2(const int16_t *z, size_t outputs, const int16_t taps[RESAMPLE_DOWN_TAPS], int16_t *out);

/*
 * 1 to 2, taps in Q14: of input i of `inputs` come z[i + lead] itself and a sample of the 32 from z[i] on. Any thread. Returns the inputs done, all but
 * fewer than 8.
 */
size_t resample_up_avx2(const int16_t *z, size_t inputs, const int16_t taps[RESAMPLE_UP_TAPS], size_t lead, int16_t *out);
