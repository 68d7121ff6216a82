/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's loop: what comes over the link becomes calls, a tick of a few milliseconds moves the audio of all of them, and
 * without calls nothing runs at all.
 */
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../shared/clock.h"
#include "../shared/log.h"
#include "call.h"
#include "call_gate.h"
#include "call_tools.h"
#include "gemini_message.h"
#include "reload.h"
#include "stats.h"
#include "token_source.h"
#include "tsc.h"

#define TICK_MS		     5u
#define TICK_FEW_MS	     10u  /* a turn begins with cold caches: with few calls that is most of its cost */
#define FEW_CALLS	     256u /* up to here; with more a turn of 10 ms of everybody's audio would be long */
#define PUBLISH_MS	     250u
#define TICK_LATE_US	     5000u /* behind its time */
#define RECORDS_PER_TURN     2048u /* of one ring, so that a backlog does not hold up everything else */
#define END_TURNS	     200u  /* of END_TURN_US, for handles to close */
#define END_TURN_US	     5000u
#define SHUTDOWN_MS	     1500u /* for Close and its echo on every socket */
#define INDEX_MAX	     (1u << 20)
#define CONNECTIONS_PER_CALL 2u /* one, and one that is being closed */

static void on_tick(uv_timer_t *timer);

/* Copy our numbers to the page the data plane reads. */
static void publish_stats(struct worker *w)
{
	struct vl_worker_stats *to = w->channel.stats;

	atomic_store_explicit(&w->stats.sockets_open, wss_open_count(w->wss), memory_order_relaxed);
	atomic_store_explicit(&w->stats.dials_waiting, w->gate.waiting, memory_order_relaxed);
	atomic_store_explicit(&w->stats.handles, w->loop.active_handles, memory_order_relaxed);
	if (to == NULL)
		return;
#define X(name, unit, meaning) \
	atomic_store_explicit(&to->name, atomic_load_explicit(&w->stats.name, memory_order_relaxed), memory_order_relaxed);
	VL_WORKER_COUNTERS(X)
#undef X
#define X(name, unit, meaning) memcpy(&to->name, &w->stats.name, sizeof(to->name));
	VL_WORKER_HISTOGRAMS(X)
#undef X
}

/* One ring of the data plane. Returns false when it broke the ring's rules. */
static bool drain_ring(struct worker *w, struct vl_ring *ring, uint64_t now_ms)
{
	struct vl_record record;
	const uint8_t *payload;
	int got = 0;

	for (unsigned int i = 0; i < RECORDS_PER_TURN && (got = vl_ring_next(ring, &record, &payload)) == 1; i++) {
		struct call *call = record.session < w->by_index_count ? w->by_index[record.session] : NULL;

		/* Records of a call that was closed meanwhile are still on their way. */
		if (call != NULL && call->generation == record.generation)
			call_record(call, &record, payload, now_ms);
		else
			stats_add(&w->stats.up_unwanted, 1);
		vl_ring_release(ring);
	}
	return got >= 0;
}

static void drain_rings(struct worker *w, uint64_t now_ms)
{
	for (unsigned int i = 0; i < w->channel.lcores; i++)
		if (!vl_ring_is_broken(&w->channel.up[i]) && !drain_ring(w, &w->channel.up[i], now_ms))
			vl_log_error("the uplink ring of lcore %u is broken", i);
}

/*
 * The tick runs while there are calls, and until the last of their connections is gone, so that the last numbers that are published
 * are true; after that the data plane must ring the doorbell.
 */
