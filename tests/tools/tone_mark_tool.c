/* SPDX-License-Identifier: Apache-2.0 */
/*
 * voxlane-tone-mark: writes sound that carries an identity, and judges recordings in which only one identity may be heard.
 *   write IDENTITY RATE SECONDS FILE
 *   judge IDENTITY left|right|mono FILE [IDENTITY SIDE FILE...]     one JSON object a recording, in an array
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sndfile.h>

#include "tone_mark.h"

static void die(const char *what, const char *why)
{
	fprintf(stderr, "voxlane-tone-mark: %s: %s\n", what, why);
	exit(EXIT_FAILURE);
}

static void write_file(unsigned int identity, unsigned int rate, unsigned int seconds, const char *path)
{
	SF_INFO info = {.samplerate = (int)rate, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
	size_t count = (size_t)rate * seconds;
	int16_t *samples = malloc(count * sizeof(*samples) + 1);
	SNDFILE *file = sf_open(path, SFM_WRITE, &info);

	if (samples == NULL || file == NULL)
		die(path, sf_strerror(file));
	tone_mark_write(identity, rate, 0, samples, count);
	if (sf_write_short(file, samples, (sf_count_t)count) != (sf_count_t)count || sf_close(file) != 0)
		die(path, "cannot be written");
	free(samples);
}

static void judge_file(unsigned int identity, const char *side, const char *path)
{
	static struct tone_mark_result result;
	SF_INFO info = {0};
	SNDFILE *file = sf_open(path, SFM_READ, &info);
	int16_t *samples;
	sf_count_t frames;

	if (file == NULL)
		die(path, sf_strerror(NULL));
	samples = malloc((size_t)info.frames * (size_t)info.channels * sizeof(*samples) + 1);
	if (samples == NULL)
		die(path, "no memory");
	frames = sf_readf_short(file, samples, info.frames);
	sf_close(file);
	for (sf_count_t i = 0; i < frames; i++)
		samples[i] = samples[i * info.channels + (strcmp(side, "right") == 0 ? info.channels - 1 : 0)];
	tone_mark_judge(identity, (unsigned int)info.samplerate, samples, (size_t)frames, &result);
	free(samples);
	printf("{\"identity\": %u, \"samples\": %lld, \"silent\": %u, \"own\": %u, \"edge\": %u, \"foreign\": %u, \"heard\": {",
		identity, (long long)frames, result.silent, result.own, result.edge, result.foreign);
	for (unsigned int i = 0, printed = 0; i <= TONE_MARK_NOBODY; i++) {
		if (result.heard[i] > 0)
			printf("%s\"%u\": %u", printed++ > 0 ? ", " : "", i, result.heard[i]);
	}
	printf("}}");
}

static unsigned int number(const char *text, unsigned long least, unsigned long most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < least || value > most)
		die(text, "is out of range");
	return (unsigned int)value;
}

int main(int argc, char **argv)
{
	if (argc == 6 && strcmp(argv[1], "write") == 0) {
		write_file(number(argv[2], 0, TONE_MARK_IDENTITIES - 1), number(argv[3], 8000, 48000), number(argv[4], 1, 3600),
			argv[5]);
		return EXIT_SUCCESS;
	}
	if (argc < 5 || argc % 3 != 2 || strcmp(argv[1], "judge") != 0) {
		fprintf(stderr, "usage: voxlane-tone-mark write IDENTITY RATE SECONDS FILE\n"
				"       voxlane-tone-mark judge IDENTITY left|right|mono FILE [IDENTITY SIDE FILE...]\n");
		return EXIT_FAILURE;
	}
	printf("[");
	for (int i = 2; i < argc; i += 3) {
		printf("%s", i > 2 ? ",\n" : "");
		judge_file(number(argv[i], 0, TONE_MARK_IDENTITIES - 1), argv[i + 1], argv[i + 2]);
	}
	printf("]\n");
	return EXIT_SUCCESS;
}
