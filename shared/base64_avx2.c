/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base64 by 32 characters at once, see base64_avx2.h. The method is the one of W. Mula and D. Lemire, "Faster Base64 Encoding and Decoding Using AVX2
 * Instructions" (ACM Transactions on the Web 12(3), 2018): multiplications move the bits of a group, and byte shuffles are the tables.
 */
#include "base64_avx2.h"

#include "avx2.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* The same 16 bytes in both halves; a shuffle works on each half by itself. */
#define TWICE(...) _mm256_setr_epi8(__VA_ARGS__, __VA_ARGS__)

/* 24 bytes, 12 in each half, to 32 numbers of six bits. */
VL_AVX2 static inline __m256i spread(const uint8_t *in)
{
	__m256i bytes = _mm256_setr_m128i(_mm_loadu_si128((const __m128i *)in), _mm_loadu_si128((const __m128i *)(in + 12)));

	/* Of each group a, b, c the bytes b a c b: both 16-bit halves then hold two of the numbers in full. */
	bytes = _mm256_shuffle_epi8(bytes, TWICE(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10));
	__m256i first = _mm256_mulhi_epu16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x0fc0fc00)), _mm256_set1_epi32(0x04000040));
	__m256i second =
		_mm256_mullo_epi16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x003f03f0)), _mm256_set1_epi32(0x01000010));

	return _mm256_or_si256(first, second);
}

/* What to add to a number: by range, numbered 13 for 0..25, 0 for 26..51, then 1 and up for 52..63. */
VL_AVX2 static inline __m256i to_alphabet(__m256i numbers)
{
	const __m256i offsets = TWICE('a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
		'0' - 52, '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0);
	__m256i range = _mm256_subs_epu8(numbers, _mm256_set1_epi8(51));
	__m256i upper_case = _mm256_cmpgt_epi8(_mm256_set1_epi8(26), numbers);

	range = _mm256_or_si256(range, _mm256_and_si256(upper_case, _mm256_set1_epi8(13)));
	return _mm256_add_epi8(numbers, _mm256_shuffle_epi8(offsets, range));
}

VL_AVX2 size_t base64_encode_avx2(char *out, const uint8_t *in, size_t size)
{
	size_t used = 0;

	/* The second load reads 4 bytes beyond the 24. */
	for (; size - used >= 28; used += 24, out += 32)
		_mm256_storeu_si256((__m256i *)out, to_alphabet(spread(in + used)));
	return used;
}

/* The numbers of 32 characters, or false when one is not of the alphabet. */
VL_AVX2 static inline bool from_alphabet(__m256i characters, __m256i *numbers)
{
	/* A character is of the alphabet when the bits that its two halves select have none in common. */
	const __m256i low_bits =
		TWICE(0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a);
	const __m256i high_bits =
		TWICE(0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10);
	/* By the upper half of the character; '/' shares it with '+' and takes the one before. */
	const __m256i offsets = TWICE(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0);
	const __m256i nibble = _mm256_set1_epi8(0x0f);
	__m256i high = _mm256_and_si256(_mm256_srli_epi32(characters, 4), nibble);
	__m256i low = _mm256_and_si256(characters, nibble);
	__m256i slash = _mm256_cmpeq_epi8(characters, _mm256_set1_epi8('/'));

	if (!_mm256_testz_si256(_mm256_shuffle_epi8(low_bits, low), _mm256_shuffle_epi8(high_bits, high)))
		return false;
	*numbers = _mm256_add_epi8(characters, _mm256_shuffle_epi8(offsets, _mm256_add_epi8(slash, high)));
	return true;
}

VL_AVX2 size_t base64_decode_avx2(uint8_t *out, const char *in, size_t len)
{
	size_t used = 0;

	/* 32 bytes are stored, of which 24 count: the text must go on for 8 more, which is 11 characters. */
	for (; len - used >= 44; used += 32, out += 24) {
		__m256i numbers;

		if (!from_alphabet(_mm256_loadu_si256((const __m256i *)(in + used)), &numbers))
			break;
		/* Two of six bits to one of twelve, two of those to one of 24, whose three bytes are then put in order. */
		__m256i twelve = _mm256_maddubs_epi16(numbers, _mm256_set1_epi32(0x01400140));
		__m256i whole = _mm256_madd_epi16(twelve, _mm256_set1_epi32(0x00011000));
		__m256i bytes = _mm256_shuffle_epi8(whole, TWICE(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1));

		_mm256_storeu_si256(
			(__m256i *)out, _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7)));
	}
	return used;
}
#else
size_t base64_encode_avx2(char *out, const uint8_t *in, size_t size)
{
	(void)out, (void)in, (void)size;
	return 0;
}

size_t base64_decode_avx2(uint8_t *out, const char *in, size_t len)
{
	(void)out, (void)in, (void)len;
	return 0;
}
#endif
