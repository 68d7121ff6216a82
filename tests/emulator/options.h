/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulator's command line: one table makes the parser and --help.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "persona.h"
#include "talk.h"

#define OPTIONS_REFERENCES_MAX 64u

/* Misbehaviour of a connection; zero = none. */
struct fault_rules {
	uint32_t close_after_ms;
	unsigned close_code;
	const char *close_reason;
	double random_1011; /* probability per second */
	bool text_frames, fragment, quota_close;
	uint32_t half_open_after_ms, tcp_reset_after_ms, pong_delay_ms, upgrade_delay_ms;
	uint32_t error_after_ms;
	unsigned error_code;
	const char *error_reason;
	uint32_t http_status, key_status;
	uint32_t token_status, token_delay_ms, token_life_s;
};

/* A value given while the emulator runs. */
struct options_text {
	struct options_text *next;
	char text[];
};

struct options {
	const char *listen, *cert, *key;
	const char *oauth_key; /* file */
	uint32_t port, stats_port;
	bool plain, with_stats_port, verbose;
	struct persona *personas; /* grows while parsing: use indexes until it is done */
	unsigned persona_count;
	struct talk_rules rules, clean; /* with the fault knobs, and without */
	struct fault_rules faults;
	uint32_t fault_every;	 /* faults hit each Nth connection of a key */
	const char *fault_label; /* only this key's, NULL = all */
	uint32_t lifetime_ms, go_away_ms;
	uint32_t answer_ms, seed;
	const char *record;
	struct {
		char label[PERSONA_LABEL_MAX];
		const char *path;
	} references[OPTIONS_REFERENCES_MAX];
	unsigned reference_count;
	struct options_text *texts;
};

/* Parse. Returns 0, 1 if --help was printed, or -EINVAL after one sentence on `errors`. The strings belong to argv. */
int options_parse(struct options *options, int argc, char **argv, FILE *output, FILE *errors);

/*
 * Change one setting of the sections "Timing" and "Faults": `name` without its dashes; a flag is on unless its value is "0". Returns 0
 * or -EINVAL after one sentence on `errors`. Takes effect at once, also for open connections.
 */
int options_change(struct options *options, const char *name, const char *value, FILE *errors);

/* All of these settings as in `initial`. */
void options_restore(struct options *options, const struct options *initial);

/* Free what parsing allocated. */
void options_free(struct options *options);
