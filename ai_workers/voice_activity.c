/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Energy voice detection with an echo guard, see voice_activity.h. Powers are mean squares of 16-bit samples: 1e9 is full scale.
 */
#include "voice_activity.h"

#include <string.h>

#define BLOCK		 160u /* samples judged at a time */
#define LANES		 8u
#define POWER_MIN	 2.0e4f	 /* -47 dBFS: no voice on a telephone is softer, and comfort noise is */
#define NOISE_FIRST	 2.5e3f	 /* -56 dBFS */
#define NOISE_MAX	 1.0e6f	 /* -30 dBFS; louder than that it is no background */
#define ABOVE_NOISE	 10.0f	 /* 10 dB */
#define NOISE_FALL	 0.3f	 /* of the way in a block: the holes between words show the line */
#define NOISE_RISE	 1.0093f /* 2 dB a second */
#define NOISE_RISE_FIRST 1.1f	 /* 20 dB a second: of a line that has just been opened nothing is known */
#define FIRST_MS	 1000u
#define ECHO_LOUD	 2.0e4f	 /* a model softer than this says nothing about the coupling */
#define COUPLING_FIRST	 0.01f	 /* -20 dB, a handset's */
#define COUPLING_MIN	 1.0e-5f /* -50 dB */
#define COUPLING_MAX	 4.0f	 /* 6 dB: beyond it the guard lets nothing pass while the model speaks */
#define COUPLING_RISE	 0.1f	 /* of the way in a block: it settles near the loudest that comes back */
#define COUPLING_FALL	 0.005f
#define ABOVE_ECHO	 4.0f /* 6 dB */
#define HOLE_TAKES_BACK	 2u   /* a hole takes half its length of voice back before speech has begun */

void voice_activity_init(struct voice_activity *v)
{
	*v = (struct voice_activity){.noise = NOISE_FIRST, .coupling = COUPLING_FIRST};
}

/* Without the DC that cheap gateways add. The sums are of LANES samples at a time, so that the compiler makes vectors of them. */
static float power_of(const int16_t *pcm, size_t samples)
{
	float sums[LANES] = {0}, squares[LANES] = {0}, sum = 0, square = 0;
	size_t i = 0;

	for (; i + LANES <= samples; i += LANES)
		for (size_t lane = 0; lane < LANES; lane++) {
			float s = pcm[i + lane];

			sums[lane] += s;
			squares[lane] += s * s;
		}
	for (; i < samples; i++) {
		sums[0] += pcm[i];
		squares[0] += (float)pcm[i] * pcm[i];
	}
	for (size_t lane = 0; lane < LANES; lane++) {
		sum += sums[lane];
		square += squares[lane];
	}
	sum /= (float)samples;
	return square / (float)samples - sum * sum;
}

#define SLOTS (sizeof(((struct voice_activity *)0)->played) / sizeof(((struct voice_activity *)0)->played[0]))

static uint32_t slot_at(uint64_t ms)
{
	return (uint32_t)(ms / VOICE_ECHO_SLOT);
}

/* The loudest that can be coming back now. */
static float model_power(const struct voice_activity *v, uint64_t now_ms)
{
	uint32_t first = slot_at(now_ms > VOICE_ECHO_MS ? now_ms - VOICE_ECHO_MS : 0), last = slot_at(now_ms);
	float power = 0;

	if (v->newest < first)
		return 0;
	for (uint32_t slot = first; slot <= last; slot++)
		if (v->played[slot % SLOTS].slot == slot && v->played[slot % SLOTS].power > power)
			power = v->played[slot % SLOTS].power;
	return power;
}

static void follow_noise(struct voice_activity *v, float power)
{
	if (power < v->noise)
		v->noise += (power - v->noise) * NOISE_FALL;
	else if (v->noise < NOISE_MAX)
		v->noise *= v->known_ms < FIRST_MS ? NOISE_RISE_FIRST : NOISE_RISE;
	/* Digital silence: the rise must have something to multiply. */
	if (v->noise < 1)
		v->noise = 1;
}

