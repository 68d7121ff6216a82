/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What benches share: medians of rounds and how far they spread, as one line per number and, with `--json FILE`, as a JSON array
 * of objects {name, value, low, high, samples, unit}.
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

static inline void bench_write(
	struct bench *bench, const char *name, double value, double low, double high, unsigned int samples, const char *unit)
{
	if (samples > 1)
		printf("%-58s %10.1f  (%.1f to %.1f) %s\n", name, value, low, high, unit);
	else
		printf("%-58s %10.1f %s\n", name, value, unit);
	fflush(stdout);
	if (bench->json != NULL)
		fprintf(bench->json,
			"%s\n {\"name\": \"%s\", \"value\": %.3f, \"low\": %.3f, \"high\": %.3f, \"samples\": %u, \"unit\": "
			"\"%s\"}",
			bench->count > 0 ? "," : "", name, value, low, high, samples, unit);
	bench->count++;
}

/* One number. */
static inline void bench_report(struct bench *bench, const char *name, double value, const char *unit)
{
	bench_write(bench, name, value, value, value, 1, unit);
}

/* The median of `values`, and the tenth and ninetieth percentile as its spread. Sorts `values`. */
static inline void bench_report_samples(
	struct bench *bench, const char *name, double values[], unsigned int count, const char *unit)
{
	double median = bench_median(values, count);

	bench_write(bench, name, median, values[count / 10], values[count - 1 - count / 10], count, unit);
}

static inline void bench_finish(struct bench *bench)
{
	if (bench->json == NULL)
		return;
	fputs("\n]\n", bench->json);
	fclose(bench->json);
}
