/* SPDX-License-Identifier: Apache-2.0 */
/* What a call's notes make of its record: turns, times, tokens, gaps, tools, bounds. */
#include "dpdk_app/call_record.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dpdk_app/call_record_usage.h"
#include "dpdk_app/record_squeeze.h"
#include "shared/json.h"
#include "unit.h"

#define BEGIN                                                                                                        \
	"{\"node\":\"n1\",\"session\":\"89ea2cc7-3216-4d63-be06-db78b493503a\",\"user\":\"admin2\",\"trunk\":\"t\"," \
	"\"codec\":\"PCMU\",\"created_unix_ms\":1763823600123}"

static struct call_record *new_record(void)
{
	cJSON *begin = cJSON_Parse(BEGIN);
	struct call_record *record = call_record_new(begin);

	ck_assert_ptr_nonnull(record);
	cJSON_Delete(begin);
	return record;
}

/* One note; the text is JSON with ' for ". */
static void note(struct call_record *record, uint64_t at_ms, const char *word, const char *text)
{
	char json[16384];
	cJSON *body;

	snprintf(json, sizeof(json), "%s", text);
	for (char *c = json; *c != '\0'; c++)
		*c = *c == '\'' ? '"' : *c;
	body = cJSON_Parse(json);
	ck_assert_msg(body != NULL, "%s", json);
	ck_assert_int_ne(call_record_note_of(word), CALL_RECORD_NOTE_COUNT);
	call_record_add(record, call_record_note_of(word), body, at_ms);
	cJSON_Delete(body);
}

/* The record as a tree; the record is gone. */
static cJSON *finish(struct call_record *record, uint64_t at_ms)
{
	cJSON *end =
		cJSON_Parse("{\"end\":\"deleted\",\"reason\":\"deleted\",\"address_switches\":0,\"receive\":{\"packets\":7}}");
	char *line = call_record_line(record, end, at_ms);
	cJSON *tree;

	ck_assert_ptr_nonnull(line);
	ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
	tree = cJSON_Parse(line);
	ck_assert_msg(tree != NULL, "%s", line);
	free(line);
	cJSON_Delete(end);
	call_record_free(record);
	return tree;
}

/* The value at a path such as "turns.0.text", as text. */
static const char *at(const cJSON *tree, const char *path)
{
	static char text[4][512];
	static unsigned int next;
	char *to = text[next++ % 4], names[128], *save = NULL;
	char *printed;

	snprintf(names, sizeof(names), "%s", path);
	for (char *name = strtok_r(names, ".", &save); name != NULL; name = strtok_r(NULL, ".", &save))
		tree = cJSON_IsArray(tree) ? cJSON_GetArrayItem(tree, atoi(name)) : cJSON_GetObjectItemCaseSensitive(tree, name);
	if (tree == NULL)
		return "(none)";
	printed = cJSON_IsString(tree) ? NULL : cJSON_PrintUnformatted(tree);
	snprintf(to, sizeof(text[0]), "%s", printed != NULL ? printed : tree->valuestring);
	cJSON_free(printed);
	return to;
}

static void expect(const cJSON *tree, const char *path, const char *value)
{
	const char *is = at(tree, path);

	ck_assert_msg(strcmp(is, value) == 0, "%s is %s instead of %s", path, is, value);
}

START_TEST(test_record_of_an_empty_call)
{
	static const char *const members[] = {"record", "version", "node", "session", "user", "trunk", "codec", "created",
		"bound_at", "ready_at", "ended", "duration_ms", "bound", "end", "reason", "address_switches", "receive", "send",
		"workers", "conversation", "response_ms", "turn_count", "interruptions", "phantom_interruptions", "unanswered",
		"underruns", "tool_call_count", "gap_count", "gaps_ms", "usage", "turns", "tool_calls", "gaps", "truncated"};
	cJSON *tree = finish(new_record(), 2500);
	const cJSON *member = tree->child;

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++, member = member->next)
		ck_assert_str_eq(member->string, members[i]);
	ck_assert_ptr_null(member);
	expect(tree, "created", "2025-11-22T15:00:00.123Z");
	expect(tree, "ended", "2025-11-22T15:00:02.623Z");
	expect(tree, "ready_at", "null");
	expect(tree, "bound", "null");
	expect(tree, "send", "null");
	expect(tree, "receive.packets", "7");
	expect(tree, "conversation", "{\"state\":null,\"code\":null,\"reason\":\"\"}");
	expect(tree, "response_ms.p50", "null");
	expect(tree, "turns", "[]");
	expect(tree, "truncated", "false");
	cJSON_Delete(tree);
}
END_TEST

