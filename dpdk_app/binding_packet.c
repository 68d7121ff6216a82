/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binding: which call, if any, one packet of an unknown flow belongs to. The order of the questions is the order of
 * doc/binding.md's table; each is one hash lookup, whatever the number of sessions. When two answers are possible nobody gets
 * the packet.
 */
#include "binding.h"

#include "binding_state.h"

#define PAYLOAD_TYPE_CN 13u /* RFC 3389, static */

static bool payload_type_fits(const struct binding_session *session, uint8_t payload_type)
{
	return payload_type == session->payload_type || payload_type == PAYLOAD_TYPE_CN ||
	       (session->event_payload_type != 0 && payload_type == session->event_payload_type);
}

/* Refused because of a quarantine: a live owner moved away or changed its SSRC, a dead one is what quarantine is for. */
static enum drop_reason quarantine_reason(const struct binding *binding, const struct binding_node *node)
{
	const struct binding_entry *owner = &binding->entries[node->owner.index];

	return owner->used && owner->generation == node->owner.generation ? DROP_SSRC_WRONG_SOURCE : DROP_QUARANTINED;
}

static void drop(struct binding_verdict *verdict, enum drop_reason reason)
{
	*verdict = (struct binding_verdict){.action = BINDING_DROP, .reason = reason};
}

/* Nobody gets the packet. A flow still in quarantine is said to be so, whatever else is wrong with it. */
static void drop_flow(struct binding *binding, const struct flow_key *key, enum drop_reason reason, uint64_t now_ms,
	struct binding_verdict *verdict)
{
	const struct binding_node *node = binding_quarantine_find(&binding->quarantine, BINDING_KIND_FLOW, key, now_ms);

	if (node != NULL)
		reason = quarantine_reason(binding, node);
	else if (reason == DROP_INIT_AMBIGUOUS)
		binding->counts.ambiguous++;
	drop(verdict, reason);
}

/* Whether this part of the key is refused to the session; the verdict says why. */
static bool refused(const struct binding *binding, enum binding_kind kind, const struct flow_key *key,
	const struct binding_entry *entry, uint64_t now_ms, struct binding_verdict *verdict)
{
	const struct binding_node *node;

	if (!binding_quarantine_refuses(&binding->quarantine, kind, key, binding_ref(binding, entry), now_ms))
		return false;
	node = binding_quarantine_find(&binding->quarantine, kind, key, now_ms);
	drop(verdict, quarantine_reason(binding, node));
	return true;
}

static void bind_now(struct binding *binding, struct binding_entry *entry, const struct flow_key *key, uint64_t now_ms,
	struct binding_verdict *verdict)
{
	if (!binding_give(binding, entry, key, now_ms, verdict))
		drop(verdict, DROP_LEARN_FULL);
}

/* A bound session's own stream still comes: no other may replace it. */
static bool still_heard(const struct binding *binding, const struct binding_entry *entry, uint64_t now_ms)
{
	uint64_t heard_ms;

	if (!entry->bound || binding->limits.last_heard_ms == NULL)
		return false;
	heard_ms = binding->limits.last_heard_ms(binding->limits.context, binding_ref(binding, entry));
	return heard_ms != 0 && now_ms < heard_ms + BINDING_QUIET_MS;
}

static void on_trial(struct binding *binding, struct binding_entry *entry, const struct binding_packet *packet, uint64_t now_ms,
	struct binding_verdict *verdict)
{
	switch (binding_trial_packet(binding, entry, packet, now_ms)) {
	case BINDING_TRIAL_GOES_ON:
		*verdict = (struct binding_verdict){.action = BINDING_WAIT, .session = binding_ref(binding, entry)};
		break;
	case BINDING_TRIAL_PASSED:
		if (still_heard(binding, entry, now_ms))
			drop(verdict, DROP_PROBATION);
		else
			bind_now(binding, entry, &packet->key, now_ms, verdict);
		break;
	case BINDING_TRIAL_CONTESTED:
		binding->counts.ambiguous++;
		drop(verdict, DROP_INIT_AMBIGUOUS);
		break;
	case BINDING_TRIAL_FULL:
		drop(verdict, DROP_LEARN_FULL);
		break;
	}
}

