/* SPDX-License-Identifier: Apache-2.0 */
/* Client frames: headers of each length, masking of every byte at every alignment, against RFC 6455's own example. */
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "ai_workers/websocket.h"

/* RFC 6455 5.7: a single-frame masked text message with "Hello". */
START_TEST(test_websocket_frame_of_the_rfc)
{
	static const uint8_t mask[] = {0x37, 0xfa, 0x21, 0x3d}, hello[] = {0x7f, 0x9f, 0x4d, 0x51, 0x58};
	uint8_t room[WEBSOCKET_HEADROOM + sizeof(hello)];
	uint8_t *frame;

	memcpy(room + WEBSOCKET_HEADROOM, "Hello", sizeof(hello));
	frame = websocket_frame(room + WEBSOCKET_HEADROOM, sizeof(hello), WEBSOCKET_TEXT, mask);
	ck_assert_ptr_eq(frame, room + WEBSOCKET_HEADROOM - 6);
	ck_assert_uint_eq(frame[0], 0x81);
	ck_assert_uint_eq(frame[1], 0x85);
	ck_assert_mem_eq(frame + 2, mask, sizeof(mask));
	ck_assert_mem_eq(frame + 6, hello, sizeof(hello));
}
END_TEST

/* RFC 6455 5.2: the shortest form of the length, big-endian, and not one byte in front of the frame is touched. */
START_TEST(test_websocket_frame_lengths)
{
	static const struct {
		size_t len, header;
		uint8_t bytes[10];
	} cases[] = {
		{0, 2, {0x89, 0x80}},
		{1, 2, {0x89, 0x81}},
		{125, 2, {0x89, 0xfd}},
		{126, 4, {0x89, 0xfe, 0x00, 0x7e}},
		{127, 4, {0x89, 0xfe, 0x00, 0x7f}},
		{4300, 4, {0x89, 0xfe, 0x10, 0xcc}},
		{65535, 4, {0x89, 0xfe, 0xff, 0xff}},
		{65536, 10, {0x89, 0xff, 0, 0, 0, 0, 0, 1, 0, 0}},
		{0x12345, 10, {0x89, 0xff, 0, 0, 0, 0, 0, 1, 0x23, 0x45}},
	};
	static const uint8_t mask[] = {1, 2, 3, 4};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *room = malloc(WEBSOCKET_HEADROOM + cases[i].len), *payload = room + WEBSOCKET_HEADROOM;
		size_t front = WEBSOCKET_HEADROOM - WEBSOCKET_MASK_SIZE - cases[i].header;

		memset(room, 0xaa, WEBSOCKET_HEADROOM + cases[i].len);
		ck_assert_ptr_eq(websocket_frame(payload, cases[i].len, WEBSOCKET_PING, mask), room + front);
		for (size_t at = 0; at < front; at++)
			ck_assert_uint_eq(room[at], 0xaa);
		ck_assert_mem_eq(room + front, cases[i].bytes, cases[i].header);
		ck_assert_mem_eq(room + front + cases[i].header, mask, sizeof(mask));
		for (size_t at = 0; at < cases[i].len; at++)
			ck_assert_uint_eq(payload[at], 0xaa ^ mask[at % 4]);
		free(room);
	}
}
END_TEST

/* Whatever the payload's length and alignment, byte i is XORed with byte i mod 4 of the mask, and nothing behind it is. */
START_TEST(test_websocket_frame_mask)
{
	static const uint8_t mask[] = {0xff, 0x0f, 0x80, 0x35};
	uint8_t room[WEBSOCKET_HEADROOM + 8 + 300 + 8], expected[8 + 300 + 8];

	for (size_t shift = 0; shift < 8; shift++) {
		for (size_t len = 0; len <= 300; len++) {
			uint8_t *payload = room + WEBSOCKET_HEADROOM + shift;

			for (size_t i = 0; i < sizeof(expected) - shift; i++) {
				payload[i] = (uint8_t)(i * 7 + len);
				expected[i] = i < len ? payload[i] ^ mask[i % 4] : payload[i];
			}
			websocket_frame(payload, len, WEBSOCKET_TEXT, mask);
			ck_assert_mem_eq(payload, expected, sizeof(expected) - shift);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("websocket");

	unit_add(suite, "frame", test_websocket_frame_of_the_rfc, test_websocket_frame_lengths, test_websocket_frame_mask);
	return unit_run(suite);
}
