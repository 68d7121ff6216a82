/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See call_turn.h. What only the worker can tell the model is said here and nowhere else, in words.
 */
#include "call_turn.h"

#include "../shared/g711.h"
#include "../shared/log.h"
#include "call.h"
#include "call_message.h"
#include "call_report.h"
#include "stats.h"

/* For a model that was cut off by nobody. */
#define REMINDER "Nobody interrupted you. Go on where you were cut off."

#define PAYLOAD_MAX 960u /* samples of a payload that are listened to: 120 ms */

void call_turn_init(struct call *call)
{
	voice_activity_init(&call->voice);
	turn_init(&call->turn, call->user->local_barge_in);
	call->downlink.keeps = call->turn.local;
}

/* What is due into the ring, and visible at once. */
static void play_now(struct call *call, uint64_t now_ms)
{
	call_play(call, now_ms);
	if (call->attached)
		vl_ring_publish(&call->worker->channel.down[call->lcore]);
}

static void pause_model(struct call *call, uint64_t now_ms)
{
	if (!downlink_pause(&call->downlink, now_ms))
		return;
	stats_add(&call->worker->stats.local_pauses, 1);
	voice_activity_flushed(&call->voice, now_ms);
	play_now(call, now_ms);
}

static void resume_model(struct call *call, uint64_t now_ms)
{
	stats_add(&call->worker->stats.local_undone, 1);
	downlink_resume(&call->downlink);
	play_now(call, now_ms);
}

void call_turn_cut(struct call *call, uint64_t now_ms)
{
	stats_add(&call->worker->stats.interruptions, 1);
	downlink_interrupted(&call->downlink, now_ms, &call->worker->stats);
	voice_activity_flushed(&call->voice, now_ms);
	call->latency.audio_tsc = 0;
	/* At once, not with the next tick: the caller is talking. */
	play_now(call, now_ms);
}

/* The data plane has a clock of its own. */
static void add_ago(cJSON *turn, const char *name, uint64_t at_ms, uint64_t now_ms)
{
	if (at_ms != 0)
		cJSON_AddNumberToObject(turn, name, (double)(now_ms - at_ms));
}

static void add_ms(cJSON *turn, const char *name, uint64_t from_ms, uint64_t to_ms)
{
	if (from_ms != 0 && to_ms >= from_ms)
		cJSON_AddNumberToObject(turn, name, (double)(to_ms - from_ms));
}

static void report(struct call *call, const struct turn_numbers *n, uint64_t now_ms)
{
	cJSON *turn = cJSON_CreateObject();

	cJSON_AddNumberToObject(turn, "number", n->number);
	add_ago(turn, "caller_from_ms_ago", n->caller_from_ms, now_ms);
	add_ago(turn, "caller_to_ms_ago", n->caller_to_ms, now_ms);
	add_ms(turn, "model_ms", n->asked_ms, n->audio_ms);
	add_ms(turn, "response_ms", n->asked_ms, n->frame_ms);
	if (n->frame_ms != 0) {
		add_ago(turn, "model_from_ms_ago", n->frame_ms, now_ms);
		add_ago(turn, "model_to_ms_ago", n->end_ms, now_ms);
		cJSON_AddNumberToObject(turn, "spoken_ms", call->downlink.played_ms);
		cJSON_AddNumberToObject(turn, "underruns", call->downlink.underruns);
	}
	cJSON_AddBoolToObject(turn, "interrupted", n->interrupted);
	cJSON_AddBoolToObject(turn, "phantom", n->phantom);
	call_report_event(call, "turn", "turn", turn);
}

static void remind(struct call *call)
{
	if (call->connection == NULL)
		return;
	stats_add(&call->worker->stats.reminders, 1);
	vl_log_info("call %s user %s: cut off by nobody, the model is asked to go on", call->uuid, call->user->name);
	call_send_control(call, gemini_build_text(users_model(call->user), REMINDER));
}

/* The order matters: what was heard of a turn is reported before it is dropped, and asked for again after it. */
static void carry_out(struct call *call, uint32_t actions, uint64_t now_ms)
{
	struct worker *worker = call->worker;

	if (actions & TURN_DO_RESPONSE)
		vl_histogram_add(&worker->stats.response_ms, call->turn.now.frame_ms - call->turn.now.asked_ms);
	if (actions & TURN_DO_PHANTOM) {
		stats_add(&worker->stats.phantoms, 1);
		call_report_event(call, "phantom_interruption", NULL, NULL);
	}
	if (actions & TURN_DO_FALSE_ALARM)
		voice_activity_false_alarm(&call->voice);
	for (unsigned int i = 0; i < call->turn.ended_count && (actions & TURN_DO_REPORT) != 0; i++)
		report(call, &call->turn.ended[i], now_ms);
	if (actions & TURN_DO_PAUSE)
		pause_model(call, now_ms);
	if (actions & TURN_DO_RESUME)
		resume_model(call, now_ms);
	if (actions & TURN_DO_CUT) {
		call_turn_cut(call, now_ms);
		/* The service is done with this turn: what comes now is of the next. */
		call->downlink.muted_until_ms = 0;
		call_report_event(call, "interrupted", NULL, NULL);
	}
	if (actions & TURN_DO_HUSH)
		call->caller_speaks = false;
	if (actions & TURN_DO_REMIND)
		remind(call);
	if (actions & TURN_DO_ASKED)
		call_asked(call, now_ms);
	if (actions & TURN_DO_ANSWERED)
		call_step(call, &(struct session_event){.type = SESSION_ANSWERED}, now_ms);
	if (actions & TURN_DO_EXCUSED)
		call_step(call, &(struct session_event){.type = SESSION_TURN_OVER}, now_ms);
	if (actions & (TURN_DO_CUT | TURN_DO_HUSH))
		call_update_busy(call, now_ms);
}

