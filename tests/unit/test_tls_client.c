/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of a connection to the service, against OpenSSL's server at the other end of a socket pair: whose certificate is taken and whose
 * is not, and bytes both ways however they are cut.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>

#include <check.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "../../ai_workers/tls_client.h"
#include "unit.h"

#define HOST "live.service.example"
#define DAY  86400L
#define MUCH (256u * 1024u)

/* A certificate and its key. */
struct identity {
	X509 *certificate;
	EVP_PKEY *key;
};

static struct identity authority, stranger;

static void add_extension(X509 *certificate, X509 *issuer, int kind, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
	ck_assert_ptr_nonnull(extension);
	ck_assert_int_eq(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

/* Made by `issuer`, or by itself without one; valid between two times from now. */
static struct identity make(const struct identity *issuer, const char *name, const char *alternative, long from_s, long to_s)
{
	static long serial;
	struct identity made = {X509_new(), EVP_EC_gen("P-256")};
	X509_NAME *subject = X509_get_subject_name(made.certificate);

	X509_set_version(made.certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(made.certificate), from_s);
	X509_gmtime_adj(X509_getm_notAfter(made.certificate), to_s);
	X509_set_pubkey(made.certificate, made.key);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(made.certificate, issuer != NULL ? X509_get_subject_name(issuer->certificate) : subject);
	if (alternative != NULL)
		add_extension(made.certificate, made.certificate, NID_subject_alt_name, alternative);
	else
		add_extension(made.certificate, made.certificate, NID_basic_constraints, "critical,CA:TRUE");
	ck_assert_int_gt(X509_sign(made.certificate, issuer != NULL ? issuer->key : made.key, EVP_sha256()), 0);
	return made;
}

static void forget(struct identity *identity)
{
	X509_free(identity->certificate);
	EVP_PKEY_free(identity->key);
}

static void make_authorities(void)
{
	authority = make(NULL, "an authority", NULL, -DAY, DAY);
	stranger = make(NULL, "another authority", NULL, -DAY, DAY);
}

static void forget_authorities(void)
{
	forget(&authority);
	forget(&stranger);
}

/* Both ends of one connection. */
struct pair {
	SSL_CTX *context, *server_context;
	struct identity identity;
	struct tls_client client;
	SSL *server;
	int sockets[2]; /* client's, server's */
};

static void open_pair(struct pair *p, struct identity identity)
{
	memset(p, 0, sizeof(*p));
	p->identity = identity;
	p->context = SSL_CTX_new(TLS_client_method());
	X509_STORE_add_cert(SSL_CTX_get_cert_store(p->context), authority.certificate);
	p->server_context = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(p->server_context, identity.certificate);
	SSL_CTX_use_PrivateKey(p->server_context, identity.key);
}

/* A fresh connection, as of the contexts. */
static int connect_pair(struct pair *p, const char *host)
{
	int result;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->sockets), 0);
	p->server = SSL_new(p->server_context);
	SSL_set_fd(p->server, p->sockets[1]);
	SSL_set_accept_state(p->server);
	result = tls_client_open(&p->client, p->context, host, p->sockets[0]);
	ERR_clear_error();
	return result;
}

static void disconnect_pair(struct pair *p, bool polite)
{
	tls_client_close(&p->client, polite);
	SSL_free(p->server);
	close(p->sockets[0]);
	close(p->sockets[1]);
}

static void close_pair(struct pair *p)
{
	disconnect_pair(p, false);
	SSL_CTX_free(p->context);
	SSL_CTX_free(p->server_context);
	forget(&p->identity);
}

/* What has come, once what came before is read; at most `most` bytes. */
static void take_in(struct tls_client *client, size_t most)
{
	static uint8_t buffer[16384];
	ssize_t got;

	if (client->in_len > 0)
		return;
	got = recv(client->socket, buffer, most < sizeof(buffer) ? most : sizeof(buffer), 0);
	client->in = buffer;
	client->in_len = got > 0 ? (size_t)got : 0;
}

