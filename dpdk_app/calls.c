/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry of calls. Indices wait in a first-in-first-out queue, so the one that rests longest is used first, and each
 * keeps its own generation counter: a packet or a record that names an old call can never name a new one.
 */
#include "calls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "../shared/channel.h"
#include "tool_requests.h"

struct calls_user {
	char name[CALL_USER_SIZE];
	struct call *first;
	UT_hash_handle hh;
};

struct calls_free_index {
	uint32_t index;
	uint64_t usable_ms;
};

struct calls {
	uint32_t max, count;
	uint32_t of_lcore[VL_CHANNEL_LCORES_MAX]; /* calls that each packet lcore sends */
	uint32_t quarantine_ms;
	struct call **at;		/* by index */
	uint32_t *generations;		/* last one given out, by index */
	struct calls_free_index *queue; /* of `max` entries, the oldest at `head` */
	uint32_t head, waiting;
	struct call *by_uuid;
	struct calls_user *users;
};

struct calls *calls_new(uint32_t max_calls, uint32_t quarantine_ms)
{
	struct calls *calls = calloc(1, sizeof(*calls));

	if (calls == NULL)
		return NULL;
	calls->max = max_calls;
	calls->quarantine_ms = quarantine_ms;
	calls->at = calloc(max_calls, sizeof(*calls->at));
	calls->generations = calloc(max_calls, sizeof(*calls->generations));
	calls->queue = calloc(max_calls, sizeof(*calls->queue));
	if (calls->at == NULL || calls->generations == NULL || calls->queue == NULL) {
		calls_free(calls);
		errno = ENOMEM;
		return NULL;
	}
	for (uint32_t i = 0; i < max_calls; i++)
		calls->queue[i].index = i;
	calls->waiting = max_calls;
	return calls;
}

static void unlink_call(struct calls *calls, struct call *call)
{
	struct calls_user *user = call->of_user;

	HASH_DELETE(by_uuid, calls->by_uuid, call);
	DL_DELETE2(user->first, call, user_prev, user_next);
	if (user->first == NULL) {
		HASH_DEL(calls->users, user);
		free(user);
	}
	calls->at[call->ref.index] = NULL;
	calls->count--;
	if (call->on_lcore)
		calls->of_lcore[call->lcore]--;
}

void calls_free(struct calls *calls)
{
	struct call *call, *next;

	if (calls == NULL)
		return;
	HASH_ITER(by_uuid, calls->by_uuid, call, next)
	{
		unlink_call(calls, call);
		tool_requests_free(&call->tools);
		free(call);
	}
	free(calls->at);
	free(calls->generations);
	free(calls->queue);
	free(calls);
}

