/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stages in which the data plane starts, and in reverse stops. Control thread.
 */
#pragma once

#include "dataplane.h"

/*
 * Start everything behind the EAL; dataplane->config is set, the rest zero. Returns 0, or -1 with everything rolled back and
 * one sentence in dataplane->error.
 */
int start_all(struct dataplane *dataplane);

/* Stop what start_all() started, in reverse. */
void stop_all(struct dataplane *dataplane);
