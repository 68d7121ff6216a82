/* SPDX-License-Identifier: Apache-2.0 */
/* Gemini Live messages: what is built is what the schema wants, what is read is what was meant, and audio is found only where it is. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "ai_workers/gemini_message.h"
#include "ai_workers/gemini_scan.h"
#include "shared/base64.h"

static struct gemini_message message;
static char text[65536];

static int read_text(const char *json)
{
	snprintf(text, sizeof(text), "%s", json);
	return gemini_message_read(&message, text, strlen(text));
}

#define AUDIO(base64) "{\"inlineData\":{\"mimeType\":\"audio/pcm;rate=24000\",\"data\":\"" base64 "\"}}"
#define TURN(parts)   "{\"serverContent\":{\"modelTurn\":{\"parts\":[" parts "]}}}"

static const struct {
	const char *name, *json;
	uint32_t members;
	const char *audio; /* all parts, joined by a comma */
	uint32_t skipped;
} messages[] = {
	{"setupComplete as sent", "{\n  \"setupComplete\": {}\n}\n", GEMINI_SETUP_COMPLETE, "", 0},
	{"setupComplete with id", "{\"setupComplete\":{\"sessionId\":\"x\"}}", GEMINI_SETUP_COMPLETE, "", 0},
	{"noise", "{}", 0, "", 0},
	{"more noise", "{\"serverContent\": {}}", 0, "", 0},
	{"unknown members", "{\"somethingNew\":{\"a\":[1,2,{}]}}", 0, "", 0},
	{"audio", TURN(AUDIO("AAAA")), GEMINI_AUDIO, "AAAA", 0},
	{"audio, other order", TURN("{\"inlineData\":{\"data\":\"AAAA\",\"mimeType\":\"audio/pcm\"}}"), GEMINI_AUDIO, "AAAA", 0},
	{"audio, pretty",
		"{\n  \"serverContent\": {\n    \"modelTurn\": {\n      \"parts\": [\n        {\n          \"inlineData\": {\n"
		"            \"mimeType\": \"audio/pcm;rate=24000\",\n            \"data\": \"BBBB\"\n          }\n        }\n   "
		"   ]\n    }\n  }\n}\n",
		GEMINI_AUDIO, "BBBB", 0},
	{"audio with role", "{\"serverContent\":{\"modelTurn\":{\"role\":\"model\",\"parts\":[" AUDIO("AAAA") "]}}}",
		GEMINI_AUDIO, "AAAA", 0},
	{"several parts", TURN(AUDIO("AAAA") "," AUDIO("BBBB") "," AUDIO("CCCC")), GEMINI_AUDIO, "AAAA,BBBB,CCCC", 0},
	{"escaped slashes", TURN(AUDIO("\\/\\/A\\/")), GEMINI_AUDIO, "//A/", 0},
	{"slash in the type", TURN("{\"inlineData\":{\"mimeType\":\"audio\\/pcm;rate=24000\",\"data\":\"AAAA\"}}"), GEMINI_AUDIO,
		"AAAA", 0},
	{"empty audio", TURN(AUDIO("")), GEMINI_AUDIO, "", 0},
	{"a thought is not spoken", TURN("{\"thought\":true,\"inlineData\":{\"mimeType\":\"audio/pcm\",\"data\":\"AAAA\"}}"), 0,
		"", 1},
	{"a thought, said last", TURN("{\"inlineData\":{\"mimeType\":\"audio/pcm\",\"data\":\"AAAA\"},\"thought\":true}"), 0, "",
		1},
	{"thought false", TURN("{\"thought\":false,\"inlineData\":{\"mimeType\":\"audio/pcm\",\"data\":\"AAAA\"}}"), GEMINI_AUDIO,
		"AAAA", 0},
	{"a thought does not silence its neighbour", TURN("{\"thought\":true,\"text\":\"hm\"}," AUDIO("AAAA")), GEMINI_AUDIO,
		"AAAA", 0},
	{"another format", TURN("{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"AAAA\"}}"), 0, "", 1},
	{"another rate", TURN("{\"inlineData\":{\"mimeType\":\"audio/pcm;rate=48000\",\"data\":\"AAAA\"}}"), 0, "", 1},
	{"no format", TURN("{\"inlineData\":{\"data\":\"AAAA\"}}"), 0, "", 1},
	{"two data in one part", TURN("{\"inlineData\":{\"mimeType\":\"audio/pcm\",\"data\":\"AAAA\",\"data\":\"BBBB\"}}"), 0, "",
		1},
	{"data in a transcript",
		"{\"serverContent\":{\"outputTranscription\":{\"text\":\"\\\"inlineData\\\":{\\\"mimeType\\\":\\\"audio/"
		"pcm\\\",\\\"data\\\":\\\"AAAA\\\"}\"}}}",
		GEMINI_MODEL_TEXT, "", 0},
	{"inlineData in a tool call",
		"{\"toolCall\":{\"functionCalls\":[{\"name\":\"f\",\"id\":\"1\",\"args\":{\"serverContent\":{\"modelTurn\":{"
		"\"parts\":[" AUDIO("AAAA") "]}}}}]}}",
		GEMINI_TOOL_CALL, "", 0},
	{"parts in a wrong place", "{\"serverContent\":{\"parts\":[" AUDIO("AAAA") "]}}", 0, "", 0},
	{"an object where parts should be a list", "{\"serverContent\":{\"modelTurn\":{\"parts\":" AUDIO("AAAA") "}}}", 0, "", 0},
	{"a list where serverContent should be an object",
		"{\"serverContent\":[{\"modelTurn\":{\"parts\":[" AUDIO("AAAA") "]}}]}", 0, "", 0},
	{"interrupted", "{\"serverContent\":{\"interrupted\":true}}", GEMINI_INTERRUPTED, "", 0},
	{"not interrupted", "{\"serverContent\":{\"interrupted\":false,\"turnComplete\":1}}", 0, "", 0},
	{"audio and everything",
		"{\"serverContent\":{\"modelTurn\":{\"parts\":[" AUDIO(
			"AAAA") "]},\"outputTranscription\":{\"text\":\"a\"},"
				"\"inputTranscription\":{\"text\":\"b\"},\"generationComplete\":true,\"turnComplete\":true},"
				"\"usageMetadata\":{}}",
		GEMINI_AUDIO | GEMINI_MODEL_TEXT | GEMINI_CALLER_TEXT | GEMINI_GENERATION_COMPLETE | GEMINI_TURN_COMPLETE |
			GEMINI_USAGE,
		"AAAA", 0},
	{"empty transcript", "{\"serverContent\":{\"inputTranscription\":{}}}", 0, "", 0},
	{"cancellation", "{\"toolCallCancellation\":{\"ids\":[\"1\"]}}", GEMINI_TOOL_CANCELLATION, "", 0},
	{"voice start", "{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_START\",\"audioOffset\":\"0.240s\"}}",
		GEMINI_VOICE_START, "", 0},
	{"voice end", "{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_END\"}}", GEMINI_VOICE_END, "", 0},
	{"error", "{\"error\":{\"code\":500,\"message\":\"m\"}}", GEMINI_ERROR, "", 0},
};

