/* SPDX-License-Identifier: Apache-2.0 */
/* The users file: what it says, what is refused, that no key leaves it through an error or a freed buffer, and who may read it. */
#include "ai_workers/users.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ai_workers/seal.h"
#include "ai_workers/users_projects.h"
#include "rsa_keys.h"
#include "unit.h"

#define GEMINI	     "\"gemini\":{\"endpoint\":\"wss://localhost:8443\",\"model\":\"m\"}"
#define VERTEX(more) "\"gemini\":{\"model\":\"m\",\"service\":\"vertex\",\"vertex\":{\"location\":\"europe-west4\"" more "}}"
#define SEALED	     "vlk1:ae216c2ef5247a37:8PHy8_T19vf4-fr7:cRf2XM-xWXu7cHwQeGqrcO_bhdLXWVN87-qpUYQRgHUbZ5MQwDY0_rV4WCqwEmZikOVj0Ftfvw"
/* `openssl req -x509 -newkey ed25519`, valid for a hundred years */
#define CA_PEM                                                               \
	"-----BEGIN CERTIFICATE-----\n"                                      \
	"MIIBOjCB7aADAgECAhRv2QSgZDN4Z+X84NWxZQlapvKeSDAFBgMrZXAwEjEQMA4G\n" \
	"A1UEAwwHdGVzdCBDQTAgFw0yNjExMjIxNTEwNTdaGA8yMTI2MTAyOTE1MTA1N1ow\n" \
	"EjEQMA4GA1UEAwwHdGVzdCBDQTAqMAUGAytlcAMhAOdIay7PJsAy2z/MQwEiMXhH\n" \
	"YU1J4LwkGh7METoPVz9To1MwUTAdBgNVHQ4EFgQUWtbudlK/K+BeFcQi/bZ2xB3H\n" \
	"Qh4wHwYDVR0jBBgwFoAUWtbudlK/K+BeFcQi/bZ2xB3HQh4wDwYDVR0TAQH/BAUw\n" \
	"AwEB/zAFBgMrZXADQQDKV0IWgB9dYRWlCuUWEQ5/gbzCqe5CcQdAnotkFFyCs/BB\n" \
	"QJix6T4iIADBxQOZSoy43HL4Qfxn9UGUjN9S0nQF\n"                         \
	"-----END CERTIFICATE-----\n"
#define KEY "AIzaSyD-SECRET-SECRET-SECRET-SECRET-123"

static struct users *parse(const char *text, struct vl_errors *errors)
{
	memset(errors, 0, sizeof(*errors));
	return users_parse(text, strlen(text), NULL, errors);
}

START_TEST(test_users_accepts)
{
	struct vl_errors errors;
	struct users *u = parse(
		"{\"gemini\":{\"endpoint\":\"wss://gemini.test:8443\",\"ca_file\":\"/etc/ca.pem\",\"model\":\"gemini-3.8-live\","
		"\"api_version\":\"v1alpha\"},\"users\":[{\"name\":\"zoe@example.com\",\"api_key\":\"" KEY "\"},"
		"{\"name\":\"admin2\",\"api_key\":\"12345678\",\"voice\":\"Kore\",\"language\":\"en-US\",\"instructions\":"
		"\"Be\\nkind.\","
		"\"model\":\"models/own\",\"greeting\":\"Say hello.\"}]}",
		&errors);
	ck_assert_msg(u != NULL, "%s", errors.errors[0].text);
	ck_assert_str_eq(u->gemini.endpoint.host, "gemini.test");
	ck_assert_uint_eq(u->gemini.endpoint.port, 8443);
	ck_assert_str_eq(u->gemini.ca_file, "/etc/ca.pem");
	ck_assert_str_eq(u->gemini.api_version, "v1alpha");
	ck_assert_uint_eq(u->count, 2);
	const struct user *zoe = users_find(u, "zoe@example.com"), *admin = users_find(u, "admin2");
	ck_assert_ptr_eq(zoe, &u->users[0]);
	ck_assert_ptr_eq(admin, &u->users[1]);
	ck_assert_ptr_null(users_find(u, "admin"));
	ck_assert_str_eq(zoe->api_key, KEY);
	ck_assert_str_eq(users_model(zoe), "gemini-3.8-live");
	ck_assert(zoe->voice[0] == '\0' && zoe->instructions == NULL && zoe->greeting == NULL);
	ck_assert_str_eq(users_model(admin), "models/own");
	ck_assert_str_eq(admin->instructions, "Be\nkind.");
	ck_assert_str_eq(admin->greeting, "Say hello.");
	users_free(u);
	users_free(NULL);
	u = parse("{\"gemini\":{\"model\":\"m\"},\"users\":[{\"name\":\"a\",\"api_key\":\"12345678\"}]}", &errors);
	ck_assert_ptr_nonnull(u);
	ck_assert_str_eq(u->gemini.endpoint.host, "generativelanguage.googleapis.com");
	ck_assert_uint_eq(u->gemini.endpoint.port, 443);
	ck_assert_str_eq(u->gemini.api_version, "v1beta");
	users_free(u);
}
END_TEST

