/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTPS POST at a time to a place of its own, on the worker's loop and with the same verified TLS as the websockets (wss.h). Nothing is reused and no redirect is
 * followed: the body is a credential. Request and answer are overwritten before they are freed.
 */
#pragma once

#include <stddef.h>

#include "wss.h"

struct https_request;

/*
 * The answer, once, from the event loop; `text` is gone after the return. `status` 0: there is none, and `reason` says why. The request is gone after the return.
 */
typedef void https_done(void *owner, int status, const char *text, size_t len, const char *reason);

/*
 * POST `body` (a form) to `to`; an answer of more than `answer_max` bytes is none. Worker loop. `to` and `body` are borrowed for the call. Returns the request, or NULL
 * when it could not even be started; then nothing is reported. There is no deadline but https_cancel().
 */
struct https_request *https_post(
	struct wss *wss, const struct wss_config *to, const char *body, size_t answer_max, https_done *done, void *owner);

/* Nothing is reported any more. Worker loop. NULL is legal. */
void https_cancel(struct https_request *request);
