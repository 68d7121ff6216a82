/* SPDX-License-Identifier: Apache-2.0 */
/* See call_credential.h. */
#include "call_credential.h"

#include <stdio.h>

#include "call.h"
#include "call_message.h"
#include "token_source.h"

#define WAIT_MS 2900u /* less than the session gives to the name: its reason is the better one */

bool call_credential_ready(struct call *call, uint64_t now_ms)
{
	struct token_source *tokens = call->worker->tokens;
	const struct service_account *account = call->user->account;
	const char *trouble;
	char reason[512];
	uint64_t issued_ms;

	if (account == NULL || token_source_get(tokens, account, &issued_ms) != NULL) {
		call->credential_wait_ms = 0;
		return true;
	}
	if (call->credential_wait_ms == 0)
		call->credential_wait_ms = now_ms;
	trouble = token_source_trouble(tokens, account);
	if (trouble == NULL && now_ms - call->credential_wait_ms < WAIT_MS)
		return false;
	call->credential_wait_ms = 0;
	snprintf(reason, sizeof(reason), "no access token for %s: %s", account->email,
		trouble != NULL ? trouble : "its token endpoint has not answered yet");
	call_lost(call, 1006, 0, reason, now_ms);
	return false;
}

const char *call_credential(struct call *call)
{
	const struct service_account *account = call->user->account;

	if (account == NULL)
		return call->user->api_key;
	return token_source_get(call->worker->tokens, account, &call->token_issued_ms);
}

bool call_credential_rejected(struct call *call, int http_status, uint64_t now_ms)
{
	if (http_status != 401 || call->user->account == NULL || call->session.state != SESSION_DIALLING || call->token_retried)
		return false;
	if (!token_source_rejected(call->worker->tokens, call->user->account, call->token_issued_ms))
		return false;
	call->token_retried = true;
	call->credential_wait_ms = now_ms;
	return true;
}
