/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_dataplane: the data plane's end of the worker link and of the channel, without packets. Opens calls on one worker, speaks
 * a WAV into each at a 20 ms beat, plays what comes back at a 20 ms beat, and reports both as JSON. As on a lcore the calls are spread
 * over the beat. For tests and benches of the worker alone; one thread, one lcore.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "ai_workers/tsc.h"
#include "shared/channel.h"
#include "shared/clock.h"
#include "shared/g711.h"
#include "shared/link.h"
#include "shared/worker_stats.h"
#include "wav.h"

#define FRAME	      160u
#define QUEUE	      16u /* frames of a real data plane's playout queue */
#define CALLS_MAX     4096u
#define SECONDS_MAX   600u
#define USERS_MAX     64u
#define STALE_PACKETS 4u
#define BEAT_US	      20000u
#define SLOTS	      10u /* of a beat, each with its share of the calls */
#define OPENS	      8u  /* calls opened in a slot: the link takes some hundred messages, and the worker must read them */

struct fake_call {
	char uuid[40];
	uint32_t generation, turn;
	uint16_t seq;
	uint32_t timestamp;
	size_t spoken;	   /* samples of the utterance, then of the pause */
	size_t held_back;  /* a frame to be sent after its successor, 0: none */
	unsigned int late; /* beats until it begins to speak */
	uint8_t queue[QUEUE][FRAME];
	unsigned int first, queued;
	bool in_turn, mark, ready;
	uint32_t mark_turn;
	int16_t *heard; /* with --record */
	size_t heard_count;
	uint64_t frames, stale, overruns, underruns, flushes, drained, loud, voice_start_ms, ready_ms;
	char state[16];
	cJSON *states, *transcripts, *events;
	unsigned int user; /* index into the worker's users */
	uint64_t churn_us; /* --churn: when this call ends and the next takes its place */
};

static struct options {
	const char *socket, *wavs[USERS_MAX], *record, *users[USERS_MAX];
	unsigned int user_count, calls, seconds, pause_ms, lose_every, swap_every, tail_ms;
	bool alaw, quiet, relink, churn, mute;
} options = {.calls = 1, .seconds = 10, .pause_ms = 4000};

static struct vl_channel channel;
static struct fake_call *calls;
static struct wav speech[USERS_MAX]; /* --wav, the last one for all further users */
static unsigned int speech_count;
static int16_t *user_heard[USERS_MAX]; /* --record with --churn: what the callers of each user heard, in one track */
static size_t user_heard_count[USERS_MAX];
static uint32_t random_state = 1;
static uint64_t opened;
static int link_fd = -1, doorbell = -1;
static volatile sig_atomic_t stop;
static bool welcomed;
static unsigned int ready_count, opened_count;
static uint64_t tsc_hz;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

static void say(cJSON *message, const int *fds, size_t fd_count)
{
	char *text = cJSON_PrintUnformatted(message);

	if (vl_link_send(link_fd, text, strlen(text), fds, fd_count) != 0)
		fprintf(stderr, "fake_dataplane: the worker does not take messages\n");
	free(text);
	cJSON_Delete(message);
}

static struct fake_call *find_call(const cJSON *body)
{
	const char *uuid = cJSON_GetStringValue(cJSON_GetObjectItem(body, "session"));

	for (unsigned int i = 0; uuid != NULL && i < options.calls; i++)
		if (strcmp(calls[i].uuid, uuid) == 0)
			return &calls[i];
	return NULL;
}

static void open_call(unsigned int i)
{
	cJSON *message = cJSON_CreateObject(), *body = cJSON_AddObjectToObject(message, "open");

	cJSON_AddStringToObject(body, "session", calls[i].uuid);
	cJSON_AddNumberToObject(body, "index", i);
	cJSON_AddNumberToObject(body, "generation", ++calls[i].generation);
	cJSON_AddNumberToObject(body, "lcore", 0);
	cJSON_AddStringToObject(body, "user", options.users[calls[i].user % options.user_count]);
	cJSON_AddStringToObject(body, "codec", options.alaw ? "PCMA" : "PCMU");
	cJSON_AddNumberToObject(body, "event_payload_type", 101);
	cJSON_AddBoolToObject(body, "held", false);
	calls[i].turn = calls[i].queued = 0;
	calls[i].in_turn = calls[i].mark = false;
	opened++;
	say(message, NULL, 0);
}

