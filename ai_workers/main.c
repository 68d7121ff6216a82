/* SPDX-License-Identifier: Apache-2.0 */
/*
 * voxlane-worker: options, protection of the keys in its memory, start and stop.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../shared/log.h"
#include "uplink.h"
#include "users.h"
#include "worker.h"

static const char usage[] = "usage: voxlane-worker --dataplane SOCKET --users FILE [options]\n"
			    "\n"
			    "  --dataplane SOCKET  the data plane's socket for workers\n"
			    "  --users FILE        users and their API keys (doc/configuration.md)\n"
			    "  --name NAME         unique name, 1-32 of [A-Za-z0-9_.-] (worker-PID)\n"
			    "  --capacity N        most calls at a time, 1-100000 (1000)\n"
			    "  --message-ms N      caller audio in one message, 20-200, a multiple of 20 (40)\n"
			    "  --uplink-rate HZ    rate of the caller's audio towards the model, 16000 or 8000 (16000)\n"
			    "  --log LEVEL         error, warning, info or debug (info)\n"
			    "  --check-users       check the users file and exit\n"
			    "  --help, --version\n";

enum {
	OPTION_DATAPLANE = 256,
	OPTION_USERS,
	OPTION_NAME,
	OPTION_CAPACITY,
	OPTION_MESSAGE_MS,
	OPTION_UPLINK_RATE,
	OPTION_LOG,
	OPTION_CHECK_USERS,
	OPTION_HELP,
	OPTION_VERSION
};

static const struct option long_options[] = {
	{"dataplane", required_argument, NULL, OPTION_DATAPLANE},
	{"users", required_argument, NULL, OPTION_USERS},
	{"name", required_argument, NULL, OPTION_NAME},
	{"capacity", required_argument, NULL, OPTION_CAPACITY},
	{"message-ms", required_argument, NULL, OPTION_MESSAGE_MS},
	{"uplink-rate", required_argument, NULL, OPTION_UPLINK_RATE},
	{"log", required_argument, NULL, OPTION_LOG},
	{"check-users", no_argument, NULL, OPTION_CHECK_USERS},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{0},
};

struct command {
	struct worker_options worker;
	const char *users;
	bool check_users;
	char default_name[32];
};

static int bad(const char *option, const char *value, const char *wanted)
{
	fprintf(stderr, "voxlane-worker: %s %s: must be %s\n", option, value, wanted);
	return -EINVAL;
}

static int read_number(const char *option, const char *text, unsigned long min, unsigned long max, unsigned int *value)
{
	char wanted[64], *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, 10);
	snprintf(wanted, sizeof(wanted), "a number from %lu to %lu", min, max);
	if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || number < min || number > max)
		return bad(option, text, wanted);
	*value = (unsigned int)number;
	return 0;
}

static int read_name(const char *name)
{
	size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");

	return len >= 1 && len <= 32 && name[len] == '\0' ? 0 : bad("--name", name, "1 to 32 of [A-Za-z0-9_.-]");
}

/* One option. Returns 0, -EINVAL with a message, or 1: done, exit with success. */
static int read_option(struct command *c, int option, const char *value, int *level)
{
	switch (option) {
	case OPTION_DATAPLANE:
		c->worker.dataplane = value;
		return 0;
	case OPTION_USERS:
		c->users = value;
		return 0;
	case OPTION_NAME:
		c->worker.name = value;
		return read_name(value);
	case OPTION_CAPACITY:
		return read_number("--capacity", value, 1, 100000, &c->worker.capacity);
	case OPTION_MESSAGE_MS:
		if (read_number("--message-ms", value, 20, UPLINK_MESSAGE_MS_MAX, &c->worker.message_ms) != 0)
			return -EINVAL;
		return c->worker.message_ms % 20 == 0 ? 0 : bad("--message-ms", value, "a multiple of 20");
	case OPTION_UPLINK_RATE:
		if (read_number("--uplink-rate", value, 8000, 16000, &c->worker.uplink_rate) != 0)
			return -EINVAL;
		return c->worker.uplink_rate % 8000 == 0 ? 0 : bad("--uplink-rate", value, "8000 or 16000");
	case OPTION_LOG:
		*level = vl_log_level_parse(value);
		return *level >= 0 ? 0 : bad("--log", value, "error, warning, info or debug");
	case OPTION_CHECK_USERS:
		c->check_users = true;
		return 0;
	case OPTION_HELP:
		fputs(usage, stdout);
		return 1;
	case OPTION_VERSION:
		puts("voxlane-worker " VOXLANE_VERSION);
		return 1;
	default:
		fputs("voxlane-worker --help lists the options\n", stderr);
		return -EINVAL;
	}
}

static int read_command(struct command *c, int argc, char **argv)
{
	int option, result, level = VL_LOG_INFO;

	*c = (struct command){.worker = {.message_ms = 40, .uplink_rate = 16000, .capacity = 1000}};
	snprintf(c->default_name, sizeof(c->default_name), "worker-%d", (int)getpid());
	c->worker.name = c->default_name;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		result = read_option(c, option, optarg, &level);
		if (result != 0)
			return result;
	}
	if (optind < argc) {
		fprintf(stderr, "voxlane-worker: unexpected argument '%s'\n", argv[optind]);
		return -EINVAL;
	}
	if (c->users == NULL || (c->worker.dataplane == NULL && !c->check_users)) {
		fputs("voxlane-worker: --dataplane and --users are needed; --help lists the options\n", stderr);
		return -EINVAL;
	}
	vl_log_init(c->worker.name, (enum vl_log_level)level);
	return 0;
}

/* Keys are in this process's memory: no core file, no ptrace by the same user, no /proc/PID/mem. */
static void protect_memory(void)
{
	struct rlimit none = {0, 0};

	if (prctl(PR_SET_DUMPABLE, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
		vl_log_warning("cannot forbid core files: %s", strerror(errno));
}

/* A socket per call, and one that is being closed. */
static void raise_file_limit(unsigned int capacity)
{
	struct rlimit limit;
	rlim_t wanted = (rlim_t)capacity * 2 + 256;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
		vl_log_warning("only %lu open files are allowed; %u calls may need %lu (ulimit -n)",
			(unsigned long)limit.rlim_cur, capacity, (unsigned long)wanted);
}

static struct users *load_users(const char *path)
{
	struct vl_errors errors = {.secret = true};
	struct users *users = users_load(path, &errors);
	unsigned int kept = errors.count < VL_ERRORS_MAX ? errors.count : VL_ERRORS_MAX;

	for (unsigned int i = 0; i < kept; i++)
		fprintf(stderr, "voxlane-worker: %s: %s\n", path, errors.errors[i].text);
	return users;
}

int main(int argc, char **argv)
{
	static struct worker worker;
	struct command command;
	struct users *users;
	int result = read_command(&command, argc, argv);

	if (result != 0)
		return result > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
	protect_memory();
	signal(SIGPIPE, SIG_IGN);
	users = load_users(command.users);
	if (users == NULL)
		return EXIT_FAILURE;
	if (command.check_users) {
		printf("%s: %zu users\n", command.users, users->count);
		users_free(users);
		return EXIT_SUCCESS;
	}
	raise_file_limit(command.worker.capacity);
	result = worker_start(&worker, &command.worker, users);
	if (result == 0)
		worker_run(&worker);
	worker_stop(&worker);
	users_free(users);
	vl_log_always("%s", result == 0 ? "stopped" : "could not start");
	return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
