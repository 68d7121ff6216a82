/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bench: how many G.711 calls one packet lcore carries both ways. The lcore runs the data plane's own loop on one core. On the other are,
 * in one thread, the callers (a paced generator), their ears (a sink) and the workers (who read what comes up and send 20 ms of voice a
 * call and beat down). Between them is the port of bench_port.h. Every packet says in its payload whose it is, both ways, and it is
 * looked at. The times between a call's packets are taken where the lcore hands them to the port.
 *
 * A core that is taken away for more than 200 us is a stall; drops are told apart by whether one had just been, for five times its length
 * longer. A number of calls is carried when nothing is dropped outside stalls and what was offered and sent is as it should be; there is no
 * verdict when stalls leave less than half of the time. After a stall of its own, the generator goes on from where it was: no network
 * would make up for it with a burst.
 *
 * usage: bench_duplex [--json FILE] [SECONDS [CONFIRM_SECONDS [CALLS]]]
 *        seconds a step (3), seconds of the last run with the number found (60), one number of calls instead of a search
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <rte_byteorder.h>
#include <rte_cycles.h>
#include <rte_launch.h>

#include "bench.h"
#include "bench_port.h"
#include "dpdk_app/headers.h"
#include "lcore_bench.h"
#include "shared/histogram.h"

#define CALLS_MAX    100000u
#define CALLS_BUDGET 50000u
#define CALLS_STEP   2500u /* resolution of the search */
#define MBUFS	     16383u
#define MEGABYTES    700u
#define PREFILL	     5u /* frames queued ahead, as a worker keeps them */
#define CHUNK	     64u
#define SETTLE_MS    700u
#define STALL_US     200u
#define WATCH_US     1000u
#define STALLS_MAX   0.5
#define OFFERED_MIN  0.98 /* of the packets that should have been sent, or the generator's core was the bottleneck */

/* What a caller sends next. */
struct caller {
	uint8_t line[64]; /* headers, RTP header and the beginning of the payload */
} __rte_cache_aligned;

/* What was heard last of a call. */
struct ear {
	uint32_t stamp;
	uint16_t seq;
	bool known, disturbed;
};

struct outcome {
	uint64_t offered, missed, missed_in_stalls; /* packets for the lcore; missed: the rx ring was full */
	uint64_t dropped, dropped_in_stalls;
	uint64_t drops[DROP_COUNT];
	uint64_t transmitted, late_beats, underruns, busy_tsc, total_tsc;
	uint64_t foreign, lost_sequence, voiceless;
	uint64_t lcore_stalls, lcore_stalled_tsc, lcore_longest_tsc, our_stalls, our_stalled_tsc;
	uint64_t switches, looks, looks_in_stalls; /* looks: once in WATCH_US */
	double seconds;
};

static struct lcore_bench b;
static struct caller callers[CALLS_MAX];
static struct ear ears[CALLS_MAX];
static uint32_t order[CALLS_MAX], voices[CALLS_MAX]; /* calls as they send, and as their workers speak: worker by worker */
static uint32_t calls;
static uint64_t hz, stall_tsc;
static struct bench_watch our_watch;
/* Distance of the time between two packets of a call from 20 ms: all, and those that no stall of the lcore is to blame for. */
static struct vl_histogram interval_ns, undisturbed_ns;
static struct sources *sources;
static bool measuring;

static uint64_t generated, spoken, generator_start, voice_start, watched_at, drops_seen;
static uint32_t next_call, next_voice;
static unsigned int next_listener;
static struct outcome now_seen;

static bool just_stalled(uint64_t now)
{
	const struct bench_watch *lcore = bench_port_watch();
	uint64_t last = atomic_load_explicit(&lcore->last, memory_order_relaxed);

	return (now > last && now - last > stall_tsc) || bench_watch_recovers(lcore, now) ||
	       bench_watch_recovers(&our_watch, now);
}

/* How many of a stream of `calls` packets every 20 ms are due and not done, at most a chunk. */
static unsigned int due(uint64_t start, uint64_t done, uint64_t now)
{
	uint64_t wanted = (uint64_t)((double)(now - start) * 50.0 * calls / (double)hz);

	return wanted <= done ? 0 : wanted - done < CHUNK ? (unsigned int)(wanted - done) : CHUNK;
}

