/* SPDX-License-Identifier: Apache-2.0 */
/* Whose turn it is: scripts of events in virtual time, with what must follow from each. */
#include "unit.h"

#include <string.h>

#include "ai_workers/turn.h"

#define START_MS 1000000u

/* What happens `at` ms into the call, and what must come of it; AT_NOTHING looks at the clock only. */
struct step {
	uint32_t at;
	int type;
	uint32_t expected;
	uint32_t voiced_ms; /* CALLER_STOPPED */
	bool in_progress;   /* COMPLETE */
};

static struct turn turn;
static uint64_t now, spoke_ms;

/* Run a script with a tick every 5 ms in between, on which nothing may follow unless a step of type TICK says so at its time. */
static void run(bool local, const struct step *steps, size_t count)
{
	turn_init(&turn, local);
	now = START_MS;
	spoke_ms = 0;
	for (size_t i = 0; i < count; i++) {
		const struct step *s = &steps[i];
		struct turn_event event = {.type = TURN_TICK};
		uint32_t actions;

		for (; now < START_MS + s->at; now += 5) {
			event.spoke_ms = turn.caller_speaks ? (spoke_ms = now) : spoke_ms;
			actions = turn_step(&turn, &event, now);
			ck_assert_msg(actions == 0, "before step %zu, at %lu ms: 0x%x", i, now - START_MS, actions);
		}
		if (s->type == TURN_CALLER_STARTED)
			spoke_ms = now;
		event = (struct turn_event){.type = (enum turn_event_type)s->type,
			.voiced_ms = s->voiced_ms,
			.in_progress = s->in_progress,
			.spoke_ms = spoke_ms,
			.began_ms = now};
		actions = turn_step(&turn, &event, now);
		ck_assert_msg(actions == s->expected, "step %zu, at %u ms: 0x%x, not 0x%x", i, s->at, actions, s->expected);
	}
}
#define RUN(local, ...) \
	run(local, (const struct step[]){__VA_ARGS__}, sizeof((const struct step[]){__VA_ARGS__}) / sizeof(struct step))

/* A question and its answer, with the numbers of it. */
START_TEST(test_turn_answer)
{
	RUN(false, {0, TURN_READY, 0}, {100, TURN_CALLER_STARTED, 0}, {150, TURN_SERVICE_STARTED, 0},
		{2100, TURN_CALLER_STOPPED, TURN_DO_ASKED, 1500}, {2900, TURN_SERVICE_STOPPED, 0}, {2901, TURN_CALLER_TEXT, 0},
		{2910, TURN_AUDIO, 0}, {2915, TURN_FRAME, TURN_DO_RESPONSE}, {3000, TURN_AUDIO, 0}, {3100, TURN_GENERATED, 0},
		{6000, TURN_COMPLETE, 0}, {6100, TURN_DRAINED, TURN_DO_REPORT}, {60000, TURN_TICK, 0});
	ck_assert_uint_eq(turn.ended[0].caller_from_ms, START_MS + 100);
	ck_assert_uint_eq(turn.ended[0].caller_to_ms, spoke_ms);
	ck_assert_uint_eq(turn.ended[0].asked_ms, spoke_ms);
	ck_assert_uint_eq(turn.ended[0].audio_ms, START_MS + 2910);
	ck_assert_uint_eq(turn.ended[0].frame_ms, START_MS + 2915);
	ck_assert_uint_eq(turn.ended[0].end_ms, START_MS + 6100);
	ck_assert(!turn.ended[0].interrupted);
	ck_assert(!turn.owed);
}
END_TEST

