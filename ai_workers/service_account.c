/* SPDX-License-Identifier: Apache-2.0 */
/* See service_account.h. Members that are not used here are ignored: the file is Google's, not ours. */
#include "service_account.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shared/file.h"
#include "jwt.h"

#define TOKEN_URI	   "https://oauth2.googleapis.com/token"
#define PRIVATE_KEY_MAX	   16384u
#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* https://host[:port]/path, without a query. As with the websocket's endpoint, IPv6 goes by name. */
static int read_token_uri(struct service_account *a, struct vl_error *error)
{
	static const char scheme[] = "https://";
	const char *host = a->token_uri + sizeof(scheme) - 1, *end;
	unsigned long port = 443;
	char *digits_end;

	if (strncmp(a->token_uri, scheme, sizeof(scheme) - 1) != 0)
		goto bad;
	end = host + strspn(host, LETTERS_AND_DIGITS ".-");
	if (end == host || *host == '.' || *host == '-')
		goto bad;
	snprintf(a->token_host, sizeof(a->token_host), "%.*s", (int)(end - host), host);
	if (*end == ':') {
		if (end[1] < '1' || end[1] > '9')
			goto bad;
		port = strtoul(end + 1, &digits_end, 10);
		end = digits_end;
	}
	if (port > 65535 || *end != '/' || end[strspn(end, LETTERS_AND_DIGITS "/._-")] != '\0')
		goto bad;
	a->token_port = (uint16_t)port;
	snprintf(a->token_path, sizeof(a->token_path), "%s", end);
	return 0;
bad:
	return vl_error_set(error, "token_uri is not https://host/path or https://host:port/path");
}

/* A string of 1 to `max` bytes; *value is NULL when it is absent. No error shows a value, unlike those of shared/json.h. */
static int get_text(const cJSON *file, const char *name, bool required, size_t max, const char **value, struct vl_error *error)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(file, name);

	*value = cJSON_GetStringValue(member);
	if (member == NULL && !required)
		return 0;
	if (member == NULL)
		return vl_error_set(error, "%s: is missing", name);
	if (*value == NULL || **value == '\0' || strlen(*value) > max)
		return vl_error_set(error, "%s: is not a string of 1 to %zu bytes", name, max);
	return 0;
}

static int copy_member(const cJSON *file, const char *name, bool required, char *to, size_t size, struct vl_error *error)
{
	const char *value;
	int r = get_text(file, name, required, size - 1, &value, error);

	if (r == 0 && value != NULL)
		snprintf(to, size, "%s", value);
	return r;
}

static int take_private_key(struct service_account *a, const cJSON *file, struct vl_error *error)
{
	const char *pem;
	char *to;
	int r = get_text(file, "private_key", true, PRIVATE_KEY_MAX, &pem, error);

	if (r < 0)
		return r;
	a->private_key_size = strlen(pem) + 1;
	r = secret_pages_create(&a->pages, a->private_key_size);
	if (r < 0) {
		vl_error_set(error, "cannot lock memory for its key: %s; raise ulimit -l (LimitMEMLOCK=)", strerror(-r));
		return r;
	}
	to = secret_pages_take(&a->pages, a->private_key_size);
	memcpy(to, pem, a->private_key_size);
	a->private_key = to;
	r = jwt_check_key(a->private_key, a->private_key_size);
	if (r == -ERANGE)
		vl_error_set(error, "private_key is not an RSA key of %u to %u bits", JWT_RSA_LEAST, JWT_RSA_MOST);
	else if (r != 0)
		vl_error_set(error, "private_key is not the PEM text of a private RSA key");
	return r == 0 ? 0 : -EINVAL;
}

static bool is_address(const char *text)
{
	const char *at = strchr(text, '@');

	return at != NULL && at != text && at[1] != '\0' && text[strspn(text, LETTERS_AND_DIGITS "@._+-")] == '\0';
}

static int read_account(struct service_account *a, const cJSON *file, struct vl_error *error)
{
	const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(file, "type"));
	int r;

	if (type == NULL || strcmp(type, "service_account") != 0)
		return vl_error_set(error, "is not a service account's key file (its type is not \"service_account\")");
	snprintf(a->token_uri, sizeof(a->token_uri), "%s", TOKEN_URI);
	r = copy_member(file, "client_email", true, a->email, sizeof(a->email), error);
	if (r == 0 && !is_address(a->email))
		r = vl_error_set(error, "client_email is not an address");
	if (r == 0)
		r = copy_member(file, "private_key_id", false, a->key_id, sizeof(a->key_id), error);
	if (r == 0)
		r = copy_member(file, "project_id", false, a->project, sizeof(a->project), error);
	if (r == 0)
		r = copy_member(file, "token_uri", false, a->token_uri, sizeof(a->token_uri), error);
	if (r == 0)
		r = read_token_uri(a, error);
	return r == 0 ? take_private_key(a, file, error) : r;
}

struct service_account *service_account_parse(const char *path, const char *text, size_t len, struct vl_error *error)
{
	struct service_account *a = calloc(1, sizeof(*a));
	cJSON *file;
	int r = -ENOMEM;

	vl_error_set(error, "out of memory");
	if (a == NULL)
		return NULL;
	a->holders = 1;
	snprintf(a->path, sizeof(a->path), "%s", path);
	/* The parser's error could repeat what somebody put in the place of a name. */
	file = vl_json_parse(text, len, SERVICE_ACCOUNT_FILE_MAX, NULL);
	if (file == NULL)
		r = vl_error_set(error, "is not JSON");
	else
		r = read_account(a, file, error);
	vl_json_wipe(file);
	if (r == 0)
		return a;
	service_account_release(a);
	errno = -r;
	return NULL;
}

struct service_account *service_account_load(const char *path, struct vl_error *error)
{
	struct service_account *a = NULL;
	struct vl_file file;
	int r = vl_file_read(path, SERVICE_ACCOUNT_FILE_MAX, &file, error);

	if (r == 0)
		r = vl_file_check_private(path, &file, geteuid(), false, error);
	if (r == 0) {
		a = service_account_parse(path, file.text, file.len, error);
		r = a == NULL ? -errno : 0;
	}
	vl_file_free(&file);
	errno = -r;
	return a;
}

struct service_account *service_account_hold(struct service_account *a)
{
	a->holders++;
	return a;
}

void service_account_release(struct service_account *a)
{
	if (a == NULL || --a->holders > 0)
		return;
	secret_pages_destroy(&a->pages);
	free(a);
}

bool service_account_same(const struct service_account *a, const struct service_account *b)
{
	return strcmp(a->email, b->email) == 0 && strcmp(a->key_id, b->key_id) == 0 && strcmp(a->token_uri, b->token_uri) == 0 &&
	       a->private_key_size == b->private_key_size && memcmp(a->private_key, b->private_key, a->private_key_size) == 0;
}
