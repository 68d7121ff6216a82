/* SPDX-License-Identifier: Apache-2.0 */
/*
 * voxlane-oracle-worker: a worker that checks instead of talking. It attaches like any other, serves the users o<first> to
 * o<first+count-1>, and knows from their names and the order of their calls which watermark each session must carry. Every byte
 * of every record is compared with it. Each call gets its own watermark to play, also for seconds after it ended, as a slow
 * worker would do. Commands on standard input, one JSON object per answer on standard output:
 *   stats   counters so far      reset   forget the latencies      quit
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "mark.h"
#include "shared/channel.h"
#include "shared/clock.h"
#include "shared/histogram.h"
#include "shared/json.h"
#include "shared/link.h"

#define FRAME_MS	20u
#define AHEAD_FRAMES	8u    /* queued in the data plane when a call begins */
#define LATE_MS		4000u /* frames of ended calls are sent on for so long */
#define LATE_EVERY_MS	200u
#define NAMES_A_MESSAGE 1000u
#define RECORDS_A_TURN	4096u
#define EXAMPLES	10u

/* One call on one session index. */
struct seat {
	uint32_t generation; /* 0: never used */
	uint32_t call;
	uint16_t life, down_seq;
	uint8_t lcore;
	bool open;
	uint8_t ahead;	    /* frames still to be sent at once */
	uint64_t ended_tsc; /* when its end was read */
};

struct late {
	uint32_t index;
	struct seat seat;
	uint64_t next_tsc, until_tsc;
};

struct counters {
	uint64_t records, bytes, foreign_bytes, foreign_records, after_end, unknown_session, out_of_place;
	uint64_t opened, closed, frames, frames_ring_full, late_frames, drained;
};

static struct {
	const char *path, *name;
	uint32_t first, count, sessions;
	double pace;
	int link;
	struct vl_channel channel;
	uint64_t tsc_hz;
	struct seat *seats, *before; /* by session index: the call on it, and the one before */
	uint16_t *lives;	     /* by user */
	uint32_t *live;		     /* indices of open calls */
	uint32_t *live_at;	     /* by index: position in `live` */
	uint32_t live_count, cursor;
	uint64_t rotation_tsc, sent_until;
	struct late *late; /* ring of `late_size` */
	uint32_t late_size, late_head, late_count;
	struct counters counters;
	struct vl_histogram delay_us;
	unsigned int examples;
	bool quit;
	char text[VL_LINK_MESSAGE_MAX + 1];
} worker = {.pace = 1, .link = -1};

static inline uint64_t tsc_now(void)
{
	return __builtin_ia32_rdtsc();
}

static void die(const char *what, int error)
{
	fprintf(stderr, "voxlane-oracle-worker: %s: %s\n", what, strerror(error));
	exit(EXIT_FAILURE);
}

static void say(const char *text)
{
	for (;;) {
		int result = vl_link_send(worker.link, text, strlen(text), NULL, 0);
		struct pollfd wait = {.fd = worker.link, .events = POLLOUT};

		if (result == 0)
			return;
		if (result != -EAGAIN)
			die("sending to the data plane", -result);
		poll(&wait, 1, 100);
	}
}

static void say_users(bool hello, uint32_t from, uint32_t count)
{
	char text[VL_LINK_MESSAGE_MAX];
	int len = hello ? snprintf(text, sizeof(text), "{\"hello\":{\"abi\":%u,\"name\":\"%s\",\"capacity\":%u,\"users\":[",
				  VL_CHANNEL_ABI, worker.name, worker.sessions)
			: snprintf(text, sizeof(text), "{\"users\":[");

	for (uint32_t i = 0; i < count; i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len, "%s\"o%u\"", i > 0 ? "," : "", from + i);
	snprintf(text + len, sizeof(text) - (size_t)len, hello ? "]}}" : "]}");
	say(text);
}

/* --- the link --- */

static int64_t number_of(const cJSON *body, const char *name)
{
	int64_t value = 0;
	struct vl_error error;

	if (vl_json_required(vl_json_get_integer(body, "", name, 0, INT64_C(1) << 53, &value, &error), "", name, &error) != 0) {
		fprintf(stderr, "voxlane-oracle-worker: %s\n", error.text);
		exit(EXIT_FAILURE);
	}
	return value;
}

