/* SPDX-License-Identifier: Apache-2.0 */
/* Settings tables: every type, every error with its path, all errors in one pass, defaults, secrets, explanation and reference. */
#include "shared/settings.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
	char name[8];
	uint32_t size;
};

struct sample {
	char name[8];
	char *text;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	bool truth;
	int word;
	char twice[16];
	uint16_t pair[2];
	struct {
		uint16_t a, b;
	} inner;
	struct {
		uint16_t a;
	} optional;
	bool has_optional, has_pair;
	struct item *items;
	size_t item_count;
	uint32_t *numbers;
	size_t number_count;
};

static int parse_twice(const char *text, void *field)
{
	if (strlen(text) > 4)
		return -EINVAL;
	sprintf(field, "%s%s", text, text);
	return 0;
}

static bool valid_name(const char *text)
{
	return text[strspn(text, "abcdefghijklmnopqrstuvwxyz")] == '\0';
}

static const char *const words[] = {"red", "green", NULL};
static const struct vl_setting inner[] = {
	{.name = "a", .type = VL_SETTING_INTEGER, .offset = 0, .size = 2, .max = 9, .fallback = "5", .meaning = "inner a"},
	{.name = "b", .type = VL_SETTING_INTEGER, .offset = 2, .size = 2, .max = 9, .required = true, .meaning = "inner b"},
	{.name = NULL},
};
static const struct vl_setting optional[] = {
	{.name = "a", .type = VL_SETTING_INTEGER, .offset = 0, .size = 2, .max = 9, .required = true, .meaning = "optional a"},
	{.name = NULL},
};
static const struct vl_setting item[] = {
	{.name = "name",
		.type = VL_SETTING_STRING,
		VL_SETTING_FIELD(item, name),
		.min = 1,
		.required = true,
		.valid = valid_name,
		.expected = "a name of small letters",
		.meaning = "item name"},
	{.name = "size",
		.type = VL_SETTING_INTEGER,
		VL_SETTING_FIELD(item, size),
		.max = 100,
		.fallback = "10",
		.unit = "kg",
		.meaning = "item size"},
	{.name = NULL},
};
static const struct vl_setting item_element[] = {
	{.name = "", .type = VL_SETTING_OBJECT, .size = sizeof(struct item), .members = item}, {.name = NULL}};
static const struct vl_setting number_element[] = {
	{.name = "", .type = VL_SETTING_INTEGER, .size = sizeof(uint32_t), .max = 4294967295}, {.name = NULL}};

static const struct vl_setting table[] = {
	{.name = "name",
		.type = VL_SETTING_STRING,
		VL_SETTING_FIELD(sample, name),
		.min = 1,
		.fallback = "\"x\"",
		.meaning = "a name"},
	{.name = "text",
		.type = VL_SETTING_STRING,
		.offset = offsetof(struct sample, text),
		.max = 1000,
		.meaning = "a long text"},
	{.name = "u8", .type = VL_SETTING_INTEGER, VL_SETTING_FIELD(sample, u8), .max = 255, .meaning = "m"},
	{.name = "u16",
		.type = VL_SETTING_INTEGER,
		VL_SETTING_FIELD(sample, u16),
		.min = 1,
		.max = 65535,
		.fallback = "5004",
		.reloadable = true,
		.meaning = "a port"},
	{.name = "u32", .type = VL_SETTING_INTEGER, VL_SETTING_FIELD(sample, u32), .max = 4294967295, .meaning = "m"},
	{.name = "u64", .type = VL_SETTING_INTEGER, VL_SETTING_FIELD(sample, u64), .max = 1000000000000, .meaning = "m"},
	{.name = "truth", .type = VL_SETTING_BOOL, VL_SETTING_FIELD(sample, truth), .fallback = "true", .meaning = "m"},
	{.name = "word",
		.type = VL_SETTING_ENUM,
		VL_SETTING_FIELD(sample, word),
		.words = words,
		.fallback = "\"green\"",
		.meaning = "m"},
	{.name = "twice",
		.type = VL_SETTING_TEXT,
		VL_SETTING_FIELD(sample, twice),
		.parse = parse_twice,
		.expected = "short",
		.meaning = "m"},
	{.name = "pair",
		.type = VL_SETTING_PAIR,
		VL_SETTING_FIELD(sample, pair),
		.present = offsetof(struct sample, has_pair),
		.min = 1,
		.max = 65535,
		.meaning = "m"},
	{.name = "inner", .type = VL_SETTING_OBJECT, VL_SETTING_FIELD(sample, inner), .members = inner, .meaning = "m"},
	{.name = "optional",
		.type = VL_SETTING_OBJECT,
		VL_SETTING_FIELD(sample, optional),
		.members = optional,
		.present = offsetof(struct sample, has_optional),
		.meaning = "m"},
	{.name = "items",
		.type = VL_SETTING_LIST,
		VL_SETTING_FIELD(sample, items),
		.count = offsetof(struct sample, item_count),
		.max = 3,
		.members = item_element,
		.meaning = "m"},
	{.name = "numbers",
		.type = VL_SETTING_LIST,
		VL_SETTING_FIELD(sample, numbers),
		.count = offsetof(struct sample, number_count),
		.min = 1,
		.max = 3,
		.members = number_element,
		.fallback = "[7]",
		.meaning = "m"},
	{.name = NULL},
};

