/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared/g711: values of the G.711 tables, that every code survives a round trip, and that speech-like levels come through at the codec's quality.
 */
#include "shared/g711.h"

#include <math.h>

#include "unit.h"

START_TEST(test_g711_table_values)
{
	static const struct {
		enum vl_g711_law law;
		uint8_t code;
		int16_t sample;
	} cases[] = {
		{VL_G711_PCMU, 0xff, 0},
		{VL_G711_PCMU, 0x7f, 0},
		{VL_G711_PCMU, 0x80, 32124},
		{VL_G711_PCMU, 0x00, -32124},
		{VL_G711_PCMU, 0xfe, 8},
		{VL_G711_PCMU, 0x7e, -8},
		{VL_G711_PCMU, 0xe0, 372},
		{VL_G711_PCMA, 0xd5, 8},
		{VL_G711_PCMA, 0x55, -8},
		{VL_G711_PCMA, 0xaa, 32256},
		{VL_G711_PCMA, 0x2a, -32256},
		{VL_G711_PCMA, 0xd4, 24},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int16_t sample;
		vl_g711_decode(cases[i].law, &cases[i].code, &sample, 1);
		ck_assert_int_eq(sample, cases[i].sample);
	}
	ck_assert_uint_eq(vl_g711_silence(VL_G711_PCMU), 0xff);
	ck_assert_uint_eq(vl_g711_silence(VL_G711_PCMA), 0xd5);
}
END_TEST

START_TEST(test_g711_codes_survive)
{
	static const enum vl_g711_law laws[] = {VL_G711_PCMU, VL_G711_PCMA};

	for (size_t l = 0; l < 2; l++)
		for (unsigned int i = 0; i < 256; i++) {
			uint8_t code = (uint8_t)i, again;
			int16_t sample;
			vl_g711_decode(laws[l], &code, &sample, 1);
			vl_g711_encode(laws[l], &sample, &again, 1);
			/* mu-law has two zeros */
			ck_assert_uint_eq(again, laws[l] == VL_G711_PCMU && code == 0x7f ? 0xff : code);
		}
}
END_TEST

START_TEST(test_g711_every_sample_is_near)
{
	static const enum vl_g711_law laws[] = {VL_G711_PCMU, VL_G711_PCMA};

	for (size_t l = 0; l < 2; l++)
		for (int i = INT16_MIN; i <= INT16_MAX; i++) {
			int16_t sample = (int16_t)i, again;
			uint8_t code;
			vl_g711_encode(laws[l], &sample, &code, 1);
			vl_g711_decode(laws[l], &code, &again, 1);
			/* Half a step: 1/32 of the value and 1/2 of the smallest step; the ends clip. */
			ck_assert_int_le(abs(again - sample), abs(sample) / 32 + (abs(sample) > 32000 ? 650 : 16));
		}
}
END_TEST

/* One at a time is spandsp's arithmetic, many at once that of vectors: every sample and every code gives the same, in blocks of any length. */
START_TEST(test_g711_blocks_are_as_single_samples)
{
	static const enum vl_g711_law laws[] = {VL_G711_PCMU, VL_G711_PCMA};
	static int16_t samples[65536], decoded[65536];
	static uint8_t codes[65536];

	for (size_t i = 0; i < 65536; i++)
		samples[i] = (int16_t)(i * 40503u); /* each once, in no order */
	for (size_t l = 0; l < 2; l++) {
		for (size_t at = 0, n = 1; at < 65536; at += n, n = n % 97 + 1) {
			n = n < 65536 - at ? n : 65536 - at;
			vl_g711_encode(laws[l], samples + at, codes + at, n);
			vl_g711_decode(laws[l], codes + at, decoded + at, n);
		}
		for (size_t i = 0; i < 65536; i++) {
			uint8_t code;
			int16_t sample;

			vl_g711_encode(laws[l], &samples[i], &code, 1);
			ck_assert_msg(code == codes[i], "law %d: %d gives %#x, alone %#x", laws[l], samples[i], codes[i], code);
			vl_g711_decode(laws[l], &code, &sample, 1);
			ck_assert_int_eq(sample, decoded[i]);
		}
		for (size_t i = 0; i < 256; i++)
			codes[i] = (uint8_t)i;
		vl_g711_decode(laws[l], codes, decoded, 256);
		for (size_t i = 0; i < 256; i++) {
			int16_t sample;

			vl_g711_decode(laws[l], &codes[i], &sample, 1);
			ck_assert_int_eq(sample, decoded[i]);
		}
	}
}
END_TEST

START_TEST(test_g711_tone_quality)
{
	static const enum vl_g711_law laws[] = {VL_G711_PCMU, VL_G711_PCMA};
	int16_t tone[8000], again[8000];
	uint8_t codes[8000];

	for (size_t l = 0; l < 2; l++) {
		double signal = 0, noise = 0;
		for (int i = 0; i < 8000; i++)
			tone[i] = (int16_t)lrint(8000 * sin(2 * M_PI * 1020 * i / 8000));
		vl_g711_encode(laws[l], tone, codes, 8000);
		vl_g711_decode(laws[l], codes, again, 8000);
		for (int i = 0; i < 8000; i++) {
			signal += (double)tone[i] * tone[i];
			noise += (double)(again[i] - tone[i]) * (again[i] - tone[i]);
		}
		ck_assert_double_gt(10 * log10(signal / noise), 35.0); /* G.712 asks for 33 dB */
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("g711");

	unit_add(suite, "codes", test_g711_table_values, test_g711_codes_survive, test_g711_every_sample_is_near,
		test_g711_blocks_are_as_single_samples);
	unit_add(suite, "quality", test_g711_tone_quality);
	return unit_run(suite);
}
