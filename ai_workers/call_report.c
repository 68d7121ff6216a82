/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See call_report.h. The data plane reads strictly, so text from the network is made valid UTF-8 before it goes out.
 */
#include "call_report.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"

#define TURN_TEXT_MAX \
	8192u /* bytes of one side's whole turn; it must fit into one message even when every byte is escaped once */

static cJSON *body_of(const struct call *call)
{
	cJSON *body = cJSON_CreateObject();

	cJSON_AddStringToObject(body, "session", call->uuid);
	return body;
}

/* A close reason is cut at 123 bytes, perhaps inside a character, and may hold anything. Printable ASCII is all we pass on. */
static const char *printable(const char *text, char *to, size_t size)
{
	size_t i;

	for (i = 0; i + 1 < size && text[i] != '\0'; i++)
		to[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	to[i] = '\0';
	return to;
}

void call_report_state(struct call *call)
{
	const char *state = session_state_name(&call->session);
	char reason[SESSION_REASON_SIZE];
	cJSON *body;

	if (state != NULL && call->session.state == SESSION_READY && call->downlink.speaking)
		state = "talking";
	if (state == NULL || !call->attached || strcmp(state, call->reported) == 0)
		return;
	snprintf(call->reported, sizeof(call->reported), "%s", state);
	body = body_of(call);
	cJSON_AddStringToObject(body, "state", state);
	if (call->session.reason[0] != '\0' && call->session.state != SESSION_READY)
		cJSON_AddStringToObject(body, "reason", printable(call->session.reason, reason, sizeof(reason)));
	if (call->session.code != 0 && call->session.state != SESSION_READY)
		cJSON_AddNumberToObject(body, "code", call->session.code);
	dataplane_link_say(call->worker->link, "state", body);
}

void call_report_event(struct call *call, const char *event, const char *name, cJSON *value)
{
	cJSON *body;

	if (!call->attached) {
		cJSON_Delete(value);
		return;
	}
	body = body_of(call);
	cJSON_AddStringToObject(body, "event", event);
	if (name != NULL)
		cJSON_AddItemToObject(body, name, value);
	dataplane_link_say(call->worker->link, "event", body);
}

void call_report_members(struct call *call, const char *event, cJSON *body)
{
	if (!call->attached) {
		cJSON_Delete(body);
		return;
	}
	cJSON_AddStringToObject(body, "session", call->uuid);
	cJSON_AddStringToObject(body, "event", event);
	dataplane_link_say(call->worker->link, "event", body);
}

void call_report_closed(struct call *call, uint16_t code, int http_status, const char *reason)
{
	char text[SESSION_REASON_SIZE];
	cJSON *body;

	if (!call->attached)
		return;
	body = body_of(call);
	cJSON_AddStringToObject(body, "event", "closed");
	cJSON_AddNumberToObject(body, "code", code);
	if (http_status != 0)
		cJSON_AddNumberToObject(body, "http_status", http_status);
	cJSON_AddStringToObject(body, "reason", printable(reason, text, sizeof(text)));
	dataplane_link_say(call->worker->link, "event", body);
}

static void say_text(struct call *call, const struct call_transcript *transcript, const char *text, bool final)
{
	cJSON *body;

	if (!call->attached)
		return;
	body = body_of(call);
	cJSON_AddStringToObject(body, "side", transcript == &call->caller_text ? "caller" : "model");
	cJSON_AddStringToObject(body, "text", text);
	cJSON_AddBoolToObject(body, "final", final);
	dataplane_link_say(call->worker->link, "transcript", body);
}

void call_report_text(struct call *call, struct call_transcript *t, const char *text)
{
	size_t len = strlen(text), need = t->len + len + 1;

	if (len > TURN_TEXT_MAX)
		return;
	say_text(call, t, text, false);
	if (need > TURN_TEXT_MAX)
		return;
	if (need > t->capacity) {
		size_t capacity = need < 256 ? 256 : need * 2;
		char *grown = realloc(t->text, capacity);

		if (grown == NULL)
			return;
		t->text = grown;
		t->capacity = capacity;
	}
	memcpy(t->text + t->len, text, len + 1);
	t->len += len;
}

static void end_text(struct call *call, struct call_transcript *t)
{
	if (t->len == 0)
		return;
	say_text(call, t, t->text, true);
	t->len = 0;
}

void call_report_turn_text(struct call *call)
{
	end_text(call, &call->caller_text);
	end_text(call, &call->model_text);
}