static int shake_hands(struct pair *p, size_t cut)
{
	int result = 0;

	for (int turn = 0; result == 0 && turn < 20000; turn++) {
		result = tls_client_handshake(&p->client);
		SSL_do_handshake(p->server);
		take_in(&p->client, cut);
	}
	return result;
}

static int say_yes(int preverified, X509_STORE_CTX *store)
{
	(void)preverified;
	(void)store;
	return 1;
}

static const struct {
	const char *host, *name, *alternative, *why; /* why: in the text of the refusal, NULL if it is taken */
	long from_s, to_s;
	struct identity *issuer;
} certificates[] = {
	{HOST, "x", "DNS:" HOST, NULL, -DAY, DAY, &authority},
	{HOST, "x", "DNS:elsewhere.example,DNS:" HOST, NULL, -DAY, DAY, &authority},
	{HOST, "x", "DNS:*.service.example", NULL, -DAY, DAY, &authority},
	{"127.0.0.1", "x", "IP:127.0.0.1", NULL, -DAY, DAY, &authority},
	{"::1", "x", "IP:::1", NULL, -DAY, DAY, &authority},
	{HOST, "x", "DNS:elsewhere.example", "ostname mismatch", -DAY, DAY, &authority},
	{HOST, HOST, "DNS:elsewhere.example", "ostname mismatch", -DAY, DAY, &authority},
	{HOST, "x", "DNS:*." HOST, "ostname mismatch", -DAY, DAY, &authority},
	{HOST, "x", "DNS:l*.service.example", "ostname mismatch", -DAY, DAY, &authority},
	{HOST, "x", "DNS:" HOST ".elsewhere.example", "ostname mismatch", -DAY, DAY, &authority},
	{"127.0.0.1", "x", "IP:127.0.0.2", "IP address mismatch", -DAY, DAY, &authority},
	{"127.0.0.1", "127.0.0.1", "DNS:127.0.0.1", "IP address mismatch", -DAY, DAY, &authority},
	{"::1", "x", "IP:::2", "IP address mismatch", -DAY, DAY, &authority},
	{HOST, "x", "DNS:" HOST, "certificate has expired", -2 * DAY, -DAY, &authority},
	{HOST, "x", "DNS:" HOST, "certificate is not yet valid", DAY, 2 * DAY, &authority},
	{HOST, "x", "DNS:" HOST, "unable to get local issuer certificate", -DAY, DAY, &stranger},
	{HOST, "x", "DNS:" HOST, "self-signed certificate", -DAY, DAY, NULL},
};

/* Whatever the context itself says of verifying. */
static void check_certificates(int mode, SSL_verify_cb callback)
{
	for (size_t i = 0; i < sizeof(certificates) / sizeof(certificates[0]); i++) {
		char text[200];
		struct pair p;

		open_pair(&p, make(certificates[i].issuer, certificates[i].name, certificates[i].alternative,
				      certificates[i].from_s, certificates[i].to_s));
		SSL_CTX_set_verify(p.context, mode, callback);
		ck_assert_int_eq(connect_pair(&p, certificates[i].host), 0);
		ck_assert_msg(shake_hands(&p, SIZE_MAX) == (certificates[i].why == NULL ? 1 : -EPROTO), "certificate %zu", i);
		if (certificates[i].why != NULL) {
			tls_client_error(&p.client, text, sizeof(text));
			ck_assert_msg(strstr(text, "certificate refused: ") == text, "certificate %zu: %s", i, text);
			/* Whoever says yes hears of the next fault too, and the last one is told. */
			ck_assert_msg(
				callback != NULL || strstr(text, certificates[i].why) != NULL, "certificate %zu: %s", i, text);
		}
		close_pair(&p);
	}
}

START_TEST(test_tls_client_certificates)
{
	check_certificates(SSL_VERIFY_PEER, NULL);
}
END_TEST

