/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The binding rules, case by case: calls that move and end, what they leave behind, RTCP, and many calls. Every row of
 * doc/binding.md names the test that shows it.
 */
#include "binding_fixture.h"

/* --- signalling moves a call --- */

START_TEST(test_binding_move)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	ck_assert_int_eq(move(0, "10.77.0.3", 4000, false, 1000), 0);
	ck_assert_int_eq(verdict.action, BINDING_WAIT);
	ck_assert(verdict.moved);
	ck_assert_uint_eq(verdict.unbound.ssrc, 77);
	expect_counts(1, 0, 0);
	/* Packets of both places in flight: the old place is refused at once, before and after the new one binds. */
	packet("10.77.0.2", 18920, 77, 2, 1001);
	expect_drop(SSRC_WRONG_SOURCE);
	packet("10.77.0.3", 4000, 77, 3, 1002);
	expect_session(BIND, 0);
	ck_assert(!verdict.first && !verdict.moved && verdict.address_switch);
	packet("10.77.0.2", 18920, 77, 4, 1003);
	expect_drop(SSRC_WRONG_SOURCE);
	packet("10.77.0.2", 18920, 78, 4, 1003);
	expect_drop(SSRC_WRONG_SOURCE); /* a new SSRC of the old place */
	/* Nor may another call learn the old place. */
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 1003);
	packet("10.77.0.2", 18920, 78, 4, 1003);
	expect_drop(SSRC_WRONG_SOURCE);
	/* And back. */
	ck_assert_int_eq(move(0, "10.77.0.2", 18920, false, 2000), 0);
	packet("10.77.0.2", 18920, 77, 9, 2000);
	expect_session(BIND, 0);
	ck_assert_int_eq(move(5, "10.77.0.2", 18920, false, 2000), -ENOENT);
}
END_TEST

START_TEST(test_binding_move_to_unknown_port)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	ck_assert_int_eq(move(0, "10.77.0.3", UNKNOWN, true, 1000), 0);
	ck_assert(verdict.moved);
	stream("10.77.0.3", 6000, 78, 4, 1000, true);
	expect_session(BIND, 0);
}
END_TEST

/* A session refresh, or signalling that tells the port which was learned already: the flow goes on. */
START_TEST(test_binding_move_to_the_same_place)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	stream("10.77.0.2", 18920, 77, 4, 0, true);
	ck_assert_int_eq(move(0, "10.77.0.2", UNKNOWN, true, 100), 0);
	ck_assert(!verdict.moved && !verdict.evicted);
	ck_assert_int_eq(move(0, "10.77.0.2", 18920, false, 200), 0);
	ck_assert(!verdict.moved && !verdict.evicted);
	packet("10.77.0.2", 18920, 77, 9, 300);
	expect_session(DELIVER, 0);
	/* Confirmed by signalling now: a second call there no longer evicts it. */
	begin(1, "10.77.0.2", 18920, 0, 400);
	ck_assert(!verdict.evicted);
	expect_counts(2, 1, 0);
}
END_TEST

/* What was on trial before the move is not forgotten as a stray, and not bound. */
START_TEST(test_binding_move_during_probation)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	stream("10.77.0.2", 18920, 77, 3, 0, true);
	ck_assert_int_eq(move(0, "10.77.0.3", 4000, false, 50), 0);
	ck_assert(!verdict.moved);
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 50);
	packet("10.77.0.2", 18920, 77, 1, 60);
	ck_assert_int_eq(verdict.action, BINDING_DROP);
	expect_counts(2, 0, 0);
}
END_TEST

/* --- what a dead call leaves --- */

/* The next call on the same source, signalled right after the old one: its new SSRC binds after probation, the old one never. */
START_TEST(test_binding_next_call_on_the_same_source)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	ck_assert(end(0, 1000));
	packet("10.77.0.2", 18920, 77, 2, 1001);
	expect_drop(QUARANTINED);
	begin(1, "10.77.0.2", 18920, 0, 1002);
	for (uint16_t i = 3; i < 100; i++) {
		packet("10.77.0.2", 18920, 77, i, 1000 + 20u * i);
		expect_drop(QUARANTINED);
	}
	stream("10.77.0.2", 18920, 78, 4, 3000, true);
	expect_session(BIND, 1);
	ck_assert(verdict.first);
	/* Until the last moment; its time is counted from the end of its call. */
	packet("10.77.0.2", 18920, 77, 500, 1000 + QUARANTINE - 1);
	expect_drop(QUARANTINED);
	packet("10.77.0.2", 18920, 77, 501, 1000 + QUARANTINE);
	expect_session(WAIT, 1);
}
END_TEST

