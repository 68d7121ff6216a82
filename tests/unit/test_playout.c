/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The playout queue: continuity of sequence and timestamp, turns, flush, marks, what is sent when nothing is queued.
 */
#include <errno.h>
#include <string.h>

#include "dpdk_app/playout.h"
#include "unit.h"

static struct session_playout playout;

static void start(enum playout_idle idle)
{
	memset(&playout, 0x5a, sizeof(playout));
	playout_start(&playout, 77, 65530, UINT32_MAX - 400, 0, idle);
}

static int push(uint32_t turn, uint8_t value)
{
	uint8_t frame[PLAYOUT_FRAME_SIZE];

	memset(frame, value, sizeof(frame));
	return playout_push(&playout, turn, frame, sizeof(frame), 1000u + value);
}

static struct playout_packet beat(void)
{
	struct playout_packet packet;

	memset(&packet, 0x5a, sizeof(packet));
	playout_beat(&playout, &packet);
	return packet;
}

START_TEST(test_order)
{
	start(PLAYOUT_IDLE_SILENCE);
	/* Many times around the queue, filled to different depths. */
	uint8_t in = 0, out = 0;

	for (unsigned int round = 0; round < 100; round++) {
		unsigned int depth = round % (PLAYOUT_QUEUE_FRAMES + 1);

		for (unsigned int i = 0; i < depth; i++)
			ck_assert_int_eq(push(0, in++), 0);
		ck_assert_uint_eq(playout.queued, depth);
		for (unsigned int i = 0; i < depth; i++) {
			struct playout_packet packet = beat();

			ck_assert_int_eq(packet.action, PLAYOUT_SEND_FRAME);
			ck_assert_uint_eq(packet.payload_len, PLAYOUT_FRAME_SIZE);
			ck_assert_uint_eq(packet.payload[0], out);
			ck_assert_uint_eq(packet.payload[PLAYOUT_FRAME_SIZE - 1], out);
			out++;
		}
	}
}
END_TEST

/* The latency of a talkspurt is that of the message it begins with. */
START_TEST(test_message_time)
{
	start(PLAYOUT_IDLE_SILENCE);
	for (uint8_t spurt = 0; spurt < 40; spurt = (uint8_t)(spurt + 10)) {
		for (uint8_t i = 0; i < 3; i++)
			push(0, (uint8_t)(spurt + i));
		struct playout_packet packet = beat();

		ck_assert(packet.talkspurt);
		ck_assert_uint_eq(packet.message_tsc, 1000u + spurt);
		beat();
		/* The queue runs empty between two beats, and is filled in time: the talkspurt goes on. */
		packet = beat();
		ck_assert_uint_eq(playout.queued, 0);
		push(0, 99);
		packet = beat();
		ck_assert(!packet.talkspurt);
		ck_assert_uint_eq(packet.message_tsc, 0);
		ck_assert_int_eq(beat().action, PLAYOUT_SEND_SILENCE);
	}
}
END_TEST

START_TEST(test_limits)
{
	uint8_t frame[PLAYOUT_FRAME_SIZE + 1] = {0};

	start(PLAYOUT_IDLE_SILENCE);
	ck_assert_int_eq(playout_push(&playout, 0, frame, PLAYOUT_FRAME_SIZE - 1, 0), -EINVAL);
	ck_assert_int_eq(playout_push(&playout, 0, frame, PLAYOUT_FRAME_SIZE + 1, 0), -EINVAL);
	ck_assert_int_eq(playout_push(&playout, 0, frame, 0, 0), -EINVAL);
	ck_assert_int_eq(push(1, 0), -ESTALE);
	for (unsigned int i = 0; i < PLAYOUT_QUEUE_FRAMES; i++)
		ck_assert_int_eq(push(0, 0), 0);
	ck_assert_int_eq(push(0, 0), -ENOBUFS);
	beat();
	ck_assert_int_eq(push(0, 0), 0);
}
END_TEST

