/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One port's neighbours: answers ARP requests, neighbour solicitations and pings for our addresses, and finds out the link
 * address of a call's next hop. Pure: frames and a clock in, frames and notices out. Control thread only.
 *
 * A link address is believed only as an answer to a request of ours, sent by the module a moment ago. What arrives unasked
 * never changes an entry: it makes us ask. While an entry is known, we first ask its present holder (unicast); another
 * address is accepted only after that one stayed silent (so an ARP spoofer must first silence the real neighbour), and until
 * an answer comes the old address stays in use. A caller's link address is never taken from its RTP.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"

#define NEIGHBOUR_FIRST_MS     250u  /* to the second request for somebody not known yet, then twice as long each time */
#define NEIGHBOUR_RETRY_MS     1000u /* between requests for somebody known who is silent, NEIGHBOUR_TRIES times */
#define NEIGHBOUR_TRIES	       3u
#define NEIGHBOUR_SLOW_MS      2000u  /* between requests after that */
#define NEIGHBOUR_REQUESTS     200u   /* to everybody, a second, all together; a gateway comes first */
#define NEIGHBOUR_UNUSED_MS    10000u /* somebody not known whom nobody wants any more is forgotten */
#define NEIGHBOUR_REACHABLE_MS 30000u /* a confirmed entry is asked again after this (RFC 4861 6.3.2 ReachableTime) */
#define NEIGHBOUR_FRAME_MAX    1514u  /* longest frame sent: a ping's answer */

/* One of our addresses with its link. */
struct neighbour_local {
	struct ip_address address;
	uint8_t prefix_length; /* on-link prefix, IPv6 form (IPv4 /24 is 120) */
	bool has_gateway;
	struct ip_address gateway;
};

struct neighbour_settings {
	uint8_t mac[6]; /* ours */
	uint16_t vlan;	/* 0: untagged */
	struct neighbour_local locals[2];
	unsigned int local_count;
	uint32_t max_entries; /* next hops at once; the one asked for longest ago gives way */
	/* Transmit a frame; copied before it returns. */
	void (*send)(void *context, const uint8_t *frame, size_t len);
	/* The link address of `next_hop` became known or is another one now. */
	void (*changed)(void *context, const struct ip_address *next_hop, const uint8_t mac[6]);
	void *context;
};

struct neighbours;

/* NULL with errno (ENOMEM, EINVAL). */
struct neighbours *neighbour_new(const struct neighbour_settings *settings);
void neighbour_free(struct neighbours *neighbours);

/* Tell the link that we are here: gratuitous ARP (RFC 5227 3), unsolicited neighbour advertisement (RFC 4861 7.2.6), and ask for the gateways. */
void neighbour_start(struct neighbours *neighbours, uint64_t now_ms);

/* A frame that packet_classify() called PACKET_LOCAL. Anything malformed or not for us is ignored and counted. */
void neighbour_input(struct neighbours *neighbours, const uint8_t *frame, size_t len, uint64_t now_ms);

/* Where a packet to `remote` goes next: itself when on-link, else the gateway. Returns 0 or -ENETUNREACH. */
int neighbour_next_hop(const struct neighbours *neighbours, const struct ip_address *remote, struct ip_address *next_hop);

/*
 * Link address for packets to `remote`; whoever waits for it goes on asking, at least every NEIGHBOUR_UNUSED_MS. Returns 0 with `mac`; -EINPROGRESS: asked, changed() follows for `*next_hop`;
 * -ENETUNREACH: no route. `next_hop` is set unless -ENETUNREACH.
 */
int neighbour_resolve(struct neighbours *neighbours, const struct ip_address *remote, uint64_t now_ms,
	struct ip_address *next_hop, uint8_t mac[6]);

/*
 * Frames that were for this module got lost on the way to it, since there were too many: who is being checked and has not
 * answered has perhaps answered, so its time begins again. A flood may keep a neighbour that really moved from being found;
 * it may not make a neighbour that answers look silent.
 */
void neighbour_deaf(struct neighbours *neighbours);

/* Ask again where it is time to. Cheap; every turn of the control loop, at least every 100 ms. */
void neighbour_tick(struct neighbours *neighbours, uint64_t now_ms);

struct neighbour_counts {
	uint32_t entries, known;
	uint64_t answered_arp, answered_nd, answered_echo;
	uint64_t requests;  /* sent */
	uint64_t learned;   /* link addresses believed, the first and every change */
	uint64_t unasked;   /* claims nobody asked for, or that contradict a neighbour that still answers; not believed */
	uint64_t malformed; /* frames ignored */
};
void neighbour_count(const struct neighbours *neighbours, struct neighbour_counts *counts);
