/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See call_record.h. Lists are kept as the JSON text they will be, one allocation each: that is what bounds them in bytes, and a
 * turn costs its text and about 150 bytes.
 */
#include "call_record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "call_record_usage.h"
#include "record_text.h"

#define TOOLS_OPEN_MAX 8u /* tool calls without an answer that are watched at one time */
#define NAME_SIZE      65u
#define REASON_SIZE    160u

/* One side's words of the turn that is going on. */
struct side {
	struct record_text text;
	uint64_t from_ms, to_ms; /* when its first and its last piece came */
	bool said, final;
};

/* What the worker measured of a turn; -1: it did not. It comes before or after the whole of the texts. */
struct numbers {
	bool known;
	double caller_from, caller_to, model_from, model_to, response, underruns;
	bool interrupted;
};

struct tool {
	char id[NAME_SIZE], name[NAME_SIZE];
	uint64_t at_ms;
};

struct gap {
	bool known, open; /* open: the conversation has not come back yet */
	uint64_t at_ms, ms, discarded_ms;
	int code;
	char reason[REASON_SIZE], how[24];
};

struct call_record {
	struct record_text begin, bound; /* JSON objects */
	struct record_text workers, turns, tools, gaps;
	struct side caller, model;
	struct numbers numbers;	 /* of the turn whose texts are not whole yet */
	struct tool *open_tools; /* TOOLS_OPEN_MAX */
	unsigned int open_tool_count;
	struct gap gap;				   /* the newest */
	char state[16], state_reason[REASON_SIZE]; /* the conversation's newest */
	int state_code;
	struct call_record_usage usage;
	char worker[NAME_SIZE];
	uint64_t last_ms, bound_ms, ready_ms;
	uint64_t talk_ms, hush_ms; /* the model began to speak, and was silent again; 0: it did not, it was not */
	bool is_bound, ready, truncated;
	uint32_t turn_count, interruptions, phantom_interruptions, unanswered, underruns, tool_count, gap_count;
	uint64_t gaps_ms;
	uint32_t *times; /* response times */
	uint32_t time_count, time_capacity, time_max;
};

const char *call_record_word(enum call_record_note note)
{
	static const char *const words[] = {
#define X(identifier, word) word,
		CALL_RECORD_NOTES(X)
#undef X
	};

	return note < CALL_RECORD_NOTE_COUNT ? words[note] : NULL;
}

enum call_record_note call_record_note_of(const char *word)
{
	unsigned int note = 0;

	while (note < CALL_RECORD_NOTE_COUNT && strcmp(call_record_word((enum call_record_note)note), word) != 0)
		note++;
	return (enum call_record_note)note;
}

/* Print `item` and append it to a list; `item` is freed. What does not fit is left out and the record says so. */
static void append_item(struct call_record *record, struct record_text *list, cJSON *item, size_t max)
{
	char *printed = cJSON_PrintUnformatted(item);
	size_t before = list->len;
	bool kept = printed != NULL && (before == 0 || record_text_append(list, ",", 1, max)) &&
		    record_text_append(list, printed, strlen(printed), max);

	if (!kept) {
		list->len = before;
		if (list->bytes != NULL)
			list->bytes[before] = '\0';
		record->truncated = true;
	}
	cJSON_free(printed);
	cJSON_Delete(item);
}

static const char *string_of(const cJSON *body, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, name));
}

/* A whole number of 0 to 2^53, or `otherwise`. */
static double number_of(const cJSON *body, const char *name, double otherwise)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, name);

	return cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble <= 9007199254740992.0 ? item->valuedouble
													 : otherwise;
}

struct call_record *call_record_new(const cJSON *begin)
{
	struct call_record *record = calloc(1, sizeof(*record));
	char *printed = cJSON_PrintUnformatted(begin);

	if (record == NULL || printed == NULL || !record_text_append(&record->begin, printed, strlen(printed), SIZE_MAX)) {
		cJSON_free(printed);
		call_record_free(record);
		errno = ENOMEM;
		return NULL;
	}
	cJSON_free(printed);
	if (string_of(begin, "session") == NULL || number_of(begin, "created_unix_ms", -1) < 0) {
		call_record_free(record);
		errno = EINVAL;
		return NULL;
	}
	return record;
}

