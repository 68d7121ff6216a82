/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS over a connected socket that somebody else polls and reads: what has come is handed in, what is to go is sent at once. The
 * SSL_CTX, with the CA certificates, is its owner's; here a certificate must be valid and be the host's, always. OpenSSL.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <openssl/ssl.h>

struct tls_client {
	SSL *ssl;
	int socket;
	int error;	   /* errno of the last write that the socket has refused for good, or 0 */
	const uint8_t *in; /* ciphertext that has come and is not read; whoever hands it in takes what is left away again */
	size_t in_len;
};

/* Begin; `host` is a name or an IP address and not empty. Worker loop. Returns 0 or -ENOMEM. */
int tls_client_open(struct tls_client *tls, SSL_CTX *context, const char *host, int socket);

/* Say good-bye if `polite`, and free. Worker loop. Legal before tls_client_open(). */
void tls_client_close(struct tls_client *tls, bool polite);

/* Go on with the handshake. Worker loop. Returns 1 when it is done, 0 if more must come, -EPROTO. */
int tls_client_handshake(struct tls_client *tls);

/* Read. Worker loop. Returns the bytes, -EAGAIN if more ciphertext must come, -EPIPE at the end. */
ssize_t tls_client_read(struct tls_client *tls, uint8_t *to, size_t size);

/*
 * Write. Worker loop. Returns how many bytes are taken, -EAGAIN if the socket is full (the same bytes must be offered again when it
 * is not) or -EPIPE.
 */
ssize_t tls_client_write(struct tls_client *tls, const uint8_t *bytes, size_t len);

/* Why the handshake failed, for a person. Worker loop. */
void tls_client_error(const struct tls_client *tls, char *text, size_t size);
