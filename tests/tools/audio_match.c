/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block-wise matching of recordings against references (see audio_match.h).
 *
 * Everything is brought to 8 kHz and to the band of 250 to 2,000 Hz, where G.711 and the resamplers leave the phase alone and
 * where a delay of a fraction of a sample costs little correlation. The loudest correlation over all delays names the candidate;
 * coherence over the band decides, because half a second of one vowel correlates with another vowel of that pitch up to 0.75.
 */
#include "audio_match.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <speex/speex_resampler.h>

#include "fft.h"

#define RATE		  8000u
#define BLOCK		  8000u /* samples: 1 s; with half of it the coherence of foreign speech reaches 0.72 */
#define FRAME		  80u	/* samples: 10 ms, for activity */
#define FRAMES		  (BLOCK / FRAME)
#define FFT_SIZE	  32768u
#define LAGS		  (FFT_SIZE - BLOCK + 1) /* delays that one transform gives */
#define FILTER_TAPS	  129u
#define LOW_HZ		  250.0
#define HIGH_HZ		  2000.0
#define ACTIVE_RMS	  40.0	/* in-band: about -58 dBFS */
#define THIN_FRAMES	  12u	/* a block with less sound than this is judged by known delays only */
#define CANDIDATE	  0.40f /* correlation from which coherence is asked */
#define ACCEPT		  0.50f /* coherence: between different utterances at most 0.35 was seen, between the same ones 0.86 and more */
#define SHORT_SIZE	  256u /* samples: 32 ms */
#define SHORT_HOP	  128u
#define SHORT_COUNT	  ((BLOCK - SHORT_SIZE) / SHORT_HOP + 1)
#define NEAR		  12 /* samples around a known delay: clocks drift, packets come early or late */
#define KNOWN_MAX	  8u
#define KNOWN_ENOUGH	  0.8f /* correlation that ends the trying */
#define EXPLAIN_TAPS	  24u
#define UNEXPLAINED	  0.03 /* share of a block's energy that may stay unexplained without a search for a second voice */
#define UNEXPLAINED_FRAME 0.25 /* a frame with more than this of the mean energy left is reported as unexplained */
#define RESAMPLE_QUALITY  7

struct reference {
	char label[64];
	float *samples; /* filtered, with BLOCK zeros before and after */
	size_t count;
	double *energy;		 /* prefix sums of squares, count + 1 of them */
	struct fft_bin *spectra; /* of pairs of pieces, one piece as real part and the next as imaginary part */
	size_t pairs;
};

struct known {
	int reference;
	int32_t offset; /* position in the reference minus position in the recording */
};

struct audio_match {
	struct fft *fft, *short_fft;
	float window[SHORT_SIZE];
	struct reference references[AUDIO_MATCH_REFERENCES_MAX];
	unsigned count;
	float filter[FILTER_TAPS];
	struct known known[KNOWN_MAX]; /* newest first */
	unsigned known_count;
	struct fft_bin block_spectrum[FFT_SIZE], work[FFT_SIZE];
};

/* One candidate: where, and how well. */
struct hit {
	int reference;
	size_t at;   /* start of the block in the reference's padded samples */
	float score; /* correlation while searching, coherence once judged */
};

/* -- preparation ------------------------------------------------------------------------------ */

/* Band-pass by windowed sinc (Hamming). */
static void make_filter(float *filter)
{
	for (unsigned i = 0; i < FILTER_TAPS; i++) {
		double t = (double)i - (FILTER_TAPS - 1) / 2.0, high = 2 * HIGH_HZ / RATE, low = 2 * LOW_HZ / RATE;
		double ideal = t == 0 ? high - low : (sin(M_PI * high * t) - sin(M_PI * low * t)) / (M_PI * t);
		filter[i] = (float)(ideal * (0.54 - 0.46 * cos(2 * M_PI * i / (FILTER_TAPS - 1))));
	}
}

struct audio_match *audio_match_new(void)
{
	struct audio_match *match = calloc(1, sizeof(*match));

	if (match == NULL)
		return NULL;
	match->fft = fft_new(FFT_SIZE);
	match->short_fft = fft_new(SHORT_SIZE);
	if (match->fft == NULL || match->short_fft == NULL) {
		audio_match_free(match);
		return NULL;
	}
	for (unsigned i = 0; i < SHORT_SIZE; i++)
		match->window[i] = (float)(0.5 - 0.5 * cos(2 * M_PI * i / SHORT_SIZE));
	make_filter(match->filter);
	return match;
}

