/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timing wheel of doubly linked lists of indices, one list per slot. Slot times are counted in whole TSC cycles with the
 * fraction carried along (Bresenham), so that after any number of turns the error is below one cycle.
 */
#include "wheel.h"

#include <string.h>

#define NONE	       UINT32_MAX
#define SLOTS_A_SECOND (WHEEL_SLOTS * (1000u / WHEEL_PERIOD_MS))
#define MAP_WORDS      ((WHEEL_SLOTS + 63u) / 64u)
#define STEP	       77u /* coprime to WHEEL_SLOTS: neighbours in time of creation land far apart */

struct node {
	uint32_t next, previous;
	uint32_t slot; /* NONE: not in the wheel */
};

struct wheel {
	uint64_t due_tsc;  /* of the slot `current` */
	uint32_t due_rest; /* its fraction, in cycles / SLOTS_A_SECOND */
	uint32_t step_rest;
	uint64_t step_tsc; /* one slot: step_tsc + step_rest / SLOTS_A_SECOND cycles */
	uint32_t current;  /* slot to be walked next */
	uint32_t cursor;   /* index to be handed out next in it; NONE when it is done */
	bool walking;	   /* some of the current slot have been handed out */
	uint32_t max, count;
	uint64_t skipped; /* beats of calls that were never handed out */
	uint32_t candidate;
	uint64_t used[MAP_WORDS]; /* slots that are not empty */
	uint32_t first[WHEEL_SLOTS];
	uint32_t members[WHEEL_SLOTS];
	struct node nodes[];
};

size_t wheel_size(uint32_t max)
{
	return sizeof(struct wheel) + (size_t)max * sizeof(struct node);
}

struct wheel *wheel_init(void *memory, uint32_t max, uint64_t tsc_hz, uint64_t now)
{
	struct wheel *wheel = memory;

	memset(wheel, 0, sizeof(*wheel));
	wheel->due_tsc = now;
	wheel->step_tsc = tsc_hz / SLOTS_A_SECOND;
	wheel->step_rest = (uint32_t)(tsc_hz % SLOTS_A_SECOND);
	wheel->max = max;
	for (unsigned int slot = 0; slot < WHEEL_SLOTS; slot++)
		wheel->first[slot] = NONE;
	for (uint32_t i = 0; i < max; i++)
		wheel->nodes[i].slot = NONE;
	return wheel;
}

void wheel_insert(struct wheel *wheel, uint32_t index)
{
	struct node *node = &wheel->nodes[index];

	if (node->slot != NONE)
		return;
	/* The better of two slots half a turn apart: evens out what ended calls left uneven. */
	uint32_t slot = wheel->candidate;
	uint32_t other = (slot + WHEEL_SLOTS / 2) % WHEEL_SLOTS;

	wheel->candidate = (slot + STEP) % WHEEL_SLOTS;
	if (wheel->members[other] < wheel->members[slot])
		slot = other;
	node->slot = slot;
	node->previous = NONE;
	node->next = wheel->first[slot];
	if (node->next != NONE)
		wheel->nodes[node->next].previous = index;
	wheel->first[slot] = index;
	wheel->members[slot]++;
	wheel->used[slot / 64] |= UINT64_C(1) << slot % 64;
	wheel->count++;
}

void wheel_remove(struct wheel *wheel, uint32_t index)
{
	struct node *node = &wheel->nodes[index];
	uint32_t slot = node->slot;

	if (slot == NONE)
		return;
	if (wheel->walking && wheel->cursor == index)
		wheel->cursor = node->next;
	if (node->previous != NONE)
		wheel->nodes[node->previous].next = node->next;
	else
		wheel->first[slot] = node->next;
	if (node->next != NONE)
		wheel->nodes[node->next].previous = node->previous;
	node->slot = NONE;
	wheel->count--;
	if (--wheel->members[slot] == 0)
		wheel->used[slot / 64] &= ~(UINT64_C(1) << slot % 64);
}

bool wheel_contains(const struct wheel *wheel, uint32_t index)
{
	return wheel->nodes[index].slot != NONE;
}

/* On to the next slot and its time. */
static void advance(struct wheel *wheel)
{
	wheel->walking = false;
	wheel->current = wheel->current + 1 == WHEEL_SLOTS ? 0 : wheel->current + 1;
	wheel->due_tsc += wheel->step_tsc;
	wheel->due_rest += wheel->step_rest;
	if (wheel->due_rest >= SLOTS_A_SECOND) {
		wheel->due_rest -= SLOTS_A_SECOND;
		wheel->due_tsc++;
	}
}

/* The machine stood still for long: a burst of the lost beats would help nobody, so go on in time from where we are. */
static void skip_lost(struct wheel *wheel, uint64_t now)
{
	uint64_t turn = wheel->step_tsc * WHEEL_SLOTS;

	if (now - wheel->due_tsc <= turn * WHEEL_ROUNDS_MAX)
		return;
	wheel->skipped += (now - wheel->due_tsc) / turn * wheel->count;
	wheel->due_tsc = now;
}

unsigned int wheel_due(struct wheel *wheel, uint64_t now, uint32_t indices[], unsigned int max, uint64_t *due_tsc)
{
	while (wheel->due_tsc <= now) {
		if (!wheel->walking) {
			skip_lost(wheel, now);
			wheel->walking = true;
			wheel->cursor = wheel->first[wheel->current];
		}
		unsigned int count = 0;

		*due_tsc = wheel->due_tsc;
		while (count < max && wheel->cursor != NONE) {
			indices[count++] = wheel->cursor;
			wheel->cursor = wheel->nodes[wheel->cursor].next;
		}
		if (wheel->cursor == NONE)
			advance(wheel);
		if (count > 0)
			return count;
	}
	return 0;
}

/* Slots from `current` to the next one in use, 0..WHEEL_SLOTS-1. */
static uint32_t slots_ahead(const struct wheel *wheel)
{
	uint32_t slot = wheel->current;

	for (uint32_t ahead = 0; ahead < WHEEL_SLOTS;) {
		uint64_t rest = wheel->used[slot / 64] >> slot % 64;
		uint32_t to_word_end = 64 - slot % 64;

		if (rest != 0)
			return ahead + (uint32_t)__builtin_ctzll(rest);
		if (slot + to_word_end >= WHEEL_SLOTS)
			to_word_end = WHEEL_SLOTS - slot;
		ahead += to_word_end;
		slot = (slot + to_word_end) % WHEEL_SLOTS;
	}
	return WHEEL_SLOTS - 1;
}

uint64_t wheel_next(const struct wheel *wheel)
{
	if (wheel->count == 0)
		return UINT64_MAX;
	return wheel->due_tsc + slots_ahead(wheel) * wheel->step_tsc;
}

uint64_t wheel_skipped(const struct wheel *wheel)
{
	return wheel->skipped;
}

uint32_t wheel_count(const struct wheel *wheel)
{
	return wheel->count;
}
