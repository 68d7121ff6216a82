/* SPDX-License-Identifier: Apache-2.0 */
/* JSON-RPC 2.0: splitting, envelope, errors and parameters. See json_rpc.h. */
#include "json_rpc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int vl_json_rpc_fail(struct vl_json_rpc_error *error, enum vl_json_rpc_code code, const char *param, const char *format, ...)
{
	struct vl_error text;
	char reason[sizeof(error->reason)];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	vl_error_at(&text, param, "%s", reason);
	error->code = code;
	memcpy(error->message, text.text, sizeof(error->message));
	snprintf(error->param, sizeof(error->param), "%s", param == NULL ? "" : param);
	snprintf(error->reason, sizeof(error->reason), "%s", vl_error_reason(&text));
	return -EINVAL;
}

/* The first error of a check, as INVALID_PARAMS. */
static int fail_with(struct vl_json_rpc_error *error, const struct vl_error *text)
{
	char param[VL_JSON_PATH_SIZE];

	snprintf(param, sizeof(param), "%.*s", (int)text->path_len, text->text);
	return vl_json_rpc_fail(error, VL_JSON_RPC_INVALID_PARAMS, param, "%s", vl_error_reason(text));
}

int vl_json_rpc_params(const cJSON *params, const struct vl_setting *table, void *target, struct vl_json_rpc_error *error)
{
	struct vl_errors errors = {.count = 0};

	if (params != NULL && !cJSON_IsObject(params))
		return vl_json_rpc_fail(error, VL_JSON_RPC_INVALID_PARAMS, NULL, "params must be an object with members by name");
	int r = vl_settings_parse(table, params, target, &errors);
	if (r == -ENOMEM)
		return vl_json_rpc_fail(error, VL_JSON_RPC_INTERNAL_ERROR, NULL, "out of memory");
	return r == 0 ? 0 : fail_with(error, &errors.errors[0]);
}

