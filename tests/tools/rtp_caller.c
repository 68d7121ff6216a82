/* SPDX-License-Identifier: Apache-2.0 */
/*
 * voxlane-rtp-caller: a phone for tests. One thread on an absolute 20 ms beat: send a frame, take in what has come (stamped by the kernel on arrival, so
 * that waiting for the beat costs no precision), report at the end.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "caller_options.h"
#include "caller_report.h"
#include "g711.h"
#include "recording.h"
#include "rtp_receiver.h"
#include "talk_plan.h"
#include "wav.h"

/* Later than CATCH_UP_US it does not send all at once what is due, which nobody would take from one phone, but goes on from there. */
enum { BEAT_US = 20000, CATCH_UP_US = 1000000, PACKET_MAX = 2048, FRAME_BYTES = TALK_FRAME_SAMPLES };

#define ECHO_FRAMES	  16u
#define ECHO_DELAY_FRAMES 5u

struct caller {
	struct caller_options options;
	int sockets[2]; /* [1]: the one bound later */
	struct wav wav;
	struct talk_plan plan;
	struct caller_sent sent;
	struct rtp_receiver receiver;
	struct recording left, right;
	uint16_t seq;
	uint32_t timestamp;
	bool was_talking, ssrc_changed;
	uint64_t random;
	uint8_t held[12 + FRAME_BYTES]; /* packet that waits to be sent after the next one */
	bool holding;
	int16_t echo[ECHO_FRAMES][TALK_FRAME_SAMPLES]; /* what was heard, the frame of packet n in [n % ECHO_FRAMES] */
	uint64_t echo_in, echo_out;
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static int64_t clock_us(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* xorshift64*, so that a run can be repeated. */
static bool chance(struct caller *caller, double percent)
{
	if (percent <= 0)
		return false;
	uint64_t x = caller->random;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	caller->random = x;
	return (double)((x * 0x2545f4914f6cdd1dull) >> 11) / 9007199254740992.0 * 100.0 < percent;
}

static int open_socket(const struct sockaddr_storage *address)
{
	int fd = socket(address->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) ||
		bind(fd, (const struct sockaddr *)address, sizeof(*address))) {
		int code = -errno;
		close(fd);
		return code;
	}
	return fd;
}

static int peak_of(const int16_t *samples, size_t count)
{
	int peak = 0;
	for (size_t i = 0; i < count; i++) {
		int v = samples[i] < 0 ? -samples[i] : samples[i];
		peak = v > peak ? v : peak;
	}
	return peak;
}

static void send_packet(struct caller *caller, const uint8_t *packet)
{
	int fd = caller->sockets[1] >= 0 ? caller->sockets[1] : caller->sockets[0];
	ssize_t sent =
		sendto(fd, packet, 12 + FRAME_BYTES, 0, (struct sockaddr *)&caller->options.to, sizeof(caller->options.to));
	if (sent < 0)
		caller->sent.failed++;
	else
		caller->sent.packets++;
}

/* Send with the wanted share of loss, duplicates and swaps. */
static void send_through_bad_network(struct caller *caller, const uint8_t *packet)
{
	const struct caller_options *o = &caller->options;
	if (chance(caller, o->loss)) {
		caller->sent.dropped++;
		return;
	}
	if (!caller->holding && chance(caller, o->reorder)) {
		memcpy(caller->held, packet, sizeof(caller->held));
		caller->holding = true;
		caller->sent.swapped++;
		return;
	}
	send_packet(caller, packet);
	if (chance(caller, o->duplicate)) {
		send_packet(caller, packet);
		caller->sent.duplicated++;
	}
	if (caller->holding) {
		send_packet(caller, caller->held);
		caller->holding = false;
	}
}

/* What has been asked for at this point of the call. */
static int apply_schedule(struct caller *caller, int64_t elapsed_us)
{
	const struct caller_options *o = &caller->options;
	if (o->ssrc_change_at_ms >= 0 && !caller->ssrc_changed && elapsed_us >= o->ssrc_change_at_ms * 1000) {
		caller->ssrc_changed = true;
		caller->sent.ssrc = o->ssrc_change_to ? o->ssrc_change_to : caller->sent.ssrc + 1;
		/* A new source starts with numbers of its own. */
		caller->seq = (uint16_t)(caller->seq + 7000);
		caller->timestamp += 1000000;
	}
	if (o->rebind_at_ms >= 0 && caller->sockets[1] < 0 && elapsed_us >= o->rebind_at_ms * 1000) {
		struct sockaddr_storage address = o->bind;
		if (address.ss_family == AF_INET6)
			((struct sockaddr_in6 *)&address)->sin6_port = htons(o->rebind_port);
		else
			((struct sockaddr_in *)&address)->sin_port = htons(o->rebind_port);
		caller->sockets[1] = open_socket(&address);
		if (caller->sockets[1] < 0) {
			fprintf(stderr, "cannot bind port %u: %s\n", o->rebind_port, strerror(-caller->sockets[1]));
			return caller->sockets[1];
		}
	}
	return 0;
}

/* Only frames that came long enough ago; late ones make it wait, many at once are skipped. */
static void add_echo(struct caller *caller, int16_t frame[TALK_FRAME_SAMPLES])
{
	if (caller->options.echo <= 0 || caller->echo_in < caller->echo_out + ECHO_DELAY_FRAMES)
		return;
	if (caller->echo_in > caller->echo_out + 2 * ECHO_DELAY_FRAMES)
		caller->echo_out = caller->echo_in - ECHO_DELAY_FRAMES;
	const int16_t *heard = caller->echo[caller->echo_out++ % ECHO_FRAMES];
	for (size_t i = 0; i < TALK_FRAME_SAMPLES; i++) {
		double sum = frame[i] + heard[i] * caller->options.echo / 100;
		frame[i] = (int16_t)(sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum);
	}
}

static int send_frame(struct caller *caller, int64_t frame_number)
{
	const struct caller_options *o = &caller->options;
	int16_t frame[TALK_FRAME_SAMPLES];
	uint8_t packet[12 + FRAME_BYTES];
	int64_t now = clock_us(CLOCK_MONOTONIC), since;
	if (!rtp_spans_active(&caller->receiver.heard, now, &since))
		since = -1;
	bool talking = talk_plan_next(&caller->plan, now, since, frame);
	add_echo(caller, frame);
	rtp_header_write(packet, o->payload_type, o->marker && talking && !caller->was_talking, caller->seq, caller->timestamp,
		caller->sent.ssrc);
	g711_encode_frame(o->alaw, frame, packet + 12, TALK_FRAME_SAMPLES);
	send_through_bad_network(caller, packet);
	rtp_spans_note(&caller->sent.spoke, peak_of(frame, TALK_FRAME_SAMPLES) > o->silence_peak, now);
	caller->sent.utterances = caller->plan.said;
	caller->was_talking = talking;
	caller->seq++;
	caller->timestamp += TALK_FRAME_SAMPLES;
	return o->record ? recording_put(&caller->left, frame_number * TALK_FRAME_SAMPLES, frame, TALK_FRAME_SAMPLES) : 0;
}

/* Arrival by the kernel's stamp, on the monotonic clock. */
static int64_t arrival_us(struct msghdr *message)
{
	int64_t now = clock_us(CLOCK_MONOTONIC);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
			struct timespec stamp;
			memcpy(&stamp, CMSG_DATA(c), sizeof(stamp));
			int64_t age = clock_us(CLOCK_REALTIME) - ((int64_t)stamp.tv_sec * 1000000 + stamp.tv_nsec / 1000);
			return age >= 0 && age < 10000000 ? now - age : now;
		}
	return now;
}

