/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every interleaving of a small world (world.h), depth by depth: calls begin, move and end, workers are lost and come back,
 * packets come one by one or in bursts that last longer than probation, time passes. A state that was seen with as much depth left is not entered again.
 * Prints what was visited, or the events that led to a finding.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "world.h"

#define DEPTH_MAX 32

enum event_kind { EVENT_OPEN_CLOSE, EVENT_MOVE, EVENT_PACKET, EVENT_BURST, EVENT_TIME, EVENT_WORKER };

struct event {
	enum event_kind kind;
	int value; /* call, flow, milliseconds or tenant */
};

struct search {
	struct world *at[DEPTH_MAX + 1]; /* the state at each depth of the present path */
	struct event path[DEPTH_MAX];
	struct event events[CALLS * 2 + FLOWS * 2 + TENANTS + 3];
	int event_count, depth;
	uint64_t *seen; /* hash with its low 8 bits replaced by the depth that was left; 0 is empty */
	uint64_t mask, states, steps;
	double end;
	bool stopped;
	const char *finding;
	int finding_depth;
};

/* Of this process: what other programs take of the machine is not counted. */
static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void list_events(struct search *search, const struct world_spec *spec)
{
	static const int pauses[] = {1000, 5000, 30000};

	search->event_count = 0;
	for (int call = 0; call < CALLS; call++) {
		search->events[search->event_count++] = (struct event){EVENT_OPEN_CLOSE, call};
		search->events[search->event_count++] = (struct event){EVENT_MOVE, call};
	}
	for (int flow = 0; flow < FLOWS; flow++) {
		int source = flow_source(flow);

		if (source_local(source) >= spec->locals || source_ip(source) >= spec->ips ||
			source_port(source) >= spec->ports || flow_ssrc(flow) >= spec->ssrcs)
			continue;
		search->events[search->event_count++] = (struct event){EVENT_PACKET, flow};
		search->events[search->event_count++] = (struct event){EVENT_BURST, flow};
	}
	for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++)
		search->events[search->event_count++] = (struct event){EVENT_TIME, pauses[i]};
	for (int tenant = 0; tenant < TENANTS; tenant++)
		search->events[search->event_count++] = (struct event){EVENT_WORKER, tenant};
}

/* Whether the event is possible here and no mirror image of an earlier one: an SSRC is used only after the one before it. */
static bool possible(const struct world *world, const struct event *event)
{
	switch (event->kind) {
	case EVENT_OPEN_CLOSE:
		return world->ghost.calls[event->value].open || world->ghost.slots[tenant_of(event->value)] != NOBODY;
	case EVENT_MOVE:
		return world->ghost.calls[event->value].open;
	case EVENT_PACKET:
	case EVENT_BURST:
		return flow_ssrc(event->value) == 0 || world->ghost.ssrcs_used >> (flow_ssrc(event->value) - 1) & 1;
	default:
		return true;
	}
}

static const char *apply(struct world *world, const struct event *event)
{
	const char *wrong = NULL;

	switch (event->kind) {
	case EVENT_OPEN_CLOSE:
		return world->ghost.calls[event->value].open ? oracle_close(world, event->value)
							     : oracle_open(world, event->value);
	case EVENT_MOVE:
		return oracle_move(world, event->value);
	case EVENT_PACKET:
		return oracle_packet(world, event->value);
	case EVENT_BURST:
		for (int i = 0; i < BURST && wrong == NULL; i++) {
			world->now_ms += BURST_STEP_MS;
			wrong = oracle_packet(world, event->value);
		}
		return wrong;
	case EVENT_TIME:
		world->now_ms += (uint64_t)event->value;
		binding_expire(&world->binding, world->now_ms);
		return NULL;
	case EVENT_WORKER:
		return oracle_worker(world, event->value);
	}
	return NULL;
}

/*
 * Whether this state was seen with at least as much depth left; remembers it. A full neighbourhood forgets one: that costs time
 * only.
 */
static bool seen(struct search *search, uint64_t hash, unsigned int left)
{
	uint64_t base = hash >> 8, *slot = NULL;

	for (uint64_t i = 0; i < 8; i++) {
		slot = &search->seen[(base + i) & search->mask];
		if (*slot == 0) {
			search->states++;
			break;
		}
		if (*slot >> 8 == base) {
			if ((*slot & 0xff) >= left)
				return true;
			break;
		}
	}
	*slot = base << 8 | left;
	return false;
}

static void dfs(struct search *search, int depth)
{
	struct world *here = search->at[depth], *next = search->at[depth + 1];

	for (int i = 0; i < search->event_count && search->finding == NULL && !search->stopped; i++) {
		const struct event *event = &search->events[i];

		if (!possible(here, event))
			continue;
		world_copy(next, here);
		search->path[depth] = *event;
		search->finding = apply(next, event);
		if (search->finding != NULL) {
			search->finding_depth = depth + 1;
			return;
		}
		if ((++search->steps & 0xfff) == 0 && now_s() > search->end)
			search->stopped = true;
		if (depth + 1 < search->depth && !seen(search, world_hash(next), (unsigned int)(search->depth - depth - 1)))
			dfs(search, depth + 1);
	}
}

