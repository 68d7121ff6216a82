/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See bench_port.h.
 */
#include "bench_port.h"

#include <string.h>
#include <time.h>

#include <rte_byteorder.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "lcore_bench.h"

#define MASK   (BENCH_PORT_DESCRIPTORS - 1u)
#define POST   32u    /* descriptors at a time */
#define SENT   65536u /* packets sent and not yet looked at */
#define LINE   64u
#define RECORD 16u

_Static_assert(sizeof(struct bench_sent) == RECORD, "as long as a descriptor");

/* Writer of each group: as it says. */
static struct {
	/* The lcore. */
	struct rte_mbuf *buffers[BENCH_PORT_DESCRIPTORS];
	struct rte_mbuf *held[BENCH_PORT_HELD];
	struct rte_mempool *pool;
	uint64_t stall_tsc;
	uint32_t taken, held_at, sent_room;
	struct bench_watch watch;
	void *data[BENCH_PORT_DESCRIPTORS] __rte_cache_aligned; /* of the buffers posted; read by the wire */
	_Atomic uint32_t posted __rte_cache_aligned;
	_Atomic uint32_t sent_count __rte_cache_aligned;
	struct bench_sent sent[SENT] __rte_cache_aligned;
	/* The wire. */
	_Atomic uint32_t filled __rte_cache_aligned;
	_Atomic uint32_t seen __rte_cache_aligned;
	uint32_t filling __rte_cache_aligned;
	uint32_t room;
} port;

static uint64_t used_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

void bench_watch_look(struct bench_watch *watch, uint64_t now, uint64_t stall_tsc)
{
	uint64_t last = atomic_load_explicit(&watch->last, memory_order_relaxed), gap = now - last;

	atomic_store_explicit(&watch->last, now, memory_order_relaxed);
	/* Asked now and then, so that many a small absence does not make a long one. */
	if (likely(gap < stall_tsc && now - watch->looked < rte_get_tsc_hz() / 100))
		return;
	uint64_t used = used_ns(), ran = used - watch->used_ns,
		 passed = (now - watch->looked) * 1000 / (rte_get_tsc_hz() / 1000000);
	bool away = watch->looked != 0 && passed > ran && passed - ran > gap * 500 / (rte_get_tsc_hz() / 1000000);

	watch->used_ns = used;
	watch->looked = now;
	if (!away || gap < stall_tsc)
		return;
	lcore_count(&watch->stalls, 1);
	lcore_count(&watch->stalled_tsc, gap);
	if (gap > atomic_load_explicit(&watch->longest_tsc, memory_order_relaxed))
		atomic_store_explicit(&watch->longest_tsc, gap, memory_order_relaxed);
	atomic_store_explicit(&watch->length_tsc, gap, memory_order_relaxed);
	atomic_store_explicit(&watch->ended, now, memory_order_relaxed);
}

bool bench_watch_recovers(const struct bench_watch *watch, uint64_t now)
{
	return now - atomic_load_explicit(&watch->ended, memory_order_relaxed) <
	       BENCH_AFTER_STALL * atomic_load_explicit(&watch->length_tsc, memory_order_relaxed);
}

/* Post fresh buffers where others were taken. Lcore. */
static void post(void)
{
	uint32_t posted = atomic_load_explicit(&port.posted, memory_order_relaxed);

	while (BENCH_PORT_DESCRIPTORS - (posted - port.taken) >= POST) {
		struct rte_mbuf **buffers = &port.buffers[posted & MASK];

		if (rte_pktmbuf_alloc_bulk(port.pool, buffers, POST) != 0)
			break;
		for (unsigned int i = 0; i < POST; i++)
			port.data[(posted + i) & MASK] = rte_pktmbuf_mtod(buffers[i], void *);
		posted += POST;
	}
	/* Pairs with the wire's acquire: it sees the addresses. */
	atomic_store_explicit(&port.posted, posted, memory_order_release);
}

/* Lcore: a driver's receive function. */
static uint16_t on_poll(uint16_t id, uint16_t queue, struct rte_mbuf *mbufs[], uint16_t count, uint16_t max, void *context)
{
	uint32_t there = atomic_load_explicit(&port.filled, memory_order_acquire) - port.taken;

	(void)id, (void)queue, (void)context;
	bench_watch_look(&port.watch, rte_rdtsc(), port.stall_tsc);
	if (there == 0)
		return count;
	there = there < max ? there : max;
	for (uint32_t i = 0; i < there; i++) {
		struct rte_mbuf *mbuf = port.buffers[(port.taken + i) & MASK];

		rte_prefetch0(port.buffers[(port.taken + i + 8) & MASK]);
		mbuf->data_len = BENCH_PORT_FRAME;
		mbuf->pkt_len = BENCH_PORT_FRAME;
		mbuf->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
		mbufs[i] = mbuf;
	}
	port.taken += there;
	post();
	return (uint16_t)there;
}