static void update_ticking(struct worker *w)
{
	uint64_t every_ms = w->call_count > FEW_CALLS ? TICK_MS : TICK_FEW_MS;
	bool needed = w->call_count > 0 || !wss_is_idle(w->wss);

	if (w->channel.worker_sleeps != NULL)
		atomic_store_explicit(w->channel.worker_sleeps, needed ? 0 : 1, memory_order_seq_cst);
	uv_timer_set_repeat(&w->tick, every_ms);
	if (needed == w->ticking)
		return;
	w->ticking = needed;
	if (needed) {
		w->ticked_us = 0;
		uv_timer_start(&w->tick, on_tick, every_ms, every_ms);
	} else {
		uv_timer_stop(&w->tick);
		/* What came before the flag was seen. */
		drain_rings(w, vl_clock_ms());
		publish_stats(w);
	}
}

static void count_calls(struct worker *w)
{
	atomic_store_explicit(&w->stats.calls, w->call_count, memory_order_relaxed);
	update_ticking(w);
}

static void forget_index(struct worker *w, const struct call *call)
{
	if (call->index < w->by_index_count && w->by_index[call->index] == call)
		w->by_index[call->index] = NULL;
}

static void end_call(struct worker *w, struct call *call, const char *why)
{
	vl_log_info("call %s user %s: ended: %s", call->uuid, call->user->name, why);
	forget_index(w, call);
	call_destroy(call, vl_clock_ms());
}

/* How punctual the loop is: what it was late for, every call's audio waited for. */
static void count_tick(struct worker *w)
{
	uint64_t now_us = vl_clock_us();

	stats_add(&w->stats.ticks, 1);
	if (w->ticked_us != 0 && now_us > w->ticked_us + uv_timer_get_repeat(&w->tick) * 1000 + TICK_LATE_US)
		stats_add(&w->stats.ticks_late, 1);
	w->ticked_us = now_us;
}

static void on_tick(uv_timer_t *timer)
{
	struct worker *w = timer->data;
	uint64_t now_ms = vl_clock_ms();
	struct call *call, *next;

	count_tick(w);
	drain_rings(w, now_ms);
	HASH_ITER(hh, w->calls, call, next)
	{
		if (call->orphan_until_ms != 0 && now_ms >= call->orphan_until_ms)
			end_call(w, call, "its data plane did not come back");
		else
			call_tick(call, now_ms);
	}
	worker_gate_run(w, now_ms);
	for (unsigned int i = 0; i < w->channel.lcores; i++)
		vl_ring_publish(&w->channel.down[i]);
	if (now_ms - w->published_ms >= PUBLISH_MS) {
		w->published_ms = now_ms;
		publish_stats(w);
	}
	if (w->call_count == 0)
		count_calls(w);
}

static void on_doorbell(uv_poll_t *poll, int status, int events)
{
	struct worker *w = poll->data;
	uint64_t rings;

	(void)status;
	(void)events;
	if (read(w->doorbell_fd, &rings, sizeof(rings)) < 0 && errno != EAGAIN)
		vl_log_warning("doorbell: %s", strerror(errno));
	drain_rings(w, vl_clock_ms());
}

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

static void detach_channel(struct worker *w)
{
	if (w->doorbell != NULL) {
		uv_poll_stop(w->doorbell);
		uv_close((uv_handle_t *)w->doorbell, free_handle);
		w->doorbell = NULL;
	}
	if (w->doorbell_fd >= 0)
		close(w->doorbell_fd);
	w->doorbell_fd = -1;
	vl_channel_unmap(&w->channel);
	memset(&w->channel, 0, sizeof(w->channel));
	if (w->by_index != NULL)
		memset(w->by_index, 0, w->by_index_count * sizeof(*w->by_index));
}

static int on_welcome(void *context, int channel_fd, int doorbell_fd, unsigned int lcores, uint64_t tsc_hz)
{
	struct worker *w = context;
	int error = vl_channel_map(&w->channel, channel_fd);

	close(channel_fd);
	w->doorbell_fd = doorbell_fd;
	if (error != 0)
		return error;
	if (w->channel.lcores != lcores)
		return -EPROTO;
	w->tsc_hz = tsc_hz;
	w->doorbell = malloc(sizeof(*w->doorbell));
	if (w->doorbell == NULL)
		return -ENOMEM;
	if (uv_poll_init(&w->loop, w->doorbell, doorbell_fd) != 0) {
		free(w->doorbell);
		w->doorbell = NULL;
		return -EIO;
	}
	w->doorbell->data = w;
	uv_poll_start(w->doorbell, UV_READABLE, on_doorbell);
	update_ticking(w);
	return 0;
}

