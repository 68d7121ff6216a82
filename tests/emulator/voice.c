/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answer audio of the emulated model (see voice.h).
 */
#include "voice.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/base64.h>
#include <mbedtls/sha256.h>
#include <speex/speex_resampler.h>

#define NOTES		 8u
#define NOTE_SAMPLES	 (VOICE_RATE / 5u)   /* 200 ms */
#define FADE_SAMPLES	 (VOICE_RATE / 200u) /* 5 ms, against clicks */
#define LOW_HZ		 350.0
#define BAND_HZ		 2750.0
#define AMPLITUDE	 6000.0
#define RESAMPLE_QUALITY 6
#define RESAMPLE_PIECE	 4800u

static int encode(struct voice_answer *answer)
{
	size_t size = answer->count * 2, room = (size + 2) / 3 * 4 + 1;
	answer->base64 = malloc(room);
	if (answer->base64 == NULL || mbedtls_base64_encode((uint8_t *)answer->base64, room, &answer->base64_size,
					      (const uint8_t *)answer->samples, size) != 0) {
		voice_answer_free(answer);
		return -ENOMEM;
	}
	return 0;
}

int voice_tone(const char *label, uint32_t duration_ms, struct voice_answer *answer)
{
	uint8_t digest[32];
	double hertz[NOTES][2];
	memset(answer, 0, sizeof(*answer));
	if (mbedtls_sha256_ret((const uint8_t *)label, strlen(label), digest, 0) != 0)
		return -EIO;
	/* 16 bits each: about 0.04 Hz apart, so a note of one label is practically never a note of another. */
	for (unsigned i = 0; i < NOTES * 2; i++)
		hertz[i / 2][i & 1] = LOW_HZ + BAND_HZ * (digest[2 * i] << 8 | digest[2 * i + 1]) / 65536.0;
	answer->count = (size_t)duration_ms * VOICE_RATE / 1000;
	answer->samples = malloc(answer->count * sizeof(int16_t) + 1);
	if (answer->samples == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < answer->count; i++) {
		unsigned note = (unsigned)(i / NOTE_SAMPLES % NOTES);
		size_t at = i % NOTE_SAMPLES, left = NOTE_SAMPLES - at;
		double fade = at < FADE_SAMPLES	    ? (double)at / FADE_SAMPLES
			      : left < FADE_SAMPLES ? (double)left / FADE_SAMPLES
						    : 1.0;
		double t = 2.0 * M_PI * (double)i / VOICE_RATE;
		answer->samples[i] = (int16_t)(fade * AMPLITUDE * (sin(t * hertz[note][0]) + sin(t * hertz[note][1])));
	}
	return encode(answer);
}

/* Resample, and push the filter's tail out with zeros. */
static void resample(
	SpeexResamplerState *resampler, const int16_t *samples, size_t count, struct voice_answer *answer, size_t room)
{
	static const int16_t zeros[RESAMPLE_PIECE];
	size_t tail = (size_t)speex_resampler_get_input_latency(resampler);
	speex_resampler_skip_zeros(resampler);
	for (size_t at = 0; at < count + tail;) {
		bool inside = at < count;
		size_t left = inside ? count - at : count + tail - at;
		spx_uint32_t in = left > RESAMPLE_PIECE ? RESAMPLE_PIECE : (spx_uint32_t)left,
			     out = (spx_uint32_t)(room - answer->count);
		speex_resampler_process_int(
			resampler, 0, inside ? samples + at : zeros, &in, answer->samples + answer->count, &out);
		if (in == 0)
			break;
		at += in;
		answer->count += out;
	}
}

int voice_from_pcm(const int16_t *samples, size_t count, uint32_t rate, struct voice_answer *answer)
{
	int error;
	memset(answer, 0, sizeof(*answer));
	size_t room = (size_t)((double)count * VOICE_RATE / rate) + 64;
	answer->samples = calloc(room, sizeof(int16_t));
	if (answer->samples == NULL)
		return -ENOMEM;
	if (rate == VOICE_RATE) {
		memcpy(answer->samples, samples, count * sizeof(int16_t));
		answer->count = count;
		return encode(answer);
	}
	SpeexResamplerState *resampler = speex_resampler_init(1, rate, VOICE_RATE, RESAMPLE_QUALITY, &error);
	if (resampler == NULL) {
		voice_answer_free(answer);
		return -ENOMEM;
	}
	resample(resampler, samples, count, answer, room);
	speex_resampler_destroy(resampler);
	return encode(answer);
}

void voice_answer_free(struct voice_answer *answer)
{
	free(answer->samples);
	free(answer->base64);
	memset(answer, 0, sizeof(*answer));
}
