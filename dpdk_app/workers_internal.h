/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the workers' socket share: workers.c (slots, turns, calls), worker_accept.c (who may connect), worker_hello.c
 * (becoming a worker), worker_receive.c (messages of attached ones). Control thread only.
 */
#pragma once

#include "workers.h"

#define WORKER_CONNECTS	  128u /* of one account at once: every slot twice */
#define WORKER_CONNECTS_S 4u   /* and a second after that */
#define WORKER_PACES	  64u  /* accounts remembered */

/* How often an account connected lately. */
struct worker_pace {
	bool used;
	uid_t uid;
	uint32_t tokens;
	uint64_t refilled_ms;
};

struct workers {
	struct worker_pace paces[WORKER_PACES];
	uint64_t turned_away;
	struct workers_settings settings;
	char *path;
	struct calls *calls;
	struct project *projects; /* that workers name or calls count for */
	struct workers_ops ops;
	void *context;
	int listener, epoll;
	int spare; /* given up for a moment to turn a worker away when the process is out of descriptors */
	struct worker workers[WORKERS_SLOTS];
	char message[VL_LINK_MESSAGE_MAX + 1];
};

/* Accept whoever waits at the listener and may be a worker, into free slots. */
void worker_accept(struct workers *workers, uint64_t now_ms);

/* Tell a peer that never became a worker why. The caller closes the link. */
void worker_refuse(int link, const char *reason);

/* The account's entry in workers.shards; NULL for an account that may serve every user. */
const struct config_shard *worker_shard(const struct workers *workers, uid_t uid);

/* A checked hello: attach the worker, or refuse and doom it. */
void worker_take_hello(struct workers *workers, unsigned int slot, const cJSON *body);

/* A checked list of more users; one that the account may not serve dooms the worker. */
void worker_take_users(struct workers *workers, unsigned int slot, const cJSON *body);

/* Forget the users of a worker that leaves. */
void worker_drop_users(struct workers *workers, struct worker *worker);

/* Read the messages that wait on a worker's link, a bounded number, and act on them. */
void worker_receive(struct workers *workers, unsigned int slot, uint64_t now_ms);
