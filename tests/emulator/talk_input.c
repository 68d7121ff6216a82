/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's messages in an emulated session: setup, audio and its utterances, texts, tool responses (see talk.h).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <speex/speex_resampler.h>

#include "decode64.h"
#include "talk_internal.h"

#define INVALID_ARGUMENT "Request contains an invalid argument."
#define REFUSE_RESUME_MS 500u
#define ECHO_LEAD	 (VAD_RATE * 3u / 10u) /* samples kept from before the detector fired */
#define ECHO_MAX	 (VAD_RATE * 60u)
#define RESAMPLE_QUALITY 5

static void refuse_error(struct talk *talk, const struct schema_error *error)
{
	talk_refuse(talk, error->code, error->reason);
}

/* -- setup ------------------------------------------------------------------------------------ */

static void resume(struct talk *talk, uint64_t now_ms)
{
	struct persona_counters *counters = &talk->persona->counters;
	switch (registry_resume(talk->registry, talk->setup.handle, talk->persona, talk->setup.model, now_ms,
		talk->rules->resume_lock_ms, talk->rules->refuse_resume, &talk->session)) {
	case REGISTRY_OK:
		counters->resumes++;
		talk->tool_pending = talk->session->tool_pending;
		talk->tool_number = talk->session->tool_id[0] != '\0';
		memcpy(talk->tool_id, talk->session->tool_id, sizeof(talk->tool_id));
		talk->setup_due = now_ms + talk->rules->resume_delay_ms;
		break;
	case REGISTRY_FOREIGN:
		counters->foreign_handles++;
		talk_refuse(talk, 1008, "BidiGenerateContent session not found");
		break;
	case REGISTRY_UNKNOWN:
		talk_refuse(talk, 1008, "BidiGenerateContent session not found");
		break;
	case REGISTRY_BUSY:
		talk->refuse_due = now_ms + REFUSE_RESUME_MS;
		break;
	}
}

static void take_setup(struct talk *talk, const cJSON *object, uint64_t now_ms)
{
	struct schema_error error;
	if (talk->set_up) {
		talk_refuse(talk, 1007, "setup must be the first message and only the first");
		return;
	}
	talk->set_up = true;
	if (talk->persona == NULL) {
		talk_refuse(talk, 1007,
			talk->no_key ? "API Key not found. Please pass a valid API key."
				     : "API key not valid. Please pass a valid API key.");
		return;
	}
	if (setup_read(talk->api, object, &talk->setup, &error) != 0) {
		refuse_error(talk, &error);
		return;
	}
	talk->persona->counters.setups++;
	vad_init(&talk->vad, talk->setup.prefix_padding_ms, talk->setup.silence_ms, talk->setup.low_start_sensitivity);
	if (talk->rules->speech_start_ms != 0)
		talk->vad.start_ms = talk->rules->speech_start_ms;
	if (talk->setup.handle[0] != '\0') {
		resume(talk, now_ms);
	} else {
		talk->session = registry_open(talk->registry, talk->persona, talk->setup.model);
		if (talk->session == NULL)
			talk_refuse(talk, 1011, "Resource exhausted. Please try again later.");
		talk->setup_due = now_ms + talk->rules->setup_delay_ms;
	}
	if (talk->rules->no_setup_complete)
		talk->setup_due = 0;
}

/* -- the caller's utterances ------------------------------------------------------------------ */

static uint64_t heard_ms(const struct talk *talk)
{
	return talk->session->audio_offset_ms + talk->heard_samples * 1000 / VAD_RATE;
}

static void start_utterance(struct talk *talk)
{
	talk->end_due = 0; /* speech goes on before its end was reported: one utterance */
	if (talk->activity_reported)
		return;
	talk->activity_reported = true;
	message_voice_activity(&talk->text, true, heard_ms(talk));
	talk_send(talk);
	talk_cancel_tool(talk);
	if (!talk->setup.no_interruption) {
		talk->answer_due = 0;
		talk_interrupt(talk);
	}
}

static void stop_utterance(struct talk *talk, uint64_t now_ms, uint64_t speech_ms)
{
	talk->utterance_ms = speech_ms;
	talk->end_offset_ms = heard_ms(talk);
	talk->end_due = now_ms + talk->rules->think_ms;
}

