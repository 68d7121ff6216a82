/* SPDX-License-Identifier: Apache-2.0 */
/* See token.h. */
#include "token.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <mbedtls/pk.h>
#include <mbedtls/sha256.h>

#include "request.h"

#define ASSERTION_MAX 8192u
#define SKEW_S	      300u
#define LIFE_S	      3600u

struct token {
	struct token *next;
	struct persona *persona;
	uint64_t end_ms;
	char text[TOKEN_SIZE];
};

struct token_store {
	mbedtls_pk_context key;
	struct token *tokens;
};

struct token_store *token_store_create(const char *public_key)
{
	struct token_store *store = calloc(1, sizeof(*store));
	if (store == NULL)
		return NULL;
	mbedtls_pk_init(&store->key);
	if (mbedtls_pk_parse_public_key(&store->key, (const uint8_t *)public_key, strlen(public_key) + 1) != 0) {
		token_store_free(store);
		return NULL;
	}
	return store;
}

void token_store_free(struct token_store *store)
{
	if (store == NULL)
		return;
	while (store->tokens != NULL) {
		struct token *token = store->tokens;
		store->tokens = token->next;
		free(token);
	}
	mbedtls_pk_free(&store->key);
	free(store);
}

static void refuse(struct token_refusal *refusal, const char *error, const char *description)
{
	refusal->error = error;
	snprintf(refusal->description, sizeof(refusal->description), "%s", description);
}

/* RFC 4648 section 5, without padding. Returns the bytes written, or -1. `to` gets a NUL behind. */
static long decode_url(const char *text, size_t size, uint8_t *to, size_t room)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	size_t count = 0, length = 0;
	for (size_t i = 0; i < size; i++) {
		const char *at = text[i] != '\0' ? strchr(alphabet, text[i]) : NULL;
		if (at == NULL || length + 2 > room)
			return -1;
		bits = bits << 6 | (uint32_t)(at - alphabet);
		count += 6;
		if (count >= 8) {
			count -= 8;
			to[length++] = (uint8_t)(bits >> count);
		}
	}
	to[length] = '\0';
	return size % 4 == 1 ? -1 : (long)length;
}

static cJSON *decode_object(const char *text, size_t size)
{
	uint8_t bytes[ASSERTION_MAX];
	cJSON *object = decode_url(text, size, bytes, sizeof(bytes)) > 0 ? cJSON_Parse((const char *)bytes) : NULL;
	if (cJSON_IsObject(object))
		return object;
	cJSON_Delete(object);
	return NULL;
}

static bool signature_is_good(const struct token_store *store, const char *jwt, const char *signature)
{
	uint8_t bytes[1024], digest[32];
	long size = decode_url(signature, strlen(signature), bytes, sizeof(bytes));
	mbedtls_pk_context *key = (mbedtls_pk_context *)&store->key;
	return size > 0 && mbedtls_sha256_ret((const uint8_t *)jwt, (size_t)(signature - 1 - jwt), digest, 0) == 0 &&
	       mbedtls_pk_verify(key, MBEDTLS_MD_SHA256, digest, sizeof(digest), bytes, (size_t)size) == 0;
}

static const char *text_of(const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
	return text != NULL ? text : "";
}