static void close_call(unsigned int i)
{
	cJSON *message = cJSON_CreateObject(), *body = cJSON_AddObjectToObject(message, "close");

	cJSON_AddStringToObject(body, "session", calls[i].uuid);
	cJSON_AddStringToObject(body, "reason", "churn");
	say(message, NULL, 0);
}

static void welcome(const cJSON *hello)
{
	int fds[2] = {vl_channel_create(&channel, 1, 1u << 15), doorbell};
	cJSON *message = cJSON_CreateObject(), *body = cJSON_AddObjectToObject(message, "welcome");
	const cJSON *user;

	if (fds[0] < 0) {
		fprintf(stderr, "fake_dataplane: channel: %s\n", strerror(-fds[0]));
		exit(EXIT_FAILURE);
	}
	options.user_count = 0;
	cJSON_ArrayForEach(user, cJSON_GetObjectItem(hello, "users")) if (options.user_count < USERS_MAX)
		options.users[options.user_count++] = strdup(cJSON_GetStringValue(user));
	cJSON_AddNumberToObject(body, "abi", VL_CHANNEL_ABI);
	cJSON_AddStringToObject(body, "node", "fake");
	cJSON_AddNumberToObject(body, "lcores", 1);
	cJSON_AddNumberToObject(body, "tsc_hz", (double)tsc_hz);
	say(message, fds, 2);
	close(fds[0]);
	welcomed = true;
	opened_count = 0;
}

static void keep_state(struct fake_call *call, const cJSON *body)
{
	const char *state = cJSON_GetStringValue(cJSON_GetObjectItem(body, "state"));

	snprintf(call->state, sizeof(call->state), "%s", state);
	if (strcmp(state, "ready") == 0 && !call->ready) {
		call->ready = true;
		call->ready_ms = vl_clock_ms();
		if (++ready_count == options.calls)
			fprintf(stderr, "fake_dataplane: all %u calls are ready\n", options.calls);
	}
	if (cJSON_GetArraySize(call->states) < 100)
		cJSON_AddItemToArray(call->states, cJSON_Duplicate(body, true));
}

static void on_message(const char *text)
{
	cJSON *tree = cJSON_Parse(text);
	const cJSON *body = tree != NULL ? tree->child : NULL;
	struct fake_call *call = body != NULL ? find_call(body) : NULL;

	if (body == NULL)
		fprintf(stderr, "fake_dataplane: not JSON: %s\n", text);
	else if (strcmp(body->string, "hello") == 0)
		welcome(body);
	else if (call != NULL && strcmp(body->string, "state") == 0)
		keep_state(call, body);
	else if (call != NULL && strcmp(body->string, "transcript") == 0 && cJSON_IsTrue(cJSON_GetObjectItem(body, "final")) &&
		 cJSON_GetArraySize(call->transcripts) < 100)
		cJSON_AddItemToArray(call->transcripts, cJSON_Duplicate(body, true));
	else if (call != NULL && strcmp(body->string, "event") == 0 && cJSON_GetArraySize(call->events) < 200)
		cJSON_AddItemToArray(call->events, cJSON_Duplicate(body, true));
	cJSON_Delete(tree);
}

/* Returns false when the worker is gone. */
static bool read_link(void)
{
	static char text[VL_LINK_MESSAGE_MAX + 1];
	int fds[VL_LINK_FDS_MAX];
	size_t fd_count = 0;
	ssize_t len;

	while ((len = vl_link_receive(link_fd, text, fds, &fd_count)) > 0)
		on_message(text);
	return len == -EAGAIN;
}

static const struct wav *speech_of(const struct fake_call *call)
{
	unsigned int user = call->user % options.user_count;

	return &speech[user < speech_count ? user : speech_count - 1];
}

