/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which trunk an address belongs to, and how many packets each trunk may send: what an lcore asks before it looks a packet up.
 * Pure: no DPDK, no clock. Disjoint ranges of addresses in order, so a question is a binary search without branches; that costs
 * less than the table lookup it saves.
 *
 * A trunk's rate is what stops one trunk, or somebody who forges its address, from taking a packet core's time from all others.
 * It must be far above what the trunk's calls send: beyond it their packets are dropped like the flood's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"

#define SOURCES_TRUNKS_MAX 256u

/* What the sources of one trunk are, as sources_new() wants it. */
struct sources_trunk {
	const struct ip_prefix *prefixes;
	size_t count;
	uint32_t per_second; /* packets; 0: any number */
};

/* From the first to the last address of a prefix, as numbers. */
struct source_range {
	unsigned __int128 first, last;
	uint32_t trunk;
};

/* The generic cell rate algorithm (ITU-T I.371) of one trunk. */
struct source_rate {
	uint64_t interval_tsc; /* between two packets at the sustained rate; 0: any number */
	uint64_t burst_tsc;    /* how far ahead of it a trunk may be: a quarter of a second of its packets, at least 64 */
};

/* Immutable once made; any thread may read it. */
struct sources {
	struct source_rate rates[SOURCES_TRUNKS_MAX];
	uint32_t count;
	struct source_range ranges[];
};

/* What one lcore has let through. Used by that lcore. All zero at the beginning. */
struct sources_meter {
	uint64_t due[SOURCES_TRUNKS_MAX];
};

/*
 * Build the ranges of `count` trunks, whose prefixes may contain each other within one trunk only. Control thread. Returns NULL
 * with errno ENOMEM, or EINVAL for more than SOURCES_TRUNKS_MAX trunks. Freed with free().
 */
struct sources *sources_new(const struct sources_trunk trunks[], size_t count, uint64_t tsc_hz);

static inline unsigned __int128 source_number(const struct ip_address *address)
{
	uint64_t high, low;

	__builtin_memcpy(&high, address->bytes, sizeof(high));
	__builtin_memcpy(&low, address->bytes + sizeof(high), sizeof(low));
	return (unsigned __int128)__builtin_bswap64(high) << 64 | __builtin_bswap64(low);
}

/* Index of the trunk that has this address, -1 when none does. Any thread; bounded by the logarithm of the number of prefixes. */
static inline int sources_find(const struct sources *sources, const struct ip_address *address)
{
	unsigned __int128 number = source_number(address);
	const struct source_range *range = sources->ranges;

	for (uint32_t count = sources->count; count > 1;) {
		uint32_t half = count / 2;

		range += range[half].first <= number ? half : 0;
		count -= half;
	}
	return sources->count > 0 && range->first <= number && number <= range->last ? (int)range->trunk : -1;
}

/* Whether trunk `trunk` may send one more packet at `tsc`, which never goes back. The lcore whose meter it is. */
static inline bool sources_take(const struct sources *sources, struct sources_meter *meter, unsigned int trunk, uint64_t tsc)
{
	const struct source_rate *rate = &sources->rates[trunk];
	uint64_t due = meter->due[trunk];

	if (due > tsc + rate->burst_tsc) {
		/* Further ahead than this rate allows was another rate, before the sources were replaced. */
		if (due <= tsc + rate->burst_tsc + rate->interval_tsc)
			return false;
		due = tsc;
	}
	meter->due[trunk] = (due > tsc ? due : tsc) + rate->interval_tsc;
	return true;
}