static const char *string_of(const cJSON *body, const char *name)
{
	const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, name));

	if (value == NULL)
		die(name, EPROTO);
	return value;
}

/* Sessions by UUID, as `close` names them: open addressing over the first 64 bits, which are random. */
struct uuid_entry {
	uint64_t key; /* 0: free, 1: removed */
	uint32_t index;
};
static struct uuid_entry *uuids;
static uint32_t uuid_mask;

static uint64_t uuid_key(const char *uuid)
{
	uint64_t key = 0;

	for (; *uuid != '\0'; uuid++)
		key = mark_mix(key ^ (uint8_t)*uuid);
	return key | 2;
}

static void uuid_rehash(void)
{
	struct uuid_entry *old = uuids;

	uuids = calloc((size_t)uuid_mask + 1, sizeof(*uuids));
	if (uuids == NULL)
		die("memory", ENOMEM);
	for (uint32_t i = 0; old != NULL && i <= uuid_mask; i++) {
		uint32_t at = (uint32_t)old[i].key & uuid_mask;

		if (old[i].key < 2)
			continue;
		while (uuids[at].key != 0)
			at = (at + 1) & uuid_mask;
		uuids[at] = old[i];
	}
	free(old);
}

static void uuid_add(const char *uuid, uint32_t index)
{
	static uint32_t added;
	uint64_t key = uuid_key(uuid);
	uint32_t at;

	if (added++ % worker.sessions == worker.sessions - 1)
		uuid_rehash(); /* sweeps the removed ones out */
	for (at = (uint32_t)key & uuid_mask; uuids[at].key > 1; at = (at + 1) & uuid_mask)
		;
	uuids[at] = (struct uuid_entry){.key = key, .index = index};
}

/* The index of a UUID, which is forgotten; -1 if there is none. */
static int64_t uuid_take(const char *uuid)
{
	uint64_t key = uuid_key(uuid);

	for (uint32_t at = (uint32_t)key & uuid_mask; uuids[at].key != 0; at = (at + 1) & uuid_mask) {
		if (uuids[at].key != key)
			continue;
		uuids[at].key = 1;
		return uuids[at].index;
	}
	return -1;
}

static void leave_live(uint32_t index)
{
	uint32_t at = worker.live_at[index], last = worker.live[--worker.live_count];

	worker.live[at] = last;
	worker.live_at[last] = at;
}

static void take_open(const cJSON *body)
{
	uint32_t index = (uint32_t)number_of(body, "index");
	const char *user = string_of(body, "user");
	uint32_t call = (uint32_t)strtoul(user + 1, NULL, 10);
	struct seat *seat;

	if (index >= worker.sessions || user[0] != 'o' || call - worker.first >= worker.count)
		die("an open for somebody else's user or index", EPROTO);
	seat = &worker.seats[index];
	if (seat->open)
		leave_live(index);
	worker.before[index] = *seat;
	*seat = (struct seat){.generation = (uint32_t)number_of(body, "generation"),
		.call = call,
		.life = ++worker.lives[call - worker.first],
		.lcore = (uint8_t)number_of(body, "lcore"),
		.open = true,
		.ahead = AHEAD_FRAMES};
	if (seat->lcore >= worker.channel.lcores)
		die("open names an lcore that is not there", EPROTO);
	worker.live_at[index] = worker.live_count;
	worker.live[worker.live_count++] = index;
	uuid_add(string_of(body, "session"), index);
	worker.counters.opened++;
}

static void take_close(const cJSON *body)
{
	int64_t index = uuid_take(string_of(body, "session"));
	struct seat *seat;

	if (index < 0 || !worker.seats[index].open)
		return;
	seat = &worker.seats[index];
	seat->open = false;
	seat->ended_tsc = tsc_now();
	leave_live((uint32_t)index);
	worker.counters.closed++;
	if (worker.late_count < worker.late_size) {
		worker.late[(worker.late_head + worker.late_count++) % worker.late_size] = (struct late){.index = (uint32_t)index,
			.seat = *seat,
			.next_tsc = seat->ended_tsc,
			.until_tsc = seat->ended_tsc + LATE_MS * worker.tsc_hz / 1000};
	}
}

