/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an answer's audio leaves: in messages of 160 to 600 ms, whole quanta of 40 ms, every 50 to 160 ms, four to five times
 * faster than it plays; or as the fault knobs say. Pure: the caller brings the clock and a random state.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BURST_RATE	   24000u
#define BURST_BYTES_PER_MS (BURST_RATE / 1000u * 2u)
#define BURST_QUANTUM_MS   40u

struct burst_rules {
	double pace;	      /* times real time; 0 = 4.5 */
	uint32_t lead_ms;     /* with a pace: so much more goes out at the beginning */
	uint32_t chunk_bytes; /* fixed size of each message, 0 = drawn */
	bool odd;	      /* add one byte to each message, so that samples straddle messages */
	bool tiny;	      /* 2 bytes in every second message */
	uint32_t stall_ms;    /* pause once in the middle */
};

struct burst {
	const struct burst_rules *rules;
	uint32_t random;
	size_t total, sent; /* bytes */
	double next_ms;	    /* when the next message is due */
	bool first, stalled, was_tiny;
};

/* Start an answer of `total` bytes at `now_ms`. `rules` must outlive the burst. */
void burst_start(struct burst *burst, const struct burst_rules *rules, size_t total, uint32_t seed, uint64_t now_ms);

/* Bytes to send now (0 = nothing is due). Advances the schedule. */
size_t burst_next(struct burst *burst, uint64_t now_ms);

/* Has everything been handed out? */
bool burst_done(const struct burst *burst);