static int take_packet(
	struct caller *caller, const uint8_t *data, size_t len, const struct sockaddr_storage *from, int64_t now_us)
{
	struct rtp_packet packet;
	if (rtp_packet_parse(data, len, &packet)) {
		caller->receiver.malformed++;
		return 0;
	}
	int16_t samples[PACKET_MAX];
	g711_decode_frame(caller->options.alaw, packet.payload, samples, packet.payload_len);
	rtp_receiver_packet(&caller->receiver, &packet, from, &caller->options.to, now_us, peak_of(samples, packet.payload_len));
	if (packet.payload_len == TALK_FRAME_SAMPLES)
		memcpy(caller->echo[caller->echo_in++ % ECHO_FRAMES], samples, sizeof(caller->echo[0]));
	if (!caller->options.record)
		return 0;
	int64_t position = (now_us - caller->sent.start_us) * RTP_CLOCK_HZ / 1000000;
	return recording_put_rtp(&caller->right, packet.ssrc, packet.timestamp, position, samples, packet.payload_len);
}

static int take_packets(struct caller *caller)
{
	for (int i = 0; i < 2; i++) {
		for (;;) {
			uint8_t data[PACKET_MAX], control[256];
			struct sockaddr_storage from = {0};
			struct iovec vector = {data, sizeof(data)};
			struct msghdr message = {.msg_name = &from,
				.msg_namelen = sizeof(from),
				.msg_iov = &vector,
				.msg_iovlen = 1,
				.msg_control = control,
				.msg_controllen = sizeof(control)};
			ssize_t len = caller->sockets[i] < 0 ? -1 : recvmsg(caller->sockets[i], &message, 0);
			if (len < 0)
				break;
			if (take_packet(caller, data, (size_t)len, &from, arrival_us(&message)))
				return -ENOMEM;
		}
	}
	return 0;
}

