/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small world for the tests of the binding rules: one data plane, two trunks, calls and packets named in one line.
 */
#pragma once

#include <errno.h>
#include <string.h>

#include "dpdk_app/binding.h"
#include "unit.h"

#define SESSIONS   16u
#define QUARANTINE 30000u
#define PCMU	   0u
#define EVENTS	   101u
#define RTP_PORT   10000u
#define UNKNOWN	   5004u /* the trunk's default port: not known */

static struct binding *rules;
static struct binding_verdict verdict;
static struct ip_prefix sources[3], other_sources[1];
static uint64_t heard_ms[SESSIONS]; /* what last_heard_ms answers */

/* What binding_session a test opens, beyond the remote endpoint. */
enum {
	F_UNKNOWN = 1,
	F_DEDICATED = 2, /* local port 20000 + 2 * index */
	F_NAT = 4,
	F_SSRC = 8, /* signalled SSRC 0x51000000 + index */
	F_OTHER_TRUNK = 16,
};

static uint64_t last_heard(void *context, struct session_ref session)
{
	ck_assert_ptr_eq(context, heard_ms);
	return heard_ms[session.index];
}

static inline void start(uint32_t max_pending, uint32_t quarantine_ms, bool with_heard)
{
	struct binding_limits limits = {.max_sessions = SESSIONS,
		.max_pending = max_pending,
		.quarantine_ms = quarantine_ms,
		.hash_seed = 42,
		.last_heard_ms = with_heard ? last_heard : NULL,
		.context = heard_ms};

	memset(heard_ms, 0, sizeof(heard_ms));
	ck_assert_int_eq(ip_prefix_parse("10.77.0.0/24", &sources[0]), 0);
	ck_assert_int_eq(ip_prefix_parse("2001:db8::/32", &sources[1]), 0);
	ck_assert_int_eq(ip_prefix_parse("192.168.50.50", &sources[2]), 0);
	ck_assert_int_eq(ip_prefix_parse("10.78.0.0/24", &other_sources[0]), 0);
	binding_free(rules);
	rules = binding_new(&limits);
	ck_assert_ptr_nonnull(rules);
}

static inline void setup(void)
{
	start(2 * SESSIONS, QUARANTINE, false);
}

static inline void teardown(void)
{
	binding_free(rules);
	rules = NULL;
}

static inline struct endpoint at(const char *address, uint16_t port)
{
	struct endpoint endpoint = {.port = port};

	ck_assert_int_eq(ip_address_parse(address, &endpoint.address), 0);
	return endpoint;
}

static inline struct session_ref ref(uint32_t index)
{
	return (struct session_ref){.index = index, .generation = index + 100};
}

static inline struct endpoint local_of(uint32_t index, unsigned int flags, const char *remote)
{
	const char *address = strchr(remote, ':') != NULL ? "2001:db8::1" : "10.77.0.1";

	return at(address, (uint16_t)(flags & F_DEDICATED ? 20000u + 2 * index : RTP_PORT));
}

static inline int open_ref(struct session_ref session_ref, const char *address, uint16_t port, unsigned int flags, uint64_t now)
{
	struct binding_session session = {
		.local = local_of(session_ref.index, flags, address),
		.remote = at(address, port),
		.remote_port_unknown = flags & F_UNKNOWN,
		.dedicated = flags & F_DEDICATED,
		.allow_nat_rebind = flags & F_NAT,
		.ssrc_known = flags & F_SSRC,
		.ssrc = flags & F_SSRC ? 0x51000000 + session_ref.index : 0,
		.payload_type = PCMU,
		.event_payload_type = EVENTS,
		.sources = flags & F_OTHER_TRUNK ? other_sources : sources,
		.source_count = flags & F_OTHER_TRUNK ? 1 : 3,
	};

	return binding_open(rules, session_ref, &session, now, &verdict);
}

/* Open session `index`; it must work. */
static inline void begin(uint32_t index, const char *address, uint16_t port, unsigned int flags, uint64_t now)
{
	ck_assert_int_eq(open_ref(ref(index), address, port, flags, now), 0);
}

static inline bool end(uint32_t index, uint64_t now)
{
	struct flow_key unbound;

	return binding_close(rules, ref(index), now, &unbound);
}

static inline int move(uint32_t index, const char *address, uint16_t port, bool unknown, uint64_t now)
{
	struct endpoint remote = at(address, port);

	return binding_move(rules, ref(index), &remote, unknown, now, &verdict);
}

static inline struct flow_key key_at(struct endpoint local, const char *address, uint16_t port, uint32_t ssrc)
{
	return (struct flow_key){.local = local.address,
		.local_port = local.port,
		.remote = at(address, 0).address,
		.remote_port = port,
		.ssrc = ssrc};
}

static inline void packet_to(struct endpoint local, const char *address, uint16_t port, uint32_t ssrc, uint16_t seq,
	uint8_t payload_type, bool rtcp, uint64_t now)
{
	struct binding_packet packet = {
		.key = key_at(local, address, port, ssrc), .seq = seq, .payload_type = payload_type, .rtcp = rtcp};

	binding_packet(rules, &packet, now, &verdict);
}

/* One PCMU packet to the shared port. */
static inline void packet(const char *address, uint16_t port, uint32_t ssrc, uint16_t seq, uint64_t now)
{
	packet_to(local_of(0, 0, address), address, port, ssrc, seq, PCMU, false, now);
}

/* `count` packets in sequence, 20 ms apart; the verdict is the last one's. Every one before must have been WAIT if `waits`. */
static inline void stream(const char *address, uint16_t port, uint32_t ssrc, unsigned int count, uint64_t now, bool waits)
{
	for (unsigned int i = 0; i < count; i++) {
		packet(address, port, ssrc, (uint16_t)(65534 + i), now + 20 * i);
		if (waits && i + 1 < count)
			ck_assert_int_eq(verdict.action, BINDING_WAIT);
	}
}

#define expect_drop(why)                                                                          \
	do {                                                                                      \
		ck_assert_int_eq(verdict.action, BINDING_DROP);                                   \
		ck_assert_str_eq(drop_reason_name(verdict.reason), drop_reason_name(DROP_##why)); \
	} while (0)

#define expect_session(what, number)                                                   \
	do {                                                                           \
		ck_assert_int_eq(verdict.action, BINDING_##what);                      \
		ck_assert_uint_eq(verdict.session.index, ref(number).index);           \
		ck_assert_uint_eq(verdict.session.generation, ref(number).generation); \
	} while (0)

static inline void expect_counts(uint32_t sessions, uint32_t bound, uint32_t pending)
{
	struct binding_counts counts;

	binding_count(rules, &counts);
	ck_assert_uint_eq(counts.sessions, sessions);
	ck_assert_uint_eq(counts.bound, bound);
	ck_assert_uint_eq(counts.pending, pending);
}

/* A tcase of one behaviour, every test in a world of its own. */
#define group(suite, name, ...)                                                  \
	do {                                                                     \
		const TTest *const tests_[] = {__VA_ARGS__};                     \
		TCase *tcase_ = tcase_create(name);                              \
		tcase_add_checked_fixture(tcase_, setup, teardown);              \
		tcase_set_timeout(tcase_, 30);                                   \
		for (size_t i_ = 0; i_ < sizeof(tests_) / sizeof(*tests_); i_++) \
			tcase_add_test(tcase_, tests_[i_]);                      \
		suite_add_tcase(suite, tcase_);                                  \
	} while (0)
