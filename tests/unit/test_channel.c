/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared/channel: creation, mapping and its refusals, and the rings between two honest sides, in one process and in two.
 */
#include "shared/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_ring_core.h>

#include "unit.h"

#define SLOTS 64u

/* The data plane's and the worker's view of one channel. */
static struct vl_channel plane, worker;
static int channel_fd;

static void setup(void)
{
	channel_fd = vl_channel_create(&plane, 2, SLOTS);
	ck_assert_int_ge(channel_fd, 0);
	ck_assert_int_eq(vl_channel_map(&worker, channel_fd), 0);
}

static void teardown(void)
{
	vl_channel_unmap(&worker);
	vl_channel_unmap(&plane);
	close(channel_fd);
}

/* A record whose bytes all follow from `number`. False when the ring is full. */
static bool put(struct vl_ring *ring, uint32_t number, uint16_t len)
{
	struct vl_record *record = vl_ring_reserve(ring, VL_RECORD_AUDIO, len);

	if (record == NULL)
		return false;
	record->session = number;
	memset(record->payload, (int)(number & 0xff), len);
	return true;
}

static bool all_bytes(const uint8_t *payload, uint32_t number, uint16_t len)
{
	for (uint16_t i = 0; i < len; i++)
		if (payload[i] != (number & 0xff))
			return false;
	return true;
}

static void expect(struct vl_ring *ring, uint32_t number, uint16_t len)
{
	struct vl_record header;
	const uint8_t *payload = NULL;

	ck_assert_int_eq(vl_ring_next(ring, &header, &payload), 1);
	ck_assert_uint_eq(header.type, VL_RECORD_AUDIO);
	ck_assert_uint_eq(header.session, number);
	ck_assert_uint_eq(header.len, len);
	ck_assert_uint_eq(header.generation, 0);
	ck_assert_uint_eq(header.tsc, 0);
	ck_assert(all_bytes(payload, number, len));
}

static void expect_none(struct vl_ring *ring)
{
	struct vl_record header;
	const uint8_t *payload;

	ck_assert_int_eq(vl_ring_next(ring, &header, &payload), 0);
}

START_TEST(test_channel_create_refuses)
{
	static const struct {
		unsigned int lcores;
		uint32_t slots;
	} cases[] = {{0, 64}, {VL_CHANNEL_LCORES_MAX + 1, 64}, {1, 0}, {1, 32}, {1, 63}, {1, 65}, {1, 96}, {1, 1u << 21},
		{1, UINT32_MAX}};
	struct vl_channel channel;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(vl_channel_create(&channel, cases[i].lcores, cases[i].slots), -EINVAL);
		vl_channel_unmap(&channel);
	}
}
END_TEST

START_TEST(test_channel_create_largest_lcores)
{
	struct vl_channel channel;
	int fd = vl_channel_create(&channel, VL_CHANNEL_LCORES_MAX, 1024);

	ck_assert_int_ge(fd, 0);
	ck_assert_uint_eq(channel.lcores, VL_CHANNEL_LCORES_MAX);
	ck_assert_ptr_nonnull(channel.down[VL_CHANNEL_LCORES_MAX - 1].shared);
	/* The last element of the last ring is the file's end or before. */
	ck_assert(channel.down[VL_CHANNEL_LCORES_MAX - 1].slots + (size_t)1024 * VL_SLOT_SIZE <=
		  (uint8_t *)channel.base + channel.size);
	vl_channel_unmap(&channel);
	close(fd);
}
END_TEST

