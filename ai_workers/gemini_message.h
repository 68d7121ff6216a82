/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gemini Live messages (BidiGenerateContent) as text: builds what the worker sends and reads what the service sends. Pure: no
 * socket, no clock, no audio. The audio path never builds a tree: its base64 is found in place in the receive buffer, and
 * everything else goes through cJSON.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cJSON;
struct tool;

#define GEMINI_MESSAGE_MAX     (4u << 20) /* bytes of one server message; the biggest seen in the field is 39 kB */
#define GEMINI_AUDIO_PARTS_MAX 64u	  /* audio parts of one server message */
#define GEMINI_MODEL_RATE      24000u	  /* Hz of the model's audio */
#define GEMINI_TIME_UNSAID     UINT32_MAX /* a goAway that does not say how long */
#define GEMINI_HANDLE_MAX      2048u	  /* bytes of a resumption handle */

/*
 * What a model accepts besides what every Live model does (model, response modality, system instruction, audio and its end, tool responses); the service closes
 * with 1007 on a field that a model does not know. Every other field that is sent has its bit here.
 */
#define GEMINI_FEATURE_LANGUAGE	      0x001u /* speechConfig.languageCode; without it the language is asked for in the instructions */
#define GEMINI_FEATURE_VAD	      0x002u /* realtimeInputConfig.automaticActivityDetection */
#define GEMINI_FEATURE_RESUME	      0x004u /* sessionResumption */
#define GEMINI_FEATURE_COMPRESSION    0x008u /* contextWindowCompression */
#define GEMINI_FEATURE_THINKING	      0x010u /* thinkingConfig.thinkingLevel, which is then required */
#define GEMINI_FEATURE_REALTIME_TEXT  0x020u /* text input is realtimeInput.text, clientContent only seeds history */
#define GEMINI_FEATURE_BEHAVIOR	      0x040u /* functionDeclarations[].behavior; Vertex AI does not have it */
#define GEMINI_FEATURE_HISTORY	      0x080u /* seeding is declared in the setup (historyConfig) */
#define GEMINI_FEATURE_USER_LAST      0x100u /* a seed ends with a turn of the user */
#define GEMINI_FEATURE_VOICE	      0x200u /* speechConfig.voiceConfig, and AUDIO as the modality; without it TEXT */
#define GEMINI_FEATURE_OWN_TRANSCRIPT 0x400u /* outputAudioTranscription */

/* What a call asks of its session. Strings are borrowed for the call of gemini_build_setup(); NULL leaves the field out. */
struct gemini_setup {
	const char *model;	  /* with or without "models/", or Vertex AI's whole "projects/.../models/..." */
	const char *voice;	  /* prebuilt voice, case-sensitive */
	const char *language;	  /* BCP-47 */
	const char *instructions; /* system instruction */
	const char *handle;	  /* resumption handle of the session to continue */
	const struct tool *tools; /* functions it may call */
	size_t tool_count;
	uint16_t prefix_padding_ms;
	uint16_t silence_duration_ms;
	bool seeded; /* history follows (history.h) */
};

/* Members of a server message, independent of each other: one message may carry several. */
#define GEMINI_SETUP_COMPLETE	   0x0001u
#define GEMINI_INTERRUPTED	   0x0002u
#define GEMINI_AUDIO		   0x0004u
#define GEMINI_CALLER_TEXT	   0x0008u
#define GEMINI_MODEL_TEXT	   0x0010u
#define GEMINI_GENERATION_COMPLETE 0x0020u
#define GEMINI_TURN_COMPLETE	   0x0040u
#define GEMINI_TOOL_CALL	   0x0080u
#define GEMINI_TOOL_CANCELLATION   0x0100u
#define GEMINI_GO_AWAY		   0x0200u
#define GEMINI_RESUMPTION	   0x0400u
#define GEMINI_USAGE		   0x0800u
#define GEMINI_ERROR		   0x1000u
#define GEMINI_VOICE_START	   0x2000u
#define GEMINI_VOICE_END	   0x4000u
#define GEMINI_WAITING		   0x8000u /* waitingForInput: the model stays silent on purpose */

/* One audio part: base64 text inside the receive buffer, escapes already removed. */
struct gemini_audio {
	const char *base64;
	size_t len;
};

/* One server message. Everything points into the receive buffer or into `tree`. */
struct gemini_message {
	uint32_t members; /* GEMINI_* */
	uint32_t audio_count;
	struct gemini_audio audio[GEMINI_AUDIO_PARTS_MAX];
	const char *caller_text, *model_text; /* transcript fragments, never NULL when their bit is set */
	const char *turn_reason;	      /* turnCompleteReason or NULL */
	const char *handle;		      /* newHandle or NULL */
	bool resumable;
	bool in_progress;		  /* with turnComplete: it was not the last of this answer (extended thinking) */
	uint32_t time_left_ms;		  /* goAway; GEMINI_TIME_UNSAID */
	const struct cJSON *tool_calls;	  /* the functionCalls array */
	const struct cJSON *tool_cancels; /* the ids array, or NULL */
	const struct cJSON *usage;	  /* usageMetadata */
	const char *error_message;	  /* in-band error, or "" */
	int error_code;			  /* in-band error, or 0 */
	uint32_t skipped;		  /* parts with audio that is not ours to play: thoughts, other formats, too many */
	struct cJSON *tree;
};

/*
 * What `model` accepts (GEMINI_FEATURE_*): a table by name prefix and service, which is Vertex AI for a name that begins with "projects/"; for unknown names what
 * every family of today accepts. Any.
 */
uint32_t gemini_model_features(const char *model);

/* The setup message. Any. Returns its text, to be freed by the caller, or NULL when memory is short. */
char *gemini_build_setup(const struct gemini_setup *setup);

/* Bytes that gemini_build_audio() writes for `samples` samples. Any. */
size_t gemini_audio_size(size_t samples);

/*
 * Write one realtimeInput.audio message with `samples` samples of 16-bit PCM at `rate` Hz (8000 or 16000); `buffer` has
 * gemini_audio_size(samples) bytes, no terminator is written. Worker loop. Returns the length.
 */
size_t gemini_build_audio(char *buffer, const int16_t *pcm, size_t samples, uint32_t rate);

/* {"realtimeInput":{"audioStreamEnd":true}}: the caller's audio pauses (hold). */
extern const char gemini_audio_stream_end[];

/*
 * Something for the model to answer to, as text: a user's turn, or realtime text for models that start a turn by nothing else.
 * Any. Returns its text, to be freed by the caller, or NULL when memory is short.
 */
char *gemini_build_text(const char *model, const char *text);

/*
 * A toolResponse for one call; `response` is a JSON object, borrowed. Any. Returns its text, to be freed by the caller, or NULL
 * when memory is short.
 */
char *gemini_build_tool_response(const char *id, const char *name, const struct cJSON *response);

/*
 * Read one whole server message of `len` bytes; `text` is changed in place (escapes in base64) and must stay as long as `message`
 * is used. Worker loop. Returns 0, also for messages without any known member ({} occurs), or -EBADMSG (not JSON, nested too
 * deep, not an object) or -ENOMEM, with nothing in `message`. Call gemini_message_clear() after a success.
 */
int gemini_message_read(struct gemini_message *message, char *text, size_t len);

/* Free what the message owns. Worker loop. */
void gemini_message_clear(struct gemini_message *message);
