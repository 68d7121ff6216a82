/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a connection becomes a worker: its hello is judged, its users are those its account may serve, and its channel is made and
 * handed to the lcores before the worker hears that it is welcome.
 */
#include "workers_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../shared/log.h"
#include "worker_messages.h"
#include "worker_outbox.h"

/* The first of the users that the worker's account may not serve; NULL when it may serve all. */
static const char *foreign_user(const struct workers *workers, const struct worker *worker, const cJSON *users)
{
	const struct config_shard *shard = worker_shard(workers, worker->peer.uid);
	const cJSON *item;

	if (shard == NULL)
		return NULL;
	cJSON_ArrayForEach(item, users)
	{
		struct worker_user_entry entry;

		worker_message_user(item, &entry);
		if (!config_shard_serves(shard, entry.name))
			return entry.name;
	}
	return NULL;
}

static void say_foreign(char reason[WORKER_REASON_SIZE], const struct worker *worker, const char *user)
{
	snprintf(reason, WORKER_REASON_SIZE, "user %s is not in workers.shards of its uid %u", user,
		(unsigned int)worker->peer.uid);
}

/* A user the worker serves, new or with another project or limit. */
static int add_user(struct workers *workers, struct worker *worker, const struct worker_user_entry *entry)
{
	struct project *project = NULL;
	struct worker_user *user;

	HASH_FIND_STR(worker->users, entry->name, user);
	if (user == NULL && worker->user_count >= WORKER_USERS_MAX)
		return -ENOSPC;
	if (entry->project != NULL) {
		project = projects_hold(&workers->projects, worker->peer.uid, entry->project);
		if (project == NULL)
			return -ENOMEM;
	}
	if (user == NULL) {
		user = calloc(1, sizeof(*user));
		if (user == NULL) {
			projects_release(&workers->projects, project);
			return -ENOMEM;
		}
		strcpy(user->name, entry->name); /* length checked with the message */
		HASH_ADD_STR(worker->users, name, user);
		worker->user_count++;
	}
	projects_release(&workers->projects, user->project);
	user->project = project;
	user->max_calls = entry->max_calls;
	return 0;
}

static int add_users(struct workers *workers, struct worker *worker, const cJSON *users)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, users)
	{
		struct worker_user_entry entry;
		int result;

		worker_message_user(item, &entry);
		result = add_user(workers, worker, &entry);
		if (result < 0)
			return result;
	}
	return 0;
}

void worker_drop_users(struct workers *workers, struct worker *worker)
{
	struct worker_user *user, *next;

	HASH_ITER(hh, worker->users, user, next)
	{
		HASH_DEL(worker->users, user);
		projects_release(&workers->projects, user->project);
		free(user);
	}
	worker->user_count = 0;
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

void worker_take_hello(struct workers *workers, unsigned int slot, const cJSON *body)
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
		result = add_users(workers, worker, users);
		if (result == 0)
			result = welcome(workers, slot);
		if (result < 0)
			snprintf(reason, sizeof(reason), "attaching failed: %s", strerror(-result));
	}
	if (reason[0] != 0) {
		worker_refuse(worker->link, reason);
		worker_doom(worker, "%s", reason);
		return;
	}
	vl_log_always("worker %s attached: pid %d, uid %u, slot %u, capacity %u calls, %u users", worker->name,
		(int)worker->peer.pid, (unsigned int)worker->peer.uid, slot, worker->capacity, worker->user_count);
	workers->ops.ready(workers->context, slot, true);
}

void worker_take_users(struct workers *workers, unsigned int slot, const cJSON *body)
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
	result = add_users(workers, worker, body);
	if (result < 0)
		worker_doom(worker, result == -ENOSPC ? "it claims more than %u users" : "no memory for its %u users",
			WORKER_USERS_MAX);
	workers->ops.ready(workers->context, slot, false);
}
