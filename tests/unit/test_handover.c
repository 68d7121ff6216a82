/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows spread over lcores in software: the same flow to the same lcore whatever else differs, evenly, what is no datagram of a flow
 * to nobody; and two lcores on a port of one queue, where each call's packets come out at one of them, all of them and no other's.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>

#include "dpdk_app/handover.h"
#include "dpdk_app/headers.h"
#include "dpdk_app/lcore_internal.h"
#include "unit.h"

#define LCORES	 2u
#define CALLS	 64u
#define MBUFS	 8191u
#define SLOTS	 4096u
#define SEED	 1u
#define RTP_SIZE 172u

static struct rte_ring *to_port, *from_port;
static uint16_t port_id;
static struct rte_mempool *pool;
static struct packet_local locals[PORTS_MAX];
static struct lcore_settings settings;
static struct session_table *table;
static struct lcore *lcores[LCORES];
static struct vl_channel ours, theirs;
static struct flow_hash_secret secret;

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
	char words[][16] = {"test_handover", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-l", "0", "-m", "128",
		"--log-level", "error"};
	char *arguments[sizeof(words) / sizeof(words[0]) + 1] = {NULL};
	struct rte_eth_conf configuration = {0};
	struct rte_ether_addr mac;
	int port;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		arguments[i] = words[i];
	require(rte_eal_init(sizeof(words) / sizeof(words[0]), arguments) >= 0);
	pool = rte_pktmbuf_pool_create("test", MBUFS, 64, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	to_port = rte_ring_create("to_port", 4096, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
	from_port = rte_ring_create("from_port", 4096, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
	require(pool != NULL && to_port != NULL && from_port != NULL);
	port = rte_eth_from_rings("test", &to_port, 1, &from_port, 1, 0);
	require(port >= 0);
	port_id = (uint16_t)port;
	require(rte_eth_dev_configure(port_id, 1, 1, &configuration) == 0);
	require(rte_eth_rx_queue_setup(port_id, 0, 512, 0, NULL, pool) == 0);
	require(rte_eth_tx_queue_setup(port_id, 0, 512, 0, NULL) == 0);
	require(rte_eth_dev_start(port_id) == 0);
	require(rte_eth_macaddr_get(port_id, &mac) == 0);
	memcpy(locals[port_id].mac, mac.addr_bytes, 6);
	ip_address_parse("10.77.0.1", &locals[port_id].addresses[0]);
	locals[port_id].address_count = 1;
	locals[port_id].rtp_port = 5004;
	flow_hash_init(&secret, SEED);
}

static void turns(unsigned int index)
{
	while (lcore_turn(lcores[index]))
		;
}

static void setup(void)
{
	struct lcore_command attach = {.type = LCORE_WORKER_ATTACH, .worker = &ours};
	int fd = vl_channel_create(&ours, LCORES, SLOTS);

	settings = (struct lcore_settings){.learn_per_second = 1000, .learn_total_per_second = 10000};
	table = session_table_new(CALLS, 0);
	ck_assert_ptr_nonnull(table);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(vl_channel_map(&theirs, fd), 0);
	close(fd);
	for (unsigned int i = 0; i < LCORES; i++) {
		lcores[i] = lcore_new(i, 0, table, pool, locals, &settings);
		ck_assert_ptr_nonnull(lcores[i]);
		ck_assert_int_eq(lcore_add_rx_queues(lcores[i], port_id, 1, LCORES), 0);
		rte_rcu_qsbr_thread_register(session_table_qsbr(table), i);
		rte_rcu_qsbr_thread_online(session_table_qsbr(table), i);
		ck_assert_int_eq(lcore_command(lcores[i], &attach), 0);
	}
	ck_assert_int_eq(lcore_connect(lcores, LCORES, SEED), 0);
	for (unsigned int i = 0; i < LCORES; i++)
		turns(i);
}

static void teardown(void)
{
	for (unsigned int i = 0; i < LCORES; i++) {
		rte_rcu_qsbr_thread_offline(session_table_qsbr(table), i);
		lcore_free(lcores[i]);
	}
	/* Whatever happened, no packet buffer is lost. */
	ck_assert_uint_eq(rte_mempool_avail_count(pool), MBUFS);
	session_table_free(table);
	vl_channel_unmap(&theirs);
	vl_channel_unmap(&ours);
}

static struct flow_key key_of(uint32_t call)
{
	struct flow_key key = {.local_port = 5004, .remote_port = (uint16_t)(20000 + 2 * call), .ssrc = 1000 + call};

	ip_address_parse("10.77.0.1", &key.local);
	ip_address_parse("192.168.50.50", &key.remote);
	return key;
}

static size_t write_frame(uint8_t *frame, const struct flow_key *key, uint16_t vlan, uint16_t seq, uint8_t value)
{
	struct headers_spec spec = {.source_mac = {2, 0, 0, 0, 0, 9},
		.local = {key->remote, key->remote_port},
		.remote = {key->local, key->local_port},
		.vlan = vlan};
	uint8_t rtp[RTP_SIZE] = {0x80, 0, (uint8_t)(seq >> 8), (uint8_t)seq, 0, 0, (uint8_t)(seq * 160 >> 8),
		(uint8_t)(seq * 160), (uint8_t)(key->ssrc >> 24), (uint8_t)(key->ssrc >> 16), (uint8_t)(key->ssrc >> 8),
		(uint8_t)key->ssrc};
	struct header_template template;

	memset(rtp + 12, value, RTP_SIZE - 12);
	memcpy(spec.destination_mac, locals[port_id].mac, 6);
	ck_assert_int_eq(headers_build(&template, &spec), 0);
	memcpy(frame, template.bytes, template.len);
	memcpy(frame + template.len, rtp, RTP_SIZE);
	headers_finish(&template, frame, RTP_SIZE, seq);
	return template.len + RTP_SIZE;
}

static void receive(uint32_t call, uint16_t seq)
{
	struct flow_key key = key_of(call);
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(pool);
	uint8_t frame[256];
	size_t len = write_frame(frame, &key, 0, seq, (uint8_t)call);

	ck_assert_ptr_nonnull(mbuf);
	memcpy(rte_pktmbuf_append(mbuf, (uint16_t)len), frame, len);
	ck_assert_int_eq(rte_ring_enqueue(to_port, mbuf), 0);
}

static void open_sessions(void)
{
	for (uint32_t i = 0; i < CALLS; i++) {
		struct session_route *route = &session_table_flow(table, i)->route;
		struct flow_key key = key_of(i);

		route->payload_type = 0;
		route->event_payload_type = 101;
		atomic_store_explicit(&route->generation, 100 + i, memory_order_release);
		ck_assert_int_eq(session_table_insert(table, &key, (struct session_ref){.index = i, .generation = 100 + i}), 0);
	}
}

static int target_of(const struct flow_key *key, unsigned int among)
{
	uint8_t frame[256];
	size_t len = write_frame(frame, key, 0, 1, 1);

	return handover_lcore(&secret, frame, len, among);
}

/* Neither sequence nor payload, nor SSRC, nor a tag makes another flow of it; and every target is below the number of lcores. */
START_TEST(test_same_flow_same_lcore)
{
	for (uint32_t call = 0; call < 200; call++) {
		struct flow_key key = key_of(call);
		int first;

		if (call % 2 == 1)
			ip_address_parse("2001:db8::1", &key.local);
		if (call % 2 == 1)
			ip_address_parse("2001:db8:50::50", &key.remote);
		first = target_of(&key, 7);
		ck_assert_int_ge(first, 0);
		ck_assert_int_lt(first, 7);
		for (uint16_t seq = 2; seq < 20; seq++) {
			uint8_t frame[256];
			size_t len = write_frame(frame, &key, seq % 3 == 0 ? 77 : 0, seq, (uint8_t)seq);

			key.ssrc += seq;
			ck_assert_int_eq(handover_lcore(&secret, frame, len, 7), first);
		}
	}
}
END_TEST

/* 10,000 flows of one far end, ports two apart as gateways use them, and of as many far ends with one port: within 20 % of even. */
START_TEST(test_even_spread)
{
	static const unsigned int among[] = {2, 3, 8, 32};

	for (unsigned int way = 0; way < 2; way++) {
		for (size_t i = 0; i < sizeof(among) / sizeof(among[0]); i++) {
			unsigned int count[32] = {0};
			double expected = 10000.0 / among[i], sum = 0;

			for (uint32_t n = 0; n < 10000; n++) {
				struct flow_key key = key_of(0);

				if (way == 0)
					key.remote_port = (uint16_t)(20000 + 2 * n);
				else
					memcpy(key.remote.bytes + 12, (const uint8_t[]){10, 9, (uint8_t)(n >> 8), (uint8_t)n}, 4);
				count[target_of(&key, among[i])]++;
			}
			for (unsigned int lcore = 0; lcore < among[i]; lcore++)
				sum += (count[lcore] - expected) * (count[lcore] - expected) / expected;
			for (unsigned int lcore = 0; lcore < among[i]; lcore++)
				ck_assert_msg(count[lcore] > 0.8 * expected && count[lcore] < 1.2 * expected,
					"way %u: lcore %u of %u has %u flows, chi squared %.1f", way, lcore, among[i],
					count[lcore], sum);
		}
	}
}
END_TEST

/* Whatever the key: of 64 calls with ports in a row, no lcore of four has more than half. */
START_TEST(test_ports_in_a_row)
{
	for (uint64_t seed = 0; seed < 500; seed++) {
		unsigned int count[4] = {0};

		flow_hash_init(&secret, seed);
		for (uint32_t call = 0; call < CALLS; call++) {
			struct flow_key key = key_of(call);

			count[target_of(&key, 4)]++;
		}
		for (unsigned int lcore = 0; lcore < 4; lcore++)
			ck_assert_msg(count[lcore] <= CALLS / 2, "key %u: lcore %u has %u calls of %u", (unsigned int)seed, lcore,
				count[lcore], CALLS);
	}
	flow_hash_init(&secret, SEED);
}
END_TEST

/* What is no whole datagram of a flow stays where it is, and nothing is read behind the frame's end (the sanitizers look). */
START_TEST(test_others_stay)
{
	static const struct {
		const char *what;
		uint8_t offset, value;
	} cases[] = {{"ARP", 13, 0x06}, {"ICMP", 23, 1}, {"first fragment", 20, 0x20}, {"last fragment", 21, 1},
		{"short header", 14, 0x44}, {"long header", 14, 0x4f}};
	struct flow_key key = key_of(1), key_v6 = key;
	uint8_t frame[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = write_frame(frame, &key, 0, 1, 1);

		frame[cases[i].offset] = cases[i].value;
		if (strcmp(cases[i].what, "long header") == 0)
			len = 14 + 60 + 3;
		ck_assert_msg(handover_lcore(&secret, frame, len, LCORES) == HANDOVER_HERE, "%s", cases[i].what);
	}
	ip_address_parse("2001:db8::1", &key_v6.local);
	ip_address_parse("2001:db8:50::50", &key_v6.remote);
	for (unsigned int v6 = 0; v6 < 2; v6++) {
		write_frame(frame, v6 ? &key_v6 : &key, 0, 1, 1);
		for (size_t len = 0; len < (v6 ? 58u : 38u); len++) {
			uint8_t *exact = malloc(len + 1);

			memcpy(exact + 1, frame, len);
			ck_assert_int_eq(handover_lcore(&secret, exact + 1, len, LCORES), HANDOVER_HERE);
			free(exact);
		}
	}
	frame[20] = 44; /* a fragment of IPv6 */
	ck_assert_int_eq(handover_lcore(&secret, frame, 240, LCORES), HANDOVER_HERE);
}
END_TEST

/* Take what lies in one lcore's ring to the worker: right call, in order, at the lcore of its flow. Returns how many. */
static unsigned int take_records(unsigned int index, uint16_t next[CALLS])
{
	struct vl_ring *ring = &theirs.up[index];
	const uint8_t *payload;
	struct vl_record record;
	unsigned int count = 0;

	for (; vl_ring_next(ring, &record, &payload) == 1; count++) {
		struct flow_key key = key_of(record.session);

		ck_assert_int_eq(target_of(&key, LCORES), (int)index);
		ck_assert_uint_eq(record.generation, 100 + record.session);
		ck_assert_uint_eq(record.seq, next[record.session]++);
		ck_assert_uint_eq(payload[0], record.session);
		ck_assert_uint_eq(payload[record.len - 1], record.session);
	}
	vl_ring_release(ring);
	return count;
}

START_TEST(test_one_queue_two_lcores)
{
	uint16_t next[CALLS] = {0};
	unsigned int count[LCORES] = {0};

	open_sessions();
	for (uint16_t seq = 0; seq < 20; seq++) {
		for (uint32_t call = 0; call < CALLS; call++)
			receive(call, seq);
		for (unsigned int i = 0; i < LCORES; i++)
			turns(i);
		for (unsigned int i = 0; i < LCORES; i++)
			count[i] += take_records(i, next);
	}
	for (uint32_t call = 0; call < CALLS; call++)
		ck_assert_uint_eq(next[call], 20);
	ck_assert_uint_gt(count[0], 20 * CALLS / 4);
	ck_assert_uint_gt(count[1], 20 * CALLS / 4);
	ck_assert_uint_eq(lcores[0]->counters.received, 20 * CALLS);
	ck_assert_uint_eq(lcores[0]->counters.handed_over, count[1]);
	ck_assert_uint_eq(lcores[0]->counters.rtp, count[0]);
	ck_assert_uint_eq(lcores[1]->counters.rtp, count[1]);
	ck_assert_uint_eq(lcores[1]->counters.received + lcores[1]->counters.handed_over, 0);
}
END_TEST

/* A flow nobody knows goes to the control thread from the lcore it was handed to, with the port it came from. */
START_TEST(test_unknown_goes_to_control)
{
	unsigned int seen = 0;
	void *mbuf;

	for (uint32_t call = 0; call < CALLS; call++)
		receive(call, 1);
	for (unsigned int i = 0; i < LCORES; i++)
		turns(i);
	for (unsigned int i = 0; i < LCORES; i++) {
		for (; rte_ring_dequeue(lcores[i]->to_control, &mbuf) == 0; seen++) {
			const struct rte_mbuf *packet = mbuf;

			ck_assert_uint_eq(packet->port, port_id);
			ck_assert_int_eq(handover_lcore(&secret, rte_pktmbuf_mtod(packet, const uint8_t *),
						 rte_pktmbuf_data_len(packet), LCORES),
				(int)i);
			rte_pktmbuf_free(mbuf);
		}
	}
	ck_assert_uint_eq(seen, CALLS);
}
END_TEST

/* An lcore that does not take what is handed to it: the ring holds what it holds, the rest is dropped and counted, the others go on. */
START_TEST(test_full_ring)
{
	uint32_t stuck = 0, free = 0;
	uint16_t next[CALLS] = {0};
	unsigned int sent = 0;

	open_sessions();
	for (uint32_t call = 0; call < CALLS; call++) {
		struct flow_key key = key_of(call);

		*(target_of(&key, LCORES) == 1 ? &stuck : &free) = call;
	}
	for (uint16_t seq = 0; seq < 40; seq++) {
		for (unsigned int i = 0; i < 50; i++, sent++)
			receive(stuck, (uint16_t)sent);
		receive(free, seq);
		turns(0);
	}
	ck_assert_uint_eq(lcores[0]->counters.handed_over, LCORE_RING_MBUFS - 1);
	ck_assert_uint_eq(lcores[0]->counters.drops[DROP_HANDOVER_FULL], sent - (LCORE_RING_MBUFS - 1));
	ck_assert_uint_eq(take_records(0, next), 40);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("handover");

	start_eal();
	unit_add(suite, "spread", test_same_flow_same_lcore, test_even_spread, test_ports_in_a_row, test_others_stay);
	unit_add_fixture(
		suite, "lcores", setup, teardown, test_one_queue_two_lcores, test_unknown_goes_to_control, test_full_ring);
	return unit_run(suite);
}
