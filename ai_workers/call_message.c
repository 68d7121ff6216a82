/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Acts on server messages, see call_message.h. One message can carry several members; `interrupted` comes first, because audio
 * next to it is of the cut turn, and the ends of generation and turn come after the audio.
 */
#include "call_message.h"

#include "../shared/clock.h"
#include "../shared/log.h"
#include "call.h"
#include "call_dtmf.h"
#include "call_gate.h"
#include "call_latency.h"
#include "call_report.h"
#include "call_resume.h"
#include "call_tools.h"
#include "call_turn.h"
#include "gemini_message.h"
#include "stats.h"

/* Of a service that takes what is said to it. Not `{}`, usage, handles, goAway: those come from one whose model hears nothing, too. */
#define SHOWS_HEARING                                                                                                        \
	(GEMINI_INTERRUPTED | GEMINI_AUDIO | GEMINI_CALLER_TEXT | GEMINI_MODEL_TEXT | GEMINI_GENERATION_COMPLETE |           \
		GEMINI_TURN_COMPLETE | GEMINI_TOOL_CALL | GEMINI_TOOL_CANCELLATION | GEMINI_VOICE_START | GEMINI_VOICE_END | \
		GEMINI_WAITING)

/* The greeting: something for the model to answer to. */
static void ask(struct call *call, uint64_t now_ms)
{
	call_send_control(call, gemini_build_text(users_model(call->user), call->user->greeting));
	call_turn(call, TURN_ASKED, now_ms);
}

static void on_setup_complete(struct call *call, uint64_t now_ms)
{
	bool told;

	if (call->session.state != SESSION_SETUP)
		return;
	vl_histogram_add(&call->worker->stats.dial_us, vl_clock_us() - call->dial_us);
	gate_worked(&call->worker->gate, &call->ticket, now_ms);
	call_step(call, &(struct session_event){.type = SESSION_SETUP_COMPLETE}, now_ms);
	told = call_tools_ready(call, call->session.resumed, now_ms);
	told = call_dtmf_ready(call, call->session.resumed, now_ms) || told;
	call_resume_ready(call, told, now_ms);
	uplink_ready(&call->uplink);
	if (!call->greeted && call->user->greeting != NULL && !call->session.resumed)
		ask(call, now_ms);
	call->greeted = true;
}

static void on_interrupted(struct call *call, uint64_t now_ms)
{
	call->latency.cut_tsc = call_latency_read_tsc(call->worker);
	call_turn_cut(call, now_ms);
	/* Our own ears were quicker: nothing is left to flush. */
	if (!call->downlink.flush_due)
		call->latency.cut_tsc = 0;
	history_end_turn(&call->history);
	call_tools_caller(call, now_ms);
	call_report_turn_text(call);
	call_report_event(call, "interrupted", NULL, NULL);
	call_turn(call, TURN_INTERRUPTED, now_ms);
	call_update_busy(call, now_ms);
}

static void on_text(struct call *call, const struct gemini_message *m)
{
	if (m->members & GEMINI_CALLER_TEXT) {
		call_report_text(call, &call->caller_text, m->caller_text);
		history_say(&call->history, HISTORY_CALLER, m->caller_text);
	}
	if (m->members & GEMINI_MODEL_TEXT) {
		call_report_text(call, &call->model_text, m->model_text);
		history_say(&call->history, HISTORY_MODEL, m->model_text);
	}
}

static void on_audio(struct call *call, const struct gemini_message *m, uint64_t now_ms)
{
	struct worker *worker = call->worker;

	bool first = call_latency_is_first(call);

	call_turn_audio_comes(call, now_ms);
	for (uint32_t i = 0; i < m->audio_count; i++)
		if (downlink_audio(&call->downlink, m->audio[i].base64, m->audio[i].len, now_ms, &worker->stats) != 0) {
			stats_add(&worker->stats.messages_bad, 1);
			vl_log_warning("call %s user %s: audio that cannot be taken", call->uuid, call->user->name);
		}
	if (first)
		call->latency.audio_tsc = call_latency_read_tsc(worker);
	call_play(call, now_ms);
	if (call->attached)
		vl_ring_publish(&worker->channel.down[call->lcore]);
	call_update_busy(call, now_ms);
	/* What is dropped behind `interrupted` is no answer. */
	if (call->session.busy)
		call_step(call, &(struct session_event){.type = SESSION_ANSWERED}, now_ms);
}

static void on_turn(struct call *call, const struct gemini_message *m, uint64_t now_ms)
{
	if (m->members & GEMINI_GENERATION_COMPLETE) {
		downlink_generation_complete(&call->downlink);
		call_report_event(call, "generation_complete", NULL, NULL);
	}
	if (m->members & GEMINI_TURN_COMPLETE) {
		stats_add(&call->worker->stats.turns, 1);
		downlink_turn_complete(&call->downlink);
		call_report_turn_text(call);
		history_end_turn(&call->history);
		call_report_event(call, "turn_complete", m->turn_reason != NULL ? "reason" : NULL,
			m->turn_reason != NULL ? cJSON_CreateString(m->turn_reason) : NULL);
	}
	call_play(call, now_ms);
	if (m->members & GEMINI_TURN_COMPLETE)
		call_step(call, &(struct session_event){.type = SESSION_TURN_OVER}, now_ms);
}

