/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service and the socket of call_world.h. What it sends is text as the real one's, what it is sent is read for what it needs to know:
 * the handle, whose voice, which function was answered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ai_workers/call_tools.h"
#include "ai_workers/endpoint.h"
#include "call_world.h"
#include "shared/base64.h"
#include "shared/g711.h"

#define TIMED_OUT_MS 8000u /* of data that nobody acknowledges, as set by wss_io.c */
#define BYTES_PER_MS 48u   /* 24 kHz */

struct call_world *world_now;

static const struct {
	uint16_t code;
	const char *reason;
} closes[] = {{1011, "Internal error encountered."}, {1011, "The service is currently unavailable."}, {1006, ""}, {1000, ""},
	{1008, "The operation was aborted."}, {1007, "Invalid session handle"}, {1008, "BidiGenerateContent session not found"},
	{1007, "Request contains an invalid argument."}};

static bool happens(struct call_world *w, enum call_fault fault, uint32_t of_256)
{
	return world_has(w, fault) && world_draw(w, 256) < of_256;
}

static uint64_t some_time(struct call_world *w, enum call_fault fault)
{
	return world_has(w, fault) ? w->now_ms + 300 + world_draw(w, world_draw(w, 4) == 0 ? 1500 : 15000) : NEVER;
}

static bool is_due(uint64_t *at_ms, uint64_t now_ms)
{
	if (now_ms < *at_ms)
		return false;
	*at_ms = NEVER;
	return true;
}

/* Socket. */

size_t wss_headroom(void)
{
	return 16;
}

/* A question that went into a connection of which nothing was heard until it was given up must be said to the next one. */
static void note_unheard(struct call_world *w)
{
	const struct session *s = &w->call->session;
	const struct world_said *last = NULL;

	w->again = 0;
	if (w->link < LINK_READY || !w->dead || s->state == SESSION_CLOSED || !s->asked || w->now_ms <= s->asked_ms + 6000)
		return;
	/* The end of the question, some time behind the connection's. */
	for (uint32_t i = 1; i <= WORLD_SAID && last == NULL; i++) {
		const struct world_said *said = &w->said[(w->said_next + WORLD_SAID - i) % WORLD_SAID];

		if (said->print != 0 && said->connection == w->connections && said->ms <= s->asked_ms)
			last = said;
	}
	if (last == NULL || last->heard || last->ms <= w->dead_ms + 1500)
		return;
	w->again = last->print;
	w->again_ms = NEVER;
	world_trace(w, "to be said again");
}

static void link_is_gone(struct call_world *w)
{
	note_unheard(w);
	/* A Close has been sent: the service holds on to the session for some time behind the end of the connection. */
	if (w->link == LINK_CLOSING && w->locked_ms == NEVER)
		w->locked_ms = w->now_ms + 1000 + world_draw(w, 600);
	w->link = LINK_NONE;
	w->dead = w->frozen = w->deaf = w->write_wanted = w->hears = false;
	w->next_ms = w->pong_ms = w->life_ms = w->reset_ms = w->quota_ms = w->error_ms = w->half_open_ms = w->freeze_ms =
		w->go_away_ms = NEVER;
	w->phantom_ms = w->noise_ms = w->handle_ms = w->late_audio_ms = w->over_ms = w->answer_ms = w->hears_ms = NEVER;
	w->answer = (struct world_answer){.next_ms = NEVER, .heard_ms = NEVER};
}

static void lose(struct call_world *w, uint16_t code, int http_status, const char *reason)
{
	world_trace(w, "lost: %u, HTTP %d, %s", code, http_status, reason);
	if (w->link >= LINK_READY && w->link != LINK_CLOSING) {
		w->locked = w->conversation;
		w->locked_ms = w->now_ms + 200 + world_draw(w, 600);
	}
	link_is_gone(w);
	call_wss_handler.lost(w->call, code, http_status, false, reason);
}

