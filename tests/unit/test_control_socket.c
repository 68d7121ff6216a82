/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket over real UNIX sockets: requests, subscriptions, limits, slow and broken clients, stale socket files. */
#include "dpdk_app/control_socket.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char directory[] = "/tmp/vl-control-XXXXXX";
static char path[64];
static struct control_socket *control;
static const char *const events[] = {"session.bound", "session.ended", NULL};

static int echo(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	(void)error;
	++*(unsigned int *)context;
	*result = cJSON_Duplicate(params, true);
	return 0;
}

static int bind_event(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	(void)context;
	(void)result;
	(void)error;
	control_socket_notify(control, "session.bound", params);
	return 0;
}

static int large(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	char text[32001];
	(void)params;
	(void)error;
	++*(unsigned int *)context;
	memset(text, 'x', 32000);
	text[32000] = '\0';
	*result = cJSON_CreateString(text);
	return 0;
}

static const struct control_socket_method methods[] = {{"echo", echo}, {"bind", bind_event}, {"large", large}, {NULL, NULL}};
static unsigned int handled;

static void setup(void)
{
	struct vl_error error;
	strcpy(directory, "/tmp/vl-control-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/control.sock", directory);
	handled = 0;
	ck_assert_msg(control_socket_open(path, 0660, methods, events, &handled, &control, &error) == 0, "%s", error.text);
}

static void teardown(void)
{
	control_socket_close(control);
	unlink(path);
	ck_assert_int_eq(rmdir(directory), 0);
}

