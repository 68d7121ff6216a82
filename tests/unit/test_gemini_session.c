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
	session_init(&session, 42, SESSION_ROTATE_AFTER_S);
}

static void end(void)
{
	session_free(&session);
}

static uint32_t step(enum session_event_type type)
{
	return session_step(&session, &(struct session_event){.type = type, .reason = ""}, now);
}

static uint32_t lose(uint16_t code, const char *reason)
{
	return session_step(&session, &(struct session_event){.type = SESSION_LOST, .code = code, .reason = reason}, now);
}

static uint32_t lose_http(int status)
{
	return session_step(&session,
		&(struct session_event){.type = SESSION_LOST, .code = 1006, .http_status = status, .reason = "upgrade"}, now);
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
	step(SESSION_DIAL_BEGINS);
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
	ck_assert_uint_eq(step(SESSION_UPGRADED), 0); /* nothing is dialled yet */
	ck_assert_uint_eq(lose(1006, ""), 0);
	step(SESSION_DIAL_BEGINS);
	ck_assert_uint_eq(step(SESSION_UPGRADED), SESSION_DO_SETUP | SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "setup");
	ck_assert_uint_eq(step(SESSION_UPGRADED), 0);
	ck_assert_uint_eq(step(SESSION_SETUP_COMPLETE), SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "ready");
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_ROTATE_AFTER_S * 1000);
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

/* Every phase of a dial has a deadline and a reason of its own. */
static const struct {
	enum session_event_type to; /* comes last before the silence */
	uint32_t limit_ms;
	const char *reason;
} phases[] = {
	{SESSION_DIAL_BEGINS, SESSION_DNS_MS, "no address for the service's name in time"},
	{SESSION_RESOLVED, SESSION_TCP_MS, "no TCP connection in time"},
	{SESSION_CONNECTED, SESSION_TLS_MS, "no TLS handshake in time"},
	{SESSION_SECURED, SESSION_UPGRADE_MS, "no answer to the upgrade in time"},
	{SESSION_UPGRADED, SESSION_SETUP_MS, "no setupComplete in time"},
};

START_TEST(test_session_phases)
{
	step(SESSION_START);
	now += 70;
	for (int i = 0; i <= _i; i++) {
		step(phases[i].to);
		ck_assert_uint_eq(session.deadline_ms, now + phases[i].limit_ms);
		now += 10 * (uint32_t)(i + 1);
	}
	ck_assert_uint_eq(step(SESSION_TICK), 0); /* too early */
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_ABORT | SESSION_DO_REPORT);
	ck_assert_str_eq(session.reason, phases[_i].reason);
	ck_assert_str_eq(session_state_name(&session), "reconnecting");
	ck_assert_uint_eq(session.took_ms[SESSION_PHASE_TURN], 70);
	for (int i = 0; i < _i; i++)
		ck_assert_uint_eq(session.took_ms[SESSION_PHASE_DNS + i], 10 * (uint32_t)(i + 1));
	/* What the dropped connection still says does nothing, and the next one waits until it is gone. */
	ck_assert_uint_eq(lose(1006, ""), 0);
	ck_assert_uint_ge(session.deadline_ms, now + SESSION_ABORT_MS);
	ck_assert_uint_eq(wait_deadline() & SESSION_DO_DIAL, SESSION_DO_DIAL);
}
END_TEST

/* However slow each phase is, and however many addresses are tried, the whole dial ends. */
START_TEST(test_session_dial_ends)
{
	step(SESSION_START);
	step(SESSION_DIAL_BEGINS);
	for (int i = 0; i < 4; i++) {
		step(SESSION_RESOLVED);
		now += SESSION_TCP_MS / 2;
	}
	ck_assert_uint_eq(session.deadline_ms, START_MS + SESSION_DIAL_MS);
	ck_assert_uint_eq(step(SESSION_TICK) & SESSION_DO_ABORT, SESSION_DO_ABORT);
}
END_TEST

