/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See record_squeeze.h. Notes are found by their words: a quotation mark inside of what was said is written with a backslash, so
 * no text can look like a member.
 */
#include "record_squeeze.h"

#include <stdbool.h>
#include <string.h>

#define CALLER	   0
#define MODEL	   1
#define NOT_NEEDED 'x' /* in the place of a line's first byte, while the text is looked at */

enum kind {
	OTHER,
	PIECE,
	WHOLE,
	BORDER, /* what is said after it belongs to another turn */
};

static bool has(const char *line, size_t len, const char *word)
{
	return memmem(line, len, word, strlen(word)) != NULL;
}

static enum kind kind_of(const char *line, size_t len, unsigned int *side)
{
	if (has(line, len, ",\"worker\":{") || has(line, len, "\"event\":\"turn\""))
		return BORDER;
	if (!has(line, len, ",\"transcript\":{"))
		return OTHER;
	*side = has(line, len, "\"side\":\"model\"") ? MODEL : CALLER;
	return has(line, len, "\"final\":true") ? WHOLE : PIECE;
}

/* From the end: mark each piece whose whole text comes in the same turn. */
static void mark(char *text, size_t len)
{
	bool whole_follows[2] = {false, false};

	for (size_t end = len; end > 0;) {
		size_t begin = end - 1;
		unsigned int side = CALLER;
		enum kind kind;

		while (begin > 0 && text[begin - 1] != '\n')
			begin--;
		kind = kind_of(text + begin, end - begin, &side);
		if (kind == BORDER)
			whole_follows[CALLER] = whole_follows[MODEL] = false;
		else if (kind == WHOLE)
			whole_follows[side] = true;
		else if (kind == PIECE && whole_follows[side])
			text[begin] = NOT_NEEDED;
		end = begin;
	}
}

size_t record_squeeze(char *text, size_t len)
{
	bool begun[2] = {false, false};
	size_t kept = 0;

	mark(text, len);
	for (size_t begin = 0; begin < len;) {
		const char *newline = memchr(text + begin, '\n', len - begin);
		size_t end = newline != NULL ? (size_t)(newline - text) + 1 : len;
		unsigned int side = CALLER;
		enum kind kind = kind_of(text + begin, end - begin, &side);
		bool keep = text[begin] != NOT_NEEDED || !begun[side];

		if (kind == BORDER)
			begun[CALLER] = begun[MODEL] = false;
		else if (kind != OTHER)
			begun[side] = kind == PIECE;
		if (text[begin] == NOT_NEEDED)
			text[begin] = '{';
		if (keep) {
			memmove(text + kept, text + begin, end - begin);
			kept += end - begin;
		}
		begin = end;
	}
	return kept;
}
