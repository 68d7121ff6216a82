/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Neighbours: answers on the wire, resolution with retries, and that no one who was not asked can move a neighbour.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dpdk_app/headers.h"
#include "dpdk_app/neighbour.h"
#include "dpdk_app/neighbour_frames.h"
#include "dpdk_app/packet.h"
#include "unit.h"

#define FRAMES 64u

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 2}, evil_mac[6] = {2, 0, 0, 0, 0, 0x66};

/* What one side sent, and what it was told. */
struct side {
	struct neighbours *neighbours;
	unsigned int sent, changes;
	size_t lens[FRAMES];
	uint8_t frames[FRAMES][NEIGHBOUR_FRAME_MAX];
	struct ip_address changed;
	uint8_t mac[6];
};

static struct side us, peer;
static uint64_t now;

static void on_send(void *context, const uint8_t *frame, size_t len)
{
	struct side *side = context;

	ck_assert_uint_lt(side->sent, FRAMES);
	ck_assert_uint_ge(len, 60);
	memcpy(side->frames[side->sent], frame, len);
	side->lens[side->sent++] = len;
}

static void on_change(void *context, const struct ip_address *next_hop, const uint8_t mac[6])
{
	struct side *side = context;

	side->changes++;
	side->changed = *next_hop;
	memcpy(side->mac, mac, 6);
}

static struct ip_address address(const char *text)
{
	struct ip_address result;

	ck_assert_int_eq(ip_address_parse(text, &result), 0);
	return result;
}

static struct neighbours *make(struct side *side, const uint8_t mac[6], const char *v4, const char *v6, uint16_t vlan)
{
	struct neighbour_settings settings = {
		.vlan = vlan, .local_count = 2, .max_entries = 8, .send = on_send, .changed = on_change, .context = side};

	memset(side, 0, sizeof(*side));
	memcpy(settings.mac, mac, 6);
	settings.locals[0] = (struct neighbour_local){
		.address = address(v4), .prefix_length = 120, .has_gateway = true, .gateway = address("10.77.0.254")};
	settings.locals[1] = (struct neighbour_local){.address = address(v6), .prefix_length = 64};
	side->neighbours = neighbour_new(&settings);
	ck_assert_ptr_nonnull(side->neighbours);
	return side->neighbours;
}

static void setup(void)
{
	now = 1000000;
	make(&us, our_mac, "10.77.0.1", "2001:db8::1", 0);
	make(&peer, peer_mac, "10.77.0.2", "2001:db8::2", 0);
}

static void teardown(void)
{
	neighbour_free(us.neighbours);
	neighbour_free(peer.neighbours);
}

static struct neighbour_counts counts(const struct side *side)
{
	struct neighbour_counts result;

	neighbour_count(side->neighbours, &result);
	return result;
}

/* From a buffer of exactly its size, so that AddressSanitizer sees a read behind it. */
static void input(const uint8_t *frame, size_t len)
{
	uint8_t *exact = malloc(len + (len == 0));

	ck_assert_ptr_nonnull(exact);
	memcpy(exact, frame, len);
	neighbour_input(us.neighbours, exact, len, now);
	free(exact);
}

/* Frames of one side to the other, as its data plane would let them through. */
static uint16_t vlan; /* of the link */

static unsigned int carry(struct side *from, struct side *to, const uint8_t mac[6], const char *v4, const char *v6)
{
	struct packet_local local = {.addresses = {address(v4), address(v6)}, .address_count = 2, .vlan = vlan};
	unsigned int carried = 0;

	memcpy(local.mac, mac, 6);
	for (unsigned int i = 0; i < from->sent; i++) {
		struct packet packet;

		packet_classify(from->frames[i], from->lens[i], &local, &packet);
		if (packet.kind != PACKET_LOCAL)
			continue;
		neighbour_input(to->neighbours, from->frames[i], from->lens[i], now);
		carried++;
	}
	from->sent = 0;
	return carried;
}

static unsigned int to_peer(void)
{
	return carry(&us, &peer, peer_mac, "10.77.0.2", "2001:db8::2");
}

static unsigned int to_us(void)
{
	return carry(&peer, &us, our_mac, "10.77.0.1", "2001:db8::1");
}

static int resolve(const char *remote, uint8_t mac[6])
{
	struct ip_address to = address(remote), next_hop;

	return neighbour_resolve(us.neighbours, &to, now, &next_hop, mac);
}

