/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What should happen (world.h): the rules of doc/binding.md once more, by plain search over three calls and without the
 * implementation's state, and the invariants that make a data plane safe. Anything that differs is a finding.
 */
#include "world.h"

#include <string.h>

#define FAIL_IF(condition, text)     \
	do {                         \
		if (condition)       \
			return text; \
	} while (0)

/* --- what was left behind --- */

/* Whether another call than the present one of this slot left it a moment ago. */
static bool left_refuses(const struct world *world, const struct left *left, int call)
{
	if (left->shared_until_ms > world->now_ms)
		return true;
	for (int other = 0; other < CALLS; other++)
		if (left->until_ms[other] > world->now_ms &&
			(other != call || left->generation[other] != world->ghost.calls[call].generation))
			return true;
	return false;
}

/* What several calls left is refused to all of them until the last one's time is over. */
static void left_add(const struct world *world, struct left *left, int call, uint64_t duration_ms)
{
	if (left_refuses(world, left, call))
		left->shared_until_ms = world->now_ms + duration_ms;
	left->generation[call] = world->ghost.calls[call].generation;
	left->until_ms[call] = world->now_ms + duration_ms;
}

static void leave_flow(struct world *world, int call, int flow)
{
	int source = flow_source(flow);

	left_add(world, &world->ghost.flows[flow], call, QUARANTINE_MS);
	left_add(world, &world->ghost.sources[source], call, QUARANTINE_MS);
	left_add(world, &world->ghost.ssrcs[source_local(source)][flow_ssrc(flow)], call, QUARANTINE_MS);
}

static const struct place *place_of(const struct world *world, int call)
{
	return &world->spec->calls[call].places[world->ghost.calls[call].place];
}

/* Where the call's packets come from, as far as anyone knows; NOBODY if the port is not known. */
static int expected_source(const struct world *world, int call)
{
	const struct ghost_call *c = &world->ghost.calls[call];
	const struct place *place = place_of(world, call);

	if (c->bound)
		return flow_source(c->flow);
	return place->port == ANY ? NOBODY : source_of(world->spec->calls[call].dedicated, place->ip, place->port);
}

static bool on_trial(const struct world *world, int call, int flow)
{
	const struct ghost_trial *trial = &world->ghost.trials[call][flow];

	return trial->last_ms != 0 && world->now_ms - trial->last_ms < SECOND_MS;
}

static void forget_trials(struct world *world, int call)
{
	memset(world->ghost.trials[call], 0, sizeof(world->ghost.trials[call]));
	world->ghost.calls[call].crowd_until_ms = 0;
}

/* The call ends or moves. */
static void leave(struct world *world, int call)
{
	const struct call_spec *spec = &world->spec->calls[call];
	const struct ghost_call *c = &world->ghost.calls[call];
	int source = expected_source(world, call);

	if (c->bound)
		leave_flow(world, call, c->flow);
	else if (source != NOBODY)
		left_add(world, &world->ghost.sources[source], call, QUARANTINE_MS);
	else if (spec->ssrc != ANY)
		left_add(world, &world->ghost.ssrcs[spec->dedicated][spec->ssrc], call, QUARANTINE_MS);
	else if (!spec->dedicated)
		left_add(world, &world->ghost.addresses[0][place_of(world, call)->ip], call, LINGER_MS);
	for (int flow = 0; flow < FLOWS; flow++) {
		if (!on_trial(world, call, flow))
			continue;
		left_add(world, &world->ghost.flows[flow], call, QUARANTINE_MS);
		left_add(world, &world->ghost.sources[flow_source(flow)], call, QUARANTINE_MS);
	}
	forget_trials(world, call);
}

/* --- whose is a packet --- */

static int owner_of(const struct world *world, int flow)
{
	for (int call = 0; call < CALLS; call++)
		if (world->ghost.calls[call].open && world->ghost.calls[call].bound && world->ghost.calls[call].flow == flow)
			return call;
	return NOBODY;
}

enum tier { TIER_NONE, TIER_SOURCE, TIER_NAT, TIER_UNKNOWN };

