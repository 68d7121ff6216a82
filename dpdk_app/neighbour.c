/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARP (RFC 826), neighbour discovery (RFC 4861) and ping (RFC 792, RFC 4443) for one port, and the table of next hops. The
 * wire formats are in neighbour_frames.c.
 */
#include "neighbour.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "neighbour_frames.h"

#define ANSWER_MS 1000u /* an answer counts this long after its question */
#define HINT_MS	  1000u /* a claim makes us ask again at most this often */

enum state {
	STATE_FREE,
	STATE_ASKING,	 /* not known yet: asking everybody */
	STATE_KNOWN,	 /* confirmed not long ago */
	STATE_CHECKING,	 /* asking the present holder */
	STATE_SEARCHING, /* the present holder is silent: asking everybody; its address stays in use */
};

struct entry {
	enum state state;
	struct ip_address address;
	uint8_t mac[6];
	uint8_t tries; /* requests sent in this state */
	uint64_t asked_ms, next_ms, used_ms, confirmed_ms;
	bool asked;
};

struct neighbours {
	struct neighbour_settings settings;
	struct neighbour_counts counts;
	uint32_t tokens; /* requests to everybody that may be sent now */
	uint64_t refilled_ms;
	uint32_t first; /* entry the next tick looks at first: the one for which no token was left */
	struct entry entries[];
};

struct neighbours *neighbour_new(const struct neighbour_settings *settings)
{
	struct neighbours *neighbours;

	if (settings->local_count == 0 || settings->local_count > 2 || settings->max_entries == 0 || settings->send == NULL ||
		settings->changed == NULL) {
		errno = EINVAL;
		return NULL;
	}
	neighbours = calloc(1, sizeof(*neighbours) + settings->max_entries * sizeof(struct entry));
	if (neighbours == NULL)
		return NULL;
	neighbours->settings = *settings;
	neighbours->tokens = NEIGHBOUR_REQUESTS;
	return neighbours;
}

void neighbour_free(struct neighbours *neighbours)
{
	free(neighbours);
}

