/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash map of the binding rules: parts of a flow key lead to a node. One fixed pool, so that nothing an attacker sends
 * allocates and nothing fails after the start; a keyed hash, so that nobody can choose keys that share a bucket. Pure; control
 * thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "flow.h"
#include "flow_hash.h"

/* Which part of a flow key a node stands for; the other members of its key are zero. */
enum binding_kind {
	BINDING_KIND_FLOW,    /* all of it */
	BINDING_KIND_SOURCE,  /* local, remote address and port */
	BINDING_KIND_CLAIM,   /* as FLOW, or without the remote port: an SSRC known by signalling */
	BINDING_KIND_ADDRESS, /* local, remote address */
	BINDING_KIND_SSRC,    /* local, SSRC */
	BINDING_KIND_LOCAL,   /* local */
	BINDING_KIND_HOME,    /* as SOURCE: signalled, but packets told another one */
};

struct binding_node {
	struct flow_key key;
	uint32_t kind;
	uint32_t next; /* in the bucket or the free list: index + 1, 0 is the end */
	union {
		/* A set of sessions of which only the size matters, and the one member when there is just one. */
		struct {
			uint32_t count;
			uint32_t members; /* exclusive or of the sessions' indices */
		};
		/* A quarantine. */
		struct {
			uint64_t until_ms;
			struct session_ref owner;
			uint32_t older, newer; /* in order of until_ms: index + 1, 0 is the end */
		};
	};
};

struct binding_map {
	struct flow_hash_secret secret;
	struct binding_node *nodes;
	uint32_t *buckets;
	uint32_t capacity, mask;
	uint32_t touched; /* nodes used at least once: memory above is never touched */
	uint32_t free;	  /* list, index + 1 */
	uint32_t used;
};

/* Allocate for `capacity` nodes. Returns 0 or -ENOMEM. */
int binding_map_init(struct binding_map *map, uint32_t capacity, uint64_t seed);
void binding_map_fini(struct binding_map *map);

/* The part of `key` that `kind` stands for (CLAIM: with the remote port). */
struct flow_key binding_key(enum binding_kind kind, const struct flow_key *key);

/* The node of a key made by binding_key(), or NULL. */
struct binding_node *binding_map_find(const struct binding_map *map, enum binding_kind kind, const struct flow_key *key);

/* A new node for a key that has none, its union zeroed. NULL when the pool is empty. */
struct binding_node *binding_map_insert(struct binding_map *map, enum binding_kind kind, const struct flow_key *key);

void binding_map_erase(struct binding_map *map, struct binding_node *node);

/*
 * Put a session into, or take it out of, the set of a key. The pool must have room for every set the caller can make; a session
 * is put into a set once.
 */
void binding_map_join(struct binding_map *map, enum binding_kind kind, const struct flow_key *key, uint32_t session);
void binding_map_leave(struct binding_map *map, enum binding_kind kind, const struct flow_key *key, uint32_t session);
