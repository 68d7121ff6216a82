/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of session.h. Every way out of a connection leads through lose(), which decides by the close's class whether
 * to come back, when, and with which handle.
 */
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void session_init(struct session *s, uint32_t seed, uint32_t rotate_after_s)
{
	*s = (struct session){.random = seed != 0 ? seed : 1,
		.rotate_after_ms = rotate_after_s * 1000,
		.deadline_ms = SESSION_NEVER,
		.due_ms = SESSION_NEVER,
		.rotate_ms = SESSION_NEVER};
}

void session_free(struct session *s)
{
	free(s->handle);
	s->handle = NULL;
}

static uint32_t next_random(struct session *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 17;
	s->random ^= s->random << 5;
	return s->random;
}

static void set_reason(struct session *s, uint16_t code, const char *reason)
{
	s->code = code;
	if (reason[0] != '\0')
		snprintf(s->reason, sizeof(s->reason), "%s", reason);
	else
		snprintf(s->reason, sizeof(s->reason), "closed with code %u, without a reason", code);
}

static uint32_t fail(struct session *s)
{
	s->state = SESSION_FAILED;
	s->deadline_ms = SESSION_NEVER;
	return SESSION_DO_REPORT;
}

/* The next phase of a dial; what is left of the whole dial bounds each. */
static void enter(struct session *s, enum session_phase phase, uint64_t now_ms)
{
	static const uint32_t limits_ms[SESSION_PHASES] = {
		0, SESSION_DNS_MS, SESSION_TCP_MS, SESSION_TLS_MS, SESSION_UPGRADE_MS, SESSION_SETUP_MS};

	s->took_ms[s->phase] = (uint32_t)(now_ms - s->phase_ms);
	s->phase = phase;
	s->phase_ms = now_ms;
	s->deadline_ms = now_ms + limits_ms[phase];
	if (phase != SESSION_PHASE_SETUP && s->deadline_ms > s->dial_end_ms)
		s->deadline_ms = s->dial_end_ms;
}

/* How long the service is looked for, from s->lost_ms on. */
static uint32_t budget_ms(const struct session *s)
{
	return s->has_talked ? SESSION_RETRY_MS : SESSION_FIRST_MS;
}

static uint32_t dial(struct session *s, uint64_t now_ms)
{
	s->state = SESSION_DIALLING;
	s->phase = SESSION_PHASE_TURN;
	s->phase_ms = now_ms;
	s->deadline_ms = s->lost_ms + budget_ms(s);
	if (s->deadline_ms < now_ms + SESSION_TURN_MS)
		s->deadline_ms = now_ms + SESSION_TURN_MS;
	memset(s->took_ms, 0, sizeof(s->took_ms));
	s->due_ms = s->rotate_ms = SESSION_NEVER;
	s->answer_ms = 0;
	s->resumed = false;
	s->attempt++;
	return SESSION_DO_DIAL | SESSION_DO_REPORT;
}

/* FNV-1a: a handle that was given up is remembered by this alone. */
static uint64_t hash(const char *text)
{
	uint64_t value = 0xcbf29ce484222325u;

	for (; *text != '\0'; text++)
		value = (value ^ (unsigned char)*text) * 0x100000001b3u;
	return value;
}

static void give_up_handle(struct session *s)
{
	if (s->handle == NULL)
		return;
	s->given_up_handle = hash(s->handle);
	s->given_up = s->fresh_next = true;
	free(s->handle);
	s->handle = NULL;
	s->resume_fails = 0;
}

/* Doubling delay with +-50 % jitter, so that calls that fell together do not come back together. */
static uint32_t backoff_ms(struct session *s)
{
	uint32_t delay = SESSION_BACKOFF_MS;

	for (uint32_t i = 2; i < s->attempt && delay < SESSION_BACKOFF_MAX_MS; i++)
		delay *= 2;
	if (delay > SESSION_BACKOFF_MAX_MS)
		delay = SESSION_BACKOFF_MAX_MS;
	return delay / 2 + next_random(s) % delay;
}

