/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small worlds, and the rules' state in memory that can be copied and hashed (world.h). It looks inside struct binding:
 * pools are made small here, so that a copy costs less than a microsecond.
 */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#define QUARANTINE_NODES 256u

const struct world_spec worlds[] = {
	{"two known ports, one unknown",
		{{{{0, 0}, {0, 2}}, ANY, false, false}, {{{0, 1}, {0, 0}}, ANY, false, false},
			{{{0, ANY}, {0, 1}}, ANY, false, false}},
		2, 3, 3, 1},
	{"unknown ports",
		{{{{0, ANY}, {0, 0}}, ANY, false, false}, {{{0, ANY}, {0, 1}}, ANY, false, false},
			{{{1, ANY}, {0, ANY}}, ANY, false, false}},
		2, 3, 3, 1},
	{"one source, several calls",
		{{{{0, 0}, {0, 1}}, ANY, false, false}, {{{0, 0}, {0, ANY}}, ANY, false, false},
			{{{0, 0}, {0, 1}}, 0, false, false}},
		2, 3, 3, 1},
	{"signalled SSRCs, unknown ports",
		{{{{0, ANY}, {0, 0}}, 0, false, false}, {{{0, ANY}, {0, 0}}, 1, false, false},
			{{{0, ANY}, {0, 1}}, ANY, false, false}},
		1, 3, 3, 1},
	{"the same signalled SSRC",
		{{{{0, ANY}, {0, 0}}, 0, false, false}, {{{0, ANY}, {0, 0}}, 0, false, false},
			{{{0, 0}, {0, ANY}}, 0, false, false}},
		2, 2, 2, 1},
	{"NAT rebinding",
		{{{{0, 0}, {1, 0}}, ANY, true, false}, {{{0, 1}, {0, 0}}, ANY, true, false},
			{{{0, ANY}, {0, 2}}, ANY, false, false}},
		2, 3, 3, 1},
	{"NAT rebinding, unknown ports",
		{{{{0, ANY}, {0, 0}}, ANY, true, false}, {{{1, ANY}, {1, 0}}, ANY, true, false},
			{{{0, 1}, {1, ANY}}, ANY, true, false}},
		2, 3, 2, 1},
	{"dedicated ports",
		{{{{0, ANY}, {0, 0}}, ANY, false, true}, {{{0, ANY}, {0, 1}}, ANY, false, false},
			{{{0, 0}, {0, ANY}}, 0, true, false}},
		2, 2, 2, 2},
};
const size_t world_count = sizeof(worlds) / sizeof(worlds[0]);

static struct ip_prefix trunk[1];

static uint64_t heard(void *context, struct session_ref session)
{
	const struct world *world = context;

	return world->ghost.calls[session.index].heard_ms;
}

struct world *world_new(const struct world_spec *spec)
{
	struct world *world = aligned_alloc(_Alignof(struct world), sizeof(*world));
	struct binding *binding;

	if (world == NULL)
		return NULL;
	memset(world, 0, sizeof(*world));
	trunk[0] = (struct ip_prefix){.address.bytes = {[10] = 0xff, [11] = 0xff, [12] = 10}, .length = 104};
	binding = &world->binding;
	binding->limits = (struct binding_limits){.max_sessions = CALLS,
		.max_pending = 2 * CALLS,
		.quarantine_ms = QUARANTINE_MS,
		.last_heard_ms = heard,
		.context = world};
	binding->entries = calloc(CALLS, sizeof(*binding->entries));
	binding->trunks = calloc(CALLS, sizeof(*binding->trunks));
	binding->trunk_size = CALLS;
	if (binding->entries == NULL || binding->trunks == NULL || binding_map_init(&binding->index, CALLS * 5, 1) != 0 ||
		binding_quarantine_init(&binding->quarantine, QUARANTINE_NODES, QUARANTINE_MS, 2) != 0 ||
		binding_quarantine_init(&binding->linger, 32, LINGER_MS, 3) != 0) {
		world_free(world);
		return NULL;
	}
	world->spec = spec;
	world->now_ms = 1000000;
	for (int tenant = 0; tenant < TENANTS; tenant++) {
		world->ghost.slots[tenant] = tenant;
		world->attached |= UINT64_C(1) << tenant;
	}
	return world;
}

void world_free(struct world *world)
{
	if (world == NULL)
		return;
	binding_map_fini(&world->binding.index);
	binding_quarantine_fini(&world->binding.quarantine);
	binding_quarantine_fini(&world->binding.linger);
	free(world->binding.entries);
	free(world->binding.trunks);
	free(world);
}