START_TEST(test_binding_dead_source_is_not_learned)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	ck_assert(end(0, 1000));
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 1000);
	packet("10.77.0.2", 18920, 77, 2, 1001);
	expect_drop(QUARANTINED); /* its flow */
	stream("10.77.0.2", 18920, 78, 9, 1001, false);
	expect_drop(QUARANTINED); /* its source with another SSRC */
	stream("10.77.0.2", 18930, 77, 9, 1001, false);
	expect_drop(QUARANTINED); /* its SSRC from another source */
	stream("10.77.0.2", 18930, 78, 4, 1001, true);
	expect_session(BIND, 1);
}
END_TEST

/* A call that ended before it was heard: its signalled source is known, so nobody learns it. */
START_TEST(test_binding_dead_unheard_source)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	ck_assert(!end(0, 1000));
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 1000);
	stream("10.77.0.2", 18920, 78, 9, 1001, false);
	expect_drop(QUARANTINED);
	/* A call signalled there is on probation first. */
	begin(2, "10.77.0.2", 18920, 0, 2000);
	stream("10.77.0.2", 18920, 78, 4, 2000, true);
	expect_session(BIND, 2);
}
END_TEST

/* As before, and its port was not known either: nobody learns at that address while its first packet may still be under way. */
START_TEST(test_binding_dead_unheard_unknown_port)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	ck_assert(!end(0, 1000));
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 1000);
	packet("10.77.0.2", 18920, 77, 1, 1000 + 4999);
	expect_drop(QUARANTINED);
	stream("10.77.0.2", 18920, 77, 4, 1000 + 5000, true);
	expect_session(BIND, 1);
	/* A signalled SSRC: that SSRC alone. */
	begin(2, "10.77.0.3", UNKNOWN, F_UNKNOWN | F_SSRC, 8000);
	ck_assert(!end(2, 8000));
	begin(3, "10.77.0.3", UNKNOWN, F_UNKNOWN, 8000);
	stream("10.77.0.3", 18920, 0x51000002, 9, 8000, false);
	expect_drop(QUARANTINED);
	stream("10.77.0.3", 18930, 78, 4, 8000, true);
	expect_session(BIND, 3);
}
END_TEST

START_TEST(test_binding_dead_probation)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	stream("10.77.0.2", 18920, 77, 3, 0, true);
	ck_assert(!end(0, 50));
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 6000);
	stream("10.77.0.2", 18920, 77, 9, 6000, false);
	expect_drop(QUARANTINED);
	stream("10.77.0.2", 18920, 78, 9, 6000, false);
	expect_drop(QUARANTINED);
	expect_counts(1, 0, 0);
}
END_TEST

/* A stream that went quiet long before the end was not the call's, though nothing had expired it yet. */
START_TEST(test_binding_dead_probation_over)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	ck_assert(!end(0, BINDING_PENDING_MS));
	begin(1, "10.77.0.2", 18920, 0, BINDING_PENDING_MS);
	packet("10.77.0.2", 18920, 77, 1, BINDING_PENDING_MS);
	expect_session(BIND, 1);
}
END_TEST

/* An SSRC that the dead call had left earlier (hold) is as dead as its last. */
START_TEST(test_binding_dead_earlier_ssrc)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	stream("10.77.0.2", 18920, 78, 4, 1000, true);
	ck_assert(end(0, 2000));
	begin(1, "10.77.0.2", 18920, 0, 2000);
	packet("10.77.0.2", 18920, 77, 1, 2000);
	expect_drop(QUARANTINED);
	packet("10.77.0.2", 18920, 78, 1, 2000);
	expect_drop(QUARANTINED);
}
END_TEST

