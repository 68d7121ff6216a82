/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command line of the RTP caller.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct caller_options {
	const char *wav, *record, *json;
	struct sockaddr_storage bind, to;
	uint32_t ssrc;
	bool ssrc_given;
	uint16_t start_seq;
	bool start_seq_given;
	uint8_t payload_type; /* 0 PCMU, 8 PCMA unless told otherwise */
	bool alaw;
	bool marker; /* set the marker bit when an utterance begins */
	unsigned int utterances;
	int64_t start_delay_ms, pause_ms, talk_when_hearing_ms;
	double duration_s; /* 0: until everything is said */
	int64_t ssrc_change_at_ms;
	uint32_t ssrc_change_to; /* 0: the first one + 1 */
	int64_t rebind_at_ms;
	uint16_t rebind_port;
	double reorder, loss, duplicate; /* percent */
	double echo;			 /* percent of the amplitude */
	uint64_t seed;
	int64_t live_ms; /* 0: no live lines */
	int16_t silence_peak;
};

/* "192.0.2.1:5004" or "[2001:db8::1]:5004" to an address. Any thread. Returns 0 or -EINVAL. */
int caller_address_parse(const char *text, struct sockaddr_storage *address);

/* Read the command line. Returns 0, 1 after --help, or -EINVAL with one sentence on stderr. */
int caller_options_parse(int argc, char **argv, struct caller_options *options);
