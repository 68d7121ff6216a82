/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data plane's configuration: a JSON document described by one table (config_table), checked once at start. Pure but for
 * config_load(), which reads the file. doc/configuration.md is written from the same table.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../shared/log.h"
#include "../shared/settings.h"
#include "flow.h"

#define CONFIG_NAME_SIZE   64  /* of the node, of a trunk; NUL included */
#define CONFIG_PATH_SIZE   108 /* of a UNIX socket: sun_path */
#define CONFIG_TRUNKS_MAX  256
#define CONFIG_SOURCES_MAX 64
#define CONFIG_SHARDS_MAX  256
#define CONFIG_FILE_MAX	   (1024u * 1024u) /* bytes */

enum config_port_mode { CONFIG_PORT_SHARED, CONFIG_PORT_DEDICATED };
enum config_flow_rules { CONFIG_FLOW_RULES_AUTO, CONFIG_FLOW_RULES_OFF };

/* listen6: the IPv6 side, on the same ethdev port and UDP ports as `listen`. */
struct config_address {
	struct ip_address address;
	uint8_t prefix_length; /* of the address's own family: 1..32 or 1..128 */
	bool has_gateway;
	struct ip_address gateway;
	struct ip_prefix subnet; /* of both: what is on the link */
};

struct config_listen {
	struct config_address ip; /* IPv4 */
	uint16_t rtp_port;
	bool has_dedicated_ports;
	uint16_t dedicated_ports[2]; /* first (even) and last; 0, 0 when there are none */
	uint16_t vlan;		     /* 0: untagged */
	uint16_t port;		     /* ethdev port */
	int flow_rules;		     /* enum config_flow_rules */
};

struct config_trunk {
	char name[CONFIG_NAME_SIZE];
	struct ip_prefix *sources;
	size_t source_count;
	uint16_t default_port; /* a remote port of this value means "not known yet" */
	int port_mode;	       /* enum config_port_mode */
	bool allow_nat_rebind;
	uint32_t max_packets_per_second; /* 0: config_trunk_rate() decides */
};

/* What an account's workers may serve. */
struct config_shard {
	uint32_t uid;
	char (*users)[CONFIG_NAME_SIZE]; /* exact names, or beginnings with a * behind */
	size_t user_count;
};

struct config {
	char node[CONFIG_NAME_SIZE]; /* empty: use the machine's host name */
	struct config_listen listen;
	bool has_listen6;
	struct config_address listen6;
	struct config_trunk *trunks;
	size_t trunk_count;
	struct {
		int idle; /* enum playout_idle */
		uint32_t wait_for_caller_ms;
	} playout;
	struct {
		uint32_t max, media_timeout_s, hold_timeout_s, quarantine_s;
	} sessions;
	struct {
		uint32_t packets_per_second, total_per_second, pending;
	} learning;
	struct {
		uint32_t max, ring_slots, timeout_s;
		uint32_t *uids;
		size_t uid_count;
		struct config_shard *shards;
		size_t shard_count;
	} workers;
	struct {
		char control[CONFIG_PATH_SIZE], workers[CONFIG_PATH_SIZE];
		uint32_t mode;
	} sockets;
	struct {
		uint32_t timeout_s;
	} drain;
	struct {
		char path[CONFIG_PATH_SIZE], journal[CONFIG_PATH_SIZE]; /* path empty: no records */
		uint32_t mode, max_mb, sync_ms;
	} records;
	struct {
		bool sleep;
	} lcores;
	struct {
		int level; /* enum vl_log_level */
	} log;
	cJSON *document; /* as given, for config_explain() */
};

/* The document's table. */
extern const struct vl_setting config_table[];

/*
 * Check a configuration of `len` bytes, `text`, including what no table can say: gateways in their prefix, ports apart from each
 * other, unique trunk names, trunks that share no source. Any thread. Returns the configuration, to be freed with config_free(),
 * or NULL with errno EINVAL, EMSGSIZE or ENOMEM and every error.
 */
struct config *config_parse(const char *text, size_t len, struct vl_errors *errors);

/*
 * Read and check a file. Control thread, at start. As config_parse(); a file that cannot be read is an error too (its errno), and
 * one that somebody else than root and we may change (EPERM).
 * Errors do not name the file.
 */
struct config *config_load(const char *path, struct vl_errors *errors);

/* Add what is legal but seldom wise, for a person to read at start and with --check-config. Any thread. */
void config_warn(const struct config *config, struct vl_errors *warnings);

/* Free a configuration; NULL is legal. */
void config_free(struct config *config);

/* Write every setting with its effective value, one a line, for --check-config. Any thread. */
void config_explain(const struct config *config, FILE *to);

/* Index of the trunk with this name, -1 when there is none. Any thread. */
int config_trunk_find(const struct config *config, const char *name);

/*
 * Packets a second that trunk `trunk` may send, as set or else as many as sessions.max calls may, each at the limit of its flow.
 * Any thread.
 */
uint32_t config_trunk_rate(const struct config *config, size_t trunk);

/* Whether a worker of this account may serve the user. Any thread. */
bool config_shard_serves(const struct config_shard *shard, const char *user);

/* Index of the trunk whose sources contain this address, -1 when none does; there is at most one. Any thread. */
int config_trunk_of(const struct config *config, const struct ip_address *source);
