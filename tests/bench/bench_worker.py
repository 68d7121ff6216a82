#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a worker costs: the real worker with real TLS against the local emulator, its calls played by fake_dataplane. Method and figures: doc/capacity.md, "Worker".

CPU is that of the worker's loop thread alone (/proc/PID/schedstat), divided by the seconds of talk: "thousandths of a core per call". The kernel counts the
emulator's half of loopback TCP to whoever sends, so it is in it. It is real pace if nothing else is said: two quiet processors are enough for 1,000 calls. On a
machine that is busy, or with more calls, worker, emulator and calls run with slow_time.so (--slow N, or SLOW of a part): their clocks and their waits are N times
slower, so a second of talk has N seconds of machine. The worker is then held to 1/N of a core (SCHED_DEADLINE), what one core of its own would be, and emulator and
callers go before everything else on the machine (SCHED_FIFO), as machines of their own would.
As root, and with Debian's linux-perf for system calls and for the time in parts; without, those are left out.

usage: bench_worker.py [--json FILE] [--slow N] [PART...]     PART: slowing counts minute speaking messages setups memory parts copies, or one run as
CALLS[:MESSAGE_MS[:SPEAKING[:SLOW[:CORES[:SECONDS]]]]], CORES the share of the worker in slowed time, 0 for all it can get"""

import argparse
import atexit
import collections
import glob
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import wave

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import stage  # noqa: E402  pylint: disable=wrong-import-position

KEY = "BENCH-KEY-0123456789"
WINDOW_S = 10  # of talk, a whole cycle of question and answer
COUNTS = (10, 100, 250, 500, 750, 1000)
ROUNDS = 3  # of the runs that are compared with each other, in turn
MEMORY_SLOW = 8  # 2,000 calls want four processors
SLICE_NS = 2_000_000  # what the worker gets at once of its share of a core: below its ticks of 5 ms, and not so little that each slice begins with cold caches
TICKS = os.sysconf("SC_CLK_TCK")
PARTS = ("slowing", "counts", "minute", "speaking", "messages", "setups", "memory", "parts", "copies")
SYSTEM_CALLS = ("epoll_pwait", "epoll_wait", "epoll_ctl", "read", "write", "recvfrom", "sendto")

# Which part of the work a source file of the tree does; what is not here is the calls' own logic.
FILES = (("WebSocket", r"ws|wss.*|https"), ("JSON, base64", r"gemini_.*|base64.*|json.*"), ("resampling", r"resample.*"), ("codec", r"g711.*"),
         ("loop", r"worker"), ("channel to the data plane", r"ring|channel|link|dataplane_link"), ("voice detection", r"voice_activity"))
LIBRARIES = (("TLS", r"libssl|libcrypto"), ("loop", r"evlib|libuv"), ("WebSocket", r"libwebsockets"), ("JSON, base64", r"libcjson"), ("codec", r"libspandsp"),
             ("kernel", r"\[kernel|\[vdso|\[unknown|vmlinux"), ("copying, allocation (libc)", r"libc\.|ld-linux|libm\."))


def slow_for(calls):
    """How much slower time must pass on this machine: worker, emulator and calls take about 0.4 % of a core a call."""
    return max(1, -(-calls // (75 * os.cpu_count())))


def cpu_ns(pid):
    """Of the main thread, which is the worker's loop."""
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()[0])


