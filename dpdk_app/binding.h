/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The binding rules: which call, if any, a flow nobody knows yet belongs to. Pure: data and a clock in, a decision out; no
 * DPDK, no I/O. Owned by the control thread; unit-tested, fuzzed and model-checked as plain C.
 *
 * Rules (doc/architecture.md has the table): an SSRC locked to a session from another source is refused; a packet from exactly
 * a session's signalled address and port binds at once (a later new SSRC from there re-locks after probation); a packet from
 * the address of exactly one session whose port is not known yet binds after probation; anything ambiguous goes to nobody.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drops.h"
#include "flow.h"

#define BINDING_PROBATION_PACKETS 4u	/* sequential (Asterisk strictrtp; RFC 3550 A.1 MIN_SEQUENTIAL is 2) */
#define BINDING_PROBATION_MS	  22u	/* and spanning at least this (4-1 packets * 9 ms - 5, Asterisk) */
#define BINDING_PENDING_MS	  1000u /* a flow that goes quiet in probation is forgotten */
#define BINDING_QUIET_MS	  70u /* a bound flow not heard for so long may be replaced (more than three packets of 20 ms) */

#define BINDING_SESSIONS_MAX (1u << 22)

struct binding; /* the whole state */

struct binding_limits {
	uint32_t max_sessions;
	uint32_t max_pending;	/* flows in probation at once; a session has at most two, so 2 * max_sessions never refuses one */
	uint32_t quarantine_ms; /* how long a dead call's flows and dedicated port stay refused */
	uint64_t hash_seed;	/* random, so that nobody can choose flows that share a bucket */
	/*
	 * When the session's bound flow was last heard, in the clock of now_ms, 0 never: a live stream is not replaced by a new
	 * SSRC or a NAT rebinding. NULL: not known, any stream that passes its probation replaces the old one.
	 */
	uint64_t (*last_heard_ms)(void *context, struct session_ref session);
	void *context;
};

struct binding_session {
	struct endpoint local;
	struct endpoint remote;	  /* as signalled */
	bool remote_port_unknown; /* the trunk's default port was signalled: not known yet */
	bool dedicated;		  /* local port belongs to this call alone */
	bool allow_nat_rebind;	  /* of the trunk */
	bool ssrc_known;	  /* signalled */
	uint32_t ssrc;
	uint8_t payload_type, event_payload_type; /* negotiated; 13 (CN) is always accepted */
	const struct ip_prefix *sources;	  /* of the trunk; a source outside them never binds. Outlives the session */
	size_t source_count;
};

/* What happened to the caller of binding_packet(). */
enum binding_action {
	BINDING_DROP,	 /* `reason` */
	BINDING_WAIT,	 /* in probation for `session`: keep the packet with the flow, a few at most */
	BINDING_BIND,	 /* `session` owns this flow now: insert `bound`; if `moved`, remove `unbound` first */
	BINDING_DELIVER, /* the flow is bound already (the table just did not show it yet) */
};

struct binding_verdict {
	enum binding_action action;
	enum drop_reason reason;
	struct session_ref session;
	struct flow_key bound; /* BIND: the key that now leads to the session */
	bool moved;	       /* BIND: it had another one before */
	struct flow_key unbound;
	bool first;	     /* BIND: the session was never bound before: the lock line */
	bool address_switch; /* BIND: the source address or port changed, not only the SSRC */
	/*
	 * Open and move, with any action: signalling says that a source is this call's that another session had learned from
	 * packets. That session lost its flow and waits as at its start; remove `evicted_flow` first.
	 */
	bool evicted;
	struct session_ref evicted_session;
	struct flow_key evicted_flow;
};

/*
 * One packet of an unknown flow. `rtcp` packets never bind; they are delivered to the call whose flow they report on, or
 * dropped.
 */
struct binding_packet {
	struct flow_key key;
	uint16_t seq;
	uint8_t payload_type;
	bool rtcp;
};

/*
 * Everything below: control thread only; time in milliseconds of any monotonic clock. All memory is allocated here (but a word
 * per trunk in binding_open()), so no packet allocates. Returns NULL with errno: EINVAL (max_sessions 0 or over
 * BINDING_SESSIONS_MAX), ENOMEM.
 */
struct binding *binding_new(const struct binding_limits *limits);
void binding_free(struct binding *binding);

/*
 * A call begins. `ref` is named by the caller (index below max_sessions, not in use). With a signalled SSRC and a known port
 * the flow is bound at once: *verdict tells (BIND), otherwise its action is WAIT. Returns 0; -EINVAL (index or generation);
 * -EEXIST (index in use, local port another call's own, or that very flow is another call's); -EBUSY (its local port or flow is
 * quarantined); -ENOBUFS (so many calls ended lately that the quarantine is full); -ENOMEM. On an error nothing has changed.
 */
int binding_open(struct binding *binding, struct session_ref ref, const struct binding_session *session, uint64_t now_ms,
	struct binding_verdict *verdict);

/*
 * Signalling moved the remote side (re-INVITE). The old flow stops at once (*verdict.unbound, moved; the action is WAIT), the
 * next packet from the new place binds as on a fresh call, without forgetting that it is the same call. The place it was
 * signalled at already, or the one it is bound to, changes nothing. Returns 0, -ENOENT, -ENOBUFS (quarantine full; nothing has
 * changed).
 */
int binding_move(struct binding *binding, struct session_ref ref, const struct endpoint *remote, bool port_unknown,
	uint64_t now_ms, struct binding_verdict *verdict);

/*
 * The call ended: its flow (*unbound, true returned if it had one), what was in probation for it and its dedicated port go into
 * quarantine. A stale `ref` changes nothing.
 */
bool binding_close(struct binding *binding, struct session_ref ref, uint64_t now_ms, struct flow_key *unbound);

/* Decide about one packet. O(1), no allocation. */
void binding_packet(
	struct binding *binding, const struct binding_packet *packet, uint64_t now_ms, struct binding_verdict *verdict);

/* Forget pending flows and quarantines whose time is over. Cheap enough for every turn of the control loop. */
void binding_expire(struct binding *binding, uint64_t now_ms);

/* Whether a local port is free of quarantine and of sessions: for the allocation of dedicated ports. */
bool binding_local_port_free(const struct binding *binding, const struct endpoint *local, uint64_t now_ms);

/* Counts, for telemetry and leak tests. */
struct binding_counts {
	uint32_t sessions, bound, pending, quarantined;
	uint64_t ambiguous; /* times nobody got a packet because several could claim it */
};
void binding_count(const struct binding *binding, struct binding_counts *counts);
