/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of G.711 samples, one byte each, that grows by doubling up to a bound and gives its memory back when it is empty. Both
 * directions of a call keep their audio in one, because a second of it takes 8 kB and not 48. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct byte_queue {
	uint8_t *bytes;
	size_t capacity;  /* power of two, 0 without memory */
	size_t head, len; /* first byte, bytes held */
};

/* Append `len` bytes. Worker loop. Returns 0 or -ENOMEM, with nothing appended. */
int byte_queue_push(struct byte_queue *queue, const uint8_t *bytes, size_t len);

/* Put `len` bytes in front of the first. Worker loop. Returns 0 or -ENOMEM, with nothing put. */
int byte_queue_push_front(struct byte_queue *queue, const uint8_t *bytes, size_t len);

/* Append `len` times `byte`. Worker loop. Returns 0 or -ENOMEM. */
int byte_queue_fill(struct byte_queue *queue, uint8_t byte, size_t len);

/* Take the first `len` bytes, at most queue->len; `bytes` may be NULL to drop them. Worker loop. */
void byte_queue_pop(struct byte_queue *queue, uint8_t *bytes, size_t len);

/* Drop everything and free the memory. Worker loop. */
void byte_queue_clear(struct byte_queue *queue);