/* A greeting is an answer to its text; what the model says by itself is an answer to nothing. */
START_TEST(test_turn_without_a_question)
{
	RUN(false, {0, TURN_READY, 0}, {10, TURN_ASKED, TURN_DO_ASKED}, {510, TURN_AUDIO, 0}, {520, TURN_FRAME, TURN_DO_RESPONSE},
		{530, TURN_GENERATED, 0}, {1600, TURN_DRAINED, TURN_DO_REPORT}, {1700, TURN_COMPLETE, 0}, {5000, TURN_AUDIO, 0},
		{5010, TURN_FRAME, 0}, {5020, TURN_GENERATED, 0}, {5500, TURN_AUDIO, 0}, {6000, TURN_FOLLOWED, 0},
		{6000, TURN_AUDIO, 0}, {6100, TURN_PASSED, TURN_DO_REPORT}, {7000, TURN_DRAINED, TURN_DO_REPORT});
	ck_assert_uint_eq(turn.ended[0].caller_from_ms, 0);
	ck_assert_uint_eq(turn.ended[0].number, 3);
	ck_assert_uint_eq(turn.ended[0].asked_ms, 0);
}
END_TEST

#define SPEAKS                                   \
	{0, TURN_READY, 0}, {10, TURN_AUDIO, 0}, \
	{                                        \
		20, TURN_FRAME, 0                \
	}

/* An answer that comes while something else is still heard has its own beginning, and the other its own end. */
START_TEST(test_turn_follows)
{
	struct turn_numbers first;

	RUN(false, {0, TURN_READY, 0}, {10, TURN_ASKED, TURN_DO_ASKED}, {500, TURN_AUDIO, 0}, {510, TURN_FRAME, TURN_DO_RESPONSE},
		{520, TURN_GENERATED, 0}, {530, TURN_COMPLETE, 0}, {600, TURN_TOOL_ANSWERED, TURN_DO_ASKED},
		{700, TURN_FOLLOWED, 0}, {700, TURN_AUDIO, 0}, {710, TURN_GENERATED, 0}, {720, TURN_COMPLETE, 0},
		{2500, TURN_PASSED, TURN_DO_REPORT});
	first = turn.ended[0];
	ck_assert_uint_eq(turn.ended_count, 1);
	ck_assert_uint_eq(first.number, 1);
	ck_assert_uint_eq(first.frame_ms, START_MS + 510);
	ck_assert_uint_eq(first.end_ms, START_MS + 2500);
	ck_assert(turn.model_speaks);
	ck_assert_uint_eq(turn.now.audio_ms, START_MS + 700);
	ck_assert_uint_eq(turn.now.frame_ms, 0);
	ck_assert_uint_eq(turn_step(&turn, &(struct turn_event){.type = TURN_FRAME}, now + 20), TURN_DO_RESPONSE);
	ck_assert_uint_eq(turn.now.frame_ms, START_MS + 2520);
	/* Passed once, not twice. */
	ck_assert_uint_eq(turn_step(&turn, &(struct turn_event){.type = TURN_PASSED}, now + 40), 0);
	/* The caller interrupts the first: the second will not be heard either. */
	RUN(false, SPEAKS, {30, TURN_GENERATED, 0}, {40, TURN_COMPLETE, 0}, {700, TURN_FOLLOWED, 0}, {700, TURN_AUDIO, 0},
		{1000, TURN_CALLER_STARTED, 0}, {1100, TURN_SERVICE_STARTED, 0}, {1101, TURN_INTERRUPTED, TURN_DO_REPORT});
	ck_assert_uint_eq(turn.ended_count, 2);
	ck_assert(turn.ended[0].interrupted && turn.ended[1].interrupted);
	ck_assert_uint_eq(turn.ended[0].number, 1);
	ck_assert_uint_eq(turn.ended[1].number, 2);
	ck_assert_uint_eq(turn.ended[1].audio_ms, START_MS + 700);
	ck_assert_uint_eq(turn.ended[1].frame_ms, 0);
	ck_assert(!turn.followed && !turn.model_speaks);
}
END_TEST

