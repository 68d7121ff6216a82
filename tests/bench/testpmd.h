/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DPDK's own test program as a measure of the machine: what its simplest forwarding costs over frames as large as ours.
 */
#pragma once

/*
 * Run dpdk-testpmd with this --forward-mode for some seconds over RTP frames that net_pcap copies to mbufs again and again, on two
 * cores other than those it is called on if there are more, with hugepages if the caller's EAL has them. Returns cycles a packet of
 * its forwarding core, 0 when it cannot run.
 */
double testpmd_cycles(const char *mode);