static int client_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	strcpy(address.sun_path, path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Let the server work until it has nothing to do. */
static void serve(void)
{
	struct pollfd wait = {.fd = control_socket_fd(control), .events = POLLIN};
	for (int turn = 0; poll(&wait, 1, 0) == 1; turn++) {
		ck_assert_msg(turn < 10000, "the server spins");
		control_socket_poll(control);
	}
}

static void put(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Everything the server has sent; NULL-terminated. Returns bytes, 0 when it closed, -1 when there is nothing. */
static ssize_t get(int fd, char *text, size_t size)
{
	ssize_t len = recv(fd, text, size - 1, 0);
	text[len > 0 ? len : 0] = '\0';
	return len;
}

static struct control_socket_counts counts(void)
{
	struct control_socket_counts now;
	control_socket_count(control, &now);
	return now;
}

#define REQUEST(method, params, id) "{\"jsonrpc\":\"2.0\",\"method\":\"" method "\",\"params\":" params ",\"id\":" id "}"
#define RESULT(id, result)	    "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":" result "}\n"

START_TEST(test_control_socket_answers)
{
	char text[4096];
	struct stat status;
	int fd = client_connect();
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_int_eq(status.st_mode & 07777, 0660);
	/* Two requests without a newline, the second in pieces. */
	put(fd, REQUEST("echo", "{\"a\":1}", "1") "{\"jsonrpc\":\"2.0\",\"met");
	serve();
	ck_assert_int_gt(get(fd, text, sizeof(text)), 0);
	ck_assert_str_eq(text, RESULT("1", "{\"a\":1}"));
	put(fd, "hod\":\"echo\",\"params\":[2],\"id\":2} ");
	serve();
	get(fd, text, sizeof(text));
	ck_assert_str_eq(text, RESULT("2", "[2]"));
	put(fd, REQUEST("nope", "{}", "3"));
	serve();
	get(fd, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "-32601"));
	ck_assert_uint_eq(handled, 2);
	close(fd);
	serve();
	ck_assert_uint_eq(counts().clients, 0);
	ck_assert_uint_eq(counts().requests, 3);
}
END_TEST

START_TEST(test_control_socket_answers_half_closed)
{
	char text[4096];
	int fd = client_connect();
	put(fd, REQUEST("echo", "[1]", "1") REQUEST("echo", "[2]", "2"));
	shutdown(fd, SHUT_WR);
	serve();
	get(fd, text, sizeof(text));
	ck_assert_str_eq(text, RESULT("1", "[1]") RESULT("2", "[2]"));
	ck_assert_int_eq(get(fd, text, sizeof(text)), 0);
	close(fd);
	/* One that does not wait for its answer is still carried out. */
	fd = client_connect();
	put(fd, REQUEST("echo", "[3]", "3"));
	close(fd);
	serve();
	ck_assert_uint_eq(handled, 3);
	ck_assert_uint_eq(counts().clients, 0);
}
END_TEST

START_TEST(test_control_socket_subscribes)
{
	char text[4096];
	int all = client_connect(), some = client_connect(), none = client_connect();
	cJSON *params = cJSON_Parse("{\"session\":\"s\"}");
	ck_assert(!control_socket_wanted(control, "session.bound"));
	put(all, "{\"jsonrpc\":\"2.0\",\"method\":\"events.subscribe\",\"id\":1}");
	put(some, REQUEST("events.subscribe", "{\"events\":[\"session.ended\"]}", "1"));
	put(none, REQUEST("echo", "[]", "1"));
	serve();
	get(all, text, sizeof(text));
	ck_assert_str_eq(text, RESULT("1", "{\"events\":[\"session.bound\",\"session.ended\"]}"));
	get(some, text, sizeof(text));
	ck_assert_str_eq(text, RESULT("1", "{\"events\":[\"session.ended\"]}"));
	get(none, text, sizeof(text));
	control_socket_notify(control, "session.bound", params);
	serve();
	get(all, text, sizeof(text));
	ck_assert_str_eq(text, "{\"jsonrpc\":\"2.0\",\"method\":\"session.bound\",\"params\":{\"session\":\"s\"}}\n");
	ck_assert_int_eq(get(some, text, sizeof(text)), -1);
	ck_assert_int_eq(get(none, text, sizeof(text)), -1);
	/* From inside a handler, to the caller itself as well. */
	put(all, REQUEST("bind", "{\"x\":1}", "9"));
	serve();
	get(all, text, sizeof(text));
	ck_assert_str_eq(text, "{\"jsonrpc\":\"2.0\",\"method\":\"session.bound\",\"params\":{\"x\":1}}\n" RESULT("9", "true"));
	put(all, REQUEST("events.unsubscribe", "{\"events\":[\"session.bound\"]}", "2"));
	serve();
	get(all, text, sizeof(text));
	ck_assert_str_eq(text, RESULT("2", "{\"events\":[\"session.ended\"]}"));
	control_socket_notify(control, "session.bound", params);
	ck_assert_int_eq(get(all, text, sizeof(text)), -1);
	put(some, REQUEST("events.subscribe", "{\"events\":[\"session.ended\",\"session.bund\"]}", "3"));
	serve();
	get(some, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "\"param\":\"events[1]\",\"reason\":\"'session.bund' is not an event\""));
	ck_assert_uint_eq(counts().notifications, 2);
	cJSON_Delete(params);
	close(all);
	close(some);
	close(none);
}
END_TEST

START_TEST(test_control_socket_cuts_off_slow_subscriber)
{
	char text[4096];
	char padding[8001];
	int slow = client_connect(), good = client_connect();
	memset(padding, 'p', 8000);
	padding[8000] = '\0';
	cJSON *params = cJSON_CreateString(padding);
	put(slow, "{\"jsonrpc\":\"2.0\",\"method\":\"events.subscribe\",\"id\":1}");
	serve();
	for (int i = 0; i < 400; i++)
		control_socket_notify(control, "session.ended", params); /* 3.2 MB, more than socket and output buffer hold */
	struct pollfd wait = {.fd = control_socket_fd(control), .events = POLLIN};
	ck_assert_int_eq(poll(&wait, 1, 0), 1); /* the owner is woken to bury it */
	serve();
	ck_assert_uint_eq(counts().slow, 1);
	ck_assert_uint_eq(counts().clients, 1);
	put(good, REQUEST("echo", "[1]", "1"));
	serve();
	get(good, text, sizeof(text));
	ck_assert_str_eq(text, RESULT("1", "[1]"));
	cJSON_Delete(params);
	close(slow);
	close(good);
}
END_TEST

