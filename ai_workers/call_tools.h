/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions of one call: what the model asks for goes to the platform or is done here, and what comes of it goes back to the model
 * (tool_ledger.h keeps the rules). All of these: worker loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

struct call;

/* toolCall: the functionCalls of one message. */
void call_tools_asked(struct call *call, const cJSON *calls, uint64_t now_ms);

/* toolCallCancellation: ids that need no answer any more. */
void call_tools_cancelled(struct call *call, const cJSON *ids);

/*
 * The session is ready on a new connection, which continues the one before or begins anew. Returns whether it was told a result: the
 * model goes on from that.
 */
bool call_tools_ready(struct call *call, bool resumed, uint64_t now_ms);

/* The model's voice came, or its turn ended. */
void call_tools_heard(struct call *call, bool voice, uint64_t now_ms);

/* The caller speaks, or interrupted the model. */
void call_tools_caller(struct call *call, uint64_t now_ms);

/* The platform's result: an object, or `error` when that is not NULL. */
void call_tools_result(struct call *call, const char *id, const cJSON *result, const char *error, uint64_t now_ms);

/* A data plane has the call, perhaps a new one: it hears again of what is still open. */
void call_tools_attached(struct call *call);

/* Let time pass. */
void call_tools_tick(struct call *call, uint64_t now_ms);
