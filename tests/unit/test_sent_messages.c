/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything the worker can send, by every builder, to every model of both services, judged by the emulator: its tables of the live
 * protocol and its rules of models and sessions, which share no code with the builders. One 1007 here would be one from Google.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "ai_workers/gemini_message.h"
#include "ai_workers/history.h"
#include "ai_workers/tools.h"
#include "tests/emulator/talk.h"
#include "unit.h"

#define VERTEX "projects/project-1/locations/europe-west4/publishers/google/models/"

/* Every model the emulator knows, which is every model of GEMINI_LIVE 3.1 that can take a call. */
static const struct {
	enum request_api api;
	const char *model;
} models[] = {
	{REQUEST_API_V1BETA, "gemini-3.8-live"},
	{REQUEST_API_V1, "models/gemini-3.8-live"},
	{REQUEST_API_V1ALPHA, "gemini-3.8-live"},
	{REQUEST_API_V1BETA, "gemini-3.8-live-extended-thinking"},
	{REQUEST_API_V1BETA, "gemini-3.1-flash-live-preview"},
	{REQUEST_API_V1BETA, "gemini-3.5-live-translate-preview"}, /* a family the table does not know */
	{REQUEST_API_V1BETA, "gemini-3.5-transcribe-live"},
	{REQUEST_API_V1BETA, "gemini-2.5-flash-native-audio-preview-12-2025"},
	{REQUEST_API_V1BETA, "gemini-2.5-flash-native-audio-preview-09-2025"},
	{REQUEST_API_V1BETA, "gemini-2.5-flash-native-audio-latest"},
	{REQUEST_API_VERTEX, VERTEX "gemini-3.8-live"},
	{REQUEST_API_VERTEX, VERTEX "gemini-live-2.5-flash-native-audio"},
	{REQUEST_API_VERTEX, VERTEX "gemini-live-2.5-flash"},
};
#define MODELS (int)(sizeof(models) / sizeof(models[0]))

/* Every built-in function, and one of the user's own with a schema, blocking or not. */
static struct tool functions[] = {{.name = "end_call"}, {.name = "transfer_call"}, {.name = "send_dtmf"}, {.name = "hold"},
	{.name = "book", .description = (char *)"Book a table."}, {.name = "look_up", .description = (char *)"x", .behavior = 1}};

static const char *model;
static uint64_t now_ms;
static int refused;
static char reason[512], handle[128], tool_id[64];
static struct talk talk;
static struct registry *registry;
static struct persona persona;
static struct talk_rules rules;

static void host_send(void *user, const struct text *text)
{
	cJSON *root = cJSON_Parse(text->data), *call;
	const char *given =
		cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetObjectItem(root, "sessionResumptionUpdate"), "newHandle"));

	(void)user;
	if (given != NULL)
		snprintf(handle, sizeof(handle), "%s", given);
	call = cJSON_GetArrayItem(cJSON_GetObjectItem(cJSON_GetObjectItem(root, "toolCall"), "functionCalls"), 0);
	if (call != NULL)
		snprintf(tool_id, sizeof(tool_id), "%s", cJSON_GetStringValue(cJSON_GetObjectItem(call, "id")));
	cJSON_Delete(root);
}

static void host_refuse(void *user, int code, const char *why)
{
	(void)user;
	refused = code;
	snprintf(reason, sizeof(reason), "%s", why);
}

static void host_heard(void *user, const int16_t *samples, size_t count)
{
	(void)user;
	(void)samples;
	(void)count;
}

static void host_random(void *user, void *bytes, size_t size)
{
	static uint8_t next;

	(void)user;
	memset(bytes, next++, size);
}

static const struct talk_host host = {NULL, host_send, host_refuse, host_heard, host_random};

static void begin(void)
{
	functions[4].parameters =
		cJSON_Parse("{\"type\":\"OBJECT\",\"properties\":{\"day\":{\"type\":\"STRING\",\"enum\":[\"mon\",\"tue\"]},"
			    "\"seats\":{\"type\":\"INTEGER\"}},\"required\":[\"day\"]}");
	now_ms = 1000;
	refused = 0;
	handle[0] = tool_id[0] = '\0';
	registry = registry_create();
	memset(&persona, 0, sizeof(persona));
	ck_assert_int_eq(voice_tone("admin2", 200, &persona.answers[0]), 0);
	persona.answer_count = 1;
	rules = (struct talk_rules){
		.setup_delay_ms = 10, .resume_delay_ms = 10, .update_delay_ms = 10, .text_ms = 10, .strict_order = true};
}

