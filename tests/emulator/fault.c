/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The misbehaviour of connections: what the settings ask for as time goes by, and what the control request asks for at once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "connection_internal.h"

bool fault_hits(const struct options *options, const struct persona *persona, uint64_t number)
{
	if (persona == NULL)
		return options->fault_label == NULL;
	return number % options->fault_every == 0 &&
	       (options->fault_label == NULL || strcmp(options->fault_label, persona->label) == 0);
}

/* Dissolving the association makes Linux send RST at once; libwebsockets' own way out would send FIN first. */
static void reset_tcp(struct connection *connection)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	connect(lws_get_socket_fd(connection->wsi), &nobody, sizeof(nobody));
	connection_drop(connection);
}

static void half_open(struct connection *connection)
{
	lws_rx_flow_control(connection->wsi, 0);
	connection->state = STATE_STUCK;
}

/* As behind a proxy, or a process that stands still: TCP goes on. */
static void freeze(struct connection *connection)
{
	connection->state = STATE_STUCK;
}

static void send_error(struct connection *connection, unsigned code, const char *reason)
{
	message_error(&connection->talk.text, code, reason);
	connection_send(connection, &connection->talk.text);
}

static void go_away(struct connection *connection, uint32_t left_ms)
{
	message_go_away(&connection->talk.text, left_ms);
	connection_send(connection, &connection->talk.text);
}

void fault_tick(struct connection *connection, uint64_t now_ms)
{
	const struct fault_rules *faults = &connection->server->options->faults;
	uint64_t age_ms = now_ms - connection->opened_ms;
	if (faults->error_after_ms > 0 && age_ms >= faults->error_after_ms && !connection->error_sent) {
		connection->error_sent = true;
		send_error(connection, faults->error_code, faults->error_reason);
	}
	if (faults->close_after_ms > 0 && age_ms >= faults->close_after_ms)
		connection_close(connection, faults->close_code, faults->close_reason);
	if (now_ms >= connection->next_draw_ms) {
		uint32_t drawn;
		connection->next_draw_ms = now_ms + 1000;
		server_random(connection->server, &drawn, sizeof(drawn));
		if (drawn / 4294967296.0 < faults->random_1011)
			connection_close(connection, 1011, "Internal error encountered.");
	}
	if (faults->tcp_reset_after_ms > 0 && age_ms >= faults->tcp_reset_after_ms)
		reset_tcp(connection);
	else if (faults->half_open_after_ms > 0 && age_ms >= faults->half_open_after_ms)
		half_open(connection);
}

void fault_take_ping(struct connection *connection, uint64_t now_ms)
{
	const struct fault_rules *faults = &connection->server->options->faults;
	if (!connection->faulty || faults->pong_delay_ms == 0) {
		connection_pong(connection, connection->reader.data, connection->reader.size);
		return;
	}
	if (connection->pong_count == CONNECTION_PONGS_MAX)
		return;
	struct pong *pong = &connection->pongs[connection->pong_count++];
	pong->due_ms = now_ms + faults->pong_delay_ms;
	pong->size = connection->reader.size;
	memcpy(pong->data, connection->reader.data, pong->size);
}

void fault_tick_pongs(struct connection *connection, uint64_t now_ms)
{
	while (connection->pong_count > 0 && connection->pongs[0].due_ms <= now_ms) {
		connection_pong(connection, connection->pongs[0].data, connection->pongs[0].size);
		connection->pong_count--;
		memmove(connection->pongs, connection->pongs + 1, connection->pong_count * sizeof(connection->pongs[0]));
	}
}

/* "close:CODE:REASON", "error:CODE:REASON", "tcp-reset", "half-open", "freeze", "interrupt", "go-away:MS"; and "expire-tokens", which hits no connection */
enum act { ACT_CLOSE, ACT_ERROR, ACT_TCP_RESET, ACT_HALF_OPEN, ACT_FREEZE, ACT_INTERRUPT, ACT_GO_AWAY, ACTS };

static int read_act(const char *what, unsigned *number, const char **reason)
{
	static const char *const names[ACTS] = {"close", "error", "tcp-reset", "half-open", "freeze", "interrupt", "go-away"};
	size_t size = strcspn(what, ":");
	char *end = (char *)what + size;
	*number = 0;
	if (*end == ':')
		*number = (unsigned)strtoul(end + 1, &end, 10);
	*reason = *end == ':' ? end + 1 : "";
	for (int act = 0; act < ACTS; act++) {
		if (strlen(names[act]) != size || memcmp(names[act], what, size) != 0)
			continue;
		if (act == ACT_CLOSE && (*number < 1000 || *number > 4999))
			return -EINVAL;
		return *end == '\0' || *end == ':' ? act : -EINVAL;
	}
	return -EINVAL;
}

int fault_now(struct server *server, const char *what, FILE *errors)
{
	unsigned number;
	const char *reason;
	int act = read_act(what, &number, &reason), hit = 0;
	if (strcmp(what, "expire-tokens") == 0)
		return server->tokens != NULL ? (int)token_expire_all(server->tokens, server_now_ms(server)) : 0;
	if (act < 0) {
		fprintf(errors,
			"now: close:CODE:REASON, error:CODE:REASON, tcp-reset, half-open, freeze, interrupt, go-away:MS or "
			"expire-tokens, not \"%s\"\n",
			what);
		return act;
	}
	for (struct connection *connection = server->connections, *next; connection != NULL; connection = next) {
		next = connection->next;
		if (connection->state != STATE_OPEN || !fault_hits(server->options, connection->persona, connection->number))
			continue;
		hit++;
		switch (act) {
		case ACT_CLOSE:
			connection_close(connection, number, reason);
			break;
		case ACT_ERROR:
			send_error(connection, number, reason);
			break;
		case ACT_TCP_RESET:
			reset_tcp(connection);
			break;
		case ACT_HALF_OPEN:
			half_open(connection);
			break;
		case ACT_FREEZE:
			freeze(connection);
			break;
		case ACT_INTERRUPT:
			talk_interrupt(&connection->talk);
			break;
		default:
			go_away(connection, number);
			break;
		}
	}
	return hit;
}
