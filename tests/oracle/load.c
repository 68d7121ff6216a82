/* SPDX-License-Identifier: Apache-2.0 */
/*
 * voxlane-load: start, loop and commands; load.h says what it is. Commands on standard input, one word or pair a line:
 *   stats | reset | pause | resume | quit | attack NAME | attack-pps N | churn N | moves N | nats N
 * "stats" is answered with one JSON object on standard output.
 */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>

#define DESCRIPTORS 1024
#define POOL_SIZE   16383u
#define ANNOUNCE_MS 6000u /* longer than the data plane waits before it asks again */
#define STUCK_S	    30u	  /* the data plane takes nothing any more */

struct load load = {.pace = 1, .control = -1, .random = 1};

void load_die(const char *what, int error)
{
	fprintf(stderr, "voxlane-load: %s: %s\n", what, strerror(error));
	exit(EXIT_FAILURE);
}

static unsigned int receive(void)
{
	struct rte_mbuf *mbufs[64];
	uint16_t count = rte_eth_rx_burst(load.port, 0, mbufs, 64);
	uint64_t now = rte_rdtsc();

	for (uint16_t i = 0; i < count; i++)
		hear_frame(rte_pktmbuf_mtod(mbufs[i], const uint8_t *), rte_pktmbuf_data_len(mbufs[i]), now);
	rte_pktmbuf_free_bulk(mbufs, count);
	return count;
}

void load_flush(void)
{
	const struct timespec rest = {.tv_nsec = 50000};
	uint64_t since = rte_rdtsc();
	unsigned int sent = 0;

	while (sent < load.out_count) {
		sent += rte_eth_tx_burst(load.port, 0, load.out + sent, (uint16_t)(load.out_count - sent));
		if (sent == load.out_count)
			break;
		load.counters.link_full_waits++;
		if (receive() == 0)
			nanosleep(&rest, NULL);
		if (rte_rdtsc() - since > STUCK_S * load.tsc_hz)
			load_die("the data plane takes no packets", ETIMEDOUT);
	}
	load.out_count = 0;
}

void load_send(struct rte_mbuf *mbuf)
{
	load.out[load.out_count++] = mbuf;
	if (load.out_count == RTE_DIM(load.out))
		load_flush();
}

static void print_stats(void)
{
	const struct load_counters *c = &load.counters;

	printf("{\"good\": %" PRIu64 ", \"duplicates\": %" PRIu64 ", \"reordered\": %" PRIu64 ", \"ended_trail\": %" PRIu64
	       ", \"moved_trail\": %" PRIu64 ", \"attack\": %" PRIu64 ", \"attack_dropped\": %" PRIu64 ", \"down\": %" PRIu64
	       ", \"down_bytes\": %" PRIu64 ", \"down_foreign_bytes\": %" PRIu64 ", \"down_silence\": %" PRIu64
	       ", \"down_tail\": %" PRIu64 ", \"to_strangers\": %" PRIu64 ", \"down_other\": %" PRIu64 ", \"created\": %" PRIu64
	       ", \"create_failed\": %" PRIu64 ", \"deleted\": %" PRIu64 ", \"delete_failed\": %" PRIu64 ", \"moved\": %" PRIu64
	       ", \"move_failed\": %" PRIu64 ", \"nat_moved\": %" PRIu64 ", \"link_full_waits\": %" PRIu64
	       ", \"late_rotations\": %" PRIu64 ", \"live\": %u, \"beat_p50_us\": %u, \"beat_p99_us\": %u"
	       ", \"beat_max_us\": %u, \"error\": \"%s\"}\n",
		c->good, c->duplicates, c->reordered, c->ended_trail, c->moved_trail, c->attack, c->attack_dropped, c->down,
		c->down_bytes, c->down_foreign_bytes, c->down_silence, c->down_tail, c->to_strangers, c->down_other, c->created,
		c->create_failed, c->deleted, c->delete_failed, c->moved, c->move_failed, c->nat_moved, c->link_full_waits,
		c->late_rotations, load.live, vl_histogram_percentile(&load.beat_us, 0.5),
		vl_histogram_percentile(&load.beat_us, 0.99), atomic_load(&load.beat_us.max), load.error);
	fflush(stdout);
}