void call_record_free(struct call_record *record)
{
	if (record == NULL)
		return;
	record_text_free(&record->begin);
	record_text_free(&record->bound);
	record_text_free(&record->workers);
	record_text_free(&record->turns);
	record_text_free(&record->tools);
	record_text_free(&record->gaps);
	record_text_free(&record->caller.text);
	record_text_free(&record->model.text);
	free(record->open_tools);
	free(record->times);
	free(record);
}

static void add_bound(struct call_record *record, const cJSON *body, uint64_t at_ms)
{
	const cJSON *bound = cJSON_GetObjectItemCaseSensitive(body, "bound");
	char *printed = cJSON_IsObject(bound) ? cJSON_PrintUnformatted(bound) : NULL;

	if (printed == NULL)
		return;
	record->bound.len = 0;
	if (!record_text_append(&record->bound, printed, strlen(printed), 1024))
		record->truncated = true;
	cJSON_free(printed);
	if (!record->is_bound)
		record->bound_ms = at_ms;
	record->is_bound = true;
}

/* The newest gap goes into the list when the next one begins and at the end: until then more may be learned about it. */
static void keep_gap(struct call_record *record, uint64_t now_ms)
{
	struct gap *gap = &record->gap;
	cJSON *item;

	if (!gap->known)
		return;
	if (gap->open)
		gap->ms = now_ms > gap->at_ms ? now_ms - gap->at_ms : 0;
	record->gap_count++;
	record->gaps_ms += gap->ms;
	item = cJSON_CreateObject();
	cJSON_AddNumberToObject(item, "at_ms", (double)gap->at_ms);
	cJSON_AddNumberToObject(item, "ms", (double)gap->ms);
	if (gap->discarded_ms > 0)
		cJSON_AddNumberToObject(item, "discarded_ms", (double)gap->discarded_ms);
	cJSON_AddStringToObject(item, "how", gap->open ? "never" : gap->how[0] != '\0' ? gap->how : "fresh");
	if (gap->code != 0)
		cJSON_AddNumberToObject(item, "code", gap->code);
	else
		cJSON_AddNullToObject(item, "code");
	cJSON_AddStringToObject(item, "reason", gap->reason);
	append_item(record, &record->gaps, item, CALL_RECORD_GAPS_MAX);
	memset(gap, 0, sizeof(*gap));
}

/* The model cannot hear the caller; `reason` may be NULL. What is known first of one gap is what began it. */
static void begin_gap(struct call_record *record, int code, const char *reason, uint64_t at_ms)
{
	struct gap *gap = &record->gap;

	if (!record->ready)
		return; /* it has not begun yet: that is the time to "ready" */
	if (!gap->open) {
		keep_gap(record, at_ms);
		*gap = (struct gap){.known = true, .open = true, .at_ms = at_ms};
	}
	if (gap->code == 0)
		gap->code = code;
	if (gap->reason[0] == '\0')
		record_text_copy(gap->reason, sizeof(gap->reason), reason);
}

static void end_gap(struct call_record *record, uint64_t at_ms)
{
	struct gap *gap = &record->gap;

	if (!gap->open)
		return;
	gap->open = false;
	gap->ms = at_ms - gap->at_ms;
}

static void add_worker(struct call_record *record, const cJSON *body, uint64_t at_ms)
{
	const char *name = string_of(body, "worker");

	if (name == NULL) {
		begin_gap(record, 0, string_of(body, "reason"), at_ms);
		return;
	}
	if (strcmp(name, record->worker) != 0)
		append_item(record, &record->workers, cJSON_CreateString(name), CALL_RECORD_WORKERS_MAX);
	record_text_copy(record->worker, sizeof(record->worker), name);
}

static void add_state(struct call_record *record, const cJSON *body, uint64_t at_ms)
{
	const char *state = string_of(body, "state");

	if (state == NULL)
		return;
	record_text_copy(record->state, sizeof(record->state), state);
	record->state_code = (int)number_of(body, "code", 0);
	record_text_copy(record->state_reason, sizeof(record->state_reason), string_of(body, "reason"));
	if (strcmp(state, "ready") == 0 || strcmp(state, "talking") == 0) {
		if (!record->ready)
			record->ready_ms = at_ms;
		record->ready = true;
		end_gap(record, at_ms);
		if (state[0] == 't')
			record->talk_ms = at_ms;
		record->hush_ms = state[0] == 't' ? 0 : at_ms;
	} else {
		begin_gap(record, (int)number_of(body, "code", 0), string_of(body, "reason"), at_ms);
	}
}

