/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a Gemini session: deadlines, coming back, giving up, and never two connections. */
#include "unit.h"

#include <string.h>

#include "ai_workers/session.h"

#define START_MS 1000000u

static struct session session;
static uint64_t now;

static void begin(void)
{
	now = START_MS;
	session_init(&session, 42);
}

static void end(void)
{
	session_free(&session);
}

/* One event of a session that never waits for its turn to dial. */
static uint32_t do_step(const struct session_event *event)
{
	uint32_t actions = session_step(&session, event, now);

	if (actions & SESSION_DO_DIAL)
		ck_assert_uint_eq(session_step(&session, &(struct session_event){.type = SESSION_DIAL_BEGINS}, now), 0);
	return actions;
}

static uint32_t step(enum session_event_type type)
{
	return do_step(&(struct session_event){.type = type, .reason = ""});
}

static uint32_t lose(uint16_t code, const char *reason)
{
	return do_step(&(struct session_event){.type = SESSION_LOST, .code = code, .reason = reason});
}

static uint32_t lose_http(int status)
{
	return do_step(&(struct session_event){.type = SESSION_LOST, .code = 1006, .http_status = status, .reason = "upgrade"});
}

static void handle(const char *text, bool resumable)
{
	session_step(&session, &(struct session_event){.type = SESSION_HANDLE, .handle = text, .resumable = resumable}, now);
}

/* Let time pass up to the deadline and report it. */
static uint32_t wait_deadline(void)
{
	ck_assert_uint_ne(session.deadline_ms, SESSION_NEVER);
	if (now < session.deadline_ms)
		now = session.deadline_ms;
	return step(SESSION_TICK);
}

static void connect_now(void)
{
	ck_assert_uint_eq(step(SESSION_UPGRADED) & SESSION_DO_SETUP, SESSION_DO_SETUP);
	now += 250;
	step(SESSION_SETUP_COMPLETE);
	ck_assert_int_eq(session.state, SESSION_READY);
}

START_TEST(test_session_begins)
{
	ck_assert_ptr_null(session_state_name(&session));
	ck_assert_uint_eq(step(SESSION_START), SESSION_DO_DIAL | SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "dialling");
	ck_assert_uint_eq(step(SESSION_START), 0);
	ck_assert_uint_eq(step(SESSION_UPGRADED), SESSION_DO_SETUP | SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "setup");
	ck_assert_uint_eq(step(SESSION_UPGRADED), 0);
	ck_assert_uint_eq(step(SESSION_SETUP_COMPLETE), SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "ready");
	ck_assert_uint_eq(session.deadline_ms, SESSION_NEVER);
	ck_assert_uint_eq(step(SESSION_HANG_UP), SESSION_DO_CLOSE);
	ck_assert_uint_eq(step(SESSION_HANG_UP), 0);
	ck_assert_ptr_null(session_state_name(&session));
	/* What still comes from the old connection does nothing. */
	ck_assert_uint_eq(lose(1000, ""), 0);
	ck_assert_uint_eq(step(SESSION_UPGRADED), 0);
	ck_assert_uint_eq(step(SESSION_SETUP_COMPLETE), 0);
	ck_assert_uint_eq(step(SESSION_TICK), 0);
}
END_TEST

START_TEST(test_session_deadlines)
{
	uint32_t actions;

	step(SESSION_START);
	ck_assert_uint_eq(session.deadline_ms, START_MS + SESSION_DIAL_MS);
	ck_assert_uint_eq(step(SESSION_TICK), 0); /* too early */
	actions = wait_deadline();
	ck_assert_uint_eq(actions & SESSION_DO_ABORT, SESSION_DO_ABORT);
	ck_assert_str_eq(session_state_name(&session), "reconnecting");
	ck_assert_uint_eq(wait_deadline() & SESSION_DO_DIAL, SESSION_DO_DIAL);
	step(SESSION_UPGRADED);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_SETUP_MS);
	ck_assert_uint_eq(wait_deadline() & SESSION_DO_ABORT, SESSION_DO_ABORT);
	ck_assert_str_eq(session.reason, "no setupComplete in time");
}
END_TEST

