/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger of function calls: each rule alone, then random sequences of everything that can happen, with a model and a platform
 * that keep books of their own.
 */
#include "ai_workers/tool_ledger.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "unit.h"

static struct tool_ledger ledger;
static const struct tool plain = {.name = "weather", .timeout_s = 10};
static struct tool_argument day[] = {{"day"}};
static const struct tool booking = {.name = "book", .timeout_s = 10, .key = day, .key_count = 1};
static const char *why;
static uint64_t message; /* sent so far */
static bool socket_full; /* and nothing goes out */

static void begin(void)
{
	ledger = (struct tool_ledger){0};
	message = 0;
	socket_full = false;
	tool_ledger_connected(&ledger, false);
}

static void end(void)
{
	tool_ledger_free(&ledger);
}

static enum tool_verdict ask(const struct tool *tool, const char *id, const char *args, uint64_t now, struct tool_call **call)
{
	cJSON *tree = args != NULL ? cJSON_Parse(args) : NULL;
	struct tool_request request = {
		.model_id = id, .name = tool->name, .args = tree, .tool = tool->timeout_s > 0 ? tool : NULL};
	enum tool_verdict verdict = tool_ledger_begin(&ledger, &request, now, call, &why);

	cJSON_Delete(tree);
	return verdict;
}

/* Send what is due and return it as "id=answer id=answer". */
static const char *answers(uint64_t now)
{
	static char text[1024];
	struct tool_call *call;

	text[0] = '\0';
	while ((call = tool_ledger_due(&ledger)) != NULL) {
		size_t len = strlen(text);

		snprintf(text + len, sizeof(text) - len, "%s%s=%s", len > 0 ? " " : "",
			call->model_id != NULL ? call->model_id : "-", tool_call_answer(call));
		tool_ledger_sent(&ledger, call, ++message);
		if (!socket_full)
			tool_ledger_went_out(&ledger, message, now);
	}
	return text;
}

START_TEST(test_ledger_answers_once)
{
	struct tool_call *call;

	ck_assert_int_eq(ask(&plain, "call_1", "{\"city\":\"Paris\"}", 0, &call), TOOL_ASK);
	ck_assert_str_eq(call->id, "call_1");
	ck_assert_str_eq(call->args, "{\"city\":\"Paris\"}");
	ck_assert_str_eq(answers(0), "");
	ck_assert_int_eq(tool_ledger_result(&ledger, "call_2", "{}", false), -ENOENT);
	ck_assert_int_eq(tool_ledger_result(&ledger, "call_1", "{\"sun\":1}", false), 0);
	ck_assert_int_eq(tool_ledger_result(&ledger, "call_1", "{}", false), -EALREADY);
	ck_assert_str_eq(answers(0), "call_1={\"sun\":1}");
	ck_assert_str_eq(answers(0), "");
	/* The same call once more on the same connection: it has its answer. */
	ck_assert_int_eq(ask(&plain, "call_1", "{\"city\":\"Paris\"}", 0, &call), TOOL_KNOWN);
	ck_assert_str_eq(answers(0), "");
}
END_TEST

START_TEST(test_ledger_repeated_id_waits)
{
	struct tool_call *call;

	ck_assert_int_eq(ask(&plain, "call_1", NULL, 0, &call), TOOL_ASK);
	ck_assert_int_eq(ask(&plain, "call_1", NULL, 0, &call), TOOL_KNOWN);
	ck_assert_int_eq(tool_ledger_fail(&ledger, "call_1", "no \"rain\""), 0);
	ck_assert_str_eq(answers(0), "call_1={\"error\":\"no \\\"rain\\\"\"}");
}
END_TEST

