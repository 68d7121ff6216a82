/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds and reads Gemini Live messages, see gemini_message.h. Field names and placement follow the v1beta schema:
 * generationConfig holds modality, speech and thinking; everything else is a sibling of it, and a misplaced or unknown field
 * makes the service close with 1007.
 */
#include "gemini_message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "../shared/base64.h"
#include "../shared/json.h"
#include "gemini_scan.h"
#include "tools.h"

#define AUDIO_HEAD "{\"realtimeInput\":{\"audio\":{\"mimeType\":\"audio/pcm;rate=16000\",\"data\":\""
#define AUDIO_TAIL "\"}}}"
#define RATE_AT	   (sizeof("{\"realtimeInput\":{\"audio\":{\"mimeType\":\"audio/pcm;rate=") - 1)

const char gemini_audio_stream_end[] = "{\"realtimeInput\":{\"audioStreamEnd\":true}}";

#define FEATURES_COMMON                                                                                   \
	(GEMINI_FEATURE_VAD | GEMINI_FEATURE_RESUME | GEMINI_FEATURE_COMPRESSION | GEMINI_FEATURE_VOICE | \
		GEMINI_FEATURE_OWN_TRANSCRIPT)

/*
 * By prefix, longest first where one contains the other. Models with native audio choose the language themselves; only the half
 * cascades, which write text and read it aloud, take a language code. Vertex AI takes text as clientContent only.
 */
static const struct {
	const char *prefix;
	uint32_t developer, vertex;
} families[] = {
	{"gemini-3.8-live-extended-thinking", FEATURES_COMMON | GEMINI_FEATURE_THINKING,
		FEATURES_COMMON | GEMINI_FEATURE_THINKING},
	{"gemini-3.8-live", FEATURES_COMMON | GEMINI_FEATURE_BEHAVIOR, FEATURES_COMMON},
	{"gemini-3.5-transcribe", GEMINI_FEATURE_VAD, GEMINI_FEATURE_VAD},
	{"gemini-3.1-flash-live", FEATURES_COMMON | GEMINI_FEATURE_REALTIME_TEXT | GEMINI_FEATURE_HISTORY, FEATURES_COMMON},
	{"gemini-2.5-flash-native-audio", FEATURES_COMMON | GEMINI_FEATURE_USER_LAST | GEMINI_FEATURE_BEHAVIOR,
		FEATURES_COMMON | GEMINI_FEATURE_USER_LAST},
	{"gemini-live-2.5-flash-native-audio", FEATURES_COMMON | GEMINI_FEATURE_USER_LAST,
		FEATURES_COMMON | GEMINI_FEATURE_USER_LAST},
	{"gemini-live-2.5-flash", FEATURES_COMMON | GEMINI_FEATURE_LANGUAGE | GEMINI_FEATURE_USER_LAST,
		FEATURES_COMMON | GEMINI_FEATURE_LANGUAGE | GEMINI_FEATURE_USER_LAST},
	{"gemini-2.0-flash-live", FEATURES_COMMON | GEMINI_FEATURE_LANGUAGE, FEATURES_COMMON | GEMINI_FEATURE_LANGUAGE},
};

static bool is_vertex(const char *model)
{
	return strncmp(model, "projects/", 9) == 0;
}

uint32_t gemini_model_features(const char *model)
{
	const char *slash = strrchr(model, '/'), *name = slash != NULL ? slash + 1 : model;

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		if (strncmp(name, families[i].prefix, strlen(families[i].prefix)) == 0)
			return is_vertex(model) ? families[i].vertex : families[i].developer;
	return FEATURES_COMMON;
}

static void add_generation_config(cJSON *setup, const struct gemini_setup *s, uint32_t features)
{
	cJSON *config = cJSON_AddObjectToObject(setup, "generationConfig");
	cJSON *modalities = cJSON_AddArrayToObject(config, "responseModalities");
	bool language = s->language != NULL && (features & GEMINI_FEATURE_LANGUAGE);
	bool named = s->voice != NULL && (features & GEMINI_FEATURE_VOICE);

	cJSON_AddItemToArray(modalities, cJSON_CreateString(features & GEMINI_FEATURE_VOICE ? "AUDIO" : "TEXT"));
	if (named || language) {
		cJSON *speech = cJSON_AddObjectToObject(config, "speechConfig");

		if (named) {
			cJSON *voice = cJSON_AddObjectToObject(speech, "voiceConfig");

			cJSON_AddStringToObject(cJSON_AddObjectToObject(voice, "prebuiltVoiceConfig"), "voiceName", s->voice);
		}
		if (language)
			cJSON_AddStringToObject(speech, "languageCode", s->language);
	}
	if (features & GEMINI_FEATURE_THINKING)
		cJSON_AddStringToObject(cJSON_AddObjectToObject(config, "thinkingConfig"), "thinkingLevel", "LOW");
}

