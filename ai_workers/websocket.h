/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of the websocket protocol (RFC 6455) as a client sends them, built and masked where the payload lies. Pure: the mask is
 * a parameter.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define WEBSOCKET_HEADROOM    16u  /* room in front of a payload: a header has up to 14 bytes, and the payload stays aligned */
#define WEBSOCKET_MASK_SIZE   4u   /* RFC 6455 5.3 */
#define WEBSOCKET_CONTROL_MAX 125u /* payload of a Close or a Ping, RFC 6455 5.5 */

enum websocket_opcode { /* RFC 6455 5.2 */
	WEBSOCKET_TEXT = 0x1,
	WEBSOCKET_CLOSE = 0x8,
	WEBSOCKET_PING = 0x9
};

/*
 * Make the whole message of `len` bytes at `payload` one frame: the header goes into the WEBSOCKET_HEADROOM bytes in front, the
 * payload is masked in place. `mask` must be fresh for each frame and not to be guessed (RFC 6455 5.3). Any. Returns the frame's
 * first byte; the frame ends where the payload ends.
 */
uint8_t *websocket_frame(uint8_t *payload, size_t len, enum websocket_opcode opcode, const uint8_t mask[WEBSOCKET_MASK_SIZE]);
