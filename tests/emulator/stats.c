/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /stats: what happened under each key, by its label, and what each connection heard. No key is ever shown.
 */
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "server.h"

static cJSON *counters_json(const struct persona *persona)
{
	cJSON *object = cJSON_CreateObject();
#define X(name, text) cJSON_AddNumberToObject(object, #name, (double)persona->counters.name);
	PERSONA_COUNTERS(X)
#undef X
	cJSON *closes = cJSON_AddObjectToObject(object, "closes");
	for (unsigned i = 0; i < PERSONA_CLOSES_MAX && persona->closes[i].count > 0; i++) {
		char code[16];
		snprintf(code, sizeof(code), "%u", persona->closes[i].code);
		cJSON_AddNumberToObject(closes, code, persona->closes[i].count);
	}
	return object;
}

static cJSON *heard_json(struct heard *heard)
{
	char hex[65];
	cJSON *object = cJSON_CreateObject();
	heard_sha256(heard, hex);
	cJSON_AddNumberToObject(object, "number", heard->number);
	cJSON_AddBoolToObject(object, "open", heard->open);
	cJSON_AddNumberToObject(object, "heard_ms", (double)(heard->count * 1000 / HEARD_RATE));
	cJSON_AddStringToObject(object, "heard_sha256", hex);
	return object;
}

char *stats_json(struct server *server, bool compare)
{
	(void)compare;
	const struct options *options = server->options;
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
				cJSON_InsertItemInArray(list, 0, heard_json(heard));
		}
		cJSON_AddItemToObject(keys, persona->label, key);
	}
	char *text = cJSON_Print(root);
	cJSON_Delete(root);
	return text;
}
