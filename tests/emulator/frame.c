/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 6455 framing (see frame.h).
 */
#include "frame.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/base64.h>
#include <mbedtls/sha1.h>

#define MASK_SIZE 4u

static enum frame_event fail(struct frame_reader *reader, uint16_t code, const char *error)
{
	reader->close_code = code;
	reader->error = error;
	return FRAME_EVENT_ERROR;
}

static bool is_control(uint8_t opcode)
{
	return opcode >= FRAME_CLOSE;
}

static bool make_room(struct frame_reader *reader, uint64_t more)
{
	size_t need = reader->message_size + (size_t)more + 1;
	if (need <= reader->message_room)
		return true;
	size_t room = reader->message_room ? reader->message_room : 4096;
	while (room < need)
		room *= 2;
	char *message = realloc(reader->message, room);
	if (message == NULL)
		return false;
	reader->message = message;
	reader->message_room = room;
	return true;
}

/* The header is complete: judge it and prepare for the payload. Returns NONE when it is fine. */
static enum frame_event begin_payload(struct frame_reader *reader)
{
	const uint8_t *h = reader->header;
	reader->final = h[0] & 0x80;
	reader->opcode = h[0] & 0x0f;
	uint64_t size = h[1] & 0x7f;
	unsigned extra = size == 126 ? 2 : size == 127 ? 8 : 0;
	if (extra > 0) {
		size = 0;
		for (unsigned i = 0; i < extra; i++)
			size = size << 8 | h[2 + i];
	}
	reader->left = size;
	reader->mask_at = 0;
	if (is_control(reader->opcode)) {
		if (reader->opcode > FRAME_PONG || !reader->final || size > 125)
			return fail(reader, 1002, "bad control frame");
		reader->control_size = 0;
		return FRAME_EVENT_NONE;
	}
	if (reader->opcode > FRAME_BINARY)
		return fail(reader, 1002, "reserved opcode");
	if ((reader->opcode == FRAME_CONTINUATION) != reader->in_message)
		return fail(reader, 1002, "continuation out of place");
	if (reader->opcode != FRAME_CONTINUATION) {
		reader->message_opcode = reader->opcode;
		reader->message_size = 0;
		reader->in_message = true;
	}
	if (size > FRAME_MESSAGE_MAX - reader->message_size)
		return fail(reader, 1009, "message too big");
	if (!make_room(reader, size))
		return fail(reader, 1011, "out of memory");
	return FRAME_EVENT_NONE;
}

static enum frame_event feed_header(struct frame_reader *reader, const uint8_t **input, size_t *input_size)
{
	if (reader->header_need == 0)
		reader->header_need = 2 + MASK_SIZE;
	while (*input_size > 0 && reader->header_size < reader->header_need) {
		reader->header[reader->header_size++] = *(*input)++;
		(*input_size)--;
		if (reader->header_size == 2) {
			uint8_t size = reader->header[1] & 0x7f;
			if ((reader->header[0] & 0x70) != 0)
				return fail(reader, 1002, "reserved bit set");
			if ((reader->header[1] & 0x80) == 0)
				return fail(reader, 1002, "client frame is not masked");
			reader->header_need = 2u + MASK_SIZE + (size == 126 ? 2u : size == 127 ? 8u : 0u);
		}
	}
	if (reader->header_size < reader->header_need)
		return FRAME_EVENT_NONE;
	reader->in_payload = true;
	return begin_payload(reader);
}

static enum frame_event finish_frame(struct frame_reader *reader)
{
	reader->in_payload = false;
	reader->header_size = 0;
	reader->header_need = 0;
	if (is_control(reader->opcode)) {
		reader->data = (const char *)reader->control;
		reader->size = reader->control_size;
		if (reader->opcode == FRAME_CLOSE && reader->size == 1)
			return fail(reader, 1002, "close frame of one byte");
		return reader->opcode == FRAME_CLOSE  ? FRAME_EVENT_CLOSE
		       : reader->opcode == FRAME_PING ? FRAME_EVENT_PING
						      : FRAME_EVENT_PONG;
	}
	if (!reader->final)
		return FRAME_EVENT_NONE;
	reader->in_message = false;
	reader->message[reader->message_size] = '\0';
	reader->data = reader->message;
	reader->size = reader->message_size;
	if (reader->message_opcode == FRAME_TEXT && !frame_is_utf8(reader->data, reader->size))
		return fail(reader, 1007, "text is not UTF-8");
	return FRAME_EVENT_MESSAGE;
}

