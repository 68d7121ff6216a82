/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telemetry commands. DPDK 22.11 cuts a reply at 16 KiB without a word, so what grows with calls or workers is paged or shown
 * one at a time. Whatever a worker published is an untrusted number.
 */
#include "telemetry.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_telemetry.h>

#include "../shared/histogram.h"
#include "../shared/worker_stats.h"
#include "call_control.h"
#include "call_records.h"
#include "flow_rules.h"
#include "media.h"
#include "next_hops.h"
#include "telemetry_lists.h"

#define PAGE_SESSIONS 256u

/* Registered commands cannot be taken back, so they find the dataplane here. `active_lock` is taken before its lock. */
static struct dataplane *active;
static pthread_mutex_t active_lock = PTHREAD_MUTEX_INITIALIZER;

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

static void add_u64(struct rte_tel_data *to, const char *name, uint64_t value)
{
	rte_tel_data_add_dict_u64(to, name, value);
}

/* A dictionary inside `to`; NULL without memory. */
static struct rte_tel_data *add_dict(struct rte_tel_data *to, const char *name)
{
	struct rte_tel_data *dict = rte_tel_data_alloc();

	if (dict == NULL)
		return NULL;
	rte_tel_data_start_dict(dict);
	if (rte_tel_data_add_dict_container(to, name, dict, 0) < 0) {
		rte_tel_data_free(dict);
		return NULL;
	}
	return dict;
}

static void add_endpoint(struct rte_tel_data *to, const char *name, const struct ip_address *address, uint16_t port)
{
	char text[IP_ADDRESS_TEXT_SIZE + 8], ip[IP_ADDRESS_TEXT_SIZE];

	snprintf(text, sizeof(text), ip_address_is_v4(address) ? "%s:%u" : "[%s]:%u", ip_address_format(address, ip), port);
	rte_tel_data_add_dict_string(to, name, text);
}

static int show_info(struct dataplane *dataplane, const char *params, struct rte_tel_data *to)
{
	uint32_t table_used, table_deferred;
	struct neighbour_counts neighbours;
	struct binding_counts binding;
	struct control_socket_counts control;
	struct call_records_counts records;

	(void)params;
	binding_count(dataplane->binding, &binding);
	session_table_count(dataplane->table, &table_used, &table_deferred);
	next_hops_count(dataplane->next_hops, &neighbours);
	control_socket_count(dataplane->control, &control);
	rte_tel_data_start_dict(to);
	rte_tel_data_add_dict_string(to, "version", VOXLANE_VERSION);
	rte_tel_data_add_dict_string(to, "node", dataplane->node);
	add_u64(to, "uptime_s", (dataplane->now_ms - dataplane->started_ms) / 1000);
	add_u64(to, "draining", dataplane->draining);
	add_u64(to, "lcores", dataplane->lcore_count);
	rte_tel_data_add_dict_string(to, "port", dataplane->port.name);
	add_u64(to, "flow_rules", flow_rules_count(dataplane->flow_rules));
	add_u64(to, "flow_rule_drops", flow_rules_dropped(dataplane->flow_rules));
	add_u64(to, "sessions", calls_count(dataplane->calls));
	add_u64(to, "sessions_max", calls_max(dataplane->calls));
	add_u64(to, "sessions_without_worker", dataplane->calls_without_worker);
	add_u64(to, "workers", workers_attached(dataplane->workers));
	add_u64(to, "worker_slots", workers_count(dataplane->workers));
	add_u64(to, "bound", binding.bound);
	add_u64(to, "in_probation", binding.pending);
	add_u64(to, "quarantined", binding.quarantined);
	add_u64(to, "ambiguous", binding.ambiguous);
	add_u64(to, "table_used", table_used);
	add_u64(to, "table_deferred", table_deferred);
	add_u64(to, "packets_kept", media_kept(dataplane->media));
	add_u64(to, "commands_waiting", commands_waiting(dataplane->commands));
	add_u64(to, "mempool_size", dataplane->pool->size);
	add_u64(to, "mempool_in_use", rte_mempool_in_use_count(dataplane->pool));
	add_u64(to, "next_hops", neighbours.entries);
	add_u64(to, "next_hops_known", neighbours.known);
	add_u64(to, "control_clients", control.clients);
	add_u64(to, "control_requests", control.requests);
	add_u64(to, "control_notifications", control.notifications);
#define X(name, unit, meaning) add_u64(to, "control_" #name, LOAD(dataplane->counters.name));
	TELEMETRY_CONTROL_COUNTERS(X)
#undef X
	call_records_count(dataplane, &records);
#define X(name, unit, meaning) add_u64(to, "records_" #name, records.name);
	CALL_RECORDS_COUNTERS(X)
#undef X
#define X(name, unit, meaning) add_u64(to, "records_" #name, records.writer.name);
	RECORD_WRITER_COUNTERS(X)
#undef X
	return 0;
}

