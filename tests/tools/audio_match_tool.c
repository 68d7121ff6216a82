/* SPDX-License-Identifier: Apache-2.0 */
/*
 * voxlane-audio-match: says whose voice is in a recording, as one JSON object per file on stdout. See audio_match.h for what it
 * compares and how.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <sndfile.h>

#include "audio_match.h"
#include "wav.h"

static const char usage[] = "usage: voxlane-audio-match --reference LABEL=FILE ... [--trace] RECORDING[:left|:right] ...\n"
			    "Which reference is heard in each recording, in milliseconds of sound. :left and :right choose one "
			    "side of a stereo file.\n"
			    "A label may be given several times. --trace prints each block's decision on stderr.\n";

/* One side of a stereo file, or the mix. Returns 0 or -1 after a line on stderr. */
static int load(const char *name, struct wav *wav)
{
	char error[256], path[4096];
	const char *colon = strrchr(name, ':');
	int side = colon == NULL ? -1 : strcmp(colon, ":left") == 0 ? 0 : strcmp(colon, ":right") == 0 ? 1 : -1;
	SF_INFO info = {0};

	snprintf(path, sizeof(path), "%.*s", side < 0 ? (int)strlen(name) : (int)(colon - name), name);
	SNDFILE *file = sf_open(path, SFM_READ, &info);
	if (file == NULL || info.channels > 2 || (side >= 0 && info.channels != 2)) {
		fprintf(stderr, "voxlane-audio-match: %s: %s\n", path, file ? "not a stereo file" : sf_strerror(NULL));
		sf_close(file);
		return -1;
	}
	if (side < 0 && info.frames > 0) { /* an empty recording is a finding, not an error: nobody was heard */
		sf_close(file);
		if (wav_load(path, (unsigned int)info.samplerate, wav, error, sizeof(error)) == 0)
			return 0;
		fprintf(stderr, "voxlane-audio-match: %s\n", error);
		return -1;
	}
	wav->rate = (unsigned int)info.samplerate;
	wav->count = 0;
	wav->samples = malloc(((size_t)info.frames + 1) * 2 * sizeof(*wav->samples));
	if (wav->samples != NULL) {
		wav->count = (size_t)sf_readf_short(file, wav->samples, info.frames);
		for (size_t i = 0; i < wav->count; i++)
			wav->samples[i] = wav->samples[2 * i + (size_t)side];
	}
	sf_close(file);
	return wav->samples != NULL ? 0 : -1;
}

static int add_reference(struct audio_match *match, const char *argument)
{
	char label[64];
	struct wav wav = {0};
	const char *sign = strchr(argument, '=');

	if (sign == NULL || (size_t)(sign - argument) >= sizeof(label)) {
		fputs(usage, stderr);
		return -1;
	}
	snprintf(label, sizeof(label), "%.*s", (int)(sign - argument), argument);
	if (load(sign + 1, &wav) != 0)
		return -1;
	int index = audio_match_add(match, label, wav.samples, wav.count, wav.rate);
	wav_free(&wav);
	if (index < 0)
		fprintf(stderr, "voxlane-audio-match: %s: too short, too many, or its rate is below 8 kHz\n", sign + 1);
	return index;
}

static void trace(void *user, const struct audio_match_block *block)
{
	const struct audio_match *match = user;
	const char *first = block->reference < 0 ? "-" : audio_match_label(match, (unsigned)block->reference);
	const char *second = block->second < 0 ? "-" : audio_match_label(match, (unsigned)block->second);

	fprintf(stderr, "%7u ms %3u ms %-10s %.3f at %d, under it %s %.3f\n", block->start_ms, block->active_ms, first,
		(double)block->score, block->lag, second, (double)block->second_score);
}

/* References of one label count together. */
static cJSON *result_json(const struct audio_match *match, const char *name, const struct audio_match_result *result)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddStringToObject(object, "recording", name);
	cJSON *heard = cJSON_AddObjectToObject(object, "heard_ms");
	for (unsigned i = 0; audio_match_label(match, i) != NULL; i++) {
		cJSON *old = cJSON_GetObjectItem(heard, audio_match_label(match, i));
		if (old != NULL)
			cJSON_SetNumberValue(old, old->valuedouble + result->reference_ms[i]);
		else
			cJSON_AddNumberToObject(heard, audio_match_label(match, i), result->reference_ms[i]);
	}
	cJSON_AddNumberToObject(object, "unknown_ms", result->unknown_ms);
	cJSON_AddNumberToObject(object, "mixed_ms", result->mixed_ms);
	cJSON_AddNumberToObject(object, "unexplained_ms", result->unexplained_ms);
	cJSON_AddNumberToObject(object, "silent_ms", result->silent_ms);
	cJSON_AddNumberToObject(object, "lowest_score", (double)result->lowest_score);
	cJSON_AddNumberToObject(object, "highest_unknown_score", (double)result->highest_unknown);
	return object;
}

static int judge(struct audio_match *match, const char *name, bool tracing)
{
	struct wav wav = {0};
	struct audio_match_result result;

	if (load(name, &wav) != 0)
		return -1;
	int error = audio_match_run(match, wav.samples, wav.count, wav.rate, &result, tracing ? trace : NULL, match);
	wav_free(&wav);
	if (error != 0) {
		fprintf(stderr, "voxlane-audio-match: %s: %s\n", name, strerror(-error));
		return -1;
	}
	cJSON *object = result_json(match, name, &result);
	char *text = cJSON_PrintUnformatted(object);
	puts(text);
	free(text);
	cJSON_Delete(object);
	return 0;
}

int main(int argc, char **argv)
{
	struct audio_match *match = audio_match_new();
	bool tracing = false;
	int judged = 0, failed = match == NULL;

	for (int i = 1; i < argc && !failed; i++) {
		if (strcmp(argv[i], "--reference") == 0 && i + 1 < argc)
			failed = add_reference(match, argv[++i]) < 0;
		else if (strcmp(argv[i], "--trace") == 0)
			tracing = true;
		else if (strcmp(argv[i], "--help") == 0)
			return fputs(usage, stdout), 0;
		else if (argv[i][0] == '-')
			failed = fputs(usage, stderr) >= 0;
		else
			failed = judge(match, argv[i], tracing) != 0, judged++;
	}
	audio_match_free(match);
	if (!failed && judged == 0)
		failed = fputs(usage, stderr) >= 0;
	return failed ? 1 : 0;
}
