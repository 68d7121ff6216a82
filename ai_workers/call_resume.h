/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call between two connections: what was cut off, how long the caller's audio had nowhere to go, and what the next session is told
 * and asked. All of these: worker loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct call;

/* The session is no longer ready: the caller's audio is kept from here on. */
void call_resume_gap(struct call *call, uint64_t now_ms);

/* The service has shown what it makes of what it was sent: that is not said again. */
void call_resume_taken(struct call *call, uint64_t now_ms);

/*
 * The connection of a session ends, and is not forgotten yet; `dead`: nothing that was sent is acknowledged. What the service has not heard of the
 * caller is put in front of what is kept. Returns since when he said it, for call_resume_again(); 0: nothing.
 */
uint64_t call_resume_take_back(struct call *call, bool dead, uint64_t now_ms);

/* Behind call_resume_gap(): what the caller has said since `since_ms` is sent again. */
void call_resume_again(struct call *call, uint64_t since_ms);

/* The connection is gone: what the model has said so far is still played to its end, and the rest is asked for later. */
void call_resume_cut(struct call *call);

/* Whether the session that is being set up will be told of the conversation. */
bool call_resume_seeds(const struct call *call);

/*
 * The session is ready, for the first time or again: report it, tell it what it does not know, and
 * ask for an answer that is still owed. `told`: it has just been told a function's result.
 */
void call_resume_ready(struct call *call, bool told, uint64_t now_ms);

/* Remind the model that the caller waits for it. With a connection. */
void call_resume_nudge(struct call *call);

/* Say that the model will not be asked again for this answer. Worker loop. */
void call_resume_give_up(struct call *call, uint64_t now_ms);
