/* SPDX-License-Identifier: Apache-2.0 */
/* See websocket.h. */
#include "websocket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <mbedtls/sha1.h>

#include "../shared/base64.h"

#define FINAL	 0x80u /* the message's last frame */
#define RESERVED 0x70u /* bits of extensions, of which we offer none */
#define OPCODE	 0x0fu
#define CONTROL	 0x08u
#define MASKED	 0x80u
#define LEN_16	 126u /* the length is in the next two bytes */
#define LEN_64	 127u /* the length is in the next eight bytes */

/* 32 bytes at a time, which the compiler turns into the vectors that every CPU of the target has. */
static void apply_mask(uint8_t *payload, size_t len, const uint8_t mask[WEBSOCKET_MASK_SIZE])
{
	uint32_t repeated, words[8];
	size_t at = 0;

	memcpy(&repeated, mask, WEBSOCKET_MASK_SIZE);
	for (; len - at >= sizeof(words); at += sizeof(words)) {
		memcpy(words, payload + at, sizeof(words));
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			words[i] ^= repeated;
		memcpy(payload + at, words, sizeof(words));
	}
	for (; at < len; at++)
		payload[at] ^= mask[at % WEBSOCKET_MASK_SIZE];
}

uint8_t *websocket_frame(uint8_t *payload, size_t len, enum websocket_opcode opcode, const uint8_t mask[WEBSOCKET_MASK_SIZE])
{
	uint8_t length_bytes = len < LEN_16 ? 0 : len <= UINT16_MAX ? 2 : 8;
	uint8_t *frame = payload - WEBSOCKET_MASK_SIZE - length_bytes - 2;

	frame[0] = (uint8_t)(FINAL | opcode);
	frame[1] = (uint8_t)(MASKED | (length_bytes == 0 ? len : length_bytes == 2 ? LEN_16 : LEN_64));
	for (uint8_t i = 0; i < length_bytes; i++)
		frame[2 + i] = (uint8_t)(len >> (8 * (length_bytes - 1 - i)));
	memcpy(payload - WEBSOCKET_MASK_SIZE, mask, WEBSOCKET_MASK_SIZE);
	apply_mask(payload, len, mask);
	return frame;
}

void websocket_key(const uint8_t nonce[WEBSOCKET_NONCE_SIZE], char key[WEBSOCKET_KEY_SIZE], char accept[WEBSOCKET_ACCEPT_SIZE])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */
	unsigned char text[WEBSOCKET_KEY_SIZE - 1 + sizeof(guid) - 1], digest[20];

	key[vl_base64_encode(key, nonce, WEBSOCKET_NONCE_SIZE)] = '\0';
	memcpy(text, key, WEBSOCKET_KEY_SIZE - 1);
	memcpy(text + WEBSOCKET_KEY_SIZE - 1, guid, sizeof(guid) - 1);
	mbedtls_sha1_ret(text, sizeof(text), digest);
	accept[vl_base64_encode(accept, digest, sizeof(digest))] = '\0';
}

int websocket_request(char *text, size_t size, const struct websocket_upgrade *u)
{
	int len;

	if (strpbrk(u->host, "\r\n ") != NULL || strpbrk(u->path, "\r\n ") != NULL || strpbrk(u->value, "\r\n") != NULL)
		return -EINVAL;
	len = snprintf(text, size,
		"GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s: %s\r\n\r\n",
		u->path, u->host, u->key, u->header, u->value);
	return len > 0 && (size_t)len < size ? len : -EMSGSIZE;
}

/* Whether `value` has `token` in its comma-separated list, in whatever case (RFC 7230 7). */
static bool has_token(const char *value, size_t len, const char *token)
{
	size_t want = strlen(token);

	for (const char *at = value, *end = value + len; at < end;) {
		const char *comma = memchr(at, ',', (size_t)(end - at)), *last = comma != NULL ? comma : end;

		while (at < last && (*at == ' ' || *at == '\t'))
			at++;
		while (last > at && (last[-1] == ' ' || last[-1] == '\t'))
			last--;
		if ((size_t)(last - at) == want && strncasecmp(at, token, want) == 0)
			return true;
		at = comma != NULL ? comma + 1 : end;
	}
	return false;
}

/* The status of "HTTP/1.1 101 ...", or 0; a proxy may refuse in HTTP/1.0. */
static int status_of(const char *text, size_t len)
{
	static const char version[] = "HTTP/1.";
	int status = 0;

	if (len < sizeof("HTTP/1.1 101\r") - 1 || memcmp(text, version, sizeof(version) - 1) != 0 || text[8] != ' ')
		return 0;
	text += sizeof("HTTP/1.1 ") - 1;
	for (int i = 0; i < 3; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		status = status * 10 + text[i] - '0';
	}
	return (text[3] == ' ' || text[3] == '\r') && status >= 100 ? status : 0;
}

