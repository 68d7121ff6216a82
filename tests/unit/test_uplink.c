/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's audio: order, loss, silence, first words, pace. Payloads carry their own number as samples, so that order can be read off the output. */
#include "unit.h"

#include <string.h>

#include "ai_workers/uplink.h"

#define FRAME 160u

static struct uplink uplink;
static struct vl_worker_stats stats;
static uint64_t now;

static void begin_with(struct uplink_config config)
{
	uplink_init(&uplink, &config);
	memset(&stats, 0, sizeof(stats));
	now = 5000;
}

static void begin(void)
{
	begin_with((struct uplink_config){.law = VL_G711_PCMU, .payload_type = 0, .event_payload_type = 101, .message_ms = 40});
}

static void end(void)
{
	uplink_free(&uplink);
}

/* Packet number `n`: its payload is `code` throughout. */
static void packet(uint32_t n, uint8_t code)
{
	uint8_t payload[FRAME];

	memset(payload, code, sizeof(payload));
	uplink_packet(&uplink,
		&(struct uplink_packet){.payload = payload,
			.len = FRAME,
			.seq = (uint16_t)(65530 + n),
			.timestamp = 4294960000u + n * FRAME,
			.tsc = n + 1},
		now, &stats);
}

static void other_packet(uint32_t n, uint8_t payload_type)
{
	uint8_t payload[4] = {1, 2, 3, 4};

	uplink_packet(&uplink,
		&(struct uplink_packet){.payload = payload,
			.len = sizeof(payload),
			.seq = (uint16_t)(65530 + n),
			.timestamp = 4294960000u + n * FRAME,
			.payload_type = payload_type},
		now, &stats);
}

/* The queue as one code per 20 ms, 0 where a frame is not uniform. */
static void expect_queue(const uint8_t *codes, size_t count)
{
	uint8_t frame[FRAME];

	ck_assert_uint_eq(uplink.queue.len, count * FRAME);
	for (size_t i = 0; i < count; i++) {
		byte_queue_pop(&uplink.queue, frame, FRAME);
		for (size_t s = 0; s < FRAME; s++)
			ck_assert_msg(frame[s] == codes[i], "frame %zu sample %zu: %u, not %u", i, s, frame[s], codes[i]);
	}
}
#define EXPECT(...) expect_queue((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

#define COUNT(name) atomic_load(&stats.name)

START_TEST(test_uplink_in_order)
{
	for (uint32_t n = 0; n < 12; n++)
		packet(n, (uint8_t)(10 + n)); /* over the wrap of sequence and timestamp */
	EXPECT(10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21);
	ck_assert_uint_eq(COUNT(up_packets), 12);
	ck_assert_uint_eq(COUNT(up_lost) + COUNT(up_late), 0);
}
END_TEST

START_TEST(test_uplink_reordered)
{
	packet(0, 10);
	packet(2, 12);
	packet(3, 13);
	packet(1, 11);
	packet(4, 14);
	EXPECT(10, 11, 12, 13, 14);
	ck_assert_uint_eq(COUNT(up_lost) + COUNT(up_late), 0);
	ck_assert_uint_eq(uplink.waiting_count, 0);
}
END_TEST

START_TEST(test_uplink_duplicates)
{
	packet(0, 10);
	packet(0, 10);
	packet(2, 12);
	packet(2, 12);
	packet(1, 11);
	packet(1, 11);
	EXPECT(10, 11, 12);
	ck_assert_uint_eq(COUNT(up_late), 3);
}
END_TEST

START_TEST(test_uplink_loss_is_concealed)
{
	uint8_t frame[FRAME];

	packet(0, 0x20);
	packet(2, 0x20);
	now += UPLINK_WAIT_MS - 1;
	uplink_tick(&uplink, now, &stats);
	ck_assert_uint_eq(uplink.queue.len, FRAME); /* still waiting for 1 */
	now += 1;
	uplink_tick(&uplink, now, &stats);
	ck_assert_uint_eq(uplink.queue.len, 3 * FRAME);
	ck_assert_uint_eq(COUNT(up_lost), 1);
	byte_queue_pop(&uplink.queue, NULL, FRAME);
	byte_queue_pop(&uplink.queue, frame, FRAME);
	ck_assert_uint_ne(frame[80], 0xff); /* concealed from what was heard, not silent */
	/* The lost one comes after all: too late. */
	packet(1, 0x20);
	ck_assert_uint_eq(COUNT(up_late), 1);
	ck_assert_uint_eq(uplink.queue.len, FRAME);
}
END_TEST

