/* SPDX-License-Identifier: Apache-2.0 */
/* The emulator's small parts: frames, requests, voice activity, the burst schedule, messages, handles. */
#include "tests/emulator/frame.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/emulator/burst.h"
#include "tests/emulator/decode64.h"
#include "tests/emulator/message.h"
#include "tests/emulator/registry.h"
#include "tests/emulator/request.h"
#include "tests/emulator/vad.h"
#include "unit.h"

/* A client frame of at most 125 bytes with the mask 1, 2, 3, 4. */
static size_t client_frame(uint8_t *to, uint8_t first, const char *payload, size_t size)
{
	to[0] = first;
	to[1] = (uint8_t)(0x80 | size);
	for (uint8_t i = 0; i < 4; i++)
		to[2 + i] = (uint8_t)(i + 1);
	for (size_t i = 0; i < size; i++)
		to[6 + i] = (uint8_t)((uint8_t)payload[i] ^ (uint8_t)(i % 4 + 1));
	return size + 6;
}

START_TEST(test_frame_reassembles_in_any_cut)
{
	uint8_t bytes[64];
	size_t size = client_frame(bytes, FRAME_TEXT, "hel", 3);

	size += client_frame(bytes + size, 0x80 | FRAME_PING, "p", 1);
	size += client_frame(bytes + size, 0x80 | FRAME_CONTINUATION, "lo", 2);
	for (size_t cut = 1; cut <= size; cut++) {
		struct frame_reader reader = {0};
		unsigned pings = 0, messages = 0;

		for (size_t at = 0; at < size; at += cut) {
			const uint8_t *input = bytes + at;
			size_t left = size - at < cut ? size - at : cut;
			enum frame_event event;

			while ((event = frame_reader_feed(&reader, &input, &left)) != FRAME_EVENT_NONE) {
				ck_assert(event == FRAME_EVENT_PING || event == FRAME_EVENT_MESSAGE);
				pings += event == FRAME_EVENT_PING;
				messages += event == FRAME_EVENT_MESSAGE;
				if (event == FRAME_EVENT_MESSAGE)
					ck_assert_str_eq(reader.data, "hello");
			}
		}
		ck_assert_uint_eq(pings, 1);
		ck_assert_uint_eq(messages, 1);
		frame_reader_clear(&reader);
	}
}
END_TEST

START_TEST(test_frame_refuses_protocol_errors)
{
	static const struct {
		uint8_t bytes[16];
		size_t size;
		uint16_t code;
	} cases[] = {
		{{0x81, 0x01, 'a'}, 3, 1002},				      /* not masked */
		{{0xc1, 0x81, 1, 2, 3, 4, 'a'}, 7, 1002},		      /* compressed without an extension */
		{{0x83, 0x81, 1, 2, 3, 4, 'a'}, 7, 1002},		      /* reserved opcode */
		{{0x80, 0x81, 1, 2, 3, 4, 'a'}, 7, 1002},		      /* continues nothing */
		{{0x09, 0x81, 1, 2, 3, 4, 'a'}, 7, 1002},		      /* fragmented ping */
		{{0x88, 0x81, 1, 2, 3, 4, 'a'}, 7, 1002},		      /* close of one byte */
		{{0x81, 0x81, 0, 0, 0, 0, 0xff}, 7, 1007},		      /* not UTF-8 */
		{{0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4}, 14, 1009}, /* 4 GB */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame_reader reader = {0};
		const uint8_t *input = cases[i].bytes;
		size_t left = cases[i].size;

		ck_assert_int_eq(frame_reader_feed(&reader, &input, &left), FRAME_EVENT_ERROR);
		ck_assert_uint_eq(reader.close_code, cases[i].code);
		frame_reader_clear(&reader);
	}
}
END_TEST

START_TEST(test_frame_writes)
{
	char accept[FRAME_ACCEPT_MAX], long_reason[200];
	uint8_t header[FRAME_HEADER_MAX];

	/* RFC 6455 section 1.3 */
	ck_assert_int_eq(frame_accept("dGhlIHNhbXBsZSBub25jZQ==", accept), 0);
	ck_assert_str_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	ck_assert_int_eq(frame_accept("short", accept), -EINVAL);
	ck_assert_uint_eq(frame_header(header, FRAME_BINARY, true, 125), 2);
	ck_assert_uint_eq(header[0], 0x82);
	ck_assert_uint_eq(frame_header(header, FRAME_BINARY, false, 126), 4);
	ck_assert_uint_eq(header[0], 0x02);
	ck_assert_uint_eq(frame_header(header, FRAME_BINARY, true, 65536), 10);
	ck_assert_uint_eq(header[7], 1);
	memset(long_reason, 'x', sizeof(long_reason));
	long_reason[sizeof(long_reason) - 1] = '\0';
	ck_assert_uint_eq(frame_reason_size(long_reason), 123);
	memcpy(long_reason + 122, "\xc3\xa9", 2); /* é across the limit */
	ck_assert_uint_eq(frame_reason_size(long_reason), 122);
	ck_assert(frame_is_utf8("a\xc3\xa9\xf0\x9f\x98\x80", 7));
	ck_assert(!frame_is_utf8("\xc0\x80", 2) && !frame_is_utf8("\xed\xa0\x80", 3) && !frame_is_utf8("\xe2\x82", 2));
}
END_TEST

