/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared/histogram: bucket edges and error bound, percentiles, merging, and that any memory content is survived.
 */
#include "shared/histogram.h"

#include <string.h>

#include "unit.h"

START_TEST(test_histogram_edges_hold_value)
{
	static const uint64_t values[] = {
		0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 100, 1000, 65535, 65536, 1u << 31, UINT32_MAX - 1u, UINT32_MAX};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct vl_histogram histogram = {0};
		vl_histogram_add(&histogram, values[i]);
		uint64_t edge = vl_histogram_percentile(&histogram, 1.0);
		ck_assert_uint_ge(edge, values[i]);
		ck_assert_uint_le((edge - values[i]) * 8, values[i] < 8 ? 0 : values[i]);
	}
}
END_TEST

START_TEST(test_histogram_buckets_are_monotonic)
{
	uint32_t last = 0;

	for (uint64_t value = 0; value <= UINT32_MAX; value += 1 + value / 50) {
		struct vl_histogram histogram = {0};
		vl_histogram_add(&histogram, value);
		uint32_t edge = vl_histogram_percentile(&histogram, 0.5);
		ck_assert_uint_ge(edge, last);
		last = edge;
	}
}
END_TEST

START_TEST(test_histogram_large_values_clamp)
{
	struct vl_histogram histogram = {0};

	vl_histogram_add(&histogram, UINT64_MAX);
	ck_assert_uint_eq(vl_histogram_percentile(&histogram, 1.0), UINT32_MAX);
	ck_assert_uint_eq(histogram.max, UINT32_MAX);
	ck_assert_uint_eq(histogram.sum, UINT32_MAX);
}
END_TEST

START_TEST(test_histogram_percentiles)
{
	struct vl_histogram histogram = {0};

	ck_assert_uint_eq(vl_histogram_percentile(&histogram, 0.5), 0);
	for (uint32_t i = 0; i < 99; i++)
		vl_histogram_add(&histogram, 3);
	vl_histogram_add(&histogram, 7);
	ck_assert_uint_eq(vl_histogram_count(&histogram), 100);
	ck_assert_uint_eq(vl_histogram_percentile(&histogram, 0.001), 3);
	ck_assert_uint_eq(vl_histogram_percentile(&histogram, 0.5), 3);
	ck_assert_uint_eq(vl_histogram_percentile(&histogram, 0.99), 3);
	ck_assert_uint_eq(vl_histogram_percentile(&histogram, 0.995), 7);
	ck_assert_uint_eq(vl_histogram_percentile(&histogram, 1.0), 7);
}
END_TEST

START_TEST(test_histogram_merge)
{
	struct vl_histogram a = {0}, b = {0};

	vl_histogram_add(&a, 2);
	vl_histogram_add(&b, 5);
	vl_histogram_add(&b, 900);
	vl_histogram_merge(&a, &b);
	ck_assert_uint_eq(vl_histogram_count(&a), 3);
	ck_assert_uint_eq(a.sum, 907);
	ck_assert_uint_eq(a.max, 900);
	ck_assert_uint_eq(vl_histogram_count(&b), 2);
}
END_TEST

START_TEST(test_histogram_any_content_is_survived)
{
	struct vl_histogram histogram, sum = {0};

	memset(&histogram, 0xff, sizeof(histogram));
	vl_histogram_percentile(&histogram, 0.99);
	vl_histogram_count(&histogram);
	vl_histogram_merge(&sum, &histogram);
	vl_histogram_merge(&sum, &histogram);
	ck_assert_uint_gt(vl_histogram_percentile(&sum, 0.5), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("histogram");

	unit_add(suite, "buckets", test_histogram_edges_hold_value, test_histogram_buckets_are_monotonic,
		test_histogram_large_values_clamp);
	unit_add(suite, "reading", test_histogram_percentiles, test_histogram_merge, test_histogram_any_content_is_survived);
	return unit_run(suite);
}
