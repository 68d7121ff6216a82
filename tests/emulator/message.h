/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server messages in the service's own print: JSON with an indent of two, `": "`, a final newline, camelCase. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

/* A growing text. Zero it to start, free `data`. After a failed allocation `data` is NULL and nothing more is added. */
struct text {
	char *data; /* NUL-terminated once something was added */
	size_t size, room;
	bool failed;
};

/* Append bytes. */
void text_add(struct text *text, const char *data, size_t size);

/* Append one JSON value in the service's print, with the final newline. */
void text_add_json(struct text *text, const cJSON *value);

/* Tokens of a turn, for usageMetadata. */
struct message_usage {
	uint32_t prompt, response;
};

/* Each of these replaces the content of `text` with one message. `vertex` chooses the product's dialect. */
void message_setup_complete(struct text *text, const char *session_id); /* NULL on the Developer API */
void message_resumption_update(struct text *text, const char *handle);	/* NULL: not resumable now */
void message_voice_activity(struct text *text, bool start, uint64_t offset_ms);
void message_input_transcription(struct text *text, const char *words);
void message_output_transcription(struct text *text, const char *words);
/*
 * Audio already in base64, as this many parts of modelTurn, with words of the transcript in the same message unless NULL. Answers of text models:
 * message_text().
 */
void message_audio(struct text *text, const char *base64, size_t size, unsigned parts, const char *words, bool vertex);
void message_text(struct text *text, const char *words, bool vertex);
void message_flag(struct text *text, const char *member); /* {"serverContent": {member: true}} */
void message_turn_complete(struct text *text, const struct message_usage *usage, bool vertex);
void message_tool_call(
	struct text *text, const char *name, const char *args, const char *id); /* id NULL: left out, as Vertex AI may */
void message_tool_cancellation(struct text *text, const char *id);
void message_go_away(struct text *text, uint32_t left_ms);
void message_error(struct text *text, unsigned code, const char *reason); /* an error inside a message */
void message_empty(struct text *text, bool server_content);		  /* {} or {"serverContent": {}} */