/* Of some connections TCP says that they are half open, the others are mute for ever. */
static void time_out(struct call_world *w)
{
	world_trace(w, "lost: timed out");
	w->locked = w->conversation;
	w->locked_ms = w->now_ms + 200;
	link_is_gone(w);
	call_wss_handler.lost(w->call, 1006, 0, true, "");
}

static void check_alive(struct call_world *w, const struct wss_connection *connection)
{
	if (connection == NULL)
		world_find(w, "a connection is used that is not there");
	else if (w->link == LINK_NONE || (uintptr_t)connection != w->connections)
		world_find(w, "a connection is used that is gone");
}

struct wss_connection *wss_dial(struct wss *wss, const struct wss_config *to, const char *credential, void *owner)
{
	struct call_world *w = world_now;

	(void)wss, (void)to;
	if (owner != w->call && w->call != NULL)
		world_find(w, "a dial for another call");
	if (strcmp(credential, w->user.api_key) != 0)
		world_find(w, "a dial with another key");
	if (w->link != LINK_NONE || w->now_ms < w->gone_ms)
		world_find(w, "a second socket before the first is gone");
	w->dials++;
	w->link = LINK_DIALLING;
	w->connections++;
	w->phase = 0;
	w->reading = true;
	w->next_ms = happens(w, FAULT_HANG, 64) ? NEVER : w->now_ms + 5 + world_draw(w, 40);
	world_trace(w, "dial %u", w->connections);
	return (struct wss_connection *)(uintptr_t)w->connections;
}

bool wss_is_connected(const struct wss_connection *connection)
{
	check_alive(world_now, connection);
	return world_now->phase > 0;
}

void wss_release(struct wss_connection *connection, bool graceful)
{
	struct call_world *w = world_now;

	if (connection == NULL)
		return;
	check_alive(w, connection);
	world_trace(w, "released%s", graceful ? " with a Close" : "");
	if (w->link == LINK_READY) {
		w->locked = w->conversation;
		w->locked_ms = w->now_ms + 200 + world_draw(w, 1200);
	}
	link_is_gone(w);
	w->gone_ms = w->now_ms + world_draw(w, SESSION_ABORT_MS + 1);
}

void wss_close(struct wss_connection *connection)
{
	struct call_world *w = world_now;

	check_alive(w, connection);
	w->locked = w->conversation;
	w->locked_ms = w->answer.speaks ? 0 : NEVER;
	w->link = LINK_CLOSING;
	w->next_ms = (w->dead && !w->deaf) || happens(w, FAULT_NO_ECHO, 128)
			     ? NEVER
			     : w->now_ms + 20 + world_draw(w, world_draw(w, 4) ? 80 : 2500);
	world_trace(w, "close");
}

void wss_want_write(struct wss_connection *connection)
{
	check_alive(world_now, connection);
	world_now->write_wanted = true;
}

bool wss_is_clear(const struct wss_connection *connection)
{
	struct call_world *w = world_now;

	check_alive(w, connection);
	return w->now_ms >= w->full_ms;
}

void wss_ping(struct wss_connection *connection)
{
	struct call_world *w = world_now;

	check_alive(w, connection);
	w->pong_ms = w->now_ms + (world_has(w, FAULT_LATE_PONG) ? 30000 : 40);
}

uint32_t wss_unacknowledged_ms(const struct wss_connection *connection)
{
	struct call_world *w = world_now;

	check_alive(w, connection);
	return w->dead && !w->frozen && w->connections % 3 != 0 ? (uint32_t)(w->now_ms - w->dead_ms) : 0;
}

void wss_read(struct wss_connection *connection, bool wanted)
{
	check_alive(world_now, connection);
	world_now->reading = wanted;
}

static void on_setup(struct call_world *w, const char *text, size_t len)
{
	const char *handle = memmem(text, len, "\"handle\":\"h", 11);

	if (w->link != LINK_OPEN)
		world_find(w, "a setup that nobody waits for");
	w->link = LINK_SETUP;
	w->next_ms =
		happens(w, FAULT_NO_SETUP, 128) ? NEVER : w->now_ms + 250 + (world_has(w, FAULT_LATE) ? world_draw(w, 7000) : 0);
	w->conversation = handle != NULL ? (uint32_t)strtoul(handle + 11, NULL, 10) : ++w->conversations;
	w->phase = handle != NULL;
	world_trace(w, "setup, conversation %u%s", w->conversation, handle != NULL ? ", resumed" : "");
}

