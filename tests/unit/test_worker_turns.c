/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turn-taking of one call of a worker, in virtual time: a websocket that only takes what is said to it, and a data plane that plays
 * what comes through a real channel and says what has been heard.
 */
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ai_workers/call.h"
#include "ai_workers/call_gate.h"
#include "ai_workers/call_message.h"
#include "ai_workers/call_tools.h"
#include "ai_workers/call_turn.h"
#include "ai_workers/endpoint.h"
#include "ai_workers/tsc.h"
#include "shared/base64.h"

#define START_MS 1000000u
#define INDEX	 1u
#define FRAME	 160u

static struct worker worker;
static struct users users;
static struct user user;
static struct call *call;
static uint64_t now;
static struct wss_config config = {.address = "192.0.2.1"};
static char texts[4096]; /* said to the model, but for audio */
static char states[1024], events[8192];

/* The data plane. */
static struct vl_channel plane;
static uint8_t queue[32];
static unsigned int queued, turn, marked, drops;
static uint64_t frame_stamps[8], flush_stamp; /* of frames, those that have one */
static unsigned int stamp_count;
static bool mark;
static char heard[6000]; /* 20 ms each: '-' silence, else the model's */
static unsigned int heard_count;

/* The caller. */
static bool caller_speaks;
static uint16_t seq;
static uint32_t dice;

size_t wss_headroom(void)
{
	return 16;
}

struct wss_connection *wss_dial(struct wss *wss, const struct wss_config *to, const char *api_key, void *owner)
{
	(void)wss, (void)to, (void)api_key, (void)owner;
	return (struct wss_connection *)&config;
}

void wss_release(struct wss_connection *connection, bool graceful)
{
	(void)connection, (void)graceful;
}

void wss_close(struct wss_connection *connection)
{
	(void)connection;
}

void wss_want_write(struct wss_connection *connection)
{
	(void)connection;
}

bool wss_is_connected(const struct wss_connection *connection)
{
	(void)connection;
	return true;
}

bool wss_is_clear(const struct wss_connection *connection)
{
	(void)connection;
	return true;
}

int wss_send(struct wss_connection *connection, char *text, size_t len)
{
	(void)connection;
	if (memmem(text, len, "\"audio\"", 7) == NULL)
		snprintf(texts + strlen(texts), sizeof(texts) - strlen(texts), "%.*s\n", (int)len, text);
	return 0;
}

void wss_ping(struct wss_connection *connection)
{
	(void)connection;
}

uint32_t wss_unacknowledged_ms(const struct wss_connection *connection)
{
	(void)connection;
	return 0;
}

void wss_read(struct wss_connection *connection, bool wanted)
{
	(void)connection, (void)wanted;
}

const struct wss_config *endpoint_config(struct endpoint *endpoint)
{
	(void)endpoint;
	return &config;
}

unsigned int endpoint_count(const struct endpoint *endpoint)
{
	(void)endpoint;
	return 1;
}

void endpoint_failed(struct endpoint *endpoint, const char *failed)
{
	(void)endpoint, (void)failed;
}

void dataplane_link_say(struct dataplane_link *link, const char *name, cJSON *body)
{
	const char *state = cJSON_GetStringValue(cJSON_GetObjectItem(body, "state"));
	char *text = cJSON_PrintUnformatted(body);

	(void)link;
	if (strcmp(name, "state") == 0)
		snprintf(states + strlen(states), sizeof(states) - strlen(states), "%s ", state);
	else
		snprintf(events + strlen(events), sizeof(events) - strlen(events), "%s\n", text);
	cJSON_free(text);
	cJSON_Delete(body);
}

static void message(const char *text)
{
	static char buffer[400000];

	snprintf(buffer, sizeof(buffer), "%s", text);
	call->heard_ms = now;
	call_message(call, buffer, strlen(buffer), now);
}

