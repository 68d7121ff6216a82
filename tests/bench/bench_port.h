/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port for benches of two threads: what a NIC and its driver do for a packet lcore, at what they cost, by callbacks of a net_null
 * port (`no-rx=1`). The driver's side runs on the lcore: it takes filled buffers in order of descriptors, posts fresh ones, writes 16 bytes
 * for each packet sent and frees its buffer a ring later. The wire's side runs on the other thread: it fills posted buffers past its
 * caches, as a card's DMA does, and reads what was sent, with the time at which the lcore handed it over. The cables never block.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_common.h>
#include <rte_mempool.h>

#define BENCH_AFTER_STALL      5u /* times its length: so long a stall is being made up for */
#define BENCH_PORT_EAL	       "--vdev=net_null0,no-rx=1"
#define BENCH_PORT_DESCRIPTORS 8192u /* to receive into; common cards have 4,096 to 32,768 */
#define BENCH_PORT_HELD	       1024u /* packets the card has not sent yet, as far as the driver knows */
#define BENCH_PORT_BUFFERS     (BENCH_PORT_DESCRIPTORS + BENCH_PORT_HELD)
#define BENCH_PORT_RTP	       42u  /* where RTP begins: Ethernet, IPv4, UDP */
#define BENCH_PORT_FRAME       214u /* bytes of every frame received: 20 ms of G.711 */

/*
 * How long a thread was taken off its core between two looks at its clock. A gap in which it was at work is none, however long. Writer:
 * that thread.
 */
struct bench_watch {
	_Atomic uint64_t last, stalls, stalled_tsc, longest_tsc;
	_Atomic uint64_t ended, length_tsc; /* of the last stall */
	uint64_t used_ns, looked;	    /* processor time, and when, as of the last gap */
} __rte_cache_aligned;

/* One look. Gaps of at least `stall_tsc` count, if the thread did not run for half of it. */
void bench_watch_look(struct bench_watch *watch, uint64_t now, uint64_t stall_tsc);

/* Whether a stall is over and may not have been made up for yet. Any thread. */
bool bench_watch_recovers(const struct bench_watch *watch, uint64_t now);

/* A packet sent: the low half of the TSC when it was, and what was in it. */
struct bench_sent {
	uint32_t stamp;
	uint32_t ssrc, mark; /* the first four bytes of the payload */
	uint16_t seq;
	bool disturbed; /* the lcore was catching up with a stall: bench_watch_recovers() */
};

/* Post buffers. After lcore_bench_setup(), before the lcore runs. Gaps of at least `stall_tsc` between polls are stalls. Main thread. */
void bench_port_open(struct rte_mempool *pool, uint64_t stall_tsc);
/* Free every buffer. After the lcore has ended. Main thread. */
void bench_port_close(void);

/* The gaps between the lcore's polls. */
struct bench_watch *bench_port_watch(void);

/* Receive a frame of four lines; false when no buffer is posted, that is, when the lcore was too slow. Wire. */
bool bench_port_fill(const uint8_t frame[256]);
/* Let the lcore see what was filled. Wire. */
void bench_port_publish(void);

/* Up to `max` packets that were sent. Wire. */
unsigned int bench_port_sent(struct bench_sent sent[], unsigned int max);
