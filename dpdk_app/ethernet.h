/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet headers, with the tag of a VLAN (IEEE 802.1Q). One rule for media and for ARP, neighbour discovery and ping: what is not
 * of our VLAN is not for us, whatever addresses it carries. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "drops.h"

#define ETHERNET_SIZE	   14u
#define ETHERNET_VLAN_SIZE 4u

#define ETHERNET_TYPE_IPV4 0x0800u
#define ETHERNET_TYPE_ARP  0x0806u
#define ETHERNET_TYPE_VLAN 0x8100u /* C-tag */
#define ETHERNET_TYPE_QINQ 0x88a8u /* S-tag */
#define ETHERNET_TYPE_IPV6 0x86ddu

static inline uint16_t ethernet_read16(const uint8_t *data)
{
	return (uint16_t)(data[0] << 8 | data[1]);
}

/*
 * Find out what a frame of `len` bytes that belongs to `vlan` (1..4094; 0: untagged) carries. With a VLAN that is a frame with its tag
 * and no other; without, one that is untagged or has a priority tag (VID 0, 802.1Q 6.9). Two tags and S-tags are nobody's here. Any
 * thread. Returns DROP_NONE with *type and the *offset of what follows the header, or why the frame is dropped.
 */
static inline enum drop_reason ethernet_open(const uint8_t *frame, size_t len, uint16_t vlan, size_t *offset, uint16_t *type)
{
	uint16_t vid = 0;

	if (len < ETHERNET_SIZE)
		return DROP_ETH_SHORT;
	*offset = ETHERNET_SIZE;
	*type = ethernet_read16(frame + 12);
	if (*type == ETHERNET_TYPE_VLAN) {
		if (len < ETHERNET_SIZE + ETHERNET_VLAN_SIZE)
			return DROP_ETH_SHORT;
		vid = ethernet_read16(frame + 14) & 0xfff;
		*type = ethernet_read16(frame + 16);
		*offset = ETHERNET_SIZE + ETHERNET_VLAN_SIZE;
	}
	return vid == vlan && *type != ETHERNET_TYPE_VLAN && *type != ETHERNET_TYPE_QINQ ? DROP_NONE : DROP_ETH_VLAN;
}
