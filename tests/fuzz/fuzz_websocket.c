/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: what a service sends over a websocket. Input: one byte of piece size, one of limit, the answer to the upgrade, an
 * empty line, frames. However the frames are cut the same is read; no message grows beyond the limit; every piece lies in what was
 * handed in; nothing is read after a Close or a violation.
 */
#include <string.h>

#include "ai_workers/websocket.h"
#include "fuzz.h"

struct summary {
	uint64_t hash; /* of all events, pieces of a message joined */
	size_t message_len;
	bool ended;
};

static void mix(struct summary *s, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++)
		s->hash = (s->hash ^ at[i]) * 0x100000001b3u;
}

static void note(struct summary *s, enum websocket_event event, const struct websocket_piece *piece, size_t limit)
{
	uint8_t kind = (uint8_t)event;

	fuzz_check(!s->ended);
	if (event == WEBSOCKET_PART) {
		s->message_len += piece->len;
		fuzz_check(s->message_len <= limit);
		mix(s, piece->bytes, piece->len);
		if (!piece->last)
			return;
		s->message_len = 0;
		mix(s, &kind, 1);
		return;
	}
	mix(s, &kind, 1);
	mix(s, &piece->code, sizeof(piece->code));
	if (event == WEBSOCKET_VIOLATED) {
		fuzz_check(piece->why != NULL && (piece->code == WEBSOCKET_PROTOCOL_ERROR || piece->code == WEBSOCKET_TOO_BIG));
	} else {
		fuzz_check(piece->len <= WEBSOCKET_CONTROL_MAX && piece->bytes[piece->len] == '\0');
		mix(s, piece->bytes, piece->len);
	}
	s->ended = event == WEBSOCKET_CLOSED || event == WEBSOCKET_VIOLATED;
}

static struct summary read_all(const uint8_t *data, size_t size, size_t step, size_t limit)
{
	struct websocket_reader reader = {.limit = limit};
	struct summary summary = {.hash = 0xcbf29ce484222325u};
	struct websocket_piece piece;
	enum websocket_event event;

	for (size_t at = 0; at < size; at += step) {
		size_t len = size - at < step ? size - at : step;
		uint8_t *copy = malloc(len), *next = copy, *end = copy + len;

		if (copy == NULL)
			abort();
		memcpy(copy, data + at, len);
		while ((event = websocket_read(&reader, &next, &len, &piece)) != WEBSOCKET_MORE) {
			fuzz_check(next + len == end);
			fuzz_check(event != WEBSOCKET_PART || (piece.bytes >= copy && piece.bytes + piece.len == next));
			note(&summary, event, &piece, limit);
		}
		fuzz_check(len == 0 || summary.ended);
		free(copy);
	}
	return summary;
}

static size_t read_answer(const uint8_t *data, size_t size)
{
	static const uint8_t nonce[WEBSOCKET_NONCE_SIZE + 1] = "the sample nonce";
	char key[WEBSOCKET_KEY_SIZE], accept[WEBSOCKET_ACCEPT_SIZE], *text = malloc(size + 1);
	const char *why;
	int status, used;

	if (text == NULL)
		abort();
	memcpy(text, data, size);
	websocket_key(nonce, key, accept);
	used = websocket_response(text, size, accept, &status, &why);
	fuzz_check(used == 0 || (used > 0) == (why == NULL));
	fuzz_check(status == 0 || (status >= 100 && status <= 999));
	fuzz_check(used <= 0 || (status == 101 && (size_t)used <= size && memcmp(text + used - 4, "\r\n\r\n", 4) == 0 &&
					memmem(text, (size_t)used, accept, strlen(accept)) != NULL));
	free(text);
	return used > 0 ? (size_t)used : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct summary whole, cut;
	size_t step, limit, used;

	if (size < 2)
		return 0;
	step = data[0] % 64u + 1;
	limit = data[1] * 8u;
	used = read_answer(data + 2, size - 2);
	data += 2 + used;
	size -= 2 + used;
	whole = read_all(data, size, size + 1, limit);
	cut = read_all(data, size, step, limit);
	fuzz_check(whole.hash == cut.hash && whole.message_len <= limit && whole.ended == cut.ended);
	return 0;
}
