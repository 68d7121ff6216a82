/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker says on its link. Messages are checked by worker_messages.c; here they reach what they are about, and a message
 * about a call reaches it only from the worker that has the call.
 */
#include "workers_internal.h"

#include <errno.h>
#include <string.h>

#include "../shared/log.h"
#include "worker_messages.h"
#include "worker_outbox.h"

#define MESSAGES_PER_TURN 64u /* read from one worker in one turn, so that none can keep the control thread */

/* The call a message names, if it is this worker's own. A call that ended a moment ago is no offence, somebody else's is. */
static struct call *own_call(struct workers *workers, unsigned int slot, const cJSON *body)
{
	struct worker *worker = &workers->workers[slot];
	const char *uuid = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, "session"));
	struct call *call = calls_find_uuid(workers->calls, uuid);

	if (call != NULL && call->worker == slot)
		return call;
	if (call != NULL) {
		worker->messages_foreign++;
		vl_log_warning("worker %s sent a message about session %s, which is not its own", worker->name, uuid);
	}
	return NULL;
}

static void take_attached(struct workers *workers, unsigned int slot, enum worker_message_kind kind, const cJSON *body)
{
	struct worker *worker = &workers->workers[slot];
	struct call *call;

	switch (kind) {
	case WORKER_MESSAGE_HELLO:
		worker_doom(worker, "it said hello twice");
		break;
	case WORKER_MESSAGE_USERS:
		worker_take_users(workers, slot, body);
		break;
	case WORKER_MESSAGE_PING:
		worker_outbox_send(worker, worker_message_pong((uint64_t)cJSON_GetNumberValue(body)));
		break;
	case WORKER_MESSAGE_PONG:
		break;
	case WORKER_MESSAGE_STATE:
	case WORKER_MESSAGE_TRANSCRIPT:
	case WORKER_MESSAGE_EVENT:
	case WORKER_MESSAGE_END:
	case WORKER_MESSAGE_DTMF:
		call = own_call(workers, slot, body);
		if (call == NULL)
			break;
		if (kind == WORKER_MESSAGE_STATE)
			workers->ops.state(workers->context, call, body);
		else if (kind == WORKER_MESSAGE_TRANSCRIPT)
			workers->ops.transcript(workers->context, call, body);
		else if (kind == WORKER_MESSAGE_EVENT)
			workers->ops.event(workers->context, call, body);
		else if (kind == WORKER_MESSAGE_DTMF)
			workers->ops.dtmf(workers->context, call, body);
		else
			workers->ops.end(workers->context, call, body);
		break;
	}
}

static void take_message(struct workers *workers, unsigned int slot, size_t len)
{
	struct worker *worker = &workers->workers[slot];
	enum worker_message_kind kind;
	struct vl_error error;
	const cJSON *body;
	cJSON *tree = worker_message_parse(workers->message, len, &kind, &body, &error);

	worker->messages_in++;
	if (tree == NULL && worker->state == WORKER_NEW) {
		worker_refuse(worker->link, error.text);
		worker_doom(worker, "its hello is wrong: %s", error.text);
	} else if (tree == NULL) {
		/* One wrong message costs that message, not every call of the worker. */
		worker->messages_refused++;
		vl_log_warning("worker %s sent a message that is refused: %s", worker->name, error.text);
	} else if (worker->state == WORKER_NEW && kind != WORKER_MESSAGE_HELLO) {
		worker_refuse(worker->link, "the first message must be hello");
		worker_doom(worker, "its first message was not hello");
	} else if (worker->state == WORKER_NEW) {
		worker_take_hello(workers, slot, body);
	} else {
		take_attached(workers, slot, kind, body);
	}
	cJSON_Delete(tree);
}

void worker_receive(struct workers *workers, unsigned int slot, uint64_t now_ms)
{
	struct worker *worker = &workers->workers[slot];

	for (unsigned int i = 0; i < MESSAGES_PER_TURN && worker->doomed[0] == 0; i++) {
		size_t fd_count = 0;
		ssize_t len = vl_link_receive(worker->link, workers->message, NULL, &fd_count);

		if (len == -EAGAIN)
			return;
		if (len == 0) {
			worker_doom(worker, "it closed its link");
		} else if (len < 0) {
			worker_doom(worker, "reading its link failed: %s", strerror((int)-len));
		} else {
			worker->heard_ms = now_ms;
			take_message(workers, slot, (size_t)len);
		}
	}
}
