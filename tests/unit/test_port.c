/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of several drivers, up and down, and the errors that say what to do.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "dpdk_app/port.h"
#include "dpdk_app/tsc.h"
#include "unit.h"

#include <rte_cycles.h>

static const struct port_settings settings = {.lcores = 2, .rx_descriptors = 256, .tx_descriptors = 256, .ipv6 = true};

static uint16_t port_named(const char *name)
{
	uint16_t id = UINT16_MAX;

	ck_assert_int_eq(rte_eth_dev_get_port_by_name(name, &id), 0);
	return id;
}

static struct rte_mempool *pool_of(uint32_t count)
{
	static unsigned int serial;
	char name[32], error[PORT_ERROR_SIZE] = "";

	snprintf(name, sizeof(name), "test_%u", serial++);
	struct rte_mempool *pool = port_pool_new(name, count, 2, 0, error);

	ck_assert_msg(pool != NULL, "%s", error);
	return pool;
}

START_TEST(test_start_stop)
{
	static const struct {
		const char *name, *driver;
		uint16_t rx_queues, tx_queues;
	} cases[] = {{"net_null0", "net_null", 2, 2}, {"net_ring0", "net_ring", 2, 2}};
	struct rte_mempool *pool = pool_of(port_pool_count(&settings, 2));

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char error[PORT_ERROR_SIZE] = "";
		struct port port;

		ck_assert_msg(port_start(&port, port_named(cases[i].name), &settings, pool, error) == 0, "%s", error);
		ck_assert_str_eq(port.name, cases[i].name);
		ck_assert_str_eq(port.driver, cases[i].driver);
		ck_assert_msg(port.tx_queues == cases[i].tx_queues || i == 1, "%s: %u tx", port.name, port.tx_queues);
		ck_assert_uint_ge(port.rx_queues, 1);
		ck_assert(port.started);
		ck_assert_int_ge(port.socket_id, 0);
		port_stop(&port);
		ck_assert(!port.started);
		port_stop(&port);
	}
	rte_mempool_free(pool);
}
END_TEST

START_TEST(test_errors)
{
	struct rte_mempool *pool = pool_of(2048);
	struct port_settings wrong = settings;
	char error[PORT_ERROR_SIZE] = "";
	struct port port;
	uint16_t id = port_named("net_null1");

	ck_assert_int_eq(port_start(&port, 15, &settings, pool, error), -ENODEV);
	ck_assert_str_eq(error, "port 15: no such port (ids are below 16)");
	ck_assert_int_eq(port_start(&port, 16, &settings, pool, error), -ENODEV);
	wrong.mtu = 9000;
	ck_assert_int_eq(port_start(&port, id, &wrong, pool, error), -EINVAL);
	ck_assert_msg(strstr(error, "net_null1") != NULL && strstr(error, "mtu 9000") != NULL, "%s", error);
	ck_assert(!port.started);
	/* Rolled back: nothing is left of the port. */
	ck_assert(!rte_eth_dev_is_valid_port(id));
	port_stop(&(struct port){0});
	rte_mempool_free(pool);
}
END_TEST

START_TEST(test_others)
{
	char text[PORT_ERROR_SIZE], expected[PORT_ERROR_SIZE];
	uint16_t null1 = port_named("net_null1"), ring0 = port_named("net_ring0");

	ck_assert_uint_eq(port_others(port_named("net_null0"), text), 2);
	snprintf(expected, sizeof(expected), "%u (net_null1), %u (net_ring0)", null1, ring0);
	ck_assert_str_eq(text, expected);
	ck_assert_uint_eq(port_others(UINT16_MAX, text), 3);
}
END_TEST

START_TEST(test_pool_too_large)
{
	char error[PORT_ERROR_SIZE] = "";

	ck_assert_ptr_null(port_pool_new("huge", 1000000, 8, 0, error));
	ck_assert(rte_errno == ENOMEM || rte_errno == ENOBUFS);
	ck_assert_msg(strstr(error, "about 2") != NULL && strstr(error, "has 128 MB") != NULL && strstr(error, "-m N") != NULL,
		"%s", error);
}
END_TEST

START_TEST(test_pool_count)
{
	struct port_settings one = {.lcores = 1};

	/* One lcore, one port, no hugepages: fits the EAL's default of 64 MB. */
	ck_assert_uint_le(port_pool_count(&one, 1) * 2500ull, 32u << 20);
	/* Never fewer than the queues can hold. */
	ck_assert_uint_ge(port_pool_count(&settings, 2), 2 * 2 * 512);
}
END_TEST

START_TEST(test_tsc)
{
	double measured = (double)tsc_measure_hz(100), told = (double)rte_get_tsc_hz();

	/* What the EAL says may be rounded to 10 MHz; what we measure is not further away than that. */
	ck_assert_double_lt(measured / told, 1.01);
	ck_assert_double_gt(measured / told, 0.99);
	ck_assert_uint_eq(tsc_ago(30, 10), 20);
	ck_assert_uint_eq(tsc_ago(10, 10), 0);
	/* A packet that came between the two readings was heard now, not long ago. */
	ck_assert_uint_eq(tsc_ago(10, 11), 0);
}
END_TEST

int main(void)
{
	char words[] = "test_port --no-huge --no-pci --no-shconf --no-telemetry -m 128 --log-level=error -l 0 --vdev=net_null0 "
		       "--vdev=net_null1 "
		       "--vdev=net_ring0";
	char *arguments[16] = {NULL}, *next = words;
	int count = 0;
	Suite *suite = suite_create("port");

	while (next != NULL)
		arguments[count++] = strsep(&next, " ");
	if (rte_eal_init(count, arguments) < 0) {
		fprintf(stderr, "rte_eal_init: %s\n", rte_strerror(rte_errno));
		return EXIT_FAILURE;
	}
	unit_add(suite, "start", test_others, test_start_stop, test_errors);
	unit_add(suite, "memory", test_pool_too_large, test_pool_count);
	unit_add(suite, "clock", test_tsc);
	return unit_run(suite);
}
