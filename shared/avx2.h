/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVX2 in the few files that use it, whatever processor the rest is built for. Each has a scalar twin that gives the same bytes.
 */
#pragma once

#include <stdbool.h>

/* Before a function that may use AVX2, and is called only where vl_has_avx2(). */
#define VL_AVX2 __attribute__((target("avx2")))

/* Whether this processor has AVX2. Any thread. */
static inline bool vl_has_avx2(void)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("avx2") != 0;
#else
	return false;
#endif
}
