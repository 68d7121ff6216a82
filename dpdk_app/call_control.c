/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a call. Order protects other calls: a session's generation is stored last when it begins and cleared first when
 * it ends, a flow leaves the table before another one enters it, and an index always has the same owning lcore, so a STOP can
 * never be overtaken by the START of the index's next call.
 */
#include "call_control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_cycles.h>

#include "../shared/log.h"
#include "call_records.h"
#include "events.h"
#include "media.h"
#include "next_hops.h"
#include "tsc.h"
#include "worker_calls.h"

#define SWEEP_MS 500u /* every call is looked at once in this time */

struct stream_start {
	uint32_t ssrc, timestamp;
	uint16_t seq;
};

static struct session_flow *flow_of(const struct dataplane *dataplane, const struct call *call)
{
	return session_table_flow(dataplane->table, call->ref.index);
}

static const struct config_trunk *trunk_of(const struct dataplane *dataplane, const struct call *call)
{
	return &dataplane->config->trunks[call->trunk];
}

uint64_t call_control_heard_ms(const struct dataplane *dataplane, uint32_t index)
{
	struct session_flow *flow = session_table_flow(dataplane->table, index);
	uint64_t last = atomic_load_explicit(&flow->receive.last_tsc, memory_order_relaxed), ago_ms;

	if (last == 0)
		return 0;
	ago_ms = tsc_ago(rte_rdtsc(), last) * 1000 / dataplane->tsc_hz;
	return ago_ms < dataplane->now_ms ? dataplane->now_ms - ago_ms : 1;
}

/* Our SSRC must differ from the caller's: RFC 3550 8.2 takes the same one for a loop. */
static void draw_stream(struct call *call, struct lcore_command *command, bool other_known, uint32_t other)
{
	struct stream_start start;

	do
		dataplane_random(&start, sizeof(start));
	while (other_known && start.ssrc == other);
	call->send_ssrc = start.ssrc;
	command->start.ssrc = start.ssrc;
	command->start.seq = start.seq;
	command->start.timestamp = start.timestamp;
}

static void start_playout(struct dataplane *dataplane, struct call *call, bool other_known, uint32_t other)
{
	struct lcore_command command = {.type = LCORE_PLAYOUT_START, .session = call->ref};

	draw_stream(call, &command, other_known, other);
	command.start.payload_type = call->payload_type;
	command.start.idle = (uint8_t)dataplane->config->playout.idle;
	next_hops_target(dataplane->next_hops, call, dataplane->now_ms, &command.start.target);
	commands_send(dataplane->commands, call->lcore, &command);
	call->aimed = command.start.target.ready;
	call->aimed_ms = dataplane->now_ms;
	call_control_listen(dataplane, call);
}

void call_control_listen(struct dataplane *dataplane, struct call *call)
{
	uint64_t waited_ms = dataplane->now_ms - call->aimed_ms;
	bool listening = call->aimed && (call->bound || waited_ms >= dataplane->config->playout.wait_for_caller_ms);

	if (listening == call->listening)
		return;
	call->listening = listening;
	if (call->worker != CALL_NO_WORKER)
		workers_listening(dataplane->workers, call->worker, call);
}

/* Tell the lcore where to send, unless it knows that there is no next hop and there still is none. */
static void aim(struct dataplane *dataplane, struct call *call)
{
	struct lcore_command command = {.type = LCORE_PLAYOUT_TARGET, .session = call->ref};

	next_hops_target(dataplane->next_hops, call, dataplane->now_ms, &command.target);
	if (call->aimed || command.target.ready)
		commands_send(dataplane->commands, call->lcore, &command);
	call->aimed = command.target.ready;
}

/* Send to `to` from now on (port 0: nowhere). */
static void send_to(struct dataplane *dataplane, struct call *call, const struct endpoint *to)
{
	if (memcmp(&call->send_to, to, sizeof(*to)) == 0)
		return;
	call->send_to = *to;
	call->aimed = true; /* at what it was so far: the lcore must hear of the change in any case */
	aim(dataplane, call);
	call->aimed_ms = dataplane->now_ms;
}

