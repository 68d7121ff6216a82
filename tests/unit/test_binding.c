/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The binding rules, case by case: who gets a packet. Every row of doc/binding.md names the test that shows it.
 */
#include "binding_fixture.h"

/* --- calls --- */

START_TEST(test_binding_new_refuses)
{
	struct binding_limits limits = {.max_sessions = 0};

	ck_assert_ptr_null(binding_new(&limits));
	ck_assert_int_eq(errno, EINVAL);
	limits.max_sessions = BINDING_SESSIONS_MAX + 1;
	ck_assert_ptr_null(binding_new(&limits));
	ck_assert_int_eq(errno, EINVAL);
	binding_free(NULL);
}
END_TEST

START_TEST(test_binding_open_refuses)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	ck_assert_int_eq(open_ref(ref(0), "10.77.0.2", 18922, 0, 0), -EEXIST);
	ck_assert_int_eq(open_ref((struct session_ref){SESSIONS, 1}, "10.77.0.2", 18922, 0, 0), -EINVAL);
	ck_assert_int_eq(open_ref((struct session_ref){1, 0}, "10.77.0.2", 18922, 0, 0), -EINVAL);
	expect_counts(1, 0, 0);
}
END_TEST

/* A local port of its own is never shared, in either order. */
START_TEST(test_binding_dedicated_port_is_not_shared)
{
	struct binding_session session = {.local = local_of(3, F_DEDICATED, "10.77.0.2"),
		.remote = at("10.77.0.3", 4000),
		.sources = sources,
		.source_count = 3};

	begin(3, "10.77.0.2", 18920, F_DEDICATED, 0);
	ck_assert_int_eq(binding_open(rules, ref(4), &session, 0, &verdict), -EEXIST);
	session.dedicated = true;
	ck_assert_int_eq(binding_open(rules, ref(4), &session, 0, &verdict), -EEXIST);
	begin(5, "10.77.0.2", 18920, 0, 0);
	session.local = local_of(0, 0, "10.77.0.2");
	ck_assert_int_eq(binding_open(rules, ref(4), &session, 0, &verdict), -EEXIST);
}
END_TEST

/* An index used again has another generation: nothing said about the old call touches the new one. */
START_TEST(test_binding_stale_generation)
{
	struct session_ref next = {0, 7};
	struct endpoint remote = at("10.77.0.9", 9000);
	struct flow_key unbound;

	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 1, 1, 0);
	ck_assert(end(0, 10));
	ck_assert_int_eq(open_ref(next, "10.77.0.3", 4000, 0, 10), 0);
	packet("10.77.0.3", 4000, 2, 1, 20);
	ck_assert_int_eq(verdict.action, BINDING_BIND);
	ck_assert_uint_eq(verdict.session.generation, 7);
	ck_assert(!end(0, 30));
	ck_assert_int_eq(binding_move(rules, ref(0), &remote, false, 30, &verdict), -ENOENT);
	packet("10.77.0.3", 4000, 2, 2, 40);
	ck_assert_int_eq(verdict.action, BINDING_DELIVER);
	ck_assert_uint_eq(verdict.session.generation, 7);
	ck_assert(binding_close(rules, next, 50, &unbound));
	expect_counts(0, 0, 0);
}
END_TEST

/* --- the source is known: tier 1 and 2 --- */

START_TEST(test_binding_exact_binds_at_once)
{
	static const char *const addresses[] = {"192.168.50.50", "2001:db8:5::50"};

	for (uint32_t i = 0; i < 2; i++) {
		begin(i, addresses[i], 18920, 0, 0);
		ck_assert_int_eq(verdict.action, BINDING_WAIT);
		packet(addresses[i], 18920, 1234567, 7, 5);
		expect_session(BIND, i);
		ck_assert(verdict.first && !verdict.moved && !verdict.address_switch && !verdict.evicted);
		struct flow_key key = key_at(local_of(i, 0, addresses[i]), addresses[i], 18920, 1234567);
		ck_assert_mem_eq(&verdict.bound, &key, sizeof(key));
		packet(addresses[i], 18920, 1234567, 8, 25);
		expect_session(DELIVER, i);
	}
	expect_counts(2, 2, 0);
}
END_TEST

