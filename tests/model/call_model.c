/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random runs of one whole call against a faulty service (call_world.h): each fault alone, and any of them together. A finding is played
 * again with every event printed; its number is all that is needed to see it again.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "call_world.h"
#include "shared/log.h"

struct totals {
	uint64_t runs, ms, dials, ready, beats, frames, flushes, turns, tools, answered, lost, interruptions, failed, again;
	uint64_t alone[FAULTS], with[FAULTS];
};

/* Half of the runs have one fault, one in thirty-two none, the others two to six. */
static uint32_t choose(uint64_t seed, struct totals *totals)
{
	struct call_world dice = {.random = (seed + 77) * 0xd1342543de82ef95u};
	uint32_t faults = 0;

	if (seed % 2 == 0) {
		faults = 1u << seed / 2 % FAULTS;
		totals->alone[seed / 2 % FAULTS]++;
		return faults;
	}
	if (seed % 32 == 1)
		return 0;
	for (uint32_t i = 2 + world_draw(&dice, 5); i > 0; i--)
		faults |= 1u << world_draw(&dice, FAULTS);
	for (int i = 0; i < FAULTS; i++)
		totals->with[i] += faults >> i & 1;
	return faults;
}

/* One run. Returns what was found, or NULL. */
static const char *play(uint64_t seed, bool trace, struct totals *totals)
{
	static struct call_world w;
	uint64_t begin_ms, faulty_ms;

	call_world_begin(&w, seed, choose(seed, totals), trace);
	begin_ms = w.now_ms;
	faulty_ms = 10000 + world_draw(&w, 20000);
	while (w.now_ms < begin_ms + faulty_ms && call_world_step(&w))
		;
	while (w.finding == NULL && w.call->session.state != SESSION_FAILED && !call_world_talks(&w) && call_world_step(&w))
		;
	totals->runs++;
	totals->ms += w.now_ms - begin_ms;
	totals->failed += w.call->session.state == SESSION_FAILED;
	totals->dials += w.dials;
	totals->again += w.again_said;
	totals->ready += w.ready;
	totals->beats += w.beats;
	totals->frames += w.frames;
	totals->flushes += w.flushes;
	totals->turns += w.turns;
	totals->tools += w.tool_count;
	totals->answered += w.tools_answered;
	for (uint32_t i = 0; i < w.tool_count; i++)
		totals->lost += w.tools[i].lost;
	totals->interruptions += w.interruptions;
	call_world_end(&w);
	return w.finding;
}

/* The clock is the world's, so this asks another one. */
static double seconds(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return (double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec +
	       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

static void print(const struct totals *t)
{
#define N(value) ((unsigned long long)(value))
	printf("# %llu runs, %.1f h of calls, %llu dials, %llu times ready, %llu beats, %llu frames, %llu flushes, %llu turns, "
	       "%llu interrupted, %llu tool calls, %llu answered, %llu lost, %llu questions said again, %llu calls failed; %.1f "
	       "s\n",
		N(t->runs), (double)t->ms / 3.6e6, N(t->dials), N(t->ready), N(t->beats), N(t->frames), N(t->flushes),
		N(t->turns), N(t->interruptions), N(t->tools), N(t->answered), N(t->lost), N(t->again), N(t->failed), seconds());
	for (int i = 0; i < FAULTS; i++)
		printf("# %s: %llu runs alone, %llu with others\n", call_fault_names[i], N(t->alone[i]), N(t->with[i]));
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"runs", required_argument, NULL, 'r'}, {"first", required_argument, NULL, 'f'},
		{"seconds", required_argument, NULL, 's'}, {"trace", no_argument, NULL, 't'},
		{"expect-finding", no_argument, NULL, 'x'}, {0}};
	uint64_t runs = UINT64_MAX, first = 0, limit_s = 20;
	bool expected = false, trace = false;
	static struct totals totals;
	const char *finding = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'r')
			runs = strtoull(optarg, NULL, 10), limit_s = UINT32_MAX;
		else if (option == 'f')
			first = strtoull(optarg, NULL, 10);
		else if (option == 's')
			limit_s = strtoull(optarg, NULL, 10);
		else if (option == 't')
			trace = true;
		else if (option == 'x')
			expected = true;
		else
			return 2;
	}
	vl_log_init("call", VL_LOG_ERROR);
	for (uint64_t i = 0; i < runs && finding == NULL && seconds() < (double)limit_s; i++) {
		finding = play(first + i, trace, &totals);
		if (finding == NULL)
			continue;
		printf("# run %llu: %s\n", (unsigned long long)(first + i), finding);
		if (!expected && !trace)
			play(first + i, true, &(struct totals){0});
	}
	print(&totals);
	return (finding != NULL) == expected ? EXIT_SUCCESS : EXIT_FAILURE;
}
