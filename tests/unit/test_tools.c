/* SPDX-License-Identifier: Apache-2.0 */
/* Declarations of functions: what a users file may say, what is refused at which place, and what the service is told. */
#include "ai_workers/tools.h"

#include <stdio.h>
#include <string.h>

#include "ai_workers/gemini_message.h"
#include "ai_workers/users.h"
#include "unit.h"

static struct users *parse(const char *tools, struct vl_errors *errors)
{
	static char text[65536];

	memset(errors, 0, sizeof(*errors));
	snprintf(text, sizeof(text),
		"{\"gemini\":{\"model\":\"m\"},\"users\":[{\"name\":\"a\",\"api_key\":\"12345678\",\"tools\":[%s]}]}", tools);
	return users_parse(text, strlen(text), NULL, errors);
}

#define WITH(parameters) "{\"name\":\"f\",\"description\":\"d\",\"parameters\":" parameters "}"
#define PROPERTY(schema) WITH("{\"type\":\"OBJECT\",\"properties\":{\"p\":" schema "}}")

static const char *const good[] = {
	"",
	"{\"name\":\"end_call\"},{\"name\":\"transfer_call\"},{\"name\":\"hold\"}",
	"{\"name\":\"end_call\",\"description\":\"Only when the caller said goodbye.\",\"timeout_s\":600}",
	"{\"name\":\"f\",\"description\":\"d\"}",
	"{\"name\":\"a-Z_0\",\"description\":\"d\",\"behavior\":\"NON_BLOCKING\",\"timeout_s\":1}",
	WITH("{\"type\":\"OBJECT\"}"),
	PROPERTY("{\"type\":\"STRING\",\"format\":\"enum\",\"enum\":[\"a\",\"b\"],\"nullable\":true,\"title\":\"t\",\"example\":{"
		 "\"x\":1}}"),
	PROPERTY("{\"type\":\"ARRAY\",\"items\":{\"type\":\"INTEGER\",\"minimum\":-1,\"maximum\":2.5},\"minItems\":0,"
		 "\"maxItems\":3}"),
	PROPERTY("{\"anyOf\":[{\"type\":\"STRING\",\"pattern\":\"x\",\"minLength\":1,\"maxLength\":2},{\"type\":\"NUMBER\"}]}"),
	PROPERTY("{\"type\":\"OBJECT\",\"properties\":{\"q\":{\"type\":\"BOOLEAN\",\"default\":true}},\"required\":[\"q\"],"
		 "\"propertyOrdering\":[\"q\"],\"minProperties\":1,\"maxProperties\":1}"),
	"{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"OBJECT\",\"properties\":{\"day\":{\"type\":\"STRING\"}}"
	"},"
	"\"key\":[\"day\"]}",
};

START_TEST(test_tools_accepts)
{
	struct vl_errors errors;
	struct users *users = parse(good[_i], &errors);

	ck_assert_msg(users != NULL, "%s: %s", good[_i], errors.errors[0].text);
	users_free(users);
}
END_TEST

