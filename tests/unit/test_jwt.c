/* SPDX-License-Identifier: Apache-2.0 */
/* Signed tokens: the RFC's own vector, what mbedTLS says of a signature, and what Google wants to read. */
#include "ai_workers/jwt.h"

#include <errno.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <mbedtls/pk.h>
#include <mbedtls/sha256.h>

#include "rsa_keys.h"
#include "shared/base64.h"
#include "unit.h"

#define AUDIENCE "https://oauth2.googleapis.com/token"
#define EMAIL	 "voice@project.iam.gserviceaccount.com"

/* RFC 7515 appendix A.2: RS256 is deterministic, so the whole text must come out. */
START_TEST(test_jwt_rfc_vector)
{
	static const char *const keys[] = {RFC_KEY, RFC_KEY_PKCS1};
	char jwt[JWT_MAX];

	for (size_t i = 0; i < 2; i++) {
		ck_assert_int_eq(jwt_sign(jwt, "{\"alg\":\"RS256\"}",
					 "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}",
					 keys[i], strlen(keys[i]) + 1),
			0);
		ck_assert_str_eq(jwt,
			"eyJhbGciOiJSUzI1NiJ9."
			"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
			"cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
			"O8W2Fp5jujGbds9uJdbF9CUAr7"
			"t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_"
			"dO--"
			"xi12jzDwusC-"
			"eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_"
			"IoypGlUPQGe77Rw");
	}
}
END_TEST

static size_t decode(const char *text, size_t len, uint8_t *to)
{
	struct vl_base64_decoder decoder = {0};
	char standard[2048];
	ssize_t size;

	for (size_t i = 0; i < len; i++)
		standard[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
	while (len % 4 != 0)
		standard[len++] = '=';
	size = vl_base64_decode_more(&decoder, standard, len, to);
	ck_assert_int_ge(size, 0);
	to[size] = '\0';
	return (size_t)size;
}

static void check_text(const cJSON *object, const char *name, const char *expected)
{
	ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(object, name)), expected);
}

START_TEST(test_jwt_assertion)
{
	char jwt[JWT_MAX];
	uint8_t bytes[2048], digest[32];
	const char *claims, *signature;
	mbedtls_pk_context key;
	cJSON *header, *body;
	size_t size;

	ck_assert_int_eq(jwt_assert(jwt, EMAIL, "k1", AUDIENCE, 1763822400, RFC_KEY, sizeof(RFC_KEY)), 0);
	ck_assert_ptr_null(strchr(jwt, '='));
	claims = strchr(jwt, '.') + 1;
	signature = strchr(claims, '.') + 1;
	decode(jwt, (size_t)(claims - 1 - jwt), bytes);
	header = cJSON_Parse((char *)bytes);
	check_text(header, "alg", "RS256");
	check_text(header, "typ", "JWT");
	check_text(header, "kid", "k1");
	decode(claims, (size_t)(signature - 1 - claims), bytes);
	body = cJSON_Parse((char *)bytes);
	check_text(body, "iss", EMAIL);
	check_text(body, "aud", AUDIENCE);
	check_text(body, "scope", "https://www.googleapis.com/auth/cloud-platform");
	ck_assert_double_eq(cJSON_GetObjectItem(body, "iat")->valuedouble, 1763822400.0);
	ck_assert_double_eq(cJSON_GetObjectItem(body, "exp")->valuedouble, 1763826000.0);
	size = decode(signature, strlen(signature), bytes);
	mbedtls_sha256_ret((const uint8_t *)jwt, (size_t)(signature - 1 - jwt), digest, 0);
	mbedtls_pk_init(&key);
	ck_assert_int_eq(mbedtls_pk_parse_public_key(&key, (const uint8_t *)RFC_PUBLIC_KEY, sizeof(RFC_PUBLIC_KEY)), 0);
	ck_assert_int_eq(mbedtls_pk_verify(&key, MBEDTLS_MD_SHA256, digest, sizeof(digest), bytes, size), 0);
	digest[0] ^= 1;
	ck_assert_int_ne(mbedtls_pk_verify(&key, MBEDTLS_MD_SHA256, digest, sizeof(digest), bytes, size), 0);
	mbedtls_pk_free(&key);
	cJSON_Delete(header);
	cJSON_Delete(body);
	/* Without a key id the header has none. */
	ck_assert_int_eq(jwt_assert(jwt, EMAIL, "", AUDIENCE, 0, RFC_KEY, sizeof(RFC_KEY)), 0);
	decode(jwt, strcspn(jwt, "."), bytes);
	ck_assert_str_eq((char *)bytes, "{\"alg\":\"RS256\",\"typ\":\"JWT\"}");
}
END_TEST

START_TEST(test_jwt_refuses_keys)
{
	static const struct {
		const char *pem;
		int check;
	} keys[] = {{RFC_KEY, 0}, {RFC_KEY_PKCS1, 0}, {RFC_PUBLIC_KEY, -EINVAL}, {EC_KEY, -EINVAL}, {SHORT_KEY, -ERANGE},
		{"", -EINVAL}, {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", -EINVAL}};
	char jwt[JWT_MAX], long_claims[JWT_MAX];

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		ck_assert_int_eq(jwt_check_key(keys[i].pem, strlen(keys[i].pem) + 1), keys[i].check);
		memset(jwt, 'x', sizeof(jwt));
		ck_assert_int_eq(
			jwt_sign(jwt, "{}", "{}", keys[i].pem, strlen(keys[i].pem) + 1), keys[i].check == 0 ? 0 : -EINVAL);
		ck_assert_int_eq(jwt[0] == '\0', keys[i].check != 0);
	}
	memset(long_claims, 'x', sizeof(long_claims));
	long_claims[sizeof(long_claims) - 1] = '\0';
	ck_assert_int_eq(jwt_sign(jwt, "{}", long_claims, RFC_KEY, sizeof(RFC_KEY)), -EMSGSIZE);
	long_claims[2500] = '\0';
	ck_assert_int_eq(jwt_sign(jwt, "{}", long_claims, RFC_KEY, sizeof(RFC_KEY)), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("jwt");
	unit_add(suite, "jwt", test_jwt_rfc_vector, test_jwt_assertion, test_jwt_refuses_keys);
	return unit_run(suite);
}
