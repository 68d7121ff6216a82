/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identities in sound: no two alike, own sound is own through codec and resampling, and one foreign frame anywhere is found.
 */
#include <stdlib.h>
#include <string.h>

#include <speex/speex_resampler.h>

#include "shared/g711.h"
#include "tests/tools/tone_mark.h"
#include "unit.h"

#define RATE  8000u
#define FRAME 160u
#define COUNT (RATE * 2u)

static int16_t sound[COUNT], other[COUNT], wide[2 * COUNT];
static struct tone_mark_result result;

/* Half a second of silence, one of sound from an uneven place on, half of silence. */
static void say(unsigned int identity, int16_t *samples)
{
	memset(samples, 0, COUNT * sizeof(*samples));
	tone_mark_write(identity, RATE, 77, samples + RATE / 2 + 33, RATE);
}

static void through_g711(int16_t *samples, size_t count)
{
	static uint8_t codes[COUNT];

	vl_g711_encode(VL_G711_PCMU, samples, codes, count);
	vl_g711_decode(VL_G711_PCMU, codes, samples, count);
}

START_TEST(test_tone_mark_own_sound_is_own)
{
	for (unsigned int identity = 0; identity < TONE_MARK_IDENTITIES; identity++) {
		spx_uint32_t in = COUNT, out = 2 * COUNT;
		SpeexResamplerState *resampler = speex_resampler_init(1, RATE, 2 * RATE, 3, NULL);

		say(identity, sound);
		through_g711(sound, COUNT);
		speex_resampler_process_int(resampler, 0, sound, &in, wide, &out);
		speex_resampler_destroy(resampler);
		tone_mark_judge(identity, RATE, sound, COUNT, &result);
		ck_assert_msg(result.foreign == 0 && result.own >= 97 && result.edge <= 4, "%u: %u foreign, %u own, %u edge",
			identity, result.foreign, result.own, result.edge);
		tone_mark_judge(identity, 2 * RATE, wide, out, &result);
		ck_assert_msg(result.foreign == 0 && result.own >= 97 && result.edge <= 4,
			"%u, 16 kHz: %u foreign, %u own, %u edge", identity, result.foreign, result.own, result.edge);
	}
}
END_TEST

/* One frame of a call in another's: in silence, in place of own sound, mixed into it. (All identities were tried; it takes too long for every day.) */
START_TEST(test_tone_mark_one_foreign_frame_is_found)
{
	static const size_t places[] = {RATE / 5, RATE / 5 + 41, RATE, RATE + 40, RATE + 79};

	for (unsigned int identity = 0; identity < TONE_MARK_IDENTITIES; identity += 9) {
		unsigned int foreign = (identity + 1 + identity * 7 % 500) % TONE_MARK_IDENTITIES;

		for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
			for (unsigned int mixed = 0; mixed < 2; mixed++) {
				if (foreign == identity)
					continue;
				say(identity, sound);
				tone_mark_write(foreign, RATE, identity, other, FRAME);
				for (size_t k = 0; k < FRAME; k++)
					sound[places[i] + k] = (int16_t)(other[k] + (mixed ? sound[places[i] + k] : 0));
				through_g711(sound, COUNT);
				tone_mark_judge(identity, RATE, sound, COUNT, &result);
				ck_assert_msg(result.foreign > 0, "%u in %u at %zu%s", foreign, identity, places[i],
					mixed ? ", mixed" : "");
			}
		}
	}
}
END_TEST

/* Own sound out of which something was left, as when it came too late: at most a few windows of a thousand such places look like somebody's. */
START_TEST(test_tone_mark_break_in_own_sound_is_own)
{
	unsigned int breaks = 0, foreign = 0;

	for (unsigned int identity = 0; identity < TONE_MARK_IDENTITIES; identity += 5) {
		memset(sound, 0, sizeof(sound));
		for (size_t at = 0; at + 1000 <= COUNT; at += 1000, breaks++)
			tone_mark_write(
				identity, RATE, at * 7 + identity * 3, sound + at, 1000 - (at / 1000 % 2) * (identity % 97));
		through_g711(sound, COUNT);
		tone_mark_judge(identity, RATE, sound, COUNT, &result);
		foreign += result.foreign;
	}
	ck_assert_msg(foreign * 200 <= breaks, "%u of %u breaks", foreign, breaks);
}
END_TEST

START_TEST(test_tone_mark_says_whose)
{
	for (unsigned int foreign = 1; foreign < TONE_MARK_IDENTITIES; foreign += 3) {
		say(foreign, sound);
		tone_mark_judge(0, RATE, sound, COUNT, &result);
		ck_assert_uint_ge(result.heard[foreign], 95);
		ck_assert_uint_eq(result.own, 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tone_mark");

	unit_add(suite, "marks", test_tone_mark_own_sound_is_own, test_tone_mark_one_foreign_frame_is_found,
		test_tone_mark_break_in_own_sound_is_own, test_tone_mark_says_whose);
	return unit_run(suite);
}
