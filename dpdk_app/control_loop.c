/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread's loop. Rings of lcores have no descriptor to wait for, so while calls or workers are there it looks every
 * millisecond; that bounds how late a new flow is learned. The lock is held during a turn and free while it waits, which is
 * when telemetry reads.
 */
#include "control_loop.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../shared/clock.h"
#include "../shared/log.h"
#include "call_control.h"
#include "call_records.h"
#include "media.h"
#include "next_hops.h"
#include "worker_calls.h"

#define TICK_MS	      1	 /* with calls */
#define TICK_IDLE_MS  10 /* without: ARP and ping may wait that long */
#define NEIGHBOURS_MS 10 /* between looks at all next hops: their timers are hundreds of milliseconds */

struct loop {
	struct dataplane *dataplane;
	int epoll, signals;
	bool end;
	uint64_t neighbours_ms; /* next look at them */
};

static int watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int open_loop(struct loop *loop)
{
	sigset_t set;
	int result;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll < 0)
		return -errno;
	loop->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->signals < 0)
		return -errno;
	result = watch(loop->epoll, loop->signals);
	if (result == 0)
		result = watch(loop->epoll, workers_fd(loop->dataplane->workers));
	if (result == 0)
		result = watch(loop->epoll, control_socket_fd(loop->dataplane->control));
	return result;
}

static void close_loop(struct loop *loop)
{
	if (loop->signals >= 0)
		close(loop->signals);
	if (loop->epoll >= 0)
		close(loop->epoll);
}

static void take_signals(struct loop *loop)
{
	struct signalfd_siginfo info;

	while (read(loop->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (loop->dataplane->exit_drained) {
			vl_log_always("second signal: ending now with %u calls", calls_count(loop->dataplane->calls));
			loop->end = true;
		}
		call_control_drain(loop->dataplane, true);
	}
}

static void turn(struct loop *loop)
{
	struct dataplane *dataplane = loop->dataplane;

	take_signals(loop);
	media_run(dataplane->media, dataplane->now_ms);
	workers_run(dataplane->workers, dataplane->now_ms);
	control_socket_poll(dataplane->control);
	worker_calls_run(dataplane);
	call_control_run(dataplane);
	call_records_run(dataplane);
	if (dataplane->now_ms >= loop->neighbours_ms) {
		next_hops_run(dataplane->next_hops, dataplane->now_ms);
		loop->neighbours_ms = dataplane->now_ms + NEIGHBOURS_MS;
	}
	binding_expire(dataplane->binding, dataplane->now_ms);
	session_table_reclaim(dataplane->table);
	commands_run(dataplane->commands);
	if (!dataplane->exit_drained)
		return;
	if (calls_count(dataplane->calls) == 0) {
		vl_log_always("drained");
		loop->end = true;
	} else if (dataplane->now_ms >= dataplane->drain_deadline_ms) {
		vl_log_always("drain.timeout_s is over: ending with %u calls", calls_count(dataplane->calls));
		loop->end = true;
	}
}

/* Every call that is left hears its end, and its worker and subscribers do. */
static void end_calls(struct dataplane *dataplane)
{
	struct call *call, *next;

	for (call = calls_next(dataplane->calls, NULL); call != NULL; call = next) {
		next = calls_next(dataplane->calls, call);
		call_control_end(dataplane, call, "the data plane ends");
	}
	workers_run(dataplane->workers, dataplane->now_ms);
	control_socket_poll(dataplane->control);
}

int control_loop_run(struct dataplane *dataplane)
{
	struct loop loop = {.dataplane = dataplane, .epoll = -1, .signals = -1};
	int result = open_loop(&loop);

	while (result == 0 && !loop.end) {
		struct epoll_event event;
		bool busy = calls_count(dataplane->calls) > 0 || workers_count(dataplane->workers) > 0;
		uint64_t start_us, took_us;

		epoll_wait(loop.epoll, &event, 1, busy ? TICK_MS : TICK_IDLE_MS);
		pthread_mutex_lock(&dataplane->lock);
		start_us = vl_clock_us();
		dataplane->now_ms = start_us / 1000;
		turn(&loop);
		took_us = vl_clock_us() - start_us;
		atomic_fetch_add_explicit(&dataplane->counters.turns, 1, memory_order_relaxed);
		if (took_us > atomic_load_explicit(&dataplane->counters.longest_turn_us, memory_order_relaxed))
			atomic_store_explicit(&dataplane->counters.longest_turn_us, took_us, memory_order_relaxed);
		pthread_mutex_unlock(&dataplane->lock);
	}
	pthread_mutex_lock(&dataplane->lock);
	if (result == 0)
		end_calls(dataplane);
	pthread_mutex_unlock(&dataplane->lock);
	close_loop(&loop);
	return result;
}
