/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing an ethdev port up and down. Nothing is required of a device but a queue each way: every offload and every
 * spreading of packets is used where it is offered and done without where it is not.
 */
#include "port.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>

#include "lcore.h"

#define MB		 (1024u * 1024u)
#define POOL_CACHE	 256u
#define LCORE_HOLDS	 (6u * 1024u) /* rings to and from control, from and to other lcores, bursts, staged packets */
#define CONTROL_HOLDS	 2048u	      /* packets that wait with their flow */
#define MBUF_SIZE	 (sizeof(struct rte_mbuf) + RTE_MBUF_DEFAULT_BUF_SIZE + 192u) /* with the mempool's own header and trailer */
#define FRAME_OVERHEAD	 (RTE_ETHER_HDR_LEN + 2 * 4u)
#define RSS_KEY_SIZE_MAX 64u
#define LINK_POLL_MS	 10u

#define RSS_UDP	 (RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP)
#define RSS_IP	 (RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER | RTE_ETH_RSS_NONFRAG_IPV6_OTHER)
#define CHECKSUM (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM)

/* Drivers whose rx queues are inputs of their own, or filled by somebody else's hash: each must be polled. */
static const char *const every_queue[] = {"net_af_packet", "net_ring", "net_pcap"};

/* Says it has RSS, but the kernel moves a flow to the queue that last sent to its far end (tun_flow_update()). */
static const char moves_flows[] = "net_tap";

uint32_t port_pool_count(const struct port_settings *settings, unsigned int ports)
{
	uint32_t rx = settings->rx_descriptors != 0 ? settings->rx_descriptors : PORT_DESCRIPTORS;
	uint32_t tx = settings->tx_descriptors != 0 ? settings->tx_descriptors : PORT_DESCRIPTORS;

	return settings->lcores * (ports * (rx + tx) + LCORE_HOLDS + 2 * POOL_CACHE) + CONTROL_HOLDS;
}

struct rte_mempool *port_pool_new(
	const char *name, uint32_t count, unsigned int lcores, int socket_id, char error[PORT_ERROR_SIZE])
{
	struct rte_malloc_socket_stats stats = {0};
	struct rte_mempool *pool = rte_pktmbuf_pool_create(name, count, POOL_CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, socket_id);

	if (pool != NULL)
		return pool;
	int reason = rte_errno;

	rte_malloc_get_socket_stats(socket_id, &stats);
	if (reason == ENOMEM || reason == ENOBUFS)
		snprintf(error, PORT_ERROR_SIZE,
			"%u packet buffers for %u lcores need about %zu MB of memory on NUMA node %d, the EAL has %zu MB there "
			"with %zu MB free: give it more with -m N (MB) or --socket-mem, or set up more hugepages",
			count, lcores, count * MBUF_SIZE / MB + 1, socket_id, stats.heap_totalsz_bytes / MB,
			stats.heap_freesz_bytes / MB);
	else
		snprintf(error, PORT_ERROR_SIZE, "cannot create %u packet buffers on NUMA node %d: %s", count, socket_id,
			rte_strerror(reason));
	rte_errno = reason;
	return NULL;
}

/* Say what failed and hand the error on. */
__attribute__((format(printf, 4, 5))) static int fail(
	const struct port *port, int ret, char error[PORT_ERROR_SIZE], const char *format, ...)
{
	char what[PORT_ERROR_SIZE / 2];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	snprintf(error, PORT_ERROR_SIZE, "port %u (%s): %s: %s", port->id, port->name, what, rte_strerror(-ret));
	return ret;
}

static bool polls_every_queue(const char *driver)
{
	for (size_t i = 0; i < RTE_DIM(every_queue); i++) {
		if (strcmp(driver, every_queue[i]) == 0)
			return true;
	}
	return false;
}

