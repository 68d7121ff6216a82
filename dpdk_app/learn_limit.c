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

/* SipHash-1-3 of one or two words and their length (Aumasson and Bernstein, 2012). */
static inline uint64_t sip_hash(const uint64_t key[2], const uint64_t words[], unsigned int count)
{
	const uint64_t length = (uint64_t)(count * sizeof(words[0])) << 56;
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
		key[1] ^ 0x7465646279746573u};

	for (unsigned int i = 0; i < count; i++) {
		v[3] ^= words[i];
		sip_round(v);
		v[0] ^= words[i];
	}
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

/* The two buckets that somebody, known by these words, has. */
struct pair {
	uint64_t *first, *second;
};

static inline struct pair pair_of(struct learn_limit *limit, const uint64_t words[], unsigned int count)
{
	uint64_t hash = sip_hash(limit->key, words, count);

	return (struct pair){&limit->due[hash & (LEARN_LIMIT_BUCKETS - 1)], &limit->due[hash >> 32 & (LEARN_LIMIT_BUCKETS - 1)]};
}

static inline bool total_has_room(const struct learn_limit *limit, uint64_t tsc)
{
	return limit->source.interval_tsc != 0 && limit->total.interval_tsc != 0 &&
	       has_room(&limit->total, limit->total_due, tsc);
}

static inline bool pair_has_room(const struct learn_limit *limit, struct pair pair, uint64_t tsc)
{
	return has_room(&limit->source, *pair.first, tsc) || has_room(&limit->source, *pair.second, tsc);
}

static inline void charge_all(struct learn_limit *limit, struct pair pair, uint64_t tsc)
{
	charge(&limit->source, pair.first, tsc);
	if (pair.second != pair.first)
		charge(&limit->source, pair.second, tsc);
	charge(&limit->total, &limit->total_due, tsc);
}

/* An IPv4 source is its last four bytes behind a constant; of IPv6 the /64, since a host has all of one. */
static inline uint64_t source_word(const struct ip_address *source)
{
	uint64_t word;

	memcpy(&word, source->bytes + (ip_address_is_v4(source) ? 8 : 0), sizeof(word));
	return word;
}

static bool take(struct learn_limit *limit, const uint64_t words[], unsigned int count, uint64_t tsc)
{
	if (!total_has_room(limit, tsc))
		return false;
	struct pair pair = pair_of(limit, words, count);

	if (!pair_has_room(limit, pair, tsc))
		return false;
	charge_all(limit, pair, tsc);
	return true;
}

bool learn_limit_take(struct learn_limit *limit, const struct ip_address *source, uint64_t tsc)
{
	const uint64_t word = source_word(source);

	return take(limit, &word, 1, tsc);
}

bool learn_limit_take_place(struct learn_limit *limit, const struct flow_key *place, uint64_t tsc)
{
	const uint64_t words[2] = {source_word(&place->remote), place->remote_port};

	return take(limit, words, 2, tsc);
}

bool learn_limit_take_stream(
	struct learn_limit *streams, struct learn_limit *sources, const struct flow_key *stream, uint64_t tsc)
{
	const uint64_t words[2] = {source_word(&stream->remote), (uint64_t)stream->remote_port << 32 | stream->ssrc};

	if (!total_has_room(streams, tsc) || !total_has_room(sources, tsc))
		return false;
	struct pair source = pair_of(sources, words, 1);
	struct pair own = pair_of(streams, words, 2);

	if (!pair_has_room(sources, source, tsc) || !pair_has_room(streams, own, tsc))
		return false;
	charge_all(sources, source, tsc);
	charge_all(streams, own, tsc);
	return true;
}
