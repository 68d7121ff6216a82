/* SPDX-License-Identifier: Apache-2.0 */
/* Strict JSON: what is refused and where, duplicates, getters, and the texts people read. */
#include "shared/json.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cJSON *parse(const char *text, struct vl_error *error)
{
	return vl_json_parse(text, strlen(text), 65536, error);
}

static const char *const good[] = {"{}", "[]", "null", "true", " [1, -0, 0.5, 1e3, -1.25E-2]\n", "{\"a\":{\"b\":[{}]}}",
	"\"\\u00e9\\n\\ud83d\\ude00\"", "\"\xc3\xa9\xf0\x9f\x98\x80\"", "123456789012345678901234567890"};

START_TEST(test_json_accepts)
{
	struct vl_error error;
	cJSON *tree = parse(good[_i], &error);
	ck_assert_msg(tree != NULL, "%s: %s", good[_i], error.text);
	cJSON_Delete(tree);
}
END_TEST

static const struct {
	const char *text, *error;
} bad[] = {
	{"", "line 1, column 1: the document ends too early"},
	{"{", "line 1, column 2: expected a member name in double quotes"},
	{"{\"a\":1,}", "line 1, column 8: a comma in front of '}'"},
	{"[1,]", "line 1, column 4: a comma in front of ']'"},
	{"{\"a\" 1}", "line 1, column 6: expected ':' behind the member name"},
	{"{\"a\":1 \"b\":2}", "line 1, column 8: expected ',' or '}'"},
	{"{'a':1}", "line 1, column 2: expected a member name in double quotes"},
	{"['a']", "line 1, column 2: a string takes double quotes"},
	{"{\n  // x\n}", "line 2, column 3: expected a member name in double quotes"},
	{"{\"a\": # x\n1}", "line 1, column 7: JSON has no comments"},
	{"01", "line 1, column 2: a number does not begin with 0"},
	{"1.", "line 1, column 3: a digit is missing behind the point"},
	{"-", "line 1, column 2: a digit is missing"},
	{"1e", "line 1, column 3: a digit is missing in the exponent"},
	{"+1", "line 1, column 1: expected a value"},
	{"nul", "line 1, column 1: expected a value"},
	{"NaN", "line 1, column 1: expected a value"},
	{"{} {}", "line 1, column 4: text behind the end of the document"},
	{"\"a", "line 1, column 3: string is not closed"},
	{"\"a\nb\"", "line 1, column 3: string is not closed in its line"},
	{"\"a\tb\"", "line 1, column 3: control character in a string"},
	{"\"\\u0000\"", "line 1, column 8: \\u0000 is not allowed in a string"},
	{"\"\\ud800\"", "line 1, column 8: unpaired surrogate"},
	{"\"\\udc00\"", "line 1, column 8: unpaired surrogate"},
	{"\"\\ud800\\u0041\"", "line 1, column 14: unpaired surrogate"},
	{"\"\\x\"", "line 1, column 3: unknown escape sequence"},
	{"\"\\u12g4\"", "line 1, column 6: \\u wants four hex digits"},
	{"\"\xc3\xa9\xff\"", "line 1, column 3: text is not UTF-8"},
	{"\"\xc0\xaf\"", "line 1, column 2: text is not UTF-8"},
	{"\"\xed\xa0\x80\"", "line 1, column 2: text is not UTF-8"},
	{"\"\xf4\x90\x80\x80\"", "line 1, column 2: text is not UTF-8"},
	{"1234567890123456789012345678901234567890123456789012345678901234", "line 1, column 65: number has too many digits"},
	{"{\"a\":1,\"b\":{\"c\":[{},{\"d\":1,\"d\":2}]}}", "b.c[1].d: given twice"},
	{"{\"a\":1,\"\\u0061\":2}", "a: given twice"},
};

