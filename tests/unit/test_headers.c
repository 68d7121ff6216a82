/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header templates: fields, and checksums against a plain implementation of RFC 1071.
 */
#include <errno.h>
#include <string.h>

#include "dpdk_app/headers.h"
#include "dpdk_app/packet.h"
#include "unit.h"

static struct headers_spec spec_of(const char *local, const char *remote)
{
	struct headers_spec spec = {
		.source_mac = {2, 0, 0, 0, 0, 1}, .destination_mac = {2, 0, 0, 0, 0, 2}, .dscp = HEADERS_DSCP_EF};

	ck_assert_int_eq(ip_address_parse(local, &spec.local.address), 0);
	ck_assert_int_eq(ip_address_parse(remote, &spec.remote.address), 0);
	spec.local.port = 5004;
	spec.remote.port = 18920;
	return spec;
}

static uint32_t plain_sum(uint32_t sum, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t read16(const uint8_t *at)
{
	return (uint32_t)(at[0] << 8 | at[1]);
}

/* Build a frame with this payload and check every field. */
static void check_frame(const struct headers_spec *spec, const uint8_t *payload, uint16_t len, uint16_t id)
{
	struct header_template template;
	uint8_t frame[2048];
	bool v4 = ip_address_is_v4(&spec->local.address);
	unsigned int l2 = spec->vlan != 0 ? 18 : 14;

	ck_assert_int_eq(headers_build(&template, spec), 0);
	ck_assert_uint_eq(template.l2_len, l2);
	ck_assert_uint_eq(template.len, l2 + (v4 ? 20 : 40) + 8);
	memcpy(frame, template.bytes, template.len);
	memcpy(frame + template.len, payload, len);
	headers_finish(&template, frame, len, id);

	const uint8_t *ip = frame + l2, *udp = frame + template.len - 8;

	ck_assert_mem_eq(frame, spec->destination_mac, 6);
	ck_assert_mem_eq(frame + 6, spec->source_mac, 6);
	ck_assert_uint_eq(read16(frame + l2 - 2), v4 ? 0x0800 : 0x86dd);
	if (spec->vlan != 0) {
		ck_assert_uint_eq(read16(frame + 12), 0x8100);
		ck_assert_uint_eq(read16(frame + 14), spec->vlan);
	}
	uint32_t sum = plain_sum(0, ip + (v4 ? 12 : 8), v4 ? 8 : 32) + 17 + 8 + len;

	if (v4) {
		ck_assert_uint_eq(plain_sum(0, ip, 20), 0xffff);
		ck_assert_uint_eq(ip[1], 46 << 2);
		ck_assert_uint_eq(read16(ip + 2), 28u + len);
		ck_assert_uint_eq(read16(ip + 4), id);
		ck_assert_uint_eq(read16(ip + 6), 0x4000);
	} else {
		ck_assert_uint_eq(read16(ip) << 16 | read16(ip + 2), 0x6b800000);
		ck_assert_uint_eq(read16(ip + 4), 8u + len);
		ck_assert_uint_eq(ip[6], 17);
	}
	ck_assert_uint_eq(read16(udp), 5004);
	ck_assert_uint_eq(read16(udp + 2), 18920);
	ck_assert_uint_eq(read16(udp + 4), 8u + len);
	ck_assert_uint_ne(read16(udp + 6), 0);
	ck_assert_uint_eq(plain_sum(sum, udp, 8u + len), 0xffff);
}

START_TEST(test_frames)
{
	static const struct {
		const char *local, *remote;
	} pairs[] = {
		{"10.77.0.1", "192.168.50.50"}, {"255.255.255.254", "255.255.255.253"}, {"2001:db8::1", "2001:db8:ffff::ffff"}};
	uint8_t payload[1200];
	uint32_t random = 1;

	for (size_t p = 0; p < 3; p++) {
		struct headers_spec spec = spec_of(pairs[p].local, pairs[p].remote);

		for (unsigned int round = 0; round < 500; round++) {
			for (size_t i = 0; i < sizeof(payload); i++) {
				random = random * 1103515245 + 12345;
				payload[i] = round % 3 == 0 ? 0xff : round % 3 == 1 ? 0 : (uint8_t)(random >> 16);
			}
			spec.vlan = round % 2 ? 100 : 0;
			check_frame(&spec, payload, (uint16_t)(round < 300 ? round : random % sizeof(payload)),
				(uint16_t)(random >> 8));
		}
	}
}
END_TEST

/* A UDP checksum that comes out as 0 is sent as 0xffff. */
START_TEST(test_checksum_zero)
{
	struct headers_spec spec = spec_of("2001:db8::1", "2001:db8::2");

	for (uint32_t value = 0; value < 65536; value++) {
		uint8_t payload[2] = {(uint8_t)(value >> 8), (uint8_t)value};

		check_frame(&spec, payload, 2, 0);
	}
}
END_TEST

/* What we build is what we would take. */
START_TEST(test_round_trip)
{
	struct headers_spec spec = spec_of("10.77.0.1", "10.77.0.2");
	struct header_template template;
	uint8_t frame[256] = {0};
	struct packet_local local = {
		.addresses = {spec.remote.address}, .address_count = 1, .rtp_port = 18920, .mac = {2, 0, 0, 0, 0, 2}};
	struct packet packet;

	ck_assert_int_eq(headers_build(&template, &spec), 0);
	memcpy(frame, template.bytes, template.len);
	memcpy(frame + template.len,
		"\x80\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03"
		"abcd",
		16);
	headers_finish(&template, frame, 16, 7);
	packet_classify(frame, template.len + 16u, &local, &packet);
	ck_assert_int_eq(packet.kind, PACKET_RTP);
	ck_assert_uint_eq(packet.payload_len, 4);
}
END_TEST

START_TEST(test_refused)
{
	struct header_template template;
	struct headers_spec spec = spec_of("10.77.0.1", "2001:db8::1");

	ck_assert_int_eq(headers_build(&template, &spec), -EINVAL);
	spec = spec_of("10.77.0.1", "10.77.0.2");
	spec.vlan = 4095;
	ck_assert_int_eq(headers_build(&template, &spec), -EINVAL);
	spec.vlan = 0;
	spec.dscp = 64;
	ck_assert_int_eq(headers_build(&template, &spec), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("headers");

	unit_add(suite, "template", test_frames, test_checksum_zero, test_round_trip, test_refused);
	return unit_run(suite);
}
