/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out what a call's state machine decides and moves its audio, see call.h. What the model says is in call_message.c.
 */
#include "call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/clock.h"
#include "../shared/log.h"
#include "call_credential.h"
#include "call_dtmf.h"
#include "call_gate.h"
#include "call_latency.h"
#include "call_message.h"
#include "call_report.h"
#include "call_resume.h"
#include "call_tools.h"
#include "call_turn.h"
#include "gemini_message.h"
#include "stats.h"
#include "tsc.h"

#define ORPHAN_MS	    10000u /* how long a session waits for its data plane */
#define ADDRESSES_TRIED_MAX 4u	   /* in one dial */
#define STUCK_MS	    5000u  /* a connection that takes nothing for so long is dead */
#define SILENT_PING_MS	    20000u /* nothing heard for so long: ping; the service answers some pings half a minute late */
#define SILENT_DEAD_MS	    60000u
#define OWED_SILENT_MS	    5000u /* nothing heard for so long, */
#define OWED_PING_MS	    2500u /* and an answer is overdue in so long: ping, */
#define OWED_DEAD_MS	    2000u /* and when nobody has even acknowledged it for so long, the path is dead */
#define VOICE_TAIL_MS	    600u  /* behind the caller's voice: he may pause */
#define PREFIX_PADDING_MS   20u	  /* voice detection for telephony: quick to start */
#define SILENCE_DURATION_MS 500u  /* and a turn ends after half a second */

static void carry_out(struct call *call, uint32_t actions, uint64_t now_ms);

/* Whether its connection is one that the caller's words have gone into. */
static bool has_session(enum session_state state)
{
	return state == SESSION_READY || state == SESSION_CLOSING;
}

void call_step(struct call *call, const struct session_event *event, uint64_t now_ms)
{
	bool dialling = call->session.state == SESSION_DIALLING;
	enum session_state before = call->session.state;
	uint32_t actions = session_step(&call->session, event, now_ms);
	uint64_t again_ms = 0;

	/* An address that does not even refuse would cost the next dial its whole deadline too. */
	if (dialling && event->type == SESSION_TICK && (actions & SESSION_DO_ABORT))
		endpoint_failed(call->worker->endpoint, call->address);
	if (event->type == SESSION_ANSWERED)
		call->again = false;
	if (event->type == SESSION_ANSWERED || event->type == SESSION_TURN_OVER)
		call->again_ms = 0;
	if ((actions & SESSION_DO_ABORT) && has_session(before) && call->session.state != SESSION_CLOSED)
		again_ms = call_resume_take_back(call, wss_unacknowledged_ms(call->connection) >= OWED_DEAD_MS, now_ms);
	if (before == SESSION_READY && call->session.state != SESSION_READY)
		call_resume_gap(call, now_ms);
	carry_out(call, actions, now_ms);
	if (again_ms != 0)
		call_resume_again(call, again_ms);
}

void call_asked(struct call *call, uint64_t now_ms)
{
	/* A backlog goes out at twice real time. */
	uint32_t way_ms = (uint32_t)(uplink_behind_us(&call->uplink) / 2000);

	call_step(call, &(struct session_event){.type = SESSION_ASKED, .way_ms = way_ms}, now_ms);
}

static void drop_control(struct call *call)
{
	while (call->control != NULL) {
		struct call_control *first = call->control;

		call->control = first->next;
		free(first->text);
		free(first);
	}
}

/* There is no connection any more; libwebsockets has freed it or will. */
static void forget_connection(struct call *call)
{
	call->connection = NULL;
	tool_ledger_dropped(&call->tools);
	dtmf_dropped(&call->dtmf);
	call->control_queued = call->control_sent;
	drop_control(call);
	call->write_asked_ms = call->urgent_ms = 0;
	call->caller_speaks = false;
	uplink_forget(&call->uplink);
	call_resume_cut(call);
}

void call_let_go(struct call *call, bool graceful)
{
	wss_release(call->connection, graceful);
	gate_lost(&call->worker->gate, &call->ticket, CLOSE_RESUME, "", 0);
	forget_connection(call);
}

