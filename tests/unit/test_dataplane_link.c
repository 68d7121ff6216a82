/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's end of the link: hello, welcome, requests, garbage, coming back. The test is the data plane, on the same loop's
 * thread.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ai_workers/dataplane_link.h"
#include "shared/link.h"
#include "shared/log.h"

#define UUID "6f1c1e2a-0000-4000-8000-000000000001"

static uv_loop_t loop;
static char path[128];
static int listener, peer_fd;
static struct dataplane_link *dataplane;
static struct {
	unsigned int welcomes, opens, closes, holds, listens, losses;
	struct dataplane_open open;
	char user[64];
	bool held, listening;
	unsigned int tool_results, pause_ms;
	char tool_id[80], tool_text[256];
	int result;
} seen;

static int on_welcome(void *context, int channel_fd, int doorbell_fd, unsigned int lcores, uint64_t tsc_hz)
{
	(void)context;
	seen.welcomes++;
	ck_assert_int_ge(fcntl(channel_fd, F_GETFD), 0);
	ck_assert_int_ge(fcntl(doorbell_fd, F_GETFD), 0);
	close(channel_fd);
	close(doorbell_fd);
	ck_assert_uint_eq(lcores, 2);
	ck_assert_uint_eq(tsc_hz, 2000000000);
	return seen.result;
}

static void on_open(void *context, const struct dataplane_open *open)
{
	(void)context;
	seen.opens++;
	seen.open = *open;
	snprintf(seen.user, sizeof(seen.user), "%s", open->user);
}

static void on_close(void *context, const char *uuid, const char *reason)
{
	(void)context;
	(void)reason;
	seen.closes += strcmp(uuid, UUID) == 0;
}

static void on_hold(void *context, const char *uuid, bool held)
{
	(void)context;
	seen.holds += strcmp(uuid, UUID) == 0;
	seen.held = held;
}

static void on_pause(void *context, const char *uuid, uint32_t ms)
{
	(void)context;
	seen.pause_ms += strcmp(uuid, UUID) == 0 ? ms : 0;
}

static void on_tool_result(void *context, const char *uuid, const char *id, const cJSON *result, const char *error)
{
	(void)context;
	seen.tool_results += strcmp(uuid, UUID) == 0;
	snprintf(seen.tool_id, sizeof(seen.tool_id), "%s", id);
	snprintf(seen.tool_text, sizeof(seen.tool_text), "%s", error != NULL ? error : "");
	if (error == NULL)
		cJSON_PrintPreallocated((cJSON *)(uintptr_t)result, seen.tool_text, sizeof(seen.tool_text), false);
}

static void on_listening(void *context, const char *uuid, bool listening)
{
	(void)context;
	seen.listens += strcmp(uuid, UUID) == 0;
	seen.listening = listening;
}

static void on_lost(void *context)
{
	(void)context;
	seen.losses++;
}

static const struct dataplane_handler handler = {
	on_welcome, on_open, on_close, on_hold, on_pause, on_tool_result, on_listening, on_lost};

