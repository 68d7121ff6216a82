/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of session.h. Every way out of a connection leads through lose(), which decides by the close's class whether
 * to come back, when, and with which handle.
 */
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void session_init(struct session *s, uint32_t seed)
{
	*s = (struct session){.random = seed != 0 ? seed : 1, .deadline_ms = SESSION_NEVER, .rotate_ms = SESSION_NEVER};
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
	snprintf(s->reason, sizeof(s->reason), "%s", reason);
}

static uint32_t fail(struct session *s)
{
	s->state = SESSION_FAILED;
	s->deadline_ms = SESSION_NEVER;
	s->rotate_ms = SESSION_NEVER;
	return SESSION_DO_REPORT;
}

static uint32_t dial(struct session *s, uint64_t now_ms)
{
	s->state = SESSION_DIALLING;
	s->dial_begun = false;
	s->deadline_ms = s->lost_ms + SESSION_RETRY_MS;
	if (s->deadline_ms < now_ms + SESSION_TURN_MS)
		s->deadline_ms = now_ms + SESSION_TURN_MS;
	s->rotate_ms = SESSION_NEVER;
	s->answer_ms = 0;
	s->resumed = false;
	s->attempt++;
	return SESSION_DO_DIAL | SESSION_DO_REPORT;
}

static void forget_handle(struct session *s)
{
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

/* The delay before the next dial, after a loss of class s->class. */
static uint32_t next_delay_ms(struct session *s, bool was_stable, bool failed_resume)
{
	if (s->class == CLOSE_THROTTLED)
		return SESSION_THROTTLE_MS + next_random(s) % SESSION_THROTTLE_MS;
	if (was_stable)
		return 0;
	if (failed_resume && s->handle != NULL)
		return SESSION_RESUME_AGAIN_MS + next_random(s) % (SESSION_RESUME_AGAIN_MS / 4);
	/*
	 * When a handle was to blame the caller need not wait for the new session, but no series of closes may make us dial in a
	 * circle.
	 */
	if ((failed_resume || s->class == CLOSE_FRESH || s->class == CLOSE_ONCE) && s->attempt <= SESSION_HANDLE_TRIES + 1)
		return 0;
	return backoff_ms(s);
}

static uint32_t wait_and_dial(struct session *s, uint32_t delay_ms, uint64_t now_ms)
{
	if (now_ms + delay_ms > s->lost_ms + SESSION_RETRY_MS)
		return fail(s);
	if (delay_ms == 0)
		return dial(s, now_ms);
	s->state = SESSION_WAITING;
	s->deadline_ms = now_ms + delay_ms;
	return SESSION_DO_REPORT;
}

/* The connection is gone and was not given up by us. */
static uint32_t lose(struct session *s, enum close_class class, uint64_t now_ms)
{
	bool was_ready = s->state == SESSION_READY;
	bool was_stable = was_ready && now_ms - s->ready_ms >= SESSION_STABLE_MS;
	bool failed_resume = s->resumed && !was_stable;

	s->class = class;
	if (was_stable) {
		s->attempt = 0;
		s->fresh_tried = false;
		s->young_deaths = 0;
	}
	/* The budget is for a service that cannot be had; one that can, and lets go again and again, is counted instead. */
	if (was_ready) {
		s->lost_ms = now_ms;
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
		forget_handle(s);
		break;
	case CLOSE_FRESH:
		if (s->handle == NULL && failed_resume == false && !was_ready)
			return fail(s); /* a new session cannot have a dead handle */
		forget_handle(s);
		break;
	case CLOSE_RESUME:
	case CLOSE_THROTTLED:
		if (failed_resume && class == CLOSE_RESUME && ++s->resume_fails >= SESSION_HANDLE_TRIES)
			forget_handle(s);
		break;
	}
	return wait_and_dial(s, next_delay_ms(s, was_stable, failed_resume), now_ms);
}

static uint32_t on_lost(struct session *s, const struct session_event *e, uint64_t now_ms)
{
	enum close_class class;

	switch (s->state) {
	case SESSION_DIALLING:
		class = close_classify_http(e->http_status);
		break;
	case SESSION_SETUP:
	case SESSION_READY:
		class = e->http_status != 0 ? close_classify_http(e->http_status)
					    : close_classify(e->code, e->reason, strlen(e->reason));
		break;
	case SESSION_CLOSING:
		/* Our own rotation: nothing has failed. */
		s->attempt = 0;
		s->lost_ms = now_ms;
		return dial(s, now_ms);
	default:
		return 0;
	}
	set_reason(s, e->code, e->reason);
	return lose(s, class, now_ms);
}

static uint32_t rotate(struct session *s, uint64_t now_ms)
{
	s->state = SESSION_CLOSING;
	s->deadline_ms = now_ms + SESSION_CLOSE_MS;
	s->rotate_ms = SESSION_NEVER;
	set_reason(s, 0, "the service asked to change connections");
	return SESSION_DO_CLOSE | SESSION_DO_REPORT;
}

/* Somebody speaks, or waits for an answer: a rotation now would cut it off. */
static bool occupied(const struct session *s, uint64_t now_ms)
{
	return s->busy || now_ms < s->answer_ms;
}

/* A rotation is due: do it when nothing is in the way, else look again when the awaited answer is overdue. */
static uint32_t rotate_if_quiet(struct session *s, uint64_t now_ms)
{
	if (s->state != SESSION_READY || s->rotate_ms == SESSION_NEVER)
		return 0;
	if (now_ms >= s->rotate_ms || !occupied(s, now_ms))
		return rotate(s, now_ms);
	s->deadline_ms = s->rotate_ms;
	if (now_ms < s->answer_ms && s->answer_ms < s->rotate_ms)
		s->deadline_ms = s->answer_ms;
	return 0;
}

static uint32_t on_tick(struct session *s, uint64_t now_ms)
{
	if (now_ms < s->deadline_ms)
		return 0;
	switch (s->state) {
	case SESSION_DIALLING:
		if (!s->dial_begun) {
			set_reason(s, 0, "no turn to dial in time");
			return SESSION_DO_ABORT | fail(s);
		}
		set_reason(s, 1006, "no connection in time");
		return SESSION_DO_ABORT | lose(s, CLOSE_RESUME, now_ms);
	case SESSION_SETUP:
		set_reason(s, 1006, "no setupComplete in time");
		return SESSION_DO_ABORT | lose(s, CLOSE_RESUME, now_ms);
	case SESSION_CLOSING:
		s->lost_ms = now_ms;
		return SESSION_DO_ABORT | dial(s, now_ms);
	case SESSION_WAITING:
		return dial(s, now_ms);
	case SESSION_READY:
		return rotate_if_quiet(s, now_ms);
	default:
		s->deadline_ms = SESSION_NEVER;
		return 0;
	}
}

static uint32_t on_go_away(struct session *s, uint32_t time_left_ms, uint64_t now_ms)
{
	uint32_t left = time_left_ms != GEMINI_TIME_UNSAID ? time_left_ms : SESSION_GO_AWAY_MS;

	if (s->state != SESSION_READY)
		return 0;
	s->rotate_ms = now_ms + (left > SESSION_GO_AWAY_GUARD_MS ? left - SESSION_GO_AWAY_GUARD_MS : 0);
	return rotate_if_quiet(s, now_ms);
}

static void on_handle(struct session *s, const struct session_event *e)
{
	char *copy;

	/* Keep the older one when the service has nothing to resume from right now. */
	if (!e->resumable || e->handle == NULL || e->handle[0] == '\0' || strlen(e->handle) > GEMINI_HANDLE_MAX)
		return;
	if (s->handle != NULL && strcmp(s->handle, e->handle) == 0)
		return;
	copy = strdup(e->handle);
	if (copy == NULL)
		return;
	forget_handle(s);
	s->handle = copy;
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

uint32_t session_step(struct session *s, const struct session_event *e, uint64_t now_ms)
{
	switch (e->type) {
	case SESSION_START:
		if (s->state != SESSION_IDLE)
			return 0;
		s->lost_ms = now_ms;
		return dial(s, now_ms);
	case SESSION_DIAL_BEGINS:
		if (s->state != SESSION_DIALLING || s->dial_begun)
			return 0;
		s->dial_begun = true;
		s->deadline_ms = now_ms + SESSION_DIAL_MS;
		return 0;
	case SESSION_REFUSED:
		if (s->state != SESSION_DIALLING || s->dial_begun)
			return 0;
		set_reason(s, 0, e->reason);
		return fail(s);
	case SESSION_UPGRADED:
		if (s->state != SESSION_DIALLING)
			return 0;
		s->state = SESSION_SETUP;
		s->resumed = s->handle != NULL;
		s->deadline_ms = now_ms + SESSION_SETUP_MS;
		return SESSION_DO_SETUP | SESSION_DO_REPORT;
	case SESSION_SETUP_COMPLETE:
		if (s->state != SESSION_SETUP)
			return 0;
		s->state = SESSION_READY;
		s->has_talked = true;
		s->ready_ms = now_ms;
		s->deadline_ms = SESSION_NEVER;
		return SESSION_DO_REPORT;
	case SESSION_LOST:
		return on_lost(s, e, now_ms);
	case SESSION_GO_AWAY:
		return on_go_away(s, e->time_left_ms, now_ms);
	case SESSION_HANDLE:
		on_handle(s, e);
		return 0;
	case SESSION_BUSY:
		s->busy = true;
		return 0;
	case SESSION_QUIET:
		s->busy = false;
		return rotate_if_quiet(s, now_ms);
	case SESSION_ASKED:
		s->answer_ms = now_ms + SESSION_ANSWER_MS;
		return rotate_if_quiet(s, now_ms);
	case SESSION_ANSWERED:
		s->answer_ms = 0;
		return rotate_if_quiet(s, now_ms);
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
	switch (s->state) {
	case SESSION_DIALLING:
		return s->attempt > 1 || s->handle != NULL ? "reconnecting" : "dialling";
	case SESSION_SETUP:
		return s->attempt > 1 || s->handle != NULL ? "reconnecting" : "setup";
	case SESSION_READY:
		return "ready";
	case SESSION_CLOSING:
	case SESSION_WAITING:
		return "reconnecting";
	case SESSION_FAILED:
		return "failed";
	default:
		return NULL;
	}
}
