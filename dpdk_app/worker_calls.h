/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls and their workers: which worker a call is with, what happens to it when the worker comes, goes or reports, and the
 * lcores' use of the worker's channel. The other side of struct workers_ops. Control thread only.
 */
#pragma once

#include "dataplane.h"

/* For workers_new(), with the dataplane as context. */
extern const struct workers_ops worker_calls_ops;

/*
 * Give a call without worker to one that serves its user. `again` when it had another one before: what that one queued is
 * dropped. Returns 0, -ENOENT (nobody serves the user), -EBUSY (all are full) or
 * -EAGAIN (again only: lcores are behind with their commands).
 */
int worker_calls_place(struct dataplane *dataplane, struct call *call, bool again);

/* Take a call from its worker, if it has one. */
void worker_calls_take(struct dataplane *dataplane, struct call *call, const char *reason);

/* Look for workers for calls that lost theirs; every turn. */
void worker_calls_run(struct dataplane *dataplane);
