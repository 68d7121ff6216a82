/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bulk of base64 with AVX2, for base64.c only, which does the ends and what has no AVX2.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Encode from the front of `size` bytes, 24 at a time, as far as it goes. Any thread. Returns the bytes used; 4/3 of it characters are written. */
size_t base64_encode_avx2(char *out, const uint8_t *in, size_t size);

/*
 * Decode from the front of `len` characters, 32 at a time, up to the first that hold anything but the alphabet. Any thread. Returns the characters
 * used; 3/4 of it bytes are written, and up to 8 more within len / 4 * 3 are overwritten.
 */
size_t base64_decode_avx2(uint8_t *out, const char *in, size_t len);
