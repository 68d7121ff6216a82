#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A phone that presses keys: sends silence as PCMU on a 20 ms beat, telephone-events (RFC 4733) without any marker in between, and writes as JSON what
telephone-events came back."""

import argparse
import json
import select
import socket
import struct
import time

FRAME, EVENTS = 160, "0123456789*#ABCD"


def endpoint(text):
    address, port = text.rsplit(":", 1)
    return address, int(port)


def packets(keys, first):
    """What is sent on each beat: (payload type, ticks behind the key's begin, payload); keys begin at beat `first`."""
    plan = {}
    for number, key in enumerate(keys):
        for beat in range(7):
            duration = FRAME * min(beat + 1, 5)
            end = 0x80 if beat >= 4 else 0
            plan[first + 15 * number + beat] = (101, beat, struct.pack("!BBH", EVENTS.index(key), end | 10, duration))
    return plan


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bind", type=endpoint, required=True)
    parser.add_argument("--to", type=endpoint, required=True)
    parser.add_argument("--ssrc", type=int, required=True)
    parser.add_argument("--keys", default="")
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    phone.bind(options.bind)
    plan = packets(options.keys, 150)
    heard, voice, sequence = [], 0, None
    gaps = 0
    start = time.monotonic()
    for beat in range(int(options.seconds * 50)):
        kind, back, payload = plan.get(beat, (0, 0, b"\xff" * FRAME))
        phone.sendto(struct.pack("!BBHII", 0x80, kind, beat & 0xffff, (beat - back) * FRAME, options.ssrc) + payload, options.to)
        until = start + 0.02 * (beat + 1)
        while (left := until - time.monotonic()) > 0:
            if not select.select([phone], [], [], left)[0]:
                continue
            data = phone.recv(2048)
            _, kind, number, timestamp, _ = struct.unpack("!BBHII", data[:12])
            gaps += sequence is not None and number != (sequence + 1) & 0xffff
            sequence = number
            if kind & 0x7f == 101:
                code, flags, duration = struct.unpack("!BBH", data[12:16])
                heard.append({"key": EVENTS[code], "timestamp": timestamp, "end": bool(flags & 0x80), "duration": duration, "marker": bool(kind & 0x80)})
            else:
                voice += 1
    print(json.dumps({"events": heard, "voice": voice, "sequence_gaps": gaps}))


if __name__ == "__main__":
    main()
