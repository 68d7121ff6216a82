/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attackers: each kind of packet nobody may hear and that may disturb nobody. All carry the attacker's mark. An attacker may
 * forge any address; what it cannot know here is a live call's source and SSRC together, except where the packet is malformed
 * or RTCP.
 */
#include "load.h"

#define BATCH	 128u
#define PREPARED 4096u /* frames that are sent again with a few bytes changed: building each would take longer than refusing it */
#define RENEWED	 16u   /* one in so many is built anew, so that they follow the calls */
#define RTP_SEQ	 2u    /* in the header */
#define RTP_SSRC 8u

enum attack {
	ATTACK_NONE,
	ATTACK_SSRC_SPRAY,
	ATTACK_WRONG_SOURCE,
	ATTACK_PORT_SPRAY,
	ATTACK_UNKNOWN_FLOOD,
	ATTACK_TRUNK_FLOOD,
	ATTACK_MALFORMED,
	ATTACK_RTCP,
	ATTACK_MIXED,
	ATTACK_COUNT,
};

static const char *const names[ATTACK_COUNT] = {
	"none", "ssrc-spray", "wrong-source", "port-spray", "unknown-flood", "trunk-flood", "malformed", "rtcp", "mixed"};

#define ATTACKER_IN_TRUNK 0x0abf0000u /* 10.191.0.0/16: an address of the exact trunk no caller has */
#define OUTSIDE		  0xc6120000u /* 198.18.0.0/15 */

int attack_find(const char *name)
{
	for (int i = 0; i < ATTACK_COUNT; i++) {
		if (strcmp(names[i], name) == 0)
			return i;
	}
	return -1;
}

/* A caller in a call; NULL: none was found. */
static const struct slot *victim(uint64_t random)
{
	for (uint32_t i = 0; i < 16; i++) {
		const struct slot *slot = &load.slots[(random + i) % load.calls];

		if (slot->state == SLOT_LIVE)
			return slot;
	}
	return NULL;
}

static const struct mark attacker = {.call = MARK_ATTACKER};

/* RTP Bleed and blind guessing: one address of the trunk, every port of it, the SSRCs that are in use and any other. */
static struct rte_mbuf *ssrc_spray(uint64_t random, struct frame *frame)
{
	const struct slot *slot = victim(random >> 8);

	frame->source = ATTACKER_IN_TRUNK + 1;
	frame->ssrc = (random & 1) != 0 && slot != NULL ? slot->ssrc : (uint32_t)mark_mix(random);
	return frame_rtp(frame, &attacker);
}

/* RTP Inject: the right SSRC from another address or another port, or the right port of another address. */
static struct rte_mbuf *wrong_source(uint64_t random, struct frame *frame)
{
	const struct slot *slot = victim(random >> 8);

	if (slot == NULL)
		return NULL;
	frame->ssrc = slot->ssrc;
	frame->seq = slot->seq;
	frame->timestamp = slot->timestamp;
	frame->destination_port = slot->local_port;
	frame->source_port = slot->port;
	frame->source = slot->address;
	switch (random & 3) {
	case 0: /* every caller of the address has ports of its own; odd ones are nobody's */
		frame->source_port |= 1;
		break;
	case 1:
		frame->source = ATTACKER_IN_TRUNK + 2 + (random >> 40 & 0xff);
		break;
	case 2:
		frame->source = OUTSIDE + (random >> 40 & 0xff);
		break;
	default:
		frame->source_port |= 1;
		frame->ssrc ^= 0x5a5a0000u;
		break;
	}
	return frame_rtp(frame, &attacker);
}

/* RTP Bleed: every local port, from inside and outside the trunk of the calls with ports of their own. */
static struct rte_mbuf *port_spray(uint64_t random, struct frame *frame)
{
	static uint16_t port = DEDICATED_FIRST;

	frame->destination_port = port++;
	if (port < 1024)
		port = 1024;
	frame->source = (random & 1) != 0 ? DEDICATED_BASE + 0x1f0000u + (random >> 40 & 0xff) : OUTSIDE + 7;
	return frame_rtp(frame, &attacker);
}

static struct rte_mbuf *unknown_flood(uint64_t random, struct frame *frame)
{
	frame->source = (random & 1) != 0 ? (uint32_t)(random >> 32) | 0x10000000u : ATTACKER_IN_TRUNK + (random >> 40 & 0xffff);
	return frame_rtp(frame, &attacker);
}

/* From an address that has calls, a new stream with each packet. */
static struct rte_mbuf *trunk_flood(uint64_t random, struct frame *frame)
{
	const struct slot *slot = victim(random >> 8);

