#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The watermark oracle: thousands of marked calls through the real data plane, under attack, every byte checked (doc/isolation.md).

voxlane-load plays all callers and attackers over a memory link (net_memif), voxlane-oracle-worker checks what they said and
answers with marks of its own, which voxlane-load checks. Prints a table; --json writes all numbers. Ends with 1 when a byte
crossed or a call was harmed."""

import argparse
import json
import math
import os
import pathlib
import signal
import socket
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VL_BUILD", ROOT / "build"))
sys.path.insert(0, str(ROOT / "scripts"))
import stage  # noqa: E402  pylint: disable=wrong-import-position

ATTACKS = ["ssrc-spray", "wrong-source", "port-spray", "unknown-flood", "trunk-flood", "malformed", "rtcp"]
USERS_A_WORKER = 50000
HEADROOM = 400  # sessions beyond the calls: an ended one rests for a second, then the next call takes its place
SETTLE_S = 10
# What a machine short of processors may cost the good calls; what the rules decide may cost nothing.
LOSS_TOLERANCE = 0.002
TRIES = 3
DELAY_FACTOR, DELAY_SLACK_US = 5, 100_000
# Reasons that belong to what workers send, which goes on in a pause.
DOWNLINK = ("stale_generation", "playout_full", "tx_full", "tx_no_neighbour", "tx_no_buffer", "down_session")
FOREIGN = ("foreign_bytes", "foreign_records", "after_end", "unknown_session")


class Peer:
    """A program that is asked on standard input and answers with a line of JSON."""

    def __init__(self, directory, name, command):
        self.name = name
        self.log = directory / f"{name}.log"
        with open(self.log, "wb") as log:
            self.popen = subprocess.Popen(["setpriv", "--pdeathsig", "KILL"] + [str(c) for c in command], stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE, stderr=log, start_new_session=True)

    def tell(self, *lines):
        self.popen.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.popen.stdin.flush()

    def answer(self):
        for line in self.popen.stdout:
            if line.startswith(b"{"):
                return json.loads(line)
        self.popen.wait(10)
        raise stage.StageError(f"{self.name} ended with {self.popen.returncode}: {self.tail()}")

    def stats(self):
        self.tell("stats")
        return self.answer()

    def tail(self):
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])

    def kill(self):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()


def configuration(directory, sessions, ipv6=False, nat=False):
    value = {
        "listen": {"address": "10.77.0.1", "prefix_length": 24, "gateway": "10.77.0.254", "rtp_port": 5004, "dedicated_ports": [20000, 65535]},
        "trunks": [
            {"name": "exact", "sources": ["10.128.0.0/10"]},
            {"name": "learn", "sources": ["10.192.0.0/11"]},
            {"name": "dedicated", "sources": ["10.224.0.0/11"], "port_mode": "dedicated"},
        ],
        "playout": {"idle": "none"},
        "sessions": {"max": sessions, "media_timeout_s": 3600},
        "learning": {"packets_per_second": 200, "total_per_second": max(20000, sessions // 2), "pending": 16384},
        "workers": {"ring_slots": 1 << 19, "timeout_s": 60},
        "sockets": {"control": str(directory / "control.sock"), "workers": str(directory / "worker.sock")},
        "drain": {"timeout_s": 0},
        "log": {"level": "warning"},
    }
    if ipv6:  # an IPv4 address is bytes 4 to 7 of fd77::1, as load_send.c has it
        value["listen6"] = {"address": "fd77:0:a4d:1::1", "prefix_length": 56, "gateway": "fd77:0:a4d:fe::1"}
        for trunk, source in zip(value["trunks"], ("fd77:0:a80::/42", "fd77:0:ac0::/43", "fd77:0:ae0::/43")):
            trunk["sources"] = [source]
    if nat:
        value["trunks"][1]["allow_nat_rebind"] = True
    return value


class Oracle:
    """One data plane with its callers and workers."""

    def __init__(self, options):
        self.options = options
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="vl-oracle-"))
        self.prefix = f"vlo{os.getpid()}"
        root = os.geteuid() == 0
        self.runtime = "/var/run/dpdk" if root else os.path.join(os.environ.get("XDG_RUNTIME_DIR", "/tmp"), "dpdk")
        self.plane = self.load = None
        self.workers = []
        self.phases = []

    def start(self):
        o, d = self.options, self.directory
        sessions = o.calls + HEADROOM
        config = stage.write_json(d / "voxlane.json", configuration(d, sessions, o.ipv6, o.nats > 0))
        cpus = f"(0-{os.cpu_count() - 1})"
        memory = 384 + sessions * 4608 // (1 << 20)
        memif = f"socket={d}/memif.sock,socket-abstract=no,rsize={o.link_size}"
        self.plane = stage.Process("dataplane", [BUILD / o.dataplane, "--lcores", f"0@{cpus},1@{cpus}", "--no-pci", "--no-huge", "--no-shconf",
                                                 "-m", memory, "--file-prefix", self.prefix, "--vdev",
                                                 f"net_memif0,role=server,mac=02:00:00:00:00:01,{memif}", "--", "--config", config],
                                   d / "dataplane.log")
        stage.wait_for(lambda: self._listens() or self._fail_if_ended(), 30, "the data plane")
        count = max(1, o.workers, math.ceil(o.calls / USERS_A_WORKER))
        share = math.ceil(o.calls / count)
        for i in range(count):
            worker = Peer(d, f"worker-{i}", [BUILD / "tests/oracle/voxlane-oracle-worker", "--socket", d / "worker.sock", "--name", f"oracle-{i}",
                                             "--first", i * share, "--count", min(share, o.calls - i * share), "--sessions", sessions,
                                             "--pace", o.pace])
            self.workers.append(worker)
            worker.answer()
        self.load = Peer(d, "load", [BUILD / "tests/oracle/voxlane-load", "--lcores", f"0@{cpus}", "--no-pci", "--no-huge", "--no-shconf",
                                     "--no-telemetry", "-m", 192, "--file-prefix", f"{self.prefix}l", "--vdev",
                                     f"net_memif0,role=client,mac=02:00:00:00:00:02,{memif}", "--", d / "control.sock", o.calls, o.pace, 6 if o.ipv6 else 4])
        self.load.answer()

    def _fail_if_ended(self):
        if not self.plane.running():
            raise stage.StageError(f"the data plane ended with {self.plane.popen.returncode}:\n{self.plane.tail(30)}")

    def _listens(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(str(self.directory / "control.sock")) == 0

    def drops(self):
        return stage.telemetry(self.prefix, "/voxlane/drops", self.runtime)

    def usage(self):
        lcores = stage.telemetry(self.prefix, "/voxlane/lcore/usage", self.runtime).values()
        return {key: sum(lcore[key] for lcore in lcores) for key in ("received", "delivered", "busy_tsc", "total_tsc", "late_beats")}

    def snapshot(self):
        self._fail_if_ended()
        heard = [worker.stats() for worker in self.workers]
        total = {key: sum(h[key] for h in heard) for key in heard[0]}
        for key in ("delay_p50_us", "delay_p99_us", "delay_max_us"):
            total[key] = max(h[key] for h in heard)
        return {"load": self.load.stats(), "worker": total, "drops": self.drops(), "lcore": self.usage()}

    def settle(self):
        """Wait until nothing is under way any more."""
        before, deadline = None, time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            now = self.snapshot()
            seen = (now["worker"]["records"], sum(v for k, v in now["drops"].items() if k not in DOWNLINK), now["load"]["created"])
            if seen == before:
                return now
            before = seen
            time.sleep(0.25)
        return self.snapshot()

    def set_up(self):
        """Every call, as fast as they are taken, each speaking from its beginning."""
        start = time.monotonic()
        self.load.tell("resume")
        while True:
            stats = self.load.stats()
            if stats["live"] == self.options.calls:
                break
            if time.monotonic() - start > 30 + self.options.calls / 200:
                raise stage.StageError(f"only {stats['live']} of {self.options.calls} calls were set up: {stats['error']}")
            time.sleep(0.02)
        seconds = time.monotonic() - start
        time.sleep(1.2 + 0.2 * self.options.pace)
        self.load.tell("pause")
        return self.note("set-up", self.difference(None, self.settle()), seconds, rate=self.options.calls / seconds)

    @staticmethod
    def difference(before, after):
        if before is None:
            return after
        level = {"live", "error"}
        return {part: {key: value if key in level or key.endswith("_us") else value - before[part][key] for key, value in numbers.items()}
                for part, numbers in after.items()}

    def measure(self, name, seconds, attack="none", churn=0, moves=0, nats=0):
        before = self.settle()
        for peer in [self.load, *self.workers]:
            peer.tell("reset")
        pps = self.options.attack_pps if attack != "none" else 0
        self.load.tell(f"attack-pps {pps}", f"attack {attack}", f"churn {churn}", f"moves {moves}", f"nats {nats}", "resume")
        time.sleep(seconds)
        self.load.tell("attack none", "churn 0", "moves 0", "nats 0")
        if churn or moves or nats:
            time.sleep(1 + 0.2 * self.options.pace)  # the last trails and set-ups
        self.load.tell("pause")
        return self.note(name, self.difference(before, self.settle()), seconds)

    def note(self, name, numbers, seconds, rate=None):
        load, worker = numbers["load"], numbers["worker"]
        delivered = worker["records"] - worker["foreign_records"]
        phase = {"phase": name, "seconds": seconds, "set_ups_per_s": rate, "sent": load["good"], "delivered": delivered,
                 "lost": load["good"] - delivered, "bytes_checked": worker["bytes"] + load["down_bytes"],
                 "foreign_bytes": worker["foreign_bytes"] + load["down_foreign_bytes"],
                 "refused": {k: v for k, v in numbers["drops"].items() if v}, **numbers}
        self.phases.append(phase)
        if not self.options.quiet:
            print_phase(phase)
        return phase

    def stop(self):
        """The data plane ends while the other side of the link stands still: neither polls memory that goes away."""
        if self.load and self.load.popen.poll() is None:
            os.kill(self.load.popen.pid, signal.SIGSTOP)
        status = self.plane.stop(30) if self.plane else 0
        for peer in [self.load, *self.workers]:
            if peer:
                peer.kill()
        return status

    def close(self):
        status = self.stop()
        log = self.plane.log() if self.plane else ""
        if status or self.options.keep:
            print(f"data plane's exit status {status}; logs in {self.directory}", flush=True)
        else:
            shutil.rmtree(self.directory)
        for prefix in (self.prefix, f"{self.prefix}l"):
            shutil.rmtree(os.path.join(self.runtime, prefix), ignore_errors=True)
        return status, log


HEADER = f"{'phase':14} {'good sent':>10} {'delivered':>10} {'lost':>7} {'attack':>9} {'kB checked':>10} {'foreign':>8} {'delay p50':>9} " \
         f"{'p99 us':>8} {'beat p99':>9} {'live':>7}  refused"


def print_phase(phase):
    load, worker = phase["load"], phase["worker"]
    refused = " ".join(f"{k}={v}" for k, v in sorted(phase["refused"].items(), key=lambda item: -item[1]))
    rate = f" ({phase['set_ups_per_s']:.0f} set-ups/s)" if phase["set_ups_per_s"] else ""
    print(f"{phase['phase']:14} {phase['sent']:>10} {phase['delivered']:>10} {phase['lost']:>7} {load['attack']:>9} {phase['bytes_checked'] // 1000:>10} "
          f"{phase['foreign_bytes']:>8} {worker['delay_p50_us']:>9} {worker['delay_p99_us']:>8} {load['beat_p99_us']:>9} {load['live']:>7}  {refused}{rate}",
          flush=True)


def side_by_side(phases):
    """The good calls without and with each attack, one below the other."""
    quiet = next((p for p in phases if p["phase"] == "quiet"), None)
    attacked = [p for p in phases if p["load"]["attack"]]
    if not quiet or not attacked:
        return
    print(f"\n{'good calls beside':18} {'offered':>9} {'on link':>9} {'received':>9} {'refused':>9} {'lcore':>6} {'good sent':>10} {'lost':>7} "
          f"{'delay p50':>10} {'p99':>8} {'beat p50':>9} {'p99':>8} {'beats late':>10}")
    for phase in [quiet] + attacked:
        load, worker, lcore, seconds = phase["load"], phase["worker"], phase["lcore"], phase["seconds"]
        refused = sum(v for k, v in phase["refused"].items() if k not in DOWNLINK)
        print(f"{phase['phase'] if phase is not quiet else 'no attack':18} {(load['attack'] + load['attack_dropped']) / seconds / 1e6:>6.3f} M/s"
              f" {load['attack'] / seconds / 1e6:>5.3f} M/s {lcore['received'] / seconds / 1e6:>5.3f} M/s {refused / seconds / 1e6:>5.3f} M/s"
              f" {100 * lcore['busy_tsc'] / max(1, lcore['total_tsc']):>4.0f} % {phase['sent']:>10} {phase['lost']:>7}"
              f" {worker['delay_p50_us'] / 1000:>7.1f} ms {worker['delay_p99_us'] / 1000:>5.1f} ms {load['beat_p50_us'] / 1000:>6.1f} ms"
              f" {load['beat_p99_us'] / 1000:>5.1f} ms {lcore['late_beats']:>10}", flush=True)
    print()


def harm(phase, quiet):
    """What an attack did to the good calls: a list of sentences."""
    name, worker, wrong = phase["phase"], phase["worker"], []
    # Whatever is lost beyond what is lost anyway must have been lost to a full ring, and be little.
    starved = phase["refused"].get("uplink_full", 0)
    more = phase["lost"] - 1.5 * quiet["lost"] * phase["sent"] / max(1, quiet["sent"])
    if more > min(starved, LOSS_TOLERANCE * phase["sent"]):
        wrong.append(f"{name}: {phase['lost']} of {phase['sent']} good packets were lost ({starved} to a full ring), without attack "
                     f"{quiet['lost']} of {quiet['sent']}")
    if worker["delay_p99_us"] > DELAY_FACTOR * quiet["worker"]["delay_p99_us"] + DELAY_SLACK_US:
        wrong.append(f"{name}: p99 delay of good packets {worker['delay_p99_us']} us, without attack {quiet['worker']['delay_p99_us']} us")
    return wrong


def crossed(phase, calls):
    """Isolation broken, or a check that checked nothing: a list of sentences."""
    name, load, worker, wrong = phase["phase"], phase["load"], phase["worker"], []
    if phase["foreign_bytes"] or any(worker[key] for key in FOREIGN):
        wrong.append(f"{name}: {phase['foreign_bytes']} foreign bytes, {worker['after_end']} records after a call's end, "
                     f"{worker['unknown_session']} of no session")
    if load["to_strangers"]:
        wrong.append(f"{name}: {load['to_strangers']} packets were sent to somebody who is in no call")
    if load["live"] != calls or load["delete_failed"]:
        wrong.append(f"{name}: {load['live']} of {calls} calls live, {load['delete_failed']} were gone before their end")
    if not phase["delivered"] or not load["down"]:
        wrong.append(f"{name}: nothing was delivered, so nothing was checked")
    return wrong


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=4, help="of each phase")
    parser.add_argument("--pace", type=float, default=1, help="slow-down: a packet every 20 ms times this from each call")
    parser.add_argument("--churn", type=float, default=200, help="calls that end and begin again, a second, in the churn phases")
    parser.add_argument("--moves", type=float, default=20, help="calls whose port signalling changes, a second, in the churn phases")
    parser.add_argument("--nats", type=float, default=0, help="callers of unknown port whose port changes unsignalled, a second (allow_nat_rebind), in a phase of its own")
    parser.add_argument("--ipv6", action="store_true", help="all of it over IPv6 (but for what is malformed)")
    parser.add_argument("--attack", default="all", help="all, none, or names with commas: " + ", ".join(ATTACKS + ["mixed"]))
    parser.add_argument("--attack-pps", type=int, default=50000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--link-size", type=int, default=13, help="log2 of packets in the memory link each way")
    parser.add_argument("--dataplane", default="dpdk_app/voxlane-dataplane", help="program in the build directory")
    parser.add_argument("--json", help="write all numbers here")
    parser.add_argument("--keep", action="store_true", help="keep logs")
    parser.add_argument("--quiet", action="store_true", help="no table")
    return parser.parse_args(arguments)


def run(options):
    """All phases. Returns (phases, what is wrong)."""
    wrong = []
    attacks = {"all": ATTACKS, "none": []}.get(options.attack, options.attack.split(","))
    oracle = Oracle(options)
    try:
        oracle.start()
        if not options.quiet:
            print(f"{options.calls} calls, one packet each per {20 * options.pace:g} ms, {len(oracle.workers)} workers\n{HEADER}", flush=True)
        oracle.set_up()
        if options.churn or options.moves:
            oracle.measure("churn", options.seconds, churn=options.churn, moves=options.moves)
        if options.nats:
            phase = oracle.measure("nat", options.seconds, nats=options.nats)
            if not phase["load"]["nat_moved"] or phase["lost"] > 10 * phase["load"]["nat_moved"]:
                wrong.append(f"nat: {phase['lost']} packets lost by {phase['load']['nat_moved']} callers from a new port")
        quiet = oracle.measure("quiet", options.seconds)
        for attack in attacks:
            # An attack that harms does so every time; a machine that was busy elsewhere does not.
            for _ in range(TRIES):
                harmed = harm(oracle.measure(attack, options.seconds, attack=attack), quiet)
                if not harmed:
                    break
            wrong += harmed
        if attacks and options.churn:
            oracle.measure("churn+mixed", options.seconds, attack="mixed", churn=options.churn, moves=options.moves)
    finally:
        for peer in [oracle.load, *oracle.workers]:
            text = peer.tail() if peer else ""
            for line in text.splitlines() if not options.quiet else []:
                if not line.startswith(("EAL:", "rte_pmd_memif_probe")):
                    print(f"  {peer.name}: {line}", flush=True)
        status, log = oracle.close()
    for phase in oracle.phases:
        wrong += crossed(phase, options.calls)
    if status:
        wrong.append(f"the data plane ended with {status}:\n" + "\n".join(log.splitlines()[-20:]))
    return oracle.phases, wrong


def main():
    options = parse()
    phases, wrong = run(options)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"options": vars(options), "phases": phases, "wrong": wrong}, file, indent=1)
    total = sum(p["bytes_checked"] for p in phases)
    side_by_side(phases)
    print(f"{total} bytes checked, {sum(p['foreign_bytes'] for p in phases)} foreign", *wrong, sep="\n", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
