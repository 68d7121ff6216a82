/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a service is, Gemini or the one that gives out tokens: its path, and its name resolved in the background, because a name server that is slow must not
 * stop the worker's loop and every call in it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "wss.h"

#define ENDPOINT_PATH_SIZE 256u

struct endpoint;

/*
 * Begin to resolve `host`; with `wait` two seconds at most are waited for the first answer, which runs `loop`, the others come in
 * the background. Worker, at start; without `wait` worker loop. Returns NULL when memory is short; a name that cannot be resolved
 * yet is no error.
 */
struct endpoint *endpoint_create(uv_loop_t *loop, const char *host, uint16_t port, const char *path, bool wait);

/* The path of the service's websocket. Any. */
void endpoint_live_path(char path[ENDPOINT_PATH_SIZE], const char *api_version, bool vertex);

/*
 * Stop resolving; its memory is freed when the loop has run on, which an unanswered question to a name server may take many
 * seconds to let it. Worker loop. NULL is legal.
 */
void endpoint_destroy(struct endpoint *endpoint);

/* What to dial now; address is NULL while the name has never been resolved. Valid until the loop runs on. Worker loop. */
const struct wss_config *endpoint_config(struct endpoint *endpoint);

/* Addresses known. Worker loop. */
unsigned int endpoint_count(const struct endpoint *endpoint);

/* A dial to `address` failed: use the next one, unless another call has already moved on. Worker loop. */
void endpoint_failed(struct endpoint *endpoint, const char *address);
