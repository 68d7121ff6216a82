/* SPDX-License-Identifier: Apache-2.0 */
/* The model's audio: pieces of any size, pace, barge-in, ends of turns, bounds. */
#include "unit.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "ai_workers/downlink.h"
#include "shared/base64.h"

#define MS_BYTES 48u /* of 24 kHz PCM */

static struct downlink downlink;
static struct vl_worker_stats stats;
static uint64_t now;
static char base64[1u << 21];

static void begin(void)
{
	ck_assert_int_eq(downlink_init(&downlink, VL_G711_PCMU), 0);
	memset(&stats, 0, sizeof(stats));
	now = 5000;
}

static void end(void)
{
	downlink_free(&downlink);
}

static int feed(const void *pcm, size_t bytes)
{
	return downlink_audio(&downlink, base64, vl_base64_encode(base64, pcm, bytes), now, &stats);
}

/* A tone of 24 kHz PCM. */
static const uint8_t *tone(void)
{
	static int16_t pcm[24 * 10000];

	if (pcm[1] == 0)
		for (size_t i = 0; i < sizeof(pcm) / sizeof(pcm[0]); i++)
			pcm[i] = (int16_t)lrint(8000.0 * sin(2.0 * 3.14159265358979 * 440.0 * (double)i / 24000.0));
	return (const uint8_t *)pcm;
}

/* Take everything that is due now. Returns the frames; flushes and marks are counted. */
static unsigned int flushes, marks;
static unsigned int take_due(uint8_t *to)
{
	enum downlink_due due;
	uint8_t frame[DOWNLINK_FRAME];
	unsigned int frames = 0;

	flushes = marks = 0;
	while ((due = downlink_next(&downlink, now)) != DOWNLINK_NOTHING) {
		downlink_take(&downlink, due, frame, now);
		flushes += due == DOWNLINK_FLUSH_DUE;
		marks += due == DOWNLINK_MARK_DUE;
		if (due != DOWNLINK_FRAME_DUE)
			continue;
		if (to != NULL)
			memcpy(to + frames * DOWNLINK_FRAME, frame, DOWNLINK_FRAME);
		frames++;
	}
	return frames;
}

/* However the audio is cut, the caller hears the same. */
START_TEST(test_downlink_any_pieces)
{
	static const size_t pieces[] = {1, 2, 3, 7, 1919, 1920, 6240, 28800, 28801};
	static uint8_t whole[16000], cut[16000];
	size_t total = 1000 * MS_BYTES, count;

	ck_assert_int_eq(feed(tone(), total), 0);
	downlink_generation_complete(&downlink);
	count = downlink.queue.len;
	ck_assert_uint_eq(count, 8000);
	byte_queue_pop(&downlink.queue, whole, count);
	for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
		end();
		begin();
		for (size_t at = 0; at < total; at += pieces[p])
			ck_assert_int_eq(feed(tone() + at, total - at < pieces[p] ? total - at : pieces[p]), 0);
		downlink_generation_complete(&downlink);
		ck_assert_msg(downlink.queue.len == count, "pieces of %zu: %zu bytes", pieces[p], downlink.queue.len);
		byte_queue_pop(&downlink.queue, cut, count);
		ck_assert_mem_eq(whole, cut, count);
	}
}
END_TEST

/* One byte of a turn that is over shifts nothing of the next one. */
START_TEST(test_downlink_half_a_sample_is_forgotten)
{
	static uint8_t fresh[1600], after[1600];

	ck_assert_int_eq(feed(tone(), 200 * MS_BYTES), 0);
	downlink_generation_complete(&downlink);
	byte_queue_pop(&downlink.queue, fresh, sizeof(fresh));
	end();
	begin();
	ck_assert_int_eq(feed(tone() + 7, 1), 0);
	downlink_turn_complete(&downlink);
	ck_assert_int_eq(feed(tone(), 200 * MS_BYTES), 0);
	downlink_generation_complete(&downlink);
	byte_queue_pop(&downlink.queue, after, sizeof(after));
	ck_assert_mem_eq(fresh, after, sizeof(fresh));
}
END_TEST