/* RTCP follows the flow it reports on: the same source and SSRC on the same port (RFC 5761) or on the next one (RFC 3550 11). */
static void decide_rtcp(struct binding *binding, const struct flow_key *key, struct binding_verdict *verdict)
{
	struct flow_key pair = *key;
	uint32_t count;
	struct binding_entry *entry = binding_sole(binding, BINDING_KIND_FLOW, key, &count);

	if (entry == NULL) {
		pair.remote_port--;
		pair.local_port &= 0xfffe;
		entry = binding_sole(binding, BINDING_KIND_FLOW, &pair, &count);
	}
	if (entry == NULL)
		drop(verdict, DROP_RTCP_UNKNOWN);
	else
		*verdict = (struct binding_verdict){.action = BINDING_DELIVER, .session = binding_ref(binding, entry)};
}

/*
 * Tier 2: the source is exactly where signalling (or a binding) says that `entry` sends from, and nobody else is expected
 * there.
 */
static void decide_source(struct binding *binding, struct binding_entry *entry, const struct binding_packet *packet,
	uint64_t now_ms, struct binding_verdict *verdict)
{
	const struct flow_key *key = &packet->key;

	if (!binding_in_trunk(&entry->session, &key->remote))
		drop(verdict, DROP_SOURCE_UNKNOWN);
	else if (refused(binding, BINDING_KIND_FLOW, key, entry, now_ms, verdict))
		return;
	else if (!payload_type_fits(&entry->session, packet->payload_type))
		drop(verdict, DROP_PAYLOAD_TYPE);
	/* A new SSRC of a bound call (hold, transfer), or a source that was another call's a moment ago. */
	else if (entry->bound ||
		 binding_quarantine_refuses(&binding->quarantine, BINDING_KIND_SOURCE, key, binding_ref(binding, entry), now_ms))
		on_trial(binding, entry, packet, now_ms, verdict);
	else
		bind_now(binding, entry, key, now_ms, verdict);
}

/*
 * Learning a source from packets, by tier 3 or after a NAT rebinding: refuse whatever was another call's a moment ago, then
 * probation.
 */
static void decide_learn(struct binding *binding, struct binding_entry *entry, const struct binding_packet *packet,
	uint64_t now_ms, struct binding_verdict *verdict)
{
	const struct flow_key *key = &packet->key;
	uint32_t count;
	const struct binding_entry *home = binding_sole(binding, BINDING_KIND_HOME, key, &count);

	if (!binding_in_trunk(&entry->session, &key->remote))
		drop_flow(binding, key, DROP_SOURCE_UNKNOWN, now_ms, verdict);
	else if (refused(binding, BINDING_KIND_FLOW, key, entry, now_ms, verdict) ||
		 refused(binding, BINDING_KIND_SOURCE, key, entry, now_ms, verdict) ||
		 refused(binding, BINDING_KIND_SSRC, key, entry, now_ms, verdict))
		return;
	/* Signalling gave it to another call, which is elsewhere now and may come back: nobody gets what both could claim. */
	else if (count > 1 || (count == 1 && home != entry))
		drop_flow(binding, key, DROP_INIT_AMBIGUOUS, now_ms, verdict);
	else if (!payload_type_fits(&entry->session, packet->payload_type))
		drop(verdict, DROP_PAYLOAD_TYPE);
	else
		on_trial(binding, entry, packet, now_ms, verdict);
}

/* The sessions of this address that wait for a source: how many could claim the packet, and the one if it is one. */
static struct binding_entry *waiting(const struct binding *binding, const struct flow_key *key, uint32_t *count)
{
	struct flow_key claim = *key;
	struct binding_entry *entry = binding_sole(binding, BINDING_KIND_LOCAL, key, count);

	if (entry != NULL && entry->session.dedicated) {
		*count = entry->unknown && (!entry->session.ssrc_known || entry->session.ssrc == key->ssrc);
		return *count == 1 ? entry : NULL;
	}
	claim.remote_port = 0;
	entry = binding_sole(binding, BINDING_KIND_CLAIM, &claim, count);
	return *count > 0 ? entry : binding_sole(binding, BINDING_KIND_ADDRESS, key, count);
}

