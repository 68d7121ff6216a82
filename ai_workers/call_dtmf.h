/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that the caller of one call presses: an event for the platform, a text for the model. Worker loop.
 */
#pragma once

#include <stdint.h>

struct call;
struct vl_record;

/* One payload from the caller; only telephone-events matter here. */
void call_dtmf_heard(struct call *call, const struct vl_record *record, const uint8_t *payload, uint64_t now_ms);

/* Let time pass. */
void call_dtmf_tick(struct call *call, uint64_t now_ms);