/* To the next of the moments 1, 2 and 4 s after the end of the connection at which the service may have let go of the session. */
static uint32_t resume_delay_ms(struct session *s, uint64_t now_ms)
{
	uint64_t slot_ms = SESSION_RESUME_AGAIN_MS;

	while (s->gone_ms + slot_ms <= now_ms)
		slot_ms *= 2;
	if (slot_ms > 4 * SESSION_RESUME_AGAIN_MS)
		return backoff_ms(s);
	return (uint32_t)(s->gone_ms + slot_ms - now_ms) + next_random(s) % (SESSION_RESUME_AGAIN_MS / 4);
}

/* The delay before the next dial, after a loss of class s->class. */
static uint32_t next_delay_ms(struct session *s, bool was_ready, bool failed_resume, uint64_t now_ms)
{
	if (s->class == CLOSE_THROTTLED)
		return SESSION_THROTTLE_MS + next_random(s) % SESSION_THROTTLE_MS;
	if (failed_resume && s->handle != NULL)
		return resume_delay_ms(s, now_ms);
	/* The handle was to blame, and has had its tries and their delays: the caller need not wait for the new session. */
	if (failed_resume && s->class == CLOSE_RESUME)
		return 0;
	/* The same, but no series of young deaths or of refusals at once may make us dial in a circle. */
	if ((was_ready || s->class == CLOSE_FRESH || s->class == CLOSE_ONCE) && s->attempt <= SESSION_HANDLE_TRIES)
		return 0;
	return backoff_ms(s);
}

static uint32_t wait_and_dial(struct session *s, uint32_t delay_ms, uint64_t now_ms)
{
	if (now_ms + delay_ms > s->lost_ms + budget_ms(s))
		return fail(s);
	if (delay_ms == 0)
		return dial(s, now_ms);
	s->state = SESSION_WAITING;
	s->deadline_ms = now_ms + delay_ms;
	return SESSION_DO_REPORT;
}

/* Say so whatever the service's words were: a 429 has none. */
static uint32_t refuse_for_quota(struct session *s)
{
	char words[SESSION_REASON_SIZE];

	snprintf(words, sizeof(words), "%s", s->reason);
	snprintf(s->reason, sizeof(s->reason), "the service refuses the call for quota: %.128s", words);
	return fail(s);
}

/*
 * The connection is gone, or will be `abort_ms` from now; s->state still says what it was. Nothing of it was our wish.
 */
static uint32_t lose(struct session *s, enum close_class class, uint32_t abort_ms, uint64_t now_ms)
{
	bool was_ready = s->state == SESSION_READY || s->state == SESSION_CLOSING;
	bool was_stable = was_ready && now_ms - s->ready_ms >= SESSION_STABLE_MS;
	bool failed_resume = s->resumed && !was_stable;
	bool too_early = !was_ready && s->dial_end_ms - SESSION_DIAL_MS < s->gone_ms + SESSION_RESUME_AGAIN_MS;
	uint32_t delay_ms;

	s->class = class;
	if (was_stable) {
		s->attempt = 0;
		s->fresh_tried = false;
		s->young_deaths = 0;
	}
	/* The budget is for a service that cannot be had; one that can, and lets go again and again, is counted instead. */
	if (was_ready) {
		s->lost_ms = now_ms;
		s->gone_ms = now_ms + abort_ms;
		if (!was_stable && ++s->young_deaths > SESSION_YOUNG_DEATHS)
			return fail(s);
	}
	switch (class) {
	case CLOSE_FATAL_KEY:
	case CLOSE_FATAL_PROJECT:
	case CLOSE_FATAL_CONFIG:
	case CLOSE_OUR_BUG:
		return fail(s);
	case CLOSE_ONCE:
		if (s->fresh_tried)
			return fail(s);
		s->fresh_tried = true;
		give_up_handle(s);
		break;
	case CLOSE_FRESH:
		if (s->handle == NULL && !failed_resume && !was_ready)
			return fail(s); /* a new session cannot have a dead handle */
		give_up_handle(s);
		break;
	case CLOSE_THROTTLED:
		/* The platform can still send a new caller elsewhere, and every refused dial costs quota too. */
		if (!s->has_talked)
			return refuse_for_quota(s);
		break;
	case CLOSE_RESUME:
		if (failed_resume && !too_early && ++s->resume_fails >= SESSION_HANDLE_TRIES)
			give_up_handle(s);
		break;
	}
	delay_ms = next_delay_ms(s, was_ready, failed_resume, now_ms);
	return wait_and_dial(s, delay_ms > abort_ms ? delay_ms : abort_ms, now_ms);
}

