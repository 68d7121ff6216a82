/* SPDX-License-Identifier: Apache-2.0 */
/* Who may dial: the worker's pace, turns of projects, the pause after a quota close, and keys that are refused. */
#include "unit.h"

#include <string.h>

#include "ai_workers/gate.h"

#define START_MS 1000000u
#define CALLS	 1200

static struct gate gate;
static struct gate_ticket tickets[CALLS];
static uint64_t now;

static void begin(void)
{
	now = START_MS;
	memset(tickets, 0, sizeof(tickets));
	gate_init(&gate, &(struct gate_config){.dials_max = 4, .per_second = 100}, 42);
}

static void end(void)
{
	for (size_t i = 0; i < CALLS; i++)
		gate_part(&gate, &tickets[i]);
	ck_assert_uint_eq(gate.waiting, 0);
	ck_assert_uint_eq(gate.dialling, 0);
	ck_assert_ptr_null(gate.projects);
	ck_assert_ptr_null(gate.refused);
	gate_forgive(&gate);
	ck_assert_ptr_null(gate.scopes);
	gate_free(&gate);
}

static struct gate_ticket *join(size_t i, const char *project, const char *key)
{
	ck_assert_int_eq(gate_join(&gate, &tickets[i], project, key, 0), 0);
	return &tickets[i];
}

static void ask(struct gate_ticket *ticket, uint64_t waits_ms, bool talked)
{
	gate_ask(&gate, ticket, now - waits_ms, talked, now);
}

/* The next that may dial, -1: nobody now. */
static int next(void)
{
	bool granted;
	struct gate_ticket *ticket = gate_next(&gate, now, &granted);

	ck_assert(ticket == NULL || granted);
	return ticket != NULL ? (int)(ticket - tickets) : -1;
}

/* The next that is turned away, -1: nobody is. */
static int refused(void)
{
	bool granted;
	struct gate_ticket *ticket = gate_next(&gate, now, &granted);

	ck_assert(ticket == NULL || !granted);
	return ticket != NULL ? (int)(ticket - tickets) : -1;
}

static void worked(int i)
{
	gate_opened(&gate, &tickets[i]);
	gate_worked(&gate, &tickets[i], now);
}

static uint32_t lost(int i, enum close_class class)
{
	return gate_lost(&gate, &tickets[i], class, "as the service says", now);
}

/* A storm of a thousand: never more at a time, never faster, everybody once, longest waiting first. */
START_TEST(test_gate_paces_a_storm)
{
	int done = 0, under_way[4], count = 0, i;
	uint64_t begun = now;

	for (i = 0; i < 1000; i++)
		ask(join((size_t)i, "p", "k"), (uint64_t)(i % 7), true);
	uint64_t last_since = 0;
	while (done < 1000) {
		unsigned int now_begun = 0;

		while ((i = next()) >= 0) {
			ck_assert_uint_ge(tickets[i].since_ms, last_since);
			last_since = tickets[i].since_ms;
			ck_assert_int_lt(count, 4);
			under_way[count++] = i;
			now_begun++;
		}
		ck_assert_uint_le(now_begun, 2);
		while (count > 0) {
			worked(under_way[--count]);
			done++;
		}
		now += 5;
	}
	ck_assert_uint_ge(now - begun, 9900);
	ck_assert_uint_le(now - begun, 10100);
}
END_TEST

/* Handshakes that hang hold the others back, and only until they end in any way. */
START_TEST(test_gate_bounds_handshakes)
{
	for (size_t i = 0; i < 10; i++)
		ask(join(i, "p", "k"), 0, false);
	for (int i = 0; i < 4; i++, now += 10)
		ck_assert_int_eq(next(), i);
	now += 1000;
	ck_assert_int_eq(next(), -1);
	gate_opened(&gate, &tickets[0]);
	ck_assert_int_eq(next(), 4);
	now += 10;
	lost(1, CLOSE_RESUME);
	ck_assert_int_eq(next(), 5);
	now += 10;
	gate_part(&gate, &tickets[2]);
	ck_assert_int_eq(next(), 6);
	now += 10;
	ck_assert_int_eq(next(), -1);
	gate_part(&gate, &tickets[7]); /* hung up while it waited */
	lost(3, CLOSE_RESUME);
	lost(3, CLOSE_RESUME); /* twice is once */
	ck_assert_int_eq(next(), 8);
	now += 10;
	ck_assert_int_eq(next(), -1);
}
END_TEST

