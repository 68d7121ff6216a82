/* SPDX-License-Identifier: Apache-2.0 */
/* See tool_requests.h. */
#include "tool_requests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

struct tool_request *tool_requests_find(struct tool_request *list, const char *id)
{
	struct tool_request *request;

	DL_FOREACH(list, request)
	{
		if (strcmp(request->id, id) == 0)
			return request;
	}
	return NULL;
}

struct tool_request *tool_requests_first_open(struct tool_request *list)
{
	struct tool_request *request;

	DL_FOREACH(list, request)
	{
		if (request->state == TOOL_REQUEST_OPEN)
			return request;
	}
	return NULL;
}

/* A worker is not believed: open ones go too when it has asked for far too much. */
static void make_room(struct tool_request **list)
{
	struct tool_request *request, *oldest = NULL;
	unsigned int count = 0;

	DL_FOREACH(*list, request)
	{
		count++;
		if (oldest == NULL || (oldest->state == TOOL_REQUEST_OPEN && request->state != TOOL_REQUEST_OPEN))
			oldest = request;
	}
	if (count < TOOL_REQUESTS_MAX)
		return;
	DL_DELETE(*list, oldest);
	free(oldest);
}

int tool_requests_open(struct tool_request **list, const char *id)
{
	struct tool_request *request = tool_requests_find(*list, id);

	if (request != NULL && (request->state == TOOL_REQUEST_OPEN || request->state == TOOL_REQUEST_ANSWERED))
		return -EALREADY;
	if (request == NULL) {
		make_room(list);
		request = calloc(1, sizeof(*request));
		if (request == NULL)
			return -ENOMEM;
		snprintf(request->id, sizeof(request->id), "%s", id);
		DL_APPEND(*list, request);
	}
	request->state = TOOL_REQUEST_OPEN;
	return 0;
}

void tool_requests_lost(struct tool_request *list)
{
	struct tool_request *request;

	DL_FOREACH(list, request)
	{
		request->state = TOOL_REQUEST_LOST;
	}
}

void tool_requests_free(struct tool_request **list)
{
	struct tool_request *request, *next;

	DL_FOREACH_SAFE(*list, request, next)
	{
		DL_DELETE(*list, request);
		free(request);
	}
}
