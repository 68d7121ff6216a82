/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Classification: each way a frame can be right, and a table of single changes that make a right one wrong.
 */
#include <string.h>

#include "dpdk_app/packet.h"
#include "shared/channel.h"
#include "unit.h"

#define FRAME_MAX 2048u

/* Offsets in an untagged IPv4 frame. */
enum { ETH = 0, IP = 14, UDP = 34, RTP = 42, PAYLOAD = 54, V4_LEN = 214 };
/* And in an IPv6 one. */
enum { UDP6 = 54, RTP6 = 62, V6_LEN = 234 };

struct frame {
	uint8_t bytes[FRAME_MAX];
	size_t len;
};

static struct packet_local local;

static void setup(void)
{
	memset(&local, 0, sizeof(local));
	ip_address_parse("10.77.0.1", &local.addresses[0]);
	ip_address_parse("2001:db8::1", &local.addresses[1]);
	local.address_count = 2;
	local.rtp_port = 5004;
	local.dedicated_first = 20000;
	local.dedicated_last = 20010;
	memcpy(local.mac, "\x02\x00\x00\x00\x00\x01", 6);
}

static void put16(uint8_t *at, unsigned int value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

/* Make lengths and the IPv4 checksum of an IPv4 frame right for `len`. */
static void fix_v4(struct frame *frame)
{
	uint8_t *ip = frame->bytes + IP;
	size_t header = 4u * (ip[0] & 15);
	uint32_t sum = 0;

	put16(ip + 10, 0);
	for (size_t i = 0; i < header; i += 2)
		sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, ~sum & 0xffff);
}

static void rtp(uint8_t *at)
{
	memset(at, 0xd5, 172);
	at[0] = 0x80;
	at[1] = 0x88; /* PCMA with the marker */
	put16(at + 2, 0xfffe);
	put32(at + 4, 0xdeadbeef);
	put32(at + 8, 1234567);
}

static struct frame frame_v4(void)
{
	struct frame frame = {.len = V4_LEN};
	uint8_t *bytes = frame.bytes;

	memcpy(bytes, local.mac, 6);
	memcpy(bytes + 6, "\x02\x00\x00\x00\x00\x02", 6);
	put16(bytes + 12, 0x0800);
	bytes[IP] = 0x45;
	put16(bytes + IP + 2, V4_LEN - IP);
	bytes[IP + 8] = 64;
	bytes[IP + 9] = 17;
	memcpy(bytes + IP + 12, "\xc0\xa8\x32\x32", 4); /* 192.168.50.50 */
	memcpy(bytes + IP + 16, "\x0a\x4d\x00\x01", 4);
	put16(bytes + UDP, 18920);
	put16(bytes + UDP + 2, 5004);
	put16(bytes + UDP + 4, V4_LEN - UDP);
	rtp(bytes + RTP);
	fix_v4(&frame);
	return frame;
}

static struct frame frame_v6(void)
{
	struct frame frame = {.len = V6_LEN};
	uint8_t *bytes = frame.bytes;
	struct ip_address source;

	ip_address_parse("2001:db8::50", &source);
	memcpy(bytes, local.mac, 6);
	put16(bytes + 12, 0x86dd);
	bytes[IP] = 0x60;
	put16(bytes + IP + 4, V6_LEN - UDP6);
	bytes[IP + 6] = 17;
	bytes[IP + 7] = 255;
	memcpy(bytes + IP + 8, source.bytes, 16);
	memcpy(bytes + IP + 24, local.addresses[1].bytes, 16);
	put16(bytes + UDP6, 18920);
	put16(bytes + UDP6 + 2, 5004);
	put16(bytes + UDP6 + 4, V6_LEN - UDP6);
	put16(bytes + UDP6 + 6, 0x1234);
	rtp(bytes + RTP6);
	return frame;
}

/* An IPv4 frame with this UDP payload. */
static struct frame frame_udp(const void *payload, size_t len)
{
	struct frame frame = frame_v4();

	memset(frame.bytes + RTP, 0, FRAME_MAX - RTP);
	memcpy(frame.bytes + RTP, payload, len);
	put16(frame.bytes + UDP + 4, (unsigned int)(8 + len));
	put16(frame.bytes + IP + 2, (unsigned int)(28 + len));
	frame.len = RTP + len;
	fix_v4(&frame);
	return frame;
}