static bool same(const struct ip_address *a, const struct ip_address *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static struct entry *find(struct neighbours *neighbours, const struct ip_address *address)
{
	for (uint32_t i = 0; i < neighbours->settings.max_entries; i++) {
		struct entry *entry = &neighbours->entries[i];

		if (entry->state != STATE_FREE && same(&entry->address, address))
			return entry;
	}
	return NULL;
}

/* A free entry, or the one nobody has asked for the longest. */
static struct entry *take(struct neighbours *neighbours, const struct ip_address *address)
{
	struct entry *oldest = &neighbours->entries[0];

	for (uint32_t i = 0; i < neighbours->settings.max_entries; i++) {
		struct entry *entry = &neighbours->entries[i];

		if (entry->state == STATE_FREE) {
			oldest = entry;
			break;
		}
		if (entry->used_ms < oldest->used_ms)
			oldest = entry;
	}
	memset(oldest, 0, sizeof(*oldest));
	oldest->address = *address;
	return oldest;
}

/* Our address of the same family, with its link. */
static const struct neighbour_local *local_for(const struct neighbours *neighbours, const struct ip_address *address)
{
	bool v4 = ip_address_is_v4(address);

	for (unsigned int i = 0; i < neighbours->settings.local_count; i++) {
		if (ip_address_is_v4(&neighbours->settings.locals[i].address) == v4)
			return &neighbours->settings.locals[i];
	}
	return NULL;
}

static const struct neighbour_local *local_named(const struct neighbours *neighbours, const struct ip_address *address)
{
	const struct neighbour_local *local = local_for(neighbours, address);

	return local != NULL && same(&local->address, address) ? local : NULL;
}

static bool has_mac(const struct entry *entry)
{
	return entry->state == STATE_KNOWN || entry->state == STATE_CHECKING || entry->state == STATE_SEARCHING;
}

static void transmit(struct neighbours *neighbours, const struct neighbour_frame *frame)
{
	neighbours->settings.send(neighbours->settings.context, frame->bytes, frame->len);
}

static bool is_gateway(const struct neighbour_local *local, const struct ip_address *address)
{
	return local->has_gateway && same(&local->gateway, address);
}

/* Many callers that are not there must not make a storm of us. */
static bool take_token(struct neighbours *neighbours, uint64_t now_ms)
{
	uint64_t more = (now_ms - neighbours->refilled_ms) * NEIGHBOUR_REQUESTS / 1000;

	if (more > 0) {
		neighbours->refilled_ms = now_ms;
		neighbours->tokens =
			more < NEIGHBOUR_REQUESTS - neighbours->tokens ? neighbours->tokens + (uint32_t)more : NEIGHBOUR_REQUESTS;
	}
	if (neighbours->tokens == 0)
		return false;
	neighbours->tokens--;
	return true;
}

/* Until the next request. */
static uint64_t pause_ms(const struct entry *entry)
{
	uint64_t wait_ms = NEIGHBOUR_FIRST_MS;

	if (entry->state == STATE_CHECKING || (entry->state == STATE_SEARCHING && entry->tries < NEIGHBOUR_TRIES))
		return NEIGHBOUR_RETRY_MS;
	for (unsigned int i = 1; i < entry->tries && wait_ms < NEIGHBOUR_SLOW_MS; i++)
		wait_ms *= 2;
	return entry->state == STATE_SEARCHING ? NEIGHBOUR_SLOW_MS : wait_ms;
}

/*
 * Send one request and plan the next. CHECKING asks the holder alone; everything else asks everybody, as soon as there is a token. Returns
 * whether there was.
 */
static bool ask(struct neighbours *neighbours, struct entry *entry, uint64_t now_ms)
{
	const struct neighbour_local *local = local_for(neighbours, &entry->address);
	struct neighbour_frame frame;

	entry->next_ms = now_ms;
	if (entry->state != STATE_CHECKING && !is_gateway(local, &entry->address) && !take_token(neighbours, now_ms))
		return false;
	neighbour_frame_request(&frame, neighbours->settings.mac, neighbours->settings.vlan, &local->address, &entry->address,
		entry->state == STATE_CHECKING ? entry->mac : NULL);
	transmit(neighbours, &frame);
	neighbours->counts.requests++;
	entry->asked = true;
	entry->asked_ms = now_ms;
	if (entry->tries < UINT8_MAX)
		entry->tries++;
	entry->next_ms = now_ms + pause_ms(entry);
	return true;
}

static bool enter(struct neighbours *neighbours, struct entry *entry, enum state state, uint64_t now_ms)
{
	entry->state = state;
	entry->tries = 0;
	return ask(neighbours, entry, now_ms);
}

static void confirm(struct neighbours *neighbours, struct entry *entry, const uint8_t mac[6], uint64_t now_ms)
{
	bool news = !has_mac(entry) || memcmp(entry->mac, mac, sizeof(entry->mac)) != 0;

	entry->state = STATE_KNOWN;
	entry->asked = false;
	entry->tries = 0;
	entry->confirmed_ms = now_ms;
	entry->next_ms = now_ms + NEIGHBOUR_REACHABLE_MS;
	if (news) {
		memcpy(entry->mac, mac, sizeof(entry->mac));
		neighbours->counts.learned++;
		neighbours->settings.changed(neighbours->settings.context, &entry->address, entry->mac);
	}
}

/* Somebody said, unasked, where `address` is: a reason to ask, no more. */
static void hint(struct neighbours *neighbours, const struct ip_address *address, const uint8_t mac[6], uint64_t now_ms)
{
	struct entry *entry = find(neighbours, address);

	if (entry == NULL)
		return;
	if (!has_mac(entry)) {
		if (now_ms - entry->asked_ms >= HINT_MS)
			enter(neighbours, entry, STATE_ASKING, now_ms);
		return;
	}
	if (memcmp(entry->mac, mac, sizeof(entry->mac)) == 0)
		return;
	neighbours->counts.unasked++;
	if (entry->state == STATE_KNOWN && now_ms - entry->confirmed_ms >= HINT_MS)
		enter(neighbours, entry, STATE_CHECKING, now_ms);
	else if (entry->state == STATE_SEARCHING && now_ms - entry->asked_ms >= HINT_MS)
		ask(neighbours, entry, now_ms);
}

/* Somebody answered, as it says. */
static void answer(struct neighbours *neighbours, const struct ip_address *address, const uint8_t mac[6], uint64_t now_ms)
{
	struct entry *entry = find(neighbours, address);

	if (entry == NULL || !entry->asked || now_ms - entry->asked_ms > ANSWER_MS) {
		hint(neighbours, address, mac, now_ms);
		return;
	}
	/* The question went to the present holder alone; anybody else has no business to answer it. */
	if (entry->state == STATE_CHECKING && memcmp(entry->mac, mac, sizeof(entry->mac)) != 0) {
		neighbours->counts.unasked++;
		return;
	}
	confirm(neighbours, entry, mac, now_ms);
}

void neighbour_start(struct neighbours *neighbours, uint64_t now_ms)
{
	const struct neighbour_settings *settings = &neighbours->settings;

	for (unsigned int i = 0; i < settings->local_count; i++) {
		const struct neighbour_local *local = &settings->locals[i];
		struct neighbour_frame frame;
		struct ip_address next_hop;
		uint8_t mac[6];

		neighbour_frame_announce(&frame, settings->mac, settings->vlan, &local->address);
		transmit(neighbours, &frame);
		if (local->has_gateway)
			neighbour_resolve(neighbours, &local->gateway, now_ms, &next_hop, mac);
	}
}

void neighbour_input(struct neighbours *neighbours, const uint8_t *bytes, size_t len, uint64_t now_ms)
{
	const struct neighbour_settings *settings = &neighbours->settings;
	struct neighbour_message message;
	struct neighbour_frame frame;

	if (!neighbour_frame_parse(&message, bytes, len, settings->mac, settings->vlan)) {
		neighbours->counts.malformed++;
		return;
	}
	/* Nobody else is at our own address. */
	if (message.has_mac && local_named(neighbours, &message.sender) != NULL) {
		neighbours->counts.unasked++;
		return;
	}
	switch (message.kind) {
	case NEIGHBOUR_QUESTION:
		if (message.has_mac)
			hint(neighbours, &message.sender, message.mac, now_ms);
		if (local_named(neighbours, &message.target) == NULL)
			return;
		neighbour_frame_answer(&frame, &message, settings->mac, settings->vlan);
		transmit(neighbours, &frame);
		if (message.arp)
			neighbours->counts.answered_arp++;
		else
			neighbours->counts.answered_nd++;
		return;
	case NEIGHBOUR_ANSWER:
		if (!message.arp || local_named(neighbours, &message.target) != NULL)
			answer(neighbours, &message.sender, message.mac, now_ms);
		return;
	case NEIGHBOUR_CLAIM:
		hint(neighbours, &message.sender, message.mac, now_ms);
		return;
	case NEIGHBOUR_ECHO:
		if (local_named(neighbours, &message.target) == NULL)
			return;
		neighbour_frame_echo(&frame, bytes, &message, settings->mac);
		transmit(neighbours, &frame);
		neighbours->counts.answered_echo++;
		return;
	}
}

int neighbour_next_hop(const struct neighbours *neighbours, const struct ip_address *remote, struct ip_address *next_hop)
{
	const struct neighbour_local *local = local_for(neighbours, remote);
	struct ip_prefix link;

	if (local == NULL)
		return -ENETUNREACH;
	link.length = local->prefix_length;
	link.address = local->address;
	if (ip_prefix_contains(&link, remote)) {
		*next_hop = *remote;
		return 0;
	}
	if (!local->has_gateway)
		return -ENETUNREACH;
	*next_hop = local->gateway;
	return 0;
}

int neighbour_resolve(struct neighbours *neighbours, const struct ip_address *remote, uint64_t now_ms,
	struct ip_address *next_hop, uint8_t mac[6])
{
	struct entry *entry;

	if (neighbour_next_hop(neighbours, remote, next_hop) != 0)
		return -ENETUNREACH;
	entry = find(neighbours, next_hop);
	if (entry == NULL) {
		entry = take(neighbours, next_hop);
		enter(neighbours, entry, STATE_ASKING, now_ms);
	}
	entry->used_ms = now_ms;
	if (!has_mac(entry))
		return -EINPROGRESS;
	memcpy(mac, entry->mac, sizeof(entry->mac));
	return 0;
}

void neighbour_deaf(struct neighbours *neighbours)
{
	for (uint32_t i = 0; i < neighbours->settings.max_entries; i++) {
		if (neighbours->entries[i].state == STATE_CHECKING)
			neighbours->entries[i].tries = 0;
	}
}

static bool is_unwanted(const struct neighbours *neighbours, const struct entry *entry, uint64_t now_ms)
{
	return entry->state == STATE_ASKING && now_ms - entry->used_ms >= NEIGHBOUR_UNUSED_MS &&
	       !is_gateway(local_for(neighbours, &entry->address), &entry->address);
}

void neighbour_tick(struct neighbours *neighbours, uint64_t now_ms)
{
	uint32_t max = neighbours->settings.max_entries, first = neighbours->first;
	bool missed = false;

	for (uint32_t i = 0; i < max; i++) {
		uint32_t index = first + i < max ? first + i : first + i - max;
		struct entry *entry = &neighbours->entries[index];
		bool asked;

		if (entry->state == STATE_FREE || now_ms < entry->next_ms)
			continue;
		if (is_unwanted(neighbours, entry, now_ms)) {
			entry->state = STATE_FREE;
			continue;
		}
		if (entry->state == STATE_KNOWN)
			asked = enter(neighbours, entry, STATE_CHECKING, now_ms);
		else if (entry->state == STATE_CHECKING && entry->tries >= NEIGHBOUR_TRIES)
			asked = enter(neighbours, entry, STATE_SEARCHING, now_ms);
		else
			asked = ask(neighbours, entry, now_ms);
		if (!asked && !missed) {
			missed = true;
			neighbours->first = index;
		}
	}
}

void neighbour_count(const struct neighbours *neighbours, struct neighbour_counts *counts)
{
	*counts = neighbours->counts;
	counts->entries = counts->known = 0;
	for (uint32_t i = 0; i < neighbours->settings.max_entries; i++) {
		counts->entries += neighbours->entries[i].state != STATE_FREE;
		counts->known += has_mac(&neighbours->entries[i]);
	}
}