static void lost(struct call *call, const struct session_event *event, uint64_t now_ms)
{
	if (call->session.state != SESSION_CLOSING) {
		stats_add(&call->worker->stats.sockets_failed, 1);
		vl_log_warning("call %s user %s: connection lost, code %u, HTTP status %d: %s", call->uuid, call->user->name,
			event->code, event->http_status, event->reason);
	}
	call_report_closed(call, event->code, event->http_status, event->reason);
	call_gate_lost(call, event->code, event->http_status, event->reason, now_ms);
	call_step(call, event, now_ms);
}

void call_lost(struct call *call, uint16_t code, int http_status, const char *reason, uint64_t now_ms)
{
	lost(call, &(struct session_event){.type = SESSION_LOST, .code = code, .http_status = http_status, .reason = reason},
		now_ms);
}

/* A session's connection. `dead_ms`: the path to the service was dead, nothing was heard of it since then; 0: it was not. */
static void lost_session(struct call *call, struct session_event *event, uint64_t dead_ms, uint64_t now_ms)
{
	uint64_t again_ms = call_resume_take_back(call, dead_ms != 0, now_ms);

	event->silent = dead_ms != 0 && call->urgent_ms != 0;
	if (dead_ms != 0)
		call->gap_ms = dead_ms;
	if (event->dropped)
		call_let_go(call, false);
	else
		forget_connection(call);
	lost(call, event, now_ms);
	if (again_ms != 0)
		call_resume_again(call, again_ms);
}

/* The service, or the path to it (`dead_ms`), is dead although the socket is open. */
static void give_up(struct call *call, const char *reason, uint64_t dead_ms, uint64_t now_ms)
{
	struct session_event event = {.type = SESSION_LOST, .code = 1006, .dropped = true, .reason = reason};

	lost_session(call, &event, dead_ms, now_ms);
}

/* Returns why it did not work, or NULL. The service's name is resolved. */
static const char *dial_address(struct call *call, uint64_t now_ms)
{
	struct worker *worker = call->worker;
	const struct wss_config *config = endpoint_config(worker->endpoint);

	call->reading = true;
	snprintf(call->address, sizeof(call->address), "%s", config->address);
	call->connection = wss_dial(worker->wss, config, call_credential(call), call);
	if (call->connection == NULL)
		return "cannot start a connection";
	call_step(call, &(struct session_event){.type = SESSION_RESOLVED}, now_ms);
	return NULL;
}

/* Nobody answered at the address: the name's next one is tried within the same dial, as long as its deadline runs. */
static bool dial_next_address(struct call *call, uint64_t now_ms)
{
	struct endpoint *endpoint = call->worker->endpoint;

	if (call->session.state != SESSION_DIALLING)
		return false;
	endpoint_failed(endpoint, call->address);
	if (call->addresses_tried >= ADDRESSES_TRIED_MAX || call->addresses_tried >= endpoint_count(endpoint))
		return false;
	call->addresses_tried++;
	return dial_address(call, now_ms) == NULL || dial_next_address(call, now_ms);
}

/* As soon as the service's name is resolved and there is a credential; both go on in the background. */
static void dial_when_resolved(struct call *call, uint64_t now_ms)
{
	const char *why;

	if (endpoint_config(call->worker->endpoint)->address == NULL || !call_credential_ready(call, now_ms))
		return;
	why = dial_address(call, now_ms);
	if (why != NULL && !dial_next_address(call, now_ms))
		call_lost(call, 1006, 0, why, now_ms);
}

void call_dial(struct call *call, uint64_t now_ms)
{
	call->dial_us = vl_clock_us();
	call->address[0] = '\0';
	call->addresses_tried = 1;
	call->credential_wait_ms = 0;
	call->token_retried = false;
	dial_when_resolved(call, now_ms);
}

/* Which phase a dial has come to is asked for here; TLS and upgrade report themselves. */
static void watch_dial(struct call *call, uint64_t now_ms)
{
	if (call->session.phase == SESSION_PHASE_DNS || call->credential_wait_ms != 0)
		dial_when_resolved(call, now_ms);
	else if (call->session.phase == SESSION_PHASE_TCP && wss_is_connected(call->connection))
		call_step(call, &(struct session_event){.type = SESSION_CONNECTED}, now_ms);
}

