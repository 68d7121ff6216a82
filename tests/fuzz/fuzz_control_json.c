/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: what arrives on the control socket. The first byte says in which pieces the rest arrives. However it is cut, the
 * same values are found; each is answered by methods that check their params against a table with every type; and every answer is
 * JSON by our own strict parser.
 */
#include <stdbool.h>
#include <string.h>

#include "fuzz.h"
#include "shared/json_rpc.h"

#define STREAM_MAX 8192

struct inner {
	char address[46];
	uint16_t port;
};

struct params {
	char user[64];
	char *text;
	struct inner remote;
	bool has_remote, hold;
	int codec;
	uint32_t ssrc;
	uint16_t range[2];
	char (*names)[16];
	size_t name_count;
};

static const char *const codecs[] = {"PCMU", "PCMA", NULL};

static int parse_short(const char *text, void *field)
{
	if (strlen(text) >= sizeof(((struct inner *)0)->address))
		return -1;
	strcpy(field, text);
	return 0;
}

static const struct vl_setting inner_table[] = {
	{.name = "address",
		.type = VL_SETTING_TEXT,
		VL_SETTING_FIELD(inner, address),
		.parse = parse_short,
		.expected = "short",
		.required = true},
	{.name = "port", .type = VL_SETTING_INTEGER, VL_SETTING_FIELD(inner, port), .max = 65535, .fallback = "5004"},
	{.name = NULL},
};
static const struct vl_setting name_element[] = {{.name = "", .type = VL_SETTING_STRING, .size = 16, .min = 1}, {.name = NULL}};
static const struct vl_setting table[] = {
	{.name = "user",
		.type = VL_SETTING_STRING,
		VL_SETTING_FIELD(params, user),
		.required = true,
		.min = 1,
		.valid = vl_setting_user,
		.expected = VL_USER_EXPECTED},
	{.name = "text", .type = VL_SETTING_STRING, .offset = offsetof(struct params, text), .max = 1000},
	{.name = "remote",
		.type = VL_SETTING_OBJECT,
		VL_SETTING_FIELD(params, remote),
		.present = offsetof(struct params, has_remote),
		.members = inner_table},
	{.name = "hold", .type = VL_SETTING_BOOL, VL_SETTING_FIELD(params, hold)},
	{.name = "codec", .type = VL_SETTING_ENUM, VL_SETTING_FIELD(params, codec), .words = codecs, .fallback = "\"PCMU\""},
	{.name = "ssrc", .type = VL_SETTING_INTEGER, VL_SETTING_FIELD(params, ssrc), .max = UINT32_MAX},
	{.name = "range", .type = VL_SETTING_PAIR, VL_SETTING_FIELD(params, range), .min = 1, .max = 65535},
	{.name = "names",
		.type = VL_SETTING_LIST,
		VL_SETTING_FIELD(params, names),
		.count = offsetof(struct params, name_count),
		.max = 8,
		.members = name_element},
	{.name = NULL},
};

static int call(void *context, const char *method, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error)
{
	struct params given = {.hold = false};

	(void)context;
	if (strcmp(method, "echo") == 0) {
		*result = cJSON_Duplicate(params, true);
		return 0;
	}
	if (strcmp(method, "nothing") == 0)
		return vl_json_rpc_no_params(params, error);
	if (strcmp(method, "session.create") != 0)
		return vl_json_rpc_fail(error, VL_JSON_RPC_METHOD_NOT_FOUND, NULL, "no such method");
	int r = vl_json_rpc_params(params, table, &given, error);
	if (r < 0)
		return r;
	fuzz_check(given.user[0] != '\0' && strlen(given.user) < sizeof(given.user));
	fuzz_check(given.codec == 0 || given.codec == 1);
	fuzz_check(given.range[0] <= given.range[1] && given.name_count <= 8);
	fuzz_check(given.text == NULL || strlen(given.text) <= 1000);
	*result = cJSON_CreateString(given.user);
	vl_settings_free(table, &given);
	fuzz_check(given.text == NULL && given.names == NULL);
	return 0;
}

static void answer(const char *text, size_t len)
{
	cJSON *response = vl_json_rpc_answer(text, len, call, NULL);

	if (response == NULL)
		return;
	char *printed = cJSON_PrintUnformatted(response);
	fuzz_check(printed != NULL);
	/* The answer wraps what was sent, so it may be one level deeper and a little longer than a request may be. */
	cJSON *again = cJSON_Parse(printed);
	fuzz_check(again != NULL);
	fuzz_check(cJSON_IsArray(again) || cJSON_GetObjectItemCaseSensitive(again, "id") != NULL);
	cJSON_Delete(again);
	cJSON_free(printed);
	cJSON_Delete(response);
}

/* Feed the stream in pieces; returns how many values were found and, in *sum, a mark of where they were. */
static unsigned int feed(const char *stream, size_t size, size_t piece, bool answering, uint64_t *sum)
{
	static char buffer[STREAM_MAX];
	struct vl_json_rpc_splitter splitter = {.scanned = 0};
	size_t len = 0, fed = 0, start, end, dropped = 0;
	unsigned int count = 0;
	int r = 0;

	*sum = 0;
	while (fed < size && r == 0) {
		size_t now = size - fed < piece ? size - fed : piece;
		memcpy(buffer + len, stream + fed, now);
		len += now;
		fed += now;
		while ((r = vl_json_rpc_split(&splitter, buffer, len, &start, &end)) == 1) {
			fuzz_check(start < end && end <= len);
			if (answering)
				answer(buffer + start, end - start);
			*sum = *sum * 31 + dropped + start + (dropped + end) * 65537;
			count++;
			memmove(buffer, buffer + end, len - end);
			len -= end;
			dropped += end;
		}
	}
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t whole_sum, pieces_sum;

	if (size < 1 || size - 1 > STREAM_MAX)
		return 0;
	const char *stream = (const char *)data + 1;
	unsigned int whole = feed(stream, size - 1, STREAM_MAX, true, &whole_sum);

	fuzz_check(feed(stream, size - 1, 1u + data[0], false, &pieces_sum) == whole);
	fuzz_check(pieces_sum == whole_sum);
	return 0;
}
