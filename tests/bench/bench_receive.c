/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bench: cycles a packet of the receive path, from a burst of mbufs in memory to records in workers' rings and the mbufs freed, at
 * 1,000 to 1,000,000 sessions: each session's packet in random order, or as a trunk sends after a hold-up, eight packets of each of
 * four calls in a burst. Beside it the bare rte_hash bulk lookup in a table of the same size, the parts of the path on their own,
 * and testpmd over frames of the same size. Rounds alternate; medians over chunks of 256 packets are printed.
 *
 * Frames are in the last-level cache when they are handled, where a card that writes into the cache leaves them, and the mbufs'
 * first lines near the core, where the driver has just written them. Of one kind of round the frames are in memory only.
 *
 * usage: bench_receive [--json FILE] [--sessions N] [EAL options]    (default: every size; 1,400 MB, in hugepages if there are enough, core 0; the sessions
 * in transparent hugepages beyond that)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_hash.h>
#include <rte_mbuf.h>

#include "bench.h"
#include "dpdk_app/headers.h"
#include "lcore_bench.h"
#include "testpmd.h"

#define ROUNDS	 15u
#define CHUNK	 256u
#define PACKETS	 (32u * CHUNK) /* of a round: 3 MB of frames and mbufs, more than the caches of one core hold */
#define MBUFS	 16383u
#define IN_A_ROW 8u /* packets of one call in a burst of a trunk */
#define RTP_SIZE 172u

static struct lcore_bench b;
static struct rte_mbuf *mbufs[PACKETS];
static struct flow_key keys[PACKETS];
static struct packet packets[PACKETS];
static uint32_t drawn[PACKETS]; /* whose packets they are */
static uint32_t *order;		/* sessions, shuffled */
static uint16_t *seqs;		/* of each session's next packet */
static uint32_t next_session, sessions;
static volatile uint64_t sink;
static struct sources *sources, *slow_sources;
static uint64_t now; /* of the lcore: each call's packets are 20 ms apart, however fast the bench is */

/* Cycles a packet, one value a chunk: short enough that most chunks see no interruption. */
struct samples {
	unsigned int count;
	double values[64 * PACKETS / CHUNK];
};

static void add(struct samples *samples, uint64_t start)
{
	uint64_t cycles = rte_rdtsc_precise() - start;

	if (samples->count < RTE_DIM(samples->values))
		samples->values[samples->count++] = (double)cycles / CHUNK;
}

static uint32_t random_below(uint32_t limit)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state >> 32) * limit >> 32);
}

static void shuffle(void)
{
	order = malloc(sessions * sizeof(order[0]));
	seqs = calloc(sessions, sizeof(seqs[0]));
	lcore_bench_require(order != NULL && seqs != NULL, "no memory");
	for (uint32_t i = 0; i < sessions; i++)
		order[i] = i;
	for (uint32_t i = sessions - 1; i > 0; i--) {
		uint32_t other = random_below(i + 1), index = order[i];

		order[i] = order[other];
		order[other] = index;
	}
	next_session = 0;
}

static void write_frame(struct rte_mbuf *mbuf, const struct flow_key *key, uint16_t seq)
{
	struct headers_spec spec = {.destination_mac = {2, 0, 0, 0, 0, 1}, .source_mac = {2, 0, 0, 0, 0, 2}};
	struct header_template template;
	uint8_t *frame, *rtp;

	spec.local = (struct endpoint){key->remote, key->remote_port};
	spec.remote = (struct endpoint){key->local, key->local_port};
	lcore_bench_require(headers_build(&template, &spec) == 0, "cannot build headers");
	frame = (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)(template.len + RTP_SIZE));
	memcpy(frame, template.bytes, template.len);
	rtp = frame + template.len;
	memset(rtp, 0xd5, RTP_SIZE);
	rtp[0] = 0x80;
	rtp[1] = 0;
	rtp[2] = (uint8_t)(seq >> 8);
	rtp[3] = (uint8_t)seq;
	for (unsigned int i = 0; i < 4; i++)
		rtp[8 + i] = (uint8_t)(key->ssrc >> (24 - 8 * i));
	headers_finish(&template, frame, RTP_SIZE, seq);
	mbuf->port = 0;
}

/* Whose packets a round is made of: every session's in turn, so many in a row. */
static void draw(unsigned int in_a_row)
{
	for (unsigned int i = 0; i < PACKETS; i++) {
		drawn[i] = order[next_session];
		if ((i + 1) % in_a_row == 0 && ++next_session == sessions)
			next_session = 0;
	}
}

