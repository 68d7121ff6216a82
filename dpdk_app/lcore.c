/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet lcore: its life, the commands of the control thread, and the turn of its loop.
 */
#include "lcore.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_pause.h>

#include "lcore_internal.h"

#define RTP_CLOCK_HZ	   8000u
#define US_A_SECOND	   1000000u
#define NS_A_SECOND	   1000000000u
#define LATE_BEAT_US	   1000u
#define DISCOVERY_SOURCE   50u /* packets a second */
#define DISCOVERY_TOTAL	   2000u
#define LEARN_SOURCE_SHARE 4u /* of learn_total_per_second, the part one address may take */
#define COMMANDS_OF_A_CALL 8u
#define ECHO_SOURCE	   50u
#define ECHO_TOTAL	   500u

/* The sleep ladder: turns without work before the next step. */
#define IDLE_SPIN_TURNS	 64u
#define IDLE_PAUSE_TURNS 512u
#define SLEEP_CALLS_US	 200u
#define SLEEP_EMPTY_US	 1000u
#define SLEEP_MIN_US	 20u
#define SLEEP_WAKE_US	 60u /* taken off a sleep before a beat: what a wake-up may take */

static uint64_t scale_of(uint64_t units_per_second, uint64_t tsc_hz)
{
	return (uint64_t)(((unsigned __int128)units_per_second << 64) / tsc_hz);
}

