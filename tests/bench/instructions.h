/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions whose instructions are counted: instructions.c walks the lists of the data plane's and the worker's, under
 * callgrind. Input is the same in every run: no clock, no chance.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct instructions_case {
	const char *name;      /* as in instructions.json */
	const char *unit;      /* what one of is counted */
	uint32_t count;	       /* how many of them one run makes */
	void (*prepare)(void); /* before each run, not counted; NULL: nothing */
	void (*run)(void);
};

extern const struct instructions_case dataplane_cases[], worker_cases[]; /* end with an empty name */

/* Once, before their cases. End the program on failure. */
void dataplane_cases_setup(void);
void worker_cases_setup(void);

/* What a run computes, so that the compiler keeps it. */
extern volatile uint64_t instructions_sink;