/* Tell packet cores where the caller is waited for: at its signalled place, until a flow of it is bound. */
static void expect(struct dataplane *dataplane, struct call *call, bool wait)
{
	struct flow_key place = {.local = call->local.address,
		.local_port = call->local.port,
		.remote = call->signalled.address,
		.remote_port = call->signalled.port};

	wait = wait && !call->bound && !call->port_unknown;
	if (call->expected && (!wait || memcmp(&place, &call->expected_at, sizeof(place)) != 0)) {
		expected_remove(dataplane->expected, &call->expected_at);
		call->expected = false;
	}
	if (!wait || call->expected)
		return;
	expected_add(dataplane->expected, &place);
	call->expected_at = place;
	call->expected = true;
}

/* The flow no longer leads to the call. */
static void unbind(struct dataplane *dataplane, struct call *call)
{
	if (call->inserted)
		session_table_remove(dataplane->table, &call->flow);
	call->inserted = false;
	call->bound = false;
}

/* Signalling gave the place of a flow that another call had learned from packets: that call waits again. */
static void take_evicted(struct dataplane *dataplane, const struct binding_verdict *verdict)
{
	static const struct endpoint nowhere;
	struct call *call = verdict->evicted ? calls_find(dataplane->calls, verdict->evicted_session) : NULL;

	if (call == NULL)
		return;
	vl_log_warning("session %s lost its flow: signalling gave that place to another call", call->uuid);
	unbind(dataplane, call);
	send_to(dataplane, call, call->port_unknown ? &nowhere : &call->signalled);
	expect(dataplane, call, true);
	call_control_listen(dataplane, call);
}

/* The service would refuse the session, and count the attempt; so say it before there is a call. */
static int check_project(struct dataplane *dataplane, const char *user, unsigned int worker, struct vl_json_rpc_error *error)
{
	struct workers_limit limit;

	if (!workers_limited(dataplane->workers, worker, user, &limit))
		return 0;
	atomic_fetch_add_explicit(&dataplane->counters.calls_over_limit, 1, memory_order_relaxed);
	return vl_json_rpc_fail(error, VL_JSON_RPC_EXHAUSTED, "user",
		"project %s of user '%s' has its %u calls (max_calls of the users file)", limit.project->key.name, user,
		limit.max_calls);
}

static int check_request(struct dataplane *dataplane, const struct call_request *request, const struct config_trunk *trunk,
	struct vl_json_rpc_error *error)
{
	const struct config *config = dataplane->config;
	int worker = workers_choose(dataplane->workers, request->user);
	char text[IP_ADDRESS_TEXT_SIZE];

	if (dataplane->draining)
		return vl_json_rpc_fail(
			error, VL_JSON_RPC_UNAVAILABLE, NULL, "the data plane is draining and takes no new calls");
	if (config_trunk_of(config, &request->remote.address) != trunk - config->trunks)
		return vl_json_rpc_fail(error, VL_JSON_RPC_INVALID_PARAMS, "remote.address",
			"%s is in none of the sources of trunk %s", ip_address_format(&request->remote.address, text),
			trunk->name);
	if (!ip_address_is_v4(&request->remote.address) && !config->has_listen6)
		return vl_json_rpc_fail(error, VL_JSON_RPC_INVALID_PARAMS, "remote.address",
			"%s is IPv6, and no listen6 is configured", ip_address_format(&request->remote.address, text));
	if (!commands_have_room(dataplane->commands))
		return vl_json_rpc_fail(
			error, VL_JSON_RPC_UNAVAILABLE, NULL, "a packet core is behind with its commands; try again");
	if (worker == -ENOENT)
		return vl_json_rpc_fail(error, VL_JSON_RPC_UNAVAILABLE, "user",
			"no worker serves '%s' (workers attached: %u, users they serve: %u)", request->user,
			workers_attached(dataplane->workers), workers_user_count(dataplane->workers));
	if (worker < 0)
		return vl_json_rpc_fail(error, VL_JSON_RPC_UNAVAILABLE, "user",
			"every worker that serves '%s' is at its capacity", request->user);
	return check_project(dataplane, request->user, (unsigned int)worker, error);
}

