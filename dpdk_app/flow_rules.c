/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patterns and actions of flow_rules.h. A pattern is Ethernet, the link's VLAN if it has one, our address, UDP, and for a
 * trunk's rule the prefix of its source; ports are left to classification, since few cards match ranges.
 */
#include "flow_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_flow.h>

#include "../shared/log.h"

#define PASS_PRIORITY	0u
#define DROP_PRIORITY	1u /* higher numbers match later */
#define RSS_KEY_MAX	64u
#define VLAN_ID		0x0fffu
#define V4_BITS		32u
#define V4_MAPPED_BITS	96u
#define V4_MAPPED_BYTES 12u

struct flow_rules {
	uint16_t port;
	unsigned int count, drops; /* the last `drops` of `count` drop */
	bool counted;
	struct rte_flow *rules[];
};

/* How packets that pass are spread over the queues: as they were before. */
struct spread {
	struct rte_flow_action_queue queue;
	struct rte_flow_action_rss rss;
	uint16_t queues[RTE_MAX_QUEUES_PER_PORT];
	uint8_t key[RSS_KEY_MAX];
};

/* One rule in the making; items and actions point into it. */
struct rule {
	struct rte_flow_attr attributes;
	struct rte_flow_item_vlan vlan, vlan_mask;
	struct rte_flow_item_ipv4 ipv4, ipv4_mask;
	struct rte_flow_item_ipv6 ipv6, ipv6_mask;
	struct rte_flow_action_count counter;
	struct rte_flow_item items[5];
	struct rte_flow_action actions[3];
};

static void set_mask(uint8_t *mask, unsigned int bits)
{
	for (; bits >= 8; bits -= 8)
		*mask++ = 0xff;
	if (bits > 0)
		*mask = (uint8_t)(0xff << (8 - bits));
}

/* The pattern; `source` NULL matches any. */
static void set_items(
	struct rule *rule, const struct config *config, const struct ip_address *ours, const struct ip_prefix *source)
{
	struct rte_flow_item *item = rule->items;
	bool v4 = ip_address_is_v4(ours);

	*item++ = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_ETH};
	if (config->listen.vlan != 0) {
		rule->vlan.hdr.vlan_tci = rte_cpu_to_be_16(config->listen.vlan);
		rule->vlan_mask.hdr.vlan_tci = RTE_BE16(VLAN_ID);
		*item++ = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_VLAN, .spec = &rule->vlan, .mask = &rule->vlan_mask};
	}
	if (v4) {
		memcpy(&rule->ipv4.hdr.dst_addr, ours->bytes + V4_MAPPED_BYTES, sizeof(rule->ipv4.hdr.dst_addr));
		set_mask((uint8_t *)&rule->ipv4_mask.hdr.dst_addr, V4_BITS);
		if (source != NULL) {
			memcpy(&rule->ipv4.hdr.src_addr, source->address.bytes + V4_MAPPED_BYTES,
				sizeof(rule->ipv4.hdr.src_addr));
			set_mask((uint8_t *)&rule->ipv4_mask.hdr.src_addr, source->length - V4_MAPPED_BITS);
		}
		*item++ = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV4, .spec = &rule->ipv4, .mask = &rule->ipv4_mask};
	} else {
		memcpy(rule->ipv6.hdr.dst_addr, ours->bytes, sizeof(rule->ipv6.hdr.dst_addr));
		set_mask(rule->ipv6_mask.hdr.dst_addr, 8 * sizeof(ours->bytes));
		if (source != NULL) {
			memcpy(rule->ipv6.hdr.src_addr, source->address.bytes, sizeof(rule->ipv6.hdr.src_addr));
			set_mask(rule->ipv6_mask.hdr.src_addr, source->length);
		}
		*item++ = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV6, .spec = &rule->ipv6, .mask = &rule->ipv6_mask};
	}
	*item++ = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_UDP};
	*item = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_END};
}