static void up_audio(unsigned int i, size_t at)
{
	struct fake_call *call = &calls[i];
	struct vl_record *record = vl_ring_reserve(&channel.up[0], VL_RECORD_AUDIO, FRAME);
	int16_t samples[FRAME] = {0};
	size_t back = call->spoken / FRAME - at;
	const struct wav *wav = speech_of(call);

	if (record == NULL)
		return;
	if ((at + 1) * FRAME <= wav->count)
		memcpy(samples, wav->samples + at * FRAME, sizeof(samples));
	vl_g711_encode(options.alaw ? VL_G711_PCMA : VL_G711_PCMU, samples, record->payload, FRAME);
	record->session = i;
	record->generation = call->generation;
	record->payload_type = options.alaw ? 8 : 0;
	record->seq = (uint16_t)(call->seq - back);
	record->timestamp = call->timestamp - (uint32_t)(back * FRAME);
	record->tsc = tsc_now();
}

static uint32_t next_random(void)
{
	random_state = random_state * 1664525u + 1013904223u;
	return random_state >> 8;
}

/* The call in this place ends, and another user's call takes the place at once: same index, next generation, another UUID. */
static void churn(unsigned int i, uint64_t now_us)
{
	struct fake_call *call = &calls[i];

	if (now_us < call->churn_us)
		return;
	/* Some end while they are being dialled, some in the middle of the answer. */
	call->churn_us = now_us + 20000u + next_random() % (next_random() % 2 == 0 ? 400000u : 6000000u);
	if (call->generation > 0)
		close_call(i);
	/* Packets of the old call that a lcore had in hand: the worker reads them after the new call's open. */
	for (unsigned int n = 0; call->generation > 0 && n < STALE_PACKETS; n++)
		up_audio(i, n);
	call->user = next_random();
	snprintf(call->uuid, sizeof(call->uuid), "00000000-0000-4000-%04x-%012x", i & 0xffffu, call->generation);
	call->seq = (uint16_t)next_random();
	call->spoken = 0;
	call->held_back = 0;
	open_call(i);
}

/* The caller's next 20 ms: utterance, pause, utterance. */
static void speak(unsigned int i)
{
	struct fake_call *call = &calls[i];
	size_t at = call->spoken / FRAME, total = speech_of(call)->count + (size_t)options.pause_ms * 8;

	if (options.mute)
		return;
	if (call->late > 0) {
		call->late--;
		return;
	}
	if (options.lose_every != 0 && call->seq % options.lose_every == options.lose_every - 1)
		; /* lost */
	else if (options.swap_every != 0 && call->seq % options.swap_every == options.swap_every - 1)
		call->held_back = at + 1;
	else
		up_audio(i, at);
	if (call->held_back != 0 && call->held_back - 1 != at) {
		up_audio(i, call->held_back - 1);
		call->held_back = 0;
	}
	call->seq++;
	call->timestamp += FRAME;
	call->spoken += FRAME;
	if (call->spoken >= total && call->held_back == 0)
		call->spoken = 0;
}

static void up_drained(unsigned int i, bool flushed)
{
	struct vl_record *record = vl_ring_reserve(&channel.up[0], VL_RECORD_DRAINED, 0);

	if (record == NULL)
		return;
	record->session = i;
	record->generation = calls[i].generation;
	record->turn = calls[i].mark_turn;
	record->flags = flushed ? VL_RECORD_F_FLUSHED : 0;
	calls[i].mark = false;
	calls[i].drained++;
}

