/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the packet lcore share: lcore.c (life, commands, the turn), lcore_rx.c (ports to workers), lcore_tx.c (workers to
 * ports), lcore_handover.c and lcore_transmit.c (lcores to lcores). Everything here belongs to the lcore's thread while it runs.
 */
#pragma once

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "flow_hash.h"
#include "lcore.h"
#include "learn_limit.h"
#include "wheel.h"

#define LCORE_BURST	       32u
#define LCORE_BURSTS_A_TURN    8u /* of each queue, and of beats */
#define LCORE_TX_STAGE	       64u
#define LCORE_RING_MBUFS       1024u
#define LCORE_COMMANDS	       4096u
#define LCORE_TRANSMIT_SOURCES (4u * LCORES_MAX) /* lcores that one lcore sends for, on several ports */

_Static_assert(LCORE_BURST <= SESSION_LOOKUP_BURST, "one burst is one lookup");
_Static_assert(LCORES_MAX <= 32, "lcores are bits of a word: lcore_handover.c");
_Static_assert(WORKERS_MAX == 64, "worker slots are bits of a word");

struct lcore_rx_queue {
	uint16_t port, queue;
};

/* The way between lcores, where a port leaves it to us which of them handles a flow: lcore_handover.c. */
struct lcore_handover {
	unsigned int lcores;		   /* flows are spread over so many; 0: each is handled where it was received */
	unsigned int sources;		   /* how many lcores hand over to this one */
	struct rte_ring *from[LCORES_MAX]; /* the first `sources`: SP/SC of mbufs. Consumer and owner: this lcore */
	struct rte_ring *to[LCORES_MAX];   /* by index; NULL: this lcore itself. Producer: this lcore */
	struct flow_hash_secret secret;	   /* the same of all lcores */
	uint32_t gathered;		   /* bits of lcores that may have a batch */
	struct lcore_handover_batch {
		unsigned int count;
		struct rte_mbuf *mbufs[LCORE_BURST];
	} batches[LCORES_MAX]; /* received in this turn, by the lcore that handles them; empty between turns */
};

/* Packets on their way to one port, sent together. */
struct lcore_tx_port {
	bool present;
	uint16_t queue;
	uint16_t count;
	struct rte_ring *over; /* in place of a queue, to the lcore that has one: lcore_transmit.c. NULL: the queue is ours */
	struct rte_mbuf *mbufs[LCORE_TX_STAGE];
};

/* What other lcores built for ports on which they have no transmit queue. */
struct lcore_transmit {
	unsigned int sources;
	struct lcore_transmit_source {
		struct rte_ring *ring; /* SP/SC of mbufs. Producer: the other lcore. Consumer and owner: this lcore */
		uint16_t port;
	} from[LCORE_TRANSMIT_SOURCES];
	uint64_t taken_tsc; /* of the turn that took anything last; 0: never */
};

struct lcore_private {
	struct lcore_settings *settings;
	uint64_t tsc_hz;
	uint64_t rtp_scale, us_scale; /* units per cycle times 2^64 */
	uint64_t late_tsc;
	uint64_t period_tsc; /* of a call's beat */
	uint64_t now;	     /* at the beginning of the turn */

	unsigned int rx_queue_count;
	struct lcore_rx_queue rx_queues[LCORE_RX_QUEUES];
	struct lcore_handover handover;
	struct lcore_tx_port tx[PORTS_MAX];
	uint64_t tx_ports; /* bits of ports with staged packets */

	struct vl_channel *channels[WORKERS_MAX]; /* attached ones */
	uint64_t attached;
	uint64_t touched; /* workers whose uplink ring has records not yet published */

	struct wheel *wheel;
	struct sources_meter sources; /* media of every trunk */
	struct learn_limit streams;   /* RTP of unknown flows, each */
	struct learn_limit learn;     /* and all of one address */
	struct learn_limit expected;  /* RTP from a place where a caller is expected, before the two above are asked */
	struct learn_limit discovery; /* ARP and neighbour discovery */
	struct learn_limit echo;      /* pings */
	struct lcore_transmit transmit;
};