/* Whether the header line is `name`'s; then `value` and `len` are what is behind the colon, without blanks around it. */
static bool is_header(const char *line, size_t line_len, const char *name, const char **value, size_t *len)
{
	size_t name_len = strlen(name);

	if (line_len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
		return false;
	*value = line + name_len + 1;
	*len = line_len - name_len - 1;
	while (*len > 0 && (**value == ' ' || **value == '\t')) {
		(*value)++;
		(*len)--;
	}
	while (*len > 0 && ((*value)[*len - 1] == ' ' || (*value)[*len - 1] == '\t'))
		(*len)--;
	return true;
}

/* The headers that make an answer an upgrade (RFC 6455 4.1), each exactly as we asked for it. Returns what is wrong, or NULL. */
static const char *check_headers(const char *line, const char *end, const char *accept)
{
	bool upgrade = false, connection = false, accepted = false;

	while (line < end) {
		const char *next = memmem(line, (size_t)(end - line), "\r\n", 2), *value;
		size_t line_len = (size_t)((next != NULL ? next : end) - line), len;

		if (is_header(line, line_len, "Upgrade", &value, &len))
			upgrade = has_token(value, len, "websocket");
		else if (is_header(line, line_len, "Connection", &value, &len))
			connection |= has_token(value, len, "Upgrade");
		else if (is_header(line, line_len, "Sec-WebSocket-Accept", &value, &len))
			accepted = len == strlen(accept) && memcmp(value, accept, len) == 0;
		else if (is_header(line, line_len, "Sec-WebSocket-Extensions", &value, &len) && len > 0)
			return "the upgrade has an extension that was not asked for";
		else if (is_header(line, line_len, "Sec-WebSocket-Protocol", &value, &len) && len > 0)
			return "the upgrade has a protocol that was not asked for";
		line = next != NULL ? next + 2 : end;
	}
	if (!upgrade || !connection)
		return "the upgrade is not one to a websocket";
	return accepted ? NULL : "the upgrade does not answer our key";
}

int websocket_response(const char *text, size_t len, const char *accept, int *status, const char **why)
{
	const char *end = memmem(text, len, "\r\n\r\n", 4), *line;

	*status = 0;
	*why = NULL;
	if (end == NULL)
		return 0;
	line = (const char *)memmem(text, len, "\r\n", 2) + 2;
	*status = status_of(text, (size_t)(line - text));
	if (*status == 0)
		*why = "the answer to the upgrade is not HTTP";
	else if (*status != 101)
		*why = "the upgrade is refused";
	else
		*why = check_headers(line, end, accept);
	return *why == NULL ? (int)(end + 4 - text) : -EPROTO;
}

static enum websocket_event violate(
	struct websocket_reader *r, struct websocket_piece *piece, enum websocket_close code, const char *why)
{
	r->ended = true;
	piece->code = (uint16_t)code;
	piece->why = why;
	return WEBSOCKET_VIOLATED;
}

/* Bytes of this frame's header, as far as it is known. */
static uint8_t header_size(const struct websocket_reader *r)
{
	uint8_t length = r->header[1] & 0x7f;

	if (r->header_len < 2)
		return 2;
	return length == LEN_16 ? 4 : length == LEN_64 ? 10 : 2;
}

/* What RFC 6455 5 says against the two first bytes of a header, or NULL. */
static const char *first_bytes_wrong(const struct websocket_reader *r)
{
	uint8_t opcode = r->header[0] & OPCODE, length = r->header[1] & 0x7f;

	if (r->header[0] & RESERVED)
		return "a frame has reserved bits set";
	if (r->header[1] & MASKED)
		return "a frame of the service is masked";
	switch (opcode) {
	case WEBSOCKET_CONTINUATION:
		return r->in_message ? NULL : "a continuation has nothing to continue";
	case WEBSOCKET_TEXT:
	case WEBSOCKET_BINARY:
		return r->in_message ? "a message begins inside another" : NULL;
	case WEBSOCKET_CLOSE:
	case WEBSOCKET_PING:
	case WEBSOCKET_PONG:
		if ((r->header[0] & FINAL) == 0)
			return "a control frame is fragmented";
		return length > WEBSOCKET_CONTROL_MAX ? "a control frame is too long" : NULL;
	default:
		return "a frame has an unknown opcode";
	}
}

/* The header is complete: its length. Returns what is wrong with that, or NULL. */
static const char *begin_payload(struct websocket_reader *r)
{
	uint8_t size = header_size(r);

	r->left = 0;
	for (uint8_t i = size == 2 ? 1 : 2; i < size; i++)
		r->left = r->left << 8 | r->header[i];
	if (r->left >> 63)
		return "a length is out of range";
	r->in_payload = true;
	r->control_len = 0;
	return NULL;
}

/* RFC 6455 7.4: the codes that may be sent. */
static bool is_close_code(uint16_t code)
{
	return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) || (code >= 3000 && code <= 4999);
}

