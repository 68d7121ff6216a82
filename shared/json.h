/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON from people and peers, over cJSON: strict parsing with a place in every error, and getters that name the member they
 * complain about. Used for configuration, users files, control messages and the worker link. Pure: no I/O, no clock. Tables of
 * members with types and ranges are in settings.h.
 *
 * cJSON alone is lenient (duplicate members, "01", control characters, invalid UTF-8, "\u0000" that cuts a string short); a
 * scanner in front of it accepts exactly RFC 8259, so both ends of a conversation see the same document.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#define VL_JSON_DEPTH_MAX   32u	 /* nesting of objects and arrays */
#define VL_JSON_MEMBERS_MAX 256u /* members of one object: the check for duplicates is quadratic */
#define VL_JSON_PATH_SIZE   128u

/*
 * One sentence for a person. The first path_len bytes of `text` are the place ("trunks[0].name"), followed by ": "; 0 when there
 * is none.
 */
struct vl_error {
	char text[256];
	unsigned char path_len;
};

/* Write the sentence. Any thread. `error` may be NULL. Returns -EINVAL, so that a check can end with it. */
int vl_error_set(struct vl_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with a place in front; an empty or NULL `path` is left out. Any thread. Returns -EINVAL. */
int vl_error_at(struct vl_error *error, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The sentence without its place. Any thread. */
const char *vl_error_reason(const struct vl_error *error);

/*
 * Parse one document of `len` bytes (no NUL needed), at most `max`. Any thread. The error names line and column for syntax and
 * the path for a duplicate member, and never repeats text of the document other than member names; `error` may be NULL. Returns
 * the tree, to be freed with cJSON_Delete() or vl_json_wipe(), or NULL with errno EINVAL, EMSGSIZE or ENOMEM. RFC 8259.
 */
cJSON *vl_json_parse(const char *text, size_t len, size_t max, struct vl_error *error);

/* Free a tree after overwriting every string in it. For documents that hold secrets. Any thread. NULL is legal. */
void vl_json_wipe(cJSON *tree);

#define VL_JSON_QUOTE_SIZE 48
/*
 * How an error shows a value: a string in single quotes with control characters replaced and its end cut at a character, a number
 * or a word as it is, "an object", "a list". Any thread. Returns `text`.
 */
const char *vl_json_quote(const cJSON *value, char text[VL_JSON_QUOTE_SIZE]);

/* Append ".name" (no dot at the start) or "[index]" to a path; a path that gets too long is cut. Any thread. Return `path`. */
const char *vl_json_path_member(char path[VL_JSON_PATH_SIZE], const char *name);
const char *vl_json_path_index(char path[VL_JSON_PATH_SIZE], unsigned int index);

/*
 * The getters look for `name` in `object`, which is at `path` ("" at the top). Any thread. They return 1 when the member is there
 * and right, 0 when it is absent (*value is untouched; null is not absent but a wrong type) and -EINVAL with the error set when
 * it has the wrong type or is out of range. Strings and subtrees belong to the tree.
 */

/* A string of `min` to `max` bytes. */
int vl_json_get_string(const cJSON *object, const char *path, const char *name, size_t min, size_t max, const char **value,
	struct vl_error *error);

/* A whole number in min..max. Numbers beyond 2^53 are out of range, because JSON readers lose digits there. */
int vl_json_get_integer(const cJSON *object, const char *path, const char *name, int64_t min, int64_t max, int64_t *value,
	struct vl_error *error);

/* true or false. */
int vl_json_get_bool(const cJSON *object, const char *path, const char *name, bool *value, struct vl_error *error);

/* An object, a list. */
int vl_json_get_object(const cJSON *object, const char *path, const char *name, const cJSON **value, struct vl_error *error);
int vl_json_get_list(const cJSON *object, const char *path, const char *name, const cJSON **value, struct vl_error *error);

/*
 * Turn "absent" (0) of a getter into an error that names the member: vl_json_required(vl_json_get_...(), path, name, error).
 * Returns 0 or -EINVAL.
 */
int vl_json_required(int got, const char *path, const char *name, struct vl_error *error);

/* Refuse members of `object` that are not in `names` (ends with NULL), naming the first. Any thread. Returns 0 or -EINVAL. */
int vl_json_only(const cJSON *object, const char *path, const char *const names[], struct vl_error *error);
