/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault that Voxlane exists to end, behind the interface of binding.h: packets are matched to sessions by source address
 * alone, so the last session of an address gets every stream from there and its remote port flips. Linked into the test
 * executable voxlane-dataplane-ip-only in the place of the real rules, so that the tests that look for crossed calls are seen
 * to find them. Never installed.
 */
#include "dpdk_app/binding.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct naive_session {
	bool used, bound, ever_bound;
	uint32_t generation;
	uint64_t opened; /* order */
	struct endpoint local, remote;
	struct flow_key flow;
};

struct binding {
	uint32_t max_sessions;
	uint64_t opened;
	struct naive_session *sessions;
	struct binding_counts counts;
};

struct binding *binding_new(const struct binding_limits *limits)
{
	struct binding *binding = calloc(1, sizeof(*binding));

	if (binding == NULL)
		return NULL;
	binding->max_sessions = limits->max_sessions;
	binding->sessions = calloc(limits->max_sessions, sizeof(*binding->sessions));
	if (binding->sessions == NULL) {
		free(binding);
		return NULL;
	}
	return binding;
}

void binding_free(struct binding *binding)
{
	if (binding != NULL)
		free(binding->sessions);
	free(binding);
}

int binding_open(struct binding *binding, struct session_ref ref, const struct binding_session *session, uint64_t now_ms,
	struct binding_verdict *verdict)
{
	(void)now_ms;
	*verdict = (struct binding_verdict){.action = BINDING_WAIT, .session = ref};
	if (ref.index >= binding->max_sessions || binding->sessions[ref.index].used)
		return -EEXIST;
	binding->sessions[ref.index] = (struct naive_session){.used = true,
		.generation = ref.generation,
		.opened = ++binding->opened,
		.local = session->local,
		.remote = session->remote};
	binding->counts.sessions++;
	return 0;
}

int binding_move(struct binding *binding, struct session_ref ref, const struct endpoint *remote, bool port_unknown,
	uint64_t now_ms, struct binding_verdict *verdict)
{
	(void)port_unknown;
	(void)now_ms;
	*verdict = (struct binding_verdict){.action = BINDING_WAIT, .session = ref};
	binding->sessions[ref.index].remote = *remote;
	return 0;
}

bool binding_close(struct binding *binding, struct session_ref ref, uint64_t now_ms, struct flow_key *unbound)
{
	struct naive_session *session = &binding->sessions[ref.index];
	bool was_bound = session->bound;

	(void)now_ms;
	*unbound = session->flow;
	if (session->used)
		binding->counts.sessions--;
	if (was_bound)
		binding->counts.bound--;
	*session = (struct naive_session){0};
	return was_bound;
}

void binding_packet(
	struct binding *binding, const struct binding_packet *packet, uint64_t now_ms, struct binding_verdict *verdict)
{
	struct naive_session *found = NULL;

	(void)now_ms;
	for (uint32_t i = 0; i < binding->max_sessions; i++) {
		struct naive_session *session = &binding->sessions[i];

		if (session->used && memcmp(&session->remote.address, &packet->key.remote, sizeof(packet->key.remote)) == 0 &&
			(found == NULL || session->opened > found->opened))
			found = session;
	}
	*verdict = (struct binding_verdict){.action = BINDING_DROP, .reason = DROP_NO_SESSION};
	if (found == NULL || packet->rtcp)
		return;
	verdict->session = (struct session_ref){(uint32_t)(found - binding->sessions), found->generation};
	if (found->bound && memcmp(&found->flow, &packet->key, sizeof(packet->key)) == 0) {
		verdict->action = BINDING_DELIVER;
		return;
	}
	verdict->action = BINDING_BIND;
	verdict->bound = packet->key;
	verdict->first = !found->ever_bound;
	verdict->moved = found->bound;
	verdict->unbound = found->flow;
	verdict->address_switch = found->bound && found->flow.remote_port != packet->key.remote_port;
	binding->counts.bound += !found->bound;
	found->bound = found->ever_bound = true;
	found->flow = packet->key;
}

void binding_expire(struct binding *binding, uint64_t now_ms)
{
	(void)binding;
	(void)now_ms;
}

bool binding_local_port_free(const struct binding *binding, const struct endpoint *local, uint64_t now_ms)
{
	(void)now_ms;
	for (uint32_t i = 0; i < binding->max_sessions; i++)
		if (binding->sessions[i].used && binding->sessions[i].local.port == local->port)
			return false;
	return true;
}

void binding_count(const struct binding *binding, struct binding_counts *counts)
{
	*counts = binding->counts;
}
