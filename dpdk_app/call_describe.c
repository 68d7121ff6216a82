/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call as session.get, session.ended and telemetry's callers see it.
 */
#include "call_control.h"

#include <time.h>

#include "events.h"

#define LOAD(field) (double)atomic_load_explicit(&(field), memory_order_relaxed)

static void add_bound(cJSON *object, const struct call *call)
{
	struct endpoint from = {.address = call->flow.remote, .port = call->flow.remote_port};
	cJSON *bound;

	if (!call->bound) {
		cJSON_AddNullToObject(object, "bound");
		return;
	}
	bound = event_add_endpoint(object, "bound", &from);
	cJSON_AddNumberToObject(bound, "ssrc", call->flow.ssrc);
}

static void add_receive(cJSON *object, const struct session_receive *receive)
{
	cJSON *to = cJSON_AddObjectToObject(object, "receive");

	cJSON_AddNumberToObject(to, "packets", LOAD(receive->packets));
	cJSON_AddNumberToObject(to, "bytes", LOAD(receive->bytes));
	cJSON_AddNumberToObject(to, "lost", receive_lost(receive));
	cJSON_AddNumberToObject(to, "duplicates", LOAD(receive->duplicates));
	cJSON_AddNumberToObject(to, "reordered", LOAD(receive->reordered));
	cJSON_AddNumberToObject(to, "jitter_ms", receive_jitter_us(receive) / 1000.0);
	cJSON_AddNumberToObject(to, "dropped", LOAD(receive->dropped));
}

static void add_send(cJSON *object, const struct call *call, const struct session_playout *playout)
{
	cJSON *to = cJSON_AddObjectToObject(object, "send");

	cJSON_AddNumberToObject(to, "ssrc", call->send_ssrc);
	cJSON_AddNumberToObject(to, "packets", LOAD(playout->packets));
	cJSON_AddNumberToObject(to, "frames", LOAD(playout->frames));
	cJSON_AddNumberToObject(to, "flushed", LOAD(playout->flushed));
	cJSON_AddNumberToObject(to, "underruns", LOAD(playout->underruns));
	cJSON_AddNumberToObject(to, "queued", LOAD(playout->queued));
}

/* `created` is wall-clock time (RFC 3339), which the control thread keeps nowhere else. */
static void add_age(cJSON *object, double age_s)
{
	time_t created = time(NULL) - (time_t)age_s;
	char text[32];
	struct tm tm;

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&created, &tm));
	cJSON_AddStringToObject(object, "created", text);
	cJSON_AddNumberToObject(object, "age_s", age_s);
}

cJSON *call_describe(const struct dataplane *dataplane, const struct call *call)
{
	const struct session *session = session_table_at(dataplane->table, call->ref.index);
	const struct worker *worker = workers_at(dataplane->workers, call->worker);
	cJSON *object = event_of_call(call), *transcript;

	cJSON_AddStringToObject(object, "trunk", dataplane->config->trunks[call->trunk].name);
	cJSON_AddStringToObject(object, "codec", call->payload_type == 8 ? "PCMA" : "PCMU");
	event_add_endpoint(object, "local", &call->local);
	event_add_endpoint(object, "remote", &call->signalled);
	add_bound(object, call);
	cJSON_AddNumberToObject(object, "address_switches", call->address_switches);
	cJSON_AddBoolToObject(object, "held", call->held);
	cJSON_AddBoolToObject(object, "listening", call->listening);
	if (worker != NULL)
		cJSON_AddStringToObject(object, "worker", worker->name);
	else
		cJSON_AddNullToObject(object, "worker");
	if (call->project != NULL)
		cJSON_AddStringToObject(object, "project", call->project->key.name);
	else
		cJSON_AddNullToObject(object, "project");
	cJSON_AddStringToObject(object, "state", call->state);
	cJSON_AddStringToObject(object, "reason", call->reason);
	add_receive(object, &session_table_flow(dataplane->table, call->ref.index)->receive);
	add_send(object, call, &session->playout);
	transcript = cJSON_AddObjectToObject(object, "transcript");
	cJSON_AddStringToObject(transcript, "caller", call->caller_text);
	cJSON_AddStringToObject(transcript, "model", call->model_text);
	add_age(object, (dataplane->now_ms - call->created_ms) / 1000.0);
	return object;
}