static void end(void)
{
	cJSON_Delete(functions[4].parameters);
	registry_free(registry);
	voice_answer_free(&persona.answers[0]);
}

static void pass(uint64_t ms)
{
	for (uint64_t until = now_ms + ms; now_ms < until; now_ms += 10)
		talk_tick(&talk, now_ms);
}

/* The emulator's frames end with a NUL, the worker's have none. */
static void judge(const char *text, size_t len)
{
	char *message = strndup(text, len);

	talk_message(&talk, message, len, now_ms);
	ck_assert_msg(refused == 0, "%s: %d %s\n%.400s", model, refused, reason, message);
	free(message);
}

/* One message of a builder. */
static void send(char *text)
{
	ck_assert_ptr_nonnull(text);
	judge(text, strlen(text));
	free(text);
}

static void connect_and_set_up(enum request_api api, const struct gemini_setup *setup)
{
	talk_init(&talk, &rules, &host, &persona, registry, api);
	send(gemini_build_setup(setup));
	pass(100);
	ck_assert_msg(talk.ready, "%s", model);
}

static void send_audio(void)
{
	int16_t pcm[1600];
	char *text = malloc(gemini_audio_size(1600));

	for (size_t i = 0; i < 1600; i++)
		pcm[i] = (int16_t)(i * 37);
	for (size_t samples = 160; samples <= 1600; samples += 160) {
		judge(text, gemini_build_audio(text, pcm, samples, 8000));
		judge(text, gemini_build_audio(text, pcm, samples, 16000));
	}
	free(text);
	judge(gemini_audio_stream_end, strlen(gemini_audio_stream_end));
}

static struct gemini_setup full_setup(void)
{
	return (struct gemini_setup){.model = model,
		.voice = "Kore",
		.language = "de-DE",
		.instructions = "You answer the phone.\n\"Quotes\", \\ and \xc3\xa9.",
		.tools = functions,
		.tool_count = sizeof(functions) / sizeof(functions[0]),
		.prefix_padding_ms = 20,
		.silence_duration_ms = 500};
}

/* A whole call: setup, audio at both rates, a pause, text, a function called and answered, and again on a resumed connection. */
START_TEST(test_sent_whole_call)
{
	struct gemini_setup setup = full_setup();
	cJSON *result = cJSON_Parse("{\"output\":{\"a\":[1,2.5,null,true,\"x\"]}}");

	model = setup.model = models[_i].model;
	rules.tool_name = "transfer";
	for (int connection = 0; connection < 2; connection++) {
		setup.handle = handle[0] != '\0' ? handle : NULL;
		connect_and_set_up(models[_i].api, &setup);
		send_audio();
		send(gemini_build_text(model, "The caller pressed 1."));
		pass(200);
		if (tool_id[0] != '\0')
			send(gemini_build_tool_response(tool_id, "transfer", result));
		/* Vertex AI may leave the id out; then we have none to give back. */
		if (models[_i].api == REQUEST_API_VERTEX)
			send(gemini_build_tool_response(NULL, "transfer", result));
		pass(2000);
		send_audio();
		send(gemini_build_text(model, "Answer what the caller said last."));
		pass(2000);
		talk_clear(&talk, now_ms);
		pass(2000);
	}
	ck_assert_str_ne(tool_id, "");
	ck_assert_uint_eq(persona.counters.setups, 2);
	ck_assert_uint_eq(persona.counters.resumes, gemini_model_features(model) & GEMINI_FEATURE_RESUME ? 1 : 0);
	ck_assert_uint_eq(persona.counters.invalid_messages, 0);
	cJSON_Delete(result);
}
END_TEST

/* The least and the most a setup can hold, in every mixture. */
START_TEST(test_sent_setups)
{
	model = models[_i].model;
	for (unsigned int mixture = 0; mixture < 64; mixture++) {
		struct gemini_setup setup = full_setup();

		setup.voice = mixture & 1 ? setup.voice : NULL;
		setup.language = mixture & 2 ? setup.language : NULL;
		setup.instructions = mixture & 4 ? setup.instructions : NULL;
		setup.prefix_padding_ms = mixture & 8 ? 20 : 0;
		setup.silence_duration_ms = mixture & 16 ? 500 : 0;
		setup.seeded = (mixture & 32) != 0;
		setup.tool_count = mixture & 1 ? setup.tool_count : 0;
		connect_and_set_up(models[_i].api, &setup);
		talk_clear(&talk, now_ms);
	}
}
END_TEST

