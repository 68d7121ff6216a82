/* SPDX-License-Identifier: Apache-2.0 */
/* The emulator's judgement of client messages: names, types, envelope, setup rules, with the service's texts. */
#include "tests/emulator/schema.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/emulator/setup.h"
#include "unit.h"

/* `json` as is; `reason` NULL = accepted, else the reason's beginning. */
struct judged {
	const char *json;
	int code;
	const char *reason;
};

static void judge(enum request_api api, const struct judged *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct schema_error error = {0};
		cJSON *root = schema_parse(api, cases[i].json, strlen(cases[i].json), &error);
		struct setup setup;

		if (root != NULL && schema_get(root, "setup") != NULL)
			setup_read(api, schema_get(root, "setup"), &setup, &error);
		if (cases[i].reason == NULL) {
			ck_assert_msg(error.code == 0, "%s: refused with %d %s", cases[i].json, error.code, error.reason);
			ck_assert_ptr_nonnull(root);
		} else {
			ck_assert_msg(error.code == cases[i].code, "%s: code %d, expected %d", cases[i].json, error.code,
				cases[i].code);
			ck_assert_msg(strncmp(error.reason, cases[i].reason, strlen(cases[i].reason)) == 0,
				"%s: \"%s\", expected \"%s\"", cases[i].json, error.reason, cases[i].reason);
		}
		cJSON_Delete(root);
	}
}

#define JUDGE(api, cases) judge(api, cases, sizeof(cases) / sizeof(cases[0]))
#define MODEL		  "\"model\":\"models/gemini-3.8-live\""
#define SETUP(rest)	  "{\"setup\":{" MODEL "," rest "}}"
#define UNKNOWN(name, at) "Invalid JSON payload received. Unknown name \"" name "\" at '" at "': Cannot find field."
#define INVALID		  "Request contains an invalid argument."
#define REALTIME(rest)	  "{\"realtimeInput\":{" rest "}}"
#define DETECTION(rest)	  SETUP("\"realtimeInputConfig\":{\"automaticActivityDetection\":{" rest "}}")
#define FUNCTION(rest) \
	SETUP("\"tools\":[{\"functionDeclarations\":[{\"name\":\"f\",\"parameters\":{\"type\":\"OBJECT\"," rest "}}]}]")

START_TEST(test_schema_accepts_what_clients_send)
{
	static const struct judged cases[] = {
		{"{\"setup\":{" MODEL "}}", 0, NULL},
		{SETUP("\"generationConfig\":{\"responseModalities\":[\"AUDIO\"],\"speechConfig\":{\"voiceConfig\":{"
		       "\"prebuiltVoiceConfig\":"
		       "{\"voiceName\":\"Kore\"}}}},\"systemInstruction\":{\"parts\":[{\"text\":\"You "
		       "answer.\"}]},\"realtimeInputConfig\":"
		       "{\"automaticActivityDetection\":{\"prefixPaddingMs\":20,\"silenceDurationMs\":500}},"
		       "\"inputAudioTranscription\":{},"
		       "\"outputAudioTranscription\":{},\"sessionResumption\":{},\"contextWindowCompression\":{\"slidingWindow\":"
		       "{}}"),
			0, NULL},
		{"{\"setup\":{" MODEL
		 ",\"generation_config\":{\"responseModalities\":\"audio\",\"top_p\":0.5,\"maxOutputTokens\":\"12\"}}}",
			0, NULL},
		{SETUP("\"contextWindowCompression\":{\"triggerTokens\":\"25600\",\"slidingWindow\":{\"targetTokens\":12800}}"),
			0, NULL},
		{SETUP("\"systemInstruction\":{\"parts\":[{\"text\":\"x\"}],\"role\":\"user\"},\"sessionResumption\":null"), 0,
			NULL},
		{FUNCTION("\"properties\":{\"anyName\":{\"type\":\"STRING\",\"enum\":[\"a\"]}},\"required\":[\"anyName\"]"), 0,
			NULL},
		{REALTIME("\"audio\":{\"mimeType\":\"audio/pcm;rate=16000\",\"data\":\"AAAB\"}"), 0, NULL},
		{"{\"realtime_input\":{\"audio\":{\"mime_type\":\"audio/pcm;rate=16000\",\"data\":\"AAA=\"}}}", 0, NULL},
		{REALTIME("\"audioStreamEnd\":true"), 0, NULL},
		{REALTIME("\"text\":\"hi\""), 0, NULL},
		{REALTIME("\"activityStart\":{}"), 0, NULL},
		{"{\"clientContent\":{\"turns\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}],\"turnComplete\":true}}", 0,
			NULL},
		{"{\"toolResponse\":{\"functionResponses\":[{\"id\":\"1\",\"name\":\"f\",\"response\":{\"any\":{\"thing\":[1]}}}]"
		 "}}",
			0, NULL},
	};

	JUDGE(REQUEST_API_V1BETA, cases);
}
END_TEST

