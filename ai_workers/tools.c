/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Declarations of functions, see tools.h. The service closes a session with 1007 on the first member of a schema that it does not
 * know, so a schema is checked here, against the OpenAPI subset that `Schema` of the v1beta API is, before any call needs it.
 */
#include "tools.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_NAME_MAX 24u /* as in shared/settings.c */

#define ROW(member, field, kind) .name = member, .type = VL_SETTING_##kind, VL_SETTING_FIELD(tool, field)

static const char *const behaviors[] = {"BLOCKING", "NON_BLOCKING", NULL};

bool tools_valid_name(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

	return len > 0 && len < TOOL_NAME_SIZE && name[len] == '\0';
}

#define NAME_EXPECTED "a name of 1 to 64 letters, digits, '_' and '-'"

static const struct vl_setting key_element[] = {{.name = "",
							.type = VL_SETTING_STRING,
							VL_SETTING_FIELD(tool_argument, name),
							.min = 1,
							.valid = tools_valid_name,
							.expected = NAME_EXPECTED},
	{.name = NULL}};

const struct vl_setting tools_table[] = {
	{ROW("name", name, STRING), .required = true, .min = 1, .valid = tools_valid_name, .expected = NAME_EXPECTED,
		.reloadable = true,
		.meaning =
			"name of the function; `end_call`, `transfer_call`, `send_dtmf` and `hold` are built in and need nothing "
			"else"},
	{.name = "description",
		.type = VL_SETTING_STRING,
		.offset = offsetof(struct tool, description),
		.min = 1,
		.max = 4096,
		.reloadable = true,
		.meaning = "what the function does and when to call it, for the model; a built-in has one"},
	{ROW("parameters", parameters, TREE), .reloadable = true,
		.meaning = "schema of the arguments, type OBJECT, in the subset of OpenAPI that Gemini takes; none means no "
			   "arguments"},
	{ROW("behavior", behavior, ENUM), .words = behaviors, .fallback = "\"BLOCKING\"", .reloadable = true,
		.meaning = "whether the model waits for the result before it speaks on, where the model has the choice"},
	{ROW("timeout_s", timeout_s, INTEGER), .min = 1, .max = 600, .fallback = "10", .unit = "s", .reloadable = true,
		.meaning = "how long the result may take; then the model is told that there is none"},
	{ROW("key", key, LIST), .count = offsetof(struct tool, key_count), .min = 1, .max = TOOL_KEYS_MAX, .members = key_element,
		.reloadable = true,
		.meaning =
			"arguments that make two calls the same business: the second one gets the first one's result and is not "
			"passed on"},
	{.name = NULL}};

/* What a built-in is to the model. */
static const struct {
	const char *name;
	enum tool_kind kind;
	const char *description, *parameters;
} built_ins[] = {
	{"end_call", TOOL_END_CALL,
		"Ends the phone call. Call it when the conversation is over, after saying goodbye; the call ends when the caller "
		"has heard all that you said.",
		"{\"type\":\"OBJECT\",\"properties\":{\"reason\":{\"type\":\"STRING\","
		"\"description\":\"Why the call ends, in a few words.\"}}}"},
	{"transfer_call", TOOL_TRANSFER_CALL,
		"Transfers the caller to another destination. Announce the transfer before calling it.",
		"{\"type\":\"OBJECT\",\"properties\":{\"destination\":{\"type\":\"STRING\","
		"\"description\":\"Phone number, extension or name of the destination.\"}},\"required\":[\"destination\"]}"},
	{"send_dtmf", TOOL_SEND_DTMF, "Sends touch tones (DTMF) on the line, for example to use the menu of an automatic system.",
		"{\"type\":\"OBJECT\",\"properties\":{\"digits\":{\"type\":\"STRING\","
		"\"description\":\"The keys in their order: 0-9, *, #, A-D; at most 32.\"}},\"required\":[\"digits\"]}"},
	{"hold", TOOL_HOLD, "Puts the caller on hold, or takes the caller back from hold.",
		"{\"type\":\"OBJECT\",\"properties\":{\"on\":{\"type\":\"BOOLEAN\","
		"\"description\":\"true: put on hold; false: take back.\"}},\"required\":[\"on\"]}"},
};
#define BUILT_INS (sizeof(built_ins) / sizeof(built_ins[0]))

enum tool_kind tools_kind(const char *name)
{
	for (size_t i = 0; i < BUILT_INS; i++)
		if (strcmp(built_ins[i].name, name) == 0)
			return built_ins[i].kind;
	return TOOL_FUNCTION;
}

const struct tool *tools_find(const struct tool *tools, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(tools[i].name, name) == 0)
			return &tools[i];
	return NULL;
}

bool tools_valid_digits(const char *digits)
{
	size_t len = strspn(digits, "0123456789*#ABCD");

	return len > 0 && len <= TOOL_DIGITS_MAX && digits[len] == '\0';
}

/* -- schemas -- */

