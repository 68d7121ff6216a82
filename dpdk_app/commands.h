/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands to packet lcores, none lost and none overtaking another: what an lcore's ring cannot take at the moment waits here
 * in order. Control thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lcore.h"

struct commands;

/* For `count` lcores, which outlive it. Returns NULL with errno ENOMEM. */
struct commands *commands_new(struct lcore *const lcores[], unsigned int count);
void commands_free(struct commands *commands);

/* Hand a command to lcore `index`, now or as soon as its ring has room. Returns 0 or -ENOMEM: the lcore never gets it (logged). */
int commands_send(struct commands *commands, unsigned int index, const struct lcore_command *command);

/*
 * Whether what one call needs would go straight into every lcore's ring: a worker may be told of a call only then, since it may answer
 * before a command that waits here is seen.
 */
bool commands_have_room(const struct commands *commands);

/* Move on what waits; every turn of the control loop. */
void commands_run(struct commands *commands);

/*
 * Commands that wait here for all lcores together. With none waiting, everything handed over is in the lcores' rings, and a
 * grace period of the QSBR variable from then on tells when every lcore has acted on it (lcore.h, "Order and grace").
 */
uint32_t commands_waiting(const struct commands *commands);
