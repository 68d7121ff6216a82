/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the model's messages do to a call, and the parts of call.c that they need.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct call;
struct session_event;

/* One whole message of the call's connection; `text` is changed in place. Worker loop. */
void call_message(struct call *call, char *text, size_t len, uint64_t now_ms);

/* One event for the call's session, and what follows from it. Worker loop. May leave the call without a connection. */
void call_step(struct call *call, const struct session_event *event, uint64_t now_ms);

/* The model owes an answer to what has been said, some of which may wait to be sent still. Worker loop. */
void call_asked(struct call *call, uint64_t now_ms);

/* It is the call's turn: dial. Worker loop. */
void call_dial(struct call *call, uint64_t now_ms);

/* Give the connection up, with all that was to be sent on it; it reports nothing any more. Worker loop. */
void call_let_go(struct call *call, bool graceful);

/* The connection is gone. Worker loop. */
void call_lost(struct call *call, uint16_t code, int http_status, const char *reason, uint64_t now_ms);

/* Send `text` before any more audio; takes it over, NULL (no memory) is legal. Worker loop, with a connection. */
void call_send_control(struct call *call, char *text);

/* Somebody may have begun or stopped speaking. Worker loop. */
void call_update_busy(struct call *call, uint64_t now_ms);

/* Put what is due into the downlink ring, not yet visible. Worker loop. */
void call_play(struct call *call, uint64_t now_ms);
