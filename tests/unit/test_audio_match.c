/* SPDX-License-Identifier: Apache-2.0 */
/* The voice matcher: own material after all that a call does to it, foreign material of all kinds, two voices at once. */
#include "tests/tools/audio_match.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <speex/speex_resampler.h>

#include "tests/emulator/voice.h"
#include "tests/tools/fft.h"
#include "tests/tools/g711.h"
#include "unit.h"

#define RATE	8000u
#define SECONDS 8u
#define COUNT	(RATE * SECONDS)

static uint32_t draw(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static double draw_between(uint32_t *state, double low, double high)
{
	return low + (high - low) * draw(state) / 16777216.0;
}

/*
 * Babble with the traits of speech that matter here: syllables of 80 to 250 ms with a gliding pitch, three wandering resonances,
 * noise for consonants, pauses. Another seed says something else; `pitch` is the voice.
 */
static int16_t *babble(uint32_t seed, double pitch, size_t count)
{
	int16_t *out = calloc(count, sizeof(*out));
	double y[3][2] = {{0}};
	uint32_t state = seed * 7919 + 1;

	ck_assert_ptr_nonnull(out);
	for (size_t at = 0; at < count;) {
		size_t length = (size_t)draw_between(&state, RATE * 0.08, RATE * 0.25);
		double from = pitch * draw_between(&state, 0.8, 1.2), to = pitch * draw_between(&state, 0.8, 1.2), phase = 0;
		double formants[3] = {
			draw_between(&state, 300, 800), draw_between(&state, 900, 2000), draw_between(&state, 2200, 3200)};
		bool pause = draw(&state) % 5 == 0, voiced = draw(&state) % 4 != 0;

		for (size_t i = 0; i < length && at < count; i++, at++) {
			double t = (double)i / (double)length, source = 0, sum = 0;
			phase += (from + (to - from) * t) / RATE;
			if (voiced && phase >= 1) {
				phase -= 1;
				source = 6000;
			} else if (!voiced) {
				source = draw_between(&state, -500, 500);
			}
			for (unsigned f = 0; f < 3; f++) {
				double r = 0.97, w = 2 * M_PI * formants[f] / RATE;
				double v = source * (1 - r) + 2 * r * cos(w) * y[f][0] - r * r * y[f][1];
				y[f][1] = y[f][0];
				y[f][0] = v;
				sum += v / (f + 1);
			}
			out[at] = pause ? 0 : (int16_t)fmax(-32000, fmin(32000, 6 * sum * sin(M_PI * t)));
		}
	}
	return out;
}

static int16_t *convert(const int16_t *samples, size_t count, uint32_t from, uint32_t to, size_t *made)
{
	int error;
	int16_t *out = calloc(count * to / from + 1000, sizeof(*out));
	SpeexResamplerState *state = speex_resampler_init(1, from, to, 5, &error);

	*made = 0;
	/* In pieces of 20 ms, the filter's delay left in, as a gateway does it. */
	for (size_t at = 0; at < count;) {
		spx_uint32_t in = count - at < from / 50 ? (spx_uint32_t)(count - at) : from / 50, got = to;
		speex_resampler_process_int(state, 0, samples + at, &in, out + *made, &got);
		at += in;
		*made += got;
	}
	speex_resampler_destroy(state);
	return out;
}

static void g711(int16_t *samples, size_t count, bool alaw)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t byte;
		g711_encode_frame(alaw, samples + i, &byte, 1);
		g711_decode_frame(alaw, &byte, samples + i, 1);
	}
}

static struct audio_match_result run(struct audio_match *match, const int16_t *samples, size_t count, uint32_t rate)
{
	struct audio_match_result result;

	ck_assert_int_eq(audio_match_run(match, samples, count, rate, &result, NULL, NULL), 0);
	return result;
}

/* Four voices say different things. */
static struct audio_match *four_voices(int16_t *voices[4])
{
	static const char *const labels[4] = {"admin2", "agent4", "third", "fourth"};
	struct audio_match *match = audio_match_new();

