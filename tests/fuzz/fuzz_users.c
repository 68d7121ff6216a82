/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the users file. No error ever repeats a key, wherever it stands; what is accepted can be put into HTTP headers and
 * found by name.
 */
#include <string.h>

#include "ai_workers/users.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vl_errors errors = {.count = 0};
	struct users *users = users_parse((const char *)data, size, &errors);

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
