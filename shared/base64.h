/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base64 with the standard alphabet and padding (RFC 4648 section 4), as the model's audio travels in JSON. Decoding is strict (no white space, no missing padding,
 * no stray bits) and can go on over the fragments of a message.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Characters for `size` bytes, without a NUL. */
#define VL_BASE64_ENCODED_SIZE(size) (((size_t)(size) + 2u) / 3u * 4u)
/* Bytes that one vl_base64_decode_more() of `len` characters may write. */
#define VL_BASE64_DECODED_MAX(len) (((size_t)(len) + 3u) / 4u * 3u)

/* Where a decoding stands between fragments. All zero is a fresh one. */
struct vl_base64_decoder {
	uint32_t bits;	 /* of the characters of an unfinished group of four */
	uint8_t count;	 /* how many, 0..3 */
	uint8_t padding; /* '=' seen: 0..2 */
	uint8_t broken;
};

/* Write VL_BASE64_ENCODED_SIZE(size) characters to `out`, no NUL. Pure, any thread. Returns their number. */
size_t vl_base64_encode(char *out, const void *bytes, size_t size);

/* The same in the alphabet of RFC 4648 section 5, without padding and with a NUL: VL_BASE64_ENCODED_SIZE(size) + 1 bytes of room. Returns the characters before the NUL. */
size_t vl_base64url_encode(char *out, const void *bytes, size_t size);

/*
 * Decode the next `len` characters into `out`, which has room for VL_BASE64_DECODED_MAX(len). Pure, any thread. Returns the bytes written or -EINVAL for ever after
 * a character that cannot be there.
 */
ssize_t vl_base64_decode_more(struct vl_base64_decoder *decoder, const char *text, size_t len, uint8_t *out);

/* Whether the text may end here: 0, or -EINVAL (a group is incomplete, or the decoder broke). Pure, any thread. The decoder is fresh again. */
int vl_base64_decode_end(struct vl_base64_decoder *decoder);
