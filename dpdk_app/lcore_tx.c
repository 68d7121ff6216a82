/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the workers to the ports: take records out of the downlink rings (each one checked as if a thief had written it), and
 * send every call's packet on its 20 ms beat.
 */
#include <errno.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_ethdev.h>
#include <rte_memcpy.h>
#include <rte_prefetch.h>

#include "lcore_internal.h"

#define RECORDS_A_TURN 64u /* of one worker */
#define RTP_SIZE       12u

/* Tell the worker of the session that its mark was reached; tried again on the next beat while its ring is full. */
static void report_drained(struct lcore *lcore, uint32_t index, struct session *session)
{
	struct lcore_private *private = lcore_private(lcore);
	uint8_t worker = atomic_load_explicit(&session_table_flow(lcore->table, index)->route.worker, memory_order_relaxed);

	if (worker >= WORKERS_MAX || (private->attached >> worker & 1) == 0) {
		session->sender.drained_pending = false; /* a next worker starts with a turn of its own */
		return;
	}
	struct vl_record *record = vl_ring_reserve(&private->channels[worker]->up[lcore->index], VL_RECORD_DRAINED, 0);

	if (record == NULL)
		return;
	record->session = index;
	record->generation = session->sender.generation;
	record->turn = session->sender.drained_turn;
	record->flags = session->sender.drained_flags;
	record->tsc = private->now;
	private->touched |= UINT64_C(1) << worker;
	session->sender.drained_pending = false;
}

static void drained(struct lcore *lcore, uint32_t index, struct session *session, uint32_t turn, uint8_t flags)
{
	session->sender.drained_turn = turn;
	session->sender.drained_flags = flags;
	session->sender.drained_pending = true;
	report_drained(lcore, index, session);
}

static void take_frame(struct lcore *lcore, struct session *session, const struct vl_record *record, const uint8_t *payload)
{
	switch (playout_push(&session->playout, record->turn, payload, record->len, record->tsc)) {
	case 0:
		break;
	case -ESTALE:
		lcore_drop(lcore, DROP_DOWN_STALE_TURN, 1);
		break;
	case -ENOBUFS:
		lcore_drop(lcore, DROP_PLAYOUT_FULL, 1);
		break;
	default:
		lcore_drop(lcore, DROP_DOWN_RECORD, 1);
		break;
	}
}

static void take_flush(struct lcore *lcore, struct session *session, const struct vl_record *record)
{
	struct lcore_private *private = lcore_private(lcore);

	if (session->playout.marked)
		drained(lcore, record->session, session, session->playout.turn, VL_RECORD_F_FLUSHED);
	lcore_drop(lcore, DROP_PLAYOUT_FLUSHED, playout_flush(&session->playout, record->turn));
	lcore_latency_add(private, &lcore->latency.flush_to_silence_us, record->tsc, rte_rdtsc());
}

/* Whether the queue and the turn are those of the worker that the route names. */
static inline bool is_told(const struct session *session, const struct session_route *route, uint32_t generation)
{
	return session->sender.generation == generation &&
	       session->sender.attachment == atomic_load_explicit(&route->attachment, memory_order_relaxed);
}

/*
 * Whether `worker` may say anything about this session on this lcore. Nothing of the session is touched before. May take commands, so
 * that what the caller knows of attached workers is old.
 */
static enum drop_reason judge_record(struct lcore *lcore, const struct vl_record *record, unsigned int worker)
{
	if (record->session >= session_table_max(lcore->table))
		return DROP_DOWN_SESSION;
	const struct session *session = session_table_at(lcore->table, record->session);
	const struct session_route *route = &session_table_flow(lcore->table, record->session)->route;
	enum drop_reason reason = route_judge_worker(route, record->generation, worker, lcore->index);

