/* SPDX-License-Identifier: Apache-2.0 */
/* What the data plane remembers of the functions a model asked for. */
#include "dpdk_app/tool_requests.h"

#include <errno.h>
#include <stdio.h>

#include "unit.h"

START_TEST(test_tool_requests_are_asked_once)
{
	struct tool_request *list = NULL;

	ck_assert_ptr_null(tool_requests_find(list, "a"));
	ck_assert_ptr_null(tool_requests_first_open(list));
	ck_assert_int_eq(tool_requests_open(&list, "a"), 0);
	ck_assert_int_eq(tool_requests_open(&list, "a"), -EALREADY);
	ck_assert_int_eq(tool_requests_open(&list, "b"), 0);
	ck_assert_ptr_eq(tool_requests_first_open(list), tool_requests_find(list, "a"));
	tool_requests_find(list, "a")->state = TOOL_REQUEST_ANSWERED;
	ck_assert_ptr_eq(tool_requests_first_open(list), tool_requests_find(list, "b"));
	ck_assert_int_eq(tool_requests_open(&list, "a"), -EALREADY);
	/* The worker asks again for what was given up when it seemed to be gone. */
	tool_requests_find(list, "b")->state = TOOL_REQUEST_LOST;
	ck_assert_int_eq(tool_requests_open(&list, "b"), 0);
	ck_assert_int_eq(tool_requests_find(list, "b")->state, TOOL_REQUEST_OPEN);
	/* Another worker numbers its calls anew. */
	tool_requests_lost(list);
	ck_assert_ptr_null(tool_requests_first_open(list));
	ck_assert_int_eq(tool_requests_open(&list, "a"), 0);
	tool_requests_free(&list);
	ck_assert_ptr_null(list);
}
END_TEST

START_TEST(test_tool_requests_are_bounded)
{
	struct tool_request *list = NULL, *request;
	unsigned int count = 0;
	char id[16];

	for (unsigned int i = 0; i < 3 * TOOL_REQUESTS_MAX; i++) {
		snprintf(id, sizeof(id), "%u", i);
		ck_assert_int_eq(tool_requests_open(&list, id), 0);
		/* The first stays open: answered ones go before it. */
		if (i > 0)
			tool_requests_find(list, id)->state = TOOL_REQUEST_ANSWERED;
	}
	for (request = list; request != NULL; request = request->next)
		count++;
	ck_assert_uint_eq(count, TOOL_REQUESTS_MAX);
	ck_assert_ptr_nonnull(tool_requests_find(list, "0"));
	/* All open: still bounded. */
	for (unsigned int i = 0; i < 2 * TOOL_REQUESTS_MAX; i++) {
		snprintf(id, sizeof(id), "x%u", i);
		ck_assert_int_eq(tool_requests_open(&list, id), 0);
	}
	for (count = 0, request = list; request != NULL; request = request->next)
		count++;
	ck_assert_uint_eq(count, TOOL_REQUESTS_MAX);
	tool_requests_free(&list);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tool_requests");

	unit_add(suite, "list", test_tool_requests_are_asked_once, test_tool_requests_are_bounded);
	return unit_run(suite);
}
