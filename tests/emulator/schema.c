/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks a parsed client message along the tables of schema_tables.c and words refusals as the service's proto3 JSON parser does
 * (see schema.h).
 */
#include "schema.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "decode64.h"

#define PATH_MAX_SIZE 256u
#define PREFIX	      "Invalid JSON payload received. "
#define PACKAGE	      "type.googleapis.com/google.ai.generativelanguage.v1beta."

struct walk {
	enum request_api api;
	char path[PATH_MAX_SIZE]; /* "" at the top, else "setup.tools[0]" */
	struct schema_error *error;
};

int schema_refuse(struct schema_error *error, int code, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	error->code = code;
	vsnprintf(error->reason, sizeof(error->reason), format, arguments);
	va_end(arguments);
	return -EPROTO;
}

/* Is `sent` the snake_case `name`, or its lowerCamelCase form? */
static bool same_name(const char *sent, const char *name)
{
	if (strcmp(sent, name) == 0)
		return true;
	for (; *name != '\0'; name++, sent++) {
		char expected = *name;
		if (expected == '_' && name[1] != '\0') {
			name++;
			expected = (char)(*name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name);
		}
		if (*sent != expected)
			return false;
	}
	return *sent == '\0';
}

static const struct schema_field *find_field(enum request_api api, const struct schema_message *message, const char *sent)
{
	for (const struct schema_field *field = message->fields; field->name != NULL; field++) {
		if (!same_name(sent, field->name))
			continue;
		if ((field->flags & SCHEMA_ALPHA) && api != REQUEST_API_V1ALPHA)
			return NULL;
		if ((field->flags & SCHEMA_VERTEX) && api != REQUEST_API_VERTEX)
			return NULL;
		return field;
	}
	return NULL;
}

static int refuse_unknown(struct walk *walk, const char *name)
{
	if (walk->path[0] == '\0')
		return schema_refuse(walk->error, 1007, PREFIX "Unknown name \"%.100s\": Cannot find field.", name);
	return schema_refuse(walk->error, 1007, PREFIX "Unknown name \"%.100s\" at '%s': Cannot find field.", name, walk->path);
}

/* A value of the wrong kind, in the service's words: 'path' (TYPE), value. */
static int refuse_value(struct walk *walk, const char *type, const cJSON *value)
{
	char text[64];
	if (cJSON_IsString(value))
		snprintf(text, sizeof(text), "\"%.40s\"", value->valuestring);
	else if (cJSON_IsNumber(value))
		snprintf(text, sizeof(text), "%.10g", value->valuedouble);
	else
		snprintf(text, sizeof(text), "%s", cJSON_IsTrue(value) ? "true" : "false");
	return schema_refuse(walk->error, 1007, "Invalid value at '%s' (%s), %s", walk->path, type, text);
}

/* The path without its last name. */
static void parent_path(const struct walk *walk, char parent[PATH_MAX_SIZE])
{
	snprintf(parent, PATH_MAX_SIZE, "%s", walk->path);
	char *dot = strrchr(parent, '.');
	if (dot != NULL)
		*dot = '\0';
	else
		parent[0] = '\0';
}

/* An object or list where one scalar belongs: 'parent' (field), Starting an object on a scalar field. */
static int refuse_container(struct walk *walk, const struct schema_field *field, const cJSON *value)
{
	char parent[PATH_MAX_SIZE];

	parent_path(walk, parent);
	if (cJSON_IsArray(value))
		return schema_refuse(walk->error, 1007,
			PREFIX "Unknown name \"%s\" at '%s': Proto field is not repeating, cannot start list.",
			value->string ? value->string : field->name, parent);
	return schema_refuse(
		walk->error, 1007, "Invalid value at '%s' (%s), Starting an object on a scalar field", parent, field->name);
}

static bool is_enum_value(const char *const *values, const char *text)
{
	for (; *values != NULL; values++) {
		if (strcasecmp(*values, text) == 0)
			return true;
	}
	return false;
}

