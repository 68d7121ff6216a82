/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base64, see base64.h. Our own because it is on the audio path of every call, both ways, and libraries' versions are either built not to leak timing (mbedTLS), which
 * audio does not need, or cannot go on across fragments.
 */
#include "base64.h"

#include <errno.h>
#include <string.h>

#include "avx2.h"
#include "base64_avx2.h"

#define INVALID 0x80u

static const char alphabet[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Value of a character; INVALID otherwise, '=' included. */
static const uint8_t values[256] = {
/* clang-format off */
#define X8 INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID
#define X16 X8, X8
#define X  INVALID
	X16, X16,
	X, X, X, X, X, X, X, X, X, X, X, 62, X, X, X, 63,
	52, 53, 54, 55, 56, 57, 58, 59, 60, 61, X, X, X, X, X, X,
	X, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
	15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, X, X, X, X, X,
	X, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
	41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, X, X, X, X, X,
	X16, X16, X16, X16, X16, X16, X16, X16,
#undef X
#undef X8
#undef X16
	/* clang-format on */
};

size_t vl_base64_encode(char *out, const void *bytes, size_t size)
{
	const uint8_t *in = bytes;
	char *start = out;

	if (vl_has_avx2()) {
		size_t used = base64_encode_avx2(out, in, size);

		in += used;
		size -= used;
		out += used / 3 * 4;
	}
	for (; size >= 3; size -= 3, in += 3, out += 4) {
		uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];

		out[0] = alphabet[bits >> 18];
		out[1] = alphabet[bits >> 12 & 63];
		out[2] = alphabet[bits >> 6 & 63];
		out[3] = alphabet[bits & 63];
	}
	if (size > 0) {
		uint32_t bits = (uint32_t)in[0] << 16 | (size == 2 ? (uint32_t)in[1] << 8 : 0);

		out[0] = alphabet[bits >> 18];
		out[1] = alphabet[bits >> 12 & 63];
		out[2] = size == 2 ? alphabet[bits >> 6 & 63] : '=';
		out[3] = '=';
		out += 4;
	}
	return (size_t)(out - start);
}

/* Whole groups without padding, as many as there are. Returns the characters used; stops in front of a group that is anything else. */
static size_t decode_groups(const char *text, size_t len, uint8_t *out)
{
	const uint8_t *in = (const uint8_t *)text;
	size_t used = vl_has_avx2() ? base64_decode_avx2(out, text, len) : 0;

	out += used / 4 * 3;
	for (; len - used >= 4; used += 4, out += 3) {
		uint32_t a = values[in[used]], b = values[in[used + 1]], c = values[in[used + 2]], d = values[in[used + 3]];

		if (((a | b | c | d) & INVALID) != 0)
			break;
		uint32_t bits = a << 18 | b << 12 | c << 6 | d;

		out[0] = (uint8_t)(bits >> 16);
		out[1] = (uint8_t)(bits >> 8);
		out[2] = (uint8_t)bits;
	}
	return used;
}

/* One character of a group that is split between fragments, or is the last. Returns the bytes written, -EINVAL if it cannot be there. */
static int decode_character(struct vl_base64_decoder *decoder, uint8_t character, uint8_t *out)
{
	uint8_t value = values[character];

	if (character == '=') {
		/* "xx==" has 4 bits left over, "xxx=" has 2; they must be zero (RFC 4648 section 3.5). */
		uint32_t stray = decoder->count == 2 ? 15u : 3u;

		if (decoder->count + decoder->padding < 2 || (decoder->padding == 0 && (decoder->bits & stray) != 0))
			return -EINVAL;
		decoder->padding++;
		if (decoder->count + decoder->padding < 4)
			return 0;
		/* The text is complete: count 4 refuses whatever follows. */
		int size = decoder->count - 1;
		uint32_t bits = decoder->bits << (decoder->count == 2 ? 12 : 6);

		out[0] = (uint8_t)(bits >> 16);
		if (size == 2)
			out[1] = (uint8_t)(bits >> 8);
		decoder->count = 4;
		return size;
	}
	if (value == INVALID || decoder->padding > 0)
		return -EINVAL;
	decoder->bits = decoder->bits << 6 | value;
	if (++decoder->count < 4)
		return 0;
	out[0] = (uint8_t)(decoder->bits >> 16);
	out[1] = (uint8_t)(decoder->bits >> 8);
	out[2] = (uint8_t)decoder->bits;
	decoder->count = 0;
	decoder->bits = 0;
	return 3;
}

ssize_t vl_base64_decode_more(struct vl_base64_decoder *decoder, const char *text, size_t len, uint8_t *out)
{
	uint8_t *start = out;
	size_t used = 0;

	while (used < len && !decoder->broken) {
		if (decoder->count == 0) {
			size_t groups = decode_groups(text + used, len - used, out);

			used += groups;
			out += groups / 4u * 3u;
			if (used == len)
				break;
		}
		int size = decoder->count == 4 ? -EINVAL : decode_character(decoder, (uint8_t)text[used++], out);

		if (size < 0)
			decoder->broken = 1;
		else
			out += size;
	}
	return decoder->broken ? -EINVAL : out - start;
}

int vl_base64_decode_end(struct vl_base64_decoder *decoder)
{
	int result = decoder->broken || (decoder->count != 0 && decoder->count != 4) ? -EINVAL : 0;

	memset(decoder, 0, sizeof(*decoder));
	return result;
}

size_t vl_base64url_encode(char *out, const void *bytes, size_t size)
{
	size_t len = vl_base64_encode(out, bytes, size);

	while (len > 0 && out[len - 1] == '=')
		len--;
	out[len] = '\0';
	for (char *c = out; *c != '\0'; c++)
		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
	return len;
}