/* `ms` of the model's voice in one message. */
static void model_says(unsigned int ms)
{
	static int16_t pcm[24 * 4000];
	static char base64[sizeof(pcm) * 4 / 3 + 4], text[sizeof(base64) + 200];

	for (size_t i = 0; i < ms * 24; i++)
		pcm[i] = (int16_t)lrint(6000 * sin(2 * 3.14159265358979 * 440 * (double)i / 24000));
	base64[vl_base64_encode(base64, (const uint8_t *)pcm, ms * 48)] = '\0';
	snprintf(text, sizeof(text),
		"{\"serverContent\":{\"modelTurn\":{\"parts\":[{\"inlineData\":{\"mimeType\":\"audio/"
		"pcm;rate=24000\",\"data\":\"%s\"}}]}}}",
		base64);
	message(text);
}

static void begin(void)
{
	int fd = vl_channel_create(&plane, 1, 256);
	struct dataplane_open open = {.uuid = "3f2b", .index = INDEX, .listening = true};

	ck_assert_int_ge(fd, 0);
	now = START_MS;
	queued = turn = marked = drops = heard_count = stamp_count = 0;
	flush_stamp = 0;
	mark = caller_speaks = false;
	texts[0] = states[0] = events[0] = '\0';
	seq = 0;
	dice = 1;
	worker = (struct worker){.options = {.message_ms = 40, .uplink_rate = 8000}};
	ck_assert_int_eq(vl_channel_map(&worker.channel, fd), 0);
	close(fd);
	worker.message = malloc(wss_headroom() + gemini_audio_size(CALL_MESSAGE_SAMPLES_MAX));
	worker_gate_start(&worker);
	users = (struct users){.gemini = {.model = "m", .rotate_after_s = SESSION_ROTATE_AFTER_S}};
	user = (struct user){.name = "u",
		.api_key = (char *)"12345678",
		.users = &users,
		.key_first = &user,
		.local_barge_in = user.local_barge_in};
	call = call_create(&worker, &open, &user, now);
	ck_assert_ptr_nonnull(call);
	worker_gate_run(&worker, now);
	call_step(call, &(struct session_event){.type = SESSION_UPGRADED}, now);
	message("{\"setupComplete\":{}}");
	ck_assert_int_eq(call->session.state, SESSION_READY);
}

static void begin_local(void)
{
	user.local_barge_in = true;
	begin();
	user.local_barge_in = false;
}

static void end(void)
{
	call_destroy(call, now);
	gate_free(&worker.gate);
	free(worker.message);
	vl_channel_unmap(&worker.channel);
	vl_channel_unmap(&plane);
}

static void record(uint8_t type, uint32_t of_turn, const uint8_t *payload, uint16_t len)
{
	struct vl_record r = {.type = type, .len = len, .session = INDEX, .seq = seq, .timestamp = seq * FRAME, .ssrc = 7};

	if (type == VL_RECORD_DRAINED)
		r.turn = of_turn;
	else
		seq++;
	call_record(call, &r, payload, now);
}

static void take_records(void)
{
	struct vl_record r;
	const uint8_t *payload;

	while (vl_ring_next(&plane.down[0], &r, &payload) == 1) {
		ck_assert_uint_eq(r.session, INDEX);
		if (r.type == VL_RECORD_FLUSH) {
			ck_assert_uint_eq(r.turn, turn + 1);
			turn = r.turn;
			queued = 0;
			mark = false;
			flush_stamp = r.tsc;
		} else if (r.turn != turn) {
			drops++;
		} else if (r.type == VL_RECORD_MARK) {
			mark = true;
			marked = r.turn;
		} else {
			ck_assert_uint_lt(queued, 16);
			if (r.tsc != 0)
				frame_stamps[stamp_count++ % 8] = r.tsc;
			queue[queued++] = 1;
		}
		vl_ring_release(&plane.down[0]);
	}
}

static void caller_sends(void)
{
	uint8_t codes[FRAME];
	int16_t pcm[FRAME];

	for (size_t i = 0; i < FRAME; i++) {
		dice = dice * 1664525u + 1013904223u;
		pcm[i] = (int16_t)((int32_t)(dice >> 16) - 32768) / (caller_speaks ? 4 : 2000);
	}
	vl_g711_encode(VL_G711_PCMU, pcm, codes, FRAME);
	record(VL_RECORD_AUDIO, 0, codes, FRAME);
}

