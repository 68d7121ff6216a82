/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's hot functions: what each 20 ms of a call pass through on the way to the model and back.
 */
#include <stdlib.h>
#include <string.h>

#include "ai_workers/downlink.h"
#include "ai_workers/gemini_message.h"
#include "ai_workers/gemini_scan.h"
#include "ai_workers/tsc.h"
#include "ai_workers/uplink.h"
#include "ai_workers/voice_activity.h"
#include "ai_workers/websocket.h"
#include "instructions.h"
#include "lcore_bench.h"
#include "shared/base64.h"
#include "shared/base64_avx2.h"
#include "shared/g711.h"
#include "shared/histogram.h"
#include "shared/json.h"
#include "shared/resample.h"

#define RUNS	      100u
#define FRAME	      160u  /* samples of 20 ms at 8 kHz */
#define MODEL_SAMPLES 1600u /* of an audio message of 4.3 kB: 67 ms at 24 kHz */
#define MESSAGE_SIZE  8192u
#define UP_MS	      40u
#define SCALAR_BYTES  27u /* too few for AVX2: what remains is the scalar code */
#define SCALAR_CHARS  40u
#define WS_BYTES      4300u

static int16_t phone[FRAME], wide[2 * FRAME], model[MODEL_SAMPLES], out[2 * MODEL_SAMPLES];
static uint8_t codes[FRAME];
static char text[MESSAGE_SIZE];
static uint8_t bytes[MESSAGE_SIZE];
static char model_text[MESSAGE_SIZE]; /* the base64 of `model` */
static size_t model_len;
static char messages[RUNS][MESSAGE_SIZE]; /* reading may change them */
static size_t message_len;
static struct vl_resampler *up, *down, *up_scalar, *down_scalar;
static struct uplink uplink;
static struct downlink downlink;
static struct voice_activity voice;
static struct vl_worker_stats stats;
static struct vl_histogram histogram;
static uint64_t now_ms = 100000;
static uint16_t seq;

static const char control[] =
	"{\"jsonrpc\":\"2.0\",\"id\":17,\"method\":\"session.create\",\"params\":{\"user\":\"admin2\",\"trunk\":"
	"\"voip-server\",\"remote\":{\"address\":\"192.168.50.50\",\"port\":18920},\"payload_type\":0,"
	"\"event_payload_type\":101,\"ssrc\":1234567,\"caller\":\"+49301234567\",\"called\":\"+498912345\"}}";

/* Noise under a slow wave, the same in every run. */
static void draw(int16_t *samples, size_t count)
{
	uint32_t dice = 1;

	for (size_t i = 0; i < count; i++) {
		dice = dice * 1664525u + 1013904223u;
		samples[i] = (int16_t)((int)(dice >> 20) - 2048 + (int)(i % 200 < 100 ? i % 200 : 200 - i % 200) * 80);
	}
}

static struct vl_resampler *resampler(uint32_t from, uint32_t to, bool avx2)
{
	struct vl_resampler *made = vl_resampler_new_for(from, to, avx2);

	lcore_bench_require(made != NULL, "no memory for a resampler");
	return made;
}

void worker_cases_setup(void)
{
	static const char head[] = "{\"serverContent\":{\"modelTurn\":{\"role\":\"model\",\"parts\":[{\"inlineData\":{"
				   "\"mimeType\":\"audio/pcm;rate=24000\",\"data\":\"";
	static const char tail[] = "\"}}]}}}";
	struct uplink_config config = {.law = VL_G711_PCMU, .message_ms = UP_MS};

	draw(phone, FRAME);
	draw(wide, 2 * FRAME);
	draw(model, MODEL_SAMPLES);
	vl_g711_encode(VL_G711_PCMU, phone, codes, FRAME);
	model_len = vl_base64_encode(model_text, model, sizeof(model));
	message_len = sizeof(head) - 1 + model_len + sizeof(tail) - 1;
	up = resampler(8000, 16000, true);
	down = resampler(24000, 8000, true);
	up_scalar = resampler(8000, 16000, false);
	down_scalar = resampler(24000, 8000, false);
	uplink_init(&uplink, &config);
	lcore_bench_require(downlink_init(&downlink, VL_G711_PCMU) == 0, "no memory for a downlink");
	voice_activity_init(&voice);
	for (unsigned int i = 0; i < RUNS; i++) {
		memcpy(messages[i], head, sizeof(head) - 1);
		memcpy(messages[i] + sizeof(head) - 1, model_text, model_len);
		memcpy(messages[i] + sizeof(head) - 1 + model_len, tail, sizeof(tail));
	}
}