/* Let `ms` pass in steps of the control loop. */
static void pass(uint64_t ms)
{
	for (uint64_t end = now + ms; now < end;) {
		now += 50;
		neighbour_tick(us.neighbours, now);
	}
}

static void arp(
	uint8_t frame[60], const uint8_t to[6], uint16_t operation, const uint8_t mac[6], const char *sender, const char *target)
{
	static const uint8_t head[] = {8, 6, 0, 1, 8, 0, 6, 4, 0};
	struct ip_address sender_ip = address(sender), target_ip = address(target);

	memset(frame, 0, 60);
	memcpy(frame, to, 6);
	memcpy(frame + 6, mac, 6);
	memcpy(frame + 12, head, sizeof(head));
	frame[21] = (uint8_t)operation;
	memcpy(frame + 22, mac, 6);
	memcpy(frame + 28, sender_ip.bytes + 12, 4);
	memcpy(frame + 38, target_ip.bytes + 12, 4);
}

static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* Byte for byte. */
START_TEST(test_arp_answer)
{
	static const uint8_t wanted[60] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10,
		77, 0, 1, 2, 0, 0, 0, 0, 2, 10, 77, 0, 2};
	uint8_t frame[60];

	arp(frame, everybody, 1, peer_mac, "10.77.0.2", "10.77.0.1");
	input(frame, 60);
	ck_assert_uint_eq(us.sent, 1);
	ck_assert_uint_eq(us.lens[0], 60);
	ck_assert_mem_eq(us.frames[0], wanted, 60);
	ck_assert_uint_eq(counts(&us).answered_arp, 1);
	/* A probe for a duplicate is answered, too. */
	arp(frame, everybody, 1, peer_mac, "0.0.0.0", "10.77.0.1");
	input(frame, 60);
	ck_assert_uint_eq(us.sent, 2);
	/* Not for others, and no table entry for who asks. */
	arp(frame, everybody, 1, peer_mac, "10.77.0.2", "10.77.0.3");
	input(frame, 60);
	ck_assert_uint_eq(us.sent, 2);
	ck_assert_uint_eq(counts(&us).entries, 0);
}
END_TEST

START_TEST(test_resolve)
{
	static const char *const remotes[] = {"10.77.0.2", "2001:db8::2"};
	uint8_t mac[6];

	for (unsigned int i = 0; i < 2; i++) {
		ck_assert_int_eq(resolve(remotes[i], mac), -EINPROGRESS);
		ck_assert_uint_eq(us.sent, 1);
		ck_assert_uint_eq(to_peer(), 1);
		ck_assert_uint_eq(peer.sent, 1);
		ck_assert_uint_eq(to_us(), 1);
		ck_assert_uint_eq(us.changes, i + 1);
		ck_assert_mem_eq(us.mac, peer_mac, 6);
		struct ip_address wanted = address(remotes[i]);

		ck_assert_mem_eq(&us.changed, &wanted, sizeof(wanted));
		ck_assert_int_eq(resolve(remotes[i], mac), 0);
		ck_assert_mem_eq(mac, peer_mac, 6);
		ck_assert_uint_eq(us.sent, 0);
	}
	ck_assert_uint_eq(counts(&us).known, 2);
	ck_assert_uint_eq(counts(&peer).answered_arp, 1);
	ck_assert_uint_eq(counts(&peer).answered_nd, 1);
}
END_TEST

