#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A name server for tests on 127.0.0.1:53: silent until the file named on the command line exists, then every name is 127.0.0.1."""

import pathlib
import socket
import sys


def answer(query):
    """RFC 1035 4.1: the question, and for type A one address; for others an empty answer."""
    end = 12
    while query[end]:
        end += 1 + query[end]
    question = query[12:end + 5]
    records = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01" if question[-4:-2] == b"\x00\x01" else b""
    return query[:2] + b"\x81\x80\x00\x01\x00" + bytes([len(records) // 16]) + b"\x00\x00\x00\x00" + question + records


def main():
    speak = pathlib.Path(sys.argv[1])
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    print("listening", flush=True)
    while True:
        query, peer = server.recvfrom(512)
        print("asked", flush=True)
        if speak.exists():
            server.sendto(answer(query), peer)


main()