void audio_match_free(struct audio_match *match)
{
	if (match == NULL)
		return;
	for (unsigned i = 0; i < match->count; i++) {
		free(match->references[i].samples);
		free(match->references[i].energy);
		free(match->references[i].spectra);
	}
	fft_free(match->fft);
	fft_free(match->short_fft);
	free(match);
}

const char *audio_match_label(const struct audio_match *match, unsigned index)
{
	return index < match->count ? match->references[index].label : NULL;
}

/* To 8 kHz floats. Returns the count, 0 when memory is out. */
static size_t resample(const int16_t *samples, size_t count, uint32_t rate, float **out)
{
	size_t room = (size_t)((double)count * RATE / rate) + 64, made = 0;
	int16_t piece[1024];
	float *to = malloc(room * sizeof(*to));
	int error;
	SpeexResamplerState *state = speex_resampler_init(1, rate, RATE, RESAMPLE_QUALITY, &error);

	if (to == NULL || state == NULL) {
		free(to);
		if (state != NULL)
			speex_resampler_destroy(state);
		return 0;
	}
	speex_resampler_skip_zeros(state);
	for (size_t at = 0; at < count;) {
		spx_uint32_t in = count - at > 1024 ? 1024 : (spx_uint32_t)(count - at), got = sizeof(piece) / sizeof(piece[0]);
		speex_resampler_process_int(state, 0, samples + at, &in, piece, &got);
		if (in == 0 && got == 0)
			break;
		at += in;
		for (spx_uint32_t i = 0; i < got && made < room; i++)
			to[made++] = piece[i];
	}
	speex_resampler_destroy(state);
	*out = to;
	return made;
}

/* Resample and filter, with `pad` zeros before and after. Returns the samples (free them) and their count with the padding. */
static float *prepare(
	const struct audio_match *match, const int16_t *samples, size_t count, uint32_t rate, size_t pad, size_t *total)
{
	float *plain = NULL;
	size_t made = resample(samples, count, rate, &plain);
	float *out = plain ? calloc(made + 2 * pad + 1, sizeof(*out)) : NULL;
	const size_t middle = FILTER_TAPS / 2;

	if (out == NULL) {
		free(plain);
		return NULL;
	}
	for (size_t i = 0; i < made; i++) {
		float sum = 0;
		size_t first = i < middle ? middle - i : 0, last = i + middle >= made ? made - i + middle : FILTER_TAPS;
		for (size_t k = first; k < last; k++)
			sum += match->filter[k] * plain[i + k - middle];
		out[pad + i] = sum;
	}
	free(plain);
	*total = made + 2 * pad;
	return out;
}

static int transform_reference(struct audio_match *match, struct reference *reference)
{
	size_t pieces = (reference->count + LAGS - 1) / LAGS;

	reference->pairs = (pieces + 1) / 2;
	reference->energy = malloc((reference->count + 1) * sizeof(*reference->energy));
	reference->spectra = calloc(reference->pairs * FFT_SIZE, sizeof(*reference->spectra));
	if (reference->energy == NULL || reference->spectra == NULL)
		return -ENOMEM;
	reference->energy[0] = 0;
	for (size_t i = 0; i < reference->count; i++)
		reference->energy[i + 1] = reference->energy[i] + (double)reference->samples[i] * reference->samples[i];
	for (size_t pair = 0; pair < reference->pairs; pair++) {
		struct fft_bin *bins = reference->spectra + pair * FFT_SIZE;
		size_t first = 2 * pair * LAGS, second = first + LAGS;
		for (size_t i = 0; i < FFT_SIZE; i++) {
			bins[i].re = first + i < reference->count ? reference->samples[first + i] : 0;
			bins[i].im = second + i < reference->count ? reference->samples[second + i] : 0;
		}
		fft_forward(match->fft, bins);
	}
	return 0;
}

int audio_match_add(struct audio_match *match, const char *label, const int16_t *samples, size_t count, uint32_t rate)
{
	struct reference *reference = &match->references[match->count];

	if (match->count == AUDIO_MATCH_REFERENCES_MAX)
		return -ENOSPC;
	if (rate < RATE || count == 0 || strlen(label) >= sizeof(reference->label))
		return -EINVAL;
	memset(reference, 0, sizeof(*reference));
	strcpy(reference->label, label);
	reference->samples = prepare(match, samples, count, rate, BLOCK, &reference->count);
	if (reference->samples == NULL || transform_reference(match, reference) != 0) {
		free(reference->samples);
		free(reference->energy);
		free(reference->spectra);
		return -ENOMEM;
	}
	return (int)match->count++;
}