START_TEST(test_record_refuses_a_beginning_without_a_name)
{
	cJSON *begin = cJSON_Parse("{\"user\":\"x\",\"created_unix_ms\":1}");

	ck_assert_ptr_null(call_record_new(begin));
	ck_assert_int_eq(errno, EINVAL);
	cJSON_Delete(begin);
}
END_TEST

START_TEST(test_record_bound_and_ready)
{
	struct call_record *record = new_record();
	cJSON *tree;

	note(record, 40, "bound", "{'bound':{'address':'192.168.50.50','port':18920,'ssrc':1234567}}");
	note(record, 900, "bound", "{'bound':{'address':'192.168.50.50','port':18924,'ssrc':7}}");
	note(record, 10, "worker", "{'worker':'w1'}");
	note(record, 300, "state", "{'state':'ready'}");
	note(record, 500, "state", "{'state':'talking'}");
	tree = finish(record, 1000);
	expect(tree, "bound_at", "2025-11-22T15:00:00.163Z");
	expect(tree, "bound.port", "18924");
	expect(tree, "ready_at", "2025-11-22T15:00:00.423Z");
	expect(tree, "workers", "[\"w1\"]");
	expect(tree, "gap_count", "0");
	expect(tree, "conversation", "{\"state\":\"talking\",\"code\":null,\"reason\":\"\"}");
	cJSON_Delete(tree);
}
END_TEST

START_TEST(test_record_conversation_that_failed)
{
	struct call_record *record = new_record();
	cJSON *tree;

	note(record, 300, "state", "{'state':'ready'}");
	note(record, 1000, "event", "{'event':'closed','code':1006,'reason':'the connection broke without a close'}");
	note(record, 1001, "state", "{'state':'reconnecting','reason':'the connection broke without a close','code':1006}");
	note(record, 9000, "state", "{'state':'failed','reason':'You exceeded your current quota','code':1011}");
	tree = finish(record, 10000);
	expect(tree, "conversation", "{\"state\":\"failed\",\"code\":1011,\"reason\":\"You exceeded your current quota\"}");
	expect(tree, "gaps.0.reason", "the connection broke without a close");
	expect(tree, "gaps.0.how", "never");
	cJSON_Delete(tree);
}
END_TEST

START_TEST(test_record_turn_has_text_and_times)
{
	struct call_record *record = new_record();
	cJSON *tree;

	note(record, 2000, "transcript", "{'side':'caller','text':'What time','final':false}");
	note(record, 2100, "transcript", "{'side':'caller','text':' is it?','final':false}");
	note(record, 2600, "transcript", "{'side':'model','text':'Noon.','final':false}");
	note(record, 4000, "transcript", "{'side':'caller','text':'What time is it?','final':true}");
	note(record, 4000, "transcript", "{'side':'model','text':'Noon.','final':true}");
	note(record, 4100, "event",
		"{'event':'turn','turn':{'caller_from_ms':500,'caller_to_ms':1500,'model_from_ms':2400,'model_to_ms':4100,'"
		"response_ms':"
		"900,"
		"'underruns':2,'interrupted':true,'phantom':true}}");
	note(record, 4100, "event", "{'event':'interrupted'}");
	note(record, 4100, "event", "{'event':'phantom_interruption'}");
	note(record, 4200, "event", "{'event':'no_answer','waited_ms':25000}");
	tree = finish(record, 5000);
	expect(tree, "turns.0", "{\"side\":\"caller\",\"from_ms\":500,\"to_ms\":1500,\"text\":\"What time is it?\"}");
	expect(tree, "turns.1",
		"{\"side\":\"model\",\"from_ms\":2400,\"to_ms\":4100,\"text\":\"Noon.\",\"response_ms\":900,\"interrupted\":true,"
		"\"underruns\":2}");
	expect(tree, "turn_count", "2");
	expect(tree, "interruptions", "1");
	expect(tree, "phantom_interruptions", "1");
	expect(tree, "unanswered", "1");
	expect(tree, "underruns", "2");
	cJSON_Delete(tree);
}
END_TEST

