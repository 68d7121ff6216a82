/* SPDX-License-Identifier: Apache-2.0 */
/* One call of a worker with a websocket and an endpoint that only write down what is asked of them. */
#include "../../shared/clock.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "ai_workers/call.h"
#include "ai_workers/call_gate.h"
#include "ai_workers/call_message.h"
#include "ai_workers/call_tools.h"
#include "ai_workers/endpoint.h"
#include "ai_workers/token_source.h"

#define START_MS 1000000u

static struct worker worker;
static char audio_message[8192];
static struct users users;
static struct user user;
static struct call *call;
static uint64_t now;
static unsigned int dials, dials_to_fail, closes, failures, reads, pings, unacknowledged_ms;
static unsigned int address;
static bool read_wanted, connected, clear;
static struct wss_config config;
static char resumed_how[16];
static int resumed_gap_ms, resumed_discarded_ms;
static struct service_account account = {.email = "voice@example.com"};
static const char *shown, *token, *trouble; /* of Vertex AI */
static uint64_t issued_ms;
static unsigned int rejections;

size_t wss_headroom(void)
{
	return 16;
}

struct wss_connection *wss_dial(struct wss *wss, const struct wss_config *to, const char *credential, void *owner)
{
	(void)wss;
	(void)to;
	shown = credential;
	(void)owner;
	dials++;
	if (dials_to_fail > 0) {
		dials_to_fail--;
		return NULL;
	}
	return (struct wss_connection *)&config;
}

bool wss_is_connected(const struct wss_connection *connection)
{
	(void)connection;
	return connected;
}

void wss_release(struct wss_connection *connection, bool graceful)
{
	(void)connection;
	(void)graceful;
}

void wss_close(struct wss_connection *connection)
{
	(void)connection;
	closes++;
}

void wss_want_write(struct wss_connection *connection)
{
	(void)connection;
}

bool wss_is_clear(const struct wss_connection *connection)
{
	(void)connection;
	return clear;
}

int wss_send(struct wss_connection *connection, char *text, size_t len)
{
	(void)connection;
	(void)text;
	(void)len;
	return 0;
}

void wss_ping(struct wss_connection *connection)
{
	(void)connection;
	pings++;
}

uint32_t wss_unacknowledged_ms(const struct wss_connection *connection)
{
	(void)connection;
	return unacknowledged_ms;
}

void wss_read(struct wss_connection *connection, bool wanted)
{
	(void)connection;
	reads++;
	read_wanted = wanted;
}

const struct wss_config *endpoint_config(struct endpoint *endpoint)
{
	(void)endpoint;
	config.address = address == 0 ? "192.0.2.1" : "192.0.2.2";
	return &config;
}

unsigned int endpoint_count(const struct endpoint *endpoint)
{
	(void)endpoint;
	return 2;
}

void endpoint_failed(struct endpoint *endpoint, const char *failed)
{
	(void)endpoint;
	failures++;
	if (strcmp(failed, endpoint_config(endpoint)->address) == 0)
		address = 1 - address;
}

void dataplane_link_say(struct dataplane_link *link, const char *name, cJSON *body)
{
	const char *event = cJSON_GetStringValue(cJSON_GetObjectItem(body, "event"));

	(void)link;
	(void)name;
	if (event != NULL && strcmp(event, "resumed") == 0) {
		snprintf(resumed_how, sizeof(resumed_how), "%s", cJSON_GetStringValue(cJSON_GetObjectItem(body, "how")));
		resumed_gap_ms = cJSON_GetObjectItem(body, "gap_ms")->valueint;
		resumed_discarded_ms = cJSON_GetObjectItem(body, "discarded_ms")->valueint;
	}
	cJSON_Delete(body);
}

const char *token_source_get(struct token_source *source, const struct service_account *of, uint64_t *issued)
{
	(void)source;
	ck_assert_ptr_eq(of, &account);
	if (token != NULL)
		*issued = issued_ms;
	return token;
}

const char *token_source_trouble(struct token_source *source, const struct service_account *of)
{
	(void)source;
	(void)of;
	return trouble;
}

bool token_source_rejected(struct token_source *source, const struct service_account *of, uint64_t issued)
{
	(void)source;
	(void)of;
	ck_assert_uint_eq(issued, issued_ms);
	rejections++;
	token = NULL;
	return true;
}