START_TEST(test_uplink_window_full)
{
	packet(0, 10);
	for (uint32_t n = 2; n < 2 + UPLINK_WINDOW + 1; n++)
		packet(n, 20); /* one more than can wait */
	ck_assert_uint_eq(COUNT(up_lost), 1);
	ck_assert_uint_eq(uplink.waiting_count, 0);
	ck_assert_uint_eq(uplink.queue.len, (2 + UPLINK_WINDOW + 1) * FRAME);
}
END_TEST

START_TEST(test_uplink_jump)
{
	packet(0, 10);
	packet(5000, 11); /* one packet is not believed */
	packet(1, 12);
	packet(9000, 13);
	packet(9001, 14); /* the next confirms it */
	packet(9002, 15);
	EXPECT(10, 12, 14, 15);
	ck_assert_uint_eq(COUNT(up_late), 2);
	ck_assert_uint_eq(COUNT(up_lost), 0);
}
END_TEST

/* Hold and transfer bring a new SSRC: its first words are heard, wherever its numbers begin, and what waited of the old one too. */
START_TEST(test_uplink_new_stream)
{
	static const int32_t behind[] = {-30000, -100, -99, -3, -1, 0, 1, 99, 100, 101, 30000};
	uint8_t payload[FRAME];

	for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
		for (int same_clock = 0; same_clock < 2; same_clock++) {
			end();
			begin();
			packet(200, 10);
			packet(202, 12); /* waits for 201 */
			for (uint32_t n = 0; n < 3; n++) {
				memset(payload, (int)(20 + n), sizeof(payload));
				uplink_packet(&uplink,
					&(struct uplink_packet){.payload = payload,
						.len = FRAME,
						.ssrc = 7,
						.seq = (uint16_t)(65530 + 203 + behind[i] + (int32_t)n),
						.timestamp = same_clock ? 4294960000u +
										  (uint32_t)(203 + behind[i] + (int32_t)n) * FRAME
									: 123456 + n * FRAME},
					now, &stats);
			}
			ck_assert_uint_eq(COUNT(up_late), 0);
			ck_assert_uint_eq(COUNT(up_lost), 1);
			ck_assert_uint_eq(uplink.queue.len, 6 * FRAME);
			byte_queue_pop(&uplink.queue, NULL, 2 * FRAME);
			EXPECT(12, 20, 21, 22);
		}
	}
}
END_TEST

START_TEST(test_uplink_not_audio)
{
	packet(0, 10);
	other_packet(1, 101); /* telephone-event */
	other_packet(2, 13);  /* comfort noise */
	other_packet(3, 96);  /* nothing we asked for */
	packet(4, 11);
	EXPECT(10, 0xff, 0xff, 0xff, 11);
	ck_assert_uint_eq(COUNT(up_unwanted), 1);
	ck_assert_uint_eq(COUNT(up_lost), 0);
}
END_TEST

/* Silence suppression: the sequence goes on, the timestamps jump. What the clock has already filled is not filled twice. */
START_TEST(test_uplink_suppressed)
{
	uint8_t payload[FRAME];

	packet(0, 10);
	for (int i = 0; i < 40; i++) {
		now += 5;
		uplink_tick(&uplink, now, &stats);
	}
	ck_assert_uint_eq(uplink.queue.len, FRAME + 2 * 320); /* 200 ms minus the stall allowance, in whole messages */
	memset(payload, 11, sizeof(payload));
	uplink_packet(&uplink,
		&(struct uplink_packet){.payload = payload, .len = FRAME, .seq = 65531, .timestamp = 4294960000u + 11 * FRAME},
		now, &stats);
	EXPECT(10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 11);
}
END_TEST