START_TEST(test_users_checks_endpoint)
{
	static const struct {
		const char *endpoint, *host;
		uint16_t port;
	} cases[] = {
		{"wss://h", "h", 443},
		{"wss://127.0.0.1:8443", "127.0.0.1", 8443},
		{"ws://h", NULL, 0},
		{"https://h", NULL, 0},
		{"wss://", NULL, 0},
		{"wss://h/", NULL, 0},
		{"wss://h/path", NULL, 0},
		{"wss://user@h", NULL, 0},
		{"wss://h?key=1", NULL, 0},
		{"wss://h:", NULL, 0},
		{"wss://h:0", NULL, 0},
		{"wss://h:65536", NULL, 0},
		{"wss://h:080", NULL, 0},
		{"wss://h:1x", NULL, 0},
		{"wss://-h", NULL, 0},
		{"wss://[::1]", NULL, 0}, /* its certificate's name would not be checked */
		{"wss://[2001:db8::1]:1", NULL, 0},
		{"wss://[]", NULL, 0},
		{"WSS://h", NULL, 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vl_errors errors;
		char text[256];
		snprintf(text, sizeof(text),
			"{\"gemini\":{\"endpoint\":\"%s\",\"model\":\"m\"},\"users\":[{\"name\":\"a\",\"api_key\":\"12345678\"}]"
			"}",
			cases[i].endpoint);
		struct users *u = parse(text, &errors);
		ck_assert_msg((u != NULL) == (cases[i].host != NULL), "%s", cases[i].endpoint);
		if (u != NULL) {
			ck_assert_str_eq(u->gemini.endpoint.host, cases[i].host);
			ck_assert_uint_eq(u->gemini.endpoint.port, cases[i].port);
		} else {
			ck_assert_str_eq(errors.errors[0].text, "gemini.endpoint: is not wss://host or wss://host:port, a name "
								"or an IPv4 address (IPv6 by name only), without a path");
		}
		users_free(u);
	}
}
END_TEST

static const struct {
	const char *text, *error;
} bad[] = {
	{"{" GEMINI "}", "users: is missing"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\"}]}", "users[0].api_key: is missing, and there is no sealed_key"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\",\"sealed_key\":\"" SEALED "\"}]}",
		"users[0].sealed_key: is there besides api_key; keep one of them"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\",\"voise\":\"Kore\"}]}",
		"users[0].voise: no such member"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"" KEY "\":\"api_key\",\"api_key\":\"" KEY "\"}]}",
		"users[0]: has a member that does not exist (its name could be a key and is not shown)"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"short-KEY7\":1,\"api_key\":\"" KEY "\"}]}",
		"users[0]: has a member that does not exist (its name could be a key and is not shown)"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"abcdefghijklmnopqrstuvwxy\":1,\"api_key\":\"" KEY "\"}]}",
		"users[0]: has a member that does not exist (its name could be a key and is not shown)"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"abcdefghijklmnopqrstuvwx\":1,\"api_key\":\"" KEY "\"}]}",
		"users[0].abcdefghijklmnopqrstuvwx: no such member"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"" KEY "\":1,\"" KEY "\":2}]}", "users[0].(a long name): given twice"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\",\"api_key\":\"" KEY "\"}]}",
		"users[0].api_key: given twice"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\\nx: y\"}]}",
		"users[0].api_key: is not an API key: 8 to 512 printable ASCII characters without spaces"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY " \"}]}",
		"users[0].api_key: is not an API key: 8 to 512 printable ASCII characters without spaces"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\xc3\xa9\"}]}",
		"users[0].api_key: is not an API key: 8 to 512 printable ASCII characters without spaces"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"1234567\"}]}", "users[0].api_key: has 7 bytes, not 8 to 512"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":[\"" KEY "\"]}]}", "users[0].api_key: is not a string"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\" \"" KEY "\"}]}",
		"line 1, column 132: expected ',' or '}'"},
	{"{" GEMINI ",\"users\":[{\"name\":\"" KEY " \",\"api_key\":\"" KEY "\"}]}",
		"users[0].name: is not a name of letters, digits and \"._@+-\" that begins with a letter or digit"},
	{"{" GEMINI ",\"users\":[{\"name\":\"b\",\"api_key\":\"" KEY "\"},{\"name\":\"a\",\"api_key\":\"" KEY "\"},"
	 "{\"name\":\"b\",\"api_key\":\"" KEY "\"}]}",
		"users[2].name: the same name as users[0]"},
	{"{\"gemini\":{\"model\":\"m\",\"api_version\":\"v2\"},\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\"}]}",
		"gemini.api_version: is not one of \"v1beta\", \"v1alpha\", \"v1\""},
	{"{" GEMINI ",\"projects\":[{\"name\":\"p\"}],\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\",\"project\":\"P\"}]}",
		"users[0].project: is none of the 1 project"},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\",\"project\":\"p\"}]}",
		"users[0].project: there are no `projects`"},
	{"{" GEMINI
	 ",\"projects\":[{\"name\":\"p\"},{\"name\":\"q\"},{\"name\":\"p\"}],\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY
	 "\"}]}",
		"projects[2].name: the same name as projects[0]"},
	{"{" GEMINI ",\"projects\":[{\"name\":\"p\"},{\"name\":\"q\"}],\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY
	 "\",\"project\":\"p\"},{\"name\":\"b\",\"api_key\":\"another-key\",\"project\":\"q\"},{\"name\":\"c\",\"api_key\":\"" KEY
	 "\",\"project\":\"q\"}]}",
		"users[2].project: is another than that of users[0], which has the same key"},
	{"{" GEMINI ",\"projects\":[{\"name\":\"p\",\"max_calls\":0}],\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\"}]}",
		"projects[0].max_calls: is not in 1..1000000"},
	{"{\"gemini\":{\"model\":\"m\",\"api_version\":\"v1beta1\"},\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\"}]}",
		"gemini.api_version: is not one of \"v1beta\", \"v1alpha\", \"v1\""},
	{"{\"gemini\":{\"model\":\"m\",\"vertex\":{\"location\":\"eu\"}},\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\"}]}",
		"gemini.vertex: belongs to \"service\": \"vertex\""},
	{"{\"gemini\":{\"model\":\"m\",\"service\":\"vertexai\"},\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\"}]}",
		"gemini.service: is not one of \"developer\", \"vertex\""},
	{"{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\",\"vertex\":{\"project\":\"p\"}}]}",
		"users[0].vertex: belongs to \"service\": \"vertex\""},
	{"{\"gemini\":{\"model\":\"m\",\"service\":\"vertex\"},\"users\":[{\"name\":\"a\"}]}",
		"gemini.vertex: is missing; \"service\": \"vertex\" needs it"},
	{"{" VERTEX("") ",\"users\":[{\"name\":\"a\"}]}",
		"users[0].vertex.service_account_file: is missing, and there is none in gemini.vertex"},
	{"{" VERTEX(",\"service_account_file\":\"/f\"") ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\"}]}",
		"users[0].api_key: is of no use with \"service\": \"vertex\""},
	{"{" VERTEX(",\"service_acount_file\":\"/f\"") ",\"users\":[{\"name\":\"a\"}]}",
		"gemini.vertex.service_acount_file: no such member"},
	{"{" VERTEX(",\"project\":\"a/b\"") ",\"users\":[{\"name\":\"a\"}]}", "gemini.vertex.project: is not a project's id"},
	{"{\"gemini\":{\"model\":\"m\",\"service\":\"vertex\",\"vertex\":{\"location\":\"evil.example/"
	 "\"}},\"users\":[{\"name\":\"a\"}]}",
		"gemini.vertex.location: is not a location such as \"us-central1\", \"global\", \"us\" or \"eu\""},
	{"{\"gemini\":{},\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\"}]}", "gemini.model: is missing"},
	{"{\"gemini\":{\"model\":\"m?key=1\"},\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\"}]}",
		"gemini.model: is not a model name such as \"gemini-3.8-live\""},
};

