/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header templates and the Internet checksum. In a template, the checksum fields hold sums (not complements) of the constant
 * part, folded to 16 bits; ones' complement addition is associative, so the variable part is added per packet.
 */
#include "headers.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define ETH_TYPE_IPV4 0x0800u
#define ETH_TYPE_VLAN 0x8100u
#define ETH_TYPE_IPV6 0x86ddu
#define IPV4_SIZE     20u
#define IPV6_SIZE     40u
#define UDP_SIZE      8u
#define PROTO_UDP     17u
#define IPV4_DF	      0x4000u

_Static_assert(HEADERS_MAX >= 14 + 2 * 4 + IPV6_SIZE + UDP_SIZE, "room for the longest headers");

static inline void write16(uint8_t *data, uint16_t value)
{
	data[0] = (uint8_t)(value >> 8);
	data[1] = (uint8_t)value;
}

static inline uint64_t sum_value(uint16_t value)
{
	uint8_t bytes[2];

	write16(bytes, value);
	return headers_sum(0, bytes, sizeof(bytes));
}

uint64_t headers_pseudo_sum(const struct ip_address *source, const struct ip_address *destination, uint8_t protocol, uint16_t len)
{
	uint64_t sum = sum_value(protocol) + sum_value(len);

	if (ip_address_is_v4(source))
		return headers_sum(headers_sum(sum, source->bytes + 12, 4), destination->bytes + 12, 4);
	return headers_sum(headers_sum(sum, source->bytes, 16), destination->bytes, 16);
}

static void build_ipv4(uint8_t *ip, const struct headers_spec *spec)
{
	uint16_t sum;

	ip[0] = 0x45;
	ip[1] = (uint8_t)(spec->dscp << 2);
	write16(ip + 6, IPV4_DF);
	ip[8] = HEADERS_TTL;
	ip[9] = PROTO_UDP;
	memcpy(ip + 12, spec->local.address.bytes + 12, 4);
	memcpy(ip + 16, spec->remote.address.bytes + 12, 4);
	sum = headers_fold(headers_sum(0, ip, IPV4_SIZE));
	memcpy(ip + 10, &sum, sizeof(sum));
}

static void build_ipv6(uint8_t *ip, const struct headers_spec *spec)
{
	ip[0] = (uint8_t)(0x60 | spec->dscp >> 2);
	ip[1] = (uint8_t)(spec->dscp << 6);
	ip[6] = PROTO_UDP;
	ip[7] = HEADERS_TTL;
	memcpy(ip + 8, spec->local.address.bytes, 16);
	memcpy(ip + 24, spec->remote.address.bytes, 16);
}

int headers_build(struct header_template *template, const struct headers_spec *spec)
{
	bool v4 = ip_address_is_v4(&spec->local.address);
	uint8_t *bytes = template->bytes;
	size_t offset = 12;

	if (v4 != ip_address_is_v4(&spec->remote.address) || spec->vlan > 4094 || spec->dscp > 63)
		return -EINVAL;
	memset(template, 0, sizeof(*template));
	memcpy(bytes, spec->destination_mac, 6);
	memcpy(bytes + 6, spec->source_mac, 6);
	if (spec->vlan != 0) {
		write16(bytes + offset, ETH_TYPE_VLAN);
		write16(bytes + offset + 2, spec->vlan);
		offset += 4;
	}
	write16(bytes + offset, v4 ? ETH_TYPE_IPV4 : ETH_TYPE_IPV6);
	offset += 2;
	template->l2_len = (uint8_t)offset;
	if (v4)
		build_ipv4(bytes + offset, spec);
	else
		build_ipv6(bytes + offset, spec);
	offset += v4 ? IPV4_SIZE : IPV6_SIZE;

	uint8_t *udp = bytes + offset;

	write16(udp, spec->local.port);
	write16(udp + 2, spec->remote.port);
	uint64_t sum = headers_pseudo_sum(&spec->local.address, &spec->remote.address, PROTO_UDP, 0);
	uint16_t folded = headers_fold(headers_sum(sum, udp, 4));

	memcpy(udp + 6, &folded, sizeof(folded));
	template->len = (uint8_t)(offset + UDP_SIZE);
	return 0;
}

void headers_finish(const struct header_template *template, uint8_t *frame, uint16_t payload_len, uint16_t ipv4_id)
{
	uint8_t *ip = frame + template->l2_len;
	uint8_t *udp = frame + template->len - UDP_SIZE;
	uint16_t udp_len = (uint16_t)(UDP_SIZE + payload_len);
	uint16_t sum;

	if (ip[0] >> 4 == 4) {
		uint16_t total = (uint16_t)(IPV4_SIZE + udp_len);

		write16(ip + 2, total);
		write16(ip + 4, ipv4_id);
		memcpy(&sum, ip + 10, sizeof(sum));
		sum = (uint16_t)~headers_fold(sum + sum_value(total) + sum_value(ipv4_id));
		memcpy(ip + 10, &sum, sizeof(sum));
	} else {
		write16(ip + 4, udp_len);
	}
	write16(udp + 4, udp_len);
	memcpy(&sum, udp + 6, sizeof(sum));
	/* The length counts twice: in the pseudo header and in the header. */
	sum = (uint16_t)~headers_fold(headers_sum(sum + 2 * sum_value(udp_len), udp + UDP_SIZE, payload_len));
	if (sum == 0)
		sum = 0xffff;
	memcpy(udp + 6, &sum, sizeof(sum));
}
