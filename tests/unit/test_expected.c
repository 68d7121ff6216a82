/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places where callers are waited for, and their share of the learning path beside a flood from everywhere else of the address.
 */
#include <stdlib.h>
#include <string.h>

#include "dpdk_app/expected.h"
#include "dpdk_app/learn_limit.h"
#include "unit.h"

#define HZ 1000000u

static struct flow_key place(uint32_t number)
{
	struct flow_key key = {.local_port = 5004, .remote_port = (uint16_t)(1024 + number % 60000), .ssrc = number * 77};

	key.remote.bytes[10] = key.remote.bytes[11] = 0xff;
	key.remote.bytes[12] = 10;
	key.remote.bytes[15] = (uint8_t)(number / 60000);
	return key;
}

START_TEST(test_expected_while_somebody_waits)
{
	struct expected *expected = expected_new(42);
	struct flow_key here = place(1), stream = here, there = place(2);

	ck_assert_ptr_nonnull(expected);
	ck_assert(!expected_has(expected, &here));
	expected_add(expected, &here);
	expected_add(expected, &here); /* two calls behind one port */
	stream.ssrc = 12345;
	ck_assert(expected_has(expected, &stream));
	ck_assert(!expected_has(expected, &there));
	stream = here;
	stream.local_port++;
	ck_assert(!expected_has(expected, &stream));
	expected_remove(expected, &here);
	ck_assert(expected_has(expected, &here));
	expected_remove(expected, &here);
	ck_assert(!expected_has(expected, &here));
	free(expected);
}
END_TEST

START_TEST(test_expected_few_others_share)
{
	struct expected *expected = expected_new(7);
	uint32_t others = 0;

	for (uint32_t i = 0; i < 1000; i++) {
		struct flow_key key = place(i);

		expected_add(expected, &key);
	}
	for (uint32_t i = 1000; i < 101000; i++) {
		struct flow_key key = place(i);

		others += expected_has(expected, &key);
	}
	ck_assert_msg(others < 800, "%u of 100000", others); /* 381 are expected */
	for (uint32_t i = 0; i < 1000; i++) {
		struct flow_key key = place(i);

		expected_remove(expected, &key);
	}
	for (uint32_t i = 0; i < 101000; i++) {
		struct flow_key key = place(i);

		ck_assert(!expected_has(expected, &key));
	}
	free(expected);
}
END_TEST

START_TEST(test_expected_full_count_stays)
{
	struct expected *expected = expected_new(7);
	struct flow_key key = place(3);

	for (uint32_t i = 0; i < EXPECTED_MOST + 5u; i++)
		expected_add(expected, &key);
	for (uint32_t i = 0; i < EXPECTED_MOST + 5u; i++)
		expected_remove(expected, &key);
	ck_assert(expected_has(expected, &key)); /* rather than forget somebody who still waits */
	free(expected);
}
END_TEST

/* Each place has its rate, whatever SSRCs come from it, and together they have the total. */
START_TEST(test_expected_places_have_rates)
{
	static const uint64_t random_key[2] = {1, 2};
	static struct learn_limit limit;
	unsigned int passed[2] = {0, 0}, total = 0;

	learn_limit_init(&limit, random_key, HZ, 50, 1000);
	for (uint64_t tsc = HZ; tsc < 2 * HZ; tsc += HZ / 10000) {
		struct flow_key flooded = place(1), calm = place(2);

		flooded.ssrc = (uint32_t)tsc;
		passed[0] += learn_limit_take_place(&limit, &flooded, tsc);
		if (tsc % (HZ / 40) == 0)
			passed[1] += learn_limit_take_place(&limit, &calm, tsc);
	}
	ck_assert_uint_le(passed[0], 50 + 13);
	ck_assert_uint_ge(passed[0], 50);
	ck_assert_uint_eq(passed[1], 40);
	for (uint32_t i = 0; i < 10000; i++) {
		struct flow_key key = place(i + 10);

		total += learn_limit_take_place(&limit, &key, 3 * HZ);
	}
	ck_assert_uint_le(total, 250);
	ck_assert_uint_ge(total, 200);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("expected");

	unit_add(suite, "places", test_expected_while_somebody_waits, test_expected_few_others_share,
		test_expected_full_count_stays, test_expected_places_have_rates);
	return unit_run(suite);
}