START_TEST(test_users_refuses_without_telling_keys)
{
	struct vl_errors errors;
	errno = 0;
	ck_assert_ptr_null(parse(bad[_i].text, &errors));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_str_eq(errors.errors[0].text, bad[_i].error);
	for (unsigned int i = 0; i < errors.count; i++)
		ck_assert_ptr_null(strstr(errors.errors[i].text, "SECRET"));
}
END_TEST

/* Every way a key can be cut short by an error still says nothing of it. */
START_TEST(test_users_tells_no_key_in_any_broken_file)
{
	static const char whole[] = "{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\",\"voice\":\"Kore\"}]}";
	char text[sizeof(whole)];
	struct vl_errors errors;
	for (size_t at = 0; at < sizeof(whole) - 1; at++)
		for (const char *c = "\"\\{}[],:x\n"; *c != '\0'; c++) {
			memcpy(text, whole, sizeof(whole));
			text[at] = *c;
			struct users *u = parse(text, &errors);
			for (unsigned int i = 0; i < errors.count && i < VL_ERRORS_MAX; i++)
				ck_assert_msg(strstr(errors.errors[i].text, "SECRET") == NULL, "%s", errors.errors[i].text);
			users_free(u);
		}
}
END_TEST

#if !defined(__SANITIZE_ADDRESS__)
/* Freed memory is looked at, which a sanitizer rightly forbids. */
static unsigned int copies, leaks;
static void (*real_free)(void *);

