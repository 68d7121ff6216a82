/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The places from which signalling lets the control thread expect a caller who was not heard yet, as lcores ask for them: what
 * comes from one has a share of the learning path of its own, so that a flood from the same address, but from ports nobody
 * named, does not delay a new call's first packets. A table of counts by a keyed hash: two places may meet in one of them, and
 * then one more place has that share. Nothing else rests on it; whose a packet is, the binding rules say. Pure.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "flow.h"
#include "flow_hash.h"

#define EXPECTED_COUNTS (1u << 18) /* a power of two: 512 KB; 1,000 waiting calls make 0.4 % of all other places share */
#define EXPECTED_MOST	UINT16_MAX /* a count that reached this stays */

struct expected {
	struct flow_hash_secret secret;
	_Atomic uint16_t
		counts[EXPECTED_COUNTS]; /* Writer: control thread. Readers: lcores, relaxed: a late one costs a packet */
};

/* Nothing expected. `seed` is random. Control thread. NULL with ENOMEM; freed with free(). */
struct expected *expected_new(uint64_t seed);

/* A call begins or ends to wait for a caller at `place` (local and remote address and port; its SSRC is not looked at). Control thread. */
void expected_add(struct expected *expected, const struct flow_key *place);
void expected_remove(struct expected *expected, const struct flow_key *place);

static inline uint32_t expected_index(const struct expected *expected, const struct flow_key *place)
{
	struct flow_key key = *place;

	key.ssrc = 0;
	return flow_hash(&expected->secret, &key) & (EXPECTED_COUNTS - 1);
}

/* Whether a caller is expected where this packet comes from. Any thread. */
static inline bool expected_has(const struct expected *expected, const struct flow_key *key)
{
	return atomic_load_explicit(&expected->counts[expected_index(expected, key)], memory_order_relaxed) != 0;
}