enum member_kind { TEXT, FLAG, COUNT, NUMBER, TEXTS, ANY, SCHEMA, SCHEMAS, PROPERTIES, TYPE };

/* Members of `Schema`; int64 may be a number or its text. */
static const struct {
	const char *name;
	enum member_kind kind;
} schema_members[] = {
	{"type", TYPE},
	{"format", TEXT},
	{"title", TEXT},
	{"description", TEXT},
	{"nullable", FLAG},
	{"enum", TEXTS},
	{"items", SCHEMA},
	{"maxItems", COUNT},
	{"minItems", COUNT},
	{"properties", PROPERTIES},
	{"required", TEXTS},
	{"minProperties", COUNT},
	{"maxProperties", COUNT},
	{"minimum", NUMBER},
	{"maximum", NUMBER},
	{"minLength", COUNT},
	{"maxLength", COUNT},
	{"pattern", TEXT},
	{"example", ANY},
	{"default", ANY},
	{"anyOf", SCHEMAS},
	{"propertyOrdering", TEXTS},
};
#define SCHEMA_MEMBERS (sizeof(schema_members) / sizeof(schema_members[0]))

#define TYPE_EXPECTED "is not one of \"STRING\", \"NUMBER\", \"INTEGER\", \"BOOLEAN\", \"ARRAY\", \"OBJECT\", in upper case"

static bool is_type(const cJSON *value)
{
	static const char *const types[] = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"};

	for (size_t i = 0; cJSON_IsString(value) && i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i], value->valuestring) == 0)
			return true;
	return false;
}

static bool is_texts(const cJSON *value)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, value)
	{
		if (!cJSON_IsString(item))
			return false;
	}
	return cJSON_IsArray(value);
}

/* Why a member that is no schema itself is wrong, or NULL. */
static const char *judge_scalar(enum member_kind kind, const cJSON *value)
{
	switch (kind) {
	case TYPE:
		return is_type(value) ? NULL : TYPE_EXPECTED;
	case TEXT:
		return cJSON_IsString(value) ? NULL : "is not a string";
	case FLAG:
		return cJSON_IsBool(value) ? NULL : "is not true or false";
	case COUNT:
		return cJSON_IsNumber(value) && value->valuedouble >= 0 && floor(value->valuedouble) == value->valuedouble
			       ? NULL
			       : "is not a whole number";
	case NUMBER:
		return cJSON_IsNumber(value) ? NULL : "is not a number";
	case TEXTS:
		return is_texts(value) ? NULL : "is not a list of strings";
	case SCHEMAS:
		return cJSON_IsArray(value) ? NULL : "is not a list";
	case PROPERTIES:
		return cJSON_IsObject(value) ? NULL : "is not an object";
	default:
		return NULL;
	}
}

static int check_schema(const cJSON *schema, char path[VL_JSON_PATH_SIZE], unsigned int depth, struct vl_errors *errors);

/* Somebody may have put a key there, so only what looks like a word is repeated; for anything else its place must do. */
static void add_member(char path[VL_JSON_PATH_SIZE], const char *name, unsigned int number)
{
	bool word = strlen(name) <= SHOWN_NAME_MAX &&
		    name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")] == '\0';
	char place[32];

	snprintf(place, sizeof(place), "(member %u)", number);
	vl_json_path_member(path, word ? name : place);
}

/* Schemas below a member: one, a list of them, or one per property. */
static int check_below(
	const cJSON *value, enum member_kind kind, char path[VL_JSON_PATH_SIZE], unsigned int depth, struct vl_errors *errors)
{
	size_t len = strlen(path);
	unsigned int index = 0;
	const cJSON *item;
	int result = 0;

	if (kind == SCHEMA)
		return check_schema(value, path, depth + 1, errors);
	cJSON_ArrayForEach(item, value)
	{
		if (kind == SCHEMAS)
			vl_json_path_index(path, index++);
		else
			add_member(path, item->string, ++index);
		if (check_schema(item, path, depth + 1, errors) != 0)
			result = -EINVAL;
		path[len] = '\0';
	}
	return result;
}

/* The service wants the types to agree with what belongs to them. */
static int check_shape(const cJSON *schema, const char *path, struct vl_errors *errors)
{
	const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(schema, "type"));
	const cJSON *properties = cJSON_GetObjectItemCaseSensitive(schema, "properties"), *name;

	if (type == NULL && cJSON_GetObjectItemCaseSensitive(schema, "anyOf") == NULL) {
		vl_errors_add(errors, path, "has no type");
		return -EINVAL;
	}
	if (type != NULL && strcmp(type, "ARRAY") == 0 && cJSON_GetObjectItemCaseSensitive(schema, "items") == NULL) {
		vl_errors_add(errors, path, "is an ARRAY without items");
		return -EINVAL;
	}
	cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(schema, "required"))
	{
		if (!cJSON_IsString(name) || cJSON_GetObjectItemCaseSensitive(properties, name->valuestring) != NULL)
			continue;
		vl_errors_add(errors, path, "requires a property that it does not have");
		return -EINVAL;
	}
	return 0;
}