/* The next packet of a call; false when the port has no room. */
static bool say(uint32_t index)
{
	static uint8_t frame[256] __rte_cache_aligned = {[64 ... 255] = 0xd5};
	uint8_t *rtp = callers[index].line + BENCH_PORT_RTP;
	uint16_t seq;
	uint32_t timestamp;

	memcpy(frame, callers[index].line, sizeof(callers[index].line));
	memcpy(&seq, rtp + 2, sizeof(seq));
	memcpy(&timestamp, rtp + 4, sizeof(timestamp));
	seq = rte_cpu_to_be_16((uint16_t)(rte_be_to_cpu_16(seq) + 1));
	timestamp = rte_cpu_to_be_32(rte_be_to_cpu_32(timestamp) + PLAYOUT_SAMPLES);
	memcpy(rtp + 2, &seq, sizeof(seq));
	memcpy(rtp + 4, &timestamp, sizeof(timestamp));
	return bench_port_fill(frame);
}

static uint32_t step(uint32_t *position)
{
	uint32_t at = *position;

	*position = at + 1 == calls ? 0 : at + 1;
	return at;
}

/* The callers: what is due. */
static void generate(uint64_t now)
{
	unsigned int count, missed = 0;
	uint64_t behind = (uint64_t)((double)generated * (double)hz / (50.0 * calls));

	/* We were away: time stood still for the callers. */
	if (now - generator_start > stall_tsc + behind)
		generator_start = now - behind;
	count = due(generator_start, generated, now);
	if (count == 0)
		return;
	for (unsigned int i = 0; i < count; i++)
		__builtin_prefetch(&callers[order[(next_call + i) % calls]], 1);
	for (unsigned int i = 0; i < count; i++)
		missed += !say(order[step(&next_call)]);
	bench_port_publish();
	generated += count;
	now_seen.offered += count;
	now_seen.missed += missed;
	if (unlikely(missed > 0) && just_stalled(now))
		now_seen.missed_in_stalls += missed;
}

static bool speak_one(uint32_t index)
{
	struct vl_record *record = vl_ring_reserve(&b.theirs[index % BENCH_WORKERS].down[0], VL_RECORD_FRAME, PLAYOUT_FRAME_SIZE);

	if (record == NULL)
		return false;
	record->session = index;
	record->generation = 1;
	memset(record->payload, 0x55, PLAYOUT_FRAME_SIZE);
	memcpy(record->payload, &index, sizeof(index));
	return true;
}

/* The workers: the model's voice for the calls whose turn it is. */
static void speak(uint64_t now)
{
	unsigned int count = due(voice_start, spoken, now);

	for (unsigned int i = 0; i < count; i++) {
		uint32_t index = voices[next_voice];

		if (!speak_one(index)) {
			count = i;
			break;
		}
		step(&next_voice);
		/* The next is another worker's. */
		if (voices[next_voice] % BENCH_WORKERS != index % BENCH_WORKERS)
			vl_ring_publish(&b.theirs[index % BENCH_WORKERS].down[0]);
	}
	vl_ring_publish(&b.theirs[voices[next_voice] % BENCH_WORKERS].down[0]);
	spoken += count;
}

/* The workers: what the callers said to one of them. */
static void listen_up(void)
{
	struct vl_ring *ring = &b.theirs[next_listener].up[0];
	struct vl_record record;
	const uint8_t *payload;
	uint32_t index;

	while (vl_ring_next(ring, &record, &payload) == 1) {
		memcpy(&index, payload, sizeof(index));
		now_seen.foreign += index != record.session;
	}
	vl_ring_release(ring);
	next_listener = next_listener + 1 == BENCH_WORKERS ? 0 : next_listener + 1;
}

