/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of the worker link. A worker is another process, perhaps of another user: every member is checked for type and range
 * here, and an unknown one is an error that names it, so that a difference in version is seen at once.
 */
#include "worker_messages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../shared/link.h"
#include "tool_requests.h"
#include "workers.h"

static bool is_name(const char *text)
{
	size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");

	return len > 0 && len < WORKER_NAME_SIZE && text[len] == 0;
}

static bool is_user(const char *name)
{
	size_t len = name != NULL ? strlen(name) : 0;
	bool good = len > 0 && len < CALL_USER_SIZE;

	for (size_t i = 0; good && i < len; i++)
		good = (unsigned char)name[i] > 0x20 && name[i] != 0x7f;
	return good;
}

/* A user with a project: {"name", "project", "max_calls"?}. */
static int check_user_object(const cJSON *user, const char *path, struct vl_error *error)
{
	static const char *const members[] = {"name", "project", "max_calls", NULL};
	const char *name, *project;
	int64_t number;

	if (vl_json_only(user, path, members, error) < 0 ||
		vl_json_required(
			vl_json_get_string(user, path, "name", 1, CALL_USER_SIZE - 1, &name, error), path, "name", error) < 0 ||
		vl_json_required(vl_json_get_string(user, path, "project", 1, PROJECT_NAME_SIZE - 1, &project, error), path,
			"project", error) < 0 ||
		vl_json_get_integer(user, path, "max_calls", 1, WORKER_CAPACITY_MAX, &number, error) < 0)
		return -EINVAL;
	if (!is_user(project))
		return vl_error_at(error, path, "a project is a name without spaces");
	return 0;
}

static int check_users(const cJSON *users, const char *path, struct vl_error *error)
{
	const cJSON *user;
	unsigned int index = 0;

	cJSON_ArrayForEach(user, users)
	{
		const cJSON *name = cJSON_IsObject(user) ? cJSON_GetObjectItemCaseSensitive(user, "name") : user;

		if (cJSON_IsObject(user) && check_user_object(user, path, error) < 0)
			return -EINVAL;
		if (!is_user(cJSON_GetStringValue(name)))
			return vl_error_at(error, path, "entry %u is not a user name of 1 to %d bytes without spaces", index,
				CALL_USER_SIZE - 1);
		index++;
	}
	return 0;
}

void worker_message_user(const cJSON *item, struct worker_user_entry *entry)
{
	const cJSON *max_calls = cJSON_GetObjectItemCaseSensitive(item, "max_calls");

	*entry = (struct worker_user_entry){.name = cJSON_GetStringValue(item)};
	if (!cJSON_IsObject(item))
		return;
	entry->name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "name"));
	entry->project = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "project"));
	entry->max_calls = max_calls != NULL ? (uint32_t)max_calls->valuedouble : 0;
}

static int check_hello(const cJSON *body, struct vl_error *error)
{
	static const char *const members[] = {"abi", "name", "users", "capacity", NULL};
	const char *name;
	const cJSON *users;
	int64_t number;

	if (vl_json_only(body, "hello", members, error) < 0 ||
		vl_json_required(
			vl_json_get_integer(body, "hello", "abi", 0, UINT32_MAX, &number, error), "hello", "abi", error) < 0 ||
		vl_json_required(vl_json_get_integer(body, "hello", "capacity", 1, WORKER_CAPACITY_MAX, &number, error), "hello",
			"capacity", error) < 0 ||
		vl_json_required(vl_json_get_string(body, "hello", "name", 1, WORKER_NAME_SIZE - 1, &name, error), "hello",
			"name", error) < 0 ||
		vl_json_required(vl_json_get_list(body, "hello", "users", &users, error), "hello", "users", error) < 0)
		return -EINVAL;
	if (!is_name(name))
		return vl_error_at(error, "hello.name", "only letters, digits, '_', '.' and '-' are allowed");
	return check_users(users, "hello.users", error);
}

static int check_session(const cJSON *body, const char *path, struct vl_error *error)
{
	const char *uuid;

	return vl_json_required(vl_json_get_string(body, path, "session", CALL_UUID_SIZE - 1, CALL_UUID_SIZE - 1, &uuid, error),
		path, "session", error);
}

static int check_word(const cJSON *body, const char *path, const char *name, const char *const words[], struct vl_error *error)
{
	char place[VL_JSON_PATH_SIZE] = "";
	const char *value;

	if (vl_json_required(vl_json_get_string(body, path, name, 1, 64, &value, error), path, name, error) < 0)
		return -EINVAL;
	for (size_t i = 0; words[i] != NULL; i++) {
		if (strcmp(words[i], value) == 0)
			return 0;
	}
	vl_json_path_member(place, path);
	vl_json_path_member(place, name);
	return vl_error_at(error, place, "'%s' is not known", value);
}

