/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of samples: order over wraps and growth, memory given back. */
#include "unit.h"

#include "ai_workers/byte_queue.h"

START_TEST(test_byte_queue_order)
{
	struct byte_queue queue = {0};
	uint8_t in[977], out[977], next_in = 0, next_out = 0;
	uint32_t random = 1;
	size_t held = 0;

	for (int round = 0; round < 5000; round++) {
		size_t push = (random = random * 1664525u + 1013904223u) >> 22,
		       pop = (random = random * 1664525u + 1013904223u) >> 22;

		push %= sizeof(in);
		/* Filling and emptying phases, so that it grows and wraps. */
		pop = pop % sizeof(out) / (round / 500 % 2 == 0 ? 4 : 1);
		for (size_t i = 0; i < push; i++)
			in[i] = next_in++;
		ck_assert_int_eq(byte_queue_push(&queue, in, push), 0);
		held += push;
		if (pop > held)
			pop = held;
		byte_queue_pop(&queue, out, pop);
		held -= pop;
		for (size_t i = 0; i < pop; i++)
			ck_assert_uint_eq(out[i], next_out++);
		ck_assert_uint_eq(queue.len, held);
	}
	byte_queue_clear(&queue);
}
END_TEST

/* What was taken is put back in front, over the wrap and over growth. */
START_TEST(test_byte_queue_push_front)
{
	struct byte_queue queue = {0};
	uint8_t in[5000], out[5000];

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t taken = 0; taken <= 1500; taken += 50) {
		ck_assert_int_eq(byte_queue_push(&queue, in, 1500), 0);
		byte_queue_pop(&queue, out, taken);
		ck_assert_int_eq(byte_queue_push_front(&queue, out, taken), 0);
		ck_assert_uint_eq(queue.len, 1500);
		byte_queue_pop(&queue, out, 1500);
		ck_assert_mem_eq(out, in, 1500);
	}
	ck_assert_int_eq(byte_queue_push(&queue, in + 4000, 1000), 0);
	ck_assert_int_eq(byte_queue_push_front(&queue, in, 4000), 0);
	byte_queue_pop(&queue, out, 5000);
	ck_assert_mem_eq(out, in, 5000);
	byte_queue_clear(&queue);
}
END_TEST

START_TEST(test_byte_queue_fill_and_memory)
{
	struct byte_queue queue = {0};
	uint8_t out[3000];

	ck_assert_int_eq(byte_queue_fill(&queue, 0xd5, 100000), 0);
	ck_assert_uint_eq(queue.len, 100000);
	byte_queue_pop(&queue, NULL, 97000);
	byte_queue_pop(&queue, out, 3000);
	for (size_t i = 0; i < sizeof(out); i++)
		ck_assert_uint_eq(out[i], 0xd5);
	ck_assert_ptr_null(queue.bytes); /* a minute's memory is not kept by a call that is silent now */
	ck_assert_int_eq(byte_queue_fill(&queue, 1, 10), 0);
	byte_queue_pop(&queue, NULL, 10);
	ck_assert_ptr_nonnull(queue.bytes);
	byte_queue_clear(&queue);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("byte_queue");

	unit_add(suite, "queue", test_byte_queue_order, test_byte_queue_push_front, test_byte_queue_fill_and_memory);
	return unit_run(suite);
}