/* Whatever happens, sequence numbers follow each other and timestamps are the beat's. */
START_TEST(test_continuity)
{
	static const enum playout_idle modes[] = {PLAYOUT_IDLE_SILENCE, PLAYOUT_IDLE_COMFORT_NOISE, PLAYOUT_IDLE_NONE};

	for (size_t m = 0; m < 3; m++) {
		uint16_t seq = 65530;
		uint32_t timestamp = UINT32_MAX - 400, turn = 0, sent = 0;

		start(modes[m]);
		for (unsigned int i = 0; i < 2000; i++) {
			if (i % 7 == 0) {
				push(turn, 1);
				push(turn, 1);
			}
			if (i % 50 == 49)
				playout_flush(&playout, ++turn);
			if (i % 60 == 30)
				playout_mark(&playout, turn);
			if (i % 500 == 499) {
				playout_reattach(&playout);
				turn = 0;
			}
			struct playout_packet packet = beat();

			ck_assert_uint_eq(packet.timestamp, timestamp);
			timestamp += PLAYOUT_SAMPLES;
			if (packet.action == PLAYOUT_SEND_NOTHING) {
				ck_assert_int_ne(modes[m], PLAYOUT_IDLE_SILENCE);
				continue;
			}
			ck_assert_uint_eq(packet.seq, seq);
			seq++;
			sent++;
		}
		ck_assert_uint_eq(playout.packets, sent);
		ck_assert_uint_eq(playout.ssrc, 77);
	}
}
END_TEST

START_TEST(test_silence)
{
	static const struct {
		uint8_t payload_type, byte;
	} cases[] = {{0, 0xff}, {8, 0xd5}};

	for (size_t i = 0; i < 2; i++) {
		playout_start(&playout, 1, 2, 3, cases[i].payload_type, PLAYOUT_IDLE_SILENCE);
		for (unsigned int n = 0; n < 30; n++) {
			struct playout_packet packet = beat();

			ck_assert_int_eq(packet.action, PLAYOUT_SEND_SILENCE);
			ck_assert_uint_eq(packet.payload_type, cases[i].payload_type);
			ck_assert_uint_eq(packet.payload_len, PLAYOUT_FRAME_SIZE);
			for (unsigned int b = 0; b < PLAYOUT_FRAME_SIZE; b++)
				ck_assert_uint_eq(packet.payload[b], cases[i].byte);
			/* The stream's first packet only. */
			ck_assert_int_eq(packet.marker, n == 0);
		}
		push(0, 1);
		ck_assert(!beat().marker);
	}
}
END_TEST

START_TEST(test_comfort_noise)
{
	start(PLAYOUT_IDLE_COMFORT_NOISE);
	for (unsigned int round = 0; round < 3; round++) {
		/* At once, then every 200 ms. */
		for (unsigned int i = 0; i < 35; i++) {
			struct playout_packet packet = beat();

			if (i % 10 != 0) {
				ck_assert_int_eq(packet.action, PLAYOUT_SEND_NOTHING);
				continue;
			}
			ck_assert_int_eq(packet.action, PLAYOUT_SEND_NOISE);
			ck_assert_uint_eq(packet.payload_type, 13);
			ck_assert_uint_eq(packet.payload_len, 1);
			ck_assert_uint_le(packet.payload[0], 127);
			ck_assert(!packet.marker);
		}
		push(0, 1);
		push(0, 2);
		struct playout_packet packet = beat();

		ck_assert_int_eq(packet.action, PLAYOUT_SEND_FRAME);
		ck_assert(packet.marker);
		ck_assert(packet.talkspurt);
		packet = beat();
		ck_assert(!packet.marker);
		ck_assert(!packet.talkspurt);
	}
}
END_TEST

START_TEST(test_none)
{
	start(PLAYOUT_IDLE_NONE);
	for (unsigned int i = 0; i < 50; i++)
		ck_assert_int_eq(beat().action, PLAYOUT_SEND_NOTHING);
	push(0, 1);
	struct playout_packet packet = beat();

	ck_assert(packet.marker);
	ck_assert_uint_eq(packet.seq, 65530);
	ck_assert_uint_eq(packet.timestamp, UINT32_MAX - 400 + 50 * PLAYOUT_SAMPLES);
	ck_assert_int_eq(beat().action, PLAYOUT_SEND_NOTHING);
}
END_TEST

