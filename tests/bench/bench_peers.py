#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bench: what relaying G.711 costs rtpengine in user space, and what the same streams cost our data plane, on one machine in one run.

A leg is one caller: 50 RTP packets a second in and 50 out. Two legs are a call of rtpengine, which passes the one's packets to the other; for us each leg is
a call of its own, handed to a worker and played back to (tests/oracle/worker.c stands in for the worker; it checks every byte and its time is not counted).
The callers (rtp_legs.c) are the same for all, over one link of one kernel: rtpengine's sockets on a veth, our net_tap port, our net_af_packet port on a veth.
One after the other, in rounds; what moves the packets has the last processor, everything else the others. CPU is what the kernel gave all threads of the
process, whatever they did with it: our packet core polls, so that the time in which it found work (/voxlane/lcore/usage) stands beside. That is time on the
clock, so what else runs on the machine gets less of it, and a measurement in which our core had to wait is made again. Last, our data plane on a port of
memory (net_memif), as close to a card's driver as a machine without one gets.

usage: bench_peers.py [--json FILE] [--rounds N] [--seconds S] [--legs N,N,...]"""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import socket
import statistics
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
for part in (TESTS / "oracle", TESTS / "smoke", TESTS.parent / "scripts"):
    sys.path.insert(0, str(part))
import fake_worker  # noqa: E402  pylint: disable=wrong-import-position
import report  # noqa: E402  pylint: disable=wrong-import-position
import run  # noqa: E402  pylint: disable=wrong-import-position
import stage  # noqa: E402  pylint: disable=wrong-import-position

THEIRS, OURS_TAP, OURS_SOCKET = "rtpengine", "voxlane, net_tap", "voxlane, net_af_packet"
FIRST_PORT = 10000
SETTLE_S = 0.7
MEMORY_CALLS = [1000, 4000]
TOO_MANY = 10  # packets missing in 1,000: it does not carry these legs, and what it costs says nothing
TRIES, WAITED_SHARE = 4, 0.01
LAST = os.cpu_count() - 1
OTHERS = f"0-{LAST - 1}"


def cpu_s(pid):
    """Time on a processor of all threads so far, to the nanosecond (utime and stime of /proc/PID/stat are the same time in hundredths). A telemetry thread
    that just answered us and ended is not counted."""
    total = 0
    for path in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((path / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


def packet_core(pid):
    """The thread of the packet core: its directory in /proc. DPDK calls it by either name, depending on its version."""
    return next(path.parent for path in pathlib.Path(f"/proc/{pid}/task").glob("*/comm") if path.read_text(encoding="ascii").startswith(("rte-worker", "dpdk-w")))


def waited_s(task):
    """Time that a thread wanted to run and something else did."""
    return int((task / "schedstat").read_text(encoding="ascii").split()[1]) / 1e9


def undisturbed(once):
    """What once() measures, again if the packet core had to wait for its processor; of several tries the one that waited least."""
    tries = []
    while len(tries) < TRIES and (not tries or tries[-1].get("waited", 0) > WAITED_SHARE * tries[-1]["at"]):
        tries.append(once())
    return min(tries, key=lambda numbers: numbers.get("waited", 0))


class Link:
    """The way between the callers' namespace and the program's; gone when closed."""

    def __init__(self, scene, tap=False, address=False):
        self.scene, self.name = scene, f"vc{scene.id}"[:15]
        self.inner = f"vp{scene.id}"[:15]
        if not tap:
            stage.run("ip", "-n", scene.lan, "link", "add", self.name, "type", "veth", "peer", "name", self.inner, "netns", scene.core)
            stage.run("ip", "-n", scene.core, "link", "set", self.inner, "up")
            self.join()
        if address:
            stage.run("ip", "-n", scene.core, "address", "add", f"{scene.PLANE}/{scene.PREFIX}", "dev", self.inner)

    def join(self):
        """The callers' end gets its address."""
        lan = ["ip", "-n", self.scene.lan]
        stage.run(*lan, "link", "set", self.name, "address", "02:77:00:00:00:02")
        stage.run(*lan, "address", "add", f"{self.scene.CALLERS}/{self.scene.PREFIX}", "dev", self.name)
        stage.run(*lan, "link", "set", self.name, "up")

    def close(self):
        shown = stage.run("ip", "-n", self.scene.lan, "-br", "link", "show")
        if self.name in shown:
            stage.run("ip", "-n", self.scene.lan, "link", "delete", self.name)