static enum websocket_event end_control(struct websocket_reader *r, struct websocket_piece *piece)
{
	r->in_payload = false;
	r->header_len = 0;
	r->control[r->control_len] = '\0';
	piece->bytes = r->control;
	piece->len = r->control_len;
	switch (r->header[0] & OPCODE) {
	case WEBSOCKET_PING:
		return WEBSOCKET_PINGED;
	case WEBSOCKET_PONG:
		return WEBSOCKET_PONGED;
	default:
		piece->code = WEBSOCKET_NO_CODE;
		if (r->control_len == 0)
			break;
		piece->code = (uint16_t)(r->control[0] << 8 | r->control[1]);
		if (r->control_len == 1 || !is_close_code(piece->code))
			return violate(r, piece, WEBSOCKET_PROTOCOL_ERROR, "a Close has no such code");
		piece->bytes += 2;
		piece->len -= 2;
	}
	r->ended = true;
	return WEBSOCKET_CLOSED;
}

static enum websocket_event read_control(struct websocket_reader *r, uint8_t **bytes, size_t *len, struct websocket_piece *piece)
{
	size_t take = r->left < *len ? (size_t)r->left : *len;

	memcpy(r->control + r->control_len, *bytes, take);
	r->control_len = (uint8_t)(r->control_len + take);
	r->left -= take;
	*bytes += take;
	*len -= take;
	return r->left == 0 ? end_control(r, piece) : WEBSOCKET_MORE;
}

static enum websocket_event read_part(struct websocket_reader *r, uint8_t **bytes, size_t *len, struct websocket_piece *piece)
{
	size_t take = r->left < *len ? (size_t)r->left : *len;
	bool final = (r->header[0] & FINAL) != 0;

	if (take == 0 && r->left > 0)
		return WEBSOCKET_MORE;
	piece->bytes = *bytes;
	piece->len = take;
	r->left -= take;
	*bytes += take;
	*len -= take;
	piece->frame_left = r->left;
	piece->last = final && r->left == 0;
	if (r->left == 0) {
		r->in_payload = false;
		r->header_len = 0;
		r->in_message = !final;
		if (final)
			r->message_len = 0;
	}
	return WEBSOCKET_PART;
}

/* Returns WEBSOCKET_MORE when the header is complete or more must come, or WEBSOCKET_VIOLATED. */
static enum websocket_event read_header(struct websocket_reader *r, uint8_t **bytes, size_t *len, struct websocket_piece *piece)
{
	const char *wrong = NULL;

	while (*len > 0 && wrong == NULL && !r->in_payload) {
		r->header[r->header_len++] = *(*bytes)++;
		--*len;
		if (r->header_len == 2)
			wrong = first_bytes_wrong(r);
		if (wrong == NULL && r->header_len == header_size(r))
			wrong = begin_payload(r);
	}
	if (wrong != NULL)
		return violate(r, piece, WEBSOCKET_PROTOCOL_ERROR, wrong);
	if (!r->in_payload || (r->header[0] & CONTROL))
		return WEBSOCKET_MORE;
	if (r->left > r->limit - r->message_len)
		return violate(r, piece, WEBSOCKET_TOO_BIG, "a message is too long");
	r->message_len += (size_t)r->left;
	return WEBSOCKET_MORE;
}

enum websocket_event websocket_read(struct websocket_reader *r, uint8_t **bytes, size_t *len, struct websocket_piece *piece)
{
	*piece = (struct websocket_piece){0};
	if (r->ended)
		return WEBSOCKET_MORE;
	if (!r->in_payload && read_header(r, bytes, len, piece) == WEBSOCKET_VIOLATED)
		return WEBSOCKET_VIOLATED;
	if (!r->in_payload)
		return WEBSOCKET_MORE;
	return r->header[0] & CONTROL ? read_control(r, bytes, len, piece) : read_part(r, bytes, len, piece);
}