static int show_session_list(struct dataplane *dataplane, const char *params, struct rte_tel_data *to)
{
	static struct call *page[PAGE_SESSIONS]; /* under the lock */
	size_t count = calls_page(dataplane->calls, params != NULL ? params : "", page, PAGE_SESSIONS);
	struct rte_tel_data *list = rte_tel_data_alloc();

	if (list == NULL)
		return -ENOMEM;
	rte_tel_data_start_array(list, RTE_TEL_STRING_VAL);
	for (size_t i = 0; i < count; i++)
		rte_tel_data_add_array_string(list, page[i]->uuid);
	rte_tel_data_start_dict(to);
	add_u64(to, "total", calls_count(dataplane->calls));
	return rte_tel_data_add_dict_container(to, "sessions", list, 0);
}

static int show_session(struct dataplane *dataplane, const char *params, struct rte_tel_data *to)
{
	const struct call *call = params != NULL ? calls_find_uuid(dataplane->calls, params) : NULL;
	const struct session_flow *flow;
	const struct session *session;
	const struct worker *worker;

	if (call == NULL)
		return -ENOENT;
	session = session_table_at(dataplane->table, call->ref.index);
	flow = session_table_flow(dataplane->table, call->ref.index);
	worker = workers_at(dataplane->workers, call->worker);
	rte_tel_data_start_dict(to);
	rte_tel_data_add_dict_string(to, "session", call->uuid);
	rte_tel_data_add_dict_string(to, "user", call->user);
	rte_tel_data_add_dict_string(to, "trunk", dataplane->config->trunks[call->trunk].name);
	rte_tel_data_add_dict_string(to, "codec", call->payload_type == 8 ? "PCMA" : "PCMU");
	add_endpoint(to, "local", &call->local.address, call->local.port);
	add_endpoint(to, "remote", &call->signalled.address, call->signalled.port);
	add_u64(to, "bound", call->bound);
	if (call->bound)
		add_endpoint(to, "bound_to", &call->flow.remote, call->flow.remote_port);
	add_u64(to, "ssrc", call->bound ? call->flow.ssrc : 0);
	add_u64(to, "address_switches", call->address_switches);
	add_u64(to, "held", call->held);
	rte_tel_data_add_dict_string(to, "worker", worker != NULL ? worker->name : "");
	rte_tel_data_add_dict_string(to, "state", call->state);
	add_u64(to, "index", call->ref.index);
	add_u64(to, "generation", call->ref.generation);
	add_u64(to, "lcore", call->lcore);
	add_u64(to, "age_s", (dataplane->now_ms - call->created_ms) / 1000);
	add_u64(to, "received_packets", LOAD(flow->receive.packets));
	add_u64(to, "received_bytes", LOAD(flow->receive.bytes));
	add_u64(to, "received_lost", receive_lost(&flow->receive));
	add_u64(to, "received_duplicates", LOAD(flow->receive.duplicates));
	add_u64(to, "received_reordered", LOAD(flow->receive.reordered));
	add_u64(to, "received_jitter_us", receive_jitter_us(&flow->receive));
	add_u64(to, "received_dropped", LOAD(flow->receive.dropped));
	add_u64(to, "sent_ssrc", call->send_ssrc);
	add_u64(to, "sent_packets", LOAD(session->playout.packets));
	add_u64(to, "sent_frames", LOAD(session->playout.frames));
	add_u64(to, "sent_flushed", LOAD(session->playout.flushed));
	add_u64(to, "sent_underruns", LOAD(session->playout.underruns));
	add_u64(to, "sent_queued", LOAD(session->playout.queued));
	return 0;
}

/* The lcore that a parameter names by its index; NULL when none does. */
static const struct lcore *get_lcore(const struct dataplane *dataplane, const char *params)
{
	unsigned long index;
	char *end;

	if (params == NULL || !isdigit((unsigned char)params[0]))
		return NULL;
	index = strtoul(params, &end, 10);
	return *end == 0 && index < dataplane->lcore_count ? dataplane->lcores[index] : NULL;
}

static int show_drops(struct dataplane *dataplane, const char *params, struct rte_tel_data *to)
{
	const struct lcore *only = get_lcore(dataplane, params);
	bool control = params == NULL || strcmp(params, "control") == 0;

	if (params != NULL && only == NULL && !control)
		return -EINVAL;
	rte_tel_data_start_dict(to);
	for (unsigned int reason = DROP_NONE + 1; reason < DROP_COUNT; reason++) {
		uint64_t sum = control ? LOAD(dataplane->counters.drops[reason]) : 0;

		for (unsigned int i = 0; i < dataplane->lcore_count; i++) {
			if (params == NULL || dataplane->lcores[i] == only)
				sum += LOAD(dataplane->lcores[i]->counters.drops[reason]);
		}
		add_u64(to, drop_reason_name((enum drop_reason)reason), sum);
	}
	return 0;
}