/* The calls that wait at the packet's address without a known port: how many could claim it, and which. */
static int waiting(const struct world *world, int flow, int *count)
{
	int source = flow_source(flow), found = NOBODY, by_ssrc = NOBODY, ssrc_count = 0;

	*count = 0;
	for (int call = 0; call < CALLS; call++) {
		const struct call_spec *spec = &world->spec->calls[call];
		const struct ghost_call *c = &world->ghost.calls[call];
		bool address = spec->dedicated || place_of(world, call)->ip == source_ip(source);

		if (!c->open || expected_source(world, call) != NOBODY || spec->dedicated != source_local(source) || !address)
			continue;
		if (spec->ssrc == ANY) {
			found = call;
			++*count;
		} else if (spec->ssrc == flow_ssrc(flow)) {
			by_ssrc = call;
			ssrc_count++;
		}
	}
	if (ssrc_count > 0) {
		*count = ssrc_count;
		found = by_ssrc;
	}
	return *count == 1 ? found : NOBODY;
}

/* The one call that may get the packet, or NOBODY. */
static int claimant(const struct world *world, int flow, enum tier *tier)
{
	int source = flow_source(flow), found = NOBODY, count = 0, ssrc_count = 0, by_ssrc = NOBODY, others;

	*tier = TIER_SOURCE;
	for (int call = 0; call < CALLS; call++) {
		if (!world->ghost.calls[call].open || expected_source(world, call) != source)
			continue;
		found = call;
		count++;
		if (!world->ghost.calls[call].bound && world->spec->calls[call].ssrc == flow_ssrc(flow)) {
			by_ssrc = call;
			ssrc_count++;
		}
	}
	if (count == 1)
		return found;
	if (count > 1)
		return ssrc_count == 1 ? by_ssrc : NOBODY;
	*tier = TIER_NAT;
	for (int call = 0; call < CALLS; call++) {
		const struct ghost_call *c = &world->ghost.calls[call];

		if (c->open && c->bound && flow_ssrc(c->flow) == flow_ssrc(flow) &&
			source_local(flow_source(c->flow)) == source_local(source)) {
			found = call;
			count++;
		}
	}
	if (count > 0) {
		waiting(world, flow, &others);
		return count == 1 && world->spec->calls[found].nat && others == 0 ? found : NOBODY;
	}
	*tier = TIER_UNKNOWN;
	return waiting(world, flow, &count);
}

/* --- packets --- */

/* What the observer learns from a flow that got its call, and what must be true of it. */
static const char *take_bind(struct world *world, int call, int flow, const struct binding_verdict *verdict)
{
	struct ghost_call *c = &world->ghost.calls[call];
	bool other_source = c->ever_bound && flow_source(c->flow) != flow_source(flow);
	const struct place *place = place_of(world, call);
	struct flow_key key = world_key(flow);

	FAIL_IF(memcmp(&verdict->bound, &key, sizeof(key)) != 0, "another flow was bound than the packet's");
	FAIL_IF(owner_of(world, flow) != NOBODY, "a flow was given to a second call");
	FAIL_IF(verdict->moved != c->bound,
		"a call with a flow got another one without losing the first, or lost none that it had");
	if (c->bound) {
		key = world_key(c->flow);
		FAIL_IF(memcmp(&verdict->unbound, &key, sizeof(key)) != 0, "another flow was unbound than the call's");
		leave_flow(world, call, c->flow);
	}
	FAIL_IF(verdict->first != !c->ever_bound, "`first` is wrong");
	FAIL_IF(verdict->address_switch != other_source, "`address_switch` is wrong");
	c->bound = c->ever_bound = true;
	c->flow = flow;
	c->learned =
		place->port == ANY || source_of(world->spec->calls[call].dedicated, place->ip, place->port) != flow_source(flow);
	forget_trials(world, call);
	return NULL;
}

/* Whether the flow may become the call's without probation. */
static bool at_once(const struct world *world, int call, int flow, enum tier tier)
{
	return tier == TIER_SOURCE && !world->ghost.calls[call].bound &&
	       !left_refuses(world, &world->ghost.sources[flow_source(flow)], call);
}

/* Whether anything the flow consists of was another call's a moment ago. */
static bool refused(const struct world *world, int call, int flow, enum tier tier)
{
	const struct ghost *ghost = &world->ghost;
	int source = flow_source(flow), local = source_local(source);

	if (left_refuses(world, &ghost->flows[flow], call))
		return true;
	if (tier == TIER_SOURCE)
		return false;
	if (left_refuses(world, &ghost->sources[source], call) ||
		left_refuses(world, &ghost->ssrcs[local][flow_ssrc(flow)], call))
		return true;
	return tier == TIER_UNKNOWN && world->spec->calls[call].ssrc == ANY && !world->spec->calls[call].dedicated &&
	       left_refuses(world, &ghost->addresses[local][source_ip(source)], call);
}

