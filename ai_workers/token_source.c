/* SPDX-License-Identifier: Apache-2.0 */
/* See token_source.h. A timer looks at every account a few times a second; there are few. */
#include "token_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../shared/clock.h"
#include "../shared/log.h"
#include "endpoint.h"
#include "https.h"
#include "jwt.h"
#include "oauth_token.h"
#include "stats.h"
#include "tsc.h"

#define TICK_MS	   100u
#define BEARER	   "Bearer "
#define BEARER_LEN (sizeof(BEARER) - 1)
#define BODY_HEAD  "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="

struct entry {
	struct entry *next;
	struct token_source *source;
	struct service_account *account; /* held */
	struct endpoint *endpoint;	 /* of its token endpoint */
	struct oauth_schedule schedule;
	struct secret_pages pages;
	char *credential; /* in `pages`: BEARER and the token */
	struct https_request *request;
	uint64_t request_end_ms;
	char address[INET6_ADDRSTRLEN];	 /* asked */
	unsigned int unreached;		 /* addresses that gave no answer at all, in a row */
	char trouble[OAUTH_REASON_SIZE]; /* of the last request that failed, "" after one that did not */
	bool usable_said;		 /* what the log says about the old token */
};

struct token_source {
	uv_loop_t *loop;
	uv_timer_t timer;
	struct wss *wss;
	struct vl_worker_stats *stats;
	struct entry *entries;
	bool ticking;
};

static struct entry *find(struct token_source *source, const struct service_account *account)
{
	struct entry *e = source->entries;

	while (e != NULL && e->account != account && !service_account_same(e->account, account))
		e = e->next;
	return e;
}

static void forget(struct entry *e)
{
	https_cancel(e->request);
	endpoint_destroy(e->endpoint);
	secret_pages_destroy(&e->pages);
	service_account_release(e->account);
	free(e);
}

static struct entry *add(struct token_source *source, struct service_account *account)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	e->source = source;
	e->account = service_account_hold(account);
	if (secret_pages_create(&e->pages, BEARER_LEN + OAUTH_TOKEN_SIZE) != 0)
		goto fail;
	e->credential = secret_pages_take(&e->pages, BEARER_LEN + OAUTH_TOKEN_SIZE);
	memcpy(e->credential, BEARER, BEARER_LEN);
	e->endpoint = endpoint_create(source->loop, account->token_host, account->token_port, account->token_path, false);
	if (e->endpoint == NULL)
		goto fail;
	oauth_schedule_init(&e->schedule, (uint32_t)tsc_now(), vl_clock_ms());
	e->next = source->entries;
	source->entries = e;
	return e;
fail:
	forget(e);
	return NULL;
}

/* The operator's numbers: how many accounts cannot be served, or soon cannot. */
static void count_failing(const struct token_source *source)
{
	uint64_t failing = 0;

	for (const struct entry *e = source->entries; e != NULL; e = e->next)
		failing += e->trouble[0] != '\0';
	atomic_store_explicit(&source->stats->accounts_failing, failing, memory_order_relaxed);
}

/* Said when it begins, when its reason changes and when the old token ends; counted each time. */
static void fail(struct entry *e, const char *reason, uint64_t now_ms)
{
	bool usable = oauth_schedule_usable(&e->schedule, now_ms);
	bool said = strncmp(e->trouble, reason, sizeof(e->trouble) - 1) == 0 && e->usable_said == usable;

	oauth_schedule_failed(&e->schedule, now_ms);
	stats_add(&e->source->stats->tokens_failed, 1);
	snprintf(e->trouble, sizeof(e->trouble), "%s", reason);
	e->usable_said = usable;
	count_failing(e->source);
	if (said)
		return;
	vl_log_error("service account %s: no access token from %s: %s; asked again in %llu s and then ever less often, %s",
		e->account->email, e->account->token_host, reason,
		(unsigned long long)(e->schedule.next_ms - now_ms + 500) / 1000,
		usable ? "until its end the old one is used" : "until then its calls cannot begin");
}

/* Nobody answered at the address: each of the others is asked before it counts as a failure. */
static void unreached(struct entry *e, const char *reason, uint64_t now_ms)
{
	endpoint_failed(e->endpoint, e->address);
	if (++e->unreached < endpoint_count(e->endpoint)) {
		oauth_schedule_again(&e->schedule, now_ms);
		return;
	}
	e->unreached = 0;
	fail(e, reason, now_ms);
}

static void on_answer(void *owner, int status, const char *text, size_t len, const char *reason)
{
	struct entry *e = owner;
	uint64_t now_ms = vl_clock_ms();
	struct oauth_answer answer;

	e->request = NULL;
	if (status == 0) {
		unreached(e, reason, now_ms);
		return;
	}
	e->unreached = 0;
	/* In place: a connection that is only just being made takes the newer one. */
	if (oauth_read_answer(&answer, e->credential + BEARER_LEN, status, text, len) != 0) {
		fail(e, answer.reason, now_ms);
		return;
	}
	if (e->schedule.failures > 0)
		vl_log_warning("service account %s: %s gives access tokens again, after %u requests that failed",
			e->account->email, e->account->token_host, e->schedule.failures);
	oauth_schedule_got(&e->schedule, answer.life_s, now_ms);
	e->trouble[0] = '\0';
	count_failing(e->source);
	vl_log_info("service account %s: access token for %u s, the next in %llu s", e->account->email, answer.life_s,
		(unsigned long long)(e->schedule.next_ms - now_ms) / 1000);
}

