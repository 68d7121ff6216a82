/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses, prefixes and the names of the drop reasons.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dpdk_app/drops.h"
#include "dpdk_app/flow.h"

START_TEST(test_address_parse)
{
	static const struct {
		const char *text;
		const char *formatted; /* NULL: refused */
		bool v4;
	} cases[] = {
		{"192.0.2.1", "192.0.2.1", true},
		{"0.0.0.0", "0.0.0.0", true},
		{"255.255.255.255", "255.255.255.255", true},
		{"::ffff:192.0.2.1", "192.0.2.1", true},
		{"2001:db8::1", "2001:db8::1", false},
		{"2001:0DB8:0:0:0:0:0:1", "2001:db8::1", false},
		{"::", "::", false},
		{"", NULL, false},
		{"192.0.2", NULL, false},
		{"192.0.2.256", NULL, false},
		{"192.0.2.5o", NULL, false},
		{"192.0.2.1 ", NULL, false},
		{" 192.0.2.1", NULL, false},
		{"192.0.2.1/32", NULL, false},
		{"2001:db8::g", NULL, false},
		{"2001:db8::1%eth0", NULL, false},
		{":::", NULL, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ip_address address = {{0xaa}};
		char text[IP_ADDRESS_TEXT_SIZE];
		int ret = ip_address_parse(cases[i].text, &address);

		if (cases[i].formatted == NULL) {
			ck_assert_msg(ret == -EINVAL, "'%s' accepted", cases[i].text);
			ck_assert_uint_eq(address.bytes[0], 0xaa);
			continue;
		}
		ck_assert_msg(ret == 0, "'%s' refused", cases[i].text);
		ck_assert_str_eq(ip_address_format(&address, text), cases[i].formatted);
		ck_assert_int_eq(ip_address_is_v4(&address), cases[i].v4);
	}
}
END_TEST

START_TEST(test_prefix_parse)
{
	static const struct {
		const char *text;
		int length; /* -1: refused */
	} cases[] = {
		{"10.77.0.0/24", 120},
		{"10.77.0.1", 128},
		{"10.77.0.1/32", 128},
		{"0.0.0.0/0", 96},
		{"2001:db8::/32", 32},
		{"2001:db8::1", 128},
		{"2001:db8::1/128", 128},
		{"::/0", 0},
		{"10.77.0.1/24", -1},
		{"10.77.0.0/33", -1},
		{"10.77.0.0/", -1},
		{"10.77.0.0/024", -1},
		{"10.77.0.0/+24", -1},
		{"10.77.0.0/24 ", -1},
		{"10.77.0.0/24/24", -1},
		{"10.77.0.0/4294967320", -1},
		{"2001:db8::/129", -1},
		{"2001:db8::1/64", -1},
		{"/24", -1},
		{"", -1},
		{"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/1", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ip_prefix prefix = {.length = 77};
		int ret = ip_prefix_parse(cases[i].text, &prefix);

		if (cases[i].length < 0) {
			ck_assert_msg(ret == -EINVAL, "'%s' accepted", cases[i].text);
			ck_assert_uint_eq(prefix.length, 77);
		} else {
			ck_assert_msg(ret == 0, "'%s' refused", cases[i].text);
			ck_assert_int_eq(prefix.length, cases[i].length);
		}
	}
}
END_TEST

START_TEST(test_prefix_contains)
{
	static const struct {
		const char *prefix, *address;
		bool inside;
	} cases[] = {
		{"10.77.0.0/24", "10.77.0.0", true},
		{"10.77.0.0/24", "10.77.0.255", true},
		{"10.77.0.0/24", "10.77.1.0", false},
		{"10.77.0.0/23", "10.77.1.255", true},
		{"10.77.0.0/23", "10.77.2.0", false},
		{"10.77.0.128/25", "10.77.0.127", false},
		{"10.77.0.2", "10.77.0.2", true},
		{"10.77.0.2", "10.77.0.3", false},
		{"0.0.0.0/0", "203.0.113.9", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"::/0", "203.0.113.9", true},
		{"2001:db8::/33", "2001:db8:7fff::1", true},
		{"2001:db8::/33", "2001:db8:8000::1", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ip_prefix prefix;
		struct ip_address address;

		ck_assert_int_eq(ip_prefix_parse(cases[i].prefix, &prefix), 0);
		ck_assert_int_eq(ip_address_parse(cases[i].address, &address), 0);
		ck_assert_msg(
			ip_prefix_contains(&prefix, &address) == cases[i].inside, "%s in %s", cases[i].address, cases[i].prefix);
	}
}
END_TEST

START_TEST(test_drop_names)
{
	ck_assert_str_eq(drop_reason_name(DROP_NONE), "none");
	ck_assert_str_eq(drop_reason_name(DROP_SSRC_WRONG_SOURCE), "ssrc_wrong_source");
	ck_assert_str_eq(drop_reason_meaning(DROP_RTP_EMPTY), "RTP packet without payload");
	ck_assert_ptr_null(drop_reason_name(DROP_COUNT));
	ck_assert_ptr_null(drop_reason_meaning((enum drop_reason) - 1));
	for (unsigned int i = 0; i < DROP_COUNT; i++) {
		ck_assert_ptr_nonnull(drop_reason_name((enum drop_reason)i));
		ck_assert_ptr_nonnull(drop_reason_meaning((enum drop_reason)i));
		/* Telemetry keys: unique, lower case. */
		for (unsigned int j = 0; j < i; j++)
			ck_assert_str_ne(drop_reason_name((enum drop_reason)i), drop_reason_name((enum drop_reason)j));
		ck_assert_uint_eq(strspn(drop_reason_name((enum drop_reason)i), "abcdefghijklmnopqrstuvwxyz0123456789_"),
			strlen(drop_reason_name((enum drop_reason)i)));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("flow");
	TCase *address = tcase_create("address");
	TCase *prefix = tcase_create("prefix");
	TCase *drops = tcase_create("drops");

	tcase_add_test(address, test_address_parse);
	tcase_add_test(prefix, test_prefix_parse);
	tcase_add_test(prefix, test_prefix_contains);
	tcase_add_test(drops, test_drop_names);
	suite_add_tcase(suite, address);
	suite_add_tcase(suite, prefix);
	suite_add_tcase(suite, drops);

	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
