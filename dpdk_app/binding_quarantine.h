/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a call leaves behind: its flow, its source, its SSRC, its dedicated port stay refused to other calls for a while, so
 * that packets still on their way never reach the next call. The owner itself is exempt: a call that moved may come back. Pure;
 * control thread only.
 */
#pragma once

#include "binding_map.h"

struct binding_quarantine {
	struct binding_map map;
	uint32_t duration_ms;
	uint32_t oldest, newest; /* list in order of time: index + 1, 0 is the end */
};

/* Returns 0 or -ENOMEM. */
int binding_quarantine_init(struct binding_quarantine *quarantine, uint32_t capacity, uint32_t duration_ms, uint64_t seed);
void binding_quarantine_fini(struct binding_quarantine *quarantine);

/*
 * Refuse this part of `key` to everyone but `owner` from now on. A key that several owners left behind is refused to all.
 * Returns false when the pool is empty: callers make sure of room first.
 */
bool binding_quarantine_add(struct binding_quarantine *quarantine, enum binding_kind kind, const struct flow_key *key,
	struct session_ref owner, uint64_t now_ms);

/* The live entry for this part of `key`, or NULL. */
const struct binding_node *binding_quarantine_find(
	const struct binding_quarantine *quarantine, enum binding_kind kind, const struct flow_key *key, uint64_t now_ms);

/* Whether this part of `key` is refused to `session`. */
bool binding_quarantine_refuses(const struct binding_quarantine *quarantine, enum binding_kind kind, const struct flow_key *key,
	struct session_ref session, uint64_t now_ms);

/* Free up to `max` entries whose time is over. */
void binding_quarantine_expire(struct binding_quarantine *quarantine, uint64_t now_ms, uint32_t max);

/* Entries that can still be added. */
uint32_t binding_quarantine_room(const struct binding_quarantine *quarantine);
