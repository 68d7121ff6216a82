/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See call_records.h. A note is in the journal, and so in the kernel's hands, before anybody else hears of what happened: what an
 * event or a reply has told is not lost by a kill.
 */
#include "call_records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../shared/log.h"
#include "call_control.h"
#include "events.h"

#define QUEUE_RECORDS 8192u
#define QUEUE_BYTES   (64u << 20)
#define STOP_WAIT_MS  5000u
#define REPORT_MS     1000u
#define SQUEEZE_BYTES (32u << 10)

/* Of one call in the journal: an hour of talk is about a third of it. */
#define CALL_JOURNAL_MAX (1u << 20)

struct call_records {
	struct record_journal *journal;
	struct record_writer *writer;
	struct call_records_counts counts; /* the writer's as last reported */
	int journal_error;		   /* of the last note, 0: it was taken */
	uint64_t report_ms;
};

/* What ended a call, as records name it; the reasons are those of call_control_end(). */
static const char *end_of(const char *reason)
{
	static const struct {
		const char *reason, *end;
	} ends[] = {
		{"deleted", "deleted"},
		{"media timeout", "media_timeout"},
		{"hold timeout", "hold_timeout"},
		{"the data plane ends", "shutdown"},
	};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		if (strcmp(ends[i].reason, reason) == 0)
			return ends[i].end;
	}
	return "other";
}

static uint64_t unix_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static void journal_failed(struct call_records *records, const char *uuid, int error)
{
	records->counts.journal_errors++;
	if (records->journal_error == 0)
		vl_log_error("session %s: the journal of call records does not take a note: %s", uuid, strerror(error));
	records->journal_error = error;
}

/* {"at_ms": n, WORD: body} */
static void write_note(struct call_records *records, struct call *call, uint64_t at_ms, const char *word, const cJSON *body)
{
	cJSON *note = cJSON_CreateObject();
	char *text;
	size_t len;
	int result = -ENOMEM;

	cJSON_AddNumberToObject(note, "at_ms", (double)at_ms);
	cJSON_AddItemReferenceToObject(note, word, (cJSON *)body); /* cJSON does not write to it */
	text = cJSON_PrintUnformatted(note);
	cJSON_Delete(note);
	if (text != NULL) {
		len = strlen(text);
		text[len] = '\n'; /* in the place of the NUL: a length is all that is needed */
		result = record_journal_append(records->journal, call->uuid, text, len + 1);
		if (result == 0)
			call->journal_bytes += (uint32_t)(len + 1);
	}
	cJSON_free(text);
	if (result < 0)
		journal_failed(records, call->uuid, -result);
	else
		records->journal_error = 0;
}

/* A journal that grew by SQUEEZE_BYTES may have notes that nobody needs. */
static void squeeze(struct call_records *records, struct call *call)
{
	ssize_t size = record_journal_squeeze(records->journal, call->uuid);

	if (size < 0)
		journal_failed(records, call->uuid, (int)-size);
	else
		call->journal_bytes = (uint32_t)size;
	call->journal_squeezed = call->journal_bytes;
}

/* Memory is everybody's: what one call, or the worker that reports of it, may take of it has an end. */
static void journal_note(struct call_records *records, struct call *call, uint64_t at_ms, const char *word, const cJSON *body)
{
	cJSON *nothing;

	if (call->journal_full)
		return;
	write_note(records, call, at_ms, word, body);
	if (call->journal_bytes > call->journal_squeezed + SQUEEZE_BYTES)
		squeeze(records, call);
	if (call->journal_bytes <= CALL_JOURNAL_MAX)
		return;
	nothing = cJSON_CreateObject();
	write_note(records, call, at_ms, call_record_word(CALL_RECORD_FULL), nothing);
	cJSON_Delete(nothing);
	call->journal_full = true;
	records->counts.journal_full++;
	vl_log_warning("session %s: its journal has %u KiB and takes no more notes", call->uuid, CALL_JOURNAL_MAX >> 10);
}

/* Hand a finished record over to journal and writer, either of which is enough. */
static void put(struct call_records *records, const char *uuid, char *line)
{
	int result = record_journal_done(records->journal, uuid, line, strlen(line));

	if (result < 0)
		journal_failed(records, uuid, -result);
	record_writer_put(records->writer, uuid, line, result == 0);
}

