/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers' socket. A connection owns one slot from accept until no lcore can touch its channel any more. Nothing is torn
 * down in the middle of a turn: whatever goes wrong with a worker marks it doomed, and the end of the turn cuts it off, so that
 * callers of this module may go on using a slot they were just given.
 */
#include "workers_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../shared/log.h"
#include "../shared/spare.h"
#include "worker_messages.h"
#include "worker_outbox.h"

static const char *worker_label(const struct worker *worker)
{
	return worker->name[0] != 0 ? worker->name : "(no hello yet)";
}

struct workers *workers_new(
	const struct workers_settings *settings, struct calls *calls, const struct workers_ops *ops, void *context)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = WORKERS_SLOTS};
	struct workers *workers = calloc(1, sizeof(*workers));
	int error;

	if (workers == NULL)
		return NULL;
	workers->settings = *settings;
	workers->calls = calls;
	workers->ops = *ops;
	workers->context = context;
	workers->listener = -1;
	workers->spare = vl_spare_open();
	workers->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (workers->epoll < 0) {
		error = errno;
		goto fail;
	}
	workers->listener = vl_link_listen(settings->path, settings->mode);
	if (workers->listener < 0) {
		error = -workers->listener;
		goto fail;
	}
	workers->path = strdup(settings->path);
	if (workers->path == NULL || epoll_ctl(workers->epoll, EPOLL_CTL_ADD, workers->listener, &event) < 0) {
		error = errno;
		goto fail;
	}
	return workers;
fail:
	workers_free(workers);
	errno = error;
	return NULL;
}

/* Close everything but the channel. */
static void close_link(struct workers *workers, struct worker *worker)
{
	if (worker->link >= 0)
		close(worker->link); /* leaves the epoll set with it */
	if (worker->doorbell >= 0)
		close(worker->doorbell);
	worker->link = -1;
	worker->doorbell = -1;
	worker_outbox_drop(worker);
	worker_drop_users(workers, worker);
}

static void free_slot(struct worker *worker)
{
	vl_channel_unmap(&worker->channel);
	memset(worker, 0, sizeof(*worker));
}

void workers_free(struct workers *workers)
{
	struct project *project, *next;

	if (workers == NULL)
		return;
	for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++) {
		struct worker *worker = &workers->workers[slot];

		if (worker->state == WORKER_FREE)
			continue;
		close_link(workers, worker);
		free_slot(worker);
	}
	HASH_ITER(hh, workers->projects, project, next)
	{
		HASH_DEL(workers->projects, project);
		free(project);
	}
	if (workers->listener >= 0)
		close(workers->listener);
	if (workers->path != NULL)
		unlink(workers->path);
	if (workers->epoll >= 0)
		close(workers->epoll);
	if (workers->spare >= 0)
		close(workers->spare);
	free(workers->path);
	free(workers);
}

int workers_fd(const struct workers *workers)
{
	return workers->epoll;
}

/* Ring the doorbell of a worker that sleeps on caller audio; look for rings it broke. */
static void watch_rings(struct worker *worker)
{
	static const uint64_t one = 1;
	uint32_t waiting = 0;

	for (unsigned int i = 0; i < worker->channel.lcores; i++) {
		waiting |= vl_ring_count(&worker->channel.up[i]);
		if (vl_ring_is_broken(&worker->channel.up[i]) || vl_ring_is_broken(&worker->channel.down[i]))
			worker_doom(worker, "it broke the rules of its ring pair %u", i);
	}
	/* Pairs with the worker's store before it blocks; a sleep seen one turn late is rung in the next. */
	if (waiting == 0 || atomic_load_explicit(worker->channel.worker_sleeps, memory_order_acquire) == 0)
		return;
	if (write(worker->doorbell, &one, sizeof(one)) == (ssize_t)sizeof(one))
		worker->doorbells++;
}

