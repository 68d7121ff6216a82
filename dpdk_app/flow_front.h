/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The short way to a flow: a signature leads to a session, and the session's own first cache line says whose flow it really is. Two
 * lines, of which the second is needed anyway, where a hash table reads two buckets and a key. It stands in front of the session
 * table and knows no more than that: what it does not find there is looked up in the table, and nothing is believed of it that the
 * whole key in the session does not confirm. Pure: no DPDK.
 *
 * Writer: the control thread. Readers: every lcore, wait-free. A reader may meet any mixture of old and new: then key or version do
 * not fit, and it asks the table.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "flow.h"

/* Eight comparisons at once; ThreadSanitizer wants to see the atomic loads. */
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
#include <emmintrin.h>
#define FLOW_FRONT_SSE2 1
#else
#define FLOW_FRONT_SSE2 0
#endif

#define FLOW_FRONT_WAYS	 8u
#define FLOW_FRONT_WORDS (sizeof(struct flow_key) / sizeof(uint64_t))

/* One cache line. Writer: control thread; readers: every lcore, relaxed. */
struct flow_front_bucket {
	_Alignas(64) _Atomic uint32_t signatures[FLOW_FRONT_WAYS];
	_Atomic uint32_t places[FLOW_FRONT_WAYS]; /* index of the session + 1; 0: free */
};
_Static_assert(sizeof(struct flow_front_bucket) == 64, "one cache line");

/* The flow that leads to a session. Writer: control thread, `version` odd meanwhile; readers: every lcore. */
struct flow_front_key {
	_Atomic uint32_t version;
	_Atomic uint32_t generation; /* of the session; 0: no flow is in front */
	_Atomic uint64_t words[FLOW_FRONT_WORDS];
};

/* Buckets for so many sessions, a power of two: two to four flows in each, so that hardly one in a hundred is too many for its own. */
static inline uint32_t flow_front_buckets(uint32_t sessions)
{
	uint32_t buckets = 1;

	while (buckets < (sessions + FLOW_FRONT_WAYS / 2 - 1) / (FLOW_FRONT_WAYS / 2))
		buckets <<= 1;
	return buckets;
}

/* The session that may have a flow of this signature, or FLOW_FRONT_NOBODY. Lcore. */
#define FLOW_FRONT_NOBODY UINT32_MAX
static inline uint32_t flow_front_find(const struct flow_front_bucket *bucket, uint32_t signature)
{
	uint32_t same = 0;

#if FLOW_FRONT_SSE2
	const __m128i *signatures = (const __m128i *)bucket->signatures, wanted = _mm_set1_epi32((int)signature);
	__m128i low = _mm_cmpeq_epi32(_mm_load_si128(signatures), wanted);
	__m128i high = _mm_cmpeq_epi32(_mm_load_si128(signatures + 1), wanted);

	same = (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(low, high), _mm_setzero_si128()));
#else
	for (unsigned int way = 0; way < FLOW_FRONT_WAYS; way++)
		same |= (uint32_t)(atomic_load_explicit(&bucket->signatures[way], memory_order_relaxed) == signature) << way;
#endif
	if (same == 0)
		return FLOW_FRONT_NOBODY;
	return atomic_load_explicit(&bucket->places[__builtin_ctz(same)], memory_order_relaxed) - 1;
}

/* The generation of the session whose flow `key` is, 0 when it is another's. Lcore. */
static inline uint32_t flow_front_check(const struct flow_front_key *shared, const struct flow_key *key)
{
	/* Pairs with the release store at the end of flow_front_write(): the words of this version, or newer ones. */
	uint32_t version = atomic_load_explicit(&shared->version, memory_order_acquire);
	uint32_t generation = atomic_load_explicit(&shared->generation, memory_order_relaxed);
	uint64_t words[FLOW_FRONT_WORDS], differ = version & 1;

	memcpy(words, key, sizeof(words));
	for (unsigned int i = 0; i < FLOW_FRONT_WORDS; i++)
		differ |= words[i] ^ atomic_load_explicit(&shared->words[i], memory_order_relaxed);
	/* Pairs with the release fence in flow_front_write(): who has seen a newer word sees a newer version. */
	atomic_thread_fence(memory_order_acquire);
	differ |= version ^ atomic_load_explicit(&shared->version, memory_order_relaxed);
	return differ == 0 ? generation : 0;
}

/* Say whose flow leads to the session; `generation` 0: none any more. Control thread. */
static inline void flow_front_write(struct flow_front_key *shared, const struct flow_key *key, uint32_t generation)
{
	uint32_t version = atomic_load_explicit(&shared->version, memory_order_relaxed);
	uint64_t words[FLOW_FRONT_WORDS];

	memcpy(words, key, sizeof(words));
	atomic_store_explicit(&shared->version, version + 1, memory_order_relaxed);
	/* Pairs with the acquire fence in flow_front_check(). */
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&shared->generation, generation, memory_order_relaxed);
	for (unsigned int i = 0; i < FLOW_FRONT_WORDS; i++)
		atomic_store_explicit(&shared->words[i], words[i], memory_order_relaxed);
	/* Pairs with the acquire load in flow_front_check(). */
	atomic_store_explicit(&shared->version, version + 2, memory_order_release);
}

/* Let a signature lead to session `index`. Control thread. Returns false when the bucket is full: then only the table has it. */
static inline bool flow_front_add(struct flow_front_bucket *bucket, uint32_t signature, uint32_t index)
{
	for (unsigned int way = 0; way < FLOW_FRONT_WAYS; way++) {
		if (atomic_load_explicit(&bucket->places[way], memory_order_relaxed) != 0)
			continue;
		atomic_store_explicit(&bucket->places[way], index + 1, memory_order_relaxed);
		atomic_store_explicit(&bucket->signatures[way], signature, memory_order_relaxed);
		return true;
	}
	return false;
}

/* No signature of this bucket leads to session `index` any more. Control thread. */
static inline void flow_front_remove(struct flow_front_bucket *bucket, uint32_t index)
{
	for (unsigned int way = 0; way < FLOW_FRONT_WAYS; way++) {
		if (atomic_load_explicit(&bucket->places[way], memory_order_relaxed) != index + 1)
			continue;
		atomic_store_explicit(&bucket->signatures[way], 0, memory_order_relaxed);
		atomic_store_explicit(&bucket->places[way], 0, memory_order_relaxed);
	}
}
