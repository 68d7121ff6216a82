/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audio channel between the data plane and one worker: a sealed memfd that holds, per packet lcore, one ring up
 * (caller to model) and one ring down (model to caller), and the statistics that the worker publishes.
 *
 * Each ring is an rte_ring in SP/SC mode with 64-byte elements. Both sides reach it through struct vl_ring, an endpoint in
 * private memory that holds its own copy of the geometry and of its own position, so a peer that scribbles over the shared
 * header can garble its own audio but cannot make us read or write outside the ring (see doc/decisions.md).
 *
 * A worker that attaches again gets a new channel, so both sides begin every ring at index 0 and nothing is ever recovered from it.
 *
 * A record is a struct vl_record and its payload in consecutive elements; a record never wraps (a PAD record fills the end).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VL_CHANNEL_ABI	      1u  /* changes with any layout or meaning below */
#define VL_CHANNEL_LCORES_MAX 32u /* packet lcores one channel can serve */
#define VL_SLOT_SIZE	      64u /* bytes of a ring element */
#define VL_RECORD_SLOTS_MAX   16u
#define VL_RECORD_PAYLOAD_MAX (VL_RECORD_SLOTS_MAX * VL_SLOT_SIZE - 32u) /* bytes: 120 ms of G.711 and more */

enum vl_record_type {
	VL_RECORD_PAD = 1,     /* fills the end of the ring; carries nothing */
	VL_RECORD_AUDIO = 2,   /* up: one RTP packet's payload as it came */
	VL_RECORD_DRAINED = 3, /* up: the caller has been sent everything queued before the MARK of this turn */
	VL_RECORD_FRAME = 4,   /* down: one encoded 20 ms frame of `turn` */
	VL_RECORD_FLUSH = 5,   /* down: drop what is queued, `turn` is the new current turn */
	VL_RECORD_MARK = 6,    /* down: answer with DRAINED once everything before it has been sent */
};

#define VL_RECORD_F_MARKER  0x01u /* AUDIO: the RTP marker bit */
#define VL_RECORD_F_FLUSHED 0x02u /* DRAINED: the MARK was reached by a flush, not by playing */

/* One record. Writer: the producer of the ring; reader: its consumer. Little endian, both sides on one machine. */
struct vl_record {
	uint8_t type;	     /* enum vl_record_type */
	uint8_t slots;	     /* elements the record takes, 1..VL_RECORD_SLOTS_MAX; PAD: less, and always up to the ring's end */
	uint16_t len;	     /* payload bytes */
	uint32_t session;    /* session index in the data plane */
	uint32_t generation; /* of that index; a stale record is recognised and dropped */
	union {
		uint32_t turn; /* FRAME, FLUSH, MARK, DRAINED: the worker's turn number, counted up by FLUSH only */
		uint32_t ssrc; /* AUDIO: a change of it begins another stream: sequence and timestamp continue nothing */
	};
	uint32_t timestamp;   /* AUDIO: RTP timestamp */
	uint16_t seq;	      /* AUDIO: RTP sequence number */
	uint8_t payload_type; /* AUDIO: RTP payload type */
	uint8_t flags;	      /* VL_RECORD_F_* */
	uint64_t
		tsc; /* AUDIO: arrival; FLUSH: when `interrupted` could be read; FRAME that begins an answer: when its message could */
	uint8_t payload[];
};
_Static_assert(sizeof(struct vl_record) == 32, "a record header is half an element");

struct rte_ring;

/*
 * One side's view of one ring. In private memory; used by one thread, except where said. Two cache lines long, so that neighbours in
 * struct vl_channel, which belong to different lcores, never write the same line, wherever the struct lies.
 */
struct vl_ring {
	struct rte_ring *shared; /* in the memfd: the peer writes its own head and tail there */
	uint8_t *slots;		 /* in the memfd: the elements */
	uint32_t mask;		 /* private copy: elements - 1 */
	uint32_t position;	 /* our own index, next element to fill or to read; never read back from shared memory */
	uint32_t published;	 /* our index as the peer sees it */
	uint32_t peer;		 /* the peer's index as last read and checked */
	_Atomic bool broken;	 /* the peer broke the ring's rules. Writer: the endpoint's thread; readers: any of this side */
	uint8_t unused[91];
};
_Static_assert(sizeof(struct vl_ring) == 128, "two cache lines");

