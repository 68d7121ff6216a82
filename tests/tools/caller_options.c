/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command line of the RTP caller.
 */
#include "caller_options.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* X(name, has argument, "argument", "what") in the order of --help. */
#define OPTIONS(X)                                                                                                 \
	X(bind, 1, "IP:PORT", "our address (required); IPv6 as [ADDR]:PORT")                                       \
	X(to, 1, "IP:PORT", "where the RTP goes (required)")                                                       \
	X(wav, 1, "FILE", "what we say; any rate, mono or stereo; without it we send silence")                     \
	X(codec, 1, "PCMU|PCMA", "default PCMU")                                                                   \
	X(payload_type, 1, "N", "RTP payload type, default the codec's")                                           \
	X(ssrc, 1, "N", "default random")                                                                          \
	X(start_seq, 1, "N", "first sequence number, default random")                                              \
	X(marker, 0, "", "set the marker bit where an utterance begins")                                           \
	X(repeat, 1, "N", "how often the file is said, default 1, 0 for ever")                                     \
	X(start_delay_ms, 1, "N", "silence before the first utterance")                                            \
	X(pause_ms, 1, "N", "silence after each utterance, default 2000")                                          \
	X(talk_when_hearing_ms, 1, "N", "barge in: later utterances begin N ms into each answer")                  \
	X(duration_s, 1, "S", "stop after S seconds, default when all is said")                                    \
	X(ssrc_change_at_ms, 1, "N", "go on with another SSRC")                                                    \
	X(ssrc_change_to, 1, "N", "that SSRC, default the first one + 1")                                          \
	X(rebind_at_ms, 1, "N", "go on from another source port")                                                  \
	X(rebind_port, 1, "PORT", "that port")                                                                     \
	X(echo, 1, "PERCENT", "what we hear comes back, so loud, after 100 ms: a phone without an echo canceller") \
	X(reorder, 1, "PERCENT", "packets swapped with the next one")                                              \
	X(loss, 1, "PERCENT", "packets not sent")                                                                  \
	X(duplicate, 1, "PERCENT", "packets sent twice")                                                           \
	X(seed, 1, "N", "of the three above, default 1")                                                           \
	X(silence_peak, 1, "N", "a frame whose loudest sample is not above this is silence, default 64")           \
	X(record, 1, "FILE", "stereo WAV: left what we sent, right what came back")                                \
	X(json, 1, "FILE", "the report; - for stdout")                                                             \
	X(live_ms, 1, "N", "print one line of JSON every N ms on stdout")                                          \
	X(help, 0, "", "this text")

enum {
#define X(name, has_argument, argument, what) OPTION_##name,
	OPTIONS(X)
#undef X
		OPTION_COUNT
};

static const char *const help_arguments[] = {
#define X(name, has_argument, argument, what) argument,
	OPTIONS(X)
#undef X
};

static const char *const help_texts[] = {
#define X(name, has_argument, argument, what) what,
	OPTIONS(X)
#undef X
};

static char option_names[OPTION_COUNT][32];
static struct option long_options[OPTION_COUNT + 1];

static void long_options_build(void)
{
	static const struct {
		const char *name;
		int has_argument;
	} table[] = {
#define X(name, has_argument, argument, what) {#name, has_argument},
		OPTIONS(X)
#undef X
	};
	for (int i = 0; i < OPTION_COUNT; i++) {
		snprintf(option_names[i], sizeof(option_names[i]), "%s", table[i].name);
		for (char *c = option_names[i]; *c; c++)
			if (*c == '_')
				*c = '-';
		long_options[i] = (struct option){option_names[i], table[i].has_argument, NULL, 256 + i};
	}
}

static void print_help(void)
{
	puts("voxlane-rtp-caller: a phone for tests. Speaks a sound file as G.711 RTP and reports what comes back.\n");
	for (int i = 0; i < OPTION_COUNT; i++) {
		printf("  --%-22s %-10s %s\n", option_names[i], help_arguments[i], help_texts[i]);
	}
}

int caller_address_parse(const char *text, struct sockaddr_storage *address)
{
	char host[64];
	const char *colon = strrchr(text, ':');
	if (!colon || colon == text || (size_t)(colon - text) >= sizeof(host))
		return -EINVAL;
	size_t len = (size_t)(colon - text);
	if (text[0] == '[' && colon[-1] == ']') {
		text++;
		len -= 2;
	} else if (memchr(text, ':', len)) {
		return -EINVAL;
	}
	memcpy(host, text, len);
	host[len] = '\0';
	char *end;
	unsigned long port = strtoul(colon + 1, &end, 10);
	if (end == colon + 1 || *end || port > 65535)
		return -EINVAL;
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM}, *found;
	if (getaddrinfo(host, NULL, &hints, &found))
		return -EINVAL;
	memset(address, 0, sizeof(*address));
	memcpy(address, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	if (address->ss_family == AF_INET6)
		((struct sockaddr_in6 *)address)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)address)->sin_port = htons((uint16_t)port);
	return 0;
}

static int complain(int option, const char *value, const char *wanted)
{
	fprintf(stderr, "--%s: '%s' is not %s\n", option_names[option], value, wanted);
	return -EINVAL;
}

