/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One whole call of a worker in virtual time: the product's own call*.c with everything pure below it, on a websocket whose service
 * misbehaves as the emulator can (tests/emulator/README.md), on a real channel to the data plane's real playout. Every 20 ms of the model's
 * voice carry the number of the turn they are of. The rules are checked while it runs; a run is drawn from its number alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ai_workers/call.h"
#include "dpdk_app/playout.h"

/* What can be wrong with the service, the network or the platform in a run. */
/* clang-format off */
#define CALL_FAULTS(X) \
	X(DNS, "no address") \
	X(UNREACHABLE, "refused, reset or a bad certificate") \
	X(HANG, "a dial that hangs") \
	X(HTTP, "refused upgrades") \
	X(HTTP_429, "429 at the upgrade") \
	X(NO_SETUP, "no setupComplete") \
	X(LATE, "late setup") \
	X(CLOSE, "closes") \
	X(FATAL, "closes without return") \
	X(QUOTA, "quota closes") \
	X(REFUSE_RESUME, "refused resumes") \
	X(HALF_OPEN, "half-open sockets") \
	X(FREEZE, "frozen and deaf sessions") \
	X(RESET, "resets") \
	X(ERROR, "errors in messages") \
	X(SLOW, "slow audio") \
	X(STALL, "stalled audio") \
	X(TINY, "2-byte and odd chunks") \
	X(NOISE, "noise and garbage") \
	X(LATE_PONG, "late pongs") \
	X(PHANTOM, "phantom interruptions") \
	X(EMPTY_TURN, "empty turns") \
	X(TOOL_CANCEL, "cancelled tools") \
	X(TOOL_SILENT, "a platform that does not answer") \
	X(TOOL_TWICE, "results twice") \
	X(GO_AWAY, "goAway") \
	X(LATE_AUDIO, "audio behind interrupted") \
	X(NO_VOICE, "callers not heard") \
	X(FULL, "full sockets") \
	X(NO_HANDLE, "not resumable") \
	X(NO_ECHO, "closes without echo")
/* clang-format on */

#define X(name, text) FAULT_##name,
enum call_fault { CALL_FAULTS(X) FAULTS };
#undef X
extern const char *const call_fault_names[FAULTS];

#define WORLD_TOOLS 64u
#define WORLD_TURNS 100u /* codes that tell turns apart */
#define WORLD_SAID  512u
#define NEVER	    UINT64_MAX

enum link_state { LINK_NONE, LINK_DIALLING, LINK_OPEN, LINK_SETUP, LINK_READY, LINK_CLOSING };

/* A function the service has asked for. */
struct world_tool {
	uint32_t conversation, sends, connection; /* of the last answer */
	uint64_t sent_ms, result_ms;		  /* NEVER: none comes */
	bool asked, received, confirmed, cancelled, lost, twice;
	bool wrong; /* no such function was declared: the worker says so itself */
	bool told;  /* a new session has learned its result from what it was told of the conversation */
};

/* What the model says, as the service knows it. */
struct world_answer {
	uint32_t turn, bytes_left;
	uint64_t next_ms, heard_ms; /* NEVER; heard_ms: when all of it has been played, as the service believes */
	bool speaks, stalled;
};

/* A message of the caller's voice: a sound that there is only once. */
struct world_said {
	uint64_t print, ms;
	uint32_t connection;
	bool heard; /* and the service has shown it */
};

struct call_world {
	struct worker worker;
	struct users users;
	struct user user;
	struct tool tool;
	struct call *call;
	uint64_t now_ms, random;
	uint32_t tick_ms;
	uint32_t faults; /* bits of enum call_fault */
	bool trace, healed;
	const char *finding;

	/* The socket. */
	enum link_state link;
	uint32_t connections, phase;
	bool reading, write_wanted;
	bool dead, frozen, deaf; /* half open; and TCP acknowledges; and pings are answered */
	uint64_t next_ms, gone_ms, pong_ms, full_ms, no_address_ms;
	uint64_t life_ms, reset_ms, quota_ms, error_ms, half_open_ms, freeze_ms, dead_ms, go_away_ms, phantom_ms, noise_ms,
		handle_ms, late_audio_ms, over_ms;

	/* The service. */
	uint32_t conversation, conversations, handles, locked;
	uint64_t locked_ms, voice_ms, hears_ms, answer_ms;
	struct world_said said[WORLD_SAID];
	uint32_t said_next;
	uint64_t
		discarded_ms; /* of the caller, when the connection died: more, and what must be said again may have been of it */
	uint64_t again, again_ms;  /* what must be said again, 0: nothing; by when, NEVER: not yet, nobody could have heard it */
	uint64_t said_ms, done_ms; /* newest voice of the caller that was not said in a gap; newest answer given whole, 0: none */
	bool hears;
	struct world_answer answer;
	uint32_t turns, delivered,
		cut; /* turns begun; newest of which audio was delivered; newest that must not be heard any more */
	struct world_tool tools[WORLD_TOOLS];
	uint32_t tool_count;

	/* Data plane and caller. */
	struct vl_channel *plane;
	struct session_playout playout;
	uint16_t expected_seq, up_seq;
	uint32_t expected_timestamp, heard_turn, up_timestamp;
	bool sends_silence, failed_reported, probed;
	uint64_t speaks_from_ms, speaks_to_ms, out_ms, mended_ms;
	uint32_t probe_turn;
	uint64_t again_said;
	uint64_t dials, ready, beats, frames, flushes, tools_answered, interruptions;
};

/* One draw below `below`. */
uint32_t world_draw(struct call_world *world, uint32_t below);
bool world_has(const struct call_world *world, enum call_fault fault);
void world_find(struct call_world *world, const char *what);
void world_trace(const struct call_world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The code that stands for a turn's voice. */
uint8_t world_code(uint32_t turn);

/* The service's and the socket's next moment. */
void service_run(struct call_world *world);
/* Nothing is wrong any more from here on. */
void service_heal(struct call_world *world);
/* The platform is told. */
void service_platform(struct call_world *world);

/* The call that the fakes of wss.h, endpoint.h and dataplane_link.h belong to. */
extern struct call_world *world_now;

/* Draw run `seed` with `faults`; the channel is the same for all runs. */
void call_world_begin(struct call_world *world, uint64_t seed, uint32_t faults, bool trace);
/* Let one tick pass. Returns whether the call goes on. */
bool call_world_step(struct call_world *world);
/* Whether the call has shown, after the service was mended, that it talks and owes nothing. */
bool call_world_talks(struct call_world *world);
void call_world_end(struct call_world *world);