/* Keys are being sent; the caller speaks, and the answer to that still waits for the last key. */
START_TEST(test_downlink_interrupted_while_keys_are_sent)
{
	ck_assert_int_eq(feed(tone(), 1000 * MS_BYTES), 0);
	downlink_wait(&downlink, 2000, now);
	downlink_interrupted(&downlink, now, &stats);
	downlink_turn_complete(&downlink);
	ck_assert_int_eq(feed(tone(), 1000 * MS_BYTES), 0);
	downlink_take(&downlink, DOWNLINK_FLUSH_DUE, NULL, now);
	ck_assert_int_eq(downlink_next(&downlink, now + 500), DOWNLINK_NOTHING);
	ck_assert_int_eq(downlink_next(&downlink, now + 2000), DOWNLINK_FRAME_DUE);
}
END_TEST

START_TEST(test_downlink_tail_is_padded)
{
	uint8_t frames[5 * DOWNLINK_FRAME];

	ck_assert_int_eq(feed(tone(), 90 * MS_BYTES), 0);
	downlink_generation_complete(&downlink);
	ck_assert_uint_eq(downlink.queue.len, 5 * DOWNLINK_FRAME);
	byte_queue_pop(&downlink.queue, frames, sizeof(frames));
	for (size_t i = 90 * 8 + 1; i < sizeof(frames); i++)
		ck_assert_uint_eq(frames[i], 0xff);
}
END_TEST

/* A greeting of three seconds, said before the caller is there, is heard whole, and a pause of his is no underrun of ours. */
START_TEST(test_downlink_waits_for_the_caller)
{
	unsigned int frames = 0, first;

	downlink_listen(&downlink, false, now);
	for (unsigned int i = 0; i < 6; i++) {
		feed(tone() + i * 500 * MS_BYTES, 500 * MS_BYTES);
		for (unsigned int ms = 0; ms < 500; ms += 10, now += 10)
			ck_assert_uint_eq(take_due(NULL), 0);
	}
	downlink_generation_complete(&downlink);
	ck_assert_uint_eq(take_due(NULL) + marks, 0);
	downlink_listen(&downlink, true, now);
	first = take_due(NULL);
	ck_assert_uint_eq(first, DOWNLINK_AHEAD_MS / DOWNLINK_FRAME_MS);
	for (frames = first; frames < 75; now += 20)
		frames += take_due(NULL);
	/* He is gone for two seconds: what he has not been given waits, and then goes on at the same pace. */
	downlink_listen(&downlink, false, now);
	for (unsigned int ms = 0; ms < 2000; ms += 10, now += 10)
		ck_assert_uint_eq(take_due(NULL), 0);
	downlink_listen(&downlink, true, now);
	first = take_due(NULL);
	ck_assert_uint_eq(first, DOWNLINK_AHEAD_MS / DOWNLINK_FRAME_MS);
	for (frames += first; frames < 150; now += 20)
		frames += take_due(NULL);
	ck_assert_uint_eq(frames, 150);
	ck_assert_uint_eq(stats.down_underruns, 0);
	/* Barge-in is not held back: the data plane may still have frames. */
	feed(tone(), 500 * MS_BYTES);
	downlink_listen(&downlink, false, now);
	downlink_interrupted(&downlink, now, &stats);
	take_due(NULL);
	ck_assert_uint_eq(flushes, 1);
}
END_TEST

/* The model falls silent in the middle of a turn while nobody listens; that ran dry for nobody. */
START_TEST(test_downlink_no_underrun_while_waiting)
{
	feed(tone(), 200 * MS_BYTES);
	for (unsigned int ms = 0; ms < 100; ms += 20, now += 20)
		take_due(NULL);
	downlink_listen(&downlink, false, now);
	now += 1000;
	feed(tone(), 200 * MS_BYTES);
	now += 1000;
	downlink_listen(&downlink, true, now);
	feed(tone(), 200 * MS_BYTES);
	take_due(NULL);
	ck_assert_uint_eq(stats.down_underruns, 0);
}
END_TEST

START_TEST(test_downlink_prebuffer)
{
	feed(tone(), 80 * MS_BYTES);
	ck_assert_uint_eq(take_due(NULL), 0);
	feed(tone(), 40 * MS_BYTES);
	ck_assert_uint_gt(take_due(NULL), 0);
	end();
	begin();
	/* A word shorter than the prebuffer starts when it is known to be all. */
	feed(tone(), 60 * MS_BYTES);
	ck_assert_uint_eq(take_due(NULL), 0);
	downlink_generation_complete(&downlink);
	ck_assert_uint_eq(take_due(NULL), 3);
	ck_assert_uint_eq(marks, 1);
}
END_TEST