/* Waiting for a turn costs the dial nothing, and has an end of its own. */
START_TEST(test_session_waits_for_its_turn)
{
	session_step(&session, &(struct session_event){.type = SESSION_START}, now);
	ck_assert_uint_eq(session.deadline_ms, START_MS + SESSION_RETRY_MS);
	ck_assert_str_eq(session_state_name(&session), "dialling");
	now += SESSION_DIAL_MS + 1000;
	ck_assert_uint_eq(step(SESSION_TICK), 0);
	ck_assert_uint_eq(step(SESSION_DIAL_BEGINS), 0);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_DIAL_MS);
	now += 100;
	ck_assert_uint_eq(step(SESSION_DIAL_BEGINS), 0); /* twice is once */
	ck_assert_uint_eq(session.deadline_ms, now - 100 + SESSION_DIAL_MS);
	connect_now();
	ck_assert(session.has_talked);
	ck_assert_uint_eq(step(SESSION_DIAL_BEGINS), 0);
	ck_assert_uint_eq(session.deadline_ms, SESSION_NEVER);

	session_step(&session, &(struct session_event){.type = SESSION_LOST, .code = 1011, .reason = ""}, now);
	while (session.state == SESSION_WAITING) {
		now = session.deadline_ms;
		session_step(&session, &(struct session_event){.type = SESSION_TICK}, now);
	}
	ck_assert_int_eq(session.state, SESSION_DIALLING);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_ABORT | SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "failed");
	ck_assert_str_eq(session.reason, "no turn to dial in time");
}
END_TEST

START_TEST(test_session_refused_turn)
{
	session_step(&session, &(struct session_event){.type = SESSION_START}, now);
	ck_assert_uint_eq(session_step(&session, &(struct session_event){.type = SESSION_REFUSED, .reason = "over quota"}, now),
		SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "failed");
	ck_assert_str_eq(session.reason, "over quota");

	session_free(&session);
	begin();
	step(SESSION_START); /* a dial that has begun is not refused any more */
	ck_assert_uint_eq(
		session_step(&session, &(struct session_event){.type = SESSION_REFUSED, .reason = "over quota"}, now), 0);
	ck_assert_str_eq(session_state_name(&session), "dialling");
}
END_TEST

/* A stable session that is lost comes back at once, with the newest handle; a resume that is refused waits about a second. */
START_TEST(test_session_resumes)
{
	uint64_t lost;

	step(SESSION_START);
	connect_now();
	handle("first", true);
	handle("second", true);
	handle("third", false);
	handle("", true);
	handle(NULL, true);
	now += SESSION_STABLE_MS;
	ck_assert_uint_eq(lose(1011, "Internal error encountered."), SESSION_DO_DIAL | SESSION_DO_REPORT);
	ck_assert_str_eq(session_handle(&session), "second");
	ck_assert_str_eq(session_state_name(&session), "reconnecting");
	ck_assert_uint_eq(session.code, 1011);
	step(SESSION_UPGRADED);
	lost = now;
	ck_assert_uint_eq(lose(1011, "Internal error encountered."), SESSION_DO_REPORT);
	ck_assert_uint_eq(wait_deadline() & SESSION_DO_DIAL, SESSION_DO_DIAL);
	ck_assert_uint_ge(now - lost, SESSION_RESUME_AGAIN_MS);
	ck_assert_uint_le(now - lost, SESSION_RESUME_AGAIN_MS * 5 / 4);
	/* Twice refused: the handle is to blame, and a new session comes at once. */
	step(SESSION_UPGRADED);
	ck_assert_uint_eq(lose(1011, "Internal error encountered.") & SESSION_DO_DIAL, SESSION_DO_DIAL);
	ck_assert_ptr_null(session_handle(&session));
	connect_now();
	ck_assert(!session.resumed);
}
END_TEST

START_TEST(test_session_fatal)
{
	static const struct {
		uint16_t code;
		const char *reason;
	} fatal[] = {{1007, "API key not valid. Please pass a valid API key."}, {1007, "Invalid JSON payload received. x"},
		{1008, "Your project has been denied access."}, {1008, "models/x is not found for API version v1beta"}};

	step(SESSION_START);
	step(SESSION_UPGRADED);
	ck_assert_uint_eq(lose(fatal[_i].code, fatal[_i].reason), SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "failed");
	ck_assert_str_eq(session.reason, fatal[_i].reason);
	ck_assert_uint_eq(session.deadline_ms, SESSION_NEVER);
	ck_assert_uint_eq(step(SESSION_HANG_UP), 0);
}
END_TEST

