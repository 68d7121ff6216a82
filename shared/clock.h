/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monotonic clock, for the few places where time enters the program; everything else takes time as a parameter.
 */
#pragma once

#include <stdint.h>
#include <time.h>

/* Milliseconds of CLOCK_MONOTONIC. Any thread; not a system call on Linux (vDSO). */
static inline uint64_t vl_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Microseconds of CLOCK_MONOTONIC. Any thread. */
static inline uint64_t vl_clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}