static int parse(const char *text, struct sample *sample, struct vl_errors *errors)
{
	struct vl_error error;
	bool secret = errors->secret;
	cJSON *tree = vl_json_parse(text, strlen(text), 65536, &error);

	ck_assert_msg(tree != NULL, "%s", error.text);
	memset(sample, 0, sizeof(*sample));
	memset(errors, 0, sizeof(*errors));
	errors->secret = secret;
	int r = vl_settings_parse(table, tree, sample, errors);
	cJSON_Delete(tree);
	return r;
}

START_TEST(test_settings_defaults)
{
	struct vl_errors errors = {.count = 0};
	struct sample s;
	ck_assert_int_eq(parse("{\"inner\":{\"b\":1}}", &s, &errors), 0);
	ck_assert_str_eq(s.name, "x");
	ck_assert_ptr_null(s.text);
	ck_assert_uint_eq(s.u16, 5004);
	ck_assert(s.truth && s.word == 1 && !s.has_optional && !s.has_pair);
	ck_assert_uint_eq(s.inner.a, 5);
	ck_assert_uint_eq(s.inner.b, 1);
	ck_assert_uint_eq(s.number_count, 1);
	ck_assert_uint_eq(s.numbers[0], 7);
	vl_settings_free(table, &s);
	ck_assert_ptr_null(s.numbers);
}
END_TEST

START_TEST(test_settings_values)
{
	struct vl_errors errors = {.count = 0};
	struct sample s;
	ck_assert_int_eq(
		parse("{\"name\":\"abcdefg\",\"text\":\"long\",\"u8\":255,\"u16\":1,\"u32\":4294967295,\"u64\":1000000000000,"
		      "\"truth\":false,"
		      "\"word\":\"red\",\"twice\":\"ab\",\"pair\":[10,20],\"inner\":{\"a\":0,\"b\":9},\"optional\":{\"a\":3},"
		      "\"items\":[{\"name\":\"p\"},{\"name\":\"q\",\"size\":100}],\"numbers\":[1,2,3]}",
			&s, &errors),
		0);
	ck_assert_str_eq(s.name, "abcdefg");
	ck_assert_str_eq(s.text, "long");
	ck_assert(s.u8 == 255 && s.u16 == 1 && s.u32 == 4294967295 && s.u64 == 1000000000000 && !s.truth && s.word == 0);
	ck_assert_str_eq(s.twice, "abab");
	ck_assert(s.has_pair && s.pair[0] == 10 && s.pair[1] == 20);
	ck_assert(s.inner.a == 0 && s.inner.b == 9 && s.has_optional && s.optional.a == 3);
	ck_assert_uint_eq(s.item_count, 2);
	ck_assert_str_eq(s.items[1].name, "q");
	ck_assert(s.items[0].size == 10 && s.items[1].size == 100);
	ck_assert(s.number_count == 3 && s.numbers[2] == 3);
	vl_settings_free(table, &s);
}
END_TEST