/* A number within [low, high]. */
static int number(int option, const char *value, double low, double high, double *result)
{
	char wanted[80], *end;
	errno = 0;
	/* Base 0 takes 0x...; fractions only where strtod is needed. */
	*result = strchr(value, '.') ? strtod(value, &end) : (double)strtoll(value, &end, 0);
	if (!errno && end != value && !*end && *result >= low && *result <= high)
		return 0;
	snprintf(wanted, sizeof(wanted), "a number from %.0f to %.0f", low, high);
	return complain(option, value, wanted);
}

static int option_text(struct caller_options *o, int option, const char *value)
{
	switch (option) {
	case OPTION_bind:
		return caller_address_parse(value, &o->bind) ? complain(option, value, "an address and port") : 0;
	case OPTION_to:
		return caller_address_parse(value, &o->to) ? complain(option, value, "an address and port") : 0;
	case OPTION_wav:
		o->wav = value;
		return 0;
	case OPTION_record:
		o->record = value;
		return 0;
	case OPTION_json:
		o->json = value;
		return 0;
	case OPTION_marker:
		o->marker = true;
		return 0;
	case OPTION_codec:
		o->alaw = !strcmp(value, "PCMA");
		return !o->alaw && strcmp(value, "PCMU") ? complain(option, value, "PCMU or PCMA") : 0;
	}
	return 1;
}

static int option_number(struct caller_options *o, int option, const char *value)
{
	static const double highest[OPTION_COUNT] = {
		[OPTION_payload_type] = 127,
		[OPTION_ssrc] = UINT32_MAX,
		[OPTION_ssrc_change_to] = UINT32_MAX,
		[OPTION_start_seq] = UINT16_MAX,
		[OPTION_rebind_port] = UINT16_MAX,
		[OPTION_reorder] = 100,
		[OPTION_echo] = 100,
		[OPTION_loss] = 100,
		[OPTION_duplicate] = 100,
		[OPTION_silence_peak] = INT16_MAX,
		[OPTION_duration_s] = 3600,
	};
	double v;
	if (number(option, value, 0, highest[option] > 0 ? highest[option] : 1e9, &v))
		return -EINVAL;
	switch (option) {
	case OPTION_payload_type:
		o->payload_type = (uint8_t)v;
		break;
	case OPTION_ssrc:
		o->ssrc = (uint32_t)v;
		o->ssrc_given = true;
		break;
	case OPTION_start_seq:
		o->start_seq = (uint16_t)v;
		o->start_seq_given = true;
		break;
	case OPTION_repeat:
		o->utterances = (unsigned int)v;
		break;
	case OPTION_start_delay_ms:
		o->start_delay_ms = (int64_t)v;
		break;
	case OPTION_pause_ms:
		o->pause_ms = (int64_t)v;
		break;
	case OPTION_talk_when_hearing_ms:
		o->talk_when_hearing_ms = (int64_t)v;
		break;
	case OPTION_duration_s:
		o->duration_s = v;
		break;
	case OPTION_ssrc_change_at_ms:
		o->ssrc_change_at_ms = (int64_t)v;
		break;
	case OPTION_ssrc_change_to:
		o->ssrc_change_to = (uint32_t)v;
		break;
	case OPTION_rebind_at_ms:
		o->rebind_at_ms = (int64_t)v;
		break;
	case OPTION_rebind_port:
		o->rebind_port = (uint16_t)v;
		break;
	case OPTION_reorder:
		o->reorder = v;
		break;
	case OPTION_echo:
		o->echo = v;
		break;
	case OPTION_loss:
		o->loss = v;
		break;
	case OPTION_duplicate:
		o->duplicate = v;
		break;
	case OPTION_seed:
		o->seed = (uint64_t)v;
		break;
	case OPTION_silence_peak:
		o->silence_peak = (int16_t)v;
		break;
	case OPTION_live_ms:
		o->live_ms = (int64_t)v;
		break;
	}
	return 0;
}

int caller_options_parse(int argc, char **argv, struct caller_options *options)
{
	enum { PAYLOAD_TYPE_UNSET = 255 };
	*options = (struct caller_options){.utterances = 1,
		.payload_type = PAYLOAD_TYPE_UNSET,
		.pause_ms = 2000,
		.talk_when_hearing_ms = -1,
		.ssrc_change_at_ms = -1,
		.rebind_at_ms = -1,
		.seed = 1,
		.silence_peak = 64};
	long_options_build();
	for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
		if (c < 256)
			return -EINVAL;
		if (c - 256 == OPTION_help) {
			print_help();
			return 1;
		}
		int code = option_text(options, c - 256, optarg);
		if (code > 0)
			code = option_number(options, c - 256, optarg);
		if (code < 0)
			return code;
	}
	if (optind < argc) {
		fprintf(stderr, "'%s' is no option; see --help\n", argv[optind]);
		return -EINVAL;
	}
	if (!options->bind.ss_family || !options->to.ss_family || options->bind.ss_family != options->to.ss_family) {
		fputs("--bind and --to are required and must be of the same address family\n", stderr);
		return -EINVAL;
	}
	if (options->rebind_at_ms >= 0 && !options->rebind_port) {
		fputs("--rebind-at-ms needs --rebind-port\n", stderr);
		return -EINVAL;
	}
	if (options->payload_type == PAYLOAD_TYPE_UNSET)
		options->payload_type = options->alaw ? 8 : 0;
	return 0;
}
