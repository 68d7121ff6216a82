/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See record_file.h. One write() a line with O_APPEND: the kernel puts it at the end whoever else writes, and only a full disk, a
 * signal that kills, or a limit can cut it.
 */
#include "record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TAIL_MAX (1u << 20) /* bytes looked at for the last line: no record is nearly as long */

struct record_file {
	struct record_file_settings settings;
	int fd;
	dev_t device;
	ino_t inode;
	uint64_t size;
	char *last; /* the file's last line, as it was found at open; or what is there of one cut short */
	size_t last_len;
	bool torn; /* it has no newline */
	uint64_t rotations, torn_lines;
};

static int open_fd(struct record_file *file)
{
	int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	int fd = open(file->settings.path, flags);
	struct stat status;

	if (fd < 0 && errno == ENOENT) {
		fd = open(file->settings.path, flags | O_CREAT | O_EXCL, file->settings.mode);
		if (fd >= 0)
			(void)!fchmod(fd, file->settings.mode); /* or else as the umask has it: narrower, never wider */
	}
	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	file->fd = fd;
	file->device = status.st_dev;
	file->inode = status.st_ino;
	file->size = (uint64_t)status.st_size;
	return 0;
}

/* Keep the last line of what is there. */
static int read_tail(struct record_file *file)
{
	size_t len = file->size < TAIL_MAX ? (size_t)file->size : TAIL_MAX, got = 0, begin;
	char *tail = malloc(len + 1);

	if (tail == NULL)
		return -ENOMEM;
	while (got < len) {
		ssize_t n = pread(file->fd, tail + got, len - got, (off_t)(file->size - len + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(tail);
			return n < 0 ? -errno : -EIO;
		}
		got += (size_t)n;
	}
	file->torn = len > 0 && tail[len - 1] != '\n';
	begin = file->torn || len == 0 ? len : len - 1;
	while (begin > 0 && tail[begin - 1] != '\n')
		begin--;
	file->last_len = len - begin;
	memmove(tail, tail + begin, file->last_len);
	file->last = tail;
	return 0;
}

struct record_file *record_file_open(const struct record_file_settings *settings, struct vl_error *error)
{
	struct record_file *file = calloc(1, sizeof(*file));
	int result = file != NULL ? 0 : -ENOMEM;

	if (result == 0) {
		file->settings = *settings;
		file->fd = -1;
		result = open_fd(file);
	}
	if (result == 0)
		result = read_tail(file);
	if (result == 0)
		return file;
	record_file_close(file);
	vl_error_set(
		error, "cannot open %s: %s", settings->path, result == -EINVAL ? "it is not a regular file" : strerror(-result));
	errno = -result;
	return NULL;
}

void record_file_close(struct record_file *file)
{
	if (file == NULL)
		return;
	if (file->fd >= 0)
		close(file->fd);
	free(file->last);
	free(file);
}

bool record_file_has(const struct record_file *file, const char *line, size_t len)
{
	return !file->torn && file->last_len == len && memcmp(file->last, line, len) == 0;
}

bool record_file_began(const struct record_file *file, const char *line, size_t len)
{
	return file->torn && file->last != NULL && file->last_len < len && memcmp(file->last, line, file->last_len) == 0;
}

/* Whether the path still leads to the open file. */
static bool is_current(const struct record_file *file)
{
	struct stat status;

	return file->fd >= 0 && stat(file->settings.path, &status) == 0 && status.st_ino == file->inode &&
	       status.st_dev == file->device;
}

/* Take another file; the one before is closed when that has worked. */
static int change(struct record_file *file)
{
	int before = file->fd, result;

	result = open_fd(file);
	if (result < 0)
		return result;
	if (before >= 0)
		close(before);
	file->rotations++;
	return 0;
}

static int rotate(struct record_file *file, uint64_t now_unix_ms)
{
	char to[PATH_MAX], date[32];
	struct tm tm;

	do {
		time_t seconds = (time_t)(now_unix_ms / 1000);

		if (gmtime_r(&seconds, &tm) == NULL)
			return -EINVAL;
		strftime(date, sizeof(date), "%Y%m%dT%H%M%S", &tm);
		if ((size_t)snprintf(to, sizeof(to), "%s-%s.%03uZ", file->settings.path, date,
			    (unsigned int)(now_unix_ms % 1000)) >= sizeof(to))
			return -ENAMETOOLONG;
		now_unix_ms++;
	} while (access(to, F_OK) == 0);
	/* Where renaming is not allowed the file grows: that is better than no records. */
	return rename(file->settings.path, to) == 0 ? change(file) : 0;
}

/* Write from `*from` on, which is counted up. */
static int write_from(struct record_file *file, const char *line, size_t len, size_t *from)
{
	while (*from < len) {
		ssize_t n = write(file->fd, line + *from, len - *from);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		*from += (size_t)n;
		file->size += (uint64_t)n;
	}
	return 0;
}

static void forget_last(struct record_file *file)
{
	free(file->last);
	file->last = NULL;
	file->last_len = 0;
	file->torn = false;
}

/* Remember what is there of a line that could not be finished. */
static void keep_last(struct record_file *file, const char *line, size_t len)
{
	char *last = malloc(len); /* NULL: the line is not recognised then, and is closed off */

	forget_last(file);
	if (last != NULL)
		memcpy(last, line, len);
	file->last = last;
	file->last_len = len;
	file->torn = true;
}

/* Where to go on in `line` when the file's last line has no end. One that is not this line's beginning is closed off. */
static int mend(struct record_file *file, const char *line, size_t len, size_t *from)
{
	size_t written = 0;
	int result;

	if (!file->torn)
		return 0;
	if (record_file_began(file, line, len)) {
		*from = file->last_len;
		return 0;
	}
	result = write_from(file, "\n", 1, &written);
	if (result == 0) {
		forget_last(file);
		file->torn_lines++;
	}
	return result;
}

int record_file_write(struct record_file *file, const char *line, size_t len, uint64_t now_unix_ms)
{
	size_t from = 0;
	int result = mend(file, line, len, &from);

	if (result == 0 && from == 0 && !is_current(file))
		result = change(file);
	if (result == 0 && from == 0 && file->settings.max_bytes > 0 && file->size > 0 &&
		file->size + len > file->settings.max_bytes)
		result = rotate(file, now_unix_ms);
	if (result < 0)
		return result;
	result = write_from(file, line, len, &from);
	if (result == 0)
		forget_last(file);
	else if (from > 0)
		keep_last(file, line, from);
	return result;
}

int record_file_sync(struct record_file *file)
{
	return file->fd >= 0 && fdatasync(file->fd) < 0 ? -errno : 0;
}

uint64_t record_file_rotations(const struct record_file *file)
{
	return file->rotations;
}

uint64_t record_file_torn(const struct record_file *file)
{
	return file->torn_lines;
}
