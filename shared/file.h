/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a small file (configuration, keys) into memory, with who owns it and who may read it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "json.h"

struct vl_file {
	char *text; /* NUL behind the last byte */
	size_t len;
	mode_t mode; /* permission bits */
	uid_t owner;
};

/*
 * Read a regular file of at most `max` bytes. Mode and owner are those of the very file that was read. At start, any process. The
 * caller frees with vl_file_free(). Returns 0 or -errno (-EMSGSIZE: too long, -EINVAL: no regular file) with the reason, to which
 * the caller adds the path.
 */
int vl_file_read(const char *path, size_t max, struct vl_file *file, struct vl_error *error);

/*
 * Whether a file of this mode and owner is a safe place for a secret, for a process of effective user `euid`: it belongs to that user or to root, and nobody else may
 * read or write it; `group_reads` lets its group read. Any process. Returns 0, or -EPERM with an error that says what to run.
 */
int vl_file_check_private(const char *path, const struct vl_file *file, uid_t euid, bool group_reads, struct vl_error *error);

/*
 * Whether what a file of this mode and owner says can be trusted by a process of effective user `euid`: it belongs to that user or
 * to root, and nobody else may write it. Any process. Returns 0, or -EPERM with an error that says what to run.
 */
int vl_file_check_trusted(const char *path, const struct vl_file *file, uid_t euid, struct vl_error *error);

/* Overwrite the text and free it. */
void vl_file_free(struct vl_file *file);
