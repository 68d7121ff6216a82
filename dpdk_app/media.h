/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets that lcores hand to the control thread: ARP and the like, and RTP of flows nobody knows yet. The latter are put
 * before the binding rules; a few wait with their flow in probation, so that the first word is not clipped. Control thread
 * only.
 */
#pragma once

#include <stdint.h>

#include "dataplane.h"

#define MEDIA_KEPT_PER_FLOW 8u
#define MEDIA_KEPT_MAX	    1024u /* packets kept for all flows together; of the mempool at most an eighth */

struct media *media_new(struct dataplane *dataplane);

/* Free it and every packet it keeps. */
void media_free(struct media *media);

/*
 * Take what the lcores handed over, decide, give back. Never waits; a bounded number of packets a turn. Returns the packets
 * taken.
 */
unsigned int media_run(struct media *media, uint64_t now_ms);

/* Packets kept now. */
uint32_t media_kept(const struct media *media);