static void print_event(const struct event *event)
{
	int source = flow_source(event->value);

	switch (event->kind) {
	case EVENT_OPEN_CLOSE:
		printf("  call %d begins or ends\n", event->value);
		break;
	case EVENT_MOVE:
		printf("  call %d moves\n", event->value);
		break;
	case EVENT_PACKET:
	case EVENT_BURST:
		printf("  %s local %d from address %d port %d SSRC %d\n", event->kind == EVENT_PACKET ? "packet to" : "burst to ",
			source_local(source), source_ip(source), source_port(source), flow_ssrc(event->value));
		break;
	case EVENT_TIME:
		printf("  %d ms pass\n", event->value);
		break;
	case EVENT_WORKER:
		printf("  the worker of tenant %d is lost or attaches\n", event->value);
		break;
	}
}

/* The events of a finding once more, in a world that nothing was copied into: what went wrong there, or NULL. */
static const char *replay(const struct search *search, const struct world_spec *spec)
{
	struct world *world = world_new(spec);
	const char *wrong = NULL;

	for (int i = 0; world != NULL && i < search->finding_depth && wrong == NULL; i++)
		wrong = apply(world, &search->path[i]);
	world_free(world);
	return wrong;
}

/* Search one world, deeper and deeper, until `depth` or the time is over. Returns false on a finding. */
static bool explore(struct search *search, const struct world_spec *spec, int depth, double seconds)
{
	uint64_t states = 0, steps = 0;
	int complete = 0;

	for (int i = 0; i <= DEPTH_MAX; i++) {
		search->at[i] = world_new(spec);
		if (search->at[i] == NULL) {
			fprintf(stderr, "no memory\n");
			exit(2);
		}
	}
	list_events(search, spec);
	search->end = now_s() + seconds;
	search->stopped = false;
	search->finding = NULL;
	for (search->depth = 1; search->depth <= depth && !search->stopped && search->finding == NULL; search->depth++) {
		memset(search->seen, 0, (search->mask + 1) * sizeof(*search->seen));
		search->states = search->steps = 0;
		dfs(search, 0);
		if (!search->stopped)
			complete = search->depth;
		states = search->states > states ? search->states : states;
		steps += search->steps;
	}
	printf("%-32s depth %2d complete, %10llu states, %11llu steps\n", spec->name, complete, (unsigned long long)states,
		(unsigned long long)steps);
	if (search->finding != NULL) {
		printf("FINDING: %s, after\n", search->finding);
		for (int i = 0; i < search->finding_depth; i++)
			print_event(&search->path[i]);
		const char *again = replay(search, spec);

		printf("  the same in a fresh world: %s\n", again != NULL ? again : "nothing wrong, so the search itself is");
	}
	for (int i = 0; i <= DEPTH_MAX; i++)
		world_free(search->at[i]);
	fflush(stdout);
	return search->finding == NULL;
}

static void usage(void)
{
	fprintf(stderr, "usage: binding_model [--seconds N] [--depth N] [--memory-mb N] [--world N] [--expect-finding]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
		{"depth", required_argument, NULL, 'd'}, {"memory-mb", required_argument, NULL, 'm'},
		{"world", required_argument, NULL, 'w'}, {"expect-finding", no_argument, NULL, 'e'}, {0}};
	static struct search search;
	double seconds = 8;
	int depth = DEPTH_MAX, option, world = -1; /* -1: all, each for its share of the time */
	size_t memory_mb = 64, slots = 1024;
	bool expect = false, good = true;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			seconds = atof(optarg);
			break;
		case 'd':
			depth = atoi(optarg);
			break;
		case 'm':
			memory_mb = (size_t)atoi(optarg);
			break;
		case 'w':
			world = atoi(optarg);
			break;
		case 'e':
			expect = true;
			break;
		default:
			usage();
		}
	}
	if (seconds <= 0 || depth < 1 || depth > DEPTH_MAX || memory_mb < 1 || world >= (int)world_count)
		usage();
	while (slots * 2 * sizeof(uint64_t) <= memory_mb << 20)
		slots *= 2;
	search.mask = slots - 1;
	search.seen = malloc(slots * sizeof(uint64_t));
	if (search.seen == NULL) {
		fprintf(stderr, "no memory\n");
		return 2;
	}
	for (size_t i = 0; i < world_count && good; i++)
		if (world < 0 || (size_t)world == i)
			good = explore(&search, &worlds[i], depth, world < 0 ? seconds / (double)world_count : seconds);
	free(search.seen);
	if (expect)
		printf(good ? "the planted fault was NOT found\n" : "the planted fault was found\n");
	return good == expect;
}
