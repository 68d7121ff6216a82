/* SPDX-License-Identifier: Apache-2.0 */
/* The life of an access token in virtual time, and the token endpoint's answers. */
#include "ai_workers/oauth_token.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "unit.h"

#define START_MS 1000000u

static struct oauth_schedule schedule;

START_TEST(test_oauth_token_renews_ahead_of_time)
{
	uint64_t earliest = OAUTH_NEVER, latest = 0;

	for (uint32_t seed = 0; seed < 2000; seed++) {
		oauth_schedule_init(&schedule, seed, START_MS);
		ck_assert(oauth_schedule_due(&schedule, START_MS));
		ck_assert(!oauth_schedule_usable(&schedule, START_MS));
		oauth_schedule_asked(&schedule);
		ck_assert(!oauth_schedule_due(&schedule, START_MS + 3600000));
		oauth_schedule_got(&schedule, 3600, START_MS);
		ck_assert(oauth_schedule_usable(&schedule, START_MS));
		earliest = schedule.next_ms < earliest ? schedule.next_ms : earliest;
		latest = schedule.next_ms > latest ? schedule.next_ms : latest;
		ck_assert(oauth_schedule_usable(&schedule, START_MS + 3589999));
		ck_assert(!oauth_schedule_usable(&schedule, START_MS + 3590000));
	}
	/* 75 to 85 % of an hour, and spread over it. */
	ck_assert_uint_ge(earliest, START_MS + 2700000);
	ck_assert_uint_lt(earliest, START_MS + 2710000);
	ck_assert_uint_lt(latest, START_MS + 3060000);
	ck_assert_uint_gt(latest, START_MS + 3050000);
}
END_TEST

START_TEST(test_oauth_token_short_lives)
{
	for (uint32_t life = 1; life < 200; life++) {
		oauth_schedule_init(&schedule, life, START_MS);
		oauth_schedule_got(&schedule, life, START_MS);
		ck_assert_uint_lt(schedule.next_ms, schedule.expires_ms);
		ck_assert_uint_lt(schedule.expires_ms, START_MS + life * 1000);
		ck_assert(oauth_schedule_usable(&schedule, schedule.next_ms));
	}
}
END_TEST

/* A failed renewal costs nothing while the token before lives; asking again slows down but never stops. */
START_TEST(test_oauth_token_keeps_the_old_one)
{
	uint64_t now = START_MS, asked = 0, shortest = OAUTH_NEVER;

	oauth_schedule_init(&schedule, 7, now);
	oauth_schedule_asked(&schedule);
	oauth_schedule_got(&schedule, 3600, now);
	now = schedule.next_ms;
	for (; now < START_MS + 2 * 3600000; now += 100) {
		ck_assert_int_eq(oauth_schedule_usable(&schedule, now), now < START_MS + 3590000);
		if (!oauth_schedule_due(&schedule, now))
			continue;
		asked++;
		oauth_schedule_asked(&schedule);
		oauth_schedule_failed(&schedule, now);
		ck_assert_uint_le(schedule.next_ms - now, OAUTH_RETRY_MAX_MS * 3 / 2);
		shortest = schedule.next_ms - now < shortest ? schedule.next_ms - now : shortest;
	}
	ck_assert_uint_ge(shortest, OAUTH_RETRY_MS / 2);
	ck_assert_uint_gt(asked, 60);
	ck_assert_uint_lt(asked, 200);
	oauth_schedule_got(&schedule, 3600, now);
	ck_assert(oauth_schedule_usable(&schedule, now));
	ck_assert_uint_eq(schedule.failures, 0);
}
END_TEST

START_TEST(test_oauth_token_rejected)
{
	uint64_t now = START_MS;

	oauth_schedule_init(&schedule, 7, now);
	ck_assert(!oauth_schedule_rejected(&schedule, 0, now)); /* there was none */
	oauth_schedule_asked(&schedule);
	oauth_schedule_got(&schedule, 3600, now);
	/* Only just issued: another one would be refused too. */
	ck_assert(!oauth_schedule_rejected(&schedule, START_MS, now + OAUTH_REJECT_AGAIN_MS - 1));
	ck_assert(oauth_schedule_usable(&schedule, now + OAUTH_REJECT_AGAIN_MS - 1));
	/* An older one: asked for once, whoever else complains. */
	now += 60000;
	ck_assert(oauth_schedule_rejected(&schedule, START_MS, now));
	ck_assert(!oauth_schedule_usable(&schedule, now));
	ck_assert(oauth_schedule_due(&schedule, now));
	oauth_schedule_asked(&schedule);
	ck_assert(oauth_schedule_rejected(&schedule, START_MS, now));
	ck_assert(!oauth_schedule_due(&schedule, now));
	oauth_schedule_got(&schedule, 3600, now + 100);
	/* A late complaint about the one before does not cost the new one. */
	ck_assert(oauth_schedule_rejected(&schedule, START_MS, now + 30000));
	ck_assert(oauth_schedule_usable(&schedule, now + 30000));
	/* While the renewal fails a complaint does not hurry it. */
	now += 60000;
	ck_assert(oauth_schedule_rejected(&schedule, schedule.issued_ms, now));
	oauth_schedule_asked(&schedule);
	oauth_schedule_failed(&schedule, now);
	ck_assert(!oauth_schedule_rejected(&schedule, schedule.issued_ms, now));
	ck_assert(!oauth_schedule_due(&schedule, now));
}
END_TEST