static void learn_coupling(struct voice_activity *v, float ratio)
{
	v->coupling += (ratio - v->coupling) * (ratio > v->coupling ? COUPLING_RISE : COUPLING_FALL);
	if (v->coupling < COUPLING_MIN)
		v->coupling = COUPLING_MIN;
}

static bool is_voice(struct voice_activity *v, float power, uint64_t now_ms)
{
	float model = model_power(v, now_ms), ratio = model > ECHO_LOUD ? power / model : 0;
	bool loud = power > POWER_MIN && power > v->noise * ABOVE_NOISE, echo = ratio > 0 && ratio <= v->coupling * ABOVE_ECHO;

	if (echo)
		learn_coupling(v, ratio);
	follow_noise(v, power);
	if (!loud || echo)
		return false;
	if (ratio > v->returned)
		v->returned = ratio;
	return true;
}

static enum voice_event end(struct voice_activity *v)
{
	v->speaks = false;
	return VOICE_ENDED;
}

static enum voice_event judge(struct voice_activity *v, bool voice, uint32_t ms, uint64_t now_ms)
{
	if (voice) {
		/* The voice of a stretch that is over is kept until here, for whoever asks at its end. */
		if (!v->speaks && v->quiet_ms >= VOICE_END_MS)
			v->voiced_ms = 0;
		v->voiced_ms += ms;
		v->quiet_ms = 0;
		if (v->speaks || v->voiced_ms >= VOICE_START_MS)
			v->spoke_ms = now_ms;
		if (v->speaks || v->voiced_ms < VOICE_START_MS)
			return VOICE_NOTHING;
		v->speaks = true;
		v->began_ms = now_ms - v->voiced_ms;
		return VOICE_STARTED;
	}
	v->quiet_ms += ms;
	if (v->speaks)
		return v->quiet_ms >= VOICE_END_MS ? end(v) : VOICE_NOTHING;
	if (v->quiet_ms < VOICE_END_MS) {
		v->voiced_ms -= v->voiced_ms < ms / HOLE_TAKES_BACK ? v->voiced_ms : ms / HOLE_TAKES_BACK;
		if (v->voiced_ms == 0)
			v->returned = 0;
	}
	return VOICE_NOTHING;
}

enum voice_event voice_activity_heard(struct voice_activity *v, const int16_t *pcm, size_t samples, uint64_t now_ms)
{
	enum voice_event event = VOICE_NOTHING, happened;

	v->heard_ms = now_ms;
	while (samples >= VOICE_RATE_MS) {
		size_t n = samples < BLOCK ? samples : BLOCK;

		if (v->known_ms < FIRST_MS)
			v->known_ms += (uint32_t)(n / VOICE_RATE_MS);
		happened = judge(v, is_voice(v, power_of(pcm, n), now_ms), (uint32_t)(n / VOICE_RATE_MS), now_ms);
		if (happened != VOICE_NOTHING)
			event = happened;
		pcm += n;
		samples -= n;
	}
	return event;
}

enum voice_event voice_activity_tick(struct voice_activity *v, uint64_t now_ms)
{
	return v->speaks && now_ms - v->heard_ms >= VOICE_END_MS ? end(v) : VOICE_NOTHING;
}

void voice_activity_played(struct voice_activity *v, const int16_t *pcm, size_t samples, uint64_t play_ms)
{
	uint32_t slot = slot_at(play_ms);
	float power = samples > 0 ? power_of(pcm, samples) : 0;

	if (v->played[slot % SLOTS].slot == slot && v->played[slot % SLOTS].power > power)
		return;
	v->played[slot % SLOTS].slot = slot;
	v->played[slot % SLOTS].power = power;
	if (v->newest < slot)
		v->newest = slot;
}

void voice_activity_flushed(struct voice_activity *v, uint64_t now_ms)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (v->played[i].slot > slot_at(now_ms))
			v->played[i].power = 0;
}

void voice_activity_false_alarm(struct voice_activity *v)
{
	if (v->returned > v->coupling)
		v->coupling = v->returned < COUPLING_MAX ? v->returned : COUPLING_MAX;
	v->returned = 0;
}