static double number_of(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
	return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

/* https://HOST[:port]/token; a client need not name the port in its Host header. */
static bool is_audience(const char *audience, const char *host)
{
	size_t size = strcspn(host, ":");
	if (strncmp(audience, "https://", 8) != 0 || strncmp(audience + 8, host, size) != 0)
		return false;
	audience += 8 + size;
	if (*audience == ':')
		audience += 1 + strspn(audience + 1, "0123456789");
	return strcmp(audience, "/token") == 0;
}

static char *judge_claims(const cJSON *claims, const char *host, uint64_t now_s, struct token_refusal *refusal)
{
	double issued = number_of(claims, "iat"), end = number_of(claims, "exp"), now = (double)now_s;
	if (!is_audience(text_of(claims, "aud"), host))
		refuse(refusal, "invalid_grant", "Invalid JWT: Failed audience check.");
	else if (issued <= 0 || issued > now + SKEW_S || end <= now - SKEW_S || end <= issued || end - issued > LIFE_S)
		refuse(refusal, "invalid_grant",
			"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your "
			"iat and exp values.");
	else if (strstr(text_of(claims, "scope"), "https://www.googleapis.com/auth/cloud-platform") == NULL)
		refuse(refusal, "invalid_scope", "Invalid OAuth scope or ID token audience provided.");
	else if (text_of(claims, "iss")[0] == '\0')
		refuse(refusal, "invalid_grant", "Invalid JWT: iss is missing.");
	else
		return strdup(text_of(claims, "iss"));
	return NULL;
}

static char *judge_jwt(
	const struct token_store *store, const char *jwt, const char *host, uint64_t now_s, struct token_refusal *refusal)
{
	const char *body = strchr(jwt, '.'), *signature = body != NULL ? strchr(body + 1, '.') : NULL;
	char *email = NULL;
	if (signature == NULL || strchr(signature + 1, '.') != NULL) {
		refuse(refusal, "invalid_request", "Bad Request");
		return NULL;
	}
	cJSON *header = decode_object(jwt, (size_t)(body - jwt));
	cJSON *claims = decode_object(body + 1, (size_t)(signature - body - 1));
	if (header == NULL || claims == NULL || strcmp(text_of(header, "alg"), "RS256") != 0)
		refuse(refusal, "invalid_grant", "Invalid JWT: Unsupported header or claims.");
	else if (!signature_is_good(store, jwt, signature + 1))
		refuse(refusal, "invalid_grant", "Invalid JWT Signature.");
	else
		email = judge_claims(claims, host, now_s, refusal);
	cJSON_Delete(header);
	cJSON_Delete(claims);
	return email;
}

char *token_judge(const struct token_store *store, const char *body, size_t size, const char *host, uint64_t now_s,
	struct token_refusal *refusal)
{
	char *form = strndup(body, size), name[64], value[ASSERTION_MAX], jwt[ASSERTION_MAX] = "";
	const char *at = form;
	bool granted = false;
	while (form != NULL && request_parameter(&at, name, sizeof(name), value, sizeof(value))) {
		if (strcmp(name, "grant_type") == 0)
			granted = strcmp(value, "urn:ietf:params:oauth:grant-type:jwt-bearer") == 0;
		else if (strcmp(name, "assertion") == 0)
			memcpy(jwt, value, sizeof(jwt));
	}
	free(form);
	if (!granted) {
		refuse(refusal, "unsupported_grant_type", "Invalid grant_type");
		return NULL;
	}
	return judge_jwt(store, jwt, host, now_s, refusal);
}

const char *token_issue(struct token_store *store, struct persona *persona, const uint8_t random[16], uint64_t end_ms)
{
	struct token *token = calloc(1, sizeof(*token));
	if (token == NULL)
		return NULL;
	char *to = token->text + snprintf(token->text, sizeof(token->text), "ya29.emulator-");
	for (unsigned i = 0; i < 16; i++)
		to += snprintf(to, 3, "%02x", random[i]);
	token->persona = persona;
	token->end_ms = end_ms;
	token->next = store->tokens;
	store->tokens = token;
	return token->text;
}

struct persona *token_find(const struct token_store *store, const char *text, uint64_t now_ms)
{
	for (const struct token *token = store->tokens; token != NULL; token = token->next) {
		if (strcmp(token->text, text) == 0)
			return now_ms < token->end_ms ? token->persona : NULL;
	}
	return NULL;
}

unsigned token_expire_all(struct token_store *store, uint64_t now_ms)
{
	unsigned count = 0;
	for (struct token *token = store->tokens; token != NULL; token = token->next) {
		count += now_ms < token->end_ms;
		token->end_ms = now_ms < token->end_ms ? now_ms : token->end_ms;
	}
	return count;
}
