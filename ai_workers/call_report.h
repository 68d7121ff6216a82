/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a call tells the data plane over the link: states, transcripts, events (doc/interfaces.md). Nothing is said for a call
 * that the data plane does not know. All of these: worker loop.
 */
#pragma once

#include <stdint.h>

#include <cjson/cJSON.h>

struct call;
struct call_transcript;

/* The state, if it has changed. */
void call_report_state(struct call *call);

/* One event with one more member, or with none when `name` is NULL; takes `value` over. */
void call_report_event(struct call *call, const char *event, const char *name, cJSON *value);

/* One event with all members of `body`, which it takes over. */
void call_report_members(struct call *call, const char *event, cJSON *body);

/* The end of a connection. */
void call_report_closed(struct call *call, uint16_t code, int http_status, const char *reason);

/* A fragment of what one side says; it is also kept for the end of the turn. */
void call_report_text(struct call *call, struct call_transcript *transcript, const char *text);

/* The turn is over: what each side has said in it, as a whole. */
void call_report_turn_text(struct call *call);
