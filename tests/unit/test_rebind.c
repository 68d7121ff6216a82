/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binding, unbinding and reuse of sessions at a high rate while a packet lcore looks flows up: the real lcore on a net_ring port in one
 * thread, the control side in another. Every packet says which flow it is of and which binding of that flow was the last one
 * ended before it was sent; every record must be of a binding of that flow, not of an older one, in the ring of that binding's
 * worker. Sessions are used again at once, without the rest the product gives them: generations alone must do.
 */
#include <pthread.h>
#include <sched.h>
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

#define SESSIONS     32u
#define FLOWS	     128u
#define BINDINGS_MAX 4000000u
#define DELIVERED    20000u /* records and stale packets to be seen */
#define STALE	     2000u
#define SECONDS	     30 /* for them, on a busy machine */
#define IN_FLIGHT    2048u

static struct rte_ring *to_port, *from_port;
static uint16_t port_id;
static struct rte_mempool *pool;
static struct packet_local locals[PORTS_MAX];
static struct lcore_settings settings;
static struct session_table *table;
static struct lcore *lcore;
static struct vl_channel ours[2], theirs[2];

struct binding {
	uint16_t flow;
	uint8_t index, worker;
};
static struct binding *bindings; /* by generation, which is unique over all sessions here */
static uint32_t next_generation = 1;
static struct {
	bool bound;
	uint8_t index;
	uint16_t seq;
	uint32_t floor; /* a packet sent now belongs to no generation before this */
} flows[FLOWS];
static bool taken[SESSIONS];

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "%s: %s\n", what, rte_strerror(rte_errno));
	exit(EXIT_FAILURE);
}

