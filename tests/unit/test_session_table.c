/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_table.c under a real EAL (no hugepages, no devices): storage, lookup, removal, grace periods, and readers that look
 * up while the writer inserts and removes. The readers check that no lookup ever yields another key's session, nor one that was
 * removed before the lookup began.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_pause.h>

#include "dpdk_app/session.h"
#include "unit.h"

#define SESSIONS 256u
#define CAPACITY (SESSIONS + SESSIONS / 2 + 64) /* key_capacity() */
#define READERS	 2

static struct session_table *table;

static struct flow_key key_of(uint32_t number)
{
	struct flow_key key = {
		.local_port = 10000, .remote_port = (uint16_t)(5004 + 2 * (number % 7)), .ssrc = 0xca110000 + number};

	key.local.bytes[10] = key.local.bytes[11] = 0xff;
	key.remote = key.local;
	key.local.bytes[15] = 1;
	key.remote.bytes[15] = (uint8_t)(2 + number % 5);
	return key;
}

static struct session_ref lookup_one(uint32_t number)
{
	struct flow_key key = key_of(number);
	const struct flow_key *keys[1] = {&key};
	struct session_ref ref = {1, 1};
	uint64_t hits = session_table_lookup(table, keys, 1, &ref);

	ck_assert_uint_eq(hits, ref.generation != 0);
	return ref;
}

static void insert(uint32_t number, uint32_t generation)
{
	struct flow_key key = key_of(number);

	ck_assert_int_eq(session_table_insert(table, &key, (struct session_ref){number % SESSIONS, generation}), 0);
}

static void erase(uint32_t number)
{
	struct flow_key key = key_of(number);

	ck_assert_int_eq(session_table_remove(table, &key), 0);
}

static void counts(uint32_t used, uint32_t deferred)
{
	uint32_t is_used, is_deferred;

	session_table_count(table, &is_used, &is_deferred);
	ck_assert_uint_eq(is_used, used);
	ck_assert_uint_eq(is_deferred, deferred);
}

static void setup(void)
{
	table = session_table_new(SESSIONS, SOCKET_ID_ANY);
	ck_assert_ptr_nonnull(table);
}

static void teardown(void)
{
	session_table_free(table);
}

START_TEST(test_session_table_storage)
{
	ck_assert_uint_eq(session_table_max(table), SESSIONS);
	for (uint32_t i = 0; i < SESSIONS; i++) {
		struct session *session = session_table_at(table, i);
		struct session_flow *flow = session_table_flow(table, i);

		ck_assert_uint_eq((uintptr_t)session % RTE_CACHE_LINE_SIZE, 0);
		ck_assert_uint_eq(flow->route.generation, 0);
		ck_assert_uint_eq(flow->receive.packets, 0);
	}
}
END_TEST

START_TEST(test_session_table_new_refuses)
{
	ck_assert_ptr_null(session_table_new(0, SOCKET_ID_ANY));
	ck_assert_int_eq(rte_errno, EINVAL);
	ck_assert_ptr_null(session_table_new(SESSION_TABLE_MAX + 1, SOCKET_ID_ANY));
	ck_assert_int_eq(rte_errno, EINVAL);
	/* More than the EAL was given: everything taken on the way is given back, so it can be tried again and again. */
	for (int i = 0; i < 20; i++) {
		ck_assert_ptr_null(session_table_new(1u << 20, SOCKET_ID_ANY));
		ck_assert_int_eq(rte_errno, ENOMEM);
	}
	session_table_free(NULL);
}
END_TEST

START_TEST(test_session_table_insert_lookup_remove)
{
	struct flow_key key = key_of(7);

	ck_assert_uint_eq(lookup_one(7).generation, 0);
	insert(7, 3);
	ck_assert_uint_eq(lookup_one(7).generation, 3);
	ck_assert_uint_eq(lookup_one(7).index, 7);
	/* A key's data is never overwritten. */
	ck_assert_int_eq(session_table_insert(table, &key, (struct session_ref){8, 4}), -EEXIST);
	ck_assert_uint_eq(lookup_one(7).index, 7);
	counts(1, 0);
	erase(7);
	ck_assert_uint_eq(lookup_one(7).generation, 0);
	ck_assert_int_eq(session_table_remove(table, &key), -ENOENT);
	counts(0, 1);
	session_table_reclaim(table);
	counts(0, 0);
	/* What cannot be a live session is refused. */
	ck_assert_int_eq(session_table_insert(table, &key, (struct session_ref){7, 0}), -EINVAL);
	ck_assert_int_eq(session_table_insert(table, &key, (struct session_ref){SESSIONS, 1}), -EINVAL);
}
END_TEST

/* Every byte of the key counts: a flow that differs in one bit is another flow. */
START_TEST(test_session_table_every_bit_counts)
{
	struct flow_key key = key_of(1);
	const struct flow_key *keys[1];
	struct session_ref ref;

	insert(1, 1);
	for (size_t bit = 0; bit < sizeof(key) * 8; bit++) {
		struct flow_key other = key;

		((uint8_t *)&other)[bit / 8] ^= (uint8_t)(1u << bit % 8);
		keys[0] = &other;
		ck_assert_uint_eq(session_table_lookup(table, keys, 1, &ref), 0);
		ck_assert_uint_eq(ref.generation, 0);
	}
}
END_TEST

