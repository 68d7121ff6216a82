/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a call: begin, bind, move, hold, end. Here the registry, the binding rules, the session table, playout and the
 * workers are kept in step, so that every other module only says what happened. Control thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../shared/json_rpc.h"
#include "dataplane.h"

struct call_request {
	const char *user;
	const char *trunk;
	struct endpoint remote; /* port 0: not given, the same as the trunk's default port */
	uint8_t payload_type, event_payload_type;
	bool ssrc_known;
	uint32_t ssrc;
};

/* Begin a call. Returns it, or NULL with an error that names the parameter at fault. */
struct call *call_control_begin(struct dataplane *dataplane, const struct call_request *request, struct vl_json_rpc_error *error);

/* Signalling moved the caller. Returns 0 or -EINVAL with the error. */
int call_control_move(
	struct dataplane *dataplane, struct call *call, const struct endpoint *remote, struct vl_json_rpc_error *error);

/* Put a call on hold or resume it. */
void call_control_hold(struct dataplane *dataplane, struct call *call, bool held);

/*
 * The binding rules gave a flow to a call (BINDING_BIND): put it into the table, log the lock line, send where the caller is.
 * Returns false when the call is gone or the table refused, which is counted or logged.
 */
bool call_control_bind(struct dataplane *dataplane, const struct binding_verdict *verdict);

/* Try again to put a bound call's flow into the table, if the table refused it before. Returns whether it is there. */
bool call_control_insert(struct dataplane *dataplane, struct call *call);

/* End a call; `call` is gone when this returns. `reason` goes to the worker and to subscribers. */
void call_control_end(struct dataplane *dataplane, struct call *call, const char *reason);

/* Watch over the calls, a part of them in each turn: end those nobody is heard on any more. */
void call_control_run(struct dataplane *dataplane);

/* Accept no more calls; with `exit_when_empty` the control loop ends once the last call did or the deadline passed. */
void call_control_drain(struct dataplane *dataplane, bool exit_when_empty);

/* When the bound flow of the session in storage slot `index` was last heard, in milliseconds of now_ms; 0: never. */
uint64_t call_control_heard_ms(const struct dataplane *dataplane, uint32_t index);

/* A call as session.get and session.ended show it (doc/interfaces.md); a new tree, NULL without memory. */
cJSON *call_describe(const struct dataplane *dataplane, const struct call *call);

/*
 * Look whether the call's voice is heard, and tell its worker when that changed: the lcore knows where to send, and a packet of the caller
 * was accepted from there or playout.wait_for_caller_ms is over. Until then the worker keeps what the model says, so that a greeting is
 * heard from its beginning.
 */
void call_control_listen(struct dataplane *dataplane, struct call *call);
