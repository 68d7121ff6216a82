/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many packets of unknown flows one lcore hands to the control thread: a rate per source and a total. Pure, of fixed
 * size, no allocation and no division per packet. A source is an IPv4 address, an IPv6 /64, or whatever else is in the first eight bytes.
 *
 * Each source has two buckets, found by two parts of a keyed hash, and passes when either has room. So a flooding source
 * cannot be aimed at a victim (the key is random), and one that meets a victim's bucket by accident still leaves it the
 * other. A bucket is one number, the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "flow.h"

#define LEARN_LIMIT_BUCKETS 4096u /* a power of two: 32 KB */

struct learn_bucket_rate {
	uint64_t interval_tsc; /* between two packets at the sustained rate; 0: nothing passes */
	uint64_t burst_tsc;    /* how far ahead of it a source may be */
};

/* Used by one thread. */
struct learn_limit {
	uint64_t key[2];
	struct learn_bucket_rate source, total;
	uint64_t total_due;
	uint64_t due[LEARN_LIMIT_BUCKETS];
};

/*
 * Begin with full buckets. `key` is random; rates in packets per second (bursts of up to a quarter of a second of the rate,
 * at least 8 packets). Control thread, before the owner runs.
 */
void learn_limit_init(struct learn_limit *limit, const uint64_t key[2], uint64_t tsc_hz, uint32_t per_source, uint32_t total);

/* Whether one more packet from `source` may pass at `tsc`, which never goes back. The owner. */
bool learn_limit_take(struct learn_limit *limit, const struct ip_address *source, uint64_t tsc);

/* Whether one more packet from this address and port, whatever its SSRC, may pass at `tsc`. The owner. */
bool learn_limit_take_place(struct learn_limit *limit, const struct flow_key *place, uint64_t tsc);

/*
 * Whether one more packet of an unknown stream (address, port and SSRC of its sender) may pass at `tsc`. `streams` limits each
 * stream, so that one nobody wants does not take a new call's packets; `sources` all the streams of an address, whose ports and
 * SSRCs are free to invent. What either refuses is charged to neither, so a flood of invented streams fills no bucket of
 * others. The owner of both.
 */
bool learn_limit_take_stream(
	struct learn_limit *streams, struct learn_limit *sources, const struct flow_key *stream, uint64_t tsc);