/*
 * The SSRC is locked to sessions with other sources (tier 1). Only one whose trunk allows it may follow, and only if nobody
 * else could claim the packet.
 */
static void decide_locked(struct binding *binding, struct binding_entry *entry, const struct binding_packet *packet,
	uint64_t now_ms, struct binding_verdict *verdict)
{
	const struct flow_key *key = &packet->key;
	uint32_t others;

	if (entry == NULL || !entry->session.allow_nat_rebind || !binding_in_trunk(&entry->session, &key->remote)) {
		drop_flow(binding, key, DROP_SSRC_WRONG_SOURCE, now_ms, verdict);
		return;
	}
	waiting(binding, key, &others);
	if (others > 0)
		drop_flow(binding, key, DROP_INIT_AMBIGUOUS, now_ms, verdict);
	else
		decide_learn(binding, entry, packet, now_ms, verdict);
}

/* No session expects the source: say why, as precisely as the operator needs it. */
static void decide_stranger(struct binding *binding, const struct flow_key *key, uint64_t now_ms, struct binding_verdict *verdict)
{
	static const enum binding_kind kinds[] = {BINDING_KIND_LOCAL, BINDING_KIND_SOURCE};
	const struct binding_node *node;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		node = binding_quarantine_find(&binding->quarantine, kinds[i], key, now_ms);
		if (node != NULL) {
			drop_flow(binding, key, quarantine_reason(binding, node), now_ms, verdict);
			return;
		}
	}
	for (uint32_t i = 0; i < binding->trunk_count; i++) {
		const struct binding_trunk *trunk = &binding->trunks[i];
		struct binding_session any = {.sources = trunk->sources, .source_count = trunk->source_count};

		if (binding_in_trunk(&any, &key->remote)) {
			drop_flow(binding, key, DROP_NO_SESSION, now_ms, verdict);
			return;
		}
	}
	drop_flow(binding, key, DROP_SOURCE_UNKNOWN, now_ms, verdict);
}

void binding_packet(
	struct binding *binding, const struct binding_packet *packet, uint64_t now_ms, struct binding_verdict *verdict)
{
	const struct flow_key *key = &packet->key;
	struct binding_entry *entry;
	uint32_t count;

	if (packet->rtcp) {
		decide_rtcp(binding, key, verdict);
		return;
	}
	entry = binding_sole(binding, BINDING_KIND_FLOW, key, &count);
	if (entry != NULL) {
		*verdict = (struct binding_verdict){.action = BINDING_DELIVER, .session = binding_ref(binding, entry)};
		return;
	}
	entry = binding_sole(binding, BINDING_KIND_SOURCE, key, &count);
	if (count > 1) /* several calls behind one source: only a signalled SSRC decides */
		entry = binding_sole(binding, BINDING_KIND_CLAIM, key, &(uint32_t){0});
	if (entry != NULL) {
		decide_source(binding, entry, packet, now_ms, verdict);
		return;
	}
	if (count > 1) {
		drop_flow(binding, key, DROP_INIT_AMBIGUOUS, now_ms, verdict);
		return;
	}
	entry = binding_sole(binding, BINDING_KIND_SSRC, key, &count);
	if (count > 0) {
		decide_locked(binding, entry, packet, now_ms, verdict);
		return;
	}
	entry = waiting(binding, key, &count);
	if (entry != NULL && !entry->session.dedicated && !entry->session.ssrc_known &&
		binding_quarantine_refuses(&binding->linger, BINDING_KIND_ADDRESS, key, binding_ref(binding, entry), now_ms))
		drop_flow(binding, key, DROP_QUARANTINED, now_ms, verdict);
	else if (entry != NULL)
		decide_learn(binding, entry, packet, now_ms, verdict);
	else if (count > 1)
		drop_flow(binding, key, DROP_INIT_AMBIGUOUS, now_ms, verdict);
	else
		decide_stranger(binding, key, now_ms, verdict);
}
