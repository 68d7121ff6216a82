/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of call records: lines are appended whole, in order and by one writer, and nothing that was written is ever changed.
 * A line that a full disk or a kill cut short is completed later, in the file in which it began; the file is changed for another
 * one only between lines. The record writer's thread only; time is a parameter.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../shared/json.h"

struct record_file;

struct record_file_settings {
	const char *path; /* outlives the file */
	mode_t mode;
	uint64_t max_bytes; /* a line that would make the file longer begins a new one; 0: no limit */
};

/*
 * Open, or create with `mode` whatever the umask says. The directory must exist. Returns NULL with errno and a sentence
 * that names the path.
 */
struct record_file *record_file_open(const struct record_file_settings *settings, struct vl_error *error);

/* Close; NULL is legal. */
void record_file_close(struct record_file *file);

/*
 * What a process that was killed wrote last: whether `line` is the last line of the file as it was opened, or whether the last line of the file is
 * cut short and `line` is all of it, so that record_file_write() of it goes on where it stopped. To be asked for every line that
 * may have been under way before anything else is written.
 */
bool record_file_has(const struct record_file *file, const char *line, size_t len);
bool record_file_began(const struct record_file *file, const char *line, size_t len);

/*
 * Append one line, `len` bytes with its newline. When somebody renamed or removed the file since the last line, or when it has
 * reached its size (then it is renamed to PATH-YYYYMMDDTHHMMSS.mmmZ), a new one is made first. Returns 0 or -errno. After an
 * error the same line is to be given again, and goes on where it stopped; when another one comes first, the piece is closed off
 * with a newline.
 */
int record_file_write(struct record_file *file, const char *line, size_t len, uint64_t now_unix_ms);

/* Have what was written reach the disk. Returns 0 or -errno. */
int record_file_sync(struct record_file *file);

/* Times a new file was begun, and incomplete lines of others that were found and closed. */
uint64_t record_file_rotations(const struct record_file *file);
uint64_t record_file_torn(const struct record_file *file);
