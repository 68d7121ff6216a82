/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints of the channel's rings: reserve and publish, next and release, see channel.h.
 *
 * The peer may be compromised and can write every byte of the mapping at any time. Therefore an endpoint takes exactly two things from shared
 * memory: the peer's tail, which is checked against our own private position before it is believed, and record headers, which are copied
 * once and then checked. Sizes and our own position come from private memory only; so every address formed here lies in the ring, and every
 * loop is bounded, whatever the peer writes.
 *
 * The tails are plain `volatile uint32_t` in struct rte_ring, so they are accessed with compiler builtins as DPDK does. Pairs:
 *   T1 producer: store-release of prod.tail  ->  T2 consumer: load-acquire of prod.tail   (a record is complete before it is seen)
 *   T3 consumer: store-release of cons.tail  ->  T4 producer: load-acquire of cons.tail   (a record was read before it is overwritten)
 * The heads are private to a side in SP/SC mode; they follow the tails only so that the struct stays a valid rte_ring.
 */
#include "channel.h"

#include <errno.h>
#include <string.h>

#include <rte_ring_core.h>

/* How far ahead of a record the elements of a later one are fetched, to be written: some packets' time at any number of rings. */
#define AHEAD_SLOTS 12u

static uint32_t slots_for(uint32_t payload_len)
{
	return ((uint32_t)sizeof(struct vl_record) + payload_len + VL_SLOT_SIZE - 1u) / VL_SLOT_SIZE;
}

static uint8_t *slot_at(const struct vl_ring *ring, uint32_t index)
{
	return ring->slots + (size_t)(index & ring->mask) * VL_SLOT_SIZE;
}

static void set_broken(struct vl_ring *ring)
{
	atomic_store_explicit(&ring->broken, true, memory_order_relaxed);
}

/* A header with everything but these members zero, written to shared memory. */
static struct vl_record *start_record(struct vl_ring *ring, uint8_t type, uint32_t slots, uint16_t len)
{
	struct vl_record *record = (struct vl_record *)slot_at(ring, ring->position);

	*record = (struct vl_record){.type = type, .slots = (uint8_t)slots, .len = len};
	ring->position += slots;
	return record;
}

/* Read how far the consumer is; it can only move forward, and not past what was published. */
static bool refresh_consumer(struct vl_ring *ring)
{
	uint32_t tail = __atomic_load_n(&ring->shared->cons.tail, __ATOMIC_ACQUIRE); /* T4 */

	if (tail - ring->peer > ring->published - ring->peer) {
		set_broken(ring);
		return false;
	}
	ring->peer = tail;
	return true;
}

/* Whether there are so many elements in a row at `position`, if need be behind a PAD. */
static bool make_room(struct vl_ring *ring, uint32_t slots)
{
	uint32_t to_end = ring->mask + 1u - (ring->position & ring->mask);
	uint32_t pad = slots > to_end ? to_end : 0;

	/* One element stays unused, as in every rte_ring of this kind. */
	if (ring->mask - (ring->position - ring->peer) < pad + slots) {
		if (!refresh_consumer(ring) || ring->mask - (ring->position - ring->peer) < pad + slots)
			return false;
	}
	if (pad != 0)
		start_record(ring, VL_RECORD_PAD, pad, 0);
	return true;
}

struct vl_record *vl_ring_reserve(struct vl_ring *ring, uint8_t type, uint16_t payload_len)
{
	if (payload_len > VL_RECORD_PAYLOAD_MAX || vl_ring_is_broken(ring))
		return NULL;
	uint32_t slots = slots_for(payload_len);

	return make_room(ring, slots) ? start_record(ring, type, slots, payload_len) : NULL;
}

bool vl_ring_put(struct vl_ring *ring, const struct vl_record *header, const uint8_t *payload)
{
	if (header->len > VL_RECORD_PAYLOAD_MAX || vl_ring_is_broken(ring))
		return false;
	uint32_t slots = slots_for(header->len);

	if (!make_room(ring, slots))
		return false;
	struct vl_record copy = *header;
	uint8_t *to = slot_at(ring, ring->position);

	copy.slots = (uint8_t)slots;
	ring->position += slots;
	for (uint32_t i = 0; i < slots; i++)
		__builtin_prefetch(slot_at(ring, ring->position + AHEAD_SLOTS + i), 1);
	memcpy(to, &copy, sizeof(copy));
	memcpy(to + sizeof(copy), payload, header->len);
	return true;
}

void vl_ring_publish(struct vl_ring *ring)
{
	if (ring->published == ring->position)
		return;
	ring->published = ring->position;
	__atomic_store_n(&ring->shared->prod.head, ring->position, __ATOMIC_RELAXED);
	__atomic_store_n(&ring->shared->prod.tail, ring->position, __ATOMIC_RELEASE); /* T1 */
}

/* Read how far the producer is; with what we have not released it cannot be more than a ring. */
static bool refresh_producer(struct vl_ring *ring)
{
	uint32_t tail = __atomic_load_n(&ring->shared->prod.tail, __ATOMIC_ACQUIRE); /* T2 */

	if (tail - ring->position > ring->mask - (ring->position - ring->published)) {
		set_broken(ring);
		return false;
	}
	ring->peer = tail;
	return true;
}

/* `header` is our copy. */
static bool header_is_possible(const struct vl_ring *ring, const struct vl_record *header)
{
	uint32_t to_end = ring->mask + 1u - (ring->position & ring->mask);

	if (header->slots > ring->peer - ring->position || header->slots > to_end)
		return false;
	if (header->type == VL_RECORD_PAD) /* a PAD at the ring's start would have no reason; this also ends the loop over PADs */
		return header->len == 0 && header->slots == to_end && to_end < VL_RECORD_SLOTS_MAX;
	return header->type > VL_RECORD_PAD && header->type <= VL_RECORD_MARK && header->len <= VL_RECORD_PAYLOAD_MAX &&
	       header->slots == slots_for(header->len);
}

int vl_ring_next(struct vl_ring *ring, struct vl_record *header, const uint8_t **payload)
{
	if (vl_ring_is_broken(ring))
		return -EPROTO;
	for (;;) {
		if (ring->peer == ring->position) {
			if (!refresh_producer(ring))
				return -EPROTO;
			if (ring->peer == ring->position)
				return 0;
		}
		const uint8_t *slot = slot_at(ring, ring->position);

		memcpy(header, slot, sizeof(*header));
		/* The compiler must not read the peer's memory again where it reads `header`. */
		atomic_signal_fence(memory_order_seq_cst);
		if (!header_is_possible(ring, header)) {
			set_broken(ring);
			return -EPROTO;
		}
		ring->position += header->slots;
		if (header->type != VL_RECORD_PAD) {
			*payload = slot + sizeof(*header);
			return 1;
		}
	}
}

void vl_ring_release(struct vl_ring *ring)
{
	if (ring->published == ring->position)
		return;
	ring->published = ring->position;
	__atomic_store_n(&ring->shared->cons.head, ring->position, __ATOMIC_RELAXED);
	__atomic_store_n(&ring->shared->cons.tail, ring->position, __ATOMIC_RELEASE); /* T3 */
}

uint32_t vl_ring_count(const struct vl_ring *ring)
{
	/* Only shared indices, so that another thread than the endpoint's may ask; one of them is the peer's, hence the bound. */
	uint32_t consumer = __atomic_load_n(&ring->shared->cons.tail, __ATOMIC_RELAXED);
	uint32_t count = __atomic_load_n(&ring->shared->prod.tail, __ATOMIC_RELAXED) - consumer;

	return count < ring->mask ? count : ring->mask;
}
