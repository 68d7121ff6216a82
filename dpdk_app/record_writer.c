/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See record_writer.h. The lock is held only to look at the queue, never during I/O. This thread writes no log line: the control thread
 * reports what the counters say.
 */
#include "record_writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <utlist.h>

#include "../shared/clock.h"

#define RETRY_MS 500u

struct record {
	struct record *next, *prev;
	char uuid[CALL_UUID_SIZE];
	char *line;
	size_t len;
	bool journaled;
};

struct record_writer {
	struct record_writer_settings settings;
	struct record_journal *journal;
	struct record_file *file; /* the thread's own, once it runs */
	pthread_t thread;
	pthread_mutex_t lock; /* of everything below */
	pthread_cond_t wake;
	struct record *first;
	size_t bytes;
	bool look; /* the journal has records that are not in the queue */
	bool stop;
	uint64_t stop_us; /* not after this time */
	char half
		[CALL_UUID_SIZE]; /* the thread's own: of the journal's record that could not be written to its end, "" for none */
	struct record_writer_counts counts;
};

static uint64_t unix_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static void free_record(struct record *record)
{
	free(record->line);
	free(record);
}

/* Once, without the lock. Returns 0 or -errno. */
static int write_line(struct record_writer *writer, const char *line, size_t len)
{
	int result = record_file_write(writer->file, line, len, unix_ms());

	pthread_mutex_lock(&writer->lock);
	writer->counts.written += result == 0;
	writer->counts.errors += result < 0;
	writer->counts.error = result < 0 ? -result : 0;
	writer->counts.rotations = record_file_rotations(writer->file);
	writer->counts.torn = record_file_torn(writer->file);
	pthread_mutex_unlock(&writer->lock);
	return result;
}

static void count_error(struct record_writer *writer, int error)
{
	pthread_mutex_lock(&writer->lock);
	writer->counts.errors++;
	writer->counts.error = error;
	pthread_mutex_unlock(&writer->lock);
}

static void sync_file(struct record_writer *writer)
{
	uint64_t start_us = vl_clock_us(), took_us;
	int result = record_file_sync(writer->file);

	took_us = vl_clock_us() - start_us;
	pthread_mutex_lock(&writer->lock);
	if (took_us > writer->counts.sync_longest_us)
		writer->counts.sync_longest_us = took_us;
	writer->counts.errors += result < 0;
	pthread_mutex_unlock(&writer->lock);
}

/* Write one record as the journal has it, and forget it. `only`: if the file has it or its beginning. Returns whether that worked. */
static bool write_done(struct record_writer *writer, const char *uuid, bool only)
{
	size_t len;
	char *text = record_journal_read(writer->journal, uuid, true, &len);
	const char *line = text != NULL ? record_journal_last_line(text, len) : NULL;
	bool good = true, has;

	if (text == NULL && errno != ENOENT && errno != EINVAL) {
		count_error(writer, errno);
		return false;
	}
	if (line != NULL) {
		len -= (size_t)(line - text);
		has = record_file_has(writer->file, line, len);
		if (only && !has && !record_file_began(writer->file, line, len))
			goto out;
		good = has || write_line(writer, line, len) == 0;
	}
	if (good)
		record_journal_remove(writer->journal, uuid, true);
	snprintf(writer->half, sizeof(writer->half), "%s", good ? "" : uuid);
out:
	free(text);
	return good;
}

/* Every record in the journal. Returns whether the file took all. */
static bool write_all_done(struct record_writer *writer, bool only)
{
	struct record_journal_walk *walk = NULL;
	char uuid[CALL_UUID_SIZE];
	bool good = true;

	if (writer->half[0] != '\0') {
		memcpy(uuid, writer->half, sizeof(uuid));
		good = write_done(writer, uuid, only);
	}
	/* Walked to its end also when the disk is full: that frees it. */
	while (record_journal_next(writer->journal, &walk, true, uuid))
		good = good && write_done(writer, uuid, only);
	if (errno != 0) {
		count_error(writer, errno);
		good = false;
	}
	return good;
}

/* Until there is something to do. Returns the oldest record, which stays in the queue, or NULL. The lock is held. */
static struct record *await(struct record_writer *writer, uint64_t until_us)
{
	while (writer->first == NULL && !writer->look && !writer->stop) {
		struct timespec until = {.tv_sec = (time_t)(until_us / 1000000), .tv_nsec = (long)(until_us % 1000000) * 1000};

		if (until_us == 0)
			pthread_cond_wait(&writer->wake, &writer->lock);
		else if (pthread_cond_timedwait(&writer->wake, &writer->lock, &until) == ETIMEDOUT)
			return NULL;
	}
	return writer->first;
}

static void rest(struct record_writer *writer)
{
	uint64_t until_us = vl_clock_us() + RETRY_MS * 1000u;
	struct timespec until;

	pthread_mutex_lock(&writer->lock);
	if (writer->stop && writer->stop_us < until_us)
		until_us = writer->stop_us;
	until = (struct timespec){.tv_sec = (time_t)(until_us / 1000000), .tv_nsec = (long)(until_us % 1000000) * 1000};
	while (pthread_cond_timedwait(&writer->wake, &writer->lock, &until) != ETIMEDOUT && vl_clock_us() < until_us)
		;
	pthread_mutex_unlock(&writer->lock);
}

