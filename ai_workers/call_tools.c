/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out what the ledger decides, see call_tools.h: reports to the platform, answers to the model, and the built-in
 * functions.
 */
#include "call_tools.h"

#include <errno.h>
#include <string.h>

#include "../shared/log.h"
#include "call.h"
#include "call_message.h"
#include "call_report.h"
#include "call_turn.h"
#include "gemini_message.h"

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* One event of the function `id` (or NULL), with one more member or none; takes `value` over. */
static void report(struct call *call, const char *event, const char *id, const char *name, cJSON *value)
{
	cJSON *body = cJSON_CreateObject();

	if (id != NULL)
		cJSON_AddStringToObject(body, "id", id);
	if (name != NULL)
		cJSON_AddItemToObject(body, name, value);
	call_report_members(call, event, body);
}

/* Tell the platform what is to be done; a built-in that needs it has an event of its own. */
static void ask_platform(struct call *call, const struct tool_call *tool)
{
	cJSON *args = cJSON_Parse(tool->args), *one;

	if (tool->kind == TOOL_TRANSFER_CALL) {
		report(call, "transfer_requested", tool->id, "destination", cJSON_DetachItemFromObject(args, "destination"));
	} else if (tool->kind == TOOL_HOLD) {
		report(call, "hold_requested", tool->id, "hold", cJSON_DetachItemFromObject(args, "on"));
	} else {
		one = cJSON_CreateObject();
		cJSON_AddStringToObject(one, "id", tool->id);
		cJSON_AddStringToObject(one, "name", tool->name);
		cJSON_AddItemToObject(one, "args", args);
		report(call, "tool_call", NULL, "call", one);
		return;
	}
	cJSON_Delete(args);
}

/* Whether whoever carries it out is outside, and hears of it. */
static bool is_platforms(const struct tool_call *tool)
{
	return tool->kind == TOOL_FUNCTION || tool->kind == TOOL_TRANSFER_CALL || tool->kind == TOOL_HOLD;
}

/* Why the arguments of a built-in are wrong, in words for the model, or NULL. */
static const char *judge_arguments(enum tool_kind kind, const cJSON *args)
{
	const char *destination = cJSON_GetStringValue(member(args, "destination"));

	if (kind == TOOL_TRANSFER_CALL &&
		(destination == NULL || destination[0] == '\0' || strlen(destination) > TOOL_DESTINATION_MAX))
		return "destination must be a text of 1 to 256 bytes";
	if (kind == TOOL_SEND_DTMF) {
		const char *digits = cJSON_GetStringValue(member(args, "digits"));

		if (digits == NULL || !tools_valid_digits(digits))
			return "digits must be 1 to 32 of 0-9, *, #, A-D";
	}
	if (kind == TOOL_HOLD && !cJSON_IsBool(member(args, "on")))
		return "on must be true or false";
	return NULL;
}

/* For a session that begins anew: what was done, once. `result` NULL: nobody knows. */
static void note(struct call *call, struct tool_call *tool, const char *result)
{
	if (!tool->noted)
		history_tool(&call->history, tool->name, tool->args, result);
	tool->noted = true;
}

/* Send every answer that is due. The model says something to each: no rotation may come before that. Returns whether there was any. */
static bool send_answers(struct call *call, uint64_t now_ms)
{
	struct tool_call *tool;
	bool any = false;

	while (call->session.state == SESSION_READY && call->connection != NULL &&
		(tool = tool_ledger_due(&call->tools)) != NULL) {
		cJSON *answer = cJSON_Parse(tool_call_answer(tool));

		call_send_control(call, gemini_build_tool_response(tool->model_id, tool->name, answer));
		cJSON_Delete(answer);
		tool_ledger_sent(&call->tools, tool, call->control_queued);
		note(call, tool, tool_call_answer(tool));
		call_turn(call, TURN_TOOL_ANSWERED, now_ms);
		any = true;
	}
	return any;
}