static void tend(struct workers *workers, unsigned int slot, uint64_t now_ms)
{
	struct worker *worker = &workers->workers[slot];

	if (worker->state == WORKER_NEW) {
		if (now_ms >= worker->connected_ms + WORKERS_HELLO_MS)
			worker_doom(worker, "it did not say hello within %u ms", WORKERS_HELLO_MS);
		return;
	}
	worker_outbox_flush(worker);
	watch_rings(worker);
	if (now_ms >= worker->heard_ms + workers->settings.timeout_ms)
		worker_doom(worker, "it said nothing for %u ms", workers->settings.timeout_ms);
	else if (now_ms >= worker->pinged_ms + WORKERS_PING_MS) {
		worker->pinged_ms = now_ms;
		worker_outbox_send(worker, worker_message_ping(++worker->ping_number));
	}
}

static void leave(struct workers *workers, unsigned int slot)
{
	struct worker *worker = &workers->workers[slot];
	bool attached = worker->state == WORKER_ATTACHED;

	close_link(workers, worker);
	if (!attached) {
		vl_log_warning("worker %s (pid %d) refused: %s", worker_label(worker), (int)worker->peer.pid, worker->doomed);
		free_slot(worker);
		return;
	}
	vl_log_always("worker %s (pid %d) lost: %s", worker->name, (int)worker->peer.pid, worker->doomed);
	worker->state = WORKER_LEAVING;
	worker->calls = 0;
	workers->ops.lost(workers->context, slot, worker->name, worker->doomed);
}

void workers_run(struct workers *workers, uint64_t now_ms)
{
	struct epoll_event events[WORKERS_SLOTS + 1];
	int count = epoll_wait(workers->epoll, events, WORKERS_SLOTS + 1, 0);
	bool arrivals = false;

	/* Links before the listener: a worker that was killed and is back finds its name free again. */
	for (int i = 0; i < count; i++) {
		if (events[i].data.u32 == WORKERS_SLOTS)
			arrivals = true;
		else
			worker_receive(workers, events[i].data.u32, now_ms);
	}
	if (arrivals)
		worker_accept(workers, now_ms);
	for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++) {
		struct worker *worker = &workers->workers[slot];

		if (worker->state == WORKER_NEW || worker->state == WORKER_ATTACHED) {
			tend(workers, slot, now_ms);
			if (worker->doomed[0] != 0)
				leave(workers, slot);
		}
		if (worker->state == WORKER_LEAVING && workers->ops.detach(workers->context, slot))
			free_slot(worker);
	}
}

static bool usable(const struct worker *worker)
{
	return worker->state == WORKER_ATTACHED && worker->doomed[0] == 0;
}

int workers_choose(const struct workers *workers, const char *name)
{
	int best = -ENOENT;

	for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++) {
		const struct worker *worker = &workers->workers[slot], *chosen;
		struct worker_user *user;

		if (!usable(worker))
			continue;
		HASH_FIND_STR(worker->users, name, user);
		if (user == NULL)
			continue;
		if (worker->calls >= worker->capacity) {
			if (best < 0)
				best = -EBUSY;
			continue;
		}
		chosen = best >= 0 ? &workers->workers[best] : NULL;
		/* Compare the share of the capacity in use without dividing. */
		if (chosen == NULL || (uint64_t)worker->calls * chosen->capacity < (uint64_t)chosen->calls * worker->capacity)
			best = (int)slot;
	}
	return best;
}

bool workers_limited(struct workers *workers, unsigned int slot, const char *name, struct workers_limit *limit)
{
	struct worker_user *user;
	struct project *project;

	HASH_FIND_STR(workers->workers[slot].users, name, user);
	project = user != NULL ? user->project : NULL;
	if (project == NULL)
		return false;
	*limit = (struct workers_limit){.project = project, .max_calls = user->max_calls};
	for (unsigned int i = 0; i < WORKERS_SLOTS; i++) {
		if (!usable(&workers->workers[i]))
			continue;
		HASH_FIND_STR(workers->workers[i].users, name, user);
		if (user == NULL || user->project != project || user->max_calls == 0)
			continue;
		if (limit->max_calls == 0 || user->max_calls < limit->max_calls)
			limit->max_calls = user->max_calls;
	}
	if (limit->max_calls == 0 || project->calls < limit->max_calls)
		return false;
	project->refused++;
	return true;
}