static void on_tool_response(struct call_world *w, const char *text, size_t len)
{
	const char *id = memmem(text, len, "\"id\":\"t", 7);
	uint32_t number = id != NULL ? (uint32_t)strtoul(id + 7, NULL, 10) : WORLD_TOOLS;
	struct world_tool *tool = &w->tools[number % WORLD_TOOLS];

	if (number >= w->tool_count) {
		world_find(w, "an answer to a call that was never asked");
		return;
	}
	world_trace(w, "answer to t%u", number);
	if (tool->conversation != w->conversation)
		world_find(w, "an answer to another session's call");
	if (tool->lost)
		world_find(w, "an answer to a call that was reported lost");
	if (tool->sends > 0 && tool->connection == w->connections)
		world_find(w, "a call is answered twice on one connection");
	if (tool->confirmed)
		world_find(w, "a call is answered again although the model has said something to it");
	tool->sends++;
	tool->connection = w->connections;
	tool->sent_ms = w->now_ms;
	if (w->dead)
		return;
	if (!tool->received && !tool->cancelled && w->answer_ms == NEVER)
		w->answer_ms = w->now_ms + 200 + world_draw(w, 800);
	w->tools_answered += !tool->received;
	tool->received = true;
	w->done_ms = 0; /* what it says to that is still owed */
}

/* What a new session is told of the calls of the one before. */
static void on_seed(struct call_world *w, const char *text, size_t len)
{
	static const char called[] = "function lookup with {\\\"n\\\":", result[] = "}. Its result: ";
	const char *at = text, *end;

	while ((at = memmem(at, len - (size_t)(at - text), called, sizeof(called) - 1)) != NULL) {
		uint32_t number = (uint32_t)strtoul(at + sizeof(called) - 1, NULL, 10);

		at += sizeof(called) - 1;
		end = memchr(at, '}', len - (size_t)(at - text));
		if (number < w->tool_count && end != NULL && strncmp(end, result, sizeof(result) - 1) == 0)
			w->tools[number].told = true;
	}
}

/* Enough base64 of a message to tell its sound from all others. */
#define SOUND_CHARS 128

static void note_said(struct call_world *w, const char *sound)
{
	struct world_said *newest = &w->said[w->said_next++ % WORLD_SAID];
	uint64_t print = 0xcbf29ce484222325u;

	for (int i = 0; i < SOUND_CHARS; i++)
		print = (print ^ (unsigned char)sound[i]) * 0x100000001b3u;
	for (size_t i = 0; i < WORLD_SAID; i++)
		if (w->said[i].print == print && w->said[i].heard)
			world_find(w, "what was heard is said again");
	*newest = (struct world_said){.print = print, .ms = w->now_ms, .connection = w->connections};
	if (print == w->again && !w->dead) {
		w->again = 0;
		w->again_said++;
	}
}

/* The service has shown that it heard the caller; the last moment may have been under way. */
static void show_hearing(struct call_world *w)
{
	for (size_t i = 0; i < WORLD_SAID; i++)
		if (w->said[i].print != 0 && w->said[i].connection == w->connections && w->said[i].ms + 600 < w->now_ms)
			w->said[i].heard = true;
}

static void on_audio(struct call_world *w, const char *text, size_t len)
{
	const char *data = memmem(text, len, "\"data\":\"", 8);
	size_t at = data != NULL ? (size_t)(data - text) + 8 + (len - (size_t)(data - text)) / 8 * 4 : len;

	if (w->link != LINK_READY)
		world_find(w, "audio on a session that is not ready");
	if (at + SOUND_CHARS > len || memcmp(text + at, "AAAA", 4) == 0)
		return;
	note_said(w, text + at);
	if (w->dead)
		return;
	w->voice_ms = w->said_ms = w->now_ms;
	if (!w->hears && w->hears_ms == NEVER)
		w->hears_ms = w->now_ms + 120;
}

