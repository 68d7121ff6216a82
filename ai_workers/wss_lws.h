/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What wss.c and https.c, the two files that know libwebsockets, share: one context with one list of protocols.
 */
#pragma once

#include <libwebsockets.h>

#include "wss.h"

#define HTTPS_PROTOCOL "https-post"

/*
 * First member of what libwebsockets keeps for us: it tells the end of every connection to the first protocol of its list, whichever the connection has.
 */
enum wss_user { WSS_USER_LIVE, WSS_USER_HTTPS };

/* https.c: events of HTTP connections. */
int https_on_event(struct lws *wsi, enum lws_callback_reasons event, void *user, void *in, size_t len);

/* wss.c: the context, and a connection's validity policy. */
struct lws_context *wss_context(const struct wss *wss);
extern const lws_retry_bo_t wss_no_validity_checks;

/* wss.c: why the handshake that has just failed refused the certificate, or NULL; once. */
const char *wss_certificate_error(void);