static inline struct lcore_private *lcore_private(struct lcore *lcore)
{
	return lcore->private;
}

/* One writer, so a relaxed load and store make the counter. */
static inline void lcore_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void lcore_drop(struct lcore *lcore, enum drop_reason reason, uint64_t n)
{
	lcore_count(&lcore->counters.drops[reason], n);
}

/* `cycles` in units of 2^64 / scale; no division. */
static inline uint64_t lcore_scale(uint64_t cycles, uint64_t scale)
{
	return (uint64_t)(((unsigned __int128)cycles * scale) >> 64);
}

/* Count the time since `since`, which may come from a worker: one from the future counts nothing. */
static inline void lcore_latency_add(struct lcore_private *private, struct vl_histogram *histogram, uint64_t since, uint64_t now)
{
	if (since != 0 && since <= now)
		vl_histogram_add(histogram, lcore_scale(now - since, private->us_scale));
}

/* Take every command that waits, at most as many as the ring holds: the grace period of lcore.h rests on that. Returns how many. */
unsigned int lcore_take_commands(struct lcore *lcore);

/* Handle a burst just received from `port`. Takes the mbufs. */
void lcore_receive(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count, uint16_t port);

/* Handle a burst that the control thread sent back, because its flows are bound now; mbuf->port is below PORTS_MAX. Takes the mbufs. */
void lcore_receive_again(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count);

/* Handle a burst that other lcores received and handed over; mbuf->port is below PORTS_MAX. Takes the mbufs. */
void lcore_receive_handed(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count);

/*
 * Gather a burst just received from `port` for the lcores that handle its flows, and hand over or handle whatever is a whole burst. Takes the
 * mbufs.
 */
void lcore_hand_over(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count, uint16_t port);

/* Hand over and handle the rest of what was gathered. Once a turn. */
void lcore_hand_over_rest(struct lcore *lcore);

/* Handle what other lcores handed over, a bounded number from each. Returns how many. */
unsigned int lcore_take_handed(struct lcore *lcore);

/* Free the rings to this lcore with what is in them. Control thread. */
void lcore_disconnect(struct lcore *lcore);

/* Hand what is staged for a port to the lcore that has its queue; what the ring does not take is dropped. */
void lcore_send_over(struct lcore *lcore, struct lcore_tx_port *tx);

/* Stage what other lcores built, a bounded number from each. Returns how many. */
unsigned int lcore_take_sent_over(struct lcore *lcore);

/* Whether packets of other lcores came a moment ago, so that more are near. */
bool lcore_sends_for_others(const struct lcore_private *private, uint64_t now);

/* As lcore_disconnect(), of the rings of packets to be sent. */
void lcore_disconnect_transmit(struct lcore *lcore);

/* Free a ring of mbufs with what is in it. Control thread. NULL is legal. */
void lcore_free_ring(struct rte_ring *ring);

/* Make what was reserved in uplink rings visible, once per worker. */
void lcore_publish(struct lcore *lcore);

/* A ring of this worker makes no sense any more: never look at its channel again. The ring itself tells the control thread. */
void lcore_mark_broken(struct lcore *lcore, unsigned int worker);

/* Take records of every attached worker, a bounded number each. Returns how many. */
unsigned int lcore_drain_workers(struct lcore *lcore);

/* Send what is due on the wheel. Returns how many beats. */
unsigned int lcore_beat(struct lcore *lcore);

/* Stage packets of the control thread for their ports. Takes the mbufs. */
void lcore_send_direct(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count);

/* Hand what is staged for one port to it. */
void lcore_flush_port(struct lcore *lcore, uint16_t port);

/* Hand staged packets to the ports; what a port does not take is dropped. */
void lcore_flush(struct lcore *lcore);

/* One turn of the loop: everything but the pause. The QSBR token is registered. Returns whether there was anything to do. */
bool lcore_turn(struct lcore *lcore);
