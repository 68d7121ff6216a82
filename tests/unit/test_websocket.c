/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of RFC 6455: the upgrade, frames sent and received; each rule, the RFC's own examples, and every way to cut the input. */
#include <errno.h>
#include <stdio.h>
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

/* RFC 6455 1.3. */
START_TEST(test_websocket_key_of_the_rfc)
{
	static const uint8_t nonce[] = "the sample nonce";
	char key[WEBSOCKET_KEY_SIZE], accept[WEBSOCKET_ACCEPT_SIZE];

	websocket_key(nonce, key, accept);
	ck_assert_str_eq(key, "dGhlIHNhbXBsZSBub25jZQ==");
	ck_assert_str_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}
END_TEST

START_TEST(test_websocket_request)
{
	static const char expected[] =
		"GET /ws/x?a=b HTTP/1.1\r\nHost: h:8443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nx-goog-api-key: KEY\r\n\r\n";
	struct websocket_upgrade upgrade = {.host = "h:8443",
		.path = "/ws/x?a=b",
		.header = "x-goog-api-key",
		.value = "KEY",
		.key = "dGhlIHNhbXBsZSBub25jZQ=="};
	char text[512];

	ck_assert_int_eq(websocket_request(text, sizeof(text), &upgrade), (int)sizeof(expected) - 1);
	ck_assert_str_eq(text, expected);
	ck_assert_int_eq(websocket_request(text, sizeof(expected), &upgrade), (int)sizeof(expected) - 1);
	ck_assert_int_eq(websocket_request(text, sizeof(expected) - 1, &upgrade), -EMSGSIZE);
	upgrade.value = "KEY\r\nx-other: 1";
	ck_assert_int_eq(websocket_request(text, sizeof(text), &upgrade), -EINVAL);
	upgrade.value = "KEY";
	upgrade.path = "/ HTTP/1.1\r\nHost: other";
	ck_assert_int_eq(websocket_request(text, sizeof(text), &upgrade), -EINVAL);
}
END_TEST

#define ACCEPT	 "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define UPGRADED "HTTP/1.1 101 Switching Protocols\r\n"
#define HEADERS	 "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\n"

