/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Classification of received frames, layer by layer. Every length is checked against what is really there before it is used,
 * and every layer may look only at the bytes the one below says are its own.
 */
#include "packet.h"

#include <string.h>

#include "../shared/channel.h"
#include "ethernet.h"
#include "headers.h"

#define ARP_SIZE      28u
#define IPV4_SIZE     20u
#define IPV6_SIZE     40u
#define UDP_SIZE      8u
#define ICMP_SIZE     8u
#define RTP_SIZE      12u
#define RTCP_SIZE     4u
#define RTCP_SSRC_END 8u

#define PROTO_ICMP	    1u
#define PROTO_UDP	    17u
#define PROTO_IPV6_FRAGMENT 44u
#define PROTO_ICMPV6	    58u

#define ICMP_ECHO_REQUEST   8u
#define ICMPV6_ECHO_REQUEST 128u
#define ICMPV6_SOLICITATION 135u
#define ICMPV6_ADVERTISE    136u

/* RFC 5761 4: what would be payload types 64-95 with the marker bit is RTCP. */
#define RTCP_TYPE_FIRST 192u
#define RTCP_TYPE_LAST	223u

enum rtcp_type {
	RTCP_SR = 200,
	RTCP_RR = 201,
	RTCP_SDES = 202,
	RTCP_BYE = 203,
	RTCP_APP = 204,
	RTCP_RTPFB = 205,
	RTCP_PSFB = 206
};

/* The bytes a layer may look at. */
struct span {
	const uint8_t *data;
	size_t len;
};

static inline uint16_t read16(const uint8_t *data)
{
	return ethernet_read16(data);
}

static inline uint32_t read32(const uint8_t *data)
{
	return (uint32_t)read16(data) << 16 | read16(data + 2);
}

static inline void drop(struct packet *packet, enum drop_reason reason)
{
	packet->kind = PACKET_DROP;
	packet->reason = reason;
}

static inline void map_v4(struct ip_address *address, const uint8_t *v4)
{
	memset(address->bytes, 0, 10);
	memset(address->bytes + 10, 0xff, 2);
	memcpy(address->bytes + 12, v4, 4);
}

static inline bool is_ours(const struct packet_local *local, const struct ip_address *address)
{
	for (unsigned int i = 0; i < local->address_count; i++) {
		if (memcmp(local->addresses[i].bytes, address->bytes, sizeof(address->bytes)) == 0)
			return true;
	}
	return false;
}

/* Smallest sizes of the RTCP packets whose layout is known (RFC 3550 6.4-6.7, RFC 4585 6.1), in bytes. */
static size_t rtcp_size_min(uint8_t type, unsigned int count)
{
	switch (type) {
	case RTCP_SR:
		return 28u + 24u * count;
	case RTCP_RR:
		return 8u + 24u * count;
	case RTCP_SDES:
		return 4u + 8u * count;
	case RTCP_BYE:
		return 4u + 4u * count;
	case RTCP_APP:
	case RTCP_RTPFB:
	case RTCP_PSFB:
		return 12u;
	default:
		return 8u;
	}
}

/* RFC 3550 A.2: every packet of the compound in turn; the lengths must add up exactly and only the last may be padded. */
static bool rtcp_valid(struct span span)
{
	size_t offset = 0;

	if (span.len < RTCP_SSRC_END)
		return false;
	while (offset < span.len) {
		const uint8_t *packet = span.data + offset;
		size_t left = span.len - offset;

		if (left < RTCP_SIZE || packet[0] >> 6 != 2 || packet[1] < RTCP_TYPE_FIRST || packet[1] > RTCP_TYPE_LAST)
			return false;
		size_t size = RTCP_SIZE * (read16(packet + 2) + 1u);
		size_t padding = 0;

		if (size > left)
			return false;
		if (packet[0] & 0x20) {
			padding = packet[size - 1];
			if (offset == 0 || size != left || padding == 0 || padding % 4 != 0 || padding > size)
				return false;
		}
		if (size - padding < rtcp_size_min(packet[1], packet[0] & 0x1f))
			return false;
		if (offset == 0 && size < RTCP_SSRC_END)
			return false;
		offset += size;
	}
	return true;
}

static void classify_rtcp(struct span span, struct packet *packet)
{
	if (!rtcp_valid(span)) {
		drop(packet, DROP_RTCP_HEADER);
		return;
	}
	packet->kind = PACKET_RTCP;
	packet->key.ssrc = read32(span.data + 4);
	packet->payload_len = (uint16_t)span.len;
}

