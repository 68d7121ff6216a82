/* SPDX-License-Identifier: Apache-2.0 */
/* When a call that the model wants to end does end: on a simulated clock, against what the caller hears. */
#include "ai_workers/ending.h"

#include "unit.h"

#define START_MS 1000u

/* Tick every 5 ms from `from` until the call ends, at most `max_ms`. Returns when, 0: it did not. */
static uint64_t run(struct ending *ending, bool silent, bool complete, uint64_t from, uint64_t max_ms)
{
	for (uint64_t now = from; now <= from + max_ms; now += 5)
		if (ending_due(ending, silent, complete, now))
			return now;
	return 0;
}

START_TEST(test_ending_waits_for_the_goodbye)
{
	struct ending e = {0};

	ck_assert(!ending_due(&e, true, true, START_MS));
	ending_voice(&e);
	ck_assert(ending_begin(&e, START_MS));
	/* Six seconds of goodbye are still to be played. */
	ck_assert_uint_eq(run(&e, false, true, START_MS, 6000), 0);
	ck_assert_uint_eq(run(&e, true, true, START_MS + 6000, 2000), START_MS + 6000 + ENDING_GRACE_MS);
}
END_TEST

START_TEST(test_ending_asks_for_a_goodbye_that_was_not_said)
{
	struct ending e = {0};

	ck_assert(!ending_begin(&e, START_MS));
	/* Silence before it is not the silence behind it. */
	ck_assert_uint_eq(run(&e, true, true, START_MS, 3000), 0);
	ending_voice(&e);
	ck_assert_uint_eq(run(&e, false, false, START_MS + 3000, 1000), 0);
	ck_assert_uint_eq(run(&e, true, true, START_MS + 4000, 2000), START_MS + 4000 + ENDING_GRACE_MS);
}
END_TEST

/* The model did not say that this was all: a pause in the middle is not the end. */
START_TEST(test_ending_bears_a_pause)
{
	struct ending e = {0};

	ending_voice(&e);
	ending_begin(&e, START_MS);
	ck_assert_uint_eq(run(&e, true, false, START_MS, 1500), 0);
	ck_assert_uint_eq(run(&e, false, false, START_MS + 1500, 500), 0);
	ck_assert_uint_eq(run(&e, true, false, START_MS + 2000, 5000), START_MS + 2000 + ENDING_PAUSE_MS);
}
END_TEST

START_TEST(test_ending_is_bounded)
{
	struct ending mute = {0}, endless = {0};

	ending_begin(&mute, START_MS);
	ck_assert_uint_eq(run(&mute, true, true, START_MS, 20000), START_MS + ENDING_MAX_MS);
	ending_voice(&endless);
	ending_begin(&endless, START_MS);
	/* Asking again does not put it off. */
	ck_assert_uint_eq(run(&endless, false, false, START_MS, 10000), 0);
	ending_begin(&endless, START_MS + 10000);
	ck_assert_uint_eq(run(&endless, false, false, START_MS + 10000, 20000), START_MS + ENDING_MAX_MS);
}
END_TEST

START_TEST(test_ending_yields_to_the_caller)
{
	struct ending e = {0};

	ending_voice(&e);
	ending_begin(&e, START_MS);
	ending_caller(&e);
	ck_assert_uint_eq(run(&e, true, true, START_MS, 30000), 0);
	/* What was said before the caller spoke is no goodbye. */
	ck_assert(!ending_begin(&e, START_MS));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ending");

	unit_add(suite, "ending", test_ending_waits_for_the_goodbye, test_ending_asks_for_a_goodbye_that_was_not_said,
		test_ending_bears_a_pause, test_ending_is_bounded, test_ending_yields_to_the_caller);
	return unit_run(suite);
}
