/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wire formats of ARP, neighbour discovery and echo.
 */
#include "neighbour_frames.h"

#include <string.h>

#include "ethernet.h"
#include "headers.h"

#define ARP_SIZE     28u
#define IPV4_SIZE    20u
#define IPV6_SIZE    40u
#define ICMP_SIZE    8u
#define ND_SIZE	     24u /* solicitation or advertisement without options */
#define ND_OPTION    8u	 /* source or target link-layer address */
#define ETH_MIN	     60u
#define PROTO_ICMP   1u
#define PROTO_ICMPV6 58u
#define ND_HOP_LIMIT 255u

enum { ARP_REQUEST = 1, ARP_REPLY = 2 };
enum { ICMP_ECHO_REPLY = 0, ICMP_ECHO_REQUEST = 8 };
enum { ICMPV6_ECHO_REQUEST = 128, ICMPV6_ECHO_REPLY = 129, ICMPV6_SOLICITATION = 135, ICMPV6_ADVERTISEMENT = 136 };
enum { ND_OPTION_SOURCE = 1, ND_OPTION_TARGET = 2 };
enum { ND_SOLICITED = 0x40, ND_OVERRIDE = 0x20 };

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t arp_ethernet_ipv4[6] = {0, 1, 8, 0, 6, 4};

static uint16_t read16(const uint8_t *data)
{
	return ethernet_read16(data);
}

static void write16(uint8_t *data, uint16_t value)
{
	data[0] = (uint8_t)(value >> 8);
	data[1] = (uint8_t)value;
}

static void map_v4(struct ip_address *address, const uint8_t *v4)
{
	memset(address->bytes, 0, 10);
	memset(address->bytes + 10, 0xff, 2);
	memcpy(address->bytes + 12, v4, 4);
}

/* An address a single host can have: not unspecified, loopback, multicast, broadcast. */
static bool is_host(const struct ip_address *address)
{
	static const struct ip_address unspecified, loopback = {{[15] = 1}};

	if (ip_address_is_v4(address))
		return address->bytes[12] != 0 && address->bytes[12] != 127 && address->bytes[12] < 224;
	return address->bytes[0] != 0xff && memcmp(address, &unspecified, sizeof(unspecified)) != 0 &&
	       memcmp(address, &loopback, sizeof(loopback)) != 0;
}

static bool is_unicast_mac(const uint8_t mac[6])
{
	static const uint8_t zero[6];

	return (mac[0] & 1) == 0 && memcmp(mac, zero, sizeof(zero)) != 0;
}

static bool parse_arp(struct neighbour_message *message, const uint8_t *arp, size_t len, bool unicast)
{
	if (len < ARP_SIZE || memcmp(arp, arp_ethernet_ipv4, sizeof(arp_ethernet_ipv4)) != 0)
		return false;
	uint16_t operation = read16(arp + 6);

	if (operation != ARP_REQUEST && operation != ARP_REPLY)
		return false;
	message->arp = true;
	memcpy(message->mac, arp + 8, 6);
	map_v4(&message->sender, arp + 14);
	map_v4(&message->target, arp + 24);
	/* A sender of 0.0.0.0 is a probe for a duplicate (RFC 5227 2.1.1): answered, and nothing else. */
	message->has_mac = is_host(&message->sender);
	if (!is_unicast_mac(message->mac))
		return false;
	if (memcmp(arp + 14, arp + 24, 4) == 0)
		message->kind = NEIGHBOUR_CLAIM;
	else if (operation == ARP_REQUEST)
		message->kind = NEIGHBOUR_QUESTION;
	else
		message->kind = unicast ? NEIGHBOUR_ANSWER : NEIGHBOUR_CLAIM;
	return message->has_mac || message->kind == NEIGHBOUR_QUESTION;
}

static bool parse_ipv4(struct neighbour_message *message, const uint8_t *ip, size_t len)
{
	if (len < IPV4_SIZE || ip[0] >> 4 != 4)
		return false;
	size_t header = 4u * (ip[0] & 15u), total = read16(ip + 2);

	if (header < IPV4_SIZE || total > len || total < header + ICMP_SIZE || ip[9] != PROTO_ICMP || (read16(ip + 6) & 0x3fff))
		return false;
	if (ip[header] != ICMP_ECHO_REQUEST || ip[header + 1] != 0 ||
		headers_fold(headers_sum(0, ip + header, total - header)) != 0xffff)
		return false;
	map_v4(&message->sender, ip + 12);
	map_v4(&message->target, ip + 16);
	message->kind = NEIGHBOUR_ECHO;
	message->frame_len = message->l2_len + total;
	return is_host(&message->sender) && message->frame_len <= NEIGHBOUR_FRAME_MAX;
}

