/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser behind settings.h; the two writers are in settings_text.c. Defaults are JSON text that goes through the same checks
 * as a value from the document, so a default can never be one that the document could not say.
 */
#include "settings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_NAME_MAX 24u

struct walk {
	struct vl_errors *errors;
	bool out_of_memory;
	char path[VL_JSON_PATH_SIZE];
};

static int parse_value(struct walk *walk, const struct vl_setting *setting, const cJSON *value, char *base);

#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

bool vl_setting_name(const char *text)
{
	return strspn(text, LETTERS_AND_DIGITS) > 0 && text[strspn(text, LETTERS_AND_DIGITS "._-")] == '\0';
}

bool vl_setting_user(const char *text)
{
	return strspn(text, LETTERS_AND_DIGITS) > 0 && text[strspn(text, LETTERS_AND_DIGITS "._@+-")] == '\0';
}

bool vl_setting_path(const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return false;
	return text[0] == '/';
}

void vl_errors_add(struct vl_errors *errors, const char *path, const char *format, ...)
{
	char text[sizeof(errors->errors[0].text)];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (errors->count < VL_ERRORS_MAX)
		vl_error_at(&errors->errors[errors->count], path, "%s", text);
	errors->count++;
}

/* "'x' is not an integer", or without the value where values may be secret. */
static int wrong(struct walk *walk, const cJSON *value, const char *expected)
{
	char quote[VL_JSON_QUOTE_SIZE];

	if (walk->errors->secret)
		vl_errors_add(walk->errors, walk->path, "is not %s", expected);
	else
		vl_errors_add(walk->errors, walk->path, "%s is not %s", vl_json_quote(value, quote), expected);
	return -EINVAL;
}

static int out_of_memory(struct walk *walk)
{
	walk->out_of_memory = true;
	vl_errors_add(walk->errors, walk->path, "out of memory");
	return -ENOMEM;
}

/* The value as an integer in min..max. */
static int get_integer(struct walk *walk, const cJSON *value, int64_t min, int64_t max, int64_t *integer)
{
	char expected[64];
	double number = value->valuedouble;

	if (!cJSON_IsNumber(value) || (number >= -9e15 && number <= 9e15 && number != (double)(int64_t)number))
		return wrong(walk, value, "an integer");
	if (!(number >= (double)min && number <= (double)max && number >= -9e15 && number <= 9e15)) {
		snprintf(expected, sizeof(expected), "in %lld..%lld", (long long)min, (long long)max);
		return wrong(walk, value, expected);
	}
	*integer = (int64_t)number;
	return 0;
}

static void store_unsigned(void *field, size_t size, int64_t value)
{
	switch (size) {
	case 1:
		*(uint8_t *)field = (uint8_t)value;
		break;
	case 2:
		*(uint16_t *)field = (uint16_t)value;
		break;
	case 4:
		*(uint32_t *)field = (uint32_t)value;
		break;
	default:
		*(uint64_t *)field = (uint64_t)value;
		break;
	}
}

static int parse_string(struct walk *walk, const struct vl_setting *setting, const cJSON *value, char *field)
{
	if (!cJSON_IsString(value))
		return wrong(walk, value, "a string");
	size_t len = strlen(value->valuestring);
	size_t max = setting->max > 0 ? (size_t)setting->max : setting->size - 1;
	if (setting->size > 0 && max >= setting->size)
		max = setting->size - 1;
	if (len < (size_t)setting->min || len > max) {
		if (len == 0)
			vl_errors_add(walk->errors, walk->path, "is empty");
		else
			vl_errors_add(
				walk->errors, walk->path, "has %zu bytes, not %lld to %zu", len, (long long)setting->min, max);
		return -EINVAL;
	}
	if (setting->valid != NULL && !setting->valid(value->valuestring))
		return wrong(walk, value, setting->expected);
	if (setting->size > 0) {
		memcpy(field, value->valuestring, len + 1);
		return 0;
	}
	char *copy = strdup(value->valuestring);
	if (copy == NULL)
		return out_of_memory(walk);
	*(char **)field = copy;
	return 0;
}