static const struct numbers nothing_measured = {
	.caller_from = -1, .caller_to = -1, .model_from = -1, .model_to = -1, .response = -1};

/* What one side said, once the turn is over, with its measured times or else those when its text came. */
static void keep_said(struct call_record *record, const struct numbers *numbers, bool model, uint64_t at_ms)
{
	struct side *side = model ? &record->model : &record->caller;
	double from = model ? numbers->model_from : numbers->caller_from, to = model ? numbers->model_to : numbers->caller_to;
	cJSON *item;

	/* A call that ends while the model speaks: its state tells nearly as well. */
	if (model && from < 0 && side->said && record->talk_ms != 0) {
		from = (double)record->talk_ms;
		to = (double)(record->hush_ms != 0 ? record->hush_ms : at_ms);
	}
	if (model)
		record->talk_ms = 0;
	if (!side->said && from < 0)
		return;
	record->turn_count++;
	item = cJSON_CreateObject();
	cJSON_AddStringToObject(item, "side", model ? "model" : "caller");
	cJSON_AddNumberToObject(item, "from_ms", from >= 0 ? from : (double)side->from_ms);
	cJSON_AddNumberToObject(item, "to_ms", to >= 0 ? to : side->said ? (double)side->to_ms : (double)at_ms);
	cJSON_AddStringToObject(item, "text", side->said ? side->text.bytes : "");
	if (side->said && !side->final)
		cJSON_AddBoolToObject(item, "cut", true); /* its worker never said that this was all */
	if (model) {
		if (numbers->response >= 0)
			cJSON_AddNumberToObject(item, "response_ms", numbers->response);
		else
			cJSON_AddNullToObject(item, "response_ms");
		cJSON_AddBoolToObject(item, "interrupted", numbers->interrupted);
		cJSON_AddNumberToObject(item, "underruns", numbers->underruns);
	}
	append_item(record, &record->turns, item, CALL_RECORD_TURNS_MAX);
	side->said = side->final = false;
	side->text.len = 0;
}

/* The turn is over, with its texts and numbers as far as they are known. */
static void keep_turn(struct call_record *record, uint64_t at_ms)
{
	struct numbers numbers = record->numbers.known ? record->numbers : nothing_measured;

	record->numbers.known = false;
	keep_said(record, &numbers, false, at_ms);
	keep_said(record, &numbers, true, at_ms);
}

/* Keep it now, unless the whole of a text is still to come. */
static void keep_turn_if_whole(struct call_record *record, uint64_t at_ms)
{
	const struct side *caller = &record->caller, *model = &record->model;

	if (record->numbers.known && (!caller->said || caller->final) && (!model->said || model->final))
		keep_turn(record, at_ms);
}

static void keep_time(struct call_record *record, double response_ms)
{
	uint32_t ms = response_ms < UINT32_MAX ? (uint32_t)response_ms : UINT32_MAX;

	if (ms > record->time_max)
		record->time_max = ms;
	if (record->time_count == record->time_capacity) {
		uint32_t capacity = record->time_capacity < 16 ? 16 : record->time_capacity * 2;
		uint32_t *grown = capacity <= CALL_RECORD_TIMES_MAX ? realloc(record->times, capacity * sizeof(*grown)) : NULL;

		if (grown == NULL)
			return;
		record->times = grown;
		record->time_capacity = capacity;
	}
	record->times[record->time_count++] = ms;
}

static void add_turn(struct call_record *record, const cJSON *turn, uint64_t at_ms)
{
	if (record->numbers.known)
		keep_turn(record, at_ms);
	record->numbers = (struct numbers){.known = true,
		.caller_from = number_of(turn, "caller_from_ms", -1),
		.caller_to = number_of(turn, "caller_to_ms", -1),
		.model_from = number_of(turn, "model_from_ms", -1),
		.model_to = number_of(turn, "model_to_ms", -1),
		.response = number_of(turn, "response_ms", -1),
		.underruns = number_of(turn, "underruns", 0),
		.interrupted = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(turn, "interrupted"))};
	record->underruns += (uint32_t)record->numbers.underruns;
	if (record->numbers.response >= 0)
		keep_time(record, record->numbers.response);
	keep_turn_if_whole(record, at_ms);
}