static bool finished(const struct caller *caller, int64_t now_us)
{
	const struct caller_options *o = &caller->options;
	if (o->duration_s > 0)
		return (double)(now_us - caller->sent.start_us) >= o->duration_s * 1e6;
	return caller->wav.count ? talk_plan_done(&caller->plan, now_us) : false;
}

static int run(struct caller *caller)
{
	struct timespec beat;
	clock_gettime(CLOCK_MONOTONIC, &beat);
	caller->sent.start_us = (int64_t)beat.tv_sec * 1000000 + beat.tv_nsec / 1000;
	caller->sent.realtime_offset_us = clock_us(CLOCK_REALTIME) - clock_us(CLOCK_MONOTONIC);
	int64_t due = caller->sent.start_us, next_live = due;
	for (int64_t frame = 0; !stopped && !finished(caller, due); frame++) {
		int64_t late = clock_us(CLOCK_MONOTONIC) - due;
		if (late > caller->sent.latest_us)
			caller->sent.latest_us = (uint32_t)late;
		if (late > CATCH_UP_US) {
			due += late;
			beat.tv_sec += late / 1000000;
			beat.tv_nsec += late % 1000000 * 1000;
		}
		int code = apply_schedule(caller, due - caller->sent.start_us);
		if (!code)
			code = send_frame(caller, frame);
		if (!code)
			code = take_packets(caller);
		if (code)
			return code;
		caller->sent.now_us = clock_us(CLOCK_MONOTONIC);
		if (caller->options.live_ms && due >= next_live) {
			next_live = due + caller->options.live_ms * 1000;
			caller_report_live(stdout, &caller->sent, &caller->receiver);
		}
		due += BEAT_US;
		beat.tv_nsec += BEAT_US * 1000;
		while (beat.tv_nsec >= 1000000000) {
			beat.tv_sec++;
			beat.tv_nsec -= 1000000000;
		}
		while (!stopped && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &beat, NULL) == EINTR)
			;
	}
	take_packets(caller);
	caller->sent.now_us = clock_us(CLOCK_MONOTONIC);
	return 0;
}

static int write_outputs(struct caller *caller)
{
	const struct caller_options *o = &caller->options;
	char error[256];
	int code = 0;
	if (o->record && wav_write_stereo(o->record, RTP_CLOCK_HZ, caller->left.samples, caller->left.count,
				 caller->right.samples, caller->right.count, error, sizeof(error))) {
		fprintf(stderr, "%s\n", error);
		code = -EIO;
	}
	if (o->json) {
		FILE *file = strcmp(o->json, "-") ? fopen(o->json, "we") : stdout;
		if (!file || caller_report_write(file, &caller->sent, &caller->receiver)) {
			fprintf(stderr, "'%s': cannot write the report\n", o->json);
			code = -EIO;
		}
		if (file && file != stdout)
			fclose(file);
	}
	return code;
}

static int prepare(struct caller *caller)
{
	struct caller_options *o = &caller->options;
	char error[256];
	uint32_t random[3];
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	caller->sent.ssrc = o->ssrc_given ? o->ssrc : random[0];
	caller->seq = o->start_seq_given ? o->start_seq : (uint16_t)random[1];
	caller->timestamp = random[2];
	caller->random = o->seed * 0x9e3779b97f4a7c15ull | 1;
	caller->receiver.silence_peak = o->silence_peak;
	if (o->wav && wav_load(o->wav, RTP_CLOCK_HZ, &caller->wav, error, sizeof(error))) {
		fprintf(stderr, "%s\n", error);
		return -EINVAL;
	}
	caller->plan = (struct talk_plan){.samples = caller->wav.samples,
		.count = caller->wav.count,
		.utterances = o->utterances,
		.start_delay_us = o->start_delay_ms * 1000,
		.pause_us = o->pause_ms * 1000,
		.when_hearing_us = o->talk_when_hearing_ms < 0 ? -1 : o->talk_when_hearing_ms * 1000};
	caller->sockets[0] = open_socket(&o->bind);
	if (caller->sockets[0] < 0) {
		fprintf(stderr, "cannot bind: %s\n", strerror(-caller->sockets[0]));
		return -EIO;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct caller caller = {.sockets = {-1, -1}};
	int code = caller_options_parse(argc, argv, &caller.options);
	if (code)
		return code > 0 ? 0 : 2;
	struct sigaction action = {.sa_handler = on_signal};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	code = prepare(&caller);
	if (!code) {
		code = run(&caller);
		if (write_outputs(&caller))
			code = -EIO;
	}
	for (int i = 0; i < 2; i++)
		if (caller.sockets[i] >= 0)
			close(caller.sockets[i]);
	wav_free(&caller.wav);
	recording_free(&caller.left);
	recording_free(&caller.right);
	rtp_receiver_free(&caller.receiver);
	free(caller.sent.spoke.items);
	return code ? 1 : 0;
}
