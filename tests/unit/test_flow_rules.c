/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port's own rules, on a port that is played here: what it is asked for, that a trunk's packet passes at every moment, and
 * that whatever it refuses leaves it as it was.
 */
#include <errno.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_errno.h>
#include <rte_flow.h>

#include "dpdk_app/flow_rules.h"
#include "unit.h"

#define RULES_MAX 16

/* A rule as the port holds it. */
struct held {
	bool used;
	uint32_t priority;
	uint16_t vlan;
	bool v6, udp, drop, counted;
	uint8_t ours[16], source[16], source_mask[16];
	uint16_t queues;
	uint8_t key_first;
};

static struct {
	struct held held[RULES_MAX];
	unsigned int validated, created, destroyed, flushed, live;
	unsigned int refuse_validate, refuse_create; /* the n-th; 0: none */
	bool refuse_count, refuse_destroy;
} nic;

static const struct {
	const char *source;
	bool passes;
} packets[] = {{"10.1.2.3", true}, {"10.255.255.255", true}, {"192.0.2.7", true}, {"192.0.2.8", false}, {"11.0.0.1", false},
	{"fd77::5", true}, {"fd78::5", false}};

static bool matches(const struct held *rule, const struct ip_address *source)
{
	bool v4 = ip_address_is_v4(source);
	const uint8_t *bytes = source->bytes + (v4 ? 12 : 0);

	if (!rule->used || rule->v6 == v4)
		return false;
	for (unsigned int i = 0; i < (v4 ? 4 : 16); i++) {
		if ((bytes[i] & rule->source_mask[i]) != (rule->source[i] & rule->source_mask[i]))
			return false;
	}
	return true;
}

static bool passes(const char *text)
{
	const struct held *best = NULL;
	struct ip_address source;

	ck_assert_int_eq(ip_address_parse(text, &source), 0);
	for (unsigned int i = 0; i < RULES_MAX; i++) {
		if (matches(&nic.held[i], &source) && (best == NULL || nic.held[i].priority <= best->priority))
			best = &nic.held[i];
	}
	return best == NULL || !best->drop;
}

/* At every moment; with all rules in place strangers do not. */
static void trunks_pass(bool complete)
{
	for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++)
		ck_assert_msg(passes(packets[i].source) == packets[i].passes || (!complete && !packets[i].passes),
			"%s with %u rules", packets[i].source, nic.live);
}

static void read_rule(struct held *rule, const struct rte_flow_attr *attributes, const struct rte_flow_item *item,
	const struct rte_flow_action *action)
{
	*rule = (struct held){.used = true, .priority = attributes->priority};
	ck_assert(attributes->ingress && !attributes->egress && !attributes->transfer);
	for (; item->type != RTE_FLOW_ITEM_TYPE_END; item++) {
		if (item->type == RTE_FLOW_ITEM_TYPE_VLAN) {
			rule->vlan = rte_be_to_cpu_16(((const struct rte_flow_item_vlan *)item->spec)->hdr.vlan_tci);
		} else if (item->type == RTE_FLOW_ITEM_TYPE_IPV4) {
			const struct rte_flow_item_ipv4 *spec = item->spec, *mask = item->mask;

			ck_assert_uint_eq(mask->hdr.dst_addr, UINT32_MAX);
			memcpy(rule->ours, &spec->hdr.dst_addr, 4);
			memcpy(rule->source, &spec->hdr.src_addr, 4);
			memcpy(rule->source_mask, &mask->hdr.src_addr, 4);
		} else if (item->type == RTE_FLOW_ITEM_TYPE_IPV6) {
			const struct rte_flow_item_ipv6 *spec = item->spec, *mask = item->mask;

			rule->v6 = true;
			memcpy(rule->ours, spec->hdr.dst_addr, 16);
			memcpy(rule->source, spec->hdr.src_addr, 16);
			memcpy(rule->source_mask, mask->hdr.src_addr, 16);
		}
		rule->udp |= item->type == RTE_FLOW_ITEM_TYPE_UDP;
	}
	for (; action->type != RTE_FLOW_ACTION_TYPE_END; action++) {
		rule->drop |= action->type == RTE_FLOW_ACTION_TYPE_DROP;
		rule->counted |= action->type == RTE_FLOW_ACTION_TYPE_COUNT;
		if (action->type == RTE_FLOW_ACTION_TYPE_QUEUE)
			rule->queues = 1;
		if (action->type == RTE_FLOW_ACTION_TYPE_RSS) {
			const struct rte_flow_action_rss *rss = action->conf;

			rule->queues = (uint16_t)rss->queue_num;
			rule->key_first = rss->key[0];
			ck_assert_uint_eq(rss->queue[rss->queue_num - 1], rss->queue_num - 1);
		}
	}
	ck_assert(rule->udp);
	ck_assert(rule->drop == (rule->queues == 0));
}