/* Their frames, in sequence; or those of an address outside every trunk. */
static void prepare(unsigned int in_a_row, bool strangers)
{
	draw(in_a_row);
	for (unsigned int i = 0; i < PACKETS; i++) {
		mbufs[i] = rte_pktmbuf_alloc(b.pool);
		lcore_bench_require(mbufs[i] != NULL, "no packet buffer");
		keys[i] = lcore_bench_key(drawn[i]);
		keys[i].remote.bytes[13] ^= strangers;
		write_frame(mbufs[i], &keys[i], seqs[drawn[i]]++);
	}
}

/* The workers, quick to read. */
static void drain(void)
{
	struct vl_record record;
	const uint8_t *payload;

	for (unsigned int worker = 0; worker < BENCH_WORKERS; worker++) {
		while (vl_ring_next(&b.theirs[worker].up[0], &record, &payload) == 1)
			;
		vl_ring_release(&b.theirs[worker].up[0]);
	}
}

/* What a driver does to the mbufs it hands over; the frames stay where the card has written them. */
static void drive(unsigned int first, bool from_memory, uint64_t flags)
{
	for (unsigned int i = first; i < first + CHUNK; i++) {
		const uint8_t *frame = rte_pktmbuf_mtod(mbufs[i], const uint8_t *);

		for (unsigned int k = 0; from_memory && k < mbufs[i]->data_len; k += RTE_CACHE_LINE_SIZE)
			__builtin_ia32_clflush(frame + k);
		mbufs[i]->ol_flags = flags;
	}
	rte_mb();
}

/* Kinds of round: how calls send, what it costs to check sums, to ask who sends, and what a flood costs. */
enum kind { UNIFORM, BURSTY, CHECKED, FROM_MEMORY, UNASKED, STRANGERS, STRANGERS_UNASKED, TRUNK_OVER_RATE, KINDS };
#define FLOODS STRANGERS /* from here on */

static void receive_round(struct samples *samples, enum kind kind)
{
	bool flood = kind >= FLOODS, strangers = kind == STRANGERS || kind == STRANGERS_UNASKED;
	uint64_t delivered = b.lcore->counters.delivered, wanted = delivered + (flood ? 0 : PACKETS);

	prepare(kind == BURSTY ? IN_A_ROW : 1, strangers);
	b.settings.sources = kind == TRUNK_OVER_RATE			    ? slow_sources
			     : kind == UNASKED || kind == STRANGERS_UNASKED ? NULL
									    : sources;
	for (unsigned int i = 0; i < PACKETS; i += CHUNK) {
		drive(i, kind == FROM_MEMORY, kind == CHECKED ? RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD : 0);
		uint64_t start = rte_rdtsc_precise();

		now += rte_get_tsc_hz() / 50 * CHUNK / sessions;
		lcore_private(b.lcore)->now = now;
		for (unsigned int k = i; k < i + CHUNK; k += LCORE_BURST)
			lcore_receive(b.lcore, mbufs + k, LCORE_BURST, 0);
		add(samples, start);
		drain();
	}
	lcore_bench_require(flood || b.lcore->counters.delivered == wanted, "not every packet was delivered");
	lcore_bench_require(b.lcore->counters.delivered <= wanted + 64, "a flood was delivered");
}

/* The parts of the path: each handles the burst that begins at packet `first`. */

static void lookup_bare(unsigned int first, const struct rte_hash *hash)
{
	const void *pointers[LCORE_BURST];
	void *data[LCORE_BURST];
	uint64_t hits;

	for (unsigned int k = 0; k < LCORE_BURST; k++)
		pointers[k] = &keys[first + k];
	rte_hash_lookup_bulk_data(hash, pointers, LCORE_BURST, &hits, data);
	lcore_bench_require(hits == (UINT64_C(1) << LCORE_BURST) - 1, "not every key was found");
}

static void lookup(unsigned int first, const struct rte_hash *hash)
{
	const struct flow_key *pointers[LCORE_BURST];
	struct session_ref refs[LCORE_BURST];

	(void)hash;
	for (unsigned int k = 0; k < LCORE_BURST; k++)
		pointers[k] = &keys[first + k];
	sink += session_table_lookup(b.table, pointers, LCORE_BURST, refs) + refs[0].index;
}

static void classify(unsigned int first, const struct rte_hash *hash)
{
	(void)hash;
	for (unsigned int k = first; k < first + LCORE_BURST; k++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[k], const void *));
	for (unsigned int k = first; k < first + LCORE_BURST; k++)
		packet_classify(
			rte_pktmbuf_mtod(mbufs[k], const uint8_t *), mbufs[k]->data_len, &b.locals[0], &packets[k % LCORE_BURST]);
	sink += packets[0].key.ssrc;
}