/* The session before ended without the result of a function: what the model would have said to that is owed. */
static bool lacked_a_result(const struct call_world *w)
{
	for (uint32_t n = 0; n < w->tool_count; n++)
		if (w->tools[n].asked && !w->tools[n].received && !w->tools[n].cancelled &&
			w->tools[n].conversation != w->conversation)
			return true;
	return false;
}

/* The model is asked for an answer, by words. */
static void on_text(struct call_world *w, const char *text, size_t len)
{
	uint64_t spoke_ms = w->call->voice.spoke_ms;
	/* Of words that end just behind the loss too little is kept to be an answer's cause: for those the model is asked. */
	bool lost_words = spoke_ms > w->done_ms && spoke_ms < w->call->kept_ms + 300;

	/* Its own detection needs a moment to know that the caller has spoken; of a long gap not all is kept. */
	if (!lost_words && memmem(text, len, "before you answered", 19) != NULL && w->done_ms > w->said_ms + 1000 &&
		w->now_ms < w->call->kept_ms + UPLINK_BACKLOG_MS && !lacked_a_result(w))
		world_find(w, "a question that has its answer is asked again");
	w->done_ms = 0;
	if (!w->dead)
		w->answer_ms = w->now_ms + 300 + world_draw(w, 600);
}

int wss_send(struct wss_connection *connection, char *text, size_t len)
{
	struct call_world *w = world_now;

	check_alive(w, connection);
	if (memmem(text, len < 40 ? len : 40, "clientContent", 13) != NULL)
		on_seed(w, text, len);
	if (memmem(text, len < 40 ? len : 40, "\"audio\"", 7) != NULL)
		on_audio(w, text, len);
	else if (memmem(text, len, "\"setup\"", 7) != NULL)
		on_setup(w, text, len);
	else if (memmem(text, len, "\"toolResponse\"", 14) != NULL)
		on_tool_response(w, text, len);
	else if (memmem(text, len, "audioStreamEnd", 14) == NULL && memmem(text, len, "\"turnComplete\":false", 20) == NULL)
		on_text(w, text, len);
	if (world_draw(w, 64) == 0 && world_has(w, FAULT_FULL))
		w->full_ms = w->now_ms + world_draw(w, world_draw(w, 8) ? 1500 : 6000);
	memset(text, 0, len); /* masked in place */
	return 0;
}

const struct wss_config *endpoint_config(struct endpoint *endpoint)
{
	static struct wss_config config = {.host = "service"};

	(void)endpoint;
	config.address = world_now->now_ms < world_now->no_address_ms ? NULL
			 : world_now->connections % 2		      ? "192.0.2.1"
								      : "192.0.2.2";
	return &config;
}

unsigned int endpoint_count(const struct endpoint *endpoint)
{
	(void)endpoint;
	return 2;
}

void endpoint_failed(struct endpoint *endpoint, const char *failed)
{
	(void)endpoint, (void)failed;
}

/* Platform. */

