/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See endpoint.h. The last good answer is kept when a later one fails.
 */
#include "endpoint.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../shared/log.h"

#define REFRESH_MS 60000u
#define RETRY_MS   2000u
#define START_WAIT_MS \
	2000u /* for the first answer: calls that begin then need not wait, and a dead name server holds up nothing */
#define ADDRESSES_MAX 16u

struct endpoint {
	struct wss_config config;
	char host[256], path[ENDPOINT_PATH_SIZE];
	const char *node; /* what is looked up: the host, or NULL for the loopback addresses */
	char addresses[ADDRESSES_MAX][INET6_ADDRSTRLEN];
	unsigned int count, current;
	bool resolving, waiting, destroyed, timer_closed, complained;
	uv_timer_t timer;
	uv_getaddrinfo_t request;
};

static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
static const char service[] = "0"; /* the port is known; getaddrinfo() wants one for a NULL node */

/* RFC 6761 6.3: localhost is the loopback interface by definition and is never asked for, be there an /etc/hosts or not. */
static bool is_localhost(const char *host)
{
	size_t len = strlen(host), suffix = strlen(".localhost");

	return strcasecmp(host, "localhost") == 0 || (len > suffix && strcasecmp(host + len - suffix, ".localhost") == 0);
}

static void take_addresses(struct endpoint *e, const struct addrinfo *list)
{
	char keep[INET6_ADDRSTRLEN];

	snprintf(keep, sizeof(keep), "%s", e->count > 0 ? e->addresses[e->current] : "");
	e->count = e->current = 0;
	for (; list != NULL && e->count < ADDRESSES_MAX; list = list->ai_next) {
		char *to = e->addresses[e->count];

		if (list->ai_family == AF_INET)
			inet_ntop(AF_INET, &((const struct sockaddr_in *)list->ai_addr)->sin_addr, to, INET6_ADDRSTRLEN);
		else if (list->ai_family == AF_INET6)
			inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)list->ai_addr)->sin6_addr, to, INET6_ADDRSTRLEN);
		else
			continue;
		/* Stay with the address that works. */
		if (strcmp(keep, to) == 0)
			e->current = e->count;
		e->count++;
	}
}

static void complain(struct endpoint *e, const char *why)
{
	if (!e->complained)
		vl_log_warning("endpoint: cannot resolve %s: %s", e->host, why);
	e->complained = true;
}

static void resolve(uv_timer_t *timer);

static void free_when_done(struct endpoint *e)
{
	if (e->destroyed && e->timer_closed && !e->resolving)
		free(e);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
	struct endpoint *e = request->data;

	e->resolving = false;
	if (status == 0 && !e->destroyed) {
		take_addresses(e, list);
		e->complained = false;
	} else if (!e->destroyed) {
		complain(e, uv_strerror(status));
	}
	uv_freeaddrinfo(list);
	if (!e->destroyed)
		uv_timer_start(&e->timer, resolve, e->count > 0 ? REFRESH_MS : RETRY_MS, 0);
	free_when_done(e);
}

static void resolve(uv_timer_t *timer)
{
	struct endpoint *e = timer->data;

	e->resolving = uv_getaddrinfo(timer->loop, &e->request, on_resolved, e->node, service, &hints) == 0;
	if (!e->resolving)
		uv_timer_start(&e->timer, resolve, RETRY_MS, 0);
}

static void on_waited(uv_timer_t *timer)
{
	struct endpoint *e = timer->data;

	e->waiting = false;
}

/*
 * The thread asks while the process may still load libraries: a name service plugin that is not loaded before system calls are
 * restricted never is.
 */
static void wait_for_first(struct endpoint *e)
{
	e->waiting = true;
	if (e->resolving)
		uv_timer_start(&e->timer, on_waited, START_WAIT_MS, 0);
	while (e->resolving && e->waiting)
		uv_run(e->timer.loop, UV_RUN_ONCE);
	e->waiting = false;
	if (e->resolving)
		complain(e, "no answer from the name server yet");
}

struct endpoint *endpoint_create(uv_loop_t *loop, const char *host, uint16_t port, const char *path, bool wait)
{
	struct endpoint *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	snprintf(e->host, sizeof(e->host), "%s", host);
	snprintf(e->path, sizeof(e->path), "%s", path);
	e->config = (struct wss_config){.host = e->host, .path = e->path, .port = port};
	e->node = is_localhost(e->host) ? NULL : e->host;
	uv_timer_init(loop, &e->timer);
	e->timer.data = e->request.data = e;
	resolve(&e->timer);
	if (wait)
		wait_for_first(e);
	return e;
}

static void on_timer_closed(uv_handle_t *timer)
{
	struct endpoint *e = timer->data;

	e->timer_closed = true;
	free_when_done(e);
}

void endpoint_destroy(struct endpoint *e)
{
	if (e == NULL)
		return;
	e->destroyed = true;
	if (e->resolving)
		uv_cancel((uv_req_t *)&e->request); /* not one that waits for a name server already */
	uv_close((uv_handle_t *)&e->timer, on_timer_closed);
}

const struct wss_config *endpoint_config(struct endpoint *e)
{
	e->config.address = e->count > 0 ? e->addresses[e->current] : NULL;
	return &e->config;
}

unsigned int endpoint_count(const struct endpoint *e)
{
	return e->count;
}

void endpoint_failed(struct endpoint *e, const char *address)
{
	if (e->count > 0 && address != NULL && strcmp(e->addresses[e->current], address) == 0)
		e->current = (e->current + 1) % e->count;
}

void endpoint_live_path(char path[ENDPOINT_PATH_SIZE], const char *api_version, bool vertex)
{
	if (vertex)
		snprintf(path, ENDPOINT_PATH_SIZE, "/ws/google.cloud.aiplatform.%s.LlmBidiService/BidiGenerateContent",
			api_version);
	else
		snprintf(path, ENDPOINT_PATH_SIZE, "/ws/google.ai.generativelanguage.%s.GenerativeService.BidiGenerateContent",
			api_version);
}