static void account(unsigned int first, const struct rte_hash *hash)
{
	struct route route;

	(void)hash;
	for (unsigned int k = first; k < first + LCORE_BURST; k++) {
		rte_prefetch0(&session_table_flow(b.table, drawn[k])->route);
		rte_prefetch0(&session_table_flow(b.table, drawn[k])->receive);
	}
	for (unsigned int k = first; k < first + LCORE_BURST; k++) {
		struct session_flow *flow = session_table_flow(b.table, drawn[k]);

		sink += route_read(&flow->route, 1, &route) && receive_admit(&flow->receive, (uint32_t)now) &&
			receive_account(&flow->receive, &packets[k], true, (uint32_t)now, now);
	}
}

static void enqueue_records(unsigned int first, bool copy)
{
	static const uint8_t silence[RTP_SIZE];
	uint64_t touched = 0;

	for (unsigned int k = first; k < first + LCORE_BURST; k++) {
		unsigned int worker = drawn[k] % BENCH_WORKERS;
		struct vl_record record = {.type = VL_RECORD_AUDIO, .len = RTP_SIZE - 12, .session = drawn[k], .tsc = now};
		const uint8_t *payload = copy ? rte_pktmbuf_mtod_offset(mbufs[k], const uint8_t *, 54) : silence;

		touched |= (uint64_t)vl_ring_put(&b.ours[worker].up[0], &record, payload) << worker;
	}
	for (; touched != 0; touched &= touched - 1)
		vl_ring_publish(&b.ours[__builtin_ctzll(touched)].up[0]);
}

static void enqueue(unsigned int first, const struct rte_hash *hash)
{
	(void)hash;
	enqueue_records(first, false);
}

static void enqueue_and_copy(unsigned int first, const struct rte_hash *hash)
{
	(void)hash;
	for (unsigned int k = first; k < first + LCORE_BURST; k++) {
		for (unsigned int offset = 0; offset < mbufs[k]->data_len; offset += RTE_CACHE_LINE_SIZE)
			rte_prefetch0(rte_pktmbuf_mtod_offset(mbufs[k], const void *, offset));
	}
	enqueue_records(first, true);
}

static void release(unsigned int first, const struct rte_hash *hash)
{
	(void)hash;
	rte_pktmbuf_free_bulk(mbufs + first, LCORE_BURST);
}

static const struct part {
	const char *name;
	void (*handle)(unsigned int first, const struct rte_hash *hash);
	bool frames; /* what it works on */
	bool frees;
} parts[] = {
	{"bare rte_hash_lookup_bulk_data", lookup_bare, false, false},
	{"of it classify", classify, true, false},
	{"of it lookup", lookup, false, false},
	{"of it account", account, false, false},
	{"of it enqueue, payload at hand", enqueue, false, false},
	{"of it enqueue and copy", enqueue_and_copy, true, false},
	{"of it free", release, true, true},
};

static void part_round(struct samples *samples, const struct part *part, const struct rte_hash *hash)
{
	if (part->frames)
		prepare(1, false);
	else
		draw(1);
	for (unsigned int i = 0; i < PACKETS && !part->frames; i++) {
		keys[i] = lcore_bench_key(drawn[i]);
		packets[i] = (struct packet){.key = keys[i], .seq = seqs[drawn[i]]++, .payload_len = RTP_SIZE - 12};
	}
	for (unsigned int i = 0; i < PACKETS; i += CHUNK) {
		if (part->frames)
			drive(i, false, 0);
		uint64_t start = rte_rdtsc_precise();

		now += rte_get_tsc_hz() / 50 * CHUNK / sessions;
		for (unsigned int k = i; k < i + CHUNK; k += LCORE_BURST)
			part->handle(k, hash);
		add(samples, start);
		drain();
	}
	if (part->frames && !part->frees)
		rte_pktmbuf_free_bulk(mbufs, PACKETS);
}

static struct rte_hash *bare_hash(void)
{
	struct rte_hash_parameters parameters = {.name = "bare",
		.entries = sessions + sessions / 2 + 64,
		.key_len = sizeof(struct flow_key),
		.socket_id = b.socket,
		.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF};
	struct rte_hash *hash = rte_hash_create(&parameters);

	lcore_bench_require(hash != NULL, "no memory for a hash table");
	for (uint32_t i = 0; i < sessions; i++) {
		struct flow_key key = lcore_bench_key(i);

		lcore_bench_require(rte_hash_add_key_data(hash, &key, NULL) == 0, "cannot insert a key");
	}
	return hash;
}

/* The 64 addresses of lcore_bench_key(), each a prefix of one trunk. */
static struct sources *make_sources(uint32_t per_second)
{
	static struct ip_prefix prefixes[64];
	struct sources_trunk trunk = {prefixes, RTE_DIM(prefixes), per_second};