START_TEST(test_uplink_stream_ends)
{
	size_t silence;

	packet(0, 10);
	for (int i = 0; i < 2000; i++) {
		now += 5;
		uplink_tick(&uplink, now, &stats);
	}
	silence = uplink.queue.len - FRAME;
	ck_assert_uint_eq(silence, UPLINK_SILENCE_MS * UPLINK_SAMPLES_PER_MS);
	ck_assert(uplink_take_end(&uplink));
	ck_assert(!uplink_take_end(&uplink));
	/* The caller is heard again: the stream goes on, and ends again. */
	packet(1, 11);
	ck_assert_uint_eq(uplink.queue.len, 2 * FRAME + silence);
	for (int i = 0; i < 2000; i++) {
		now += 5;
		uplink_tick(&uplink, now, &stats);
	}
	ck_assert(uplink_take_end(&uplink));
}
END_TEST

START_TEST(test_uplink_hold)
{
	packet(0, 10);
	uplink_hold(&uplink, true);
	packet(1, 11); /* music on hold is not for the model */
	ck_assert_uint_eq(uplink.queue.len, FRAME);
	uplink_hold(&uplink, false);
	packet(500, 12);
	EXPECT(10, 12);
}
END_TEST

/* Before the session is ready the newest ten seconds are kept; then they go out at twice real time at most. */
START_TEST(test_uplink_first_words)
{
	int16_t pcm[UPLINK_MESSAGE_MS_MAX * UPLINK_SAMPLES_PER_MS];
	uint64_t start;
	size_t messages = 0;

	for (uint32_t n = 0; n < 600; n++)
		packet(n, n < 100 ? 10 : 11);
	ck_assert_uint_eq(uplink.queue.len, UPLINK_BACKLOG_MS * UPLINK_SAMPLES_PER_MS);
	ck_assert_uint_eq(COUNT(up_discarded_ms), 2000);
	start = now;
	while (uplink.queue.len >= uplink_message_samples(&uplink)) {
		while (uplink_due(&uplink, now)) {
			uplink_take(&uplink, pcm, now);
			messages++;
		}
		now += 5;
	}
	ck_assert_uint_eq(messages, UPLINK_BACKLOG_MS / 40);
	ck_assert_uint_ge(now - start, UPLINK_BACKLOG_MS / 2 - 40);
	ck_assert_uint_le(now - start, UPLINK_BACKLOG_MS / 2 + 40);
}
END_TEST

START_TEST(test_uplink_message)
{
	int16_t pcm[320];

	packet(0, 0x80);
	ck_assert(!uplink_due(&uplink, now));
	packet(1, 0x80);
	ck_assert(uplink_due(&uplink, now));
	ck_assert_uint_eq(uplink_message_samples(&uplink), 320);
	ck_assert_uint_eq(uplink_take(&uplink, pcm, now), 2); /* the arrival of the second */
	for (int i = 0; i < 320; i++)
		ck_assert_int_eq(pcm[i], 32124); /* mu-law 0x80 is full scale */
	ck_assert(!uplink_due(&uplink, now));
}
END_TEST

/* What is sent late counts with its whole age, but not what waited for a session. */
START_TEST(test_uplink_age)
{
	int16_t pcm[320];

	for (uint32_t n = 0; n < 5; n++)
		packet(n, 10);
	ck_assert_uint_eq(uplink_take(&uplink, pcm, now), 5); /* the newest that came, */
	ck_assert_uint_eq(uplink_behind_us(&uplink), 60000);  /* 60 ms after what was taken */
	now += 40;
	ck_assert_uint_eq(uplink_take(&uplink, pcm, now), 5);
	ck_assert_uint_eq(uplink_behind_us(&uplink), 20000);
	packet(5, 10);
	packet(6, 10);
	packet(7, 10);
	uplink_ready(&uplink); /* after a gap */
	now += 40;
	ck_assert_uint_eq(uplink_take(&uplink, pcm, now), 0);
	now += 40;
	ck_assert_uint_eq(uplink_take(&uplink, pcm, now), 0);
	packet(8, 10);
	packet(9, 10);
	now += 40;
	ck_assert_uint_eq(uplink_take(&uplink, pcm, now), 10);
	ck_assert_uint_eq(uplink_behind_us(&uplink), 0);
	/* Ready at once: nothing has waited. */
	packet(10, 10);
	uplink_ready(&uplink);
	packet(11, 10);
	now += 40;
	ck_assert_uint_eq(uplink_take(&uplink, pcm, now), 12);
}
END_TEST

