/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With https.c the only file that knows libwebsockets, see wss.h.
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
#include <sys/random.h>
#include <sys/socket.h>

#include "../shared/log.h"
#include "gemini_message.h"
#include "websocket.h"
#include "wss_lws.h"

#define RX_BUFFER	4096u  /* per connection */
#define HEADERS_SIZE	8192u  /* of a request: an access token has up to 4 kB */
#define TX_PACKET	16384u /* written at once; one message is about 2 kB */
#define TIMEOUT_S	10u    /* libwebsockets' own, behind the session's deadlines */
#define KEEPALIVE_S	20
#define CLOSE_S		5
#define PROTOCOL	"gemini-live"
#define USER_TIMEOUT_MS 8000u
#define CLOSING_TURNS	8
#define REASON_SIZE	128u
#define RANDOM_SIZE	256u /* asked of the system at once: what it always gives whole, getrandom(2) */

struct wss {
	struct lws_context *context;
	uv_loop_t *loop;
	const struct wss_handler *handler;
	struct wss_connection *connections; /* all that libwebsockets still knows */
	unsigned int open_count;
	uint8_t random[RANDOM_SIZE]; /* for the masks of the next frames, each byte used once */
	unsigned int random_left;
};

struct wss_connection {
	enum wss_user kind; /* first */
	struct wss *wss;
	struct wss_connection *next, **previous;
	struct lws *wsi;
	void *owner;		/* NULL: nobody listens any more */
	const char *credential; /* its owner's; NULL when nobody listens any more */
	bool dialling;		/* inside wss_dial() */
	bool destroyed;		/* libwebsockets has let go of it inside wss_dial() */
	bool close_wanted, close_sent, ping_wanted, open;
	uint16_t code;
	char reason[REASON_SIZE];
	char *message; /* being put together */
	size_t message_len, message_capacity;
};

const lws_retry_bo_t wss_no_validity_checks = {.secs_since_valid_ping = 0, .secs_since_valid_hangup = 0};

/*
 * libwebsockets tells why it refused a certificate in its log only, from inside the handshake that fails with it; the connection
 * error that follows at once says nothing. One loop, so what is kept here belongs to the very next connection error.
 */
static char certificate_error[REASON_SIZE];

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
	static char taken[REASON_SIZE];

	memcpy(taken, certificate_error, sizeof(taken));
	certificate_error[0] = '\0';
	return taken[0] != '\0' ? taken : NULL;
}

struct lws_context *wss_context(const struct wss *wss)
{
	return wss->context;
}

static void report_lost(struct wss_connection *c, int http_status)
{
	void *owner = c->owner;

	c->owner = NULL;
	c->credential = NULL;
	c->wss->open_count -= c->open;
	c->open = false;
	/* libwebsockets only says that it was not 101. */
	if (http_status != 0)
		snprintf(c->reason, sizeof(c->reason), "HTTP %d instead of a websocket", http_status);
	else if (c->code == 1006 && c->reason[0] == '\0')
		snprintf(c->reason, sizeof(c->reason), "the connection broke without a close");
	if (owner != NULL)
		c->wss->handler->lost(owner, c->code, http_status, c->reason);
}

static void free_connection(struct wss_connection *c)
{
	*c->previous = c->next;
	if (c->next != NULL)
		c->next->previous = c->previous;
	free(c->message);
	free(c);
}

/* 0 or -1: the return value of a libwebsockets callback, -1 closes. An API key has no space in it. */
static int append_credential(struct wss_connection *c, unsigned char **at, unsigned char *end)
{
	const char *name = "x-goog-api-key:";

	/* A token that has ended meanwhile was overwritten. */
	if (c->credential == NULL || c->credential[0] == '\0' || strcmp(c->credential, "Bearer ") == 0)
		return -1;
	if (strncmp(c->credential, "Bearer ", 7) == 0)
		name = "authorization:";
	return lws_add_http_header_by_name(
		c->wsi, (const unsigned char *)name, (const unsigned char *)c->credential, (int)strlen(c->credential), at, end);
}

static int close_with(struct wss_connection *c, enum lws_close_status status)
{
	lws_close_reason(c->wsi, status, NULL, 0);
	return -1;
}

