/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creation and mapping of the channel's memory, see channel.h. The file begins with one page of header, followed by the worker's statistics and by the
 * rings, up and down per lcore; each part begins a page. All offsets follow from the number of lcores and the ring size, so the header need not
 * name any, and the data plane never reads it back.
 *
 * The seals keep a peer from truncating the file under us (SIGBUS). A peer may still punch holes: that reads as zeros, an impossible record.
 */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_ring_core.h>

#include "worker_stats.h"

#define CHANNEL_MAGIC  0x31304c4e4843564cull /* "LVCHNL01" */
#define CHANNEL_SEALS  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define PART_ALIGN     4096u
#define RING_SLOTS_MIN 64u
#define RING_SLOTS_MAX (1u << 20)

/* First page of the file. Writer: data plane, once, before it sends the descriptor; reader: worker, once. */
struct channel_header {
	uint64_t magic;
	uint32_t abi;
	uint32_t lcores;
	uint32_t ring_slots;
	uint32_t slot_size;
	_Alignas(128) _Atomic uint32_t worker_sleeps; /* writer: worker; reader: control thread */
};
_Static_assert(sizeof(struct channel_header) <= PART_ALIGN, "the header is one page");

/* Offsets in the file. */
struct channel_layout {
	size_t stats;
	size_t rings;
	size_t ring_size; /* one ring with its struct */
	size_t size;
};

static size_t align_up(size_t size)
{
	return (size + PART_ALIGN - 1u) & ~(size_t)(PART_ALIGN - 1u);
}

static bool layout_of(struct channel_layout *layout, unsigned int lcores, uint32_t ring_slots)
{
	if (lcores == 0 || lcores > VL_CHANNEL_LCORES_MAX || ring_slots < RING_SLOTS_MIN || ring_slots > RING_SLOTS_MAX ||
		(ring_slots & (ring_slots - 1u)) != 0)
		return false;
	layout->stats = PART_ALIGN;
	layout->rings = layout->stats + align_up(sizeof(struct vl_worker_stats));
	layout->ring_size = align_up(sizeof(struct rte_ring) + (size_t)ring_slots * VL_SLOT_SIZE);
	layout->size = layout->rings + 2u * lcores * layout->ring_size;
	return true;
}

/* What rte_ring_init(ring, name, ring_slots, RING_F_SP_ENQ | RING_F_SC_DEQ) writes; a unit test compares the two. */
static void init_shared_ring(struct rte_ring *ring, const char *direction, unsigned int lcore, uint32_t ring_slots)
{
	memset(ring, 0, sizeof(*ring));
	snprintf(ring->name, sizeof(ring->name), "vl_%s_%u", direction, lcore);
	ring->flags = RING_F_SP_ENQ | RING_F_SC_DEQ;
	ring->size = ring_slots;
	ring->mask = ring_slots - 1u;
	ring->capacity = ring_slots - 1u;
	ring->prod.sync_type = RTE_RING_SYNC_ST;
	ring->cons.sync_type = RTE_RING_SYNC_ST;
}

static void attach_ring(struct vl_ring *ring, uint8_t *at, uint32_t ring_slots)
{
	*ring = (struct vl_ring){
		.shared = (struct rte_ring *)at,
		.slots = at + sizeof(struct rte_ring),
		.mask = ring_slots - 1u,
	};
}

/* Fill `channel` with endpoints that begin at index 0. */
static void attach(
	struct vl_channel *channel, uint8_t *base, const struct channel_layout *layout, unsigned int lcores, uint32_t ring_slots)
{
	*channel = (struct vl_channel){
		.base = base,
		.size = layout->size,
		.lcores = lcores,
		.stats = (struct vl_worker_stats *)(base + layout->stats),
		.worker_sleeps = &((struct channel_header *)base)->worker_sleeps,
	};
	for (unsigned int i = 0; i < lcores; i++) {
		uint8_t *pair = base + layout->rings + 2u * i * layout->ring_size;

		attach_ring(&channel->up[i], pair, ring_slots);
		attach_ring(&channel->down[i], pair + layout->ring_size, ring_slots);
	}
}

int vl_channel_create(struct vl_channel *channel, unsigned int lcores, uint32_t ring_slots)
{
	struct channel_layout layout;
	int fd, error;

	memset(channel, 0, sizeof(*channel));
	if (!layout_of(&layout, lcores, ring_slots))
		return -EINVAL;
	fd = memfd_create("voxlane-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)layout.size) != 0 || fcntl(fd, F_ADD_SEALS, CHANNEL_SEALS) != 0)
		goto fail;

	/* Populated now, so that no lcore takes the first page fault of a ring. */
	void *base = mmap(NULL, layout.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (base == MAP_FAILED)
		goto fail;
	madvise(base, layout.size, MADV_DONTDUMP); /* callers' speech has no place in a core file */
	attach(channel, base, &layout, lcores, ring_slots);
	for (unsigned int i = 0; i < lcores; i++) {
		init_shared_ring(channel->up[i].shared, "up", i, ring_slots);
		init_shared_ring(channel->down[i].shared, "down", i, ring_slots);
	}
	struct channel_header *header = base;

	header->abi = VL_CHANNEL_ABI;
	header->lcores = lcores;
	header->ring_slots = ring_slots;
	header->slot_size = VL_SLOT_SIZE;
	header->magic = CHANNEL_MAGIC;
	return fd;
fail:
	error = -errno;
	close(fd);
	return error;
}

int vl_channel_map(struct vl_channel *channel, int fd)
{
	struct channel_layout layout;
	struct channel_header header;
	struct stat file;

	memset(channel, 0, sizeof(*channel));
	int seals = fcntl(fd, F_GET_SEALS);

	/* Sealed first: from here on the size cannot change. A descriptor that is no memfd has no seals. */
	if (seals < 0 || (seals & CHANNEL_SEALS) != CHANNEL_SEALS)
		return -EPROTO;
	if (fstat(fd, &file) != 0)
		return -errno;
	ssize_t len = pread(fd, &header, sizeof(header), 0);

	if (len < 0)
		return -errno;
	if ((size_t)len != sizeof(header) || header.magic != CHANNEL_MAGIC || header.abi != VL_CHANNEL_ABI ||
		header.slot_size != VL_SLOT_SIZE)
		return -EPROTO;
	if (!layout_of(&layout, header.lcores, header.ring_slots) || (uint64_t)file.st_size != layout.size)
		return -EPROTO;
	void *base = mmap(NULL, layout.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	madvise(base, layout.size, MADV_DONTDUMP);
	attach(channel, base, &layout, header.lcores, header.ring_slots);
	return 0;
}

void vl_channel_unmap(struct vl_channel *channel)
{
	if (channel->base != NULL)
		munmap(channel->base, channel->size);
	memset(channel, 0, sizeof(*channel));
}