	for (unsigned i = 0; i < 4; i++) {
		voices[i] = babble(i + 1, 100 + 30 * i, COUNT);
		ck_assert_int_eq(audio_match_add(match, labels[i], voices[i], COUNT, RATE), (int)i);
	}
	return match;
}

static void release(struct audio_match *match, int16_t *voices[4])
{
	for (unsigned i = 0; i < 4; i++)
		free(voices[i]);
	audio_match_free(match);
}

START_TEST(test_fft_inverts_and_finds_a_tone)
{
	struct fft *fft = fft_new(64);
	struct fft_bin bins[64], tone[64];

	for (unsigned i = 0; i < 64; i++)
		tone[i] = bins[i] = (struct fft_bin){(float)cos(2 * M_PI * 5 * i / 64), (float)sin(2 * M_PI * 5 * i / 64)};
	fft_forward(fft, bins);
	for (unsigned i = 0; i < 64; i++)
		ck_assert_float_eq_tol(bins[i].re, i == 5 ? 64 : 0, 1e-4);
	fft_inverse(fft, bins);
	for (unsigned i = 0; i < 64; i++)
		ck_assert(fabsf(bins[i].re - tone[i].re) < 1e-5f && fabsf(bins[i].im - tone[i].im) < 1e-5f);
	fft_free(fft);
	ck_assert_ptr_null(fft_new(48));
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

/* What a call does: codec, rate, delay, gain, noise; one at a time and together. */
START_TEST(test_match_own_voice)
{
	static const struct {
		uint32_t rate;
		size_t delay;
		double gain, noise;
		bool alaw;
		float least;
	} cases[] = {
		{8000, 0, 1, 0, false, 0.98f},
		{16000, 0, 1, 0, true, 0.95f},
		{16000, 12345, 0.3, 0, false, 0.95f},
		{24000, 777, 1, 0, false, 0.75f},
		{48000, 1, 1.4, 0, true, 0.95f},
		{16000, 4001, 1, 100, false, 0.6f},
	};
	int16_t *voices[4];
	struct audio_match *match = four_voices(voices);

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		for (unsigned voice = 0; voice < 4; voice += 2) {
			int16_t *call = calloc(COUNT + cases[c].delay, sizeof(*call));
			uint32_t state = 99;
			for (size_t i = 0; i < COUNT; i++)
				call[cases[c].delay + i] = (int16_t)fmax(
					-32000, fmin(32000, voices[voice][i] * cases[c].gain +
								    draw_between(&state, -cases[c].noise, cases[c].noise)));
			g711(call, COUNT + cases[c].delay, cases[c].alaw);
			size_t count;
			int16_t *heard = convert(call, COUNT + cases[c].delay, RATE, cases[c].rate, &count);
			struct audio_match_result result = run(match, heard, count, cases[c].rate);
			unsigned own = result.reference_ms[voice];
			ck_assert_msg(own >= SECONDS * 600, "case %zu voice %u: own %u ms, unknown %u ms, best refused %f", c,
				voice, own, result.unknown_ms, (double)result.highest_unknown);
			ck_assert_msg(result.unknown_ms <= 150, "case %zu voice %u: unknown %u ms", c, voice, result.unknown_ms);
			for (unsigned other = 0; other < 4; other++)
				ck_assert_msg(other == voice || result.reference_ms[other] == 0, "case %zu: %u heard as %u", c,
					voice, other);
			ck_assert_msg(
				result.lowest_score >= cases[c].least, "case %zu: score %f", c, (double)result.lowest_score);
			ck_assert_uint_eq(result.mixed_ms, 0);
			free(call);
			free(heard);
		}
	}
	release(match, voices);
}
END_TEST

