/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers' socket against workers played by the test: hello and its refusals, the order of attach and detach, whose
 * messages are believed, backlog, liveness, the choice of a worker. Lcores are played by struct workers_ops; time is the
 * test's.
 */
#include "dpdk_app/workers.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dpdk_app/worker_messages.h"
#include "shared/log.h"

static struct {
	struct workers *workers;
	struct calls *calls;
	char directory[64], path[96];
	uint64_t now_ms;
	/* What the ops saw. */
	struct vl_channel *channel[WORKERS_SLOTS];
	bool detach_done;
	int attach_result;
	unsigned int attached, detach_asked, ready, lost, states, transcripts, events, ends, dtmfs;
	char log[512]; /* order of the ops */
	char reason[WORKER_REASON_SIZE];
} t;

static void note(const char *what)
{
	strncat(t.log, what, sizeof(t.log) - strlen(t.log) - 1);
}

static int fake_attach(void *context, unsigned int slot, struct vl_channel *channel)
{
	ck_assert_ptr_eq(context, &t);
	t.channel[slot] = channel;
	t.attached++;
	note("attach ");
	return t.attach_result;
}

static bool fake_detach(void *context, unsigned int slot)
{
	(void)context;
	/* The channel must still be mapped: an lcore may be reading it. */
	ck_assert_ptr_nonnull(t.channel[slot]->base);
	t.detach_asked++;
	note(t.detach_done ? "detached " : "detaching ");
	return t.detach_done;
}

static void fake_ready(void *context, unsigned int slot, bool first)
{
	(void)context;
	(void)slot;
	t.ready++;
	note(first ? "ready " : "more ");
}

static void fake_lost(void *context, unsigned int slot, const char *name, const char *reason)
{
	(void)context;
	ck_assert_str_ne(name, "");
	t.lost++;
	note("lost ");
	snprintf(t.reason, sizeof(t.reason), "%s", reason);
	for (struct call *call = calls_next(t.calls, NULL); call != NULL; call = calls_next(t.calls, call)) {
		if (call->worker == slot)
			call->worker = CALL_NO_WORKER;
	}
}

static void fake_state(void *context, struct call *call, const cJSON *message)
{
	(void)context;
	snprintf(call->state, sizeof(call->state), "%s", cJSON_GetObjectItem(message, "state")->valuestring);
	t.states++;
}

static void fake_transcript(void *context, struct call *call, const cJSON *message)
{
	(void)context;
	(void)call;
	(void)message;
	t.transcripts++;
}

static void fake_event(void *context, struct call *call, const cJSON *message)
{
	(void)context;
	(void)call;
	(void)message;
	t.events++;
}

static void fake_end(void *context, struct call *call, const cJSON *message)
{
	(void)context;
	ck_assert_str_eq(cJSON_GetObjectItem(message, "session")->valuestring, call->uuid);
	t.ends++;
}

static void fake_dtmf(void *context, struct call *call, const cJSON *message)
{
	(void)context;
	ck_assert_str_eq(cJSON_GetObjectItem(message, "session")->valuestring, call->uuid);
	t.dtmfs++;
}

static const struct workers_ops fake_ops = {
	.attach = fake_attach,
	.detach = fake_detach,
	.ready = fake_ready,
	.lost = fake_lost,
	.state = fake_state,
	.transcript = fake_transcript,
	.event = fake_event,
	.end = fake_end,
	.dtmf = fake_dtmf,
};

static struct config_shard shards[1]; /* in force while it has users */