/* How many queues, and how packets are spread over them. */
static void choose_queues(struct port *port, const struct rte_eth_dev_info *info, const struct port_settings *settings)
{
	uint16_t wanted = (uint16_t)settings->lcores;

	port->tx_queues = RTE_MIN(wanted, info->max_tx_queues);
	if (polls_every_queue(port->driver)) {
		port->rx_queues = info->max_rx_queues;
	} else if ((info->flow_type_rss_offloads & (RSS_UDP | RSS_IP)) != 0) {
		port->rx_queues = RTE_MIN(wanted, info->max_rx_queues);
		port->rss = port->rx_queues > 1;
	} else {
		port->rx_queues = 1;
	}
	port->hand_over = wanted > 1 && (port->rx_queues < wanted || strcmp(port->driver, moves_flows) == 0);
}

static int configure(
	struct port *port, const struct rte_eth_dev_info *info, const struct port_settings *settings, char error[PORT_ERROR_SIZE])
{
	uint8_t key[RSS_KEY_SIZE_MAX];
	struct rte_eth_conf configuration = {0};
	int ret;

	configuration.rxmode.offloads = info->rx_offload_capa & CHECKSUM;
	configuration.rxmode.mtu = settings->mtu;
	if (port->rss) {
		uint64_t udp = info->flow_type_rss_offloads & RSS_UDP;

		configuration.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		configuration.rx_adv_conf.rss_conf.rss_hf = udp != 0 ? udp : info->flow_type_rss_offloads & RSS_IP;
		/* With a key of our own nobody can choose source ports that all meet on one lcore. */
		if (info->hash_key_size > 0 && info->hash_key_size <= sizeof(key) &&
			getrandom(key, info->hash_key_size, 0) == info->hash_key_size) {
			configuration.rx_adv_conf.rss_conf.rss_key = key;
			configuration.rx_adv_conf.rss_conf.rss_key_len = info->hash_key_size;
		}
	}
	ret = rte_eth_dev_configure(port->id, port->rx_queues, port->tx_queues, &configuration);
	if (ret != 0)
		return fail(port, ret, error, "cannot configure %u rx and %u tx queues", port->rx_queues, port->tx_queues);
	return 0;
}

static int set_up_queues(struct port *port, const struct rte_eth_dev_info *info, const struct port_settings *settings,
	struct rte_mempool *pool, char error[PORT_ERROR_SIZE])
{
	struct rte_eth_rxconf rx = info->default_rxconf;
	struct rte_eth_txconf tx = info->default_txconf;
	uint16_t rx_count = settings->rx_descriptors != 0 ? settings->rx_descriptors : PORT_DESCRIPTORS;
	uint16_t tx_count = settings->tx_descriptors != 0 ? settings->tx_descriptors : PORT_DESCRIPTORS;
	int ret = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rx_count, &tx_count);

	if (ret != 0)
		return fail(port, ret, error, "cannot have %u rx and %u tx descriptors", rx_count, tx_count);
	rx.offloads = info->rx_offload_capa & CHECKSUM;
	tx.offloads = 0;
	for (uint16_t queue = 0; queue < port->rx_queues; queue++) {
		ret = rte_eth_rx_queue_setup(port->id, queue, rx_count, (unsigned int)port->socket_id, &rx, pool);
		if (ret != 0)
			return fail(port, ret, error, "cannot set up rx queue %u of %u with %u descriptors", queue,
				port->rx_queues, rx_count);
	}
	for (uint16_t queue = 0; queue < port->tx_queues; queue++) {
		ret = rte_eth_tx_queue_setup(port->id, queue, tx_count, (unsigned int)port->socket_id, &tx);
		if (ret != 0)
			return fail(port, ret, error, "cannot set up tx queue %u of %u with %u descriptors", queue,
				port->tx_queues, tx_count);
	}
	return 0;
}