/* What a worker publishes about itself; all plain counters. Writer: the worker. Readers: data plane (telemetry). */
struct vl_worker_stats;

struct vl_channel {
	void *base;  /* the mapping */
	size_t size; /* bytes */
	unsigned int lcores;
	struct vl_ring up[VL_CHANNEL_LCORES_MAX];   /* data plane produces, worker consumes */
	struct vl_ring down[VL_CHANNEL_LCORES_MAX]; /* worker produces, data plane consumes */
	struct vl_worker_stats *stats;
	_Atomic uint32_t *worker_sleeps; /* writer: worker (1 before it blocks, 0 after); reader: control thread */
};

/*
 * Create a channel: a sealed memfd with `lcores` ring pairs of `ring_slots` elements each (a power of two, 64..1<<20), mapped
 * and with endpoints for the data plane's side. Control thread. Returns the memfd (the caller closes it) or -errno
 * (EINVAL, ENOMEM, ...); `channel` is owned by the caller until vl_channel_unmap().
 */
int vl_channel_create(struct vl_channel *channel, unsigned int lcores, uint32_t ring_slots);

/*
 * Map a channel received from the data plane, with endpoints for the worker's side. Every offset and size is checked against the
 * file's real size and seals. Worker loop. Returns 0 or -errno (EPROTO: not a channel of this ABI). Does not take `fd` over.
 */
int vl_channel_map(struct vl_channel *channel, int fd);

/* Unmap; legal on a zeroed struct. Whoever created or mapped it, when no thread uses its endpoints any more. */
void vl_channel_unmap(struct vl_channel *channel);

/*
 * Reserve room for a record with `payload_len` bytes and return it with type, slots, len set and the rest zero, to be filled in
 * place; NULL when the ring is full or broken (or payload_len > VL_RECORD_PAYLOAD_MAX). Not visible to the peer before
 * vl_ring_publish(). Producer's thread: lcore or worker loop.
 */
struct vl_record *vl_ring_reserve(struct vl_ring *ring, uint8_t type, uint16_t payload_len);

/*
 * Reserve a record like `header` (type and len; slots is set here) and copy it and header->len bytes of payload there. Elements a few
 * records on are fetched meanwhile: a ring is larger than the caches keep, so the next records would wait for each line they write.
 * Returns false where vl_ring_reserve() returns NULL. Producer's thread.
 */
bool vl_ring_put(struct vl_ring *ring, const struct vl_record *header, const uint8_t *payload);

/* Make every reserved record visible; nothing reserved: no-op. Producer's thread. */
void vl_ring_publish(struct vl_ring *ring);

/*
 * Next record: its header is copied to `header` (so the peer cannot change it after the check) and `*payload` points at
 * header->len bytes in shared memory, valid until vl_ring_release(); their content may change under a hostile peer. PAD is skipped.
 * Returns 1, 0 when there is none, -EPROTO when the peer broke the ring (index out of range; type, slots or len impossible), then and
 * ever after. Which types make sense in this direction is the caller's to check. Consumer's thread.
 */
int vl_ring_next(struct vl_ring *ring, struct vl_record *header, const uint8_t **payload);

/* Give the elements of every record read so far back to the producer; nothing read: no-op. Consumer's thread. */
void vl_ring_release(struct vl_ring *ring);

/* Elements published and not yet released, as this side sees it. Any thread of this side; a snapshot. */
uint32_t vl_ring_count(const struct vl_ring *ring);

/* Whether the peer broke the ring's rules: it is lost until the worker attaches again. Any thread of this side. */
static inline bool vl_ring_is_broken(const struct vl_ring *ring)
{
	return atomic_load_explicit(&ring->broken, memory_order_relaxed);
}
