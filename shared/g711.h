/* SPDX-License-Identifier: Apache-2.0 */
/*
 * G.711, the telephone's codec: one byte a sample at 8 kHz, by mu-law (PCMU) or A-law (PCMA). The sample arithmetic is spandsp's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define VL_G711_RATE_HZ 8000u

/* Values are the static RTP payload types (RFC 3551 section 6). */
enum vl_g711_law { VL_G711_PCMU = 0, VL_G711_PCMA = 8 };

/* The code of the sample nearest to zero, for silence. */
#define VL_G711_PCMU_SILENCE 0xffu
#define VL_G711_PCMA_SILENCE 0xd5u

/* Decode `count` codes to as many 16-bit samples (G.711 tables 1 and 2). Pure, any thread. */
void vl_g711_decode(enum vl_g711_law law, const uint8_t *codes, int16_t *samples, size_t count);

/* Encode `count` 16-bit samples to as many codes. Pure, any thread. */
void vl_g711_encode(enum vl_g711_law law, const int16_t *samples, uint8_t *codes, size_t count);

/* The silence code of `law`. Pure, any thread. */
static inline uint8_t vl_g711_silence(enum vl_g711_law law)
{
	return law == VL_G711_PCMA ? VL_G711_PCMA_SILENCE : VL_G711_PCMU_SILENCE;
}
