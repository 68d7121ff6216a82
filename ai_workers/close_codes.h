/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the end of a Gemini Live connection means for the call: a table of close codes with the beginnings of their reasons, as
 * the service sends them, and of HTTP statuses of a refused upgrade. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum close_class {
	CLOSE_RESUME,	     /* passing trouble: continue with the handle, first try at once */
	CLOSE_FRESH,	     /* the handle is dead: a new session, at once */
	CLOSE_ONCE,	     /* may be the context or the model: one new session without the handle, then give up */
	CLOSE_THROTTLED,     /* too much for the project: wait long */
	CLOSE_FATAL_KEY,     /* this user's key is refused */
	CLOSE_FATAL_PROJECT, /* billing, location, access: an operator must act */
	CLOSE_FATAL_CONFIG,  /* model, voice or feature that the service does not know */
	CLOSE_OUR_BUG,	     /* we sent something malformed */
};

/*
 * The class of a websocket close; `reason` need not be terminated. 1006 with an empty reason stands for a connection that just
 * ended. Any.
 */
enum close_class close_classify(uint16_t code, const char *reason, size_t len);

/* The class of an upgrade that was answered with HTTP `status`, or 0 when there was no answer at all. Any. */
enum close_class close_classify_http(int status);

/* "resume", "fatal-key", ... for logs and the link. Any. */
const char *close_class_name(enum close_class class);