/* A source that two calls left is refused to both: the second may not bring the first one's stray packets with it. */
START_TEST(test_binding_source_of_two_dead_calls)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	ck_assert(!end(0, 0));
	begin(1, "10.77.0.2", 18920, 0, 0);
	ck_assert_int_eq(move(1, "10.77.0.3", 4000, false, 10), 0);
	ck_assert_int_eq(move(1, "10.77.0.2", 18920, false, 20), 0);
	packet("10.77.0.2", 18920, 77, 1, 30);
	expect_session(WAIT, 1);
}
END_TEST

/* The next call has the same index: quarantine is lifted for the owner alone, and a generation later it is another's. */
START_TEST(test_binding_dead_call_same_index)
{
	struct session_ref next = {0, 1000};

	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	ck_assert(end(0, 1000));
	ck_assert_int_eq(open_ref(next, "10.77.0.2", 18920, 0, 1000), 0);
	packet("10.77.0.2", 18920, 77, 2, 1001);
	expect_drop(QUARANTINED);
}
END_TEST

START_TEST(test_binding_dedicated_port_quarantine)
{
	struct endpoint local = local_of(0, F_DEDICATED, "10.77.0.2");

	ck_assert(binding_local_port_free(rules, &local, 0));
	begin(0, "10.77.0.2", 18920, F_DEDICATED, 0);
	ck_assert(!binding_local_port_free(rules, &local, 0));
	packet_to(local, "10.77.0.2", 18920, 77, 1, PCMU, false, 0);
	expect_session(BIND, 0);
	ck_assert(end(0, 1000));
	ck_assert(!binding_local_port_free(rules, &local, 1000));
	ck_assert_int_eq(open_ref(ref(0), "10.77.0.2", 18920, F_DEDICATED, 1000), -EBUSY);
	packet_to(local, "10.77.0.2", 18930, 78, 1, PCMU, false, 1000);
	expect_drop(QUARANTINED);
	binding_expire(rules, 1000 + QUARANTINE);
	ck_assert(binding_local_port_free(rules, &local, 1000 + QUARANTINE));
	begin(0, "10.77.0.2", 18920, F_DEDICATED, 1000 + QUARANTINE);
}
END_TEST

START_TEST(test_binding_quarantine_off)
{
	start(2 * SESSIONS, 0, false);
	begin(0, "10.77.0.2", 18920, F_DEDICATED, 0);
	ck_assert(!end(0, 0));
	begin(0, "10.77.0.2", 18920, F_DEDICATED, 0);
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	ck_assert(!end(1, 0));
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	stream("10.77.0.2", 18920, 77, 4, 0, true);
	expect_session(BIND, 1);
}
END_TEST

/* More calls end than quarantine can remember: no call is opened whose end could not be remembered, until time has passed. */
START_TEST(test_binding_quarantine_full)
{
	struct binding_counts counts;
	uint64_t opened = 0;
	uint32_t generation = 1;
	int ret = 0;

	for (; opened < 100000 && ret == 0; generation++) {
		struct session_ref session = {0, generation};
		struct flow_key unbound;

		ret = open_ref(session, "10.77.0.2", (uint16_t)(generation % 60000 + 1000), 0, 10);
		if (ret != 0)
			break;
		packet("10.77.0.2", (uint16_t)(generation % 60000 + 1000), generation, 1, 10);
		ck_assert(binding_close(rules, session, 10, &unbound));
		opened++;
	}
	ck_assert_int_eq(ret, -ENOBUFS);
	ck_assert_uint_gt(opened, 4000);
	expect_counts(0, 0, 0);
	ck_assert_int_eq(open_ref((struct session_ref){0, generation}, "10.77.0.2", 1000, 0, 10 + QUARANTINE), 0);
	for (int i = 0; i < 100; i++)
		binding_expire(rules, 10 + QUARANTINE);
	binding_count(rules, &counts);
	ck_assert_uint_eq(counts.quarantined, 0);
}
END_TEST

/* --- RTCP --- */