/* The data plane's queue is kept at DOWNLINK_AHEAD_MS and never overrun, by its clock and not by the messages'. */
START_TEST(test_downlink_pace)
{
	unsigned int frames = 0;
	uint64_t start;

	feed(tone(), 5000 * MS_BYTES);
	downlink_generation_complete(&downlink);
	start = now;
	while (downlink.queue.len > 0) {
		unsigned int played, queued;

		frames += take_due(NULL);
		played = (unsigned int)((now - start) / DOWNLINK_FRAME_MS);
		queued = frames - played;
		ck_assert_uint_le(queued, DOWNLINK_AHEAD_MS / DOWNLINK_FRAME_MS + 1);
		if (frames < 250)
			ck_assert_uint_ge(queued, DOWNLINK_AHEAD_MS / DOWNLINK_FRAME_MS - 1);
		now += 5;
	}
	ck_assert_uint_eq(frames, 250);
	ck_assert_uint_eq(marks, 1);
}
END_TEST

START_TEST(test_downlink_stall_gathers_again)
{
	feed(tone(), 200 * MS_BYTES);
	take_due(NULL);
	now += 100;
	take_due(NULL);
	now += 2000; /* ran dry in the middle of a sentence */
	take_due(NULL);
	ck_assert(!downlink_stalled(&downlink, now));
	ck_assert(downlink_stalled(&downlink, now + DOWNLINK_SILENT_MS));
	feed(tone(), 60 * MS_BYTES);
	ck_assert(!downlink_stalled(&downlink, now + DOWNLINK_SILENT_MS));
	ck_assert_uint_eq(take_due(NULL), 0);
	feed(tone(), 150 * MS_BYTES); /* and more than the first time */
	ck_assert_uint_gt(take_due(NULL), 0);
}
END_TEST

/*
 * Services of every kind, in virtual time: how long the first frame waits, how many pauses the caller hears, how short the shortest
 * stretch of speech between two of them is. A pause of a stall is one pause, and slow audio comes in few long stretches.
 */
static const struct service {
	const char *what;
	uint32_t turns, total_ms, chunk_ms, every_ms, stall_at_ms, stall_ms;
	bool end_late;
	uint32_t wait_ms, pauses, stretch_ms, prebuffer_ms; /* expected of the last turn: at most, exactly, at least, after it */
} services[] = {
	{"the usual: 400 ms each 90 ms", 1, 5000, 400, 90, 0, 0, false, 0, 0, 5000, 75},
	{"steady for long", 6, 5000, 400, 90, 0, 0, false, 0, 0, 5000, DOWNLINK_PREBUFFER_MIN_MS},
	{"real time in small pieces", 1, 5000, 40, 40, 0, 0, false, 80, 0, 5000, 75},
	{"four fifths of real time", 1, 5000, 40, 50, 0, 0, false, 125, 4, 300, 400},
	{"four fifths of real time, known", 4, 5000, 40, 50, 0, 0, false, 500, 2, 1800, 400},
	{"half of real time, known", 4, 4000, 40, 80, 0, 0, false, 800, 5, 640, 400},
	{"a stall of two seconds", 1, 4000, 400, 90, 1200, 2000, false, 0, 1, 1160, 200},
	{"two bytes would do: 20 ms each 20 ms", 1, 3000, 20, 20, 0, 0, false, 100, 0, 3000, 75},
	{"shorter than the prebuffer", 1, 40, 40, 40, 0, 0, false, 40, 0, 40, 100},
	{"its end comes late", 1, 1000, 400, 90, 0, 0, true, 0, 0, 1000, 75},
	{"short, its end comes late", 1, 40, 40, 40, 0, 0, true, DOWNLINK_STALLED_MS, 0, 40, 100},
};