/*
 * The old connection is gone as we wished. Nothing has failed, so the next one is dialled at once; but a service that sends us away
 * as soon as we are there must not make us dial in a circle.
 */
static uint32_t changed(struct session *s, uint32_t abort_ms, uint64_t now_ms)
{
	uint32_t delay_ms = 0;

	s->gone_ms = now_ms + abort_ms;
	if (!s->closing_young) {
		s->attempt = 0;
		s->young_deaths = 0;
		s->fresh_tried = false;
	} else if (s->attempt > 2) {
		delay_ms = backoff_ms(s);
	}
	return wait_and_dial(s, delay_ms > abort_ms ? delay_ms : abort_ms, now_ms);
}

static uint32_t on_lost(struct session *s, const struct session_event *e, uint64_t now_ms)
{
	uint32_t abort_ms = e->dropped ? SESSION_ABORT_MS : 0;
	enum close_class class;

	/* Another connection is what follows: if that stays mute too, a new session is next. */
	if (e->silent && s->asked && s->mute < 2)
		s->mute = 2;
	switch (s->state) {
	case SESSION_DIALLING:
		if (s->phase == SESSION_PHASE_TURN)
			return 0;
		class = close_classify_http(e->http_status);
		break;
	case SESSION_SETUP:
	case SESSION_READY:
		class = close_classify(e->code, e->reason, strlen(e->reason));
		break;
	case SESSION_CLOSING:
		/* The service's own close may have crossed ours, and may say that there is no coming back. */
		class = close_classify(e->code, e->reason, strlen(e->reason));
		if (class == CLOSE_RESUME)
			return changed(s, abort_ms, now_ms);
		break;
	default:
		return 0;
	}
	set_reason(s, e->code, e->reason);
	return lose(s, class, abort_ms, now_ms);
}

/* Change connections now: close this one, the next is dialled when it is gone. */
static uint32_t change(struct session *s, const char *reason, uint64_t now_ms)
{
	set_reason(s, 0, reason);
	s->closing_young = now_ms - s->ready_ms < SESSION_STABLE_MS;
	s->state = SESSION_CLOSING;
	s->deadline_ms = now_ms + SESSION_CLOSE_MS;
	s->due_ms = s->rotate_ms = SESSION_NEVER;
	s->lost_ms = now_ms;
	return SESSION_DO_CLOSE | SESSION_DO_REPORT;
}

/* An error in a message ends the session as a close does, and the service need not be asked for one. */
static uint32_t on_error(struct session *s, const struct session_event *e, uint64_t now_ms)
{
	if (s->state != SESSION_READY && s->state != SESSION_SETUP)
		return 0;
	set_reason(s, 1011, e->reason);
	return SESSION_DO_ABORT | lose(s, close_classify_http(e->http_status), SESSION_ABORT_MS, now_ms);
}

/* Somebody speaks, or waits for an answer: a rotation now would cut it off. */
static bool occupied(const struct session *s)
{
	return s->busy || s->asked;
}

/* When to change connections: after a moment's quiet, in the second half of the window at any quiet, at its end whoever speaks. */
static uint64_t wanted_ms(const struct session *s)
{
	uint64_t at_ms = s->quiet_ms + SESSION_LULL_MS, half_ms;

	if (s->due_ms == SESSION_NEVER || occupied(s))
		return s->rotate_ms;
	half_ms = s->due_ms + (s->rotate_ms - s->due_ms) / 2;
	if (at_ms > half_ms)
		at_ms = half_ms;
	return at_ms > s->due_ms ? at_ms : s->due_ms;
}