static void feed_payload(struct frame_reader *reader, const uint8_t **input, size_t *input_size)
{
	const uint8_t *mask = reader->header + reader->header_need - MASK_SIZE;
	size_t take = *input_size < reader->left ? *input_size : (size_t)reader->left;
	uint8_t *to;
	if (is_control(reader->opcode)) {
		to = reader->control + reader->control_size;
		reader->control_size += take;
	} else {
		to = (uint8_t *)reader->message + reader->message_size;
		reader->message_size += take;
	}
	for (size_t i = 0; i < take; i++)
		to[i] = (*input)[i] ^ mask[(reader->mask_at + i) & 3];
	reader->mask_at = (uint32_t)((reader->mask_at + take) & 3);
	reader->left -= take;
	*input += take;
	*input_size -= take;
}

enum frame_event frame_reader_feed(struct frame_reader *reader, const uint8_t **input, size_t *input_size)
{
	for (;;) {
		if (!reader->in_payload) {
			enum frame_event event = feed_header(reader, input, input_size);
			if (event != FRAME_EVENT_NONE || !reader->in_payload)
				return event;
		}
		feed_payload(reader, input, input_size);
		if (reader->left > 0)
			return FRAME_EVENT_NONE;
		enum frame_event event = finish_frame(reader);
		if (event != FRAME_EVENT_NONE)
			return event;
	}
}

void frame_reader_clear(struct frame_reader *reader)
{
	free(reader->message);
	memset(reader, 0, sizeof(*reader));
}

size_t frame_header(uint8_t header[FRAME_HEADER_MAX], enum frame_opcode opcode, bool final, uint64_t size)
{
	header[0] = (uint8_t)((final ? 0x80 : 0) | opcode);
	if (size < 126) {
		header[1] = (uint8_t)size;
		return 2;
	}
	unsigned extra = size <= UINT16_MAX ? 2 : 8;
	header[1] = extra == 2 ? 126 : 127;
	for (unsigned i = 0; i < extra; i++)
		header[2 + i] = (uint8_t)(size >> (8 * (extra - 1 - i)));
	return 2 + extra;
}

int frame_accept(const char *key, char accept[FRAME_ACCEPT_MAX])
{
	uint8_t nonce[18], digest[20];
	char text[64];
	size_t size;
	if (strlen(key) != 24 || mbedtls_base64_decode(nonce, sizeof(nonce), &size, (const uint8_t *)key, 24) != 0 || size != 16)
		return -EINVAL;
	int length = snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
	if (mbedtls_sha1_ret((const uint8_t *)text, (size_t)length, digest) != 0)
		return -EINVAL;
	return mbedtls_base64_encode((uint8_t *)accept, FRAME_ACCEPT_MAX, &size, digest, sizeof(digest)) == 0 ? 0 : -EINVAL;
}

size_t frame_reason_size(const char *reason)
{
	size_t size = strlen(reason);
	if (size <= FRAME_REASON_MAX)
		return size;
	size = FRAME_REASON_MAX;
	while (size > 0 && ((uint8_t)reason[size] & 0xc0) == 0x80)
		size--;
	return size;
}

bool frame_is_utf8(const char *text, size_t size)
{
	const uint8_t *p = (const uint8_t *)text, *end = p + size;
	while (p < end) {
		if (*p < 0x80) {
			p++;
			continue;
		}
		unsigned more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
		static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
		if (*p < 0xc2 || *p > 0xf4 || (size_t)(end - p) <= more)
			return false;
		uint32_t rune = *p & (0x3fu >> more);
		for (unsigned i = 1; i <= more; i++) {
			if ((p[i] & 0xc0) != 0x80)
				return false;
			rune = rune << 6 | (p[i] & 0x3f);
		}
		if (rune < smallest[more] || rune > 0x10ffff || (rune >= 0xd800 && rune <= 0xdfff))
			return false;
		p += more + 1;
	}
	return true;
}
