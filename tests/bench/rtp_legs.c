/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtp_legs ADDRESS FIRST_PORT COUNT: that many callers with a kernel socket each, for a comparison of media programs over the same
 * link. Every leg sends 20 ms of G.711 on its own beat, marked as its own (tests/oracle/mark.h), and checks the marks of what it
 * is sent. Commands on standard input, one a line, each answered with one JSON object on standard output:
 *   leg NUMBER ADDRESS PORT PARTNER   the leg sends there from now on; PARTNER is the leg whose voice it must hear, or -1: its own
 *                                     worker's, or silence
 *   stats                             counters so far
 *   quit
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/oracle/mark.h"

#define BEAT_NS	    INT64_C(20000000)
#define TICK_NS	    INT64_C(1000000) /* legs due within one are served together */
#define RTP_SIZE    12u
#define SAMPLES	    160u
#define COUNT_MAX   10000u
#define PACKET_MAX  2048u
#define SSRC_BASE   0x20000000u
#define SILENCE	    0xffu
#define PORTS_A_LEG 2u

struct leg {
	int fd;
	bool live;
	int partner;
	uint16_t seq;
	uint32_t timestamp;
	int64_t due_ns;
};

static struct leg *legs;
static unsigned int leg_count;
static struct {
	uint64_t sent, failed, received, silence, foreign;
	int64_t latest_ns;
} counters;

static void die(const char *what)
{
	fprintf(stderr, "rtp_legs: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void open_legs(const char *address, unsigned int first_port)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	int on = 1;

	if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
		die(address);
	for (unsigned int i = 0; i < leg_count; i++) {
		at.sin_port = htons((uint16_t)(first_port + PORTS_A_LEG * i));
		legs[i].fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		/* The link with this address comes later. */
		if (legs[i].fd < 0 || setsockopt(legs[i].fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on)) < 0 ||
			bind(legs[i].fd, (struct sockaddr *)&at, sizeof(at)) < 0)
			die("a leg's socket");
	}
}

static void put32(uint8_t *at, uint32_t value)
{
	value = htonl(value);
	memcpy(at, &value, sizeof(value));
}

static void send_one(struct leg *leg)
{
	uint8_t packet[RTP_SIZE + MARK_SIZE] = {0x80, 0};
	struct mark mark = {.call = (uint32_t)(leg - legs), .life = 1, .seq = leg->seq};

	packet[2] = (uint8_t)(leg->seq >> 8);
	packet[3] = (uint8_t)leg->seq;
	put32(packet + 4, leg->timestamp);
	put32(packet + 8, SSRC_BASE + mark.call);
	mark_write(packet + RTP_SIZE, MARK_UP, &mark);
	if (send(leg->fd, packet, sizeof(packet), 0) == (ssize_t)sizeof(packet))
		counters.sent++;
	else
		counters.failed++;
	leg->seq++;
	leg->timestamp += SAMPLES;
}

/* Whether the payload is what this leg may hear. */
static bool expected(const struct leg *leg, const uint8_t *payload)
{
	bool own = leg->partner < 0;
	struct mark mark;

	mark_read(payload, &mark);
	mark.call = own ? (uint32_t)(leg - legs) : (uint32_t)leg->partner;
	mark.life = 1;
	return mark_foreign(payload, MARK_SIZE, own ? MARK_DOWN : MARK_UP, &mark) == 0;
}

static void hear(const struct leg *leg)
{
	uint8_t packet[PACKET_MAX];
	ssize_t len;

	while ((len = recv(leg->fd, packet, sizeof(packet), 0)) >= 0) {
		counters.received++;
		if (len != RTP_SIZE + MARK_SIZE)
			counters.foreign++;
		else if (packet[RTP_SIZE] == SILENCE && memcmp(packet + RTP_SIZE, packet + RTP_SIZE + 1, MARK_SIZE - 1) == 0)
			counters.silence++;
		else if (!expected(leg, packet + RTP_SIZE))
			counters.foreign++;
	}
}

static void serve(int64_t now)
{
	for (unsigned int i = 0; i < leg_count; i++) {
		struct leg *leg = &legs[i];

		if (!leg->live || leg->due_ns > now)
			continue;
		if (now - leg->due_ns > counters.latest_ns)
			counters.latest_ns = now - leg->due_ns;
		send_one(leg);
		hear(leg);
		leg->due_ns += BEAT_NS;
	}
}

static void start_leg(char *arguments)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	char address[INET_ADDRSTRLEN];
	unsigned int number, port;
	int partner;

	if (sscanf(arguments, "%u %15s %u %d", &number, address, &port, &partner) != 4 || number >= leg_count ||
		inet_pton(AF_INET, address, &to.sin_addr) != 1) {
		errno = EINVAL;
		die(arguments);
	}
	to.sin_port = htons((uint16_t)port);
	if (connect(legs[number].fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("connect");
	legs[number].partner = partner;
	legs[number].live = true;
	legs[number].due_ns = now_ns() / BEAT_NS * BEAT_NS + BEAT_NS + BEAT_NS * number / leg_count;
	printf("{}\n");
}

static void print_stats(void)
{
	printf("{\"sent\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"received\": %" PRIu64 ", \"silence\": %" PRIu64
	       ", \"foreign\": %" PRIu64 ", \"latest_ms\": %.3f}\n",
		counters.sent, counters.failed, counters.received, counters.silence, counters.foreign,
		(double)counters.latest_ns / 1e6);
	counters.latest_ns = 0;
}

/* Returns false when it is over. */
static bool read_commands(void)
{
	static char text[1 << 16];
	static size_t held;
	struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
	char *line = text, *end;
	ssize_t len;

	if (poll(&wait, 1, 0) != 1)
		return true;
	len = read(STDIN_FILENO, text + held, sizeof(text) - 1 - held);
	if (len <= 0)
		return false;
	held += (size_t)len;
	text[held] = '\0';
	for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		if (strncmp(line, "leg ", 4) == 0)
			start_leg(line + 4);
		else if (strcmp(line, "stats") == 0)
			print_stats();
		else
			return false;
	}
	held -= (size_t)(line - text);
	memmove(text, line, held);
	fflush(stdout);
	return true;
}

int main(int argc, char **argv)
{
	int64_t tick = now_ns();

	leg_count = argc == 4 ? (unsigned int)strtoul(argv[3], NULL, 10) : 0;
	if (leg_count == 0 || leg_count > COUNT_MAX) {
		fprintf(stderr, "usage: rtp_legs ADDRESS FIRST_PORT COUNT\n");
		return EXIT_FAILURE;
	}
	legs = calloc(leg_count, sizeof(*legs));
	if (legs == NULL)
		die("memory");
	open_legs(argv[1], (unsigned int)strtoul(argv[2], NULL, 10));
	printf("{}\n");
	fflush(stdout);
	while (read_commands()) {
		struct timespec until;

		serve(now_ns());
		tick += TICK_NS;
		until = (struct timespec){.tv_sec = tick / 1000000000, .tv_nsec = tick % 1000000000};
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	}
	return EXIT_SUCCESS;
}
