/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of calls: indices, generations, quarantine, UUIDs, users, pages. */
#include "dpdk_app/calls.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct call *add(struct calls *calls, const char *user, uint32_t seed, uint64_t now_ms)
{
	uint8_t random[16];

	for (unsigned int i = 0; i < sizeof(random); i++)
		random[i] = (uint8_t)((seed * 2654435761u) >> (8 * (i % 4))) ^ (uint8_t)(i * 7);
	return calls_add(calls, user, random, now_ms);
}

START_TEST(test_calls_uuid_is_version_4)
{
	struct calls *calls = calls_new(2, 0);
	uint8_t random[16];
	struct call *call;

	memset(random, 0xff, sizeof(random));
	call = calls_add(calls, "admin2", random, 5);
	ck_assert_ptr_nonnull(call);
	ck_assert_str_eq(call->uuid, "ffffffff-ffff-4fff-bfff-ffffffffffff");
	ck_assert_uint_eq(call->created_ms, 5);
	ck_assert_uint_eq(call->worker, CALL_NO_WORKER);
	ck_assert_ptr_eq(calls_find_uuid(calls, call->uuid), call);
	ck_assert_ptr_null(calls_find_uuid(calls, "ffffffff"));
	ck_assert_ptr_null(calls_find_uuid(calls, ""));
	ck_assert_ptr_null(calls_add(calls, "admin2", random, 5));
	ck_assert_int_eq(errno, EEXIST);
	ck_assert_uint_eq(calls_count(calls), 1);
	calls_free(calls);
}
END_TEST

START_TEST(test_calls_refuses_bad_user_names)
{
	struct calls *calls = calls_new(2, 0);
	char name[CALL_USER_SIZE + 1];

	memset(name, 'a', sizeof(name));
	name[CALL_USER_SIZE] = 0;
	ck_assert_ptr_null(add(calls, name, 1, 0));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(add(calls, "", 1, 0));
	ck_assert_int_eq(errno, EINVAL);
	name[CALL_USER_SIZE - 1] = 0;
	ck_assert_ptr_nonnull(add(calls, name, 1, 0));
	calls_free(calls);
}
END_TEST

START_TEST(test_calls_index_rests_after_use)
{
	struct calls *calls = calls_new(2, 1000);
	struct call *a = add(calls, "u", 1, 0), *b = add(calls, "u", 2, 0);
	uint32_t index = a->ref.index;

	ck_assert_ptr_null(add(calls, "u", 3, 0));
	ck_assert_int_eq(errno, ENOSPC);
	calls_remove(calls, a, 10);
	ck_assert_ptr_null(add(calls, "u", 3, 1009));
	ck_assert_int_eq(errno, ENOSPC);
	a = add(calls, "u", 3, 1010);
	ck_assert_ptr_nonnull(a);
	ck_assert_uint_eq(a->ref.index, index);
	ck_assert_ptr_ne(a, b);
	calls_free(calls);
}
END_TEST

START_TEST(test_calls_generation_is_never_used_twice)
{
	struct calls *calls = calls_new(3, 0);
	uint32_t last[3] = {0};

	for (uint32_t i = 0; i < 3000; i++) {
		struct call *call = add(calls, "u", i, i);
		struct session_ref ref = call->ref;

		ck_assert_uint_lt(ref.index, 3);
		ck_assert_uint_eq(ref.generation, last[ref.index] + 1);
		last[ref.index] = ref.generation;
		ck_assert_ptr_eq(calls_find(calls, ref), call);
		ref.generation++;
		ck_assert_ptr_null(calls_find(calls, ref));
		ref.generation--;
		calls_remove(calls, call, i);
		ck_assert_ptr_null(calls_find(calls, ref));
		ck_assert_ptr_null(calls_at(calls, ref.index));
	}
	ck_assert_uint_eq(calls_count(calls), 0);
	ck_assert_ptr_null(calls_at(calls, 3));
	calls_free(calls);
}
END_TEST

