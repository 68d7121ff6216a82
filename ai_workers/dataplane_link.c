/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See dataplane_link.h. Messages that the socket does not take at once wait in order; a data plane that lets very many of them
 * wait is not reading any more, and the link is made anew.
 */
#include "dataplane_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shared/channel.h"
#include "../shared/json.h"
#include "../shared/link.h"
#include "../shared/log.h"
#include "tool_ledger.h"

#define RETRY_MS    500u
#define WAITING_MAX 4096u /* messages */
#define TURN_MAX    16u	  /* messages read at a time, so that a burst of them does not hold up the calls there are */
#define USERS_BYTES 8192u /* of users in one message */

struct waiting {
	struct waiting *next;
	size_t len;
	char text[];
};

struct dataplane_link {
	uv_loop_t *loop;
	const struct dataplane_handler *handler;
	void *context;
	struct dataplane_config config;
	int fd;
	bool welcomed, complained, closing;
	uv_poll_t *poll; /* of this connection; freed by its close callback */
	uv_timer_t retry;
	struct waiting *first, **last;
	unsigned int waiting_count;
	char text[VL_LINK_MESSAGE_MAX + 1];
};

static void try_connect(struct dataplane_link *link);
static void on_poll(uv_poll_t *poll, int status, int events);

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

static void drop_waiting(struct dataplane_link *link)
{
	while (link->first != NULL) {
		struct waiting *w = link->first;

		link->first = w->next;
		free(w);
	}
	link->last = &link->first;
	link->waiting_count = 0;
}

static void on_retry(uv_timer_t *timer)
{
	try_connect(timer->data);
}

/* Forget the connection and try again later. */
static void disconnect(struct dataplane_link *link)
{
	bool was_welcomed = link->welcomed;

	if (link->poll != NULL) {
		uv_poll_stop(link->poll);
		uv_close((uv_handle_t *)link->poll, free_handle);
		link->poll = NULL;
	}
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
	link->welcomed = false;
	drop_waiting(link);
	if (!link->closing)
		uv_timer_start(&link->retry, on_retry, RETRY_MS, 0);
	if (was_welcomed)
		link->handler->lost(link->context);
}

static void flush(struct dataplane_link *link)
{
	while (link->first != NULL) {
		struct waiting *w = link->first;
		int error = vl_link_send(link->fd, w->text, w->len, NULL, 0);

		if (error == -EAGAIN)
			break;
		if (error != 0) {
			vl_log_warning("data plane: cannot send: %s", strerror(-error));
			disconnect(link);
			return;
		}
		link->first = w->next;
		if (link->first == NULL)
			link->last = &link->first;
		link->waiting_count--;
		free(w);
	}
	uv_poll_start(link->poll, UV_READABLE | UV_DISCONNECT | (link->first != NULL ? UV_WRITABLE : 0), on_poll);
}

void dataplane_link_say(struct dataplane_link *link, const char *name, cJSON *body)
{
	cJSON *message = cJSON_CreateObject();
	struct waiting *w = NULL;
	char *text = NULL;
	size_t len;

	cJSON_AddItemToObject(message, name, body);
	if (link->fd < 0 || body == NULL)
		goto out;
	text = cJSON_PrintUnformatted(message);
	if (text == NULL)
		goto out;
	len = strlen(text);
	if (len > VL_LINK_MESSAGE_MAX) {
		vl_log_warning("data plane: a %s message of %zu bytes is too long to be passed on", name, len);
		goto out;
	}
	w = malloc(sizeof(*w) + len);
	if (w == NULL)
		goto out;
	w->next = NULL;
	w->len = len;
	memcpy(w->text, text, len);
	*link->last = w;
	link->last = &w->next;
	/* A data plane that stopped reading is found out by its silence here, not by our memory. */
	if (++link->waiting_count > WAITING_MAX) {
		vl_log_warning("data plane: it does not read any more");
		uv_poll_stop(link->poll);
		uv_timer_start(&link->retry, on_retry, 0, 0);
		goto out;
	}
	if (link->waiting_count == 1)
		uv_poll_start(link->poll, UV_READABLE | UV_DISCONNECT | UV_WRITABLE, on_poll);
out:
	cJSON_free(text);
	cJSON_Delete(message);
}

/* A user as the link has it: the name, or an object when there is more to say. */
static cJSON *describe_user(const struct dataplane_user *user)
{
	cJSON *object;

	if (user->project == NULL)
		return cJSON_CreateString(user->name);
	object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "name", user->name);
	cJSON_AddStringToObject(object, "project", user->project);
	if (user->max_calls != 0)
		cJSON_AddNumberToObject(object, "max_calls", user->max_calls);
	return object;
}

