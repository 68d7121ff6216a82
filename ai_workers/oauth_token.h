/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OAuth access token's life as plain data: when it is asked for, how long it is used, and what the token endpoint's answer says (RFC 6749 section 5, RFC 7523).
 * Pure: the clock and randomness are parameters; token_source.c asks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OAUTH_TOKEN_SIZE   4096u  /* of an access token with its NUL; Google's have up to 2,048 bytes */
#define OAUTH_ANSWER_MAX   16384u /* bytes of the endpoint's answer */
#define OAUTH_REASON_SIZE  192u
#define OAUTH_REQUEST_MS   10000u /* how long one request may take */
#define OAUTH_RETRY_MS	   1000u  /* after the first failure; doubled up to OAUTH_RETRY_MAX_MS, with jitter */
#define OAUTH_RETRY_MAX_MS 60000u
#define OAUTH_MARGIN_MS \
	10000u /* a token is not used so shortly before its end, or in the last tenth of its life: the upgrade takes time too */
#define OAUTH_REJECT_AGAIN_MS 10000u /* a token this fresh is not replaced because an upgrade was refused */
#define OAUTH_NEVER	      UINT64_MAX

/* Owner: its source. Read freely, only oauth_schedule_...() write. */
struct oauth_schedule {
	uint64_t next_ms;    /* ask at this time; OAUTH_NEVER: a request is under way */
	uint64_t expires_ms; /* the token is used until then; 0: there is none */
	uint64_t issued_ms;
	uint32_t failures; /* in a row */
	uint32_t random;   /* xorshift state */
};

/* No token yet, to be asked for at once; `seed` drives the jitter. Any. */
void oauth_schedule_init(struct oauth_schedule *schedule, uint32_t seed, uint64_t now_ms);

/* Whether to ask now. Any. */
bool oauth_schedule_due(const struct oauth_schedule *schedule, uint64_t now_ms);

/* A request has begun. Any. */
void oauth_schedule_asked(struct oauth_schedule *schedule);

/* It brought a token good for `life_s`: the next one is asked for at 75 to 85 % of that. Any. */
void oauth_schedule_got(struct oauth_schedule *schedule, uint32_t life_s, uint64_t now_ms);

/* It failed: the token before stays good until its end. Any. */
void oauth_schedule_failed(struct oauth_schedule *schedule, uint64_t now_ms);

/* It reached nobody, and there is another place to ask: at once. Any. */
void oauth_schedule_again(struct oauth_schedule *schedule, uint64_t now_ms);

/*
 * The service refused the token of `issued_ms`. Any. Returns whether a newer one is there or comes: then the caller may dial once more. A token that is only just there
 * is not asked for again.
 */
bool oauth_schedule_rejected(struct oauth_schedule *schedule, uint64_t issued_ms, uint64_t now_ms);

/* Whether there is a token to use. Any. */
bool oauth_schedule_usable(const struct oauth_schedule *schedule, uint64_t now_ms);

/* What the token endpoint answered. */
struct oauth_answer {
	uint32_t life_s;		/* of the token */
	char reason[OAUTH_REASON_SIZE]; /* why there is none */
};

/*
 * Read an answer with HTTP status `status`. Any. Copies the token to `token`, which has OAUTH_TOKEN_SIZE bytes, and returns 0; or returns -EBADMSG with the reason, which
 * repeats error and error_description of a refusal and nothing else of the answer. `text` is not changed: the caller overwrites it.
 */
int oauth_read_answer(struct oauth_answer *answer, char *token, int status, const char *text, size_t len);