static void take_message(cJSON *message)
{
	const cJSON *body = message->child;
	char text[64];

	if (body == NULL)
		die("message", EPROTO);
	if (strcmp(body->string, "open") == 0) {
		take_open(body);
	} else if (strcmp(body->string, "close") == 0) {
		take_close(body);
	} else if (strcmp(body->string, "ping") == 0) {
		snprintf(text, sizeof(text), "{\"pong\":%.0f}", cJSON_GetNumberValue(body));
		say(text);
	} else if (strcmp(body->string, "refused") == 0) {
		fprintf(stderr, "voxlane-oracle-worker: refused: %s\n", string_of(body, "reason"));
		exit(EXIT_FAILURE);
	}
}

/* Take in every message. Returns how many. */
static unsigned int read_link(int *fds, size_t *fd_count)
{
	unsigned int count = 0;

	for (;; count++) {
		struct vl_error error;
		ssize_t len = vl_link_receive(worker.link, worker.text, fds, fd_count);
		cJSON *message;

		if (len == -EAGAIN)
			return count;
		if (len <= 0) {
			if (len < 0)
				fprintf(stderr, "voxlane-oracle-worker: link: %s\n", strerror((int)-len));
			worker.quit = true; /* the data plane ended */
			return count;
		}
		message = vl_json_parse(worker.text, (size_t)len, VL_LINK_MESSAGE_MAX, &error);
		if (message == NULL)
			die(error.text, EPROTO);
		if (fds != NULL) {
			worker.tsc_hz = (uint64_t)number_of(message->child, "tsc_hz");
			cJSON_Delete(message);
			return 1;
		}
		take_message(message);
		cJSON_Delete(message);
	}
}

static void attach(void)
{
	struct vl_link_peer peer;
	struct pollfd wait = {.events = POLLIN};
	int fds[VL_LINK_FDS_MAX];
	size_t fd_count = VL_LINK_FDS_MAX;
	uint32_t said = worker.count < NAMES_A_MESSAGE ? worker.count : NAMES_A_MESSAGE;
	int result;

	worker.link = vl_link_connect(worker.path, &peer);
	if (worker.link < 0)
		die(worker.path, -worker.link);
	say_users(true, worker.first, said);
	wait.fd = worker.link;
	if (poll(&wait, 1, 10000) != 1 || read_link(fds, &fd_count) != 1 || fd_count != 2)
		die("no welcome", EPROTO);
	result = vl_channel_map(&worker.channel, fds[0]);
	if (result < 0)
		die("channel", -result);
	close(fds[0]);
	for (uint32_t count; said < worker.count; said += count) {
		count = worker.count - said < NAMES_A_MESSAGE ? worker.count - said : NAMES_A_MESSAGE;
		say_users(false, worker.first + said, count);
	}
}

/* --- audio --- */

static void example(const struct vl_record *record, const uint8_t *payload, const struct seat *seat)
{
	struct mark mark = {0};

	if (worker.examples++ >= EXAMPLES)
		return;
	if (record->len == MARK_SIZE)
		mark_read(payload, &mark);
	fprintf(stderr, "%s: session %u/%u of o%u life %u got %u bytes marked %x life %u seq %u (RTP seq %u)\n", worker.name,
		record->session, record->generation, seat != NULL ? seat->call : 0, seat != NULL ? seat->life : 0, record->len,
		mark.call, mark.life, mark.seq, record->seq);
}

static const struct seat *seat_of(const struct vl_record *record)
{
	if (record->session >= worker.sessions)
		return NULL;
	if (worker.seats[record->session].generation == record->generation)
		return &worker.seats[record->session];
	if (worker.before[record->session].generation == record->generation)
		return &worker.before[record->session];
	return NULL;
}