static void begin(void)
{
	shown = token = trouble = NULL;
	issued_ms = rejections = 0;
	now = START_MS;
	dials = dials_to_fail = closes = failures = reads = pings = unacknowledged_ms = address = 0;
	read_wanted = true;
	connected = clear = false;
	resumed_how[0] = '\0';
	worker = (struct worker){.options = {.message_ms = 40, .uplink_rate = 8000}};
	worker.message = audio_message;
	worker_gate_start(&worker);
	users = (struct users){.gemini = {.model = "m", .rotate_after_s = SESSION_ROTATE_AFTER_S}};
	user = (struct user){.name = "u", .api_key = (char *)"12345678", .users = &users, .key_first = &user};
}

static void start(void)
{
	struct dataplane_open open = {.uuid = "3f2b", .index = 1, .listening = true};

	call = call_create(&worker, &open, &user, now);
	ck_assert_ptr_nonnull(call);
	call->attached = false; /* no rings here */
	worker_gate_run(&worker, now);
}

static void end(void)
{
	call_destroy(call, now);
	gate_free(&worker.gate);
}

static void message(const char *text)
{
	char buffer[4096];

	snprintf(buffer, sizeof(buffer), "%s", text);
	call_message(call, buffer, strlen(buffer), now);
}

static void ready(void)
{
	start();
	call_step(call, &(struct session_event){.type = SESSION_UPGRADED}, now);
	message("{\"setupComplete\":{}}");
	ck_assert_int_eq(call->session.state, SESSION_READY);
	call->heard_ms = now;
}

#define AUDIO                                                                                                                    \
	"{\"serverContent\":{\"modelTurn\":{\"parts\":[{\"inlineData\":{\"mimeType\":\"audio/pcm;rate=24000\",\"data\":\""       \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" \
	"AAAAAA"                                                                                                                 \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" \
	"AAAAAA"                                                                                                                 \
	"\"}}]}}}"

/* goAway while the caller speaks: not at the end of the question, not while the answer gathers, only when it is over. */
START_TEST(test_call_answer_outlives_go_away)
{
	ready();
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_START\"}}");
	message("{\"goAway\":{\"timeLeft\":\"50s\"}}");
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_END\"}}");
	ck_assert_uint_eq(closes, 0);
	message(AUDIO);
	ck_assert(call->downlink.queue.len > 0);
	ck_assert(!call->downlink.speaking);
	ck_assert_uint_eq(closes, 0);
	message("{\"serverContent\":{\"interrupted\":true}}");
	ck_assert_uint_eq(closes, 0);
	now += SESSION_LULL_MS;
	call_tick(call, now);
	ck_assert_uint_eq(closes, 1);
}
END_TEST

/* A refusal for quota of one call: the conversations of its project keep their connections for the time, each a little longer. */
START_TEST(test_call_stays_while_its_project_is_closed)
{
	struct dataplane_open open = {.uuid = "4a5c", .index = 2, .listening = true};
	struct call *first, *second;
	uint64_t until;

	ready();
	first = call;
	second = call_create(&worker, &open, &user, now);
	second->attached = false;
	worker_gate_run(&worker, now);
	call_step(second, &(struct session_event){.type = SESSION_UPGRADED}, now);
	call_gate_lost(second, 1011, 0, "You exceeded your current quota", now);
	until = first->ticket.project->closed_until_ms;
	ck_assert_uint_gt(until, now + GATE_QUOTA_MS - 1);
	ck_assert_uint_gt(first->session.stay_ms, until);
	ck_assert_uint_le(first->session.stay_ms, until + 1000);
	ck_assert_uint_eq(second->session.stay_ms, 0);
	call_destroy(second, now);
}
END_TEST

/* The one whose connection that refusal has ended has none to keep, be it about to change connections or not. */
START_TEST(test_call_over_its_quota_keeps_nothing)
{
	ready();
	message("{\"goAway\":{\"timeLeft\":\"8s\"}}");
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_START\"}}");
	now = call->session.deadline_ms;
	call_let_go(call, false);
	call_lost(call, 1011, 0, "You exceeded your current quota", now);
	ck_assert_uint_eq(closes, 0);
	ck_assert_int_ne(call->session.state, SESSION_CLOSING);
}
END_TEST

#define MANY	   60u
#define CLOSED_MS  45000u
#define TICK_MS	   50u
#define REFUSED_MS (START_MS + SESSION_ROTATE_AFTER_S * 1000u - 1000u) /* before the first of them is old */

