/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See resample_avx2.h. The taps stay in registers, and the sums of eight outputs are gathered together: a compiler's own loop spends more on
 * gathering each than on its products.
 */
#include "resample_avx2.h"

#include "avx2.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* Eight partial sums of `n` times 16 products. */
VL_AVX2 __attribute__((always_inline)) static inline __m256i products(const int16_t *z, const __m256i *taps, unsigned int n)
{
	__m256i sum = _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)z), taps[0]);

#pragma GCC unroll 8
	for (unsigned int i = 1; i < n; i++)
		sum = _mm256_add_epi32(
			sum, _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)(z + 16 * (size_t)i)), taps[i]));
	return sum;
}

/* The sums of four outputs, `step` samples apart. */
VL_AVX2 __attribute__((always_inline)) static inline __m128i four(
	const int16_t *z, size_t step, const __m256i *taps, unsigned int n)
{
	__m256i first = _mm256_hadd_epi32(products(z, taps, n), products(z + step, taps, n));
	__m256i second = _mm256_hadd_epi32(products(z + 2 * step, taps, n), products(z + 3 * step, taps, n));
	__m256i both = _mm256_hadd_epi32(first, second);

	return _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
}

/* Eight outputs, rounded and saturated. */
VL_AVX2 __attribute__((always_inline)) static inline __m128i eight(
	const int16_t *z, size_t step, const __m256i *taps, unsigned int n, int shift)
{
	__m128i half = _mm_set1_epi32(1 << (shift - 1));
	__m128i low = _mm_add_epi32(four(z, step, taps, n), half), high = _mm_add_epi32(four(z + 4 * step, step, taps, n), half);

	return _mm_packs_epi32(_mm_srai_epi32(low, shift), _mm_srai_epi32(high, shift));
}

VL_AVX2 size_t resample_down_avx2(const int16_t *z, size_t outputs, const int16_t taps[RESAMPLE_DOWN_TAPS], int16_t *out)
{
	__m256i vectors[RESAMPLE_DOWN_TAPS / 16];
	size_t n = 0;

	for (size_t i = 0; i < RESAMPLE_DOWN_TAPS / 16; i++)
		vectors[i] = _mm256_loadu_si256((const __m256i *)(taps + 16 * i));
	for (; n + 8 <= outputs; n += 8)
		_mm_storeu_si128((__m128i *)(out + n), eight(z + 3 * n, 3, vectors, RESAMPLE_DOWN_TAPS / 16, 15));
	return n;
}

VL_AVX2 size_t resample_up_avx2(const int16_t *z, size_t inputs, const int16_t taps[RESAMPLE_UP_TAPS], size_t lead, int16_t *out)
{
	__m256i vectors[RESAMPLE_UP_TAPS / 16];
	size_t n = 0;

	for (size_t i = 0; i < RESAMPLE_UP_TAPS / 16; i++)
		vectors[i] = _mm256_loadu_si256((const __m256i *)(taps + 16 * i));
	for (; n + 8 <= inputs; n += 8) {
		__m128i same = _mm_loadu_si128((const __m128i *)(z + n + lead));
		__m128i between = eight(z + n, 1, vectors, RESAMPLE_UP_TAPS / 16, 14);

		_mm_storeu_si128((__m128i *)(out + 2 * n), _mm_unpacklo_epi16(same, between));
		_mm_storeu_si128((__m128i *)(out + 2 * n + 8), _mm_unpackhi_epi16(same, between));
	}
	return n;
}
#else
size_t resample_down_avx2(const int16_t *z, size_t outputs, const int16_t taps[RESAMPLE_DOWN_TAPS], int16_t *out)
{
	(void)z;
	(void)outputs;
	(void)taps;
	(void)out;
	return 0;
}

size_t resample_up_avx2(const int16_t *z, size_t inputs, const int16_t taps[RESAMPLE_UP_TAPS], size_t lead, int16_t *out)
{
	(void)z;
	(void)inputs;
	(void)taps;
	(void)lead;
	(void)out;
	return 0;
}
#endif