void workers_forget(struct workers *workers, struct call *call)
{
	if (call->project == NULL)
		return;
	call->project->calls--;
	projects_release(&workers->projects, call->project);
	call->project = NULL;
}

/* The call counts for the user's project as this worker has it; one that goes on may have come from another's. */
static void count_call(struct workers *workers, const struct worker *worker, struct call *call)
{
	struct worker_user *user;

	workers_forget(workers, call);
	HASH_FIND_STR(worker->users, call->user, user);
	if (user == NULL || user->project == NULL)
		return;
	call->project = projects_share(user->project);
	call->project->calls++;
}

void workers_open(struct workers *workers, unsigned int slot, struct call *call)
{
	struct worker *worker = &workers->workers[slot];

	count_call(workers, worker, call);
	worker->calls++;
	worker->calls_opened++;
	worker_outbox_send(worker, worker_message_open(call));
}

void workers_close(struct workers *workers, unsigned int slot, const struct call *call, const char *reason)
{
	struct worker *worker = &workers->workers[slot];

	if (worker->state != WORKER_ATTACHED)
		return;
	if (worker->calls > 0)
		worker->calls--;
	worker_outbox_send(worker, worker_message_close(call->uuid, reason));
}

void workers_hold(struct workers *workers, unsigned int slot, const struct call *call)
{
	struct worker *worker = &workers->workers[slot];

	if (worker->state == WORKER_ATTACHED)
		worker_outbox_send(worker, worker_message_hold(call->uuid, call->held));
}

void workers_pause(struct workers *workers, unsigned int slot, const struct call *call, uint32_t ms)
{
	if (slot < WORKERS_SLOTS && workers->workers[slot].state == WORKER_ATTACHED)
		worker_outbox_send(&workers->workers[slot], worker_message_pause(call->uuid, ms));
}

void workers_tool_result(struct workers *workers, unsigned int slot, const struct call *call, const char *id, const cJSON *result,
	const char *error)
{
	if (slot < WORKERS_SLOTS && workers->workers[slot].state == WORKER_ATTACHED)
		worker_outbox_send(&workers->workers[slot], worker_message_tool_result(call->uuid, id, result, error));
}

void workers_listening(struct workers *workers, unsigned int slot, const struct call *call)
{
	struct worker *worker = &workers->workers[slot];

	if (worker->state == WORKER_ATTACHED)
		worker_outbox_send(worker, worker_message_listening(call->uuid, call->listening));
}

void workers_cut_off(struct workers *workers, unsigned int slot, const char *reason)
{
	if (slot < WORKERS_SLOTS && workers->workers[slot].state == WORKER_ATTACHED)
		worker_doom(&workers->workers[slot], "%s", reason);
}

const struct worker *workers_at(const struct workers *workers, unsigned int slot)
{
	return slot < WORKERS_SLOTS && workers->workers[slot].state == WORKER_ATTACHED ? &workers->workers[slot] : NULL;
}

unsigned int workers_count(const struct workers *workers)
{
	unsigned int count = 0;

	for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++)
		count += workers->workers[slot].state != WORKER_FREE;
	return count;
}

uint64_t workers_turned_away(const struct workers *workers)
{
	return workers->turned_away;
}

unsigned int workers_attached(const struct workers *workers)
{
	unsigned int count = 0;

	for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++)
		count += usable(&workers->workers[slot]);
	return count;
}

unsigned int workers_user_count(const struct workers *workers)
{
	unsigned int count = 0;

	for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++) {
		const struct worker_user *user = usable(&workers->workers[slot]) ? workers->workers[slot].users : NULL;

		for (; user != NULL; user = user->hh.next) {
			bool seen = false;

			for (unsigned int other = 0; other < slot && !seen; other++) {
				struct worker_user *same = NULL;

				if (usable(&workers->workers[other]))
					HASH_FIND_STR(workers->workers[other].users, user->name, same);
				seen = same != NULL;
			}
			count += !seen;
		}
	}
	return count;
}
