/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the RTP caller learns from the packets it receives, as pure code: loss, order, jitter, gaps, who sent them, and when there was sound.
 * Independent of shared/ and dpdk_app/, so that it can judge them.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define RTP_RECEIVER_SSRCS_MAX	 8u
#define RTP_RECEIVER_SOURCES_MAX 8u
#define RTP_RECEIVER_WINDOW	 1024u /* packets in which a duplicate is recognised */
#define RTP_CLOCK_HZ		 8000u
#define RTP_TALK_HANGOVER_US	 100000u /* shorter pauses do not end a stretch of sound */

#define RTP_STALL_US 100000

/* A received packet, parsed. */
struct rtp_packet {
	uint32_t ssrc, timestamp;
	uint16_t seq;
	uint8_t payload_type;
	bool marker;
	const uint8_t *payload;
	size_t payload_len; /* bytes */
};

/* Parse an RTP packet (RFC 3550, section 5.1) of `len` bytes; the payload points into `data`. Returns 0 or -EINVAL. */
int rtp_packet_parse(const uint8_t *data, size_t len, struct rtp_packet *packet);

/* Write a fixed RTP header of 12 bytes. */
void rtp_header_write(uint8_t header[12], uint8_t payload_type, bool marker, uint16_t seq, uint32_t timestamp, uint32_t ssrc);

/* One stream, by SSRC. */
struct rtp_stream {
	uint32_t ssrc;
	uint64_t packets;	     /* duplicates included */
	uint64_t first_seq, max_seq; /* extended */
	uint32_t last_timestamp;     /* of the packet with max_seq */
	size_t last_len;	     /* its payload */
	int64_t last_transit;	     /* timestamp units */
	bool has_transit;
	double jitter; /* timestamp units, RFC 3550 appendix A.8 */
	uint64_t unique, duplicates, reordered;
	uint64_t sequence_gaps;		    /* places where the sequence number jumped ahead */
	uint64_t largest_gap;		    /* packets missing at the largest of them */
	uint64_t timestamp_discontinuities; /* consecutive numbers whose timestamps do not differ by the payload */
	uint64_t seen[RTP_RECEIVER_WINDOW]; /* extended number + 1 */
};

struct rtp_source {
	struct sockaddr_storage address;
	uint64_t packets;
};

/* A stretch of time, CLOCK_MONOTONIC in µs: first to last packet with sound. */
struct rtp_span {
	int64_t start_us, end_us;
};

/* Stretches of sound; the last one may still be going on. */
struct rtp_spans {
	struct rtp_span *items;
	size_t count;
};

struct rtp_receiver {
	struct rtp_stream streams[RTP_RECEIVER_SSRCS_MAX];
	size_t stream_count;
	uint64_t stream_overflow; /* packets of further SSRCs */
	struct rtp_source sources[RTP_RECEIVER_SOURCES_MAX];
	size_t source_count;
	uint64_t source_overflow;
	uint64_t packets, foreign, malformed, markers;
	int64_t first_us, last_us; /* arrivals; first is 0 before any */
	uint32_t *intervals_us;	   /* between arrivals */
	size_t interval_count;
	struct rtp_spans heard;
	struct rtp_spans stalls; /* between arrivals more than RTP_STALL_US apart */
	int16_t silence_peak;
};

/*
 * Count one packet from `from` at `now_us` whose decoded sound has the peak `peak` (0..32767). `expected` is the peer's address; a packet from any other
 * is counted as foreign and otherwise treated alike.
 */
void rtp_receiver_packet(struct rtp_receiver *receiver, const struct rtp_packet *packet, const struct sockaddr_storage *from,
	const struct sockaddr_storage *expected, int64_t now_us, int peak);

/* Free what it holds; legal on a zeroed struct. */
void rtp_receiver_free(struct rtp_receiver *receiver);

/* Packets that never came, over all streams. */
uint64_t rtp_receiver_lost(const struct rtp_receiver *receiver);

/* Largest jitter of the streams in ms. */
double rtp_receiver_jitter_ms(const struct rtp_receiver *receiver);

/* Interval between arrivals of rank `fraction` (0..1), in µs; 0 when there is none. Sorts a copy. */
uint32_t rtp_receiver_interval_us(const struct rtp_receiver *receiver, double fraction);

/* Longest stretch without sound between the first packet and `now_us`, in ms; 0 before any packet. */
int64_t rtp_receiver_longest_silence_ms(const struct rtp_receiver *receiver, int64_t now_us);

/* Note sound (or not) at `now_us`. Times go forward. */
void rtp_spans_note(struct rtp_spans *spans, bool sound, int64_t now_us);

/* Whether there is sound at `now_us`, hangover included; `*since_us` is then when it began. */
bool rtp_spans_active(const struct rtp_spans *spans, int64_t now_us, int64_t *since_us);

/* Same address and port. */
bool rtp_address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
