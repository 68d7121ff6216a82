#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A worker that may connect and then does harm, in one way for some seconds: a program of its own, so that nothing but the data plane limits it.
usage: hostile_worker.py SOCKET WAY SECONDS TARGETS     TARGETS: JSON list of the good worker's calls, as `open` described them
Prints what happened to it as one JSON object."""

import ctypes
import errno
import json
import os
import random
import socket
import sys
import time

import fake_worker
from harness import stage

SOCKET, WAY, SECONDS, TARGETS = sys.argv[1], sys.argv[2], float(sys.argv[3]), json.loads(sys.argv[4])
END = time.monotonic() + SECONDS
outcome = {"attached": 0, "cut_off": 0, "refused": 0, "done": 0, "held": True}
dice = random.Random(7)


def going():
    return time.monotonic() < END


def attach(name="bad", wait=True):
    """Attach, again if there is no room yet, and wait for a call."""
    while going():
        try:
            worker = fake_worker.FakeWorker(SOCKET, name, ["evil"])
        except (stage.StageError, OSError, ValueError):
            outcome["refused"] += 1
            time.sleep(0.02)
            continue
        outcome["attached"] += 1
        # What we write into our own rings is not for us to read.
        worker.mine, worker.up = worker.up, []
        while wait and going() and worker.pump() and not worker.opened:
            time.sleep(0.005)
        return worker
    return None


def alive(worker):
    """Whether the data plane still talks to us."""
    if worker.pump():
        return True
    outcome["cut_off"] += 1
    worker.close()
    return False


def own(worker):
    return next(iter(worker.opened.values()), {"index": 0, "generation": 1, "lcore": 0})


def repeat(act):
    """act(worker) again and again; whoever is cut off attaches again."""
    worker = attach()
    while worker and going():
        try:
            act(worker)
        except OSError:
            pass
        outcome["done"] += 1
        if not alive(worker):
            worker = attach()
    if worker:
        worker.close()


def garbage(worker):
    """Random bytes over rings, headers included, and random indices."""
    ring = dice.choice(worker.mine + worker.down)
    size = fake_worker.RING_HEADER + ring.slots * fake_worker.SLOT
    start = dice.randrange(size - 4096)
    worker.memory[ring.offset + start:ring.offset + start + 4096] = dice.randbytes(4096)
    dice.choice((ring.produced, ring.consumed)).value = dice.getrandbits(32)
    time.sleep(0.002)


def lies(worker):
    """One lie about a record or the ring at a time."""
    call = own(worker)
    ring = worker.down[call["lcore"]]
    forged = dict(dice.choice([{"length": 65535}, {"length": 993}, {"slots": 0}, {"slots": 17}, {"slots": 255}, {"type": 0}, {"type": 7}, {"type": 255},
                          {"slots": 1, "length": 160}, {"type": fake_worker.PAD, "slots": 3}, {"tail": dice.getrandbits(32)},
                          {"tail": (ring.position - 100) & 0xffffffff}]))
    ring.put(forged.pop("type", fake_worker.FRAME), call["index"], call["generation"], 0, bytes([0x66]) * 160, **forged)
    time.sleep(0.005)


def others(worker):
    """Records that are whole and name calls, generations, turns and lcores that are not ours."""
    for target in TARGETS:
        for kind, payload in ((fake_worker.FRAME, bytes([0x66]) * 160), (fake_worker.FLUSH, b""), (fake_worker.MARK, b"")):
            for index, generation in ((target["index"], target["generation"]), (target["index"] + 1, target["generation"]), (0xffffffff, 1),
                                      (dice.getrandbits(32), dice.getrandbits(32))):
                dice.choice(worker.down).put(kind, index, generation, dice.getrandbits(32), payload)
    call = own(worker)
    for generation in (call["generation"] - 1, call["generation"] + 1):
        worker.down[call["lcore"]].put(fake_worker.FRAME, call["index"], generation & 0xffffffff, 0, bytes([0x66]) * 160)
    for size in (0, 1, 159, 161, 992):
        worker.down[call["lcore"]].put(fake_worker.FRAME, call["index"], call["generation"], 0, bytes([0x66]) * size)
    worker.down[call["lcore"]].put(fake_worker.AUDIO, call["index"], call["generation"], 0, bytes([0x66]) * 160)
    time.sleep(0.005)


def flood(worker):
    """Frames for our own call as fast as the ring takes them, and the doorbell all the time."""
    call = own(worker)
    ring = worker.down[call["lcore"]]
    for _ in range(50):
        if (ring.position - ring.consumed.value) & 0xffffffff > ring.slots - 16:
            break
        ring.put(fake_worker.FRAME, call["index"], call["generation"], 0, bytes([0x66]) * 160)
    try:
        os.eventfd_write(worker.doorbell, 1)
    except BlockingIOError:
        pass


def stall():
    """Answer pings and read no audio (attach() has seen to that)."""
    worker = attach()
    while going() and alive(worker):
        time.sleep(0.05)


def deaf():
    """Read nothing, say a lot, until we are cut off."""
    worker = attach()
    worker.link.setblocking(True)
    worker.link.settimeout(1)
    try:
        while True:
            worker.link.send(b'{"ping": 1}')
            time.sleep(0.0002)
    except OSError:
        outcome["cut_off"] += 1


JUNK = [b"{", b"[]", b"0", b"\xff" * 1000, b"{}" * 100, b"[" * 16000, b'{"state":' * 1000, b'{"users": [' + b'"a",' * 4000 + b'"b"]}', b'{"pong": 1e999}',
        b'{"state": {}}', b'{"event": {"session": "' + b"x" * 16000 + b'"}}', b'{"ping": -1}', b'{"transcript": {"session": 1, "side": []}}', bytes(16384),
        b'{"hello": 1, "users": 2}', b" " * 16384]


def junk(worker):
    """Junk, and messages about the good worker's calls, without a pause."""
    for _ in range(64):
        message = dice.choice(JUNK)
        if dice.random() < 0.3 and TARGETS:
            session = dice.choice(TARGETS)["session"]
            message = json.dumps(dice.choice([
                {"state": {"session": session, "state": "failed", "reason": "forged"}},
                {"transcript": {"session": session, "side": "model", "text": "forged", "final": True}},
                {"event": {"session": session, "event": "closed"}}])).encode()
        worker.link.send(message)