void talk_end_utterance(struct talk *talk, uint64_t now_ms)
{
	const struct persona *persona = talk->persona;
	char words[96];
	talk->end_due = 0;
	talk->activity_reported = false;
	message_voice_activity(&talk->text, false, talk->end_offset_ms);
	talk_send(talk);
	if (talk->setup.input_transcription) {
		const char *said = words;
		if (persona->transcript_count > 0)
			said = persona->transcripts[persona->counters.utterances % persona->transcript_count];
		else
			snprintf(words, sizeof(words), "caller said something for %.1f s", (double)talk->utterance_ms / 1000);
		message_input_transcription(&talk->text, said);
		talk_send(talk);
	}
	talk->persona->counters.utterances++;
	talk->answer_due = now_ms;
}

/* Echo mode keeps the utterance's audio, with a little from before the detector fired. */
static void keep_utterance(struct talk *talk, const int16_t *samples, size_t count)
{
	if (!talk->rules->echo || talk->utterance_count + count > ECHO_MAX)
		return;
	if (talk->utterance_count + count > talk->utterance_room) {
		size_t room = talk->utterance_room ? talk->utterance_room * 2 : 32768;
		while (room < talk->utterance_count + count)
			room *= 2;
		int16_t *grown = realloc(talk->utterance, room * sizeof(*grown));
		if (grown == NULL)
			return;
		talk->utterance = grown;
		talk->utterance_room = room;
	}
	memcpy(talk->utterance + talk->utterance_count, samples, count * sizeof(*samples));
	talk->utterance_count += count;
	if (!talk->activity_reported && talk->answer_due == 0 && talk->utterance_count > ECHO_LEAD) {
		memmove(talk->utterance, talk->utterance + talk->utterance_count - ECHO_LEAD, ECHO_LEAD * sizeof(*samples));
		talk->utterance_count = ECHO_LEAD;
	}
}

static void take_samples(struct talk *talk, const int16_t *samples, size_t count, uint64_t now_ms)
{
	talk->host.heard(talk->host.user, samples, count);
	talk->heard_samples += count;
	keep_utterance(talk, samples, count);
	while (count > 0 && !talk->setup.vad_disabled && !talk->rules->deaf) {
		size_t used;
		enum vad_event event = vad_feed(&talk->vad, samples, count, &used);
		samples += used;
		count -= used;
		if (event == VAD_EVENT_START)
			start_utterance(talk);
		else if (event == VAD_EVENT_END)
			stop_utterance(talk, now_ms, talk->vad.last_voiced_ms - talk->vad.start_at_ms);
	}
}

/* -- realtimeInput ---------------------------------------------------------------------------- */

/* "audio/pcm" or "audio/pcm;rate=N": the rate, or 0. */
static uint32_t parse_mime(const char *mime)
{
	unsigned rate;
	char rest;
	if (mime == NULL || strncasecmp(mime, "audio/pcm", 9) != 0)
		return 0;
	if (mime[9] == '\0')
		return VAD_RATE;
	if (sscanf(mime + 9, " ; rate = %u%c", &rate, &rest) != 1 || rate < 4000 || rate > 192000)
		return 0;
	return rate;
}

/* Samples at any declared rate to 16 kHz. */
static void resample(struct talk *talk, const int16_t *samples, size_t count, uint32_t rate, uint64_t now_ms)
{
	int16_t out[2048];
	int error;
	if (rate == VAD_RATE) {
		take_samples(talk, samples, count, now_ms);
		return;
	}
	if (talk->resampler == NULL)
		talk->resampler = speex_resampler_init(1, rate, VAD_RATE, RESAMPLE_QUALITY, &error);
	else if (talk->resampler_rate != rate)
		speex_resampler_set_rate(talk->resampler, rate, VAD_RATE);
	if (talk->resampler == NULL)
		return;
	talk->resampler_rate = rate;
	while (count > 0) {
		spx_uint32_t in = count > 1024 ? 1024 : (spx_uint32_t)count, got = sizeof(out) / sizeof(out[0]);
		speex_resampler_process_int(talk->resampler, 0, samples, &in, out, &got);
		if (in == 0 && got == 0)
			break;
		samples += in;
		count -= in;
		take_samples(talk, out, got, now_ms);
	}
}