/* Let `ms` pass: the data plane's beat and the caller's packet every 20 ms, the worker's tick every 5. */
static void pass(unsigned int ms)
{
	for (unsigned int at = 0; at < ms; at += 5) {
		now += 5;
		if (now % 20 == 0) {
			take_records();
			caller_sends();
			heard[heard_count++ % sizeof(heard)] = queued > 0 ? 'm' : '-';
			if (queued > 0)
				queued--;
			if (mark && queued == 0) {
				mark = false;
				record(VL_RECORD_DRAINED, marked, NULL, 0);
			}
		}
		call->heard_ms = now; /* pongs */
		call_tick(call, now);
		vl_ring_publish(&worker.channel.down[0]);
		take_records();
	}
}

/* How much of the model was heard since `from`. */
static unsigned int model_heard_ms(unsigned int from)
{
	unsigned int count = 0;

	for (unsigned int i = from; i < heard_count; i++)
		count += heard[i] == 'm';
	return count * 20;
}

#define COUNT(name) atomic_load(&worker.stats.name)

static bool said(const char *text)
{
	return strstr(texts, text) != NULL;
}

/* `talking` ends, and `finished_speaking` comes, when the caller has heard all of it and not before. */
START_TEST(test_turns_finished_speaking)
{
	pass(1000);
	model_says(1000);
	message("{\"serverContent\":{\"generationComplete\":true}}");
	message("{\"serverContent\":{\"turnComplete\":true}}");
	pass(900);
	ck_assert_ptr_nonnull(strstr(states, "talking"));
	ck_assert_ptr_null(strstr(states, "talking ready"));
	ck_assert_ptr_null(strstr(events, "finished_speaking"));
	pass(200);
	ck_assert_uint_eq(model_heard_ms(0), 1000);
	ck_assert_ptr_nonnull(strstr(states, "talking ready"));
	ck_assert_ptr_nonnull(strstr(events, "finished_speaking"));
	ck_assert_ptr_nonnull(strstr(events, "{\"number\":1,\"model_from_ms_ago\":10"));
	ck_assert_ptr_nonnull(strstr(
		events, "\"model_to_ms_ago\":0,\"spoken_ms\":1000,\"underruns\":0,\"interrupted\":false,\"phantom\":false"));
}
END_TEST

/* "Let me look", and the answer comes while that is still heard: each has its own beginning, end and length. */
START_TEST(test_turns_follow_each_other)
{
	const char *second;

	pass(2000);
	call_turn(call, TURN_ASKED, now);
	pass(500);
	model_says(2000);
	message("{\"serverContent\":{\"generationComplete\":true}}");
	message("{\"serverContent\":{\"turnComplete\":true}}");
	pass(100);
	call_turn(call, TURN_TOOL_ANSWERED, now);
	pass(400);
	model_says(1000);
	message("{\"serverContent\":{\"generationComplete\":true}}");
	message("{\"serverContent\":{\"turnComplete\":true}}");
	pass(1200);
	ck_assert_uint_eq(vl_histogram_count(&worker.stats.response_ms), 1);
	ck_assert_ptr_null(strstr(events, "\"number\":1"));
	pass(300);
	/* Its last frame is handed over almost DOWNLINK_AHEAD_MS before it is heard. */
	ck_assert_ptr_nonnull(strstr(events, "{\"number\":1,\"model_ms\":500,\"response_ms\":500,\"model_from_ms_ago\":1865,"
					     "\"model_to_ms_ago\":0,\"spoken_ms\":2000,"));
	ck_assert_uint_eq(vl_histogram_count(&worker.stats.response_ms), 2);
	pass(1200);
	second = strstr(events, "{\"number\":2,");
	ck_assert_ptr_nonnull(second);
	ck_assert_msg(strstr(second, "\"spoken_ms\":1000,\"underruns\":0,\"interrupted\":false") != NULL, "%s", second);
	/* From when it was asked until it was heard, and not until it came. */
	ck_assert_msg(strstr(second, "\"model_ms\":1000,\"response_ms\":2385,\"model_from_ms_ago\":1115,") != NULL, "%s", second);
	ck_assert_uint_eq(model_heard_ms(0), 3000);
	ck_assert_ptr_null(strstr(events, "\"number\":3"));
}
END_TEST

