/* SPDX-License-Identifier: Apache-2.0 */
/* See call_gate.h. */
#include "call_gate.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "../shared/log.h"
#include "call.h"
#include "call_message.h"
#include "call_report.h"
#include "stats.h"
#include "tsc.h"

/*
 * A handshake takes 0.8 ms of the loop, in two or three turns. At 200 a second they take a sixth of it; begun 5 ms apart they do
 * not meet in one turn. With a round trip of 50 ms, 32 at a time are just that pace; a service that hangs holds no more.
 */
#define DIALS_MAX	 32u
#define DIALS_PER_SECOND 200u
#define TURN_LONG_US	 4000u
#define DIAL_ANYWAY_MS	 50u
#define STAY_APART_MS	 250u

void worker_gate_start(struct worker *worker)
{
	struct gate_config config = {.dials_max = DIALS_MAX, .per_second = DIALS_PER_SECOND};

	gate_init(&worker->gate, &config, (uint32_t)tsc_now());
}

static struct call *call_of(struct gate_ticket *ticket)
{
	return (struct call *)(void *)((char *)ticket - offsetof(struct call, ticket));
}

void worker_gate_run(struct worker *worker, uint64_t now_ms)
{
	struct gate_ticket *ticket;
	bool granted;

	/* A handshake more would only make the next turn longer too; a loop that is always that busy still dials now and then. */
	if (worker->turn_cpu_us > TURN_LONG_US && now_ms < worker->dialled_ms + DIAL_ANYWAY_MS)
		return;
	while ((ticket = gate_next(&worker->gate, now_ms, &granted)) != NULL) {
		struct call *call = call_of(ticket);
		char reason[GATE_REASON_SIZE];

		if (granted) {
			worker->dialled_ms = now_ms;
			vl_histogram_add(&worker->stats.turn_to_dial_us, (now_ms - call->gate_ms) * 1000);
			call_step(call, &(struct session_event){.type = SESSION_DIAL_BEGINS}, now_ms);
			if (call->session.phase != SESSION_PHASE_TURN)
				call_dial(call, now_ms);
			continue;
		}
		stats_add(&worker->stats.dials_refused, 1);
		gate_reason(ticket, now_ms, reason);
		vl_log_warning("call %s user %s: %s", call->uuid, call->user->name, reason);
		call_step(call, &(struct session_event){.type = SESSION_REFUSED, .reason = reason}, now_ms);
	}
}

int call_gate_join(struct call *call)
{
	const struct user *user = call->user;
	const struct user_project *in = user->in_project;
	char key[GATE_LABEL_SIZE], project[GATE_LABEL_SIZE];

	snprintf(key, sizeof(key), "the key of %s", user->key_first->name);
	if (in == NULL) /* as far as we know its key is all of its project */
		return gate_join(&call->worker->gate, &call->ticket, key, key, 0);
	snprintf(project, sizeof(project), "project %s", in->name);
	return gate_join(&call->worker->gate, &call->ticket, project, key, in->handshakes_per_second);
}

void call_gate_ask(struct call *call, uint64_t now_ms)
{
	call->gate_ms = now_ms;
	gate_ask(&call->worker->gate, &call->ticket, call->session.lost_ms, call->session.has_talked, now_ms);
}

/*
 * Conversations of a project that is closed keep their connections, however old: it gives out one dial in GATE_TRICKLE_MS, and a
 * call waits SESSION_RETRY_MS for one. Afterwards they change in turn, as the project's rate grows again. `lost` has none to keep.
 */
static void stay(const struct call *lost, uint64_t now_ms)
{
	const struct gate_scope *project = lost->ticket.project;
	struct session_event event = {.type = SESSION_STAY, .until_ms = project->closed_until_ms};
	struct call *call, *next;

	HASH_ITER(hh, lost->worker->calls, call, next)
	{
		if (call == lost || call->ticket.project != project || call->session.state != SESSION_READY)
			continue;
		event.until_ms += STAY_APART_MS;
		call_step(call, &event, now_ms);
	}
}

void call_gate_lost(struct call *call, uint16_t code, int http_status, const char *reason, uint64_t now_ms)
{
	enum close_class class =
		http_status != 0 ? close_classify_http(http_status) : close_classify(code, reason, strlen(reason));
	uint32_t closed_ms = gate_lost(&call->worker->gate, &call->ticket, class, reason, now_ms);

	if (class == CLOSE_THROTTLED) {
		uint64_t pause_ms = call->ticket.project->closed_until_ms - now_ms;

		stats_add(&call->worker->stats.quota_refusals, 1);
		call_report_event(call, "throttled", "pause_s", cJSON_CreateNumber((double)((pause_ms + 999) / 1000)));
	}
	if (closed_ms != 0) {
		stay(call, now_ms);
		vl_log_warning("%s is over its quota: new calls are refused for %u s, others dial every %u s",
			call->ticket.project->label, closed_ms / 1000, GATE_TRICKLE_MS / 1000);
	}
}