/* RFC 4861 7.1: options of whole units, none of length 0; the link address option of this type, if any. */
static bool parse_options(struct neighbour_message *message, const uint8_t *options, size_t len, uint8_t type)
{
	while (len > 0) {
		size_t size = len >= 2 ? 8u * options[1] : 0;

		if (size == 0 || size > len)
			return false;
		if (options[0] == type && size == ND_OPTION && is_unicast_mac(options + 2)) {
			memcpy(message->mac, options + 2, 6);
			message->has_mac = true;
		}
		options += size;
		len -= size;
	}
	return true;
}

static bool parse_nd(struct neighbour_message *message, const uint8_t *ip, const uint8_t *icmp, size_t len, bool unicast)
{
	static const struct ip_address unspecified;
	struct ip_address destination;
	bool solicitation = icmp[0] == ICMPV6_SOLICITATION;

	memcpy(destination.bytes, ip + 24, 16);
	if (len < ND_SIZE || ip[7] != ND_HOP_LIMIT || icmp[1] != 0)
		return false;
	memcpy(message->target.bytes, icmp + 8, 16);
	if (!is_host(&message->target) ||
		!parse_options(message, icmp + ND_SIZE, len - ND_SIZE, solicitation ? ND_OPTION_SOURCE : ND_OPTION_TARGET))
		return false;
	if (solicitation) {
		message->kind = NEIGHBOUR_QUESTION;
		/* Duplicate address detection asks from nowhere, without an option (RFC 4861 7.1.1). */
		if (memcmp(&message->sender, &unspecified, sizeof(unspecified)) == 0)
			return !message->has_mac && destination.bytes[0] == 0xff;
		return is_host(&message->sender);
	}
	/* It tells where the target is, whoever sent it. */
	message->sender = message->target;
	if ((icmp[4] & ND_SOLICITED) != 0 && destination.bytes[0] == 0xff)
		return false;
	message->kind = (icmp[4] & ND_SOLICITED) != 0 && unicast ? NEIGHBOUR_ANSWER : NEIGHBOUR_CLAIM;
	/* An answer to a unicast question may leave the option out (RFC 4861 4.4): then the frame says it. */
	if (!message->has_mac && message->kind == NEIGHBOUR_ANSWER) {
		memcpy(message->mac, message->source_mac, 6);
		message->has_mac = is_unicast_mac(message->mac);
	}
	return message->has_mac;
}

static bool parse_ipv6(struct neighbour_message *message, const uint8_t *ip, size_t len, bool unicast)
{
	if (len < IPV6_SIZE + ICMP_SIZE || ip[0] >> 4 != 6 || ip[6] != PROTO_ICMPV6)
		return false;
	size_t payload = read16(ip + 4);
	const uint8_t *icmp = ip + IPV6_SIZE;

	if (payload < ICMP_SIZE || payload > len - IPV6_SIZE)
		return false;
	memcpy(message->sender.bytes, ip + 8, 16);
	memcpy(message->target.bytes, ip + 24, 16);
	/* An IPv4-mapped address has no business on the wire. */
	if (ip_address_is_v4(&message->sender) || ip_address_is_v4(&message->target))
		return false;
	uint64_t sum = headers_pseudo_sum(&message->sender, &message->target, PROTO_ICMPV6, (uint16_t)payload);

	if (headers_fold(headers_sum(sum, icmp, payload)) != 0xffff)
		return false;
	if (icmp[0] == ICMPV6_SOLICITATION || icmp[0] == ICMPV6_ADVERTISEMENT)
		return parse_nd(message, ip, icmp, payload, unicast);
	message->kind = NEIGHBOUR_ECHO;
	message->frame_len = message->l2_len + IPV6_SIZE + payload;
	return icmp[0] == ICMPV6_ECHO_REQUEST && icmp[1] == 0 && unicast && is_host(&message->sender) &&
	       message->frame_len <= NEIGHBOUR_FRAME_MAX;
}