/*
 * A free even port of the dedicated range, beginning behind the one given out last, so that a port rests as long as the range
 * allows beyond its quarantine. RTCP is on the odd one above (RFC 3550 11).
 */
static bool choose_port(struct dataplane *dataplane, struct endpoint *local)
{
	const uint16_t *range = dataplane->config->listen.dedicated_ports;
	unsigned int count = (range[1] - range[0] + 1u) / 2u;

	for (unsigned int i = 0; i < count; i++) {
		local->port = (uint16_t)(range[0] + 2u * dataplane->dedicated_next);
		dataplane->dedicated_next = dataplane->dedicated_next + 1 < count ? dataplane->dedicated_next + 1 : 0;
		if (binding_local_port_free(dataplane->binding, local, dataplane->now_ms))
			return true;
	}
	return false;
}

/* The local address, and a port: the shared one or one of the call's own. */
static int choose_local(struct dataplane *dataplane, struct call *call, struct vl_json_rpc_error *error)
{
	const struct config *config = dataplane->config;
	bool v4 = ip_address_is_v4(&call->signalled.address);

	call->local.address = v4 ? config->listen.ip.address : config->listen6.address;
	call->local.port = config->listen.rtp_port;
	if (trunk_of(dataplane, call)->port_mode == CONFIG_PORT_SHARED)
		return 0;
	call->dedicated = true;
	if (choose_port(dataplane, &call->local))
		return 0;
	return vl_json_rpc_fail(error, VL_JSON_RPC_EXHAUSTED, NULL, "all local ports %u-%u are in use or resting",
		config->listen.dedicated_ports[0], config->listen.dedicated_ports[1]);
}

static int open_binding(struct dataplane *dataplane, const struct call *call, const struct call_request *request,
	struct binding_verdict *verdict, struct vl_json_rpc_error *error)
{
	const struct config_trunk *trunk = trunk_of(dataplane, call);
	struct binding_session session = {
		.local = call->local,
		.remote = call->signalled,
		.remote_port_unknown = call->port_unknown,
		.dedicated = call->dedicated,
		.allow_nat_rebind = trunk->allow_nat_rebind,
		.ssrc_known = request->ssrc_known,
		.ssrc = request->ssrc,
		.payload_type = call->payload_type,
		.event_payload_type = call->event_payload_type,
		.sources = trunk->sources,
		.source_count = trunk->source_count,
	};

	switch (binding_open(dataplane->binding, call->ref, &session, dataplane->now_ms, verdict)) {
	case 0:
		return 0;
	case -EEXIST:
		return vl_json_rpc_fail(error, VL_JSON_RPC_CONFLICT, "remote", "that source is another call's already");
	case -EBUSY:
		return vl_json_rpc_fail(error, VL_JSON_RPC_CONFLICT, "remote",
			"that source was another call's a moment ago; it rests for %u s",
			dataplane->config->sessions.quarantine_s);
	default:
		return vl_json_rpc_fail(error, VL_JSON_RPC_EXHAUSTED, NULL, "the binding rules have no room for another call");
	}
}

static struct call *add_call(struct dataplane *dataplane, const struct call_request *request, struct vl_json_rpc_error *error)
{
	uint8_t random[16];
	struct call *call;

	do {
		dataplane_random(random, sizeof(random));
		call = calls_add(dataplane->calls, request->user, random, dataplane->now_ms);
	} while (call == NULL && errno == EEXIST);
	if (call == NULL && errno == EINVAL)
		vl_json_rpc_fail(error, VL_JSON_RPC_INVALID_PARAMS, "user", "must have 1 to %d bytes", CALL_USER_SIZE - 1);
	else if (call == NULL && errno == ENOSPC)
		vl_json_rpc_fail(error, VL_JSON_RPC_EXHAUSTED, NULL, "all %u sessions are in use or resting (%u in use)",
			calls_max(dataplane->calls), calls_count(dataplane->calls));
	else if (call == NULL)
		vl_json_rpc_fail(error, VL_JSON_RPC_INTERNAL_ERROR, NULL, "out of memory");
	return call;
}

