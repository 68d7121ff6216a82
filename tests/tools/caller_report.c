/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RTP caller's report, by cJSON.
 */
#include "caller_report.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

static void add(cJSON *object, const char *name, double value)
{
	cJSON_AddNumberToObject(object, name, value);
}

static void add_counts(cJSON *root, const struct caller_sent *sent, const struct rtp_receiver *r)
{
	uint64_t duplicates = 0, reordered = 0, gaps = 0, largest = 0, jumps = 0;
	for (size_t i = 0; i < r->stream_count; i++) {
		const struct rtp_stream *s = &r->streams[i];
		duplicates += s->duplicates;
		reordered += s->reordered;
		gaps += s->sequence_gaps;
		jumps += s->timestamp_discontinuities;
		largest = s->largest_gap > largest ? s->largest_gap : largest;
	}
	add(root, "duration_s", (double)(sent->now_us - sent->start_us) / 1e6);
	add(root, "ssrc", sent->ssrc);
	add(root, "sent", (double)sent->packets);
	add(root, "utterances", sent->utterances);
	add(root, "received", (double)r->packets);
	add(root, "lost", (double)rtp_receiver_lost(r));
	add(root, "duplicates", (double)duplicates);
	add(root, "reordered", (double)reordered);
	add(root, "jitter_ms", rtp_receiver_jitter_ms(r));
	add(root, "sequence_gaps", (double)gaps);
	add(root, "largest_gap", (double)largest);
	add(root, "timestamp_discontinuities", (double)jumps);
	add(root, "foreign", (double)r->foreign);
	add(root, "malformed", (double)r->malformed);
	add(root, "markers", (double)r->markers);
	add(root, "first_packet_ms", r->packets ? (double)(r->first_us - sent->start_us) / 1e3 : -1);
	int64_t since;
	cJSON_AddBoolToObject(root, "hearing", rtp_spans_active(&r->heard, sent->now_us, &since));
	cJSON_AddBoolToObject(root, "speaking", rtp_spans_active(&sent->spoke, sent->now_us, &since));
}

static void add_streams(cJSON *root, const struct rtp_receiver *r)
{
	cJSON *list = cJSON_AddArrayToObject(root, "ssrcs");
	for (size_t i = 0; i < r->stream_count; i++) {
		const struct rtp_stream *s = &r->streams[i];
		cJSON *item = cJSON_CreateObject();
		add(item, "ssrc", s->ssrc);
		add(item, "packets", (double)s->packets);
		add(item, "lost", (double)(s->max_seq - s->first_seq + 1 - s->unique));
		add(item, "jitter_ms", s->jitter * 1000.0 / RTP_CLOCK_HZ);
		cJSON_AddItemToArray(list, item);
	}
	list = cJSON_AddArrayToObject(root, "sources");
	for (size_t i = 0; i < r->source_count; i++) {
		const struct rtp_source *s = &r->sources[i];
		char text[INET6_ADDRSTRLEN] = "";
		uint16_t port;
		if (s->address.ss_family == AF_INET6) {
			const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)&s->address;
			inet_ntop(AF_INET6, &a->sin6_addr, text, sizeof(text));
			port = ntohs(a->sin6_port);
		} else {
			const struct sockaddr_in *a = (const struct sockaddr_in *)&s->address;
			inet_ntop(AF_INET, &a->sin_addr, text, sizeof(text));
			port = ntohs(a->sin_port);
		}
		cJSON *item = cJSON_CreateObject();
		cJSON_AddStringToObject(item, "address", text);
		add(item, "port", port);
		add(item, "packets", (double)s->packets);
		cJSON_AddItemToArray(list, item);
	}
}

static void add_spans(cJSON *root, const char *name, const struct rtp_spans *spans)
{
	cJSON *list = cJSON_AddArrayToObject(root, name);
	for (size_t i = 0; i < spans->count; i++) {
		cJSON *item = cJSON_CreateObject();
		add(item, "start_us", (double)spans->items[i].start_us);
		add(item, "end_us", (double)spans->items[i].end_us);
		cJSON_AddItemToArray(list, item);
	}
}

static int print(FILE *file, cJSON *root, bool pretty)
{
	char *text = pretty ? cJSON_Print(root) : cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	if (!text)
		return -ENOMEM;
	int code = fprintf(file, "%s\n", text) < 0 || fflush(file) ? -EIO : 0;
	free(text);
	return code;
}

int caller_report_live(FILE *file, const struct caller_sent *sent, const struct rtp_receiver *receiver)
{
	cJSON *root = cJSON_CreateObject();
	cJSON_AddBoolToObject(root, "live", true);
	add_counts(root, sent, receiver);
	return print(file, root, false);
}

int caller_report_write(FILE *file, const struct caller_sent *sent, const struct rtp_receiver *receiver)
{
	cJSON *root = cJSON_CreateObject();
	add_counts(root, sent, receiver);
	add(root, "dropped_on_purpose", (double)sent->dropped);
	add(root, "duplicated_on_purpose", (double)sent->duplicated);
	add(root, "swapped_on_purpose", (double)sent->swapped);
	add(root, "send_failures", (double)sent->failed);
	add(root, "send_latest_us", sent->latest_us);
	add(root, "longest_silence_ms", (double)rtp_receiver_longest_silence_ms(receiver, sent->now_us));
	cJSON *interval = cJSON_AddObjectToObject(root, "interarrival_us");
	static const struct {
		const char *name;
		double fraction;
	} ranks[] = {{"min", 0}, {"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
	for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++)
		add(interval, ranks[i].name, rtp_receiver_interval_us(receiver, ranks[i].fraction));
	add_streams(root, receiver);
	cJSON *clock = cJSON_AddObjectToObject(root, "clock");
	add(clock, "start_us", (double)sent->start_us);
	add(clock, "realtime_offset_us", (double)sent->realtime_offset_us);
	add_spans(root, "heard", &receiver->heard);
	add_spans(root, "stalls", &receiver->stalls);
	add_spans(root, "spoke", &sent->spoke);
	return print(file, root, true);
}
