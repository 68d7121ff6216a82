/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet lcore: its rings to and from the control thread, its counters, and the commands it takes. The loop itself is in
 * lcore.c. Everything here is allocated before the loop starts and freed after it has ended.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_common.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include "../shared/channel.h"
#include "../shared/histogram.h"
#include "drops.h"
#include "expected.h"
#include "flow.h"
#include "packet.h"
#include "playout.h"
#include "session.h"
#include "sources.h"

#define LCORES_MAX  VL_CHANNEL_LCORES_MAX
#define WORKERS_MAX 64u
#define PORTS_MAX   16u

#define LCORE_RX_QUEUES 64u /* of one lcore; no driver whose queues must all be polled has more than 16 (port.c) */

enum lcore_command_type {
	LCORE_PLAYOUT_START,	/* put the call on the wheel; `start` */
	LCORE_PLAYOUT_TARGET,	/* new headers (remote moved, neighbour resolved); `target` */
	LCORE_PLAYOUT_STREAM,	/* go on as another RTP stream; `start.ssrc`, `.seq` and `.timestamp` */
	LCORE_PLAYOUT_EVENT,	/* keys to be sent; `event` */
	LCORE_PLAYOUT_STOP,	/* take it off the wheel */
	LCORE_PLAYOUT_REATTACH, /* a new worker took the call */
	LCORE_WORKER_ATTACH,	/* `worker`: start using this channel's rings of ours */
	LCORE_WORKER_DETACH,	/* stop using them; the control thread unmaps after a grace period */
};

/*
 * Order and grace. An lcore takes every waiting command at the beginning of a turn, before it looks at a session or a
 * channel, and reports a quiescent state at the end of each turn (and is offline while it sleeps). So after lcore_command()
 * of a DETACH or STOP to every lcore, one rte_rcu_qsbr_start() on session_table_qsbr() and a successful rte_rcu_qsbr_check()
 * of its token, no lcore uses the channel or the session any more: then the channel may be unmapped, and the session's index
 * may be used again (also on another lcore). PLAYOUT_STOP, _TARGET, _STREAM and _REATTACH of a generation that is not on the
 * wheel are ignored.
 *
 * A worker hears of a call only when START or REATTACH is in its lcore's ring, and may answer before the lcore's next turn. The route's
 * generation and attachment then differ from the sender's, and the lcore takes its commands at once.
 */

/* By value through the ring, so nothing is shared. */
struct lcore_command {
	uint8_t type; /* enum lcore_command_type */
	uint8_t worker_slot;
	uint8_t attachment; /* START, REATTACH: that of the route from now on */
	struct session_ref session;
	union {
		struct {
			struct lcore_target target;
			uint32_t ssrc, timestamp;
			uint16_t seq;
			uint8_t payload_type, idle;
		} start;
		struct {
			uint8_t payload_type, count;
			uint8_t codes[TELEPHONE_EVENT_DIGITS_MAX];
		} event;
		struct lcore_target target;
		struct vl_channel *worker; /* owned by the control thread; alive until a grace period after DETACH */
	};
} __rte_aligned(8);

/* Writer: the lcore. Readers: telemetry, relaxed. */
struct lcore_counters {
	_Atomic uint64_t drops[DROP_COUNT];
	_Atomic uint64_t received, transmitted; /* packets of the ports */
	_Atomic uint64_t handed_over;		/* of those received, packets another lcore handles */
	_Atomic uint64_t rtp, rtcp, delivered;	/* delivered: RTP payloads published to a worker */
	_Atomic uint64_t frames;		/* playout packets built */
	_Atomic uint64_t sent_over;		/* packets another lcore transmits, because it has the queue */
	_Atomic uint64_t busy_tsc, total_tsc;	/* time in turns that found work, and all time */
	_Atomic uint64_t late_beats;		/* beats more than 1 ms behind their time */
	_Atomic uint64_t skipped_beats;		/* beats that were not sent, the voice later: see lcore_tx.c and wheel.h */
	_Atomic uint64_t refused_records; /* records of workers refused: down_corrupt, down_session and down_record together */
};

struct lcore_latency {
	struct vl_histogram
		flush_to_silence_us; /* `interrupted` at the worker to the flush: no packet of the old turn is sent after it */
	struct vl_histogram message_to_rtp_us; /* an answer's first audio message at the worker to its first RTP packet */
	struct vl_histogram beat_error_us;     /* a frame's distance from its ideal time */
};

struct lcore {
	unsigned int index;    /* 0..count-1: names the ring pair in every channel, the QSBR token, the tx queue */
	unsigned int lcore_id; /* EAL */
	struct session_table *table;
	struct rte_mempool *pool;
	const struct packet_local *local; /* one per ethdev port, indexed by port id */

