/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start stages. Each one either starts completely or leaves nothing behind and says why in one sentence; a failure stops those
 * before it in reverse order, the same way the program ends.
 */
#include "start.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include "../shared/clock.h"
#include "../shared/log.h"
#include "call_control.h"
#include "call_records.h"
#include "control_methods.h"
#include "events.h"
#include "flow_rules.h"
#include "media.h"
#include "next_hops.h"
#include "sources.h"
#include "telemetry.h"
#include "tsc.h"
#include "worker_calls.h"

#define TSC_MEASURE_MS 100u
#define LINK_WAIT_MS   2000u
#define DESCRIPTORS    1024u
_Static_assert(CONFIG_TRUNKS_MAX == SOURCES_TRUNKS_MAX, "every trunk has a meter");

#define INDEX_REST_MS 1000u /* by far longer than an lcore needs to let go of an ended session; generations do the rest */

struct start_stage {
	const char *name;
	int (*start)(struct dataplane *dataplane); /* 0, or -1 with dataplane->error set and nothing left */
	void (*stop)(struct dataplane *dataplane); /* NULL: nothing to do */
};

static int fail(struct dataplane *dataplane, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct dataplane *dataplane, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(dataplane->error, sizeof(dataplane->error), format, arguments);
	va_end(arguments);
	return -1;
}

static int start_basics(struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;

	dataplane->lcore_count = rte_lcore_count() - 1;
	if (dataplane->lcore_count < 1)
		return fail(dataplane,
			"needs one lcore for control and at least one for packets, and the EAL has %u: pass for example -l 0-1",
			rte_lcore_count());
	if (dataplane->lcore_count > LCORES_MAX)
		return fail(dataplane, "serves at most %u packet lcores and the EAL has %u: shorten -l", LCORES_MAX,
			dataplane->lcore_count);
	if (config->node[0] != 0)
		snprintf(dataplane->node, sizeof(dataplane->node), "%s", config->node);
	else if (gethostname(dataplane->node, sizeof(dataplane->node) - 1) < 0)
		snprintf(dataplane->node, sizeof(dataplane->node), "localhost");
	dataplane->tsc_hz = tsc_measure_hz(TSC_MEASURE_MS);
	dataplane->now_ms = dataplane->started_ms = vl_clock_ms();
	return 0;
}

static int start_port(struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;
	struct port_settings settings = {.lcores = dataplane->lcore_count,
		.rx_descriptors = DESCRIPTORS,
		.tx_descriptors = DESCRIPTORS,
		.ipv6 = config->has_listen6,
		.link_wait_ms = LINK_WAIT_MS};
	char error[PORT_ERROR_SIZE];
	int socket_id;

	if (rte_eth_dev_count_avail() == 0)
		return fail(dataplane, "the EAL found no Ethernet port: bind a NIC to vfio-pci (dpdk-devbind.py), or pass for "
				       "example --vdev=net_tap0,iface=voxlane0");
	if (config->listen.port >= PORTS_MAX || !rte_eth_dev_is_valid_port(config->listen.port))
		return fail(dataplane, "listen.port: the EAL has no Ethernet port %u (it found %u, numbered from 0)",
			config->listen.port, rte_eth_dev_count_avail());
	/* A NIC that was taken from the kernel for nothing is most likely a wrong listen.port or a missing -a. */
	if (port_others(config->listen.port, error) > 0)
		vl_log_warning("only Ethernet port %u is used, since listen.port is %u; the EAL was also given %s",
			config->listen.port, config->listen.port, error);
	socket_id = rte_eth_dev_socket_id(config->listen.port);
	dataplane->pool = port_pool_new("voxlane", port_pool_count(&settings, 1), dataplane->lcore_count + 1,
		socket_id < 0 ? (int)rte_socket_id() : socket_id, error);
	if (dataplane->pool == NULL)
		return fail(dataplane, "%s", error);
	if (port_start(&dataplane->port, config->listen.port, &settings, dataplane->pool, error) < 0) {
		rte_mempool_free(dataplane->pool);
		dataplane->pool = NULL;
		return fail(dataplane, "%s", error);
	}
	return 0;
}

static void stop_port(struct dataplane *dataplane)
{
	port_stop(&dataplane->port);
	rte_mempool_free(dataplane->pool);
	dataplane->pool = NULL;
}