static void setup(void)
{
	struct workers_settings settings = {.path = t.path,
		.mode = 0600,
		.timeout_ms = 3000,
		.ring_slots = 64,
		.lcores = 2,
		.max = 8,
		.node = "n",
		.tsc_hz = 1000,
		.shards = shards,
		.shard_count = shards[0].user_count > 0 ? 1 : 0};

	memset(&t, 0, sizeof(t));
	strcpy(t.directory, "/tmp/voxlane-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(t.directory));
	snprintf(t.path, sizeof(t.path), "%s/workers.sock", t.directory);
	t.now_ms = 1000;
	t.detach_done = true;
	t.calls = calls_new(16, 0);
	t.workers = workers_new(&settings, t.calls, &fake_ops, &t);
	ck_assert_ptr_nonnull(t.workers);
}

static void teardown(void)
{
	workers_free(t.workers);
	calls_free(t.calls);
	ck_assert_int_ne(access(t.path, F_OK), 0);
	ck_assert_int_eq(rmdir(t.directory), 0);
}

static void run(void)
{
	workers_run(t.workers, t.now_ms);
	workers_run(t.workers, t.now_ms);
}

static int dial(void)
{
	struct vl_link_peer peer;
	int link = vl_link_connect(t.path, &peer);

	ck_assert_int_ge(link, 0);
	ck_assert_int_eq(peer.pid, getpid());
	run();
	return link;
}

static void say(int link, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(int link, const char *format, ...)
{
	char text[VL_LINK_MESSAGE_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	ck_assert_int_eq(vl_link_send(link, text, strlen(text), NULL, 0), 0);
	run();
}

/* The next message, "" when there is none, "closed" when the link is. */
static const char *hear(int link, int *fds, size_t *fd_count)
{
	static char text[VL_LINK_MESSAGE_MAX + 1];
	size_t none = 0;
	ssize_t len = vl_link_receive(link, text, fds, fd_count != NULL ? fd_count : &none);

	if (len == -EAGAIN)
		return "";
	if (len <= 0)
		return "closed";
	return text;
}

static int attach(const char *name, const char *users, unsigned int capacity)
{
	size_t fd_count = VL_LINK_FDS_MAX;
	int link = dial(), fds[VL_LINK_FDS_MAX];

	say(link, "{\"hello\": {\"abi\": 1, \"name\": \"%s\", \"users\": %s, \"capacity\": %u}}", name, users, capacity);
	ck_assert_str_eq(hear(link, fds, &fd_count), "{\"welcome\":{\"abi\":1,\"node\":\"n\",\"lcores\":2,\"tsc_hz\":1000}}");
	ck_assert_uint_eq(fd_count, 2);
	close(fds[0]);
	close(fds[1]);
	ck_assert_str_eq(hear(link, NULL, NULL), "{\"ping\":1}");
	return link;
}

static struct call *add_call(const char *user, uint8_t seed, int slot)
{
	uint8_t random[16] = {seed};
	struct call *call = calls_add(t.calls, user, random, t.now_ms);

	ck_assert_ptr_nonnull(call);
	ck_assert_int_ge(slot, 0);
	call->worker = (uint8_t)slot;
	workers_open(t.workers, (unsigned int)slot, call);
	return call;
}

START_TEST(test_workers_welcome_brings_the_channel)
{
	size_t fd_count = VL_LINK_FDS_MAX;
	int link = dial(), fds[VL_LINK_FDS_MAX];
	struct vl_channel channel = {0};
	struct vl_record *record;

	ck_assert_int_eq(workers_choose(t.workers, "admin2"), -ENOENT);
	say(link, "{\"hello\": {\"abi\": 1, \"name\": \"w\", \"users\": [\"admin2\"], \"capacity\": 1}}");
	hear(link, fds, &fd_count);
	ck_assert_uint_eq(fd_count, 2);
	ck_assert_int_eq(vl_channel_map(&channel, fds[0]), 0);
	ck_assert_uint_eq(channel.lcores, 2);
	ck_assert_int_eq(workers_choose(t.workers, "admin2"), 0);
	ck_assert_int_eq(workers_choose(t.workers, "agent4"), -ENOENT);
	/* Asleep with nothing to hear, then with caller audio in the ring of the second lcore: only that rings. */
	atomic_store(channel.worker_sleeps, 1);
	run();
	ck_assert_int_eq(poll(&(struct pollfd){.fd = fds[1], .events = POLLIN}, 1, 0), 0);
	record = vl_ring_reserve(&t.channel[0]->up[1], VL_RECORD_AUDIO, 160);
	ck_assert_ptr_nonnull(record);
	vl_ring_publish(&t.channel[0]->up[1]);
	atomic_store(channel.worker_sleeps, 0);
	run();
	ck_assert_int_eq(poll(&(struct pollfd){.fd = fds[1], .events = POLLIN}, 1, 0), 0);
	atomic_store(channel.worker_sleeps, 1);
	run();
	ck_assert_int_eq(poll(&(struct pollfd){.fd = fds[1], .events = POLLIN}, 1, 0), 1);
	vl_channel_unmap(&channel);
	close(fds[0]);
	close(fds[1]);
	close(link);
	run();
	ck_assert_uint_eq(workers_count(t.workers), 0);
	ck_assert_str_eq(t.log, "attach ready lost detached ");
}
END_TEST

START_TEST(test_workers_refuse_a_wrong_hello)
{
	static const struct {
		const char *message, *refusal;
	} cases[] = {
		{"nonsense", "refused"},
		{"{}", "exactly one member"},
		{"{\"hello\": {}, \"ping\": 1}", "exactly one member"},
		{"{\"ping\": 1}", "must be hello"},
		{"{\"hallo\": {}}", "hallo"},
		{"{\"hello\": {\"abi\": 2, \"name\": \"w\", \"users\": [], \"capacity\": 1}}", "ABI 2"},
		{"{\"hello\": {\"abi\": 1, \"name\": \"w\", \"users\": [], \"capacity\": 0}}", "capacity"},
		{"{\"hello\": {\"abi\": 1, \"name\": \"w w\", \"users\": [], \"capacity\": 1}}", "hello.name"},
		{"{\"hello\": {\"abi\": 1, \"name\": \"../../etc/passwd\", \"users\": [], \"capacity\": 1}}", "hello.name"},
		{"{\"hello\": {\"abi\": 1, \"name\": \"w\", \"users\": [5], \"capacity\": 1}}", "hello.users"},
		{"{\"hello\": {\"abi\": 1, \"name\": \"w\", \"users\": [\"a\\nb\"], \"capacity\": 1}}", "hello.users"},
		{"{\"hello\": {\"abi\": 1, \"name\": \"w\", \"users\": [\"\"], \"capacity\": 1}}", "hello.users"},
		{"{\"hello\": {\"abi\": 1, \"name\": \"w\", \"capacity\": 1}}", "users"},
		{"{\"hello\": {\"abi\": 1, \"name\": \"w\", \"users\": [], \"capacity\": 1, \"extra\": 1}}", "extra"},
		{"{\"hello\": {\"abi\": 1, \"name\": \"taken\", \"users\": [], \"capacity\": 1}}", "connected already"},
	};
	int taken = attach("taken", "[]", 1);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *answer;
		int link = dial();

		say(link, "%s", cases[i].message);
		answer = hear(link, NULL, NULL);
		ck_assert_msg(strstr(answer, "{\"refused\":") == answer && strstr(answer, cases[i].refusal) != NULL, "%s: %s",
			cases[i].message, answer);
		ck_assert_str_eq(hear(link, NULL, NULL), "closed");
		close(link);
	}
	ck_assert_uint_eq(t.attached, 1);
	ck_assert_uint_eq(workers_count(t.workers), 1);
	close(taken);
	run();
	ck_assert_uint_eq(workers_count(t.workers), 0);
}
END_TEST

START_TEST(test_workers_channel_outlives_the_lcores_use_of_it)
{
	int link = attach("w", "[\"admin2\"]", 8);

	t.detach_done = false;
	close(link);
	run();
	run();
	ck_assert_uint_eq(t.lost, 1);
	ck_assert_uint_eq(workers_count(t.workers), 1);
	ck_assert_ptr_nonnull(t.channel[0]->base);
	ck_assert_int_eq(workers_choose(t.workers, "admin2"), -ENOENT);
	ck_assert_ptr_null(workers_at(t.workers, 0));
	/* It is back while its old slot is still leaving: another slot, the same name. */
	link = attach("w", "[\"admin2\"]", 8);
	ck_assert_int_eq(workers_choose(t.workers, "admin2"), 1);
	t.detach_done = true;
	run();
	ck_assert_uint_eq(workers_count(t.workers), 1);
	ck_assert_ptr_null(t.channel[0]->base);
	close(link);
	run();
	ck_assert_uint_eq(workers_count(t.workers), 0);
}
END_TEST

START_TEST(test_workers_attach_that_fails_is_taken_back)
{
	int link = dial();

	t.attach_result = -ENOBUFS;
	say(link, "{\"hello\": {\"abi\": 1, \"name\": \"w\", \"users\": [\"u\"], \"capacity\": 1}}");
	ck_assert_ptr_nonnull(strstr(hear(link, NULL, NULL), "refused"));
	run();
	ck_assert_uint_eq(t.detach_asked, 1);
	ck_assert_uint_eq(t.ready, 0);
	ck_assert_uint_eq(workers_count(t.workers), 0);
	close(link);
}
END_TEST

START_TEST(test_workers_believe_only_the_owner_of_a_call)
{
	int one = attach("one", "[\"admin2\"]", 8), two = attach("two", "[\"agent4\"]", 8);
	struct call *a = add_call("admin2", 1, workers_choose(t.workers, "admin2"));
	struct call *b = add_call("agent4", 2, workers_choose(t.workers, "agent4"));

	ck_assert_uint_ne(a->worker, b->worker);
	say(one, "{\"state\": {\"session\": \"%s\", \"state\": \"ready\"}}", a->uuid);
	ck_assert_uint_eq(t.states, 1);
	ck_assert_str_eq(a->state, "ready");
	say(two, "{\"state\": {\"session\": \"%s\", \"state\": \"failed\"}}", a->uuid);
	say(two, "{\"transcript\": {\"session\": \"%s\", \"side\": \"caller\", \"text\": \"x\", \"final\": true}}", a->uuid);
	say(two, "{\"event\": {\"session\": \"%s\", \"event\": \"interrupted\"}}", a->uuid);
	say(two, "{\"end\": {\"session\": \"%s\", \"reason\": \"x\"}}", a->uuid);
	say(two, "{\"dtmf\": {\"session\": \"%s\", \"id\": \"1\", \"digits\": \"1\"}}", a->uuid);
	ck_assert_uint_eq(t.states, 1);
	ck_assert_uint_eq(t.transcripts + t.events + t.ends + t.dtmfs, 0);
	ck_assert_str_eq(a->state, "ready");
	ck_assert_uint_eq(workers_at(t.workers, b->worker)->messages_foreign, 5);
	/* A call that just ended is no offence. */
	say(two, "{\"event\": {\"session\": \"00000000-0000-4000-8000-000000000000\", \"event\": \"interrupted\"}}");
	ck_assert_uint_eq(workers_at(t.workers, b->worker)->messages_foreign, 5);
	say(one, "{\"end\": {\"session\": \"%s\", \"reason\": \"the model ended the call\"}}", a->uuid);
	ck_assert_uint_eq(t.ends, 1);
	say(one, "{\"transcript\": {\"session\": \"%s\", \"side\": \"model\", \"text\": \"\", \"final\": false}}", a->uuid);
	say(one, "{\"event\": {\"session\": \"%s\", \"event\": \"usage\", \"more\": [1, 2]}}", a->uuid);
	ck_assert_uint_eq(t.transcripts, 1);
	ck_assert_uint_eq(t.events, 1);
	close(one);
	run();
	ck_assert_uint_eq(a->worker, CALL_NO_WORKER);
	ck_assert_uint_ne(b->worker, CALL_NO_WORKER);
	close(two);
}
END_TEST

START_TEST(test_workers_a_bad_message_costs_only_itself)
{
	static const char *const bad[] = {
		"[]",
		"{\"state\": 5}",
		"{\"state\": {\"session\": \"%s\", \"state\": \"dancing\"}}",
		"{\"state\": {\"session\": \"%s\"}}",
		"{\"state\": {\"session\": \"short\", \"state\": \"ready\"}}",
		"{\"state\": {\"session\": \"%s\", \"state\": \"ready\", \"code\": -1}}",
		"{\"state\": {\"session\": \"%s\", \"state\": \"ready\", \"extra\": 1}}",
		"{\"transcript\": {\"session\": \"%s\", \"side\": \"both\", \"text\": \"\", \"final\": true}}",
		"{\"transcript\": {\"session\": \"%s\", \"side\": \"model\", \"text\": 7, \"final\": true}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"explosion\"}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"turn\"}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"turn\", \"turn\": {\"response_ms\": \"soon\"}}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"turn\", \"turn\": {\"model_to_ms_ago\": -1}}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"turn\", \"turn\": {\"number\": 1e10}}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"turn\", \"turn\": {\"interrupted\": 1}}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"turn\", \"turn\": {\"response_ms\": true}}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"turn\", \"turn\": {\"model_to_ms\": 1}}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"turn\", \"turn\": {}, \"x\": 1}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"tool_call\"}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"tool_call\", \"call\": {\"name\": \"f\"}}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"tool_call\", \"call\": {\"id\": 7}}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"tool_lost\", \"id\": \"\"}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"transfer_requested\"}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"dtmf\", \"digit\": \"E\", \"duration_ms\": 1}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"dtmf\", \"digit\": \"12\", \"duration_ms\": 1}}",
		"{\"event\": {\"session\": \"%s\", \"event\": \"dtmf\", \"digit\": \"1\"}}",
		"{\"dtmf\": {\"session\": \"%s\", \"digits\": \"1\"}}",
		"{\"end\": {\"session\": \"%s\"}}",
		"{\"end\": {\"session\": \"%s\", \"reason\": \"\"}}",
		"{\"end\": {\"session\": \"%s\", \"reason\": \"x\", \"now\": true}}",
		"{\"ping\": \"x\"}",
		"{\"users\": {}}",
		"{\"open\": {}}",
	};
	int link = attach("w", "[\"u\"]", 8);
	struct call *call = add_call("u", 1, 0);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[512];

		snprintf(text, sizeof(text), bad[i], call->uuid);
		say(link, "%s", text);
		ck_assert_uint_eq(workers_at(t.workers, 0)->messages_refused, i + 1);
	}
	ck_assert_uint_eq(t.states + t.transcripts + t.events + t.ends + t.dtmfs, 0);
	say(link, "{\"state\": {\"session\": \"%s\", \"state\": \"failed\", \"reason\": \"quota\", \"code\": 1011}}", call->uuid);
	ck_assert_uint_eq(t.states, 1);
	close(link);
}
END_TEST

START_TEST(test_workers_turns_have_times_of_the_call)
{
	cJSON *body = cJSON_Parse(
		"{\"session\":\"s\",\"event\":\"turn\",\"turn\":{\"number\":3,\"caller_to_ms_ago\":1500,"
		"\"model_from_ms_ago\":700,\"model_to_ms_ago\":0,\"caller_from_ms_ago\":99999,\"interrupted\":true}}");
	cJSON *turn = worker_message_turn(body, 10000);
	char *text = cJSON_PrintUnformatted(turn);

	ck_assert_str_eq(text, "{\"session\":\"s\",\"event\":\"turn\",\"turn\":{\"number\":3,\"interrupted\":true,"
			       "\"caller_from_ms\":0,\"caller_to_ms\":8500,\"model_from_ms\":9300,\"model_to_ms\":10000}}");
	cJSON_free(text);
	cJSON_Delete(turn);
	cJSON_Delete(body);
}
END_TEST

START_TEST(test_workers_open_close_and_hold_are_told_in_order)
{
	int link = attach("w", "[\"u\"]", 2);
	struct call *call = add_call("u", 7, 0);
	char expected[512];

	snprintf(expected, sizeof(expected),
		"{\"open\":{\"session\":\"%s\",\"index\":0,\"generation\":1,\"lcore\":0,\"user\":\"u\",\"codec\":\"PCMU\","
		"\"event_payload_type\":0,\"held\":false,\"listening\":false}}",
		call->uuid);
	ck_assert_str_eq(hear(link, NULL, NULL), expected);
	call->held = true;
	workers_hold(t.workers, 0, call);
	snprintf(expected, sizeof(expected), "{\"hold\":{\"session\":\"%s\",\"held\":true}}", call->uuid);
	ck_assert_str_eq(hear(link, NULL, NULL), expected);
	cJSON *result = cJSON_Parse("{\"a\":[1,{\"b\":null}]}");

	workers_tool_result(t.workers, 0, call, "call_1", result, NULL);
	cJSON_Delete(result);
	snprintf(expected, sizeof(expected), "{\"tool_result\":{\"session\":\"%s\",\"id\":\"call_1\",\"result\":%s}}", call->uuid,
		"{\"a\":[1,{\"b\":null}]}");
	ck_assert_str_eq(hear(link, NULL, NULL), expected);
	workers_tool_result(t.workers, 0, call, "2", NULL, "no \"such\" thing");
	snprintf(expected, sizeof(expected),
		"{\"tool_result\":{\"session\":\"%s\",\"id\":\"2\",\"error\":\"no \\\"such\\\" thing\"}}", call->uuid);
	ck_assert_str_eq(hear(link, NULL, NULL), expected);
	workers_tool_result(t.workers, CALL_NO_WORKER, call, "2", NULL, "x"); /* nobody to tell */
	call->listening = true;
	workers_listening(t.workers, 0, call);
	snprintf(expected, sizeof(expected), "{\"listening\":{\"session\":\"%s\",\"listening\":true}}", call->uuid);
	ck_assert_str_eq(hear(link, NULL, NULL), expected);
	ck_assert_uint_eq(workers_at(t.workers, 0)->calls, 1);
	workers_close(t.workers, 0, call, "deleted");
	ck_assert_uint_eq(workers_at(t.workers, 0)->calls, 0);
	snprintf(expected, sizeof(expected), "{\"close\":{\"session\":\"%s\",\"reason\":\"deleted\"}}", call->uuid);
	ck_assert_str_eq(hear(link, NULL, NULL), expected);
	close(link);
}
END_TEST

START_TEST(test_workers_silence_and_pings)
{
	int link = attach("w", "[\"u\"]", 2);

	t.now_ms += WORKERS_PING_MS - 1;
	run();
	ck_assert_str_eq(hear(link, NULL, NULL), "");
	t.now_ms += 1;
	run();
	ck_assert_str_eq(hear(link, NULL, NULL), "{\"ping\":2}");
	say(link, "{\"pong\": 2}");
	say(link, "{\"ping\": 77}");
	ck_assert_str_eq(hear(link, NULL, NULL), "{\"pong\":77}");
	t.now_ms += 2999;
	run();
	ck_assert_uint_eq(t.lost, 0);
	t.now_ms += 1;
	run();
	ck_assert_uint_eq(t.lost, 1);
	ck_assert_ptr_nonnull(strstr(t.reason, "3000 ms"));
	close(link);
	link = dial();
	t.now_ms += WORKERS_HELLO_MS;
	run();
	ck_assert_str_eq(hear(link, NULL, NULL), "closed");
	ck_assert_uint_eq(workers_count(t.workers), 0);
	close(link);
}
END_TEST

START_TEST(test_workers_that_do_not_read_are_cut_off)
{
	int link = attach("w", "[\"u\"]", 1000000);
	struct call *call = add_call("u", 1, 0);

	for (unsigned int i = 0; i < 2 * WORKERS_BACKLOG_MESSAGES && t.lost == 0; i++) {
		workers_open(t.workers, 0, call);
		if (i % 256 == 0)
			run();
	}
	run();
	ck_assert_uint_eq(t.lost, 1);
	ck_assert_ptr_nonnull(strstr(t.reason, "does not read"));
	ck_assert_uint_eq(workers_count(t.workers), 0);
	close(link);
}
END_TEST

/* Read one open message, which must carry the generation after the last. Returns false when there is none. */
static bool hear_generation(int link, unsigned int *heard)
{
	const char *text = hear(link, NULL, NULL), *generation;

	if (text[0] == 0)
		return false;
	generation = strstr(text, "\"generation\":");
	ck_assert_ptr_nonnull(generation);
	ck_assert_uint_eq(strtoul(generation + strlen("\"generation\":"), NULL, 10), ++*heard);
	return true;
}

START_TEST(test_workers_backlog_keeps_the_order)
{
	int link = attach("w", "[\"u\"]", 1000000);
	struct call *call = add_call("u", 1, 0);
	unsigned int sent = 0, heard = 0;

	hear(link, NULL, NULL); /* the first open, of add_call() */
	while (sent < 1000) {
		call->ref.generation = ++sent;
		workers_open(t.workers, 0, call);
		/* Reading makes room behind what is kept: the next one must not slip into it. */
		if (sent > 900)
			hear_generation(link, &heard);
	}
	for (unsigned int idle = 0; idle < 2;) {
		idle = hear_generation(link, &heard) ? 0 : idle + 1;
		run();
	}
	ck_assert_uint_eq(heard, sent);
	call->ref.generation = 1;
	close(link);
}
END_TEST

START_TEST(test_workers_choose_the_emptiest_that_serves_the_user)
{
	int small = attach("small", "[\"a\", \"b\"]", 2), big = attach("big", "[\"a\"]", 4),
	    other = attach("other", "[\"c\"]", 100);
	unsigned int given[3] = {0};
	int slot;

	for (uint8_t i = 0; (slot = workers_choose(t.workers, "a")) >= 0; i++) {
		add_call("a", i, slot);
		given[slot]++;
	}
	ck_assert_int_eq(slot, -EBUSY);
	ck_assert_uint_eq(given[0], 2);
	ck_assert_uint_eq(given[1], 4);
	ck_assert_uint_eq(given[2], 0);
	ck_assert_int_eq(workers_choose(t.workers, "b"), -EBUSY);
	ck_assert_int_eq(workers_choose(t.workers, "d"), -ENOENT);
	ck_assert_uint_eq(workers_user_count(t.workers), 3);
	say(other, "{\"users\": [\"d\", \"c\"]}");
	ck_assert_int_eq(workers_choose(t.workers, "d"), 2);
	ck_assert_uint_eq(workers_user_count(t.workers), 4);
	ck_assert_str_eq(t.log, "attach ready attach ready attach ready more ");
	close(small);
	close(big);
	close(other);
}
END_TEST

START_TEST(test_workers_a_broken_ring_cuts_off)
{
	size_t fd_count = VL_LINK_FDS_MAX;
	int link = dial(), fds[VL_LINK_FDS_MAX];
	struct vl_channel channel = {0};
	struct vl_record header;
	const uint8_t *payload;

	say(link, "{\"hello\": {\"abi\": 1, \"name\": \"w\", \"users\": [], \"capacity\": 1}}");
	hear(link, fds, &fd_count);
	ck_assert_int_eq(vl_channel_map(&channel, fds[0]), 0);
	memset(channel.down[1].slots, 0xff, VL_SLOT_SIZE);
	ck_assert_ptr_nonnull(vl_ring_reserve(&channel.down[1], VL_RECORD_FRAME, 160));
	memset(channel.down[1].slots, 0xff, VL_SLOT_SIZE);
	vl_ring_publish(&channel.down[1]);
	ck_assert_int_eq(vl_ring_next(&t.channel[0]->down[1], &header, &payload), -EPROTO);
	run();
	ck_assert_uint_eq(t.lost, 1);
	ck_assert_ptr_nonnull(strstr(t.reason, "ring pair 1"));
	vl_channel_unmap(&channel);
	close(fds[0]);
	close(fds[1]);
	close(link);
}
END_TEST

/* An account that connects in a loop is turned away before anything is made for it, and heard again later. */
START_TEST(test_workers_that_connect_in_a_loop)
{
	const char *answer;
	unsigned int i;
	int link;

	for (i = 0; workers_turned_away(t.workers) == 0 && i < 1000; i++) {
		close(dial());
		run();
	}
	ck_assert_uint_eq(i, 129);
	for (i = 0; i < 100; i++) {
		t.now_ms += 10;
		link = dial();
		answer = hear(link, NULL, NULL);
		close(link);
		run();
		if (strstr(answer, "connects too often") == NULL)
			ck_assert_str_eq(answer, "");
	}
	/* Four a second were let in. */
	ck_assert_uint_eq(workers_turned_away(t.workers), 1 + 100 - 4);
	ck_assert_uint_eq(workers_count(t.workers), 0);
	t.now_ms += 1000;
	link = attach("w", "[\"u\"]", 1);
	ck_assert_int_ge(workers_choose(t.workers, "u"), 0);
	close(link);
}
END_TEST

START_TEST(test_workers_without_descriptors)
{
	struct rlimit limit, none;
	struct vl_link_peer peer;
	int link = vl_link_connect(t.path, &peer);

	ck_assert_int_ge(link, 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)link + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	run();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	/* Turned away, and nothing is left that keeps the owner awake. */
	ck_assert_int_eq(poll(&(struct pollfd){.fd = workers_fd(t.workers), .events = POLLIN}, 1, 0), 0);
	ck_assert_str_eq(hear(link, NULL, NULL), "closed");
	close(link);
	close(attach("w", "[]", 1));
	run();
}
END_TEST

START_TEST(test_workers_serve_only_users_of_their_shard)
{
	static char users[2][CONFIG_NAME_SIZE] = {"admin2", "team-*"};
	const char *answer;
	int link;

	teardown();
	shards[0] = (struct config_shard){.uid = geteuid(), .users = users, .user_count = 2};
	setup();
	link = dial();
	say(link, "{\"hello\": {\"abi\": 1, \"name\": \"w\", \"users\": [\"admin2\", \"agent4\"], \"capacity\": 1}}");
	answer = hear(link, NULL, NULL);
	ck_assert_msg(strstr(answer, "{\"refused\":") == answer && strstr(answer, "user agent4 is not in workers.shards") != NULL,
		"%s", answer);
	close(link);
	ck_assert_uint_eq(t.attached, 0);
	/* And not later either. */
	link = attach("w", "[\"admin2\", \"team-b\"]", 1);
	say(link, "{\"users\": [\"team-c\"]}");
	ck_assert_int_eq(workers_choose(t.workers, "team-c"), 0);
	say(link, "{\"users\": [{\"name\": \"agent4\", \"project\": \"p\"}]}");
	ck_assert_int_eq(workers_choose(t.workers, "agent4"), -ENOENT);
	ck_assert_uint_eq(t.lost, 1);
	ck_assert_ptr_nonnull(strstr(t.reason, "user agent4 is not in workers.shards"));
	close(link);
	run();
	shards[0].user_count = 0;
}
END_TEST

static void end_call(struct call *call)
{
	workers_close(t.workers, call->worker, call, "deleted");
	workers_forget(t.workers, call);
	calls_remove(t.calls, call, t.now_ms);
}

/* Calls count for their project over all workers that name it, until they end, whatever becomes of the workers. */
START_TEST(test_workers_limit_calls_of_a_project)
{
	int one = attach("one", "[{\"name\": \"a\", \"project\": \"p\", \"max_calls\": 3}, \"free\"]", 9);
	int two = attach(
		"two", "[{\"name\": \"b\", \"project\": \"p\", \"max_calls\": 3}, {\"name\": \"c\", \"project\": \"q\"}]", 9);
	struct call *calls[3], *more;
	struct workers_limit limit = {0};

	calls[0] = add_call("a", 1, 0);
	calls[1] = add_call("b", 2, 1);
	ck_assert(!workers_limited(t.workers, 0, "a", &limit));
	calls[2] = add_call("a", 3, 0);
	ck_assert(workers_limited(t.workers, 0, "a", &limit));
	ck_assert(workers_limited(t.workers, 1, "b", &limit));
	ck_assert_str_eq(limit.project->key.name, "p");
	ck_assert_uint_eq(limit.max_calls, 3);
	ck_assert_uint_eq(limit.project->calls, 3);
	ck_assert_uint_eq(limit.project->refused, 2);
	ck_assert(!workers_limited(t.workers, 0, "free", &limit));
	ck_assert(!workers_limited(t.workers, 1, "c", &limit));

	/* A worker that is gone takes no call from the count: they wait for another one. */
	close(one);
	run();
	ck_assert(workers_limited(t.workers, 1, "b", &limit));
	one = attach("one", "[{\"name\": \"a\", \"project\": \"p\", \"max_calls\": 3}]", 9);
	ck_assert_int_eq(workers_choose(t.workers, "a"), 0);
	calls[0]->worker = calls[2]->worker = 0;
	workers_open(t.workers, 0, calls[0]); /* goes on: counted once */
	workers_open(t.workers, 0, calls[2]);
	ck_assert_uint_eq(calls[0]->project->calls, 3);
	end_call(calls[1]);
	ck_assert(!workers_limited(t.workers, 0, "a", &limit));
	end_call(calls[0]);
	end_call(calls[2]);
	more = add_call("a", 9, 0);
	ck_assert_uint_eq(more->project->calls, 1);
	end_call(more);
	close(one);
	close(two);
	run();
}
END_TEST

/* A reload changes limits and projects: new calls meet the new ones, those that are up keep counting where they began. */
START_TEST(test_workers_limits_change)
{
	int link = attach("w", "[{\"name\": \"a\", \"project\": \"p\", \"max_calls\": 1}]", 9), other;
	struct call *first = add_call("a", 1, 0), *second;
	struct workers_limit limit = {0};

	ck_assert(workers_limited(t.workers, 0, "a", &limit));
	say(link, "{\"users\": [{\"name\": \"a\", \"project\": \"p\", \"max_calls\": 2}]}");
	ck_assert(!workers_limited(t.workers, 0, "a", &limit));
	/* Two workers of one account that disagree: the smallest. */
	other = attach("w2", "[{\"name\": \"a\", \"project\": \"p\", \"max_calls\": 1}]", 9);
	ck_assert(workers_limited(t.workers, 0, "a", &limit));
	ck_assert_uint_eq(limit.max_calls, 1);
	close(other);
	run();
	ck_assert(!workers_limited(t.workers, 0, "a", &limit));

	say(link, "{\"users\": [{\"name\": \"a\", \"project\": \"q\", \"max_calls\": 1}]}");
	ck_assert_str_eq(first->project->key.name, "p");
	ck_assert(!workers_limited(t.workers, 0, "a", &limit));
	second = add_call("a", 2, 0);
	ck_assert_str_eq(second->project->key.name, "q");
	ck_assert(workers_limited(t.workers, 0, "a", &limit));
	say(link, "{\"users\": [\"a\"]}");
	ck_assert(!workers_limited(t.workers, 0, "a", &limit));
	end_call(first);
	end_call(second);
	close(link);
	run();
}
END_TEST

/* The name of somebody else's project is not that project. */
START_TEST(test_workers_projects_are_of_an_account)
{
	struct project *projects = NULL, *ours = projects_hold(&projects, 1000, "p"),
		       *theirs = projects_hold(&projects, 1001, "p");

	ck_assert_ptr_ne(ours, theirs);
	ck_assert_ptr_eq(projects_hold(&projects, 1000, "p"), ours);
	projects_release(&projects, ours);
	projects_release(&projects, theirs);
	projects_release(&projects, ours);
	projects_release(&projects, NULL);
	ck_assert_ptr_null(projects);
}
END_TEST

START_TEST(test_workers_refuse_wrong_projects)
{
	static const char *const users[] = {"[{}]", "[{\"name\": \"a\"}]", "[{\"name\": \"a\", \"project\": \"\"}]",
		"[{\"name\": \"a\", \"project\": \"p q\"}]", "[{\"name\": \"a b\", \"project\": \"p\"}]",
		"[{\"name\": \"a\", \"project\": \"p\", \"max_calls\": 0}]",
		"[{\"name\": \"a\", \"project\": \"p\", \"limit\": 1}]", "[{\"name\": 1, \"project\": \"p\"}]",
		"[{\"project\": \"p\"}]",
		"[{\"name\": \"a\", \"project\": \"0123456789012345678901234567890123456789012345678901234567890123\"}]"};
	int link = attach("w", "[]", 1);

	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
		say(link, "{\"users\": %s}", users[i]);
		ck_assert_msg(workers_at(t.workers, 0)->messages_refused == i + 1, "%s", users[i]);
	}
	close(link);
	run();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("workers");
	TCase *tcase = tcase_create("link");
	SRunner *runner;
	int failed;

	vl_log_init("test", VL_LOG_ERROR);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_workers_welcome_brings_the_channel);
	tcase_add_test(tcase, test_workers_refuse_a_wrong_hello);
	tcase_add_test(tcase, test_workers_channel_outlives_the_lcores_use_of_it);
	tcase_add_test(tcase, test_workers_attach_that_fails_is_taken_back);
	tcase_add_test(tcase, test_workers_believe_only_the_owner_of_a_call);
	tcase_add_test(tcase, test_workers_a_bad_message_costs_only_itself);
	tcase_add_test(tcase, test_workers_turns_have_times_of_the_call);
	tcase_add_test(tcase, test_workers_open_close_and_hold_are_told_in_order);
	tcase_add_test(tcase, test_workers_silence_and_pings);
	tcase_add_test(tcase, test_workers_that_do_not_read_are_cut_off);
	tcase_add_test(tcase, test_workers_backlog_keeps_the_order);
	tcase_add_test(tcase, test_workers_choose_the_emptiest_that_serves_the_user);
	tcase_add_test(tcase, test_workers_a_broken_ring_cuts_off);
	tcase_add_test(tcase, test_workers_that_connect_in_a_loop);
	tcase_add_test(tcase, test_workers_without_descriptors);
	tcase_add_test(tcase, test_workers_serve_only_users_of_their_shard);
	tcase_add_test(tcase, test_workers_limit_calls_of_a_project);
	tcase_add_test(tcase, test_workers_limits_change);
	tcase_add_test(tcase, test_workers_projects_are_of_an_account);
	tcase_add_test(tcase, test_workers_refuse_wrong_projects);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
