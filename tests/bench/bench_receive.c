/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bench: cycles a packet of the receive path, from a burst of mbufs in memory to records in a worker's ring and the mbufs
 * freed, at 1,000 and 100,000 sessions in random order; beside it the bare rte_hash bulk lookup of the same keys in a table
 * of the same size, and the parts of the path on their own. Rounds alternate; medians over chunks of 256 packets are printed.
 *
 * usage: bench_receive [--json FILE] [EAL options]    (default: 1,400 MB, in hugepages if there are enough, core 0)
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

#define ROUNDS	15u
#define CHUNK	256u
#define PACKETS (32u * CHUNK) /* of a round: far more than the caches near the core hold */
#define MBUFS	16383u

static struct lcore_bench b;
static struct rte_mbuf *mbufs[PACKETS];
static struct flow_key keys[PACKETS];
static uint32_t *order; /* sessions, shuffled */
static uint32_t next_session, sessions;
static uint16_t seq;
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
	lcore_bench_require(order != NULL, "no memory");
	for (uint32_t i = 0; i < sessions; i++)
		order[i] = i;
	for (uint32_t i = sessions - 1; i > 0; i--) {
		uint32_t other = random_below(i + 1), index = order[i];

		order[i] = order[other];
		order[other] = index;
	}
	next_session = 0;
}

static void write_frame(struct rte_mbuf *mbuf, const struct flow_key *key)
{
	struct headers_spec spec = {.destination_mac = {2, 0, 0, 0, 0, 1}, .source_mac = {2, 0, 0, 0, 0, 2}};
	struct header_template template;
	uint8_t *frame, *rtp;

	spec.local = (struct endpoint){key->remote, key->remote_port};
	spec.remote = (struct endpoint){key->local, key->local_port};
	lcore_bench_require(headers_build(&template, &spec) == 0, "cannot build headers");
	frame = (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)(template.len + 172));
	memcpy(frame, template.bytes, template.len);
	rtp = frame + template.len;
	memset(rtp, 0xd5, 172);
	rtp[0] = 0x80;
	rtp[1] = 0;
	rtp[2] = (uint8_t)(seq >> 8);
	rtp[3] = (uint8_t)seq;
	for (unsigned int i = 0; i < 4; i++)
		rtp[8 + i] = (uint8_t)(key->ssrc >> (24 - 8 * i));
	headers_finish(&template, frame, 172, seq);
	mbuf->port = 0;
}