/* Whether the source was signalled for another call that packets led elsewhere. */
static bool home_of_another(const struct world *world, int call, int flow)
{
	for (int other = 0; other < CALLS; other++) {
		const struct ghost_call *c = &world->ghost.calls[other];
		const struct place *place = place_of(world, other);

		if (other != call && c->open && c->bound && c->learned && place->port != ANY &&
			source_of(world->spec->calls[other].dedicated, place->ip, place->port) == flow_source(flow))
			return true;
	}
	return false;
}

/* Other streams that want the call and were heard within the last second. */
static int rivals(const struct world *world, int call, int flow)
{
	int count = 0;

	for (int other = 0; other < FLOWS; other++)
		count += other != flow && on_trial(world, call, other);
	return count;
}

static const char *check_trial(struct world *world, int call, int flow, const struct binding_verdict *verdict)
{
	const struct ghost_call *c = &world->ghost.calls[call];
	struct ghost_trial *trial = &world->ghost.trials[call][flow];
	bool goes_on = on_trial(world, call, flow), live = c->bound && world->now_ms < c->heard_ms + BINDING_QUIET_MS;
	int others = rivals(world, call, flow);
	bool contested = others > 0 || world->now_ms < c->crowd_until_ms;
	uint64_t now_ms = world->now_ms;

	if (contested) {
		FAIL_IF(verdict->action != BINDING_DROP, "a stream waits or is bound although another wants the call");
		if (!goes_on && others >= (int)BINDING_SLOTS)
			world->ghost.calls[call].crowd_until_ms = now_ms + SECOND_MS; /* one too many to remember */
		else
			*trial = (struct ghost_trial){.last_ms = now_ms}; /* it starts again */
		return NULL;
	}
	if (!goes_on || trial->count == 0 || (uint16_t)(trial->last_seq + 1) != world->ghost.seq[flow])
		*trial = (struct ghost_trial){.first_ms = now_ms};
	trial->count++;
	trial->last_seq = world->ghost.seq[flow];
	trial->last_ms = now_ms;
	if (trial->count < BINDING_PROBATION_PACKETS || now_ms - trial->first_ms < BINDING_PROBATION_MS)
		FAIL_IF(verdict->action != BINDING_WAIT, "a stream that has not passed its probation was bound or dropped");
	else if (live)
		FAIL_IF(verdict->action != BINDING_DROP, "a live stream was replaced");
	else
		FAIL_IF(verdict->action != BINDING_BIND, "a stream that passed its probation was not bound");
	return NULL;
}

static const char *check_verdict(struct world *world, int flow, const struct binding_verdict *verdict)
{
	int owner = owner_of(world, flow), call;
	enum tier tier;
	const char *wrong;

	if (verdict->action != BINDING_DROP) {
		FAIL_IF(verdict->session.index >= CALLS, "no such call");
		call = (int)verdict->session.index;
		FAIL_IF(!world->ghost.calls[call].open, "a call that ended was named");
		FAIL_IF(verdict->session.generation != world->ghost.calls[call].generation,
			"an earlier call of the index was named");
	}
	FAIL_IF(verdict->evicted, "a packet evicted a call");
	if (owner != NOBODY) {
		FAIL_IF(verdict->action != BINDING_DELIVER, "a packet of a bound flow was not delivered");
		FAIL_IF((int)verdict->session.index != owner, "a packet of a bound flow was delivered to another call");
		world->ghost.calls[owner].heard_ms = world->now_ms;
		return NULL;
	}
	FAIL_IF(verdict->action == BINDING_DELIVER, "delivered although source and SSRC are not bound");
	call = claimant(world, flow, &tier);
	if (call == NOBODY) {
		FAIL_IF(verdict->action != BINDING_DROP, "somebody got a packet that nobody or several could claim");
		return NULL;
	}
	if (tier != TIER_SOURCE && home_of_another(world, call, flow)) {
		FAIL_IF(verdict->action != BINDING_DROP, "a source that signalling gave to another call was learned");
		return NULL;
	}
	if (refused(world, call, flow, tier)) {
		FAIL_IF(verdict->action != BINDING_DROP, "what another call left a moment ago was taken");
		return NULL;
	}
	FAIL_IF(verdict->action != BINDING_DROP && (int)verdict->session.index != call,
		"another call than the claimant got the packet");
	if (at_once(world, call, flow, tier))
		FAIL_IF(verdict->action != BINDING_BIND, "the source of one waiting call did not bind at once");
	else if ((wrong = check_trial(world, call, flow, verdict)) != NULL)
		return wrong;
	if (verdict->action != BINDING_BIND)
		return NULL;
	wrong = take_bind(world, call, flow, verdict);
	world->ghost.calls[call].heard_ms = world->now_ms;
	return wrong;
}