/* The goodbye was said: nothing to answer, the call ends when it was heard. Else the model shall say it now. */
static void begin_ending(struct call *call, struct tool_call *tool, uint64_t now_ms)
{
	vl_log_info("call %s user %s: the model wants to end it", call->uuid, call->user->name);
	tool->deadline_ms = now_ms + 2 * ENDING_MAX_MS;
	if (!ending_begin(&call->ending, now_ms))
		tool_ledger_result(&call->tools, tool->id,
			"{\"output\":\"Say goodbye now. The call ends when the caller has heard it.\"}", false);
}

/* The data plane sends the keys and answers as the platform does. */
static void send_dtmf(struct call *call, struct tool_call *tool, const cJSON *args)
{
	cJSON *body = cJSON_CreateObject();

	cJSON_AddStringToObject(body, "session", call->uuid);
	cJSON_AddStringToObject(body, "id", tool->id);
	cJSON_AddStringToObject(body, "digits", cJSON_GetStringValue(member(args, "digits")));
	dataplane_link_say(call->worker->link, "dtmf", body);
}

static void carry_out(struct call *call, struct tool_call *tool, const cJSON *args, uint64_t now_ms)
{
	const char *why = judge_arguments(tool->kind, args);

	if (why != NULL)
		tool_ledger_fail(&call->tools, tool->id, why);
	else if (tool->kind == TOOL_END_CALL)
		begin_ending(call, tool, now_ms);
	else if (tool->kind == TOOL_SEND_DTMF)
		send_dtmf(call, tool, args);
	else if (!call->attached && !call->orphan_until_ms)
		tool_ledger_fail(&call->tools, tool->id, "nobody is there to carry it out");
	else
		ask_platform(call, tool);
}

/* An answer without an entry in the ledger, for which there was no room. */
static void refuse(struct call *call, const char *id, const char *name, const char *why)
{
	cJSON *answer = cJSON_CreateObject();

	cJSON_AddStringToObject(answer, "error", why);
	if (call->connection != NULL)
		call_send_control(call, gemini_build_tool_response(id, name, answer));
	cJSON_Delete(answer);
}

/* Answers that are there at once go out with the next tick: the turn must see the call before its answer. */
void call_tools_asked(struct call *call, const cJSON *calls, uint64_t now_ms)
{
	const cJSON *one;

	cJSON_ArrayForEach(one, calls)
	{
		const char *name = cJSON_GetStringValue(member(one, "name")), *why;
		const cJSON *args = member(one, "args");
		struct tool_request request = {.model_id = cJSON_GetStringValue(member(one, "id")),
			.name = name,
			.args = cJSON_IsNull(args) ? NULL : args};
		struct tool_call *tool;

		if (name == NULL)
			continue;
		request.tool = tools_find(call->user->tools, call->user->tool_count, name);
		switch (tool_ledger_begin(&call->tools, &request, now_ms, &tool, &why)) {
		case TOOL_ASK:
			vl_log_debug("call %s: function %s as %s", call->uuid, tool->name, tool->id);
			carry_out(call, tool, args, now_ms);
			break;
		case TOOL_SHARED:
			vl_log_info("call %s: function %s was asked for before", call->uuid, tool->name);
			break;
		case TOOL_KNOWN:
			break;
		case TOOL_REFUSED:
			vl_log_warning("call %s user %s: function %.64s refused: %s", call->uuid, call->user->name, name, why);
			if (tool == NULL)
				refuse(call, request.model_id, name, why);
			break;
		}
	}
}

void call_tools_cancelled(struct call *call, const cJSON *ids)
{
	const cJSON *id;

	cJSON_ArrayForEach(id, ids)
	{
		struct tool_call *tool = cJSON_IsString(id) ? tool_ledger_cancel(&call->tools, id->valuestring) : NULL;

		if (tool == NULL)
			continue;
		vl_log_info("call %s: the model does not want function %s any more", call->uuid, tool->name);
		note(call, tool, "cancelled");
		if (tool->kind == TOOL_END_CALL)
			ending_caller(&call->ending);
		else if (is_platforms(tool))
			report(call, "tool_cancelled", tool->id, NULL, NULL);
	}
}