static bool remember_index(struct worker *w, struct call *call)
{
	size_t count = w->by_index_count != 0 ? w->by_index_count : 256;
	struct call **grown;

	while (count <= call->index)
		count *= 2;
	if (count != w->by_index_count) {
		grown = realloc(w->by_index, count * sizeof(*grown));
		if (grown == NULL)
			return false;
		memset(grown + w->by_index_count, 0, (count - w->by_index_count) * sizeof(*grown));
		w->by_index = grown;
		w->by_index_count = count;
	}
	w->by_index[call->index] = call;
	return true;
}

/* A call that cannot even begin here: say so, the data plane must not wait. */
static void refuse_call(struct worker *w, const struct dataplane_open *open, const char *reason)
{
	cJSON *body = cJSON_CreateObject();

	vl_log_warning("call %s user %s: refused: %s", open->uuid, open->user, reason);
	cJSON_AddStringToObject(body, "session", open->uuid);
	cJSON_AddStringToObject(body, "state", "failed");
	cJSON_AddStringToObject(body, "reason", reason);
	dataplane_link_say(w->link, "state", body);
}

/* A call that this worker has goes on with the user it began with, whatever the users file says by now. */
static void continue_call(struct worker *w, struct call *call, const struct dataplane_open *open)
{
	forget_index(w, call);
	call_attach(call, open, vl_clock_ms());
	vl_log_info("call %s user %s: continued", call->uuid, call->user->name);
	if (!remember_index(w, call))
		end_call(w, call, "out of memory");
}

static void begin_call(struct worker *w, const struct dataplane_open *open)
{
	struct user *user = users_find(w->users, open->user);
	struct call *call;

	if (user == NULL) {
		refuse_call(w, open, "this worker does not serve the user");
		return;
	}
	if (w->call_count >= w->options.capacity) {
		refuse_call(w, open, "this worker is full");
		return;
	}
	call = call_create(w, open, user, vl_clock_ms());
	if (call == NULL) {
		refuse_call(w, open, "out of memory");
		return;
	}
	vl_log_info("call %s user %s: dialling", call->uuid, user->name);
	if (!remember_index(w, call))
		end_call(w, call, "out of memory");
}

static void on_open(void *context, const struct dataplane_open *open)
{
	struct worker *w = context;
	struct call *call;

	HASH_FIND_STR(w->calls, open->uuid, call);
	/* The same call offered again goes on; the same UUID with another user or codec is not the same call. */
	if (call != NULL && (strcmp(call->user->name, open->user) != 0 || call->downlink.law != open->law)) {
		end_call(w, call, "replaced");
		call = NULL;
	}
	if (open->lcore >= w->channel.lcores || open->index >= INDEX_MAX)
		refuse_call(w, open, "no such ring or index");
	else if (call != NULL)
		continue_call(w, call, open);
	else
		begin_call(w, open);
	count_calls(w);
	worker_gate_run(w, vl_clock_ms());
}

static void on_close(void *context, const char *uuid, const char *reason)
{
	struct worker *w = context;
	struct call *call;

	HASH_FIND_STR(w->calls, uuid, call);
	if (call != NULL)
		end_call(w, call, reason);
	count_calls(w);
}

static void on_hold(void *context, const char *uuid, bool held)
{
	struct worker *w = context;
	struct call *call;

	HASH_FIND_STR(w->calls, uuid, call);
	if (call != NULL)
		uplink_hold(&call->uplink, held);
}

