/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Source policing by the port itself (rte_flow), where it can: UDP to our addresses from a trunk's sources goes on to the
 * queues as before, all other UDP to them is dropped before it costs a packet core anything. It is the same question that
 * sources.h asks of each packet, so nothing depends on the rules being there: whatever the port refuses is done without.
 */
#pragma once

#include <stdint.h>

#include "config.h"
#include "port.h"

struct flow_rules; /* the rules of one port */

/*
 * Make the rules of every trunk on a started port: first those that let sources pass, last the one that drops the others, so
 * that no moment loses a packet of a trunk. Each is validated before any is made, and all are taken back when one is refused.
 * Control thread, before the lcores run. Returns 0 and *rules, to be freed with flow_rules_free(), or -errno with a sentence in
 * `why` and the port as it was.
 */
int flow_rules_new(const struct config *config, const struct port *port, struct flow_rules **rules, char why[PORT_ERROR_SIZE]);

/* Take the rules back, while the port still runs; NULL is legal. Control thread. */
void flow_rules_free(struct flow_rules *rules);

/* How many rules there are; 0 for NULL. Control thread, telemetry under the lock. */
unsigned int flow_rules_count(const struct flow_rules *rules);

/* Packets the port dropped by them, 0 if it does not count. As above. */
uint64_t flow_rules_dropped(const struct flow_rules *rules);
