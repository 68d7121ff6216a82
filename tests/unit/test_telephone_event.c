/* SPDX-License-Identifier: Apache-2.0 */
/* Keys towards the caller: what is on the wire beat by beat, and what becomes of the voice meanwhile. */
#include "dpdk_app/telephone_event.h"

#include <string.h>

#include "unit.h"

static struct telephone_event event;
static struct session_playout playout;
static struct playout_packet packet;

static void begin(void)
{
	memset(&event, 0, sizeof(event));
	memset(&playout, 0, sizeof(playout));
	playout_start(&playout, 7, 100, 5000, 0, PLAYOUT_IDLE_SILENCE);
	playout_beat(&playout, &packet); /* the stream has begun */
}

static void beat(void)
{
	if (telephone_event_is_active(&event))
		telephone_event_beat(&event, &playout, &packet);
	else
		playout_beat(&playout, &packet);
}

static void press(const char *keys)
{
	uint8_t codes[64];
	unsigned int count = 0;

	for (; *keys != '\0'; keys++)
		codes[count++] = (uint8_t)telephone_event_code(*keys);
	telephone_event_push(&event, 101, codes, count);
}

START_TEST(test_event_codes)
{
	static const char digits[] = "0123456789*#ABCD";

	for (int i = 0; i < 16; i++)
		ck_assert_int_eq(telephone_event_code(digits[i]), i);
	ck_assert_int_eq(telephone_event_code('a'), -1);
	ck_assert_int_eq(telephone_event_code('\0'), -1);
}
END_TEST

START_TEST(test_event_on_the_wire)
{
	uint32_t at = playout.timestamp;
	uint16_t seq = playout.seq;

	press("5#");
	for (unsigned int key = 0; key < 2; key++) {
		for (unsigned int i = 0; i < TELEPHONE_EVENT_BEATS; i++) {
			unsigned int tone = i < 5 ? i + 1 : 5;

			beat();
			ck_assert_uint_eq(packet.seq, seq++);
			if (i >= 7) {
				ck_assert_int_eq(packet.action, PLAYOUT_SEND_SILENCE);
				ck_assert_uint_eq(packet.payload_type, 0);
				ck_assert_uint_eq(packet.timestamp, at + 160 * i);
				continue;
			}
			ck_assert_int_eq(packet.action, PLAYOUT_SEND_EVENT);
			ck_assert_uint_eq(packet.payload_type, 101);
			ck_assert_uint_eq(packet.timestamp, at);
			ck_assert_uint_eq(packet.payload_len, 4);
			ck_assert_uint_eq(packet.payload[0], key == 0 ? 5 : 11);
			ck_assert_uint_eq(packet.payload[1], i >= 4 ? 0x8a : 0x0a);
			ck_assert_uint_eq(packet.payload[2] << 8 | packet.payload[3], 160 * tone);
			ck_assert_int_eq(packet.marker, i == 0);
		}
		at += 160 * TELEPHONE_EVENT_BEATS;
		ck_assert_uint_eq(atomic_load(&event.done), key + 1);
	}
	beat();
	ck_assert_int_eq(packet.action, PLAYOUT_SEND_SILENCE);
	ck_assert_uint_eq(packet.timestamp, at);
	ck_assert(!packet.marker);
}
END_TEST

/* Voice waits, whole and in order; its mark is not reached before it was heard; a flush takes the voice and not the key. */
START_TEST(test_event_holds_voice_back)
{
	uint8_t frame[PLAYOUT_FRAME_SIZE];

	for (uint8_t i = 0; i < 4; i++) {
		memset(frame, i + 1, sizeof(frame));
		ck_assert_int_eq(playout_push(&playout, 0, frame, sizeof(frame), 0), 0);
	}
	beat();
	ck_assert_uint_eq(packet.payload[0], 1);
	playout_mark(&playout, 0);
	press("1");
	for (unsigned int i = 0; i < TELEPHONE_EVENT_BEATS; i++) {
		beat();
		ck_assert_int_ne(packet.action, PLAYOUT_SEND_FRAME);
		ck_assert(!packet.drained);
	}
	for (uint8_t i = 1; i < 4; i++) {
		beat();
		ck_assert_int_eq(packet.action, PLAYOUT_SEND_FRAME);
		ck_assert_uint_eq(packet.payload[0], i + 1);
		ck_assert(!packet.talkspurt);
		ck_assert_int_eq(packet.drained, i == 3);
	}
	ck_assert_uint_eq(atomic_load(&playout.underruns), 0);
	playout_push(&playout, 0, frame, sizeof(frame), 0);
	press("2");
	beat();
	ck_assert_uint_eq(playout_flush(&playout, 1), 1);
	for (unsigned int i = 1; i < 7; i++) {
		beat();
		ck_assert_int_eq(packet.action, PLAYOUT_SEND_EVENT);
	}
}
END_TEST

START_TEST(test_event_bounds)
{
	unsigned int beats = 0;

	press("12345678901234567890123456789012");
	press("12");
	ck_assert_uint_eq(atomic_load(&event.done), 2); /* no room: over at once */
	while (telephone_event_is_active(&event) && beats < 10000) {
		beat();
		beats++;
	}
	ck_assert_uint_eq(beats, 32 * TELEPHONE_EVENT_BEATS);
	ck_assert_uint_eq(atomic_load(&event.done), 34);
}
END_TEST

START_TEST(test_event_restream)
{
	press("12");
	telephone_event_restream(&event); /* nothing has begun: nothing is lost */
	beat();
	playout_restream(&playout, 8, 500, 90000);
	telephone_event_restream(&event);
	beat();
	ck_assert_uint_eq(packet.timestamp, 90000);
	ck_assert_uint_eq(packet.payload[0], 2);
	telephone_event_reset(&event);
	ck_assert(!telephone_event_is_active(&event));
	ck_assert_uint_eq(atomic_load(&event.done), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("telephone_event");

	unit_add_fixture(suite, "keys", begin, NULL, test_event_codes, test_event_on_the_wire, test_event_holds_voice_back,
		test_event_bounds, test_event_restream);
	return unit_run(suite);
}
