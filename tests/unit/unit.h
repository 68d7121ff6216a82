/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main() of a unit test: runs one check suite and reports in the way the environment asks for (CK_TAP_LOG_FILE_NAME, CK_VERBOSITY, CK_FORK).
 */
#pragma once

#include <check.h>
#include <stdlib.h>

/* Run `suite` and free it. Returns what main() returns. */
static inline int unit_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Add a tcase of one behaviour with its test functions; `setup` and `teardown` (or NULL) run around each of them. */
#define unit_add_fixture(suite, name, setup, teardown, ...)                        \
	do {                                                                       \
		const TTest *const tests_[] = {__VA_ARGS__};                       \
		TCase *tcase_ = tcase_create(name);                                \
		tcase_add_checked_fixture(tcase_, setup, teardown);                \
		for (size_t i_ = 0; i_ < sizeof(tests_) / sizeof(tests_[0]); i_++) \
			tcase_add_test(tcase_, tests_[i_]);                        \
		suite_add_tcase(suite, tcase_);                                    \
	} while (0)
#define unit_add(suite, name, ...) unit_add_fixture(suite, name, NULL, NULL, __VA_ARGS__)
