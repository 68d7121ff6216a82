/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the data plane sends: ARP is answered for the gateway; every RTP packet must go to a caller that is in a call and carry
 * that call's watermark. Anything to anybody else went to a stranger.
 */
#include <stdio.h>

#include "load.h"

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* Of the addresses that only IPv6 has between them nothing else is looked at: there are no others. */
static uint32_t to_address(const uint8_t *frame)
{
	return get32(frame + (load.ipv6 ? 42 : 30));
}

static uint16_t to_port(const uint8_t *frame)
{
	return get16(frame + load.payload_at - 6);
}

/* One frame at once, outside of what is staged: hearing may happen in the middle of sending that. */
static void send_now(struct rte_mbuf *mbuf)
{
	if (rte_eth_tx_burst(load.port, 0, &mbuf, 1) == 0)
		rte_pktmbuf_free(mbuf);
}

static void answer_arp(const uint8_t *frame)
{
	static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 2};
	struct rte_mbuf *mbuf;
	uint8_t *f;

	if (get16(frame + 20) != 1 || get32(frame + 38) != GATEWAY_ADDRESS)
		return;
	mbuf = rte_pktmbuf_alloc(load.pool);
	if (mbuf == NULL)
		return;
	mbuf->data_len = 60;
	mbuf->pkt_len = 60;
	f = rte_pktmbuf_mtod(mbuf, uint8_t *);
	memset(f, 0, 60);
	memcpy(f, frame + 6, 6);
	memcpy(f + 6, our_mac, 6);
	memcpy(f + 12, frame + 12, 8);
	f[21] = 2;
	memcpy(f + 22, our_mac, 6);
	memcpy(f + 28, frame + 38, 4);
	memcpy(f + 32, frame + 22, 10);
	send_now(mbuf);
	load.asked_for_gateway = true;
}

static uint16_t checksum6(const uint8_t *ip, unsigned int len)
{
	uint32_t sum = len + ip[6];

	for (unsigned int i = 8; i < 40 + len; i += 2)
		sum += get16(ip + i);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~(sum + (sum >> 16));
}

/* A neighbour solicitation for the gateway (RFC 4861 4.3) is answered (4.4). */
static void answer_solicitation(const uint8_t *frame)
{
	static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 2};
	struct rte_mbuf *mbuf;
	uint8_t gateway[16], *f;
	uint16_t sum;

	frame_address6(gateway, GATEWAY_ADDRESS);
	if (memcmp(frame + 62, gateway, sizeof(gateway)) != 0)
		return;
	mbuf = rte_pktmbuf_alloc(load.pool);
	if (mbuf == NULL)
		return;
	mbuf->data_len = 86;
	mbuf->pkt_len = 86;
	f = rte_pktmbuf_mtod(mbuf, uint8_t *);
	memset(f, 0, 86);
	memcpy(f, frame + 6, 6);
	memcpy(f + 6, our_mac, 6);
	memcpy(f + 12, frame + 12, 2);
	f[14] = 0x60;
	f[19] = 32;
	f[20] = 58;
	f[21] = 255;
	memcpy(f + 22, gateway, sizeof(gateway));
	memcpy(f + 38, frame + 22, 16);
	f[54] = 136;
	f[58] = 0x60; /* solicited, override */
	memcpy(f + 62, gateway, sizeof(gateway));
	f[78] = 2;
	f[79] = 1;
	memcpy(f + 80, our_mac, 6);
	sum = checksum6(f + 14, 32);
	f[56] = (uint8_t)(sum >> 8);
	f[57] = (uint8_t)sum;
	send_now(mbuf);
	load.asked_for_gateway = true;
}

void hear_announce(void)
{
	static const uint8_t head[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0,
		0, 0, 0, 2, GATEWAY_ADDRESS >> 24, GATEWAY_ADDRESS >> 16 & 255, GATEWAY_ADDRESS >> 8 & 255, GATEWAY_ADDRESS & 255,
		0, 0, 0, 0, 0, 0, LOCAL_ADDRESS >> 24, LOCAL_ADDRESS >> 16 & 255, LOCAL_ADDRESS >> 8 & 255, LOCAL_ADDRESS & 255};
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(load.pool);
	uint8_t *f;

	if (mbuf == NULL)
		return;
	mbuf->data_len = 60;
	mbuf->pkt_len = 60;
	f = rte_pktmbuf_mtod(mbuf, uint8_t *);
	memset(f, 0, 60);
	memcpy(f, head, sizeof(head));
	send_now(mbuf);
}

