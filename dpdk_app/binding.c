/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binding: calls begin, move and end, and flows change hands (binding.h). Which call a packet belongs to is binding_packet.c.
 * Every decision the rules leave open is written down in doc/binding.md.
 */
#include "binding.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "binding_state.h"

/* Sets a session can be in at once: flow, source, SSRC, local, home; or claim, address or source, local. */
#define SETS_PER_SESSION 5u

/*
 * RFC 3261 T4: how long a message stays in the network. So long a call that was never heard may still send its first packet
 * after its end.
 */
#define LINGER_MS 5000u

/* Quarantine entries freed in one turn of the control loop; the others are recognised by their time. */
#define EXPIRE_MAX 4096u

struct binding *binding_new(const struct binding_limits *limits)
{
	uint32_t max = limits->max_sessions;
	uint32_t linger_ms = limits->quarantine_ms < LINGER_MS ? limits->quarantine_ms : LINGER_MS;
	struct binding *binding;

	if (max == 0 || max > BINDING_SESSIONS_MAX) {
		errno = EINVAL;
		return NULL;
	}
	binding = calloc(1, sizeof(*binding));
	if (binding == NULL)
		return NULL;
	binding->limits = *limits;
	binding->entries = calloc(max, sizeof(*binding->entries));
	/*
	 * The quarantine holds what all live sessions can leave, half as much again, and a floor for small set-ups with many
	 * short calls.
	 */
	if (binding->entries == NULL || binding_map_init(&binding->index, max * SETS_PER_SESSION, limits->hash_seed) != 0 ||
		binding_quarantine_init(&binding->quarantine, max * (BINDING_RESERVE + BINDING_RESERVE / 2) + 16384,
			limits->quarantine_ms, limits->hash_seed + 1) != 0 ||
		binding_quarantine_init(&binding->linger, 2 * max + 16384, linger_ms, limits->hash_seed + 2) != 0) {
		binding_free(binding);
		errno = ENOMEM;
		return NULL;
	}
	return binding;
}

void binding_free(struct binding *binding)
{
	if (binding == NULL)
		return;
	binding_quarantine_fini(&binding->linger);
	binding_quarantine_fini(&binding->quarantine);
	binding_map_fini(&binding->index);
	free(binding->trunks);
	free(binding->entries);
	free(binding);
}

/* --- small helpers --- */

static struct binding_entry *entry_find(const struct binding *binding, struct session_ref ref)
{
	struct binding_entry *entry;

	if (ref.index >= binding->limits.max_sessions)
		return NULL;
	entry = &binding->entries[ref.index];
	return entry->used && entry->generation == ref.generation ? entry : NULL;
}

struct binding_entry *binding_sole(
	const struct binding *binding, enum binding_kind kind, const struct flow_key *key, uint32_t *count)
{
	struct flow_key part = binding_key(kind, key);
	const struct binding_node *node = binding_map_find(&binding->index, kind, &part);

	*count = node != NULL ? node->count : 0;
	return *count == 1 ? &binding->entries[node->members] : NULL;
}

bool binding_in_trunk(const struct binding_session *session, const struct ip_address *address)
{
	for (size_t i = 0; i < session->source_count; i++)
		if (ip_prefix_contains(&session->sources[i], address))
			return true;
	return false;
}

static bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && memcmp(&a->address, &b->address, sizeof(a->address)) == 0;
}

static struct flow_key key_of(const struct endpoint *local, const struct endpoint *remote, uint32_t ssrc)
{
	return (struct flow_key){.local = local->address,
		.local_port = local->port,
		.remote = remote->address,
		.remote_port = remote->port,
		.ssrc = ssrc};
}

static void set_join(
	struct binding *binding, enum binding_kind kind, const struct flow_key *key, const struct binding_entry *entry)
{
	struct flow_key part = binding_key(kind, key);

	binding_map_join(&binding->index, kind, &part, (uint32_t)(entry - binding->entries));
}