/* RFC 6455 4.1, and what a refusal looks like; each answer is also cut everywhere. */
START_TEST(test_websocket_response)
{
	static const struct {
		const char *text;
		int status;
		bool good;
	} cases[] = {
		{UPGRADED HEADERS "\r\n", 101, true},
		{UPGRADED "Server: x\r\n" HEADERS "Date: y\r\n\r\n", 101, true},
		{UPGRADED "UPGRADE:WebSocket\r\nconnection: keep-alive, uPGRADE \r\nsec-websocket-accept:" ACCEPT "  \r\n\r\n",
			101, true},
		{UPGRADED "Sec-WebSocket-Protocol:\r\n" HEADERS "\r\n", 101, true},
		{"HTTP/1.1 101\r\n" HEADERS "\r\n", 101, true},
		{UPGRADED HEADERS "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 101, false},
		{UPGRADED HEADERS "Sec-WebSocket-Protocol: chat\r\n\r\n", 101, false},
		{UPGRADED "Connection: Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n", 101, false},
		{UPGRADED "Upgrade: websocket\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n", 101, false},
		{UPGRADED "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 101, false},
		{UPGRADED "Upgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n", 101, false},
		{UPGRADED "Upgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n", 101, false},
		{UPGRADED
			"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: t3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
			101, false},
		{UPGRADED
			"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
			101, false},
		{UPGRADED "\r\n", 101, false},
		{"HTTP/1.1 200 OK\r\n" HEADERS "\r\n", 200, false},
		{"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n", 401, false},
		{"HTTP/1.1 403 Forbidden\r\n\r\n", 403, false},
		{"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\n\r\n", 429, false},
		{"HTTP/1.0 503 Service Unavailable\r\n\r\n", 503, false},
		{"HTTP/1.1 302 Found\r\nLocation: wss://other/\r\n\r\n", 302, false},
		{"HTTP/2 101 x\r\n" HEADERS "\r\n", 0, false},
		{"HTTP/1.1 1010 x\r\n" HEADERS "\r\n", 0, false},
		{"HTTP/1.1 99 x\r\n\r\n", 0, false},
		{"HTTP/1.1\r\n\r\n", 0, false},
		{"\r\n\r\n", 0, false},
		{"SSH-2.0-OpenSSH\r\n\r\n", 0, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = strlen(cases[i].text);
		const char *why;
		int status;

		for (size_t cut = 0; cut < len; cut++) {
			char *part = malloc(cut + 1); /* so that a sanitizer sees a byte too many */

			memcpy(part, cases[i].text, cut);
			ck_assert_int_eq(websocket_response(part, cut, ACCEPT, &status, &why), 0);
			free(part);
		}
		ck_assert_msg(
			websocket_response(cases[i].text, len, ACCEPT, &status, &why) == (cases[i].good ? (int)len : -EPROTO),
			"case %zu", i);
		ck_assert_msg(status == cases[i].status, "case %zu: %d", i, status);
		ck_assert_msg((why == NULL) == cases[i].good, "case %zu", i);
	}
}
END_TEST

/* What follows the answer at once is not part of it. */
START_TEST(test_websocket_response_with_a_frame_behind)
{
	static const char text[] = UPGRADED HEADERS "\r\n\x81\x02{}";
	const char *why;
	int status;

	ck_assert_int_eq(websocket_response(text, sizeof(text) - 1, ACCEPT, &status, &why), (int)sizeof(text) - 1 - 4);
}
END_TEST

/* Everything that is read from `bytes`, `step` at a time, as a text. */
static void read_all(const uint8_t *bytes, size_t size, size_t step, size_t limit, char *log, size_t log_size)
{
	struct websocket_reader reader = {.limit = limit};
	struct websocket_piece piece;
	enum websocket_event event;
	size_t used = 0;

	log[0] = '\0';
	for (size_t at = 0; at < size; at += step) {
		size_t len = size - at < step ? size - at : step;
		uint8_t *copy = malloc(len), *next = copy; /* so that a sanitizer sees a byte too many */

		memcpy(copy, bytes + at, len);
		while ((event = websocket_read(&reader, &next, &len, &piece)) != WEBSOCKET_MORE) {
			static const char *const names[] = {
				[WEBSOCKET_PINGED] = "ping", [WEBSOCKET_PONGED] = "pong", [WEBSOCKET_CLOSED] = "close"};

			if (event == WEBSOCKET_PART)
				used += (size_t)snprintf(log + used, log_size - used, "%.*s%s", (int)piece.len,
					(char *)piece.bytes, piece.last ? "|" : "");
			else if (event == WEBSOCKET_VIOLATED)
				used += (size_t)snprintf(log + used, log_size - used, "violated %u|", piece.code);
			else
				used += (size_t)snprintf(
					log + used, log_size - used, "<%s %u %s>", names[event], piece.code, (char *)piece.bytes);
		}
		free(copy);
	}
}

#define FRAME(text) (const uint8_t *)text, sizeof(text) - 1

/* RFC 6455 5 and 7.4; each in one piece, and cut into pieces of every size. */
START_TEST(test_websocket_read)
{
	static const struct {
		const uint8_t *bytes;
		size_t size;
		const char *log;
	} cases[] = {
		{FRAME("\x81\x05Hello"), "Hello|"},			       /* RFC 6455 5.7 */
		{FRAME("\x01\x03Hel\x80\x02lo"), "Hello|"},		       /* RFC 6455 5.7 */
		{FRAME("\x82\x02{}\x81\x03[1]"), "{}|[1]|"},		       /* binary is what the service sends */
		{FRAME("\x81\x00\x82\x01x"), "|x|"},			       /* an empty message */
		{FRAME("\x01\x00\x00\x01x\x80\x00"), "x|"},		       /* empty fragments */
		{FRAME("\x01\x02{\"\x89\x02hi\x80\x01}"), "{\"<ping 0 hi>}|"}, /* 5.4: a control frame between fragments */
		{FRAME("\x01\x01{\x8a\x00\x00\x01 \x89\x00\x80\x01}"), "{<pong 0 > <ping 0 >}|"},
		{FRAME("\x81\x7e\x00\x03xyz"), "xyz|"}, /* a length longer than needed is the sender's affair */
		{FRAME("\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x03xyz"), "xyz|"}, {FRAME("\x88\x00"), "<close 1005 >"},
		{FRAME("\x88\x02\x03\xe8"), "<close 1000 >"},
		{FRAME("\x88\x09\x03\xf3quota!!\x81\x01x"), "<close 1011 quota!!>"}, /* nothing after a Close */
		{FRAME("\x01\x01x\x88\x02\x0f\xa0"), "x<close 4000 >"}, {FRAME("\x88\x02\x0b\xb8"), "<close 3000 >"},
		{FRAME("\x88\x01\x03"), "violated 1002|"}, /* 5.5.1: half a code */
		{FRAME("\x88\x02\x03\xe7"), "violated 1002|"}, {FRAME("\x88\x02\x03\xec"), "violated 1002|"}, /* 1004 */
		{FRAME("\x88\x02\x03\xed"), "violated 1002|"},						      /* 1005 */
		{FRAME("\x88\x02\x03\xee"), "violated 1002|"},						      /* 1006 */
		{FRAME("\x88\x02\x03\xf7"), "violated 1002|"},						      /* 1015 */
		{FRAME("\x88\x02\x0b\xb7"), "violated 1002|"},						      /* 2999 */
		{FRAME("\x88\x02\x13\x88"), "violated 1002|"},						      /* 5000 */
		{FRAME("\xc1\x01x"), "violated 1002|"}, /* reserved bits: no extension was agreed on */
		{FRAME("\xa1\x01x"), "violated 1002|"}, {FRAME("\x91\x01x"), "violated 1002|"},
		{FRAME("\x81\x81\x01\x02\x03\x04x"), "violated 1002|"}, /* 5.1: masked by the service */
		{FRAME("\x83\x01x"), "violated 1002|"},			/* unknown opcodes */
		{FRAME("\x87\x01x"), "violated 1002|"}, {FRAME("\x8b\x01x"), "violated 1002|"},
		{FRAME("\x8f\x01x"), "violated 1002|"},
		{FRAME("\x09\x00"), "violated 1002|"}, /* 5.5: a fragmented control frame */
		{FRAME("\x08\x00"), "violated 1002|"},
		{FRAME("\x89\x7e\x00\x7e"), "violated 1002|"}, /* 5.5: one of more than 125 bytes */
		{FRAME("\x88\x7f\x00"), "violated 1002|"}, {FRAME("\x80\x01x"), "violated 1002|"}, /* 5.4: nothing to continue */
		{FRAME("\x81\x01x\x80\x01x"), "x|violated 1002|"},
		{FRAME("\x01\x01x\x81\x01y"), "xviolated 1002|"},			/* 5.4: a message inside another */
		{FRAME("\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x01x"), "violated 1002|"}, /* 5.2: the highest bit */
		{FRAME("\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xffx"), "violated 1009|"},
		{FRAME("\x81\x0bHello world"), "violated 1009|"}, /* the limit is 10 */
		{FRAME("\x81\x0aHello worl"), "Hello worl|"},
		{FRAME("\x01\x05Hello\x00\x05 worl\x80\x01"
		       "d"),
			"Hello worlviolated 1009|"},
		{FRAME("\x81\x0aHello worl\x81\x0aHello worl"), "Hello worl|Hello worl|"}, /* it is each message's own */
	};
	char log[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t step = 1; step <= cases[i].size; step++) {
			read_all(cases[i].bytes, cases[i].size, step, 10, log, sizeof(log));
			ck_assert_msg(strcmp(log, cases[i].log) == 0, "case %zu, %zu bytes at a time: %s", i, step, log);
		}
	}
}
END_TEST

/* Lengths of 16 and 64 bits, and where the piece lies: in the bytes that were handed in. */
START_TEST(test_websocket_read_in_place)
{
	static uint8_t frame[10 + 70000];
	static const struct {
		size_t len, header;
		uint8_t bytes[10];
	} cases[] = {
		{125, 2, {0x82, 0x7d}},
		{126, 4, {0x82, 0x7e, 0x00, 0x7e}},
		{65535, 4, {0x82, 0x7e, 0xff, 0xff}},
		{65536, 10, {0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0}},
		{70000, 10, {0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0x11, 0x70}},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct websocket_reader reader = {.limit = sizeof(frame)};
		struct websocket_piece piece;
		uint8_t *next = frame;
		size_t len = cases[i].header + 100;

		memcpy(frame, cases[i].bytes, cases[i].header);
		ck_assert_int_eq(websocket_read(&reader, &next, &len, &piece), WEBSOCKET_PART);
		ck_assert_ptr_eq(piece.bytes, frame + cases[i].header);
		ck_assert_uint_eq(piece.len, 100);
		ck_assert_uint_eq(piece.frame_left, cases[i].len - 100);
		ck_assert(!piece.last);
		ck_assert_int_eq(websocket_read(&reader, &next, &len, &piece), WEBSOCKET_MORE);
		len = cases[i].len - 100;
		ck_assert_int_eq(websocket_read(&reader, &next, &len, &piece), WEBSOCKET_PART);
		ck_assert_uint_eq(piece.len, cases[i].len - 100);
		ck_assert(piece.last);
		ck_assert_uint_eq(len, 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("websocket");

	unit_add(suite, "frame", test_websocket_frame_of_the_rfc, test_websocket_frame_lengths, test_websocket_frame_mask);
	unit_add(suite, "upgrade", test_websocket_key_of_the_rfc, test_websocket_request, test_websocket_response,
		test_websocket_response_with_a_frame_behind);
	unit_add(suite, "read", test_websocket_read, test_websocket_read_in_place);
	return unit_run(suite);
}
