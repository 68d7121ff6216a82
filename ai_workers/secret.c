/* SPDX-License-Identifier: Apache-2.0 */
/* See secret.h. */
#include "secret.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int secret_pages_create(struct secret_pages *pages, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *map, *base;
	int error;

	memset(pages, 0, sizeof(*pages));
	size = (size + page - 1) / page * page;
	map = mmap(NULL, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	base = map + page;
	if (mprotect(base, size, PROT_READ | PROT_WRITE) != 0 || mlock(base, size) != 0 ||
		madvise(base, size, MADV_DONTDUMP) != 0 || madvise(base, size, MADV_WIPEONFORK) != 0) {
		error = -errno;
		munmap(map, size + 2 * page);
		return error;
	}
	pages->base = base;
	pages->size = size;
	return 0;
}

void *secret_pages_take(struct secret_pages *pages, size_t size)
{
	void *taken = pages->base + pages->used;

	if (size > pages->size - pages->used)
		return NULL;
	pages->used += size;
	return taken;
}

void secret_pages_destroy(struct secret_pages *pages)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (pages->base != NULL) {
		explicit_bzero(pages->base, pages->size);
		munmap(pages->base - page, pages->size + 2 * page);
	}
	memset(pages, 0, sizeof(*pages));
}