static struct rte_ring *ring_new(const char *what, unsigned int serial, unsigned int count, unsigned int size, int socket)
{
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof(name), "vl_%s_%u", what, serial);
	return rte_ring_create_elem(name, size, count, socket, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

static int rings_new(struct lcore *lcore, int socket)
{
	static unsigned int serial; /* the EAL wants unique names; control thread only */
	unsigned int n = serial++;

	lcore->to_control = ring_new("to_control", n, LCORE_RING_MBUFS, sizeof(void *), socket);
	lcore->rx_again = ring_new("rx_again", n, LCORE_RING_MBUFS, sizeof(void *), socket);
	lcore->tx_direct = ring_new("tx_direct", n, LCORE_RING_MBUFS, sizeof(void *), socket);
	lcore->commands = ring_new("commands", n, LCORE_COMMANDS, sizeof(struct lcore_command), socket);
	return lcore->to_control != NULL && lcore->rx_again != NULL && lcore->tx_direct != NULL && lcore->commands != NULL ? 0
															   : -1;
}

static void private_init(
	struct lcore_private *private, struct lcore_settings *settings, void *wheel_memory, uint32_t max_sessions)
{
	private->settings = settings;
	private->tsc_hz = settings->tsc_hz != 0 ? settings->tsc_hz : rte_get_tsc_hz();
	private->rtp_scale = scale_of(RTP_CLOCK_HZ, private->tsc_hz);
	private->us_scale = scale_of(US_A_SECOND, private->tsc_hz);
	private->late_tsc = private->tsc_hz / US_A_SECOND * LATE_BEAT_US;
	private->period_tsc = private->tsc_hz / 1000 * WHEEL_PERIOD_MS;
	private->now = rte_rdtsc();
	private->wheel = wheel_init(wheel_memory, max_sessions, private->tsc_hz, private->now);
	learn_limit_init(&private->streams, settings->random_key, private->tsc_hz, settings->learn_per_second,
		settings->learn_total_per_second);
	learn_limit_init(&private->learn, settings->random_key, private->tsc_hz,
		RTE_MAX(settings->learn_per_second, settings->learn_total_per_second / LEARN_SOURCE_SHARE),
		settings->learn_total_per_second);
	learn_limit_init(&private->expected, settings->random_key, private->tsc_hz, settings->learn_per_second,
		settings->learn_total_per_second);
	learn_limit_init(&private->discovery, settings->random_key, private->tsc_hz, DISCOVERY_SOURCE, DISCOVERY_TOTAL);
	learn_limit_init(&private->echo, settings->random_key, private->tsc_hz, ECHO_SOURCE, ECHO_TOTAL);
}

struct lcore *lcore_new(unsigned int index, unsigned int lcore_id, struct session_table *table, struct rte_mempool *pool,
	const struct packet_local *local, struct lcore_settings *settings)
{
	int socket = (int)rte_lcore_to_socket_id(lcore_id);
	uint32_t max_sessions = session_table_max(table);
	struct lcore *lcore = rte_zmalloc_socket("vl_lcore", sizeof(*lcore), RTE_CACHE_LINE_SIZE, socket);
	void *wheel_memory = rte_zmalloc_socket("vl_wheel", wheel_size(max_sessions), RTE_CACHE_LINE_SIZE, socket);
	struct lcore_private *private = rte_zmalloc_socket("vl_lcore_private", sizeof(*private), RTE_CACHE_LINE_SIZE, socket);

	if (lcore == NULL || wheel_memory == NULL || private == NULL) {
		rte_free(private);
		rte_free(wheel_memory);
		rte_free(lcore);
		rte_errno = ENOMEM;
		return NULL;
	}
	lcore->index = index;
	lcore->lcore_id = lcore_id;
	lcore->table = table;
	lcore->pool = pool;
	lcore->local = local;
	lcore->private = private;
	private_init(private, settings, wheel_memory, max_sessions);
	if (rings_new(lcore, socket) != 0) {
		int error = rte_errno;

		lcore_free(lcore);
		rte_errno = error;
		return NULL;
	}
	return lcore;
}

void lcore_free_ring(struct rte_ring *ring)
{
	void *mbuf;

	while (ring != NULL && rte_ring_sc_dequeue(ring, &mbuf) == 0)
		rte_pktmbuf_free(mbuf);
	rte_ring_free(ring);
}

void lcore_free(struct lcore *lcore)
{
	if (lcore == NULL)
		return;
	lcore_free_ring(lcore->to_control);
	lcore_free_ring(lcore->rx_again);
	lcore_free_ring(lcore->tx_direct);
	lcore_disconnect(lcore);
	lcore_disconnect_transmit(lcore);
	rte_ring_free(lcore->commands);
	rte_free(lcore_private(lcore)->wheel);
	rte_free(lcore->private);
	rte_free(lcore);
}

int lcore_add_rx_queue(struct lcore *lcore, uint16_t port, uint16_t queue)
{
	struct lcore_private *private = lcore_private(lcore);

	if (port >= PORTS_MAX)
		return -EINVAL;
	if (private->rx_queue_count == LCORE_RX_QUEUES)
		return -ENOSPC;
	private->rx_queues[private->rx_queue_count++] = (struct lcore_rx_queue){.port = port, .queue = queue};
	return 0;
}

int lcore_add_rx_queues(struct lcore *lcore, uint16_t port, uint16_t queues, unsigned int lcores)
{
	int result = 0;

	for (unsigned int queue = lcore->index; queue < queues && result == 0; queue += lcores)
		result = lcore_add_rx_queue(lcore, port, (uint16_t)queue);
	return result;
}

int lcore_set_tx_queue(struct lcore *lcore, uint16_t port, uint16_t queue)
{
	if (port >= PORTS_MAX)
		return -EINVAL;
	lcore_private(lcore)->tx[port].present = true;
	lcore_private(lcore)->tx[port].queue = queue;
	return 0;
}

bool lcore_has_room(const struct lcore *lcore)
{
	return rte_ring_free_count(lcore->commands) >= COMMANDS_OF_A_CALL;
}

int lcore_command(struct lcore *lcore, const struct lcore_command *command)
{
	return rte_ring_sp_enqueue_elem(lcore->commands, (void *)(uintptr_t)command, sizeof(*command)) == 0 ? 0 : -ENOBUFS;
}

static void command_start(struct lcore *lcore, const struct lcore_command *command, struct session *session)
{
	struct session_sender *sender = &session->sender;

	sender->target = command->start.target;
	sender->generation = command->session.generation;
	sender->attachment = command->attachment;
	sender->drained_pending = false;
	sender->event_active = false;
	telephone_event_reset(&session->event);
	playout_start(&session->playout, command->start.ssrc, command->start.seq, command->start.timestamp,
		command->start.payload_type, (enum playout_idle)command->start.idle);
	wheel_insert(lcore_private(lcore)->wheel, command->session.index);
}

/* TARGET, STREAM, EVENT, STOP and REATTACH, of a call that is on the wheel. */
static void command_playout(struct lcore *lcore, const struct lcore_command *command, struct session *session)
{
	switch (command->type) {
	case LCORE_PLAYOUT_TARGET:
		session->sender.target = command->target;
		break;
	case LCORE_PLAYOUT_STREAM:
		playout_restream(&session->playout, command->start.ssrc, command->start.seq, command->start.timestamp);
		telephone_event_restream(&session->event);
		session->sender.event_active = telephone_event_is_active(&session->event);
		break;
	case LCORE_PLAYOUT_EVENT:
		telephone_event_push(&session->event, command->event.payload_type, command->event.codes,
			command->event.count <= TELEPHONE_EVENT_DIGITS_MAX ? command->event.count : TELEPHONE_EVENT_DIGITS_MAX);
		session->sender.event_active = telephone_event_is_active(&session->event);
		break;
	case LCORE_PLAYOUT_STOP:
		wheel_remove(lcore_private(lcore)->wheel, command->session.index);
		session->sender.generation = 0;
		break;
	case LCORE_PLAYOUT_REATTACH:
		playout_reattach(&session->playout);
		session->sender.attachment = command->attachment;
		session->sender.drained_pending = false;
		break;
	}
}

static void command_worker(struct lcore *lcore, const struct lcore_command *command)
{
	struct lcore_private *private = lcore_private(lcore);
	uint64_t bit = UINT64_C(1) << command->worker_slot;

	if (command->type == LCORE_WORKER_ATTACH) {
		private->channels[command->worker_slot] = command->worker;
		private->attached |= bit;
	} else {
		/* The channel itself may be gone already. */
		private->channels[command->worker_slot] = NULL;
		private->attached &= ~bit;
	}
}

static void take_command(struct lcore *lcore, const struct lcore_command *command)
{
	if (command->type == LCORE_WORKER_ATTACH || command->type == LCORE_WORKER_DETACH) {
		if (command->worker_slot < WORKERS_MAX)
			command_worker(lcore, command);
		return;
	}
	if (command->session.index >= session_table_max(lcore->table) || command->session.generation == 0)
		return;
	struct session *session = session_table_at(lcore->table, command->session.index);

	if (command->type == LCORE_PLAYOUT_START)
		command_start(lcore, command, session);
	else if (session->sender.generation == command->session.generation &&
		 wheel_contains(lcore_private(lcore)->wheel, command->session.index))
		command_playout(lcore, command, session);
}

unsigned int lcore_take_commands(struct lcore *lcore)
{
	struct lcore_command command;
	unsigned int count = 0;

	while (count < LCORE_COMMANDS && rte_ring_sc_dequeue_elem(lcore->commands, &command, sizeof(command)) == 0) {
		take_command(lcore, &command);
		count++;
	}
	return count;
}

static unsigned int take_ports(struct lcore *lcore)
{
	struct lcore_private *private = lcore_private(lcore);
	struct rte_mbuf *mbufs[LCORE_BURST];
	unsigned int total = 0;

	for (unsigned int i = 0; i < private->rx_queue_count; i++) {
		const struct lcore_rx_queue *queue = &private->rx_queues[i];
		uint16_t count = LCORE_BURST;

		/* As many as beats in a turn at most: behind by as much each way, neither starves the other. */
		for (unsigned int burst = 0; burst < LCORE_BURSTS_A_TURN && count == LCORE_BURST; burst++) {
			count = rte_eth_rx_burst(queue->port, queue->queue, mbufs, LCORE_BURST);
			if (unlikely(private->handover.lcores != 0))
				lcore_hand_over(lcore, mbufs, count, queue->port);
			else if (count > 0)
				lcore_receive(lcore, mbufs, count, queue->port);
			total += count;
		}
	}
	if (unlikely(private->handover.lcores != 0))
		lcore_hand_over_rest(lcore);
	lcore_count(&lcore->counters.received, total);
	return total;
}

static unsigned int take_control(struct lcore *lcore)
{
	struct rte_mbuf *mbufs[LCORE_BURST];
	unsigned int again = rte_ring_sc_dequeue_burst(lcore->rx_again, (void **)mbufs, LCORE_BURST, NULL);

	if (again > 0)
		lcore_receive_again(lcore, mbufs, again);
	unsigned int direct = rte_ring_sc_dequeue_burst(lcore->tx_direct, (void **)mbufs, LCORE_BURST, NULL);

	if (direct > 0)
		lcore_send_direct(lcore, mbufs, direct);
	return again + direct;
}

bool lcore_turn(struct lcore *lcore)
{
	struct lcore_private *private = lcore_private(lcore);
	unsigned int work;

	private->now = rte_rdtsc();
	work = lcore_take_commands(lcore);
	/* What control kept of a flow is older than anything of it that a port has now. */
	work += take_control(lcore);
	if (unlikely(private->handover.sources != 0))
		work += lcore_take_handed(lcore);
	work += take_ports(lcore);
	work += lcore_drain_workers(lcore);
	work += lcore_beat(lcore);
	if (unlikely(private->transmit.sources != 0))
		work += lcore_take_sent_over(lcore);
	lcore_flush(lcore);
	rte_rcu_qsbr_quiescent(session_table_qsbr(lcore->table), lcore->index);
	return work > 0;
}

/* How long nothing of ours is due, in microseconds. */
static uint64_t sleep_us(const struct lcore_private *private)
{
	uint64_t next = wheel_next(private->wheel);
	uint64_t now = rte_rdtsc();
	uint64_t us;

	if (next == UINT64_MAX)
		return lcore_sends_for_others(private, now) ? SLEEP_CALLS_US : SLEEP_EMPTY_US;
	us = next > now ? lcore_scale(next - now, private->us_scale) : 0;
	us = us > SLEEP_WAKE_US ? us - SLEEP_WAKE_US : 0;
	return us < SLEEP_CALLS_US ? us : SLEEP_CALLS_US;
}

/* Spin, then pause, then sleep until the next beat is near. Offline while asleep, so nobody waits for us. */
static void idle(struct lcore *lcore, unsigned int idle_turns)
{
	struct rte_rcu_qsbr *qsbr = session_table_qsbr(lcore->table);
	uint64_t us;

	if (idle_turns < IDLE_SPIN_TURNS)
		return;
	rte_pause();
	if (idle_turns < IDLE_PAUSE_TURNS)
		return;
	us = sleep_us(lcore_private(lcore));
	if (us < SLEEP_MIN_US)
		return;
	struct timespec wait = {.tv_nsec = (long)(us * (NS_A_SECOND / US_A_SECOND))};

	rte_rcu_qsbr_thread_offline(qsbr, lcore->index);
	nanosleep(&wait, NULL);
	rte_rcu_qsbr_thread_online(qsbr, lcore->index);
}

int lcore_run(void *arg)
{
	struct lcore *lcore = arg;
	struct lcore_private *private = lcore_private(lcore);
	struct rte_rcu_qsbr *qsbr = session_table_qsbr(lcore->table);
	unsigned int idle_turns = 0;
	uint64_t before = rte_rdtsc();

	/* Wake from short sleeps when asked to, not up to 50 us later. */
	prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);
	rte_rcu_qsbr_thread_register(qsbr, lcore->index);
	rte_rcu_qsbr_thread_online(qsbr, lcore->index);
	while (!atomic_load_explicit(&private->settings->stop, memory_order_relaxed)) {
		bool busy = lcore_turn(lcore);
		uint64_t after = rte_rdtsc();

		if (busy) {
			lcore_count(&lcore->counters.busy_tsc, after - before);
			idle_turns = 0;
		} else if (private->settings->sleep) {
			idle(lcore, idle_turns++);
			after = rte_rdtsc();
		}
		lcore_count(&lcore->counters.total_tsc, after - before);
		before = after;
	}
	rte_rcu_qsbr_thread_offline(qsbr, lcore->index);
	rte_rcu_qsbr_thread_unregister(qsbr, lcore->index);
	return 0;
}