START_TEST(test_calls_cancelled_index_need_not_rest)
{
	struct calls *calls = calls_new(2, 1000);
	struct call *a = add(calls, "u", 1, 0), *b = add(calls, "u", 2, 0);
	struct session_ref ref = b->ref;

	calls_remove(calls, a, 0);
	calls_cancel(calls, b);
	ck_assert_ptr_null(calls_find(calls, ref));
	b = add(calls, "u", 3, 0);
	ck_assert_ptr_nonnull(b);
	ck_assert_uint_eq(b->ref.index, ref.index);
	ck_assert_uint_ne(b->ref.generation, ref.generation);
	ck_assert_ptr_null(add(calls, "u", 4, 999));
	ck_assert_ptr_nonnull(add(calls, "u", 4, 1000));
	calls_free(calls);
}
END_TEST

START_TEST(test_calls_are_found_by_user)
{
	struct calls *calls = calls_new(8, 0);
	struct call *a = add(calls, "admin2", 1, 0), *b = add(calls, "agent4", 2, 0), *c = add(calls, "admin2", 3, 0);
	unsigned int seen = 0;

	ck_assert_ptr_eq(calls_of_user(calls, "admin2"), a);
	ck_assert_ptr_eq(a->user_next, c);
	ck_assert_ptr_null(c->user_next);
	ck_assert_ptr_eq(calls_of_user(calls, "agent4"), b);
	ck_assert_ptr_null(calls_of_user(calls, "admin"));
	calls_remove(calls, a, 0);
	ck_assert_ptr_eq(calls_of_user(calls, "admin2"), c);
	calls_remove(calls, c, 0);
	ck_assert_ptr_null(calls_of_user(calls, "admin2"));
	for (struct call *call = calls_next(calls, NULL); call != NULL; call = calls_next(calls, call))
		seen++;
	ck_assert_uint_eq(seen, 1);
	calls_free(calls);
}
END_TEST

/* Calls begin and end in any order, those of one lcore first: who begins goes where the fewest are. */
START_TEST(test_calls_spread_over_lcores)
{
	struct calls *calls = calls_new(64, 0);
	struct call *some[60];
	unsigned int count[4] = {0};

	for (uint32_t i = 0; i < 60; i++) {
		some[i] = add(calls, "u", i, 0);
		calls_give_lcore(calls, some[i], 4);
		ck_assert_uint_eq(some[i]->lcore, i % 4);
	}
	/* All calls of lcore 1 end, or were never seen by anybody; one of another lcore too. */
	for (uint32_t i = 1; i < 60; i += 4)
		i % 8 == 1 ? calls_remove(calls, some[i], 0) : calls_cancel(calls, some[i]);
	calls_remove(calls, some[0], 0);
	for (uint32_t i = 0; i < 16; i++) {
		struct call *call = add(calls, "u", 100 + i, 0);

		calls_give_lcore(calls, call, 4);
		count[call->lcore]++;
	}
	ck_assert_uint_eq(count[0], 1);
	ck_assert_uint_eq(count[1], 15);
	calls_free(calls);
}
END_TEST

START_TEST(test_calls_page_survives_the_end_of_its_anchor)
{
	struct calls *calls = calls_new(100, 0);
	struct call *page[7];
	char after[CALL_UUID_SIZE] = "", last[CALL_UUID_SIZE] = "";
	unsigned int seen = 0;
	size_t count;

	for (uint32_t i = 0; i < 100; i++)
		ck_assert_ptr_nonnull(add(calls, "u", i, 0));
	while ((count = calls_page(calls, after, page, 7)) > 0) {
		for (size_t i = 0; i < count; i++) {
			ck_assert_int_gt(strcmp(page[i]->uuid, last), 0);
			strcpy(last, page[i]->uuid);
		}
		seen += count;
		strcpy(after, last);
		calls_remove(calls, page[count - 1], 0);
	}
	ck_assert_uint_eq(seen, 100);
	ck_assert_uint_eq(calls_page(calls, "", page, 0), 0);
	calls_free(calls);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("calls");
	TCase *tcase = tcase_create("registry");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, test_calls_uuid_is_version_4);
	tcase_add_test(tcase, test_calls_refuses_bad_user_names);
	tcase_add_test(tcase, test_calls_index_rests_after_use);
	tcase_add_test(tcase, test_calls_generation_is_never_used_twice);
	tcase_add_test(tcase, test_calls_cancelled_index_need_not_rest);
	tcase_add_test(tcase, test_calls_are_found_by_user);
	tcase_add_test(tcase, test_calls_spread_over_lcores);
	tcase_add_test(tcase, test_calls_page_survives_the_end_of_its_anchor);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