static void g711_decode(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		vl_g711_decode(VL_G711_PCMU, codes, out, FRAME);
}

static void g711_decode_alaw(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		vl_g711_decode(VL_G711_PCMA, codes, out, FRAME);
}

static void g711_encode(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		vl_g711_encode(VL_G711_PCMU, phone, bytes, FRAME);
}

static void g711_encode_alaw(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		vl_g711_encode(VL_G711_PCMA, phone, bytes, FRAME);
}

static void resample_up(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += vl_resampler_process(up, phone, FRAME, out);
}

static void resample_up_scalar(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += vl_resampler_process(up_scalar, phone, FRAME, out);
}

static void resample_down(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += vl_resampler_process(down, model, 3 * FRAME, out);
}

static void resample_down_scalar(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += vl_resampler_process(down_scalar, model, 3 * FRAME, out);
}

static void base64_encode(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += vl_base64_encode(text, wide, sizeof(wide));
}

static void base64_encode_short(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += vl_base64_encode(text, wide, SCALAR_BYTES);
}

static void base64_decode_of(size_t len)
{
	struct vl_base64_decoder decoder = {0};

	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += (uint64_t)vl_base64_decode_more(&decoder, model_text, len, bytes);
}

static void base64_decode(void)
{
	base64_decode_of(model_len / 4 * 4 - 4); /* without the padding */
}

static void base64_decode_short(void)
{
	base64_decode_of(SCALAR_CHARS);
}

static void scan(void)
{
	static struct gemini_scan found;

	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += (uint64_t)gemini_scan(&found, messages[i], message_len) + found.audio_count;
}

static void read_message(void)
{
	static struct gemini_message message;

	for (unsigned int i = 0; i < RUNS; i++) {
		lcore_bench_require(gemini_message_read(&message, messages[i], message_len) == 0 && message.audio_count == 1,
			"the audio message cannot be read");
		gemini_message_clear(&message);
	}
}

static void build_audio(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += gemini_build_audio(text, wide, 2 * FRAME, 16000);
}

/* As a call does it: two payloads of 20 ms, then one message of 40 ms. */
static void uplink_forward(void)
{
	for (unsigned int i = 0; i < RUNS; i++) {
		struct uplink_packet packet = {.payload = codes, .len = FRAME, .seq = seq, .timestamp = seq * FRAME, .tsc = 1};

		now_ms += UP_MS / 2;
		seq++;
		uplink_packet(&uplink, &packet, now_ms, &stats);
		if (uplink_due(&uplink, now_ms))
			instructions_sink += uplink_take(&uplink, out, now_ms);
	}
}

static void clear_downlink(void)
{
	downlink_interrupted(&downlink, now_ms, &stats);
	downlink_turn_complete(&downlink);
}

static void downlink_take_message(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		lcore_bench_require(
			downlink_audio(&downlink, model_text, model_len, now_ms, &stats) == 0, "the audio cannot be taken");
}

static void fill_downlink(void)
{
	clear_downlink();
	downlink_take_message();
}

/* RUNS frames, one each 20 ms. */
static void downlink_hand_over(void)
{
	for (unsigned int taken = 0; taken < RUNS; now_ms += DOWNLINK_FRAME_MS) {
		enum downlink_due due;

		while (taken < RUNS && (due = downlink_next(&downlink, now_ms)) != DOWNLINK_NOTHING) {
			downlink_take(&downlink, due, bytes, now_ms);
			taken += due == DOWNLINK_FRAME_DUE;
		}
	}
}

static void voice_heard(void)
{
	for (unsigned int i = 0; i < RUNS; i++) {
		now_ms += 20;
		instructions_sink += (uint64_t)voice_activity_heard(&voice, phone, FRAME, now_ms);
	}
}

static void histogram_add(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		vl_histogram_add(&histogram, 37u * i);
}