def descriptors(worker):
    """Messages with descriptors that nobody asked for."""
    null = os.open("/dev/null", os.O_RDONLY)
    for _ in range(32):
        socket.send_fds(worker.link, [b'{"ping": 1}'], [null] * 16)
    os.close(null)


def names():
    """Claim to be the good worker."""
    bad = attach()
    while going():
        try:
            fake_worker.FakeWorker(SOCKET, "good", ["admin2"]).close()
            outcome["held"] = False
        except (stage.StageError, OSError):
            outcome["refused"] += 1
        outcome["done"] += 1
        alive(bad)


def reattach():
    """Attach and leave as fast as possible, half of the time in the middle of a record."""
    while going():
        worker = attach(wait=False)
        if worker:
            if outcome["attached"] % 2:
                worker.down[0].put(fake_worker.FRAME, 0, 1, 0, bytes(160))
            worker.close()
            outcome["done"] += 1


def holes(worker):
    """Make the memory smaller, larger, empty."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = os.fstat(worker.memfd).st_size
    for change in (0, size - 4096, size + 4096):
        try:
            os.ftruncate(worker.memfd, change)
            outcome["held"] = False
        except OSError as error:
            outcome["held"] = outcome["held"] and error.errno == errno.EPERM
    libc.fallocate(worker.memfd, 3, ctypes.c_long(0), ctypes.c_long(size))  # punch a hole, keep the size
    worker.down[0].produced.value = dice.getrandbits(10)
    time.sleep(0.005)


def quiet_connections():
    """Take every place and say nothing."""
    while going():
        links = []
        for _ in range(32):
            link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            link.setblocking(False)
            try:
                link.connect(SOCKET)
                links.append(link)
            except OSError:
                link.close()
        outcome["done"] += 1
        time.sleep(0.1)
        for link in links:
            link.close()


for one in (garbage, lies, others, flood, junk, descriptors, holes):
    if WAY == one.__name__:
        repeat(one)
for one in (stall, deaf, names, reattach, quiet_connections):
    if WAY == one.__name__:
        one()
print(json.dumps(outcome))