static int receive(struct wss_connection *c, char *in, size_t len)
{
	bool whole = lws_is_final_fragment(c->wsi) && lws_remaining_packet_payload(c->wsi) == 0;
	size_t need = c->message_len + len;

	if (c->owner == NULL)
		return 0;
	if (need > GEMINI_MESSAGE_MAX) {
		snprintf(c->reason, sizeof(c->reason), "message of more than %u bytes", GEMINI_MESSAGE_MAX);
		return close_with(c, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE);
	}
	if (whole && c->message_len == 0) {
		c->wss->handler->message(c->owner, in, len);
		return 0;
	}
	if (need > c->message_capacity) {
		/* The rest of this frame is known, so a message in one frame is allocated once. */
		size_t capacity = need + lws_remaining_packet_payload(c->wsi);
		char *grown;

		if (capacity > GEMINI_MESSAGE_MAX)
			capacity = GEMINI_MESSAGE_MAX;
		if (capacity < need)
			capacity = need;
		grown = realloc(c->message, capacity);
		if (grown == NULL)
			return close_with(c, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION);
		c->message = grown;
		c->message_capacity = capacity;
	}
	memcpy(c->message + c->message_len, in, len);
	c->message_len = need;
	if (whole) {
		char *message = c->message;

		/* The owner may let go of the connection; the message is freed here either way. */
		c->message = NULL;
		c->message_len = c->message_capacity = 0;
		c->wss->handler->message(c->owner, message, need);
		free(message);
	}
	return 0;
}

static void keep_close_reason(struct wss_connection *c, const unsigned char *in, size_t len)
{
	c->code = len >= 2 ? (uint16_t)(in[0] << 8 | in[1]) : 1005;
	if (len > 2)
		snprintf(c->reason, sizeof(c->reason), "%.*s", (int)(len - 2), (const char *)in + 2);
}

static void connection_failed(struct wss_connection *c, struct lws *wsi, const char *text, size_t len)
{
	int status = (int)lws_http_client_http_response(wsi);
	const char *certificate = wss_certificate_error();

	c->code = 1006;
	if (certificate != NULL)
		snprintf(c->reason, sizeof(c->reason), "%s", certificate);
	else
		snprintf(c->reason, sizeof(c->reason), "%.*s", (int)len, text != NULL ? text : "no answer");
	/* 101 means that the upgrade itself was wrong. */
	report_lost(c, status == 101 ? 0 : status);
}

/*
 * Write one frame; `payload` has WEBSOCKET_HEADROOM bytes in front and is destroyed. Frames are made by websocket.c because libwebsockets
 * 4.1 masks byte by byte with a system call for each mask, and because it never sends the Close of lws_close_reason() when a
 * writable callback ends the connection: it cuts it, and the service takes us for lost.
 */
static int write_frame(struct wss_connection *c, enum websocket_opcode opcode, uint8_t *payload, size_t len)
{
	struct wss *wss = c->wss;
	uint8_t *frame;
	size_t size;

	if (wss->random_left < WEBSOCKET_MASK_SIZE) {
		if (getrandom(wss->random, sizeof(wss->random), 0) != sizeof(wss->random))
			return -EIO;
		wss->random_left = sizeof(wss->random);
	}
	wss->random_left -= WEBSOCKET_MASK_SIZE;
	frame = websocket_frame(payload, len, opcode, wss->random + wss->random_left);
	size = (size_t)(payload + len - frame);
	return lws_write(c->wsi, frame, size, LWS_WRITE_RAW) >= (int)size ? 0 : -EPIPE;
}

/* Our Close, once; the service's echo ends the connection. */
static int send_close(struct wss_connection *c)
{
	uint8_t room[WEBSOCKET_HEADROOM + 2], *code = room + WEBSOCKET_HEADROOM;

	if (c->close_sent)
		return 0;
	c->close_sent = true;
	c->code = LWS_CLOSE_STATUS_NORMAL;
	snprintf(c->reason, sizeof(c->reason), "closed by us");
	code[0] = LWS_CLOSE_STATUS_NORMAL >> 8;
	code[1] = LWS_CLOSE_STATUS_NORMAL & 0xff;
	return write_frame(c, WEBSOCKET_CLOSE, code, 2);
}

static int write_now(struct wss_connection *c)
{
	if (c->close_wanted && !lws_partial_buffered(c->wsi))
		return send_close(c);
	if (lws_partial_buffered(c->wsi)) {
		lws_callback_on_writable(c->wsi);
	} else if (c->ping_wanted) {
		uint8_t room[WEBSOCKET_HEADROOM];

		/* One write a turn: the owner's message follows in the next. */
		c->ping_wanted = false;
		lws_callback_on_writable(c->wsi);
		return write_frame(c, WEBSOCKET_PING, room + WEBSOCKET_HEADROOM, 0);
	} else if (c->owner != NULL && c->open) {
		c->wss->handler->writable(c->owner);
	}
	return 0;
}

