/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which packet lcore handles a frame, where the port does not decide: a keyed hash of addresses and ports, as a card's RSS would
 * take it, so that every packet of a flow and every SSRC in it come to one lcore, and nobody who lacks the key can choose source
 * ports that all meet on one. Looks at headers no further than it must: who handles the frame checks them. Pure.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#include "flow_hash.h"

#define HANDOVER_HERE (-1)

/*
 * flow_hash() is linear: of ports in even steps, as gateways give them out, it makes even steps, and small ones would leave dozens of
 * calls in a row on one lcore. This is the finaliser of MurmurHash3 (public domain), a bijection.
 */
static inline uint32_t handover_mix(uint32_t hash)
{
	hash = (hash ^ hash >> 16) * 0x85ebca6bu;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
	return hash ^ hash >> 16;
}

/*
 * The lcore, below `lcores`, that handles `frame`, or HANDOVER_HERE: whoever received it. That is for all that is not a whole UDP
 * datagram straight behind its IP header: ARP, neighbour discovery, pings, fragments, what is cut short. Any thread.
 */
static inline int handover_lcore(const struct flow_hash_secret *secret, const uint8_t *frame, size_t len, unsigned int lcores)
{
	enum { ADDRESSES = 12, TAG = 4, V4_SIZE = 20, V6_SIZE = 40, PORTS = 4, UDP = 17 };
	struct flow_key key = {0};
	size_t type = ADDRESSES, ip, ports;

	if (len >= ADDRESSES + TAG && frame[type] == 0x81 && frame[type + 1] == 0)
		type += TAG;
	ip = type + 2;
	if (len >= ip + V4_SIZE + PORTS && frame[type] == 0x08 && frame[type + 1] == 0) {
		ports = ip + 4u * (frame[ip] & 0x0fu);
		if (frame[ip + 9] != UDP || (frame[ip + 6] & 0x3f) != 0 || frame[ip + 7] != 0 || ports < ip + V4_SIZE ||
			len < ports + PORTS)
			return HANDOVER_HERE;
		memcpy(key.remote.bytes, frame + ip + 12, 4);
		memcpy(key.local.bytes, frame + ip + 16, 4);
	} else if (len >= ip + V6_SIZE + PORTS && frame[type] == 0x86 && frame[type + 1] == 0xdd) {
		ports = ip + V6_SIZE;
		if (frame[ip + 6] != UDP)
			return HANDOVER_HERE;
		memcpy(key.remote.bytes, frame + ip + 8, 16);
		memcpy(key.local.bytes, frame + ip + 24, 16);
	} else {
		return HANDOVER_HERE;
	}
	memcpy(&key.remote_port, frame + ports, 2);
	memcpy(&key.local_port, frame + ports + 2, 2);
	return (int)((uint64_t)handover_mix(flow_hash(secret, &key)) * lcores >> 32);
}