START_TEST(test_downlink_services)
{
	const struct service *s = &services[_i];

	for (uint32_t turn = 0; turn < s->turns; turn++) {
		uint64_t start = now, next = now, end = 0, waited = 0;
		uint32_t fed = 0, frames = 0, pauses = 0, stretch = 0, shortest = UINT32_MAX;
		bool ended = false;

		while (!ended || downlink.queue.len > 0) {
			if (fed < s->total_ms && now >= next) {
				uint32_t n = s->total_ms - fed < s->chunk_ms ? s->total_ms - fed : s->chunk_ms;

				/* The filter keeps a little back until the end; fed ahead, the arithmetic stays round. */
				ck_assert_int_eq(feed(tone(), n * MS_BYTES), 0);
				next += s->every_ms;
				if (fed < s->stall_at_ms && fed + n >= s->stall_at_ms)
					next += s->stall_ms;
				fed += n;
			} else if (fed == s->total_ms && !ended && now >= next + (s->end_late ? 3000 : 0)) {
				downlink_generation_complete(&downlink);
				ended = true;
			}
			for (enum downlink_due due; (due = downlink_next(&downlink, now)) != DOWNLINK_NOTHING;) {
				uint64_t ran_out = downlink.play_end_ms;
				uint8_t frame[DOWNLINK_FRAME];

				downlink_take(&downlink, due, frame, now);
				if (due != DOWNLINK_FRAME_DUE)
					continue;
				if (frames == 0)
					waited = now - start;
				/* The padded end of a turn that ran dry is no stretch. */
				if (frames > 0 && now > ran_out && (!ended || downlink.queue.len > 0)) {
					shortest = stretch < shortest ? stretch : shortest;
					pauses++;
					stretch = 0;
				}
				frames++;
				stretch += DOWNLINK_FRAME_MS;
				end = downlink.play_end_ms;
			}
			now += 5;
		}
		shortest = pauses == 0 ? stretch : shortest;
		now = end + 1000;
		ck_assert(downlink_drained(&downlink, 0));
		ck_assert_uint_eq(frames, s->total_ms / DOWNLINK_FRAME_MS);
		ck_assert_msg(
			downlink.underruns == pauses, "%s: %u underruns for %u pauses", s->what, downlink.underruns, pauses);
		if (turn + 1 < s->turns)
			continue;
		ck_assert_msg(waited <= s->wait_ms, "%s: began after %lu ms", s->what, waited);
		ck_assert_msg(pauses == s->pauses, "%s: %u pauses", s->what, pauses);
		ck_assert_msg(shortest >= s->stretch_ms, "%s: a stretch of %u ms", s->what, shortest);
		ck_assert_msg(downlink.prebuffer_ms == s->prebuffer_ms, "%s: %u ms", s->what, downlink.prebuffer_ms);
	}
}
END_TEST

START_TEST(test_downlink_interrupted)
{
	feed(tone(), 5001 * MS_BYTES + 1);
	take_due(NULL);
	ck_assert(downlink.speaking);
	downlink_interrupted(&downlink, now, &stats);
	ck_assert_uint_eq(downlink.turn, 1);
	ck_assert(!downlink.speaking);
	ck_assert_uint_eq(downlink.queue.len, 0);
	ck_assert(!downlink.half);
	ck_assert_uint_gt(atomic_load(&stats.down_discarded_ms), 4000);
	ck_assert_uint_eq(take_due(NULL), 0);
	ck_assert_uint_eq(flushes, 1);
	ck_assert_uint_eq(marks, 0);
	/* What is still under way of the cut turn is not heard. */
	feed(tone(), 300 * MS_BYTES);
	ck_assert_uint_eq(downlink.queue.len, 0);
	downlink_generation_complete(&downlink);
	ck_assert_uint_eq(take_due(NULL) + marks, 0);
	downlink_turn_complete(&downlink);
	/* The next turn is. */
	feed(tone(), 300 * MS_BYTES);
	ck_assert_uint_gt(take_due(NULL), 0);
	ck_assert_uint_eq(flushes, 0);
	/* A mark of the old turn says nothing about this one. */
	ck_assert(!downlink_drained(&downlink, 0));
	ck_assert(downlink.speaking);
}
END_TEST

/* The frames as the caller hears them: what the data plane has when it is told to flush is not heard. */
static uint8_t heard[64][DOWNLINK_FRAME];
static unsigned int heard_count;
static uint8_t queued[32][DOWNLINK_FRAME];
static unsigned int queued_count;

/* `ms` of the data plane: takes what is due every 5 ms, sends a frame every 20. */
static void play(uint32_t ms)
{
	for (uint32_t at = 0; at < ms; at += 5, now += 5) {
		for (enum downlink_due due; (due = downlink_next(&downlink, now)) != DOWNLINK_NOTHING;) {
			uint8_t frame[DOWNLINK_FRAME];

			downlink_take(&downlink, due, frame, now);
			if (due == DOWNLINK_FLUSH_DUE)
				queued_count = 0;
			else if (due == DOWNLINK_FRAME_DUE)
				memcpy(queued[queued_count++], frame, DOWNLINK_FRAME);
			marks += due == DOWNLINK_MARK_DUE;
			ck_assert_uint_le(queued_count, 16);
		}
		if (now % 20 != 0 || queued_count == 0)
			continue;
		memcpy(heard[heard_count++ % 64], queued[0], DOWNLINK_FRAME);
		memmove(queued[0], queued[1], --queued_count * sizeof(queued[0]));
	}
}

