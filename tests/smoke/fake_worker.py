# SPDX-License-Identifier: Apache-2.0
"""A worker and a caller played by the test, byte by byte and independent of shared/: what the real worker and the real caller do not do can be done here."""

import ctypes
import json
import mmap
import os
import socket
import struct
import threading

from harness import stage

# shared/channel.h: one page of header, the statistics, then per lcore a ring up and a ring down, each beginning a page.
PAGE = 4096
RING_HEADER = 384  # struct rte_ring
PRODUCER_TAIL, CONSUMER_TAIL = 132, 260
SLOT = 64
RECORD = struct.Struct("<BBHIIIIHBBQ")
PAD, AUDIO, DRAINED, FRAME, FLUSH, MARK = 1, 2, 3, 4, 5, 6


class Ring:
    """One ring; both ends are in here, a test uses one of them."""

    def __init__(self, memory, offset, slots):
        self.memory, self.offset, self.slots = memory, offset, slots
        self.position = 0
        # One store each: struct.pack_into() writes byte by byte, and the other side would see an index that never was.
        self.produced = ctypes.c_uint32.from_buffer(memory, offset + PRODUCER_TAIL)
        self.consumed = ctypes.c_uint32.from_buffer(memory, offset + CONSUMER_TAIL)

    def take(self):
        """Everything the producer published: list of dicts."""
        records = []
        tail = self.produced.value
        while self.position != tail:
            at = self.offset + RING_HEADER + self.position % self.slots * SLOT
            kind, slots, length, session, generation, turn, timestamp, seq, payload_type, flags, tsc = RECORD.unpack_from(self.memory, at)
            if kind != PAD:
                records.append({"type": kind, "session": session, "generation": generation, "turn": turn, "timestamp": timestamp, "seq": seq,
                                "payload_type": payload_type, "flags": flags, "tsc": tsc,
                                "payload": bytes(self.memory[at + RECORD.size:at + RECORD.size + length])})
            self.position = (self.position + slots) & 0xffffffff
        self.consumed.value = self.position
        return records

    def put(self, kind, session, generation, turn=0, payload=b"", **forged):
        """Publish one record; `forged` replaces header fields."""
        slots = (RECORD.size + len(payload) + SLOT - 1) // SLOT
        to_end = self.slots - self.position % self.slots
        if slots > to_end:
            self._record(PAD, to_end, 0, 0, 0, 0, b"")
        self._record(kind, forged.get("slots", slots), forged.get("length", len(payload)), session, generation, turn, payload,
                     advance=slots)
        self.produced.value = forged.get("tail", self.position)

    def _record(self, kind, slots, length, session, generation, turn, payload, advance=None):
        at = self.offset + RING_HEADER + self.position % self.slots * SLOT
        RECORD.pack_into(self.memory, at, kind, slots, length, session, generation, turn, 0, 0, 0, 0, 0)
        self.memory[at + RECORD.size:at + RECORD.size + len(payload)] = payload
        self.position = (self.position + (slots if advance is None else advance)) & 0xffffffff


