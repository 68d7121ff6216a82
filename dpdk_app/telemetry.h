/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands under /voxlane/ on the DPDK telemetry socket (doc/telemetry.md). Read-only. Callbacks run on threads of the EAL,
 * several at once; each holds dataplane->lock, which the control thread holds during its turns and no lcore ever takes.
 */
#pragma once

#include "dataplane.h"

/* Register the commands for this dataplane. Control thread. */
void telemetry_start(struct dataplane *dataplane);

/* The commands stay registered, but answer nothing from now on; when this returns no callback touches the dataplane any more. */
void telemetry_stop(struct dataplane *dataplane);
