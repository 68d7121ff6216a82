/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the journal of a long call can do without. While a side speaks each piece of its text is a note, and when it is silent the
 * whole text is one more: then the pieces but the first, which has the time, change nothing in the call's record.
 */
#pragma once

#include <stddef.h>

/*
 * Take such notes out of `text`, `len` bytes of whole lines as call_records.c writes them. The record of what is left is the same.
 * Returns the new length. Pure; any thread.
 */
size_t record_squeeze(char *text, size_t len);
