/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's end of the link to the data plane (doc/interfaces.md): connects and connects again, says hello, answers pings,
 * turns messages into calls of its handler, and queues what the worker has to say.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>
#include <uv.h>

#include "../shared/g711.h"

#define DATAPLANE_UUID_SIZE 37u

struct dataplane_link;

/* A call begins, or continues here. Valid during the handler's call. */
struct dataplane_open {
	char uuid[DATAPLANE_UUID_SIZE];
	uint32_t index, generation;
	unsigned int lcore;
	const char *user;
	enum vl_g711_law law;
	uint8_t event_payload_type;
	bool held, listening;
};

struct dataplane_handler {
	/* Attached. Both descriptors are the handler's to close. Returns 0, or -errno: the link is dropped and tried again. */
	int (*welcome)(void *context, int channel_fd, int doorbell_fd, unsigned int lcores, uint64_t tsc_hz);
	void (*open)(void *context, const struct dataplane_open *open);
	void (*close)(void *context, const char *uuid, const char *reason);
	void (*hold)(void *context, const char *uuid, bool held);
	/* Nothing of the voice is played for so long. */
	void (*pause)(void *context, const char *uuid, uint32_t ms);
	/* What a function that the model called came to: an object, or `error` when that is not NULL. Borrowed. */
	void (*tool_result)(void *context, const char *uuid, const char *id, const cJSON *result, const char *error);
	void (*listening)(void *context, const char *uuid, bool listening);
	/* The data plane is gone; only after welcome(). */
	void (*lost)(void *context);
};

/* A user this worker serves, as the data plane is told. */
struct dataplane_user {
	const char *name;
	const char *project; /* NULL: none with a name */
	uint32_t max_calls;  /* of the project, 0: no limit */
};

struct dataplane_config {
	const char *path, *name;
	const struct dataplane_user *users; /* borrowed for the link's life */
	size_t user_count;
	unsigned int capacity;
};

/* Start connecting. Worker loop. Returns NULL with errno ENOMEM. `handler` and `config` strings live as long as the link. */
struct dataplane_link *dataplane_link_create(
	uv_loop_t *loop, const struct dataplane_config *config, const struct dataplane_handler *handler, void *context);

/* Close the socket and stop; its memory is freed when the loop has run once more. Worker loop. NULL is legal. */
void dataplane_link_destroy(struct dataplane_link *link);

/*
 * The users that a new hello tells from now on; both lists are borrowed, `users` for the link's life, `changed` for the call. The
 * data plane is told of those `changed`: new, or of another project or limit. Worker loop.
 */
void dataplane_link_set_users(struct dataplane_link *link, const struct dataplane_user *users, size_t count,
	const struct dataplane_user *changed, size_t changed_count);

/*
 * Say something: {"<name>": body}. Takes `body` over, NULL (out of memory) is legal. Dropped while there is no data plane, or
 * when it does not fit into one packet. Worker loop.
 */
void dataplane_link_say(struct dataplane_link *link, const char *name, cJSON *body);
