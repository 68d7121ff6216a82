/* SPDX-License-Identifier: Apache-2.0 */
/* See tls_client.h. OpenSSL reads and writes through a BIO of ours. */
#include "tls_client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <sys/socket.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

static int bio_read(BIO *bio, char *to, int size)
{
	struct tls_client *tls = BIO_get_data(bio);
	size_t take = tls->in_len < (size_t)size ? tls->in_len : (size_t)size;

	BIO_clear_retry_flags(bio);
	if (take == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(to, tls->in, take);
	tls->in += take;
	tls->in_len -= take;
	return (int)take;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
	struct tls_client *tls = BIO_get_data(bio);
	ssize_t sent = send(tls->socket, bytes, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);

	BIO_clear_retry_flags(bio);
	if (sent < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(bio);
	else if (sent < 0)
		tls->error = errno;
	return (int)sent;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

/* One for the process; made once. */
static const BIO_METHOD *bio_method(void)
{
	static BIO_METHOD *method;

	if (method == NULL) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket of the event loop");
		if (method == NULL)
			return NULL;
		BIO_meth_set_read(method, bio_read);
		BIO_meth_set_write(method, bio_write);
		BIO_meth_set_ctrl(method, bio_ctrl);
	}
	return method;
}

/* The certificate must be the host's (RFC 6125); SNI only for a name (RFC 6066 3). */
static int expect_host(SSL *ssl, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (X509_VERIFY_PARAM_set1_ip_asc(param, host))
		return 0;
	ERR_clear_error();
	return SSL_set_tlsext_host_name(ssl, host) && X509_VERIFY_PARAM_set1_host(param, host, 0) ? 0 : -ENOMEM;
}

int tls_client_open(struct tls_client *tls, SSL_CTX *context, const char *host, int socket)
{
	static const unsigned char alpn[] = "\x08http/1.1";
	const BIO_METHOD *method = bio_method();
	BIO *bio = method != NULL ? BIO_new(method) : NULL;

	*tls = (struct tls_client){.ssl = SSL_new(context), .socket = socket};
	if (bio == NULL || tls->ssl == NULL) {
		BIO_free(bio);
		tls_client_close(tls, false);
		return -ENOMEM;
	}
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls->ssl, bio, bio);
	SSL_set_connect_state(tls->ssl);
	SSL_set_verify(tls->ssl, SSL_VERIFY_PEER, NULL);
	/* RFC 8996. Without renegotiation a write never has to read first, and the certificate that was verified stays the one. */
	SSL_set_min_proto_version(tls->ssl, TLS1_2_VERSION);
	SSL_set_options(tls->ssl, SSL_OP_NO_RENEGOTIATION);
	/* Buffers of 16 kB each way only while a record is under way. */
	SSL_set_mode(tls->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (expect_host(tls->ssl, host) != 0 || SSL_set_alpn_protos(tls->ssl, alpn, sizeof(alpn) - 1) != 0) {
		tls_client_close(tls, false);
		return -ENOMEM;
	}
	return 0;
}

void tls_client_close(struct tls_client *tls, bool polite)
{
	if (tls->ssl == NULL)
		return;
	ERR_clear_error();
	if (polite)
		SSL_shutdown(tls->ssl);
	SSL_free(tls->ssl);
	ERR_clear_error();
	tls->ssl = NULL;
}

int tls_client_handshake(struct tls_client *tls)
{
	int result;

	ERR_clear_error();
	result = SSL_do_handshake(tls->ssl);
	/* Whatever callbacks the context has: without a verified certificate nothing is sent. */
	if (result == 1)
		return SSL_get0_peer_certificate(tls->ssl) != NULL && SSL_get_verify_result(tls->ssl) == X509_V_OK ? 1 : -EPROTO;
	result = SSL_get_error(tls->ssl, result);
	return result == SSL_ERROR_WANT_READ || result == SSL_ERROR_WANT_WRITE ? 0 : -EPROTO;
}

ssize_t tls_client_read(struct tls_client *tls, uint8_t *to, size_t size)
{
	size_t got = 0;

	ERR_clear_error();
	if (SSL_read_ex(tls->ssl, to, size, &got))
		return (ssize_t)got;
	switch (SSL_get_error(tls->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	default:
		return -EPIPE;
	}
}

ssize_t tls_client_write(struct tls_client *tls, const uint8_t *bytes, size_t len)
{
	size_t taken = 0;

	ERR_clear_error();
	if (SSL_write_ex(tls->ssl, bytes, len, &taken))
		return (ssize_t)taken;
	switch (SSL_get_error(tls->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	default:
		return -EPIPE;
	}
}

void tls_client_error(const struct tls_client *tls, char *text, size_t size)
{
	long verify = SSL_get_verify_result(tls->ssl);
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	if (verify != X509_V_OK)
		snprintf(text, size, "certificate refused: %s", X509_verify_cert_error_string(verify));
	else
		snprintf(text, size, "the TLS handshake failed: %s", reason != NULL ? reason : "no reason given");
}