static const struct {
	const char *tools, *error;
} bad[] = {
	{"{\"name\":\"no spaces\",\"description\":\"d\"}",
		"users[0].tools[0].name: is not a name of 1 to 64 letters, digits, '_' and '-'"},
	{"{\"name\":\"f\"}", "users[0].tools[0].description: is missing; the model needs to know what the function does"},
	{"{\"name\":\"hold\"},{\"name\":\"hold\"}", "users[0].tools[1].name: the same name as users[0].tools[0]"},
	{"{\"name\":\"end_call\",\"parameters\":{\"type\":\"OBJECT\"}}",
		"users[0].tools[0].parameters: is not for a built-in function; give yours another name"},
	{"{\"name\":\"end_call\",\"key\":[\"reason\"]}",
		"users[0].tools[0].key: is not for a built-in function; give yours another name"},
	{"{\"name\":\"f\",\"description\":\"d\",\"behavior\":\"blocking\"}",
		"users[0].tools[0].behavior: is not one of \"BLOCKING\", \"NON_BLOCKING\""},
	{"{\"name\":\"f\",\"description\":\"d\",\"timeout_s\":0}", "users[0].tools[0].timeout_s: is not in 1..600"},
	{"{\"name\":\"f\",\"description\":\"d\",\"key\":[\"day\"]}",
		"users[0].tools[0].key[0]: is not a property of the parameters"},
	{"{\"name\":\"f\",\"description\":\"d\",\"url\":\"x\"}", "users[0].tools[0].url: no such member"},
	{WITH("[]"), "users[0].tools[0].parameters: is not an object"},
	{WITH("{\"type\":\"STRING\"}"), "users[0].tools[0].parameters: must have the type OBJECT"},
	{WITH("{}"), "users[0].tools[0].parameters: has no type"},
	{WITH("{\"type\":\"object\"}"),
		"users[0].tools[0].parameters.type: is not one of \"STRING\", \"NUMBER\", \"INTEGER\", \"BOOLEAN\", "
		"\"ARRAY\", \"OBJECT\", in upper case"},
	{WITH("{\"type\":\"OBJECT\",\"additionalProperties\":false}"),
		"users[0].tools[0].parameters.additionalProperties: is not a member of a schema that Gemini takes"},
	{WITH("{\"type\":\"OBJECT\",\"required\":[\"x\"]}"),
		"users[0].tools[0].parameters: requires a property that it does not have"},
	{PROPERTY("{\"type\":\"ARRAY\"}"), "users[0].tools[0].parameters.properties.p: is an ARRAY without items"},
	{PROPERTY("{\"type\":\"ARRAY\",\"items\":{\"type\":\"STRING\",\"const\":1}}"),
		"users[0].tools[0].parameters.properties.p.items.const: is not a member of a schema that Gemini takes"},
	{PROPERTY("{\"anyOf\":[{\"type\":\"STRING\"},{\"typ\":\"STRING\"}]}"),
		"users[0].tools[0].parameters.properties.p.anyOf[1].typ: is not a member of a schema that Gemini takes"},
	{PROPERTY("7"), "users[0].tools[0].parameters.properties.p: is not an object"},
	{PROPERTY("{\"type\":\"STRING\",\"enum\":[1]}"),
		"users[0].tools[0].parameters.properties.p.enum: is not a list of strings"},
	{PROPERTY("{\"type\":\"STRING\",\"maxLength\":1.5}"),
		"users[0].tools[0].parameters.properties.p.maxLength: is not a whole number"},
	{PROPERTY("{\"type\":\"NUMBER\",\"minimum\":\"1\"}"),
		"users[0].tools[0].parameters.properties.p.minimum: is not a number"},
	{PROPERTY("{\"type\":\"STRING\",\"nullable\":1}"),
		"users[0].tools[0].parameters.properties.p.nullable: is not true or false"},
	{PROPERTY("{\"type\":\"STRING\",\"description\":1}"),
		"users[0].tools[0].parameters.properties.p.description: is not a string"},
	{WITH("{\"type\":\"OBJECT\",\"properties\":[]}"), "users[0].tools[0].parameters.properties: is not an object"},
	/* Somebody may have put a key anywhere. */
	{WITH("{\"type\":\"OBJECT\",\"AIzaSyD-SECRET-SECRET-SECRET\":1}"),
		"users[0].tools[0].parameters.(member 2): is not a member of a schema that Gemini takes"},
	{WITH("{\"type\":\"OBJECT\",\"12345678\":1}"),
		"users[0].tools[0].parameters.(member 2): is not a member of a schema that Gemini takes"},
	{WITH("{\"type\":\"OBJECT\",\"properties\":{\"day\":{\"type\":\"STRING\"},\"sk-12345678\":7}}"),
		"users[0].tools[0].parameters.properties.(member 2): is not an object"},
};

START_TEST(test_tools_refuses)
{
	struct vl_errors errors;
	struct users *users = parse(bad[_i].tools, &errors);

	ck_assert_msg(users == NULL, "%s", bad[_i].tools);
	ck_assert_str_eq(errors.errors[0].text, bad[_i].error);
	ck_assert_uint_eq(errors.count, 1);
}
END_TEST

