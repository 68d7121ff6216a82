/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker publishes about itself in its channel's statistics page. One list feeds the struct, telemetry and doc/telemetry.md. Writer: the worker loop.
 * Readers: the data plane's telemetry, which treats every value as an untrusted number.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "histogram.h"

/* X(name, "unit", "meaning") */
#define VL_WORKER_COUNTERS(X)                                                                                    \
	X(calls, "calls", "calls the worker holds now")                                                          \
	X(sockets_open, "sockets", "Gemini websockets open now")                                                 \
	X(sockets_opened, "sockets", "Gemini websockets opened since start")                                     \
	X(sockets_failed, "sockets", "dials and sessions that ended with an error")                              \
	X(up_packets, "packets", "RTP payloads taken from the uplink rings")                                     \
	X(up_lost, "packets", "gaps in the caller's RTP sequence that were concealed")                           \
	X(up_late, "packets", "RTP payloads that came too late to be put in order")                              \
	X(up_unwanted, "packets", "payloads of unknown sessions or payload types")                               \
	X(up_discarded_ms, "ms", "caller audio dropped because no session to the model was open")                \
	X(messages_out, "messages", "websocket messages sent")                                                   \
	X(messages_in, "messages", "websocket messages received")                                                \
	X(bytes_out, "bytes", "websocket payload sent")                                                          \
	X(bytes_in, "bytes", "websocket payload received")                                                       \
	X(down_frames, "frames", "20 ms frames handed to the data plane")                                        \
	X(down_ring_full, "frames", "frames kept back because the downlink ring was full")                       \
	X(down_discarded_ms, "ms", "model audio dropped by barge-in")                                            \
	X(down_underruns, "count", "times the model's audio ran dry within a turn")                              \
	X(turns, "turns", "turns the model completed")                                                           \
	X(interruptions, "turns", "turns the caller interrupted")                                                \
	X(phantoms, "count", "interruptions although no caller was heard")                                       \
	X(reminders, "messages", "requests to go on after such an interruption")                                 \
	X(unanswered, "questions", "given up: the model stayed mute through a reminder and two new connections") \
	X(local_pauses, "count", "times the caller's voice stopped the model, by our detection")                 \
	X(local_undone, "count", "of them, taken back because the service did not agree")                        \
	X(messages_bad, "messages", "messages from the model that could not be understood")                      \
	X(loop_longest_us, "us", "longest turn of the event loop so far, without its sleep")                     \
	X(ticks, "ticks", "times the loop moved the audio of its calls, every 5 or 10 ms while there are any")   \
	X(ticks_late, "ticks", "of them more than 5 ms behind their time")                                       \
	X(dials_waiting, "calls", "calls that wait for their turn to dial now")                                  \
	X(dials_refused, "calls", "calls not dialled because their key or project was refused a moment ago")     \
	X(quota_refusals, "sessions", "connections that the service refused or closed for quota")                \
	X(tokens_failed, "requests", "for an access token that failed")                                          \
	X(accounts_failing, "accounts", "service accounts whose newest request for an access token failed")      \
	X(handles, "handles", "sockets, timers and signals that the event loop watches now")

/* X(name, "unit", "meaning") */
#define VL_WORKER_HISTOGRAMS(X)                                                                                  \
	X(rtp_to_websocket_us, "us", "arrival of a message's last RTP packet to its websocket write")            \
	X(message_to_ring_us, "us",                                                                              \
		"an answer's first audio message to its first frame in the downlink ring, prebuffer included")   \
	X(response_ms, "ms", "end of the caller's speech to the first frame of the answer handed over")          \
	X(dial_us, "us", "start of the dial to setupComplete")                                                   \
	X(turn_to_dial_us, "us", "wish to dial to its turn")                                                     \
	X(loop_turn_us, "us", "turns of the event loop, without their sleep")                                    \
	X(loop_cpu_us, "us", "what the loop computed in a turn; the rest of the turn the system gave to others") \
	X(gap_ms, "ms", "no session for the caller's audio: the end of one to the next one's setupComplete")

struct vl_worker_stats {
#define X(name, unit, meaning) _Atomic uint64_t name;
	VL_WORKER_COUNTERS(X)
#undef X
#define X(name, unit, meaning) struct vl_histogram name;
	VL_WORKER_HISTOGRAMS(X)
#undef X
};