static void add_transcript(struct call_record *record, const cJSON *body, uint64_t at_ms)
{
	const char *name = string_of(body, "side"), *said = string_of(body, "text");
	bool final = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(body, "final"));
	struct side *side;
	size_t len;

	if (name == NULL || said == NULL)
		return;
	side = strcmp(name, "model") == 0 ? &record->model : &record->caller;
	if (side->final) /* its worker does not report turns: this is the next one */
		keep_said(record, &nothing_measured, side == &record->model, at_ms);
	if (!side->said)
		side->from_ms = at_ms;
	if (final || !side->said)
		side->text.len = 0;
	len = record_text_cut(said, strlen(said), CALL_RECORD_TEXT_MAX - side->text.len - 1);
	if (!record_text_append(&side->text, said, len, CALL_RECORD_TEXT_MAX) || len < strlen(said))
		record->truncated = true;
	side->said = side->text.bytes != NULL;
	side->final = final;
	side->to_ms = at_ms;
	if (final)
		keep_turn_if_whole(record, at_ms);
}

static void keep_tool(struct call_record *record, const struct tool *tool, const char *outcome, uint64_t now_ms)
{
	cJSON *item = cJSON_CreateObject();

	cJSON_AddNumberToObject(item, "at_ms", (double)tool->at_ms);
	cJSON_AddStringToObject(item, "name", tool->name);
	cJSON_AddStringToObject(item, "id", tool->id);
	if (outcome != NULL)
		cJSON_AddNumberToObject(item, "ms", (double)(now_ms - tool->at_ms));
	else
		cJSON_AddNullToObject(item, "ms");
	cJSON_AddStringToObject(item, "outcome", outcome != NULL ? outcome : "none");
	append_item(record, &record->tools, item, CALL_RECORD_TOOLS_MAX);
}

static void forget_tool(struct call_record *record, unsigned int at)
{
	record->open_tool_count--;
	memmove(&record->open_tools[at], &record->open_tools[at + 1], (record->open_tool_count - at) * sizeof(struct tool));
}

static void open_tool(struct call_record *record, const cJSON *call, uint64_t at_ms)
{
	struct tool tool = {.at_ms = at_ms};

	if (record->open_tools == NULL)
		record->open_tools = calloc(TOOLS_OPEN_MAX, sizeof(*record->open_tools));
	if (record->open_tools == NULL) {
		record->truncated = true;
		return;
	}
	record_text_copy(tool.id, sizeof(tool.id), string_of(call, "id"));
	record_text_copy(tool.name, sizeof(tool.name), string_of(call, "name"));
	record->tool_count++;
	if (record->open_tool_count == TOOLS_OPEN_MAX) {
		keep_tool(record, &record->open_tools[0], NULL, at_ms);
		forget_tool(record, 0);
	}
	record->open_tools[record->open_tool_count++] = tool;
}

static void add_tool_call(struct call_record *record, const cJSON *body, uint64_t at_ms)
{
	const cJSON *call = cJSON_GetObjectItemCaseSensitive(body, "call");

	if (call != NULL)
		open_tool(record, call, at_ms);
	cJSON_ArrayForEach(call, cJSON_GetObjectItemCaseSensitive(body, "calls")) open_tool(record, call, at_ms);
}

static void add_tool_end(struct call_record *record, const cJSON *body, const char *outcome, uint64_t at_ms)
{
	const char *id = string_of(body, "id");

	for (unsigned int i = 0; id != NULL && i < record->open_tool_count; i++) {
		if (strncmp(record->open_tools[i].id, id, NAME_SIZE - 1) != 0)
			continue;
		keep_tool(record, &record->open_tools[i], outcome, at_ms);
		forget_tool(record, i);
		return;
	}
}

/* The word of an event that ends a tool call; NULL for others. */
static const char *tool_outcome(const char *event)
{
	static const char *const ends[][2] = {{"tool_result", "result"}, {"tool_error", "error"}, {"tool_cancelled", "cancelled"},
		{"tool_expired", "expired"}, {"tool_lost", "lost"}};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		if (strcmp(ends[i][0], event) == 0)
			return ends[i][1];
	}
	return NULL;
}

