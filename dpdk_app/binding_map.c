/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chained hash map over a fixed pool of nodes (binding_map.h).
 */
#include "binding_map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int binding_map_init(struct binding_map *map, uint32_t capacity, uint64_t seed)
{
	uint32_t buckets = 16;

	*map = (struct binding_map){.capacity = capacity};
	while (buckets < capacity && buckets < 1u << 31)
		buckets *= 2;
	map->mask = buckets - 1;
	map->nodes = calloc(capacity, sizeof(*map->nodes));
	map->buckets = calloc(buckets, sizeof(*map->buckets));
	if (map->nodes == NULL || map->buckets == NULL) {
		binding_map_fini(map);
		return -ENOMEM;
	}
	flow_hash_init(&map->secret, seed);
	return 0;
}

void binding_map_fini(struct binding_map *map)
{
	free(map->nodes);
	free(map->buckets);
	map->nodes = NULL;
	map->buckets = NULL;
}

struct flow_key binding_key(enum binding_kind kind, const struct flow_key *key)
{
	struct flow_key part = {.local = key->local, .local_port = key->local_port};

	switch (kind) {
	case BINDING_KIND_FLOW:
	case BINDING_KIND_CLAIM:
		return *key;
	case BINDING_KIND_SOURCE:
	case BINDING_KIND_HOME:
		part.remote_port = key->remote_port;
		part.remote = key->remote;
		break;
	case BINDING_KIND_ADDRESS:
		part.remote = key->remote;
		break;
	case BINDING_KIND_SSRC:
		part.ssrc = key->ssrc;
		break;
	case BINDING_KIND_LOCAL:
		break;
	}
	return part;
}

static uint32_t *bucket_of(const struct binding_map *map, enum binding_kind kind, const struct flow_key *key)
{
	return &map->buckets[(flow_hash(&map->secret, key) ^ kind * 0x9e3779b1u) & map->mask];
}

struct binding_node *binding_map_find(const struct binding_map *map, enum binding_kind kind, const struct flow_key *key)
{
	for (uint32_t i = *bucket_of(map, kind, key); i != 0; i = map->nodes[i - 1].next) {
		struct binding_node *node = &map->nodes[i - 1];

		if (node->kind == kind && memcmp(&node->key, key, sizeof(*key)) == 0)
			return node;
	}
	return NULL;
}

struct binding_node *binding_map_insert(struct binding_map *map, enum binding_kind kind, const struct flow_key *key)
{
	uint32_t *bucket = bucket_of(map, kind, key);
	struct binding_node *node;
	uint32_t i = map->free;

	if (i != 0)
		map->free = map->nodes[i - 1].next;
	else if (map->touched < map->capacity)
		i = ++map->touched;
	else
		return NULL;
	node = &map->nodes[i - 1];
	*node = (struct binding_node){.key = *key, .kind = kind, .next = *bucket};
	*bucket = i;
	map->used++;
	return node;
}

void binding_map_erase(struct binding_map *map, struct binding_node *node)
{
	uint32_t *link = bucket_of(map, node->kind, &node->key);
	uint32_t i = (uint32_t)(node - map->nodes) + 1;

	while (*link != i)
		link = &map->nodes[*link - 1].next;
	*link = node->next;
	node->next = map->free;
	map->free = i;
	map->used--;
}

void binding_map_join(struct binding_map *map, enum binding_kind kind, const struct flow_key *key, uint32_t session)
{
	struct binding_node *node = binding_map_find(map, kind, key);

	if (node == NULL)
		node = binding_map_insert(map, kind, key);
	assert(node != NULL);
	node->count++;
	node->members ^= session;
}

void binding_map_leave(struct binding_map *map, enum binding_kind kind, const struct flow_key *key, uint32_t session)
{
	struct binding_node *node = binding_map_find(map, kind, key);

	assert(node != NULL && node->count > 0);
	node->members ^= session;
	if (--node->count == 0)
		binding_map_erase(map, node);
}
