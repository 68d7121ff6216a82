/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens of one call, summed over the reports of the service. Pure. Control thread only.
 *
 * The service reports once a turn, and what it reports is what it bills for that turn: the prompt of each turn is the whole context
 * again. So the sum over the reports is the call's, and the last prompt is the size the context has grown to.
 */
#pragma once

#include <stdint.h>

#include <cjson/cJSON.h>

/* X(field, "usageMetadata's name", "record's name") */
#define CALL_RECORD_TOKENS(X)                               \
	X(prompt, "promptTokenCount", "prompt")             \
	X(response, "responseTokenCount", "response")       \
	X(thoughts, "thoughtsTokenCount", "thoughts")       \
	X(cached, "cachedContentTokenCount", "cached")      \
	X(tools, "toolUsePromptTokenCount", "tool_prompts") \
	X(total, "totalTokenCount", "total")

/* X(field, "MODALITY", "record's name"); anything else is "other". */
#define CALL_RECORD_MODALITIES(X)  \
	X(text, "TEXT", "text")    \
	X(audio, "AUDIO", "audio") \
	X(other, "", "other")

struct call_record_modalities {
#define X(field, modality, name) uint64_t field;
	CALL_RECORD_MODALITIES(X)
#undef X
};

struct call_record_usage {
	uint32_t reports;
	uint64_t context; /* the newest prompt */
#define X(field, member, name) uint64_t field;
	CALL_RECORD_TOKENS(X)
#undef X
	struct call_record_modalities prompt_by, response_by;
};

/* Add one usageMetadata, of either service; anything else changes nothing. */
void call_record_usage_add(struct call_record_usage *usage, const cJSON *metadata);

/* As the record shows it; NULL without memory. */
cJSON *call_record_usage_json(const struct call_record_usage *usage);