/* A loop that was late does not make up for more than a moment. */
START_TEST(test_gate_no_burst_after_a_pause)
{
	int begun = 0;

	for (size_t i = 0; i < 10; i++)
		ask(join(i, "p", "k"), 0, false);
	ck_assert_int_eq(next(), 0);
	lost(0, CLOSE_RESUME);
	now += 5000;
	for (int i; (i = next()) >= 0; begun++)
		lost(i, CLOSE_RESUME);
	ck_assert_int_le(begun, 2);
}
END_TEST

START_TEST(test_gate_projects_take_turns)
{
	for (size_t i = 0; i < 100; i++)
		ask(join(i, "storm", "k"), 5000, true);
	ask(join(100, "small", "s"), 0, false);
	ck_assert_int_eq(next(), 0);
	lost(0, CLOSE_RESUME);
	now += 10;
	ck_assert_int_eq(next(), 100);
	lost(100, CLOSE_RESUME);
	now += 10;
	ck_assert_int_eq(next(), 1);
}
END_TEST

START_TEST(test_gate_project_limit)
{
	int begun = 0;

	for (size_t i = 0; i < 100; i++) {
		ck_assert_int_eq(gate_join(&gate, &tickets[i], "slow", "k", 10), 0);
		ask(&tickets[i], 0, false);
	}
	for (int i; now < START_MS + 2000; now += 5) {
		while ((i = next()) >= 0) {
			worked(i);
			begun++;
		}
	}
	ck_assert_int_eq(begun, 20);
}
END_TEST

/* Over quota: new calls are turned away at once, waiting ones too; one call that has talked tries in five seconds; then slowly more. */
START_TEST(test_gate_quota)
{
	char reason[GATE_REASON_SIZE];
	uint32_t closed_ms;
	int begun = 0;

	for (size_t i = 0; i < 20; i++)
		ask(join(i, "project acme", "k"), 0, i >= 10);
	ask(join(30, "another", "a"), 0, false);
	ck_assert_int_eq(next(), 10);
	now += 10;
	ck_assert_int_eq(next(), 30);
	gate_opened(&gate, &tickets[10]);
	closed_ms = lost(10, CLOSE_THROTTLED);
	ck_assert_uint_ge(closed_ms, GATE_QUOTA_MS);
	ck_assert_uint_lt(closed_ms, GATE_QUOTA_MS + GATE_QUOTA_JITTER_MS);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(refused(), i);
	gate_reason(&tickets[0], now, reason);
	ck_assert_ptr_nonnull(strstr(reason, "project acme is over its quota and not dialled for another "));
	ck_assert_ptr_nonnull(strstr(reason, ": as the service says"));
	ask(join(40, "project acme", "other key"), 0, false);
	ck_assert_int_eq(refused(), 40);
	now += 10;
	ck_assert_int_eq(next(), -1);
	now += GATE_TRICKLE_MS - 20;
	ck_assert_int_eq(next(), -1);
	now += 20;
	ck_assert_int_eq(next(), 11);
	gate_opened(&gate, &tickets[11]);
	lost(11, CLOSE_THROTTLED);
	/* It works again: at first one a second. */
	now += GATE_TRICKLE_MS;
	ck_assert_int_eq(next(), 12);
	worked(12);
	ask(&tickets[40], 0, false);
	for (uint64_t from = now; now < from + 1900; now += 5) {
		int i = next();

		if (i < 0)
			continue;
		begun++;
		worked(i);
	}
	ck_assert_int_ge(begun, 1);
	ck_assert_int_le(begun, 4);
}
END_TEST