static void looking_free(void *memory)
{
	if (memory != NULL && malloc_usable_size(memory) >= sizeof(KEY) - 1) {
		copies++;
		if (memmem(memory, malloc_usable_size(memory), "SECRET", 6) != NULL)
			leaks++;
	}
	real_free(memory);
}

START_TEST(test_users_wipes_tree)
{
	static const char text[] = "{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\",\"greeting\":\"" KEY "\"}]}";
	struct vl_errors errors;
	cJSON_Hooks hooks = {.malloc_fn = malloc, .free_fn = looking_free};
	real_free = free;
	copies = leaks = 0;
	cJSON_InitHooks(&hooks);
	struct users *u = parse(text, &errors);
	cJSON_InitHooks(NULL);
	ck_assert_ptr_nonnull(u);
	ck_assert_uint_gt(copies, 0);
	ck_assert_uint_eq(leaks, 0);
	/* The settings' own copy was overwritten and freed when the key moved to its page. */
	ck_assert_str_eq(u->users[0].api_key, KEY);
	ck_assert(u->users[0].api_key >= (char *)u->keys.base && u->users[0].api_key < (char *)u->keys.base + u->keys.size);
	users_free(u);
}
END_TEST
#endif

static const uint8_t master[SEAL_MASTER_SIZE] = {42};
static const uint8_t nonce[SEAL_NONCE_SIZE] = {1};

/* A file with one user, "b" with a plain key in front, and `user` with `sealed`. */
static void file_with(char *text, size_t size, const char *user, const char *sealed)
{
	snprintf(text, size,
		"{" GEMINI ",\"users\":[{\"name\":\"b\",\"api_key\":\"plain-key-1\"},{\"name\":\"%s\",\"sealed_key\":\"%s\"}]}",
		user, sealed);
}

START_TEST(test_users_opens_sealed_keys)
{
	char text[2048], sealed[SEAL_TEXT_SIZE];
	struct vl_errors errors = {0};

	ck_assert_int_eq(seal_key(sealed, master, nonce, "admin2", KEY), 0);
	file_with(text, sizeof(text), "admin2", sealed);
	struct users *u = users_parse(text, strlen(text), master, &errors);
	ck_assert_msg(u != NULL, "%s", errors.errors[0].text);
	ck_assert_str_eq(users_find(u, "admin2")->api_key, KEY);
	ck_assert_str_eq(users_find(u, "b")->api_key, "plain-key-1");
	/* Both are in secret pages, and nothing else there is left of the opening. */
	unsigned int found = 0;
	for (size_t i = 0; i + 6 <= u->keys.size; i++)
		found += memcmp(u->keys.base + i, "AIzaSy", 6) == 0;
	ck_assert_uint_eq(found, 1);
	users_free(u);
}
END_TEST

