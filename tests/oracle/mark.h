/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watermark: a 160-byte payload (20 ms of G.711) in which every byte says whose it is. Nine blocks of 16 bytes name call,
 * life (how often that call was set up), sequence number and a keyed hash of them; the tenth carries the time of sending under
 * the same hash. Shared by the load generator and the checking worker; independent of the product's code.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MARK_SIZE	160u
#define MARK_BLOCK	16u
#define MARK_IDENTITIES 9u

/* Not calls: whoever hears one of these heard somebody it must not hear. */
#define MARK_ATTACKER 0xffffffffu
#define MARK_LEFT     0xfffffffeu /* sent from a place the call has left */

enum mark_direction { MARK_UP = 1, MARK_DOWN = 2 };

struct mark {
	uint32_t call;
	uint16_t life, seq;
	uint64_t tsc; /* when it was sent */
};

/* Finalizer of MurmurHash3 (public domain): every bit of the input reaches every bit of the output. Any thread. */
static inline uint64_t mark_mix(uint64_t value)
{
	value = (value ^ value >> 33) * UINT64_C(0xff51afd7ed558ccd);
	value = (value ^ value >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return value ^ value >> 33;
}

static inline uint64_t mark_base(enum mark_direction direction, const struct mark *mark)
{
	uint64_t name = (uint64_t)mark->call << 32 | (uint32_t)mark->life << 16 | mark->seq;

	return mark_mix(mark_mix(name ^ UINT64_C(0x766f786c616e6521)) + direction);
}

/* Write MARK_SIZE bytes. Any thread. */
static inline void mark_write(uint8_t *payload, enum mark_direction direction, const struct mark *mark)
{
	uint64_t name = (uint64_t)mark->call << 32 | (uint32_t)mark->life << 16 | mark->seq, base = mark_base(direction, mark);
	uint64_t hash;

	for (unsigned int i = 0; i < MARK_IDENTITIES; i++, payload += MARK_BLOCK) {
		hash = mark_mix(base + i);
		memcpy(payload, &name, sizeof(name));
		memcpy(payload + sizeof(name), &hash, sizeof(hash));
	}
	hash = mark_mix(base ^ mark->tsc);
	memcpy(payload, &mark->tsc, sizeof(mark->tsc));
	memcpy(payload + sizeof(mark->tsc), &hash, sizeof(hash));
}

/* Whose mark a payload's first block is, true or forged; for reports and for the sequence number. Any thread. */
static inline void mark_read(const uint8_t *payload, struct mark *mark)
{
	uint64_t name;

	memcpy(&name, payload, sizeof(name));
	memcpy(&mark->tsc, payload + MARK_IDENTITIES * MARK_BLOCK, sizeof(mark->tsc));
	mark->call = (uint32_t)(name >> 32);
	mark->life = (uint16_t)(name >> 16);
	mark->seq = (uint16_t)name;
}

/*
 * How many of the `len` bytes are not what `expected` (its tsc is not looked at) would have written. Any thread. A payload of
 * another length is foreign as a whole.
 */
static inline uint32_t mark_foreign(
	const uint8_t *payload, size_t len, enum mark_direction direction, const struct mark *expected)
{
	uint8_t right[MARK_SIZE];
	struct mark mark = *expected;
	uint32_t foreign = 0;

	if (len != MARK_SIZE)
		return (uint32_t)len;
	memcpy(&mark.tsc, payload + MARK_IDENTITIES * MARK_BLOCK, sizeof(mark.tsc));
	mark_write(right, direction, &mark);
	if (memcmp(right, payload, MARK_SIZE) == 0)
		return 0;
	for (unsigned int i = 0; i < MARK_SIZE; i += MARK_BLOCK)
		foreign += memcmp(right + i, payload + i, MARK_BLOCK) != 0 ? MARK_BLOCK : 0;
	return foreign;
}
