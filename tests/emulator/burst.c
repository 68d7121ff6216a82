/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schedule of an answer's audio messages (see burst.h).
 */
#include "burst.h"

#define DEFAULT_PACE	4.5
#define FIRST_MS	160u
#define MIN_QUANTA	4u  /* 160 ms */
#define MAX_QUANTA	15u /* 600 ms */
#define MIN_INTERVAL_MS 50u
#define MAX_INTERVAL_MS 160u

void burst_start(struct burst *burst, const struct burst_rules *rules, size_t total, uint32_t seed, uint64_t now_ms)
{
	*burst = (struct burst){.rules = rules, .random = seed | 1, .total = total, .next_ms = (double)now_ms, .first = true};
}

/* Numerical Recipes' linear congruence; only spread matters here. */
static uint32_t draw(struct burst *burst, uint32_t range)
{
	burst->random = burst->random * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)burst->random * range) >> 32);
}

static size_t choose_size(struct burst *burst)
{
	if (burst->rules->chunk_bytes > 0)
		return burst->rules->chunk_bytes;
	if (burst->first)
		return FIRST_MS * BURST_BYTES_PER_MS;
	/* The mean of two draws: most messages are 320 to 400 ms. */
	uint32_t range = MAX_QUANTA - MIN_QUANTA + 1;
	uint32_t quanta = MIN_QUANTA + (draw(burst, range) + draw(burst, range)) / 2;
	return (size_t)quanta * BURST_QUANTUM_MS * BURST_BYTES_PER_MS;
}

size_t burst_next(struct burst *burst, uint64_t now_ms)
{
	const struct burst_rules *rules = burst->rules;
	if (burst_done(burst) || (double)now_ms < burst->next_ms)
		return 0;
	if (rules->stall_ms > 0 && !burst->stalled && burst->sent >= burst->total / 4 * 2) {
		burst->stalled = true;
		burst->next_ms = (double)now_ms + rules->stall_ms;
		return 0;
	}
	bool tiny = rules->tiny && !burst->first && !burst->was_tiny;
	size_t size = tiny ? 2 : choose_size(burst) + (rules->odd ? 1 : 0);
	burst->was_tiny = tiny;
	if (size > burst->total - burst->sent)
		size = burst->total - burst->sent;
	/* The message before the pause ends in the middle. */
	size_t middle = burst->total / 4 * 2;
	if (rules->stall_ms > 0 && !burst->stalled && burst->sent + size > middle)
		size = middle - burst->sent;
	burst->sent += size;
	burst->first = false;
	if (rules->pace > 0 && burst->sent <= (size_t)rules->lead_ms * BURST_BYTES_PER_MS)
		return size;
	double pace = rules->pace > 0 ? rules->pace : DEFAULT_PACE;
	double interval = (double)size / BURST_BYTES_PER_MS / pace;
	if (rules->pace <= 0 && rules->chunk_bytes == 0 && !tiny)
		interval = interval < MIN_INTERVAL_MS ? MIN_INTERVAL_MS : interval > MAX_INTERVAL_MS ? MAX_INTERVAL_MS : interval;
	burst->next_ms += interval;
	return size;
}

bool burst_done(const struct burst *burst)
{
	return burst->sent >= burst->total;
}