START_TEST(test_session_table_burst)
{
	struct flow_key key[SESSION_LOOKUP_BURST + 1];
	const struct flow_key *keys[SESSION_LOOKUP_BURST + 1];
	struct session_ref refs[SESSION_LOOKUP_BURST + 1];
	uint64_t expected = 0;

	for (uint32_t i = 0; i <= SESSION_LOOKUP_BURST; i++) {
		key[i] = key_of(i);
		keys[i] = &key[i];
	}
	for (uint32_t i = 0; i < SESSION_LOOKUP_BURST; i += 3) {
		insert(i, i + 1);
		expected |= 1ull << i;
	}
	for (unsigned int count = 0; count <= SESSION_LOOKUP_BURST; count++)
		ck_assert_uint_eq(session_table_lookup(table, keys, count, refs), expected & ((1ull << count) - 1));
	for (uint32_t i = 0; i < SESSION_LOOKUP_BURST; i++)
		ck_assert_uint_eq(refs[i].generation, expected >> i & 1 ? i + 1 : 0);
	ck_assert_uint_eq(session_table_lookup(table, keys, SESSION_LOOKUP_BURST + 1, refs), 0);
}
END_TEST

/* The table holds every key it was sized for, wherever they hash, and says so when it is full. */
START_TEST(test_session_table_fills)
{
	struct flow_key one_more = key_of(CAPACITY);

	for (uint32_t i = 0; i < CAPACITY; i++)
		insert(i, 1);
	ck_assert_int_eq(session_table_insert(table, &one_more, (struct session_ref){0, 1}), -ENOSPC);
	for (uint32_t i = 0; i < CAPACITY; i++)
		ck_assert_uint_eq(lookup_one(i).index, i % SESSIONS);
	for (uint32_t i = 0; i < CAPACITY; i++)
		erase(i);
	counts(0, CAPACITY);
	session_table_reclaim(table);
	counts(0, 0);
	for (uint32_t i = 0; i < CAPACITY; i++)
		insert(i, 2);
}
END_TEST

/* A reader that has not reported holds back every slot removed since, and only until it reports or goes offline. */
START_TEST(test_session_table_grace_period)
{
	struct rte_rcu_qsbr *qsbr = session_table_qsbr(table);
	struct flow_key one_more = key_of(CAPACITY);

	ck_assert_int_eq(rte_rcu_qsbr_thread_register(qsbr, 0), 0);
	rte_rcu_qsbr_thread_online(qsbr, 0);
	for (uint32_t i = 0; i < CAPACITY; i++)
		insert(i, 1);
	for (uint32_t i = 0; i < 10; i++)
		erase(i);
	session_table_reclaim(table);
	counts(CAPACITY - 10, 10);
	/* No slot is reused early, not even when the table is full. */
	ck_assert_int_eq(session_table_insert(table, &one_more, (struct session_ref){0, 1}), -ENOSPC);
	counts(CAPACITY - 10, 10);
	rte_rcu_qsbr_quiescent(qsbr, 0);
	/* A full table reclaims by itself. */
	insert(CAPACITY, 9);
	counts(CAPACITY - 9, 0);
	erase(CAPACITY);
	session_table_reclaim(table);
	counts(CAPACITY - 10, 1);
	rte_rcu_qsbr_thread_offline(qsbr, 0);
	session_table_reclaim(table);
	counts(CAPACITY - 10, 0);
	ck_assert_int_eq(rte_rcu_qsbr_thread_unregister(qsbr, 0), 0);
}
END_TEST

/* --- concurrent readers --- */

#define HOT_KEYS 200u

/* Writer: the test's thread, before a key is inserted and after it is removed. Readers: the reader threads. */
static _Atomic uint32_t newest[HOT_KEYS], oldest[HOT_KEYS];
static _Atomic bool stop;
static _Atomic uint64_t lookups, found;

static bool reader_burst(uint32_t first)
{
	struct flow_key key[SESSION_LOOKUP_BURST];
	const struct flow_key *keys[SESSION_LOOKUP_BURST];
	struct session_ref refs[SESSION_LOOKUP_BURST];
	uint32_t floor[SESSION_LOOKUP_BURST];

	for (uint32_t i = 0; i < SESSION_LOOKUP_BURST; i++) {
		uint32_t number = (first + i) % HOT_KEYS;

		key[i] = key_of(number);
		keys[i] = &key[i];
		floor[i] = atomic_load_explicit(&oldest[number], memory_order_acquire);
	}
	uint64_t hits = session_table_lookup(table, keys, SESSION_LOOKUP_BURST, refs);

	atomic_fetch_add_explicit(&lookups, SESSION_LOOKUP_BURST, memory_order_relaxed);
	atomic_fetch_add_explicit(&found, (uint64_t)__builtin_popcountll(hits), memory_order_relaxed);
	for (uint32_t i = 0; i < SESSION_LOOKUP_BURST; i++) {
		uint32_t number = (first + i) % HOT_KEYS;

		if (refs[i].generation == 0)
			continue;
		if (refs[i].index != number || refs[i].generation < floor[i] ||
			refs[i].generation > atomic_load_explicit(&newest[number], memory_order_acquire)) {
			fprintf(stderr, "key %u: index %u generation %u, oldest possible %u\n", number, refs[i].index,
				refs[i].generation, floor[i]);
			return false;
		}
	}
	return true;
}

