/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges and rates from a configuration's prefixes.
 */
#include "sources.h"

#include <errno.h>
#include <stdlib.h>

#define BURST_FRACTION 4u /* of a second */
#define BURST_MIN      64u

static int compare_ranges(const void *a, const void *b)
{
	const struct source_range *one = a, *two = b;

	if (one->first != two->first)
		return one->first < two->first ? -1 : 1;
	/* The wider one first: what lies in it follows it. */
	return one->last > two->last ? -1 : one->last < two->last;
}

static struct source_range range_of(const struct ip_prefix *prefix, uint32_t trunk)
{
	unsigned __int128 hosts =
		prefix->length == 0 ? ~(unsigned __int128)0 : ((unsigned __int128)1 << (128 - prefix->length)) - 1;
	struct source_range range = {.first = source_number(&prefix->address), .trunk = trunk};

	range.last = range.first | hosts;
	return range;
}

static struct source_rate rate_of(uint32_t per_second, uint64_t tsc_hz)
{
	uint32_t burst = per_second / BURST_FRACTION < BURST_MIN ? BURST_MIN : per_second / BURST_FRACTION;
	struct source_rate rate = {.interval_tsc = per_second == 0 ? 0 : tsc_hz / per_second};

	rate.burst_tsc = rate.interval_tsc * (burst - 1);
	return rate;
}

/* Prefixes contain each other or have nothing in common, so what is left after this is disjoint. */
static uint32_t drop_contained(struct source_range ranges[], uint32_t count)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++) {
		if (kept == 0 || ranges[i].first > ranges[kept - 1].last)
			ranges[kept++] = ranges[i];
	}
	return kept;
}

struct sources *sources_new(const struct sources_trunk trunks[], size_t count, uint64_t tsc_hz)
{
	struct sources *sources;
	size_t total = 0;

	if (count > SOURCES_TRUNKS_MAX) {
		errno = EINVAL;
		return NULL;
	}
	for (size_t i = 0; i < count; i++)
		total += trunks[i].count;
	/* Numbers of 128 bits want their alignment, which malloc gives. */
	sources = calloc(1, sizeof(*sources) + total * sizeof(sources->ranges[0]));
	if (sources == NULL)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		sources->rates[i] = rate_of(trunks[i].per_second, tsc_hz);
		for (size_t k = 0; k < trunks[i].count; k++)
			sources->ranges[sources->count++] = range_of(&trunks[i].prefixes[k], (uint32_t)i);
	}
	qsort(sources->ranges, sources->count, sizeof(sources->ranges[0]), compare_ranges);
	sources->count = drop_contained(sources->ranges, sources->count);
	return sources;
}
