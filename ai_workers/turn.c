/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of turn.h.
 */
#include "turn.h"

void turn_init(struct turn *t, bool local)
{
	*t = (struct turn){.local = local};
}

/* Whose audio comes. */
static struct turn_numbers *newest(struct turn *t)
{
	return t->followed ? &t->next : &t->now;
}

/* The model says something, or has something to say. */
static bool model_busy(struct turn *t)
{
	return t->model_speaks || (newest(t)->audio_ms != 0 && !t->generated);
}

/* The turn that is played is over, and the one behind it, if any, begins. */
static uint32_t end_first(struct turn *t, uint64_t now_ms)
{
	struct turn_numbers *ended = &t->ended[t->ended_count++];

	*ended = t->now;
	ended->number = ++t->count;
	ended->end_ms = now_ms;
	t->now = t->next;
	t->next = (struct turn_numbers){0};
	t->followed = false;
	return TURN_DO_REPORT;
}

static uint32_t end_turn(struct turn *t, uint64_t now_ms)
{
	if (t->followed)
		end_first(t, now_ms);
	t->model_speaks = t->generated = t->over = false;
	return end_first(t, now_ms);
}

/* On hold nobody waits; asked again when the caller is back. */
static uint32_t owe(struct turn *t)
{
	t->owed = true;
	return t->held ? TURN_DO_EXCUSED : TURN_DO_ASKED;
}

static uint32_t undo_pause(struct turn *t)
{
	bool paused = t->paused;

	t->paused = false;
	t->alarm_ms = 0;
	return paused ? TURN_DO_RESUME : 0;
}

/* The service has heard the caller, and believes that the answer had been heard before: it will not say `interrupted`. */
static uint32_t cut(struct turn *t, uint64_t now_ms)
{
	t->paused = false;
	t->alarm_ms = 0;
	t->now.interrupted = true;
	t->next.interrupted = t->followed;
	return TURN_DO_CUT | end_turn(t, now_ms);
}

static uint32_t on_caller_started(struct turn *t, uint64_t began_ms, uint64_t now_ms)
{
	t->caller_speaks = true;
	/* What is said into an answer that goes on is not the next question. */
	if (t->began_ms == 0 || t->model_speaks)
		t->began_ms = began_ms;
	t->remind_ms = 0;
	if (!t->model_speaks || !t->ready || t->held || t->paused)
		return 0;
	t->alarm_ms = now_ms;
	t->agreed = t->service_hears;
	if (!t->local)
		return 0;
	if (t->over && t->service_hears)
		return cut(t, now_ms);
	t->paused = true;
	return TURN_DO_PAUSE;
}

static uint32_t on_caller_stopped(struct turn *t, uint32_t voiced_ms)
{
	if (!t->caller_speaks)
		return 0; /* the service was first */
	t->caller_speaks = false;
	return voiced_ms >= TURN_SPEECH_MS && !model_busy(t) ? owe(t) : 0;
}

static uint32_t on_service_started(struct turn *t, uint64_t now_ms)
{
	t->service_hears = true;
	t->service_ms = now_ms;
	t->agreed = true;
	return t->model_speaks && t->over ? cut(t, now_ms) : 0;
}

static uint32_t on_service_stopped(struct turn *t, uint64_t now_ms)
{
	t->service_hears = t->caller_speaks = false;
	if (t->remind_ms != 0)
		t->remind_ms = now_ms + TURN_REMIND_MS;
	t->owed = true;
	return t->held ? TURN_DO_EXCUSED : 0; /* the message itself has said that an answer is owed */
}

/* Some models tell what the caller has said only after they have answered it. */
static uint32_t on_caller_text(struct turn *t, uint64_t spoke_ms)
{
	if (t->owed || t->caller_speaks || t->service_hears || model_busy(t) || spoke_ms <= t->answer_ms)
		return 0;
	return owe(t);
}

static uint32_t on_audio(struct turn *t, uint64_t spoke_ms, uint64_t now_ms)
{
	struct turn_numbers *n = newest(t);

	if (n->audio_ms == 0) {
		n->audio_ms = now_ms;
		n->asked_ms = t->owed ? (spoke_ms > t->text_ms ? spoke_ms : t->text_ms) : 0;
		if (t->began_ms != 0 && spoke_ms > t->began_ms) {
			n->caller_from_ms = t->began_ms;
			n->caller_to_ms = spoke_ms;
		}
		t->began_ms = 0;
	}
	/* The frames of one that had stalled are not its first. */
	if (n->frame_ms != 0)
		t->model_speaks = true;
	t->generated = t->over = false;
	t->answer_ms = now_ms;
	t->remind_ms = 0;
	t->owed = t->cut = false;
	return 0;
}

/* Its rest is owed, and whoever speaks now speaks into silence. */
static uint32_t on_stalled(struct turn *t)
{
	bool whole = newest(t)->audio_ms == 0 || t->generated;

	t->model_speaks = false;
	if (whole)
		return 0;
	t->generated = true;
	return owe(t);
}

