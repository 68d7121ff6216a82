/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting into the worker's own struct vl_worker_stats. One writer, so a plain load and store suffices and no locked instruction
 * is needed.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "../shared/worker_stats.h"

/* Add to one counter. Worker loop only. */
static inline void stats_add(_Atomic uint64_t *counter, uint64_t value)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value, memory_order_relaxed);
}
