/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of unknown flows. A packet given back to its lcore (rx_again) is looked up there like any other: this file decides
 * about flows, never about delivery.
 */
/*
 * What packets name must not end the process when memory runs out: a flow for which there is none is then not in the hash
 * table.
 */
#define HASH_NONFATAL_OOM 1

#include "media.h"

#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>
#include <uthash.h>
#include <utlist.h>

#include "../shared/log.h"
#include "call_control.h"
#include "events.h"
#include "next_hops.h"
#include "sources.h"

#define BURST		 32u
#define BURSTS_PER_TURN	 8u /* per lcore */
#define REPORT_WINDOW_MS 1000u
#define REPORTS		 5u /* of refused packets, logged or told, in each window */

/* A flow in probation with its packets, oldest first. */
struct kept_flow {
	struct flow_key key;
	unsigned int lcore; /* that received them */
	uint64_t since_ms;
	unsigned int count;
	struct rte_mbuf *packets[MEDIA_KEPT_PER_FLOW];
	UT_hash_handle hh;
	struct kept_flow *next, *prev; /* in order of since_ms */
};

struct media {
	struct dataplane *dataplane;
	struct kept_flow *by_key, *oldest;
	uint32_t kept, kept_max;
	uint64_t report_window_ms;
	unsigned int reports;
};

struct media *media_new(struct dataplane *dataplane)
{
	struct media *media = calloc(1, sizeof(*media));
	uint32_t share = dataplane->pool->size / 8;

	if (media == NULL)
		return NULL;
	media->dataplane = dataplane;
	media->kept_max = share < MEDIA_KEPT_MAX ? share : MEDIA_KEPT_MAX;
	return media;
}

/* Take a flow out; its packets are the caller's. */
static void unlink_flow(struct media *media, struct kept_flow *flow)
{
	HASH_DEL(media->by_key, flow);
	DL_DELETE(media->oldest, flow);
	media->kept -= flow->count;
}

static void forget_flow(struct media *media, struct kept_flow *flow, enum drop_reason reason)
{
	unlink_flow(media, flow);
	for (unsigned int i = 0; i < flow->count; i++) {
		dataplane_drop(media->dataplane, reason);
		rte_pktmbuf_free(flow->packets[i]);
	}
	free(flow);
}

void media_free(struct media *media)
{
	if (media == NULL)
		return;
	while (media->oldest != NULL)
		forget_flow(media, media->oldest, DROP_PROBATION);
	free(media);
}

static struct kept_flow *find_flow(struct media *media, const struct flow_key *key)
{
	struct kept_flow *flow;

	HASH_FIND(hh, media->by_key, key, sizeof(*key), flow);
	return flow;
}

static void drop(struct media *media, struct rte_mbuf *mbuf, enum drop_reason reason)
{
	dataplane_drop(media->dataplane, reason);
	rte_pktmbuf_free(mbuf);
}

static void keep(struct media *media, unsigned int lcore, const struct flow_key *key, struct rte_mbuf *mbuf, uint64_t now_ms)
{
	struct kept_flow *flow = find_flow(media, key);

	if (media->kept >= media->kept_max || (flow != NULL && flow->count >= MEDIA_KEPT_PER_FLOW)) {
		drop(media, mbuf, DROP_LEARN_FULL);
		return;
	}
	if (flow == NULL) {
		flow = calloc(1, sizeof(*flow));
		if (flow == NULL) {
			drop(media, mbuf, DROP_LEARN_FULL);
			return;
		}
		flow->key = *key;
		flow->lcore = lcore;
		flow->since_ms = now_ms;
		HASH_ADD(hh, media->by_key, key, sizeof(flow->key), flow);
		if (flow->hh.tbl == NULL) {
			free(flow);
			drop(media, mbuf, DROP_LEARN_FULL);
			return;
		}
		DL_APPEND(media->oldest, flow);
	}
	flow->packets[flow->count++] = mbuf;
	media->kept++;
	atomic_fetch_add_explicit(&media->dataplane->counters.kept, 1, memory_order_relaxed);
}

static void give_back(struct media *media, unsigned int lcore, struct rte_mbuf *mbuf)
{
	if (rte_ring_sp_enqueue(media->dataplane->lcores[lcore]->rx_again, mbuf) < 0)
		drop(media, mbuf, DROP_CONTROL_FULL);
}

static void give_back_kept(struct media *media, const struct flow_key *key)
{
	struct kept_flow *flow = find_flow(media, key);

	if (flow == NULL)
		return;
	unlink_flow(media, flow);
	for (unsigned int i = 0; i < flow->count; i++)
		give_back(media, flow->lcore, flow->packets[i]);
	free(flow);
}

/* Whether another refused packet may be reported; whoever sends them must not fill the log. */
static bool may_report(struct media *media, uint64_t now_ms)
{
	if (now_ms >= media->report_window_ms + REPORT_WINDOW_MS) {
		media->report_window_ms = now_ms;
		media->reports = 0;
	}
	return media->reports++ < REPORTS;
}