static int show_lcores(struct dataplane *dataplane, const char *params, struct rte_tel_data *to)
{
	(void)params;
	rte_tel_data_start_dict(to);
	for (unsigned int i = 0; i < dataplane->lcore_count; i++) {
		const struct lcore *lcore = dataplane->lcores[i];
		struct rte_tel_data *dict;
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		dict = add_dict(to, name);
		if (dict == NULL)
			return -ENOMEM;
		add_u64(dict, "lcore_id", lcore->lcore_id);
#define X(field, unit, meaning) add_u64(dict, #field, LOAD(lcore->counters.field));
		TELEMETRY_LCORE_COUNTERS(X)
#undef X
	}
	return 0;
}

static const struct worker *get_worker(const struct dataplane *dataplane, const char *name)
{
	for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++) {
		const struct worker *worker = workers_at(dataplane->workers, slot);

		if (worker != NULL && strcmp(worker->name, name) == 0)
			return worker;
	}
	return NULL;
}

static int show_worker(const struct dataplane *dataplane, const struct worker *worker, struct rte_tel_data *to)
{
	const struct vl_worker_stats *stats = worker->channel.stats;

	rte_tel_data_start_dict(to);
	rte_tel_data_add_dict_string(to, "worker", worker->name);
	add_u64(to, "pid", (uint64_t)worker->peer.pid);
	add_u64(to, "capacity", worker->capacity);
	add_u64(to, "calls_given", worker->calls);
	add_u64(to, "users", worker->user_count);
	add_u64(to, "attached_s", (dataplane->now_ms - worker->connected_ms) / 1000);
	add_u64(to, "backlog", worker->backlog_count);
#define X(name, unit, meaning) add_u64(to, "link_" #name, worker->name);
	WORKER_LINK_COUNTERS(X)
#undef X
#define X(name, unit, meaning) add_u64(to, #name, LOAD(stats->name));
	VL_WORKER_COUNTERS(X)
#undef X
	return 0;
}

/* All workers in short (about 100 bytes each, at most 64 of them), or everything about one. */
static int show_workers(struct dataplane *dataplane, const char *params, struct rte_tel_data *to)
{
	const struct worker *worker = params != NULL ? get_worker(dataplane, params) : NULL;

	if (worker != NULL)
		return show_worker(dataplane, worker, to);
	if (params != NULL)
		return -ENOENT;
	rte_tel_data_start_dict(to);
	for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++) {
		struct rte_tel_data *dict;
		char key[16];

		worker = workers_at(dataplane->workers, slot);
		if (worker == NULL)
			continue;
		/* DPDK takes only letters, digits, _ and / in a key, and a worker's name may have more. */
		snprintf(key, sizeof(key), "%u", slot);
		dict = add_dict(to, key);
		if (dict == NULL)
			return -ENOMEM;
		rte_tel_data_add_dict_string(dict, "worker", worker->name);
		add_u64(dict, "pid", (uint64_t)worker->peer.pid);
		add_u64(dict, "calls_given", worker->calls);
		add_u64(dict, "capacity", worker->capacity);
		add_u64(dict, "users", worker->user_count);
		add_u64(dict, "attached_s", (dataplane->now_ms - worker->connected_ms) / 1000);
	}
	return 0;
}

static void add_histogram(struct rte_tel_data *to, const char *name, const struct vl_histogram *histogram)
{
	struct rte_tel_data *dict = add_dict(to, name);

	if (dict == NULL)
		return;
	add_u64(dict, "count", vl_histogram_count(histogram));
	add_u64(dict, "p50", vl_histogram_percentile(histogram, 0.5));
	add_u64(dict, "p99", vl_histogram_percentile(histogram, 0.99));
	add_u64(dict, "p999", vl_histogram_percentile(histogram, 0.999));
	add_u64(dict, "max", LOAD(histogram->max));
}

