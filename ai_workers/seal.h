/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sealed API key: one line of text that only the master key opens, and only for the user it was sealed for. Pure: mbedTLS's AES and SHA-256, no I/O, no randomness.
 *
 *     vlk1:<id of the master key, 16 hex digits>:<nonce>:<ciphertext and tag>
 *
 * The last two are base64url without padding (RFC 4648 section 5). The cipher is AES-256-GCM (NIST SP 800-38D) with a 96-bit nonce, a 128-bit tag, and
 * "voxlane key v1" followed by the user's name as additional data. Nonces are random (SP 800-38D section 8.2.2), for which section 8.3 allows 2^32 sealings
 * under one master key.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEAL_MASTER_SIZE 32u
#define SEAL_NONCE_SIZE	 12u
#define SEAL_TAG_SIZE	 16u
#define SEAL_KEY_MAX	 512u /* bytes of an API key */
#define SEAL_ID_SIZE	 17u  /* NUL included */
#define SEAL_TEXT_SIZE	 768u /* NUL included */

/* The id of a master key: the first 64 bits of its SHA-256 in hex. It tells master keys apart and nothing about their bits. Any thread. */
void seal_master_id(const uint8_t master[SEAL_MASTER_SIZE], char id[SEAL_ID_SIZE]);

/*
 * Seal `key` (1..SEAL_KEY_MAX bytes) for `user`. `nonce` must be fresh random bytes, never used before under this master key. Any thread. Returns 0 or
 * -EINVAL (length of the key) with `text` empty.
 */
int seal_key(char text[SEAL_TEXT_SIZE], const uint8_t master[SEAL_MASTER_SIZE], const uint8_t nonce[SEAL_NONCE_SIZE],
	const char *user, const char *key);

/*
 * Open a sealed key into `key`, NUL added. Any thread. Returns 0, or with an empty `key`: -EINVAL (not in this form), -ENOKEY (sealed under another master key) or
 * -EBADMSG (changed, or sealed for another user; GCM cannot tell which).
 */
int seal_open(char key[SEAL_KEY_MAX + 1], const uint8_t master[SEAL_MASTER_SIZE], const char *user, const char *text);

/* Whether the text has the form of a sealed key. Any thread. */
bool seal_valid(const char *text);

/* The id of the master key that a text in valid form was sealed under. Any thread. */
void seal_text_id(const char *text, char id[SEAL_ID_SIZE]);

/* AES-256-GCM alone, what the functions above are made of; `out` has len + SEAL_TAG_SIZE bytes. Any thread. */
void seal_gcm_encrypt(const uint8_t master[SEAL_MASTER_SIZE], const uint8_t nonce[SEAL_NONCE_SIZE], const void *aad,
	size_t aad_len, const void *in, size_t len, uint8_t *out);

/* The inverse: `in` has `len` bytes, the tag included, and `out` gets len - SEAL_TAG_SIZE. Any thread. Returns 0, or -EBADMSG with `out` zeroed. */
int seal_gcm_decrypt(const uint8_t master[SEAL_MASTER_SIZE], const uint8_t nonce[SEAL_NONCE_SIZE], const void *aad,
	size_t aad_len, const uint8_t *in, size_t len, void *out);
