/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of the data plane's configuration. doc/configuration.md is written from it: after a change here run
 * scripts/reference.sh.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "playout.h"

#define ROW(member, of, field, kind) .name = member, .type = VL_SETTING_##kind, VL_SETTING_FIELD(of, field)
#define OF(type, field)		     offsetof(struct type, field)
#define END                  \
	{                    \
		.name = NULL \
	}

static const char *const flow_rules[] = {"auto", "off", NULL};
static const char *const port_modes[] = {"shared", "dedicated", NULL};
static const char *const idles[] = {
	[PLAYOUT_IDLE_SILENCE] = "silence", [PLAYOUT_IDLE_COMFORT_NOISE] = "comfort-noise", [PLAYOUT_IDLE_NONE] = "none", NULL};
static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};
_Static_assert(VL_LOG_ERROR == 0 && VL_LOG_DEBUG == 3, "log_levels is indexed by enum vl_log_level");

/* An address a host can have: not unspecified, loopback, multicast or broadcast. */
static bool is_host(const struct ip_address *address)
{
	static const struct ip_address unspecified = {{0}}, loopback = {{[15] = 1}};
	const uint8_t *bytes = address->bytes;

	if (ip_address_is_v4(address))
		return bytes[12] != 0 && bytes[12] != 127 && bytes[12] < 224;
	return bytes[0] != 0xff && memcmp(address, &unspecified, 16) != 0 && memcmp(address, &loopback, 16) != 0;
}

static int parse_host(const char *text, bool v4, void *field)
{
	struct ip_address address;

	if (ip_address_parse(text, &address) < 0 || ip_address_is_v4(&address) != v4 || !is_host(&address))
		return -EINVAL;
	*(struct ip_address *)field = address;
	return 0;
}

#define V4_EXPECTED "the IPv4 address of a host"
static int parse_v4(const char *text, void *field)
{
	return parse_host(text, true, field);
}

#define V6_EXPECTED "the IPv6 address of a host"
static int parse_v6(const char *text, void *field)
{
	return parse_host(text, false, field);
}

#define PREFIX_EXPECTED "an address or prefix (no bits behind its length)"
static int parse_prefix(const char *text, void *field)
{
	return ip_prefix_parse(text, field);
}

#define MODE_EXPECTED "an octal file mode such as \"0660\""
static int parse_mode(const char *text, void *field)
{
	char *end;
	size_t len = strlen(text);

	if (len < 3 || len > 4 || text[strspn(text, "01234567")] != '\0')
		return -EINVAL;
	unsigned long mode = strtoul(text, &end, 8);
	if (mode > 0777)
		return -EINVAL;
	*(uint32_t *)field = (uint32_t)mode;
	return 0;
}

static const struct vl_setting listen_table[] = {
	{ROW("address", config_listen, ip.address, TEXT), .required = true, .parse = parse_v4, .expected = V4_EXPECTED,
		.meaning = "the data plane's own address, used by nobody else on the link"},
	{ROW("prefix_length", config_listen, ip.prefix_length, INTEGER), .required = true, .min = 1, .max = 32,
		.meaning = "length of the link's prefix"},
	{ROW("gateway", config_listen, ip.gateway, TEXT), .parse = parse_v4, .expected = V4_EXPECTED,
		.present = OF(config_listen, ip.has_gateway),
		.meaning = "next hop for addresses outside the prefix; without it they cannot be reached"},
	{ROW("rtp_port", config_listen, rtp_port, INTEGER), .min = 1, .max = 65535, .fallback = "5004",
		.meaning = "even UDP port that the calls of trunks with shared port share; RTCP comes to the next odd one"},
	{ROW("dedicated_ports", config_listen, dedicated_ports, PAIR), .present = OF(config_listen, has_dedicated_ports),
		.min = 1024, .max = 65535,
		.meaning = "range from which a call of a trunk with dedicated ports gets an even port for RTP and the next odd "
			   "one for RTCP"},
	{ROW("vlan", config_listen, vlan, INTEGER), .min = 1, .max = 4094,
		.meaning = "802.1Q VLAN of the link: only frames with its tag are ours; none means untagged, or with a priority "
			   "tag"},
	{ROW("port", config_listen, port, INTEGER), .max = 15, .fallback = "0",
		.meaning = "the one DPDK port that carries the addresses, by the number the EAL gives it; others on the EAL's "
			   "command line are not used"},
	{ROW("flow_rules", config_listen, flow_rules, ENUM), .words = flow_rules, .fallback = "\"auto\"",
		.meaning = "whether the port itself drops UDP from addresses that are no trunk's (rte_flow): with `auto` if it "
			   "takes "
			   "such rules; packet cores drop them in any case"},
	END};

