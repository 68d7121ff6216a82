/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the users file. No error ever repeats a key, wherever it stands; what is accepted can be put into HTTP headers and
 * found by name.
 */
#include <string.h>

#include "ai_workers/users.h"
#include "fuzz.h"

/* The seed with a sealed key was sealed under it. */
static const uint8_t master[SEAL_MASTER_SIZE] = {
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vl_errors errors = {.count = 0};
	struct users *users = users_parse((const char *)data, size, master, &errors);

	fuzz_check((users == NULL) == (errors.count > 0));
	for (unsigned int i = 0; i < errors.count && i < VL_ERRORS_MAX; i++)
		fuzz_check(strstr(errors.errors[i].text, "AIzaSyCANARYCANARYCANARYCANARY") == NULL);
	if (users == NULL)
		return 0;
	fuzz_check(users->gemini.endpoint.host[0] != '\0' && users->gemini.endpoint.port != 0 && users->gemini.model[0] != '\0');
	for (size_t i = 0; i < users->count; i++) {
		const struct user *user = &users->users[i];
		fuzz_check(users_find(users, user->name) == user);
		fuzz_check(strlen(user->api_key) >= 8);
		for (const char *c = user->api_key; *c != '\0'; c++)
			fuzz_check(*c > 0x20 && *c < 0x7f);
	}
	users_free(users);
	return 0;
}
