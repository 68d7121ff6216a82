/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared/log: suppression by site, levels, escaping, and what one line looks like on stderr.
 */
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

static int saved_stderr, capture;

static void capture_start(void)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_NONBLOCK), 0);
	saved_stderr = dup(STDERR_FILENO);
	ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
	close(ends[1]);
	capture = ends[0];
}

/* What was written since capture_start(), as a string. */
static const char *capture_stop(void)
{
	static char text[65536];

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	ssize_t len = read(capture, text, sizeof(text) - 1);
	close(capture);
	text[len > 0 ? len : 0] = '\0';
	return text;
}

START_TEST(test_log_level_parse)
{
	ck_assert_int_eq(vl_log_level_parse("error"), VL_LOG_ERROR);
	ck_assert_int_eq(vl_log_level_parse("warning"), VL_LOG_WARNING);
	ck_assert_int_eq(vl_log_level_parse("info"), VL_LOG_INFO);
	ck_assert_int_eq(vl_log_level_parse("debug"), VL_LOG_DEBUG);
	ck_assert_int_eq(vl_log_level_parse("Debug"), -EINVAL);
	ck_assert_int_eq(vl_log_level_parse(""), -EINVAL);
}
END_TEST

START_TEST(test_log_site_limits_and_reports)
{
	struct vl_log_site site = {0};
	uint32_t suppressed;

	for (uint32_t i = 0; i < VL_LOG_BURST; i++)
		ck_assert(vl_log_site_allow(&site, 5000, &suppressed) && suppressed == 0);
	for (uint32_t i = 0; i < 7; i++)
		ck_assert(!vl_log_site_allow(&site, 5000 + VL_LOG_WINDOW_MS - 1, &suppressed));
	ck_assert(vl_log_site_allow(&site, 5000 + VL_LOG_WINDOW_MS, &suppressed));
	ck_assert_uint_eq(suppressed, 7);
	ck_assert(vl_log_site_allow(&site, 5000 + VL_LOG_WINDOW_MS, &suppressed));
	ck_assert_uint_eq(suppressed, 0);
}
END_TEST

START_TEST(test_log_escape)
{
	static const struct {
		const char *text, *escaped;
	} cases[] = {
		{"plain text", "plain text"},
		{"two\nlines\r", "two\\x0alines\\x0d"},
		{"\x1b[2J", "\\x1b[2J"},
		{"\x7f", "\\x7f"},
		{"caf\xc3\xa9", "caf\xc3\xa9"},
		{"\xc2\x9b"
		 "1m",
			"\\xc2\x9b"
			"1m"},
	};
	char out[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_uint_eq(vl_log_escape(out, sizeof(out), cases[i].text), strlen(cases[i].escaped));
		ck_assert_str_eq(out, cases[i].escaped);
	}
	ck_assert_uint_lt(vl_log_escape(out, 8, "\n\n\n\n\n\n"), 8);
}
END_TEST

START_TEST(test_log_line)
{
	int year, month, day, hour, minute, second, ms, end = 0;

	vl_log_init("worker-1", VL_LOG_INFO);
	capture_start();
	errno = EPIPE;
	vl_log_warning("session %d\nforged line", 7);
	ck_assert_int_eq(errno, EPIPE);
	vl_log_debug("not shown");
	const char *text = capture_stop();
	ck_assert_int_eq(sscanf(text, "%d-%d-%dT%d:%d:%d.%dZ%n", &year, &month, &day, &hour, &minute, &second, &ms, &end), 7);
	ck_assert_str_eq(text + end, " warning worker-1: session 7\\x0aforged line\n");
}
END_TEST

START_TEST(test_log_burst_is_suppressed_but_not_always_lines)
{
	size_t lines = 0;

	vl_log_init("worker-1", VL_LOG_INFO);
	capture_start();
	for (uint32_t i = 0; i < VL_LOG_BURST + 30; i++)
		vl_log_info("repeated");
	for (uint32_t i = 0; i < VL_LOG_BURST + 30; i++)
		vl_log_always("proof");
	for (const char *c = capture_stop(); *c != '\0'; c++)
		lines += *c == '\n';
	ck_assert_uint_eq(lines, VL_LOG_BURST + VL_LOG_BURST + 30);
}
END_TEST

START_TEST(test_log_long_line_is_cut)
{
	static char text[100000];

	memset(text, '\n', sizeof(text) - 1);
	capture_start();
	vl_log_always("%s", text);
	const char *line = capture_stop();
	ck_assert_uint_lt(strlen(line), 10000);
	ck_assert_str_eq(line + strlen(line) - 8, "\\x0a...\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");

	unit_add(suite, "pure", test_log_level_parse, test_log_site_limits_and_reports, test_log_escape);
	unit_add(suite, "stderr", test_log_line, test_log_burst_is_suppressed_but_not_always_lines, test_log_long_line_is_cut);
	return unit_run(suite);
}
