/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bench: what two packet lcores carry against one, with queues of their own, and with one queue each way, whose owner hands over what it
 * received and sends what the other one built. Phases from memory: both lcores begin at one moment with 1,000 frames received and as many
 * beats due, and the time is until the last of it is in a worker's ring and at the port. What callers, workers and the wheel's clock do
 * is done in between and not timed, so that both processors are the lcores' in a phase.
 *
 * A frame lies in memory, its mbuf in the cache of the lcore that has the receive queue, as a driver leaves it. What is sent is freed by
 * whoever has the transmit queue (net_null). No driver is in it. The ways take turns.
 *
 * usage: bench_handover [--json FILE] [ROUNDS]    (5 rounds; cores 0 and 1)
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_pause.h>

#include "bench.h"
#include "dpdk_app/handover.h"
#include "dpdk_app/headers.h"
#include "lcore_bench.h"

#define LCORES	   2u
#define CALLS	   10000u
#define STEPS	   10u		   /* in which the wheel turns once */
#define IN_PHASE   (CALLS / STEPS) /* fits the rings between lcores, so nothing is dropped whatever stands still */
#define MBUFS	   16383u
#define MEGABYTES  900u
#define PHASES	   60u /* of a round and part, and some before to warm up */
#define WARM_UP	   (2u * STEPS)
#define ROUNDS	   5u
#define ROUNDS_MAX 50u
#define RTP_SIZE   172u
#define SEED	   1u

_Static_assert(IN_PHASE < LCORE_RING_MBUFS, "a phase fits a ring");

enum way { ALONE, QUEUES_EACH, ONE_QUEUE, ALL_OVER, WAYS };
static const char *const way_names[WAYS] = {
	"one lcore", "two lcores, queues each", "two lcores, one queue", "all of it the other's"};

enum part { RECEIVE, SEND, DUPLEX, PARTS };
static const char *const part_names[PARTS] = {"received, port to ring", "sent, queue to port", "both ways"};

/* Cycles a packet, or a packet each way. */
struct samples {
	unsigned int count;
	double taken[ROUNDS_MAX * PHASES]; /* from beginning to end */
	double first[ROUNDS_MAX * PHASES]; /* of the lcore that has the queues, in turns with work */
	double both[ROUNDS_MAX * PHASES];  /* of both lcores */
};

static struct lcore_bench b;
static struct samples samples[WAYS][PARTS];
static enum way way;
static enum part part;
static struct flow_hash_secret secret;
static struct sources *sources;
static uint16_t seqs[CALLS];
static uint8_t handlers[CALLS]; /* the lcore of each call's flow */

/* What belongs to one of the two threads. */
static struct side {
	struct rte_mbuf *received[IN_PHASE];
	unsigned int count;
	uint32_t next_caller;
	uint64_t ended, worked;
} __rte_cache_aligned sides[LCORES];

static uint64_t rtp_end, sent_end;				      /* counters of both lcores when a phase is over */
static _Atomic unsigned int prepared, ready, started, finished, stop; /* phases */

static unsigned int lcores_of(void)
{
	return way == ALONE ? 1 : LCORES;
}

/* The lcore that does a call's beats. */
static unsigned int sender_of(uint32_t call)
{
	return way == ALL_OVER ? 1 : call % lcores_of();
}

static uint64_t sum_of(size_t offset)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < LCORES; i++) {
		const char *counters = (const char *)&b.lcores[i]->counters;

		sum += atomic_load_explicit((const _Atomic uint64_t *)(const void *)(counters + offset), memory_order_relaxed);
	}
	return sum;
}
#define SUM(field) sum_of(offsetof(struct lcore_counters, field))