/* Lost packets, and a delay that jumps in the middle. */
START_TEST(test_match_survives_loss_and_jumps)
{
	int16_t *voices[4], *heard = calloc(COUNT + 4000, sizeof(*heard));
	struct audio_match *match = four_voices(voices);
	uint32_t state = 5;

	memcpy(heard, voices[2], COUNT / 2 * sizeof(*heard));
	memcpy(heard + COUNT / 2 + 1111, voices[2] + COUNT / 2, COUNT / 2 * sizeof(*heard));
	for (size_t at = 0; at + 160 <= COUNT; at += 160) {
		if (draw(&state) % 20 == 0)
			memset(heard + at, 0, 160 * sizeof(*heard));
	}
	struct audio_match_result result = run(match, heard, COUNT + 4000, RATE);
	ck_assert_uint_ge(result.reference_ms[2], SECONDS * 550);
	ck_assert_uint_le(result.unknown_ms, 1000);
	ck_assert_uint_eq(result.reference_ms[0] + result.reference_ms[1] + result.reference_ms[3], 0);
	free(heard);
	release(match, voices);
}
END_TEST

/* The oracle's other half: no foreign sound may ever pass for a reference, also in the same voice. */
START_TEST(test_match_foreign_voices_are_unknown)
{
	int16_t *voices[4];
	struct audio_match *match = four_voices(voices);
	unsigned sound = 0;

	for (uint32_t seed = 100; seed < 116; seed++) {
		int16_t *foreign = babble(seed, 100 + 30 * (seed % 4), COUNT);
		struct audio_match_result result = run(match, foreign, COUNT, RATE);
		for (unsigned i = 0; i < 4; i++)
			ck_assert_msg(result.reference_ms[i] == 0, "seed %u: %u ms taken for reference %u", seed,
				result.reference_ms[i], i);
		ck_assert_msg(result.highest_unknown < 0.45f, "seed %u: score %f", seed, (double)result.highest_unknown);
		sound += result.unknown_ms;
		free(foreign);
	}
	ck_assert_uint_ge(sound, 16 * SECONDS * 600);
	release(match, voices);
}
END_TEST

START_TEST(test_match_finds_two_voices)
{
	static const double under_db[] = {0, -6, -10};
	int16_t *voices[4], *heard = calloc(COUNT, sizeof(*heard));
	struct audio_match *match = four_voices(voices);

	/* One after the other. */
	memcpy(heard, voices[0], COUNT / 2 * sizeof(*heard));
	memcpy(heard + COUNT / 2, voices[1] + COUNT / 4, COUNT / 2 * sizeof(*heard));
	struct audio_match_result result = run(match, heard, COUNT, RATE);
	ck_assert(result.reference_ms[0] >= SECONDS * 280 && result.reference_ms[1] >= SECONDS * 280);
	/* One second of another caller is found. */
	memcpy(heard, voices[0], COUNT * sizeof(*heard));
	memcpy(heard + 5 * RATE, voices[1] + RATE, 2 * RATE * sizeof(*heard));
	result = run(match, heard, COUNT, RATE);
	ck_assert_uint_ge(result.reference_ms[1], 1000);
	/* At the same time. */
	for (size_t k = 0; k < sizeof(under_db) / sizeof(under_db[0]); k++) {
		for (size_t i = 0; i < COUNT; i++)
			heard[i] = (int16_t)((voices[0][i] + pow(10, under_db[k] / 20) * voices[1][(i + 3000) % COUNT]) / 2);
		result = run(match, heard, COUNT, RATE);
		ck_assert_msg(result.reference_ms[0] >= SECONDS * 500, "%f dB: first %u ms", under_db[k], result.reference_ms[0]);
		ck_assert_msg(
			result.reference_ms[1] >= SECONDS * 200, "%f dB: second %u ms", under_db[k], result.reference_ms[1]);
		ck_assert_uint_eq(result.reference_ms[2] + result.reference_ms[3], 0);
	}
	free(heard);
	release(match, voices);
}
END_TEST