/* One of many: its service answers within a tick, and refuses every dial from REFUSED_MS on for CLOSED_MS. Returns whether it changes connections. */
static bool live(struct call *c)
{
	bool closing = c->session.state == SESSION_CLOSING;

	c->heard_ms = now;
	call_tick(c, now);
	if (closing && c->connection != NULL) {
		call_let_go(c, false);
		call_lost(c, 1000, 0, "", now);
	} else if (c->session.state == SESSION_DIALLING && c->connection != NULL) {
		if (now >= REFUSED_MS && now < REFUSED_MS + CLOSED_MS) {
			call_let_go(c, false);
			call_lost(c, 1006, 429, "HTTP 429", now);
			return false;
		}
		call = c;
		gate_opened(&worker.gate, &c->ticket);
		call_step(c, &(struct session_event){.type = SESSION_UPGRADED}, now);
		message("{\"setupComplete\":{}}");
	}
	return closing;
}

/* Sixty conversations grow old while their project is over its quota: none of them ends of it, and all get their new connection when there are some again. */
START_TEST(test_call_many_outlive_a_closed_project)
{
	struct dataplane_open open = {.listening = true};
	struct call *calls[MANY + 1];
	unsigned int count = 0, changed = 0;
	uint64_t last_ms = REFUSED_MS + CLOSED_MS + 120000;

	clear = true;
	for (; now < last_ms; now += TICK_MS) {
		if (now >= START_MS + count * 1000 && (count < MANY || (count == MANY && now >= REFUSED_MS))) {
			snprintf(open.uuid, sizeof(open.uuid), "%u", count);
			open.index = count;
			calls[count] = call_create(&worker, &open, &user, now);
			calls[count++]->attached = false;
		}
		worker_gate_run(&worker, now);
		for (unsigned int i = 0; i < count; i++)
			changed += live(calls[i]);
	}
	ck_assert_uint_eq(count, MANY + 1);
	/* The new one finds the project closed. */
	ck_assert_int_eq(calls[MANY]->session.state, SESSION_FAILED);
	for (unsigned int i = 0; i < MANY; i++) {
		ck_assert_msg(calls[i]->session.state == SESSION_READY, "call %u: state %d, %s", i, calls[i]->session.state,
			calls[i]->session.reason);
		ck_assert_msg(calls[i]->session.opened_ms > REFUSED_MS, "call %u still has its first connection", i);
	}
	ck_assert_uint_eq(changed, MANY);
	for (unsigned int i = 1; i <= MANY; i++)
		call_destroy(calls[i], now);
	call = calls[0];
}
END_TEST

START_TEST(test_call_greeting_outlives_go_away)
{
	user.greeting = (char *)"Say hello.";
	ready();
	message("{\"goAway\":{\"timeLeft\":\"50s\"}}");
	ck_assert_uint_eq(closes, 0);
	message("{\"serverContent\":{\"turnComplete\":true}}");
	now += SESSION_LULL_MS;
	call_tick(call, now);
	ck_assert_uint_eq(closes, 1);
}
END_TEST

/* An address that swallows the dial is not dialled again next. */
START_TEST(test_call_deadline_moves_on)
{
	start();
	ck_assert_str_eq(call->address, "192.0.2.1");
	now = call->session.deadline_ms;
	call_tick(call, now);
	ck_assert_uint_eq(failures, 1);
	now = call->session.deadline_ms;
	call_tick(call, now);
	worker_gate_run(&worker, now);
	ck_assert_str_eq(call->address, "192.0.2.2");
}
END_TEST

START_TEST(test_call_failed_start_moves_on)
{
	dials_to_fail = 1;
	start();
	ck_assert_uint_eq(dials, 2);
	ck_assert_str_eq(call->address, "192.0.2.2");
	ck_assert_int_eq(call->session.state, SESSION_DIALLING);
}
END_TEST

/* The data plane is a new one, and what the old one was playing is over: nothing holds a rotation back for ever. */
START_TEST(test_call_attach_ends_speech)
{
	struct dataplane_open open = {.uuid = "3f2b", .index = 2, .listening = true};

	ready();
	call->downlink.speaking = true;
	call_update_busy(call, now);
	message("{\"goAway\":{\"timeLeft\":\"50s\"}}");
	ck_assert_uint_eq(closes, 0);
	call_attach(call, &open, now);
	call->attached = false;
	now += SESSION_LULL_MS;
	call_tick(call, now);
	ck_assert_uint_eq(closes, 1);
}
END_TEST

