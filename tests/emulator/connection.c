/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One socket of the emulator: HTTP request, upgrade, WebSocket frames in and out, close handshake, and the misbehaviour asked for
 * on the command line.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connection_internal.h"
#include "shared/log.h"

#define CLOSE_WAIT_MS 2000u /* for the client's half of the close handshake */
#define HEAD_WAIT_MS  10000u
#define LOUD	      1000 /* a sample above it is the caller's voice, as far as the log of answers is concerned */

/* -- output ----------------------------------------------------------------------------------- */

/* Queue bytes made of up to two parts. Returns them, NULL when memory is short. */
static struct output *queue(struct connection *connection, const void *head, size_t head_size, const void *body, size_t body_size)
{
	struct output *output = malloc(sizeof(*output) + LWS_PRE + head_size + body_size);
	if (output == NULL)
		return NULL;
	output->next = NULL;
	output->size = head_size + body_size;
	output->interrupted = output->answers = false;
	memcpy(output->data + LWS_PRE, head, head_size);
	if (body_size > 0)
		memcpy(output->data + LWS_PRE + head_size, body, body_size);
	if (connection->persona != NULL && connection->interruptions != connection->persona->counters.interruptions) {
		connection->interruptions = connection->persona->counters.interruptions;
		output->interrupted = true;
	}
	*connection->last = output;
	connection->last = &output->next;
	lws_callback_on_writable(connection->wsi);
	return output;
}

static struct output *queue_frame(
	struct connection *connection, enum frame_opcode opcode, bool final, const void *data, size_t size)
{
	uint8_t header[FRAME_HEADER_MAX];
	return queue(connection, header, frame_header(header, opcode, final, size), data, size);
}

void connection_respond(struct connection *connection, unsigned status, const char *name, const char *type, const char *body)
{
	char head[256];
	int size = snprintf(head, sizeof(head),
		"HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status, name, type,
		strlen(body));
	queue(connection, head, (size_t)size, body, strlen(body));
	connection->state = STATE_DONE;
}

static void respond_error(struct connection *connection, unsigned status)
{
	static const struct {
		unsigned status;
		const char *name, *grpc, *message;
	} known[] = {
		{400, "Bad Request", "INVALID_ARGUMENT", "Request contains an invalid argument."},
		{401, "Unauthorized", "UNAUTHENTICATED", "Request had invalid authentication credentials."},
		{403, "Forbidden", "PERMISSION_DENIED", "The caller does not have permission"},
		{404, "Not Found", "NOT_FOUND", "Requested entity was not found."},
		{426, "Upgrade Required", "INVALID_ARGUMENT", "A WebSocket upgrade is required."},
		{429, "Too Many Requests", "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."},
		{500, "Internal Server Error", "INTERNAL", "Internal error encountered."},
		{503, "Service Unavailable", "UNAVAILABLE", "The service is currently unavailable."},
	};
	size_t i = 0;
	while (i + 1 < sizeof(known) / sizeof(known[0]) && known[i].status != status)
		i++;
	char body[256];
	snprintf(body, sizeof(body),
		"{\n  \"error\": {\n    \"code\": %u,\n    \"message\": \"%s\",\n    \"status\": \"%s\"\n  }\n}\n", status,
		known[i].message, known[i].grpc);
	connection_respond(connection, status, known[i].name, "application/json; charset=UTF-8", body);
}

/* -- closing ---------------------------------------------------------------------------------- */

static void count_close(struct connection *connection, unsigned code)
{
	struct persona *persona = connection->persona;
	if (connection->close_counted || !connection->upgraded)
		return;
	connection->close_counted = true;
	if (connection->server->options->verbose)
		vl_log_info("%s: closed with %u", persona ? persona->label : "unknown key", code);
	for (unsigned i = 0; persona != NULL && i < PERSONA_CLOSES_MAX; i++) {
		if (persona->closes[i].count > 0 && persona->closes[i].code != code)
			continue;
		persona->closes[i].code = code;
		persona->closes[i].count++;
		break;
	}
}

