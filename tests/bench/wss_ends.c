/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ends of wss for a comparison of builds of libwebsockets; only its neutral API is used, so one source compiles against each.
 *   wss_ends server CERTIFICATE KEY [CIPHERS OPTIONS]        prints its port, serves until standard input ends
 *   wss_ends client PORT CA dial|send|receive|hold COUNT    prints what it took of the client as one JSON object
 * dial: COUNT handshakes one after the other. send, receive: COUNT messages over eight connections as fast as they go. hold: COUNT
 * connections that have exchanged a message each way and then stay, for the memory they take.
 */
#include <malloc.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libwebsockets.h>

#define MESSAGE	    4300u /* 100 ms of 16 kHz PCM in base64, and the JSON around it */
#define CONNECTIONS 8u
#define DIALS	    4u	  /* under way at once */
#define RX_BUFFER   4096u /* these three as the worker has them */
#define TX_PACKET   16384u
#define HEADERS	    8192u
#define PROTOCOL    "bench"

enum job { JOB_DIAL, JOB_SEND, JOB_RECEIVE, JOB_HOLD };
static const char *const jobs[] = {"dial", "send", "receive", "hold"};

/* One connection, at either end. */
struct end {
	enum job job;
	bool said;
};

static struct {
	struct lws_context *context;
	enum job job;
	int port;
	unsigned int wanted, started, done;
	bool failed;
} client;
static uint8_t message[LWS_PRE + MESSAGE];

static int write_message(struct lws *wsi)
{
	memset(message + LWS_PRE, 'A', MESSAGE); /* a client's frames are masked in place */
	return lws_write(wsi, message + LWS_PRE, MESSAGE, LWS_WRITE_TEXT) < 0 ? -1 : 0;
}

/* --- server --- */

static int on_server(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct end *end = user;
	char path[32] = "";

	(void)in;
	(void)len;
	switch (reason) {
	case LWS_CALLBACK_ESTABLISHED:
		lws_hdr_copy(wsi, path, sizeof(path), WSI_TOKEN_GET_URI);
		for (unsigned int i = 0; i < LWS_ARRAY_SIZE(jobs); i++)
			if (strcmp(path + 1, jobs[i]) == 0)
				end->job = (enum job)i;
		if (end->job == JOB_RECEIVE)
			lws_callback_on_writable(wsi);
		return 0;
	case LWS_CALLBACK_RECEIVE:
		if (end->job == JOB_HOLD && lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0)
			lws_callback_on_writable(wsi);
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		if (end->job == JOB_DIAL || end->job == JOB_SEND || (end->job == JOB_HOLD && end->said))
			return 0;
		end->said = true;
		if (write_message(wsi) < 0)
			return -1;
		if (end->job == JOB_RECEIVE)
			lws_callback_on_writable(wsi);
		return 0;
	default:
		return 0;
	}
}

/* --- client --- */

static void dial(void)
{
	char path[16];
	struct lws_client_connect_info info = {.context = client.context,
		.address = "127.0.0.1",
		.port = client.port,
		.path = path,
		.host = "localhost",
		.origin = "localhost",
		.protocol = PROTOCOL,
		.alpn = "http/1.1",
		.ssl_connection = LCCSCF_USE_SSL};

	snprintf(path, sizeof(path), "/%s", jobs[client.job]);
	client.started++;
	if (lws_client_connect_via_info(&info) == NULL)
		client.failed = true;
}

static int on_open(struct lws *wsi)
{
	if (client.job == JOB_DIAL) {
		client.done++;
		lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC); /* on_client() dials the next when it is gone */
		return 0;
	}
	if (client.job == JOB_SEND || client.job == JOB_HOLD)
		lws_callback_on_writable(wsi);
	return 0;
}

static int on_client(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct end *end = user;
	bool whole;

	(void)len;
	switch (reason) {
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		fprintf(stderr, "wss_ends: no connection: %s\n", in != NULL ? (const char *)in : "?");
		client.failed = true;
		return 0;
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		return on_open(wsi);
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		if (client.job == JOB_DIAL || (client.job == JOB_HOLD && end->said))
			return 0; /* asked for by the library */
		end->said = true;
		if (write_message(wsi) < 0)
			return -1;
		if (client.job == JOB_SEND && ++client.done < client.wanted)
			lws_callback_on_writable(wsi);
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		whole = lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0;
		client.done += whole;
		if (whole && client.job == JOB_HOLD && client.started < client.wanted)
			dial();
		return 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
		if (client.job == JOB_DIAL && client.started < client.wanted)
			dial();
		return 0;
	default:
		return 0;
	}
}