/* From the end of the caller's voice, not from when anybody noticed it. */
START_TEST(test_turns_response)
{
	pass(2000);
	caller_speaks = true;
	pass(1000);
	caller_speaks = false;
	pass(1500);
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_END\"}}");
	model_says(500);
	ck_assert_uint_eq(vl_histogram_count(&worker.stats.response_ms), 1);
	ck_assert_uint_ge(atomic_load(&worker.stats.response_ms.max), 1490);
	ck_assert_uint_le(atomic_load(&worker.stats.response_ms.max), 1520);
	message("{\"serverContent\":{\"generationComplete\":true}}");
	pass(1000);
	ck_assert_ptr_nonnull(strstr(events, "{\"number\":1,\"caller_from_ms_ago\":30"));
	ck_assert_ptr_nonnull(strstr(events, "\"response_ms\":15"));
}
END_TEST

/* The loop's turn began at this time, and its poll slept not at all. */
static uint64_t new_turn(void)
{
	return worker.turn_tsc = tsc_now();
}

/*
 * Latency is counted from when a message could be read, of the one that begins an answer and the one that cuts it, and of no
 * other: what comes late of an answer that was cut does not count for the next.
 */
START_TEST(test_turns_stamps)
{
	uint64_t began, cut;

	ck_assert_int_eq(uv_loop_init(&worker.loop), 0);
	worker.tsc_hz = 1000000000;
	pass(1000);
	began = new_turn();
	model_says(500);
	new_turn();
	model_says(500);
	pass(200);
	ck_assert_uint_eq(stamp_count, 1);
	ck_assert_uint_eq(frame_stamps[0], began);
	ck_assert_uint_eq(vl_histogram_count(&worker.stats.message_to_ring_us), 1);
	cut = new_turn();
	message("{\"serverContent\":{\"interrupted\":true}}");
	take_records();
	ck_assert_uint_eq(flush_stamp, cut);
	new_turn();
	model_says(500);
	pass(300);
	message("{\"serverContent\":{\"turnComplete\":true}}");
	began = new_turn();
	model_says(500);
	pass(200);
	ck_assert_uint_eq(stamp_count, 2);
	ck_assert_uint_eq(frame_stamps[1], began);
	/* Nobody said `interrupted`, so the flush counts from itself. */
	cut = new_turn();
	call_turn_cut(call, now);
	take_records();
	ck_assert_uint_gt(flush_stamp, cut);
	uv_loop_close(&worker.loop);
}
END_TEST

/* Nobody spoke: it is reported, and a model that then stays silent is asked to go on. */
START_TEST(test_turns_phantom)
{
	pass(2000);
	model_says(3000);
	pass(500);
	message("{\"serverContent\":{\"interrupted\":true}}");
	message("{\"serverContent\":{\"turnComplete\":true}}");
	ck_assert_uint_eq(COUNT(phantoms), 1);
	ck_assert_ptr_nonnull(strstr(events, "\"phantom_interruption\""));
	pass(2900);
	ck_assert(!said("Go on"));
	pass(200);
	ck_assert(said("Nobody interrupted you. Go on where you were cut off."));
	ck_assert_uint_eq(COUNT(reminders), 1);
	/* And when it stays mute nevertheless, that is the session's matter. */
	pass(SESSION_ANSWER_MS);
	ck_assert(said("Answer what the caller said last."));
}
END_TEST

/* A caller did, and there is nothing phantom about it. */
START_TEST(test_turns_interrupted)
{
	unsigned int from;

	pass(2000);
	model_says(3000);
	pass(500);
	caller_speaks = true;
	pass(300);
	ck_assert_uint_gt(queued, 0);
	from = heard_count;
	message("{\"serverContent\":{\"interrupted\":true}}");
	message("{\"serverContent\":{\"turnComplete\":true}}");
	pass(1000);
	ck_assert_uint_eq(model_heard_ms(from), 0);
	ck_assert_uint_eq(COUNT(phantoms), 0);
	ck_assert_uint_eq(COUNT(local_pauses), 0);
	ck_assert_ptr_null(strstr(events, "phantom_"));
}
END_TEST

