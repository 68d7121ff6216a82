/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes over one connection's socket: TLS by tls_client.c, the upgrade, frames by websocket.c. The int functions return 0, or -1
 * to libwebsockets to end the connection. See wss.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "gemini_message.h"
#include "wss_lws.h"

#define REQUEST_SIZE	8192u /* an access token has up to 4 kB */
#define ANSWER_MAX	8192u /* headers of the answer to it */
#define USER_TIMEOUT_MS 8000u

/* Randomness that nobody can guess; asked of the system rarely. Returns NULL if there is none. */
static const uint8_t *take_random(struct wss *wss, unsigned int size)
{
	if (wss->random_left < size) {
		if (getrandom(wss->random, sizeof(wss->random), 0) != sizeof(wss->random))
			return NULL;
		wss->random_left = sizeof(wss->random);
	}
	wss->random_left -= size;
	return wss->random + wss->random_left;
}

/* Send what the socket takes, and ask to be told when it takes more. Returns how much it took or -EPIPE. */
static ssize_t send_some(struct wss_connection *c, const uint8_t *bytes, size_t len)
{
	size_t sent = 0;

	while (sent < len) {
		ssize_t more = tls_client_write(&c->tls, bytes + sent, len - sent);

		if (more == -EAGAIN) {
			lws_callback_on_writable(c->wsi);
			break;
		}
		if (more < 0)
			return more;
		sent += (size_t)more;
	}
	return (ssize_t)sent;
}

void wss_forget_unsent(struct wss_connection *c)
{
	if (c->unsent != NULL)
		explicit_bzero(c->unsent, c->unsent_len);
	free(c->unsent);
	c->unsent = NULL;
	c->unsent_len = c->sent = 0;
}

/* Send, and keep what the socket does not take. */
static int send_all(struct wss_connection *c, const uint8_t *bytes, size_t len)
{
	size_t kept = c->unsent_len - c->sent;
	ssize_t sent = kept > 0 ? 0 : send_some(c, bytes, len);
	uint8_t *unsent;

	if (sent < 0)
		return -EPIPE;
	if ((size_t)sent == len)
		return 0;
	len -= (size_t)sent;
	unsent = malloc(kept + len);
	if (unsent == NULL)
		return -ENOMEM;
	if (kept > 0)
		memcpy(unsent, c->unsent + c->sent, kept);
	memcpy(unsent + kept, bytes + sent, len);
	wss_forget_unsent(c);
	c->unsent = unsent;
	c->unsent_len = kept + len;
	return 0;
}

static int send_unsent(struct wss_connection *c)
{
	ssize_t sent = send_some(c, c->unsent + c->sent, c->unsent_len - c->sent);

	if (sent < 0)
		return -EPIPE;
	c->sent += (size_t)sent;
	if (c->sent == c->unsent_len)
		wss_forget_unsent(c);
	return 0;
}

/* Write one frame; `payload` has WEBSOCKET_HEADROOM bytes in front and is destroyed. */
int wss_write_frame(struct wss_connection *c, enum websocket_opcode opcode, uint8_t *payload, size_t len)
{
	const uint8_t *mask = take_random(c->wss, WEBSOCKET_MASK_SIZE);
	uint8_t *frame;

	if (mask == NULL)
		return -EIO;
	frame = websocket_frame(payload, len, opcode, mask);
	return send_all(c, frame, (size_t)(payload + len - frame));
}

static int write_control(struct wss_connection *c, enum websocket_opcode opcode, const void *payload, size_t len)
{
	uint8_t room[WEBSOCKET_HEADROOM + WEBSOCKET_CONTROL_MAX];

	if (len > 0)
		memcpy(room + WEBSOCKET_HEADROOM, payload, len);
	return wss_write_frame(c, opcode, room + WEBSOCKET_HEADROOM, len);
}

/* A Close, once. */
static int write_close(struct wss_connection *c, uint16_t code)
{
	uint8_t bytes[2] = {(uint8_t)(code >> 8), (uint8_t)code};

	if (c->close_sent)
		return 0;
	c->close_sent = true;
	return write_control(c, WEBSOCKET_CLOSE, bytes, code == WEBSOCKET_NO_CODE ? 0 : sizeof(bytes));
}

static int say_broken(struct wss_connection *c, const char *reason)
{
	snprintf(c->reason, sizeof(c->reason), "%s", reason);
	return -1;
}