def user_system(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS


def resident_kb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")).group(1))


def schedule(process, *policy):
    """Another class of scheduling for a program. Says so when that is not possible: then the neighbours are in the numbers."""
    if shutil.which("chrt") is None:
        return
    done = subprocess.run(["chrt", *policy, str(process.pid)], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{process.name} is scheduled as any other program: {done.stderr.strip()}")


def has_perf():
    return shutil.which("perf") is not None and os.geteuid() == 0


class Run:
    """One worker with its calls. Everything is stopped by close()."""

    def __init__(self, calls, message_ms=40, speaking=100, slow=None, mute=False, copies=False, cores=1):
        self.calls, self.slow, self.speaking = calls, slow or slow_for(calls), speaking
        self.cleanup = stage.Cleanup()
        atexit.register(self.close)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="voxlane-bench-"))
        self.cleanup.add("directory", shutil.rmtree, self.directory, True)
        self.environment = {"LD_PRELOAD": str(stage.BUILD / "tests/bench/slow_time.so"), "SLOW_TIME": str(self.slow)} if self.slow > 1 else {}
        self.counts = self.directory / "copies"
        self.counts.write_bytes(bytes(48))
        os.chmod(self.counts, 0o666)
        ca, cert, key = stage.make_authority(self.directory)
        port = self._start_emulator(cert, key)
        self.worker = self._start_worker(ca, port, message_ms, copies, cores)
        if not self.worker.running():
            raise stage.StageError(f"the worker ended with {self.worker.popen.returncode}: {self.worker.tail()}")
        self.idle_kb = resident_kb(self.worker.pid)
        self.before = cpu_ns(self.worker.pid)
        self.plane = self._start_calls(mute)

    def _start(self, name, *command, environment=None, stdout=None):
        process = stage.Process(name, command, self.directory / f"{name}.log", environment={**self.environment, **(environment or {})}, stdout=stdout)
        self.cleanup.add(name, process.stop)
        if name != "worker" and self.slow > 1:
            schedule(process, "-a", "-f", "-p", "10")
        return process

    def _start_emulator(self, cert, key):
        # Speaking always: one answer without end, as fast as it is heard. Else answers as the service gives them, 4 s in a cycle of 10.
        how = ["--answer-ms", 600000, "--pace", 1, "--lead-ms", 1000] if self.speaking == 100 else ["--answer-ms", self.speaking * 100]
        emulator = self._start("emulator", stage.binary("gemini-emulator"), "--cert", cert, "--key", key, "--api-key", f"{KEY}=bench", "--seed", 1, *how)
        return int(emulator.wait_log(r"listening on port (\d+)", 30)[0].group(1))

    def _start_worker(self, ca, port, message_ms, copies, cores):
        user = {"name": "bench", "api_key": KEY}
        if self.speaking == 100:
            user["greeting"] = "Tell a long story."
        users = stage.write_json(self.directory / "users.json", {"gemini": {"endpoint": f"wss://localhost:{port}", "ca_file": str(ca),
                                 "model": "gemini-3.8-live"}, "users": [user]}, 0o600)
        environment = {}
        if copies:
            preload = [str(stage.BUILD / "tests/bench/count_copies.so")] + ([self.environment["LD_PRELOAD"]] if self.environment else [])
            environment = {"LD_PRELOAD": ":".join(preload), "COUNT_COPIES": str(self.counts)}
        worker = self._start("worker", stage.binary("voxlane-worker"), "--dataplane", self.directory / "workers.sock", "--users", users, "--capacity", 4000,
                             "--message-ms", message_ms, "--log", "error", environment=environment)
        time.sleep(1 + 0.2 * self.slow)
        if 0 < cores < self.slow:
            slice_ns, period_ns = str(SLICE_NS * cores), str(SLICE_NS * self.slow)
            schedule(worker, "-R", "-d", "-T", slice_ns, "-D", period_ns, "-P", period_ns, "-p", "0")
        return worker

    def _start_calls(self, mute):
        wav = self.directory / "speech.wav"
        with wave.open(str(wav), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            level = 30 if self.speaking == 100 else 8000  # nobody interrupts a long story
            file.writeframes(b"".join(struct.pack("<h", (i * 7919 % 251 - 125) * level // 125) for i in range(3 * 8000)))
        report = open(self.directory / "report.json", "wb")  # pylint: disable=consider-using-with
        plane = self._start("plane", stage.binary("fake_dataplane"), "--socket", self.directory / "workers.sock", "--wav", wav, "--calls", self.calls, "--seconds",
                            600, "--pause-ms", 7000, "--quiet", *(["--mute"] if mute else []), stdout=report)
        report.close()
        return plane

    def wait_ready(self):
        """Until all can talk. A worker that has no time left dials only now and then; then what it has is measured."""
        try:
            self.plane.wait_log("all .* calls are ready", 10 + self.slow * (5 + self.calls / 100))
        except stage.StageError:
            if not self.plane.running():
                raise
            print(f"not all of {self.calls} calls became ready in time: the worker is full")

    def talk(self, seconds):
        """So many seconds of talk."""
        time.sleep(seconds * self.slow)

    def end(self):
        """End the calls and return what they heard, and what the worker counted."""
        self.plane.stop()
        return json.loads((self.directory / "report.json").read_text(encoding="utf-8"))

    def close(self):
        self.cleanup.run()


def perf_stat(pid, seconds):
    """System calls of the worker by name, None without perf."""
    if not has_perf():
        time.sleep(seconds)
        return None
    events = ["raw_syscalls:sys_enter"] + [f"syscalls:sys_enter_{name}" for name in SYSTEM_CALLS]
    done = subprocess.run(["perf", "stat", "-x", ",", "-e", ",".join(events), "-p", str(pid), "--", "sleep", str(seconds)], capture_output=True, text=True, check=False)
    counted = {}
    for line in done.stderr.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[0].isdigit():
            counted[fields[2].rsplit("_", 1)[-1] if ":sys_enter_" not in fields[2] else fields[2].split(":sys_enter_")[1]] = int(fields[0])
    return counted if "enter" in counted else None


class Table:
    """Lines for people, and the same as JSON."""

    def __init__(self, path):
        self.path, self.rows = path, []

    def add(self, name, value, unit, values=None):
        """`value` is the median of `values`, if there are more of them."""
        spread = f" ({min(values):.2f} to {max(values):.2f})" if values else ""
        print(f"{name:<74} {value:10.2f}{spread} {unit}", flush=True)
        low, high = min(values or [value]), max(values or [value])
        self.rows.append({"name": name, "value": round(value, 4), "low": round(low, 4), "high": round(high, 4), "samples": len(values or [value]), "unit": unit})

    def save(self):
        if self.path:
            pathlib.Path(self.path).write_text(json.dumps(self.rows, indent=1) + "\n", encoding="utf-8")


def measure(table, calls, message_ms=40, speaking=100, slow=None, cores=1, seconds=WINDOW_S):
    """One run: CPU, system calls, memory, the loop, and what the callers heard from the first word on. Returns the cost of a call."""
    run = Run(calls, message_ms, speaking, slow, cores=cores)
    try:
        run.wait_ready()
        run.talk(5)
        pid, begin, (user, system), start = run.worker.pid, cpu_ns(run.worker.pid), user_system(run.worker.pid), time.monotonic()
        counted = perf_stat(pid, seconds * run.slow)
        used, now, took = cpu_ns(pid) - begin, user_system(pid), (time.monotonic() - start) / run.slow
        resident = resident_kb(pid)
        report = run.end()
    except stage.StageError:
        print(run.worker.tail(), run.plane.tail(), sep="\n")
        raise
    finally:
        run.close()
    worker, talked = report["worker"], calls * took
    name = f"{calls} calls, {message_ms} ms, model speaks {speaking} %" + (f", time 1/{run.slow}" if run.slow > 1 else "") + ("" if cores == 1 else f", {cores or 'all'} cores")
    table.add(f"{name}: core", used / 1e7 / took, "%")
    table.add(f"{name}: per call", used / 1e7 / talked * 1000, "thousandths of % of a core")
    if now[0] + now[1] > user + system:
        table.add(f"{name}: of it in the kernel", 100 * (now[1] - system) / (now[0] + now[1] - user - system), "%")
    if counted:
        table.add(f"{name}: system calls per call and second", counted.pop("enter") / talked, "calls")
        for what, count in sorted(counted.items(), key=lambda item: -item[1]):
            if count / talked >= 0.1:
                table.add(f"{name}:   {what}", count / talked, "calls")
    table.add(f"{name}: memory per call beyond the idle worker", (resident - run.idle_kb) / calls, "KB")
    table.add(f"{name}: longest turn of the loop, its CPU", worker["loop_cpu_us"]["max"] / 1000, "ms")
    table.add(f"{name}: turns of the loop, p99 of CPU", worker["loop_cpu_us"]["p99"] / 1000, "ms")
    table.add(f"{name}: RTP arrival to websocket write, p99", worker["rtp_to_websocket_us"]["p99"] / 1000, "ms")
    table.add(f"{name}: frames missing at the callers", sum(c["underruns"] + c["overruns"] for c in report["calls"]), "frames")
    table.add(f"{name}: frames heard per call", sum(c["frames"] for c in report["calls"]) / calls, "frames")
    table.add(f"{name}: connections that failed", worker["sockets_failed"], "connections")
    return used / 1e7 / talked * 1000


def measure_counts(table, slow):
    """What a call costs among few and among many: rounds in turn, since the machine has fast and slow minutes."""
    costs = {calls: [] for calls in COUNTS}
    for _ in range(ROUNDS):
        for calls in COUNTS:
            costs[calls].append(measure(table, calls, speaking=40, slow=slow, seconds=2 * WINDOW_S))
    for calls in COUNTS:
        table.add(f"{calls} calls: per call", statistics.median(costs[calls]), "thousandths of % of a core", costs[calls])
    medians = [statistics.median(costs[calls]) for calls in COUNTS if calls >= 100]
    middle = (min(medians) + max(medians)) / 2
    table.add("100 to 1,000 calls: farthest from their middle", 100 * (max(medians) - middle) / middle, "%")


def measure_setups(table, calls=500):
    """Calls that send nothing: what remains is the dial, TLS, upgrade and setup."""
    run = Run(calls, speaking=40, mute=True)
    try:
        run.wait_ready()
        each_us = (cpu_ns(run.worker.pid) - run.before) / 1000 / calls
        dial = run.end()["worker"]["dial_us"]
    finally:
        run.close()
    table.add("set-up of a call: CPU", each_us, "us")
    table.add("set-ups that one core could do", 1e6 / each_us, "a second (the worker paces them at 200)")
    table.add("dial to setupComplete, p99 (the emulator takes 250)", dial["p99"] / 1000, "ms")


def measure_memory(table, calls=2000):
    """Resident memory with many calls in full duplex, after a whole cycle of question and answer. The worker has two cores' worth: 2,000 calls need more than one."""
    run = Run(calls, speaking=40, slow=MEMORY_SLOW, cores=2)
    try:
        run.wait_ready()
        run.talk(WINDOW_S)
        kb = resident_kb(run.worker.pid)
        peak = pathlib.Path(f"/proc/{run.worker.pid}/status").read_text(encoding="ascii")
        shared = pathlib.Path(f"/proc/{run.worker.pid}/smaps_rollup").read_text(encoding="ascii")
        report = run.end()
    finally:
        run.close()
    table.add(f"{calls} calls: memory of the worker, everything, per call", kb / calls, "KB")
    table.add(f"{calls} calls: the most it ever was, per call", int(re.search(r"VmHWM:\s+(\d+)", peak).group(1)) / calls, "KB")
    table.add(f"{calls} calls: memory per call beyond the idle worker", (kb - run.idle_kb) / calls, "KB")
    table.add(f"{calls} calls: of it nobody else's", int(re.search(r"Private_Dirty:\s+(\d+)", shared).group(1)) / calls, "KB")
    table.add(f"{calls} calls: frames missing at the callers", sum(c["underruns"] + c["overruns"] for c in report["calls"]), "frames")
    table.add(f"{calls} calls: frames heard per call", sum(c["frames"] for c in report["calls"]) / calls, "frames")
    table.add(f"{calls} calls: connections that failed", report["worker"]["sockets_failed"], "connections")


def symbols():
    """Function name -> source file, of the worker's own objects."""
    where = {}
    objects = glob.glob(str(stage.BUILD / "ai_workers/*.p/*.o")) + glob.glob(str(stage.BUILD / "shared/*.p/*.o"))
    for path in objects:
        source = pathlib.Path(path).name.rsplit(".c.o", 1)[0].split("_.._")[-1]
        for line in subprocess.run(["nm", "--defined-only", path], capture_output=True, text=True, check=False).stdout.splitlines():
            fields = line.split()
            if len(fields) == 3 and fields[1] in "tT":
                where.setdefault(fields[2].split(".")[0], source)
    return where


def part_of(dso, symbol, where):
    if "voxlane-worker" in dso:
        source = where.get(symbol.split(".")[0], "")
        return next((part for part, pattern in FILES if re.fullmatch(pattern, source)), "the calls' own logic and queues")
    return next((part for part, pattern in LIBRARIES if re.search(pattern, dso)), "other")


def measure_parts(table, calls=300):
    """Samples of the worker by the CPU clock, sorted by what the code is for."""
    if not has_perf():
        print("time in parts: left out, it needs root and Debian's linux-perf")
        return
    run = Run(calls)
    data = run.directory / "perf.data"
    try:
        run.wait_ready()
        run.talk(3)
        stage.run("perf", "record", "-q", "-e", "cpu-clock", "-F", "997", "-o", data, "-p", run.worker.pid, "--", "sleep", WINDOW_S * run.slow)
        text = stage.run("perf", "report", "-i", data, "--no-children", "--sort", "dso,symbol", "-t", "|", "--stdio", "-F", "sample,dso,symbol")
    finally:
        run.close()
    where, parts, lines = symbols(), collections.Counter(), collections.Counter()
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) >= 3 and fields[0].isdigit():
            symbol = fields[2].split("] ")[-1].strip()
            part = part_of(fields[1], symbol, where)
            parts[part] += int(fields[0])
            lines[part, fields[1], symbol] += int(fields[0])
    total = sum(parts.values())
    for part, samples in parts.most_common():
        table.add(f"{calls} calls: time in {part}", 100 * samples / total, "%")
    for (part, dso, symbol), samples in lines.most_common(25):
        print(f"    {100 * samples / total:5.1f} %  {part:<32} {dso:<28} {symbol}")


def measure_copies(table, calls=100):
    run = Run(calls, slow=max(2, slow_for(calls)), copies=True)
    try:
        run.wait_ready()
        run.talk(3)
        before, start = struct.unpack("6Q", run.counts.read_bytes()), time.monotonic()
        run.talk(WINDOW_S)
        after = struct.unpack("6Q", run.counts.read_bytes())
        talked = (time.monotonic() - start) / run.slow * calls
    finally:
        run.close()
    copies, copied, reads, read, writes, written = ((b - a) / talked for a, b in zip(before, after))
    table.add(f"{calls} calls: memcpy and memmove per call and second", copies, "calls")
    table.add(f"{calls} calls:   bytes", copied / 1000, "kB")
    table.add(f"{calls} calls: read from sockets per call and second, in {reads:.0f} system calls", read / 1000, "kB")
    table.add(f"{calls} calls: written to sockets per call and second, in {writes:.0f} system calls", written / 1000, "kB")


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("--json")
    parser.add_argument("--slow", type=int, default=1)
    parser.add_argument("parts", nargs="*")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    table = Table(options.json)
    for part in options.parts or PARTS:
        if part == "slowing":
            for slow in (1, 2, 5):
                measure(table, 50, speaking=40, slow=slow)
        elif part == "counts":
            measure_counts(table, options.slow)
        elif part == "minute":
            measure(table, 1000, speaking=40, slow=options.slow, seconds=60)
        elif part == "speaking":
            for calls in (100, 500, 1000):
                measure(table, calls, slow=options.slow)
        elif part == "messages":
            for message_ms in (20, 100):
                measure(table, 100, message_ms, slow=options.slow)
        elif part == "setups":
            measure_setups(table)
        elif part == "memory":
            measure_memory(table)
        elif part == "parts":
            measure_parts(table)
        elif part == "copies":
            measure_copies(table)
        else:
            given = [int(n) for n in part.split(":")]
            measure(table, *given, *[40, 100, options.slow][len(given) - 1:])
    table.save()


if __name__ == "__main__":
    main()
