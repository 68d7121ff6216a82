/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods of the control socket. Parameters are checked by tables before anything happens; what a method then refuses, it
 * refuses with the name of the parameter.
 */
#include "control_methods.h"

#include <stdlib.h>
#include <string.h>

#include "../shared/clock.h"
#include "call_control.h"
#include "events.h"
#include "flow_rules.h"
#include "tool_control.h"

#define LIST_LIMIT_MAX 200 /* calls of one reply */

struct remote_params {
	struct ip_address address;
	uint16_t port;
};

static int parse_address(const char *text, void *field)
{
	return ip_address_parse(text, field);
}

static const struct vl_setting remote_table[] = {
	{.name = "address",
		.type = VL_SETTING_TEXT,
		.required = true,
		VL_SETTING_FIELD(remote_params, address),
		.parse = parse_address,
		.expected = "an IPv4 or IPv6 address",
		.meaning = "the caller's RTP address, as signalled"},
	{.name = "port",
		.type = VL_SETTING_INTEGER,
		VL_SETTING_FIELD(remote_params, port),
		.min = 1,
		.max = 65535,
		.fallback = NULL,
		.meaning = "the caller's RTP port; the trunk's default port, or none, means not known yet"},
	{.name = NULL},
};

struct create_params {
	char user[CALL_USER_SIZE];
	char trunk[CONFIG_NAME_SIZE];
	struct remote_params remote;
	int codec;
	uint32_t ssrc;
	bool ssrc_known;
	uint8_t event_payload_type;
};

static const char *const codecs[] = {"PCMU", "PCMA", NULL};
static const uint8_t codec_payload_types[] = {0, 8}; /* RFC 3551 */

static const struct vl_setting create_table[] = {
	{.name = "user",
		.type = VL_SETTING_STRING,
		.required = true,
		VL_SETTING_FIELD(create_params, user),
		.min = 1,
		.max = CALL_USER_SIZE - 1,
		.meaning = "whose key and instructions serve the call"},
	{.name = "trunk",
		.type = VL_SETTING_STRING,
		.required = true,
		VL_SETTING_FIELD(create_params, trunk),
		.min = 1,
		.max = CONFIG_NAME_SIZE - 1,
		.meaning = "the trunk the call came by"},
	{.name = "remote",
		.type = VL_SETTING_OBJECT,
		.required = true,
		VL_SETTING_FIELD(create_params, remote),
		.members = remote_table,
		.meaning = "where the caller's RTP comes from"},
	{.name = "codec",
		.type = VL_SETTING_ENUM,
		VL_SETTING_FIELD(create_params, codec),
		.words = codecs,
		.fallback = "\"PCMU\"",
		.meaning = "negotiated codec"},
	{.name = "ssrc",
		.type = VL_SETTING_INTEGER,
		VL_SETTING_FIELD(create_params, ssrc),
		.present = offsetof(struct create_params, ssrc_known),
		.max = UINT32_MAX,
		.fallback = "0",
		.meaning = "the caller's SSRC, if signalling named it (RFC 5576)"},
	{.name = "event_payload_type",
		.type = VL_SETTING_INTEGER,
		VL_SETTING_FIELD(create_params, event_payload_type),
		.max = 127,
		.fallback = "0",
		.meaning = "payload type of telephone-event (RFC 4733), 0 when not negotiated"},
	{.name = NULL},
};

struct session_params {
	char session[CALL_UUID_SIZE];
	struct remote_params remote;
	bool remote_given, hold, hold_given;
};

#define SESSION_ROW                                                                                                        \
	{                                                                                                                  \
		.name = "session", .type = VL_SETTING_STRING, .required = true, VL_SETTING_FIELD(session_params, session), \
		.min = 1, .max = CALL_UUID_SIZE - 1, .meaning = "UUID of the call"                                         \
	}

static const struct vl_setting session_table[] = {
	SESSION_ROW,
	{.name = NULL},
};

static const struct vl_setting update_table[] = {
	SESSION_ROW,
	{.name = "remote",
		.type = VL_SETTING_OBJECT,
		VL_SETTING_FIELD(session_params, remote),
		.present = offsetof(struct session_params, remote_given),
		.members = remote_table,
		.meaning = "where the caller's RTP comes from now"},
	{.name = "hold",
		.type = VL_SETTING_BOOL,
		VL_SETTING_FIELD(session_params, hold),
		.present = offsetof(struct session_params, hold_given),
		.fallback = "false",
		.meaning = "whether the call is on hold: the model does not hear the caller"},
	{.name = NULL},
};

