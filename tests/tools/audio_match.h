/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose voice is this? Compares what somebody heard with the clean recordings of what others said, block by block, whatever
 * G.711, resampling, gain and delay did to it on the way. The verdict of the demo and of the smoke tests ("which key heard which
 * caller") comes from here, so it must never name a foreigner by accident: each block is matched by normalised cross-correlation
 * at every delay, and what the best match does not explain is searched again for a second voice. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AUDIO_MATCH_REFERENCES_MAX 128u

struct audio_match;

/* Where the milliseconds of one recording went. Only blocks with sound in them count; silence is counted apart. */
struct audio_match_result {
	uint32_t reference_ms
		[AUDIO_MATCH_REFERENCES_MAX]; /* by the order of audio_match_add(); a block with two voices counts for both */
	uint32_t unknown_ms;		      /* sound of no reference */
	uint32_t silent_ms;
	uint32_t mixed_ms; /* part of the above in which a second voice was under the first */
	uint32_t
		unexplained_ms; /* part of the above that the voice it is counted for does not explain: losses, repairs, short intrusions */
	float lowest_score;    /* of the accepted blocks, 1 = identical; 0 if there were none */
	float highest_unknown; /* best score among the refused blocks */
	uint32_t searches;     /* blocks that needed the search over all delays */
};

/* One block's decision, for audio_match_run()'s observer. */
struct audio_match_block {
	uint32_t start_ms, active_ms;
	int reference, second; /* index or -1 */
	float score, second_score;
	int32_t lag; /* samples at 8 kHz of the block's start inside the reference */
};

struct audio_match *audio_match_new(void);
void audio_match_free(struct audio_match *match);

/*
 * Add a reference: `count` mono samples at `rate` Hz (at least 8000), copied. Returns its index, or -ENOSPC, -EINVAL, -ENOMEM.
 * Memory: about 90 KB per second of speech.
 */
int audio_match_add(struct audio_match *match, const char *label, const int16_t *samples, size_t count, uint32_t rate);

/* Label of a reference by index; NULL beyond the last. */
const char *audio_match_label(const struct audio_match *match, unsigned index);

/*
 * Compare one recording with all references. `observe` (or NULL) is called for each block. Returns 0, -EINVAL or -ENOMEM. One
 * thread at a time per `match`. Cost: some 0.1 ms per second of sound while the delay stays, some 10 ms per second of reference
 * and block after each change of voice or delay.
 */
int audio_match_run(struct audio_match *match, const int16_t *samples, size_t count, uint32_t rate,
	struct audio_match_result *result, void (*observe)(void *user, const struct audio_match_block *block), void *user);
