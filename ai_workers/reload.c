/* SPDX-License-Identifier: Apache-2.0 */
/* See reload.h. The old users are retired, not freed: their last calls free them. */
#include "reload.h"

#include <stdlib.h>
#include <string.h>

#include "../shared/log.h"
#include "dataplane_link.h"
#include "token_source.h"
#include "users.h"
#include "worker.h"

/* The first setting that only a restart changes, or NULL. */
static const char *restart_needed(const struct users *old, const struct users *new)
{
	if (old->gemini.service != new->gemini.service)
		return "gemini.service";
	if (strcmp(old->gemini.location, new->gemini.location) != 0)
		return "gemini.vertex.location";
	if (strcmp(old->gemini.endpoint.host, new->gemini.endpoint.host) != 0 ||
		old->gemini.endpoint.port != new->gemini.endpoint.port)
		return "gemini.endpoint";
	if (strcmp(old->gemini.ca_file, new->gemini.ca_file) != 0)
		return "gemini.ca_file";
	if (strcmp(old->gemini.api_version, new->gemini.api_version) != 0)
		return "gemini.api_version";
	return NULL;
}

static struct users *read_users(struct worker *w)
{
	struct vl_errors errors = {.secret = true};
	struct users *users = users_load(w->options.users_path, w->options.master, &errors);
	unsigned int kept = errors.count < VL_ERRORS_MAX ? errors.count : VL_ERRORS_MAX;
	const char *fixed;

	for (unsigned int i = 0; i < kept; i++)
		vl_log_error("%s: %s", w->options.users_path, errors.errors[i].text);
	if (users == NULL)
		return NULL;
	fixed = restart_needed(w->users, users);
	if (fixed == NULL)
		return users;
	vl_log_error("%s: %s: a change takes a restart of this worker", w->options.users_path, fixed);
	users_free(users);
	return NULL;
}

struct dataplane_user *worker_list_users(const struct users *users)
{
	struct dataplane_user *list = calloc(2 * users->count, sizeof(*list));

	for (size_t i = 0; list != NULL && i < users->count; i++) {
		const struct user *user = &users->users[i];

		list[i].name = user->name;
		if (user->in_project == NULL)
			continue;
		list[i].project = user->in_project->name;
		list[i].max_calls = user->in_project->max_calls;
	}
	return list;
}

/* Whether the data plane must hear of a user again. */
static bool has_changed(const struct user *old, const struct user *new)
{
	const struct user_project *before = old->in_project, *after = new->in_project;

	if (before == NULL || after == NULL)
		return before != after;
	return strcmp(before->name, after->name) != 0 || before->max_calls != after->max_calls;
}

void worker_reload(struct worker *w)
{
	struct users *users = read_users(w), *old = w->users;
	struct dataplane_user *list = users != NULL ? worker_list_users(users) : NULL, *changed;
	size_t changed_count = 0, added = 0, gone = 0;

	if (list == NULL) {
		users_free(users);
		vl_log_error("the users file was not taken; the one before stays in force");
		return;
	}
	changed = list + users->count;
	for (size_t i = 0; i < users->count; i++) {
		const struct user *before = users_find(old, list[i].name);

		added += before == NULL;
		if (before == NULL || has_changed(before, &users->users[i]))
			changed[changed_count++] = list[i];
	}
	for (size_t i = 0; i < old->count; i++)
		gone += users_find(users, old->users[i].name) == NULL;
	dataplane_link_set_users(w->link, list, users->count, changed, changed_count);
	free(w->served);
	w->served = list;
	w->users = users;
	token_source_serve(w->tokens, users);
	vl_log_always("users file read again: %zu users, %zu new, %zu no longer served; %u calls go on with the keys they have",
		users->count, added, gone, w->call_count);
	gate_forgive(&w->gate);
	users_retire(old);
}
