/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two linear-phase FIR filters, see resample.h. Ours because nothing else in a worker costs so much per call and both ratios are
 * whole numbers: a library that can do any ratio (speexdsp, quality 3) takes ten times the CPU (figures in doc/decisions.md).
 *
 * Both are windowed sinc with a Kaiser window (beta 5): of 95 taps with the cutoff at 3,800 Hz to go down, flat within 0.1 dB to
 * 3.4 kHz and 54 dB down from 4.3 kHz on; of 63 taps, half-band, to go up, flat within 0.1 dB to 3.4 kHz and 70 dB down from 4.6 kHz on.
 * Every other tap of a half-band filter is zero and one is 1, so that each input sample is an output sample too.
 */
#include "resample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "avx2.h"
#include "resample_avx2.h"

#define CHUNK	 1024u /* input samples filtered at once */
#define TAPS_MAX 96u

struct filter {
	uint32_t taps, step; /* input samples an output depends on, and from one output to the next */
	uint32_t lead;	     /* of them before the output's own time */
};

struct vl_resampler {
	struct filter filter;
	bool is_up, avx2;
	uint32_t kept;		/* samples of `past` */
	int16_t past[TAPS_MAX]; /* input that later outputs depend on */
};

/* 24 to 8 kHz, Q15; the last one makes it a multiple of a vector. No sum of products can leave 32 bits. */
static const struct filter down = {.taps = 95, .step = 3, .lead = 47};
static const int16_t down_taps[RESAMPLE_DOWN_TAPS] = {
	/* clang-format off */
	3, 10, 10, -3, -19, -20, 2, 30, 36, 5, -42, -59, -18, 53, 89, 41,
	-62, -127, -77, 64, 171, 128, -55, -222, -200, 30, 277, 296, 20, -334, -424, -104,
	389, 595, 242, -441, -836, -471, 484, 1214, 892, -518, -1964, -1906, 539, 4743, 8735, 10372,
	8735, 4743, 539, -1906, -1964, -518, 892, 1214, 484, -471, -836, -441, 242, 595, 389, -104,
	-424, -334, 20, 296, 277, 30, -200, -222, -55, 128, 171, 64, -77, -127, -62, 41,
	89, 53, -18, -59, -42, 5, 36, 30, 2, -20, -19, -3, 10, 10, 3, 0,
	/* clang-format on */
};

/* 8 to 16 kHz, Q14: the taps of the samples in the middle between two of the input. */
static const struct filter up = {.taps = RESAMPLE_UP_TAPS, .step = 1, .lead = 15};
static const int16_t up_taps[RESAMPLE_UP_TAPS] = {
	/* clang-format off */
	-12, 26, -45, 72, -109, 156, -218, 298, -400, 533, -710, 957, -1329, 1969, -3406, 10411,
	10411, -3406, 1969, -1329, 957, -710, 533, -400, 298, -218, 156, -109, 72, -45, 26, -12,
	/* clang-format on */
};

static inline int16_t saturate(int32_t value)
{
	return (int16_t)(value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value);
}

/* `z` has one sample more than the outputs depend on, so that there may be 96 taps. */
static void run_down(const int16_t *z, size_t outputs, int16_t *out, bool avx2)
{
	for (size_t n = avx2 ? resample_down_avx2(z, outputs, down_taps, out) : 0; n < outputs; n++) {
		int32_t sum = 1 << 14;

		for (unsigned int k = 0; k < RESAMPLE_DOWN_TAPS; k++)
			sum += z[3 * n + k] * down_taps[k];
		out[n] = saturate(sum >> 15);
	}
}

static void run_up(const int16_t *z, size_t inputs, int16_t *out, bool avx2)
{
	for (size_t n = avx2 ? resample_up_avx2(z, inputs, up_taps, up.lead, out) : 0; n < inputs; n++) {
		int32_t sum = 1 << 13;

		for (unsigned int k = 0; k < RESAMPLE_UP_TAPS; k++)
			sum += z[n + k] * up_taps[k];
		out[2 * n] = z[n + up.lead];
		out[2 * n + 1] = saturate(sum >> 14);
	}
}

struct vl_resampler *vl_resampler_new(uint32_t rate_in, uint32_t rate_out)
{
	return vl_resampler_new_for(rate_in, rate_out, vl_has_avx2());
}

struct vl_resampler *vl_resampler_new_for(uint32_t rate_in, uint32_t rate_out, bool avx2)
{
	bool is_up = rate_in == 8000 && rate_out == 16000;
	struct vl_resampler *resampler;

	if (!is_up && !(rate_in == 24000 && rate_out == 8000)) {
		errno = EINVAL;
		return NULL;
	}
	resampler = calloc(1, sizeof(*resampler));
	if (resampler == NULL)
		return NULL;
	resampler->filter = is_up ? up : down;
	resampler->is_up = is_up;
	resampler->avx2 = avx2;
	vl_resampler_reset(resampler);
	return resampler;
}

void vl_resampler_free(struct vl_resampler *resampler)
{
	free(resampler);
}

size_t vl_resampler_out_max(const struct vl_resampler *resampler, size_t count)
{
	/* What is kept and what a flush adds are less than all taps together. */
	size_t in = count + resampler->filter.taps;

	return resampler->filter.step == 1 ? in * 2 : in / 3 + 1;
}

size_t vl_resampler_process(struct vl_resampler *resampler, const int16_t *samples, size_t count, int16_t *out)
{
	const struct filter *filter = &resampler->filter;
	int16_t z[TAPS_MAX + CHUNK + 1];
	size_t written = 0;

	while (count > 0) {
		size_t chunk = count < CHUNK ? count : CHUNK, have = resampler->kept + chunk, used = 0;

		memcpy(z, resampler->past, resampler->kept * sizeof(*z));
		memcpy(z + resampler->kept, samples, chunk * sizeof(*z));
		z[have] = 0;
		if (have >= filter->taps) {
			size_t n = (have - filter->taps) / filter->step + 1;

			if (resampler->is_up)
				run_up(z, n, out + written, resampler->avx2);
			else
				run_down(z, n, out + written, resampler->avx2);
			written += resampler->is_up ? 2 * n : n;
			used = n * filter->step;
		}
		resampler->kept = (uint32_t)(have - used);
		memcpy(resampler->past, z + used, resampler->kept * sizeof(*z));
		samples += chunk;
		count -= chunk;
	}
	return written;
}

size_t vl_resampler_flush(struct vl_resampler *resampler, int16_t *out)
{
	static const int16_t silence[TAPS_MAX];
	const struct filter *filter = &resampler->filter;
	size_t written = vl_resampler_process(resampler, silence, filter->taps - 1 - filter->lead, out);

	vl_resampler_reset(resampler);
	return written;
}

void vl_resampler_reset(struct vl_resampler *resampler)
{
	resampler->kept = resampler->filter.lead;
	memset(resampler->past, 0, sizeof(resampler->past));
}