/* One line of a journal into `*record`, which the first one makes. Returns false for a line that is none of ours. */
static bool replay(const char *line, size_t len, struct call_record **record)
{
	cJSON *tree = vl_json_parse(line, len, len, NULL);
	const cJSON *at = cJSON_GetObjectItemCaseSensitive(tree, "at_ms"), *body = at != NULL ? at->next : NULL;
	enum call_record_note note = body != NULL ? call_record_note_of(body->string) : CALL_RECORD_NOTE_COUNT;
	bool good = false;

	if (*record == NULL && body != NULL && strcmp(body->string, "begin") == 0) {
		*record = call_record_new(body);
		good = *record != NULL;
	} else if (*record != NULL && note != CALL_RECORD_NOTE_COUNT && cJSON_IsNumber(at) && at->valuedouble >= 0) {
		call_record_add(*record, note, body, (uint64_t)at->valuedouble);
		good = true;
	}
	cJSON_Delete(tree);
	return good;
}

/* The record of a call whose end nobody saw; NULL when its journal says nothing. */
static char *lost_line(const char *text, size_t len)
{
	const char *const behind = text + len;
	struct call_record *record = NULL;
	cJSON *end = cJSON_CreateObject();
	char *line = NULL;

	for (const char *next; text < behind; text = next) {
		next = (const char *)memchr(text, '\n', (size_t)(behind - text)) + 1; /* the journal ends with one */
		replay(text, (size_t)(next - text), &record);
	}
	cJSON_AddStringToObject(end, "end", "lost");
	cJSON_AddStringToObject(end, "reason", "the data plane ended without a word");
	if (record != NULL)
		line = call_record_line(record, end, call_record_last_ms(record));
	cJSON_Delete(end);
	call_record_free(record);
	return line;
}

/* Make records of calls that were up when the data plane before this one ended. */
static void recover(struct call_records *records)
{
	static const char begin[] = "{\"record\":";
	struct record_journal_walk *walk = NULL;
	char uuid[CALL_UUID_SIZE];

	while (record_journal_next(records->journal, &walk, false, uuid)) {
		size_t len;
		char *text = record_journal_read(records->journal, uuid, false, &len);
		int error = errno;
		const char *last = text != NULL ? record_journal_last_line(text, len) : NULL;
		bool ended = last != NULL && strncmp(last, begin, strlen(begin)) == 0; /* killed before the file was renamed */
		char *line = ended || text == NULL ? NULL : lost_line(text, len);

		if (text == NULL) {
			vl_log_error(
				"session %s: its journal cannot be read: %s; it stays for the next start", uuid, strerror(error));
			continue;
		}
		if (ended || line != NULL) {
			int result = record_journal_done(records->journal, uuid, line, line != NULL ? strlen(line) : 0);

			records->counts.recovered++;
			if (result < 0)
				vl_log_error("session %s: its journal cannot be finished: %s", uuid, strerror(-result));
		} else {
			vl_log_warning("session %s: its journal is empty, so it has no record", uuid);
			record_journal_remove(records->journal, uuid, false);
		}
		free(line);
		free(text);
	}
	if (errno != 0)
		vl_log_error("the journal of call records cannot be read: %s", strerror(errno));
	if (records->counts.recovered > 0)
		vl_log_always("%u calls of a data plane that ended without a word: their records say \"lost\"",
			(unsigned int)records->counts.recovered);
}

int call_records_start(struct dataplane *dataplane, struct vl_error *error)
{
	const struct config *config = dataplane->config;
	struct record_writer_settings settings = {
		.file = {.path = config->records.path,
			.mode = config->records.mode,
			.max_bytes = (uint64_t)config->records.max_mb << 20},
		.sync_ms = config->records.sync_ms,
		.queue_records = QUEUE_RECORDS,
		.queue_bytes = QUEUE_BYTES,
	};
	struct call_records *records;
	int result;

	if (config->records.path[0] == '\0')
		return 0;
	records = calloc(1, sizeof(*records));
	if (records == NULL)
		return -ENOMEM;
	records->journal = record_journal_open(config->records.journal, error);
	if (records->journal == NULL)
		goto fail;
	recover(records);
	records->writer = record_writer_start(&settings, records->journal, error);
	if (records->writer == NULL)
		goto fail;
	dataplane->records = records;
	return 0;
fail:
	result = -errno;
	record_journal_close(records->journal);
	free(records);
	return result;
}

void call_records_stop(struct dataplane *dataplane)
{
	struct call_records *records = dataplane->records;

	if (records == NULL)
		return;
	record_writer_stop(records->writer, STOP_WAIT_MS);
	record_journal_close(records->journal);
	free(records);
	dataplane->records = NULL;
}

static uint64_t age_ms(const struct dataplane *dataplane, const struct call *call)
{
	return dataplane->now_ms - call->created_ms;
}

