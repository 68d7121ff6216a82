/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Circular buffer of byte_queue.h. The capacity is a power of two, so positions wrap by masking.
 */
#include "byte_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN  2048u  /* a quarter of a second */
#define CAPACITY_IDLE 16384u /* an empty queue larger than this gives its memory back */

/* Copy out without removing. */
static void peek(const struct byte_queue *q, uint8_t *bytes, size_t len)
{
	size_t first = q->capacity - q->head < len ? q->capacity - q->head : len;

	memcpy(bytes, q->bytes + q->head, first);
	memcpy(bytes + first, q->bytes, len - first);
}

static int reserve(struct byte_queue *q, size_t len)
{
	size_t capacity = q->capacity != 0 ? q->capacity : CAPACITY_MIN;
	uint8_t *bytes;

	while (capacity < q->len + len)
		capacity *= 2;
	if (capacity == q->capacity)
		return 0;
	bytes = malloc(capacity);
	if (bytes == NULL)
		return -ENOMEM;
	if (q->len > 0)
		peek(q, bytes, q->len);
	free(q->bytes);
	q->bytes = bytes;
	q->capacity = capacity;
	q->head = 0;
	return 0;
}

/* Write `len` bytes, room for which is reserved, at position `at`; NULL: `byte` each. */
static void put(struct byte_queue *q, size_t at, const uint8_t *bytes, uint8_t byte, size_t len)
{
	size_t first;

	at &= q->capacity - 1;
	first = q->capacity - at < len ? q->capacity - at : len;
	if (bytes == NULL) {
		memset(q->bytes + at, byte, first);
		memset(q->bytes, byte, len - first);
	} else {
		memcpy(q->bytes + at, bytes, first);
		memcpy(q->bytes, bytes + first, len - first);
	}
	q->len += len;
}

int byte_queue_push(struct byte_queue *q, const uint8_t *bytes, size_t len)
{
	if (len == 0)
		return 0;
	if (reserve(q, len) != 0)
		return -ENOMEM;
	put(q, q->head + q->len, bytes, 0, len);
	return 0;
}

int byte_queue_push_front(struct byte_queue *q, const uint8_t *bytes, size_t len)
{
	if (len == 0)
		return 0;
	if (reserve(q, len) != 0)
		return -ENOMEM;
	q->head = (q->head - len) & (q->capacity - 1);
	put(q, q->head, bytes, 0, len);
	return 0;
}

int byte_queue_fill(struct byte_queue *q, uint8_t byte, size_t len)
{
	if (len == 0)
		return 0;
	if (reserve(q, len) != 0)
		return -ENOMEM;
	put(q, q->head + q->len, NULL, byte, len);
	return 0;
}

void byte_queue_pop(struct byte_queue *q, uint8_t *bytes, size_t len)
{
	if (len == 0)
		return;
	if (bytes != NULL)
		peek(q, bytes, len);
	q->head = (q->head + len) & (q->capacity - 1);
	q->len -= len;
	if (q->len == 0 && q->capacity > CAPACITY_IDLE)
		byte_queue_clear(q);
}

void byte_queue_clear(struct byte_queue *q)
{
	free(q->bytes);
	*q = (struct byte_queue){0};
}