/* What an lcore has to do, until neither has anything. */
static void work(unsigned int index)
{
	struct lcore *lcore = b.lcores[index];
	struct lcore_private *private = lcore_private(lcore);
	struct side *side = &sides[index];
	unsigned int position = 0, idle = 0, count;
	uint64_t before = rte_rdtsc_precise();

	side->worked = side->ended = 0;
	for (;;) {
		unsigned int done = 0;

		if (private->handover.sources != 0)
			done += lcore_take_handed(lcore);
		for (unsigned int i = 0; i < LCORE_BURSTS_A_TURN && position < side->count; i++) {
			count = RTE_MIN(side->count - position, LCORE_BURST);
			if (private->handover.lcores != 0)
				lcore_hand_over(lcore, side->received + position, count, 0);
			else
				lcore_receive(lcore, side->received + position, count, 0);
			position += count;
			done += count;
		}
		if (private->handover.lcores != 0)
			lcore_hand_over_rest(lcore);
		if (part != RECEIVE)
			done += lcore_beat(lcore);
		if (private->transmit.sources != 0)
			done += lcore_take_sent_over(lcore);
		lcore_flush(lcore);
		uint64_t after = rte_rdtsc_precise();

		if (done > 0) {
			side->worked += after - before;
			side->ended = after;
		} else if (++idle % 512 == 0 && SUM(rtp) == rtp_end && SUM(transmitted) == sent_end) {
			return; /* looks at what the other one writes, so not often */
		}
		before = after;
	}
}

static struct header_template headers_of(uint32_t call)
{
	struct headers_spec spec = {.destination_mac = {2, 0, 0, 0, 0, 1}, .source_mac = {2, 0, 0, 0, 0, 2}};
	struct flow_key key = lcore_bench_key(call);
	struct header_template template;

	spec.local = (struct endpoint){key.remote, key.remote_port};
	spec.remote = (struct endpoint){key.local, key.local_port};
	lcore_bench_require(headers_build(&template, &spec) == 0, "cannot build headers");
	return template;
}

static struct rte_mbuf *frame_of(uint32_t call)
{
	struct header_template template = headers_of(call);
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(b.pool);
	uint32_t ssrc = lcore_bench_key(call).ssrc;
	uint16_t seq = seqs[call]++;
	uint8_t *frame, *rtp;

	lcore_bench_require(mbuf != NULL, "no packet buffer");
	frame = (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)(template.len + RTP_SIZE));
	memcpy(frame, template.bytes, template.len);
	rtp = frame + template.len;
	memset(rtp, 0xd5, RTP_SIZE);
	rtp[0] = 0x80;
	rtp[1] = 0;
	rtp[2] = (uint8_t)(seq >> 8);
	rtp[3] = (uint8_t)seq;
	for (unsigned int i = 0; i < 4; i++)
		rtp[8 + i] = (uint8_t)(ssrc >> (24 - 8 * i));
	headers_finish(&template, frame, RTP_SIZE, seq);
	for (unsigned int offset = 0; offset < mbuf->data_len; offset += RTE_CACHE_LINE_SIZE)
		__builtin_ia32_clflush(frame + offset);
	mbuf->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	return mbuf;
}

/* The frames of this phase that come to the lcore's queue: with queues each those of its flows, as RSS sends them. */
static void fill(unsigned int index)
{
	struct side *side = &sides[index];

	side->count = 0;
	for (unsigned int i = 0; i < IN_PHASE && part != SEND; i++) {
		uint32_t call;

		/* Where all is the other's, its flows are all there are. */
		do {
			call = side->next_caller;
			side->next_caller = call + 1 == CALLS ? 0 : call + 1;
		} while (way == ALL_OVER && handlers[call] == 0);
		if (index == (way == QUEUES_EACH ? handlers[call] : 0u))
			side->received[side->count++] = frame_of(call);
	}
}

/* A frame for each of the lcore's calls that has none, as if just taken from a worker's ring. */
static void speak(unsigned int index)
{
	static const uint8_t frame[PLAYOUT_FRAME_SIZE] = {0x55};

	for (uint32_t i = 0; i < CALLS && part != RECEIVE; i++) {
		struct session_playout *playout = &session_table_at(b.table, i)->playout;

		if (sender_of(i) == index && playout->count == 0)
			lcore_bench_require(playout_push(playout, 0, frame, sizeof(frame), 0) == 0, "no room for a frame");
	}
}

static void wait_for(const _Atomic unsigned int *number, unsigned int at_least)
{
	while (atomic_load_explicit(number, memory_order_acquire) < at_least)
		rte_pause();
}

