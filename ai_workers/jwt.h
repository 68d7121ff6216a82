/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON Web Tokens signed by RSA (RFC 7515, RS256: RSASSA-PKCS1-v1_5 with SHA-256), and the one that Google exchanges for an access token (RFC 7523). Pure but for
 * the randomness that blinds the signature.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define JWT_MAX	      4096u /* bytes with the NUL; an assertion with a key of 4,096 bits has 1,300 */
#define JWT_LIFE_S    3600u /* longest that Google takes */
#define JWT_RSA_LEAST 2048u /* bits */
#define JWT_RSA_MOST  4096u /* signing takes the loop some 10 ms */

/*
 * Whether `pem`, `size` bytes with its NUL, is a private RSA key that jwt_sign() takes. Any. Returns 0, -EINVAL (not a private key, or not RSA) or -ERANGE
 * (JWT_RSA_LEAST to JWT_RSA_MOST bits).
 */
int jwt_check_key(const char *pem, size_t size);

/*
 * Sign `header` and `claims` (JSON texts) with `pem`, `size` bytes with its NUL: BASE64URL(header).BASE64URL(claims).BASE64URL(signature). Worker loop. Returns 0
 * or -EINVAL (the key cannot be used) or -EMSGSIZE, with nothing in `jwt`.
 */
int jwt_sign(char jwt[JWT_MAX], const char *header, const char *claims, const char *pem, size_t size);

/* What a service account tells the token endpoint `audience` at `now_s` (Unix time). Worker loop. Returns as jwt_sign(), or -ENOMEM. */
int jwt_assert(char jwt[JWT_MAX], const char *email, const char *key_id, const char *audience, uint64_t now_s, const char *pem,
	size_t size);
