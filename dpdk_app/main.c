/* SPDX-License-Identifier: Apache-2.0 */
/*
 * voxlane-dataplane: command line, EAL, start, loop, end.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_version.h>

#include "../shared/log.h"
#include "control_loop.h"
#include "interrupts.h"
#include "start.h"

static const char usage[] =
	"usage: voxlane-dataplane [EAL options] -- --config FILE\n"
	"       voxlane-dataplane --check-config FILE\n"
	"\n"
	"  --config FILE        configuration (doc/configuration.md)\n"
	"  --check-config FILE  check it, show every setting with its effective value, and end; needs no EAL\n"
	"                       (also: [EAL options] -- --config FILE --check-config)\n"
	"  --version            show the version and end\n"
	"  --help               show this and end; EAL options are in DPDK's documentation\n"
	"\n"
	"example: voxlane-dataplane -l 0-1 --no-huge --no-shconf -m 512 --no-pci --vdev=net_tap0,iface=voxlane0 -- "
	"--config voxlane.json\n";

/* Its work at a port's close takes microseconds; a second is for a machine that stands still. */
#define INTERRUPTS_TIMEOUT_MS 1000

struct options {
	const char *config;
	bool check, help, version;
};

void dataplane_random(void *bytes, size_t size)
{
	/* At most 256 bytes at a time are never short and never interrupted; it fails only without the system call. */
	if (getrandom(bytes, size, 0) != (ssize_t)size) {
		perror("getrandom");
		abort();
	}
}

/* Read our own options, `argv[0]` being the program. Returns 0 or -1 with a message printed. */
static int parse_options(int argc, char **argv, struct options *options)
{
	static char name[] = "voxlane-dataplane";
	static const struct option table[] = {
		{"config", required_argument, NULL, 'c'},
		{"check-config", optional_argument, NULL, 'k'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	argv[0] = name; /* it may be the "--" */
	optind = 0;	/* the EAL will use getopt too */
	while ((option = getopt_long(argc, argv, "+", table, NULL)) != -1) {
		switch (option) {
		case 'c':
			options->config = optarg;
			break;
		case 'k':
			options->check = true;
			if (optarg != NULL)
				options->config = optarg;
			else if (optind < argc && argv[optind][0] != '-')
				options->config = argv[optind++];
			break;
		case 'v':
			options->version = true;
			break;
		case 'h':
			options->help = true;
			break;
		default:
			fputs("voxlane-dataplane: see voxlane-dataplane --help\n", stderr); /* getopt said what is wrong */
			return -1;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "voxlane-dataplane: unexpected argument '%s'; see voxlane-dataplane --help\n", argv[optind]);
		return -1;
	}
	return 0;
}

/* Where our own options begin: behind "--", or at once when one of those that need no EAL comes first. 0: there are none. */
static int own_options(int argc, char **argv)
{
	if (argc > 1 && (strncmp(argv[1], "--check-config", strlen("--check-config")) == 0 || strcmp(argv[1], "--help") == 0 ||
				strcmp(argv[1], "--version") == 0))
		return 1;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0)
			return i + 1;
	}
	return 0;
}

static struct config *load_config(const char *path)
{
	struct vl_errors errors = {0}, warnings = {0};
	struct config *config = config_load(path, &errors);

	for (unsigned int i = 0; config == NULL && i < errors.count && i < VL_ERRORS_MAX; i++)
		fprintf(stderr, "voxlane-dataplane: %s: %s\n", path, errors.errors[i].text);
	if (errors.count > VL_ERRORS_MAX)
		fprintf(stderr, "voxlane-dataplane: %s: and %u more errors\n", path, errors.count - VL_ERRORS_MAX);
	if (config == NULL)
		return NULL;
	config_warn(config, &warnings);
	for (unsigned int i = 0; i < warnings.count && i < VL_ERRORS_MAX; i++)
		fprintf(stderr, "voxlane-dataplane: %s: warning: %s\n", path, warnings.errors[i].text);
	return config;
}

static int check_config(const char *path)
{
	struct config *config = load_config(path);

	if (config == NULL)
		return EXIT_FAILURE;
	config_explain(config, stdout);
	config_free(config);
	return EXIT_SUCCESS;
}

/* SIGTERM and SIGINT come by signalfd; the EAL's threads inherit the mask. A peer that closes its socket is no reason to die. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/*
 * The EAL leaves its runtime directory behind. Runs after the EAL's own exit handlers, which were registered later; a directory
 * that still holds something is somebody's and stays.
 */
static void remove_runtime_directory(void)
{
	rmdir(rte_eal_get_runtime_dir());
}

static void log_start(const struct dataplane *dataplane)
{
	const struct config *config = dataplane->config;
	char address[IP_ADDRESS_TEXT_SIZE], address6[IP_ADDRESS_TEXT_SIZE] = "";

	if (config->has_listen6)
		ip_address_format(&config->listen6.address, address6);
	vl_log_always("voxlane %s on %s, node %s: %u packet lcore%s, port %u (%s, %s, %u rx and %u tx queues%s), media at %s%s%s "
		      "UDP %u, control %s, workers %s",
		VOXLANE_VERSION, rte_version(), dataplane->node, dataplane->lcore_count, dataplane->lcore_count == 1 ? "" : "s",
		dataplane->port.id, dataplane->port.name, dataplane->port.driver, dataplane->port.rx_queues,
		dataplane->port.tx_queues, dataplane->port.link_up ? "" : ", link down",
		ip_address_format(&config->listen.ip.address, address), address6[0] != 0 ? " and " : "", address6,
		config->listen.rtp_port, config->sockets.control, config->sockets.workers);
}

static int run(struct dataplane *dataplane)
{
	int result;

	if (start_all(dataplane) < 0) {
		fprintf(stderr, "voxlane-dataplane: %s\n", dataplane->error);
		return EXIT_FAILURE;
	}
	log_start(dataplane);
	result = control_loop_run(dataplane);
	if (result < 0)
		fprintf(stderr, "voxlane-dataplane: the control loop failed: %s\n", strerror(-result));
	stop_all(dataplane);
	vl_log_always("ended");
	return result < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static struct dataplane dataplane = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct options options = {0};
	int own = own_options(argc, argv), result;

	if (own > 0 && parse_options(argc - own + 1, argv + own - 1, &options) < 0)
		return EXIT_FAILURE;
	if (options.help || options.version) {
		if (options.version)
			printf("voxlane-dataplane %s (%s)\n", VOXLANE_VERSION, rte_version());
		else
			fputs(usage, stdout);
		return EXIT_SUCCESS;
	}
	if (options.config == NULL) {
		fprintf(stderr, "voxlane-dataplane: %s; see voxlane-dataplane --help\n",
			own > 0 ? "--config FILE is missing"
				: "--config FILE is missing: our options come behind the EAL's and a '--'");
		return EXIT_FAILURE;
	}
	if (options.check)
		return check_config(options.config);
	dataplane.config = load_config(options.config);
	if (dataplane.config == NULL)
		return EXIT_FAILURE;
	vl_log_init("dataplane", (enum vl_log_level)dataplane.config->log.level);
	block_signals();
	atexit(remove_runtime_directory);
	if (rte_eal_init(own - 1, argv) < 0) {
		fprintf(stderr, "voxlane-dataplane: the EAL did not start: %s (its own words are above)\n",
			rte_strerror(rte_errno));
		config_free(dataplane.config);
		return EXIT_FAILURE;
	}
	result = run(&dataplane);
	if (interrupts_settle(INTERRUPTS_TIMEOUT_MS))
		rte_eal_cleanup();
	config_free(dataplane.config);
	return result;
}
