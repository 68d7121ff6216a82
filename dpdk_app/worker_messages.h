/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of the worker link as text: building those the data plane sends and checking those a worker sends. Pure. Control
 * thread only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "../shared/json.h"
#include "call.h"

enum worker_message_kind {
	WORKER_MESSAGE_HELLO,
	WORKER_MESSAGE_USERS,
	WORKER_MESSAGE_STATE,
	WORKER_MESSAGE_TRANSCRIPT,
	WORKER_MESSAGE_EVENT,
	WORKER_MESSAGE_END,
	WORKER_MESSAGE_DTMF,
	WORKER_MESSAGE_PING,
	WORKER_MESSAGE_PONG,
};

struct worker_hello {
	const char *name; /* belongs to the message */
	uint32_t abi, capacity;
};

/*
 * Parse and check one message of a worker against doc/interfaces.md. Returns the tree (free with cJSON_Delete()) with its kind
 * and its one member's value in *body, or NULL with errno EINVAL and the error set.
 */
cJSON *worker_message_parse(
	const char *text, size_t len, enum worker_message_kind *kind, const cJSON **body, struct vl_error *error);

/* One user of a checked list. */
struct worker_user_entry {
	const char *name, *project; /* of the message; project NULL: none */
	uint32_t max_calls;	    /* of the project, 0: no limit */
};

/* The entry of a checked list of users. */
void worker_message_user(const cJSON *item, struct worker_user_entry *entry);

/* The fields of a checked hello. */
void worker_message_hello(const cJSON *body, struct worker_hello *hello);

/*
 * The event "turn" whose turn has times in milliseconds since the call was created instead of how long ago things were: "caller_from_ms" of
 * "caller_from_ms_ago". Its other members stay. `now_ms`: the call's age. A new tree, NULL without memory.
 */
cJSON *worker_message_turn(const cJSON *body, uint64_t now_ms);

/* Print a message as the data plane sends it; NULL without memory. Free with cJSON_free(). */
char *worker_message_welcome(uint32_t abi, const char *node, unsigned int lcores, uint64_t tsc_hz);
char *worker_message_refused(const char *reason);
char *worker_message_open(const struct call *call);
char *worker_message_close(const char *uuid, const char *reason);
char *worker_message_hold(const char *uuid, bool held);
char *worker_message_pause(const char *uuid, uint32_t ms);
char *worker_message_tool_result(const char *uuid, const char *id, const cJSON *result, const char *error);
char *worker_message_listening(const char *uuid, bool listening);
char *worker_message_ping(uint64_t number);
char *worker_message_pong(uint64_t number);
