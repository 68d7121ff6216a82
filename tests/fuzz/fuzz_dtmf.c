/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: telephone-event payloads. Input: records of one byte of length, one byte of ms to wait, four bytes of timestamp and
 * the payload. Digits are digits, no faster than a finger, and the text for the model says each of them.
 */
#include <string.h>

#include "ai_workers/dtmf.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[DTMF_TEXT_SIZE];
	struct dtmf_digit digit;
	struct dtmf dtmf = {0};
	uint64_t now_ms = 1000, count = 0;

	while (size >= 6) {
		size_t len = data[0] % 40u, rest = size - 6;
		uint32_t timestamp;

		if (len > rest)
			len = rest;
		now_ms += data[1];
		memcpy(&timestamp, data + 2, sizeof(timestamp));
		dtmf_packet(&dtmf, data + 6, len, timestamp, now_ms);
		dtmf_tick(&dtmf, now_ms);
		while (dtmf_next(&dtmf, &digit)) {
			fuzz_check(digit.digit != '\0' && strchr("0123456789*#ABCD", digit.digit) != NULL);
			count++;
		}
		fuzz_check(count <= DTMF_BURST + 1 + (now_ms - 1000) / DTMF_PERIOD_MS);
		if (dtmf_text(&dtmf, text, now_ms))
			fuzz_check(memchr(text, '\0', sizeof(text)) != NULL && strncmp(text, "Caller pressed ", 15) == 0);
		data += 6 + len;
		size -= 6 + len;
	}
	return 0;
}
