/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See history.h. How a session is seeded depends on the model (GEMINI_LIVE 2.1, 3.2): 3.8 takes turns of both roles at any time; 3.1 takes them
 * only as its declared history, which never starts an answer; 2.5 wants the user to have the last word.
 */
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "gemini_message.h"

struct history_turn {
	struct history_turn *next;
	enum history_role role;
	size_t len;
	char *text;
};

static const char opening[] =
	"The connection to you was lost during this call and is up again. This is what was said until then.";
static const char nobody_speaks[] = "The connection is up again. Wait for the caller to speak.";

static void drop_first(struct history *h)
{
	struct history_turn *first = h->first;

	h->first = first->next;
	if (h->first == NULL)
		h->last = NULL;
	h->bytes -= first->len;
	free(first->text);
	free(first);
}

static bool begin_turn(struct history *h, enum history_role role)
{
	struct history_turn *turn = calloc(1, sizeof(*turn));

	if (turn == NULL)
		return false;
	turn->role = role;
	if (h->last != NULL)
		h->last->next = turn;
	else
		h->first = turn;
	h->last = turn;
	h->closed = false;
	return true;
}

/* Cut at the front, not inside a character. */
static size_t too_much(const char *text, size_t len, size_t max)
{
	size_t cut = len > max ? len - max : 0;

	while (cut > 0 && cut < len && ((unsigned char)text[cut] & 0xc0) == 0x80)
		cut++;
	return cut;
}

void history_say(struct history *h, enum history_role role, const char *text)
{
	size_t len = strlen(text), cut;
	struct history_turn *turn;
	char *grown;

	if (len == 0)
		return;
	if ((h->last == NULL || h->closed || h->last->role != role) && !begin_turn(h, role))
		return;
	turn = h->last;
	grown = realloc(turn->text, turn->len + len + 1);
	if (grown == NULL)
		return;
	memcpy(grown + turn->len, text, len + 1);
	turn->text = grown;
	turn->len += len;
	h->bytes += len;
	cut = too_much(turn->text, turn->len, HISTORY_TURN_MAX);
	memmove(turn->text, turn->text + cut, turn->len - cut + 1);
	turn->len -= cut;
	h->bytes -= cut;
	while (h->bytes > HISTORY_BYTES_MAX)
		drop_first(h);
}

void history_end_turn(struct history *h)
{
	h->closed = true;
}

/* Bytes of a value that are told of; no character is cut in two, the service would refuse the whole message. */
static int value_len(const char *text)
{
	size_t len = strnlen(text, HISTORY_VALUE_MAX + 1);

	if (len <= HISTORY_VALUE_MAX)
		return (int)len;
	for (len = HISTORY_VALUE_MAX; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80; len--)
		;
	return (int)len;
}

void history_tool(struct history *h, const char *name, const char *arguments, const char *result)
{
	char text[2 * HISTORY_VALUE_MAX + 256];

	if (result != NULL)
		snprintf(text, sizeof(text),
			"You have called the function %.64s with %.*s. Its result: %.*s. Do not call it again for this.", name,
			value_len(arguments), arguments, value_len(result), result);
	else
		snprintf(text, sizeof(text),
			"You have called the function %.64s with %.*s. Its result was lost with the connection.", name,
			value_len(arguments), arguments);
	h->closed = true;
	history_say(h, HISTORY_NOTE, text);
	h->closed = true;
}

bool history_is_empty(const struct history *h)
{
	return h->first == NULL;
}

const char *history_tail(const struct history *h, enum history_role role)
{
	const struct history_turn *said = NULL;
	const char *tail, *word;

	for (const struct history_turn *turn = h->first; turn != NULL; turn = turn->next)
		if (turn->len > 0 && turn->role == role)
			said = turn;
		else if (turn->len > 0 && turn->role == HISTORY_MODEL)
			said = NULL; /* it has answered that */
	if (said == NULL)
		return "";
	if (said->len <= HISTORY_TAIL_MAX)
		return said->text;
	tail = said->text + too_much(said->text, said->len, HISTORY_TAIL_MAX);
	word = strchr(tail, ' ');
	return word != NULL ? word + 1 : tail;
}

char *history_request(const struct history *h, enum history_owed owed, char *to, size_t size)
{
	const char *tail = history_tail(h, owed == HISTORY_ANSWER ? HISTORY_CALLER : HISTORY_MODEL);

	if (owed == HISTORY_ANSWER && *tail != '\0')
		snprintf(to, size, "The connection was lost before you answered. The caller said last: \"%s\". Answer that.",
			tail);
	else if (owed == HISTORY_ANSWER)
		snprintf(to, size,
			"The connection was lost before you answered. Answer what the caller said last. If you have answered "
			"that "
			"already, ask the caller to say it again.");
	else if (*tail != '\0')
		snprintf(to, size,
			"The connection was lost while you were speaking. The caller has heard you up to: \"%s\". Go on from "
			"there, "
			"without repeating it.",
			tail);
	else
		snprintf(to, size, "The connection was lost while you were speaking. Go on from where you were cut off.");
	return to;
}

static void add_turn(cJSON *turns, const char *role, const char *text)
{
	cJSON *turn = cJSON_CreateObject(), *part = cJSON_CreateObject();

	cJSON_AddStringToObject(turn, "role", role);
	cJSON_AddStringToObject(part, "text", text);
	cJSON_AddItemToArray(cJSON_AddArrayToObject(turn, "parts"), part);
	cJSON_AddItemToArray(turns, turn);
}

char *history_seed(const struct history *h, const char *model, enum history_owed owed)
{
	uint32_t features = gemini_model_features(model);
	bool as_history = (features & GEMINI_FEATURE_HISTORY) != 0, caller_last = false;
	char request[HISTORY_TAIL_MAX + 256], *text;
	cJSON *message, *content, *turns;

	if (!(features & GEMINI_FEATURE_RESUME))
		return NULL;
	message = cJSON_CreateObject();
	content = cJSON_AddObjectToObject(message, "clientContent");
	turns = cJSON_AddArrayToObject(content, "turns");
	add_turn(turns, "user", opening);
	for (const struct history_turn *turn = h->first; turn != NULL; turn = turn->next) {
		if (turn->len > 0)
			add_turn(turns, turn->role == HISTORY_MODEL ? "model" : "user", turn->text);
		caller_last = turn->role == HISTORY_CALLER;
	}
	/* A question at the end asks for itself. */
	if (owed != HISTORY_NOTHING && !as_history && !(owed == HISTORY_ANSWER && caller_last))
		add_turn(turns, "user", history_request(h, owed, request, sizeof(request)));
	else if (owed == HISTORY_NOTHING && (features & GEMINI_FEATURE_USER_LAST))
		add_turn(turns, "user", nobody_speaks);
	/* The end of declared history is no question; anywhere else it is one. */
	cJSON_AddBoolToObject(content, "turnComplete", as_history || owed != HISTORY_NOTHING);
	text = cJSON_PrintUnformatted(message);
	cJSON_Delete(message);
	return text;
}

void history_free(struct history *h)
{
	while (h->first != NULL)
		drop_first(h);
}
