/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 3550 A.1 (sequence numbers), A.3 (loss) and A.8 (jitter) on one cache line per call. One writer, so a relaxed load and
 * a relaxed store make a counter; readers need no more than that each value is whole.
 */
#include "receive.h"

#define load(field)	    atomic_load_explicit(&(field), memory_order_relaxed)
#define store(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define add(field, value)   store(field, load(field) + (value))

/* Expected under the present SSRC. */
static uint32_t expected_now(const struct session_receive *receive)
{
	return load(receive->packets) == 0 ? 0 : load(receive->max_seq) - load(receive->base_seq) + 1;
}

/* A new sequence begins; `before` numbers of it were received already. */
static void restart(struct session_receive *receive, uint16_t seq, uint32_t before)
{
	add(receive->expected_prior, expected_now(receive));
	store(receive->base_seq, (uint16_t)(seq - before));
	/* Extended numbers count up from base_seq, which a confirming packet may have left just below the wrap. */
	store(receive->max_seq, (uint32_t)(uint16_t)(seq - before) + before);
	store(receive->bad_seq, seq);
	store(receive->window, before != 0 ? 3 : 1);
}

enum order { ORDER_NEXT, ORDER_RESTART, ORDER_LATE, ORDER_DUPLICATE, ORDER_JUMP };

/* RFC 3550 A.1 update_seq(), with a window in place of its assumption that a late packet is no duplicate. */
static enum order update_seq(struct session_receive *receive, uint16_t seq)
{
	uint32_t max = load(receive->max_seq);
	uint16_t ahead = (uint16_t)(seq - (uint16_t)max);
	uint16_t behind = (uint16_t)((uint16_t)max - seq);

	if (ahead != 0 && ahead < RECEIVE_MAX_DROPOUT) {
		store(receive->max_seq, max + ahead);
		store(receive->window, ahead < RECEIVE_WINDOW ? load(receive->window) << ahead | 1 : 1);
		store(receive->bad_seq, seq);
		return ORDER_NEXT;
	}
	if (behind <= RECEIVE_MAX_MISORDER) {
		if (behind >= RECEIVE_WINDOW)
			return ORDER_LATE;
		if (load(receive->window) & 1u << behind)
			return ORDER_DUPLICATE;
		store(receive->window, load(receive->window) | 1u << behind);
		return ORDER_LATE;
	}
	if (seq == load(receive->bad_seq)) {
		restart(receive, seq, 1);
		/* The packet that jumped belongs to the new sequence, not to the old. */
		return ORDER_RESTART;
	}
	store(receive->bad_seq, (uint16_t)(seq + 1));
	return ORDER_JUMP;
}

/* RFC 3550 A.8. A talkspurt after a pause, or a step of a second, says more about the sender's clock than about the network. */
static void update_jitter(struct session_receive *receive, uint32_t transit, bool measure)
{
	int32_t difference = (int32_t)(transit - load(receive->transit));
	uint32_t jitter = load(receive->jitter_q4);
	uint32_t distance = (uint32_t)(difference < 0 ? -(int64_t)difference : difference);

	store(receive->transit, transit);
	if (measure && distance < RECEIVE_CLOCK_HZ)
		store(receive->jitter_q4, jitter + distance - ((jitter + 8) >> 4));
}

bool receive_account(struct session_receive *receive, const struct packet *packet, bool audio, uint32_t arrival, uint64_t tsc)
{
	bool measure = audio && !packet->marker;

	store(receive->last_tsc, tsc);
	if (load(receive->packets) == 0 || load(receive->ssrc) != packet->key.ssrc) {
		restart(receive, packet->seq, 0);
		store(receive->ssrc, packet->key.ssrc);
		measure = false;
	} else {
		switch (update_seq(receive, packet->seq)) {
		case ORDER_DUPLICATE:
			add(receive->duplicates, 1);
			return false;
		case ORDER_LATE:
			add(receive->reordered, 1);
			break;
		case ORDER_JUMP:
		case ORDER_RESTART:
			measure = false;
			break;
		case ORDER_NEXT:
			break;
		}
	}
	add(receive->packets, 1);
	add(receive->bytes, packet->payload_len);
	if (audio)
		update_jitter(receive, arrival - packet->timestamp, measure);
	return true;
}

#define FLOW_INTERVAL  (RECEIVE_CLOCK_HZ / RECEIVE_FLOW_RATE)
#define FLOW_TOLERANCE (FLOW_INTERVAL * (RECEIVE_FLOW_BURST - 1))

bool receive_admit(struct session_receive *receive, uint32_t arrival)
{
	uint32_t due = load(receive->due), ahead = due == 0 ? 0 : due - arrival;

	/* Further ahead than it can be is a moment long gone. */
	if (ahead > RECEIVE_CLOCK_HZ)
		ahead = 0;
	if (ahead > FLOW_TOLERANCE)
		return false;
	store(receive->due, arrival + ahead + FLOW_INTERVAL);
	return true;
}

void receive_dropped(struct session_receive *receive)
{
	add(receive->dropped, 1);
}

void receive_reset(struct session_receive *receive)
{
	store(receive->packets, 0);
	store(receive->due, 0);
	store(receive->bytes, 0);
	store(receive->last_tsc, 0);
	store(receive->jitter_q4, 0);
	store(receive->duplicates, 0);
	store(receive->reordered, 0);
	store(receive->dropped, 0);
	store(receive->ssrc, 0);
	store(receive->max_seq, 0);
	store(receive->expected_prior, 0);
	store(receive->transit, 0);
	store(receive->window, 0);
	store(receive->base_seq, 0);
	store(receive->bad_seq, 0);
}

uint32_t receive_expected(const struct session_receive *receive)
{
	return load(receive->expected_prior) + expected_now(receive);
}

uint32_t receive_lost(const struct session_receive *receive)
{
	uint32_t received = load(receive->packets), expected = receive_expected(receive);

	return received >= expected ? 0 : expected - received;
}

uint32_t receive_jitter_us(const struct session_receive *receive)
{
	return (uint32_t)((uint64_t)load(receive->jitter_q4) * 1000000u / 16u / RECEIVE_CLOCK_HZ);
}
