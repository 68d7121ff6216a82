/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rate of the time stamp counter, measured.
 */
#include "tsc.h"

#include <time.h>

#include <rte_cycles.h>

#define NS_A_SECOND 1000000000u
#define TRIES	    16u

/* A TSC value and the nanosecond it belongs to: of several tries the one in which reading the clock took the shortest. */
static void sample(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (unsigned int i = 0; i < TRIES; i++) {
		struct timespec now;
		uint64_t before = rte_rdtsc_precise();

		clock_gettime(CLOCK_MONOTONIC, &now);
		uint64_t took = rte_rdtsc_precise() - before;

		if (took < best) {
			best = took;
			*tsc = before + took / 2;
			*ns = (uint64_t)now.tv_sec * NS_A_SECOND + (uint64_t)now.tv_nsec;
		}
	}
}

uint64_t tsc_measure_hz(uint32_t ms)
{
	struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	uint64_t tsc[2] = {0}, ns[2] = {0};

	sample(&tsc[0], &ns[0]);
	nanosleep(&wait, NULL);
	sample(&tsc[1], &ns[1]);
	return (uint64_t)((double)(tsc[1] - tsc[0]) * NS_A_SECOND / (double)(ns[1] - ns[0]));
}
