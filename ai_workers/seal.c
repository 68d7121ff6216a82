/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed keys; see seal.h. mbedTLS compares the tag in constant time and zeroes the output when it is wrong. */
#include "seal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/gcm.h>
#include <mbedtls/sha256.h>

#include "../shared/base64.h"

#define PREFIX	    "vlk1:"
#define ID_AT	    (sizeof(PREFIX) - 1)
#define ID_LEN	    (SEAL_ID_SIZE - 1)
#define NONCE_AT    (ID_AT + ID_LEN + 1)
#define NONCE_LEN   (SEAL_NONCE_SIZE / 3u * 4u)
#define BOX_AT	    (NONCE_AT + NONCE_LEN + 1)
#define BOX_SIZE    (SEAL_KEY_MAX + SEAL_TAG_SIZE)
#define BOX_LEN_MAX (VL_BASE64_ENCODED_SIZE(BOX_SIZE))
_Static_assert(BOX_AT + BOX_LEN_MAX < SEAL_TEXT_SIZE, "a sealed key fits");

#define AAD_PREFIX "voxlane key v1"
#define AAD_SIZE   512u /* user names are far shorter */

#define BASE64URL "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

/* Where the fields of a text are, decoded. */
struct sealed {
	uint8_t nonce[VL_BASE64_DECODED_MAX(NONCE_LEN)];
	uint8_t box[VL_BASE64_DECODED_MAX(BOX_LEN_MAX)];
	size_t box_len;
};

/* Only an allocation inside mbedTLS can fail here, and nothing sensible is left to do without one. */
static void must(int mbedtls_result)
{
	if (mbedtls_result != 0)
		abort();
}

void seal_gcm_encrypt(const uint8_t master[SEAL_MASTER_SIZE], const uint8_t nonce[SEAL_NONCE_SIZE], const void *aad,
	size_t aad_len, const void *in, size_t len, uint8_t *out)
{
	mbedtls_gcm_context gcm;

	mbedtls_gcm_init(&gcm);
	must(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, master, SEAL_MASTER_SIZE * 8));
	must(mbedtls_gcm_crypt_and_tag(
		&gcm, MBEDTLS_GCM_ENCRYPT, len, nonce, SEAL_NONCE_SIZE, aad, aad_len, in, out, SEAL_TAG_SIZE, out + len));
	mbedtls_gcm_free(&gcm);
}

int seal_gcm_decrypt(const uint8_t master[SEAL_MASTER_SIZE], const uint8_t nonce[SEAL_NONCE_SIZE], const void *aad,
	size_t aad_len, const uint8_t *in, size_t len, void *out)
{
	mbedtls_gcm_context gcm;
	size_t text_len = len - SEAL_TAG_SIZE;
	int result;

	if (len < SEAL_TAG_SIZE)
		return -EBADMSG;
	mbedtls_gcm_init(&gcm);
	must(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, master, SEAL_MASTER_SIZE * 8));
	result = mbedtls_gcm_auth_decrypt(
		&gcm, text_len, nonce, SEAL_NONCE_SIZE, aad, aad_len, in + text_len, SEAL_TAG_SIZE, in, out);
	mbedtls_gcm_free(&gcm);
	if (result == MBEDTLS_ERR_GCM_AUTH_FAILED)
		return -EBADMSG;
	must(result);
	return 0;
}

void seal_master_id(const uint8_t master[SEAL_MASTER_SIZE], char id[SEAL_ID_SIZE])
{
	uint8_t digest[32];

	must(mbedtls_sha256_ret(master, SEAL_MASTER_SIZE, digest, 0));
	for (size_t i = 0; i < ID_LEN / 2; i++)
		snprintf(id + 2 * i, 3, "%02x", digest[i]);
	explicit_bzero(digest, sizeof(digest));
}

