/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for keys: pages of their own that are never swapped out, never in a core file, empty in a forked child, and between pages that nobody may touch,
 * so that no overrun of another buffer reaches them. Overwritten before they are given back.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Zeroed: holds nothing. */
struct secret_pages {
	uint8_t *base;
	size_t size, used; /* bytes */
};

/* Make room for `size` bytes. Any thread. Returns 0, -EPERM or -ENOMEM (the process may not lock so much: RLIMIT_MEMLOCK) or another -errno, with nothing held. */
int secret_pages_create(struct secret_pages *pages, size_t size);

/* The next `size` bytes, zeroed; NULL when that is more than is left. Owner. They are gone with the pages. */
void *secret_pages_take(struct secret_pages *pages, size_t size);

/* Overwrite and unmap. Owner. Legal when zeroed; zeroed behind. */
void secret_pages_destroy(struct secret_pages *pages);
