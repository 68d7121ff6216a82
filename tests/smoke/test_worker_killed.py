#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A worker is killed in mid-call: its caller's RTP goes on, nobody else notices, its call speaks again when it is back, and nothing leaks in the data plane."""

import signal
import time

import calls
from harness import SmokeCase, main, measured, scene, stage


class WorkerKilled(SmokeCase):
    def whole(self):
        """What must be the same before and after."""
        info = stage.telemetry(self.scene.prefix, "/voxlane/info")
        return {name: info[name] for name in ("sessions", "bound", "in_probation", "table_used", "packets_kept")}

    def buffers_in_use(self):
        return stage.telemetry(self.scene.prefix, "/voxlane/info")["mempool_in_use"]

    def test_kill_during_a_call(self):
        s = self.scene
        # The one scene of an older family of models, which is spoken to in another way.
        s.model = "gemini-3.1-flash-live-preview"
        said = scene.speech(s, "said.wav", scene.BOOK[1])
        people = calls.users("admin2", "agent4")
        s.start_emulator(people, "--answer-ms", 1500)
        s.start_plane()
        buffers = self.buffers_in_use()
        victim = s.start_worker("worker-admin2", people[:1])
        s.start_worker("worker-agent4", people[1:])
        options = ("--repeat", 0, "--pause-ms", 4000, "--start-delay-ms", 1000, "--duration-s", 24)
        first, first_caller, first_call = calls.place(s, "admin2", said, 18920, 18920, 1, *options)
        second, second_caller, second_call = calls.place(s, "agent4", said, 18922, 18922, 2, *options)
        s.wait_state(first, ("ready", "talking"))
        s.wait_state(second, ("ready", "talking"))
        before = self.whole()
        stage.wait_for(lambda: s.stats()["keys"]["admin2"]["turns"] >= 1, 20, "the first answer")

        victim.expected_to_die = True
        victim.kill(signal.SIGKILL)
        victim.wait(5)
        stage.wait_for(lambda: s.get(first)["state"] == "no-worker", 5, "the data plane to notice")
        self.assertEqual([w["worker"] for w in s.control.call("worker.list")["workers"]], ["worker-agent4"])
        turns = s.stats()["keys"]["admin2"]["turns"]
        back = time.monotonic()
        s.start_worker("worker-admin2-again", people[:1])
        s.wait_state(first, ("ready", "talking"))
        measured(f"killed worker's call ready again {time.monotonic() - back:.2f} s after the new worker's start")
        stage.wait_for(lambda: s.stats()["keys"]["admin2"]["turns"] > turns, 20, "an answer after the restart")
        self.assertEqual(self.whole(), before)

        calls.finish(s, first_caller, first_call)
        calls.finish(s, second_caller, second_call)
        for call in (first_call, second_call):
            report = call.report
            self.assertEqual((report["sequence_gaps"], report["lost"], report["timestamp_discontinuities"], report["foreign"]), (0, 0, 0, 0), call.user)
            self.assertEqual(len(report["ssrcs"]), 1)
            measured(f"RTP to {call.user} over the kill: longest interval {report['interarrival_us']['max']} µs, {report['received']} packets, 0 gaps")
        self.assertEqual(s.stats()["keys"]["agent4"]["connections"], 1, "the other worker's call was touched")
        other = s.get(second)
        self.assertEqual(other["receive"]["lost"], 0)
        for session in (first, second):
            s.control.call("session.delete", session=session)
        stage.wait_for(lambda: self.buffers_in_use() == buffers, 5, f"{buffers} packet buffers in use as before the calls")
        self.assertEqual(s.control.call("system.info")["sessions"], 0)


if __name__ == "__main__":
    main(second_try=True)
