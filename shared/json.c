/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strict JSON over cJSON: a scanner that accepts exactly RFC 8259 and knows line and column, then cJSON's tree, then the check
 * for duplicates.
 */
#include "json.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_MAX  63u		       /* cJSON copies a number into 64 bytes and would misread a longer one */
#define INTEGER_MAX 9007199254740992.0 /* 2^53 */

/* Cut an incomplete UTF-8 sequence off the end, so that a shortened text stays valid JSON. */
static void utf8_trim(char *text, size_t len)
{
	size_t start = len;

	while (start > 0 && len - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start == 0)
		return;
	unsigned char lead = (unsigned char)text[start - 1];
	size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
	if (len - (start - 1) < need)
		text[start - 1] = '\0';
}

static void error_format(struct vl_error *error, const char *path, const char *format, va_list arguments)
{
	size_t len = 0;

	error->path_len = 0;
	if (path != NULL && path[0] != '\0') {
		snprintf(error->text, sizeof(error->text), "%.*s: ", (int)VL_JSON_PATH_SIZE - 1, path);
		len = strlen(error->text);
		error->path_len = (unsigned char)(len - 2);
	}
	if ((size_t)vsnprintf(error->text + len, sizeof(error->text) - len, format, arguments) >= sizeof(error->text) - len)
		utf8_trim(error->text, strlen(error->text));
}

