/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server messages (see message.h).
 */
#include "message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_add(struct text *text, const char *data, size_t size)
{
	if (text->failed)
		return;
	if (text->size + size + 1 > text->room) {
		size_t room = text->room ? text->room : 1024;
		while (room < text->size + size + 1)
			room *= 2;
		char *grown = realloc(text->data, room);
		if (grown == NULL) {
			free(text->data);
			*text = (struct text){.failed = true};
			return;
		}
		text->data = grown;
		text->room = room;
	}
	memcpy(text->data + text->size, data, size);
	text->size += size;
	text->data[text->size] = '\0';
}

static void add(struct text *text, const char *string)
{
	text_add(text, string, strlen(string));
}

static void add_string(struct text *text, const char *string)
{
	add(text, "\"");
	for (const char *from = string; *from != '\0';) {
		size_t plain = 0;
		while (from[plain] != '\0' && from[plain] != '"' && from[plain] != '\\' && (unsigned char)from[plain] >= 0x20)
			plain++;
		text_add(text, from, plain);
		from += plain;
		if (*from == '\0')
			break;
		char escape[8];
		if (*from == '\n')
			snprintf(escape, sizeof(escape), "\\n");
		else if (*from == '"' || *from == '\\')
			snprintf(escape, sizeof(escape), "\\%c", *from);
		else
			snprintf(escape, sizeof(escape), "\\u%04x", (unsigned char)*from);
		add(text, escape);
		from++;
	}
	add(text, "\"");
}

static void add_line(struct text *text, unsigned depth)
{
	add(text, "\n");
	for (unsigned i = 0; i < depth; i++)
		add(text, "  ");
}

static void add_value(struct text *text, const cJSON *value, unsigned depth)
{
	char number[32];
	if (cJSON_IsObject(value) || cJSON_IsArray(value)) {
		bool object = cJSON_IsObject(value);
		add(text, object ? "{" : "[");
		for (const cJSON *member = value->child; member != NULL; member = member->next) {
			add_line(text, depth + 1);
			if (object) {
				add_string(text, member->string);
				add(text, ": ");
			}
			add_value(text, member, depth + 1);
			if (member->next != NULL)
				add(text, ",");
		}
		if (value->child != NULL)
			add_line(text, depth);
		add(text, object ? "}" : "]");
	} else if (cJSON_IsString(value)) {
		add_string(text, value->valuestring);
	} else if (cJSON_IsNumber(value)) {
		snprintf(number, sizeof(number), "%.15g", value->valuedouble);
		add(text, number);
	} else {
		add(text, cJSON_IsTrue(value) ? "true" : cJSON_IsFalse(value) ? "false" : "null");
	}
}

void text_add_json(struct text *text, const cJSON *value)
{
	add_value(text, value, 0);
	add(text, "\n");
}

/* Print a tree and free it. */
static void finish(struct text *text, cJSON *root)
{
	text->size = 0;
	text_add_json(text, root);
	cJSON_Delete(root);
}

void message_setup_complete(struct text *text, const char *session_id)
{
	cJSON *root = cJSON_CreateObject(), *inner = cJSON_AddObjectToObject(root, "setupComplete");
	if (session_id != NULL)
		cJSON_AddStringToObject(inner, "sessionId", session_id);
	finish(text, root);
}

void message_resumption_update(struct text *text, const char *handle)
{
	cJSON *root = cJSON_CreateObject(), *inner = cJSON_AddObjectToObject(root, "sessionResumptionUpdate");
	if (handle != NULL) {
		cJSON_AddStringToObject(inner, "newHandle", handle);
		cJSON_AddTrueToObject(inner, "resumable");
	}
	finish(text, root);
}

void message_voice_activity(struct text *text, bool start, uint64_t offset_ms)
{
	char offset[32];
	cJSON *root = cJSON_CreateObject(), *inner = cJSON_AddObjectToObject(root, "voiceActivity");
	snprintf(offset, sizeof(offset), "%" PRIu64 ".%03" PRIu64 "s", offset_ms / 1000, offset_ms % 1000);
	cJSON_AddStringToObject(inner, "voiceActivityType", start ? "ACTIVITY_START" : "ACTIVITY_END");
	cJSON_AddStringToObject(inner, "audioOffset", offset);
	finish(text, root);
}

static cJSON *server_content(cJSON *root)
{
	return cJSON_AddObjectToObject(root, "serverContent");
}

static void add_words(cJSON *content, const char *member, const char *words)
{
	cJSON_AddStringToObject(cJSON_AddObjectToObject(content, member), "text", words);
}

void message_input_transcription(struct text *text, const char *words)
{
	cJSON *root = cJSON_CreateObject();
	add_words(server_content(root), "inputTranscription", words);
	finish(text, root);
}

void message_output_transcription(struct text *text, const char *words)
{
	cJSON *root = cJSON_CreateObject();
	add_words(server_content(root), "outputTranscription", words);
	finish(text, root);
}

static void add_audio_part(struct text *text, const char *base64, size_t size, bool vertex)
{
	add(text, "        {\n          \"inlineData\": {\n            \"mimeType\": \"");
	add(text, vertex ? "audio/pcm" : "audio/pcm;rate=24000");
	add(text, "\",\n            \"data\": \"");
	text_add(text, base64, size);
	add(text, "\"\n          }\n        }");
}