/* The seed system's fault: packets of two callers in one stream. It must never look like one clean voice. */
START_TEST(test_match_interleaved_packets_are_not_clean)
{
	int16_t *voices[4], *heard = calloc(2 * COUNT, sizeof(*heard));
	struct audio_match *match = four_voices(voices);

	for (size_t at = 0; at < COUNT; at += 160) {
		memcpy(heard + 2 * at, voices[0] + at, 160 * sizeof(*heard));
		memcpy(heard + 2 * at + 160, voices[1] + at, 160 * sizeof(*heard));
	}
	struct audio_match_result result = run(match, heard, 2 * COUNT, RATE);
	ck_assert_uint_ge(result.unknown_ms + result.unexplained_ms + result.reference_ms[1], result.reference_ms[0] / 4);
	ck_assert_uint_ge(result.unknown_ms + result.unexplained_ms, 2000);
	/* 100 ms of it inside an otherwise own sentence are seen as unexplained. */
	memcpy(heard, voices[0], COUNT * sizeof(*heard));
	memcpy(heard + 4 * RATE, voices[1] + 2 * RATE, RATE / 10 * sizeof(*heard));
	memcpy(heard + 6 * RATE, voices[1] + 5 * RATE, RATE / 10 * sizeof(*heard));
	result = run(match, heard, COUNT, RATE);
	ck_assert_uint_ge(result.unexplained_ms + result.unknown_ms + result.reference_ms[1], 40);
	result = run(match, voices[0], COUNT, RATE);
	ck_assert_uint_eq(result.unexplained_ms, 0);
	free(heard);
	release(match, voices);
}
END_TEST

/* The emulator's melodies tell keys apart. */
START_TEST(test_match_tells_melodies_apart)
{
	struct audio_match *match = audio_match_new();
	struct voice_answer answers[24];
	char label[16];

	for (unsigned i = 0; i < 24; i++) {
		snprintf(label, sizeof(label), "agent%u", i);
		ck_assert_int_eq(voice_tone(label, 3000, &answers[i]), 0);
		if (i < 12)
			ck_assert_int_eq(audio_match_add(match, label, answers[i].samples, answers[i].count, VOICE_RATE), (int)i);
	}
	for (unsigned i = 0; i < 24; i++) {
		size_t count;
		int16_t *heard = convert(answers[i].samples, answers[i].count, VOICE_RATE, RATE, &count);
		g711(heard, count, true);
		struct audio_match_result result = run(match, heard, count, RATE);
		for (unsigned k = 0; k < 12; k++) {
			if (k == i)
				ck_assert_msg(result.reference_ms[k] >= 2800, "%u: %u ms", i, result.reference_ms[k]);
			else
				ck_assert_msg(
					result.reference_ms[k] == 0, "%u taken for %u for %u ms", i, k, result.reference_ms[k]);
		}
		free(heard);
	}
	for (unsigned i = 0; i < 24; i++)
		voice_answer_free(&answers[i]);
	audio_match_free(match);
}
END_TEST

START_TEST(test_match_edges)
{
	struct audio_match *match = audio_match_new();
	struct audio_match_result result;
	const int16_t zeros[8000] = {0};

	ck_assert_int_eq(audio_match_add(match, "x", zeros, 0, RATE), -EINVAL);
	ck_assert_int_eq(audio_match_add(match, "x", zeros, 10, 4000), -EINVAL);
	ck_assert_int_eq(audio_match_add(match, "x", zeros, 10, RATE), 0);
	ck_assert_str_eq(audio_match_label(match, 0), "x");
	ck_assert_ptr_null(audio_match_label(match, 1));
	ck_assert_int_eq(audio_match_run(match, zeros, 0, RATE, &result, NULL, NULL), 0);
	ck_assert_int_eq(audio_match_run(match, zeros, 8000, 100, &result, NULL, NULL), -EINVAL);
	result = run(match, zeros, 8000, RATE);
	ck_assert_uint_eq(result.unknown_ms + result.reference_ms[0], 0);
	audio_match_free(match);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("audio_match");

	unit_add(suite, "fft", test_fft_inverts_and_finds_a_tone);
	unit_add(suite, "own", test_match_own_voice, test_match_survives_loss_and_jumps);
	unit_add(suite, "foreign", test_match_foreign_voices_are_unknown, test_match_finds_two_voices,
		test_match_interleaved_packets_are_not_clean, test_match_tells_melodies_apart);
	unit_add(suite, "edges", test_match_edges);
	return unit_run(suite);
}