/* The same, as things are: a connection that works is not given up for one that may not come. */
static uint64_t rotation_ms(const struct session *s)
{
	uint64_t at_ms = wanted_ms(s), last_ms = s->sent_away ? s->rotate_ms : s->opened_ms + SESSION_ROTATE_LAST_MS,
		 stay_ms = s->stay_ms < last_ms ? s->stay_ms : last_ms;

	return at_ms > stay_ms ? at_ms : stay_ms;
}

/* An answer is owed from now on, or still. */
static void ask(struct session *s, uint64_t now_ms)
{
	if (!s->asked)
		s->asked_ms = now_ms;
	s->asked = true;
}

/* The model owes an answer: remind it, then try another connection, then another session, then wait for the caller. */
static uint32_t mute(struct session *s, const char *reason, uint64_t now_ms)
{
	ask(s, now_ms);
	switch (s->mute++) {
	case 0:
		s->answer_ms = now_ms + SESSION_NUDGED_MS;
		return SESSION_DO_NUDGE;
	case 1:
		return change(s, reason, now_ms);
	case 2:
		give_up_handle(s);
		return change(s, reason, now_ms);
	default:
		s->asked = false;
		s->answer_ms = 0;
		s->quiet_ms = now_ms;
		return SESSION_DO_GIVE_UP;
	}
}

/* READY: do what is due, and say when to look again. */
static uint32_t ready(struct session *s, uint64_t now_ms)
{
	uint32_t actions = 0;

	if (now_ms >= rotation_ms(s))
		return change(s, s->sent_away ? "the service asked to change connections" : "the connection is old", now_ms);
	if (s->asked && now_ms >= s->answer_ms) {
		/* The caller speaks on: there will be another question. */
		if (s->busy)
			s->answer_ms = now_ms + SESSION_ANSWER_MS;
		else
			actions = mute(s, "no answer from the model in time", now_ms);
	}
	if (s->state != SESSION_READY)
		return actions;
	s->deadline_ms = rotation_ms(s);
	if (s->asked && s->answer_ms < s->deadline_ms)
		s->deadline_ms = s->answer_ms;
	return actions;
}

static uint32_t on_tick(struct session *s, uint64_t now_ms)
{
	static const char *const late[SESSION_PHASES] = {"no turn to dial in time", "no address for the service's name in time",
		"no TCP connection in time", "no TLS handshake in time", "no answer to the upgrade in time",
		"no setupComplete in time"};

	if (now_ms < s->deadline_ms)
		return 0;
	switch (s->state) {
	case SESSION_DIALLING:
	case SESSION_SETUP:
		set_reason(s, s->phase == SESSION_PHASE_TURN ? 0 : 1006, late[s->phase]);
		if (s->phase == SESSION_PHASE_TURN)
			return SESSION_DO_ABORT | fail(s);
		return SESSION_DO_ABORT | lose(s, CLOSE_RESUME, SESSION_ABORT_MS, now_ms);
	case SESSION_CLOSING:
		return SESSION_DO_ABORT | changed(s, SESSION_ABORT_MS, now_ms);
	case SESSION_WAITING:
		return dial(s, now_ms);
	case SESSION_READY:
		return ready(s, now_ms);
	default:
		s->deadline_ms = SESSION_NEVER;
		return 0;
	}
}

