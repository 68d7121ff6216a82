/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames of neighbour.c: ARP, neighbour solicitation and advertisement, echo; parsed with every check their RFCs demand,
 * and built. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "neighbour.h"

enum neighbour_kind {
	NEIGHBOUR_QUESTION, /* who has `target`? asks `sender`, at `mac` if has_mac (a solicitation may not say) */
	NEIGHBOUR_ANSWER,   /* `sender` is at `mac`, said to us alone */
	NEIGHBOUR_CLAIM,    /* the same, said to everybody (gratuitous ARP, unsolicited advertisement) */
	NEIGHBOUR_ECHO,	    /* `sender` pings `target` */
};

struct neighbour_message {
	enum neighbour_kind kind;
	bool arp; /* else ICMP */
	bool has_mac;
	uint8_t mac[6];	       /* link address of `sender`, as the message says */
	uint8_t source_mac[6]; /* of the frame */
	struct ip_address sender, target;
	size_t l2_len;	  /* Ethernet header with its tag */
	size_t frame_len; /* without Ethernet padding */
};

struct neighbour_frame {
	size_t len;
	uint8_t bytes[NEIGHBOUR_FRAME_MAX];
};

/*
 * Understand a frame of `len` bytes that came to `mac` or a group on `vlan` (0: untagged; ethernet.h). Any thread. False when malformed,
 * of another VLAN, not for us, or of no interest.
 */
bool neighbour_frame_parse(
	struct neighbour_message *message, const uint8_t *bytes, size_t len, const uint8_t mac[6], uint16_t vlan);

/* Who has `target`? From `local` at `mac`; to `holder` alone, or to everybody when NULL. */
void neighbour_frame_request(struct neighbour_frame *frame, const uint8_t mac[6], uint16_t vlan, const struct ip_address *local,
	const struct ip_address *target, const uint8_t holder[6]);

/* We have what `question` asks for. */
void neighbour_frame_answer(
	struct neighbour_frame *frame, const struct neighbour_message *question, const uint8_t mac[6], uint16_t vlan);

/* `local` is at `mac`, to everybody. */
void neighbour_frame_announce(struct neighbour_frame *frame, const uint8_t mac[6], uint16_t vlan, const struct ip_address *local);

/* The answer to the ping in `bytes`, parsed as `message`. */
void neighbour_frame_echo(
	struct neighbour_frame *frame, const uint8_t *bytes, const struct neighbour_message *message, const uint8_t mac[6]);