/* Nobody talks: after the pause new calls are let in again, one at first. */
START_TEST(test_gate_quota_ends)
{
	uint32_t closed_ms;

	ask(join(0, "p", "k"), 0, false);
	ck_assert_int_eq(next(), 0);
	closed_ms = lost(0, CLOSE_THROTTLED);
	gate_part(&gate, &tickets[0]);
	now += closed_ms - 1;
	ask(join(1, "p", "k"), 0, false);
	ck_assert_int_eq(refused(), 1);
	now += 1;
	ask(&tickets[1], 0, false);
	ask(join(2, "p", "k"), 0, false);
	ck_assert_int_eq(next(), 1);
	now += 100;
	ck_assert_int_eq(next(), -1);
	now += 900;
	ck_assert_int_eq(next(), 2);
}
END_TEST

START_TEST(test_gate_quota_not_longer_by_those_under_way)
{
	uint64_t until;

	for (size_t i = 0; i < 4; i++, now += 10) {
		ask(join(i, "p", "k"), 0, true);
		ck_assert_int_eq(next(), (int)i);
	}
	lost(0, CLOSE_THROTTLED);
	until = tickets[0].project->closed_until_ms;
	while (until < now + GATE_QUOTA_MS + 1000) { /* drawn so that the others come within it */
		gate_forgive(&gate);
		lost(0, CLOSE_THROTTLED);
		until = tickets[0].project->closed_until_ms;
	}
	for (int i = 1; i < 4; i++)
		ck_assert_uint_eq(lost(i, CLOSE_THROTTLED), 0);
	ck_assert_uint_eq(tickets[0].project->closed_until_ms, until);
	ck_assert_uint_eq(tickets[0].project->quota_refusals, 4);
}
END_TEST

/* A dead key fails new calls under it at once, no other key of the project, and is asked again after a while. */
START_TEST(test_gate_dead_key)
{
	char reason[GATE_REASON_SIZE];

	ask(join(0, "p", "the key of alice"), 0, false);
	ask(join(1, "p", "the key of alice"), 0, false);
	ask(join(2, "p", "the key of bob"), 0, false);
	ck_assert_int_eq(next(), 0);
	now += 5;
	ask(join(3, "p", "the key of alice"), 0, true);
	gate_opened(&gate, &tickets[0]);
	lost(0, CLOSE_FATAL_KEY);
	ck_assert_int_eq(refused(), 1);
	gate_reason(&tickets[1], now, reason);
	ck_assert_str_eq(reason, "the key of alice is not dialled for another 30 s: as the service says");
	now += 10;
	ck_assert_int_eq(next(), 2);
	worked(2);
	now += 10;
	ck_assert_int_eq(next(), 3); /* it has talked: let the service say it */
	now += GATE_DEAD_MS;
	ask(&tickets[1], 0, false);
	ck_assert_int_eq(next(), 1);
	worked(1);
}
END_TEST

START_TEST(test_gate_dead_project)
{
	ask(join(0, "p", "a"), 0, false);
	ask(join(1, "p", "b"), 0, false);
	ck_assert_int_eq(next(), 0);
	lost(0, CLOSE_FATAL_PROJECT);
	ck_assert_int_eq(refused(), 1);
	gate_forgive(&gate);
	ask(&tickets[1], 0, false);
	now += 10;
	ck_assert_int_eq(next(), 1);
}
END_TEST

static uint32_t random_state;

static uint32_t draw(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % below;
}