static void take_audio(struct talk *talk, const cJSON *blob, uint64_t now_ms)
{
	const char *data = schema_text(blob, "data");
	uint32_t rate = parse_mime(schema_text(blob, "mime_type"));
	if (data == NULL || rate == 0) {
		talk_refuse(talk, 1007, INVALID_ARGUMENT);
		return;
	}
	size_t length = strlen(data), size = 0;
	int16_t *samples = malloc(DECODE64_ROOM(length));
	if (samples == NULL)
		return;
	if (!decode64(data, length, (uint8_t *)samples, &size) || size % 2 != 0) {
		talk_refuse(talk, 1007, INVALID_ARGUMENT);
	} else if (!talk->ready) {
		talk->persona->counters.audio_early_bytes += size;
		if (talk->rules->strict_order)
			talk_refuse(talk, 1007, INVALID_ARGUMENT);
	} else {
		talk->persona->counters.audio_bytes += size;
		talk->persona->counters.audio_ms += size / 2 * 1000 / rate;
		resample(talk, samples, size / 2, rate, now_ms);
	}
	free(samples);
}

static void take_activity(struct talk *talk, bool start, uint64_t now_ms)
{
	if (!talk->setup.vad_disabled) {
		talk_refuse(
			talk, 1007, "Explicit activity control is not supported when automatic activity detection is enabled.");
		return;
	}
	if (start) {
		talk->explicit_activity = true;
		talk->explicit_start_ms = heard_ms(talk);
		start_utterance(talk);
	} else if (talk->explicit_activity) {
		talk->explicit_activity = false;
		stop_utterance(talk, now_ms, heard_ms(talk) - talk->explicit_start_ms);
	}
}

static void take_stream_end(struct talk *talk, uint64_t now_ms)
{
	if (talk->setup.vad_disabled) {
		talk_refuse(talk, 1007, INVALID_ARGUMENT);
		return;
	}
	if (vad_flush(&talk->vad) == VAD_EVENT_END)
		stop_utterance(talk, now_ms, talk->vad.last_voiced_ms - talk->vad.start_at_ms);
}

static void note_text(struct talk *talk, const char *text)
{
	talk->persona->counters.texts++;
	snprintf(talk->persona->newest_text, sizeof(talk->persona->newest_text), "%s", text != NULL ? text : "");
}

static void take_text(struct talk *talk, const char *text, uint64_t now_ms)
{
	note_text(talk, text);
	talk_cancel_tool(talk);
	talk_interrupt(talk);
	talk->answer_due = now_ms + talk->rules->text_ms;
}

static void take_realtime_input(struct talk *talk, const cJSON *input, uint64_t now_ms)
{
	const cJSON *chunks = schema_get(input, "media_chunks"), *audio = schema_get(input, "audio"), *member;
	if (!cJSON_IsObject(input) || input->child == NULL) {
		talk_refuse(talk, 1008, "Operation is not implemented, or supported, or enabled.");
		return;
	}
	/* The documents disagree about text on Vertex AI; who wants to be sure sends clientContent. */
	if (talk->api == REQUEST_API_VERTEX && schema_get(input, "text") != NULL) {
		talk_refuse(talk, 1007, INVALID_ARGUMENT);
		return;
	}
	if (chunks != NULL && !talk->setup.model->media_chunks) {
		talk_refuse(talk, 1007, "realtime_input.media_chunks is deprecated. Use audio, video, or text instead.");
		return;
	}
	if (chunks != NULL)
		audio = cJSON_IsArray(chunks) ? chunks->child : chunks; /* only the first is used */
	if (audio != NULL)
		take_audio(talk, audio, now_ms);
	if (!talk->ready)
		return;
	if (!talk->closed && schema_get(input, "activity_start") != NULL)
		take_activity(talk, true, now_ms);
	if (!talk->closed && schema_get(input, "activity_end") != NULL)
		take_activity(talk, false, now_ms);
	member = schema_get(input, "audio_stream_end");
	if (!talk->closed && cJSON_IsTrue(member))
		take_stream_end(talk, now_ms);
	if (!talk->closed && schema_get(input, "text") != NULL)
		take_text(talk, schema_text(input, "text"), now_ms);
}

/* -- clientContent, toolResponse -------------------------------------------------------------- */

/* Seeded audio must be 16 kHz. */
static bool has_wrong_audio(const cJSON *content)
{
	const cJSON *turns = schema_get(content, "turns");
	for (const cJSON *turn = cJSON_IsArray(turns) ? turns->child : NULL; turn != NULL; turn = turn->next) {
		const cJSON *parts = schema_get(turn, "parts");
		for (const cJSON *part = cJSON_IsArray(parts) ? parts->child : NULL; part != NULL; part = part->next) {
			const char *mime = schema_text(part, "inline_data.mime_type");
			if (mime != NULL && strncasecmp(mime, "audio/", 6) == 0 && parse_mime(mime) != VAD_RATE)
				return true;
		}
	}
	return false;
}

