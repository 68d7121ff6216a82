/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal of records: one small file for each call that is up, in a directory in memory (tmpfs), so that neither the end of
 * the process nor a slow or full disk loses what was reported. A file holds the call's notes, a line of JSON each; when the call
 * has ended its record is appended and the file is renamed to UUID.done, until the record is in the file of records.
 *
 * The control thread writes; record_journal_has(), _remove(), _next() and _read() may also be called by the record writer's
 * thread: they touch only calls that have ended, and nothing but the directory is shared.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../shared/json.h"
#include "call.h"

struct record_journal;

/*
 * Open a directory, made with mode 0700 if it does not exist (its parent must), and lock it against another data plane. Returns
 * NULL with errno and a sentence that names the path.
 */
struct record_journal *record_journal_open(const char *path, struct vl_error *error);

/* Close; the files stay. NULL is legal. */
void record_journal_close(struct record_journal *journal);

/*
 * Append `len` bytes, whole lines, to a call's file, which is made if it does not exist. Returns 0 or -errno; what did not fit is
 * not there in part.
 */
int record_journal_append(struct record_journal *journal, const char *uuid, const char *lines, size_t len);

/* The call has ended and `line` is its record. Returns 0 or -errno: then the file says that the call is still up. */
int record_journal_done(struct record_journal *journal, const char *uuid, const char *line, size_t len);

/*
 * Write a call's file anew without the notes that nobody needs (record_squeeze.h). Returns its new size, or -errno: then it is as it
 * was.
 */
ssize_t record_journal_squeeze(struct record_journal *journal, const char *uuid);

/* The record is safe, or the call never was: forget it. Any of the two threads for a call that is done. Returns whether it was there. */
bool record_journal_remove(struct record_journal *journal, const char *uuid, bool done);

/* Whether the record of a call that is done is still here. Any of the two threads. */
bool record_journal_has(struct record_journal *journal, const char *uuid);

/*
 * Walk over the calls that are done, or over those that are up, in no order; at the start or, for those done, from the writer's
 * thread. `name` gets the UUID. `walk` begins as NULL. Returns false at the end, with everything freed
 * and errno 0, or when it cannot begin, with errno.
 */
struct record_journal_walk;
bool record_journal_next(struct record_journal *journal, struct record_journal_walk **walk, bool done, char name[CALL_UUID_SIZE]);

/*
 * The text of a call's file, NUL behind `*len` bytes, to be freed; of a call that is done only its end, which has the record. A last
 * line without newline, of a process killed in the middle of it, is left out. NULL with errno: EINVAL when it is no file, EFBIG when
 * it is none of ours, else the file is as it was and may be read later.
 */
char *record_journal_read(struct record_journal *journal, const char *uuid, bool done, size_t *len);

/* The last line of such a text with its newline, which for a call that is done is its record; NULL when there is none. */
const char *record_journal_last_line(const char *text, size_t len);