START_TEST(test_next_hop)
{
	static const struct {
		const char *remote, *next_hop; /* NULL: unreachable */
	} cases[] = {
		{"10.77.0.2", "10.77.0.2"},
		{"10.77.1.2", "10.77.0.254"},
		{"203.0.113.9", "10.77.0.254"},
		{"2001:db8::ffff", "2001:db8::ffff"},
		{"2001:db8:1::1", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ip_address remote = address(cases[i].remote), next_hop;
		char text[IP_ADDRESS_TEXT_SIZE];
		int ret = neighbour_next_hop(us.neighbours, &remote, &next_hop);

		ck_assert_int_eq(ret, cases[i].next_hop != NULL ? 0 : -ENETUNREACH);
		if (ret == 0)
			ck_assert_str_eq(ip_address_format(&next_hop, text), cases[i].next_hop);
	}
}
END_TEST

START_TEST(test_retries)
{
	uint8_t mac[6];

	static const unsigned int asked_ms[] = {0, 250, 750, 1750, 3750, 5750, 7750, 9750, 11750};
	unsigned int sent = 0;
	uint64_t begin = now;

	/* Soon, then every two seconds, as long as somebody waits, and however often it is asked for. */
	for (; now <= begin + 12000; now += 10) {
		ck_assert_int_eq(resolve("10.77.0.9", mac), -EINPROGRESS);
		neighbour_tick(us.neighbours, now);
		sent += sent < sizeof(asked_ms) / sizeof(asked_ms[0]) && now - begin >= asked_ms[sent];
		ck_assert_msg(us.sent == sent, "%u requests after %u ms, not %u", us.sent, (unsigned int)(now - begin), sent);
	}
	ck_assert_uint_eq(us.changes, 0);
	/* The silent one wakes up and asks for us: we ask at once, and believe its answer. */
	uint8_t frame[60];

	us.sent = 0;
	pass(1100);
	us.sent = 0;
	arp(frame, everybody, 1, peer_mac, "10.77.0.9", "10.77.0.1");
	input(frame, 60);
	ck_assert_uint_eq(us.sent, 2); /* our question and our answer */
	ck_assert_uint_eq(us.changes, 0);
	arp(frame, our_mac, 2, peer_mac, "10.77.0.9", "10.77.0.1");
	input(frame, 60);
	ck_assert_uint_eq(us.changes, 1);
}
END_TEST

/* Somebody not known whom nobody wants any more is forgotten; a gateway never is. */
START_TEST(test_unwanted)
{
	uint8_t mac[6];

	resolve("10.77.0.9", mac);
	resolve("203.0.113.9", mac);
	ck_assert_uint_eq(counts(&us).entries, 2);
	for (unsigned int i = 0; i < 4; i++) {
		us.sent = 0;
		pass(5000);
	}
	ck_assert_uint_eq(counts(&us).entries, 1);
	us.sent = 0;
	pass(10000);
	ck_assert_uint_eq(us.sent, 5);
	ck_assert_mem_eq(us.frames[0] + 38, "\x0a\x4d\x00\xfe", 4);
}
END_TEST

static unsigned int requests[1000], gateway_requests;

static void on_request(void *context, const uint8_t *frame, size_t len)
{
	unsigned int host = (unsigned int)(frame[40] << 8 | frame[41]);

	(void)context;
	(void)len;
	if (host == 0xfffe)
		gateway_requests++;
	else
		requests[host]++;
}

/* A thousand callers that are not there get their turns within the total rate; the gateway does not wait behind them. */
START_TEST(test_total_rate)
{
	struct side side;
	struct neighbour_settings settings = {
		.local_count = 1, .max_entries = 2000, .send = on_request, .changed = on_change, .context = &side};
	struct neighbours *neighbours;
	struct ip_address next_hop;
	unsigned int total = 0, least = UINT32_MAX;
	uint8_t mac[6];

	settings.locals[0] = (struct neighbour_local){.address = address("10.77.255.1"),
		.prefix_length = 112,
		.has_gateway = true,
		.gateway = address("10.77.255.254")};
	neighbours = neighbour_new(&settings);
	memset(requests, 0, sizeof(requests));
	gateway_requests = 0;
	for (unsigned int ms = 0; ms < 20000; ms += 10, now += 10) {
		struct ip_address remote = address("10.77.0.0"), far = address("203.0.113.9");

		for (unsigned int host = 0; ms % 5000 == 0 && host < 1000; host++) {
			remote.bytes[14] = (uint8_t)(host >> 8);
			remote.bytes[15] = (uint8_t)host;
			ck_assert_int_eq(neighbour_resolve(neighbours, &remote, now, &next_hop, mac), -EINPROGRESS);
		}
		neighbour_resolve(neighbours, &far, now, &next_hop, mac);
		neighbour_tick(neighbours, now);
	}
	for (unsigned int host = 0; host < 1000; host++) {
		total += requests[host];
		if (requests[host] < least)
			least = requests[host];
	}
	ck_assert_uint_le(total, 21 * NEIGHBOUR_REQUESTS);
	ck_assert_uint_ge(total, 19 * NEIGHBOUR_REQUESTS);
	ck_assert_uint_ge(least, 3);
	ck_assert_uint_eq(gateway_requests, 13);
	neighbour_free(neighbours);
}
END_TEST

static void know_peer(void)
{
	uint8_t mac[6];

	resolve("10.77.0.2", mac);
	resolve("2001:db8::2", mac);
	to_peer();
	to_us();
	ck_assert_uint_eq(counts(&us).known, 2);
	us.changes = 0;
	us.sent = 0;
}

/* An attacker says in every way ARP knows that the peer has moved. */
START_TEST(test_spoof)
{
	uint8_t frame[60], mac[6];

	know_peer();
	for (unsigned int round = 0; round < 100; round++) {
		static const struct {
			bool to_all;
			uint16_t operation;
			const char *target;
		} claims[] = {{false, 2, "10.77.0.1"}, {true, 2, "10.77.0.1"}, {true, 1, "10.77.0.1"}, {true, 1, "10.77.0.2"},
			{true, 2, "10.77.0.2"}, {false, 1, "10.77.0.1"}};

		for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
			arp(frame, claims[i].to_all ? everybody : our_mac, claims[i].operation, evil_mac, "10.77.0.2",
				claims[i].target);
			input(frame, 60);
		}
		us.sent = 0;
		pass(300);
		/* The peer still answers when it is asked. */
		to_peer();
		to_us();
		ck_assert_int_eq(resolve("10.77.0.2", mac), 0);
		ck_assert_mem_eq(mac, peer_mac, 6);
	}
	ck_assert_uint_eq(us.changes, 0);
	ck_assert_uint_ge(counts(&us).unasked, 100);
	/* Nor does it make us flood the link. */
	ck_assert_uint_le(counts(&us).requests, 45);
}
END_TEST