/* The caller at this place now, or until a moment ago; NULL: a stranger. */
static struct slot *slot_at(uint32_t address, uint16_t port, uint64_t now, uint32_t *number)
{
	uint32_t sub = port >= PORT_FIRST ? (port - PORT_FIRST) / PORT_RANGE : CALLS_PER_SOURCE;
	struct slot *slot;

	if (address >= DEDICATED_BASE)
		*number = (address - DEDICATED_BASE) * CALLS_PER_SOURCE + sub;
	else if (address >= LEARN_BASE)
		*number = address - LEARN_BASE;
	else
		*number = (address - EXACT_BASE) * CALLS_PER_SOURCE + sub;
	if (address < EXACT_BASE || sub >= CALLS_PER_SOURCE || *number >= load.calls)
		return NULL;
	slot = &load.slots[*number];
	if (slot->address != address)
		return NULL;
	if (slot->state != SLOT_IDLE && (port == slot->port || (slot->moving && port == slot->next_port)))
		return slot;
	return port == slot->old_port && now < slot->old_until ? slot : NULL;
}

static void complain(const char *what, uint32_t number, const uint8_t *frame, uint32_t len)
{
	struct mark mark = {0};

	if (load.examples++ >= EXAMPLES)
		return;
	if (len == load.payload_at + RTP_SIZE + MARK_SIZE)
		mark_read(frame + load.payload_at + RTP_SIZE, &mark);
	fprintf(stderr, "voxlane-load: %s: to %08x port %u (o%u), marked %x life %u seq %u\n", what, to_address(frame),
		to_port(frame), number, mark.call, mark.life, mark.seq);
}

static bool is_silence(const uint8_t *payload)
{
	for (unsigned int i = 0; i < MARK_SIZE; i++) {
		if (payload[i] != 0xff)
			return false;
	}
	return true;
}

static void measure(struct slot *slot, uint64_t now)
{
	uint64_t beat = load.rotation_tsc, gap = now - slot->last_heard;

	if (slot->last_heard != 0)
		vl_histogram_add(&load.beat_us, (gap > beat ? gap - beat : beat - gap) * 1000000 / load.tsc_hz);
	slot->last_heard = now;
}

/* The call before this one: its last packets may still be under way until the first of the new one. */
static bool is_tail(const struct slot *slot, struct mark mark, const uint8_t *payload, uint64_t now)
{
	mark.life--;
	return !slot->heard && now < slot->old_until && mark_foreign(payload, MARK_SIZE, MARK_DOWN, &mark) == 0;
}

static void hear_rtp(const uint8_t *frame, uint32_t len, uint64_t now)
{
	struct load_counters *counters = &load.counters;
	uint32_t number = 0, foreign;
	struct slot *slot = slot_at(to_address(frame), to_port(frame), now, &number);
	const uint8_t *payload = frame + load.payload_at + RTP_SIZE;
	struct mark mark, said;

	counters->down++;
	counters->down_bytes += len - load.payload_at - RTP_SIZE;
	if (slot == NULL) {
		counters->to_strangers++;
		complain("sent to a stranger", number, frame, len);
		return;
	}
	if (len != load.payload_at + RTP_SIZE + MARK_SIZE) {
		counters->down_foreign_bytes += len - load.payload_at - RTP_SIZE;
		complain("a packet of odd length", number, frame, len);
		return;
	}
	mark_read(payload, &said);
	mark = (struct mark){.call = number, .life = slot->life, .seq = said.seq};
	mark.life += slot->state == SLOT_CREATING; /* the answer to our request may be later than its first audio */
	foreign = mark_foreign(payload, MARK_SIZE, MARK_DOWN, &mark);
	if (foreign == 0) {
		slot->heard = true;
		measure(slot, now);
	} else if (is_silence(payload)) {
		counters->down_silence++;
	} else if (is_tail(slot, mark, payload, now)) {
		counters->down_tail++;
	} else {
		counters->down_foreign_bytes += foreign;
		complain("foreign audio", number, frame, len);
	}
}

void hear_frame(const uint8_t *frame, uint32_t len, uint64_t now)
{
	uint16_t type = len >= 42 ? get16(frame + 12) : 0;

	if (type == 0x0806)
		answer_arp(frame);
	else if (!load.ipv6 && type == 0x0800 && len > 54 && frame[14] == 0x45 && frame[23] == 17)
		hear_rtp(frame, len, now);
	else if (load.ipv6 && type == 0x86dd && len > 74 && frame[20] == 17)
		hear_rtp(frame, len, now);
	else if (load.ipv6 && type == 0x86dd && len >= 78 && frame[20] == 58 && frame[54] == 135)
		answer_solicitation(frame);
	else
		load.counters.down_other++;
}
