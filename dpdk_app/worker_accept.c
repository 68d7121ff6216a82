/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may connect to the workers' socket: accounts of the configuration, as many as there are slots. Everyone else is told why.
 */
#include "workers_internal.h"

#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../shared/log.h"
#include "../shared/spare.h"
#include "worker_messages.h"

const struct config_shard *worker_shard(const struct workers *workers, uid_t uid)
{
	for (size_t i = 0; i < workers->settings.shard_count; i++) {
		if (workers->settings.shards[i].uid == uid)
			return &workers->settings.shards[i];
	}
	return NULL;
}

static bool uid_accepted(const struct workers *workers, uid_t uid)
{
	if (uid == 0 || uid == geteuid() || worker_shard(workers, uid) != NULL)
		return true;
	for (size_t i = 0; i < workers->settings.uid_count; i++) {
		if (workers->settings.uids[i] == uid)
			return true;
	}
	return false;
}

void worker_refuse(int link, const char *reason)
{
	char *text = worker_message_refused(reason);

	if (text != NULL)
		vl_link_send(link, text, strlen(text), NULL, 0);
	cJSON_free(text);
}

/* The account's entry; a new one takes the place of whoever connected longest ago. */
static struct worker_pace *pace_of(struct workers *workers, uid_t uid, uint64_t now_ms)
{
	struct worker_pace *oldest = &workers->paces[0];

	for (unsigned int i = 0; i < WORKER_PACES; i++) {
		struct worker_pace *pace = &workers->paces[i];

		if (pace->used && pace->uid == uid)
			return pace;
		if (oldest->used && (!pace->used || pace->refilled_ms < oldest->refilled_ms))
			oldest = pace;
	}
	*oldest = (struct worker_pace){.used = true, .uid = uid, .tokens = WORKER_CONNECTS, .refilled_ms = now_ms};
	return oldest;
}

/* A worker that dies as soon as it is attached, and is started again and again, must not take the control thread's time and the log. */
static bool too_often(struct workers *workers, uid_t uid, uint64_t now_ms)
{
	struct worker_pace *pace = pace_of(workers, uid, now_ms);
	uint64_t more = (now_ms - pace->refilled_ms) * WORKER_CONNECTS_S / 1000;

	if (more > 0) {
		pace->tokens = more < WORKER_CONNECTS - pace->tokens ? pace->tokens + (uint32_t)more : WORKER_CONNECTS;
		pace->refilled_ms = now_ms;
	}
	if (pace->tokens == 0)
		return true;
	pace->tokens--;
	return false;
}

void worker_accept(struct workers *workers, uint64_t now_ms)
{
	struct vl_link_peer peer;
	int link;

	while ((link = vl_link_accept(workers->listener, &peer)) >= 0) {
		struct epoll_event event = {.events = EPOLLIN};
		struct worker *worker = NULL;
		unsigned int slot;

		for (slot = 0; slot < workers->settings.max && worker == NULL; slot++) {
			if (workers->workers[slot].state == WORKER_FREE)
				worker = &workers->workers[slot];
		}
		event.data.u32 = slot - 1;
		if (too_often(workers, peer.uid, now_ms)) {
			workers->turned_away++;
			vl_log_warning("worker link: refused pid %d: uid %u connects more often than %u times a second",
				(int)peer.pid, (unsigned int)peer.uid, WORKER_CONNECTS_S);
			worker_refuse(link, "this uid connects too often; try again in a second");
			close(link);
		} else if (!uid_accepted(workers, peer.uid)) {
			vl_log_warning("worker link: refused pid %d: uid %u is not in workers.uids or shards", (int)peer.pid,
				(unsigned int)peer.uid);
			worker_refuse(
				link, "this uid is not in workers.uids or workers.shards of the data plane's configuration");
			close(link);
		} else if (worker == NULL || epoll_ctl(workers->epoll, EPOLL_CTL_ADD, link, &event) < 0) {
			vl_log_warning("worker link: refused pid %d: workers.max = %u are connected", (int)peer.pid,
				workers->settings.max);
			worker_refuse(link, "the data plane has no room for another worker");
			close(link);
		} else {
			*worker = (struct worker){.state = WORKER_NEW,
				.link = link,
				.doorbell = -1,
				.peer = peer,
				.connected_ms = now_ms,
				.heard_ms = now_ms};
		}
	}
	if (vl_spare_needed(-link)) {
		vl_log_warning("worker link refused: the process has no descriptor left");
		vl_spare_turn_away(&workers->spare, workers->listener);
	}
}