/* The model is silent after a question whose end only the worker has noticed. */
START_TEST(test_turns_mute)
{
	pass(2000);
	caller_speaks = true;
	pass(1500);
	caller_speaks = false;
	pass(VOICE_END_MS + SESSION_ANSWER_MS - 100);
	ck_assert(!said("Answer"));
	pass(200);
	ck_assert(said("Answer what the caller said last."));
}
END_TEST

static void lose_connection(void)
{
	call_let_go(call, false);
	call_lost(call, 1011, 0, "Internal error encountered.", now);
}

static void connect_again(void)
{
	while (call->session.state != SESSION_DIALLING || call->session.phase == SESSION_PHASE_TURN) {
		worker_gate_run(&worker, now);
		pass(5);
	}
	call_step(call, &(struct session_event){.type = SESSION_UPGRADED}, now);
	message("{\"setupComplete\":{}}");
}

/* The connection breaks; `ms` later, at the earliest, the next one is ready. */
static void come_back(unsigned int ms)
{
	lose_connection();
	pass(ms);
	connect_again();
}

static void speak(unsigned int ms)
{
	caller_speaks = true;
	pass(ms);
	caller_speaks = false;
}

#define HANDLE "{\"sessionResumptionUpdate\":{\"newHandle\":\"h\",\"resumable\":true}}"

/* A question and its answer, heard to its end. */
static void talk(void)
{
	message(HANDLE);
	pass(2000);
	speak(1000);
	pass(600);
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_END\"}}");
	message("{\"serverContent\":{\"inputTranscription\":{\"text\":\"When do you open?\"}}}");
	message("{\"serverContent\":{\"outputTranscription\":{\"text\":\"At nine.\"}}}");
	model_says(500);
	message("{\"serverContent\":{\"generationComplete\":true}}");
	message("{\"serverContent\":{\"turnComplete\":true}}");
	pass(3000);
}

/* What the caller says while there is no session asks by itself, and the question before it has its answer. */
START_TEST(test_turns_voice_asks_by_itself)
{
	uint64_t before;

	talk();
	if (_i == 0) {
		lose_connection();
	} else {
		message("{\"goAway\":{\"timeLeft\":\"50s\"}}");
		pass(10);
		ck_assert_int_eq(call->session.state, SESSION_CLOSING);
	}
	speak(700);
	pass(500);
	if (_i == 1) {
		call_let_go(call, false);
		call_lost(call, 1000, 0, "", now);
	}
	texts[0] = '\0';
	connect_again();
	ck_assert(call->session.resumed);
	before = COUNT(messages_out);
	pass(1000);
	ck_assert(!said("lost"));
	ck_assert(!said("open"));
	ck_assert_uint_ge(COUNT(messages_out), before + 40); /* at twice real time */
	/* But a model that stays silent is reminded. */
	pass(SESSION_ANSWER_MS);
	ck_assert(said("Answer what the caller said last."));
}
END_TEST

/* What was said before it does not, and nobody knows its words yet: those of the question before are not quoted. */
START_TEST(test_turns_voice_before_the_gap)
{
	talk();
	caller_speaks = true;
	pass(1000);
	lose_connection();
	speak(100);
	pass(600);
	texts[0] = '\0';
	connect_again();
	pass(10);
	ck_assert(said("Answer what the caller said last."));
	ck_assert(!said("open"));
}
END_TEST

/* Nobody is reminded of a question that is on its way still. */
START_TEST(test_turns_backlog_is_no_silence)
{
	talk();
	lose_connection();
	pass(8000);
	speak(1000);
	pass(500);
	texts[0] = '\0';
	connect_again();
	pass(SESSION_ANSWER_MS + 4000);
	ck_assert(!said("Answer"));
	pass(1000);
	ck_assert(said("Answer"));
}
END_TEST

