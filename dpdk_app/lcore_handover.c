/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the lcore that received a packet to the lcore that handles its flow, for ports that leave this to us: a ring from each
 * receiving lcore to each other one, a burst at a time, gathered from all that a turn received. Who handles a packet does all that it
 * would have done as its receiver: classify, police, look up, account, copy. A ring needs no bell: an lcore that sleeps looks at its
 * rings when it looks at its queues, and wakes as often.
 */
#include <errno.h>
#include <stdio.h>

#include <rte_branch_prediction.h>
#include <rte_common.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_prefetch.h>

#include "handover.h"
#include "lcore_internal.h"

#define RING_MIN 64u

/* What one lcore may be handed in all, in equal parts; port.c makes buffers for as much. */
static unsigned int ring_size(unsigned int receivers)
{
	return RTE_MAX(rte_align32prevpow2(LCORE_RING_MBUFS / receivers), RING_MIN);
}

static int connect_one(struct lcore *from, struct lcore *to, unsigned int size)
{
	static unsigned int serial; /* the EAL wants unique names; control thread only */
	struct lcore_handover *handover = &lcore_private(to)->handover;
	char name[RTE_RING_NAMESIZE];
	struct rte_ring *ring;

	snprintf(name, sizeof(name), "vl_handover_%u", serial++);
	ring = rte_ring_create(name, size, (int)rte_lcore_to_socket_id(to->lcore_id), RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (ring == NULL)
		return -rte_errno;
	handover->from[handover->sources++] = ring;
	lcore_private(from)->handover.to[to->index] = ring;
	return 0;
}

int lcore_connect(struct lcore *const lcores[], unsigned int count, uint64_t seed)
{
	unsigned int receivers = 0;

	for (unsigned int i = 0; i < count; i++)
		receivers += lcore_private(lcores[i])->rx_queue_count > 0;
	for (unsigned int from = 0; from < count; from++) {
		struct lcore_private *private = lcore_private(lcores[from]);

		if (private->rx_queue_count == 0)
			continue;
		for (unsigned int to = 0; to < count; to++) {
			int result = to != from ? connect_one(lcores[from], lcores[to], ring_size(receivers)) : 0;

			if (result < 0)
				return result;
		}
		flow_hash_init(&private->handover.secret, seed);
		private->handover.lcores = count;
	}
	return 0;
}

void lcore_disconnect(struct lcore *lcore)
{
	struct lcore_handover *handover = &lcore_private(lcore)->handover;

	while (handover->sources > 0)
		lcore_free_ring(handover->from[--handover->sources]);
}

/* Let the lcore that handles them have what was gathered for it. */
static void pass(struct lcore *lcore, unsigned int target)
{
	struct lcore_handover *handover = &lcore_private(lcore)->handover;
	struct lcore_handover_batch *batch = &handover->batches[target];
	unsigned int count = batch->count, sent;

	batch->count = 0;
	if (target == lcore->index) {
		lcore_receive_handed(lcore, batch->mbufs, count);
		return;
	}
	sent = rte_ring_sp_enqueue_burst(handover->to[target], (void *const *)batch->mbufs, count, NULL);
	lcore_count(&lcore->counters.handed_over, sent);
	if (unlikely(sent < count)) {
		lcore_drop(lcore, DROP_HANDOVER_FULL, count - sent);
		rte_pktmbuf_free_bulk(batch->mbufs + sent, count - sent);
	}
}

void lcore_hand_over(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count, uint16_t port)
{
	struct lcore_handover *handover = &lcore_private(lcore)->handover;

	for (unsigned int i = 0; i < count; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], const void *));
	for (unsigned int i = 0; i < count; i++) {
		int flow = handover_lcore(&handover->secret, rte_pktmbuf_mtod(mbufs[i], const uint8_t *),
			rte_pktmbuf_data_len(mbufs[i]), handover->lcores);
		unsigned int target = flow == HANDOVER_HERE ? lcore->index : (unsigned int)flow;
		struct lcore_handover_batch *batch = &handover->batches[target];

		mbufs[i]->port = port;
		batch->mbufs[batch->count++] = mbufs[i];
		handover->gathered |= UINT32_C(1) << target;
		if (batch->count == LCORE_BURST)
			pass(lcore, target);
	}
}

void lcore_hand_over_rest(struct lcore *lcore)
{
	struct lcore_handover *handover = &lcore_private(lcore)->handover;

	for (; handover->gathered != 0; handover->gathered &= handover->gathered - 1) {
		unsigned int target = (unsigned int)__builtin_ctz(handover->gathered);

		if (handover->batches[target].count > 0)
			pass(lcore, target);
	}
}

unsigned int lcore_take_handed(struct lcore *lcore)
{
	const struct lcore_handover *handover = &lcore_private(lcore)->handover;
	struct rte_mbuf *mbufs[LCORE_BURST];
	unsigned int total = 0;

	for (unsigned int i = 0; i < handover->sources; i++) {
		unsigned int count = LCORE_BURST;

		for (unsigned int burst = 0; burst < LCORE_BURSTS_A_TURN && count == LCORE_BURST; burst++) {
			count = rte_ring_sc_dequeue_burst(handover->from[i], (void **)mbufs, LCORE_BURST, NULL);
			if (count > 0)
				lcore_receive_handed(lcore, mbufs, count);
			total += count;
		}
	}
	return total;
}
