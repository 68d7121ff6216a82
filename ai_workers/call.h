/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call in a worker: its session with the model, its audio both ways, its websocket. Everything a call needs hangs on its
 * struct, and every struct belongs to one call: there is nothing here through which one call's audio, key or text could reach
 * another.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include <uthash.h>

#include "../shared/channel.h"
#include "dataplane_link.h"
#include "downlink.h"
#include "dtmf.h"
#include "ending.h"
#include "gate.h"
#include "history.h"
#include "session.h"
#include "tool_ledger.h"
#include "turn.h"
#include "uplink.h"
#include "users.h"
#include "voice_activity.h"
#include "worker.h"
#include "wss.h"

#define CALL_MESSAGE_SAMPLES_MAX \
	(2 * UPLINK_MESSAGE_MS_MAX * UPLINK_SAMPLES_PER_MS + 256) /* 16 kHz, with what a resampler kept back */

/* What one side has said in this turn. */
struct call_transcript {
	char *text;
	size_t len, capacity;
};

/* A message on its way out. */
struct call_control {
	struct call_control *next;
	char *text;
};

/* See call_latency.h. 0: none. */
struct call_latency {
	uint64_t audio_tsc; /* when the message that began an answer could be read, until its first frame is handed over */
	uint64_t cut_tsc;   /* when `interrupted` could be, until its FLUSH is handed over */
};

struct call {
	UT_hash_handle hh; /* by uuid */
	struct worker *worker;
	struct user *user; /* held */
	char uuid[DATAPLANE_UUID_SIZE];
	uint32_t index, generation;
	unsigned int lcore;
	bool attached;		  /* the data plane knows this call */
	uint64_t orphan_until_ms; /* without a data plane: how long the session is kept */

	struct session session;
	struct gate_ticket ticket;   /* to dial */
	uint64_t gate_ms;	     /* when it asked */
	uint64_t credential_wait_ms; /* since when a dial waits for an access token, 0: it does not */
	uint64_t token_issued_ms;    /* of the token of this dial */
	bool token_retried;	     /* another one was asked for in this dial */
	struct wss_connection *connection;
	struct call_control *control;	       /* messages that go before audio, oldest first */
	uint64_t control_queued, control_sent; /* of them, so far; those dropped with a connection count as neither */
	uint64_t heard_ms;		       /* when the service was heard last, be it a pong */
	uint64_t taken_ms; /* when it last showed what it makes of the conversation, be it that the caller speaks */
	bool pinged;
	uint64_t urgent_ms; /* asked for a sign of life by a ping while an answer was owed, 0: not, or it came */
	bool reading;
	uint64_t write_asked_ms; /* writable() is awaited since then, 0: it is not */
	uint64_t dial_us;
	char address[INET6_ADDRSTRLEN]; /* dialled */
	unsigned int addresses_tried;
	bool caller_speaks;
	bool greeted;	   /* the user's greeting has been asked for */
	bool cut;	   /* the connection went in the middle of an answer */
	uint64_t gap_ms;   /* the caller's audio has nowhere to go since then, 0: it has */
	uint64_t kept_ms;  /* and is kept since then */
	bool again;	   /* of it some was said before, into a connection that took none of it */
	uint64_t again_ms; /* for the first time then, and no service has shown since that it heard it; 0: none */
	bool owed;	   /* when that began, the model owed an answer */

	struct uplink uplink;
	struct vl_resampler *up_resampler; /* NULL: 8 kHz go out as they are */
	struct downlink downlink;
	struct voice_activity voice; /* of the caller */
	struct turn turn;
	struct call_latency latency;

	struct tool_ledger tools; /* functions the model has called */
	struct ending ending;
	struct dtmf dtmf; /* keys of the caller */

	char reported[16]; /* state last said to the data plane */
	struct call_transcript caller_text, model_text;
	struct history history; /* of the whole call */
};

/* What wss.h calls back; the owner is a struct call. */
extern const struct wss_handler call_wss_handler;

/* Begin a call: dials when it is its turn (call_gate.h). Worker loop. Returns NULL when memory is short. */
struct call *call_create(struct worker *worker, const struct dataplane_open *open, struct user *user, uint64_t now_ms);

/* A data plane that was away offers the call again, perhaps under another index: go on with it. Worker loop. */
void call_attach(struct call *call, const struct dataplane_open *open, uint64_t now_ms);

/* The data plane is gone: keep the session for a while. Worker loop. */
void call_detach(struct call *call, uint64_t now_ms);

/* Hang up and free. Worker loop. */
void call_destroy(struct call *call, uint64_t now_ms);

/* One record of this call from the uplink ring. Worker loop. */
void call_record(struct call *call, const struct vl_record *record, const uint8_t *payload, uint64_t now_ms);

/*
 * Let time pass: deadlines, uplink, downlink. Worker loop, every few ms. The frames it reserves become visible with the caller's
 * vl_ring_publish().
 */
void call_tick(struct call *call, uint64_t now_ms);