static void check(const struct vl_record *record, const uint8_t *payload)
{
	struct counters *counters = &worker.counters;
	const struct seat *seat = seat_of(record);
	struct mark mark;
	uint32_t foreign;

	if (seat == NULL) {
		read_link(NULL, NULL); /* its open may still wait there */
		seat = seat_of(record);
	}
	counters->records++;
	counters->bytes += record->len;
	if (seat == NULL) {
		counters->unknown_session++;
		counters->foreign_bytes += record->len;
		counters->foreign_records++;
		example(record, payload, NULL);
		return;
	}
	mark = (struct mark){.call = seat->call, .life = seat->life, .seq = record->seq};
	foreign = mark_foreign(payload, record->len, MARK_UP, &mark);
	if (foreign > 0) {
		counters->foreign_bytes += foreign;
		counters->foreign_records++;
		example(record, payload, seat);
		return;
	}
	/* Arrived after its end was told: nobody may be listening any more. */
	if (!seat->open && record->tsc > seat->ended_tsc) {
		counters->after_end++;
		example(record, payload, seat);
	}
	mark_read(payload, &mark);
	vl_histogram_add(&worker.delay_us, record->tsc > mark.tsc ? (record->tsc - mark.tsc) * 1000000 / worker.tsc_hz : 0);
}

static unsigned int hear(void)
{
	unsigned int total = 0;

	for (unsigned int lcore = 0; lcore < worker.channel.lcores; lcore++) {
		struct vl_ring *ring = &worker.channel.up[lcore];
		struct vl_record record;
		const uint8_t *payload;
		unsigned int count = 0;
		int result = 0;

		while (count < RECORDS_A_TURN && (result = vl_ring_next(ring, &record, &payload)) == 1) {
			if (record.type == VL_RECORD_AUDIO)
				check(&record, payload);
			else
				worker.counters.drained++;
			if (++count % 64 == 0)
				vl_ring_release(ring);
		}
		if (result < 0)
			die("the data plane broke the ring", -result);
		vl_ring_release(ring);
		total += count;
	}
	return total;
}

static bool play(const struct seat *seat, uint32_t index, uint16_t seq, uint64_t now)
{
	struct vl_record *record = vl_ring_reserve(&worker.channel.down[seat->lcore], VL_RECORD_FRAME, MARK_SIZE);
	struct mark mark = {.call = seat->call, .life = seat->life, .seq = seq, .tsc = now};

	if (record == NULL)
		return false;
	record->session = index;
	record->generation = seat->generation;
	record->tsc = now;
	mark_write(record->payload, MARK_DOWN, &mark);
	return true;
}

static unsigned int play_late(uint64_t now)
{
	unsigned int done = 0;

	for (uint32_t left = worker.late_count; left > 0; left--) {
		struct late late = worker.late[worker.late_head];

		if (late.next_tsc > now)
			break;
		worker.late_head = (worker.late_head + 1) % worker.late_size;
		worker.late_count--;
		if (now >= late.until_tsc)
			continue;
		if (play(&late.seat, late.index, late.seat.down_seq++, now))
			worker.counters.late_frames++;
		late.next_tsc = now + LATE_EVERY_MS * worker.tsc_hz / 1000;
		worker.late[(worker.late_head + worker.late_count++) % worker.late_size] = late;
		done++;
	}
	return done;
}

/* Every open call in turn, each once in a rotation. */
static unsigned int speak(void)
{
	uint64_t now = tsc_now(), step;
	unsigned int count = 0;

	if (worker.live_count > 0) {
		step = worker.rotation_tsc / worker.live_count;
		if (worker.sent_until < now && now - worker.sent_until > worker.rotation_tsc)
			worker.sent_until = now - worker.rotation_tsc / 2; /* we were not running: do not catch up all of it */
		for (; worker.sent_until < now && count < 512; worker.sent_until += step, count++) {
			uint32_t index =
				worker.live[worker.cursor = worker.cursor + 1 < worker.live_count ? worker.cursor + 1 : 0];
			struct seat *seat = &worker.seats[index];

			do {
				if (play(seat, index, seat->down_seq, now)) {
					seat->down_seq++;
					worker.counters.frames++;
				} else {
					worker.counters.frames_ring_full++;
				}
			} while (seat->ahead > 0 && seat->ahead-- > 0);
		}
	} else {
		worker.sent_until = now;
	}
	count += play_late(now);
	for (unsigned int lcore = 0; lcore < worker.channel.lcores; lcore++)
		vl_ring_publish(&worker.channel.down[lcore]);
	return count;
}

/* --- commands --- */

