/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See call_resume.h. What was being generated when a connection ended is never continued by the service, so the model is asked:
 * to go on where it was cut off, or to answer what it has not answered. An answer that was complete is not asked for again.
 */
#include "call_resume.h"

#include "../shared/log.h"
#include "call.h"
#include "call_message.h"
#include "call_report.h"
#include "gemini_message.h"
#include "stats.h"

#define SPOKE_MS   300u	 /* so much of the caller's voice was kept that the service will hear him */
#define UNTAKEN_MS 5000u /* of an answer that is owed: within 1.3 s of the caller's words a service shows that it heard them */

void call_resume_gap(struct call *call, uint64_t now_ms)
{
	if (call->gap_ms == 0)
		call->gap_ms = now_ms;
	/* What the gap before has kept may not be sent yet; its question may have been answered. */
	if (uplink_behind_us(&call->uplink) >= SPOKE_MS * 1000) {
		call->owed = call->owed && call->session.asked;
		return;
	}
	call->kept_ms = now_ms;
	call->again = false;
	call->owed = call->session.asked;
}

void call_resume_taken(struct call *call, uint64_t now_ms)
{
	call->taken_ms = now_ms;
	call->again_ms = 0;
	uplink_heard(&call->uplink, now_ms);
}

/*
 * The caller has asked, and the service has shown nothing since: not that he speaks, nor his words, nor any of its own. Not by its pongs: a session that is
 * mute has them, and a proxy before a service that stands still acknowledges whatever is sent.
 */
static bool took_none(const struct call *call, uint64_t now_ms)
{
	uint64_t since_ms = call->session.asked_ms > call->uplink.unheard_ms ? call->session.asked_ms : call->uplink.unheard_ms;

	return call->session.asked && call->reading && call->uplink.unheard_ms != 0 && call->voice.spoke_ms > call->taken_ms &&
	       now_ms >= since_ms + UNTAKEN_MS;
}

uint64_t call_resume_take_back(struct call *call, bool dead, uint64_t now_ms)
{
	bool all = took_none(call, now_ms);

	return all || dead ? uplink_send_again(&call->uplink, all, &call->worker->stats) : 0;
}

void call_resume_again(struct call *call, uint64_t since_ms)
{
	/* Said for the second time into such a connection, it is still the question and not one before it. */
	if (call->again_ms == 0)
		call->again_ms = since_ms;
	call->owed = call->session.asked && call->session.asked_ms < call->again_ms;
	call->again = true;
	call->kept_ms = since_ms;
	if (call->gap_ms > since_ms)
		call->gap_ms = since_ms;
	/* What the filter remembers of the old connection was the end of this. */
	if (call->up_resampler != NULL)
		vl_resampler_reset(call->up_resampler);
}

void call_resume_cut(struct call *call)
{
	if (!call->downlink.complete && (call->downlink.speaking || call->downlink.queue.len > 0))
		call->cut = true;
	downlink_turn_complete(&call->downlink);
	call_report_turn_text(call);
	history_end_turn(&call->history);
}

bool call_resume_seeds(const struct call *call)
{
	return !call->session.resumed && call->session.has_talked && !history_is_empty(&call->history);
}

/* The caller's audio has somewhere to go again. */
static void end_gap(struct call *call, const char *how, uint64_t now_ms)
{
	uint64_t gap_ms = now_ms - call->gap_ms, discarded_ms = call->uplink.discarded / UPLINK_SAMPLES_PER_MS;
	cJSON *body = cJSON_CreateObject();

	call->gap_ms = 0;
	vl_histogram_add(&call->worker->stats.gap_ms, gap_ms);
	cJSON_AddNumberToObject(body, "gap_ms", (double)gap_ms);
	cJSON_AddNumberToObject(body, "discarded_ms", (double)discarded_ms);
	cJSON_AddStringToObject(body, "how", how);
	call_report_members(call, "resumed", body);
	vl_log_info("call %s user %s: %s after %llu ms without a session, %llu ms of the caller's audio discarded", call->uuid,
		call->user->name, how, (unsigned long long)gap_ms, (unsigned long long)discarded_ms);
}