/* What the lost session had called, and would have been told: the new one learns it from the history. Returns whether there was any. */
static bool note_unsent(struct call *call)
{
	struct tool_call *tool;
	bool any = false;

	for (tool = call->tools.calls; tool != NULL; tool = tool->next) {
		if (tool->kind == TOOL_END_CALL)
			continue; /* it may be called again */
		if (tool->state == TOOL_CALL_ANSWERED && !tool->sent)
			note(call, tool, tool_call_answer(tool));
		else if (tool->state == TOOL_CALL_WAITING)
			note(call, tool, NULL);
		else
			continue;
		any = true;
	}
	return any;
}

bool call_tools_ready(struct call *call, bool resumed, uint64_t now_ms)
{
	struct tool_call *tool;

	/* The caller waits for what would have been made of them. */
	if (!resumed && note_unsent(call)) {
		call->owed = true;
		call_turn(call, TURN_TOOL_ANSWERED, now_ms);
	}
	tool_ledger_connected(&call->tools, resumed);
	while ((tool = tool_ledger_lost(&call->tools)) != NULL) {
		vl_log_warning(
			"call %s user %s: the session that called function %s is lost", call->uuid, call->user->name, tool->name);
		if (is_platforms(tool))
			report(call, "tool_lost", tool->id, "reason",
				cJSON_CreateString("the session with the model that asked was lost"));
	}
	return send_answers(call, now_ms);
}

void call_tools_heard(struct call *call, bool voice, uint64_t now_ms)
{
	if (voice)
		ending_voice(&call->ending);
	tool_ledger_heard(&call->tools, now_ms);
}

void call_tools_caller(struct call *call, uint64_t now_ms)
{
	struct tool_call *tool;

	if (call->ending.wanted) {
		vl_log_info("call %s user %s: the caller speaks again, the call goes on", call->uuid, call->user->name);
		while ((tool = tool_ledger_open(&call->tools, TOOL_END_CALL)) != NULL)
			tool_ledger_fail(&call->tools, tool->id, "the caller spoke again, so the call goes on");
	}
	ending_caller(&call->ending);
	send_answers(call, now_ms);
}

void call_tools_result(struct call *call, const char *id, const cJSON *result, const char *error, uint64_t now_ms)
{
	char *text = error == NULL ? cJSON_PrintUnformatted(result) : NULL;
	int status = -ENOMEM;

	if (error != NULL)
		status = tool_ledger_fail(&call->tools, id, error);
	else if (text != NULL)
		status = tool_ledger_result(&call->tools, id, text, false);
	cJSON_free(text);
	if (status != 0)
		vl_log_info("call %s: the result of function call %s is dropped: %s", call->uuid, id, strerror(-status));
	send_answers(call, now_ms);
}

void call_tools_attached(struct call *call)
{
	const struct tool_call *tool;

	for (tool = call->tools.calls; tool != NULL; tool = tool->next)
		if (tool->state == TOOL_CALL_WAITING && is_platforms(tool))
			ask_platform(call, tool);
}

static void end_call(struct call *call)
{
	cJSON *body = cJSON_CreateObject();

	cJSON_AddStringToObject(body, "session", call->uuid);
	cJSON_AddStringToObject(body, "reason", "the model ended the call");
	dataplane_link_say(call->worker->link, "end", body);
	call->ending = (struct ending){0};
}

void call_tools_tick(struct call *call, uint64_t now_ms)
{
	const struct downlink *d = &call->downlink;
	bool silent = !d->speaking && d->queue.len == 0 && !call->caller_speaks;
	const struct tool_call *tool;

	while ((tool = tool_ledger_expire(&call->tools, now_ms)) != NULL) {
		vl_log_warning("call %s user %s: no result of function %s in time", call->uuid, call->user->name, tool->name);
		if (is_platforms(tool))
			report(call, "tool_expired", tool->id, NULL, NULL);
	}
	send_answers(call, now_ms);
	if (call->attached && ending_due(&call->ending, silent, d->complete, now_ms))
		end_call(call);
}
