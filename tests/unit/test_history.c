/* SPDX-License-Identifier: Apache-2.0 */
/* What a call remembers, and how a new session is told of it: bounded, in order, in the form its model takes, and without making it speak. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "ai_workers/gemini_message.h"
#include "ai_workers/history.h"
#include "tests/emulator/schema.h"

static struct history history;

static void begin(void)
{
	history = (struct history){0};
}

static void end(void)
{
	history_free(&history);
	ck_assert_uint_eq(history.bytes, 0);
}

/* The seed, checked by the emulator's schema of the live protocol. */
static cJSON *seed(const char *model, enum history_owed owed)
{
	char *text = history_seed(&history, model, owed);
	struct schema_error error = {0};
	cJSON *tree;

	ck_assert_ptr_nonnull(text);
	tree = schema_parse(REQUEST_API_V1BETA, text, strlen(text), &error);
	ck_assert_msg(tree != NULL, "%s: %s", text, error.reason);
	free(text);
	return tree;
}

static const cJSON *turns_of(const cJSON *tree)
{
	return cJSON_GetObjectItem(cJSON_GetObjectItem(tree, "clientContent"), "turns");
}

static const char *text_of(const cJSON *tree, int turn)
{
	const cJSON *parts = cJSON_GetObjectItem(cJSON_GetArrayItem(turns_of(tree), turn), "parts");

	return cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(parts, 0), "text"));
}

static const char *role_of(const cJSON *tree, int turn)
{
	return cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(turns_of(tree), turn), "role"));
}

static void talk(void)
{
	history_say(&history, HISTORY_CALLER, "When do ");
	history_say(&history, HISTORY_CALLER, "you open?");
	history_say(&history, HISTORY_MODEL, "At ");
	history_say(&history, HISTORY_MODEL, "nine.");
	history_end_turn(&history);
}

START_TEST(test_history_puts_fragments_together)
{
	cJSON *tree;

	ck_assert(history_is_empty(&history));
	talk();
	history_say(&history, HISTORY_MODEL, "");
	history_say(&history, HISTORY_MODEL, "Anything else?"); /* a turn of its own: the one before was over */
	tree = seed("gemini-3.8-live", HISTORY_NOTHING);
	ck_assert_int_eq(cJSON_GetArraySize(turns_of(tree)), 4);
	ck_assert_str_eq(role_of(tree, 0), "user");
	ck_assert_str_eq(role_of(tree, 1), "user");
	ck_assert_str_eq(text_of(tree, 1), "When do you open?");
	ck_assert_str_eq(role_of(tree, 2), "model");
	ck_assert_str_eq(text_of(tree, 2), "At nine.");
	ck_assert_str_eq(text_of(tree, 3), "Anything else?");
	cJSON_Delete(tree);
}
END_TEST

/* Each model in each situation: does the seed make it speak, and with whose turn does it end? */
static const struct {
	const char *model;
	enum history_owed owed;
	bool asked;	   /* the caller's question is at the end */
	bool complete;	   /* turnComplete */
	const char *last;  /* role */
	const char *words; /* in the last turn */
} seeds[] = {
	{"gemini-3.8-live", HISTORY_NOTHING, false, false, "model", "At nine."},
	{"gemini-3.8-live", HISTORY_ANSWER, true, true, "user", "And on Sunday?"},
	{"gemini-3.8-live", HISTORY_ANSWER, false, true, "user", "before you answered"},
	{"gemini-3.8-live", HISTORY_REST, false, true, "user", "up to: \"At nine.\""},
	{"models/gemini-3.1-flash-live-preview", HISTORY_NOTHING, false, true, "model", "At nine."},
	{"models/gemini-3.1-flash-live-preview", HISTORY_ANSWER, true, true, "user", "And on Sunday?"},
	{"models/gemini-3.1-flash-live-preview", HISTORY_REST, false, true, "model", "At nine."},
	{"gemini-2.5-flash-native-audio-preview-12-2025", HISTORY_NOTHING, false, false, "user", "Wait for the caller"},
	{"gemini-2.5-flash-native-audio-preview-12-2025", HISTORY_NOTHING, true, false, "user", "Wait for the caller"},
	{"gemini-2.5-flash-native-audio-preview-12-2025", HISTORY_ANSWER, true, true, "user", "And on Sunday?"},
};

START_TEST(test_history_seeds)
{
	const cJSON *content;
	cJSON *tree;
	int last;

	talk();
	if (seeds[_i].asked)
		history_say(&history, HISTORY_CALLER, "And on Sunday?");
	tree = seed(seeds[_i].model, seeds[_i].owed);
	content = cJSON_GetObjectItem(tree, "clientContent");
	last = cJSON_GetArraySize(turns_of(tree)) - 1;
	ck_assert_int_eq(cJSON_IsTrue(cJSON_GetObjectItem(content, "turnComplete")), seeds[_i].complete);
	ck_assert_str_eq(role_of(tree, last), seeds[_i].last);
	ck_assert_ptr_nonnull(strstr(text_of(tree, last), seeds[_i].words));
	cJSON_Delete(tree);
}
END_TEST

