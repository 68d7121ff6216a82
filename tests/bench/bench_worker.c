/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_worker [calls [seconds]]: what one worker process costs with duplex audio over real TLS against the local emulator,
 * played by fake_dataplane. CPU is the worker's own user and system time from /proc/PID/stat over the middle of the run; on a
 * machine where all three share the cores the emulator's half of loopback TCP is in it too.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "bench.h"
#include "shared/clock.h"

#define CALLS_DEFAULT	50u
#define SECONDS_DEFAULT 30u
#define WARM_UP_S	5u /* dials and first turns */
#define KEY		"BENCH-KEY-0123456789"

extern char **environ;

static char directory[] = "/tmp/voxlane-bench-XXXXXX", programs[PATH_MAX];
static pid_t started[3];
static unsigned int started_count;

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
	(void)info;
	(void)type;
	(void)where;
	return remove(path);
}

static void clean_up(void)
{
	while (started_count > 0) {
		kill(started[--started_count], SIGTERM);
		waitpid(started[started_count], NULL, 0);
	}
	nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void die(const char *what)
{
	fprintf(stderr, "bench_worker: %s\n", what);
	exit(EXIT_FAILURE);
}

/* Start `program` of the build tree in our directory, output to `log`. */
static pid_t start(const char *program, const char *log, const char *const arguments[])
{
	posix_spawn_file_actions_t actions;
	char path[PATH_MAX + 64];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/%s", programs, program);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_addopen(&actions, 2, "errors.log", O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (posix_spawn(&pid, path, &actions, NULL, (char *const *)(uintptr_t)arguments, environ) != 0)
		die(path);
	posix_spawn_file_actions_destroy(&actions);
	started[started_count++] = pid;
	return pid;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	int file = open(name, O_WRONLY | O_CREAT | O_TRUNC, mode);

	if (file < 0 || write(file, text, strlen(text)) != (ssize_t)strlen(text))
		die(name);
	close(file);
}

static char *read_file(const char *name)
{
	static char text[1u << 22];
	FILE *file = fopen(name, "r");
	size_t len = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;

	if (file != NULL)
		fclose(file);
	text[len] = '\0';
	return text;
}

/* A private CA and the emulator's certificate. */
static void make_certificates(void)
{
	static const char script[] = "exec >openssl.log 2>&1; set -e; ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'\n"
				     "openssl req -x509 $ec -keyout ca.key -out ca.pem -days 2 -subj '/CN=bench CA'\n"
				     "openssl req $ec -keyout server.key -out server.csr -subj /CN=localhost\n"
				     "printf subjectAltName=DNS:localhost >server.ext\n"
				     "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem "
				     "-days 2 -extfile server.ext\n";

	if (system(script) != 0)
		die("openssl could not make certificates");
}

/* Three seconds of a warbling tone, 8 kHz: the emulator takes it for speech. */
static void write_speech(void)
{
	uint32_t count = 3 * 8000, bytes = count * 2, riff = bytes + 36, rate = 8000, byte_rate = 16000, chunk = 16;
	uint16_t pcm = 1, channels = 1, align = 2, bits = 16;
	FILE *file = fopen("speech.wav", "w");

	if (file == NULL)
		die("speech.wav");
	fwrite("RIFF", 1, 4, file);
	fwrite(&riff, 4, 1, file);
	fwrite("WAVEfmt ", 1, 8, file);
	fwrite(&chunk, 4, 1, file);
	fwrite(&pcm, 2, 1, file);
	fwrite(&channels, 2, 1, file);
	fwrite(&rate, 4, 1, file);
	fwrite(&byte_rate, 4, 1, file);
	fwrite(&align, 2, 1, file);
	fwrite(&bits, 2, 1, file);
	fwrite("data", 1, 4, file);
	fwrite(&bytes, 4, 1, file);
	for (uint32_t i = 0; i < count; i++) {
		int16_t sample = (int16_t)lrint(8000.0 * sin(i * 0.3) * (1.0 + 0.5 * sin(i * 0.004)));

		fwrite(&sample, 2, 1, file);
	}
	fclose(file);
}

/* The emulator's port, when it says it. */
static unsigned int wait_port(void)
{
	for (int i = 0; i < 500; i++) {
		const char *at = strstr(read_file("emulator.log"), "listening on port ");

		if (at != NULL && strchr(at, '\n') != NULL)
			return (unsigned int)atoi(at + strlen("listening on port "));
		usleep(10000);
	}
	die("the emulator does not start");
	return 0;
}

static double cpu_seconds(pid_t pid)
{
	char path[64];
	unsigned long user, system;
	const char *behind;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	behind = strrchr(read_file(path), ')');
	if (behind == NULL || sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
		die("the worker has ended");
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double memory_kb(pid_t pid)
{
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	at = strstr(read_file(path), "VmRSS:");
	return at != NULL ? atof(at + strlen("VmRSS:")) : 0.0;
}

static double number(const cJSON *object, const char *name)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(value) ? value->valuedouble : 0.0;
}

static void report(struct bench *bench, unsigned int calls, double cpu, double kb, double idle_kb)
{
	cJSON *tree = cJSON_Parse(read_file("report.json")), *worker = cJSON_GetObjectItemCaseSensitive(tree, "worker"), *call;
	double underruns = 0, frames = 0;

	cJSON_ArrayForEach(call, cJSON_GetObjectItemCaseSensitive(tree, "calls"))
	{
		underruns += number(call, "underruns");
		frames += number(call, "frames");
	}
	printf("%u duplex calls over TLS, %.0f frames played\n", calls, frames);
	bench_report(bench, "worker: core per call", cpu * 1000.0 / calls, "thousandths of %");
	bench_report(bench, "worker: core in all", cpu, "%");
	bench_report(bench, "worker: memory per call beyond the idle process", (kb - idle_kb) / calls, "KB");
	bench_report(bench, "RTP arrival to websocket write, p99",
		number(cJSON_GetObjectItemCaseSensitive(worker, "rtp_to_websocket_us"), "p99") / 1000.0, "ms");
	bench_report(bench, "first audio message to downlink ring, p99",
		number(cJSON_GetObjectItemCaseSensitive(worker, "message_to_ring_us"), "p99") / 1000.0, "ms");
	bench_report(bench, "dial to setupComplete, p99 (the emulator takes 250)",
		number(cJSON_GetObjectItemCaseSensitive(worker, "dial_us"), "p99") / 1000.0, "ms");
	bench_report(bench, "longest turn of the loop", number(worker, "loop_longest_us") / 1000.0, "ms");
	bench_report(bench, "frames missing in the middle of a turn", underruns, "frames");
	bench_report(bench, "connections that failed", number(worker, "sockets_failed"), "connections");
	cJSON_Delete(tree);
}

static void find_programs(void)
{
	ssize_t len = readlink("/proc/self/exe", programs, sizeof(programs) - 1);

	if (len < 0)
		die("/proc/self/exe");
	programs[len] = '\0';
	for (int up = 0; up < 3; up++)
		*strrchr(programs, '/') = '\0';
}

int main(int argc, char *argv[])
{
	struct bench bench;
	char users[512], calls_text[16], seconds_text[16];
	unsigned int calls, seconds;
	double before, after, idle_kb, kb;
	uint64_t from_us, to_us;
	pid_t worker, plane;

	bench_init(&bench, &argc, argv);
	calls = argc > 1 ? (unsigned int)atoi(argv[1]) : CALLS_DEFAULT;
	seconds = argc > 2 ? (unsigned int)atoi(argv[2]) : SECONDS_DEFAULT;
	if (calls == 0 || calls > 4000 || seconds < WARM_UP_S + 5 || seconds > 600)
		die("usage: bench_worker [calls 1-4000 [seconds 10-600]]");
	find_programs();
	if (mkdtemp(directory) == NULL || chdir(directory) != 0)
		die(directory);
	atexit(clean_up);
	make_certificates();
	write_speech();
	start("tests/emulator/gemini-emulator", "emulator.log",
		(const char *[]){"gemini-emulator", "--cert", "server.pem", "--key", "server.key", "--api-key", KEY "=bench",
			"--seed", "1", NULL});
	snprintf(users, sizeof(users),
		"{\"gemini\":{\"endpoint\":\"wss://localhost:%u\",\"ca_file\":\"%s/ca.pem\",\"model\":\"gemini-3.8-live\"},"
		"\"users\":[{\"name\":\"bench\",\"api_key\":\"" KEY "\"}]}",
		wait_port(), directory);
	write_file("users.json", users, 0600);
	snprintf(calls_text, sizeof(calls_text), "%u", calls);
	snprintf(seconds_text, sizeof(seconds_text), "%u", seconds);
	worker = start("ai_workers/voxlane-worker", "worker.log",
		(const char *[]){"voxlane-worker", "--dataplane", "workers.sock", "--users", "users.json", "--capacity", "4000",
			"--log", "error", NULL});
	usleep(1000000);
	idle_kb = memory_kb(worker);
	plane = start("tests/tools/fake_dataplane", "report.json",
		(const char *[]){"fake_dataplane", "--socket", "workers.sock", "--wav", "speech.wav", "--calls", calls_text,
			"--seconds", seconds_text, "--quiet", NULL});
	sleep(WARM_UP_S);
	from_us = vl_clock_us();
	before = cpu_seconds(worker);
	sleep(seconds - WARM_UP_S - 2);
	after = cpu_seconds(worker);
	to_us = vl_clock_us();
	kb = memory_kb(worker);
	waitpid(plane, NULL, 0);
	started_count--;
	report(&bench, calls, (after - before) * 100e6 / (double)(to_us - from_us), kb, idle_kb);
	bench_finish(&bench);
	return EXIT_SUCCESS;
}
