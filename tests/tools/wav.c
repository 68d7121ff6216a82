/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sound files of the test tools, by libsndfile (formats) and speexdsp (resampling).
 */
#include "wav.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sndfile.h>
#include <speex/speex_resampler.h>

enum { BLOCK_FRAMES = 4096, CHANNELS_MAX = 8, RESAMPLER_QUALITY = 8 };

static int fail(int code, char *error, size_t error_size, const char *path, const char *what)
{
	snprintf(error, error_size, "'%s': %s", path, what);
	return code;
}

/* Read all frames as mono: the mean of the channels. */
static int read_mono(SNDFILE *file, const SF_INFO *info, struct wav *wav)
{
	int16_t *block = calloc((size_t)BLOCK_FRAMES * (size_t)info->channels, sizeof(*block));
	if (!block)
		return -ENOMEM;
	for (sf_count_t got; (got = sf_readf_short(file, block, BLOCK_FRAMES)) > 0;) {
		int16_t *grown = realloc(wav->samples, (wav->count + (size_t)got) * sizeof(*grown));
		if (!grown) {
			free(block);
			return -ENOMEM;
		}
		wav->samples = grown;
		for (sf_count_t i = 0; i < got; i++) {
			int sum = 0;
			for (int c = 0; c < info->channels; c++)
				sum += block[i * info->channels + c];
			wav->samples[wav->count++] = (int16_t)(sum / info->channels);
		}
		if (wav->count >= (size_t)info->samplerate * WAV_SECONDS_MAX)
			break;
	}
	free(block);
	return wav->count ? 0 : -ENODATA;
}

static int resample(struct wav *wav, unsigned int rate)
{
	if (wav->rate == rate)
		return 0;
	int code = 0;
	SpeexResamplerState *state = speex_resampler_init(1, wav->rate, rate, RESAMPLER_QUALITY, &code);
	if (!state)
		return -ENOMEM;
	speex_resampler_skip_zeros(state);
	size_t room = (size_t)((double)wav->count * rate / wav->rate) + BLOCK_FRAMES;
	int16_t *out = calloc(room, sizeof(*out));
	if (!out) {
		speex_resampler_destroy(state);
		return -ENOMEM;
	}
	size_t in_done = 0, out_done = 0;
	while (in_done < wav->count && out_done < room) {
		spx_uint32_t in = (spx_uint32_t)(wav->count - in_done), made = (spx_uint32_t)(room - out_done);
		if (speex_resampler_process_int(state, 0, wav->samples + in_done, &in, out + out_done, &made) !=
			RESAMPLER_ERR_SUCCESS)
			break;
		in_done += in;
		out_done += made;
	}
	speex_resampler_destroy(state);
	free(wav->samples);
	*wav = (struct wav){.samples = out, .count = out_done, .rate = rate};
	return 0;
}

int wav_load(const char *path, unsigned int rate, struct wav *wav, char *error, size_t error_size)
{
	*wav = (struct wav){0};
	SF_INFO info = {0};
	SNDFILE *file = sf_open(path, SFM_READ, &info);
	if (!file)
		return fail(-EINVAL, error, error_size, path, sf_strerror(NULL));
	if (info.channels < 1 || info.channels > CHANNELS_MAX || info.samplerate < 1000 || info.samplerate > 384000) {
		sf_close(file);
		return fail(-EINVAL, error, error_size, path, "needs 1 to 8 channels and a rate of 1 to 384 kHz");
	}
	wav->rate = (unsigned int)info.samplerate;
	int code = read_mono(file, &info, wav);
	sf_close(file);
	if (!code)
		code = resample(wav, rate);
	if (code) {
		wav_free(wav);
		return fail(code, error, error_size, path, code == -ENODATA ? "holds no sound" : strerror(-code));
	}
	return 0;
}

void wav_free(struct wav *wav)
{
	free(wav->samples);
	*wav = (struct wav){0};
}

int wav_write_stereo(const char *path, unsigned int rate, const int16_t *left, size_t left_count, const int16_t *right,
	size_t right_count, char *error, size_t error_size)
{
	SF_INFO info = {.samplerate = (int)rate, .channels = 2, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
	SNDFILE *file = sf_open(path, SFM_WRITE, &info);
	if (!file)
		return fail(-EIO, error, error_size, path, sf_strerror(NULL));
	size_t count = left_count > right_count ? left_count : right_count;
	int16_t block[BLOCK_FRAMES * 2];
	for (size_t at = 0; at < count;) {
		size_t frames = 0;
		for (; frames < BLOCK_FRAMES && at < count; frames++, at++) {
			block[2 * frames] = at < left_count ? left[at] : 0;
			block[2 * frames + 1] = at < right_count ? right[at] : 0;
		}
		if (sf_writef_short(file, block, (sf_count_t)frames) != (sf_count_t)frames) {
			sf_close(file);
			return fail(-EIO, error, error_size, path, "write failed");
		}
	}
	return sf_close(file) ? fail(-EIO, error, error_size, path, "close failed") : 0;
}
