/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rate limiter of unknown flows: rates, bursts, isolation of sources.
 */
#include <string.h>

#include "dpdk_app/learn_limit.h"
#include "unit.h"

#define HZ 1000000000u

static struct learn_limit limit;
static const uint64_t key[2] = {0x0123456789abcdef, 0xfedcba9876543210};

static struct ip_address v4(uint32_t address)
{
	struct ip_address result = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, (uint8_t)(address >> 24), (uint8_t)(address >> 16),
		(uint8_t)(address >> 8), (uint8_t)address}};

	return result;
}

/* Offer `per_second` packets a second for `seconds`; returns how many pass. */
static uint32_t offer(struct ip_address source, uint32_t per_second, uint32_t seconds, uint64_t *tsc)
{
	uint32_t passed = 0;

	for (uint32_t i = 0; i < per_second * seconds; i++) {
		passed += learn_limit_take(&limit, &source, *tsc);
		*tsc += HZ / per_second;
	}
	return passed;
}

START_TEST(test_rates)
{
	static const struct {
		uint32_t rate, offered, burst;
	} cases[] = {{100, 1000, 25}, {100, 50, 0}, {10, 1000, 8}, {10000, 100000, 2500}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t tsc = 77;

		learn_limit_init(&limit, key, HZ, cases[i].rate, 1000000);
		uint32_t passed = offer(v4(1), cases[i].offered, 10, &tsc);
		uint32_t wanted = cases[i].offered < cases[i].rate ? cases[i].offered * 10 : cases[i].rate * 10 + cases[i].burst;

		ck_assert_uint_ge(passed, wanted - 2);
		ck_assert_uint_le(passed, wanted + 2);
	}
}
END_TEST

START_TEST(test_burst_at_start)
{
	struct ip_address source = v4(1);
	uint32_t passed = 0;

	learn_limit_init(&limit, key, HZ, 100, 100000);
	for (unsigned int i = 0; i < 1000; i++)
		passed += learn_limit_take(&limit, &source, 5 * (uint64_t)HZ);
	ck_assert_uint_eq(passed, 25);
}
END_TEST

START_TEST(test_total)
{
	uint32_t passed = 0;

	learn_limit_init(&limit, key, HZ, 100, 1000);
	/* One packet each from 100,000 sources in a second. */
	for (uint32_t i = 0; i < 100000; i++) {
		struct ip_address source = v4(i);

		passed += learn_limit_take(&limit, &source, (uint64_t)i * (HZ / 100000));
	}
	ck_assert_uint_ge(passed, 1240);
	ck_assert_uint_le(passed, 1260);
}
END_TEST

START_TEST(test_none)
{
	struct ip_address source = v4(1);

	learn_limit_init(&limit, key, HZ, 0, 1000);
	ck_assert(!learn_limit_take(&limit, &source, 5));
	learn_limit_init(&limit, key, HZ, 100, 0);
	ck_assert(!learn_limit_take(&limit, &source, 5));
}
END_TEST

/* Sources that flood must not cost the others their calls: 100 of them fill 5 % of the buckets, so 0.25 % of the others meet two full ones. */
START_TEST(test_isolation)
{
	const uint64_t tsc = 1;
	uint32_t refused = 0;
	const uint32_t victims = 10000;

	for (uint32_t i = 0; i < victims; i++) {
		struct ip_address victim = v4(i);

		/* Seconds pass, the flood goes on. */
		if (i % 100 == 0) {
			learn_limit_init(&limit, key, HZ, 100, 1000000);
			for (uint32_t f = 0; f < 100; f++) {
				struct ip_address flooder = v4(0xff000000 + f);

				while (learn_limit_take(&limit, &flooder, tsc))
					;
			}
		}
		refused += !learn_limit_take(&limit, &victim, tsc);
	}
	ck_assert_uint_le(refused, victims / 100);
}
END_TEST