bool neighbour_frame_parse(
	struct neighbour_message *message, const uint8_t *bytes, size_t len, const uint8_t mac[6], uint16_t vlan)
{
	uint16_t type;
	size_t offset;

	memset(message, 0, sizeof(*message));
	if (ethernet_open(bytes, len, vlan, &offset, &type) != DROP_NONE)
		return false;
	bool unicast = memcmp(bytes, mac, 6) == 0;

	memcpy(message->source_mac, bytes + 6, 6);
	if (!is_unicast_mac(message->source_mac) || (!unicast && (bytes[0] & 1) == 0))
		return false;
	message->l2_len = offset;
	if (type == ETHERNET_TYPE_ARP)
		return parse_arp(message, bytes + offset, len - offset, unicast);
	if (type == ETHERNET_TYPE_IPV4)
		return unicast && parse_ipv4(message, bytes + offset, len - offset);
	if (type == ETHERNET_TYPE_IPV6)
		return parse_ipv6(message, bytes + offset, len - offset, unicast);
	return false;
}

/* Ethernet header; returns what follows it. The frame is as long as the shortest allowed, all zero. */
static uint8_t *begin(struct neighbour_frame *frame, const uint8_t to[6], const uint8_t from[6], uint16_t vlan, uint16_t type)
{
	uint8_t *at = frame->bytes + 12;

	memset(frame->bytes, 0, ETHERNET_SIZE + ETHERNET_VLAN_SIZE + IPV6_SIZE + ND_SIZE + ND_OPTION);
	memcpy(frame->bytes, to, 6);
	memcpy(frame->bytes + 6, from, 6);
	if (vlan != 0) {
		write16(at, ETHERNET_TYPE_VLAN);
		write16(at + 2, vlan);
		at += ETHERNET_VLAN_SIZE;
	}
	write16(at, type);
	return at + 2;
}

static void end(struct neighbour_frame *frame, const uint8_t *at)
{
	frame->len = (size_t)(at - frame->bytes);
	if (frame->len < ETH_MIN)
		frame->len = ETH_MIN;
}

static void build_arp(struct neighbour_frame *frame, const uint8_t to[6], const uint8_t mac[6], uint16_t vlan, uint16_t operation,
	const struct ip_address *sender, const uint8_t target_mac[6], const struct ip_address *target)
{
	uint8_t *arp = begin(frame, to, mac, vlan, ETHERNET_TYPE_ARP);

	memcpy(arp, arp_ethernet_ipv4, sizeof(arp_ethernet_ipv4));
	write16(arp + 6, operation);
	memcpy(arp + 8, mac, 6);
	memcpy(arp + 14, sender->bytes + 12, 4);
	if (target_mac != NULL)
		memcpy(arp + 18, target_mac, 6);
	memcpy(arp + 24, target->bytes + 12, 4);
	end(frame, arp + ARP_SIZE);
}

static void build_nd(struct neighbour_frame *frame, const uint8_t to[6], const uint8_t mac[6], uint16_t vlan,
	const struct ip_address *source, const struct ip_address *destination, uint8_t type, uint8_t flags,
	const struct ip_address *target)
{
	uint8_t *ip = begin(frame, to, mac, vlan, ETHERNET_TYPE_IPV6);
	uint8_t *icmp = ip + IPV6_SIZE;
	uint16_t sum;

	ip[0] = 0x60;
	write16(ip + 4, ND_SIZE + ND_OPTION);
	ip[6] = PROTO_ICMPV6;
	ip[7] = ND_HOP_LIMIT;
	memcpy(ip + 8, source->bytes, 16);
	memcpy(ip + 24, destination->bytes, 16);
	icmp[0] = type;
	icmp[4] = flags;
	memcpy(icmp + 8, target->bytes, 16);
	icmp[ND_SIZE] = type == ICMPV6_SOLICITATION ? ND_OPTION_SOURCE : ND_OPTION_TARGET;
	icmp[ND_SIZE + 1] = 1;
	memcpy(icmp + ND_SIZE + 2, mac, 6);
	sum = (uint16_t)~headers_fold(headers_sum(
		headers_pseudo_sum(source, destination, PROTO_ICMPV6, ND_SIZE + ND_OPTION), icmp, ND_SIZE + ND_OPTION));
	memcpy(icmp + 2, &sum, sizeof(sum));
	end(frame, icmp + ND_SIZE + ND_OPTION);
}

