/* SPDX-License-Identifier: Apache-2.0 */
/*
 * G.711 of the test tools.
 */
#include "g711.h"

/* spandsp's headers need each other in this order. */
/* clang-format off */
#include <inttypes.h>
#include <spandsp/telephony.h>
#include <spandsp/fast_convert.h>
#include <spandsp/bit_operations.h>
#include <spandsp/g711.h>
/* clang-format on */

void g711_encode_frame(bool alaw, const int16_t *samples, uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = alaw ? linear_to_alaw(samples[i]) : linear_to_ulaw(samples[i]);
}

void g711_decode_frame(bool alaw, const uint8_t *bytes, int16_t *samples, size_t count)
{
	for (size_t i = 0; i < count; i++)
		samples[i] = alaw ? alaw_to_linear(bytes[i]) : ulaw_to_linear(bytes[i]);
}
