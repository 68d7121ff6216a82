/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: a UNIX stream server that speaks JSON-RPC 2.0 to voxlanectl, SIP servers and applications, and sends
 * notifications to those that subscribed. Without DPDK. Everything here is called by one thread, the control thread, and never
 * waits: the owner puts control_socket_fd() into its epoll set and calls control_socket_poll() when it is readable.
 *
 * Requests of one client are answered in order. A client that does not read its answers is not asked for more requests; one that
 * subscribed and lets its output grow past CONTROL_SOCKET_OUTPUT_MAX is cut off and counted, so a sleeping subscriber costs a
 * bounded amount of memory.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "../shared/json_rpc.h"

#define CONTROL_SOCKET_CLIENTS_MAX 64u
#define CONTROL_SOCKET_OUTPUT_MAX  (1024u * 1024u) /* bytes one client may leave unread */
#define CONTROL_SOCKET_EVENTS_MAX  64u

struct control_socket;

/*
 * One method. `params` is an object, a list or NULL: give it to vl_json_rpc_params() with the method's table, or to
 * vl_json_rpc_no_params(). Return 0 and set *result (a new tree; NULL means true), or negative with the error filled by
 * vl_json_rpc_fail(). A handler may call control_socket_notify(), never control_socket_poll() or _close().
 */
struct control_socket_method {
	const char *name; /* NULL ends the table. "events.subscribe" and "events.unsubscribe" are the socket's own */
	int (*handler)(void *context, const cJSON *params, cJSON **result, struct vl_json_rpc_error *error);
};

struct control_socket_counts {
	uint32_t clients;	/* connected now */
	uint64_t accepted;	/* connections since start */
	uint64_t refused;	/* turned away: CONTROL_SOCKET_CLIENTS_MAX are connected, or no descriptor is left */
	uint64_t broken;	/* cut off because they did not speak JSON */
	uint64_t slow;		/* cut off because they did not read */
	uint64_t requests;	/* values received: requests, notifications, batches */
	uint64_t notifications; /* handed to a client */
};

/*
 * Listen at `path` with `mode` (0660: owner and group may do everything). A socket file nobody listens on is replaced; one in use
 * is -EADDRINUSE; a file that is no socket is -EEXIST. `methods` and `events` (names of notifications, ends with NULL, at most
 * CONTROL_SOCKET_EVENTS_MAX) outlive the socket; `context` goes to the handlers. Control thread. Returns 0 and sets *control, or
 * -errno with the error set.
 */
int control_socket_open(const char *path, mode_t mode, const struct control_socket_method *methods, const char *const *events,
	void *context, struct control_socket **control, struct vl_error *error);

/* Close every connection and remove the socket file, if it is still ours. Control thread. NULL is legal. */
void control_socket_close(struct control_socket *control);

/* A descriptor that is readable when control_socket_poll() has work; for epoll, level-triggered. Control thread. */
int control_socket_fd(const struct control_socket *control);

/* Accept, read, call handlers, write; never waits. Control thread. */
void control_socket_poll(struct control_socket *control);

/*
 * Send a notification {"jsonrpc", "method": event, "params"} to every client that subscribed to it. `event` is one of the names
 * given at open. `params` stays the caller's. Cheap when nobody subscribed. Control thread.
 */
void control_socket_notify(struct control_socket *control, const char *event, const cJSON *params);

/* Whether anybody subscribed to `event`: to spare building params. Control thread. */
bool control_socket_wanted(const struct control_socket *control, const char *event);

/* Counters, for telemetry. Control thread. */
void control_socket_count(const struct control_socket *control, struct control_socket_counts *counts);