static int parse_enum(struct walk *walk, const struct vl_setting *setting, const cJSON *value, int *field)
{
	char expected[160] = "one of ";
	size_t len = strlen(expected);

	for (int i = 0; setting->words[i] != NULL; i++) {
		if (cJSON_IsString(value) && strcmp(value->valuestring, setting->words[i]) == 0) {
			*field = i;
			return 0;
		}
		if (len < sizeof(expected))
			len += (size_t)snprintf(
				expected + len, sizeof(expected) - len, "%s\"%s\"", i > 0 ? ", " : "", setting->words[i]);
	}
	return wrong(walk, value, expected);
}

static int parse_pair(struct walk *walk, const struct vl_setting *setting, const cJSON *value, uint16_t *field)
{
	int64_t pair[2];
	size_t len = strlen(walk->path);

	if (cJSON_GetArraySize(value) != 2 || !cJSON_IsArray(value))
		return wrong(walk, value, "a list of two integers");
	for (int i = 0; i < 2; i++) {
		vl_json_path_index(walk->path, (unsigned int)i);
		int r = get_integer(walk, cJSON_GetArrayItem(value, i), setting->min, setting->max, &pair[i]);
		walk->path[len] = '\0';
		if (r < 0)
			return r;
		field[i] = (uint16_t)pair[i];
	}
	if (pair[0] > pair[1]) {
		vl_errors_add(walk->errors, walk->path, "the first is greater than the last");
		return -EINVAL;
	}
	return 0;
}

static int parse_list(struct walk *walk, const struct vl_setting *setting, const cJSON *value, char *base)
{
	const struct vl_setting *element = &setting->members[0];
	size_t len = strlen(walk->path), index = 0;
	const cJSON *item;
	int result = 0;

	if (!cJSON_IsArray(value))
		return wrong(walk, value, "a list");
	size_t count = (size_t)cJSON_GetArraySize(value);
	if (count < (size_t)setting->min || count > (size_t)setting->max) {
		vl_errors_add(walk->errors, walk->path, "has %zu elements, not %lld to %lld", count, (long long)setting->min,
			(long long)setting->max);
		return -EINVAL;
	}
	if (count == 0)
		return 0;
	char *array = calloc(count, element->size);
	if (array == NULL)
		return out_of_memory(walk);
	*(char **)(base + setting->offset) = array;
	*(size_t *)(base + setting->count) = count;
	cJSON_ArrayForEach(item, value)
	{
		vl_json_path_index(walk->path, (unsigned int)index);
		int r = parse_value(walk, element, item, array + index * element->size);
		if (r < 0)
			result = r;
		walk->path[len] = '\0';
		index++;
	}
	return result;
}

/* In a document of secrets somebody may have put a key in a name's place: only what looks like a name of ours is repeated. */
static bool can_show_name(const char *name)
{
	return strlen(name) <= SECRET_NAME_MAX && name[strspn(name, "abcdefghijklmnopqrstuvwxyz_")] == '\0';
}

static void refuse_unknown(struct walk *walk, const struct vl_setting *members, const cJSON *object)
{
	size_t len = strlen(walk->path);
	const cJSON *member;

	cJSON_ArrayForEach(member, object)
	{
		const struct vl_setting *setting = members;
		while (setting->name != NULL && strcmp(setting->name, member->string) != 0)
			setting++;
		if (setting->name != NULL)
			continue;
		if (walk->errors->secret && !can_show_name(member->string)) {
			vl_errors_add(walk->errors, walk->path,
				"has a member that does not exist (its name could be a key and is not shown)");
			continue;
		}
		vl_json_path_member(walk->path, member->string);
		vl_errors_add(walk->errors, walk->path, "no such member");
		walk->path[len] = '\0';
	}
}

/* The value of an absent member. */
static int parse_absent(struct walk *walk, const struct vl_setting *setting, char *base)
{
	if (setting->required) {
		vl_errors_add(walk->errors, walk->path, "is missing");
		return -EINVAL;
	}
	if (setting->fallback == NULL) {
		if (setting->type == VL_SETTING_OBJECT && setting->present == 0)
			return parse_value(walk, setting, NULL, base);
		return 0;
	}
	cJSON *fallback = cJSON_Parse(setting->fallback);
	if (fallback == NULL)
		return out_of_memory(walk);
	int r = parse_value(walk, setting, fallback, base);
	cJSON_Delete(fallback);
	return r;
}

