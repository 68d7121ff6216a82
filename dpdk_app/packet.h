/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a received frame is. Pure: bytes in, description out; no DPDK, no allocation, no clock. Used by lcores on every packet, by the
 * control thread, the fuzz target and the unit tests.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drops.h"
#include "flow.h"

enum packet_kind {
	PACKET_DROP,  /* see `reason` */
	PACKET_RTP,   /* key, seq, timestamp, payload_type, marker, payload are valid */
	PACKET_RTCP,  /* key (SSRC of the first report, ports of the RTP flow) and payload (the whole compound) are valid */
	PACKET_LOCAL, /* ARP, neighbour discovery or ping for us: the control thread answers. key.remote is who claims to ask */
};

/* The local side, as classification needs it. Written once before the lcores start, read only afterwards. */
struct packet_local {
	struct ip_address addresses[2]; /* listen and listen6 */
	unsigned int address_count;
	uint16_t rtp_port;			  /* shared port; 0 when there is none */
	uint16_t dedicated_first, dedicated_last; /* even RTP ports, RTCP on the next odd one; 0, 0 when there are none */
	uint8_t mac[6];				  /* of the port the packet arrived on */
	uint16_t vlan;				  /* 802.1Q VLAN of the link, 0: untagged */
};

struct packet {
	enum packet_kind kind;
	enum drop_reason reason; /* PACKET_DROP only */
	struct flow_key key;
	uint32_t timestamp;
	uint16_t seq;
	uint8_t payload_type;
	bool marker;
	bool echo;		 /* PACKET_LOCAL: a ping; otherwise ARP or neighbour discovery */
	uint16_t udp_offset;	 /* of the UDP header, from the start of the frame; RTP and RTCP only */
	uint16_t payload_offset; /* from the start of the frame */
	uint16_t payload_len;	 /* bytes, padding excluded */
};

/*
 * Classify one frame of `len` contiguous bytes (Ethernet with the tag of local->vlan or none, IPv4 or IPv6 with extension headers refused, UDP, RTP or
 * RTCP by RFC 5761 section 4 and RFC 7983). Any thread. Always fills packet->kind. An RTP packet to the odd neighbour of a media port is
 * NOT_RTP; RTCP is accepted on both, and its key names the RTP ports (RFC 3550 11). Compound RTCP is checked by RFC 3550 A.2 with the
 * reduced size of RFC 5506 allowed. IPv4 header checksums are verified here, whatever the port does. Of the UDP checksum only that there
 * is one over IPv6: see packet_checksum_valid().
 */
void packet_classify(const uint8_t *frame, size_t len, const struct packet_local *local, struct packet *packet);

/*
 * Whether the UDP checksum of a frame classified as RTP or RTCP is right, for frames of which the port does not know (RFC 768, RFC
 * 8200 8.1). Any thread. None at all is right over IPv4. So is the bare sum of the pseudo header: a sender on this machine (veth pair,
 * bridge to a container) leaves the rest to a card that the frame never passes, and memory does not turn bits over.
 */
bool packet_checksum_valid(const uint8_t *frame, const struct packet *packet);
