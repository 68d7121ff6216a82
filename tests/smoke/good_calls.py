# SPDX-License-Identifier: Apache-2.0
"""Good calls that run while something bad happens to the data plane, and the judgement of what became of them: loss, foreign audio, delay, jitter."""

import socket
import struct
import time

import fake_worker
from harness import SmokeCase, no_crossing, stage

BEAT = 0.02
# While something bad happens the 95th percentile of a good call's delay and jitter may be this many times that of the same run before, and so much more
# in any case: half a packet's time, which a machine with two shared cores needs now and then for nothing but scheduling.
RATIO, FLOOR_MS = 4, 10
SO_TIMESTAMPNS = 35


def tagged(tag, number):
    return bytes([tag]) * 156 + number.to_bytes(4, "big")


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


class Caller(fake_worker.Caller):
    """A caller that knows when each packet arrived, by the kernel's clock."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sent_ns = []
        self.arrived = []  # (seq, ns, payload)

    def say(self, payload):
        self.sent_ns.append(time.monotonic_ns())
        self.send(payload)

    def pump(self):
        while True:
            try:
                data, ancillary, _, source = self.socket.recvmsg(2048, 64)
            except BlockingIOError:
                return self.arrived
            assert source == self.to, source
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            self.arrived.append((struct.unpack_from("!H", data, 2)[0], seconds * 10**9 + nanoseconds, data[12:]))


class Good:
    """One good call: its two ends and what has been judged of them already."""

    def __init__(self, tag, worker, session, opened, caller):
        self.tag, self.worker, self.session, self.opened, self.caller = tag, worker, session, opened, caller
        self.number = 0
        self.judged = 0

    def beat(self):
        self.caller.say(tagged(self.tag, self.number))
        self.worker.speak(self.opened, tagged(0x80 | self.tag, self.number))
        self.number += 1


class GoodCalls(SmokeCase):
    """`workers` are the good workers with the one user each of them serves, `calls` are up."""

    def attach(self, **users):
        s = self.scene
        self.users = list(users.values())
        self.workers = [fake_worker.FakeWorker(s.path("worker.sock"), name, [user]) for name, user in users.items()]
        for worker in self.workers:
            self.addCleanup(worker.close)
        self.to_ns = 10**9 / self.workers[0].welcome["tsc_hz"]
        self.baseline = None
        self.first_delay = None

    def call(self, number):
        s = self.scene
        worker, user = self.workers[number % len(self.workers)], self.users[number % len(self.users)]
        port = 18920 + 2 * number
        reply = s.create(user, port)
        # The same SSRC in calls of both users, as SIPp draws it.
        caller = Caller(s.lan, s.CALLERS, port, 0xca110000 + 2 * (number // 2), reply["local"])
        self.addCleanup(caller.close)
        return Good(number + 1, worker, reply["session"], worker.wait_open(reply["session"]), caller)

    def talk(self, until):
        """The good calls talk until `until(elapsed)`; returns how long."""
        begin = due = time.monotonic()
        while not until(time.monotonic() - begin):
            for call in self.calls:
                call.beat()
                call.caller.pump()
            for worker in self.workers:
                worker.pump()
            # Late, it goes on from there: what was due sent all at once is more than a flow may send.
            due = max(due + BEAT, time.monotonic() - 5 * BEAT)
            time.sleep(max(0, due - time.monotonic()))
        return time.monotonic() - begin

    def judge(self):
        """What became of everything said since the last time: delays up and jitter down in ms. Fails on loss and on anything foreign."""
        # The last beat is on its way.
        stage.wait_for(lambda: all(w.pump() for w in self.workers) and all(len(c.worker.audio(c.opened)) >= c.number for c in self.calls), 3,
                       "every packet of the good calls", 0.05)
        delays, jitter = [], []
        of = {(c.worker, c.opened["index"], c.opened["generation"]): c for c in self.calls}
        for worker in self.workers:
            for record in worker.heard:
                if record["type"] != fake_worker.AUDIO:
                    continue
                call = of[worker, record["session"], record["generation"]]
                number = int.from_bytes(record["payload"][156:], "big")
                no_crossing(record["payload"] == tagged(call.tag, number), "foreign audio reached a call")
                if number >= call.judged:
                    delays.append(record["tsc"] * self.to_ns - call.caller.sent_ns[number])
        for call in self.calls:
            numbers = sorted(int.from_bytes(p[156:], "big") for p in call.worker.audio(call.opened))
            self.assertEqual(numbers, list(range(call.number)), "a good call's packets, each once")
            arrived = call.caller.pump()
            for _, _, payload in arrived:
                no_crossing(payload[0] in (0xff, 0x80 | call.tag), "a caller heard something foreign")
            for (seq, at, _), (next_seq, next_at, _) in zip(arrived, arrived[1:]):
                self.assertEqual((next_seq - seq) & 0xffff, 1, "a caller missed a packet")
                jitter.append(abs(next_at - at - BEAT * 1e9))
            del arrived[:-1]
            call.judged = call.number
        least = min(delays)
        self.first_delay = least if self.first_delay is None else min(self.first_delay, least)
        return {"delay": percentile([d - self.first_delay for d in delays], 0.95) / 1e6, "jitter": percentile(jitter, 0.95) / 1e6}

    def within_ratio(self, result):
        return all(result[what] <= max(RATIO * self.baseline[what], self.baseline[what] + FLOOR_MS) for what in ("delay", "jitter"))
