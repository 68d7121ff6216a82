/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry of calls: by index and generation, by UUID, by user. It hands out the indices of the session storage and their
 * generations. Pure: no DPDK, time and randomness are parameters. Control thread only.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "call.h"

struct calls;

/*
 * A registry for `max_calls` calls, whose indices rest for `quarantine_ms` before they are used again. Returns NULL with errno
 * ENOMEM.
 */
struct calls *calls_new(uint32_t max_calls, uint32_t quarantine_ms);

/* Free the registry and every call in it; NULL is legal. */
void calls_free(struct calls *calls);

/*
 * Add a call of `user`: it gets an index, a generation that this index never had before, a version 4 UUID (RFC 9562 5.4) made
 * of `random`, and created_ms; everything else is zero, without worker. The registry owns it. Returns NULL with errno ENOSPC
 * (all indices in use or resting), EEXIST (that UUID is in use), EINVAL (user name empty or too long) or ENOMEM.
 */
struct call *calls_add(struct calls *calls, const char *user, const uint8_t random[16], uint64_t now_ms);

/*
 * Let a call just added be sent by that one of packet lcores 0 to lcores-1 that has the fewest calls, the first of several: whatever order
 * calls end in, no lcore has more than its share for longer than it takes as many calls to begin. Once for a call.
 */
void calls_give_lcore(struct calls *calls, struct call *call, unsigned int lcores);

/* Remove and free a call; its index rests from `now_ms` on. */
void calls_remove(struct calls *calls, struct call *call, uint64_t now_ms);

/* Take back a call just added that nobody outside the control thread has seen: its index need not rest. */
void calls_cancel(struct calls *calls, struct call *call);

/* The live call of an index, whatever its generation; NULL when there is none or the index is out of range. */
struct call *calls_at(const struct calls *calls, uint32_t index);

/* The live call that `ref` names; NULL when it ended, even if its index lives again. */
struct call *calls_find(const struct calls *calls, struct session_ref ref);

/* The live call with this UUID (lower case, as we wrote it); NULL when there is none. */
struct call *calls_find_uuid(const struct calls *calls, const char *uuid);

/* The first call of a user, the next by call->user_next; NULL when the user has none. */
struct call *calls_of_user(const struct calls *calls, const char *user);

/*
 * Walk all calls in no particular order: NULL begins, NULL ends. The returned call may be removed only after its successor was
 * taken.
 */
struct call *calls_next(const struct calls *calls, const struct call *call);

/*
 * A page of calls in the order of their UUIDs: up to `limit` calls whose UUID is greater than `after` ("" begins). Needs no
 * anchor to be alive, so a reader of pages misses nothing that lives through the reading. Returns the number written to `page`.
 */
size_t calls_page(const struct calls *calls, const char *after, struct call **page, size_t limit);

/* Live calls, and the most there can be. */
uint32_t calls_count(const struct calls *calls);
uint32_t calls_max(const struct calls *calls);
