/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one connection heard: digest, WAV file, and the samples themselves when they are to be compared with references.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mbedtls/sha256.h>

#include "persona.h"

#define HEARD_RATE	  16000u
#define HEARD_SAMPLES_MAX (HEARD_RATE * 3600u)

struct heard {
	char label[PERSONA_LABEL_MAX];
	unsigned number; /* of the label's connection, from 1 */
	bool open, keep;
	uint64_t count; /* samples heard */
	int16_t *samples;
	size_t kept, room;
	mbedtls_sha256_context digest;
	void *file; /* SNDFILE *, NULL without recording */
	struct heard *next;
};

/* Begin. `directory` NULL: no WAV; `keep`: hold the samples in memory, at most an hour. NULL with errno set on failure. */
struct heard *heard_create(const char *label, unsigned number, const char *directory, bool keep);

/* Take samples at 16 kHz. */
void heard_add(struct heard *heard, const int16_t *samples, size_t count);

/* The connection is gone: close the file. The rest stays for the statistics. */
void heard_end(struct heard *heard);

/* SHA-256 in hexadecimal of all samples so far (little-endian). Also brings the WAV file up to date. */
void heard_sha256(struct heard *heard, char hex[65]);

void heard_free(struct heard *heard);