static int check_state(const cJSON *body, struct vl_error *error)
{
	static const char *const members[] = {"session", "state", "reason", "code", NULL};
	static const char *const states[] = {"dialling", "setup", "ready", "talking", "reconnecting", "failed", NULL};
	const char *reason;
	int64_t code;

	if (vl_json_only(body, "state", members, error) < 0 || check_session(body, "state", error) < 0 ||
		check_word(body, "state", "state", states, error) < 0 ||
		vl_json_get_string(body, "state", "reason", 0, VL_LINK_MESSAGE_MAX, &reason, error) < 0 ||
		vl_json_get_integer(body, "state", "code", 0, 65535, &code, error) < 0)
		return -EINVAL;
	return 0;
}

static int check_transcript(const cJSON *body, struct vl_error *error)
{
	static const char *const members[] = {"session", "side", "text", "final", NULL};
	static const char *const sides[] = {"caller", "model", NULL};
	const char *text;
	bool final;

	if (vl_json_only(body, "transcript", members, error) < 0 || check_session(body, "transcript", error) < 0 ||
		check_word(body, "transcript", "side", sides, error) < 0 ||
		vl_json_required(vl_json_get_string(body, "transcript", "text", 0, VL_LINK_MESSAGE_MAX, &text, error),
			"transcript", "text", error) < 0 ||
		vl_json_required(vl_json_get_bool(body, "transcript", "final", &final, error), "transcript", "final", error) < 0)
		return -EINVAL;
	return 0;
}

static const char *const turn_times[] = {"caller_from_ms_ago", "caller_to_ms_ago", "model_from_ms_ago", "model_to_ms_ago", NULL};

/* What a worker measured of one turn. */
static int check_turn(const cJSON *body, struct vl_error *error)
{
	static const char *const members[] = {"session", "event", "turn", NULL};
	static const char *const numbers[] = {"number", "model_ms", "response_ms", "spoken_ms", "underruns", NULL};
	const char *path = "event.turn";
	const cJSON *turn, *member;
	bool flag;

	if (vl_json_only(body, "event", members, error) < 0 ||
		vl_json_required(vl_json_get_object(body, "event", "turn", &turn, error), "event", "turn", error) < 0 ||
		vl_json_get_bool(turn, path, "interrupted", &flag, error) < 0 ||
		vl_json_get_bool(turn, path, "phantom", &flag, error) < 0)
		return -EINVAL;
	cJSON_ArrayForEach(member, turn)
	{
		bool known = false;
		int64_t number;

		if (strcmp(member->string, "interrupted") == 0 || strcmp(member->string, "phantom") == 0)
			continue;
		for (size_t i = 0; numbers[i] != NULL; i++)
			known |= strcmp(member->string, numbers[i]) == 0;
		for (size_t i = 0; turn_times[i] != NULL; i++)
			known |= strcmp(member->string, turn_times[i]) == 0;
		if (!known)
			return vl_error_at(error, path, "'%.32s' is not known", member->string);
		if (vl_json_get_integer(turn, path, member->string, 0, UINT32_MAX, &number, error) < 0)
			return -EINVAL;
	}
	return 0;
}

/* What is said about a function names it. */
static int check_tool_event(const cJSON *body, const char *event, struct vl_error *error)
{
	static const char *const named[] = {
		"transfer_requested", "hold_requested", "tool_cancelled", "tool_expired", "tool_lost", NULL};
	const char *path = "event", *id;
	const cJSON *call;
	bool about = false;

	if (strcmp(event, "tool_call") == 0) {
		if (vl_json_required(vl_json_get_object(body, path, "call", &call, error), path, "call", error) < 0)
			return -EINVAL;
		body = call;
		path = "event.call";
		about = true;
	}
	for (size_t i = 0; named[i] != NULL; i++)
		about |= strcmp(event, named[i]) == 0;
	if (!about)
		return 0;
	return vl_json_required(vl_json_get_string(body, path, "id", 1, TOOL_REQUEST_ID_SIZE - 1, &id, error), path, "id", error);
}

static int check_dtmf_event(const cJSON *body, struct vl_error *error)
{
	static const char *const members[] = {"session", "event", "digit", "duration_ms", NULL};
	const char *digit;
	int64_t duration;

	if (vl_json_only(body, "event", members, error) < 0 ||
		vl_json_required(vl_json_get_string(body, "event", "digit", 1, 1, &digit, error), "event", "digit", error) < 0 ||
		vl_json_required(vl_json_get_integer(body, "event", "duration_ms", 0, UINT32_MAX, &duration, error), "event",
			"duration_ms", error) < 0)
		return -EINVAL;
	return strchr("0123456789*#ABCD", digit[0]) != NULL ? 0 : vl_error_at(error, "event.digit", "is no key of a phone");
}

