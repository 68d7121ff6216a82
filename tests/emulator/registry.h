/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions that can be resumed: handles, whose they are, and whether the service would still hold them locked. Pure: time and
 * random bytes are parameters.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "persona.h"
#include "setup.h"

#define REGISTRY_HANDLE_SIZE 37u /* with NUL; 36 characters as on gemini-3.8-live */

struct session {
	const struct persona *persona;
	const struct setup_model *model;
	bool open, closed_idle; /* a socket has it; it was idle when the socket closed */
	uint64_t closed_ms;
	uint64_t audio_offset_ms; /* audio heard on former connections */
	unsigned turns, refusals;
	bool tool_pending; /* a function call that nobody has answered; outlives the connection */
	char tool_id[32];
};

struct registry;

enum registry_verdict {
	REGISTRY_OK,
	REGISTRY_UNKNOWN, /* 1008 */
	REGISTRY_FOREIGN, /* another key's: answered like UNKNOWN, counted apart */
	REGISTRY_BUSY,	  /* old socket still open, just closed, other model, or told to refuse: 1011 */
};

struct registry *registry_create(void);
void registry_free(struct registry *registry);

/* A new open session. NULL when memory is out. The registry owns it. */
struct session *registry_open(struct registry *registry, const struct persona *persona, const struct setup_model *model);

/* Give out a handle for the session from 16 random bytes. Returns NULL when memory is out. */
const char *registry_handle(struct registry *registry, struct session *session, const uint8_t random[16]);

/*
 * May this key resume that handle now? On REGISTRY_OK the session is open again. `lock_ms`: how long a session closed while idle
 * stays locked.
 */
enum registry_verdict registry_resume(struct registry *registry, const char *handle, const struct persona *persona,
	const struct setup_model *model, uint64_t now_ms, uint64_t lock_ms, unsigned refuse, struct session **session);

/* The socket is gone. */
void registry_close(struct session *session, bool idle, uint64_t now_ms);

/* Refuse each session's first resumptions anew. */
void registry_forget_refusals(struct registry *registry);