START_TEST(test_session_turn)
{
	step(SESSION_START);
	ck_assert_uint_eq(session.deadline_ms, START_MS + SESSION_FIRST_MS);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_ABORT | SESSION_DO_REPORT);
	ck_assert_int_eq(session.state, SESSION_FAILED);
	ck_assert_str_eq(session.reason, "no turn to dial in time");
	/* Waiting for it costs the dial nothing, twice is once, and a dial that has begun is not refused any more. */
	session_free(&session);
	begin();
	step(SESSION_START);
	now += SESSION_FIRST_MS - 1;
	ck_assert_uint_eq(step(SESSION_TICK), 0);
	step(SESSION_DIAL_BEGINS);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_DNS_MS);
	now += 100;
	step(SESSION_DIAL_BEGINS);
	ck_assert_uint_eq(session.deadline_ms, now - 100 + SESSION_DNS_MS);
	ck_assert_uint_eq(step(SESSION_REFUSED), 0);
	/* The last retry gets a moment's chance of a turn. */
	connect_now();
	lose(1011, "");
	step(SESSION_DIAL_BEGINS);
	lose_http(503);
	session.lost_ms -= SESSION_RETRY_MS;
	wait_deadline();
	ck_assert_int_eq(session.state, SESSION_DIALLING);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_TURN_MS);
	session_free(&session);
	begin();
	step(SESSION_START);
	ck_assert_uint_eq(session_step(&session, &(struct session_event){.type = SESSION_REFUSED, .reason = "too many"}, now),
		SESSION_DO_REPORT);
	ck_assert_int_eq(session.state, SESSION_FAILED);
	ck_assert_str_eq(session.reason, "too many");
}
END_TEST

/*
 * A stable session that is lost comes back at once, with the newest handle. A resume that is refused is tried again 1 and 2 s after
 * the loss; the refusal right after the loss says nothing about the handle.
 */
START_TEST(test_session_resumes)
{
	static const uint32_t again_ms[] = {SESSION_RESUME_AGAIN_MS, 2 * SESSION_RESUME_AGAIN_MS};
	uint64_t lost;

	step(SESSION_START);
	connect_now();
	handle("first", true);
	handle("second", true);
	handle("third", false);
	handle("", true);
	handle(NULL, true);
	now += SESSION_STABLE_MS;
	lost = now;
	ck_assert_uint_eq(lose(1011, "Internal error encountered."), SESSION_DO_DIAL | SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "reconnecting");
	ck_assert_uint_eq(session.code, 1011);
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(session_handle(&session), "second");
		step(SESSION_DIAL_BEGINS);
		step(SESSION_UPGRADED);
		now += 550;
		ck_assert_uint_eq(lose(1011, "Internal error encountered."), SESSION_DO_REPORT);
		ck_assert_uint_eq(wait_deadline() & SESSION_DO_DIAL, SESSION_DO_DIAL);
		ck_assert_uint_ge(now - lost, again_ms[i]);
		ck_assert_uint_le(now - lost, again_ms[i] + SESSION_RESUME_AGAIN_MS / 4);
	}
	/* Twice refused in time: the handle is to blame, and a new session comes at once. */
	step(SESSION_DIAL_BEGINS);
	step(SESSION_UPGRADED);
	now += 550;
	ck_assert_uint_eq(lose(1011, "Internal error encountered.") & SESSION_DO_DIAL, SESSION_DO_DIAL);
	ck_assert_ptr_null(session_handle(&session));
	ck_assert_uint_le(now - lost, 3 * SESSION_RESUME_AGAIN_MS);
	connect_now();
	ck_assert(!session.resumed);
	ck_assert_uint_eq(session.conversation, 2);
	/* It never comes back. */
	handle("second", true);
	ck_assert_ptr_null(session_handle(&session));
	handle("fourth", true);
	ck_assert_str_eq(session_handle(&session), "fourth");
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
	step(SESSION_DIAL_BEGINS);
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
	step(SESSION_DIAL_BEGINS);
	ck_assert_uint_eq(lose_http(503), SESSION_DO_REPORT);
	ck_assert_int_eq(session.state, SESSION_WAITING);
	wait_deadline();
	step(SESSION_DIAL_BEGINS);
	ck_assert_uint_eq(lose_http(403), SESSION_DO_REPORT);
	ck_assert_str_eq(session_state_name(&session), "failed");
}
END_TEST