static unsigned int times_said(const char *text)
{
	unsigned int count = 0;

	for (const char *at = texts; (at = strstr(at, text)) != NULL; at++)
		count++;
	return count;
}

static void press(uint8_t code)
{
	const uint8_t payload[] = {code, 0x8a, 0x03, 0x20};

	dtmf_packet(&call->dtmf, payload, sizeof(payload), (uint32_t)now * 8, now);
}

enum { NOTHING_HEARD, MUTE, BEGUN, ANSWERED, CALLED, RESEEDED, NOT_OUT, KEYS_CASES };

/* Keys are told once on each connection until the model has shown that it heard them, and a new session learns of them as of all that was said. */
START_TEST(test_turns_keys_outlive_a_loss)
{
	bool told = _i == ANSWERED || _i == CALLED;

	user.dtmf_to_model = true;
	if (_i == RESEEDED)
		pass(5000);
	else
		talk();
	press(1);
	pass(100);
	press(2);
	pass(100);
	press(11);
	texts[0] = '\0';
	if (_i != NOT_OUT) {
		pass(20);
		ck_assert_uint_eq(times_said("Caller pressed 1 2 #."), 1);
	}
	if (_i != NOTHING_HEARD && _i != NOT_OUT)
		pass(_i == BEGUN ? 100 : 1000);
	if (_i == BEGUN || _i == ANSWERED)
		model_says(500);
	if (_i == CALLED)
		message("{\"toolCall\":{\"functionCalls\":[{\"id\":\"a\",\"name\":\"end_call\",\"args\":{}}]}}");
	if (_i == ANSWERED) {
		message("{\"serverContent\":{\"generationComplete\":true}}");
		message("{\"serverContent\":{\"turnComplete\":true}}");
	}
	for (int again = 0; again < 2; again++) {
		lose_connection();
		texts[0] = '\0';
		pass(100);
		connect_again();
		pass(200);
		ck_assert(call->session.resumed == (_i != RESEEDED));
		ck_assert_msg(times_said("Caller pressed 1 2 #") == !told, "%s", texts);
		ck_assert_uint_eq(times_said("Caller pressed 1 2 #."), _i == RESEEDED || _i == NOT_OUT ? 1 : 0);
		ck_assert(told || call->session.asked);
		if (_i == NOT_OUT)
			break;
		call->session.ready_ms -= SESSION_STABLE_MS; /* no series of young deaths */
	}
	if (_i == RESEEDED)
		ck_assert(said("\"turnComplete\":true"));
	/* It answers at last. */
	pass(1000);
	model_says(500);
	message("{\"serverContent\":{\"generationComplete\":true}}");
	message("{\"serverContent\":{\"turnComplete\":true}}");
	pass(1000);
	message(HANDLE);
	lose_connection();
	texts[0] = '\0';
	pass(100);
	connect_again();
	pass(1000);
	ck_assert(!said("pressed"));
}
END_TEST

/* They are the caller's: a model that is not to know of them is not told later either. */
START_TEST(test_turns_keys_of_no_concern)
{
	user.dtmf_to_model = false;
	talk();
	press(1);
	pass(1000);
	lose_connection();
	texts[0] = '\0';
	pass(100);
	user.dtmf_to_model = true;
	connect_again();
	pass(1000);
	ck_assert(!said("pressed"));
}
END_TEST

static struct tool book = {.name = "book", .timeout_s = 30};

/* The session that has called a function is gone for good: the new one answers the caller who waits. */
START_TEST(test_turns_function_of_a_lost_session)
{
	cJSON *result = cJSON_Parse("{\"table\":4}");

	user.tools = &book;
	user.tool_count = 1;
	pass(2000);
	message("{\"serverContent\":{\"inputTranscription\":{\"text\":\"A table for day 3.\"}}}");
	message("{\"toolCall\":{\"functionCalls\":[{\"id\":\"a\",\"name\":\"book\",\"args\":{\"day\":3}}]}}");
	pass(100);
	lose_connection();
	if (_i == 1)
		call_tools_result(call, "a", result, NULL, now);
	texts[0] = '\0';
	connect_again();
	pass(10);
	ck_assert(!call->session.resumed);
	ck_assert(said(_i == 1 ? "Its result: {\\\"table\\\":4}" : "Its result was lost"));
	ck_assert(said("\"turnComplete\":true"));
	pass(SESSION_ANSWER_MS);
	ck_assert(said("The caller waits for your answer."));
	cJSON_Delete(result);
}
END_TEST

