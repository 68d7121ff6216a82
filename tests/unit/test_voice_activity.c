/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's own voice detection over real speech (Debian's Asterisk prompts and an audio book), noise and echo, all through
 * G.711 as on the telephone.
 */
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ai_workers/voice_activity.h"
#include "shared/g711.h"
#include "tests/tools/wav.h"

#define RATE	  8000u
#define FRAME	  160u
#define FRAME_MS  20u
#define START_MS  1000000u
#define SOUNDS	  "/usr/share/asterisk/sounds/"
#define BOOK	  "/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-"
#define COUNT(of) (sizeof(of) / sizeof((of)[0]))

static const char *const speech[] = {SOUNDS "en_US_f_Allison/vm-intro.wav", SOUNDS "en_US_f_Allison/agent-pass.wav",
	SOUNDS "en_US_f_Allison/demo-congrats.wav", SOUNDS "fr_CA_f_June/demo-echotest.wav",
	SOUNDS "es_MX_f_Allison/demo-congrats.wav", BOOK "0870.wav", BOOK "0920.wav"};

static struct voice_activity voice;
static uint64_t now;
static uint32_t dice;
static unsigned int starts, ends;
static uint64_t started_ms, ended_ms;

static void begin(void)
{
	voice_activity_init(&voice);
	now = START_MS;
	dice = 1;
	starts = ends = 0;
	started_ms = ended_ms = 0;
}

static struct wav load(const char *path)
{
	struct wav wav;
	char error[256];

	ck_assert_msg(wav_load(path, RATE, &wav, error, sizeof(error)) == 0, "%s", error);
	return wav;
}

/* White noise of this RMS, near enough to normal. */
static double noise(double rms)
{
	double sum = 0;

	for (int i = 0; i < 4; i++) {
		dice = dice * 1664525u + 1013904223u;
		sum += (double)(dice >> 8) / (1 << 24) - 0.5;
	}
	return rms * sum * sqrt(3.0);
}

static double rms_of_dbfs(double db)
{
	return 32768.0 * pow(10.0, db / 20.0);
}

/* 20 ms as the telephone carries them. */
static enum voice_event hear(const double *samples)
{
	int16_t pcm[FRAME];
	uint8_t codes[FRAME];
	enum voice_event event;

	for (size_t i = 0; i < FRAME; i++)
		pcm[i] = (int16_t)lrint(fmax(-32768, fmin(32767, samples[i])));
	vl_g711_encode(VL_G711_PCMU, pcm, codes, FRAME);
	vl_g711_decode(VL_G711_PCMU, codes, pcm, FRAME);
	event = voice_activity_heard(&voice, pcm, FRAME, now);
	if (event == VOICE_STARTED && starts++ == 0)
		started_ms = now;
	if (event == VOICE_ENDED) {
		ends++;
		ended_ms = now;
	}
	now += FRAME_MS;
	return event;
}

static void hear_noise(uint32_t ms, double rms)
{
	double samples[FRAME];

	for (uint32_t at = 0; at < ms; at += FRAME_MS) {
		for (size_t i = 0; i < FRAME; i++)
			samples[i] = noise(rms);
		hear(samples);
	}
}

/* Frame `n` of a recording, silence beyond its end. */
static void frame_of(const struct wav *wav, long n, double gain, double *samples)
{
	for (long i = 0; i < (long)FRAME; i++) {
		long at = n * (long)FRAME + i;

		samples[i] = at >= 0 && at < (long)wav->count ? gain * wav->samples[at] : 0;
	}
}

static double frame_rms(const struct wav *wav, long n)
{
	double samples[FRAME], sum = 0;

	frame_of(wav, n, 1, samples);
	for (size_t i = 0; i < FRAME; i++)
		sum += samples[i] * samples[i];
	return sqrt(sum / FRAME);
}

/* First and last frame within 26 dB of the loudest: where a person would put begin and end. */
static void bounds(const struct wav *wav, long *first, long *last)
{
	long frames = (long)(wav->count / FRAME);
	double loudest = 0;

	for (long n = 0; n < frames; n++)
		loudest = fmax(loudest, frame_rms(wav, n));
	for (*first = 0; frame_rms(wav, *first) < loudest / 20; ++*first)
		;
	for (*last = frames - 1; frame_rms(wav, *last) < loudest / 20; --*last)
		;
}

static const struct line {
	double gain_db, noise_dbfs;
} lines[] = {{0, -90}, {0, -60}, {0, -45}, {-14, -90}, {-14, -60}, {6, -40}};