static void add_text_part(cJSON *parts, const char *text)
{
	cJSON *part = cJSON_CreateObject();

	cJSON_AddStringToObject(part, "text", text);
	cJSON_AddItemToArray(parts, part);
}

/* Each part is a paragraph of its own. */
static void add_instructions(cJSON *setup, const struct gemini_setup *s, uint32_t features)
{
	bool ask_language = s->language != NULL && !(features & GEMINI_FEATURE_LANGUAGE);
	char sentence[64];
	cJSON *parts;

	if (s->instructions == NULL && !ask_language)
		return;
	parts = cJSON_AddArrayToObject(cJSON_AddObjectToObject(setup, "systemInstruction"), "parts");
	if (s->instructions != NULL)
		add_text_part(parts, s->instructions);
	if (ask_language) {
		snprintf(sentence, sizeof(sentence), "Speak %s.", s->language);
		add_text_part(parts, sentence);
	}
}

static void add_siblings(cJSON *setup, const struct gemini_setup *s, uint32_t features)
{
	if ((features & GEMINI_FEATURE_VAD) && (s->prefix_padding_ms != 0 || s->silence_duration_ms != 0)) {
		cJSON *input = cJSON_AddObjectToObject(setup, "realtimeInputConfig");
		cJSON *vad = cJSON_AddObjectToObject(input, "automaticActivityDetection");

		if (s->prefix_padding_ms != 0)
			cJSON_AddNumberToObject(vad, "prefixPaddingMs", s->prefix_padding_ms);
		if (s->silence_duration_ms != 0)
			cJSON_AddNumberToObject(vad, "silenceDurationMs", s->silence_duration_ms);
	}
	cJSON_AddObjectToObject(setup, "inputAudioTranscription");
	if (features & GEMINI_FEATURE_OWN_TRANSCRIPT)
		cJSON_AddObjectToObject(setup, "outputAudioTranscription");
	if (features & GEMINI_FEATURE_RESUME) {
		cJSON *resumption = cJSON_AddObjectToObject(setup, "sessionResumption");

		if (s->handle != NULL)
			cJSON_AddStringToObject(resumption, "handle", s->handle);
	}
	if (s->seeded && (features & GEMINI_FEATURE_HISTORY))
		cJSON_AddTrueToObject(cJSON_AddObjectToObject(setup, "historyConfig"), "initialHistoryInClientContent");
	if (features & GEMINI_FEATURE_COMPRESSION)
		cJSON_AddObjectToObject(cJSON_AddObjectToObject(setup, "contextWindowCompression"), "slidingWindow");
}

static void add_tools(cJSON *setup, const struct gemini_setup *s, uint32_t features)
{
	cJSON *tool;

	if (s->tool_count == 0)
		return;
	tool = cJSON_CreateObject();
	cJSON_AddItemToObject(
		tool, "functionDeclarations", tools_declare(s->tools, s->tool_count, (features & GEMINI_FEATURE_BEHAVIOR) != 0));
	cJSON_AddItemToArray(cJSON_AddArrayToObject(setup, "tools"), tool);
}

static char *print_and_delete(cJSON *tree)
{
	char *text = cJSON_PrintUnformatted(tree);

	cJSON_Delete(tree);
	return text;
}

char *gemini_build_setup(const struct gemini_setup *s)
{
	uint32_t features = gemini_model_features(s->model);
	cJSON *message = cJSON_CreateObject();
	cJSON *setup = cJSON_AddObjectToObject(message, "setup");
	char model[256];

	if (is_vertex(s->model) || strncmp(s->model, "models/", 7) == 0) {
		cJSON_AddStringToObject(setup, "model", s->model);
	} else {
		snprintf(model, sizeof(model), "models/%s", s->model);
		cJSON_AddStringToObject(setup, "model", model);
	}
	add_generation_config(setup, s, features);
	add_instructions(setup, s, features);
	add_siblings(setup, s, features);
	add_tools(setup, s, features);
	return print_and_delete(message);
}

size_t gemini_audio_size(size_t samples)
{
	return sizeof(AUDIO_HEAD) - 1 + VL_BASE64_ENCODED_SIZE(samples * sizeof(int16_t)) + sizeof(AUDIO_TAIL) - 1;
}