static const struct {
	const char *text, *error;
} bad[] = {
	{"[]", "a list is not an object"},
	{"{}", "inner.b: is missing"},
	{"{\"inner\":{\"b\":1,\"c\":1}}", "inner.c: no such member"},
	{"{\"inner\":{\"b\":1},\"INNER\":1}", "INNER: no such member"},
	{"{\"inner\":7}", "inner: 7 is not an object"},
	{"{\"inner\":{\"b\":1},\"name\":\"\"}", "name: is empty"},
	{"{\"inner\":{\"b\":1},\"name\":\"abcdefgh\"}", "name: has 8 bytes, not 1 to 7"},
	{"{\"inner\":{\"b\":1},\"name\":null}", "name: null is not a string"},
	{"{\"inner\":{\"b\":1},\"u8\":256}", "u8: 256 is not in 0..255"},
	{"{\"inner\":{\"b\":1},\"u8\":-1}", "u8: -1 is not in 0..255"},
	{"{\"inner\":{\"b\":1},\"u8\":1.5}", "u8: 1.5 is not an integer"},
	{"{\"inner\":{\"b\":1},\"u8\":1e400}", "u8: inf is not in 0..255"},
	{"{\"inner\":{\"b\":1},\"u8\":\"1\"}", "u8: '1' is not an integer"},
	{"{\"inner\":{\"b\":1},\"truth\":1}", "truth: 1 is not true or false"},
	{"{\"inner\":{\"b\":1},\"word\":\"blue\"}", "word: 'blue' is not one of \"red\", \"green\""},
	{"{\"inner\":{\"b\":1},\"word\":1}", "word: 1 is not one of \"red\", \"green\""},
	{"{\"inner\":{\"b\":1},\"twice\":\"abcde\"}", "twice: 'abcde' is not short"},
	{"{\"inner\":{\"b\":1},\"twice\":{}}", "twice: an object is not short"},
	{"{\"inner\":{\"b\":1},\"pair\":[1]}", "pair: a list is not a list of two integers"},
	{"{\"inner\":{\"b\":1},\"pair\":[2,1]}", "pair: the first is greater than the last"},
	{"{\"inner\":{\"b\":1},\"pair\":[1,65536]}", "pair[1]: 65536 is not in 1..65535"},
	{"{\"inner\":{\"b\":1},\"optional\":{}}", "optional.a: is missing"},
	{"{\"inner\":{\"b\":1},\"items\":{}}", "items: an object is not a list"},
	{"{\"inner\":{\"b\":1},\"items\":[1,2,3,4]}", "items: has 4 elements, not 0 to 3"},
	{"{\"inner\":{\"b\":1},\"items\":[{\"name\":\"a\"},{\"name\":\"B\"}]}",
		"items[1].name: 'B' is not a name of small letters"},
	{"{\"inner\":{\"b\":1},\"numbers\":[]}", "numbers: has 0 elements, not 1 to 3"},
	{"{\"inner\":{\"b\":1},\"numbers\":[1,\"2\"]}", "numbers[1]: '2' is not an integer"},
};

START_TEST(test_settings_refuses)
{
	struct vl_errors errors = {.count = 0};
	struct sample s;
	ck_assert_int_eq(parse(bad[_i].text, &s, &errors), -EINVAL);
	ck_assert_str_eq(errors.errors[0].text, bad[_i].error);
	ck_assert_ptr_null(s.items);
	ck_assert_ptr_null(s.numbers);
	ck_assert_ptr_null(s.text);
}
END_TEST

START_TEST(test_settings_reports_all)
{
	struct vl_errors errors = {.count = 0};
	struct sample s;
	ck_assert_int_eq(
		parse("{\"zz\":1,\"text\":\"kept until freed\",\"u8\":300,\"inner\":{},\"numbers\":[1,2,\"x\"]}", &s, &errors),
		-EINVAL);
	ck_assert_uint_eq(errors.count, 4);
	ck_assert_str_eq(errors.errors[0].text, "zz: no such member");
	ck_assert_str_eq(errors.errors[1].text, "u8: 300 is not in 0..255");
	ck_assert_str_eq(errors.errors[2].text, "inner.b: is missing");
	ck_assert_str_eq(errors.errors[3].text, "numbers[2]: 'x' is not an integer");
	/* More errors than are kept are still counted. */
	char text[2048] = "{";
	for (int i = 0; i < 40; i++)
		sprintf(text + strlen(text), "\"m%d\":1,", i);
	strcat(text, "\"inner\":{\"b\":1}}");
	ck_assert_int_eq(parse(text, &s, &errors), -EINVAL);
	ck_assert_uint_eq(errors.count, 40);
}
END_TEST

