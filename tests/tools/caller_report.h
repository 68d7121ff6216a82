/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the RTP caller says about a call: one line of JSON now and then, and the report at the end. doc/tools.md lists the fields.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "rtp_receiver.h"

/* What was sent, and when the call ran (CLOCK_MONOTONIC, µs). */
struct caller_sent {
	uint64_t packets, dropped, duplicated, swapped, failed;
	unsigned int utterances;
	int64_t start_us, now_us;
	int64_t realtime_offset_us; /* CLOCK_REALTIME minus CLOCK_MONOTONIC */
	uint32_t latest_us;	    /* how late the latest beat was sent */
	uint32_t ssrc;
	struct rtp_spans spoke;
};

/* One compact line. Returns 0 or -errno. */
int caller_report_live(FILE *file, const struct caller_sent *sent, const struct rtp_receiver *receiver);

/* The whole report, pretty-printed. Returns 0 or -errno. */
int caller_report_write(FILE *file, const struct caller_sent *sent, const struct rtp_receiver *receiver);
