/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared/resample: chunking does not change the output, levels and filters, lengths of turns, reset, and bounds.
 */
#include "shared/resample.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "unit.h"

#define SECONDS_MAX 2

static int16_t in[48000 * SECONDS_MAX], out[48000 * SECONDS_MAX * 2 + 64], again[48000 * SECONDS_MAX * 2 + 64];

static const struct {
	uint32_t rate_in, rate_out;
} rates[] = {{8000, 16000}, {24000, 8000}};

static void fill_tone(uint32_t rate, double hz, double amplitude)
{
	for (size_t i = 0; i < (size_t)rate * SECONDS_MAX; i++)
		in[i] = (int16_t)lrint(amplitude * sin(2 * M_PI * hz * (double)i / rate));
}

static void fill_noise(void)
{
	uint32_t random = 12345;

	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
		random = random * 1664525u + 1013904223u;
		in[i] = (int16_t)(random >> 16);
	}
}

/* Level of the middle half of `count` samples in dB against a sine of `amplitude`. */
static double level(const int16_t *samples, size_t count, double amplitude)
{
	double power = 0;

	for (size_t i = count / 4; i < count * 3 / 4; i++)
		power += (double)samples[i] * samples[i];
	power /= (double)(count / 2);
	return 20 * log10(sqrt(2 * power) / amplitude + 1e-9);
}

/* Convert `count` samples of `in` in chunks of the sizes in turn, and flush. */
static size_t convert(uint32_t rate_in, uint32_t rate_out, size_t count, const size_t *chunks, size_t chunk_count, int16_t *to)
{
	struct vl_resampler *resampler = vl_resampler_new(rate_in, rate_out);
	size_t written = 0;

	ck_assert_ptr_nonnull(resampler);
	for (size_t used = 0, i = 0; used < count; i++) {
		size_t chunk = chunks[i % chunk_count] < count - used ? chunks[i % chunk_count] : count - used;
		size_t size = vl_resampler_process(resampler, in + used, chunk, to + written);
		ck_assert_uint_le(size, vl_resampler_out_max(resampler, chunk));
		written += size;
		used += chunk;
	}
	size_t size = vl_resampler_flush(resampler, to + written);
	ck_assert_uint_le(size, vl_resampler_out_max(resampler, 0));
	vl_resampler_free(resampler);
	return written + size;
}

START_TEST(test_resample_chunks_do_not_matter)
{
	static const size_t whole[] = {1u << 20}, odd[] = {1, 7, 160, 0, 3, 481, 2, 3839, 13, 1};

	fill_noise();
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		size_t count = rates[i].rate_in + 11u;
		size_t expected = convert(rates[i].rate_in, rates[i].rate_out, count, whole, 1, out);
		ck_assert_uint_eq(
			convert(rates[i].rate_in, rates[i].rate_out, count, odd, sizeof(odd) / sizeof(odd[0]), again), expected);
		ck_assert_mem_eq(out, again, expected * sizeof(out[0]));
	}
}
END_TEST

START_TEST(test_resample_turn_keeps_its_length)
{
	static const size_t chunk[] = {640};

	fill_noise();
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		size_t count = rates[i].rate_in;
		double written = (double)convert(rates[i].rate_in, rates[i].rate_out, count, chunk, 1, out);
		ck_assert_double_le(fabs(written - rates[i].rate_out), 1.0);
	}
}
END_TEST

/* Level in dB of a tone that went through. */
static double tone_through(uint32_t rate_in, uint32_t rate_out, double hz)
{
	static const size_t chunk[] = {333};

	fill_tone(rate_in, hz, 10000);
	size_t written = convert(rate_in, rate_out, rate_in, chunk, 1, out);

	return level(out, written, 10000);
}

START_TEST(test_resample_keeps_the_telephone_band)
{
	static const double tones[] = {300, 1000, 2000, 3000};

	for (size_t i = 0; i < sizeof(tones) / sizeof(tones[0]); i++) {
		ck_assert_double_le(fabs(tone_through(8000, 16000, tones[i])), 0.2);
		ck_assert_double_le(fabs(tone_through(24000, 8000, tones[i])), 0.2);
	}
	ck_assert_double_gt(tone_through(24000, 8000, 3400), -0.2);
	ck_assert_double_gt(tone_through(8000, 16000, 3400), -0.2);
}
END_TEST

START_TEST(test_resample_does_not_alias)
{
	static const double tones[] = {4300, 4400, 5000, 7000, 9000, 11000};

	for (size_t i = 0; i < sizeof(tones) / sizeof(tones[0]); i++)
		ck_assert_double_lt(tone_through(24000, 8000, tones[i]), -50.0);
}
END_TEST