/* The packets of a round: one of each session in turn, so that a sequence number is never a duplicate; or of an address outside every trunk. */
static void prepare(bool strangers)
{
	for (unsigned int i = 0; i < PACKETS; i++) {
		mbufs[i] = rte_pktmbuf_alloc(b.pool);
		lcore_bench_require(mbufs[i] != NULL, "no packet buffer");
		keys[i] = lcore_bench_key(order[next_session]);
		keys[i].remote.bytes[13] ^= strangers;
		write_frame(mbufs[i], &keys[i]);
		if (++next_session == sessions) {
			next_session = 0;
			seq++;
		}
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
static void drive(unsigned int first)
{
	for (unsigned int i = first; i < first + CHUNK; i++)
		mbufs[i]->ol_flags = 0;
}

/* Rounds that tell the cost of asking who sends, and what a flood costs. */
enum who { CALLS, CALLS_UNASKED, STRANGERS, STRANGERS_UNASKED, TRUNK_OVER_RATE };

static void receive_round(struct samples *samples, enum who who)
{
	bool flood = who != CALLS && who != CALLS_UNASKED;
	uint64_t delivered = b.lcore->counters.delivered, wanted = delivered + (flood ? 0 : PACKETS);

	prepare(who == STRANGERS || who == STRANGERS_UNASKED);
	b.settings.sources = who == TRUNK_OVER_RATE ? slow_sources : who == CALLS || who == STRANGERS ? sources : NULL;
	for (unsigned int i = 0; i < PACKETS; i += CHUNK) {
		drive(i);
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

/* Keys at random, in memory. */
static void draw_keys(void)
{
	for (unsigned int i = 0; i < PACKETS; i++)
		keys[i] = lcore_bench_key(order[random_below(sessions)]);
}

static void hash_round(struct samples *samples, const struct rte_hash *hash)
{
	const void *pointers[LCORE_BURST];
	void *data[LCORE_BURST];
	uint64_t hits, found = 0;

	draw_keys();
	for (unsigned int i = 0; i < PACKETS; i += CHUNK) {
		uint64_t start = rte_rdtsc_precise();

		for (unsigned int burst = i; burst < i + CHUNK; burst += LCORE_BURST) {
			for (unsigned int k = 0; k < LCORE_BURST; k++)
				pointers[k] = &keys[burst + k];
			rte_hash_lookup_bulk_data(hash, pointers, LCORE_BURST, &hits, data);
			found += (uint64_t)__builtin_popcountll(hits);
		}
		add(samples, start);
	}
	lcore_bench_require(found == PACKETS, "not every key was found");
}

static void table_round(struct samples *samples)
{
	const struct flow_key *pointers[LCORE_BURST];
	struct session_ref refs[LCORE_BURST];

	draw_keys();
	for (unsigned int i = 0; i < PACKETS; i += CHUNK) {
		uint64_t start = rte_rdtsc_precise();

		for (unsigned int burst = i; burst < i + CHUNK; burst += LCORE_BURST) {
			for (unsigned int k = 0; k < LCORE_BURST; k++)
				pointers[k] = &keys[burst + k];
			sink += session_table_lookup(b.table, pointers, LCORE_BURST, refs) + refs[0].index;
		}
		add(samples, start);
	}
}

static void classify_round(struct samples *samples)
{
	struct packet packet;

	prepare(false);
	for (unsigned int i = 0; i < PACKETS; i += CHUNK) {
		drive(i);
		uint64_t start = rte_rdtsc_precise();

		for (unsigned int k = i; k < i + CHUNK; k++) {
			if (k + 8 < PACKETS)
				rte_prefetch0(rte_pktmbuf_mtod(mbufs[k + 8], const void *));
			packet_classify(rte_pktmbuf_mtod(mbufs[k], const uint8_t *), mbufs[k]->data_len, &b.locals[0], &packet);
			sink += packet.key.ssrc;
		}
		add(samples, start);
	}
	rte_pktmbuf_free_bulk(mbufs, PACKETS);
}

static struct rte_hash *bare_hash(void)
{
	struct rte_hash_parameters parameters = {.name = "bare",
		.entries = sessions + sessions / 2 + 64,
		.key_len = sizeof(struct flow_key),
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

static void report(struct bench *bench, const char *what, double value, const char *unit)
{
	char name[96];

	snprintf(name, sizeof(name), "receive, %u sessions: %s", sessions, what);
	bench_report(bench, name, value, unit);
}

static void run(struct bench *bench, uint32_t count)
{
	static struct samples receive[TRUNK_OVER_RATE + 1], hash, table, classify;
	static struct samples *const all[] = {
		&receive[0], &receive[1], &receive[2], &receive[3], &receive[4], &hash, &table, &classify};

	sessions = count;
	lcore_bench_setup(&b, sessions, MBUFS);
	shuffle();
	struct rte_hash *bare = bare_hash();

	for (unsigned int round = 0; round < sessions / PACKETS + 2; round++) /* warm up: every session once */
		receive_round(&receive[CALLS], CALLS);
	for (size_t i = 0; i < RTE_DIM(all); i++)
		all[i]->count = 0;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		for (enum who who = CALLS; who <= TRUNK_OVER_RATE; who++)
			receive_round(&receive[who], who);
		hash_round(&hash, bare);
		table_round(&table);
		classify_round(&classify);
	}
	double whole = bench_median(receive[CALLS].values, receive[CALLS].count), bulk = bench_median(hash.values, hash.count);

	report(bench, "mbuf to ring, mbuf freed", whole, "cycles/packet");
	report(bench, "bare rte_hash_lookup_bulk_data", bulk, "cycles/packet");
	report(bench, "ratio to the bare lookup", whole / bulk, "");
	report(bench, "of it packet_classify", bench_median(classify.values, classify.count), "cycles/packet");
	report(bench, "of it session_table_lookup", bench_median(table.values, table.count), "cycles/packet");
	report(bench, "the same without asking whose address it is",
		bench_median(receive[CALLS_UNASKED].values, receive[CALLS_UNASKED].count), "cycles/packet");
	report(bench, "dropped: a stranger's", bench_median(receive[STRANGERS].values, receive[STRANGERS].count),
		"cycles/packet");
	report(bench, "dropped: a stranger's, without asking",
		bench_median(receive[STRANGERS_UNASKED].values, receive[STRANGERS_UNASKED].count), "cycles/packet");
	report(bench, "dropped: a trunk's over its rate",
		bench_median(receive[TRUNK_OVER_RATE].values, receive[TRUNK_OVER_RATE].count), "cycles/packet");
	rte_hash_free(bare);
	free(order);
	lcore_bench_teardown(&b);
}

int main(int argc, char *argv[])
{
	struct bench bench;

	bench_init(&bench, &argc, argv);
	lcore_bench_eal(argc, argv, 1400);
	sources = make_sources(0);
	slow_sources = make_sources(1);
	lcore_bench_require(sources != NULL && slow_sources != NULL, "no memory for sources");
	run(&bench, 1000);
	run(&bench, 100000);
	bench_finish(&bench);
	return EXIT_SUCCESS;
}
