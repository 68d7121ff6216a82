/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiver statistics of the RTP caller (RFC 3550, appendices A.1, A.3 and A.8).
 */
#include "rtp_receiver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t read_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void write_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

int rtp_packet_parse(const uint8_t *data, size_t len, struct rtp_packet *packet)
{
	if (len < 12 || data[0] >> 6 != 2)
		return -EINVAL;
	size_t head = 12 + 4u * (data[0] & 0x0f);
	if (data[0] & 0x10) {
		if (len < head + 4)
			return -EINVAL;
		head += 4 + 4u * (size_t)(data[head + 2] << 8 | data[head + 3]);
	}
	size_t padding = data[0] & 0x20 ? data[len - 1] : 0;
	if (head + padding > len || (data[0] & 0x20 && !padding))
		return -EINVAL;
	*packet = (struct rtp_packet){
		.ssrc = read_be32(data + 8),
		.timestamp = read_be32(data + 4),
		.seq = (uint16_t)(data[2] << 8 | data[3]),
		.payload_type = data[1] & 0x7f,
		.marker = data[1] >> 7,
		.payload = data + head,
		.payload_len = len - head - padding,
	};
	return 0;
}

void rtp_header_write(uint8_t header[12], uint8_t payload_type, bool marker, uint16_t seq, uint32_t timestamp, uint32_t ssrc)
{
	header[0] = 0x80;
	header[1] = (uint8_t)(payload_type | (marker ? 0x80 : 0));
	header[2] = (uint8_t)(seq >> 8);
	header[3] = (uint8_t)seq;
	write_be32(header + 4, timestamp);
	write_be32(header + 8, ssrc);
}

bool rtp_address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET) {
		const struct sockaddr_in *x = (const struct sockaddr_in *)a, *y = (const struct sockaddr_in *)b;
		return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
	}
	const struct sockaddr_in6 *x = (const struct sockaddr_in6 *)a, *y = (const struct sockaddr_in6 *)b;
	return x->sin6_port == y->sin6_port && !memcmp(&x->sin6_addr, &y->sin6_addr, sizeof(x->sin6_addr));
}

/* Append to an array that grows in powers of two; a full memory loses the item. */
static void *append(void *items, size_t *count, size_t item_size, const void *item)
{
	if (!(*count & (*count - 1))) {
		void *grown = realloc(items, (*count ? *count * 2 : 1) * item_size);
		if (!grown)
			return items;
		items = grown;
	}
	memcpy((char *)items + *count * item_size, item, item_size);
	(*count)++;
	return items;
}

void rtp_spans_note(struct rtp_spans *spans, bool sound, int64_t now_us)
{
	if (!sound)
		return;
	struct rtp_span *last = spans->count ? &spans->items[spans->count - 1] : NULL;
	if (last && now_us - last->end_us <= RTP_TALK_HANGOVER_US) {
		last->end_us = now_us;
		return;
	}
	struct rtp_span span = {.start_us = now_us, .end_us = now_us};
	spans->items = append(spans->items, &spans->count, sizeof(span), &span);
}

bool rtp_spans_active(const struct rtp_spans *spans, int64_t now_us, int64_t *since_us)
{
	if (!spans->count)
		return false;
	const struct rtp_span *last = &spans->items[spans->count - 1];
	*since_us = last->start_us;
	return now_us - last->end_us <= RTP_TALK_HANGOVER_US;
}

static struct rtp_stream *stream_of(struct rtp_receiver *receiver, const struct rtp_packet *packet)
{
	for (size_t i = 0; i < receiver->stream_count; i++)
		if (receiver->streams[i].ssrc == packet->ssrc)
			return &receiver->streams[i];
	if (receiver->stream_count == RTP_RECEIVER_SSRCS_MAX) {
		receiver->stream_overflow++;
		return NULL;
	}
	struct rtp_stream *stream = &receiver->streams[receiver->stream_count++];
	/* One cycle above zero, so that packets older than the first one keep a positive number. */
	*stream = (struct rtp_stream){.ssrc = packet->ssrc, .first_seq = 65536u + packet->seq, .max_seq = 65536u + packet->seq};
	return stream;
}

static void stream_jitter(struct rtp_stream *stream, const struct rtp_packet *packet, int64_t now_us)
{
	int64_t transit = now_us * RTP_CLOCK_HZ / 1000000 - (int64_t)packet->timestamp;
	if (stream->has_transit) {
		/* 32-bit difference: the timestamp wraps, the arrival clock does not. */
		int32_t d = (int32_t)(uint32_t)(transit - stream->last_transit);
		stream->jitter += ((d < 0 ? -(double)d : d) - stream->jitter) / 16.0;
	}
	stream->last_transit = transit;
	stream->has_transit = true;
}

