/* SPDX-License-Identifier: Apache-2.0 */
/* See reload.h. The old users are retired, not freed: their last calls free them. */
#include "reload.h"

#include <stdlib.h>
#include <string.h>

#include "../shared/log.h"
#include "dataplane_link.h"
#include "users.h"
#include "worker.h"

/* The first setting that only a restart changes, or NULL. */
static const char *restart_needed(const struct users *old, const struct users *new)
{
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

void worker_reload(struct worker *w)
{
	struct users *users = read_users(w), *old = w->users;
	const char **names = users != NULL ? calloc(2 * users->count, sizeof(*names)) : NULL, **added;
	size_t added_count = 0, gone = 0;

	if (names == NULL) {
		users_free(users);
		vl_log_error("the users file was not taken; the one before stays in force");
		return;
	}
	added = names + users->count;
	for (size_t i = 0; i < users->count; i++) {
		names[i] = users->users[i].name;
		if (users_find(old, names[i]) == NULL)
			added[added_count++] = names[i];
	}
	for (size_t i = 0; i < old->count; i++)
		gone += users_find(users, old->users[i].name) == NULL;
	dataplane_link_set_users(w->link, names, users->count, added, added_count);
	free(w->names);
	w->names = names;
	w->users = users;
	vl_log_always("users file read again: %zu users, %zu new, %zu no longer served; %u calls go on with the keys they have",
		users->count, added_count, gone, w->call_count);
	users_retire(old);
}
