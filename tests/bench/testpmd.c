/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See testpmd.h. The capture is written here: 8,192 RTP packets of 20 ms of G.711, so that testpmd's mbufs wander through the
 * last-level cache as those of bench_receive.c do.
 */
#include "testpmd.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>

#include "dpdk_app/headers.h"

#define FRAMES	   8192u
#define RTP_SIZE   172u
#define FRAME_SIZE (14u + 20u + 8u + RTP_SIZE)
#define SECONDS	   3u

static void write_capture(FILE *file)
{
	const uint32_t header[] = {0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1}; /* classic pcap, Ethernet */
	const uint32_t record[] = {0, 0, FRAME_SIZE, FRAME_SIZE};
	struct headers_spec spec = {.destination_mac = {2, 0, 0, 0, 0, 1}, .source_mac = {2, 0, 0, 0, 0, 2}};
	struct header_template template;
	uint8_t frame[FRAME_SIZE] = {0};

	ip_address_parse("192.168.50.50", &spec.local.address);
	ip_address_parse("10.77.0.1", &spec.remote.address);
	spec.remote.port = 5004;
	fwrite(header, sizeof(header), 1, file);
	for (uint32_t i = 0; i < FRAMES; i++) {
		spec.local.port = (uint16_t)(1024 + 2 * i);
		if (headers_build(&template, &spec) != 0)
			return;
		memcpy(frame, template.bytes, template.len);
		frame[template.len] = 0x80;
		headers_finish(&template, frame, RTP_SIZE, (uint16_t)i);
		fwrite(record, sizeof(record), 1, file);
		fwrite(frame, sizeof(frame), 1, file);
	}
}

/* The value of a line "CPU cycles/packet=105.44 (...". */
static double read_cycles(FILE *output)
{
	static const char key[] = "CPU cycles/packet=";
	double cycles = 0;
	char line[512];

	while (fgets(line, sizeof(line), output) != NULL) {
		const char *found = strstr(line, key);

		if (found != NULL)
			cycles = atof(found + sizeof(key) - 1);
	}
	return cycles;
}

double testpmd_cycles(const char *mode)
{
	char path[] = "/tmp/bench_frames_XXXXXX", command[512];
	int fd = mkstemp(path);
	FILE *capture = fd < 0 ? NULL : fdopen(fd, "w"), *output;
	double cycles = 0;

	if (capture == NULL)
		return 0;
	write_capture(capture);
	fclose(capture);
	/* It runs until it reads a line. */
	snprintf(command, sizeof(command),
		"(sleep %u; echo) | timeout 60 dpdk-testpmd --no-pci %s --no-telemetry -m 256 -l 0,1 --log-level=error "
		"--vdev net_pcap0,rx_pcap=%s,infinite_rx=1 -- --forward-mode=%s --auto-start --record-core-cycles "
		"--no-mlockall --total-num-mbufs=32767 2>&1",
		SECONDS, rte_eal_has_hugepages() ? "--in-memory" : "--no-huge --no-shconf", path, mode);
	output = popen(command, "r");
	if (output != NULL) {
		cycles = read_cycles(output);
		pclose(output);
	}
	unlink(path);
	return cycles;
}
