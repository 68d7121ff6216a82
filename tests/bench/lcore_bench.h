/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packet lcores for benches, usually one: sessions, workers' channels on both sides and a port that swallows what is sent (net_null),.
 */
#pragma once

#include <stdint.h>

#include "dpdk_app/lcore_internal.h"

#define BENCH_SLOTS   16384u /* of a ring: the default of workers.ring_slots */
#define BENCH_WORKERS 16u    /* session i is worker i % BENCH_WORKERS's */

struct lcore_bench {
	struct rte_mempool *pool;
	struct packet_local locals[PORTS_MAX];
	struct lcore_settings settings;
	struct session_table *table;
	struct lcore *lcore; /* the first */
	struct lcore *lcores[LCORES_MAX];
	unsigned int lcore_count;
	struct vl_channel ours[BENCH_WORKERS], theirs[BENCH_WORKERS];
	int socket; /* where the sessions are: to allocate what must be equally near */
	void *heap, *heap_map;
	size_t heap_size;
};

/*
 * Start the EAL once with the program's arguments (default: no hugepages, `megabytes` of memory, one net_null port with id
 * 0). Ends the program on failure.
 */
void lcore_bench_eal(int argc, char *argv[], unsigned int megabytes);

/* The same with these lcores and devices, as EAL options, for the default's one lcore and net_null port. */
void lcore_bench_eal_with(int argc, char *argv[], unsigned int megabytes, const char *options);

/* Build everything for `sessions` calls, each bound, with the workers; nothing on the wheel. Ends the program on failure. */
void lcore_bench_setup(struct lcore_bench *bench, uint32_t sessions, uint32_t mbufs);
/*
 * The same with so many lcores, whose sessions' playout each of them may take: index 0 has the transmit queue, the others are not connected.
 * What each does is the caller's thread's, or one of its own.
 */
void lcore_bench_setup_lcores(struct lcore_bench *bench, uint32_t sessions, uint32_t mbufs, unsigned int lcores);
void lcore_bench_teardown(struct lcore_bench *bench);

/* The flow of session `index`. */
struct flow_key lcore_bench_key(uint32_t index);

/* What begins the playout of session `index`, with the session's own number as SSRC. Ends the program when it has no headers. */
struct lcore_command lcore_bench_playout(uint32_t index);

/* Say what went wrong and end the program when `ok` is false. */
void lcore_bench_require(bool ok, const char *what);
