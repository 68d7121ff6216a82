/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call as the lcores see it, and the lock-free table that finds it. Storage is preallocated; a session is named by index
 * + generation.
 *
 * Who writes what: struct session_route is the control thread's, struct session_receive the receiving lcore's, struct
 * session_playout the owning lcore's. Each has cache lines of its own, and what every received packet touches is apart from the
 * rest, so that 100,000 calls need 12 MB of it rather than a little of 290. Strings, users, UUIDs and states live in the
 * control thread's own struct call (call.h), not here.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_common.h>
#include <rte_rcu_qsbr.h>

#include "flow.h"
#include "flow_front.h"
#include "headers.h"
#include "playout.h"
#include "receive.h"
#include "route.h"
#include "telephone_event.h"

#define SESSION_NO_WORKER ROUTE_NO_WORKER

/* Where the packets of a call go. Built by the control thread, sent to the owning lcore by value (LCORE_PLAYOUT_*). */
struct lcore_target {
	uint16_t port; /* ethdev port to send on */
	bool ready;    /* next hop known; false: frames wait, beats are counted tx_no_neighbour */
	struct header_template headers;
};

/* What the owning lcore needs to send the call's packets. Writer and reader: that lcore. */
struct session_sender {
	uint32_t generation;   /* the call whose playout is on the wheel; 0: none */
	uint32_t drained_turn; /* of a DRAINED that found the uplink ring full and is tried again */
	uint8_t drained_flags; /* of it */
	bool drained_pending;
	uint8_t attachment; /* of the last START or REATTACH: the worker whose the queue and the turn are */
	bool event_active;  /* a telephone-event has the next beat */
	struct lcore_target target;
} __rte_cache_aligned;

/* What a received packet of the call touches: a line that only the control thread writes, and one of the receiving lcore. */
struct session_flow {
	struct session_route route;
	struct flow_front_key key;
	struct session_receive receive; /* receive.h: the receiving lcore's */
} __rte_cache_aligned;
_Static_assert(offsetof(struct session_flow, receive) == RTE_CACHE_LINE_SIZE, "one line of the control thread's");
_Static_assert(sizeof(struct session_flow) == 2 * RTE_CACHE_LINE_SIZE, "two lines a packet");

/* IPv4 headers without a tag, the usual case, end within the first cache line of the sender. */
_Static_assert(offsetof(struct session_sender, target.headers.bytes) + 42 <= RTE_CACHE_LINE_SIZE, "one line a beat");

struct session {
	struct session_sender sender;
	struct session_playout playout;
	struct telephone_event event __rte_cache_aligned; /* touched only while sender.event_active */
} __rte_cache_aligned;

struct session_table; /* rte_hash (RW_CONCURRENCY_LF), what stands in front of it, storage, QSBR variable */

/* Burst size of a lookup; rte_hash_lookup_bulk takes at most 64. */
#define SESSION_LOOKUP_BURST 32

/* Most sessions one table can be made for: what keeps index and sizes within 32 bits. */
#define SESSION_TABLE_MAX (1u << 22)

/* Allocate storage and table for `max_sessions`. Control thread, before lcores run. Returns NULL with rte_errno on failure. */
struct session_table *session_table_new(uint32_t max_sessions, int socket_id);
void session_table_free(struct session_table *table);

/* The storage slots of an index below max_sessions; any thread. */
struct session *session_table_at(struct session_table *table, uint32_t index);
struct session_flow *session_table_flow(struct session_table *table, uint32_t index);
uint32_t session_table_max(const struct session_table *table);

/* The QSBR variable on which lcores report quiescent states, one token per packet lcore. */
struct rte_rcu_qsbr *session_table_qsbr(struct session_table *table);

/*
 * Look up to SESSION_LOOKUP_BURST keys up at once. `refs[i].generation` is 0 where there is no entry. Lcore; wait-free.
 * Returns a mask of hits, whose session_table_flow() is then on its way to the cache.
 */
uint64_t session_table_lookup(
	const struct session_table *table, const struct flow_key *const keys[], unsigned int count, struct session_ref refs[]);

/*
 * Insert, remove a flow. Control thread only. Removal frees the table's slot after a grace period, by
 * session_table_reclaim(); an existing key is never overwritten (insert returns -EEXIST). Return 0 or -errno.
 */
int session_table_insert(struct session_table *table, const struct flow_key *key, struct session_ref ref);
int session_table_remove(struct session_table *table, const struct flow_key *key);

/* Free what no lcore can see any more; call it from every turn of the control loop. Never waits. Control thread. */
void session_table_reclaim(struct session_table *table);

/* Entries in use and entries waiting for reclamation. Control thread. */
void session_table_count(const struct session_table *table, uint32_t *used, uint32_t *deferred);
