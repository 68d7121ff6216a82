/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model's side of an emulated session: setup, turns, interruption, the clock (see talk.h). What comes from the client is in
 * talk_input.c.
 */
#include "talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/base64.h>
#include <speex/speex_resampler.h>

#include "talk_internal.h"

#define TOKENS_PER_SECOND 25u
#define PROMPT_TOKENS	  480u /* about what an instruction costs */

void talk_init(struct talk *talk, const struct talk_rules *rules, const struct talk_host *host, struct persona *persona,
	struct registry *registry, enum request_api api)
{
	memset(talk, 0, sizeof(*talk));
	talk->rules = rules;
	talk->host = *host;
	talk->persona = persona;
	talk->registry = registry;
	talk->api = api;
}

void talk_clear(struct talk *talk, uint64_t now_ms)
{
	if (talk->session != NULL) {
		talk->session->audio_offset_ms += talk->heard_samples * 1000 / VAD_RATE;
		talk->session->tool_pending = talk->tool_pending;
		memcpy(talk->session->tool_id, talk->tool_id, sizeof(talk->tool_id));
		registry_close(talk->session, talk_is_idle(talk), now_ms);
	}
	if (talk->resampler != NULL)
		speex_resampler_destroy(talk->resampler);
	voice_answer_free(&talk->echo);
	free(talk->utterance);
	free(talk->text.data);
	memset(talk, 0, sizeof(*talk));
	talk->closed = true;
}

bool talk_is_idle(const struct talk *talk)
{
	return talk->turn == TALK_TURN_NONE && !talk->activity_reported && talk->answer_due == 0;
}

void talk_refuse(struct talk *talk, int code, const char *reason)
{
	if (talk->closed)
		return;
	talk->closed = true;
	if (talk->persona != NULL)
		talk->persona->counters.refusals++;
	if (talk->persona != NULL && code == 1007)
		talk->persona->counters.invalid_messages++;
	talk->host.refuse(talk->host.user, code, reason);
}

void talk_send(struct talk *talk)
{
	if (talk->closed || talk->text.failed)
		return;
	talk->persona->counters.messages_out++;
	talk->host.send(talk->host.user, &talk->text);
}

static bool is_vertex(const struct talk *talk)
{
	return talk->api == REQUEST_API_VERTEX;
}

static void send_noise(struct talk *talk, bool with_content)
{
	if (talk->rules->no_noise)
		return;
	message_empty(&talk->text, with_content);
	talk_send(talk);
}

static void complete_turn(struct talk *talk)
{
	size_t samples = talk->answer ? talk->burst.sent / 2 : 0;
	struct message_usage usage = {
		.prompt = PROMPT_TOKENS + (uint32_t)(talk->heard_samples * TOKENS_PER_SECOND / VAD_RATE),
		.response = (uint32_t)(samples * TOKENS_PER_SECOND / VOICE_RATE),
	};
	talk->turn = TALK_TURN_NONE;
	talk->interrupt_due = 0;
	talk->answer = NULL;
	talk->session->turns++;
	talk->persona->counters.turns++;
	message_turn_complete(&talk->text, &usage, is_vertex(talk));
	talk_send(talk);
}

void talk_cancel_tool(struct talk *talk)
{
	if (!talk->tool_pending || !talk->rules->tool_cancel)
		return;
	talk->tool_pending = false;
	message_tool_cancellation(&talk->text, talk->tool_id);
	talk_send(talk);
}

void talk_interrupt(struct talk *talk)
{
	if (talk->turn == TALK_TURN_NONE)
		return;
	talk->persona->counters.interruptions++;
	message_flag(&talk->text, "interrupted");
	talk_send(talk);
	complete_turn(talk);
}

