/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tones, and the Goertzel filters that look for them through a Hann window (see tone_mark.h).
 */
#include "tone_mark.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define TONES_EACH   3u
#define GAP	     3u	  /* tones of one identity are so many places apart */
#define STRIDE	     167u /* prime to the number of identities: neighbours share nothing by system */
#define FIRST_HZ     400.0
#define STEP_HZ	     150.0
#define AMPLITUDE    3000.0
#define NOMINAL_RMS  3674.0 /* of three tones */
#define SILENT_RMS   150.0
#define EDGE_SHARE   0.8 /* of the nominal: a window that less than two thirds of a frame lies in cannot be told apart */
#define OTHER_SHARE  0.4 /* in energy: a tone of somebody else is as loud as one's own */
#define OWN_SHARE    0.1
#define MIXED_SHARE  1.1 /* of the nominal: louder than one alone */
#define BREAK	     ((int)TONE_MARK_NOBODY + 1)
#define WINDOW_MAX   960u /* 20 ms at 48 kHz */
#define WINDOWS_EACH 50u  /* a second, without overlap */

static void tones_of(unsigned int identity, unsigned int tones[TONES_EACH])
{
	unsigned int left = identity * STRIDE % TONE_MARK_IDENTITIES;

	for (tones[0] = 0;; tones[0]++) {
		for (tones[1] = tones[0] + GAP; tones[1] + GAP < TONE_MARK_TONES; tones[1]++) {
			for (tones[2] = tones[1] + GAP; tones[2] < TONE_MARK_TONES; tones[2]++) {
				if (left-- == 0)
					return;
			}
		}
	}
}

void tone_mark_write(unsigned int identity, unsigned int rate, size_t at, int16_t *samples, size_t count)
{
	unsigned int tones[TONES_EACH];

	tones_of(identity, tones);
	for (size_t i = 0; i < count; i++) {
		double sum = 0;

		for (unsigned int k = 0; k < TONES_EACH; k++)
			sum += sin(2 * M_PI * (FIRST_HZ + STEP_HZ * tones[k]) * (double)(at + i) / rate + k);
		samples[i] = (int16_t)lrint(AMPLITUDE * sum);
	}
}

/* Energy of each tone in a window (G. Goertzel, 1958). */
static void measure(unsigned int rate, const double *window, size_t count, double energy[TONE_MARK_TONES])
{
	for (unsigned int tone = 0; tone < TONE_MARK_TONES; tone++) {
		double turn = 2 * cos(2 * M_PI * (FIRST_HZ + STEP_HZ * tone) / rate), one = 0, two = 0;

		for (size_t i = 0; i < count; i++) {
			double next = window[i] + turn * one - two;

			two = one;
			one = next;
		}
		energy[tone] = one * one + two * two - turn * one * two;
	}
}

static bool has(const unsigned int tones[TONES_EACH], unsigned int tone)
{
	return tones[0] == tone || tones[1] == tone || tones[2] == tone;
}

/* The identity whose three tones are the loudest three, and nobody's otherwise. */
static unsigned int whose(const double energy[TONE_MARK_TONES])
{
	for (unsigned int identity = 0; identity < TONE_MARK_IDENTITIES; identity++) {
		unsigned int tones[TONES_EACH];
		double own = INFINITY, other = 0;

		tones_of(identity, tones);
		for (unsigned int tone = 0; tone < TONE_MARK_TONES; tone++) {
			if (has(tones, tone))
				own = fmin(own, energy[tone]);
			else
				other = fmax(other, energy[tone]);
		}
		if (own > other)
			return other < OTHER_SHARE * own ? identity : TONE_MARK_NOBODY;
	}
	return TONE_MARK_NOBODY;
}

/* Returns whose sound is in the window if it is foreign, BREAK if it may also be a break in own sound, -1 otherwise. */
static int judge_window(const unsigned int tones[TONES_EACH], unsigned int rate, double rms, const double *window, size_t count,
	struct tone_mark_result *result)
{
	double energy[TONE_MARK_TONES], loudest = 0, faintest = INFINITY, other = 0;

	if (rms < EDGE_SHARE * NOMINAL_RMS) {
		result->edge++;
		return -1;
	}
	measure(rate, window, count, energy);
	for (unsigned int tone = 0; tone < TONE_MARK_TONES; tone++) {
		if (has(tones, tone)) {
			loudest = fmax(loudest, energy[tone]);
			faintest = fmin(faintest, energy[tone]);
		} else {
			other = fmax(other, energy[tone]);
		}
	}
	if (other >= OTHER_SHARE * faintest && other >= OWN_SHARE * loudest) {
		unsigned int who = whose(energy);

		return who == TONE_MARK_NOBODY && rms < MIXED_SHARE * NOMINAL_RMS ? BREAK : (int)who;
	}
	if (faintest >= OWN_SHARE * loudest)
		result->own++;
	else
		result->edge++;
	return -1;
}

/*
 * Counts the window before the newest. Own sound that goes on from another place, because something was left out, is nobody's in the one window that has
 * the break in its middle, and no louder there. A frame of somebody else is foreign in two windows, or somebody's in one, or mixed and so louder.
 */
static void count_foreign(const int foreign[3], struct tone_mark_result *result)
{
	if (foreign[1] < 0)
		return;
	if (foreign[1] == BREAK && foreign[0] < 0 && foreign[2] < 0) {
		result->edge++;
		return;
	}
	result->foreign++;
	result->heard[foreign[1] == BREAK ? (int)TONE_MARK_NOBODY : foreign[1]]++;
}

static void move(int foreign[3])
{
	foreign[2] = foreign[1];
	foreign[1] = foreign[0];
	foreign[0] = -1;
}

void tone_mark_judge(
	unsigned int identity, unsigned int rate, const int16_t *samples, size_t count, struct tone_mark_result *result)
{
	size_t size = rate / WINDOWS_EACH;
	unsigned int tones[TONES_EACH];
	double shape[WINDOW_MAX], window[WINDOW_MAX];
	int foreign[3] = {-1, -1, -1}; /* the last windows, the newest first */

	memset(result, 0, sizeof(*result));
	tones_of(identity, tones);
	for (size_t i = 0; i < size; i++)
		shape[i] = 0.5 - 0.5 * cos(2 * M_PI * ((double)i + 0.5) / (double)size);
	for (size_t at = 0; size <= WINDOW_MAX && at + size <= count; at += size / 2) {
		double square = 0;

		for (size_t i = 0; i < size; i++) {
			square += (double)samples[at + i] * samples[at + i];
			window[i] = samples[at + i] * shape[i];
		}
		square = sqrt(square / (double)size);
		move(foreign);
		if (square < SILENT_RMS)
			result->silent++;
		else
			foreign[0] = judge_window(tones, rate, square, window, size, result);
		count_foreign(foreign, result);
	}
	move(foreign);
	count_foreign(foreign, result);
}