static void hear(const struct bench_sent *sent)
{
	uint32_t ssrc = rte_be_to_cpu_32(sent->ssrc);
	uint16_t seq = rte_be_to_cpu_16(sent->seq);

	if (unlikely(ssrc >= calls)) {
		now_seen.foreign++;
		return;
	}
	struct ear *ear = &ears[ssrc];

	if (unlikely(sent->mark == UINT32_MAX))
		now_seen.voiceless++;
	else
		now_seen.foreign += sent->mark != ssrc;
	if (likely(ear->known)) {
		int32_t distance = (int32_t)(sent->stamp - ear->stamp - (uint32_t)(hz / 50));

		now_seen.lost_sequence += seq != (uint16_t)(ear->seq + 1);
		uint64_t distance_ns = (uint64_t)llabs(distance) * 1000000000u / hz;

		if (measuring)
			vl_histogram_add(&interval_ns, distance_ns);
		if (measuring && !sent->disturbed && !ear->disturbed)
			vl_histogram_add(&undisturbed_ns, distance_ns);
	}
	*ear = (struct ear){.stamp = sent->stamp, .seq = seq, .known = true, .disturbed = sent->disturbed};
}

static void sink(void)
{
	struct bench_sent sent[CHUNK];
	unsigned int count = bench_port_sent(sent, CHUNK);

	for (unsigned int i = 0; i < count; i++)
		__builtin_prefetch(&ears[rte_be_to_cpu_32(sent[i].ssrc) % CALLS_MAX], 1);
	for (unsigned int i = 0; i < count; i++)
		hear(&sent[i]);
}

static uint64_t drops_of_lcore(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < DROP_COUNT; i++)
		sum += atomic_load_explicit(&b.lcore->counters.drops[i], memory_order_relaxed);
	return sum;
}

/* Rarely, since it reads what the lcore writes. */
static void watch_drops(uint64_t now)
{
	uint64_t sum;

	if (now - watched_at < hz / 1000000 * WATCH_US)
		return;
	now_seen.looks++;
	now_seen.looks_in_stalls += just_stalled(now);
	watched_at = now;
	sum = drops_of_lcore();
	now_seen.dropped += sum - drops_seen;
	now_seen.dropped_in_stalls += just_stalled(now) ? sum - drops_seen : 0;
	drops_seen = sum;
}

static void run_for(double seconds)
{
	uint64_t end = rte_rdtsc() + (uint64_t)(seconds * (double)hz), now;

	while ((now = rte_rdtsc()) < end) {
		bench_watch_look(&our_watch, now, stall_tsc);
		sink();
		generate(now);
		sink();
		speak(now);
		listen_up();
		watch_drops(now);
	}
}

static void make_order(void)
{
	uint64_t state = 88172645463325252u;
	uint32_t count = 0;

	for (uint32_t i = 0; i < calls; i++)
		order[i] = i;
	for (uint32_t i = calls - 1; i > 0; i--) {
		state ^= state << 13, state ^= state >> 7, state ^= state << 17;
		uint32_t other = (uint32_t)((state >> 32) * (i + 1) >> 32), index = order[i];

		order[i] = order[other];
		order[other] = index;
	}
	for (uint32_t worker = 0; worker < BENCH_WORKERS; worker++) {
		for (uint32_t i = 0; i < calls; i++) {
			if (order[i] % BENCH_WORKERS == worker)
				voices[count++] = order[i];
		}
	}
}

static void make_caller(uint32_t index)
{
	struct headers_spec spec = {.destination_mac = {2, 0, 0, 0, 0, 1}, .source_mac = {2, 0, 0, 0, 0, 2}};
	struct flow_key key = lcore_bench_key(index);
	struct header_template template;
	uint8_t *frame = callers[index].line, *rtp = frame + BENCH_PORT_RTP;

	spec.local = (struct endpoint){key.remote, key.remote_port};
	spec.remote = (struct endpoint){key.local, key.local_port};
	lcore_bench_require(headers_build(&template, &spec) == 0 && template.len == BENCH_PORT_RTP, "cannot build headers");
	memset(frame, 0, sizeof(callers[index].line));
	memcpy(frame, template.bytes, template.len);
	headers_finish(&template, frame, BENCH_PORT_FRAME - BENCH_PORT_RTP, 0);
	/* Left to the card's verdict: it would count bytes that are not here. */
	memset(frame + BENCH_PORT_RTP - 2, 0, 2);
	memcpy(rtp + 12, &index, sizeof(index));
	rtp[0] = 0x80;
	for (unsigned int i = 0; i < 4; i++)
		rtp[8 + i] = (uint8_t)(key.ssrc >> (24 - 8 * i));
}

