/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc/telemetry.md and doc/interfaces.md are current: every counter, histogram, drop reason and event has its row there, with
 * the unit and meaning the code gives it, and every command is named. A row that is missing is printed, ready to be pasted.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dpdk_app/call_records.h"
#include "dpdk_app/drops.h"
#include "dpdk_app/event_names.h"
#include "dpdk_app/telemetry_lists.h"
#include "dpdk_app/workers.h"
#include "shared/worker_stats.h"

static char *read_page(const char *name)
{
	char path[1024];
	char *text;
	FILE *file;
	long size;

	snprintf(path, sizeof(path), "%s/doc/%s", VOXLANE_SOURCE_ROOT, name);
	file = fopen(path, "rb");
	ck_assert_msg(file != NULL, "cannot open %s", path);
	fseek(file, 0, SEEK_END);
	size = ftell(file);
	rewind(file);
	text = calloc(1, (size_t)size + 1);
	ck_assert_uint_eq(fread(text, 1, (size_t)size, file), (size_t)size);
	fclose(file);
	return text;
}

/* Returns 1 and prints the row when the page does not have it. */
static int missing(const char *page, const char *prefix, const char *name, const char *unit, const char *meaning)
{
	char row[512];

	if (unit != NULL)
		snprintf(row, sizeof(row), "| `%s%s` | %s | %s |", prefix, name, unit, meaning);
	else
		snprintf(row, sizeof(row), "| `%s%s` | %s |", prefix, name, meaning);
	if (strstr(page, row) != NULL)
		return 0;
	fprintf(stderr, "# missing: %s\n", row);
	return 1;
}

START_TEST(test_telemetry_page_has_every_counter)
{
	char *page = read_page("telemetry.md");
	int bad = 0;

#define X(name, unit, meaning) bad += missing(page, "", #name, unit, meaning);
	TELEMETRY_LCORE_COUNTERS(X)
	TELEMETRY_LCORE_HISTOGRAMS(X)
	VL_WORKER_COUNTERS(X)
	VL_WORKER_HISTOGRAMS(X)
#undef X
#define X(name, unit, meaning) bad += missing(page, "control_", #name, unit, meaning);
	TELEMETRY_CONTROL_COUNTERS(X)
#undef X
#define X(name, unit, meaning) bad += missing(page, "records_", #name, unit, meaning);
	CALL_RECORDS_COUNTERS(X)
	RECORD_WRITER_COUNTERS(X)
#undef X
#define X(name, unit, meaning) bad += missing(page, "link_", #name, unit, meaning);
	WORKER_LINK_COUNTERS(X)
#undef X
#define X(identifier, name, meaning) bad += missing(page, "", name, NULL, meaning);
	DROP_REASONS(X)
#undef X
	ck_assert_int_eq(bad, 0);
	free(page);
}
END_TEST

START_TEST(test_telemetry_page_has_every_command)
{
	static const char *const commands[] = {"/voxlane/info", "/voxlane/session/list", "/voxlane/session/info",
		"/voxlane/drops", "/voxlane/lcore/usage", "/voxlane/worker/list", "/voxlane/latency", "/voxlane/latency/buckets"};
	char *page = read_page("telemetry.md");

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		ck_assert_msg(strstr(page, commands[i]) != NULL, "%s", commands[i]);
	free(page);
}
END_TEST

START_TEST(test_interfaces_page_has_every_event)
{
	char *page = read_page("interfaces.md");
	int bad = 0;

#define X(identifier, name, meaning) bad += missing(page, "", name, NULL, meaning);
	EVENTS(X)
#undef X
	ck_assert_int_eq(bad, 0);
	free(page);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("telemetry_doc");
	TCase *tcase = tcase_create("pages");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, test_telemetry_page_has_every_counter);
	tcase_add_test(tcase, test_telemetry_page_has_every_command);
	tcase_add_test(tcase, test_interfaces_page_has_every_event);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
