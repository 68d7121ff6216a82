/* SPDX-License-Identifier: Apache-2.0 */
/* See oauth_token.h. */
#include "oauth_token.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "../shared/json.h"

#define LIFE_MIN_S 1u
#define LIFE_MAX_S 86400u
#define LIFE_S	   3600u /* when the answer does not say: the longest Google gives a service account */

static uint32_t next_random(struct oauth_schedule *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 17;
	s->random ^= s->random << 5;
	return s->random;
}

void oauth_schedule_init(struct oauth_schedule *s, uint32_t seed, uint64_t now_ms)
{
	*s = (struct oauth_schedule){.next_ms = now_ms, .random = seed != 0 ? seed : 1};
}

bool oauth_schedule_due(const struct oauth_schedule *s, uint64_t now_ms)
{
	return now_ms >= s->next_ms;
}

void oauth_schedule_asked(struct oauth_schedule *s)
{
	s->next_ms = OAUTH_NEVER;
}

void oauth_schedule_got(struct oauth_schedule *s, uint32_t life_s, uint64_t now_ms)
{
	uint64_t life_ms = (uint64_t)life_s * 1000u;

	s->failures = 0;
	s->issued_ms = now_ms;
	s->expires_ms = now_ms + life_ms - (life_ms / 10 < OAUTH_MARGIN_MS ? life_ms / 10 : OAUTH_MARGIN_MS);
	/* Not all workers at the same second. */
	s->next_ms = now_ms + life_ms * 3 / 4 + next_random(s) % (life_ms / 10);
}

void oauth_schedule_failed(struct oauth_schedule *s, uint64_t now_ms)
{
	uint32_t delay = OAUTH_RETRY_MS;

	for (uint32_t i = 0; i < s->failures && delay < OAUTH_RETRY_MAX_MS; i++)
		delay *= 2;
	if (delay > OAUTH_RETRY_MAX_MS)
		delay = OAUTH_RETRY_MAX_MS;
	s->failures++;
	s->next_ms = now_ms + delay / 2 + next_random(s) % delay;
}

void oauth_schedule_again(struct oauth_schedule *s, uint64_t now_ms)
{
	s->next_ms = now_ms;
}

bool oauth_schedule_rejected(struct oauth_schedule *s, uint64_t issued_ms, uint64_t now_ms)
{
	/* Somebody else noticed first. */
	if (issued_ms != s->issued_ms)
		return true;
	if (s->expires_ms == 0)
		return s->next_ms == OAUTH_NEVER;
	if (now_ms < s->issued_ms + OAUTH_REJECT_AGAIN_MS)
		return false;
	s->expires_ms = 0;
	if (s->next_ms != OAUTH_NEVER)
		s->next_ms = now_ms;
	return true;
}

bool oauth_schedule_usable(const struct oauth_schedule *s, uint64_t now_ms)
{
	return now_ms < s->expires_ms;
}

/* One line of printable ASCII. */
static void copy_printable(char *to, size_t size, const char *from)
{
	size_t len = 0;

	for (; *from != '\0' && len + 1 < size; from++)
		to[len++] = *from >= ' ' && *from < 0x7f ? *from : '?';
	to[len] = '\0';
}

static const char *text_of(const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

	return text != NULL ? text : "";
}

/* RFC 6749 section 5.2. */
static void say_refusal(struct oauth_answer *answer, int status, const cJSON *root)
{
	char error[48], description[96];

	copy_printable(error, sizeof(error), text_of(root, "error"));
	copy_printable(description, sizeof(description), text_of(root, "error_description"));
	if (error[0] == '\0')
		snprintf(answer->reason, sizeof(answer->reason), "HTTP status %d", status);
	else
		snprintf(answer->reason, sizeof(answer->reason), "%s%s%s (HTTP status %d)", error,
			description[0] != '\0' ? ": " : "", description, status);
}

/* It goes into a header as it is. */
static bool valid_token(const char *token)
{
	size_t len = 0;

	for (; token[len] != '\0'; len++)
		if (token[len] <= 0x20 || token[len] >= 0x7f)
			return false;
	return len > 0 && len < OAUTH_TOKEN_SIZE;
}

static int read_grant(struct oauth_answer *answer, char *token, const cJSON *root)
{
	const char *value = text_of(root, "access_token"), *type = text_of(root, "token_type");
	const cJSON *life = cJSON_GetObjectItemCaseSensitive(root, "expires_in");

	if (!valid_token(value)) {
		snprintf(answer->reason, sizeof(answer->reason), "an answer without a usable access_token");
		return -EBADMSG;
	}
	if (strcasecmp(type, "Bearer") != 0) {
		snprintf(answer->reason, sizeof(answer->reason), "an access_token that is no bearer token");
		return -EBADMSG;
	}
	answer->life_s = LIFE_S;
	if (cJSON_IsNumber(life))
		answer->life_s = !(life->valuedouble >= LIFE_MIN_S) ? LIFE_MIN_S
				 : life->valuedouble > LIFE_MAX_S   ? LIFE_MAX_S
								    : (uint32_t)life->valuedouble;
	strcpy(token, value);
	return 0;
}

int oauth_read_answer(struct oauth_answer *answer, char *token, int status, const char *text, size_t len)
{
	cJSON *root = vl_json_parse(text, len, OAUTH_ANSWER_MAX, NULL);
	int r = -EBADMSG;

	*answer = (struct oauth_answer){0};
	if (status == 200 && cJSON_IsObject(root))
		r = read_grant(answer, token, root);
	else if (status == 200)
		snprintf(answer->reason, sizeof(answer->reason), "an answer that is not JSON");
	else
		say_refusal(answer, status, root);
	vl_json_wipe(root);
	return r;
}