/* From a buffer of exactly its size, so that AddressSanitizer sees a read behind it. */
static struct packet classify(const struct frame *frame)
{
	struct packet packet;
	uint8_t *exact = malloc(frame->len + (frame->len == 0));

	ck_assert_ptr_nonnull(exact);
	memset(&packet, 0x5a, sizeof(packet));
	memcpy(exact, frame->bytes, frame->len);
	packet_classify(exact, frame->len, &local, &packet);
	free(exact);
	return packet;
}

static void expect_drop(const struct frame *frame, enum drop_reason reason, const char *name)
{
	struct packet packet = classify(frame);

	ck_assert_msg(packet.kind == PACKET_DROP, "%s: not dropped but %d", name, packet.kind);
	ck_assert_msg(
		packet.reason == reason, "%s: %s instead of %s", name, drop_reason_name(packet.reason), drop_reason_name(reason));
}

static void expect_rtp(const struct packet *packet, size_t offset, size_t len)
{
	ck_assert_int_eq(packet->kind, PACKET_RTP);
	ck_assert_uint_eq(packet->seq, 0xfffe);
	ck_assert_uint_eq(packet->timestamp, 0xdeadbeef);
	ck_assert_uint_eq(packet->payload_type, 8);
	ck_assert(packet->marker);
	ck_assert_uint_eq(packet->payload_offset, offset);
	ck_assert_uint_eq(packet->payload_len, len);
	ck_assert_uint_eq(packet->key.ssrc, 1234567);
	ck_assert_uint_eq(packet->key.local_port, 5004);
	ck_assert_uint_eq(packet->key.remote_port, 18920);
}

START_TEST(test_rtp_ipv4)
{
	struct frame frame = frame_v4();
	struct packet packet = classify(&frame);
	char text[IP_ADDRESS_TEXT_SIZE];

	expect_rtp(&packet, PAYLOAD, 160);
	ck_assert_str_eq(ip_address_format(&packet.key.local, text), "10.77.0.1");
	ck_assert_str_eq(ip_address_format(&packet.key.remote, text), "192.168.50.50");
	/* Behind the IP packet: Ethernet padding, not payload. */
	frame.len += 6;
	packet = classify(&frame);
	expect_rtp(&packet, PAYLOAD, 160);
}
END_TEST

START_TEST(test_rtp_ipv6)
{
	struct frame frame = frame_v6();
	struct packet packet = classify(&frame);
	char text[IP_ADDRESS_TEXT_SIZE];

	expect_rtp(&packet, RTP6 + 12, 160);
	ck_assert_str_eq(ip_address_format(&packet.key.local, text), "2001:db8::1");
	ck_assert_str_eq(ip_address_format(&packet.key.remote, text), "2001:db8::50");
}
END_TEST

/* A stranger on IPv6 must not become an IPv4 trunk. */
START_TEST(test_ipv4_mapped)
{
	static const unsigned int offsets[] = {IP + 8, IP + 24};
	static const char *const addresses[] = {"192.168.50.50", "10.77.0.1"};

	for (unsigned int i = 0; i < 2; i++) {
		struct frame frame = frame_v6();
		struct ip_address mapped;

		ip_address_parse(addresses[i], &mapped);
		memcpy(frame.bytes + offsets[i], mapped.bytes, 16);
		expect_drop(&frame, DROP_IP_HEADER, addresses[i]);
	}
}
END_TEST

