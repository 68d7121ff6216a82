/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When what a call hands over was read, for the latency histograms that are always on. Of the thousands of messages and frames of a
 * conversation only two kinds are stamped: the one that begins an answer and the one that cuts it, so all others pay one comparison.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "call.h"
#include "stats.h"
#include "tsc.h"

/*
 * When the message that is being handled could have been read at the earliest: when the loop's poll returned, which may be a while
 * before its turn comes in a loop that has much to do. Worker loop.
 */
static inline uint64_t call_latency_read_tsc(struct worker *worker)
{
	uint64_t now = tsc_now(), polled;

	if (worker->turn_tsc == 0)
		return now;
	/* The poll is the first thing in a turn, and all that sleeps in it. */
	polled = worker->turn_tsc +
		 (uint64_t)((double)(uv_metrics_idle_time(&worker->loop) - worker->slept_ns) * (double)worker->tsc_hz / 1e9);
	return polled < now ? polled : now;
}

/* Whether audio that comes now begins an answer that the caller hears from its beginning. Worker loop. */
static inline bool call_latency_is_first(const struct call *call)
{
	const struct downlink *d = &call->downlink;

	return !d->speaking && d->queue.len == 0 && !d->paused && !d->waiting;
}

/* The stamp of a record that goes into the ring now, see struct vl_record. Counts the first frame of an answer. Worker loop. */
static inline uint64_t call_latency_stamp(struct call *call, enum downlink_due due)
{
	struct call_latency *latency = &call->latency;
	uint64_t stamp = latency->audio_tsc;

	if (due == DOWNLINK_FLUSH_DUE) {
		stamp = latency->cut_tsc != 0 ? latency->cut_tsc : tsc_now();
		latency->cut_tsc = 0;
		return stamp;
	}
	if (due != DOWNLINK_FRAME_DUE || stamp == 0 || call->worker->tsc_hz == 0)
		return 0;
	latency->audio_tsc = 0;
	vl_histogram_add(&call->worker->stats.message_to_ring_us, tsc_elapsed_us(stamp, call->worker->tsc_hz));
	return stamp;
}