static void joined_audio(char *to, size_t size)
{
	*to = '\0';
	for (uint32_t i = 0; i < message.audio_count; i++) {
		size_t at = strlen(to);

		snprintf(to + at, size - at, "%s%.*s", i > 0 ? "," : "", (int)message.audio[i].len, message.audio[i].base64);
	}
}

START_TEST(test_gemini_message_members)
{
	char audio[256];

	ck_assert_msg(read_text(messages[_i].json) == 0, "%s", messages[_i].name);
	joined_audio(audio, sizeof(audio));
	ck_assert_msg(message.members == messages[_i].members, "%s: %#x", messages[_i].name, message.members);
	ck_assert_msg(strcmp(audio, messages[_i].audio) == 0, "%s: audio '%s'", messages[_i].name, audio);
	ck_assert_msg(message.skipped == messages[_i].skipped, "%s: skipped %u", messages[_i].name, message.skipped);
	gemini_message_clear(&message);
}
END_TEST

static const char *const broken[] = {"", " ", "[]", "1", "\"x\"", "{", "{\"a\"", "{\"a\":", "{\"a\":}", "{\"a\":1,}", "{\"a\":1",
	"{\"a\":1}x", "{\"a\":\"", "{\"a\":\"\\", "{\"a\":\"\\\"}", "{a:1}", "{\"a\" 1}",
	"{\"serverContent\":{\"modelTurn\":{\"parts\":[" AUDIO("AAAA") "]}}",
	"{\"serverContent\":{\"modelTurn\":{\"parts\":[" AUDIO("AAAA") ",]}}}", "{\"x\":\"\x01\"}", "{\"x\":\"\xff\"}",
	"{\"x\":tru}"};