START_TEST(test_json_refuses)
{
	struct vl_error error;
	errno = 0;
	ck_assert_ptr_null(parse(bad[_i].text, &error));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_str_eq(error.text, bad[_i].error);
	ck_assert_ptr_null(parse(bad[_i].text, NULL));
}
END_TEST

START_TEST(test_json_refuses_size_depth_and_nul)
{
	struct vl_error error;
	char deep[2 * VL_JSON_DEPTH_MAX + 3];

	ck_assert_ptr_null(vl_json_parse("{\"a\":1}", 7, 6, &error));
	ck_assert_int_eq(errno, EMSGSIZE);
	ck_assert_str_eq(error.text, "7 bytes are more than the 6 allowed");
	ck_assert_ptr_null(vl_json_parse("[1\0]", 4, 100, &error));
	ck_assert_ptr_null(vl_json_parse("\"\\\0\"", 4, 100, &error));
	for (unsigned int depth = VL_JSON_DEPTH_MAX; depth <= VL_JSON_DEPTH_MAX + 1; depth++) {
		memset(deep, '[', depth);
		memset(deep + depth, ']', depth);
		cJSON *tree = vl_json_parse(deep, 2 * depth, 100, &error);
		ck_assert_int_eq(tree != NULL, depth == VL_JSON_DEPTH_MAX);
		cJSON_Delete(tree);
	}
}
END_TEST

START_TEST(test_json_limits_members)
{
	struct vl_error error;
	char *text = malloc(65536);
	for (unsigned int count = VL_JSON_MEMBERS_MAX; count <= VL_JSON_MEMBERS_MAX + 1; count++) {
		size_t len = 0;
		for (unsigned int i = 0; i < count; i++)
			len += (size_t)sprintf(text + len, "%c\"m%u\":1", i == 0 ? '{' : ',', i);
		text[len++] = '}';
		cJSON *tree = vl_json_parse(text, len, 65536, &error);
		ck_assert_int_eq(tree != NULL, count == VL_JSON_MEMBERS_MAX);
		cJSON_Delete(tree);
	}
	free(text);
}
END_TEST

START_TEST(test_json_getters)
{
	struct vl_error error;
	cJSON *tree = parse("{\"s\":\"abc\",\"i\":7,\"f\":1.5,\"h\":1e300,\"b\":true,\"o\":{},\"l\":[],\"n\":null}", &error);
	const char *text = NULL;
	const cJSON *sub = NULL;
	int64_t integer = 0;
	bool truth = false;

	ck_assert_int_eq(vl_json_get_string(tree, "", "s", 1, 3, &text, &error), 1);
	ck_assert_str_eq(text, "abc");
	ck_assert_int_eq(vl_json_get_string(tree, "", "S", 1, 3, &text, &error), 0);
	ck_assert_int_eq(vl_json_get_string(tree, "x[1]", "s", 1, 2, &text, &error), -EINVAL);
	ck_assert_str_eq(error.text, "x[1].s: has 3 bytes, 2 at most");
	ck_assert_int_eq(vl_json_get_string(tree, "", "i", 1, 2, &text, &error), -EINVAL);
	ck_assert_str_eq(error.text, "i: 7 is not a string");
	ck_assert_int_eq(vl_json_get_string(tree, "", "n", 1, 2, &text, &error), -EINVAL);
	ck_assert_str_eq(error.text, "n: null is not a string");
	ck_assert_int_eq(vl_json_get_integer(tree, "", "i", 0, 7, &integer, &error), 1);
	ck_assert_int_eq(integer, 7);
	ck_assert_int_eq(vl_json_get_integer(tree, "", "i", 8, 65535, &integer, &error), -EINVAL);
	ck_assert_str_eq(error.text, "i: 7 is not in 8..65535");
	ck_assert_str_eq(vl_error_reason(&error), "7 is not in 8..65535");
	ck_assert_int_eq(vl_json_get_integer(tree, "", "f", 0, 7, &integer, &error), -EINVAL);
	ck_assert_str_eq(error.text, "f: 1.5 is not an integer");
	ck_assert_int_eq(vl_json_get_integer(tree, "", "h", 0, INT64_MAX, &integer, &error), -EINVAL);
	ck_assert_int_eq(vl_json_get_integer(tree, "", "s", 0, 7, &integer, &error), -EINVAL);
	ck_assert_str_eq(error.text, "s: 'abc' is not an integer");
	ck_assert_int_eq(vl_json_get_bool(tree, "", "b", &truth, &error), 1);
	ck_assert(truth);
	ck_assert_int_eq(vl_json_get_bool(tree, "", "i", &truth, &error), -EINVAL);
	ck_assert_int_eq(vl_json_get_object(tree, "", "o", &sub, &error), 1);
	ck_assert_int_eq(vl_json_get_object(tree, "", "l", &sub, &error), -EINVAL);
	ck_assert_str_eq(error.text, "l: a list is not an object");
	ck_assert_int_eq(vl_json_get_list(tree, "", "l", &sub, &error), 1);
	ck_assert_int_eq(vl_json_get_list(tree, "", "o", &sub, &error), -EINVAL);
	ck_assert_int_eq(vl_json_required(vl_json_get_list(tree, "a", "zz", &sub, &error), "a", "zz", &error), -EINVAL);
	ck_assert_str_eq(error.text, "a.zz: is missing");
	ck_assert_int_eq(vl_json_only(tree, "", (const char *const[]){"s", "i", "f", "h", "b", "o", "l", "n", NULL}, &error), 0);
	ck_assert_int_eq(vl_json_only(tree, "p", (const char *const[]){"s", "i", NULL}, &error), -EINVAL);
	ck_assert_str_eq(error.text, "p.f: no such member");
	vl_json_wipe(tree);
}
END_TEST

