#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What Voxlane adds to a conversation's response time, measured on the wire with the emulated model's own time subtracted; first words while the session comes up;
the worker's own ears: what it reports of each turn, and `barge_in: "local"`."""

import math
import re

import calls
from harness import SmokeCase, main, measured, oracle, scene, stage

CALLS = 5
# A message is 40 ms of audio and the data plane's beat 20 ms: on average half of each is spent waiting, and at most all of it, whatever we do.
MESSAGE_MS, BEAT_MS = 40, 20


def spread(name, values):
    values = sorted(values)
    p = lambda share: values[min(len(values) - 1, math.ceil(len(values) * share) - 1)]  # noqa: E731
    measured(f"{name}: min {values[0]:.1f}, p50 {p(0.5):.1f}, p90 {p(0.9):.1f}, p99 {p(0.99):.1f}, max {values[-1]:.1f} ms over {len(values)}")
    return p(0.5)


class Response(SmokeCase):
    def test_overhead(self):
        s = self.scene
        said, tone = stage.write_tone(s.path("said.wav"), 300, 1.2), stage.write_tone(s.path("tone.wav"), 440, 1.0)
        people = [scene.User(f"user{i}", answers=[tone]) for i in range(CALLS)]
        s.start_emulator(people, "--think-ms", 100, "--verbose")
        s.start_plane()
        s.start_worker("worker-1", people)
        events = s.rpc()
        events.call("events.subscribe", events=["session.turn"])
        placed = [calls.place(s, person.name, said, 18920 + 2 * i, 18920 + 2 * i, 100 + i, "--repeat", 0, "--pause-ms", 3000,
                              "--start-delay-ms", 1500 + 217 * i, "--duration-s", 36) for i, person in enumerate(people)]
        reports = {call.user: s.report(caller, 60) for _, caller, call in placed}
        up, down, whole = [], [], []
        for user, report in reports.items():
            for match in re.finditer(rf"answered {user}: last sound heard at (\d+) us, first audio sent at (\d+) us", s.emulator.log()):
                heard_us, sent_us = int(match.group(1)), int(match.group(2))
                spoke = [span for span in report["spoke"] if span["end_us"] <= heard_us]
                answer = [span for span in report["heard"] if span["start_us"] >= sent_us]
                if not spoke or not answer:
                    continue
                up.append((heard_us - spoke[-1]["end_us"]) / 1000)
                down.append((answer[0]["start_us"] - sent_us) / 1000)
                whole.append(up[-1] + down[-1])
        self.assertGreaterEqual(len(whole), CALLS * 5)
        self.assertLess(spread("last packet of the caller's voice to the model having it", up), MESSAGE_MS + BEAT_MS)
        self.assertLess(spread("first audio leaving the model to its first packet reaching the caller", down), 2 * BEAT_MS)
        spread("both: what Voxlane adds to the response", whole)
        self.same_as_reported(events, placed, reports)
        numbers = stage.telemetry(s.prefix, "/voxlane/latency")
        for name in ("rtp_to_websocket_us", "message_to_ring_us", "response_ms"):
            measured(f"by the worker's own count: {name} {numbers[name]}")
        self.assertGreaterEqual(numbers["response_ms"]["count"], CALLS * 5)

    def same_as_reported(self, events, placed, reports):
        """session.turn tells of each answer what the caller's packets say."""
        told = {}
        for event in events.poll_events():
            told.setdefault(event["params"]["session"], []).append(event["params"]["turn"])
        differences = []
        for session, _, call in placed:
            report = reports[call.user]
            answered = {}  # by the end of the question: an answer that a stall cut in two is one
            for heard in report["heard"]:
                spoke = [span for span in report["spoke"] if span["end_us"] <= heard["start_us"]]
                if spoke:
                    answered.setdefault(spoke[-1]["end_us"], (heard["start_us"] - spoke[-1]["end_us"]) / 1000)
            true = list(answered.values())
            turns = [turn["response_ms"] for turn in told.get(session, []) if "response_ms" in turn]
            self.assertGreaterEqual(len(turns), len(true) - 1)
            differences += [abs(a - b) for a, b in zip(true, turns)]
        spread("session.turn's response_ms against the caller's packets, difference", differences)
        self.assertLess(sorted(differences)[len(differences) // 2], 2 * BEAT_MS)

    def test_first_words(self):
        """Who speaks before the session is ready is heard from the first word."""
        s = self.scene
        said = scene.speech(s, "said.wav", scene.BOOK[1])
        person = scene.User("user0", answers=[stage.write_tone(s.path("tone.wav"), 440, 1)])
        s.start_emulator([person], "--setup-delay-ms", 3000, references=[("user0", said)])
        s.start_plane()
        s.start_worker("worker-1", [person])
        _, caller, call = calls.place(s, "user0", said, 18920, 18920, 7, "--pause-ms", 5000)
        report = s.report(caller, 60)
        self.assertEqual(report["sequence_gaps"], 0)
        spoke_ms = oracle.match(call.recording, {"user0": said}, ":left")["user0"]
        heard_ms = oracle.match(s.heard_directory / "user0-1.wav", {"user0": said})["user0"]
        measured(f"first words, 3 s to setupComplete: {heard_ms / 1000:.2f} of {spoke_ms / 1000:.2f} s of speech reached the model")
        self.assertGreaterEqual(heard_ms, spoke_ms - 40)
        self.assertEqual(stage.telemetry(s.prefix, "/voxlane/worker/list,worker-1")["up_discarded_ms"], 0)

    def test_local_barge_in(self):
        """The caller's voice stops the model's sooner than the model's own word does."""
        s = self.scene
        said, tone = stage.write_tone(s.path("said.wav"), 300, 1.2), stage.write_tone(s.path("tone.wav"), 440, 20)
        people = [scene.User(f"{by}{i}", answers=[tone], barge_in=by) for by in ("local", "server") for i in range(2)]
        # The service takes 140 to 260 ms, and a path to it that is not the loopback.
        s.start_emulator(people, "--think-ms", 100, "--speech-start-ms", 240)
        s.start_plane()
        s.start_worker("worker-1", people)
        placed = [calls.place(s, person.name, said, 18920 + 2 * i, 18920 + 2 * i, 100 + i, "--repeat", 0, "--talk-when-hearing-ms", 900,
                              "--pause-ms", 6000, "--start-delay-ms", 1500, "--duration-s", 30) for i, person in enumerate(people)]
        middle = {}
        for by in ("local", "server"):
            overlaps = []
            for _, caller, call in placed:
                if not call.user.startswith(by):
                    continue
                report = s.report(caller, 60)
                for spoke in report["spoke"][1:]:
                    over = [span for span in report["heard"] if span["start_us"] < spoke["start_us"] < span["end_us"]]
                    overlaps += [(span["end_us"] - spoke["start_us"]) / 1000 for span in over]
            self.assertGreater(len(overlaps), 6, by)
            middle[by] = spread(f"barge_in {by}: caller's first packet to the model's last", overlaps)
        self.assertLess(middle["local"], middle["server"] - 50)
        worker = stage.telemetry(s.prefix, "/voxlane/worker/list,worker-1")
        self.assertGreater(worker["local_pauses"], 6)
        self.assertEqual(worker["local_undone"], 0)


if __name__ == "__main__":
    main(second_try=True)