START_TEST(test_source_is_a_64)
{
	struct ip_address source;
	uint32_t passed = 0;

	learn_limit_init(&limit, key, HZ, 100, 1000000);
	ip_address_parse("2001:db8:1:2::", &source);
	for (unsigned int i = 0; i < 1000; i++) {
		source.bytes[15] = (uint8_t)i;
		source.bytes[14] = (uint8_t)(i >> 8);
		passed += learn_limit_take(&limit, &source, 1);
	}
	ck_assert_uint_eq(passed, 25);
	source.bytes[7]++;
	ck_assert(learn_limit_take(&limit, &source, 1));
}
END_TEST

/* The same two sources collide under one key and not under another: a collision cannot be prepared. */
START_TEST(test_key)
{
	unsigned int collided = 0;

	for (uint64_t k = 0; k < 64; k++) {
		const uint64_t other[2] = {k * 0x9e3779b97f4a7c15u, k};
		struct ip_address flooder = v4(1);

		learn_limit_init(&limit, other, HZ, 100, 1000000);
		while (learn_limit_take(&limit, &flooder, 1))
			;
		for (uint32_t i = 2; i < 66; i++) {
			struct ip_address victim = v4(i);

			collided += !learn_limit_take(&limit, &victim, 1);
		}
	}
	ck_assert_uint_le(collided, 2);
}
END_TEST

static struct learn_limit streams;

static struct flow_key stream_of(uint32_t address, uint16_t port, uint32_t ssrc)
{
	return (struct flow_key){.remote = v4(address), .remote_port = port, .ssrc = ssrc};
}

/* Two streams that nobody wants, at the full rate of telephony each, cost a new call of the same server nothing. */
START_TEST(test_stray_streams)
{
	struct flow_key strays[2] = {stream_of(1, 20000, 1), stream_of(1, 20002, 2)};

	learn_limit_init(&streams, key, HZ, 50, 20000);
	learn_limit_init(&limit, key, HZ, 5000, 20000);
	for (uint32_t i = 0; i < 50 * 60; i++) {
		uint64_t tsc = 1 + (uint64_t)i * (HZ / 50);
		struct flow_key call = stream_of(1, 30000, i / 10);

		learn_limit_take_stream(&streams, &limit, &strays[0], tsc);
		learn_limit_take_stream(&streams, &limit, &strays[1], tsc);
		ck_assert_msg(learn_limit_take_stream(&streams, &limit, &call, tsc), "packet %u", i);
	}
}
END_TEST

/* A flood of one stream passes at its own rate; of invented streams at the address's, and others keep theirs. */
START_TEST(test_stream_floods)
{
	uint32_t one = 0, invented = 0, refused = 0;

	learn_limit_init(&streams, key, HZ, 50, 20000);
	learn_limit_init(&limit, key, HZ, 5000, 20000);
	for (uint32_t i = 0; i < 200000; i++) {
		uint64_t tsc = 1 + (uint64_t)i * (HZ / 100000);
		struct flow_key same = stream_of(1, 20000, 1);
		struct flow_key other = stream_of(2, (uint16_t)(i * 7919), i * 2654435761u);

		one += learn_limit_take_stream(&streams, &limit, &same, tsc);
		invented += learn_limit_take_stream(&streams, &limit, &other, tsc);
		if (i % 1000 == 0) {
			struct flow_key call = stream_of(1000 + i, 30000, i);

			refused += !learn_limit_take_stream(&streams, &limit, &call, tsc);
		}
	}
	ck_assert_uint_ge(one, 100);
	ck_assert_uint_le(one, 120);
	ck_assert_uint_ge(invented, 10000);
	ck_assert_uint_le(invented, 11500);
	ck_assert_uint_eq(refused, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("learn_limit");

	unit_add(suite, "rate", test_rates, test_burst_at_start, test_total, test_none);
	unit_add(suite, "sources", test_isolation, test_source_is_a_64, test_key);
	unit_add(suite, "streams", test_stray_streams, test_stream_floods);
	return unit_run(suite);
}
