/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock, the caller and the data plane of call_world.h, and the rules. In place of the resampler one sample of three is taken, so
 * that a frame still shows whose turn it is; its own tests judge the resampler.
 */
#include "call_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ai_workers/call_gate.h"
#include "ai_workers/gemini_message.h"
#include "shared/resample.h"

#define START_MS   1000000u
#define FRAME	   160u
#define OUT_MAX_MS (SESSION_RETRY_MS + SESSION_TURN_MS + SESSION_DIAL_MS + SESSION_SETUP_MS + SESSION_CLOSE_MS)

#define X(name, text) text,
const char *const call_fault_names[FAULTS] = {CALL_FAULTS(X)};
#undef X

static struct vl_channel plane, workers;

int __wrap_clock_gettime(clockid_t id, struct timespec *now);
int __wrap_clock_gettime(clockid_t id, struct timespec *now)
{
	uint64_t ms = world_now != NULL ? world_now->now_ms : 0;

	(void)id;
	*now = (struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
	return 0;
}

struct vl_resampler {
	uint32_t phase;
};

struct vl_resampler *vl_resampler_new(uint32_t rate_in, uint32_t rate_out)
{
	return rate_in == 3 * rate_out ? calloc(1, sizeof(struct vl_resampler)) : NULL;
}

void vl_resampler_free(struct vl_resampler *resampler)
{
	free(resampler);
}

size_t vl_resampler_process(struct vl_resampler *resampler, const int16_t *samples, size_t count, int16_t *out)
{
	size_t taken = 0;

	for (size_t i = 0; i < count; i++, resampler->phase = (resampler->phase + 1) % 3)
		if (resampler->phase == 0)
			out[taken++] = samples[i];
	return taken;
}

size_t vl_resampler_flush(struct vl_resampler *resampler, int16_t *out)
{
	(void)out;
	resampler->phase = 0;
	return 0;
}

void vl_resampler_reset(struct vl_resampler *resampler)
{
	resampler->phase = 0;
}

uint32_t world_draw(struct call_world *w, uint32_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (uint32_t)(((w->random >> 32) * below) >> 32);
}

bool world_has(const struct call_world *w, enum call_fault fault)
{
	return (w->faults & 1u << fault) != 0;
}

void world_find(struct call_world *w, const char *what)
{
	if (w->finding == NULL)
		w->finding = what;
	world_trace(w, "*** %s", what);
}

void world_trace(const struct call_world *w, const char *format, ...)
{
	va_list list;

	if (!w->trace)
		return;
	printf("# %9.3f s  ", (double)(w->now_ms - START_MS) / 1000.0);
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	printf("\n");
}

uint8_t world_code(uint32_t turn)
{
	return (uint8_t)(turn % WORLD_TURNS + 1);
}

/* The turn a code is of; 0: silence. */
static uint32_t turn_of(struct call_world *w, uint8_t code)
{
	if (code == 0xff)
		return 0;
	if (code <= 1 || code > WORLD_TURNS)
		world_find(w, "a sound that nobody made");
	return code - 1u;
}

void call_world_begin(struct call_world *w, uint64_t seed, uint32_t faults, bool trace)
{
	struct dataplane_open open = {.uuid = "3f2b", .index = 1, .generation = 7, .listening = true, .law = VL_G711_PCMU};
	static const uint32_t ticks_ms[] = {5, 10, 20};

	*w = (struct call_world){
		.random = (seed + 1) * 0x9e3779b97f4a7c15u, .now_ms = START_MS, .faults = faults, .trace = trace};
	world_now = w;
	if (plane.base == NULL) {
		int fd = vl_channel_create(&plane, 1, 256);

		if (fd < 0 || vl_channel_map(&workers, fd) != 0)
			abort();
		close(fd);
	}
	for (int i = 0; i < 4; i++)
		world_draw(w, 2);
	w->plane = &plane;
	w->tick_ms = ticks_ms[world_draw(w, 3)];
	w->next_ms = w->pong_ms = w->life_ms = w->reset_ms = w->quota_ms = w->error_ms = w->half_open_ms = w->freeze_ms =
		w->go_away_ms = NEVER;
	w->phantom_ms = w->noise_ms = w->handle_ms = w->late_audio_ms = w->over_ms = w->answer_ms = w->hears_ms = w->mended_ms =
		NEVER;
	w->out_ms = w->now_ms;
	w->speaks_from_ms = w->now_ms + world_draw(w, 3000);
	w->speaks_to_ms = w->speaks_from_ms + 600 + world_draw(w, 1500);
	w->sends_silence = world_draw(w, 4) == 0;
	w->worker = (struct worker){.options = {.message_ms = 40, .uplink_rate = VL_G711_RATE_HZ}, .channel = workers};
	w->worker.message = malloc(wss_headroom() + gemini_audio_size(CALL_MESSAGE_SAMPLES_MAX));
	worker_gate_start(&w->worker);
	w->worker.gate.random = (uint32_t)seed | 1;
	w->users = (struct users){.gemini = {.model = "m", .rotate_after_s = world_draw(w, 4) ? SESSION_ROTATE_AFTER_S : 10}};
	w->tool = (struct tool){.name = "lookup", .timeout_s = 4};
	w->user = (struct user){.name = "u",
		.api_key = (char *)"12345678",
		.users = &w->users,
		.key_first = &w->user,
		.tools = &w->tool,
		.tool_count = 1,
		.local_barge_in = world_draw(w, 2),
		.greeting = world_draw(w, 4) ? NULL : (char *)"Hello."};
	playout_start(&w->playout, 1, 0, 0, VL_G711_PCMU, PLAYOUT_IDLE_SILENCE);
	w->call = call_create(&w->worker, &open, &w->user, w->now_ms);
	if (w->call == NULL)
		abort();
	w->call->session.random = (uint32_t)seed | 1;
	for (int i = 0; trace && i < FAULTS; i++)
		if (world_has(w, i))
			world_trace(w, "with %s", call_fault_names[i]);
	worker_gate_run(&w->worker, w->now_ms);
}

/* What the worker has handed over, as dpdk_app's lcore takes it. */
static void take_records(struct call_world *w)
{
	struct vl_record record;
	const uint8_t *payload;

	while (vl_ring_next(&w->plane->down[0], &record, &payload) == 1) {
		int status = 0;

		if (record.session != 1 || record.generation != 7)
			world_find(w, "a record of another call");
		if (record.type == VL_RECORD_FLUSH) {
			if (record.turn <= w->playout.turn)
				world_find(w, "a flush that does not count up");
			w->flushes++;
			playout_flush(&w->playout, record.turn);
		} else if (record.type == VL_RECORD_MARK) {
			status = playout_mark(&w->playout, record.turn);
		} else {
			status = playout_push(&w->playout, record.turn, payload, record.len, 0);
		}
		if (status != 0)
			world_find(w, "the data plane refuses a record");
		vl_ring_release(&w->plane->down[0]);
	}
}

static void check_frame(struct call_world *w, const uint8_t *payload)
{
	static const size_t places[] = {0, FRAME - 1};

	w->frames++;
	for (size_t i = 0; i < 2; i++) {
		uint32_t turn = turn_of(w, payload[places[i]]);

		if (turn != 0 && turn <= w->cut)
			world_find(w, "audio of an old turn after a flush");
		if (turn != 0 && turn < w->heard_turn)
			world_find(w, "audio of an old turn behind a newer one");
		if (turn > w->heard_turn)
			w->heard_turn = turn;
	}
}

static void beat(struct call_world *w)
{
	const struct downlink *d = &w->call->downlink;
	struct playout_packet packet;

	playout_beat(&w->playout, &packet);
	if (packet.action != PLAYOUT_SEND_FRAME && packet.action != PLAYOUT_SEND_SILENCE)
		world_find(w, "a beat without a packet");
	if (packet.payload_len != FRAME || packet.seq != w->expected_seq || packet.timestamp != w->expected_timestamp)
		world_find(w, "RTP is not continuous");
	w->expected_seq = (uint16_t)(packet.seq + 1);
	w->expected_timestamp = packet.timestamp + PLAYOUT_SAMPLES;
	w->beats++;
	if (packet.action == PLAYOUT_SEND_FRAME)
		check_frame(w, packet.payload);
	else if (d->playing && !d->paused && d->queue.len >= FRAME)
		world_find(w, "silence although there is voice to play");
	if (packet.drained)
		call_record(
			w->call, &(struct vl_record){.type = VL_RECORD_DRAINED, .turn = packet.drained_turn}, NULL, w->now_ms);
}

/* The caller: speaks now and then whoever else speaks, and is heard as noise. */
static void run_caller(struct call_world *w)
{
	bool speaks = w->now_ms >= w->speaks_from_ms && w->now_ms < w->speaks_to_ms;
	struct vl_record record = {
		.type = VL_RECORD_AUDIO, .len = FRAME, .ssrc = 9, .seq = w->up_seq, .timestamp = w->up_timestamp};
	uint8_t codes[FRAME];

	w->up_timestamp += FRAME;
	if (w->now_ms >= w->speaks_to_ms) {
		w->speaks_from_ms = w->now_ms + 1500 + world_draw(w, w->healed ? 6000 : 9000);
		w->speaks_to_ms = w->speaks_from_ms + 300 + world_draw(w, 2500);
	}
	if (!speaks && !w->sends_silence)
		return;
	w->up_seq++;
	for (uint32_t i = 0; i < FRAME; i += 8) {
		uint64_t noise = w->random * (i + 1) & 0x8f8f8f8f8f8f8f8fu;

		if (!speaks)
			noise = UINT64_MAX;
		memcpy(codes + i, &noise, 8);
	}
	world_draw(w, 2);
	if (speaks && w->call->session.state == SESSION_READY)
		w->said_ms = w->now_ms;
	call_record(w->call, &record, codes, w->now_ms);
}

static void check(struct call_world *w)
{
	const struct session *s = &w->call->session;
	bool between = s->state != SESSION_READY && s->state != SESSION_FAILED;

	if (between && w->out_ms == NEVER)
		w->out_ms = w->now_ms;
	if (!between)
		w->out_ms = NEVER;
	else if (s->deadline_ms == SESSION_NEVER)
		world_find(w, "waits without a deadline");
	else if (w->now_ms > w->out_ms + OUT_MAX_MS)
		world_find(w, "neither talks nor ends");
	if (w->again != 0 && w->link == LINK_READY && !w->dead && w->now_ms >= w->again_ms &&
		w->worker.stats.up_discarded_ms == w->discarded_ms)
		world_find(w, "what nobody heard is not said again");
	if (s->state == SESSION_READY && w->link != LINK_READY)
		world_find(w, "ready without a connection");
	if ((s->state == SESSION_WAITING || s->state == SESSION_FAILED) && w->link != LINK_NONE)
		world_find(w, "a connection is left over");
	if (s->state == SESSION_FAILED && !w->failed_reported)
		world_find(w, "an end that is not reported, or without a reason");
}

bool call_world_step(struct call_world *w)
{
	w->now_ms += w->tick_ms;
	service_run(w);
	service_platform(w);
	if (w->now_ms % 20 == 0)
		run_caller(w);
	call_tick(w->call, w->now_ms);
	worker_gate_run(&w->worker, w->now_ms);
	vl_ring_publish(&w->worker.channel.down[0]);
	take_records(w);
	if (w->now_ms % 20 == 0)
		beat(w);
	check(w);
	return w->finding == NULL && w->call->session.state != SESSION_FAILED;
}

static bool is_settled(const struct call_world *w, const struct world_tool *tool)
{
	if (tool->received || tool->cancelled || tool->lost || tool->told)
		return true;
	return tool->conversation != w->conversation && (tool->sends > 0 || tool->wrong);
}

bool call_world_talks(struct call_world *w)
{
	bool settled = true;

	if (w->mended_ms == NEVER) {
		w->mended_ms = w->now_ms;
		w->probe_turn = w->turns;
		service_heal(w);
	}
	for (uint32_t i = 0; i < w->tool_count; i++)
		settled &= is_settled(w, &w->tools[i]);
	if (w->now_ms >= w->mended_ms + 150000)
		world_find(w, settled ? "the service is well again, and the call does not talk"
				      : "a call is neither answered nor reported lost");
	return settled && w->heard_turn > w->probe_turn && w->call->session.state == SESSION_READY &&
	       w->now_ms >= w->mended_ms + 6000;
}

void call_world_end(struct call_world *w)
{
	/* What was not reached is of the next run's ring no part. */
	vl_ring_publish(&w->worker.channel.down[0]);
	call_destroy(w->call, w->now_ms);
	if (w->link != LINK_NONE)
		world_find(w, "a connection outlives its call");
	if (w->worker.call_count != 0)
		world_find(w, "a call is left over");
	take_records(w);
	workers = w->worker.channel;
	gate_free(&w->worker.gate);
	free(w->worker.message);
}