/* Take one record from the queue to the file. Returns whether that has worked. */
static bool write_first(struct record_writer *writer, struct record *record)
{
	/* What the journal lost meanwhile was written from there. */
	bool written = record->journaled && !record_journal_has(writer->journal, record->uuid);

	if (!written && write_line(writer, record->line, record->len) < 0)
		return false;
	record_journal_remove(writer->journal, record->uuid, record->journaled);
	pthread_mutex_lock(&writer->lock);
	DL_DELETE(writer->first, record);
	writer->bytes -= record->len;
	writer->counts.waiting--;
	pthread_mutex_unlock(&writer->lock);
	free_record(record);
	return true;
}

static void *run(void *argument)
{
	struct record_writer *writer = argument;
	uint64_t sync_us = 0; /* when the disk is to be asked, 0: it knows everything */

	for (;;) {
		struct record *record;
		bool look, stop, good = true;

		pthread_mutex_lock(&writer->lock);
		record = await(writer, sync_us);
		look = writer->look && (record == NULL || writer->half[0] != '\0');
		stop = writer->stop && ((record == NULL && !look) || vl_clock_us() >= writer->stop_us);
		if (look)
			writer->look = false;
		pthread_mutex_unlock(&writer->lock);
		if (stop)
			break;
		if (look)
			good = write_all_done(writer, false);
		else if (record != NULL)
			good = write_first(writer, record);
		if (good && (record != NULL || look) && sync_us == 0)
			sync_us = vl_clock_us() + writer->settings.sync_ms * 1000u;
		if (sync_us != 0 && vl_clock_us() >= sync_us) {
			sync_file(writer);
			sync_us = 0;
		}
		if (good)
			continue;
		if (look) {
			pthread_mutex_lock(&writer->lock);
			writer->look = true;
			pthread_mutex_unlock(&writer->lock);
		}
		rest(writer);
	}
	sync_file(writer);
	return NULL;
}

static struct record_writer *fail(struct record_writer *writer, int error)
{
	record_file_close(writer->file);
	pthread_mutex_destroy(&writer->lock);
	pthread_cond_destroy(&writer->wake);
	free(writer);
	errno = error;
	return NULL;
}

struct record_writer *record_writer_start(
	const struct record_writer_settings *settings, struct record_journal *journal, struct vl_error *error)
{
	struct record_writer *writer = calloc(1, sizeof(*writer));
	pthread_condattr_t attributes;
	int result;

	if (writer == NULL)
		return NULL;
	writer->settings = *settings;
	writer->journal = journal;
	pthread_mutex_init(&writer->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&writer->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	writer->file = record_file_open(&settings->file, error);
	if (writer->file == NULL)
		return fail(writer, errno);
	/* A process that was killed may have written one record without taking it from the journal, or a part of one. */
	write_all_done(writer, true);
	writer->look = true;
	result = pthread_create(&writer->thread, NULL, run, writer);
	if (result == 0)
		return writer;
	vl_error_set(error, "no thread: %s", strerror(result));
	return fail(writer, result);
}

void record_writer_stop(struct record_writer *writer, uint32_t wait_ms)
{
	if (writer == NULL)
		return;
	pthread_mutex_lock(&writer->lock);
	writer->stop = true;
	writer->stop_us = vl_clock_us() + wait_ms * 1000u;
	pthread_cond_signal(&writer->wake);
	pthread_mutex_unlock(&writer->lock);
	pthread_join(writer->thread, NULL);
	while (writer->first != NULL) {
		struct record *record = writer->first;

		DL_DELETE(writer->first, record);
		free_record(record);
	}
	fail(writer, 0);
}

void record_writer_put(struct record_writer *writer, const char *uuid, char *line, bool journaled)
{
	struct record *record = calloc(1, sizeof(*record));
	size_t len = strlen(line);
	bool room;

	pthread_mutex_lock(&writer->lock);
	room = record != NULL && writer->counts.waiting < writer->settings.queue_records &&
	       writer->bytes + len <= writer->settings.queue_bytes;
	if (room) {
		memcpy(record->uuid, uuid, strnlen(uuid, CALL_UUID_SIZE - 1));
		record->line = line;
		record->len = len;
		record->journaled = journaled;
		DL_APPEND(writer->first, record);
		writer->bytes += len;
		writer->counts.waiting++;
	} else if (journaled) {
		writer->counts.overflowed++;
		writer->look = true;
	} else {
		writer->counts.lost++;
	}
	pthread_cond_signal(&writer->wake);
	pthread_mutex_unlock(&writer->lock);
	if (room)
		return;
	free(record);
	free(line);
}

void record_writer_count(struct record_writer *writer, struct record_writer_counts *counts)
{
	pthread_mutex_lock(&writer->lock);
	*counts = writer->counts;
	pthread_mutex_unlock(&writer->lock);
}