/* A long answer still plays while the next session comes up: what that says must be read all the same. */
START_TEST(test_call_reads_until_ready)
{
	start();
	byte_queue_fill(&call->downlink.queue, 0xff, (DOWNLINK_FULL_MS + 1000) * 8);
	call_tick(call, now);
	call_step(call, &(struct session_event){.type = SESSION_UPGRADED}, now);
	call_tick(call, now);
	ck_assert_uint_eq(reads, 0);
	message("{\"setupComplete\":{}}");
	call->heard_ms = now;
	call_tick(call, now);
	ck_assert_uint_eq(reads, 1);
	ck_assert(!read_wanted);
}
END_TEST

static void lose_connection(void)
{
	call_let_go(call, false);
	call_lost(call, 1011, 0, "Internal error encountered.", now);
}

/* `ms` later the next one is ready. */
static void connect_again(unsigned int ms)
{
	now += ms;
	for (int i = 0; call->session.state != SESSION_DIALLING || call->connection == NULL; i++) {
		ck_assert_int_lt(i, 10000);
		call_tick(call, now);
		worker_gate_run(&worker, now);
		now += 5;
	}
	call_step(call, &(struct session_event){.type = SESSION_UPGRADED}, now);
	message("{\"setupComplete\":{}}");
	call->heard_ms = now;
}

static void come_back(unsigned int ms)
{
	lose_connection();
	connect_again(ms);
}

/* What is on its way to the service behind the setup, message by message. */
static const char *sent(unsigned int index)
{
	struct call_control *control = call->control != NULL ? call->control->next : NULL;

	while (control != NULL && index-- > 0)
		control = control->next;
	return control != NULL ? control->text : "";
}

#define HANDLE	 "{\"sessionResumptionUpdate\":{\"newHandle\":\"h\",\"resumable\":true}}"
#define QUESTION "{\"serverContent\":{\"inputTranscription\":{\"text\":\"When do you open?\"}}}"
#define ANSWER	 "{\"serverContent\":{\"outputTranscription\":{\"text\":\"We open at\"}}}"

/* The caller says something for a second: 40 ms each tick, and asks. */
static void say(void)
{
	for (int i = 0; i < 25; i++, now += 40) {
		byte_queue_fill(&call->uplink.queue, 0x12, 320);
		call->voice.began_ms = call->voice.spoke_ms = now;
		call_tick(call, now);
	}
	ck_assert_uint_eq(call->uplink.queue.len, 0);
	call_asked(call, now);
}

static void wait_until(uint64_t at_ms)
{
	for (; now < at_ms; now += 20)
		call_tick(call, now);
}

/* A question into a dead connection: noticed before the model would be reminded, and said again, not asked in other words. */
START_TEST(test_call_half_open)
{
	uint64_t heard, asked;

	ready();
	message("{\"sessionResumptionUpdate\":{\"newHandle\":\"h\",\"resumable\":true}}");
	clear = true;
	heard = call->heard_ms = now;
	say();
	asked = now;
	wait_until(asked + SESSION_ANSWER_MS - 2500);
	ck_assert_uint_eq(pings, 0);
	wait_until(now + 1900);
	ck_assert_uint_eq(pings, 1);
	ck_assert_int_eq(call->session.state, SESSION_READY);
	unacknowledged_ms = 6000;
	wait_until(now + 200);
	ck_assert_int_ne(call->session.state, SESSION_READY);
	ck_assert_uint_eq(closes, 0);
	ck_assert_uint_eq(call->session.mute, 2);
	ck_assert_uint_eq(call->uplink.queue.len, 8000);
	call->attached = true;
	connect_again(500);
	call->attached = false;
	ck_assert_str_eq(resumed_how, "resumed");
	ck_assert_int_ge(resumed_gap_ms, (int)(now - heard));
	ck_assert_int_eq(resumed_discarded_ms, 0);
	ck_assert_str_eq(sent(0), "");
	ck_assert(call->session.asked);
	wait_until(now + 1000);
	ck_assert_uint_eq(call->uplink.queue.len, 0);
}
END_TEST

