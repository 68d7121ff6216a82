/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The true rate of the time stamp counter. rte_get_tsc_hz() may be rounded to 10 MHz, an error of up to 0.2 %, which is 100
 * ms of audio in a minute.
 */
#pragma once

#include <stdint.h>

/*
 * Measure the TSC against CLOCK_MONOTONIC for `ms` milliseconds (100 gives about 1 ppm). Blocks. Control thread, at start.
 * Returns Hz.
 */
uint64_t tsc_measure_hz(uint32_t ms);

/* Cycles from `then` to `now`; 0 when another core's `then` was read after our `now`. Any thread. */
static inline uint64_t tsc_ago(uint64_t now, uint64_t then)
{
	return then < now ? now - then : 0;
}