static void make_drop(struct rule *rule, const struct config *config, const struct ip_address *ours, bool counted)
{
	struct rte_flow_action *action = rule->actions;

	memset(rule, 0, sizeof(*rule));
	rule->attributes = (struct rte_flow_attr){.priority = DROP_PRIORITY, .ingress = 1};
	set_items(rule, config, ours, NULL);
	if (counted)
		*action++ = (struct rte_flow_action){.type = RTE_FLOW_ACTION_TYPE_COUNT, .conf = &rule->counter};
	*action++ = (struct rte_flow_action){.type = RTE_FLOW_ACTION_TYPE_DROP};
	*action = (struct rte_flow_action){.type = RTE_FLOW_ACTION_TYPE_END};
}

static void make_pass(struct rule *rule, const struct config *config, const struct ip_prefix *source, const struct spread *spread)
{
	bool v4 = ip_address_is_v4(&source->address);

	memset(rule, 0, sizeof(*rule));
	rule->attributes = (struct rte_flow_attr){.priority = PASS_PRIORITY, .ingress = 1};
	set_items(rule, config, v4 ? &config->listen.ip.address : &config->listen6.address, source);
	if (spread->rss.queue_num > 1)
		rule->actions[0] = (struct rte_flow_action){.type = RTE_FLOW_ACTION_TYPE_RSS, .conf = &spread->rss};
	else
		rule->actions[0] = (struct rte_flow_action){.type = RTE_FLOW_ACTION_TYPE_QUEUE, .conf = &spread->queue};
	rule->actions[1] = (struct rte_flow_action){.type = RTE_FLOW_ACTION_TYPE_END};
}

/* All queues that are polled, with the hash and the key the port was configured with. */
static int get_spread(const struct port *port, struct spread *spread)
{
	struct rte_eth_rss_conf configured = {.rss_key = spread->key};
	struct rte_eth_dev_info info;
	int result;

	spread->rss.queue_num = port->rx_queues;
	if (port->rx_queues <= 1)
		return 0;
	if (!port->rss)
		return -ENOTSUP; /* the driver fills its queues in a way of its own */
	result = rte_eth_dev_info_get(port->id, &info);
	if (result == 0 && info.hash_key_size > sizeof(spread->key))
		result = -ENOTSUP;
	if (result == 0) {
		configured.rss_key_len = info.hash_key_size;
		result = rte_eth_dev_rss_hash_conf_get(port->id, &configured);
	}
	for (uint16_t i = 0; i < port->rx_queues; i++)
		spread->queues[i] = i;
	spread->rss.types = configured.rss_hf;
	spread->rss.queue = spread->queues;
	spread->rss.key = configured.rss_key_len > 0 ? spread->key : NULL;
	spread->rss.key_len = configured.rss_key_len;
	return result;
}

static int refused(
	const struct port *port, const char *what, int result, const struct rte_flow_error *error, char why[PORT_ERROR_SIZE])
{
	snprintf(why, PORT_ERROR_SIZE, "port %u (%s): %s: %s", port->id, port->name, what,
		error->message != NULL ? error->message : strerror(-result));
	return result < 0 ? result : -EINVAL;
}

/* What is done with each rule of the set: asked for, or made. */
typedef int (*rule_step)(const struct port *port, struct flow_rules *rules, const struct rule *rule, char why[PORT_ERROR_SIZE]);

static int ask(const struct port *port, struct flow_rules *rules, const struct rule *rule, char why[PORT_ERROR_SIZE])
{
	struct rte_flow_error error = {0};
	int result = rte_flow_validate(port->id, &rule->attributes, rule->items, rule->actions, &error);

	(void)rules;
	return result == 0 ? 0 : refused(port, "takes no such rule", result, &error, why);
}

