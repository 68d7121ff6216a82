/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An alarm's callback runs on the interrupt thread, so two of them, one after the other, are a barrier.
 */
#include <semaphore.h>
#include <time.h>

#include <rte_alarm.h>

#include "interrupts.h"

/* Static: a thread that is late finds it still there. */
static sem_t passed;

static void pass(void *arg)
{
	(void)arg;
	sem_post(&passed);
}

bool interrupts_settle(unsigned int timeout_ms)
{
	struct timespec until;

	if (sem_init(&passed, 0, 0) < 0 || clock_gettime(CLOCK_MONOTONIC, &until) < 0)
		return false;
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	/* The first may run ahead of another event of the same wake-up; the second comes in a wake-up of its own. */
	for (int i = 0; i < 2; i++) {
		if (rte_eal_alarm_set(1, pass, NULL) < 0 || sem_clockwait(&passed, CLOCK_MONOTONIC, &until) < 0)
			return false;
	}
	return true;
}
