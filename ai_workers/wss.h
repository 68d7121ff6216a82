/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Websockets to the Gemini Live service over TLS: libwebsockets on the worker's libuv loop, one context, one connection object
 * per dial.
 *
 * A connection belongs to the owner it was dialled for and to nobody else, ever: it is never reused, and once its owner lets go
 * of it, nothing that the network still delivers can reach any call. The credential goes into a header of this connection's upgrade,
 * an API key into x-goog-api-key, a token into Authorization, and nowhere else.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

struct wss;
struct wss_connection;

/* What a connection tells its owner; always from the event loop, never from inside a wss_ call. */
struct wss_handler {
	/* TCP and TLS are up, the upgrade goes out. */
	void (*secured)(void *owner);
	/* The websocket is open. */
	void (*opened)(void *owner);
	/* One whole message; `text` may be changed in place and is gone after the return. */
	void (*message)(void *owner, char *text, size_t len);
	/* The service has answered wss_ping(). */
	void (*pong)(void *owner);
	/* wss_send() may be called once; asked for by wss_want_write(). */
	void (*writable)(void *owner);
	/*
	 * The connection is gone, last call. `code` is the close code or 1006, `http_status` the answer to a refused upgrade or
	 * 0. `dead`: nobody has acknowledged what was sent until TCP gave up (ETIMEDOUT); never after a reset or an end.
	 */
	void (*lost)(void *owner, uint16_t code, int http_status, bool dead, const char *reason);
};

struct wss_config {
	const char *host;    /* for SNI, the certificate and the Host header */
	const char *address; /* what to connect to: an IP address, so that no dial waits for a name server */
	uint16_t port;
	const char *path;
};

/*
 * Start libwebsockets on `loop` with room for `connections`. `ca_file` replaces the system's CA store; NULL keeps it. Worker
 * loop. Returns NULL with a logged reason.
 */
struct wss *wss_create(uv_loop_t *loop, const struct wss_handler *handler, const char *ca_file, unsigned int connections);

/* Drop every connection and stop; runs the loop until all handles of libwebsockets are closed. NULL is legal. Worker, at exit. */
void wss_destroy(struct wss *wss);

/*
 * Dial. `credential`, an API key or "Bearer " and an access token, is borrowed until lost() or wss_release(), and read when the upgrade goes out; `config` for the call. Worker loop. Returns the connection, or NULL
 * when it could not even be started; then nothing is reported.
 */
struct wss_connection *wss_dial(struct wss *wss, const struct wss_config *config, const char *credential, void *owner);

/*
 * The owner lets go: nothing is reported any more. With `graceful` a Close goes out first. The pointer is invalid afterwards.
 * Worker loop. NULL is legal.
 */
void wss_release(struct wss_connection *connection, bool graceful);

/* Whether TCP is up, with TLS or without yet; for the deadlines of a dial. Worker loop. */
bool wss_is_connected(const struct wss_connection *connection);

/* Send a Close, go on reporting until lost(). Worker loop. */
void wss_close(struct wss_connection *connection);

/* Websockets that are open now. Worker loop. */
unsigned int wss_open_count(const struct wss *wss);

/* Whether no connection is left, closing ones included. Worker loop. */
bool wss_is_idle(const struct wss *wss);

/* Ask for writable(). Worker loop. */
void wss_want_write(struct wss_connection *connection);

/* Room in front of a message for wss_send(). */
size_t wss_headroom(void);

/*
 * Whether wss_send() may be called now, without waiting for writable(): nothing of an earlier message is still waiting for the
 * socket. Saves two system calls and a turn of the loop per message. Worker loop.
 */
bool wss_is_clear(const struct wss_connection *connection);

/*
 * Send one text message, from inside writable() or while wss_is_clear(); `text` has wss_headroom() bytes in front of it and is
 * destroyed (masked in place). Worker loop. Returns 0 or -EPIPE (lost() follows, from the event loop).
 */
int wss_send(struct wss_connection *connection, char *text, size_t len);

/* Send a ping when the socket is next writable. Worker loop. */
void wss_ping(struct wss_connection *connection);

/*
 * How long nobody on the other side's end of TCP has acknowledged anything, while something that was sent waits for it: milliseconds, 0 when all of it
 * is acknowledged. The path is dead if it grows; a service that is slow acknowledges all the same (tcp(7), TCP_INFO). Worker loop.
 */
uint32_t wss_unacknowledged_ms(const struct wss_connection *connection);

/* Stop or resume reading; TCP holds the service back. Worker loop. */
void wss_read(struct wss_connection *connection, bool wanted);