void call_send_control(struct call *call, char *text)
{
	struct call_control *control = malloc(sizeof(*control)), **last = &call->control;

	if (control == NULL || text == NULL) {
		free(control);
		free(text);
		return;
	}
	while (*last != NULL)
		last = &(*last)->next;
	*control = (struct call_control){.text = text};
	*last = control;
	call->control_queued++;
	wss_want_write(call->connection);
}

static void say_once_that_language_is_a_wish(struct user *user)
{
	if (user->language_said || user->language[0] == '\0' ||
		(gemini_model_features(users_model(user)) & GEMINI_FEATURE_LANGUAGE))
		return;
	user->language_said = true;
	vl_log_info("user %s: %s takes no language code, so its instructions ask for %s", user->name, users_model(user),
		user->language);
}

static void send_setup(struct call *call)
{
	struct user *user = call->user;
	struct gemini_setup setup = {.model = users_model(user),
		.voice = user->voice[0] != '\0' ? user->voice : NULL,
		.language = user->language[0] != '\0' ? user->language : NULL,
		.instructions = user->instructions,
		.handle = session_handle(&call->session),
		.tools = user->tools,
		.tool_count = user->tool_count,
		.prefix_padding_ms = PREFIX_PADDING_MS,
		.silence_duration_ms = SILENCE_DURATION_MS,
		.seeded = call_resume_seeds(call)};

	say_once_that_language_is_a_wish(user);
	call_send_control(call, gemini_build_setup(&setup));
}

/* The service's Close stands behind what is not read yet, however much is queued. */
static void close_connection(struct call *call)
{
	if (!call->reading)
		wss_read(call->connection, true);
	call->reading = true;
	wss_close(call->connection);
}

static void carry_out(struct call *call, uint32_t actions, uint64_t now_ms)
{
	if (actions & SESSION_DO_ABORT)
		call_let_go(call, false);
	if (actions & SESSION_DO_CLOSE) {
		if (call->session.state == SESSION_CLOSED)
			call_let_go(call, true);
		else
			close_connection(call);
	}
	if (actions & SESSION_DO_REPORT)
		call_report_state(call);
	if (actions & SESSION_DO_SETUP)
		send_setup(call);
	if (actions & SESSION_DO_DIAL)
		call_gate_ask(call, now_ms);
	if (actions & SESSION_DO_NUDGE)
		call_resume_nudge(call);
	if (actions & SESSION_DO_GIVE_UP)
		call_resume_give_up(call, now_ms);
}

static void on_heard(void *owner)
{
	struct call *call = owner;

	call->heard_ms = vl_clock_ms();
	call->pinged = false;
	call->urgent_ms = 0;
	uplink_arrived(&call->uplink, call->heard_ms);
}

static void on_secured(void *owner)
{
	call_step(owner, &(struct session_event){.type = SESSION_SECURED}, vl_clock_ms());
}

static void on_opened(void *owner)
{
	struct call *call = owner;

	stats_add(&call->worker->stats.sockets_opened, 1);
	gate_opened(&call->worker->gate, &call->ticket);
	on_heard(call);
	call_step(call, &(struct session_event){.type = SESSION_UPGRADED}, vl_clock_ms());
}

static void on_lost(void *owner, uint16_t code, int http_status, bool dead, const char *reason)
{
	struct call *call = owner;
	struct session_event event = {.type = SESSION_LOST, .code = code, .http_status = http_status, .reason = reason};
	uint64_t now_ms = vl_clock_ms();

	if (has_session(call->session.state)) {
		lost_session(call, &event, dead ? call->heard_ms : 0, now_ms);
		return;
	}
	forget_connection(call);
	if (http_status == 0 && dial_next_address(call, now_ms))
		return;
	if (call_credential_rejected(call, http_status, now_ms))
		return;
	lost(call, &event, now_ms);
}

/* Copy behind the headroom and send. */
static void send_text(struct call *call, const char *text)
{
	struct worker *worker = call->worker;
	size_t len = strlen(text);
	char *buffer = malloc(wss_headroom() + len);

	if (buffer == NULL)
		return;
	memcpy(buffer + wss_headroom(), text, len);
	wss_send(call->connection, buffer + wss_headroom(), len);
	stats_add(&worker->stats.messages_out, 1);
	stats_add(&worker->stats.bytes_out, len);
	free(buffer);
}

