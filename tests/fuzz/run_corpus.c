/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs every file of a directory through a fuzz target once, as a unit test, where libFuzzer is not there. TAP: one case a file.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

/* Run the target on one file, from a buffer of exactly its size so that sanitizers see an overrun. Returns 0 or 1. */
static int run_file(const char *directory, const char *name)
{
	char path[4096];
	FILE *file;
	uint8_t *data;
	long size;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "rb");
	if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0 || fseek(file, 0, SEEK_SET) != 0) {
		perror(path);
		return 1;
	}
	data = malloc(size > 0 ? (size_t)size : 1);
	if (data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size) {
		perror(path);
		return 1;
	}
	fclose(file);
	LLVMFuzzerTestOneInput(data, (size_t)size);
	free(data);
	return 0;
}

int main(int count, char **arguments)
{
	struct dirent **names;
	int files, cases = 0, failed = 0;

	if (count != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", arguments[0]);
		return 2;
	}
	files = scandir(arguments[1], &names, NULL, alphasort);
	if (files < 0) {
		perror(arguments[1]);
		return 2;
	}
	for (int i = 0; i < files; i++) {
		if (names[i]->d_name[0] != '.') {
			int bad = run_file(arguments[1], names[i]->d_name);

			printf("%sok %d - %s\n", bad != 0 ? "not " : "", ++cases, names[i]->d_name);
			fflush(stdout);
			failed += bad;
		}
		free(names[i]);
	}
	free(names);
	printf("1..%d\n", cases);
	return failed != 0 || cases == 0;
}