/* A fresh session is told of the old one, whatever is owed. */
START_TEST(test_sent_seeds)
{
	static const enum history_owed owed[] = {HISTORY_NOTHING, HISTORY_ANSWER, HISTORY_REST};
	struct gemini_setup setup = full_setup();

	model = setup.model = models[_i].model;
	setup.seeded = true;
	for (unsigned int ends = 0; ends < 4; ends++)
		for (size_t i = 0; i < 3; i++) {
			struct history history = {0};
			char request[1024], *seed;

			history_say(&history, HISTORY_CALLER, "Hello?");
			history_say(&history, HISTORY_MODEL, "Good morning.");
			if (ends == 1)
				history_say(&history, HISTORY_CALLER, "Are you there \"now\"?");
			if (ends == 2)
				history_tool(&history, "transfer", "{\"to\":\"sales\"}", "{\"output\":\"queued\"}");
			if (ends == 3)
				history_tool(&history, "transfer", "{}", NULL);
			connect_and_set_up(models[_i].api, &setup);
			seed = history_seed(&history, model, owed[i]);
			if (seed != NULL)
				send(seed);
			if (owed[i] != HISTORY_NOTHING)
				send(gemini_build_text(model, history_request(&history, owed[i], request, sizeof(request))));
			send_audio();
			pass(1000);
			talk_clear(&talk, now_ms);
			history_free(&history);
		}
}
END_TEST

/* The judge is awake: each of these would be let through by one that only looks at JSON. */
START_TEST(test_sent_judge_refuses)
{
	static const struct {
		const char *model;
		enum request_api api;
		const char *instead, *with;
	} wrong[] = {
		{"gemini-3.8-live", REQUEST_API_V1BETA, "\"slidingWindow\"", "\"slidingWindows\""},
		{"gemini-3.8-live", REQUEST_API_V1BETA, "\"speechConfig\":{", "\"speechConfig\":{\"languageCode\":\"de-DE\","},
		{"gemini-3.8-live", REQUEST_API_V1BETA, "\"Kore\"", "\"kore\""},
		{"gemini-3.8-live", REQUEST_API_V1BETA, "\"AUDIO\"", "\"TEXT\""},
		{"gemini-3.8-live", REQUEST_API_V1BETA, "\"sessionResumption\":{", "\"sessionResumption\":{\"transparent\":true"},
		{"gemini-3.8-live", REQUEST_API_VERTEX, "projects/", "project/"},
		{"gemini-3.8-live-extended-thinking", REQUEST_API_V1BETA, "\"thinkingLevel\":\"LOW\"", ""},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct gemini_setup setup = full_setup();
		char name[160], text[2048], *good, *at;

		snprintf(name, sizeof(name), "%s%s", wrong[i].api == REQUEST_API_VERTEX ? VERTEX : "", wrong[i].model);
		setup.model = name;
		good = gemini_build_setup(&setup);
		at = strstr(good, wrong[i].instead);
		ck_assert_ptr_nonnull(at);
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, wrong[i].with, at + strlen(wrong[i].instead));
		free(good);
		refused = 0;
		talk_init(&talk, &rules, &host, &persona, registry, wrong[i].api);
		talk_message(&talk, text, strlen(text), now_ms);
		ck_assert_msg(refused != 0, "%zu", i);
		talk_clear(&talk, now_ms);
	}
	ck_assert_uint_ge(persona.counters.invalid_messages, 5);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sent_messages");
	TCase *all = tcase_create("models");

	tcase_add_checked_fixture(all, begin, end);
	tcase_add_loop_test(all, test_sent_whole_call, 0, MODELS);
	tcase_add_loop_test(all, test_sent_setups, 0, MODELS);
	tcase_add_loop_test(all, test_sent_seeds, 0, MODELS);
	suite_add_tcase(suite, all);
	unit_add_fixture(suite, "judge", begin, end, test_sent_judge_refuses);
	return unit_run(suite);
}
