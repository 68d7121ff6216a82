/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receive accounting of one call: sequence numbers, loss, duplicates, jitter (RFC 3550 A.1, A.3, A.8). Pure: arrival times
 * are parameters. It never decides whom a packet belongs to; binding did that before.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "packet.h"

#define RECEIVE_MAX_DROPOUT  3000u /* RFC 3550 A.1: a larger step forward is a restart, not loss */
#define RECEIVE_MAX_MISORDER 100u  /* RFC 3550 A.1: a larger step back is a restart, not reordering */
#define RECEIVE_WINDOW	     32u   /* sequence numbers remembered to recognise duplicates */
#define RECEIVE_CLOCK_HZ     8000u /* of every codec negotiated so far */

/*
 * Packets a second that a bound flow may send, and how many at once after a pause of the network. No codec here sends more than
 * 100 a second (10 ms a packet), and telephone-events come with them; a flood that forges the flow ends here, so that it fills
 * neither the ring of the call's worker nor the worker's time.
 */
#define RECEIVE_FLOW_RATE  200u
#define RECEIVE_FLOW_BURST 64u

/*
 * Writer: the lcore that receives the bound flow (RSS keeps a flow on one lcore; control moves a binding only through the
 * table). Readers: control and telemetry, relaxed, a snapshot. All zero before the first packet.
 */
struct session_receive {
	_Atomic uint32_t packets;   /* of the bound flow, duplicates excluded */
	_Atomic uint32_t due;	    /* when it may send at its rate again, RTP timestamp units: receive_admit() */
	_Atomic uint64_t bytes;	    /* payload */
	_Atomic uint64_t last_tsc;  /* arrival of the last packet: expiry, liveness */
	_Atomic uint32_t jitter_q4; /* RFC 3550 A.8 estimate, RTP timestamp units times 16 */
	_Atomic uint32_t duplicates;
	_Atomic uint32_t reordered;
	_Atomic uint32_t dropped;	 /* received but not delivered: ring full, no worker, held, payload type */
	_Atomic uint32_t ssrc;		 /* of the last packet: a change restarts the sequence */
	_Atomic uint32_t max_seq;	 /* highest, extended by the cycles since base_seq */
	_Atomic uint32_t expected_prior; /* packets expected under earlier SSRCs or before restarts */
	_Atomic uint32_t transit;	 /* arrival minus timestamp of the packet before */
	_Atomic uint32_t window;	 /* bit i: max_seq - i was seen */
	_Atomic uint16_t base_seq;	 /* first under this SSRC */
	_Atomic uint16_t bad_seq;	 /* RFC 3550 A.1: the one that would confirm a restart */
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct session_receive) == 64, "one cache line a packet");

/*
 * Account for one RTP packet. `arrival` is its arrival in RTP timestamp units of any origin, `tsc` the same moment for
 * last_tsc, `audio` false for a payload type whose timestamps do not advance with time (telephone-event), which then leaves
 * the jitter alone. Receiving lcore. Returns false for a duplicate that must not be delivered again.
 *
 * A jump beyond RECEIVE_MAX_DROPOUT is delivered and believed when the next packet confirms it; a new SSRC is believed at
 * once, because the binding verified it.
 */
bool receive_account(struct session_receive *receive, const struct packet *packet, bool audio, uint32_t arrival, uint64_t tsc);

/*
 * Whether the bound flow may send one more packet at `arrival` (as for receive_account()): its rate, by the generic cell rate
 * algorithm (ITU-T I.371). To be asked before receive_account(); a packet refused changes nothing. Receiving lcore.
 */
bool receive_admit(struct session_receive *receive, uint32_t arrival);

/* One more packet that was received and could not be delivered. Receiving lcore. */
void receive_dropped(struct session_receive *receive);

/* Start over for a new call. The control thread, while no flow leads to the session. */
void receive_reset(struct session_receive *receive);

/* Packets the sender has sent so far, judged by its sequence numbers (RFC 3550 A.3). Any thread. */
uint32_t receive_expected(const struct session_receive *receive);

/* Of them, those that never arrived; never negative. Any thread. */
uint32_t receive_lost(const struct session_receive *receive);

/* Interarrival jitter in microseconds. Any thread. */
uint32_t receive_jitter_us(const struct session_receive *receive);