/* The seed system's two users: one address, two ports, at the same time. */
START_TEST(test_binding_two_ports_of_one_address)
{
	begin(0, "192.168.50.50", 18920, 0, 0);
	begin(1, "192.168.50.50", 18924, 0, 0);
	packet("192.168.50.50", 18924, 2222, 1, 1);
	expect_session(BIND, 1);
	packet("192.168.50.50", 18920, 1111, 1, 2);
	expect_session(BIND, 0);
	for (uint16_t i = 2; i < 50; i++) {
		packet("192.168.50.50", 18920, 1111, i, 20u * i);
		expect_session(DELIVER, 0);
		packet("192.168.50.50", 18924, 2222, i, 20u * i);
		expect_session(DELIVER, 1);
	}
}
END_TEST

START_TEST(test_binding_exact_never_takes_another_place)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	for (uint16_t i = 0; i < 20; i++) {
		packet("10.77.0.2", 18922, 77, i, 20 * i);
		expect_drop(NO_SESSION);
		packet("10.77.0.3", 18920, 78, i, 20 * i);
		expect_drop(NO_SESSION);
		packet("10.99.0.2", 18920, 79, i, 20 * i);
		expect_drop(SOURCE_UNKNOWN);
	}
	expect_counts(1, 0, 0);
}
END_TEST

START_TEST(test_binding_exact_outside_its_trunk)
{
	begin(0, "10.99.0.2", 18920, 0, 0);
	packet("10.99.0.2", 18920, 77, 1, 0);
	expect_drop(SOURCE_UNKNOWN);
	/* Another trunk's address is not this one's. */
	begin(1, "10.77.0.2", 18920, F_OTHER_TRUNK, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	expect_drop(SOURCE_UNKNOWN);
	/* Not even with its SSRC signalled. */
	begin(2, "10.99.0.3", 18920, F_SSRC, 0);
	ck_assert_int_eq(verdict.action, BINDING_WAIT);
	packet("10.99.0.3", 18920, 0x51000002, 1, 0);
	expect_drop(SOURCE_UNKNOWN);
	expect_counts(3, 0, 0);
}
END_TEST

START_TEST(test_binding_payload_type)
{
	static const struct {
		uint8_t payload_type;
		bool fits;
	} cases[] = {{8, false}, {3, false}, {72, false}, {127, false}, {PCMU, true}, {EVENTS, true}, {13, true}};

	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint16_t port = (uint16_t)(18920 + 2 * i);

		begin(i, "10.77.0.2", port, 0, 0);
		packet_to(local_of(0, 0, "10.77.0.2"), "10.77.0.2", port, 5, 1, cases[i].payload_type, false, 0);
		if (cases[i].fits)
			expect_session(BIND, i);
		else
			expect_drop(PAYLOAD_TYPE);
	}
	/* No event payload type negotiated: 0 is PCMU, not "none given". */
	struct binding_session session = {.local = local_of(0, 0, "10.77.0.2"),
		.remote = at("10.77.0.9", 4000),
		.payload_type = 8,
		.sources = sources,
		.source_count = 3};
	ck_assert_int_eq(binding_open(rules, ref(9), &session, 0, &verdict), 0);
	packet("10.77.0.9", 4000, 5, 1, 0);
	expect_drop(PAYLOAD_TYPE);
	/* In probation too. */
	begin(10, "10.77.0.5", UNKNOWN, F_UNKNOWN, 0);
	packet_to(local_of(0, 0, "10.77.0.5"), "10.77.0.5", 6000, 55, 1, 8, false, 0);
	expect_drop(PAYLOAD_TYPE);
	expect_counts(9, 3, 0);
}
END_TEST

START_TEST(test_binding_signalled_ssrc_binds_at_open)
{
	begin(0, "10.77.0.2", 18920, F_SSRC, 0);
	expect_session(BIND, 0);
	ck_assert(verdict.first);
	packet("10.77.0.2", 18920, 0x51000000, 1, 0);
	expect_session(DELIVER, 0);
	/* That very flow is taken. */
	struct binding_session same = {.local = local_of(0, 0, "10.77.0.2"),
		.remote = at("10.77.0.2", 18920),
		.ssrc_known = true,
		.ssrc = 0x51000000,
		.sources = sources,
		.source_count = 3};
	ck_assert_int_eq(binding_open(rules, ref(1), &same, 0, &verdict), -EEXIST);
	/* And stays so for a while after its call. */
	ck_assert(end(0, 1000));
	ck_assert_int_eq(binding_open(rules, ref(1), &same, 1000, &verdict), -EBUSY);
	ck_assert_int_eq(binding_open(rules, ref(1), &same, 1000 + QUARANTINE, &verdict), 0);
	expect_session(BIND, 1);
}
END_TEST