static void command_until_taken(const struct lcore_command *command)
{
	while (lcore_command(b.lcore, command) != 0)
		sink();
}

/* Begin the playout of every call, and queue ahead. The lcore runs. */
static void start_calls(void)
{
	for (uint32_t i = 0; i < calls; i++) {
		struct lcore_command start = lcore_bench_playout(i);

		command_until_taken(&start);
	}
	for (unsigned int frame = 0; frame < PREFILL; frame++) {
		for (uint32_t i = 0; i < calls; i++) {
			uint32_t index = voices[i];

			while (!speak_one(index))
				sink();
			vl_ring_publish(&b.theirs[index % BENCH_WORKERS].down[0]);
			sink();
		}
	}
}

static void set_up(uint32_t count)
{
	calls = count;
	make_order();
	memset(ears, 0, sizeof(ears));
	for (uint32_t i = 0; i < calls; i++)
		make_caller(i);
	lcore_bench_setup(&b, calls, MBUFS);
	atomic_store_explicit(&b.settings.sources, sources, memory_order_release);
	lcore_bench_require(lcore_add_rx_queue(b.lcore, 0, 0) == 0, "cannot poll the port");
	bench_port_open(b.pool, stall_tsc);
	lcore_bench_require(
		rte_eal_remote_launch(lcore_run, b.lcore, rte_get_next_lcore(-1, 1, 0)) == 0, "cannot launch the lcore");
	start_calls();
	generated = spoken = 0;
	next_call = next_voice = 0;
	generator_start = voice_start = rte_rdtsc();
}

static void tear_down(void)
{
	atomic_store_explicit(&b.settings.stop, true, memory_order_relaxed);
	rte_eal_mp_wait_lcore();
	bench_port_close();
	lcore_bench_teardown(&b);
}

static uint64_t involuntary_switches(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_nivcsw : 0;
}

/* Counters as they are, or with `sign` -1 taken off what was there before. */
static void add_counters(struct outcome *outcome, int sign)
{
	const struct lcore_counters *counters = &b.lcore->counters;
	const struct bench_watch *lcore = bench_port_watch();

#define ADD(to, from) (outcome->to += (uint64_t)sign * (from))
	ADD(transmitted, counters->transmitted);
	ADD(late_beats, counters->late_beats);
	ADD(busy_tsc, counters->busy_tsc);
	ADD(total_tsc, counters->total_tsc);
	ADD(lcore_stalls, lcore->stalls);
	ADD(lcore_stalled_tsc, lcore->stalled_tsc);
	ADD(our_stalls, our_watch.stalls);
	ADD(our_stalled_tsc, our_watch.stalled_tsc);
	ADD(switches, involuntary_switches());
	for (unsigned int i = 0; i < DROP_COUNT; i++)
		ADD(drops[i], counters->drops[i]);
	for (uint32_t i = 0; i < calls; i++)
		ADD(underruns, session_table_at(b.table, i)->playout.underruns);
#undef ADD
}

static struct outcome measure(uint32_t count, double seconds)
{
	struct outcome outcome = {0};

	set_up(count);
	run_for(SETTLE_MS / 1000.0);
	memset(&interval_ns, 0, sizeof(interval_ns));
	memset(&undisturbed_ns, 0, sizeof(undisturbed_ns));
	atomic_store_explicit(&bench_port_watch()->longest_tsc, 0, memory_order_relaxed);
	drops_seen = drops_of_lcore();
	now_seen = (struct outcome){0};
	add_counters(&outcome, -1);
	uint64_t start = rte_rdtsc();

