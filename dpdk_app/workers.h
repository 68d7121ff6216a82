/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers' socket: who is connected, which users they serve, their channels, and the messages of doc/interfaces.md both
 * ways. What a message means for a call is decided behind struct workers_ops (worker_calls.c), so this module needs neither
 * lcores nor DPDK. Control thread only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cjson/cJSON.h>
#include <uthash.h>

#include "../shared/channel.h"
#include "../shared/link.h"
#include "calls.h"
#include "config.h"
#include "projects.h"

#define WORKERS_SLOTS		 64u  /* same value as WORKERS_MAX of lcore.h */
#define WORKERS_SOCKET_MODE	 0666 /* who may attach is decided by the peer's credentials, not by the file */
#define WORKER_NAME_SIZE	 33
#define WORKER_REASON_SIZE	 160
#define WORKER_USERS_MAX	 65536u
#define WORKER_CAPACITY_MAX	 1000000
#define WORKERS_HELLO_MS	 5000u /* a peer that has not said hello by then is cut off */
#define WORKERS_PING_MS		 1000u
#define WORKERS_BACKLOG_MESSAGES 8192u /* kept for a worker that does not read; beyond it is cut off */
#define WORKERS_BACKLOG_BYTES	 (4u << 20)

enum worker_state {
	WORKER_FREE,
	WORKER_NEW,	 /* connected, no hello yet */
	WORKER_ATTACHED, /* welcome sent, lcores use its channel */
	WORKER_LEAVING,	 /* link closed; lcores may still use its channel */
};

/* X(name, "unit", "meaning") */
#define WORKER_LINK_COUNTERS(X)                                                                        \
	X(messages_in, "messages", "messages the worker sent on its link")                             \
	X(messages_out, "messages", "messages sent to the worker")                                     \
	X(messages_refused, "messages", "messages that were malformed or of an unknown kind")          \
	X(messages_foreign, "messages", "messages that named a session which is not this worker's")    \
	X(doorbells, "wake-ups", "times the worker was woken because caller audio waited in its ring") \
	X(calls_opened, "calls", "calls given to the worker since it attached")

struct worker_user {
	char name[CALL_USER_SIZE];
	struct project *project; /* held; NULL: none */
	uint32_t max_calls;	 /* of the project as this worker says, 0: no limit */
	UT_hash_handle hh;
};

struct worker_message; /* one kept for a worker that does not read */

struct worker {
	enum worker_state state;
	int link, doorbell;
	struct vl_link_peer peer;
	char name[WORKER_NAME_SIZE];
	uint32_t capacity, calls; /* calls: opened and not closed */
	uint32_t user_count;
	struct worker_user *users;
	uint64_t connected_ms, heard_ms, pinged_ms;
	uint64_t ping_number;
	char doomed[WORKER_REASON_SIZE]; /* why it will be cut off at the end of this turn, "" if not */
	struct vl_channel channel;
	struct worker_message *backlog;
	uint32_t backlog_count;
	size_t backlog_bytes;
#define X(name, unit, meaning) uint64_t name;
	WORKER_LINK_COUNTERS(X)
#undef X
};

/* What the module asks from, and tells, the rest of the control thread. All are called by workers_run() only. */
struct workers_ops {
	/* Let every lcore use the worker's channel. Returns 0 or -errno; after an error detach is still called. */
	int (*attach)(void *context, unsigned int slot, struct vl_channel *channel);
	/*
	 * Take the channel from every lcore; called in every turn until it returns true: no lcore can touch the channel any
	 * more.
	 */
	bool (*detach)(void *context, unsigned int slot);
	/* The worker can take calls: it attached, or serves more users than before. */
	void (*ready)(void *context, unsigned int slot, bool first);
	/* The worker is gone or was cut off; its calls must not name it any more when this returns. */
	void (*lost)(void *context, unsigned int slot, const char *name, const char *reason);
	/*
	 * Messages about a call that is this worker's own. `message` is the object that the message's one member holds, already
	 * checked.
	 */
	void (*state)(void *context, struct call *call, const cJSON *message);
	void (*transcript)(void *context, struct call *call, const cJSON *message);
	void (*event)(void *context, struct call *call, const cJSON *message);
	/* The worker wants its call ended; the call may be gone when this returns. */
	void (*end)(void *context, struct call *call, const cJSON *message);
	/* The worker wants keys sent to the caller. */
	void (*dtmf)(void *context, struct call *call, const cJSON *message);
};