static void send_audio(struct call *call, uint64_t now_ms)
{
	struct worker *worker = call->worker;
	int16_t phone[UPLINK_MESSAGE_MS_MAX * UPLINK_SAMPLES_PER_MS], wide[CALL_MESSAGE_SAMPLES_MAX];
	const int16_t *pcm = phone;
	char *text = worker->message + wss_headroom();
	size_t samples = uplink_message_samples(&call->uplink), len;
	uint64_t tsc;

	call->uplink.voiced = call->voice.speaks || (call->voice.spoke_ms != 0 && now_ms < call->voice.spoke_ms + VOICE_TAIL_MS);
	tsc = uplink_take(&call->uplink, phone, now_ms);
	if (call->up_resampler != NULL) {
		samples = vl_resampler_process(call->up_resampler, phone, samples, wide);
		pcm = wide;
	}
	len = gemini_build_audio(text, pcm, samples, worker->options.uplink_rate);
	wss_send(call->connection, text, len);
	stats_add(&worker->stats.messages_out, 1);
	stats_add(&worker->stats.bytes_out, len);
	if (tsc != 0 && worker->tsc_hz != 0)
		vl_histogram_add(&worker->stats.rtp_to_websocket_us,
			tsc_elapsed_us(tsc, worker->tsc_hz) + uplink_behind_us(&call->uplink));
}

/* One message, the most urgent one. Returns whether there was any. */
static bool send_next(struct call *call, uint64_t now_ms)
{
	if (call->control != NULL) {
		struct call_control *first = call->control;

		call->control = first->next;
		call->control_sent++;
		send_text(call, first->text);
		tool_ledger_went_out(&call->tools, call->control_sent, now_ms);
		dtmf_went_out(&call->dtmf, call->control_sent, now_ms);
		free(first->text);
		free(first);
	} else if (call->session.state == SESSION_READY && uplink_due(&call->uplink, now_ms)) {
		send_audio(call, now_ms);
	} else if (call->session.state == SESSION_READY && uplink_take_end(&call->uplink)) {
		send_text(call, gemini_audio_stream_end);
	} else {
		return false;
	}
	return true;
}

static void on_writable(void *owner)
{
	struct call *call = owner;

	call->write_asked_ms = 0;
	if (send_next(call, vl_clock_ms()) && call->control != NULL && call->connection != NULL)
		wss_want_write(call->connection);
}

/* Asked before the connection is, because in seven of eight ticks nothing is, and many calls' connections are not in the cache. */
static bool has_due(const struct call *call, uint64_t now_ms)
{
	return call->control != NULL || uplink_due(&call->uplink, now_ms) || call->uplink.end_due;
}

/* Send what is due, or wait for a socket that is full, but not for ever. */
static void pump(struct call *call, uint64_t now_ms)
{
	if (call->write_asked_ms == 0) {
		if (!has_due(call, now_ms))
			return;
		while (wss_is_clear(call->connection) && send_next(call, now_ms))
			;
		if (!wss_is_clear(call->connection)) {
			call->write_asked_ms = now_ms;
			wss_want_write(call->connection);
		}
	} else if (now_ms - call->write_asked_ms > STUCK_MS) {
		give_up(call, "the connection takes no more data", call->write_asked_ms, now_ms);
	}
}

/*
 * The caller waits: a model that is mute can be reminded, a dead path must not keep him waiting for that. A pong tells nothing, the service sends some
 * 30 s late; what it sends at once is TCP's acknowledgement of our ping.
 */
static void watch_owed(struct call *call, uint64_t now_ms)
{
	if (call->urgent_ms == 0) {
		call->urgent_ms = now_ms;
		wss_ping(call->connection);
	} else if (now_ms - call->urgent_ms >= OWED_DEAD_MS && wss_unacknowledged_ms(call->connection) >= OWED_DEAD_MS) {
		give_up(call, "the service owes an answer, and nothing that was sent is acknowledged", call->heard_ms, now_ms);
	}
}

