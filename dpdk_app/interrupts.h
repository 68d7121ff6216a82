/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The EAL's interrupt thread at the end. It lives until the process does, and rte_eal_cleanup() takes from under it the memory in
 * which some drivers keep their interrupt handles. A port's close wakes the thread to read them once more.
 */
#pragma once

#include <stdbool.h>

/*
 * Wait until the interrupt thread has done all it was woken for before this call. Blocks `timeout_ms` at most. Control thread, after
 * the ports are closed and before rte_eal_cleanup(). Returns false when the thread did not come to an end in time: then
 * rte_eal_cleanup() must not be called, and the process's end is the clean-up.
 */
bool interrupts_settle(unsigned int timeout_ms);
