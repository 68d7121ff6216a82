/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session storage and the lock-free flow table: flow_front.h, and behind it, with every flow, rte_hash with RW_CONCURRENCY_LF, one writer (the control thread), lcores as
 * readers. A removed key's slot is not used again before every lcore has passed a quiescent state; we keep that queue
 * ourselves, since rte_hash's own RCU mode rests on experimental calls and its overwrite of an existing key leaks past the
 * grace period.
 */
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <rte_prefetch.h>

#include "flow_hash.h"
#include "lcore.h"

_Static_assert(SESSION_LOOKUP_BURST <= RTE_HASH_LOOKUP_BULK_MAX, "one burst is one bulk lookup");
_Static_assert(sizeof(void *) == sizeof(uint64_t), "a session_ref travels in the table's data pointer");

/* A table slot whose key is gone but which an lcore may still be reading. */
struct deferred {
	uint64_t token;
	int32_t position;
};

/* Everything here is written before the lcores start, or by the control thread alone. */
struct session_table {
	struct flow_hash_secret secret;
	struct rte_hash *hash;
	struct flow_front_bucket *front;
	struct session_flow *flows;
	struct session *storage;
	uint32_t front_mask;
	struct rte_rcu_qsbr *qsbr;
	uint32_t max_sessions;
	uint32_t used;

	/* FIFO of slots in their grace period. Tokens grow, so only the head needs looking at. */
	struct deferred *deferred;
	uint32_t deferred_size, deferred_head, deferred_count;
};

/*
 * Keys the table has room for: one flow per session, plus the slots in their grace period: at a few thousand removals a second
 * and grace periods of well under a millisecond they are few; half as much again covers an lcore that sleeps.
 */
static uint32_t key_capacity(uint32_t max_sessions)
{
	return max_sessions + max_sessions / 2 + 64;
}

static inline void *ref_pack(struct session_ref ref)
{
	return (void *)(uintptr_t)((uint64_t)ref.generation << 32 | ref.index);
}

static inline struct session_ref ref_unpack(const void *data)
{
	uint64_t value = (uintptr_t)data;

	return (struct session_ref){.index = (uint32_t)value, .generation = (uint32_t)(value >> 32)};
}

static struct rte_hash *hash_new(uint32_t entries, int socket_id)
{
	static unsigned int serial; /* the EAL wants unique names; control thread only */
	char name[RTE_HASH_NAMESIZE];
	struct rte_hash_parameters parameters = {
		.name = name,
		.entries = entries,
		.key_len = sizeof(struct flow_key),
		.socket_id = socket_id,
		/*
		 * EXT_TABLE: every key up to `entries` finds a place, so a call never fails to bind because of where it hashed.
		 */
		.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_NO_FREE_ON_DEL |
			      RTE_HASH_EXTRA_FLAGS_EXT_TABLE,
	};

	snprintf(name, sizeof(name), "vl_sessions_%u", serial++);
	return rte_hash_create(&parameters);
}

static struct rte_rcu_qsbr *qsbr_new(int socket_id)
{
	size_t size = rte_rcu_qsbr_get_memsize(LCORES_MAX);
	struct rte_rcu_qsbr *qsbr = rte_zmalloc_socket("vl_qsbr", size, RTE_CACHE_LINE_SIZE, socket_id);

	if (qsbr == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	if (rte_rcu_qsbr_init(qsbr, LCORES_MAX) != 0) {
		rte_free(qsbr);
		return NULL;
	}
	return qsbr;
}

struct session_table *session_table_new(uint32_t max_sessions, int socket_id)
{
	struct session_table *table;
	uint32_t capacity;
	uint64_t seed;
	int error = ENOMEM;