static uint32_t on_setup_complete(struct session *s, uint64_t now_ms)
{
	uint64_t last_ms = s->opened_ms + SESSION_ROTATE_LAST_MS;

	enter(s, SESSION_PHASE_SETUP, now_ms);
	s->state = SESSION_READY;
	s->has_talked = true;
	s->sent_away = s->fresh_next = false;
	s->stay_ms = 0;
	s->ready_ms = s->quiet_ms = now_ms;
	if (!s->resumed)
		s->conversation++;
	s->due_ms = s->opened_ms + s->rotate_after_ms;
	s->rotate_ms = s->due_ms + SESSION_ROTATE_WINDOW_MS;
	if (s->rotate_ms > last_ms)
		s->rotate_ms = last_ms;
	if (s->due_ms > s->rotate_ms)
		s->due_ms = s->rotate_ms;
	s->answer_ms = now_ms + SESSION_ANSWER_MS;
	return SESSION_DO_REPORT | ready(s, now_ms);
}

static void on_go_away(struct session *s, uint32_t time_left_ms, uint64_t now_ms)
{
	uint32_t left = time_left_ms != GEMINI_TIME_UNSAID ? time_left_ms : SESSION_GO_AWAY_MS;
	uint64_t last_ms = s->opened_ms + SESSION_ROTATE_LAST_MS;

	s->sent_away = true;
	/* What the service says is more exact than our own rule, whichever comes first. */
	s->rotate_ms = now_ms + (left > SESSION_GO_AWAY_GUARD_MS ? left - SESSION_GO_AWAY_GUARD_MS : 0);
	if (s->rotate_ms > last_ms)
		s->rotate_ms = last_ms;
	if (s->due_ms > now_ms)
		s->due_ms = now_ms;
	if (s->due_ms > s->rotate_ms)
		s->due_ms = s->rotate_ms;
}

static void on_handle(struct session *s, const struct session_event *e)
{
	char *copy;

	/* Keep the older one when the service has nothing to resume from right now. */
	if (s->fresh_next || !e->resumable || e->handle == NULL || e->handle[0] == '\0' || strlen(e->handle) > GEMINI_HANDLE_MAX)
		return;
	if (s->handle != NULL && strcmp(s->handle, e->handle) == 0)
		return;
	if (s->given_up && hash(e->handle) == s->given_up_handle)
		return;
	copy = strdup(e->handle);
	if (copy == NULL)
		return;
	free(s->handle);
	s->handle = copy;
	s->resume_fails = 0;
}

static uint32_t on_hang_up(struct session *s)
{
	uint32_t actions = 0;

	if (s->state == SESSION_READY || s->state == SESSION_SETUP)
		actions = SESSION_DO_CLOSE;
	else if (s->state == SESSION_DIALLING || s->state == SESSION_CLOSING)
		actions = SESSION_DO_ABORT;
	s->state = SESSION_CLOSED;
	s->deadline_ms = SESSION_NEVER;
	return actions;
}

/* What happens on the way to a session. */
static uint32_t on_way_up(struct session *s, const struct session_event *e, uint64_t now_ms)
{
	if (e->type == SESSION_SETUP_COMPLETE)
		return s->state == SESSION_SETUP ? on_setup_complete(s, now_ms) : 0;
	if (s->state != SESSION_DIALLING ||
		(s->phase == SESSION_PHASE_TURN) != (e->type == SESSION_DIAL_BEGINS || e->type == SESSION_REFUSED))
		return 0;
	switch (e->type) {
	case SESSION_DIAL_BEGINS:
		s->dial_end_ms = now_ms + SESSION_DIAL_MS;
		enter(s, SESSION_PHASE_DNS, now_ms);
		return 0;
	case SESSION_REFUSED:
		set_reason(s, 0, e->reason);
		return fail(s);
	case SESSION_RESOLVED:
		enter(s, SESSION_PHASE_TCP, now_ms);
		return 0;
	case SESSION_CONNECTED:
		if (s->phase == SESSION_PHASE_TCP)
			enter(s, SESSION_PHASE_TLS, now_ms);
		return 0;
	case SESSION_SECURED:
		if (s->phase < SESSION_PHASE_UPGRADE)
			enter(s, SESSION_PHASE_UPGRADE, now_ms);
		return 0;
	default:
		enter(s, SESSION_PHASE_SETUP, now_ms);
		s->state = SESSION_SETUP;
		s->resumed = s->handle != NULL;
		s->opened_ms = now_ms;
		return SESSION_DO_SETUP | SESSION_DO_REPORT;
	}
}