static void print_stats(void)
{
	const struct counters *c = &worker.counters;

	printf("{\"records\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"foreign_bytes\": %" PRIu64 ", \"foreign_records\": %" PRIu64
	       ", \"after_end\": %" PRIu64 ", \"unknown_session\": %" PRIu64 ", \"opened\": %" PRIu64 ", \"closed\": %" PRIu64
	       ", \"frames\": %" PRIu64 ", \"frames_ring_full\": %" PRIu64 ", \"late_frames\": %" PRIu64 ", \"live\": %u"
	       ", \"delay_p50_us\": %u, \"delay_p99_us\": %u, \"delay_max_us\": %u}\n",
		c->records, c->bytes, c->foreign_bytes, c->foreign_records, c->after_end, c->unknown_session, c->opened,
		c->closed, c->frames, c->frames_ring_full, c->late_frames, worker.live_count,
		vl_histogram_percentile(&worker.delay_us, 0.5), vl_histogram_percentile(&worker.delay_us, 0.99),
		atomic_load(&worker.delay_us.max));
	fflush(stdout);
}

static void read_commands(void)
{
	struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
	char line[64];
	ssize_t len;

	if (poll(&wait, 1, 0) != 1)
		return;
	len = read(STDIN_FILENO, line, sizeof(line) - 1);
	if (len <= 0) {
		worker.quit = true;
		return;
	}
	line[len] = '\0';
	for (char *save, *word = strtok_r(line, " \n", &save); word != NULL; word = strtok_r(NULL, " \n", &save)) {
		if (strcmp(word, "stats") == 0)
			print_stats();
		else if (strcmp(word, "reset") == 0)
			memset(&worker.delay_us, 0, sizeof(worker.delay_us));
		else
			worker.quit = true;
	}
}

static void parse_options(int argc, char **argv)
{
	static const struct option table[] = {{"socket", required_argument, NULL, 's'}, {"name", required_argument, NULL, 'n'},
		{"first", required_argument, NULL, 'f'}, {"count", required_argument, NULL, 'c'},
		{"sessions", required_argument, NULL, 'm'}, {"pace", required_argument, NULL, 'p'}, {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (option) {
		case 's':
			worker.path = optarg;
			break;
		case 'n':
			worker.name = optarg;
			break;
		case 'f':
			worker.first = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'c':
			worker.count = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'm':
			worker.sessions = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			worker.pace = strtod(optarg, NULL);
			break;
		default:
			exit(EXIT_FAILURE);
		}
	}
	if (worker.path == NULL || worker.name == NULL || worker.count == 0 || worker.sessions == 0 || worker.pace <= 0) {
		fprintf(stderr,
			"usage: voxlane-oracle-worker --socket PATH --name NAME --first N --count N --sessions MAX --pace F\n");
		exit(EXIT_FAILURE);
	}
}

int main(int argc, char **argv)
{
	const struct timespec rest = {.tv_nsec = 300000};
	unsigned int turn = 0;

	parse_options(argc, argv);
	worker.late_size = worker.sessions;
	worker.seats = calloc(worker.sessions, sizeof(*worker.seats));
	worker.before = calloc(worker.sessions, sizeof(*worker.before));
	worker.lives = calloc(worker.count, sizeof(*worker.lives));
	worker.live = calloc(worker.sessions, sizeof(*worker.live));
	worker.live_at = calloc(worker.sessions, sizeof(*worker.live_at));
	worker.late = calloc(worker.late_size, sizeof(*worker.late));
	for (uuid_mask = 1023; uuid_mask < 4 * worker.sessions; uuid_mask = uuid_mask * 2 + 1)
		;
	uuid_rehash();
	if (worker.seats == NULL || worker.before == NULL || worker.lives == NULL || worker.live == NULL ||
		worker.live_at == NULL || worker.late == NULL)
		die("memory", ENOMEM);
	attach();
	worker.rotation_tsc = (uint64_t)((double)worker.tsc_hz * worker.pace * FRAME_MS / 1000);
	printf("{\"attached\": true}\n");
	fflush(stdout);
	while (!worker.quit) {
		unsigned int work = hear();

		work += speak();
		work += read_link(NULL, NULL);
		if (turn++ % 16 == 0 || work == 0)
			read_commands();
		if (work == 0)
			nanosleep(&rest, NULL);
	}
	print_stats();
	vl_channel_unmap(&worker.channel);
	close(worker.link);
	return EXIT_SUCCESS;
}