int vl_json_rpc_no_params(const cJSON *params, struct vl_json_rpc_error *error)
{
	static const struct vl_setting none[] = {{.name = NULL}};
	char nothing;

	return vl_json_rpc_params(params, none, &nothing, error);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int vl_json_rpc_split(struct vl_json_rpc_splitter *splitter, const char *buffer, size_t len, size_t *start, size_t *end)
{
	for (; splitter->scanned < len; splitter->scanned++) {
		char c = buffer[splitter->scanned];
		if (splitter->depth == 0) {
			if (is_space(c)) {
				splitter->start = splitter->scanned + 1;
				continue;
			}
			if (c != '{' && c != '[')
				return -EPROTO;
			splitter->depth = 1;
		} else if (splitter->scanned - splitter->start >= VL_JSON_RPC_MESSAGE_MAX) {
			return -EMSGSIZE;
		} else if (splitter->in_string) {
			if (splitter->escaped)
				splitter->escaped = false;
			else if (c == '\\')
				splitter->escaped = true;
			else if (c == '"')
				splitter->in_string = false;
		} else if (c == '"') {
			splitter->in_string = true;
		} else if (c == '{' || c == '[') {
			splitter->depth++;
		} else if ((c == '}' || c == ']') && --splitter->depth == 0) {
			*start = splitter->start;
			*end = splitter->scanned + 1;
			*splitter = (struct vl_json_rpc_splitter){.scanned = 0};
			return 1;
		}
	}
	return 0;
}

/* An envelope with version and id; a NULL id is null. */
static cJSON *response_new(const cJSON *id)
{
	cJSON *response = cJSON_CreateObject();
	cJSON *copy = id == NULL ? cJSON_CreateNull() : cJSON_Duplicate(id, false);

	if (response == NULL || copy == NULL || cJSON_AddStringToObject(response, "jsonrpc", "2.0") == NULL ||
		!cJSON_AddItemToObject(response, "id", copy)) {
		cJSON_Delete(response);
		cJSON_Delete(copy);
		return NULL;
	}
	return response;
}

cJSON *vl_json_rpc_error_response(const struct vl_json_rpc_error *error, const cJSON *id)
{
	cJSON *response = response_new(id);
	cJSON *object = cJSON_AddObjectToObject(response, "error");
	bool added = object != NULL && cJSON_AddNumberToObject(object, "code", error->code) != NULL &&
		     cJSON_AddStringToObject(object, "message", error->message) != NULL;

	if (added && error->param[0] != '\0') {
		cJSON *data = cJSON_AddObjectToObject(object, "data");
		added = data != NULL && cJSON_AddStringToObject(data, "param", error->param) != NULL &&
			cJSON_AddStringToObject(data, "reason", error->reason) != NULL;
	}
	if (!added) {
		cJSON_Delete(response);
		return NULL;
	}
	return response;
}

static cJSON *result_response(cJSON *result, const cJSON *id)
{
	cJSON *response = response_new(id);

	if (result == NULL)
		result = cJSON_CreateTrue();
	if (response == NULL || result == NULL || !cJSON_AddItemToObject(response, "result", result)) {
		cJSON_Delete(response);
		cJSON_Delete(result);
		return NULL;
	}
	return response;
}

/* Whether `request` is a well-formed Request object (section 4); *method, *params and *id point into it. */
static int check_envelope(
	const cJSON *request, const char **method, const cJSON **params, const cJSON **id, struct vl_json_rpc_error *error)
{
	static const char *const members[] = {"jsonrpc", "method", "params", "id", NULL};
	struct vl_error text;
	const char *version = "";
	const int code = VL_JSON_RPC_INVALID_REQUEST;

	*id = NULL;
	if (!cJSON_IsObject(request))
		return vl_json_rpc_fail(error, code, NULL, "a request is an object");
	const cJSON *given = cJSON_GetObjectItemCaseSensitive(request, "id");
	if (given != NULL && !cJSON_IsString(given) && !cJSON_IsNumber(given) && !cJSON_IsNull(given))
		return vl_json_rpc_fail(error, code, "id", "is not a string, a number or null");
	*id = given;
	if (vl_json_only(request, "", members, &text) < 0 ||
		vl_json_get_string(request, "", "jsonrpc", 0, 16, &version, &text) < 0 ||
		vl_json_required(vl_json_get_string(request, "", "method", 1, 64, method, &text), "", "method", &text) < 0)
		return vl_json_rpc_fail(error, code, NULL, "%s", text.text);
	if (strcmp(version, "2.0") != 0)
		return vl_json_rpc_fail(error, code, "jsonrpc", "is not \"2.0\"");
	*params = cJSON_GetObjectItemCaseSensitive(request, "params");
	if (*params != NULL && !cJSON_IsObject(*params) && !cJSON_IsArray(*params))
		return vl_json_rpc_fail(error, code, "params", "is not an object");
	return 0;
}

/* Answer one request. NULL for a notification; *failed when memory ran out. */
static cJSON *answer_one(const cJSON *request, vl_json_rpc_call *call, void *context, bool *failed)
{
	struct vl_json_rpc_error error = {.code = 0};
	const cJSON *params = NULL, *id = NULL;
	const char *method = NULL;
	cJSON *result = NULL, *response;

	if (check_envelope(request, &method, &params, &id, &error) < 0) {
		response = vl_json_rpc_error_response(&error, id);
	} else {
		int r = call(context, method, params, &result, &error);
		if (r < 0 && error.code == 0)
			vl_json_rpc_fail(&error, VL_JSON_RPC_INTERNAL_ERROR, NULL, "internal error: %s", strerror(-r));
		if (id == NULL || r < 0) {
			cJSON_Delete(result);
			result = NULL;
		}
		if (id == NULL)
			return NULL;
		response = r < 0 ? vl_json_rpc_error_response(&error, id) : result_response(result, id);
	}
	if (response == NULL)
		*failed = true;
	return response;
}

static cJSON *answer_batch(const cJSON *batch, vl_json_rpc_call *call, void *context, bool *failed)
{
	struct vl_json_rpc_error error;
	int count = cJSON_GetArraySize(batch);
	const cJSON *request;

	if (count == 0 || count > (int)VL_JSON_RPC_BATCH_MAX) {
		vl_json_rpc_fail(&error, VL_JSON_RPC_INVALID_REQUEST, NULL, "a batch has 1 to %u requests, not %d",
			VL_JSON_RPC_BATCH_MAX, count);
		return vl_json_rpc_error_response(&error, NULL);
	}
	cJSON *responses = cJSON_CreateArray();
	cJSON_ArrayForEach(request, batch)
	{
		cJSON *response = answer_one(request, call, context, failed);
		if (response != NULL)
			cJSON_AddItemToArray(responses, response);
	}
	if (cJSON_GetArraySize(responses) == 0) {
		cJSON_Delete(responses);
		return NULL;
	}
	return responses;
}

cJSON *vl_json_rpc_answer(const char *text, size_t len, vl_json_rpc_call *call, void *context)
{
	struct vl_json_rpc_error error;
	struct vl_error wrong;
	bool failed = false;
	cJSON *response;

	cJSON *value = vl_json_parse(text, len, VL_JSON_RPC_MESSAGE_MAX, &wrong);
	if (value == NULL) {
		vl_json_rpc_fail(&error, VL_JSON_RPC_PARSE_ERROR, NULL, "%s", wrong.text);
		return vl_json_rpc_error_response(&error, NULL);
	}
	if (cJSON_IsArray(value))
		response = answer_batch(value, call, context, &failed);
	else
		response = answer_one(value, call, context, &failed);
	cJSON_Delete(value);
	errno = failed ? ENOMEM : 0;
	return response;
}
