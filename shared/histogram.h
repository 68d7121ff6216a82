/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latency histogram of fixed size: 8 linear sub-buckets per power of two (at most 12.5 % error), values 0 to 2^32-1 in a unit its owner
 * names. Plain memory, so it may live in a channel. One writer; readers take a relaxed snapshot.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define VL_HISTOGRAM_SUB_BITS 3u
#define VL_HISTOGRAM_BUCKETS  (((32u - VL_HISTOGRAM_SUB_BITS) + 1u) << VL_HISTOGRAM_SUB_BITS)

struct vl_histogram {
	_Atomic uint64_t buckets[VL_HISTOGRAM_BUCKETS];
	_Atomic uint64_t sum;
	_Atomic uint32_t max;
};

/* Count one value; values above 2^32-1 count as that. The writer's thread; no branch of unbounded length. */
void vl_histogram_add(struct vl_histogram *histogram, uint64_t value);

/* Count one value `times` times. As vl_histogram_add(). */
void vl_histogram_add_many(struct vl_histogram *histogram, uint64_t value, uint32_t times);

/* Add every count of `from` to `to`. The owner of `to`. */
void vl_histogram_merge(struct vl_histogram *to, const struct vl_histogram *from);

/* Highest value that counts in bucket number `bucket` < VL_HISTOGRAM_BUCKETS. Any thread. */
uint32_t vl_histogram_upper_edge(uint32_t bucket);

/* Number of values counted. Any thread. */
uint64_t vl_histogram_count(const struct vl_histogram *histogram);

/* Upper edge of the bucket in which the value of rank `fraction` (0..1] lies; 0 when empty. Any thread. */
uint32_t vl_histogram_percentile(const struct vl_histogram *histogram, double fraction);
