/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources of trunks: the search against a plain look through the prefixes, and the rates.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dpdk_app/sources.h"
#include "unit.h"

#define HZ 1000000000u

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix result;

	ck_assert_int_eq(ip_prefix_parse(text, &result), 0);
	return result;
}

static int find(const struct sources *sources, const char *text)
{
	struct ip_address address;

	ck_assert_int_eq(ip_address_parse(text, &address), 0);
	return sources_find(sources, &address);
}

START_TEST(test_edges)
{
	struct ip_prefix first[] = {
		prefix("192.168.50.50"), prefix("10.0.0.0/8"), prefix("10.1.0.0/16"), prefix("10.255.255.255")};
	struct ip_prefix second[] = {prefix("2001:db8::/32"), prefix("192.168.50.51"), prefix("255.255.255.255")};
	struct sources_trunk trunks[] = {{first, 4, 0}, {second, 3, 0}, {NULL, 0, 0}};
	struct sources *sources = sources_new(trunks, 3, HZ);
	static const struct {
		const char *address;
		int trunk;
	} cases[] = {{"192.168.50.50", 0}, {"192.168.50.49", -1}, {"192.168.50.51", 1}, {"192.168.50.52", -1}, {"10.0.0.0", 0},
		{"9.255.255.255", -1}, {"10.1.2.3", 0}, {"10.2.0.0", 0}, {"10.255.255.255", 0}, {"11.0.0.0", -1}, {"0.0.0.0", -1},
		{"255.255.255.255", 1}, {"255.255.255.254", -1}, {"2001:db8::", 1}, {"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 1},
		{"2001:db7:ffff::", -1}, {"2001:db9::", -1}, {"::", -1}, {"ffff::", -1}};

	ck_assert_ptr_nonnull(sources);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(find(sources, cases[i].address) == cases[i].trunk, "%s: %d", cases[i].address,
			find(sources, cases[i].address));
	free(sources);
}
END_TEST

START_TEST(test_everything_and_nothing)
{
	struct ip_prefix all = prefix("::/0");
	struct sources_trunk everything = {&all, 1, 0}, nothing = {NULL, 0, 0};
	struct sources *sources = sources_new(&everything, 1, HZ);

	ck_assert_int_eq(find(sources, "::"), 0);
	ck_assert_int_eq(find(sources, "192.0.2.1"), 0);
	ck_assert_int_eq(find(sources, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 0);
	free(sources);
	sources = sources_new(&nothing, 1, HZ);
	ck_assert_int_eq(find(sources, "192.0.2.1"), -1);
	free(sources);
	ck_assert_ptr_null(sources_new(&nothing, SOURCES_TRUNKS_MAX + 1, HZ));
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

static uint32_t next_random(void)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32);
}

/* Random prefixes in a small space, so that they contain each other often; all of one trunk, as the configuration demands of such. */
START_TEST(test_against_plain_search)
{
	for (unsigned int round = 0; round < 300; round++) {
		struct ip_prefix prefixes[24];
		size_t count = round % 24;
		struct sources_trunk trunk = {prefixes, count, 0};

		for (size_t i = 0; i < count; i++) {
			char text[32];
			unsigned int length = 24 + next_random() % 9;

			snprintf(text, sizeof(text), "10.0.%u.%u/%u", next_random() % 3,
				(next_random() & 0xff) & (0xff00u >> (length - 24)), length);
			prefixes[i] = prefix(text);
		}
		struct sources *sources = sources_new(&trunk, 1, HZ);

		for (unsigned int i = 0; i < 4 * 256; i++) {
			struct ip_address address = {
				{[10] = 0xff, [11] = 0xff, [12] = 10, [14] = (uint8_t)(i >> 8), [15] = (uint8_t)i}};
			int wanted = -1;

			for (size_t k = 0; k < count; k++)
				wanted = ip_prefix_contains(&prefixes[k], &address) ? 0 : wanted;
			ck_assert_int_eq(sources_find(sources, &address), wanted);
		}
		free(sources);
	}
}
END_TEST

/* Offer `per_second` packets a second for ten seconds. */
static uint32_t offer(const struct sources *sources, struct sources_meter *meter, unsigned int trunk, uint32_t per_second)
{
	uint32_t passed = 0;

	for (uint64_t i = 0; i < 10u * per_second; i++)
		passed += sources_take(sources, meter, trunk, 7 + i * (HZ / per_second));
	return passed;
}

START_TEST(test_rates)
{
	static const struct {
		uint32_t rate, offered, least, most;
	} cases[] = {{1000, 10000, 10240, 10260}, {1000, 1000, 10000, 10000}, {100, 1000, 1060, 1066},
		{0, 100000, 1000000, 1000000}, {100000, 400, 4000, 4000}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sources_trunk trunks[] = {{NULL, 0, 1}, {NULL, 0, cases[i].rate}};
		struct sources *sources = sources_new(trunks, 2, HZ);
		struct sources_meter meter = {0};
		uint32_t passed = offer(sources, &meter, 1, cases[i].offered);

		ck_assert_msg(passed >= cases[i].least && passed <= cases[i].most, "case %zu: %u passed", i, passed);
		/* The other trunk's bucket was not touched. */
		ck_assert_uint_eq(meter.due[0], 0);
		ck_assert(sources_take(sources, &meter, 0, 1));
		free(sources);
	}
}
END_TEST

/* What a slower rate has charged does not count against a new one. */
START_TEST(test_new_rate)
{
	struct sources_trunk slow = {NULL, 0, 1}, fast = {NULL, 0, 1000}, any = {NULL, 0, 0};
	struct sources *sources[] = {sources_new(&slow, 1, HZ), sources_new(&fast, 1, HZ), sources_new(&any, 1, HZ)};

	for (size_t i = 1; i < 3; i++) {
		struct sources_meter meter = {0};

		while (sources_take(sources[0], &meter, 0, 1000))
			;
		ck_assert(sources_take(sources[i], &meter, 0, 1000));
	}
	for (size_t i = 0; i < 3; i++)
		free(sources[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sources");

	unit_add(suite, "find", test_edges, test_everything_and_nothing, test_against_plain_search);
	unit_add(suite, "rate", test_rates, test_new_rate);
	return unit_run(suite);
}