/* The model stays mute through everything: the platform is told, once for each question. */
START_TEST(test_turns_never_answered)
{
	pass(2000);
	caller_speaks = true;
	pass(1500);
	caller_speaks = false;
	pass(VOICE_END_MS + SESSION_ANSWER_MS + SESSION_NUDGED_MS + 100);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(call->session.state, SESSION_CLOSING);
		ck_assert_ptr_null(strstr(events, "no_answer"));
		come_back(100);
		pass(SESSION_ANSWER_MS + 200);
	}
	ck_assert_int_eq(call->session.state, SESSION_READY);
	ck_assert_ptr_nonnull(strstr(events, "\"event\":\"no_answer\",\"waited_ms\":2"));
	ck_assert_uint_eq(COUNT(unanswered), 1);
	pass(60000);
	ck_assert_uint_eq(COUNT(unanswered), 1);
}
END_TEST

/* A lost connection is part of what the caller has waited for his answer; the rest of an answer that was cut answers nobody. */
START_TEST(test_turns_response_over_a_loss)
{
	pass(2000);
	caller_speaks = true;
	pass(1000);
	caller_speaks = false;
	pass(1000);
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_END\"}}");
	come_back(2000);
	model_says(500);
	ck_assert_uint_eq(vl_histogram_count(&worker.stats.response_ms), 1);
	ck_assert_uint_ge(atomic_load(&worker.stats.response_ms.max), 2990);
	ck_assert_uint_le(atomic_load(&worker.stats.response_ms.max), 3400);
	pass(100);
	come_back(2000);
	model_says(500);
	message("{\"serverContent\":{\"generationComplete\":true}}");
	pass(1000);
	ck_assert_uint_eq(vl_histogram_count(&worker.stats.response_ms), 1);
	ck_assert_ptr_nonnull(strstr(events, "\"number\":2"));
}
END_TEST

/* What is said while there is no session is kept and asks by itself: the question before it has its answer, and is not asked again. */
START_TEST(test_turns_voice_in_a_gap)
{
	message("{\"sessionResumptionUpdate\":{\"newHandle\":\"h\",\"resumable\":true}}");
	pass(2000);
	message("{\"serverContent\":{\"inputTranscription\":{\"text\":\"When do you open?\"}}}");
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_END\"}}");
	if (_i == 0) {
		model_says(500);
		message("{\"serverContent\":{\"generationComplete\":true}}");
		message("{\"serverContent\":{\"turnComplete\":true}}");
	}
	pass(3000);
	lose_connection();
	caller_speaks = true;
	pass(700);
	caller_speaks = false;
	pass(VOICE_END_MS + 100);
	connect_again();
	ck_assert(call->session.asked);
	pass(100);
	ck_assert(said("before you answered") == (_i == 1));
}
END_TEST

/* But not while the caller is on hold, and not when the model waits on purpose. */
START_TEST(test_turns_not_mute)
{
	static const char *const excuses[] = {"{\"serverContent\":{\"waitingForInput\":true}}",
		"{\"serverContent\":{\"turnComplete\":true}}",
		"{\"serverContent\":{\"turnComplete\":true,\"interactionStatus\":\"IN_PROGRESS\"}}"};

	pass(2000);
	caller_speaks = true;
	pass(1500);
	caller_speaks = false;
	pass(1000);
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_END\"}}");
	if (_i < 3) {
		message(excuses[_i]);
		pass(30000);
		ck_assert(!said("Answer"));
		return;
	}
	uplink_hold(&call->uplink, true);
	pass(60000);
	ck_assert(!said("Answer"));
	uplink_hold(&call->uplink, false);
	pass(SESSION_ANSWER_MS - 100);
	ck_assert(!said("Answer"));
	pass(200);
	ck_assert(said("Answer"));
}
END_TEST

