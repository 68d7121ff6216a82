/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread's side of expected.h.
 */
#include "expected.h"

#include <stdlib.h>

struct expected *expected_new(uint64_t seed)
{
	struct expected *expected = calloc(1, sizeof(*expected));

	if (expected != NULL)
		flow_hash_init(&expected->secret, seed);
	return expected;
}

static void change(struct expected *expected, const struct flow_key *place, int by)
{
	_Atomic uint16_t *count = &expected->counts[expected_index(expected, place)];
	uint16_t now = atomic_load_explicit(count, memory_order_relaxed);

	if (now != EXPECTED_MOST)
		atomic_store_explicit(count, (uint16_t)(now + by), memory_order_relaxed);
}

void expected_add(struct expected *expected, const struct flow_key *place)
{
	change(expected, place, 1);
}

void expected_remove(struct expected *expected, const struct flow_key *place)
{
	change(expected, place, -1);
}
