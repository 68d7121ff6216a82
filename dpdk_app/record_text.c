/* SPDX-License-Identifier: Apache-2.0 */
/* See record_text.h. */
#include "record_text.h"

#include <stdlib.h>
#include <string.h>

bool record_text_append(struct record_text *text, const char *bytes, size_t len, size_t max)
{
	size_t need = text->len + len + 1;

	if (need > max)
		return false;
	if (need > text->capacity) {
		size_t capacity = need < 256 ? 256 : need + need / 2;
		char *grown = realloc(text->bytes, capacity);

		if (grown == NULL)
			return false;
		text->bytes = grown;
		text->capacity = capacity;
	}
	memcpy(text->bytes + text->len, bytes, len);
	text->len += len;
	text->bytes[text->len] = '\0';
	return true;
}

void record_text_free(struct record_text *text)
{
	free(text->bytes);
	memset(text, 0, sizeof(*text));
}

size_t record_text_cut(const char *text, size_t len, size_t max)
{
	if (len <= max)
		return len;
	while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
		max--;
	return max;
}

void record_text_copy(char *to, size_t size, const char *from)
{
	size_t len = from != NULL ? record_text_cut(from, strlen(from), size - 1) : 0;

	if (len > 0)
		memcpy(to, from, len);
	to[len] = '\0';
}
