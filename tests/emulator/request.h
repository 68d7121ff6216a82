/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of an HTTP/1.1 request to the emulator: the upgrade to a Live session or GET /stats. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define REQUEST_HEAD_MAX  16384u
#define REQUEST_FIELD_MAX 2048u

/* Which API a path belongs to. */
enum request_api {
	REQUEST_API_NONE, /* not a Live path: 404 */
	REQUEST_API_V1,
	REQUEST_API_V1BETA,
	REQUEST_API_V1ALPHA,
	REQUEST_API_VERTEX, /* LlmBidiService */
};

struct request {
	char method[16];
	char path[REQUEST_FIELD_MAX];
	char query[REQUEST_FIELD_MAX];
	char key[REQUEST_FIELD_MAX]; /* x-goog-api-key, else ?key= or ?access_token=, else Authorization's last word; "" = none */
	char websocket_key[64];	     /* Sec-WebSocket-Key */
	char host[256];		     /* Host */
	size_t content_length;
	bool bearer;			      /* the key came as Authorization: Bearer */
	bool key_in_url, upgrade, version_13; /* Upgrade: websocket with Connection: upgrade; Sec-WebSocket-Version: 13 */
	enum request_api api;
	bool constrained; /* BidiGenerateContentConstrained */
};

/* Size of the head including its empty line, 0 if it is not complete yet. */
size_t request_head_size(const char *data, size_t size);

/* Parse a complete head. Returns 0 or -EBADMSG. */
int request_parse(const char *head, size_t size, struct request *request);

/* Classify a path: any prefix, one or more slashes before "ws/". */
enum request_api request_path_api(const char *path, bool *constrained);

/*
 * The next NAME=VALUE of a query string, percent-decoded, and *at behind it. Returns false when there is none.
 */
bool request_parameter(const char **at, char *name, size_t name_room, char *value, size_t value_room);

/* Name of the version in error texts: "v1beta". */
const char *request_api_name(enum request_api api);
