/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet lcore on a net_ring port, turn by turn: packets in become records of the right worker and of nobody else, records down become
 * RTP out, and records a worker has no right to are refused.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>

#include "dpdk_app/headers.h"
#include "dpdk_app/lcore_internal.h"
#include "shared/channel.h"
#include "unit.h"

#define SESSIONS 64u
#define MBUFS	 8191u
#define SLOTS	 1024u

static struct rte_ring *to_port, *from_port;
static uint16_t port_id;
static struct rte_mempool *pool;
static struct packet_local locals[PORTS_MAX];
static struct lcore_settings settings;
static struct session_table *table;
static struct lcore *lcore;
static struct vl_channel ours[2], theirs[2]; /* two workers */

/* For what must hold before the first test. */
static void require(bool condition)
{
	if (!condition) {
		fprintf(stderr, "cannot start: %s\n", rte_strerror(rte_errno));
		exit(EXIT_FAILURE);
	}
}

/* Once: the EAL and a port whose other side are two rings. */
static void start_eal(void)
{
	/* The EAL wants to write to its arguments. */
	char words[][16] = {"test_lcore", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-l", "0", "-m", "128",
		"--log-level", "error"};
	char *arguments[sizeof(words) / sizeof(words[0]) + 1] = {NULL};
	struct rte_eth_conf configuration = {0};
	int port;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		arguments[i] = words[i];
	require(rte_eal_init(sizeof(words) / sizeof(words[0]), arguments) >= 0);
	pool = rte_pktmbuf_pool_create("test", MBUFS, 64, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	require(pool != NULL);
	to_port = rte_ring_create("to_port", 4096, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
	from_port = rte_ring_create("from_port", 4096, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
	port = rte_eth_from_rings("test", &to_port, 1, &from_port, 1, 0);
	require(port >= 0);
	port_id = (uint16_t)port;
	require(rte_eth_dev_configure(port_id, 1, 1, &configuration) == 0);
	require(rte_eth_rx_queue_setup(port_id, 0, 512, 0, NULL, pool) == 0);
	require(rte_eth_tx_queue_setup(port_id, 0, 512, 0, NULL) == 0);
	require(rte_eth_dev_start(port_id) == 0);
	struct rte_ether_addr mac;

	require(rte_eth_macaddr_get(port_id, &mac) == 0);
	memcpy(locals[port_id].mac, mac.addr_bytes, 6);
	ip_address_parse("10.77.0.1", &locals[port_id].addresses[0]);
	locals[port_id].address_count = 1;
	locals[port_id].rtp_port = 5004;
}

static int command(uint8_t type, uint8_t worker)
{
	struct lcore_command command = {.type = type, .worker_slot = worker, .worker = &ours[worker]};

	return lcore_command(lcore, &command);
}

static void setup(void)
{
	memset(&settings, 0, sizeof(settings));
	settings.learn_per_second = 1000;
	settings.learn_total_per_second = 10000;
	table = session_table_new(SESSIONS, 0);
	ck_assert_ptr_nonnull(table);
	lcore = lcore_new(0, 0, table, pool, locals, &settings);
	ck_assert_ptr_nonnull(lcore);
	ck_assert_int_eq(lcore_add_rx_queue(lcore, port_id, 0), 0);
	ck_assert_int_eq(lcore_set_tx_queue(lcore, port_id, 0), 0);
	rte_rcu_qsbr_thread_register(session_table_qsbr(table), 0);
	rte_rcu_qsbr_thread_online(session_table_qsbr(table), 0);
	for (unsigned int i = 0; i < 2; i++) {
		int fd = vl_channel_create(&ours[i], 1, SLOTS);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(vl_channel_map(&theirs[i], fd), 0);
		close(fd);
		ck_assert_int_eq(command(LCORE_WORKER_ATTACH, (uint8_t)i), 0);
	}
	lcore_turn(lcore);
}

static void teardown(void)
{
	void *mbuf;

	while (rte_ring_dequeue(from_port, &mbuf) == 0)
		rte_pktmbuf_free(mbuf);
	while (rte_ring_dequeue(to_port, &mbuf) == 0)
		rte_pktmbuf_free(mbuf);
	rte_rcu_qsbr_thread_offline(session_table_qsbr(table), 0);
	lcore_free(lcore);
	/* Whatever happened, no packet buffer is lost. */
	ck_assert_uint_eq(rte_mempool_avail_count(pool), MBUFS);
	session_table_free(table);
	for (unsigned int i = 0; i < 2; i++) {
		vl_channel_unmap(&theirs[i]);
		vl_channel_unmap(&ours[i]);
	}
}

static uint64_t dropped(enum drop_reason reason)
{
	return lcore->counters.drops[reason];
}

static uint64_t dropped_all(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < DROP_COUNT; i++)
		sum += lcore->counters.drops[i];
	return sum;
}

static struct flow_key key_of(uint16_t remote_port, uint32_t ssrc)
{
	struct flow_key key = {.local_port = 5004, .remote_port = remote_port, .ssrc = ssrc};

	ip_address_parse("10.77.0.1", &key.local);
	ip_address_parse("192.168.50.50", &key.remote);
	return key;
}

/* Open a session as the control thread does, bound to that flow. */
static struct session_ref open_session(uint32_t index, uint32_t generation, uint8_t worker, uint16_t remote_port, uint32_t ssrc)
{
	struct session_route *route = &session_table_flow(table, index)->route;
	struct session_ref ref = {.index = index, .generation = generation};
	struct flow_key key = key_of(remote_port, ssrc);

	route->worker = worker;
	route->held = 0;
	route->payload_type = 0;
	route->event_payload_type = 101;
	route->lcore = 0;
	atomic_store_explicit(&route->generation, generation, memory_order_release);
	ck_assert_int_eq(session_table_insert(table, &key, ref), 0);
	return ref;
}

/* A frame from the caller's side. */
static struct rte_mbuf *frame_of(uint16_t remote_port, const uint8_t *payload, uint16_t len)
{
	struct headers_spec spec = {.source_mac = {2, 0, 0, 0, 0, 9}};
	struct header_template template;
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(pool);

	memcpy(spec.destination_mac, locals[port_id].mac, 6);
	ip_address_parse("192.168.50.50", &spec.local.address);
	spec.local.port = remote_port;
	ip_address_parse("10.77.0.1", &spec.remote.address);
	spec.remote.port = 5004;
	ck_assert_int_eq(headers_build(&template, &spec), 0);
	uint8_t *bytes = (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)(template.len + len));

	memcpy(bytes, template.bytes, template.len);
	memcpy(bytes + template.len, payload, len);
	headers_finish(&template, bytes, len, 1);
	return mbuf;
}

static struct rte_mbuf *rtp_of(uint16_t remote_port, uint32_t ssrc, uint16_t seq, uint8_t payload_type, uint8_t value)
{
	uint8_t payload[172] = {0x80, payload_type, (uint8_t)(seq >> 8), (uint8_t)seq, 0, 0, (uint8_t)(seq * 160 >> 8),
		(uint8_t)(seq * 160), (uint8_t)(ssrc >> 24), (uint8_t)(ssrc >> 16), (uint8_t)(ssrc >> 8), (uint8_t)ssrc};

	memset(payload + 12, value, 160);
	return frame_of(remote_port, payload, sizeof(payload));
}

static void receive(struct rte_mbuf *mbuf)
{
	ck_assert_int_eq(rte_ring_enqueue(to_port, mbuf), 0);
}

static void rtp(uint16_t remote_port, uint32_t ssrc, uint16_t seq, uint8_t payload_type, uint8_t value)
{
	receive(rtp_of(remote_port, ssrc, seq, payload_type, value));
}

/* Records waiting for a worker; each is handed to `look`. */
static unsigned int records(unsigned int worker, struct vl_record *last, uint8_t *first_byte)
{
	struct vl_ring *ring = &theirs[worker].up[0];
	const uint8_t *payload;
	struct vl_record record;
	unsigned int count = 0;
	int ret;

	while ((ret = vl_ring_next(ring, &record, &payload)) == 1) {
		count++;
		if (last != NULL)
			*last = record;
		if (first_byte != NULL && record.len > 0)
			*first_byte = payload[0];
	}
	ck_assert_int_eq(ret, 0);
	vl_ring_release(ring);
	return count;
}

START_TEST(test_deliver)
{
	struct vl_record record;
	uint8_t value = 0;

	open_session(3, 77, 0, 18920, 1234567);
	rtp(18920, 1234567, 500, 0x80, 42);
	ck_assert(lcore_turn(lcore));
	ck_assert_uint_eq(records(0, &record, &value), 1);
	ck_assert_uint_eq(record.type, VL_RECORD_AUDIO);
	ck_assert_uint_eq(record.session, 3);
	ck_assert_uint_eq(record.generation, 77);
	ck_assert_uint_eq(record.ssrc, 1234567);
	ck_assert_uint_eq(record.seq, 500);
	ck_assert_uint_eq(record.timestamp, (uint16_t)(500 * 160));
	ck_assert_uint_eq(record.payload_type, 0);
	ck_assert_uint_eq(record.flags, VL_RECORD_F_MARKER);
	ck_assert_uint_eq(record.len, 160);
	ck_assert_uint_gt(record.tsc, 0);
	ck_assert_uint_eq(value, 42);
	ck_assert_uint_eq(records(1, NULL, NULL), 0);
	ck_assert_uint_eq(session_table_flow(table, 3)->receive.packets, 1);
	ck_assert_uint_eq(lcore->counters.delivered, 1);
	ck_assert_uint_eq(lcore->counters.received, 1);
	ck_assert_uint_eq(dropped_all(), 0);
	/* Comfort noise and telephone-event are the call's too. */
	rtp(18920, 1234567, 501, 13, 1);
	rtp(18920, 1234567, 502, 101, 1);
	lcore_turn(lcore);
	ck_assert_uint_eq(records(0, NULL, NULL), 2);
}
END_TEST

/* Sixteen calls from one address, the same SSRC in two of them: each worker gets its own calls' bytes and no other's. */
START_TEST(test_no_crossing)
{
	unsigned int count[2] = {0};

	for (uint32_t i = 0; i < 16; i++)
		open_session(i, 100 + i, i % 2, (uint16_t)(20000 + i), i / 2);
	for (uint16_t seq = 0; seq < 50; seq++) {
		for (uint32_t i = 0; i < 16; i++)
			rtp((uint16_t)(20000 + i), i / 2, seq, 0, (uint8_t)i);
		while (lcore_turn(lcore))
			;
		for (unsigned int worker = 0; worker < 2; worker++) {
			const uint8_t *payload;
			struct vl_record record;

			while (vl_ring_next(&theirs[worker].up[0], &record, &payload) == 1) {
				ck_assert_uint_eq(record.session % 2, worker);
				ck_assert_uint_eq(record.generation, 100 + record.session);
				for (unsigned int byte = 0; byte < record.len; byte++)
					ck_assert_uint_eq(payload[byte], record.session);
				count[worker]++;
			}
			vl_ring_release(&theirs[worker].up[0]);
		}
	}
	ck_assert_uint_eq(count[0], 8 * 50);
	ck_assert_uint_eq(count[1], 8 * 50);
	ck_assert_uint_eq(dropped_all(), 0);
}
END_TEST

/* Right SSRC from another port, right port with another SSRC: nobody gets it here; the control thread is asked. */
START_TEST(test_unknown_goes_to_control)
{
	void *mbuf;

	open_session(3, 77, 0, 18920, 1234567);
	rtp(18921, 1234567, 1, 0, 1);
	rtp(18920, 1234568, 1, 0, 1);
	lcore_turn(lcore);
	ck_assert_uint_eq(records(0, NULL, NULL) + records(1, NULL, NULL), 0);
	ck_assert_uint_eq(rte_ring_count(lcore->to_control), 2);
	while (rte_ring_dequeue(lcore->to_control, &mbuf) == 0)
		rte_pktmbuf_free(mbuf);
}
END_TEST

START_TEST(test_learn_rate)
{
	unsigned int waiting;

	for (uint32_t i = 0; i < 2000; i++) {
		rtp((uint16_t)(1024 + i), i, 1, 0, 1);
		if (i % 500 == 499)
			while (lcore_turn(lcore))
				;
	}
	waiting = rte_ring_count(lcore->to_control);
	/* A burst of a quarter of a second of the address's quarter of the total, and a few more for the time this took. */
	ck_assert_uint_ge(waiting, 620);
	ck_assert_uint_le(waiting, 1500);
	/* A machine that takes long lets more pass, up to what the ring to the control thread holds. */
	ck_assert_uint_eq(dropped(DROP_LEARN_RATE) + dropped(DROP_LEARN_FULL), 2000 - waiting);
}
END_TEST

/* An ARP answer of `sender` with link address `mac`. */
static void arp(uint8_t mac, uint8_t sender)
{
	const uint8_t frame[60] = {2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, mac, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, mac, 192,
		168, 50, sender, 2, 0, 0, 0, 0, 0, 10, 77, 0, 1};
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(pool);
	uint8_t *bytes = (uint8_t *)rte_pktmbuf_append(mbuf, sizeof(frame));

	memcpy(bytes, frame, sizeof(frame));
	memcpy(bytes, locals[port_id].mac, 6);
	receive(mbuf);
}

/* A flood of claims to be the caller's address does not keep the caller's own answer out. */
START_TEST(test_arp_flood)
{
	unsigned int waiting;

	for (unsigned int i = 0; i < 500; i++)
		arp(0x66, 50);
	while (lcore_turn(lcore))
		;
	waiting = rte_ring_count(lcore->to_control);
	ck_assert_uint_lt(waiting, 100);
	ck_assert_uint_eq(dropped(DROP_DISCOVERY_RATE), 500 - waiting);
	arp(0x02, 50);
	lcore_turn(lcore);
	ck_assert_uint_eq(rte_ring_count(lcore->to_control), waiting + 1);
}
END_TEST

/* Strangers and what a trunk sends too much of end before the table: no flow is looked up, the control thread is not asked. */
START_TEST(test_sources)
{
	struct ip_prefix prefix;
	struct sources_trunk trunk = {&prefix, 1, 0};
	struct sources *sources;

	open_session(3, 77, 0, 18920, 7);
	ip_prefix_parse("10.0.0.0/8", &prefix);
	settings.sources = sources = sources_new(&trunk, 1, rte_get_tsc_hz());
	rtp(18920, 1, 1, 0, 1);
	rtp(18920, 7, 1, 0, 1); /* even a bound flow */
	lcore_turn(lcore);
	ck_assert_uint_eq(dropped(DROP_SOURCE_UNKNOWN), 2);
	ck_assert_uint_eq(lcore->counters.rtp, 0);
	free(sources);
	ip_prefix_parse("192.168.0.0/16", &prefix);
	settings.sources = sources = sources_new(&trunk, 1, rte_get_tsc_hz());
	rtp(18920, 1, 1, 0, 1);
	rtp(18920, 7, 1, 0, 1);
	lcore_turn(lcore);
	ck_assert_uint_eq(rte_ring_count(lcore->to_control), 1);
	ck_assert_uint_eq(records(0, NULL, NULL), 1);
	free(sources);
	/* One packet a second and 64 at once. */
	trunk.per_second = 1;
	settings.sources = sources = sources_new(&trunk, 1, rte_get_tsc_hz());
	memset(lcore_private(lcore)->sources.due, 0, sizeof(lcore_private(lcore)->sources.due));
	for (uint16_t i = 0; i < 100; i++)
		rtp(18920, 8, i, 0, 1);
	while (lcore_turn(lcore))
		;
	ck_assert_uint_eq(dropped(DROP_TRUNK_RATE), 36);
	free(sources);
}
END_TEST

/* A flood that forges a bound flow takes no more of its worker's ring than the flow may, and nothing of another call's. */
START_TEST(test_flow_rate)
{
	unsigned int read;

	open_session(0, 1, 0, 20000, 7);
	open_session(1, 1, 0, 20001, 8);
	for (uint16_t seq = 0; seq < 1500; seq++) {
		rtp(20000, 7, seq, 0, 1);
		if (seq % 50 == 0)
			rtp(20001, 8, seq / 50, 0, 2);
		if (seq % 100 == 99)
			while (lcore_turn(lcore))
				;
	}
	ck_assert_uint_eq(session_table_flow(table, 1)->receive.packets, 30);
	read = session_table_flow(table, 0)->receive.packets;
	ck_assert_uint_ge(read, RECEIVE_FLOW_BURST);
	ck_assert_uint_lt(read, 300);
	ck_assert_uint_eq(dropped(DROP_FLOW_RATE), 1500 - read);
	ck_assert_uint_eq(dropped(DROP_UPLINK_FULL), 0);
	ck_assert_uint_eq(records(0, NULL, NULL), read + 30);
}
END_TEST

/* Each reason for which a bound packet is not delivered. */
START_TEST(test_refused)
{
	struct session_ref ref = open_session(3, 77, 0, 18920, 7);
	struct session_flow *flow = session_table_flow(table, ref.index);
	uint16_t seq = 0;

	static const struct {
		enum drop_reason reason;
		uint8_t payload_type, worker, held;
		uint32_t generation;
	} cases[] = {
		{DROP_PAYLOAD_TYPE, 8, 0, 0, 77},
		{DROP_PAYLOAD_TYPE, 100, 0, 0, 77},
		{DROP_HELD, 0, 0, 1, 77},
		{DROP_NO_WORKER, 0, SESSION_NO_WORKER, 0, 77},
		{DROP_NO_WORKER, 0, 5, 0, 77},
		{DROP_STALE_GENERATION, 0, 0, 0, 78},
		{DROP_STALE_GENERATION, 0, 0, 0, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t before = dropped(cases[i].reason);

		flow->route.worker = cases[i].worker;
		flow->route.held = cases[i].held;
		flow->route.generation = cases[i].generation;
		rtp(18920, 7, seq++, cases[i].payload_type, 1);
		lcore_turn(lcore);
		ck_assert_msg(dropped(cases[i].reason) == before + 1, "case %zu", i);
		ck_assert_uint_eq(records(0, NULL, NULL) + records(1, NULL, NULL), 0);
	}
	flow->route.worker = 0;
	flow->route.held = 0;
	flow->route.generation = 77;
	rtp(18920, 7, seq, 0, 1);
	rtp(18920, 7, seq, 0, 1);
	lcore_turn(lcore);
	ck_assert_uint_eq(dropped(DROP_DUPLICATE), 1);
	ck_assert_uint_eq(records(0, NULL, NULL), 1);
	ck_assert_uint_eq(flow->receive.dropped, 5);
}
END_TEST

/* A worker that does not read loses its own calls' audio, counted; the other's is not touched. */
START_TEST(test_uplink_full)
{
	/* Twenty calls each, so that none is over the rate of a flow. */
	for (uint16_t i = 0; i < 20; i++) {
		open_session(i, 1, 0, 20000 + i, 7);
		open_session(20u + i, 1, 1, 20020 + i, 7);
	}
	for (uint16_t n = 0; n < 1000; n++) {
		rtp(20000 + n % 20, 7, n / 20, 0, 1);
		rtp(20020 + n % 20, 7, n / 20, 0, 2);
		lcore_turn(lcore);
		ck_assert_uint_eq(records(1, NULL, NULL), 1);
	}
	unsigned int read = records(0, NULL, NULL);

	ck_assert_uint_ge(read, SLOTS / 3 - 2);
	ck_assert_uint_eq(dropped(DROP_UPLINK_FULL), 1000 - read);
	rtp(20000, 7, 50, 0, 1);
	lcore_turn(lcore);
	ck_assert_uint_eq(records(0, NULL, NULL), 1);
}
END_TEST

START_TEST(test_rx_again)
{
	struct rte_mbuf *hit = rtp_of(18920, 7, 1, 0, 1), *miss = rtp_of(18921, 7, 1, 0, 1);

	open_session(3, 77, 0, 18920, 7);
	hit->port = miss->port = port_id;
	ck_assert_int_eq(rte_ring_enqueue(lcore->rx_again, hit), 0);
	ck_assert_int_eq(rte_ring_enqueue(lcore->rx_again, miss), 0);
	lcore_turn(lcore);
	ck_assert_uint_eq(records(0, NULL, NULL), 1);
	ck_assert_uint_eq(dropped(DROP_NO_SESSION), 1);
	ck_assert_uint_eq(rte_ring_count(lcore->to_control), 0);
}
END_TEST

/* What control kept of a flow goes to the worker before what arrived since. */
START_TEST(test_again_comes_first)
{
	struct rte_mbuf *kept = rtp_of(18920, 7, 1, 0, 1);
	struct vl_record last;

	open_session(3, 77, 0, 18920, 7);
	kept->port = port_id;
	ck_assert_int_eq(rte_ring_enqueue(lcore->rx_again, kept), 0);
	rtp(18920, 7, 2, 0, 1);
	lcore_turn(lcore);
	ck_assert_uint_eq(records(0, &last, NULL), 2);
	ck_assert_uint_eq(last.seq, 2);
}
END_TEST

/* A port with more queues than there are lcores: each is polled by one of them. */
START_TEST(test_every_queue_is_polled)
{
	static const struct {
		uint16_t queues;
		unsigned int lcores;
	} cases[] = {{1, 1}, {1, 2}, {2, 2}, {5, 2}, {16, 1}, {16, 3}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned int polled[16] = {0};

		for (unsigned int index = 0; index < cases[i].lcores; index++) {
			struct lcore *one = lcore_new(index, 0, table, pool, locals, &settings);

			ck_assert_ptr_nonnull(one);
			ck_assert_int_eq(lcore_add_rx_queues(one, port_id, cases[i].queues, cases[i].lcores), 0);
			for (unsigned int q = 0; q < lcore_private(one)->rx_queue_count; q++)
				polled[lcore_private(one)->rx_queues[q].queue]++;
			lcore_free(one);
		}
		for (unsigned int q = 0; q < 16; q++)
			ck_assert_msg(polled[q] == (q < cases[i].queues), "queue %u of case %zu: %u", q, i, polled[q]);
	}
}
END_TEST

START_TEST(test_more_queues_than_one_lcore_polls)
{
	struct lcore *one = lcore_new(0, 0, table, pool, locals, &settings);

	ck_assert_int_eq(lcore_add_rx_queues(one, port_id, LCORE_RX_QUEUES, 1), 0);
	ck_assert_int_eq(lcore_add_rx_queue(one, port_id, LCORE_RX_QUEUES), -ENOSPC);
	ck_assert_uint_eq(lcore_private(one)->rx_queue_count, LCORE_RX_QUEUES);
	lcore_free(one);
}
END_TEST

START_TEST(test_rtcp)
{
	static const uint8_t bye[8] = {0x81, 203, 0, 1, 0, 0, 0, 7};
	struct session_ref ref = open_session(3, 77, 0, 18920, 7);

	receive(frame_of(18920, bye, sizeof(bye)));
	receive(frame_of(18922, bye, sizeof(bye)));
	lcore_turn(lcore);
	ck_assert_uint_eq(lcore->counters.rtcp, 1);
	ck_assert_uint_eq(dropped(DROP_RTCP_UNKNOWN), 1);
	ck_assert_uint_eq(records(0, NULL, NULL), 0);
	/* The call goes on. */
	rtp(18920, 7, 1, 0, 1);
	lcore_turn(lcore);
	ck_assert_uint_eq(records(0, NULL, NULL), 1);
	ck_assert_uint_eq(session_table_flow(table, ref.index)->route.generation, 77);
}
END_TEST

/* What the port says about a checksum counts; where it says nothing we look. */
START_TEST(test_bad_checksum)
{
	static const struct {
		const char *name;
		uint64_t flags;
		unsigned int offset; /* of a flipped byte in the frame, 0: none */
		bool none, known, good;
	} cases[] = {
		{"right, unknown to the port", 0, 0, false, true, true},
		{"wrong, unknown to the port", 0, 100, false, true, false},
		{"wrong, of a flow nobody knows", 0, 100, false, false, false},
		{"none", 0, 100, true, true, true},
		{"good, says the port", RTE_MBUF_F_RX_L4_CKSUM_GOOD, 100, false, true, true},
		{"bad, says the port", RTE_MBUF_F_RX_L4_CKSUM_BAD, 0, false, true, false},
		{"only the IPv4 one is known", RTE_MBUF_F_RX_IP_CKSUM_GOOD, 100, false, true, false},
	};
	uint64_t refused = 0;

	open_session(3, 77, 0, 18920, 7);
	for (uint16_t i = 0; i < RTE_DIM(cases); i++) {
		struct rte_mbuf *mbuf = rtp_of(cases[i].known ? 18920 : 18922, 7, i, 0, 1);
		uint8_t *frame = rte_pktmbuf_mtod(mbuf, uint8_t *);

		mbuf->ol_flags |= cases[i].flags;
		if (cases[i].offset != 0)
			frame[cases[i].offset] ^= 0x40;
		if (cases[i].none)
			memset(frame + 40, 0, 2);
		receive(mbuf);
		lcore_turn(lcore);
		refused += !cases[i].good;
		ck_assert_msg(records(0, NULL, NULL) == cases[i].good, "%s", cases[i].name);
		ck_assert_msg(dropped(DROP_UDP_CHECKSUM) == refused, "%s", cases[i].name);
		ck_assert_uint_eq(rte_ring_count(lcore->to_control), 0);
	}
}
END_TEST

/* A port that takes tags off, though nobody asked it to, does not make another VLAN's frame one of ours. */
START_TEST(test_stripped_tag)
{
	open_session(3, 77, 0, 18920, 7);
	for (uint16_t vid = 0; vid < 4; vid++) {
		struct rte_mbuf *mbuf = rtp_of(18920, 7, vid, 0, 1);

		locals[port_id].vlan = vid < 2 ? 0 : 2;
		mbuf->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
		mbuf->vlan_tci = vid;
		receive(mbuf);
		lcore_turn(lcore);
		ck_assert_uint_eq(records(0, NULL, NULL), vid % 2 == 0);
		ck_assert_uint_eq(dropped(DROP_ETH_VLAN), (vid + 1u) / 2);
	}
	locals[port_id].vlan = 0;
}
END_TEST

/* ---- down ---- */

static void start_playout(struct session_ref ref, bool ready)
{
	struct lcore_command start = {.type = LCORE_PLAYOUT_START, .session = ref};
	struct headers_spec spec = {
		.source_mac = {2, 0, 0, 0, 0, 1}, .destination_mac = {2, 0, 0, 0, 0, 9}, .dscp = HEADERS_DSCP_EF};

	ip_address_parse("10.77.0.1", &spec.local.address);
	spec.local.port = 5004;
	ip_address_parse("192.168.50.50", &spec.remote.address);
	spec.remote.port = 18920;
	ck_assert_int_eq(headers_build(&start.start.target.headers, &spec), 0);
	start.start.target.port = port_id;
	start.start.target.ready = ready;
	start.start.ssrc = 0xabcdef01;
	start.start.seq = 65530;
	start.start.timestamp = UINT32_MAX - 800;
	start.start.payload_type = 0;
	start.start.idle = PLAYOUT_IDLE_SILENCE;
	ck_assert_int_eq(lcore_command(lcore, &start), 0);
	lcore_turn(lcore);
}

static void send_record(
	unsigned int worker, uint8_t type, uint32_t session, uint32_t generation, uint32_t turn, uint16_t len, uint8_t value)
{
	struct vl_record *record = vl_ring_reserve(&theirs[worker].down[0], type, len);

	ck_assert_ptr_nonnull(record);
	record->session = session;
	record->generation = generation;
	record->turn = turn;
	record->tsc = rte_rdtsc();
	memset(record->payload, value, len);
	vl_ring_publish(&theirs[worker].down[0]);
}

/* Turn until the port has sent a packet, or `ms` have passed. Copies its RTP, returns its length. */
static unsigned int sent_within(uint8_t rtp_bytes[256], unsigned int ms)
{
	static struct packet_local caller = {.address_count = 1, .rtp_port = 18920, .mac = {2, 0, 0, 0, 0, 9}};
	uint64_t end = rte_rdtsc() + rte_get_tsc_hz() / 1000 * ms;
	void *mbuf;

	ip_address_parse("192.168.50.50", &caller.addresses[0]);
	do {
		lcore_turn(lcore);
		if (rte_ring_dequeue(from_port, &mbuf) == 0) {
			const uint8_t *frame = rte_pktmbuf_mtod((struct rte_mbuf *)mbuf, const uint8_t *);
			unsigned int len = rte_pktmbuf_data_len((struct rte_mbuf *)mbuf);
			struct packet packet;

			packet_classify(frame, len, &caller, &packet);
			ck_assert_int_eq(packet.kind, PACKET_RTP);
			ck_assert_uint_eq(packet.key.remote_port, 5004);
			memcpy(rtp_bytes, frame + 42, len - 42);
			rte_pktmbuf_free(mbuf);
			return len - 42;
		}
	} while (rte_rdtsc() < end);
	return 0;
}

/* 2 s are long for a beat, and no more than a machine may take that does something else. */
static unsigned int sent(uint8_t rtp_bytes[256])
{
	return sent_within(rtp_bytes, 2000);
}

static uint32_t read32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void expect_sent(uint16_t *seq, uint32_t *timestamp, uint8_t value)
{
	uint8_t bytes[256] = {0};

	ck_assert_uint_eq(sent(bytes), 172);
	ck_assert_uint_eq(bytes[0], 0x80);
	ck_assert_uint_eq(bytes[1] & 0x7f, 0);
	ck_assert_uint_eq(bytes[2] << 8 | bytes[3], *seq);
	ck_assert_uint_eq(read32(bytes + 4), *timestamp);
	ck_assert_uint_eq(read32(bytes + 8), 0xabcdef01);
	ck_assert_uint_eq(bytes[12], value);
	ck_assert_uint_eq(bytes[171], value);
	(*seq)++;
	*timestamp += 160;
}

START_TEST(test_playout)
{
	struct session_ref ref = open_session(3, 77, 0, 18920, 7);
	uint16_t seq = 65530;
	uint32_t timestamp = UINT32_MAX - 800;
	struct vl_record record;

	start_playout(ref, true);
	expect_sent(&seq, &timestamp, 0xff);
	for (uint8_t i = 1; i <= 4; i++)
		send_record(0, VL_RECORD_FRAME, 3, 77, 0, 160, i);
	send_record(0, VL_RECORD_MARK, 3, 77, 0, 0, 0);
	for (uint8_t i = 1; i <= 4; i++)
		expect_sent(&seq, &timestamp, i);
	ck_assert_uint_eq(records(0, &record, NULL), 1);
	ck_assert_uint_eq(record.type, VL_RECORD_DRAINED);
	ck_assert_uint_eq(record.session, 3);
	ck_assert_uint_eq(record.generation, 77);
	ck_assert_uint_eq(record.turn, 0);
	ck_assert_uint_eq(record.flags, 0);
	expect_sent(&seq, &timestamp, 0xff);
	ck_assert_uint_eq(dropped_all(), 0);
	ck_assert_uint_eq(session_table_at(table, 3)->playout.underruns, 0);
	ck_assert_uint_gt(vl_histogram_count(&lcore->latency.beat_error_us), 0);
	ck_assert_uint_eq(vl_histogram_count(&lcore->latency.message_to_rtp_us), 1);
}
END_TEST

/* The core stands still in the middle of a sentence: no silence is sent to catch up, and its beats are counted. */
START_TEST(test_stall)
{
	struct session_ref ref = open_session(3, 77, 0, 18920, 7);
	uint16_t seq = 65530;
	uint32_t timestamp = UINT32_MAX - 800;

	start_playout(ref, true);
	expect_sent(&seq, &timestamp, 0xff);
	send_record(0, VL_RECORD_FRAME, 3, 77, 0, 160, 1);
	expect_sent(&seq, &timestamp, 1);
	usleep(130000);
	send_record(0, VL_RECORD_FRAME, 3, 77, 0, 160, 2);
	expect_sent(&seq, &timestamp, 2);
	expect_sent(&seq, &timestamp, 0xff);
	ck_assert_uint_ge(lcore->counters.skipped_beats, 3);
	ck_assert_uint_eq(dropped_all(), 0);
}
END_TEST

START_TEST(test_flush)
{
	struct session_ref ref = open_session(3, 77, 0, 18920, 7);
	uint16_t seq = 65530;
	uint32_t timestamp = UINT32_MAX - 800;
	struct vl_record record;

	start_playout(ref, true);
	for (uint8_t i = 1; i <= 10; i++)
		send_record(0, VL_RECORD_FRAME, 3, 77, 0, 160, i);
	send_record(0, VL_RECORD_MARK, 3, 77, 0, 0, 0);
	expect_sent(&seq, &timestamp, 1);
	send_record(0, VL_RECORD_FLUSH, 3, 77, 1, 0, 0);
	send_record(0, VL_RECORD_FRAME, 3, 77, 0, 160, 99);
	send_record(0, VL_RECORD_MARK, 3, 77, 0, 0, 0);
	lcore_turn(lcore);
	expect_sent(&seq, &timestamp, 0xff);
	ck_assert_uint_eq(dropped(DROP_PLAYOUT_FLUSHED), 9);
	ck_assert_uint_eq(dropped(DROP_DOWN_STALE_TURN), 2);
	ck_assert_uint_eq(records(0, &record, NULL), 1);
	ck_assert_uint_eq(record.type, VL_RECORD_DRAINED);
	ck_assert_uint_eq(record.turn, 0);
	ck_assert_uint_eq(record.flags, VL_RECORD_F_FLUSHED);
	ck_assert_uint_eq(vl_histogram_count(&lcore->latency.flush_to_silence_us), 1);
	send_record(0, VL_RECORD_FRAME, 3, 77, 1, 160, 5);
	expect_sent(&seq, &timestamp, 5);
}
END_TEST

/* Records a worker has no right to send, each refused without a trace in the victim's call. */
START_TEST(test_hostile_records)
{
	static const struct {
		const char *name;
		uint8_t type;
		uint32_t session, generation;
		uint16_t len;
		enum drop_reason reason;
		bool refused;
	} cases[] = {
		{"another worker's session", VL_RECORD_FRAME, 4, 78, 160, DROP_DOWN_SESSION, true},
		{"flush of another worker's session", VL_RECORD_FLUSH, 4, 78, 0, DROP_DOWN_SESSION, true},
		{"mark of another worker's session", VL_RECORD_MARK, 4, 78, 0, DROP_DOWN_SESSION, true},
		{"session of another lcore", VL_RECORD_FRAME, 5, 79, 160, DROP_DOWN_SESSION, true},
		{"index behind the last", VL_RECORD_FRAME, SESSIONS, 77, 160, DROP_DOWN_SESSION, true},
		{"index far behind the last", VL_RECORD_FRAME, UINT32_MAX, 77, 160, DROP_DOWN_SESSION, true},
		{"generation 0 of a free slot", VL_RECORD_FRAME, 20, 0, 160, DROP_STALE_GENERATION, false},
		{"old generation", VL_RECORD_FRAME, 3, 76, 160, DROP_STALE_GENERATION, false},
		{"old generation of another's session", VL_RECORD_FRAME, 4, 77, 160, DROP_STALE_GENERATION, false},
		{"session without playout", VL_RECORD_FRAME, 6, 80, 160, DROP_STALE_GENERATION, false},
		{"short frame", VL_RECORD_FRAME, 3, 77, 159, DROP_DOWN_RECORD, true},
		{"long frame", VL_RECORD_FRAME, 3, 77, 161, DROP_DOWN_RECORD, true},
		{"empty frame", VL_RECORD_FRAME, 3, 77, 0, DROP_DOWN_RECORD, true},
		{"flush with payload", VL_RECORD_FLUSH, 3, 77, 1, DROP_DOWN_RECORD, true},
		{"audio downwards", VL_RECORD_AUDIO, 3, 77, 160, DROP_DOWN_RECORD, true},
		{"drained downwards", VL_RECORD_DRAINED, 3, 77, 0, DROP_DOWN_RECORD, true},
	};
	struct session *other;

	start_playout(open_session(3, 77, 0, 20003, 7), true);
	start_playout(open_session(4, 78, 1, 20004, 7), true);
	start_playout(open_session(5, 79, 0, 20005, 7), true);
	open_session(6, 80, 0, 20006, 7);
	session_table_flow(table, 5)->route.lcore = 1;
	/* The victim has audio queued. */
	for (unsigned int i = 0; i < 10; i++)
		send_record(1, VL_RECORD_FRAME, 4, 78, 0, 160, 1);
	lcore_turn(lcore);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t before = dropped(cases[i].reason), refused = lcore->counters.refused_records;

		send_record(0, cases[i].type, cases[i].session, cases[i].generation, 9, cases[i].len, 0x66);
		lcore_turn(lcore);
		ck_assert_msg(dropped(cases[i].reason) == before + 1, "%s", cases[i].name);
		ck_assert_msg(lcore->counters.refused_records == refused + cases[i].refused, "%s", cases[i].name);
	}
	other = session_table_at(table, 4);
	ck_assert_uint_eq(other->playout.turn, 0);
	ck_assert_uint_eq(other->playout.flushed, 0);
	ck_assert(!other->playout.marked);
	for (unsigned int i = 0; i < PLAYOUT_QUEUE_FRAMES; i++)
		ck_assert_uint_ne(other->playout.frame[i][0], 0x66);
	ck_assert_uint_eq(session_table_at(table, 3)->playout.queued, 0);
	ck_assert_uint_eq(session_table_at(table, 5)->playout.queued, 0);
	ck_assert_uint_eq(lcore_private(lcore)->attached, 3);
}
END_TEST

/* A worker that breaks its ring is cut off; the other goes on. */
START_TEST(test_broken_ring)
{
	struct session_ref ref = open_session(4, 78, 1, 18920, 7);

	open_session(3, 77, 0, 20003, 7);
	start_playout(ref, true);
	send_record(0, VL_RECORD_FRAME, 3, 77, 0, 160, 1);
	/* A record of no length, where the next one is read. */
	struct vl_record *record = vl_ring_reserve(&theirs[0].down[0], VL_RECORD_FRAME, 160);

	record->slots = 0;
	vl_ring_publish(&theirs[0].down[0]);
	lcore_turn(lcore);
	ck_assert(vl_ring_is_broken(&ours[0].down[0]));
	ck_assert_uint_eq(lcore_private(lcore)->attached, 2);
	ck_assert_uint_eq(dropped(DROP_DOWN_CORRUPT), 1);
	/* Its callers' audio goes nowhere, its records are not read. */
	rtp(20003, 7, 1, 0, 1);
	lcore_turn(lcore);
	ck_assert_uint_eq(dropped(DROP_NO_WORKER), 1);
	send_record(1, VL_RECORD_FRAME, 4, 78, 0, 160, 5);
	lcore_turn(lcore);
	ck_assert_uint_ge(session_table_at(table, 4)->playout.queued + session_table_at(table, 4)->playout.frames, 1);
	/* A new worker in the same slot starts afresh. */
	vl_channel_unmap(&theirs[0]);
	vl_channel_unmap(&ours[0]);
	int fd = vl_channel_create(&ours[0], 1, SLOTS);

	ck_assert_int_eq(vl_channel_map(&theirs[0], fd), 0);
	close(fd);
	command(LCORE_WORKER_ATTACH, 0);
	rtp(20003, 7, 2, 0, 1);
	lcore_turn(lcore);
	ck_assert_uint_eq(lcore_private(lcore)->attached, 3);
	ck_assert_uint_eq(records(0, NULL, NULL), 1);
}
END_TEST

START_TEST(test_commands)
{
	struct session_ref ref = open_session(3, 77, 0, 18920, 7);
	struct session_ref old = {.index = 3, .generation = 76};
	struct lcore_command change = {.type = LCORE_PLAYOUT_STOP, .session = old};
	struct session *session = session_table_at(table, 3);
	uint16_t seq = 65530;
	uint32_t timestamp = UINT32_MAX - 800;
	struct vl_record record;
	uint8_t bytes[256];

	start_playout(ref, false);
	/* No neighbour yet: the beat goes on, what the worker says waits, and its MARK with it. */
	for (uint8_t i = 1; i <= 2; i++)
		send_record(0, VL_RECORD_FRAME, 3, 77, 0, 160, i);
	send_record(0, VL_RECORD_MARK, 3, 77, 0, 0, 0);
	for (unsigned int i = 0; i < 40 && dropped(DROP_TX_NO_NEIGHBOUR) < 2; i++)
		ck_assert_uint_eq(sent_within(bytes, 50), 0);
	ck_assert_uint_ge(dropped(DROP_TX_NO_NEIGHBOUR), 2);
	ck_assert_uint_eq(records(0, NULL, NULL), 0);
	ck_assert_uint_eq(session->playout.packets, 0);
	/* A command for an earlier call in the slot does nothing. */
	lcore_command(lcore, &change);
	change.type = LCORE_PLAYOUT_TARGET;
	change.target = session->sender.target;
	change.target.ready = true;
	lcore_command(lcore, &change);
	lcore_turn(lcore);
	ck_assert(!session->sender.target.ready);
	ck_assert_uint_eq(wheel_count(lcore_private(lcore)->wheel), 1);
	change.session = ref;
	lcore_command(lcore, &change);
	lcore_turn(lcore);
	ck_assert_uint_ne(session->playout.timestamp, timestamp);
	timestamp = session->playout.timestamp;
	ck_assert_uint_eq(sent(bytes), 172);
	ck_assert_uint_eq(bytes[1], 0x80); /* the stream begins here: marker */
	ck_assert_uint_eq(bytes[2] << 8 | bytes[3], seq++);
	ck_assert_uint_eq(read32(bytes + 4), timestamp);
	ck_assert_uint_eq(bytes[12], 1);
	timestamp += 160;
	expect_sent(&seq, &timestamp, 2);
	ck_assert_uint_eq(records(0, &record, NULL), 1);
	ck_assert_uint_eq(record.type, VL_RECORD_DRAINED);
	/* A new worker: its turn 0 is heard, the stream goes on. */
	send_record(0, VL_RECORD_FLUSH, 3, 77, 5, 0, 0);
	lcore_turn(lcore);
	change.type = LCORE_PLAYOUT_REATTACH;
	lcore_command(lcore, &change);
	lcore_turn(lcore);
	/* Beats of silence while this machine did something else. */
	while (sent_within(bytes, 0) != 0) {
		seq++;
		timestamp += 160;
	}
	send_record(0, VL_RECORD_FRAME, 3, 77, 0, 160, 9);
	expect_sent(&seq, &timestamp, 9);
	change.type = LCORE_PLAYOUT_STOP;
	lcore_command(lcore, &change);
	lcore_turn(lcore);
	while (sent_within(bytes, 0) != 0)
		;
	ck_assert_uint_eq(sent_within(bytes, 50), 0);
	ck_assert_uint_eq(wheel_count(lcore_private(lcore)->wheel), 0);
	send_record(0, VL_RECORD_FRAME, 3, 77, 0, 160, 9);
	lcore_turn(lcore);
	ck_assert_uint_eq(dropped(DROP_STALE_GENERATION), 1);
}
END_TEST

/* After DETACH and a grace period the channel may be unmapped, whatever the callers and the worker still send. */
/* What a worker says about a call it was just given is right also when the command that goes before it was not seen in this turn yet. */
START_TEST(test_quick_worker)
{
	struct session_ref ref = open_session(3, 77, 0, 18920, 7);
	struct session *session = session_table_at(table, 3);
	struct lcore_command again = {.type = LCORE_PLAYOUT_REATTACH, .session = ref, .attachment = 1};
	struct lcore_command start = {.type = LCORE_PLAYOUT_START, .session = {.index = 4, .generation = 78}};

	start_playout(ref, false);
	send_record(0, VL_RECORD_FLUSH, 3, 77, 9, 0, 0);
	lcore_turn(lcore);
	ck_assert_uint_eq(session->playout.turn, 9);
	/* The next worker has the call; its first words are read before the next look at the commands. */
	ck_assert_int_eq(lcore_command(lcore, &again), 0);
	session_table_flow(table, 3)->route.attachment = 1;
	session_table_flow(table, 3)->route.worker = 1;
	send_record(1, VL_RECORD_FLUSH, 3, 77, 1, 0, 0);
	send_record(1, VL_RECORD_FRAME, 3, 77, 1, 160, 1);
	lcore_drain_workers(lcore);
	lcore_turn(lcore);
	ck_assert_uint_eq(session->playout.turn, 1);
	ck_assert_uint_eq(session->playout.count, 1);
	/* And so it is with a call that begins. */
	open_session(4, 78, 1, 18922, 7);
	ck_assert_int_eq(lcore_command(lcore, &start), 0);
	send_record(1, VL_RECORD_FRAME, 4, 78, 0, 160, 1);
	lcore_drain_workers(lcore);
	ck_assert_uint_eq(session_table_at(table, 4)->playout.count, 1);
	/* Of a command that never comes, nothing is taken. */
	session_table_flow(table, 3)->route.attachment = 2;
	send_record(1, VL_RECORD_FRAME, 3, 77, 1, 160, 1);
	lcore_drain_workers(lcore);
	ck_assert_uint_eq(session->playout.count, 1);
	ck_assert_uint_eq(dropped(DROP_STALE_GENERATION), 1);
	/* A DETACH taken on the way: the other worker's ring is not looked at again. */
	command(LCORE_WORKER_DETACH, 1);
	session_table_flow(table, 3)->route.worker = 0;
	send_record(0, VL_RECORD_FRAME, 3, 77, 1, 160, 1);
	send_record(1, VL_RECORD_FRAME, 4, 78, 0, 160, 1);
	lcore_drain_workers(lcore);
	ck_assert_uint_eq(lcore_private(lcore)->attached, 1);
	ck_assert_uint_eq(session_table_at(table, 4)->playout.count, 1);
}
END_TEST

/* Another SSRC for the caller; what was queued, the turn and the counters go on. */
START_TEST(test_restream)
{
	struct session_ref ref = open_session(3, 77, 0, 18920, 7);
	struct lcore_command stream = {.type = LCORE_PLAYOUT_STREAM, .session = ref};
	uint8_t bytes[256], first;

	start_playout(ref, true);
	send_record(0, VL_RECORD_FLUSH, 3, 77, 4, 0, 0);
	send_record(0, VL_RECORD_FRAME, 3, 77, 4, 160, 1);
	send_record(0, VL_RECORD_FRAME, 3, 77, 4, 160, 2);
	ck_assert_uint_ne(sent(bytes), 0);
	first = bytes[12];
	stream.start.ssrc = 0xabcdef01;
	stream.start.seq = 500;
	stream.start.timestamp = 77000;
	lcore_command(lcore, &stream);
	ck_assert_uint_ne(sent(bytes), 0);
	ck_assert_uint_eq(bytes[1], 0x80);
	ck_assert_uint_eq(bytes[2] << 8 | bytes[3], 500);
	ck_assert_int_eq(memcmp(bytes + 8, "\xab\xcd\xef\x01", 4), 0);
	ck_assert_uint_eq(bytes[12], first + 1);
	ck_assert_uint_eq(session_table_at(table, 3)->playout.turn, 4);
	ck_assert_uint_ge(session_table_at(table, 3)->playout.packets, 2);
}
END_TEST

START_TEST(test_detach)
{
	open_session(3, 77, 0, 18920, 7);
	send_record(0, VL_RECORD_FRAME, 3, 77, 0, 160, 9);
	command(LCORE_WORKER_DETACH, 0);
	uint64_t token = rte_rcu_qsbr_start(session_table_qsbr(table));

	ck_assert_int_eq(rte_rcu_qsbr_check(session_table_qsbr(table), token, false), 0);
	lcore_turn(lcore);
	ck_assert_int_eq(rte_rcu_qsbr_check(session_table_qsbr(table), token, false), 1);
	vl_channel_unmap(&ours[0]);
	rtp(18920, 7, 1, 0, 1);
	lcore_turn(lcore);
	ck_assert_uint_eq(dropped(DROP_NO_WORKER), 1);
}
END_TEST

/* A DRAINED that finds the ring full is not lost. */
START_TEST(test_drained_is_kept)
{
	struct session_ref ref = open_session(3, 77, 0, 18920, 7);
	struct vl_record record;
	uint8_t bytes[256];

	start_playout(ref, true);
	while (vl_ring_reserve(&ours[0].up[0], VL_RECORD_AUDIO, 1) != NULL)
		;
	send_record(0, VL_RECORD_MARK, 3, 77, 0, 0, 0);
	sent(bytes);
	sent(bytes);
	ck_assert(session_table_at(table, 3)->sender.drained_pending);
	vl_ring_publish(&ours[0].up[0]);
	records(0, NULL, NULL);
	sent(bytes);
	sent(bytes);
	ck_assert_uint_eq(records(0, &record, NULL), 1);
	ck_assert_uint_eq(record.type, VL_RECORD_DRAINED);
}
END_TEST

START_TEST(test_tx_direct)
{
	struct rte_mbuf *mbuf = rtp_of(1, 2, 3, 4, 5), *nowhere = rtp_of(1, 2, 3, 4, 5);
	void *out;

	mbuf->port = port_id;
	nowhere->port = (uint16_t)(port_id + 1);
	rte_ring_enqueue(lcore->tx_direct, mbuf);
	rte_ring_enqueue(lcore->tx_direct, nowhere);
	lcore_turn(lcore);
	ck_assert_int_eq(rte_ring_dequeue(from_port, &out), 0);
	ck_assert_ptr_eq(out, mbuf);
	rte_pktmbuf_free(mbuf);
	ck_assert_uint_eq(dropped(DROP_TX_FULL), 1);
}
END_TEST

START_TEST(test_tx_full_and_no_buffer)
{
	struct rte_mbuf *held[MBUFS + 1];
	unsigned int count = 0;
	uint8_t bytes[256];

	start_playout(open_session(3, 77, 0, 18920, 7), true);
	while ((held[count] = rte_pktmbuf_alloc(pool)) != NULL)
		count++;
	ck_assert_uint_eq(sent_within(bytes, 50), 0);
	ck_assert_uint_ge(dropped(DROP_TX_NO_BUFFER), 1);
	rte_pktmbuf_free_bulk(held, count);
	ck_assert_uint_eq(sent(bytes), 172);
	/* The port takes nothing any more. */
	for (count = 0; (held[count] = rte_pktmbuf_alloc(pool)) != NULL && rte_ring_enqueue(from_port, held[count]) == 0; count++)
		;
	rte_pktmbuf_free(held[count]);
	uint64_t end = rte_rdtsc() + rte_get_tsc_hz() / 20;

	while (rte_rdtsc() < end)
		lcore_turn(lcore);
	ck_assert_uint_ge(dropped(DROP_TX_FULL), 1);
}
END_TEST

static void *stop_soon(void *unused)
{
	(void)unused;
	usleep(200000);
	atomic_store(&settings.stop, true);
	return NULL;
}

/* The loop itself: it beats, it sleeps in between, it stops. */
START_TEST(test_run)
{
	pthread_t thread;
	uint64_t begun = rte_rdtsc(), beats;

	start_playout(open_session(3, 77, 0, 18920, 7), true);
	rte_rcu_qsbr_thread_offline(session_table_qsbr(table), 0);
	rte_rcu_qsbr_thread_unregister(session_table_qsbr(table), 0);
	settings.sleep = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, NULL), 0);
	ck_assert_int_eq(lcore_run(lcore), 0);
	pthread_join(thread, NULL);
	/* 200 ms, or as long as it took on a machine that does something else. */
	beats = (rte_rdtsc() - begun) * 50 / rte_get_tsc_hz();
	ck_assert_uint_ge(lcore->counters.frames, 5);
	ck_assert_uint_le(lcore->counters.frames, beats + 3);
	ck_assert_uint_gt(lcore->counters.total_tsc, 0);
	ck_assert_uint_lt(lcore->counters.busy_tsc, lcore->counters.total_tsc / 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lcore");

	start_eal();
	unit_add_fixture(suite, "receive", setup, teardown, test_deliver, test_no_crossing, test_unknown_goes_to_control,
		test_learn_rate, test_arp_flood, test_sources, test_flow_rate, test_refused, test_uplink_full, test_rx_again,
		test_again_comes_first, test_every_queue_is_polled, test_more_queues_than_one_lcore_polls, test_rtcp,
		test_bad_checksum, test_stripped_tag);
	unit_add_fixture(suite, "playout", setup, teardown, test_playout, test_stall, test_flush, test_drained_is_kept,
		test_commands, test_restream);
	unit_add_fixture(
		suite, "workers", setup, teardown, test_hostile_records, test_broken_ring, test_quick_worker, test_detach);
	unit_add_fixture(suite, "ports", setup, teardown, test_tx_direct, test_tx_full_and_no_buffer, test_run);
	return unit_run(suite);
}
