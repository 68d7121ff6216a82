/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests of the RTP caller's pure parts: statistics, recording, talk plan, sound files, addresses.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "caller_options.h"
#include "recording.h"
#include "rtp_receiver.h"
#include "talk_plan.h"
#include "wav.h"

static struct sockaddr_storage peer, stranger;

static void addresses_setup(void)
{
	ck_assert_int_eq(caller_address_parse("10.77.0.1:5004", &peer), 0);
	ck_assert_int_eq(caller_address_parse("10.77.0.9:5004", &stranger), 0);
}

/* One packet as the data plane would send it, 20 ms after the one before. */
struct arrival {
	uint16_t seq;
	uint32_t timestamp;
	int64_t now_us;
};

static void feed(struct rtp_receiver *receiver, const struct arrival *arrivals, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct rtp_packet packet = {
			.ssrc = 7, .seq = arrivals[i].seq, .timestamp = arrivals[i].timestamp, .payload_len = 160};
		rtp_receiver_packet(receiver, &packet, &peer, &peer, arrivals[i].now_us, 1000);
	}
}

START_TEST(test_receiver_counts_loss_order_and_duplicates)
{
	static const struct {
		const char *name;
		struct arrival arrivals[5];
		size_t count;
		uint64_t lost, duplicates, reordered, gaps, jumps;
	} cases[] = {
		{"in order", {{1, 160, 20000}, {2, 320, 40000}, {3, 480, 60000}}, 3, 0, 0, 0, 0, 0},
		{"one lost", {{1, 160, 20000}, {2, 320, 40000}, {4, 640, 80000}}, 3, 1, 0, 0, 1, 0},
		{"swapped", {{1, 160, 20000}, {3, 480, 60000}, {2, 320, 61000}, {4, 640, 80000}}, 4, 0, 0, 1, 1, 0},
		{"twice", {{1, 160, 20000}, {1, 160, 20100}, {2, 320, 40000}}, 3, 0, 1, 0, 0, 0},
		{"wrap", {{65534, 0, 0}, {65535, 160, 20000}, {0, 320, 40000}, {1, 480, 60000}}, 4, 0, 0, 0, 0, 0},
		{"lost at the wrap", {{65534, 0, 0}, {1, 480, 60000}}, 2, 2, 0, 0, 1, 0},
		{"timestamp jump", {{1, 160, 20000}, {2, 9999, 40000}}, 2, 0, 0, 0, 0, 1},
		{"timestamp wrap", {{1, 0xffffff60, 20000}, {2, 0, 40000}}, 2, 0, 0, 0, 0, 0},
		{"older than the first", {{5, 800, 20000}, {4, 640, 40000}, {6, 960, 60000}}, 3, 0, 0, 1, 0, 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rtp_receiver receiver = {0};
		feed(&receiver, cases[i].arrivals, cases[i].count);
		const struct rtp_stream *s = &receiver.streams[0];
		ck_assert_msg(rtp_receiver_lost(&receiver) == cases[i].lost, "%s: lost %lu", cases[i].name,
			rtp_receiver_lost(&receiver));
		ck_assert_msg(s->duplicates == cases[i].duplicates, "%s: duplicates", cases[i].name);
		ck_assert_msg(s->reordered == cases[i].reordered, "%s: reordered", cases[i].name);
		ck_assert_msg(s->sequence_gaps == cases[i].gaps, "%s: gaps", cases[i].name);
		ck_assert_msg(s->timestamp_discontinuities == cases[i].jumps, "%s: jumps", cases[i].name);
		rtp_receiver_free(&receiver);
	}
}
END_TEST

START_TEST(test_receiver_jitter_is_that_of_rfc3550)
{
	struct rtp_receiver receiver = {0};
	struct arrival steady[] = {{1, 160, 20000}, {2, 320, 40000}, {3, 480, 60000}};
	feed(&receiver, steady, 3);
	ck_assert_double_eq_tol(rtp_receiver_jitter_ms(&receiver), 0, 1e-9);
	/* 16 ms late: J += (|D| - J) / 16 gives 1 ms. */
	struct arrival late = {4, 640, 96000};
	feed(&receiver, &late, 1);
	ck_assert_double_eq_tol(rtp_receiver_jitter_ms(&receiver), 1.0, 1e-9);
	ck_assert_uint_eq(rtp_receiver_interval_us(&receiver, 0), 20000);
	ck_assert_uint_eq(rtp_receiver_interval_us(&receiver, 1), 36000);
	rtp_receiver_free(&receiver);
}
END_TEST

START_TEST(test_receiver_names_foreign_sources_and_ssrcs)
{
	struct rtp_receiver receiver = {0};
	struct rtp_packet packet = {.ssrc = 1, .seq = 1, .marker = true};
	rtp_receiver_packet(&receiver, &packet, &peer, &peer, 1, 0);
	packet.ssrc = 2;
	rtp_receiver_packet(&receiver, &packet, &stranger, &peer, 2, 0);
	ck_assert_uint_eq(receiver.foreign, 1);
	ck_assert_uint_eq(receiver.markers, 2);
	ck_assert_uint_eq(receiver.stream_count, 2);
	ck_assert_uint_eq(receiver.source_count, 2);
	for (uint32_t i = 0; i < 20; i++) {
		packet.ssrc = 100 + i;
		rtp_receiver_packet(&receiver, &packet, &peer, &peer, 3, 0);
	}
	ck_assert_uint_eq(receiver.stream_count, RTP_RECEIVER_SSRCS_MAX);
	ck_assert_uint_eq(receiver.stream_overflow, 22 - RTP_RECEIVER_SSRCS_MAX);
	rtp_receiver_free(&receiver);
}
END_TEST

START_TEST(test_spans_join_short_pauses)
{
	struct rtp_receiver receiver = {.silence_peak = 64};
	struct rtp_packet packet = {.ssrc = 1};
	/* Sound at 0-180 ms with a pause of 60 ms inside, silence, sound at 800 ms. */
	static const int64_t sound_ms[] = {20, 40, 100, 120, 180, 800};
	for (int64_t ms = 20, at = 0; ms <= 1000; ms += 20) {
		bool sound = at < 6 && sound_ms[at] == ms;
		at += sound;
		packet.seq++;
		rtp_receiver_packet(&receiver, &packet, &peer, &peer, ms * 1000, sound ? 65 : 64);
	}
	int64_t since;
	ck_assert_uint_eq(receiver.heard.count, 2);
	ck_assert_int_eq(receiver.heard.items[0].start_us, 20000);
	ck_assert_int_eq(receiver.heard.items[0].end_us, 180000);
	ck_assert_int_eq(rtp_receiver_longest_silence_ms(&receiver, 1000000), 620);
	ck_assert(rtp_spans_active(&receiver.heard, 900000, &since) && since == 800000);
	ck_assert(!rtp_spans_active(&receiver.heard, 901000, &since));
	rtp_receiver_free(&receiver);
}
END_TEST

START_TEST(test_packet_parse_refuses_what_is_no_rtp)
{
	static const struct {
		const char *name;
		uint8_t data[24];
		size_t len;
		int code;
		size_t payload;
	} cases[] = {
		{"plain", {0x80, 0}, 14, 0, 2},
		{"empty payload", {0x80, 0}, 12, 0, 0},
		{"short", {0x80, 0}, 11, -EINVAL, 0},
		{"version 1", {0x40, 0}, 14, -EINVAL, 0},
		{"one CSRC", {0x81, 0}, 17, 0, 1},
		{"CSRC beyond the end", {0x82, 0}, 16, -EINVAL, 0},
		{"extension", {0x90, 0, [15] = 1}, 22, 0, 2},
		{"extension beyond the end", {0x90, 0, [15] = 9}, 22, -EINVAL, 0},
		{"padding", {0xa0, 0, [15] = 3}, 16, 0, 1},
		{"padding zero", {0xa0, 0}, 16, -EINVAL, 0},
		{"padding too long", {0xa0, 0, [15] = 5}, 16, -EINVAL, 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rtp_packet packet;
		int code = rtp_packet_parse(cases[i].data, cases[i].len, &packet);
		ck_assert_msg(code == cases[i].code, "%s: %d", cases[i].name, code);
		ck_assert_msg(code || packet.payload_len == cases[i].payload, "%s: payload", cases[i].name);
	}
	uint8_t header[12];
	struct rtp_packet packet;
	rtp_header_write(header, 8, true, 0x1234, 0x56789abc, 0xdef01234);
	ck_assert_int_eq(rtp_packet_parse(header, sizeof(header), &packet), 0);
	ck_assert(packet.marker && packet.payload_type == 8 && packet.seq == 0x1234 && packet.timestamp == 0x56789abc &&
		  packet.ssrc == 0xdef01234);
}
END_TEST

START_TEST(test_recording_follows_the_timestamps)
{
	struct recording recording = {0};
	int16_t ones[160], twos[160];
	for (int i = 0; i < 160; i++) {
		ones[i] = 1;
		twos[i] = 2;
	}
	/* Jittered arrival must not move the second packet; an out-of-order one fills its place; a new SSRC is placed by its arrival. */
	ck_assert_int_eq(recording_put_rtp(&recording, 7, 0xffffffff - 159, 1000, ones, 160), 0);
	ck_assert_int_eq(recording_put_rtp(&recording, 7, 160, 1500, ones, 160), 0);
	ck_assert_int_eq(recording_put_rtp(&recording, 7, 0, 1510, twos, 160), 0);
	ck_assert_int_eq(recording_put_rtp(&recording, 8, 12345, 3000, twos, 160), 0);
	ck_assert_int_eq(recording.samples[999], 0);
	ck_assert_int_eq(recording.samples[1000], 1);
	ck_assert_int_eq(recording.samples[1160], 2);
	ck_assert_int_eq(recording.samples[1320], 1);
	ck_assert_int_eq(recording.samples[1480], 0);
	ck_assert_int_eq(recording.samples[3000], 2);
	ck_assert_uint_eq(recording.count, 3160);
	/* A jump of the timestamps anchors anew; parts before zero are cut. */
	ck_assert_int_eq(recording_put_rtp(&recording, 8, 12345 + 100000, 4000, ones, 160), 0);
	ck_assert_int_eq(recording.samples[4000], 1);
	ck_assert_int_eq(recording_put(&recording, -159, twos, 160), 0);
	ck_assert_int_eq(recording.samples[0], 2);
	ck_assert_int_eq(recording_put(&recording, -160, ones, 160), 0);
	ck_assert_int_eq(recording_put(&recording, (int64_t)RECORDING_SAMPLES_MAX, ones, 160), 0);
	ck_assert_uint_eq(recording.count, 4160);
	recording_free(&recording);
}
END_TEST

/* Frames of a plan as a string: 'T' talking, '.' silent. The answer is heard from `hearing_from` to `hearing_to` (frames). */
static void plan_run(struct talk_plan *plan, int hearing_from, int hearing_to, char *out, int frames)
{
	int16_t frame[TALK_FRAME_SAMPLES];
	for (int i = 0; i < frames; i++) {
		int64_t since = i >= hearing_from && i < hearing_to ? hearing_from * 20000 : -1;
		out[i] = talk_plan_next(plan, i * 20000, since, frame) ? 'T' : '.';
	}
	out[frames] = '\0';
}

START_TEST(test_plan_pauses_and_barges_in)
{
	static const int16_t samples[400]; /* two frames and a half */
	char out[32];
	struct talk_plan plan = {.samples = samples,
		.count = 400,
		.utterances = 2,
		.start_delay_us = 40000,
		.pause_us = 60000,
		.when_hearing_us = -1};
	plan_run(&plan, 99, 99, out, 14);
	ck_assert_str_eq(out, "..TTT..TTT....");
	ck_assert(talk_plan_done(&plan, 14 * 20000));

	/* The answer begins at frame 5; the second utterance 60 ms into it. */
	plan = (struct talk_plan){
		.samples = samples, .count = 400, .utterances = 0, .pause_us = 400000, .when_hearing_us = 60000};
	plan_run(&plan, 5, 9, out, 14);
	ck_assert_str_eq(out, "TTT.....TTT...");
	ck_assert(!talk_plan_done(&plan, 14 * 20000));

	/* Nothing is ever heard: speak anyway after the pause. */
	plan = (struct talk_plan){.samples = samples, .count = 400, .pause_us = 60000, .when_hearing_us = 60000};
	plan_run(&plan, 99, 99, out, 8);
	ck_assert_str_eq(out, "TTT..TTT");

	/* Nothing to say. */
	plan = (struct talk_plan){.when_hearing_us = -1};
	plan_run(&plan, 99, 99, out, 3);
	ck_assert_str_eq(out, "...");
}
END_TEST

START_TEST(test_wav_survives_a_round_trip_and_bad_files)
{
	char path[] = "/tmp/vl-wav-XXXXXX", error[256];
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	int16_t left[8000], right[4000];
	for (int i = 0; i < 8000; i++)
		left[i] = 1000;
	for (int i = 0; i < 4000; i++)
		right[i] = 3000;
	struct wav wav;
	ck_assert_int_eq(wav_write_stereo(path, 8000, left, 8000, right, 4000, error, sizeof(error)), 0);
	ck_assert_int_eq(wav_load(path, 8000, &wav, error, sizeof(error)), 0);
	ck_assert_uint_eq(wav.count, 8000);
	ck_assert_int_eq(wav.samples[100], 2000);
	ck_assert_int_eq(wav.samples[7999], 500);
	wav_free(&wav);
	/* Half the rate: half the samples, the same level. */
	ck_assert_int_eq(wav_write_stereo(path, 16000, left, 8000, left, 8000, error, sizeof(error)), 0);
	ck_assert_int_eq(wav_load(path, 8000, &wav, error, sizeof(error)), 0);
	ck_assert_int_ge((int)wav.count, 3900);
	ck_assert_int_le((int)wav.count, 4100);
	ck_assert_int_ge(wav.samples[2000], 990);
	ck_assert_int_le(wav.samples[2000], 1010);
	wav_free(&wav);
	ck_assert_int_eq(ftruncate(fd, 20), 0);
	ck_assert_int_lt(wav_load(path, 8000, &wav, error, sizeof(error)), 0);
	ck_assert_ptr_nonnull(strstr(error, path));
	ck_assert_int_lt(wav_load("/nonexistent.wav", 8000, &wav, error, sizeof(error)), 0);
	close(fd);
	unlink(path);
}
END_TEST

START_TEST(test_address_parse)
{
	static const struct {
		const char *text;
		int code;
	} cases[] = {{"10.0.0.1:5004", 0}, {"[fd00::1]:5004", 0}, {"10.0.0.1", -EINVAL}, {":5004", -EINVAL},
		{"10.0.0.1:", -EINVAL}, {"10.0.0.1:65536", -EINVAL}, {"10.0.0.1:5x", -EINVAL}, {"fd00::1:5004", -EINVAL},
		{"host:5004", -EINVAL}, {"[]:1", -EINVAL}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sockaddr_storage address;
		ck_assert_msg(caller_address_parse(cases[i].text, &address) == cases[i].code, "%s", cases[i].text);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rtp_caller");
	TCase *receiver = tcase_create("receiver");
	tcase_add_checked_fixture(receiver, addresses_setup, NULL);
	tcase_add_test(receiver, test_receiver_counts_loss_order_and_duplicates);
	tcase_add_test(receiver, test_receiver_jitter_is_that_of_rfc3550);
	tcase_add_test(receiver, test_receiver_names_foreign_sources_and_ssrcs);
	tcase_add_test(receiver, test_spans_join_short_pauses);
	tcase_add_test(receiver, test_packet_parse_refuses_what_is_no_rtp);
	suite_add_tcase(suite, receiver);
	TCase *sound = tcase_create("sound");
	tcase_add_test(sound, test_recording_follows_the_timestamps);
	tcase_add_test(sound, test_plan_pauses_and_barges_in);
	tcase_add_test(sound, test_wav_survives_a_round_trip_and_bad_files);
	tcase_add_test(sound, test_address_parse);
	suite_add_tcase(suite, sound);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
