/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receive accounting: RFC 3550 A.1, A.3, A.8, duplicates, restarts.
 */
#include <string.h>

#include "dpdk_app/receive.h"
#include "unit.h"

static struct session_receive receive;

static void setup(void)
{
	memset(&receive, 0, sizeof(receive));
}

/* One packet on time: timestamps and arrivals advance together. */
static bool account(uint32_t ssrc, uint16_t seq)
{
	struct packet packet = {.kind = PACKET_RTP, .key.ssrc = ssrc, .seq = seq, .timestamp = 160u * seq, .payload_len = 160};

	return receive_account(&receive, &packet, true, 160u * seq + 5000, 1000u + seq);
}

/* Sequences of numbers and what must come of them. -1 ends a sequence. */
START_TEST(test_sequences)
{
	static const struct {
		const char *name;
		int seqs[12];
		uint32_t packets, expected, lost, duplicates, reordered;
	} cases[] = {
		{"in order", {1, 2, 3, 4, -1}, 4, 4, 0, 0, 0},
		{"one lost", {1, 2, 4, -1}, 3, 4, 1, 0, 0},
		{"swapped", {1, 3, 2, 4, -1}, 4, 4, 0, 0, 1},
		{"duplicate", {1, 2, 2, 3, -1}, 3, 3, 0, 1, 0},
		{"duplicate of a swapped one", {1, 3, 2, 2, 4, -1}, 4, 4, 0, 1, 1},
		{"duplicate of the first", {10, 10, -1}, 1, 1, 0, 1, 0},
		{"wrap", {65534, 65535, 0, 1, -1}, 4, 4, 0, 0, 0},
		{"loss over the wrap", {65534, 1, 2, -1}, 3, 5, 2, 0, 0},
		{"late over the wrap", {65535, 1, 0, 2, -1}, 4, 4, 0, 0, 1},
		{"duplicate over the wrap", {65535, 0, 65535, -1}, 2, 2, 0, 1, 0},
		{"before the first", {10, 9, 11, -1}, 3, 2, 0, 0, 1},
		{"31 back: known", {100, 131, 100, -1}, 2, 32, 30, 1, 0},
		{"32 back: not known any more", {100, 132, 100, -1}, 3, 33, 30, 0, 1},
		{"100 back is late", {1000, 1200, 1100, -1}, 3, 201, 198, 0, 1},
		{"101 back is a jump, its packet delivered", {1000, 1200, 1099, -1}, 3, 201, 198, 0, 0},
		{"2999 ahead is loss", {1, 3000, -1}, 2, 3000, 2998, 0, 0},
		{"3000 ahead is a jump", {1, 3001, -1}, 2, 1, 0, 0, 0},
		{"restart confirmed", {1, 2, 40000, 40001, 40002, -1}, 5, 5, 0, 0, 0},
		{"restart confirmed, then loss", {1, 2, 40000, 40001, 40003, -1}, 5, 6, 1, 0, 0},
		{"late ones from before the wrap", {1, 2, 65535, 0, 1, -1}, 4, 2, 0, 1, 2},
		{"restart from the middle over the wrap", {30000, 65535, 0, 1, -1}, 4, 4, 0, 0, 0},
		{"a stray one does not restart", {1, 2, 40000, 3, 4, -1}, 5, 4, 0, 0, 0},
		{"two strays do not restart", {1, 2, 40000, 50000, 3, -1}, 5, 3, 0, 0, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup();
		for (size_t n = 0; cases[i].seqs[n] >= 0; n++)
			account(7, (uint16_t)cases[i].seqs[n]);
		ck_assert_msg(receive.packets == cases[i].packets, "%s: %u packets", cases[i].name, receive.packets);
		ck_assert_msg(receive_expected(&receive) == cases[i].expected, "%s: expected %u", cases[i].name,
			receive_expected(&receive));
		ck_assert_msg(receive_lost(&receive) == cases[i].lost, "%s: lost %u", cases[i].name, receive_lost(&receive));
		ck_assert_msg(receive.duplicates == cases[i].duplicates, "%s: duplicates", cases[i].name);
		ck_assert_msg(receive.reordered == cases[i].reordered, "%s: reordered", cases[i].name);
	}
}
END_TEST

START_TEST(test_result)
{
	ck_assert(account(7, 1));
	ck_assert(account(7, 3));
	ck_assert(!account(7, 3));
	ck_assert(account(7, 2));
	ck_assert(!account(7, 2));
	ck_assert_uint_eq(receive.bytes, 3 * 160);
	ck_assert_uint_eq(receive.last_tsc, 1002);
}
END_TEST

/* Every order in which a number comes twice within the window is recognised. */
START_TEST(test_window)
{
	for (uint32_t start = 64500; start < 65536; start += 67) {
		setup();
		for (uint16_t i = 0; i < 1000; i++)
			ck_assert(account(7, (uint16_t)(start + i)));
		for (uint16_t back = 0; back < RECEIVE_WINDOW; back++)
			ck_assert(!account(7, (uint16_t)(start + 999 - back)));
		ck_assert_uint_eq(receive_lost(&receive), 0);
		ck_assert_uint_eq(receive_expected(&receive), 1000);
	}
}
END_TEST

START_TEST(test_ssrc_change)
{
	for (uint16_t i = 0; i < 10; i++)
		account(7, (uint16_t)(100 + i));
	account(7, 111); /* 110 lost */
	/* Hold or transfer: another SSRC, and by chance near the old sequence. */
	for (uint16_t i = 0; i < 10; i++)
		ck_assert(account(8, (uint16_t)(105 + i)));
	ck_assert_uint_eq(receive.packets, 21);
	ck_assert_uint_eq(receive_expected(&receive), 22);
	ck_assert_uint_eq(receive_lost(&receive), 1);
	ck_assert_uint_eq(receive.duplicates, 0);
}
END_TEST

START_TEST(test_long_call)
{
	/* Three wraps of the sequence: the extended numbers must not lose one. */
	for (uint32_t i = 0; i < 200000; i++)
		ck_assert(account(7, (uint16_t)(i + 60000)));
	ck_assert_uint_eq(receive_expected(&receive), 200000);
	ck_assert_uint_eq(receive_lost(&receive), 0);
}
END_TEST

START_TEST(test_jitter)
{
	struct packet packet = {.kind = PACKET_RTP, .key.ssrc = 7, .payload_len = 160};
	uint32_t arrival = 5;

	/* On time: none. */
	for (uint32_t i = 0; i < 100; i++) {
		packet.seq = (uint16_t)i;
		packet.timestamp = 160 * i;
		receive_account(&receive, &packet, true, arrival + 160 * i, i);
	}
	ck_assert_uint_eq(receive_jitter_us(&receive), 0);
	/* Every second one 5 ms (40 units) late: the estimate tends to 40 units. */
	for (uint32_t i = 100; i < 400; i++) {
		packet.seq = (uint16_t)i;
		packet.timestamp = 160 * i;
		receive_account(&receive, &packet, true, arrival + 160 * i + (i % 2 ? 40 : 0), i);
	}
	ck_assert_uint_ge(receive_jitter_us(&receive), 4500);
	ck_assert_uint_le(receive_jitter_us(&receive), 5100);
	uint32_t before = receive.jitter_q4;

	/* Neither a talkspurt after a pause, nor telephone-event, nor a step of the sender's clock is jitter. */
	packet.seq++;
	packet.timestamp += 160;
	packet.marker = true;
	receive_account(&receive, &packet, true, arrival + 400 * 160 + 3000, 400);
	packet.marker = false;
	packet.seq++;
	receive_account(&receive, &packet, false, arrival + 401 * 160 + 6000, 401);
	packet.seq++;
	packet.timestamp += 1000000;
	receive_account(&receive, &packet, true, arrival + 402 * 160 + 3000, 402);
	ck_assert_uint_eq(receive.jitter_q4, before);
}
END_TEST

START_TEST(test_dropped_and_reset)
{
	static const struct session_receive zero;

	account(7, 65535);
	account(7, 0);
	receive_dropped(&receive);
	ck_assert_uint_eq(receive.dropped, 1);
	receive_reset(&receive);
	ck_assert_mem_eq(&receive, &zero, sizeof(zero));
	ck_assert_uint_eq(receive_expected(&receive), 0);
	ck_assert_uint_eq(receive_lost(&receive), 0);
}
END_TEST

/* Packets `offered` at once, every `interval` units, for ten seconds; returns how many may pass. */
static unsigned int admitted(uint32_t start, uint32_t interval, unsigned int at_once)
{
	unsigned int passed = 0;

	for (uint32_t t = 0; t < 10 * RECEIVE_CLOCK_HZ; t += interval) {
		for (unsigned int i = 0; i < at_once; i++)
			passed += receive_admit(&receive, start + t);
	}
	return passed;
}

START_TEST(test_admit)
{
	static const struct {
		uint32_t interval, at_once, least, most;
	} cases[] = {
		{160, 1, 500, 500},	/* 20 ms */
		{80, 1, 1000, 1000},	/* 10 ms */
		{40, 1, 2000, 2000},	/* the limit */
		{10240, 64, 512, 512},	/* the network held 64 packets back, time after time */
		{8, 1, 2060, 2066},	/* five times the limit */
		{160, 100, 2060, 2066}, /* 5,000 a second */
	};
	/* Also over the wrap of the units. */
	static const uint32_t starts[] = {5000, 0xffffff00, 0x7fffff00};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t k = 0; k < sizeof(starts) / sizeof(starts[0]); k++) {
			setup();
			unsigned int passed = admitted(starts[k], cases[i].interval, cases[i].at_once);

			ck_assert_msg(
				passed >= cases[i].least && passed <= cases[i].most, "case %zu, start %zu: %u", i, k, passed);
		}
	}
}
END_TEST

/* A call may rest for days, or meet an lcore whose turn began a little earlier; neither opens or shuts the gate. */
START_TEST(test_admit_after_rest)
{
	static const uint32_t rests[] = {2521, 8001, 0x7fffffff, 0x80000000, 0xfffff000 - 8001};

	for (size_t i = 0; i < sizeof(rests) / sizeof(rests[0]); i++) {
		setup();
		while (receive_admit(&receive, 1000))
			;
		ck_assert(!receive_admit(&receive, 1000 - 30));
		ck_assert_msg(receive_admit(&receive, 1000 + rests[i]), "rest %zu", i);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("receive");

	unit_add_fixture(suite, "accounting", setup, NULL, test_sequences, test_result, test_window, test_ssrc_change,
		test_long_call, test_jitter, test_dropped_and_reset);
	unit_add_fixture(suite, "rate", setup, NULL, test_admit, test_admit_after_rest);
	return unit_run(suite);
}