	if (reason != DROP_NONE)
		return reason;
	/* START or REATTACH came after this turn looked for commands. A FLUSH taken before it would be undone by it. */
	if (unlikely(!is_told(session, route, record->generation))) {
		lcore_take_commands(lcore);
		if (!is_told(session, route, record->generation))
			return DROP_STALE_GENERATION;
	}
	switch (record->type) {
	case VL_RECORD_FRAME:
		return record->len == PLAYOUT_FRAME_SIZE ? DROP_NONE : DROP_DOWN_RECORD;
	case VL_RECORD_FLUSH:
	case VL_RECORD_MARK:
		return record->len == 0 ? DROP_NONE : DROP_DOWN_RECORD;
	default:
		return DROP_DOWN_RECORD;
	}
}

static void take_record(struct lcore *lcore, const struct vl_record *record, const uint8_t *payload, unsigned int worker)
{
	enum drop_reason reason = judge_record(lcore, record, worker);

	if (unlikely(reason != DROP_NONE)) {
		lcore_drop(lcore, reason, 1);
		if (reason != DROP_STALE_GENERATION)
			lcore_count(&lcore->counters.refused_records, 1);
		return;
	}
	struct session *session = session_table_at(lcore->table, record->session);

	if (record->type == VL_RECORD_FRAME)
		take_frame(lcore, session, record, payload);
	else if (record->type == VL_RECORD_FLUSH)
		take_flush(lcore, session, record);
	else if (playout_mark(&session->playout, record->turn) != 0)
		lcore_drop(lcore, DROP_DOWN_STALE_TURN, 1);
}

void lcore_mark_broken(struct lcore *lcore, unsigned int worker)
{
	struct lcore_private *private = lcore_private(lcore);
	uint64_t bit = UINT64_C(1) << worker;

	private->attached &= ~bit;
	private->touched &= ~bit;
	private->channels[worker] = NULL;
	lcore_drop(lcore, DROP_DOWN_CORRUPT, 1);
	lcore_count(&lcore->counters.refused_records, 1);
}

static unsigned int drain_worker(struct lcore *lcore, unsigned int worker)
{
	struct vl_ring *ring = &lcore_private(lcore)->channels[worker]->down[lcore->index];
	unsigned int count = 0;

	while (count < RECORDS_A_TURN) {
		struct vl_record record;
		const uint8_t *payload;
		int ret = vl_ring_next(ring, &record, &payload);

		if (ret == 0)
			break;
		if (unlikely(ret < 0)) {
			lcore_mark_broken(lcore, worker);
			return count + 1;
		}
		take_record(lcore, &record, payload, worker);
		count++;
	}
	if (count > 0)
		vl_ring_release(ring);
	return count;
}

unsigned int lcore_drain_workers(struct lcore *lcore)
{
	struct lcore_private *private = lcore_private(lcore);
	unsigned int count = 0;

	for (uint64_t left = private->attached; left != 0; left &= left - 1) {
		unsigned int worker = (unsigned int)__builtin_ctzll(left);

		/* A DETACH may have been taken on the way. */
		if ((private->attached >> worker & 1) != 0)
			count += drain_worker(lcore, worker);
	}
	/* DRAINED of a flush goes up now. */
	lcore_publish(lcore);
	return count;
}

static void send_port(struct lcore *lcore, uint16_t port, struct lcore_tx_port *tx)
{
	uint16_t sent = rte_eth_tx_burst(port, tx->queue, tx->mbufs, tx->count);

	lcore_count(&lcore->counters.transmitted, sent);
	if (unlikely(sent < tx->count)) {
		lcore_drop(lcore, DROP_TX_FULL, (uint64_t)(tx->count - sent));
		rte_pktmbuf_free_bulk(tx->mbufs + sent, (unsigned int)(tx->count - sent));
	}
}

void lcore_flush_port(struct lcore *lcore, uint16_t port)
{
	struct lcore_tx_port *tx = &lcore_private(lcore)->tx[port];

	if (likely(tx->over == NULL))
		send_port(lcore, port, tx);
	else
		lcore_send_over(lcore, tx);
	tx->count = 0;
}

