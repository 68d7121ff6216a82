/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls and their workers. The order matters: an lcore believes a worker about a session only while route.worker names it, so
 * that is stored last when a call is given away and first when it is taken.
 */
#include "worker_calls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_rcu_qsbr.h>

#include "../shared/log.h"
#include "call_control.h"
#include "call_records.h"
#include "events.h"
#include "tool_control.h"
#include "worker_messages.h"

_Static_assert(WORKERS_SLOTS == WORKERS_MAX && ROUTE_WORKERS == WORKERS_MAX, "a slot names the same worker everywhere");
_Static_assert(CALL_NO_WORKER == SESSION_NO_WORKER, "so that it can be copied");

#define PLACE_AGAIN_MS 100u

static struct session_route *route_of(struct dataplane *dataplane, const struct call *call)
{
	return &session_table_flow(dataplane->table, call->ref.index)->route;
}

/* Copy text, cut at a character of UTF-8 rather than in it. */
static void copy_text(char *to, size_t size, const char *from)
{
	size_t len = strlen(from);

	if (len >= size) {
		len = size - 1;
		while (len > 0 && ((unsigned char)from[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(to, from, len);
	to[len] = 0;
}

static void send_state(struct dataplane *dataplane, const struct call *call, const cJSON *code)
{
	const struct worker *worker = workers_at(dataplane->workers, call->worker);
	cJSON *params;

	if (!event_wanted(dataplane, EVENT_SESSION_STATE))
		return;
	params = event_of_call_now(dataplane, call);
	cJSON_AddStringToObject(params, "state", call->state);
	if (call->reason[0] != 0)
		cJSON_AddStringToObject(params, "reason", call->reason);
	if (code != NULL)
		cJSON_AddNumberToObject(params, "code", code->valuedouble);
	if (worker != NULL)
		cJSON_AddStringToObject(params, "worker", worker->name);
	event_send(dataplane, EVENT_SESSION_STATE, params);
}

int worker_calls_place(struct dataplane *dataplane, struct call *call, bool again)
{
	struct lcore_command command = {.type = LCORE_PLAYOUT_REATTACH, .session = call->ref};
	struct session_route *route = route_of(dataplane, call);
	int slot = workers_choose(dataplane->workers, call->user);

	if (slot < 0)
		return slot;
	if (again) {
		if (!commands_have_room(dataplane->commands))
			return -EAGAIN;
		command.attachment = (uint8_t)(atomic_load_explicit(&route->attachment, memory_order_relaxed) + 1);
		commands_send(dataplane->commands, call->lcore, &command);
		route_renew(route, command.attachment);
	}
	call->worker = (uint8_t)slot;
	strcpy(call->state, "opening");
	call->reason[0] = 0;
	/*
	 * A worker that answers at once must find its first records accepted, or a FLUSH among them is missed and all that follows is of
	 * another turn. What goes up in the moment before it has read `open` is ignored there.
	 */
	route_give(route, (uint8_t)slot);
	call_records_worker(dataplane, call, workers_at(dataplane->workers, (unsigned int)slot)->name, NULL);
	workers_open(dataplane->workers, (unsigned int)slot, call);
	if (again) {
		dataplane->calls_without_worker--;
		vl_log_info("session %s continues with worker %s", call->uuid,
			workers_at(dataplane->workers, (unsigned int)slot)->name);
		send_state(dataplane, call, NULL);
	}
	return 0;
}

void worker_calls_take(struct dataplane *dataplane, struct call *call, const char *reason)
{
	route_take(route_of(dataplane, call));
	if (call->worker == CALL_NO_WORKER) {
		dataplane->calls_without_worker--;
		return;
	}
	workers_close(dataplane->workers, call->worker, call, reason);
	call->worker = CALL_NO_WORKER;
}

/* Give every call of `user` that waits for a worker to one. */
static void place_waiting_of(struct dataplane *dataplane, const char *user)
{
	struct call *call = calls_of_user(dataplane->calls, user);

	for (; call != NULL && dataplane->calls_without_worker > 0; call = call->user_next) {
		if (call->worker == CALL_NO_WORKER && worker_calls_place(dataplane, call, true) < 0)
			return;
	}
}

void worker_calls_run(struct dataplane *dataplane)
{
	struct call *call;

	if (dataplane->calls_without_worker == 0 || dataplane->now_ms < dataplane->place_again_ms)
		return;
	/* A worker that was full may have room now. */
	dataplane->place_again_ms = dataplane->now_ms + PLACE_AGAIN_MS;
	for (call = calls_next(dataplane->calls, NULL); call != NULL; call = calls_next(dataplane->calls, call)) {
		if (call->worker == CALL_NO_WORKER)
			worker_calls_place(dataplane, call, true);
	}
}

static int attach(void *context, unsigned int slot, struct vl_channel *channel)
{
	struct dataplane *dataplane = context;
	struct lcore_command command = {.type = LCORE_WORKER_ATTACH, .worker_slot = (uint8_t)slot, .worker = channel};

	memset(&dataplane->detach[slot], 0, sizeof(dataplane->detach[slot]));
	for (unsigned int i = 0; i < dataplane->lcore_count; i++) {
		int result = commands_send(dataplane->commands, i, &command);

		if (result < 0)
			return result;
	}
	return 0;
}

/* DETACH to every lcore, wait until their rings have all of them, then a grace period: see "Order and grace" in lcore.h. */
static bool detach(void *context, unsigned int slot)
{
	struct dataplane *dataplane = context;
	struct lcore_command command = {.type = LCORE_WORKER_DETACH, .worker_slot = (uint8_t)slot};
	struct rte_rcu_qsbr *qsbr = session_table_qsbr(dataplane->table);

	if (!dataplane->detach[slot].asked) {
		/* An lcore that was not told may still use the channel: all again in the next turn, twice does no harm. */
		for (unsigned int i = 0; i < dataplane->lcore_count; i++) {
			if (commands_send(dataplane->commands, i, &command) < 0)
				return false;
		}
		dataplane->detach[slot].asked = true;
	}
	if (!dataplane->detach[slot].started) {
		if (commands_waiting(dataplane->commands) > 0)
			return false;
		dataplane->detach[slot].token = rte_rcu_qsbr_start(qsbr);
		dataplane->detach[slot].started = true;
	}
	return rte_rcu_qsbr_check(qsbr, dataplane->detach[slot].token, false) == 1;
}

static void ready(void *context, unsigned int slot, bool first)
{
	struct dataplane *dataplane = context;
	const struct worker *worker = workers_at(dataplane->workers, slot);

	if (worker == NULL)
		return;
	if (first && event_wanted(dataplane, EVENT_WORKER_ATTACHED)) {
		cJSON *params = cJSON_CreateObject();

		cJSON_AddStringToObject(params, "worker", worker->name);
		cJSON_AddNumberToObject(params, "pid", worker->peer.pid);
		cJSON_AddNumberToObject(params, "capacity", worker->capacity);
		event_send(dataplane, EVENT_WORKER_ATTACHED, params);
	}
	for (struct worker_user *user = worker->users; user != NULL && dataplane->calls_without_worker > 0; user = user->hh.next)
		place_waiting_of(dataplane, user->name);
}

static void lost(void *context, unsigned int slot, const char *worker_name, const char *reason)
{
	struct dataplane *dataplane = context;
	unsigned int count = 0;
	cJSON *params;

	for (struct call *call = calls_next(dataplane->calls, NULL); call != NULL; call = calls_next(dataplane->calls, call)) {
		if (call->worker != slot)
			continue;
		route_take(route_of(dataplane, call));
		call->worker = CALL_NO_WORKER;
		strcpy(call->state, "no-worker");
		snprintf(call->reason, sizeof(call->reason), "worker %s: %s", worker_name, reason);
		call_records_worker(dataplane, call, NULL, call->reason);
		dataplane->calls_without_worker++;
		tool_control_lost(dataplane, call);
		count++;
		send_state(dataplane, call, NULL);
	}
	if (count > 0)
		vl_log_warning("worker %s: %u calls hear silence until a worker serves them again", worker_name, count);
	dataplane->place_again_ms = dataplane->now_ms; /* another one may serve them at once */
	if (!event_wanted(dataplane, EVENT_WORKER_LOST))
		return;
	params = cJSON_CreateObject();
	cJSON_AddStringToObject(params, "worker", worker_name);
	cJSON_AddStringToObject(params, "reason", reason);
	cJSON_AddNumberToObject(params, "calls", count);
	event_send(dataplane, EVENT_WORKER_LOST, params);
}

static void state(void *context, struct call *call, const cJSON *message)
{
	struct dataplane *dataplane = context;
	const char *reason = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(message, "reason"));
	const cJSON *code = cJSON_GetObjectItemCaseSensitive(message, "code");

	copy_text(call->state, sizeof(call->state), cJSON_GetObjectItemCaseSensitive(message, "state")->valuestring);
	copy_text(call->reason, sizeof(call->reason), reason != NULL ? reason : "");
	if (strcmp(call->state, "failed") == 0)
		vl_log_warning("session %s of %s: the conversation failed: %s", call->uuid, call->user, call->reason);
	call_records_note(dataplane, call, CALL_RECORD_STATE, message);
	send_state(dataplane, call, code);
	if (strcmp(call->state, "ready") == 0 && event_wanted(dataplane, EVENT_SESSION_READY))
		event_send(dataplane, EVENT_SESSION_READY, event_of_call_now(dataplane, call));
}

/* A worker's message as it is, with "user" and "at_ms" added. */
static cJSON *pass_on(const struct dataplane *dataplane, const struct call *call, const cJSON *message)
{
	cJSON *params = cJSON_Duplicate(message, true);

	cJSON_DeleteItemFromObjectCaseSensitive(params, "user");
	cJSON_DeleteItemFromObjectCaseSensitive(params, "at_ms");
	cJSON_AddStringToObject(params, "user", call->user);
	cJSON_AddNumberToObject(params, "at_ms", (double)(dataplane->now_ms - call->created_ms));
	return params;
}

/* What is said comes in pieces, then once more as a whole. */
static void take_text(char *to, size_t size, bool *open, const cJSON *message)
{
	bool final = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(message, "final"));
	size_t len = *open && !final ? strlen(to) : 0;

	copy_text(to + len, size - len, cJSON_GetObjectItemCaseSensitive(message, "text")->valuestring);
	*open = !final;
}

static void transcript(void *context, struct call *call, const cJSON *message)
{
	struct dataplane *dataplane = context;
	const char *side = cJSON_GetObjectItemCaseSensitive(message, "side")->valuestring;

	if (strcmp(side, "caller") == 0)
		take_text(call->caller_text, sizeof(call->caller_text), &call->caller_text_open, message);
	else
		take_text(call->model_text, sizeof(call->model_text), &call->model_text_open, message);
	call_records_note(dataplane, call, CALL_RECORD_TRANSCRIPT, message);
	if (event_wanted(dataplane, EVENT_SESSION_TRANSCRIPT))
		event_send(dataplane, EVENT_SESSION_TRANSCRIPT, pass_on(dataplane, call, message));
}

static void event(void *context, struct call *call, const cJSON *message)
{
	struct dataplane *dataplane = context;
	enum event which = event_of_worker(cJSON_GetObjectItemCaseSensitive(message, "event")->valuestring);
	cJSON *turn = NULL, *params;

	if (tool_control_is_event(which)) {
		tool_control_event(dataplane, call, which, message);
		return;
	}
	if (which == EVENT_SESSION_TURN)
		message = turn = worker_message_turn(message, dataplane->now_ms - call->created_ms);
	call_records_note(dataplane, call, CALL_RECORD_EVENT, message);
	if (which != EVENT_COUNT && event_wanted(dataplane, which)) {
		params = pass_on(dataplane, call, message);
		cJSON_DeleteItemFromObjectCaseSensitive(params, "event");
		event_send(dataplane, which, params);
	}
	cJSON_Delete(turn);
}

static void end(void *context, struct call *call, const cJSON *message)
{
	char reason[CALL_TEXT_SIZE];

	/* The call takes its copy of everything along. */
	copy_text(reason, sizeof(reason), cJSON_GetObjectItemCaseSensitive(message, "reason")->valuestring);
	call->ended_by_model = true;
	call_control_end(context, call, reason);
}

const struct workers_ops worker_calls_ops = {
	.attach = attach,
	.detach = detach,
	.ready = ready,
	.lost = lost,
	.state = state,
	.transcript = transcript,
	.event = event,
	.end = end,
	.dtmf = tool_control_dtmf,
};
