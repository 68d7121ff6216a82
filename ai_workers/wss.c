/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See wss.h. libwebsockets connects, polls and reads raw sockets, and has the CA certificates. TLS is tls_client.c's, because 4.1 cannot
 * start it on a raw client socket; the protocol is websocket.c's, because 4.1 parses and masks byte by byte.
 *
 * libwebsockets' own validity checks are off: they count a late pong as death, and this service answers pings late. TCP keepalive
 * and the session's deadlines take their place. No extension is offered: base64 does not deflate well, and a zlib state per call
 * is expensive. Redirects are not followed: the key must not travel.
 */
#include "wss.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "../shared/log.h"
#include "gemini_message.h"
#include "wss_lws.h"

#define RX_BUFFER     4096u /* of an HTTP connection */
#define TIMEOUT_S     10u   /* libwebsockets' own, behind the session's deadlines */
#define KEEPALIVE_S   20
#define CLOSE_S	      5
#define PROTOCOL      "gemini-live"
#define CLOSING_TURNS 8

const lws_retry_bo_t wss_no_validity_checks = {.secs_since_valid_ping = 0, .secs_since_valid_hangup = 0};

/*
 * libwebsockets tells why it refused a certificate in its log only, from inside the handshake that fails with it; the connection
 * error that follows at once says nothing. One loop, so what is kept here belongs to the very next connection error.
 */
static char certificate_error[WSS_REASON_SIZE];

static void log_line(int level, const char *line)
{
	static const char mark[] = "SSL error: ";
	size_t len = strcspn(line, "\n");
	const char *certificate = strstr(line, mark), *end;

	if (certificate != NULL) {
		certificate += sizeof(mark) - 1;
		end = strstr(certificate, " (preverify_ok");
		snprintf(certificate_error, sizeof(certificate_error), "certificate refused: %.*s",
			(int)(end != NULL ? (size_t)(end - certificate) : strcspn(certificate, "\n")), certificate);
		return;
	}

	if (level == LLL_ERR)
		vl_log_warning("libwebsockets: %.*s", (int)len, line);
	else
		vl_log_debug("libwebsockets: %.*s", (int)len, line);
}

const char *wss_certificate_error(void)
{
	static char taken[WSS_REASON_SIZE];

	memcpy(taken, certificate_error, sizeof(taken));
	certificate_error[0] = '\0';
	return taken[0] != '\0' ? taken : NULL;
}

struct lws_context *wss_context(const struct wss *wss)
{
	return wss->context;
}

void wss_report_lost(struct wss_connection *c, int http_status)
{
	void *owner = c->owner;

	c->owner = NULL;
	c->credential = NULL;
	c->wss->open_count -= c->open;
	c->open = false;
	if (http_status != 0)
		snprintf(c->reason, sizeof(c->reason), "HTTP %d instead of a websocket", http_status);
	else if (c->code == 1006 && c->reason[0] == '\0')
		snprintf(c->reason, sizeof(c->reason), "%s",
			c->dead ? "nothing that was sent is acknowledged any more" : "the connection broke without a close");
	if (owner != NULL)
		c->wss->handler->lost(owner, c->code, http_status, c->dead, c->reason);
}

