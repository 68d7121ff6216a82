/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared/base64: RFC 4648's vectors, every way of splitting a text, what is refused, and that nothing is written past the promised size.
 */
#include "shared/base64.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "unit.h"

static const struct {
	const char *bytes, *text;
} vectors[] = {
	/* RFC 4648 section 10 */
	{"", ""},
	{"f", "Zg=="},
	{"fo", "Zm8="},
	{"foo", "Zm9v"},
	{"foob", "Zm9vYg=="},
	{"fooba", "Zm9vYmE="},
	{"foobar", "Zm9vYmFy"},
	{"\xff\xef\xbe", "/+++"},
};

START_TEST(test_base64_vectors)
{
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct vl_base64_decoder decoder = {0};
		char text[64] = "";
		uint8_t bytes[64];
		size_t size = strlen(vectors[i].bytes), len = strlen(vectors[i].text);

		ck_assert_uint_eq(VL_BASE64_ENCODED_SIZE(size), len);
		ck_assert_uint_eq(vl_base64_encode(text, vectors[i].bytes, size), len);
		ck_assert_str_eq(text, vectors[i].text);
		ck_assert_int_eq(vl_base64_decode_more(&decoder, text, len, bytes), (ssize_t)size);
		ck_assert_int_eq(vl_base64_decode_end(&decoder), 0);
		ck_assert_mem_eq(bytes, vectors[i].bytes, size);
	}
}
END_TEST

START_TEST(test_base64_every_split)
{
	uint8_t bytes[61], out[64];
	char text[VL_BASE64_ENCODED_SIZE(sizeof(bytes))];

	for (size_t size = 0; size <= sizeof(bytes); size++) {
		for (size_t i = 0; i < size; i++)
			bytes[i] = (uint8_t)(i * 37 + size * 101);
		size_t len = vl_base64_encode(text, bytes, size);
		for (size_t first = 0; first <= len; first++)
			for (size_t second = first; second <= len; second += 3) {
				const size_t ends[] = {first, second, len};
				struct vl_base64_decoder decoder = {0};
				size_t used = 0, written = 0;
				for (size_t part = 0; part < 3; part++) {
					/* A buffer of exactly the promised size, watched by ASan. */
					uint8_t *exact = malloc(VL_BASE64_DECODED_MAX(ends[part] - used) + 1);
					ssize_t more = vl_base64_decode_more(&decoder, text + used, ends[part] - used, exact + 1);
					ck_assert_int_ge(more, 0);
					memcpy(out + written, exact + 1, (size_t)more);
					free(exact);
					written += (size_t)more;
					used = ends[part];
				}
				ck_assert_int_eq(vl_base64_decode_end(&decoder), 0);
				ck_assert_uint_eq(written, size);
				ck_assert_int_eq(memcmp(out, bytes, size), 0);
			}
	}
}
END_TEST

START_TEST(test_base64_refuses)
{
	static const char *const texts[] = {"Z", "Zg", "Zg=", "Zm9", "Zm9vY", "=", "==", "====", "Z===", "Zg=a", "Zg=a=", "Zg=aa",
		"Zg==Zg==", "Zg===", "Zm8==", "Zm9v=", "Zh==", "Zm9=", "Zm9 ", " Zm9v", "Zm9v\n", "Zm-v", "Zm_v", "Zm9\x80",
		"\xffm9v", "Zm9v!m9v", "Zm9vZ!9v", "Zm9vZm!v", "Zm9vZm9!"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		size_t len = strlen(texts[i]);
		for (size_t split = 0; split <= len; split++) {
			struct vl_base64_decoder decoder = {0};
			uint8_t out[64];
			ssize_t first = vl_base64_decode_more(&decoder, texts[i], split, out);
			ssize_t second = vl_base64_decode_more(&decoder, texts[i] + split, len - split, out);
			ck_assert_msg(first >= 0 || second == -EINVAL, "'%s' at %zu: not refused for ever", texts[i], split);
			ck_assert_msg(vl_base64_decode_end(&decoder) == -EINVAL, "'%s' split at %zu", texts[i], split);
			/* And fresh again. */
			ck_assert_int_eq(vl_base64_decode_more(&decoder, "Zm9v", 4, out), 3);
			ck_assert_int_eq(vl_base64_decode_end(&decoder), 0);
		}
	}
}
END_TEST

START_TEST(test_base64_nul_is_a_character)
{
	struct vl_base64_decoder decoder = {0};
	uint8_t out[8];

	ck_assert_int_eq(vl_base64_decode_more(&decoder, "Zm9\0", 4, out), -EINVAL);
}
END_TEST

START_TEST(test_base64_all_characters)
{
	for (unsigned int c = 0; c < 256; c++) {
		struct vl_base64_decoder decoder = {0};
		const char text[4] = {'A', 'A', 'A', (char)c};
		uint8_t out[3];
		const char *at =
			c == 0 ? NULL : strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", (int)c);
		ssize_t size = vl_base64_decode_more(&decoder, text, 4, out);

		if (c == '=')
			ck_assert_int_eq(size, 2);
		else
			ck_assert_int_eq(size, at != NULL ? 3 : -EINVAL);
	}
}
END_TEST

/* Pieces this short never reach the vector code: whole texts must give the same, with every byte and every length modulo a vector. */
START_TEST(test_base64_vectors_of_the_processor)
{
	uint8_t bytes[24 * 40], out[VL_BASE64_DECODED_MAX(VL_BASE64_ENCODED_SIZE(sizeof(bytes)))];
	char text[VL_BASE64_ENCODED_SIZE(sizeof(bytes))], pieces[sizeof(text)];
	uint32_t random = 1;

	for (unsigned int round = 0; round < 200; round++) {
		size_t size = sizeof(bytes) - round % 100, len = 0;
		struct vl_base64_decoder decoder = {0};

		for (size_t i = 0; i < size; i++) {
			random = random * 1664525u + 1013904223u;
			bytes[i] = (uint8_t)(random >> 24);
		}
		for (size_t at = 0; at < size; at += 24)
			len += vl_base64_encode(pieces + len, bytes + at, size - at < 24 ? size - at : 24);
		ck_assert_uint_eq(vl_base64_encode(text, bytes, size), len);
		ck_assert_mem_eq(text, pieces, len);
		ck_assert_int_eq(vl_base64_decode_more(&decoder, text, len, out), (ssize_t)size);
		ck_assert_mem_eq(out, bytes, size);
	}
}
END_TEST

/* Wherever a bad character stands in a long text, and whatever it is, everything before its group is decoded and the text is refused. */
START_TEST(test_base64_refuses_anywhere)
{
	char text[192];
	uint8_t out[VL_BASE64_DECODED_MAX(sizeof(text))];

	for (size_t at = 0; at < sizeof(text); at++)
		for (unsigned int c = 0; c < 256; c++) {
			struct vl_base64_decoder decoder = {0};
			bool good = c != 0 &&
				    strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", (int)c) != NULL;

			memset(text, 'x', sizeof(text));
			text[at] = (char)c;
			if (c == '=' && at == sizeof(text) - 1)
				continue; /* padding, whose stray bits are another test's */
			ssize_t size = vl_base64_decode_more(&decoder, text, sizeof(text), out);
			ck_assert_int_eq(size, good ? (ssize_t)sizeof(out) : -EINVAL);
		}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base64");

	unit_add(suite, "vectors", test_base64_vectors, test_base64_every_split, test_base64_vectors_of_the_processor);
	unit_add(suite, "refusals", test_base64_refuses, test_base64_nul_is_a_character, test_base64_all_characters,
		test_base64_refuses_anywhere);
	return unit_run(suite);
}