static void take_command(const char *word, const char *value)
{
	uint64_t now = rte_rdtsc();

	if (strcmp(word, "stats") == 0) {
		print_stats();
	} else if (strcmp(word, "reset") == 0) {
		memset(&load.beat_us, 0, sizeof(load.beat_us));
		for (uint32_t i = 0; i < load.calls; i++)
			load.slots[i].last_heard = 0; /* a pause is no jitter */
	} else if (strcmp(word, "pause") == 0) {
		load.paused = true;
	} else if (strcmp(word, "resume") == 0) {
		load.paused = false;
		load.due = load.credit_tsc = load.attack_tsc = now;
		load.attack_credit = load.churn_credit = load.moves_credit = load.nats_credit = 0;
	} else if (strcmp(word, "attack") == 0 && value != NULL) {
		load.attack = attack_find(value);
		if (load.attack < 0)
			load_die(value, EINVAL);
	} else if (strcmp(word, "attack-pps") == 0 && value != NULL) {
		load.attack_pps = strtod(value, NULL);
	} else if (strcmp(word, "churn") == 0 && value != NULL) {
		load.churn = strtod(value, NULL);
	} else if (strcmp(word, "moves") == 0 && value != NULL) {
		load.moves = strtod(value, NULL);
	} else if (strcmp(word, "nats") == 0 && value != NULL) {
		load.nats = strtod(value, NULL);
	} else {
		load.quit = true;
	}
}

static void read_commands(void)
{
	struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
	char text[512];
	ssize_t len;

	if (poll(&wait, 1, 0) != 1)
		return;
	len = read(STDIN_FILENO, text, sizeof(text) - 1);
	if (len <= 0) {
		load.quit = true;
		return;
	}
	text[len] = '\0';
	for (char *save, *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, ' ');

		if (value != NULL)
			*value++ = '\0';
		take_command(line, value);
	}
}

static void start_port(void)
{
	struct rte_eth_conf configuration = {0};
	struct rte_eth_link link = {0};
	int ret;

	if (rte_eth_dev_count_avail() != 1)
		load_die("needs exactly one port, for example --vdev=net_memif0,role=client,socket=PATH", ENODEV);
	load.port = 0;
	load.pool = rte_pktmbuf_pool_create("load", POOL_SIZE, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (load.pool == NULL)
		load_die("packet buffers", ENOMEM);
	ret = rte_eth_dev_configure(load.port, 1, 1, &configuration);
	if (ret == 0)
		ret = rte_eth_rx_queue_setup(load.port, 0, DESCRIPTORS, 0, NULL, load.pool);
	if (ret == 0)
		ret = rte_eth_tx_queue_setup(load.port, 0, DESCRIPTORS, 0, NULL);
	if (ret == 0)
		ret = rte_eth_dev_start(load.port);
	if (ret != 0)
		load_die("the port does not start", -ret);
	for (unsigned int i = 0; i < 1000 && link.link_status != RTE_ETH_LINK_UP; i++) {
		rte_delay_us_sleep(10000);
		rte_eth_link_get_nowait(load.port, &link);
	}
	if (link.link_status != RTE_ETH_LINK_UP)
		load_die("no data plane at the other end", ETIMEDOUT);
}

static void loop(void)
{
	const struct timespec rest = {.tv_nsec = 100000};
	uint64_t commands_due = 0;

	while (!load.quit) {
		uint64_t now = rte_rdtsc();
		unsigned int work = receive();

		work += calls_run();
		if (!load.paused) {
			work += send_run(now);
			work += attack_run(now);
		}
		load_flush();
		if (now >= commands_due) {
			read_commands();
			commands_due = now + load.tsc_hz / 500;
		}
		if (work == 0)
			nanosleep(&rest, NULL);
	}
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);

	if (used < 0)
		load_die("the EAL did not start", EINVAL);
	argc -= used;
	argv += used;
	if (argc != 5) {
		fprintf(stderr, "usage: voxlane-load [EAL options] -- CONTROL_SOCKET CALLS PACE 4|6\n");
		return EXIT_FAILURE;
	}
	load.calls = (uint32_t)strtoul(argv[2], NULL, 10);
	load.pace = strtod(argv[3], NULL);
	load.ipv6 = strcmp(argv[4], "6") == 0;
	load.payload_at = load.ipv6 ? 62 : 42;
	if (load.calls == 0 || load.calls > 1u << 17 || load.pace <= 0)
		load_die("CALLS or PACE", EINVAL);
	load.slots = calloc(load.calls, sizeof(*load.slots));
	if (load.slots == NULL)
		load_die("callers", ENOMEM);
	for (uint32_t i = 0; i < load.calls; i++)
		calls_init(&load.slots[i], i);
	load.tsc_hz = rte_get_tsc_hz();
	load.rotation_tsc = (uint64_t)((double)load.tsc_hz * load.pace * FRAME_MS / 1000);
	load.paused = true;
	start_port();
	for (unsigned int i = 0; i < ANNOUNCE_MS && !load.asked_for_gateway; i++, rte_delay_us_sleep(1000)) {
		if (i % 100 == 0)
			hear_announce();
		receive();
	}
	rte_delay_us_sleep(50000); /* our answer is there before the first call */
	calls_connect(argv[1]);
	printf("{\"started\": true}\n");
	fflush(stdout);
	loop();
	print_stats();
	return EXIT_SUCCESS;
}