/* The request, with the credential, on the stack only. An API key has no space in it. */
static int send_upgrade(struct wss_connection *c)
{
	char key[WEBSOCKET_KEY_SIZE], host[300], text[REQUEST_SIZE];
	struct websocket_upgrade upgrade = {
		.path = c->path, .host = host, .key = key, .value = c->credential, .header = "x-goog-api-key"};
	const uint8_t *nonce = take_random(c->wss, WEBSOCKET_NONCE_SIZE);
	int len, result;

	/* A token that has ended meanwhile was overwritten. */
	if (c->credential == NULL || c->credential[0] == '\0' || strcmp(c->credential, "Bearer ") == 0 || nonce == NULL)
		return say_broken(c, "there is no credential any more");
	if (strncmp(c->credential, "Bearer ", 7) == 0)
		upgrade.header = "authorization";
	if (c->port == 443)
		snprintf(host, sizeof(host), "%s", c->host);
	else
		snprintf(host, sizeof(host), "%s:%u", c->host, c->port);
	websocket_key(nonce, key, c->accept);
	len = websocket_request(text, sizeof(text), &upgrade);
	result = len > 0 ? send_all(c, (const uint8_t *)text, (size_t)len) : len;
	explicit_bzero(text, sizeof(text));
	return result == 0 ? 0 : say_broken(c, "the upgrade could not be sent");
}

static int secure(struct wss_connection *c)
{
	int done = tls_client_handshake(&c->tls);

	if (done < 0) {
		tls_client_error(&c->tls, c->reason, sizeof(c->reason));
		return -1;
	}
	if (done == 0) {
		if (SSL_want_write(c->tls.ssl))
			lws_callback_on_writable(c->wsi);
		return 0;
	}
	c->secured = true;
	if (c->owner == NULL)
		return -1;
	c->wss->handler->secured(c->owner);
	return send_upgrade(c);
}

/* Room for `need` bytes, `capacity` at once. */
static int reserve(struct wss_connection *c, size_t need, size_t capacity)
{
	char *grown;

	if (need <= c->message_capacity)
		return 0;
	grown = realloc(c->message, capacity);
	if (grown == NULL)
		return -1;
	c->message = grown;
	c->message_capacity = capacity;
	return 0;
}

static void append(struct wss_connection *c, const uint8_t *bytes, size_t len)
{
	memcpy(c->message + c->message_len, bytes, len);
	c->message_len += len;
}

/* What was put together is the caller's now, to be freed. */
static char *take_message(struct wss_connection *c, size_t *len)
{
	char *message = c->message;

	*len = c->message_len;
	c->message = NULL;
	c->message_len = c->message_capacity = 0;
	return message;
}

static int take_part(struct wss_connection *c, const struct websocket_piece *piece)
{
	size_t need = c->message_len + piece->len, len;
	char *message;

	if (c->owner == NULL)
		return 0;
	if (piece->last && c->message_len == 0) {
		c->wss->handler->message(c->owner, (char *)piece->bytes, piece->len);
		return 0;
	}
	if (piece->len == 0 && !piece->last)
		return 0;
	/* The rest of this frame is known, so a message in one frame is allocated once. */
	if (reserve(c, need, need + (size_t)piece->frame_left) != 0)
		return say_broken(c, "no memory for a message");
	append(c, piece->bytes, piece->len);
	if (piece->last) {
		/* The owner may let go of the connection; the message is freed here either way. */
		message = take_message(c, &len);
		c->wss->handler->message(c->owner, message, len);
		free(message);
	}
	return 0;
}

static int violated(struct wss_connection *c, const struct websocket_piece *piece)
{
	if (piece->code == WEBSOCKET_TOO_BIG)
		snprintf(c->reason, sizeof(c->reason), "message of more than %u bytes", GEMINI_MESSAGE_MAX);
	else
		snprintf(c->reason, sizeof(c->reason), "the service broke the protocol: %s", piece->why);
	write_close(c, piece->code);
	return -1;
}

/* The service's Close, or its echo of ours; there is nothing more to come. */
static int closed(struct wss_connection *c, const struct websocket_piece *piece)
{
	c->code = piece->code;
	if (piece->len > 0)
		snprintf(c->reason, sizeof(c->reason), "%s", (const char *)piece->bytes);
	write_close(c, piece->code);
	return -1;
}

static int read_frames(struct wss_connection *c, uint8_t *bytes, size_t len)
{
	struct websocket_piece piece;
	enum websocket_event event;

	while ((event = websocket_read(&c->reader, &bytes, &len, &piece)) != WEBSOCKET_MORE) {
		int result = 0;

		switch (event) {
		case WEBSOCKET_PART:
			result = take_part(c, &piece);
			break;
		case WEBSOCKET_PINGED:
			/* RFC 6455 5.5.3: the last one is enough. */
			memcpy(c->pong, piece.bytes, piece.len);
			c->pong_len = (uint8_t)piece.len;
			c->pong_wanted = true;
			lws_callback_on_writable(c->wsi);
			break;
		case WEBSOCKET_PONGED:
			if (c->owner != NULL)
				c->wss->handler->pong(c->owner);
			break;
		case WEBSOCKET_CLOSED:
			result = closed(c, &piece);
			break;
		default:
			result = violated(c, &piece);
		}
		if (result != 0)
			return result;
	}
	return 0;
}