/* Numbers come first when the caller interrupts. */
START_TEST(test_record_turn_waits_for_its_text)
{
	struct call_record *record = new_record();
	cJSON *tree;

	note(record, 2000, "transcript", "{'side':'caller','text':'What','final':false}");
	note(record, 2600, "transcript", "{'side':'model','text':'No','final':false}");
	note(record, 3000, "event", "{'event':'turn','turn':{'model_from_ms':2400,'model_to_ms':3000,'interrupted':true}}");
	note(record, 3000, "transcript", "{'side':'caller','text':'What?','final':true}");
	note(record, 3000, "transcript", "{'side':'model','text':'Noon','final':true}");
	/* One without any text, and one whose text never comes. */
	note(record, 4000, "event", "{'event':'turn','turn':{'model_from_ms':3500,'model_to_ms':3900}}");
	note(record, 5000, "transcript", "{'side':'model','text':'Ha','final':false}");
	note(record, 5500, "event", "{'event':'turn','turn':{'model_from_ms':4800,'model_to_ms':5500}}");
	note(record, 6500, "event", "{'event':'turn','turn':{'model_from_ms':6000,'model_to_ms':6500}}");
	tree = finish(record, 7000);
	expect(tree, "turns.0", "{\"side\":\"caller\",\"from_ms\":2000,\"to_ms\":3000,\"text\":\"What?\"}");
	expect(tree, "turns.1.text", "Noon");
	expect(tree, "turns.1.from_ms", "2400");
	expect(tree, "turns.1.interrupted", "true");
	expect(tree, "turns.2.to_ms", "3900");
	expect(tree, "turns.2.text", "");
	expect(tree, "turns.3.text", "Ha");
	expect(tree, "turns.3.cut", "true");
	expect(tree, "turns.3.from_ms", "4800");
	expect(tree, "turns.4.from_ms", "6000");
	expect(tree, "turn_count", "5");
	cJSON_Delete(tree);
}
END_TEST

START_TEST(test_record_of_a_call_that_ends_in_an_answer)
{
	struct call_record *record = new_record();
	cJSON *tree;

	note(record, 2000, "state", "{'state':'talking'}");
	note(record, 2100, "transcript", "{'side':'model','text':'Noon','final':true}");
	note(record, 3000, "event", "{'event':'turn','turn':{'model_from_ms':1990,'model_to_ms':2980}}");
	note(record, 3000, "state", "{'state':'ready'}");
	note(record, 5000, "state", "{'state':'talking'}");
	note(record, 5100, "transcript", "{'side':'model','text':'One','final':true}");
	note(record, 6000, "state", "{'state':'ready'}");
	note(record, 6100, "transcript", "{'side':'model','text':'Two','final':true}");
	note(record, 7000, "state", "{'state':'talking'}");
	note(record, 7100, "transcript", "{'side':'model','text':'Three','final':true}");
	tree = finish(record, 7500);
	for (int i = 0; i < 4; i++) {
		static const char *const times[][2] = {{"1990", "2980"}, {"5000", "6000"}, {"7000", "7100"}, {"7100", "7100"}};
		char path[2][32];

		snprintf(path[0], sizeof(path[0]), "turns.%d.from_ms", i);
		snprintf(path[1], sizeof(path[1]), "turns.%d.to_ms", i);
		expect(tree, path[0], times[i][0]);
		expect(tree, path[1], times[i][1]);
	}
	cJSON_Delete(tree);
}
END_TEST

