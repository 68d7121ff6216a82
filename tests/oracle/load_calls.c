/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of the load generator over the control socket: requests are pipelined, answers come in their order.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "load.h"

#define WINDOW	    128u /* requests without an answer */
#define BUFFER	    (256u * 1024u)
#define TRAIL_COUNT 40u /* packets an ended call's sender does not stop in time */
#define MOVED_COUNT 10u
#define SSRC_BASE   0xca110000u /* where every SIPp process begins */
#define SSRC_SPREAD 64u		/* so many values serve all calls whose port is signalled */

enum operation { OPERATION_CREATE, OPERATION_DELETE, OPERATION_MOVE };

struct pending {
	uint32_t slot;
	enum operation operation;
};

static struct pending pending[WINDOW];
static unsigned int pending_head, pending_count;
static char input[BUFFER], output[BUFFER];
static size_t input_len, output_len;

void calls_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	load.control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (load.control < 0 || connect(load.control, (struct sockaddr *)&address, sizeof(address)) < 0)
		load_die(path, errno);
	fcntl(load.control, F_SETFL, O_NONBLOCK);
}

uint32_t calls_ssrc(uint32_t number, uint16_t life)
{
	/* A call whose port is to be learned must differ from every locked SSRC, or it is refused, and rightly. */
	if (load.slots[number].kind == KIND_LEARN)
		return 0x10000000u | (uint32_t)(life & 0x7ff) << 17 | number;
	return SSRC_BASE + (number * 5 + life) % SSRC_SPREAD;
}

static uint16_t port_of(const struct slot *slot, uint32_t number)
{
	uint32_t sub = slot->kind == KIND_LEARN ? 0 : number % CALLS_PER_SOURCE;

	return (uint16_t)(PORT_FIRST + sub * PORT_RANGE + slot->variant * 2u % PORT_RANGE);
}

void calls_init(struct slot *slot, uint32_t number)
{
	static const enum kind kinds[8] = {
		KIND_EXACT, KIND_EXACT, KIND_LEARN, KIND_EXACT, KIND_DEDICATED, KIND_EXACT, KIND_EXACT_SSRC, KIND_EXACT};
	uint32_t group = number / CALLS_PER_SOURCE;

	slot->kind = kinds[group % 8];
	slot->address = slot->kind == KIND_LEARN ? LEARN_BASE + number
						 : (slot->kind == KIND_DEDICATED ? DEDICATED_BASE : EXACT_BASE) + group;
	slot->port = port_of(slot, number);
	slot->local_port = SHARED_PORT;
}

bool calls_room(void)
{
	return pending_count < WINDOW && output_len + 512 < BUFFER;
}

static void request(uint32_t number, enum operation operation, const char *method, const char *params)
{
	output_len += (size_t)snprintf(output + output_len, BUFFER - output_len,
		"{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"session.%s\",\"params\":%s}\n", number, method, params);
	pending[(pending_head + pending_count++) % WINDOW] = (struct pending){.slot = number, .operation = operation};
}

static void address_text(const struct slot *slot, uint16_t port, char *text, size_t size)
{
	if (load.ipv6) {
		snprintf(text, size, "{\"address\":\"fd77:0:%x:%x::1\",\"port\":%u}", slot->address >> 16, slot->address & 0xffff,
			port);
		return;
	}
	snprintf(text, size, "{\"address\":\"%u.%u.%u.%u\",\"port\":%u}", slot->address >> 24, slot->address >> 16 & 255,
		slot->address >> 8 & 255, slot->address & 255, port);
}

void calls_create(uint32_t number)
{
	static const char *const trunks[] = {"exact", "exact", "learn", "dedicated"};
	struct slot *slot = &load.slots[number];
	char remote[64], ssrc[32] = "", params[256];

	slot->ssrc = calls_ssrc(number, (uint16_t)(slot->life + 1));
	/* A place that was learned rests after its call; so the next one comes from another port, as phones do. */
	if (slot->kind == KIND_LEARN && slot->life > 0) {
		slot->variant++;
		slot->port = port_of(slot, number);
	}
	if (slot->kind == KIND_EXACT_SSRC)
		snprintf(ssrc, sizeof(ssrc), ",\"ssrc\":%u", slot->ssrc);
	address_text(slot, slot->kind == KIND_LEARN ? SHARED_PORT : slot->port, remote, sizeof(remote));
	snprintf(params, sizeof(params), "{\"user\":\"o%u\",\"trunk\":\"%s\",\"remote\":%s%s}", number, trunks[slot->kind],
		remote, ssrc);
	slot->state = SLOT_CREATING;
	request(number, OPERATION_CREATE, "create", params);
}

void calls_delete(uint32_t number)
{
	char params[64];

	snprintf(params, sizeof(params), "{\"session\":\"%s\"}", load.slots[number].uuid);
	load.slots[number].state = SLOT_ENDING;
	load.live--;
	request(number, OPERATION_DELETE, "delete", params);
}