static void start_eal(void)
{
	char words[][16] = {"test_rebind", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-l", "0", "-m", "128",
		"--log-level", "error"};
	char *arguments[sizeof(words) / sizeof(words[0]) + 1] = {NULL};
	struct rte_eth_conf configuration = {0};
	struct rte_ether_addr mac;
	int port;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		arguments[i] = words[i];
	require(rte_eal_init(sizeof(words) / sizeof(words[0]), arguments) >= 0, "EAL");
	pool = rte_pktmbuf_pool_create("test", 8191, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	to_port = rte_ring_create("to_port", IN_FLIGHT, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
	from_port = rte_ring_create("from_port", IN_FLIGHT, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
	require(pool != NULL && to_port != NULL && from_port != NULL, "memory");
	port = rte_eth_from_rings("test", &to_port, 1, &from_port, 1, 0);
	require(port >= 0, "port");
	port_id = (uint16_t)port;
	require(rte_eth_dev_configure(port_id, 1, 1, &configuration) == 0 &&
			rte_eth_rx_queue_setup(port_id, 0, 512, 0, NULL, pool) == 0 &&
			rte_eth_tx_queue_setup(port_id, 0, 512, 0, NULL) == 0 && rte_eth_dev_start(port_id) == 0 &&
			rte_eth_macaddr_get(port_id, &mac) == 0,
		"port");
	memcpy(locals[port_id].mac, mac.addr_bytes, 6);
	ip_address_parse("10.77.0.1", &locals[port_id].addresses[0]);
	locals[port_id].address_count = 1;
	locals[port_id].rtp_port = 5004;
}

static void setup(void)
{
	struct lcore_command attach = {.type = LCORE_WORKER_ATTACH};

	bindings = calloc(BINDINGS_MAX, sizeof(bindings[0]));
	table = session_table_new(SESSIONS, 0);
	lcore = table == NULL ? NULL : lcore_new(0, 0, table, pool, locals, &settings);
	require(bindings != NULL && lcore != NULL, "memory");
	lcore_add_rx_queue(lcore, port_id, 0);
	lcore_set_tx_queue(lcore, port_id, 0);
	for (unsigned int i = 0; i < 2; i++) {
		int fd = vl_channel_create(&ours[i], 1, 4096);

		require(fd >= 0 && vl_channel_map(&theirs[i], fd) == 0, "channel");
		close(fd);
		attach.worker_slot = (uint8_t)i;
		attach.worker = &ours[i];
		lcore_command(lcore, &attach);
	}
}

static void teardown(void)
{
	lcore_free(lcore);
	session_table_free(table);
	for (unsigned int i = 0; i < 2; i++) {
		vl_channel_unmap(&theirs[i]);
		vl_channel_unmap(&ours[i]);
	}
	free(bindings);
}

/* Same source for eight flows each, so that only the SSRC tells them apart. */
static struct flow_key key_of(unsigned int flow)
{
	struct flow_key key = {.local_port = 5004, .remote_port = (uint16_t)(20000 + flow / 8), .ssrc = 7 + flow % 8};

	key.local = locals[port_id].addresses[0];
	ip_address_parse("192.168.50.50", &key.remote);
	return key;
}

static uint32_t next_random(void)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32);
}

/*
 * The linker puts this in the lcore's way (--wrap): now and then, between the lookup of a burst and its delivery, the lcore waits
 * until the control side has changed things. What otherwise happens once in a million packets happens thousands of times.
 */
uint64_t __real_session_table_lookup(
	const struct session_table *in, const struct flow_key *const keys[], unsigned int count, struct session_ref refs[]);
uint64_t __wrap_session_table_lookup(
	const struct session_table *in, const struct flow_key *const keys[], unsigned int count, struct session_ref refs[]);
static atomic_bool paused;

uint64_t __wrap_session_table_lookup(
	const struct session_table *in, const struct flow_key *const keys[], unsigned int count, struct session_ref refs[])
{
	static unsigned int calls; /* the lcore's */
	uint64_t hits = __real_session_table_lookup(in, keys, count, refs);

	if (++calls % 4 == 0) {
		atomic_store(&paused, true);
		while (atomic_load(&paused))
			sched_yield();
	}
#ifdef PLANT_GENERATION_OF_SESSION
	for (unsigned int i = 0; i < count; i++) {
		uint32_t generation = hits >> i & 1 ? session_table_flow(table, refs[i].index)->route.generation : 0;

		if (generation != 0)
			refs[i].generation = generation;
	}
#endif
	return hits;
}

/* As the control thread does: storage first, generation last, then the flow. */
static void bind_flow(unsigned int flow, unsigned int index)
{
	struct session_flow *session = session_table_flow(table, index);
	struct session_ref ref = {.index = index, .generation = next_generation};
	struct flow_key key = key_of(flow);

	bindings[ref.generation] =
		(struct binding){.flow = (uint16_t)flow, .index = (uint8_t)index, .worker = (uint8_t)(ref.generation & 1)};
	receive_reset(&session->receive);
	atomic_store_explicit(&session->route.worker, (uint8_t)(ref.generation & 1), memory_order_relaxed);
	atomic_store_explicit(&session->route.held, 0, memory_order_relaxed);
	atomic_store_explicit(&session->route.generation, ref.generation, memory_order_release);
	/* The table may be full of removed flows that an lcore may still see. */
	if (session_table_insert(table, &key, ref) != 0) {
		atomic_store_explicit(&session->route.generation, 0, memory_order_release);
		return;
	}
	next_generation++;
	taken[index] = true;
	flows[flow].bound = true;
	flows[flow].index = (uint8_t)index;
	flows[flow].floor = ref.generation;
}

static void unbind_flow(unsigned int flow)
{
	struct flow_key key = key_of(flow);

	atomic_store_explicit(&session_table_flow(table, flows[flow].index)->route.generation, 0, memory_order_release);
	ck_assert_int_eq(session_table_remove(table, &key), 0);
	taken[flows[flow].index] = false;
	flows[flow].bound = false;
	flows[flow].floor = next_generation;
}

static void send_packet(unsigned int flow)
{
	struct headers_spec spec = {.source_mac = {2, 0, 0, 0, 0, 9}};
	struct flow_key key = key_of(flow);
	struct header_template template;
	struct rte_mbuf *mbuf = rte_ring_full(to_port) ? NULL : rte_pktmbuf_alloc(pool);
	uint8_t *bytes;
	uint32_t words[3] = {0, flow, flows[flow].floor};

	if (mbuf == NULL)
		return;
	memcpy(spec.destination_mac, locals[port_id].mac, 6);
	spec.local = (struct endpoint){key.remote, key.remote_port};
	spec.remote = (struct endpoint){key.local, key.local_port};
	ck_assert_int_eq(headers_build(&template, &spec), 0);
	bytes = (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)(template.len + 12 + sizeof(words)));
	memcpy(bytes, template.bytes, template.len);
	memset(bytes + template.len, 0, 12);
	bytes[template.len] = 0x80;
	bytes[template.len + 2] = (uint8_t)(flows[flow].seq >> 8);
	bytes[template.len + 3] = (uint8_t)flows[flow].seq++;
	bytes[template.len + 11] = (uint8_t)key.ssrc;
	memcpy(bytes + template.len + 12, words, sizeof(words));
	headers_finish(&template, bytes, 12 + sizeof(words), 1);
	if (rte_ring_sp_enqueue(to_port, mbuf) != 0)
		rte_pktmbuf_free(mbuf);
}