/* Wherever it is paused, and whatever comes meanwhile, the caller hears every frame, and at most one of them twice. */
START_TEST(test_downlink_pause_and_resume)
{
	static uint8_t whole[64][DOWNLINK_FRAME];
	unsigned int twice = 0;

	feed(tone(), 800 * MS_BYTES);
	downlink_generation_complete(&downlink);
	heard_count = queued_count = 0;
	play(2000);
	ck_assert_uint_eq(heard_count, 40);
	memcpy(whole, heard, sizeof(whole));
	ck_assert(downlink_drained(&downlink, 0));
	for (uint32_t at = 5; at <= 790; at += 15) {
		unsigned int next = 0;

		end();
		begin();
		downlink.keeps = true;
		heard_count = queued_count = marks = 0;
		feed(tone(), 500 * MS_BYTES);
		play(at);
		ck_assert(downlink_pause(&downlink, now));
		ck_assert(!downlink_pause(&downlink, now));
		feed(tone() + 500 * MS_BYTES, 300 * MS_BYTES);
		downlink_generation_complete(&downlink);
		play(100);
		ck_assert_uint_le(heard_count, at / 20 + 1);
		ck_assert_uint_eq(queued_count, 0);
		ck_assert(downlink.speaking);
		/* The mark that was flushed with the frames says nothing. */
		ck_assert(!downlink_drained(&downlink, 0));
		play(500);
		downlink_resume(&downlink);
		play(2000);
		for (unsigned int i = 0; i < heard_count; i++) {
			if (next > 0 && memcmp(heard[i], whole[next - 1], DOWNLINK_FRAME) == 0 &&
				memcmp(heard[i], whole[next], DOWNLINK_FRAME) != 0) {
				twice++;
				continue;
			}
			ck_assert_msg(memcmp(heard[i], whole[next], DOWNLINK_FRAME) == 0, "paused at %u: frame %u", at, i);
			next++;
		}
		ck_assert_uint_eq(next, 40);
		ck_assert_uint_eq(marks, 1);
		ck_assert(downlink_drained(&downlink, 1));
	}
	ck_assert_uint_le(twice, 53);
}
END_TEST

/* The service agrees: nothing of it is heard any more, and the data plane's turns stay in step. */
START_TEST(test_downlink_pause_and_interrupt)
{
	downlink.keeps = true;
	feed(tone(), 800 * MS_BYTES);
	heard_count = queued_count = 0;
	play(200);
	ck_assert(downlink_pause(&downlink, now));
	play(20);
	ck_assert_uint_eq(downlink.turn, 1);
	downlink_interrupted(&downlink, now, &stats);
	ck_assert_uint_eq(downlink.turn, 1);
	ck_assert_uint_eq(take_due(NULL) + flushes + marks, 0);
	downlink_turn_complete(&downlink);
	feed(tone(), 300 * MS_BYTES);
	ck_assert_uint_gt(take_due(NULL), 0);
	/* Before the flush itself has been handed over as well. */
	ck_assert(downlink_pause(&downlink, now));
	downlink_interrupted(&downlink, now, &stats);
	take_due(NULL);
	ck_assert_uint_eq(flushes, 1);
	ck_assert_uint_eq(downlink.turn, 2);
	/* Without having kept anything there is nothing to come back to, so there is no pause. */
	downlink.keeps = false;
	downlink_turn_complete(&downlink);
	feed(tone(), 300 * MS_BYTES);
	take_due(NULL);
	ck_assert(!downlink_pause(&downlink, now));
}
END_TEST

START_TEST(test_downlink_mute_ends)
{
	downlink_interrupted(&downlink, now, &stats);
	now += DOWNLINK_MUTE_MS; /* no turnComplete came */
	feed(tone(), 300 * MS_BYTES);
	ck_assert_uint_gt(downlink.queue.len, 0);
}
END_TEST