static inline void stage(struct lcore *lcore, uint16_t port, struct rte_mbuf *mbuf)
{
	struct lcore_private *private = lcore_private(lcore);

	if (unlikely(port >= PORTS_MAX || !private->tx[port].present)) {
		lcore_drop(lcore, DROP_TX_FULL, 1);
		rte_pktmbuf_free(mbuf);
		return;
	}
	struct lcore_tx_port *tx = &private->tx[port];

	tx->mbufs[tx->count++] = mbuf;
	private->tx_ports |= UINT64_C(1) << port;
	if (tx->count == LCORE_TX_STAGE)
		lcore_flush_port(lcore, port);
}

void lcore_flush(struct lcore *lcore)
{
	struct lcore_private *private = lcore_private(lcore);

	for (; private->tx_ports != 0; private->tx_ports &= private->tx_ports - 1) {
		uint16_t port = (uint16_t)__builtin_ctzll(private->tx_ports);

		if (private->tx[port].count > 0)
			lcore_flush_port(lcore, port);
	}
}

void lcore_send_direct(struct lcore *lcore, struct rte_mbuf *mbufs[], unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		stage(lcore, mbufs[i]->port, mbufs[i]);
}

/* Headers, RTP (RFC 3550 5.1), payload. The room was checked when the pool was made. */
static void build(
	struct rte_mbuf *mbuf, const struct header_template *headers, uint32_t ssrc, const struct playout_packet *packet)
{
	uint16_t udp_payload = (uint16_t)(RTP_SIZE + packet->payload_len);
	uint8_t *frame = rte_pktmbuf_mtod(mbuf, uint8_t *);
	uint8_t *rtp = frame + headers->len;
	uint16_t seq = rte_cpu_to_be_16(packet->seq);
	uint32_t timestamp = rte_cpu_to_be_32(packet->timestamp);
	uint32_t ssrc_be = rte_cpu_to_be_32(ssrc);

	rte_memcpy(frame, headers->bytes, headers->len);
	rtp[0] = 0x80;
	rtp[1] = (uint8_t)(packet->marker << 7 | packet->payload_type);
	memcpy(rtp + 2, &seq, sizeof(seq));
	memcpy(rtp + 4, &timestamp, sizeof(timestamp));
	memcpy(rtp + 8, &ssrc_be, sizeof(ssrc_be));
	rte_memcpy(rtp + RTP_SIZE, packet->payload, packet->payload_len);
	/* RFC 6864: the id of a datagram that is never fragmented means nothing. */
	headers_finish(headers, frame, udp_payload, packet->seq);
	mbuf->data_len = (uint16_t)(headers->len + udp_payload);
	mbuf->pkt_len = mbuf->data_len;
}

/* One call's beat. Uses `mbuf` (NULL: the pool is empty) and returns true, or leaves it and returns false. */
static bool beat_one(struct lcore *lcore, uint32_t index, struct rte_mbuf *mbuf, uint64_t now, bool behind)
{
	struct session *session = session_table_at(lcore->table, index);
	const struct lcore_target *target = &session->sender.target;
	struct playout_packet packet;
	bool used = false;

	if (unlikely(!target->ready)) {
		/* Frames wait in the queue; of a worker that goes on sending, the caller will hear the beginning (playout_full). */
		playout_skip(&session->playout);
		lcore_drop(lcore, DROP_TX_NO_NEIGHBOUR, 1);
		if (unlikely(session->sender.drained_pending))
			report_drained(lcore, index, session);
		return false;
	}
	if (unlikely(session->sender.event_active)) {
		telephone_event_beat(&session->event, &session->playout, &packet);
		session->sender.event_active = telephone_event_is_active(&session->event);
	} else if (unlikely(behind) && playout_is_dry(&session->playout)) {
		/* We stood still, and the worker perhaps too. Silence to catch up would be a hole in a word: the stream waits for its voice. */
		lcore_count(&lcore->counters.skipped_beats, 1);
		return false;
	} else {
		playout_beat(&session->playout, &packet);
	}
	if (packet.action != PLAYOUT_SEND_NOTHING) {
		if (unlikely(mbuf == NULL)) {
			lcore_drop(lcore, DROP_TX_NO_BUFFER, 1);
		} else {
			build(mbuf, &target->headers, session->playout.ssrc, &packet);
			stage(lcore, target->port, mbuf);
			if (packet.talkspurt)
				lcore_latency_add(
					lcore_private(lcore), &lcore->latency.message_to_rtp_us, packet.message_tsc, now);
			used = true;
		}
	}
	if (unlikely(packet.drained))
		drained(lcore, index, session, packet.drained_turn, 0);
	else if (unlikely(session->sender.drained_pending))
		report_drained(lcore, index, session);
	return used;
}