/* Several calls behind one source (an SBC that multiplexes): only an SSRC known by signalling decides. */
START_TEST(test_binding_same_source_is_ambiguous)
{
	struct binding_counts counts;

	begin(0, "10.77.0.2", 18920, 0, 0);
	begin(1, "10.77.0.2", 18920, 0, 0);
	for (uint16_t i = 0; i < 20; i++) {
		packet("10.77.0.2", 18920, 77, i, 20 * i);
		expect_drop(INIT_AMBIGUOUS);
	}
	begin(2, "10.77.0.2", 18920, F_SSRC, 400);
	expect_session(BIND, 2);
	packet("10.77.0.2", 18920, 0x51000002, 1, 400);
	expect_session(DELIVER, 2);
	packet("10.77.0.2", 18920, 78, 1, 400);
	expect_drop(INIT_AMBIGUOUS);
	binding_count(rules, &counts);
	ck_assert_uint_eq(counts.ambiguous, 21);
	expect_counts(3, 1, 0);
}
END_TEST

/* A call that moved keeps its signalled SSRC: behind a source with others it decides again. */
START_TEST(test_binding_same_source_signalled_ssrc_after_move)
{
	begin(0, "10.77.0.2", 18920, F_SSRC, 0);
	begin(1, "10.77.0.2", 18930, 0, 0);
	begin(2, "10.77.0.2", 18930, 0, 0);
	ck_assert_int_eq(move(0, "10.77.0.2", 18930, false, 10), 0);
	packet("10.77.0.2", 18930, 99, 1, 20);
	expect_drop(INIT_AMBIGUOUS);
	packet("10.77.0.2", 18930, 0x51000000, 1, 20);
	expect_session(BIND, 0);
	ck_assert(verdict.address_switch && !verdict.first && !verdict.moved);
}
END_TEST

/* A bound call and a second one behind its source: a new SSRC could be either's. */
START_TEST(test_binding_same_source_after_bind)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 1, 1, 0);
	expect_session(BIND, 0);
	begin(1, "10.77.0.2", 18920, 0, 0);
	ck_assert(!verdict.evicted);
	stream("10.77.0.2", 18920, 2, 10, 100, false);
	expect_drop(INIT_AMBIGUOUS);
	packet("10.77.0.2", 18920, 1, 2, 300);
	expect_session(DELIVER, 0);
	/* The first call's end makes it clear again; its SSRC is refused, a new one is on probation. */
	ck_assert(end(0, 400));
	packet("10.77.0.2", 18920, 1, 3, 410);
	expect_drop(QUARANTINED);
	stream("10.77.0.2", 18920, 2, 4, 500, true);
	expect_session(BIND, 1);
}
END_TEST

/* Accidental collision: the same SSRC from another call's own source is that call's. */
START_TEST(test_binding_ssrc_collision)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	begin(1, "10.77.0.2", 18922, 0, 0);
	begin(2, "10.77.0.3", 18920, 0, 0);
	packet("10.77.0.2", 18920, 0xca110000, 1, 0);
	expect_session(BIND, 0);
	packet("10.77.0.2", 18922, 0xca110000, 1, 0);
	expect_session(BIND, 1);
	packet("10.77.0.3", 18920, 0xca110000, 1, 0);
	expect_session(BIND, 2);
	packet("10.77.0.2", 18920, 0xca110000, 2, 20);
	expect_session(DELIVER, 0);
	packet("10.77.0.2", 18922, 0xca110000, 2, 20);
	expect_session(DELIVER, 1);
	packet("10.77.0.3", 18920, 0xca110000, 2, 20);
	expect_session(DELIVER, 2);
}
END_TEST

START_TEST(test_binding_ssrc_wrong_source)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	for (uint16_t i = 2; i < 60; i++) {
		packet("10.77.0.2", 18921, 77, i, 20u * i); /* another port */
		expect_drop(SSRC_WRONG_SOURCE);
		packet("10.77.0.3", 18920, 77, i, 20u * i); /* another address, the right port */
		expect_drop(SSRC_WRONG_SOURCE);
		packet("198.51.100.1", 18920, 77, i, 20u * i); /* from anywhere */
		expect_drop(SSRC_WRONG_SOURCE);
		packet("10.77.0.2", 18920, 77, i, 20u * i);
		expect_session(DELIVER, 0);
	}
	expect_counts(1, 1, 0);
}
END_TEST

