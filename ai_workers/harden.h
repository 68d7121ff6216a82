/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker gives up so that somebody who takes it over can do little with it, and nobody beside it can read its memory. The order
 * at start: harden_memory(), harden_identity(), read the keys, set up, harden_calls(). All of it holds for the process's life.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "../shared/json.h"

/*
 * No core files, no ptrace and no /proc/PID/mem by processes of the same user, no new privileges by execve(), and as much locked memory
 * as keys need. Main. Returns 0 or -errno with the reason.
 */
int harden_memory(struct vl_error *error);

/*
 * Become `user` for ever, with that user's groups; NULL keeps the one we are. Either way every capability is given up, root's too,
 * which are what lets root read other processes' memory. Main, before any other thread. Returns 0 or -errno with the reason.
 */
int harden_identity(const char *user, struct vl_error *error);

/*
 * From here on only the system calls that the loop needs (the table in harden_calls.c), for every thread; any other one ends the process and the
 * kernel logs its number. Main, with the service's CA store and name resolution already loaded: no more code can be mapped. Returns 0 or
 * -errno with the reason.
 */
int harden_calls(struct vl_error *error);

/* The name of allowed call number `index`, NULL behind the last. For tests and documentation. Any thread. */
const char *harden_call_name(size_t index);
