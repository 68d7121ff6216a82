/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lcores that send by the queue of another one: each call is heard whole whichever lcore does its beats, turn by turn and in threads of
 * their own; what does not fit is counted and freed; where each lcore has a queue nothing changes.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>

#include "dpdk_app/headers.h"
#include "dpdk_app/lcore_internal.h"
#include "unit.h"

#define LCORES	   3u
#define CALLS	   512u
#define FEW	   40u /* of them, with threads: an lcore may lose its processor for some time */
#define MBUFS	   16383u
#define SLOTS	   4096u
#define QUEUES	   2u
#define SMALL	   64u	 /* frames that the port takes on its second queue */
#define SILENCE	   0xffu /* of G.711 */
#define VOICE	   10u	 /* frames said in each call */
#define HEADERS	   42u	 /* Ethernet, IPv4, UDP */
#define GENERATION 100u
#define LIMIT_S	   20u

static struct rte_ring *to_port, *from_port[QUEUES];
static uint16_t port_id;
static struct rte_mempool *pool;
static struct packet_local locals[PORTS_MAX];
static struct lcore_settings settings;
static struct session_table *table;
static struct lcore *lcores[LCORES];
static struct vl_channel ours, theirs;

/* What was heard of a call. */
static struct heard {
	unsigned int packets, voice;
	uint16_t seq;
} heard[CALLS];

/* For what must hold before the first test. */
static void require(bool condition)
{
	if (!condition) {
		fprintf(stderr, "cannot start: %s\n", rte_strerror(rte_errno));
		exit(EXIT_FAILURE);
	}
}