/* -- scores ----------------------------------------------------------------------------------- */

static double dot(const float *a, const float *b, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i += 8) {
		float part = 0;
		for (size_t k = i; k < i + 8; k++)
			part += a[k] * b[k];
		sum += part;
	}
	return sum;
}

/* Energy of the reference's window; quiet windows count as louder than they are, so that hiss does not match hiss. */
static double window_energy(const struct reference *reference, size_t at)
{
	const double floor = ACTIVE_RMS * ACTIVE_RMS * FRAME * THIN_FRAMES;
	double energy = reference->energy[at + BLOCK] - reference->energy[at];

	return energy > floor ? energy : floor;
}

static float score_at(const struct reference *reference, size_t at, const float *block, double energy)
{
	return (float)(dot(reference->samples + at, block, BLOCK) / sqrt(energy * window_energy(reference, at)));
}

/*
 * How alike the block and the reference's window are at every frequency: the magnitude of the mean cross spectrum over 30 short
 * spectra, relative to both sides' own, averaged over the band with the loud frequencies held down. One loud harmonic that
 * happens to coincide makes a high correlation; it cannot make a high coherence, while a filter or a delay of less than a sample
 * on the way leaves it at 1.
 */
static float coherence(const struct audio_match *match, const struct hit *hit, const float *block)
{
	const unsigned first = (unsigned)(LOW_HZ * SHORT_SIZE / RATE), last = (unsigned)(HIGH_HZ * SHORT_SIZE / RATE);
	const float *reference = match->references[hit->reference].samples + hit->at;
	struct fft_bin bins[SHORT_SIZE];
	float re[SHORT_SIZE / 2] = {0}, im[SHORT_SIZE / 2] = {0}, xx[SHORT_SIZE / 2] = {0}, yy[SHORT_SIZE / 2] = {0};

	for (unsigned t = 0; t < SHORT_COUNT; t++) {
		for (unsigned i = 0; i < SHORT_SIZE; i++) {
			bins[i].re = match->window[i] * block[t * SHORT_HOP + i];
			bins[i].im = match->window[i] * reference[t * SHORT_HOP + i];
		}
		fft_forward(match->short_fft, bins);
		for (unsigned f = first; f <= last; f++) {
			/* Take the two real signals' spectra apart. */
			struct fft_bin p = bins[f], q = bins[SHORT_SIZE - f];
			float xr = p.re + q.re, xi = p.im - q.im, yr = p.im + q.im, yi = q.re - p.re;
			re[f] += xr * yr + xi * yi;
			im[f] += xi * yr - xr * yi;
			xx[f] += xr * xr + xi * xi;
			yy[f] += yr * yr + yi * yi;
		}
	}
	double sum = 0, weights = 0;
	for (unsigned f = first; f <= last; f++) {
		double both = sqrt((double)xx[f] * yy[f]);
		double weight = sqrt(sqrt(both)); /* root of the amplitude */
		if (both <= 0)
			continue;
		sum += weight * sqrt((double)re[f] * re[f] + (double)im[f] * im[f]) / both;
		weights += weight;
	}
	return weights > 0 ? (float)(sum / weights) : 0;
}

/* The best delay of one reference by transforms: one inverse transform gives two pieces' correlations. */
static void search_reference(struct audio_match *match, int index, double energy, struct hit *best)
{
	const struct reference *reference = &match->references[index];

	for (size_t pair = 0; pair < reference->pairs; pair++) {
		const struct fft_bin *bins = reference->spectra + pair * FFT_SIZE;
		for (size_t i = 0; i < FFT_SIZE; i++) {
			const struct fft_bin b = match->block_spectrum[i], r = bins[i];
			match->work[i].re = r.re * b.re + r.im * b.im;
			match->work[i].im = r.im * b.re - r.re * b.im;
		}
		fft_inverse(match->fft, match->work);
		for (unsigned half = 0; half < 2; half++) {
			size_t base = (2 * pair + half) * LAGS;
			for (size_t i = 0; i < LAGS && base + i + BLOCK <= reference->count; i++) {
				float value = half ? match->work[i].im : match->work[i].re;
				if (value <= 0 || (double)value * value <= (double)best->score * best->score * energy *
										   window_energy(reference, base + i))
					continue;
				*best = (struct hit){
					index, base + i, (float)(value / sqrt(energy * window_energy(reference, base + i)))};
			}
		}
	}
}