/* Storage of a call nobody can find yet; the generation makes it live and comes last. */
static void open_session(struct dataplane *dataplane, const struct call *call)
{
	struct session_flow *flow = flow_of(dataplane, call);

	receive_reset(&flow->receive);
	route_open(&flow->route, call->ref.generation, call->payload_type, call->event_payload_type, call->lcore);
}

static void announce(struct dataplane *dataplane, const struct call *call)
{
	char address[IP_ADDRESS_TEXT_SIZE];

	vl_log_info("session %s: %s by trunk %s from %s:%u, worker %s", call->uuid, call->user, trunk_of(dataplane, call)->name,
		ip_address_format(&call->signalled.address, address), call->signalled.port,
		workers_at(dataplane->workers, call->worker)->name);
	if (event_wanted(dataplane, EVENT_SESSION_CREATED))
		event_send(dataplane, EVENT_SESSION_CREATED, event_of_call(call));
}

struct call *call_control_begin(struct dataplane *dataplane, const struct call_request *request, struct vl_json_rpc_error *error)
{
	int trunk = config_trunk_find(dataplane->config, request->trunk);
	struct binding_verdict verdict;
	struct call *call;

	if (trunk < 0) {
		vl_json_rpc_fail(error, VL_JSON_RPC_NOT_FOUND, "trunk", "no trunk is called '%s'", request->trunk);
		return NULL;
	}
	if (check_request(dataplane, request, &dataplane->config->trunks[trunk], error) < 0)
		return NULL;
	call = add_call(dataplane, request, error);
	if (call == NULL)
		return NULL;
	call->trunk = (uint16_t)trunk;
	call->signalled = request->remote;
	if (call->signalled.port == 0)
		call->signalled.port = trunk_of(dataplane, call)->default_port;
	call->port_unknown = call->signalled.port == trunk_of(dataplane, call)->default_port;
	call->payload_type = request->payload_type;
	call->event_payload_type = request->event_payload_type;
	calls_give_lcore(dataplane->calls, call, dataplane->lcore_count);
	if (!call->port_unknown)
		call->send_to = call->signalled;
	if (choose_local(dataplane, call, error) < 0)
		goto forget;
	if (open_binding(dataplane, call, request, &verdict, error) < 0)
		goto forget;
	open_session(dataplane, call);
	take_evicted(dataplane, &verdict);
	start_playout(dataplane, call, request->ssrc_known, request->ssrc);
	call_records_begin(dataplane, call);
	worker_calls_place(dataplane, call, false); /* check_request() found one in this very turn */
	announce(dataplane, call);
	if (verdict.action == BINDING_BIND)
		call_control_bind(dataplane, &verdict);
	expect(dataplane, call, true);
	return call;
forget:
	calls_cancel(dataplane->calls, call);
	return NULL;
}

int call_control_move(
	struct dataplane *dataplane, struct call *call, const struct endpoint *remote, struct vl_json_rpc_error *error)
{
	static const struct endpoint nowhere;
	const struct config_trunk *trunk = trunk_of(dataplane, call);
	struct endpoint to = *remote;
	struct binding_verdict verdict;
	char text[IP_ADDRESS_TEXT_SIZE];
	bool unknown;
	int result;