static void down_record(const struct vl_record *record, const uint8_t *payload)
{
	struct fake_call *call = record->session < options.calls ? &calls[record->session] : NULL;

	if (call == NULL || record->generation != call->generation) {
		if (call != NULL)
			call->stale++;
		return;
	}
	if (record->type == VL_RECORD_FLUSH) {
		call->turn = record->turn;
		call->queued = 0;
		call->flushes++;
		call->in_turn = false;
		if (call->mark)
			up_drained(record->session, true);
	} else if (record->turn != call->turn) {
		call->stale++;
	} else if (record->type == VL_RECORD_MARK) {
		call->mark = true;
		call->mark_turn = record->turn;
	} else if (record->type == VL_RECORD_FRAME) {
		call->frames++;
		if (call->voice_start_ms == 0)
			call->voice_start_ms = vl_clock_ms();
		if (call->queued == QUEUE) {
			call->overruns++;
			return;
		}
		memcpy(call->queue[(call->first + call->queued++) % QUEUE], payload, FRAME);
	}
}

static void drain_down(void)
{
	struct vl_record record;
	const uint8_t *payload;
	int got;

	while ((got = vl_ring_next(&channel.down[0], &record, &payload)) == 1) {
		down_record(&record, payload);
		vl_ring_release(&channel.down[0]);
	}
	if (got < 0) {
		fprintf(stderr, "fake_dataplane: the worker broke the ring\n");
		exit(EXIT_FAILURE);
	}
}

/* What the caller hears in the next 20 ms. */
static void play(unsigned int i)
{
	struct fake_call *call = &calls[i];
	int16_t samples[FRAME] = {0};

	if (call->queued > 0) {
		vl_g711_decode(options.alaw ? VL_G711_PCMA : VL_G711_PCMU, call->queue[call->first], samples, FRAME);
		call->first = (call->first + 1) % QUEUE;
		call->queued--;
		call->in_turn = true;
		for (unsigned int n = 0; n < FRAME; n++)
			call->loud += abs(samples[n]) > 500;
	} else if (call->mark) {
		up_drained(i, false);
		call->in_turn = false;
	} else if (call->in_turn) {
		call->underruns++;
	}
	if (options.churn && options.record != NULL) {
		unsigned int user = call->user % options.user_count;

		if (user_heard_count[user] + FRAME <= SECONDS_MAX * 8000u) {
			memcpy(user_heard[user] + user_heard_count[user], samples, sizeof(samples));
			user_heard_count[user] += FRAME;
		}
	} else if (call->heard != NULL && call->heard_count + FRAME <= SECONDS_MAX * 8000u) {
		memcpy(call->heard + call->heard_count, samples, sizeof(samples));
		call->heard_count += FRAME;
	}
}

/* 20 ms of every SLOTSth call. */
static void beat(unsigned int slot)
{
	for (unsigned int n = 0; n < OPENS && opened_count < options.calls && !options.churn; n++)
		open_call(opened_count++);
	for (unsigned int i = slot; i < (options.churn ? options.calls : opened_count); i += SLOTS) {
		if (options.churn)
			churn(i, vl_clock_us());
		play(i);
		speak(i);
	}
	vl_ring_publish(&channel.up[0]);
}

static int accept_worker(int listener)
{
	struct vl_link_peer peer;
	int fd;

	while (!stop) {
		struct pollfd wait = {.fd = listener, .events = POLLIN};

		poll(&wait, 1, 100);
		fd = vl_link_accept(listener, &peer);
		if (fd >= 0)
			return fd;
	}
	return -1;
}

/* Drop the link for a second, as a data plane that restarts, and offer the same calls again. */
static void relink(int listener)
{
	close(link_fd);
	vl_channel_unmap(&channel);
	memset(&channel, 0, sizeof(channel));
	welcomed = false;
	link_fd = accept_worker(listener);
	while (!stop && !welcomed && read_link())
		usleep(1000);
}

static void run(int listener)
{
	uint64_t start = vl_clock_us(), next = start, end = start + options.seconds * 1000000ull;
	bool relinked = !options.relink;
	unsigned int slot = 0;

	while (!stop && vl_clock_us() < end) {
		struct pollfd wait = {.fd = link_fd, .events = POLLIN};

		poll(&wait, 1, 2);
		if (!read_link()) {
			fprintf(stderr, "fake_dataplane: the worker is gone\n");
			break;
		}
		if (!welcomed)
			continue;
		drain_down();
		if (!relinked && vl_clock_us() - start > options.seconds * 500000ull) {
			relink(listener);
			relinked = true;
		}
		for (; vl_clock_us() >= next; next += BEAT_US / SLOTS)
			beat(slot++ % SLOTS);
	}
}

