/* SPDX-License-Identifier: Apache-2.0 */
/* See websocket.h. */
#include "websocket.h"

#include <string.h>

#define FINAL  0x80u /* the message's last frame */
#define MASKED 0x80u
#define LEN_16 126u /* the length is in the next two bytes */
#define LEN_64 127u /* the length is in the next eight bytes */

/* 32 bytes at a time, which the compiler turns into the vectors that every CPU of the target has. */
static void apply_mask(uint8_t *payload, size_t len, const uint8_t mask[WEBSOCKET_MASK_SIZE])
{
	uint32_t repeated, words[8];
	size_t at = 0;

	memcpy(&repeated, mask, WEBSOCKET_MASK_SIZE);
	for (; len - at >= sizeof(words); at += sizeof(words)) {
		memcpy(words, payload + at, sizeof(words));
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			words[i] ^= repeated;
		memcpy(payload + at, words, sizeof(words));
	}
	for (; at < len; at++)
		payload[at] ^= mask[at % WEBSOCKET_MASK_SIZE];
}

uint8_t *websocket_frame(uint8_t *payload, size_t len, enum websocket_opcode opcode, const uint8_t mask[WEBSOCKET_MASK_SIZE])
{
	uint8_t length_bytes = len < LEN_16 ? 0 : len <= UINT16_MAX ? 2 : 8;
	uint8_t *frame = payload - WEBSOCKET_MASK_SIZE - length_bytes - 2;

	frame[0] = (uint8_t)(FINAL | opcode);
	frame[1] = (uint8_t)(MASKED | (length_bytes == 0 ? len : length_bytes == 2 ? LEN_16 : LEN_64));
	for (uint8_t i = 0; i < length_bytes; i++)
		frame[2 + i] = (uint8_t)(len >> (8 * (length_bytes - 1 - i)));
	memcpy(payload - WEBSOCKET_MASK_SIZE, mask, WEBSOCKET_MASK_SIZE);
	apply_mask(payload, len, mask);
	return frame;
}