/* The next fragment of the answer's text, in proportion to the audio sent. NULL when there is none. */
static const char *next_words(struct talk *talk, char *to, size_t room)
{
	if (!talk->setup.output_transcription || talk->words_left == 0)
		return NULL;
	size_t take = talk->words_left;
	if (!burst_done(&talk->burst)) {
		double done = (double)talk->burst.sent / (double)talk->burst.total;
		size_t total = strlen(talk->words) + talk->words_left * 0, until = (size_t)(done * (double)total);
		size_t from = total - talk->words_left;
		while (until < total && talk->words[until] != ' ')
			until++;
		if (until <= from)
			return NULL;
		take = until - from;
	}
	if (take >= room)
		take = room - 1;
	memcpy(to, talk->words + strlen(talk->words) - talk->words_left, take);
	to[take] = '\0';
	talk->words_left -= take;
	return to;
}

static void send_audio(struct talk *talk, size_t from, size_t size)
{
	char words[256];
	const char *fragment = next_words(talk, words, sizeof(words));
	if (fragment != NULL && talk->rules->separate_transcript) {
		message_output_transcription(&talk->text, fragment);
		talk_send(talk);
		fragment = NULL;
	}
	talk->persona->counters.audio_bytes_sent += size;
	if (from % 3 == 0 && (size % 3 == 0 || from + size == talk->burst.total)) {
		message_audio(&talk->text, talk->answer->base64 + from / 3 * 4, (size + 2) / 3 * 4, talk->rules->parts, fragment,
			is_vertex(talk));
	} else {
		size_t room = (size + 2) / 3 * 4 + 1, length = 0;
		char *base64 = malloc(room);
		if (base64 == NULL)
			return;
		if (mbedtls_base64_encode(
			    (uint8_t *)base64, room, &length, (const uint8_t *)talk->answer->samples + from, size) == 0)
			message_audio(&talk->text, base64, length, talk->rules->parts, fragment, is_vertex(talk));
		free(base64);
	}
	talk_send(talk);
}

static void start_tool_turn(struct talk *talk)
{
	static const char id_prefix[] = "call_";
	char id[32] = "";
	memcpy(id, id_prefix, sizeof(id_prefix));
	uint32_t number;
	talk->host.random(talk->host.user, &number, sizeof(number));
	for (unsigned i = 0; i < 6; i++, number /= 10)
		id[sizeof(id_prefix) - 1 + i] = (char)('0' + number % 10);
	talk->tool_pending = true;
	snprintf(talk->tool_id, sizeof(talk->tool_id), "%s", id);
	talk->tool_number++;
	talk->persona->counters.tool_calls++;
	message_tool_call(&talk->text, talk->rules->tool_name, talk->rules->tool_args, talk->rules->tool_without_id ? NULL : id);
	talk_send(talk);
	message_flag(&talk->text, "generationComplete");
	talk_send(talk);
	complete_turn(talk);
}

static void choose_answer(struct talk *talk)
{
	const struct persona *persona = talk->persona;
	unsigned turn = talk->session->turns;
	talk->answer = &persona->answers[turn % persona->answer_count];
	if (talk->rules->echo && talk->utterance_count > 0) {
		voice_answer_free(&talk->echo);
		if (voice_from_pcm(talk->utterance, talk->utterance_count, VAD_RATE, &talk->echo) == 0)
			talk->answer = &talk->echo;
	}
	talk->utterance_count = 0;
	talk->words = persona->answer_text_count > 0 ? persona->answer_texts[turn % persona->answer_text_count]
						     : "This is the answer for your key.";
	talk->words_left = strlen(talk->words);
}

