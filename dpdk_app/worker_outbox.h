/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to a worker, in order, and the end of a worker that cannot be told something any more. Part of workers.c. Control
 * thread only.
 */
#pragma once

#include "workers.h"

/* Have the worker cut off at the end of the turn; the first reason given counts. */
void worker_doom(struct worker *worker, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Send `text` (of cJSON, freed here) behind what waits. NULL, a full backlog and a dead link doom the worker, since it would
 * miss a message.
 */
void worker_outbox_send(struct worker *worker, char *text);

/* Move on what waits, as far as the link takes it. */
void worker_outbox_flush(struct worker *worker);

/* Forget what waits. */
void worker_outbox_drop(struct worker *worker);