/* --- the port is not known: tier 3 --- */

START_TEST(test_binding_unknown_port_probation)
{
	static const struct {
		const char *what;
		unsigned int count;
		uint16_t seq[8];
		uint16_t ms[8];
		int binds_at; /* -1: never */
	} cases[] = {
		{"in sequence", 4, {10, 11, 12, 13}, {0, 20, 40, 60}, 3},
		{"seq wraps", 4, {65534, 65535, 0, 1}, {0, 20, 40, 60}, 3},
		{"three are not enough", 3, {10, 11, 12}, {0, 20, 40}, -1},
		{"too fast, then long enough", 6, {10, 11, 12, 13, 14, 15}, {0, 1, 2, 3, 21, 22}, 5},
		{"a gap starts again", 7, {10, 11, 12, 14, 15, 16, 17}, {0, 20, 40, 60, 80, 100, 120}, 6},
		{"a duplicate starts again", 7, {10, 11, 12, 12, 13, 14, 15}, {0, 20, 40, 60, 80, 100, 120}, 6},
		{"reordering starts again", 8, {10, 12, 11, 13, 14, 15, 16, 17}, {0, 20, 40, 60, 80, 100, 120, 140}, 6},
		{"same number", 8, {10, 10, 10, 10, 10, 10, 10, 10}, {0, 20, 40, 60, 80, 100, 120, 140}, -1},
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		setup();
		begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
		for (unsigned int i = 0; i < cases[c].count; i++) {
			packet("10.77.0.2", 18920, 77, cases[c].seq[i], cases[c].ms[i]);
			ck_assert_msg(verdict.action == ((int)i == cases[c].binds_at ? BINDING_BIND : BINDING_WAIT),
				"%s: packet %u: action %d", cases[c].what, i, verdict.action);
			if (verdict.action == BINDING_BIND)
				break;
		}
	}
}
END_TEST

START_TEST(test_binding_unknown_port_learns_once)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	packet("10.77.0.3", 18920, 76, 1, 0);
	expect_drop(NO_SESSION);
	stream("10.77.0.2", 18920, 77, 4, 0, true);
	expect_session(BIND, 0);
	ck_assert(verdict.first && !verdict.moved && !verdict.address_switch);
	expect_counts(1, 1, 0);
	/* Exact now: another port of the address is nobody's, a further unknown-port call learns its own. */
	stream("10.77.0.2", 18930, 78, 10, 100, false);
	expect_drop(NO_SESSION);
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 300);
	stream("10.77.0.2", 18930, 78, 4, 300, true);
	expect_session(BIND, 1);
	packet("10.77.0.2", 18920, 77, 9, 400);
	expect_session(DELIVER, 0);
}
END_TEST

START_TEST(test_binding_unknown_ports_are_ambiguous)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	begin(2, "2001:db8::2", UNKNOWN, F_UNKNOWN, 0);
	stream("10.77.0.2", 18920, 77, 50, 0, false);
	expect_drop(INIT_AMBIGUOUS);
	expect_counts(3, 0, 0);
	/* Another address is another matter. */
	stream("2001:db8::2", 18920, 77, 4, 0, true);
	expect_session(BIND, 2);
	/* Signalling tells the port of one: the other is the only one left, but the first's place is not learned. */
	ck_assert_int_eq(move(0, "10.77.0.2", 18920, false, 1000), 0);
	packet("10.77.0.2", 18920, 79, 1, 1000);
	expect_session(BIND, 0);
	packet("10.77.0.2", 18930, 78, 1, 1000);
	expect_drop(QUARANTINED); /* session 0 was never heard at this address: its stray packets may come */
	stream("10.77.0.2", 18930, 78, 4, 1000 + 5000, true);
	expect_session(BIND, 1);
}
END_TEST

START_TEST(test_binding_exact_port_wins_over_unknown)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	begin(1, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	expect_session(BIND, 1);
	stream("10.77.0.2", 18920, 78, 3, 0, true);
	expect_session(WAIT, 1);
	stream("10.77.0.2", 18922, 79, 4, 0, true);
	expect_session(BIND, 0);
}
END_TEST

