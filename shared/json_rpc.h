/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON-RPC 2.0 (https://www.jsonrpc.org/specification) without a transport: cut a byte stream into JSON values, answer one value
 * (a request, a notification or a batch), and check parameters by table. Pure. Values follow each other on the stream directly or
 * with white space between them, as SPDK does it; newlines mean nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "json.h"
#include "settings.h"

#define VL_JSON_RPC_MESSAGE_MAX 65536u /* bytes of one value */
#define VL_JSON_RPC_BATCH_MAX	64u    /* requests of one batch */

/* Error codes: the specification's, then ours from its range for servers. */
enum vl_json_rpc_code {
	VL_JSON_RPC_PARSE_ERROR = -32700,
	VL_JSON_RPC_INVALID_REQUEST = -32600,
	VL_JSON_RPC_METHOD_NOT_FOUND = -32601,
	VL_JSON_RPC_INVALID_PARAMS = -32602,
	VL_JSON_RPC_INTERNAL_ERROR = -32603,
	VL_JSON_RPC_NOT_FOUND = -32001,	  /* what a parameter names (session, user, trunk) does not exist */
	VL_JSON_RPC_CONFLICT = -32002,	  /* it exists, but its state or another call does not allow this */
	VL_JSON_RPC_UNAVAILABLE = -32003, /* not at the moment: draining, no worker serves the user */
	VL_JSON_RPC_EXHAUSTED = -32004,	  /* a limit is reached: sessions, ports */
};

/* What goes into an error object: `code`, `message`, and `data` {"param", "reason"} when `param` is not empty. */
struct vl_json_rpc_error {
	int code;
	char message[256];
	char param[VL_JSON_PATH_SIZE];
	char reason[256];
};

/*
 * Say why a method refuses. `param` names the offending parameter by path, NULL when it is none's fault. The message becomes
 * "param: reason". Any thread. Returns -EINVAL, so that a handler can end with it.
 */
int vl_json_rpc_fail(struct vl_json_rpc_error *error, enum vl_json_rpc_code code, const char *param, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Check `params` against a table and fill `target`, which the caller zeroed; absent params are an empty object, a list is
 * refused. Any thread. Free with vl_settings_free() if the table allocates (lists, strings of size 0). Returns 0 or -EINVAL with
 * the error set to INVALID_PARAMS and the path.
 */
int vl_json_rpc_params(const cJSON *params, const struct vl_setting *table, void *target, struct vl_json_rpc_error *error);

/* For methods without parameters: refuse any. Any thread. Returns 0 or -EINVAL. */
int vl_json_rpc_no_params(const cJSON *params, struct vl_json_rpc_error *error);

/* Where vl_json_rpc_split() is in the stream; zeroed at its start. */
struct vl_json_rpc_splitter {
	size_t scanned; /* bytes of the buffer already looked at */
	size_t start;	/* of the value */
	unsigned int depth;
	bool in_string, escaped;
};

/*
 * Find the first complete object or list in a buffer that holds the stream from the last one's end. Any thread. Each byte is
 * looked at once, however often it is called with more. Returns 1: the value is [*start, *end), drop *end bytes from the buffer's
 * front and call again; 0: more bytes are needed (drop `start` bytes of leading space if the buffer is full); -EPROTO: neither
 * object nor list; -EMSGSIZE: longer than VL_JSON_RPC_MESSAGE_MAX. After an error the stream cannot be followed any more.
 */
int vl_json_rpc_split(struct vl_json_rpc_splitter *splitter, const char *buffer, size_t len, size_t *start, size_t *end);

/*
 * Carries out one method. `params` is an object, a list or NULL. Return 0 and set *result (a new tree, whose owner the caller
 * becomes; NULL means true), or negative with the error filled; an error left at code 0 becomes INTERNAL_ERROR.
 */
typedef int vl_json_rpc_call(
	void *context, const char *method, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error);

/*
 * Answer one value of the stream: parse, check the envelope, call, and build the response. Any thread. Returns the response (a
 * new tree), or NULL when there is none to send (notifications) or, with errno ENOMEM, when memory ran out.
 */
cJSON *vl_json_rpc_answer(const char *text, size_t len, vl_json_rpc_call *call, void *context);

/* The response to something that is no request at all, with a null id. Any thread. Returns a new tree or NULL. */
cJSON *vl_json_rpc_error_response(const struct vl_json_rpc_error *error, const cJSON *id);