/* Every record against what was bound. Returns how many. */
static uint64_t check_records(void)
{
	uint64_t count = 0;

	for (unsigned int worker = 0; worker < 2; worker++) {
		struct vl_record record;
		const uint8_t *payload;
		uint32_t words[3];

		while (vl_ring_next(&theirs[worker].up[0], &record, &payload) == 1) {
			ck_assert_uint_eq(record.len, sizeof(words));
			memcpy(words, payload, sizeof(words));
			ck_assert_uint_gt(record.generation, 0);
			ck_assert_uint_lt(record.generation, next_generation);
			const struct binding *binding = &bindings[record.generation];

			ck_assert_uint_eq(binding->flow, words[1]);
			ck_assert_uint_eq(binding->index, record.session);
			ck_assert_uint_eq(binding->worker, worker);
			ck_assert_uint_ge(record.generation, words[2]);
			count++;
		}
		vl_ring_release(&theirs[worker].up[0]);
	}
	return count;
}

/* End the flow's binding, if it has one; bind another flow to the same session at once, and the flow itself to another session. */
static void change(unsigned int flow)
{
	unsigned int other = next_random() % FLOWS, index = next_random() % SESSIONS;

	if (flows[flow].bound) {
		unsigned int freed = flows[flow].index;

		unbind_flow(flow);
		if (!flows[other].bound && next_generation < BINDINGS_MAX - 2)
			bind_flow(other, freed);
	}
	if (!flows[flow].bound && !taken[index] && next_generation < BINDINGS_MAX - 1)
		bind_flow(flow, index);
}

/* Between a lookup and its delivery. */
static void change_under_the_lcore(void)
{
	if (!atomic_load(&paused))
		return;
	for (unsigned int flow = 0; flow < FLOWS; flow++) {
		if (next_random() % 4 == 0)
			change(flow);
	}
	atomic_store(&paused, false);
}

static void *run_lcore(void *arg)
{
	lcore_run(arg);
	return NULL;
}

START_TEST(test_rebind)
{
	uint64_t delivered = 0;
	time_t end = time(NULL) + SECONDS;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, run_lcore, lcore), 0);
	while (time(NULL) < end && (delivered < DELIVERED || lcore->counters.drops[DROP_STALE_GENERATION] < STALE)) {
		for (unsigned int i = 0; i < 64; i++) {
			unsigned int flow = next_random() % FLOWS;

			/* A packet, a change of the same flow, and a packet again, close to each other. */
			send_packet(flow);
			if (next_random() % 16 == 0)
				change(flow);
			send_packet(flow);
			change_under_the_lcore();
		}
		session_table_reclaim(table);
		delivered += check_records();
		sched_yield();
	}
	settings.stop = true;
	while (pthread_tryjoin_np(thread, NULL) != 0)
		atomic_store(&paused, false);
	delivered += check_records();
	printf("# %lu records of %u bindings checked, %lu stale\n", delivered, next_generation - 1,
		(unsigned long)lcore->counters.drops[DROP_STALE_GENERATION]);
	ck_assert_uint_gt(next_generation, DELIVERED / 10);
	ck_assert_uint_ge(lcore->counters.drops[DROP_STALE_GENERATION], STALE);
	ck_assert_uint_ge(delivered, DELIVERED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rebind");

	start_eal();
	unit_add_fixture(suite, "concurrency", setup, teardown, test_rebind);
	return unit_run(suite);
}
