/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping what a connection heard (see heard.h).
 */
#include "heard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sndfile.h>

struct heard *heard_create(const char *label, unsigned number, const char *directory, bool keep)
{
	char path[4096];
	struct heard *heard = calloc(1, sizeof(*heard));
	if (heard == NULL)
		return NULL;
	snprintf(heard->label, sizeof(heard->label), "%s", label);
	heard->number = number;
	heard->open = true;
	heard->keep = keep;
	mbedtls_sha256_init(&heard->digest);
	mbedtls_sha256_starts_ret(&heard->digest, 0);
	if (directory == NULL)
		return heard;
	SF_INFO info = {.samplerate = HEARD_RATE, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
	int length = snprintf(path, sizeof(path), "%s/%s-%u.wav", directory, label, number);
	if (length < (int)sizeof(path))
		heard->file = sf_open(path, SFM_WRITE, &info);
	if (heard->file == NULL) {
		heard_free(heard);
		errno = EACCES;
		return NULL;
	}
	return heard;
}

void heard_add(struct heard *heard, const int16_t *samples, size_t count)
{
	heard->count += count;
	mbedtls_sha256_update_ret(&heard->digest, (const uint8_t *)samples, count * sizeof(*samples));
	if (heard->file != NULL)
		sf_write_short(heard->file, samples, (sf_count_t)count);
	if (!heard->keep || heard->kept + count > HEARD_SAMPLES_MAX)
		return;
	if (heard->kept + count > heard->room) {
		size_t room = heard->room ? heard->room * 2 : HEARD_RATE * 10u;
		while (room < heard->kept + count)
			room *= 2;
		int16_t *grown = realloc(heard->samples, room * sizeof(*grown));
		if (grown == NULL)
			return;
		heard->samples = grown;
		heard->room = room;
	}
	memcpy(heard->samples + heard->kept, samples, count * sizeof(*samples));
	heard->kept += count;
}

void heard_end(struct heard *heard)
{
	heard->open = false;
	if (heard->file != NULL)
		sf_close(heard->file);
	heard->file = NULL;
}

void heard_sha256(struct heard *heard, char hex[65])
{
	uint8_t bytes[32];
	mbedtls_sha256_context copy;
	if (heard->file != NULL) {
		sf_command(heard->file, SFC_UPDATE_HEADER_NOW, NULL, 0);
		sf_write_sync(heard->file);
	}
	mbedtls_sha256_init(&copy);
	mbedtls_sha256_clone(&copy, &heard->digest);
	mbedtls_sha256_finish_ret(&copy, bytes);
	mbedtls_sha256_free(&copy);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

void heard_free(struct heard *heard)
{
	if (heard == NULL)
		return;
	heard_end(heard);
	mbedtls_sha256_free(&heard->digest);
	free(heard->samples);
	free(heard);
}
