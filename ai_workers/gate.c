/* SPDX-License-Identifier: Apache-2.0 */
/* The queues and rates of gate.h. All lists are intrusive, so that asking and leaving cannot fail. */
#include "gate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

void gate_init(struct gate *g, const struct gate_config *config, uint32_t seed)
{
	*g = (struct gate){.config = *config, .random = seed != 0 ? seed : 1};
}

void gate_free(struct gate *g)
{
	struct gate_scope *scope, *next;

	HASH_ITER(hh, g->scopes, scope, next)
	{
		HASH_DEL(g->scopes, scope);
		free(scope);
	}
}

static uint32_t next_random(struct gate *g)
{
	g->random ^= g->random << 13;
	g->random ^= g->random >> 17;
	g->random ^= g->random << 5;
	return g->random;
}

static struct gate_scope *hold(struct gate *g, const char *label)
{
	struct gate_scope *scope;

	HASH_FIND_STR(g->scopes, label, scope);
	if (scope == NULL) {
		scope = calloc(1, sizeof(*scope));
		if (scope == NULL)
			return NULL;
		snprintf(scope->label, sizeof(scope->label), "%s", label);
		HASH_ADD_STR(g->scopes, label, scope);
	}
	scope->holders++;
	return scope;
}

/* Without holders a scope is kept for what it remembers; with nothing to remember it goes. */
static void release(struct gate *g, struct gate_scope *scope)
{
	if (scope == NULL || --scope->holders > 0 || scope->closed_until_ms != 0 || scope->dead_until_ms != 0 || scope->rate != 0)
		return;
	HASH_DEL(g->scopes, scope);
	free(scope);
}

int gate_join(struct gate *g, struct gate_ticket *t, const char *project, const char *key, unsigned int per_second)
{
	*t = (struct gate_ticket){.project = hold(g, project)};
	t->key = t->project != NULL ? hold(g, key) : NULL;
	if (t->key == NULL) {
		release(g, t->project);
		t->project = NULL;
		return -ENOMEM;
	}
	t->project->per_second = per_second;
	return 0;
}

static struct gate_ticket **queue_of(const struct gate_ticket *t)
{
	return t->talked ? &t->project->talked : &t->project->fresh;
}

static void enqueue(struct gate *g, struct gate_ticket *t)
{
	struct gate_ticket **queue = queue_of(t), *before = *queue != NULL ? (*queue)->prev : NULL;

	t->place = GATE_WAITING;
	g->waiting++;
	/* From the end: who asks last nearly always waits for the shortest time. */
	while (before != NULL && before->since_ms > t->since_ms)
		before = before == *queue ? NULL : before->prev;
	if (*queue == NULL)
		DL_APPEND(*queue, t);
	else if (before == NULL)
		DL_PREPEND(*queue, t);
	else
		DL_APPEND_ELEM(*queue, before, t);
	if (!t->project->listed)
		DL_APPEND(g->projects, t->project);
	t->project->listed = true;
}

static void dequeue(struct gate *g, struct gate_ticket *t)
{
	struct gate_scope *project = t->project;
	struct gate_ticket **queue = queue_of(t);

	DL_DELETE(*queue, t);
	t->place = GATE_OUTSIDE;
	g->waiting--;
	if (project->fresh != NULL || project->talked != NULL)
		return;
	DL_DELETE(g->projects, project);
	project->listed = false;
}

/* Whatever the place, out of it. */
static void step_out(struct gate *g, struct gate_ticket *t)
{
	if (t->place == GATE_WAITING)
		dequeue(g, t);
	else if (t->place == GATE_REFUSED)
		DL_DELETE(g->refused, t);
	else if (t->place == GATE_DIALLING)
		g->dialling--;
	t->place = GATE_OUTSIDE;
}

void gate_part(struct gate *g, struct gate_ticket *t)
{
	if (t->project == NULL)
		return;
	step_out(g, t);
	release(g, t->key);
	release(g, t->project);
	t->project = t->key = NULL;
}

/* The scope for which a new call is turned away, or NULL. */
static const struct gate_scope *barrier(const struct gate_ticket *t, uint64_t now_ms)
{
	if (now_ms < t->key->dead_until_ms)
		return t->key;
	if (now_ms < t->project->dead_until_ms || now_ms < t->project->closed_until_ms)
		return t->project;
	return NULL;
}

static void refuse(struct gate *g, struct gate_ticket *t)
{
	step_out(g, t);
	t->place = GATE_REFUSED;
	DL_APPEND(g->refused, t);
}

void gate_ask(struct gate *g, struct gate_ticket *t, uint64_t since_ms, bool talked, uint64_t now_ms)
{
	if (t->project == NULL)
		return;
	step_out(g, t);
	t->since_ms = since_ms;
	t->talked = talked;
	if (!talked && barrier(t, now_ms) != NULL)
		refuse(g, t);
	else
		enqueue(g, t);
}

/* The dials a second a project may begin now; 0: as many as the worker. */
static unsigned int rate_of(const struct gate_scope *project)
{
	if (project->rate == 0 || (project->per_second != 0 && project->per_second < project->rate))
		return project->per_second;
	return project->rate;
}

