/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state behind binding.h, shared by binding.c (calls begin, move, end), binding_packet.c (which call a packet belongs to)
 * and binding_probation.c (new streams on trial). Private to them. Everything is the control thread's.
 *
 * Invariants, checked by tests/model: a session is in at most one flow; a flow leads to one session; a bound session's expected
 * source is its flow's source; no flow of a session is refused by another's quarantine at the time it binds.
 */
#pragma once

#include "binding.h"
#include "binding_map.h"
#include "binding_quarantine.h"

/*
 * Quarantine entries one session can leave at its end: flow, source, SSRC, local port, and flow and source of each stream on
 * trial.
 */
#define BINDING_SLOTS	2u
#define BINDING_RESERVE (4u + 2u * BINDING_SLOTS)

/* A stream that wants to be a session's and has not shown enough yet. */
struct binding_trial {
	bool used;
	uint8_t count; /* packets in sequence so far */
	uint16_t last_seq;
	uint32_t older, newer; /* in order of last_ms: trial number + 1, 0 is the end */
	struct flow_key key;
	uint64_t first_ms, last_ms;
};

struct binding_entry {
	bool used, bound, ever_bound;
	bool unknown; /* the remote port is not known: tier 3 */
	bool learned; /* the expected source came from packets, not from signalling */
	bool claims;  /* its signalled SSRC is in the index (CLAIM) */
	bool away;    /* its signalled source is in the index (HOME): it is bound elsewhere, and may have to go back */
	uint32_t generation;
	struct binding_session session; /* as opened; remote and remote_port_unknown as signalled last */
	struct endpoint expected;	/* where packets come from, as far as known */
	struct flow_key flow;		/* now (bound) or last (ever_bound) */
	struct binding_trial trials[BINDING_SLOTS];
	uint64_t crowd_until_ms; /* more streams than trials fit were seen: nobody before */
};

/* A trunk's sources, and how many sessions use them. */
struct binding_trunk {
	const struct ip_prefix *sources;
	size_t source_count;
	uint32_t sessions;
};

struct binding {
	struct binding_limits limits;
	struct binding_entry *entries;
	struct binding_trunk *trunks;
	uint32_t trunk_count, trunk_size;

	/*
	 * Sets of sessions, all found by one lookup: FLOW (bound), SOURCE (expected source known), CLAIM (SSRC signalled, not
	 * bound), ADDRESS (shared port, remote port unknown, no SSRC signalled), SSRC (bound), LOCAL (all), HOME (signalled source,
	 * while bound elsewhere: no other session may learn it).
	 */
	struct binding_map index;
	struct binding_quarantine quarantine; /* FLOW, SOURCE, SSRC, LOCAL */
	struct binding_quarantine linger;     /* ADDRESS: a call that never heard its caller, so its source is not known */

	uint32_t oldest_trial, newest_trial; /* trial number + 1, 0 is the end */
	struct binding_counts counts;	     /* quarantined is computed */
};

static inline struct session_ref binding_ref(const struct binding *binding, const struct binding_entry *entry)
{
	return (struct session_ref){.index = (uint32_t)(entry - binding->entries), .generation = entry->generation};
}

/* The only session of this set; NULL when there is none or more than one, `*count` tells. */
struct binding_entry *binding_sole(
	const struct binding *binding, enum binding_kind kind, const struct flow_key *key, uint32_t *count);

/* Whether `address` belongs to the session's trunk. */
bool binding_in_trunk(const struct binding_session *session, const struct ip_address *address);

/*
 * Give `key` to the session, taking its present flow away. False, and nothing is changed, when the quarantine has no room for
 * that flow.
 */
bool binding_give(struct binding *binding, struct binding_entry *entry, const struct flow_key *key, uint64_t now_ms,
	struct binding_verdict *verdict);

/* --- binding_probation.c --- */

enum binding_trial_result {
	BINDING_TRIAL_GOES_ON,
	BINDING_TRIAL_PASSED,
	BINDING_TRIAL_CONTESTED, /* another stream wants the same session */
	BINDING_TRIAL_FULL,
};

/* One more packet of a stream that wants to be the session's. */
enum binding_trial_result binding_trial_packet(
	struct binding *binding, struct binding_entry *entry, const struct binding_packet *packet, uint64_t now_ms);

/* Forget the session's streams on trial, and those of all sessions that went quiet. */
void binding_trial_clear(struct binding *binding, struct binding_entry *entry);
void binding_trial_expire(struct binding *binding, uint64_t now_ms);
