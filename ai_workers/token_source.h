/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access tokens of the service accounts that a worker's users have: one per account, asked for before the first call needs it and again well before it ends
 * (oauth_token.h). A token lives in secret pages of its account and is never given to a call of another one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "../shared/worker_stats.h"
#include "users.h"
#include "wss.h"

struct token_source;

/* `wss` and `stats` are borrowed. Worker, at start. Returns NULL when memory is short. Without accounts it does nothing at all. */
struct token_source *token_source_create(uv_loop_t *loop, struct wss *wss, struct vl_worker_stats *stats);

/* Stop and overwrite every token; its memory is freed when the loop has run on. Before wss_destroy(). Worker loop. NULL is legal. */
void token_source_destroy(struct token_source *source);

/*
 * These users' accounts need tokens: ask for those that are missing. Tokens of accounts that nobody else holds any more are overwritten in time. Worker, at start and
 * after a reload.
 */
void token_source_serve(struct token_source *source, const struct users *users);

/*
 * The account's credential for wss_dial(), "Bearer " and the token, or NULL: none now. Worker loop. Valid as long as somebody holds the account; overwritten in place by a
 * newer one. `issued_ms` is for token_source_rejected().
 */
const char *token_source_get(struct token_source *source, const struct service_account *account, uint64_t *issued_ms);

/* Why there is no token: the last refusal, or NULL: a request is under way and nothing has failed since the start. Worker loop. */
const char *token_source_trouble(struct token_source *source, const struct service_account *account);

/* The service refused the token of `issued_ms`. Worker loop. Returns whether to wait for another one: token_source_get(). */
bool token_source_rejected(struct token_source *source, const struct service_account *account, uint64_t issued_ms);
