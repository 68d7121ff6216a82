/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random runs of a call's session against a faulty service (session_world.h). A finding is played again with every event printed; its
 * number is all that is needed to see it again.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "session_world.h"

#define EVENTS_LONG 400u    /* of one run in sixteen: circles need room */
#define EVENTS	    50u	    /* of one run, before the service is mended */
#define HEALING_MS  120000u /* a dead connection is noticed after 60 s, a call given up 47 s after that */
#define HEALING_MAX 400u    /* events */

struct totals {
	uint64_t runs, events, ready, rotations, dials, failed, hung_up;
};

/* One run. Returns what was found, or NULL. */
static const char *play(uint64_t seed, bool trace, struct totals *totals)
{
	struct world world;
	uint32_t events = seed % 16 == 0 ? EVENTS_LONG : EVENTS;
	uint64_t mended_ms;

	world_begin(&world, seed, trace);
	for (uint32_t i = 0; i < events && world_step(&world); i++)
		;
	world_heal(&world);
	mended_ms = world.now_ms;
	for (uint32_t i = 0;
		i < HEALING_MAX && !world_talks(&world) && world.now_ms < mended_ms + HEALING_MS && world_step(&world); i++)
		;
	if (world.finding == NULL && !world_talks(&world) && world.session.state != SESSION_FAILED &&
		world.session.state != SESSION_CLOSED && !world.silent)
		world.finding = "the service is well again, and the call does not talk";
	totals->runs++;
	totals->events += world.events;
	totals->ready += world.ready_count;
	totals->rotations += world.rotations;
	totals->dials += world.dials;
	totals->failed += world.session.state == SESSION_FAILED;
	totals->hung_up += world.session.state == SESSION_CLOSED;
	world_end(&world);
	return world.finding;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"runs", required_argument, NULL, 'r'}, {"first", required_argument, NULL, 'f'},
		{"expect-finding", no_argument, NULL, 'x'}, {0}};
	uint64_t runs = 200000, first = 0;
	bool expected = false;
	struct totals totals = {0};
	const char *finding = NULL;
	double start = seconds();
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'r')
			runs = strtoull(optarg, NULL, 10);
		else if (option == 'f')
			first = strtoull(optarg, NULL, 10);
		else if (option == 'x')
			expected = true;
		else
			return 2;
	}
	for (uint64_t seed = first; seed < first + runs && finding == NULL; seed++) {
		finding = play(seed, false, &totals);
		if (finding != NULL) {
			printf("# run %llu: %s\n", (unsigned long long)seed, finding);
			play(seed, true, &(struct totals){0});
		}
	}
	printf("# %llu runs, %llu events, %llu dials, %llu times ready, %llu rotations, %llu failed, %llu hung up, %.1f s\n",
		(unsigned long long)totals.runs, (unsigned long long)totals.events, (unsigned long long)totals.dials,
		(unsigned long long)totals.ready, (unsigned long long)totals.rotations, (unsigned long long)totals.failed,
		(unsigned long long)totals.hung_up, seconds() - start);
	return (finding != NULL) == expected ? EXIT_SUCCESS : EXIT_FAILURE;
}