static int parse_object(struct walk *walk, const struct vl_setting *members, const cJSON *object, char *base)
{
	size_t len = strlen(walk->path);
	int result = 0;

	if (object != NULL && !cJSON_IsObject(object))
		return wrong(walk, object, "an object");
	refuse_unknown(walk, members, object);
	for (const struct vl_setting *setting = members; setting->name != NULL; setting++) {
		const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, setting->name);
		vl_json_path_member(walk->path, setting->name);
		int r = value == NULL ? parse_absent(walk, setting, base) : parse_value(walk, setting, value, base);
		if (r < 0)
			result = r;
		else if (value != NULL && setting->present != 0)
			*(bool *)(base + setting->present) = true;
		walk->path[len] = '\0';
	}
	return result;
}

static int parse_tree(struct walk *walk, const cJSON *value, cJSON **field)
{
	if (!cJSON_IsObject(value))
		return wrong(walk, value, "an object");
	*field = cJSON_Duplicate(value, true);
	return *field != NULL ? 0 : out_of_memory(walk);
}

/* `base` is the struct the field lies in; `value` is NULL only for an absent object. */
static int parse_value(struct walk *walk, const struct vl_setting *setting, const cJSON *value, char *base)
{
	char *field = base + setting->offset;
	int64_t integer;
	int r;

	switch (setting->type) {
	case VL_SETTING_STRING:
		return parse_string(walk, setting, value, field);
	case VL_SETTING_INTEGER:
		r = get_integer(walk, value, setting->min, setting->max, &integer);
		if (r == 0)
			store_unsigned(field, setting->size, integer);
		return r;
	case VL_SETTING_BOOL:
		if (!cJSON_IsBool(value))
			return wrong(walk, value, "true or false");
		*(bool *)field = cJSON_IsTrue(value);
		return 0;
	case VL_SETTING_ENUM:
		return parse_enum(walk, setting, value, (int *)field);
	case VL_SETTING_TEXT:
		if (!cJSON_IsString(value) || setting->parse(value->valuestring, field) < 0)
			return wrong(walk, value, setting->expected);
		return 0;
	case VL_SETTING_PAIR:
		return parse_pair(walk, setting, value, (uint16_t *)field);
	case VL_SETTING_TREE:
		return parse_tree(walk, value, (cJSON **)field);
	case VL_SETTING_LIST:
		return parse_list(walk, setting, value, base);
	case VL_SETTING_OBJECT:
		return parse_object(walk, setting->members, value, field);
	}
	return -EINVAL;
}

int vl_settings_parse(const struct vl_setting *members, const cJSON *document, void *target, struct vl_errors *errors)
{
	struct walk walk = {.errors = errors};
	unsigned int before = errors->count;

	parse_object(&walk, members, document, target);
	if (errors->count == before)
		return 0;
	vl_settings_free(members, target);
	return walk.out_of_memory ? -ENOMEM : -EINVAL;
}

static void free_value(const struct vl_setting *setting, char *base)
{
	char *field = base + setting->offset;

	switch (setting->type) {
	case VL_SETTING_STRING:
		if (setting->size > 0) {
			explicit_bzero(field, setting->size);
		} else if (*(char **)field != NULL) {
			explicit_bzero(*(char **)field, strlen(*(char **)field));
			free(*(char **)field);
			*(char **)field = NULL;
		}
		break;
	case VL_SETTING_TREE:
		vl_json_wipe(*(cJSON **)field);
		*(cJSON **)field = NULL;
		break;
	case VL_SETTING_LIST: {
		char *array = *(char **)field;
		for (size_t i = 0; array != NULL && i < *(size_t *)(base + setting->count); i++)
			free_value(&setting->members[0], array + i * setting->members[0].size);
		free(array);
		*(char **)field = NULL;
		*(size_t *)(base + setting->count) = 0;
		break;
	}
	case VL_SETTING_OBJECT:
		vl_settings_free(setting->members, field);
		break;
	default:
		memset(field, 0, setting->size);
		break;
	}
	if (setting->present != 0)
		*(bool *)(base + setting->present) = false;
}

void vl_settings_free(const struct vl_setting *members, void *target)
{
	for (const struct vl_setting *setting = members; setting->name != NULL; setting++)
		free_value(setting, target);
}