static void on_session(struct call *call, const struct gemini_message *m, uint64_t now_ms)
{
	if (m->members & GEMINI_RESUMPTION)
		call_step(call, &(struct session_event){.type = SESSION_HANDLE, .handle = m->handle, .resumable = m->resumable},
			now_ms);
	if (m->members & (GEMINI_VOICE_START | GEMINI_VOICE_END)) {
		call->caller_speaks = (m->members & GEMINI_VOICE_START) != 0;
		if (call->caller_speaks)
			call_tools_caller(call, now_ms);
		/* Before the quiet that it ends with: no rotation may come between the question and its answer. */
		if (!call->caller_speaks)
			call_step(call, &(struct session_event){.type = SESSION_ASKED}, now_ms);
		call_update_busy(call, now_ms);
	}
	if (m->members & GEMINI_GO_AWAY) {
		uint32_t left_ms = m->time_left_ms != GEMINI_TIME_UNSAID ? m->time_left_ms : SESSION_GO_AWAY_MS;

		vl_log_info("call %s user %s: the service will close in %u ms", call->uuid, call->user->name, left_ms);
		call_report_event(call, "go_away", "time_left_ms", cJSON_CreateNumber(left_ms));
		call_step(call, &(struct session_event){.type = SESSION_GO_AWAY, .time_left_ms = m->time_left_ms}, now_ms);
	}
}

/* An error inside a message ends the session as a close does, and what a retry cannot mend is not retried. */
static void on_error(struct call *call, const struct gemini_message *m, uint64_t now_ms)
{
	stats_add(&call->worker->stats.sockets_failed, 1);
	vl_log_warning(
		"call %s user %s: the service says: error %d: %s", call->uuid, call->user->name, m->error_code, m->error_message);
	call_report_closed(call, 1011, m->error_code, m->error_message);
	call_gate_lost(call, 1011, m->error_code, m->error_message, now_ms);
	call_step(call, &(struct session_event){.type = SESSION_ERROR, .http_status = m->error_code, .reason = m->error_message},
		now_ms);
}

static void act(struct call *call, const struct gemini_message *m, uint64_t now_ms)
{
	if (m->members & SHOWS_HEARING)
		call_resume_taken(call, now_ms);
	if (m->members & GEMINI_SETUP_COMPLETE)
		on_setup_complete(call, now_ms);
	/* Before setupComplete nothing else is expected; after the end of the session nothing counts. */
	if (call->session.state == SESSION_READY || call->session.state == SESSION_CLOSING) {
		if (m->members & GEMINI_INTERRUPTED)
			on_interrupted(call, now_ms);
		if (m->members & (GEMINI_CALLER_TEXT | GEMINI_MODEL_TEXT))
			on_text(call, m);
		if (m->members & GEMINI_AUDIO)
			on_audio(call, m, now_ms);
		if (m->members & (GEMINI_AUDIO | GEMINI_GENERATION_COMPLETE | GEMINI_TURN_COMPLETE))
			call_tools_heard(call, (m->members & GEMINI_AUDIO) != 0, now_ms);
		if (m->members & (GEMINI_AUDIO | GEMINI_GENERATION_COMPLETE | GEMINI_TURN_COMPLETE | GEMINI_TOOL_CALL))
			dtmf_answered(&call->dtmf, now_ms);
		if (m->members & (GEMINI_GENERATION_COMPLETE | GEMINI_TURN_COMPLETE))
			on_turn(call, m, now_ms);
		if (m->members & GEMINI_TOOL_CANCELLATION)
			call_tools_cancelled(call, m->tool_cancels);
		if (m->members & GEMINI_TOOL_CALL)
			call_tools_asked(call, m->tool_calls, now_ms);
		if (m->members & GEMINI_USAGE)
			call_report_event(call, "usage", "usage", cJSON_Duplicate(m->usage, true));
		on_session(call, m, now_ms);
		call_turn_message(call, m, now_ms);
	}
	if (m->members & GEMINI_ERROR)
		on_error(call, m, now_ms);
}

void call_message(struct call *call, char *text, size_t len, uint64_t now_ms)
{
	struct worker *worker = call->worker;
	struct gemini_message message;

	stats_add(&worker->stats.messages_in, 1);
	stats_add(&worker->stats.bytes_in, len);
	if (gemini_message_read(&message, text, len) != 0) {
		stats_add(&worker->stats.messages_bad, 1);
		vl_log_warning("call %s user %s: a message of %zu bytes that cannot be read", call->uuid, call->user->name, len);
		return;
	}
	act(call, &message, now_ms);
	gemini_message_clear(&message);
}
