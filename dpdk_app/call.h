/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call as the control thread sees it: who, where, with which worker, and what the conversation is doing. Control thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "flow.h"

#define CALL_UUID_SIZE 37
#define CALL_USER_SIZE 64
#define CALL_TEXT_SIZE 256

struct call {
	struct session_ref ref;
	char uuid[CALL_UUID_SIZE];
	char user[CALL_USER_SIZE];
	uint16_t trunk; /* index in the configuration */
	struct endpoint local, signalled;
	bool bound, held;
	struct flow_key flow; /* valid while bound */
	uint32_t address_switches;
	uint8_t payload_type;
	uint64_t created_ms, bound_ms, heard_ms;
	char state[16]; /* of the conversation, as the worker reported it; "no-worker" without one */
	char reason[CALL_TEXT_SIZE];
	char caller_text[CALL_TEXT_SIZE], model_text[CALL_TEXT_SIZE]; /* last transcripts */
};
