/* SPDX-License-Identifier: Apache-2.0 */
/* See shard.h. */
#include "shard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shared/settings.h"

#define SUFFIX ".json"

static bool is_users_file(const char *name)
{
	size_t len = strlen(name);

	return len > sizeof(SUFFIX) - 1 && strcmp(name + len - (sizeof(SUFFIX) - 1), SUFFIX) == 0;
}

/* A directory that we may not even list hides the others well enough: their modes are their own workers' condition to start. */
static int check_others(const char *directory, const char *own, struct vl_error *error)
{
	DIR *list = opendir(directory);
	const struct dirent *entry;
	int result = 0;

	if (list == NULL && errno == EACCES)
		return 0;
	if (list == NULL) {
		vl_error_set(error, "%s: %s", directory, strerror(errno));
		return -ENOENT;
	}
	while (result == 0 && (entry = readdir(list)) != NULL) {
		if (!is_users_file(entry->d_name) || strcmp(entry->d_name, own) == 0)
			continue;
		if (faccessat(dirfd(list), entry->d_name, R_OK, AT_EACCESS) == 0) {
			vl_error_set(error,
				"user %u can also read %s/%.64s; let every shard run as a user of its own, and give each its "
				"file",
				geteuid(), directory, entry->d_name);
			result = -EPERM;
		}
	}
	closedir(list);
	return result;
}

int shard_users_path(char *path, size_t size, const char *directory, const char *shard, struct vl_error *error)
{
	char own[256];
	struct stat status;

	if (!vl_setting_name(shard) || strlen(shard) > 64) {
		vl_error_set(error, "--shard must be %s, of at most 64 characters", VL_NAME_EXPECTED);
		return -EINVAL;
	}
	if (geteuid() == 0) {
		vl_error_set(error,
			"root can read every shard; run this one as a user of its own (--user NAME, or User= in its unit)");
		return -EPERM;
	}
	if (stat(directory, &status) != 0 || !S_ISDIR(status.st_mode)) {
		vl_error_set(error, "with --shard, --users must be a directory that holds %s.json; %s is none", shard, directory);
		return -ENOTDIR;
	}
	if (status.st_uid != 0 && status.st_uid != geteuid()) {
		vl_error_set(error, "user %u may put files into %s; run: chown root %s", status.st_uid, directory, directory);
		return -EPERM;
	}
	if ((status.st_mode & 022) != 0) {
		vl_error_set(error, "its group or everybody may put files into %s; run: chmod go-w %s", directory, directory);
		return -EPERM;
	}
	snprintf(own, sizeof(own), "%s" SUFFIX, shard);
	if ((size_t)snprintf(path, size, "%s/%s", directory, own) >= size) {
		vl_error_set(error, "%s is too long a path", directory);
		return -ENAMETOOLONG;
	}
	return check_others(directory, own, error);
}