/* What a call does next, whatever the gate thinks of it. */
static void stir(size_t i)
{
	static const enum close_class classes[] = {CLOSE_RESUME, CLOSE_RESUME, CLOSE_RESUME, CLOSE_FRESH, CLOSE_THROTTLED,
		CLOSE_FATAL_KEY, CLOSE_FATAL_PROJECT, CLOSE_OUR_BUG};
	static const char *const labels[] = {"p", "q", "r"};
	struct gate_ticket *t = &tickets[i];

	switch (draw(8)) {
	case 0:
		gate_part(&gate, t);
		break;
	case 1:
		gate_lost(&gate, t, classes[draw(draw(20) == 0 ? 8 : 4)], "why", now);
		break;
	case 2:
	case 3:
		gate_opened(&gate, t);
		break;
	case 4:
	case 5:
		gate_worked(&gate, t, now);
		break;
	default:
		if (t->project == NULL)
			ck_assert_int_eq(gate_join(&gate, t, labels[draw(3)], labels[draw(3)], draw(2) * 20), 0);
		ask(t, draw(3000), draw(2) == 0);
	}
}

/* The counts of the gate are those of the tickets, and no list has a ticket too many or too few. */
static void check_counts(size_t count)
{
	unsigned int places[GATE_SETUP + 1] = {0}, listed = 0, refusals = 0;
	struct gate_ticket *t;

	for (size_t i = 0; i < count; i++)
		places[tickets[i].place]++;
	for (struct gate_scope *project = gate.projects; project != NULL; project = project->next) {
		ck_assert(project->fresh != NULL || project->talked != NULL);
		for (t = project->fresh; t != NULL; t = t->next, listed++)
			ck_assert(t->next == NULL || t->since_ms <= t->next->since_ms);
		for (t = project->talked; t != NULL; t = t->next, listed++)
			ck_assert(t->next == NULL || t->since_ms <= t->next->since_ms);
	}
	for (t = gate.refused; t != NULL; t = t->next)
		refusals++;
	ck_assert_uint_eq(places[GATE_WAITING], gate.waiting);
	ck_assert_uint_eq(places[GATE_WAITING], listed);
	ck_assert_uint_eq(places[GATE_REFUSED], refusals);
	ck_assert_uint_eq(places[GATE_DIALLING], gate.dialling);
	ck_assert_uint_le(gate.dialling, gate.config.dials_max);
}

/* Anything in any order: bounds and counts hold, and when the service is well again everybody who waits is dialled. */
START_TEST(test_gate_any_order)
{
	enum { COUNT = 40 };
	bool granted;

	random_state = (uint32_t)_i + 1;
	for (unsigned int step = 0; step < 10000; step++) {
		unsigned int begun = 0;

		stir(draw(COUNT));
		now += draw(4) == 0 ? draw(200) : 0;
		if (draw(3) == 0)
			while (gate_next(&gate, now, &granted) != NULL)
				begun += granted;
		ck_assert_uint_le(begun, 2);
		if (step % 16 == 0)
			check_counts(COUNT);
	}
	for (size_t i = 0; i < COUNT; i++)
		gate_lost(&gate, &tickets[i], CLOSE_RESUME, "", now);
	now += GATE_QUOTA_MS + GATE_QUOTA_JITTER_MS;
	for (size_t i = 0; i < COUNT; i++)
		ask(&tickets[i], 0, i % 2 == 0);
	for (uint64_t end = now + 60000; gate.waiting > 0 && now < end; now += 5) {
		for (int i; (i = next()) >= 0;)
			worked(i);
	}
	ck_assert_uint_eq(gate.waiting, 0);
	check_counts(COUNT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gate");
	TCase *orders = tcase_create("orders");

	unit_add_fixture(suite, "pace", begin, end, test_gate_paces_a_storm, test_gate_bounds_handshakes,
		test_gate_no_burst_after_a_pause, test_gate_projects_take_turns, test_gate_project_limit);
	unit_add_fixture(suite, "refusals", begin, end, test_gate_quota, test_gate_quota_ends,
		test_gate_quota_not_longer_by_those_under_way, test_gate_dead_key, test_gate_dead_project);
	tcase_add_checked_fixture(orders, begin, end);
	tcase_add_loop_test(orders, test_gate_any_order, 0, 8);
	suite_add_tcase(suite, orders);
	return unit_run(suite);
}
