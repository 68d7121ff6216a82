/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls at the gate (gate.h): which project and key a call belongs to, and what happens when it is its turn. All of these: worker
 * loop.
 */
#pragma once

#include <stdint.h>

struct call;
struct worker;

/* Prepare the worker's gate. */
void worker_gate_start(struct worker *worker);

/* Dial for those whose turn it is; every tick. */
void worker_gate_run(struct worker *worker, uint64_t now_ms);

/* A new call: its project and key. Returns 0 or -ENOMEM; gate_part() at its end. */
int call_gate_join(struct call *call);

/* The call wants to dial; worker_gate_run() says when. */
void call_gate_ask(struct call *call, uint64_t now_ms);

/* A connection or a dial ended as said: what that means for the project and the key. Before the session hears of it. */
void call_gate_lost(struct call *call, uint16_t code, int http_status, const char *reason, uint64_t now_ms);