START_TEST(test_binding_rtcp)
{
	struct endpoint local = local_of(0, F_DEDICATED, "10.77.0.2"), next = local;

	next.port++;
	begin(0, "10.77.0.2", 18920, F_DEDICATED, 0);
	/* Never binds, not even from the exact source. */
	packet_to(local, "10.77.0.2", 18920, 77, 0, 0, true, 0);
	expect_drop(RTCP_UNKNOWN);
	expect_counts(1, 0, 0);
	packet_to(local, "10.77.0.2", 18920, 77, 1, PCMU, false, 0);
	expect_session(BIND, 0);
	static const struct {
		uint16_t port;
		bool next, known;
		uint32_t ssrc;
	} cases[] = {
		{18920, false, true, 77}, /* RFC 5761 */
		{18921, true, true, 77},  /* RFC 3550 11 */
		{18921, false, true, 77}, /* its odd port to our even one */
		{18920, true, false, 77},
		{18922, false, false, 77},
		{18923, true, false, 77},
		{18920, false, false, 78},
		{18921, true, false, 78},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		packet_to(cases[i].next ? next : local, "10.77.0.2", cases[i].port, cases[i].ssrc, 0, 0, true, 10);
		if (cases[i].known)
			expect_session(DELIVER, 0);
		else
			expect_drop(RTCP_UNKNOWN);
	}
	ck_assert(end(0, 20));
	packet_to(local, "10.77.0.2", 18920, 77, 0, 0, true, 30);
	expect_drop(RTCP_UNKNOWN);
}
END_TEST

/* --- size --- */

/* 100,000 calls behind one address with unknown ports, then with exact ones; sets are counted, never walked. */
START_TEST(test_binding_many_sessions)
{
	struct binding_limits limits = {
		.max_sessions = 100000, .max_pending = 200000, .quarantine_ms = QUARANTINE, .hash_seed = 7};
	struct binding_session session = {.local = local_of(0, 0, "10.77.0.2"),
		.remote = at("10.77.0.2", UNKNOWN),
		.remote_port_unknown = true,
		.sources = sources,
		.source_count = 3};
	struct binding_counts counts;
	struct flow_key unbound;

	binding_free(rules);
	rules = binding_new(&limits);
	ck_assert_ptr_nonnull(rules);
	for (uint32_t i = 0; i < 100000; i++)
		ck_assert_int_eq(binding_open(rules, (struct session_ref){i, 1}, &session, 0, &verdict), 0);
	for (uint32_t i = 0; i < 100000; i++) {
		packet("10.77.0.2", (uint16_t)i, i, 1, 0);
		expect_drop(INIT_AMBIGUOUS);
	}
	for (uint32_t i = 0; i < 100000; i++) {
		struct endpoint remote = at("10.77.0.2", 0);

		remote.address.bytes[15] = (uint8_t)(2 + i / 60000);
		remote.port = (uint16_t)(2 + i % 60000);
		ck_assert_int_eq(binding_move(rules, (struct session_ref){i, 1}, &remote, false, 1, &verdict), 0);
	}
	for (uint32_t i = 0; i < 100000; i++) {
		packet(i < 60000 ? "10.77.0.2" : "10.77.0.3", (uint16_t)(2 + i % 60000), 0xca110000 + i % 8, 1, 2);
		ck_assert_int_eq(verdict.action, BINDING_BIND);
		ck_assert_uint_eq(verdict.session.index, i);
	}
	for (uint32_t i = 0; i < 100000; i++)
		ck_assert(binding_close(rules, (struct session_ref){i, 1}, 3, &unbound));
	for (int i = 0; i < 200; i++)
		binding_expire(rules, 3 + QUARANTINE);
	binding_count(rules, &counts);
	ck_assert_uint_eq(counts.sessions + counts.bound + counts.pending + counts.quarantined, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("binding_calls");

	group(suite, "move", test_binding_move, test_binding_move_to_unknown_port, test_binding_move_to_the_same_place,
		test_binding_move_during_probation);
	group(suite, "quarantine", test_binding_next_call_on_the_same_source, test_binding_dead_source_is_not_learned,
		test_binding_dead_unheard_source, test_binding_dead_unheard_unknown_port, test_binding_dead_probation,
		test_binding_dead_probation_over, test_binding_dead_earlier_ssrc, test_binding_dead_call_same_index,
		test_binding_source_of_two_dead_calls, test_binding_dedicated_port_quarantine, test_binding_quarantine_off,
		test_binding_quarantine_full);
	group(suite, "rtcp", test_binding_rtcp);
	group(suite, "size", test_binding_many_sessions);
	return unit_run(suite);
}
