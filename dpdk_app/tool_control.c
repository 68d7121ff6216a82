/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See tool_control.h. The worker's ledger decides what becomes of a result; the list here follows it by the worker's own events, so
 * that the platform gets its refusal as the answer to tool.result and not by silence.
 */
#include "tool_control.h"

#include <errno.h>
#include <string.h>

#include "../shared/log.h"
#include "call_records.h"
#include "tool_requests.h"

/* For the call's record: a function was called, or a call of it is over. */
static void record_call(struct dataplane *dataplane, struct call *call, enum event event, const char *id, const cJSON *of)
{
	const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(of, "name"));
	cJSON *note = cJSON_CreateObject(), *one = cJSON_CreateObject();

	if (event == EVENT_SESSION_TRANSFER_REQUESTED)
		name = "transfer_call";
	else if (event == EVENT_SESSION_HOLD_REQUESTED)
		name = "hold";
	cJSON_AddStringToObject(note, "event", "tool_call");
	cJSON_AddItemToObject(note, "call", one);
	cJSON_AddStringToObject(one, "id", id);
	cJSON_AddStringToObject(one, "name", name != NULL ? name : "");
	call_records_note(dataplane, call, CALL_RECORD_EVENT, note);
	cJSON_Delete(note);
}

static void record_end(struct dataplane *dataplane, struct call *call, const struct tool_request *request, bool failed)
{
	static const char *const events[] = {[TOOL_REQUEST_ANSWERED] = "tool_result",
		[TOOL_REQUEST_CANCELLED] = "tool_cancelled",
		[TOOL_REQUEST_EXPIRED] = "tool_expired",
		[TOOL_REQUEST_LOST] = "tool_lost"};
	cJSON *note = cJSON_CreateObject();

	cJSON_AddStringToObject(note, "event", failed ? "tool_error" : events[request->state]);
	cJSON_AddStringToObject(note, "id", request->id);
	call_records_note(dataplane, call, CALL_RECORD_EVENT, note);
	cJSON_Delete(note);
}

static void tell(struct dataplane *dataplane, struct call *call, enum event event, const cJSON *message)
{
	cJSON *params;

	if (!event_wanted(dataplane, event))
		return;
	params = cJSON_Duplicate(message, true);
	cJSON_DeleteItemFromObjectCaseSensitive(params, "event");
	cJSON_DeleteItemFromObjectCaseSensitive(params, "user");
	cJSON_DeleteItemFromObjectCaseSensitive(params, "at_ms");
	cJSON_AddStringToObject(params, "user", call->user);
	cJSON_AddNumberToObject(params, "at_ms", (double)(dataplane->now_ms - call->created_ms));
	event_send(dataplane, event, params);
}

static bool is_request(enum event event)
{
	return event == EVENT_SESSION_TOOL_CALL || event == EVENT_SESSION_TRANSFER_REQUESTED ||
	       event == EVENT_SESSION_HOLD_REQUESTED;
}

bool tool_control_is_event(enum event event)
{
	return is_request(event) || event == EVENT_SESSION_TOOL_CANCELLED || event == EVENT_SESSION_TOOL_EXPIRED ||
	       event == EVENT_SESSION_TOOL_LOST;
}

static void answer(struct dataplane *dataplane, struct call *call, const char *id, const cJSON *result, const char *error)
{
	workers_tool_result(dataplane->workers, call->worker, call, id, result, error);
}

void tool_control_event(struct dataplane *dataplane, struct call *call, enum event event, const cJSON *message)
{
	const cJSON *of = event == EVENT_SESSION_TOOL_CALL ? cJSON_GetObjectItemCaseSensitive(message, "call") : message;
	const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(of, "id"));
	struct tool_request *request;

	if (is_request(event)) {
		int result = tool_requests_open(&call->tools, id);

		if (result == -EALREADY)
			return;
		if (result < 0) {
			answer(dataplane, call, id, NULL, "out of memory");
			return;
		}
		record_call(dataplane, call, event, id, of);
		if (!event_wanted(dataplane, event)) {
			vl_log_warning("session %s of %s: the model called a function, and nobody is subscribed to %s",
				call->uuid, call->user, event_names[event]);
			request = tool_requests_find(call->tools, id);
			request->state = TOOL_REQUEST_ANSWERED;
			record_end(dataplane, call, request, true);
			answer(dataplane, call, id, NULL, "nobody is there to carry it out");
			return;
		}
	} else {
		request = tool_requests_find(call->tools, id);
		if (request == NULL || request->state != TOOL_REQUEST_OPEN)
			return; /* the result was under way already */
		request->state = event == EVENT_SESSION_TOOL_CANCELLED ? TOOL_REQUEST_CANCELLED
				 : event == EVENT_SESSION_TOOL_EXPIRED ? TOOL_REQUEST_EXPIRED
								       : TOOL_REQUEST_LOST;
		record_end(dataplane, call, request, false);
	}
	tell(dataplane, call, event, message);
}