	for (uint32_t i = 0; i < RTE_DIM(prefixes); i++)
		prefixes[i] = (struct ip_prefix){lcore_bench_key(i).remote, 128};
	return sources_new(&trunk, 1, rte_get_tsc_hz());
}

static const char *title(const char *what)
{
	static char name[96];

	snprintf(name, sizeof(name), "receive, %u sessions: %s", sessions, what);
	return name;
}

static double report(struct bench *bench, const char *what, struct samples *samples)
{
	bench_report_samples(bench, title(what), samples->values, samples->count, "cycles/packet");
	return samples->values[samples->count / 2];
}

/* Returns the median of the whole path. */
static double run(struct bench *bench, uint32_t count)
{
	static const char *const names[KINDS] = {"mbuf to ring, mbuf freed", "the same, bursts of few calls",
		"the same, checksums checked by the port", "the same, frames in memory only",
		"the same, not asked whose address it is", "dropped: a stranger's", "dropped: a stranger's, not asked",
		"dropped: a trunk's over its rate"};
	static struct samples receive[KINDS], alone[RTE_DIM(parts)];
	double whole, bare;

	sessions = count;
	lcore_bench_setup(&b, sessions, MBUFS);
	shuffle();
	struct rte_hash *hash = bare_hash();

	for (unsigned int round = 0; round < sessions / PACKETS + 2; round++) /* warm up: every session once */
		receive_round(&receive[UNIFORM], UNIFORM);
	memset(receive, 0, sizeof(receive));
	memset(alone, 0, sizeof(alone));
	for (unsigned int round = 0; round < ROUNDS; round++) {
		for (enum kind kind = UNIFORM; kind < KINDS; kind++)
			receive_round(&receive[kind], kind);
		for (size_t i = 0; i < RTE_DIM(parts); i++)
			part_round(&alone[i], &parts[i], hash);
	}
	whole = report(bench, names[UNIFORM], &receive[UNIFORM]);
	bench_report(bench, title("the same as rate"), (double)rte_get_tsc_hz() / whole / 1e6, "Mpps");
	for (enum kind kind = BURSTY; kind < KINDS; kind++)
		report(bench, names[kind], &receive[kind]);
	bare = report(bench, parts[0].name, &alone[0]);
	bench_report(bench, title("ratio to the bare lookup"), whole / bare, "");
	for (size_t i = 1; i < RTE_DIM(parts); i++)
		report(bench, parts[i].name, &alone[i]);
	rte_hash_free(hash);
	free(order);
	free(seqs);
	lcore_bench_teardown(&b);
	return whole;
}

/* testpmd over the frames of a capture that a driver copies to mbufs; `whole` is our own path, which has no driver. */
static void compare(struct bench *bench, double whole)
{
	double driver = testpmd_cycles("rxonly"), swap = testpmd_cycles("5tswap");

	if (driver <= 0 || swap <= 0) {
		printf("no figures of testpmd (Debian package dpdk-dev, two cores, and 256 MB of hugepages more where there are "
		       "any)\n");
		return;
	}
	bench_report(bench, "testpmd rxonly, net_pcap: driver, free", driver, "cycles/packet");
	bench_report(bench, "testpmd 5tswap, net_pcap: driver, swap, free", swap, "cycles/packet");
	bench_report(bench, "receive, 100000 sessions: ratio to testpmd 5tswap", (driver + whole) / swap, "");
}

int main(int argc, char *argv[])
{
	double whole[4];
	struct bench bench;
	uint32_t only = 0;

	bench_init(&bench, &argc, argv);
	if (argc > 2 && strcmp(argv[1], "--sessions") == 0) {
		only = (uint32_t)strtoul(argv[2], NULL, 10);
		argv[2] = argv[0];
		argv += 2;
		argc -= 2;
	}
	lcore_bench_eal(argc, argv, 1400);
	sources = make_sources(0);
	slow_sources = make_sources(1);
	lcore_bench_require(sources != NULL && slow_sources != NULL, "no memory for sources");
	if (only != 0) {
		run(&bench, only);
		bench_finish(&bench);
		return EXIT_SUCCESS;
	}
	whole[0] = run(&bench, 1000);
	whole[1] = run(&bench, 10000);
	whole[2] = run(&bench, 100000);
	whole[3] = run(&bench, 1000000);
	bench_report(&bench, "receive, 1000000 sessions: ratio to 1000", whole[3] / whole[0], "");
	compare(&bench, whole[2]);
	bench_finish(&bench);
	return EXIT_SUCCESS;
}
