/* SPDX-License-Identifier: Apache-2.0 */
/* Telephone-events as phones, carriers and bad networks send them: one digit for each key, whatever is lost, doubled or late. */
#include "ai_workers/dtmf.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"

/* One packet; `at` is when it comes, in ms. */
struct packet {
	uint32_t at, timestamp;
	uint8_t code;
	bool end;
	uint16_t duration;
};

#define E true

static const struct {
	const char *name, *digits; /* "1:100" each, with its duration in ms */
	struct packet packets[16];
} cases[] = {
	{"a key", "1:60 ",
		{{0, 800, 1, 0, 160}, {20, 800, 1, 0, 320}, {40, 800, 1, E, 480}, {60, 800, 1, E, 480}, {80, 800, 1, E, 480}}},
	{"only one end packet came", "#:100 ", {{0, 800, 11, E, 800}}},
	{"the beginning was lost", "*:100 ", {{40, 800, 10, 0, 480}, {60, 800, 10, E, 800}}},
	{"every end was lost", "5:40 ", {{0, 800, 5, 0, 160}, {20, 800, 5, 0, 320}}},
	{"the next key ends it", "5:40 6:20 ", {{0, 800, 5, 0, 160}, {20, 800, 5, 0, 320}, {100, 1600, 6, E, 160}}},
	{"the same key twice", "7:20 7:40 ",
		{{0, 800, 7, E, 160}, {20, 800, 7, E, 160}, {100, 1600, 7, 0, 160}, {120, 1600, 7, E, 320},
			{140, 1600, 7, E, 320}}},
	{"out of order", "2:60 ", {{0, 800, 2, 0, 320}, {20, 800, 2, 0, 160}, {40, 800, 2, E, 480}, {60, 800, 2, 0, 320}}},
	{"a late end behind the next key's begin", "3:20 4:40 ",
		{{0, 800, 3, E, 160}, {40, 1600, 4, 0, 160}, {50, 800, 3, E, 160}, {60, 1600, 4, E, 320}}},
	{"held for long: segments are one key", "9:8241 ",
		{{0, 800, 9, 0, 0xfff0}, {100, 800, 9, 0, 0xffff}, {200, 800 + 0xffff, 9, 0, 160},
			{220, 800 + 0xffff, 9, E, 400}}},
	{"a stream that begins anew with an earlier timestamp", "1:20 1:20 ", {{0, 5000, 1, E, 160}, {900, 800, 1, E, 160}}},
	{"timestamps wrap", "1:20 2:20 ", {{0, 0xffffff00, 1, E, 160}, {200, 0x100, 2, E, 160}}},
	{"letters", "A:20 B:20 C:20 D:20 ",
		{{0, 1, 12, E, 160}, {100, 1000, 13, E, 160}, {200, 2000, 14, E, 160}, {300, 3000, 15, E, 160}}},
	{"no keys: flash, tones", "", {{0, 800, 16, E, 160}, {100, 1600, 32, E, 160}, {200, 2400, 255, E, 160}}},
};

static void hear(struct dtmf *d, char *digits, size_t size)
{
	struct dtmf_digit digit;

	while (dtmf_next(d, &digit)) {
		size_t len = strlen(digits);

		snprintf(digits + len, size - len, "%c:%u ", digit.digit, digit.duration_ms);
	}
}

START_TEST(test_dtmf_one_digit_a_key)
{
	struct dtmf d = {0};
	char digits[128] = "";
	unsigned int next = 0;

	for (uint32_t now = 0; now < 3000; now += 5) {
		for (; next < 16 && cases[_i].packets[next].duration != 0 && cases[_i].packets[next].at <= now; next++) {
			const struct packet *p = &cases[_i].packets[next];
			uint8_t payload[4] = {
				p->code, (uint8_t)(p->end ? 0x8a : 0x0a), (uint8_t)(p->duration >> 8), (uint8_t)p->duration};

			dtmf_packet(&d, payload, sizeof(payload), p->timestamp, 10000 + now);
		}
		dtmf_tick(&d, 10000 + now);
		hear(&d, digits, sizeof(digits));
	}
	ck_assert_msg(strcmp(digits, cases[_i].digits) == 0, "%s: %s", cases[_i].name, digits);
}
END_TEST

START_TEST(test_dtmf_several_events_in_a_packet)
{
	static const uint8_t payload[] = {1, 0x0a, 0, 160, 2, 0x0a, 0, 160, 3, 0x8a, 0, 160, 9, 9};
	struct dtmf d = {0};
	char digits[64] = "";

	dtmf_packet(&d, payload, sizeof(payload), 800, 1000);
	dtmf_packet(&d, payload, 3, 9000, 1000); /* shorter than an event */
	hear(&d, digits, sizeof(digits));
	ck_assert_str_eq(digits, "1:20 2:20 3:20 ");
	/* The packet comes again. */
	dtmf_packet(&d, payload, sizeof(payload), 800, 1020);
	hear(&d, digits, sizeof(digits));
	ck_assert_str_eq(digits, "1:20 2:20 3:20 ");
}
END_TEST