/* TCP has noticed it first: the same. What ends in any other way has heard what was sent, as far as anybody knows. */
START_TEST(test_call_path_dies)
{
	uint64_t heard;

	for (int dead = 0; dead < 2; dead++) {
		if (dead) {
			end();
			begin();
		}
		ready();
		message("{\"sessionResumptionUpdate\":{\"newHandle\":\"h\",\"resumable\":true}}");
		clear = true;
		say();
		heard = call->heard_ms = vl_clock_ms() - 9000;
		call->session.asked_ms = call->uplink.unarrived_ms = heard + 5000;
		call_wss_handler.lost(call, 1006, 0, dead, "no");
		ck_assert_uint_eq(call->uplink.queue.len, dead ? 8000 : 0);
		ck_assert_uint_eq(call->uplink.unheard_ms, 0);
		if (dead)
			ck_assert_uint_eq(call->gap_ms, heard);
		else
			ck_assert_uint_ge(call->gap_ms, heard + 9000);
	}
}
END_TEST

/* A service that only takes its time, or a path that brings its pong, is not given up; a loss that is no silence repeats nothing. */
START_TEST(test_call_slow_is_not_dead)
{
	ready();
	clear = true;
	say();
	wait_until(now + SESSION_ANSWER_MS - 1000);
	ck_assert_uint_eq(pings, 1);
	call_wss_handler.pong(call);
	call->heard_ms = now;
	wait_until(now + 2500);
	ck_assert_uint_eq(pings, 1);
	ck_assert_int_eq(call->session.state, SESSION_READY);
	ck_assert_uint_eq(call->session.mute, 1);
	say();
	lose_connection();
	ck_assert_uint_eq(call->uplink.queue.len, 0);
	ck_assert_uint_eq(call->uplink.discarded, 0);
}
END_TEST

/* Until the connection that nobody answers on is given up, with a Close or without one. */
static void wait_for_another(void)
{
	ck_assert_int_eq(call->session.state, SESSION_READY);
	for (int i = 0; i < 1000 && call->session.state == SESSION_READY; i++, now += 20)
		call_tick(call, now);
	ck_assert_int_ne(call->session.state, SESSION_READY);
	now += SESSION_CLOSE_MS;
	call_tick(call, now);
	ck_assert_int_ne(call->session.state, SESSION_CLOSING);
}

/*
 * A question into a connection that acknowledges whatever it is sent: a service that stands still behind a proxy answers not even a ping, a deaf one does
 * that. Either way it is said again, and on the third session once more if need be; then nobody asks for it in other words.
 */
START_TEST(test_call_mute_connection)
{
	uint64_t asked;

	for (int alive = 0; alive < 2; alive++) {
		if (alive) {
			end();
			begin();
		}
		ready();
		message("{\"sessionResumptionUpdate\":{\"newHandle\":\"h\",\"resumable\":true}}");
		clear = true;
		say();
		asked = now;
		for (int connection = 0; connection < 2; connection++) {
			uint64_t heard = call->heard_ms;

			while (now < asked + (connection == 0 ? 13200 : 8700) && call->session.state == SESSION_READY) {
				call_tick(call, now);
				if (alive && pings > 0) {
					uplink_arrived(&call->uplink, now);
					call->urgent_ms = 0;
				}
				call->heard_ms = heard;
				now += 20;
			}
			ck_assert_int_ne(call->session.state, SESSION_READY);
			if (alive) {
				ck_assert_int_eq(call->session.state, SESSION_CLOSING);
				ck_assert_uint_eq(call->uplink.queue.len, 0);
				now += SESSION_CLOSE_MS;
				call_tick(call, now);
			}
			ck_assert_int_ne(call->session.state, SESSION_CLOSING);
			ck_assert_uint_eq(call->uplink.queue.len, 8000);
			call->attached = true;
			connect_again(500);
			call->attached = false;
			ck_assert_str_eq(resumed_how, connection == 0 ? "resumed" : "fresh");
			ck_assert_int_eq(resumed_discarded_ms, 0);
			ck_assert_str_eq(sent(0), "");
			ck_assert(call->session.asked);
			asked = now;
			wait_until(now + 1000);
			ck_assert_uint_eq(call->uplink.queue.len, 0);
			pings = 0;
		}
	}
}
END_TEST

