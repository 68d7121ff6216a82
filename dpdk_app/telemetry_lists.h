/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, units and meanings of what telemetry shows beyond drops.h, workers.h and worker_stats.h. The lists make the replies
 * and are checked against doc/telemetry.md. Pure.
 */
#pragma once

/* Counters of one packet lcore: X(field of struct lcore_counters, "unit", "meaning") */
#define TELEMETRY_LCORE_COUNTERS(X)                                                                                   \
	X(received, "packets", "frames received from the port")                                                       \
	X(handed_over, "packets", "of these, frames handed to the packet core that handles their flow")               \
	X(transmitted, "packets", "frames given to the port")                                                         \
	X(rtp, "packets", "RTP packets classified")                                                                   \
	X(rtcp, "packets", "RTCP packets classified")                                                                 \
	X(delivered, "packets", "RTP payloads published to a worker")                                                 \
	X(frames, "packets", "playout packets built")                                                                 \
	X(sent_over, "packets", "of these, packets handed to the packet core that transmits them")                    \
	X(late_beats, "beats", "20 ms beats more than 1 ms behind their time")                                        \
	X(skipped_beats, "beats",                                                                                     \
		"beats not sent because the core had stood still; the voice is sent later, nothing of it is dropped") \
	X(refused_records, "records", "records of workers refused: of no session of theirs, or impossible")           \
	X(busy_tsc, "cycles", "time in turns of the loop that found work")                                            \
	X(total_tsc, "cycles", "all time of the loop")

/* Histograms of one packet lcore: X(field of struct lcore_latency, "unit", "meaning") */
#define TELEMETRY_LCORE_HISTOGRAMS(X)                                                                                           \
	X(flush_to_silence_us, "us", "`interrupted` at the worker to the flush, behind which nothing of the old turn is sent")  \
	X(message_to_rtp_us, "us", "an answer's first audio message at the worker to its first RTP packet, prebuffer included") \
	X(beat_error_us, "us", "distance of a playout packet from its ideal time")

/* Counters of the control thread: X(field of struct control_counters, "unit", "meaning") */
#define TELEMETRY_CONTROL_COUNTERS(X)                                                        \
	X(learned, "packets", "packets of unknown flows taken from the lcores")              \
	X(local, "frames", "ARP, neighbour discovery and ping frames taken from the lcores") \
	X(locks, "flows", "flows bound to calls, re-locks included")                         \
	X(kept, "packets", "packets kept with a flow in probation")                          \
	X(turns, "turns", "turns of the control loop")                                       \
	X(longest_turn_us, "us", "longest turn of the control loop so far")                  \
	X(calls_over_limit, "calls", "calls not begun because their project had as many as it may have")
