/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that wait for an lcore's ring, and a worker's channel that is let go only when every lcore was told. Lcores and calls are played by the
 * test, and so is memory that runs out.
 */
#include "dpdk_app/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_rcu_qsbr.h>

#include "dpdk_app/call_control.h"
#include "dpdk_app/call_records.h"
#include "dpdk_app/events.h"
#include "dpdk_app/tool_control.h"
#include "dpdk_app/worker_calls.h"
#include "unit.h"

#define LCORES 2u

static bool no_memory, ring_full[LCORES];
static struct lcore lcore_storage[LCORES];
static unsigned int told[LCORES]; /* DETACH of slot 3 */
static struct rte_rcu_qsbr *qsbr;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

int lcore_command(struct lcore *lcore, const struct lcore_command *command)
{
	size_t index = (size_t)(lcore - lcore_storage);

	if (ring_full[index])
		return -ENOBUFS;
	told[index] += command->type == LCORE_WORKER_DETACH && command->worker_slot == 3;
	return 0;
}

bool lcore_has_room(const struct lcore *lcore)
{
	return !ring_full[lcore - lcore_storage];
}

struct session_flow *session_table_flow(struct session_table *table, uint32_t index)
{
	(void)table;
	(void)index;
	return NULL;
}

struct rte_rcu_qsbr *session_table_qsbr(struct session_table *table)
{
	(void)table;
	return qsbr;
}

bool event_wanted(const struct dataplane *dataplane, enum event event)
{
	(void)dataplane;
	(void)event;
	return false;
}

cJSON *event_of_call(const struct call *call)
{
	(void)call;
	return NULL;
}

cJSON *event_of_call_now(const struct dataplane *dataplane, const struct call *call)
{
	(void)dataplane;
	return event_of_call(call);
}

void call_records_note(struct dataplane *dataplane, struct call *call, enum call_record_note note, const cJSON *body)
{
	(void)dataplane;
	(void)call;
	(void)note;
	(void)body;
}

void call_records_worker(struct dataplane *dataplane, struct call *call, const char *name, const char *reason)
{
	(void)dataplane;
	(void)call;
	(void)name;
	(void)reason;
}

enum event event_of_worker(const char *word)
{
	(void)word;
	return EVENT_COUNT;
}

void event_send(struct dataplane *dataplane, enum event event, cJSON *params)
{
	(void)dataplane;
	(void)event;
	(void)params;
}

void tool_control_event(struct dataplane *dataplane, struct call *call, enum event event, const cJSON *message)
{
	(void)dataplane;
	(void)call;
	(void)event;
	(void)message;
}

bool tool_control_is_event(enum event event)
{
	(void)event;
	return false;
}

void tool_control_lost(struct dataplane *dataplane, struct call *call)
{
	(void)dataplane;
	(void)call;
}

void tool_control_dtmf(void *context, struct call *call, const cJSON *message)
{
	(void)context;
	(void)call;
	(void)message;
}

void call_control_end(struct dataplane *dataplane, struct call *call, const char *reason)
{
	(void)dataplane;
	(void)call;
	(void)reason;
}

START_TEST(test_detach_without_memory)
{
	static struct dataplane dataplane;

	memset(&dataplane, 0, sizeof(dataplane));
	memset(told, 0, sizeof(told));
	for (unsigned int i = 0; i < LCORES; i++)
		dataplane.lcores[i] = &lcore_storage[i];
	dataplane.lcore_count = LCORES;
	dataplane.commands = commands_new(dataplane.lcores, LCORES);
	/* The second lcore's ring is full and there is no memory to wait: it still uses the channel. */
	ring_full[1] = no_memory = true;
	unsigned int done = worker_calls_ops.detach(&dataplane, 3);

	done += worker_calls_ops.detach(&dataplane, 3);
	no_memory = false;
	ck_assert_uint_eq(done, 0);
	ck_assert_uint_eq(commands_waiting(dataplane.commands), 0);
	ck_assert(!worker_calls_ops.detach(&dataplane, 3));
	ck_assert_uint_eq(commands_waiting(dataplane.commands), 1);
	ck_assert_uint_eq(told[1], 0);
	ring_full[1] = false;
	commands_run(dataplane.commands);
	ck_assert_uint_eq(told[1], 1);
	ck_assert(worker_calls_ops.detach(&dataplane, 3));
	ck_assert_uint_ge(told[0], 1);
	commands_free(dataplane.commands);
}
END_TEST

/* A channel that not every lcore can be told of is not given out. */
START_TEST(test_attach_without_memory)
{
	static struct dataplane dataplane;

	memset(&dataplane, 0, sizeof(dataplane));
	for (unsigned int i = 0; i < LCORES; i++)
		dataplane.lcores[i] = &lcore_storage[i];
	dataplane.lcore_count = LCORES;
	dataplane.commands = commands_new(dataplane.lcores, LCORES);
	ring_full[1] = no_memory = true;
	int result = worker_calls_ops.attach(&dataplane, 3, NULL);

	ring_full[1] = no_memory = false;
	ck_assert_int_eq(result, -ENOMEM);
	ck_assert_int_eq(worker_calls_ops.attach(&dataplane, 3, NULL), 0);
	commands_free(dataplane.commands);
}
END_TEST

/* A worker may be told of a call only when the lcores will see what they must know of it first. */
START_TEST(test_room)
{
	static struct lcore *lcores[LCORES];
	struct lcore_command command = {.type = LCORE_PLAYOUT_START};
	struct commands *commands;

	for (unsigned int i = 0; i < LCORES; i++)
		lcores[i] = &lcore_storage[i];
	commands = commands_new(lcores, LCORES);
	ck_assert(commands_have_room(commands));
	ring_full[1] = true;
	ck_assert(!commands_have_room(commands));
	ck_assert_int_eq(commands_send(commands, 1, &command), 0);
	ring_full[1] = false;
	/* There is room in the ring, but another command goes first. */
	ck_assert(!commands_have_room(commands));
	commands_run(commands);
	ck_assert(commands_have_room(commands));
	commands_free(commands);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("commands");
	int result;

	qsbr = aligned_alloc(RTE_CACHE_LINE_SIZE, rte_rcu_qsbr_get_memsize(LCORES));
	rte_rcu_qsbr_init(qsbr, LCORES);
	unit_add(suite, "order", test_room);
	unit_add(suite, "memory", test_detach_without_memory, test_attach_without_memory);
	result = unit_run(suite);
	free(qsbr);
	return result;
}