START_TEST(test_users_refuses_sealed_keys)
{
	char text[2048], sealed[SEAL_TEXT_SIZE], id[SEAL_ID_SIZE], other_id[SEAL_ID_SIZE], expected[256];
	uint8_t other[SEAL_MASTER_SIZE] = {43};
	struct vl_errors errors = {0};

	seal_master_id(master, id);
	seal_master_id(other, other_id);
	ck_assert_int_eq(seal_key(sealed, master, nonce, "admin2", KEY), 0);
	file_with(text, sizeof(text), "admin2", sealed);

	ck_assert_ptr_null(users_parse(text, strlen(text), NULL, &errors));
	snprintf(expected, sizeof(expected),
		"users[1].sealed_key: is sealed under master key %s; say with --master-key where that is", id);
	ck_assert_str_eq(errors.errors[0].text, expected);

	memset(&errors, 0, sizeof(errors));
	ck_assert_ptr_null(users_parse(text, strlen(text), other, &errors));
	snprintf(expected, sizeof(expected),
		"users[1].sealed_key: is sealed under master key %s, not under the one given (%s); give that one or seal the key "
		"again",
		id, other_id);
	ck_assert_str_eq(errors.errors[0].text, expected);

	file_with(text, sizeof(text), "agent4", sealed);
	memset(&errors, 0, sizeof(errors));
	ck_assert_ptr_null(users_parse(text, strlen(text), master, &errors));
	ck_assert_str_eq(errors.errors[0].text, "users[1].sealed_key: does not open: it was changed, or sealed for another user; "
						"seal the key again (voxlanectl keys seal)");

	file_with(text, sizeof(text), "admin2", KEY);
	memset(&errors, 0, sizeof(errors));
	ck_assert_ptr_null(users_parse(text, strlen(text), master, &errors));
	ck_assert_str_eq(errors.errors[0].text, "users[1].sealed_key: is not a sealed key as voxlanectl keys seal writes it");

	/* A key that could not go into a header was sealed by something else. */
	ck_assert_int_eq(seal_key(sealed, master, nonce, "admin2", KEY "\r\nx: y"), 0);
	file_with(text, sizeof(text), "admin2", sealed);
	memset(&errors, 0, sizeof(errors));
	ck_assert_ptr_null(users_parse(text, strlen(text), master, &errors));
	ck_assert_ptr_nonnull(strstr(errors.errors[0].text, "users[1].sealed_key: holds something that is not an API key"));
	ck_assert_ptr_null(strstr(errors.errors[0].text, "SECRET"));
}
END_TEST

/* A reload: what calls hold stays, what they do not is overwritten at once, the rest with the last call. */
START_TEST(test_users_retires)
{
	static const char text[] =
		"{" GEMINI
		",\"users\":[{\"name\":\"a\",\"api_key\":\"aaaaaaaaaaaa\"},{\"name\":\"b\",\"api_key\":\"bbbbbbbbbbbb\"},"
		"{\"name\":\"c\",\"api_key\":\"cccccccccccc\"}]}";
	struct vl_errors errors = {0};
	struct users *u = users_parse(text, sizeof(text) - 1, NULL, &errors);
	struct user *a = users_find(u, "a"), *b = users_find(u, "b"), *c = users_find(u, "c");
	char *key_a = a->api_key, *key_b = b->api_key, *key_c = c->api_key;

	users_hold(a);
	users_hold(b);
	users_hold(b);
	users_hold(c);
	users_release(c);
	ck_assert_str_eq(key_c, "cccccccccccc");
	users_retire(u);
	ck_assert_str_eq(a->api_key, "aaaaaaaaaaaa");
	ck_assert_ptr_null(c->api_key);
	for (size_t i = 0; i < 12; i++)
		ck_assert_int_eq(key_c[i], 0);
	users_release(a);
	for (size_t i = 0; i < 12; i++)
		ck_assert_int_eq(key_a[i], 0);
	users_release(b);
	ck_assert_str_eq(b->api_key, "bbbbbbbbbbbb");
	uint8_t *page = u->keys.base;
	unsigned char resident;
	ck_assert_int_eq(mincore(page, 4096, &resident), 0);
	users_release(b);
	(void)key_b;
	ck_assert_int_eq(mincore(page, 4096, &resident), -1);
	/* Without calls, at once. */
	u = users_parse(text, sizeof(text) - 1, NULL, &errors);
	users_retire(u);
}
END_TEST

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *to = fopen(path, "w");
	fputs(text, to);
	fclose(to);
	ck_assert_int_eq(chmod(path, mode), 0);
}