/* After barge-in the new turn sounds as if there had never been another: nothing of the filter is left. */
START_TEST(test_downlink_interrupted_leaves_nothing)
{
	static const uint8_t zeros[200 * MS_BYTES];
	uint8_t frames[20 * DOWNLINK_FRAME];
	unsigned int count;

	feed(tone(), 101 * MS_BYTES + 1);
	downlink_interrupted(&downlink, now, &stats);
	downlink_turn_complete(&downlink);
	feed(zeros, sizeof(zeros));
	now += 1;
	count = take_due(frames);
	ck_assert_uint_gt(count, 0);
	for (size_t i = 0; i < count * DOWNLINK_FRAME; i++)
		ck_assert_uint_eq(frames[i], 0xff);
}
END_TEST

START_TEST(test_downlink_drained)
{
	feed(tone(), 100 * MS_BYTES);
	take_due(NULL);
	ck_assert(!downlink_drained(&downlink, 0)); /* no mark was sent */
	downlink_generation_complete(&downlink);
	while (downlink.queue.len > 0 || downlink.mark_due) {
		take_due(NULL);
		now += 5;
	}
	ck_assert(!downlink_drained(&downlink, 1));
	ck_assert(downlink_drained(&downlink, 0));
	ck_assert(!downlink_drained(&downlink, 0));
	/* turnComplete without generationComplete ends a turn as well. */
	feed(tone(), 100 * MS_BYTES);
	take_due(NULL);
	downlink_turn_complete(&downlink);
	now += 1000;
	take_due(NULL);
	ck_assert_uint_eq(marks, 1);
}
END_TEST

/* A second turn waits behind a first one: each is counted for itself, and the second has begun when its first frame is handed over. */
START_TEST(test_downlink_next_turn)
{
	feed(tone(), 1000 * MS_BYTES);
	downlink_generation_complete(&downlink);
	downlink_turn_complete(&downlink);
	heard_count = queued_count = 0;
	play(200);
	feed(tone(), 500 * MS_BYTES);
	downlink_generation_complete(&downlink);
	ck_assert_uint_eq(downlink.prebuffer_ms, DOWNLINK_PREBUFFER_MIN_MS); /* two turns that did not run dry */
	while (!downlink_passed(&downlink))
		play(5);
	ck_assert_uint_eq(downlink.played_ms, 1000);
	ck_assert_uint_eq(downlink.queue.len, 500 * 8);
	play(20);
	ck_assert(!downlink_passed(&downlink));
	ck_assert_uint_eq(downlink.played_ms, 20);
	play(1000);
	ck_assert_uint_eq(downlink.played_ms, 500);
	ck_assert_uint_eq(heard_count, 75);
	ck_assert_uint_eq(downlink.underruns, 0);
	ck_assert(downlink_drained(&downlink, 0));
	/* The next begins in an empty queue. */
	feed(tone(), 300 * MS_BYTES);
	play(20);
	ck_assert_uint_lt(downlink.played_ms, 300);
	ck_assert(!downlink.next);
}
END_TEST

/* The caller is heard, and it was nothing: what is played again of the first turn is not counted to the second. */
START_TEST(test_downlink_next_turn_paused)
{
	for (uint32_t at = 5; at < 1200; at += 15) {
		end();
		begin();
		downlink.keeps = true;
		heard_count = queued_count = 0;
		feed(tone(), 600 * MS_BYTES);
		downlink_generation_complete(&downlink);
		play(at < 300 ? at : 300);
		feed(tone(), 500 * MS_BYTES);
		downlink_generation_complete(&downlink);
		play(at < 300 ? 0 : at - 300);
		if (!downlink_pause(&downlink, now))
			continue;
		play(100);
		ck_assert_uint_le(downlink.played_ms, 600);
		downlink_resume(&downlink);
		while (downlink.next)
			play(5);
		ck_assert_msg(downlink.queue.len == 0 || downlink.played_ms + downlink.queue.len / 8 == 500,
			"paused at %u: %u ms and %zu bytes", at, downlink.played_ms, downlink.queue.len);
		play(2000);
		ck_assert_msg(downlink.played_ms == 500, "paused at %u: %u ms", at, downlink.played_ms);
	}
}
END_TEST

