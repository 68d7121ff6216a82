/* SPDX-License-Identifier: Apache-2.0 */
/* See jwt.h. */
#include "jwt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <cjson/cJSON.h>
#include <mbedtls/pk.h>
#include <mbedtls/rsa.h>
#include <mbedtls/sha256.h>

#include "../shared/base64.h"

#define SCOPE "https://www.googleapis.com/auth/cloud-platform"

static int random_bytes(void *unused, unsigned char *to, size_t size)
{
	(void)unused;
	for (size_t got = 0; got < size;) {
		ssize_t more = getrandom(to + got, size - got, 0);

		if (more < 0)
			return -1;
		got += (size_t)more;
	}
	return 0;
}

/* mbedtls_pk_free() overwrites what the context holds. */
static int read_key(mbedtls_pk_context *key, const char *pem, size_t size)
{
	size_t bits;

	mbedtls_pk_init(key);
	if (mbedtls_pk_parse_key(key, (const unsigned char *)pem, size, NULL, 0) != 0 ||
		mbedtls_pk_get_type(key) != MBEDTLS_PK_RSA)
		return -EINVAL;
	bits = mbedtls_pk_get_bitlen(key);
	return bits >= JWT_RSA_LEAST && bits <= JWT_RSA_MOST ? 0 : -ERANGE;
}

int jwt_check_key(const char *pem, size_t size)
{
	mbedtls_pk_context key;
	int r = read_key(&key, pem, size);

	/* Takes longer than signing: once is enough. */
	if (r == 0 && mbedtls_rsa_check_privkey(mbedtls_pk_rsa(key)) != 0)
		r = -EINVAL;
	mbedtls_pk_free(&key);
	return r;
}

static int sign(const char *text, size_t len, const char *pem, size_t size, uint8_t signature[MBEDTLS_MPI_MAX_SIZE],
	size_t *signature_size)
{
	uint8_t digest[32];
	mbedtls_pk_context key;
	int r = read_key(&key, pem, size);

	if (r != 0)
		r = -EINVAL;
	else if (mbedtls_sha256_ret((const unsigned char *)text, len, digest, 0) != 0 ||
		 mbedtls_pk_sign(
			 &key, MBEDTLS_MD_SHA256, digest, sizeof(digest), signature, signature_size, random_bytes, NULL) != 0)
		r = -EINVAL;
	mbedtls_pk_free(&key);
	return r;
}

int jwt_sign(char jwt[JWT_MAX], const char *header, const char *claims, const char *pem, size_t size)
{
	uint8_t signature[MBEDTLS_MPI_MAX_SIZE];
	size_t signature_size, header_len = strlen(header), claims_len = strlen(claims), len;
	int r;

	jwt[0] = '\0';
	if (VL_BASE64_ENCODED_SIZE(header_len) + VL_BASE64_ENCODED_SIZE(claims_len) + VL_BASE64_ENCODED_SIZE(JWT_RSA_MOST / 8) +
			sizeof("..") >
		JWT_MAX)
		return -EMSGSIZE;
	len = vl_base64url_encode(jwt, header, header_len);
	jwt[len++] = '.';
	len += vl_base64url_encode(jwt + len, claims, claims_len);
	r = sign(jwt, len, pem, size, signature, &signature_size);
	if (r != 0) {
		jwt[0] = '\0';
		return r;
	}
	jwt[len++] = '.';
	vl_base64url_encode(jwt + len, signature, signature_size);
	return 0;
}

int jwt_assert(char jwt[JWT_MAX], const char *email, const char *key_id, const char *audience, uint64_t now_s, const char *pem,
	size_t size)
{
	cJSON *header = cJSON_CreateObject(), *claims = cJSON_CreateObject();
	char *header_text, *claims_text;
	int r = -ENOMEM;

	cJSON_AddStringToObject(header, "alg", "RS256");
	cJSON_AddStringToObject(header, "typ", "JWT");
	if (key_id[0] != '\0')
		cJSON_AddStringToObject(header, "kid", key_id);
	cJSON_AddStringToObject(claims, "iss", email);
	cJSON_AddStringToObject(claims, "scope", SCOPE);
	cJSON_AddStringToObject(claims, "aud", audience);
	cJSON_AddNumberToObject(claims, "iat", (double)now_s);
	cJSON_AddNumberToObject(claims, "exp", (double)(now_s + JWT_LIFE_S));
	header_text = cJSON_PrintUnformatted(header);
	claims_text = cJSON_PrintUnformatted(claims);
	if (header_text != NULL && claims_text != NULL)
		r = jwt_sign(jwt, header_text, claims_text, pem, size);
	free(header_text);
	free(claims_text);
	cJSON_Delete(header);
	cJSON_Delete(claims);
	return r;
}