START_TEST(test_users_checks_file)
{
	static const struct {
		mode_t mode;
		bool good;
	} modes[] = {{0600, true}, {0400, true}, {0640, false}, {0604, false}, {0620, false}, {0610, false}, {0666, false}};
	struct vl_errors errors;
	struct vl_error error;
	char path[] = "/tmp/vl-users-XXXXXX", expected[200];
	close(mkstemp(path));
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		memset(&errors, 0, sizeof(errors));
		write_file(path, "{" GEMINI ",\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\"}]}", modes[i].mode);
		struct users *u = users_load(path, NULL, &errors);
		ck_assert_int_eq(u != NULL, modes[i].good);
		if (u == NULL) {
			ck_assert_int_eq(errno, EPERM);
			snprintf(expected, sizeof(expected),
				"group or others may have access to it (mode %04o); if it is meant to hold keys, run: chmod 600 "
				"%s",
				modes[i].mode, path);
			ck_assert_str_eq(errors.errors[0].text, expected);
		}
		users_free(u);
	}
	unlink(path);
	struct vl_file file = {.mode = 0600, .owner = 1000};
	ck_assert_int_eq(vl_file_check_private("f", &file, 1000, false, &error), 0);
	ck_assert_int_eq(vl_file_check_private("f", &file, 1001, false, &error), -EPERM);
	ck_assert_str_eq(
		error.text, "belongs to user 1000, who could read keys in it; if it is meant to hold them, run: chown 1001 f");
	file.owner = 0;
	ck_assert_int_eq(vl_file_check_private("f", &file, 1001, false, &error), 0);
	file = (struct vl_file){.mode = 0644, .owner = 1000};
	ck_assert_int_eq(vl_file_check_trusted("f", &file, 1000, &error), 0);
	ck_assert_int_eq(vl_file_check_trusted("f", &file, 1001, &error), -EPERM);
	ck_assert_str_eq(error.text, "belongs to user 1000, who could change it; run: chown 1001 f");
	file.owner = 0;
	ck_assert_int_eq(vl_file_check_trusted("f", &file, 1001, &error), 0);
}
END_TEST

/* Users with one key are one project's, whether they say so or not. */
START_TEST(test_users_finds_projects)
{
	static const struct {
		const char *name, *project, *key_first;
	} cases[] = {{"a", "p", "a"}, {"b", "p", "a"}, {"c", NULL, "c"}, {"d", NULL, "c"}, {"e", "q", "e"}, {"f", "p", "f"},
		{"g", "p", "a"}};
	struct vl_errors errors = {0};
	struct users *u =
		parse("{" GEMINI ",\"projects\":[{\"name\":\"q\"},{\"name\":\"p\",\"max_calls\":50,\"handshakes_per_second\":5}],"
		      "\"users\":["
		      "{\"name\":\"a\",\"api_key\":\"key-number-1\"},"
		      "{\"name\":\"b\",\"api_key\":\"key-number-1\",\"project\":\"p\"},"
		      "{\"name\":\"c\",\"api_key\":\"key-number-2\"},"
		      "{\"name\":\"d\",\"api_key\":\"key-number-2\"},"
		      "{\"name\":\"e\",\"api_key\":\"key-number-3\",\"project\":\"q\"},"
		      "{\"name\":\"f\",\"api_key\":\"key-number-4\",\"project\":\"p\"},"
		      "{\"name\":\"g\",\"api_key\":\"key-number-1\",\"project\":\"p\"}]}",
			&errors);

	ck_assert_msg(u != NULL, "%s", errors.errors[0].text);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct user *user = users_find(u, cases[i].name);

		ck_assert_str_eq(user->key_first->name, cases[i].key_first);
		ck_assert_msg((user->in_project != NULL) == (cases[i].project != NULL), "%s", cases[i].name);
		if (cases[i].project != NULL)
			ck_assert_str_eq(user->in_project->name, cases[i].project);
	}
	ck_assert_uint_eq(users_find(u, "a")->in_project->max_calls, 50);
	ck_assert_uint_eq(users_find(u, "a")->in_project->handshakes_per_second, 5);
	ck_assert_uint_eq(users_find(u, "e")->in_project->max_calls, 0);
	users_free(u);
}
END_TEST

/* With Vertex AI there is no key: the billed project says who is counted together. */
START_TEST(test_users_finds_billed_projects)
{
	struct user_project projects[] = {{.name = "p"}, {.name = "q"}};
	struct user list[] = {{.name = "a", .resource = (char *)"projects/one/locations/eu/publishers/google/models/m"},
		{.name = "b", .resource = (char *)"projects/one-more/locations/eu/publishers/google/models/m"},
		{.name = "c", .resource = (char *)"projects/one/locations/eu/publishers/google/models/other", .project = "p"},
		{.name = "d"}};
	struct users u = {.projects = projects, .project_count = 2, .users = list, .count = 4};
	struct vl_errors errors = {0};

	for (int i = 0; i < 2; i++) { /* again when more is known */
		ck_assert_int_eq(users_find_projects(&u, &errors), 0);
		ck_assert_ptr_eq(list[0].in_project, &projects[0]);
		ck_assert_ptr_null(list[1].in_project);
		ck_assert_ptr_eq(list[2].in_project, &projects[0]);
		ck_assert_ptr_eq(list[2].key_first, &list[0]);
		ck_assert_ptr_eq(list[1].key_first, &list[1]);
		ck_assert_ptr_eq(list[3].key_first, &list[3]);
	}
	strcpy(list[0].project, "q");
	ck_assert_int_eq(users_find_projects(&u, &errors), -EINVAL);
	ck_assert_str_eq(errors.errors[0].text, "users[2].project: is another than that of users[0], which has the same key");
}
END_TEST