START_TEST(test_record_keeps_text_whose_worker_was_killed)
{
	struct call_record *record = new_record();
	cJSON *tree;

	note(record, 2000, "transcript", "{'side':'caller','text':'Hello','final':true}");
	note(record, 2600, "transcript", "{'side':'model','text':'Good mor','final':false}");
	note(record, 2700, "transcript", "{'side':'model','text':'ning','final':false}");
	note(record, 2800, "worker", "{'worker':null,'reason':'killed'}");
	/* Its successor. */
	note(record, 9000, "transcript", "{'side':'caller','text':'Still there?','final':true}");
	tree = finish(record, 9500);
	expect(tree, "turns.0", "{\"side\":\"caller\",\"from_ms\":2000,\"to_ms\":2000,\"text\":\"Hello\"}");
	expect(tree, "turns.1.text", "Still there?");
	expect(tree, "turns.2.text", "Good morning");
	expect(tree, "turns.2.cut", "true");
	expect(tree, "turn_count", "3");
	cJSON_Delete(tree);
}
END_TEST

START_TEST(test_record_response_times)
{
	static const unsigned int times[] = {900, 100, 5000, 700, 800};
	struct call_record *record = new_record();
	char text[128];
	cJSON *tree;

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		snprintf(text, sizeof(text), "{'event':'turn','turn':{'model_from_ms':1,'response_ms':%u}}", times[i]);
		note(record, 10, "event", text);
	}
	note(record, 10, "event", "{'event':'turn','turn':{'model_from_ms':1}}"); /* a greeting answers nobody */
	tree = finish(record, 20);
	expect(tree, "response_ms", "{\"count\":5,\"p50\":800,\"max\":5000}");
	expect(tree, "turns.5.response_ms", "null");
	cJSON_Delete(tree);
}
END_TEST

START_TEST(test_record_usage_is_summed_by_modality)
{
	struct call_record *record = new_record();
	cJSON *tree;

	note(record, 1, "event",
		"{'event':'usage','usage':{'promptTokenCount':515,'responseTokenCount':31,'totalTokenCount':546,"
		"'promptTokensDetails':[{'modality':'TEXT','tokenCount':15},{'modality':'AUDIO','tokenCount':500}],"
		"'responseTokensDetails':[{'modality':'AUDIO','tokenCount':31}]}}");
	note(record, 2, "event",
		"{'event':'usage','usage':{'promptTokenCount':700,'candidatesTokenCount':40,'totalTokenCount':745,'"
		"thoughtsTokenCount':5,"
		"'candidatesTokensDetails':[{'modality':'TEXT','tokenCount':40},{'modality':'VIDEO','tokenCount':3}]}}");
	note(record, 3, "event", "{'event':'usage','usage':'nonsense'}");
	note(record, 3, "event", "{'event':'usage','usage':{'promptTokenCount':-5,'totalTokenCount':1e300}}");
	tree = finish(record, 20);
	expect(tree, "usage",
		"{\"reports\":3,\"context\":700,\"prompt\":1215,\"response\":71,\"thoughts\":5,\"cached\":0,\"tool_prompts\":0,"
		"\"total\":1291,"
		"\"prompt_by\":{\"text\":15,\"audio\":500,\"other\":0},\"response_by\":{\"text\":40,\"audio\":31,\"other\":3}}");
	cJSON_Delete(tree);
}
END_TEST

