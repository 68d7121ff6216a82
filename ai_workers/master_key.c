/* SPDX-License-Identifier: Apache-2.0 */
/* See master_key.h. */
#include "master_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../shared/file.h"
#include "tty.h"

#define HEX_LEN	  (2u * SEAL_MASTER_SIZE)
#define TEXT_SIZE (HEX_LEN + 2u) /* with a newline, and one byte that shows that it is too long */

static bool is_prompt(const struct master_key *master)
{
	return strcmp(master->source, "prompt") == 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int master_key_parse(const char *text, size_t len, uint8_t key[SEAL_MASTER_SIZE])
{
	if (len == SEAL_MASTER_SIZE) {
		memcpy(key, text, len);
		return 0;
	}
	if (len == HEX_LEN + 1 && text[HEX_LEN] == '\n')
		len--;
	if (len != HEX_LEN)
		return -EINVAL;
	for (size_t i = 0; i < SEAL_MASTER_SIZE; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		key[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

/* Straight into secret memory: vl_file_read() would pass it through the heap. Returns the length or -errno. */
static ssize_t read_file(const struct master_key *master, const char *path, bool credential, char *text, struct vl_error *error)
{
	/* Not waiting, so that a FIFO in the file's place cannot stop the start. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct vl_file file = {0};
	struct stat status;
	ssize_t len = -EINVAL;

	if (fd < 0 || fstat(fd, &status) < 0) {
		len = -errno;
		vl_error_set(error, "%s: %s", path, strerror(errno));
	} else if (!S_ISREG(status.st_mode)) {
		vl_error_set(error, "%s: not a regular file", path);
	} else {
		char reason[256];

		file.mode = status.st_mode & 07777;
		file.owner = status.st_uid;
		/* systemd gives the service its credential by an access list, whose mask shows as the group's bits. */
		len = vl_file_check_private(path, &file, master->any_owner ? file.owner : geteuid(), credential, error);
		if (len != 0) {
			snprintf(reason, sizeof(reason), "%s", error->text);
			vl_error_set(error, "%s: %s", path, reason);
		} else {
			len = read(fd, text, TEXT_SIZE);
			if (len < 0) {
				len = -errno;
				vl_error_set(error, "%s: %s", path, strerror(errno));
			}
		}
	}
	if (fd >= 0)
		close(fd);
	return len;
}

static ssize_t read_source(struct master_key *master, char *text, struct vl_error *error)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	char path[4096];

	if (is_prompt(master))
		return tty_ask("Voxlane master key (64 hex digits): ", text, TEXT_SIZE, error);
	if (strcmp(master->source, "credential") != 0)
		return read_file(master, master->source, false, text, error);
	if (directory == NULL) {
		vl_error_set(error,
			"no credentials were passed (CREDENTIALS_DIRECTORY is not set); the unit needs LoadCredential=%s:FILE",
			MASTER_KEY_CREDENTIAL);
		return -ENOENT;
	}
	snprintf(path, sizeof(path), "%s/%s", directory, MASTER_KEY_CREDENTIAL);
	return read_file(master, path, true, text, error);
}

int master_key_load(struct master_key *master, struct vl_error *error)
{
	char *text;
	ssize_t len;
	int result;

	if (master->key != NULL)
		return 0;
	result = secret_pages_create(&master->pages, SEAL_MASTER_SIZE + TEXT_SIZE);
	if (result != 0) {
		vl_error_set(
			error, "cannot lock a page for the master key: %s; raise ulimit -l (LimitMEMLOCK=)", strerror(-result));
		return result;
	}
	master->key = secret_pages_take(&master->pages, SEAL_MASTER_SIZE);
	text = secret_pages_take(&master->pages, TEXT_SIZE);
	if (master->key == NULL || text == NULL) { /* the pages were made for both */
		master_key_wipe(master);
		return -ENOMEM;
	}
	len = read_source(master, text, error);
	result = len < 0 ? (int)len : master_key_parse(text, (size_t)len, master->key);
	if (len >= 0 && result != 0)
		vl_error_set(error,
			"the master key (%s) is neither 64 hex digits nor 32 bytes; make one: voxlanectl keys new-master FILE",
			master->source);
	explicit_bzero(text, TEXT_SIZE);
	if (result != 0)
		master_key_wipe(master);
	return result;
}

void master_key_forget(struct master_key *master)
{
	if (!is_prompt(master))
		master_key_wipe(master);
}

void master_key_wipe(struct master_key *master)
{
	secret_pages_destroy(&master->pages);
	master->key = NULL;
}
