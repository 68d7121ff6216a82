/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of G.711 over spandsp's inline sample functions; calculated rather than looked up in tables of 64 KiB, see the note in spandsp's header.
 */
#include "g711.h"

#include <spandsp/telephony.h>

#include <spandsp/bit_operations.h>
#include <spandsp/g711.h>

void vl_g711_decode(enum vl_g711_law law, const uint8_t *codes, int16_t *samples, size_t count)
{
	if (law == VL_G711_PCMA)
		for (size_t i = 0; i < count; i++)
			samples[i] = alaw_to_linear(codes[i]);
	else
		for (size_t i = 0; i < count; i++)
			samples[i] = ulaw_to_linear(codes[i]);
}

void vl_g711_encode(enum vl_g711_law law, const int16_t *samples, uint8_t *codes, size_t count)
{
	if (law == VL_G711_PCMA)
		for (size_t i = 0; i < count; i++)
			codes[i] = linear_to_alaw(samples[i]);
	else
		for (size_t i = 0; i < count; i++)
			codes[i] = linear_to_ulaw(samples[i]);
}
