/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers' socket. A connection owns one slot from accept until no lcore can touch its channel any more. Nothing is torn
 * down in the middle of a turn: whatever goes wrong with a worker marks it doomed, and the end of the turn cuts it off, so that
 * callers of this module may go on using a slot they were just given.
 */
#include "workers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../shared/log.h"
#include "../shared/spare.h"
#include "worker_messages.h"
#include "worker_outbox.h"

#define MESSAGES_PER_TURN 64u /* read from one worker in one turn, so that none can keep the control thread */

struct workers {
	struct workers_settings settings;
	char *path;
	struct calls *calls;
	struct workers_ops ops;
	void *context;
	int listener, epoll;
	int spare; /* given up for a moment to turn a worker away when the process is out of descriptors */
	struct worker workers[WORKERS_SLOTS];
	char message[VL_LINK_MESSAGE_MAX + 1];
};

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

static void drop_users(struct worker *worker)
{
	struct worker_user *user, *next;

	HASH_ITER(hh, worker->users, user, next)
	{
		HASH_DEL(worker->users, user);
		free(user);
	}
	worker->user_count = 0;
}

/* Close everything but the channel. */
static void close_link(struct worker *worker)
{
	if (worker->link >= 0)
		close(worker->link); /* leaves the epoll set with it */
	if (worker->doorbell >= 0)
		close(worker->doorbell);
	worker->link = -1;
	worker->doorbell = -1;
	worker_outbox_drop(worker);
	drop_users(worker);
}

static void free_slot(struct worker *worker)
{
	vl_channel_unmap(&worker->channel);
	memset(worker, 0, sizeof(*worker));
}

void workers_free(struct workers *workers)
{
	if (workers == NULL)
		return;
	for (unsigned int slot = 0; slot < WORKERS_SLOTS; slot++) {
		struct worker *worker = &workers->workers[slot];

		if (worker->state == WORKER_FREE)
			continue;
		close_link(worker);
		free_slot(worker);
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

static const struct config_shard *shard_of(const struct workers *workers, uid_t uid)
{
	for (size_t i = 0; i < workers->settings.shard_count; i++) {
		if (workers->settings.shards[i].uid == uid)
			return &workers->settings.shards[i];
	}
	return NULL;
}

static bool uid_accepted(const struct workers *workers, uid_t uid)
{
	if (uid == 0 || uid == geteuid() || shard_of(workers, uid) != NULL)
		return true;
	for (size_t i = 0; i < workers->settings.uid_count; i++) {
		if (workers->settings.uids[i] == uid)
			return true;
	}
	return false;
}

/* Tell a peer that never became a worker why, and close. */
static void refuse(int link, const char *reason)
{
	char *text = worker_message_refused(reason);

	if (text != NULL)
		vl_link_send(link, text, strlen(text), NULL, 0);
	cJSON_free(text);
}

static void accept_workers(struct workers *workers, uint64_t now_ms)
{
	struct vl_link_peer peer;
	int link;

	while ((link = vl_link_accept(workers->listener, &peer)) >= 0) {
		struct epoll_event event = {.events = EPOLLIN};
		struct worker *worker = NULL;
		unsigned int slot;

		for (slot = 0; slot < workers->settings.max && worker == NULL; slot++) {
			if (workers->workers[slot].state == WORKER_FREE)
				worker = &workers->workers[slot];
		}
		event.data.u32 = slot - 1;
		if (!uid_accepted(workers, peer.uid)) {
			vl_log_warning("worker link: refused pid %d: uid %u is not in workers.uids or shards", (int)peer.pid,
				(unsigned int)peer.uid);
			refuse(link, "this uid is not in workers.uids or workers.shards of the data plane's configuration");
			close(link);
		} else if (worker == NULL || epoll_ctl(workers->epoll, EPOLL_CTL_ADD, link, &event) < 0) {
			vl_log_warning("worker link: refused pid %d: workers.max = %u are connected", (int)peer.pid,
				workers->settings.max);
			refuse(link, "the data plane has no room for another worker");
			close(link);
		} else {
			*worker = (struct worker){.state = WORKER_NEW,
				.link = link,
				.doorbell = -1,
				.peer = peer,
				.connected_ms = now_ms,
				.heard_ms = now_ms};
		}
	}
	if (vl_spare_needed(-link)) {
		vl_log_warning("worker link refused: the process has no descriptor left");
		vl_spare_turn_away(&workers->spare, workers->listener);
	}
}

/* The first of the users that the worker's account may not serve; NULL when it may serve all. */
static const char *foreign_user(const struct workers *workers, const struct worker *worker, const cJSON *users)
{
	const struct config_shard *shard = shard_of(workers, worker->peer.uid);
	const cJSON *item;

	if (shard == NULL)
		return NULL;
	cJSON_ArrayForEach(item, users)
	{
		if (!config_shard_serves(shard, item->valuestring))
			return item->valuestring;
	}
	return NULL;
}

static void say_foreign(char reason[WORKER_REASON_SIZE], const struct worker *worker, const char *user)
{
	snprintf(reason, WORKER_REASON_SIZE, "user %s is not in workers.shards of its uid %u", user,
		(unsigned int)worker->peer.uid);
}

static int add_users(struct worker *worker, const cJSON *users)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, users)
	{
		struct worker_user *user;

		HASH_FIND_STR(worker->users, item->valuestring, user);
		if (user != NULL)
			continue;
		if (worker->user_count >= WORKER_USERS_MAX)
			return -ENOSPC;
		user = calloc(1, sizeof(*user));
		if (user == NULL)
			return -ENOMEM;
		strcpy(user->name, item->valuestring); /* length checked with the message */
		HASH_ADD_STR(worker->users, name, user);
		worker->user_count++;
	}
	return 0;
}

