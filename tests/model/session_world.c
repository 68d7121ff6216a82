/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See session_world.h. The rules are stated here a second time, independent of session.c where they can be: when a rotation is due, which
 * handle is the newest, what each close means.
 */
#include "session_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What the end of a connection means, by our reading of the service. */
enum kind { KIND_PASSING, KIND_FRESH, KIND_ONCE, KIND_QUOTA, KIND_FATAL };

static const struct {
	uint16_t code;
	const char *reason;
	enum kind kind;
} closes[] = {
	{1011, "Internal error encountered.", KIND_PASSING},
	{1011, "The service is currently unavailable.", KIND_PASSING},
	{1006, "", KIND_PASSING},
	{1000, "", KIND_PASSING},
	{1008, "The operation was aborted.", KIND_PASSING},
	{1008, "Connection aborted because the client failed to close the connection after receiving a GoAway signal",
		KIND_PASSING},
	{1007, "Invalid session handle", KIND_FRESH},
	{1008, "BidiGenerateContent session not found", KIND_FRESH},
	{1007, "Request contains an invalid argument.", KIND_ONCE},
	{1008, "Operation is not implemented, or supported, or enabled.", KIND_ONCE},
	{1011, "You exceeded your current quota, please check your plan", KIND_QUOTA},
	{1011, "Resource has been exhausted (e.g. check quota).", KIND_QUOTA},
	{1007, "API key not valid. Please pass a valid API key.", KIND_FATAL},
	{1007, "Invalid JSON payload received. Unknown name", KIND_FATAL},
	{1011, "Your prepayment credits are depleted.", KIND_FATAL},
	{1008, "models/x is not found for API version v1beta", KIND_FATAL},
};
#define CLOSES	(sizeof(closes) / sizeof(closes[0]))
#define PASSING 6u /* of them */
#define CURABLE 12u

static uint32_t draw(struct world *w, uint32_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (uint32_t)(((w->random >> 32) * below) >> 32);
}

static bool happens(struct world *w, uint32_t chance)
{
	return chance > 0 && draw(w, 256) < chance;
}

static void find(struct world *w, const char *what)
{
	if (w->finding == NULL)
		w->finding = what;
}

