/* SPDX-License-Identifier: Apache-2.0 */
/* The users file; see users.h. */
#include "users.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ca_file.h"
#include "seal.h"
#include "session.h"
#include "users_projects.h"
#include "users_vertex.h"

#define ROW(member, of, field, kind) .name = member, .type = VL_SETTING_##kind, VL_SETTING_FIELD(of, field)
/* A string the parser allocates. */
#define LONG_ROW(member, of, field) .name = member, .type = VL_SETTING_STRING, .offset = offsetof(struct of, field)
#define END                  \
	{                    \
		.name = NULL \
	}

#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

#define ENDPOINT_EXPECTED "wss://host or wss://host:port, a name or an IPv4 address (IPv6 by name only), without a path"
static int parse_endpoint(const char *text, void *field)
{
	static const char scheme[] = "wss://";
	struct users_endpoint endpoint = {.port = 443};
	const char *host = text + sizeof(scheme) - 1, *end;

	if (strncmp(text, scheme, sizeof(scheme) - 1) != 0)
		return -EINVAL;
	/* No IPv6 literals: libwebsockets 4.1 cuts a host at its first ':' and then checks no name, or the wrong one, in the certificate. */
	end = host + strspn(host, LETTERS_AND_DIGITS ".-");
	size_t len = (size_t)(end - host);
	if (len == 0 || len >= sizeof(endpoint.host) || host[0] == '.' || host[0] == '-')
		return -EINVAL;
	memcpy(endpoint.host, host, len);
	if (*end == ':') {
		size_t digits = strspn(++end, "0123456789");
		unsigned long port = strtoul(end, NULL, 10);
		if (digits == 0 || digits > 5 || end[0] == '0' || port > 65535)
			return -EINVAL;
		endpoint.port = (uint16_t)port;
		end += digits;
	}
	if (*end != '\0')
		return -EINVAL;
	*(struct users_endpoint *)field = endpoint;
	return 0;
}

#define SEALED_EXPECTED "a sealed key as voxlanectl keys seal writes it"
#define KEY_MIN		8
#define KEY_EXPECTED	"an API key: 8 to 512 printable ASCII characters without spaces"
static bool valid_key(const char *text)
{
	/* It goes into an HTTP header as it is. */
	for (const char *c = text; *c != '\0'; c++)
		if (*c <= 0x20 || *c >= 0x7f)
			return false;
	return true;
}

#define MODEL_EXPECTED "a model name such as \"gemini-3.8-live\""
static bool valid_model(const char *text)
{
	return text[strspn(text, LETTERS_AND_DIGITS "._-/")] == '\0' && text[0] != '/';
}

#define WORD_EXPECTED "a word of letters, digits, '_' and '-'"
static bool valid_word(const char *text)
{
	return text[strspn(text, LETTERS_AND_DIGITS "_-")] == '\0';
}

#define VERSION_EXPECTED "a version such as \"v1beta\""
static bool valid_version(const char *text)
{
	return text[0] == 'v' && text[1] >= '1' && text[1] <= '9' && text[strspn(text, "v0123456789alphbet")] == '\0';
}

static int parse_barge_in(const char *text, void *field)
{
	if (strcmp(text, "server") != 0 && strcmp(text, "local") != 0)
		return -EINVAL;
	*(bool *)field = strcmp(text, "local") == 0;
	return 0;
}

#define PROJECT_EXPECTED "a project's id"
static bool valid_project(const char *text)
{
	return text[strspn(text, LETTERS_AND_DIGITS "-.:")] == '\0';
}