/* Create the channel, hand it to the lcores and to the worker. Returns 0 or -errno. */
static int welcome(struct workers *workers, unsigned int slot)
{
	struct worker *worker = &workers->workers[slot];
	char *text = NULL;
	int fds[2], memfd, result;

	memfd = vl_channel_create(&worker->channel, workers->settings.lcores, workers->settings.ring_slots);
	if (memfd < 0)
		return memfd;
	worker->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->doorbell < 0) {
		result = -errno;
		goto out;
	}
	worker->state = WORKER_ATTACHED; /* from here on the lcores may know the channel: leaving goes through detach */
	result = workers->ops.attach(workers->context, slot, &worker->channel);
	if (result < 0)
		goto out;
	text = worker_message_welcome(VL_CHANNEL_ABI, workers->settings.node, workers->settings.lcores, workers->settings.tsc_hz);
	fds[0] = memfd;
	fds[1] = worker->doorbell;
	result = text != NULL ? vl_link_send(worker->link, text, strlen(text), fds, 2) : -ENOMEM;
	worker->messages_out++;
out:
	cJSON_free(text);
	close(memfd);
	return result;
}

static void take_hello(struct workers *workers, unsigned int slot, const cJSON *body)
{
	struct worker *worker = &workers->workers[slot];
	const cJSON *users = cJSON_GetObjectItemCaseSensitive(body, "users");
	const char *foreign = foreign_user(workers, worker, users);
	struct worker_hello hello;
	char reason[WORKER_REASON_SIZE] = "";
	int result;

	worker_message_hello(body, &hello);
	for (unsigned int i = 0; i < WORKERS_SLOTS; i++) {
		const struct worker *other = &workers->workers[i];

		if (other->state == WORKER_ATTACHED && other->doomed[0] == 0 && strcmp(other->name, hello.name) == 0)
			snprintf(reason, sizeof(reason), "a worker named %s is connected already (pid %d)", hello.name,
				(int)other->peer.pid);
	}
	if (hello.abi != VL_CHANNEL_ABI)
		snprintf(reason, sizeof(reason), "channel ABI %u is not spoken here; this data plane speaks %u", hello.abi,
			VL_CHANNEL_ABI);
	if (foreign != NULL)
		say_foreign(reason, worker, foreign);
	if (reason[0] == 0) {
		strcpy(worker->name, hello.name); /* length checked with the message */
		worker->capacity = hello.capacity;
		result = add_users(worker, users);
		if (result == 0)
			result = welcome(workers, slot);
		if (result < 0)
			snprintf(reason, sizeof(reason), "attaching failed: %s", strerror(-result));
	}
	if (reason[0] != 0) {
		refuse(worker->link, reason);
		worker_doom(worker, "%s", reason);
		return;
	}
	vl_log_always("worker %s attached: pid %d, uid %u, slot %u, capacity %u calls, %u users", worker->name,
		(int)worker->peer.pid, (unsigned int)worker->peer.uid, slot, worker->capacity, worker->user_count);
	workers->ops.ready(workers->context, slot, true);
}

static void take_users(struct workers *workers, unsigned int slot, const cJSON *body)
{
	struct worker *worker = &workers->workers[slot];
	const char *foreign = foreign_user(workers, worker, body);
	char reason[WORKER_REASON_SIZE];
	int result;

	if (foreign != NULL) {
		say_foreign(reason, worker, foreign);
		worker_doom(worker, "%s", reason);
		return;
	}
	result = add_users(worker, body);
	if (result < 0)
		worker_doom(worker, result == -ENOSPC ? "it claims more than %u users" : "no memory for its %u users",
			WORKER_USERS_MAX);
	workers->ops.ready(workers->context, slot, false);
}

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
		take_users(workers, slot, body);
		break;
	case WORKER_MESSAGE_PING:
		worker_outbox_send(worker, worker_message_pong((uint64_t)cJSON_GetNumberValue(body)));
		break;
	case WORKER_MESSAGE_PONG:
		break;
	case WORKER_MESSAGE_STATE:
	case WORKER_MESSAGE_TRANSCRIPT:
	case WORKER_MESSAGE_EVENT:
		call = own_call(workers, slot, body);
		if (call == NULL)
			break;
		if (kind == WORKER_MESSAGE_STATE)
			workers->ops.state(workers->context, call, body);
		else if (kind == WORKER_MESSAGE_TRANSCRIPT)
			workers->ops.transcript(workers->context, call, body);
		else
			workers->ops.event(workers->context, call, body);
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
		refuse(worker->link, error.text);
		worker_doom(worker, "its hello is wrong: %s", error.text);
	} else if (tree == NULL) {
		/* One wrong message costs that message, not every call of the worker. */
		worker->messages_refused++;
		vl_log_warning("worker %s sent a message that is refused: %s", worker->name, error.text);
	} else if (worker->state == WORKER_NEW && kind != WORKER_MESSAGE_HELLO) {
		refuse(worker->link, "the first message must be hello");
		worker_doom(worker, "its first message was not hello");
	} else if (worker->state == WORKER_NEW) {
		take_hello(workers, slot, body);
	} else {
		take_attached(workers, slot, kind, body);
	}
	cJSON_Delete(tree);
}

static void receive(struct workers *workers, unsigned int slot, uint64_t now_ms)
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

	close_link(worker);
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
			receive(workers, events[i].data.u32, now_ms);
	}
	if (arrivals)
		accept_workers(workers, now_ms);
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

void workers_open(struct workers *workers, unsigned int slot, const struct call *call)
{
	struct worker *worker = &workers->workers[slot];

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