/* What the model owes, by whatever shows it, and what pays for it. */
START_TEST(test_turn_owed)
{
	static const struct {
		const char *what;
		struct step steps[8];
		bool owed;
	} cases[] = {
		{"the service's word", {{0, TURN_READY, 0}, {10, TURN_SERVICE_STARTED, 0}, {900, TURN_SERVICE_STOPPED, 0}}, true},
		{"our own detection",
			{{0, TURN_READY, 0}, {10, TURN_CALLER_STARTED, 0}, {900, TURN_CALLER_STOPPED, TURN_DO_ASKED, 500}}, true},
		{"a cough", {{0, TURN_READY, 0}, {10, TURN_CALLER_STARTED, 0}, {900, TURN_CALLER_STOPPED, 0, 499}}, false},
		{"a transcript",
			{{0, TURN_READY, 0}, {10, TURN_CALLER_STARTED, 0}, {900, TURN_CALLER_STOPPED, 0, 300},
				{950, TURN_CALLER_TEXT, TURN_DO_ASKED}},
			true},
		{"a transcript behind the answer",
			{{0, TURN_READY, 0}, {10, TURN_CALLER_STARTED, 0}, {900, TURN_CALLER_STOPPED, TURN_DO_ASKED, 800},
				{950, TURN_AUDIO, 0}, {960, TURN_GENERATED, 0}, {970, TURN_COMPLETE, 0},
				{980, TURN_DRAINED, TURN_DO_REPORT}, {990, TURN_CALLER_TEXT, 0}},
			false},
		{"an empty turn",
			{{0, TURN_READY, 0}, {10, TURN_SERVICE_STARTED, 0}, {900, TURN_SERVICE_STOPPED, 0},
				{950, TURN_COMPLETE, TURN_DO_REPORT}},
			false},
		{"a model that thinks on",
			{{0, TURN_READY, 0}, {10, TURN_SERVICE_STARTED, 0}, {900, TURN_SERVICE_STOPPED, 0},
				{950, TURN_COMPLETE, 0, 0, true}},
			false},
		{"a model that waits for more",
			{{0, TURN_READY, 0}, {10, TURN_SERVICE_STARTED, 0}, {900, TURN_SERVICE_STOPPED, 0},
				{950, TURN_WAITING, TURN_DO_EXCUSED}},
			false},
		{"a function",
			{{0, TURN_READY, 0}, {10, TURN_SERVICE_STARTED, 0}, {900, TURN_SERVICE_STOPPED, 0},
				{950, TURN_TOOL_CALL, TURN_DO_ANSWERED}, {951, TURN_COMPLETE, 0}},
			false},
		{"its result",
			{{0, TURN_READY, 0}, {10, TURN_SERVICE_STARTED, 0}, {900, TURN_SERVICE_STOPPED, 0},
				{950, TURN_TOOL_CALL, TURN_DO_ANSWERED}, {951, TURN_COMPLETE, 0},
				{5000, TURN_TOOL_ANSWERED, TURN_DO_ASKED}},
			true},
		{"mumbling into an answer",
			{{0, TURN_READY, 0}, {10, TURN_AUDIO, 0}, {20, TURN_FRAME, 0}, {100, TURN_CALLER_STARTED, 0},
				{600, TURN_CALLER_STOPPED, 0, 600}},
			false},
		{"hold begins before the answer",
			{{0, TURN_READY, 0}, {10, TURN_SERVICE_STARTED, 0}, {900, TURN_SERVICE_STOPPED, 0},
				{1000, TURN_HELD, TURN_DO_EXCUSED}, {60000, TURN_BACK, TURN_DO_ASKED}},
			true},
		{"the question ends by hold",
			{{0, TURN_READY, 0}, {10, TURN_SERVICE_STARTED, 0}, {800, TURN_HELD, 0},
				{900, TURN_SERVICE_STOPPED, TURN_DO_EXCUSED}, {60000, TURN_BACK, TURN_DO_ASKED}},
			true},
		{"a function's result comes during hold",
			{{0, TURN_READY, 0}, {10, TURN_HELD, 0}, {900, TURN_TOOL_ANSWERED, TURN_DO_EXCUSED},
				{60000, TURN_BACK, TURN_DO_ASKED}},
			true},
		{"the answer comes during hold",
			{{0, TURN_READY, 0}, {10, TURN_SERVICE_STARTED, 0}, {900, TURN_SERVICE_STOPPED, 0},
				{1000, TURN_HELD, TURN_DO_EXCUSED}, {2000, TURN_AUDIO, 0}, {60000, TURN_BACK, 0}},
			false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t count = 1;

		while (count < 8 && cases[i].steps[count].at != 0)
			count++;
		run(false, cases[i].steps, count);
		ck_assert_msg(turn.owed == cases[i].owed, "%s", cases[i].what);
	}
}
END_TEST

/* A model in the middle of an answer, up to 1000 ms. */
START_TEST(test_turn_interrupted)
{
	/* A caller. */
	RUN(false, SPEAKS, {1000, TURN_CALLER_STARTED, 0}, {1100, TURN_SERVICE_STARTED, 0},
		{1101, TURN_INTERRUPTED, TURN_DO_REPORT}, {1105, TURN_COMPLETE, 0}, {3000, TURN_SERVICE_STOPPED, 0},
		{60000, TURN_TICK, 0});
	ck_assert(turn.ended[0].interrupted && !turn.ended[0].phantom);
	/* One whom only the service hears: he goes on after it said so. */
	RUN(false, SPEAKS, {1000, TURN_SERVICE_STARTED, 0}, {1001, TURN_INTERRUPTED, TURN_DO_PHANTOM | TURN_DO_REPORT},
		{1005, TURN_COMPLETE, 0}, {4500, TURN_SERVICE_STOPPED, 0}, {4600, TURN_AUDIO, 0}, {60000, TURN_TICK, 0});
	/* Nobody. */
	RUN(false, SPEAKS, {1000, TURN_INTERRUPTED, TURN_DO_PHANTOM | TURN_DO_REPORT}, {1005, TURN_COMPLETE, 0},
		{4000, TURN_TICK, TURN_DO_REMIND | TURN_DO_ASKED}, {60000, TURN_TICK, 0});
	ck_assert(turn.ended[0].phantom);
	/* Nobody, before the answer has begun. */
	RUN(false, {0, TURN_READY, 0}, {10, TURN_ASKED, TURN_DO_ASKED}, {1000, TURN_INTERRUPTED, TURN_DO_PHANTOM},
		{1005, TURN_COMPLETE, 0}, {4000, TURN_TICK, TURN_DO_REMIND | TURN_DO_ASKED});
	/* Nobody, and nothing was to be said: there is nothing to go on with. */
	RUN(false, {0, TURN_READY, 0}, {1000, TURN_INTERRUPTED, TURN_DO_PHANTOM}, {1005, TURN_COMPLETE, 0},
		{60000, TURN_TICK, 0});
	/* A caller who begins after all, hold, and a lost connection put the reminder off. */
	RUN(false, SPEAKS, {1000, TURN_INTERRUPTED, TURN_DO_PHANTOM | TURN_DO_REPORT}, {3900, TURN_CALLER_STARTED, 0},
		{9000, TURN_CALLER_STOPPED, TURN_DO_ASKED, 5000}, {60000, TURN_TICK, 0});
	RUN(false, SPEAKS, {1000, TURN_INTERRUPTED, TURN_DO_PHANTOM | TURN_DO_REPORT}, {3900, TURN_HELD, 0}, {9000, TURN_BACK, 0},
		{9000, TURN_TICK, TURN_DO_REMIND | TURN_DO_ASKED});
	RUN(false, SPEAKS, {1000, TURN_INTERRUPTED, TURN_DO_PHANTOM | TURN_DO_REPORT}, {3900, TURN_GONE, 0},
		{9000, TURN_READY, 0}, {9000, TURN_TICK, TURN_DO_REMIND | TURN_DO_ASKED});
}
END_TEST

/* Half an answer, and no word more: the rest is owed, once; what comes of it after all is the same turn. */
START_TEST(test_turn_stalled)
{
	RUN(true, SPEAKS, {7000, TURN_STALLED, TURN_DO_ASKED}, {7005, TURN_STALLED, 0}, {9000, TURN_CALLER_STARTED, 0},
		{10000, TURN_CALLER_STOPPED, TURN_DO_ASKED, 1000}, {10005, TURN_STALLED, 0}, {11000, TURN_AUDIO, 0},
		{12000, TURN_CALLER_STARTED, TURN_DO_PAUSE}, {12100, TURN_CALLER_STOPPED, 0, 100},
		{12600, TURN_TICK, TURN_DO_RESUME | TURN_DO_FALSE_ALARM}, {18000, TURN_STALLED, TURN_DO_ASKED},
		{18500, TURN_COMPLETE, 0}, {18600, TURN_DRAINED, TURN_DO_REPORT});
	ck_assert_uint_eq(turn.count, 1);
	ck_assert(!turn.owed);
	/* On hold nobody waits. A model that waits for the caller has said what it had to say, and so has one that was cut off. */
	RUN(false, SPEAKS, {6000, TURN_HELD, 0}, {7000, TURN_STALLED, TURN_DO_EXCUSED}, {9000, TURN_BACK, TURN_DO_ASKED});
	RUN(false, SPEAKS, {2000, TURN_WAITING, TURN_DO_EXCUSED}, {7000, TURN_STALLED, 0});
	RUN(false, SPEAKS, {2000, TURN_CALLER_STARTED, 0}, {2200, TURN_INTERRUPTED, TURN_DO_REPORT}, {7000, TURN_STALLED, 0});
}
END_TEST

START_TEST(test_turn_local)
{
	/* The service agrees. */
	RUN(true, SPEAKS, {1000, TURN_CALLER_STARTED, TURN_DO_PAUSE}, {1100, TURN_SERVICE_STARTED, 0},
		{1101, TURN_INTERRUPTED, TURN_DO_REPORT}, {60000, TURN_TICK, 0});
	/* It does not: back after the window, and the detection is told. */
	RUN(true, SPEAKS, {1000, TURN_CALLER_STARTED, TURN_DO_PAUSE}, {1500, TURN_CALLER_STOPPED, 0, 200},
		{1600, TURN_TICK, TURN_DO_RESUME | TURN_DO_FALSE_ALARM}, {2000, TURN_CALLER_STARTED, TURN_DO_PAUSE},
		{2600, TURN_TICK, TURN_DO_RESUME | TURN_DO_FALSE_ALARM});
	/* It hears somebody, and does not mind. */
	RUN(true, SPEAKS, {1000, TURN_CALLER_STARTED, TURN_DO_PAUSE}, {1100, TURN_SERVICE_STARTED, 0},
		{1600, TURN_TICK, TURN_DO_RESUME}, {60000, TURN_TICK, 0});
	/* The connection goes: nobody will say. */
	RUN(true, SPEAKS, {1000, TURN_CALLER_STARTED, TURN_DO_PAUSE}, {1100, TURN_GONE, TURN_DO_RESUME}, {9000, TURN_TICK, 0});
	/* Not asked for: only the detection learns. */
	RUN(false, SPEAKS, {1000, TURN_CALLER_STARTED, 0}, {1600, TURN_TICK, TURN_DO_FALSE_ALARM});
	/* On hold, without a session, in silence: nothing to stop. */
	RUN(true, SPEAKS, {500, TURN_HELD, 0}, {1000, TURN_CALLER_STARTED, 0});
	RUN(true, SPEAKS, {500, TURN_GONE, 0}, {1000, TURN_CALLER_STARTED, 0});
	RUN(true, SPEAKS, {500, TURN_DRAINED, TURN_DO_REPORT}, {1000, TURN_CALLER_STARTED, 0});
}
END_TEST

/* The service believes that the answer has been heard, so it says nothing of an interruption any more. */
START_TEST(test_turn_tail)
{
	for (int local = 0; local < 2; local++) {
		RUN(local, SPEAKS, {500, TURN_GENERATED, 0}, {900, TURN_COMPLETE, 0},
			{1000, TURN_CALLER_STARTED, local ? TURN_DO_PAUSE : 0},
			{1100, TURN_SERVICE_STARTED, TURN_DO_CUT | TURN_DO_REPORT}, {60000, TURN_TICK, 0});
		ck_assert(turn.ended[0].interrupted);
		/* The other way round. */
		RUN(local, SPEAKS, {500, TURN_GENERATED, 0}, {800, TURN_SERVICE_STARTED, 0}, {900, TURN_COMPLETE, 0},
			{1000, TURN_CALLER_STARTED, local ? TURN_DO_CUT | TURN_DO_REPORT : 0});
		/* What a connection has left behind. */
		RUN(local, SPEAKS, {500, TURN_GONE, 0}, {900, TURN_READY, 0},
			{1100, TURN_SERVICE_STARTED, TURN_DO_CUT | TURN_DO_REPORT});
		/* While it is generated, only `interrupted` counts. */
		RUN(local, SPEAKS, {1100, TURN_SERVICE_STARTED, 0});
		RUN(local, SPEAKS, {500, TURN_GENERATED, 0}, {1100, TURN_SERVICE_STARTED, 0});
	}
}
END_TEST

/* A start of speech whose end never comes must not keep the call busy for ever. */
START_TEST(test_turn_hush)
{
	RUN(false, {0, TURN_READY, 0}, {1000, TURN_SERVICE_STARTED, 0}, {6000, TURN_TICK, TURN_DO_HUSH}, {60000, TURN_TICK, 0});
	RUN(false, {0, TURN_READY, 0}, {900, TURN_CALLER_STARTED, 0}, {1000, TURN_SERVICE_STARTED, 0},
		{20000, TURN_CALLER_STOPPED, TURN_DO_ASKED, 9000}, {24995, TURN_TICK, TURN_DO_HUSH});
}
END_TEST

/* Whatever comes in whatever order: paused only while the model speaks and never for longer than the window. */
START_TEST(test_turn_any_order)
{
	uint32_t random = 1;
	uint64_t paused_since = 0;

	turn_init(&turn, true);
	now = START_MS;
	for (int i = 0; i < 300000; i++) {
		struct turn_event event = {.type = TURN_TICK};
		uint32_t actions;

		random = random * 1664525u + 1013904223u;
		if (random >> 31)
			event.type = (enum turn_event_type)((random >> 8) % (TURN_TICK + 1));
		event.in_progress = (random & 16) != 0;
		event.voiced_ms = (random >> 5) % 1000;
		event.spoke_ms = (random & 32) != 0 ? now : 0;
		now += 5;
		actions = turn_step(&turn, &event, now);
		if (actions & TURN_DO_PAUSE) {
			ck_assert_uint_eq(paused_since, 0);
			paused_since = now;
		}
		if (actions & (TURN_DO_RESUME | TURN_DO_CUT) || event.type == TURN_INTERRUPTED)
			paused_since = 0;
		ck_assert_int_eq(turn.paused, paused_since != 0);
		if (event.type == TURN_TICK && turn.paused)
			ck_assert_uint_lt(now - paused_since, TURN_UNDO_MS);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("turn");

	unit_add(suite, "turn", test_turn_answer, test_turn_without_a_question, test_turn_follows, test_turn_owed,
		test_turn_interrupted, test_turn_stalled, test_turn_local, test_turn_tail, test_turn_hush, test_turn_any_order);
	return unit_run(suite);
}