static void wait_for_link(struct port *port, uint32_t wait_ms)
{
	const struct timespec poll = {.tv_nsec = LINK_POLL_MS * 1000000};
	struct rte_eth_link link;

	for (uint32_t waited = 0;; waited += LINK_POLL_MS) {
		memset(&link, 0, sizeof(link));
		if (rte_eth_link_get_nowait(port->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP) {
			port->link_up = true;
			return;
		}
		if (waited >= wait_ms)
			return;
		nanosleep(&poll, NULL);
	}
}

/* Everything between "the port exists" and "the port runs". */
static int bring_up(
	struct port *port, const struct port_settings *settings, struct rte_mempool *pool, char error[PORT_ERROR_SIZE])
{
	struct rte_eth_dev_info info;
	int ret = rte_eth_dev_info_get(port->id, &info);

	if (ret != 0)
		return fail(port, ret, error, "cannot ask the driver what it can do");
	snprintf(port->driver, sizeof(port->driver), "%s", info.driver_name);
	if (settings->mtu != 0 && settings->mtu + FRAME_OVERHEAD > RTE_MBUF_DEFAULT_DATAROOM)
		return fail(port, -EINVAL, error, "mtu %u does not fit a packet buffer of %u bytes", settings->mtu,
			RTE_MBUF_DEFAULT_DATAROOM);
	if (settings->mtu != 0 && (settings->mtu < info.min_mtu || settings->mtu > info.max_mtu))
		return fail(port, -EINVAL, error, "mtu %u is outside the driver's %u to %u", settings->mtu, info.min_mtu,
			info.max_mtu);
	choose_queues(port, &info, settings);
	if (port->rx_queues == 0 || port->tx_queues == 0)
		return fail(port, -ENODEV, error, "%s", port->rx_queues == 0 ? "no rx queue" : "no tx queue");
	ret = configure(port, &info, settings, error);
	if (ret == 0)
		ret = set_up_queues(port, &info, settings, pool, error);
	if (ret != 0)
		return ret;
	ret = rte_eth_macaddr_get(port->id, &port->mac);
	if (ret != 0)
		return fail(port, ret, error, "cannot read the MAC address");
	ret = rte_eth_dev_start(port->id);
	if (ret != 0)
		return fail(port, ret, error, "cannot start");
	port->started = true;
	/* Where a driver knows neither mode it filters nothing, and classification does. */
	rte_eth_promiscuous_disable(port->id);
	if (settings->ipv6)
		rte_eth_allmulticast_enable(port->id);
	wait_for_link(port, settings->link_wait_ms);
	return 0;
}

int port_start(struct port *port, uint16_t id, const struct port_settings *settings, struct rte_mempool *pool,
	char error[PORT_ERROR_SIZE])
{
	int ret;

	memset(port, 0, sizeof(*port));
	port->id = id;
	if (id >= PORTS_MAX || !rte_eth_dev_is_valid_port(id)) {
		snprintf(error, PORT_ERROR_SIZE, "port %u: no such port (ids are below %u)", id, PORTS_MAX);
		return -ENODEV;
	}
	rte_eth_dev_get_name_by_port(id, port->name);
	port->socket_id = rte_eth_dev_socket_id(id);
	if (port->socket_id < 0)
		port->socket_id = (int)rte_lcore_to_socket_id(rte_get_main_lcore());
	ret = bring_up(port, settings, pool, error);
	/* After rte_eth_dev_start() nothing fails any more, so the port is not running here. */
	if (ret != 0)
		rte_eth_dev_close(id);
	return ret;
}

unsigned int port_others(uint16_t used, char text[PORT_ERROR_SIZE])
{
	unsigned int count = 0;
	size_t len = 0;
	uint16_t id;

	text[0] = 0;
	RTE_ETH_FOREACH_DEV(id)
	{
		char name[RTE_ETH_NAME_MAX_LEN];

		if (id == used || rte_eth_dev_get_name_by_port(id, name) != 0)
			continue;
		if (len < PORT_ERROR_SIZE)
			len += (size_t)snprintf(text + len, PORT_ERROR_SIZE - len, "%s%u (%s)", count > 0 ? ", " : "", id, name);
		count++;
	}
	return count;
}

void port_stop(struct port *port)
{
	if (!port->started)
		return;
	rte_eth_dev_stop(port->id);
	rte_eth_dev_close(port->id);
	port->started = false;
}