START_TEST(test_ledger_calls_without_ids)
{
	struct tool_call *first, *second, *odd;

	ck_assert_int_eq(ask(&plain, NULL, "{\"city\":\"Paris\"}", 0, &first), TOOL_ASK);
	ck_assert_int_eq(ask(&plain, NULL, "{\"city\":\"Rome\"}", 0, &second), TOOL_ASK);
	ck_assert_str_ne(first->id, "");
	ck_assert_str_ne(first->id, second->id);
	ck_assert_int_eq(tool_ledger_result(&ledger, second->id, "{\"r\":2}", false), 0);
	ck_assert_str_eq(answers(0), "-={\"r\":2}");
	/* An id that the platform should not have to handle gets one that it can. */
	ck_assert_int_eq(ask(&plain, "a b\n", "{\"city\":\"Oslo\"}", 0, &odd), TOOL_ASK);
	ck_assert_str_ne(odd->id, "a b\n");
	ck_assert_int_eq(tool_ledger_result(&ledger, odd->id, "{}", false), 0);
	ck_assert_str_eq(answers(0), "a b\n={}");
}
END_TEST

START_TEST(test_ledger_deadline)
{
	struct tool_call *call, *expired;

	ask(&plain, "a", "{\"city\":\"Paris\"}", 1000, &call);
	ck_assert_ptr_null(tool_ledger_expire(&ledger, 10999));
	expired = tool_ledger_expire(&ledger, 11000);
	ck_assert_ptr_eq(expired, call);
	ck_assert_ptr_null(tool_ledger_expire(&ledger, 11000));
	ck_assert_int_eq(tool_ledger_result(&ledger, "a", "{}", false), -ETIME);
	ck_assert_str_eq(answers(0), "a={\"error\":\"no answer in time\"}");
}
END_TEST

START_TEST(test_ledger_cancelled)
{
	struct tool_call *call;

	ask(&plain, "a", NULL, 0, &call);
	ck_assert_ptr_null(tool_ledger_cancel(&ledger, "b"));
	ck_assert_ptr_eq(tool_ledger_cancel(&ledger, "a"), call);
	ck_assert_ptr_null(tool_ledger_cancel(&ledger, "a"));
	ck_assert_int_eq(tool_ledger_result(&ledger, "a", "{}", false), -ECANCELED);
	ck_assert_str_eq(answers(0), "");
	/* Asked again afterwards: the platform may have taken back what it did, so it is asked again. */
	ck_assert_int_eq(ask(&plain, "c", NULL, 0, &call), TOOL_ASK);
	/* Cancelled with the answer on its way: too late, nobody is told. */
	tool_ledger_result(&ledger, "c", "{}", false);
	ck_assert_str_eq(answers(0), "c={}");
	ck_assert_ptr_null(tool_ledger_cancel(&ledger, "c"));
	/* With the answer here and not sent: it is not sent. */
	ask(&plain, "d", NULL, 0, &call);
	tool_ledger_result(&ledger, "d", "{}", false);
	ck_assert_ptr_null(tool_ledger_cancel(&ledger, "d"));
	ck_assert_str_eq(answers(0), "");
}
END_TEST

/* The caller spoke into an open call; the model asks again under another id (seen on gemini-3.8-live without a cancellation). */
START_TEST(test_ledger_same_business_is_asked_once)
{
	struct tool_call *call;

	ck_assert_int_eq(ask(&booking, "a", "{\"day\":\"monday\",\"note\":\"x\"}", 0, &call), TOOL_ASK);
	ck_assert_int_eq(ask(&booking, "b", "{\"note\":\"other\",\"day\":\"monday\"}", 0, &call), TOOL_SHARED);
	ck_assert_int_eq(ask(&booking, "c", "{\"day\":\"tuesday\",\"note\":\"x\"}", 0, &call), TOOL_ASK);
	ck_assert_int_eq(tool_ledger_result(&ledger, "b", "{}", false), -ENOENT);
	ck_assert_int_eq(tool_ledger_result(&ledger, "a", "{\"table\":4}", false), 0);
	ck_assert_str_eq(answers(0), "a={\"table\":4} b={\"table\":4}");
	/* Done is done, for the rest of the call. */
	ck_assert_int_eq(ask(&booking, "d", "{\"day\":\"monday\"}", 60000, &call), TOOL_SHARED);
	ck_assert_str_eq(answers(0), "d={\"table\":4}");
	/* What failed was not done. */
	tool_ledger_fail(&ledger, "c", "full");
	ck_assert_str_eq(answers(0), "c={\"error\":\"full\"}");
	ck_assert_int_eq(ask(&booking, "e", "{\"day\":\"tuesday\"}", 60000, &call), TOOL_ASK);
}
END_TEST