	measuring = true;
	run_for(seconds);
	measuring = false;
	outcome.seconds = (double)(rte_rdtsc() - start) / (double)hz;
	watched_at = 0;
	watch_drops(rte_rdtsc());
	add_counters(&outcome, 1);
	outcome.lcore_longest_tsc = bench_port_watch()->longest_tsc;
#define TAKE(field) outcome.field = now_seen.field
	TAKE(offered), TAKE(missed), TAKE(missed_in_stalls), TAKE(dropped), TAKE(dropped_in_stalls);
	TAKE(foreign), TAKE(lost_sequence), TAKE(voiceless), TAKE(looks), TAKE(looks_in_stalls);
#undef TAKE
	tear_down();
	return outcome;
}

static double nominal(const struct outcome *outcome)
{
	return 50.0 * calls * outcome->seconds;
}

static double share_in_stalls(const struct outcome *outcome)
{
	return (double)outcome->looks_in_stalls / (double)(outcome->looks + 1);
}

/* Stalls leave nothing to judge by when most of the time is theirs, unless nothing was dropped even in them. */
static bool is_measured(const struct outcome *outcome)
{
	return share_in_stalls(outcome) < STALLS_MAX || outcome->missed + outcome->dropped == 0;
}

/* Nothing dropped outside stalls, and the load was really there, and went out again. */
static bool is_carried(const struct outcome *outcome)
{
	double stalled = (double)(outcome->our_stalled_tsc + outcome->lcore_stalled_tsc) / (double)hz / outcome->seconds;

	return is_measured(outcome) && outcome->missed == outcome->missed_in_stalls &&
	       outcome->dropped == outcome->dropped_in_stalls && outcome->foreign == 0 &&
	       (double)outcome->offered >= (OFFERED_MIN - stalled) * nominal(outcome) &&
	       (double)outcome->transmitted >= (OFFERED_MIN - stalled) * nominal(outcome);
}

static void report(struct bench *bench, const char *what, double value, const char *unit)
{
	char name[96];

	snprintf(name, sizeof(name), "duplex, %u calls: %s", calls, what);
	bench_report(bench, name, value, unit);
}

static void report_outcome(struct bench *bench, const struct outcome *outcome)
{
	char what[64];

	report(bench,
		is_carried(outcome)    ? "carried, seconds"
		: is_measured(outcome) ? "NOT carried, seconds"
				       : "NO VERDICT, too many stalls, seconds",
		outcome->seconds, "s");
	report(bench, "received", (double)outcome->offered / outcome->seconds / 1e6, "Mpps");
	report(bench, "sent", (double)outcome->transmitted / outcome->seconds / 1e6, "Mpps");
	report(bench, "missed by the port, outside stalls", (double)(outcome->missed - outcome->missed_in_stalls), "packets");
	report(bench, "missed by the port, in stalls", (double)outcome->missed_in_stalls, "packets");
	report(bench, "dropped by the lcore, outside stalls", (double)(outcome->dropped - outcome->dropped_in_stalls), "packets");
	report(bench, "dropped by the lcore, in stalls", (double)outcome->dropped_in_stalls, "packets");
	for (unsigned int i = 0; i < DROP_COUNT; i++) {
		if (outcome->drops[i] == 0)
			continue;
		snprintf(what, sizeof(what), "of them %s", drop_reason_name((enum drop_reason)i));
		report(bench, what, (double)outcome->drops[i], "packets");
	}
	report(bench, "audio of another call", (double)outcome->foreign, "packets");
	report(bench, "beats more than 1 ms late", (double)outcome->late_beats, "beats");
	report(bench, "underruns", (double)outcome->underruns, "");
	report(bench, "packets sent without voice", (double)outcome->voiceless, "packets");
	report(bench, "sequence numbers skipped, or not looked at in time", (double)outcome->lost_sequence, "");
	report(bench, "turns of the lcore with work", 100.0 * (double)outcome->busy_tsc / (double)outcome->total_tsc, "%");
	report(bench, "stalls of the lcore over 200 us", (double)outcome->lcore_stalls, "");
	report(bench, "longest of them", (double)outcome->lcore_longest_tsc * 1e6 / (double)hz, "us");
	report(bench, "all of them", (double)outcome->lcore_stalled_tsc * 100 / (double)hz / outcome->seconds, "% of time");
	report(bench, "in stalls and made up for them", 100.0 * share_in_stalls(outcome), "% of time");
	report(bench, "stalls of the other core over 200 us", (double)outcome->our_stalls, "");
	report(bench, "involuntary context switches", (double)outcome->switches, "");
}

