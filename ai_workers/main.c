/* SPDX-License-Identifier: Apache-2.0 */
/*
 * voxlane-worker: options, start and stop, and in which order it gives up what it does not need (harden.h).
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../shared/log.h"
#include "harden.h"
#include "master_key.h"
#include "shard.h"
#include "uplink.h"
#include "users.h"
#include "worker.h"

static const char usage[] = "usage: voxlane-worker --dataplane SOCKET --users FILE [options]\n"
			    "\n"
			    "  --dataplane SOCKET  the data plane's socket for workers\n"
			    "  --users FILE        users and their API keys (doc/configuration.md); read again on SIGHUP\n"
			    "  --shard NAME        serve one tenant: --users is a directory, its file NAME.json\n"
			    "  --master-key SOURCE what opens sealed keys: a file, credential (systemd's) or prompt\n"
			    "  --user NAME         give up root for this user before anything is read\n"
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
	OPTION_SHARD,
	OPTION_MASTER_KEY,
	OPTION_USER,
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
	{"shard", required_argument, NULL, OPTION_SHARD},
	{"master-key", required_argument, NULL, OPTION_MASTER_KEY},
	{"user", required_argument, NULL, OPTION_USER},
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
	const char *users, *shard, *user;
	struct master_key master;
	char users_path[4096]; /* of the file */
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
	case OPTION_SHARD:
		c->shard = value;
		return 0;
	case OPTION_MASTER_KEY:
		c->master.source = value;
		c->worker.master = &c->master;
		return 0;
	case OPTION_USER:
		c->user = value;
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

static int fail(const char *place, const struct vl_error *error)
{
	fprintf(stderr, "voxlane-worker: %s%s%s\n", place, *place != '\0' ? ": " : "", error->text);
	return -EPERM;
}

/* Give up what is not needed, before the first secret is read: so a key is never in a process that could be traced, and a reload can
 * read what the start could. */
static int give_up(struct command *c)
{
	struct vl_error error;

	if (harden_memory(&error) != 0 || harden_identity(c->user, &error) != 0)
		return fail("", &error);
	c->worker.users_path = c->users;
	if (c->shard == NULL)
		return 0;
	c->worker.users_path = c->users_path;
	return shard_users_path(c->users_path, sizeof(c->users_path), c->users, c->shard, &error) == 0 ? 0 : fail("", &error);
}

static struct users *load_users(const struct command *c)
{
	struct vl_errors errors = {.secret = true};
	struct users *users = users_load(c->worker.users_path, c->worker.master, &errors);
	unsigned int kept = errors.count < VL_ERRORS_MAX ? errors.count : VL_ERRORS_MAX;

	for (unsigned int i = 0; i < kept; i++)
		fail(c->worker.users_path, &errors.errors[i]);
	return users;
}

/* Everything is loaded that will ever be: forbid what is not needed from here on. */
static int restrict_calls(void)
{
#if defined(__SANITIZE_ADDRESS__)
	/* The sanitizer traces and clones at the end. */
	vl_log_warning("a build with a sanitizer runs without a filter for system calls");
	return 0;
#else
	struct vl_error error;

	return harden_calls(&error) == 0 ? 0 : fail("", &error);
#endif
}

int main(int argc, char **argv)
{
	static struct worker worker;
	static struct command command;
	struct users *users;
	int result = read_command(&command, argc, argv);
	bool ended;

	if (result != 0)
		return result > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
	signal(SIGPIPE, SIG_IGN);
	if (give_up(&command) != 0)
		return EXIT_FAILURE;
	users = load_users(&command);
	if (users == NULL)
		return EXIT_FAILURE;
	if (command.check_users) {
		printf("%s: %zu user%s\n", command.worker.users_path, users->count, users->count == 1 ? "" : "s");
		users_free(users);
		return EXIT_SUCCESS;
	}
	raise_file_limit(command.worker.capacity);
	result = worker_start(&worker, &command.worker, users);
	if (result == 0)
		result = restrict_calls();
	if (result == 0)
		worker_run(&worker);
	ended = worker_stop(&worker);
	master_key_wipe(&command.master);
	vl_log_always("%s", result == 0 ? "stopped" : "could not start");
	if (!ended)
		_exit(result == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
	return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