START_TEST(test_ledger_without_key_only_open_calls_are_the_same)
{
	struct tool_call *call;

	ck_assert_int_eq(ask(&plain, "a", "{\"city\":\"Paris\",\"when\":{\"b\":1,\"a\":[2]}}", 0, &call), TOOL_ASK);
	ck_assert_int_eq(ask(&plain, "b", "{\"when\":{\"a\":[2],\"b\":1},\"city\":\"Paris\"}", 0, &call), TOOL_SHARED);
	ck_assert_int_eq(ask(&plain, "c", "{\"city\":\"Rome\"}", 0, &call), TOOL_ASK);
	tool_ledger_result(&ledger, "a", "{}", false);
	ck_assert_str_eq(answers(0), "a={} b={}");
	/* The weather may have changed. */
	ck_assert_int_eq(ask(&plain, "d", "{\"city\":\"Paris\",\"when\":{\"b\":1,\"a\":[2]}}", 0, &call), TOOL_ASK);
}
END_TEST

/* The first call is cancelled, the second one still wants the result: the platform goes on and is told nothing. */
START_TEST(test_ledger_follower_inherits)
{
	struct tool_call *call;

	ask(&booking, "a", "{\"day\":\"monday\"}", 0, &call);
	ask(&booking, "b", "{\"day\":\"monday\"}", 0, &call);
	ask(&booking, "c", "{\"day\":\"monday\"}", 0, &call);
	ck_assert_ptr_null(tool_ledger_cancel(&ledger, "a"));
	ck_assert_int_eq(tool_ledger_result(&ledger, "a", "{\"table\":4}", false), 0);
	ck_assert_str_eq(answers(0), "b={\"table\":4} c={\"table\":4}");
}
END_TEST

START_TEST(test_ledger_followers_expire_with_the_first)
{
	struct tool_call *call;

	ask(&booking, "a", "{\"day\":\"monday\"}", 0, &call);
	ask(&booking, "b", "{\"day\":\"monday\"}", 9000, &call);
	ck_assert_ptr_nonnull(tool_ledger_expire(&ledger, 10000));
	ck_assert_ptr_null(tool_ledger_expire(&ledger, 30000));
	ck_assert_str_eq(answers(0), "a={\"error\":\"no answer in time\"} b={\"error\":\"no answer in time\"}");
	ck_assert_uint_eq(ledger.open, 0);
}
END_TEST

START_TEST(test_ledger_resume_sends_again)
{
	struct tool_call *call;

	ask(&plain, "open", "{\"n\":1}", 0, &call);
	ask(&plain, "late", "{\"n\":2}", 0, &call);
	ask(&plain, "sure", "{\"n\":3}", 0, &call);
	tool_ledger_result(&ledger, "sure", "{\"r\":3}", false);
	ck_assert_str_eq(answers(1000), "sure={\"r\":3}");
	tool_ledger_heard(&ledger, 1000 + TOOL_CONFIRM_MS);
	tool_ledger_result(&ledger, "late", "{\"r\":2}", false);
	ck_assert_str_eq(answers(2000), "late={\"r\":2}");
	/* What was on its way already when the answer went out says nothing about it. */
	tool_ledger_heard(&ledger, 2000 + TOOL_CONFIRM_MS - 1);
	tool_ledger_connected(&ledger, true);
	ck_assert_str_eq(answers(3000), "late={\"r\":2}");
	ck_assert_int_eq(tool_ledger_result(&ledger, "open", "{\"r\":1}", false), 0);
	ck_assert_str_eq(answers(3000), "open={\"r\":1}");
	ck_assert_ptr_null(tool_ledger_lost(&ledger));
	/* The service asks again for what it had: it has it no more. */
	tool_ledger_connected(&ledger, true);
	ck_assert_str_eq(answers(4000), "open={\"r\":1} late={\"r\":2}");
	ck_assert_int_eq(ask(&plain, "sure", "{\"n\":3}", 4000, &call), TOOL_KNOWN);
	ck_assert_str_eq(answers(4000), "sure={\"r\":3}");
}
END_TEST

