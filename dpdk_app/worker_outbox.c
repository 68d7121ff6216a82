/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to a worker. The link's own buffer takes what an awake worker leaves in it for a moment; beyond that messages wait
 * here, bounded, because a worker that stopped reading would otherwise take the data plane's memory.
 */
#include "worker_outbox.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

struct worker_message {
	struct worker_message *next, *prev;
	size_t len;
	char text[];
};

void worker_doom(struct worker *worker, const char *format, ...)
{
	va_list arguments;

	if (worker->doomed[0] != 0)
		return;
	va_start(arguments, format);
	vsnprintf(worker->doomed, sizeof(worker->doomed), format, arguments);
	va_end(arguments);
}

void worker_outbox_drop(struct worker *worker)
{
	while (worker->backlog != NULL) {
		struct worker_message *message = worker->backlog;

		DL_DELETE(worker->backlog, message);
		free(message);
	}
	worker->backlog_count = 0;
	worker->backlog_bytes = 0;
}

static int keep(struct worker *worker, const char *text, size_t len)
{
	struct worker_message *message;

	if (worker->backlog_count >= WORKERS_BACKLOG_MESSAGES || worker->backlog_bytes + len > WORKERS_BACKLOG_BYTES)
		return -ENOBUFS;
	message = malloc(sizeof(*message) + len);
	if (message == NULL)
		return -ENOMEM;
	message->len = len;
	memcpy(message->text, text, len);
	DL_APPEND(worker->backlog, message);
	worker->backlog_count++;
	worker->backlog_bytes += len;
	return 0;
}

void worker_outbox_send(struct worker *worker, char *text)
{
	size_t len = text != NULL ? strlen(text) : 0;
	int result = -ENOMEM;

	if (text != NULL && worker->doomed[0] == 0) {
		result = worker->backlog == NULL ? vl_link_send(worker->link, text, len, NULL, 0) : -EAGAIN;
		if (result == -EAGAIN)
			result = keep(worker, text, len);
		worker->messages_out++;
	}
	if (result == -ENOBUFS)
		worker_doom(worker, "it does not read its link (%u messages waiting)", worker->backlog_count);
	else if (result < 0)
		worker_doom(worker, "sending to it failed: %s", strerror(-result));
	cJSON_free(text);
}

void worker_outbox_flush(struct worker *worker)
{
	while (worker->backlog != NULL) {
		struct worker_message *message = worker->backlog;
		int result = vl_link_send(worker->link, message->text, message->len, NULL, 0);

		if (result == -EAGAIN)
			return;
		if (result < 0) {
			worker_doom(worker, "sending to it failed: %s", strerror(-result));
			return;
		}
		worker->backlog_count--;
		worker->backlog_bytes -= message->len;
		DL_DELETE(worker->backlog, message);
		free(message);
	}
}