#define SERVICE "google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"

START_TEST(test_request_paths)
{
	static const struct {
		const char *path;
		enum request_api api;
	} cases[] = {
		{"/ws/" SERVICE, REQUEST_API_V1BETA},
		{"//ws/" SERVICE, REQUEST_API_V1BETA},
		{"/proxy//ws/" SERVICE, REQUEST_API_V1BETA},
		{"/ws/" SERVICE "Constrained", REQUEST_API_V1BETA},
		{"/ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent", REQUEST_API_V1},
		{"/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent", REQUEST_API_VERTEX},
		{"/" SERVICE, REQUEST_API_NONE},
		{"/xws/" SERVICE, REQUEST_API_NONE},
		{"/ws/" SERVICE "/", REQUEST_API_NONE},
		{"/ws/google.ai.generativelanguage.v2.GenerativeService.BidiGenerateContent", REQUEST_API_NONE},
		{"/", REQUEST_API_NONE},
	};
	bool constrained;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(request_path_api(cases[i].path, &constrained) == cases[i].api, "%s", cases[i].path);
}
END_TEST

START_TEST(test_request_keys)
{
	static const struct {
		const char *query, *header, *key;
	} cases[] = {
		{"", "x-goog-api-key: abc", "abc"},
		{"?key=a%2Fb&x=1", "X-Other: 1", "a/b"},
		{"?x=1&key=abc", "Host: h", "abc"},
		{"?key=url", "X-Goog-Api-Key:  header ", "header"},
		{"?access_token=auth_tokens/x", "Host: h", "auth_tokens/x"},
		{"", "Authorization: Bearer tok", "tok"},
		{"?monkey=1", "Host: h", ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct request request;
		char head[512];

		snprintf(head, sizeof(head),
			"GET /a%s HTTP/1.1\r\n%s\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\r\n",
			cases[i].query, cases[i].header);
		ck_assert_uint_eq(request_head_size(head, strlen(head)), strlen(head));
		ck_assert_uint_eq(request_head_size(head, strlen(head) - 1), 0);
		ck_assert_int_eq(request_parse(head, strlen(head), &request), 0);
		ck_assert_str_eq(request.key, cases[i].key);
		ck_assert_str_eq(request.path, "/a");
		ck_assert(request.upgrade);
	}
	struct request request;
	ck_assert_int_eq(request_parse("GET /\r\n\r\n", 9, &request), -EBADMSG);
	ck_assert_int_eq(request_parse("\r\n\r\n", 4, &request), -EBADMSG);
}
END_TEST

/* Feed `ms` of a tone of this amplitude; returns the time of the first event in ms of this piece, or -1. */
static int feed(struct vad *vad, int amplitude, unsigned ms, enum vad_event wanted)
{
	int16_t samples[16];
	size_t used;

	for (unsigned t = 0; t < ms; t++) {
		for (unsigned i = 0; i < 16; i++)
			samples[i] = (int16_t)(amplitude * sin((t * 16 + i) * 0.4));
		enum vad_event event = vad_feed(vad, samples, 16, &used);
		ck_assert_uint_eq(used, 16);
		if (event != VAD_EVENT_NONE) {
			ck_assert_int_eq(event, wanted);
			return (int)t + 1;
		}
	}
	return -1;
}

START_TEST(test_vad_reports_speech_and_its_end)
{
	static const struct {
		int prefix, silence;
		bool low;
		int start, end;
	} cases[] = {{-1, 800, false, 120, 800}, {20, 500, false, 20, 500}, {-1, 100, true, 160, 100}, {0, 800, false, 20, 800},
		{300, 800, false, 300, 800}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vad vad;

		vad_init(&vad, cases[i].prefix, cases[i].silence, cases[i].low);
		ck_assert_int_eq(feed(&vad, 0, 1000, VAD_EVENT_NONE), -1);
		ck_assert_int_eq(feed(&vad, 6000, 1000, VAD_EVENT_START), cases[i].start);
		ck_assert_int_eq(feed(&vad, 6000, 700, VAD_EVENT_NONE), -1);
		ck_assert_int_eq(feed(&vad, 0, 2000, VAD_EVENT_END), cases[i].end);
		ck_assert_int_eq(feed(&vad, 0, 2000, VAD_EVENT_NONE), -1);
		ck_assert_uint_eq(vad.start_at_ms, 1000);
		ck_assert_uint_eq(vad.last_voiced_ms, 1700 + (uint64_t)cases[i].start);
	}
}
END_TEST

START_TEST(test_vad_ignores_noise_and_short_pauses)
{
	struct vad vad;

	vad_init(&vad, -1, 800, false);
	ck_assert_int_eq(feed(&vad, 150, 3000, VAD_EVENT_NONE), -1); /* hiss under the threshold */
	ck_assert_int_eq(feed(&vad, 6000, 60, VAD_EVENT_NONE), -1);  /* a click */
	ck_assert_int_eq(feed(&vad, 0, 500, VAD_EVENT_NONE), -1);
	ck_assert_int_ne(feed(&vad, 6000, 500, VAD_EVENT_START), -1);
	ck_assert_int_eq(feed(&vad, 0, 790, VAD_EVENT_NONE), -1);
	ck_assert_int_eq(feed(&vad, 6000, 100, VAD_EVENT_NONE), -1);
	ck_assert_int_eq(feed(&vad, 0, 790, VAD_EVENT_NONE), -1);
	ck_assert_int_eq(vad_flush(&vad), VAD_EVENT_END);
	ck_assert_int_eq(vad_flush(&vad), VAD_EVENT_NONE);
}
END_TEST

START_TEST(test_burst_is_as_measured)
{
	for (uint32_t seed = 1; seed < 200; seed++) {
		const struct burst_rules rules = {0};
		size_t total = (size_t)4000 * BURST_BYTES_PER_MS, sum = 0, size;
		struct burst burst;
		uint64_t now = 1000, last = 1000;

		burst_start(&burst, &rules, total, seed, now);
		for (; !burst_done(&burst); now++) {
			size = burst_next(&burst, now);
			if (size == 0)
				continue;
			ck_assert_uint_eq(burst_next(&burst, now), 0);
			sum += size;
			if (sum < total) {
				ck_assert_uint_eq(size % (BURST_QUANTUM_MS * BURST_BYTES_PER_MS), 0);
				ck_assert_uint_ge(size, 160 * BURST_BYTES_PER_MS);
				ck_assert_uint_le(size, 600 * BURST_BYTES_PER_MS);
			}
			if (now > 1000)
				ck_assert(now - last >= 34 && now - last <= 161);
			last = now;
		}
		ck_assert_uint_eq(sum, total);
		ck_assert_msg(now - 1000 >= 4000 / 5.5 && now - 1000 <= 4000 / 4.0, "seed %u: 4 s in %u ms", seed,
			(unsigned)(now - 1000));
	}
}
END_TEST

START_TEST(test_burst_faults)
{
	struct burst_rules rules = {.pace = 0.5, .chunk_bytes = 1920, .odd = true, .stall_ms = 700};
	struct burst burst;
	uint64_t now = 0, longest = 0, last = 0;
	size_t sum = 0, size;

	burst_start(&burst, &rules, 19200, 1, now);
	for (; !burst_done(&burst); now++) {
		while ((size = burst_next(&burst, now)) > 0) {
			sum += size;
			if (sum < 19200 && sum != 9600)
				ck_assert_uint_eq(size, 1921);
			if (now - last > longest)
				longest = now - last;
			last = now;
		}
	}
	ck_assert_uint_eq(sum, 19200);
	ck_assert_uint_ge(longest, 700);
	ck_assert(
		now >= 700 + 600 && now <= 700 + 900); /* 400 ms at half speed, less the last message's own time, and the stall */
	rules = (struct burst_rules){.chunk_bytes = 2};
	burst_start(&burst, &rules, 10, 1, 0);
	ck_assert_uint_eq(burst_next(&burst, 0), 2);
}
END_TEST

START_TEST(test_decode64)
{
	static const struct {
		const char *text, *bytes;
		size_t size;
	} good[] = {{"", "", 0}, {"AQ==", "\1", 1}, {"AQ", "\1", 1}, {"AQI=", "\1\2", 2}, {"AQID", "\1\2\3", 3},
		{"+/-_", "\xfb\xff\xbf", 3}, {"AQIDBAUG", "\1\2\3\4\5\6", 6}};
	static const char *const bad[] = {
		"A", "AAAAA", "AQ=", "A===", "AQI==", "====", "A Q=", "AQ\n=", "A\xff==", "A@AA", "AAA@", "AA=A"};
	uint8_t out[16];
	size_t size;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(decode64(good[i].text, strlen(good[i].text), out, &size), "%s", good[i].text);
		ck_assert_uint_eq(size, good[i].size);
		ck_assert_mem_eq(out, good[i].bytes, size);
		ck_assert(decode64(good[i].text, strlen(good[i].text), NULL, &size) && size == good[i].size);
		ck_assert_uint_ge(DECODE64_ROOM(strlen(good[i].text)), size);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!decode64(bad[i], strlen(bad[i]), out, &size), "%s", bad[i]);
}
END_TEST