/* All lcores and all workers merged, or one of them. */
static int show_latency(struct dataplane *dataplane, const char *params, struct rte_tel_data *to)
{
	const struct lcore *only_lcore = get_lcore(dataplane, params);
	const struct worker *only_worker = params != NULL && only_lcore == NULL ? get_worker(dataplane, params) : NULL;
	static struct vl_histogram merged; /* under the lock */

	if (params != NULL && only_lcore == NULL && only_worker == NULL)
		return -ENOENT;
	rte_tel_data_start_dict(to);
#define X(name, unit, meaning)                                                            \
	memset(&merged, 0, sizeof(merged));                                               \
	for (unsigned int i = 0; i < dataplane->lcore_count; i++) {                       \
		if (params == NULL || dataplane->lcores[i] == only_lcore)                 \
			vl_histogram_merge(&merged, &dataplane->lcores[i]->latency.name); \
	}                                                                                 \
	if (only_worker == NULL)                                                          \
		add_histogram(to, #name, &merged);
	TELEMETRY_LCORE_HISTOGRAMS(X)
#undef X
#define X(name, unit, meaning)                                                      \
	memset(&merged, 0, sizeof(merged));                                         \
	for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++) {                 \
		const struct worker *worker = workers_at(dataplane->workers, slot); \
                                                                                    \
		if (worker != NULL && (params == NULL || worker == only_worker))    \
			vl_histogram_merge(&merged, &worker->channel.stats->name);  \
	}                                                                           \
	if (only_lcore == NULL)                                                     \
		add_histogram(to, #name, &merged);
	VL_WORKER_HISTOGRAMS(X)
#undef X
	return 0;
}

/* One distribution over all lcores or workers, bucket by bucket: { upper edge: values }, those without a value left out. */
static int show_buckets(struct dataplane *dataplane, const char *params, struct rte_tel_data *to)
{
	static struct vl_histogram merged; /* under the lock */
	bool found = false;
	char edge[16];

	memset(&merged, 0, sizeof(merged));
#define X(name, unit, meaning)                                                            \
	if (params != NULL && strcmp(params, #name) == 0) {                               \
		found = true;                                                             \
		for (unsigned int i = 0; i < dataplane->lcore_count; i++)                 \
			vl_histogram_merge(&merged, &dataplane->lcores[i]->latency.name); \
	}
	TELEMETRY_LCORE_HISTOGRAMS(X)
#undef X
#define X(name, unit, meaning)                                                              \
	if (params != NULL && strcmp(params, #name) == 0) {                                 \
		found = true;                                                               \
		for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++) {                 \
			const struct worker *worker = workers_at(dataplane->workers, slot); \
                                                                                            \
			if (worker != NULL)                                                 \
				vl_histogram_merge(&merged, &worker->channel.stats->name);  \
		}                                                                           \
	}
	VL_WORKER_HISTOGRAMS(X)
#undef X
	if (!found)
		return -ENOENT;
	rte_tel_data_start_dict(to);
	for (uint32_t i = 0; i < VL_HISTOGRAM_BUCKETS; i++) {
		snprintf(edge, sizeof(edge), "%u", vl_histogram_upper_edge(i));
		if (LOAD(merged.buckets[i]) != 0)
			add_u64(to, edge, LOAD(merged.buckets[i]));
	}
	return 0;
}

static const struct {
	const char *name, *help;
	int (*show)(struct dataplane *dataplane, const char *params, struct rte_tel_data *to);
} commands[] = {
	{"/voxlane/info", "The data plane in numbers. No parameters", show_info},
	{"/voxlane/session/list", "UUIDs of calls, 256 a page. Parameter: UUID after which the page begins", show_session_list},
	{"/voxlane/session/info", "One call. Parameter: its UUID", show_session},
	{"/voxlane/drops", "What was dropped, by reason. Parameter: lcore index or 'control'; none: the sum", show_drops},
	{"/voxlane/lcore/usage", "Counters of the packet lcores. No parameters", show_lcores},
	{"/voxlane/worker/list", "Workers. Parameter: a worker's name for everything about it", show_workers},
	{"/voxlane/latency", "Latency distributions. Parameter: lcore index or worker name; none: merged", show_latency},
	{"/voxlane/latency/buckets", "One latency distribution in full. Parameter: its name", show_buckets},
};

static int answer(const char *command, const char *params, struct rte_tel_data *to)
{
	int result = -ENOENT;
	struct dataplane *dataplane;

	pthread_mutex_lock(&active_lock);
	dataplane = active;
	for (size_t i = 0; dataplane != NULL && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, command) != 0)
			continue;
		pthread_mutex_lock(&dataplane->lock);
		result = commands[i].show(dataplane, params != NULL && params[0] != 0 ? params : NULL, to);
		pthread_mutex_unlock(&dataplane->lock);
	}
	pthread_mutex_unlock(&active_lock);
	return result;
}

void telemetry_start(struct dataplane *dataplane)
{
	pthread_mutex_lock(&active_lock);
	active = dataplane;
	pthread_mutex_unlock(&active_lock);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		rte_telemetry_register_cmd(commands[i].name, answer, commands[i].help);
}

void telemetry_stop(struct dataplane *dataplane)
{
	(void)dataplane;
	pthread_mutex_lock(&active_lock);
	active = NULL;
	pthread_mutex_unlock(&active_lock);
}