/* Search every delay of every reference but `except`. */
static struct hit search(struct audio_match *match, const float *block, double energy, int except)
{
	struct hit best = {-1, 0, 0};

	for (size_t i = 0; i < FFT_SIZE; i++)
		match->block_spectrum[i] = (struct fft_bin){i < BLOCK ? block[i] : 0, 0};
	fft_forward(match->fft, match->block_spectrum);
	for (unsigned i = 0; i < match->count; i++) {
		if ((int)i != except)
			search_reference(match, (int)i, energy, &best);
	}
	return best;
}

/* Try the delays that fitted before. */
static struct hit try_known(const struct audio_match *match, const float *block, double energy, size_t position, int except)
{
	struct hit best = {-1, 0, 0};

	for (unsigned i = 0; i < match->known_count; i++) {
		const struct known *known = &match->known[i];
		const struct reference *reference = &match->references[known->reference];
		if (known->reference == except)
			continue;
		for (int near = -NEAR; near <= NEAR; near++) {
			int64_t at = (int64_t)position + known->offset + near;
			if (at < 0 || (uint64_t)at + BLOCK > reference->count)
				continue;
			float score = score_at(reference, (size_t)at, block, energy);
			if (score > best.score)
				best = (struct hit){known->reference, (size_t)at, score};
		}
		if (best.score >= KNOWN_ENOUGH)
			break;
	}
	return best;
}

static void remember(struct audio_match *match, const struct hit *hit, size_t position)
{
	struct known fresh = {hit->reference, (int32_t)((int64_t)hit->at - (int64_t)position)};
	unsigned i = 0;

	while (i < match->known_count &&
		!(match->known[i].reference == fresh.reference && abs(match->known[i].offset - fresh.offset) <= NEAR))
		i++;
	if (i == match->known_count && match->known_count < KNOWN_MAX)
		match->known_count++;
	if (i == KNOWN_MAX)
		i--;
	memmove(match->known + 1, match->known, i * sizeof(match->known[0]));
	match->known[0] = fresh;
}

/* -- the second voice ------------------------------------------------------------------------- */

/* Solve the symmetric positive system in place (Cholesky). Returns false if it is singular. */
static bool solve(double matrix[EXPLAIN_TAPS][EXPLAIN_TAPS], double vector[EXPLAIN_TAPS])
{
	for (unsigned i = 0; i < EXPLAIN_TAPS; i++) {
		for (unsigned j = 0; j <= i; j++) {
			double sum = matrix[i][j];
			for (unsigned k = 0; k < j; k++)
				sum -= matrix[i][k] * matrix[j][k];
			if (i == j && sum <= 0)
				return false;
			matrix[i][j] = i == j ? sqrt(sum) : sum / matrix[j][j];
		}
	}
	for (unsigned i = 0; i < EXPLAIN_TAPS; i++) {
		for (unsigned k = 0; k < i; k++)
			vector[i] -= matrix[i][k] * vector[k];
		vector[i] /= matrix[i][i];
	}
	for (unsigned i = EXPLAIN_TAPS; i-- > 0;) {
		for (unsigned k = i + 1; k < EXPLAIN_TAPS; k++)
			vector[i] -= matrix[k][i] * vector[k];
		vector[i] /= matrix[i][i];
	}
	return true;
}

/*
 * Take away from the block what a short filter can make of the matched reference (delays between samples, the resamplers'
 * response). Returns the energy of the rest, or 0 if the reference's window does not allow it.
 */
static double explain(const struct reference *reference, size_t at, const float *block, float *rest)
{
	double matrix[EXPLAIN_TAPS][EXPLAIN_TAPS], vector[EXPLAIN_TAPS];
	const size_t half = EXPLAIN_TAPS / 2;

	if (at < half || at + BLOCK + half > reference->count)
		return 0;
	const float *from = reference->samples + at - half;
	double ridge = 1e-4 * window_energy(reference, at);
	for (unsigned i = 0; i < EXPLAIN_TAPS; i++) {
		for (unsigned j = 0; j <= i; j++)
			matrix[i][j] = dot(from + i, from + j, BLOCK) + (i == j ? ridge : 0);
		vector[i] = dot(from + i, block, BLOCK);
	}
	if (!solve(matrix, vector))
		return 0;
	double energy = 0;
	for (size_t n = 0; n < BLOCK; n++) {
		double made = 0;
		for (unsigned i = 0; i < EXPLAIN_TAPS; i++)
			made += vector[i] * from[n + i];
		rest[n] = (float)(block[n] - made);
		energy += (double)rest[n] * rest[n];
	}
	return energy;
}

