/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an lcore that built a packet to one that may send it, for a port with fewer transmit queues than there are packet lcores: a ring
 * from each lcore without a queue to one that has one. Every lcore does the beats of its own calls; what goes through the ring is whole
 * frames. Whoever has the queue looks at its rings in each turn, and sleeps no longer than it would with calls of its own.
 */
#include <errno.h>
#include <stdio.h>

#include <rte_branch_prediction.h>
#include <rte_errno.h>
#include <rte_lcore.h>

#include "lcore_internal.h"

#define AWAKE_BEATS 16u /* longer than the pauses of comfort noise */

static int connect_one(struct lcore *from, struct lcore *to, uint16_t port)
{
	static unsigned int serial; /* the EAL wants unique names; control thread only */
	struct lcore_transmit *transmit = &lcore_private(to)->transmit;
	char name[RTE_RING_NAMESIZE];
	struct rte_ring *ring;

	if (transmit->sources == LCORE_TRANSMIT_SOURCES)
		return -ENOSPC;
	snprintf(name, sizeof(name), "vl_transmit_%u", serial++);
	ring = rte_ring_create(name, LCORE_RING_MBUFS, (int)rte_lcore_to_socket_id(to->lcore_id), RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (ring == NULL)
		return -rte_errno;
	transmit->from[transmit->sources++] = (struct lcore_transmit_source){.ring = ring, .port = port};
	lcore_private(from)->tx[port].present = true;
	lcore_private(from)->tx[port].over = ring;
	return 0;
}

int lcore_connect_transmit(struct lcore *const lcores[], unsigned int count, uint16_t port)
{
	struct lcore *owners[LCORES_MAX];
	unsigned int have = 0, turn = 0;

	if (port >= PORTS_MAX || count > LCORES_MAX)
		return -EINVAL;
	for (unsigned int i = 0; i < count; i++) {
		if (lcore_private(lcores[i])->tx[port].present)
			owners[have++] = lcores[i];
	}
	if (have == 0)
		return -ENODEV;
	for (unsigned int i = 0; i < count; i++) {
		int result = lcore_private(lcores[i])->tx[port].present ? 0 : connect_one(lcores[i], owners[turn++ % have], port);

		if (result < 0)
			return result;
	}
	return 0;
}

void lcore_disconnect_transmit(struct lcore *lcore)
{
	struct lcore_transmit *transmit = &lcore_private(lcore)->transmit;

	while (transmit->sources > 0)
		lcore_free_ring(transmit->from[--transmit->sources].ring);
}

void lcore_send_over(struct lcore *lcore, struct lcore_tx_port *tx)
{
	unsigned int sent = rte_ring_sp_enqueue_burst(tx->over, (void *const *)tx->mbufs, tx->count, NULL);

	lcore_count(&lcore->counters.sent_over, sent);
	if (unlikely(sent < tx->count)) {
		lcore_drop(lcore, DROP_SEND_OVER_FULL, tx->count - sent);
		rte_pktmbuf_free_bulk(tx->mbufs + sent, tx->count - sent);
	}
}

static unsigned int take_from(struct lcore *lcore, const struct lcore_transmit_source *source)
{
	struct lcore_private *private = lcore_private(lcore);
	struct lcore_tx_port *tx = &private->tx[source->port];
	unsigned int total = 0, room, count;

	/* As many as its producer builds in a turn, straight into the place where packets of our own wait. */
	do {
		room = LCORE_TX_STAGE - tx->count;
		count = rte_ring_sc_dequeue_burst(source->ring, (void **)(tx->mbufs + tx->count), room, NULL);
		tx->count = (uint16_t)(tx->count + count);
		total += count;
		if (tx->count == LCORE_TX_STAGE)
			lcore_flush_port(lcore, source->port);
	} while (count == room && total < LCORE_BURSTS_A_TURN * LCORE_BURST);
	private->tx_ports |= UINT64_C(1) << source->port;
	return total;
}

unsigned int lcore_take_sent_over(struct lcore *lcore)
{
	struct lcore_transmit *transmit = &lcore_private(lcore)->transmit;
	unsigned int total = 0;

	for (unsigned int i = 0; i < transmit->sources; i++)
		total += take_from(lcore, &transmit->from[i]);
	if (total > 0)
		transmit->taken_tsc = lcore_private(lcore)->now;
	return total;
}

bool lcore_sends_for_others(const struct lcore_private *private, uint64_t now)
{
	return private->transmit.taken_tsc != 0 && now - private->transmit.taken_tsc < AWAKE_BEATS * private->period_tsc;
}