static uint32_t on_frame(struct turn *t, uint64_t now_ms)
{
	t->model_speaks = true;
	if (t->now.frame_ms != 0)
		return 0;
	t->now.frame_ms = now_ms;
	return t->now.asked_ms != 0 && t->now.asked_ms <= now_ms ? TURN_DO_RESPONSE : 0;
}

static uint32_t on_complete(struct turn *t, bool in_progress, uint64_t now_ms)
{
	bool empty = t->owed && newest(t)->audio_ms == 0 && !t->cut && !in_progress;

	t->cut = false;
	t->answer_ms = now_ms;
	t->owed = false;
	t->generated = t->over = newest(t)->audio_ms != 0;
	return empty ? end_turn(t, now_ms) : 0;
}

static uint32_t on_interrupted(struct turn *t, uint64_t spoke_ms, uint64_t now_ms)
{
	bool phantom = !t->caller_speaks && (spoke_ms == 0 || now_ms - spoke_ms > TURN_PHANTOM_MS);

	t->paused = false;
	t->alarm_ms = 0;
	t->cut = true;
	/* Something was cut off, or will not be said at all. */
	if (phantom && (t->owed || t->now.audio_ms != 0))
		t->remind_ms = now_ms + TURN_REMIND_MS;
	t->now.interrupted = t->now.audio_ms != 0;
	t->now.phantom = phantom;
	t->next.interrupted = t->followed;
	t->next.phantom = t->followed && phantom;
	return (phantom ? TURN_DO_PHANTOM : 0) | (t->now.interrupted ? end_turn(t, now_ms) : 0);
}

static uint32_t on_tick(struct turn *t, uint64_t spoke_ms, uint64_t now_ms)
{
	uint64_t heard_ms = t->service_ms > spoke_ms ? t->service_ms : spoke_ms;
	uint32_t actions = 0;

	if (t->alarm_ms != 0 && now_ms - t->alarm_ms >= TURN_UNDO_MS)
		actions |= undo_pause(t) | (t->agreed ? 0 : TURN_DO_FALSE_ALARM);
	if (t->service_hears && !t->caller_speaks && now_ms - heard_ms >= TURN_HUSH_MS) {
		t->service_hears = false;
		actions |= TURN_DO_HUSH;
	}
	/* Looked at when it is time, not when it was set: the caller may have begun to speak, or be on hold. */
	if (t->remind_ms != 0 && now_ms >= t->remind_ms && t->ready && !t->held && !t->service_hears && !t->caller_speaks) {
		t->remind_ms = 0;
		t->text_ms = now_ms;
		actions |= TURN_DO_REMIND | owe(t);
	}
	return actions;
}

uint32_t turn_step(struct turn *t, const struct turn_event *e, uint64_t now_ms)
{
	t->ended_count = 0;
	switch (e->type) {
	case TURN_READY:
		t->ready = true;
		return 0;
	case TURN_GONE:
		/* Whatever was generated is played to its end, and nobody will interrupt it. */
		t->ready = t->service_hears = t->cut = false;
		t->generated = t->over = newest(t)->audio_ms != 0;
		return undo_pause(t);
	case TURN_HELD:
		t->held = true;
		return t->owed ? TURN_DO_EXCUSED : 0;
	case TURN_BACK:
		t->held = t->caller_speaks = false;
		return t->owed ? owe(t) : 0;
	case TURN_ASKED:
		t->text_ms = now_ms;
		return owe(t);
	case TURN_TOOL_ANSWERED:
		return owe(t);
	case TURN_CALLER_STARTED:
		return on_caller_started(t, e->began_ms, now_ms);
	case TURN_CALLER_STOPPED:
		return on_caller_stopped(t, e->voiced_ms);
	case TURN_SERVICE_STARTED:
		return on_service_started(t, now_ms);
	case TURN_SERVICE_STOPPED:
		return on_service_stopped(t, now_ms);
	case TURN_CALLER_TEXT:
		return on_caller_text(t, e->spoke_ms);
	case TURN_AUDIO:
		return on_audio(t, e->spoke_ms, now_ms);
	case TURN_FOLLOWED:
		t->followed = t->now.audio_ms != 0;
		return 0;
	case TURN_PASSED:
		return t->followed ? end_first(t, now_ms) : 0;
	case TURN_FRAME:
		return on_frame(t, now_ms);
	case TURN_TOOL_CALL:
		t->answer_ms = now_ms;
		t->remind_ms = 0;
		t->owed = false;
		return TURN_DO_ANSWERED;
	case TURN_GENERATED:
		t->generated = newest(t)->audio_ms != 0;
		return 0;
	case TURN_COMPLETE:
		return on_complete(t, e->in_progress, now_ms);
	case TURN_WAITING:
		t->owed = false;
		t->generated = newest(t)->audio_ms != 0;
		return TURN_DO_EXCUSED;
	case TURN_INTERRUPTED:
		return on_interrupted(t, e->spoke_ms, now_ms);
	case TURN_DRAINED:
		return t->now.audio_ms != 0 ? end_turn(t, now_ms) : 0;
	case TURN_STALLED:
		return on_stalled(t);
	case TURN_TICK:
		return on_tick(t, e->spoke_ms, now_ms);
	}
	return 0;
}