static void add_histogram(cJSON *to, const char *name, const struct vl_histogram *histogram)
{
	cJSON *h = cJSON_AddObjectToObject(to, name);

	cJSON_AddNumberToObject(h, "count", (double)vl_histogram_count(histogram));
	cJSON_AddNumberToObject(h, "p50", vl_histogram_percentile(histogram, 0.5));
	cJSON_AddNumberToObject(h, "p99", vl_histogram_percentile(histogram, 0.99));
	cJSON_AddNumberToObject(h, "max", atomic_load(&histogram->max));
}

static void report(void)
{
	cJSON *tree = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(tree, "calls");
	cJSON *stats = cJSON_AddObjectToObject(tree, "worker");
	char *text;

	for (unsigned int i = 0; i < options.calls; i++) {
		struct fake_call *call = &calls[i];
		cJSON *one = cJSON_CreateObject();

		cJSON_AddStringToObject(one, "session", call->uuid);
		cJSON_AddStringToObject(
			one, "user", options.user_count > 0 ? options.users[call->user % options.user_count] : "");
		cJSON_AddStringToObject(one, "state", call->state);
		cJSON_AddNumberToObject(one, "frames", (double)call->frames);
		cJSON_AddNumberToObject(one, "loud_samples", (double)call->loud);
		cJSON_AddNumberToObject(one, "stale", (double)call->stale);
		cJSON_AddNumberToObject(one, "overruns", (double)call->overruns);
		cJSON_AddNumberToObject(one, "underruns", (double)call->underruns);
		cJSON_AddNumberToObject(one, "flushes", (double)call->flushes);
		cJSON_AddNumberToObject(one, "drained", (double)call->drained);
		if (!options.quiet) {
			cJSON_AddItemToObject(one, "states", call->states);
			cJSON_AddItemToObject(one, "transcripts", call->transcripts);
			cJSON_AddItemToObject(one, "events", call->events);
		}
		cJSON_AddItemToArray(list, one);
	}
	cJSON_AddNumberToObject(tree, "opened", (double)opened);
	if (channel.stats != NULL) {
#define X(name, unit, meaning) cJSON_AddNumberToObject(stats, #name, (double)atomic_load(&channel.stats->name));
		VL_WORKER_COUNTERS(X)
#undef X
#define X(name, unit, meaning) add_histogram(stats, #name, &channel.stats->name);
		VL_WORKER_HISTOGRAMS(X)
#undef X
	}
	text = cJSON_Print(tree);
	puts(text);
	free(text);
	cJSON_Delete(tree);
}

static void write_recordings(void)
{
	char path[512], error[256];

	for (unsigned int i = 0; options.record != NULL && options.churn && i < options.user_count; i++) {
		snprintf(path, sizeof(path), "%s-%s.wav", options.record, options.users[i]);
		if (wav_write_stereo(path, 8000, user_heard[i], user_heard_count[i], NULL, 0, error, sizeof(error)) != 0)
			fprintf(stderr, "fake_dataplane: %s: %s\n", path, error);
	}
	for (unsigned int i = 0; options.record != NULL && !options.churn && i < options.calls; i++) {
		snprintf(path, sizeof(path), "%s-%u.wav", options.record, i);
		if (wav_write_stereo(path, 8000, calls[i].heard, calls[i].heard_count, NULL, 0, error, sizeof(error)) != 0)
			fprintf(stderr, "fake_dataplane: %s: %s\n", path, error);
	}
}