/* The users from `from` on, as many as a message takes. Returns where the next message begins. */
static size_t add_users(cJSON *list, const struct dataplane_user *users, size_t from, size_t count)
{
	for (size_t bytes = 0; from < count && bytes < USERS_BYTES; from++) {
		cJSON_AddItemToArray(list, describe_user(&users[from]));
		bytes += strlen(users[from].name) + 3;
		if (users[from].project != NULL)
			bytes += strlen(users[from].project) + sizeof("{\"name\":,\"project\":\"\",\"max_calls\":1000000}");
	}
	return from;
}

static void say_users(struct dataplane_link *link, const struct dataplane_user *users, size_t from, size_t count)
{
	while (from < count) {
		cJSON *list = cJSON_CreateArray();

		from = add_users(list, users, from, count);
		dataplane_link_say(link, "users", list);
	}
}

static void say_hello(struct dataplane_link *link)
{
	cJSON *hello = cJSON_CreateObject(), *users = cJSON_AddArrayToObject(hello, "users");
	const struct dataplane_config *config = &link->config;
	size_t said = add_users(users, config->users, 0, config->user_count);

	cJSON_AddNumberToObject(hello, "abi", VL_CHANNEL_ABI);
	cJSON_AddStringToObject(hello, "name", config->name);
	cJSON_AddNumberToObject(hello, "capacity", config->capacity);
	dataplane_link_say(link, "hello", hello);
	say_users(link, config->users, said, config->user_count);
}

void dataplane_link_set_users(struct dataplane_link *link, const struct dataplane_user *users, size_t count,
	const struct dataplane_user *changed, size_t changed_count)
{
	link->config.users = users;
	link->config.user_count = count;
	say_users(link, changed, 0, changed_count);
}

static int read_welcome(
	struct dataplane_link *link, const cJSON *body, int fds[VL_LINK_FDS_MAX], size_t fd_count, struct vl_error *error)
{
	static const char *const members[] = {"abi", "node", "lcores", "tsc_hz", NULL};
	const char *node = "";
	int64_t abi, lcores, tsc_hz;

	if (vl_json_only(body, "welcome", members, error) != 0 ||
		vl_json_required(vl_json_get_integer(body, "welcome", "abi", VL_CHANNEL_ABI, VL_CHANNEL_ABI, &abi, error),
			"welcome", "abi", error) != 0 ||
		vl_json_get_string(body, "welcome", "node", 0, 255, &node, error) < 0 ||
		vl_json_required(vl_json_get_integer(body, "welcome", "lcores", 1, VL_CHANNEL_LCORES_MAX, &lcores, error),
			"welcome", "lcores", error) != 0 ||
		vl_json_required(vl_json_get_integer(body, "welcome", "tsc_hz", 1000000, 100000000000, &tsc_hz, error), "welcome",
			"tsc_hz", error) != 0)
		return -EPROTO;
	if (fd_count != 2 || link->welcomed)
		return vl_error_set(error, "welcome needs two descriptors, once");
	link->welcomed = true;
	link->complained = false;
	fd_count = 0;
	vl_log_always("attached to the data plane%s%s", *node != '\0' ? " of " : "", node);
	return link->handler->welcome(link->context, fds[0], fds[1], (unsigned int)lcores, (uint64_t)tsc_hz);
}

static int read_uuid(const cJSON *body, const char *path, const char **uuid, struct vl_error *error)
{
	return vl_json_required(
		vl_json_get_string(body, path, "session", DATAPLANE_UUID_SIZE - 1, DATAPLANE_UUID_SIZE - 1, uuid, error), path,
		"session", error);
}

