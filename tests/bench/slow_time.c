/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a program (LD_PRELOAD), it lets time pass SLOW_TIME times slower: the monotonic clock shows a fraction, and every wait for
 * events takes the multiple, and so does the time after which the kernel gives up a connection. Programs that run so together see one
 * world in which the machine is that much faster, and on a machine with few cores the costs of many calls can be measured in real code
 * at a call's own pace. The clocks of CPU time are left alone.
 */
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_poll)(struct pollfd *, nfds_t, int);
static int (*real_epoll_pwait)(int, struct epoll_event *, int, int, const sigset_t *);
static int (*real_usleep)(useconds_t);
static int (*real_setsockopt)(int, int, int, const void *, socklen_t);
static int factor = 1;

static void *next_symbol(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

__attribute__((constructor)) static void start(void)
{
	const char *text = getenv("SLOW_TIME");

	*(void **)&real_clock_gettime = next_symbol("clock_gettime");
	*(void **)&real_poll = next_symbol("poll");
	*(void **)&real_epoll_pwait = next_symbol("epoll_pwait");
	*(void **)&real_setsockopt = next_symbol("setsockopt");
	*(void **)&real_usleep = next_symbol("usleep");
	if (text != NULL && atoi(text) >= 1)
		factor = atoi(text);
}

/* A library's constructor may be before ours. */
static void begin(void)
{
	if (real_usleep == NULL)
		start();
}

/* The same fraction in every program: it begins with the machine. */
int clock_gettime(clockid_t id, struct timespec *now)
{
	int result;
	unsigned long long ns;

	begin();
	result = real_clock_gettime(id, now);
	if (result != 0 ||
		(id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_COARSE && id != CLOCK_MONOTONIC_RAW && id != CLOCK_BOOTTIME))
		return result;
	ns = ((unsigned long long)now->tv_sec * 1000000000u + (unsigned long long)now->tv_nsec) / (unsigned int)factor;
	now->tv_sec = (time_t)(ns / 1000000000u);
	now->tv_nsec = (long)(ns % 1000000000u);
	return 0;
}

static int stretched(int timeout_ms)
{
	return timeout_ms > 0 ? timeout_ms * factor : timeout_ms;
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	begin();
	return real_poll(fds, count, stretched(timeout_ms));
}

int epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout_ms, const sigset_t *signals)
{
	begin();
	return real_epoll_pwait(epoll, events, count, stretched(timeout_ms), signals);
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms)
{
	begin();
	return real_epoll_pwait(epoll, events, count, stretched(timeout_ms), NULL);
}

int usleep(useconds_t us)
{
	begin();
	return real_usleep(us * (useconds_t)factor);
}

/* A peer that is slow on purpose is not dead: without this the kernel's 8 s would be one second of talk at an eighth. */
int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	int stretched_value;

	begin();
	if (level != IPPROTO_TCP || size != sizeof(stretched_value) ||
		(name != TCP_USER_TIMEOUT && name != TCP_KEEPIDLE && name != TCP_KEEPINTVL))
		return real_setsockopt(fd, level, name, value, size);
	memcpy(&stretched_value, value, sizeof(stretched_value));
	stretched_value *= factor;
	return real_setsockopt(fd, level, name, &stretched_value, size);
}