static const struct {
	int status;
	const char *text, *token, *reason;
	uint32_t life_s;
} answers[] = {
	{200, "{\"access_token\":\"ya29.c.b0Aa\",\"expires_in\":3599,\"token_type\":\"Bearer\"}", "ya29.c.b0Aa", "", 3599},
	{200, "{\n  \"access_token\": \"t\",\n  \"token_type\": \"bearer\",\n  \"scope\": \"x\"\n}\n", "t", "", 3600},
	{200, "{\"access_token\":\"t\",\"expires_in\":-5,\"token_type\":\"Bearer\"}", "t", "", 1},
	{200, "{\"access_token\":\"t\",\"expires_in\":1e300,\"token_type\":\"Bearer\"}", "t", "", 86400},
	{200, "{\"id_token\":\"SECRET\"}", NULL, "an answer without a usable access_token", 0},
	{200, "{\"access_token\":\"\",\"token_type\":\"Bearer\"}", NULL, "an answer without a usable access_token", 0},
	{200, "{\"access_token\":\"SECRET\\r\\nx: y\",\"token_type\":\"Bearer\"}", NULL,
		"an answer without a usable access_token", 0},
	{200, "{\"access_token\":[\"SECRET\"],\"token_type\":\"Bearer\"}", NULL, "an answer without a usable access_token", 0},
	{200, "{\"access_token\":\"SECRET\",\"token_type\":\"MAC\"}", NULL, "an access_token that is no bearer token", 0},
	{200, "<html>SECRET", NULL, "an answer that is not JSON", 0},
	{200, "", NULL, "an answer that is not JSON", 0},
	{400, "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT Signature.\"}", NULL,
		"invalid_grant: Invalid JWT Signature. (HTTP status 400)", 0},
	{401, "{\"error\":\"invalid_client\"}", NULL, "invalid_client (HTTP status 401)", 0},
	{503, "busy SECRET", NULL, "HTTP status 503", 0},
	{500, "{\"error\":{\"code\":500,\"message\":\"SECRET\"}}", NULL, "HTTP status 500", 0},
	{400, "{\"error\":\"a\\nb\",\"error_description\":\"\\u001b[2J\"}", NULL, "a?b: ?[2J (HTTP status 400)", 0},
};

START_TEST(test_oauth_token_answers)
{
	char token[OAUTH_TOKEN_SIZE] = "before";
	struct oauth_answer answer;
	int r = oauth_read_answer(&answer, token, answers[_i].status, answers[_i].text, strlen(answers[_i].text));

	ck_assert_int_eq(r, answers[_i].token != NULL ? 0 : -EBADMSG);
	ck_assert_str_eq(token, answers[_i].token != NULL ? answers[_i].token : "before");
	ck_assert_str_eq(answer.reason, answers[_i].reason);
	ck_assert_uint_eq(answer.life_s, answers[_i].life_s);
}
END_TEST

START_TEST(test_oauth_token_longest)
{
	static char text[2 * OAUTH_TOKEN_SIZE], token[OAUTH_TOKEN_SIZE];
	struct oauth_answer answer;

	for (size_t len = OAUTH_TOKEN_SIZE - 2; len <= OAUTH_TOKEN_SIZE; len++) {
		int used = snprintf(text, sizeof(text), "{\"token_type\":\"Bearer\",\"access_token\":\"%0*d\"}", (int)len, 0);

		ck_assert_int_eq(
			oauth_read_answer(&answer, token, 200, text, (size_t)used), len < OAUTH_TOKEN_SIZE ? 0 : -EBADMSG);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("oauth_token");
	TCase *read = tcase_create("answer");

	unit_add(suite, "schedule", test_oauth_token_renews_ahead_of_time, test_oauth_token_short_lives,
		test_oauth_token_keeps_the_old_one, test_oauth_token_rejected);
	tcase_add_loop_test(read, test_oauth_token_answers, 0, sizeof(answers) / sizeof(answers[0]));
	tcase_add_test(read, test_oauth_token_longest);
	suite_add_tcase(suite, read);
	return unit_run(suite);
}