struct workers_settings {
	const char *path; /* of the socket */
	mode_t mode;
	const uint32_t *uids; /* accepted besides our own and root; outlives the module */
	size_t uid_count;
	const struct config_shard *shards; /* accounts, accepted too, that serve only some users; outlives the module */
	size_t shard_count;
	uint32_t timeout_ms; /* silence after which a worker is cut off */
	uint32_t ring_slots;
	unsigned int lcores;
	unsigned int max; /* workers at once, up to WORKERS_SLOTS */
	const char *node;
	uint64_t tsc_hz;
};

struct workers;

/*
 * Listen. `calls` finds the call a message names; both outlive the module, and so does `context`. Returns NULL with errno (see
 * vl_link_listen()).
 */
struct workers *workers_new(
	const struct workers_settings *settings, struct calls *calls, const struct workers_ops *ops, void *context);

/* Close every link, unmap every channel, remove the socket. Only when no lcore runs and no call is ended any more. NULL is legal. */
void workers_free(struct workers *workers);

/*
 * Readable when workers_run() has something to do at once; it also wants to be called every millisecond while a worker is
 * attached.
 */
int workers_fd(const struct workers *workers);

/* One turn: accept, read, answer, ping, ring doorbells, cut off, finish leaving. Never blocks. */
void workers_run(struct workers *workers, uint64_t now_ms);

/*
 * The attached worker with the most room among those that serve the user. Returns its slot, -ENOENT (nobody serves the user) or
 * -EBUSY (all full).
 */
int workers_choose(const struct workers *workers, const char *user);

/* A limit that a new call would exceed. */
struct workers_limit {
	const struct project *project;
	uint32_t max_calls;
};

/*
 * Whether the user's project has as many calls as it may have, counted over all workers of the account; `slot` is what
 * workers_choose() named. When workers of one account disagree the smallest limit holds. Counts a refusal. Returns true with
 * *limit.
 */
bool workers_limited(struct workers *workers, unsigned int slot, const char *user, struct workers_limit *limit);

/* The call is over: its project has one less. A call without project is legal. */
void workers_forget(struct workers *workers, struct call *call);

/*
 * Give a call to a worker that workers_choose() named, or take it away; tell it about hold and whether the voice is heard. A worker that does not read is cut
 * off in the next turn. The call counts for the user's project from workers_open() to workers_forget().
 */
void workers_open(struct workers *workers, unsigned int slot, struct call *call);
void workers_close(struct workers *workers, unsigned int slot, const struct call *call, const char *reason);
void workers_hold(struct workers *workers, unsigned int slot, const struct call *call);
void workers_listening(struct workers *workers, unsigned int slot, const struct call *call);

/* Tell a call's worker that nothing of the voice is played for so long. */
void workers_pause(struct workers *workers, unsigned int slot, const struct call *call, uint32_t ms);

/* Tell a call's worker what a function came to: an object, or `error` when `result` is NULL. */
void workers_tool_result(struct workers *workers, unsigned int slot, const struct call *call, const char *id, const cJSON *result,
	const char *error);

/* Have a worker cut off in the next turn, with a sentence for the log. Nothing happens for a slot without one. */
void workers_cut_off(struct workers *workers, unsigned int slot, const char *reason);

/* The worker in a slot, NULL when there is none attached. Valid until workers_run(). */
const struct worker *workers_at(const struct workers *workers, unsigned int slot);

/* Slots in use in any way, for leak checks and the adaptive tick. */
unsigned int workers_count(const struct workers *workers);

/* Connections refused because their account connects too often. */
uint64_t workers_turned_away(const struct workers *workers);

/* Workers attached now. */
unsigned int workers_attached(const struct workers *workers);

/* Users that at least one attached worker serves are not counted twice. For error messages. */
unsigned int workers_user_count(const struct workers *workers);