size_t gemini_build_audio(char *buffer, const int16_t *pcm, size_t samples, uint32_t rate)
{
	char *at = buffer;

	memcpy(at, AUDIO_HEAD, sizeof(AUDIO_HEAD) - 1);
	if (rate == 8000) {
		/* One digit shorter: close the gap. */
		memcpy(at + RATE_AT, "8000\",\"data\":\"", sizeof("8000\",\"data\":\"") - 1);
		at--;
	}
	at += sizeof(AUDIO_HEAD) - 1;
	at += vl_base64_encode(at, pcm, samples * sizeof(int16_t));
	memcpy(at, AUDIO_TAIL, sizeof(AUDIO_TAIL) - 1);
	at += sizeof(AUDIO_TAIL) - 1;
	return (size_t)(at - buffer);
}

char *gemini_build_text(const char *model, const char *text)
{
	cJSON *message = cJSON_CreateObject(), *content, *turns, *turn;

	if (gemini_model_features(model) & GEMINI_FEATURE_REALTIME_TEXT) {
		cJSON_AddStringToObject(cJSON_AddObjectToObject(message, "realtimeInput"), "text", text);
		return print_and_delete(message);
	}
	content = cJSON_AddObjectToObject(message, "clientContent");
	turns = cJSON_AddArrayToObject(content, "turns");
	turn = cJSON_CreateObject();
	cJSON_AddItemToArray(turns, turn);
	cJSON_AddStringToObject(turn, "role", "user");
	add_text_part(cJSON_AddArrayToObject(turn, "parts"), text);
	cJSON_AddBoolToObject(content, "turnComplete", true);
	return print_and_delete(message);
}

char *gemini_build_tool_response(const char *id, const char *name, const cJSON *response)
{
	cJSON *message = cJSON_CreateObject();
	cJSON *responses = cJSON_AddArrayToObject(cJSON_AddObjectToObject(message, "toolResponse"), "functionResponses");
	cJSON *one = cJSON_CreateObject();

	if (id != NULL)
		cJSON_AddStringToObject(one, "id", id);
	cJSON_AddStringToObject(one, "name", name);
	cJSON_AddItemToObject(one, "response", cJSON_Duplicate(response, true));
	cJSON_AddItemToArray(responses, one);
	return print_and_delete(message);
}

/* "50s", "0.240s" (a protobuf Duration in JSON) to ms; GEMINI_TIME_UNSAID when it is something else. "0s" means now. */
static uint32_t read_duration_ms(const cJSON *value)
{
	double seconds;
	char *end;

	if (!cJSON_IsString(value))
		return GEMINI_TIME_UNSAID;
	seconds = strtod(value->valuestring, &end);
	if (end == value->valuestring || strcmp(end, "s") != 0 || !(seconds >= 0.0) || seconds > 86400.0)
		return GEMINI_TIME_UNSAID;
	return (uint32_t)(seconds * 1000.0);
}

static const char *member_text(const cJSON *object, const char *name)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsString(value) ? value->valuestring : NULL;
}

static void read_transcript(struct gemini_message *m, const cJSON *content, const char *name, uint32_t bit, const char **text)
{
	/* An empty object occurs; it says nothing. */
	*text = member_text(cJSON_GetObjectItemCaseSensitive(content, name), "text");
	if (*text != NULL && **text != '\0')
		m->members |= bit;
}

static void read_server_content(struct gemini_message *m, const cJSON *content)
{
	const char *status;

	if (!cJSON_IsObject(content))
		return;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(content, "interrupted")))
		m->members |= GEMINI_INTERRUPTED;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(content, "generationComplete")))
		m->members |= GEMINI_GENERATION_COMPLETE;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(content, "turnComplete")))
		m->members |= GEMINI_TURN_COMPLETE;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(content, "waitingForInput")))
		m->members |= GEMINI_WAITING;
	status = member_text(content, "interactionStatus");
	m->in_progress = status != NULL && strcmp(status, "IN_PROGRESS") == 0;
	m->turn_reason = member_text(content, "turnCompleteReason");
	read_transcript(m, content, "inputTranscription", GEMINI_CALLER_TEXT, &m->caller_text);
	read_transcript(m, content, "outputTranscription", GEMINI_MODEL_TEXT, &m->model_text);
}

static void read_resumption(struct gemini_message *m, const cJSON *update)
{
	if (!cJSON_IsObject(update))
		return;
	m->members |= GEMINI_RESUMPTION;
	m->handle = member_text(update, "newHandle");
	m->resumable = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(update, "resumable"));
}

static void read_error(struct gemini_message *m, const cJSON *error)
{
	const cJSON *code = cJSON_GetObjectItemCaseSensitive(error, "code");

	if (!cJSON_IsObject(error))
		return;
	m->members |= GEMINI_ERROR;
	if (cJSON_IsNumber(code))
		m->error_code = code->valueint;
	m->error_message = member_text(error, "message");
	if (m->error_message == NULL)
		m->error_message = "";
}

