#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A few RTP packets of many callers, for tests that need calls to be bound and nothing more. Each line of standard input is "PORT SSRC" of one caller; packets go
from that port of the address to the target: rtp_sprinkle.py ADDRESS TARGET TARGET-PORT."""

import socket
import struct
import sys

PACKETS = 3


def main():
    address, target, target_port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    for line in sys.stdin:
        port, ssrc = (int(word) for word in line.split())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sender.bind((address, port))
            for number in range(PACKETS):
                # RFC 3550 5.1; payload type 0, 20 ms of silence.
                sender.sendto(struct.pack(">BBHII", 0x80, 0, number, 160 * number, ssrc) + b"\xff" * 160, (target, target_port))


main()
