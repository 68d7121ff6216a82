/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One API key of the emulator: its label (the only name ever shown), what the model answers and hears under it, and its counters.
 */
#pragma once

#include <stdint.h>

#include "voice.h"

#define PERSONA_LABEL_MAX   64u
#define PERSONA_TEXT_MAX    400
#define PERSONA_ANSWERS_MAX 16u
#define PERSONA_CLOSES_MAX  16u

/* Counters of one key, in the order they are printed: name, and what it counts. */
#define PERSONA_COUNTERS(X)                                            \
	X(connections, "sockets accepted with this key")               \
	X(open, "sockets open now")                                    \
	X(setups, "setup messages accepted")                           \
	X(resumes, "sessions resumed by handle")                       \
	X(foreign_handles, "handles of another key presented")         \
	X(refusals, "messages refused with a close")                   \
	X(invalid_messages, "messages refused as invalid (1007)")      \
	X(messages_in, "messages received")                            \
	X(messages_out, "messages sent")                               \
	X(audio_bytes, "PCM bytes received, as sent by the client")    \
	X(audio_ms, "milliseconds of audio received")                  \
	X(audio_early_bytes, "PCM bytes dropped before setupComplete") \
	X(audio_bytes_sent, "PCM bytes of answers sent")               \
	X(utterances, "utterances that ended")                         \
	X(turns, "model turns completed")                              \
	X(interruptions, "interrupted messages sent")                  \
	X(tool_calls, "tool calls sent")                               \
	X(tool_responses, "tool responses received")                   \
	X(texts, "text inputs received")                               \
	X(tokens, "access tokens issued")

struct persona_counters {
#define X(name, text) uint64_t name;
	PERSONA_COUNTERS(X)
#undef X
};

struct persona {
	char label[PERSONA_LABEL_MAX];
	char *key;     /* NULL: a service account, known by its tokens */
	char *account; /* its address, or NULL */
	struct voice_answer answers[PERSONA_ANSWERS_MAX];
	unsigned answer_count;
	const char *transcripts[PERSONA_ANSWERS_MAX]; /* what the caller is said to have said, in turn */
	unsigned transcript_count;
	const char *answer_texts[PERSONA_ANSWERS_MAX];
	unsigned answer_text_count;
	uint64_t dials;	     /* upgrades asked for, refused ones too */
	unsigned recordings; /* connections numbered so far */
	struct persona_counters counters;
	char newest_text[PERSONA_TEXT_MAX]; /* as much of it as fits */
	struct {
		unsigned code, count;
	} closes[PERSONA_CLOSES_MAX];
};
