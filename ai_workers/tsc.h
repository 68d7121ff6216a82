/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processor's time stamp counter, which stamps the records of the channel. Both processes are on one machine, and the data
 * plane tells its frequency in the welcome.
 */
#pragma once

#include <stdint.h>

/* Now. Any thread. */
static inline uint64_t tsc_now(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t now;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(now));
	return now;
#else
#error "no time stamp counter is known for this processor"
#endif
}

/* Microseconds from `tsc` to now; 0 when `tsc` is in the future, as a hostile peer may claim. Any thread. */
static inline uint64_t tsc_elapsed_us(uint64_t tsc, uint64_t hz)
{
	uint64_t now = tsc_now();

	return now > tsc ? (uint64_t)((double)(now - tsc) * 1e6 / (double)hz) : 0;
}