void calls_move(uint32_t number)
{
	struct slot *slot = &load.slots[number];
	char remote[64], params[160];

	slot->variant++;
	slot->moving = true;
	slot->next_port = port_of(slot, number);
	address_text(slot, slot->next_port, remote, sizeof(remote));
	snprintf(params, sizeof(params), "{\"session\":\"%s\",\"remote\":%s}", slot->uuid, remote);
	request(number, OPERATION_MOVE, "update", params);
}

static void created(struct slot *slot, const cJSON *result)
{
	const cJSON *local = cJSON_GetObjectItemCaseSensitive(result, "local");
	const char *uuid = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(result, "session"));

	if (uuid == NULL || local == NULL)
		load_die("session.create's result", EPROTO);
	snprintf(slot->uuid, sizeof(slot->uuid), "%s", uuid);
	slot->local_port = (uint16_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(local, "port"));
	slot->state = SLOT_LIVE;
	slot->life++;
	slot->sent = 0;
	slot->seq = (uint16_t)load_random();
	slot->timestamp = (uint32_t)load_random();
	slot->skip = slot->moving = slot->hurried = slot->heard = false;
	slot->last_heard = 0;
	slot->created_tsc = rte_rdtsc();
	load.counters.created++;
	load.live++;
}

/* What the caller's old sender still says: `ended` as the call that is over, otherwise from the place it left. */
static void leave_trail(struct slot *slot, uint8_t count, bool ended)
{
	slot->trail = (struct trail){.port = slot->port,
		.local_port = slot->local_port,
		.seq = slot->seq,
		.life = slot->life,
		.left = count,
		.ended = ended,
		.ssrc = slot->ssrc,
		.timestamp = slot->timestamp};
	slot->old_port = slot->port;
	slot->old_until = rte_rdtsc() + GRACE_MS * load.tsc_hz / 1000;
}

static void take_answer(const cJSON *answer)
{
	struct pending done = pending[pending_head];
	struct slot *slot = &load.slots[done.slot];
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(answer, "error");
	const cJSON *id = cJSON_GetObjectItemCaseSensitive(answer, "id");

	if (pending_count == 0 || (uint32_t)cJSON_GetNumberValue(id) != done.slot)
		load_die("an answer to nothing asked", EPROTO);
	pending_head = (pending_head + 1) % WINDOW;
	pending_count--;
	if (error != NULL)
		snprintf(load.error, sizeof(load.error), "%s",
			cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(error, "message")));
	switch (done.operation) {
	case OPERATION_CREATE:
		if (error == NULL) {
			created(slot, cJSON_GetObjectItemCaseSensitive(answer, "result"));
		} else {
			slot->state = SLOT_IDLE;
			load.counters.create_failed++;
		}
		break;
	case OPERATION_DELETE:
		load.counters.deleted += error == NULL;
		load.counters.delete_failed += error != NULL;
		leave_trail(slot, TRAIL_COUNT, true);
		slot->state = SLOT_IDLE;
		break;
	case OPERATION_MOVE:
		slot->moving = false;
		if (error != NULL) {
			load.counters.move_failed++;
			break;
		}
		load.counters.moved++;
		leave_trail(slot, MOVED_COUNT, false);
		slot->port = slot->next_port;
		slot->hurried = false;
		slot->sent = 0;
		break;
	}
}

void calls_nat(uint32_t number)
{
	struct slot *slot = &load.slots[number];

	slot->old_port = slot->port;
	slot->old_until = rte_rdtsc() + GRACE_MS * load.tsc_hz / 1000;
	slot->variant++;
	slot->port = port_of(slot, number);
	slot->sent = 0;
	slot->heard = false; /* there: it hurries until it is answered */
	load.counters.nat_moved++;
}

static void read_answers(void)
{
	char *line = input, *end;
	ssize_t got = recv(load.control, input + input_len, BUFFER - 1 - input_len, 0);

	if (got == 0) {
		load.quit = true; /* the data plane ended */
		return;
	}
	if (got < 0)
		return;
	input_len += (size_t)got;
	input[input_len] = '\0';
	while ((end = strchr(line, '\n')) != NULL) {
		cJSON *answer = cJSON_ParseWithLength(line, (size_t)(end - line));

		if (answer == NULL)
			load_die("an answer that is not JSON", EPROTO);
		take_answer(answer);
		cJSON_Delete(answer);
		line = end + 1;
	}
	input_len -= (size_t)(line - input);
	memmove(input, line, input_len + 1);
}

unsigned int calls_run(void)
{
	unsigned int before = pending_count;

	if (output_len > 0) {
		ssize_t sent = send(load.control, output, output_len, MSG_NOSIGNAL);

		if (sent > 0) {
			output_len -= (size_t)sent;
			memmove(output, output + sent, output_len);
		}
	}
	if (pending_count > 0)
		read_answers();
	return before - pending_count;
}
