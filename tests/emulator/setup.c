/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of the setup message that its schema cannot express (see setup.h). The texts are the ones reported from the live service.
 */
#include "setup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define INVALID_ARGUMENT   "Request contains an invalid argument."
#define DEFAULT_SILENCE_MS 800

static const struct setup_model models[] = {
	{.name = "gemini-3.8-live", .non_blocking = true, .scheduling = true, .transcribes = true, .vertex = true},
	{.name = "gemini-3.8-live-extended-thinking",
		.level_required = true,
		.level_allowed = true,
		.non_blocking = true,
		.transcribes = true},
	{.name = "gemini-3.1-flash-live-preview", .level_allowed = true, .seed_only = true, .transcribes = true},
	{.name = "gemini-3.5-live-translate-preview", .transcribes = true},
	{.name = "gemini-3.5-transcribe-live", .text_output = true, .transcribes = true},
	{.name = "gemini-2.5-flash-native-audio-preview-12-2025",
		.budget_allowed = true,
		.non_blocking = true,
		.scheduling = true,
		.media_chunks = true,
		.seed_user_last = true},
	{.name = "gemini-2.5-flash-native-audio-preview-09-2025",
		.budget_allowed = true,
		.non_blocking = true,
		.scheduling = true,
		.media_chunks = true,
		.seed_user_last = true},
	{.name = "gemini-2.5-flash-native-audio-latest",
		.budget_allowed = true,
		.non_blocking = true,
		.scheduling = true,
		.media_chunks = true,
		.seed_user_last = true},
	{.name = "gemini-live-2.5-flash",
		.budget_allowed = true,
		.media_chunks = true,
		.language_allowed = true,
		.vertex = true,
		.vertex_only = true,
		.seed_user_last = true},
	{.name = "gemini-live-2.5-flash-native-audio",
		.vertex = true,
		.vertex_only = true,
		.budget_allowed = true,
		.non_blocking = true,
		.scheduling = true,
		.media_chunks = true,
		.seed_user_last = true},
};

static const char *const voices[] = {"Zephyr", "Puck", "Charon", "Kore", "Fenrir", "Leda", "Orus", "Aoede", "Callirrhoe",
	"Autonoe", "Enceladus", "Iapetus", "Umbriel", "Algieba", "Despina", "Erinome", "Algenib", "Rasalgethi", "Laomedeia",
	"Achernar", "Alnilam", "Schedar", "Gacrux", "Pulcherrima", "Achird", "Zubenelgenubi", "Vindemiatrix", "Sadachbia",
	"Sadaltager", "Sulafat"};

static int read_model(enum request_api api, const cJSON *object, struct setup *setup, struct schema_error *error)
{
	const char *name = schema_text(object, "model"), *id = NULL;
	if (name == NULL || name[0] == '\0')
		return schema_refuse(error, 1007, INVALID_ARGUMENT);
	bool vertex = api == REQUEST_API_VERTEX;
	if (vertex) {
		const char *publisher = strstr(name, "publishers/google/models/");
		id = publisher != NULL && (publisher == name || strncmp(name, "projects/", 9) == 0) ? strrchr(name, '/') + 1
												    : NULL;
	} else if (strncmp(name, "models/", 7) == 0) {
		id = name + 7;
	}
	for (size_t i = 0; id != NULL && i < sizeof(models) / sizeof(models[0]); i++) {
		if (strcmp(models[i].name, id) == 0 && (vertex ? models[i].vertex : !models[i].vertex_only)) {
			setup->model = &models[i];
			return 0;
		}
	}
	if (vertex)
		return schema_refuse(
			error, 1008, "Publisher Model `%.200s` was not found or your project does not have access to it.", name);
	return schema_refuse(error, 1008,
		"%.80s is not found for API version %s, or is not supported for bidiGenerateContent. Call "
		"ModelService.ListModels to see the list of "
		"available models and their supported methods.",
		name, request_api_name(api));
}

/* Exactly one modality, and the one the model speaks. */
static int check_modality(const struct setup *setup, const cJSON *config, struct schema_error *error)
{
	const cJSON *value = schema_get(config, "response_modalities");
	const cJSON *only = cJSON_IsArray(value) ? value->child : value;
	if (only == NULL)
		return 0;
	if (cJSON_IsArray(value) && only->next != NULL)
		return schema_refuse(error, 1007, INVALID_ARGUMENT);
	const char *wanted = setup->model->text_output ? "TEXT" : "AUDIO";
	if (strcasecmp(only->valuestring, wanted) == 0)
		return 0;
	return schema_refuse(error, 1007, "The requested combination of response modalities (%s) is not supported by the model.",
		only->valuestring);
}

static int check_voice(const cJSON *config, struct schema_error *error)
{
	const char *voice = schema_text(config, "speech_config.voice_config.prebuilt_voice_config.voice_name");
	if (voice == NULL)
		return 0;
	for (size_t i = 0; i < sizeof(voices) / sizeof(voices[0]); i++) {
		if (strcmp(voices[i], voice) == 0)
			return 0;
	}
	return schema_refuse(error, 1007, "No matching speaker voice found for name: %.60s", voice);
}

/* Native audio models choose the language themselves. */
static int check_language(const struct setup_model *model, const cJSON *config, struct schema_error *error)
{
	if (model->language_allowed || schema_path(config, "speech_config.language_code") == NULL)
		return 0;
	return schema_refuse(error, 1007, INVALID_ARGUMENT);
}