static int read_answer(struct wss_connection *c, const uint8_t *bytes, size_t len)
{
	const char *why;
	size_t answer_len;
	char *answer;
	int status, used;

	if (reserve(c, c->message_len + len, c->message_len + len) != 0)
		return say_broken(c, "no memory for the answer to the upgrade");
	append(c, bytes, len);
	used = websocket_response(c->message, c->message_len, c->accept, &status, &why);
	if (used == 0)
		return c->message_len > ANSWER_MAX ? say_broken(c, "the answer to the upgrade is too long") : 0;
	if (used < 0) {
		snprintf(c->reason, sizeof(c->reason), "%s", why);
		/* 101 means that the upgrade itself was wrong. */
		wss_report_lost(c, status == 101 ? 0 : status);
		return -1;
	}
	if (c->owner == NULL)
		return -1;
	c->open = true;
	c->wss->open_count++;
	answer = take_message(c, &answer_len);
	c->wss->handler->opened(c->owner);
	used = read_frames(c, (uint8_t *)answer + used, answer_len - (size_t)used);
	free(answer);
	return used;
}

int wss_connected(struct wss_connection *c, struct lws *wsi)
{
	unsigned int ms = USER_TIMEOUT_MS;

	/* Its end was asked for while it was dialled; libwebsockets has forgotten that timer with the dial's own. */
	if (c->owner == NULL)
		return -1;
	c->wsi = wsi;
	/* Sent data that nobody acknowledges means that the path is dead; without this TCP would try for a quarter of an hour. */
	setsockopt(lws_get_socket_fd(wsi), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	if (tls_client_open(&c->tls, c->wss->tls, c->host, lws_get_socket_fd(wsi)) != 0)
		return say_broken(c, "no memory for TLS");
	return secure(c);
}

/* What a proxy of the environment says to libwebsockets' CONNECT; behind it the service is as if connected directly. */
static int read_proxy(struct wss_connection *c, const uint8_t *bytes, size_t len)
{
	const char *why;
	int status;

	if (reserve(c, c->message_len + len, c->message_len + len) != 0)
		return say_broken(c, "no memory for the answer of the proxy");
	append(c, bytes, len);
	if (websocket_response(c->message, c->message_len, "", &status, &why) == 0)
		return c->message_len > ANSWER_MAX ? say_broken(c, "the answer of the proxy is too long") : 0;
	free(take_message(c, &len));
	if (status == 200) {
		lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0);
		return wss_connected(c, c->wsi);
	}
	snprintf(c->reason, sizeof(c->reason), "HTTP %d from the proxy", status);
	return -1;
}

static int read_secured(struct wss_connection *c)
{
	uint8_t *plain = c->wss->plain;
	ssize_t got;

	if (!c->secured && secure(c) != 0)
		return -1;
	if (!c->secured)
		return 0;
	while ((got = tls_client_read(&c->tls, plain, WSS_READ_SIZE)) > 0) {
		if ((c->open ? read_frames(c, plain, (size_t)got) : read_answer(c, plain, (size_t)got)) != 0)
			return -1;
	}
	return got == -EAGAIN ? 0 : -1;
}

int wss_receive(struct wss_connection *c, const uint8_t *in, size_t len)
{
	int result;

	if (c->tls.ssl == NULL)
		return read_proxy(c, in, len);
	c->tls.in = in;
	c->tls.in_len = len;
	result = read_secured(c);
	/* Something has to be written before more can be read, and a socket that full is as good as dead. */
	if (result == 0 && c->tls.in_len > 0)
		result = say_broken(c, "the socket took no answer of TLS");
	/* These bytes are the next connection's after the return. */
	c->tls.in = NULL;
	c->tls.in_len = 0;
	return result;
}

int wss_write_now(struct wss_connection *c)
{
	if (!c->secured)
		return c->tls.ssl != NULL ? secure(c) : 0;
	if (c->unsent != NULL && send_unsent(c) != 0)
		return -1;
	if (!c->open || c->close_sent || c->unsent != NULL)
		return 0;
	if (c->pong_wanted) {
		c->pong_wanted = false;
		if (write_control(c, WEBSOCKET_PONG, c->pong, c->pong_len) != 0)
			return -1;
	}
	if (c->ping_wanted) {
		c->ping_wanted = false;
		if (write_control(c, WEBSOCKET_PING, NULL, 0) != 0)
			return -1;
	}
	if (c->close_wanted) {
		/* The service's echo ends the connection. */
		c->code = WEBSOCKET_NORMAL;
		snprintf(c->reason, sizeof(c->reason), "closed by us");
		return write_close(c, WEBSOCKET_NORMAL);
	}
	if (c->unsent == NULL && c->owner != NULL)
		c->wss->handler->writable(c->owner);
	return 0;
}