int vl_error_set(struct vl_error *error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (error != NULL)
		error_format(error, NULL, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

int vl_error_at(struct vl_error *error, const char *path, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (error != NULL)
		error_format(error, path, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

const char *vl_error_reason(const struct vl_error *error)
{
	return error->text + (error->path_len > 0 ? error->path_len + 2u : 0u);
}

/* The scanner. Each function returns NULL when the construct is well-formed, or what is wrong at scan->at. */
struct scan {
	const char *at, *end;
	unsigned int depth;
};

static const char *scan_value(struct scan *scan);

static void scan_space(struct scan *scan)
{
	while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r'))
		scan->at++;
}

static bool scan_next_is(const struct scan *scan, char c)
{
	return scan->at < scan->end && *scan->at == c;
}

/* Length of the valid UTF-8 sequence at `at`, 0 when it is none (overlong, surrogate, beyond U+10FFFF). RFC 3629 section 4. */
static size_t utf8_sequence(const char *at, const char *end)
{
	const unsigned char *b = (const unsigned char *)at;
	size_t left = (size_t)(end - at);
	size_t len = b[0] < 0x80 ? 1 : b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf5 ? 4 : 0;

	if (len == 0 || len > left)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((b[i] & 0xc0) != 0x80)
			return 0;
	if ((b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xed && b[1] > 0x9f) || (b[0] == 0xf0 && b[1] < 0x90) ||
		(b[0] == 0xf4 && b[1] > 0x8f))
		return 0;
	return len;
}

/* Four hex digits at scan->at. Returns their value or -1. */
static long scan_hex4(struct scan *scan)
{
	long value = 0;

	for (int i = 0; i < 4; i++, scan->at++) {
		if (scan->at == scan->end)
			return -1;
		char c = *scan->at;
		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
			value = value * 16 + ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return value;
}

/* Behind a backslash. */
static const char *scan_escape(struct scan *scan)
{
	if (scan->at == scan->end)
		return "string is not closed";
	char c = *scan->at;
	if (c == '\0' || strchr("\"\\/bfnrt", c) != NULL) {
		if (c == '\0')
			return "unknown escape sequence";
		scan->at++;
		return NULL;
	}
	if (c != 'u')
		return "unknown escape sequence";
	scan->at++;
	long unit = scan_hex4(scan);
	if (unit < 0)
		return "\\u wants four hex digits";
	if (unit == 0)
		return "\\u0000 is not allowed in a string";
	if (unit >= 0xdc00 && unit <= 0xdfff)
		return "unpaired surrogate";
	if (unit >= 0xd800 && unit <= 0xdbff) {
		if (scan->end - scan->at < 6 || scan->at[0] != '\\' || scan->at[1] != 'u')
			return "unpaired surrogate";
		scan->at += 2;
		unit = scan_hex4(scan);
		if (unit < 0xdc00 || unit > 0xdfff)
			return "unpaired surrogate";
	}
	return NULL;
}

static const char *scan_string(struct scan *scan)
{
	scan->at++;
	while (scan->at < scan->end) {
		unsigned char c = (unsigned char)*scan->at;
		if (c == '"') {
			scan->at++;
			return NULL;
		}
		if (c < 0x20)
			return c == '\n' || c == '\r' ? "string is not closed in its line" : "control character in a string";
		if (c == '\\') {
			scan->at++;
			const char *wrong = scan_escape(scan);
			if (wrong != NULL)
				return wrong;
			continue;
		}
		size_t len = utf8_sequence(scan->at, scan->end);
		if (len == 0)
			return "text is not UTF-8";
		scan->at += len;
	}
	return "string is not closed";
}

static bool scan_digits(struct scan *scan)
{
	const char *start = scan->at;

	while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
		scan->at++;
	return scan->at > start;
}

static const char *scan_number(struct scan *scan)
{
	const char *start = scan->at;

	if (*scan->at == '-')
		scan->at++;
	if (scan_next_is(scan, '0'))
		scan->at++;
	else if (!scan_digits(scan))
		return "a digit is missing";
	if (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
		return "a number does not begin with 0";
	if (scan_next_is(scan, '.')) {
		scan->at++;
		if (!scan_digits(scan))
			return "a digit is missing behind the point";
	}
	if (scan_next_is(scan, 'e') || scan_next_is(scan, 'E')) {
		scan->at++;
		if (scan_next_is(scan, '+') || scan_next_is(scan, '-'))
			scan->at++;
		if (!scan_digits(scan))
			return "a digit is missing in the exponent";
	}
	return (size_t)(scan->at - start) > NUMBER_MAX ? "number has too many digits" : NULL;
}

static const char *scan_word(struct scan *scan, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(scan->end - scan->at) < len || memcmp(scan->at, word, len) != 0)
		return "expected a value";
	scan->at += len;
	return NULL;
}

/* One "name": in front of a member's value. */
static const char *scan_name(struct scan *scan)
{
	if (scan_next_is(scan, '}'))
		return "a comma in front of '}'";
	if (!scan_next_is(scan, '"'))
		return "expected a member name in double quotes";
	const char *wrong = scan_string(scan);
	if (wrong != NULL)
		return wrong;
	scan_space(scan);
	if (!scan_next_is(scan, ':'))
		return "expected ':' behind the member name";
	scan->at++;
	return NULL;
}

/* An object or a list, at its opening bracket. */
static const char *scan_container(struct scan *scan)
{
	bool object = *scan->at == '{';
	char close = object ? '}' : ']';
	const char *wrong = NULL;

	if (++scan->depth > VL_JSON_DEPTH_MAX)
		return "nested too deeply";
	scan->at++;
	scan_space(scan);
	if (!scan_next_is(scan, close)) {
		for (;;) {
			scan_space(scan);
			if (object)
				wrong = scan_name(scan);
			else if (scan_next_is(scan, ']'))
				wrong = "a comma in front of ']'";
			if (wrong == NULL)
				wrong = scan_value(scan);
			if (wrong != NULL)
				return wrong;
			scan_space(scan);
			if (!scan_next_is(scan, ','))
				break;
			scan->at++;
		}
		if (!scan_next_is(scan, close))
			return object ? "expected ',' or '}'" : "expected ',' or ']'";
	}
	scan->at++;
	scan->depth--;
	return NULL;
}

static const char *scan_value(struct scan *scan)
{
	scan_space(scan);
	if (scan->at == scan->end)
		return "the document ends too early";
	switch (*scan->at) {
	case '{':
	case '[':
		return scan_container(scan);
	case '"':
		return scan_string(scan);
	case 't':
		return scan_word(scan, "true");
	case 'f':
		return scan_word(scan, "false");
	case 'n':
		return scan_word(scan, "null");
	case '/':
	case '#':
		return "JSON has no comments";
	case '\'':
		return "a string takes double quotes";
	default:
		if (*scan->at == '-' || (*scan->at >= '0' && *scan->at <= '9'))
			return scan_number(scan);
		return "expected a value";
	}
}

static void error_place(struct vl_error *error, const char *text, const char *at, const char *wrong)
{
	unsigned int line = 1, column = 1;

	for (const char *c = text; c < at; c++) {
		if (*c == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)*c & 0xc0) != 0x80) {
			column++;
		}
	}
	vl_error_set(error, "line %u, column %u: %s", line, column, wrong);
}

/* Members of each object are unique, in the whole tree. `path` is used as a stack. */
static int check_duplicates(const cJSON *value, char path[VL_JSON_PATH_SIZE], struct vl_error *error)
{
	size_t len = strlen(path);
	unsigned int index = 0;
	const cJSON *child;

	cJSON_ArrayForEach(child, value)
	{
		if (cJSON_IsObject(value)) {
			if (index >= VL_JSON_MEMBERS_MAX)
				return vl_error_at(error, path, "more than %u members in one object", VL_JSON_MEMBERS_MAX);
			vl_json_path_member(path, child->string);
			for (const cJSON *other = value->child; other != child; other = other->next)
				if (strcmp(other->string, child->string) == 0)
					return vl_error_at(error, path, "given twice");
		} else {
			vl_json_path_index(path, index);
		}
		index++;
		int r = check_duplicates(child, path, error);
		if (r < 0)
			return r;
		path[len] = '\0';
	}
	return 0;
}

cJSON *vl_json_parse(const char *text, size_t len, size_t max, struct vl_error *error)
{
	struct scan scan = {.at = text, .end = text + len};
	char path[VL_JSON_PATH_SIZE] = "";

	if (len > max) {
		vl_error_set(error, "%zu bytes are more than the %zu allowed", len, max);
		errno = EMSGSIZE;
		return NULL;
	}
	const char *wrong = scan_value(&scan);
	if (wrong == NULL) {
		scan_space(&scan);
		if (scan.at < scan.end)
			wrong = "text behind the end of the document";
	}
	if (wrong != NULL) {
		error_place(error, text, scan.at, wrong);
		errno = EINVAL;
		return NULL;
	}
	cJSON *tree = cJSON_ParseWithLength(text, len);
	if (tree == NULL) {
		vl_error_set(error, "out of memory");
		errno = ENOMEM;
		return NULL;
	}
	if (check_duplicates(tree, path, error) < 0) {
		vl_json_wipe(tree);
		errno = EINVAL;
		return NULL;
	}
	return tree;
}

static void wipe_strings(cJSON *value)
{
	for (; value != NULL; value = value->next) {
		if (value->valuestring != NULL)
			explicit_bzero(value->valuestring, strlen(value->valuestring));
		if (value->string != NULL && !(value->type & cJSON_StringIsConst))
			explicit_bzero(value->string, strlen(value->string));
		wipe_strings(value->child);
	}
}

void vl_json_wipe(cJSON *tree)
{
	wipe_strings(tree);
	cJSON_Delete(tree);
}

const char *vl_json_quote(const cJSON *value, char text[VL_JSON_QUOTE_SIZE])
{
	size_t len;

	if (cJSON_IsString(value)) {
		len = (size_t)snprintf(text, VL_JSON_QUOTE_SIZE - 4, "'%s", value->valuestring);
		bool cut = len >= VL_JSON_QUOTE_SIZE - 4;
		if (cut)
			utf8_trim(text, strlen(text));
		for (char *c = text; *c != '\0'; c++)
			if ((unsigned char)*c < 0x20 || *c == 0x7f)
				*c = '?';
		strcat(text, cut ? "...'" : "'");
	} else if (cJSON_IsNumber(value)) {
		double number = value->valuedouble;
		if (fabs(number) <= INTEGER_MAX && number == floor(number))
			snprintf(text, VL_JSON_QUOTE_SIZE, "%.0f", number);
		else
			snprintf(text, VL_JSON_QUOTE_SIZE, "%g", number);
	} else {
		const char *word = cJSON_IsObject(value)  ? "an object"
				   : cJSON_IsArray(value) ? "a list"
				   : cJSON_IsTrue(value)  ? "true"
				   : cJSON_IsFalse(value) ? "false"
							  : "null";
		snprintf(text, VL_JSON_QUOTE_SIZE, "%s", word);
	}
	return text;
}

const char *vl_json_path_member(char path[VL_JSON_PATH_SIZE], const char *name)
{
	size_t len = strlen(path);

	snprintf(path + len, VL_JSON_PATH_SIZE - len, "%s%s", len > 0 ? "." : "", name);
	utf8_trim(path, strlen(path));
	for (char *c = path + len; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return path;
}

const char *vl_json_path_index(char path[VL_JSON_PATH_SIZE], unsigned int index)
{
	size_t len = strlen(path);

	snprintf(path + len, VL_JSON_PATH_SIZE - len, "[%u]", index);
	return path;
}

/* "path.name" on the caller's stack, for an error. */
static const char *member_path(char to[VL_JSON_PATH_SIZE], const char *path, const char *name)
{
	snprintf(to, VL_JSON_PATH_SIZE, "%s", path == NULL ? "" : path);
	return vl_json_path_member(to, name);
}

static int wrong_value(const char *path, const char *name, const cJSON *value, const char *expected, struct vl_error *error)
{
	char quote[VL_JSON_QUOTE_SIZE], place[VL_JSON_PATH_SIZE];

	return vl_error_at(error, member_path(place, path, name), "%s is not %s", vl_json_quote(value, quote), expected);
}

int vl_json_get_string(const cJSON *object, const char *path, const char *name, size_t min, size_t max, const char **value,
	struct vl_error *error)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);
	char place[VL_JSON_PATH_SIZE];

	if (member == NULL)
		return 0;
	if (!cJSON_IsString(member))
		return wrong_value(path, name, member, "a string", error);
	size_t len = strlen(member->valuestring);
	if (len < min)
		return vl_error_at(
			error, member_path(place, path, name), len == 0 ? "is empty" : "has %zu bytes, %zu at least", len, min);
	if (len > max)
		return vl_error_at(error, member_path(place, path, name), "has %zu bytes, %zu at most", len, max);
	*value = member->valuestring;
	return 1;
}

int vl_json_get_integer(
	const cJSON *object, const char *path, const char *name, int64_t min, int64_t max, int64_t *value, struct vl_error *error)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);
	char expected[64];

	if (member == NULL)
		return 0;
	double number = member->valuedouble;
	if (!cJSON_IsNumber(member) || (fabs(number) <= INTEGER_MAX && number != floor(number)))
		return wrong_value(path, name, member, "an integer", error);
	if (fabs(number) > INTEGER_MAX || number < (double)min || number > (double)max) {
		snprintf(expected, sizeof(expected), "in %lld..%lld", (long long)min, (long long)max);
		return wrong_value(path, name, member, expected, error);
	}
	*value = (int64_t)number;
	return 1;
}