	if (to.port == 0)
		to.port = trunk->default_port;
	unknown = to.port == trunk->default_port;
	if (config_trunk_of(dataplane->config, &to.address) != call->trunk)
		return vl_json_rpc_fail(error, VL_JSON_RPC_INVALID_PARAMS, "remote.address",
			"%s is in none of the sources of trunk %s", ip_address_format(&to.address, text), trunk->name);
	if (ip_address_is_v4(&to.address) != ip_address_is_v4(&call->local.address))
		return vl_json_rpc_fail(
			error, VL_JSON_RPC_CONFLICT, "remote.address", "a call cannot change between IPv4 and IPv6");
	result = binding_move(dataplane->binding, call->ref, &to, unknown, dataplane->now_ms, &verdict);
	if (result < 0)
		return vl_json_rpc_fail(
			error, VL_JSON_RPC_CONFLICT, "remote", "the call cannot move there now: %s", strerror(-result));
	call->signalled = to;
	call->port_unknown = unknown;
	take_evicted(dataplane, &verdict);
	if (verdict.moved)
		unbind(dataplane, call);
	if (!call->bound)
		send_to(dataplane, call, unknown ? &nowhere : &to);
	call_control_listen(dataplane, call);
	if (verdict.action == BINDING_BIND)
		call_control_bind(dataplane, &verdict);
	expect(dataplane, call, true);
	vl_log_info(
		"session %s: signalling moved the caller to %s:%u", call->uuid, ip_address_format(&to.address, text), to.port);
	return 0;
}

void call_control_hold(struct dataplane *dataplane, struct call *call, bool held)
{
	if (call->held == held)
		return;
	call->held = held;
	call->held_ms = dataplane->now_ms;
	atomic_store_explicit(&flow_of(dataplane, call)->route.held, held, memory_order_relaxed);
	if (call->worker != CALL_NO_WORKER)
		workers_hold(dataplane->workers, call->worker, call);
}

/* The caller happens to use our own SSRC: change ours. The worker need not know. */
static void change_ssrc(struct dataplane *dataplane, struct call *call)
{
	struct lcore_command command = {.type = LCORE_PLAYOUT_STREAM, .session = call->ref};

	vl_log_warning("session %s: the caller uses our SSRC %u; ours changes (RFC 3550 8.2)", call->uuid, call->send_ssrc);
	draw_stream(call, &command, true, call->flow.ssrc);
	commands_send(dataplane->commands, call->lcore, &command);
}

static void tell_bound(struct dataplane *dataplane, const struct call *call, const struct binding_verdict *verdict)
{
	struct endpoint from = {.address = call->flow.remote, .port = call->flow.remote_port};
	cJSON *params;

	if (!event_wanted(dataplane, EVENT_SESSION_BOUND))
		return;
	params = event_of_call_now(dataplane, call);
	event_add_endpoint(params, "remote", &from);
	cJSON_AddNumberToObject(params, "ssrc", call->flow.ssrc);
	cJSON_AddBoolToObject(params, "first", verdict->first);
	cJSON_AddBoolToObject(params, "address_switch", verdict->address_switch);
	event_send(dataplane, EVENT_SESSION_BOUND, params);
}

bool call_control_bind(struct dataplane *dataplane, const struct binding_verdict *verdict)
{
	struct call *call = calls_find(dataplane->calls, verdict->session);
	char text[IP_ADDRESS_TEXT_SIZE];
	struct endpoint from;

	if (call == NULL) {
		dataplane_drop(dataplane, DROP_STALE_GENERATION);
		return false;
	}
	unbind(dataplane, call);
	call->flow = verdict->bound;
	call->bound = true;
	call->bound_ms = dataplane->now_ms;
	call->address_switches += verdict->address_switch;
	expect(dataplane, call, false);
	from = (struct endpoint){.address = call->flow.remote, .port = call->flow.remote_port};
	atomic_fetch_add_explicit(&dataplane->counters.locks, 1, memory_order_relaxed);
	vl_log_always("%s RTP session %s to SSRC %u from (%s, %u)", verdict->first ? "Locked" : "Re-locked", call->uuid,
		call->flow.ssrc, ip_address_format(&from.address, text), from.port);
	call_records_bound(dataplane, call);
	send_to(dataplane, call, &from);
	call_control_listen(dataplane, call);
	if (call->flow.ssrc == call->send_ssrc)
		change_ssrc(dataplane, call);
	tell_bound(dataplane, call, verdict);
	return call_control_insert(dataplane, call);
}

