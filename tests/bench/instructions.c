/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs each hot function in a region of its own for callgrind, which dumps its count under the function's name; instructions.py
 * starts it so, and compares with instructions.json. Without valgrind it does the same and counts nothing. Prints "WHAT|VERSION"
 * of what made the code that is counted, and "NAME|COUNT|UNIT" for each region.
 *
 * usage: valgrind --tool=callgrind --collect-atstart=no instructions
 */
#include "instructions.h"

#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>
#include <gnu/libc-version.h>
#include <rte_version.h>
#include <valgrind/callgrind.h>

volatile uint64_t instructions_sink;

static void count(const struct instructions_case *c)
{
	/* The first run resolves symbols and makes memory. */
	for (unsigned int round = 0; round < 2; round++) {
		if (c->prepare != NULL)
			c->prepare();
		CALLGRIND_ZERO_STATS;
		CALLGRIND_TOGGLE_COLLECT;
		c->run();
		CALLGRIND_TOGGLE_COLLECT;
	}
	CALLGRIND_DUMP_STATS_AT(c->name);
	printf("%s|%u|%s\n", c->name, c->count, c->unit);
}

/* Updates of one Debian release change the last number only, and not these functions. */
static void print_makers(void)
{
	printf("compiler|%s %d.%d\n",
#if defined(__clang__)
		"clang", __clang_major__, __clang_minor__);
#else
		"gcc", __GNUC__, __GNUC_MINOR__);
#endif
	printf("options|%s\n", INSTRUCTIONS_OPTIONS);
	printf("libc|%s\n", gnu_get_libc_version());
	printf("dpdk|%d.%d\n", RTE_VER_YEAR, RTE_VER_MONTH);
	printf("cjson|%d.%d\n", CJSON_VERSION_MAJOR, CJSON_VERSION_MINOR);
}

int main(void)
{
	print_makers();
	worker_cases_setup();
	for (const struct instructions_case *c = worker_cases; c->name != NULL; c++)
		count(c);
	dataplane_cases_setup();
	for (const struct instructions_case *c = dataplane_cases; c->name != NULL; c++)
		count(c);
	return EXIT_SUCCESS;
}