void dataplane_link_say(struct dataplane_link *link, const char *name, cJSON *body)
{
	struct call_world *w = world_now;
	const char *event = cJSON_GetStringValue(cJSON_GetObjectItem(body, "event"));
	const char *state = cJSON_GetStringValue(cJSON_GetObjectItem(body, "state"));
	const cJSON *asked = cJSON_GetObjectItem(body, "call");
	const char *id = cJSON_GetStringValue(cJSON_GetObjectItem(asked != NULL ? asked : body, "id"));
	struct world_tool *tool = id != NULL && id[0] == 't' ? &w->tools[strtoul(id + 1, NULL, 10) % WORLD_TOOLS] : NULL;

	(void)link;
	if (state != NULL || (event != NULL && strcmp(event, "usage") != 0))
		world_trace(w, "told: %s %s %s", name, state != NULL ? state : event, id != NULL ? id : "");
	if (state != NULL && strcmp(state, "failed") == 0)
		w->failed_reported = cJSON_GetObjectItem(body, "reason") != NULL;
	if (event != NULL && strcmp(event, "interrupted") == 0)
		w->cut = w->delivered;
	if (event != NULL && tool != NULL && strcmp(event, "tool_call") == 0) {
		if (tool->asked)
			world_find(w, "the platform is asked twice");
		tool->asked = true;
		tool->result_ms = happens(w, FAULT_TOOL_SILENT, 192) ? NEVER : w->now_ms + 50 + world_draw(w, 4500);
		tool->twice = happens(w, FAULT_TOOL_TWICE, 192);
	} else if (event != NULL && tool != NULL && strcmp(event, "tool_lost") == 0) {
		tool->lost = true;
	}
	cJSON_Delete(body);
}

void service_platform(struct call_world *w)
{
	for (uint32_t i = 0; i < w->tool_count; i++) {
		struct world_tool *tool = &w->tools[i];
		char id[16];
		cJSON *result;

		if (!is_due(&tool->result_ms, w->now_ms))
			continue;
		snprintf(id, sizeof(id), "t%u", i);
		result = cJSON_Parse("{\"output\":1}");
		call_tools_result(w->call, id, result, NULL, w->now_ms);
		if (tool->twice)
			tool->result_ms = w->now_ms + world_draw(w, 2000);
		tool->twice = false;
		cJSON_Delete(result);
	}
}

/* Service. */

static void deliver(struct call_world *w, const char *text, size_t len)
{
	static char buffer[65536];

	if (w->link == LINK_NONE || w->dead || len >= sizeof(buffer))
		return;
	memcpy(buffer, text, len + 1);
	call_wss_handler.message(w->call, buffer, len);
}

static void say(struct call_world *w, const char *text)
{
	world_trace(w, "says %s", text);
	deliver(w, text, strlen(text));
}

/* What tool_ledger.h holds for arrived. */
static void confirm_tools(struct call_world *w)
{
	for (uint32_t i = 0; i < w->tool_count; i++)
		if (w->tools[i].received && w->now_ms >= w->tools[i].sent_ms + TOOL_CONFIRM_MS)
			w->tools[i].confirmed = true;
}

static void speak(struct call_world *w, uint32_t turn, uint32_t bytes)
{
	static uint8_t pcm[24000];
	static char text[40000];
	uint8_t code = world_code(turn);
	int16_t sample;
	size_t len = (size_t)sprintf(text, "{\"serverContent\":{\"modelTurn\":{\"parts\":[{\"inlineData\":{\"mimeType\":\"audio/"
					   "pcm;rate=24000\",\"data\":\"");

	vl_g711_decode(VL_G711_PCMU, &code, &sample, 1);
	/* A chunk may begin in the middle of a sample. */
	for (uint32_t i = 0; i < bytes; i++)
		pcm[i] = ((const uint8_t *)&sample)[(w->answer.bytes_left + i) % 2];
	len += vl_base64_encode(text + len, pcm, bytes);
	len += (size_t)sprintf(text + len, "\"}}]}}}");
	w->delivered = turn;
	confirm_tools(w);
	deliver(w, text, len);
}

static void begin_answer(struct call_world *w)
{
	struct world_answer *a = &w->answer;

	if (a->speaks || w->turns >= WORLD_TURNS - 1)
		return;
	if (!w->healed && happens(w, FAULT_EMPTY_TURN, 96)) {
		confirm_tools(w);
		say(w, "{\"serverContent\":{\"turnComplete\":true}}");
		return;
	}
	*a = (struct world_answer){.turn = ++w->turns,
		.bytes_left = (200 + world_draw(w, 5000)) * BYTES_PER_MS,
		.speaks = true,
		.next_ms = w->now_ms,
		.heard_ms = w->now_ms};
	world_trace(w, "turn %u, %u ms", a->turn, a->bytes_left / BYTES_PER_MS);
	say(w, "{\"serverContent\":{\"outputTranscription\":{\"text\":\"I say.\"}}}");
}