/* Two streams want the one call (an attacker races the caller): neither, until one goes quiet. */
START_TEST(test_binding_competing_streams_block)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	for (uint16_t i = 0; i < 100; i++) {
		packet("10.77.0.2", 18920, 77, i, 20 * i);
		if (i > 0)
			expect_drop(INIT_AMBIGUOUS);
		packet("10.77.0.2", 6666, 78, i, 20 * i + 1);
		expect_drop(INIT_AMBIGUOUS);
	}
	expect_counts(1, 0, 2);
	/* The second goes quiet; what the first showed before does not count. */
	packet("10.77.0.2", 18920, 77, 100, 1981 + 999);
	expect_drop(INIT_AMBIGUOUS);
	stream("10.77.0.2", 18920, 77, 4, 1981 + 1000, true);
	expect_session(BIND, 0);
	expect_counts(1, 1, 0);
}
END_TEST

/* The attacker alone shows three packets, then the caller comes: the attacker's fourth must not win. */
START_TEST(test_binding_late_competitor_blocks)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	for (uint16_t i = 0; i < 3; i++)
		packet("10.77.0.2", 6666, 78, i, 20 * i);
	expect_session(WAIT, 0);
	packet("10.77.0.2", 18920, 77, 1, 50);
	expect_drop(INIT_AMBIGUOUS);
	packet("10.77.0.2", 6666, 78, 3, 60);
	expect_drop(INIT_AMBIGUOUS);
}
END_TEST

/* Many streams: as with two, and no memory beyond two. */
START_TEST(test_binding_crowd_blocks)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	for (uint32_t i = 0; i < 2000; i++) {
		packet("10.77.0.2", (uint16_t)(10000 + i), i, 1, i);
		if (i > 0)
			expect_drop(INIT_AMBIGUOUS);
	}
	expect_counts(1, 0, 2);
	stream("10.77.0.2", 18920, 77, 40, 2000, false);
	expect_drop(INIT_AMBIGUOUS);
	stream("10.77.0.2", 18920, 77, 4, 4000, true);
	expect_session(BIND, 0);
}
END_TEST

START_TEST(test_binding_quiet_stream_is_forgotten)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	stream("10.77.0.2", 18920, 77, 3, 0, true); /* the last at 40 */
	binding_expire(rules, 40 + BINDING_PENDING_MS - 1);
	expect_counts(1, 0, 1);
	binding_expire(rules, 40 + BINDING_PENDING_MS);
	expect_counts(1, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 40 + BINDING_PENDING_MS); /* next in sequence, but too late */
	expect_session(WAIT, 0);
}
END_TEST

START_TEST(test_binding_pending_limit)
{
	start(1, QUARANTINE, false);
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	begin(1, "10.77.0.3", UNKNOWN, F_UNKNOWN, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	expect_session(WAIT, 0);
	packet("10.77.0.3", 18920, 78, 1, 0);
	expect_drop(LEARN_FULL);
	/* Who is on trial goes on. */
	stream("10.77.0.2", 18920, 77, 4, 20, true);
	expect_session(BIND, 0);
	stream("10.77.0.3", 18920, 78, 4, 100, true);
	expect_session(BIND, 1);
}
END_TEST

/* Sources of no trunk, and of trunks without a call that waits, make no state. */
START_TEST(test_binding_strangers_make_no_state)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	for (uint32_t i = 0; i < 5000; i++) {
		packet("203.0.113.9", (uint16_t)i, i, 1, 1);
		expect_drop(SOURCE_UNKNOWN);
		packet("10.77.0.200", (uint16_t)i, i + 100, 1, 1);
		expect_drop(NO_SESSION);
	}
	expect_counts(1, 0, 1);
	for (uint16_t i = 2; i < 5; i++)
		packet("10.77.0.2", 18920, 77, i, 20 * i);
	expect_session(BIND, 0);
}
END_TEST

