#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Thousands of short calls through one worker and one data plane: afterwards both hold what they held before. VL_CHURN_CALLS=20000 is the long form."""

import os
import pathlib
import subprocess
import time

import calls
from harness import SmokeCase, main, measured, stage

CALLS = int(os.environ.get("VL_CHURN_CALLS", "1000"))
TOGETHER = 40
SESSIONS = 768  # storage that is touched once by the first calls
WARM = SESSIONS + 100
HERE = pathlib.Path(__file__).resolve().parent

# What must be as before, by where it is asked.
PLANE = ("sessions", "bound", "in_probation", "quarantined", "table_used", "table_deferred", "packets_kept", "commands_waiting", "mempool_in_use",
         "next_hops", "control_clients", "descriptors")
WORKER = ("calls", "sockets_open", "dials_waiting", "handles", "descriptors")


def memory_kb(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def computed_s(process):
    """User and system time of a process, proc(5)."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(process):
    """The least of a few looks: each question to telemetry is a connection that its thread closes a moment later."""
    return min((time.sleep(0.05), len(os.listdir(f"/proc/{process.pid}/fd")))[1] for _ in range(5))


class Churn(SmokeCase):
    def numbers(self):
        s = self.scene
        plane = {**stage.telemetry(s.prefix, "/voxlane/info"), "descriptors": descriptors(s.plane)}
        worker = {**stage.telemetry(s.prefix, "/voxlane/worker/list,worker"), "descriptors": descriptors(self.worker)}
        return {**{f"plane.{name}": plane[name] for name in PLANE}, **{f"worker.{name}": worker[name] for name in WORKER}}

    def at_rest(self):
        """The numbers once the last call is gone; they are read until nothing moves any more."""
        numbers = {}

        def still():
            numbers.update(self.numbers())
            return numbers if numbers["plane.sessions"] == numbers["plane.quarantined"] == numbers["worker.sockets_open"] == 0 and \
                numbers["worker.calls"] == 0 and numbers == self.numbers() else None
        try:
            return dict(stage.wait_for(still, 40, "everything to come to rest", 0.2)), memory_kb(self.scene.plane), memory_kb(self.worker)
        except stage.StageError as error:
            raise stage.StageError(f"{error}: {numbers}") from error

    def begin(self, number):
        """One call; it is over when the function that is returned says so."""
        s = self.scene
        port = 10000 + 2 * (number % 25000)
        reply = s.control.call("session.create", user=("admin2", "agent4")[number % 2], trunk="gate-voip", codec=("PCMU", "PCMA")[number // 2 % 2],
                               remote={"address": s.CALLERS, "port": port})
        session, kind, begun = reply["session"], number % 5, time.monotonic()
        if kind >= 2:
            self.sprinkle.stdin.write(f"{port} {number}\n")
            self.sprinkle.stdin.flush()
        wanted = {1: 0.03, 4: 0.5}.get(kind, 0)
        return session, lambda: (kind == 0 or (kind == 1 or session in self.ready) and time.monotonic() - begun >= wanted)

    def churn(self, count, first):
        """Hung up at once, while dialling, as soon as they are ready, after some audio."""
        control, open_calls, number = self.scene.control, {}, first
        while number < first + count or open_calls:
            while number < first + count and len(open_calls) < TOGETHER:
                session, over = self.begin(number)
                open_calls[session] = (over, time.monotonic())
                number += 1
            for event in control.poll_events():
                self.ready.add(event["params"]["session"])
            control.events.clear()
            for session, (over, begun) in list(open_calls.items()):
                self.assertLess(time.monotonic() - begun, 30, f"session {session} does not become ready")
                if over():
                    control.call("session.delete", session=session)
                    self.ready.discard(session)
                    del open_calls[session]
            time.sleep(0.002)

    def test_leaves_nothing_behind(self):
        s = self.scene
        people = calls.users("admin2", "agent4")
        s.start_emulator(people, "--setup-delay-ms", 20)
        s.start_plane(s.configuration(sessions={"max": SESSIONS, "quarantine_s": 2}))
        self.worker = s.start_worker("worker", people, "--log", "error")
        self.ready = set()
        self.sprinkle = subprocess.Popen(["ip", "netns", "exec", s.lan, "/usr/bin/python3", str(HERE / "rtp_sprinkle.py"), s.CALLERS, s.PLANE, "5004"],
                                         stdin=subprocess.PIPE, text=True)
        self.addCleanup(self.sprinkle.wait, 10)
        self.addCleanup(self.sprinkle.stdin.close)
        s.control.call("events.subscribe", events=["session.ready"])
        # Allocators and caches take what they will keep.
        self.churn(WARM, 0)
        before, plane_kb, worker_kb = self.at_rest()
        begun, used = time.monotonic(), computed_s(self.worker)
        self.churn(CALLS // 2, WARM)
        _, plane_half_kb, worker_half_kb = self.at_rest()
        self.churn(CALLS - CALLS // 2, WARM + CALLS // 2)
        took, used = time.monotonic() - begun, computed_s(self.worker) - used
        after, plane_after_kb, worker_after_kb = self.at_rest()
        opened = stage.telemetry(s.prefix, "/voxlane/worker/list,worker")
        measured(f"{CALLS} calls in {took:.0f} s, {opened['sockets_opened']} connections, {opened['sockets_failed']} of them failed; memory of the data plane {plane_kb}, "
                 f"{plane_half_kb}, {plane_after_kb} KiB, of the worker {worker_kb}, {worker_half_kb}, {worker_after_kb} KiB (after the first {WARM}, half, all)")
        measured(f"the worker computed {used / CALLS * 1000:.2f} ms a call, its connection included")
        measured(", ".join(f"{name} {value}" for name, value in after.items() if value))
        self.assertEqual(before, after)
        # 50 bytes a call in the long form, half a kilobyte in the short one.
        allowed_kb = 256 + CALLS // 2 * 50 // 1024
        self.assertLess(plane_after_kb - plane_half_kb, allowed_kb)
        self.assertLess(worker_after_kb - worker_half_kb, allowed_kb)


if __name__ == "__main__":
    main(second_try=True)