/* A new call that meets a quota fails at once, in whichever way the service says so; one that has talked waits. */
START_TEST(test_session_quota)
{
	static const char closed[] = "You exceeded your current quota, please check your plan and billing details.";
	struct session_event error = {.type = SESSION_ERROR, .http_status = 429, .reason = "slow down"};

	step(SESSION_START);
	step(SESSION_DIAL_BEGINS);
	ck_assert_uint_eq(lose_http(429), SESSION_DO_REPORT);
	ck_assert_int_eq(session.state, SESSION_FAILED);
	ck_assert_ptr_nonnull(strstr(session.reason, "the service refuses the call for quota: "));
	session_free(&session);
	begin();
	step(SESSION_START);
	step(SESSION_DIAL_BEGINS);
	step(SESSION_UPGRADED);
	ck_assert_uint_eq(lose(1011, closed), SESSION_DO_REPORT);
	ck_assert_int_eq(session.state, SESSION_FAILED);
	ck_assert_ptr_nonnull(strstr(session.reason, closed));
	ck_assert_uint_eq(session.code, 1011);
	session_free(&session);
	begin();
	step(SESSION_START);
	step(SESSION_DIAL_BEGINS);
	step(SESSION_UPGRADED);
	ck_assert_uint_eq(session_step(&session, &error, now), SESSION_DO_ABORT | SESSION_DO_REPORT);
	ck_assert_int_eq(session.state, SESSION_FAILED);
	session_free(&session);
	begin();
	step(SESSION_START);
	connect_now();
	now += SESSION_STABLE_MS;
	ck_assert_uint_eq(lose(1011, closed), SESSION_DO_REPORT);
	ck_assert_int_eq(session.state, SESSION_WAITING);
	ck_assert_uint_ge(session.deadline_ms, now + SESSION_THROTTLE_MS);
	wait_deadline();
	step(SESSION_DIAL_BEGINS);
	ck_assert_uint_eq(lose_http(429), SESSION_DO_REPORT);
	ck_assert_int_eq(session.state, SESSION_WAITING);
}
END_TEST

/* A session that dies young comes back at once too, and a handle that is refused after it costs its tries and no more. */
START_TEST(test_session_dies_young)
{
	uint64_t lost;

	step(SESSION_START);
	connect_now();
	handle("h", true);
	now += 2000;
	lost = now;
	ck_assert_uint_eq(lose(1011, "Internal error encountered."), SESSION_DO_DIAL | SESSION_DO_REPORT);
	while (session_handle(&session) != NULL) {
		step(SESSION_DIAL_BEGINS);
		step(SESSION_UPGRADED);
		now += 550;
		lose(1011, "Internal error encountered.");
		if (session.state == SESSION_WAITING)
			wait_deadline();
	}
	ck_assert_int_eq(session.state, SESSION_DIALLING);
	ck_assert_uint_le(now - lost, 3 * SESSION_RESUME_AGAIN_MS);
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
	step(SESSION_DIAL_BEGINS);
	step(SESSION_UPGRADED);
	ck_assert_uint_eq(lose(1007, "Invalid session handle") & SESSION_DO_DIAL, SESSION_DO_DIAL);
	ck_assert_ptr_null(session_handle(&session));
	step(SESSION_DIAL_BEGINS);
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
			step(SESSION_DIAL_BEGINS);
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
	ck_assert_uint_eq(step(SESSION_QUIET), 0);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_LULL_MS);
	now += SESSION_LULL_MS - 1;
	step(SESSION_BUSY); /* who has just listened, answers */
	now += 10000;
	step(SESSION_QUIET);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	/* Only when the old connection is gone the new one is dialled. */
	ck_assert_uint_eq(step(SESSION_UPGRADED), 0);
	ck_assert_uint_eq(lose(1000, ""), SESSION_DO_DIAL | SESSION_DO_REPORT);
	connect_now();
	ck_assert(session.resumed);
	/* Never quiet: at the last moment anyway, and a Close that is not answered is cut off. */
	step(SESSION_BUSY);
	session_step(&session, &go_away, now);
	ck_assert_uint_eq(wait_deadline() & SESSION_DO_CLOSE, SESSION_DO_CLOSE);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_ABORT | SESSION_DO_REPORT);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_ABORT_MS);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_DIAL | SESSION_DO_REPORT);
}
END_TEST

