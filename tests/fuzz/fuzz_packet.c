/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: received frames. The first byte of the input chooses how the port is set up, the rest is a frame, which goes
 * through classification, receive accounting, and (ARP, neighbour discovery, ping) through the neighbour module. With bit 1
 * set the ICMP checksum is made right first, so that what lies behind it is reached.
 */
#include "dpdk_app/packet.h"

#include <string.h>

#include "dpdk_app/headers.h"
#include "dpdk_app/neighbour.h"
#include "dpdk_app/receive.h"
#include "fuzz.h"
#include "shared/channel.h"

static const struct ip_address our_v4 = {{[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 77, [14] = 0, [15] = 1}};
static const struct ip_address our_v6 = {{0x20, 0x01, 0x0d, 0xb8, [15] = 1}};
static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1};

static bool is_ours(const struct ip_address *address)
{
	return memcmp(address, &our_v4, sizeof(our_v4)) == 0 || memcmp(address, &our_v6, sizeof(our_v6)) == 0;
}

static volatile uint8_t byte_sum; /* so that reading what is sent is not optimised away */

/* What we send is ours, and all of it was written. */
static void on_send(void *context, const uint8_t *frame, size_t len)
{
	unsigned int *sent = context;

	(*sent)++;
	fuzz_check(len >= 60 && len <= NEIGHBOUR_FRAME_MAX);
	fuzz_check(memcmp(frame + 6, our_mac, 6) == 0);
	for (size_t i = 0; i < len; i++)
		byte_sum += frame[i];
}

static void on_change(void *context, const struct ip_address *next_hop, const uint8_t mac[6])
{
	(void)context;
	/* Only what was asked for may change, and never to a group. */
	fuzz_check(next_hop->bytes[15] == 2 && (mac[0] & 1) == 0);
}

static void repair_icmp(uint8_t *frame, size_t len)
{
	struct ip_address source, destination;
	uint16_t sum;

	if (len < 14 + 40 + 8 || frame[12] != 0x86 || frame[13] != 0xdd)
		return;
	size_t payload = (size_t)(frame[18] << 8 | frame[19]);

	if (payload < 8 || payload > len - 54)
		return;
	memcpy(source.bytes, frame + 22, 16);
	memcpy(destination.bytes, frame + 38, 16);
	memset(frame + 56, 0, 2);
	sum = (uint16_t)~headers_fold(
		headers_sum(headers_pseudo_sum(&source, &destination, 58, (uint16_t)payload), frame + 54, payload));
	memcpy(frame + 56, &sum, 2);
}

/* Make the IPv4 header checksum right, so that what lies behind it is reached without luck. */
static void repair_ipv4(uint8_t *frame, size_t len)
{
	uint8_t *ip = frame + (len > 14 && frame[12] == 0x81 && frame[13] == 0 ? 18 : 14);
	size_t left = len > (size_t)(ip - frame) ? len - (size_t)(ip - frame) : 0;
	size_t header = left > 0 ? 4u * (ip[0] & 15u) : 0;
	uint16_t sum;

	if (header < 20 || header > left)
		return;
	memset(ip + 10, 0, 2);
	sum = (uint16_t)~headers_fold(headers_sum(0, ip, header));
	memcpy(ip + 10, &sum, 2);
}

static void run_neighbours(const uint8_t *frame, size_t len)
{
	unsigned int sent = 0;
	struct neighbour_settings settings = {
		.local_count = 2, .max_entries = 4, .send = on_send, .changed = on_change, .context = &sent};
	struct ip_address peer = our_v4, peer6 = our_v6, next_hop;
	uint8_t mac[6];

	memcpy(settings.mac, our_mac, 6);
	settings.locals[0] = (struct neighbour_local){.address = our_v4, .prefix_length = 120};
	settings.locals[1] = (struct neighbour_local){.address = our_v6, .prefix_length = 64};
	struct neighbours *neighbours = neighbour_new(&settings);

	fuzz_check(neighbours != NULL);
	peer.bytes[15] = peer6.bytes[15] = 2;
	neighbour_resolve(neighbours, &peer, 1000, &next_hop, mac);
	neighbour_resolve(neighbours, &peer6, 1000, &next_hop, mac);
	for (uint64_t now = 1001; now < 1010; now++) {
		unsigned int before = sent;

		neighbour_input(neighbours, frame, len, now);
		/* One frame in, at most a question and an answer out: no amplification. */
		fuzz_check(sent - before <= 2);
	}
	neighbour_free(neighbours);
}

static void check_flow(const struct packet *packet, size_t len)
{
	fuzz_check(is_ours(&packet->key.local));
	fuzz_check(packet->key.local_port == 5004 || (packet->key.local_port >= 20000 && packet->key.local_port <= 20011));
	fuzz_check(packet->payload_len > 0 && (size_t)packet->payload_offset + packet->payload_len <= len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct packet_local local = {.addresses = {our_v4, our_v6},
		.address_count = 2,
		.rtp_port = 5004,
		.dedicated_first = 20000,
		.dedicated_last = 20010};
	struct session_receive receive = {0};
	struct packet packet;

	if (size < 1)
		return 0;
	/* A copy of exactly its size, so that a read behind it is seen. */
	uint8_t *frame = malloc(size);

	fuzz_check(frame != NULL);
	memcpy(frame, data + 1, size - 1);
	size--;
	if (data[0] & 2)
		repair_icmp(frame, size);
	frame = realloc(frame, size + (size == 0));
	memcpy(local.mac, our_mac, 6);
	local.vlan = data[0] & 4 ? 100 : 0;
	if ((data[0] & 1) == 0)
		repair_ipv4(frame, size);
	memset(&packet, 0xa5, sizeof(packet));
	packet_classify(frame, size, &local, &packet);
	switch (packet.kind) {
	case PACKET_DROP:
		fuzz_check(packet.reason > DROP_NONE && packet.reason < DROP_COUNT);
		break;
	case PACKET_RTP:
		check_flow(&packet, size);
		fuzz_check(packet_checksum_valid(frame, &packet) == packet_checksum_valid(frame, &packet));
		fuzz_check(packet.payload_len <= VL_RECORD_PAYLOAD_MAX && packet.payload_type < 128);
		fuzz_check(receive_account(&receive, &packet, true, 1, 1));
		fuzz_check(!receive_account(&receive, &packet, true, 1, 1));
		fuzz_check(receive_expected(&receive) == 1 && receive_lost(&receive) == 0);
		break;
	case PACKET_RTCP:
		check_flow(&packet, size);
		break;
	case PACKET_LOCAL:
		break;
	default:
		abort();
	}
	run_neighbours(frame, size);
	free(frame);
	return 0;
}
