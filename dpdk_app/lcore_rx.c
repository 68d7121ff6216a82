/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the ports to the workers: classify a burst, look its flows up at once, check and account each packet against its
 * session, copy its payload into the uplink ring of the session's worker. What nobody knows goes to the control thread, at a
 * limited rate.
 */
#include <rte_branch_prediction.h>
#include <rte_ether.h>
#include <rte_prefetch.h>

#include "lcore_internal.h"

#define ETHERNET_SOURCE	 6u
#define ETHERNET_ADDRESS 6u
#define PREFETCH_MAX	 256u /* bytes of a frame: all of 20 ms of G.711 */

/* A burst on its way through. */
struct burst {
	struct packet packets[LCORE_BURST];
	struct rte_mbuf *flows[LCORE_BURST]; /* RTP and RTCP, in order of `keys` */
	const struct packet *flow_packets[LCORE_BURST];
	const struct flow_key *keys[LCORE_BURST];
	struct rte_mbuf *control[LCORE_BURST];
	struct rte_mbuf *done[LCORE_BURST];
	unsigned int flow_count, control_count, done_count;
	const struct sources *sources;
	uint16_t port;
	bool stamped; /* mbuf->port says where each came from: they were received before */
	bool again;   /* sent back by the control thread: what is unknown now stays so */
};

static enum drop_reason deliver(struct lcore *lcore, const uint8_t *payload, const struct packet *packet, struct session_ref ref)
{
	struct lcore_private *private = lcore_private(lcore);
	struct session_flow *flow = session_table_flow(lcore->table, ref.index);
	enum drop_reason reason;
	struct route route;

	if (!route_read(&flow->route, ref.generation, &route))
		return DROP_STALE_GENERATION;
	bool audio = route_is_audio(&route, packet->payload_type);
	uint32_t arrival = (uint32_t)lcore_scale(private->now, private->rtp_scale);

	if (unlikely(!receive_admit(&flow->receive, arrival)))
		return DROP_FLOW_RATE;
	if (!receive_account(&flow->receive, packet, audio, arrival, private->now))
		return DROP_DUPLICATE;
	reason = route_judge(&route, packet->payload_type, private->attached);
	if (likely(reason == DROP_NONE)) {
		struct vl_ring *ring = &private->channels[route.worker]->up[lcore->index];
		const struct vl_record record = {
			.type = VL_RECORD_AUDIO,
			.len = packet->payload_len,
			.session = ref.index,
			.generation = ref.generation,
			.ssrc = packet->key.ssrc,
			.timestamp = packet->timestamp,
			.seq = packet->seq,
			.payload_type = packet->payload_type,
			.flags = packet->marker ? VL_RECORD_F_MARKER : 0,
			.tsc = private->now,
		};

		if (likely(vl_ring_put(ring, &record, payload))) {
			private->touched |= UINT64_C(1) << route.worker;
			return DROP_NONE;
		}
		reason = DROP_UPLINK_FULL;
		if (vl_ring_is_broken(ring))
			lcore_mark_broken(lcore, route.worker);
	}
	receive_dropped(&flow->receive);
	return reason;
}

/* Before any lookup, so that strangers and a trunk that floods cost little: does a trunk have this source, and may it send so much? */
static inline enum drop_reason police(struct lcore_private *private, const struct sources *sources, const struct packet *packet)
{
	int trunk;

	if (sources == NULL)
		return DROP_NONE;
	trunk = sources_find(sources, &packet->key.remote);
	if (trunk < 0)
		return DROP_SOURCE_UNKNOWN;
	return sources_take(sources, &private->sources, (unsigned int)trunk, private->now) ? DROP_NONE : DROP_TRUNK_RATE;
}

/* A flow the table does not know: may it go to the control thread? */
static enum drop_reason judge_unknown(struct lcore_private *private, const struct packet *packet, bool again)
{
	if (packet->kind == PACKET_RTCP)
		return DROP_RTCP_UNKNOWN;
	if (again)
		return DROP_NO_SESSION;
	/* Beyond its share a place is like any other: many calls may be waited for at one. */
	if (private->settings->expected != NULL && expected_has(private->settings->expected, &packet->key) &&
		learn_limit_take_place(&private->expected, &packet->key, private->now))
		return DROP_NONE;
	if (!learn_limit_take_stream(&private->streams, &private->learn, &packet->key, private->now))
		return DROP_LEARN_RATE;
	return DROP_NONE;
}

