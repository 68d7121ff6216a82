/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 20 ms wheel: every call beats once a period, exactly, without drift, whatever comes and goes.
 */
#include <string.h>

#include "dpdk_app/wheel.h"
#include "unit.h"

#define HZ     2494142347u /* divisible by nothing useful */
#define PERIOD (HZ / 50.0)
#define MAX    1000u

static struct wheel *wheel;
static uint64_t start = 123456789;

static void setup(void)
{
	wheel = wheel_init(malloc(wheel_size(MAX)), MAX, HZ, start);
}

static void teardown(void)
{
	free(wheel);
}

/* Walk to `now`; beats are counted per index and their times kept. */
static void walk(uint64_t now, uint32_t beats[MAX], uint64_t due[MAX])
{
	uint32_t indices[7];
	uint64_t due_tsc;
	unsigned int count;

	while ((count = wheel_due(wheel, now, indices, 7, &due_tsc)) > 0) {
		ck_assert_uint_le(due_tsc, now);
		for (unsigned int i = 0; i < count; i++) {
			beats[indices[i]]++;
			if (due != NULL)
				due[indices[i]] = due_tsc;
		}
	}
}

START_TEST(test_no_drift)
{
	uint32_t beats[MAX] = {0};
	uint64_t first[MAX], due[MAX];

	for (uint32_t i = 0; i < 200; i++)
		wheel_insert(wheel, i);
	walk(start + (uint64_t)PERIOD - 100, beats, first);
	for (uint32_t i = 0; i < 200; i++)
		ck_assert_uint_eq(beats[i], 1);
	/* Five minutes in uneven steps. */
	uint64_t now = start + (uint64_t)PERIOD;
	uint64_t end = start + (uint64_t)HZ * 300 - 100;

	for (uint32_t step = 1; now < end; step = step * 1103515245 + 12345) {
		now += step % (HZ / 25);
		walk(now < end ? now : end, beats, due);
	}
	for (uint32_t i = 0; i < 200; i++) {
		ck_assert_uint_eq(beats[i], 300 * 50);
		double ideal = (double)(first[i] - start) + (300 * 50 - 1) * PERIOD;

		ck_assert_double_lt(ideal - (double)(due[i] - start), 2.0);
		ck_assert_double_gt(ideal - (double)(due[i] - start), -2.0);
	}
}
END_TEST

START_TEST(test_first_beat)
{
	for (uint32_t i = 0; i < MAX; i++) {
		uint32_t beats[MAX] = {0};
		uint64_t now = start + (uint64_t)(i * PERIOD * 1.3);

		walk(now, beats, NULL);
		memset(beats, 0, sizeof(beats));
		wheel_insert(wheel, i);
		walk(now + (uint64_t)PERIOD + 1, beats, NULL);
		ck_assert_uint_ge(beats[i], 1);
		wheel_remove(wheel, i);
	}
}
END_TEST

static void spread(uint32_t *least, uint32_t *most)
{
	uint32_t indices[MAX];
	uint64_t due_tsc;

	*least = MAX;
	*most = 0;
	/* A walk of one period in slots. */
	for (unsigned int slot = 0; slot < WHEEL_SLOTS; slot++) {
		unsigned int count = wheel_due(wheel, start + slot * (HZ / 10000) + slot, indices, MAX, &due_tsc);

		*least = count < *least ? count : *least;
		*most = count > *most ? count : *most;
	}
}

START_TEST(test_spread)
{
	uint32_t least, most;

	for (uint32_t i = 0; i < MAX; i++)
		wheel_insert(wheel, i);
	spread(&least, &most);
	ck_assert_uint_eq(least, MAX / WHEEL_SLOTS);
	ck_assert_uint_eq(most, MAX / WHEEL_SLOTS);
}
END_TEST

START_TEST(test_spread_after_churn)
{
	uint32_t least, most, random = 1;

	for (uint32_t i = 0; i < MAX / 2; i++)
		wheel_insert(wheel, i);
	for (uint32_t i = 0; i < 100000; i++) {
		random = random * 1103515245 + 12345;
		uint32_t index = (random >> 8) % MAX;

		if (wheel_contains(wheel, index))
			wheel_remove(wheel, index);
		else
			wheel_insert(wheel, index);
	}
	spread(&least, &most);
	ck_assert_uint_le(most, 8);
}
END_TEST

