/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files that make up a connection share: connection.c (sockets, HTTP, frames), fault.c (misbehaviour), control.c (changing it while
 * calls run).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"
#include "server.h"

#define CONNECTION_PONGS_MAX 16u

enum connection_state {
	STATE_HEAD, /* reading the HTTP request */
	STATE_OPEN,
	STATE_CLOSING, /* our close frame is queued or sent */
	STATE_DONE,    /* close the socket once the queue is empty */
	STATE_STUCK,   /* half open or frozen: what is read is dropped, nothing is written */
};

/* Bytes to write: one frame or one HTTP response, behind LWS_PRE bytes of room. */
struct output {
	struct output *next;
	size_t size;
	bool answers;	  /* holds the first audio of an answer: likewise */
	bool interrupted; /* holds an `interrupted` message: when it leaves is logged */
	uint8_t data[];
};

struct pong {
	uint64_t due_ms;
	size_t size;
	uint8_t data[125];
};

struct connection {
	struct server *server;
	struct lws *wsi;
	struct connection *next, **link;
	enum connection_state state;
	char head[REQUEST_HEAD_MAX];
	size_t head_size;
	struct frame_reader reader;
	struct output *first, **last;
	struct persona *persona; /* NULL = unknown key */
	struct heard *heard;
	struct talk talk;
	bool upgraded, close_counted, went_away, error_sent;
	bool faulty;		/* the faults hit this one; follows the settings */
	uint64_t number;	/* of its key's connections, from 1 */
	uint64_t interruptions; /* of the persona, already noticed */
	uint64_t answered;	/* utterances of the persona when the last answer began */
	uint64_t loud_us;	/* when the caller's voice was heard last */
	uint64_t opened_ms, deadline_ms, next_draw_ms, hold_until_ms;
	struct pong pongs[CONNECTION_PONGS_MAX];
	unsigned pong_count;
};

/* connection.c: queue one message of the service, send a Close, answer an HTTP request, close the socket at once (it is gone then). */
void connection_send(struct connection *connection, const struct text *text);
void connection_close(struct connection *connection, unsigned code, const char *reason);
void connection_respond(struct connection *connection, unsigned status, const char *name, const char *type, const char *body);
void connection_drop(struct connection *connection);

/* account.c: POST /token with its body; whose access token opens this request's websocket. */
void account_take_token_request(struct connection *connection, const struct request *request, const char *body);
struct persona *account_of(const struct server *server, const struct request *request);

/* fault.c: whether the faults hit connection `number` of a key; what they do with time; the answer to a ping, now or later. */
bool fault_hits(const struct options *options, const struct persona *persona, uint64_t number);
void fault_tick(struct connection *connection, uint64_t now_ms);
void fault_take_ping(struct connection *connection, uint64_t now_ms);
void fault_tick_pongs(struct connection *connection, uint64_t now_ms);
void connection_pong(struct connection *connection, const void *data, size_t size);

/*
 * fault.c: once, to every open connection that the faults may hit. Returns how many, or -EINVAL after a sentence on `errors`.
 */
int fault_now(struct server *server, const char *what, FILE *errors);

/* control.c: GET or POST /control?NAME=VALUE&... */
void control_take(struct connection *connection, const struct request *request);
