/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a call shows the service: its user's API key, or with Vertex AI the access token of the user's service account, for which a dial may have to wait.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct call;

/*
 * Whether the call may dial now. Without a token it waits, for part of the dial's deadline; when that is over, or the token endpoint has refused, the dial is
 * lost: call_lost() has been called. Worker loop.
 */
bool call_credential_ready(struct call *call, uint64_t now_ms);

/* For wss_dial(), after call_credential_ready(). Worker loop. */
const char *call_credential(struct call *call);

/*
 * The upgrade was refused with `http_status`. Worker loop. Returns whether it was for a token that can be replaced: then the dial goes on, once, as soon as there is another
 * one.
 */
bool call_credential_rejected(struct call *call, int http_status, uint64_t now_ms);