static void trace(const struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void trace(const struct world *w, const char *format, ...)
{
	va_list list;

	if (!w->trace)
		return;
	printf("# %9.3f s  ", (double)w->now_ms / 1000.0);
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	printf("\n");
}

static uint32_t number_of(const char *handle)
{
	uint32_t number = 0;

	for (handle = handle != NULL ? handle + 1 : ""; *handle != '\0'; handle++)
		number = number * 10 + (uint32_t)(*handle - '0');
	return number;
}

static void drop_link(struct world *w)
{
	w->link = LINK_NONE;
	w->link_ms = w->life_ms = w->go_away_ms = w->handle_ms = SESSION_NEVER;
	w->caller = false; /* nobody tells us any more */
}

/* The gate has granted. */
static void begin_dial(struct world *w)
{
	uint64_t oldest;

	if (w->link != LINK_NONE || w->now_ms < w->gone_ms)
		find(w, "two connections at a time");
	oldest = w->dials_ms[w->dials % (WORLD_DIALS_MAX + 1)];
	if (w->dials > WORLD_DIALS_MAX && w->now_ms - oldest < WORLD_DIALS_WINDOW_MS)
		find(w, "too many dials in ten seconds");
	w->dials_ms[w->dials++ % (WORLD_DIALS_MAX + 1)] = w->now_ms;
	w->link = LINK_DIALLING;
	w->phase = 0;
	w->hang_at = happens(w, w->faults.hang) ? draw(w, 4) : 99;
	w->link_ms = w->hang_at == 0 ? SESSION_NEVER : w->now_ms + draw(w, 30);
	w->silent = false;
}

static void begin_setup(struct world *w)
{
	const char *handle = session_handle(&w->session);

	if (w->link != LINK_OPEN)
		find(w, "setup without an open connection");
	w->link = LINK_SETUP;
	if (w->used != number_of(handle))
		w->refusals = 0;
	w->used = number_of(handle);
	trace(w, "setup with handle %u", w->used);
	if (w->used != w->newest)
		find(w, "set up with another handle than the newest");
	if (w->used != 0 && w->dead[w->used % WORLD_HANDLES])
		find(w, "a handle that was given up is used again");
	if (w->refusals > SESSION_HANDLE_TRIES)
		find(w, "a handle is tried too often");
	if (w->used == 0 && w->held && w->fair)
		find(w, "a session is given up that the service only held on to");
	w->answer = happens(w, w->faults.never) ? ANSWER_NEVER : ANSWER_READY;
	if (happens(w, w->faults.close_setup))
		w->answer = ANSWER_CLOSE;
	else if (happens(w, w->faults.error))
		w->answer = ANSWER_ERROR;
	w->link_ms = w->answer == ANSWER_NEVER ? SESSION_NEVER : w->now_ms + 200 + draw(w, 450);
}

/* The service holds on to a session for some time behind the end of its connection, unless the model was speaking. */
static void close_is_done(struct world *w)
{
	if (w->locked_ms == SESSION_NEVER)
		w->locked_ms = w->now_ms + 1000 + draw(w, 600);
}

static void carry_out(struct world *w, uint32_t actions)
{
	const struct session *s = &w->session;

	if (actions & SESSION_DO_ABORT) {
		if (w->link == LINK_CLOSING)
			close_is_done(w);
		else
			w->fair = false;
		drop_link(w);
		w->turn_ms = SESSION_NEVER;
		w->gone_ms = w->now_ms + draw(w, SESSION_ABORT_MS + 1);
	}
	if (actions & SESSION_DO_CLOSE) {
		if (w->link < LINK_OPEN || w->link == LINK_CLOSING)
			find(w, "close without an open connection");
		w->locked_ms = w->model ? 0 : SESSION_NEVER;
		w->link = LINK_CLOSING;
		w->link_ms = w->silent || happens(w, w->faults.half_open_close)
				     ? SESSION_NEVER
				     : w->now_ms + 10 + draw(w, happens(w, 64) ? 2500 : 80);
		if (s->state == SESSION_CLOSED)
			drop_link(w);
	}
	if (actions & SESSION_DO_SETUP)
		begin_setup(w);
	if (actions & SESSION_DO_DIAL) {
		if (s->state != SESSION_DIALLING)
			find(w, "dial in another state");
		w->turn_ms = w->now_ms + (happens(w, w->faults.pacing) ? draw(w, 3000) : 0);
	}
	if (actions & SESSION_DO_GIVE_UP) {
		if (!w->owed || s->asked || s->mute <= 3)
			find(w, "a question is given up too early");
		w->owed = false;
	}
	if (actions & SESSION_DO_NUDGE) {
		if (s->state != SESSION_READY || w->caller || !s->asked)
			find(w, "a reminder that nobody needs");
		if (++w->nudges > 1)
			find(w, "reminded twice");
	}
}

/* What the session's state may have become by one event. */
static void check_change(struct world *w, enum session_state before, uint64_t budget_end_ms, uint32_t actions)
{
	struct session *s = &w->session;
	bool final = s->state == SESSION_FAILED || s->state == SESSION_CLOSED;

	if (s->state == before && before != SESSION_WAITING)
		return;
	if (s->state != before && !(actions & SESSION_DO_REPORT) && s->state != SESSION_CLOSED)
		find(w, "a change that is not reported");
	if (s->state == SESSION_READY) {
		w->out_ms = SESSION_NEVER;
		w->ready_count++;
	} else if (before == SESSION_READY) {
		w->out_ms = w->now_ms;
		w->held = false;
		w->fair = !w->silent && w->now_ms - s->ready_ms >= SESSION_STABLE_MS && s->resume_fails == 0;
	}
	if (s->state == SESSION_FAILED && s->reason[0] == '\0')
		find(w, "failed without a reason");
	if (s->state == SESSION_WAITING && before != SESSION_WAITING) {
		uint64_t delay_ms = s->deadline_ms - w->now_ms;

		if (delay_ms > 2 * SESSION_THROTTLE_MS || delay_ms == 0)
			find(w, "a delay out of bounds");
		if (w->losing && w->kind == KIND_QUOTA && delay_ms < SESSION_THROTTLE_MS)
			find(w, "back too early at a service over its quota");
	}
	if (!w->losing)
		return;
	if (w->kind == KIND_FATAL && !final)
		find(w, "tried again what cannot be mended");
	if (w->kind == KIND_QUOTA && s->state == SESSION_DIALLING)
		find(w, "back at once at a service over its quota");
	if (w->kind == KIND_QUOTA && !s->has_talked && !final)
		find(w, "a new call waits for a quota");
	if ((w->kind == KIND_PASSING || (w->kind == KIND_QUOTA && s->has_talked)) && s->state == SESSION_FAILED &&
		s->young_deaths <= SESSION_YOUNG_DEATHS && w->now_ms + 2 * SESSION_THROTTLE_MS < budget_end_ms)
		find(w, "gave up although the service may come back");
}

/* What must hold at any time. */
static void check_always(struct world *w)
{
	const struct session *s = &w->session;
	bool between = s->state == SESSION_DIALLING || s->state == SESSION_SETUP || s->state == SESSION_CLOSING ||
		       s->state == SESSION_WAITING;
	uint32_t handle = number_of(session_handle(s));

	if (between && s->deadline_ms == SESSION_NEVER)
		find(w, "waits without a deadline");
	if (between && w->now_ms - w->out_ms >
			       SESSION_RETRY_MS + SESSION_TURN_MS + SESSION_DIAL_MS + SESSION_SETUP_MS + SESSION_CLOSE_MS)
		find(w, "neither talks nor ends");
	if (s->state == SESSION_READY && w->now_ms > w->hard_ms)
		find(w, "a connection is older than it may be");
	if (s->state == SESSION_READY && w->link != LINK_READY)
		find(w, "ready without a connection");
	if ((s->state == SESSION_FAILED || s->state == SESSION_CLOSED || s->state == SESSION_WAITING) && w->link != LINK_NONE)
		find(w, "a connection is left over");
	/* A handle that is let go of is dead for ever. */
	if (handle != w->newest) {
		if (w->newest != 0)
			w->dead[w->newest % WORLD_HANDLES] = true;
		if (handle != 0)
			find(w, "holds another handle than the newest");
		w->newest = handle;
	}
	/* The answer that is owed is forgotten only when all has been tried, and with a word about it. */
	if (s->state == SESSION_READY && w->owed && !s->asked)
		find(w, "a question is forgotten");
}

static void check_rotation(struct world *w)
{
	const struct session *s = &w->session;

	w->rotations++;
	if (strcmp(s->reason, "the connection is old") != 0 && strcmp(s->reason, "the service asked to change connections") != 0)
		return; /* no answer, or asked for */
	if (w->now_ms < w->due_ms)
		find(w, "a rotation that is not due");
	if (w->now_ms < w->hard_ms && (w->caller || w->model || w->owed))
		find(w, "a rotation while somebody speaks or waits");
}

static uint32_t step(struct world *w, const struct session_event *event)
{
	struct session *s = &w->session;
	enum session_state before = s->state;
	uint64_t budget_end_ms =
		(before == SESSION_READY ? w->now_ms : s->lost_ms) + (s->has_talked ? SESSION_RETRY_MS : SESSION_FIRST_MS);
	uint32_t actions = session_step(s, event, w->now_ms);

	w->events++;
	if (w->trace && (s->state != before || actions != 0))
		trace(w, "event %d: state %d to %d, actions %#x, %s", (int)event->type, (int)before, (int)s->state, actions,
			s->reason);
	if ((before == SESSION_FAILED || before == SESSION_CLOSED) && actions != 0)
		find(w, "does something after the end");
	check_change(w, before, budget_end_ms, actions);
	if (before == SESSION_READY && s->state == SESSION_CLOSING)
		check_rotation(w);
	carry_out(w, actions);
	check_always(w);
	return actions;
}

static void step_type(struct world *w, enum session_event_type type)
{
	step(w, &(struct session_event){.type = type, .reason = "the world wants it"});
}

static void update_busy(struct world *w)
{
	bool busy = w->caller || w->model;

	if (busy != w->session.busy)
		step_type(w, busy ? SESSION_BUSY : SESSION_QUIET);
}

/* The connection ends without our doing. */
static void lose(struct world *w, uint16_t code, int http_status, const char *reason, enum kind kind)
{
	bool dropped = w->silent;

	trace(w, "lost: %u, HTTP %d, %s", code, http_status, reason);
	if (w->link == LINK_SETUP && w->used != 0 && kind == KIND_PASSING &&
		w->now_ms >= w->session.gone_ms + 2 * SESSION_RESUME_AGAIN_MS)
		w->refusals++;
	if ((w->link == LINK_DIALLING || w->link == LINK_OPEN || w->link == LINK_SETUP) && w->now_ms >= w->locked_ms)
		w->fair = false;
	drop_link(w);
	if (dropped)
		w->gone_ms = w->now_ms + draw(w, SESSION_ABORT_MS + 1);
	w->losing = true;
	w->kind = kind;
	step(w, &(struct session_event){.type = SESSION_LOST,
			.code = code,
			.http_status = http_status,
			.reason = reason,
			.dropped = dropped,
			.silent = dropped});
	w->losing = false;
}

static void lose_by_table(struct world *w, uint32_t below)
{
	uint32_t i = draw(w, below);

	lose(w, closes[i].code, 0, closes[i].reason, closes[i].kind);
}

static void advance_dial(struct world *w)
{
	static const enum session_event_type types[] = {SESSION_RESOLVED, SESSION_CONNECTED, SESSION_SECURED, SESSION_UPGRADED};
	static const struct {
		int status;
		enum kind kind;
	} refusals[] = {{503, KIND_PASSING}, {500, KIND_PASSING}, {429, KIND_QUOTA}, {403, KIND_FATAL}, {404, KIND_FATAL}};

	if (happens(w, w->faults.unreachable)) {
		lose(w, 1006, 0, "connection refused", KIND_PASSING);
		return;
	}
	if (w->phase == 3 && happens(w, w->faults.http)) {
		uint32_t i = draw(w, happens(w, 32) ? 5 : 3);

		lose(w, 1006, refusals[i].status, "refused", refusals[i].kind);
		return;
	}
	if (w->phase == 3)
		w->link = LINK_OPEN;
	/* Another address of the same name. */
	if (w->phase == 1 && happens(w, w->faults.unreachable))
		w->phase = 0;
	w->link_ms = w->now_ms + draw(w, 60);
	if (w->phase + 1 == w->hang_at)
		w->link_ms = SESSION_NEVER;
	step_type(w, types[w->phase++]);
}

static void become_ready(struct world *w)
{
	uint64_t age_ms = (uint64_t)w->rotate_after_s * 1000, opened_ms = w->session.opened_ms;
	uint32_t life_s = happens(w, w->faults.short_life) ? draw(w, 40) : happens(w, 128) ? 590 : 3480;

	w->link = LINK_READY;
	w->link_ms = SESSION_NEVER;
	w->due_ms = opened_ms + age_ms;
	w->hard_ms = w->due_ms + SESSION_ROTATE_WINDOW_MS;
	if (w->hard_ms > opened_ms + 3475000)
		w->hard_ms = opened_ms + 3475000;
	w->life_ms = w->now_ms + life_s * 1000 + 1;
	if (!happens(w, w->faults.no_go_away))
		w->go_away_ms = w->now_ms + (life_s > 50 ? (life_s - 50) * 1000 : 0);
	if (happens(w, w->faults.go_away)) {
		/* Sent away as soon as it is there, or some time later. */
		w->go_away_ms = w->now_ms + draw(w, happens(w, 192) ? 20 : 20000);
		w->life_ms = w->go_away_ms + draw(w, happens(w, 192) ? 5000 : 60000);
	}
	w->handle_ms = w->now_ms + draw(w, 120);
	if (happens(w, w->faults.silent))
		w->silent = true;
	w->refusals = 0;
	step_type(w, SESSION_SETUP_COMPLETE);
	if (w->session.state == SESSION_READY && w->owed != w->session.asked)
		find(w, "a question is forgotten");
	update_busy(w);
	if (w->talk_ms < w->now_ms)
		w->talk_ms = w->now_ms;
}

static void answer_setup(struct world *w)
{
	w->held |= w->used != 0 && w->now_ms < w->locked_ms;
	if (w->used != 0 && (w->now_ms < w->locked_ms || happens(w, w->faults.refuse_resume)))
		lose(w, 1011, 0, "Internal error encountered.", KIND_PASSING);
	else if (w->answer == ANSWER_CLOSE)
		lose_by_table(w, happens(w, 32) ? CLOSES : CURABLE);
	else if (w->answer == ANSWER_ERROR)
		step(w, &(struct session_event){.type = SESSION_ERROR, .http_status = 500, .reason = "error"});
	else
		become_ready(w);
}

static void advance_link(struct world *w)
{
	switch (w->link) {
	case LINK_DIALLING:
		advance_dial(w);
		break;
	case LINK_SETUP:
		answer_setup(w);
		break;
	case LINK_CLOSING:
		close_is_done(w);
		lose(w, 1000, 0, "", KIND_PASSING);
		break;
	default:
		w->link_ms = SESSION_NEVER;
		break;
	}
}

/* The service ends the connection, in one way or another. */
static void end_life(struct world *w)
{
	w->life_ms = SESSION_NEVER;
	w->locked_ms = w->model ? 0 : w->now_ms + draw(w, 1600);
	if (w->silent) {
		/* Nobody hears of it until we notice; the service keeps its end. */
		w->locked_ms = w->now_ms + 600000;
		lose(w, 1006, 0, "the service is silent", KIND_PASSING);
	} else if (happens(w, w->faults.error)) {
		step(w, &(struct session_event){.type = SESSION_ERROR, .http_status = 503, .reason = "error"});
	} else {
		lose_by_table(w, happens(w, 16) ? CLOSES : happens(w, 64) ? CURABLE : PASSING);
	}
}

static void go_away(struct world *w)
{
	uint32_t left_ms = w->life_ms > w->now_ms ? (uint32_t)(w->life_ms - w->now_ms) : 0;
	bool unsaid = happens(w, 64);
	uint64_t last_ms = w->session.opened_ms + 3475000;

	w->go_away_ms = SESSION_NEVER;
	if (w->silent)
		return;
	if (unsaid)
		left_ms = 50000;
	w->hard_ms = w->now_ms + (left_ms > 5000 ? left_ms - 5000 : 0);
	if (w->hard_ms > last_ms)
		w->hard_ms = last_ms;
	if (w->due_ms > w->now_ms)
		w->due_ms = w->now_ms;
	trace(w, "goAway, %u ms left", left_ms);
	step(w, &(struct session_event){.type = SESSION_GO_AWAY, .time_left_ms = unsaid ? GEMINI_TIME_UNSAID : left_ms});
}

static void give_handle(struct world *w)
{
	char text[16];
	bool resumable = !happens(w, w->faults.not_resumable);
	uint32_t number = w->handles;

	w->handle_ms = happens(w, 64) ? w->now_ms + draw(w, 30000) : SESSION_NEVER;
	if (w->silent)
		return;
	if (number == 0 || !happens(w, w->faults.same_handle))
		number = w->handles + 1 < WORLD_HANDLES ? ++w->handles : number;
	snprintf(text, sizeof(text), "h%u", number);
	/* One that was given up must not be taken again, whoever offers it. */
	if (resumable && !w->dead[number])
		w->newest = number;
	trace(w, "handle %s%s", text, resumable ? "" : ", not resumable");
	step(w, &(struct session_event){.type = SESSION_HANDLE, .handle = resumable ? text : "", .resumable = resumable});
}

/* Caller and model take turns; what the model has said before the connection went plays on. */
static void talk(struct world *w)
{
	bool heard = w->link == LINK_READY && !w->silent;

	if (w->model) {
		w->model = false;
		update_busy(w);
		if (heard)
			step_type(w, SESSION_TURN_OVER);
		w->owed &= !heard;
		w->talk_ms = w->now_ms + draw(w, 4000);
	} else if (w->caller) {
		if (heard) {
			w->owed = true;
			step_type(w, SESSION_ASKED);
		}
		w->caller = false;
		update_busy(w);
		w->talk_ms = w->now_ms + 200 + draw(w, 1500);
	} else if (w->owed && heard && !happens(w, w->faults.no_answer)) {
		w->owed = false;
		if (happens(w, w->faults.empty_turn)) {
			step_type(w, SESSION_TURN_OVER);
		} else {
			w->nudges = 0;
			w->model = true;
			update_busy(w);
			step_type(w, SESSION_ANSWERED);
		}
		w->talk_ms = w->now_ms + 500 + draw(w, 12000);
	} else {
		w->caller = heard && happens(w, 192);
		update_busy(w);
		w->talk_ms = w->now_ms + 300 + draw(w, 8000);
	}
}

/* What belongs to no connection of now, or comes twice, changes nothing. */
static void disturb(struct world *w)
{
	static const enum session_event_type types[] = {SESSION_START, SESSION_TICK, SESSION_UPGRADED, SESSION_SETUP_COMPLETE,
		SESSION_DIAL_BEGINS, SESSION_CONNECTED, SESSION_SECURED, SESSION_RESOLVED};
	enum session_state before = w->session.state;
	enum session_event_type type = types[draw(w, before == SESSION_DIALLING ? 2 : before == SESSION_SETUP ? 3 : 8)];

	if (w->now_ms >= w->session.deadline_ms)
		return;
	if (step(w, &(struct session_event){.type = type, .reason = ""}) != 0 || w->session.state != before)
		find(w, "an event that does not belong here does something");
}

static void draw_faults(struct world *w)
{
	uint32_t *fault = (uint32_t *)&w->faults;
	uint32_t level = draw(w, 4); /* 0: calm */

	for (size_t i = 0; i < sizeof(w->faults) / sizeof(*fault); i++)
		fault[i] = level == 0 || happens(w, 128) ? draw(w, 4) : draw(w, 40u * level + 1);
	/* One that hits nearly always: only a series of the same shows a circle. */
	if (happens(w, 48))
		fault[draw(w, sizeof(w->faults) / sizeof(*fault))] = 250;
	w->faults.refused = draw(w, 2);
}

void world_begin(struct world *w, uint64_t seed, bool trace_it)
{
	static const uint32_t ages_s[] = {5, 20, 60, SESSION_ROTATE_AFTER_S, SESSION_ROTATE_AFTER_S, SESSION_ROTATE_MAX_S};

	memset(w, 0, sizeof(*w));
	w->random = (seed + 1) * 0x9e3779b97f4a7c15u;
	w->trace = trace_it;
	w->now_ms = w->out_ms = 1000000;
	draw_faults(w);
	w->rotate_after_s = ages_s[draw(w, 6)];
	w->turn_ms = SESSION_NEVER;
	drop_link(w);
	w->talk_ms = w->now_ms + draw(w, 3000);
	session_init(&w->session, (uint32_t)w->random, w->rotate_after_s);
	step_type(w, SESSION_START);
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

bool world_step(struct world *w)
{
	struct session *s = &w->session;
	uint64_t next_ms;

	if (s->state == SESSION_FAILED || s->state == SESSION_CLOSED || w->finding != NULL)
		return false;
	next_ms = earliest(earliest(s->deadline_ms, w->turn_ms), earliest(w->link_ms, w->talk_ms));
	next_ms = earliest(next_ms, earliest(w->life_ms, earliest(w->go_away_ms, w->handle_ms)));
	if (next_ms > w->now_ms)
		w->now_ms = next_ms;
	if (happens(w, w->faults.spurious))
		disturb(w);
	/* The tick comes first, as late as anything else may make it: the machine must not rely on its order. */
	if (w->now_ms >= s->deadline_ms && (w->random & 1) == 0) {
		step_type(w, SESSION_TICK);
	} else if (next_ms == w->turn_ms) {
		w->turn_ms = SESSION_NEVER;
		if (happens(w, w->faults.refused)) {
			step_type(w, SESSION_REFUSED);
		} else {
			step_type(w, SESSION_DIAL_BEGINS);
			begin_dial(w);
		}
	} else if (next_ms == w->link_ms) {
		advance_link(w);
	} else if (next_ms == w->life_ms) {
		end_life(w);
	} else if (next_ms == w->go_away_ms) {
		go_away(w);
	} else if (next_ms == w->handle_ms) {
		give_handle(w);
	} else if (next_ms == w->talk_ms) {
		talk(w);
	} else {
		step_type(w, SESSION_TICK);
	}
	if (happens(w, 1) && happens(w, 64)) {
		step_type(w, SESSION_HANG_UP);
		if (s->state != SESSION_CLOSED || session_state_name(s) != NULL)
			find(w, "hung up, and not closed");
	}
	return true;
}

void world_heal(struct world *w)
{
	memset(&w->faults, 0, sizeof(w->faults));
	w->life_ms = w->silent && w->life_ms != SESSION_NEVER ? w->now_ms + 60000 : w->life_ms;
}

bool world_talks(const struct world *w)
{
	return w->session.state == SESSION_READY && !w->silent;
}

void world_end(struct world *w)
{
	session_free(&w->session);
}