static void add_resumed(struct call_record *record, const cJSON *body, uint64_t at_ms)
{
	const char *how = string_of(body, "how");

	end_gap(record, at_ms);
	if (!record->gap.known)
		return;
	record->gap.ms = (uint64_t)number_of(body, "gap_ms", (double)record->gap.ms);
	record->gap.discarded_ms = (uint64_t)number_of(body, "discarded_ms", 0);
	record_text_copy(record->gap.how, sizeof(record->gap.how), how);
}

bool call_record_uses_event(const char *event)
{
	static const char *const used[] = {
		"turn", "interrupted", "phantom_interruption", "no_answer", "usage", "closed", "resumed", "tool_call", NULL};

	for (size_t i = 0; used[i] != NULL; i++) {
		if (strcmp(used[i], event) == 0)
			return true;
	}
	return tool_outcome(event) != NULL;
}

static void add_event(struct call_record *record, const cJSON *body, uint64_t at_ms)
{
	const char *event = string_of(body, "event");

	if (event == NULL)
		return;
	if (strcmp(event, "turn") == 0) {
		add_turn(record, cJSON_GetObjectItemCaseSensitive(body, "turn"), at_ms);
	} else if (strcmp(event, "interrupted") == 0) {
		record->interruptions++;
	} else if (strcmp(event, "phantom_interruption") == 0) {
		record->phantom_interruptions++;
	} else if (strcmp(event, "no_answer") == 0) {
		record->unanswered++;
	} else if (strcmp(event, "usage") == 0) {
		call_record_usage_add(&record->usage, cJSON_GetObjectItemCaseSensitive(body, "usage"));
	} else if (strcmp(event, "closed") == 0) {
		begin_gap(record, (int)number_of(body, "code", 0), string_of(body, "reason"), at_ms);
	} else if (strcmp(event, "resumed") == 0) {
		add_resumed(record, body, at_ms);
	} else if (strcmp(event, "tool_call") == 0) {
		add_tool_call(record, body, at_ms);
	} else if (tool_outcome(event) != NULL) {
		add_tool_end(record, body, tool_outcome(event), at_ms);
	}
}

void call_record_add(struct call_record *record, enum call_record_note note, const cJSON *body, uint64_t at_ms)
{
	if (at_ms > record->last_ms)
		record->last_ms = at_ms;
	switch (note) {
	case CALL_RECORD_BOUND:
		add_bound(record, body, at_ms);
		break;
	case CALL_RECORD_WORKER:
		add_worker(record, body, at_ms);
		break;
	case CALL_RECORD_STATE:
		add_state(record, body, at_ms);
		break;
	case CALL_RECORD_TRANSCRIPT:
		add_transcript(record, body, at_ms);
		break;
	case CALL_RECORD_EVENT:
		add_event(record, body, at_ms);
		break;
	case CALL_RECORD_FULL:
		record->truncated = true;
		break;
	case CALL_RECORD_NOTE_COUNT:
		break;
	}
}

uint64_t call_record_last_ms(const struct call_record *record)
{
	return record->last_ms;
}

/* RFC 3339 in UTC with milliseconds. */
static void add_time(cJSON *line, const char *name, bool known, double unix_ms)
{
	time_t seconds = (time_t)(unix_ms / 1000);
	char date[32], text[40];
	struct tm tm;

	if (!known || gmtime_r(&seconds, &tm) == NULL) {
		cJSON_AddNullToObject(line, name);
		return;
	}
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%03uZ", date, (unsigned int)(unix_ms - (double)seconds * 1000) % 1000u);
	cJSON_AddStringToObject(line, name, text);
}