/* `out` has room for VL_BASE64_DECODED_MAX(len). Returns the bytes or -EINVAL: a character that does not belong, or bits that no encoder leaves. */
static ssize_t decode_url(const char *text, size_t len, uint8_t *out)
{
	struct vl_base64_decoder decoder = {0};
	char standard[BOX_LEN_MAX + 4];
	ssize_t size;

	if (len > BOX_LEN_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\0' || strchr(BASE64URL, text[i]) == NULL)
			return -EINVAL;
		standard[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
	}
	while (len % 4 != 0)
		standard[len++] = '=';
	size = vl_base64_decode_more(&decoder, standard, len, out);
	return vl_base64_decode_end(&decoder) == 0 ? size : -EINVAL;
}

static int read_text(const char *text, struct sealed *sealed)
{
	size_t len = strnlen(text, SEAL_TEXT_SIZE);
	ssize_t box_len;

	if (len <= BOX_AT || len >= SEAL_TEXT_SIZE || memcmp(text, PREFIX, ID_AT) != 0 ||
		strspn(text + ID_AT, "0123456789abcdef") != ID_LEN || text[NONCE_AT - 1] != ':' || text[BOX_AT - 1] != ':')
		return -EINVAL;
	if (decode_url(text + NONCE_AT, NONCE_LEN, sealed->nonce) != SEAL_NONCE_SIZE)
		return -EINVAL;
	box_len = decode_url(text + BOX_AT, len - BOX_AT, sealed->box);
	if (box_len <= (ssize_t)SEAL_TAG_SIZE || box_len > (ssize_t)BOX_SIZE)
		return -EINVAL;
	sealed->box_len = (size_t)box_len;
	return 0;
}

/* The user's name is authenticated, so that a sealed key opens in no other user's place. Returns the length. */
static size_t additional_data(char aad[AAD_SIZE], const char *user)
{
	int len = snprintf(aad, AAD_SIZE, AAD_PREFIX "%s", user);

	return len < 0 || len >= (int)AAD_SIZE ? 0 : (size_t)len;
}

int seal_key(char text[SEAL_TEXT_SIZE], const uint8_t master[SEAL_MASTER_SIZE], const uint8_t nonce[SEAL_NONCE_SIZE],
	const char *user, const char *key)
{
	size_t len = strlen(key), aad_len;
	uint8_t box[BOX_SIZE];
	char aad[AAD_SIZE];

	text[0] = '\0';
	aad_len = additional_data(aad, user);
	if (len == 0 || len > SEAL_KEY_MAX || aad_len == 0)
		return -EINVAL;
	seal_gcm_encrypt(master, nonce, aad, aad_len, key, len, box);
	memcpy(text, PREFIX, ID_AT);
	seal_master_id(master, text + ID_AT);
	text[NONCE_AT - 1] = ':';
	vl_base64url_encode(text + NONCE_AT, nonce, SEAL_NONCE_SIZE);
	text[BOX_AT - 1] = ':';
	vl_base64url_encode(text + BOX_AT, box, len + SEAL_TAG_SIZE);
	return 0;
}

int seal_open(char key[SEAL_KEY_MAX + 1], const uint8_t master[SEAL_MASTER_SIZE], const char *user, const char *text)
{
	struct sealed sealed;
	char id[SEAL_ID_SIZE], aad[AAD_SIZE];
	size_t aad_len = additional_data(aad, user);
	int result = read_text(text, &sealed);

	key[0] = '\0';
	if (result != 0 || aad_len == 0)
		return -EINVAL;
	seal_master_id(master, id);
	if (memcmp(text + ID_AT, id, ID_LEN) != 0)
		return -ENOKEY;
	result = seal_gcm_decrypt(master, sealed.nonce, aad, aad_len, sealed.box, sealed.box_len, key);
	key[result == 0 ? sealed.box_len - SEAL_TAG_SIZE : 0] = '\0';
	return result;
}

bool seal_valid(const char *text)
{
	struct sealed sealed;

	return read_text(text, &sealed) == 0;
}

void seal_text_id(const char *text, char id[SEAL_ID_SIZE])
{
	memcpy(id, text + ID_AT, ID_LEN);
	id[ID_LEN] = '\0';
}