START_TEST(test_settings_keeps_secrets)
{
	static const char *const texts[] = {
		"{\"inner\":{\"b\":1},\"u8\":\"AIzaSECRETSECRETSECRETSECRETSECRET\"}",
		"{\"inner\":{\"b\":1},\"word\":\"AIzaSECRETSECRETSECRETSECRETSECRET\"}",
		"{\"inner\":{\"b\":1},\"twice\":\"AIzaSECRETSECRETSECRETSECRETSECRET\"}",
		"{\"inner\":{\"b\":1},\"items\":[{\"name\":\"AIzaS\"}]}",
		"{\"inner\":{\"b\":1},\"AIzaSECRETSECRETSECRETSECRETSECRET\":\"api_key\"}",
	};
	struct vl_errors errors = {.secret = true};
	struct sample s;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		ck_assert_int_eq(parse(texts[i], &s, &errors), -EINVAL);
		for (unsigned int e = 0; e < errors.count; e++)
			ck_assert_msg(strstr(errors.errors[e].text, "AIza") == NULL, "%s", errors.errors[e].text);
	}
}
END_TEST

static char *written(void (*write)(const cJSON *, FILE *), const char *document)
{
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);
	cJSON *tree = cJSON_Parse(document);
	write(tree, to);
	cJSON_Delete(tree);
	fclose(to);
	return text;
}

static void write_explanation(const cJSON *document, FILE *to)
{
	vl_settings_explain(table, document, to);
}

static void write_reference(const cJSON *document, FILE *to)
{
	(void)document;
	vl_settings_reference(table, to);
}

/* Whether a line has these words in this order. */
static bool has_line(const char *text, const char *const line_words[])
{
	for (const char *line = text; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *at = line;
		size_t i = 0;
		for (; line_words[i] != NULL; i++) {
			const char *found = strstr(at, line_words[i]);
			if (found == NULL || found > line + strcspn(line, "\n"))
				break;
			at = found + strlen(line_words[i]);
		}
		if (line_words[i] == NULL)
			return true;
	}
	return false;
}

START_TEST(test_settings_explains)
{
	char *text = written(write_explanation, "{\"u16\":9,\"inner\":{\"b\":1},\"items\":[{\"name\":\"p\"}]}");
	ck_assert_msg(has_line(text, (const char *const[]){"u16 ", " 9 ", "default 5004", NULL}), "%s", text);
	ck_assert(!has_line(text, (const char *const[]){"inner.b ", "default", NULL}));
	ck_assert(has_line(text, (const char *const[]){"inner.a ", " 5 ", "default", NULL}));
	ck_assert(has_line(text, (const char *const[]){"items[0].size ", " 10 ", "kg", "default", NULL}));
	ck_assert(has_line(text, (const char *const[]){"optional ", " none ", "default", NULL}));
	ck_assert(has_line(text, (const char *const[]){"word ", "\"green\"", "default", NULL}));
	free(text);
	text = written(write_reference, "{}");
	ck_assert_msg(has_line(text, (const char *const[]){"| `u16` | integer, 1 to 65535 | `5004` |", "| yes | a port |", NULL}),
		"%s", text);
	ck_assert(has_line(text, (const char *const[]){"| `items[].name` | a name of small letters | required |", NULL}));
	ck_assert(has_line(text, (const char *const[]){"| `word` | `\"red\"`, `\"green\"` |", NULL}));
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("settings");
	TCase *tc = tcase_create("parse");
	tcase_add_test(tc, test_settings_defaults);
	tcase_add_test(tc, test_settings_values);
	tcase_add_loop_test(tc, test_settings_refuses, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, test_settings_reports_all);
	tcase_add_test(tc, test_settings_keeps_secrets);
	suite_add_tcase(suite, tc);
	tc = tcase_create("text");
	tcase_add_test(tc, test_settings_explains);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
