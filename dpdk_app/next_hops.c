/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Next hops of calls.
 */
#include "next_hops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>

#include "../shared/log.h"
#include "call_control.h"

#define NEXT_HOPS_MAX 4096u /* callers on the link, and gateways */

struct next_hops {
	struct dataplane *dataplane;
	struct neighbours *neighbours;
	uint64_t lost; /* ARP and neighbour discovery that did not get here, so far */
};

/* Frames of the neighbour module go out through lcore 0: the only thread that may touch its transmit queue. */
static void send_frame(void *context, const uint8_t *frame, size_t len)
{
	struct dataplane *dataplane = ((struct next_hops *)context)->dataplane;
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(dataplane->pool);
	char *data = mbuf != NULL ? rte_pktmbuf_append(mbuf, (uint16_t)len) : NULL;

	if (data == NULL) {
		dataplane_drop(dataplane, DROP_TX_NO_BUFFER);
		rte_pktmbuf_free(mbuf);
		return;
	}
	memcpy(data, frame, len);
	mbuf->port = dataplane->port.id;
	if (rte_ring_sp_enqueue(dataplane->lcores[0]->tx_direct, mbuf) < 0) {
		dataplane_drop(dataplane, DROP_CONTROL_FULL);
		rte_pktmbuf_free(mbuf);
	}
}

static void changed(void *context, const struct ip_address *next_hop, const uint8_t mac[6])
{
	struct next_hops *next_hops = context;
	struct dataplane *dataplane = next_hops->dataplane;
	char text[IP_ADDRESS_TEXT_SIZE];
	struct ip_address hop;

	vl_log_info("next hop %s is at %02x:%02x:%02x:%02x:%02x:%02x", ip_address_format(next_hop, text), mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5]);
	for (struct call *call = calls_next(dataplane->calls, NULL); call != NULL; call = calls_next(dataplane->calls, call)) {
		struct lcore_command command = {.type = LCORE_PLAYOUT_TARGET, .session = call->ref};

		if (call->send_to.port == 0 || neighbour_next_hop(next_hops->neighbours, &call->send_to.address, &hop) < 0 ||
			memcmp(&hop, next_hop, sizeof(hop)) != 0)
			continue;
		next_hops_target(next_hops, call, dataplane->now_ms, &command.target);
		commands_send(dataplane->commands, call->lcore, &command);
		call->aimed = command.target.ready;
		call_control_listen(dataplane, call);
	}
}

static void add_local(struct neighbour_settings *settings, const struct config_address *address)
{
	settings->locals[settings->local_count++] = (struct neighbour_local){
		.address = address->address,
		.prefix_length = address->subnet.length,
		.has_gateway = address->has_gateway,
		.gateway = address->gateway,
	};
}

struct next_hops *next_hops_new(struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;
	struct neighbour_settings settings = {
		.vlan = config->listen.vlan, .max_entries = NEXT_HOPS_MAX, .send = send_frame, .changed = changed};
	struct next_hops *next_hops = calloc(1, sizeof(*next_hops));

	if (next_hops == NULL)
		return NULL;
	next_hops->dataplane = dataplane;
	settings.context = next_hops;
	add_local(&settings, &config->listen.ip);
	if (config->has_listen6)
		add_local(&settings, &config->listen6);
	memcpy(settings.mac, dataplane->port.mac.addr_bytes, sizeof(settings.mac));
	next_hops->neighbours = neighbour_new(&settings);
	if (next_hops->neighbours == NULL) {
		int error = errno;

		free(next_hops);
		errno = error;
		return NULL;
	}
	return next_hops;
}

void next_hops_free(struct next_hops *next_hops)
{
	if (next_hops == NULL)
		return;
	neighbour_free(next_hops->neighbours);
	free(next_hops);
}

void next_hops_start(struct next_hops *next_hops, uint64_t now_ms)
{
	neighbour_start(next_hops->neighbours, now_ms);
}

void next_hops_input(struct next_hops *next_hops, const uint8_t *frame, size_t len, uint64_t now_ms)
{
	neighbour_input(next_hops->neighbours, frame, len, now_ms);
}

void next_hops_run(struct next_hops *next_hops, uint64_t now_ms)
{
	const struct dataplane *dataplane = next_hops->dataplane;
	uint64_t lost = 0;

	for (unsigned int i = 0; i < dataplane->lcore_count; i++) {
		const struct lcore_counters *counters = &dataplane->lcores[i]->counters;

		lost += atomic_load_explicit(&counters->drops[DROP_DISCOVERY_RATE], memory_order_relaxed) +
			atomic_load_explicit(&counters->drops[DROP_LEARN_FULL], memory_order_relaxed);
	}
	if (lost != next_hops->lost)
		neighbour_deaf(next_hops->neighbours);
	next_hops->lost = lost;
	neighbour_tick(next_hops->neighbours, now_ms);
}

void next_hops_target(struct next_hops *next_hops, const struct call *call, uint64_t now_ms, struct lcore_target *target)
{
	const struct dataplane *dataplane = next_hops->dataplane;
	struct headers_spec spec = {
		.vlan = dataplane->config->listen.vlan, .dscp = HEADERS_DSCP_EF, .local = call->local, .remote = call->send_to};
	struct ip_address next_hop;
	int result;

	memset(target, 0, sizeof(*target));
	target->port = dataplane->port.id;
	if (call->send_to.port == 0)
		return;
	result = neighbour_resolve(next_hops->neighbours, &call->send_to.address, now_ms, &next_hop, spec.destination_mac);
	memcpy(spec.source_mac, dataplane->port.mac.addr_bytes, sizeof(spec.source_mac));
	if (headers_build(&target->headers, &spec) == 0)
		target->ready = result == 0;
}

void next_hops_count(const struct next_hops *next_hops, struct neighbour_counts *counts)
{
	neighbour_count(next_hops->neighbours, counts);
}