/* RFC 3550 5.1 and 5.3.1. `frame_offset` is where the UDP payload begins. */
static void classify_rtp(struct span span, size_t frame_offset, struct packet *packet)
{
	const uint8_t *rtp = span.data;

	if (span.len < RTP_SIZE) {
		drop(packet, DROP_RTP_HEADER);
		return;
	}
	size_t header = RTP_SIZE + 4u * (rtp[0] & 0x0fu);

	if (rtp[0] & 0x10) {
		if (header + 4 > span.len) {
			drop(packet, DROP_RTP_HEADER);
			return;
		}
		header += 4 + 4u * read16(rtp + header + 2);
	}
	if (header > span.len) {
		drop(packet, DROP_RTP_HEADER);
		return;
	}
	size_t payload = span.len - header;

	if (rtp[0] & 0x20) {
		size_t padding = rtp[span.len - 1];

		if (padding == 0 || padding > payload) {
			drop(packet, DROP_RTP_HEADER);
			return;
		}
		payload -= padding;
	}
	if (payload == 0 || payload > VL_RECORD_PAYLOAD_MAX) {
		drop(packet, payload == 0 ? DROP_RTP_EMPTY : DROP_RTP_TOO_LONG);
		return;
	}
	packet->kind = PACKET_RTP;
	packet->marker = rtp[1] >> 7;
	packet->payload_type = rtp[1] & 0x7f;
	packet->seq = read16(rtp + 2);
	packet->timestamp = read32(rtp + 4);
	packet->key.ssrc = read32(rtp + 8);
	packet->payload_offset = (uint16_t)(frame_offset + header);
	packet->payload_len = (uint16_t)payload;
}

enum media_port { MEDIA_NONE, MEDIA_RTP, MEDIA_RTCP };

static inline enum media_port media_port(const struct packet_local *local, uint16_t port)
{
	if (local->rtp_port != 0) {
		if (port == local->rtp_port)
			return MEDIA_RTP;
		if (port == local->rtp_port + 1)
			return MEDIA_RTCP;
	}
	if (local->dedicated_last != 0 && port >= local->dedicated_first && port <= (local->dedicated_last | 1))
		return (port & 1) == 0 ? MEDIA_RTP : MEDIA_RTCP;
	return MEDIA_NONE;
}

static inline void classify_udp(
	const uint8_t *frame, size_t offset, size_t len, bool v6, const struct packet_local *local, struct packet *packet)
{
	const uint8_t *udp = frame + offset;

	if (len < UDP_SIZE) {
		drop(packet, DROP_UDP_HEADER);
		return;
	}
	size_t size = read16(udp + 4);

	/* RFC 8200 8.1: over IPv6 the checksum is not optional. */
	if (size < UDP_SIZE || size > len || (v6 && udp[6] == 0 && udp[7] == 0)) {
		drop(packet, DROP_UDP_HEADER);
		return;
	}
	uint16_t local_port = read16(udp + 2);
	uint16_t remote_port = read16(udp);
	enum media_port media = media_port(local, local_port);
	struct span payload = {udp + UDP_SIZE, size - UDP_SIZE};

	if (media == MEDIA_NONE) {
		drop(packet, DROP_UDP_PORT);
		return;
	}
	if (payload.len < 2 || payload.data[0] >> 6 != 2) {
		drop(packet, DROP_NOT_RTP);
		return;
	}
	packet->key.local_port = local_port;
	packet->key.remote_port = remote_port;
	packet->udp_offset = (uint16_t)offset;
	packet->payload_offset = (uint16_t)(offset + UDP_SIZE);
	if (payload.data[1] >= RTCP_TYPE_FIRST && payload.data[1] <= RTCP_TYPE_LAST) {
		if (media == MEDIA_RTCP) {
			packet->key.local_port = (uint16_t)(local_port - 1);
			packet->key.remote_port = remote_port & 1 ? (uint16_t)(remote_port - 1) : remote_port;
		}
		classify_rtcp(payload, packet);
	} else if (media == MEDIA_RTCP) {
		drop(packet, DROP_NOT_RTP);
	} else {
		classify_rtp(payload, offset + UDP_SIZE, packet);
	}
}

/* Without options, which is nearly always, the size is known when this is compiled. */
static inline bool header_sum_valid(const uint8_t *ip, size_t header)
{
	uint64_t sum = header == IPV4_SIZE ? headers_sum(0, ip, IPV4_SIZE) : headers_sum(0, ip, header);

	return headers_fold(sum) == 0xffff;
}

static inline void classify_ipv4(
	const uint8_t *frame, size_t offset, size_t len, const struct packet_local *local, struct packet *packet)
{
	const uint8_t *ip = frame + offset;

	if (len < IPV4_SIZE || ip[0] >> 4 != 4) {
		drop(packet, DROP_IP_HEADER);
		return;
	}
	size_t header = 4u * (ip[0] & 0x0fu);
	size_t total = read16(ip + 2);

	if (header < IPV4_SIZE || total < header || total > len || !header_sum_valid(ip, header)) {
		drop(packet, DROP_IP_HEADER);
		return;
	}
	map_v4(&packet->key.local, ip + 16);
	map_v4(&packet->key.remote, ip + 12);
	if (!is_ours(local, &packet->key.local)) {
		drop(packet, DROP_IP_NOT_OURS);
		return;
	}
	if (read16(ip + 6) & 0x3fff) { /* more fragments, or an offset */
		drop(packet, DROP_IP_FRAGMENT);
		return;
	}
	if (ip[9] == PROTO_UDP) {
		classify_udp(frame, offset + header, total - header, false, local, packet);
	} else if (ip[9] == PROTO_ICMP && total - header >= ICMP_SIZE && ip[header] == ICMP_ECHO_REQUEST) {
		packet->kind = PACKET_LOCAL;
		packet->echo = true;
	} else {
		drop(packet, DROP_IP_PROTO);
	}
}