static int check_thinking(const struct setup_model *model, const cJSON *config, struct schema_error *error)
{
	const cJSON *level = schema_path(config, "thinking_config.thinking_level"),
		    *budget = schema_path(config, "thinking_config.thinking_budget");
	if (model->level_required && level == NULL)
		return schema_refuse(error, 1007, "Thinking level must be specified for this model");
	if ((level != NULL && !model->level_allowed) || (budget != NULL && !model->budget_allowed))
		return schema_refuse(error, 1007, INVALID_ARGUMENT);
	return 0;
}

static bool is_function_name(const char *name)
{
	size_t size = strlen(name);
	return size >= 1 && size <= 64 &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == size;
}

static int check_declarations(const struct setup_model *model, const cJSON *list, struct schema_error *error)
{
	const cJSON *declaration = cJSON_IsArray(list) ? list->child : list;
	for (; declaration != NULL; declaration = cJSON_IsArray(list) ? declaration->next : NULL) {
		const char *name = schema_text(declaration, "name"), *behavior = schema_text(declaration, "behavior");
		if (name == NULL || !is_function_name(name))
			return schema_refuse(error, 1007, INVALID_ARGUMENT);
		if (behavior != NULL && strcasecmp(behavior, "NON_BLOCKING") == 0 && !model->non_blocking)
			return schema_refuse(error, 1007, INVALID_ARGUMENT);
	}
	return 0;
}

static int read_tools(const cJSON *object, struct setup *setup, struct schema_error *error)
{
	const cJSON *tools = schema_get(object, "tools");
	const cJSON *tool = cJSON_IsArray(tools) ? tools->child : tools;
	for (; tool != NULL; tool = cJSON_IsArray(tools) ? tool->next : NULL) {
		const cJSON *declarations = schema_get(tool, "function_declarations");
		int result = check_declarations(setup->model, declarations, error);
		if (result)
			return result;
		setup->tools |= declarations != NULL;
	}
	return 0;
}

static int read_realtime_input(const cJSON *object, struct setup *setup, struct schema_error *error)
{
	const cJSON *config = schema_get(object, "realtime_input_config");
	const char *handling = schema_text(config, "activity_handling");
	const char *sensitivity = schema_text(config, "automatic_activity_detection.start_of_speech_sensitivity");
	setup->vad_disabled = cJSON_IsTrue(schema_path(config, "automatic_activity_detection.disabled"));
	setup->prefix_padding_ms = (int)schema_integer(config, "automatic_activity_detection.prefix_padding_ms", -1);
	setup->silence_ms = (int)schema_integer(config, "automatic_activity_detection.silence_duration_ms", DEFAULT_SILENCE_MS);
	setup->no_interruption = handling != NULL && strcasecmp(handling, "NO_INTERRUPTION") == 0;
	setup->low_start_sensitivity = sensitivity != NULL && strcasecmp(sensitivity, "START_SENSITIVITY_LOW") == 0;
	if (setup->prefix_padding_ms < -1 || setup->silence_ms < 0)
		return schema_refuse(error, 1007, INVALID_ARGUMENT);
	return 0;
}

/* A system instruction is text only. */
static int check_instruction(const cJSON *object, struct schema_error *error)
{
	const cJSON *parts = schema_path(object, "system_instruction.parts");
	const cJSON *part = cJSON_IsArray(parts) ? parts->child : parts;
	for (; part != NULL; part = cJSON_IsArray(parts) ? part->next : NULL) {
		if (schema_get(part, "text") == NULL)
			return schema_refuse(error, 1007, INVALID_ARGUMENT);
	}
	return 0;
}

int setup_read(enum request_api api, const cJSON *object, struct setup *setup, struct schema_error *error)
{
	const cJSON *config = schema_get(object, "generation_config");
	memset(setup, 0, sizeof(*setup));
	int result = read_model(api, object, setup, error);
	if (result == 0)
		result = check_modality(setup, config, error);
	if (result == 0)
		result = check_voice(config, error);
	if (result == 0)
		result = check_language(setup->model, config, error);
	if (result == 0)
		result = check_thinking(setup->model, config, error);
	if (result == 0)
		result = check_instruction(object, error);
	if (result == 0)
		result = read_tools(object, setup, error);
	if (result == 0)
		result = read_realtime_input(object, setup, error);
	if (result)
		return result;
	/* Affective dialogue belongs to the 2.5 models; 3.8 refuses to have its proactive audio switched off. */
	if (schema_get(config, "enable_affective_dialog") != NULL && !setup->model->budget_allowed)
		return schema_refuse(error, 1007, INVALID_ARGUMENT);
	if (cJSON_IsFalse(schema_path(object, "proactivity.proactive_audio")) && !setup->model->budget_allowed)
		return schema_refuse(error, 1007, INVALID_ARGUMENT);
	if (api == REQUEST_API_VERTEX && schema_get(object, "history_config") != NULL)
		return schema_refuse(error, 1007, INVALID_ARGUMENT);
	const char *handle = schema_text(object, "session_resumption.handle");
	if (handle != NULL)
		snprintf(setup->handle, sizeof(setup->handle), "%s", handle);
	setup->resumption = schema_get(object, "session_resumption") != NULL;
	setup->input_transcription = schema_get(object, "input_audio_transcription") != NULL || setup->model->transcribes;
	setup->output_transcription = schema_get(object, "output_audio_transcription") != NULL;
	setup->history_seed = cJSON_IsTrue(schema_path(object, "history_config.initial_history_in_client_content"));
	return 0;
}