void connection_close(struct connection *connection, unsigned code, const char *reason)
{
	uint8_t body[2 + FRAME_REASON_MAX];
	size_t size = frame_reason_size(reason);
	if (connection->state != STATE_OPEN)
		return;
	if (connection->server->options->verbose)
		vl_log_info(
			"%s: closing with %u %s", connection->persona ? connection->persona->label : "unknown key", code, reason);
	body[0] = (uint8_t)(code >> 8);
	body[1] = (uint8_t)code;
	memcpy(body + 2, reason, size);
	queue_frame(connection, FRAME_CLOSE, true, body, 2 + size);
	count_close(connection, code);
	connection->state = STATE_CLOSING;
	connection->deadline_ms = server_now_ms(connection->server) + CLOSE_WAIT_MS;
}

/* The client's close frame: echo it, or it answers ours. */
static void take_close(struct connection *connection)
{
	const uint8_t *data = (const uint8_t *)connection->reader.data;
	if (connection->state == STATE_OPEN) {
		count_close(connection, connection->reader.size >= 2 ? (unsigned)(data[0] << 8 | data[1]) : 1005);
		queue_frame(connection, FRAME_CLOSE, true, data, connection->reader.size >= 2 ? 2 : 0);
	}
	connection->state = STATE_DONE;
	lws_callback_on_writable(connection->wsi);
}

/* -- the session's host ----------------------------------------------------------------------- */

/* The first audio of an answer has been queued: when it leaves is logged. */
static void note_answer(struct connection *connection, const struct text *text, struct output *output)
{
	if (!connection->server->options->verbose || connection->persona == NULL || output == NULL ||
		connection->answered == connection->persona->counters.utterances ||
		memmem(text->data, text->size, "\"inlineData\"", 12) == NULL)
		return;
	connection->answered = connection->persona->counters.utterances;
	output->answers = true;
}

void connection_send(struct connection *connection, const struct text *text)
{
	const struct fault_rules *faults = &connection->server->options->faults;
	if (connection->state != STATE_OPEN)
		return;
	enum frame_opcode opcode = connection->faulty && faults->text_frames ? FRAME_TEXT : FRAME_BINARY;
	if (!connection->faulty || !faults->fragment || text->size < 3) {
		note_answer(connection, text, queue_frame(connection, opcode, true, text->data, text->size));
		return;
	}
	size_t third = text->size / 3;
	queue_frame(connection, opcode, false, text->data, third);
	queue_frame(connection, FRAME_CONTINUATION, false, text->data + third, third);
	queue_frame(connection, FRAME_CONTINUATION, true, text->data + 2 * third, text->size - 2 * third);
}

static void host_send(void *user, const struct text *text)
{
	connection_send(user, text);
}

static void host_refuse(void *user, int code, const char *reason)
{
	struct connection *connection = user;
	if (code == 1007 && connection->persona != NULL)
		vl_log_warning("%s: invalid message: %s", connection->persona->label, reason);
	connection_close(connection, (unsigned)code, reason);
}

static void host_heard(void *user, const int16_t *samples, size_t count)
{
	struct connection *connection = user;
	for (size_t i = 0; i < count; i++) {
		if (samples[i] > LOUD || samples[i] < -LOUD) {
			connection->loud_us = uv_hrtime() / 1000;
			break;
		}
	}
	if (connection->heard != NULL)
		heard_add(connection->heard, samples, count);
}

static void host_random(void *user, void *bytes, size_t size)
{
	server_random(((struct connection *)user)->server, bytes, size);
}

/* -- HTTP ------------------------------------------------------------------------------------- */

/* Every key is compared in full, so that the time says nothing; it is a test server, but the habit is free. */
static struct persona *find_persona(struct options *options, const char *key)
{
	struct persona *found = NULL;
	for (unsigned i = 0; i < options->persona_count; i++) {
		if (options->personas[i].key != NULL && strcmp(options->personas[i].key, key) == 0)
			found = &options->personas[i];
	}
	return found;
}

