/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that the caller of one call presses: an event for the platform, a text for the model. Worker loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct call;
struct vl_record;

/* One payload from the caller; only telephone-events matter here. */
void call_dtmf_heard(struct call *call, const struct vl_record *record, const uint8_t *payload, uint64_t now_ms);

/* Let time pass. */
void call_dtmf_tick(struct call *call, uint64_t now_ms);

/*
 * Another connection is ready: tell the model again of keys that it has not shown to have heard. Before call_resume_ready(), which tells a new session of them. Returns
 * whether it was told, and so will answer to that.
 */
bool call_dtmf_ready(struct call *call, bool resumed, uint64_t now_ms);