START_TEST(test_schema_refuses_unknown_names_with_their_path)
{
	static const struct judged cases[] = {
		{"{\"config\":{}}", 1007, "Invalid JSON payload received. Unknown name \"config\": Cannot find field."},
		{SETUP("\"responseModalities\":[\"AUDIO\"]"), 1007, UNKNOWN("responseModalities", "setup")},
		{SETUP("\"speechConfig\":{}"), 1007, UNKNOWN("speechConfig", "setup")},
		{SETUP("\"thinkingConfig\":{}"), 1007, UNKNOWN("thinkingConfig", "setup")},
		{SETUP("\"safetySettings\":[]"), 1007, UNKNOWN("safetySettings", "setup")},
		{SETUP("\"toolConfig\":{}"), 1007, UNKNOWN("toolConfig", "setup")},
		{SETUP("\"proactivity\":{\"proactiveAudio\":true}"), 1007, UNKNOWN("proactivity", "setup")},
		{SETUP("\"sessionResumption\":{\"transparent\":true}"), 1007, UNKNOWN("transparent", "setup.session_resumption")},
		{SETUP("\"generationConfig\":{\"inputAudioTranscription\":{}}"), 1007,
			UNKNOWN("inputAudioTranscription", "setup.generation_config")},
		{SETUP("\"generationConfig\":{\"sessionResumption\":{}}"), 1007,
			UNKNOWN("sessionResumption", "setup.generation_config")},
		{SETUP("\"generationConfig\":{\"Temperature\":1}"), 1007, UNKNOWN("Temperature", "setup.generation_config")},
		{SETUP("\"generationConfig\":{\"top_P\":1}"), 1007, UNKNOWN("top_P", "setup.generation_config")},
		{SETUP("\"inputAudioTranscription\":{\"languageCode\":\"en\"}"), 1007,
			UNKNOWN("languageCode", "setup.input_audio_transcription")},
		{SETUP("\"tools\":[{},{\"functionDeclarations\":[{\"name\":\"f\",\"x\":1}]}]"), 1007,
			UNKNOWN("x", "setup.tools[1].function_declarations[0]")},
		{FUNCTION("\"additionalProperties\":false"), 1007,
			UNKNOWN("additionalProperties", "setup.tools[0].function_declarations[0].parameters")},
		{REALTIME("\"turnComplete\":true"), 1007, UNKNOWN("turnComplete", "realtime_input")},
		{REALTIME("\"audio\":{\"mimeType\":\"audio/pcm\",\"rate\":16000}"), 1007,
			UNKNOWN("rate", "realtime_input.audio")},
		{"{\"contextUpdate\":{}}", 1007,
			"Invalid JSON payload received. Unknown name \"contextUpdate\": Cannot find field."},
	};

	JUDGE(REQUEST_API_V1BETA, cases);
}
END_TEST

