/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Good packets: every caller is visited once in a rotation (20 ms times the pace) and says its next 20 ms, now and then twice
 * or in the wrong order; begins, ends and moves calls when their turn comes.
 */
#include "load.h"

#define VISITS_A_TURN 256u
#define HURRIED_COUNT 6u /* packets with which a stream begins at real pace, for probation does not know about ours */
#define LEARN_COUNT   400u
#define ESTABLISHED   50u
#define HURRY_SIZE    16384u
#define NAT_QUIET_MS  120u /* before a caller is back from another port: a stream that is heard is not replaced */
#define DISORDER      128u /* one visit in so many sends twice, one sends in the wrong order */

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 2}, their_mac[6] = {2, 0, 0, 0, 0, 1};

struct hurry {
	uint32_t slot;
	uint16_t life;
	uint64_t due;
};
static struct hurry hurry[HURRY_SIZE];
static unsigned int hurry_head, hurry_count;

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, (uint16_t)(value >> 16));
	put16(at + 2, (uint16_t)value);
}

void frame_address6(uint8_t bytes[16], uint32_t address)
{
	memset(bytes, 0, 16);
	put16(bytes, 0xfd77);
	put32(bytes + 4, address);
	bytes[15] = 1;
}

static uint32_t sum16(const uint8_t *bytes, unsigned int size, uint32_t sum)
{
	for (unsigned int i = 0; i + 1 < size; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	return size % 2 != 0 ? sum + ((uint32_t)bytes[size - 1] << 8) : sum;
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~(sum + (sum >> 16));
}

static void put_ipv4(uint8_t *ip, const struct frame *frame, uint16_t udp_len)
{
	put16(ip - 2, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put16(ip + 2, (uint16_t)(20 + udp_len));
	put16(ip + 6, 0x4000);
	ip[8] = 64;
	ip[9] = 17;
	put32(ip + 12, frame->source);
	put32(ip + 16, frame->destination);
	put16(ip + 10, fold(sum16(ip, 20, 0)));
}

static void put_ipv6(uint8_t *ip, const struct frame *frame, uint16_t udp_len)
{
	put16(ip - 2, 0x86dd);
	put32(ip, 0x60000000);
	put16(ip + 4, udp_len);
	ip[6] = 17;
	ip[7] = 64;
	frame_address6(ip + 8, frame->source);
	frame_address6(ip + 24, frame->destination);
}

uint8_t *frame_new(struct rte_mbuf **mbuf, const struct frame *frame, uint16_t payload_len)
{
	uint16_t len = (uint16_t)(load.payload_at + payload_len), udp_len = (uint16_t)(8 + payload_len);
	uint8_t *f, *udp;

	*mbuf = rte_pktmbuf_alloc(load.pool);
	if (*mbuf == NULL)
		return NULL;
	(*mbuf)->data_len = len;
	(*mbuf)->pkt_len = len;
	f = rte_pktmbuf_mtod(*mbuf, uint8_t *);
	memcpy(f, their_mac, 6);
	memcpy(f + 6, our_mac, 6);
	if (load.ipv6)
		put_ipv6(f + 14, frame, udp_len);
	else
		put_ipv4(f + 14, frame, udp_len);
	udp = f + load.payload_at - 8;
	put16(udp, frame->source_port);
	put16(udp + 2, frame->destination_port);
	put16(udp + 4, udp_len);
	put16(udp + 6, 0);
	return udp + 8;
}

void frame_done(struct rte_mbuf *mbuf)
{
	uint8_t *f = rte_pktmbuf_mtod(mbuf, uint8_t *), *udp = f + load.payload_at - 8;
	unsigned int udp_len = (unsigned int)rte_pktmbuf_data_len(mbuf) - load.payload_at + 8;
	uint16_t sum;

	if (!load.ipv6)
		return;
	/* The pseudo header is the two addresses, length and protocol (RFC 8200 8.1). */
	sum = fold(sum16(udp, udp_len, sum16(f + 22, 32, udp_len + 17)));
	put16(udp + 6, sum != 0 ? sum : 0xffff);
}

struct rte_mbuf *frame_rtp(const struct frame *frame, const struct mark *mark)
{
	struct rte_mbuf *mbuf;
	uint8_t *rtp = frame_new(&mbuf, frame, RTP_SIZE + MARK_SIZE);

	if (rtp == NULL)
		return NULL;
	put16(rtp, 0x8000);
	put16(rtp + 2, frame->seq);
	put32(rtp + 4, frame->timestamp);
	put32(rtp + 8, frame->ssrc);
	mark_write(rtp + RTP_SIZE, MARK_UP, mark);
	frame_done(mbuf);
	return mbuf;
}

static bool send_one(const struct frame *frame, uint32_t call, uint16_t life)
{
	struct mark mark = {.call = call, .life = life, .seq = frame->seq, .tsc = rte_rdtsc()};
	struct rte_mbuf *mbuf = frame_rtp(frame, &mark);

	if (mbuf != NULL)
		load_send(mbuf);
	return mbuf != NULL;
}

/* The caller's packet `ahead` of its next one. */
static void send_good(uint32_t number, const struct slot *slot, uint16_t ahead)
{
	struct frame frame = {.source = slot->address,
		.source_port = slot->port,
		.destination = LOCAL_ADDRESS,
		.destination_port = slot->local_port,
		.ssrc = slot->ssrc,
		.seq = (uint16_t)(slot->seq + ahead),
		.timestamp = slot->timestamp + 160u * ahead};

	send_one(&frame, number, slot->life);
}

static void advance(struct slot *slot, uint16_t count)
{
	slot->seq = (uint16_t)(slot->seq + count);
	slot->timestamp += 160u * count;
	slot->sent += count;
	load.counters.good += count;
}

static void send_trail(uint32_t number, struct slot *slot)
{
	struct trail *trail = &slot->trail;
	struct frame frame = {.source = slot->address,
		.source_port = trail->port,
		.destination = LOCAL_ADDRESS,
		.destination_port = trail->local_port,
		.ssrc = trail->ssrc,
		.seq = trail->seq++,
		.timestamp = trail->timestamp};

	trail->timestamp += 160;
	trail->left--;
	if (!send_one(&frame, trail->ended ? number : MARK_LEFT, trail->life))
		return;
	load.counters.ended_trail += trail->ended;
	load.counters.moved_trail += !trail->ended;
}

/* Whether the stream still begins: at real pace, since probation does not wait for slow ones. Who is answered was learned. */
static bool begins(const struct slot *slot)
{
	return slot->sent < HURRIED_COUNT || (slot->kind == KIND_LEARN && !slot->heard && slot->sent < LEARN_COUNT);
}

static void send_next(uint32_t number, struct slot *slot)
{
	uint64_t random;

	if (slot->sent < ESTABLISHED || slot->hurried) {
		send_good(number, slot, 0);
		advance(slot, 1);
		if (begins(slot) && hurry_count < HURRY_SIZE) {
			slot->hurried = true;
			hurry[(hurry_head + hurry_count++) % HURRY_SIZE] = (struct hurry){
				.slot = number, .life = slot->life, .due = rte_rdtsc() + FRAME_MS * load.tsc_hz / 1000};
		} else {
			slot->hurried = false;
		}
		return;
	}
	if (slot->skip) { /* its packet went ahead of the one before */
		slot->skip = false;
		return;
	}
	random = load_random();
	if (random % DISORDER == 0) {
		send_good(number, slot, 1);
		send_good(number, slot, 0);
		advance(slot, 2);
		slot->skip = true;
		load.counters.reordered++;
		return;
	}
	send_good(number, slot, 0);
	if (random % DISORDER == 1) {
		send_good(number, slot, 0);
		load.counters.duplicates++;
	}
	advance(slot, 1);
}

static void visit(uint32_t number)
{
	struct slot *slot = &load.slots[number];

	if (slot->trail.left > 0)
		send_trail(number, slot);
	if (slot->state == SLOT_IDLE) {
		if (calls_room())
			calls_create(number);
		return;
	}
	if (slot->state != SLOT_LIVE || slot->hurried)
		return;
	/* By chance, so that neighbours, who share an address and what of it may be learned, are not all chosen at once. */
	if (slot->sent >= ESTABLISHED && !slot->moving && slot->trail.left == 0 && calls_room() && load_random() % 16 == 0) {
		if (load.churn_credit >= 1) {
			load.churn_credit--;
			calls_delete(number);
			return;
		}
		if (load.moves_credit >= 1 && slot->kind != KIND_LEARN) {
			load.moves_credit--;
			calls_move(number);
		}
		if (load.nats_credit >= 1 && slot->kind == KIND_LEARN && slot->heard && hurry_count < HURRY_SIZE) {
			load.nats_credit--;
			calls_nat(number);
			slot->hurried = true;
			hurry[(hurry_head + hurry_count++) % HURRY_SIZE] = (struct hurry){
				.slot = number, .life = slot->life, .due = rte_rdtsc() + NAT_QUIET_MS * load.tsc_hz / 1000};
			return;
		}
	}
	send_next(number, slot);
}

static unsigned int send_hurried(uint64_t now)
{
	unsigned int count = 0;

	while (hurry_count > 0 && hurry[hurry_head].due <= now) {
		struct hurry next = hurry[hurry_head];
		struct slot *slot = &load.slots[next.slot];

		hurry_head = (hurry_head + 1) % HURRY_SIZE;
		hurry_count--;
		count++;
		if (slot->state == SLOT_LIVE && slot->life == next.life)
			send_next(next.slot, slot);
	}
	return count;
}

unsigned int send_run(uint64_t now)
{
	uint64_t step = load.rotation_tsc / load.calls;
	double elapsed = (double)(now - load.credit_tsc) / (double)load.tsc_hz;
	unsigned int count = send_hurried(now);

	load.credit_tsc = now;
	load.churn_credit += load.churn * elapsed;
	load.moves_credit += load.moves * elapsed;
	load.nats_credit += load.nats * elapsed;
	/* Not running for a while is made up for slowly: a burst of everything at once says nothing about calls. */
	if (now - load.due > load.rotation_tsc && load.due < now) {
		load.due = now - load.rotation_tsc / 4;
		load.counters.late_rotations++;
	}
	for (unsigned int i = 0; i < VISITS_A_TURN && load.due <= now; i++, count++) {
		visit(load.cursor);
		load.cursor = load.cursor + 1 < load.calls ? load.cursor + 1 : 0;
		load.due += step;
	}
	return count;
}
