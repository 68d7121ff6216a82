/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every reason for which a packet, a record or a frame is not carried further. One list feeds the enum, the counters, telemetry and
 * doc/telemetry.md. Counted per lcore (writer: that lcore) and once for the control thread; readers sum.
 */
#pragma once

/* X(NAME, "name", "meaning") */
#define DROP_REASONS(X)                                                                                                  \
	X(ETH_SHORT, "eth_short", "frame shorter than an Ethernet header")                                               \
	X(ETH_NOT_OURS, "eth_not_ours", "destination MAC is not this port's")                                            \
	X(ETH_VLAN, "eth_vlan", "frame of another VLAN than listen.vlan, or with two tags")                              \
	X(ETH_TYPE, "eth_type", "an EtherType nobody here speaks")                                                       \
	X(IP_HEADER, "ip_header", "IPv4 or IPv6 header is malformed or its checksum is wrong")                           \
	X(IP_FRAGMENT, "ip_fragment", "IP fragment; RTP is never fragmented")                                            \
	X(IP_NOT_OURS, "ip_not_ours", "destination address is not ours")                                                 \
	X(IP_PROTO, "ip_proto", "neither UDP nor ping or neighbour discovery")                                           \
	X(UDP_HEADER, "udp_header", "UDP length does not fit the IP packet")                                             \
	X(UDP_CHECKSUM, "udp_checksum", "UDP checksum is wrong, as the port or we saw it")                               \
	X(UDP_PORT, "udp_port", "no media port of ours")                                                                 \
	X(NOT_RTP, "not_rtp", "first byte is neither RTP nor RTCP (RFC 7983)")                                           \
	X(RTP_HEADER, "rtp_header", "RTP header, CSRC list, extension or padding do not fit the packet (RFC 3550 5.1)")  \
	X(RTP_EMPTY, "rtp_empty", "RTP packet without payload")                                                          \
	X(RTP_TOO_LONG, "rtp_too_long", "RTP payload longer than a channel record carries")                              \
	X(RTCP_HEADER, "rtcp_header", "RTCP compound packet is malformed (RFC 3550 6.1, A.2)")                           \
	X(RTCP_UNKNOWN, "rtcp_unknown", "RTCP for no bound flow")                                                        \
	X(SOURCE_UNKNOWN, "source_unknown", "source address belongs to no trunk")                                        \
	X(TRUNK_RATE, "trunk_rate", "trunk sends more than its max_packets_per_second")                                  \
	X(NO_SESSION, "no_session", "source belongs to a trunk but no session expects it")                               \
	X(SSRC_WRONG_SOURCE, "ssrc_wrong_source", "SSRC is locked to a session whose bound source is another")           \
	X(INIT_AMBIGUOUS, "init_ambiguous", "several sessions could claim the packet, so nobody gets it")                \
	X(PROBATION, "probation", "a new source failed its probation (RFC 3550 A.1)")                                    \
	X(QUARANTINED, "quarantined", "binding or local port of a call that ended a moment ago")                         \
	X(PAYLOAD_TYPE, "payload_type", "payload type was not negotiated")                                               \
	X(LEARN_RATE, "learn_rate", "unknown flow over the per-source or total learning rate")                           \
	X(DISCOVERY_RATE, "discovery_rate", "ARP or neighbour discovery over the rate of one link address, or in total") \
	X(ECHO_RATE, "echo_rate", "ping over its rate")                                                                  \
	X(LEARN_FULL, "learn_full", "learning ring or pending packets full")                                             \
	X(STALE_GENERATION, "stale_generation", "session ended while its packet or record was on the way")               \
	X(HELD, "held", "caller audio while the call is on hold")                                                        \
	X(NO_WORKER, "no_worker", "session has no worker at the moment")                                                 \
	X(UPLINK_FULL, "uplink_full", "worker does not drain its ring")                                                  \
	X(FLOW_RATE, "flow_rate", "bound flow sends more than 200 packets a second")                                     \
	X(DUPLICATE, "duplicate", "RTP packet already delivered")                                                        \
	X(DOWN_CORRUPT, "down_corrupt", "worker broke its ring")                                                         \
	X(DOWN_SESSION, "down_session", "worker named a session that is not its own, or of another lcore")               \
	X(DOWN_RECORD, "down_record", "record type or length impossible in this direction")                              \
	X(DOWN_STALE_TURN, "down_stale_turn", "frame of a turn that was flushed")                                        \
	X(PLAYOUT_FULL, "playout_full", "worker sent further ahead than the playout queue holds")                        \
	X(PLAYOUT_FLUSHED, "playout_flushed", "frame dropped by a flush (barge-in)")                                     \
	X(TX_NO_BUFFER, "tx_no_buffer", "mempool empty when a frame was due")                                            \
	X(TX_FULL, "tx_full", "transmit queue of the port full")                                                         \
	X(TX_NO_NEIGHBOUR, "tx_no_neighbour", "beat without a packet: caller's port or next hop not known yet")          \
	X(CONTROL_FULL, "control_full", "ring to or from the control thread full")                                       \
	X(HANDOVER_FULL, "handover_full", "ring to the packet core that handles the flow full")                          \
	X(SEND_OVER_FULL, "send_over_full", "ring to the packet core that has the transmit queue full")

enum drop_reason {
	DROP_NONE = 0,
#define X(name, text, meaning) DROP_##name,
	DROP_REASONS(X)
#undef X
		DROP_COUNT
};

/* The reason's name as telemetry shows it; "none" for DROP_NONE, NULL out of range. Any thread. */
const char *drop_reason_name(enum drop_reason reason);

/* The reason's one-line meaning. Any thread. */
const char *drop_reason_meaning(enum drop_reason reason);