/* A signalled SSRC picks its call among those whose ports are not known. */
START_TEST(test_binding_unknown_port_signalled_ssrc)
{
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	begin(2, "10.77.0.2", UNKNOWN, F_UNKNOWN | F_SSRC, 0);
	stream("10.77.0.2", 18920, 77, 5, 0, false);
	expect_drop(INIT_AMBIGUOUS);
	stream("10.77.0.2", 18922, 0x51000002, 4, 0, true);
	expect_session(BIND, 2);
	/* And takes no other SSRC, even alone. */
	begin(3, "10.77.0.3", UNKNOWN, F_UNKNOWN | F_SSRC, 0);
	stream("10.77.0.3", 18922, 77, 9, 0, false);
	expect_drop(NO_SESSION);
	/* Two calls that signalled the same SSRC: nobody. */
	struct binding_session same = {.local = local_of(0, 0, "10.77.0.3"),
		.remote = at("10.77.0.3", UNKNOWN),
		.ssrc_known = true,
		.remote_port_unknown = true,
		.ssrc = 0x51000003,
		.sources = sources,
		.source_count = 3};
	ck_assert_int_eq(binding_open(rules, ref(4), &same, 0, &verdict), 0);
	stream("10.77.0.3", 18922, 0x51000003, 9, 0, false);
	expect_drop(INIT_AMBIGUOUS);
}
END_TEST

/* An SSRC that another call has is not learned from a new source: it may be that call's stream on the move. */
START_TEST(test_binding_unknown_port_refuses_locked_ssrc)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	stream("10.77.0.2", 18930, 77, 10, 0, false);
	expect_drop(SSRC_WRONG_SOURCE);
	stream("10.77.0.2", 18930, 78, 4, 1000, true);
	expect_session(BIND, 1);
}
END_TEST

START_TEST(test_binding_dedicated)
{
	struct endpoint local[2] = {local_of(0, F_DEDICATED, "10.77.0.2"), local_of(1, F_DEDICATED, "10.77.0.2")};

	/*
	 * One address, two calls with unknown ports: not ambiguous, each has its own local port. Any source of the trunk may
	 * come.
	 */
	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN | F_DEDICATED, 0);
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN | F_DEDICATED, 0);
	for (uint16_t i = 0; i < 4; i++) {
		packet_to(local[0], "10.77.0.2", 18920, 77, i, PCMU, false, 20 * i);
		ck_assert_int_eq(verdict.action, i < 3 ? BINDING_WAIT : BINDING_BIND);
		packet_to(local[0], "10.99.0.1", 18920, 79, i, PCMU, false, 20 * i);
		expect_drop(SOURCE_UNKNOWN);
		packet_to(local[1], "10.77.0.40", 18920, 78, i, PCMU, false, 20 * i);
		ck_assert_int_eq(verdict.action, i < 3 ? BINDING_WAIT : BINDING_BIND);
	}
	expect_session(BIND, 1);
	expect_counts(2, 2, 0);
	/* Exact after that, as everywhere. */
	packet_to(local[0], "10.77.0.2", 18930, 80, 1, PCMU, false, 200);
	expect_drop(NO_SESSION);
	packet_to(local[0], "10.77.0.2", 18930, 77, 1, PCMU, false, 200);
	expect_drop(SSRC_WRONG_SOURCE);
	/* The same SSRC to the other port is not the same flow. */
	packet_to(local[1], "10.77.0.2", 18920, 77, 1, PCMU, false, 200);
	expect_drop(NO_SESSION);
}
END_TEST

/* A stream that came before its call was signalled was learned by another: signalling puts it right. */
START_TEST(test_binding_signalling_evicts_learned)
{
	struct flow_key key = key_at(local_of(0, 0, "10.77.0.2"), "10.77.0.2", 18920, 77);

	begin(0, "10.77.0.2", UNKNOWN, F_UNKNOWN, 0);
	stream("10.77.0.2", 18920, 77, 4, 0, true);
	expect_session(BIND, 0);
	begin(1, "10.77.0.2", 18920, 0, 100);
	ck_assert(verdict.evicted);
	ck_assert_uint_eq(verdict.evicted_session.index, 0);
	ck_assert_mem_eq(&verdict.evicted_flow, &key, sizeof(key));
	packet("10.77.0.2", 18920, 77, 9, 120);
	expect_session(BIND, 1);
	expect_counts(2, 1, 0);
	/* The first waits again, and finds its own caller. */
	stream("10.77.0.2", 18930, 78, 4, 200, true);
	expect_session(BIND, 0);
	ck_assert(!verdict.first && verdict.address_switch && !verdict.moved);
	/* The same by a move, and by a signalled SSRC. */
	begin(2, "10.77.0.3", 4000, 0, 300);
	ck_assert_int_eq(move(2, "10.77.0.2", 18930, false, 400), 0);
	ck_assert(verdict.evicted && verdict.evicted_session.index == 0);
	stream("10.77.0.2", 18940, 0x51000003, 4, 500, true);
	expect_session(BIND, 0);
	begin(3, "10.77.0.2", 18940, F_SSRC, 600);
	expect_session(BIND, 3);
	ck_assert(verdict.evicted && verdict.evicted_session.index == 0);
}
END_TEST