static inline struct bench_sent describe(const struct rte_mbuf *mbuf, uint32_t stamp, bool disturbed)
{
	const uint8_t *rtp = rte_pktmbuf_mtod_offset(mbuf, const uint8_t *, BENCH_PORT_RTP);
	struct bench_sent sent = {.stamp = stamp, .disturbed = disturbed};

	memcpy(&sent.seq, rtp + 2, sizeof(sent.seq));
	memcpy(&sent.ssrc, rtp + 8, sizeof(sent.ssrc));
	memcpy(&sent.mark, rtp + 12, sizeof(sent.mark));
	return sent;
}

/* Lcore: a driver's transmit function. What net_null frees in place of these packets was sent a ring ago. */
static uint16_t on_transmit(uint16_t id, uint16_t queue, struct rte_mbuf *mbufs[], uint16_t count, void *context)
{
	uint64_t now = rte_rdtsc();
	/* In this turn, or not long before. */
	bool disturbed = now - port.watch.last >= port.stall_tsc || bench_watch_recovers(&port.watch, now);
	uint32_t stamp = (uint32_t)now, at = atomic_load_explicit(&port.sent_count, memory_order_relaxed);

	(void)id, (void)queue, (void)context;
	if (unlikely(port.sent_room - at < count))
		port.sent_room = atomic_load_explicit(&port.seen, memory_order_acquire) + SENT;
	bool room = likely(port.sent_room - at >= count);

	for (uint16_t i = 0; i < count; i++) {
		struct rte_mbuf *mbuf = mbufs[i];

		if (room)
			port.sent[(at + i) % SENT] = describe(mbuf, stamp, disturbed);
		mbufs[i] = port.held[port.held_at % BENCH_PORT_HELD];
		port.held[port.held_at++ % BENCH_PORT_HELD] = mbuf;
	}
	if (room)
		atomic_store_explicit(&port.sent_count, at + count, memory_order_release);
	return count;
}

void bench_port_open(struct rte_mempool *pool, uint64_t stall_tsc)
{
	static bool watched;

	memset(&port, 0, sizeof(port));
	port.pool = pool;
	port.stall_tsc = stall_tsc;
	port.sent_room = SENT;
	post();
	lcore_bench_require(rte_pktmbuf_alloc_bulk(pool, port.held, BENCH_PORT_HELD) == 0, "no packet buffer");
	if (!watched)
		lcore_bench_require(rte_eth_add_rx_callback(0, 0, on_poll, NULL) != NULL &&
					    rte_eth_add_tx_callback(0, 0, on_transmit, NULL) != NULL,
			"cannot stand behind the port");
	watched = true;
}

void bench_port_close(void)
{
	for (uint32_t i = port.taken; i != port.posted; i++)
		rte_pktmbuf_free(port.buffers[i & MASK]);
	rte_pktmbuf_free_bulk(port.held, BENCH_PORT_HELD);
}

struct bench_watch *bench_port_watch(void)
{
	return &port.watch;
}

bool bench_port_fill(const uint8_t frame[256])
{
	if (port.room == port.filling) {
		port.room = atomic_load_explicit(&port.posted, memory_order_acquire);
		if (port.room == port.filling)
			return false;
	}
	uint8_t *data = port.data[port.filling & MASK];

#ifdef __SSE2__
	for (unsigned int offset = 0; offset < 256; offset += sizeof(__m128i))
		_mm_stream_si128(
			(__m128i *)(void *)(data + offset), _mm_load_si128((const __m128i *)(const void *)(frame + offset)));
#else
	memcpy(data, frame, 256);
#endif
	port.filling++;
	return true;
}

void bench_port_publish(void)
{
#ifdef __SSE2__
	_mm_sfence();
#endif
	atomic_store_explicit(&port.filled, port.filling, memory_order_release);
}

unsigned int bench_port_sent(struct bench_sent sent[], unsigned int max)
{
	uint32_t at = atomic_load_explicit(&port.seen, memory_order_relaxed);
	uint32_t there = atomic_load_explicit(&port.sent_count, memory_order_acquire) - at;

	there = there < max ? there : max;
	for (uint32_t i = 0; i < there; i++)
		sent[i] = port.sent[(at + i) % SENT];
	if (there > 0)
		atomic_store_explicit(&port.seen, at + there, memory_order_release);
	return there;
}
