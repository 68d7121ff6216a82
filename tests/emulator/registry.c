/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resumable sessions (see registry.h).
 */
#include "registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	char handle[REGISTRY_HANDLE_SIZE];
	struct session *session;
};

struct registry {
	struct entry *entries;
	size_t count, room;
	struct session **sessions;
	size_t session_count, session_room;
};

struct registry *registry_create(void)
{
	return calloc(1, sizeof(struct registry));
}

void registry_free(struct registry *registry)
{
	if (registry == NULL)
		return;
	for (size_t i = 0; i < registry->session_count; i++)
		free(registry->sessions[i]);
	free(registry->sessions);
	free(registry->entries);
	free(registry);
}

/* Make room for one more item of `size` bytes. */
static bool grow(void **items, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return true;
	size_t more = *room ? *room * 2 : 16;
	void *grown = realloc(*items, more * size);
	if (grown == NULL)
		return false;
	*items = grown;
	*room = more;
	return true;
}

struct session *registry_open(struct registry *registry, const struct persona *persona, const struct setup_model *model)
{
	if (!grow((void **)&registry->sessions, registry->session_count, &registry->session_room, sizeof(registry->sessions[0])))
		return NULL;
	struct session *session = calloc(1, sizeof(*session));
	if (session == NULL)
		return NULL;
	session->persona = persona;
	session->model = model;
	session->open = true;
	registry->sessions[registry->session_count++] = session;
	return session;
}

const char *registry_handle(struct registry *registry, struct session *session, const uint8_t random[16])
{
	if (!grow((void **)&registry->entries, registry->count, &registry->room, sizeof(registry->entries[0])))
		return NULL;
	struct entry *entry = &registry->entries[registry->count++];
	char *to = entry->handle;
	for (unsigned i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		to += snprintf(to, 3, "%02x", random[i]);
	}
	entry->session = session;
	return entry->handle;
}

enum registry_verdict registry_resume(struct registry *registry, const char *handle, const struct persona *persona,
	const struct setup_model *model, uint64_t now_ms, uint64_t lock_ms, unsigned refuse, struct session **found)
{
	struct session *session = NULL;
	for (size_t i = 0; i < registry->count && session == NULL; i++) {
		if (strcmp(registry->entries[i].handle, handle) == 0)
			session = registry->entries[i].session;
	}
	if (session == NULL)
		return REGISTRY_UNKNOWN;
	if (session->persona != persona)
		return REGISTRY_FOREIGN;
	if (session->refusals < refuse) {
		session->refusals++;
		return REGISTRY_BUSY;
	}
	if (session->open || session->model != model || (session->closed_idle && now_ms < session->closed_ms + lock_ms))
		return REGISTRY_BUSY;
	session->open = true;
	*found = session;
	return REGISTRY_OK;
}

void registry_close(struct session *session, bool idle, uint64_t now_ms)
{
	session->open = false;
	session->closed_idle = idle;
	session->closed_ms = now_ms;
}

void registry_forget_refusals(struct registry *registry)
{
	for (size_t i = 0; i < registry->session_count; i++)
		registry->sessions[i]->refusals = 0;
}
