/* SPDX-License-Identifier: Apache-2.0 */
/* The emulated session as a state machine: order and timing of its messages on a simulated clock. */
#include "tests/emulator/talk.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/base64.h>

#include "unit.h"

#define EVENTS_MAX 512u

/* What the session said, by the first member of each message, with its time. */
static struct event {
	char name[32];
	uint64_t at_ms;
} events[EVENTS_MAX];
static unsigned event_count;
static uint64_t now_ms, samples_heard;
static int refused;
static char reason[512];

static struct talk talk;
static struct registry *registry;
static struct persona persona;
static struct talk_rules rules;

static void host_send(void *user, const struct text *text)
{
	cJSON *root = cJSON_Parse(text->data);

	(void)user;
	ck_assert_msg(root != NULL, "not JSON: %s", text->data);
	const cJSON *member = root->child;
	if (member != NULL && strcmp(member->string, "serverContent") == 0 && member->child != NULL)
		member = member->child;
	ck_assert_uint_lt(event_count, EVENTS_MAX);
	snprintf(events[event_count].name, sizeof(events[0].name), "%s", member ? member->string : "{}");
	if (member != NULL && strcmp(member->string, "voiceActivity") == 0)
		snprintf(events[event_count].name, sizeof(events[0].name), "%s", member->child->valuestring);
	events[event_count++].at_ms = now_ms;
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
	samples_heard += count;
}

static void host_random(void *user, void *bytes, size_t size)
{
	(void)user;
	memset(bytes, 7, size);
}

static const struct talk_host host = {NULL, host_send, host_refuse, host_heard, host_random};

static void setup(void)
{
	now_ms = 1000;
	event_count = 0;
	samples_heard = 0;
	refused = 0;
	registry = registry_create();
	memset(&persona, 0, sizeof(persona));
	strcpy(persona.label, "admin2");
	ck_assert_int_eq(voice_tone("admin2", 2000, &persona.answers[0]), 0);
	persona.answer_count = 1;
	rules = (struct talk_rules){.setup_delay_ms = 250,
		.update_delay_ms = 100,
		.think_ms = 400,
		.text_ms = 700,
		.resume_lock_ms = 1000,
		.no_noise = true};
	talk_init(&talk, &rules, &host, &persona, registry, REQUEST_API_V1BETA);
}

static void teardown(void)
{
	talk_clear(&talk, now_ms);
	registry_free(registry);
	voice_answer_free(&persona.answers[0]);
}

static void say(const char *json)
{
	talk_message(&talk, json, strlen(json), now_ms);
}

static void pass(uint64_t ms)
{
	for (uint64_t end = now_ms + ms; now_ms < end;) {
		now_ms += 10;
		talk_tick(&talk, now_ms);
	}
}

/* Send `ms` of a tone (amplitude 0: silence) in real time, 40 ms a message. */
static void speak(int amplitude, uint64_t ms)
{
	int16_t samples[640];
	char base64[1800], json[2000];
	size_t size;

	for (uint64_t t = 0; t < ms; t += 40) {
		for (unsigned i = 0; i < 640; i++)
			samples[i] = (int16_t)(amplitude * sin(i * 0.4));
		mbedtls_base64_encode((uint8_t *)base64, sizeof(base64), &size, (const uint8_t *)samples, sizeof(samples));
		snprintf(json, sizeof(json),
			"{\"realtimeInput\":{\"audio\":{\"mimeType\":\"audio/pcm;rate=16000\",\"data\":\"%s\"}}}", base64);
		say(json);
		pass(40);
	}
}

static void start(const char *fields)
{
	char json[512];

	snprintf(json, sizeof(json), "{\"setup\":{\"model\":\"models/gemini-3.8-live\"%s}}", fields);
	say(json);
	pass(300);
	ck_assert_int_eq(refused, 0);
}