static void map_copy(struct binding_map *to, const struct binding_map *from)
{
	struct binding_node *nodes = to->nodes;
	uint32_t *buckets = to->buckets;

	*to = *from;
	to->nodes = nodes;
	to->buckets = buckets;
	memcpy(nodes, from->nodes, from->touched * sizeof(*nodes));
	memcpy(buckets, from->buckets, (from->mask + 1) * sizeof(*buckets));
}

static void quarantine_copy(struct binding_quarantine *to, const struct binding_quarantine *from)
{
	map_copy(&to->map, &from->map);
	to->oldest = from->oldest;
	to->newest = from->newest;
}

void world_copy(struct world *to, const struct world *from)
{
	to->now_ms = from->now_ms;
	to->ghost = from->ghost;
	memcpy(to->binding.entries, from->binding.entries, CALLS * sizeof(*from->binding.entries));
	memcpy(to->binding.trunks, from->binding.trunks, CALLS * sizeof(*from->binding.trunks));
	to->binding.trunk_count = from->binding.trunk_count;
	map_copy(&to->binding.index, &from->binding.index);
	quarantine_copy(&to->binding.quarantine, &from->binding.quarantine);
	quarantine_copy(&to->binding.linger, &from->binding.linger);
	to->binding.oldest_trial = from->binding.oldest_trial;
	to->binding.newest_trial = from->binding.newest_trial;
	to->binding.counts = from->binding.counts;
	memcpy(to->routes, from->routes, sizeof(to->routes));
	to->attached = from->attached;
}

/* --- numbers to keys --- */

static const uint8_t ip_of[IPS] = {2, 3};

struct flow_key world_key(int flow)
{
	int source = flow_source(flow);
	struct flow_key key = {.local_port = (uint16_t)(10000 + 2 * source_local(source)),
		.remote_port = (uint16_t)(40000 + 2 * source_port(source)),
		.ssrc = 0xca110000u + (uint32_t)flow_ssrc(flow)};

	key.local = (struct ip_address){.bytes = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 1}};
	key.remote = key.local;
	key.remote.bytes[15] = ip_of[source_ip(source)];
	return key;
}

int world_flow(const struct flow_key *key)
{
	int ip = key->remote.bytes[15] == ip_of[0] ? 0 : 1;

	return flow_of(
		source_of((key->local_port - 10000) / 2, ip, (key->remote_port - 40000) / 2), (int)(key->ssrc - 0xca110000u));
}

struct session_ref world_ref(const struct world *world, int call)
{
	return (struct session_ref){.index = (uint32_t)call, .generation = world->ghost.calls[call].generation};
}

struct binding_session world_session(const struct world *world, int call)
{
	const struct call_spec *spec = &world->spec->calls[call];
	const struct place *place = &spec->places[world->ghost.calls[call].place];
	struct flow_key key = world_key(flow_of(
		source_of(spec->dedicated, place->ip, place->port == ANY ? 0 : place->port), spec->ssrc == ANY ? 0 : spec->ssrc));

	return (struct binding_session){.local = {key.local, key.local_port},
		.remote = {key.remote, place->port == ANY ? 5004 : key.remote_port},
		.remote_port_unknown = place->port == ANY,
		.dedicated = spec->dedicated,
		.allow_nat_rebind = spec->nat,
		.ssrc_known = spec->ssrc != ANY,
		.ssrc = key.ssrc,
		.sources = trunk,
		.source_count = 1};
}

