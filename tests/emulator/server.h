/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulator's server: libwebsockets gives sockets, TLS and the event loop (libuv); connection.c speaks HTTP and WebSocket on
 * them, stats.c makes the JSON of GET /stats.
 */
#pragma once

#include <libwebsockets.h>
#include <uv.h>

#include "heard.h"
#include "options.h"
#include "registry.h"
#include "token.h"

struct connection;

struct server {
	struct options *options;
	struct options initial; /* as the command line said */
	void *tls;		/* SSL_CTX of the Live port, NULL without TLS */
	struct registry *registry;
	struct token_store *tokens; /* NULL without --oauth-key */
	struct lws_context *context;
	struct lws_vhost *vhost, *stats_vhost;
	uv_loop_t loop;
	uv_timer_t timer;
	uv_signal_t signals[2];
	uint64_t started_ms;
	struct connection *connections; /* open ones */
	struct heard *heard;		/* of all connections, newest first */
	uint32_t random[4];
	uint64_t refused_keys, refused_paths;
};

/* Milliseconds of the event loop's clock. */
uint64_t server_now_ms(const struct server *server);

/* Random bytes: repeatable with --seed. Not for secrets. */
void server_random(struct server *server, void *bytes, size_t size);

/*
 * Show this certificate to who connects from now on. Returns 0 or -EINVAL, also without TLS.
 */
int server_use_certificate(struct server *server, const char *cert, const char *key);

/* connection.c: libwebsockets' callback of every raw socket, and the clock of every connection. */
int connection_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size);
void connection_tick_all(struct server *server, uint64_t now_ms);

/*
 * stats.c: the statistics as JSON text; free() it. NULL when memory is out. `compare`: say which reference each connection heard.
 */
char *stats_json(struct server *server, bool compare);