/* What the service has shown to have heard is not said twice, be it by a word of the question or by any sign of an answer. */
START_TEST(test_call_heard_is_not_said_again)
{
	static const char *const signs[] = {"{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_END\"}}", QUESTION,
		"{\"serverContent\":{\"turnComplete\":true}}", "{\"serverContent\":{\"interrupted\":true}}",
		"{\"serverContent\":{\"outputTranscription\":{\"text\":\"Well\"}}}"};
	static const char *const no_signs[] = {"{}", "{\"serverContent\":{}}", "{\"usageMetadata\":{\"totalTokenCount\":7}}",
		"{\"sessionResumptionUpdate\":{\"newHandle\":\"i\",\"resumable\":true}}"};
	size_t count = sizeof(signs) / sizeof(signs[0]);

	for (size_t i = 0; i < count + sizeof(no_signs) / sizeof(no_signs[0]); i++) {
		if (i > 0) {
			end();
			begin();
		}
		ready();
		clear = true;
		say();
		now += 1200;
		message(i < count ? signs[i] : no_signs[i - count]);
		call_asked(call, now);
		wait_for_another();
		ck_assert_msg(call->uplink.queue.len == (i < count ? 0 : 8000), "sign %zu: %zu", i, call->uplink.queue.len);
	}
}
END_TEST

/* A connection that ends while its answer is merely slow has heard the question, as far as anybody knows. */
START_TEST(test_call_recent_words_are_not_said_again)
{
	for (int late = 0; late < 2; late++) {
		if (late) {
			end();
			begin();
		}
		ready();
		clear = true;
		say();
		wait_until(now + (late ? 5020 : 4900));
		message("{\"error\":{\"code\":503,\"message\":\"The service is currently unavailable.\"}}");
		ck_assert_int_ne(call->session.state, SESSION_READY);
		ck_assert_uint_eq(call->uplink.queue.len, late ? 8000 : 0);
	}
}
END_TEST

/* The service sends some pongs half a minute late: while it acknowledges what is sent, the model is reminded and the connection kept. */
START_TEST(test_call_late_pong_is_not_dead)
{
	ready();
	clear = true;
	say();
	wait_until(now + SESSION_ANSWER_MS + 1000);
	ck_assert_uint_eq(pings, 1);
	ck_assert_int_eq(call->session.state, SESSION_READY);
	ck_assert_uint_eq(call->session.mute, 1);
}
END_TEST

static struct tool book = {.name = "book", .timeout_s = 10};

/* Cut off in the middle of an answer: what has come is played, the rest is asked for. */
START_TEST(test_call_cut_answer_goes_on)
{
	size_t queued;

	ready();
	message(HANDLE);
	message(QUESTION);
	message(ANSWER);
	message(AUDIO);
	queued = call->downlink.queue.len;
	ck_assert_uint_gt(queued, 0);
	come_back(20);
	ck_assert(call->session.resumed);
	ck_assert_uint_ge(call->downlink.queue.len, queued);
	ck_assert(call->downlink.complete);
	ck_assert_ptr_nonnull(strstr(sent(0), "We open at"));
	ck_assert_ptr_nonnull(strstr(sent(0), "Go on from there"));
	ck_assert_str_eq(sent(1), "");
	ck_assert(call->session.asked);
}
END_TEST

/* The model stops in its middle, after a sentence or its first bytes, on a connection that lives: reminded, then asked for the rest on another one. */
START_TEST(test_call_answer_stops)
{
	static const char *const audios[] = {AUDIO, "{\"serverContent\":{\"modelTurn\":{\"parts\":[{\"inlineData\":{\"mimeType\":"
						    "\"audio/pcm;rate=24000\",\"data\":\"AAA=\"}}]}}}"};
	uint64_t stopped;

	for (size_t i = 0; i < 2; i++) {
		if (i > 0) {
			end();
			begin();
		}
		ready();
		message(HANDLE);
		message(QUESTION);
		if (i == 0)
			message(ANSWER);
		message(audios[i]);
		ck_assert(i == 1 || call->session.busy);
		clear = true;
		stopped = now;
		call->downlink.queue.len = 0;
		call->downlink.speaking = i == 0; /* a few bytes are not heard */
		call->downlink.play_end_ms = now;
		for (; now < stopped + DOWNLINK_SILENT_MS; now += 20) {
			ck_assert(!call->session.asked);
			call->heard_ms = now;
			call_tick(call, now);
		}
		for (; !call->session.asked && now < stopped + 60000; now += 20)
			call_tick(call, now);
		ck_assert(call->session.asked && !call->session.busy);
		ck_assert_uint_le(now, stopped + DOWNLINK_SILENT_MS + 40);
		for (; call->session.state == SESSION_READY && now < stopped + 60000; now += 20) {
			call->urgent_ms = 0; /* pings are answered */
			call_tick(call, now);
		}
		ck_assert_int_eq(call->session.state, SESSION_CLOSING);
		ck_assert_uint_ge(now, stopped + DOWNLINK_SILENT_MS + SESSION_ANSWER_MS + SESSION_NUDGED_MS);
		clear = false;
		now += SESSION_CLOSE_MS;
		call_tick(call, now);
		connect_again(500);
		ck_assert_ptr_nonnull(strstr(sent(0), i == 0 ? "Go on from there" : "Answer"));
	}
}
END_TEST

