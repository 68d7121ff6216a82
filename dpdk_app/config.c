/* SPDX-License-Identifier: Apache-2.0 */
/* Loading the configuration, and the checks that look at more than one setting. The settings themselves are in config_table.c. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../shared/file.h"
#include "receive.h"

/* The prefix of `length` bits (IPv6 form) in which `address` lies. */
static struct ip_prefix prefix_around(const struct ip_address *address, unsigned int length)
{
	struct ip_prefix prefix = {.address = *address, .length = (uint8_t)length};

	for (unsigned int bit = length; bit < 128; bit++)
		prefix.address.bytes[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
	return prefix;
}

static bool same_address(const struct ip_address *a, const struct ip_address *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* Whether all bits behind the prefix are `set`: the network's own number or its broadcast address. */
static bool host_bits_all(const struct ip_address *address, unsigned int length, bool set)
{
	for (unsigned int bit = length; bit < 128; bit++)
		if (((address->bytes[bit / 8] & (0x80u >> (bit % 8))) != 0) != set)
			return false;
	return true;
}

/* fe80::/10: on the link whatever the prefix. */
static bool is_link_local(const struct ip_address *address)
{
	return address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80;
}

static void check_address(struct config_address *ip, const char *name, struct vl_errors *errors)
{
	bool v4 = ip_address_is_v4(&ip->address);
	unsigned int length = ip->prefix_length + (v4 ? 96u : 0u);
	char text[IP_ADDRESS_TEXT_SIZE], own[IP_ADDRESS_TEXT_SIZE], path[VL_JSON_PATH_SIZE];

	ip->subnet = prefix_around(&ip->address, length);
	ip_address_format(&ip->address, own);
	/* A /31 has two hosts and no broadcast address (RFC 3021). */
	if (v4 && length < 127 && (host_bits_all(&ip->address, length, true) || host_bits_all(&ip->address, length, false))) {
		snprintf(path, sizeof(path), "%s.address", name);
		vl_errors_add(
			errors, path, "'%s' is the network or broadcast address of its own prefix /%u", own, ip->prefix_length);
	}
	if (!ip->has_gateway)
		return;
	snprintf(path, sizeof(path), "%s.gateway", name);
	ip_address_format(&ip->gateway, text);
	if (same_address(&ip->gateway, &ip->address))
		vl_errors_add(errors, path, "'%s' is the data plane's own address", text);
	else if (!ip_prefix_contains(&ip->subnet, &ip->gateway) && !is_link_local(&ip->gateway))
		vl_errors_add(errors, path, "'%s' is not in the prefix of %s/%u", text, own, ip->prefix_length);
}

static void check_ports(const struct config *config, struct vl_errors *errors)
{
	const struct config_listen *listen = &config->listen;
	const uint16_t *range = listen->dedicated_ports;

	if (listen->rtp_port % 2 != 0)
		vl_errors_add(errors, "listen.rtp_port", "%u is odd; RTP takes an even port and RTCP the next odd one",
			listen->rtp_port);
	if (!listen->has_dedicated_ports)
		return;
	if (range[0] % 2 != 0)
		vl_errors_add(errors, "listen.dedicated_ports[0]", "%u is odd; RTP takes the even port of a pair", range[0]);
	if (range[1] == range[0])
		vl_errors_add(errors, "listen.dedicated_ports", "has no room for a pair of ports");
	/* The odd port of the last pair belongs to the range even if it is not in it. Pairs overlap when their even ports do. */
	if (listen->rtp_port % 2 == 0 && listen->rtp_port >= range[0] && listen->rtp_port <= (range[1] | 1))
		vl_errors_add(errors, "listen.rtp_port", "%u lies in dedicated_ports %u to %u", listen->rtp_port, range[0],
			range[1] | 1);
}

static bool prefixes_overlap(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->length <= b->length ? ip_prefix_contains(a, &b->address) : ip_prefix_contains(b, &a->address);
}

/* "10.77.0.0/24" */
static const char *prefix_format(const struct ip_prefix *prefix, char text[IP_ADDRESS_TEXT_SIZE + 4])
{
	unsigned int length = prefix->length - (ip_address_is_v4(&prefix->address) && prefix->length >= 96 ? 96u : 0u);

	ip_address_format(&prefix->address, text);
	snprintf(text + strlen(text), 5, "/%u", length);
	return text;
}

/* Source `index` of trunk `t` against the sources of every trunk before it. */
static void check_overlap(const struct config *config, size_t t, size_t index, struct vl_errors *errors)
{
	const struct ip_prefix *source = &config->trunks[t].sources[index];
	char path[VL_JSON_PATH_SIZE], text[IP_ADDRESS_TEXT_SIZE + 4], other_text[IP_ADDRESS_TEXT_SIZE + 4];

	snprintf(path, sizeof(path), "trunks[%zu].sources[%zu]", t, index);
	for (size_t o = 0; o < t; o++) {
		const struct config_trunk *other = &config->trunks[o];
		for (size_t i = 0; i < other->source_count; i++) {
			if (!prefixes_overlap(source, &other->sources[i]))
				continue;
			vl_errors_add(errors, path, "%s of trunk '%s' overlaps %s of trunk '%s' (trunks[%zu].sources[%zu])",
				prefix_format(source, text), config->trunks[t].name,
				prefix_format(&other->sources[i], other_text), other->name, o, i);
			return;
		}
	}
}

/* An IPv6 prefix so short that all of IPv4, which is kept as ::ffff:0:0/96, lies in it. */
static bool holds_v4(const struct ip_prefix *prefix)
{
	static const struct ip_address mapped = {{[10] = 0xff, [11] = 0xff}};

	return prefix->length < 96 && ip_prefix_contains(prefix, &mapped);
}

static void check_trunk(const struct config *config, size_t t, struct vl_errors *errors)
{
	const struct config_trunk *trunk = &config->trunks[t];
	char path[VL_JSON_PATH_SIZE];

	for (size_t o = 0; o < t; o++) {
		if (strcmp(config->trunks[o].name, trunk->name) != 0)
			continue;
		snprintf(path, sizeof(path), "trunks[%zu].name", t);
		vl_errors_add(errors, path, "'%s' is the name of trunks[%zu] already", trunk->name, o);
	}
	if (trunk->port_mode == CONFIG_PORT_DEDICATED && !config->listen.has_dedicated_ports) {
		snprintf(path, sizeof(path), "trunks[%zu].port_mode", t);
		vl_errors_add(errors, path, "'dedicated' needs listen.dedicated_ports");
	}
	for (size_t i = 0; i < trunk->source_count; i++) {
		if (!ip_address_is_v4(&trunk->sources[i].address) && !config->has_listen6) {
			snprintf(path, sizeof(path), "trunks[%zu].sources[%zu]", t, i);
			vl_errors_add(errors, path, "an IPv6 source needs listen6");
		} else if (holds_v4(&trunk->sources[i])) {
			snprintf(path, sizeof(path), "trunks[%zu].sources[%zu]", t, i);
			vl_errors_add(errors, path,
				"holds every IPv4 address too (::ffff:0:0/96); say 2000::/3 or 0.0.0.0/0 for what is meant");
			continue;
		}
		check_overlap(config, t, i, errors);
	}
}

static void check_shards(const struct config *config, struct vl_errors *errors)
{
	char path[VL_JSON_PATH_SIZE];

	for (size_t s = 0; s < config->workers.shard_count; s++) {
		for (size_t o = 0; o < s; o++) {
			if (config->workers.shards[o].uid != config->workers.shards[s].uid)
				continue;
			snprintf(path, sizeof(path), "workers.shards[%zu].uid", s);
			vl_errors_add(
				errors, path, "%u is the uid of workers.shards[%zu] already", config->workers.shards[s].uid, o);
		}
	}
}

static void check_all(struct config *config, struct vl_errors *errors)
{
	check_address(&config->listen.ip, "listen", errors);
	if (config->has_listen6)
		check_address(&config->listen6, "listen6", errors);
	check_ports(config, errors);
	for (size_t t = 0; t < config->trunk_count; t++)
		check_trunk(config, t, errors);
	check_shards(config, errors);
	if ((config->workers.ring_slots & (config->workers.ring_slots - 1)) != 0)
		vl_errors_add(errors, "workers.ring_slots", "%u is not a power of two", config->workers.ring_slots);
	if (config->learning.total_per_second < config->learning.packets_per_second)
		vl_errors_add(errors, "learning.total_per_second", "%u is less than packets_per_second for one flow, %u",
			config->learning.total_per_second, config->learning.packets_per_second);
	if (strcmp(config->sockets.control, config->sockets.workers) == 0)
		vl_errors_add(errors, "sockets.workers", "'%s' is the control socket", config->sockets.workers);
}

struct config *config_parse(const char *text, size_t len, struct vl_errors *errors)
{
	struct config *config = calloc(1, sizeof(*config));
	struct vl_error error = {.text = "out of memory"};
	int r = -ENOMEM;

	cJSON *document = config == NULL ? NULL : vl_json_parse(text, len, CONFIG_FILE_MAX, &error);
	if (document == NULL) {
		r = config == NULL ? -ENOMEM : -errno;
		vl_errors_add(errors, NULL, "%s", error.text);
		free(config);
		errno = -r;
		return NULL;
	}
	r = vl_settings_parse(config_table, document, config, errors);
	config->document = document;
	if (r == 0) {
		check_all(config, errors);
		if (errors->count == 0)
			return config;
		r = -EINVAL;
	}
	config_free(config);
	errno = -r;
	return NULL;
}

struct config *config_load(const char *path, struct vl_errors *errors)
{
	struct vl_file file;
	struct vl_error error;
	int r = vl_file_read(path, CONFIG_FILE_MAX, &file, &error);

	if (r == 0)
		r = vl_file_check_trusted(path, &file, geteuid(), &error);
	if (r < 0) {
		vl_errors_add(errors, NULL, "%s", error.text);
		vl_file_free(&file);
		errno = -r;
		return NULL;
	}
	struct config *config = config_parse(file.text, file.len, errors);
	int saved = errno;
	vl_file_free(&file);
	errno = saved;
	return config;
}

void config_warn(const struct config *config, struct vl_errors *warnings)
{
	/* To connect to a UNIX socket is to write to it (unix(7)). */
	if ((config->sockets.mode & 002) != 0)
		vl_errors_add(warnings, "sockets.mode",
			"%04o lets everybody on this machine begin and end calls; 0660 is its owner and group",
			config->sockets.mode);
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	vl_settings_free(config_table, config);
	cJSON_Delete(config->document);
	free(config);
}

void config_explain(const struct config *config, FILE *to)
{
	vl_settings_explain(config_table, config->document, to);
}

int config_trunk_find(const struct config *config, const char *name)
{
	for (size_t t = 0; t < config->trunk_count; t++)
		if (strcmp(config->trunks[t].name, name) == 0)
			return (int)t;
	return -1;
}

uint32_t config_trunk_rate(const struct config *config, size_t trunk)
{
	uint32_t set = config->trunks[trunk].max_packets_per_second;

	return set != 0 ? set : config->sessions.max * RECEIVE_FLOW_RATE;
}

bool config_shard_serves(const struct config_shard *shard, const char *user)
{
	for (size_t i = 0; i < shard->user_count; i++) {
		size_t len = strlen(shard->users[i]);

		if (shard->users[i][len - 1] == '*' ? strncmp(shard->users[i], user, len - 1) == 0
						    : strcmp(shard->users[i], user) == 0)
			return true;
	}
	return false;
}

int config_trunk_of(const struct config *config, const struct ip_address *source)
{
	for (size_t t = 0; t < config->trunk_count; t++)
		for (size_t i = 0; i < config->trunks[t].source_count; i++)
			if (ip_prefix_contains(&config->trunks[t].sources[i], source))
				return (int)t;
	return -1;
}