/* Whether a connection that only looks alive is dead: it owes an answer to our ping, and has said nothing else either. */
static void watch(struct call *call, uint64_t now_ms)
{
	uint64_t silent_ms;

	if (!call->reading) {
		call->heard_ms = now_ms; /* it is we who do not listen */
		call->urgent_ms = 0;
	}
	silent_ms = now_ms - call->heard_ms;
	if (silent_ms > SILENT_DEAD_MS) {
		give_up(call, "the service is silent", call->heard_ms, now_ms);
	} else if (call->session.asked && silent_ms >= OWED_SILENT_MS && now_ms + OWED_PING_MS >= call->session.answer_ms) {
		watch_owed(call, now_ms);
	} else if (silent_ms > SILENT_PING_MS && !call->pinged) {
		call->pinged = true;
		wss_ping(call->connection);
	}
}

/* Who has not even answered a ping will not answer a Close: the caller need not wait for that. */
static void watch_closing(struct call *call, uint64_t now_ms)
{
	if (call->urgent_ms != 0 && now_ms - call->urgent_ms >= OWED_DEAD_MS)
		give_up(call, "the service owes an answer, and nothing was heard of it any more", 0, now_ms);
}

static void on_message(void *owner, char *text, size_t len)
{
	on_heard(owner);
	call_message(owner, text, len, vl_clock_ms());
}

const struct wss_handler call_wss_handler = {.secured = on_secured,
	.opened = on_opened,
	.message = on_message,
	.pong = on_heard,
	.writable = on_writable,
	.lost = on_lost};

struct call *call_create(struct worker *worker, const struct dataplane_open *open, struct user *user, uint64_t now_ms)
{
	struct call *call = calloc(1, sizeof(*call));
	struct uplink_config config = {.law = open->law,
		.payload_type = (uint8_t)open->law,
		.event_payload_type = open->event_payload_type,
		.message_ms = (uint16_t)worker->options.message_ms};

	if (call == NULL)
		return NULL;
	call->worker = worker;
	call->user = user;
	if (downlink_init(&call->downlink, open->law) != 0)
		goto fail;
	if (worker->options.uplink_rate != VL_G711_RATE_HZ) {
		call->up_resampler = vl_resampler_new(VL_G711_RATE_HZ, worker->options.uplink_rate);
		if (call->up_resampler == NULL)
			goto fail;
	}
	uplink_init(&call->uplink, &config);
	if (call_gate_join(call) != 0)
		goto fail;
	session_init(&call->session, (uint32_t)tsc_now() ^ open->index, user->users->gemini.rotate_after_s);
	call_turn_init(call);
	users_hold(user);
	call_attach(call, open, now_ms);
	HASH_ADD_STR(worker->calls, uuid, call);
	worker->call_count++;
	call_step(call, &(struct session_event){.type = SESSION_START}, now_ms);
	return call;
fail:
	vl_resampler_free(call->up_resampler);
	downlink_free(&call->downlink);
	free(call);
	return NULL;
}

void call_attach(struct call *call, const struct dataplane_open *open, uint64_t now_ms)
{
	memcpy(call->uuid, open->uuid, sizeof(call->uuid));
	call->index = open->index;
	call->generation = open->generation;
	call->lcore = open->lcore;
	call->attached = true;
	call->orphan_until_ms = 0;
	call->reported[0] = '\0';
	uplink_hold(&call->uplink, open->held);
	call->latency = (struct call_latency){0};
	downlink_restart(&call->downlink);
	downlink_listen(&call->downlink, open->listening, now_ms);
	/* What the old data plane was playing is over. */
	if (call->downlink.complete && call->downlink.queue.len == 0)
		call_turn(call, TURN_DRAINED, now_ms);
	call_update_busy(call, now_ms);
	call_tools_attached(call);
}

void call_detach(struct call *call, uint64_t now_ms)
{
	call->attached = false;
	call->orphan_until_ms = now_ms + ORPHAN_MS;
}

void call_destroy(struct call *call, uint64_t now_ms)
{
	struct worker *worker = call->worker;

	call_step(call, &(struct session_event){.type = SESSION_HANG_UP}, now_ms);
	/* Whatever the state said: no connection outlives its call with this call as its owner. */
	if (call->connection != NULL)
		call_let_go(call, false);
	HASH_DEL(worker->calls, call);
	worker->call_count--;
	gate_part(&worker->gate, &call->ticket);
	session_free(&call->session);
	uplink_free(&call->uplink);
	downlink_free(&call->downlink);
	tool_ledger_free(&call->tools);
	vl_resampler_free(call->up_resampler);
	history_free(&call->history);
	free(call->caller_text.text);
	free(call->model_text.text);
	users_release(call->user);
	free(call);
}

