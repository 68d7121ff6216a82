/* SPDX-License-Identifier: Apache-2.0 */
/* See keys_file.h. */
#include "keys_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shared/file.h"
#include "../shared/settings.h"
#include "users.h"

static int failed(struct vl_error *error, const char *what, int number)
{
	vl_error_set(error, "%s: %s", what, strerror(number));
	return -number;
}

/* The lock is on the directory, because the file itself is replaced. */
static int lock_directory(struct keys_file *file, struct vl_error *error)
{
	char *copy = strdup(file->path);

	if (copy == NULL)
		return failed(error, "cannot lock", ENOMEM);
	file->directory = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (file->directory < 0 || flock(file->directory, LOCK_EX) != 0)
		return failed(error, "cannot lock its directory", errno);
	return 0;
}

static int check_users(struct keys_file *file, struct vl_error *error)
{
	const cJSON *user;
	unsigned int i = 0;
	char path[64];

	file->users = cJSON_GetObjectItemCaseSensitive(file->document, "users");
	if (!cJSON_IsArray(file->users))
		return vl_error_at(error, "users", "is not a list");
	cJSON_ArrayForEach(user, file->users)
	{
		const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(user, "name"));

		snprintf(path, sizeof(path), "users[%u].name", i++);
		if (name == NULL || strlen(name) >= USERS_NAME_SIZE || !vl_setting_user(name))
			return vl_error_at(error, path, "is not %s", VL_USER_EXPECTED);
	}
	return 0;
}

static int read_document(struct keys_file *file, struct vl_error *error)
{
	struct vl_file text;
	struct stat status;
	int result = vl_file_read(file->path, USERS_FILE_MAX, &text, error);

	if (result != 0)
		return result;
	/* Whoever owns it may change it; that nobody else reads it is what matters. */
	result = vl_file_check_private(file->path, &text, text.owner, false, error);
	if (result == 0 && stat(file->path, &status) != 0)
		result = failed(error, "cannot look at it", errno);
	if (result == 0) {
		struct vl_error syntax = {0};

		file->mode = text.mode;
		file->owner = text.owner;
		file->group = status.st_gid;
		file->len = text.len;
		file->document = vl_json_parse(text.text, text.len, USERS_FILE_MAX, &syntax);
		if (file->document == NULL) {
			/* A place such as "line 3, column 7" is shown; a member's name could be a key in the wrong place. */
			bool place = strncmp(syntax.text, "line ", 5) == 0;

			result = vl_error_set(error, "%s", place ? syntax.text : "a member is given twice");
		}
	}
	vl_file_free(&text);
	return result != 0 ? result : check_users(file, error);
}

int keys_file_open(struct keys_file *file, const char *path, struct vl_error *error)
{
	int result;

	memset(file, 0, sizeof(*file));
	file->directory = -1;
	file->path = realpath(path, NULL);
	if (file->path == NULL)
		return failed(error, "cannot open", errno);
	result = lock_directory(file, error);
	return result != 0 ? result : read_document(file, error);
}

/* The document as text, to be overwritten and freed. cJSON_Print() would leave copies of it behind as it grows. */
static char *print_document(const struct keys_file *file, size_t *size)
{
	for (*size = 4 * file->len + 65536; *size < INT32_MAX; *size *= 2) {
		char *text = malloc(*size);

		if (text == NULL)
			return NULL;
		if (cJSON_PrintPreallocated(file->document, text, (int)*size, true))
			return text;
		explicit_bzero(text, *size);
		free(text);
	}
	return NULL;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t written = write(fd, text, len);

		if (written < 0 && errno != EINTR)
			return -errno;
		text += written > 0 ? written : 0;
		len -= written > 0 ? (size_t)written : 0;
	}
	return 0;
}

/* Everything is right with the new file before it takes the old one's place. */
static int replace_file(const struct keys_file *file, const char *text, struct vl_error *error)
{
	char path[4096 + 8];
	int fd, result;

	snprintf(path, sizeof(path), "%s.XXXXXX", file->path);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return failed(error, "cannot make a new file beside it", errno);
	result = write_all(fd, text, strlen(text));
	if (result == 0)
		result = write_all(fd, "\n", 1);
	if (result == 0 && (fchown(fd, file->owner, file->group) != 0 || fchmod(fd, file->mode) != 0 || fsync(fd) != 0))
		result = -errno;
	close(fd);
	if (result == 0 && rename(path, file->path) != 0)
		result = -errno;
	if (result != 0) {
		unlink(path);
		return failed(error, "cannot write a new file beside it", -result);
	}
	if (fsync(file->directory) != 0)
		return failed(error, "cannot be sure that it is on the disk", errno);
	return 0;
}

int keys_file_save(struct keys_file *file, struct vl_error *error)
{
	size_t size;
	char *text = print_document(file, &size);
	int result;

	if (text == NULL)
		return failed(error, "cannot write it", ENOMEM);
	result = replace_file(file, text, error);
	explicit_bzero(text, size);
	free(text);
	return result;
}

void keys_file_close(struct keys_file *file)
{
	vl_json_wipe(file->document);
	if (file->directory >= 0)
		close(file->directory);
	free(file->path);
	memset(file, 0, sizeof(*file));
	file->directory = -1;
}

cJSON *keys_file_text(const cJSON *user, const char *member)
{
	cJSON *item = cJSON_GetObjectItemCaseSensitive(user, member);

	return cJSON_IsString(item) ? item : NULL;
}

int keys_file_replace(cJSON *user, cJSON *key, const char *sealed)
{
	cJSON *item = cJSON_CreateString(sealed);
	char *name = item != NULL ? cJSON_malloc(sizeof("sealed_key")) : NULL;

	if (name == NULL) {
		cJSON_Delete(item);
		return -ENOMEM;
	}
	item->string = strcpy(name, "sealed_key");
	explicit_bzero(key->valuestring, strlen(key->valuestring));
	cJSON_ReplaceItemViaPointer(user, key, item);
	return 0;
}