static void run_answer(struct call_world *w)
{
	struct world_answer *a = &w->answer;
	uint32_t bytes, pace = world_has(w, FAULT_SLOW) ? 2 : 9;

	if (!a->speaks || !w->reading || w->now_ms < a->next_ms)
		return;
	if (a->bytes_left == 0) {
		a->speaks = false;
		a->next_ms = NEVER;
		w->done_ms = w->now_ms;
		confirm_tools(w);
		say(w, "{\"serverContent\":{\"turnComplete\":true},\"usageMetadata\":{\"totalTokenCount\":7}}");
		return;
	}
	bytes = (40 + world_draw(w, 300)) * BYTES_PER_MS;
	if (world_has(w, FAULT_TINY))
		bytes = world_draw(w, 4) == 0 ? 2 : bytes + 1;
	if (bytes > a->bytes_left)
		bytes = a->bytes_left;
	speak(w, a->turn, bytes);
	if (w->link != LINK_READY)
		return;
	a->bytes_left -= bytes;
	a->heard_ms += bytes / BYTES_PER_MS;
	a->next_ms = w->now_ms + bytes / BYTES_PER_MS * 2 / pace;
	if (!a->stalled && happens(w, FAULT_STALL, 64)) {
		a->stalled = true;
		a->next_ms += 500 + world_draw(w, 4000);
	}
	if (a->bytes_left == 0) {
		confirm_tools(w);
		say(w, "{\"serverContent\":{\"generationComplete\":true}}");
		a->next_ms = a->heard_ms > w->now_ms ? a->heard_ms : w->now_ms;
	}
}

static void interrupt(struct call_world *w)
{
	struct world_answer *a = &w->answer;
	uint32_t turn = a->turn;
	bool late = a->bytes_left > 0 && happens(w, FAULT_LATE_AUDIO, 192);

	if (!a->speaks)
		return;
	w->interruptions++;
	w->done_ms = 0;
	w->cut = w->delivered;
	a->speaks = false;
	a->next_ms = NEVER;
	say(w, "{\"serverContent\":{\"interrupted\":true}}");
	if (w->link != LINK_READY)
		return;
	if (late && turn <= w->cut)
		w->late_audio_ms = w->now_ms + world_draw(w, 300);
	w->over_ms = w->now_ms + 300 + world_draw(w, 100);
}

static void cancel_tools(struct call_world *w)
{
	char text[96];

	for (uint32_t i = 0; i < w->tool_count && w->link == LINK_READY; i++) {
		struct world_tool *tool = &w->tools[i];

		if (tool->conversation != w->conversation || tool->received || tool->cancelled)
			continue;
		tool->cancelled = true;
		snprintf(text, sizeof(text), "{\"toolCallCancellation\":{\"ids\":[\"t%u\"]}}", i);
		say(w, text);
	}
}

static void ask_tool(struct call_world *w)
{
	char text[128];

	bool wrong = world_draw(w, 8) == 0;

	w->done_ms = 0;
	w->tools[w->tool_count] = (struct world_tool){.conversation = w->conversation, .result_ms = NEVER, .wrong = wrong};
	snprintf(text, sizeof(text), "{\"toolCall\":{\"functionCalls\":[{\"id\":\"t%u\",\"name\":\"%s\",\"args\":{\"n\":%u}}]}}",
		w->tool_count, wrong ? "look.up" : "lookup", w->tool_count);
	w->tool_count++;
	say(w, text);
}