static void open_heard(struct connection *connection)
{
	struct server *server = connection->server;
	const struct options *options = server->options;
	connection->heard = heard_create(
		connection->persona->label, ++connection->persona->recordings, options->record, options->reference_count > 0);
	if (connection->heard == NULL) {
		vl_log_error("%s: cannot record: %s", connection->persona->label, strerror(errno));
		return;
	}
	connection->heard->next = server->heard;
	server->heard = connection->heard;
}

static void start_session(struct connection *connection, const struct request *request)
{
	struct server *server = connection->server;
	const struct options *options = server->options;
	struct talk_host host = {connection, host_send, host_refuse, host_heard, host_random};
	struct persona *persona = connection->persona;
	connection->upgraded = true;
	connection->state = STATE_OPEN;
	connection->opened_ms = server_now_ms(server);
	connection->next_draw_ms = connection->opened_ms + 1000;
	connection->deadline_ms = 0;
	if (persona != NULL) {
		persona->counters.connections++;
		persona->counters.open++;
		connection->faulty = fault_hits(options, persona, connection->number);
		open_heard(connection);
	} else {
		server->refused_keys++;
	}
	talk_init(&connection->talk, connection->faulty ? &options->rules : &options->clean, &host, persona, server->registry,
		request->api);
	connection->talk.no_key = request->key[0] == '\0';
	if (options->verbose)
		vl_log_info("%s: connected%s", persona ? persona->label : "unknown key",
			request->key_in_url ? ", key in the URL" : "");
}

static void upgrade(struct connection *connection, const struct request *request)
{
	char accept[FRAME_ACCEPT_MAX], response[256];
	const struct options *options = connection->server->options;
	bool hit;
	if (!request->upgrade || !request->version_13 || frame_accept(request->websocket_key, accept) != 0) {
		respond_error(connection, request->upgrade ? 400 : 426);
		return;
	}
	if (request->api == REQUEST_API_VERTEX && connection->server->tokens != NULL) {
		connection->persona = account_of(connection->server, request);
		if (connection->persona == NULL) {
			connection->server->refused_keys++;
			respond_error(connection, 401);
			return;
		}
	} else {
		connection->persona = find_persona(connection->server->options, request->key);
	}
	connection->interruptions = connection->persona ? connection->persona->counters.interruptions : 0;
	if (connection->persona != NULL)
		connection->number = ++connection->persona->dials;
	hit = fault_hits(options, connection->persona, connection->number);
	if (hit && options->faults.http_status != 0) {
		respond_error(connection, options->faults.http_status);
		return;
	}
	if (connection->persona == NULL && options->faults.key_status != 0) {
		respond_error(connection, options->faults.key_status);
		return;
	}
	int size = snprintf(response, sizeof(response),
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
		"%s\r\n\r\n",
		accept);
	if (hit)
		connection->hold_until_ms = server_now_ms(connection->server) + options->faults.upgrade_delay_ms;
	queue(connection, response, (size_t)size, NULL, 0);
	start_session(connection, request);
}

static void take_request(struct connection *connection, size_t size)
{
	struct request request;
	/* libwebsockets leaves its TLS accept timeout running on raw sockets; ours is in tick(). */
	lws_set_timeout(connection->wsi, NO_PENDING_TIMEOUT, 0);
	if (request_parse(connection->head, size, &request) != 0) {
		respond_error(connection, 400);
	} else if (strcmp(request.method, "GET") == 0 && strcmp(request.path, "/stats") == 0) {
		char *json = stats_json(connection->server, strstr(request.query, "heard") != NULL);
		if (json != NULL)
			connection_respond(connection, 200, "OK", "application/json", json);
		else
			respond_error(connection, 500);
		free(json);
	} else if (strcmp(request.path, "/control") == 0 && lws_get_vhost(connection->wsi) == connection->server->stats_vhost) {
		control_take(connection, &request);
	} else if (strcmp(request.method, "POST") == 0 && strcmp(request.path, "/token") == 0 &&
		   connection->server->tokens != NULL) {
		account_take_token_request(connection, &request, connection->head + size);
	} else if (request.api == REQUEST_API_NONE || lws_get_vhost(connection->wsi) != connection->server->vhost) {
		connection->server->refused_paths++;
		respond_error(connection, 404);
	} else {
		upgrade(connection, &request);
	}
}