/* What a message to the model costs for being counted: its age, and the distribution. */
static void message_age(void)
{
	for (unsigned int i = 0; i < RUNS; i++)
		vl_histogram_add(&histogram, tsc_elapsed_us(tsc_now() - 1000000, 1000000000) + uplink_behind_us(&uplink));
}

static void websocket_send(void)
{
	static const uint8_t mask[WEBSOCKET_MASK_SIZE] = {1, 2, 3, 4};
	static uint8_t room[WEBSOCKET_HEADROOM + WS_BYTES];

	for (unsigned int i = 0; i < RUNS; i++)
		instructions_sink += *websocket_frame(room + WEBSOCKET_HEADROOM, WS_BYTES, WEBSOCKET_TEXT, mask);
}

static void websocket_receive(void)
{
	static uint8_t frame[4 + WS_BYTES] = {0x81, 126, WS_BYTES >> 8, WS_BYTES & 0xff};
	struct websocket_reader reader = {.limit = WS_BYTES};
	struct websocket_piece piece;

	for (unsigned int i = 0; i < RUNS; i++) {
		uint8_t *next = frame;
		size_t len = sizeof(frame);

		while (websocket_read(&reader, &next, &len, &piece) == WEBSOCKET_PART)
			instructions_sink += piece.len;
	}
}

static void json_control(void)
{
	for (unsigned int i = 0; i < RUNS; i++) {
		cJSON *tree = vl_json_parse(control, sizeof(control) - 1, sizeof(control), NULL);

		lcore_bench_require(tree != NULL, "the control message cannot be read");
		cJSON_Delete(tree);
	}
}

const struct instructions_case worker_cases[] = {
	{"vl_g711_decode, mu-law", "frame of 160 samples", RUNS, NULL, g711_decode},
	{"vl_g711_decode, A-law", "frame of 160 samples", RUNS, NULL, g711_decode_alaw},
	{"vl_g711_encode, mu-law", "frame of 160 samples", RUNS, NULL, g711_encode},
	{"vl_g711_encode, A-law", "frame of 160 samples", RUNS, NULL, g711_encode_alaw},
	{"vl_resampler_process, 8 to 16 kHz, AVX2", "frame of 20 ms", RUNS, NULL, resample_up},
	{"vl_resampler_process, 8 to 16 kHz, scalar", "frame of 20 ms", RUNS, NULL, resample_up_scalar},
	{"vl_resampler_process, 24 to 8 kHz, AVX2", "frame of 20 ms", RUNS, NULL, resample_down},
	{"vl_resampler_process, 24 to 8 kHz, scalar", "frame of 20 ms", RUNS, NULL, resample_down_scalar},
	{"vl_base64_encode, AVX2", "640 bytes", RUNS, NULL, base64_encode},
	{"vl_base64_encode, scalar", "27 bytes", RUNS, NULL, base64_encode_short},
	{"vl_base64_decode_more, AVX2", "4,268 characters", RUNS, NULL, base64_decode},
	{"vl_base64_decode_more, scalar", "40 characters", RUNS, NULL, base64_decode_short},
	{"gemini_scan", "audio message of 4.3 kB", RUNS, NULL, scan},
	{"gemini_message_read", "audio message of 4.3 kB", RUNS, NULL, read_message},
	{"gemini_build_audio", "message of 20 ms", RUNS, NULL, build_audio},
	{"uplink_packet and half an uplink_take", "RTP payload", RUNS, NULL, uplink_forward},
	{"downlink_audio", "audio message of 4.3 kB", RUNS, clear_downlink, downlink_take_message},
	{"downlink_next and downlink_take", "frame", RUNS, fill_downlink, downlink_hand_over},
	{"websocket_frame", "frame of 4.3 kB", RUNS, NULL, websocket_send},
	{"websocket_read", "frame of 4.3 kB", RUNS, NULL, websocket_receive},
	{"voice_activity_heard", "frame of 160 samples", RUNS, NULL, voice_heard},
	{"vl_histogram_add", "value", RUNS, NULL, histogram_add},
	{"latency of an uplink message", "message", RUNS, NULL, message_age},
	{"vl_json_parse", "session.create", RUNS, NULL, json_control},
	{NULL, NULL, 0, NULL, NULL},
};