static const char *check_counts(const struct world *world)
{
	struct binding_counts counts;
	uint32_t sessions = 0, bound = 0;

	binding_count(&world->binding, &counts);
	for (int call = 0; call < CALLS; call++) {
		sessions += world->ghost.calls[call].open;
		bound += world->ghost.calls[call].open && world->ghost.calls[call].bound;
	}
	FAIL_IF(counts.sessions != sessions || counts.bound != bound, "counts are wrong");
	return NULL;
}

/* Every call is heard by its tenant's worker or by nobody, and nobody else speaks for it; what ended neither hears nor speaks. */
static const char *check_routes(const struct world *world)
{
	for (int call = 0; call < CALLS; call++) {
		const struct ghost_call *c = &world->ghost.calls[call];
		const struct session_route *shared = &world->routes[call];
		int expected = c->open ? world->ghost.slots[tenant_of(call)] : NOBODY, heard = NOBODY;
		struct route route;

		if (c->generation != 0 && route_read(shared, c->generation, &route) &&
			route_judge(&route, 0, world->attached) == DROP_NONE)
			heard = route.worker;
		FAIL_IF(heard != expected && heard != NOBODY, "a call is heard by another tenant's worker, or after its end");
		FAIL_IF(heard != expected, "a call is not heard by its worker");
		FAIL_IF(c->generation > 1 && route_read(shared, c->generation - 1, &route),
			"an earlier call of the index is heard");
		for (int slot = 0; slot < WORKER_SLOTS; slot++) {
			bool speaks = (world->attached >> slot & 1) != 0 &&
				      route_judge_worker(shared, c->generation, (unsigned int)slot, 0) == DROP_NONE;

			FAIL_IF(speaks && slot != expected, "another tenant's worker may speak for a call, or after its end");
			FAIL_IF(!speaks && slot == expected, "a call's worker may not speak for it");
		}
	}
	return NULL;
}

static const char *check_state(const struct world *world)
{
	const char *wrong = check_counts(world);

	return wrong != NULL ? wrong : check_routes(world);
}

const char *oracle_packet(struct world *world, int flow)
{
	struct binding_packet packet = {.key = world_key(flow), .seq = ++world->ghost.seq[flow]};
	struct binding_verdict verdict;
	const char *wrong;

	world->ghost.ssrcs_used |= 1u << flow_ssrc(flow);
	binding_packet(&world->binding, &packet, world->now_ms, &verdict);
	wrong = check_verdict(world, flow, &verdict);
	return wrong != NULL ? wrong : check_state(world);
}

/* --- workers: what worker_calls.c does with a call's route --- */

const char *oracle_worker(struct world *world, int tenant)
{
	int slot = world->ghost.slots[tenant];
	bool is_lost = slot != NOBODY;

	for (int free = 0; slot == NOBODY; free++)
		slot = (world->attached >> free & 1) == 0 ? free : NOBODY;
	world->ghost.slots[tenant] = is_lost ? NOBODY : slot;
	world->attached ^= UINT64_C(1) << slot;
	for (int call = 0; call < CALLS; call++) {
		if (!world->ghost.calls[call].open || tenant_of(call) != tenant)
			continue;
		if (is_lost)
			route_take(&world->routes[call]);
		else
			route_give(&world->routes[call], (uint8_t)slot);
	}
	return check_state(world);
}

/* --- calls --- */

/* Signalling gave this call a source: whoever learned it from packets must have lost it, and nobody else. */
static const char *take_eviction(struct world *world, int call, const struct binding_verdict *verdict)
{
	const struct place *place = place_of(world, call);
	int evicted = NOBODY;

	for (int other = 0; other < CALLS && place->port != ANY; other++) {
		const struct ghost_call *c = &world->ghost.calls[other];

		if (other != call && c->open && c->bound && c->learned &&
			flow_source(c->flow) == source_of(world->spec->calls[call].dedicated, place->ip, place->port))
			evicted = other;
	}
	FAIL_IF(verdict->evicted != (evicted != NOBODY), "a call kept what signalling gave to another, or lost what it did not");
	if (evicted == NOBODY)
		return NULL;
	struct flow_key key = world_key(world->ghost.calls[evicted].flow);

	FAIL_IF((int)verdict->evicted_session.index != evicted || memcmp(&verdict->evicted_flow, &key, sizeof(key)) != 0,
		"the wrong flow was evicted");
	world->ghost.calls[evicted].bound = false;
	forget_trials(world, evicted);
	return NULL;
}

