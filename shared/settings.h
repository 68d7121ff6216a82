/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents described by tables. One table per document (configuration, users file, parameters of a control method) drives the
 * parser that fills a struct, the explanation of --check-config, and the reference page, so the three cannot disagree. Pure: no
 * I/O beyond the stdio stream given.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "json.h"

enum vl_setting_type {
	VL_SETTING_STRING,  /* char[size] in place; size 0: an allocated `char *` */
	VL_SETTING_INTEGER, /* unsigned integer of `size` bytes, min..max */
	VL_SETTING_BOOL,    /* bool */
	VL_SETTING_ENUM,    /* int: index into `words` */
	VL_SETTING_TEXT,    /* a string that parse() turns into the field */
	VL_SETTING_PAIR,    /* [first, last], first <= last, both in min..max: uint16_t[2] */
	VL_SETTING_OBJECT,  /* `members`, a struct in place */
	VL_SETTING_TREE,    /* an object of any members, checked by the caller: an allocated `cJSON *` */
	VL_SETTING_LIST,    /* min..max elements like `members[0]`: an allocated array, its size_t count at `count` */
};

struct vl_setting {
	const char *name; /* NULL ends a table; "" for the element of a list */
	enum vl_setting_type type;
	bool required;
	bool reloadable;  /* a changed value takes effect without a restart */
	size_t offset;	  /* of the field in its struct */
	size_t size;	  /* of the field; of an element, for the element of a list */
	size_t count;	  /* LIST: offset of the count */
	size_t present;	  /* offset of a bool that says whether it was given; 0: none. An absent OBJECT with one keeps zeros */
	int64_t min, max; /* INTEGER, PAIR: value; STRING: bytes; LIST: elements */
	const char *fallback;			     /* JSON text of the value when it is absent */
	const char *unit;			     /* "s", "packets/s"; NULL: none */
	const char *meaning;			     /* one sentence without a full stop */
	const char *expected;			     /* TEXT, STRING with valid(): what the value must be, behind "is not" */
	const char *const *words;		     /* ENUM, ends with NULL */
	const struct vl_setting *members;	     /* OBJECT, LIST */
	bool (*valid)(const char *text);	     /* STRING: a further check, or NULL */
	int (*parse)(const char *text, void *field); /* TEXT: 0 or -EINVAL */
};

/* .offset and .size of a row. */
#define VL_SETTING_FIELD(type, field) .offset = offsetof(struct type, field), .size = sizeof(((struct type *)0)->field)

/* Ready-made valid() checks. */
#define VL_NAME_EXPECTED "a name of letters, digits, '.', '_' and '-' that begins with a letter or digit"
bool vl_setting_name(const char *text);
#define VL_USER_EXPECTED "a name of letters, digits and \"._@+-\" that begins with a letter or digit"
bool vl_setting_user(const char *text); /* users: also addresses such as "alice@example.com" */
#define VL_PATH_EXPECTED "an absolute path of printable characters"
bool vl_setting_path(const char *text);

#define VL_ERRORS_MAX 16u
/* Everything that is wrong with a document. */
struct vl_errors {
	bool secret;	    /* set by the caller: never quote a value of the document, nor an unknown name unlike ours */
	unsigned int count; /* found; the first VL_ERRORS_MAX are kept */
	struct vl_error errors[VL_ERRORS_MAX];
};

/* Add one error found by a caller's cross check. Any thread. */
void vl_errors_add(struct vl_errors *errors, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));

/*
 * Check `document` against the table and fill `target`, which the caller zeroed. Any thread. A NULL document counts as an empty
 * object. Unknown members, wrong types and values out of range are all reported with their path. Returns 0, and the caller frees
 * with vl_settings_free(); or -EINVAL or -ENOMEM with nothing left to free.
 */
int vl_settings_parse(const struct vl_setting *members, const cJSON *document, void *target, struct vl_errors *errors);

/*
 * Free what vl_settings_parse() allocated below `target`, overwriting strings first; `target` itself is zero behind. Any thread.
 */
void vl_settings_free(const struct vl_setting *members, void *target);

/*
 * Write every setting of an accepted document with its effective value, one a line: path, value, unit, and "default" or, where it
 * was given, the default.
 */
void vl_settings_explain(const struct vl_setting *members, const cJSON *document, FILE *to);

/* Write the rows of a Markdown reference table: name, type and range, default, unit, reloadable, meaning. */
void vl_settings_reference(const struct vl_setting *members, FILE *to);
