/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See lcore_bench.h.
 */
#include "lcore_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>
#include <rte_memory.h>

#define HEAP	  "bench"
#define HEAP_PAGE (2u << 20)

void lcore_bench_require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, rte_strerror(rte_errno));
	exit(EXIT_FAILURE);
}

/* Megabytes in free hugepages of the default size. */
static unsigned long hugepages_mb(void)
{
	unsigned long free_pages = 0, size_kb = 0;
	FILE *file = fopen("/proc/meminfo", "r");
	char line[128];

	if (file == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL) {
		sscanf(line, "HugePages_Free: %lu", &free_pages);
		sscanf(line, "Hugepagesize: %lu", &size_kb);
	}
	fclose(file);
	return free_pages * size_kb / 1024;
}

void lcore_bench_eal(int argc, char *argv[], unsigned int megabytes)
{
	lcore_bench_eal_with(argc, argv, megabytes, "-l 0 --vdev=net_null0");
}

void lcore_bench_eal_with(int argc, char *argv[], unsigned int megabytes, const char *options)
{
	char words[256];
	char *arguments[16] = {NULL}, *next = words;
	bool huge = hugepages_mb() >= megabytes;
	int count = 0;

	if (argc > 1) {
		lcore_bench_require(rte_eal_init(argc, argv) >= 0, "cannot start the EAL");
		return;
	}
	printf("%s\n", huge ? "with hugepages" : "without hugepages");
	snprintf(words, sizeof(words), "bench %s --no-pci --no-telemetry -m %u --log-level=error %s",
		huge ? "--in-memory" : "--no-huge --no-shconf", megabytes, options);
	while (next != NULL)
		arguments[count++] = strsep(&next, " ");
	lcore_bench_require(rte_eal_init(count, arguments) >= 0, "cannot start the EAL");
}

struct flow_key lcore_bench_key(uint32_t index)
{
	/* 64 carriers' addresses, as many ports as it takes, any SSRC. */
	struct flow_key key = {.local = {{[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 77, [15] = 1}},
		.remote = {{[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 168, [14] = 50, [15] = (uint8_t)(index % 64)}},
		.local_port = 5004,
		.remote_port = (uint16_t)(1024 + index / 64 * 2),
		.ssrc = index * 2654435761u};

