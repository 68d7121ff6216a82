/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 20 ms beat of an lcore's calls: a wheel of WHEEL_SLOTS slots that turns once in 20 ms. A call stays in its slot, so its
 * packets leave exactly 20 ms apart; slot times are exact fractions of the TSC rate, so they do not drift. Calls are spread
 * evenly. Pure: time is a parameter, memory is the caller's; everything but the walk over due calls is O(1).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WHEEL_SLOTS	 200u /* 100 us each */
#define WHEEL_PERIOD_MS	 20u
#define WHEEL_ROUNDS_MAX 10u /* a wheel further behind than this many periods (a stopped machine) skips the rest */

struct wheel; /* used by one thread */

/* Bytes wheel_init() needs for indices 0..max-1. Any thread. */
size_t wheel_size(uint32_t max);

/* Make an empty wheel in `memory` of wheel_size(max) bytes, aligned for any type. `now` and `tsc_hz` in TSC units. Returns `memory`. */
struct wheel *wheel_init(void *memory, uint32_t max, uint64_t tsc_hz, uint64_t now);

/* Put `index` into the emptier of two slots; nothing happens if it is in. Its first beat is within 20 ms. Owner. */
void wheel_insert(struct wheel *wheel, uint32_t index);

/* Take `index` out; nothing happens if it is not in. Legal between two wheel_due() of one slot. Owner. */
void wheel_remove(struct wheel *wheel, uint32_t index);

/* Whether `index` is in. Owner. */
bool wheel_contains(const struct wheel *wheel, uint32_t index);

/*
 * Up to `max` indices whose beat is due at `now`, all of one slot, and in *due_tsc the time it was due. Returns their number;
 * 0 when nothing (more) is due. Call it until then, or again later: nothing is lost, and the time of a slot does not move.
 * Owner.
 */
unsigned int wheel_due(struct wheel *wheel, uint64_t now, uint32_t indices[], unsigned int max, uint64_t *due_tsc);

/* When the next beat of any call is due; UINT64_MAX when the wheel is empty. Owner. */
uint64_t wheel_next(const struct wheel *wheel);

/* Beats that were skipped because the wheel was too far behind, over all calls, so far. Owner. */
uint64_t wheel_skipped(const struct wheel *wheel);

/* Calls in the wheel. Owner. */
uint32_t wheel_count(const struct wheel *wheel);