/* -- a recording ------------------------------------------------------------------------------ */

/* Frames of 10 ms louder than the floor of activity and than `least`. */
static unsigned active_frames(const float *block, double least)
{
	const double floor = ACTIVE_RMS * ACTIVE_RMS * FRAME;
	unsigned active = 0;

	for (unsigned i = 0; i < FRAMES; i++)
		active += dot(block + i * FRAME, block + i * FRAME, FRAME) > (least > floor ? least : floor);
	return active;
}

/* Turn a candidate into a verdict. */
static bool accept_hit(const struct audio_match *match, struct hit *hit, const float *block)
{
	hit->score = hit->reference >= 0 && hit->score >= CANDIDATE ? coherence(match, hit, block) : 0;
	return hit->score >= ACCEPT;
}

/* Whose is this block? */
static struct hit identify(struct audio_match *match, const float *block, double energy, size_t position, unsigned active,
	int except, struct audio_match_result *result)
{
	struct hit hit = try_known(match, block, energy, position, except);

	if (accept_hit(match, &hit, block))
		return hit;
	if (active >= THIN_FRAMES) {
		result->searches++;
		hit = search(match, block, energy, except);
		if (accept_hit(match, &hit, block))
			return hit;
	}
	return (struct hit){-1, 0, hit.score};
}

static void judge_block(struct audio_match *match, const float *block, size_t position, struct audio_match_result *result,
	struct audio_match_block *verdict)
{
	float rest[BLOCK];
	unsigned active = active_frames(block, 0);
	double energy = dot(block, block, BLOCK);

	*verdict = (struct audio_match_block){
		.start_ms = (uint32_t)(position / (RATE / 1000)), .active_ms = active * 10, .reference = -1, .second = -1};
	result->silent_ms += (FRAMES - active) * 10;
	if (active == 0)
		return;
	struct hit hit = identify(match, block, energy, position, active, -1, result);
	verdict->score = hit.score;
	if (hit.reference < 0) {
		result->unknown_ms += active * 10;
		if (hit.score > result->highest_unknown)
			result->highest_unknown = hit.score;
		return;
	}
	remember(match, &hit, position);
	verdict->reference = hit.reference;
	verdict->lag = (int32_t)hit.at - (int32_t)BLOCK;
	result->reference_ms[hit.reference] += active * 10;
	if (result->lowest_score == 0 || hit.score < result->lowest_score)
		result->lowest_score = hit.score;
	double left = explain(&match->references[hit.reference], hit.at, block, rest);
	unsigned left_active = left > UNEXPLAINED * energy ? active_frames(rest, 0) : 0;
	if (left_active >= THIN_FRAMES) {
		struct hit second = identify(match, rest, left, position, left_active, hit.reference, result);
		verdict->second_score = second.score;
		verdict->second = second.reference;
	}
	if (verdict->second >= 0) {
		result->reference_ms[verdict->second] += left_active * 10;
		result->mixed_ms += left_active * 10;
	} else if (left > 0) {
		result->unexplained_ms += active_frames(rest, UNEXPLAINED_FRAME * energy / active) * 10;
	}
}

int audio_match_run(struct audio_match *match, const int16_t *samples, size_t count, uint32_t rate,
	struct audio_match_result *result, void (*observe)(void *user, const struct audio_match_block *block), void *user)
{
	size_t total = 0;

	memset(result, 0, sizeof(*result));
	if (rate < RATE)
		return -EINVAL;
	if (count == 0)
		return 0;
	float *heard = prepare(match, samples, count, rate, BLOCK, &total);
	if (heard == NULL)
		return -ENOMEM;
	match->known_count = 0;
	for (size_t at = BLOCK; at + BLOCK < total; at += BLOCK) {
		struct audio_match_block verdict;
		judge_block(match, heard + at, at - BLOCK, result, &verdict);
		if (observe != NULL)
			observe(user, &verdict);
	}
	free(heard);
	return 0;
}