static int check_event(const cJSON *body, struct vl_error *error)
{
	static const char *const events[] = {"interrupted", "phantom_interruption", "generation_complete", "turn_complete",
		"finished_speaking", "turn", "go_away", "closed", "tool_call", "usage", "resumed", "throttled", "no_answer",
		"transfer_requested", "hold_requested", "tool_cancelled", "tool_expired", "tool_lost", "dtmf", NULL};
	const char *event;

	if (check_session(body, "event", error) < 0 || check_word(body, "event", "event", events, error) < 0)
		return -EINVAL;
	event = cJSON_GetObjectItemCaseSensitive(body, "event")->valuestring;
	if (strcmp(event, "dtmf") == 0)
		return check_dtmf_event(body, error);
	return strcmp(event, "turn") == 0 ? check_turn(body, error) : check_tool_event(body, event, error);
}

static int check_end(const cJSON *body, struct vl_error *error)
{
	static const char *const members[] = {"session", "reason", NULL};
	const char *reason;

	if (vl_json_only(body, "end", members, error) < 0 || check_session(body, "end", error) < 0)
		return -EINVAL;
	return vl_json_required(
		vl_json_get_string(body, "end", "reason", 1, CALL_TEXT_SIZE - 1, &reason, error), "end", "reason", error);
}

/* Keys that a function wants sent; `id` names its call for the answer. What the digits are worth is the receiver's to say. */
static int check_dtmf(const cJSON *body, struct vl_error *error)
{
	static const char *const members[] = {"session", "id", "digits", NULL};
	const char *text;

	if (vl_json_only(body, "dtmf", members, error) < 0 || check_session(body, "dtmf", error) < 0 ||
		vl_json_required(vl_json_get_string(body, "dtmf", "id", 1, TOOL_REQUEST_ID_SIZE - 1, &text, error), "dtmf", "id",
			error) < 0)
		return -EINVAL;
	return vl_json_required(
		vl_json_get_string(body, "dtmf", "digits", 0, VL_LINK_MESSAGE_MAX, &text, error), "dtmf", "digits", error);
}

cJSON *worker_message_turn(const cJSON *body, uint64_t now_ms)
{
	cJSON *copy = cJSON_Duplicate(body, true), *turn = cJSON_GetObjectItemCaseSensitive(copy, "turn");

	for (size_t i = 0; turn_times[i] != NULL; i++) {
		const cJSON *ago = cJSON_GetObjectItemCaseSensitive(turn, turn_times[i]);
		char name[32];

		if (ago == NULL)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(strlen(turn_times[i]) - strlen("_ago")), turn_times[i]);
		/* A worker may have known the call longer than this data plane. */
		cJSON_AddNumberToObject(turn, name, ago->valuedouble < (double)now_ms ? (double)now_ms - ago->valuedouble : 0);
		cJSON_DeleteItemFromObjectCaseSensitive(turn, turn_times[i]);
	}
	return copy;
}

static const struct {
	const char *name;
	int (*check)(const cJSON *body, struct vl_error *error); /* NULL: see check_body() */
} kinds[] = {
	[WORKER_MESSAGE_HELLO] = {"hello", check_hello},
	[WORKER_MESSAGE_USERS] = {"users", NULL},
	[WORKER_MESSAGE_STATE] = {"state", check_state},
	[WORKER_MESSAGE_TRANSCRIPT] = {"transcript", check_transcript},
	[WORKER_MESSAGE_EVENT] = {"event", check_event},
	[WORKER_MESSAGE_END] = {"end", check_end},
	[WORKER_MESSAGE_DTMF] = {"dtmf", check_dtmf},
	[WORKER_MESSAGE_PING] = {"ping", NULL},
	[WORKER_MESSAGE_PONG] = {"pong", NULL},
};

static int check_body(enum worker_message_kind kind, const cJSON *tree, const cJSON *body, struct vl_error *error)
{
	int64_t number;

	if (kind == WORKER_MESSAGE_USERS) {
		if (!cJSON_IsArray(body))
			return vl_error_at(error, "users", "must be a list");
		return check_users(body, "users", error);
	}
	if (kinds[kind].check == NULL)
		return vl_json_get_integer(tree, "", kinds[kind].name, 0, INT64_C(1) << 53, &number, error) < 0 ? -EINVAL : 0;
	if (!cJSON_IsObject(body))
		return vl_error_at(error, kinds[kind].name, "must be an object");
	return kinds[kind].check(body, error);
}

cJSON *worker_message_parse(
	const char *text, size_t len, enum worker_message_kind *kind, const cJSON **body, struct vl_error *error)
{
	cJSON *tree = vl_json_parse(text, len, VL_LINK_MESSAGE_MAX, error);

	if (tree == NULL)
		return NULL;
	*body = tree->child;
	if (!cJSON_IsObject(tree) || *body == NULL || (*body)->next != NULL) {
		vl_error_set(error, "a message is an object with exactly one member");
		goto refuse;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].name, (*body)->string) != 0)
			continue;
		*kind = (enum worker_message_kind)i;
		if (check_body(*kind, tree, *body, error) < 0)
			goto refuse;
		return tree;
	}
	vl_error_set(error, "message '%.32s' is not known", (*body)->string);