/* Payloads of any size and garbage numbers: nothing but bounded memory. */
/* Send `count` messages of `code`. */
static void send_messages(unsigned int count, uint8_t code, bool voiced)
{
	int16_t pcm[UPLINK_MESSAGE_MS_MAX * UPLINK_SAMPLES_PER_MS];

	uplink.voiced = voiced;
	while (count-- > 0) {
		byte_queue_fill(&uplink.queue, code, 2 * FRAME);
		uplink_take(&uplink, pcm, now);
		now += 40;
	}
}

/* Words that the service has not heard go in front of what came since, each with its beginning and without the silence behind it. */
START_TEST(test_uplink_said_again)
{
	uint8_t bytes[80 * FRAME];
	uint64_t begun;

	send_messages(20, 1, false);
	ck_assert_uint_eq(uplink.before.len, UPLINK_BEFORE_MS * UPLINK_SAMPLES_PER_MS);
	ck_assert_uint_eq(uplink.unheard.len, 0);
	begun = now;
	send_messages(25, 2, true);
	send_messages(100, 3, false);
	send_messages(5, 4, true);
	byte_queue_fill(&uplink.queue, 5, FRAME);
	ck_assert_uint_eq(uplink_send_again(&uplink, false, &stats), begun);
	ck_assert_uint_eq(uplink.queue.len, (10 + 50 + 10 + 10 + 1) * FRAME);
	byte_queue_pop(&uplink.queue, bytes, sizeof(bytes));
	ck_assert_uint_eq(bytes[0], 1);
	ck_assert_uint_eq(bytes[10 * FRAME], 2);
	ck_assert_uint_eq(bytes[60 * FRAME - 1], 2);
	ck_assert_uint_eq(bytes[60 * FRAME], 3);
	ck_assert_uint_eq(bytes[70 * FRAME], 4);
	ck_assert_uint_eq(uplink.queue.len, FRAME);
	ck_assert_uint_eq(uplink.discarded, 0);
	byte_queue_pop(&uplink.queue, NULL, FRAME);
	for (int all = 0; all < 2; all++)
		ck_assert_uint_eq(uplink_send_again(&uplink, all, &stats), 0);
	ck_assert_uint_eq(uplink.queue.len, 0);
}
END_TEST

/* A dead path has brought what was sent before its last sign of life; a service that has shown nothing of it may have heard none. */
START_TEST(test_uplink_arrived_is_not_heard)
{
	for (int all = 0; all < 2; all++) {
		uint64_t first, second;

		first = now;
		send_messages(25, 1, true);
		send_messages(3, 3, false);
		uplink_arrived(&uplink, now);
		ck_assert_uint_eq(uplink.unarrived_ms, 0);
		ck_assert_uint_eq(uplink.unheard_ms, first);
		send_messages(7, 3, false);
		second = now;
		send_messages(10, 2, true);
		ck_assert_uint_eq(uplink_send_again(&uplink, all, &stats), all ? first : second);
		/* What came just before the sign of life may not have been behind it. */
		ck_assert_uint_eq(uplink.queue.len, ((all ? 50 : 10) + 10 + 20) * FRAME);
		ck_assert_uint_eq(uplink.discarded, 0);
		end();
		begin();
	}
	send_messages(25, 1, true);
	uplink_arrived(&uplink, now);
	ck_assert_uint_eq(uplink_send_again(&uplink, false, &stats), 0);
	ck_assert_uint_eq(uplink.queue.len, 0);
	ck_assert_uint_eq(uplink_send_again(&uplink, true, &stats), 0);
}
END_TEST

/* The end of a word is still under way for a moment, and no longer. */
START_TEST(test_uplink_under_way)
{
	for (unsigned int ms = 100; ms <= 300; ms += 200) {
		send_messages(25, 1, true);
		now += ms - 40;
		uplink_arrived(&uplink, now);
		send_messages(1, 1, true);
		ck_assert_uint_ne(uplink_send_again(&uplink, false, &stats), 0);
		ck_assert_uint_eq(uplink.queue.len, (ms < 200 ? 10 + 2 : 2) * FRAME);
		end();
		begin();
		send_messages(25, 1, true);
		now += ms - 40;
		uplink_heard(&uplink, now);
		send_messages(1, 1, true);
		ck_assert_uint_ne(uplink_send_again(&uplink, true, &stats), 0);
		ck_assert_uint_eq(uplink.queue.len, (ms < 200 ? 10 + 2 : 2) * FRAME);
		end();
		begin();
	}
	/* Without silence in between what came before a word is the end of the last one. */
	send_messages(5, 3, false);
	now += 400;
	send_messages(1, 1, true);
	ck_assert_uint_ne(uplink_send_again(&uplink, true, &stats), 0);
	ck_assert_uint_eq(uplink.queue.len, 2 * FRAME);
	end();
	begin();
	send_messages(25, 1, true);
	uplink_forget(&uplink);
	send_messages(1, 1, true);
	ck_assert_uint_ne(uplink_send_again(&uplink, true, &stats), 0);
	ck_assert_uint_eq(uplink.queue.len, 2 * FRAME);
}
END_TEST

