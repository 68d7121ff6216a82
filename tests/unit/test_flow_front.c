/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands in front of the session table: signatures that are the same, buckets that are full, and a key that is replaced while
 * another thread asks: it finds the old one, the new one or nothing, never a mixture of both.
 */
#include <pthread.h>
#include <stdlib.h>

#include "dpdk_app/flow_front.h"
#include "unit.h"

#define TURNS 300000u

static struct flow_key key_of(uint8_t address, uint32_t ssrc)
{
	struct flow_key key = {.local_port = 5004, .remote_port = (uint16_t)(1024 + ssrc % 100), .ssrc = ssrc};

	key.remote.bytes[15] = address;
	key.local.bytes[15] = (uint8_t)(address + 100);
	return key;
}

START_TEST(test_flow_front_buckets)
{
	static const struct {
		uint32_t sessions, buckets;
	} cases[] = {{1, 1}, {4, 1}, {5, 2}, {1000, 256}, {1024, 256}, {1025, 512}, {100000, 32768}, {1u << 22, 1u << 20}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_uint_eq(flow_front_buckets(cases[i].sessions), cases[i].buckets);
}
END_TEST

START_TEST(test_flow_front_bucket_fills)
{
	struct flow_front_bucket bucket = {0};

	/* An empty bucket has nobody, whatever the signature. */
	ck_assert_uint_eq(flow_front_find(&bucket, 0), FLOW_FRONT_NOBODY);
	for (uint32_t i = 0; i < FLOW_FRONT_WAYS; i++)
		ck_assert(flow_front_add(&bucket, 1000 + i, i));
	ck_assert(!flow_front_add(&bucket, 2000, 77));
	ck_assert_uint_eq(flow_front_find(&bucket, 2000), FLOW_FRONT_NOBODY);
	for (uint32_t i = 0; i < FLOW_FRONT_WAYS; i++)
		ck_assert_uint_eq(flow_front_find(&bucket, 1000 + i), i);
	flow_front_remove(&bucket, 3);
	ck_assert_uint_eq(flow_front_find(&bucket, 1003), FLOW_FRONT_NOBODY);
	ck_assert_uint_eq(flow_front_find(&bucket, 0), FLOW_FRONT_NOBODY);
	ck_assert(flow_front_add(&bucket, 2000, 77));
	ck_assert_uint_eq(flow_front_find(&bucket, 2000), 77);
	/* Somebody else's signature is the same: one of both is found, and the key tells whose it is. */
	flow_front_remove(&bucket, 0);
	ck_assert(flow_front_add(&bucket, 2000, 78));
	ck_assert(flow_front_find(&bucket, 2000) == 77 || flow_front_find(&bucket, 2000) == 78);
}
END_TEST

START_TEST(test_flow_front_every_byte_counts)
{
	struct flow_key key = key_of(1, 7);
	struct flow_front_key shared = {0};

	ck_assert_uint_eq(flow_front_check(&shared, &key), 0);
	flow_front_write(&shared, &key, 42);
	ck_assert_uint_eq(flow_front_check(&shared, &key), 42);
	for (size_t i = 0; i < sizeof(key); i++) {
		struct flow_key other = key;

		((uint8_t *)&other)[i] ^= 0x10;
		ck_assert_uint_eq(flow_front_check(&shared, &other), 0);
	}
	/* While it is being replaced, it is nobody's. */
	shared.version++;
	ck_assert_uint_eq(flow_front_check(&shared, &key), 0);
	shared.version++;
	flow_front_write(&shared, &key, 0);
	ck_assert_uint_eq(flow_front_check(&shared, &key), 0);
}
END_TEST

/* A reader: keys made of both in every way that a torn read could see. */
struct reader {
	struct flow_front_key *shared;
	struct flow_key one, two;
	atomic_bool stop;
	uint64_t mixtures, found;
};

static void *read_mixtures(void *argument)
{
	struct reader *reader = argument;

	while (!atomic_load_explicit(&reader->stop, memory_order_relaxed)) {
		for (unsigned int mask = 0; mask < 1u << FLOW_FRONT_WORDS; mask++) {
			struct flow_key key = reader->one;
			uint32_t generation;

			for (unsigned int i = 0; i < FLOW_FRONT_WORDS; i++) {
				if (mask >> i & 1)
					memcpy((uint8_t *)&key + 8 * i, (uint8_t *)&reader->two + 8 * i, 8);
			}
			generation = flow_front_check(reader->shared, &key);
			if (memcmp(&key, &reader->one, sizeof(key)) == 0)
				reader->mixtures += generation != 0 && generation != 1;
			else if (memcmp(&key, &reader->two, sizeof(key)) == 0)
				reader->mixtures += generation != 0 && generation != 2;
			else
				reader->mixtures += generation != 0;
			reader->found += generation != 0;
		}
	}
	return NULL;
}

START_TEST(test_flow_front_never_a_mixture)
{
	static struct flow_front_key shared;
	struct reader reader = {.shared = &shared, .one = key_of(1, 7), .two = key_of(2, 8)};
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, read_mixtures, &reader), 0);
	for (unsigned int turn = 0; turn < TURNS; turn++) {
		flow_front_write(&shared, turn & 1 ? &reader.two : &reader.one, 1 + (turn & 1));
		/* Long enough that it is also found. */
		for (volatile unsigned int i = 0; turn % 16 == 0 && i < 200; i++)
			;
	}
	atomic_store(&reader.stop, true);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(reader.mixtures, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("flow_front");

	unit_add(suite, "places", test_flow_front_buckets, test_flow_front_bucket_fills);
	unit_add(suite, "keys", test_flow_front_every_byte_counts, test_flow_front_never_a_mixture);
	return unit_run(suite);
}
