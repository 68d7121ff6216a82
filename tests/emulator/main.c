/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemini-emulator: start, event loop, stop. See server.h for the parts and --help for use.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include <openssl/ssl.h>

#include "server.h"
#include "shared/log.h"

#define TICK_MS	  10u
#define FILES_MAX 16384u /* libwebsockets' tables grow with the limit */

static const struct lws_protocols protocols[] = {
	{"emulator", connection_callback, sizeof(struct connection *), 65536, 0, NULL, 0},
	{NULL, NULL, 0, 0, 0, NULL, 0},
};

uint64_t server_now_ms(const struct server *server)
{
	return uv_now(&server->loop);
}

/* xoshiro128** */
void server_random(struct server *server, void *bytes, size_t size)
{
	uint32_t *s = server->random;
	uint8_t *to = bytes;
	for (size_t i = 0; i < size; i++) {
		uint32_t x = s[1] * 5, result = (x << 7 | x >> 25) * 9, t = s[1] << 9;
		s[2] ^= s[0];
		s[3] ^= s[1];
		s[1] ^= s[2];
		s[0] ^= s[3];
		s[2] ^= t;
		s[3] = s[3] << 11 | s[3] >> 21;
		to[i] = (uint8_t)(result >> 16);
	}
}

static void seed_random(struct server *server, uint32_t seed)
{
	for (unsigned i = 0; i < 4; i++)
		server->random[i] = seed * 2654435761u + i + 1;
	if (seed == 0 && getrandom(server->random, sizeof(server->random), 0) != sizeof(server->random))
		server->random[0] |= 1;
}

/* As many connections as the system lets us have, within reason. */
static void raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void on_tick(uv_timer_t *timer)
{
	struct server *server = timer->data;
	connection_tick_all(server, uv_now(&server->loop));
}

static void on_signal(uv_signal_t *handle, int number)
{
	(void)number;
	uv_stop(handle->loop);
}

static int create_vhosts(struct server *server)
{
	const struct options *options = server->options;
	struct lws_context_creation_info info = {0};
	info.vhost_name = "live";
	info.protocols = protocols;
	info.iface = options->listen;
	/* libwebsockets reads port 0 as "choose". */
	info.port = (int)options->port;
	info.listen_accept_role = "raw-skt";
	info.listen_accept_protocol = "emulator";
	info.options = LWS_SERVER_OPTION_ADOPT_APPLY_LISTEN_ACCEPT_CONFIG;
	if (options->with_stats_port) {
		info.vhost_name = "statistics";
		info.port = (int)options->stats_port;
		server->stats_vhost = lws_create_vhost(server->context, &info);
		if (server->stats_vhost == NULL)
			return -EADDRINUSE;
		info.vhost_name = "live";
		info.port = (int)options->port;
	}
	if (!options->plain) {
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
		info.alpn = "http/1.1"; /* the raw role speaks nothing else */
		info.ssl_cert_filepath = options->cert;
		info.ssl_private_key_filepath = options->key;
	}
	server->vhost = lws_create_vhost(server->context, &info);
	return server->vhost ? 0 : -EADDRINUSE;
}

int server_use_certificate(struct server *server, const char *cert, const char *key)
{
	SSL_CTX *tls = server->tls;
	if (tls == NULL || cert == NULL || key == NULL)
		return -EINVAL;
	/* A key that does not fit the certificate is refused by the second call; then the first one's stays without a key. */
	return SSL_CTX_use_certificate_chain_file(tls, cert) == 1 && SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) == 1
		       ? 0
		       : -EINVAL;
}

static int read_oauth_key(struct server *server)
{
	char text[8192];
	FILE *file;
	if (server->options->oauth_key == NULL)
		return 0;
	file = fopen(server->options->oauth_key, "r");
	text[file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0] = '\0';
	if (file != NULL)
		fclose(file);
	server->tokens = token_store_create(text);
	if (server->tokens == NULL)
		vl_log_error("%s: not a public key in PEM", server->options->oauth_key);
	return server->tokens != NULL ? 0 : -EINVAL;
}

static int start(struct server *server)
{
	struct lws_context_creation_info info = {0};
	void *loops[1] = {&server->loop};
	static const int numbers[2] = {SIGINT, SIGTERM};
	lws_set_log_level(LLL_ERR | LLL_WARN, NULL);
	uv_loop_init(&server->loop);
	uv_timer_init(&server->loop, &server->timer);
	server->timer.data = server;
	for (unsigned i = 0; i < 2; i++) {
		uv_signal_init(&server->loop, &server->signals[i]);
		uv_signal_start(&server->signals[i], on_signal, numbers[i]);
	}
	info.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
	if (!server->options->plain)
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
	info.foreign_loops = loops;
	info.pcontext = &server->context; /* cleared when libwebsockets is really gone */
	info.user = server;
	info.pt_serv_buf_size = 65536;
	server->context = lws_create_context(&info);
	if (server->context == NULL) {
		vl_log_error("libwebsockets does not start; is its libuv plugin installed?");
		return -EIO;
	}
	int error = create_vhosts(server);
	if (error) {
		vl_log_error("cannot listen on %s, or certificate or key cannot be used", server->options->listen);
		return error;
	}
	error = read_oauth_key(server);
	if (error)
		return error;
	server->registry = registry_create();
	server->started_ms = uv_now(&server->loop);
	uv_timer_start(&server->timer, on_tick, TICK_MS, TICK_MS);
	return server->registry ? 0 : -ENOMEM;
}

static void stop(struct server *server)
{
	uv_timer_stop(&server->timer);
	if (server->context != NULL)
		lws_context_destroy(server->context);
	uv_close((uv_handle_t *)&server->timer, NULL);
	for (unsigned i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&server->signals[i], NULL);
	uv_run(&server->loop, UV_RUN_DEFAULT);
	/* On a foreign loop the first call only begins; the handles are closed by the loop, then the rest can go. */
	if (server->context != NULL)
		lws_context_destroy(server->context);
	uv_loop_close(&server->loop);
	registry_free(server->registry);
	token_store_free(server->tokens);
	while (server->heard != NULL) {
		struct heard *heard = server->heard;
		server->heard = heard->next;
		heard_free(heard);
	}
}

int main(int argc, char **argv)
{
	struct options options;
	struct server server = {.options = &options};
	int error = options_parse(&options, argc, argv, stdout, stderr);
	if (error) {
		options_free(&options);
		return error > 0 ? 0 : 2;
	}
	server.initial = options;
	vl_log_init("emulator", VL_LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	seed_random(&server, options.seed);
	error = start(&server);
	if (error == 0) {
		if (server.stats_vhost != NULL)
			printf("statistics on port %d\n", lws_get_vhost_listen_port(server.stats_vhost));
		printf("listening on port %d\n", lws_get_vhost_listen_port(server.vhost));
		fflush(stdout);
		uv_run(&server.loop, UV_RUN_DEFAULT);
	}
	stop(&server);
	options_free(&options);
	return error ? 1 : 0;
}
