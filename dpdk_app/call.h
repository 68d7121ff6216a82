/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call as the control thread sees it: who, where, with which worker, and what the conversation is doing. Control thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <uthash.h>

#include "flow.h"

#define CALL_UUID_SIZE	37
#define CALL_USER_SIZE	64
#define CALL_TEXT_SIZE	256
#define CALL_STATE_SIZE 16

#define CALL_NO_WORKER 0xffu /* same value as SESSION_NO_WORKER */

struct project;

struct call {
	struct session_ref ref;
	char uuid[CALL_UUID_SIZE];
	char user[CALL_USER_SIZE];
	uint16_t trunk; /* index in the configuration */
	struct endpoint local, signalled;
	struct endpoint send_to; /* where our packets go; port 0: nowhere yet */
	bool port_unknown;	 /* the trunk's default port was signalled and no packet has told the real one yet */
	bool dedicated;		 /* the local port is this call's own */
	bool bound, held;
	bool inserted; /* `flow` is in the session table */
	bool expected; /* packet cores know that the caller is waited for at `expected_at` */
	struct flow_key expected_at;
	bool aimed;	      /* its lcore knows where to send */
	bool listening;	      /* the worker may speak: call_control_listen() */
	uint64_t aimed_ms;    /* when send_to last changed */
	struct flow_key flow; /* valid while bound */
	uint32_t address_switches;
	uint32_t send_ssrc; /* of our own stream; never the caller's */
	uint8_t payload_type, event_payload_type;
	uint8_t lcore;				/* packet lcore that owns its playout: calls_give_lcore() */
	uint8_t worker;				/* slot, CALL_NO_WORKER without one */
	struct project *project;		/* it counts for; workers.c. NULL: none */
	uint64_t created_ms, bound_ms, held_ms; /* held_ms: when hold last changed */
	char state[CALL_STATE_SIZE];		/* of the conversation, as the worker reported it; "no-worker" without one */
	char reason[CALL_TEXT_SIZE];
	char caller_text[CALL_TEXT_SIZE], model_text[CALL_TEXT_SIZE]; /* last transcripts */
	bool caller_text_open, model_text_open;			      /* more of it is to come */
	bool ended_by_model;					      /* it said goodbye and called end_call */
	struct call_record *record;				      /* call_records.c; NULL: none is kept */
	uint32_t journal_bytes, journal_squeezed; /* size of its file in the journal, and after it was last squeezed */
	bool journal_full;			  /* it takes no more notes */

	uint32_t digits_sent;	    /* keys handed to its lcore */
	struct tool_request *tools; /* functions its model asked for (tool_requests.h) */

	/* calls.c only */
	bool on_lcore; /* counted among the calls of its lcore */
	UT_hash_handle by_uuid;
	struct call *user_next, *user_prev;
	struct calls_user *of_user;
};
