/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 6455 framing of the emulator's server side, as pure functions. The emulator frames itself, on libwebsockets' raw sockets,
 * because it has to judge what a client sends (masking, opcodes, UTF-8) and to misbehave in ways a library forbids: late pongs,
 * text instead of binary, fragments, no close frame.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_MAX  10u	      /* bytes of a server frame's header */
#define FRAME_MESSAGE_MAX (16u << 20) /* bytes of a client message; no limit of the real service is known */
#define FRAME_REASON_MAX  123u	      /* bytes of a close reason, RFC 6455 section 5.5 */
#define FRAME_ACCEPT_MAX  29u	      /* bytes of a Sec-WebSocket-Accept value with its NUL */

enum frame_opcode {
	FRAME_CONTINUATION = 0,
	FRAME_TEXT = 1,
	FRAME_BINARY = 2,
	FRAME_CLOSE = 8,
	FRAME_PING = 9,
	FRAME_PONG = 10,
};

enum frame_event {
	FRAME_EVENT_NONE,    /* all input consumed, nothing complete */
	FRAME_EVENT_MESSAGE, /* `data`, `size`: a whole text or binary message, NUL-terminated beyond its end */
	FRAME_EVENT_PING,
	FRAME_EVENT_PONG,
	FRAME_EVENT_CLOSE, /* `data`, `size`: code and reason, 0 or >= 2 bytes */
	FRAME_EVENT_ERROR, /* protocol error: close with `close_code`, `error` */
};

/* Reassembles one client's frames. Zero it to start; frame_reader_clear() frees it. */
struct frame_reader {
	uint8_t header[14];
	size_t header_size, header_need;
	uint64_t left; /* payload bytes of the current frame still to come */
	uint8_t opcode;
	bool final, in_payload, in_message;
	uint32_t mask_at;
	uint8_t message_opcode;
	char *message;
	size_t message_size, message_room;
	uint8_t control[126];
	size_t control_size;
	/* The last event. */
	const char *data;
	size_t size;
	uint16_t close_code;
	const char *error;
};

/*
 * Take bytes from the socket until one event is complete. Advances *input and *input_size past what was used. Any thread, one at
 * a time per reader. After FRAME_EVENT_ERROR the reader must not be fed again. `data` is valid until the next call.
 */
enum frame_event frame_reader_feed(struct frame_reader *reader, const uint8_t **input, size_t *input_size);

/* Free the reassembly buffer. */
void frame_reader_clear(struct frame_reader *reader);

/* Write the header of a server frame (unmasked). Returns its size. */
size_t frame_header(uint8_t header[FRAME_HEADER_MAX], enum frame_opcode opcode, bool final, uint64_t size);

/*
 * Sec-WebSocket-Accept of RFC 6455 section 4.2.2 for a client's key. Returns 0 or -EINVAL for a key that is not 16 bytes in
 * base64.
 */
int frame_accept(const char *key, char accept[FRAME_ACCEPT_MAX]);

/* Bytes of `reason` that fit a close frame without cutting a UTF-8 character. */
size_t frame_reason_size(const char *reason);

/* Is this well-formed UTF-8 (RFC 3629)? */
bool frame_is_utf8(const char *text, size_t size);