static void on_pause(void *context, const char *uuid, uint32_t ms)
{
	struct worker *w = context;
	struct call *call;

	HASH_FIND_STR(w->calls, uuid, call);
	if (call != NULL)
		downlink_wait(&call->downlink, ms, vl_clock_ms());
}

static void on_tool_result(void *context, const char *uuid, const char *id, const cJSON *result, const char *error)
{
	struct worker *w = context;
	struct call *call;

	HASH_FIND_STR(w->calls, uuid, call);
	if (call != NULL)
		call_tools_result(call, id, result, error, vl_clock_ms());
}

static void on_listening(void *context, const char *uuid, bool listening)
{
	struct worker *w = context;
	struct call *call;

	HASH_FIND_STR(w->calls, uuid, call);
	if (call != NULL)
		downlink_listen(&call->downlink, listening, vl_clock_ms());
}

static void on_link_lost(void *context)
{
	struct worker *w = context;
	struct call *call, *next;

	HASH_ITER(hh, w->calls, call, next)
	call_detach(call, vl_clock_ms());
	detach_channel(w);
	if (!w->stopping)
		vl_log_warning("the data plane is gone; %u calls wait for it", w->call_count);
}

static const struct dataplane_handler link_handler = {.welcome = on_welcome,
	.open = on_open,
	.close = on_close,
	.hold = on_hold,
	.pause = on_pause,
	.tool_result = on_tool_result,
	.listening = on_listening,
	.lost = on_link_lost};

/* What this thread has computed so far; what the system gave to others meanwhile is not in it. */
static uint64_t cpu_us(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000u + (uint64_t)used.tv_nsec / 1000u;
}

/* Once a turn. The callbacks of sockets run inside the poll, so the turn is what passed since here, without what the poll slept. */
static void on_turn(uv_prepare_t *prepare)
{
	struct worker *w = prepare->data;
	uint64_t now_ns = uv_hrtime(), slept_ns = uv_metrics_idle_time(&w->loop);
	uint64_t took_us = (now_ns - w->turn_ns - (slept_ns - w->slept_ns)) / 1000, used_us = cpu_us();

	if (w->turn_ns != 0) {
		w->turn_cpu_us = used_us - w->cpu_us;
		vl_histogram_add(&w->stats.loop_turn_us, took_us);
		vl_histogram_add(&w->stats.loop_cpu_us, w->turn_cpu_us);
		if (took_us > atomic_load_explicit(&w->stats.loop_longest_us, memory_order_relaxed))
			atomic_store_explicit(&w->stats.loop_longest_us, took_us, memory_order_relaxed);
	}
	w->turn_tsc = tsc_now();
	w->turn_ns = now_ns;
	w->slept_ns = slept_ns;
	w->cpu_us = used_us;
}

static void on_shutdown_tick(uv_timer_t *timer)
{
	struct worker *w = timer->data;

	if (wss_is_idle(w->wss) || uv_now(&w->loop) >= w->published_ms)
		uv_stop(&w->loop);
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct worker *w = signal->data;
	struct call *call, *next;

	if (w->stopping) {
		uv_stop(&w->loop);
		return;
	}
	w->stopping = true;
	vl_log_always("%s: ending %u calls", number == SIGTERM ? "SIGTERM" : "SIGINT", w->call_count);
	HASH_ITER(hh, w->calls, call, next)
	end_call(w, call, "the worker stops");
	count_calls(w);
	dataplane_link_destroy(w->link);
	w->link = NULL;
	/* From here on the field says when to stop waiting. */
	w->published_ms = uv_now(&w->loop) + SHUTDOWN_MS;
	uv_timer_start(&w->shutdown, on_shutdown_tick, 0, TICK_MS);
}

static void on_hangup(uv_signal_t *signal, int number)
{
	struct worker *w = signal->data;

	(void)number;
	if (!w->stopping)
		worker_reload(w);
}

