/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bench: cycles a frame of the playout path at 1,000, 10,000 and 50,000 calls: from the downlink ring into the call's queue, and from
 * the queue on its beat to the port's transmit burst (net_null, which frees what it gets). Beside it an allocation and a
 * transmit burst of nothing but that. Time is the wheel's: beats are taken as fast as they can be.
 * How evenly they leave is bench_duplex's to say.
 *
 * usage: bench_playout [--json FILE] [EAL options]    (default: 1,000 MB, in hugepages if there are enough, core 0)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>

#include "bench.h"
#include "dpdk_app/headers.h"
#include "lcore_bench.h"

#define ROUNDS 15u
#define MBUFS  8191u
#define CHUNK  512u

static struct lcore_bench b;
static uint32_t calls;

/* Calls on a wheel whose time began a while ago, so that a round is due whenever it is asked for. */
static void start_calls(void)
{
	struct lcore_private *private = lcore_private(b.lcore);

	private->now = rte_rdtsc() - 100 * private->tsc_hz;
	wheel_init(private->wheel, calls, private->tsc_hz, private->now);
	for (uint32_t i = 0; i < calls; i++) {
		struct lcore_command start = lcore_bench_playout(i);

		lcore_bench_require(lcore_command(b.lcore, &start) == 0, "no room for a command");
		lcore_take_commands(b.lcore);
	}
}

/* One frame for each call from the worker, in pieces that fit the ring. Returns the lcore's cycles. */
static uint64_t frames_down(void)
{
	uint64_t cycles = 0;

	for (uint32_t i = 0; i < calls;) {
		uint32_t end = i + CHUNK < calls ? i + CHUNK : calls;

		for (; i < end; i++) {
			struct vl_ring *ring = &b.theirs[i % BENCH_WORKERS].down[0];
			struct vl_record *record = vl_ring_reserve(ring, VL_RECORD_FRAME, PLAYOUT_FRAME_SIZE);

			lcore_bench_require(record != NULL, "downlink ring full");
			record->session = i;
			record->generation = 1;
			memset(record->payload, 0x55, PLAYOUT_FRAME_SIZE);
		}
		for (unsigned int worker = 0; worker < BENCH_WORKERS; worker++)
			vl_ring_publish(&b.theirs[worker].down[0]);
		uint64_t start = rte_rdtsc_precise();

		while (lcore_drain_workers(b.lcore) > 0)
			;
		cycles += rte_rdtsc_precise() - start;
	}
	return cycles;
}

/* One period of the wheel. Returns the cycles. */
static uint64_t beats(void)
{
	struct lcore_private *private = lcore_private(b.lcore);
	uint64_t start = rte_rdtsc_precise();

	for (unsigned int slot = 0; slot < WHEEL_SLOTS; slot++) {
		private->now += private->tsc_hz / (50 * WHEEL_SLOTS);
		while (lcore_beat(b.lcore) > 0)
			lcore_flush(b.lcore);
	}
	return rte_rdtsc_precise() - start;
}

static uint64_t bare(void)
{
	struct rte_mbuf *mbufs[LCORE_BURST];
	uint64_t start = rte_rdtsc_precise();

	for (uint32_t i = 0; i < calls; i += LCORE_BURST) {
		lcore_bench_require(rte_pktmbuf_alloc_bulk(b.pool, mbufs, LCORE_BURST) == 0, "no packet buffer");
		rte_eth_tx_burst(0, 0, mbufs, LCORE_BURST);
	}
	return rte_rdtsc_precise() - start;
}

static void report(struct bench *bench, const char *what, double values[ROUNDS])
{
	char name[96];

	snprintf(name, sizeof(name), "playout, %u calls: %s", calls, what);
	bench_report_samples(bench, name, values, ROUNDS, "cycles/frame");
}

static void run(struct bench *bench, uint32_t count)
{
	double down[ROUNDS], out[ROUNDS], driver[ROUNDS];

	calls = count;
	lcore_bench_setup(&b, calls, MBUFS);
	start_calls();
	for (unsigned int round = 0; round < ROUNDS + 2; round++) {
		uint64_t frames = b.lcore->counters.frames;
		double taken = (double)frames_down() / calls, sent = (double)beats() / calls, alone = (double)bare() / calls;

		/* The first rounds warm up, and find their place in the slots. */
		if (round < 2)
			continue;
		lcore_bench_require(b.lcore->counters.frames - frames == calls, "not every call had its beat");
		down[round - 2] = taken;
		out[round - 2] = sent;
		driver[round - 2] = alone;
	}
	report(bench, "downlink ring to queue", down);
	report(bench, "queue to transmit burst", out);
	report(bench, "of it allocation and net_null", driver);
	lcore_bench_teardown(&b);
}

int main(int argc, char *argv[])
{
	struct bench bench;

	bench_init(&bench, &argc, argv);
	lcore_bench_eal(argc, argv, 1000);
	run(&bench, 1000);
	run(&bench, 10000);
	run(&bench, 50000);
	bench_finish(&bench);
	return EXIT_SUCCESS;
}