static const struct vl_setting listen6_table[] = {
	{ROW("address", config_address, address, TEXT), .required = true, .parse = parse_v6, .expected = V6_EXPECTED,
		.meaning = "the data plane's own IPv6 address, on the same DPDK port, VLAN and UDP ports"},
	{ROW("prefix_length", config_address, prefix_length, INTEGER), .required = true, .min = 1, .max = 128,
		.meaning = "length of the link's prefix"},
	{ROW("gateway", config_address, gateway, TEXT), .parse = parse_v6, .expected = V6_EXPECTED,
		.present = OF(config_address, has_gateway), .meaning = "next hop for addresses outside the prefix"},
	END};

static const struct vl_setting source_element[] = {{.name = "",
							   .type = VL_SETTING_TEXT,
							   .size = sizeof(struct ip_prefix),
							   .parse = parse_prefix,
							   .expected = PREFIX_EXPECTED},
	END};

static const struct vl_setting trunk_table[] = {
	{ROW("name", config_trunk, name, STRING), .required = true, .min = 1, .valid = vl_setting_name,
		.expected = VL_NAME_EXPECTED, .meaning = "how `session.create` names the trunk"},
	{ROW("sources", config_trunk, sources, LIST), .required = true, .count = OF(config_trunk, source_count), .min = 1,
		.max = CONFIG_SOURCES_MAX, .members = source_element,
		.meaning = "where its media comes from; no other source ever reaches its calls, and no two trunks share one"},
	{ROW("default_port", config_trunk, default_port, INTEGER), .min = 1, .max = 65535, .fallback = "5004",
		.meaning = "a signalled remote port of this value means that the port is not known yet"},
	{ROW("port_mode", config_trunk, port_mode, ENUM), .words = port_modes, .fallback = "\"shared\"",
		.meaning = "whether its calls share `listen.rtp_port` or get a port of their own from `listen.dedicated_ports`"},
	{ROW("allow_nat_rebind", config_trunk, allow_nat_rebind, BOOL), .fallback = "false",
		.meaning = "let a call's locked SSRC move to another port or address of this trunk after probation"},
	{ROW("max_packets_per_second", config_trunk, max_packets_per_second, INTEGER), .min = 50, .max = 1000000000,
		.unit = "packets/s",
		.meaning = "more than this from its sources, on one packet core, is dropped before anything is looked up; none "
			   "means 200 for each of `sessions.max`"},
	END};
static const struct vl_setting trunk_element[] = {
	{.name = "", .type = VL_SETTING_OBJECT, .size = sizeof(struct config_trunk), .members = trunk_table}, END};

/* Members of the nameless structs in struct config have offsets from its start. */
#define IN_CONFIG(member, field, kind) ROW(member, config, field, kind)

static const struct vl_setting playout_table[] = {
	{IN_CONFIG("idle", playout.idle, ENUM), .words = idles, .fallback = "\"silence\"",
		.meaning = "what a caller hears while the model says nothing: coded silence, comfort noise packets (RFC 3389), "
			   "or no packets"},
	{IN_CONFIG("wait_for_caller_ms", playout.wait_for_caller_ms, INTEGER), .max = 60000, .fallback = "5000", .unit = "ms",
		.meaning =
			"how long the model's voice waits for the caller's first packet before it is sent to the signalled place "
			"in any case; silence is sent meanwhile"},
	END};

