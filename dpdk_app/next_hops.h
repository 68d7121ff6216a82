/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a call's packets go: the port's neighbour module, and the ready-made headers that lcores put in front of RTP. When the
 * link address of a next hop becomes known or changes, every call that uses it gets new headers. Control thread only.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "dataplane.h"
#include "neighbour.h"

/* For the dataplane's port and addresses. Returns NULL with errno. */
struct next_hops *next_hops_new(struct dataplane *dataplane);
void next_hops_free(struct next_hops *next_hops);

/* Announce our addresses; frames leave through lcore 0. */
void next_hops_start(struct next_hops *next_hops, uint64_t now_ms);

/* A PACKET_LOCAL frame. */
void next_hops_input(struct next_hops *next_hops, const uint8_t *frame, size_t len, uint64_t now_ms);

/* Retries and ageing; every turn of the control loop. */
void next_hops_run(struct next_hops *next_hops, uint64_t now_ms);

/*
 * Fill the headers for packets of `call` to call->send_to; target->ready is false while the next hop's link address is not
 * known (a request is on its way), and the headers are empty while the call has no place to send to.
 */
void next_hops_target(struct next_hops *next_hops, const struct call *call, uint64_t now_ms, struct lcore_target *target);

void next_hops_count(const struct next_hops *next_hops, struct neighbour_counts *counts);
