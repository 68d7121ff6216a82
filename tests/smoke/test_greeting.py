#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The model greets before the caller's first packet is there: the greeting is heard whole, from its beginning and without a gap, whether the caller's port was signalled or
not. And a caller from whom nothing ever comes is greeted all the same."""

import time

import fake_worker
from harness import SmokeCase, main, measured, scene, stage

SECONDS, LATE, BEAT = 4, 3, 0.02
SILENCE = b"\xff" * 160


class Greeting(SmokeCase):
    def start(self, **changes):
        s = self.scene
        tone = stage.write_tone(s.path("greeting.wav"), 440, SECONDS, rate=24000)
        people = [scene.User(name, answers=[tone], greeting="Say hello.") for name in ("admin2", "agent4")]
        s.start_emulator(people)
        s.start_plane(s.configuration(**changes))
        s.start_worker("worker-1", people)

    def caller(self, port, reply):
        caller = fake_worker.Caller(self.scene.lan, self.scene.CALLERS, port, 7000 + port, reply["local"])
        self.addCleanup(caller.close)
        return caller

    def listen(self, callers, seconds, speak=True):
        """Until the greeting is over for everybody, half a second of silence behind it; at most `seconds`, if the machine does its part."""
        end = time.monotonic() + seconds + stage.PATIENCE
        while time.monotonic() < end and not all(self.over(caller) for caller in callers):
            for caller in callers:
                if speak:
                    caller.send(SILENCE)
                caller.pump()
            time.sleep(BEAT)

    @staticmethod
    def over(caller):
        spoke = any(packet[5] != SILENCE for packet in caller.received)
        return spoke and len(caller.received) > 25 and all(packet[5] == SILENCE for packet in caller.received[-25:])

    def heard(self, caller):
        """Numbers of the packets with the greeting, counted from the caller's first one."""
        return [n for n, packet in enumerate(caller.received) if packet[5] != SILENCE]

    def assert_whole(self, caller):
        voice = self.heard(caller)
        measured(f"greeting of {SECONDS * 50} frames: {len(voice)} heard")
        self.assertGreaterEqual(len(voice), SECONDS * 50)
        self.assertLessEqual(len(voice), SECONDS * 50 + 2)
        self.assertEqual(voice[-1] - voice[0] + 1, len(voice), "a gap in the greeting")

    def test_caller_comes_late(self):
        s = self.scene
        self.start()
        replies = [s.create("admin2", 18920), s.create("agent4", 5004)]
        for reply in replies:
            s.wait_state(reply["session"], "ready")
        time.sleep(LATE)
        for reply in replies:
            described = s.get(reply["session"])
            self.assertEqual((described["listening"], described["send"]["frames"], described["send"]["queued"]), (False, 0, 0))
        callers = [self.caller(18920, replies[0]), self.caller(18922, replies[1])]
        self.listen(callers, SECONDS + 1.5)
        self.assertTrue(s.get(replies[1]["session"])["listening"])
        for caller in callers:
            self.assert_whole(caller)
        self.assertEqual(stage.telemetry(s.prefix, "/voxlane/drops").get("playout_full", 0), 0)

    def test_caller_who_waits_for_us(self):
        s = self.scene
        self.start(playout={"idle": "silence", "wait_for_caller_ms": 1000})
        reply = s.create("admin2", 18920)
        caller = self.caller(18920, reply)
        self.listen([caller], SECONDS + 4, speak=False)
        self.assert_whole(caller)


if __name__ == "__main__":
    main(second_try=True)
