/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the rings' endpoints with a peer made of the input. The input is a list of steps: the peer writes bytes into elements, or an index; or our side
 * consumes, releases, reserves, publishes. Rings are on the heap, one element after the other and nothing behind them, so that ASan sees any access outside.
 */
#include "shared/channel.h"

#include <errno.h>
#include <string.h>

#include <rte_ring_core.h>

#include "fuzz.h"

#define SLOTS 64u
#define SIZE  (SLOTS * VL_SLOT_SIZE)

enum step { PEER_WRITES, PEER_PRODUCES, PEER_CONSUMES, PEER_INDEX, NEXT, RELEASE, RESERVE, PUBLISH, STEPS };

struct input {
	const uint8_t *data;
	size_t size;
};

static uint32_t take(struct input *input, size_t bytes)
{
	uint32_t value = 0;

	for (; bytes > 0 && input->size > 0; bytes--, input->size--)
		value = value << 8 | *input->data++;
	return value;
}

static volatile uint8_t payload_sum; /* so that reading the payload is not optimised away */

/* Consume until it ends; every payload lies in the ring and a ring has at most SLOTS records. */
static void consume(struct vl_ring *ring)
{
	struct vl_record header;
	const uint8_t *payload = NULL;
	unsigned int records = 0;
	int result;

	while ((result = vl_ring_next(ring, &header, &payload)) == 1) {
		fuzz_check(payload >= ring->slots + sizeof(header) && payload + header.len <= ring->slots + SIZE);
		fuzz_check(header.type > VL_RECORD_PAD && header.type <= VL_RECORD_MARK && header.len <= VL_RECORD_PAYLOAD_MAX);
		for (uint32_t i = 0; i < header.len; i++)
			payload_sum += payload[i];
		fuzz_check(++records < SLOTS);
	}
	fuzz_check(result == 0 || (result == -EPROTO && vl_ring_is_broken(ring)));
	fuzz_check(ring->position - ring->published < SLOTS);
}

static void reserve(struct vl_ring *ring, uint32_t len)
{
	struct vl_record *record = vl_ring_reserve(ring, VL_RECORD_AUDIO, (uint16_t)len);

	fuzz_check(ring->position - ring->peer < SLOTS);
	if (record == NULL)
		return;
	fuzz_check(!vl_ring_is_broken(ring) && record->len == (uint16_t)len);
	memset(record->payload, 0x5a, (uint16_t)len);
}

static void run_step(struct input *input, struct vl_ring *up, struct vl_ring *down)
{
	switch ((enum step)(take(input, 1) % STEPS)) {
	case PEER_WRITES: {
		uint32_t at = take(input, 2) % SIZE, len = take(input, 1) % 64u;

		for (uint32_t i = 0; i < len; i++)
			down->slots[(at + i) % SIZE] = (uint8_t)take(input, 1);
		break;
	}
	case PEER_PRODUCES:
		down->shared->prod.tail += take(input, 1) % 72u;
		break;
	case PEER_CONSUMES:
		up->shared->cons.tail += take(input, 1) % 72u;
		break;
	case PEER_INDEX: {
		volatile uint32_t *const words[] = {&down->shared->prod.tail, &up->shared->cons.tail, &down->shared->mask,
			&up->shared->mask, &down->shared->cons.tail, &up->shared->prod.tail};

		*words[take(input, 1) % 6u] = take(input, 4);
		break;
	}
	case NEXT:
		consume(down);
		break;
	case RELEASE:
		vl_ring_release(down);
		break;
	case RESERVE:
		reserve(up, take(input, 2) % (VL_RECORD_PAYLOAD_MAX + 2u));
		break;
	case PUBLISH:
		vl_ring_publish(up);
		break;
	default:
		abort();
	}
	fuzz_check(vl_ring_count(up) < SLOTS && vl_ring_count(down) < SLOTS);
}

static struct vl_ring new_ring(uint32_t index)
{
	struct vl_ring ring = {.mask = SLOTS - 1u, .position = index, .published = index, .peer = index};

	ring.shared = aligned_alloc(_Alignof(struct rte_ring), sizeof(*ring.shared));
	ring.slots = aligned_alloc(VL_SLOT_SIZE, SIZE);
	fuzz_check(ring.shared != NULL && ring.slots != NULL);
	memset(ring.shared, 0, sizeof(*ring.shared));
	memset(ring.slots, 0, SIZE);
	ring.shared->prod.tail = ring.shared->cons.tail = index;
	return ring;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	/* Near the wrap of the index or anywhere else. */
	uint32_t index = take(&input, 1);
	struct vl_ring up = new_ring(index - 128u), down = new_ring(index - 128u);

	while (input.size > 0)
		run_step(&input, &up, &down);
	consume(&down);
	free(up.slots);
	free(up.shared);
	free(down.slots);
	free(down.shared);
	return 0;
}