/* A model that cannot be seeded is not; and only one that needs it declared gets it declared. */
START_TEST(test_history_declared)
{
	static const struct {
		const char *model;
		bool seeded, declared;
	} cases[] = {{"gemini-3.1-flash-live-preview", true, true}, {"gemini-3.1-flash-live-preview", false, false},
		{"gemini-3.8-live", true, false}, {"gemini-2.5-flash-native-audio-preview-12-2025", true, false}};

	talk();
	ck_assert_ptr_null(history_seed(&history, "gemini-3.5-transcribe-live", HISTORY_NOTHING));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *text = gemini_build_setup(&(struct gemini_setup){.model = cases[i].model, .seeded = cases[i].seeded});

		ck_assert_int_eq(
			strstr(text, "\"historyConfig\":{\"initialHistoryInClientContent\":true}") != NULL, cases[i].declared);
		free(text);
	}
}
END_TEST

START_TEST(test_history_keeps_the_newest)
{
	char words[64];
	cJSON *tree;
	int count;

	for (int i = 0; i < 2000; i++) {
		snprintf(words, sizeof(words), "sentence number %d of this call, ", i);
		history_say(&history, i % 2 == 0 ? HISTORY_CALLER : HISTORY_MODEL, words);
		history_end_turn(&history);
		ck_assert_uint_le(history.bytes, HISTORY_BYTES_MAX);
	}
	ck_assert_uint_gt(history.bytes, HISTORY_BYTES_MAX / 2);
	tree = seed("gemini-3.8-live", HISTORY_NOTHING);
	count = cJSON_GetArraySize(turns_of(tree));
	ck_assert_str_eq(text_of(tree, count - 1), words);
	cJSON_Delete(tree);
}
END_TEST

/* One endless turn: its end is kept, and no character is cut in two. */
START_TEST(test_history_bounds_a_turn)
{
	const char *tail;
	size_t len;

	for (int i = 0; i < 3000; i++)
		history_say(&history, HISTORY_MODEL, i % 7 == 0 ? "w\xc3\xb6rter " : "\xe2\x82\xac");
	ck_assert_uint_le(history.bytes, HISTORY_TURN_MAX);
	cJSON_Delete(seed("gemini-3.8-live", HISTORY_NOTHING));
	tail = history_tail(&history, HISTORY_MODEL);
	len = strlen(tail);
	ck_assert_uint_le(len, HISTORY_TAIL_MAX);
	ck_assert_uint_gt(len, 0);
	ck_assert_int_ne((unsigned char)tail[0] & 0xc0, 0x80);
	ck_assert_str_eq(history_tail(&history, HISTORY_CALLER), "");
}
END_TEST

START_TEST(test_history_remembers_functions)
{
	cJSON *tree;
	char *endless = malloc(100000);

	/* Of characters of two bytes, beginning at an odd one. */
	for (size_t i = 1; i + 1 < 99999; i += 2)
		memcpy(endless + i, "\xc3\xb6", 2);
	endless[0] = 'x';
	endless[99999] = '\0';
	history_say(&history, HISTORY_CALLER, "Book it.");
	history_tool(&history, "book", "{\"day\":3}", "{\"ok\":true}");
	history_tool(&history, "pay", endless, NULL);
	history_say(&history, HISTORY_MODEL, "Done.");
	tree = seed("gemini-3.8-live", HISTORY_NOTHING);
	ck_assert_int_eq(cJSON_GetArraySize(turns_of(tree)), 5);
	ck_assert_str_eq(role_of(tree, 2), "user");
	ck_assert_ptr_nonnull(strstr(text_of(tree, 2), "function book with {\"day\":3}. Its result: {\"ok\":true}"));
	ck_assert_ptr_nonnull(strstr(text_of(tree, 3), "Its result was lost"));
	ck_assert_uint_lt(strlen(text_of(tree, 3)), HISTORY_VALUE_MAX + 200);
	ck_assert_ptr_nonnull(strstr(text_of(tree, 3), "\xc3\xb6. Its result"));
	cJSON_Delete(tree);
	free(endless);
}
END_TEST

START_TEST(test_history_requests)
{
	char to[HISTORY_TAIL_MAX + 256];

	ck_assert_ptr_nonnull(strstr(history_request(&history, HISTORY_ANSWER, to, sizeof(to)), "Answer"));
	ck_assert_ptr_nonnull(strstr(history_request(&history, HISTORY_REST, to, sizeof(to)), "Go on"));
	talk();
	ck_assert_ptr_nonnull(strstr(history_request(&history, HISTORY_REST, to, sizeof(to)), "\"At nine.\""));
	/* That question has its answer; the next one is known by its sound only. */
	ck_assert_ptr_null(strstr(history_request(&history, HISTORY_ANSWER, to, sizeof(to)), "open"));
	ck_assert_ptr_nonnull(strstr(to, "Answer what the caller said last"));
	history_say(&history, HISTORY_CALLER, "And on Sunday?");
	history_tool(&history, "hours", "{}", NULL);
	ck_assert_ptr_nonnull(strstr(history_request(&history, HISTORY_ANSWER, to, sizeof(to)), "\"And on Sunday?\""));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("history");
	TCase *table = tcase_create("seeds");

	unit_add_fixture(suite, "memory", begin, end, test_history_puts_fragments_together, test_history_declared,
		test_history_keeps_the_newest, test_history_bounds_a_turn, test_history_remembers_functions,
		test_history_requests);
	tcase_add_checked_fixture(table, begin, end);
	tcase_add_loop_test(table, test_history_seeds, 0, sizeof(seeds) / sizeof(seeds[0]));
	suite_add_tcase(suite, table);
	return unit_run(suite);
}
