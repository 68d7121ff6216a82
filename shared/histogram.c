/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log-linear latency histogram, see histogram.h. A histogram may lie in memory that a peer process writes, so readers copy the counts once and
 * accept any number in them.
 */
#include "histogram.h"

/* Values below 2^SUB_BITS have a bucket each; above, the SUB_BITS bits behind the leading one select the sub-bucket. */
static uint32_t bucket_of(uint32_t value)
{
	if (value < (1u << VL_HISTOGRAM_SUB_BITS))
		return value;
	uint32_t shift = 31u - (uint32_t)__builtin_clz(value) - VL_HISTOGRAM_SUB_BITS;

	/* The leading one stands for one group, hence shift and not shift + 1. */
	return (shift << VL_HISTOGRAM_SUB_BITS) + (value >> shift);
}

uint32_t vl_histogram_upper_edge(uint32_t bucket)
{
	uint32_t group = bucket >> VL_HISTOGRAM_SUB_BITS;

	if (group == 0)
		return bucket;
	uint64_t mantissa = (1u << VL_HISTOGRAM_SUB_BITS) + (bucket & ((1u << VL_HISTOGRAM_SUB_BITS) - 1u));

	return (uint32_t)(((mantissa + 1u) << (group - 1u)) - 1u);
}

/* One writer: a relaxed load and store, no locked instruction. */
static void add_relaxed(_Atomic uint64_t *counter, uint64_t value)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value, memory_order_relaxed);
}

static inline void add_times(struct vl_histogram *histogram, uint64_t value, uint32_t times)
{
	uint32_t clamped = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;

	add_relaxed(&histogram->buckets[bucket_of(clamped)], times);
	add_relaxed(&histogram->sum, (uint64_t)clamped * times);
	if (clamped > atomic_load_explicit(&histogram->max, memory_order_relaxed))
		atomic_store_explicit(&histogram->max, clamped, memory_order_relaxed);
}

void vl_histogram_add(struct vl_histogram *histogram, uint64_t value)
{
	add_times(histogram, value, 1);
}

void vl_histogram_add_many(struct vl_histogram *histogram, uint64_t value, uint32_t times)
{
	if (times > 0)
		add_times(histogram, value, times);
}

void vl_histogram_merge(struct vl_histogram *to, const struct vl_histogram *from)
{
	uint32_t max = atomic_load_explicit(&from->max, memory_order_relaxed);

	for (uint32_t i = 0; i < VL_HISTOGRAM_BUCKETS; i++)
		add_relaxed(&to->buckets[i], atomic_load_explicit(&from->buckets[i], memory_order_relaxed));
	add_relaxed(&to->sum, atomic_load_explicit(&from->sum, memory_order_relaxed));
	if (max > atomic_load_explicit(&to->max, memory_order_relaxed))
		atomic_store_explicit(&to->max, max, memory_order_relaxed);
}

uint64_t vl_histogram_count(const struct vl_histogram *histogram)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < VL_HISTOGRAM_BUCKETS; i++)
		count += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
	return count;
}

uint32_t vl_histogram_percentile(const struct vl_histogram *histogram, double fraction)
{
	/* In doubles: a hostile writer's counts may add up to anything, and a total that grows meanwhile must not move the rank. */
	double counts[VL_HISTOGRAM_BUCKETS], total = 0, seen = 0;
	uint32_t last = 0;

	for (uint32_t i = 0; i < VL_HISTOGRAM_BUCKETS; i++) {
		counts[i] = (double)atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
		total += counts[i];
		if (counts[i] > 0)
			last = i;
	}
	if (!(total > 0))
		return 0;
	for (uint32_t i = 0; i < last; i++) {
		seen += counts[i];
		if (seen > 0 && seen >= fraction * total)
			return vl_histogram_upper_edge(i);
	}
	return vl_histogram_upper_edge(last);
}
