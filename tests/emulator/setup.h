/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `setup` message as settings of a session, and the rules that depend on the model: which modalities, voices, thinking and
 * inputs it takes. Pure.
 */
#pragma once

#include <stdbool.h>

#include "schema.h"

#define SETUP_HANDLE_MAX 128u

/* What differs between model families. */
struct setup_model {
	const char *name;				    /* without "models/" */
	bool text_output;				    /* TEXT is the modality instead of AUDIO */
	bool level_required, level_allowed, budget_allowed; /* thinkingConfig */
	bool language_allowed;				    /* speechConfig.languageCode */
	bool non_blocking;				    /* NON_BLOCKING functions exist */
	bool scheduling;				    /* toolResponse.scheduling exists */
	bool media_chunks;				    /* the deprecated mediaChunks still work */
	bool seed_only;		  /* clientContent only as declared history, before the first model turn */
	bool seed_user_last;	  /* a seed ends with a turn of the user */
	bool vertex, vertex_only; /* which services have it */
	bool transcribes;	  /* input transcripts come without being asked for */
};

struct setup {
	const struct setup_model *model;
	bool input_transcription, output_transcription, resumption, vad_disabled, no_interruption, low_start_sensitivity,
		history_seed;
	bool tools;
	char handle[SETUP_HANDLE_MAX]; /* of the session to resume, "" = new */
	int prefix_padding_ms;	       /* -1 = default */
	int silence_ms;
};

/* Read and judge the member `setup` of a message that passed schema_check(). Returns 0 or -EPROTO with `error` filled. */
int setup_read(enum request_api api, const cJSON *object, struct setup *setup, struct schema_error *error);