START_TEST(test_ledger_long_error)
{
	static char text[TOOL_RESULT_MAX / 2 + 1];
	struct tool_call *call;

	memset(text, '"', sizeof(text) - 1);
	ask(&plain, "a", NULL, 0, &call);
	ck_assert_int_eq(tool_ledger_fail(&ledger, "a", text), 0);
	ck_assert_ptr_nonnull(strstr(answers(0), "too long"));
}
END_TEST

START_TEST(test_ledger_new_session_loses_calls)
{
	struct tool_call *call;

	ask(&booking, "a", "{\"day\":\"monday\"}", 0, &call);
	ask(&booking, "b", "{\"day\":\"monday\"}", 0, &call);
	ask(&plain, "c", NULL, 0, &call);
	tool_ledger_result(&ledger, "c", "{}", false);
	answers(0);
	tool_ledger_connected(&ledger, false);
	call = tool_ledger_lost(&ledger);
	ck_assert_ptr_nonnull(call);
	ck_assert_str_eq(call->id, "a");
	ck_assert_ptr_null(tool_ledger_lost(&ledger)); /* the platform does not know b, and c was answered */
	ck_assert_str_eq(answers(0), "");
	ck_assert_int_eq(tool_ledger_result(&ledger, "a", "{}", false), -ESTALE);
	/* The new session counts its ids from the beginning. */
	ck_assert_int_eq(ask(&plain, "a", NULL, 0, &call), TOOL_ASK);
	ck_assert_str_ne(call->id, "a");
	ck_assert_int_eq(tool_ledger_result(&ledger, call->id, "{\"new\":1}", false), 0);
	ck_assert_str_eq(answers(0), "a={\"new\":1}");
	/* A result that came while there was no session stands, and serves who asks again. */
	ask(&booking, "x", "{\"day\":\"friday\"}", 0, &call);
	tool_ledger_result(&ledger, call->id, "{\"table\":4}", false);
	tool_ledger_connected(&ledger, false);
	ck_assert_ptr_null(tool_ledger_lost(&ledger));
	ck_assert_str_eq(answers(0), "");
	ck_assert_int_eq(ask(&booking, "y", "{\"day\":\"friday\"}", 0, &call), TOOL_SHARED);
	ck_assert_str_eq(answers(0), "y={\"table\":4}");
	/* Also an id that was answered in the old one. */
	ck_assert_int_eq(ask(&plain, "c", "{\"city\":\"Rome\"}", 0, &call), TOOL_ASK);
}
END_TEST

