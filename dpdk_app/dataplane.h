/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data plane's one object: everything the start stages made, as the modules of the control thread find each other. Written
 * by start.c; after that each member belongs to the module it names. Control thread, and telemetry while it holds `lock`.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "binding.h"
#include "calls.h"
#include "commands.h"
#include "config.h"
#include "control_socket.h"
#include "drops.h"
#include "lcore.h"
#include "port.h"
#include "workers.h"

struct call_records;
struct flow_rules;
struct media;
struct next_hops;

/* What the control thread itself dropped, and did. Writer: control thread; readers: telemetry, relaxed. */
struct control_counters {
	_Atomic uint64_t drops[DROP_COUNT];
	_Atomic uint64_t learned; /* packets of unknown flows taken from the lcores */
	_Atomic uint64_t local;	  /* ARP, neighbour discovery, ping frames taken from the lcores */
	_Atomic uint64_t locks;	  /* flows bound, re-locks included */
	_Atomic uint64_t kept;	  /* packets kept with a flow in probation */
	_Atomic uint64_t turns;	  /* of the control loop */
	_Atomic uint64_t longest_turn_us;
	_Atomic uint64_t calls_over_limit; /* not begun: their project had as many as it may */
};

struct dataplane {
	/*
	 * Held by the control thread during each turn of its loop and released while it waits; taken by telemetry callbacks,
	 * which may then read every member below. No lcore ever takes it.
	 */
	pthread_mutex_t lock;

	struct config *config;
	char node[CONFIG_NAME_SIZE];	     /* of the configuration, or the host's name */
	char error[512];		     /* why a start stage failed, one sentence */
	uint64_t tsc_hz, started_ms, now_ms; /* now_ms: of this turn */

	struct port port;		       /* the one that `listen` is on */
	struct packet_local locals[PORTS_MAX]; /* by ethdev port id; only that port's is used */
	struct flow_rules *flow_rules;	       /* NULL: none */
	struct rte_mempool *pool;
	struct session_table *table;
	struct lcore_settings lcore_settings;
	struct sources *sources;
	struct expected *expected;
	struct lcore *lcores[LCORES_MAX];
	unsigned int lcore_count;

	struct commands *commands;
	struct calls *calls;
	struct binding *binding;
	unsigned int dedicated_next; /* position in the range of dedicated ports to look at next */
	struct next_hops *next_hops;
	struct media *media;
	struct workers *workers;
	struct control_socket *control;
	struct call_records *records; /* NULL: none are written */
	struct control_counters counters;

	/* Grace of each worker slot's channel, worker_calls.c. */
	struct {
		bool asked, started;
		uint64_t token;
	} detach[WORKERS_SLOTS];

	uint32_t calls_without_worker; /* they lost it and wait for another */
	uint64_t place_again_ms;       /* when to look for one again */
	uint32_t sweep;		       /* next index the expiry of calls looks at */
	bool draining;		       /* no new calls */
	bool exit_drained;	       /* leave the loop when no call is left */
	uint64_t drain_deadline_ms;
	bool telemetry; /* our commands are registered and may touch this object */
};

/* Count a packet or record the control thread carried no further. */
static inline void dataplane_drop(struct dataplane *dataplane, enum drop_reason reason)
{
	atomic_fetch_add_explicit(&dataplane->counters.drops[reason], 1, memory_order_relaxed);
}

/* Random bytes for identifiers; getrandom(2), which cannot fail for these sizes once the system's source is seeded. */
void dataplane_random(void *bytes, size_t size);
