/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What wss.c, wss_io.c and https.c, the files that know libwebsockets, share: one context with one list of protocols, and a
 * connection's insides.
 */
#pragma once

#include <libwebsockets.h>

#include "tls_client.h"
#include "websocket.h"
#include "wss.h"

#define HTTPS_PROTOCOL	"https-post"
#define WSS_READ_SIZE	16384u /* at once, for the worker: a TLS record */
#define WSS_REASON_SIZE 128u
#define WSS_RANDOM_SIZE 256u /* asked of the system at once: what it always gives whole, getrandom(2) */

/*
 * First member of what libwebsockets keeps for us: it tells the end of every connection to the first protocol of its list, whichever the connection has.
 */
enum wss_user { WSS_USER_LIVE, WSS_USER_HTTPS };

struct wss {
	struct lws_context *context;
	uv_loop_t *loop;
	const struct wss_handler *handler;
	struct wss_connection *connections; /* all that libwebsockets still knows */
	unsigned int open_count;
	SSL_CTX *tls;			 /* libwebsockets' own, with the CA certificates */
	uint8_t random[WSS_RANDOM_SIZE]; /* for masks and keys, each byte used once */
	unsigned int random_left;
	uint8_t plain[WSS_READ_SIZE]; /* what one connection has just read; used within one function */
};

struct wss_connection {
	enum wss_user kind; /* first */
	struct wss *wss;
	struct wss_connection *next, **previous;
	struct lws *wsi;
	void *owner;		/* NULL: nobody listens any more */
	const char *credential; /* its owner's; NULL when nobody listens any more */
	char *host, *path;	/* until the upgrade */
	uint16_t port;
	bool dialling;	/* inside wss_dial() */
	bool destroyed; /* libwebsockets has let go of it inside wss_dial() */
	bool secured, open, close_wanted, close_sent, ping_wanted;
	bool dead; /* its end was ETIMEDOUT */
	uint16_t code;
	char reason[WSS_REASON_SIZE];
	char accept[WEBSOCKET_ACCEPT_SIZE];
	struct tls_client tls;
	struct websocket_reader reader;
	char *message; /* being put together, at first the answer to the upgrade */
	size_t message_len, message_capacity;
	uint8_t *unsent; /* that the socket did not take, from `sent` on */
	size_t unsent_len, sent;
	uint8_t pong[WEBSOCKET_CONTROL_MAX]; /* the last ping's bytes */
	uint8_t pong_len;
	bool pong_wanted;
};

/* https.c: events of HTTP connections. */
int https_on_event(struct lws *wsi, enum lws_callback_reasons event, void *user, void *in, size_t len);

/* wss.c: the context, and a connection's validity policy. */
struct lws_context *wss_context(const struct wss *wss);
extern const lws_retry_bo_t wss_no_validity_checks;

/* wss.c: why the handshake that has just failed refused the certificate, or NULL; once. */
const char *wss_certificate_error(void);

/* wss.c: tell the owner, if there is one left, that its connection is gone. */
void wss_report_lost(struct wss_connection *connection, int http_status);

/* wss_io.c: the socket is connected, has `len` bytes for us, takes more. Worker loop. Return 0, or -1 to end the connection. */
int wss_connected(struct wss_connection *connection, struct lws *wsi);
int wss_receive(struct wss_connection *connection, const uint8_t *in, size_t len);
int wss_write_now(struct wss_connection *connection);

/* wss_io.c: what the socket did not take is not sent any more, and wiped: it may be the upgrade with its credential. Worker loop. */
void wss_forget_unsent(struct wss_connection *connection);

/*
 * wss_io.c: write one frame; `payload` has WEBSOCKET_HEADROOM bytes in front and is destroyed. What the socket does not take is kept.
 * Worker loop. Returns 0 or -errno.
 */
int wss_write_frame(struct wss_connection *connection, enum websocket_opcode opcode, uint8_t *payload, size_t len);