START_TEST(test_message_print)
{
	struct text text = {0};
	const struct message_usage usage = {515, 31};

	message_setup_complete(&text, NULL);
	ck_assert_uint_eq(text.size, 26);
	ck_assert_str_eq(text.data, "{\n  \"setupComplete\": {}\n}\n");
	message_empty(&text, false);
	ck_assert_str_eq(text.data, "{}\n");
	message_go_away(&text, 50000);
	ck_assert_str_eq(text.data, "{\n  \"goAway\": {\n    \"timeLeft\": \"50s\"\n  }\n}\n");
	message_voice_activity(&text, true, 3840);
	ck_assert_str_eq(text.data, "{\n  \"voiceActivity\": {\n    \"voiceActivityType\": \"ACTIVITY_START\",\n    "
				    "\"audioOffset\": \"3.840s\"\n  }\n}\n");
	message_input_transcription(&text, "a \"b\"\n\x01");
	ck_assert_str_eq(text.data, "{\n  \"serverContent\": {\n    \"inputTranscription\": {\n      \"text\": \"a "
				    "\\\"b\\\"\\n\\u0001\"\n    }\n  }\n}\n");
	message_turn_complete(&text, &usage, false);
	cJSON *root = cJSON_Parse(text.data);
	ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(cJSON_GetObjectItem(root, "serverContent"), "turnComplete")));
	ck_assert_int_eq(cJSON_GetObjectItem(cJSON_GetObjectItem(root, "usageMetadata"), "totalTokenCount")->valueint, 546);
	cJSON_Delete(root);
	/* The hand-written message has the tree's print. */
	message_audio(&text, "AAAABBBBCCCC", 12, 2, "words", true);
	root = cJSON_Parse(text.data);
	ck_assert_ptr_nonnull(root);
	struct text again = {0};
	text_add_json(&again, root);
	ck_assert_str_eq(text.data, again.data);
	cJSON_Delete(root);
	free(again.data);
	free(text.data);
}
END_TEST

