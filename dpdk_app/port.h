/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet ports of any kind the EAL knows: queues, offloads, mempool, start and stop. Control thread only, before and after
 * the lcores run.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_mempool.h>

#define PORT_ERROR_SIZE	 256
#define PORT_DESCRIPTORS 1024u
#define PORT_LINK_WAIT	 9000u /* ms, enough for the slowest copper */

struct port_settings {
	unsigned int lcores;			 /* packet lcores: wanted rx and tx queues */
	uint16_t mtu;				 /* 0: the driver's default */
	uint16_t rx_descriptors, tx_descriptors; /* wanted, 0: PORT_DESCRIPTORS; adjusted to what the device takes */
	bool ipv6;				 /* neighbour discovery comes to multicast groups */
	uint32_t link_wait_ms;
};

struct port {
	uint16_t id;
	char name[RTE_ETH_NAME_MAX_LEN];
	char driver[32];
	struct rte_ether_addr mac;
	int socket_id; /* never SOCKET_ID_ANY */
	uint16_t
		rx_queues; /* polled by lcore i modulo their number; fewer when the port cannot spread, more when it wants all polled */
	uint16_t tx_queues; /* lcore i sends on queue i; lcores from this on hand what they send to one of these */
	bool rss;	    /* received packets are spread by hash of addresses and ports */
	bool hand_over;	    /* lcores must spread flows themselves: too few queues for them, or a flow changes queues */
	bool link_up;
	bool started;
};

/* Mbufs that ports of `ports` in number with these settings can hold at once, with what lcores and control keep. */
uint32_t port_pool_count(const struct port_settings *settings, unsigned int ports);

/*
 * Create the mempool of one NUMA socket. NULL with a sentence in `error` that says how much memory is needed and how to give
 * it.
 */
struct rte_mempool *port_pool_new(
	const char *name, uint32_t count, unsigned int lcores, int socket_id, char error[PORT_ERROR_SIZE]);

/*
 * Configure and start port `id`. Rolled back completely on failure. Returns 0 or -errno with a sentence in `error` (which
 * port, which step, what the driver said). A link that stays down is no error (link_up).
 */
int port_start(struct port *port, uint16_t id, const struct port_settings *settings, struct rte_mempool *pool,
	char error[PORT_ERROR_SIZE]);

/* Count the ports of the EAL but `used`, and write their ids and names to `text`: "1 (net_null1), 2 (net_ring0)", cut when too long. */
unsigned int port_others(uint16_t used, char text[PORT_ERROR_SIZE]);

/* Stop and close; legal on a zeroed struct. */
void port_stop(struct port *port);