/* The peer's card was replaced: its address changes, after the old one has been silent for three seconds. */
START_TEST(test_real_change)
{
	uint8_t frame[60], mac[6];
	uint64_t start = now;

	know_peer();
	pass(2000);
	us.sent = 0;
	arp(frame, everybody, 1, evil_mac, "10.77.0.2", "10.77.0.2");
	input(frame, 60);
	ck_assert_uint_eq(us.sent, 1);
	ck_assert_mem_eq(us.frames[0], peer_mac, 6);
	/* Its answer counts only when everybody was asked. */
	while (us.changes == 0 && now < start + 20000) {
		us.sent = 0;
		pass(50);
		ck_assert_int_eq(resolve("10.77.0.2", mac), 0);
		arp(frame, our_mac, 2, evil_mac, "10.77.0.2", "10.77.0.1");
		input(frame, 60);
	}
	ck_assert_uint_eq(us.changes, 1);
	ck_assert_mem_eq(us.mac, evil_mac, 6);
	ck_assert_uint_ge(now, start + 2000 + 3 * NEIGHBOUR_RETRY_MS);
}
END_TEST

/* The peer's answers drown in a flood: while we know that we lose frames, its silence proves nothing. */
START_TEST(test_flood)
{
	uint8_t frame[60], mac[6];

	know_peer();
	for (unsigned int i = 0; i < 1200; i++) {
		pass(50);
		arp(frame, our_mac, 2, evil_mac, "10.77.0.2", "10.77.0.1");
		input(frame, 60);
		neighbour_deaf(us.neighbours);
		us.sent = 0;
	}
	ck_assert_uint_eq(us.changes, 0);
	ck_assert_int_eq(resolve("10.77.0.2", mac), 0);
	ck_assert_mem_eq(mac, peer_mac, 6);
	/* Asked once a second, not more often. */
	ck_assert_uint_le(counts(&us).requests, 2 * 62);
}
END_TEST

START_TEST(test_confirmation)
{
	uint8_t mac[6];

	know_peer();
	pass(NEIGHBOUR_REACHABLE_MS - 100);
	ck_assert_uint_eq(us.sent, 0);
	pass(200);
	/* The holder alone is asked. */
	ck_assert_uint_eq(us.sent, 2);
	ck_assert_mem_eq(us.frames[0], peer_mac, 6);
	ck_assert_mem_eq(us.frames[1], peer_mac, 6);
	ck_assert_uint_eq(to_peer(), 2);
	ck_assert_uint_eq(to_us(), 2);
	pass(NEIGHBOUR_REACHABLE_MS - 500);
	ck_assert_uint_eq(us.sent, 0);
	/* Silent for ever: what was known stays in use. */
	for (unsigned int i = 0; i < 2; i++) {
		us.sent = 0;
		pass(30000);
	}
	ck_assert_int_eq(resolve("10.77.0.2", mac), 0);
	ck_assert_mem_eq(mac, peer_mac, 6);
	ck_assert_uint_eq(us.changes, 0);
}
END_TEST