START_TEST(test_gemini_message_broken)
{
	ck_assert_msg(read_text(broken[_i]) == -EBADMSG, "%s", broken[_i]);
	ck_assert_uint_eq(message.members, 0);
	ck_assert_uint_eq(message.audio_count, 0);
	ck_assert_ptr_null(message.tree);
}
END_TEST

START_TEST(test_gemini_message_deep)
{
	char json[256] = "{\"a\":";
	size_t at = strlen(json);

	memset(json + at, '[', 100);
	memset(json + at + 100, ']', 100);
	strcpy(json + at + 200, "}");
	ck_assert_int_eq(read_text(json), -EBADMSG);
}
END_TEST

/* Every cut of a message is refused or, at the very end, complete; never read beyond. */
START_TEST(test_gemini_message_cut)
{
	static const char whole[] = "{\"serverContent\":{\"modelTurn\":{\"parts\":[" AUDIO("AA\\/A") "]},\"turnComplete\":true}}";

	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		char *copy = malloc(len + 1);

		memcpy(copy, whole, len);
		ck_assert_int_eq(gemini_message_read(&message, copy, len), -EBADMSG);
		free(copy);
	}
	ck_assert_int_eq(read_text(whole), 0);
	gemini_message_clear(&message);
}
END_TEST

START_TEST(test_gemini_message_many_parts)
{
	size_t at = (size_t)snprintf(text, sizeof(text), "{\"serverContent\":{\"modelTurn\":{\"parts\":[");

	for (int i = 0; i < 100; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", i > 0 ? "," : "", AUDIO("AAAA"));
	at += (size_t)snprintf(text + at, sizeof(text) - at, "]},\"turnComplete\":true}}");
	ck_assert_int_eq(gemini_message_read(&message, text, at), 0);
	ck_assert_uint_eq(message.audio_count, GEMINI_AUDIO_PARTS_MAX);
	ck_assert_uint_eq(message.skipped, 100 - GEMINI_AUDIO_PARTS_MAX);
	ck_assert(message.members & GEMINI_TURN_COMPLETE);
	gemini_message_clear(&message);
}
END_TEST

START_TEST(test_gemini_message_values)
{
	ck_assert_int_eq(read_text("{\"goAway\":{\"timeLeft\":\"50s\"}}"), 0);
	ck_assert_uint_eq(message.time_left_ms, 50000);
	gemini_message_clear(&message);
	ck_assert_int_eq(read_text("{\"goAway\":{\"timeLeft\":\"0.240s\"}}"), 0);
	ck_assert_uint_eq(message.time_left_ms, 240);
	gemini_message_clear(&message);
	ck_assert_int_eq(read_text("{\"goAway\":{\"timeLeft\":\"soon\"}}"), 0);
	ck_assert_uint_eq(message.time_left_ms, GEMINI_TIME_UNSAID);
	gemini_message_clear(&message);
	ck_assert_int_eq(read_text("{\"goAway\":{}}"), 0);
	ck_assert_uint_eq(message.time_left_ms, GEMINI_TIME_UNSAID);
	gemini_message_clear(&message);
	ck_assert_int_eq(read_text("{\"goAway\":{\"timeLeft\":\"0s\"}}"), 0);
	ck_assert_uint_eq(message.time_left_ms, 0);
	gemini_message_clear(&message);
	ck_assert_int_eq(read_text("{\"sessionResumptionUpdate\":{\"newHandle\":\"abc\",\"resumable\":true}}"), 0);
	ck_assert_uint_eq(message.members, GEMINI_RESUMPTION);
	ck_assert_str_eq(message.handle, "abc");
	ck_assert(message.resumable);
	gemini_message_clear(&message);
	ck_assert_int_eq(read_text("{\"sessionResumptionUpdate\":{}}"), 0);
	ck_assert_ptr_null(message.handle);
	ck_assert(!message.resumable);
	gemini_message_clear(&message);
	ck_assert_int_eq(read_text("{\"serverContent\":{\"inputTranscription\":{\"text\":\"\\u00e9 \\\"q\\\"\"}}}"), 0);
	ck_assert_str_eq(message.caller_text, "\xc3\xa9 \"q\"");
	gemini_message_clear(&message);
	ck_assert_int_eq(read_text("{\"error\":{\"code\":429,\"message\":\"slow\"}}"), 0);
	ck_assert_int_eq(message.error_code, 429);
	ck_assert_str_eq(message.error_message, "slow");
	gemini_message_clear(&message);
}
END_TEST

static void check_setup(const struct gemini_setup *setup, const char *expected)
{
	char *built = gemini_build_setup(setup);

	ck_assert_str_eq(built, expected);
	free(built);
}

static const char *const no_language[] = {"gemini-3.8-live", "models/gemini-3.8-live", "gemini-3.8-live-extended-thinking",
	"gemini-3.1-flash-live-preview", "gemini-2.5-flash-native-audio-preview-12-2025", "gemini-live-2.5-flash-native-audio",
	"gemini-4.2-live-of-tomorrow"};

START_TEST(test_gemini_message_setup)
{
	check_setup(&(struct gemini_setup){.model = "gemini-3.8-live"},
		"{\"setup\":{\"model\":\"models/gemini-3.8-live\",\"generationConfig\":{\"responseModalities\":[\"AUDIO\"]},"
		"\"inputAudioTranscription\":{},\"outputAudioTranscription\":{},\"sessionResumption\":{},"
		"\"contextWindowCompression\":{\"slidingWindow\":{}}}}");
	check_setup(&(struct gemini_setup){.model = "models/gemini-3.8-live",
			    .voice = "Kore",
			    .language = "de-DE",
			    .instructions = "Be \"brief\"\n.",
			    .handle = "h/1",
			    .prefix_padding_ms = 20,
			    .silence_duration_ms = 500},
		"{\"setup\":{\"model\":\"models/"
		"gemini-3.8-live\",\"generationConfig\":{\"responseModalities\":[\"AUDIO\"],\"speechConfig\":"
		"{\"voiceConfig\":{\"prebuiltVoiceConfig\":{\"voiceName\":\"Kore\"}}}},"
		"\"systemInstruction\":"
		"{\"parts\":[{\"text\":\"Be \\\"brief\\\"\\n.\"},{\"text\":\"Speak "
		"de-DE.\"}]},\"realtimeInputConfig\":{\"automaticActivityDetection\":"
		"{\"prefixPaddingMs\":20,\"silenceDurationMs\":500}},\"inputAudioTranscription\":{},\"outputAudioTranscription\":"
		"{},"
		"\"sessionResumption\":{\"handle\":\"h/1\"},\"contextWindowCompression\":{\"slidingWindow\":{}}}}");
	/* A half cascade takes a language code, no other model does; one kind insists on a thinking level. */
	check_setup(&(struct gemini_setup){.model = "gemini-live-2.5-flash", .language = "de-DE"},
		"{\"setup\":{\"model\":\"models/gemini-live-2.5-flash\",\"generationConfig\":{\"responseModalities\":[\"AUDIO\"],"
		"\"speechConfig\":{\"languageCode\":\"de-DE\"}},\"inputAudioTranscription\":{},\"outputAudioTranscription\":{},"
		"\"sessionResumption\":{},\"contextWindowCompression\":{\"slidingWindow\":{}}}}");
	for (size_t i = 0; i < sizeof(no_language) / sizeof(no_language[0]); i++) {
		char *built = gemini_build_setup(&(struct gemini_setup){.model = no_language[i], .language = "de-DE"});

		ck_assert_ptr_null(strstr(built, "languageCode"));
		ck_assert_ptr_nonnull(strstr(built, "\"systemInstruction\":{\"parts\":[{\"text\":\"Speak de-DE.\"}]}"));
		free(built);
	}
	ck_assert(gemini_model_features("gemini-3.8-live-extended-thinking") & GEMINI_FEATURE_THINKING);
	ck_assert(!(gemini_model_features("gemini-3.8-live") & GEMINI_FEATURE_THINKING));
	ck_assert(!(gemini_model_features("gemini-3.5-transcribe-live") & GEMINI_FEATURE_RESUME));
}
END_TEST

START_TEST(test_gemini_message_audio)
{
	static const uint32_t rates[] = {8000, 16000};
	int16_t pcm[640], back[640];
	uint8_t bytes[2048];
	char expected[64];

	for (int i = 0; i < 640; i++)
		pcm[i] = (int16_t)(i * 97 - 30000);
	for (size_t r = 0; r < 2; r++) {
		char *built = malloc(gemini_audio_size(640));
		size_t len = gemini_build_audio(built, pcm, 640, rates[r]);
		struct vl_base64_decoder decoder = {0};
		cJSON *tree = cJSON_ParseWithLength(built, len), *audio;
		const char *data;

		ck_assert_uint_le(len, gemini_audio_size(640));
		ck_assert_ptr_nonnull(tree);
		audio = cJSON_GetObjectItem(cJSON_GetObjectItem(tree, "realtimeInput"), "audio");
		snprintf(expected, sizeof(expected), "audio/pcm;rate=%u", rates[r]);
		ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(audio, "mimeType")), expected);
		data = cJSON_GetStringValue(cJSON_GetObjectItem(audio, "data"));
		ck_assert_int_eq(vl_base64_decode_more(&decoder, data, strlen(data), bytes), sizeof(pcm));
		memcpy(back, bytes, sizeof(back));
		ck_assert_mem_eq(back, pcm, sizeof(pcm));
		cJSON_Delete(tree);
		free(built);
	}
}
END_TEST

