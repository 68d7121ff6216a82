/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: sealed keys. A text never opens unless it is the one that was sealed, for that user; refusing leaves nothing in the output; any key and user name
 * come back. The input is the user's name, a newline, and a text.
 */
#include <errno.h>
#include <string.h>

#include "ai_workers/seal.h"
#include "fuzz.h"

/* The seeds were sealed under it. */
static const uint8_t master[SEAL_MASTER_SIZE] = {
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};
static const uint8_t nonce[SEAL_NONCE_SIZE] = {0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *user = malloc(size + 1), *text, opened[SEAL_KEY_MAX + 1], sealed[SEAL_TEXT_SIZE], id[SEAL_ID_SIZE],
	     ours[SEAL_ID_SIZE];

	fuzz_check(user != NULL);
	memcpy(user, data, size);
	user[size] = '\0';
	text = strchr(user, '\n');
	if (text == NULL) {
		free(user);
		return 0;
	}
	*text++ = '\0';

	int result = seal_open(opened, master, user, text);
	fuzz_check(result == 0 || opened[0] == '\0');
	fuzz_check(result == -EINVAL || seal_valid(text) || strlen(user) > 400);
	if (result == 0) {
		seal_master_id(master, ours);
		seal_text_id(text, id);
		fuzz_check(strcmp(id, ours) == 0);
		/* Only bytes behind a NUL could make it another one. */
		if (strlen(opened) > 0 && memcmp(text + 22, "8PHy8_T19vf4-fr7", 16) == 0 &&
			seal_key(sealed, master, nonce, user, opened) == 0 && strlen(sealed) == strlen(text))
			fuzz_check(strcmp(sealed, text) == 0);
	}
	/* The text as a key. */
	if (seal_key(sealed, master, nonce, user, text) == 0) {
		fuzz_check(seal_open(opened, master, user, sealed) == 0 && strcmp(opened, text) == 0);
		fuzz_check(seal_open(opened, master, "somebody else", sealed) != 0);
	} else {
		fuzz_check(strlen(text) == 0 || strlen(text) > SEAL_KEY_MAX || strlen(user) > 400);
	}
	free(user);
	return 0;
}
