/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keyed hash of words, for tables whose keys an attacker may choose (SSRCs and ports are free to draw). CRC is linear: who
 * knows its polynomial makes colliding flows whatever the seed is, and a bucket chain of thousands stalls an lcore. The
 * multilinear family with a secret is strongly universal: no choice of keys collides more often than 2^-32 without knowing the
 * secret (Lemire and Kaser, "Strongly universal string hashing is fast", 2014, section 2, MULTILINEAR-HM). Its multiplications
 * are independent, so it is also the quicker one. Pure.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#include "flow.h"

#define FLOW_HASH_WORDS (sizeof(struct flow_key) / sizeof(uint32_t))
_Static_assert(FLOW_HASH_WORDS % 2 == 0, "words are hashed in pairs");

/* Drawn once, before the table is used; read-only afterwards. */
struct flow_hash_secret {
	uint64_t key[FLOW_HASH_WORDS + 1];
};

/* Derive a secret from a random 64-bit seed (splitmix64). Any thread. */
static inline void flow_hash_init(struct flow_hash_secret *secret, uint64_t seed)
{
	for (unsigned int i = 0; i < FLOW_HASH_WORDS + 1; i++) {
		uint64_t z = (seed += 0x9e3779b97f4a7c15u);

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		secret->key[i] = z ^ (z >> 31);
	}
}

/* Hash of a flow key. Any thread, lcore. */
static inline uint32_t flow_hash(const struct flow_hash_secret *secret, const struct flow_key *key)
{
	uint32_t word[FLOW_HASH_WORDS];
	uint64_t sum = secret->key[0];

	memcpy(word, key, sizeof(word));
	for (unsigned int i = 0; i < FLOW_HASH_WORDS; i += 2)
		sum += (secret->key[i + 1] + word[i]) * (secret->key[i + 2] + word[i + 1]);
	return (uint32_t)(sum >> 32);
}
