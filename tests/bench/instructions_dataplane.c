/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data plane's hot functions: what each packet passes through on its way from the port to the worker, and each frame on
 * its way back; one by one, and as the lcore strings them together, with the parts of DPDK that it calls.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "dpdk_app/flow_hash.h"
#include "dpdk_app/handover.h"
#include "dpdk_app/headers.h"
#include "instructions.h"
#include "lcore_bench.h"

#define RUNS	 100u
#define SESSIONS 1024u
#define MBUFS	 2047u
#define RTP_SIZE 172u
#define CALLS	 (LCORE_BURST * 8)

static struct lcore_bench b;
static struct packet_local local;
static uint8_t frame_v4[256], frame_v6[256], frame_rtcp[256], frame_other[256];
static size_t len_v4, len_v6, len_rtcp;
static struct packet packet_v4, packet_v6;
static struct header_template template;
static struct flow_hash_secret secret;
static struct session_receive accounting;
static struct session_playout playout;
static struct sources *sources;
static struct sources_meter meter;
static struct wheel *wheel;
static struct rte_mbuf *mbufs[CALLS];
static uint16_t seq;
static uint64_t now = 1000000000;

/* In the place of the system's: the session table's secret is the same in every run, and with it the places of its keys. */
ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned int flags);
ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned int flags)
{
	(void)flags;
	memset(buffer, 0x5a, size);
	return (ssize_t)size;
}

/* A frame from `key`'s caller to us. Returns its length. */
static size_t write_frame(uint8_t *frame, const struct flow_key *key, const uint8_t *payload, uint16_t payload_len)
{
	struct headers_spec spec = {.destination_mac = {2, 0, 0, 0, 0, 1},
		.source_mac = {2, 0, 0, 0, 0, 2},
		.local = {key->remote, key->remote_port},
		.remote = {key->local, key->local_port}};
	struct header_template built;

	lcore_bench_require(headers_build(&built, &spec) == 0, "cannot build headers");
	memcpy(frame, built.bytes, built.len);
	memcpy(frame + built.len, payload, payload_len);
	headers_finish(&built, frame, payload_len, seq);
	return built.len + (size_t)payload_len;
}

static void write_rtp(uint8_t rtp[RTP_SIZE], uint32_t ssrc)
{
	memset(rtp, 0xd5, RTP_SIZE);
	memset(rtp, 0, 12);
	rtp[0] = 0x80;
	rtp[2] = (uint8_t)(seq >> 8);
	rtp[3] = (uint8_t)seq;
	for (unsigned int i = 0; i < 4; i++)
		rtp[8 + i] = (uint8_t)(ssrc >> (24 - 8 * i));
}

static void make_frames(void)
{
	/* A receiver report without blocks (RFC 3550 6.4.2). */
	static const uint8_t rtcp[8] = {0x80, 201, 0, 1, 0x12, 0x34, 0x56, 0x78};
	struct flow_key key = lcore_bench_key(0), key_v6 = key;
	uint8_t rtp[RTP_SIZE];

	key_v6.local.bytes[0] = key_v6.remote.bytes[0] = 0x20;
	local = (struct packet_local){
		.addresses = {key.local, key_v6.local}, .address_count = 2, .rtp_port = 5004, .mac = {2, 0, 0, 0, 0, 1}};
	write_rtp(rtp, key.ssrc);
	len_v4 = write_frame(frame_v4, &key, rtp, RTP_SIZE);
	len_v6 = write_frame(frame_v6, &key_v6, rtp, RTP_SIZE);
	len_rtcp = write_frame(frame_rtcp, &key, rtcp, sizeof(rtcp));
	memcpy(frame_other, frame_v4, len_v4);
	frame_other[37] ^= 2; /* UDP port of nobody */
	packet_classify(frame_v4, len_v4, &local, &packet_v4);
	packet_classify(frame_v6, len_v6, &local, &packet_v6);
	lcore_bench_require(packet_v4.kind == PACKET_RTP && packet_v6.kind == PACKET_RTP, "our own frames are refused");
}

static void start_calls(void)
{
	for (uint32_t i = 0; i < CALLS; i++) {
		struct lcore_command start = lcore_bench_playout(i);

		lcore_bench_require(lcore_command(b.lcore, &start) == 0, "no room for a command");
		lcore_take_commands(b.lcore);
	}
	template = session_table_at(b.table, 0)->sender.target.headers;
}

