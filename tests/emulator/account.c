/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vertex AI's side of who is who: the token endpoint on the Live port, and access tokens at the upgrade.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "connection_internal.h"
#include "shared/log.h"

static struct persona *find_account(const struct options *options, const char *address)
{
	for (unsigned i = 0; i < options->persona_count; i++) {
		if (options->personas[i].account != NULL && strcmp(options->personas[i].account, address) == 0)
			return &options->personas[i];
	}
	return NULL;
}

static void answer(struct connection *connection, unsigned status, cJSON *body)
{
	char *text = cJSON_Print(body);
	if (text != NULL)
		connection_respond(
			connection, status, status == 200 ? "OK" : "Bad Request", "application/json; charset=utf-8", text);
	free(text);
	cJSON_Delete(body);
}

static void refuse(struct connection *connection, unsigned status, const char *error, const char *description)
{
	cJSON *body = cJSON_CreateObject();
	cJSON_AddStringToObject(body, "error", error);
	cJSON_AddStringToObject(body, "error_description", description);
	vl_log_info("token endpoint: refused: %s: %s", error, description);
	answer(connection, status, body);
}

static void grant(struct connection *connection, struct persona *persona)
{
	struct server *server = connection->server;
	uint32_t life_s = server->options->faults.token_life_s;
	uint8_t random[16];
	server_random(server, random, sizeof(random));
	const char *token = token_issue(server->tokens, persona, random, server_now_ms(server) + life_s * 1000u);
	cJSON *body = cJSON_CreateObject();
	persona->counters.tokens++;
	cJSON_AddStringToObject(body, "access_token", token != NULL ? token : "");
	cJSON_AddNumberToObject(body, "expires_in", life_s);
	cJSON_AddStringToObject(body, "token_type", "Bearer");
	answer(connection, 200, body);
}

void account_take_token_request(struct connection *connection, const struct request *request, const char *body)
{
	struct server *server = connection->server;
	const struct fault_rules *faults = &server->options->faults;
	struct token_refusal refusal = {.error = "invalid_request"};
	char *address;
	if (faults->token_delay_ms > 0) {
		connection->hold_until_ms = server_now_ms(server) + faults->token_delay_ms;
		connection->deadline_ms += faults->token_delay_ms;
	}
	if (faults->token_status != 0) {
		refuse(connection, faults->token_status, faults->token_status >= 500 ? "internal_failure" : "invalid_grant",
			"Asked for by the test.");
		return;
	}
	address = token_judge(server->tokens, body, request->content_length, request->host, (uint64_t)time(NULL), &refusal);
	struct persona *persona = address != NULL ? find_account(server->options, address) : NULL;
	if (address == NULL)
		refuse(connection, 400, refusal.error, refusal.description);
	else if (persona == NULL)
		refuse(connection, 400, "invalid_grant", "Invalid grant: account not found");
	else
		grant(connection, persona);
	free(address);
}

struct persona *account_of(const struct server *server, const struct request *request)
{
	return request->bearer && !request->key_in_url ? token_find(server->tokens, request->key, server_now_ms(server)) : NULL;
}
