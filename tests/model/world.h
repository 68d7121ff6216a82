/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small world in which the binding rules are checked exhaustively: three calls, two source addresses, three ports, three
 * SSRCs, two local ports, two tenants with a worker each. world.c keeps the state of binding.c in memory that can be copied, oracle.c says what should have
 * happened, explore.c enumerates.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dpdk_app/binding_state.h"
#include "dpdk_app/route.h"

#define CALLS	      3
#define IPS	      2
#define PORTS	      3
#define SSRCS	      3
#define LOCALS	      2
#define SOURCES	      (LOCALS * IPS * PORTS)
#define FLOWS	      (SOURCES * SSRCS)
#define TENANTS	      2
#define WORKER_SLOTS  2	 /* the lowest free one is taken, so a slot changes its tenant */
#define ANY	      -1 /* port: not known; SSRC: not signalled */
#define NOBODY	      -1
#define BURST	      4
#define BURST_STEP_MS 20
#define QUARANTINE_MS 30000u
#define LINGER_MS     5000u
#define SECOND_MS     1000u

struct place {
	int ip, port;
};

/* A call as signalled: at `places[0]` first, `places[1]` after a move. */
struct call_spec {
	struct place places[2];
	int ssrc;
	bool nat, dedicated; /* dedicated: local port 1, otherwise 0 */
};

struct world_spec {
	const char *name;
	struct call_spec calls[CALLS];
	int ips, ports, ssrcs, locals; /* used by packets */
};

extern const struct world_spec worlds[];
extern const size_t world_count;

static inline int flow_source(int flow)
{
	return flow / SSRCS;
}

static inline int flow_ssrc(int flow)
{
	return flow % SSRCS;
}

static inline int source_port(int source)
{
	return source % PORTS;
}

static inline int source_ip(int source)
{
	return source / PORTS % IPS;
}

static inline int source_local(int source)
{
	return source / PORTS / IPS;
}

static inline int source_of(int local, int ip, int port)
{
	return (local * IPS + ip) * PORTS + port;
}

static inline int flow_of(int source, int ssrc)
{
	return source * SSRCS + ssrc;
}

/* Who left something, and when: refused to everyone else until then. */
struct left {
	uint64_t until_ms[CALLS]; /* by the call of this slot and generation */
	uint32_t generation[CALLS];
	uint64_t shared_until_ms; /* by several */
};

struct ghost_call {
	bool open, bound, ever_bound;
	bool learned; /* its bound source is not where it was signalled */
	int place;
	uint32_t generation;
	int flow; /* bound, or last */
	uint64_t heard_ms;
	uint64_t crowd_until_ms; /* so many streams wanted it that not all are remembered */
};

/* A stream that wants a call: packets in a row that were told to wait. last_ms 0: there is none. */
struct ghost_trial {
	uint32_t count;
	uint16_t last_seq;
	uint64_t first_ms, last_ms;
};

/* What an observer of events and verdicts knows. */
struct ghost {
	struct ghost_call calls[CALLS];
	struct left flows[FLOWS], sources[SOURCES], ssrcs[LOCALS][SSRCS], addresses[LOCALS][IPS];
	struct ghost_trial trials[CALLS][FLOWS];
	uint16_t seq[FLOWS];
	unsigned int ssrcs_used; /* mask: SSRCs are interchangeable, so they are used in order */
	int slots[TENANTS];	 /* of the tenant's worker; NOBODY while it is lost */
};

struct world {
	const struct world_spec *spec;
	uint64_t now_ms;
	struct ghost ghost;
	struct binding binding;
	struct session_route routes[CALLS];
	uint64_t attached; /* workers' slots, as lcores see them */
};

/* Whose worker serves a call. */
static inline int tenant_of(int call)
{
	return call < 2 ? 0 : 1;
}

/* Memory of a world; copy overwrites `to`, which is of the same spec. hash covers everything that can matter later. */
struct world *world_new(const struct world_spec *spec);
void world_free(struct world *world);
void world_copy(struct world *to, const struct world *from);
uint64_t world_hash(const struct world *world);

/* The arguments of binding.h for the small world's numbers. */
struct flow_key world_key(int flow);
struct binding_session world_session(const struct world *world, int call);
struct session_ref world_ref(const struct world *world, int call);
int world_flow(const struct flow_key *key);

/* Do one thing and compare with what should happen. NULL, or what is wrong. */
const char *oracle_open(struct world *world, int call);
const char *oracle_move(struct world *world, int call);
const char *oracle_close(struct world *world, int call);
const char *oracle_packet(struct world *world, int flow);
const char *oracle_worker(struct world *world, int tenant); /* its worker is lost, or one attaches again */
