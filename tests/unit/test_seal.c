/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed keys: the cipher's published vectors, the way there and back, everything that must not open, and where keys lie in memory. */
#include "ai_workers/seal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ai_workers/secret.h"
#include "unit.h"

#define KEY "AIzaSyD-SECRET_SECRET-SECRET_SECRET-123"

static const uint8_t master[SEAL_MASTER_SIZE] = {
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};
static const uint8_t nonce[SEAL_NONCE_SIZE] = {0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb};

static size_t from_hex(uint8_t *out, const char *hex)
{
	size_t len = strlen(hex) / 2;

	for (size_t i = 0; i < len; i++) {
		unsigned int byte;
		ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
		out[i] = (uint8_t)byte;
	}
	return len;
}

/* McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, the AES-256 cases with a 96-bit IV; NIST's CAVP files hold the same. */
static const struct {
	const char *key, *nonce, *aad, *plain, *cipher, *tag;
} vectors[] = {
	{"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "", "",
		"530f8afbc74536b9a963b4f1c4cb738b"},
	{"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
		"00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
	{"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
		"ba637b39"
		"1aafd255",
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
		"bcc9f662"
		"898015ad",
		"b094dac5d93471bdec1a502270e3cc6c"},
	{"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
		"feedfacedeadbeeffeedfacedeadbeefabaddad2",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
		"ba637b39",
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
		"bcc9f662",
		"76fc6ece0f4e1768cddf8853bb2d551b"},
};

START_TEST(test_seal_published_vectors)
{
	uint8_t key[32], iv[12], aad[64], plain[128], cipher[160], out[160];

	from_hex(key, vectors[_i].key);
	from_hex(iv, vectors[_i].nonce);
	size_t aad_len = from_hex(aad, vectors[_i].aad), len = from_hex(plain, vectors[_i].plain);
	from_hex(cipher, vectors[_i].cipher);
	from_hex(cipher + len, vectors[_i].tag);
	seal_gcm_encrypt(key, iv, aad, aad_len, plain, len, out);
	ck_assert_mem_eq(out, cipher, len + SEAL_TAG_SIZE);
	memset(out, 0xee, sizeof(out));
	ck_assert_int_eq(seal_gcm_decrypt(key, iv, aad, aad_len, cipher, len + SEAL_TAG_SIZE, out), 0);
	ck_assert_mem_eq(out, plain, len);
	/* A wrong tag gives nothing of the text away. */
	cipher[len] ^= 1;
	ck_assert_int_eq(seal_gcm_decrypt(key, iv, aad, aad_len, cipher, len + SEAL_TAG_SIZE, out), -EBADMSG);
	for (size_t i = 0; i < len; i++)
		ck_assert_uint_eq(out[i], 0);
	ck_assert_int_eq(seal_gcm_decrypt(key, iv, aad, aad_len, cipher, SEAL_TAG_SIZE - 1, out), -EBADMSG);
}
END_TEST

START_TEST(test_seal_there_and_back)
{
	char text[SEAL_TEXT_SIZE], key[SEAL_KEY_MAX + 1], opened[SEAL_KEY_MAX + 1], id[SEAL_ID_SIZE], again[SEAL_ID_SIZE];

	for (size_t len = 1; len <= SEAL_KEY_MAX; len++) {
		for (size_t i = 0; i < len; i++)
			key[i] = (char)('!' + (i * 7 + len) % 94);
		key[len] = '\0';
		ck_assert_int_eq(seal_key(text, master, nonce, "alice@example.com", key), 0);
		ck_assert(seal_valid(text));
		ck_assert_uint_eq(
			strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_:"), strlen(text));
		ck_assert_int_eq(seal_open(opened, master, "alice@example.com", text), 0);
		ck_assert_str_eq(opened, key);
	}
	seal_master_id(master, id);
	seal_text_id(text, again);
	ck_assert_str_eq(id, again);
	/* echo 0102..20 | xxd -r -p | sha256sum */
	ck_assert_str_eq(id, "ae216c2ef5247a37");
	ck_assert_int_eq(seal_key(text, master, nonce, "a", ""), -EINVAL);
	ck_assert_str_eq(text, "");
	char longer[SEAL_KEY_MAX + 2];
	memset(longer, 'x', sizeof(longer));
	longer[SEAL_KEY_MAX + 1] = '\0';
	ck_assert_int_eq(seal_key(text, master, nonce, "a", longer), -EINVAL);
}
END_TEST

/* The form is for ever: files sealed by earlier versions must open. Computed with Python's cryptography from the description in seal.h. */
START_TEST(test_seal_known_text)
{
	static const char sealed[] = "vlk1:ae216c2ef5247a37:8PHy8_T19vf4-fr7:cRf2XM-xWXu7cHwQeGqrcO_bhdLXWVN87-"
				     "qpUYQRgHUbZ5MQwDY0_rV4WCqwEmZikOVj0Ftfvw";
	char text[SEAL_TEXT_SIZE], opened[SEAL_KEY_MAX + 1];

	ck_assert_int_eq(seal_key(text, master, nonce, "admin2", KEY), 0);
	ck_assert_str_eq(text, sealed);
	ck_assert_int_eq(seal_open(opened, master, "admin2", sealed), 0);
	ck_assert_str_eq(opened, KEY);
}
END_TEST

/* Whatever one bit does to the text, no key comes out of it. */
START_TEST(test_seal_refuses_every_flipped_bit)
{
	char text[SEAL_TEXT_SIZE], opened[SEAL_KEY_MAX + 1];

	ck_assert_int_eq(seal_key(text, master, nonce, "admin2", KEY), 0);
	for (size_t bit = 0; bit < strlen(text) * 8; bit++) {
		char broken[SEAL_TEXT_SIZE];
		memcpy(broken, text, sizeof(broken));
		broken[bit / 8] = (char)(broken[bit / 8] ^ 1 << bit % 8);
		memset(opened, 'x', sizeof(opened));
		ck_assert_msg(seal_open(opened, master, "admin2", broken) != 0, "bit %zu", bit);
		ck_assert_str_eq(opened, "");
		ck_assert_ptr_null(memmem(opened, sizeof(opened), "SECRET", 6));
	}
}
END_TEST

START_TEST(test_seal_refuses_every_length)
{
	char text[SEAL_TEXT_SIZE], broken[SEAL_TEXT_SIZE + 8], opened[SEAL_KEY_MAX + 1];

	ck_assert_int_eq(seal_key(text, master, nonce, "admin2", KEY), 0);
	for (size_t len = 0; len < strlen(text); len++) {
		snprintf(broken, sizeof(broken), "%.*s", (int)len, text);
		ck_assert_msg(seal_open(opened, master, "admin2", broken) != 0, "%zu characters", len);
	}
	snprintf(broken, sizeof(broken), "%sA", text);
	ck_assert_int_ne(seal_open(opened, master, "admin2", broken), 0);
	snprintf(broken, sizeof(broken), "%s=", text);
	ck_assert_int_eq(seal_open(opened, master, "admin2", broken), -EINVAL);
	memset(broken, 'A', sizeof(broken));
	memcpy(broken, text, 5 + 16 + 1 + 16 + 1);
	broken[sizeof(broken) - 1] = '\0';
	ck_assert_int_eq(seal_open(opened, master, "admin2", broken), -EINVAL);
}
END_TEST

START_TEST(test_seal_refuses_another_user_or_master)
{
	char text[SEAL_TEXT_SIZE], opened[SEAL_KEY_MAX + 1];
	uint8_t other[SEAL_MASTER_SIZE];

	ck_assert_int_eq(seal_key(text, master, nonce, "admin2", KEY), 0);
	static const char *const users[] = {"agent4", "admin", "admin22", "Admin2", ""};
	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++)
		ck_assert_int_eq(seal_open(opened, master, users[i], text), -EBADMSG);
	for (size_t bit = 0; bit < SEAL_MASTER_SIZE * 8; bit++) {
		memcpy(other, master, sizeof(other));
		other[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(seal_open(opened, other, "admin2", text), -ENOKEY);
		ck_assert_str_eq(opened, "");
	}
	/* A forged id does not help. */
	seal_master_id(other, text + 5);
	text[5 + 16] = ':';
	ck_assert_int_eq(seal_open(opened, other, "admin2", text), -EBADMSG);
}
END_TEST

START_TEST(test_secret_pages_hold)
{
	struct secret_pages pages;
	unsigned char resident;

	ck_assert_int_eq(secret_pages_create(&pages, 5000), 0);
	ck_assert_uint_eq(pages.size, 8192);
	char *first = secret_pages_take(&pages, 5000), *second = secret_pages_take(&pages, 3192);
	ck_assert_ptr_eq(first, pages.base);
	ck_assert_ptr_eq(second, first + 5000);
	ck_assert_ptr_null(secret_pages_take(&pages, 1));
	memset(first, 'k', 5000);
	/* A child finds zeros. */
	pid_t child = fork();
	if (child == 0)
		_exit(first[0] == 0 && first[4999] == 0 ? 0 : 1);
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	void *base = pages.base;
	secret_pages_destroy(&pages);
	ck_assert_ptr_null(pages.base);
	ck_assert_int_eq(mincore(base, 4096, &resident), -1);
	secret_pages_destroy(&pages);
}
END_TEST

/* What the kernel says of the mapping: locked (lo), not in core files (dd), wiped on fork (wf). */
START_TEST(test_secret_pages_are_protected)
{
	struct secret_pages pages;
	char line[512], range[64];
	bool inside = false, found = false;

	ck_assert_int_eq(secret_pages_create(&pages, 100), 0);
	snprintf(range, sizeof(range), "%lx-%lx ", (unsigned long)pages.base, (unsigned long)pages.base + pages.size);
	FILE *maps = fopen("/proc/self/smaps", "r");
	while (fgets(line, sizeof(line), maps) != NULL) {
		if (strchr(line, '-') != NULL && strstr(line, "kB") == NULL)
			inside = strncmp(line, range, strlen(range)) == 0;
		if (!inside || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		found = true;
		ck_assert_msg(strstr(line, " dd") != NULL && strstr(line, " wf") != NULL, "%s", line);
#if !defined(__SANITIZE_ADDRESS__)
		/* The sanitizer makes mlock() do nothing. */
		ck_assert_msg(strstr(line, " lo") != NULL, "%s", line);
#endif
	}
	fclose(maps);
	ck_assert(found);
	secret_pages_destroy(&pages);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("seal");
	TCase *tc = tcase_create("vectors");
	tcase_add_loop_test(tc, test_seal_published_vectors, 0, sizeof(vectors) / sizeof(vectors[0]));
	suite_add_tcase(suite, tc);
	unit_add(suite, "open", test_seal_there_and_back, test_seal_known_text);
	unit_add(suite, "refuse", test_seal_refuses_every_flipped_bit, test_seal_refuses_every_length,
		test_seal_refuses_another_user_or_master);
	unit_add(suite, "pages", test_secret_pages_hold, test_secret_pages_are_protected);
	return unit_run(suite);
}