	if (max_sessions == 0 || max_sessions > SESSION_TABLE_MAX) {
		rte_errno = EINVAL;
		return NULL;
	}
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
		rte_errno = errno;
		return NULL;
	}
	capacity = key_capacity(max_sessions);
	table = rte_zmalloc_socket("vl_session_table", sizeof(*table), RTE_CACHE_LINE_SIZE, socket_id);
	if (table == NULL)
		goto fail;
	flow_hash_init(&table->secret, seed);
	table->max_sessions = max_sessions;
	table->deferred_size = capacity;
	table->deferred = rte_zmalloc_socket("vl_session_deferred", capacity * sizeof(*table->deferred), 0, socket_id);
	table->storage =
		rte_zmalloc_socket("vl_sessions", (size_t)max_sessions * sizeof(*table->storage), RTE_CACHE_LINE_SIZE, socket_id);
	table->flows =
		rte_zmalloc_socket("vl_flows", (size_t)max_sessions * sizeof(*table->flows), RTE_CACHE_LINE_SIZE, socket_id);
	table->front_mask = flow_front_buckets(max_sessions) - 1;
	table->front = rte_zmalloc_socket(
		"vl_front", ((size_t)table->front_mask + 1) * sizeof(*table->front), RTE_CACHE_LINE_SIZE, socket_id);
	if (table->deferred == NULL || table->storage == NULL || table->flows == NULL || table->front == NULL)
		goto fail;
	table->qsbr = qsbr_new(socket_id);
	if (table->qsbr == NULL) {
		error = rte_errno;
		goto fail;
	}
	table->hash = hash_new(capacity, socket_id);
	if (table->hash == NULL) {
		error = rte_errno;
		goto fail;
	}
	return table;
fail:
	session_table_free(table);
	rte_errno = error;
	return NULL;
}

void session_table_free(struct session_table *table)
{
	if (table == NULL)
		return;
	rte_hash_free(table->hash);
	rte_free(table->qsbr);
	rte_free(table->front);
	rte_free(table->flows);
	rte_free(table->storage);
	rte_free(table->deferred);
	rte_free(table);
}

struct session *session_table_at(struct session_table *table, uint32_t index)
{
	return &table->storage[index];
}

struct session_flow *session_table_flow(struct session_table *table, uint32_t index)
{
	return &table->flows[index];
}

uint32_t session_table_max(const struct session_table *table)
{
	return table->max_sessions;
}

struct rte_rcu_qsbr *session_table_qsbr(struct session_table *table)
{
	return table->qsbr;
}

/* The flows in `missing`, a mask, in the table itself. Returns a mask of hits. */
static uint64_t lookup_behind(const struct session_table *table, const struct flow_key *const keys[], const uint32_t signatures[],
	uint64_t missing, struct session_ref refs[])
{
	hash_sig_t wanted[SESSION_LOOKUP_BURST];
	const void *pointers[SESSION_LOOKUP_BURST];
	void *data[SESSION_LOOKUP_BURST];
	unsigned int count = 0;
	uint64_t found = 0, hits = 0;

	for (uint64_t left = missing; left != 0; left &= left - 1) {
		pointers[count] = keys[__builtin_ctzll(left)];
		wanted[count++] = signatures[__builtin_ctzll(left)];
	}
	if (unlikely(rte_hash_lookup_with_hash_bulk_data(table->hash, pointers, wanted, count, &found, data) < 0))
		return 0;
	for (unsigned int k = 0; missing != 0; missing &= missing - 1, k++) {
		unsigned int i = (unsigned int)__builtin_ctzll(missing);

		if ((found >> k & 1) == 0)
			continue;
		refs[i] = ref_unpack(data[k]);
		hits |= UINT64_C(1) << i;
	}
	return hits;
}