	struct rte_ring *to_control; /* SP/SC of mbufs: RTP of unknown flows and PACKET_LOCAL, rate-limited. Producer: lcore */
	struct rte_ring *rx_again;   /* SP/SC of mbufs: to be handled as if just received (flow bound now; dropped if it is not).
				      * Producer: control, in the lcore that received it: mbuf->port says how to classify */
	struct rte_ring *tx_direct;  /* SP/SC of mbufs: to be transmitted as they are on mbuf->port. Producer: control */
	struct rte_ring *commands;   /* SP/SC, elements of struct lcore_command. Producer: control */

	struct lcore_counters counters __rte_cache_aligned;
	struct lcore_latency latency;

	void *private; /* lcore.c: wheel, staged bursts, channels, rx queues */
};

/* Settings every packet lcore shares. Writer: control, before start, atomic fields also later. */
struct lcore_settings {
	bool sleep;		   /* idle ladder on */
	uint32_t learn_per_second; /* packets of one unknown flow; an address gets a quarter of the total */
	uint32_t learn_total_per_second;
	uint64_t tsc_hz;	/* true rate (tsc.h); 0: rte_get_tsc_hz() */
	uint64_t random_key[2]; /* of the rate limiter's hash, from the system's random source */
	/*
	 * Where media may come from, and how much of it. What comes from elsewhere is dropped as source_unknown, and what is more
	 * as trunk_rate, before any lookup. NULL: control judges every source. Immutable once published; freed a grace period
	 * after it was replaced.
	 */
	_Atomic(const struct sources *) sources;
	const struct expected *expected; /* where callers are waited for; NULL: nowhere */
	_Atomic bool stop;		 /* the loop returns */
};

/*
 * Allocate lcore `index` with its rings, on the NUMA node of EAL lcore `lcore_id`. Control thread. Rx queues are added with
 * lcore_add_rx_queue(). `local` (PORTS_MAX elements, indexed by port id) and `settings` stay the caller's and outlive it.
 * Returns NULL with rte_errno.
 */
struct lcore *lcore_new(unsigned int index, unsigned int lcore_id, struct session_table *table, struct rte_mempool *pool,
	const struct packet_local *local, struct lcore_settings *settings);
/* Poll this queue. Control thread, before the loop runs. Returns 0, -EINVAL (port id over PORTS_MAX), -ENOSPC. */
int lcore_add_rx_queue(struct lcore *lcore, uint16_t port, uint16_t queue);
/*
 * Poll its share of a port's `queues`: those whose number is its index, counted in steps of `lcores`, so that every queue has one
 * lcore. Control thread, before the loop runs. As lcore_add_rx_queue().
 */
int lcore_add_rx_queues(struct lcore *lcore, uint16_t port, uint16_t queues, unsigned int lcores);
/*
 * Let every lcore that polls a queue hand each flow to the one lcore of `lcores` that a keyed hash of its addresses and ports names, for a
 * port that does not keep a flow on one lcore or has fewer queues than there are lcores: see handover.h. Control thread, once, after the rx
 * queues were added and before the loops run. The rings go with the lcores. Returns 0 or -errno; without this call nothing is handed over.
 */
int lcore_connect(struct lcore *const lcores[], unsigned int count, uint64_t seed);
/*
 * Transmit queue of this lcore on `port`; packets for a port without one, or a way to one, are counted tx_full. Same rules. Returns 0 or
 * -EINVAL.
 */
int lcore_set_tx_queue(struct lcore *lcore, uint16_t port, uint16_t queue);
/*
 * Let every lcore of `lcores` without a transmit queue on `port` hand what it sends there to one that has a queue, the lcores with queues in
 * turn. Control thread, once for a port, after the queues were set and before the loops run. The rings go with the lcores that have the
 * queues. Returns 0, -EINVAL, -ENODEV (nobody has a queue) or another -errno.
 */
int lcore_connect_transmit(struct lcore *const lcores[], unsigned int count, uint16_t port);
/* Free it with every mbuf still in its rings. Control thread, after the loop has ended. NULL is legal. */
void lcore_free(struct lcore *lcore);

/* The loop, for rte_eal_remote_launch(); `arg` is a struct lcore. Returns when settings->stop is set. */
int lcore_run(void *arg);

/* Whether its ring has room for what one call needs. Control thread. */
bool lcore_has_room(const struct lcore *lcore);

/* Hand a command over. Control thread. Returns 0 or -ENOBUFS: its ring is full, try again later (commands.h does). */
int lcore_command(struct lcore *lcore, const struct lcore_command *command);
