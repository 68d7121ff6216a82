/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base64 of client messages as the service's JSON parser takes it: both alphabets, padding optional. Its own, so that the judge does not share an error with
 * the worker; by table, because mbedTLS's constant-time decoder was 40 % of the emulator's work. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that a text of this length can decode to, at most. */
#define DECODE64_ROOM(size) ((size) / 4 * 3 + 3)

/* Decode `size` characters into `to` (DECODE64_ROOM(size) bytes), or only check them if it is NULL. Sets *made. Returns whether it was base64. */
bool decode64(const char *text, size_t size, uint8_t *to, size_t *made);