static void set_leave(
	struct binding *binding, enum binding_kind kind, const struct flow_key *key, const struct binding_entry *entry)
{
	struct flow_key part = binding_key(kind, key);

	binding_map_leave(&binding->index, kind, &part, (uint32_t)(entry - binding->entries));
}

/* Whether the quarantine takes `count` entries beyond what the live sessions may need at their end. */
static bool has_room(const struct binding *binding, uint32_t sessions, uint32_t count)
{
	return binding_quarantine_room(&binding->quarantine) >= sessions * BINDING_RESERVE + count &&
	       binding_quarantine_room(&binding->linger) >= sessions + 1;
}

static bool make_room(struct binding *binding, uint32_t sessions, uint32_t count, uint64_t now_ms)
{
	if (!has_room(binding, sessions, count)) {
		binding_quarantine_expire(&binding->quarantine, now_ms, UINT32_MAX);
		binding_quarantine_expire(&binding->linger, now_ms, UINT32_MAX);
	}
	return has_room(binding, sessions, count);
}

/* --- trunks --- */

static int trunk_hold(struct binding *binding, const struct binding_session *session)
{
	struct binding_trunk *grown;

	for (uint32_t i = 0; i < binding->trunk_count; i++) {
		if (binding->trunks[i].sources == session->sources && binding->trunks[i].source_count == session->source_count) {
			binding->trunks[i].sessions++;
			return 0;
		}
	}
	if (binding->trunk_count == binding->trunk_size) {
		uint32_t size = binding->trunk_size == 0 ? 16 : 2 * binding->trunk_size;

		grown = realloc(binding->trunks, size * sizeof(*grown));
		if (grown == NULL)
			return -ENOMEM;
		binding->trunks = grown;
		binding->trunk_size = size;
	}
	binding->trunks[binding->trunk_count++] =
		(struct binding_trunk){.sources = session->sources, .source_count = session->source_count, .sessions = 1};
	return 0;
}

static void trunk_release(struct binding *binding, const struct binding_session *session)
{
	for (uint32_t i = 0; i < binding->trunk_count; i++) {
		struct binding_trunk *trunk = &binding->trunks[i];

		if (trunk->sources != session->sources || trunk->source_count != session->source_count)
			continue;
		if (--trunk->sessions == 0)
			*trunk = binding->trunks[--binding->trunk_count];
		return;
	}
}

/* --- what a session waits for --- */

/* The key of the claim a signalled SSRC makes: with the port if it is known. */
static struct flow_key claim_key(const struct binding_entry *entry)
{
	struct flow_key key = key_of(&entry->session.local, &entry->expected, entry->session.ssrc);

	if (entry->unknown)
		key.remote_port = 0;
	return key;
}

static void expect_begin(
	struct binding *binding, struct binding_entry *entry, const struct endpoint *remote, bool unknown, bool learned)
{
	struct flow_key key;

	entry->expected = *remote;
	entry->unknown = unknown;
	entry->learned = learned;
	entry->claims = entry->session.ssrc_known && !learned;
	key = claim_key(entry);
	if (entry->claims)
		set_join(binding, BINDING_KIND_CLAIM, &key, entry);
	if (!unknown)
		set_join(binding, BINDING_KIND_SOURCE, &key, entry);
	else if (!entry->session.dedicated && !entry->session.ssrc_known)
		set_join(binding, BINDING_KIND_ADDRESS, &key, entry);
	entry->away = learned && !entry->session.remote_port_unknown;
	key = key_of(&entry->session.local, &entry->session.remote, 0);
	if (entry->away)
		set_join(binding, BINDING_KIND_HOME, &key, entry);
}

static void claim_end(struct binding *binding, struct binding_entry *entry)
{
	struct flow_key key = claim_key(entry);

	if (entry->claims)
		set_leave(binding, BINDING_KIND_CLAIM, &key, entry);
	entry->claims = false;
}

