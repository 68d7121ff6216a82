/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log, see log.h. A line goes out with one write(2), so that lines of several processes on one terminal or file do not mix, and control characters in
 * it are escaped: names and reasons come from the network, and must not be able to forge a line or drive the reader's terminal.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

#define TEXT_MAX 2048u /* bytes of text before escaping; the rest of a longer line is cut and marked */

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static char process_name[64] = "voxlane";
static enum vl_log_level level_shown = VL_LOG_INFO;

void vl_log_init(const char *process, enum vl_log_level level)
{
	snprintf(process_name, sizeof(process_name), "%s", process);
	level_shown = level;
}

int vl_log_level_parse(const char *text)
{
	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++)
		if (strcmp(text, level_names[i]) == 0)
			return (int)i;
	return -EINVAL;
}

bool vl_log_site_allow(struct vl_log_site *site, uint64_t now_ms, uint32_t *suppressed)
{
	*suppressed = 0;
	if (site->lines == 0 || now_ms - site->window_start_ms >= VL_LOG_WINDOW_MS) {
		site->window_start_ms = now_ms;
		site->lines = 0;
	}
	if (site->lines >= VL_LOG_BURST) {
		site->suppressed++;
		return false;
	}
	site->lines++;
	*suppressed = site->suppressed;
	site->suppressed = 0;
	return true;
}

size_t vl_log_escape(char *out, size_t size, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	size_t used = 0;

	for (const unsigned char *c = (const unsigned char *)text; *c != '\0' && used + 5 < size; c++) {
		/* C0, DEL, and C1 in its UTF-8 form (C2 80..9F), which some terminals obey as well. */
		if (*c >= 0x20 && *c != 0x7f && !(c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f)) {
			out[used++] = (char)*c;
			continue;
		}
		out[used++] = '\\';
		out[used++] = 'x';
		out[used++] = hex[*c >> 4];
		out[used++] = hex[*c & 15];
	}
	out[used] = '\0';
	return used;
}

/* "2026-11-22T10:00:00.123Z info dataplane: ", at most 128 bytes. */
static size_t write_prefix(char *out, size_t size, enum vl_log_level level)
{
	struct timespec now;
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	int used = snprintf(out, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s: ", utc.tm_year + 1900, utc.tm_mon + 1,
		utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000, level_names[level], process_name);

	return (size_t)used < size ? (size_t)used : size - 1;
}

void vl_log_write(struct vl_log_site *site, enum vl_log_level level, const char *format, ...)
{
	char text[TEXT_MAX], line[160 + 4 * TEXT_MAX + 64];
	uint32_t suppressed = 0;
	int saved_errno = errno;
	va_list arguments;

	if (site != NULL && level > level_shown)
		return;
	if (site != NULL && !vl_log_site_allow(site, vl_clock_ms(), &suppressed))
		return;
	va_start(arguments, format);
	int len = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (len < 0)
		snprintf(text, sizeof(text), "(this line could not be formatted)");

	size_t used = write_prefix(line, 160, level);

	used += vl_log_escape(line + used, 4 * TEXT_MAX + 2, text);
	if (len >= (int)sizeof(text))
		used += (size_t)snprintf(line + used, sizeof(line) - used, "...");
	if (suppressed > 0)
		used += (size_t)snprintf(line + used, sizeof(line) - used, " (%u lines like this were suppressed)", suppressed);
	line[used++] = '\n';
	/* A log that cannot be written (closed pipe, full disk) must not stop the program. */
	while (write(STDERR_FILENO, line, used) < 0 && errno == EINTR)
		;
	errno = saved_errno;
}