/* All of the answer had come: it plays on through the gap, and nothing is asked again. */
START_TEST(test_call_complete_answer_plays_on)
{
	size_t queued;

	ready();
	message(HANDLE);
	message(AUDIO);
	message("{\"serverContent\":{\"generationComplete\":true}}");
	queued = call->downlink.queue.len;
	come_back(20);
	ck_assert(call->session.resumed);
	ck_assert_uint_eq(call->downlink.queue.len, queued);
	ck_assert_str_eq(sent(0), "");
}
END_TEST

START_TEST(test_call_question_is_asked_again)
{
	ready();
	message(HANDLE);
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_START\"}}");
	message(QUESTION);
	message("{\"voiceActivity\":{\"voiceActivityType\":\"ACTIVITY_END\"}}");
	come_back(20);
	ck_assert_ptr_nonnull(strstr(sent(0), "When do you open?"));
	ck_assert_ptr_nonnull(strstr(sent(0), "Answer that"));
	/* Whose voice the old connection heard is not known any more. */
	ck_assert(!call->session.busy);
}
END_TEST

/* Without a handle the new session is told what was said, and does not speak before the caller does. */
START_TEST(test_call_reseeded)
{
	ready();
	call->attached = true;
	message(QUESTION);
	message(ANSWER);
	message("{\"serverContent\":{\"turnComplete\":true}}");
	come_back(700);
	ck_assert(!call->session.resumed);
	ck_assert_str_eq(resumed_how, "reseeded");
	ck_assert_int_ge(resumed_gap_ms, 700);
	ck_assert_int_lt(resumed_gap_ms, 1800);
	ck_assert_ptr_nonnull(strstr(sent(0), "\"clientContent\""));
	ck_assert_ptr_nonnull(strstr(sent(0), "When do you open?"));
	ck_assert_ptr_nonnull(strstr(sent(0), "\"turnComplete\":false"));
	ck_assert_str_eq(sent(1), "");
	call->attached = false;
}
END_TEST

/* The new session is told what a function came to meanwhile, or that nothing will come of it. */
START_TEST(test_call_reseeded_with_functions)
{
	cJSON *result = cJSON_Parse("{\"table\":4}");

	user.tools = &book;
	user.tool_count = 1;
	ready();
	call->attached = true;
	message(QUESTION);
	message("{\"toolCall\":{\"functionCalls\":[{\"id\":\"f1\",\"name\":\"book\",\"args\":{\"day\":1}},"
		"{\"id\":\"f2\",\"name\":\"book\",\"args\":{\"day\":2}}]}}");
	lose_connection();
	call_tools_result(call, "f1", result, NULL, now);
	connect_again(20);
	ck_assert_ptr_nonnull(strstr(sent(0), "book with {\\\"day\\\":1}. Its result: {\\\"table\\\":4}. Do not call it again"));
	ck_assert_ptr_nonnull(strstr(sent(0), "book with {\\\"day\\\":2}. Its result was lost"));
	cJSON_Delete(result);
	call->attached = false;
	user.tools = NULL;
	user.tool_count = 0;
}
END_TEST

START_TEST(test_call_lost_greeting_is_asked_again)
{
	user.greeting = (char *)"Say hello.";
	ready();
	come_back(20);
	ck_assert_ptr_nonnull(strstr(sent(0), "Say hello."));
	ck_assert_str_eq(sent(1), "");
}
END_TEST

START_TEST(test_call_error_in_message)
{
	static const struct {
		int code;
		bool fatal;
	} cases[] = {{400, true}, {401, true}, {403, true}, {404, true}, {429, false}, {500, false}, {503, false}};
	char text[96];

	ready();
	snprintf(text, sizeof(text), "{\"error\":{\"code\":%d,\"message\":\"no\"}}", cases[_i].code);
	message(text);
	ck_assert_int_eq(call->session.state == SESSION_FAILED, cases[_i].fatal);
}
END_TEST