START_TEST(test_schema_knows_versions)
{
	static const struct judged alpha[] = {{SETUP("\"proactivity\":{\"proactiveAudio\":true}"), 0, NULL},
		{SETUP("\"proactivity\":{\"proactiveAudio\":false}"), 1007, INVALID}};
	static const struct judged vertex[] = {
		{"{\"setup\":{\"model\":\"projects/p/locations/l/publishers/google/models/"
		 "gemini-3.8-live\",\"sessionResumption\":{\"transparent\":true}}}",
			0, NULL},
		{"{\"contextUpdate\":{\"tools\":{}}}", 0, NULL},
	};

	JUDGE(REQUEST_API_V1ALPHA, alpha);
	JUDGE(REQUEST_API_VERTEX, vertex);
}
END_TEST

START_TEST(test_schema_refuses_wrong_values)
{
	static const struct judged cases[] = {
		{"", 1007, "Invalid JSON payload received. Unexpected token."},
		{"{\"setup\":{}} x", 1007, "Invalid JSON payload received. Unexpected token."},
		{"[]", 1007, "Invalid JSON payload received. Root element must be a message."},
		{"{}", 1007, INVALID},
		{REALTIME("\"audioStreamEnd\":{}"), 1007,
			"Invalid value at 'realtime_input' (audio_stream_end), Starting an object on a scalar field"},
		{REALTIME("\"audioStreamEnd\":1"), 1007, "Invalid value at 'realtime_input.audio_stream_end' (TYPE_BOOL), 1"},
		{REALTIME("\"text\":5"), 1007, "Invalid value at 'realtime_input.text' (TYPE_STRING), 5"},
		{REALTIME("\"audio\":\"x\""), 1007,
			"Invalid value at 'realtime_input.audio' (type.googleapis.com/google.ai.generativelanguage.v1beta.Blob), "
			"\"x\""},
		{REALTIME("\"audio\":[]"), 1007,
			"Invalid JSON payload received. Unknown name \"audio\" at 'realtime_input': Proto field is not "
			"repeating, cannot start list."},
		{REALTIME("\"audio\":{\"mimeType\":\"audio/pcm\",\"data\":\"A!==\"}"), 1007,
			"Invalid value at 'realtime_input.audio.data' (TYPE_BYTES), Base64 decoding failed for \"A!==\""},
		{REALTIME("\"audio\":{\"mimeType\":\"audio/pcm\",\"data\":\"AAAAA\"}"), 1007,
			"Invalid value at 'realtime_input.audio.data' (TYPE_BYTES)"},
		{SETUP("\"generationConfig\":{\"temperature\":\"hot\"}"), 1007,
			"Invalid value at 'setup.generation_config.temperature' (TYPE_FLOAT), \"hot\""},
		{SETUP("\"generationConfig\":{\"topK\":1.5}"), 1007,
			"Invalid value at 'setup.generation_config.top_k' (TYPE_INT32), 1.5"},
		{SETUP("\"generationConfig\":{\"topK\":4294967296}"), 1007,
			"Invalid value at 'setup.generation_config.top_k' (TYPE_INT32)"},
		{DETECTION("\"startOfSpeechSensitivity\":\"START_SENSITIVITY_MEDIUM\""), 1007,
			"Invalid value at 'setup.realtime_input_config.automatic_activity_detection.start_of_speech_sensitivity' "
			"(type.googleapis.com/"},
		{"{\"setup\":{" MODEL "},\"clientContent\":{}}", 1007, "Invalid JSON payload received. "},
		{"{\"clientContent\":{\"turns\":[{\"parts\":[{\"text\":\"a\",\"inlineData\":{}}]}]}}", 1007,
			"Invalid JSON payload received. "},
	};

	JUDGE(REQUEST_API_V1BETA, cases);
	/* A NUL inside is not the end of the text. */
	struct schema_error error;
	ck_assert_ptr_null(schema_parse(REQUEST_API_V1BETA, "{\"setup\":{}}\0x", 14, &error));
}
END_TEST

