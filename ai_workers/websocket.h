/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of the websocket protocol (RFC 6455): the upgrade's texts, frames to send, built and masked where the payload
 * lies, and frames received, taken apart where they lie and however they are cut. Pure: bytes in, events out, randomness is a
 * parameter, no memory. That a text is UTF-8 is left to the reader of its JSON.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEBSOCKET_HEADROOM    16u  /* room in front of a payload: a header has up to 14 bytes, and the payload stays aligned */
#define WEBSOCKET_MASK_SIZE   4u   /* RFC 6455 5.3 */
#define WEBSOCKET_CONTROL_MAX 125u /* payload of a Close, Ping or Pong, RFC 6455 5.5 */
#define WEBSOCKET_NONCE_SIZE  16u  /* random bytes behind Sec-WebSocket-Key, RFC 6455 4.1 */
#define WEBSOCKET_KEY_SIZE    25u  /* of Sec-WebSocket-Key and its NUL */
#define WEBSOCKET_ACCEPT_SIZE 29u  /* of Sec-WebSocket-Accept and its NUL */

enum websocket_opcode { /* RFC 6455 5.2 */
	WEBSOCKET_CONTINUATION = 0x0,
	WEBSOCKET_TEXT = 0x1,
	WEBSOCKET_BINARY = 0x2,
	WEBSOCKET_CLOSE = 0x8,
	WEBSOCKET_PING = 0x9,
	WEBSOCKET_PONG = 0xa
};

enum websocket_close { /* RFC 6455 7.4.1, those that this side knows */
	WEBSOCKET_NORMAL = 1000,
	WEBSOCKET_PROTOCOL_ERROR = 1002,
	WEBSOCKET_NO_CODE = 1005, /* never sent */
	WEBSOCKET_TOO_BIG = 1009
};

/* What a client asks for. */
struct websocket_upgrade {
	const char *host; /* with the port, if it is not 443 */
	const char *path;
	const char *header, *value; /* one more header, for the credential */
	const char *key;	    /* of websocket_key() */
};

/* Make a Sec-WebSocket-Key of fresh randomness and what the answer must say to it (RFC 6455 4.1, 4.2.2). Any. */
void websocket_key(const uint8_t nonce[WEBSOCKET_NONCE_SIZE], char key[WEBSOCKET_KEY_SIZE], char accept[WEBSOCKET_ACCEPT_SIZE]);

/* Write the request into `text`. Any. Returns its length, or -EMSGSIZE, or -EINVAL if a part has a line break in it. */
int websocket_request(char *text, size_t size, const struct websocket_upgrade *upgrade);

/*
 * Read the answer, as far as it has come. Any. Returns 0 while its end has not come, its length if it is the upgrade, or -EPROTO: then
 * `status` is the HTTP status if there is one and 0 if not, and `why` a text without anything of the answer in it.
 */
int websocket_response(const char *text, size_t len, const char *accept, int *status, const char **why);

/*
 * Make the whole message of `len` bytes at `payload` one frame: the header goes into the WEBSOCKET_HEADROOM bytes in front, the
 * payload is masked in place. `mask` must be fresh for each frame and not to be guessed (RFC 6455 5.3). Any. Returns the frame's
 * first byte; the frame ends where the payload ends.
 */
uint8_t *websocket_frame(uint8_t *payload, size_t len, enum websocket_opcode opcode, const uint8_t mask[WEBSOCKET_MASK_SIZE]);

enum websocket_event {
	WEBSOCKET_MORE,	  /* everything is read, more must come */
	WEBSOCKET_PART,	  /* the next piece of a message */
	WEBSOCKET_PINGED, /* to be answered with the same bytes */
	WEBSOCKET_PONGED,
	WEBSOCKET_CLOSED,  /* nothing is read from now on */
	WEBSOCKET_VIOLATED /* nothing is read from now on; close with `code` */
};

/* Where the reading stands. All zero but `limit` is a fresh connection. */
struct websocket_reader {
	uint64_t left;	     /* of this frame's payload */
	size_t limit;	     /* bytes of a message */
	size_t message_len;  /* of the message so far, this frame included */
	uint8_t header[10];  /* of this frame */
	uint8_t header_len;  /* that have come */
	uint8_t control_len; /* that have come */
	bool in_payload;     /* the header is complete */
	bool in_message;     /* a continuation must come */
	bool ended;
	uint8_t control[WEBSOCKET_CONTROL_MAX + 1];
};

/* What was read. */
struct websocket_piece {
	uint8_t *bytes; /* of a message where they came, of a Ping or of a Close's reason (with a NUL) inside the reader */
	size_t len;
	bool last;	     /* of the message */
	uint64_t frame_left; /* bytes of this frame that are still to come */
	uint16_t code;	     /* of a Close (1005: none) or a violation */
	const char *why;     /* of a violation */
};

/*
 * Read on at `*bytes`, of which there are `*len`, and move both. Worker loop. Returns what comes first; call again until
 * WEBSOCKET_MORE. `piece` is valid until the next call.
 */
enum websocket_event websocket_read(struct websocket_reader *reader, uint8_t **bytes, size_t *len, struct websocket_piece *piece);