void dataplane_cases_setup(void)
{
	static char words[] =
		"instructions --no-huge --no-shconf --no-pci --no-telemetry -m 128 --log-level=error -l 0 --vdev=net_null0";
	static struct ip_prefix prefixes[64];
	struct sources_trunk trunk = {prefixes, RTE_DIM(prefixes), 1000000};
	char *arguments[16] = {NULL}, *next = words;
	int count = 0;

	for (uint32_t i = 0; i < RTE_DIM(prefixes); i++)
		prefixes[i] = (struct ip_prefix){lcore_bench_key(i).remote, 128};
	while (next != NULL)
		arguments[count++] = strsep(&next, " ");
	/* Hugepages or not, as lcore_bench_eal() would choose, must not make a difference here. */
	lcore_bench_eal(count, arguments, 0);
	lcore_bench_setup(&b, SESSIONS, MBUFS);
	sources = sources_new(&trunk, 1, 1000000000);
	wheel = malloc(wheel_size(SESSIONS));
	lcore_bench_require(sources != NULL && wheel != NULL, "no memory");
	b.settings.sources = sources;
	flow_hash_init(&secret, 1);
	/* A time of its own, far from the machine's. */
	lcore_private(b.lcore)->now = now;
	wheel_init(lcore_private(b.lcore)->wheel, SESSIONS, lcore_private(b.lcore)->tsc_hz, now);
	wheel_init(wheel, SESSIONS, 1000000000, now);
	for (uint32_t i = 0; i < SESSIONS; i++)
		wheel_insert(wheel, i);
	make_frames();
	start_calls();
	playout_start(&playout, 1, 1, 1, 0, PLAYOUT_IDLE_SILENCE);
}

static void classify(const uint8_t *frame, size_t len)
{
	struct packet packet;

	for (unsigned int i = 0; i < RUNS; i++) {
		packet_classify(frame, len, &local, &packet);
		instructions_sink += packet.kind;
	}
}

static void classify_v4(void)
{
	classify(frame_v4, len_v4);
}

static void classify_v6(void)
{
	classify(frame_v6, len_v6);
}

static void classify_rtcp(void)
{
	classify(frame_rtcp, len_rtcp);
}

static void classify_other(void)
{
	classify(frame_other, len_v4);
}

static void checksum(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += packet_checksum_valid(frame_v4, &packet_v4);
}

static void hash(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += flow_hash(&secret, &packet_v4.key);
}

static void spread(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += (uint64_t)handover_lcore(&secret, frame_v4, len_v4, 7);
}

static void police(void)
{
	for (unsigned int i = 0; i < RUNS; i++) {
		int found = sources_find(sources, &packet_v4.key.remote);

		instructions_sink += sources_take(sources, &meter, (unsigned int)found, now += 1000);
	}
}

static void account(void)
{
	for (unsigned int i = 0; i < RUNS; i++) {
		packet_v4.seq++;
		packet_v4.timestamp += 160;
		now += 20000000;
		instructions_sink += receive_admit(&accounting, packet_v4.timestamp);
		instructions_sink += receive_account(&accounting, &packet_v4, true, packet_v4.timestamp, now);
	}
}

static void lookup(void)
{
	static struct flow_key keys[SESSION_LOOKUP_BURST];
	const struct flow_key *pointers[SESSION_LOOKUP_BURST];
	struct session_ref refs[SESSION_LOOKUP_BURST];

	for (uint32_t i = 0; i < SESSIONS; i += SESSION_LOOKUP_BURST) {
		for (uint32_t k = 0; k < SESSION_LOOKUP_BURST; k++) {
			keys[k] = lcore_bench_key(i + k);
			pointers[k] = &keys[k];
		}
		instructions_sink += session_table_lookup(b.table, pointers, SESSION_LOOKUP_BURST, refs);
	}
}

/* One packet of each call, 20 ms after the one before; the rings are empty. */
static void prepare_packets(void)
{
	struct vl_record record;
	const uint8_t *payload;

	for (unsigned int worker = 0; worker < BENCH_WORKERS; worker++) {
		while (vl_ring_next(&b.theirs[worker].up[0], &record, &payload) == 1)
			;
		vl_ring_release(&b.theirs[worker].up[0]);
	}
	seq++;
	lcore_private(b.lcore)->now += lcore_private(b.lcore)->tsc_hz / 50;
	for (uint32_t i = 0; i < CALLS; i++) {
		struct flow_key key = lcore_bench_key(i);
		uint8_t rtp[RTP_SIZE];

		mbufs[i] = rte_pktmbuf_alloc(b.pool);
		lcore_bench_require(mbufs[i] != NULL, "no packet buffer");
		write_rtp(rtp, key.ssrc);
		write_frame((uint8_t *)rte_pktmbuf_append(mbufs[i], (uint16_t)len_v4), &key, rtp, RTP_SIZE);
	}
}

static void receive(void)
{
	for (uint32_t i = 0; i < CALLS; i += LCORE_BURST)
		lcore_receive(b.lcore, mbufs + i, LCORE_BURST, 0);
	lcore_bench_require(b.lcore->counters.delivered % CALLS == 0, "not every packet was delivered");
}