static void step(struct call *call, struct turn_event event, uint64_t now_ms)
{
	event.spoke_ms = call->voice.spoke_ms;
	event.began_ms = call->voice.began_ms;
	carry_out(call, turn_step(&call->turn, &event, now_ms), now_ms);
}

void call_turn(struct call *call, enum turn_event_type type, uint64_t now_ms)
{
	step(call, (struct turn_event){.type = type}, now_ms);
}

void call_turn_message(struct call *call, const struct gemini_message *m, uint64_t now_ms)
{
	if (m->members & GEMINI_CALLER_TEXT)
		call_turn(call, TURN_CALLER_TEXT, now_ms);
	if (m->members & GEMINI_TOOL_CALL)
		call_turn(call, TURN_TOOL_CALL, now_ms);
	if (m->members & GEMINI_GENERATION_COMPLETE)
		call_turn(call, TURN_GENERATED, now_ms);
	if (m->members & GEMINI_TURN_COMPLETE)
		step(call, (struct turn_event){.type = TURN_COMPLETE, .in_progress = m->in_progress}, now_ms);
	if (m->members & GEMINI_WAITING)
		call_turn(call, TURN_WAITING, now_ms);
	if (m->members & GEMINI_VOICE_START)
		call_turn(call, TURN_SERVICE_STARTED, now_ms);
	if (m->members & GEMINI_VOICE_END)
		call_turn(call, TURN_SERVICE_STOPPED, now_ms);
}

void call_turn_audio_comes(struct call *call, uint64_t now_ms)
{
	const struct downlink *d = &call->downlink;

	/* Late audio of an interrupted turn is not heard. */
	if (now_ms < d->muted_until_ms)
		return;
	if (d->complete && (d->speaking || d->queue.len > 0) && !d->next) {
		call_turn(call, TURN_FOLLOWED, now_ms);
		if (d->queue.len == 0)
			call_turn(call, TURN_PASSED, now_ms);
	}
	call_turn(call, TURN_AUDIO, now_ms);
}

static void on_voice(struct call *call, enum voice_event event, uint64_t now_ms)
{
	if (event == VOICE_STARTED)
		call_turn(call, TURN_CALLER_STARTED, now_ms);
	else if (event == VOICE_ENDED)
		step(call, (struct turn_event){.type = TURN_CALLER_STOPPED, .voiced_ms = call->voice.voiced_ms}, now_ms);
}

void call_turn_heard(struct call *call, const struct vl_record *record, const uint8_t *payload, uint64_t now_ms)
{
	size_t samples = record->len < PAYLOAD_MAX ? record->len : PAYLOAD_MAX;
	int16_t pcm[PAYLOAD_MAX];

	if (call->uplink.held || record->payload_type != call->uplink.config.payload_type)
		return;
	vl_g711_decode(call->downlink.law, payload, pcm, samples);
	on_voice(call, voice_activity_heard(&call->voice, pcm, samples, now_ms), now_ms);
}

void call_turn_played(struct call *call, const uint8_t *frame, uint64_t now_ms)
{
	int16_t pcm[DOWNLINK_FRAME];

	vl_g711_decode(call->downlink.law, frame, pcm, DOWNLINK_FRAME);
	voice_activity_played(&call->voice, pcm, DOWNLINK_FRAME, call->downlink.play_end_ms - DOWNLINK_FRAME_MS);
	/* The end of a turn that has been reported may be played again behind a pause; that begins nothing. */
	if (call->downlink.played_ms == DOWNLINK_FRAME_MS && call->downlink.next == call->turn.followed)
		call_turn(call, TURN_FRAME, now_ms);
	if (downlink_passed(&call->downlink))
		call_turn(call, TURN_PASSED, now_ms);
}

/* The model's voice has stopped in its middle. While a function works the model may wait for it. */
static void notice_stall(struct call *call, uint64_t now_ms)
{
	bool owed = call->turn.owed;

	if (!call->turn.ready || call->tools.open > 0 || !downlink_stalled(&call->downlink, now_ms))
		return;
	call_turn(call, TURN_STALLED, now_ms);
	call_update_busy(call, now_ms);
	if (call->turn.owed && !owed)
		vl_log_info("call %s user %s: the model has stopped in its answer", call->uuid, call->user->name);
}

void call_turn_tick(struct call *call, uint64_t now_ms)
{
	bool ready = call->session.state == SESSION_READY;

	if (ready != call->turn.ready)
		call_turn(call, ready ? TURN_READY : TURN_GONE, now_ms);
	if (call->uplink.held != call->turn.held)
		call_turn(call, call->turn.held ? TURN_BACK : TURN_HELD, now_ms);
	notice_stall(call, now_ms);
	on_voice(call, voice_activity_tick(&call->voice, now_ms), now_ms);
	call_turn(call, TURN_TICK, now_ms);
}
