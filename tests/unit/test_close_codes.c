/* SPDX-License-Identifier: Apache-2.0 */
/* What the end of a connection means, by code and reason as the service sends them. */
#include "unit.h"

#include <string.h>

#include "ai_workers/close_codes.h"

static const struct {
	uint16_t code;
	const char *reason;
	enum close_class class;
} closes[] = {
	{1007, "Invalid JSON payload received. Unknown name \"x\" at 'setup': Cannot find field.", CLOSE_OUR_BUG},
	{1007, "Invalid value at 'realtime_input' (audio_stream_end)", CLOSE_OUR_BUG},
	{1007, "setup must be the first message and only the first", CLOSE_OUR_BUG},
	{1007, "Explicit activity control is not supported when automatic activity detection is enabled.", CLOSE_OUR_BUG},
	{1007, "API key not valid. Please pass a valid API key.", CLOSE_FATAL_KEY},
	{1007, "API Key not found. Please pass a valid API key.", CLOSE_FATAL_KEY},
	{1007, "API key expired", CLOSE_FATAL_KEY},
	{1007, "User location is not supported for the API use.", CLOSE_FATAL_PROJECT},
	{1007, "Invalid session handle", CLOSE_FRESH},
	{1007, "Request contains an invalid argument.", CLOSE_ONCE},
	{1007, "No matching speaker voice found for name: alloy", CLOSE_FATAL_CONFIG},
	{1007, "The requested combination of response modalities (TEXT) is not supported by the model.", CLOSE_FATAL_CONFIG},
	{1007, "Text output is not supported for native audio output model.", CLOSE_FATAL_CONFIG},
	{1007, "Cannot extract voices from a non-audio request", CLOSE_FATAL_CONFIG},
	{1007, "The audio content type (CONTENT_TYPE_AUDIO) is not supported for this model configuration", CLOSE_FATAL_CONFIG},
	{1007, "Thinking level must be specified for this model", CLOSE_FATAL_CONFIG},
	{1007, "Function response scheduling is not supported for this model", CLOSE_FATAL_CONFIG},
	{1007, "", CLOSE_FATAL_CONFIG},
	{1008, "BidiGenerateContent session not found", CLOSE_FRESH},
	{1008, "Requested entity was not found.", CLOSE_FRESH},
	{1008, "models/x is not found for API version v1beta, or is not supported for bidiGenerateContent. Call ListMod",
		CLOSE_FATAL_CONFIG},
	{1008, "Publisher Model projects/p", CLOSE_FATAL_CONFIG},
	{1008,
		"Connection aborted because the client failed to close the connection after receiving a GoAway signal once the "
		"session durat",
		CLOSE_RESUME},
	{1008, "The operation was aborted.", CLOSE_RESUME},
	{1008, "Operation is not implemented, or supported, or enabled.", CLOSE_ONCE},
	{1008, "Your project has been denied access. Please contact support.", CLOSE_FATAL_PROJECT},
	{1008, "Generative Language API has not been used in project 1 before or it is disabled.", CLOSE_FATAL_PROJECT},
	{1011, "Internal error encountered.", CLOSE_RESUME},
	{1011, "Internal error occurred.", CLOSE_RESUME},
	{1011, "The service is currently unavailable.", CLOSE_RESUME},
	{1011, "Thread was cancelled when writing StartStep status to channel", CLOSE_RESUME},
	{1011, "Failed to run inference", CLOSE_RESUME},
	{1011, "Deadline expired before operation could complete.", CLOSE_RESUME},
	{1011, "You exceeded your current quota, please check your plan and billing details.", CLOSE_THROTTLED},
	{1011, "Resource has been exhausted (e.g. check quota).", CLOSE_THROTTLED},
	{1011, "Resource exhausted. Please try again later.", CLOSE_THROTTLED},
	{1011, "Your prepayment credits are depleted.", CLOSE_FATAL_PROJECT},
	{1011, "Your project has exceeded its monthly spending cap of", CLOSE_FATAL_PROJECT},
	{1009, "", CLOSE_OUR_BUG},
	{1000, "", CLOSE_RESUME},
	{1001, "going away", CLOSE_RESUME},
	{1005, "", CLOSE_RESUME},
	{1006, "", CLOSE_RESUME},
	{4999, "who knows", CLOSE_RESUME},
};

START_TEST(test_close_codes_table)
{
	const char *reason = closes[_i].reason;
	enum close_class class = close_classify(closes[_i].code, reason, strlen(reason));

	ck_assert_msg(class == closes[_i].class, "%u %s: %s", closes[_i].code, reason, close_class_name(class));
}
END_TEST

START_TEST(test_close_codes_cut)
{
	/* A beginning that is itself cut short is no match, and nothing behind the length is read. */
	char reason[] = {'A', 'P', 'I', ' ', 'k'};

	ck_assert_int_eq(close_classify(1007, reason, sizeof(reason)), CLOSE_FATAL_CONFIG);
	ck_assert_int_eq(close_classify(1011, NULL, 0), CLOSE_RESUME);
}
END_TEST

START_TEST(test_close_codes_http)
{
	static const struct {
		int status;
		enum close_class class;
	} statuses[] = {{0, CLOSE_RESUME}, {301, CLOSE_FATAL_CONFIG}, {400, CLOSE_OUR_BUG}, {401, CLOSE_FATAL_KEY},
		{403, CLOSE_FATAL_KEY}, {404, CLOSE_FATAL_CONFIG}, {429, CLOSE_THROTTLED}, {500, CLOSE_RESUME},
		{503, CLOSE_RESUME}};

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		ck_assert_msg(close_classify_http(statuses[i].status) == statuses[i].class, "%d", statuses[i].status);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("close_codes");
	TCase *table = tcase_create("table");

	tcase_add_loop_test(table, test_close_codes_table, 0, sizeof(closes) / sizeof(closes[0]));
	suite_add_tcase(suite, table);
	unit_add(suite, "edges", test_close_codes_cut, test_close_codes_http);
	return unit_run(suite);
}