/* Speech is found within a fifth of a second, and its end on time, whoever speaks and on any line that a person would accept. */
START_TEST(test_voice_speech)
{
	struct wav wav = load(speech[(size_t)_i % COUNT(speech)]);
	const struct line *line = &lines[(size_t)_i / COUNT(speech)];
	double rms = rms_of_dbfs(line->noise_dbfs), gain = pow(10, line->gain_db / 20), samples[FRAME];
	long first, last, spoken = 0;
	uint64_t speech_ms, end_ms;

	bounds(&wav, &first, &last);
	hear_noise(2000, rms);
	/* A loud line is taken for speech until its level is known. */
	ck_assert_uint_le(starts, line->noise_dbfs <= -45 ? 0 : 1);
	ck_assert(!voice.speaks);
	starts = ends = 0;
	speech_ms = now;
	for (long n = 0; n < (long)(wav.count / FRAME); n++) {
		frame_of(&wav, n, gain, samples);
		for (size_t i = 0; i < FRAME; i++)
			samples[i] += noise(rms);
		hear(samples);
		spoken += voice.speaks;
	}
	end_ms = speech_ms + (uint64_t)last * FRAME_MS;
	hear_noise(1000, rms);
	ck_assert_uint_ge(starts, 1);
	ck_assert_msg(started_ms <= speech_ms + (uint64_t)first * FRAME_MS + 260 &&
			      started_ms + 80 >= speech_ms + (uint64_t)first * FRAME_MS + VOICE_START_MS,
		"%s, %g dB, noise %g: speech at %ld, found at %ld ms", speech[(size_t)_i % COUNT(speech)], line->gain_db,
		line->noise_dbfs, first * (long)FRAME_MS, (long)(started_ms - speech_ms));
	ck_assert_uint_eq(ends, starts);
	ck_assert_msg(voice.spoke_ms + 280 >= end_ms && voice.spoke_ms <= end_ms + 140, "%s, %g dB, noise %g: over %ld ms off",
		speech[(size_t)_i % COUNT(speech)], line->gain_db, line->noise_dbfs, (long)(voice.spoke_ms - end_ms));
	ck_assert_uint_le(ended_ms, voice.spoke_ms + VOICE_END_MS + FRAME_MS);
	/* Sentences have pauses; it is not deaf for long within one. */
	ck_assert_int_ge(spoken * 10, (last - first) * 7);
	wav_free(&wav);
}
END_TEST

/* Nothing but the line, for a minute. */
START_TEST(test_voice_noise)
{
	static const double levels[] = {-120, -70, -60, -50, -45, -40, -35};

	for (size_t i = 0; i < COUNT(levels); i++) {
		begin();
		hear_noise(60000, rms_of_dbfs(levels[i]));
		ck_assert_msg(levels[i] <= -45 ? starts == 0 : starts <= 1, "%g dBFS: %u", levels[i], starts);
		ck_assert(!voice.speaks);
	}
}
END_TEST

START_TEST(test_voice_clicks_and_hum)
{
	double samples[FRAME];

	for (int n = 0; n < 3000; n++) {
		for (size_t i = 0; i < FRAME; i++)
			samples[i] = 150 * sin(2 * 3.14159265358979 * 50 * (double)(n * (int)FRAME + (int)i) / RATE) + 200;
		if (n % 25 == 0)
			for (size_t i = 0; i < 40; i++)
				samples[i] += noise(12000); /* a click of 5 ms twice a second */
		hear(samples);
	}
	ck_assert_uint_eq(starts, 0);
}
END_TEST

/* The caller's stream may simply stop. */
START_TEST(test_voice_stream_stops)
{
	for (int n = 0; n < 20; n++) {
		double samples[FRAME];

		for (size_t i = 0; i < FRAME; i++)
			samples[i] = noise(6000);
		hear(samples);
	}
	ck_assert(voice.speaks);
	now = voice.heard_ms + VOICE_END_MS - 1;
	ck_assert_int_eq(voice_activity_tick(&voice, now), VOICE_NOTHING);
	ck_assert_int_eq(voice_activity_tick(&voice, now + 1), VOICE_ENDED);
	ck_assert_int_eq(voice_activity_tick(&voice, now + 2), VOICE_NOTHING);
}
END_TEST

/*
 * The model speaks for `ms` and comes back `delay_ms` later at `echo_db`, and the caller (or nobody) speaks over it from `caller_ms`
 * on. A start of which the service knows nothing is taken back after 600 ms. Returns how many starts there were until then.
 */
