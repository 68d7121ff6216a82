/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulated token endpoint: takes assertions that service accounts have signed (RFC 7523), gives out access tokens, and knows whose a token is. It shares no code with
 * the worker that signs. Pure: the caller brings clock and randomness.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "persona.h"

#define TOKEN_SIZE 64u

struct token_store;

/* `public_key`: PEM text of the key that signs every assertion. Returns NULL when it is none. */
struct token_store *token_store_create(const char *public_key);
void token_store_free(struct token_store *store);

/* Why an assertion was refused, as Google says it: HTTP 400 with these two. */
struct token_refusal {
	const char *error;
	char description[128];
};

/*
 * Judge a form body posted to https://HOST/token. On success returns the account's address, which the caller frees; else NULL with the refusal.
 */
char *token_judge(const struct token_store *store, const char *body, size_t size, const char *host, uint64_t now_s,
	struct token_refusal *refusal);

/* A new token for `persona`, good until `end_ms`. The text is the store's. NULL when memory is out. */
const char *token_issue(struct token_store *store, struct persona *persona, const uint8_t random[16], uint64_t end_ms);

/* Whose token that is, NULL when it is none or over. */
struct persona *token_find(const struct token_store *store, const char *token, uint64_t now_ms);

/* All tokens are over. Returns how many were good. */
unsigned token_expire_all(struct token_store *store, uint64_t now_ms);
