/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control request: change timing, faults and the certificate of a running emulator, or hit open connections once. On the
 * statistics port only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connection_internal.h"

static void reset(struct server *server)
{
	options_restore(server->options, &server->initial);
	server_use_certificate(server, server->initial.cert, server->initial.key);
}

/* One NAME=VALUE. Returns 0 or -EINVAL after a sentence on `errors`. */
static int take(struct server *server, const char *name, const char *value, int *hit, FILE *errors)
{
	int result;
	if (strcmp(name, "reset") == 0) {
		reset(server);
		return 0;
	}
	if (strcmp(name, "now") == 0) {
		result = fault_now(server, value, errors);
		*hit += result > 0 ? result : 0;
		return result < 0 ? result : 0;
	}
	result = options_change(server->options, name, value, errors);
	/* Each session's first resumptions are counted from now on. */
	if (result == 0 && strcmp(name, "refuse-resume") == 0)
		registry_forget_refusals(server->registry);
	return result;
}

void control_take(struct connection *connection, const struct request *request)
{
	struct server *server = connection->server;
	char name[64], value[REQUEST_FIELD_MAX], cert[REQUEST_FIELD_MAX] = "", key[REQUEST_FIELD_MAX] = "", *said = NULL,
						 answer[64];
	const char *at = request->query;
	size_t said_size;
	int hit = 0, result = 0;
	FILE *errors = open_memstream(&said, &said_size);
	if (errors == NULL)
		return;
	while (result == 0 && request_parameter(&at, name, sizeof(name), value, sizeof(value))) {
		if (strcmp(name, "cert") == 0)
			snprintf(cert, sizeof(cert), "%s", value);
		else if (strcmp(name, "key") == 0)
			snprintf(key, sizeof(key), "%s", value);
		else
			result = take(server, name, value, &hit, errors);
	}
	if (result == 0 && (cert[0] != '\0' || key[0] != '\0') && server_use_certificate(server, cert, key) != 0) {
		fprintf(errors, "certificate or key cannot be used\n");
		result = -EINVAL;
	}
	fclose(errors);
	snprintf(answer, sizeof(answer), "{\"hit\": %d}\n", hit);
	if (result == 0)
		connection_respond(connection, 200, "OK", "application/json", answer);
	else
		connection_respond(connection, 400, "Bad Request", "text/plain", said);
	free(said);
}
