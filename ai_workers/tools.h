/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions a user's model may call, as the users file declares them: their names, what the model is told about them, how long
 * an answer may take, and which arguments make a call the same as an earlier one. Pure.
 *
 * Some names are built in (tools_kind()); everything else is a function of the platform on the control socket.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "../shared/settings.h"

#define TOOLS_MAX	     64 /* functions of one user */
#define TOOL_NAME_SIZE	     65 /* NUL included; the service takes [A-Za-z0-9_-]{1,64} */
#define TOOL_KEYS_MAX	     8
#define TOOL_SCHEMA_DEPTH    16u
#define TOOL_DIGITS_MAX	     32u /* of one send_dtmf */
#define TOOL_DESTINATION_MAX 256u

enum tool_kind {
	TOOL_FUNCTION, /* the platform's */
	TOOL_END_CALL,
	TOOL_TRANSFER_CALL,
	TOOL_SEND_DTMF,
	TOOL_HOLD,
};

enum tool_behavior { TOOL_BLOCKING, TOOL_NON_BLOCKING };

/* Name of an argument. */
struct tool_argument {
	char name[TOOL_NAME_SIZE];
};

struct tool {
	char name[TOOL_NAME_SIZE];
	char *description; /* NULL: a built-in's own */
	cJSON *parameters; /* NULL: none, or a built-in's own */
	int behavior;	   /* enum tool_behavior */
	uint32_t timeout_s;
	struct tool_argument *key; /* arguments that make a call the same as an earlier one; none: see tool_ledger.h */
	size_t key_count;
};

/* Table of one element of users[].tools. */
extern const struct vl_setting tools_table[];

/* What a name stands for. Any thread. */
enum tool_kind tools_kind(const char *name);

/*
 * What the table cannot check: names given twice, descriptions missing, schemas the service would refuse. `path` is of the list
 * ("users[0].tools"). Any thread. Returns 0, or -EINVAL with errors that name the place.
 */
int tools_check(const struct tool *tools, size_t count, const char *path, struct vl_errors *errors);

/* The tool of this name, NULL when there is none. Any thread. */
const struct tool *tools_find(const struct tool *tools, size_t count, const char *name);

/*
 * The functionDeclarations of a setup; `behavior` when the model knows that field: without it some models do not wait for an
 * answer. Any thread. Returns a new list, NULL without memory.
 */
cJSON *tools_declare(const struct tool *tools, size_t count, bool behavior);

/* Whether a model's name of a function is one that can be declared at all; everything else is not passed on. Any thread. */
bool tools_valid_name(const char *name);

/* Whether `digits` are 1 to TOOL_DIGITS_MAX of 0-9, *, #, A-D. Any thread. */
bool tools_valid_digits(const char *digits);