/* A refusal is an answer as any other: sent once, again where it may not have arrived, not to another session. */
START_TEST(test_ledger_refusals)
{
	static char longest[TOOL_ARGS_MAX + 64],
		name[96] = "a name of more than 64 bytes that is cut between characters, not in \u20ac";
	static const struct tool unknown = {.name = "no.such"};
	struct tool_request request = {.name = name};
	struct tool_call *call;

	memset(longest, 'x', sizeof(longest) - 1);
	memcpy(longest, "{\"a\":\"", 6);
	strcpy(longest + TOOL_ARGS_MAX, "\"}");
	ck_assert_int_eq(ask(&unknown, "u", NULL, 0, &call), TOOL_REFUSED);
	ck_assert_ptr_nonnull(call);
	ck_assert(call->noted);
	ck_assert_int_eq(ask(&unknown, "u", NULL, 0, &call), TOOL_KNOWN);
	ck_assert_int_eq(ask(&plain, "l", longest, 0, &call), TOOL_REFUSED);
	ck_assert_str_eq(
		answers(0), "u={\"error\":\"this function does not exist\"} l={\"error\":\"the arguments are too long\"}");
	ck_assert_str_eq(answers(0), "");
	/* The same function with arguments that are right is another call. */
	ck_assert_int_eq(ask(&plain, "m", NULL, 0, &call), TOOL_ASK);
	ck_assert_int_eq(tool_ledger_result(&ledger, "m", "{}", false), 0);
	tool_ledger_connected(&ledger, true);
	ck_assert_str_eq(
		answers(0), "u={\"error\":\"this function does not exist\"} l={\"error\":\"the arguments are too long\"} m={}");
	tool_ledger_heard(&ledger, TOOL_CONFIRM_MS);
	tool_ledger_connected(&ledger, true);
	ck_assert_str_eq(answers(0), "");
	ck_assert_int_eq(ask(&unknown, "v", NULL, 0, &call), TOOL_REFUSED);
	tool_ledger_connected(&ledger, false);
	ck_assert_str_eq(answers(0), "");
	ck_assert_ptr_null(tool_ledger_lost(&ledger));
	ck_assert_uint_eq(ledger.open, 0);
	for (size_t cut = 62; cut <= 64; cut++) {
		strcpy(name + cut, "\u20ac and more");
		ck_assert_int_eq(tool_ledger_begin(&ledger, &request, 0, &call, &why), TOOL_REFUSED);
		ck_assert_uint_eq(strlen(call->name), cut);
	}
}
END_TEST

START_TEST(test_ledger_bounds)
{
	static char longest[TOOL_RESULT_MAX + 64];
	struct tool_call *call;
	char id[16], args[64];

	for (unsigned int i = 0; i < TOOL_OPEN_MAX; i++) {
		snprintf(id, sizeof(id), "%u", i);
		snprintf(args, sizeof(args), "{\"n\":%u}", i);
		ck_assert_int_eq(ask(&plain, id, args, 0, &call), TOOL_ASK);
	}
	ck_assert_int_eq(ask(&plain, "x", "{\"n\":\"x\"}", 0, &call), TOOL_REFUSED);
	ck_assert_str_eq(why, "too many calls wait for their results");
	memset(longest, 'x', sizeof(longest) - 1);
	memcpy(longest, "{\"a\":\"", 6);
	strcpy(longest + TOOL_RESULT_MAX - 1, "\"}");
	ck_assert_int_eq(tool_ledger_result(&ledger, "0", longest, false), -EMSGSIZE);
	strcpy(longest + TOOL_RESULT_MAX - 2, "\"}");
	ck_assert_int_eq(tool_ledger_result(&ledger, "0", longest, false), 0);
	answers(0);
	memset(longest, 'x', sizeof(longest) - 1);
	memcpy(longest, "{\"a\":\"", 6);
	strcpy(longest + TOOL_ARGS_MAX, "\"}");
	ck_assert_int_eq(ask(&plain, "y", longest, 0, &call), TOOL_REFUSED);
	ck_assert_str_eq(why, "the arguments are too long");
	longest[TOOL_MODEL_ID_MAX + 1] = '\0';
	ck_assert_int_eq(ask(&plain, longest, NULL, 0, &call), TOOL_REFUSED);
	ck_assert_int_eq(ask(&plain, "z", "[1]", 0, &call), TOOL_REFUSED);
	for (unsigned int i = 0; i < 1000; i++) {
		snprintf(id, sizeof(id), "r%u", i);
		ck_assert_int_eq(ask(&plain, id, NULL, 0, &call), TOOL_ASK);
		ck_assert_int_eq(tool_ledger_result(&ledger, id, "{}", false), 0);
		answers(0);
		ck_assert_uint_le(ledger.count, TOOL_LEDGER_MAX);
	}
}
END_TEST