/* Index of the first event of this name from `from` on; -1 = none. */
static int find(const char *name, unsigned from)
{
	for (unsigned i = from; i < event_count; i++) {
		if (strcmp(events[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

static unsigned must_find(const char *name, unsigned from)
{
	int index = find(name, from);

	ck_assert_msg(index >= 0, "no %s from %u on", name, from);
	return (unsigned)index;
}

START_TEST(test_talk_setup_times)
{
	say("{\"setup\":{\"model\":\"models/gemini-3.8-live\",\"sessionResumption\":{}}}");
	speak(6000, 240);
	ck_assert_uint_eq(event_count, 0); /* early audio is dropped */
	ck_assert_uint_eq(samples_heard, 0);
	ck_assert_uint_eq(persona.counters.audio_early_bytes, 240 * 32);
	pass(10);
	ck_assert_str_eq(events[0].name, "setupComplete");
	pass(100);
	ck_assert_str_eq(events[1].name, "sessionResumptionUpdate");
	pass(1000);
	ck_assert_uint_eq(event_count, 2);
}
END_TEST

START_TEST(test_talk_turn_order_and_times)
{
	start("");
	uint64_t began = now_ms;
	speak(6000, 1000);
	speak(0, 2000);
	pass(3000);
	unsigned on = must_find("ACTIVITY_START", 0), off = must_find("ACTIVITY_END", 0),
		 words = must_find("inputTranscription", 0);
	unsigned audio = must_find("modelTurn", 0), generated = must_find("generationComplete", 0),
		 complete = must_find("turnComplete", 0);
	ck_assert(on < off && off < words && words < audio && audio < generated && generated < complete);
	ck_assert_uint_le(events[on].at_ms - began, 170);
	/* 1 s of speech, 800 ms of silence, 400 ms of thought. */
	ck_assert(events[off].at_ms - began >= 2150 && events[off].at_ms - began <= 2250);
	ck_assert_uint_eq(events[audio].at_ms, events[off].at_ms);
	ck_assert_uint_le(events[generated].at_ms - events[audio].at_ms, 600);
	ck_assert(events[complete].at_ms - events[audio].at_ms >= 2000 && events[complete].at_ms - events[audio].at_ms <= 2020);
	ck_assert_int_eq(find("interrupted", 0), -1);
	ck_assert_uint_eq(persona.counters.audio_bytes_sent, 2000 * BURST_BYTES_PER_MS);
	ck_assert(talk_is_idle(&talk));
}
END_TEST

START_TEST(test_talk_interrupts_during_assumed_playback)
{
	start("");
	say("{\"realtimeInput\":{\"text\":\"hello\"}}");
	pass(2000);
	unsigned generated = must_find("generationComplete", 0);
	ck_assert_int_eq(find("turnComplete", 0), -1);
	uint64_t began = now_ms;
	speak(6000, 400);
	unsigned on = must_find("ACTIVITY_START", generated), cut = must_find("interrupted", generated),
		 complete = must_find("turnComplete", generated);
	ck_assert_uint_eq(cut, on + 1);
	ck_assert_uint_eq(complete, cut + 1);
	ck_assert_uint_le(events[cut].at_ms - began, 170);
	/* Nothing of the cut turn comes later, and speech while the model is silent interrupts nothing. */
	speak(0, 400);
	ck_assert_int_eq(find("modelTurn", complete), -1);
	ck_assert_uint_eq(persona.counters.interruptions, 1);
	speak(0, 2000);
	pass(4000);
	must_find("modelTurn", complete);
	ck_assert_uint_eq(persona.counters.interruptions, 1);
}
END_TEST

START_TEST(test_talk_goes_on_after_a_pause)
{
	start("");
	speak(6000, 480);
	speak(0, 960); /* the detector has ended it, the service has not said so yet */
	speak(6000, 480);
	ck_assert_int_eq(find("ACTIVITY_END", 0), -1);
	speak(0, 2000);
	ck_assert_int_eq(find("ACTIVITY_START", must_find("ACTIVITY_START", 0) + 1), -1);
	ck_assert_uint_eq(persona.counters.utterances, 1);
}
END_TEST

START_TEST(test_talk_tool_waits_for_its_response)
{
	rules.tool_name = "transfer";
	start("");
	say("{\"realtimeInput\":{\"text\":\"hello\"}}");
	pass(5000);
	unsigned call = must_find("toolCall", 0);
	ck_assert_str_eq(events[call + 1].name, "generationComplete");
	ck_assert_str_eq(events[call + 2].name, "turnComplete");
	ck_assert_int_eq(find("modelTurn", 0), -1);
	say("{\"toolResponse\":{\"functionResponses\":[{\"id\":\"x\",\"name\":\"transfer\",\"response\":{}}]}}");
	pass(1000);
	must_find("modelTurn", call);
}
END_TEST

START_TEST(test_talk_refuses)
{
	static const struct {
		const char *first, *second;
		int code;
		const char *reason;
	} cases[] = {
		{"{\"realtimeInput\":{\"text\":\"x\"}}", NULL, 1007, "setup must be the first message and only the first"},
		{"{\"setup\":{\"model\":\"models/gemini-3.8-live\"}}", "{\"setup\":{\"model\":\"models/gemini-3.8-live\"}}", 1007,
			"setup must be the first message"},
		{"{\"setup\":{\"model\":\"models/gemini-3.8-live\"}}", "{\"realtimeInput\":{\"activityEnd\":{}}}", 1007,
			"Explicit activity control"},
		{"{\"setup\":{\"model\":\"models/gemini-3.8-live\"}}", "{\"realtimeInput\":{\"mediaChunks\":[{}]}}", 1007,
			"realtime_input.media_chunks"},
		{"{\"setup\":{\"model\":\"models/gemini-3.8-live\"}}",
			"{\"realtimeInput\":{\"audio\":{\"mimeType\":\"audio/pcm;rate=0\",\"data\":\"AAA=\"}}}", 1007,
			"Request contains an invalid argument."},
		{"{\"setup\":{\"model\":\"models/gemini-3.8-live\"}}",
			"{\"realtimeInput\":{\"audio\":{\"mimeType\":\"audio/pcm\",\"data\":\"AAAA\"}}}", 1007,
			"Request contains an invalid argument."},
		{"{\"setup\":{\"model\":\"models/gemini-3.8-live\"}}",
			"{\"toolResponse\":{\"functionResponses\":[{\"name\":\"f\",\"response\":{}}]}}", 1007,
			"Request contains an invalid argument."},
		{"{\"setup\":{\"model\":\"models/"
		 "gemini-3.8-live\",\"realtimeInputConfig\":{\"automaticActivityDetection\":{\"disabled\":true}}}}",
			"{\"realtimeInput\":{\"audioStreamEnd\":true}}", 1007, "Request contains an invalid argument."},
		{"{\"setup\":{\"model\":\"models/"
		 "gemini-3.8-live-extended-thinking\",\"generationConfig\":{\"thinkingConfig\":{\"thinkingLevel\":\"low\"}}}}",
			"{\"toolResponse\":{\"functionResponses\":[{\"id\":\"1\",\"name\":\"f\",\"response\":{},\"scheduling\":"
			"\"SILENT\"}]}}",
			1007, "Function response scheduling is not supported for this model"},
		{"{\"setup\":{\"model\":\"models/gemini-3.8-live\",\"sessionResumption\":{\"handle\":\"x\"}}}", NULL, 1008,
			"BidiGenerateContent session not found"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (i > 0)
			setup();
		say(cases[i].first);
		pass(300);
		if (cases[i].second != NULL) {
			ck_assert_msg(refused == 0, "%s: %s", cases[i].first, reason);
			say(cases[i].second);
		}
		ck_assert_msg(refused == cases[i].code && strncmp(reason, cases[i].reason, strlen(cases[i].reason)) == 0,
			"%s: %d %s", cases[i].second ? cases[i].second : cases[i].first, refused, reason);
		unsigned before = event_count;
		say("{\"realtimeInput\":{\"text\":\"x\"}}");
		pass(3000);
		ck_assert_uint_eq(event_count, before); /* silence after a refusal */
		if (i + 1 < sizeof(cases) / sizeof(cases[0]))
			teardown();
	}
}
END_TEST

START_TEST(test_talk_unknown_key_is_told_after_setup)
{
	talk_clear(&talk, now_ms);
	talk_init(&talk, &rules, &host, NULL, registry, REQUEST_API_V1BETA);
	pass(1000);
	ck_assert_int_eq(refused, 0);
	say("{\"setup\":{\"model\":\"models/gemini-3.8-live\"}}");
	ck_assert_int_eq(refused, 1007);
	ck_assert_str_eq(reason, "API key not valid. Please pass a valid API key.");
	ck_assert_uint_eq(event_count, 0);
}
END_TEST

START_TEST(test_talk_faults)
{
	rules.empty_turns = true;
	start("");
	say("{\"realtimeInput\":{\"text\":\"hello\"}}");
	pass(1000);
	must_find("turnComplete", 0);
	ck_assert_int_eq(find("modelTurn", 0), -1);
	teardown();

	setup();
	rules.no_setup_complete = true;
	say("{\"setup\":{\"model\":\"models/gemini-3.8-live\"}}");
	pass(20000);
	ck_assert_uint_eq(event_count, 0);
	teardown();

	setup();
	rules.interrupt_every_ms = 500;
	start("");
	say("{\"realtimeInput\":{\"text\":\"hello\"}}");
	pass(1500);
	must_find("interrupted", must_find("modelTurn", 0));
}
END_TEST

START_TEST(test_talk_echo_returns_the_utterance)
{
	rules.echo = true;
	start("");
	speak(0, 1000);
	speak(6000, 1000);
	speak(0, 3000);
	pass(3000);
	must_find("modelTurn", 0);
	/* 300 ms of lead, the second of speech, up to 1.2 s of what followed before its end was reported. */
	uint64_t ms = persona.counters.audio_bytes_sent / BURST_BYTES_PER_MS;
	ck_assert_msg(ms >= 1800 && ms <= 2800, "%u ms", (unsigned)ms);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("emulator_talk");

	unit_add_fixture(suite, "turns", setup, teardown, test_talk_setup_times, test_talk_turn_order_and_times,
		test_talk_interrupts_during_assumed_playback, test_talk_goes_on_after_a_pause,
		test_talk_tool_waits_for_its_response, test_talk_echo_returns_the_utterance);
	unit_add_fixture(suite, "refusals", setup, teardown, test_talk_refuses, test_talk_unknown_key_is_told_after_setup);
	unit_add_fixture(suite, "faults", setup, teardown, test_talk_faults);
	return unit_run(suite);
}
