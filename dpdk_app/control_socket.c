/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's server; see control_socket.h. The listening socket and every client sit in one nested epoll set. */
#include "control_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../shared/log.h"
#include "../shared/spare.h"

#define INPUT_SIZE	(2u * VL_JSON_RPC_MESSAGE_MAX) /* a value of the greatest length and what leads up to it */
#define OUTPUT_PAUSE	(64u * 1024u)		       /* a client with more than this unread is not asked for requests */
#define EVENT_NAME_SIZE 64
#define REQUESTS_A_TURN 16u /* of one client, so that none keeps the thread that also learns calls */
#define BACKLOG		64

struct client {
	struct control_socket *control;
	int fd;
	uint32_t interest; /* epoll events asked for */
	bool dead;	   /* to be closed at the end of the turn */
	bool ended;	   /* the peer will send nothing more */
	bool more;	   /* its input may hold requests for the next turn */
	uint64_t events;   /* bit per event subscribed to */
	struct ucred peer;
	struct vl_json_rpc_splitter splitter;
	size_t input_len;
	char *output; /* allocated while there is some */
	size_t output_len, output_sent, output_size;
	char input[INPUT_SIZE];
};

struct control_socket {
	int listener, epoll;
	int spare; /* given up for a moment to turn a client away when the process is out of descriptors */
	const struct control_socket_method *methods;
	const char *const *events;
	void *context;
	struct client *clients[CONTROL_SOCKET_CLIENTS_MAX];
	struct control_socket_counts counts;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dev_t device; /* of the socket file, to remove no other */
	ino_t inode;
};

/* Whether somebody listens at the address. Returns 1, 0, or -errno. */
static int address_in_use(const struct sockaddr_un *address)
{
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (probe < 0)
		return -errno;
	int r = connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : -errno;
	close(probe);
	/* EAGAIN: the backlog of a live listener is full. */
	return r == 0 || r == -EAGAIN ? 1 : r == -ECONNREFUSED || r == -ENOENT ? 0 : r;
}

/* Remove what a dead process left at the path. */
static int remove_stale(const struct sockaddr_un *address, struct vl_error *error)
{
	struct stat status;

	if (lstat(address->sun_path, &status) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(status.st_mode)) {
		vl_error_set(error, "control socket %s: a file that is no socket is in the way", address->sun_path);
		return -EEXIST;
	}
	int r = address_in_use(address);
	if (r == 1) {
		vl_error_set(error, "control socket %s: another process listens there", address->sun_path);
		return -EADDRINUSE;
	}
	if (r < 0)
		return r;
	return unlink(address->sun_path) == 0 || errno == ENOENT ? 0 : -errno;
}