START_TEST(test_tls_client_context_that_verifies_nothing)
{
	check_certificates(SSL_VERIFY_NONE, NULL);
	check_certificates(SSL_VERIFY_NONE, say_yes);
}
END_TEST

static void open_good(struct pair *p)
{
	open_pair(p, make(&authority, "x", "DNS:" HOST, -DAY, DAY));
}

START_TEST(test_tls_client_no_host)
{
	struct pair p;

	open_good(&p);
	ck_assert_int_eq(connect_pair(&p, ""), -ENOMEM);
	ck_assert_ptr_null(p.client.ssl);
	close_pair(&p);
}
END_TEST

START_TEST(test_tls_client_old_protocol)
{
	static const struct {
		int version, result;
	} rows[] = {{TLS1_1_VERSION, -EPROTO}, {TLS1_2_VERSION, 1}, {TLS1_3_VERSION, 1}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct pair p;

		open_good(&p);
		/* As a careless openssl.cnf might have it. */
		SSL_CTX_set_security_level(p.context, 0);
		SSL_CTX_set_security_level(p.server_context, 0);
		SSL_CTX_set_min_proto_version(p.context, TLS1_VERSION);
		SSL_CTX_set_min_proto_version(p.server_context, TLS1_VERSION);
		SSL_CTX_set_max_proto_version(p.server_context, rows[i].version);
		ck_assert_int_eq(connect_pair(&p, HOST), 0);
		ck_assert_int_eq(shake_hands(&p, SIZE_MAX), rows[i].result);
		if (rows[i].result == 1)
			ck_assert_int_eq(SSL_version(p.client.ssl), rows[i].version);
		close_pair(&p);
	}
}
END_TEST

/* One call's session is never offered for another's connection, though both are of one context. */
START_TEST(test_tls_client_no_resumption)
{
	struct pair p;
	uint8_t byte;

	open_good(&p);
	SSL_CTX_set_session_cache_mode(p.context, SSL_SESS_CACHE_BOTH);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(connect_pair(&p, HOST), 0);
		ck_assert_int_eq(shake_hands(&p, SIZE_MAX), 1);
		/* With what the server says after the handshake: its tickets. */
		SSL_do_handshake(p.server);
		take_in(&p.client, SIZE_MAX);
		ck_assert_int_eq(tls_client_read(&p.client, &byte, 1), -EAGAIN);
		ck_assert_int_eq(SSL_session_reused(p.client.ssl), 0);
		if (i < 2)
			disconnect_pair(&p, true);
	}
	close_pair(&p);
}
END_TEST

static uint8_t *make_bytes(void)
{
	uint8_t *bytes = malloc(MUCH);

	for (size_t i = 0; i < MUCH; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	return bytes;
}

/* The service says much, with new keys in between for which it wants new ones of us; it comes cut in whatever pieces. */
START_TEST(test_tls_client_read)
{
	static const size_t cuts[] = {1, 5, 1000, 16384};
	uint8_t *bytes = make_bytes(), *got = malloc(MUCH);

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		size_t want = cuts[i] < 1000 ? 20000 : MUCH, said = 0, len = 0;
		struct pair p;

		open_good(&p);
		ck_assert_int_eq(connect_pair(&p, HOST), 0);
		ck_assert_int_eq(shake_hands(&p, cuts[i]), 1);
		SSL_set_mode(p.server, SSL_MODE_ENABLE_PARTIAL_WRITE);
		while (len < want) {
			size_t more = 0;
			ssize_t part;

			if (said < want && SSL_write_ex(p.server, bytes + said, want - said, &more))
				said += more;
			if (more > 0 && said < want)
				ck_assert_int_eq(SSL_key_update(p.server, SSL_KEY_UPDATE_REQUESTED), 1);
			take_in(&p.client, cuts[i]);
			while ((part = tls_client_read(&p.client, got + len, want - len)) > 0)
				len += (size_t)part;
			ck_assert(part == -EAGAIN || len == want);
		}
		ck_assert_mem_eq(got, bytes, want);
		close_pair(&p);
	}
	free(bytes);
	free(got);
}
END_TEST

