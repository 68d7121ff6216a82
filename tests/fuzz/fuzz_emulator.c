/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the emulator's side of a session. An even first byte: the rest is a client's byte stream, framed and cut as it likes; an odd one: the rest are
 * client messages, one a line, with 50 ms between them. Whatever comes, the session either answers with JSON or refuses once with a reason, and is silent
 * after that.
 */
#include "tests/emulator/talk.h"

#include <string.h>

#include "fuzz.h"
#include "tests/emulator/frame.h"

static bool refused;

static void host_send(void *user, const struct text *text)
{
	cJSON *root = cJSON_Parse(text->data);

	(void)user;
	fuzz_check(root != NULL && !refused && text->data[text->size - 1] == '\n');
	cJSON_Delete(root);
}

static void host_refuse(void *user, int code, const char *reason)
{
	(void)user;
	fuzz_check(!refused && (code == 1007 || code == 1008 || code == 1011) && reason[0] != '\0');
	fuzz_check(frame_reason_size(reason) <= FRAME_REASON_MAX);
	refused = true;
}

static void host_heard(void *user, const int16_t *samples, size_t count)
{
	uint32_t *sum = user;

	for (size_t i = 0; i < count; i++)
		*sum += (uint32_t)samples[i];
}

static void host_random(void *user, void *bytes, size_t size)
{
	(void)user;
	memset(bytes, 1, size);
}

static void converse(struct talk *talk, const uint8_t *data, size_t size)
{
	uint64_t now_ms = 1000;

	for (size_t at = 0; at < size && now_ms < 4000; now_ms += 50) {
		const uint8_t *end = memchr(data + at, '\n', size - at);
		size_t length = end ? (size_t)(end - data) - at : size - at;
		/* A copy of its own, so that a read beyond the message is seen; the parser wants the NUL. */
		char *message = calloc(1, length + 1);

		fuzz_check(message != NULL);
		memcpy(message, data + at, length);
		talk_message(talk, message, length, now_ms);
		free(message);
		talk_tick(talk, now_ms);
		at += length + 1;
	}
	for (uint64_t end_ms = now_ms + 2000; now_ms < end_ms; now_ms += 50)
		talk_tick(talk, now_ms);
	talk_clear(talk, now_ms);
}

/* The same bytes in one piece and byte by byte give the same events. */
static void frames(const uint8_t *data, size_t size)
{
	struct frame_reader whole = {0}, bytes = {0};
	size_t at = 0;
	enum frame_event event;

	do {
		const uint8_t *input = data;
		event = frame_reader_feed(&whole, &input, &size);
		enum frame_event other = FRAME_EVENT_NONE;
		size_t used = (size_t)(input - data);
		for (at = 0; at < used && other == FRAME_EVENT_NONE; at++) {
			const uint8_t *one = data + at;
			size_t left = 1;
			other = frame_reader_feed(&bytes, &one, &left);
		}
		fuzz_check(other == event && at == used);
		if (event == FRAME_EVENT_MESSAGE)
			fuzz_check(whole.size == bytes.size && memcmp(whole.data, bytes.data, whole.size) == 0 &&
				   whole.data[whole.size] == '\0');
		data = input;
	} while (event != FRAME_EVENT_NONE && event != FRAME_EVENT_ERROR);
	frame_reader_clear(&whole);
	frame_reader_clear(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct persona persona = {.label = "fuzz"};
	static const struct talk_rules rules = {.update_delay_ms = 100, .think_ms = 50, .text_ms = 50, .echo = true};
	uint32_t sum = 0;
	const struct talk_host host = {&sum, host_send, host_refuse, host_heard, host_random};

	if (persona.answer_count == 0) {
		fuzz_check(voice_tone("fuzz", 200, &persona.answers[0]) == 0);
		persona.answer_count = 1;
	}
	if (size == 0)
		return 0;
	if (data[0] % 2 == 0) {
		frames(data + 1, size - 1);
		return 0;
	}
	struct registry *registry = registry_create();
	struct talk talk;

	fuzz_check(registry != NULL);
	refused = false;
	talk_init(&talk, &rules, &host, &persona, registry, (enum request_api)(REQUEST_API_V1 + data[0] / 2 % 4));
	converse(&talk, data + 1, size - 1);
	registry_free(registry);
	return 0;
}
