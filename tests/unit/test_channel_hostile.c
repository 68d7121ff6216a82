/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared/channel against a peer that writes whatever it likes: each rule broken one by one, then random bytes over the whole mapping, between our calls and
 * at the same time from another process. The endpoint must stay in its ring, end, and say -EPROTO for ever once it has said it.
 */
#include "shared/channel.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_ring_core.h>

#include "unit.h"

#define SLOTS 64u
#define START 50u /* where the table's records begin: 14 elements to the ring's end */

static struct vl_channel plane;
static int channel_fd;

static void setup(void)
{
	channel_fd = vl_channel_create(&plane, 1, SLOTS);
	ck_assert_int_ge(channel_fd, 0);
}

static void teardown(void)
{
	vl_channel_unmap(&plane);
	close(channel_fd);
}

static struct vl_ring ring_at(const struct vl_ring *base, uint32_t index)
{
	return (struct vl_ring){.shared = base->shared,
		.slots = base->slots,
		.mask = base->mask,
		.position = index,
		.published = index,
		.peer = index};
}

/* A step of xorshift64. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

START_TEST(test_hostile_consumer_checks_header)
{
	static const struct {
		struct vl_record header;
		uint32_t published; /* elements */
		int result;
	} cases[] = {
		{{.type = VL_RECORD_FRAME, .slots = 3, .len = 160}, 3, 1},
		{{.type = VL_RECORD_FRAME, .slots = 14, .len = 800}, 14, -EPROTO}, /* more elements than the length needs */
		{{.type = VL_RECORD_FRAME, .slots = 14, .len = 864}, 14, 1},	   /* exactly to the ring's end */
		{{.type = VL_RECORD_FRAME, .slots = 15, .len = 928}, 15, -EPROTO}, /* over the ring's end */
		{{.type = VL_RECORD_FRAME, .slots = 3, .len = 160}, 2, -EPROTO},   /* more than published */
		{{.type = VL_RECORD_FRAME, .slots = 0, .len = 0}, 1, -EPROTO},
		{{.type = VL_RECORD_FRAME, .slots = 0, .len = 160}, 3, -EPROTO},
		{{.type = VL_RECORD_FRAME, .slots = 3, .len = 161}, 3, -EPROTO}, /* longer than its elements */
		{{.type = VL_RECORD_FRAME, .slots = 3, .len = UINT16_MAX}, 3, -EPROTO},
		{{.type = VL_RECORD_FRAME, .slots = 255, .len = UINT16_MAX}, 63, -EPROTO},
		{{.type = 0, .slots = 1, .len = 0}, 1, -EPROTO}, {{.type = VL_RECORD_MARK + 1, .slots = 1, .len = 0}, 1, -EPROTO},
		{{.type = 255, .slots = 1, .len = 0}, 1, -EPROTO}, {{.type = VL_RECORD_PAD, .slots = 14, .len = 0}, 14, 0},
		{{.type = VL_RECORD_PAD, .slots = 14, .len = 1}, 14, -EPROTO},
		{{.type = VL_RECORD_PAD, .slots = 0, .len = 0}, 14, -EPROTO},  /* would be read for ever */
		{{.type = VL_RECORD_PAD, .slots = 13, .len = 0}, 14, -EPROTO}, /* not to the end */
		{{.type = VL_RECORD_PAD, .slots = 15, .len = 0}, 15, -EPROTO}, /* over the end */
		{{.type = VL_RECORD_PAD, .slots = 14, .len = 0}, 13, -EPROTO}, /* more than published */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vl_ring ring = ring_at(&plane.down[0], START);
		struct vl_record header;
		const uint8_t *payload = NULL;

		memcpy(ring.slots + (size_t)START * VL_SLOT_SIZE, &cases[i].header, sizeof(header));
		ring.shared->prod.tail = START + cases[i].published;
		ck_assert_msg(vl_ring_next(&ring, &header, &payload) == cases[i].result, "case %zu", i);
		ck_assert(vl_ring_is_broken(&ring) == (cases[i].result < 0));
		if (cases[i].result >= 0)
			continue;
		/* For ever, even if the peer repairs it. */
		ck_assert_uint_eq(ring.position, START);
		memcpy(ring.slots + (size_t)START * VL_SLOT_SIZE, &cases[0].header, sizeof(header));
		ring.shared->prod.tail = START + 3;
		ck_assert_int_eq(vl_ring_next(&ring, &header, &payload), -EPROTO);
	}
}
END_TEST

START_TEST(test_hostile_pad_longer_than_any_record)
{
	struct vl_ring ring = ring_at(&plane.down[0], 20);
	struct vl_record header = {.type = VL_RECORD_PAD, .slots = SLOTS - 20};
	const uint8_t *payload;

	memcpy(ring.slots + 20 * VL_SLOT_SIZE, &header, sizeof(header));
	ring.shared->prod.tail = SLOTS;
	ck_assert_int_eq(vl_ring_next(&ring, &header, &payload), -EPROTO);
}
END_TEST

