/* SPDX-License-Identifier: Apache-2.0 */
/*
 * voxlane-load: as many callers as wanted, and their attackers, on one DPDK port. One thread does everything. Parts: load.c
 * (start, loop, commands), load_calls.c (set-up, tear-down and moves over the control socket), load_send.c (good packets),
 * load_attack.c (bad ones), load_hear.c (what comes back).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <rte_byteorder.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "mark.h"
#include "shared/histogram.h"

#define CALLS_PER_SOURCE 8u
#define FRAME_MS	 20u
#define RTP_SIZE	 12u
#define EXAMPLES	 10u
#define GRACE_MS	 1000u /* packets under way to a place the call has left, or of a call that ended */

#define LOCAL_ADDRESS	0x0a4d0001u /* 10.77.0.1, the data plane */
#define GATEWAY_ADDRESS 0x0a4d00feu /* 10.77.0.254, us */
#define EXACT_BASE	0x0a800000u /* 10.128.0.0/10: address and port signalled, eight calls an address */
#define LEARN_BASE	0x0ac00000u /* 10.192.0.0/11: port not known, one call an address */
#define DEDICATED_BASE	0x0ae00000u /* 10.224.0.0/11: a local port for each call */
/* Over IPv6 an address is bytes 4 to 7 of fd77::1, so that each has a /64 of its own. */
#define SHARED_PORT	5004u
#define DEDICATED_FIRST 20000u
#define DEDICATED_LAST	65535u
#define PORT_FIRST	10000u
#define PORT_RANGE	4000u /* of one call's source; it moves through them in steps of two */

enum kind { KIND_EXACT, KIND_EXACT_SSRC, KIND_LEARN, KIND_DEDICATED };
enum state { SLOT_IDLE, SLOT_CREATING, SLOT_LIVE, SLOT_ENDING };

/* Packets still sent where a call was, or by a call that ended: nobody may hear them. */
struct trail {
	uint16_t port, local_port, seq, life;
	uint8_t left;
	bool ended; /* marked as the call that ended, otherwise as one that left the place */
	uint32_t ssrc, timestamp;
};

/* One caller. Its calls follow each other; `life` counts them. */
struct slot {
	enum kind kind;
	enum state state;
	bool moving, hurried, skip, heard;
	uint16_t life, seq, port, local_port, variant;
	uint16_t next_port; /* while `moving`: the request is under way */
	uint16_t old_port;  /* 0: none; answers may still come there until old_until */
	uint32_t address, ssrc, timestamp, sent;
	uint64_t old_until, created_tsc, last_heard;
	struct trail trail;
	char uuid[40];
};

struct load_counters {
	uint64_t good, duplicates, reordered, ended_trail, moved_trail; /* sent */
	uint64_t attack, attack_dropped;				/* sent; did not fit into the link */
	uint64_t down, down_bytes, down_foreign_bytes, down_silence, down_tail, to_strangers, down_other;
	uint64_t created, create_failed, deleted, delete_failed, moved, move_failed, nat_moved, link_full_waits, late_rotations;
};

struct load {
	uint32_t calls;
	double pace;
	bool ipv6;
	uint16_t payload_at; /* of a frame: behind UDP */
	uint16_t port;
	struct rte_mempool *pool;
	uint64_t tsc_hz, rotation_tsc;
	struct slot *slots;
	/* The cursor goes round all slots once in a rotation. */
	uint32_t cursor;
	uint64_t due;
	bool paused, quit, asked_for_gateway;
	uint32_t live;
	double churn, moves, nats; /* a second */
	double churn_credit, moves_credit, nats_credit;
	uint64_t credit_tsc;
	int attack; /* enum attack */
	double attack_pps, attack_credit;
	uint64_t attack_tsc;
	uint64_t random;
	int control;
	struct rte_mbuf *out[32];
	unsigned int out_count;
	struct load_counters counters;
	struct vl_histogram beat_us; /* distance of answers from one rotation after the one before */
	unsigned int examples;
	char error[256]; /* last refusal of the control socket */
};

extern struct load load;

static inline uint64_t load_random(void)
{
	load.random += UINT64_C(0x9e3779b97f4a7c15);
	return mark_mix(load.random);
}

/* load.c */
void load_die(const char *what, int error);
/* Stage one frame for sending; it is sent whatever it takes. */
void load_send(struct rte_mbuf *mbuf);
void load_flush(void);

/* load_calls.c */
void calls_connect(const char *path);
void calls_init(struct slot *slot, uint32_t number);
unsigned int calls_run(void); /* answers in, requests out */
bool calls_room(void);	      /* another request may be made now */
void calls_create(uint32_t number);
void calls_delete(uint32_t number);
void calls_move(uint32_t number);
void calls_nat(uint32_t number); /* its packets come from another port from now on, and nobody says so */
uint32_t calls_ssrc(uint32_t number, uint16_t life);

/* load_send.c */
struct frame {
	uint32_t source, destination, ssrc, timestamp;
	uint16_t source_port, destination_port, seq;
};
/* Headers of a frame with `payload_len` bytes of UDP payload behind them, which are returned; NULL without buffers. */
uint8_t *frame_new(struct rte_mbuf **mbuf, const struct frame *frame, uint16_t payload_len);
/* What IPv6 wants when the payload is written: the checksum. */
void frame_done(struct rte_mbuf *mbuf);
void frame_address6(uint8_t bytes[16], uint32_t address);
/* The whole RTP frame with a mark. */
struct rte_mbuf *frame_rtp(const struct frame *frame, const struct mark *mark);
unsigned int send_run(uint64_t now);

/* load_attack.c */
int attack_find(const char *name); /* -1: there is none */
unsigned int attack_run(uint64_t now);

/* load_hear.c */
void hear_announce(void); /* ask for the data plane as a gateway that came up does, so that it asks for us again */
void hear_frame(const uint8_t *frame, uint32_t len, uint64_t now);