static void home_end(struct binding *binding, struct binding_entry *entry)
{
	struct flow_key key = key_of(&entry->session.local, &entry->session.remote, 0);

	if (entry->away)
		set_leave(binding, BINDING_KIND_HOME, &key, entry);
	entry->away = false;
}

static void expect_end(struct binding *binding, struct binding_entry *entry)
{
	struct flow_key key = claim_key(entry);

	home_end(binding, entry);
	claim_end(binding, entry);
	if (!entry->unknown)
		set_leave(binding, BINDING_KIND_SOURCE, &key, entry);
	else if (!entry->session.dedicated && !entry->session.ssrc_known)
		set_leave(binding, BINDING_KIND_ADDRESS, &key, entry);
}

/* --- flows change hands --- */

static void flow_take(struct binding *binding, struct binding_entry *entry)
{
	set_leave(binding, BINDING_KIND_FLOW, &entry->flow, entry);
	set_leave(binding, BINDING_KIND_SSRC, &entry->flow, entry);
	entry->bound = false;
	binding->counts.bound--;
}

/* Room for these entries was made by the caller or reserved when the session was opened. */
static void quarantine(struct binding *binding, enum binding_kind kind, const struct flow_key *key,
	const struct binding_entry *entry, uint64_t now_ms)
{
	bool added = binding_quarantine_add(&binding->quarantine, kind, key, binding_ref(binding, entry), now_ms);

	assert(added);
	(void)added;
}

static void quarantine_flow(struct binding *binding, const struct binding_entry *entry, uint64_t now_ms)
{
	quarantine(binding, BINDING_KIND_FLOW, &entry->flow, entry, now_ms);
	quarantine(binding, BINDING_KIND_SOURCE, &entry->flow, entry, now_ms);
	quarantine(binding, BINDING_KIND_SSRC, &entry->flow, entry, now_ms);
}

bool binding_give(struct binding *binding, struct binding_entry *entry, const struct flow_key *key, uint64_t now_ms,
	struct binding_verdict *verdict)
{
	struct endpoint source = {.address = key->remote, .port = key->remote_port};
	struct endpoint last = {.address = entry->flow.remote, .port = entry->flow.remote_port};

	if (entry->bound && !make_room(binding, binding->counts.sessions, 3, now_ms))
		return false;
	*verdict = (struct binding_verdict){.action = BINDING_BIND,
		.session = binding_ref(binding, entry),
		.bound = *key,
		.first = !entry->ever_bound,
		.address_switch = entry->ever_bound && !endpoint_equal(&last, &source)};
	if (entry->bound) {
		verdict->moved = true;
		verdict->unbound = entry->flow;
		flow_take(binding, entry);
		quarantine_flow(binding, entry, now_ms);
	}
	if (entry->unknown || !endpoint_equal(&entry->expected, &source)) {
		expect_end(binding, entry);
		/* After a NAT rebinding it may be back where it was signalled. */
		expect_begin(binding, entry, &source, false,
			entry->session.remote_port_unknown || !endpoint_equal(&entry->session.remote, &source));
	}
	claim_end(binding, entry);
	entry->flow = *key;
	entry->bound = entry->ever_bound = true;
	set_join(binding, BINDING_KIND_FLOW, key, entry);
	set_join(binding, BINDING_KIND_SSRC, key, entry);
	binding->counts.bound++;
	binding_trial_clear(binding, entry);
	return true;
}

/*
 * The session that learned this source from packets, if any: there is at most one. NULL too when only signalled sessions expect
 * it.
 */
static struct binding_entry *learned_at(const struct binding *binding, const struct flow_key *key)
{
	uint32_t count;
	struct binding_entry *entry = binding_sole(binding, BINDING_KIND_SOURCE, key, &count);

	return entry != NULL && entry->learned ? entry : NULL;
}

/*
 * Signalling says that this source is another call's: what a session learned from packets was wrong, and it waits again as it
 * was signalled. Its flow is not quarantined, since it is the other call's.
 */