const char *oracle_open(struct world *world, int call)
{
	struct ghost_call *c = &world->ghost.calls[call];
	const struct call_spec *spec = &world->spec->calls[call];
	struct binding_verdict verdict;
	struct binding_session session;
	uint32_t generation = c->generation + 1;
	int flow = NOBODY, result;
	const char *wrong;

	if (world->ghost.slots[tenant_of(call)] == NOBODY)
		return NULL; /* nobody serves its user: refused before anything else */
	*c = (struct ghost_call){.generation = generation};
	session = world_session(world, call);
	result = binding_open(&world->binding, world_ref(world, call), &session, world->now_ms, &verdict);
	if (spec->ssrc != ANY)
		world->ghost.ssrcs_used |= 1u << spec->ssrc;
	if (result != 0)
		return check_state(world);
	c->open = true;
	route_open(&world->routes[call], generation, 0, 0, 0);
	route_give(&world->routes[call], (uint8_t)world->ghost.slots[tenant_of(call)]);
	wrong = take_eviction(world, call, &verdict);
	if (wrong != NULL)
		return wrong;
	if (spec->ssrc != ANY && spec->places[0].port != ANY)
		flow = flow_of(source_of(spec->dedicated, spec->places[0].ip, spec->places[0].port), spec->ssrc);
	FAIL_IF((verdict.action == BINDING_BIND) != (flow != NOBODY),
		"bound at the start without a signalled SSRC, or not with one");
	if (flow != NOBODY) {
		FAIL_IF(left_refuses(world, &world->ghost.flows[flow], call),
			"what another call left a moment ago was bound at the start");
		wrong = take_bind(world, call, flow, &verdict);
	}
	return wrong != NULL ? wrong : check_state(world);
}

const char *oracle_move(struct world *world, int call)
{
	struct ghost_call *c = &world->ghost.calls[call];
	struct binding_verdict verdict;
	struct binding_session session;
	int was = expected_source(world, call), is;
	bool was_bound = c->bound;
	struct flow_key key = world_key(was_bound ? c->flow : 0);
	struct world before;
	const char *wrong;

	before.ghost = world->ghost;
	leave(world, call);
	c->place = !c->place;
	session = world_session(world, call);
	is = place_of(world, call)->port == ANY
		     ? NOBODY
		     : source_of(world->spec->calls[call].dedicated, place_of(world, call)->ip, place_of(world, call)->port);
	FAIL_IF(binding_move(&world->binding, world_ref(world, call), &session.remote, session.remote_port_unknown, world->now_ms,
			&verdict) != 0,
		"a move was refused");
	FAIL_IF(verdict.action != BINDING_WAIT, "a move bound");
	if (was_bound && is == was) {
		/* Signalling confirmed the learned source: nothing was left. */
		int place = c->place;

		world->ghost = before.ghost;
		c->place = place;
		c->learned = false;
		FAIL_IF(verdict.moved || verdict.evicted, "a confirmed source was lost");
		return check_state(world);
	}
	FAIL_IF(verdict.moved != was_bound, "a move left the old flow, or took one that was not there");
	FAIL_IF(was_bound && memcmp(&verdict.unbound, &key, sizeof(key)) != 0, "a move took another flow");
	c->bound = false;
	wrong = take_eviction(world, call, &verdict);
	return wrong != NULL ? wrong : check_state(world);
}

const char *oracle_close(struct world *world, int call)
{
	struct ghost_call *c = &world->ghost.calls[call];
	struct session_ref ref = world_ref(world, call), stale = {ref.index, ref.generation - 1};
	struct flow_key unbound, key = world_key(c->ever_bound ? c->flow : 0);
	bool was_bound;

	/* What an earlier call of the index left in somebody's hands must do nothing. */
	FAIL_IF(binding_close(&world->binding, stale, world->now_ms, &unbound), "a stale reference closed a call");
	leave(world, call);
	route_close(&world->routes[call]);
	was_bound = binding_close(&world->binding, ref, world->now_ms, &unbound);
	FAIL_IF(was_bound != c->bound, "the end of a call told the wrong state");
	FAIL_IF(was_bound && memcmp(&unbound, &key, sizeof(key)) != 0, "the end of a call took another flow");
	route_take(&world->routes[call]);
	c->open = c->bound = false;
	return check_state(world);
}
