/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The master key that sealed keys are opened with: 32 bytes from a file, a systemd credential or a person. It is in memory, in a secret page, only while keys are opened;
 * one that a person typed stays, because nobody is there to type it again for a reload.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../shared/json.h"
#include "seal.h"
#include "secret.h"

#define MASTER_KEY_CREDENTIAL "voxlane-master-key"

struct master_key {
	const char
		*source; /* a path, "credential" ($CREDENTIALS_DIRECTORY/voxlane-master-key) or "prompt" (/dev/tty); borrowed */
	bool any_owner;	 /* a file may belong to anybody: root seals for the account that will open */
	uint8_t *key;	 /* SEAL_MASTER_SIZE bytes, NULL: not in memory */
	struct secret_pages pages;
};

/* Read a master key of 64 hex digits, with or without a newline, or 32 bytes. Any thread. Returns 0 or -EINVAL. */
int master_key_parse(const char *text, size_t len, uint8_t key[SEAL_MASTER_SIZE]);

/*
 * Bring the key into memory, if it is not there. A file must be closed to everybody else. Main or worker loop (a prompt waits for a person). Returns 0, or -errno with an
 * error that says what to do and never shows a byte of the key.
 */
int master_key_load(struct master_key *master, struct vl_error *error);

/* The keys are opened: overwrite, unless it was typed. Main or worker loop. */
void master_key_forget(struct master_key *master);

/* Overwrite. Main, at exit. Legal when zeroed. */
void master_key_wipe(struct master_key *master);
