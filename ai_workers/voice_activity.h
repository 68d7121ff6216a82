/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the caller speaks, judged by the worker itself: one call's energy detector on the caller's decoded audio, with a noise
 * floor that follows the line and a guard against the model's own voice coming back from the caller's phone. Pure: samples and a
 * clock in, starts and ends of speech out.
 *
 * The service's own detection decides about turns. This one is for what the service does not say: when the caller really stopped,
 * whether an interruption had a caller behind it, and, when the user wishes it, stopping the model's voice before the service says so.
 *
 * The guard knows how loud the model has been played in the last VOICE_ECHO_MS and how much of it comes back (`coupling`), which
 * it learns: quickly from an alarm that proved false, slowly from everything it kept back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VOICE_RATE_MS	8u   /* samples in a millisecond */
#define VOICE_START_MS	100u /* of voice, with short holes: speech has begun */
#define VOICE_END_MS	400u /* without voice: it is over; pauses between words are shorter */
#define VOICE_ECHO_MS	600u /* from our playout queue through network and phone and back */
#define VOICE_ECHO_SLOT 20u  /* ms */

enum voice_event { VOICE_NOTHING, VOICE_STARTED, VOICE_ENDED };

struct voice_activity {
	float noise;	/* power of the background (mean square of 16-bit samples) */
	float coupling; /* power that comes back of the model's voice */
	float returned; /* highest ratio of the caller's power to the model's in this stretch of speech */
	bool speaks;
	uint32_t voiced_ms; /* of this stretch; while it does not speak, with what holes took back */
	uint32_t quiet_ms;  /* since voice was heard */
	uint32_t known_ms;  /* audio judged so far, its first second */
	uint64_t heard_ms;  /* newest audio */
	uint64_t began_ms;  /* beginning of the newest speech */
	uint64_t spoke_ms;  /* end of the newest voice that belongs to speech, 0: never */
	uint32_t newest;    /* of what is played */
	struct {
		uint32_t slot; /* VOICE_ECHO_SLOTs since the clock's start */
		float power;
	} played[64]; /* what the caller hears, by its time */
};

/* Prepare for one call. Worker loop. */
void voice_activity_init(struct voice_activity *voice);

/*
 * Caller's audio, 8 kHz, as it arrives; order and loss do not matter. Worker loop. Returns what it shows; with VOICE_ENDED
 * `voiced_ms` is still that of the speech that is over.
 */
enum voice_event voice_activity_heard(struct voice_activity *voice, const int16_t *pcm, size_t samples, uint64_t now_ms);

/* Let time pass without audio: a stream that stops ends speech as well. Worker loop, every few ms. */
enum voice_event voice_activity_tick(struct voice_activity *voice, uint64_t now_ms);

/* The model's audio that the caller will be sent at `play_ms`, 8 kHz, at most VOICE_ECHO_SLOT. Worker loop. */
void voice_activity_played(struct voice_activity *voice, const int16_t *pcm, size_t samples, uint64_t play_ms);

/* What was to be played from `now_ms` on is not. Worker loop. */
void voice_activity_flushed(struct voice_activity *voice, uint64_t now_ms);

/* The speech that began last was none: the model heard itself. Worker loop. */
void voice_activity_false_alarm(struct voice_activity *voice);