static inline void finish(struct lcore *lcore, struct burst *burst, struct rte_mbuf *mbuf, enum drop_reason reason)
{
	if (reason != DROP_NONE)
		lcore_drop(lcore, reason, 1);
	burst->done[burst->done_count++] = mbuf;
}

/* Bad checksums as the port saw them. */
static inline enum drop_reason checked_by_port(const struct rte_mbuf *mbuf)
{
	if (unlikely((mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_BAD))
		return DROP_IP_HEADER;
	if (unlikely((mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_BAD))
		return DROP_UDP_CHECKSUM;
	return DROP_NONE;
}

/* A UDP checksum of which the port does not know, because it cannot or did not look; the payload is on its way to the cache by now. */
static inline bool checked_by_us(const struct rte_mbuf *mbuf, const struct packet *packet)
{
	return (mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) != RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN ||
	       packet_checksum_valid(rte_pktmbuf_mtod(mbuf, const uint8_t *), packet);
}

/* The tag of a frame whose port took it off unasked: without it, a frame of any VLAN would pass for one of ours. */
static inline bool put_back_tag(struct rte_mbuf *mbuf)
{
	return likely((mbuf->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) == 0) || rte_vlan_insert(&mbuf) == 0;
}

/* What deliver() will copy, while the lookup takes place: half of the copy's time otherwise is waiting for it. */
static inline void prefetch_payload(const struct rte_mbuf *mbuf, const struct packet *packet)
{
	unsigned int end = (unsigned int)packet->payload_offset + packet->payload_len;

	for (unsigned int offset = RTE_CACHE_LINE_SIZE; offset < end && offset <= PREFETCH_MAX; offset += RTE_CACHE_LINE_SIZE)
		rte_prefetch0(rte_pktmbuf_mtod_offset(mbuf, const void *, offset));
}

/*
 * May a frame for the control thread's neighbour module pass? Pings are counted by source address. ARP and neighbour discovery
 * are counted by link address: who claims to be a caller's address must not use up what lets the caller answer, or the
 * silence that follows would look as if the caller had moved.
 */
static enum drop_reason take_local(struct lcore_private *private, const uint8_t *frame, const struct packet *packet)
{
	struct ip_address link = {{0}};

	if (packet->echo)
		return learn_limit_take(&private->echo, &packet->key.remote, private->now) ? DROP_NONE : DROP_ECHO_RATE;
	memcpy(link.bytes, frame + ETHERNET_SOURCE, ETHERNET_ADDRESS);
	return learn_limit_take(&private->discovery, &link, private->now) ? DROP_NONE : DROP_DISCOVERY_RATE;
}

static inline void sort_packet(struct lcore *lcore, struct burst *burst, struct rte_mbuf *mbuf, struct packet *packet)
{
	struct lcore_private *private = lcore_private(lcore);
	enum drop_reason reason;

	/* Not every driver says in the mbuf where it came from; the control thread wants to know. */
	if (!burst->stamped)
		mbuf->port = burst->port;
	if (unlikely(!put_back_tag(mbuf))) {
		finish(lcore, burst, mbuf, DROP_ETH_VLAN);
		return;
	}
	packet_classify(rte_pktmbuf_mtod(mbuf, const uint8_t *), rte_pktmbuf_data_len(mbuf), &lcore->local[mbuf->port], packet);
	if (likely(packet->kind == PACKET_RTP || packet->kind == PACKET_RTCP)) {
		reason = checked_by_port(mbuf);
		if (likely(reason == DROP_NONE && !burst->again))
			reason = police(private, burst->sources, packet);
		if (unlikely(reason != DROP_NONE)) {
			finish(lcore, burst, mbuf, reason);
			return;
		}
		prefetch_payload(mbuf, packet);
		burst->flows[burst->flow_count] = mbuf;
		burst->flow_packets[burst->flow_count] = packet;
		burst->keys[burst->flow_count++] = &packet->key;
	} else if (packet->kind == PACKET_DROP) {
		finish(lcore, burst, mbuf, packet->reason);
	} else {
		reason = take_local(private, rte_pktmbuf_mtod(mbuf, const uint8_t *), packet);
		if (reason == DROP_NONE)
			burst->control[burst->control_count++] = mbuf;
		else
			finish(lcore, burst, mbuf, reason);
	}
}

static void handle_flows(struct lcore *lcore, struct burst *burst)
{
	struct lcore_private *private = lcore_private(lcore);
	struct session_ref refs[LCORE_BURST];
	uint64_t hits = session_table_lookup(lcore->table, burst->keys, burst->flow_count, refs);
	uint64_t rtp = 0, rtcp = 0, delivered = 0;

	for (unsigned int i = 0; i < burst->flow_count; i++) {
		const struct packet *packet = burst->flow_packets[i];
		struct rte_mbuf *mbuf = burst->flows[i];
		enum drop_reason reason;

		if (unlikely((hits >> i & 1) == 0)) {
			reason = judge_unknown(private, packet, burst->again);
			if (reason == DROP_NONE && !checked_by_us(mbuf, packet))
				reason = DROP_UDP_CHECKSUM;
			if (reason == DROP_NONE)
				burst->control[burst->control_count++] = mbuf;
			else
				finish(lcore, burst, mbuf, reason);
			continue;
		}
		if (unlikely(packet->kind == PACKET_RTCP)) {
			/* Counted; nothing in it, a BYE least of all, may touch a call: anyone could have sent it. */
			rtcp++;
			finish(lcore, burst, mbuf, DROP_NONE);
			continue;
		}
		rtp++;
		if (unlikely(!checked_by_us(mbuf, packet))) {
			finish(lcore, burst, mbuf, DROP_UDP_CHECKSUM);
			continue;
		}
		reason = deliver(lcore, rte_pktmbuf_mtod_offset(mbuf, const uint8_t *, packet->payload_offset), packet, refs[i]);
		delivered += reason == DROP_NONE;
		finish(lcore, burst, mbuf, reason);
	}
	lcore_count(&lcore->counters.rtp, rtp);
	lcore_count(&lcore->counters.rtcp, rtcp);
	lcore_count(&lcore->counters.delivered, delivered);
}

void lcore_publish(struct lcore *lcore)
{
	struct lcore_private *private = lcore_private(lcore);

	while (private->touched != 0) {
		unsigned int slot = (unsigned int)__builtin_ctzll(private->touched);

		private->touched &= private->touched - 1;
		vl_ring_publish(&private->channels[slot]->up[lcore->index]);
	}
}

/*
 * Give a burst back. Mbufs of one segment that are nobody else's, which is how they came, go to their pool at once: what
 * rte_pktmbuf_free() wants to know beyond that is on the second line of each.
 */
static void free_burst(struct rte_mbuf *mbufs[], unsigned int count)
{
	struct rte_mempool *pool = count > 0 ? mbufs[0]->pool : NULL;
	unsigned int plain = 0;

	for (unsigned int i = 0; i < count; i++) {
		struct rte_mbuf *mbuf = mbufs[i];

		if (likely(mbuf->pool == pool && mbuf->nb_segs == 1 && rte_mbuf_refcnt_read(mbuf) == 1 && RTE_MBUF_DIRECT(mbuf)))
			mbufs[plain++] = mbuf;
		else
			rte_pktmbuf_free(mbuf);
	}
	if (plain > 0)
		rte_mempool_put_bulk(pool, (void *const *)mbufs, plain);
}

static void receive(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count, struct burst *burst)
{
	burst->flow_count = burst->control_count = burst->done_count = 0;
	for (unsigned int i = 0; i < count; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], const void *));
	for (unsigned int i = 0; i < count; i++)
		sort_packet(lcore, burst, mbufs[i], &burst->packets[i]);
	if (burst->flow_count > 0)
		handle_flows(lcore, burst);
	lcore_publish(lcore);
	if (burst->control_count > 0) {
		unsigned int sent =
			rte_ring_sp_enqueue_burst(lcore->to_control, (void *const *)burst->control, burst->control_count, NULL);

		lcore_drop(lcore, DROP_LEARN_FULL, burst->control_count - sent);
		rte_pktmbuf_free_bulk(burst->control + sent, burst->control_count - sent);
	}
	free_burst(burst->done, burst->done_count);
}

static inline void receive_new(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count, struct burst *burst)
{
	burst->again = false;
	/* Pairs with the control thread's release store of new ones. */
	burst->sources = atomic_load_explicit(&lcore_private(lcore)->settings->sources, memory_order_acquire);
	receive(lcore, mbufs, count, burst);
}

void lcore_receive(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count, uint16_t port)
{
	struct burst burst;

	burst.port = port;
	burst.stamped = false;
	receive_new(lcore, mbufs, count, &burst);
}

void lcore_receive_handed(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count)
{
	struct burst burst;

	burst.stamped = true;
	receive_new(lcore, mbufs, count, &burst);
}

void lcore_receive_again(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count)
{
	struct burst burst;

	burst.stamped = true;
	burst.again = true;
	receive(lcore, mbufs, count, &burst);
}