void tool_control_lost(struct dataplane *dataplane, struct call *call)
{
	struct tool_request *request;

	while ((request = tool_requests_first_open(call->tools)) != NULL) {
		request->state = TOOL_REQUEST_LOST;
		record_end(dataplane, call, request, false);
		if (event_wanted(dataplane, EVENT_SESSION_TOOL_LOST)) {
			cJSON *params = event_of_call_now(dataplane, call);

			cJSON_AddStringToObject(params, "id", request->id);
			cJSON_AddStringToObject(params, "reason", "the worker that asked is gone");
			event_send(dataplane, EVENT_SESSION_TOOL_LOST, params);
		}
	}
	tool_requests_lost(call->tools);
}

/* Why a result is not taken any more. */
static int refuse(const struct tool_request *request, struct vl_json_rpc_error *error)
{
	static const char *const reasons[] = {[TOOL_REQUEST_ANSWERED] = "has been answered already",
		[TOOL_REQUEST_CANCELLED] = "was cancelled by the model",
		[TOOL_REQUEST_EXPIRED] = "took too long; the model was told that there is no answer",
		[TOOL_REQUEST_LOST] = "was lost with the session that asked"};

	return vl_json_rpc_fail(error, VL_JSON_RPC_CONFLICT, "id", "the call of this function %s", reasons[request->state]);
}

/* {"session", "id", "result" or "error"}: what can be checked without knowing the call. */
static int read_params(const cJSON *params, const char **uuid, const char **id, const cJSON **result, const char **failure,
	struct vl_json_rpc_error *error)
{
	static const char *const members[] = {"session", "id", "result", "error", NULL};
	struct vl_error why = {0};
	char *text;
	size_t len;

	if (params != NULL && !cJSON_IsObject(params))
		return vl_json_rpc_fail(error, VL_JSON_RPC_INVALID_PARAMS, NULL, "params are given by name");
	if (vl_json_only(params, "", members, &why) < 0 ||
		vl_json_required(
			vl_json_get_string(params, "", "session", 1, CALL_UUID_SIZE - 1, uuid, &why), "", "session", &why) < 0 ||
		vl_json_required(vl_json_get_string(params, "", "id", 1, TOOL_REQUEST_ID_SIZE - 1, id, &why), "", "id", &why) <
			0 ||
		vl_json_get_object(params, "", "result", result, &why) < 0 ||
		vl_json_get_string(params, "", "error", 1, TOOL_RESULT_SIZE_MAX / 2, failure, &why) < 0) {
		char param[VL_JSON_PATH_SIZE];

		snprintf(param, sizeof(param), "%.*s", (int)why.path_len, why.text);
		return vl_json_rpc_fail(error, VL_JSON_RPC_INVALID_PARAMS, param, "%s", vl_error_reason(&why));
	}
	if ((*result != NULL) == (*failure != NULL))
		return vl_json_rpc_fail(
			error, VL_JSON_RPC_INVALID_PARAMS, "result", "either result or error is needed, and not both");
	text = *result != NULL ? cJSON_PrintUnformatted(*result) : NULL;
	len = text != NULL ? strlen(text) : 0;
	cJSON_free(text);
	if (len > TOOL_RESULT_SIZE_MAX)
		return vl_json_rpc_fail(error, VL_JSON_RPC_INVALID_PARAMS, "result", "has %zu bytes, and %u are the most", len,
			TOOL_RESULT_SIZE_MAX);
	return 0;
}