uint64_t session_table_lookup(
	const struct session_table *table, const struct flow_key *const keys[], unsigned int count, struct session_ref refs[])
{
	uint32_t signatures[SESSION_LOOKUP_BURST], indices[SESSION_LOOKUP_BURST];
	uint64_t hits = 0, missing = 0;

	if (unlikely(count == 0 || count > SESSION_LOOKUP_BURST))
		return 0;
	for (unsigned int i = 0; i < count; i++) {
		signatures[i] = flow_hash(&table->secret, keys[i]);
		rte_prefetch0(&table->front[signatures[i] & table->front_mask]);
	}
	for (unsigned int i = 0; i < count; i++) {
		indices[i] = flow_front_find(&table->front[signatures[i] & table->front_mask], signatures[i]);
		if (likely(indices[i] < table->max_sessions)) {
			rte_prefetch0(&table->flows[indices[i]].key);
			__builtin_prefetch(&table->flows[indices[i]].receive, 1); /* to be written */
		}
	}
	for (unsigned int i = 0; i < count; i++) {
		refs[i] = (struct session_ref){.index = indices[i]};
		if (likely(indices[i] < table->max_sessions))
			refs[i].generation = flow_front_check(&table->flows[indices[i]].key, keys[i]);
		if (likely(refs[i].generation != 0))
			hits |= UINT64_C(1) << i;
		else
			missing |= UINT64_C(1) << i;
	}
	if (unlikely(missing != 0))
		hits |= lookup_behind(table, keys, signatures, missing, refs);
	return hits;
}

/* Behind the table: a flow is in front only while the table has it. A session whose place in front is taken, or whose bucket is full, does without. */
static void front_insert(struct session_table *table, const struct flow_key *key, uint32_t signature, struct session_ref ref)
{
	struct flow_front_key *shared = &table->flows[ref.index].key;

	if (atomic_load_explicit(&shared->generation, memory_order_relaxed) == 0 &&
		flow_front_add(&table->front[signature & table->front_mask], signature, ref.index))
		flow_front_write(shared, key, ref.generation);
}

static void front_remove(struct session_table *table, const struct flow_key *key, uint32_t signature, uint32_t index)
{
	static const struct flow_key nobody;

	if (flow_front_check(&table->flows[index].key, key) == 0)
		return;
	flow_front_write(&table->flows[index].key, &nobody, 0);
	flow_front_remove(&table->front[signature & table->front_mask], index);
}

int session_table_insert(struct session_table *table, const struct flow_key *key, struct session_ref ref)
{
	uint32_t signature = flow_hash(&table->secret, key);
	int ret;

	if (ref.generation == 0 || ref.index >= table->max_sessions)
		return -EINVAL;
	ret = rte_hash_lookup_with_hash(table->hash, key, signature);
	if (ret >= 0)
		return -EEXIST;
	if (ret != -ENOENT)
		return ret;
	ret = rte_hash_add_key_with_hash_data(table->hash, key, signature, ref_pack(ref));
	if (ret == -ENOSPC) {
		session_table_reclaim(table);
		ret = rte_hash_add_key_with_hash_data(table->hash, key, signature, ref_pack(ref));
	}
	if (ret == 0) {
		table->used++;
		front_insert(table, key, signature, ref);
	}
	return ret;
}

int session_table_remove(struct session_table *table, const struct flow_key *key)
{
	uint32_t signature = flow_hash(&table->secret, key), tail;
	int32_t position;
	void *data;

	position = rte_hash_lookup_with_hash_data(table->hash, key, signature, &data);
	if (position < 0)
		return position;
	front_remove(table, key, signature, ref_unpack(data).index);
	position = rte_hash_del_key_with_hash(table->hash, key, signature);
	if (position < 0)
		return position;
	/* A key slot is used or deferred, never both, and there are as many places here as slots: the queue cannot overflow. */
	tail = (table->deferred_head + table->deferred_count) % table->deferred_size;
	table->deferred[tail].position = position;
	/* Pairs with the lcores' rte_rcu_qsbr_quiescent(): a reader that could still see the key reports after this token. */
	table->deferred[tail].token = rte_rcu_qsbr_start(table->qsbr);
	table->deferred_count++;
	table->used--;
	return 0;
}

void session_table_reclaim(struct session_table *table)
{
	while (table->deferred_count > 0) {
		const struct deferred *oldest = &table->deferred[table->deferred_head];

		if (rte_rcu_qsbr_check(table->qsbr, oldest->token, false) != 1)
			return;
		rte_hash_free_key_with_position(table->hash, oldest->position);
		table->deferred_head = (table->deferred_head + 1) % table->deferred_size;
		table->deferred_count--;
	}
}

void session_table_count(const struct session_table *table, uint32_t *used, uint32_t *deferred)
{
	*used = table->used;
	*deferred = table->deferred_count;
}