/* While other connections are hard to get, an old one is kept; what the service says counts for more. */
START_TEST(test_session_stays)
{
	struct session_event go_away = {.type = SESSION_GO_AWAY, .time_left_ms = 50000}, stay = {.type = SESSION_STAY};
	uint64_t until;

	step(SESSION_START);
	connect_now();
	handle("h", true);
	until = stay.until_ms = session.opened_ms + SESSION_ROTATE_AFTER_S * 1000 + 70000;
	now = until - 90000; /* 20 s before its age */
	ck_assert_uint_eq(session_step(&session, &stay, now), 0);
	ck_assert_uint_eq(session.deadline_ms, until);
	step(SESSION_BUSY);
	ck_assert_uint_eq(session.deadline_ms, until);
	step(SESSION_QUIET);
	now = until - 60000;
	ck_assert_uint_eq(session_step(&session, &go_away, now), 0);
	ck_assert_uint_eq(session.deadline_ms, now + 45000);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	ck_assert_uint_eq(lose(1000, ""), SESSION_DO_DIAL | SESSION_DO_REPORT);
	connect_now();
	ck_assert_uint_eq(session.deadline_ms, session.opened_ms + SESSION_ROTATE_AFTER_S * 1000);
	/* Never beyond 58:00. */
	stay.until_ms = SESSION_NEVER - 1;
	session_step(&session, &stay, now);
	ck_assert_uint_eq(session.deadline_ms, session.opened_ms + SESSION_ROTATE_LAST_MS);
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
	step(SESSION_QUIET);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_ANSWER_MS);
	now += 3000;
	step(SESSION_BUSY);
	step(SESSION_ANSWERED);
	now += 3000;
	step(SESSION_QUIET);
	now += SESSION_LULL_MS;
	ck_assert_uint_eq(step(SESSION_TICK), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	lose(1000, "");
	connect_now();
	/* The service's own time is stronger, and what was asked is still owed then. */
	step(SESSION_ASKED);
	go_away.time_left_ms = 6000;
	ck_assert_uint_eq(session_step(&session, &go_away, now), 0);
	ck_assert_uint_eq(session.deadline_ms, now + 1000);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	ck_assert(session.asked);
	lose(1000, "");
	connect_now();
	step(SESSION_ANSWERED);
	/* No time left at all is not the same as nothing said. */
	step(SESSION_BUSY);
	go_away.time_left_ms = 0;
	ck_assert_uint_eq(session_step(&session, &go_away, now), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	lose(1000, "");
	wait_deadline(); /* sent away again and again: no longer at once */
	connect_now();
	go_away.time_left_ms = GEMINI_TIME_UNSAID;
	ck_assert_uint_eq(session_step(&session, &go_away, now), 0);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_GO_AWAY_MS - SESSION_GO_AWAY_GUARD_MS);
}
END_TEST

/* At the configured age: after a moment's quiet, later at any quiet, at the end whoever speaks. */
START_TEST(test_session_rotates_by_age)
{
	uint64_t due;

	step(SESSION_START);
	connect_now();
	due = session.opened_ms + SESSION_ROTATE_AFTER_S * 1000;
	ck_assert_uint_eq(session.deadline_ms, due);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	ck_assert_str_eq(session.reason, "the connection is old");
	lose(1000, "");
	connect_now();
	due = session.opened_ms + SESSION_ROTATE_AFTER_S * 1000;
	step(SESSION_BUSY);
	now = due + SESSION_ROTATE_WINDOW_MS / 2;
	ck_assert_uint_eq(step(SESSION_TICK), 0);
	ck_assert_uint_eq(step(SESSION_QUIET), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	lose(1000, "");
	connect_now();
	due = session.opened_ms + SESSION_ROTATE_AFTER_S * 1000;
	step(SESSION_BUSY);
	step(SESSION_ASKED);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_ANSWER_MS);
	step(SESSION_ANSWERED);
	ck_assert_uint_eq(session.deadline_ms, due + SESSION_ROTATE_WINDOW_MS);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_CLOSE | SESSION_DO_REPORT);
}
END_TEST