struct list_params {
	char after[CALL_UUID_SIZE];
	uint32_t limit;
};

static const struct vl_setting list_table[] = {
	{.name = "after",
		.type = VL_SETTING_STRING,
		VL_SETTING_FIELD(list_params, after),
		.max = CALL_UUID_SIZE - 1,
		.fallback = "\"\"",
		.meaning = "UUID of the last call of the page before"},
	{.name = "limit",
		.type = VL_SETTING_INTEGER,
		VL_SETTING_FIELD(list_params, limit),
		.min = 1,
		.max = LIST_LIMIT_MAX,
		.fallback = "100",
		.meaning = "most calls in the reply"},
	{.name = NULL},
};

static int session_create(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	struct dataplane *dataplane = context;
	struct create_params p = {0};
	struct call_request request;
	struct call *call;

	if (vl_json_rpc_params(params, create_table, &p, error) < 0)
		return -EINVAL;
	if (p.event_payload_type != 0 && p.event_payload_type < 96)
		return vl_json_rpc_fail(error, VL_JSON_RPC_INVALID_PARAMS, "event_payload_type",
			"%u is not a dynamic payload type (96-127)", p.event_payload_type);
	request = (struct call_request){
		.user = p.user,
		.trunk = p.trunk,
		.remote = {.address = p.remote.address, .port = p.remote.port},
		.payload_type = codec_payload_types[p.codec],
		.event_payload_type = p.event_payload_type,
		.ssrc_known = p.ssrc_known,
		.ssrc = p.ssrc,
	};
	call = call_control_begin(dataplane, &request, error);
	if (call == NULL)
		return -EINVAL;
	*result = cJSON_CreateObject();
	cJSON_AddStringToObject(*result, "session", call->uuid);
	event_add_endpoint(*result, "local", &call->local);
	cJSON_AddStringToObject(*result, "worker", workers_at(dataplane->workers, call->worker)->name);
	return 0;
}

/* Parse `params` by `table` into *p and find the call it names. */
static struct call *get_call(struct dataplane *dataplane, const cJSON *params, const struct vl_setting *table,
	struct session_params *p, struct vl_json_rpc_error *error)
{
	struct call *call;

	memset(p, 0, sizeof(*p));
	if (vl_json_rpc_params(params, table, p, error) < 0)
		return NULL;
	call = calls_find_uuid(dataplane->calls, p->session);
	if (call == NULL)
		vl_json_rpc_fail(error, VL_JSON_RPC_NOT_FOUND, "session", "no call has the UUID '%s'", p->session);
	return call;
}

static int session_update(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	struct dataplane *dataplane = context;
	struct session_params p;
	struct call *call = get_call(dataplane, params, update_table, &p, error);

	if (call == NULL)
		return -EINVAL;
	if (p.remote_given) {
		struct endpoint remote = {.address = p.remote.address, .port = p.remote.port};

		if (call_control_move(dataplane, call, &remote, error) < 0)
			return -EINVAL;
	}
	if (p.hold_given)
		call_control_hold(dataplane, call, p.hold);
	*result = call_describe(dataplane, call);
	return 0;
}

static int session_delete(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	struct dataplane *dataplane = context;
	struct session_params p;
	struct call *call = get_call(dataplane, params, session_table, &p, error);

	if (call == NULL)
		return -EINVAL;
	*result = NULL;
	call_control_end(dataplane, call, "deleted");
	return 0;
}

static int session_get(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	struct dataplane *dataplane = context;
	struct session_params p;
	struct call *call = get_call(dataplane, params, session_table, &p, error);

	if (call == NULL)
		return -EINVAL;
	*result = call_describe(dataplane, call);
	return 0;
}

static int session_list(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	struct dataplane *dataplane = context;
	struct call *page[LIST_LIMIT_MAX];
	struct list_params p = {0};
	cJSON *sessions;
	size_t count;

	if (vl_json_rpc_params(params, list_table, &p, error) < 0)
		return -EINVAL;
	count = calls_page(dataplane->calls, p.after, page, p.limit);
	*result = cJSON_CreateObject();
	sessions = cJSON_AddArrayToObject(*result, "sessions");
	for (size_t i = 0; i < count; i++)
		cJSON_AddItemToArray(sessions, call_describe(dataplane, page[i]));
	cJSON_AddNumberToObject(*result, "total", calls_count(dataplane->calls));
	if (count == p.limit)
		cJSON_AddStringToObject(*result, "next", page[count - 1]->uuid);
	return 0;
}