static bool is_integer(const cJSON *value, double low, double high)
{
	double number = value->valuedouble;
	if (cJSON_IsString(value)) {
		char *end;
		errno = 0;
		long long parsed = strtoll(value->valuestring, &end, 10);
		if (errno != 0 || end == value->valuestring || *end != '\0')
			return false;
		number = (double)parsed;
	} else if (!cJSON_IsNumber(value)) {
		return false;
	}
	return number >= low && number <= high && number == floor(number);
}

static bool is_float(const cJSON *value)
{
	if (cJSON_IsNumber(value))
		return true;
	if (!cJSON_IsString(value) || value->valuestring[0] == '\0')
		return false;
	char *end;
	strtod(value->valuestring, &end);
	return *end == '\0';
}

static int check_scalar(struct walk *walk, const struct schema_field *field, const cJSON *value)
{
	char type[160];
	size_t size;
	if (cJSON_IsObject(value) || cJSON_IsArray(value))
		return refuse_container(walk, field, value);
	switch (field->type) {
	case SCHEMA_STRING:
		return cJSON_IsString(value) ? 0 : refuse_value(walk, "TYPE_STRING", value);
	case SCHEMA_BOOL:
		if (cJSON_IsBool(value) || (cJSON_IsString(value) && (strcmp(value->valuestring, "true") == 0 ||
									     strcmp(value->valuestring, "false") == 0)))
			return 0;
		return refuse_value(walk, "TYPE_BOOL", value);
	case SCHEMA_INT32:
		return is_integer(value, INT32_MIN, INT32_MAX) ? 0 : refuse_value(walk, "TYPE_INT32", value);
	case SCHEMA_INT64:
		return is_integer(value, -0x1p63, 0x1p63) ? 0 : refuse_value(walk, "TYPE_INT64", value);
	case SCHEMA_FLOAT:
		return is_float(value) ? 0 : refuse_value(walk, "TYPE_FLOAT", value);
	case SCHEMA_ENUM:
		if (cJSON_IsString(value) && is_enum_value(field->values, value->valuestring))
			return 0;
		snprintf(type, sizeof(type), PACKAGE "%s", field->enum_name);
		return refuse_value(walk, type, value);
	case SCHEMA_BYTES:
		if (!cJSON_IsString(value))
			return refuse_value(walk, "TYPE_BYTES", value);
		if (decode64(value->valuestring, strlen(value->valuestring), NULL, &size))
			return 0;
		return schema_refuse(walk->error, 1007,
			"Invalid value at '%s' (TYPE_BYTES), Base64 decoding failed for \"%.60s\"", walk->path,
			value->valuestring);
	default:
		return 0;
	}
}

static int check_message(struct walk *walk, const struct schema_message *message, const cJSON *object);

static int check_map(struct walk *walk, const struct schema_field *field, const cJSON *value)
{
	size_t length = strlen(walk->path);
	for (const cJSON *member = value->child; member != NULL; member = member->next) {
		snprintf(walk->path + length, sizeof(walk->path) - length, "[%zu].value", (size_t)0);
		int error = check_message(walk, field->message, member);
		if (error)
			return error;
	}
	walk->path[length] = '\0';
	return 0;
}

/* One value (a repeated field's element, or the field itself). */
static int check_value(struct walk *walk, const struct schema_field *field, const cJSON *value)
{
	char type[160];
	switch (field->type) {
	case SCHEMA_VALUE:
		return 0;
	case SCHEMA_MESSAGE:
		return check_message(walk, field->message, value);
	case SCHEMA_MAP:
	case SCHEMA_STRUCT:
		if (cJSON_IsArray(value))
			return refuse_container(walk, field, value);
		if (!cJSON_IsObject(value)) {
			snprintf(type, sizeof(type), "type.googleapis.com/google.protobuf.Struct");
			return refuse_value(walk, type, value);
		}
		return field->type == SCHEMA_MAP ? check_map(walk, field, value) : 0;
	default:
		return check_scalar(walk, field, value);
	}
}

/* A scalar where a list is expected counts as a list of one, as the service takes it. */
static int check_field(struct walk *walk, const struct schema_field *field, const cJSON *value)
{
	if (!(field->flags & SCHEMA_REPEATED) || !cJSON_IsArray(value))
		return check_value(walk, field, value);
	size_t length = strlen(walk->path), index = 0;
	for (const cJSON *element = value->child; element != NULL; element = element->next, index++) {
		snprintf(walk->path + length, sizeof(walk->path) - length, "[%zu]", index);
		int error = check_value(walk, field, element);
		if (error)
			return error;
	}
	walk->path[length] = '\0';
	return 0;
}