/* Whatever is configured or said by goAway: never as late as 58:00. */
START_TEST(test_session_never_too_old)
{
	session_free(&session);
	session_init(&session, 1, _i == 0 ? 100000 : SESSION_ROTATE_AFTER_S);
	step(SESSION_START);
	connect_now();
	step(SESSION_BUSY);
	if (_i == 1)
		session_step(&session, &(struct session_event){.type = SESSION_GO_AWAY, .time_left_ms = 86400000}, now);
	ck_assert_uint_eq(session.deadline_ms, session.opened_ms + SESSION_ROTATE_LAST_MS);
	ck_assert_uint_lt(SESSION_ROTATE_LAST_MS, 58 * 60 * 1000);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_CLOSE | SESSION_DO_REPORT);
}
END_TEST

/* No answer: remind the model, then another connection, then another session, then it is the caller's turn. */
START_TEST(test_session_mute)
{
	step(SESSION_START);
	connect_now();
	handle("h", true);
	now += SESSION_STABLE_MS;
	step(SESSION_ASKED);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_ANSWER_MS);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_NUDGE);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_NUDGED_MS);
	step(SESSION_TURN_OVER); /* an empty turn is no answer that counts */
	step(SESSION_ASKED);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	ck_assert_str_eq(session.reason, "no answer from the model in time");
	ck_assert_str_eq(session_handle(&session), "h");
	lose(1000, "");
	connect_now();
	ck_assert(session.resumed);
	ck_assert(session.asked);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_CLOSE | SESSION_DO_REPORT);
	ck_assert_ptr_null(session_handle(&session));
	handle("h2", true); /* of the session that is given up */
	ck_assert_ptr_null(session_handle(&session));
	lose(1000, "");
	connect_now();
	ck_assert(session.asked);
	ck_assert(!session.resumed);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_GIVE_UP);
	ck_assert(!session.asked);
	ck_assert_int_eq(session.state, SESSION_READY);
	/* The next question is a new one, told of when it is not answered either. */
	now += 60000;
	step(SESSION_ASKED);
	ck_assert_uint_eq(session.asked_ms, now);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_GIVE_UP);
	/* A model that was heard has all its chances again. */
	step(SESSION_ANSWERED);
	step(SESSION_ASKED);
	ck_assert_uint_eq(wait_deadline(), SESSION_DO_NUDGE);
	/* While the caller speaks on, nobody reminds anybody. */
	step(SESSION_BUSY);
	ck_assert_uint_eq(wait_deadline(), 0);
	ck_assert(session.asked);
}
END_TEST

/* The service's own close crosses ours and says that there is no coming back, or not now. */
START_TEST(test_session_closes_cross)
{
	step(SESSION_START);
	connect_now();
	handle("h", true);
	step(SESSION_GO_AWAY);
	ck_assert_uint_eq(lose(1011, "Resource has been exhausted (e.g. check quota)."), SESSION_DO_REPORT);
	ck_assert_uint_ge(session.deadline_ms, now + SESSION_THROTTLE_MS);
	wait_deadline();
	connect_now();
	step(SESSION_GO_AWAY);
	ck_assert_uint_eq(lose(1007, "API key expired"), SESSION_DO_REPORT);
	ck_assert_int_eq(session.state, SESSION_FAILED);
}
END_TEST

/* The service lets go of a session some time behind the end of its connection, not behind our Close, whose echo takes up to 3 s. */
START_TEST(test_session_slow_close)
{
	step(SESSION_START);
	connect_now();
	handle("h", true);
	now += SESSION_STABLE_MS;
	step(SESSION_GO_AWAY);
	now += 2600;
	ck_assert_uint_eq(lose(1000, ""), SESSION_DO_DIAL | SESSION_DO_REPORT);
	for (uint64_t gone_ms = now, slot_ms = 1000; slot_ms <= 2000; slot_ms *= 2) {
		step(SESSION_DIAL_BEGINS);
		step(SESSION_UPGRADED);
		now += 300;
		lose(1011, "");
		ck_assert_ptr_nonnull(session_handle(&session));
		ck_assert_uint_ge(session.deadline_ms, gone_ms + slot_ms);
		ck_assert_uint_lt(session.deadline_ms, gone_ms + slot_ms + 250);
		wait_deadline();
	}
}
END_TEST