/* Removal and insertion in the middle of a walk: nobody else misses or doubles a beat. */
START_TEST(test_changes_while_walking)
{
	uint32_t random = 7;
	uint64_t now = start;

	for (uint32_t i = 0; i < MAX; i++)
		wheel_insert(wheel, i);
	for (unsigned int period = 0; period < 50; period++) {
		uint32_t beats[MAX] = {0}, indices[3];
		bool touched[MAX] = {false};
		uint64_t due_tsc;
		unsigned int count;

		now = start + (uint64_t)(PERIOD * (period + 1)) - 10;
		while ((count = wheel_due(wheel, now, indices, 3, &due_tsc)) > 0) {
			for (unsigned int i = 0; i < count; i++)
				beats[indices[i]]++;
			random = random * 1103515245 + 12345;
			uint32_t index = (random >> 8) % MAX;

			touched[index] = true;
			if (wheel_contains(wheel, index))
				wheel_remove(wheel, index);
			else
				wheel_insert(wheel, index);
		}
		uint32_t members = 0;

		for (uint32_t i = 0; i < MAX; i++) {
			members += wheel_contains(wheel, i);
			if (!touched[i])
				ck_assert_uint_eq(beats[i], wheel_contains(wheel, i));
		}
		ck_assert_uint_eq(members, wheel_count(wheel));
	}
}
END_TEST

START_TEST(test_idempotent)
{
	wheel_remove(wheel, 5);
	ck_assert_uint_eq(wheel_count(wheel), 0);
	wheel_insert(wheel, 5);
	wheel_insert(wheel, 5);
	ck_assert_uint_eq(wheel_count(wheel), 1);
	wheel_remove(wheel, 5);
	wheel_remove(wheel, 5);
	ck_assert_uint_eq(wheel_count(wheel), 0);
	ck_assert(!wheel_contains(wheel, 5));
}
END_TEST

START_TEST(test_next)
{
	uint32_t beats[MAX] = {0};
	uint64_t now = start;

	ck_assert(wheel_next(wheel) == UINT64_MAX);
	wheel_insert(wheel, 1);
	for (unsigned int i = 1; i <= 500; i++) {
		uint64_t next = wheel_next(wheel);

		ck_assert_uint_ge(next + WHEEL_SLOTS, now);
		ck_assert_uint_le(next, now + (uint64_t)PERIOD + WHEEL_SLOTS);
		if (next > now + WHEEL_SLOTS) {
			walk(next - WHEEL_SLOTS, beats, NULL);
			ck_assert_uint_eq(beats[1], i - 1);
		}
		now = next + WHEEL_SLOTS;
		walk(now, beats, NULL);
		ck_assert_uint_eq(beats[1], i);
	}
}
END_TEST

/* A stop of 150 ms is caught up with, one of a minute is not. */
START_TEST(test_stall)
{
	uint32_t beats[MAX] = {0};

	wheel_insert(wheel, 1);
	walk(start + HZ / 1000 * 150, beats, NULL);
	ck_assert_uint_ge(beats[1], 7);
	ck_assert_uint_le(beats[1], 8);
	ck_assert_uint_eq(wheel_skipped(wheel), 0);
	beats[1] = 0;
	walk(start + 60 * (uint64_t)HZ, beats, NULL);
	ck_assert_uint_le(beats[1], 1);
	/* What is skipped is counted. */
	ck_assert_uint_ge(wheel_skipped(wheel), 2980);
	ck_assert_uint_le(wheel_skipped(wheel), 3000);
	beats[1] = 0;
	for (unsigned int i = 1; i <= 100; i++)
		walk(start + 60 * (uint64_t)HZ + i * (HZ / 100), beats, NULL);
	ck_assert_uint_ge(beats[1], 49);
	ck_assert_uint_le(beats[1], 51);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wheel");

	unit_add_fixture(suite, "beat", setup, teardown, test_no_drift, test_first_beat, test_spread, test_spread_after_churn,
		test_changes_while_walking, test_idempotent, test_next, test_stall);
	return unit_run(suite);
}