/* -- input ------------------------------------------------------------------------------------ */

void connection_pong(struct connection *connection, const void *data, size_t size)
{
	queue_frame(connection, FRAME_PONG, true, data, size);
}

static void take_message(struct connection *connection, uint64_t now_ms)
{
	bool first = !connection->talk.set_up;
	if (connection->state != STATE_OPEN)
		return;
	talk_message(&connection->talk, connection->reader.data, connection->reader.size, now_ms);
	if (first && connection->faulty && connection->server->options->faults.quota_close)
		connection_close(
			connection, 1011, "You exceeded your current quota, please check your plan and billing details.");
}

static void take_frames(struct connection *connection, const uint8_t *data, size_t size)
{
	uint64_t now_ms = server_now_ms(connection->server);
	while (size > 0 && (connection->state == STATE_OPEN || connection->state == STATE_CLOSING)) {
		switch (frame_reader_feed(&connection->reader, &data, &size)) {
		case FRAME_EVENT_NONE:
			return;
		case FRAME_EVENT_MESSAGE:
			take_message(connection, now_ms);
			break;
		case FRAME_EVENT_PING:
			fault_take_ping(connection, now_ms);
			break;
		case FRAME_EVENT_PONG:
			break;
		case FRAME_EVENT_CLOSE:
			take_close(connection);
			break;
		case FRAME_EVENT_ERROR:
			connection_close(connection, connection->reader.close_code, connection->reader.error);
			connection->state = STATE_DONE;
			return;
		}
	}
}

/* Of a request whose head is complete. */
static size_t body_size(const struct connection *connection, size_t head)
{
	struct request request;
	return request_parse(connection->head, head, &request) == 0 ? request.content_length : 0;
}

static void take_bytes(struct connection *connection, const uint8_t *data, size_t size)
{
	if (connection->state != STATE_HEAD) {
		take_frames(connection, data, size);
		return;
	}
	size_t take = sizeof(connection->head) - connection->head_size;
	if (take > size)
		take = size;
	memcpy(connection->head + connection->head_size, data, take);
	size_t before = connection->head_size;
	connection->head_size += take;
	size_t head = request_head_size(connection->head, connection->head_size);
	if (head == 0 || connection->head_size - head < body_size(connection, head)) {
		if (connection->head_size == sizeof(connection->head))
			respond_error(connection, 400);
		return;
	}
	size_t used = head + body_size(connection, head) - before;
	take_request(connection, head);
	take_frames(connection, data + used, size - used);
}

/* -- time ------------------------------------------------------------------------------------- */