class Callers:
    """rtp_legs in the callers' namespace."""

    def __init__(self, scene, count):
        program = stage.BUILD / "tests/bench/rtp_legs"
        self.peer = run.Peer(scene.directory, "legs", ["taskset", "-c", OTHERS, "ip", "netns", "exec", scene.lan, program, scene.CALLERS, FIRST_PORT, count])
        self.pid = self.peer.popen.pid
        report.prefer(self.pid)
        self.peer.answer()

    @staticmethod
    def port(leg):
        return FIRST_PORT + 2 * leg

    def start(self, leg, address, port, partner=-1):
        self.peer.tell(f"leg {leg} {address} {port} {partner}")
        self.peer.answer()

    def close(self):
        self.peer.kill()


class Rtpengine:
    """Debian's rtpengine without its kernel module, driven by its control protocol: bencoded dictionaries over UDP."""

    name = THEIRS

    def __init__(self, scene, callers, _most):
        self.callers = callers
        self.link = Link(scene, address=True)
        self.process = scene.start("rtpengine", "taskset", "-c", LAST, "rtpengine", "--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=4",
                                   f"--interface={scene.PLANE}", "--listen-ng=127.0.0.1:2223", "--port-min=30000", "--port-max=60000",
                                   f"--pidfile={scene.directory}/rtpengine.pid", namespace=scene.core)
        self.pid = self.process.pid
        report.prefer(self.pid)
        self.control = fake_worker.socket_in(scene.core, socket.AF_INET, socket.SOCK_DGRAM)
        self.control.settimeout(0.5)
        self.control.connect(("127.0.0.1", 2223))
        self.cookie = 0
        stage.wait_for(self._pong, 10, "rtpengine's control socket")

    def _ask(self, **fields):
        self.cookie += 1
        body = "".join(f"{len(k)}:{k}{len(v)}:{v}" for k, v in sorted(fields.items()))
        for _ in range(10):
            self.control.send(f"{self.cookie} d{body}e".encode())
            with contextlib.suppress(TimeoutError):
                while True:
                    cookie, _, reply = self.control.recv(65536).decode().partition(" ")
                    if cookie == str(self.cookie):
                        return reply
        raise stage.StageError(f"rtpengine does not answer:\n{self.process.tail()}")

    def _pong(self):
        try:
            return "4:pong" in self._ask(command="ping")
        except OSError:
            if not self.process.running():
                raise stage.StageError(f"rtpengine ended:\n{self.process.tail()}") from None
            return False

    def _exchange(self, command, call, leg, **tags):
        """One leg's SDP in; the port where the other leg may send comes out."""
        sdp = (f"v=0\r\no=- 1 1 IN IP4 {stage.Stage.CALLERS}\r\ns=-\r\nc=IN IP4 {stage.Stage.CALLERS}\r\nt=0 0\r\n"
               f"m=audio {Callers.port(leg)} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n")
        reply = self._ask(command=command, sdp=sdp, **{"call-id": f"call-{call}", "ICE": "remove", **tags})
        port = re.search(r"m=audio (\d+) RTP/AVP 0", reply)
        if not port:
            raise stage.StageError(f"rtpengine refused a call: {reply}")
        return int(port.group(1))

    def add(self, first, last):
        """Calls for the legs in between, two each."""
        for leg in range(first, last, 2):
            tags = {"from-tag": "a"}
            port_of_second = self._exchange("offer", leg // 2, leg, **tags)
            port_of_first = self._exchange("answer", leg // 2, leg + 1, **{"to-tag": "b", **tags})
            self.callers.start(leg, stage.Stage.PLANE, port_of_first, leg + 1)
            self.callers.start(leg + 1, stage.Stage.PLANE, port_of_second, leg)

    def counts(self):
        return {}

    def close(self):
        self.control.close()
        self.process.stop()
        self.link.close()


class Voxlane:
    """Our data plane, and a worker that checks what it hears and answers with marks of its own."""

    def __init__(self, scene, callers, most):
        self.scene, self.callers = scene, callers
        config = stage.write_json(scene.directory / "voxlane.json", {
            "listen": {"address": scene.PLANE, "prefix_length": scene.PREFIX, "rtp_port": 5004},
            "trunks": [{"name": "peer", "sources": [f"{scene.CALLERS}/32"], "port_mode": "shared"}],
            "sessions": {"max": most + 16, "quarantine_s": 2},
            "workers": {"max": 1, "ring_slots": 1 << 16},
            "sockets": {"control": str(scene.directory / "control.sock"), "workers": str(scene.directory / "worker.sock")},
            "drain": {"timeout_s": 0}, "log": {"level": "warning"}})
        self.link = Link(scene, tap=self.tap)
        port = f"net_tap0,iface={self.link.name}" if self.tap else f"net_af_packet0,iface={self.link.inner}"
        self.plane = scene.start("dataplane", stage.binary("voxlane-dataplane"), "--lcores", f"0@({OTHERS}),1@{LAST}", "--no-pci", "--no-huge", "--no-shconf",
                                 "-m", 512, "--file-prefix", scene.prefix, "--vdev", port, "--", "--config", config, namespace=scene.core)
        self.pid = self.plane.pid
        report.prefer(self.pid)
        self.control = stage.wait_for(self._connect, 30, "the data plane's control socket")
        if self.tap:
            stage.run("ip", "-n", scene.core, "link", "set", self.link.name, "netns", scene.lan)
            self.link.join()
        self.worker = run.Peer(scene.directory, "worker", ["taskset", "-c", OTHERS, stage.BUILD / "tests/oracle/voxlane-oracle-worker", "--socket", scene.directory / "worker.sock",
                                                           "--name", "peer", "--first", 0, "--count", most, "--sessions", most + 16, "--pace", 1])
        report.prefer(self.worker.popen.pid)
        self.worker.answer()

    def _connect(self):
        if not self.plane.running():
            raise stage.StageError(f"the data plane ended with {self.plane.popen.returncode}:\n{self.plane.tail(30)}")
        try:
            return stage.Rpc(self.scene.directory / "control.sock")
        except OSError:
            return None

    def add(self, first, last):
        for leg in range(first, last):
            local = self.control.call("session.create", user=f"o{leg}", trunk="peer", remote={"address": self.scene.CALLERS, "port": Callers.port(leg)},
                                      codec="PCMU")["local"]
            self.callers.start(leg, local["address"], local["port"])

    def counts(self):
        lcore = stage.telemetry(self.scene.prefix, "/voxlane/lcore/usage").values()
        heard = self.worker.stats()
        return {"busy": sum(c["busy_tsc"] for c in lcore), "all": sum(c["total_tsc"] for c in lcore), "delivered": heard["records"],
                "foreign_up": heard["foreign_records"], "waited": waited_s(packet_core(self.pid))}

    def close(self):
        self.control.close()
        self.plane.stop()
        self.worker.kill()
        self.link.close()


class VoxlaneTap(Voxlane):
    name, tap = OURS_TAP, True


class VoxlaneSocket(Voxlane):
    name, tap = OURS_SOCKET, False


def snapshot(peer, callers):
    callers.peer.tell("stats")
    return {"at": time.monotonic(), "cpu": cpu_s(peer.pid), "callers": cpu_s(callers.pid), **callers.peer.answer(), **peer.counts()}


def growth(look, seconds):
    """Of everything that look() sees, over so long."""
    before = look()
    time.sleep(seconds)
    after = look()
    return {key: after[key] - before[key] for key in after}


def measure(peer, callers, seconds):
    return undisturbed(lambda: growth(lambda: snapshot(peer, callers), seconds))


def one_peer(kind, scene, legs, seconds):
    """One program from start to end: what it costs with no call, and with so many legs. {legs: numbers}"""
    callers = Callers(scene, legs[-1])
    peer = None
    try:
        peer = kind(scene, callers, legs[-1])
        time.sleep(SETTLE_S)
        results, before = {0: measure(peer, callers, 1)}, 0
        for count in legs:
            peer.add(before, count)
            time.sleep(SETTLE_S)
            results[count] = measure(peer, callers, seconds)
            before = count
        return results
    finally:
        callers.close()
        if peer:
            peer.close()


def core(numbers):
    """Microseconds on a processor in a second."""
    return 1e6 * numbers["cpu"] / numbers["at"]


def busy(numbers):
    """Microseconds in a second in which the packet core found work."""
    return 1e6 * numbers["busy"] / numbers["all"]


def lost(numbers, legs, arrived):
    """Packets in a thousand that did not arrive. What is on its way when we look is not lost."""
    return 1000 * max(0, numbers["sent"] - numbers[arrived] - legs) / max(1, numbers["sent"])


UNIT = "us/s a leg"


def missing(rounds, name, count, arrived):
    return statistics.median(lost(r[name][count], count, arrived) for r in rounds)


def tell_peers(bench, rounds, legs):
    ours = (OURS_TAP, OURS_SOCKET)
    for count in legs:
        print(f"{count} legs", flush=True)
        carried = [name for name in ours if max(missing(rounds, name, count, "received"), missing(rounds, name, count, "delivered")) < TOO_MANY]
        for name in carried:
            pairs = [(r[THEIRS][count], r[name][count]) for r in rounds]
            bench.report(f"{count}: rtpengine / {name}", [core(a) / core(b) for a, b in pairs], "times")
            bench.report(f"{count}: rtpengine / {name}, time with work", [core(a) / busy(b) for a, b in pairs], "times")
        for name in (THEIRS,) + ours:
            numbers = [r[name][count] for r in rounds]
            bench.report(f"{count}: {name}", [core(n) / count for n in numbers], UNIT)
            if name in ours:
                bench.report(f"{count}: {name}, time with work", [busy(n) / count for n in numbers], UNIT)
            bench.report(f"{count}: callers of {name}", [1e6 * n["callers"] / n["at"] / count for n in numbers], UNIT)
            bench.report(f"{count}: missing at callers of {name}", [lost(n, count, "received") for n in numbers], "in 1,000")
            if name in ours:
                bench.report(f"{count}: missing at the worker of {name}", [lost(n, count, "delivered") for n in numbers], "in 1,000")
    for name in (THEIRS,) + ours:
        bench.report(f"no call: {name}", [core(r[name][0]) / 1e4 for r in rounds], "% of a core")
    foreign = sum(n["foreign"] + n.get("foreign_up", 0) for r in rounds for numbers in r.values() for n in numbers.values())
    bench.report("payloads of somebody else", foreign, "payloads")


class MemoryPort:
    """Our data plane on a memory link with the watermark oracle's load."""

    def __init__(self, calls):
        self.oracle = run.Oracle(run.parse(["--calls", str(calls), "--attack", "none", "--quiet", "--workers", "1"]))
        try:
            self.oracle.start()
            self._spread()
            self.oracle.set_up()
        except Exception:
            self.oracle.close()
            raise

    def _spread(self):
        """The packet core has the last processor for itself: time with work is then time of work."""
        for peer in (self.oracle.plane, self.oracle.load.popen, self.oracle.workers[0].popen):
            report.prefer(peer.pid)
            for path in pathlib.Path(f"/proc/{peer.pid}/task").iterdir():
                os.sched_setaffinity(int(path.name), set(range(LAST)))
        os.sched_setaffinity(int(packet_core(self.oracle.plane.pid).name), {LAST})

    def _snapshot(self):
        usage = self.oracle.usage()
        return {"at": time.monotonic(), "cpu": cpu_s(self.oracle.plane.pid), "busy": usage["busy_tsc"], "all": usage["total_tsc"],
                "sent": self.oracle.load.stats()["good"], "waited": waited_s(packet_core(self.oracle.plane.pid))}

    def measure(self, seconds):
        self.oracle.load.tell("resume")
        time.sleep(SETTLE_S)
        numbers = undisturbed(lambda: growth(self._snapshot, seconds))
        self.oracle.load.tell("pause")
        return numbers


def memory_ports(bench, rounds, seconds):
    for calls in MEMORY_CALLS:
        port = MemoryPort(calls)
        try:
            numbers = [port.measure(seconds) for _ in range(rounds)]
        finally:
            port.oracle.close()
        print(f"{calls} calls on a port of memory (net_memif)", flush=True)
        bench.report(f"{calls}: voxlane, net_memif", [core(n) / calls for n in numbers], UNIT)
        bench.report(f"{calls}: voxlane, net_memif, time with work", [busy(n) / calls for n in numbers], UNIT)
        bench.report(f"{calls}: packets offered", [n["sent"] / n["at"] / calls for n in numbers], "a second a leg")


def parse():
    parser = argparse.ArgumentParser(description="What relaying costs rtpengine and what the same streams cost us.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each measurement")
    parser.add_argument("--legs", type=lambda text: sorted(int(n) for n in text.split(",")), default=[100, 400, 1000], help="even numbers with commas")
    return parser.parse_args()


def main():
    bench = report.Bench()
    options = parse()
    missing = os.geteuid() != 0 and "needs root for network namespaces" or \
        LAST == 0 and "needs two processors" or \
        not shutil.which("rtpengine") and "needs rtpengine: Debian's rtpengine-daemon (./scripts/bench.sh peers installs it and leaves its service off)"
    if missing:
        print(f"skipped: {missing}", flush=True)
        bench.finish()
        return 0
    scene = stage.Stage()
    try:
        kinds = [Rtpengine, VoxlaneTap, VoxlaneSocket]
        rounds = []
        for number in range(options.rounds):
            order = kinds[number % len(kinds):] + kinds[:number % len(kinds)]
            rounds.append({kind.name: one_peer(kind, scene, options.legs, options.seconds) for kind in order})
    finally:
        errors = scene.close()
    tell_peers(bench, rounds, options.legs)
    memory_ports(bench, options.rounds, options.seconds)
    bench.finish()
    print(*errors, sep="\n", end="", flush=True)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