static void evict(struct binding *binding, struct binding_entry *entry, struct binding_verdict *verdict)
{
	verdict->evicted = true;
	verdict->evicted_session = binding_ref(binding, entry);
	verdict->evicted_flow = entry->flow;
	flow_take(binding, entry);
	expect_end(binding, entry);
	binding_trial_clear(binding, entry);
	expect_begin(binding, entry, &entry->session.remote, entry->session.remote_port_unknown, false);
}

/* --- calls --- */

static int open_check(struct binding *binding, struct session_ref ref, const struct binding_session *session,
	const struct flow_key *key, uint64_t now_ms)
{
	uint32_t count;
	struct flow_key local = binding_key(BINDING_KIND_LOCAL, key);
	const struct binding_node *others = binding_map_find(&binding->index, BINDING_KIND_LOCAL, &local);
	const struct binding_entry *owner;

	if (ref.index >= binding->limits.max_sessions || ref.generation == 0)
		return -EINVAL;
	if (binding->entries[ref.index].used)
		return -EEXIST;
	if (others != NULL && (session->dedicated || (others->count == 1 && binding->entries[others->members].session.dedicated)))
		return -EEXIST;
	if (binding_quarantine_find(&binding->quarantine, BINDING_KIND_LOCAL, key, now_ms) != NULL)
		return -EBUSY;
	if (session->ssrc_known && !session->remote_port_unknown) {
		owner = binding_sole(binding, BINDING_KIND_FLOW, key, &count);
		if (owner != NULL && owner != learned_at(binding, key))
			return -EEXIST;
		if (binding_quarantine_find(&binding->quarantine, BINDING_KIND_FLOW, key, now_ms) != NULL)
			return -EBUSY;
	}
	return make_room(binding, binding->counts.sessions + 1, 0, now_ms) ? 0 : -ENOBUFS;
}

int binding_open(struct binding *binding, struct session_ref ref, const struct binding_session *session, uint64_t now_ms,
	struct binding_verdict *verdict)
{
	struct flow_key key = key_of(&session->local, &session->remote, session->ssrc);
	struct binding_entry *entry, *learned;
	int ret = open_check(binding, ref, session, &key, now_ms);

	*verdict = (struct binding_verdict){.action = BINDING_WAIT, .session = ref};
	if (ret == 0)
		ret = trunk_hold(binding, session);
	if (ret != 0)
		return ret;
	learned = session->remote_port_unknown ? NULL : learned_at(binding, &key);
	if (learned != NULL)
		evict(binding, learned, verdict);
	entry = &binding->entries[ref.index];
	*entry = (struct binding_entry){.used = true, .generation = ref.generation, .session = *session};
	binding->counts.sessions++;
	set_join(binding, BINDING_KIND_LOCAL, &key, entry);
	expect_begin(binding, entry, &session->remote, session->remote_port_unknown, false);
	if (session->ssrc_known && !session->remote_port_unknown && binding_in_trunk(session, &session->remote.address)) {
		struct binding_verdict bound;

		binding_give(binding, entry, &key, now_ms, &bound);
		bound.evicted = verdict->evicted;
		bound.evicted_session = verdict->evicted_session;
		bound.evicted_flow = verdict->evicted_flow;
		*verdict = bound;
	}
	return 0;
}

/* Whatever may still be on its way to this session from where it was is refused to others from now on. */
static void leave_place(struct binding *binding, struct binding_entry *entry, uint64_t now_ms)
{
	struct flow_key key = claim_key(entry);

	binding_trial_expire(binding, now_ms);
	if (entry->bound)
		quarantine_flow(binding, entry, now_ms);
	else if (!entry->unknown)
		quarantine(binding, BINDING_KIND_SOURCE, &key, entry, now_ms);
	else if (entry->session.ssrc_known)
		quarantine(binding, BINDING_KIND_SSRC, &key, entry, now_ms);
	else if (!entry->session.dedicated)
		(void)binding_quarantine_add(&binding->linger, BINDING_KIND_ADDRESS, &key, binding_ref(binding, entry), now_ms);
	for (unsigned int i = 0; i < BINDING_SLOTS; i++) {
		if (!entry->trials[i].used)
			continue;
		quarantine(binding, BINDING_KIND_FLOW, &entry->trials[i].key, entry, now_ms);
		quarantine(binding, BINDING_KIND_SOURCE, &entry->trials[i].key, entry, now_ms);
	}
	binding_trial_clear(binding, entry);
}