START_TEST(test_hostile_consumer_checks_tail)
{
	static const struct {
		uint32_t tail;
		int result;
	} cases[] = {{0, 0}, {1, 1}, {63, 1}, {64, -EPROTO}, {65, -EPROTO}, {0x80000000, -EPROTO}, {UINT32_MAX, -EPROTO}};
	const struct vl_record record = {.type = VL_RECORD_FRAME, .slots = 1, .len = 32};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vl_ring ring = ring_at(&plane.down[0], START);
		struct vl_record header;
		const uint8_t *payload;

		memcpy(ring.slots + (size_t)START * VL_SLOT_SIZE, &record, sizeof(record));
		ring.shared->prod.tail = START + cases[i].tail;
		ck_assert_msg(vl_ring_next(&ring, &header, &payload) == cases[i].result, "case %zu", i);
	}
}
END_TEST

START_TEST(test_hostile_consumer_counts_unreleased)
{
	struct vl_ring ring = ring_at(&plane.down[0], 0);
	struct vl_record header;
	const uint8_t *payload;
	const struct vl_record record = {.type = VL_RECORD_FRAME, .slots = 1, .len = 32};

	memcpy(ring.slots, &record, sizeof(record));
	memcpy(ring.slots + VL_SLOT_SIZE, &record, sizeof(record));
	ring.shared->prod.tail = 1;
	ck_assert_int_eq(vl_ring_next(&ring, &header, &payload), 1);
	/* One element is read and not released: 63 more would overwrite the payload we hold. */
	ring.shared->prod.tail = 1 + 63;
	ck_assert_int_eq(vl_ring_next(&ring, &header, &payload), -EPROTO);
}
END_TEST

START_TEST(test_hostile_producer_checks_tail)
{
	static const struct {
		uint32_t consumed;
		bool broken;
	} cases[] = {{63, false}, {1, false}, {0, false}, {64, true}, {65, true}, {0x80000000, true}, {UINT32_MAX, true}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vl_ring ring = ring_at(&plane.up[0], START);

		ring.shared->cons.tail = START;
		for (uint32_t slot = 0; slot < SLOTS - 1; slot++)
			ck_assert_ptr_nonnull(vl_ring_reserve(&ring, VL_RECORD_AUDIO, 0));
		vl_ring_publish(&ring);
		ring.shared->cons.tail = START + cases[i].consumed;
		ck_assert((vl_ring_reserve(&ring, VL_RECORD_AUDIO, 0) != NULL) == (!cases[i].broken && cases[i].consumed > 0));
		ck_assert(vl_ring_is_broken(&ring) == cases[i].broken);
		ring.shared->cons.tail = START + 63;
		ck_assert((vl_ring_reserve(&ring, VL_RECORD_AUDIO, 0) != NULL) == !cases[i].broken);
	}
}
END_TEST

START_TEST(test_hostile_consumer_passes_what_is_reserved)
{
	struct vl_ring ring = ring_at(&plane.up[0], 0);

	/* Reserved, not published: the consumer cannot have read it. */
	ring.shared->cons.tail = 0;
	for (uint32_t slot = 0; slot < SLOTS - 1; slot++)
		ck_assert_ptr_nonnull(vl_ring_reserve(&ring, VL_RECORD_AUDIO, 0));
	ring.shared->cons.tail = 1;
	ck_assert_ptr_null(vl_ring_reserve(&ring, VL_RECORD_AUDIO, 0));
	ck_assert(vl_ring_is_broken(&ring));
}
END_TEST

START_TEST(test_hostile_geometry_in_memory_is_not_used)
{
	struct vl_ring up = ring_at(&plane.up[0], 0), down = ring_at(&plane.down[0], 0);
	struct vl_record header, *record;
	const uint8_t *payload;

	memset(up.shared, 0xff, offsetof(struct rte_ring, prod));
	memset(down.shared, 0xff, offsetof(struct rte_ring, prod));
	for (uint32_t i = 0; i < 1000; i++) {
		record = vl_ring_reserve(&up, VL_RECORD_AUDIO, 160);
		ck_assert_ptr_nonnull(record);
		ck_assert((uint8_t *)record >= up.slots && (uint8_t *)record + 192 <= up.slots + (size_t)SLOTS * VL_SLOT_SIZE);
		vl_ring_publish(&up);
		up.shared->cons.tail = up.shared->prod.tail;
		memcpy(down.slots, up.slots, (size_t)SLOTS * VL_SLOT_SIZE);
		down.shared->prod.tail = up.shared->prod.tail;
		ck_assert_int_eq(vl_ring_next(&down, &header, &payload), 1);
		ck_assert(payload >= down.slots && payload + header.len <= down.slots + (size_t)SLOTS * VL_SLOT_SIZE);
		vl_ring_release(&down);
	}
}
END_TEST

START_TEST(test_hostile_count_is_bounded)
{
	plane.up[0].shared->prod.tail = 0x12345678;
	ck_assert_uint_le(vl_ring_count(&plane.up[0]), SLOTS - 1);
	plane.up[0].shared->cons.tail = 0x12345679;
	ck_assert_uint_le(vl_ring_count(&plane.up[0]), SLOTS - 1);
}
END_TEST