START_TEST(test_dtmf_is_rate_bounded)
{
	struct dtmf d = {0};
	unsigned int count = 0;
	struct dtmf_digit digit;

	/* A new event in every packet, a hundred a second. */
	for (uint32_t i = 0; i < 1000; i++) {
		uint8_t payload[4] = {1, 0x80, 0, 80};

		dtmf_packet(&d, payload, sizeof(payload), 1000 * i, 10000 + 10 * i);
		while (dtmf_next(&d, &digit))
			count++;
	}
	ck_assert_uint_le(count, 10000 / DTMF_PERIOD_MS + DTMF_BURST);
	ck_assert_uint_ge(count, 10000 / DTMF_PERIOD_MS);
}
END_TEST

static void press(struct dtmf *d, uint8_t code, uint64_t now)
{
	uint8_t payload[4] = {code, 0x80, 0, 160};

	dtmf_packet(d, payload, sizeof(payload), (uint32_t)now * 8, now);
}

START_TEST(test_dtmf_tells_the_model_once)
{
	struct dtmf d = {0};
	char text[DTMF_TEXT_SIZE];

	ck_assert(!dtmf_text(&d, text, 0));
	press(&d, 1, 1000);
	ck_assert(!dtmf_text(&d, text, 1000 + DTMF_PAUSE_MS - 1));
	ck_assert(dtmf_text(&d, text, 1000 + DTMF_PAUSE_MS));
	ck_assert_str_eq(text, "Caller pressed 1.");
	ck_assert(!dtmf_text(&d, text, 9000));
	for (uint8_t i = 0; i < 4; i++)
		press(&d, i, 10000 + 300 * i);
	ck_assert(!dtmf_text(&d, text, 10900));
	press(&d, 11, 11200);
	ck_assert(dtmf_text(&d, text, 11200));
	ck_assert_str_eq(text, "Caller pressed 0 1 2 3 #.");
	for (unsigned int i = 0; i < DTMF_KEYS_MAX; i++) {
		struct dtmf_digit digit;

		ck_assert(!dtmf_text(&d, text, 20000 + 100 * i));
		press(&d, 4, 20000 + 100 * i);
		dtmf_next(&d, &digit);
	}
	ck_assert(dtmf_text(&d, text, 20000 + 100 * DTMF_KEYS_MAX));
	ck_assert_uint_eq(strlen(text), strlen("Caller pressed.") + 2 * DTMF_KEYS_MAX);
}
END_TEST

/* Keys are the model's when it has said something behind them, and until then they are told again. */
START_TEST(test_dtmf_kept_until_answered)
{
	struct dtmf d = {0};
	char text[DTMF_TEXT_SIZE];

	ck_assert(!dtmf_text_again(&d, text));
	press(&d, 1, 1000);
	press(&d, 11, 1200);
	ck_assert(dtmf_text(&d, text, 1200));
	dtmf_told(&d, 7);
	/* Not before it went out, and not at once. */
	dtmf_answered(&d, 5000);
	dtmf_went_out(&d, 6, 5000);
	dtmf_answered(&d, 5500);
	ck_assert(dtmf_text_again(&d, text));
	dtmf_went_out(&d, 7, 6000);
	dtmf_answered(&d, 6000 + DTMF_CONFIRM_MS - 1);
	ck_assert(dtmf_text_again(&d, text));
	ck_assert_str_eq(text, "Caller pressed 1 # before the connection was lost.");
	/* What another connection says confirms nothing, whatever its messages are numbered. */
	dtmf_dropped(&d);
	dtmf_went_out(&d, 7, 7000);
	dtmf_answered(&d, 8000);
	ck_assert(dtmf_text_again(&d, text));
	press(&d, 2, 8000);
	ck_assert(dtmf_text(&d, text, 9000));
	ck_assert_str_eq(text, "Caller pressed 2.");
	ck_assert(dtmf_text_again(&d, text));
	ck_assert_str_eq(text, "Caller pressed 1 # 2 before the connection was lost.");
	dtmf_told(&d, 9);
	dtmf_went_out(&d, 9, 9000);
	dtmf_answered(&d, 9000 + DTMF_CONFIRM_MS);
	ck_assert(!dtmf_text_again(&d, text));
	for (size_t i = 0; i < sizeof(d.told); i++)
		ck_assert_int_eq(d.told[i], 0);
	/* However many there are, the newest are kept. */
	for (unsigned int i = 0; i < 3 * DTMF_KEYS_MAX; i++) {
		struct dtmf_digit digit;

		press(&d, i < 2 * DTMF_KEYS_MAX ? 4 : 5, 20000 + 1000 * i);
		dtmf_next(&d, &digit);
		ck_assert(dtmf_text(&d, text, 20900 + 1000 * i));
	}
	ck_assert(dtmf_text_again(&d, text));
	ck_assert_ptr_null(strchr(text, '4'));
	ck_assert_uint_eq(d.told_count, DTMF_KEYS_MAX);
	ck_assert_ptr_nonnull(strstr(text, "5 before the connection was lost."));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dtmf");
	TCase *keys = tcase_create("keys");

	tcase_add_loop_test(keys, test_dtmf_one_digit_a_key, 0, sizeof(cases) / sizeof(cases[0]));
	suite_add_tcase(suite, keys);
	unit_add(suite, "packets", test_dtmf_several_events_in_a_packet, test_dtmf_is_rate_bounded,
		test_dtmf_tells_the_model_once, test_dtmf_kept_until_answered);
	return unit_run(suite);
}
