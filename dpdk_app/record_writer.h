/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that brings records from the control thread to their file, so that a slow or full disk holds up no call. A record
 * waits in a bounded queue and, as UUID.done, in the journal; what finds no room in the queue is taken from the journal later.
 * Only a record that neither could take is lost, and counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record_file.h"
#include "record_journal.h"

struct record_writer;

/* X(name, "unit", "meaning") */
#define RECORD_WRITER_COUNTERS(X)                                                                            \
	X(written, "records", "call records written to the file")                                            \
	X(waiting, "records", "records in memory that wait for the file")                                    \
	X(overflowed, "records", "records that found the queue in memory full and were left to the journal") \
	X(lost, "records", "records that neither the queue nor the journal could take")                      \
	X(errors, "errors", "failed writes to the file and reads of the journal, each tried again")          \
	X(rotations, "files", "times the file was changed for a new one")                                    \
	X(torn, "lines", "incomplete last lines found and closed off")                                       \
	X(sync_longest_us, "us", "longest time the disk took to confirm what was written")

struct record_writer_counts {
#define X(name, unit, meaning) uint64_t name;
	RECORD_WRITER_COUNTERS(X)
#undef X
	int error; /* errno of a write that failed and has not succeeded since, 0: none */
};

struct record_writer_settings {
	struct record_file_settings file;
	uint32_t sync_ms; /* how long a record may be known to the kernel but not to the disk; 0: each record is made sure of */
	uint32_t queue_records;
	size_t queue_bytes;
};

/*
 * Open the file, write what the journal holds of calls that are done, and begin the thread. `journal` outlives the writer.
 * Control thread, at start. Returns NULL with errno and a sentence.
 */
struct record_writer *record_writer_start(
	const struct record_writer_settings *settings, struct record_journal *journal, struct vl_error *error);

/*
 * Write what waits, for `wait_ms` at most, and end. What could not be written stays in the journal. Control thread. NULL is legal.
 */
void record_writer_stop(struct record_writer *writer, uint32_t wait_ms);

/*
 * Hand a record over; `line` is freed by the writer. `journaled`: the journal has it as done; if not, the journal says that the call
 * is still up, which the writer takes from it once the record is written. Never waits for the disk. Control thread.
 */
void record_writer_put(struct record_writer *writer, const char *uuid, char *line, bool journaled);

/* Control thread, any time. */
void record_writer_count(struct record_writer *writer, struct record_writer_counts *counts);