/* The service's voice detection, by what reaches it. */
static void run_voice(struct call_world *w)
{
	if (is_due(&w->hears_ms, w->now_ms) && !happens(w, FAULT_NO_VOICE, 128)) {
		w->hears = true;
		say(w, "{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_START\"}}");
		if (w->link == LINK_READY)
			interrupt(w);
		if (happens(w, FAULT_TOOL_CANCEL, 192))
			cancel_tools(w);
	}
	if (!w->hears || w->now_ms < w->voice_ms + 700)
		return;
	w->hears = false;
	show_hearing(w);
	say(w, "{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_END\"}}");
	say(w, "{\"serverContent\":{\"inputTranscription\":{\"text\":\"A question.\"}}}");
	if (w->link != LINK_READY)
		return;
	if (!w->healed && w->tool_count < WORLD_TOOLS && world_draw(w, 3) == 0)
		ask_tool(w);
	else
		w->answer_ms = w->now_ms + 200 + world_draw(w, 900);
}

static void break_link(struct call_world *w)
{
	static const char *const quota = "You exceeded your current quota, please check your plan";
	uint32_t i = world_draw(w, sizeof(closes) / sizeof(closes[0]));

	if (is_due(&w->life_ms, w->now_ms)) {
		if (happens(w, FAULT_FATAL, 16))
			lose(w, 1007, 0, "API key not valid. Please pass a valid API key.");
		else
			lose(w, closes[i].code, 0, closes[i].reason);
	} else if (is_due(&w->reset_ms, w->now_ms)) {
		lose(w, 1006, 0, "");
	} else if (is_due(&w->quota_ms, w->now_ms)) {
		lose(w, 1011, 0, quota);
	} else if (is_due(&w->error_ms, w->now_ms)) {
		say(w, "{\"error\":{\"code\":503,\"message\":\"The service is currently unavailable.\"}}");
	} else if (is_due(&w->half_open_ms, w->now_ms)) {
		world_trace(w, "half open");
		w->dead = true;
		w->dead_ms = w->now_ms;
		w->discarded_ms = w->worker.stats.up_discarded_ms;
		if (w->connections % 2 == 0)
			w->half_open_ms = w->now_ms + TIMED_OUT_MS;
	} else if (is_due(&w->freeze_ms, w->now_ms)) {
		w->deaf = world_draw(w, 2);
		world_trace(w, w->deaf ? "deaf" : "frozen");
		w->dead = w->frozen = true;
		w->dead_ms = w->now_ms;
		w->discarded_ms = w->worker.stats.up_discarded_ms;
		w->half_open_ms = NEVER;
	}
}

static void run_session(struct call_world *w)
{
	char text[96];

	if (!w->dead)
		break_link(w);
	else if (is_due(&w->half_open_ms, w->now_ms))
		time_out(w);
	if (w->link != LINK_READY || w->dead)
		return;
	if (is_due(&w->handle_ms, w->now_ms)) {
		snprintf(text, sizeof(text), "{\"sessionResumptionUpdate\":{\"newHandle\":\"h%u-%u\",\"resumable\":true}}",
			w->conversation, ++w->handles);
		say(w, world_has(w, FAULT_NO_HANDLE) ? "{\"sessionResumptionUpdate\":{}}" : text);
		w->handle_ms = w->now_ms + 4000;
	}
	if (is_due(&w->go_away_ms, w->now_ms)) {
		w->life_ms = w->now_ms + 8000;
		say(w, "{\"goAway\":{\"timeLeft\":\"8s\"}}");
	}
	if (w->link == LINK_READY && is_due(&w->phantom_ms, w->now_ms)) {
		w->phantom_ms = some_time(w, FAULT_PHANTOM);
		interrupt(w);
	}
	if (w->link == LINK_READY && is_due(&w->noise_ms, w->now_ms)) {
		w->noise_ms = w->now_ms + 200 + world_draw(w, 1000);
		say(w, world_draw(w, 2) ? "{}" : "{\"serverContent\":{");
	}
	if (w->link == LINK_READY && is_due(&w->late_audio_ms, w->now_ms))
		speak(w, w->answer.turn, 100 * BYTES_PER_MS);
	if (w->link == LINK_READY && is_due(&w->over_ms, w->now_ms)) {
		w->late_audio_ms = NEVER;
		confirm_tools(w);
		say(w, "{\"serverContent\":{\"turnComplete\":true}}");
	}
	if (w->link == LINK_READY && w->over_ms == NEVER && !w->hears && is_due(&w->answer_ms, w->now_ms))
		begin_answer(w);
	if (w->link == LINK_READY)
		run_answer(w);
	if (w->link == LINK_READY)
		run_voice(w);
}