/* --- hash: times relative to now, owners by whether they live, sets without order --- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 29;
}

static uint64_t age(uint64_t now_ms, uint64_t then_ms, uint64_t limit_ms)
{
	return then_ms == 0 || now_ms - then_ms >= limit_ms ? limit_ms : now_ms - then_ms;
}

static uint64_t rest(uint64_t now_ms, uint64_t until_ms)
{
	return until_ms > now_ms ? until_ms - now_ms : 0;
}

static uint64_t hash_quarantine(const struct world *world, const struct binding_quarantine *quarantine)
{
	uint64_t sum = 0;

	for (uint32_t i = quarantine->oldest; i != 0; i = quarantine->map.nodes[i - 1].newer) {
		const struct binding_node *node = &quarantine->map.nodes[i - 1];
		const struct binding_entry *owner = &world->binding.entries[node->owner.index];
		uint64_t hash = mix(node->kind, rest(world->now_ms, node->until_ms));

		if (node->until_ms <= world->now_ms)
			continue;
		hash = mix(hash, owner->used && owner->generation == node->owner.generation ? node->owner.index : CALLS);
		for (unsigned int w = 0; w < sizeof(node->key) / 8; w++) {
			uint64_t word;

			memcpy(&word, (const uint8_t *)&node->key + 8 * w, 8);
			hash = mix(hash, word);
		}
		sum += hash;
	}
	return sum;
}

static uint64_t hash_left(const struct world *world, const struct left *left, uint64_t hash)
{
	for (int call = 0; call < CALLS; call++) {
		uint64_t remaining = rest(world->now_ms, left->until_ms[call]);

		hash = mix(hash, remaining);
		if (remaining != 0)
			hash = mix(hash,
				world->ghost.calls[call].open && world->ghost.calls[call].generation == left->generation[call]);
	}
	return mix(hash, rest(world->now_ms, left->shared_until_ms));
}

static uint64_t hash_ghost(const struct world *world)
{
	const struct ghost *ghost = &world->ghost;
	uint64_t hash = ghost->ssrcs_used;

	for (int call = 0; call < CALLS; call++) {
		const struct ghost_call *c = &ghost->calls[call];

		hash = mix(
			hash, c->open ? 1u + c->bound + 2u * c->ever_bound + 4u * c->learned + 8u * (unsigned int)c->place : 0);
		hash = mix(hash, c->open && c->ever_bound ? (uint64_t)c->flow : FLOWS);
		hash = mix(hash, c->open ? age(world->now_ms, c->heard_ms, BINDING_QUIET_MS) : 0);
		hash = mix(hash, c->open ? rest(world->now_ms, c->crowd_until_ms) : 0);
	}
	for (int i = 0; i < FLOWS; i++) {
		hash = hash_left(world, &ghost->flows[i], hash);
		for (int call = 0; call < CALLS; call++) {
			const struct ghost_trial *trial = &ghost->trials[call][i];
			uint64_t last = age(world->now_ms, trial->last_ms, SECOND_MS);
			uint32_t count = trial->count < BINDING_PROBATION_PACKETS ? trial->count : BINDING_PROBATION_PACKETS;

			if (last == SECOND_MS)
				continue;
			hash = mix(hash, (uint64_t)i << 32 | (uint64_t)call << 8 | count);
			hash = mix(hash, age(world->now_ms, trial->first_ms, SECOND_MS) << 32 | last << 16 |
						 (uint16_t)(ghost->seq[i] - trial->last_seq));
		}
	}
	for (int tenant = 0; tenant < TENANTS; tenant++)
		hash = mix(hash, (uint64_t)(ghost->slots[tenant] + 1));
	for (int i = 0; i < SOURCES; i++)
		hash = hash_left(world, &ghost->sources[i], hash);
	for (int local = 0; local < LOCALS; local++) {
		for (int i = 0; i < SSRCS; i++)
			hash = hash_left(world, &ghost->ssrcs[local][i], hash);
		for (int i = 0; i < IPS; i++)
			hash = hash_left(world, &ghost->addresses[local][i], hash);
	}
	return hash;
}

uint64_t world_hash(const struct world *world)
{
	uint64_t hash = mix(hash_ghost(world), hash_quarantine(world, &world->binding.quarantine));

	hash = mix(hash, hash_quarantine(world, &world->binding.linger));
	hash = mix(hash, world->attached);
	for (int call = 0; call < CALLS; call++) {
		const struct binding_entry *entry = &world->binding.entries[call];
		uint32_t generation = atomic_load_explicit(&world->routes[call].generation, memory_order_relaxed);

		/* Generations only count up: what matters is whether it is the present one, and none. */
		hash = mix(hash, (uint64_t)(generation == world->ghost.calls[call].generation) << 9 |
					 (uint64_t)(generation == 0) << 8 |
					 atomic_load_explicit(&world->routes[call].worker, memory_order_relaxed));
		if (!entry->used)
			continue;
		hash = mix(hash, 1u + entry->bound + 2u * entry->unknown + 4u * entry->learned + 8u * entry->claims);
		hash = mix(hash, (uint64_t)entry->expected.port << 8 | entry->expected.address.bytes[15]);
		hash = mix(hash, rest(world->now_ms, entry->crowd_until_ms));
		for (unsigned int i = 0; i < BINDING_SLOTS; i++) {
			const struct binding_trial *trial = &entry->trials[i];
			int flow;

			if (!trial->used || world->now_ms - trial->last_ms >= SECOND_MS)
				continue;
			flow = world_flow(&trial->key);
			hash = mix(hash, (uint64_t)flow << 32 | (uint64_t)trial->count << 16 |
						 (uint16_t)(world->ghost.seq[flow] - trial->last_seq));
			hash = mix(hash, age(world->now_ms, trial->first_ms, SECOND_MS));
			hash = mix(hash, age(world->now_ms, trial->last_ms, SECOND_MS));
		}
	}
	return hash;
}
