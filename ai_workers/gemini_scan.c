/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recursive descent over JSON text (RFC 8259) that only tracks the path
 * serverContent.modelTurn.parts[].inlineData.{mimeType,data} and `thought` of the same part. A member name that is written with
 * escapes is not recognised; the service writes none.
 */
#include "gemini_scan.h"

#include <errno.h>
#include <string.h>

#define DEPTH_MAX 24u /* less than shared/json.h allows: parts of a message travel on inside our own messages */

/* Where a value stands. */
enum place {
	PLACE_ROOT,
	PLACE_SERVER_CONTENT,
	PLACE_MODEL_TURN,
	PLACE_PARTS,
	PLACE_PART,
	PLACE_INLINE_DATA,
	PLACE_MIME_TYPE,
	PLACE_DATA,
	PLACE_THOUGHT,
	PLACE_HARMLESS, /* on the audio path, but nobody reads it: role */
	PLACE_OTHER,
};

/* What is known of the part being read. */
struct part {
	struct gemini_span data;
	bool has_data, thought, mime_ok;
};

struct reader {
	char *at, *end;
	struct gemini_scan *scan;
	struct part part;
	uint32_t depth;
};

static const struct {
	enum place in;
	const char *name;
	enum place place;
} steps[] = {
	{PLACE_ROOT, "serverContent", PLACE_SERVER_CONTENT},
	{PLACE_SERVER_CONTENT, "modelTurn", PLACE_MODEL_TURN},
	{PLACE_MODEL_TURN, "parts", PLACE_PARTS},
	{PLACE_MODEL_TURN, "role", PLACE_HARMLESS},
	{PLACE_PART, "inlineData", PLACE_INLINE_DATA},
	{PLACE_PART, "thought", PLACE_THOUGHT},
	{PLACE_INLINE_DATA, "mimeType", PLACE_MIME_TYPE},
	{PLACE_INLINE_DATA, "data", PLACE_DATA},
};

static int read_value(struct reader *r, enum place place);

static void skip_space(struct reader *r)
{
	while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
		r->at++;
}

static bool take(struct reader *r, char c)
{
	if (r->at >= r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

/* The inside of a string; the fast way matters here, audio is one string of tens of kilobytes. */
static int read_string(struct reader *r, struct gemini_span *span)
{
	char *start, *quote, *slash;

	if (!take(r, '"'))
		return -EBADMSG;
	start = r->at;
	for (;;) {
		quote = memchr(r->at, '"', (size_t)(r->end - r->at));
		if (quote == NULL)
			return -EBADMSG;
		slash = memchr(r->at, '\\', (size_t)(quote - r->at));
		if (slash == NULL)
			break;
		if (slash + 2 > r->end)
			return -EBADMSG;
		r->at = slash + 2; /* the escaped character may be the quote itself */
	}
	r->at = quote + 1;
	*span = (struct gemini_span){.start = start, .len = (size_t)(quote - start)};
	return 0;
}

static enum place step_into(enum place in, const struct gemini_span *name)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (steps[i].in == in && strlen(steps[i].name) == name->len && memcmp(steps[i].name, name->start, name->len) == 0)
			return steps[i].place;
	return PLACE_OTHER;
}

/* The model's voice: audio/pcm, alone or with its one rate. */
static bool is_model_audio(const struct gemini_span *mime)
{
	static const char *const known[] = {"audio/pcm", "audio/pcm;rate=24000", "audio\\/pcm", "audio\\/pcm;rate=24000"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i]) == mime->len && memcmp(known[i], mime->start, mime->len) == 0)
			return true;
	return false;
}

/* A part has ended, only now are all its members known, in whatever order they came. */
static void finish_part(struct reader *r)
{
	struct gemini_scan *scan = r->scan;

	if (!r->part.has_data)
		return;
	if (!r->part.thought && r->part.mime_ok && scan->audio_count < GEMINI_AUDIO_PARTS_MAX)
		scan->audio[scan->audio_count++] = r->part.data;
	else
		scan->skipped++;
}