START_TEST(test_record_gaps)
{
	struct call_record *record = new_record();
	cJSON *tree;

	note(record, 10, "event", "{'event':'closed','code':1011,'reason':'before it was ready'}");
	note(record, 100, "state", "{'state':'ready'}");
	note(record, 1000, "event", "{'event':'closed','code':1011,'reason':'Internal error.'}");
	note(record, 1001, "state", "{'state':'reconnecting','code':1011,'reason':'x'}");
	note(record, 1700, "state", "{'state':'dialling'}");
	note(record, 2000, "state", "{'state':'ready'}");
	note(record, 2001, "event", "{'event':'resumed','gap_ms':950,'discarded_ms':40,'how':'resumed'}");
	note(record, 5000, "worker", "{'worker':null,'reason':'worker w1: it closed its link'}");
	note(record, 5500, "worker", "{'worker':'w2'}");
	note(record, 6000, "state", "{'state':'ready'}");
	note(record, 8000, "state", "{'state':'failed','code':1008,'reason':'key'}");
	tree = finish(record, 9000);
	expect(tree, "gaps.0",
		"{\"at_ms\":1000,\"ms\":950,\"discarded_ms\":40,\"how\":\"resumed\",\"code\":1011,\"reason\":\"Internal "
		"error.\"}");
	expect(tree, "gaps.1",
		"{\"at_ms\":5000,\"ms\":1000,\"how\":\"fresh\",\"code\":null,\"reason\":\"worker w1: it closed its link\"}");
	expect(tree, "gaps.2", "{\"at_ms\":8000,\"ms\":1000,\"how\":\"never\",\"code\":1008,\"reason\":\"key\"}");
	expect(tree, "gap_count", "3");
	expect(tree, "gaps_ms", "2950");
	cJSON_Delete(tree);
}
END_TEST

START_TEST(test_record_tool_calls)
{
	struct call_record *record = new_record();
	cJSON *tree;

	note(record, 100, "event",
		"{'event':'tool_call','calls':[{'id':'call_1','name':'book','args':{'x':1}},{'id':'call_2','name':'look'}]}");
	note(record, 350, "event", "{'event':'tool_result','id':'call_2'}");
	note(record, 360, "event", "{'event':'tool_error','id':'nobody'}");
	note(record, 400, "event", "{'event':'tool_call','call':{'id':'call_3','name':'pay'}}");
	note(record, 900, "event", "{'event':'tool_expired','id':'call_3'}");
	tree = finish(record, 9000);
	expect(tree, "tool_calls.0", "{\"at_ms\":100,\"name\":\"look\",\"id\":\"call_2\",\"ms\":250,\"outcome\":\"result\"}");
	expect(tree, "tool_calls.1", "{\"at_ms\":400,\"name\":\"pay\",\"id\":\"call_3\",\"ms\":500,\"outcome\":\"expired\"}");
	expect(tree, "tool_calls.2", "{\"at_ms\":100,\"name\":\"book\",\"id\":\"call_1\",\"ms\":null,\"outcome\":\"none\"}");
	expect(tree, "tool_call_count", "3");
	cJSON_Delete(tree);
}
END_TEST

START_TEST(test_record_is_bounded)
{
	struct call_record *record = new_record();
	char text[9000], words[8400];
	char *line;
	cJSON *tree, *turn;
	unsigned int turns = 0;

	memset(words, 'a', sizeof(words));
	memcpy(words + CALL_RECORD_TEXT_MAX - 2, "\xc3\xa9", 2); /* cut in the middle of a character */
	words[sizeof(words) - 1] = '\0';
	for (unsigned int i = 0; i < 2000; i++) {
		snprintf(text, sizeof(text), "{'side':'%s','text':'%s','final':%s}", i % 2 ? "model" : "caller",
			i < 4 ? words : "words", i % 3 ? "true" : "false");
		note(record, i, "transcript", text);
		note(record, i, "event", "{'event':'tool_call','calls':[{'id':'1','name':'n'}]}");
		note(record, i, "event", "{'event':'turn','turn':{'response_ms':4}}");
		note(record, i, "state", i % 2 ? "{'state':'ready'}" : "{'state':'reconnecting','reason':'because'}");
		snprintf(text, sizeof(text), "{'worker':'worker-%u'}", i);
		note(record, i, "worker", text);
	}
	line = call_record_line(record, NULL, 5000);
	ck_assert_ptr_nonnull(line);
	ck_assert_uint_lt(strlen(line),
		CALL_RECORD_TURNS_MAX + CALL_RECORD_TOOLS_MAX + CALL_RECORD_GAPS_MAX + CALL_RECORD_WORKERS_MAX + 4096);
	tree = vl_json_parse(line, strlen(line), 1 << 20, NULL); /* strict: also about UTF-8 */
	ck_assert_ptr_nonnull(tree);
	expect(tree, "truncated", "true");
	expect(tree, "turn_count", "2000");
	expect(tree, "tool_call_count", "2000");
	expect(tree, "response_ms.count", "1024");
	expect(tree, "end", "null");
	cJSON_ArrayForEach(turn, cJSON_GetObjectItem(tree, "turns")) turns++;
	ck_assert_uint_gt(turns, 100);
	ck_assert_uint_lt(turns, 2000);
	cJSON_Delete(tree);
	free(line);
	call_record_free(record);
}
END_TEST