static int check_message(struct walk *walk, const struct schema_message *message, const cJSON *object)
{
	char type[160], parent[PATH_MAX_SIZE];
	const struct schema_field *set = NULL;
	if (!cJSON_IsObject(object)) {
		snprintf(type, sizeof(type), PACKAGE "%s", message->name);
		parent_path(walk, parent);
		if (cJSON_IsArray(object))
			return schema_refuse(walk->error, 1007,
				PREFIX "Unknown name \"%s\" at '%s': Proto field is not repeating, cannot start list.",
				object->string ? object->string : message->name, parent);
		return refuse_value(walk, type, object);
	}
	size_t length = strlen(walk->path);
	for (const cJSON *member = object->child; member != NULL; member = member->next) {
		const struct schema_field *field = find_field(walk->api, message, member->string);
		if (field == NULL)
			return refuse_unknown(walk, member->string);
		if (cJSON_IsNull(member))
			continue;
		if ((field->flags & SCHEMA_ONEOF) && set != NULL)
			return schema_refuse(walk->error, 1007,
				PREFIX "Invalid value at '%s' (oneof), oneof field '%s' is already set. Cannot set '%s'",
				length > 0 ? walk->path : "message", message->oneof, member->string);
		if (field->flags & SCHEMA_ONEOF)
			set = field;
		if (field->flags & SCHEMA_UNSUPPORTED)
			return schema_refuse(walk->error, 1007, "Request contains an invalid argument.");
		snprintf(walk->path + length, sizeof(walk->path) - length, "%s%s", length > 0 ? "." : "", field->name);
		int error = check_field(walk, field, member);
		if (error)
			return error;
		walk->path[length] = '\0';
	}
	return 0;
}

int schema_check(enum request_api api, const cJSON *root, struct schema_error *error)
{
	struct walk walk = {.api = api, .error = error};
	if (!cJSON_IsObject(root))
		return schema_refuse(error, 1007, PREFIX "Root element must be a message.");
	int result = check_message(&walk, &schema_client_message, root);
	if (result == 0 && root->child == NULL)
		return schema_refuse(error, 1007, "Request contains an invalid argument.");
	return result;
}

cJSON *schema_parse(enum request_api api, const char *text, size_t size, struct schema_error *error)
{
	const char *end = NULL;
	cJSON *root = NULL;
	if (memchr(text, '\0', size) == NULL)
		root = cJSON_ParseWithLengthOpts(text, size + 1, &end, 1);
	if (root == NULL) {
		schema_refuse(error, 1007, PREFIX "Unexpected token.");
		return NULL;
	}
	if (schema_check(api, root, error) != 0) {
		cJSON_Delete(root);
		return NULL;
	}
	return root;
}

const cJSON *schema_get(const cJSON *object, const char *name)
{
	if (!cJSON_IsObject(object))
		return NULL;
	for (const cJSON *member = object->child; member != NULL; member = member->next) {
		if (same_name(member->string, name))
			return cJSON_IsNull(member) ? NULL : member;
	}
	return NULL;
}

const cJSON *schema_path(const cJSON *object, const char *path)
{
	char name[64];
	while (object != NULL && *path != '\0') {
		size_t size = strcspn(path, ".");
		if (size >= sizeof(name))
			return NULL;
		memcpy(name, path, size);
		name[size] = '\0';
		object = schema_get(object, name);
		path += size + (path[size] == '.');
	}
	return object;
}

const char *schema_text(const cJSON *object, const char *path)
{
	const cJSON *value = schema_path(object, path);
	return cJSON_IsString(value) ? value->valuestring : NULL;
}

long schema_integer(const cJSON *object, const char *path, long otherwise)
{
	const cJSON *value = schema_path(object, path);
	if (cJSON_IsNumber(value))
		return (long)value->valuedouble;
	return cJSON_IsString(value) ? strtol(value->valuestring, NULL, 10) : otherwise;
}