static int read_open(struct dataplane_link *link, const cJSON *body, struct vl_error *error)
{
	static const char *const members[] = {
		"session", "index", "generation", "lcore", "user", "codec", "event_payload_type", "held", "listening", NULL};
	int64_t index = 0, generation = 0, lcore = 0, event = 0;
	struct dataplane_open open = {.listening = true};
	const char *uuid = "", *codec = "";

	if (vl_json_only(body, "open", members, error) != 0 || read_uuid(body, "open", &uuid, error) != 0 ||
		vl_json_required(
			vl_json_get_integer(body, "open", "index", 0, UINT32_MAX, &index, error), "open", "index", error) != 0 ||
		vl_json_required(vl_json_get_integer(body, "open", "generation", 0, UINT32_MAX, &generation, error), "open",
			"generation", error) != 0 ||
		vl_json_required(vl_json_get_integer(body, "open", "lcore", 0, VL_CHANNEL_LCORES_MAX - 1, &lcore, error), "open",
			"lcore", error) != 0 ||
		vl_json_required(vl_json_get_string(body, "open", "user", 1, 255, &open.user, error), "open", "user", error) !=
			0 ||
		vl_json_required(vl_json_get_string(body, "open", "codec", 1, 16, &codec, error), "open", "codec", error) != 0 ||
		vl_json_get_integer(body, "open", "event_payload_type", 0, 127, &event, error) < 0 ||
		vl_json_get_bool(body, "open", "held", &open.held, error) < 0 ||
		vl_json_get_bool(body, "open", "listening", &open.listening, error) < 0)
		return -EINVAL;
	if (strcmp(codec, "PCMU") == 0)
		open.law = VL_G711_PCMU;
	else if (strcmp(codec, "PCMA") == 0)
		open.law = VL_G711_PCMA;
	else
		return vl_error_at(error, "open.codec", "neither PCMU nor PCMA");
	snprintf(open.uuid, sizeof(open.uuid), "%s", uuid);
	open.index = (uint32_t)index;
	open.generation = (uint32_t)generation;
	open.lcore = (unsigned int)lcore;
	open.event_payload_type = (uint8_t)event;
	link->handler->open(link->context, &open);
	return 0;
}

static int read_close(struct dataplane_link *link, const cJSON *body, struct vl_error *error)
{
	const char *uuid, *reason = "";

	if (read_uuid(body, "close", &uuid, error) != 0 ||
		vl_json_get_string(body, "close", "reason", 0, 255, &reason, error) < 0)
		return -EINVAL;
	link->handler->close(link->context, uuid, reason);
	return 0;
}

static int read_hold(struct dataplane_link *link, const cJSON *body, struct vl_error *error)
{
	const char *uuid;
	bool held = false;

	if (read_uuid(body, "hold", &uuid, error) != 0 ||
		vl_json_required(vl_json_get_bool(body, "hold", "held", &held, error), "hold", "held", error) != 0)
		return -EINVAL;
	link->handler->hold(link->context, uuid, held);
	return 0;
}

static int read_tool_result(struct dataplane_link *link, const cJSON *body, struct vl_error *error)
{
	static const char *const members[] = {"session", "id", "result", "error", NULL};
	const char *uuid, *id = "", *failure = NULL;
	const cJSON *result = NULL;

	if (vl_json_only(body, "tool_result", members, error) != 0 || read_uuid(body, "tool_result", &uuid, error) != 0 ||
		vl_json_required(vl_json_get_string(body, "tool_result", "id", 1, TOOL_ID_SIZE - 1, &id, error), "tool_result",
			"id", error) != 0 ||
		vl_json_get_object(body, "tool_result", "result", &result, error) < 0 ||
		vl_json_get_string(body, "tool_result", "error", 1, TOOL_RESULT_MAX, &failure, error) < 0)
		return -EINVAL;
	if ((result != NULL) == (failure != NULL))
		return vl_error_at(error, "tool_result", "needs either result or error");
	link->handler->tool_result(link->context, uuid, id, result, failure);
	return 0;
}

static int read_pause(struct dataplane_link *link, const cJSON *body, struct vl_error *error)
{
	const char *uuid;
	int64_t ms = 0;

	if (read_uuid(body, "pause", &uuid, error) != 0 ||
		vl_json_required(vl_json_get_integer(body, "pause", "ms", 0, 60000, &ms, error), "pause", "ms", error) != 0)
		return -EINVAL;
	link->handler->pause(link->context, uuid, (uint32_t)ms);
	return 0;
}

static int read_listening(struct dataplane_link *link, const cJSON *body, struct vl_error *error)
{
	const char *uuid;
	bool listening = false;

	if (read_uuid(body, "listening", &uuid, error) != 0 ||
		vl_json_required(vl_json_get_bool(body, "listening", "listening", &listening, error), "listening", "listening",
			error) != 0)
		return -EINVAL;
	link->handler->listening(link->context, uuid, listening);
	return 0;
}

/* A request about one call. One that is wrong costs that call only, so it is logged and the link stays. */
static int read_request(struct dataplane_link *link, const cJSON *body, struct vl_error *error)
{
	int result;

	if (strcmp(body->string, "open") == 0)
		result = read_open(link, body, error);
	else if (strcmp(body->string, "close") == 0)
		result = read_close(link, body, error);
	else if (strcmp(body->string, "listening") == 0)
		result = read_listening(link, body, error);
	else if (strcmp(body->string, "hold") == 0)
		result = read_hold(link, body, error);
	else if (strcmp(body->string, "pause") == 0)
		result = read_pause(link, body, error);
	else if (strcmp(body->string, "tool_result") == 0)
		result = read_tool_result(link, body, error);
	else
		result = vl_error_set(error, "unknown message %s", body->string);
	if (result != 0)
		vl_log_warning("data plane: ignored: %s", error->text);
	return 0;
}

