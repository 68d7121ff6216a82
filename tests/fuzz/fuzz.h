/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fuzz target offers, and the check it uses: a wrong result must end the process whatever the build type.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Run one input. Called again and again by libFuzzer or run_corpus.c; must leave nothing behind. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_check(condition)     \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)