static int worker_list(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	struct dataplane *dataplane = context;
	cJSON *workers;

	if (vl_json_rpc_no_params(params, error) < 0)
		return -EINVAL;
	*result = cJSON_CreateObject();
	workers = cJSON_AddArrayToObject(*result, "workers");
	for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++) {
		const struct worker *worker = workers_at(dataplane->workers, slot);
		cJSON *item;

		if (worker == NULL)
			continue;
		item = cJSON_CreateObject();
		cJSON_AddItemToArray(workers, item);
		cJSON_AddStringToObject(item, "worker", worker->name);
		cJSON_AddNumberToObject(item, "slot", slot);
		cJSON_AddNumberToObject(item, "pid", worker->peer.pid);
		cJSON_AddNumberToObject(item, "uid", worker->peer.uid);
		cJSON_AddNumberToObject(item, "users", worker->user_count);
		cJSON_AddNumberToObject(item, "calls", worker->calls);
		cJSON_AddNumberToObject(item, "capacity", worker->capacity);
		cJSON_AddNumberToObject(item, "attached_s", (double)((dataplane->now_ms - worker->connected_ms) / 1000));
		cJSON_AddNumberToObject(item, "heard_ms_ago", (double)(dataplane->now_ms - worker->heard_ms));
	}
	return 0;
}

static int system_info(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	struct dataplane *dataplane = context;
	struct binding_counts counts;
	cJSON *info, *port;

	if (vl_json_rpc_no_params(params, error) < 0)
		return -EINVAL;
	binding_count(dataplane->binding, &counts);
	info = *result = cJSON_CreateObject();
	cJSON_AddStringToObject(info, "version", VOXLANE_VERSION);
	cJSON_AddStringToObject(info, "node", dataplane->node);
	cJSON_AddNumberToObject(info, "uptime_s", (double)((dataplane->now_ms - dataplane->started_ms) / 1000));
	cJSON_AddBoolToObject(info, "draining", dataplane->draining);
	cJSON_AddNumberToObject(info, "lcores", dataplane->lcore_count);
	port = cJSON_AddObjectToObject(info, "port");
	cJSON_AddStringToObject(port, "name", dataplane->port.name);
	cJSON_AddStringToObject(port, "driver", dataplane->port.driver);
	cJSON_AddNumberToObject(port, "flow_rules", flow_rules_count(dataplane->flow_rules));
	cJSON_AddNumberToObject(info, "sessions", calls_count(dataplane->calls));
	cJSON_AddNumberToObject(info, "sessions_max", calls_max(dataplane->calls));
	cJSON_AddNumberToObject(info, "bound", counts.bound);
	cJSON_AddNumberToObject(info, "in_probation", counts.pending);
	cJSON_AddNumberToObject(info, "ambiguous", (double)counts.ambiguous);
	cJSON_AddNumberToObject(info, "without_worker", dataplane->calls_without_worker);
	cJSON_AddNumberToObject(info, "workers", workers_attached(dataplane->workers));
	cJSON_AddNumberToObject(info, "workers_turned_away", (double)workers_turned_away(dataplane->workers));
	if (dataplane->records != NULL)
		cJSON_AddStringToObject(info, "records", dataplane->config->records.path);
	else
		cJSON_AddNullToObject(info, "records");
	cJSON_AddNumberToObject(info, "mempool_size", dataplane->pool->size);
	cJSON_AddNumberToObject(info, "mempool_in_use", rte_mempool_in_use_count(dataplane->pool));
	return 0;
}

static int system_drain(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	struct dataplane *dataplane = context;

	if (vl_json_rpc_no_params(params, error) < 0)
		return -EINVAL;
	call_control_drain(dataplane, false);
	*result = cJSON_CreateObject();
	cJSON_AddNumberToObject(*result, "sessions", calls_count(dataplane->calls));
	return 0;
}

const struct control_socket_method control_methods[] = {
	{"session.create", session_create},
	{"session.update", session_update},
	{"session.delete", session_delete},
	{"session.get", session_get},
	{"session.list", session_list},
	{"session.send_dtmf", tool_control_send_dtmf},
	{"tool.result", tool_control_result},
	{"worker.list", worker_list},
	{"system.info", system_info},
	{"system.drain", system_drain},
	{NULL, NULL},
};