START_TEST(test_control_socket_pauses_slow_reader)
{
	static char text[1 << 20];
	int fd = client_connect();
	const unsigned int requests = 100; /* 3.2 MB of answers */
	for (unsigned int i = 0; i < requests; i++)
		put(fd, REQUEST("large", "{}", "1"));
	serve();
	ck_assert_uint_lt(handled, requests);
	ck_assert_uint_eq(counts().slow, 0);
	size_t total = 0;
	for (ssize_t got; handled < requests || (got = get(fd, text, sizeof(text))) > 0;) {
		got = handled < requests ? get(fd, text, sizeof(text)) : got;
		ck_assert_int_ne(got, 0);
		total += got > 0 ? (size_t)got : 0;
		serve();
	}
	ck_assert_uint_eq(handled, requests);
	ck_assert_uint_eq(total, requests * (32000 + strlen(RESULT("1", "\"\""))));
	ck_assert_uint_eq(counts().clients, 1);
	close(fd);
}
END_TEST

START_TEST(test_control_socket_cuts_off_broken)
{
	static char large_text[VL_JSON_RPC_MESSAGE_MAX + 100];
	char text[4096];
	int fd = client_connect();
	put(fd, "GET / HTTP/1.1\r\n\r\n");
	serve();
	get(fd, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "\"id\":null,\"error\":{\"code\":-32700"));
	ck_assert_int_eq(get(fd, text, sizeof(text)), 0);
	close(fd);
	fd = client_connect();
	memset(large_text, ' ', sizeof(large_text) - 1);
	large_text[0] = '{';
	size_t sent = 0;
	while (sent < sizeof(large_text) - 1) {
		ssize_t now = send(fd, large_text + sent, sizeof(large_text) - 1 - sent, MSG_NOSIGNAL);
		ck_assert_int_gt(now, 0);
		sent += (size_t)now;
		serve();
	}
	get(fd, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "longer than 65536 bytes"));
	ck_assert_int_eq(get(fd, text, sizeof(text)), 0);
	close(fd);
	/* Bad JSON in a well-formed frame is answered, and the connection goes on. */
	fd = client_connect();
	put(fd, "{\"a\":}" REQUEST("echo", "[1]", "1"));
	serve();
	get(fd, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "-32700"));
	ck_assert_ptr_nonnull(strstr(text, RESULT("1", "[1]")));
	ck_assert_uint_eq(counts().broken, 2);
	/* White space in any amount is nothing. */
	memset(large_text, ' ', sizeof(large_text) - 1);
	for (int i = 0; i < 10; i++) {
		ck_assert_int_gt(send(fd, large_text, sizeof(large_text) - 1, MSG_NOSIGNAL), 0);
		serve();
	}
	put(fd, REQUEST("echo", "[2]", "2"));
	serve();
	get(fd, text, sizeof(text));
	ck_assert_str_eq(text, RESULT("2", "[2]"));
	close(fd);
	serve();
	ck_assert_uint_eq(counts().clients, 0);
}
END_TEST

START_TEST(test_control_socket_limits_clients)
{
	int fds[CONTROL_SOCKET_CLIENTS_MAX + 1];
	char text[16];
	for (unsigned int i = 0; i <= CONTROL_SOCKET_CLIENTS_MAX; i++) {
		fds[i] = client_connect();
		serve();
	}
	ck_assert_uint_eq(counts().clients, CONTROL_SOCKET_CLIENTS_MAX);
	ck_assert_uint_eq(counts().refused, 1);
	ck_assert_int_eq(get(fds[CONTROL_SOCKET_CLIENTS_MAX], text, sizeof(text)), 0);
	close(fds[0]);
	serve();
	close(fds[CONTROL_SOCKET_CLIENTS_MAX]);
	fds[0] = client_connect();
	serve();
	ck_assert_uint_eq(counts().clients, CONTROL_SOCKET_CLIENTS_MAX);
	for (unsigned int i = 0; i < CONTROL_SOCKET_CLIENTS_MAX; i++)
		close(fds[i]);
}
END_TEST

