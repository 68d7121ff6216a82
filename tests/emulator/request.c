/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 request heads (see request.h).
 */
#include "request.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *tail;
	enum request_api api;
	bool constrained;
} paths[] = {
	{"google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent", REQUEST_API_V1, false},
	{"google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", REQUEST_API_V1BETA, false},
	{"google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent", REQUEST_API_V1ALPHA, false},
	{"google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContentConstrained", REQUEST_API_V1, true},
	{"google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContentConstrained", REQUEST_API_V1BETA, true},
	{"google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained", REQUEST_API_V1ALPHA, true},
	{"google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent", REQUEST_API_VERTEX, false},
	{"google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent", REQUEST_API_VERTEX, false},
};

size_t request_head_size(const char *data, size_t size)
{
	const char *end = memmem(data, size, "\r\n\r\n", 4);
	return end ? (size_t)(end - data) + 4 : 0;
}

enum request_api request_path_api(const char *path, bool *constrained)
{
	if (path[0] != '/')
		return REQUEST_API_NONE;
	size_t size = strlen(path);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		size_t tail = strlen(paths[i].tail);
		if (size < tail + 4 || strcmp(path + size - tail, paths[i].tail) != 0)
			continue;
		if (memcmp(path + size - tail - 4, "/ws/", 4) != 0)
			continue;
		*constrained = paths[i].constrained;
		return paths[i].api;
	}
	return REQUEST_API_NONE;
}

const char *request_api_name(enum request_api api)
{
	static const char *const names[] = {"none", "v1", "v1beta", "v1alpha", "v1beta1"};
	return names[api];
}

static void copy(char *to, size_t room, const char *from, size_t size)
{
	if (size >= room)
		size = room - 1;
	memcpy(to, from, size);
	to[size] = '\0';
}

static void decode(char *to, size_t room, const char *from, size_t size)
{
	size_t length = 0;
	for (size_t i = 0; i < size && length + 1 < room; i++) {
		unsigned value;
		if (from[i] == '%' && i + 2 < size && sscanf(from + i + 1, "%2x", &value) == 1) {
			to[length++] = (char)value;
			i += 2;
		} else {
			to[length++] = from[i];
		}
	}
	to[length] = '\0';
}

bool request_parameter(const char **at, char *name, size_t name_room, char *value, size_t value_room)
{
	size_t size = strcspn(*at, "&"), sign = strcspn(*at, "=&");
	if (**at == '\0')
		return false;
	decode(name, name_room, *at, sign);
	decode(value, value_room, *at + sign + (sign < size), size - sign - (sign < size));
	*at += size + ((*at)[size] == '&');
	return true;
}

/* The query parameter `name`. Returns whether it is there. */
static bool query_value(const char *query, const char *name, char *to, size_t room)
{
	char found[REQUEST_FIELD_MAX];
	while (request_parameter(&query, found, sizeof(found), to, room))
		if (strcmp(found, name) == 0)
			return true;
	to[0] = '\0';
	return false;
}

/* Is `token` in a comma-separated header value? */
static bool has_token(const char *value, const char *token)
{
	size_t size = strlen(token);
	for (const char *p = value; *p != '\0';) {
		p += strspn(p, ", \t");
		size_t length = strcspn(p, ", \t");
		if (length == size && strncasecmp(p, token, size) == 0)
			return true;
		p += length;
	}
	return false;
}

struct seen {
	char api_key[REQUEST_FIELD_MAX], authorization[REQUEST_FIELD_MAX];
	bool upgrade, connection;
};

static void take_header(struct request *request, struct seen *seen, const char *name, const char *value)
{
	if (strcasecmp(name, "x-goog-api-key") == 0)
		copy(seen->api_key, sizeof(seen->api_key), value, strlen(value));
	else if (strcasecmp(name, "authorization") == 0)
		copy(seen->authorization, sizeof(seen->authorization), value, strlen(value));
	else if (strcasecmp(name, "host") == 0)
		copy(request->host, sizeof(request->host), value, strlen(value));
	else if (strcasecmp(name, "content-length") == 0)
		request->content_length = strtoul(value, NULL, 10);
	else if (strcasecmp(name, "sec-websocket-key") == 0)
		copy(request->websocket_key, sizeof(request->websocket_key), value, strlen(value));
	else if (strcasecmp(name, "sec-websocket-version") == 0)
		request->version_13 = strcmp(value, "13") == 0;
	else if (strcasecmp(name, "upgrade") == 0)
		seen->upgrade = has_token(value, "websocket");
	else if (strcasecmp(name, "connection") == 0)
		seen->connection = has_token(value, "upgrade");
}

static int parse_line(const char *line, size_t size, struct request *request, struct seen *seen)
{
	char name[64], value[REQUEST_FIELD_MAX];
	const char *colon = memchr(line, ':', size);
	if (colon == NULL || colon == line)
		return -EBADMSG;
	copy(name, sizeof(name), line, (size_t)(colon - line));
	const char *from = colon + 1, *end = line + size;
	while (from < end && (*from == ' ' || *from == '\t'))
		from++;
	while (end > from && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	copy(value, sizeof(value), from, (size_t)(end - from));
	take_header(request, seen, name, value);
	return 0;
}

static int parse_first_line(const char *line, size_t size, struct request *request)
{
	const char *first = memchr(line, ' ', size);
	if (first == NULL)
		return -EBADMSG;
	const char *target = first + 1, *second = memchr(target, ' ', size - (size_t)(target - line));
	if (second == NULL || size - (size_t)(second - line) != 9 || memcmp(second, " HTTP/1.1", 9) != 0)
		return -EBADMSG;
	copy(request->method, sizeof(request->method), line, (size_t)(first - line));
	const char *question = memchr(target, '?', (size_t)(second - target));
	copy(request->path, sizeof(request->path), target, (size_t)((question ? question : second) - target));
	if (question != NULL)
		copy(request->query, sizeof(request->query), question + 1, (size_t)(second - question - 1));
	return 0;
}

static void choose_key(struct request *request, const struct seen *seen)
{
	const char *from = seen->api_key;
	if (*from == '\0' && (query_value(request->query, "key", request->key, sizeof(request->key)) ||
				     query_value(request->query, "access_token", request->key, sizeof(request->key)))) {
		request->key_in_url = true;
		return;
	}
	if (*from == '\0' && seen->authorization[0] != '\0') {
		const char *space = strrchr(seen->authorization, ' ');
		from = space ? space + 1 : seen->authorization;
		request->bearer = strncasecmp(seen->authorization, "Bearer ", 7) == 0;
	}
	copy(request->key, sizeof(request->key), from, strlen(from));
}

int request_parse(const char *head, size_t size, struct request *request)
{
	struct seen seen = {0};
	const char *line = head, *end = head + size;
	memset(request, 0, sizeof(*request));
	for (bool first = true; line < end; first = false) {
		const char *stop = memmem(line, (size_t)(end - line), "\r\n", 2);
		if (stop == NULL)
			return -EBADMSG;
		if (stop == line)
			break;
		int error = first ? parse_first_line(line, (size_t)(stop - line), request)
				  : parse_line(line, (size_t)(stop - line), request, &seen);
		if (error)
			return error;
		line = stop + 2;
	}
	if (request->method[0] == '\0')
		return -EBADMSG;
	request->upgrade = seen.upgrade && seen.connection;
	request->api = request_path_api(request->path, &request->constrained);
	choose_key(request, &seen);
	return 0;
}
