/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What benches share: medians of rounds, and results as one line per number and, with `--json FILE`, as a JSON array of
 * objects.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
	FILE *json; /* NULL: not wanted */
	unsigned int count;
};

/* Take `--json FILE` out of the arguments. Ends the program when the file cannot be written. */
static inline void bench_init(struct bench *bench, int *argc, char *argv[])
{
	*bench = (struct bench){0};
	for (int i = 1; i + 1 < *argc; i++) {
		if (strcmp(argv[i], "--json") != 0)
			continue;
		bench->json = fopen(argv[i + 1], "w");
		if (bench->json == NULL) {
			perror(argv[i + 1]);
			exit(EXIT_FAILURE);
		}
		fputs("[", bench->json);
		memmove(&argv[i], &argv[i + 2], (size_t)(*argc - i - 1) * sizeof(argv[0]));
		*argc -= 2;
		return;
	}
}

/* One number. */
static inline void bench_report(struct bench *bench, const char *name, double value, const char *unit)
{
	printf("%-58s %10.1f %s\n", name, value, unit);
	fflush(stdout);
	if (bench->json != NULL)
		fprintf(bench->json, "%s\n {\"name\": \"%s\", \"value\": %.3f, \"unit\": \"%s\"}", bench->count > 0 ? "," : "",
			name, value, unit);
	bench->count++;
}

static inline void bench_finish(struct bench *bench)
{
	if (bench->json == NULL)
		return;
	fputs("\n]\n", bench->json);
	fclose(bench->json);
}

static inline int bench_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts `values`. */
static inline double bench_median(double values[], unsigned int count)
{
	qsort(values, count, sizeof(values[0]), bench_compare);
	return values[count / 2];
}