/* One write of the peer: mostly something plausible, so that it gets past the first check, otherwise any bytes anywhere. */
static void scribble(const struct vl_channel *channel, uint64_t *random)
{
	uint64_t choice = next_random(random);
	const struct vl_ring *ring = (choice & 1) != 0 ? &channel->up[0] : &channel->down[0];
	uint32_t step = (uint32_t)(choice >> 32) % 20;

	switch ((choice >> 1) % 8) {
	case 0:
	case 1:
		ring->shared->prod.tail += step;
		break;
	case 2:
		ring->shared->cons.tail += step;
		break;
	case 3:
		ring->shared->prod.tail = (uint32_t)next_random(random);
		ring->shared->size = (uint32_t)next_random(random);
		ring->shared->mask = (uint32_t)next_random(random);
		break;
	case 4:
		((volatile uint8_t *)channel->base)[next_random(random) % channel->size] = (uint8_t)choice;
		break;
	default: {
		volatile uint8_t *header = ring->slots + (next_random(random) % SLOTS) * VL_SLOT_SIZE;
		uint16_t len = (uint16_t)(next_random(random) % (VL_RECORD_PAYLOAD_MAX + 8));

		header[0] = (uint8_t)(step % (VL_RECORD_MARK + 2));
		header[1] = (uint8_t)(header[0] == VL_RECORD_PAD ? step : (32u + len + 63u) / 64u);
		header[2] = (uint8_t)len;
		header[3] = (uint8_t)(len >> 8);
	}
	}
}

static unsigned long read_sum;

/* A few calls of our side as both consumer and producer; every pointer must lie in its ring. */
static unsigned int use_endpoints(struct vl_ring *up, struct vl_ring *down, uint64_t *random)
{
	struct vl_record header, *record;
	const uint8_t *payload = NULL, *end = down->slots + (size_t)SLOTS * VL_SLOT_SIZE;
	unsigned int records = 0;

	for (int i = 0; i < 4 && vl_ring_next(down, &header, &payload) == 1; i++) {
		ck_assert(payload >= down->slots && payload + header.len <= end);
		ck_assert_uint_le(header.len, VL_RECORD_PAYLOAD_MAX);
		for (uint16_t byte = 0; byte < header.len; byte++)
			read_sum += payload[byte];
		records++;
	}
	vl_ring_release(down);
	record = vl_ring_reserve(up, VL_RECORD_AUDIO, (uint16_t)(next_random(random) % 1000));
	if (record != NULL) {
		uint8_t *at = (uint8_t *)record;

		/* Lengths are ours, not what the peer made of the header meanwhile: at least one element is ours to write. */
		ck_assert(at >= up->slots && at + VL_SLOT_SIZE <= up->slots + (size_t)SLOTS * VL_SLOT_SIZE);
		memset(record->payload, 0x55, VL_SLOT_SIZE - sizeof(*record));
		records++;
	}
	vl_ring_publish(up);
	/* A real owner would cut the peer off; here it goes on at the same place to see more. */
	if (vl_ring_is_broken(up)) {
		*up = ring_at(up, up->position);
		up->shared->cons.tail = up->position;
	}
	if (vl_ring_is_broken(down)) {
		*down = ring_at(down, down->position);
		down->shared->prod.tail = down->position;
	}
	return records;
}

START_TEST(test_hostile_scribbles_between_calls)
{
	struct vl_ring up = ring_at(&plane.up[0], 0), down = ring_at(&plane.down[0], 0);
	uint64_t random = 0x9e3779b97f4a7c15u;
	unsigned int records = 0;

	for (int i = 0; i < 200000; i++) {
		scribble(&plane, &random);
		records += use_endpoints(&up, &down, &random);
	}
	ck_assert_uint_gt(records, 20000); /* it was not refused at the door only */
}
END_TEST

static void scribble_for_ever(int fd)
{
	struct vl_channel channel;
	uint64_t random = 88172645463325252u;

	alarm(20);
	if (vl_channel_map(&channel, fd) != 0)
		_exit(1);
	for (;;)
		scribble(&channel, &random);
}

START_TEST(test_hostile_scribbles_at_the_same_time)
{
	struct vl_ring up = ring_at(&plane.up[0], 0), down = ring_at(&plane.down[0], 0);
	uint64_t random = 0x2545f4914f6cdd1du;
	int status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0)
		scribble_for_ever(channel_fd);
	for (int i = 0; i < 300000; i++)
		use_endpoints(&up, &down, &random);
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("channel_hostile");

	unit_add_fixture(suite, "consumer", setup, teardown, test_hostile_consumer_checks_header,
		test_hostile_pad_longer_than_any_record, test_hostile_consumer_checks_tail,
		test_hostile_consumer_counts_unreleased, test_hostile_count_is_bounded);
	unit_add_fixture(suite, "producer", setup, teardown, test_hostile_producer_checks_tail,
		test_hostile_consumer_passes_what_is_reserved, test_hostile_geometry_in_memory_is_not_used);
	unit_add_fixture(suite, "scribble", setup, teardown, test_hostile_scribbles_between_calls,
		test_hostile_scribbles_at_the_same_time);
	return unit_run(suite);
}
