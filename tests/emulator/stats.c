/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /stats: what happened under each key, by its label, and what each connection heard. No key is ever shown.
 */
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "server.h"
#include "shared/log.h"
#include "tests/tools/audio_match.h"
#include "tests/tools/wav.h"

#define REFERENCE_RATE 16000u

static cJSON *counters_json(const struct persona *persona)
{
	cJSON *object = cJSON_CreateObject();
#define X(name, text) cJSON_AddNumberToObject(object, #name, (double)persona->counters.name);
	PERSONA_COUNTERS(X)
#undef X
	cJSON_AddStringToObject(object, "newest_text", persona->newest_text);
	cJSON *closes = cJSON_AddObjectToObject(object, "closes");
	for (unsigned i = 0; i < PERSONA_CLOSES_MAX && persona->closes[i].count > 0; i++) {
		char code[16];
		snprintf(code, sizeof(code), "%u", persona->closes[i].code);
		cJSON_AddNumberToObject(closes, code, persona->closes[i].count);
	}
	return object;
}

/* Load the references of the command line. NULL when there are none or one cannot be used. */
static struct audio_match *load_references(const struct options *options)
{
	struct audio_match *match = options->reference_count > 0 ? audio_match_new() : NULL;
	for (unsigned i = 0; match != NULL && i < options->reference_count; i++) {
		char error[256] = "too short, or its rate is below 8 kHz";
		struct wav wav = {0};
		if (wav_load(options->references[i].path, REFERENCE_RATE, &wav, error, sizeof(error)) != 0 ||
			audio_match_add(match, options->references[i].label, wav.samples, wav.count, REFERENCE_RATE) < 0) {
			vl_log_error("reference %s: %s", options->references[i].label, error);
			audio_match_free(match);
			match = NULL;
		}
		wav_free(&wav);
	}
	return match;
}

/* Which reference was heard, in milliseconds; several files of one label count together. */
static void add_comparison(cJSON *object, const struct heard *heard, struct audio_match *match)
{
	struct audio_match_result result;
	if (audio_match_run(match, heard->samples, heard->kept, HEARD_RATE, &result, NULL, NULL) != 0)
		return;
	cJSON *list = cJSON_AddObjectToObject(object, "heard");
	for (unsigned i = 0; audio_match_label(match, i) != NULL; i++) {
		cJSON *old = cJSON_GetObjectItem(list, audio_match_label(match, i));
		if (old != NULL)
			cJSON_SetNumberValue(old, old->valuedouble + result.reference_ms[i]);
		else
			cJSON_AddNumberToObject(list, audio_match_label(match, i), result.reference_ms[i]);
	}
	cJSON_AddNumberToObject(list, "unknown", result.unknown_ms);
	cJSON_AddNumberToObject(object, "unexplained_ms", result.unexplained_ms);
	cJSON_AddNumberToObject(object, "silent_ms", result.silent_ms);
	cJSON_AddNumberToObject(object, "lowest_score", (double)result.lowest_score);
}

static cJSON *heard_json(struct heard *heard, struct audio_match *match)
{
	char hex[65];
	cJSON *object = cJSON_CreateObject();
	heard_sha256(heard, hex);
	cJSON_AddNumberToObject(object, "number", heard->number);
	cJSON_AddBoolToObject(object, "open", heard->open);
	cJSON_AddNumberToObject(object, "heard_ms", (double)(heard->count * 1000 / HEARD_RATE));
	cJSON_AddStringToObject(object, "heard_sha256", hex);
	if (match != NULL)
		add_comparison(object, heard, match);
	return object;
}

char *stats_json(struct server *server, bool compare)
{
	const struct options *options = server->options;
	struct audio_match *match = compare ? load_references(options) : NULL;
	cJSON *root = cJSON_CreateObject();
	cJSON_AddNumberToObject(root, "uptime_ms", (double)(server_now_ms(server) - server->started_ms));
	cJSON_AddNumberToObject(root, "refused_keys", (double)server->refused_keys);
	cJSON_AddNumberToObject(root, "refused_paths", (double)server->refused_paths);
	cJSON *keys = cJSON_AddObjectToObject(root, "keys");
	for (unsigned i = 0; i < options->persona_count; i++) {
		const struct persona *persona = &options->personas[i];
		cJSON *key = counters_json(persona), *list = cJSON_AddArrayToObject(key, "heard_by_connection");
		for (struct heard *heard = server->heard; heard != NULL; heard = heard->next) {
			if (strcmp(heard->label, persona->label) == 0)
				cJSON_InsertItemInArray(list, 0, heard_json(heard, match));
		}
		cJSON_AddItemToObject(keys, persona->label, key);
	}
	char *text = cJSON_Print(root);
	cJSON_Delete(root);
	audio_match_free(match);
	return text;
}
