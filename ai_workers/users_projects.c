/* SPDX-License-Identifier: Apache-2.0 */
/* See users_projects.h. Keys are compared where they lie; no copy of one is made. */
#include "users_projects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compare_name(const void *name, const void *b)
{
	const struct user_project *const *project = b;

	return strcmp(name, (*project)->name);
}

/* Equal ones in the order of the file, so that the error names the later one. */
static int compare_projects(const void *a, const void *b)
{
	const struct user_project *const *left = a, *const *right = b;
	int order = strcmp((*left)->name, (*right)->name);

	return order != 0 ? order : (*left > *right) - (*left < *right);
}

/* By what the service knows the user's project: the key, or with Vertex AI the billed project, "projects/P" of the resource. */
static const char *identity(const struct user *user, size_t *len)
{
	const char *end = user->resource != NULL ? strstr(user->resource, "/locations/") : NULL;

	if (user->api_key == NULL) {
		*len = end != NULL ? (size_t)(end - user->resource) : 0;
		return end != NULL ? user->resource : NULL;
	}
	*len = strlen(user->api_key);
	return user->api_key;
}

static int compare_identities(const struct user *left, const struct user *right)
{
	size_t left_len, right_len;
	const char *left_text = identity(left, &left_len), *right_text = identity(right, &right_len);
	int order = memcmp(left_text, right_text, left_len < right_len ? left_len : right_len);

	return order != 0 ? order : (left_len > right_len) - (left_len < right_len);
}

static int compare_keys(const void *a, const void *b)
{
	struct user *const *left = a, *const *right = b;
	int order = compare_identities(*left, *right);

	return order != 0 ? order : (*left > *right) - (*left < *right);
}

static int add_error(struct vl_errors *errors, const char *list, size_t index, const char *member, const char *text, size_t other)
{
	char path[VL_JSON_PATH_SIZE];

	snprintf(path, sizeof(path), "%s[%zu].%s", list, index, member);
	vl_errors_add(errors, path, text, other);
	return -EINVAL;
}

/* Sorted for bsearch(); NULL when memory is short. */
static const struct user_project **sort_projects(const struct users *users, struct vl_errors *errors, int *result)
{
	const struct user_project **sorted = calloc(users->project_count + 1, sizeof(*sorted));

	if (sorted == NULL)
		return NULL;
	for (size_t i = 0; i < users->project_count; i++)
		sorted[i] = &users->projects[i];
	qsort(sorted, users->project_count, sizeof(*sorted), compare_projects);
	for (size_t i = 1; i < users->project_count; i++) {
		if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
			*result = add_error(errors, "projects", (size_t)(sorted[i] - users->projects), "name",
				"the same name as projects[%zu]", (size_t)(sorted[i - 1] - users->projects));
	}
	return sorted;
}

/* What each user says of itself. */
static int find_own(struct users *users, const struct user_project **sorted, struct vl_errors *errors)
{
	int result = 0;

	for (size_t i = 0; i < users->count; i++) {
		struct user *user = &users->users[i];
		const struct user_project **found;

		user->key_first = user;
		if (user->project[0] == '\0')
			continue;
		found = bsearch(user->project, sorted, users->project_count, sizeof(*sorted), compare_name);
		if (found == NULL)
			result = add_error(errors, "users", i, "project",
				users->project_count == 0   ? "there are no `projects`"
				: users->project_count == 1 ? "is none of the %zu project"
							    : "is none of the %zu projects",
				users->project_count);
		else
			user->in_project = *found;
	}
	return result;
}

/* Users with one key: `from` up to `to`, in the order of the file. */
static int join_key(struct users *users, struct user **from, struct user **to, struct vl_errors *errors)
{
	const struct user *named = NULL;
	int result = 0;

	for (struct user **user = from; user < to; user++) {
		(*user)->key_first = *from;
		if ((*user)->in_project == NULL)
			continue;
		if (named != NULL && named->in_project != (*user)->in_project)
			result = add_error(errors, "users", (size_t)(*user - users->users), "project",
				"is another than that of users[%zu], which has the same key", (size_t)(named - users->users));
		if (named == NULL)
			named = *user;
	}
	for (struct user **user = from; user < to && named != NULL; user++)
		(*user)->in_project = named->in_project;
	return result;
}

static int join_keys(struct users *users, struct vl_errors *errors)
{
	struct user **sorted = calloc(users->count, sizeof(*sorted));
	size_t count = 0, from = 0, len;
	int result = 0;

	if (sorted == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < users->count; i++) {
		if (identity(&users->users[i], &len) != NULL)
			sorted[count++] = &users->users[i];
	}
	qsort(sorted, count, sizeof(*sorted), compare_keys);
	for (size_t i = 1; i <= count; i++) {
		if (i < count && compare_identities(sorted[i], sorted[from]) == 0)
			continue;
		if (join_key(users, &sorted[from], &sorted[i], errors) != 0)
			result = -EINVAL;
		from = i;
	}
	free(sorted);
	return result;
}

int users_find_projects(struct users *users, struct vl_errors *errors)
{
	int result = 0;
	const struct user_project **sorted = sort_projects(users, errors, &result);

	if (sorted == NULL)
		return -ENOMEM;
	if (result == 0)
		result = find_own(users, sorted, errors);
	free(sorted);
	return result == 0 ? join_keys(users, errors) : result;
}