/* Bind and listen. Nobody can connect before listen(), so the mode is right from the first connection on. */
static int listen_at(struct control_socket *control, const char *path, mode_t mode, struct vl_error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status;

	if (strlen(path) >= sizeof(address.sun_path)) {
		vl_error_set(error, "control socket %s: path is longer than %zu bytes", path, sizeof(address.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	memcpy(control->path, path, strlen(path) + 1);
	int r = remove_stale(&address, error);
	if (r < 0)
		return r;
	control->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->listener < 0 || bind(control->listener, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (stat(path, &status) < 0)
		return -errno;
	control->device = status.st_dev;
	control->inode = status.st_ino;
	if (chmod(path, mode) < 0 || listen(control->listener, BACKLOG) < 0)
		return -errno;
	return 0;
}

int control_socket_open(const char *path, mode_t mode, const struct control_socket_method *methods, const char *const *events,
	void *context, struct control_socket **control, struct vl_error *error)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	struct control_socket *new = calloc(1, sizeof(*new));

	error->text[0] = '\0';
	if (new == NULL) {
		vl_error_set(error, "control socket %s: out of memory", path);
		return -ENOMEM;
	}
	new->listener = -1;
	new->spare = vl_spare_open();
	new->methods = methods;
	new->events = events;
	new->context = context;
	new->epoll = epoll_create1(EPOLL_CLOEXEC);
	int r = new->epoll < 0 ? -errno : listen_at(new, path, mode, error);
	if (r == 0 && epoll_ctl(new->epoll, EPOLL_CTL_ADD, new->listener, &event) < 0)
		r = -errno;
	if (r < 0) {
		if (error->text[0] == '\0')
			vl_error_set(error, "control socket %s: %s", path, strerror(-r));
		control_socket_close(new);
		return r;
	}
	*control = new;
	return 0;
}

static void client_free(struct client *client)
{
	close(client->fd);
	free(client->output);
	free(client);
}

void control_socket_close(struct control_socket *control)
{
	struct stat status;

	if (control == NULL)
		return;
	for (unsigned int i = 0; i < CONTROL_SOCKET_CLIENTS_MAX; i++)
		if (control->clients[i] != NULL)
			client_free(control->clients[i]);
	if (control->inode != 0 && lstat(control->path, &status) == 0 && status.st_ino == control->inode &&
		status.st_dev == control->device)
		unlink(control->path);
	if (control->listener >= 0)
		close(control->listener);
	if (control->epoll >= 0)
		close(control->epoll);
	if (control->spare >= 0)
		close(control->spare);
	free(control);
}

int control_socket_fd(const struct control_socket *control)
{
	return control->epoll;
}

/* Send what is waiting as far as the socket takes it. */
static void client_write(struct client *client)
{
	while (client->output_sent < client->output_len && !client->dead) {
		ssize_t sent = send(client->fd, client->output + client->output_sent, client->output_len - client->output_sent,
			MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0)
			client->output_sent += (size_t)sent;
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR)
			client->dead = true;
	}
	free(client->output);
	client->output = NULL;
	client->output_len = client->output_sent = client->output_size = 0;
}

static size_t client_unread(const struct client *client)
{
	return client->output_len - client->output_sent;
}

/* Append one message. A client that lets too much wait is marked dead. */
static void client_append(struct client *client, const char *text, size_t len)
{
	if (client->dead)
		return;
	if (client_unread(client) + len > CONTROL_SOCKET_OUTPUT_MAX) {
		vl_log_warning("control client (pid %d, uid %u) does not read, cut off", (int)client->peer.pid, client->peer.uid);
		client->control->counts.slow++;
		client->dead = true;
		shutdown(client->fd, SHUT_RDWR); /* so that the owner wakes up and control_socket_poll() buries it */
		return;
	}
	if (client->output_sent > 0 && client->output_len + len > client->output_size) {
		memmove(client->output, client->output + client->output_sent, client_unread(client));
		client->output_len -= client->output_sent;
		client->output_sent = 0;
	}
	if (client->output_len + len > client->output_size) {
		size_t size = client->output_size == 0 ? 4096 : client->output_size;
		while (size < client->output_len + len)
			size *= 2;
		char *output = realloc(client->output, size);
		if (output == NULL) {
			client->dead = true;
			return;
		}
		client->output = output;
		client->output_size = size;
	}
	memcpy(client->output + client->output_len, text, len);
	client->output_len += len;
}

static void client_respond(struct client *client, cJSON *response)
{
	char *text = cJSON_PrintUnformatted(response);

	cJSON_Delete(response);
	if (text == NULL) {
		client->dead = true; /* out of memory: an answer that never comes would hang the client */
		return;
	}
	client_append(client, text, strlen(text));
	client_append(client, "\n", 1);
	cJSON_free(text);
}

static int event_index(const struct control_socket *control, const char *name)
{
	for (int i = 0; control->events[i] != NULL && i < (int)CONTROL_SOCKET_EVENTS_MAX; i++)
		if (strcmp(control->events[i], name) == 0)
			return i;
	return -1;
}

struct subscribe_params {
	char (*events)[EVENT_NAME_SIZE];
	size_t count;
	bool given;
};

static const struct vl_setting event_name[] = {
	{.name = "", .type = VL_SETTING_STRING, .size = EVENT_NAME_SIZE, .min = 1},
	{.name = NULL},
};
static const struct vl_setting subscribe_table[] = {
	{.name = "events",
		.type = VL_SETTING_LIST,
		VL_SETTING_FIELD(subscribe_params, events),
		.count = offsetof(struct subscribe_params, count),
		.present = offsetof(struct subscribe_params, given),
		.max = CONTROL_SOCKET_EVENTS_MAX,
		.members = event_name},
	{.name = NULL},
};

/*
 * events.subscribe and events.unsubscribe {"events"?: [names]}; without the list: every event. Results in the names subscribed to
 * now.
 */
static int client_subscribe(struct client *client, bool add, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	const struct control_socket *control = client->control;
	struct subscribe_params given = {.count = 0};
	char path[VL_JSON_PATH_SIZE];
	uint64_t mask = 0;
	int r = vl_json_rpc_params(params, subscribe_table, &given, error);

	if (r < 0)
		return r;
	for (size_t i = 0; i < given.count && r == 0; i++) {
		int event = event_index(control, given.events[i]);
		if (event < 0) {
			snprintf(path, sizeof(path), "events[%zu]", i);
			r = vl_json_rpc_fail(error, VL_JSON_RPC_INVALID_PARAMS, path, "'%s' is not an event", given.events[i]);
		} else {
			mask |= UINT64_C(1) << event;
		}
	}
	if (!given.given)
		mask = UINT64_MAX;
	vl_settings_free(subscribe_table, &given);
	if (r < 0)
		return r;
	client->events = add ? client->events | mask : client->events & ~mask;
	*result = cJSON_CreateObject();
	cJSON *names = cJSON_AddArrayToObject(*result, "events");
	for (int i = 0; control->events[i] != NULL; i++)
		if (client->events >> i & 1)
			cJSON_AddItemToArray(names, cJSON_CreateStringReference(control->events[i]));
	return 0;
}

static int client_call(void *context, const char *method, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	struct client *client = context;
	const struct control_socket *control = client->control;

	if (strcmp(method, "events.subscribe") == 0)
		return client_subscribe(client, true, params, result, error);
	if (strcmp(method, "events.unsubscribe") == 0)
		return client_subscribe(client, false, params, result, error);
	for (const struct control_socket_method *m = control->methods; m->name != NULL; m++)
		if (strcmp(m->name, method) == 0)
			return m->handler(control->context, params, result, error);
	return vl_json_rpc_fail(error, VL_JSON_RPC_METHOD_NOT_FOUND, NULL, "no such method");
}

/* The stream cannot be followed any more: say so, and close once it is sent. */
static void client_broken(struct client *client, int why)
{
	struct vl_json_rpc_error error;

	vl_json_rpc_fail(&error, VL_JSON_RPC_PARSE_ERROR, NULL,
		why == -EMSGSIZE ? "a request is longer than %u bytes"
				 : "a request is a JSON object or a list of them (at most %u bytes)",
		VL_JSON_RPC_MESSAGE_MAX);
	vl_log_warning("control client (pid %d, uid %u) broke the protocol, cut off", (int)client->peer.pid, client->peer.uid);
	client->control->counts.broken++;
	client->input_len = 0;
	client->ended = true;
	client->events = 0;
	client_respond(client, vl_json_rpc_error_response(&error, NULL));
	client_write(client);
}

/* Answer complete values in the input, as long as the client reads what it gets, up to the share of one turn. */
static void client_answer(struct client *client)
{
	size_t start, end, used = 0;
	unsigned int answered = 0;
	int r = 0;

	client->more = false;
	while (!client->dead && client_unread(client) < OUTPUT_PAUSE) {
		client->more = answered == REQUESTS_A_TURN;
		if (client->more)
			break;
		r = vl_json_rpc_split(&client->splitter, client->input + used, client->input_len - used, &start, &end);
		if (r <= 0)
			break;
		client->control->counts.requests++;
		cJSON *response = vl_json_rpc_answer(client->input + used + start, end - start, client_call, client);
		if (response != NULL)
			client_respond(client, response);
		else if (errno == ENOMEM)
			client->dead = true;
		used += end;
		answered++;
		client_write(client);
	}
	if (r < 0) {
		client_broken(client, r);
		return;
	}
	/* Leading space goes too, so that the greatest value always fits behind it. */
	used += client->splitter.start;
	client->splitter.scanned -= client->splitter.start;
	client->splitter.start = 0;
	memmove(client->input, client->input + used, client->input_len - used);
	client->input_len -= used;
}

/* One read, so that no client keeps the thread for itself. */
static void client_read(struct client *client)
{
	if (client->input_len == sizeof(client->input) || client->ended)
		return;
	ssize_t got =
		recv(client->fd, client->input + client->input_len, sizeof(client->input) - client->input_len, MSG_DONTWAIT);

	if (got > 0)
		client->input_len += (size_t)got;
	else if (got == 0)
		client->ended = true;
	else if (errno != EAGAIN && errno != EINTR)
		client->dead = true;
}

/*
 * After anything happened to a client: write, answer, ask for what it waits on, or find that it is done. Nothing is written
 * behind the answers, so when nothing is unread then no complete value is left in the input, unless there is more for the next
 * turn; to get that, it asks to write, which it nearly always may.
 */
static void client_turn(struct client *client)
{
	client_write(client);
	client_answer(client);
	if (client->ended && !client->more && client_unread(client) == 0)
		client->dead = true;
	if (client->dead)
		return;
	bool paused = client_unread(client) >= OUTPUT_PAUSE || client->ended || client->more;
	bool writes = client_unread(client) > 0 || client->more;
	uint32_t interest = (paused ? 0u : (uint32_t)EPOLLIN) | (writes ? (uint32_t)EPOLLOUT : 0u);
	struct epoll_event event = {.events = interest, .data.ptr = client};
	if (interest != client->interest && epoll_ctl(client->control->epoll, EPOLL_CTL_MOD, client->fd, &event) < 0)
		client->dead = true;
	client->interest = interest;
}

/* Out of descriptors: a connection left in the backlog would keep the owner awake, so it is accepted and closed. */
static void turn_away(struct control_socket *control)
{
	vl_spare_turn_away(&control->spare, control->listener);
	control->counts.refused++;
	vl_log_warning("control client refused: the process has no descriptor left");
}

static void accept_clients(struct control_socket *control)
{
	for (unsigned int i = 0; i < CONTROL_SOCKET_CLIENTS_MAX; i++) {
		int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0 && vl_spare_needed(errno))
			turn_away(control);
		if (fd < 0)
			return;
		struct ucred peer = {.pid = 0};
		socklen_t size = sizeof(peer);
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
		unsigned int slot = 0;
		while (slot < CONTROL_SOCKET_CLIENTS_MAX && control->clients[slot] != NULL)
			slot++;
		struct client *client = slot < CONTROL_SOCKET_CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
		if (client == NULL || epoll_ctl(control->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
			vl_log_warning("control client (pid %d, uid %u) refused: %u are connected", (int)peer.pid, peer.uid,
				control->counts.clients);
			control->counts.refused++;
			free(client);
			close(fd);
			continue;
		}
		client->control = control;
		client->fd = fd;
		client->peer = peer;
		client->interest = EPOLLIN;
		control->clients[slot] = client;
		control->counts.accepted++;
		control->counts.clients++;
	}
}

/* Only between turns, because a handler's notification may have marked any client dead. */
static void bury_dead(struct control_socket *control)
{
	for (unsigned int i = 0; i < CONTROL_SOCKET_CLIENTS_MAX; i++) {
		if (control->clients[i] == NULL || !control->clients[i]->dead)
			continue;
		client_free(control->clients[i]);
		control->clients[i] = NULL;
		control->counts.clients--;
	}
}

void control_socket_poll(struct control_socket *control)
{
	struct epoll_event events[CONTROL_SOCKET_CLIENTS_MAX + 1];
	int count = epoll_wait(control->epoll, events, CONTROL_SOCKET_CLIENTS_MAX + 1, 0);

	for (int i = 0; i < count; i++) {
		struct client *client = events[i].data.ptr;
		if (client == NULL) {
			accept_clients(control);
			continue;
		}
		if (events[i].events & (EPOLLIN | EPOLLERR))
			client_read(client);
		if (events[i].events & EPOLLHUP && !(events[i].events & EPOLLIN))
			client->dead = true; /* both directions are closed: nobody is left to answer */
		client_turn(client);
	}
	bury_dead(control);
}

bool control_socket_wanted(const struct control_socket *control, const char *event)
{
	int index = event_index(control, event);

	for (unsigned int i = 0; index >= 0 && i < CONTROL_SOCKET_CLIENTS_MAX; i++)
		if (control->clients[i] != NULL && !control->clients[i]->dead && control->clients[i]->events >> index & 1)
			return true;
	return false;
}

void control_socket_notify(struct control_socket *control, const char *event, const cJSON *params)
{
	int index = event_index(control, event);

	if (!control_socket_wanted(control, event))
		return;
	char *text = cJSON_PrintUnformatted(params);
	char *line = NULL;
	int len = text == NULL ? -1 : asprintf(&line, "{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"params\":%s}\n", event, text);
	cJSON_free(text);
	for (unsigned int i = 0; len > 0 && i < CONTROL_SOCKET_CLIENTS_MAX; i++) {
		struct client *client = control->clients[i];
		if (client == NULL || client->dead || !(client->events >> index & 1))
			continue;
		bool idle = client_unread(client) == 0;
		client_append(client, line, (size_t)len);
		control->counts.notifications++;
		if (idle)
			client_write(client);
		struct epoll_event wait = {.events = client->interest | (uint32_t)EPOLLOUT, .data.ptr = client};
		if (!client->dead && client_unread(client) > 0 && wait.events != client->interest &&
			epoll_ctl(control->epoll, EPOLL_CTL_MOD, client->fd, &wait) == 0)
			client->interest = wait.events;
	}
	free(line);
}

void control_socket_count(const struct control_socket *control, struct control_socket_counts *counts)
{
	*counts = control->counts;
}