START_TEST(test_resample_upsampling_makes_no_image)
{
	static const size_t chunk[] = {160};
	double power = 0, image = 0;

	/* 2 kHz at 8 kHz has its image at 6 kHz: correlate with both. */
	fill_tone(8000, 2000, 10000);
	size_t written = convert(8000, 16000, 8000, chunk, 1, out);
	double tones[2] = {2000, 6000}, *results[2] = {&power, &image};

	for (size_t t = 0; t < 2; t++) {
		double re = 0, im = 0;
		for (size_t i = 1600; i < written - 1600; i++) {
			re += out[i] * cos(2 * M_PI * tones[t] * (double)i / 16000);
			im += out[i] * sin(2 * M_PI * tones[t] * (double)i / 16000);
		}
		*results[t] = re * re + im * im;
	}
	ck_assert_double_gt(10 * log10(power / (image + 1)), 40.0);
}
END_TEST

START_TEST(test_resample_reset_forgets)
{
	struct vl_resampler *resampler = vl_resampler_new(24000, 8000), *fresh = vl_resampler_new(24000, 8000);
	size_t count;

	fill_noise();
	vl_resampler_process(resampler, in, 4801, out);
	vl_resampler_reset(resampler);
	count = vl_resampler_process(resampler, in + 100, 2400, out);
	ck_assert_uint_eq(vl_resampler_process(fresh, in + 100, 2400, again), count);
	ck_assert_mem_eq(out, again, count * sizeof(out[0]));
	/* So does the flush: nothing of one turn is in the next. */
	vl_resampler_flush(resampler, out);
	memset(in, 0, 4800 * sizeof(in[0]));
	count = vl_resampler_process(resampler, in, 4800, out);
	for (size_t i = 0; i < count; i++)
		ck_assert_int_eq(out[i], 0);
	vl_resampler_free(resampler);
	vl_resampler_free(fresh);
}
END_TEST

START_TEST(test_resample_loudest_input_clips_cleanly)
{
	/* A square wave overshoots in the filter; it must clip, not wrap around. */
	static const size_t chunk[] = {100};

	for (size_t i = 0; i < 24000; i++)
		in[i] = (i / 60) % 2 != 0 ? INT16_MAX : INT16_MIN;
	size_t written = convert(24000, 8000, 24000, chunk, 1, out);

	for (size_t i = 30; i + 30 < written; i++)
		if ((i + 4) % 20 >= 8) /* away from the edges */
			ck_assert_int_gt(abs(out[i]), 20000);
}
END_TEST

START_TEST(test_resample_worst_input_stays_in_32_bits)
{
	/* Each tap's product at its largest with the same sign, found by the impulse response; UBSan sees an overflow. */
	for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++) {
		size_t step = rates[r].rate_in / 8000u, centre = 300 * step;
		static const size_t whole[] = {1u << 20};

		for (size_t shift = 0; shift < 96; shift++) {
			memset(in, 0, sizeof(in));
			in[centre - 48 + shift] = 16384;
			convert(rates[r].rate_in, rates[r].rate_out, 2 * centre, whole, 1, out);
			again[shift] = out[rates[r].rate_out / 8000u * 300u + (r == 0 ? 1 : 0)] < 0 ? INT16_MIN : INT16_MAX;
		}
		memcpy(in + centre - 48, again, 96 * sizeof(in[0]));
		convert(rates[r].rate_in, rates[r].rate_out, 2 * centre, whole, 1, out);
		ck_assert_int_eq(out[rates[r].rate_out / 8000u * 300u + (r == 0 ? 1 : 0)], INT16_MAX);
	}
}
END_TEST

START_TEST(test_resample_same_with_every_processor)
{
	if (!__builtin_cpu_supports("avx2"))
		return;
	fill_noise();
	for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++) {
		struct vl_resampler *any = vl_resampler_new_for(rates[r].rate_in, rates[r].rate_out, false);
		struct vl_resampler *avx2 = vl_resampler_new_for(rates[r].rate_in, rates[r].rate_out, true);

		for (size_t at = 0, n = 1; at + n < 24000; at += n, n = n * 3 % 977 + 1) {
			size_t count = vl_resampler_process(any, in + at, n, out);

			ck_assert_uint_eq(vl_resampler_process(avx2, in + at, n, again), count);
			ck_assert_mem_eq(out, again, count * sizeof(out[0]));
		}
		vl_resampler_free(any);
		vl_resampler_free(avx2);
	}
}
END_TEST

START_TEST(test_resample_refuses)
{
	static const uint32_t bad[] = {0, 8000, 16000, 48000, UINT32_MAX};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		ck_assert_ptr_null(vl_resampler_new(bad[i], 8000));
		ck_assert_int_eq(errno, EINVAL);
		ck_assert_ptr_null(vl_resampler_new(24000, bad[i] == 8000 ? 16000 : bad[i]));
	}
	vl_resampler_free(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("resample");

	unit_add(suite, "chunks", test_resample_chunks_do_not_matter, test_resample_turn_keeps_its_length,
		test_resample_reset_forgets, test_resample_refuses);
	unit_add(suite, "filter", test_resample_keeps_the_telephone_band, test_resample_does_not_alias,
		test_resample_upsampling_makes_no_image, test_resample_loudest_input_clips_cleanly,
		test_resample_worst_input_stays_in_32_bits, test_resample_same_with_every_processor);
	return unit_run(suite);
}
