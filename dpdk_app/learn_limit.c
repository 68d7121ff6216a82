/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generic cell rate algorithm over two buckets per source, chosen by SipHash-1-3 with a random key.
 */
#include "learn_limit.h"

#include <string.h>

#define BURST_FRACTION 4u /* of a second */
#define BURST_MIN      8u /* packets: a flow's probation and a little more */

static inline uint64_t rotate(uint64_t value, unsigned int bits)
{
	return value << bits | value >> (64 - bits);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 of one word and its length (Aumasson and Bernstein, 2012). */
static uint64_t sip_hash(const uint64_t key[2], uint64_t word)
{
	const uint64_t length = (uint64_t)sizeof(word) << 56;
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
		key[1] ^ 0x7465646279746573u};

	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
	v[3] ^= length;
	sip_round(v);
	v[0] ^= length;
	v[2] ^= 0xff;
	for (unsigned int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void rate_init(struct learn_bucket_rate *rate, uint64_t tsc_hz, uint32_t per_second)
{
	uint32_t burst = per_second / BURST_FRACTION;

	rate->interval_tsc = per_second == 0 ? 0 : tsc_hz / per_second;
	rate->burst_tsc = rate->interval_tsc * ((burst < BURST_MIN ? BURST_MIN : burst) - 1);
}

void learn_limit_init(struct learn_limit *limit, const uint64_t key[2], uint64_t tsc_hz, uint32_t per_source, uint32_t total)
{
	memset(limit, 0, sizeof(*limit));
	memcpy(limit->key, key, sizeof(limit->key));
	rate_init(&limit->source, tsc_hz, per_source);
	rate_init(&limit->total, tsc_hz, total);
}

static inline bool has_room(const struct learn_bucket_rate *rate, uint64_t due, uint64_t tsc)
{
	return due <= tsc + rate->burst_tsc;
}

/* Charge one packet. A bucket that its other source has filled stays full, it does not grow. */
static inline void charge(const struct learn_bucket_rate *rate, uint64_t *due, uint64_t tsc)
{
	if (has_room(rate, *due, tsc))
		*due = (*due > tsc ? *due : tsc) + rate->interval_tsc;
}

bool learn_limit_take(struct learn_limit *limit, const struct ip_address *source, uint64_t tsc)
{
	uint64_t word;

	if (limit->source.interval_tsc == 0 || limit->total.interval_tsc == 0 || !has_room(&limit->total, limit->total_due, tsc))
		return false;
	/* An IPv4 source is its last four bytes behind a constant; of IPv6 the /64, since a host has all of one. */
	memcpy(&word, source->bytes + (ip_address_is_v4(source) ? 8 : 0), sizeof(word));
	uint64_t hash = sip_hash(limit->key, word);
	uint64_t *first = &limit->due[hash & (LEARN_LIMIT_BUCKETS - 1)];
	uint64_t *second = &limit->due[hash >> 32 & (LEARN_LIMIT_BUCKETS - 1)];

	if (!has_room(&limit->source, *first, tsc) && !has_room(&limit->source, *second, tsc))
		return false;
	charge(&limit->source, first, tsc);
	if (second != first)
		charge(&limit->source, second, tsc);
	charge(&limit->total, &limit->total_due, tsc);
	return true;
}
