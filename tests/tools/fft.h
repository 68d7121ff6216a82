/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Complex fast Fourier transform of a power of two, for audio_match.c. Small and plain; nothing else needs one.
 */
#pragma once

#include <stddef.h>

struct fft_bin {
	float re, im;
};

struct fft;

/* Tables for transforms of `size` (a power of two, 4 to 2^20). NULL with errno set when memory is out or the size is wrong. */
struct fft *fft_new(size_t size);
void fft_free(struct fft *fft);

/* Transform `size` bins in place. The inverse is divided by `size`. One thread at a time per buffer. */
void fft_forward(const struct fft *fft, struct fft_bin *bins);
void fft_inverse(const struct fft *fft, struct fft_bin *bins);