/* The port may do without: packet cores ask the same of every packet. */
static int start_flow_rules(struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;
	char why[PORT_ERROR_SIZE];

	if (config->listen.flow_rules == CONFIG_FLOW_RULES_OFF)
		vl_log_info("listen.flow_rules is off: packet cores drop what comes from no trunk");
	else if (flow_rules_new(config, &dataplane->port, &dataplane->flow_rules, why) < 0)
		vl_log_info("%s; so packet cores alone drop what comes from no trunk", why);
	else
		vl_log_info("port %u (%s) drops UDP from no trunk's address by %u flow rules", dataplane->port.id,
			dataplane->port.name, flow_rules_count(dataplane->flow_rules));
	return 0;
}

static void stop_flow_rules(struct dataplane *dataplane)
{
	flow_rules_free(dataplane->flow_rules);
	dataplane->flow_rules = NULL;
}

static int start_sessions(struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;

	dataplane->table = session_table_new(config->sessions.max, dataplane->port.socket_id);
	if (dataplane->table == NULL)
		return fail(dataplane,
			"no memory for sessions.max = %u sessions (%zu MiB): give the EAL more (-m, hugepages) or lower "
			"sessions.max: %s",
			config->sessions.max,
			(size_t)config->sessions.max * (sizeof(struct session) + sizeof(struct session_flow)) >> 20,
			rte_strerror(rte_errno));
	return 0;
}

static void stop_sessions(struct dataplane *dataplane)
{
	session_table_free(dataplane->table);
	dataplane->table = NULL;
}

static void fill_local(struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;
	struct packet_local *local = &dataplane->locals[dataplane->port.id];

	local->addresses[local->address_count++] = config->listen.ip.address;
	if (config->has_listen6)
		local->addresses[local->address_count++] = config->listen6.address;
	local->rtp_port = config->listen.rtp_port;
	local->dedicated_first = config->listen.dedicated_ports[0];
	local->dedicated_last = config->listen.dedicated_ports[1];
	memcpy(local->mac, dataplane->port.mac.addr_bytes, sizeof(local->mac));
	local->vlan = config->listen.vlan;
}

/* Sources and rates of every trunk, for the lcores. */
static struct sources *make_sources(const struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;
	struct sources_trunk trunks[CONFIG_TRUNKS_MAX];

	for (size_t i = 0; i < config->trunk_count; i++)
		trunks[i] = (struct sources_trunk){.prefixes = config->trunks[i].sources,
			.count = config->trunks[i].source_count,
			.per_second = config_trunk_rate(config, i)};
	return sources_new(trunks, config->trunk_count, dataplane->tsc_hz);
}

static void stop_lcores(struct dataplane *dataplane)
{
	for (unsigned int i = 0; i < dataplane->lcore_count; i++) {
		lcore_free(dataplane->lcores[i]);
		dataplane->lcores[i] = NULL;
	}
	atomic_store_explicit(&dataplane->lcore_settings.sources, NULL, memory_order_relaxed);
	free(dataplane->sources);
	free(dataplane->expected);
	dataplane->sources = NULL;
	dataplane->expected = NULL;
	dataplane->lcore_settings.expected = NULL;
}

static int connect_lcores(struct dataplane *dataplane)
{
	const struct port *port = &dataplane->port;
	int result = 0;
	uint64_t seed;

	dataplane_random(&seed, sizeof(seed));
	if (port->hand_over)
		result = lcore_connect(dataplane->lcores, dataplane->lcore_count, seed);
	if (result == 0 && port->tx_queues < dataplane->lcore_count)
		result = lcore_connect_transmit(dataplane->lcores, dataplane->lcore_count, port->id);
	if (result < 0) {
		stop_lcores(dataplane);
		return fail(dataplane, "no memory for the rings between %u packet lcores: %s", dataplane->lcore_count,
			strerror(-result));
	}
	if (port->hand_over)
		vl_log_info("port %u (%s) has %u rx queues for %u packet lcores or moves flows between them: lcores hand over by "
			    "flow",
			port->id, port->name, port->rx_queues, dataplane->lcore_count);
	if (port->tx_queues < dataplane->lcore_count)
		vl_log_info("port %u (%s) has %u tx queues for %u packet lcores: the others hand over what they send", port->id,
			port->name, port->tx_queues, dataplane->lcore_count);
	return 0;
}