START_TEST(test_late_answer)
{
	uint8_t frame[60], mac[6];

	resolve("10.77.0.9", mac);
	pass(2100 + 1200);
	arp(frame, our_mac, 2, evil_mac, "10.77.0.9", "10.77.0.1");
	us.sent = 0;
	input(frame, 60);
	/* Too late for the question: asked again instead. */
	ck_assert_uint_eq(us.changes, 0);
	ck_assert_uint_eq(us.sent, 1);
}
END_TEST

/* Our question went out; what is then said to everybody is no answer to us. */
START_TEST(test_answer_to_everybody)
{
	uint8_t frame[60], mac[6];

	ck_assert_int_eq(resolve("10.77.0.2", mac), -EINPROGRESS);
	arp(frame, everybody, 2, evil_mac, "10.77.0.2", "10.77.0.1");
	input(frame, 60);
	ck_assert_int_eq(resolve("10.77.0.2", mac), -EINPROGRESS);
	/* Nor is an answer to somebody else's. */
	arp(frame, our_mac, 2, evil_mac, "10.77.0.2", "10.77.0.5");
	input(frame, 60);
	ck_assert_int_eq(resolve("10.77.0.2", mac), -EINPROGRESS);
	ck_assert_uint_eq(us.changes, 0);
}
END_TEST

START_TEST(test_table_full)
{
	uint8_t mac[6];
	char text[32];

	know_peer();
	for (unsigned int i = 10; i < 30; i++) {
		now++;
		/* The peer stays in use. */
		ck_assert_int_eq(resolve("10.77.0.2", mac), 0);
		snprintf(text, sizeof(text), "10.77.0.%u", i);
		ck_assert_int_eq(resolve(text, mac), -EINPROGRESS);
		us.sent = 0;
	}
	ck_assert_uint_eq(counts(&us).entries, 8);
	ck_assert_int_eq(resolve("10.77.0.2", mac), 0);
}
END_TEST

START_TEST(test_start)
{
	neighbour_start(us.neighbours, now);
	/* Two announcements and a question for the gateway. */
	ck_assert_uint_eq(us.sent, 3);
	ck_assert_mem_eq(us.frames[0], everybody, 6);
	ck_assert_mem_eq(us.frames[0] + 28, us.frames[0] + 38, 4);
	/* Nobody changes anything because of it. */
	to_peer();
	ck_assert_uint_eq(counts(&peer).entries, 0);
	/* Our own announcement, come back over a loop, moves nothing. */
	neighbour_start(us.neighbours, now);
	for (unsigned int i = 0, sent = us.sent; i < sent; i++)
		input(us.frames[i], us.lens[i]);
	ck_assert_uint_eq(us.changes, 0);
}
END_TEST

/* A ping of `len` bytes of data, v4 or v6, with right checksums. */
static size_t ping(uint8_t frame[NEIGHBOUR_FRAME_MAX], bool v4, size_t len)
{
	struct ip_address from = address(v4 ? "10.77.0.2" : "2001:db8::2"), to = address(v4 ? "10.77.0.1" : "2001:db8::1");
	uint8_t *ip = frame + 14, *icmp = ip + (v4 ? 20 : 40);
	uint16_t sum;

	memset(frame, 0, NEIGHBOUR_FRAME_MAX);
	memcpy(frame, our_mac, 6);
	memcpy(frame + 6, peer_mac, 6);
	frame[12] = v4 ? 8 : 0x86;
	frame[13] = v4 ? 0 : 0xdd;
	icmp[0] = v4 ? 8 : 128;
	memset(icmp + 4, 0x77, len + 4);
	if (v4) {
		ip[0] = 0x45;
		ip[2] = (uint8_t)((28 + len) >> 8);
		ip[3] = (uint8_t)(28 + len);
		ip[8] = 3;
		ip[9] = 1;
		memcpy(ip + 12, from.bytes + 12, 4);
		memcpy(ip + 16, to.bytes + 12, 4);
		sum = (uint16_t)~headers_fold(headers_sum(0, ip, 20));
		memcpy(ip + 10, &sum, 2);
		sum = (uint16_t)~headers_fold(headers_sum(0, icmp, 8 + len));
	} else {
		ip[0] = 0x60;
		ip[4] = (uint8_t)((8 + len) >> 8);
		ip[5] = (uint8_t)(8 + len);
		ip[6] = 58;
		ip[7] = 3;
		memcpy(ip + 8, from.bytes, 16);
		memcpy(ip + 24, to.bytes, 16);
		sum = (uint16_t)~headers_fold(
			headers_sum(headers_pseudo_sum(&from, &to, 58, (uint16_t)(8 + len)), icmp, 8 + len));
	}
	memcpy(icmp + 2, &sum, 2);
	return (size_t)(icmp - frame) + 8 + len;
}