int binding_move(struct binding *binding, struct session_ref ref, const struct endpoint *remote, bool port_unknown,
	uint64_t now_ms, struct binding_verdict *verdict)
{
	struct binding_entry *entry = entry_find(binding, ref), *learned;
	struct flow_key key;

	*verdict = (struct binding_verdict){.action = BINDING_WAIT, .session = ref};
	if (entry == NULL)
		return -ENOENT;
	/* The same place again (a session refresh): nothing moved. */
	if (entry->session.remote_port_unknown == port_unknown && endpoint_equal(&entry->session.remote, remote))
		return 0;
	/* Signalling confirms what the packets told. */
	if (entry->bound && !port_unknown && endpoint_equal(&entry->expected, remote)) {
		home_end(binding, entry);
		entry->session.remote = *remote;
		entry->session.remote_port_unknown = false;
		entry->learned = false;
		return 0;
	}
	if (!make_room(binding, binding->counts.sessions, BINDING_RESERVE, now_ms))
		return -ENOBUFS;
	leave_place(binding, entry, now_ms);
	if (entry->bound) {
		verdict->moved = true;
		verdict->unbound = entry->flow;
		flow_take(binding, entry);
	}
	expect_end(binding, entry);
	entry->session.remote = *remote;
	entry->session.remote_port_unknown = port_unknown;
	key = key_of(&entry->session.local, remote, 0);
	learned = port_unknown ? NULL : learned_at(binding, &key);
	if (learned != NULL)
		evict(binding, learned, verdict);
	expect_begin(binding, entry, remote, port_unknown, false);
	return 0;
}

bool binding_close(struct binding *binding, struct session_ref ref, uint64_t now_ms, struct flow_key *unbound)
{
	struct binding_entry *entry = entry_find(binding, ref);
	struct flow_key key;
	bool was_bound;

	if (entry == NULL)
		return false;
	key = claim_key(entry);
	was_bound = entry->bound;
	leave_place(binding, entry, now_ms);
	if (entry->session.dedicated)
		quarantine(binding, BINDING_KIND_LOCAL, &key, entry, now_ms);
	if (was_bound) {
		*unbound = entry->flow;
		flow_take(binding, entry);
	}
	expect_end(binding, entry);
	set_leave(binding, BINDING_KIND_LOCAL, &key, entry);
	trunk_release(binding, &entry->session);
	entry->used = false;
	binding->counts.sessions--;
	return was_bound;
}

void binding_expire(struct binding *binding, uint64_t now_ms)
{
	binding_trial_expire(binding, now_ms);
	binding_quarantine_expire(&binding->quarantine, now_ms, EXPIRE_MAX);
	binding_quarantine_expire(&binding->linger, now_ms, EXPIRE_MAX);
}

bool binding_local_port_free(const struct binding *binding, const struct endpoint *local, uint64_t now_ms)
{
	struct flow_key key = {.local = local->address, .local_port = local->port};

	return binding_map_find(&binding->index, BINDING_KIND_LOCAL, &key) == NULL &&
	       binding_quarantine_find(&binding->quarantine, BINDING_KIND_LOCAL, &key, now_ms) == NULL;
}

void binding_count(const struct binding *binding, struct binding_counts *counts)
{
	*counts = binding->counts;
	counts->quarantined = binding->quarantine.map.used + binding->linger.map.used;
}