START_TEST(test_record_takes_anything)
{
	static const char *const words[] = {"bound", "worker", "state", "transcript", "event"};
	static const char *const bodies[] = {"{}", "[]", "null", "{'bound':5,'worker':5,'state':{},'side':1,'text':2,'event':[]}",
		"{'side':'caller'}", "{'event':'turn'}",
		"{'event':'turn','turn':{'response_ms':'x','caller_from_ms':-1,'model_from_ms':1e300}}",
		"{'event':'tool_call','calls':[5,{},{'id':7,'name':[]}]}", "{'event':'tool_result','id':null}",
		"{'event':'resumed'}", "{'event':'closed','code':'x'}",
		"{'event':'usage','usage':{'promptTokensDetails':[1,{'modality':5}]}}"};
	struct call_record *record = new_record();
	cJSON *tree;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		for (size_t j = 0; j < sizeof(bodies) / sizeof(bodies[0]); j++)
			note(record, 1, words[i], bodies[j]);
	tree = finish(record, 1);
	expect(tree, "turn_count", "0");
	cJSON_Delete(tree);
	ck_assert_int_eq(call_record_note_of("begin"), CALL_RECORD_NOTE_COUNT);
	ck_assert(call_record_uses_event("turn") && call_record_uses_event("tool_expired"));
	ck_assert(!call_record_uses_event("dtmf") && !call_record_uses_event("generation_complete"));
	call_record_free(NULL);
}
END_TEST

/* The record that whole lines of a journal make. */
static char *replayed(const char *text, size_t len)
{
	struct call_record *record = new_record();
	cJSON *end = cJSON_Parse("{\"end\":\"lost\",\"reason\":\"lost\"}");
	char *line;

	for (size_t at_byte = 0; at_byte < len;) {
		const char *newline = memchr(text + at_byte, '\n', len - at_byte);
		cJSON *tree = cJSON_ParseWithLength(text + at_byte, (size_t)(newline - text) - at_byte);
		const cJSON *body = tree != NULL ? tree->child->next : NULL;

		ck_assert_msg(body != NULL, "%.80s", text + at_byte);
		call_record_add(record, call_record_note_of(body->string), body, (uint64_t)tree->child->valuedouble);
		cJSON_Delete(tree);
		at_byte = (size_t)(newline - text) + 1;
	}
	line = call_record_line(record, end, call_record_last_ms(record));
	cJSON_Delete(end);
	call_record_free(record);
	return line;
}