bool call_control_insert(struct dataplane *dataplane, struct call *call)
{
	int result = call->inserted ? 0 : session_table_insert(dataplane->table, &call->flow, call->ref);

	if (result < 0)
		vl_log_error("session %s: the session table refused its flow: %s", call->uuid, strerror(-result));
	call->inserted = result == 0;
	return call->inserted;
}

void call_control_end(struct dataplane *dataplane, struct call *call, const char *reason)
{
	struct lcore_command stop = {.type = LCORE_PLAYOUT_STOP, .session = call->ref};
	struct flow_key unbound;

	route_close(&flow_of(dataplane, call)->route);
	unbind(dataplane, call);
	binding_close(dataplane->binding, call->ref, dataplane->now_ms, &unbound);
	expect(dataplane, call, false);
	commands_send(dataplane->commands, call->lcore, &stop);
	call_records_end(dataplane, call, reason);
	if (event_wanted(dataplane, EVENT_SESSION_ENDED)) {
		cJSON *params = call_describe(dataplane, call);

		cJSON_ReplaceItemInObjectCaseSensitive(params, "reason", cJSON_CreateString(reason));
		event_send(dataplane, EVENT_SESSION_ENDED, params);
	}
	worker_calls_take(dataplane, call, reason);
	workers_forget(dataplane->workers, call);
	vl_log_info("session %s of %s ended after %u s: %s", call->uuid, call->user,
		(unsigned int)((dataplane->now_ms - call->created_ms) / 1000), reason);
	calls_remove(dataplane->calls, call, dataplane->now_ms);
}

static void watch_call(struct dataplane *dataplane, struct call *call)
{
	uint64_t limit_ms = 1000u * (uint64_t)dataplane->config->sessions.media_timeout_s;
	uint64_t heard_ms = call_control_heard_ms(dataplane, call->ref.index), since_ms = call->created_ms;

	/* Who waits for a next hop says so again and again: what nobody wants is not asked for. */
	if (!call->aimed && call->send_to.port != 0)
		aim(dataplane, call);
	call_control_listen(dataplane, call);
	if (call->held)
		limit_ms = 1000u * (uint64_t)dataplane->config->sessions.hold_timeout_s;
	if (heard_ms > since_ms)
		since_ms = heard_ms;
	if (call->held_ms > since_ms)
		since_ms = call->held_ms; /* the clock of the other state does not count */
	if (dataplane->now_ms >= since_ms + limit_ms)
		call_control_end(dataplane, call, call->held ? "hold timeout" : "media timeout");
}

void call_control_run(struct dataplane *dataplane)
{
	uint32_t max = calls_max(dataplane->calls), left = max / SWEEP_MS + 1;

	for (; left > 0; left--) {
		struct call *call = calls_at(dataplane->calls, dataplane->sweep);

		dataplane->sweep = dataplane->sweep + 1 < max ? dataplane->sweep + 1 : 0;
		if (call != NULL)
			watch_call(dataplane, call);
	}
}

void call_control_drain(struct dataplane *dataplane, bool exit_when_empty)
{
	dataplane->exit_drained |= exit_when_empty;
	if (exit_when_empty)
		dataplane->drain_deadline_ms = dataplane->now_ms + 1000u * (uint64_t)dataplane->config->drain.timeout_s;
	if (dataplane->draining)
		return;
	dataplane->draining = true;
	vl_log_always("draining: no new calls; %u calls go on", calls_count(dataplane->calls));
	if (event_wanted(dataplane, EVENT_SYSTEM_DRAINING)) {
		cJSON *params = cJSON_CreateObject();

		cJSON_AddNumberToObject(params, "calls", calls_count(dataplane->calls));
		event_send(dataplane, EVENT_SYSTEM_DRAINING, params);
	}
}