/* Ask for what is owed on a session that knows the conversation. */
static void ask(struct call *call, enum history_owed owed)
{
	char text[HISTORY_TAIL_MAX + 256];

	/* Nobody has said anything yet: what is owed is the greeting. */
	if (history_is_empty(&call->history) && call->user->greeting != NULL)
		call_send_control(call, gemini_build_text(users_model(call->user), call->user->greeting));
	else
		call_send_control(call,
			gemini_build_text(users_model(call->user), history_request(&call->history, owed, text, sizeof(text))));
}

/* Returns how the session is a continuation of the one before. */
static const char *continue_conversation(struct call *call, enum history_owed owed)
{
	const char *model = users_model(call->user);
	char *seed = call_resume_seeds(call) ? history_seed(&call->history, model, owed) : NULL;

	if (seed != NULL) {
		call_send_control(call, seed);
		if (owed != HISTORY_NOTHING && (gemini_model_features(model) & GEMINI_FEATURE_HISTORY))
			ask(call, owed);
		return "reseeded";
	}
	if (owed != HISTORY_NOTHING)
		ask(call, owed);
	return call->session.resumed ? "resumed" : "fresh";
}

/*
 * What the model must be asked for. Not for what the caller has said in the gap: that is sent as he said it, and asks by itself,
 * also instead of the rest of an answer.
 */
static enum history_owed what_is_owed(const struct call *call, bool told, uint64_t now_ms)
{
	uint64_t kept_ms = call->kept_ms + UPLINK_BACKLOG_MS < now_ms ? now_ms - UPLINK_BACKLOG_MS : call->kept_ms;
	bool since = call->session.asked && !call->owed; /* asked since then */

	if (call->gap_ms == 0 || (since && (call->again || call->voice.spoke_ms >= kept_ms + SPOKE_MS)))
		return HISTORY_NOTHING;
	/* The model goes on from the function's result. */
	if (told && (since || !call->cut))
		return HISTORY_NOTHING;
	return call->cut ? HISTORY_REST : call->session.asked ? HISTORY_ANSWER : HISTORY_NOTHING;
}

void call_resume_ready(struct call *call, bool told, uint64_t now_ms)
{
	const uint32_t *took_ms = call->session.took_ms;
	enum history_owed owed = what_is_owed(call, told, now_ms);

	vl_log_info("call %s user %s: ready%s; turn %u, name %u, TCP %u, TLS %u, upgrade %u, setup %u ms", call->uuid,
		call->user->name, call->session.resumed ? " (resumed)" : "", took_ms[SESSION_PHASE_TURN],
		took_ms[SESSION_PHASE_DNS], took_ms[SESSION_PHASE_TCP], took_ms[SESSION_PHASE_TLS],
		took_ms[SESSION_PHASE_UPGRADE], took_ms[SESSION_PHASE_SETUP]);
	/* What the old connection knew of the caller's voice is gone with it. */
	call_update_busy(call, now_ms);
	call->cut = false;
	if (call->gap_ms != 0)
		end_gap(call, continue_conversation(call, owed), now_ms);
	call->uplink.discarded = 0;
	if (owed != HISTORY_NOTHING || call->session.asked)
		call_asked(call, now_ms);
}

void call_resume_nudge(struct call *call)
{
	vl_log_info("call %s user %s: no answer, the model is reminded", call->uuid, call->user->name);
	call_send_control(call, gemini_build_text(users_model(call->user),
					"The caller waits for your answer. Answer what the caller said last."));
}

void call_resume_give_up(struct call *call, uint64_t now_ms)
{
	uint64_t waited_ms = now_ms - call->session.asked_ms;

	/* It has been said as often as it will be. */
	call_resume_taken(call, now_ms);
	stats_add(&call->worker->stats.unanswered, 1);
	vl_log_warning("call %s user %s: the model has not answered for %llu ms, whatever was tried", call->uuid,
		call->user->name, (unsigned long long)waited_ms);
	call_report_event(call, "no_answer", "waited_ms", cJSON_CreateNumber((double)waited_ms));
}
