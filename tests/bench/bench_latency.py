#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bench: the latencies that the data plane and the worker count themselves (doc/telemetry.md), with the real programs: callers in a namespace, net_tap, one
packet core with the sleep ladder, one worker, TLS to the emulator of Gemini Live. Every caller speaks for 0.8 s and barges in 0.9 s into each answer, so that
each has an answer and an interruption every three seconds.

First calls are added until the machine carries no more: more than MOST_LATE of the worker's ticks come 5 ms late, or one beat of the packet core in a
hundred MOST_BEAT_MS. Callers, emulator and programs share the machine's processors, so that "load" is that of the whole machine and not of the programs under test. Then calls hang up until 80, 50 and 10 %
of that number are left, and each time the distribution of the next seconds is the difference of two replies of /voxlane/latency/buckets.

usage: bench_latency.py [--json FILE] [--seconds S] [--step N] [--most N]"""

import argparse
import contextlib
import os
import pathlib
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
for part in (TESTS / "smoke", TESTS.parent / "scripts"):
    sys.path.insert(0, str(part))
import report  # noqa: E402  pylint: disable=wrong-import-position
import scene  # noqa: E402  pylint: disable=wrong-import-position
import stage  # noqa: E402  pylint: disable=wrong-import-position

LOADS = (80, 50, 10)  # % of the largest number of calls
MOST_LATE = 0.05
MOST_BEAT_MS = 10
SETTLE_S, LOOK_S = 4, 3
FIRST_PORT = 20000
SAY_S, ANSWER_S = 0.8, 4
MESSAGE_MS, PACKET_MS, PREBUFFER_MS = 40, 20, 60
RESULTS = (
    ("rtp_to_websocket_us", "packet arrival to websocket write"),
    ("message_to_ring_us", "answer's first message to its first frame handed over"),
    ("message_to_rtp_us", "answer's first message to its first RTP packet"),
    ("flush_to_silence_us", "interrupted to silence"),
    ("loop_turn_us", "turn of the worker's loop"),
    ("beat_error_us", "packet's distance from its beat"),
)
# Distribution, what to add to it, what that is, and its budget. A message's first packet waits for its last. The prebuffer is the shortest there is.
BUDGETS = (
    ("rtp_to_websocket_us", MESSAGE_MS - PACKET_MS, "first RTP of a message to its websocket write", MESSAGE_MS + 5),
    ("message_to_rtp_us", 0, "first audio message to first RTP", PREBUFFER_MS + 5),
    ("flush_to_silence_us", 0, "interrupted to the last RTP of the old turn", 21),
)


def prefer(pid, nice):
    """What else runs on the machine gets less of it: the priority of the whole session, for that is what the scheduler shares processors between."""
    with contextlib.suppress(OSError):
        pathlib.Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")


def cpu_s(pid):
    """Time on a processor of all threads so far."""
    total = 0
    for path in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((path / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


def idle_s():
    """Time that all processors together had nothing to do."""
    words = pathlib.Path("/proc/stat").read_text(encoding="ascii").split()
    return (int(words[4]) + int(words[5])) / os.sysconf("SC_CLK_TCK")


def percentile(buckets, fraction):
    """Upper edge of the bucket in which the value of this rank lies."""
    rank, seen = fraction * sum(buckets.values()), 0
    for edge in sorted(buckets):
        seen += buckets[edge]
        if seen >= rank and seen > 0:
            return edge
    return 0


class Machine:
    """All programs, and as many calls as wanted."""

    def __init__(self, most):
        self.scene = s = scene.Scene()
        self.callers = []
        self.said = stage.write_tone(s.path("said.wav"), 300, SAY_S)
        answer = stage.write_tone(s.path("answer.wav"), 440, ANSWER_S)
        self.people = [scene.User(f"u{k}", answers=[answer]) for k in range(most)]
        emulator = s.start_emulator(self.people, "--think-ms", 100)
        s.start_plane(s.configuration(sessions={"max": most + 16, "quarantine_s": 2}, log={"level": "warning"}))
        worker = s.start_worker("worker-1", self.people, "--capacity", most)
        self.programs = {"data plane": s.plane.pid, "worker": worker.pid, "emulator": emulator.pid}
        for pid in self.programs.values():
            prefer(pid, -15)

    def add(self, count):
        for _ in range(count):
            k = len(self.callers)
            port = FIRST_PORT + 2 * k
            reply = self.scene.create(self.people[k].name, port)
            caller = self.scene.start_caller(f"caller-{k}", port, reply["local"], "--wav", self.said, "--ssrc", 1000 + k, "--repeat", 0, "--pause-ms", 4000,
                                             "--start-delay-ms", 500 + k * 131 % 2500, "--talk-when-hearing-ms", 900, "--duration-s", 600)
            prefer(caller.pid, -10)
            self.callers.append((caller, reply["session"]))

    def keep(self, count):
        while len(self.callers) > count:
            caller, session = self.callers.pop()
            self.scene.control.call("session.delete", session=session)
            caller.stop()

    def look(self):
        ask = lambda command: stage.telemetry(self.scene.prefix, command)  # noqa: E731
        worker = ask("/voxlane/worker/list,worker-1")
        return {"at": time.monotonic(), "idle": idle_s(), "cpu": {name: cpu_s(pid) for name, pid in self.programs.items()},
                "ticks": worker["ticks"], "ticks_late": worker["ticks_late"], "underruns": worker["down_underruns"],
                **{name: {int(edge): n for edge, n in ask(f"/voxlane/latency/buckets,{name}").items()} for name, _ in RESULTS}}

    def measure(self, seconds):
        """Growth of everything over so long."""
        before = self.look()
        time.sleep(seconds)
        after = self.look()
        return {key: {k: n - value[k] if k in (value := before[key]) else n for k, n in after[key].items()} if isinstance(after[key], dict)
                else after[key] - before[key] for key in after}

    def largest(self, step, most):
        """The largest number of calls that is carried, and what came late with it."""
        carried = 0
        while len(self.callers) < most:
            self.add(min(step, most - len(self.callers)))
            time.sleep(SETTLE_S)
            m = self.measure(LOOK_S)
            late, beat_ms = m["ticks_late"] / max(1, m["ticks"]), percentile(m["beat_error_us"], 0.99) / 1000
            print(f"  {len(self.callers)} calls: {late:.1%} of the worker's ticks late, 99 % of the beats within {beat_ms:.1f} ms, {busy(m):.0f} % of the machine busy",
                  flush=True)
            if late > MOST_LATE or beat_ms > MOST_BEAT_MS:
                break
            carried = len(self.callers)
        return carried


def busy(m):
    return 100 * (1 - m["idle"] / m["at"] / os.cpu_count())


def tell(bench, load, calls, m):
    what = f"{load} %, {calls} calls"
    bench.report(f"{what}: machine busy", busy(m), "%")
    for name, used in m["cpu"].items():
        bench.report(f"{what}: {name}", 100 * used / m["at"], "% of a core")
    for name, meaning in RESULTS:
        values = {edge: n for edge, n in m[name].items() if n > 0}
        if not values:
            continue
        print(f"{what}: {meaning}, {sum(values.values())} values", flush=True)
        for label, fraction in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)):
            bench.report(f"{what}: {name} {label}", percentile(values, fraction) / 1000, "ms")
    bench.report(f"{what}: model audio ran dry", m["underruns"], "times")
    for name, longer_ms, meaning, limit_ms in BUDGETS:
        p99_ms = percentile(m[name], 0.99) / 1000 + longer_ms
        print(f"{what}: {meaning}: p99 {p99_ms:.1f} of {limit_ms} ms, {'met' if p99_ms <= limit_ms else 'missed'}", flush=True)


def parse():
    parser = argparse.ArgumentParser(description="Latency distributions at three loads.")
    parser.add_argument("--seconds", type=float, default=10, help="of the highest load; up to three times as long of the others")
    parser.add_argument("--step", type=int, default=30, help="calls added at a time")
    parser.add_argument("--most", type=int, default=400)
    return parser.parse_args()


def main():
    bench = report.Bench()
    options = parse()
    if os.geteuid() != 0:
        print("skipped: needs root for network namespaces", flush=True)
        bench.finish()
        return 0
    machine = Machine(options.most)
    try:
        largest = machine.largest(options.step, options.most)
        bench.report("largest number of calls, everything on this machine", largest, "calls")
        for load in LOADS:
            machine.keep(max(1, largest * load // 100))
            time.sleep(SETTLE_S)
            # Longer with fewer calls, for about as many answers.
            tell(bench, load, len(machine.callers), machine.measure(options.seconds * min(3, LOADS[0] / load)))
    finally:
        errors = machine.scene.close()
    bench.finish()
    print(*errors, sep="\n", end="", flush=True)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
