/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event on stderr: time, level, process name, text. Lines of one call site are limited to VL_LOG_BURST in each VL_LOG_WINDOW_MS, and the
 * next one that passes says how many were suppressed. Never called by a packet lcore. Never given a secret.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vl_log_level { VL_LOG_ERROR, VL_LOG_WARNING, VL_LOG_INFO, VL_LOG_DEBUG };

#define VL_LOG_BURST	 20u
#define VL_LOG_WINDOW_MS 1000u

/* Per call site. */
struct vl_log_site {
	uint64_t window_start_ms;
	uint32_t lines, suppressed;
};

/* Name shown in each line ("dataplane", "worker-1") and the most detailed level shown. Control or worker loop, at start. */
void vl_log_init(const char *process, enum vl_log_level level);

/* Parse "error", "warning", "info", "debug". Any thread. Returns the level or -EINVAL. */
int vl_log_level_parse(const char *text);

/*
 * Whether the call site may write a line at `now_ms`; `*suppressed` is how many it lost since its last one. Pure. Control or worker loop.
 */
bool vl_log_site_allow(struct vl_log_site *site, uint64_t now_ms, uint32_t *suppressed);

/*
 * Copy `text` to `out` with control characters as \xNN, cut to `size` bytes (at least 6) with the NUL. Pure, any thread. Returns its length.
 */
size_t vl_log_escape(char *out, size_t size, const char *text);

/* Use the macros. `unlimited` lines (proof lines, start and stop) are never suppressed. Control or worker loop. */
void vl_log_write(struct vl_log_site *site, enum vl_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define vl_log_at(level, ...)                                    \
	do {                                                     \
		static struct vl_log_site vl_log_site_;          \
		vl_log_write(&vl_log_site_, level, __VA_ARGS__); \
	} while (0)
#define vl_log_error(...)   vl_log_at(VL_LOG_ERROR, __VA_ARGS__)
#define vl_log_warning(...) vl_log_at(VL_LOG_WARNING, __VA_ARGS__)
#define vl_log_info(...)    vl_log_at(VL_LOG_INFO, __VA_ARGS__)
#define vl_log_debug(...)   vl_log_at(VL_LOG_DEBUG, __VA_ARGS__)
/* For lines that must not be lost: pass NULL as the site. */
#define vl_log_always(...) vl_log_write(NULL, VL_LOG_INFO, __VA_ARGS__)