/* TCP_USER_TIMEOUT, or keepalive; who meets the socket's error first takes it: a write of ours, or nobody yet. */
static bool has_timed_out(const struct wss_connection *c)
{
	socklen_t len = sizeof(int);
	int error = c->tls.error;

	if (error == 0 && getsockopt(lws_get_socket_fd(c->wsi), SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		return false;
	return error == ETIMEDOUT;
}

static void free_connection(struct wss_connection *c)
{
	*c->previous = c->next;
	if (c->next != NULL)
		c->next->previous = c->previous;
	tls_client_close(&c->tls, false);
	free(c->host);
	free(c->path);
	free(c->message);
	wss_forget_unsent(c);
	free(c);
}

static int on_connection(struct wss_connection *c, struct lws *wsi, enum lws_callback_reasons event, void *in, size_t len)
{
	switch (event) {
	case LWS_CALLBACK_RAW_CONNECTED:
		return wss_connected(c, wsi);
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		if (c->reason[0] == '\0')
			snprintf(c->reason, sizeof(c->reason), "%.*s", (int)len, in != NULL ? (const char *)in : "no answer");
		wss_report_lost(c, 0);
		return 0;
	case LWS_CALLBACK_RAW_RX:
		return wss_receive(c, in, len);
	case LWS_CALLBACK_RAW_WRITEABLE:
		return wss_write_now(c);
	case LWS_CALLBACK_RAW_CLOSE:
		c->dead = has_timed_out(c);
		tls_client_close(&c->tls, c->open);
		wss_report_lost(c, 0);
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		wss_report_lost(c, 0);
		if (c->dialling)
			c->destroyed = true;
		else
			free_connection(c);
		return 0;
	default:
		return 0;
	}
}

static int on_event(struct lws *wsi, enum lws_callback_reasons event, void *user, void *in, size_t len)
{
	/*
	 * Some events carry other things than a connection's user data, so only the ones that are ours may look at it.
	 */
	switch (event) {
	case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_CLIENT_VERIFY_CERTS:
		((struct wss *)lws_context_user(lws_get_context(wsi)))->tls = user;
		return 0;
	case LWS_CALLBACK_RAW_CONNECTED:
	case LWS_CALLBACK_RAW_RX:
	case LWS_CALLBACK_RAW_WRITEABLE:
	case LWS_CALLBACK_RAW_CLOSE:
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
	case LWS_CALLBACK_WSI_DESTROY:
		if (user == NULL)
			return 0;
		if (*(enum wss_user *)user == WSS_USER_HTTPS)
			return https_on_event(wsi, event, user, in, len);
		return on_connection(user, wsi, event, in, len);
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{.name = PROTOCOL, .callback = on_event},
	{.name = HTTPS_PROTOCOL, .callback = https_on_event, .rx_buffer_size = RX_BUFFER},
	{0},
};

struct wss *wss_create(uv_loop_t *loop, const struct wss_handler *handler, const char *ca_file, unsigned int connections)
{
	struct lws_context_creation_info info = {0};
	void *loops[1] = {loop};
	struct wss *wss = calloc(1, sizeof(*wss));

	if (wss == NULL)
		return NULL;
	lws_set_log_level(LLL_ERR | LLL_WARN, log_line);
	wss->loop = loop;
	wss->handler = handler;
	info.port = CONTEXT_PORT_NO_LISTEN;
	info.protocols = protocols;
	info.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_LIBUV;
	if (ca_file != NULL) {
		info.options |= LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS;
		info.client_ssl_ca_filepath = ca_file;
	}
	info.foreign_loops = loops;
	info.pt_serv_buf_size = WSS_READ_SIZE;
	info.user = wss;
	/* Without a limit libwebsockets allocates tables for every descriptor the process may open. */
	info.fd_limit_per_thread = connections + 64;
	info.timeout_secs = TIMEOUT_S;
	info.connect_timeout_secs = TIMEOUT_S;
	info.ka_time = KEEPALIVE_S;
	info.ka_probes = 3;
	info.ka_interval = 5;
	info.retry_and_idle_policy = &wss_no_validity_checks;
	info.gid = info.uid = -1;
	wss->context = lws_create_context(&info);
	if (wss->context == NULL || wss->tls == NULL) {
		vl_log_error("cannot start libwebsockets%s%s", ca_file != NULL ? " with the CA file " : "",
			ca_file != NULL ? ca_file : "");
		lws_context_destroy(wss->context);
		free(wss);
		return NULL;
	}
	return wss;
}

void wss_destroy(struct wss *wss)
{
	if (wss == NULL)
		return;
	for (struct wss_connection *c = wss->connections; c != NULL; c = c->next)
		c->owner = NULL;
	/*
	 * On a loop of its owner libwebsockets goes in stages: sockets are closed, their close callbacks close its timers, and
	 * only when those callbacks have run too may the second call free everything and unload the libuv plugin, which holds the
	 * callbacks' code.
	 */
	lws_context_destroy(wss->context);
	for (int i = 0; i < CLOSING_TURNS; i++)
		uv_run(wss->loop, UV_RUN_NOWAIT);
	lws_context_destroy(wss->context);
	free(wss);
}

struct wss_connection *wss_dial(struct wss *wss, const struct wss_config *config, const char *credential, void *owner)
{
	struct wss_connection *c = calloc(1, sizeof(*c));
	struct lws_client_connect_info info = {0};
	struct lws *wsi;

	if (c == NULL)
		return NULL;
	c->kind = WSS_USER_LIVE;
	c->wss = wss;
	c->credential = credential;
	c->code = 1006;
	c->reader.limit = GEMINI_MESSAGE_MAX;
	c->host = strdup(config->host);
	c->path = strdup(config->path);
	c->port = config->port;
	c->next = wss->connections;
	c->previous = &wss->connections;
	if (c->next != NULL)
		c->next->previous = &c->next;
	wss->connections = c;

	info.context = wss->context;
	info.address = config->address;
	info.port = config->port;
	info.method = "RAW";
	info.local_protocol_name = PROTOCOL;
	info.retry_and_idle_policy = &wss_no_validity_checks;
	info.userdata = c;
	c->dialling = true;
	wsi = c->host != NULL && c->path != NULL ? lws_client_connect_via_info(&info) : NULL;
	c->dialling = false;
	if (wsi == NULL || c->destroyed) {
		free_connection(c);
		return NULL;
	}
	c->wsi = wsi;
	c->owner = owner;
	return c;
}

/* libwebsockets looks at its timers only when one of its sockets has something: a mute one would stay. LWS_TO_KILL_ASYNC: at once. */
static void end_within(struct wss_connection *c, int seconds)
{
	lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, seconds);
	lws_cancel_service(c->wss->context);
}

void wss_release(struct wss_connection *c, bool graceful)
{
	if (c == NULL)
		return;
	c->owner = NULL;
	c->credential = NULL;
	if (graceful && c->open)
		wss_close(c);
	else
		end_within(c, LWS_TO_KILL_ASYNC);
}

bool wss_is_connected(const struct wss_connection *c)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	/* Of the proxy's connection, if there is one: libwebsockets says nothing of it. */
	return getsockopt(lws_get_socket_fd(c->wsi), IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_state == TCP_ESTABLISHED;
}

void wss_close(struct wss_connection *c)
{
	c->close_wanted = true;
	/* A socket that never becomes writable again must not keep the connection for ever. */
	end_within(c, CLOSE_S);
	lws_callback_on_writable(c->wsi);
}

unsigned int wss_open_count(const struct wss *wss)
{
	return wss->open_count;
}

bool wss_is_idle(const struct wss *wss)
{
	return wss->connections == NULL;
}

void wss_want_write(struct wss_connection *c)
{
	lws_callback_on_writable(c->wsi);
}

size_t wss_headroom(void)
{
	return WEBSOCKET_HEADROOM;
}

bool wss_is_clear(const struct wss_connection *c)
{
	return c->open && !c->close_wanted && c->unsent == NULL;
}

int wss_send(struct wss_connection *c, char *text, size_t len)
{
	if (wss_write_frame(c, WEBSOCKET_TEXT, (uint8_t *)text, len) == 0)
		return 0;
	c->close_wanted = true; /* nothing more is clear to be sent */
	end_within(c, LWS_TO_KILL_ASYNC);
	return -EPIPE;
}

void wss_ping(struct wss_connection *c)
{
	c->ping_wanted = true;
	lws_callback_on_writable(c->wsi);
}

uint32_t wss_unacknowledged_ms(const struct wss_connection *c)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (c->wsi == NULL || getsockopt(lws_get_socket_fd(c->wsi), IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return 0;
	return info.tcpi_unacked != 0 ? info.tcpi_last_ack_recv : 0;
}

void wss_read(struct wss_connection *c, bool wanted)
{
	lws_rx_flow_control(c->wsi, wanted ? 1 : 0);
}
