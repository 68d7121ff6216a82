/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A descriptor kept in reserve by whoever listens on a socket. When the process is out of descriptors, accept() fails and the connection stays in the
 * backlog, so the listener is readable for ever and its owner never sleeps; with the reserve the connection can be taken and closed.
 */
#pragma once

#include <stdbool.h>

/* Open one. Control thread. Returns the descriptor, -1 when there is none (vl_spare_turn_away() then only tries again). */
int vl_spare_open(void);

/* Whether `error` (positive errno) of accept() means that there are no descriptors left. Any thread. */
bool vl_spare_needed(int error);

/* Accept one connection of the non-blocking `listener` in the spare's place, close it, and open the spare again. Control thread. */
void vl_spare_turn_away(int *spare, int listener);
