#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Faults of the service while many calls talk: real callers, the real data plane with call records, one worker, TLS, and the emulator, whose faults are switched while
everything runs. After each fault every call must be in conversation again; over all of them no caller may miss one RTP packet. Faults that end a conversation are
tried on a call of their own beside the others, whose connections they must not touch. Prints for each fault how many calls it hit, how long they were without a
session, and what the callers heard.

VL_FAULT_CALLS: calls (default 50). VL_FAULTS: names of faults, comma-separated (default all)."""

import dataclasses
import json
import os
import time
import urllib.parse

import test_worker
from harness import SmokeCase, main, measured, no_crossing, scene, stage

CALLS = int(os.environ.get("VL_FAULT_CALLS", "50"))
WANTED = [name for name in os.environ.get("VL_FAULTS", "").split(",") if name]
FIRST_PORT = 31000
SPEAKING = ("ready", "talking")
SETTLE_S = 9  # between faults: everybody says and hears something
INTERNAL = "close:1011:Internal error encountered."


@dataclasses.dataclass
class Fault:
    """`control`: requests to the emulator, in order. `hold_s`: until `reset`. `within_s`: every call is in conversation again so long after that.
    `closes`: whether connections end at all."""

    name: str
    control: tuple
    hold_s: float = 0
    within_s: float = 10
    closes: bool = True


FAULTS = [
    Fault("all closed with 1011", (f"now={INTERNAL}",)),
    Fault("1011 storm", ("random-1011=0.2",), hold_s=5, within_s=15),
    Fault("closed, two resumes refused", ("refuse-resume=2", f"now={INTERNAL}"), hold_s=3, within_s=15),
    Fault("closed, every resume refused", ("refuse-resume=99", f"now={INTERNAL}"), hold_s=10, within_s=15),
    Fault("TCP reset", ("now=tcp-reset",)),
    Fault("goAway", ("now=go-away:12000",), hold_s=9),
    Fault("no setupComplete for 4 s", ("no-setup-complete", "now=tcp-reset"), hold_s=4, within_s=20),
    Fault("service down for 4 s (503)", ("http-status=503", "now=tcp-reset"), hold_s=4, within_s=15),
    Fault("error inside a message", ("now=error:503:The service is currently unavailable.",), within_s=15),
    Fault("half-open sockets", ("now=half-open",), hold_s=25, within_s=20),
    Fault("pong after 30 s", ("pong-delay-ms=30000",), hold_s=6, closes=False),
    Fault("audio slower than real time", ("pace=0.7",), hold_s=10, closes=False),
    Fault("audio stalls for 1.5 s", ("stall-ms=1500",), hold_s=10, closes=False),
    Fault("chunks of 2 bytes", ("tiny-chunks",), hold_s=6, closes=False),
    Fault("odd chunks, fragments, noise", ("odd-chunks", "fragment", "noise-ms=50"), hold_s=6, closes=False),
    Fault("empty turns", ("empty-turn-complete",), hold_s=5, closes=False),
    Fault("phantom interruptions", ("interrupt-every-ms=1500",), hold_s=6, closes=False),
]


@dataclasses.dataclass
class Ending:
    """A fault that a conversation does not survive. `reason`: what session.get and the record must say; `seconds`: how soon."""

    name: str
    control: tuple
    reason: str
    seconds: float = 45
    fields: dict = dataclasses.field(default_factory=dict)


ENDINGS = [
    Ending("quota closes", ("quota-close", "now=tcp-reset"), "quota"),
    Ending("429 at the upgrade", ("http-status=429", "now=tcp-reset"), "429"),
    Ending("expired certificate", ("cert={expired}&key={expired_key}", "now=tcp-reset"), "certificate"),
    Ending("certificate of another name", ("cert={other}&key={other_key}", "now=tcp-reset"), "certificate"),
    Ending("key refused", ("now=close:1007:API key not valid. Please pass a valid API key.",), "API key not valid", 5),
]


class Timeline:
    """What the events say about each session: when it was without a conversation, and why."""

    def __init__(self, rpc):
        self.rpc = rpc
        rpc.call("events.subscribe", events=["session.state", "session.closed", "session.ended", "session.turn_complete"])
        self.seen = 0
        self.down = {}  # session: since when
        self.gaps, self.closes, self.turns = [], [], {}

    def read(self):
        now = time.monotonic()
        events = self.rpc.poll_events()
        for event in events[self.seen:]:
            params = event["params"]
            session = params["session"]
            if event["method"] == "session.closed":
                self.closes.append((session, params.get("code"), params.get("reason", "")))
            elif event["method"] == "session.turn_complete":
                self.turns[session] = self.turns.get(session, 0) + 1
            elif event["method"] == "session.state":
                if params["state"] in SPEAKING and session in self.down:
                    self.gaps.append((session, now - self.down.pop(session)))
                elif params["state"] not in SPEAKING:
                    self.down.setdefault(session, now)
        self.seen = len(events)

    def wait(self, seconds, done=lambda: False):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not done():
            time.sleep(0.05)
            self.read()

    def start(self):
        """Forget what was."""
        self.read()
        self.gaps, self.closes, self.turns = [], [], {}


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0


class Faults(SmokeCase):
    def control(self, *settings):
        for setting in settings:
            name, separator, value = setting.partition("=")
            query = name + separator + urllib.parse.quote(value, safe=":&=/")
            stage.http_get_json(self.scene.core, f"http://127.0.0.1:{self.scene.stats_port}/control?{query}")

    def place(self, user, port, seconds, *options):
        s = self.scene
        reply = s.create(user, port)
        caller = s.start_caller(f"caller-{user}", port, reply["local"], "--wav", self.said, "--repeat", 0, "--pause-ms", 5000,
                                "--start-delay-ms", 500 + port * 37 % 2500, "--duration-s", seconds, *options)
        return reply["session"], caller

    def prepare(self, calls, extra):
        s = self.scene
        self.said = scene.speech(s, "said.wav", scene.BOOK[0], trim=3)
        answer = scene.speech(s, "answer.wav", scene.ENGLISH, rate=24000, trim=3)
        people = [scene.User(name, answers=[answer]) for name in [f"u{k}" for k in range(calls)] + extra]
        s.start_emulator(people, "--answer-ms", 600)
        self.records = s.path("calls.jsonl")
        s.start_plane(s.configuration(sessions={"max": 2 * calls + 16, "quarantine_s": 1},
                                      records={"path": str(self.records), "journal": str(s.path("journal"))}))
        s.start_worker("worker-1", people)
        return people

    @staticmethod
    def heard(callers, begin, end):
        """The share of the time between two moments in which a caller heard something. Reports and moments are on the same clock."""
        total = sum(max(0, min(end, span["end_us"] / 1e6) - max(begin, span["start_us"] / 1e6)) for report in callers for span in report["heard"])
        return total / ((end - begin) * len(callers))

    def test_every_call_comes_back(self):
        s = self.scene
        faults = [f for f in FAULTS if not WANTED or f.name in WANTED]
        self.prepare(CALLS, [])
        seconds = int(sum(f.hold_s + f.within_s + SETTLE_S for f in faults)) + 30
        placed = [self.place(f"u{k}", FIRST_PORT + 2 * k, seconds) for k in range(CALLS)]
        sessions = [session for session, _ in placed]
        timeline = Timeline(s.rpc())
        self.addCleanup(timeline.rpc.close)
        for session in sessions:
            s.wait_state(session, SPEAKING, 30)
        timeline.wait(8)
        windows, rows, late = [("none", time.monotonic() - 6, time.monotonic())], {}, []
        for fault in faults:
            timeline.start()
            begin = time.monotonic()
            self.control("reset", *fault.control)
            timeline.wait(max(fault.hold_s, 0.3))
            self.control("reset")
            released = time.monotonic()
            timeline.wait(fault.within_s, lambda: not timeline.down)
            back = time.monotonic()
            if timeline.down:
                late.append(f"{fault.name}: {len(timeline.down)} calls without a conversation {back - released:.0f} s later")
                timeline.wait(20, lambda: not timeline.down)
            timeline.wait(SETTLE_S)
            end = time.monotonic()
            windows.append((fault.name, begin, end))
            rows[fault.name] = (len({session for session, _ in timeline.gaps}), [gap for _, gap in timeline.gaps], len(timeline.closes), back - released)
            if not fault.closes and timeline.closes:
                late.append(f"{fault.name}: {len(timeline.closes)} connections ended, the first with {timeline.closes[0]}")
            silent = [session for session in sessions if session not in timeline.turns]
            if len(silent) > CALLS // 10:
                late.append(f"{fault.name}: {len(silent)} calls had no turn in {end - begin:.0f} s")
        for _, caller in placed:
            scene.interrupt(caller)
        callers = [s.report(caller, 20) for _, caller in placed]
        for name, begin, end in windows:
            hit, gaps, closed, back = rows.get(name, (0, [], 0, 0))
            measured(f"fault {name:30} {hit:3} calls without session, {closed:3} closes, gap p50 {percentile(gaps, 0.5):5.2f} p95 {percentile(gaps, 0.95):5.2f} "
                     f"max {max(gaps, default=0):5.2f} s, all back {back:4.1f} s after it, callers heard an answer {100 * self.heard(callers, begin, end):3.0f} % of the time")
        self.assertEqual(late, [])
        self.assert_unbroken(callers)
        records = self.end(sessions)
        self.assertEqual([r["end"] for r in records], ["deleted"] * len(sessions))
        self.assertTrue(all(r["gaps"] for r in records) or not any(f.closes for f in faults), "a record without its gaps")

    def assert_unbroken(self, reports):
        for number, report in enumerate(reports):
            no_crossing(report["foreign"] == 0 and len(report["ssrcs"]) == 1, f"caller {number}: {report['foreign']} foreign packets, SSRCs {report['ssrcs']}")
            self.assertEqual((report["sequence_gaps"], report["timestamp_discontinuities"], report["lost"]), (0, 0, 0), f"caller {number}")

    def end(self, sessions):
        """Hang up; returns the calls' records."""
        for session in sessions:
            self.scene.control.call("session.delete", session=session)

        def records():
            lines = [json.loads(line) for line in self.records.read_text().splitlines()] if self.records.exists() else []
            found = {record["session"]: record for record in lines}
            return [found[session] for session in sessions] if set(sessions) <= set(found) else None
        return stage.wait_for(records, 5, "the calls' records")

    def test_what_ends_a_conversation(self):
        s = self.scene
        users = [f"e{k}" for k in range(len(ENDINGS))]
        self.prepare(4, users)
        others = [self.place(f"u{k}", FIRST_PORT + 2 * k, 400) for k in range(4)]
        victims = []
        timeline = Timeline(s.rpc())
        self.addCleanup(timeline.rpc.close)
        for k, user in enumerate(users):
            victims.append(self.place(user, FIRST_PORT + 200 + 2 * k, 400))
        for session, _ in others + victims:
            s.wait_state(session, SPEAKING, 30)
        timeline.wait(6)
        files = {}
        for name, subject, days in (("expired", "localhost", "-1"), ("other", "elsewhere.example", "2")):
            files[name], files[f"{name}_key"] = test_worker.certificate(s.directory, name, subject, days)
        for ending, user, (session, _) in zip(ENDINGS, users, victims):
            timeline.start()
            begin = time.monotonic()
            self.control("reset", f"fault-label={user}", *(setting.format(**files) for setting in ending.control))
            s.wait_state(session, "failed", ending.seconds)
            took = time.monotonic() - begin
            described = s.get(session)
            self.assertIn(ending.reason, described["reason"], ending.name)
            self.control("reset")
            timeline.read()
            measured(f"ending {ending.name:20} failed after {took:4.1f} s and {sum(c[0] == session for c in timeline.closes)} closes: {described['reason']}")
            self.assertEqual({c[0] for c in timeline.closes} - {session}, set(), "other calls' connections ended too")
        for _, caller in others + victims:
            scene.interrupt(caller)
        self.assert_unbroken(s.report(caller, 20) for _, caller in others + victims)
        records = self.end([session for session, _ in others + victims])
        for ending, record in zip(ENDINGS, records[4:]):
            self.assertIn(ending.reason, json.dumps(record), f"{ending.name}: the record does not say why")
        self.assertEqual([r["gaps"] for r in records[:4]], [[]] * 4)


if __name__ == "__main__":
    main(second_try=True)