int tool_control_result(void *context, const cJSON *params, cJSON **reply, struct vl_json_rpc_error *error)
{
	struct dataplane *dataplane = context;
	const char *uuid = "", *id = "", *failure = NULL;
	const cJSON *result = NULL;
	struct tool_request *request;
	struct call *call;

	if (read_params(params, &uuid, &id, &result, &failure, error) < 0)
		return -EINVAL;
	call = calls_find_uuid(dataplane->calls, uuid);
	if (call == NULL)
		return vl_json_rpc_fail(error, VL_JSON_RPC_NOT_FOUND, "session", "no call has the UUID '%s'", uuid);
	request = tool_requests_find(call->tools, id);
	if (request == NULL)
		return vl_json_rpc_fail(error, VL_JSON_RPC_NOT_FOUND, "id", "the model has not called a function as '%s'", id);
	if (request->state != TOOL_REQUEST_OPEN)
		return refuse(request, error);
	request->state = TOOL_REQUEST_ANSWERED;
	record_end(dataplane, call, request, failure != NULL);
	answer(dataplane, call, id, result, failure);
	*reply = NULL;
	return 0;
}

/* Hand keys to the call's lcore. Returns NULL, or why they are not sent, with the error code in *code. */
static const char *send_keys(struct dataplane *dataplane, struct call *call, const char *digits, enum vl_json_rpc_code *code)
{
	const struct session *session = session_table_at(dataplane->table, call->ref.index);
	uint32_t waiting = call->digits_sent - atomic_load_explicit(&session->event.done, memory_order_relaxed);
	struct lcore_command command = {.type = LCORE_PLAYOUT_EVENT, .session = call->ref};
	size_t len = strlen(digits);

	*code = VL_JSON_RPC_INVALID_PARAMS;
	if (len == 0 || len > TELEPHONE_EVENT_DIGITS_MAX)
		return "must be 1 to 32 keys";
	for (size_t i = 0; i < len; i++) {
		if (telephone_event_code(digits[i]) < 0)
			return "only the keys 0-9, *, # and A-D exist";
		command.event.codes[i] = (uint8_t)telephone_event_code(digits[i]);
	}
	*code = VL_JSON_RPC_CONFLICT;
	if (call->event_payload_type == 0)
		return "telephone-event was not negotiated for this call";
	*code = VL_JSON_RPC_EXHAUSTED;
	if (waiting + len > TELEPHONE_EVENT_DIGITS_MAX)
		return "too many keys wait already";
	command.event.payload_type = call->event_payload_type;
	command.event.count = (uint8_t)len;
	if (commands_send(dataplane->commands, call->lcore, &command) < 0)
		return "out of memory";
	call->digits_sent += (uint32_t)len;
	/* It shall not fill the queue meanwhile. */
	workers_pause(dataplane->workers, call->worker, call, (uint32_t)len * TELEPHONE_EVENT_MS);
	return NULL;
}

void tool_control_dtmf(void *context, struct call *call, const cJSON *message)
{
	const char *id = cJSON_GetObjectItemCaseSensitive(message, "id")->valuestring;
	enum vl_json_rpc_code code;
	const char *why = send_keys(context, call, cJSON_GetObjectItemCaseSensitive(message, "digits")->valuestring, &code);
	cJSON *result = cJSON_CreateObject();

	cJSON_AddStringToObject(result, "output", "sent");
	answer(context, call, id, why == NULL ? result : NULL, why);
	cJSON_Delete(result);
}

struct dtmf_params {
	char session[CALL_UUID_SIZE];
	char digits[TELEPHONE_EVENT_DIGITS_MAX + 1];
};

static const struct vl_setting dtmf_table[] = {
	{.name = "session",
		.type = VL_SETTING_STRING,
		.required = true,
		VL_SETTING_FIELD(dtmf_params, session),
		.min = 1,
		.meaning = "UUID of the call"},
	{.name = "digits",
		.type = VL_SETTING_STRING,
		.required = true,
		VL_SETTING_FIELD(dtmf_params, digits),
		.min = 1,
		.meaning = "keys in their order: 0-9, *, #, A-D"},
	{.name = NULL},
};

int tool_control_send_dtmf(void *context, const cJSON *params, cJSON **reply, struct vl_json_rpc_error *error)
{
	struct dataplane *dataplane = context;
	struct dtmf_params p = {0};
	enum vl_json_rpc_code code;
	struct call *call;
	const char *why;

	if (vl_json_rpc_params(params, dtmf_table, &p, error) < 0)
		return -EINVAL;
	call = calls_find_uuid(dataplane->calls, p.session);
	if (call == NULL)
		return vl_json_rpc_fail(error, VL_JSON_RPC_NOT_FOUND, "session", "no call has the UUID '%s'", p.session);
	why = send_keys(dataplane, call, p.digits, &code);
	if (why != NULL)
		return vl_json_rpc_fail(error, code, "digits", "%s", why);
	*reply = NULL;
	return 0;
}