void call_records_begin(struct dataplane *dataplane, struct call *call)
{
	struct call_records *records = dataplane->records;
	cJSON *begin;

	if (records == NULL)
		return;
	begin = cJSON_CreateObject();
	cJSON_AddStringToObject(begin, "node", dataplane->node);
	cJSON_AddStringToObject(begin, "session", call->uuid);
	cJSON_AddStringToObject(begin, "user", call->user);
	cJSON_AddStringToObject(begin, "trunk", dataplane->config->trunks[call->trunk].name);
	cJSON_AddStringToObject(begin, "codec", call->payload_type == 8 ? "PCMA" : "PCMU");
	event_add_endpoint(begin, "local", &call->local);
	event_add_endpoint(begin, "remote", &call->signalled);
	cJSON_AddNumberToObject(begin, "created_unix_ms", (double)unix_ms());
	call->record = call_record_new(begin);
	journal_note(records, call, 0, "begin", begin);
	cJSON_Delete(begin);
}

void call_records_note(struct dataplane *dataplane, struct call *call, enum call_record_note note, const cJSON *body)
{
	if (call->record == NULL)
		return;
	if (note == CALL_RECORD_EVENT && !call_record_uses_event(cJSON_GetObjectItemCaseSensitive(body, "event")->valuestring))
		return;
	call_record_add(call->record, note, body, age_ms(dataplane, call));
	journal_note(dataplane->records, call, age_ms(dataplane, call), call_record_word(note), body);
}

void call_records_bound(struct dataplane *dataplane, struct call *call)
{
	struct endpoint from = {.address = call->flow.remote, .port = call->flow.remote_port};
	cJSON *body, *bound;

	if (call->record == NULL)
		return;
	body = cJSON_CreateObject();
	bound = event_add_endpoint(body, "bound", &from);
	cJSON_AddNumberToObject(bound, "ssrc", call->flow.ssrc);
	call_records_note(dataplane, call, CALL_RECORD_BOUND, body);
	cJSON_Delete(body);
}

void call_records_worker(struct dataplane *dataplane, struct call *call, const char *name, const char *reason)
{
	cJSON *body;

	if (call->record == NULL)
		return;
	body = cJSON_CreateObject();
	if (name != NULL)
		cJSON_AddStringToObject(body, "worker", name);
	else
		cJSON_AddNullToObject(body, "worker");
	if (reason != NULL)
		cJSON_AddStringToObject(body, "reason", reason);
	call_records_note(dataplane, call, CALL_RECORD_WORKER, body);
	cJSON_Delete(body);
}

void call_records_end(struct dataplane *dataplane, struct call *call, const char *reason)
{
	cJSON *end;
	char *line;

	if (call->record == NULL)
		return;
	end = call_describe(dataplane, call);
	cJSON_DeleteItemFromObjectCaseSensitive(end, "reason");
	cJSON_AddStringToObject(end, "end", call->ended_by_model ? "model" : end_of(reason));
	cJSON_AddStringToObject(end, "reason", reason);
	line = call_record_line(call->record, end, age_ms(dataplane, call));
	cJSON_Delete(end);
	call_record_free(call->record);
	call->record = NULL;
	if (line != NULL)
		put(dataplane->records, call->uuid, line);
	else
		vl_log_error("session %s: no memory for its record; the next start makes one of its journal", call->uuid);
}

void call_records_run(struct dataplane *dataplane)
{
	struct call_records *records = dataplane->records;
	struct record_writer_counts *known, now;

	if (records == NULL || dataplane->now_ms < records->report_ms)
		return;
	records->report_ms = dataplane->now_ms + REPORT_MS;
	known = &records->counts.writer;
	record_writer_count(records->writer, &now);
	if (now.error != 0 && now.error != known->error)
		vl_log_error("call records cannot be written to %s: %s; they wait, and calls go on",
			dataplane->config->records.path, strerror(now.error));
	else if (now.error == 0 && known->error != 0)
		vl_log_always("call records are written again");
	if (now.overflowed > known->overflowed)
		vl_log_warning("%u call records were left to the journal: the queue in memory is full",
			(unsigned int)(now.overflowed - known->overflowed));
	if (now.lost > known->lost)
		vl_log_error("%u call records are lost: neither queue nor journal could take them",
			(unsigned int)(now.lost - known->lost));
	if (now.torn > known->torn)
		vl_log_warning("%s: an incomplete line was closed off", dataplane->config->records.path);
	*known = now;
}

void call_records_count(const struct dataplane *dataplane, struct call_records_counts *counts)
{
	memset(counts, 0, sizeof(*counts));
	if (dataplane->records == NULL)
		return;
	*counts = dataplane->records->counts;
	record_writer_count(dataplane->records->writer, &counts->writer);
}