static void *reader(void *arg)
{
	unsigned int id = (unsigned int)(uintptr_t)arg;
	struct rte_rcu_qsbr *qsbr = session_table_qsbr(table);
	uint32_t first = id * 31;
	bool good = true;

	rte_rcu_qsbr_thread_register(qsbr, id);
	rte_rcu_qsbr_thread_online(qsbr, id);
	while (good && !atomic_load_explicit(&stop, memory_order_relaxed)) {
		good = reader_burst(first += 17);
		rte_rcu_qsbr_quiescent(qsbr, id);
	}
	rte_rcu_qsbr_thread_offline(qsbr, id);
	rte_rcu_qsbr_thread_unregister(qsbr, id);
	return (void *)(uintptr_t)good;
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

START_TEST(test_session_table_concurrent)
{
	pthread_t threads[READERS];
	uint32_t generation[HOT_KEYS] = {0}, next = 1, used = 0, deferred, max_deferred = 0, random = 1;
	double end = now_s() + 1.0;
	uint64_t writes = 0;

	for (uint32_t i = 0; i < HOT_KEYS; i++)
		newest[i] = oldest[i] = 0;
	stop = false;
	lookups = found = 0;
	for (uintptr_t i = 0; i < READERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, (void *)i), 0);
	while (now_s() < end) {
		for (int n = 0; n < 64; n++, writes++) {
			random = random * 1664525u + 1013904223u;
			uint32_t number = (random >> 8) % HOT_KEYS;

			if (generation[number] == 0) {
				struct flow_key key = key_of(number);

				atomic_store_explicit(&newest[number], next, memory_order_release);
				int ret = session_table_insert(table, &key, (struct session_ref){number, next});
				ck_assert_int_eq(ret, 0);
				generation[number] = next++;
				used++;
			} else {
				erase(number);
				atomic_store_explicit(&oldest[number], generation[number] + 1, memory_order_release);
				generation[number] = 0;
				used--;
			}
		}
		session_table_count(table, &(uint32_t){0}, &deferred);
		max_deferred = deferred > max_deferred ? deferred : max_deferred;
		/*
		 * Let the readers run while half of the spare slots are in their grace period: otherwise the table drains and
		 * nothing is found.
		 */
		while (deferred > (CAPACITY - HOT_KEYS) / 2) {
			sched_yield();
			session_table_reclaim(table);
			session_table_count(table, &(uint32_t){0}, &deferred);
		}
	}
	stop = true;
	for (int i = 0; i < READERS; i++) {
		void *good;

		pthread_join(threads[i], &good);
		ck_assert_msg(good != NULL, "a lookup yielded another key's or a removed session");
	}
	session_table_reclaim(table);
	counts(used, 0);
	fprintf(stderr, "# %llu writes, %llu lookups, %llu found, %u deferred at most\n", (unsigned long long)writes,
		(unsigned long long)lookups, (unsigned long long)found, max_deferred);
	ck_assert_uint_gt(found, lookups / 10);
}
END_TEST

int main(void)
{
	char arguments[] = "test_session_table --no-huge --no-pci --no-shconf -m 256 --no-telemetry --log-level=error --lcores=0";
	char *eal[16] = {NULL}, *next = arguments;
	int count = 0;
	Suite *suite = suite_create("session_table");
	TCase *basic = tcase_create("basic"), *concurrent = tcase_create("concurrent");
	int result;

	while (next != NULL)
		eal[count++] = strsep(&next, " ");
	if (rte_eal_init(count, eal) < 0) {
		fprintf(stderr, "rte_eal_init: %s\n", rte_strerror(rte_errno));
		return EXIT_FAILURE;
	}
	tcase_add_checked_fixture(basic, setup, teardown);
	tcase_add_test(basic, test_session_table_storage);
	tcase_add_test(basic, test_session_table_new_refuses);
	tcase_add_test(basic, test_session_table_insert_lookup_remove);
	tcase_add_test(basic, test_session_table_every_bit_counts);
	tcase_add_test(basic, test_session_table_burst);
	tcase_add_test(basic, test_session_table_fills);
	tcase_add_test(basic, test_session_table_grace_period);
	suite_add_tcase(suite, basic);
	tcase_add_checked_fixture(concurrent, setup, teardown);
	tcase_set_timeout(concurrent, 30);
	tcase_add_test(concurrent, test_session_table_concurrent);
	suite_add_tcase(suite, concurrent);
	result = unit_run(suite);
	rte_eal_cleanup();
	return result;
}