static void ask(struct entry *e, uint64_t now_ms)
{
	const struct wss_config *to = endpoint_config(e->endpoint);
	const struct service_account *a = e->account;
	char body[sizeof(BODY_HEAD) + JWT_MAX] = BODY_HEAD;

	oauth_schedule_asked(&e->schedule);
	snprintf(e->address, sizeof(e->address), "%s", to->address);
	if (jwt_assert(body + sizeof(BODY_HEAD) - 1, a->email, a->key_id, a->token_uri, (uint64_t)time(NULL), a->private_key,
		    a->private_key_size) != 0) {
		fail(e, "its assertion cannot be signed", now_ms);
		return;
	}
	e->request = https_post(e->source->wss, to, body, OAUTH_ANSWER_MAX, on_answer, e);
	explicit_bzero(body, sizeof(body));
	e->request_end_ms = now_ms + OAUTH_REQUEST_MS;
	if (e->request == NULL)
		unreached(e, "cannot start a connection", now_ms);
}

static void tick_entry(struct entry *e, uint64_t now_ms)
{
	if (!oauth_schedule_usable(&e->schedule, now_ms) && e->credential[BEARER_LEN] != '\0')
		explicit_bzero(e->credential + BEARER_LEN, OAUTH_TOKEN_SIZE);
	if (e->request != NULL && now_ms >= e->request_end_ms) {
		https_cancel(e->request);
		e->request = NULL;
		e->unreached = 0;
		endpoint_failed(e->endpoint, e->address);
		fail(e, "no answer in time", now_ms);
	}
}

/* Signing takes the loop milliseconds that other calls' audio waits, so one account a tick. */
static void ask_the_oldest(const struct token_source *source, uint64_t now_ms)
{
	struct entry *oldest = NULL;

	for (struct entry *e = source->entries; e != NULL; e = e->next)
		if (oauth_schedule_due(&e->schedule, now_ms) && endpoint_config(e->endpoint)->address != NULL &&
			(oldest == NULL || e->schedule.next_ms < oldest->schedule.next_ms))
			oldest = e;
	if (oldest != NULL)
		ask(oldest, now_ms);
}

static void on_tick(uv_timer_t *timer)
{
	struct token_source *source = timer->data;
	uint64_t now_ms = vl_clock_ms();
	struct entry **at = &source->entries, *e;

	while ((e = *at) != NULL) {
		/* Its users are gone, and their calls are over. */
		if (e->account->holders == 1) {
			*at = e->next;
			forget(e);
			count_failing(source);
			continue;
		}
		tick_entry(e, now_ms);
		at = &e->next;
	}
	ask_the_oldest(source, now_ms);
	if (source->entries == NULL) {
		uv_timer_stop(&source->timer);
		source->ticking = false;
	}
}

struct token_source *token_source_create(uv_loop_t *loop, struct wss *wss, struct vl_worker_stats *stats)
{
	struct token_source *source = calloc(1, sizeof(*source));

	if (source == NULL)
		return NULL;
	source->loop = loop;
	source->wss = wss;
	source->stats = stats;
	uv_timer_init(loop, &source->timer);
	source->timer.data = source;
	return source;
}

static void free_source(uv_handle_t *timer)
{
	free(timer->data);
}

void token_source_destroy(struct token_source *source)
{
	if (source == NULL)
		return;
	while (source->entries != NULL) {
		struct entry *e = source->entries;

		source->entries = e->next;
		forget(e);
	}
	uv_close((uv_handle_t *)&source->timer, free_source);
}

void token_source_serve(struct token_source *source, const struct users *users)
{
	for (size_t i = 0; i < users->count; i++) {
		struct service_account *account = users->users[i].account;
		struct entry *e = account != NULL ? find(source, account) : NULL;

		if (account == NULL)
			continue;
		if (e == NULL) {
			if (add(source, account) == NULL)
				vl_log_error("service account %s: no memory that can be locked for its token", account->email);
		} else if (e->account != account) {
			/* Read again: the new users keep the token, the old ones need not keep the account. */
			service_account_hold(account);
			service_account_release(e->account);
			e->account = account;
		}
	}
	if (source->entries != NULL && !source->ticking) {
		source->ticking = true;
		uv_timer_start(&source->timer, on_tick, 0, TICK_MS);
	}
}

const char *token_source_get(struct token_source *source, const struct service_account *account, uint64_t *issued_ms)
{
	struct entry *e = find(source, account);

	if (e == NULL || !oauth_schedule_usable(&e->schedule, vl_clock_ms()))
		return NULL;
	*issued_ms = e->schedule.issued_ms;
	return e->credential;
}

const char *token_source_trouble(struct token_source *source, const struct service_account *account)
{
	struct entry *e = find(source, account);

	if (e == NULL)
		return "no memory for it";
	return e->trouble[0] != '\0' ? e->trouble : NULL;
}

bool token_source_rejected(struct token_source *source, const struct service_account *account, uint64_t issued_ms)
{
	struct entry *e = find(source, account);

	if (e == NULL || !oauth_schedule_rejected(&e->schedule, issued_ms, vl_clock_ms()))
		return false;
	vl_log_warning("service account %s: the service refuses its access token; asking for another one", e->account->email);
	return true;
}