/* A dial of the project begins. */
static void pace(struct gate *g, struct gate_scope *project, uint64_t now_ms)
{
	uint64_t now_us = now_ms * 1000, oldest_us = now_us > GATE_CATCH_UP_US ? now_us - GATE_CATCH_UP_US : 0;
	unsigned int rate = rate_of(project);

	if (g->next_us < oldest_us)
		g->next_us = oldest_us;
	g->next_us += 1000000u / g->config.per_second;
	if (now_ms < project->closed_until_ms)
		project->next_us = now_us + GATE_TRICKLE_MS * 1000u;
	else if (rate != 0)
		project->next_us = now_us + 1000000u / rate;
}

/* The project's call that goes first: the longer wait, be it a new call or one that has talked. */
static struct gate_ticket *first_of(const struct gate_scope *project)
{
	if (project->fresh == NULL || (project->talked != NULL && project->talked->since_ms <= project->fresh->since_ms))
		return project->talked;
	return project->fresh;
}

struct gate_ticket *gate_next(struct gate *g, uint64_t now_ms, bool *granted)
{
	struct gate_ticket *t = g->refused;
	struct gate_scope *project;

	*granted = false;
	if (t != NULL) {
		step_out(g, t);
		return t;
	}
	if (g->dialling >= g->config.dials_max || now_ms * 1000 < g->next_us)
		return NULL;
	DL_FOREACH(g->projects, project)
	{
		if (now_ms * 1000 < project->next_us)
			continue;
		/* The others first next time. */
		DL_DELETE(g->projects, project);
		DL_APPEND(g->projects, project);
		t = first_of(project);
		dequeue(g, t);
		pace(g, project, now_ms);
		t->place = GATE_DIALLING;
		g->dialling++;
		*granted = true;
		return t;
	}
	return NULL;
}

void gate_reason(const struct gate_ticket *t, uint64_t now_ms, char text[GATE_REASON_SIZE])
{
	const struct gate_scope *scope = t->project != NULL ? barrier(t, now_ms) : NULL;
	uint64_t until_ms;

	if (scope == NULL) {
		snprintf(text, GATE_REASON_SIZE, "not dialled");
		return;
	}
	until_ms = now_ms < scope->dead_until_ms ? scope->dead_until_ms : scope->closed_until_ms;
	snprintf(text, GATE_REASON_SIZE, "%s %s for another %u s: %.79s", scope->label,
		now_ms < scope->dead_until_ms ? "is not dialled" : "is over its quota and not dialled",
		(unsigned int)((until_ms - now_ms + 999) / 1000), scope->reason);
}

void gate_opened(struct gate *g, struct gate_ticket *t)
{
	if (t->place != GATE_DIALLING)
		return;
	step_out(g, t);
	t->place = GATE_SETUP;
}

void gate_worked(struct gate *g, struct gate_ticket *t, uint64_t now_ms)
{
	struct gate_scope *project = t->project;

	if (t->place != GATE_SETUP)
		return;
	step_out(g, t);
	t->key->dead_until_ms = project->dead_until_ms = 0;
	/* The pause may end early: a call that had talked was let in. */
	if (now_ms < project->closed_until_ms)
		project->next_us = now_ms * 1000 + 1000000u / GATE_RATE_FIRST;
	project->closed_until_ms = 0;
	project->rate *= 2;
	if (project->rate >= GATE_RATE_MAX)
		project->rate = 0;
}

/* New calls that wait in the project's queue and can be dialled no more. */
static void refuse_waiting(struct gate *g, struct gate_scope *project, uint64_t now_ms)
{
	struct gate_ticket *t, *next;

	DL_FOREACH_SAFE(project->fresh, t, next)
	{
		if (barrier(t, now_ms) != NULL)
			refuse(g, t);
	}
}

static void keep_reason(struct gate_scope *scope, const char *reason)
{
	size_t i;

	for (i = 0; i + 1 < sizeof(scope->reason) && reason[i] != '\0'; i++)
		scope->reason[i] = reason[i] >= ' ' && reason[i] <= '~' ? reason[i] : '?';
	scope->reason[i] = '\0';
}

uint32_t gate_lost(struct gate *g, struct gate_ticket *t, enum close_class class, const char *reason, uint64_t now_ms)
{
	struct gate_scope *project = t->project;
	uint32_t closed_ms = 0;

	if (project == NULL)
		return 0;
	step_out(g, t);
	switch (class) {
	case CLOSE_THROTTLED:
		project->quota_refusals++;
		/* Those that were under way already do not make it longer. */
		if (now_ms + GATE_QUOTA_MS > project->closed_until_ms)
			closed_ms = GATE_QUOTA_MS + next_random(g) % GATE_QUOTA_JITTER_MS;
		if (closed_ms != 0)
			project->closed_until_ms = now_ms + closed_ms;
		project->rate = GATE_RATE_FIRST;
		project->next_us = (now_ms + GATE_TRICKLE_MS) * 1000;
		break;
	case CLOSE_FATAL_KEY:
		t->key->dead_until_ms = now_ms + GATE_DEAD_MS;
		keep_reason(t->key, reason);
		break;
	case CLOSE_FATAL_PROJECT:
		project->dead_until_ms = now_ms + GATE_DEAD_MS;
		break;
	default:
		return 0;
	}
	if (class != CLOSE_FATAL_KEY)
		keep_reason(project, reason);
	refuse_waiting(g, project, now_ms);
	return closed_ms;
}

void gate_forgive(struct gate *g)
{
	struct gate_scope *scope, *next;

	HASH_ITER(hh, g->scopes, scope, next)
	{
		scope->closed_until_ms = scope->dead_until_ms = scope->next_us = 0;
		scope->rate = 0;
		scope->holders++;
		release(g, scope);
	}
}
