/* SPDX-License-Identifier: Apache-2.0 */
/* A service account's key file: what is read, what is refused, and that nothing of it leaks. */
#include "ai_workers/service_account.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "rsa_keys.h"
#include "unit.h"

#define EMAIL "voice@project-1.iam.gserviceaccount.com"

/* A file as Google writes it, with one member changed: to a JSON text, or left out (NULL). */
static char *make_file(const char *change, const char *to)
{
	cJSON *file = cJSON_CreateObject();
	char *text;

	cJSON_AddStringToObject(file, "type", "service_account");
	cJSON_AddStringToObject(file, "project_id", "project-1");
	cJSON_AddStringToObject(file, "private_key_id", "0123456789abcdef");
	cJSON_AddStringToObject(file, "private_key", RFC_KEY);
	cJSON_AddStringToObject(file, "client_email", EMAIL);
	cJSON_AddStringToObject(file, "client_id", "1234567890");
	cJSON_AddStringToObject(file, "auth_uri", "https://accounts.google.com/o/oauth2/auth");
	cJSON_AddStringToObject(file, "token_uri", "https://oauth2.googleapis.com/token");
	cJSON_AddStringToObject(file, "universe_domain", "googleapis.com");
	if (change != NULL)
		cJSON_DeleteItemFromObject(file, change);
	if (to != NULL)
		cJSON_AddItemToObject(file, change, cJSON_Parse(to));
	text = cJSON_Print(file);
	cJSON_Delete(file);
	return text;
}

static struct service_account *parse(const char *change, const char *to, struct vl_error *error)
{
	char *text = make_file(change, to);
	struct service_account *a = service_account_parse("/etc/voxlane/account.json", text, strlen(text), error);

	free(text);
	return a;
}

START_TEST(test_service_account_reads)
{
	struct vl_error error;
	struct service_account *a = parse(NULL, NULL, &error), *b, *c;

	ck_assert_msg(a != NULL, "%s", error.text);
	ck_assert_str_eq(a->path, "/etc/voxlane/account.json");
	ck_assert_str_eq(a->email, EMAIL);
	ck_assert_str_eq(a->key_id, "0123456789abcdef");
	ck_assert_str_eq(a->project, "project-1");
	ck_assert_str_eq(a->token_host, "oauth2.googleapis.com");
	ck_assert_str_eq(a->token_path, "/token");
	ck_assert_uint_eq(a->token_port, 443);
	ck_assert_str_eq(a->private_key, RFC_KEY);
	ck_assert_ptr_eq((const uint8_t *)a->private_key, a->pages.base);
	b = parse("private_key_id", "\"other\"", &error);
	c = parse("client_id", NULL, &error);
	ck_assert(!service_account_same(a, b));
	ck_assert(service_account_same(a, c));
	ck_assert_ptr_eq(service_account_hold(a), a);
	service_account_release(a);
	ck_assert_str_eq(a->private_key, RFC_KEY);
	service_account_release(a);
	service_account_release(b);
	service_account_release(c);
	service_account_release(NULL);
	/* What Google may leave out. */
	a = parse("token_uri", NULL, &error);
	ck_assert_str_eq(a->token_uri, "https://oauth2.googleapis.com/token");
	service_account_release(a);
	a = parse("token_uri", "\"https://localhost:8443/a/token\"", &error);
	ck_assert_str_eq(a->token_host, "localhost");
	ck_assert_uint_eq(a->token_port, 8443);
	ck_assert_str_eq(a->token_path, "/a/token");
	service_account_release(a);
}
END_TEST

static const struct {
	const char *change, *to, *error;
} bad[] = {
	{"type", "\"authorized_user\"", "is not a service account's key file (its type is not \"service_account\")"},
	{"type", NULL, "is not a service account's key file (its type is not \"service_account\")"},
	{"client_email", NULL, "client_email: is missing"},
	{"client_email", "\"nobody\"", "client_email is not an address"},
	{"client_email", "\"a@b\\nx: y\"", "client_email is not an address"},
	{"private_key", NULL, "private_key: is missing"},
	{"private_key", "\"SECRET\"", "private_key is not the PEM text of a private RSA key"},
	{"private_key", "[\"SECRET\"]", "private_key: is not a string of 1 to 16384 bytes"},
	{"token_uri", "\"http://oauth2.googleapis.com/token\"", "token_uri is not https://host/path or https://host:port/path"},
	{"token_uri", "\"https://h\"", "token_uri is not https://host/path or https://host:port/path"},
	{"token_uri", "\"https://h:0/t\"", "token_uri is not https://host/path or https://host:port/path"},
	{"token_uri", "\"https://h:65536/t\"", "token_uri is not https://host/path or https://host:port/path"},
	{"token_uri", "\"https://[::1]/t\"", "token_uri is not https://host/path or https://host:port/path"},
	{"token_uri", "\"https://u@h/t\"", "token_uri is not https://host/path or https://host:port/path"},
	{"token_uri", "\"https://h/t?x=SECRET\"", "token_uri is not https://host/path or https://host:port/path"},
	{"token_uri", "\"https://h/t\\r\\nx: y\"", "token_uri is not https://host/path or https://host:port/path"},
};

START_TEST(test_service_account_refuses)
{
	struct vl_error error;

	errno = 0;
	ck_assert_ptr_null(parse(bad[_i].change, bad[_i].to, &error));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_str_eq(error.text, bad[_i].error);
}
END_TEST

/* However the file is cut or broken, no error says anything of its key. */
START_TEST(test_service_account_tells_nothing)
{
	char *text = make_file("private_key", "\"SECRETSECRET\"");
	struct vl_error error;

	for (size_t len = 0; len <= strlen(text); len++) {
		ck_assert_ptr_null(service_account_parse("f", text, len, &error));
		ck_assert_ptr_null(strstr(error.text, "SECRET"));
	}
	for (size_t at = 0; text[at] != '\0'; at++)
		for (const char *c = "\"{}[],:\n"; *c != '\0'; c++) {
			char old = text[at];

			text[at] = *c;
			service_account_release(service_account_parse("f", text, strlen(text), &error));
			ck_assert_ptr_null(strstr(error.text, "SECRET"));
			text[at] = old;
		}
	free(text);
}
END_TEST

START_TEST(test_service_account_checks_file)
{
	static const struct {
		mode_t mode;
		int error;
	} modes[] = {{0600, 0}, {0400, 0}, {0640, EPERM}, {0604, EPERM}, {0660, EPERM}};
	char path[] = "/tmp/vl-account-XXXXXX", *text = make_file(NULL, NULL);
	struct vl_error error;
	FILE *to = fdopen(mkstemp(path), "w");

	fputs(text, to);
	fclose(to);
	free(text);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		struct service_account *a;

		chmod(path, modes[i].mode);
		a = service_account_load(path, &error);
		ck_assert_msg((a != NULL) == (modes[i].error == 0), "mode %o: %s", modes[i].mode, error.text);
		if (a == NULL) {
			ck_assert_int_eq(errno, modes[i].error);
			ck_assert_ptr_nonnull(strstr(error.text, "group or others may have access to it"));
		}
		service_account_release(a);
	}
	unlink(path);
	ck_assert_ptr_null(service_account_load(path, &error));
	ck_assert_str_eq(error.text, "No such file or directory");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("service_account");
	TCase *refuse = tcase_create("refuse");

	unit_add(suite, "read", test_service_account_reads, test_service_account_checks_file);
	tcase_add_loop_test(refuse, test_service_account_refuses, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(refuse, test_service_account_tells_nothing);
	suite_add_tcase(suite, refuse);
	return unit_run(suite);
}