static int read_object(struct reader *r, enum place place)
{
	int error;

	r->at++;
	skip_space(r);
	if (take(r, '}'))
		return 0;
	for (;;) {
		struct gemini_span name;
		enum place next;

		skip_space(r);
		error = read_string(r, &name);
		if (error != 0)
			return error;
		next = step_into(place, &name);
		if (next == PLACE_OTHER)
			r->scan->other = true;
		skip_space(r);
		if (!take(r, ':'))
			return -EBADMSG;
		error = read_value(r, next);
		if (error != 0)
			return error;
		skip_space(r);
		if (take(r, '}'))
			return 0;
		if (!take(r, ','))
			return -EBADMSG;
	}
}

static int read_array(struct reader *r, enum place place)
{
	int error;

	r->at++;
	skip_space(r);
	if (take(r, ']'))
		return 0;
	for (;;) {
		if (place == PLACE_PARTS)
			r->part = (struct part){0};
		error = read_value(r, place == PLACE_PARTS ? PLACE_PART : PLACE_OTHER);
		if (error != 0)
			return error;
		if (place == PLACE_PARTS)
			finish_part(r);
		skip_space(r);
		if (take(r, ']'))
			return 0;
		if (!take(r, ','))
			return -EBADMSG;
	}
}

/* true, false, null or a number: cJSON checks the details where they are read. */
static int read_word(struct reader *r, enum place place)
{
	char *start = r->at;
	size_t len;

	while (r->at < r->end && memchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", *r->at, 40) != NULL)
		r->at++;
	len = (size_t)(r->at - start);
	if (len == 0)
		return -EBADMSG;
	if (place == PLACE_THOUGHT)
		r->part.thought = !(len == 5 && memcmp(start, "false", 5) == 0);
	return 0;
}

static int read_text(struct reader *r, enum place place)
{
	struct gemini_span span;
	int error = read_string(r, &span);

	if (error != 0)
		return error;
	if (place == PLACE_MIME_TYPE)
		r->part.mime_ok = is_model_audio(&span);
	if (place == PLACE_THOUGHT)
		r->part.thought = true;
	if (place == PLACE_DATA) {
		/* A second "data" in one part: the part is not played at all, nobody can say which one is meant. */
		r->part.thought |= r->part.has_data;
		r->part.data = span;
		r->part.has_data = true;
		if (r->scan->data_count < GEMINI_AUDIO_PARTS_MAX)
			r->scan->data[r->scan->data_count++] = span;
	}
	return 0;
}

static int read_value(struct reader *r, enum place place)
{
	int error;

	skip_space(r);
	if (r->at >= r->end)
		return -EBADMSG;
	switch (*r->at) {
	case '{':
	case '[':
		if (++r->depth > DEPTH_MAX)
			return -EBADMSG;
		/* An object where the path has a list, or the reverse, is not on the path. */
		if (*r->at == '{')
			error = read_object(r, place == PLACE_PARTS ? PLACE_OTHER : place);
		else
			error = read_array(r, place == PLACE_PARTS ? PLACE_PARTS : PLACE_OTHER);
		r->depth--;
		return error;
	case '"':
		return read_text(r, place);
	default:
		return read_word(r, place);
	}
}

int gemini_scan(struct gemini_scan *scan, char *text, size_t len)
{
	struct reader r = {.at = text, .end = text + len, .scan = scan};
	int error;

	scan->audio_count = scan->data_count = scan->skipped = 0;
	scan->other = false;
	skip_space(&r);
	if (r.at >= r.end || *r.at != '{')
		return -EBADMSG;
	error = read_value(&r, PLACE_ROOT);
	if (error != 0)
		return error;
	skip_space(&r);
	return r.at == r.end ? 0 : -EBADMSG;
}