static void stream_packet(struct rtp_stream *stream, const struct rtp_packet *packet, int64_t now_us)
{
	bool first = stream->packets++ == 0;
	int16_t ahead = (int16_t)(packet->seq - (uint16_t)stream->max_seq);
	uint64_t seq = stream->max_seq + (uint64_t)(int64_t)ahead;
	uint64_t *seen = &stream->seen[seq % RTP_RECEIVER_WINDOW];
	if (*seen == seq + 1) {
		stream->duplicates++;
		return;
	}
	*seen = seq + 1;
	stream->unique++;
	stream_jitter(stream, packet, now_us);
	if (!first && ahead < 0) {
		stream->reordered++;
		if (seq < stream->first_seq)
			stream->first_seq = seq;
		return;
	}
	if (!first && ahead > 1) {
		stream->sequence_gaps++;
		if ((uint64_t)ahead - 1 > stream->largest_gap)
			stream->largest_gap = (uint64_t)ahead - 1;
	}
	if (!first && ahead == 1 && packet->timestamp - stream->last_timestamp != stream->last_len)
		stream->timestamp_discontinuities++;
	stream->max_seq = seq;
	stream->last_timestamp = packet->timestamp;
	stream->last_len = packet->payload_len;
}

static void source_packet(struct rtp_receiver *receiver, const struct sockaddr_storage *from)
{
	for (size_t i = 0; i < receiver->source_count; i++)
		if (rtp_address_equal(&receiver->sources[i].address, from)) {
			receiver->sources[i].packets++;
			return;
		}
	if (receiver->source_count == RTP_RECEIVER_SOURCES_MAX)
		receiver->source_overflow++;
	else
		receiver->sources[receiver->source_count++] = (struct rtp_source){.address = *from, .packets = 1};
}

void rtp_receiver_packet(struct rtp_receiver *receiver, const struct rtp_packet *packet, const struct sockaddr_storage *from,
	const struct sockaddr_storage *expected, int64_t now_us, int peak)
{
	if (receiver->packets++) {
		int64_t gap = now_us - receiver->last_us;
		uint32_t interval = gap < 0 ? 0 : gap > UINT32_MAX ? UINT32_MAX : (uint32_t)gap;
		receiver->intervals_us = append(receiver->intervals_us, &receiver->interval_count, sizeof(interval), &interval);
		struct rtp_span stall = {.start_us = receiver->last_us, .end_us = now_us};
		if (gap > RTP_STALL_US)
			receiver->stalls.items = append(receiver->stalls.items, &receiver->stalls.count, sizeof(stall), &stall);
	} else {
		receiver->first_us = now_us;
	}
	receiver->last_us = now_us;
	receiver->markers += packet->marker;
	receiver->foreign += !rtp_address_equal(from, expected);
	source_packet(receiver, from);
	struct rtp_stream *stream = stream_of(receiver, packet);
	if (stream)
		stream_packet(stream, packet, now_us);
	rtp_spans_note(&receiver->heard, peak > receiver->silence_peak, now_us);
}

void rtp_receiver_free(struct rtp_receiver *receiver)
{
	free(receiver->intervals_us);
	free(receiver->heard.items);
	free(receiver->stalls.items);
	receiver->stalls = (struct rtp_spans){0};
	receiver->intervals_us = NULL;
	receiver->heard = (struct rtp_spans){0};
	receiver->interval_count = 0;
}

uint64_t rtp_receiver_lost(const struct rtp_receiver *receiver)
{
	uint64_t lost = 0;
	for (size_t i = 0; i < receiver->stream_count; i++)
		lost += receiver->streams[i].max_seq - receiver->streams[i].first_seq + 1 - receiver->streams[i].unique;
	return lost;
}

double rtp_receiver_jitter_ms(const struct rtp_receiver *receiver)
{
	double jitter = 0;
	for (size_t i = 0; i < receiver->stream_count; i++)
		if (receiver->streams[i].jitter > jitter)
			jitter = receiver->streams[i].jitter;
	return jitter * 1000.0 / RTP_CLOCK_HZ;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

uint32_t rtp_receiver_interval_us(const struct rtp_receiver *receiver, double fraction)
{
	if (!receiver->interval_count)
		return 0;
	uint32_t *sorted = malloc(receiver->interval_count * sizeof(*sorted));
	if (!sorted)
		return 0;
	memcpy(sorted, receiver->intervals_us, receiver->interval_count * sizeof(*sorted));
	qsort(sorted, receiver->interval_count, sizeof(*sorted), compare_u32);
	size_t rank = (size_t)(fraction * (double)(receiver->interval_count - 1) + 0.5);
	uint32_t value = sorted[rank < receiver->interval_count ? rank : receiver->interval_count - 1];
	free(sorted);
	return value;
}

int64_t rtp_receiver_longest_silence_ms(const struct rtp_receiver *receiver, int64_t now_us)
{
	if (!receiver->packets)
		return 0;
	int64_t longest = 0, from = receiver->first_us;
	for (size_t i = 0; i < receiver->heard.count; i++) {
		if (receiver->heard.items[i].start_us - from > longest)
			longest = receiver->heard.items[i].start_us - from;
		from = receiver->heard.items[i].end_us;
	}
	return (now_us - from > longest ? now_us - from : longest) / 1000;
}
