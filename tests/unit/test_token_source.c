/* SPDX-License-Identifier: Apache-2.0 */
/* When the accounts' token endpoints are asked, and at which of their addresses: on a real loop, with endpoints that only take the question. */
#include "ai_workers/token_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ai_workers/endpoint.h"
#include "ai_workers/https.h"
#include "ai_workers/jwt.h"
#include "ai_workers/oauth_token.h"
#include "shared/clock.h"
#include "unit.h"

#define ACCOUNTS 6u

struct endpoint {
	struct wss_config config;
	unsigned int current;
};

static const char *addresses[2];
static unsigned int address_count;
static uv_loop_t loop;
static struct vl_worker_stats stats;
static struct token_source *source;
static struct service_account accounts[ACCOUNTS];
static struct user people[ACCOUNTS];
static struct users users;
static struct {
	const char *host;
	char address[INET6_ADDRSTRLEN];
	uint64_t ms;
	https_done *done;
	void *owner;
} asked[64];
static unsigned int asked_count, signed_count;
static bool starts; /* a request */

struct endpoint *endpoint_create(uv_loop_t *on, const char *host, uint16_t port, const char *path, bool wait)
{
	struct endpoint *e = calloc(1, sizeof(*e));

	(void)on, (void)port, (void)path, (void)wait;
	e->config.host = host;
	return e;
}

void endpoint_destroy(struct endpoint *e)
{
	free(e);
}

const struct wss_config *endpoint_config(struct endpoint *e)
{
	e->config.address = addresses[e->current];
	return &e->config;
}

unsigned int endpoint_count(const struct endpoint *e)
{
	(void)e;
	return address_count;
}

void endpoint_failed(struct endpoint *e, const char *address)
{
	if (strcmp(addresses[e->current], address) == 0)
		e->current = (e->current + 1) % address_count;
}

struct https_request *https_post(
	struct wss *wss, const struct wss_config *to, const char *body, size_t answer_max, https_done *done, void *owner)
{
	(void)wss, (void)body, (void)answer_max;
	ck_assert_uint_lt(asked_count, sizeof(asked) / sizeof(asked[0]));
	asked[asked_count].host = to->host;
	snprintf(asked[asked_count].address, sizeof(asked[0].address), "%s", to->address);
	asked[asked_count].ms = vl_clock_ms();
	asked[asked_count].done = done;
	asked[asked_count].owner = owner;
	asked_count++;
	return starts ? (struct https_request *)owner : NULL;
}

void https_cancel(struct https_request *request)
{
	(void)request;
}

int __wrap_jwt_assert(char jwt[JWT_MAX], const char *email, const char *key_id, const char *audience, uint64_t now_s,
	const char *pem, size_t size);
int __wrap_jwt_assert(char jwt[JWT_MAX], const char *email, const char *key_id, const char *audience, uint64_t now_s,
	const char *pem, size_t size)
{
	(void)email, (void)key_id, (void)audience, (void)now_s, (void)pem, (void)size;
	strcpy(jwt, "a.b.c");
	signed_count++;
	return 0;
}

static void begin(void)
{
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	memset(&stats, 0, sizeof(stats));
	memset(asked, 0, sizeof(asked));
	addresses[0] = "192.0.2.1";
	addresses[1] = "192.0.2.2";
	address_count = 2;
	asked_count = signed_count = 0;
	starts = true;
	source = token_source_create(&loop, NULL, &stats);
	for (unsigned int i = 0; i < ACCOUNTS; i++) {
		accounts[i] = (struct service_account){.holders = 2};
		snprintf(accounts[i].email, sizeof(accounts[i].email), "a%u@project", i);
		snprintf(accounts[i].token_host, sizeof(accounts[i].token_host), "host%u", i);
		people[i] = (struct user){.account = &accounts[i]};
	}
	users = (struct users){.users = people};
}

static void end(void)
{
	token_source_destroy(source);
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}

static void serve(unsigned int count)
{
	users.count = count;
	token_source_serve(source, &users);
}

/* Until `count` questions have been asked, `ms` at most. */
static void run(unsigned int count, uint64_t ms)
{
	uint64_t end_ms = vl_clock_ms() + ms;

	while (asked_count < count && vl_clock_ms() < end_ms) {
		unsigned int before = signed_count;

		uv_run(&loop, UV_RUN_NOWAIT);
		usleep(1000);
		ck_assert_uint_le(signed_count - before, 1);
	}
}

static void answer(unsigned int question, int status, const char *text)
{
	asked[question].done(asked[question].owner, status, text, strlen(text), status == 0 ? "refused" : "");
}

/* However many accounts are due, the loop signs for one of them at a time; nobody is forgotten. */
START_TEST(test_token_source_one_at_a_time)
{
	serve(ACCOUNTS);
	run(ACCOUNTS, 5000);
	ck_assert_uint_eq(asked_count, ACCOUNTS);
	for (unsigned int i = 0; i < asked_count; i++)
		for (unsigned int k = 0; k < i; k++)
			ck_assert_str_ne(asked[i].host, asked[k].host);
}
END_TEST

START_TEST(test_token_source_oldest_first)
{
	addresses[0] = NULL; /* no name server yet */
	for (unsigned int i = 1; i <= ACCOUNTS; i++) {
		serve(i);
		run(1, 5);
	}
	ck_assert_uint_eq(asked_count, 0);
	addresses[0] = "192.0.2.1";
	run(ACCOUNTS, 5000);
	for (unsigned int i = 0; i < ACCOUNTS; i++)
		ck_assert_str_eq(asked[i].host, accounts[i].token_host);
}
END_TEST

/* An address where nobody answers costs a moment, not a back-off; when all of them are silent it is a failure. */
START_TEST(test_token_source_next_address)
{
	uint64_t ms;

	starts = _i != 0; /* refused at once, or a little later */
	serve(1);
	run(1, 2000);
	ck_assert_str_eq(asked[0].address, "192.0.2.1");
	starts = true;
	ms = vl_clock_ms();
	if (_i != 0)
		answer(0, 0, "");
	run(2, 2000);
	ck_assert_uint_eq(asked_count, 2);
	ck_assert_str_eq(asked[1].address, "192.0.2.2");
	ck_assert_uint_lt(asked[1].ms - ms, OAUTH_RETRY_MS / 2);
	ck_assert_uint_eq(stats.tokens_failed, 0);
	ck_assert_ptr_null(token_source_trouble(source, &accounts[0]));
	if (_i == 1) {
		answer(1, 200, "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":3600}");
		ck_assert_str_eq(token_source_get(source, &accounts[0], &ms), "Bearer t");
		return;
	}
	answer(1, 0, "");
	ck_assert_uint_eq(stats.tokens_failed, 1);
	ck_assert_str_eq(token_source_trouble(source, &accounts[0]), "refused");
	ms = vl_clock_ms();
	run(3, 3000);
	ck_assert_uint_ge(asked[2].ms - ms, 400);
	/* From the beginning again, and an answer of any kind is one. */
	answer(2, 0, "");
	run(4, 2000);
	answer(3, 500, "");
	ck_assert_uint_eq(stats.tokens_failed, 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("token_source");
	TCase *loops = tcase_create("loops");

	unit_add_fixture(suite, "order", begin, end, test_token_source_one_at_a_time, test_token_source_oldest_first);
	tcase_add_checked_fixture(loops, begin, end);
	tcase_add_loop_test(loops, test_token_source_next_address, 0, 3);
	suite_add_tcase(suite, loops);
	return unit_run(suite);
}
