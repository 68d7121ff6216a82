/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a small file; see file.h. Plain read(), because stdio would leave a copy of a secret in its own buffer. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, size_t max, struct vl_file *file)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	if ((size_t)status.st_size > max)
		return -EMSGSIZE;
	file->mode = status.st_mode & 07777;
	file->owner = status.st_uid;
	file->text = malloc((size_t)status.st_size + 1);
	if (file->text == NULL)
		return -ENOMEM;
	while (file->len < (size_t)status.st_size) {
		ssize_t got = read(fd, file->text + file->len, (size_t)status.st_size - file->len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		file->len += (size_t)got;
	}
	file->text[file->len] = '\0';
	return 0;
}

int vl_file_read(const char *path, size_t max, struct vl_file *file, struct vl_error *error)
{
	/* Not waiting, so that a FIFO in the file's place cannot stop the start. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	memset(file, 0, sizeof(*file));
	int r = fd < 0 ? -errno : read_all(fd, max, file);
	if (fd >= 0)
		close(fd);
	if (r == 0)
		return 0;
	vl_file_free(file);
	if (r == -EINVAL)
		vl_error_set(error, "not a regular file");
	else if (r == -EMSGSIZE)
		vl_error_set(error, "longer than %zu bytes", max);
	else
		vl_error_set(error, "%s", strerror(-r));
	return r;
}

int vl_file_check_private(const char *path, const struct vl_file *file, uid_t euid, bool group_reads, struct vl_error *error)
{
	if (file->owner != euid && file->owner != 0) {
		vl_error_set(error,
			"belongs to user %u, who could read keys in it; if it is meant to hold them, run: chown %u %s",
			file->owner, euid, path);
		return -EPERM;
	}
	if ((file->mode & (group_reads ? 037 : 077)) != 0) {
		vl_error_set(error,
			"group or others may have access to it (mode %04o); if it is meant to hold keys, run: chmod 600 %s",
			file->mode, path);
		return -EPERM;
	}
	return 0;
}

int vl_file_check_trusted(const char *path, const struct vl_file *file, uid_t euid, struct vl_error *error)
{
	if (file->owner != euid && file->owner != 0) {
		vl_error_set(error, "belongs to user %u, who could change it; run: chown %u %s", file->owner, euid, path);
		return -EPERM;
	}
	if ((file->mode & 022) != 0) {
		vl_error_set(error, "group or others may change it (mode %04o); run: chmod go-w %s", file->mode, path);
		return -EPERM;
	}
	return 0;
}

void vl_file_free(struct vl_file *file)
{
	if (file->text != NULL)
		explicit_bzero(file->text, file->len);
	free(file->text);
	memset(file, 0, sizeof(*file));
}