int __wrap_rte_flow_validate(uint16_t port, const struct rte_flow_attr *attributes, const struct rte_flow_item items[],
	const struct rte_flow_action actions[], struct rte_flow_error *error);
struct rte_flow *__wrap_rte_flow_create(uint16_t port, const struct rte_flow_attr *attributes, const struct rte_flow_item items[],
	const struct rte_flow_action actions[], struct rte_flow_error *error);
int __wrap_rte_flow_destroy(uint16_t port, struct rte_flow *flow, struct rte_flow_error *error);
int __wrap_rte_flow_flush(uint16_t port, struct rte_flow_error *error);
int __wrap_rte_flow_query(
	uint16_t port, struct rte_flow *flow, const struct rte_flow_action *action, void *data, struct rte_flow_error *error);
int __wrap_rte_eth_dev_info_get(uint16_t port, struct rte_eth_dev_info *info);
int __wrap_rte_eth_dev_rss_hash_conf_get(uint16_t port, struct rte_eth_rss_conf *conf);

int __wrap_rte_flow_validate(uint16_t port, const struct rte_flow_attr *attributes, const struct rte_flow_item items[],
	const struct rte_flow_action actions[], struct rte_flow_error *error)
{
	struct held rule;

	ck_assert_uint_eq(port, 3);
	ck_assert_uint_eq(nic.created, 0); /* everything is asked before anything is made */
	read_rule(&rule, attributes, items, actions);
	if (nic.refuse_count && rule.counted)
		return -ENOTSUP;
	if (++nic.validated != nic.refuse_validate)
		return 0;
	error->message = "no such rule here";
	return -ENOTSUP;
}

struct rte_flow *__wrap_rte_flow_create(uint16_t port, const struct rte_flow_attr *attributes, const struct rte_flow_item items[],
	const struct rte_flow_action actions[], struct rte_flow_error *error)
{
	(void)port;
	if (++nic.created == nic.refuse_create) {
		error->message = "table full";
		rte_errno = ENOSPC;
		return NULL;
	}
	read_rule(&nic.held[nic.live], attributes, items, actions);
	nic.live++;
	trunks_pass(false);
	return (struct rte_flow *)&nic.held[nic.live - 1];
}

int __wrap_rte_flow_destroy(uint16_t port, struct rte_flow *flow, struct rte_flow_error *error)
{
	struct held *rule = (struct held *)flow;

	(void)port;
	(void)error;
	nic.destroyed++;
	if (nic.refuse_destroy)
		return -EIO;
	ck_assert(rule->used);
	rule->used = false;
	nic.live--;
	trunks_pass(false);
	return 0;
}

int __wrap_rte_flow_flush(uint16_t port, struct rte_flow_error *error)
{
	(void)port;
	(void)error;
	memset(nic.held, 0, sizeof(nic.held));
	nic.flushed++;
	return 0;
}

int __wrap_rte_flow_query(
	uint16_t port, struct rte_flow *flow, const struct rte_flow_action *action, void *data, struct rte_flow_error *error)
{
	const struct held *rule = (const struct held *)flow;
	struct rte_flow_query_count *count = data;

	(void)port;
	(void)error;
	ck_assert_int_eq(action->type, RTE_FLOW_ACTION_TYPE_COUNT);
	ck_assert(rule->drop && rule->counted);
	count->hits_set = 1;
	count->hits = rule->v6 ? 7 : 100;
	return 0;
}

int __wrap_rte_eth_dev_info_get(uint16_t port, struct rte_eth_dev_info *info)
{
	(void)port;
	memset(info, 0, sizeof(*info));
	info->hash_key_size = 40;
	return 0;
}

int __wrap_rte_eth_dev_rss_hash_conf_get(uint16_t port, struct rte_eth_rss_conf *conf)
{
	(void)port;
	conf->rss_hf = RTE_ETH_RSS_NONFRAG_IPV4_UDP;
	memset(conf->rss_key, 0x6d, conf->rss_key_len);
	return 0;
}

static struct ip_prefix first[2], second[1];
static struct config_trunk trunks[2];
static struct config config;
static struct port port;