/* Deeper than any model would follow, within what the JSON parser takes. */
START_TEST(test_tools_refuses_depth)
{
	char text[4096] = "";
	struct vl_errors errors;

	strcat(text, "{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"OBJECT\",\"properties\":{\"p\":");
	for (int i = 0; i < 17; i++)
		strcat(text, "{\"type\":\"ARRAY\",\"items\":");
	strcat(text, "{\"type\":\"STRING\"}");
	for (int i = 0; i < 17; i++)
		strcat(text, "}");
	strcat(text, "}}}");
	ck_assert_ptr_null(parse(text, &errors));
	ck_assert_msg(strstr(errors.errors[0].text, "is nested too deep") != NULL, "%s", errors.errors[0].text);
}
END_TEST

START_TEST(test_tools_are_declared_by_family)
{
	static const struct {
		const char *model;
		bool behavior;
	} cases[] = {
		{"gemini-3.8-live", true}, /* does not wait unless told so */
		{"gemini-2.5-flash-native-audio-preview-12-2025", true},
		{"gemini-3.8-live-extended-thinking", false},
		{"gemini-3.1-flash-live-preview", false},
		{"some-model-of-tomorrow", false},
	};
	struct vl_errors errors;
	struct users *users = parse("{\"name\":\"end_call\"}," PROPERTY("{\"type\":\"STRING\"}"), &errors);

	ck_assert_ptr_nonnull(users);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gemini_setup setup = {.model = cases[i].model, .tools = users->users[0].tools, .tool_count = 2};
		char *text = gemini_build_setup(&setup);
		cJSON *tree = cJSON_Parse(text), *list;

		list = cJSON_GetObjectItem(
			cJSON_GetArrayItem(cJSON_GetObjectItem(cJSON_GetObjectItem(tree, "setup"), "tools"), 0),
			"functionDeclarations");
		ck_assert_int_eq(cJSON_GetArraySize(list), 2);
		ck_assert_str_eq(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 0), "name")->valuestring, "end_call");
		ck_assert_ptr_nonnull(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 0), "parameters"));
		for (int one = 0; one < 2; one++) {
			const cJSON *behavior = cJSON_GetObjectItem(cJSON_GetArrayItem(list, one), "behavior");

			ck_assert_msg((behavior != NULL) == cases[i].behavior, "%s", cases[i].model);
			if (behavior != NULL)
				ck_assert_str_eq(behavior->valuestring, "BLOCKING");
		}
		cJSON_Delete(tree);
		cJSON_free(text);
	}
	users_free(users);
}
END_TEST

/* The built-ins' own schemas are held to the same rules as everybody's. */
START_TEST(test_tools_built_ins_are_valid)
{
	static const char *const names[] = {"end_call", "transfer_call", "send_dtmf", "hold"};
	struct vl_errors errors;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct tool tool = {.timeout_s = 10}, copy = {.name = "f", .description = (char *)(uintptr_t) "d"};
		cJSON *list;

		snprintf(tool.name, sizeof(tool.name), "%s", names[i]);
		ck_assert_int_ne(tools_kind(names[i]), TOOL_FUNCTION);
		list = tools_declare(&tool, 1, true);
		copy.parameters = cJSON_GetObjectItem(cJSON_GetArrayItem(list, 0), "parameters");
		memset(&errors, 0, sizeof(errors));
		ck_assert_int_eq(tools_check(&copy, 1, "t", &errors), 0);
		cJSON_Delete(list);
	}
}
END_TEST

START_TEST(test_tools_knows_digits)
{
	ck_assert(tools_valid_digits("0123456789*#ABCD"));
	ck_assert(tools_valid_digits("12345678901234567890123456789012"));
	ck_assert(!tools_valid_digits("123456789012345678901234567890123"));
	ck_assert(!tools_valid_digits(""));
	ck_assert(!tools_valid_digits("1 2"));
	ck_assert(!tools_valid_digits("a"));
	ck_assert(!tools_valid_digits("E"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tools");
	TCase *files = tcase_create("files");

	tcase_add_loop_test(files, test_tools_accepts, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(files, test_tools_refuses, 0, sizeof(bad) / sizeof(bad[0]));
	suite_add_tcase(suite, files);
	unit_add(suite, "declarations", test_tools_refuses_depth, test_tools_are_declared_by_family,
		test_tools_built_ins_are_valid, test_tools_knows_digits);
	return unit_run(suite);
}