/* --- the SSRC changes: hold, transfer --- */

START_TEST(test_binding_relock)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	stream("10.77.0.2", 18920, 78, 4, 1000, true);
	expect_session(BIND, 0);
	ck_assert(verdict.moved && !verdict.first && !verdict.address_switch);
	ck_assert_uint_eq(verdict.unbound.ssrc, 77);
	ck_assert_uint_eq(verdict.bound.ssrc, 78);
	/* The old SSRC comes back after hold. */
	stream("10.77.0.2", 18920, 77, 4, 5000, true);
	expect_session(BIND, 0);
	ck_assert(verdict.moved && !verdict.address_switch);
	expect_counts(1, 1, 0);
	/* The left SSRC is nobody else's to learn. */
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 6000);
	packet("10.77.0.2", 18930, 78, 1, 6000);
	expect_drop(SSRC_WRONG_SOURCE);
}
END_TEST

START_TEST(test_binding_relock_refused_while_heard)
{
	start(2 * SESSIONS, QUARANTINE, true);
	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	for (uint16_t i = 0; i < 50; i++) {
		heard_ms[0] = 1000 + 20 * i;
		packet("10.77.0.2", 18920, 78, i, 1001 + 20 * i);
		if (i >= 3)
			expect_drop(PROBATION);
	}
	/* The old one stops (last heard at 1980): the new one has shown enough. */
	packet("10.77.0.2", 18920, 78, 50, 1980 + BINDING_QUIET_MS - 1);
	expect_drop(PROBATION);
	packet("10.77.0.2", 18920, 78, 51, 1980 + BINDING_QUIET_MS);
	expect_session(BIND, 0);
}
END_TEST

