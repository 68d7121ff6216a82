/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bulk of G.711 with AVX2, 16 samples at a time; for g711.c only, which does the rest. Each function returns the samples done, all but fewer than
 * 16 of `count`, or 0 where there is no AVX2 to compile for. Any thread, where vl_has_avx2().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

size_t g711_decode_ulaw_avx2(const uint8_t *codes, int16_t *samples, size_t count);
size_t g711_decode_alaw_avx2(const uint8_t *codes, int16_t *samples, size_t count);
size_t g711_encode_ulaw_avx2(const int16_t *samples, uint8_t *codes, size_t count);
size_t g711_encode_alaw_avx2(const int16_t *samples, uint8_t *codes, size_t count);