class FakeWorker:
    """Says hello, maps the channel, keeps messages and records. pump() takes in what has come."""

    def __init__(self, path, name, users, capacity=100):
        self.name = name
        self.messages, self.heard, self.opened = [], [], {}
        self.link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.link.settimeout(5 + stage.PATIENCE)
        self.link.connect(str(path))
        self.say(hello={"abi": 1, "name": name, "users": users, "capacity": capacity})
        data, fds, _, _ = socket.recv_fds(self.link, 16384, 2)
        first = json.loads(data)
        if "welcome" not in first:
            self.link.close()
            raise stage.StageError(first.get("refused", {}).get("reason", data.decode()))
        self.welcome = first["welcome"]
        self.doorbell = fds[1]
        self.memfd = fds[0]
        size = os.fstat(self.memfd).st_size
        self.memory = mmap.mmap(self.memfd, size)
        lcores = self.welcome["lcores"]
        slots = struct.unpack_from("<I", self.memory, 16)[0]
        ring = (RING_HEADER + slots * SLOT + PAGE - 1) // PAGE * PAGE
        first_ring = size - 2 * lcores * ring  # between the head and the rings are statistics, whatever they are
        assert first_ring > PAGE and first_ring % PAGE == 0, "the channel's layout is not the one of channel.h"
        self.up = [Ring(self.memory, first_ring + 2 * i * ring, slots) for i in range(lcores)]
        self.down = [Ring(self.memory, first_ring + (2 * i + 1) * ring, slots) for i in range(lcores)]
        self.link.setblocking(False)

    def say(self, **message):
        self.link.send(json.dumps(message).encode())

    def pump(self):
        """Take in messages and records. Returns False when the link is closed."""
        while True:
            try:
                data = self.link.recv(16384)
            except BlockingIOError:
                break
            except OSError:
                return False
            if not data:
                return False
            message = json.loads(data)
            self.messages.append(message)
            if "ping" in message:
                try:
                    self.say(pong=message["ping"])
                except OSError:
                    return False
            elif "open" in message:
                self.opened[message["open"]["session"]] = message["open"]
            elif "close" in message:
                self.opened.pop(message["close"]["session"], None)
        for number, ring in enumerate(self.up):
            self.heard += [{**record, "ring": number} for record in ring.take()]
        return True

    def wait_open(self, session):
        return stage.wait_for(lambda: self.pump() and self.opened.get(session), 5, f"{self.name} to be given {session}")

    def speak(self, call, payload, turn=0):
        """One 20 ms frame for a call, as `opened` describes it."""
        self.down[call["lcore"]].put(FRAME, call["index"], call["generation"], turn, payload)

    def audio(self, call):
        """Payloads heard of a call, in order of arrival."""
        return [r["payload"] for r in self.heard if r["type"] == AUDIO and (r["session"], r["generation"]) == (call["index"], call["generation"])]

    def rings(self, call):
        """Rings that a call's payloads came up: one for each packet lcore that handled it."""
        return {r["ring"] for r in self.heard if r["type"] == AUDIO and (r["session"], r["generation"]) == (call["index"], call["generation"])}

    def close(self):
        self.link.close()
        os.close(self.doorbell)
        os.close(self.memfd)


def socket_in(namespace, family, kind):
    """A socket of a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = []

    def make():
        with open(f"/run/netns/{namespace}", "rb") as file:
            if libc.setns(file.fileno(), 0) == 0:
                result.append(socket.socket(family, kind))
    thread = threading.Thread(target=make)  # setns() moves only the thread
    thread.start()
    thread.join()
    if not result:
        raise stage.StageError(f"cannot make a socket in {namespace}")
    return result[0]


class Caller:
    """RTP from one address, port and SSRC; what comes back is kept."""

    def __init__(self, namespace, address, port, ssrc, to):
        self.socket = socket_in(namespace, socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self.socket.setblocking(False)
        self.ssrc, self.to = ssrc, (to["address"], to["port"])
        self.seq, self.timestamp = 65530, 0xfffffe00  # both wrap soon
        self.received = []

    def send(self, payload, payload_type=0, **forged):
        header = struct.pack("!BBHII", 0x80, payload_type, forged.get("seq", self.seq), self.timestamp, forged.get("ssrc", self.ssrc))
        self.socket.sendto(header + payload, self.to)
        self.seq = (self.seq + 1) & 0xffff
        self.timestamp = (self.timestamp + 160) & 0xffffffff

    def pump(self):
        """Take in what has come: (seq, timestamp, ssrc, payload type, marker, payload)."""
        while True:
            try:
                data, source = self.socket.recvfrom(2048)
            except BlockingIOError:
                return self.received
            assert source == self.to, source
            first, second, seq, timestamp, ssrc = struct.unpack_from("!BBHII", data)
            assert first == 0x80, data[:12]
            self.received.append((seq, timestamp, ssrc, second & 0x7f, second >> 7, data[12:]))

    def close(self):
        self.socket.close()
