/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probation (RFC 3550 A.1, and what Asterisk's strictrtp made of it): a new stream must show packets in sequence over some time
 * before a session is its own, and while two streams want the same session neither gets it. Each session remembers two streams,
 * which is enough to tell one from several, so nothing a sender of packets does takes memory from another session.
 */
#include "binding_state.h"

#include <string.h>

static struct binding_trial *trial_at(struct binding *binding, uint32_t link)
{
	return &binding->entries[(link - 1) / BINDING_SLOTS].trials[(link - 1) % BINDING_SLOTS];
}

static uint32_t link_of(const struct binding *binding, const struct binding_entry *entry, const struct binding_trial *trial)
{
	return (uint32_t)(entry - binding->entries) * BINDING_SLOTS + (uint32_t)(trial - entry->trials) + 1;
}

static void list_remove(struct binding *binding, struct binding_trial *trial)
{
	*(trial->older != 0 ? &trial_at(binding, trial->older)->newer : &binding->oldest_trial) = trial->newer;
	*(trial->newer != 0 ? &trial_at(binding, trial->newer)->older : &binding->newest_trial) = trial->older;
}

static void list_append(struct binding *binding, struct binding_trial *trial, uint32_t link)
{
	trial->older = binding->newest_trial;
	trial->newer = 0;
	*(trial->older != 0 ? &trial_at(binding, trial->older)->newer : &binding->oldest_trial) = link;
	binding->newest_trial = link;
}

static void trial_end(struct binding *binding, struct binding_trial *trial)
{
	list_remove(binding, trial);
	trial->used = false;
	binding->counts.pending--;
}

void binding_trial_clear(struct binding *binding, struct binding_entry *entry)
{
	for (unsigned int i = 0; i < BINDING_SLOTS; i++)
		if (entry->trials[i].used)
			trial_end(binding, &entry->trials[i]);
	entry->crowd_until_ms = 0;
}

void binding_trial_expire(struct binding *binding, uint64_t now_ms)
{
	while (binding->oldest_trial != 0) {
		struct binding_trial *trial = trial_at(binding, binding->oldest_trial);

		if (now_ms - trial->last_ms < BINDING_PENDING_MS)
			return;
		trial_end(binding, trial);
	}
}

/*
 * The stream's trial: the one it has, or a free one. NULL when there is none; `*contested` when any other stream is on trial
 * too.
 */
static struct binding_trial *trial_of(struct binding_entry *entry, const struct flow_key *key, bool *contested)
{
	struct binding_trial *own = NULL, *empty = NULL;

	*contested = false;
	for (unsigned int i = 0; i < BINDING_SLOTS; i++) {
		struct binding_trial *trial = &entry->trials[i];

		if (!trial->used)
			empty = trial;
		else if (memcmp(&trial->key, key, sizeof(*key)) == 0)
			own = trial;
		else
			*contested = true;
	}
	return own != NULL ? own : empty;
}

enum binding_trial_result binding_trial_packet(
	struct binding *binding, struct binding_entry *entry, const struct binding_packet *packet, uint64_t now_ms)
{
	struct binding_trial *trial;
	bool contested;

	binding_trial_expire(binding, now_ms);
	trial = trial_of(entry, &packet->key, &contested);
	if (trial == NULL) {
		entry->crowd_until_ms = now_ms + BINDING_PENDING_MS;
		return BINDING_TRIAL_CONTESTED;
	}
	if (!trial->used) {
		if (binding->counts.pending >= binding->limits.max_pending)
			return BINDING_TRIAL_FULL;
		*trial = (struct binding_trial){.used = true, .key = packet->key};
		binding->counts.pending++;
	} else {
		list_remove(binding, trial);
	}
	list_append(binding, trial, link_of(binding, entry, trial));
	if (contested || now_ms < entry->crowd_until_ms) {
		trial->last_ms = now_ms; /* last_seq is not: who remains is out of sequence and starts again */
		return BINDING_TRIAL_CONTESTED;
	}
	if (trial->count == 0 || packet->seq != (uint16_t)(trial->last_seq + 1)) {
		trial->count = 0;
		trial->first_ms = now_ms;
	}
	if (trial->count < BINDING_PROBATION_PACKETS)
		trial->count++;
	trial->last_seq = packet->seq;
	trial->last_ms = now_ms;
	return trial->count >= BINDING_PROBATION_PACKETS && now_ms - trial->first_ms >= BINDING_PROBATION_MS
		       ? BINDING_TRIAL_PASSED
		       : BINDING_TRIAL_GOES_ON;
}