/* With Vertex AI a dial waits for its token, and shows the one there is by then. */
START_TEST(test_call_waits_for_token)
{
	user.api_key = NULL;
	user.account = &account;
	start();
	ck_assert_uint_eq(dials, 0);
	now += 2000;
	call_tick(call, now);
	ck_assert_uint_eq(dials, 0);
	ck_assert_int_eq(call->session.state, SESSION_DIALLING);
	token = "Bearer t1";
	call_tick(call, now);
	ck_assert_uint_eq(dials, 1);
	ck_assert_str_eq(shown, "Bearer t1");
	call_tick(call, now + 5);
	ck_assert_uint_eq(dials, 1);
}
END_TEST

START_TEST(test_call_without_token)
{
	user.account = &account;
	start();
	now += 2900;
	call_tick(call, now);
	ck_assert_int_eq(call->session.state, SESSION_WAITING);
	ck_assert_str_eq(call->session.reason, "no access token for voice@example.com: its token endpoint has not answered yet");
	/* What the endpoint has refused is said at once. */
	trouble = "invalid_grant: Invalid JWT Signature. (HTTP status 400)";
	now = call->session.deadline_ms;
	call_tick(call, now);
	worker_gate_run(&worker, now);
	ck_assert_int_eq(call->session.state, SESSION_WAITING);
	ck_assert_str_eq(call->session.reason,
		"no access token for voice@example.com: invalid_grant: Invalid JWT Signature. (HTTP status 400)");
	ck_assert_uint_eq(dials, 0);
}
END_TEST

/* 401 at the upgrade: another token, once; the second 401 is the account's fault. */
START_TEST(test_call_token_refused)
{
	user.account = &account;
	token = "Bearer t1";
	start();
	ck_assert_uint_eq(dials, 1);
	issued_ms = 0;
	call_wss_handler.lost(call, 1006, 401, false, "no");
	ck_assert_uint_eq(rejections, 1);
	ck_assert_int_eq(call->session.state, SESSION_DIALLING);
	ck_assert_uint_ne(call->credential_wait_ms, 0);
	call->credential_wait_ms = now; /* events of a connection bring the real clock */
	call_tick(call, now + 100);
	ck_assert_uint_eq(dials, 1);
	token = "Bearer t2";
	issued_ms = 7;
	call_tick(call, now + 200);
	ck_assert_uint_eq(dials, 2);
	ck_assert_str_eq(shown, "Bearer t2");
	call_wss_handler.lost(call, 1006, 401, false, "no");
	ck_assert_uint_eq(rejections, 1);
	ck_assert_int_eq(call->session.state, SESSION_FAILED);
}
END_TEST

/* A key has nothing to renew. */
START_TEST(test_call_key_refused)
{
	start();
	ck_assert_str_eq(shown, "12345678");
	call_wss_handler.lost(call, 1006, 401, false, "no");
	ck_assert_uint_eq(rejections, 0);
	ck_assert_int_eq(call->session.state, SESSION_FAILED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("worker_call");
	TCase *errors = tcase_create("errors");

	unit_add_fixture(suite, "call", begin, end, test_call_answer_outlives_go_away,
		test_call_stays_while_its_project_is_closed, test_call_over_its_quota_keeps_nothing,
		test_call_many_outlive_a_closed_project, test_call_greeting_outlives_go_away, test_call_deadline_moves_on,
		test_call_half_open, test_call_mute_connection, test_call_heard_is_not_said_again,
		test_call_recent_words_are_not_said_again, test_call_path_dies, test_call_slow_is_not_dead,
		test_call_late_pong_is_not_dead, test_call_failed_start_moves_on, test_call_attach_ends_speech,
		test_call_reads_until_ready, test_call_cut_answer_goes_on, test_call_answer_stops,
		test_call_complete_answer_plays_on, test_call_question_is_asked_again, test_call_reseeded,
		test_call_reseeded_with_functions, test_call_lost_greeting_is_asked_again);
	unit_add_fixture(suite, "credential", begin, end, test_call_waits_for_token, test_call_without_token,
		test_call_token_refused, test_call_key_refused);
	tcase_add_checked_fixture(errors, begin, end);
	tcase_add_loop_test(errors, test_call_error_in_message, 0, 7);
	suite_add_tcase(suite, errors);
	return unit_run(suite);
}