static void tell(_Atomic unsigned int *number)
{
	atomic_fetch_add_explicit(number, 1, memory_order_release);
}

static int second(void *unused)
{
	(void)unused;
	for (unsigned int phase = 1;; phase++) {
		wait_for(&prepared, phase);
		if (stop)
			return 0;
		fill(1);
		speak(1);
		tell(&ready);
		wait_for(&started, phase);
		work(1);
		tell(&finished);
	}
}

/* The workers, quick to read. */
static void drain(void)
{
	struct vl_record record;
	const uint8_t *payload;

	for (unsigned int i = 0; i < BENCH_WORKERS * LCORES; i++) {
		struct vl_ring *ring = &b.theirs[i / LCORES].up[i % LCORES];

		while (vl_ring_next(ring, &record, &payload) == 1)
			;
		vl_ring_release(ring);
	}
}

static void run_phase(struct samples *to)
{
	unsigned int phase = prepared + 1;
	uint64_t start, end, frames = SUM(frames);

	for (unsigned int i = 0; i < LCORES; i++)
		lcore_private(b.lcores[i])->now += lcore_private(b.lcores[i])->tsc_hz / (50 * STEPS);
	rtp_end = SUM(rtp) + (part != SEND ? IN_PHASE : 0);
	sent_end = SUM(transmitted) + (part != RECEIVE ? IN_PHASE : 0);
	sides[1].worked = sides[1].ended = 0;
	tell(&prepared);
	fill(0);
	speak(0);
	if (way != ALONE)
		wait_for(&ready, phase);
	start = rte_rdtsc_precise();
	tell(&started);
	work(0);
	if (way != ALONE)
		wait_for(&finished, phase);
	lcore_bench_require(SUM(frames) - frames == (part != RECEIVE ? IN_PHASE : 0), "not every call had its beat");
	drain();
	end = sides[0].ended > sides[1].ended ? sides[0].ended : sides[1].ended;
	if (to == NULL)
		return;
	to->taken[to->count] = (double)(end - start) / IN_PHASE;
	to->first[to->count] = (double)sides[0].worked / IN_PHASE;
	to->both[to->count++] = (double)(sides[0].worked + sides[1].worked) / IN_PHASE;
}

/* Every call on the wheel of its lcore. The wheels' time began long ago, so that a step is due when it is asked for, half a slot early. */
static void start_calls(void)
{
	uint64_t now = rte_rdtsc() - 600 * lcore_private(b.lcores[0])->tsc_hz;

	for (unsigned int i = 0; i < LCORES; i++) {
		struct lcore_private *private = lcore_private(b.lcores[i]);

		wheel_init(private->wheel, CALLS, private->tsc_hz, now);
		private->now = now - private->period_tsc / WHEEL_SLOTS / 2;
	}
	for (uint32_t i = 0; i < CALLS; i++) {
		struct lcore_command start = lcore_bench_playout(i);
		struct lcore *lcore = b.lcores[sender_of(i)];

		session_table_flow(b.table, i)->route.lcore = (uint8_t)lcore->index;
		lcore_bench_require(lcore_command(lcore, &start) == 0, "no room for a command");
		lcore_take_commands(lcore);
	}
}

static void set_up(void)
{
	lcore_bench_setup_lcores(&b, CALLS, MBUFS, LCORES);
	atomic_store_explicit(&b.settings.sources, sources, memory_order_release);
	memset(seqs, 0, sizeof(seqs));
	memset(sides, 0, sizeof(sides));
	prepared = ready = started = finished = stop = 0;
	if (way == QUEUES_EACH)
		lcore_bench_require(lcore_set_tx_queue(b.lcores[1], 0, 1) == 0, "no transmit queue");
	if (way == ONE_QUEUE || way == ALL_OVER)
		lcore_bench_require(lcore_add_rx_queue(b.lcores[0], 0, 0) == 0 && lcore_connect(b.lcores, LCORES, SEED) == 0 &&
					    lcore_connect_transmit(b.lcores, LCORES, 0) == 0,
			"cannot connect the lcores");
	if (way != ALONE)
		lcore_bench_require(rte_eal_remote_launch(second, NULL, 1) == 0, "cannot launch the second lcore");
}