/* Written without a tree: it is the only frequent and large message. */
void message_audio(struct text *text, const char *base64, size_t size, unsigned parts, const char *words, bool vertex)
{
	text->size = 0;
	add(text, "{\n  \"serverContent\": {\n    \"modelTurn\": {\n");
	if (vertex)
		add(text, "      \"role\": \"model\",\n");
	add(text, "      \"parts\": [\n");
	/* Cut at whole groups of four characters; the last part takes the rest. */
	size_t each = size / (parts > 0 ? parts : 1) / 4 * 4;
	while (parts > 1 && each > 0) {
		add_audio_part(text, base64, each, vertex);
		add(text, ",\n");
		base64 += each;
		size -= each;
		parts--;
	}
	add_audio_part(text, base64, size, vertex);
	add(text, "\n      ]\n    }");
	if (words != NULL) {
		add(text, ",\n    \"outputTranscription\": {\n      \"text\": ");
		add_string(text, words);
		add(text, "\n    }");
	}
	add(text, "\n  }\n}\n");
}

void message_text(struct text *text, const char *words, bool vertex)
{
	cJSON *root = cJSON_CreateObject(), *turn = cJSON_AddObjectToObject(server_content(root), "modelTurn");
	if (vertex)
		cJSON_AddStringToObject(turn, "role", "model");
	cJSON *part = cJSON_CreateObject();
	cJSON_AddItemToArray(cJSON_AddArrayToObject(turn, "parts"), part);
	cJSON_AddStringToObject(part, "text", words);
	finish(text, root);
}

void message_flag(struct text *text, const char *member)
{
	cJSON *root = cJSON_CreateObject();
	cJSON_AddTrueToObject(server_content(root), member);
	finish(text, root);
}

static void add_details(cJSON *usage, const char *member, uint32_t tokens)
{
	cJSON *detail = cJSON_CreateObject();
	cJSON_AddItemToArray(cJSON_AddArrayToObject(usage, member), detail);
	cJSON_AddStringToObject(detail, "modality", "AUDIO");
	cJSON_AddNumberToObject(detail, "tokenCount", tokens);
}

void message_turn_complete(struct text *text, const struct message_usage *usage, bool vertex)
{
	cJSON *root = cJSON_CreateObject();
	cJSON_AddTrueToObject(server_content(root), "turnComplete");
	cJSON *counts = cJSON_AddObjectToObject(root, "usageMetadata");
	cJSON_AddNumberToObject(counts, "promptTokenCount", usage->prompt);
	cJSON_AddNumberToObject(counts, vertex ? "candidatesTokenCount" : "responseTokenCount", usage->response);
	cJSON_AddNumberToObject(counts, "totalTokenCount", usage->prompt + usage->response);
	add_details(counts, "promptTokensDetails", usage->prompt);
	add_details(counts, vertex ? "candidatesTokensDetails" : "responseTokensDetails", usage->response);
	finish(text, root);
}

void message_tool_call(struct text *text, const char *name, const char *args, const char *id)
{
	cJSON *root = cJSON_CreateObject(), *call = cJSON_CreateObject(), *given = args != NULL ? cJSON_Parse(args) : NULL;
	cJSON_AddItemToArray(cJSON_AddArrayToObject(cJSON_AddObjectToObject(root, "toolCall"), "functionCalls"), call);
	cJSON_AddStringToObject(call, "name", name);
	if (given != NULL)
		cJSON_AddItemToObject(call, "args", given);
	else
		cJSON_AddStringToObject(cJSON_AddObjectToObject(call, "args"), "why", "done");
	if (id != NULL)
		cJSON_AddStringToObject(call, "id", id);
	finish(text, root);
}

void message_tool_cancellation(struct text *text, const char *id)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *ids = cJSON_AddArrayToObject(cJSON_AddObjectToObject(root, "toolCallCancellation"), "ids");
	cJSON_AddItemToArray(ids, cJSON_CreateString(id));
	finish(text, root);
}

void message_go_away(struct text *text, uint32_t left_ms)
{
	char left[32];
	cJSON *root = cJSON_CreateObject();
	if (left_ms % 1000 == 0)
		snprintf(left, sizeof(left), "%us", left_ms / 1000);
	else
		snprintf(left, sizeof(left), "%u.%03us", left_ms / 1000, left_ms % 1000);
	cJSON_AddStringToObject(cJSON_AddObjectToObject(root, "goAway"), "timeLeft", left);
	finish(text, root);
}

void message_error(struct text *text, unsigned code, const char *reason)
{
	cJSON *root = cJSON_CreateObject(), *error = cJSON_AddObjectToObject(root, "error");
	cJSON_AddNumberToObject(error, "code", code);
	cJSON_AddStringToObject(error, "message", reason);
	cJSON_AddStringToObject(error, "status",
		code == 429   ? "RESOURCE_EXHAUSTED"
		: code == 503 ? "UNAVAILABLE"
		: code >= 500 ? "INTERNAL"
			      : "INVALID_ARGUMENT");
	finish(text, root);
}

void message_empty(struct text *text, bool with_content)
{
	cJSON *root = cJSON_CreateObject();
	if (with_content)
		server_content(root);
	finish(text, root);
}