/* A resume refused long after the loss is tried again soon, not at the next power of two. */
START_TEST(test_session_late_refusal)
{
	step(SESSION_START);
	connect_now();
	handle("h", true);
	now += SESSION_STABLE_MS;
	lose(1006, "");
	now += 17000;
	step(SESSION_DIAL_BEGINS);
	step(SESSION_UPGRADED);
	lose(1011, "");
	ck_assert_int_eq(session.state, SESSION_WAITING);
	ck_assert_uint_le(session.deadline_ms, now + SESSION_BACKOFF_MAX_MS * 3 / 2);
	ck_assert_str_eq(session.reason, "closed with code 1011, without a reason");
}
END_TEST

/* We cut the connection: the next is dialled only when it is gone, even after a session that was stable. */
START_TEST(test_session_dropped)
{
	struct session_event dropped = {.type = SESSION_LOST, .code = 1006, .dropped = true, .reason = "silent"};

	step(SESSION_START);
	connect_now();
	now += SESSION_STABLE_MS;
	ck_assert_uint_eq(session_step(&session, &dropped, now), SESSION_DO_REPORT);
	ck_assert_uint_eq(session.deadline_ms, now + SESSION_ABORT_MS);
}
END_TEST

/* A service that was hard to reach and lets go young has used up nothing of the next search for it. */
START_TEST(test_session_budget_restarts)
{
	step(SESSION_START);
	now += SESSION_FIRST_MS - 2000;
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

/* An error inside a message is the end of its connection. */
START_TEST(test_session_error_in_message)
{
	static const struct {
		int code;
		enum session_state state;
	} errors[] = {{400, SESSION_FAILED}, {401, SESSION_FAILED}, {403, SESSION_FAILED}, {404, SESSION_FAILED},
		{429, SESSION_WAITING}, {500, SESSION_WAITING}, {0, SESSION_WAITING}};

	step(SESSION_START);
	connect_now();
	now += SESSION_STABLE_MS;
	ck_assert_uint_eq(
		session_step(&session,
			&(struct session_event){.type = SESSION_ERROR, .http_status = errors[_i].code, .reason = "no"}, now),
		SESSION_DO_ABORT | SESSION_DO_REPORT);
	ck_assert_int_eq(session.state, errors[_i].state);
	if (session.state == SESSION_WAITING)
		ck_assert_uint_ge(session.deadline_ms, now + SESSION_ABORT_MS);
}
END_TEST

START_TEST(test_session_hang_up_anywhere)
{
	step(SESSION_START);
	ck_assert_uint_eq(step(SESSION_HANG_UP), SESSION_DO_ABORT);
	session_free(&session);
	begin();
	step(SESSION_START);
	step(SESSION_DIAL_BEGINS);
	lose_http(500);
	ck_assert_uint_eq(step(SESSION_HANG_UP), 0);
	ck_assert_uint_eq(step(SESSION_TICK), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gemini_session");
	TCase *loops = tcase_create("ends");

	unit_add_fixture(suite, "life", begin, end, test_session_begins, test_session_dial_ends, test_session_turn,
		test_session_resumes, test_session_http, test_session_quota, test_session_dead_handle, test_session_once,
		test_session_go_away, test_session_stays, test_session_hang_up_anywhere, test_session_go_away_waits_for_answer,
		test_session_budget_restarts, test_session_young_deaths, test_session_rotates_by_age, test_session_mute,
		test_session_dropped, test_session_closes_cross, test_session_slow_close, test_session_dies_young,
		test_session_late_refusal);
	tcase_add_checked_fixture(loops, begin, end);
	tcase_add_loop_test(loops, test_session_fatal, 0, 4);
	tcase_add_loop_test(loops, test_session_gives_up, 0, 3);
	tcase_add_loop_test(loops, test_session_error_in_message, 0, 7);
	tcase_add_loop_test(loops, test_session_phases, 0, 5);
	tcase_add_loop_test(loops, test_session_never_too_old, 0, 2);
	suite_add_tcase(suite, loops);
	return unit_run(suite);
}
