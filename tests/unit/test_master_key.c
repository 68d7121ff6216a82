/* SPDX-License-Identifier: Apache-2.0 */
/* The master key: its two forms, who may read its file, credentials, and that it does not stay in memory. */
#include "ai_workers/master_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"

static char directory[32];

static void make_directory(void)
{
	strcpy(directory, "/tmp/vl-master-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void remove_directory(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/" MASTER_KEY_CREDENTIAL, directory);
	unlink(path);
	rmdir(directory);
}

static const char *write_key(const char *text, size_t len, mode_t mode)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/" MASTER_KEY_CREDENTIAL, directory);
	unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

START_TEST(test_master_key_forms)
{
	uint8_t key[SEAL_MASTER_SIZE];

	ck_assert_int_eq(master_key_parse(HEX, 64, key), 0);
	for (unsigned int i = 0; i < sizeof(key); i++)
		ck_assert_uint_eq(key[i], i);
	ck_assert_int_eq(master_key_parse(HEX "\n", 65, key), 0);
	ck_assert_int_eq(master_key_parse("0123456789abcdef0123456789abcde\0", 32, key), 0);
	ck_assert_int_eq(key[30], 'e');
	static const char *const wrong[] = {"", "00", HEX "0", HEX "\r", HEX "\n\n", " " HEX};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_int_eq(master_key_parse(wrong[i], strlen(wrong[i]), key), -EINVAL);
	char text[] = HEX;
	for (size_t i = 0; i < 64; i++) {
		text[i] = 'g';
		ck_assert_int_eq(master_key_parse(text, 64, key), -EINVAL);
		text[i] = HEX[i];
	}
}
END_TEST

START_TEST(test_master_key_file)
{
	struct master_key master = {.source = write_key(HEX "\n", 65, 0600)};
	struct vl_error error = {0};

	ck_assert_int_eq(master_key_load(&master, &error), 0);
	ck_assert_uint_eq(master.key[31], 31);
	/* Neither its text nor anything else is in the page. */
	for (size_t i = SEAL_MASTER_SIZE; i < master.pages.size; i++)
		ck_assert_uint_eq(master.pages.base[i], 0);
	master_key_forget(&master);
	ck_assert_ptr_null(master.key);
	ck_assert_ptr_null(master.pages.base);
	static const mode_t open_modes[] = {0640, 0604, 0620, 0666};
	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
		master.source = write_key(HEX, 64, open_modes[i]);
		ck_assert_int_eq(master_key_load(&master, &error), -EPERM);
		ck_assert_ptr_nonnull(strstr(error.text, "run: chmod 600"));
		ck_assert_ptr_null(master.key);
	}
	master.source = write_key(HEX "00", 66, 0600);
	ck_assert_int_eq(master_key_load(&master, &error), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error.text, "neither 64 hex digits nor 32 bytes"));
	ck_assert_ptr_null(strstr(error.text, "0001"));
	master.source = "/nonexistent/key";
	ck_assert_int_eq(master_key_load(&master, &error), -ENOENT);
	ck_assert_str_eq(error.text, "/nonexistent/key: No such file or directory");
	master.source = "/tmp";
	ck_assert_int_ne(master_key_load(&master, &error), 0);
}
END_TEST

START_TEST(test_master_key_credential)
{
	struct master_key master = {.source = "credential"};
	struct vl_error error = {0};

	unsetenv("CREDENTIALS_DIRECTORY");
	ck_assert_int_eq(master_key_load(&master, &error), -ENOENT);
	ck_assert_ptr_nonnull(strstr(error.text, "LoadCredential=voxlane-master-key:FILE"));
	/* As systemd leaves it: its access list shows as a readable group. */
	write_key(HEX, 64, 0440);
	setenv("CREDENTIALS_DIRECTORY", directory, 1);
	ck_assert_int_eq(master_key_load(&master, &error), 0);
	master_key_wipe(&master);
	write_key(HEX, 64, 0444);
	ck_assert_int_eq(master_key_load(&master, &error), -EPERM);
	unsetenv("CREDENTIALS_DIRECTORY");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("master_key");
	unit_add(suite, "parse", test_master_key_forms);
	unit_add_fixture(suite, "load", make_directory, remove_directory, test_master_key_file, test_master_key_credential);
	return unit_run(suite);
}
