/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notifications of the control socket: their names and how they are built. Control thread only.
 */
#pragma once

#include <cjson/cJSON.h>

#include "dataplane.h"
#include "event_names.h"

enum event {
#define X(identifier, name, meaning) EVENT_##identifier,
	EVENTS(X)
#undef X
		EVENT_COUNT
};

/* Names for control_socket_open(), ends with NULL. */
extern const char *const event_names[];

/* Whether anybody listens, to spare building parameters. */
bool event_wanted(const struct dataplane *dataplane, enum event event);

/* Send it; `params` is freed (NULL, without memory, sends nothing). */
void event_send(struct dataplane *dataplane, enum event event, cJSON *params);

/* The event's parameters with "session" and "user" of a call set; NULL without memory, which the cJSON_Add functions take. */
cJSON *event_of_call(const struct call *call);

/* The same with "at_ms", milliseconds since the call was created. */
cJSON *event_of_call_now(const struct dataplane *dataplane, const struct call *call);

/* Add {"address", "port"} under `name`. */
cJSON *event_add_endpoint(cJSON *object, const char *name, const struct endpoint *endpoint);

/* The event that a worker's word ("interrupted") stands for; EVENT_COUNT for none. */
enum event event_of_worker(const char *word);
