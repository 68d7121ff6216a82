/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What talk.c (the model's side) and talk_input.c (the client's messages) need of each other.
 */
#pragma once

#include "talk.h"

/* Refuse the session with a close code; only the first refusal counts. */
void talk_refuse(struct talk *talk, int code, const char *reason);

/* Send the message in talk->text. */
void talk_send(struct talk *talk);

/* Take the pending function call back, if the rules say so. */
void talk_cancel_tool(struct talk *talk);

/* The caller's utterance is over: report it and let the model answer. */
void talk_end_utterance(struct talk *talk, uint64_t now_ms);