static unsigned int converse(
	const struct wav *model, const struct wav *caller, uint32_t ms, double echo_db, uint32_t delay_ms, uint32_t caller_ms)
{
	double rms = rms_of_dbfs(-60), gain = pow(10, echo_db / 20), samples[FRAME], other[FRAME];
	unsigned int before = 0;
	uint64_t alarm_ms = 0;

	for (uint32_t at = 0; at < ms; at += FRAME_MS) {
		long n = at / FRAME_MS % (long)(model->count / FRAME);
		int16_t pcm[FRAME];

		frame_of(model, n, 1, samples);
		for (size_t i = 0; i < FRAME; i++)
			pcm[i] = (int16_t)lrint(samples[i]);
		voice_activity_played(&voice, pcm, FRAME, now + 100);
		frame_of(model, n - (long)((100 + delay_ms) / FRAME_MS), gain, samples);
		frame_of(caller, (long)(at / FRAME_MS) - (long)(caller_ms / FRAME_MS), at >= caller_ms ? 1 : 0, other);
		for (size_t i = 0; i < FRAME; i++)
			samples[i] += other[i] + noise(rms);
		if (hear(samples) == VOICE_STARTED && at < caller_ms)
			alarm_ms = now + 600;
		if (alarm_ms != 0 && now >= alarm_ms) {
			voice_activity_false_alarm(&voice);
			alarm_ms = 0;
		}
		if (at < caller_ms)
			before = starts;
	}
	return before;
}

static const struct echo {
	double db;
	uint32_t delay_ms;
	unsigned int alarms; /* at most, in half a minute of the model */
} echoes[] = {{-40, 60, 0}, {-30, 200, 0}, {-26, 60, 0}, {-26, 400, 0}, {-20, 60, 0}, {-20, 300, 0}, {-14, 100, 0}, {-10, 300, 1},
	{-3, 100, 1}};

START_TEST(test_voice_echo)
{
	const struct echo *e = &echoes[_i];
	struct wav model = load(speech[4]), caller = load(speech[0]);
	unsigned int alarms = converse(&model, &caller, 30000, e->db, e->delay_ms, 30000);

	ck_assert_msg(alarms <= e->alarms, "%g dB, %u ms: %u", e->db, e->delay_ms, alarms);
	/* What it has learnt is about right. */
	ck_assert_msg(voice.coupling < pow(10, e->db / 10) * 2 && voice.coupling > pow(10, e->db / 10) / 5, "%g dB: %g", e->db,
		(double)voice.coupling);
	wav_free(&model);
	wav_free(&caller);
}
END_TEST

/* A phone put on its loudspeaker in the middle of a call: one alarm or two, then it is known. */
START_TEST(test_voice_echo_begins)
{
	struct wav model = load(speech[4]), caller = load(speech[0]);
	unsigned int quiet = converse(&model, &caller, 20000, -70, 100, 20000);

	ck_assert_uint_eq(quiet, 0);
	ck_assert_float_lt(voice.coupling, 2e-4f);
	ck_assert_uint_le(converse(&model, &caller, 20000, -12, 100, 20000), 2);
	wav_free(&model);
	wav_free(&caller);
}
END_TEST

/* And the caller is heard all the same. */
START_TEST(test_voice_barge_in)
{
	static const double echo_db[] = {-60, -40, -30, -26, -20};
	struct wav model = load(speech[4]), caller = load(speech[0]);

	for (size_t i = 0; i < COUNT(echo_db); i++) {
		unsigned int before;
		long first, last;

		begin();
		bounds(&caller, &first, &last);
		before = converse(&model, &caller, 12000, echo_db[i], 100, 9000);
		ck_assert_msg(starts > before, "%g dB: the caller is not heard", echo_db[i]);
		if (before > 0)
			continue;
		ck_assert_msg(started_ms <= START_MS + 9000 + (uint64_t)first * FRAME_MS + 500, "%g dB: heard after %ld ms",
			echo_db[i], (long)(started_ms - START_MS - 9000) - first * (long)FRAME_MS);
	}
	wav_free(&model);
	wav_free(&caller);
}
END_TEST

/* What was flushed is not played, and so it cannot come back. */
START_TEST(test_voice_flushed)
{
	double samples[FRAME];
	int16_t pcm[FRAME];

	for (size_t i = 0; i < FRAME; i++)
		pcm[i] = (int16_t)lrint(noise(30000));
	for (uint64_t at = now + 20; at < now + 140; at += 20)
		voice_activity_played(&voice, pcm, FRAME, at);
	voice_activity_flushed(&voice, now);
	for (int n = 0; n < 7; n++) {
		for (size_t i = 0; i < FRAME; i++)
			samples[i] = noise(1000);
		hear(samples);
	}
	ck_assert_uint_eq(starts, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("voice_activity");
	TCase *found = tcase_create("speech"), *echo = tcase_create("echo");

	tcase_add_checked_fixture(found, begin, NULL);
	tcase_add_loop_test(found, test_voice_speech, 0, (int)(COUNT(speech) * COUNT(lines)));
	suite_add_tcase(suite, found);
	unit_add_fixture(suite, "others", begin, NULL, test_voice_noise, test_voice_clicks_and_hum, test_voice_stream_stops,
		test_voice_echo_begins, test_voice_barge_in, test_voice_flushed);
	tcase_add_checked_fixture(echo, begin, NULL);
	tcase_add_loop_test(echo, test_voice_echo, 0, (int)COUNT(echoes));
	suite_add_tcase(suite, echo);
	return unit_run(suite);
}