/* What the service has heard is not said twice, and what is kept is bounded; what is too much is counted, of what is said again only. */
START_TEST(test_uplink_unheard_is_bounded)
{
	for (int all = 0; all < 2; all++) {
		send_messages(50, 1, true);
		uplink_heard(&uplink, now);
		ck_assert_uint_eq(uplink_send_again(&uplink, all, &stats), 0);
		ck_assert_uint_eq(uplink.queue.len, 0);
	}
	send_messages(250, 2, true);
	ck_assert_uint_le(uplink.unheard.capacity, 65536);
	ck_assert_uint_ne(uplink_send_again(&uplink, true, &stats), 0);
	ck_assert_uint_eq(uplink.queue.len, UPLINK_UNHEARD_MS * UPLINK_SAMPLES_PER_MS);
	ck_assert_uint_eq(uplink.discarded, (2000 + UPLINK_BEFORE_MS) * UPLINK_SAMPLES_PER_MS);
	ck_assert_uint_eq(stats.up_discarded_ms, 2000 + UPLINK_BEFORE_MS);
	send_messages(10, 4, true);
	uplink_heard(&uplink, now);
	ck_assert_uint_le(uplink.unheard.capacity + uplink.before.capacity, 4096);
	/* Too much came, but what arrived before the sign of life is not missed by a path that died behind it. */
	send_messages(250, 2, true);
	uplink_arrived(&uplink, now);
	send_messages(100, 2, true);
	byte_queue_clear(&uplink.queue);
	uplink.discarded = 0;
	ck_assert_uint_ne(uplink_send_again(&uplink, false, &stats), 0);
	ck_assert_uint_eq(uplink.discarded, 0);
}
END_TEST

START_TEST(test_uplink_hostile)
{
	uint8_t payload[992];
	uint32_t random = 7;

	memset(payload, 0x55, sizeof(payload));
	for (int i = 0; i < 200000; i++) {
		struct uplink_packet p = {.payload = payload};

		random = random * 1664525u + 1013904223u;
		p.len = (uint16_t)(random >> 8) % 993;
		p.seq = i % 3 == 0 ? (uint16_t)(random >> 16) : (uint16_t)(uplink.next_seq + (random >> 28));
		p.timestamp = i % 5 == 0 ? random : uplink.next_timestamp + ((random >> 20) & 2047);
		p.payload_type = (random & 0xf00) == 0 ? 13 : 0;
		uplink_packet(&uplink, &p, now, &stats);
		now += (random >> 30);
		uplink_tick(&uplink, now, &stats);
		ck_assert_uint_le(uplink.queue.len, UPLINK_BACKLOG_MS * UPLINK_SAMPLES_PER_MS);
		ck_assert_uint_le(uplink.waiting_count, UPLINK_WINDOW);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("uplink");

	unit_add_fixture(suite, "order", begin, end, test_uplink_in_order, test_uplink_reordered, test_uplink_duplicates,
		test_uplink_window_full, test_uplink_jump, test_uplink_new_stream);
	unit_add_fixture(suite, "gaps", begin, end, test_uplink_loss_is_concealed, test_uplink_not_audio, test_uplink_suppressed,
		test_uplink_stream_ends, test_uplink_hold);
	unit_add_fixture(suite, "pace", begin, end, test_uplink_first_words, test_uplink_message, test_uplink_age);
	unit_add_fixture(suite, "again", begin, end, test_uplink_said_again, test_uplink_arrived_is_not_heard,
		test_uplink_under_way, test_uplink_unheard_is_bounded);
	unit_add_fixture(suite, "hostile", begin, end, test_uplink_hostile);
	return unit_run(suite);
}
