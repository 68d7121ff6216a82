/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections whose owner lets go of them, on real sockets: a service that takes the connection and then says nothing must not keep
 * it, whether or not anything else happens on the loop.
 */
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
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

int https_on_event(struct lws *wsi, enum lws_callback_reasons event, void *user, void *in, size_t len)
{
	(void)wsi;
	(void)event;
	(void)user;
	(void)in;
	(void)len;
	return 0;
}

static void on_lost(void *owner, uint16_t code, int http_status, const char *reason)
{
	(void)owner;
	(void)code;
	(void)http_status;
	(void)reason;
	lost_count++;
}

static void on_turn(uv_timer_t *timer)
{
	(void)timer;
}

static void setup(void)
{
	static const struct wss_handler handler = {.lost = on_lost};

	lost_count = 0;
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

int main(void)
{
	Suite *suite = suite_create("wss");

	unit_add_fixture(suite, "letting go", setup, teardown, test_wss_release_of_a_mute_service,
		test_wss_release_while_it_connects, test_wss_connected_without_an_owner);
	return unit_run(suite);
}
