/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: messages of a worker on its link. What is accepted must hold what the control thread takes from it without looking again: names and
 * UUIDs of a length that fits, states and events of the documented lists, at most one member.
 */
#include <string.h>

#include "dpdk_app/worker_messages.h"
#include "dpdk_app/workers.h"
#include "fuzz.h"

static void check_users(const cJSON *users)
{
	fuzz_check(cJSON_IsArray(users));
	for (const cJSON *user = users->child; user != NULL; user = user->next) {
		struct worker_user_entry entry;
		const char *name;

		worker_message_user(user, &entry);
		name = entry.name;
		fuzz_check(entry.project == NULL || (entry.project[0] != 0 && strlen(entry.project) < PROJECT_NAME_SIZE));
		fuzz_check(entry.max_calls == 0 || (entry.project != NULL && entry.max_calls <= WORKER_CAPACITY_MAX));
		fuzz_check(name != NULL && name[0] != 0 && strlen(name) < CALL_USER_SIZE);
		fuzz_check(strpbrk(name, " \n\r\t\x1b\x7f") == NULL);
	}
}

static void check_text(const cJSON *body, const char *name, size_t max)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, name));

	fuzz_check(text != NULL && strlen(text) <= max);
}

static void check(enum worker_message_kind kind, const cJSON *body)
{
	struct worker_hello hello;

	switch (kind) {
	case WORKER_MESSAGE_HELLO:
		worker_message_hello(body, &hello);
		fuzz_check(hello.name != NULL && hello.name[0] != 0 && strlen(hello.name) < WORKER_NAME_SIZE);
		fuzz_check(strchr(hello.name, '/') == NULL && hello.capacity >= 1 && hello.capacity <= WORKER_CAPACITY_MAX);
		check_users(cJSON_GetObjectItemCaseSensitive(body, "users"));
		break;
	case WORKER_MESSAGE_USERS:
		check_users(body);
		break;
	case WORKER_MESSAGE_STATE:
		check_text(body, "session", CALL_UUID_SIZE - 1);
		check_text(body, "state", CALL_STATE_SIZE - 1);
		break;
	case WORKER_MESSAGE_TRANSCRIPT:
		check_text(body, "session", CALL_UUID_SIZE - 1);
		check_text(body, "side", strlen("caller"));
		check_text(body, "text", VL_LINK_MESSAGE_MAX);
		break;
	case WORKER_MESSAGE_EVENT:
		check_text(body, "session", CALL_UUID_SIZE - 1);
		check_text(body, "event", strlen("generation_complete"));
		break;
	case WORKER_MESSAGE_END:
		check_text(body, "session", CALL_UUID_SIZE - 1);
		check_text(body, "reason", CALL_TEXT_SIZE - 1);
		break;
	case WORKER_MESSAGE_DTMF:
		check_text(body, "session", CALL_UUID_SIZE - 1);
		check_text(body, "digits", VL_LINK_MESSAGE_MAX);
		break;
	case WORKER_MESSAGE_PING:
	case WORKER_MESSAGE_PONG:
		fuzz_check(cJSON_IsNumber(body) && body->valuedouble >= 0);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum worker_message_kind kind;
	struct vl_error error = {0};
	const cJSON *body;
	cJSON *tree;

	tree = worker_message_parse((const char *)data, size, &kind, &body, &error);
	if (tree == NULL) {
		fuzz_check(error.text[0] != 0);
		return 0;
	}
	check(kind, body);
	cJSON_Delete(tree);
	return 0;
}