/* Nothing of it comes before the first has been heard: the pause between two turns is no underrun. */
START_TEST(test_downlink_next_turn_late)
{
	feed(tone(), 300 * MS_BYTES);
	downlink_generation_complete(&downlink);
	play(50);
	feed(tone(), 10 * MS_BYTES);
	play(1000);
	ck_assert(downlink_passed(&downlink));
	feed(tone(), 300 * MS_BYTES);
	play(100);
	ck_assert_uint_eq(stats.down_underruns, 0);
	ck_assert_uint_eq(downlink.underruns, 0);
	/* But in the middle of it there is one. */
	play(1000);
	feed(tone(), 300 * MS_BYTES);
	ck_assert_uint_eq(downlink.underruns, 1);
	/* What is cut leaves no boundary behind. */
	downlink_generation_complete(&downlink);
	play(50);
	feed(tone(), 300 * MS_BYTES);
	ck_assert(downlink.next);
	downlink_interrupted(&downlink, now, &stats);
	ck_assert(!downlink.next && !downlink_passed(&downlink));
}
END_TEST

START_TEST(test_downlink_bad_base64)
{
	ck_assert_int_eq(downlink_audio(&downlink, "AA!A", 4, now, &stats), -EBADMSG);
	ck_assert_int_eq(downlink_audio(&downlink, "AAA", 3, now, &stats), -EBADMSG);
	ck_assert_int_eq(downlink_audio(&downlink, "", 0, now, &stats), 0);
	ck_assert_int_eq(feed(tone(), 2), 0);
}
END_TEST

START_TEST(test_downlink_bounds)
{
	bool reading = true;
	int result = 0;

	/* `interrupted` must not wait behind an answer of two minutes. */
	ck_assert_uint_ge(DOWNLINK_FULL_MS, 120000);
	for (uint32_t i = 0; i < DOWNLINK_FULL_MS / 10000; i++) {
		ck_assert(downlink_wants_more(&downlink, reading));
		ck_assert_int_eq(feed(tone(), 10000 * MS_BYTES), 0);
	}
	feed(tone(), 100 * MS_BYTES); /* the filter keeps a little back */
	reading = downlink_wants_more(&downlink, reading);
	ck_assert(!reading);
	byte_queue_pop(&downlink.queue, NULL, downlink.queue.len - 8 * DOWNLINK_RESUME_MS);
	ck_assert(!downlink_wants_more(&downlink, reading));
	byte_queue_pop(&downlink.queue, NULL, 80);
	ck_assert(downlink_wants_more(&downlink, reading));
	/* A service that goes on although nobody reads costs its own audio, not our memory. */
	for (int i = 0; i < 30 && result == 0; i++)
		result = feed(tone(), 10000 * MS_BYTES);
	ck_assert_int_eq(result, -ENOBUFS);
	ck_assert_uint_le(downlink.queue.len, (DOWNLINK_MAX_MS + 100) * 8);
	ck_assert_uint_gt(atomic_load(&stats.down_discarded_ms), 0);
}
END_TEST

START_TEST(test_downlink_restart)
{
	feed(tone(), 1000 * MS_BYTES);
	take_due(NULL);
	downlink_interrupted(&downlink, now, &stats);
	downlink_turn_complete(&downlink);
	feed(tone(), 1000 * MS_BYTES);
	downlink_restart(&downlink);
	ck_assert_uint_eq(downlink.turn, 0);
	ck_assert_uint_gt(take_due(NULL), 0);
	ck_assert_uint_eq(flushes, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("downlink");
	TCase *services_case = tcase_create("services");

	unit_add_fixture(suite, "audio", begin, end, test_downlink_any_pieces, test_downlink_half_a_sample_is_forgotten,
		test_downlink_interrupted_while_keys_are_sent, test_downlink_tail_is_padded, test_downlink_bad_base64);
	unit_add_fixture(suite, "pace", begin, end, test_downlink_prebuffer, test_downlink_waits_for_the_caller,
		test_downlink_no_underrun_while_waiting, test_downlink_pace, test_downlink_stall_gathers_again,
		test_downlink_bounds, test_downlink_restart);
	tcase_add_checked_fixture(services_case, begin, end);
	tcase_add_loop_test(services_case, test_downlink_services, 0, sizeof(services) / sizeof(services[0]));
	suite_add_tcase(suite, services_case);
	unit_add_fixture(suite, "turns", begin, end, test_downlink_interrupted, test_downlink_mute_ends,
		test_downlink_pause_and_resume, test_downlink_pause_and_interrupt, test_downlink_interrupted_leaves_nothing,
		test_downlink_drained, test_downlink_next_turn, test_downlink_next_turn_paused, test_downlink_next_turn_late);
	return unit_run(suite);
}