static void start_handles(struct worker *w)
{
	uv_timer_init(&w->loop, &w->tick);
	uv_timer_init(&w->loop, &w->shutdown);
	uv_signal_init(&w->loop, &w->sigterm);
	uv_signal_init(&w->loop, &w->sigint);
	uv_signal_init(&w->loop, &w->sighup);
	uv_prepare_init(&w->loop, &w->turn);
	w->tick.data = w->shutdown.data = w->sigterm.data = w->sigint.data = w->sighup.data = w;
	w->turn.data = w;
}

static int start_parts(struct worker *w, const struct worker_options *options, struct users *users)
{
	const char *ca_file = users->gemini.ca_file[0] != '\0' ? users->gemini.ca_file : NULL;
	struct dataplane_config link = {.path = options->dataplane, .name = options->name, .capacity = options->capacity};
	char path[ENDPOINT_PATH_SIZE];

	*w = (struct worker){.options = *options, .users = users, .doorbell_fd = -1};
	uv_loop_init(&w->loop);
	uv_loop_configure(&w->loop, UV_METRICS_IDLE_TIME);
	start_handles(w);
	worker_gate_start(w);
	w->message = malloc(wss_headroom() + gemini_audio_size(CALL_MESSAGE_SAMPLES_MAX));
	w->served = worker_list_users(users);
	if (w->message == NULL || w->served == NULL)
		return -ENOMEM;
	link.users = w->served;
	link.user_count = users->count;
	endpoint_live_path(path, users->gemini.api_version, users->gemini.service == USERS_VERTEX);
	w->endpoint = endpoint_create(&w->loop, users->gemini.endpoint.host, users->gemini.endpoint.port, path, true);
	w->wss = wss_create(&w->loop, &call_wss_handler, ca_file, options->capacity * CONNECTIONS_PER_CALL);
	if (w->endpoint == NULL || w->wss == NULL)
		return -EIO;
	w->tokens = token_source_create(&w->loop, w->wss, &w->stats);
	if (w->tokens == NULL)
		return -ENOMEM;
	token_source_serve(w->tokens, users);
	w->link = dataplane_link_create(&w->loop, &link, &link_handler, w);
	return w->link != NULL ? 0 : -ENOMEM;
}

int worker_start(struct worker *w, const struct worker_options *options, struct users *users)
{
	sigset_t ours, before;
	int result;

	/* The loop runs already while the first name is looked up: a signal then waits for there to be something to stop or to reload. */
	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGHUP);
	sigprocmask(SIG_BLOCK, &ours, &before);
	result = start_parts(w, options, users);
	uv_signal_start(&w->sigterm, on_signal, SIGTERM);
	uv_signal_start(&w->sigint, on_signal, SIGINT);
	uv_signal_start(&w->sighup, on_hangup, SIGHUP);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return result;
}

void worker_run(struct worker *w)
{
	uv_prepare_start(&w->turn, on_turn);
	uv_run(&w->loop, UV_RUN_DEFAULT);
}

bool worker_stop(struct worker *w)
{
	uv_handle_t *handles[] = {(uv_handle_t *)&w->tick, (uv_handle_t *)&w->shutdown, (uv_handle_t *)&w->sigterm,
		(uv_handle_t *)&w->sigint, (uv_handle_t *)&w->sighup, (uv_handle_t *)&w->turn};
	unsigned int turns = 0;
	bool ended;

	w->stopping = true;
	dataplane_link_destroy(w->link);
	endpoint_destroy(w->endpoint);
	token_source_destroy(w->tokens);
	wss_destroy(w->wss);
	for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++)
		uv_close(handles[i], NULL);
	while (uv_run(&w->loop, UV_RUN_NOWAIT) != 0 && turns++ < END_TURNS)
		usleep(END_TURN_US);
	ended = uv_loop_close(&w->loop) == 0;
	if (!ended)
		vl_log_warning("the event loop still has work at the end");
	gate_free(&w->gate);
	free(w->by_index);
	free(w->served);
	free(w->message);
	users_free(w->users);
	return ended;
}
