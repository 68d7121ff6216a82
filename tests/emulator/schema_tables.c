/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client messages of BidiGenerateContent as tables, after the public proto and the official SDK's types. Names that only one
 * product or version knows carry a flag; everything not listed is an unknown name.
 */
#include "schema.h"

#define MESSAGE(name_, flags_, message_)                                                     \
	{                                                                                    \
		.name = name_, .type = SCHEMA_MESSAGE, .flags = flags_, .message = &message_ \
	}
#define MAP(name_, message_)                                            \
	{                                                               \
		.name = name_, .type = SCHEMA_MAP, .message = &message_ \
	}
#define SCALAR(name_, type_, flags_)                                   \
	{                                                              \
		.name = name_, .type = SCHEMA_##type_, .flags = flags_ \
	}
#define ENUM(name_, flags_, values_, typename_)                                                                \
	{                                                                                                      \
		.name = name_, .type = SCHEMA_ENUM, .flags = flags_, .values = values_, .enum_name = typename_ \
	}
#define END                  \
	{                    \
		.name = NULL \
	}
#define DEFINE(symbol_, name_, ...)                                               \
	static const struct schema_field symbol_##_fields[] = {__VA_ARGS__, END}; \
	static const struct schema_message symbol_ = {.name = name_, .fields = symbol_##_fields}

static const struct schema_field no_fields[] = {END};

static const char *const modalities[] = {"MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO", NULL};
static const char *const resolutions[] = {
	"MEDIA_RESOLUTION_UNSPECIFIED", "MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH", NULL};
static const char *const thinking_levels[] = {"THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", NULL};
static const char *const start_sensitivities[] = {
	"START_SENSITIVITY_UNSPECIFIED", "START_SENSITIVITY_HIGH", "START_SENSITIVITY_LOW", NULL};
static const char *const end_sensitivities[] = {
	"END_SENSITIVITY_UNSPECIFIED", "END_SENSITIVITY_HIGH", "END_SENSITIVITY_LOW", NULL};
static const char *const handlings[] = {"ACTIVITY_HANDLING_UNSPECIFIED", "START_OF_ACTIVITY_INTERRUPTS", "NO_INTERRUPTION", NULL};
static const char *const coverages[] = {"TURN_COVERAGE_UNSPECIFIED", "TURN_INCLUDES_ONLY_ACTIVITY", "TURN_INCLUDES_ALL_INPUT",
	"TURN_INCLUDES_AUDIO_ACTIVITY_AND_ALL_VIDEO", NULL};
static const char *const transcription_modes[] = {"VERBATIM", "SMART", NULL};
static const char *const behaviors[] = {"UNSPECIFIED", "BLOCKING", "NON_BLOCKING", NULL};
static const char *const schedulings[] = {"SCHEDULING_UNSPECIFIED", "SILENT", "WHEN_IDLE", "INTERRUPT", NULL};
static const char *const schema_types[] = {
	"TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL", NULL};
static const char *const languages[] = {"LANGUAGE_UNSPECIFIED", "PYTHON", NULL};
static const char *const outcomes[] = {"OUTCOME_UNSPECIFIED", "OUTCOME_OK", "OUTCOME_FAILED", "OUTCOME_DEADLINE_EXCEEDED", NULL};

static const struct schema_message empty = {.name = "Empty", .fields = no_fields};

DEFINE(blob, "Blob", SCALAR("mime_type", STRING, 0), SCALAR("data", BYTES, 0), SCALAR("display_name", STRING, SCHEMA_VERTEX));
DEFINE(file_data, "FileData", SCALAR("mime_type", STRING, 0), SCALAR("file_uri", STRING, 0));

/* parameters of a function: the OpenAPI subset, recursive. */
extern const struct schema_message schema_openapi;
static const struct schema_field openapi_fields[] = {
	ENUM("type", 0, schema_types, "Type"),
	SCALAR("format", STRING, 0),
	SCALAR("title", STRING, 0),
	SCALAR("description", STRING, 0),
	SCALAR("nullable", BOOL, 0),
	SCALAR("enum", STRING, SCHEMA_REPEATED),
	MESSAGE("items", 0, schema_openapi),
	SCALAR("max_items", INT64, 0),
	SCALAR("min_items", INT64, 0),
	MAP("properties", schema_openapi),
	SCALAR("required", STRING, SCHEMA_REPEATED),
	SCALAR("min_properties", INT64, 0),
	SCALAR("max_properties", INT64, 0),
	SCALAR("minimum", FLOAT, 0),
	SCALAR("maximum", FLOAT, 0),
	SCALAR("min_length", INT64, 0),
	SCALAR("max_length", INT64, 0),
	SCALAR("pattern", STRING, 0),
	SCALAR("example", VALUE, 0),
	SCALAR("default", VALUE, 0),
	MESSAGE("any_of", SCHEMA_REPEATED, schema_openapi),
	SCALAR("property_ordering", STRING, SCHEMA_REPEATED),
	END,
};
const struct schema_message schema_openapi = {.name = "Schema", .fields = openapi_fields};

DEFINE(function_declaration, "FunctionDeclaration", SCALAR("name", STRING, 0), SCALAR("description", STRING, 0),
	MESSAGE("parameters", 0, schema_openapi), SCALAR("parameters_json_schema", VALUE, 0),
	MESSAGE("response", 0, schema_openapi), SCALAR("response_json_schema", VALUE, 0),
	ENUM("behavior", 0, behaviors, "FunctionDeclaration.Behavior"));
DEFINE(interval, "Interval", SCALAR("start_time", STRING, 0), SCALAR("end_time", STRING, 0));
DEFINE(google_search, "Tool.GoogleSearch", MESSAGE("time_range_filter", 0, interval));
DEFINE(tool, "Tool", MESSAGE("function_declarations", SCHEMA_REPEATED, function_declaration),
	MESSAGE("google_search", 0, google_search), MESSAGE("google_search_retrieval", 0, empty),
	MESSAGE("code_execution", 0, empty), MESSAGE("url_context", 0, empty));

DEFINE(function_call, "FunctionCall", SCALAR("id", STRING, 0), SCALAR("name", STRING, 0), SCALAR("args", STRUCT, 0));
DEFINE(function_response_part, "FunctionResponsePart", MESSAGE("inline_data", 0, blob));
DEFINE(function_response, "FunctionResponse", SCALAR("id", STRING, 0), SCALAR("name", STRING, 0), SCALAR("response", STRUCT, 0),
	MESSAGE("parts", SCHEMA_REPEATED, function_response_part), SCALAR("will_continue", BOOL, 0),
	ENUM("scheduling", 0, schedulings, "FunctionResponse.Scheduling"));
DEFINE(executable_code, "ExecutableCode", ENUM("language", 0, languages, "ExecutableCode.Language"), SCALAR("code", STRING, 0));
DEFINE(execution_result, "CodeExecutionResult", ENUM("outcome", 0, outcomes, "CodeExecutionResult.Outcome"),
	SCALAR("output", STRING, 0));

static const struct schema_field part_fields[] = {
	SCALAR("text", STRING, SCHEMA_ONEOF),
	MESSAGE("inline_data", SCHEMA_ONEOF, blob),
	MESSAGE("file_data", SCHEMA_ONEOF, file_data),
	MESSAGE("function_call", SCHEMA_ONEOF, function_call),
	MESSAGE("function_response", SCHEMA_ONEOF, function_response),
	MESSAGE("executable_code", SCHEMA_ONEOF, executable_code),
	MESSAGE("code_execution_result", SCHEMA_ONEOF, execution_result),
	SCALAR("thought", BOOL, 0),
	SCALAR("thought_signature", BYTES, 0),
	END,
};
static const struct schema_message part = {.name = "Part", .oneof = "data", .fields = part_fields};
DEFINE(content, "Content", MESSAGE("parts", SCHEMA_REPEATED, part), SCALAR("role", STRING, 0));

DEFINE(prebuilt_voice, "PrebuiltVoiceConfig", SCALAR("voice_name", STRING, 0));
DEFINE(voice_config, "VoiceConfig", MESSAGE("prebuilt_voice_config", 0, prebuilt_voice));
DEFINE(speech_config, "SpeechConfig", MESSAGE("voice_config", 0, voice_config), SCALAR("language_code", STRING, 0),
	SCALAR("multi_speaker_voice_config", STRUCT, SCHEMA_UNSUPPORTED));
DEFINE(thinking_config, "ThinkingConfig", SCALAR("include_thoughts", BOOL, 0), SCALAR("thinking_budget", INT32, 0),
	ENUM("thinking_level", 0, thinking_levels, "ThinkingConfig.ThinkingLevel"));
DEFINE(translation_config, "TranslationConfig", SCALAR("target_language_code", STRING, 0),
	SCALAR("echo_target_language", BOOL, 0));
DEFINE(generation_config, "GenerationConfig", SCALAR("candidate_count", INT32, 0), SCALAR("max_output_tokens", INT32, 0),
	SCALAR("temperature", FLOAT, 0), SCALAR("top_p", FLOAT, 0), SCALAR("top_k", INT32, 0), SCALAR("seed", INT32, 0),
	SCALAR("presence_penalty", FLOAT, 0), SCALAR("frequency_penalty", FLOAT, 0),
	ENUM("response_modalities", SCHEMA_REPEATED, modalities, "GenerationConfig.Modality"),
	MESSAGE("speech_config", 0, speech_config), MESSAGE("thinking_config", 0, thinking_config),
	ENUM("media_resolution", 0, resolutions, "GenerationConfig.MediaResolution"),
	SCALAR("enable_affective_dialog", BOOL, SCHEMA_ALPHA), MESSAGE("translation_config", 0, translation_config),
	SCALAR("response_logprobs", BOOL, SCHEMA_UNSUPPORTED), SCALAR("logprobs", INT32, SCHEMA_UNSUPPORTED),
	SCALAR("response_mime_type", STRING, SCHEMA_UNSUPPORTED), SCALAR("response_schema", STRUCT, SCHEMA_UNSUPPORTED),
	SCALAR("response_json_schema", VALUE, SCHEMA_UNSUPPORTED), SCALAR("routing_config", STRUCT, SCHEMA_UNSUPPORTED),
	SCALAR("audio_timestamp", BOOL, SCHEMA_UNSUPPORTED),
	SCALAR("stop_sequences", STRING, SCHEMA_UNSUPPORTED | SCHEMA_REPEATED));

DEFINE(activity_detection, "AutomaticActivityDetection", SCALAR("disabled", BOOL, 0),
	ENUM("start_of_speech_sensitivity", 0, start_sensitivities, "AutomaticActivityDetection.StartSensitivity"),
	ENUM("end_of_speech_sensitivity", 0, end_sensitivities, "AutomaticActivityDetection.EndSensitivity"),
	SCALAR("prefix_padding_ms", INT32, 0), SCALAR("silence_duration_ms", INT32, 0));
DEFINE(realtime_input_config, "RealtimeInputConfig", MESSAGE("automatic_activity_detection", 0, activity_detection),
	ENUM("activity_handling", 0, handlings, "RealtimeInputConfig.ActivityHandling"),
	ENUM("turn_coverage", 0, coverages, "RealtimeInputConfig.TurnCoverage"));
DEFINE(session_resumption, "SessionResumptionConfig", SCALAR("handle", STRING, 0), SCALAR("transparent", BOOL, SCHEMA_VERTEX));
DEFINE(sliding_window, "SlidingWindow", SCALAR("target_tokens", INT64, 0));
DEFINE(compression, "ContextWindowCompressionConfig", MESSAGE("sliding_window", 0, sliding_window),
	SCALAR("trigger_tokens", INT64, 0));
DEFINE(transcription, "AudioTranscriptionConfig", SCALAR("language_codes", STRING, SCHEMA_REPEATED),
	SCALAR("custom_vocabulary", STRING, SCHEMA_REPEATED),
	ENUM("mode", 0, transcription_modes, "AudioTranscriptionConfig.Mode"));
DEFINE(history_config, "HistoryConfig", SCALAR("initial_history_in_client_content", BOOL, 0));
DEFINE(proactivity, "ProactivityConfig", SCALAR("proactive_audio", BOOL, 0));

/*
 * safetySettings, toolConfig, labels and avatarConfig exist in the SDK's types; the Developer API refuses the first two and
 * nobody has seen it take the others.
 */
DEFINE(setup, "BidiGenerateContentSetup", SCALAR("model", STRING, 0), MESSAGE("generation_config", 0, generation_config),
	MESSAGE("system_instruction", 0, content), MESSAGE("tools", SCHEMA_REPEATED, tool),
	MESSAGE("realtime_input_config", 0, realtime_input_config), MESSAGE("session_resumption", 0, session_resumption),
	MESSAGE("context_window_compression", 0, compression), MESSAGE("input_audio_transcription", 0, transcription),
	MESSAGE("output_audio_transcription", 0, transcription), MESSAGE("history_config", 0, history_config),
	MESSAGE("proactivity", SCHEMA_ALPHA, proactivity), SCALAR("explicit_vad_signal", BOOL, SCHEMA_VERTEX));

DEFINE(client_content, "BidiGenerateContentClientContent", MESSAGE("turns", SCHEMA_REPEATED, content),
	SCALAR("turn_complete", BOOL, 0));
DEFINE(realtime_input, "BidiGenerateContentRealtimeInput", MESSAGE("media_chunks", SCHEMA_REPEATED, blob),
	MESSAGE("audio", 0, blob), MESSAGE("video", 0, blob), SCALAR("audio_stream_end", BOOL, 0), SCALAR("text", STRING, 0),
	MESSAGE("activity_start", 0, empty), MESSAGE("activity_end", 0, empty));
DEFINE(tool_response, "BidiGenerateContentToolResponse", MESSAGE("function_responses", SCHEMA_REPEATED, function_response));
DEFINE(tool_list, "ToolList", MESSAGE("tools", SCHEMA_REPEATED, tool));
DEFINE(context_update, "BidiGenerateContentContextUpdate", MESSAGE("system_instruction", 0, content),
	MESSAGE("tools", 0, tool_list));

static const struct schema_field client_message_fields[] = {
	MESSAGE("setup", SCHEMA_ONEOF, setup),
	MESSAGE("client_content", SCHEMA_ONEOF, client_content),
	MESSAGE("realtime_input", SCHEMA_ONEOF, realtime_input),
	MESSAGE("tool_response", SCHEMA_ONEOF, tool_response),
	MESSAGE("context_update", SCHEMA_ONEOF | SCHEMA_VERTEX, context_update),
	END,
};
const struct schema_message schema_client_message = {
	.name = "BidiGenerateContentClientMessage", .oneof = "message_type", .fields = client_message_fields};