/* 802.1Q: with a VLAN exactly its tag, without one none or the priority tag. */
START_TEST(test_rtp_vlan)
{
	static const struct {
		const char *name;
		uint16_t vlan; /* configured */
		unsigned int tags;
		uint32_t tag[3];
		bool ours;
	} cases[] = {
		{"untagged", 0, 0, {0}, true},
		{"priority tag", 0, 1, {0x8100a000}, true},
		{"some VLAN, none configured", 0, 1, {0x81000064}, false},
		{"its VLAN", 100, 1, {0x81000064}, true},
		{"its VLAN, with priority and DEI", 100, 1, {0x8100f064}, true},
		{"another VLAN", 100, 1, {0x81000065}, false},
		{"the same lower bits", 100, 1, {0x81000164}, false},
		{"untagged, VLAN configured", 100, 0, {0}, false},
		{"priority tag, VLAN configured", 100, 1, {0x81000000}, false},
		{"S-tag of that number", 100, 1, {0x88a80064}, false},
		{"S-tag, none configured", 0, 1, {0x88a80000}, false},
		{"QinQ, inner one matches", 100, 2, {0x88a80001, 0x81000064}, false},
		{"QinQ, outer one matches", 100, 2, {0x88a80064, 0x81000001}, false},
		{"QinQ of two C-tags, both match", 100, 2, {0x81000064, 0x81000064}, false},
		{"C-tag, then S-tag", 100, 2, {0x81000064, 0x88a80064}, false},
		{"two priority tags", 0, 2, {0x81000000, 0x81000000}, false},
		{"three tags", 100, 3, {0x88a80064, 0x81000064, 0x81000064}, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame frame = frame_v4();
		unsigned int shift = 4 * cases[i].tags;

		local.vlan = cases[i].vlan;
		memmove(frame.bytes + 12 + shift, frame.bytes + 12, frame.len - 12);
		frame.len += shift;
		for (unsigned int tag = 0; tag < cases[i].tags; tag++)
			put32(frame.bytes + 12 + 4 * tag, cases[i].tag[tag]);
		if (!cases[i].ours) {
			expect_drop(&frame, DROP_ETH_VLAN, cases[i].name);
			continue;
		}
		struct packet packet = classify(&frame);

		expect_rtp(&packet, PAYLOAD + shift, 160);
		for (frame.len = 0; frame.len < 14 + shift; frame.len++)
			expect_drop(&frame, DROP_ETH_SHORT, cases[i].name);
	}
}
END_TEST

START_TEST(test_rtp_ip_options)
{
	struct frame frame = frame_v4();

	memmove(frame.bytes + UDP + 8, frame.bytes + UDP, frame.len - UDP);
	memset(frame.bytes + UDP, 1, 8);
	frame.bytes[IP] = 0x47;
	put16(frame.bytes + IP + 2, V4_LEN - IP + 8);
	frame.len += 8;
	fix_v4(&frame);
	struct packet packet = classify(&frame);

	expect_rtp(&packet, PAYLOAD + 8, 160);
}
END_TEST

/* CSRCs, extension and padding are no audio. */
START_TEST(test_rtp_parts)
{
	static const struct {
		unsigned int csrcs;
		int extension_words; /* -1: none */
		unsigned int padding;
		int payload; /* -1: malformed */
	} cases[] = {
		{0, -1, 0, 160},
		{1, -1, 0, 156},
		{15, -1, 0, 100},
		{0, 0, 0, 156},
		{0, 3, 0, 144},
		{2, 1, 0, 144},
		{0, -1, 1, 159},
		{0, -1, 159, 1},
		{0, -1, 160, 0},
		{0, -1, 161, -1},
		{0, -1, 255, -1},
		{15, 24, 0, 0},
		{15, 25, 0, -1},
		{0, 65535, 0, -1},
		{2, 1, 144, 0},
		{2, 1, 145, -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame frame = frame_v4();
		uint8_t *header = frame.bytes + RTP;

		header[0] |= (uint8_t)cases[i].csrcs;
		if (cases[i].extension_words >= 0) {
			header[0] |= 0x10;
			put16(header + 12 + 4 * cases[i].csrcs + 2, (unsigned int)cases[i].extension_words);
		}
		if (cases[i].padding > 0) {
			header[0] |= 0x20;
			header[171] = (uint8_t)cases[i].padding;
		}
		struct packet packet = classify(&frame);

		if (cases[i].payload < 0) {
			ck_assert_msg(packet.kind == PACKET_DROP && packet.reason == DROP_RTP_HEADER, "case %zu", i);
		} else if (cases[i].payload == 0) {
			ck_assert_msg(packet.kind == PACKET_DROP && packet.reason == DROP_RTP_EMPTY, "case %zu", i);
		} else {
			ck_assert_msg(packet.kind == PACKET_RTP && packet.payload_len == cases[i].payload, "case %zu", i);
			ck_assert_msg(packet.payload_offset + packet.payload_len + cases[i].padding == V4_LEN, "case %zu", i);
		}
	}
}
END_TEST

START_TEST(test_padding_of_zero)
{
	struct frame frame = frame_v4();

	frame.bytes[RTP] |= 0x20;
	frame.bytes[V4_LEN - 1] = 0;
	expect_drop(&frame, DROP_RTP_HEADER, "padding of 0");
}
END_TEST

START_TEST(test_rtp_size)
{
	uint8_t payload[12 + VL_RECORD_PAYLOAD_MAX + 1] = {0x80, 8};
	static const struct {
		size_t len;
		enum drop_reason reason; /* DROP_NONE: RTP */
	} cases[] = {
		{0, DROP_NOT_RTP},
		{1, DROP_NOT_RTP},
		{2, DROP_RTP_HEADER},
		{11, DROP_RTP_HEADER},
		{12, DROP_RTP_EMPTY},
		{13, DROP_NONE},
		{12 + VL_RECORD_PAYLOAD_MAX, DROP_NONE},
		{12 + VL_RECORD_PAYLOAD_MAX + 1, DROP_RTP_TOO_LONG},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame frame = frame_udp(payload, cases[i].len);

		if (cases[i].reason != DROP_NONE) {
			expect_drop(&frame, cases[i].reason, "size");
			continue;
		}
		struct packet packet = classify(&frame);

		ck_assert_int_eq(packet.kind, PACKET_RTP);
		ck_assert_uint_eq(packet.payload_len, cases[i].len - 12);
	}
}
END_TEST

/* Announced by the first byte, and not there. */
START_TEST(test_rtp_parts_missing)
{
	for (unsigned int first = 0x80; first < 0xc0; first++) {
		for (size_t len = 12; len < 12 + 60 + 4; len++) {
			uint8_t payload[80] = {(uint8_t)first, 8};
			struct frame frame = frame_udp(payload, len);
			struct packet packet = classify(&frame);
			size_t header = 12 + 4 * (first & 15) + (first & 0x10 ? 4 : 0);

			if ((first & 0x20) || header > len)
				ck_assert(packet.kind == PACKET_DROP && packet.reason == DROP_RTP_HEADER);
			else
				ck_assert_int_eq(packet.kind, header < len ? PACKET_RTP : PACKET_DROP);
		}
	}
}
END_TEST

/* RFC 7983 by the first byte, RFC 5761 by the second. */
START_TEST(test_first_bytes)
{
	for (unsigned int first = 0; first < 256; first++) {
		for (unsigned int second = 0; second < 256; second++) {
			uint8_t payload[28] = {(uint8_t)first, (uint8_t)second, 0, 6};
			struct frame frame = frame_udp(payload, sizeof(payload));
			struct packet packet = classify(&frame);

			if (first < 128 || first > 191)
				ck_assert(packet.kind == PACKET_DROP && packet.reason == DROP_NOT_RTP);
			else if (second >= 192 && second <= 223)
				ck_assert(packet.kind == PACKET_RTCP ||
					  (packet.kind == PACKET_DROP && packet.reason == DROP_RTCP_HEADER));
			else
				ck_assert(packet.kind == PACKET_RTP ||
					  (packet.kind == PACKET_DROP &&
						  (packet.reason == DROP_RTP_HEADER || packet.reason == DROP_RTP_EMPTY)));
			if (first == 0x80 && (second < 192 || second > 223))
				ck_assert_uint_eq(packet.payload_type, second & 0x7f);
		}
	}
}
END_TEST

START_TEST(test_ports)
{
	static const struct {
		unsigned int port;
		bool rtcp;
		enum drop_reason reason; /* DROP_NONE: taken */
	} cases[] = {
		{5004, false, DROP_NONE},
		{5004, true, DROP_NONE},
		{5005, false, DROP_NOT_RTP},
		{5005, true, DROP_NONE},
		{5003, false, DROP_UDP_PORT},
		{5006, false, DROP_UDP_PORT},
		{19999, true, DROP_UDP_PORT},
		{20000, false, DROP_NONE},
		{20001, false, DROP_NOT_RTP},
		{20001, true, DROP_NONE},
		{20010, false, DROP_NONE},
		{20011, true, DROP_NONE},
		{20012, false, DROP_UDP_PORT},
		{0, false, DROP_UDP_PORT},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static const uint8_t report[8] = {0x80, 201, 0, 1, 0, 0, 0, 7};
		struct frame frame = cases[i].rtcp ? frame_udp(report, sizeof(report)) : frame_v4();

		put16(frame.bytes + UDP, 18921);
		put16(frame.bytes + UDP + 2, cases[i].port);
		if (cases[i].reason != DROP_NONE) {
			expect_drop(&frame, cases[i].reason, "port");
			continue;
		}
		struct packet packet = classify(&frame);

		ck_assert_int_eq(packet.kind, cases[i].rtcp ? PACKET_RTCP : PACKET_RTP);
		/* RTCP on the odd port names the flow of the even ones. */
		ck_assert_uint_eq(packet.key.local_port, cases[i].port & ~1u);
		ck_assert_uint_eq(packet.key.remote_port, cases[i].port & 1 ? 18920 : 18921);
	}
	local.rtp_port = 0;
	local.dedicated_first = local.dedicated_last = 0;
	for (unsigned int port = 0; port < 65536; port++) {
		struct frame frame = frame_v4();

		put16(frame.bytes + UDP + 2, port);
		expect_drop(&frame, DROP_UDP_PORT, "no port of ours");
	}
}
END_TEST

/* One change each that makes a right frame wrong. */
START_TEST(test_malformed)
{
	static const struct {
		const char *name;
		bool v6, keep_checksum;
		unsigned int offset, bytes;
		uint32_t value;
		enum drop_reason reason;
	} cases[] = {
		{"another MAC", false, false, ETH + 5, 1, 9, DROP_ETH_NOT_OURS},
		{"broadcast IPv4", false, false, ETH, 4, 0xffffffff, DROP_ETH_NOT_OURS},
		{"EtherType", false, false, 12, 2, 0x88cc, DROP_ETH_TYPE},
		{"EtherType is a length", false, false, 12, 2, 0x0026, DROP_ETH_TYPE},
		{"IP version 6 in IPv4", false, false, IP, 1, 0x65, DROP_IP_HEADER},
		{"IHL 4", false, true, IP, 1, 0x44, DROP_IP_HEADER},
		{"IHL 0", false, true, IP, 1, 0x40, DROP_IP_HEADER},
		{"IP longer than the frame", false, false, IP + 2, 2, V4_LEN - IP + 1, DROP_IP_HEADER},
		{"IP shorter than its header", false, false, IP + 2, 2, 19, DROP_IP_HEADER},
		{"IP length 0", false, false, IP + 2, 2, 0, DROP_IP_HEADER},
		{"IP checksum", false, true, IP + 8, 1, 63, DROP_IP_HEADER},
		{"more fragments", false, false, IP + 6, 2, 0x2000, DROP_IP_FRAGMENT},
		{"last fragment", false, false, IP + 6, 2, 1, DROP_IP_FRAGMENT},
		{"another destination", false, false, IP + 16, 4, 0x0a4d0002, DROP_IP_NOT_OURS},
		{"TCP", false, false, IP + 9, 1, 6, DROP_IP_PROTO},
		{"ICMP unreachable", false, false, IP + 9, 1, 1, DROP_IP_PROTO},
		{"no room for UDP", false, false, IP + 2, 2, 27, DROP_UDP_HEADER},
		{"UDP shorter than its header", false, false, UDP + 4, 2, 7, DROP_UDP_HEADER},
		{"UDP longer than IP", false, false, UDP + 4, 2, V4_LEN - UDP + 1, DROP_UDP_HEADER},
		{"RTP version 1", false, false, RTP, 1, 0x40, DROP_NOT_RTP},
		{"RTP version 3", false, false, RTP, 1, 0xc0, DROP_NOT_RTP},
		{"STUN", false, false, RTP, 1, 0, DROP_NOT_RTP},
		{"IPv6 version", true, false, IP, 1, 0x45, DROP_IP_HEADER},
		{"IPv6 longer than the frame", true, false, IP + 4, 2, V6_LEN - UDP6 + 1, DROP_IP_HEADER},
		{"IPv6 another destination", true, false, IP + 39, 1, 2, DROP_IP_NOT_OURS},
		{"IPv6 multicast RTP", true, false, IP + 24, 1, 0xff, DROP_IP_NOT_OURS},
		{"IPv6 fragment", true, false, IP + 6, 1, 44, DROP_IP_FRAGMENT},
		{"IPv6 hop-by-hop", true, false, IP + 6, 1, 0, DROP_IP_PROTO},
		{"IPv6 router advertisement", true, false, IP + 6, 1, 58, DROP_IP_PROTO},
		{"IPv6 without UDP checksum", true, false, UDP6 + 6, 2, 0, DROP_UDP_HEADER},
		{"IPv6 UDP too long", true, false, UDP6 + 4, 2, V6_LEN - UDP6 + 1, DROP_UDP_HEADER},
		{"IPv6 payload 0", true, false, IP + 4, 2, 0, DROP_UDP_HEADER},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame frame = cases[i].v6 ? frame_v6() : frame_v4();

		for (unsigned int byte = 0; byte < cases[i].bytes; byte++)
			frame.bytes[cases[i].offset + byte] = (uint8_t)(cases[i].value >> 8 * (cases[i].bytes - 1 - byte));
		if (!cases[i].v6 && !cases[i].keep_checksum)
			fix_v4(&frame);
		expect_drop(&frame, cases[i].reason, cases[i].name);
	}
}
END_TEST

/* Cut anywhere, a frame is dropped, and nothing behind the cut is read (under AddressSanitizer). */
START_TEST(test_truncated)
{
	struct frame frames[] = {frame_v4(), frame_v6()};

	for (size_t f = 0; f < 2; f++) {
		size_t whole = frames[f].len;

		for (size_t len = 0; len < whole; len++) {
			frames[f].len = len;
			ck_assert_int_eq(classify(&frames[f]).kind, PACKET_DROP);
		}
		/* Also when IP and UDP agree with the cut. */
		size_t udp = f == 0 ? UDP : UDP6;

		for (size_t len = udp + 8; len < whole; len++) {
			frames[f].len = len;
			put16(frames[f].bytes + udp + 4, (unsigned int)(len - udp));
			put16(frames[f].bytes + IP + (f == 0 ? 2 : 4), (unsigned int)(len - (f == 0 ? IP : UDP6)));
			if (f == 0)
				fix_v4(&frames[f]);
			struct packet packet = classify(&frames[f]);

			ck_assert_int_eq(packet.kind == PACKET_RTP, len > udp + 8 + 12);
		}
	}
}
END_TEST

START_TEST(test_ipv4_checksum)
{
	for (unsigned int offset = IP + 1; offset < IP + 20; offset++) {
		struct frame frame = frame_v4();

		frame.bytes[offset] ^= 0x10;
		expect_drop(&frame, DROP_IP_HEADER, "a bit of the IPv4 header");
	}
}
END_TEST

/* The UDP checksum the way RFC 768 tells it: word by word, pseudo header first. */
static uint16_t udp_sum(const struct frame *frame, bool v6, bool pseudo_only)
{
	const uint8_t *bytes = frame->bytes, *addresses = bytes + IP + (v6 ? 8 : 12);
	size_t udp = v6 ? UDP6 : UDP, len = (size_t)(bytes[udp + 4] << 8 | bytes[udp + 5]);
	uint32_t sum = 17 + (uint32_t)len;

	for (size_t i = 0; i < (v6 ? 32 : 8); i += 2)
		sum += (uint32_t)(addresses[i] << 8 | addresses[i + 1]);
	for (size_t i = 0; !pseudo_only && i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)bytes[udp + i] << 8 : bytes[udp + i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static bool checksum_valid(const struct frame *frame, const struct packet *packet)
{
	uint8_t *exact = malloc(frame->len);
	bool valid;

	ck_assert_ptr_nonnull(exact);
	memcpy(exact, frame->bytes, frame->len);
	valid = packet_checksum_valid(exact, packet);
	free(exact);
	return valid;
}

/* Every flipped bit behind the IP header is seen, whatever the length and the tag; none at all over IPv4 and half a one are no fault. */
START_TEST(test_udp_checksum)
{
	static const unsigned int lens[] = {14, 15, 16, 17, 92, 172, 173, 174, 175};

	for (unsigned int v6 = 0; v6 < 2; v6++) {
		for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
			struct frame frame = v6 ? frame_v6() : frame_v4();
			size_t udp = v6 ? UDP6 : UDP;

			put16(frame.bytes + udp + 4, 8 + lens[i]);
			put16(frame.bytes + IP + (v6 ? 4 : 2), (v6 ? 8u : 28u) + lens[i]);
			memset(frame.bytes + udp + 8 + 172, 0x5a, 16);
			frame.len = udp + 8 + lens[i];
			put16(frame.bytes + udp + 6, 0);
			put16(frame.bytes + udp + 6, (uint16_t)~udp_sum(&frame, v6, false));
			if (!v6)
				fix_v4(&frame);
			struct packet packet = classify(&frame);

			ck_assert_int_eq(packet.kind, PACKET_RTP);
			ck_assert(checksum_valid(&frame, &packet));
			for (size_t bit = 8 * (udp + 6); bit < 8 * frame.len; bit++) {
				frame.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
				ck_assert_msg(!checksum_valid(&frame, &packet), "bit %zu of %zu bytes", bit, frame.len);
				frame.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			}
			put16(frame.bytes + udp + 6, udp_sum(&frame, v6, true));
			ck_assert(checksum_valid(&frame, &packet));
			put16(frame.bytes + udp + 6, udp_sum(&frame, v6, true) ^ 1u);
			ck_assert(!checksum_valid(&frame, &packet));
			if (!v6) {
				put16(frame.bytes + udp + 6, 0);
				ck_assert(checksum_valid(&frame, &packet));
			}
		}
	}
}
END_TEST

/* RFC 3550 A.2, RFC 5506. */
START_TEST(test_rtcp)
{
	static const struct {
		const char *name;
		size_t len;
		uint8_t bytes[80];
		bool valid;
	} cases[] = {
		{"receiver report, empty", 8, {0x80, 201, 0, 1, 0, 0, 0, 7}, true},
		{"receiver report with a block", 32, {0x81, 201, 0, 7, 0, 0, 0, 7}, true},
		{"receiver report, block missing", 8, {0x81, 201, 0, 1, 0, 0, 0, 7}, false},
		{"sender report", 28, {0x80, 200, 0, 6, 0, 0, 0, 7}, true},
		{"sender report too short", 24, {0x80, 200, 0, 5, 0, 0, 0, 7}, false},
		{"report and SDES", 20, {0x80, 201, 0, 1, 0, 0, 0, 7, 0x81, 202, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0}, true},
		{"report and BYE", 16, {0x80, 201, 0, 1, 0, 0, 0, 7, 0x81, 203, 0, 1, 0, 0, 0, 7}, true},
		{"reduced size: feedback first", 12, {0x81, 205, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9}, true},
		{"reduced size: BYE", 8, {0x81, 203, 0, 1, 0, 0, 0, 7}, true},
		{"BYE without SSRC first", 4, {0x80, 203, 0, 0}, false},
		{"BYE without SSRC first, then a report", 12, {0x80, 203, 0, 0, 0x80, 201, 0, 1, 0, 0, 0, 7}, false},
		{"extended report", 12, {0x80, 207, 0, 2, 0, 0, 0, 7, 4, 0, 0, 0}, true},
		{"length behind the end", 8, {0x80, 201, 0, 2, 0, 0, 0, 7}, false},
		{"length 65535", 8, {0x80, 201, 0xff, 0xff, 0, 0, 0, 7}, false},
		{"bytes behind the last", 10, {0x80, 201, 0, 1, 0, 0, 0, 7, 0x80, 201}, false},
		{"second of version 1", 16, {0x80, 201, 0, 1, 0, 0, 0, 7, 0x41, 203, 0, 1, 0, 0, 0, 7}, false},
		{"second is no RTCP", 16, {0x80, 201, 0, 1, 0, 0, 0, 7, 0x81, 103, 0, 1, 0, 0, 0, 7}, false},
		{"padding of the last", 16, {0x80, 201, 0, 1, 0, 0, 0, 7, 0xa0, 201, 0, 1, 0, 0, 0, 7}, false},
		{"padding of the last, right", 20, {0x80, 201, 0, 1, 0, 0, 0, 7, 0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, 4}, true},
		{"padding of 0", 20, {0x80, 201, 0, 1, 0, 0, 0, 7, 0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0}, false},
		{"padding not of whole words", 20, {0x80, 201, 0, 1, 0, 0, 0, 7, 0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, 3}, false},
		{"padding longer than the packet", 20, {0x80, 201, 0, 1, 0, 0, 0, 7, 0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, 16},
			false},
		{"padding of the first", 20, {0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, 4, 0x80, 201, 0, 1, 0, 0, 0, 7}, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame frame = frame_udp(cases[i].bytes, cases[i].len);

		if (!cases[i].valid) {
			expect_drop(&frame, DROP_RTCP_HEADER, cases[i].name);
			continue;
		}
		struct packet packet = classify(&frame);

		ck_assert_msg(packet.kind == PACKET_RTCP, "%s", cases[i].name);
		ck_assert_uint_eq(packet.key.ssrc, 7);
		ck_assert_uint_eq(packet.payload_len, cases[i].len);
		ck_assert_uint_eq(packet.payload_offset, RTP);
	}
}
END_TEST

static struct frame frame_arp(uint32_t sender, uint32_t target)
{
	struct frame frame = {.len = 60};

	memset(frame.bytes, 0xff, 6);
	put16(frame.bytes + 12, 0x0806);
	put32(frame.bytes + IP, 0x00010800);
	put32(frame.bytes + IP + 4, 0x06040001);
	put32(frame.bytes + IP + 14, sender);
	put32(frame.bytes + IP + 24, target);
	return frame;
}

START_TEST(test_local)
{
	char text[IP_ADDRESS_TEXT_SIZE];
	struct frame frame = frame_arp(0x0a4d0002, 0x0a4d0001);
	struct packet packet = classify(&frame);

	ck_assert_int_eq(packet.kind, PACKET_LOCAL);
	ck_assert(!packet.echo);
	ck_assert_str_eq(ip_address_format(&packet.key.remote, text), "10.77.0.2");
	frame.len = IP + 27;
	expect_drop(&frame, DROP_ETH_SHORT, "short ARP");
	frame = frame_arp(0x0a4d0002, 0x0a4d0003);
	expect_drop(&frame, DROP_IP_NOT_OURS, "ARP for another");
	frame = frame_arp(0x0a4d0002, 0x0a4d0002);
	ck_assert_int_eq(classify(&frame).kind, PACKET_LOCAL);

	frame = frame_v4();
	frame.bytes[IP + 9] = 1;
	frame.bytes[UDP] = 8;
	fix_v4(&frame);
	packet = classify(&frame);
	ck_assert_int_eq(packet.kind, PACKET_LOCAL);
	ck_assert(packet.echo);

	frame = frame_v6();
	frame.bytes[IP + 6] = 58;
	frame.bytes[UDP6] = 128;
	packet = classify(&frame);
	ck_assert_int_eq(packet.kind, PACKET_LOCAL);
	ck_assert(packet.echo);
	/* A solicitation to our group; a ping to it gets no answer. */
	memcpy(frame.bytes, "\x33\x33\xff\x00\x00\x01", 6);
	frame.bytes[IP + 24] = 0xff;
	expect_drop(&frame, DROP_IP_PROTO, "ping to a group");
	frame.bytes[UDP6] = 135;
	packet = classify(&frame);
	ck_assert_int_eq(packet.kind, PACKET_LOCAL);
	ck_assert(!packet.echo);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("packet");

	unit_add_fixture(suite, "rtp", setup, NULL, test_rtp_ipv4, test_rtp_ipv6, test_ipv4_mapped, test_rtp_vlan,
		test_rtp_ip_options, test_rtp_parts_missing, test_rtp_parts, test_padding_of_zero, test_rtp_size);
	unit_add_fixture(suite, "demultiplexing", setup, NULL, test_first_bytes, test_ports, test_local);
	unit_add_fixture(suite, "malformed", setup, NULL, test_malformed, test_truncated, test_ipv4_checksum, test_udp_checksum);
	unit_add_fixture(suite, "rtcp", setup, NULL, test_rtcp);
	return unit_run(suite);
}