START_TEST(test_echo)
{
	static const size_t sizes[] = {0, 1, 5, 56, 1400, 1452};
	uint8_t frame[NEIGHBOUR_FRAME_MAX + 100];

	for (unsigned int v4 = 0; v4 < 2; v4++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			size_t len = ping(frame, v4, sizes[i]);
			unsigned int ip_header = v4 ? 20 : 40;

			us.sent = 0;
			/* What lies in memory behind a short answer must not go out. */
			memset(us.frames[0], 0xaa, sizeof(us.frames[0]));
			input(frame, len);
			ck_assert_uint_eq(us.sent, 1);
			const uint8_t *out = us.frames[0], *icmp = out + 14 + ip_header;

			ck_assert_uint_eq(us.lens[0], len < 60 ? 60 : len);
			ck_assert_mem_eq(out, peer_mac, 6);
			ck_assert_mem_eq(out + 6, our_mac, 6);
			ck_assert_uint_eq(icmp[0], v4 ? 0 : 129);
			ck_assert_mem_eq(icmp + 4, frame + 14 + ip_header + 4, 4 + sizes[i]);
			if (v4) {
				ck_assert_mem_eq(out + 14 + 12, frame + 14 + 16, 4);
				ck_assert_mem_eq(out + 14 + 16, frame + 14 + 12, 4);
				ck_assert_uint_eq(headers_fold(headers_sum(0, out + 14, 20)), 0xffff);
				ck_assert_uint_eq(headers_fold(headers_sum(0, icmp, 8 + sizes[i])), 0xffff);
			} else {
				struct ip_address a = address("2001:db8::1"), b = address("2001:db8::2");

				ck_assert_mem_eq(out + 14 + 8, a.bytes, 16);
				ck_assert_uint_eq(
					headers_fold(headers_sum(
						headers_pseudo_sum(&a, &b, 58, (uint16_t)(8 + sizes[i])), icmp, 8 + sizes[i])),
					0xffff);
			}
			for (size_t pad = len; pad < us.lens[0]; pad++)
				ck_assert_uint_eq(out[pad], 0);
			/* A wrong checksum gets no answer. */
			frame[14 + ip_header + 2] ^= 1;
			input(frame, len);
			ck_assert_uint_eq(us.sent, 1);
		}
	}
	ck_assert_uint_eq(counts(&us).answered_echo, 12);
}
END_TEST

/* Every single changed byte and every cut of a solicitation: no crash, and no change of what is known. */
START_TEST(test_malformed)
{
	uint8_t mac[6];

	know_peer();
	resolve("2001:db8::77", mac);
	for (unsigned int n = 0; n < 2; n++) {
		struct side *from = &us;
		uint8_t frame[NEIGHBOUR_FRAME_MAX];
		size_t len;

		from->sent = 0;
		if (n == 0) {
			arp(frame, our_mac, 2, evil_mac, "10.77.0.2", "10.77.0.1");
			len = 60;
		} else {
			len = ping(frame, false, 24);
			frame[14 + 40] = 136;
			memcpy(frame + 14 + 40 + 8, frame + 14 + 8, 16);
		}
		for (size_t cut = 0; cut < len; cut++) {
			input(frame, cut);
			us.sent = 0;
		}
		for (size_t i = 12; i < len; i++) {
			for (unsigned int value = 0; value < 256; value++) {
				uint8_t changed[NEIGHBOUR_FRAME_MAX];

				memcpy(changed, frame, len);
				changed[i] = (uint8_t)value;
				input(changed, len);
				us.sent = 0;
			}
		}
	}
	ck_assert_uint_eq(us.changes, 0);
	ck_assert_uint_gt(counts(&us).malformed, 100);
}
END_TEST