void neighbour_frame_request(struct neighbour_frame *frame, const uint8_t mac[6], uint16_t vlan, const struct ip_address *local,
	const struct ip_address *target, const uint8_t holder[6])
{
	/* RFC 4291 2.7.1: the solicited-node group of the target, and its MAC (RFC 2464 7). */
	struct ip_address group = {{0xff, 2, [11] = 1, [12] = 0xff}};
	uint8_t group_mac[6] = {0x33, 0x33, 0xff};

	if (ip_address_is_v4(target)) {
		build_arp(frame, holder != NULL ? holder : broadcast, mac, vlan, ARP_REQUEST, local, NULL, target);
		return;
	}
	memcpy(group.bytes + 13, target->bytes + 13, 3);
	memcpy(group_mac + 3, target->bytes + 13, 3);
	build_nd(frame, holder != NULL ? holder : group_mac, mac, vlan, local, holder != NULL ? target : &group,
		ICMPV6_SOLICITATION, 0, target);
}

static const struct ip_address all_nodes = {{0xff, 2, [15] = 1}};
static const uint8_t all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 1};

void neighbour_frame_answer(
	struct neighbour_frame *frame, const struct neighbour_message *question, const uint8_t mac[6], uint16_t vlan)
{
	static const struct ip_address unspecified;

	if (question->arp)
		build_arp(frame, question->mac, mac, vlan, ARP_REPLY, &question->target, question->mac, &question->sender);
	else if (memcmp(&question->sender, &unspecified, sizeof(unspecified)) == 0)
		build_nd(frame, all_nodes_mac, mac, vlan, &question->target, &all_nodes, ICMPV6_ADVERTISEMENT, ND_OVERRIDE,
			&question->target);
	else
		build_nd(frame, question->has_mac ? question->mac : question->source_mac, mac, vlan, &question->target,
			&question->sender, ICMPV6_ADVERTISEMENT, ND_SOLICITED | ND_OVERRIDE, &question->target);
}

void neighbour_frame_announce(struct neighbour_frame *frame, const uint8_t mac[6], uint16_t vlan, const struct ip_address *local)
{
	if (ip_address_is_v4(local))
		build_arp(frame, broadcast, mac, vlan, ARP_REQUEST, local, NULL, local);
	else
		build_nd(frame, all_nodes_mac, mac, vlan, local, &all_nodes, ICMPV6_ADVERTISEMENT, ND_OVERRIDE, local);
}

void neighbour_frame_echo(
	struct neighbour_frame *frame, const uint8_t *bytes, const struct neighbour_message *message, const uint8_t mac[6])
{
	uint8_t *ip = frame->bytes + message->l2_len;
	bool v4 = bytes[message->l2_len] >> 4 == 4;
	size_t header = v4 ? 4u * (bytes[message->l2_len] & 15u) : IPV6_SIZE;
	uint8_t *icmp = ip + header;
	size_t len = message->frame_len - message->l2_len - header;
	uint16_t sum;

	/* Padding must not carry what was in memory before. */
	memset(frame->bytes, 0, ETH_MIN);
	memcpy(frame->bytes, bytes, message->frame_len);
	memcpy(frame->bytes, message->source_mac, 6);
	memcpy(frame->bytes + 6, mac, 6);
	icmp[0] = v4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
	memset(icmp + 2, 0, 2);
	if (v4) {
		memcpy(ip + 12, message->target.bytes + 12, 4);
		memcpy(ip + 16, message->sender.bytes + 12, 4);
		ip[8] = HEADERS_TTL;
		memset(ip + 10, 0, 2);
		sum = (uint16_t)~headers_fold(headers_sum(0, ip, header));
		memcpy(ip + 10, &sum, sizeof(sum));
		sum = (uint16_t)~headers_fold(headers_sum(0, icmp, len));
	} else {
		memcpy(ip + 8, message->target.bytes, 16);
		memcpy(ip + 24, message->sender.bytes, 16);
		ip[7] = HEADERS_TTL;
		sum = (uint16_t)~headers_fold(headers_sum(
			headers_pseudo_sum(&message->target, &message->sender, PROTO_ICMPV6, (uint16_t)len), icmp, len));
	}
	memcpy(icmp + 2, &sum, sizeof(sum));
	end(frame, frame->bytes + message->frame_len);
}
