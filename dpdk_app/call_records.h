/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Call records: what happens to a call goes into its call_record and its journal, and when it has ended, as one line, to the
 * record writer (doc/call-records.md). Does nothing while records.path is not set. Control thread only.
 */
#pragma once

#include "call_record.h"
#include "dataplane.h"
#include "record_writer.h"

struct call_records;

/* X(name, "unit", "meaning") */
#define CALL_RECORDS_COUNTERS(X)                                                                                \
	X(recovered, "records", "records made of the journal for calls that a data plane before this one lost") \
	X(journal_errors, "notes", "notes and records that the journal could not take")                         \
	X(journal_full, "calls", "calls whose journal reached its size; if they are lost, their records end there")

/* Every counter of records, for telemetry. */
struct call_records_counts {
#define X(name, unit, meaning) uint64_t name;
	CALL_RECORDS_COUNTERS(X)
#undef X
	struct record_writer_counts writer;
};

/*
 * Open journal and file, and write what a data plane before this one left: its calls are "lost". At start. Returns 0, or
 * -errno with a sentence that begins with the setting.
 */
int call_records_start(struct dataplane *dataplane, struct vl_error *error);

/* Wait a few seconds for the file, then end; the journal keeps the rest for the next start. */
void call_records_stop(struct dataplane *dataplane);

/* The call was created. */
void call_records_begin(struct dataplane *dataplane, struct call *call);

/* Its flow was locked or re-locked. */
void call_records_bound(struct dataplane *dataplane, struct call *call);

/* A worker took it; or, with a NULL `name`, it lost the one it had. */
void call_records_worker(struct dataplane *dataplane, struct call *call, const char *name, const char *reason);

/* A worker's message about it. */
void call_records_note(struct dataplane *dataplane, struct call *call, enum call_record_note note, const cJSON *body);

/* It is about to end: make its record, while everything about it is still there. */
void call_records_end(struct dataplane *dataplane, struct call *call, const char *reason);

/* Report what the writer's thread cannot log itself; every turn. */
void call_records_run(struct dataplane *dataplane);

/* All zero while there are no records. */
void call_records_count(const struct dataplane *dataplane, struct call_records_counts *counts);