/* Any notes in any order: squeezed, they make the same record, and in ordinary talk most pieces are gone. */
START_TEST(test_squeezed_notes_make_the_same_record)
{
	static const char *const bodies[] = {
		"\"transcript\":{\"side\":\"caller\",\"text\":\" \\\"final\\\":true,\",\"final\":false}",
		"\"transcript\":{\"side\":\"caller\",\"text\":\" more\",\"final\":false}",
		"\"transcript\":{\"side\":\"model\",\"text\":\" and\",\"final\":false}",
		"\"transcript\":{\"side\":\"model\",\"text\":\" \\\"event\\\":\\\"turn\\\"\",\"final\":false}",
		"\"transcript\":{\"side\":\"caller\",\"text\":\"all of it\",\"final\":true}",
		"\"transcript\":{\"side\":\"model\",\"text\":\"the whole\",\"final\":true}",
		"\"event\":{\"event\":\"turn\",\"turn\":{\"model_from_ms\":2400,\"model_to_ms\":3000}}",
		"\"event\":{\"event\":\"turn\",\"turn\":{\"caller_from_ms\":100,\"caller_to_ms\":3000}}",
		"\"event\":{\"event\":\"interrupted\"}",
		"\"state\":{\"state\":\"talking\"}",
		"\"state\":{\"state\":\"ready\"}",
		"\"state\":{\"state\":\"reconnecting\",\"code\":1006,\"reason\":\"reset\"}",
		"\"worker\":{\"worker\":null,\"reason\":\"killed\"}",
		"\"worker\":{\"worker\":\"w2\"}",
		"\"full\":{}",
	};
	static char text[1 << 16];
	size_t before = 0, after = 0;

	srandom(1);
	for (unsigned int round = 0; round < 2000; round++) {
		/* Few kinds in one round, so that long runs of pieces come up. */
		unsigned int notes = (unsigned int)random() % 40,
			     kinds = 6 + (unsigned int)random() % (sizeof(bodies) / sizeof(bodies[0]) - 5);
		size_t len = 0, left;
		char *whole, *squeezed;

		for (unsigned int i = 0; i < notes; i++)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "{\"at_ms\":%u,%s}\n", i * 100,
				bodies[(unsigned int)random() % kinds]);
		whole = replayed(text, len);
		left = record_squeeze(text, len);
		ck_assert_uint_le(left, len);
		squeezed = replayed(text, left);
		ck_assert_msg(strcmp(whole, squeezed) == 0, "round %u: %.400s %.400s", round, whole, squeezed);
		before += len;
		after += left;
		free(whole);
		free(squeezed);
	}
	ck_assert_uint_lt(after, before * 19 / 20);
}
END_TEST

START_TEST(test_squeeze_of_ordinary_talk)
{
	char text[] = "{\"at_ms\":1,\"transcript\":{\"side\":\"model\",\"text\":\"One\",\"final\":false}}\n"
		      "{\"at_ms\":2,\"transcript\":{\"side\":\"model\",\"text\":\" two\",\"final\":false}}\n"
		      "{\"at_ms\":3,\"transcript\":{\"side\":\"model\",\"text\":\" three\",\"final\":false}}\n"
		      "{\"at_ms\":4,\"transcript\":{\"side\":\"model\",\"text\":\"One two three\",\"final\":true}}\n"
		      "{\"at_ms\":5,\"transcript\":{\"side\":\"model\",\"text\":\"Next\",\"final\":false}}\n";
	size_t len = record_squeeze(text, strlen(text));

	text[len] = '\0';
	ck_assert_str_eq(text, "{\"at_ms\":1,\"transcript\":{\"side\":\"model\",\"text\":\"One\",\"final\":false}}\n"
			       "{\"at_ms\":4,\"transcript\":{\"side\":\"model\",\"text\":\"One two three\",\"final\":true}}\n"
			       "{\"at_ms\":5,\"transcript\":{\"side\":\"model\",\"text\":\"Next\",\"final\":false}}\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("call_record");

	unit_add(suite, "line", test_record_of_an_empty_call, test_record_refuses_a_beginning_without_a_name,
		test_record_bound_and_ready, test_record_conversation_that_failed);
	unit_add(suite, "turns", test_record_of_a_call_that_ends_in_an_answer, test_record_turn_has_text_and_times,
		test_record_turn_waits_for_its_text, test_record_keeps_text_whose_worker_was_killed, test_record_response_times);
	unit_add(suite, "totals", test_record_usage_is_summed_by_modality, test_record_gaps, test_record_tool_calls);
	unit_add(suite, "squeeze", test_squeezed_notes_make_the_same_record, test_squeeze_of_ordinary_talk);
	unit_add(suite, "bounds", test_record_is_bounded, test_record_takes_anything);
	return unit_run(suite);
}
