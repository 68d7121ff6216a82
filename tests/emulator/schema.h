/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Live service accepts from a client, as tables: message -> fields -> types (schema_tables.c), and the checker that
 * walks a parsed message along them (schema.c) the way the service's proto3 JSON parser does: lowerCamelCase and snake_case mixed
 * freely, unknown names refused with their path. Pure. The rules that need a model or a session's state are in setup.c and
 * talk.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <cjson/cJSON.h>

#include "request.h"

enum schema_type {
	SCHEMA_MESSAGE,
	SCHEMA_MAP,    /* names are free, values are of `message` */
	SCHEMA_STRUCT, /* google.protobuf.Struct: any object */
	SCHEMA_VALUE,  /* any JSON value */
	SCHEMA_STRING,
	SCHEMA_BOOL,
	SCHEMA_INT32,
	SCHEMA_INT64,
	SCHEMA_FLOAT,
	SCHEMA_BYTES,
	SCHEMA_ENUM,
};

enum schema_flags {
	SCHEMA_REPEATED = 1,
	SCHEMA_ALPHA = 2,	/* exists in v1alpha only */
	SCHEMA_VERTEX = 4,	/* exists on Vertex AI only */
	SCHEMA_UNSUPPORTED = 8, /* a known name that Live refuses */
	SCHEMA_ONEOF = 16,	/* only one of the message's members with this flag */
};

struct schema_field {
	const char *name; /* snake_case */
	enum schema_type type;
	unsigned flags;
	const struct schema_message *message; /* SCHEMA_MESSAGE, SCHEMA_MAP */
	const char *const *values;	      /* SCHEMA_ENUM: upper-case names, NULL at the end */
	const char *enum_name;
};

struct schema_message {
	const char *name;		   /* type name in error texts */
	const char *oneof;		   /* name of its oneof in error texts */
	const struct schema_field *fields; /* an entry without a name ends it */
};

/* A refusal: the close code and the whole reason (the frame's 123 bytes are cut when it is sent). */
struct schema_error {
	int code;
	char reason[512];
};

/* The envelope of everything a client sends. */
extern const struct schema_message schema_client_message;

/* Parse one WebSocket message and check it. Returns the tree (cJSON_Delete it) or NULL with `error` filled. Any thread. */
cJSON *schema_parse(enum request_api api, const char *text, size_t size, struct schema_error *error);

/* Check a parsed message. Returns 0 or -EPROTO with `error` filled. */
int schema_check(enum request_api api, const cJSON *root, struct schema_error *error);

/* A member by its snake_case name, in either spelling; NULL if it is missing or null. */
const cJSON *schema_get(const cJSON *object, const char *name);

/* Follow a dotted path of snake_case names: "setup.generation_config.temperature". */
const cJSON *schema_path(const cJSON *object, const char *path);

/* The text of a string member, or NULL. */
const char *schema_text(const cJSON *object, const char *path);

/* An integer member given as number or string; `otherwise` if it is missing. */
long schema_integer(const cJSON *object, const char *path, long otherwise);

/* Set a refusal. Returns -EPROTO. */
int schema_refuse(struct schema_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