/* RFC 4861 7.1: hop limit, code, options. */
START_TEST(test_nd_checks)
{
	uint8_t mac[6];
	static const struct {
		unsigned int offset;
		uint8_t value;
	} wrong[] = {{14 + 7, 254}, {14 + 40 + 1, 1}, {14 + 40 + 24 + 1, 0}, {14 + 40 + 24 + 1, 2}};

	/* The peer's question to us, spoilt and with its checksum made right again. */
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]) + 1; i++) {
		struct ip_address to = address("2001:db8::1"), next_hop, from = address("2001:db8::2"), group = {{0}};
		uint8_t frame[NEIGHBOUR_FRAME_MAX];
		uint16_t sum;

		neighbour_free(peer.neighbours);
		make(&peer, peer_mac, "10.77.0.2", "2001:db8::2", 0);
		neighbour_resolve(peer.neighbours, &to, now, &next_hop, mac);
		ck_assert_uint_eq(peer.sent, 1);
		memcpy(frame, peer.frames[0], peer.lens[0]);
		if (i < sizeof(wrong) / sizeof(wrong[0]))
			frame[wrong[i].offset] = wrong[i].value;
		memcpy(group.bytes, frame + 14 + 24, 16);
		memset(frame + 14 + 42, 0, 2);
		sum = (uint16_t)~headers_fold(headers_sum(headers_pseudo_sum(&from, &group, 58, 32), frame + 14 + 40, 32));
		memcpy(frame + 14 + 42, &sum, 2);
		us.sent = 0;
		input(frame, peer.lens[0]);
		ck_assert_uint_eq(us.sent, i == sizeof(wrong) / sizeof(wrong[0]));
	}
}
END_TEST

START_TEST(test_vlan)
{
	uint8_t mac[6];

	teardown();
	make(&us, our_mac, "10.77.0.1", "2001:db8::1", 100);
	make(&peer, peer_mac, "10.77.0.2", "2001:db8::2", 100);
	vlan = 100;
	know_peer();
	ck_assert_int_eq(resolve("2001:db8::2", mac), 0);
	neighbour_start(us.neighbours, now);
	ck_assert_uint_eq(us.frames[0][12] << 8 | us.frames[0][13], 0x8100);
	ck_assert_uint_eq(us.frames[0][15], 100);
	vlan = 0;
}
END_TEST

/* The same questions, answers and pings with another tag, two tags or none are not answered, not believed, and counted. */
START_TEST(test_other_vlans)
{
	static const struct {
		unsigned int tags;
		uint8_t bytes[8];
	} others[] = {
		{0, {0}},
		{1, {0x81, 0, 0, 101}},
		{1, {0x81, 0, 0, 0}},
		{1, {0x88, 0xa8, 0, 100}},
		{2, {0x88, 0xa8, 0, 1, 0x81, 0, 0, 100}},
		{2, {0x81, 0, 0, 100, 0x81, 0, 0, 100}},
	};
	struct ip_address ours = address("10.77.0.1"), theirs = address("10.77.0.2");
	struct neighbour_frame question;

	teardown();
	make(&us, our_mac, "10.77.0.1", "2001:db8::1", 100);
	make(&peer, peer_mac, "10.77.0.2", "2001:db8::2", 100);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		uint8_t bytes[128];
		size_t tags = 4 * others[i].tags;

		neighbour_frame_request(&question, peer_mac, 0, &theirs, &ours, NULL);
		memcpy(bytes, question.bytes, 12);
		memcpy(bytes + 12, others[i].bytes, tags);
		memcpy(bytes + 12 + tags, question.bytes + 12, question.len - 12);
		input(bytes, question.len + tags);
		ck_assert_uint_eq(us.sent, 0);
		ck_assert_uint_eq(counts(&us).malformed, i + 1);
	}
	neighbour_frame_request(&question, peer_mac, 100, &theirs, &ours, NULL);
	input(question.bytes, question.len);
	ck_assert_uint_eq(us.sent, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("neighbour");

	unit_add_fixture(suite, "answers", setup, teardown, test_arp_answer, test_echo, test_start, test_vlan, test_other_vlans);
	unit_add_fixture(suite, "resolution", setup, teardown, test_resolve, test_next_hop, test_retries, test_unwanted,
		test_total_rate, test_confirmation, test_table_full);
	unit_add_fixture(suite, "spoofing", setup, teardown, test_spoof, test_flood, test_real_change, test_late_answer,
		test_answer_to_everybody);
	unit_add_fixture(suite, "malformed", setup, teardown, test_malformed, test_nd_checks);
	return unit_run(suite);
}
