/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that grows up to a limit, for what is remembered of a call. Pure. Control thread only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* All zero is empty. */
struct record_text {
	char *bytes; /* NUL behind them; NULL while nothing was ever added */
	size_t len, capacity;
};

/* Append `len` bytes. Returns false, with nothing changed, when text and NUL would be longer than `max` or there is no memory. */
bool record_text_append(struct record_text *text, const char *bytes, size_t len, size_t max);

/* Free what it holds. */
void record_text_free(struct record_text *text);

/* The length to which `len` bytes of valid UTF-8 are cut so that at most `max` remain and no character is broken. */
size_t record_text_cut(const char *text, size_t len, size_t max);

/* Copy UTF-8 into `size` bytes, cut like that; NULL is copied as "". */
void record_text_copy(char *to, size_t size, const char *from);