static int start_lcores(struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;
	struct lcore_settings *settings = &dataplane->lcore_settings;
	unsigned int index = 0, lcore_id;
	uint64_t seed;

	fill_local(dataplane);
	settings->sleep = config->lcores.sleep;
	settings->learn_per_second = config->learning.packets_per_second;
	settings->learn_total_per_second = config->learning.total_per_second;
	settings->tsc_hz = dataplane->tsc_hz;
	dataplane_random(settings->random_key, sizeof(settings->random_key));
	dataplane->sources = make_sources(dataplane);
	dataplane_random(&seed, sizeof(seed));
	settings->expected = dataplane->expected = expected_new(seed);
	if (dataplane->sources == NULL || dataplane->expected == NULL) {
		stop_lcores(dataplane);
		return fail(dataplane, "no memory for the trunks' sources");
	}
	atomic_store_explicit(&settings->sources, dataplane->sources, memory_order_release);
	RTE_LCORE_FOREACH_WORKER(lcore_id)
	{
		struct lcore *lcore = lcore_new(index, lcore_id, dataplane->table, dataplane->pool, dataplane->locals, settings);
		int result = 0;

		dataplane->lcores[index] = lcore;
		if (lcore != NULL)
			result =
				lcore_add_rx_queues(lcore, dataplane->port.id, dataplane->port.rx_queues, dataplane->lcore_count);
		if (lcore != NULL && index < dataplane->port.tx_queues && result == 0)
			result = lcore_set_tx_queue(lcore, dataplane->port.id, (uint16_t)index);
		if (result == -ENOSPC) {
			stop_lcores(dataplane);
			return fail(dataplane,
				"port %u (%s) has %u rx queues for %u packet lcores, and one lcore polls at most %u: give the "
				"EAL more "
				"lcores (-l) or the device fewer queues (as qpairs= of net_af_packet)",
				dataplane->port.id, dataplane->port.name, dataplane->port.rx_queues, dataplane->lcore_count,
				LCORE_RX_QUEUES);
		}
		if (lcore == NULL || result < 0) {
			stop_lcores(dataplane);
			return fail(dataplane, "setting up lcore %u failed: %s", lcore_id,
				lcore == NULL ? rte_strerror(rte_errno) : strerror(-result));
		}
		index++;
	}
	return connect_lcores(dataplane);
}

static uint64_t last_heard_ms(void *context, struct session_ref session)
{
	return call_control_heard_ms(context, session.index);
}

static void stop_rules(struct dataplane *dataplane)
{
	media_free(dataplane->media);
	next_hops_free(dataplane->next_hops);
	binding_free(dataplane->binding);
	calls_free(dataplane->calls);
	commands_free(dataplane->commands);
	dataplane->media = NULL;
	dataplane->next_hops = NULL;
	dataplane->binding = NULL;
	dataplane->calls = NULL;
	dataplane->commands = NULL;
}

static int start_rules(struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;
	struct binding_limits limits = {.max_sessions = config->sessions.max,
		.max_pending = config->learning.pending,
		.quarantine_ms = 1000u * config->sessions.quarantine_s,
		.last_heard_ms = last_heard_ms,
		.context = dataplane};

	dataplane_random(&limits.hash_seed, sizeof(limits.hash_seed));
	dataplane->commands = commands_new(dataplane->lcores, dataplane->lcore_count);
	dataplane->calls = calls_new(config->sessions.max, INDEX_REST_MS);
	dataplane->binding = binding_new(&limits);
	dataplane->next_hops = next_hops_new(dataplane);
	dataplane->media = media_new(dataplane);
	if (dataplane->commands != NULL && dataplane->calls != NULL && dataplane->binding != NULL &&
		dataplane->next_hops != NULL && dataplane->media != NULL)
		return 0;
	stop_rules(dataplane);
	return fail(dataplane, "no memory for the state of sessions.max = %u sessions", config->sessions.max);
}

/*
 * Make the directory of a socket, but not its parents: /run exists, and anything else is the operator's. Anybody may pass through it, since the sockets in it
 * decide for themselves whom they take.
 */
static int make_directory(struct dataplane *dataplane, const char *path)
{
	char directory[CONFIG_PATH_SIZE], *slash;

	snprintf(directory, sizeof(directory), "%s", path);
	slash = strrchr(directory, '/');
	if (slash == NULL || slash == directory)
		return 0;
	*slash = 0;
	if (mkdir(directory, 0711) == 0 || errno == EEXIST)
		return 0;
	return fail(dataplane, "cannot make the directory %s: %s", directory, strerror(errno));
}

