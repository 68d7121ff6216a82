/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quarantine of freed flows, sources, SSRCs and ports (binding_quarantine.h). Every entry lives equally long, so a list in
 * order of insertion is in order of time.
 */
#include "binding_quarantine.h"

int binding_quarantine_init(struct binding_quarantine *quarantine, uint32_t capacity, uint32_t duration_ms, uint64_t seed)
{
	*quarantine = (struct binding_quarantine){.duration_ms = duration_ms};
	return binding_map_init(&quarantine->map, capacity, seed);
}

void binding_quarantine_fini(struct binding_quarantine *quarantine)
{
	binding_map_fini(&quarantine->map);
}

static uint32_t link_of(const struct binding_quarantine *quarantine, const struct binding_node *node)
{
	return (uint32_t)(node - quarantine->map.nodes) + 1;
}

static void list_remove(struct binding_quarantine *quarantine, struct binding_node *node)
{
	struct binding_node *nodes = quarantine->map.nodes;

	*(node->older != 0 ? &nodes[node->older - 1].newer : &quarantine->oldest) = node->newer;
	*(node->newer != 0 ? &nodes[node->newer - 1].older : &quarantine->newest) = node->older;
}

static void list_append(struct binding_quarantine *quarantine, struct binding_node *node)
{
	uint32_t link = link_of(quarantine, node);

	node->older = quarantine->newest;
	node->newer = 0;
	*(node->older != 0 ? &quarantine->map.nodes[node->older - 1].newer : &quarantine->oldest) = link;
	quarantine->newest = link;
}

bool binding_quarantine_add(struct binding_quarantine *quarantine, enum binding_kind kind, const struct flow_key *key,
	struct session_ref owner, uint64_t now_ms)
{
	struct flow_key part = binding_key(kind, key);
	struct binding_node *node;

	if (quarantine->duration_ms == 0)
		return true;
	node = binding_map_find(&quarantine->map, kind, &part);
	if (node != NULL) {
		bool same = node->owner.index == owner.index && node->owner.generation == owner.generation;

		list_remove(quarantine, node);
		if (!same && node->until_ms > now_ms)
			owner = (struct session_ref){0};
	} else {
		node = binding_map_insert(&quarantine->map, kind, &part);
		if (node == NULL)
			return false;
	}
	node->owner = owner;
	node->until_ms = now_ms + quarantine->duration_ms;
	list_append(quarantine, node);
	return true;
}

const struct binding_node *binding_quarantine_find(
	const struct binding_quarantine *quarantine, enum binding_kind kind, const struct flow_key *key, uint64_t now_ms)
{
	struct flow_key part = binding_key(kind, key);
	const struct binding_node *node = binding_map_find(&quarantine->map, kind, &part);

	return node != NULL && node->until_ms > now_ms ? node : NULL;
}

bool binding_quarantine_refuses(const struct binding_quarantine *quarantine, enum binding_kind kind, const struct flow_key *key,
	struct session_ref session, uint64_t now_ms)
{
	const struct binding_node *node = binding_quarantine_find(quarantine, kind, key, now_ms);

	return node != NULL && (node->owner.index != session.index || node->owner.generation != session.generation);
}

void binding_quarantine_expire(struct binding_quarantine *quarantine, uint64_t now_ms, uint32_t max)
{
	for (; quarantine->oldest != 0 && max > 0; max--) {
		struct binding_node *node = &quarantine->map.nodes[quarantine->oldest - 1];

		if (node->until_ms > now_ms)
			return;
		list_remove(quarantine, node);
		binding_map_erase(&quarantine->map, node);
	}
}

uint32_t binding_quarantine_room(const struct binding_quarantine *quarantine)
{
	return quarantine->map.capacity - quarantine->map.used;
}