START_TEST(test_binding_relock_competing)
{
	begin(0, "10.77.0.2", 18920, 0, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	for (uint16_t i = 0; i < 50; i++) {
		packet("10.77.0.2", 18920, 78, i, 20 * i);
		packet("10.77.0.2", 18920, 79, i, 20 * i);
		expect_drop(INIT_AMBIGUOUS);
	}
	packet("10.77.0.2", 18920, 77, 2, 1000);
	expect_session(DELIVER, 0);
}
END_TEST

/* --- NAT rebinding --- */

START_TEST(test_binding_nat_rebind)
{
	begin(0, "10.77.0.2", 18920, F_NAT, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	packet("198.51.100.1", 18920, 77, 1, 0);
	expect_drop(SSRC_WRONG_SOURCE); /* never out of the trunk */
	packet("10.77.0.3", 40000, 78, 1, 0);
	expect_drop(NO_SESSION); /* only its own SSRC */
	stream("10.77.0.3", 40000, 77, 4, 100, true);
	expect_session(BIND, 0);
	ck_assert(verdict.moved && verdict.address_switch && !verdict.first);
	ck_assert_uint_eq(verdict.unbound.remote_port, 18920);
	/* It may come back, others get neither place. */
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 300);
	packet("10.77.0.2", 18920, 99, 1, 300);
	expect_drop(SSRC_WRONG_SOURCE);
	end(1, 300);
	stream("10.77.0.2", 18920, 77, 4, 6000, true);
	expect_session(BIND, 0);
}
END_TEST

START_TEST(test_binding_nat_rebind_only_if_unique)
{
	/* Two calls with the SSRC. */
	begin(0, "10.77.0.2", 18920, F_NAT, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	begin(1, "10.77.0.3", 18920, F_NAT, 0);
	packet("10.77.0.3", 18920, 77, 1, 0);
	stream("10.77.0.2", 40000, 77, 10, 0, false);
	expect_drop(SSRC_WRONG_SOURCE);
	end(1, 1000);
	/* One that waits at the new address: could be its first packet. */
	begin(2, "10.77.0.2", UNKNOWN, F_UNKNOWN, 1000);
	stream("10.77.0.2", 40000, 77, 10, 1000, false);
	expect_drop(INIT_AMBIGUOUS);
	/* One that is expected exactly there gets it. */
	begin(3, "10.77.0.2", 40000, 0, 2000);
	packet("10.77.0.2", 40000, 77, 1, 2000);
	expect_session(BIND, 3);
}
END_TEST

START_TEST(test_binding_nat_rebind_refused_while_heard)
{
	start(2 * SESSIONS, QUARANTINE, true);
	begin(0, "10.77.0.2", 18920, F_NAT, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	for (uint16_t i = 0; i < 20; i++) {
		heard_ms[0] = 1000 + 20 * i;
		packet("10.77.0.2", 40000, 77, i, 1001 + 20 * i);
		if (i >= 3)
			expect_drop(PROBATION);
	}
}
END_TEST

START_TEST(test_binding_nat_rebind_is_evicted_by_signalling)
{
	begin(0, "10.77.0.2", 18920, F_NAT, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	stream("10.77.0.2", 40000, 77, 4, 100, true);
	begin(1, "10.77.0.2", 40000, 0, 200);
	ck_assert(verdict.evicted && verdict.evicted_session.index == 0);
	packet("10.77.0.2", 18920, 77, 2, 300);
	expect_session(BIND, 0);
}
END_TEST

/* Where a call was signalled nobody else learns, however long it is elsewhere; it may come back, and a new call may be signalled there. */
START_TEST(test_binding_nat_rebind_keeps_its_home)
{
	begin(0, "10.77.0.2", 18920, F_NAT, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	stream("10.77.0.2", 40000, 77, 4, 100, true);
	expect_session(BIND, 0);
	begin(1, "10.77.0.2", UNKNOWN, F_UNKNOWN, 200);
	stream("10.77.0.2", 18920, 99, 8, 100000, false);
	expect_drop(INIT_AMBIGUOUS);
	begin(2, "10.77.0.2", 40000, 0, 101000);
	ck_assert(verdict.evicted && verdict.evicted_session.index == 0);
	packet("10.77.0.2", 18920, 99, 20, 102000);
	expect_session(BIND, 0);
}
END_TEST

/*
 * Back where it was signalled, the call has not learned its source: signalling of another call there makes two, and evicts
 * nobody.
 */
START_TEST(test_binding_nat_rebind_and_back)
{
	begin(0, "10.77.0.2", 18920, F_NAT, 0);
	packet("10.77.0.2", 18920, 77, 1, 0);
	stream("10.77.0.2", 40000, 77, 4, 100, true);
	expect_session(BIND, 0);
	stream("10.77.0.2", 18920, 77, 4, 1000, true);
	expect_session(BIND, 0);
	begin(1, "10.77.0.2", 18920, 0, 2000);
	ck_assert(!verdict.evicted);
	packet("10.77.0.2", 18920, 77, 9, 2000);
	expect_session(DELIVER, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("binding");

	group(suite, "calls", test_binding_new_refuses, test_binding_open_refuses, test_binding_dedicated_port_is_not_shared,
		test_binding_stale_generation);
	group(suite, "source", test_binding_exact_binds_at_once, test_binding_two_ports_of_one_address,
		test_binding_exact_never_takes_another_place, test_binding_exact_outside_its_trunk, test_binding_payload_type,
		test_binding_signalled_ssrc_binds_at_open, test_binding_same_source_is_ambiguous,
		test_binding_same_source_signalled_ssrc_after_move, test_binding_same_source_after_bind,
		test_binding_ssrc_collision, test_binding_ssrc_wrong_source);
	group(suite, "unknown-port", test_binding_unknown_port_probation, test_binding_unknown_port_learns_once,
		test_binding_unknown_ports_are_ambiguous, test_binding_exact_port_wins_over_unknown,
		test_binding_competing_streams_block, test_binding_late_competitor_blocks, test_binding_crowd_blocks,
		test_binding_quiet_stream_is_forgotten, test_binding_pending_limit, test_binding_strangers_make_no_state,
		test_binding_unknown_port_signalled_ssrc, test_binding_unknown_port_refuses_locked_ssrc, test_binding_dedicated,
		test_binding_signalling_evicts_learned);
	group(suite, "relock", test_binding_relock, test_binding_relock_refused_while_heard, test_binding_relock_competing);
	group(suite, "nat-rebind", test_binding_nat_rebind, test_binding_nat_rebind_only_if_unique,
		test_binding_nat_rebind_refused_while_heard, test_binding_nat_rebind_is_evicted_by_signalling,
		test_binding_nat_rebind_keeps_its_home, test_binding_nat_rebind_and_back);
	return unit_run(suite);
}
