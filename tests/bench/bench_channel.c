/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bench: what the checks of the channel's endpoints cost. 192-byte records (a 20 ms G.711 frame) in bursts of 32 through an endpoint pair and through a plain
 * rte_ring with 192-byte elements and its zero-copy calls; in one thread, which measures instructions, and between two. Rounds of the two alternate; medians
 * and their ratio are printed, one line each.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_ring.h>
#include <rte_ring_peek_zc.h>

#include "shared/channel.h"

#define PAYLOAD	 160u
#define RECORD	 (sizeof(struct vl_record) + PAYLOAD)
#define BURST	 32u
#define ELEMENTS 1024u /* records of the plain ring; the channel's has 4 slots for each */
#define ROUNDS	 9
#define RECORDS	 (1u << 19) /* per round */

static struct vl_channel plane, worker;
static struct rte_ring *plain;
static uint8_t source[PAYLOAD], sink[PAYLOAD];
static volatile uint32_t sink_sum;

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static uint32_t channel_produce(uint32_t count, uint32_t first)
{
	uint32_t done = 0;

	for (; done < count; done++) {
		struct vl_record *record = vl_ring_reserve(&plane.up[0], VL_RECORD_AUDIO, PAYLOAD);

		if (record == NULL)
			break;
		record->session = first + done;
		memcpy(record->payload, source, PAYLOAD);
	}
	vl_ring_publish(&plane.up[0]);
	return done;
}

static uint32_t channel_consume(uint32_t count)
{
	struct vl_record header;
	const uint8_t *payload;
	uint32_t done = 0;

	while (done < count && vl_ring_next(&worker.up[0], &header, &payload) == 1) {
		memcpy(sink, payload, PAYLOAD);
		sink_sum += header.session + sink[0];
		done++;
	}
	vl_ring_release(&worker.up[0]);
	return done;
}

static uint32_t plain_produce(uint32_t count, uint32_t first)
{
	struct rte_ring_zc_data at;
	uint32_t room = rte_ring_enqueue_zc_burst_elem_start(plain, RECORD, count, &at, NULL);

	for (uint32_t i = 0; i < room; i++) {
		struct vl_record *record =
			(struct vl_record *)((uint8_t *)(i < at.n1 ? at.ptr1 : at.ptr2) + (i < at.n1 ? i : i - at.n1) * RECORD);

		*record = (struct vl_record){.type = VL_RECORD_AUDIO, .slots = 3, .len = PAYLOAD, .session = first + i};
		memcpy(record->payload, source, PAYLOAD);
	}
	if (room > 0)
		rte_ring_enqueue_zc_elem_finish(plain, room);
	return room;
}

static uint32_t plain_consume(uint32_t count)
{
	struct rte_ring_zc_data at;
	uint32_t there = rte_ring_dequeue_zc_burst_elem_start(plain, RECORD, count, &at, NULL);

	for (uint32_t i = 0; i < there; i++) {
		const struct vl_record *record = (const struct vl_record *)((uint8_t *)(i < at.n1 ? at.ptr1 : at.ptr2) +
									    (i < at.n1 ? i : i - at.n1) * RECORD);
		struct vl_record header = *record;

		memcpy(sink, record->payload, PAYLOAD);
		sink_sum += header.session + sink[0];
	}
	if (there > 0)
		rte_ring_dequeue_zc_elem_finish(plain, there);
	return there;
}

struct side {
	uint32_t (*produce)(uint32_t count, uint32_t first);
	uint32_t (*consume)(uint32_t count);
};

static const struct side ours = {channel_produce, channel_consume}, theirs = {plain_produce, plain_consume};

static double one_thread(const struct side *side)
{
	double start = now_ns();

	for (uint32_t done = 0; done < RECORDS; done += BURST)
		if (side->produce(BURST, done) != BURST || side->consume(BURST) != BURST)
			abort();
	return (now_ns() - start) / RECORDS;
}

static void pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	sched_setaffinity(0, sizeof(set), &set); /* without it the numbers are only less steady */
}

static void *consumer(void *argument)
{
	const struct side *side = argument;

	pin(1);
	for (uint32_t done = 0; done < RECORDS;) {
		uint32_t count = side->consume(BURST);

		if (count == 0)
			sched_yield();
		done += count;
	}
	return NULL;
}

static double two_threads(const struct side *side)
{
	pthread_t thread;
	double start = now_ns();

	if (pthread_create(&thread, NULL, consumer, (void *)(uintptr_t)side) != 0)
		abort();
	for (uint32_t done = 0; done < RECORDS;) {
		uint32_t count = side->produce(RECORDS - done < BURST ? RECORDS - done : BURST, done);

		if (count == 0)
			sched_yield();
		done += count;
	}
	pthread_join(thread, NULL);
	return (now_ns() - start) / RECORDS;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void run(const char *name, double (*measure)(const struct side *))
{
	double a[ROUNDS], b[ROUNDS];

	measure(&ours); /* warm up */
	measure(&theirs);
	for (int i = 0; i < ROUNDS; i++) {
		a[i] = measure(&ours);
		b[i] = measure(&theirs);
	}
	qsort(a, ROUNDS, sizeof(a[0]), compare);
	qsort(b, ROUNDS, sizeof(b[0]), compare);
	printf("channel %s: endpoint %.1f ns, rte_ring zero-copy %.1f ns a record of %zu bytes (in and out), ratio %.2f\n", name,
		a[ROUNDS / 2], b[ROUNDS / 2], RECORD, a[ROUNDS / 2] / b[ROUNDS / 2]);
}

int main(void)
{
	int fd = vl_channel_create(&plane, 1, ELEMENTS * 4u);

	plain = aligned_alloc(RTE_CACHE_LINE_SIZE, (size_t)rte_ring_get_memsize_elem(RECORD, ELEMENTS));
	if (fd < 0 || vl_channel_map(&worker, fd) != 0 || plain == NULL ||
		rte_ring_init(plain, "plain", ELEMENTS, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
		fprintf(stderr, "bench_channel: no memory for the rings\n");
		return EXIT_FAILURE;
	}
	pin(0);
	run("in one thread", one_thread);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		run("between two threads", two_threads);
	vl_channel_unmap(&worker);
	vl_channel_unmap(&plane);
	close(fd);
	free(plain);
	return EXIT_SUCCESS;
}