static void format_uuid(const uint8_t random[16], char uuid[CALL_UUID_SIZE])
{
	uint8_t b[16];

	memcpy(b, random, sizeof(b));
	b[6] = (b[6] & 0x0f) | 0x40; /* version 4 */
	b[8] = (b[8] & 0x3f) | 0x80; /* variant of RFC 9562 */
	snprintf(uuid, CALL_UUID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
		b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static struct calls_user *get_user(struct calls *calls, const char *name)
{
	struct calls_user *user;

	HASH_FIND_STR(calls->users, name, user);
	if (user != NULL)
		return user;
	user = calloc(1, sizeof(*user));
	if (user == NULL)
		return NULL;
	strcpy(user->name, name);
	HASH_ADD_STR(calls->users, name, user);
	return user;
}

struct call *calls_add(struct calls *calls, const char *name, const uint8_t random[16], uint64_t now_ms)
{
	struct calls_free_index *free_index = &calls->queue[calls->head];
	size_t name_len = strlen(name);
	struct calls_user *user;
	struct call *call;

	if (name_len == 0 || name_len >= CALL_USER_SIZE) {
		errno = EINVAL;
		return NULL;
	}
	if (calls->waiting == 0 || now_ms < free_index->usable_ms) {
		errno = ENOSPC;
		return NULL;
	}
	call = calloc(1, sizeof(*call));
	if (call == NULL)
		return NULL;
	format_uuid(random, call->uuid);
	if (calls_find_uuid(calls, call->uuid) != NULL) {
		free(call);
		errno = EEXIST;
		return NULL;
	}
	user = get_user(calls, name);
	if (user == NULL) {
		free(call);
		return NULL;
	}
	strcpy(call->user, name);
	call->ref.index = free_index->index;
	if (++calls->generations[call->ref.index] == 0)
		calls->generations[call->ref.index] = 1; /* 0 means free everywhere */
	call->ref.generation = calls->generations[call->ref.index];
	call->worker = CALL_NO_WORKER;
	call->created_ms = now_ms;
	calls->head = (calls->head + 1) % calls->max;
	calls->waiting--;
	calls->at[call->ref.index] = call;
	calls->count++;
	call->of_user = user;
	DL_APPEND2(user->first, call, user_prev, user_next);
	HASH_ADD(by_uuid, calls->by_uuid, uuid, CALL_UUID_SIZE - 1, call);
	return call;
}

void calls_give_lcore(struct calls *calls, struct call *call, unsigned int lcores)
{
	uint8_t least = 0;

	for (unsigned int i = 1; i < lcores; i++) {
		if (calls->of_lcore[i] < calls->of_lcore[least])
			least = (uint8_t)i;
	}
	call->lcore = least;
	call->on_lcore = true;
	calls->of_lcore[least]++;
}

void calls_remove(struct calls *calls, struct call *call, uint64_t now_ms)
{
	uint32_t tail = (uint32_t)(((uint64_t)calls->head + calls->waiting) % calls->max);

	calls->queue[tail].index = call->ref.index;
	calls->queue[tail].usable_ms = now_ms + calls->quarantine_ms;
	calls->waiting++;
	unlink_call(calls, call);
	tool_requests_free(&call->tools);
	free(call);
}

void calls_cancel(struct calls *calls, struct call *call)
{
	calls->head = calls->head > 0 ? calls->head - 1 : calls->max - 1;
	calls->queue[calls->head] = (struct calls_free_index){.index = call->ref.index};
	calls->waiting++;
	unlink_call(calls, call);
	free(call);
}

struct call *calls_at(const struct calls *calls, uint32_t index)
{
	return index < calls->max ? calls->at[index] : NULL;
}

struct call *calls_find(const struct calls *calls, struct session_ref ref)
{
	struct call *call = calls_at(calls, ref.index);

	return call != NULL && call->ref.generation == ref.generation ? call : NULL;
}

struct call *calls_find_uuid(const struct calls *calls, const char *uuid)
{
	struct call *call;

	HASH_FIND(by_uuid, calls->by_uuid, uuid, strlen(uuid), call);
	return call;
}

struct call *calls_of_user(const struct calls *calls, const char *name)
{
	struct calls_user *user;

	HASH_FIND_STR(calls->users, name, user);
	return user != NULL ? user->first : NULL;
}

struct call *calls_next(const struct calls *calls, const struct call *call)
{
	return call != NULL ? call->by_uuid.next : calls->by_uuid;
}

size_t calls_page(const struct calls *calls, const char *after, struct call **page, size_t limit)
{
	size_t count = 0;

	if (limit == 0)
		return 0;
	for (struct call *call = calls->by_uuid; call != NULL; call = call->by_uuid.next) {
		size_t at = count;

		if (strcmp(call->uuid, after) <= 0 || (count == limit && strcmp(call->uuid, page[count - 1]->uuid) > 0))
			continue;
		if (count < limit)
			count++;
		else
			at--;
		for (; at > 0 && strcmp(page[at - 1]->uuid, call->uuid) > 0; at--)
			page[at] = page[at - 1];
		page[at] = call;
	}
	return count;
}

uint32_t calls_count(const struct calls *calls)
{
	return calls->count;
}

uint32_t calls_max(const struct calls *calls)
{
	return calls->max;
}