/* The caller's voice stops the model's within 140 ms; the service agrees, and nothing of the old answer is heard again. */
START_TEST(test_turns_local_agreed)
{
	unsigned int from;

	pass(2000);
	model_says(4000);
	pass(1000);
	caller_speaks = true;
	pass(VOICE_START_MS + 40);
	ck_assert_uint_eq(COUNT(local_pauses), 1);
	from = heard_count;
	pass(200);
	ck_assert_uint_eq(model_heard_ms(from), 0);
	ck_assert_ptr_null(strstr(states, "talking ready"));
	message("{\"serverContent\":{\"interrupted\":true}}");
	message("{\"serverContent\":{\"turnComplete\":true}}");
	pass(2000);
	ck_assert_uint_eq(model_heard_ms(from), 0);
	ck_assert_uint_eq(COUNT(local_undone), 0);
	ck_assert_ptr_nonnull(strstr(states, "talking ready"));
	/* The next answer is heard whole. */
	caller_speaks = false;
	pass(1000);
	from = heard_count;
	model_says(1000);
	message("{\"serverContent\":{\"generationComplete\":true}}");
	pass(2000);
	ck_assert_uint_eq(model_heard_ms(from), 1000);
	ck_assert_uint_eq(drops, 0);
}
END_TEST

/* It does not: the answer goes on after the window, and all of it is heard. */
START_TEST(test_turns_local_undone)
{
	pass(2000);
	model_says(2000);
	pass(1000);
	caller_speaks = true;
	pass(200);
	caller_speaks = false;
	message("{\"serverContent\":{\"generationComplete\":true}}");
	pass(TURN_UNDO_MS);
	ck_assert_uint_eq(COUNT(local_pauses), 1);
	ck_assert_uint_eq(COUNT(local_undone), 1);
	pass(3000);
	ck_assert_uint_ge(model_heard_ms(0), 2000);
	ck_assert_uint_le(model_heard_ms(0), 2020);
	ck_assert_ptr_nonnull(strstr(events, "finished_speaking"));
	ck_assert_ptr_nonnull(strstr(states, "talking ready"));
}
END_TEST

/* The end of an answer plays on when the service believes it is over: who speaks into it is heard all the same, and so is the next answer. */
START_TEST(test_turns_tail)
{
	unsigned int from;

	pass(2000);
	model_says(3000);
	message("{\"serverContent\":{\"generationComplete\":true}}");
	pass(1000);
	message("{\"serverContent\":{\"turnComplete\":true}}");
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_START\"}}");
	from = heard_count;
	pass(500);
	ck_assert_uint_eq(model_heard_ms(from), 0);
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_END\"}}");
	model_says(1000);
	message("{\"serverContent\":{\"generationComplete\":true}}");
	pass(2000);
	ck_assert_uint_eq(model_heard_ms(from), 1000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("worker_turns");
	TCase *loops = tcase_create("loops");

	unit_add_fixture(suite, "turns", begin, end, test_turns_finished_speaking, test_turns_response, test_turns_stamps,
		test_turns_phantom, test_turns_interrupted, test_turns_mute, test_turns_never_answered,
		test_turns_response_over_a_loss, test_turns_tail, test_turns_voice_before_the_gap,
		test_turns_backlog_is_no_silence, test_turns_follow_each_other, test_turns_keys_of_no_concern);
	tcase_add_checked_fixture(loops, begin, end);
	tcase_add_loop_test(loops, test_turns_keys_outlive_a_loss, 0, KEYS_CASES);
	tcase_add_loop_test(loops, test_turns_not_mute, 0, 4);
	tcase_add_loop_test(loops, test_turns_voice_in_a_gap, 0, 2);
	tcase_add_loop_test(loops, test_turns_voice_asks_by_itself, 0, 2);
	tcase_add_loop_test(loops, test_turns_function_of_a_lost_session, 0, 2);
	suite_add_tcase(suite, loops);
	unit_add_fixture(suite, "local", begin_local, end, test_turns_local_agreed, test_turns_local_undone);
	return unit_run(suite);
}