/* Who asks again is answered later; who does so every few seconds of a session that hears nothing must not put it off for ever. */
static uint64_t answer_by(const struct session *s, uint32_t way_ms, uint64_t now_ms)
{
	uint64_t by_ms = now_ms + way_ms + SESSION_ANSWER_MS;
	uint64_t last_ms = (s->asked_ms > s->ready_ms ? s->asked_ms : s->ready_ms) + way_ms + SESSION_INSISTS_MS;

	if (by_ms <= last_ms)
		return by_ms;
	return s->answer_ms > last_ms ? s->answer_ms : last_ms;
}

/* What is said and heard; kept also while there is no session, and looked at as soon as there is one. */
static uint32_t on_talk(struct session *s, const struct session_event *e, uint64_t now_ms)
{
	switch (e->type) {
	case SESSION_BUSY:
		s->busy = true;
		break;
	case SESSION_QUIET:
		s->busy = false;
		s->quiet_ms = now_ms;
		break;
	case SESSION_ASKED:
		ask(s, now_ms);
		s->answer_ms = answer_by(s, e->way_ms, now_ms);
		break;
	case SESSION_ANSWERED:
	case SESSION_TURN_OVER:
		s->asked = false;
		s->quiet_ms = now_ms;
		/* A turn that ends without a sound is no proof that the model can speak. */
		if (e->type == SESSION_ANSWERED)
			s->mute = 0;
		break;
	default:
		break;
	}
	return s->state == SESSION_READY ? ready(s, now_ms) : 0;
}

uint32_t session_step(struct session *s, const struct session_event *e, uint64_t now_ms)
{
	switch (e->type) {
	case SESSION_START:
		if (s->state != SESSION_IDLE)
			return 0;
		s->lost_ms = now_ms;
		return dial(s, now_ms);
	case SESSION_DIAL_BEGINS:
	case SESSION_REFUSED:
	case SESSION_RESOLVED:
	case SESSION_CONNECTED:
	case SESSION_SECURED:
	case SESSION_UPGRADED:
	case SESSION_SETUP_COMPLETE:
		return on_way_up(s, e, now_ms);
	case SESSION_LOST:
		return on_lost(s, e, now_ms);
	case SESSION_ERROR:
		return on_error(s, e, now_ms);
	case SESSION_STAY:
		if (s->state != SESSION_READY)
			return 0;
		s->stay_ms = e->until_ms;
		return ready(s, now_ms);
	case SESSION_HANDLE:
		if (s->state == SESSION_READY || s->state == SESSION_CLOSING)
			on_handle(s, e);
		return 0;
	case SESSION_BUSY:
	case SESSION_QUIET:
	case SESSION_ASKED:
	case SESSION_ANSWERED:
	case SESSION_TURN_OVER:
		return on_talk(s, e, now_ms);
	case SESSION_GO_AWAY:
		if (s->state != SESSION_READY)
			return 0;
		on_go_away(s, e->time_left_ms, now_ms);
		return ready(s, now_ms);
	case SESSION_HANG_UP:
		return s->state == SESSION_CLOSED ? 0 : on_hang_up(s);
	case SESSION_TICK:
		return on_tick(s, now_ms);
	}
	return 0;
}

const char *session_handle(const struct session *s)
{
	return s->handle;
}

const char *session_state_name(const struct session *s)
{
	bool again = s->attempt > 1 || s->has_talked;

	switch (s->state) {
	case SESSION_DIALLING:
		return again ? "reconnecting" : "dialling";
	case SESSION_SETUP:
		return again ? "reconnecting" : "setup";
	case SESSION_READY:
		return "ready";
	case SESSION_CLOSING:
		return "reconnecting";
	case SESSION_WAITING:
		return s->attempt > 0 || s->has_talked ? "reconnecting" : "dialling";
	case SESSION_FAILED:
		return "failed";
	default:
		return NULL;
	}
}