int vl_json_get_bool(const cJSON *object, const char *path, const char *name, bool *value, struct vl_error *error)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);

	if (member == NULL)
		return 0;
	if (!cJSON_IsBool(member))
		return wrong_value(path, name, member, "true or false", error);
	*value = cJSON_IsTrue(member);
	return 1;
}

int vl_json_get_object(const cJSON *object, const char *path, const char *name, const cJSON **value, struct vl_error *error)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);

	if (member == NULL)
		return 0;
	if (!cJSON_IsObject(member))
		return wrong_value(path, name, member, "an object", error);
	*value = member;
	return 1;
}

int vl_json_get_list(const cJSON *object, const char *path, const char *name, const cJSON **value, struct vl_error *error)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);

	if (member == NULL)
		return 0;
	if (!cJSON_IsArray(member))
		return wrong_value(path, name, member, "a list", error);
	*value = member;
	return 1;
}

int vl_json_required(int got, const char *path, const char *name, struct vl_error *error)
{
	char place[VL_JSON_PATH_SIZE];

	if (got == 0)
		return vl_error_at(error, member_path(place, path, name), "is missing");
	return got < 0 ? got : 0;
}

int vl_json_only(const cJSON *object, const char *path, const char *const names[], struct vl_error *error)
{
	char place[VL_JSON_PATH_SIZE];
	const cJSON *member;

	cJSON_ArrayForEach(member, object)
	{
		size_t i = 0;
		while (names[i] != NULL && strcmp(names[i], member->string) != 0)
			i++;
		if (names[i] == NULL)
			return vl_error_at(error, member_path(place, path, member->string), "no such member");
	}
	return 0;
}