	if (slot == NULL)
		return NULL;
	frame->source = slot->address;
	frame->source_port |= 1;
	return frame_rtp(frame, &attacker);
}

static void fix_ip(uint8_t *ip)
{
	uint32_t sum = 0;

	ip[10] = ip[11] = 0;
	for (unsigned int i = 0; i < 20; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
}

static void fill_victim(const struct slot *slot, struct frame *frame)
{
	*frame = (struct frame){.source = slot->address,
		.source_port = slot->port,
		.destination = LOCAL_ADDRESS,
		.destination_port = slot->local_port,
		.ssrc = slot->ssrc,
		.seq = slot->seq,
		.timestamp = slot->timestamp};
}

/* A packet with a live call's addresses and SSRC that is broken in one place. */
static struct rte_mbuf *malformed(uint64_t random, struct frame *frame)
{
	const struct slot *slot = victim(random >> 8);
	struct rte_mbuf *mbuf;
	uint8_t *f, *ip, *udp, *rtp;

	if (slot == NULL || load.ipv6) /* what is broken here is IPv4 */
		return NULL;
	fill_victim(slot, frame);
	mbuf = frame_rtp(frame, &attacker);
	if (mbuf == NULL)
		return NULL;
	f = rte_pktmbuf_mtod(mbuf, uint8_t *);
	ip = f + 14;
	udp = f + 34;
	rtp = f + 42;
	switch (random % 16) {
	case 0: /* version 0 */
		rtp[0] = 0x00;
		break;
	case 1: /* padding longer than the packet */
		rtp[0] |= 0x20;
		rtp[12 + MARK_SIZE - 1] = 255;
		break;
	case 2: /* padding of nothing */
		rtp[0] |= 0x20;
		rtp[12 + MARK_SIZE - 1] = 0;
		break;
	case 3: /* extension longer than the packet */
		rtp[0] |= 0x10;
		memset(rtp + 14, 0xff, 2);
		break;
	case 4: /* UDP longer than IP */
		udp[4] = 0x7f;
		break;
	case 5: /* UDP shorter than its header */
		udp[4] = 0;
		udp[5] = 7;
		break;
	case 6: /* IP longer than the frame */
		ip[2] = 0x05;
		fix_ip(ip);
		break;
	case 7: /* wrong checksum */
		ip[10] ^= 0x55;
		break;
	case 8: /* first fragment; more never come */
		ip[6] = 0x20;
		fix_ip(ip);
		break;
	case 9: /* later fragment */
		ip[6] = 0x00;
		ip[7] = 0x10;
		fix_ip(ip);
		break;
	case 10: /* IP header shorter than possible */
		ip[0] = 0x44;
		fix_ip(ip);
		break;
	case 11: /* cut off anywhere before the payload */
		rte_pktmbuf_trim(mbuf, (uint16_t)(rte_pktmbuf_data_len(mbuf) - 1 - (random >> 40) % 53));
		break;
	case 12: /* other protocol */
		ip[9] = 6;
		fix_ip(ip);
		break;
	case 13: /* not our address */
		ip[19] ^= 0x40;
		fix_ip(ip);
		break;
	case 14: /* for another station */
		f[5] ^= 0x0f;
		break;
	default: /* an EtherType nobody speaks */
		f[12] = 0x88;
		f[13] = 0x99;
		break;
	}
	return mbuf;
}

/* SR and BYE (RFC 3550 6.4.1, 6.6) about a live call: from its own source, its RTCP port, or elsewhere. */
static struct rte_mbuf *rtcp(uint64_t random, struct frame *frame)
{
	const struct slot *slot = victim(random >> 8);
	struct rte_mbuf *mbuf;
	uint8_t *sr;

	if (slot == NULL)
		return NULL;
	fill_victim(slot, frame);
	if ((random & 1) != 0)
		frame->source = ATTACKER_IN_TRUNK + 3;
	if ((random & 2) != 0 && slot->kind == KIND_DEDICATED)
		frame->destination_port++;
	sr = frame_new(&mbuf, frame, 36);
	if (sr == NULL)
		return NULL;
	memset(sr, 0xee, 36);
	for (unsigned int i = 0; i < 2; i++) {
		uint8_t *packet = sr + i * 28;

		packet[0] = i == 0 ? 0x80 : 0x81;
		packet[1] = i == 0 ? 200 : 203;
		packet[2] = 0;
		packet[3] = i == 0 ? 6 : 1;
		packet[4] = (uint8_t)(slot->ssrc >> 24);
		packet[5] = (uint8_t)(slot->ssrc >> 16);
		packet[6] = (uint8_t)(slot->ssrc >> 8);
		packet[7] = (uint8_t)slot->ssrc;
	}
	frame_done(mbuf);
	return mbuf;
}

static struct rte_mbuf *attack_frame(int attack)
{
	uint64_t random = load_random();
	struct frame frame = {.source = ATTACKER_IN_TRUNK,
		.source_port = (uint16_t)(1024 + (random >> 20) % 60000),
		.destination = LOCAL_ADDRESS,
		.destination_port = SHARED_PORT,
		.ssrc = (uint32_t)mark_mix(random + 1),
		.seq = (uint16_t)(random >> 44)};

	if (attack == ATTACK_MIXED)
		attack = ATTACK_SSRC_SPRAY + (int)((random >> 56) % (ATTACK_MIXED - ATTACK_SSRC_SPRAY));
	switch (attack) {
	case ATTACK_SSRC_SPRAY:
		return ssrc_spray(random, &frame);
	case ATTACK_WRONG_SOURCE:
		return wrong_source(random, &frame);
	case ATTACK_PORT_SPRAY:
		return port_spray(random, &frame);
	case ATTACK_UNKNOWN_FLOOD:
		return unknown_flood(random, &frame);
	case ATTACK_TRUNK_FLOOD:
		return trunk_flood(random, &frame);
	case ATTACK_MALFORMED:
		return malformed(random, &frame);
	case ATTACK_RTCP:
		return rtcp(random, &frame);
	default:
		return NULL;
	}
}

static struct rte_mbuf *prepared[PREPARED]; /* of `prepared_for`; ours is one reference of each */
static int prepared_for = ATTACK_NONE;

/* One frame of the attack with a reference for whoever sends it; NULL: none now. The link copies, so it may be written again. */
static struct rte_mbuf *next_frame(int attack)
{
	static uint32_t sent;
	uint32_t index = sent++ % PREPARED;
	struct rte_mbuf *mbuf = prepared[index];
	uint64_t random;
	uint8_t *frame;

	if (mbuf == NULL || sent / PREPARED % RENEWED == index % RENEWED || rte_mbuf_refcnt_read(mbuf) != 1) {
		rte_pktmbuf_free(mbuf);
		mbuf = prepared[index] = attack_frame(attack);
		if (mbuf != NULL)
			rte_mbuf_refcnt_update(mbuf, 1);
		return mbuf;
	}
	rte_mbuf_refcnt_update(mbuf, 1);
	if (attack == ATTACK_MALFORMED || attack == ATTACK_RTCP || attack == ATTACK_MIXED)
		return mbuf;
	random = load_random();
	frame = rte_pktmbuf_mtod(mbuf, uint8_t *) + load.payload_at;
	memcpy(frame + RTP_SEQ, &random, sizeof(uint16_t));
	if (attack != ATTACK_WRONG_SOURCE && (index & 1) != 0)
		memcpy(frame + RTP_SSRC, (const uint8_t *)&random + 4, sizeof(uint32_t));
	frame_done(mbuf);
	return mbuf;
}

static void prepare(int attack)
{
	for (uint32_t i = 0; attack != prepared_for && i < PREPARED; i++) {
		rte_pktmbuf_free(prepared[i]);
		prepared[i] = NULL;
	}
	prepared_for = attack;
}

unsigned int attack_run(uint64_t now)
{
	struct rte_mbuf *mbufs[BATCH];
	uint16_t count = 0, sent;

	if (load.attack <= ATTACK_NONE)
		return 0;
	load.attack_credit += load.attack_pps * (double)(now - load.attack_tsc) / (double)load.tsc_hz;
	load.attack_tsc = now;
	if (load.attack_credit > load.attack_pps / 50)
		load.attack_credit = load.attack_pps / 50; /* at most 20 ms of it at once */
	load_flush();
	prepare(load.attack);
	for (; load.attack_credit >= 1 && count < BATCH; load.attack_credit--) {
		mbufs[count] = next_frame(load.attack);
		count += mbufs[count] != NULL;
	}
	/* A full link costs the attacker, not the callers: that would measure the link. */
	sent = rte_eth_tx_burst(load.port, 0, mbufs, count);
	load.counters.attack += sent;
	load.counters.attack_dropped += (uint64_t)(count - sent);
	rte_pktmbuf_free_bulk(mbufs + sent, count - sent);
	return count;
}
