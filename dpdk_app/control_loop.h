/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread's loop: sockets, what the lcores hand over, timers, signals.
 */
#pragma once

#include "dataplane.h"

/*
 * Run until the data plane is told to end: SIGTERM or SIGINT drains (no new calls; ends when none is left or after
 * drain.timeout_s), a second one ends at once. SIGTERM and SIGINT must be blocked in every thread. Control thread. Returns 0 or
 * -errno when the loop cannot be set up.
 */
int control_loop_run(struct dataplane *dataplane);