static void turn(void)
{
	for (int i = 0; i < 5; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
}

static void accept_worker(void)
{
	struct vl_link_peer peer;

	peer_fd = -EAGAIN;
	for (int i = 0; i < 300 && peer_fd < 0; i++) {
		uv_run(&loop, UV_RUN_NOWAIT);
		peer_fd = vl_link_accept(listener, &peer);
		usleep(5000);
	}
	ck_assert_int_ge(peer_fd, 0);
}

/* The worker's next message. */
static const char *hear(void)
{
	static char text[VL_LINK_MESSAGE_MAX + 1];
	int fds[VL_LINK_FDS_MAX];
	size_t count = 0;
	ssize_t len = -EAGAIN;

	for (int i = 0; i < 300 && len == -EAGAIN; i++) {
		uv_run(&loop, UV_RUN_NOWAIT);
		len = vl_link_receive(peer_fd, text, fds, &count);
		if (len == -EAGAIN)
			usleep(1000);
	}
	return len > 0 ? text : len == 0 ? "(closed)" : "(nothing)";
}

static void say(const char *text)
{
	ck_assert_int_eq(vl_link_send(peer_fd, text, strlen(text), NULL, 0), 0);
	turn();
}

static void say_welcome(void)
{
	static const char text[] = "{\"welcome\":{\"abi\":1,\"node\":\"n\",\"lcores\":2,\"tsc_hz\":2000000000}}";
	int fds[2] = {eventfd(0, 0), eventfd(0, 0)};

	ck_assert_int_eq(vl_link_send(peer_fd, text, strlen(text), fds, 2), 0);
	close(fds[0]);
	close(fds[1]);
	turn();
}

static void begin_with(const struct dataplane_user *users, size_t count)
{
	struct dataplane_config config = {.path = path, .name = "w1", .users = users, .user_count = count, .capacity = 7};

	vl_log_init("test", VL_LOG_ERROR);
	memset(&seen, 0, sizeof(seen));
	uv_loop_init(&loop);
	snprintf(path, sizeof(path), "/tmp/test-dataplane-link-%d.sock", (int)getpid());
	listener = vl_link_listen(path, 0600);
	ck_assert_int_ge(listener, 0);
	dataplane = dataplane_link_create(&loop, &config, &handler, NULL);
	ck_assert_ptr_nonnull(dataplane);
	accept_worker();
}

static void begin(void)
{
	static const struct dataplane_user users[] = {
		{.name = "admin2"}, {.name = "agent4", .project = "acme", .max_calls = 50}, {.name = "zoe", .project = "free"}};

	begin_with(users, 3);
	ck_assert_str_eq(hear(), "{\"hello\":{\"users\":[\"admin2\",{\"name\":\"agent4\",\"project\":\"acme\",\"max_calls\":50},{"
				 "\"name\":\"zoe\",\"project\":\"free\"}],\"abi\":1,\"name\":\"w1\",\"capacity\":7}}");
	say_welcome();
	ck_assert_uint_eq(seen.welcomes, 1);
}

static void end(void)
{
	dataplane_link_destroy(dataplane);
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	close(peer_fd);
	close(listener);
	unlink(path);
}

START_TEST(test_dataplane_link_requests)
{
	say("{\"open\":{\"session\":\"" UUID "\",\"index\":5,\"generation\":9,\"lcore\":1,\"user\":\"admin2\",\"codec\":\"PCMA\","
	    "\"event_payload_type\":101,\"held\":true}}");
	ck_assert_uint_eq(seen.opens, 1);
	ck_assert_str_eq(seen.open.uuid, UUID);
	ck_assert_str_eq(seen.user, "admin2");
	ck_assert_uint_eq(seen.open.index, 5);
	ck_assert_uint_eq(seen.open.generation, 9);
	ck_assert_uint_eq(seen.open.lcore, 1);
	ck_assert_int_eq(seen.open.law, VL_G711_PCMA);
	ck_assert_uint_eq(seen.open.event_payload_type, 101);
	ck_assert(seen.open.held);
	ck_assert(seen.open.listening);
	say("{\"open\":{\"session\":\"" UUID "\",\"index\":5,\"generation\":9,\"lcore\":1,\"user\":\"admin2\",\"codec\":\"PCMA\","
	    "\"listening\":false}}");
	ck_assert_uint_eq(seen.opens, 2);
	ck_assert(!seen.open.listening);
	say("{\"listening\":{\"session\":\"" UUID "\",\"listening\":true}}");
	ck_assert_uint_eq(seen.listens, 1);
	ck_assert(seen.listening);
	say("{\"listening\":{\"session\":\"" UUID "\"}}");
	ck_assert_uint_eq(seen.listens, 1);
	say("{\"hold\":{\"session\":\"" UUID "\",\"held\":true}}");
	ck_assert_uint_eq(seen.holds, 1);
	ck_assert(seen.held);
	say("{\"tool_result\":{\"session\":\"" UUID "\",\"id\":\"call_1\",\"result\":{\"sun\":[1,true]}}}");
	ck_assert_uint_eq(seen.tool_results, 1);
	ck_assert_str_eq(seen.tool_id, "call_1");
	ck_assert_str_eq(seen.tool_text, "{\"sun\":[1,true]}");
	say("{\"tool_result\":{\"session\":\"" UUID "\",\"id\":\"call_2\",\"error\":\"rain\"}}");
	ck_assert_str_eq(seen.tool_text, "rain");
	say("{\"pause\":{\"session\":\"" UUID "\",\"ms\":400}}");
	ck_assert_uint_eq(seen.pause_ms, 400);
	say("{\"close\":{\"session\":\"" UUID "\",\"reason\":\"hangup\"}}");
	ck_assert_uint_eq(seen.closes, 1);
	say("{\"ping\":17}");
	ck_assert_str_eq(hear(), "{\"pong\":17}");
}
END_TEST

/* A request that is wrong costs its call; the link and every other call go on. */
static const char *const wrong_requests[] = {
	"{\"open\":{}}",
	"{\"open\":{\"session\":\"short\",\"index\":0,\"generation\":1,\"lcore\":0,\"user\":\"a\",\"codec\":\"PCMU\"}}",
	"{\"open\":{\"session\":\"" UUID "\",\"index\":-1,\"generation\":1,\"lcore\":0,\"user\":\"a\",\"codec\":\"PCMU\"}}",
	"{\"open\":{\"session\":\"" UUID "\",\"index\":0,\"generation\":1,\"lcore\":32,\"user\":\"a\",\"codec\":\"PCMU\"}}",
	"{\"open\":{\"session\":\"" UUID "\",\"index\":0,\"generation\":1,\"lcore\":0,\"user\":\"a\",\"codec\":\"G722\"}}",
	"{\"open\":{\"session\":\"" UUID
	"\",\"index\":0,\"generation\":1,\"lcore\":0,\"user\":\"a\",\"codec\":\"PCMU\",\"more\":1}}",
	"{\"hold\":{\"session\":\"" UUID "\"}}",
	"{\"close\":{\"session\":7}}",
	"{\"tool_result\":{\"session\":\"" UUID "\",\"id\":\"1\"}}",
	"{\"tool_result\":{\"session\":\"" UUID "\",\"id\":\"1\",\"result\":{},\"error\":\"x\"}}",
	"{\"tool_result\":{\"session\":\"" UUID "\",\"id\":\"1\",\"result\":[]}}",
	"{\"tool_result\":{\"session\":\"" UUID "\",\"result\":{}}}",
	"{\"pause\":{\"session\":\"" UUID "\"}}",
	"{\"pause\":{\"session\":\"" UUID "\",\"ms\":-1}}",
	"{\"dance\":{}}",
};

START_TEST(test_dataplane_link_wrong_requests)
{
	say(wrong_requests[_i]);
	ck_assert_uint_eq(seen.opens + seen.closes + seen.holds + seen.losses, 0);
	say("{\"ping\":1}");
	ck_assert_str_eq(hear(), "{\"pong\":1}");
}
END_TEST

/* Who does not speak the protocol at all is left, and tried again. */
static const char *const garbage[] = {"x", "[]", "{}", "{\"a\":1,\"b\":2}", "{\"refused\":{\"reason\":\"no\"}}",
	"{\"welcome\":{}}", "{\"welcome\":{\"abi\":1,\"node\":\"n\",\"lcores\":2,\"tsc_hz\":2000000000}}"};

START_TEST(test_dataplane_link_garbage)
{
	say(garbage[_i]);
	ck_assert_uint_eq(seen.losses, 1);
	ck_assert_str_eq(hear(), "(closed)");
	close(peer_fd);
	accept_worker();
	ck_assert_int_eq(strncmp(hear(), "{\"hello\":", 9), 0);
	say_welcome();
	ck_assert_uint_eq(seen.welcomes, 2);
}
END_TEST

START_TEST(test_dataplane_link_welcome_first)
{
	static const struct dataplane_user users[] = {{.name = "a"}};

	begin_with(users, 1);
	hear();
	say("{\"close\":{\"session\":\"" UUID "\",\"reason\":\"x\"}}");
	ck_assert_uint_eq(seen.closes + seen.losses, 0);
	ck_assert_str_eq(hear(), "(closed)");
	end();
	/* A channel that cannot be mapped ends the attempt. */
	begin_with(users, 1);
	hear();
	seen.result = -EPROTO;
	say_welcome();
	ck_assert_uint_eq(seen.welcomes, 1);
	ck_assert_uint_eq(seen.losses, 1);
	ck_assert_str_eq(hear(), "(closed)");
	end();
}
END_TEST

/* Ten thousand users do not fit into one packet. */
START_TEST(test_dataplane_link_many_users)
{
	static char names[2000][64];
	static struct dataplane_user users[2000];
	size_t heard = 0, packets = 0;

	for (size_t i = 0; i < 2000; i++) {
		snprintf(names[i], sizeof(names[i]), "user-with-a-rather-long-name-%zu@example.com", i);
		users[i].name = names[i];
	}
	begin_with(users, 2000);
	while (heard < 2000) {
		const char *text = hear();
		cJSON *tree = cJSON_Parse(text), *list = tree != NULL ? tree->child : NULL;

		ck_assert_ptr_nonnull(list);
		ck_assert_str_eq(list->string, packets == 0 ? "hello" : "users");
		if (packets++ == 0)
			list = cJSON_GetObjectItem(list, "users");
		for (const cJSON *user = list->child; user != NULL; user = user->next)
			ck_assert_str_eq(user->valuestring, names[heard++]);
		cJSON_Delete(tree);
	}
	ck_assert_uint_gt(packets, 5);
	end();
}
END_TEST

/* Order is kept when the socket is full, and a data plane that never reads does not fill our memory. */
START_TEST(test_dataplane_link_slow_reader)
{
	unsigned int next = 0;

	for (unsigned int i = 0; i < 3000; i++) {
		cJSON *body = cJSON_CreateObject();

		cJSON_AddNumberToObject(body, "n", i);
		dataplane_link_say(dataplane, "event", body);
	}
	while (next < 3000) {
		char expected[64];

		snprintf(expected, sizeof(expected), "{\"event\":{\"n\":%u}}", next++);
		ck_assert_str_eq(hear(), expected);
	}
	for (unsigned int i = 0; i < 20000; i++)
		dataplane_link_say(dataplane, "event", cJSON_CreateObject());
	turn();
	ck_assert_uint_eq(seen.losses, 1);
	/* A message that is too long for a packet is left out. */
	close(peer_fd);
	accept_worker();
	hear();
	say_welcome();
	char *text = calloc(1, VL_LINK_MESSAGE_MAX + 1);

	memset(text, 'x', VL_LINK_MESSAGE_MAX);
	dataplane_link_say(dataplane, "event", cJSON_CreateString(text));
	dataplane_link_say(dataplane, "event", NULL);
	free(text);
	say("{\"ping\":2}");
	ck_assert_str_eq(hear(), "{\"pong\":2}");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dataplane_link");
	TCase *loops = tcase_create("wrong");

	unit_add_fixture(suite, "link", begin, end, test_dataplane_link_requests, test_dataplane_link_slow_reader);
	unit_add(suite, "start", test_dataplane_link_welcome_first, test_dataplane_link_many_users);
	tcase_add_checked_fixture(loops, begin, end);
	tcase_set_timeout(loops, 20);
	tcase_add_loop_test(loops, test_dataplane_link_wrong_requests, 0, sizeof(wrong_requests) / sizeof(wrong_requests[0]));
	tcase_add_loop_test(loops, test_dataplane_link_garbage, 0, sizeof(garbage) / sizeof(garbage[0]));
	suite_add_tcase(suite, loops);
	return unit_run(suite);
}