/* Sent data that nobody acknowledges means that the path is dead; without this TCP would try for a quarter of an hour. */
static void set_user_timeout(struct lws *wsi)
{
	unsigned int ms = USER_TIMEOUT_MS;

	setsockopt(lws_get_socket_fd(wsi), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

static int on_connection(struct wss_connection *c, struct lws *wsi, enum lws_callback_reasons event, void *in, size_t len)
{
	switch (event) {
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
		c->wsi = wsi;
		if (append_credential(c, in, *(unsigned char **)in + len) != 0)
			return -1;
		if (c->owner != NULL)
			c->wss->handler->secured(c->owner);
		return 0;
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		connection_failed(c, wsi, in, len);
		return 0;
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		c->wsi = wsi;
		c->open = true;
		c->wss->open_count++;
		set_user_timeout(wsi);
		if (c->owner == NULL)
			return -1;
		c->wss->handler->opened(c->owner);
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		return receive(c, in, len);
	case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
		if (c->owner != NULL)
			c->wss->handler->pong(c->owner);
		return 0;
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return write_now(c);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		keep_close_reason(c, in, len);
		return 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
		report_lost(c, 0);
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		report_lost(c, 0);
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
	 * Some events carry other things than a connection's user data (certificate checks: a store), so only the ones that are
	 * ours may look at it.
	 */
	switch (event) {
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
	case LWS_CALLBACK_CLIENT_RECEIVE:
	case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
	case LWS_CALLBACK_CLIENT_WRITEABLE:
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
	case LWS_CALLBACK_CLIENT_CLOSED:
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
	{.name = PROTOCOL, .callback = on_event, .rx_buffer_size = RX_BUFFER, .tx_packet_size = TX_PACKET},
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
	info.pt_serv_buf_size = HEADERS_SIZE;
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
	if (wss->context == NULL) {
		vl_log_error("cannot start libwebsockets%s%s", ca_file != NULL ? " with the CA file " : "",
			ca_file != NULL ? ca_file : "");
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
	c->next = wss->connections;
	c->previous = &wss->connections;
	if (c->next != NULL)
		c->next->previous = &c->next;
	wss->connections = c;

	info.context = wss->context;
	info.address = config->address;
	info.port = config->port;
	info.host = info.origin = config->host;
	info.path = config->path;
	info.ssl_connection = LCCSCF_USE_SSL | LCCSCF_HTTP_NO_FOLLOW_REDIRECT;
	info.alpn = "http/1.1";
	info.local_protocol_name = PROTOCOL;
	info.ietf_version_or_minus_one = -1;
	info.retry_and_idle_policy = &wss_no_validity_checks;
	info.userdata = c;
	c->dialling = true;
	wsi = lws_client_connect_via_info(&info);
	c->dialling = false;
	if (wsi == NULL || c->destroyed) {
		free_connection(c);
		return NULL;
	}
	c->wsi = wsi;
	c->owner = owner;
	return c;
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
		lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

bool wss_is_connected(const struct wss_connection *c)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	/* libwebsockets says nothing between the dial and the end of the TLS handshake. */
	return getsockopt(lws_get_socket_fd(c->wsi), IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_state == TCP_ESTABLISHED;
}

void wss_close(struct wss_connection *c)
{
	c->close_wanted = true;
	/* A socket that never becomes writable again must not keep the connection for ever. */
	lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, CLOSE_S);
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
	return c->open && !c->close_wanted && !lws_partial_buffered(c->wsi);
}

int wss_send(struct wss_connection *c, char *text, size_t len)
{
	if (write_frame(c, WEBSOCKET_TEXT, (uint8_t *)text, len) == 0)
		return 0;
	c->close_wanted = true; /* nothing more is clear to be sent */
	lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
	return -EPIPE;
}

void wss_ping(struct wss_connection *c)
{
	c->ping_wanted = true;
	lws_callback_on_writable(c->wsi);
}

void wss_read(struct wss_connection *c, bool wanted)
{
	lws_rx_flow_control(c->wsi, wanted ? 1 : 0);
}