START_TEST(test_registry_guards_handles)
{
	struct registry *registry = registry_create();
	const struct persona a = {.label = "a"}, b = {.label = "b"};
	const struct setup_model model = {.name = "m"}, other = {.name = "o"};
	const uint8_t random[16] = {1, 2, 3};
	struct session *session = registry_open(registry, &a, &model), *found = NULL;
	const char *handle = registry_handle(registry, session, random);

	ck_assert_uint_eq(strlen(handle), 36);
	ck_assert_int_eq(registry_resume(registry, "nonsense", &a, &model, 0, 1000, 0, &found), REGISTRY_UNKNOWN);
	ck_assert_int_eq(registry_resume(registry, handle, &a, &model, 0, 1000, 0, &found), REGISTRY_BUSY); /* old socket open */
	registry_close(session, true, 5000);
	ck_assert_int_eq(registry_resume(registry, handle, &b, &model, 9000, 1000, 0, &found), REGISTRY_FOREIGN);
	ck_assert_int_eq(registry_resume(registry, handle, &a, &other, 9000, 1000, 0, &found), REGISTRY_BUSY);
	ck_assert_int_eq(registry_resume(registry, handle, &a, &model, 5999, 1000, 0, &found), REGISTRY_BUSY);
	ck_assert_int_eq(registry_resume(registry, handle, &a, &model, 6000, 1000, 1, &found), REGISTRY_BUSY);
	ck_assert_ptr_null(found);
	ck_assert_int_eq(registry_resume(registry, handle, &a, &model, 6000, 1000, 1, &found), REGISTRY_OK);
	ck_assert_ptr_eq(found, session);
	registry_close(session, false, 7000); /* cut while speaking: free at once */
	ck_assert_int_eq(registry_resume(registry, handle, &a, &model, 7000, 1000, 1, &found), REGISTRY_OK);
	registry_free(registry);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("emulator_parts");

	unit_add(suite, "frame", test_frame_reassembles_in_any_cut, test_frame_refuses_protocol_errors, test_frame_writes);
	unit_add(suite, "request", test_request_paths, test_request_keys);
	unit_add(suite, "vad", test_vad_reports_speech_and_its_end, test_vad_ignores_noise_and_short_pauses);
	unit_add(suite, "burst", test_burst_is_as_measured, test_burst_faults);
	unit_add(suite, "decode64", test_decode64);
	unit_add(suite, "message", test_message_print);
	unit_add(suite, "registry", test_registry_guards_handles);
	return unit_run(suite);
}