static int check_schema(const cJSON *schema, char path[VL_JSON_PATH_SIZE], unsigned int depth, struct vl_errors *errors)
{
	size_t len = strlen(path);
	unsigned int number = 0;
	const cJSON *member;
	int result = 0;

	if (!cJSON_IsObject(schema) || depth > TOOL_SCHEMA_DEPTH) {
		vl_errors_add(errors, path, depth > TOOL_SCHEMA_DEPTH ? "is nested too deep" : "is not an object");
		return -EINVAL;
	}
	cJSON_ArrayForEach(member, schema)
	{
		const char *why = "is not a member of a schema that Gemini takes";
		size_t i = 0;

		while (i < SCHEMA_MEMBERS && strcmp(schema_members[i].name, member->string) != 0)
			i++;
		if (i < SCHEMA_MEMBERS)
			why = judge_scalar(schema_members[i].kind, member);
		add_member(path, member->string, ++number);
		if (why != NULL) {
			vl_errors_add(errors, path, "%s", why);
			result = -EINVAL;
		} else if (schema_members[i].kind == SCHEMA || schema_members[i].kind == SCHEMAS ||
			   schema_members[i].kind == PROPERTIES) {
			if (check_below(member, schema_members[i].kind, path, depth, errors) != 0)
				result = -EINVAL;
		}
		path[len] = '\0';
	}
	return result != 0 ? result : check_shape(schema, path, errors);
}

static int check_parameters(const struct tool *tool, char path[VL_JSON_PATH_SIZE], struct vl_errors *errors)
{
	const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tool->parameters, "type"));
	const cJSON *properties = cJSON_GetObjectItemCaseSensitive(tool->parameters, "properties");
	size_t len = strlen(path);
	int result = 0;

	vl_json_path_member(path, "parameters");
	if (tool->parameters != NULL)
		result = check_schema(tool->parameters, path, 0, errors);
	if (result == 0 && tool->parameters != NULL && (type == NULL || strcmp(type, "OBJECT") != 0)) {
		vl_errors_add(errors, path, "must have the type OBJECT");
		result = -EINVAL;
	}
	path[len] = '\0';
	for (size_t i = 0; result == 0 && i < tool->key_count; i++) {
		if (cJSON_GetObjectItemCaseSensitive(properties, tool->key[i].name) != NULL)
			continue;
		vl_json_path_member(path, "key");
		vl_json_path_index(path, (unsigned int)i);
		vl_errors_add(errors, path, "is not a property of the parameters");
		path[len] = '\0';
		result = -EINVAL;
	}
	return result;
}

static int check_tool(const struct tool *tool, char path[VL_JSON_PATH_SIZE], struct vl_errors *errors)
{
	if (tools_kind(tool->name) == TOOL_FUNCTION) {
		if (tool->description != NULL)
			return check_parameters(tool, path, errors);
		vl_json_path_member(path, "description");
		vl_errors_add(errors, path, "is missing; the model needs to know what the function does");
		return -EINVAL;
	}
	if (tool->parameters == NULL && tool->key_count == 0)
		return 0;
	vl_json_path_member(path, tool->parameters != NULL ? "parameters" : "key");
	vl_errors_add(errors, path, "is not for a built-in function; give yours another name");
	return -EINVAL;
}

int tools_check(const struct tool *tools, size_t count, const char *path, struct vl_errors *errors)
{
	char place[VL_JSON_PATH_SIZE];
	int result = 0;

	for (size_t i = 0; i < count; i++) {
		const struct tool *same = tools_find(tools, i, tools[i].name);

		snprintf(place, sizeof(place), "%s", path);
		vl_json_path_index(place, (unsigned int)i);
		if (same != NULL) {
			vl_json_path_member(place, "name");
			vl_errors_add(errors, place, "the same name as %s[%zu]", path, (size_t)(same - tools));
			result = -EINVAL;
		} else if (check_tool(&tools[i], place, errors) != 0) {
			result = -EINVAL;
		}
	}
	return result;
}

cJSON *tools_declare(const struct tool *tools, size_t count, bool behavior)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; i < count; i++) {
		cJSON *one = cJSON_CreateObject(), *parameters = NULL;
		const char *description = tools[i].description;

		cJSON_AddStringToObject(one, "name", tools[i].name);
		for (size_t b = 0; b < BUILT_INS; b++) {
			if (strcmp(built_ins[b].name, tools[i].name) != 0)
				continue;
			description = description != NULL ? description : built_ins[b].description;
			parameters = cJSON_Parse(built_ins[b].parameters);
		}
		cJSON_AddStringToObject(one, "description", description);
		if (tools[i].parameters != NULL)
			parameters = cJSON_Duplicate(tools[i].parameters, true);
		if (parameters != NULL)
			cJSON_AddItemToObject(one, "parameters", parameters);
		if (behavior)
			cJSON_AddStringToObject(one, "behavior", behaviors[tools[i].behavior]);
		cJSON_AddItemToArray(list, one);
	}
	return list;
}
