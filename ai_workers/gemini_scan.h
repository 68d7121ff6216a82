/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the audio of a Gemini Live server message in place. It checks the whole text as JSON on the way, keeps track of where in
 * the message it is, and so never takes a "data" in a transcript or a tool call for audio. No memory, no copy.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gemini_message.h"

/* The inside of one audio string: [start, start + len), quotes excluded. */
struct gemini_span {
	char *start;
	size_t len;
};

struct gemini_scan {
	struct gemini_span audio[GEMINI_AUDIO_PARTS_MAX]; /* to be played */
	uint32_t audio_count;
	struct gemini_span data[GEMINI_AUDIO_PARTS_MAX]; /* every inlineData string, played or not */
	uint32_t data_count;
	uint32_t skipped; /* inlineData that is not played */
	bool other;	  /* there are members beside the audio path */
};

/* Scan one message. Worker loop. Returns 0 or -EBADMSG (not one JSON object, or nested deeper than 24). */
int gemini_scan(struct gemini_scan *scan, char *text, size_t len);
