/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread's side of route.h.
 */
#include "route.h"

void route_open(
	struct session_route *shared, uint32_t generation, uint8_t payload_type, uint8_t event_payload_type, uint8_t lcore)
{
	atomic_store_explicit(&shared->worker, ROUTE_NO_WORKER, memory_order_relaxed);
	atomic_store_explicit(&shared->held, 0, memory_order_relaxed);
	atomic_store_explicit(&shared->attachment, 0, memory_order_relaxed);
	shared->payload_type = payload_type;
	shared->event_payload_type = event_payload_type;
	shared->lcore = lcore;
	atomic_store_explicit(&shared->generation, generation, memory_order_release);
}

void route_close(struct session_route *shared)
{
	atomic_store_explicit(&shared->generation, 0, memory_order_release);
}

void route_renew(struct session_route *shared, uint8_t attachment)
{
	atomic_store_explicit(&shared->attachment, attachment, memory_order_relaxed);
}

void route_give(struct session_route *shared, uint8_t worker)
{
	/* Release: an lcore that sees the slot also sees what was stored for this call before. Pairs with the lcore's acquire. */
	atomic_store_explicit(&shared->worker, worker, memory_order_release);
}

void route_take(struct session_route *shared)
{
	atomic_store_explicit(&shared->worker, ROUTE_NO_WORKER, memory_order_release);
}