void call_update_busy(struct call *call, uint64_t now_ms)
{
	/* Audio that still gathers is not heard yet, but it is an answer. */
	bool speaks = (call->downlink.speaking || call->downlink.queue.len > 0) && !downlink_stalled(&call->downlink, now_ms);
	bool busy = speaks || call->caller_speaks;

	if (busy != call->session.busy)
		call_step(call, &(struct session_event){.type = busy ? SESSION_BUSY : SESSION_QUIET}, now_ms);
	call_report_state(call);
}

void call_record(struct call *call, const struct vl_record *record, const uint8_t *payload, uint64_t now_ms)
{
	struct uplink_packet packet = {.payload = payload,
		.len = record->len,
		.seq = record->seq,
		.timestamp = record->timestamp,
		.ssrc = record->ssrc,
		.payload_type = record->payload_type,
		.tsc = record->tsc};

	if (record->type == VL_RECORD_AUDIO) {
		uplink_packet(&call->uplink, &packet, now_ms, &call->worker->stats);
		call_dtmf_heard(call, record, payload, now_ms);
		call_turn_heard(call, record, payload, now_ms);
	} else if (record->type == VL_RECORD_DRAINED && (record->flags & VL_RECORD_F_FLUSHED) == 0 &&
		   downlink_drained(&call->downlink, record->turn)) {
		call_report_turn_text(call);
		call_turn(call, TURN_DRAINED, now_ms);
		call_report_event(call, "finished_speaking", NULL, NULL);
		call_update_busy(call, now_ms);
	}
}

void call_play(struct call *call, uint64_t now_ms)
{
	struct worker *worker = call->worker;
	enum downlink_due due;
	bool was_speaking = call->downlink.speaking;

	if (!call->attached)
		return;
	while ((due = downlink_next(&call->downlink, now_ms)) != DOWNLINK_NOTHING) {
		static const uint8_t types[] = {[DOWNLINK_FRAME_DUE] = VL_RECORD_FRAME,
			[DOWNLINK_FLUSH_DUE] = VL_RECORD_FLUSH,
			[DOWNLINK_MARK_DUE] = VL_RECORD_MARK};
		bool frame = due == DOWNLINK_FRAME_DUE;
		struct vl_record *record =
			vl_ring_reserve(&worker->channel.down[call->lcore], types[due], frame ? DOWNLINK_FRAME : 0);

		if (record == NULL) {
			stats_add(&worker->stats.down_ring_full, 1);
			break;
		}
		record->session = call->index;
		record->generation = call->generation;
		record->turn = call->downlink.turn;
		record->tsc = call_latency_stamp(call, due);
		downlink_take(&call->downlink, due, record->payload, now_ms);
		if (!frame)
			continue;
		stats_add(&worker->stats.down_frames, 1);
		call_turn_played(call, record->payload, now_ms);
	}
	if (was_speaking != call->downlink.speaking)
		call_update_busy(call, now_ms);
}

void call_tick(struct call *call, uint64_t now_ms)
{
	if (now_ms >= call->session.deadline_ms)
		call_step(call, &(struct session_event){.type = SESSION_TICK}, now_ms);
	if (call->session.state == SESSION_DIALLING)
		watch_dial(call, now_ms);
	uplink_tick(&call->uplink, now_ms, &call->worker->stats);
	call_turn_tick(call, now_ms);
	if (call->session.state == SESSION_READY)
		watch(call, now_ms);
	if (call->session.state == SESSION_CLOSING)
		watch_closing(call, now_ms);
	if (call->session.state == SESSION_READY)
		pump(call, now_ms);
	call_play(call, now_ms);
	call_tools_tick(call, now_ms);
	call_dtmf_tick(call, now_ms);
	/* Only a session that is ready has audio to hold back; what is read before it decides whether there will be one. */
	if (call->session.state == SESSION_READY && downlink_wants_more(&call->downlink, call->reading) != call->reading) {
		call->reading = !call->reading;
		wss_read(call->connection, call->reading);
	}
}
