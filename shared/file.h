/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a small file (configuration, keys) into memory, with who owns it and who may read it. */
#pragma once

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

/* Overwrite the text and free it. */
void vl_file_free(struct vl_file *file);