static void start_answer(struct talk *talk, uint64_t now_ms)
{
	uint32_t seed;
	talk->answer_due = 0;
	if (talk->rules->mute)
		return;
	if (talk->rules->tool_name != NULL && talk->tool_number == 0) {
		start_tool_turn(talk);
		return;
	}
	choose_answer(talk);
	if (talk->rules->empty_turns) {
		talk->answer = NULL;
		talk->utterance_count = 0;
		complete_turn(talk);
		return;
	}
	if (talk->setup.model->text_output) {
		message_text(&talk->text, talk->words, is_vertex(talk));
		talk_send(talk);
		talk->burst = (struct burst){0};
		message_flag(&talk->text, "generationComplete");
		talk_send(talk);
		complete_turn(talk);
		return;
	}
	talk->host.random(talk->host.user, &seed, sizeof(seed));
	burst_start(&talk->burst, &talk->rules->burst, talk->answer->count * 2, seed, now_ms);
	talk->turn = TALK_TURN_GENERATING;
	talk->turn_end = now_ms + talk->burst.total / BURST_BYTES_PER_MS;
	talk->interrupt_due = talk->rules->interrupt_every_ms > 0 ? now_ms + talk->rules->interrupt_every_ms : 0;
}

static void generate(struct talk *talk, uint64_t now_ms)
{
	size_t size;
	while (talk->turn == TALK_TURN_GENERATING && !talk->closed && (size = burst_next(&talk->burst, now_ms)) > 0) {
		bool begin = talk->burst.sent == size;
		send_audio(talk, talk->burst.sent - size, size);
		if (begin)
			send_noise(talk, true);
	}
	if (talk->turn != TALK_TURN_GENERATING || !burst_done(&talk->burst))
		return;
	send_noise(talk, false);
	message_flag(&talk->text, "generationComplete");
	talk_send(talk);
	talk->turn = TALK_TURN_PLAYING;
	/* A generation slower than real time also plays later. */
	if (talk->turn_end < now_ms)
		talk->turn_end = now_ms;
}

static void send_update(struct talk *talk)
{
	uint8_t bytes[16];
	talk->update_due = 0;
	talk->host.random(talk->host.user, bytes, sizeof(bytes));
	const char *handle = registry_handle(talk->registry, talk->session, bytes);
	message_resumption_update(&talk->text, handle);
	talk_send(talk);
}

static void finish_setup(struct talk *talk, uint64_t now_ms)
{
	talk->setup_due = 0;
	talk->ready = true;
	message_setup_complete(&talk->text, is_vertex(talk) ? "7d6e2a4c-0b1f-4f4e-9c53-5a1f0c9b7e21" : NULL);
	talk_send(talk);
	if (!talk->setup.resumption)
		return;
	talk->update_due = now_ms + (talk->setup.handle[0] != '\0' ? 0 : talk->rules->update_delay_ms);
}

static void tick_noise(struct talk *talk, uint64_t now_ms)
{
	if (talk->rules->noise_ms == 0 || !talk->ready || now_ms < talk->noise_due)
		return;
	talk->noise_due = now_ms + talk->rules->noise_ms;
	talk->noise_with_content = !talk->noise_with_content;
	message_empty(&talk->text, talk->noise_with_content);
	talk_send(talk);
}

void talk_tick(struct talk *talk, uint64_t now_ms)
{
	if (talk->closed)
		return;
	if (talk->refuse_due != 0 && now_ms >= talk->refuse_due) {
		talk_refuse(talk, 1011, "Internal error encountered.");
		return;
	}
	if (talk->setup_due != 0 && now_ms >= talk->setup_due)
		finish_setup(talk, now_ms);
	if (talk->update_due != 0 && now_ms >= talk->update_due)
		send_update(talk);
	tick_noise(talk, now_ms);
	if (talk->end_due != 0 && now_ms >= talk->end_due)
		talk_end_utterance(talk, now_ms);
	if (talk->answer_due != 0 && now_ms >= talk->answer_due && talk->turn == TALK_TURN_NONE && !talk->tool_pending)
		start_answer(talk, now_ms);
	if (talk->turn == TALK_TURN_GENERATING)
		generate(talk, now_ms);
	if (talk->interrupt_due != 0 && now_ms >= talk->interrupt_due && talk->turn != TALK_TURN_NONE)
		talk_interrupt(talk);
	if (talk->turn == TALK_TURN_PLAYING && now_ms >= talk->turn_end)
		complete_turn(talk);
}