/* A CA file that cannot be used is an error of the users file, not a line in the log. */
START_TEST(test_users_checks_ca_file)
{
	static const char good[] = "-----BEGIN CERTIFICATE-----\n"
				   "MIIBITCB1KADAgECAhRUCfs0JH8PtnEq7stzHCrNVRXuYDAFBgMrZXAwDTELMAkG\n";
	static const struct {
		const char *text, *error;
	} cases[] = {
		{NULL, "gemini.ca_file: No such file or directory"},
		{"", "gemini.ca_file: is not a PEM file"},
		{"binary\x01\x02", "gemini.ca_file: is not a PEM file"},
		{"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n",
			"gemini.ca_file: is a PEM file without a certificate"},
		{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
			"gemini.ca_file: holds a certificate that cannot be read"},
		{good, "gemini.ca_file: holds a certificate that cannot be read"}, /* cut off */
		{CA_PEM, NULL},
		{"text before\n" CA_PEM CA_PEM "text behind\n", NULL},
		{CA_PEM "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
			"gemini.ca_file: holds a certificate that cannot be read"},
	};
	char directory[] = "/tmp/vl-users-XXXXXX", path[64], ca[64], text[512];

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/users.json", directory);
	snprintf(ca, sizeof(ca), "%s/ca.pem", directory);
	snprintf(text, sizeof(text),
		"{\"gemini\":{\"model\":\"m\",\"ca_file\":\"%s\"},\"users\":[{\"name\":\"a\",\"api_key\":\"" KEY "\"}]}", ca);
	write_file(path, text, 0600);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vl_errors errors = {0};
		struct users *u;

		if (cases[i].text != NULL)
			write_file(ca, cases[i].text, 0644);
		u = users_load(path, NULL, &errors);
		ck_assert_msg((u != NULL) == (cases[i].error == NULL), "case %zu: %s", i, errors.errors[0].text);
		if (u == NULL)
			ck_assert_str_eq(errors.errors[0].text, cases[i].error);
		users_free(u);
	}
	static const mode_t open_modes[] = {0664, 0646};
	write_file(ca, CA_PEM, 0644);
	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
		struct vl_errors errors = {0};

		ck_assert_int_eq(chmod(ca, open_modes[i]), 0);
		ck_assert_ptr_null(users_load(path, NULL, &errors));
		ck_assert_int_eq(errno, EPERM);
		ck_assert_ptr_nonnull(strstr(errors.errors[0].text, "gemini.ca_file: group or others may change it"));
	}
	unlink(ca);
	unlink(path);
	rmdir(directory);
}
END_TEST

