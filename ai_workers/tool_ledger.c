/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger of tool_ledger.h: a short list, oldest first. A call that the platform was asked for leads; calls that turn out to be
 * the same business follow it and never meet the platform.
 */
#include "tool_ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#define NO_ANSWER_IN_TIME "{\"error\":\"no answer in time\"}"
#define TOO_MANY	  "too many calls wait for their results"
#define TOO_LONG	  "{\"error\":\"it failed, for a reason too long to be told\"}"
#define NO_MEMORY	  "{\"error\":\"out of memory\"}"

static bool is_open(const struct tool_call *call)
{
	return call->state == TOOL_CALL_WAITING || call->state == TOOL_CALL_FOLLOWS;
}

static void free_call(struct tool_ledger *ledger, struct tool_call *call)
{
	DL_DELETE(ledger->calls, call);
	ledger->count--;
	free(call->model_id);
	free(call->args);
	free(call->key);
	free(call->answer);
	free(call);
}

void tool_ledger_free(struct tool_ledger *ledger)
{
	while (ledger->calls != NULL)
		free_call(ledger, ledger->calls);
	*ledger = (struct tool_ledger){0};
}

static void set_state(struct tool_ledger *ledger, struct tool_call *call, enum tool_state state)
{
	bool was_open = is_open(call);

	call->state = state;
	if (was_open && !is_open(call))
		ledger->open--;
	else if (!was_open && is_open(call))
		ledger->open++;
	if (state != TOOL_CALL_FOLLOWS)
		call->leader = NULL;
}

static struct tool_call *find_by_id(const struct tool_ledger *ledger, const char *id)
{
	struct tool_call *call;

	DL_FOREACH(ledger->calls, call)
	{
		if (strcmp(call->id, id) == 0)
			return call;
	}
	return NULL;
}

/* Ids belong to the session that used them; a given up one may come again as another call. */
static struct tool_call *find_by_model_id(const struct tool_ledger *ledger, const char *model_id)
{
	struct tool_call *call;

	DL_FOREACH(ledger->calls, call)
	{
		if (call->model_id != NULL && call->epoch == ledger->epoch && strcmp(call->model_id, model_id) == 0 &&
			(is_open(call) || call->state == TOOL_CALL_ANSWERED))
			return call;
	}
	return NULL;
}

/* A call whose result serves another one with `key`. */
static struct tool_call *find_same(const struct tool_ledger *ledger, const char *name, const char *key)
{
	struct tool_call *call;

	DL_FOREACH(ledger->calls, call)
	{
		if (strcmp(call->name, name) != 0 || strcmp(call->key, key) != 0)
			continue;
		if (call->state == TOOL_CALL_WAITING || (call->keyed && call->state == TOOL_CALL_ANSWERED && !call->failed))
			return call;
	}
	return NULL;
}

/* Arguments as text; members in the order of their names, so that the same arguments are the same text. */
static int compare_members(const void *a, const void *b)
{
	const cJSON *const *left = a, *const *right = b;

	return strcmp((*left)->string, (*right)->string);
}

static void sort_members(cJSON *value)
{
	int count = cJSON_IsObject(value) ? cJSON_GetArraySize(value) : 0, i = 0;
	cJSON **members = count > 1 ? calloc((size_t)count, sizeof(*members)) : NULL, *item;

	cJSON_ArrayForEach(item, value)
	{
		sort_members(item);
		if (members != NULL)
			members[i++] = item;
	}
	if (members == NULL)
		return;
	qsort(members, (size_t)count, sizeof(*members), compare_members);
	value->child = members[0];
	for (i = 0; i < count; i++) {
		members[i]->next = i + 1 < count ? members[i + 1] : NULL;
		/* cJSON keeps the last one behind the first. */
		members[i]->prev = members[i > 0 ? i - 1 : count - 1];
	}
	free(members);
}

static char *key_of(const struct tool_request *request)
{
	const struct tool *tool = request->tool;
	cJSON *key = tool->key_count == 0 ? cJSON_Duplicate(request->args, true) : cJSON_CreateObject();
	char *text;

	for (size_t i = 0; i < tool->key_count; i++) {
		const cJSON *value = cJSON_GetObjectItemCaseSensitive(request->args, tool->key[i].name);

		if (value != NULL)
			cJSON_AddItemToObject(key, tool->key[i].name, cJSON_Duplicate(value, true));
	}
	sort_members(key);
	text = key != NULL ? cJSON_PrintUnformatted(key) : strdup("{}");
	cJSON_Delete(key);
	return text;
}

