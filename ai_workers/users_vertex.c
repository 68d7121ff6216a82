/* SPDX-License-Identifier: Apache-2.0 */
/* See users_vertex.h. */
#include "users_vertex.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Hosts by location: regional ones, and those that serve from anywhere or from anywhere in a part of the world. */
static void set_vertex_host(struct users *users)
{
	const char *location = users->gemini.location;
	struct users_endpoint *endpoint = &users->gemini.endpoint;

	endpoint->port = 443;
	if (strcmp(location, "global") == 0)
		snprintf(endpoint->host, sizeof(endpoint->host), "aiplatform.googleapis.com");
	else if (strcmp(location, "us") == 0 || strcmp(location, "eu") == 0)
		snprintf(endpoint->host, sizeof(endpoint->host), "aiplatform.%s.rep.googleapis.com", location);
	else
		snprintf(endpoint->host, sizeof(endpoint->host), "%s-aiplatform.googleapis.com", location);
}

static void set_places(struct users *users)
{
	bool vertex = users->gemini.service == USERS_VERTEX;
	struct users_endpoint *endpoint = &users->gemini.endpoint;

	if (users->gemini.api_version[0] == '\0')
		snprintf(users->gemini.api_version, sizeof(users->gemini.api_version), "%s", vertex ? "v1beta1" : "v1beta");
	if (endpoint->host[0] != '\0')
		return;
	if (vertex)
		set_vertex_host(users);
	else
		*endpoint = (struct users_endpoint){.host = "generativelanguage.googleapis.com", .port = 443};
}

static int check_version(const struct users *users, struct vl_errors *errors)
{
	static const char *const known[2][4] = {
		[USERS_DEVELOPER] = {"v1beta", "v1alpha", "v1", NULL}, [USERS_VERTEX] = {"v1beta1", "v1", NULL}};
	const char *const *of = known[users->gemini.service];

	for (; *of != NULL; of++)
		if (strcmp(*of, users->gemini.api_version) == 0)
			return 0;
	vl_errors_add(errors, "gemini.api_version", "is not one of %s",
		users->gemini.service == USERS_VERTEX ? "\"v1beta1\", \"v1\"" : "\"v1beta\", \"v1alpha\", \"v1\"");
	return -EINVAL;
}

static const char *account_file_of(const struct user *user)
{
	return user->vertex.account_file[0] != '\0' ? user->vertex.account_file : user->users->gemini.vertex.account_file;
}

static int check_users(struct users *users, struct vl_errors *errors)
{
	bool vertex = users->gemini.service == USERS_VERTEX;
	char path[VL_JSON_PATH_SIZE];
	int result = 0;

	for (size_t i = 0; i < users->count; i++) {
		struct user *user = &users->users[i];

		user->users = users;
		if (!vertex && user->vertex_given) {
			snprintf(path, sizeof(path), "users[%zu].vertex", i);
			vl_errors_add(errors, path, "belongs to \"service\": \"vertex\"");
			result = -EINVAL;
		} else if (vertex && account_file_of(user)[0] == '\0') {
			snprintf(path, sizeof(path), "users[%zu].vertex.service_account_file", i);
			vl_errors_add(errors, path, "is missing, and there is none in gemini.vertex");
			result = -EINVAL;
		}
	}
	return result;
}

int users_vertex_check(struct users *users, struct vl_errors *errors)
{
	bool vertex = users->gemini.service == USERS_VERTEX;
	int result = 0;

	if (vertex != users->gemini.vertex_given) {
		vl_errors_add(errors, "gemini.vertex",
			vertex ? "is missing; \"service\": \"vertex\" needs it" : "belongs to \"service\": \"vertex\"");
		return -EINVAL;
	}
	set_places(users);
	result = check_version(users, errors);
	return check_users(users, errors) != 0 ? -EINVAL : result;
}

/* One account for all users of a file. An account whose file was refused is not read again. */
static int find_account(struct users *users, size_t index, struct vl_errors *errors)
{
	struct user *user = &users->users[index];
	const char *file = account_file_of(user);
	char path[VL_JSON_PATH_SIZE] = "gemini.vertex.service_account_file";
	struct vl_error error;

	for (size_t i = 0; i < index; i++) {
		struct user *other = &users->users[i];

		if (strcmp(account_file_of(other), file) != 0)
			continue;
		if (other->account == NULL)
			return -EINVAL;
		user->account = service_account_hold(other->account);
		user->key_first = other->key_first;
		return 0;
	}
	user->account = service_account_load(file, &error);
	if (user->account != NULL)
		return 0;
	if (user->vertex.account_file[0] != '\0')
		snprintf(path, sizeof(path), "users[%zu].vertex.service_account_file", index);
	vl_errors_add(errors, path, "%s", error.text);
	return -EINVAL;
}

static int name_model(struct users *users, size_t index, struct vl_errors *errors)
{
	struct user *user = &users->users[index];
	const char *model = user->model[0] != '\0' ? user->model : users->gemini.model;
	const char *project = user->vertex.project[0] != '\0'		? user->vertex.project
			      : users->gemini.vertex.project[0] != '\0' ? users->gemini.vertex.project
									: user->account->project;
	char path[VL_JSON_PATH_SIZE];

	if (strncmp(model, "projects/", 9) == 0) {
		user->resource = strdup(model);
		return user->resource != NULL ? 0 : -ENOMEM;
	}
	if (project[0] == '\0') {
		snprintf(path, sizeof(path), "users[%zu].vertex.project", index);
		vl_errors_add(errors, path, "is missing, in gemini.vertex and in the service account's file too");
		return -EINVAL;
	}
	if (strncmp(model, "models/", 7) == 0)
		model += 7;
	return asprintf(&user->resource, "projects/%s/locations/%s/publishers/google/models/%s", project, users->gemini.location,
		       model) >= 0
		       ? 0
		       : -ENOMEM;
}

int users_vertex_load(struct users *users, struct vl_errors *errors)
{
	int result = 0;

	for (size_t i = 0; users->gemini.service == USERS_VERTEX && i < users->count; i++) {
		int r = find_account(users, i, errors);

		if (r == 0)
			r = name_model(users, i, errors);
		if (r != 0)
			result = r;
	}
	return result;
}