refuse:
	cJSON_Delete(tree);
	errno = EINVAL;
	return NULL;
}

void worker_message_hello(const cJSON *body, struct worker_hello *hello)
{
	hello->name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, "name"));
	hello->abi = (uint32_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(body, "abi"));
	hello->capacity = (uint32_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(body, "capacity"));
}

/* A message with one object member; *body is NULL without memory, which the cJSON_Add functions take. */
static cJSON *begin(const char *name, cJSON **body)
{
	cJSON *tree = cJSON_CreateObject();

	*body = tree != NULL ? cJSON_AddObjectToObject(tree, name) : NULL;
	return tree;
}

/* Print and free; NULL when any of the `members` could not be added. */
static char *finish(cJSON *tree, const cJSON *body, int members)
{
	char *text = cJSON_GetArraySize(body) == members ? cJSON_PrintUnformatted(tree) : NULL;

	cJSON_Delete(tree);
	return text;
}

char *worker_message_welcome(uint32_t abi, const char *node, unsigned int lcores, uint64_t tsc_hz)
{
	cJSON *body, *tree = begin("welcome", &body);

	cJSON_AddNumberToObject(body, "abi", abi);
	cJSON_AddStringToObject(body, "node", node);
	cJSON_AddNumberToObject(body, "lcores", lcores);
	cJSON_AddNumberToObject(body, "tsc_hz", (double)tsc_hz);
	return finish(tree, body, 4);
}

char *worker_message_refused(const char *reason)
{
	cJSON *body, *tree = begin("refused", &body);

	cJSON_AddStringToObject(body, "reason", reason);
	return finish(tree, body, 1);
}

char *worker_message_open(const struct call *call)
{
	cJSON *body, *tree = begin("open", &body);

	cJSON_AddStringToObject(body, "session", call->uuid);
	cJSON_AddNumberToObject(body, "index", call->ref.index);
	cJSON_AddNumberToObject(body, "generation", call->ref.generation);
	cJSON_AddNumberToObject(body, "lcore", call->lcore);
	cJSON_AddStringToObject(body, "user", call->user);
	cJSON_AddStringToObject(body, "codec", call->payload_type == 8 ? "PCMA" : "PCMU");
	cJSON_AddNumberToObject(body, "event_payload_type", call->event_payload_type);
	cJSON_AddBoolToObject(body, "held", call->held);
	cJSON_AddBoolToObject(body, "listening", call->listening);
	return finish(tree, body, 9);
}

char *worker_message_close(const char *uuid, const char *reason)
{
	cJSON *body, *tree = begin("close", &body);

	cJSON_AddStringToObject(body, "session", uuid);
	cJSON_AddStringToObject(body, "reason", reason);
	return finish(tree, body, 2);
}

char *worker_message_hold(const char *uuid, bool held)
{
	cJSON *body, *tree = begin("hold", &body);

	cJSON_AddStringToObject(body, "session", uuid);
	cJSON_AddBoolToObject(body, "held", held);
	return finish(tree, body, 2);
}

char *worker_message_pause(const char *uuid, uint32_t ms)
{
	cJSON *body, *tree = begin("pause", &body);

	cJSON_AddStringToObject(body, "session", uuid);
	cJSON_AddNumberToObject(body, "ms", ms);
	return finish(tree, body, 2);
}

char *worker_message_tool_result(const char *uuid, const char *id, const cJSON *result, const char *error)
{
	cJSON *body, *tree = begin("tool_result", &body);

	cJSON_AddStringToObject(body, "session", uuid);
	cJSON_AddStringToObject(body, "id", id);
	if (result != NULL)
		cJSON_AddItemToObject(body, "result", cJSON_Duplicate(result, true));
	else
		cJSON_AddStringToObject(body, "error", error);
	return finish(tree, body, 3);
}

char *worker_message_listening(const char *uuid, bool listening)
{
	cJSON *body, *tree = begin("listening", &body);

	cJSON_AddStringToObject(body, "session", uuid);
	cJSON_AddBoolToObject(body, "listening", listening);
	return finish(tree, body, 2);
}

static char *number_message(const char *name, uint64_t number)
{
	cJSON *tree = cJSON_CreateObject();

	cJSON_AddNumberToObject(tree, name, (double)number);
	return finish(tree, tree, 1);
}

char *worker_message_ping(uint64_t number)
{
	return number_message("ping", number);
}

char *worker_message_pong(uint64_t number)
{
	return number_message("pong", number);
}