/* The socket is full again and again, and the same bytes are offered from another place. */
START_TEST(test_tls_client_write)
{
	uint8_t *bytes = make_bytes(), *moved = make_bytes(), *got = malloc(MUCH);
	size_t taken = 0, len = 0, more, full = 0;
	struct pair p;

	open_good(&p);
	ck_assert_int_eq(connect_pair(&p, HOST), 0);
	ck_assert_int_eq(shake_hands(&p, SIZE_MAX), 1);
	SSL_do_handshake(p.server);
	while (len < MUCH) {
		ssize_t written = 0;

		while (taken < MUCH && written >= 0) {
			written = tls_client_write(&p.client, (full % 2 == 0 ? bytes : moved) + taken, MUCH - taken);
			ck_assert(written > 0 || written == -EAGAIN);
			if (written > 0)
				taken += (size_t)written;
			else
				full++;
		}
		while (SSL_read_ex(p.server, got + len, MUCH - len, &more))
			len += more;
	}
	ck_assert_uint_gt(full, 0);
	ck_assert_mem_eq(got, bytes, MUCH);
	close_pair(&p);
	free(bytes);
	free(moved);
	free(got);
}
END_TEST

START_TEST(test_tls_client_ends)
{
	uint8_t byte;
	struct pair p;

	open_good(&p);
	for (int polite = 0; polite < 2; polite++) {
		ck_assert_int_eq(connect_pair(&p, HOST), 0);
		ck_assert_int_eq(shake_hands(&p, SIZE_MAX), 1);
		SSL_do_handshake(p.server);
		tls_client_close(&p.client, polite);
		close(p.sockets[0]);
		ck_assert_int_le(SSL_read(p.server, &byte, 1), 0);
		ck_assert_int_eq((SSL_get_shutdown(p.server) & SSL_RECEIVED_SHUTDOWN) != 0, polite);
		SSL_free(p.server);
		close(p.sockets[1]);
	}
	/* The service's good-bye is the end, garbage too, and a socket that is closed takes nothing. */
	for (int garbage = 0; garbage < 2; garbage++) {
		ck_assert_int_eq(connect_pair(&p, HOST), 0);
		ck_assert_int_eq(shake_hands(&p, SIZE_MAX), 1);
		SSL_do_handshake(p.server);
		if (garbage)
			ck_assert_int_eq(send(p.sockets[1], "\x17\x03\x03\x00\x14 nobody encrypted it", 25, 0), 25);
		else
			SSL_shutdown(p.server);
		for (int i = 0; i < 2; i++) {
			take_in(&p.client, SIZE_MAX);
			if (tls_client_read(&p.client, &byte, 1) != -EAGAIN)
				break;
		}
		ck_assert_int_eq(tls_client_read(&p.client, &byte, 1), -EPIPE);
		shutdown(p.sockets[1], SHUT_RDWR);
		ck_assert_int_eq(tls_client_write(&p.client, &byte, 1), -EPIPE);
		if (garbage == 0)
			disconnect_pair(&p, true);
	}
	close_pair(&p);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tls_client");

	/* OpenSSL's own socket, the server's, does not ask for none. */
	signal(SIGPIPE, SIG_IGN);

	unit_add_fixture(suite, "trust", make_authorities, forget_authorities, test_tls_client_certificates,
		test_tls_client_context_that_verifies_nothing, test_tls_client_no_host, test_tls_client_old_protocol,
		test_tls_client_no_resumption);
	unit_add_fixture(suite, "bytes", make_authorities, forget_authorities, test_tls_client_read, test_tls_client_write,
		test_tls_client_ends);
	return unit_run(suite);
}
