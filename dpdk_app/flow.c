/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and prefixes as text and as bits. Pure.
 */
#include "flow.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define ADDRESS_BITS  128u
#define V4_MAPPED_LEN 12u /* bytes of ::ffff:0:0/96 */

static const uint8_t v4_mapped[V4_MAPPED_LEN] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool ip_address_is_v4(const struct ip_address *address)
{
	return memcmp(address->bytes, v4_mapped, V4_MAPPED_LEN) == 0;
}

int ip_address_parse(const char *text, struct ip_address *address)
{
	struct ip_address parsed;

	if (strchr(text, ':') != NULL) {
		if (inet_pton(AF_INET6, text, parsed.bytes) != 1)
			return -EINVAL;
	} else {
		memcpy(parsed.bytes, v4_mapped, V4_MAPPED_LEN);
		if (inet_pton(AF_INET, text, parsed.bytes + V4_MAPPED_LEN) != 1)
			return -EINVAL;
	}
	*address = parsed;
	return 0;
}

const char *ip_address_format(const struct ip_address *address, char text[IP_ADDRESS_TEXT_SIZE])
{
	_Static_assert(IP_ADDRESS_TEXT_SIZE >= INET6_ADDRSTRLEN, "room for every address");
	if (ip_address_is_v4(address))
		inet_ntop(AF_INET, address->bytes + V4_MAPPED_LEN, text, IP_ADDRESS_TEXT_SIZE);
	else
		inet_ntop(AF_INET6, address->bytes, text, IP_ADDRESS_TEXT_SIZE);
	return text;
}

/* The length behind the slash: decimal digits only, without a leading zero, at most `max`. */
static int parse_length(const char *text, unsigned int max, unsigned int *length)
{
	unsigned int value = 0;

	if (*text == '\0' || (text[0] == '0' && text[1] != '\0'))
		return -EINVAL;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (unsigned int)(*text - '0');
		if (value > max)
			return -EINVAL;
	}
	*length = value;
	return 0;
}

static bool bits_behind(const struct ip_address *address, unsigned int length)
{
	for (unsigned int bit = length; bit < ADDRESS_BITS; bit++) {
		if (address->bytes[bit / 8] & (0x80u >> (bit % 8)))
			return true;
	}
	return false;
}

int ip_prefix_parse(const char *text, struct ip_prefix *prefix)
{
	char address_text[IP_ADDRESS_TEXT_SIZE];
	struct ip_prefix parsed;
	unsigned int length = ADDRESS_BITS;
	const char *slash = strchr(text, '/');
	size_t size = slash != NULL ? (size_t)(slash - text) : strlen(text);

	if (size >= sizeof(address_text))
		return -EINVAL;
	memcpy(address_text, text, size);
	address_text[size] = '\0';
	if (ip_address_parse(address_text, &parsed.address) != 0)
		return -EINVAL;
	if (slash != NULL) {
		bool v4 = strchr(address_text, ':') == NULL;

		if (parse_length(slash + 1, v4 ? 32 : ADDRESS_BITS, &length) != 0)
			return -EINVAL;
		if (v4)
			length += 8 * V4_MAPPED_LEN;
	}
	if (bits_behind(&parsed.address, length))
		return -EINVAL;
	parsed.length = (uint8_t)length;
	*prefix = parsed;
	return 0;
}

bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_address *address)
{
	unsigned int bytes = prefix->length / 8;
	unsigned int rest = prefix->length % 8;

	if (memcmp(prefix->address.bytes, address->bytes, bytes) != 0)
		return false;
	return rest == 0 || ((prefix->address.bytes[bytes] ^ address->bytes[bytes]) & (0xff00u >> rest) & 0xffu) == 0;
}