/* Where Vertex AI is, by location; `endpoint` overrides it. */
START_TEST(test_users_vertex_hosts)
{
	static const struct {
		const char *location, *more, *host, *version;
	} cases[] = {
		{"us-central1", "", "us-central1-aiplatform.googleapis.com", "v1beta1"},
		{"global", "", "aiplatform.googleapis.com", "v1beta1"},
		{"us", "", "aiplatform.us.rep.googleapis.com", "v1beta1"},
		{"eu", ",\"api_version\":\"v1\"", "aiplatform.eu.rep.googleapis.com", "v1"},
		{"eu", ",\"endpoint\":\"wss://gate.example\"", "gate.example", "v1beta1"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vl_errors errors;
		char text[512];

		snprintf(text, sizeof(text),
			"{\"gemini\":{\"service\":\"vertex\",\"model\":\"m\",\"vertex\":{\"location\":\"%s\",\"service_account_"
			"file\":\"/f\"}%s},"
			"\"users\":[{\"name\":\"a\"}]}",
			cases[i].location, cases[i].more);
		struct users *u = parse(text, &errors);
		ck_assert_msg(u != NULL, "%s", errors.errors[0].text);
		ck_assert_str_eq(u->gemini.endpoint.host, cases[i].host);
		ck_assert_uint_eq(u->gemini.endpoint.port, 443);
		ck_assert_str_eq(u->gemini.api_version, cases[i].version);
		users_free(u);
	}
}
END_TEST

static void write_account(const char *path, const char *email, mode_t mode)
{
	char text[4096];
	cJSON *key = cJSON_CreateString(RFC_KEY);
	char *quoted = cJSON_PrintUnformatted(key);

	snprintf(text, sizeof(text),
		"{\"type\":\"service_account\",\"client_email\":\"%s\",\"project_id\":\"own\",\"private_key\":%s}", email,
		quoted);
	write_file(path, text, mode);
	free(quoted);
	cJSON_Delete(key);
}

/* Accounts by file, the user's own before the common one; models as whole resources. */
START_TEST(test_users_vertex_accounts)
{
	char directory[] = "/tmp/vl-users-XXXXXX", path[64], one[64], two[64], text[1024];
	struct vl_errors errors = {0};

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/users.json", directory);
	snprintf(one, sizeof(one), "%s/one.json", directory);
	snprintf(two, sizeof(two), "%s/two.json", directory);
	write_account(one, "one@x", 0600);
	write_account(two, "two@x", 0600);
	snprintf(text, sizeof(text),
		"{\"gemini\":{\"service\":\"vertex\",\"model\":\"models/"
		"m1\",\"vertex\":{\"location\":\"eu\",\"service_account_file\":\"%s\"}},"
		"\"users\":[{\"name\":\"a\"},{\"name\":\"b\",\"model\":\"m2\",\"vertex\":{\"project\":\"p-2\",\"service_account_"
		"file\":\"%s\"}},"
		"{\"name\":\"c\",\"model\":\"projects/p/locations/l/publishers/google/models/m3\"}]}",
		one, two);
	write_file(path, text, 0600);
	struct users *u = users_load(path, NULL, &errors);
	ck_assert_msg(u != NULL, "%s", errors.errors[0].text);
	ck_assert_str_eq(u->users[0].account->email, "one@x");
	ck_assert_ptr_eq(u->users[0].account, u->users[2].account);
	ck_assert_str_eq(u->users[1].account->email, "two@x");
	ck_assert_str_eq(users_model(&u->users[0]), "projects/own/locations/eu/publishers/google/models/m1");
	ck_assert_str_eq(users_model(&u->users[1]), "projects/p-2/locations/eu/publishers/google/models/m2");
	ck_assert_str_eq(users_model(&u->users[2]), "projects/p/locations/l/publishers/google/models/m3");
	/* A call outlives the file; without keys there is nothing to wipe. */
	users_hold(&u->users[0]);
	users_retire(u);
	ck_assert_str_eq(u->users[0].account->email, "one@x");
	users_release(&u->users[0]);
	write_account(two, "two@x", 0644);
	memset(&errors, 0, sizeof(errors));
	ck_assert_ptr_null(users_load(path, NULL, &errors));
	ck_assert_ptr_nonnull(
		strstr(errors.errors[0].text, "users[1].vertex.service_account_file: group or others may have access to it"));
	unlink(one);
	memset(&errors, 0, sizeof(errors));
	ck_assert_ptr_null(users_load(path, NULL, &errors));
	ck_assert_str_eq(errors.errors[0].text, "gemini.vertex.service_account_file: No such file or directory");
	ck_assert_uint_eq(errors.count, 2);
	unlink(two);
	unlink(path);
	rmdir(directory);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("users");
	unit_add(suite, "accept", test_users_accepts, test_users_checks_endpoint);
	TCase *tc = tcase_create("secret");
	tcase_add_loop_test(tc, test_users_refuses_without_telling_keys, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, test_users_tells_no_key_in_any_broken_file);
#if !defined(__SANITIZE_ADDRESS__)
	tcase_add_test(tc, test_users_wipes_tree);
#endif
	suite_add_tcase(suite, tc);
	unit_add(suite, "sealed", test_users_opens_sealed_keys, test_users_refuses_sealed_keys);
	unit_add(suite, "projects", test_users_finds_projects, test_users_finds_billed_projects);
	unit_add(suite, "reload", test_users_retires);
	unit_add(suite, "vertex", test_users_vertex_hosts, test_users_vertex_accounts);
	unit_add(suite, "file", test_users_checks_file, test_users_checks_ca_file);
	return unit_run(suite);
}