static void tell_ambiguous(struct media *media, const struct flow_key *key)
{
	struct endpoint from = {.address = key->remote, .port = key->remote_port};
	struct endpoint to = {.address = key->local, .port = key->local_port};
	struct dataplane *dataplane = media->dataplane;
	char text[IP_ADDRESS_TEXT_SIZE];
	cJSON *params;

	vl_log_warning("RTP from (%s, %u), SSRC %u, could belong to several calls whose port is not known yet: nobody gets it",
		ip_address_format(&from.address, text), from.port, key->ssrc);
	if (!event_wanted(dataplane, EVENT_SESSION_AMBIGUOUS))
		return;
	params = cJSON_CreateObject();
	event_add_endpoint(params, "remote", &from);
	event_add_endpoint(params, "local", &to);
	cJSON_AddNumberToObject(params, "ssrc", key->ssrc);
	event_send(dataplane, EVENT_SESSION_AMBIGUOUS, params);
}

static void refuse(
	struct media *media, struct rte_mbuf *mbuf, const struct flow_key *key, enum drop_reason reason, uint64_t now_ms)
{
	struct kept_flow *flow = find_flow(media, key);
	char text[IP_ADDRESS_TEXT_SIZE];

	if (flow != NULL)
		forget_flow(media, flow, reason);
	if (reason == DROP_INIT_AMBIGUOUS && may_report(media, now_ms))
		tell_ambiguous(media, key);
	else if (reason == DROP_SSRC_WRONG_SOURCE && may_report(media, now_ms))
		vl_log_warning("refused RTP from (%s, %u): SSRC %u is locked to a session with another source",
			ip_address_format(&key->remote, text), key->remote_port, key->ssrc);
	drop(media, mbuf, reason);
}

static void take_rtp(struct media *media, unsigned int lcore, struct rte_mbuf *mbuf, const struct packet *packet, uint64_t now_ms)
{
	struct dataplane *dataplane = media->dataplane;
	struct binding_packet candidate = {.key = packet->key,
		.seq = packet->seq,
		.payload_type = packet->payload_type,
		.rtcp = packet->kind == PACKET_RTCP};
	struct binding_verdict verdict;
	struct call *call;

	if (sources_find(dataplane->sources, &packet->key.remote) < 0) {
		drop(media, mbuf, DROP_SOURCE_UNKNOWN);
		return;
	}
	binding_packet(dataplane->binding, &candidate, now_ms, &verdict);
	switch (verdict.action) {
	case BINDING_DROP:
		refuse(media, mbuf, &packet->key, verdict.reason, now_ms);
		return;
	case BINDING_WAIT:
		keep(media, lcore, &packet->key, mbuf, now_ms);
		return;
	case BINDING_BIND:
		if (!call_control_bind(dataplane, &verdict)) {
			rte_pktmbuf_free(mbuf);
			return;
		}
		break;
	case BINDING_DELIVER:
		call = calls_find(dataplane->calls, verdict.session);
		if (candidate.rtcp || call == NULL || !call_control_insert(dataplane, call)) {
			drop(media, mbuf, candidate.rtcp ? DROP_RTCP_UNKNOWN : DROP_STALE_GENERATION);
			return;
		}
		break;
	}
	give_back_kept(media, &packet->key);
	give_back(media, lcore, mbuf);
}

static void take(struct media *media, unsigned int lcore, struct rte_mbuf *mbuf, uint64_t now_ms)
{
	struct dataplane *dataplane = media->dataplane;
	const uint8_t *frame = rte_pktmbuf_mtod(mbuf, const uint8_t *);
	size_t len = rte_pktmbuf_data_len(mbuf);
	struct packet packet;

	packet_classify(frame, len, &dataplane->locals[dataplane->port.id], &packet);
	switch (packet.kind) {
	case PACKET_DROP:
		drop(media, mbuf, packet.reason);
		break;
	case PACKET_LOCAL:
		atomic_fetch_add_explicit(&dataplane->counters.local, 1, memory_order_relaxed);
		next_hops_input(dataplane->next_hops, frame, len, now_ms);
		rte_pktmbuf_free(mbuf);
		break;
	case PACKET_RTP:
	case PACKET_RTCP:
		atomic_fetch_add_explicit(&dataplane->counters.learned, 1, memory_order_relaxed);
		take_rtp(media, lcore, mbuf, &packet, now_ms);
		break;
	}
}

unsigned int media_run(struct media *media, uint64_t now_ms)
{
	struct dataplane *dataplane = media->dataplane;
	unsigned int taken = 0;

	for (unsigned int lcore = 0; lcore < dataplane->lcore_count; lcore++) {
		for (unsigned int burst = 0; burst < BURSTS_PER_TURN; burst++) {
			struct rte_mbuf *mbufs[BURST];
			unsigned int count =
				rte_ring_sc_dequeue_burst(dataplane->lcores[lcore]->to_control, (void **)mbufs, BURST, NULL);

			for (unsigned int i = 0; i < count; i++)
				take(media, lcore, mbufs[i], now_ms);
			taken += count;
			if (count < BURST)
				break;
		}
	}
	while (media->oldest != NULL && now_ms >= media->oldest->since_ms + BINDING_PENDING_MS)
		forget_flow(media, media->oldest, DROP_PROBATION);
	return taken;
}

uint32_t media_kept(const struct media *media)
{
	return media->kept;
}