START_TEST(test_gemini_message_other_builders)
{
	cJSON *response = cJSON_Parse("{\"output\":\"done\"}");
	char *built = gemini_build_tool_response("call_7", "transfer", response);

	ck_assert_str_eq(built, "{\"toolResponse\":{\"functionResponses\":[{\"id\":\"call_7\",\"name\":\"transfer\",\"response\":"
				"{\"output\":\"done\"}}]}}");
	free(built);
	cJSON_Delete(response);
	built = gemini_build_text("gemini-3.1-flash-live-preview", "Greet");
	ck_assert_str_eq(built, "{\"realtimeInput\":{\"text\":\"Greet\"}}");
	free(built);
	built = gemini_build_text("gemini-3.8-live", "Greet");
	ck_assert_str_eq(built,
		"{\"clientContent\":{\"turns\":[{\"role\":\"user\",\"parts\":[{\"text\":\"Greet\"}]}],\"turnComplete\":true}}");
	free(built);
	ck_assert_str_eq(gemini_audio_stream_end, "{\"realtimeInput\":{\"audioStreamEnd\":true}}");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gemini_message");
	TCase *read = tcase_create("read");

	tcase_add_loop_test(read, test_gemini_message_members, 0, sizeof(messages) / sizeof(messages[0]));
	tcase_add_loop_test(read, test_gemini_message_broken, 0, sizeof(broken) / sizeof(broken[0]));
	tcase_add_test(read, test_gemini_message_deep);
	tcase_add_test(read, test_gemini_message_cut);
	tcase_add_test(read, test_gemini_message_many_parts);
	tcase_add_test(read, test_gemini_message_values);
	suite_add_tcase(suite, read);
	unit_add(suite, "build", test_gemini_message_setup, test_gemini_message_audio, test_gemini_message_other_builders);
	return unit_run(suite);
}
