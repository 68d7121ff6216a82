/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One worker process: its options, its loop, and what every call in it shares.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "../shared/channel.h"
#include "../shared/worker_stats.h"
#include "dataplane_link.h"
#include "endpoint.h"
#include "gate.h"
#include "users.h"
#include "wss.h"

struct call;

struct worker_options {
	const char *dataplane; /* socket path */
	const char *name;
	const char *users_path;	   /* read again for SIGHUP */
	struct master_key *master; /* for sealed keys, or NULL */
	unsigned int message_ms;   /* of one uplink message */
	unsigned int uplink_rate;  /* Hz towards the model: 16000 or 8000 */
	unsigned int capacity;	   /* calls */
};

/* Owner: main(). Used by the loop only. */
struct worker {
	struct worker_options options;
	uv_loop_t loop;
	uv_timer_t tick, shutdown;
	uv_signal_t sigterm, sigint, sighup;
	uv_prepare_t turn;
	uv_poll_t *doorbell; /* freed by its close callback */
	int doorbell_fd;
	struct users *users; /* of new calls */
	struct endpoint *endpoint;
	struct gate gate;    /* who may dial */
	uint64_t dialled_ms; /* last time somebody did */
	struct wss *wss;
	struct token_source *tokens; /* with Vertex AI */
	struct dataplane_link *link;
	struct vl_channel channel; /* zeroed while there is no data plane */
	uint64_t tsc_hz;
	struct call *calls;	/* every call, by UUID */
	struct call **by_index; /* calls of this data plane by session index */
	size_t by_index_count;
	unsigned int call_count;
	bool ticking, stopping;
	uint64_t turn_tsc;	    /* the loop's present turn began, 0: none yet */
	uint64_t turn_ns, slept_ns; /* when the loop's present turn began; what polls had slept by then */
	uint64_t cpu_us;	    /* what the thread had computed by then */
	uint64_t turn_cpu_us;	    /* in the turn before */
	uint64_t ticked_us;	    /* last tick, 0: none yet */
	uint64_t published_ms;
	struct vl_worker_stats stats;  /* our own; copied to the channel's page now and then */
	struct dataplane_user *served; /* the users, for the link */
	char *message;		       /* one outgoing message, wss_headroom() in front of it */
};

/*
 * Set up and take `users` over, whatever the result; `options.master` and the strings of `options` live as long as the worker. Main.
 * Returns 0 or -errno with a logged reason; worker_stop() is legal either way.
 */
int worker_start(struct worker *worker, const struct worker_options *options, struct users *users);

/* Run until SIGTERM or SIGINT, then say goodbye to the service on every socket. Main. */
void worker_run(struct worker *worker);

/* Free everything. Main. Returns false when a thread still waits for a name server: then only _exit() does not wait with it. */
bool worker_stop(struct worker *worker);