static void start_eal(void)
{
	/* The EAL wants to write to its arguments. */
	char words[][20] = {"test_lcore_transmit", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-l", "0", "-m",
		"256", "--log-level", "error"};
	char *arguments[sizeof(words) / sizeof(words[0]) + 1] = {NULL};
	struct rte_eth_conf configuration = {0};
	int port;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		arguments[i] = words[i];
	require(rte_eal_init(sizeof(words) / sizeof(words[0]), arguments) >= 0);
	pool = rte_pktmbuf_pool_create("test", MBUFS, 64, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	to_port = rte_ring_create("to_port", 64, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
	from_port[0] = rte_ring_create("from_port", 8192, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
	from_port[1] = rte_ring_create("from_port_small", SMALL, 0, RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);
	require(pool != NULL && to_port != NULL && from_port[0] != NULL && from_port[1] != NULL);
	port = rte_eth_from_rings("test", &to_port, 1, from_port, QUEUES, 0);
	require(port >= 0);
	port_id = (uint16_t)port;
	require(rte_eth_dev_configure(port_id, 1, QUEUES, &configuration) == 0);
	require(rte_eth_rx_queue_setup(port_id, 0, 512, 0, NULL, pool) == 0);
	for (uint16_t queue = 0; queue < QUEUES; queue++)
		require(rte_eth_tx_queue_setup(port_id, queue, 512, 0, NULL) == 0);
	require(rte_eth_dev_start(port_id) == 0);
}

/* Lcores without queues and without calls. */
static void setup(void)
{
	struct lcore_command attach = {.type = LCORE_WORKER_ATTACH, .worker = &ours};
	int fd = vl_channel_create(&ours, LCORES, SLOTS);

	settings = (struct lcore_settings){.learn_per_second = 1000, .learn_total_per_second = 10000};
	memset(heard, 0, sizeof(heard));
	table = session_table_new(CALLS, 0);
	ck_assert_ptr_nonnull(table);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(vl_channel_map(&theirs, fd), 0);
	close(fd);
	for (unsigned int i = 0; i < LCORES; i++) {
		lcores[i] = lcore_new(i, 0, table, pool, locals, &settings);
		ck_assert_ptr_nonnull(lcores[i]);
		rte_rcu_qsbr_thread_register(session_table_qsbr(table), i);
		ck_assert_int_eq(lcore_command(lcores[i], &attach), 0);
	}
}

static void teardown(void)
{
	void *mbuf;

	for (unsigned int i = 0; i < LCORES; i++) {
		rte_rcu_qsbr_thread_offline(session_table_qsbr(table), i);
		lcore_free(lcores[i]);
	}
	for (unsigned int queue = 0; queue < QUEUES; queue++) {
		while (rte_ring_dequeue(from_port[queue], &mbuf) == 0)
			rte_pktmbuf_free(mbuf);
	}
	/* Whatever happened, no packet buffer is lost. */
	ck_assert_uint_eq(rte_mempool_avail_count(pool), MBUFS);
	session_table_free(table);
	vl_channel_unmap(&theirs);
	vl_channel_unmap(&ours);
}

/* One of the lcores has the port's one queue. */
static void one_queue(unsigned int owner, uint16_t queue)
{
	ck_assert_int_eq(lcore_set_tx_queue(lcores[owner], port_id, queue), 0);
	ck_assert_int_eq(lcore_connect_transmit(lcores, LCORES, port_id), 0);
}

static void begin_call(uint32_t call, uint8_t lcore, enum playout_idle idle)
{
	struct session_route *route = &session_table_flow(table, call)->route;
	struct lcore_command start = {.type = LCORE_PLAYOUT_START,
		.session = {.index = call, .generation = GENERATION + call},
		.start = {.ssrc = call, .idle = (uint8_t)idle, .target = {.port = port_id, .ready = true}}};
	struct headers_spec spec = {.local.port = 5004, .remote.port = 20000};

	ip_address_parse("10.77.0.1", &spec.local.address);
	ip_address_parse("192.168.50.50", &spec.remote.address);
	ck_assert_int_eq(headers_build(&start.start.target.headers, &spec), 0);
	ck_assert_uint_eq(start.start.target.headers.len, HEADERS);
	route_open(route, GENERATION + call, 0, 101, lcore);
	route_give(route, 0);
	ck_assert_int_eq(lcore_command(lcores[lcore], &start), 0);
}

/* The worker: VOICE frames that name the call and count. */
static void speak(uint32_t call, uint8_t lcore)
{
	struct vl_ring *ring = &theirs.down[lcore];

	for (uint8_t number = 0; number < VOICE; number++) {
		struct vl_record *record = vl_ring_reserve(ring, VL_RECORD_FRAME, PLAYOUT_FRAME_SIZE);

		ck_assert_ptr_nonnull(record);
		record->session = call;
		record->generation = GENERATION + call;
		memset(record->payload, number, PLAYOUT_FRAME_SIZE);
		memcpy(record->payload, &call, sizeof(call));
	}
	vl_ring_publish(ring);
}

/* What the port was given on one queue: right call, whole, in order, nothing skipped. Returns how many packets. */
static unsigned int hear(unsigned int queue)
{
	unsigned int count = 0;
	void *next;

	for (; rte_ring_dequeue(from_port[queue], &next) == 0; count++) {
		struct rte_mbuf *mbuf = next;
		const uint8_t *rtp = rte_pktmbuf_mtod(mbuf, const uint8_t *) + HEADERS;
		uint32_t call = (uint32_t)rtp[10] << 8 | rtp[11], spoken;
		uint16_t seq = (uint16_t)(rtp[2] << 8 | rtp[3]);

		ck_assert_uint_eq(rte_pktmbuf_data_len(mbuf), HEADERS + 12 + PLAYOUT_FRAME_SIZE);
		ck_assert_uint_lt(call, CALLS);
		ck_assert_uint_eq(seq, heard[call].packets++);
		if (rtp[12 + PLAYOUT_FRAME_SIZE - 1] != SILENCE) {
			memcpy(&spoken, rtp + 12, sizeof(spoken));
			ck_assert_uint_eq(spoken, call);
			ck_assert_uint_eq(rtp[12 + PLAYOUT_FRAME_SIZE - 1], heard[call].voice++);
		}
		rte_pktmbuf_free(mbuf);
	}
	return count;
}

static uint64_t count_of(const _Atomic uint64_t *counter)
{
	return atomic_load(counter);
}

static uint64_t dropped(unsigned int lcore)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < DROP_COUNT; i++)
		sum += count_of(&lcores[lcore]->counters.drops[i]);
	return sum;
}

/* Turns of some lcores until the last of them has built so many packets, and one more. A machine that stands still makes it take longer. */
static void turns(unsigned int first, unsigned int last, uint64_t frames)
{
	uint64_t end = rte_rdtsc() + LIMIT_S * lcore_private(lcores[0])->tsc_hz;
	bool enough = false, once_more = true;

	while (!enough || once_more) {
		once_more = !enough;
		for (unsigned int i = first; i <= last; i++)
			lcore_turn(lcores[i]);
		enough = count_of(&lcores[last]->counters.frames) >= frames;
		ck_assert_msg(enough || rte_rdtsc() < end, "%llu packets in %u s",
			(unsigned long long)count_of(&lcores[last]->counters.frames), LIMIT_S);
	}
}

START_TEST(test_every_call_is_heard_whole)
{
	const struct lcore_private *owner = lcore_private(lcores[0]), *other = lcore_private(lcores[1]);
	unsigned int packets;

	one_queue(0, 0);
	for (uint32_t call = 0; call < 48; call++) {
		begin_call(call, call % LCORES, PLAYOUT_IDLE_NONE);
		speak(call, call % LCORES);
	}
	for (unsigned int last = 0; last < LCORES; last++)
		turns(0, last, 48 / LCORES * VOICE);
	packets = hear(0);
	for (uint32_t call = 0; call < 48; call++)
		ck_assert_uint_eq(heard[call].voice, VOICE);
	ck_assert_uint_eq(packets, 48 * VOICE);
	ck_assert_uint_eq(count_of(&lcores[0]->counters.transmitted), packets);
	for (unsigned int i = 0; i < LCORES; i++) {
		ck_assert_uint_eq(count_of(&lcores[i]->counters.frames), packets / LCORES);
		ck_assert_uint_eq(count_of(&lcores[i]->counters.sent_over), i == 0 ? 0 : packets / LCORES);
		ck_assert_uint_eq(dropped(i), 0);
	}
	/* It sends for others, so it sleeps as one that has calls, until they have been quiet for a while. */
	ck_assert(lcore_sends_for_others(owner, owner->transmit.taken_tsc));
	ck_assert(!lcore_sends_for_others(owner, owner->transmit.taken_tsc + owner->tsc_hz));
	ck_assert(!lcore_sends_for_others(other, rte_rdtsc()));
}
END_TEST

/* The lcores with queues in turn send for those without. */
START_TEST(test_owners_in_turn)
{
	struct lcore *five[5] = {lcores[0], lcores[1], lcores[2]};

	for (unsigned int i = 3; i < 5; i++)
		five[i] = lcore_new(i, 0, table, pool, locals, &settings);
	lcore_set_tx_queue(five[0], port_id, 0);
	lcore_set_tx_queue(five[1], port_id, 1);
	ck_assert_int_eq(lcore_connect_transmit(five, 5, port_id), 0);
	ck_assert_uint_eq(lcore_private(five[0])->transmit.sources, 2);
	ck_assert_uint_eq(lcore_private(five[1])->transmit.sources, 1);
	for (unsigned int i = 0; i < 5; i++)
		ck_assert_int_eq(lcore_private(five[i])->tx[port_id].over != NULL, i >= 2);
	lcore_free(five[3]);
	lcore_free(five[4]);
}
END_TEST

START_TEST(test_queue_each)
{
	lcore_set_tx_queue(lcores[0], port_id, 0);
	lcore_set_tx_queue(lcores[1], port_id, 1);
	ck_assert_int_eq(lcore_connect_transmit(lcores, 2, port_id), 0);
	for (uint32_t call = 0; call < 2; call++) {
		begin_call(call, (uint8_t)call, PLAYOUT_IDLE_NONE);
		speak(call, (uint8_t)call);
	}
	for (unsigned int last = 0; last < 2; last++)
		turns(0, last, VOICE);
	for (unsigned int i = 0; i < 2; i++) {
		ck_assert_uint_eq(lcore_private(lcores[i])->transmit.sources, 0);
		ck_assert_uint_eq(count_of(&lcores[i]->counters.sent_over), 0);
		ck_assert_uint_eq(count_of(&lcores[i]->counters.transmitted), VOICE);
		ck_assert_uint_eq(hear(i), VOICE);
	}
}
END_TEST

START_TEST(test_connect_refused)
{
	ck_assert_int_eq(lcore_connect_transmit(lcores, LCORES, port_id), -ENODEV);
	ck_assert_int_eq(lcore_connect_transmit(lcores, LCORES, PORTS_MAX), -EINVAL);
}
END_TEST

/* Who has the queue stands still: the ring takes what it holds, the rest is dropped and counted, and later it is sent, so much a turn. */
START_TEST(test_full_ring)
{
	uint64_t built;

	one_queue(0, 0);
	for (uint32_t call = 0; call < CALLS; call++)
		begin_call(call, 1, PLAYOUT_IDLE_SILENCE);
	turns(1, 1, 3 * CALLS);
	built = count_of(&lcores[1]->counters.frames);
	ck_assert_uint_eq(count_of(&lcores[1]->counters.sent_over), LCORE_RING_MBUFS - 1);
	ck_assert_uint_eq(count_of(&lcores[1]->counters.drops[DROP_SEND_OVER_FULL]), built - (LCORE_RING_MBUFS - 1));
	ck_assert_uint_eq(dropped(1), built - (LCORE_RING_MBUFS - 1));
	lcore_turn(lcores[0]);
	ck_assert_uint_eq(count_of(&lcores[0]->counters.transmitted), LCORE_BURSTS_A_TURN * LCORE_BURST);
	for (unsigned int i = 0; i < 4; i++)
		lcore_turn(lcores[0]);
	ck_assert_uint_eq(hear(0), LCORE_RING_MBUFS - 1);
	ck_assert_uint_eq(dropped(0), 0);
	/* And what is left in the ring at the end goes with it. */
	turns(1, 1, built + CALLS);
	ck_assert_uint_ge(rte_ring_count(lcore_private(lcores[0])->transmit.from[0].ring), CALLS);
}
END_TEST

/* What the port does not take is the owner's drop. */
START_TEST(test_full_port)
{
	uint64_t built;

	one_queue(0, 1);
	for (uint32_t call = 0; call < CALLS; call++)
		begin_call(call, 2, PLAYOUT_IDLE_SILENCE);
	turns(0, 2, CALLS);
	built = count_of(&lcores[2]->counters.frames);
	while (rte_ring_count(lcore_private(lcores[2])->tx[port_id].over) > 0)
		lcore_turn(lcores[0]);
	ck_assert_uint_eq(count_of(&lcores[2]->counters.sent_over), built);
	ck_assert_uint_eq(count_of(&lcores[0]->counters.transmitted), SMALL);
	ck_assert_uint_eq(count_of(&lcores[0]->counters.drops[DROP_TX_FULL]), built - SMALL);
	ck_assert_uint_eq(dropped(0) + dropped(2), built - SMALL);
}
END_TEST

static void *run(void *lcore)
{
	lcore_run(lcore);
	return NULL;
}

/* Each in a thread of its own, with the sleep ladder: what was built was sent or lies in a ring, each call's in order. */
START_TEST(test_threads)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	pthread_t threads[LCORES];
	uint64_t built = 0, sent = 0, left = 0;

	settings.sleep = true;
	one_queue(0, 0);
	/* The owner has no calls of its own. */
	for (uint32_t call = 0; call < FEW; call++) {
		begin_call(call, (uint8_t)(1 + call % 2), PLAYOUT_IDLE_SILENCE);
		speak(call, (uint8_t)(1 + call % 2));
	}
	for (unsigned int i = 0; i < LCORES; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, run, lcores[i]), 0);
	for (unsigned int i = 0; i < LIMIT_S * 100 && count_of(&lcores[0]->counters.transmitted) < FEW * 2 * VOICE; i++)
		nanosleep(&pause, NULL);
	atomic_store(&settings.stop, true);
	for (unsigned int i = 0; i < LCORES; i++)
		pthread_join(threads[i], NULL);
	sent = hear(0);
	for (unsigned int i = 0; i < lcore_private(lcores[0])->transmit.sources; i++)
		left += rte_ring_count(lcore_private(lcores[0])->transmit.from[i].ring);
	for (unsigned int i = 0; i < LCORES; i++)
		built += count_of(&lcores[i]->counters.frames);
	for (uint32_t call = 0; call < FEW; call++)
		ck_assert_uint_eq(heard[call].voice, VOICE);
	ck_assert_uint_ge(sent, FEW * 2 * VOICE);
	ck_assert_uint_eq(built, sent + left);
	ck_assert_uint_eq(dropped(0) + dropped(1) + dropped(2), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lcore_transmit");

	start_eal();
	unit_add_fixture(suite, "transmit", setup, teardown, test_every_call_is_heard_whole, test_owners_in_turn, test_queue_each,
		test_connect_refused, test_full_ring, test_full_port, test_threads);
	return unit_run(suite);
}