/* Calls that are due together. */
struct batch {
	uint32_t indices[LCORE_BURST];
	unsigned int count;
	uint64_t due;
};

static void beat_batch(struct lcore *lcore, const struct batch *batch)
{
	struct lcore_private *private = lcore_private(lcore);
	struct rte_mbuf *mbufs[LCORE_BURST];
	unsigned int used = 0;
	uint64_t now = rte_rdtsc();
	bool behind = now - batch->due > private->period_tsc; /* by a whole beat of each call */
	bool buffers = rte_pktmbuf_alloc_bulk(lcore->pool, mbufs, batch->count) == 0;

	if (now - batch->due > private->late_tsc)
		lcore_count(&lcore->counters.late_beats, batch->count);
	for (unsigned int i = 0; i < batch->count; i++) {
		const struct session_playout *playout = &session_table_at(lcore->table, batch->indices[i])->playout;
		const uint8_t *frame = playout->frame[playout->head];

		for (unsigned int offset = 0; playout->count > 0 && offset < PLAYOUT_FRAME_SIZE; offset += RTE_CACHE_LINE_SIZE)
			rte_prefetch0(frame + offset);
	}
	for (unsigned int i = 0; i < batch->count; i++)
		used += beat_one(lcore, batch->indices[i], buffers ? mbufs[used] : NULL, now, behind);
	if (buffers)
		rte_pktmbuf_free_bulk(mbufs + used, batch->count - used);
	lcore_count(&lcore->counters.frames, used);
	vl_histogram_add_many(&lcore->latency.beat_error_us, lcore_scale(now - batch->due, private->us_scale), used);
}

/* The next calls that are due, and what the wheel does not know of them on its way to the cache. */
static void next_batch(struct lcore *lcore, struct batch *batch)
{
	struct lcore_private *private = lcore_private(lcore);

	batch->count = wheel_due(private->wheel, private->now, batch->indices, LCORE_BURST, &batch->due);
	for (unsigned int i = 0; i < batch->count; i++) {
		const struct session *session = session_table_at(lcore->table, batch->indices[i]);

		rte_prefetch0(&session->sender);
		rte_prefetch0(&session->playout);
	}
}

unsigned int lcore_beat(struct lcore *lcore)
{
	struct wheel *wheel = lcore_private(lcore)->wheel;
	uint64_t skipped = wheel_skipped(wheel);
	struct batch batches[2];
	unsigned int total = 0, turn = 0;

	/* A batch is fetched while the one before it is sent. */
	next_batch(lcore, &batches[0]);
	while (batches[turn % 2].count > 0) {
		const struct batch *batch = &batches[turn++ % 2];

		if (turn < LCORE_BURSTS_A_TURN)
			next_batch(lcore, &batches[turn % 2]);
		else
			batches[turn % 2].count = 0;
		beat_batch(lcore, batch);
		total += batch->count;
	}
	skipped = wheel_skipped(wheel) - skipped;
	if (unlikely(skipped > 0))
		lcore_count(&lcore->counters.skipped_beats, skipped);
	lcore_publish(lcore);
	return total;
}