START_TEST(test_setup_follows_the_model)
{
	static const struct judged cases[] = {
		{"{\"setup\":{}}", 1007, INVALID},
		{"{\"setup\":{\"model\":\"models/gemini-2.0-flash\"}}", 1008,
			"models/gemini-2.0-flash is not found for API version v1beta, or is not supported for "
			"bidiGenerateContent. Call "},
		{"{\"setup\":{\"model\":\"gemini-3.8-live\"}}", 1008, "gemini-3.8-live is not found for API version v1beta"},
		{SETUP("\"generationConfig\":{\"responseModalities\":[\"TEXT\"]}"), 1007,
			"The requested combination of response modalities (TEXT) is not supported by the model."},
		{SETUP("\"generationConfig\":{\"responseModalities\":[\"AUDIO\",\"TEXT\"]}"), 1007, INVALID},
		{SETUP("\"generationConfig\":{\"speechConfig\":{\"voiceConfig\":{\"prebuiltVoiceConfig\":{\"voiceName\":"
		       "\"alloy\"}}}}"),
			1007, "No matching speaker voice found for name: alloy"},
		{SETUP("\"generationConfig\":{\"speechConfig\":{\"voiceConfig\":{\"prebuiltVoiceConfig\":{\"voiceName\":\"kore\"}"
		       "}}}"),
			1007, "No matching speaker voice found for name: kore"},
		{SETUP("\"generationConfig\":{\"speechConfig\":{\"languageCode\":\"de-DE\"}}"), 1007, INVALID},
		{SETUP("\"generationConfig\":{\"thinkingConfig\":{\"thinkingLevel\":\"LOW\"}}"), 1007, INVALID},
		{SETUP("\"generationConfig\":{\"stopSequences\":[\"x\"]}"), 1007, INVALID},
		{SETUP("\"generationConfig\":{\"responseMimeType\":\"text/plain\"}"), 1007, INVALID},
		{SETUP("\"systemInstruction\":{\"parts\":[{\"inlineData\":{}}]}"), 1007, INVALID},
		{SETUP("\"tools\":[{\"functionDeclarations\":[{\"name\":\"no spaces\"}]}]"), 1007, INVALID},
		{"{\"setup\":{\"model\":\"models/gemini-3.8-live-extended-thinking\"}}", 1007,
			"Thinking level must be specified for this model"},
		{"{\"setup\":{\"model\":\"models/"
		 "gemini-3.1-flash-live-preview\",\"tools\":[{\"functionDeclarations\":[{\"name\":\"f\",\"behavior\":"
		 "\"NON_BLOCKING\"}]}]}}",
			1007, INVALID},
		{DETECTION("\"silenceDurationMs\":-1"), 1007, INVALID},
	};

	JUDGE(REQUEST_API_V1BETA, cases);
}
END_TEST

START_TEST(test_setup_reads_fields)
{
	static const char json[] =
		"{\"setup\":{" MODEL
		",\"realtime_input_config\":{\"automaticActivityDetection\":{\"disabled\":true,\"prefix_padding_ms\":\"20\","
		"\"silenceDurationMs\":500},\"activityHandling\":\"NO_INTERRUPTION\"},\"sessionResumption\":{\"handle\":\"h\"},"
		"\"outputAudioTranscription\":{}}}";
	struct schema_error error;
	struct setup setup;
	cJSON *root = schema_parse(REQUEST_API_V1BETA, json, strlen(json), &error);

	ck_assert_ptr_nonnull(root);
	ck_assert_int_eq(setup_read(REQUEST_API_V1BETA, schema_get(root, "setup"), &setup, &error), 0);
	ck_assert(setup.vad_disabled && setup.no_interruption && setup.resumption && setup.output_transcription &&
		  setup.input_transcription);
	ck_assert_str_eq(setup.handle, "h");
	ck_assert_int_eq(setup.prefix_padding_ms, 20);
	ck_assert_int_eq(setup.silence_ms, 500);
	cJSON_Delete(root);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("emulator_schema");

	unit_add(suite, "schema", test_schema_accepts_what_clients_send, test_schema_refuses_unknown_names_with_their_path,
		test_schema_knows_versions, test_schema_refuses_wrong_values);
	unit_add(suite, "setup", test_setup_follows_the_model, test_setup_reads_fields);
	return unit_run(suite);
}
