/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notifications of the control socket.
 */
#include "events.h"

#include <stdio.h>
#include <string.h>

const char *const event_names[] = {
#define X(identifier, name, meaning) name,
	EVENTS(X)
#undef X
		NULL,
};

bool event_wanted(const struct dataplane *dataplane, enum event event)
{
	return dataplane->control != NULL && control_socket_wanted(dataplane->control, event_names[event]);
}

void event_send(struct dataplane *dataplane, enum event event, cJSON *params)
{
	if (params != NULL && dataplane->control != NULL)
		control_socket_notify(dataplane->control, event_names[event], params);
	cJSON_Delete(params);
}

cJSON *event_of_call(const struct call *call)
{
	cJSON *params = cJSON_CreateObject();

	cJSON_AddStringToObject(params, "session", call->uuid);
	cJSON_AddStringToObject(params, "user", call->user);
	return params;
}

cJSON *event_of_call_now(const struct dataplane *dataplane, const struct call *call)
{
	cJSON *params = event_of_call(call);

	cJSON_AddNumberToObject(params, "at_ms", (double)(dataplane->now_ms - call->created_ms));
	return params;
}

cJSON *event_add_endpoint(cJSON *object, const char *name, const struct endpoint *endpoint)
{
	cJSON *added = cJSON_AddObjectToObject(object, name);
	char text[IP_ADDRESS_TEXT_SIZE];

	cJSON_AddStringToObject(added, "address", ip_address_format(&endpoint->address, text));
	cJSON_AddNumberToObject(added, "port", endpoint->port);
	return added;
}

enum event event_of_worker(const char *word)
{
	static const char prefix[] = "session.";

	for (unsigned int i = 0; i < EVENT_COUNT; i++) {
		if (strncmp(event_names[i], prefix, strlen(prefix)) == 0 && strcmp(event_names[i] + strlen(prefix), word) == 0)
			return (enum event)i;
	}
	return EVENT_COUNT;
}
