/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet, IP and UDP headers of what we send. A call's headers are built once into a template whose checksum fields hold
 * the sum of everything that does not change; each packet then costs one addition per word of its payload and no offload.
 * Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "flow.h"

#define HEADERS_MAX	72u /* Ethernet, two tags, IPv6, UDP, rounded up */
#define HEADERS_TTL	64u
#define HEADERS_DSCP_EF 46u /* RFC 3246, for RTP per RFC 4594 */

struct headers_spec {
	uint8_t source_mac[6];
	uint8_t destination_mac[6]; /* of the next hop */
	uint16_t vlan;		    /* VLAN id 1..4094, 0: untagged */
	uint8_t dscp;
	struct endpoint local, remote; /* both of one family */
};

/* Everything in front of the RTP header, ready but for lengths, IPv4 id and the rest of the checksums. */
struct header_template {
	uint8_t len;	/* of `bytes` in use: where the RTP header begins */
	uint8_t l2_len; /* so that IP and UDP can be found */
	uint8_t bytes[HEADERS_MAX];
};

/* Build a template. DF is set on IPv4. Any thread. Returns 0 or -EINVAL (mixed families, VLAN or DSCP out of range). */
int headers_build(struct header_template *template, const struct headers_spec *spec);

/*
 * Finish a frame that begins with the bytes of `template` and carries `payload_len` bytes of UDP payload behind them:
 * lengths, IPv4 id, IPv4 and UDP checksum (RFC 768, RFC 8200 8.1: never 0). Any thread.
 */
void headers_finish(const struct header_template *template, uint8_t *frame, uint16_t payload_len, uint16_t ipv4_id);

/*
 * Ones' complement sum of `len` bytes (RFC 1071) added to `sum`, not folded. Any thread. headers_fold() makes the 16-bit sum
 * of it in network byte order; a checksum is its complement.
 */
static inline uint64_t headers_sum(uint64_t sum, const uint8_t *data, size_t len);
static inline uint16_t headers_fold(uint64_t sum);

/* Pseudo header sum of IPv4 or IPv6 (RFC 8200 8.1) for `headers_sum()`: IPv4-mapped addresses count with their four bytes. Any thread. */
uint64_t headers_pseudo_sum(
	const struct ip_address *source, const struct ip_address *destination, uint8_t protocol, uint16_t len);

/*
 * Sums are of 16-bit words in host order: on a little-endian machine each is byte-swapped, and so is the result, which is
 * thus in network order as it is stored (RFC 1071 2 (B)). Eight bytes are added at a time, what is carried out of the top at the
 * bottom again: in ones' complement that is the same sum.
 */
static inline uint64_t headers_add(uint64_t sum, uint64_t word)
{
	return sum + word + (sum + word < word);
}

static inline uint64_t headers_sum(uint64_t sum, const uint8_t *data, size_t len)
{
	uint64_t words[2], other = 0;
	uint32_t word;
	uint16_t half;

	/* Two sums, so that every second addition need not wait for the carry of the one before. */
	for (; len >= sizeof(words); len -= sizeof(words), data += sizeof(words)) {
		memcpy(words, data, sizeof(words));
		sum = headers_add(sum, words[0]);
		other = headers_add(other, words[1]);
	}
	if (len & 8) {
		memcpy(words, data, sizeof(words[0]));
		sum = headers_add(sum, words[0]);
		data += sizeof(words[0]);
	}
	sum = headers_add(sum, other);
	if (len & 4) {
		memcpy(&word, data, sizeof(word));
		sum = headers_add(sum, word);
		data += sizeof(word);
	}
	if (len & 2) {
		memcpy(&half, data, sizeof(half));
		sum = headers_add(sum, half);
		data += sizeof(half);
	}
	if (len & 1) {
		half = 0;
		memcpy(&half, data, 1);
		sum = headers_add(sum, half);
	}
	return sum;
}

static inline uint16_t headers_fold(uint64_t sum)
{
	sum = (sum & 0xffffffffu) + (sum >> 32);
	sum = (sum & 0xffffffffu) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}