START_TEST(test_session_http)
{
	step(SESSION_START);
	ck_assert_uint_eq(lose_http(503), SESSION_DO_REPORT);
	ck_assert_int_eq(session.state, SESSION_WAITING);
	wait_deadline();
	ck_assert_uint_eq(lose_http(429), SESSION_DO_REPORT);
	ck_assert_uint_ge(session.deadline_ms, now + SESSION_THROTTLE_MS);
	wait_deadline();
	ck_assert_uint_eq(lose_http(403), SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "failed");
}
END_TEST

/* A dead handle costs nothing but the handle; a new session cannot have one. */
START_TEST(test_session_dead_handle)
{
	step(SESSION_START);
	connect_now();
	handle("h", true);
	now += SESSION_STABLE_MS;
	lose(1006, "");
	step(SESSION_UPGRADED);
	ck_assert_uint_eq(lose(1007, "Invalid session handle") & SESSION_DO_DIAL, SESSION_DO_DIAL);
	ck_assert_ptr_null(session_handle(&session));
	step(SESSION_UPGRADED);
	ck_assert_uint_eq(lose(1008, "BidiGenerateContent session not found"), SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "failed");
}
END_TEST

START_TEST(test_session_once)
{
	step(SESSION_START);
	connect_now();
	handle("h", true);
	ck_assert_uint_eq(lose(1007, "Request contains an invalid argument.") & SESSION_DO_DIAL, SESSION_DO_DIAL);
	ck_assert_ptr_null(session_handle(&session));
	connect_now();
	ck_assert_uint_eq(lose(1007, "Request contains an invalid argument."), SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "failed");
}
END_TEST

/* Whatever the service does, the dials of one lost session are few and end. */
START_TEST(test_session_gives_up)
{
	static const char *const reasons[] = {
		"Internal error encountered.", "Requested entity was not found.", "The operation was aborted."};
	unsigned int dials = 1;
	uint64_t started = now;

	step(SESSION_START);
	while (session.state != SESSION_FAILED) {
		uint32_t actions;

		ck_assert_uint_le(dials, 40);
		if (session.state == SESSION_DIALLING) {
			/* Each session comes up with a handle and dies young. */
			now += 50;
			step(SESSION_UPGRADED);
			now += 250;
			step(SESSION_SETUP_COMPLETE);
			handle("handle", true);
			actions = lose(_i == 1 ? 1008 : 1011, reasons[_i]);
		} else {
			actions = wait_deadline();
		}
		dials += (actions & SESSION_DO_DIAL) != 0;
	}
	ck_assert_uint_le(now - started, SESSION_RETRY_MS + 1000);
	ck_assert_uint_ge(dials, 3);
}
END_TEST

START_TEST(test_session_go_away)
{
	struct session_event go_away = {.type = SESSION_GO_AWAY, .time_left_ms = 50000};
	uint64_t start;

	step(SESSION_START);
	connect_now();
	handle("h", true);
	/* Somebody speaks: wait for quiet, but not for ever. */
	step(SESSION_BUSY);
	start = now;
	ck_assert_uint_eq(session_step(&session, &go_away, now), 0);
	ck_assert_uint_eq(session.deadline_ms, start + 45000);
	now += 10000;
	ck_assert_uint_eq(step(SESSION_QUIET), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	/* Only when the old connection is gone the new one is dialled. */
	ck_assert_uint_eq(step(SESSION_UPGRADED), 0);
	ck_assert_uint_eq(lose(1000, ""), SESSION_DO_DIAL | SESSION_DO_REPORT);
	connect_now();
	ck_assert(session.resumed);
	/* Never quiet: at the last moment anyway, and a Close that is not answered is cut off. */
	step(SESSION_BUSY);
	session_step(&session, &go_away, now);
	ck_assert_uint_eq(wait_deadline() & SESSION_DO_CLOSE, SESSION_DO_CLOSE);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_ABORT | SESSION_DO_DIAL | SESSION_DO_REPORT);
}
END_TEST

