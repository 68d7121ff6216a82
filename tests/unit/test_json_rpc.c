/* SPDX-License-Identifier: Apache-2.0 */
/* JSON-RPC 2.0: cutting the stream, envelopes, batches, error objects and parameters. */
#include "shared/json_rpc.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Feed `stream` in pieces of `piece` bytes and collect the values, separated by '|'. */
static int split_all(const char *stream, size_t piece, char *values)
{
	struct vl_json_rpc_splitter splitter = {.scanned = 0};
	char buffer[512];
	size_t len = 0, fed = 0, start, end;
	int r = 0;

	values[0] = '\0';
	while (fed < strlen(stream)) {
		size_t now = strlen(stream) - fed < piece ? strlen(stream) - fed : piece;
		memcpy(buffer + len, stream + fed, now);
		len += now;
		fed += now;
		while ((r = vl_json_rpc_split(&splitter, buffer, len, &start, &end)) == 1) {
			strncat(values, buffer + start, end - start);
			strcat(values, "|");
			memmove(buffer, buffer + end, len - end);
			len -= end;
		}
		if (r < 0)
			break;
	}
	return r;
}

START_TEST(test_json_rpc_splits)
{
	static const struct {
		const char *stream, *values;
		int result;
	} cases[] = {
		{"{\"a\":1}{\"b\":[2,{}]}\n\n [1] ", "{\"a\":1}|{\"b\":[2,{}]}|[1]|", 0},
		{"{\"a\":\"}{\\\"]\\\\\"}{}", "{\"a\":\"}{\\\"]\\\\\"}|{}|", 0},
		{"{\"a\":", "", 0},
		{"  x", "", -EPROTO},
		{"{}1", "{}|", -EPROTO},
		{"{\n}\r\n\t{ }", "{\n}|{ }|", 0},
	};
	char values[512];
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t piece = 1; piece < 40; piece++) {
			ck_assert_int_eq(split_all(cases[i].stream, piece, values), cases[i].result);
			ck_assert_str_eq(values, cases[i].values);
		}
}
END_TEST

START_TEST(test_json_rpc_split_limits)
{
	struct vl_json_rpc_splitter splitter = {.scanned = 0};
	size_t start, end;
	char *buffer = malloc(VL_JSON_RPC_MESSAGE_MAX + 1);
	memset(buffer, ' ', VL_JSON_RPC_MESSAGE_MAX + 1);
	buffer[0] = '{';
	buffer[VL_JSON_RPC_MESSAGE_MAX - 1] = '}';
	ck_assert_int_eq(vl_json_rpc_split(&splitter, buffer, VL_JSON_RPC_MESSAGE_MAX + 1, &start, &end), 1);
	ck_assert_uint_eq(end - start, VL_JSON_RPC_MESSAGE_MAX);
	buffer[VL_JSON_RPC_MESSAGE_MAX - 1] = ' ';
	buffer[VL_JSON_RPC_MESSAGE_MAX] = '}';
	memset(&splitter, 0, sizeof(splitter));
	ck_assert_int_eq(vl_json_rpc_split(&splitter, buffer, VL_JSON_RPC_MESSAGE_MAX + 1, &start, &end), -EMSGSIZE);
	free(buffer);
}
END_TEST

struct remote {
	char address[46];
	uint16_t port;
};
struct add_params {
	uint32_t a;
	struct remote remote;
	bool has_remote;
};
static const struct vl_setting remote_table[] = {
	{.name = "address", .type = VL_SETTING_STRING, VL_SETTING_FIELD(remote, address), .min = 1, .required = true},
	{.name = "port", .type = VL_SETTING_INTEGER, VL_SETTING_FIELD(remote, port), .min = 1, .max = 65535, .required = true},
	{.name = NULL},
};
static const struct vl_setting add_table[] = {
	{.name = "a", .type = VL_SETTING_INTEGER, VL_SETTING_FIELD(add_params, a), .max = 100, .required = true},
	{.name = "remote",
		.type = VL_SETTING_OBJECT,
		VL_SETTING_FIELD(add_params, remote),
		.members = remote_table,
		.present = offsetof(struct add_params, has_remote)},
	{.name = NULL},
};

static unsigned int calls;

static int call(void *context, const char *method, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	ck_assert_ptr_eq(context, &calls);
	calls++;
	if (strcmp(method, "add") == 0) {
		struct add_params given = {.a = 0};
		int r = vl_json_rpc_params(params, add_table, &given, error);
		if (r < 0)
			return r;
		*result = cJSON_CreateNumber(given.a + given.remote.port);
		return 0;
	}
	if (strcmp(method, "nothing") == 0)
		return vl_json_rpc_no_params(params, error);
	if (strcmp(method, "gone") == 0)
		return vl_json_rpc_fail(error, VL_JSON_RPC_NOT_FOUND, "session", "no session '%s'", "x");
	if (strcmp(method, "broken") == 0)
		return -EIO;
	return vl_json_rpc_fail(error, VL_JSON_RPC_METHOD_NOT_FOUND, NULL, "no such method");
}

