/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base64 decoding (see decode64.h).
 */
#include "decode64.h"

#define BAD 0x80u

/* Value + 1 of each character, 0 = none: an initialiser leaves the others 0. */
static const uint8_t values[256] = {
	['A'] = 1,
	['B'] = 2,
	['C'] = 3,
	['D'] = 4,
	['E'] = 5,
	['F'] = 6,
	['G'] = 7,
	['H'] = 8,
	['I'] = 9,
	['J'] = 10,
	['K'] = 11,
	['L'] = 12,
	['M'] = 13,
	['N'] = 14,
	['O'] = 15,
	['P'] = 16,
	['Q'] = 17,
	['R'] = 18,
	['S'] = 19,
	['T'] = 20,
	['U'] = 21,
	['V'] = 22,
	['W'] = 23,
	['X'] = 24,
	['Y'] = 25,
	['Z'] = 26,
	['a'] = 27,
	['b'] = 28,
	['c'] = 29,
	['d'] = 30,
	['e'] = 31,
	['f'] = 32,
	['g'] = 33,
	['h'] = 34,
	['i'] = 35,
	['j'] = 36,
	['k'] = 37,
	['l'] = 38,
	['m'] = 39,
	['n'] = 40,
	['o'] = 41,
	['p'] = 42,
	['q'] = 43,
	['r'] = 44,
	['s'] = 45,
	['t'] = 46,
	['u'] = 47,
	['v'] = 48,
	['w'] = 49,
	['x'] = 50,
	['y'] = 51,
	['z'] = 52,
	['0'] = 53,
	['1'] = 54,
	['2'] = 55,
	['3'] = 56,
	['4'] = 57,
	['5'] = 58,
	['6'] = 59,
	['7'] = 60,
	['8'] = 61,
	['9'] = 62,
	['+'] = 63,
	['/'] = 64,
	['-'] = 63,
	['_'] = 64,
};

/* 0 to 63, or a number with the BAD bit. */
static uint32_t value_of(char character)
{
	return (uint32_t)values[(uint8_t)character] - 1u;
}

bool decode64(const char *text, size_t size, uint8_t *to, size_t *made)
{
	size_t padding = 0, out = 0, at = 0;
	while (padding < 2 && size > 0 && text[size - 1] == '=') {
		size--;
		padding++;
	}
	if (size % 4 == 1 || (padding > 0 && (size + padding) % 4 != 0))
		return false;
	for (; at + 4 <= size; at += 4, out += 3) {
		uint32_t a = value_of(text[at]), b = value_of(text[at + 1]), c = value_of(text[at + 2]),
			 d = value_of(text[at + 3]);
		if ((a | b | c | d) & BAD)
			return false;
		if (to == NULL)
			continue;
		to[out] = (uint8_t)(a << 2 | b >> 4);
		to[out + 1] = (uint8_t)(b << 4 | c >> 2);
		to[out + 2] = (uint8_t)(c << 6 | d);
	}
	if (at < size) {
		uint32_t a = value_of(text[at]), b = value_of(text[at + 1]), c = at + 2 < size ? value_of(text[at + 2]) : 0;
		if ((a | b | c) & BAD)
			return false;
		if (to != NULL) {
			to[out] = (uint8_t)(a << 2 | b >> 4);
			to[out + 1] = (uint8_t)(b << 4 | c >> 2);
		}
		out += size - at - 1;
	}
	*made = out;
	return true;
}