void connection_drop(struct connection *connection)
{
	lws_set_timeout(connection->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}

static void tick_lifetime(struct connection *connection, uint64_t now_ms)
{
	const struct options *options = connection->server->options;
	uint64_t age_ms = now_ms - connection->opened_ms,
		 notice_ms = options->lifetime_ms > options->go_away_ms ? options->lifetime_ms - options->go_away_ms : 0;
	if (options->lifetime_ms == 0 || !connection->talk.ready)
		return;
	if (!connection->went_away && age_ms >= notice_ms) {
		connection->went_away = true;
		message_go_away(&connection->talk.text, options->lifetime_ms - (uint32_t)notice_ms);
		connection_send(connection, &connection->talk.text);
	}
	if (age_ms >= options->lifetime_ms)
		connection_close(connection, 1008,
			"Connection aborted because the client failed to close the connection after receiving a GoAway signal "
			"once the session duration was "
			"exceeded.");
}

static void tick(struct connection *connection, uint64_t now_ms)
{
	const struct server *server = connection->server;
	if (connection->deadline_ms != 0 && now_ms >= connection->deadline_ms && connection->state != STATE_STUCK) {
		connection_drop(connection);
		return;
	}
	if (connection->hold_until_ms != 0 && now_ms >= connection->hold_until_ms) {
		connection->hold_until_ms = 0;
		lws_callback_on_writable(connection->wsi);
	}
	if (connection->state != STATE_OPEN)
		return;
	connection->faulty = connection->persona != NULL && fault_hits(server->options, connection->persona, connection->number);
	connection->talk.rules = connection->faulty ? &server->options->rules : &server->options->clean;
	talk_tick(&connection->talk, now_ms);
	fault_tick_pongs(connection, now_ms);
	if (connection->state == STATE_OPEN)
		tick_lifetime(connection, now_ms);
	if (connection->state == STATE_OPEN && connection->faulty)
		fault_tick(connection, now_ms);
}

void connection_tick_all(struct server *server, uint64_t now_ms)
{
	for (struct connection *connection = server->connections, *next; connection != NULL; connection = next) {
		next = connection->next;
		tick(connection, now_ms);
	}
}

/* -- libwebsockets ---------------------------------------------------------------------------- */

static struct connection *create(struct server *server, struct lws *wsi)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	if (connection == NULL)
		return NULL;
	connection->server = server;
	connection->wsi = wsi;
	connection->last = &connection->first;
	connection->deadline_ms = server_now_ms(server) + HEAD_WAIT_MS;
	connection->next = server->connections;
	connection->link = &server->connections;
	if (connection->next != NULL)
		connection->next->link = &connection->next;
	server->connections = connection;
	return connection;
}

static void destroy(struct connection *connection)
{
	uint64_t now_ms = server_now_ms(connection->server);
	count_close(connection, 1006);
	if (connection->upgraded) {
		talk_clear(&connection->talk, now_ms);
		if (connection->persona != NULL)
			connection->persona->counters.open--;
	}
	if (connection->heard != NULL)
		heard_end(connection->heard);
	frame_reader_clear(&connection->reader);
	while (connection->first != NULL) {
		struct output *output = connection->first;
		connection->first = output->next;
		free(output);
	}
	*connection->link = connection->next;
	if (connection->next != NULL)
		connection->next->link = connection->link;
	free(connection);
}

/* Write one queued item. Returns -1 to close the socket. */
static int write_next(struct connection *connection)
{
	struct output *output = connection->first;
	if (connection->state == STATE_STUCK || connection->hold_until_ms != 0)
		return 0;
	if (output == NULL)
		return connection->state == STATE_DONE ? -1 : 0;
	connection->first = output->next;
	if (connection->first == NULL)
		connection->last = &connection->first;
	int written = lws_write(connection->wsi, output->data + LWS_PRE, output->size, LWS_WRITE_RAW);
	size_t size = output->size;
	if (output->interrupted && connection->server->options->verbose)
		vl_log_always("interrupted %s at %llu us", connection->persona->label, (unsigned long long)(uv_hrtime() / 1000));
	if (output->answers)
		vl_log_always("answered %s: last sound heard at %llu us, first audio sent at %llu us", connection->persona->label,
			(unsigned long long)connection->loud_us, (unsigned long long)(uv_hrtime() / 1000));
	free(output);
	if (written < (int)size)
		return -1;
	lws_callback_on_writable(connection->wsi);
	return 0;
}

int connection_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
	struct connection **slot = user;
	struct server *server = lws_context_user(lws_get_context(wsi));
	switch (reason) {
	case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS:
		server->tls = user;
		return 0;
	case LWS_CALLBACK_RAW_ADOPT:
		*slot = create(server, wsi);
		return *slot ? 0 : -1;
	case LWS_CALLBACK_RAW_RX:
		if (*slot != NULL && (*slot)->state != STATE_STUCK)
			take_bytes(*slot, in, size);
		return 0;
	case LWS_CALLBACK_RAW_WRITEABLE:
		return *slot != NULL ? write_next(*slot) : 0;
	case LWS_CALLBACK_RAW_CLOSE:
		if (slot != NULL && *slot != NULL)
			destroy(*slot);
		if (slot != NULL)
			*slot = NULL;
		return 0;
	default:
		return 0;
	}
}