static int make(const struct port *port, struct flow_rules *rules, const struct rule *rule, char why[PORT_ERROR_SIZE])
{
	struct rte_flow_error error = {0};
	struct rte_flow *made = rte_flow_create(port->id, &rule->attributes, rule->items, rule->actions, &error);

	if (made == NULL)
		return refused(port, "did not make a rule it had agreed to", -rte_errno, &error, why);
	rules->rules[rules->count++] = made;
	rules->drops += rule->attributes.priority == DROP_PRIORITY;
	return 0;
}

static int each_rule(const struct config *config, const struct port *port, const struct spread *spread, struct flow_rules *rules,
	rule_step step, char why[PORT_ERROR_SIZE])
{
	struct rule rule;
	int result = 0;

	for (size_t trunk = 0; trunk < config->trunk_count; trunk++) {
		for (size_t i = 0; i < config->trunks[trunk].source_count && result == 0; i++) {
			make_pass(&rule, config, &config->trunks[trunk].sources[i], spread);
			result = step(port, rules, &rule, why);
		}
	}
	if (result == 0) {
		make_drop(&rule, config, &config->listen.ip.address, rules->counted);
		result = step(port, rules, &rule, why);
	}
	if (result == 0 && config->has_listen6) {
		make_drop(&rule, config, &config->listen6.address, rules->counted);
		result = step(port, rules, &rule, why);
	}
	return result;
}

int flow_rules_new(const struct config *config, const struct port *port, struct flow_rules **rules, char why[PORT_ERROR_SIZE])
{
	struct spread spread = {0};
	struct flow_rules *made;
	struct rule rule;
	size_t most = 2;
	int result = get_spread(port, &spread);

	*rules = NULL;
	if (result != 0) {
		snprintf(why, PORT_ERROR_SIZE, "port %u (%s): does not tell how it spreads packets over its %u queues: %s",
			port->id, port->name, port->rx_queues, strerror(-result));
		return result;
	}
	for (size_t trunk = 0; trunk < config->trunk_count; trunk++)
		most += config->trunks[trunk].source_count;
	made = calloc(1, sizeof(*made) + most * sizeof(made->rules[0]));
	if (made == NULL) {
		snprintf(why, PORT_ERROR_SIZE, "no memory for %zu rules", most);
		return -ENOMEM;
	}
	made->port = port->id;
	make_drop(&rule, config, &config->listen.ip.address, true);
	made->counted = ask(port, made, &rule, why) == 0;
	result = each_rule(config, port, &spread, made, ask, why);
	if (result == 0)
		result = each_rule(config, port, &spread, made, make, why);
	if (result != 0) {
		flow_rules_free(made);
		return result;
	}
	*rules = made;
	return 0;
}

void flow_rules_free(struct flow_rules *rules)
{
	bool left = false;

	if (rules == NULL)
		return;
	/* Those that drop go first: no moment loses a packet of a trunk. */
	while (rules->count > 0) {
		struct rte_flow_error error;

		left |= rte_flow_destroy(rules->port, rules->rules[--rules->count], &error) != 0;
	}
	if (left && rte_flow_flush(rules->port, &(struct rte_flow_error){0}) != 0)
		vl_log_error("port %u keeps flow rules that nobody wants any more; stopping it ends them", rules->port);
	free(rules);
}

unsigned int flow_rules_count(const struct flow_rules *rules)
{
	return rules != NULL ? rules->count : 0;
}

uint64_t flow_rules_dropped(const struct flow_rules *rules)
{
	uint64_t dropped = 0;

	for (unsigned int i = 0; rules != NULL && rules->counted && i < rules->drops; i++) {
		const struct rte_flow_action counter[2] = {
			{.type = RTE_FLOW_ACTION_TYPE_COUNT}, {.type = RTE_FLOW_ACTION_TYPE_END}};
		struct rte_flow_query_count count = {0};

		if (rte_flow_query(
			    rules->port, rules->rules[rules->count - 1 - i], counter, &count, &(struct rte_flow_error){0}) == 0 &&
			count.hits_set)
			dropped += count.hits;
	}
	return dropped;
}
