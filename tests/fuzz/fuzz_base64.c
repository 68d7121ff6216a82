/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: base64. A text decodes the same whole and split in two; what is accepted encodes to the same text again (the decoding is strict); any
 * bytes survive being encoded and decoded. The first byte of the input is where to split.
 */
#include "shared/base64.h"

#include <string.h>

#include "fuzz.h"

/* Decode two parts. Returns the bytes, -1 if refused. */
static ssize_t decode(const char *text, size_t first, size_t len, uint8_t *out)
{
	struct vl_base64_decoder decoder = {0};
	ssize_t a = vl_base64_decode_more(&decoder, text, first, out);
	ssize_t b = vl_base64_decode_more(&decoder, text + first, len - first, out + (a > 0 ? a : 0));

	fuzz_check(a >= 0 || b < 0);
	return vl_base64_decode_end(&decoder) == 0 ? a + b : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	size_t len = size - 1, first = len > 0 ? data[0] % (len + 1) : 0;
	uint8_t *whole = malloc(VL_BASE64_DECODED_MAX(len) + 1), *split = malloc(VL_BASE64_DECODED_MAX(len) + 6);
	char *text = malloc(VL_BASE64_ENCODED_SIZE(len) + 4);

	fuzz_check(whole != NULL && split != NULL && text != NULL);
	ssize_t decoded = decode((const char *)data + 1, 0, len, whole);

	fuzz_check(decode((const char *)data + 1, first, len, split) == decoded);
	if (decoded >= 0) {
		fuzz_check(memcmp(whole, split, (size_t)decoded) == 0);
		fuzz_check(vl_base64_encode(text, whole, (size_t)decoded) == len && memcmp(text, data + 1, len) == 0);
	}
	len = vl_base64_encode(text, data + 1, size - 1);
	free(whole);
	whole = malloc(VL_BASE64_DECODED_MAX(len) + 1);
	fuzz_check(whole != NULL);
	fuzz_check(decode(text, first % (len + 1), len, whole) == (ssize_t)size - 1 && memcmp(whole, data + 1, size - 1) == 0);
	free(whole);
	free(split);
	free(text);
	return 0;
}
