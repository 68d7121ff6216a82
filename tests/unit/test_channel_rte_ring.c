/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared/channel against DPDK itself: our rings are what rte_ring_init() makes, and rte_ring's zero-copy calls work on the other side of an endpoint.
 */
#include "shared/channel.h"

#include <string.h>
#include <unistd.h>

#include <rte_ring.h>
#include <rte_ring_peek_zc.h>

#include "unit.h"

#define SLOTS 64u

static struct vl_channel plane;
static int channel_fd;

static void setup(void)
{
	channel_fd = vl_channel_create(&plane, 2, SLOTS);
	ck_assert_int_ge(channel_fd, 0);
}

static void teardown(void)
{
	vl_channel_unmap(&plane);
	close(channel_fd);
}

START_TEST(test_rte_ring_same_struct)
{
	static const struct {
		const char *name;
		bool up;
		unsigned int lcore;
	} cases[] = {{"vl_up_0", true, 0}, {"vl_down_0", false, 0}, {"vl_up_1", true, 1}, {"vl_down_1", false, 1}};

	ck_assert_int_eq(rte_ring_get_memsize_elem(VL_SLOT_SIZE, SLOTS), sizeof(struct rte_ring) + (size_t)SLOTS * VL_SLOT_SIZE);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct vl_ring *ours = cases[i].up ? &plane.up[cases[i].lcore] : &plane.down[cases[i].lcore];
		struct rte_ring theirs;

		memset(&theirs, 0, sizeof(theirs));
		ck_assert_int_eq(rte_ring_init(&theirs, cases[i].name, SLOTS, RING_F_SP_ENQ | RING_F_SC_DEQ), 0);
		ck_assert_mem_eq(ours->shared, &theirs, sizeof(theirs));
		ck_assert_ptr_eq(ours->slots, (uint8_t *)&ours->shared[1]); /* where rte_ring has its elements */
		ck_assert_uint_eq((uintptr_t)ours->shared % RTE_CACHE_LINE_SIZE, 0);
	}
}
END_TEST

START_TEST(test_rte_ring_consumes_what_we_produce)
{
	struct vl_ring *ring = &plane.up[0];
	struct rte_ring_zc_data elements;

	for (uint32_t number = 0; number < 1000; number++) {
		struct vl_record *record = vl_ring_reserve(ring, VL_RECORD_AUDIO, 32);
		ck_assert_ptr_nonnull(record);
		record->session = number;
		vl_ring_publish(ring);
		ck_assert_uint_eq(rte_ring_count(ring->shared), 1);
		ck_assert_uint_eq(rte_ring_dequeue_zc_bulk_elem_start(ring->shared, VL_SLOT_SIZE, 1, &elements, NULL), 1);
		ck_assert_uint_eq(((const struct vl_record *)elements.ptr1)->session, number);
		rte_ring_dequeue_zc_elem_finish(ring->shared, 1);
		ck_assert(rte_ring_empty(ring->shared));
	}
}
END_TEST

START_TEST(test_rte_ring_produces_what_we_consume)
{
	struct vl_ring *ring = &plane.down[1];
	struct rte_ring_zc_data elements;
	struct vl_record header;
	const uint8_t *payload;

	for (uint32_t number = 0; number < 1000; number++) {
		ck_assert_uint_eq(rte_ring_enqueue_zc_bulk_elem_start(ring->shared, VL_SLOT_SIZE, 1, &elements, NULL), 1);
		*(struct vl_record *)elements.ptr1 =
			(struct vl_record){.type = VL_RECORD_FRAME, .slots = 1, .len = 32, .session = number};
		rte_ring_enqueue_zc_elem_finish(ring->shared, 1);
		ck_assert_int_eq(vl_ring_next(ring, &header, &payload), 1);
		ck_assert_uint_eq(header.session, number);
		vl_ring_release(ring);
		ck_assert(rte_ring_empty(ring->shared));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("channel_rte_ring");

	unit_add_fixture(suite, "compatibility", setup, teardown, test_rte_ring_same_struct,
		test_rte_ring_consumes_what_we_produce, test_rte_ring_produces_what_we_consume);
	return unit_run(suite);
}