/* Between a question and its answer nobody speaks, and yet a rotation would throw the answer away. */
START_TEST(test_session_go_away_waits_for_answer)
{
	struct session_event go_away = {.type = SESSION_GO_AWAY, .time_left_ms = 50000};

	step(SESSION_START);
	connect_now();
	handle("h", true);
	step(SESSION_BUSY);
	ck_assert_uint_eq(session_step(&session, &go_away, now), 0);
	step(SESSION_ASKED);
	ck_assert_uint_eq(step(SESSION_QUIET), 0);
	now += 1000;
	step(SESSION_BUSY);
	ck_assert_uint_eq(step(SESSION_ANSWERED), 0);
	ck_assert_uint_eq(step(SESSION_QUIET), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	lose(1000, "");
	connect_now();
	/* The other order; an answer that does not come holds nothing up. */
	step(SESSION_ASKED);
	ck_assert_uint_eq(session_step(&session, &go_away, now), 0);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_ANSWER_MS);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	lose(1000, "");
	connect_now();
	/* The service's own time is stronger. */
	step(SESSION_ASKED);
	go_away.time_left_ms = 6000;
	ck_assert_uint_eq(session_step(&session, &go_away, now), 0);
	ck_assert_uint_eq(session.deadline_ms, now + 1000);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	lose(1000, "");
	connect_now();
	/* No time left at all is not the same as nothing said. */
	step(SESSION_BUSY);
	go_away.time_left_ms = 0;
	ck_assert_uint_eq(session_step(&session, &go_away, now), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	lose(1000, "");
	connect_now();
	go_away.time_left_ms = GEMINI_TIME_UNSAID;
	ck_assert_uint_eq(session_step(&session, &go_away, now), 0);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_GO_AWAY_MS - SESSION_GO_AWAY_GUARD_MS);
}
END_TEST

/* A service that was hard to reach and lets go young has used up nothing of the next search for it. */
START_TEST(test_session_budget_restarts)
{
	step(SESSION_START);
	now += SESSION_RETRY_MS - 2000;
	connect_now();
	now += SESSION_STABLE_MS / 2;
	lose(1011, "Internal error encountered.");
	ck_assert_int_ne(session.state, SESSION_FAILED);
	ck_assert_uint_eq(session.lost_ms, now);
}
END_TEST

/* Sessions that each live long enough to restart the budget, and never long enough to be stable, still end. */
START_TEST(test_session_young_deaths)
{
	unsigned int deaths = 0;

	step(SESSION_START);
	while (session.state != SESSION_FAILED) {
		if (session.state == SESSION_WAITING)
			wait_deadline();
		connect_now();
		now += SESSION_STABLE_MS - 1000;
		lose(1011, "Internal error encountered.");
		ck_assert_uint_le(++deaths, SESSION_YOUNG_DEATHS + 1);
	}
	ck_assert_uint_eq(deaths, SESSION_YOUNG_DEATHS + 1);
}
END_TEST

/* An error inside a message that no retry mends. */
START_TEST(test_session_error_in_message)
{
	static const int fatal[] = {400, 401, 403, 404};

	step(SESSION_START);
	connect_now();
	now += SESSION_STABLE_MS;
	session_step(&session,
		&(struct session_event){.type = SESSION_LOST, .code = 1011, .http_status = fatal[_i], .reason = "no"}, now);
	ck_assert_int_eq(session.state, SESSION_FAILED);
}
END_TEST

START_TEST(test_session_hang_up_anywhere)
{
	step(SESSION_START);
	ck_assert_uint_eq(step(SESSION_HANG_UP), SESSION_DO_ABORT);
	session_free(&session);
	begin();
	step(SESSION_START);
	lose_http(500);
	ck_assert_uint_eq(step(SESSION_HANG_UP), 0);
	ck_assert_uint_eq(step(SESSION_TICK), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gemini_session");
	TCase *loops = tcase_create("ends");

	unit_add_fixture(suite, "life", begin, end, test_session_begins, test_session_deadlines, test_session_waits_for_its_turn,
		test_session_refused_turn, test_session_resumes, test_session_http, test_session_dead_handle, test_session_once,
		test_session_go_away, test_session_hang_up_anywhere, test_session_go_away_waits_for_answer,
		test_session_budget_restarts, test_session_young_deaths);
	tcase_add_checked_fixture(loops, begin, end);
	tcase_add_loop_test(loops, test_session_fatal, 0, 4);
	tcase_add_loop_test(loops, test_session_gives_up, 0, 3);
	tcase_add_loop_test(loops, test_session_error_in_message, 0, 4);
	suite_add_tcase(suite, loops);
	return unit_run(suite);
}