static const struct vl_setting sessions_table[] = {
	{IN_CONFIG("max", sessions.max, INTEGER), .min = 1, .max = 1000000, .fallback = "10000", .unit = "calls",
		.meaning = "calls at one time; their memory is reserved at start"},
	{IN_CONFIG("media_timeout_s", sessions.media_timeout_s, INTEGER), .min = 5, .max = 86400, .fallback = "60", .unit = "s",
		.meaning = "a call from which no packet came for so long is ended"},
	{IN_CONFIG("hold_timeout_s", sessions.hold_timeout_s, INTEGER), .min = 5, .max = 604800, .fallback = "3600", .unit = "s",
		.meaning = "the same for a call on hold"},
	{IN_CONFIG("quarantine_s", sessions.quarantine_s, INTEGER), .min = 1, .max = 3600, .fallback = "30", .unit = "s",
		.meaning = "how long the port and the flow of an ended call are refused, so that its late packets reach no other "
			   "call"},
	END};

static const struct vl_setting learning_table[] = {
	{IN_CONFIG("packets_per_second", learning.packets_per_second, INTEGER), .min = 1, .max = 1000000, .fallback = "50",
		.unit = "packets/s", .meaning = "packets looked at of one unknown flow (source address, port and SSRC)"},
	{IN_CONFIG("total_per_second", learning.total_per_second, INTEGER), .min = 1, .max = 10000000, .fallback = "20000",
		.unit = "packets/s",
		.meaning = "the same for all of them together; those of one source address get a quarter of it"},
	{IN_CONFIG("pending", learning.pending, INTEGER), .min = 16, .max = 65536, .fallback = "1024", .unit = "flows",
		.meaning = "flows in probation at one time"},
	END};

static const struct vl_setting uid_element[] = {
	{.name = "", .type = VL_SETTING_INTEGER, .size = sizeof(uint32_t), .max = 4294967294}, END};
#define PATTERN_EXPECTED "a user, or the beginning of one with a * behind"
/* A user's name, "team-*", or "*". */
static bool is_pattern(const char *text)
{
	char name[CONFIG_NAME_SIZE];
	size_t len = strlen(text);

	if (len == 0 || len >= sizeof(name) || text[len - 1] != '*')
		return vl_setting_user(text);
	memcpy(name, text, len - 1);
	name[len - 1] = '\0';
	return len == 1 || vl_setting_user(name);
}

static const struct vl_setting pattern_element[] = {{.name = "",
							    .type = VL_SETTING_STRING,
							    .size = CONFIG_NAME_SIZE,
							    .min = 1,
							    .valid = is_pattern,
							    .expected = PATTERN_EXPECTED},
	END};
static const struct vl_setting shard_table[] = {
	{ROW("uid", config_shard, uid, INTEGER), .required = true, .max = 4294967294, .meaning = "the account"},
	{ROW("users", config_shard, users, LIST), .required = true, .count = OF(config_shard, user_count), .min = 1, .max = 65536,
		.members = pattern_element,
		.meaning = "users its workers may serve; `team-*` means every user that begins with `team-`"},
	END};
static const struct vl_setting shard_element[] = {
	{.name = "", .type = VL_SETTING_OBJECT, .size = sizeof(struct config_shard), .members = shard_table}, END};
static const struct vl_setting workers_table[] = {{IN_CONFIG("max", workers.max, INTEGER), .min = 1, .max = 64, .fallback = "16",
							  .unit = "workers", .meaning = "workers connected at one time"},
	{IN_CONFIG("ring_slots", workers.ring_slots, INTEGER), .min = 256, .max = 1048576, .fallback = "16384", .unit = "slots",
		.meaning = "64-byte slots of each ring between a packet core and a worker; a power of two"},
	{IN_CONFIG("timeout_s", workers.timeout_s, INTEGER), .min = 2, .max = 600, .fallback = "5", .unit = "s",
		.meaning = "a worker that says nothing for so long is cut off"},
	{IN_CONFIG("uids", workers.uids, LIST), .count = OF(config, workers.uid_count), .max = 64, .members = uid_element,
		.fallback = "[]",
		.meaning = "accounts that may run workers, besides root, the data plane's own and those in `shards`"},
	{IN_CONFIG("shards", workers.shards, LIST), .count = OF(config, workers.shard_count), .max = CONFIG_SHARDS_MAX,
		.members = shard_element, .fallback = "[]",
		.meaning = "accounts whose workers may serve only some users; a worker that claims another is refused"},
	END};