/* -- random sequences -- */

#define STEPS  400000u
#define CALLS  4096u /* remembered by the test */
#define ROUNDS 20u

static uint32_t random_state;

static uint32_t draw(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % below;
}

/* The model's book: what it asked in this session and how often it was answered on this connection. */
static struct {
	bool used, cancelled;
	uint32_t answers; /* on this connection */
	uint32_t total;
} asked[CALLS];
static uint32_t first, last; /* of this session */

/* The platform's book: requests it was told of and that are not over. */
static struct {
	char id[TOOL_ID_SIZE];
	bool open;
} jobs[CALLS];
static uint32_t job_count;

static void platform_over(const char *id)
{
	for (uint32_t i = 0; i < job_count; i++) {
		if (strcmp(jobs[i].id, id) != 0)
			continue;
		ck_assert_msg(jobs[i].open, "%s is over twice", id);
		jobs[i] = jobs[--job_count];
		return;
	}
	ck_abort_msg("the platform is told of %s, which it does not know", id);
}

static void model_hears(uint64_t now)
{
	struct tool_call *call;

	while ((call = tool_ledger_due(&ledger)) != NULL) {
		uint32_t n = (uint32_t)atoi(call->model_id);

		ck_assert_msg(n >= first && n < last, "call %u of another session is answered", n);
		ck_assert_msg(!asked[n].cancelled, "call %u is answered after it was cancelled", n);
		ck_assert_msg(asked[n].answers == 0, "call %u is answered twice on one connection", n);
		asked[n].answers++;
		asked[n].total++;
		tool_ledger_sent(&ledger, call, ++message);
		tool_ledger_went_out(&ledger, message, now);
	}
}

static void model_asks(uint64_t now)
{
	struct tool_call *call;
	char id[16], args[32];

	if (last == CALLS || ledger.open >= TOOL_OPEN_MAX)
		return;
	snprintf(id, sizeof(id), "%u", last);
	snprintf(args, sizeof(args), "{\"day\":%u}", draw(4));
	asked[last].used = true;
	last++;
	switch (ask(draw(2) ? &plain : &booking, id, args, now, &call)) {
	case TOOL_ASK:
		for (uint32_t i = 0; i < job_count; i++)
			ck_assert_str_ne(jobs[i].id, call->id);
		strcpy(jobs[job_count].id, call->id);
		jobs[job_count++].open = true;
		break;
	case TOOL_REFUSED:
		ck_assert(call != NULL || ledger.count == TOOL_LEDGER_MAX);
		asked[last - 1].total += call == NULL; /* answered without the ledger */
		break;
	default:
		break;
	}
}

static void connection(bool resumed)
{
	struct tool_call *call;

	tool_ledger_connected(&ledger, resumed);
	for (uint32_t i = first; i < last; i++)
		asked[i].answers = 0;
	while ((call = tool_ledger_lost(&ledger)) != NULL)
		platform_over(call->id);
	if (!resumed) {
		ck_assert_uint_eq(job_count, 0);
		first = last;
	}
}

