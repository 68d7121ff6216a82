/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table. The service maps gRPC status to close codes: 1007 invalid argument or key, 1008 not found, denied, aborted, 1011
 * internal, unavailable, exhausted. A reason is cut at 123 bytes, so beginnings are compared; a few texts carry a name in front
 * and are searched for.
 */
#include "close_codes.h"

#include <stdbool.h>
#include <string.h>

struct row {
	uint16_t code;
	bool anywhere; /* search the reason instead of comparing its beginning */
	const char *text;
	enum close_class class;
};

/* The first row that fits wins; an empty text is the default of its code. */
static const struct row rows[] = {
	{1007, false, "Invalid JSON payload received.", CLOSE_OUR_BUG},
	{1007, false, "Invalid value at", CLOSE_OUR_BUG},
	{1007, false, "setup must be the first message", CLOSE_OUR_BUG},
	{1007, false, "Explicit activity control is not supported", CLOSE_OUR_BUG},
	{1007, false, "API key", CLOSE_FATAL_KEY},
	{1007, false, "API Key", CLOSE_FATAL_KEY},
	{1007, false, "User location is not supported", CLOSE_FATAL_PROJECT},
	{1007, false, "Invalid session handle", CLOSE_FRESH},
	{1007, false, "Request contains an invalid argument", CLOSE_ONCE},
	{1007, false, "", CLOSE_FATAL_CONFIG},
	{1008, false, "BidiGenerateContent session not found", CLOSE_FRESH},
	{1008, false, "Requested entity was not found", CLOSE_FRESH},
	{1008, false, "Connection aborted because the client failed to close", CLOSE_RESUME},
	{1008, false, "The operation was aborted", CLOSE_RESUME},
	{1008, false, "Operation is not implemented", CLOSE_ONCE},
	{1008, false, "Your project has been denied access", CLOSE_FATAL_PROJECT},
	{1008, true, "API has not been used in project", CLOSE_FATAL_PROJECT},
	{1008, true, "is not found for API version", CLOSE_FATAL_CONFIG},
	{1008, false, "Publisher Model", CLOSE_FATAL_CONFIG},
	{1008, false, "", CLOSE_RESUME},
	{1011, false, "Your prepayment credits are depleted", CLOSE_FATAL_PROJECT},
	{1011, true, "monthly spending cap", CLOSE_FATAL_PROJECT},
	{1011, false, "You exceeded your current quota", CLOSE_THROTTLED},
	{1011, false, "Resource has been exhausted", CLOSE_THROTTLED},
	{1011, false, "Resource exhausted", CLOSE_THROTTLED},
	{1011, false, "", CLOSE_RESUME},
	{1002, false, "", CLOSE_OUR_BUG},
	{1003, false, "", CLOSE_OUR_BUG},
	{1009, false, "", CLOSE_OUR_BUG},
};

static const char *const names[] = {
	"resume", "fresh", "once", "throttled", "fatal-key", "fatal-project", "fatal-config", "our-bug"};

static bool fits(const struct row *row, const char *reason, size_t len)
{
	size_t text_len = strlen(row->text);

	if (text_len > len)
		return false;
	if (text_len == 0)
		return true;
	if (row->anywhere)
		return memmem(reason, len, row->text, text_len) != NULL;
	return memcmp(reason, row->text, text_len) == 0;
}

enum close_class close_classify(uint16_t code, const char *reason, size_t len)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].code == code && fits(&rows[i], reason, len))
			return rows[i].class;
	return CLOSE_RESUME;
}

enum close_class close_classify_http(int status)
{
	if (status == 429)
		return CLOSE_THROTTLED;
	if (status == 401 || status == 403)
		return CLOSE_FATAL_KEY;
	if (status == 400)
		return CLOSE_OUR_BUG;
	if (status >= 300 && status < 500)
		return CLOSE_FATAL_CONFIG;
	return CLOSE_RESUME;
}

const char *close_class_name(enum close_class class)
{
	return names[class];
}
