/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ends of connections, on real sockets: a service that takes the connection and then says nothing must not keep it, whether or not
 * anything else happens on the loop; and a path that is dead is told from a service that ends the connection.
 */
#include <errno.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <check.h>

#include "../../ai_workers/wss_lws.h"
#include "unit.h"

#define TURN_MS	 10
#define PATIENCE 500u /* turns */
#define QUIET	 20u  /* turns until libwebsockets has nothing to do any more */

static uv_loop_t loop;
static uv_timer_t turn;
static struct wss *wss;
static int listener;
static unsigned int lost_count;
static bool lost_dead;

int https_on_event(struct lws *wsi, enum lws_callback_reasons event, void *user, void *in, size_t len)
{
	(void)wsi;
	(void)event;
	(void)user;
	(void)in;
	(void)len;
	return 0;
}

static void on_lost(void *owner, uint16_t code, int http_status, bool dead, const char *reason)
{
	(void)owner;
	(void)code;
	(void)http_status;
	(void)reason;
	lost_count++;
	lost_dead = dead;
}

static void on_turn(uv_timer_t *timer)
{
	(void)timer;
}

static void setup(void)
{
	static const struct wss_handler handler = {.lost = on_lost};

	lost_count = 0;
	lost_dead = false;
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	ck_assert_int_eq(uv_timer_init(&loop, &turn), 0);
	uv_timer_start(&turn, on_turn, TURN_MS, TURN_MS);
	wss = wss_create(&loop, &handler, NULL, 4);
	ck_assert_ptr_nonnull(wss);
}

static void teardown(void)
{
	uv_close((uv_handle_t *)&turn, NULL);
	wss_destroy(wss);
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	if (listener >= 0)
		close(listener);
}

/* Dial a service that takes connections, as the kernel does for it, and reads nothing. */
static struct wss_connection *dial(void *owner)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	struct wss_config config = {.host = "service.example", .address = "127.0.0.1", .path = "/"};
	struct wss_connection *c;

	listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 4), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	config.port = ntohs(address.sin_port);
	c = wss_dial(wss, &config, "key", owner);
	ck_assert_ptr_nonnull(c);
	return c;
}

static unsigned int turns_until_idle(unsigned int most)
{
	unsigned int turns = 0;

	for (; turns < most && !wss_is_idle(wss); turns++)
		uv_run(&loop, UV_RUN_ONCE);
	return turns;
}

START_TEST(test_wss_release_of_a_mute_service)
{
	int owner;
	struct wss_connection *c = dial(&owner);

	turns_until_idle(QUIET);
	ck_assert(wss_is_connected(c));
	wss_release(c, false);
	ck_assert_uint_lt(turns_until_idle(PATIENCE), PATIENCE);
	ck_assert_uint_eq(lost_count, 0);
}
END_TEST

START_TEST(test_wss_release_while_it_connects)
{
	int owner;

	wss_release(dial(&owner), false);
	ck_assert_uint_lt(turns_until_idle(PATIENCE), PATIENCE);
	ck_assert_uint_eq(lost_count, 0);
}
END_TEST

/* The connection that the timer is forgotten for: the end of the dial comes before the timer is looked at. */
START_TEST(test_wss_connected_without_an_owner)
{
	int owner;
	struct wss_connection *c = dial(&owner);

	c->owner = NULL;
	ck_assert_uint_lt(turns_until_idle(PATIENCE), PATIENCE);
	ck_assert_uint_eq(lost_count, 0);
}
END_TEST

/* The service's window is full and stays so: TCP gives up, and whether the loop or a write of ours learns that, the owner is told. */
START_TEST(test_wss_dead_path)
{
	static const char bytes[65536];
	unsigned int ms = 300;
	int owner, error;
	socklen_t len = sizeof(error);

	for (int taken = 0; taken < 2; taken++) {
		struct wss_connection *c = dial(&owner);
		int fd = lws_get_socket_fd(c->wsi);

		turns_until_idle(QUIET);
		ck_assert(wss_is_connected(c));
		ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms)), 0);
		while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
			;
		for (unsigned int i = 0; taken && i < PATIENCE && wss_is_connected(c); i++)
			usleep(TURN_MS * 1000);
		/* A write takes the error out of the socket. */
		if (taken) {
			c->tls.error = send(fd, bytes, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
			ck_assert_int_eq(c->tls.error, ETIMEDOUT);
			ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
			ck_assert_int_eq(error, 0);
		}
		ck_assert_uint_lt(turns_until_idle(PATIENCE), PATIENCE);
		ck_assert_uint_eq(lost_count, taken + 1);
		ck_assert(lost_dead);
		lost_dead = false;
		close(listener);
	}
	listener = -1;
}
END_TEST

/* A reset and an end are none: the service was there. */
START_TEST(test_wss_reset_is_no_dead_path)
{
	struct linger linger = {.l_onoff = 1};
	int owner, accepted;

	for (int reset = 0; reset < 2; reset++) {
		dial(&owner);
		turns_until_idle(QUIET);
		accepted = accept(listener, NULL, NULL);
		ck_assert_int_ge(accepted, 0);
		if (reset)
			setsockopt(accepted, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		else
			shutdown(accepted, SHUT_WR);
		if (reset)
			close(accepted);
		ck_assert_uint_lt(turns_until_idle(PATIENCE), PATIENCE);
		ck_assert_uint_eq(lost_count, reset + 1);
		ck_assert(!lost_dead);
		close(listener);
		if (!reset)
			close(accepted);
	}
	listener = -1;
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wss");

	unit_add_fixture(suite, "letting go", setup, teardown, test_wss_release_of_a_mute_service,
		test_wss_release_while_it_connects, test_wss_connected_without_an_owner);
	unit_add_fixture(suite, "ends", setup, teardown, test_wss_dead_path, test_wss_reset_is_no_dead_path);
	return unit_run(suite);
}