static int compare_times(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static void add_totals(cJSON *line, struct call_record *record)
{
	cJSON *response = cJSON_AddObjectToObject(line, "response_ms");

	cJSON_AddNumberToObject(response, "count", record->time_count);
	if (record->time_count > 0) {
		qsort(record->times, record->time_count, sizeof(*record->times), compare_times);
		cJSON_AddNumberToObject(response, "p50", record->times[record->time_count / 2]);
		cJSON_AddNumberToObject(response, "max", record->time_max);
	} else {
		cJSON_AddNullToObject(response, "p50");
		cJSON_AddNullToObject(response, "max");
	}
	cJSON_AddNumberToObject(line, "turn_count", record->turn_count);
	cJSON_AddNumberToObject(line, "interruptions", record->interruptions);
	cJSON_AddNumberToObject(line, "phantom_interruptions", record->phantom_interruptions);
	cJSON_AddNumberToObject(line, "unanswered", record->unanswered);
	cJSON_AddNumberToObject(line, "underruns", record->underruns);
	cJSON_AddNumberToObject(line, "tool_call_count", record->tool_count);
	cJSON_AddNumberToObject(line, "gap_count", record->gap_count);
	cJSON_AddNumberToObject(line, "gaps_ms", (double)record->gaps_ms);
	cJSON_AddItemToObject(line, "usage", call_record_usage_json(&record->usage));
}

/* A list as it was kept. */
static void add_list(cJSON *line, const char *name, const struct record_text *list)
{
	char *text = malloc(list->len + 3);

	if (text == NULL)
		return;
	sprintf(text, "[%s]", list->len > 0 ? list->bytes : "");
	cJSON_AddRawToObject(line, name, text);
	free(text);
}

/* A member of `end` as it is; null when the call was lost and nobody knows. */
static void add_known(cJSON *line, const char *name, const cJSON *end)
{
	cJSON *item = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(end, name), true);

	cJSON_AddItemToObject(line, name, item != NULL ? item : cJSON_CreateNull());
}

/* Where the conversation stood at the end, and why: what began a gap is not always what made it last. */
static void add_conversation(cJSON *line, const struct call_record *record)
{
	cJSON *conversation = cJSON_AddObjectToObject(line, "conversation");

	if (record->state[0] != '\0')
		cJSON_AddStringToObject(conversation, "state", record->state);
	else
		cJSON_AddNullToObject(conversation, "state");
	if (record->state_code != 0)
		cJSON_AddNumberToObject(conversation, "code", record->state_code);
	else
		cJSON_AddNullToObject(conversation, "code");
	cJSON_AddStringToObject(conversation, "reason", record->state_reason);
}

static cJSON *begin_line(const struct call_record *record, double *created_ms)
{
	cJSON *line = cJSON_CreateObject(), *begin = cJSON_Parse(record->begin.bytes);

	cJSON_AddStringToObject(line, "record", "call");
	cJSON_AddNumberToObject(line, "version", CALL_RECORD_VERSION);
	*created_ms = number_of(begin, "created_unix_ms", 0);
	cJSON_DeleteItemFromObjectCaseSensitive(begin, "created_unix_ms");
	while (begin != NULL && begin->child != NULL) {
		cJSON *member = cJSON_DetachItemViaPointer(begin, begin->child);

		cJSON_AddItemToObject(line, member->string, member);
	}
	cJSON_Delete(begin);
	return line;
}

char *call_record_line(struct call_record *record, const cJSON *end, uint64_t at_ms)
{
	static const char *const known[] = {"end", "reason", "address_switches", "receive", "send"};
	double created_ms;
	cJSON *line;
	char *text = NULL, *printed;

	keep_turn(record, at_ms);
	keep_gap(record, at_ms);
	for (unsigned int i = 0; i < record->open_tool_count; i++)
		keep_tool(record, &record->open_tools[i], NULL, at_ms);
	record->open_tool_count = 0;
	line = begin_line(record, &created_ms);
	add_time(line, "created", true, created_ms);
	add_time(line, "bound_at", record->is_bound, created_ms + (double)record->bound_ms);
	add_time(line, "ready_at", record->ready, created_ms + (double)record->ready_ms);
	add_time(line, "ended", true, created_ms + (double)at_ms);
	cJSON_AddNumberToObject(line, "duration_ms", (double)at_ms);
	if (record->is_bound && record->bound.len > 0)
		cJSON_AddRawToObject(line, "bound", record->bound.bytes);
	else
		cJSON_AddNullToObject(line, "bound");
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		add_known(line, known[i], end);
	add_list(line, "workers", &record->workers);
	add_conversation(line, record);
	add_totals(line, record);
	add_list(line, "turns", &record->turns);
	add_list(line, "tool_calls", &record->tools);
	add_list(line, "gaps", &record->gaps);
	cJSON_AddBoolToObject(line, "truncated", record->truncated);
	printed = cJSON_PrintUnformatted(line);
	cJSON_Delete(line);
	if (printed != NULL && asprintf(&text, "%s\n", printed) < 0)
		text = NULL;
	cJSON_free(printed);
	return text;
}