static void report_intervals(struct bench *bench, const char *which, const struct vl_histogram *histogram)
{
	static const struct {
		const char *name;
		double fraction;
	} points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};
	char what[64];

	for (size_t i = 0; i < RTE_DIM(points); i++) {
		snprintf(what, sizeof(what), "off 20 ms, %s, %s", which, points[i].name);
		report(bench, what, vl_histogram_percentile(histogram, points[i].fraction) / 1e3, "us");
	}
	snprintf(what, sizeof(what), "off 20 ms, %s, longest", which);
	report(bench, what, histogram->max / 1e3, "us");
}

static bool try(struct bench *bench, uint32_t count, double seconds)
{
	struct outcome outcome = measure(count, seconds);

	report_outcome(bench, &outcome);
	report_intervals(bench, "all packets", &interval_ns);
	report(bench, "packets away from stalls",
		100.0 * (double)vl_histogram_count(&undisturbed_ns) / (double)vl_histogram_count(&interval_ns), "%");
	report_intervals(bench, "away from stalls", &undisturbed_ns);
	return is_carried(&outcome);
}

/* The most calls that are carried, to CALLS_STEP; 0 when not even that many are. */
static uint32_t search(struct bench *bench, double seconds, bool budget_met)
{
	uint32_t low = budget_met ? CALLS_BUDGET : 0, high = budget_met ? CALLS_MAX + CALLS_STEP : CALLS_BUDGET;

	while (high - low > CALLS_STEP) {
		uint32_t middle = (low + high) / 2 / CALLS_STEP * CALLS_STEP;

		if (try(bench, middle, seconds))
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* As on cores of one's own; without the right to it, there are more stalls. Where sessions are scheduled as groups, ours counts. */
static void take_priority(void)
{
	FILE *group = fopen("/proc/self/autogroup", "w");

	setpriority(PRIO_PROCESS, 0, -20);
	if (group == NULL)
		return;
	fputs("-20", group);
	fclose(group);
}

static void start(char *program)
{
	static struct ip_prefix prefixes[64];
	struct sources_trunk trunk = {prefixes, RTE_DIM(prefixes), UINT32_MAX / 4};
	char *arguments[] = {program, NULL};

	take_priority();
	lcore_bench_eal_with(1, arguments, MEGABYTES, "-l 0-1 " BENCH_PORT_EAL);
	lcore_bench_require(rte_lcore_count() == 2, "needs two cores");
	for (uint32_t i = 0; i < RTE_DIM(prefixes); i++)
		prefixes[i] = (struct ip_prefix){lcore_bench_key(i).remote, 128};
	hz = rte_get_tsc_hz();
	stall_tsc = hz / 1000000 * STALL_US;
	sources = sources_new(&trunk, 1, hz);
	lcore_bench_require(sources != NULL, "no memory for sources");
}

int main(int argc, char *argv[])
{
	struct bench bench;
	double seconds, confirm;
	uint32_t found;

	bench_init(&bench, &argc, argv);
	seconds = argc > 1 ? atof(argv[1]) : 3;
	confirm = argc > 2 ? atof(argv[2]) : 60;
	found = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
	if (seconds <= 0 || confirm <= 0 || found > CALLS_MAX) {
		fprintf(stderr, "usage: bench_duplex [--json FILE] [SECONDS [CONFIRM_SECONDS [CALLS (1-%u)]]]\n", CALLS_MAX);
		return EXIT_FAILURE;
	}
	start(argv[0]);
	if (found == 0) {
		try(&bench, 1000, seconds);
		try(&bench, 10000, seconds);
		found = search(&bench, seconds, try(&bench, CALLS_BUDGET, seconds));
	}
	/* What a step did not show, a longer run may. */
	while (found > 0 && !try(&bench, found, confirm))
		found = found > CALLS_STEP ? found - CALLS_STEP : 0;
	bench_report(&bench, "duplex: calls that one lcore carries", found, "calls");
	bench_finish(&bench);
	return EXIT_SUCCESS;
}
