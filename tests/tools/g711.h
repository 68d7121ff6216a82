/* SPDX-License-Identifier: Apache-2.0 */
/*
 * G.711 of the test tools, by spandsp; not the product's code, so that an error in that would be heard.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Encode or decode `count` samples, one byte each; `alaw` chooses PCMA, otherwise PCMU (ITU-T G.711). Any thread. */
void g711_encode_frame(bool alaw, const int16_t *samples, uint8_t *bytes, size_t count);
void g711_decode_frame(bool alaw, const uint8_t *bytes, int16_t *samples, size_t count);
