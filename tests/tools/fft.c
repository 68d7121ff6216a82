/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Iterative radix-2 transform with precomputed factors (see fft.h).
 */
#include "fft.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

struct fft {
	size_t size;
	uint32_t *swap;		 /* bit-reversed index of each bin */
	struct fft_bin *factors; /* of each stage, one after the other */
};

struct fft *fft_new(size_t size)
{
	if (size < 4 || size > 1u << 20 || (size & (size - 1)) != 0) {
		errno = EINVAL;
		return NULL;
	}
	struct fft *fft = calloc(1, sizeof(*fft));
	if (fft == NULL)
		return NULL;
	fft->size = size;
	fft->swap = calloc(size, sizeof(*fft->swap));
	fft->factors = calloc(size, sizeof(*fft->factors));
	if (fft->swap == NULL || fft->factors == NULL) {
		fft_free(fft);
		errno = ENOMEM;
		return NULL;
	}
	for (size_t i = 1; i < size; i++)
		fft->swap[i] = fft->swap[i >> 1] >> 1 | (i & 1 ? (uint32_t)(size >> 1) : 0);
	struct fft_bin *factor = fft->factors;
	for (size_t half = 1; half < size; half *= 2) {
		for (size_t k = 0; k < half; k++)
			*factor++ = (struct fft_bin){
				(float)cos(M_PI * (double)k / (double)half), (float)-sin(M_PI * (double)k / (double)half)};
	}
	return fft;
}

void fft_free(struct fft *fft)
{
	if (fft == NULL)
		return;
	free(fft->swap);
	free(fft->factors);
	free(fft);
}

void fft_forward(const struct fft *fft, struct fft_bin *bins)
{
	for (size_t i = 0; i < fft->size; i++) {
		size_t j = fft->swap[i];
		if (i < j) {
			struct fft_bin bin = bins[i];
			bins[i] = bins[j];
			bins[j] = bin;
		}
	}
	const struct fft_bin *factors = fft->factors;
	for (size_t half = 1; half < fft->size; half *= 2) {
		for (size_t base = 0; base < fft->size; base += 2 * half) {
			struct fft_bin *low = bins + base, *high = low + half;
			for (size_t k = 0; k < half; k++) {
				float re = high[k].re * factors[k].re - high[k].im * factors[k].im;
				float im = high[k].re * factors[k].im + high[k].im * factors[k].re;
				high[k].re = low[k].re - re;
				high[k].im = low[k].im - im;
				low[k].re += re;
				low[k].im += im;
			}
		}
		factors += half;
	}
}

/* By the forward transform of the mirrored spectrum. */
void fft_inverse(const struct fft *fft, struct fft_bin *bins)
{
	float scale = 1.0f / (float)fft->size;

	for (size_t i = 0; i < fft->size; i++)
		bins[i].im = -bins[i].im;
	fft_forward(fft, bins);
	for (size_t i = 0; i < fft->size; i++) {
		bins[i].re *= scale;
		bins[i].im *= -scale;
	}
}
