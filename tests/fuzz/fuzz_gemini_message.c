/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: server messages of Gemini Live. The audio found in place is exactly what a JSON tree has at
 * serverContent.modelTurn.parts[].inlineData of parts that are not thoughts, it lies inside the message, and taking it to the
 * caller's queue never reaches beyond it.
 */
#include <string.h>

#include <cjson/cJSON.h>

#include "ai_workers/downlink.h"
#include "ai_workers/gemini_message.h"
#include "fuzz.h"
#include "shared/json.h"

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, name) : NULL;
}

/* The audio of a part by the tree, or NULL. */
static const char *tree_audio(const cJSON *part)
{
	const cJSON *thought = member(part, "thought"), *inline_data = member(part, "inlineData");
	const char *mime = cJSON_GetStringValue(member(inline_data, "mimeType"));

	if (thought != NULL && !cJSON_IsFalse(thought) && !cJSON_IsObject(thought) && !cJSON_IsArray(thought))
		return NULL;
	if (mime == NULL || (strcmp(mime, "audio/pcm") != 0 && strcmp(mime, "audio/pcm;rate=24000") != 0))
		return NULL;
	return cJSON_GetStringValue(member(inline_data, "data"));
}

/* Names and values written with escapes other than "\/" are not searched for; the service writes none. */
static bool has_escapes(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + 1 < size; i++)
		if (data[i] == '\\' && data[i + 1] != '/')
			return true;
	return false;
}

static void compare(const struct gemini_message *message, const cJSON *tree)
{
	const cJSON *parts = member(member(member(tree, "serverContent"), "modelTurn"), "parts"), *part;
	uint32_t found = 0;

	if (!cJSON_IsArray(parts))
		parts = NULL;
	cJSON_ArrayForEach(part, parts)
	{
		const char *audio = tree_audio(part);

		if (audio == NULL || found == GEMINI_AUDIO_PARTS_MAX)
			continue;
		fuzz_check(found < message->audio_count);
		fuzz_check(strlen(audio) == message->audio[found].len);
		fuzz_check(memcmp(audio, message->audio[found].base64, message->audio[found].len) == 0);
		found++;
	}
	fuzz_check(found == message->audio_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vl_worker_stats stats;
	struct gemini_message message;
	struct downlink downlink;
	char *text = malloc(size != 0 ? size : 1);
	cJSON *tree = vl_json_parse((const char *)data, size, GEMINI_MESSAGE_MAX, NULL);

	memcpy(text, data, size);
	if (gemini_message_read(&message, text, size) != 0)
		goto out;
	if (tree != NULL && !has_escapes(data, size))
		compare(&message, tree);
	fuzz_check(downlink_init(&downlink, VL_G711_PCMA) == 0);
	for (uint32_t i = 0; i < message.audio_count; i++) {
		fuzz_check(message.audio[i].base64 >= text && message.audio[i].base64 + message.audio[i].len <= text + size);
		downlink_audio(&downlink, message.audio[i].base64, message.audio[i].len, 1000, &stats);
	}
	downlink_generation_complete(&downlink);
	fuzz_check(downlink.queue.len % DOWNLINK_FRAME == 0);
	downlink_free(&downlink);
	gemini_message_clear(&message);
out:
	cJSON_Delete(tree);
	free(text);
	return 0;
}