static void set_up(uint16_t rx_queues, bool rss, uint16_t vlan)
{
	memset(&nic, 0, sizeof(nic));
	ck_assert_int_eq(ip_prefix_parse("10.0.0.0/8", &first[0]), 0);
	ck_assert_int_eq(ip_prefix_parse("192.0.2.7/32", &first[1]), 0);
	ck_assert_int_eq(ip_prefix_parse("fd77::/64", &second[0]), 0);
	trunks[0] = (struct config_trunk){.sources = first, .source_count = 2};
	trunks[1] = (struct config_trunk){.sources = second, .source_count = 1};
	memset(&config, 0, sizeof(config));
	config.trunks = trunks;
	config.trunk_count = 2;
	config.has_listen6 = true;
	config.listen.vlan = vlan;
	ck_assert_int_eq(ip_address_parse("10.77.0.1", &config.listen.ip.address), 0);
	ck_assert_int_eq(ip_address_parse("fd77::1", &config.listen6.address), 0);
	port = (struct port){.id = 3, .name = "played", .rx_queues = rx_queues, .rss = rss, .started = true};
}

START_TEST(test_flow_rules_police_sources)
{
	static const struct {
		uint16_t queues, vlan;
	} cases[] = {{1, 0}, {1, 77}, {4, 0}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char why[PORT_ERROR_SIZE] = "";
		struct flow_rules *rules = NULL;

		set_up(cases[i].queues, cases[i].queues > 1, cases[i].vlan);
		ck_assert_msg(flow_rules_new(&config, &port, &rules, why) == 0, "%s", why);
		ck_assert_uint_eq(flow_rules_count(rules), 5);
		ck_assert_uint_eq(nic.live, 5);
		trunks_pass(true);
		for (unsigned int rule = 0; rule < 5; rule++) {
			ck_assert_uint_eq(nic.held[rule].vlan, cases[i].vlan);
			ck_assert(memcmp(nic.held[rule].ours,
					  nic.held[rule].v6 ? config.listen6.address.bytes : config.listen.ip.address.bytes + 12,
					  nic.held[rule].v6 ? 16 : 4) == 0);
			if (!nic.held[rule].drop)
				ck_assert_uint_eq(nic.held[rule].queues, cases[i].queues);
			if (!nic.held[rule].drop && cases[i].queues > 1)
				ck_assert_uint_eq(nic.held[rule].key_first, 0x6d);
		}
		ck_assert_uint_eq(flow_rules_dropped(rules), 107);
		flow_rules_free(rules);
		ck_assert_uint_eq(nic.live, 0);
		ck_assert_uint_eq(nic.flushed, 0);
	}
}
END_TEST

START_TEST(test_flow_rules_refused_leave_nothing)
{
	char why[PORT_ERROR_SIZE] = "";
	struct flow_rules *rules = NULL;

	for (unsigned int nth = 2; nth <= 6; nth++) { /* the first asks for a counter only */
		set_up(1, false, 0);
		nic.refuse_validate = nth;
		ck_assert_int_eq(flow_rules_new(&config, &port, &rules, why), -ENOTSUP);
		ck_assert_ptr_null(rules);
		ck_assert_uint_eq(nic.created, 0);
		ck_assert_str_eq(why, "port 3 (played): takes no such rule: no such rule here");
	}
	for (unsigned int nth = 1; nth <= 5; nth++) {
		set_up(1, false, 0);
		nic.refuse_create = nth;
		ck_assert_int_eq(flow_rules_new(&config, &port, &rules, why), -ENOSPC);
		ck_assert_ptr_null(rules);
		ck_assert_uint_eq(nic.destroyed, nth - 1);
		ck_assert_uint_eq(nic.live, 0);
		ck_assert(strstr(why, "table full") != NULL);
	}
	set_up(1, false, 0);
	nic.refuse_create = 5;
	nic.refuse_destroy = true;
	ck_assert_int_eq(flow_rules_new(&config, &port, &rules, why), -ENOSPC);
	ck_assert_uint_eq(nic.flushed, 1);
	ck_assert_uint_eq(flow_rules_count(rules), 0);
	ck_assert_uint_eq(flow_rules_dropped(rules), 0);
	flow_rules_free(rules);
}
END_TEST

START_TEST(test_flow_rules_without_counter_or_known_spread)
{
	char why[PORT_ERROR_SIZE] = "";
	struct flow_rules *rules = NULL;

	set_up(1, false, 0);
	nic.refuse_count = true;
	ck_assert_msg(flow_rules_new(&config, &port, &rules, why) == 0, "%s", why);
	trunks_pass(true);
	ck_assert_uint_eq(flow_rules_dropped(rules), 0);
	flow_rules_free(rules);
	/* Queues that the driver fills in a way of its own: a rule would change where calls arrive. */
	set_up(2, false, 0);
	ck_assert_int_eq(flow_rules_new(&config, &port, &rules, why), -ENOTSUP);
	ck_assert_uint_eq(nic.validated, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("flow_rules");
	TCase *tcase = tcase_create("port");

	tcase_add_test(tcase, test_flow_rules_police_sources);
	tcase_add_test(tcase, test_flow_rules_refused_leave_nothing);
	tcase_add_test(tcase, test_flow_rules_without_counter_or_known_spread);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