/* Many requests in one write take many turns, and all are answered, even of a client that sends no more. */
START_TEST(test_control_socket_shares_the_thread)
{
	char text[16384] = "";
	int fd = client_connect();

	for (unsigned int i = 0; i < 40; i++)
		strcat(text, REQUEST("echo", "[1]", "1"));
	control_socket_poll(control);
	put(fd, text);
	shutdown(fd, SHUT_WR);
	control_socket_poll(control);
	ck_assert_uint_eq(handled, 16);
	ck_assert_int_eq(poll(&(struct pollfd){.fd = control_socket_fd(control), .events = POLLIN}, 1, 0), 1);
	control_socket_poll(control);
	ck_assert_uint_eq(handled, 32);
	control_socket_poll(control);
	ck_assert_uint_eq(handled, 40);
	serve();
	ck_assert_uint_eq(counts().clients, 0);
	close(fd);
}
END_TEST

START_TEST(test_control_socket_without_descriptors)
{
	struct rlimit limit, none;
	char text[4096];
	int fd = client_connect(), refused = client_connect();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)refused + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	serve();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_uint_eq(counts().refused, 2);
	ck_assert_int_eq(get(fd, text, sizeof(text)), 0);
	close(fd);
	close(refused);
	fd = client_connect();
	put(fd, REQUEST("echo", "[1]", "1"));
	serve();
	get(fd, text, sizeof(text));
	ck_assert_str_eq(text, RESULT("1", "[1]"));
	close(fd);
}
END_TEST

START_TEST(test_control_socket_replaces_only_stale_files)
{
	struct control_socket *second = NULL;
	struct vl_error error;
	struct stat status;
	char other[80];
	ck_assert_int_eq(control_socket_open(path, 0660, methods, events, &handled, &second, &error), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(error.text, "another process listens there"));
	ck_assert_int_eq(stat(path, &status), 0);
	/* A listener that died leaves its file. */
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(other, sizeof(other), "%s/stale.sock", directory);
	strcpy(address.sun_path, other);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	ck_assert_int_eq(control_socket_open(other, 0600, methods, events, &handled, &second, &error), 0);
	/* Somebody else's socket at the same place is left alone. */
	unlink(other);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	control_socket_close(second);
	ck_assert_int_eq(stat(other, &status), 0);
	close(fd);
	unlink(other);
	fd = open(other, O_CREAT | O_WRONLY, 0600);
	close(fd);
	ck_assert_int_eq(control_socket_open(other, 0600, methods, events, &handled, &second, &error), -EEXIST);
	ck_assert_int_eq(stat(other, &status), 0);
	unlink(other);
	ck_assert_int_eq(control_socket_open("/nonexistent/x.sock", 0600, methods, events, &handled, &second, &error), -ENOENT);
	ck_assert_str_eq(error.text, "control socket /nonexistent/x.sock: No such file or directory");
}
END_TEST

START_TEST(test_control_socket_removes_its_file)
{
	struct control_socket *second = NULL;
	struct vl_error error;
	struct stat status;
	char other[80];
	snprintf(other, sizeof(other), "%s/second.sock", directory);
	ck_assert_int_eq(control_socket_open(other, 0600, methods, events, &handled, &second, &error), 0);
	control_socket_close(second);
	ck_assert_int_eq(stat(other, &status), -1);
	control_socket_close(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("control_socket");
	TCase *tc = tcase_create("serve");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_control_socket_answers);
	tcase_add_test(tc, test_control_socket_answers_half_closed);
	tcase_add_test(tc, test_control_socket_subscribes);
	suite_add_tcase(suite, tc);
	tc = tcase_create("limits");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_control_socket_cuts_off_slow_subscriber);
	tcase_add_test(tc, test_control_socket_pauses_slow_reader);
	tcase_add_test(tc, test_control_socket_cuts_off_broken);
	tcase_add_test(tc, test_control_socket_limits_clients);
	tcase_add_test(tc, test_control_socket_shares_the_thread);
	tcase_add_test(tc, test_control_socket_without_descriptors);
	suite_add_tcase(suite, tc);
	tc = tcase_create("file");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_control_socket_replaces_only_stale_files);
	tcase_add_test(tc, test_control_socket_removes_its_file);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