static void classify_icmpv6(const uint8_t *icmp, size_t len, bool ours, struct packet *packet)
{
	if (len >= ICMP_SIZE && ours && icmp[0] == ICMPV6_ECHO_REQUEST) {
		packet->kind = PACKET_LOCAL;
		packet->echo = true;
	} else if (len >= ICMP_SIZE && (icmp[0] == ICMPV6_SOLICITATION || icmp[0] == ICMPV6_ADVERTISE)) {
		packet->kind = PACKET_LOCAL;
		packet->echo = false;
	} else {
		drop(packet, DROP_IP_PROTO);
	}
}

static inline void classify_ipv6(
	const uint8_t *frame, size_t offset, size_t len, bool unicast, const struct packet_local *local, struct packet *packet)
{
	const uint8_t *ip = frame + offset;

	if (len < IPV6_SIZE || ip[0] >> 4 != 6) {
		drop(packet, DROP_IP_HEADER);
		return;
	}
	size_t payload = read16(ip + 4);

	if (payload > len - IPV6_SIZE) {
		drop(packet, DROP_IP_HEADER);
		return;
	}
	memcpy(packet->key.local.bytes, ip + 24, 16);
	memcpy(packet->key.remote.bytes, ip + 8, 16);
	/* No such address may be on the wire (RFC 4038 4.2, RFC 6890); inside it would be the IPv4 host of that number. */
	if (ip_address_is_v4(&packet->key.local) || ip_address_is_v4(&packet->key.remote)) {
		drop(packet, DROP_IP_HEADER);
		return;
	}
	bool ours = is_ours(local, &packet->key.local);

	/* Neighbour discovery also comes to multicast groups. */
	if (!ours && packet->key.local.bytes[0] != 0xff) {
		drop(packet, DROP_IP_NOT_OURS);
		return;
	}
	if (ip[6] == PROTO_ICMPV6)
		classify_icmpv6(ip + IPV6_SIZE, payload, ours, packet);
	else if (!ours || !unicast)
		drop(packet, DROP_IP_NOT_OURS);
	else if (ip[6] == PROTO_UDP)
		classify_udp(frame, offset + IPV6_SIZE, payload, true, local, packet);
	else
		drop(packet, ip[6] == PROTO_IPV6_FRAGMENT ? DROP_IP_FRAGMENT : DROP_IP_PROTO);
}

/* ARP about one of our addresses, or a neighbour's announcement of its own (RFC 5227 1.2). neighbour.c does the full check. */
static void classify_arp(const uint8_t *arp, size_t len, const struct packet_local *local, struct packet *packet)
{
	struct ip_address target;

	if (len < ARP_SIZE) {
		drop(packet, DROP_ETH_SHORT);
		return;
	}
	map_v4(&packet->key.remote, arp + 14);
	map_v4(&target, arp + 24);
	if (!is_ours(local, &target) && memcmp(arp + 14, arp + 24, 4) != 0) {
		drop(packet, DROP_IP_NOT_OURS);
		return;
	}
	packet->kind = PACKET_LOCAL;
	packet->echo = false;
}

void packet_classify(const uint8_t *frame, size_t len, const struct packet_local *local, struct packet *packet)
{
	enum drop_reason reason;
	uint16_t type;
	size_t offset;

	reason = ethernet_open(frame, len, local->vlan, &offset, &type);
	if (reason != DROP_NONE) {
		drop(packet, reason);
		return;
	}
	bool unicast = memcmp(frame, local->mac, sizeof(local->mac)) == 0;

	/* Groups are heard for ARP and neighbour discovery only. */
	if (!unicast && ((frame[0] & 1) == 0 || type == ETHERNET_TYPE_IPV4))
		drop(packet, DROP_ETH_NOT_OURS);
	else if (type == ETHERNET_TYPE_IPV4)
		classify_ipv4(frame, offset, len - offset, local, packet);
	else if (type == ETHERNET_TYPE_IPV6)
		classify_ipv6(frame, offset, len - offset, unicast, local, packet);
	else if (type == ETHERNET_TYPE_ARP)
		classify_arp(frame + offset, len - offset, local, packet);
	else
		drop(packet, DROP_ETH_TYPE);
}

bool packet_checksum_valid(const uint8_t *frame, const struct packet *packet)
{
	const uint8_t *udp = frame + packet->udp_offset;
	uint16_t len = read16(udp + 4), field;
	uint64_t pseudo;

	memcpy(&field, udp + 6, sizeof(field));
	if (field == 0)
		return true; /* RFC 768: the sender computed none; over IPv6 that was refused */
	pseudo = headers_pseudo_sum(&packet->key.remote, &packet->key.local, PROTO_UDP, len);
	return headers_fold(headers_sum(pseudo, udp, len)) == 0xffff || field == headers_fold(pseudo);
}
