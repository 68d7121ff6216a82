/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call as the lcores see it, and the lock-free table that finds it. Storage is preallocated; a session is named by index + generation.
 *
 * Who writes what: struct session_route is the control thread's, struct session_receive the receiving lcore's, struct session_playout
 * the owning lcore's. Each begins on a cache line of its own. Strings, users, UUIDs and states live in the control thread's own
 * struct call (call.h), not here.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_common.h>
#include <rte_rcu_qsbr.h>

#include "flow.h"
#include "playout.h"

#define SESSION_NO_WORKER 0xffu

/* Writer: control thread. Readers: every lcore. Generation is stored last when a session opens and cleared first when it ends. */
struct session_route {
	_Atomic uint32_t generation; /* 0: free. Release store pairs with the lcore's acquire load after a table hit */
	_Atomic uint8_t worker;	     /* worker slot, SESSION_NO_WORKER while it has none */
	_Atomic uint8_t held;	     /* caller audio is not delivered */
	uint8_t payload_type;	     /* negotiated codec: 0 PCMU, 8 PCMA */
	uint8_t event_payload_type;  /* telephone-event (RFC 4733), 0 when not negotiated */
	uint8_t lcore;		     /* packet lcore (0..n-1) that owns playout */
} __rte_cache_aligned;

/*
 * Per-call receive accounting, RFC 3550 A.1, A.3 and A.8. Writer: the lcore that receives the bound flow (RSS keeps a flow on one lcore;
 * control moves a binding only through the table). Readers: control and telemetry, relaxed, a snapshot.
 */
struct session_receive {
	_Atomic uint64_t packets;
	_Atomic uint64_t bytes;	    /* payload */
	_Atomic uint64_t last_tsc;  /* arrival of the last delivered packet: expiry, liveness */
	_Atomic uint32_t jitter_q4; /* RFC 3550 A.8 estimate, RTP timestamp units times 16 */
	_Atomic uint32_t duplicates;
	_Atomic uint32_t reordered;
	_Atomic uint32_t ssrc;		    /* of the last delivered packet: a change restarts the sequence */
	_Atomic uint32_t base_seq, max_seq; /* extended */
	_Atomic uint32_t expected_prior;    /* packets expected under earlier SSRCs or restarts */
	_Atomic uint32_t transit;
	_Atomic uint32_t window;  /* the last 32 sequence numbers seen, for duplicates */
	_Atomic uint32_t dropped; /* after binding: ring full, no worker, held */
} __rte_cache_aligned;

struct session {
	struct session_route route;
	struct session_receive receive;
	struct session_playout playout;
} __rte_cache_aligned;

struct session_table; /* rte_hash (RW_CONCURRENCY_LF) + storage + QSBR variable */

/* Burst size of a lookup; rte_hash_lookup_bulk takes at most 64. */
#define SESSION_LOOKUP_BURST 32

/* Most sessions one table can be made for: what keeps index and sizes within 32 bits. */
#define SESSION_TABLE_MAX (1u << 22)

/* Allocate storage and table for `max_sessions`. Control thread, before lcores run. Returns NULL with rte_errno on failure. */
struct session_table *session_table_new(uint32_t max_sessions, int socket_id);
void session_table_free(struct session_table *table);

/* The storage slot of an index below max_sessions; any thread. */
struct session *session_table_at(struct session_table *table, uint32_t index);
uint32_t session_table_max(const struct session_table *table);

/* The QSBR variable on which lcores report quiescent states, one token per packet lcore. */
struct rte_rcu_qsbr *session_table_qsbr(struct session_table *table);

/*
 * Look up to SESSION_LOOKUP_BURST keys up at once. `refs[i].generation` is 0 where there is no entry. Lcore; wait-free. Returns a mask of
 * hits.
 */
uint64_t session_table_lookup(
	const struct session_table *table, const struct flow_key *const keys[], unsigned int count, struct session_ref refs[]);

/*
 * Insert, remove a flow. Control thread only. Removal frees the table's slot after a grace period, by session_table_reclaim(); an existing
 * key is never overwritten (insert returns -EEXIST). Return 0 or -errno.
 */
int session_table_insert(struct session_table *table, const struct flow_key *key, struct session_ref ref);
int session_table_remove(struct session_table *table, const struct flow_key *key);

/* Free what no lcore can see any more; call it from every turn of the control loop. Never waits. Control thread. */
void session_table_reclaim(struct session_table *table);

/* Entries in use and entries waiting for reclamation. Control thread. */
void session_table_count(const struct session_table *table, uint32_t *used, uint32_t *deferred);
