/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions that the model of one call asked the platform for, and whether their results are still wanted: so that a result
 * can be refused with the reason at once, though it is the worker that keeps the books. Pure. Control thread only.
 */
#pragma once

#include <stdbool.h>

#define TOOL_REQUEST_ID_SIZE 65
#define TOOL_REQUESTS_MAX    64u /* remembered of one call */
#define TOOL_RESULT_SIZE_MAX 8192u

enum tool_request_state {
	TOOL_REQUEST_OPEN,
	TOOL_REQUEST_ANSWERED,
	TOOL_REQUEST_CANCELLED,
	TOOL_REQUEST_EXPIRED,
	TOOL_REQUEST_LOST,
};

struct tool_request {
	struct tool_request *prev, *next;
	char id[TOOL_REQUEST_ID_SIZE];
	enum tool_request_state state;
};

/*
 * The worker asks for `id`. Returns 0: new; -EALREADY: it was asked for and is open or answered (a worker whose data plane went away
 * asks again); -ENOMEM. The oldest one that is not open makes room.
 */
int tool_requests_open(struct tool_request **list, const char *id);

/* The request with this id, NULL when there is none. */
struct tool_request *tool_requests_find(struct tool_request *list, const char *id);

/* The first one that is open, NULL when there is none. */
struct tool_request *tool_requests_first_open(struct tool_request *list);

/*
 * The worker is gone, and `list` has no open request any more. Another one counts its ids from the beginning, so those that were answered
 * may be asked for again.
 */
void tool_requests_lost(struct tool_request *list);

/* Free all. */
void tool_requests_free(struct tool_request **list);