static int start_records(struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;
	struct vl_error error;

	if (config->records.path[0] != 0 && make_directory(dataplane, config->records.journal) < 0)
		return -1;
	if (call_records_start(dataplane, &error) < 0)
		return fail(dataplane, "records: %s", error.text);
	return 0;
}

static int start_workers(struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;
	struct workers_settings settings = {.path = config->sockets.workers,
		.mode = WORKERS_SOCKET_MODE,
		.uids = config->workers.uids,
		.uid_count = config->workers.uid_count,
		.shards = config->workers.shards,
		.shard_count = config->workers.shard_count,
		.timeout_ms = 1000u * config->workers.timeout_s,
		.ring_slots = config->workers.ring_slots,
		.lcores = dataplane->lcore_count,
		.max = config->workers.max,
		.node = dataplane->node,
		.tsc_hz = dataplane->tsc_hz};

	if (make_directory(dataplane, config->sockets.workers) < 0)
		return -1;
	dataplane->workers = workers_new(&settings, dataplane->calls, &worker_calls_ops, dataplane);
	if (dataplane->workers == NULL)
		return fail(dataplane, "sockets.workers: cannot listen on %s: %s", config->sockets.workers,
			errno == EADDRINUSE ? "another data plane listens there" : strerror(errno));
	return 0;
}

static void stop_workers(struct dataplane *dataplane)
{
	workers_free(dataplane->workers);
	dataplane->workers = NULL;
}

static int start_control(struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;
	struct vl_error error;

	if (make_directory(dataplane, config->sockets.control) < 0)
		return -1;
	if (control_socket_open(config->sockets.control, config->sockets.mode, control_methods, event_names, dataplane,
		    &dataplane->control, &error) < 0)
		return fail(dataplane, "sockets.control: %s", error.text);
	return 0;
}

static void stop_control(struct dataplane *dataplane)
{
	control_socket_close(dataplane->control);
	dataplane->control = NULL;
}

static void stop_loops(struct dataplane *dataplane)
{
	atomic_store_explicit(&dataplane->lcore_settings.stop, true, memory_order_relaxed);
	rte_eal_mp_wait_lcore();
}

static int start_loops(struct dataplane *dataplane)
{
	for (unsigned int i = 0; i < dataplane->lcore_count; i++) {
		int result = rte_eal_remote_launch(lcore_run, dataplane->lcores[i], dataplane->lcores[i]->lcore_id);

		if (result < 0) {
			stop_loops(dataplane);
			return fail(dataplane, "lcore %u did not start: %s", dataplane->lcores[i]->lcore_id, strerror(-result));
		}
	}
	next_hops_start(dataplane->next_hops, dataplane->now_ms);
	return 0;
}

static int start_telemetry(struct dataplane *dataplane)
{
	telemetry_start(dataplane);
	return 0;
}

static const struct start_stage stages[] = {
	{"basics", start_basics, NULL},
	{"port", start_port, stop_port},
	{"flow rules", start_flow_rules, stop_flow_rules},
	{"session table", start_sessions, stop_sessions},
	{"lcores", start_lcores, stop_lcores},
	{"rules", start_rules, stop_rules},
	{"call records", start_records, call_records_stop},
	{"workers' socket", start_workers, stop_workers},
	{"control socket", start_control, stop_control},
	{"packet loops", start_loops, stop_loops},
	{"telemetry", start_telemetry, telemetry_stop},
};
#define STAGE_COUNT (sizeof(stages) / sizeof(stages[0]))

static void stop_from(struct dataplane *dataplane, size_t stage)
{
	while (stage-- > 0) {
		vl_log_debug("stopping: %s", stages[stage].name);
		if (stages[stage].stop != NULL)
			stages[stage].stop(dataplane);
	}
}

int start_all(struct dataplane *dataplane)
{
	for (size_t i = 0; i < STAGE_COUNT; i++) {
		vl_log_debug("starting: %s", stages[i].name);
		if (stages[i].start(dataplane) < 0) {
			stop_from(dataplane, i);
			return -1;
		}
	}
	return 0;
}

void stop_all(struct dataplane *dataplane)
{
	stop_from(dataplane, STAGE_COUNT);
}
