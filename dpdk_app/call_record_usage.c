/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See call_record_usage.h. Vertex AI calls the response's tokens candidates.
 */
#include "call_record_usage.h"

#include <string.h>

static uint64_t count_of(const cJSON *metadata, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(metadata, name);

	return cJSON_IsNumber(item) && item->valuedouble > 0 && item->valuedouble < 1e12 ? (uint64_t)item->valuedouble : 0;
}

static void add_details(struct call_record_modalities *to, const cJSON *details)
{
	const cJSON *detail;

	cJSON_ArrayForEach(detail, details)
	{
		const char *word = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(detail, "modality"));
		uint64_t count = count_of(detail, "tokenCount");

#define X(field, modality, name)                                                    \
	if (modality[0] == '\0' || (word != NULL && strcmp(word, modality) == 0)) { \
		to->field += count;                                                 \
		continue;                                                           \
	}
		CALL_RECORD_MODALITIES(X)
#undef X
	}
}

void call_record_usage_add(struct call_record_usage *usage, const cJSON *metadata)
{
	if (!cJSON_IsObject(metadata))
		return;
	usage->reports++;
	if (count_of(metadata, "promptTokenCount") > 0)
		usage->context = count_of(metadata, "promptTokenCount");
#define X(field, member, name) usage->field += count_of(metadata, member);
	CALL_RECORD_TOKENS(X)
#undef X
	usage->response += count_of(metadata, "candidatesTokenCount");
	add_details(&usage->prompt_by, cJSON_GetObjectItemCaseSensitive(metadata, "promptTokensDetails"));
	add_details(&usage->response_by, cJSON_GetObjectItemCaseSensitive(metadata, "responseTokensDetails"));
	add_details(&usage->response_by, cJSON_GetObjectItemCaseSensitive(metadata, "candidatesTokensDetails"));
}

static void add_modalities(cJSON *to, const char *list, const struct call_record_modalities *modalities)
{
	cJSON *object = cJSON_AddObjectToObject(to, list);

#define X(field, modality, name) cJSON_AddNumberToObject(object, name, (double)modalities->field);
	CALL_RECORD_MODALITIES(X)
#undef X
}

cJSON *call_record_usage_json(const struct call_record_usage *usage)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddNumberToObject(object, "reports", usage->reports);
	cJSON_AddNumberToObject(object, "context", (double)usage->context);
#define X(field, member, name) cJSON_AddNumberToObject(object, name, (double)usage->field);
	CALL_RECORD_TOKENS(X)
#undef X
	add_modalities(object, "prompt_by", &usage->prompt_by);
	add_modalities(object, "response_by", &usage->response_by);
	return object;
}
