/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the audio of a call goes and whose audio it may carry: the control thread writes it when a call begins and ends and when
 * its worker comes and goes, every lcore asks it for each packet and each record of a worker. Pure, so that the exhaustive check
 * of tests/model runs this very code beside the binding rules.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "drops.h"

#define ROUTE_NO_WORKER 0xffu
#define ROUTE_WORKERS	64u
#define ROUTE_TYPE_CN	13u /* comfort noise (RFC 3389) fits every codec */

/* Writer: control thread. Readers: every lcore. Generation is stored last when a session opens and cleared first when it ends. */
struct session_route {
	/* 0: free. Release store pairs with the lcore's acquire load after a table hit */
	_Atomic uint32_t generation;
	_Atomic uint8_t worker;	    /* worker slot, ROUTE_NO_WORKER while it has none */
	_Atomic uint8_t held;	    /* caller audio is not delivered */
	uint8_t payload_type;	    /* negotiated codec: 0 PCMU, 8 PCMA */
	uint8_t event_payload_type; /* telephone-event (RFC 4733), 0 when not negotiated */
	uint8_t lcore;		    /* packet lcore (0..n-1) that owns playout */
	_Atomic uint8_t
		attachment; /* counts the workers after the first; tells the lcore that the command about one is on its way */
};

/* What a session says about a packet, read consistently. */
struct route {
	uint8_t worker, held, payload_type, event_payload_type;
};

/* A call begins on this slot, without a worker. Control thread; a grace period lies between route_close() and this. */
void route_open(
	struct session_route *shared, uint32_t generation, uint8_t payload_type, uint8_t event_payload_type, uint8_t lcore);

/* The call ended: nothing of `generation` is delivered or sent from now on. Control thread. */
void route_close(struct session_route *shared);

/*
 * Another worker gets the call in a moment: the number for its LCORE_PLAYOUT_REATTACH, which is handed to the lcore before this, and
 * before the worker hears of the call. Control thread.
 */
void route_renew(struct session_route *shared, uint8_t attachment);

/* The call's audio goes to and comes from worker `worker`. Control thread; what the worker needs to know was stored before. */
void route_give(struct session_route *shared, uint8_t worker);

/* The worker is gone, or loses the call: its slot may become another's, so nothing of the call may name it. Control thread. */
void route_take(struct session_route *shared);

/*
 * Read the route of a call of `generation`. False when that call ended. The second look at the generation makes sure that what
 * was read in between is all of this call and not of the next one in the same slot; the control thread also keeps a grace
 * period between the two. Lcore.
 */
static inline bool route_read(const struct session_route *shared, uint32_t generation, struct route *route)
{
	/* Pairs with the control thread's release store when the session opened. */
	if (atomic_load_explicit(&shared->generation, memory_order_acquire) != generation)
		return false;
	route->worker = atomic_load_explicit(&shared->worker, memory_order_relaxed);
	route->held = atomic_load_explicit(&shared->held, memory_order_relaxed);
	route->payload_type = shared->payload_type;
	route->event_payload_type = shared->event_payload_type;
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&shared->generation, memory_order_relaxed) == generation;
}

/* Whether the payload is the call's audio, rather than a telephone event or something that was not negotiated. Any thread. */
static inline bool route_is_audio(const struct route *route, uint8_t payload_type)
{
	return payload_type == route->payload_type || payload_type == ROUTE_TYPE_CN;
}

/* Why a payload of this type may not go to the call's worker; DROP_NONE if it may. `attached`: bits of workers' slots. Lcore. */
static inline enum drop_reason route_judge(const struct route *route, uint8_t payload_type, uint64_t attached)
{
	bool event = route->event_payload_type != 0 && payload_type == route->event_payload_type;

	if (!route_is_audio(route, payload_type) && !event)
		return DROP_PAYLOAD_TYPE;
	if (route->held)
		return DROP_HELD;
	if (route->worker >= ROUTE_WORKERS || (attached >> route->worker & 1) == 0)
		return DROP_NO_WORKER;
	return DROP_NONE;
}

/* Why worker `worker` may not speak for the call of `generation` on this lcore; DROP_NONE if it may. Lcore. */
static inline enum drop_reason route_judge_worker(
	const struct session_route *shared, uint32_t generation, unsigned int worker, unsigned int lcore)
{
	/* Pairs with the control thread's release store when the session opened. */
	if (generation == 0 || atomic_load_explicit(&shared->generation, memory_order_acquire) != generation)
		return DROP_STALE_GENERATION;
	/* Pairs with route_give(): with the slot, the attachment and the command about it are seen. */
	if (atomic_load_explicit(&shared->worker, memory_order_acquire) != worker || shared->lcore != lcore)
		return DROP_DOWN_SESSION;
	return DROP_NONE;
}