/* The first words of the last of its turns, NULL without any. */
static const char *last_text(const cJSON *content)
{
	const cJSON *turns = schema_get(content, "turns");
	const cJSON *turn = cJSON_IsArray(turns) ? cJSON_GetArrayItem(turns, cJSON_GetArraySize(turns) - 1) : turns;
	const cJSON *parts = schema_get(turn, "parts");

	return schema_text(cJSON_IsArray(parts) ? parts->child : parts, "text");
}

/* The role of the last of its turns, "" without any. */
static const char *last_role(const cJSON *content)
{
	const cJSON *turns = schema_get(content, "turns"), *turn = cJSON_IsArray(turns) ? turns->child : turns;
	const char *role = "";
	for (; turn != NULL; turn = cJSON_IsArray(turns) ? turn->next : NULL)
		role = schema_text(turn, "role") != NULL ? schema_text(turn, "role") : "user";
	return role;
}

static void take_client_content(struct talk *talk, const cJSON *content, uint64_t now_ms)
{
	if (has_wrong_audio(content)) {
		talk_refuse(talk, 1008, "Operation is not implemented, or supported, or enabled.");
		return;
	}
	if (talk->setup.model->seed_only && (talk->session->turns > 0 || !talk->setup.history_seed)) {
		talk_refuse(talk, 1007, INVALID_ARGUMENT);
		return;
	}
	if (talk->setup.model->seed_user_last && strcmp(last_role(content), "model") == 0) {
		talk_refuse(talk, 1007, INVALID_ARGUMENT);
		return;
	}
	talk_interrupt(talk);
	if (!cJSON_IsTrue(schema_get(content, "turn_complete")))
		return;
	if (talk->setup.history_seed) {
		talk->setup.history_seed = false; /* the first such message is history, not a question */
		return;
	}
	note_text(talk, last_text(content));
	talk->answer_due = now_ms + talk->rules->text_ms;
}

static void take_tool_response(struct talk *talk, const cJSON *message, uint64_t now_ms)
{
	const cJSON *list = schema_get(message, "function_responses");
	const cJSON *response = cJSON_IsArray(list) ? list->child : list;
	for (; response != NULL; response = cJSON_IsArray(list) ? response->next : NULL) {
		if (schema_get(response, "scheduling") != NULL &&
			(!talk->setup.model->scheduling || talk->api == REQUEST_API_VERTEX)) {
			talk_refuse(talk, 1007, "Function response scheduling is not supported for this model");
			return;
		}
		if (talk->api != REQUEST_API_VERTEX && schema_get(response, "id") == NULL) {
			talk_refuse(talk, 1007, INVALID_ARGUMENT);
			return;
		}
		const char *id = schema_text(response, "id");
		if (talk->rules->strict_tool_ids && (id == NULL || strcmp(id, talk->tool_id) != 0)) {
			talk_refuse(talk, 1008, "Requested entity was not found.");
			return;
		}
		talk->persona->counters.tool_responses++;
	}
	if (!talk->tool_pending)
		return;
	talk->tool_pending = false;
	talk->answer_due = now_ms + talk->rules->text_ms;
}

void talk_message(struct talk *talk, const char *data, size_t size, uint64_t now_ms)
{
	struct schema_error error;
	const cJSON *member;
	if (talk->closed)
		return;
	if (talk->persona != NULL)
		talk->persona->counters.messages_in++;
	cJSON *root = schema_parse(talk->api, data, size, &error);
	if (root == NULL) {
		refuse_error(talk, &error);
		return;
	}
	if ((member = schema_get(root, "setup")) != NULL)
		take_setup(talk, member, now_ms);
	else if (!talk->set_up)
		talk_refuse(talk, 1007, "setup must be the first message and only the first");
	else if (talk->refuse_due != 0)
		; /* already refused, only not told yet */
	else if ((member = schema_get(root, "realtime_input")) != NULL)
		take_realtime_input(talk, member, now_ms);
	else if (!talk->ready)
		; /* nothing but audio may come before setupComplete; the service drops it */
	else if ((member = schema_get(root, "client_content")) != NULL)
		take_client_content(talk, member, now_ms);
	else if ((member = schema_get(root, "tool_response")) != NULL)
		take_tool_response(talk, member, now_ms);
	cJSON_Delete(root);
}