static void read_voice_activity(struct gemini_message *m, const cJSON *activity)
{
	const char *type = member_text(activity, "voiceActivityType");

	if (type == NULL)
		return;
	if (strcmp(type, "ACTIVITY_START") == 0)
		m->members |= GEMINI_VOICE_START;
	else if (strcmp(type, "ACTIVITY_END") == 0)
		m->members |= GEMINI_VOICE_END;
}

static void read_tree(struct gemini_message *m)
{
	const cJSON *tree = m->tree, *value;

	if (cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(tree, "setupComplete")))
		m->members |= GEMINI_SETUP_COMPLETE;
	read_server_content(m, cJSON_GetObjectItemCaseSensitive(tree, "serverContent"));
	value = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(tree, "toolCall"), "functionCalls");
	if (cJSON_IsArray(value)) {
		m->members |= GEMINI_TOOL_CALL;
		m->tool_calls = value;
	}
	value = cJSON_GetObjectItemCaseSensitive(tree, "toolCallCancellation");
	if (cJSON_IsObject(value)) {
		m->members |= GEMINI_TOOL_CANCELLATION;
		m->tool_cancels = cJSON_GetObjectItemCaseSensitive(value, "ids");
	}
	value = cJSON_GetObjectItemCaseSensitive(tree, "goAway");
	if (cJSON_IsObject(value)) {
		m->members |= GEMINI_GO_AWAY;
		m->time_left_ms = read_duration_ms(cJSON_GetObjectItemCaseSensitive(value, "timeLeft"));
	}
	read_resumption(m, cJSON_GetObjectItemCaseSensitive(tree, "sessionResumptionUpdate"));
	value = cJSON_GetObjectItemCaseSensitive(tree, "usageMetadata");
	if (cJSON_IsObject(value)) {
		m->members |= GEMINI_USAGE;
		m->usage = value;
	}
	read_voice_activity(m, cJSON_GetObjectItemCaseSensitive(tree, "voiceActivity"));
	read_error(m, cJSON_GetObjectItemCaseSensitive(tree, "error"));
}

/* The message without what is between the quotes of its audio, so that the tree stays small. */
static int parse_rest(struct gemini_message *m, const struct gemini_scan *scan, const char *text, size_t len)
{
	const char *from = text;
	char *copy, *to;

	if (scan->data_count == 0) {
		m->tree = vl_json_parse(text, len, GEMINI_MESSAGE_MAX, NULL);
		return m->tree != NULL ? 0 : -EBADMSG;
	}
	copy = to = malloc(len);
	if (copy == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < scan->data_count; i++) {
		size_t keep = (size_t)(scan->data[i].start - from);

		memcpy(to, from, keep);
		to += keep;
		from = scan->data[i].start + scan->data[i].len;
	}
	memcpy(to, from, (size_t)(text + len - from));
	to += text + len - from;
	m->tree = vl_json_parse(copy, (size_t)(to - copy), GEMINI_MESSAGE_MAX, NULL);
	free(copy);
	return m->tree != NULL ? 0 : -EBADMSG;
}

/* JSON may write "/" as "\/"; no other escape is base64, the decoder refuses the rest. */
static size_t unescape(char *text, size_t len)
{
	char *to = memchr(text, '\\', len);
	const char *from = to, *end = text + len;

	if (to == NULL)
		return len;
	while (from < end) {
		if (*from == '\\' && from + 1 < end && from[1] == '/')
			from++;
		*to++ = *from++;
	}
	return (size_t)(to - text);
}

int gemini_message_read(struct gemini_message *m, char *text, size_t len)
{
	struct gemini_scan scan;
	int error;

	*m = (struct gemini_message){0};
	if (len > GEMINI_MESSAGE_MAX)
		return -EBADMSG;
	error = gemini_scan(&scan, text, len);
	if (error != 0)
		return error;
	if (scan.other) {
		error = parse_rest(m, &scan, text, len);
		if (error != 0)
			return error;
		read_tree(m);
	}
	m->skipped = scan.skipped;
	m->audio_count = scan.audio_count;
	for (uint32_t i = 0; i < scan.audio_count; i++)
		m->audio[i] = (struct gemini_audio){
			.base64 = scan.audio[i].start, .len = unescape(scan.audio[i].start, scan.audio[i].len)};
	if (m->audio_count > 0)
		m->members |= GEMINI_AUDIO;
	return 0;
}

void gemini_message_clear(struct gemini_message *m)
{
	cJSON_Delete(m->tree);
	*m = (struct gemini_message){0};
}