#define LOCATION_EXPECTED "a location such as \"us-central1\", \"global\", \"us\" or \"eu\""
static bool valid_location(const char *text)
{
	return text[0] != '-' && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

static const char *const services[] = {[USERS_DEVELOPER] = "developer", [USERS_VERTEX] = "vertex", NULL};

#define FILE_MEANING "key file of the service account, JSON as Google Cloud makes it; closed to everybody else like this file"
static const struct vl_setting vertex_table[] = {
	{ROW("project", users, gemini.vertex.project, STRING), .min = 1, .valid = valid_project, .expected = PROJECT_EXPECTED,
		.reloadable = true, .meaning = "project that is billed; none means the service account's own"},
	{ROW("location", users, gemini.location, STRING), .required = true, .min = 1, .valid = valid_location,
		.expected = LOCATION_EXPECTED, .meaning = "where the model runs"},
	{ROW("service_account_file", users, gemini.vertex.account_file, STRING), .min = 2, .valid = vl_setting_path,
		.expected = VL_PATH_EXPECTED, .reloadable = true, .meaning = FILE_MEANING},
	END};

static const struct vl_setting gemini_table[] = {
	{ROW("service", users, gemini.service, ENUM), .words = services, .fallback = "\"developer\"",
		.meaning =
			"which of Google's two services: the Developer API with a key of each user's, or Vertex AI with service "
			"accounts"},
	{.name = "vertex",
		.type = VL_SETTING_OBJECT,
		.present = offsetof(struct users, gemini.vertex_given),
		.members = vertex_table,
		.meaning = "what Vertex AI needs"},
	{ROW("endpoint", users, gemini.endpoint, TEXT), .parse = parse_endpoint, .expected = ENDPOINT_EXPECTED,
		.meaning = "where the Gemini Live websocket is, always TLS with a verified certificate; none means Google's own: "
			   "`wss://generativelanguage.googleapis.com`, or that of `vertex.location`"},
	{ROW("ca_file", users, gemini.ca_file, STRING), .min = 2, .valid = vl_setting_path, .expected = VL_PATH_EXPECTED,
		.meaning = "PEM file of the only CA that is trusted; none means the system's CA store"},
	{ROW("model", users, gemini.model, STRING), .required = true, .min = 1, .valid = valid_model, .expected = MODEL_EXPECTED,
		.reloadable = true, .meaning = "model of users without their own"},
	{ROW("api_version", users, gemini.api_version, STRING), .min = 1, .valid = valid_version, .expected = VERSION_EXPECTED,
		.meaning = "version in the websocket's path; none means `v1beta`, with Vertex AI `v1beta1`"},
	{ROW("rotate_after_s", users, gemini.rotate_after_s, INTEGER), .min = SESSION_ROTATE_MIN_S, .max = SESSION_ROTATE_MAX_S,
		.fallback = "540", .unit = "s", .reloadable = true,
		.meaning = "age at which a call changes its connection, at a quiet moment within 30 s; the service cuts "
			   "connections after "
			   "about ten minutes"},
	END};

static const struct vl_setting user_vertex_table[] = {
	{ROW("project", user, vertex.project, STRING), .min = 1, .valid = valid_project, .expected = PROJECT_EXPECTED,
		.reloadable = true,
		.meaning = "project that is billed; none means `gemini.vertex.project`, or the account's own"},
	{ROW("service_account_file", user, vertex.account_file, STRING), .min = 2, .valid = vl_setting_path,
		.expected = VL_PATH_EXPECTED, .reloadable = true, .meaning = FILE_MEANING ". None means `gemini.vertex`'s"},
	END};

static const struct vl_setting tool_element[] = {
	{.name = "", .type = VL_SETTING_OBJECT, .size = sizeof(struct tool), .members = tools_table}, END};

static const struct vl_setting user_table[] = {
	{ROW("name", user, name, STRING), .required = true, .min = 1, .valid = vl_setting_user, .expected = VL_USER_EXPECTED,
		.reloadable = true, .meaning = "how `session.create` names the user"},
	{LONG_ROW("api_key", user, api_key), .min = KEY_MIN, .max = SEAL_KEY_MAX, .valid = valid_key, .expected = KEY_EXPECTED,
		.reloadable = true, .meaning = "the user's own Gemini API key; used for this user's calls and for nothing else"},
	{LONG_ROW("sealed_key", user, sealed_key), .min = 1, .max = SEAL_TEXT_SIZE, .valid = seal_valid,
		.expected = SEALED_EXPECTED, .reloadable = true,
		.meaning = "the same key sealed by `voxlanectl keys seal`, instead of `api_key`; opened under `--master-key`"},
	{ROW("voice", user, voice, STRING), .min = 1, .valid = valid_word, .expected = WORD_EXPECTED, .reloadable = true,
		.meaning = "prebuilt voice, case-sensitive (Puck, Kore, Charon, ...); none means the model's own"},
	{ROW("language", user, language, STRING), .min = 2, .valid = valid_word, .expected = WORD_EXPECTED, .reloadable = true,
		.meaning = "language code (BCP 47) such as en-US; models that take none are asked for it in their instructions; "
			   "none "
			   "lets the model choose"},
	{LONG_ROW("instructions", user, instructions), .min = 1, .max = 32768, .reloadable = true,
		.meaning = "system instruction of the user's calls"},
	{ROW("model", user, model, STRING), .min = 1, .valid = valid_model, .expected = MODEL_EXPECTED, .reloadable = true,
		.meaning = "the user's own model; none means `gemini.model`"},
	{ROW("barge_in", user, local_barge_in, TEXT), .fallback = "\"server\"", .parse = parse_barge_in,
		.expected = "one of \"server\", \"local\"", .reloadable = true,
		.meaning = "who stops the model's voice when the caller speaks: `server`, or `local`: already the worker, which "
			   "goes "
			   "on if the service does not agree"},
	{LONG_ROW("greeting", user, greeting), .min = 1, .max = 4096, .reloadable = true,
		.meaning = "what the model is asked when a call begins, so that it speaks first; none means it waits for the "
			   "caller"},
	{ROW("project", user, project, STRING), .min = 1, .valid = vl_setting_name, .expected = VL_NAME_EXPECTED,
		.reloadable = true,
		.meaning = "project that the key belongs to, one of `projects`; users with one key are of one project anyway"},
	{.name = "vertex",
		.type = VL_SETTING_OBJECT,
		.present = offsetof(struct user, vertex_given),
		.members = user_vertex_table,
		.reloadable = true,
		.meaning = "the user's own project and service account with Vertex AI"},
	{ROW("dtmf_to_model", user, dtmf_to_model, BOOL), .fallback = "true", .reloadable = true,
		.meaning = "whether keys that the caller presses are told to the model; they are events in any case"},
	{ROW("tools", user, tools, LIST), .count = offsetof(struct user, tool_count), .max = TOOLS_MAX, .members = tool_element,
		.reloadable = true, .meaning = "functions the model may call ([functions](functions.md))"},
	END};
static const struct vl_setting user_element[] = {
	{.name = "", .type = VL_SETTING_OBJECT, .size = sizeof(struct user), .members = user_table}, END};

static const struct vl_setting project_table[] = {
	{ROW("name", user_project, name, STRING), .required = true, .min = 1, .valid = vl_setting_name,
		.expected = VL_NAME_EXPECTED, .reloadable = true,
		.meaning = "how users, errors and other workers name the project"},
	{ROW("max_calls", user_project, max_calls, INTEGER), .min = 1, .max = 1000000, .reloadable = true,
		.meaning = "most calls of the project at a time, over all workers that name it; none means no limit"},
	{ROW("handshakes_per_second", user_project, handshakes_per_second, INTEGER), .min = 1, .max = 1000, .reloadable = true,
		.meaning = "connections one worker begins for the project in a second; none means as many as the worker does"},
	END};
static const struct vl_setting project_element[] = {
	{.name = "", .type = VL_SETTING_OBJECT, .size = sizeof(struct user_project), .members = project_table}, END};

const struct vl_setting users_table[] = {
	{.name = "gemini", .type = VL_SETTING_OBJECT, .required = true, .members = gemini_table, .meaning = "the service"},
	{ROW("projects", users, projects, LIST), .count = offsetof(struct users, project_count), .min = 0, .max = USERS_MAX,
		.reloadable = true, .members = project_element,
		.meaning = "projects of the service with limits of ours; the service counts sessions by project, not by key"},
	{ROW("users", users, users, LIST), .required = true, .count = offsetof(struct users, count), .min = 1, .max = USERS_MAX,
		.reloadable = true, .members = user_element, .meaning = "the users whose calls this worker can take"},
	END};

static int compare_users(const void *a, const void *b)
{
	struct user *const *left = a, *const *right = b;
	int order = strcmp((*left)->name, (*right)->name);

	/* Equal names in the order of the file, so that the error names the later one. */
	return order != 0 ? order : (*left > *right) - (*left < *right);
}

/* Sort for users_find(), and refuse a name given twice. */
static int index_users(struct users *users, struct vl_errors *errors)
{
	char path[VL_JSON_PATH_SIZE];

	users->by_name = calloc(users->count, sizeof(*users->by_name));
	if (users->by_name == NULL) {
		vl_errors_add(errors, NULL, "out of memory");
		return -ENOMEM;
	}
	for (size_t i = 0; i < users->count; i++)
		users->by_name[i] = &users->users[i];
	qsort(users->by_name, users->count, sizeof(*users->by_name), compare_users);
	int r = 0;
	for (size_t i = 1; i < users->count; i++) {
		if (strcmp(users->by_name[i - 1]->name, users->by_name[i]->name) != 0)
			continue;
		snprintf(path, sizeof(path), "users[%zu].name", (size_t)(users->by_name[i] - users->users));
		vl_errors_add(errors, path, "the same name as users[%zu]", (size_t)(users->by_name[i - 1] - users->users));
		r = -EINVAL;
	}
	return r;
}

static int check_tools(const struct users *users, struct vl_errors *errors)
{
	char path[VL_JSON_PATH_SIZE];
	int result = 0;

	for (size_t i = 0; i < users->count; i++) {
		snprintf(path, sizeof(path), "users[%zu].tools", i);
		if (tools_check(users->users[i].tools, users->users[i].tool_count, path, errors) != 0)
			result = -EINVAL;
	}
	return result;
}

/* How much of a path is names of ours and numbers, and so can be shown whatever follows. */
static size_t own_part(const char *path, size_t len)
{
	static const char *const own[] = {"gemini", "users", "projects", "vertex", "tools", "parameters", "properties"};
	size_t at = 0, shown = 0;

	while (at < len) {
		size_t run = strcspn(path + at, ".[]");
		bool known = run > 0 && strspn(path + at, "0123456789") == run && at > 0 && path[at - 1] == '[';

		for (size_t i = 0; i < sizeof(own) / sizeof(own[0]) && !known; i++)
			known = strlen(own[i]) == run && memcmp(own[i], path + at, run) == 0;
		at += run;
		if ((run > 0 && !known) || at >= len)
			break;
		shown = ++at;
	}
	return shown;
}

/* A member name is shown only if it is too short to be a key that slipped into the wrong place; where it stands always is. */
static void add_syntax_error(struct vl_errors *errors, const struct vl_error *error)
{
	size_t longest = 0, run = 0;
	char place[VL_JSON_PATH_SIZE];

	for (size_t i = 0; i < error->path_len; i++) {
		run = strchr(".[]", error->text[i]) != NULL ? 0 : run + 1;
		longest = run > longest ? run : longest;
	}
	if (longest <= 16) {
		vl_errors_add(errors, NULL, "%s", error->text);
		return;
	}
	snprintf(place, sizeof(place), "%.*s(a long name)", (int)own_part(error->text, error->path_len), error->text);
	vl_errors_add(errors, place, "%s", vl_error_reason(error));
}

/* Why a sealed key does not open, and what to do about it. */
static void add_seal_error(struct vl_errors *errors, const char *path, const char *sealed, const uint8_t *master, int result)
{
	char wanted[SEAL_ID_SIZE], given[SEAL_ID_SIZE];

	seal_text_id(sealed, wanted);
	if (master == NULL) {
		vl_errors_add(errors, path, "is sealed under master key %s; say with --master-key where that is", wanted);
	} else if (result == -ENOKEY) {
		seal_master_id(master, given);
		vl_errors_add(errors, path,
			"is sealed under master key %s, not under the one given (%s); give that one or seal the key again",
			wanted, given);
	} else if (result == -EBADMSG) {
		vl_errors_add(errors, path,
			"does not open: it was changed, or sealed for another user; seal the key again (voxlanectl keys seal)");
	} else {
		vl_errors_add(errors, path, "holds something that is not %s; seal the key again", KEY_EXPECTED);
	}
}

bool users_valid_key(const char *text)
{
	size_t len = strlen(text);

	return len >= KEY_MIN && len <= SEAL_KEY_MAX && valid_key(text);
}

/* Move one plain key into its place. */
static void place_plain(struct users *users, struct user *user)
{
	size_t size = strlen(user->api_key) + 1;
	char *to = secret_pages_take(&users->keys, size);

	memcpy(to, user->api_key, size);
	explicit_bzero(user->api_key, size);
	free(user->api_key);
	user->api_key = to;
}

/* Open one sealed key into its place. `scratch` is a secret page's SEAL_KEY_MAX + 1 bytes. */
static int place_sealed(struct users *users, struct user *user, const uint8_t *master, char *scratch)
{
	int r = master == NULL ? -ENOKEY : seal_open(scratch, master, user->name, user->sealed_key);

	if (r != 0)
		return r;
	if (!users_valid_key(scratch))
		r = -EINVAL;
	else
		user->api_key = strcpy(secret_pages_take(&users->keys, strlen(scratch) + 1), scratch);
	explicit_bzero(scratch, SEAL_KEY_MAX + 1);
	return r;
}

/* Each user has one key in one form. Adds up what secret pages they need; the sealed form is longer than the key in it. */
static int measure_keys(const struct users *users, size_t *bytes, struct vl_errors *errors)
{
	char path[VL_JSON_PATH_SIZE];
	int result = 0;

	for (size_t i = 0; i < users->count; i++) {
		const struct user *user = &users->users[i];

		*bytes += user->api_key != NULL ? strlen(user->api_key) + 1 : 0;
		*bytes += user->sealed_key != NULL ? strlen(user->sealed_key) : 0;
		if (users->gemini.service == USERS_VERTEX && user->api_key == NULL && user->sealed_key == NULL)
			continue;
		if (users->gemini.service == USERS_DEVELOPER && (user->api_key != NULL) != (user->sealed_key != NULL))
			continue;
		if (users->gemini.service == USERS_VERTEX) {
			snprintf(path, sizeof(path), "users[%zu].%s", i, user->api_key != NULL ? "api_key" : "sealed_key");
			vl_errors_add(errors, path, "is of no use with \"service\": \"vertex\"");
			result = -EINVAL;
			continue;
		}
		snprintf(path, sizeof(path), "users[%zu].%s", i, user->api_key != NULL ? "sealed_key" : "api_key");
		vl_errors_add(errors, path,
			user->api_key != NULL ? "is there besides api_key; keep one of them"
					      : "is missing, and there is no sealed_key");
		result = -EINVAL;
	}
	return result;
}

/* Bring every key into secret pages. */
static int place_keys(struct users *users, const uint8_t *master, struct vl_errors *errors)
{
	size_t bytes = SEAL_KEY_MAX + 1;
	char path[VL_JSON_PATH_SIZE], *scratch;
	int result = measure_keys(users, &bytes, errors);

	if (result != 0)
		return result;
	result = secret_pages_create(&users->keys, bytes);
	if (result != 0) {
		vl_errors_add(errors, NULL, "cannot lock %zu bytes of memory for keys: %s; raise ulimit -l (LimitMEMLOCK=)",
			bytes, strerror(-result));
		return result;
	}
	scratch = secret_pages_take(&users->keys, SEAL_KEY_MAX + 1);
	if (scratch == NULL) /* the pages were made with room for it */
		return -ENOMEM;
	for (size_t i = 0; i < users->count; i++) {
		struct user *user = &users->users[i];
		int r = 0;

		user->users = users;
		if (user->api_key != NULL)
			place_plain(users, user);
		else if (user->sealed_key != NULL)
			r = place_sealed(users, user, master, scratch);
		if (r == 0)
			continue;
		snprintf(path, sizeof(path), "users[%zu].sealed_key", i);
		add_seal_error(errors, path, user->sealed_key, master, r);
		result = -EINVAL;
	}
	return result;
}

struct users *users_parse(const char *text, size_t len, const uint8_t *master, struct vl_errors *errors)
{
	struct users *users = calloc(1, sizeof(*users));
	struct vl_error error = {.text = "out of memory"};
	int r = -ENOMEM;

	errors->secret = true;
	cJSON *document = users == NULL ? NULL : vl_json_parse(text, len, USERS_FILE_MAX, &error);
	if (document == NULL) {
		r = users == NULL ? -ENOMEM : -errno;
		add_syntax_error(errors, &error);
	} else {
		r = vl_settings_parse(users_table, document, users, errors);
		vl_json_wipe(document);
		if (r == 0)
			r = index_users(users, errors);
		if (r == 0)
			r = users_vertex_check(users, errors);
		if (r == 0)
			r = check_tools(users, errors);
		if (r == 0)
			r = place_keys(users, master, errors);
		if (r == 0)
			r = users_find_projects(users, errors);
	}
	if (r == 0)
		return users;
	users_free(users);
	errno = -r;
	return NULL;
}

/* What the file says of other files. */
static int check_files(struct users *users, struct vl_errors *errors)
{
	struct vl_error error;
	int r = users->gemini.ca_file[0] != '\0' ? ca_file_check(users->gemini.ca_file, &error) : 0;

	if (r != 0)
		vl_errors_add(errors, "gemini.ca_file", "%s", error.text);
	else
		r = users_vertex_load(users, errors);
	if (r == 0)
		r = users_find_projects(users, errors); /* by what was just loaded */
	return r;
}

struct users *users_load(const char *path, struct master_key *master, struct vl_errors *errors)
{
	struct users *users = NULL;
	struct vl_file file;
	struct vl_error error;
	int r = vl_file_read(path, USERS_FILE_MAX, &file, &error);

	if (r == 0)
		r = vl_file_check_private(path, &file, geteuid(), false, &error);
	if (r == 0 && master != NULL)
		r = master_key_load(master, &error);
	if (r < 0) {
		vl_errors_add(errors, NULL, "%s", error.text);
	} else {
		users = users_parse(file.text, file.len, master != NULL ? master->key : NULL, errors);
		r = users == NULL ? -errno : check_files(users, errors);
	}
	if (r < 0) {
		users_free(users);
		users = NULL;
	}
	if (master != NULL)
		master_key_forget(master);
	vl_file_free(&file);
	errno = -r;
	return users;
}

void users_free(struct users *users)
{
	if (users == NULL)
		return;
	free(users->by_name);
	/* The keys go with their pages; one that has not come there yet is the table's. */
	for (size_t i = 0; users->users != NULL && i < users->count; i++) {
		if ((uintptr_t)users->users[i].api_key - (uintptr_t)users->keys.base < users->keys.size)
			users->users[i].api_key = NULL;
		service_account_release(users->users[i].account);
		free(users->users[i].resource);
	}
	secret_pages_destroy(&users->keys);
	vl_settings_free(users_table, users);
	free(users);
}

struct user *users_find(const struct users *users, const char *name)
{
	size_t low = 0, high = users->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(users->by_name[middle]->name, name);
		if (order == 0)
			return users->by_name[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static void wipe_key(struct user *user)
{
	if (user->api_key == NULL)
		return;
	explicit_bzero(user->api_key, strlen(user->api_key));
	user->api_key = NULL;
}

void users_hold(struct user *user)
{
	user->calls++;
	user->users->held++;
}

void users_release(struct user *user)
{
	struct users *users = user->users;

	user->calls--;
	users->held--;
	if (!users->retired)
		return;
	if (user->calls == 0)
		wipe_key(user);
	if (users->held == 0)
		users_free(users);
}

void users_retire(struct users *users)
{
	users->retired = true;
	if (users->held == 0) {
		users_free(users);
		return;
	}
	for (size_t i = 0; i < users->count; i++)
		if (users->users[i].calls == 0)
			wipe_key(&users->users[i]);
}

const char *users_model(const struct user *user)
{
	if (user->resource != NULL)
		return user->resource;
	return user->model[0] != '\0' ? user->model : user->users->gemini.model;
}