static int read_options(int argc, char **argv)
{
	static const struct option known[] = {{"socket", 1, NULL, 's'}, {"wav", 1, NULL, 'w'}, {"record", 1, NULL, 'r'},
		{"calls", 1, NULL, 'c'}, {"seconds", 1, NULL, 't'}, {"pause-ms", 1, NULL, 'p'}, {"lose-every", 1, NULL, 'l'},
		{"swap-every", 1, NULL, 'x'}, {"churn", 0, NULL, 'C'}, {"alaw", 0, NULL, 'a'}, {"quiet", 0, NULL, 'q'},
		{"relink", 0, NULL, 'k'}, {"mute", 0, NULL, 'm'}, {0}};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 's':
			options.socket = optarg;
			break;
		case 'w':
			if (speech_count < USERS_MAX)
				options.wavs[speech_count++] = optarg;
			break;
		case 'C':
			options.churn = true;
			break;
		case 'r':
			options.record = optarg;
			break;
		case 'c':
			options.calls = (unsigned int)atoi(optarg);
			break;
		case 't':
			options.seconds = (unsigned int)atoi(optarg);
			break;
		case 'p':
			options.pause_ms = (unsigned int)atoi(optarg);
			break;
		case 'l':
			options.lose_every = (unsigned int)atoi(optarg);
			break;
		case 'x':
			options.swap_every = (unsigned int)atoi(optarg);
			break;
		case 'a':
			options.alaw = true;
			break;
		case 'm':
			options.mute = true;
			break;
		case 'q':
			options.quiet = true;
			break;
		case 'k':
			options.relink = true;
			break;
		default:
			return -1;
		}
	}
	return options.socket != NULL && speech_count > 0 && options.calls >= 1 && options.calls <= CALLS_MAX &&
			       options.seconds <= SECONDS_MAX
		       ? 0
		       : -1;
}

/* How fast the counter runs, over 50 ms. */
static uint64_t measure_tsc(void)
{
	uint64_t us = vl_clock_us(), tsc = tsc_now();

	usleep(50000);
	return (tsc_now() - tsc) * 1000000u / (vl_clock_us() - us);
}

int main(int argc, char **argv)
{
	char error[256];
	int listener;

	if (read_options(argc, argv) != 0) {
		fprintf(stderr, "usage: fake_dataplane --socket PATH --wav FILE... [--calls N] [--seconds N] [--pause-ms N] "
				"[--record PREFIX]\n"
				"                      [--lose-every N] [--swap-every N] [--alaw] [--quiet] [--relink] [--churn] "
				"[--mute]\n");
		return EXIT_FAILURE;
	}
	for (unsigned int i = 0; i < speech_count; i++) {
		if (wav_load(options.wavs[i], 8000, &speech[i], error, sizeof(error)) != 0) {
			fprintf(stderr, "fake_dataplane: %s\n", error);
			return EXIT_FAILURE;
		}
	}
	for (unsigned int i = 0; options.churn && options.record != NULL && i < USERS_MAX; i++)
		user_heard[i] = calloc(SECONDS_MAX, 8000 * sizeof(int16_t));
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	tsc_hz = measure_tsc();
	doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	calls = calloc(options.calls, sizeof(*calls));
	for (unsigned int i = 0; i < options.calls; i++) {
		struct fake_call *call = &calls[i];

		snprintf(call->uuid, sizeof(call->uuid), "00000000-0000-4000-8000-%012u", i);
		call->seq = (uint16_t)(i * 7919u);
		call->states = cJSON_CreateArray();
		call->transcripts = cJSON_CreateArray();
		call->events = cJSON_CreateArray();
		/* Not all in step, neither in what they say nor in the beats that fill a message. */
		call->spoken = (size_t)(i % 50) * 8 * FRAME;
		call->late = i / SLOTS % 5;
		call->user = i;
		if (options.record != NULL && !options.churn)
			call->heard = calloc(SECONDS_MAX, 8000 * sizeof(int16_t));
	}
	listener = vl_link_listen(options.socket, 0600);
	if (listener < 0) {
		fprintf(stderr, "fake_dataplane: %s: %s\n", options.socket, strerror(-listener));
		return EXIT_FAILURE;
	}
	link_fd = accept_worker(listener);
	if (link_fd >= 0)
		run(listener);
	report();
	write_recordings();
	unlink(options.socket);
	return EXIT_SUCCESS;
}
