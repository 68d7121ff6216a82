/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of G.711: 16 samples at a time where there is AVX2, the rest by spandsp's inline functions. Calculated rather than looked up in tables of
 * 64 KiB, see the note in spandsp's header.
 */
#include "g711.h"

#include <spandsp/telephony.h>

#include <spandsp/bit_operations.h>
#include <spandsp/g711.h>

#include "avx2.h"
#include "g711_avx2.h"

void vl_g711_decode(enum vl_g711_law law, const uint8_t *codes, int16_t *samples, size_t count)
{
	size_t i = 0;

	if (vl_has_avx2())
		i = law == VL_G711_PCMA ? g711_decode_alaw_avx2(codes, samples, count)
					: g711_decode_ulaw_avx2(codes, samples, count);
	for (; i < count; i++)
		samples[i] = law == VL_G711_PCMA ? alaw_to_linear(codes[i]) : ulaw_to_linear(codes[i]);
}

void vl_g711_encode(enum vl_g711_law law, const int16_t *samples, uint8_t *codes, size_t count)
{
	size_t i = 0;

	if (vl_has_avx2())
		i = law == VL_G711_PCMA ? g711_encode_alaw_avx2(samples, codes, count)
					: g711_encode_ulaw_avx2(samples, codes, count);
	for (; i < count; i++)
		codes[i] = law == VL_G711_PCMA ? linear_to_alaw(samples[i]) : linear_to_ulaw(samples[i]);
}
