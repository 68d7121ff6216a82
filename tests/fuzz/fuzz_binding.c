/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the binding rules. The bytes are events in one of the small worlds of tests/model, far longer than the
 * exhaustive check can go; its oracle says what should happen. The first byte names the world, every further pair of bytes an
 * event and what it is about.
 */
#include "fuzz.h"
#include "tests/model/world.h"

#include <stdio.h>
#include <string.h>

#define EVENTS_MAX 2000

static void check(const char *wrong)
{
	if (wrong != NULL) {
		fprintf(stderr, "binding: %s\n", wrong);
		abort();
	}
}

static bool bound(const struct world *world, int flow)
{
	for (int call = 0; call < CALLS; call++)
		if (world->ghost.calls[call].open && world->ghost.calls[call].bound && world->ghost.calls[call].flow == flow)
			return true;
	return false;
}

/* A packet that must change nothing: it is delivered if its flow is bound and it may be, and dropped otherwise. */
static void idle_packet(struct world *world, int flow, struct binding_packet packet, bool may_be_delivered)
{
	struct binding_counts before, after;
	struct binding_verdict verdict;

	binding_expire(&world->binding, world->now_ms);
	binding_count(&world->binding, &before);
	binding_packet(&world->binding, &packet, world->now_ms, &verdict);
	binding_count(&world->binding, &after);
	after.ambiguous = before.ambiguous;
	fuzz_check(memcmp(&before, &after, sizeof(before)) == 0);
	fuzz_check(verdict.action == (may_be_delivered && bound(world, flow) ? BINDING_DELIVER : BINDING_DROP));
}

/* What has an earlier generation, or none, does nothing. */
static void stale_reference(struct world *world, int call)
{
	struct session_ref ref = world_ref(world, call);
	struct binding_session session = world_session(world, call);
	struct binding_verdict verdict;
	struct flow_key unbound;

	ref.generation--;
	fuzz_check(!binding_close(&world->binding, ref, world->now_ms, &unbound));
	fuzz_check(binding_move(&world->binding, ref, &session.remote, false, world->now_ms, &verdict) != 0);
	ref.index = CALLS;
	fuzz_check(!binding_close(&world->binding, ref, world->now_ms, &unbound));
}

static void event(struct world *world, uint8_t what, uint8_t which)
{
	int call = which % CALLS, flow = which % FLOWS;
	struct binding_packet packet = {.key = world_key(flow)};

	switch (what % 16) {
	case 0:
		check(world->ghost.calls[call].open ? oracle_close(world, call) : oracle_open(world, call));
		break;
	case 1:
		check(world->ghost.calls[call].open ? oracle_move(world, call) : NULL);
		break;
	case 2:
		stale_reference(world, call);
		break;
	case 3:
		packet.rtcp = true;
		idle_packet(world, flow, packet, true);
		break;
	case 4:
		packet.payload_type = 96;
		idle_packet(world, flow, packet, true);
		break;
	case 5:
		packet.key.remote.bytes[12] = 11; /* no trunk's */
		idle_packet(world, flow, packet, false);
		break;
	case 12:
		check(oracle_worker(world, which % TENANTS));
		break;
	case 6:
		world->ghost.seq[flow] = (uint16_t)(world->ghost.seq[flow] + (which < 128 ? 1 : -1)); /* a gap, a duplicate */
		break;
	case 7:
		world->now_ms += (uint64_t)which * which;
		binding_expire(&world->binding, world->now_ms);
		break;
	case 8:
	case 9:
		world->now_ms += which / FLOWS * 5u;
		/* fall through */
	case 10:
	case 11:
		check(oracle_packet(world, flow));
		break;
	default:
		for (int i = 0; i < BURST; i++) {
			world->now_ms += BURST_STEP_MS;
			check(oracle_packet(world, flow));
		}
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *world;

	if (size == 0)
		return 0;
	world = world_new(&worlds[data[0] % world_count]);
	fuzz_check(world != NULL);
	for (size_t i = 1; i + 1 < size && i < 2 * EVENTS_MAX; i += 2)
		event(world, data[i], data[i + 1]);
	world_free(world);
	return 0;
}