static void run_dial(struct call_world *w)
{
	if (!is_due(&w->next_ms, w->now_ms))
		return;
	if (happens(w, FAULT_UNREACHABLE, 80)) {
		lose(w, 1006, 0, w->phase == 0 ? "Connection refused" : "certificate verify failed");
		return;
	}
	w->next_ms = happens(w, FAULT_HANG, 64) ? NEVER : w->now_ms + 10 + world_draw(w, world_has(w, FAULT_LATE) ? 2500 : 40);
	switch (w->phase++) {
	case 0:
		break;
	case 1:
		call_wss_handler.secured(w->call);
		break;
	default:
		if (happens(w, FAULT_HTTP_429, 128)) {
			lose(w, 1006, 429, "Too Many Requests");
		} else if (happens(w, FAULT_HTTP, 128)) {
			lose(w, 1006, world_draw(w, 2) ? 503 : 500, "Service Unavailable");
		} else {
			w->link = LINK_OPEN;
			w->next_ms = NEVER;
			call_wss_handler.opened(w->call);
		}
	}
}

static void run_setup(struct call_world *w)
{
	if (!is_due(&w->next_ms, w->now_ms))
		return;
	if (w->phase == 1 &&
		((w->locked == w->conversation && w->now_ms < w->locked_ms) || happens(w, FAULT_REFUSE_RESUME, 160))) {
		lose(w, 1011, 0, "Internal error encountered.");
		return;
	}
	w->link = LINK_READY;
	w->ready++;
	w->life_ms = some_time(w, FAULT_CLOSE);
	w->reset_ms = some_time(w, FAULT_RESET);
	w->quota_ms = some_time(w, FAULT_QUOTA);
	w->error_ms = some_time(w, FAULT_ERROR);
	w->half_open_ms = some_time(w, FAULT_HALF_OPEN);
	w->freeze_ms = some_time(w, FAULT_FREEZE);
	w->go_away_ms = some_time(w, FAULT_GO_AWAY);
	w->phantom_ms = some_time(w, FAULT_PHANTOM);
	w->noise_ms = some_time(w, FAULT_NOISE);
	w->handle_ms = w->now_ms + 100;
	w->again_ms = w->now_ms + 9000; /* at the beginning of what was kept; a full socket keeps it for 6 s */
	say(w, "{\"setupComplete\":{}}");
}

void service_run(struct call_world *w)
{
	if (world_draw(w, 4096) == 0 && world_has(w, FAULT_DNS))
		w->no_address_ms = w->now_ms + world_draw(w, 6000);
	switch (w->link) {
	case LINK_DIALLING:
		run_dial(w);
		break;
	case LINK_SETUP:
		run_setup(w);
		break;
	case LINK_READY:
		run_session(w);
		break;
	case LINK_CLOSING:
		if (is_due(&w->next_ms, w->now_ms))
			lose(w, 1000, 0, "");
		break;
	default:
		break;
	}
	if (w->link > LINK_DIALLING && (!w->dead || w->deaf) && is_due(&w->pong_ms, w->now_ms))
		call_wss_handler.pong(w->call);
	if (w->link > LINK_DIALLING && w->write_wanted && w->now_ms >= w->full_ms) {
		w->write_wanted = false;
		call_wss_handler.writable(w->call);
	}
}

void service_heal(struct call_world *w)
{
	w->faults = 0;
	w->healed = true;
	w->no_address_ms = w->full_ms = 0;
	w->reset_ms = w->quota_ms = w->error_ms = w->half_open_ms = w->freeze_ms = w->go_away_ms = w->phantom_ms = w->noise_ms =
		NEVER;
	world_trace(w, "mended");
}