START_TEST(test_channel_is_sealed)
{
	ck_assert_int_eq(ftruncate(channel_fd, 4096), -1);
	ck_assert_int_eq(ftruncate(channel_fd, (off_t)plane.size * 2), -1);
	ck_assert_int_eq(fcntl(channel_fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	ck_assert_int_eq(fcntl(channel_fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}
END_TEST

START_TEST(test_channel_map_refuses_other_files)
{
	static const int lacking[] = {0, F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_SHRINK | F_SEAL_SEAL, F_SEAL_GROW | F_SEAL_SEAL};
	struct vl_channel channel;
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	ck_assert_int_eq(vl_channel_map(&channel, fd), -EPROTO);
	close(fd);
	ck_assert_int_eq(vl_channel_map(&channel, -1), -EPROTO);
	for (size_t i = 0; i < sizeof(lacking) / sizeof(lacking[0]); i++) {
		fd = memfd_create("copy", MFD_ALLOW_SEALING | MFD_CLOEXEC);
		ck_assert_int_eq(write(fd, plane.base, plane.size), (ssize_t)plane.size);
		ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, lacking[i]), 0);
		ck_assert_int_eq(vl_channel_map(&channel, fd), -EPROTO);
		ck_assert_ptr_null(channel.base);
		close(fd);
	}
}
END_TEST

/* vl_channel_map() of a copy of the channel with `size` bytes and 32 bits at `offset` replaced. */
static int map_changed(size_t size, size_t offset, uint32_t value)
{
	static uint8_t copy[1 << 20];
	struct vl_channel channel;
	int fd = memfd_create("copy", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	ck_assert_uint_le(plane.size, sizeof(copy));
	memset(copy, 0, sizeof(copy));
	memcpy(copy, plane.base, plane.size);
	memcpy(copy + offset, &value, sizeof(value));
	ck_assert_int_eq(write(fd, copy, size), (ssize_t)size);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	int result = vl_channel_map(&channel, fd);

	close(fd);
	vl_channel_unmap(&channel);
	return result;
}

START_TEST(test_channel_map_refuses_other_headers)
{
	static const struct {
		size_t offset;
		uint32_t value;
	} cases[] = {
		{0, 0},		  /* magic */
		{8, 2},		  /* ABI */
		{12, 0},	  /* lcores */
		{12, 1},	  /* fewer than the size says */
		{12, 3},	  /* more */
		{12, 33},	  /* too many */
		{12, 0x80000002}, /* would overflow the size */
		{16, 32},	  /* ring too small */
		{16, 128},	  /* larger than the file */
		{16, 96},	  /* no power of two */
		{16, 0x80000000}, /* would overflow */
		{20, 128},	  /* element size */
	};

	ck_assert_int_eq(map_changed(plane.size, 8, VL_CHANNEL_ABI), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_int_eq(map_changed(plane.size, cases[i].offset, cases[i].value), -EPROTO);
	ck_assert_int_eq(map_changed(plane.size - 1, 8, VL_CHANNEL_ABI), -EPROTO);
	ck_assert_int_eq(map_changed(plane.size + 1, 8, VL_CHANNEL_ABI), -EPROTO);
	ck_assert_int_eq(map_changed(100, 8, VL_CHANNEL_ABI), -EPROTO);
	ck_assert_int_eq(map_changed(4, 0, 0), -EPROTO);
}
END_TEST

START_TEST(test_channel_unmap_of_zero_is_legal)
{
	struct vl_channel channel = {0};

	vl_channel_unmap(&channel);
	vl_channel_unmap(&channel);
}
END_TEST

START_TEST(test_channel_stats_and_sleep_flag_are_shared)
{
	ck_assert_uint_eq(atomic_load(plane.worker_sleeps), 0);
	atomic_store(worker.worker_sleeps, 1);
	ck_assert_uint_eq(atomic_load(plane.worker_sleeps), 1);
	memset((void *)worker.stats, 0x5a, 64);
	ck_assert_int_eq(((const uint8_t *)plane.stats)[63], 0x5a);
}
END_TEST

START_TEST(test_ring_nothing_before_publish)
{
	expect_none(&worker.up[0]);
	ck_assert(put(&plane.up[0], 1, 160));
	expect_none(&worker.up[0]);
	vl_ring_publish(&plane.up[0]);
	ck_assert_uint_eq(vl_ring_count(&worker.up[0]), 3);
	expect(&worker.up[0], 1, 160);
	expect_none(&worker.up[0]);
	ck_assert_uint_eq(vl_ring_count(&plane.up[0]), 3);
	vl_ring_release(&worker.up[0]);
	ck_assert_uint_eq(vl_ring_count(&plane.up[0]), 0);
	/* Rings do not touch each other. */
	expect_none(&worker.up[1]);
	expect_none(&plane.down[0]);
}
END_TEST

START_TEST(test_ring_publish_and_release_without_work_are_no_ops)
{
	plane.up[0].shared->prod.tail = 77;
	plane.up[0].shared->cons.tail = 78;
	vl_ring_publish(&plane.up[0]);
	vl_ring_release(&worker.up[0]);
	ck_assert_uint_eq(plane.up[0].shared->prod.tail, 77);
	ck_assert_uint_eq(plane.up[0].shared->cons.tail, 78);
}
END_TEST

START_TEST(test_ring_payload_bounds)
{
	static const struct {
		uint16_t len;
		uint8_t slots;
	} cases[] = {{0, 1}, {1, 1}, {32, 1}, {33, 2}, {96, 2}, {97, 3}, {160, 3}, {VL_RECORD_PAYLOAD_MAX, VL_RECORD_SLOTS_MAX}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vl_record *record = vl_ring_reserve(&worker.down[0], VL_RECORD_FRAME, cases[i].len);
		ck_assert_ptr_nonnull(record);
		ck_assert_uint_eq(record->slots, cases[i].slots);
		ck_assert_uint_eq(record->len, cases[i].len);
	}
	ck_assert_ptr_null(vl_ring_reserve(&worker.down[0], VL_RECORD_FRAME, VL_RECORD_PAYLOAD_MAX + 1));
	ck_assert_ptr_null(vl_ring_reserve(&worker.down[0], VL_RECORD_FRAME, UINT16_MAX));
	ck_assert(!vl_ring_is_broken(&worker.down[0]));
}
END_TEST

START_TEST(test_ring_full_and_again)
{
	uint32_t count = 0;

	while (put(&plane.up[0], count, 32))
		count++;
	ck_assert_uint_eq(count, SLOTS - 1);
	vl_ring_publish(&plane.up[0]);
	expect(&worker.up[0], 0, 32);
	ck_assert(!put(&plane.up[0], count, 32)); /* read, but not released */
	vl_ring_release(&worker.up[0]);
	ck_assert(put(&plane.up[0], count, 32));
	ck_assert(!put(&plane.up[0], count, 32));
	vl_ring_publish(&plane.up[0]);
	for (uint32_t i = 1; i <= count; i++)
		expect(&worker.up[0], i, 32);
	expect_none(&worker.up[0]);
	ck_assert(!vl_ring_is_broken(&plane.up[0]) && !vl_ring_is_broken(&worker.up[0]));
}
END_TEST

/* Lengths of every slot count, in an order that meets the ring's end at every distance. */
static uint16_t length_of(uint32_t number)
{
	return (uint16_t)((number * 7919u) % (VL_RECORD_PAYLOAD_MAX + 1));
}

START_TEST(test_ring_wraps_with_all_lengths)
{
	uint32_t produced = 0, consumed = 0;

	/* Also over the wrap of the 32-bit index. */
	struct vl_ring *producer = &plane.up[0], *consumer = &worker.up[0];

	producer->position = producer->published = producer->peer = UINT32_MAX - 1023;
	consumer->position = consumer->published = consumer->peer = UINT32_MAX - 1023;
	producer->shared->prod.tail = producer->shared->cons.tail = UINT32_MAX - 1023;
	while (consumed < 20000) {
		for (uint32_t burst = produced % 5 + 1; burst > 0 && put(producer, produced, length_of(produced)); burst--)
			produced++;
		vl_ring_publish(producer);
		for (uint32_t burst = consumed % 3 + 1; burst > 0 && consumed < produced; burst--, consumed++)
			expect(consumer, consumed, length_of(consumed));
		vl_ring_release(consumer);
	}
	ck_assert(!vl_ring_is_broken(producer) && !vl_ring_is_broken(consumer));
}
END_TEST

#define RECORDS 20000u

/* The worker in a process of its own: every record must come once, in order and whole. Exit status 0 if so. */
/* A whole record at once, as the data plane writes them; what is behind it in its last element stays as it was. */
START_TEST(test_ring_put)
{
	static const uint16_t lens[] = {0, 1, 31, 32, 33, 80, 160, 161, VL_RECORD_PAYLOAD_MAX};
	uint8_t payload[VL_RECORD_PAYLOAD_MAX];
	uint32_t count = 0;

	for (uint32_t number = 0; number < 500; number++) {
		struct vl_record record = {
			.type = VL_RECORD_AUDIO, .slots = 77, .len = lens[number % 9], .session = number, .tsc = number};
		const uint8_t *got;

		memset(payload, (int)(number & 0xff), sizeof(payload));
		ck_assert(vl_ring_put(&plane.up[0], &record, payload));
		vl_ring_publish(&plane.up[0]);
		ck_assert_int_eq(vl_ring_next(&worker.up[0], &record, &got), 1);
		ck_assert_uint_eq(record.session, number);
		ck_assert_uint_eq(record.tsc, number);
		ck_assert_uint_eq(record.len, lens[number % 9]);
		ck_assert(all_bytes(got, number, record.len));
		vl_ring_release(&worker.up[0]);
	}
	struct vl_record long_one = {.type = VL_RECORD_AUDIO, .len = VL_RECORD_PAYLOAD_MAX + 1};
	struct vl_record small = {.type = VL_RECORD_AUDIO, .len = 32};

	ck_assert(!vl_ring_put(&plane.up[0], &long_one, payload));
	while (count <= SLOTS && vl_ring_put(&plane.up[0], &small, payload))
		count++;
	ck_assert_uint_eq(count, SLOTS - 1);
}
END_TEST

static int consume_all(int fd)
{
	struct vl_channel channel;
	struct vl_record header;
	const uint8_t *payload;
	uint32_t consumed = 0;

	alarm(30); /* should the producer fail */
	if (vl_channel_map(&channel, fd) != 0)
		return 1;
	while (consumed < RECORDS) {
		int result = vl_ring_next(&channel.up[1], &header, &payload);

		if (result < 0)
			return 2;
		if (result == 0) {
			vl_ring_release(&channel.up[1]);
			sched_yield();
			continue;
		}
		if (header.session != consumed || header.len != length_of(consumed))
			return 3;
		if (!all_bytes(payload, consumed, header.len))
			return 4;
		consumed++;
	}
	vl_ring_release(&channel.up[1]);
	vl_channel_unmap(&channel);
	return 0;
}

START_TEST(test_ring_two_processes)
{
	int status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0)
		_exit(consume_all(channel_fd));
	for (uint32_t i = 0; i < RECORDS; i++) {
		while (!put(&plane.up[1], i, length_of(i))) {
			/* Full: what is in it cannot have been read, so the consumer must be alive. */
			vl_ring_publish(&plane.up[1]);
			sched_yield();
			ck_assert_msg(waitpid(child, &status, WNOHANG) == 0, "the consumer ended early");
		}
		if (i % 4 == 3)
			vl_ring_publish(&plane.up[1]);
	}
	vl_ring_publish(&plane.up[1]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert_uint_eq(vl_ring_count(&plane.up[1]), 0);
	ck_assert(!vl_ring_is_broken(&plane.up[1]));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("channel");

	unit_add(suite, "create", test_channel_create_refuses, test_channel_create_largest_lcores,
		test_channel_unmap_of_zero_is_legal);
	unit_add_fixture(suite, "map", setup, teardown, test_channel_is_sealed, test_channel_map_refuses_other_files,
		test_channel_map_refuses_other_headers, test_channel_stats_and_sleep_flag_are_shared);
	unit_add_fixture(suite, "ring", setup, teardown, test_ring_nothing_before_publish,
		test_ring_publish_and_release_without_work_are_no_ops, test_ring_payload_bounds, test_ring_full_and_again,
		test_ring_wraps_with_all_lengths, test_ring_put, test_ring_two_processes);
	return unit_run(suite);
}
