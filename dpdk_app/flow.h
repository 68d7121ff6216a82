/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and the flow key. Pure: no DPDK. IPv4 addresses are kept as IPv4-mapped IPv6 (RFC 4291 2.5.5.2), so one table and one set of
 * rules serve both families.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* An IPv6 or IPv4-mapped address, network byte order. */
struct ip_address {
	uint8_t bytes[16];
};

/* An address and a UDP port; the port in host byte order. */
struct endpoint {
	struct ip_address address;
	uint16_t port;
};

/* What identifies a stream of RTP packets: where it arrives, where it comes from, what it calls itself. 40 bytes, no holes. */
struct flow_key {
	struct ip_address local;
	struct ip_address remote;
	uint16_t local_port;  /* host byte order */
	uint16_t remote_port; /* host byte order */
	uint32_t ssrc;	      /* host byte order */
};
_Static_assert(sizeof(struct flow_key) == 40, "hashed as bytes, so it must have no padding");

/* A session as everything outside its owner names it: an index into the storage and the generation of that index. */
struct session_ref {
	uint32_t index;
	uint32_t generation; /* never 0 for a live session */
};

/* True for ::ffff:0:0/96. Any thread. */
bool ip_address_is_v4(const struct ip_address *address);

/* Parse "192.0.2.1" or "2001:db8::1". Any thread. Returns 0 or -EINVAL. */
int ip_address_parse(const char *text, struct ip_address *address);

#define IP_ADDRESS_TEXT_SIZE 46
/* Write the address as text (an IPv4-mapped one in dotted form) into `text`, and return `text`. Any thread. */
const char *ip_address_format(const struct ip_address *address, char text[IP_ADDRESS_TEXT_SIZE]);

/* A prefix: "10.77.0.0/24", "2001:db8::/32", or a bare address. `length` counts from the IPv6 form (IPv4 /24 is 120). */
struct ip_prefix {
	struct ip_address address;
	uint8_t length;
};
/* Parse a prefix. Bits set behind the length are an error. Any thread. Returns 0 or -EINVAL. */
int ip_prefix_parse(const char *text, struct ip_prefix *prefix);
/* Whether `address` lies in `prefix`. Any thread. */
bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_address *address);
