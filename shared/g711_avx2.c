/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See g711_avx2.h. Samples are 16-bit lanes. A lane cannot be shifted by a number of its own, so it is multiplied by a power of two that a byte shuffle
 * looks up by segment (ITU-T G.711 tables 1 and 2: sign, 3 bits of segment, 4 bits of step).
 */
#include "g711_avx2.h"

#include "avx2.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define ULAW_BIAS 0x84
#define ALAW_EVEN 0x55 /* bits that A-law inverts */

/* The same 16 bytes in both halves; a shuffle works on each half by itself. */
#define TWICE(...) _mm256_setr_epi8(__VA_ARGS__, __VA_ARGS__)

#define SET(value) _mm256_set1_epi16((short)(value))

VL_AVX2 static inline __m256i load_codes(const uint8_t *codes)
{
	return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)codes));
}

/* By a table of bytes; the index of the upper byte has its top bit set, which makes it 0. */
VL_AVX2 static inline __m256i low_byte(__m256i table, __m256i index)
{
	return _mm256_shuffle_epi8(table, _mm256_or_si256(index, SET(0x8000)));
}

VL_AVX2 static inline __m256i segment_of_code(__m256i code)
{
	return _mm256_and_si256(_mm256_srli_epi16(code, 4), SET(7));
}

VL_AVX2 static inline __m256i negate_where(__m256i mask, __m256i value)
{
	return _mm256_sub_epi16(_mm256_xor_si256(value, mask), mask);
}

VL_AVX2 size_t g711_decode_ulaw_avx2(const uint8_t *codes, int16_t *samples, size_t count)
{
	const __m256i powers = TWICE(1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0);
	size_t n = 0;

	for (; n + 16 <= count; n += 16) {
		__m256i code = _mm256_xor_si256(load_codes(codes + n), SET(0xff));
		__m256i step = _mm256_add_epi16(_mm256_slli_epi16(_mm256_and_si256(code, SET(0x0f)), 3), SET(ULAW_BIAS));
		__m256i size = _mm256_mullo_epi16(step, low_byte(powers, segment_of_code(code)));
		__m256i negative = _mm256_srai_epi16(_mm256_slli_epi16(code, 8), 15);

		_mm256_storeu_si256((__m256i *)(samples + n), negate_where(negative, _mm256_sub_epi16(size, SET(ULAW_BIAS))));
	}
	return n;
}

VL_AVX2 size_t g711_decode_alaw_avx2(const uint8_t *codes, int16_t *samples, size_t count)
{
	const __m256i powers = TWICE(1, 1, 2, 4, 8, 16, 32, 64, 0, 0, 0, 0, 0, 0, 0, 0);
	size_t n = 0;

	for (; n + 16 <= count; n += 16) {
		__m256i code = _mm256_xor_si256(load_codes(codes + n), SET(ALAW_EVEN));
		__m256i segment = segment_of_code(code);
		__m256i step = _mm256_add_epi16(_mm256_slli_epi16(_mm256_and_si256(code, SET(0x0f)), 4), SET(8));
		/* Every segment but the first has the bit above its steps. */
		__m256i above = _mm256_and_si256(_mm256_cmpgt_epi16(segment, _mm256_setzero_si256()), SET(0x100));
		__m256i size = _mm256_mullo_epi16(_mm256_add_epi16(step, above), low_byte(powers, segment));
		__m256i negative = _mm256_cmpeq_epi16(_mm256_and_si256(code, SET(0x80)), _mm256_setzero_si256());

		_mm256_storeu_si256((__m256i *)(samples + n), negate_where(negative, size));
	}
	return n;
}

/* The segment of magnitudes below 32,768: 0 below 256, then one for each power of two. */
VL_AVX2 static inline __m256i segment_of_size(__m256i size)
{
	const __m256i of_low = TWICE(0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4);
	const __m256i of_high = TWICE(0, 5, 6, 6, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0);
	__m256i low = _mm256_and_si256(_mm256_srli_epi16(size, 8), SET(0x0f)), high = _mm256_srli_epi16(size, 12);

	return _mm256_max_epu8(_mm256_shuffle_epi8(of_low, low), _mm256_shuffle_epi8(of_high, high));
}

/* The four bits of step and three of segment: `factors` has the lower bytes of 65,536 / 2^shift by segment, then the upper ones. */
VL_AVX2 static inline __m256i to_code(__m256i size, __m256i factors)
{
	__m256i segment = segment_of_size(size);
	__m256i both = _mm256_or_si256(segment, _mm256_slli_epi16(segment, 8));
	__m256i factor = _mm256_shuffle_epi8(factors, _mm256_or_si256(both, SET(0x0800)));
	__m256i step = _mm256_and_si256(_mm256_mulhi_epu16(size, factor), SET(0x0f));

	return _mm256_or_si256(_mm256_slli_epi16(segment, 4), step);
}

VL_AVX2 static inline void store_codes(uint8_t *codes, __m256i lanes)
{
	_mm_storeu_si128((__m128i *)codes, _mm_packus_epi16(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1)));
}

VL_AVX2 size_t g711_encode_ulaw_avx2(const int16_t *samples, uint8_t *codes, size_t count)
{
	/* Shifts of 3 to 10. */
	const __m256i factors = TWICE(0, 0, 0, 0, 0, 0, (char)128, 64, 32, 16, 8, 4, 2, 1, 0, 0);
	size_t n = 0;

	for (; n + 16 <= count; n += 16) {
		__m256i sample = _mm256_loadu_si256((const __m256i *)(samples + n));
		__m256i size = _mm256_max_epi16(sample, _mm256_subs_epi16(_mm256_setzero_si256(), sample));
		__m256i code = to_code(_mm256_adds_epi16(size, SET(ULAW_BIAS)), factors);
		__m256i negative = _mm256_srai_epi16(sample, 15);

		store_codes(
			codes + n, _mm256_xor_si256(code, _mm256_xor_si256(SET(0xff), _mm256_and_si256(negative, SET(0x80)))));
	}
	return n;
}

VL_AVX2 size_t g711_encode_alaw_avx2(const int16_t *samples, uint8_t *codes, size_t count)
{
	/* Shifts of 4, 4, 5 to 10. */
	const __m256i factors = TWICE(0, 0, 0, 0, 0, 0, (char)128, 64, 16, 16, 8, 4, 2, 1, 0, 0);
	size_t n = 0;

	for (; n + 16 <= count; n += 16) {
		__m256i sample = _mm256_loadu_si256((const __m256i *)(samples + n));
		__m256i negative = _mm256_srai_epi16(sample, 15);
		__m256i code = to_code(_mm256_xor_si256(sample, negative), factors);

		store_codes(codes + n,
			_mm256_xor_si256(code, _mm256_xor_si256(SET(ALAW_EVEN | 0x80), _mm256_and_si256(negative, SET(0x80)))));
	}
	return n;
}
#else
size_t g711_decode_ulaw_avx2(const uint8_t *codes, int16_t *samples, size_t count)
{
	(void)codes;
	(void)samples;
	(void)count;
	return 0;
}

size_t g711_decode_alaw_avx2(const uint8_t *codes, int16_t *samples, size_t count)
{
	return g711_decode_ulaw_avx2(codes, samples, count);
}

size_t g711_encode_ulaw_avx2(const int16_t *samples, uint8_t *codes, size_t count)
{
	(void)samples;
	(void)codes;
	(void)count;
	return 0;
}

size_t g711_encode_alaw_avx2(const int16_t *samples, uint8_t *codes, size_t count)
{
	return g711_encode_ulaw_avx2(samples, codes, count);
}
#endif