static double cpu_s(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static double resident_kb(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long all, resident = 0;

	if (file == NULL || fscanf(file, "%lu %lu", &all, &resident) != 2)
		resident = 0;
	if (file != NULL)
		fclose(file);
	return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1024;
}

/* Until `count` are done. The loop is libwebsockets' own; the same for every build. */
static int run_until(unsigned int count)
{
	while (client.done < count && !client.failed)
		if (lws_service(client.context, 0) < 0)
			return -1;
	return client.failed ? -1 : 0;
}

static int run_client(void)
{
	unsigned int at_once = client.job == JOB_DIAL || client.job == JOB_HOLD ? DIALS : CONNECTIONS, warm = at_once;
	double used, resident, heap;

	while (client.started < at_once)
		dial();
	if (run_until(warm) < 0)
		return EXIT_FAILURE;
	warm = client.done;
	used = cpu_s();
	resident = resident_kb();
	heap = (double)mallinfo2().uordblks / 1024;
	if (run_until(client.wanted) < 0)
		return EXIT_FAILURE;
	printf("{\"count\": %u, \"cpu_s\": %.6f, \"resident_kb\": %.0f, \"heap_kb\": %.1f}\n", client.done - warm, cpu_s() - used,
		resident_kb() - resident, (double)mallinfo2().uordblks / 1024 - heap);
	return EXIT_SUCCESS;
}

static const struct lws_protocols server_protocols[] = {
	{.name = PROTOCOL, .callback = on_server, .per_session_data_size = sizeof(struct end), .rx_buffer_size = RX_BUFFER}, {0}};
static const struct lws_protocols client_protocols[] = {{.name = PROTOCOL,
								.callback = on_client,
								.per_session_data_size = sizeof(struct end),
								.rx_buffer_size = RX_BUFFER,
								.tx_packet_size = TX_PACKET},
	{0}};

static int run_server(struct lws_context_creation_info *info, char **arguments)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	struct lws_context *context;

	info->port = 0;
	info->iface = "127.0.0.1";
	info->protocols = server_protocols;
	info->ssl_cert_filepath = arguments[0];
	info->ssl_private_key_filepath = arguments[1];
	if (arguments[2] != NULL) {
		info->ssl_cipher_list = arguments[2];
		info->ssl_options_set = strtol(arguments[3], NULL, 10);
	}
	context = lws_create_context(info);
	if (context == NULL)
		return EXIT_FAILURE;
	printf("%d\n", lws_get_vhost_listen_port(lws_get_vhost_by_name(context, "default")));
	fflush(stdout);
	while (poll(&input, 1, 0) == 0 && lws_service(context, 0) >= 0)
		;
	lws_context_destroy(context);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct lws_context_creation_info info = {
		.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT, .gid = -1, .uid = -1, .pt_serv_buf_size = HEADERS};
	int status;

	lws_set_log_level(LLL_ERR, NULL);
	if ((argc == 4 || argc == 6) && strcmp(argv[1], "server") == 0) {
		info.fd_limit_per_thread = 4096;
		return run_server(&info, argv + 2);
	}
	if (argc != 6 || strcmp(argv[1], "client") != 0) {
		fprintf(stderr, "usage: wss_ends server CERTIFICATE KEY [CIPHERS OPTIONS] | client PORT CA "
				"dial|send|receive|hold COUNT\n");
		return EXIT_FAILURE;
	}
	for (unsigned int i = 0; i < LWS_ARRAY_SIZE(jobs); i++)
		if (strcmp(argv[4], jobs[i]) == 0)
			client.job = (enum job)i;
	client.port = atoi(argv[2]);
	client.wanted = (unsigned int)strtoul(argv[5], NULL, 10);
	info.port = CONTEXT_PORT_NO_LISTEN;
	info.protocols = client_protocols;
	info.options |= LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS;
	info.client_ssl_ca_filepath = argv[3];
	info.fd_limit_per_thread = client.wanted + 64 < 4096 ? client.wanted + 64 : 4096;
	client.context = lws_create_context(&info);
	if (client.context == NULL)
		return EXIT_FAILURE;
	status = run_client();
	fflush(stdout);
	_exit(status); /* taking it down is not what is measured */
}