static const struct {
	const char *request, *response; /* NULL: none */
} cases[] = {
	{"{\"jsonrpc\":\"2.0\",\"method\":\"add\",\"params\":{\"a\":1},\"id\":7}", "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":1}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"add\",\"params\":{\"a\":1,\"remote\":{\"address\":\"x\",\"port\":9}},\"id\":\"q\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"result\":10}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"nothing\",\"id\":null}", "{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":true}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"}", NULL},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"gone\"}", NULL},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"add\",\"params\":{\"a\":1,\"remote\":{\"address\":\"x\",\"port\":70000}},\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32602,\"message\":\"remote.port: 70000 is not in 1..65535\","
		"\"data\":{\"param\":\"remote.port\",\"reason\":\"70000 is not in 1..65535\"}}}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"add\",\"params\":{\"a\":1,\"b\":2},\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32602,\"message\":\"b: no such member\","
		"\"data\":{\"param\":\"b\",\"reason\":\"no such member\"}}}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"add\",\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32602,\"message\":\"a: is missing\","
		"\"data\":{\"param\":\"a\",\"reason\":\"is missing\"}}}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"nothing\",\"params\":[1],\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32602,\"message\":\"params must be an object with members by "
		"name\"}}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"gone\",\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32001,\"message\":\"session: no session 'x'\","
		"\"data\":{\"param\":\"session\",\"reason\":\"no session 'x'\"}}}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"broken\",\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32603,\"message\":\"internal error: Input/output error\"}}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"zzz\",\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"no such method\"}}"},
	{"{\"jsonrpc\":\"1.0\",\"method\":\"add\",\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32600,\"message\":\"jsonrpc: is not \\\"2.0\\\"\","
		"\"data\":{\"param\":\"jsonrpc\",\"reason\":\"is not \\\"2.0\\\"\"}}}"},
	{"{\"method\":\"add\",\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32600,\"message\":\"jsonrpc: is not \\\"2.0\\\"\","
		"\"data\":{\"param\":\"jsonrpc\",\"reason\":\"is not \\\"2.0\\\"\"}}}"},
	{"{\"jsonrpc\":\"2.0\",\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32600,\"message\":\"method: is missing\"}}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"add\",\"id\":{}}",
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"id: is not a string, a number or "
		"null\","
		"\"data\":{\"param\":\"id\",\"reason\":\"is not a string, a number or null\"}}}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"add\",\"extra\":1,\"id\":2}",
		"{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32600,\"message\":\"extra: no such member\"}}"},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"add\",\"method\":\"gone\",\"id\":1}",
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"method: given twice\"}}"},
	{"{\"jsonrpc\":\"2.0\",}", "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"line 1, column 18: "
				   "a comma in front of '}'\"}}"},
	{"[]", "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"a batch has 1 to 64 requests, not "
	       "0\"}}"},
	{"[1]", "[{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"a request is an object\"}}]"},
	{"[{\"jsonrpc\":\"2.0\",\"method\":\"nothing\",\"id\":1},{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"},"
	 "{\"jsonrpc\":\"2.0\",\"method\":\"zzz\",\"id\":2}]",
		"[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":true},"
		"{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32601,\"message\":\"no such method\"}}]"},
	{"[{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"}]", NULL},
};

START_TEST(test_json_rpc_answers)
{
	cJSON *response = vl_json_rpc_answer(cases[_i].request, strlen(cases[_i].request), call, &calls);
	if (cases[_i].response == NULL) {
		ck_assert_ptr_null(response);
		ck_assert_int_eq(errno, 0);
	} else {
		char *text = cJSON_PrintUnformatted(response);
		ck_assert_str_eq(text, cases[_i].response);
		cJSON_free(text);
	}
	cJSON_Delete(response);
}
END_TEST

START_TEST(test_json_rpc_notification_is_carried_out)
{
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"}";
	unsigned int before = calls;
	ck_assert_ptr_null(vl_json_rpc_answer(text, sizeof(text) - 1, call, &calls));
	ck_assert_uint_eq(calls, before + 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("json_rpc");
	TCase *tc = tcase_create("stream");
	tcase_add_test(tc, test_json_rpc_splits);
	tcase_add_test(tc, test_json_rpc_split_limits);
	suite_add_tcase(suite, tc);
	tc = tcase_create("answer");
	tcase_add_loop_test(tc, test_json_rpc_answers, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(tc, test_json_rpc_notification_is_carried_out);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