static bool is_plain_id(const char *id)
{
	size_t len = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-");

	return len > 0 && len < TOOL_ID_SIZE && id[len] == '\0';
}

/* The platform sees the model's id where it can. */
static void choose_id(struct tool_ledger *ledger, struct tool_call *call)
{
	if (call->model_id != NULL && is_plain_id(call->model_id) && find_by_id(ledger, call->model_id) == NULL) {
		strcpy(call->id, call->model_id);
		return;
	}
	do
		snprintf(call->id, sizeof(call->id), "vl-%u", ++ledger->numbered);
	while (find_by_id(ledger, call->id) != NULL);
}

/* Room for one more: the oldest that is over goes, one whose result still stands last. Returns whether there was any. */
static bool forget_oldest(struct tool_ledger *ledger)
{
	struct tool_call *call, *oldest = NULL;

	DL_FOREACH(ledger->calls, call)
	{
		if (is_open(call) || (call->state == TOOL_CALL_ANSWERED && !call->sent))
			continue;
		if (oldest == NULL || (oldest->keyed && !call->keyed))
			oldest = call;
	}
	if (oldest != NULL)
		free_call(ledger, oldest);
	return oldest != NULL;
}

/* A name that was never declared may be any text: what does not fit is cut between two characters. */
static void set_name(struct tool_call *call, const char *name)
{
	size_t len = strlen(name);

	if (len >= sizeof(call->name)) {
		len = sizeof(call->name) - 1;
		while (len > 0 && ((unsigned char)name[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(call->name, name, len);
}

/* Of a call that is `refused` only what an answer needs is kept. */
static struct tool_call *add(struct tool_ledger *ledger, const struct tool_request *request, bool refused, uint64_t now_ms)
{
	struct tool_call *call = calloc(1, sizeof(*call));

	if (call == NULL)
		return NULL;
	call->model_id = request->model_id != NULL ? strdup(request->model_id) : NULL;
	call->args = !refused && request->args != NULL ? cJSON_PrintUnformatted(request->args) : strdup("{}");
	call->key = refused ? strdup("") : key_of(request);
	call->kind = tools_kind(request->name);
	call->epoch = ledger->epoch;
	if (!refused) {
		call->keyed = request->tool->key_count > 0;
		call->deadline_ms = now_ms + request->tool->timeout_s * UINT64_C(1000);
	}
	set_name(call, request->name);
	if ((request->model_id != NULL && call->model_id == NULL) || call->args == NULL || call->key == NULL) {
		free(call->model_id);
		free(call->args);
		free(call->key);
		free(call);
		return NULL;
	}
	choose_id(ledger, call);
	DL_APPEND(ledger->calls, call);
	ledger->count++;
	ledger->open++; /* as WAITING */
	return call;
}

static void set_answer(struct tool_ledger *ledger, struct tool_call *call, char *answer, bool failed)
{
	free(call->answer);
	call->answer = answer;
	call->failed = failed;
	call->sent = call->confirmed = false;
	set_state(ledger, call, TOOL_CALL_ANSWERED);
}

/* Why a request cannot be taken, or NULL. */
static const char *refusal(const struct tool_ledger *ledger, const struct tool_request *request)
{
	if (request->tool == NULL)
		return "this function does not exist";
	if (request->model_id != NULL && strlen(request->model_id) > TOOL_MODEL_ID_MAX)
		return "the id of the call is too long";
	if (request->args != NULL && !cJSON_IsObject(request->args))
		return "the arguments are not an object";
	return ledger->open >= TOOL_OPEN_MAX ? TOO_MANY : NULL;
}

static char *print_error(const char *text)
{
	cJSON *object = cJSON_CreateObject();
	char *answer;

	cJSON_AddStringToObject(object, "error", text);
	answer = cJSON_PrintUnformatted(object);
	cJSON_Delete(object);
	return answer;
}

/* An entry that is answered already, so that it is answered again when the connection goes before the model has heard it. */
static struct tool_call *refuse(struct tool_ledger *ledger, const struct tool_request *request, const char *why)
{
	struct tool_call *call;

	if (request->model_id != NULL && strlen(request->model_id) > TOOL_ARGS_MAX)
		return NULL;
	if (ledger->count >= TOOL_LEDGER_MAX && !forget_oldest(ledger))
		return NULL;
	call = add(ledger, request, true, 0);
	if (call == NULL)
		return NULL;
	call->noted = true; /* nothing was done that another session must know of */
	set_answer(ledger, call, print_error(why), true);
	return call;
}

enum tool_verdict tool_ledger_begin(struct tool_ledger *ledger, const struct tool_request *request, uint64_t now_ms,
	struct tool_call **call, const char **why)
{
	struct tool_call *same;
	char *copy = NULL;

	*call = request->model_id != NULL ? find_by_model_id(ledger, request->model_id) : NULL;
	if (*call != NULL) {
		/* Asked again on another connection than the one it was answered on: that answer has not arrived. */
		if ((*call)->state == TOOL_CALL_ANSWERED && (*call)->sent && (*call)->connection != ledger->connection)
			(*call)->sent = (*call)->confirmed = false;
		return TOOL_KNOWN;
	}
	*why = refusal(ledger, request);
	if (*why == NULL && ledger->count >= TOOL_LEDGER_MAX && !forget_oldest(ledger))
		*why = TOO_MANY;
	if (*why != NULL)
		goto refused;
	*call = add(ledger, request, false, now_ms);
	*why = "no memory for another call";
	if (*call == NULL)
		goto refused;
	if (strlen((*call)->args) > TOOL_ARGS_MAX) {
		*why = "the arguments are too long";
		goto taken_back;
	}
	/* It is the last one itself, so what is found before it is another. */
	same = find_same(ledger, (*call)->name, (*call)->key);
	if (same == *call)
		return TOOL_ASK;
	if (same->state == TOOL_CALL_ANSWERED) {
		copy = strdup(tool_call_answer(same));
		if (copy == NULL)
			goto taken_back;
		set_answer(ledger, *call, copy, false);
	} else {
		set_state(ledger, *call, TOOL_CALL_FOLLOWS);
		(*call)->leader = same;
	}
	return TOOL_SHARED;
taken_back:
	set_state(ledger, *call, TOOL_CALL_CANCELLED);
	free_call(ledger, *call);
refused:
	*call = refuse(ledger, request, *why);
	return TOOL_REFUSED;
}

/* `call` is answered, and so is everyone who follows it. A follower without memory for its copy is answered with less. */
static void answer_all(struct tool_ledger *ledger, struct tool_call *call, char *answer, bool failed)
{
	struct tool_call *other;

	set_answer(ledger, call, answer, failed);
	DL_FOREACH(ledger->calls, other)
	{
		char *copy;

		if (other->state != TOOL_CALL_FOLLOWS || other->leader != call)
			continue;
		copy = answer != NULL ? strdup(answer) : NULL;
		other->expired = call->expired;
		set_answer(ledger, other, copy, failed || copy == NULL);
	}
}

int tool_ledger_result(struct tool_ledger *ledger, const char *id, const char *answer, bool failed)
{
	struct tool_call *call = find_by_id(ledger, id);
	char *copy;

	if (call == NULL || call->state == TOOL_CALL_FOLLOWS)
		return -ENOENT;
	if (call->state == TOOL_CALL_ANSWERED)
		return call->expired ? -ETIME : -EALREADY;
	if (call->state != TOOL_CALL_WAITING)
		return call->state == TOOL_CALL_CANCELLED ? -ECANCELED : -ESTALE;
	if (strlen(answer) > TOOL_RESULT_MAX)
		return -EMSGSIZE;
	copy = strdup(answer);
	if (copy == NULL)
		return -ENOMEM;
	answer_all(ledger, call, copy, failed);
	return 0;
}

int tool_ledger_fail(struct tool_ledger *ledger, const char *id, const char *text)
{
	char *answer = print_error(text);
	int result;

	/* Quotes and control characters grow when they are printed. */
	if (answer != NULL && strlen(answer) > TOOL_RESULT_MAX)
		result = tool_ledger_result(ledger, id, TOO_LONG, true);
	else
		result = answer != NULL ? tool_ledger_result(ledger, id, answer, true) : -ENOMEM;
	cJSON_free(answer);
	return result;
}

struct tool_call *tool_ledger_expire(struct tool_ledger *ledger, uint64_t now_ms)
{
	struct tool_call *call;

	if (ledger->open == 0)
		return NULL;
	DL_FOREACH(ledger->calls, call)
	{
		if (call->state != TOOL_CALL_WAITING || now_ms < call->deadline_ms)
			continue;
		call->expired = true;
		answer_all(ledger, call, strdup(NO_ANSWER_IN_TIME), true);
		return call;
	}
	return NULL;
}

/* The first that follows `call`, or NULL. */
static struct tool_call *follower_of(const struct tool_ledger *ledger, const struct tool_call *call)
{
	struct tool_call *other;

	DL_FOREACH(ledger->calls, other)
	{
		if (other->state == TOOL_CALL_FOLLOWS && other->leader == call)
			return other;
	}
	return NULL;
}

/* `heir` waits for the result instead of `call`, under the id that the platform knows. */
static void hand_over(struct tool_ledger *ledger, struct tool_call *call, struct tool_call *heir)
{
	struct tool_call *other;
	char id[TOOL_ID_SIZE];

	memcpy(id, call->id, sizeof(id));
	memcpy(call->id, heir->id, sizeof(id));
	memcpy(heir->id, id, sizeof(id));
	heir->deadline_ms = call->deadline_ms;
	set_state(ledger, heir, TOOL_CALL_WAITING);
	DL_FOREACH(ledger->calls, other)
	{
		if (other->state == TOOL_CALL_FOLLOWS && other->leader == call)
			other->leader = heir;
	}
}

struct tool_call *tool_ledger_cancel(struct tool_ledger *ledger, const char *model_id)
{
	struct tool_call *call = find_by_model_id(ledger, model_id), *heir;

	if (call == NULL || (call->state == TOOL_CALL_ANSWERED && call->sent))
		return NULL;
	if (call->state != TOOL_CALL_WAITING) {
		set_state(ledger, call, TOOL_CALL_CANCELLED);
		return NULL;
	}
	heir = follower_of(ledger, call);
	if (heir != NULL)
		hand_over(ledger, call, heir);
	set_state(ledger, call, TOOL_CALL_CANCELLED);
	return heir == NULL ? call : NULL;
}

struct tool_call *tool_ledger_due(const struct tool_ledger *ledger)
{
	struct tool_call *call;

	DL_FOREACH(ledger->calls, call)
	{
		if (call->state == TOOL_CALL_ANSWERED && !call->sent)
			return call;
	}
	return NULL;
}

const char *tool_call_answer(const struct tool_call *call)
{
	return call->answer != NULL ? call->answer : NO_MEMORY;
}

struct tool_call *tool_ledger_open(const struct tool_ledger *ledger, enum tool_kind kind)
{
	struct tool_call *call;

	DL_FOREACH(ledger->calls, call)
	{
		if (call->state == TOOL_CALL_WAITING && call->kind == kind)
			return call;
	}
	return NULL;
}

void tool_ledger_sent(struct tool_ledger *ledger, struct tool_call *call, uint64_t message)
{
	call->sent = true;
	call->message = message;
	call->went_out = false;
	call->connection = ledger->connection;
}

void tool_ledger_went_out(struct tool_ledger *ledger, uint64_t message, uint64_t now_ms)
{
	struct tool_call *call;

	DL_FOREACH(ledger->calls, call)
	{
		if (call->sent && !call->went_out && call->message == message) {
			call->went_out = true;
			call->sent_ms = now_ms;
		}
	}
}

void tool_ledger_dropped(struct tool_ledger *ledger)
{
	struct tool_call *call;

	DL_FOREACH(ledger->calls, call)
	{
		if (call->state == TOOL_CALL_ANSWERED && call->sent && !call->went_out)
			call->sent = false;
	}
}

void tool_ledger_heard(struct tool_ledger *ledger, uint64_t now_ms)
{
	struct tool_call *call;

	DL_FOREACH(ledger->calls, call)
	{
		if (call->sent && call->went_out && now_ms >= call->sent_ms + TOOL_CONFIRM_MS)
			call->confirmed = true;
	}
}

void tool_ledger_connected(struct tool_ledger *ledger, bool resumed)
{
	struct tool_call *call;

	ledger->connection++;
	if (!resumed)
		ledger->epoch++;
	DL_FOREACH(ledger->calls, call)
	{
		if (call->state == TOOL_CALL_ANSWERED && resumed && call->epoch == ledger->epoch && !call->confirmed)
			call->sent = false;
		else if (is_open(call) && !resumed) {
			/* Only of calls that lead does anybody know. */
			call->sent = call->state == TOOL_CALL_FOLLOWS;
			set_state(ledger, call, TOOL_CALL_LOST);
		} else if (call->state == TOOL_CALL_ANSWERED && !resumed) {
			/* What was done stands; the new session is told of it in other words than an answer. */
			call->sent = call->went_out = call->confirmed = true;
		}
	}
}

struct tool_call *tool_ledger_lost(struct tool_ledger *ledger)
{
	struct tool_call *call;

	DL_FOREACH(ledger->calls, call)
	{
		if (call->state != TOOL_CALL_LOST || call->sent)
			continue;
		call->sent = true; /* told */
		return call;
	}
	return NULL;
}