START_TEST(test_flush)
{
	start(PLAYOUT_IDLE_SILENCE);
	for (unsigned int i = 0; i < 5; i++)
		push(0, 1);
	beat();
	ck_assert_uint_eq(playout_flush(&playout, 1), 4);
	ck_assert_uint_eq(playout.flushed, 4);
	ck_assert_uint_eq(playout.queued, 0);
	/* Late frames of the old turn are not heard. */
	ck_assert_int_eq(push(0, 1), -ESTALE);
	ck_assert_int_eq(playout_mark(&playout, 0), -ESTALE);
	ck_assert_int_eq(beat().action, PLAYOUT_SEND_SILENCE);
	ck_assert_int_eq(push(1, 2), 0);
	ck_assert_uint_eq(beat().payload[0], 2);
	/* An interruption is no underrun. */
	ck_assert_uint_eq(playout_flush(&playout, 2), 0);
	beat();
	ck_assert_uint_eq(playout.underruns, 0);
}
END_TEST

START_TEST(test_mark)
{
	struct playout_packet packet;

	start(PLAYOUT_IDLE_SILENCE);
	push(0, 1);
	push(0, 2);
	ck_assert_int_eq(playout_mark(&playout, 0), 0);
	push(0, 3);
	ck_assert(!beat().drained);
	packet = beat();
	ck_assert(packet.drained);
	ck_assert_uint_eq(packet.drained_turn, 0);
	ck_assert(!beat().drained);
	/* Nothing queued: with the next beat. */
	ck_assert_int_eq(playout_mark(&playout, 0), 0);
	ck_assert(beat().drained);
	ck_assert(!beat().drained);
	/* Flushed: not by a beat; the caller of playout_flush() tells. */
	push(0, 1);
	playout_mark(&playout, 0);
	ck_assert(playout.marked);
	playout_flush(&playout, 9);
	ck_assert(!playout.marked);
	ck_assert(!beat().drained);
	push(9, 1);
	playout_mark(&playout, 9);
	ck_assert_uint_eq(beat().drained_turn, 9);
}
END_TEST

START_TEST(test_underrun)
{
	start(PLAYOUT_IDLE_SILENCE);
	push(0, 1);
	beat();
	beat();
	beat();
	ck_assert_uint_eq(playout.underruns, 1);
	/* The end of a turn is none. */
	push(0, 1);
	playout_mark(&playout, 0);
	beat();
	beat();
	ck_assert_uint_eq(playout.underruns, 1);
	/* A mark that comes after the last frame was sent, too. */
	push(0, 1);
	beat();
	playout_mark(&playout, 0);
	beat();
	ck_assert_uint_eq(playout.underruns, 1);
}
END_TEST

START_TEST(test_reattach)
{
	start(PLAYOUT_IDLE_SILENCE);
	playout_flush(&playout, 5);
	push(5, 1);
	playout_mark(&playout, 5);
	struct playout_packet before = beat();

	push(5, 1);
	playout_reattach(&playout);
	ck_assert_int_eq(push(5, 1), -ESTALE);
	struct playout_packet after = beat();

	ck_assert_int_eq(after.action, PLAYOUT_SEND_SILENCE);
	ck_assert(!after.drained);
	ck_assert_uint_eq(after.seq, (uint16_t)(before.seq + 1));
	ck_assert_uint_eq(after.timestamp, before.timestamp + PLAYOUT_SAMPLES);
	ck_assert_int_eq(push(0, 1), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("playout");

	unit_add(suite, "queue", test_order, test_message_time, test_limits);
	unit_add(suite, "stream", test_continuity);
	unit_add(suite, "idle", test_silence, test_comfort_noise, test_none);
	unit_add(suite, "turns", test_flush, test_mark, test_underrun, test_reattach);
	return unit_run(suite);
}
