/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turn-taking of one call: tells turn.h what happens, listens to the caller (voice_activity.h), and carries out what follows.
 */
#pragma once

#include <stdint.h>

#include "gemini_message.h"
#include "turn.h"

struct call;
struct vl_record;

/* Prepare for a call whose user and downlink are set. Worker loop. */
void call_turn_init(struct call *call);

/* Something of `type` has happened, see turn.h; not COMPLETE, which is in the messages. Worker loop. */
void call_turn(struct call *call, enum turn_event_type type, uint64_t now_ms);

/* What a message means for the turns, apart from its audio; after it has been acted on. Worker loop. */
void call_turn_message(struct call *call, const struct gemini_message *message, uint64_t now_ms);

/* The caller has interrupted: nothing of this turn is heard any more, from now on. Worker loop. */
void call_turn_cut(struct call *call, uint64_t now_ms);

/* Audio of the model is about to be taken. Worker loop. */
void call_turn_audio_comes(struct call *call, uint64_t now_ms);

/* One payload of the caller's voice. Worker loop. */
void call_turn_heard(struct call *call, const struct vl_record *record, const uint8_t *payload, uint64_t now_ms);

/* One frame was handed to the data plane. Worker loop. */
void call_turn_played(struct call *call, const uint8_t *frame, uint64_t now_ms);

/* Let time pass. Worker loop, every few ms. */
void call_turn_tick(struct call *call, uint64_t now_ms);