static void one_step(uint64_t now)
{
	struct tool_call *call;
	char id[16];
	uint32_t n;

	switch (draw(16)) {
	case 0 ... 5:
		model_asks(now);
		break;
	case 6 ... 9:
		if (job_count == 0)
			break;
		n = draw(job_count);
		ck_assert_int_eq(draw(4) ? tool_ledger_result(&ledger, jobs[n].id, "{\"x\":1}", false)
					 : tool_ledger_fail(&ledger, jobs[n].id, "no"),
			0);
		platform_over(jobs[n].id);
		break;
	case 10:
		if (first == last)
			break;
		n = first + draw(last - first);
		snprintf(id, sizeof(id), "%u", n);
		call = tool_ledger_cancel(&ledger, id);
		asked[n].cancelled = asked[n].total == 0;
		if (call != NULL)
			platform_over(call->id);
		break;
	case 11:
		connection(draw(4) != 0);
		break;
	case 12:
		tool_ledger_heard(&ledger, now);
		break;
	default:
		model_hears(now);
		break;
	}
	while ((call = tool_ledger_expire(&ledger, now)) != NULL)
		platform_over(call->id);
}

START_TEST(test_ledger_random_sequences)
{
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint64_t now = 0;

		tool_ledger_free(&ledger);
		tool_ledger_connected(&ledger, false);
		memset(asked, 0, sizeof(asked));
		first = last = job_count = 0;
		random_state = round + 1;
		for (uint32_t step = 0; step < STEPS / ROUNDS && last < CALLS; step++) {
			now += draw(200);
			one_step(now);
			ck_assert_uint_le(ledger.count, TOOL_LEDGER_MAX);
		}
		/* In the end everything was answered, or given up by name. */
		now += 60000;
		struct tool_call *call;

		while ((call = tool_ledger_expire(&ledger, now)) != NULL)
			platform_over(call->id);
		model_hears(now);
		ck_assert_uint_eq(job_count, 0);
		ck_assert_uint_eq(ledger.open, 0);
		for (uint32_t n = first; n < last; n++)
			ck_assert_msg(
				asked[n].cancelled || asked[n].total > 0, "call %u of round %u was never answered", n, round);
	}
}
END_TEST

/* An answer that went down with its connection, unsent, has not arrived whatever the model said meanwhile; one that went out before has. */
START_TEST(test_ledger_dropped_is_sent_again)
{
	bool resumed = _i != 0, went_late = _i == 2;
	struct tool_call *call;

	ask(&plain, "a", "{\"n\":1}", 0, &call);
	ask(&plain, "b", "{\"n\":2}", 0, &call);
	tool_ledger_result(&ledger, "a", "{}", false);
	ck_assert_str_eq(answers(0), "a={}");
	tool_ledger_result(&ledger, "b", "{}", false);
	socket_full = true;
	ck_assert_str_eq(answers(0), "b={}");
	tool_ledger_heard(&ledger, TOOL_CONFIRM_MS);
	if (went_late)
		tool_ledger_went_out(&ledger, message, TOOL_CONFIRM_MS); /* into a socket that nobody reads any more */
	tool_ledger_dropped(&ledger);
	socket_full = false;
	tool_ledger_connected(&ledger, resumed);
	ck_assert_str_eq(answers(1000), resumed ? "b={}" : "");
	ck_assert_ptr_null(tool_ledger_lost(&ledger));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tool_ledger");

	unit_add_fixture(suite, "ledger", begin, end, test_ledger_answers_once, test_ledger_repeated_id_waits,
		test_ledger_calls_without_ids, test_ledger_deadline, test_ledger_cancelled,
		test_ledger_same_business_is_asked_once, test_ledger_without_key_only_open_calls_are_the_same,
		test_ledger_follower_inherits, test_ledger_followers_expire_with_the_first, test_ledger_resume_sends_again,
		test_ledger_new_session_loses_calls, test_ledger_long_error, test_ledger_refusals, test_ledger_bounds);
	TCase *dropped = tcase_create("dropped");

	tcase_add_checked_fixture(dropped, begin, end);
	tcase_add_loop_test(dropped, test_ledger_dropped_is_sent_again, 0, 3);
	suite_add_tcase(suite, dropped);
	unit_add_fixture(suite, "random", begin, end, test_ledger_random_sequences);
	return unit_run(suite);
}