static void tear_down(void)
{
	stop = 1;
	tell(&prepared);
	rte_eal_mp_wait_lcore();
	for (unsigned int i = 0; i < DROP_COUNT; i++)
		lcore_bench_require(SUM(drops[i]) == 0, "a packet was dropped");
	lcore_bench_require(SUM(delivered) == SUM(rtp), "a packet was not delivered");
	lcore_bench_teardown(&b);
}

static void run_way(void)
{
	set_up();
	for (part = RECEIVE; part < PARTS; part++) {
		start_calls();
		for (unsigned int i = 0; i < WARM_UP + PHASES; i++)
			run_phase(i < WARM_UP ? NULL : &samples[way][part]);
	}
	tear_down();
}

static void report(struct bench *bench, const char *what, double values[], unsigned int count)
{
	char name[96];

	snprintf(name, sizeof(name), "%s, %s%s", part_names[part], way_names[way], what);
	bench_report_samples(bench, name, values, count, part == DUPLEX ? "cycles/pair" : "cycles/packet");
}

static void report_growth(struct bench *bench, enum way of)
{
	struct samples *one = &samples[ALONE][part], *more = &samples[of][part];
	char name[96];

	/* Both are sorted. */
	snprintf(name, sizeof(name), "%s, %s: of one lcore, median", part_names[part], way_names[of]);
	bench_report(bench, name, one->taken[one->count / 2] / more->taken[more->count / 2], "times");
	snprintf(name, sizeof(name), "%s, %s: of one lcore, tenth percentile", part_names[part], way_names[of]);
	bench_report(bench, name, one->taken[one->count / 10] / more->taken[more->count / 10], "times");
}

static void report_part(struct bench *bench)
{
	for (way = ALONE; way < WAYS; way++) {
		struct samples *of = &samples[way][part];

		report(bench, "", of->taken, of->count);
		if (way != ALONE)
			report(bench, ", both lcores' work", of->both, of->count);
		if (way == ONE_QUEUE || way == ALL_OVER)
			report(bench, ", the owner's work", of->first, of->count);
	}
	report_growth(bench, QUEUES_EACH);
	report_growth(bench, ONE_QUEUE);
}

static void start(char *program)
{
	static struct ip_prefix prefixes[64];
	struct sources_trunk trunk = {prefixes, RTE_DIM(prefixes), UINT32_MAX / 4};
	char *arguments[] = {program, NULL};

	lcore_bench_eal_with(1, arguments, MEGABYTES, "-l 0-1 --vdev=net_null0");
	lcore_bench_require(rte_lcore_count() == LCORES, "needs two cores");
	for (uint32_t i = 0; i < RTE_DIM(prefixes); i++)
		prefixes[i] = (struct ip_prefix){lcore_bench_key(i).remote, 128};
	sources = sources_new(&trunk, 1, rte_get_tsc_hz());
	lcore_bench_require(sources != NULL, "no memory for sources");
	flow_hash_init(&secret, SEED);
	for (uint32_t i = 0; i < CALLS; i++) {
		struct header_template template = headers_of(i);

		handlers[i] = (uint8_t)handover_lcore(&secret, template.bytes, template.len, LCORES);
	}
}

int main(int argc, char *argv[])
{
	struct bench bench;
	int rounds;

	bench_init(&bench, &argc, argv);
	rounds = argc > 1 ? atoi(argv[1]) : (int)ROUNDS;
	if (rounds < 1 || rounds > (int)ROUNDS_MAX) {
		fprintf(stderr, "usage: bench_handover [--json FILE] [ROUNDS (1-%u)]\n", ROUNDS_MAX);
		return EXIT_FAILURE;
	}
	start(argv[0]);
	for (int round = 0; round < rounds; round++) {
		for (way = ALONE; way < WAYS; way++)
			run_way();
	}
	for (part = RECEIVE; part < PARTS; part++)
		report_part(&bench);
	bench_finish(&bench);
	return EXIT_SUCCESS;
}