static void prepare_frames(void)
{
	for (uint32_t i = 0; i < CALLS; i++) {
		struct vl_record *record =
			vl_ring_reserve(&b.theirs[i % BENCH_WORKERS].down[0], VL_RECORD_FRAME, PLAYOUT_FRAME_SIZE);

		lcore_bench_require(record != NULL, "downlink ring full");
		record->session = i;
		record->generation = 1;
		memset(record->payload, 0x55, PLAYOUT_FRAME_SIZE);
	}
	for (unsigned int worker = 0; worker < BENCH_WORKERS; worker++)
		vl_ring_publish(&b.theirs[worker].down[0]);
}

static void take_frames(void)
{
	while (lcore_drain_workers(b.lcore) > 0)
		;
}

static void send_frames(void)
{
	struct lcore_private *private = lcore_private(b.lcore);
	uint64_t sent = b.lcore->counters.frames;

	for (unsigned int slot = 0; slot < WHEEL_SLOTS; slot++) {
		private->now += private->tsc_hz / (50 * WHEEL_SLOTS);
		while (lcore_beat(b.lcore) > 0)
			lcore_flush(b.lcore);
	}
	instructions_sink += b.lcore->counters.frames - sent;
}

static void push_and_beat(void)
{
	struct playout_packet packet;

	for (unsigned int i = 0; i < RUNS; i++) {
		lcore_bench_require(playout_push(&playout, 0, frame_v4, PLAYOUT_FRAME_SIZE, 0) == 0, "the queue is full");
		playout_beat(&playout, &packet);
		instructions_sink += packet.seq;
	}
}

static void beat_silence(void)
{
	struct playout_packet packet;

	for (unsigned int i = 0; i < RUNS; i++) {
		playout_beat(&playout, &packet);
		instructions_sink += packet.seq;
	}
}

static void finish_headers(void)
{
	static uint8_t frame[256];

	memcpy(frame, template.bytes, template.len);
	for (unsigned int i = 0; i < RUNS; i++)
		headers_finish(&template, frame, RTP_SIZE, (uint16_t)i);
}

static void walk_wheel(void)
{
	uint32_t indices[LCORE_BURST];
	uint64_t due;

	for (unsigned int slot = 0; slot < WHEEL_SLOTS; slot++) {
		now += 1000000000 / (50 * WHEEL_SLOTS);
		while (wheel_due(wheel, now, indices, LCORE_BURST, &due) > 0)
			instructions_sink += indices[0];
	}
}

static void pass_ring(void)
{
	struct vl_record *record, header;
	const uint8_t *payload;

	for (unsigned int i = 0; i < RUNS; i++) {
		record = vl_ring_reserve(&b.ours[0].up[0], VL_RECORD_AUDIO, PLAYOUT_FRAME_SIZE);
		memcpy(record->payload, frame_v4, PLAYOUT_FRAME_SIZE);
		vl_ring_publish(&b.ours[0].up[0]);
		instructions_sink += (uint64_t)vl_ring_next(&b.theirs[0].up[0], &header, &payload);
		vl_ring_release(&b.theirs[0].up[0]);
	}
}

const struct instructions_case dataplane_cases[] = {
	{"packet_classify, RTP over IPv4", "packet", RUNS, NULL, classify_v4},
	{"packet_classify, RTP over IPv6", "packet", RUNS, NULL, classify_v6},
	{"packet_classify, RTCP", "packet", RUNS, NULL, classify_rtcp},
	{"packet_classify, another's port", "packet", RUNS, NULL, classify_other},
	{"packet_checksum_valid", "packet of 172 bytes", RUNS, NULL, checksum},
	{"flow_hash", "key", RUNS, NULL, hash},
	{"handover_lcore", "packet", RUNS, NULL, spread},
	{"sources_find and sources_take", "packet", RUNS, NULL, police},
	{"receive_admit and receive_account", "packet", RUNS, NULL, account},
	{"session_table_lookup", "key of 32", SESSIONS, NULL, lookup},
	{"lcore_receive: mbuf to ring, mbuf freed", "packet", CALLS, prepare_packets, receive},
	{"lcore_drain_workers: ring to queue", "frame", CALLS, prepare_frames, take_frames},
	{"lcore_beat: queue to transmit burst", "frame", CALLS, NULL, send_frames},
	{"playout_push and playout_beat", "frame", RUNS, NULL, push_and_beat},
	{"playout_beat, silence", "frame", RUNS, NULL, beat_silence},
	{"headers_finish", "packet of 172 bytes", RUNS, NULL, finish_headers},
	{"wheel_due", "call", SESSIONS, NULL, walk_wheel},
	{"channel: one record of 160 bytes through a ring", "record", RUNS, NULL, pass_ring},
	{NULL, NULL, 0, NULL, NULL},
};