	return key;
}

/*
 * The sessions and what finds them, in memory that is as good as hugepages when the kernel has transparent ones, so that a
 * million calls need none to be set aside.
 */
static void heap_add(struct lcore_bench *bench, uint32_t sessions)
{
	size_t size = RTE_ALIGN((size_t)sessions * (sizeof(struct session) + 512) + (64u << 20), (size_t)HEAP_PAGE);
	void *all = mmap(NULL, size + HEAP_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	lcore_bench_require(all != MAP_FAILED && rte_malloc_heap_create(HEAP) == 0, "no memory for sessions");
	bench->heap = RTE_PTR_ALIGN(all, HEAP_PAGE);
	bench->heap_size = size;
	bench->heap_map = all;
	madvise(bench->heap, size, MADV_HUGEPAGE);
	lcore_bench_require(
		rte_malloc_heap_memory_add(HEAP, bench->heap, size, NULL, 0, HEAP_PAGE) == 0, "cannot use memory for sessions");
	bench->socket = rte_malloc_heap_get_socket(HEAP);
}

static void heap_remove(struct lcore_bench *bench)
{
	lcore_bench_require(
		rte_malloc_heap_memory_remove(HEAP, bench->heap, bench->heap_size) == 0 && rte_malloc_heap_destroy(HEAP) == 0,
		"the memory for sessions is still in use");
	munmap(bench->heap_map, bench->heap_size + HEAP_PAGE);
}

static void open_sessions(struct lcore_bench *bench, uint32_t sessions)
{
	for (uint32_t i = 0; i < sessions; i++) {
		struct session_route *route = &session_table_flow(bench->table, i)->route;
		struct flow_key key = lcore_bench_key(i);

		atomic_store_explicit(&route->worker, (uint8_t)(i % BENCH_WORKERS), memory_order_relaxed);
		atomic_store_explicit(&route->generation, 1, memory_order_release);
		lcore_bench_require(
			session_table_insert(bench->table, &key, (struct session_ref){i, 1}) == 0, "cannot insert a flow");
	}
}

static void start_port(struct rte_mempool *pool, unsigned int lcores)
{
	struct rte_eth_conf configuration = {0};

	lcore_bench_require(rte_eth_dev_configure(0, 1, (uint16_t)lcores, &configuration) == 0 &&
				    rte_eth_rx_queue_setup(0, 0, 512, 0, NULL, pool) == 0,
		"cannot configure port 0");
	for (uint16_t queue = 0; queue < lcores; queue++)
		lcore_bench_require(rte_eth_tx_queue_setup(0, queue, 512, 0, NULL) == 0, "cannot set up a queue");
	lcore_bench_require(rte_eth_dev_start(0) == 0, "cannot start port 0");
}

static void attach(struct lcore_bench *bench, uint8_t worker)
{
	struct lcore_command command = {.type = LCORE_WORKER_ATTACH, .worker_slot = worker, .worker = &bench->ours[worker]};
	int fd = vl_channel_create(&bench->ours[worker], bench->lcore_count, BENCH_SLOTS);

	lcore_bench_require(fd >= 0 && vl_channel_map(&bench->theirs[worker], fd) == 0, "no memory for a channel");
	close(fd);
	for (unsigned int i = 0; i < bench->lcore_count; i++)
		lcore_command(bench->lcores[i], &command);
}

void lcore_bench_setup(struct lcore_bench *bench, uint32_t sessions, uint32_t mbufs)
{
	lcore_bench_setup_lcores(bench, sessions, mbufs, 1);
}

void lcore_bench_setup_lcores(struct lcore_bench *bench, uint32_t sessions, uint32_t mbufs, unsigned int lcores)
{
	char name[32];

	memset(bench, 0, sizeof(*bench));
	bench->lcore_count = lcores;
	for (unsigned int i = 0; i < PORTS_MAX; i++) {
		struct flow_key key = lcore_bench_key(0);

		bench->locals[i] = (struct packet_local){
			.addresses = {key.local}, .address_count = 1, .rtp_port = 5004, .mac = {2, 0, 0, 0, 0, 1}};
	}
	snprintf(name, sizeof(name), "bench_%u", sessions);
	bench->pool = rte_pktmbuf_pool_create(name, mbufs, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	lcore_bench_require(bench->pool != NULL, "no memory for packet buffers");
	start_port(bench->pool, lcores);
	heap_add(bench, sessions);
	bench->table = session_table_new(sessions, bench->socket);
	lcore_bench_require(bench->table != NULL, "no memory for sessions");
	for (unsigned int i = 0; i < lcores; i++) {
		bench->lcores[i] = lcore_new(i, i, bench->table, bench->pool, bench->locals, &bench->settings);
		lcore_bench_require(bench->lcores[i] != NULL, "no memory for the lcore");
	}
	bench->lcore = bench->lcores[0];
	lcore_set_tx_queue(bench->lcore, 0, 0);
	for (unsigned int i = 0; i < BENCH_WORKERS; i++)
		attach(bench, (uint8_t)i);
	open_sessions(bench, sessions);
	for (unsigned int i = 0; i < lcores; i++) {
		rte_rcu_qsbr_thread_register(session_table_qsbr(bench->table), i);
		rte_rcu_qsbr_thread_online(session_table_qsbr(bench->table), i);
		lcore_turn(bench->lcores[i]);
	}
}

void lcore_bench_teardown(struct lcore_bench *bench)
{
	for (unsigned int i = 0; i < bench->lcore_count; i++) {
		rte_rcu_qsbr_thread_offline(session_table_qsbr(bench->table), i);
		lcore_free(bench->lcores[i]);
	}
	session_table_free(bench->table);
	heap_remove(bench);
	for (unsigned int i = 0; i < BENCH_WORKERS; i++) {
		vl_channel_unmap(&bench->theirs[i]);
		vl_channel_unmap(&bench->ours[i]);
	}
	rte_eth_dev_stop(0);
	rte_mempool_free(bench->pool);
}

struct lcore_command lcore_bench_playout(uint32_t index)
{
	struct lcore_command start = {.type = LCORE_PLAYOUT_START, .session = {index, 1}};
	struct flow_key key = lcore_bench_key(index);
	struct headers_spec spec = {.local = {key.local, key.local_port},
		.remote = {key.remote, key.remote_port},
		.destination_mac = {2, 0, 0, 0, 0, 2},
		.source_mac = {2, 0, 0, 0, 0, 1},
		.dscp = HEADERS_DSCP_EF};

	lcore_bench_require(headers_build(&start.start.target.headers, &spec) == 0, "cannot build headers");
	start.start.target.ready = true;
	start.start.ssrc = index;
	return start;
}
