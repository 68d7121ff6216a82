/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions that the model calls, between the workers and whoever is connected to the control socket: who asked for what, and
 * where a result belongs. Control thread only.
 */
#pragma once

#include <cjson/cJSON.h>

#include "../shared/json_rpc.h"
#include "dataplane.h"
#include "events.h"

/*
 * An event of a worker about a function; `message` is checked. When nobody is subscribed to it the worker is told, because the
 * model waits.
 */
void tool_control_event(struct dataplane *dataplane, struct call *call, enum event event, const cJSON *message);

/* Whether tool_control_event() is for this event. */
bool tool_control_is_event(enum event event);

/* The call lost its worker, and with it everything that was asked for. */
void tool_control_lost(struct dataplane *dataplane, struct call *call);

/* For struct workers_ops: the model wants keys pressed; the worker gets the function's result. `context` is the dataplane. */
void tool_control_dtmf(void *context, struct call *call, const cJSON *message);

/* The method session.send_dtmf. */
int tool_control_send_dtmf(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error);

/* The method tool.result. */
int tool_control_result(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error);