static const struct vl_setting sockets_table[] = {
	{IN_CONFIG("control", sockets.control, STRING), .min = 2, .valid = vl_setting_path, .expected = VL_PATH_EXPECTED,
		.fallback = "\"/run/voxlane/control.sock\"", .meaning = "the JSON-RPC socket"},
	{IN_CONFIG("workers", sockets.workers, STRING), .min = 2, .valid = vl_setting_path, .expected = VL_PATH_EXPECTED,
		.fallback = "\"/run/voxlane/worker.sock\"", .meaning = "the socket workers connect to"},
	{IN_CONFIG("mode", sockets.mode, TEXT), .parse = parse_mode, .expected = MODE_EXPECTED, .fallback = "\"0660\"",
		.meaning = "file mode of the control socket: who may connect. The workers' socket asks each peer's UID instead "
			   "(workers.uids)"},
	END};

static const struct vl_setting drain_table[] = {
	{IN_CONFIG("timeout_s", drain.timeout_s, INTEGER), .max = 86400, .fallback = "30", .unit = "s",
		.meaning = "how long calls may go on after SIGTERM before they are ended"},
	END};

static const struct vl_setting records_table[] = {
	{IN_CONFIG("path", records.path, STRING), .min = 2, .valid = vl_setting_path, .expected = VL_PATH_EXPECTED,
		.meaning = "file to which every call appends one line of JSON when it has ended; none means no records"},
	{IN_CONFIG("journal", records.journal, STRING), .min = 2, .valid = vl_setting_path, .expected = VL_PATH_EXPECTED,
		.fallback = "\"/run/voxlane/records\"",
		.meaning = "directory in memory (tmpfs) that keeps what is known of calls that are up, so that no kill loses it"},
	{IN_CONFIG("mode", records.mode, TEXT), .parse = parse_mode, .expected = MODE_EXPECTED, .fallback = "\"0640\"",
		.meaning = "file mode of the records, which hold what was said"},
	{IN_CONFIG("max_mb", records.max_mb, INTEGER), .max = 1048576, .fallback = "0", .unit = "MiB",
		.meaning = "a file of this size is renamed to `path`-TIME and a new one begun; 0 leaves that to others, such as "
			   "logrotate"},
	{IN_CONFIG("sync_ms", records.sync_ms, INTEGER), .max = 3600000, .fallback = "1000", .unit = "ms",
		.meaning =
			"how long a record may be with the kernel only (a kill does not lose it, a power cut does); 0 asks the "
			"disk after each"},
	END};

static const struct vl_setting lcores_table[] = {
	{IN_CONFIG("sleep", lcores.sleep, BOOL), .fallback = "true",
		.meaning = "packet cores sleep for microseconds while there is nothing to do; false for dedicated cores"},
	END};

static const struct vl_setting log_table[] = {{IN_CONFIG("level", log.level, ENUM), .words = log_levels, .fallback = "\"info\"",
						      .meaning = "the most detailed lines written"},
	END};

/* A group whose rows have offsets from the start of struct config. */
#define GROUP(member, table, text)                                                           \
	{                                                                                    \
		.name = member, .type = VL_SETTING_OBJECT, .members = table, .meaning = text \
	}

const struct vl_setting config_table[] = {
	{ROW("node", config, node, STRING), .min = 1, .valid = vl_setting_name, .expected = VL_NAME_EXPECTED,
		.meaning = "this machine's name in events and `system.info`; none means its host name"},
	{ROW("listen", config, listen, OBJECT), .required = true, .members = listen_table, .meaning = "where media arrives"},
	{ROW("listen6", config, listen6, OBJECT), .members = listen6_table, .present = OF(config, has_listen6),
		.meaning = "where media arrives over IPv6; none means no IPv6"},
	{ROW("trunks", config, trunks, LIST), .required = true, .count = OF(config, trunk_count), .min = 1,
		.max = CONFIG_TRUNKS_MAX, .members = trunk_element, .meaning = "the VoIP servers that send calls"},
	GROUP("playout", playout_table, "towards the caller"), GROUP("sessions", sessions_table, "calls"),
	GROUP("learning", learning_table, "how much attention unknown flows get"),
	GROUP("workers", workers_table, "processes that hold the conversations"),
	GROUP("sockets", sockets_table, "where other programs connect"), GROUP("drain", drain_table, "shutting down"),
	GROUP("records", records_table, "one record of each call, see call-records.md"),
	GROUP("lcores", lcores_table, "packet cores"), GROUP("log", log_table, "log lines on standard error"), END};