START_TEST(test_json_texts_stay_valid)
{
	struct vl_error error;
	char quote[VL_JSON_QUOTE_SIZE], path[VL_JSON_PATH_SIZE], text[400];
	for (unsigned int pad = 0; pad < 8; pad++) {
		/* Two-, three- and four-byte characters cut at every offset. */
		size_t len = (size_t)sprintf(text, "\"%.*s", (int)pad, "aaaaaaaa");
		while (len < 340)
			len += (size_t)sprintf(text + len, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
		sprintf(text + len, "\"");
		cJSON *tree = parse(text, &error);
		char again[512];
		ck_assert_ptr_nonnull(tree);
		snprintf(again, sizeof(again), "\"%s\"", vl_json_quote(tree, quote));
		cJSON *shown = parse(again, &error);
		ck_assert_msg(shown != NULL, "%s", error.text);
		cJSON_Delete(shown);
		path[0] = '\0';
		snprintf(again, sizeof(again), "\"%s\"", vl_json_path_member(path, tree->valuestring));
		shown = parse(again, NULL);
		ck_assert_ptr_nonnull(shown);
		cJSON_Delete(shown);
		vl_error_at(&error, path, "%s", tree->valuestring);
		ck_assert_uint_eq(error.path_len, strlen(path));
		snprintf(again, sizeof(again), "\"%s\"", error.text);
		shown = parse(again, NULL);
		ck_assert_ptr_nonnull(shown);
		cJSON_Delete(shown);
		cJSON_Delete(tree);
	}
	cJSON *control = parse("\"a\\nb\\u007fc\"", NULL);
	ck_assert_str_eq(vl_json_quote(control, quote), "'a?b?c'");
	cJSON_Delete(control);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("json");
	TCase *tc = tcase_create("parse");
	tcase_add_loop_test(tc, test_json_accepts, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tc, test_json_refuses, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, test_json_refuses_size_depth_and_nul);
	tcase_add_test(tc, test_json_limits_members);
	suite_add_tcase(suite, tc);
	tc = tcase_create("read");
	tcase_add_test(tc, test_json_getters);
	tcase_add_test(tc, test_json_texts_stay_valid);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
