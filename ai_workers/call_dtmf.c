/* SPDX-License-Identifier: Apache-2.0 */
/* See call_dtmf.h; what is a key is decided in dtmf.h. */
#include "call_dtmf.h"

#include "call.h"
#include "call_message.h"
#include "call_report.h"
#include "call_turn.h"
#include "gemini_message.h"

static void report(struct call *call)
{
	struct dtmf_digit digit;

	while (dtmf_next(&call->dtmf, &digit)) {
		char text[2] = {digit.digit, '\0'};
		cJSON *body = cJSON_CreateObject();

		cJSON_AddStringToObject(body, "digit", text);
		cJSON_AddNumberToObject(body, "duration_ms", digit.duration_ms);
		call_report_members(call, "dtmf", body);
	}
}

/* No log line may say what it is. */
static void tell(struct call *call, const char *text)
{
	call_send_control(call, gemini_build_text(users_model(call->user), text));
	dtmf_told(&call->dtmf, call->control_queued);
}

void call_dtmf_heard(struct call *call, const struct vl_record *record, const uint8_t *payload, uint64_t now_ms)
{
	uint8_t payload_type = call->uplink.config.event_payload_type;

	if (payload_type == 0 || record->payload_type != payload_type)
		return;
	dtmf_packet(&call->dtmf, payload, record->len, record->timestamp, now_ms);
	report(call);
}

void call_dtmf_tick(struct call *call, uint64_t now_ms)
{
	char text[DTMF_TEXT_SIZE];

	dtmf_tick(&call->dtmf, now_ms);
	report(call);
	if (call->session.state != SESSION_READY || call->connection == NULL || !dtmf_text(&call->dtmf, text, now_ms))
		return;
	if (!call->user->dtmf_to_model) {
		dtmf_forget(&call->dtmf);
		return;
	}
	tell(call, text);
	/* As something the caller has said: asked again after a lost connection, known to a new session. */
	history_end_turn(&call->history);
	history_say(&call->history, HISTORY_CALLER, text);
	history_end_turn(&call->history);
	call_turn(call, TURN_ASKED, now_ms);
}

bool call_dtmf_ready(struct call *call, bool resumed, uint64_t now_ms)
{
	char text[DTMF_TEXT_SIZE];

	if (!dtmf_text_again(&call->dtmf, text))
		return false;
	if (resumed) {
		tell(call, text);
	} else {
		/* The history tells the new session, in its first message; the caller waits for what it says to that. */
		dtmf_told(&call->dtmf, call->control_queued + 1);
		call->owed = true;
	}
	call_turn(call, TURN_ASKED, now_ms);
	return resumed;
}