/* One message. Returns 0, or an error after which the link is dropped. */
static int read_message(struct dataplane_link *link, const cJSON *message, int *fds, size_t *fd_count, struct vl_error *error)
{
	const cJSON *body = message->child;
	const char *name;

	if (!cJSON_IsObject(message) || body == NULL || body->next != NULL)
		return vl_error_set(error, "not an object with one member");
	name = body->string;
	if (strcmp(name, "ping") == 0) {
		dataplane_link_say(link, "pong", cJSON_Duplicate(body, false));
		return 0;
	}
	if (strcmp(name, "pong") == 0)
		return 0;
	if (strcmp(name, "refused") == 0) {
		const char *reason = "";

		vl_json_get_string(body, "refused", "reason", 0, 1024, &reason, NULL);
		return vl_error_set(error, "it refused this worker: %s", reason);
	}
	if (strcmp(name, "welcome") == 0) {
		size_t count = *fd_count;
		bool was_welcomed = link->welcomed;
		int result = read_welcome(link, body, fds, count, error);

		if (link->welcomed && !was_welcomed)
			*fd_count = 0; /* the handler has them now */
		return result;
	}
	if (!link->welcomed)
		return vl_error_set(error, "it sent %s before welcome", name);
	return read_request(link, body, error);
}

/* Returns whether there may be more. */
static bool receive_one(struct dataplane_link *link)
{
	int fds[VL_LINK_FDS_MAX];
	size_t fd_count = VL_LINK_FDS_MAX;
	struct vl_error error = {0};
	ssize_t len = vl_link_receive(link->fd, link->text, fds, &fd_count);
	cJSON *message;
	int result;

	if (len == -EAGAIN)
		return false;
	if (len <= 0) {
		vl_log_warning("data plane: %s", len == 0 ? "it closed the link" : strerror((int)-len));
		disconnect(link);
		return false;
	}
	message = vl_json_parse(link->text, (size_t)len, VL_LINK_MESSAGE_MAX, &error);
	result = message != NULL ? read_message(link, message, fds, &fd_count, &error) : -EINVAL;
	cJSON_Delete(message);
	for (size_t i = 0; i < fd_count; i++)
		close(fds[i]);
	if (result == 0)
		return link->fd >= 0;
	vl_log_warning("data plane: %s", error.text[0] != '\0' ? error.text : strerror(-result));
	disconnect(link);
	return false;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct dataplane_link *link = poll->data;

	if (status < 0 || (events & (UV_READABLE | UV_DISCONNECT)) != 0)
		for (unsigned int i = 0; i < TURN_MAX && receive_one(link); i++)
			;
	/* The link may have been lost, and even made anew, by what was received. */
	if (link->poll == poll && (events & UV_WRITABLE) != 0)
		flush(link);
}

static void try_connect(struct dataplane_link *link)
{
	struct vl_link_peer peer;

	if (link->fd >= 0) {
		disconnect(link);
		return;
	}
	link->fd = vl_link_connect(link->config.path, &peer);
	if (link->fd < 0) {
		if (!link->complained)
			vl_log_warning("data plane: cannot connect to %s: %s; trying again until it is there", link->config.path,
				strerror(-link->fd));
		link->complained = true;
		link->fd = -1;
		uv_timer_start(&link->retry, on_retry, RETRY_MS, 0);
		return;
	}
	link->poll = malloc(sizeof(*link->poll));
	if (link->poll == NULL || uv_poll_init(link->loop, link->poll, link->fd) != 0) {
		free(link->poll);
		link->poll = NULL;
		disconnect(link);
		return;
	}
	link->poll->data = link;
	uv_poll_start(link->poll, UV_READABLE | UV_DISCONNECT, on_poll);
	say_hello(link);
}

struct dataplane_link *dataplane_link_create(
	uv_loop_t *loop, const struct dataplane_config *config, const struct dataplane_handler *handler, void *context)
{
	struct dataplane_link *link = calloc(1, sizeof(*link));

	if (link == NULL)
		return NULL;
	link->loop = loop;
	link->config = *config;
	link->handler = handler;
	link->context = context;
	link->fd = -1;
	link->last = &link->first;
	uv_timer_init(loop, &link->retry);
	link->retry.data = link;
	try_connect(link);
	return link;
}

static void free_link(uv_handle_t *timer)
{
	free(timer->data);
}

void dataplane_link_destroy(struct dataplane_link *link)
{
	if (link == NULL)
		return;
	link->closing = true;
	disconnect(link);
	uv_timer_stop(&link->retry);
	uv_close((uv_handle_t *)&link->retry, free_link);
}
