# SPDX-License-Identifier: Apache-2.0
"""A stage for the real programs: namespaces, a tap between data plane and callers, a private CA, processes with logs, the control socket, and a cleanup that
takes everything away again in reverse order. Used by the demo and by the smoke tests. Standard library only."""

import atexit
import json
import math
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import time
import wave

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("VL_BUILD", ROOT / "build"))

BINARIES = {
    "voxlane-dataplane": "dpdk_app/voxlane-dataplane",
    "voxlane-dataplane-ip-only": "dpdk_app/voxlane-dataplane-ip-only",
    "voxlane-worker": "ai_workers/voxlane-worker",
    "voxlane-keys": "ai_workers/voxlane-keys",
    "gemini-emulator": "tests/emulator/gemini-emulator",
    "voxlane-rtp-caller": "tests/tools/voxlane-rtp-caller",
    "rtp_attacker": "tests/tools/rtp_attacker",
    "fake_dataplane": "tests/tools/fake_dataplane",
    "voxlane-dataplane-table-ssrc-only": "tests/oracle/voxlane-dataplane-table-ssrc-only",
    "voxlane-tone-mark": "tests/tools/voxlane-tone-mark",
    "voxlane-audio-match": "tests/tools/voxlane-audio-match",
}


# Seconds that every deadline gets on top. Deadlines are for what hangs: a test that runs where the machine may stand still for a while sets this, and measures what it
# has to say about time.
PATIENCE = 0


class StageError(Exception):
    """One sentence for a person."""

# Programs refuse a configuration or a CA that a group may change.
os.umask(0o022)


def binary(name):
    path = BUILD / BINARIES[name]
    if not path.exists():
        raise StageError(f"{path} is missing; build first (meson compile -C {BUILD})")
    return str(path)


def wait_for(condition, seconds, what, interval=0.02):
    """Call condition() until it is true and return what it returned; StageError when the deadline passes."""
    deadline = time.monotonic() + seconds + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise StageError(f"waited {seconds + PATIENCE} s for {what}")
        time.sleep(interval)


def run(*command):
    """Run a short command; StageError with its stderr when it fails."""
    with subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          start_new_session=True) as process:
        try:
            out, err = process.communicate()
        except KeyboardInterrupt:
            # Half a step could not be undone: let it finish, it is short.
            process.communicate()
            raise
    if process.returncode:
        raise StageError(f"'{' '.join(str(c) for c in command)}' failed: {err.strip() or out.strip()}")
    return out


class Cleanup:
    """Undo steps, run in reverse order, each whatever happened to the others."""

    def __init__(self):
        self.steps = []
        self.errors = []

    def add(self, what, step, *arguments):
        self.steps.append((what, step, arguments))

    def run(self):
        while self.steps:
            what, step, arguments = self.steps.pop()
            try:
                step(*arguments)
            except Exception as error:  # pylint: disable=broad-except
                self.errors.append(f"{what}: {error}")


class Process:
    """A program with its output in a log file. It dies with us (pdeathsig) and does not see the terminal's Ctrl-C."""

    def __init__(self, name, command, log, namespace=None, environment=None, stdout=None):
        self.name = name
        self.expected_to_die = False
        self.log_path = pathlib.Path(log)
        command = ["setpriv", "--pdeathsig", "KILL"] + [str(c) for c in command]
        if namespace:
            command = ["ip", "netns", "exec", namespace] + command
        with open(log, "ab") as file:
            self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout or file, stderr=file,
                                          start_new_session=True, env={**os.environ, **(environment or {})})
        self.pid = self.popen.pid

    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def tail(self, lines=15):
        return "\n".join(self.log().splitlines()[-lines:])

    def running(self):
        return self.popen.poll() is None

    def wait_log(self, pattern, seconds, count=1):
        """Wait until the log holds `count` matches of the pattern and return them."""
        def found():
            matches = list(re.finditer(pattern, self.log()))
            if len(matches) >= count:
                return matches
            if not self.running():
                raise StageError(f"{self.name} ended with {self.popen.returncode}:\n{self.tail()}")
            return None
        return wait_for(found, seconds, f"/{pattern}/ in the log of {self.name}")

    def wait(self, seconds):
        try:
            return self.popen.wait(seconds + PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise StageError(f"{self.name} still runs after {seconds + PATIENCE} s:\n{self.tail()}") from error

    def kill(self, number):
        if self.running():
            os.kill(self.pid, number)

    def stop(self, seconds=10):
        """SIGTERM, then SIGKILL after `seconds`. Returns the exit status."""
        self.kill(signal.SIGTERM)
        try:
            return self.popen.wait(seconds + PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill(signal.SIGKILL)
            return self.popen.wait(5)


class Rpc:
    """A client of the control socket: JSON-RPC 2.0, values one after the other. Notifications are kept in .events."""

    class Error(Exception):
        def __init__(self, error):
            super().__init__(f"{error.get('message')} ({error.get('code')})")
            self.error = error

    def __init__(self, path, seconds=10):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds + PATIENCE)
        self.socket.connect(str(path))
        self.buffer = b""
        self.number = 0
        self.events = []

    def close(self):
        self.socket.close()

    def _next(self):
        while True:
            self.buffer = self.buffer.lstrip()
            if self.buffer:
                try:
                    text = self.buffer.decode("utf-8")
                    value, end = json.JSONDecoder().raw_decode(text)
                    self.buffer = text[end:].encode()
                    return value
                except ValueError:
                    pass  # not whole yet
            data = self.socket.recv(65536)
            if not data:
                raise StageError("the control socket was closed")
            self.buffer += data

    def call(self, method, **params):
        self.number += 1
        request = {"jsonrpc": "2.0", "id": self.number, "method": method}
        if params:
            request["params"] = params
        self.socket.sendall(json.dumps(request).encode())
        while True:
            value = self._next()
            if "method" in value:
                self.events.append(value)
            elif value.get("id") == self.number:
                if "error" in value:
                    raise Rpc.Error(value["error"])
                return value["result"]

    def poll_events(self):
        """Take in what has come without waiting; returns all events so far."""
        timeout = self.socket.gettimeout()
        self.socket.settimeout(0)
        try:
            while True:
                self.events.append(self._next())
        except (BlockingIOError, socket.timeout):
            pass
        finally:
            self.socket.settimeout(timeout)
        return self.events


def telemetry(prefix, command, runtime="/var/run/dpdk"):
    """Ask the data plane's telemetry socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(5 + PATIENCE)
        client.connect(f"{runtime}/{prefix}/dpdk_telemetry.v2")
        client.recv(16384)
        client.send(command.encode())
        reply = json.loads(client.recv(65536))
    return next(iter(reply.values()))


def http_get_json(namespace, url):
    """GET from inside a namespace (None: ours), certificates unchecked, for the emulator's statistics."""
    script = ("import ssl,sys,urllib.request;c=ssl._create_unverified_context();"
              "sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1],context=c,timeout=float(sys.argv[2])).read())")
    command = ["/usr/bin/python3", "-c", script, url, str(5 + PATIENCE)]
    return json.loads(run(*(["ip", "netns", "exec", namespace] if namespace else []), *command))


def make_authority(directory):
    """A private CA and a server certificate for localhost. Returns (ca, certificate, key)."""
    d = pathlib.Path(directory)
    ca, ca_key, request, cert, key = d / "ca.pem", d / "ca.key", d / "server.csr", d / "server.pem", d / "server.key"
    extensions = d / "server.ext"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n", encoding="ascii")
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run("openssl", "req", "-x509", *ec, "-keyout", ca_key, "-out", ca, "-days", "2", "-subj", "/CN=Voxlane private CA",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    run("openssl", "req", *ec, "-keyout", key, "-out", request, "-subj", "/CN=localhost")
    run("openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-out", cert, "-days", "2",
        "-extfile", extensions)
    return ca, cert, key


def write_json(path, value, mode=0o644):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    os.chmod(path, mode)
    return pathlib.Path(path)


def write_tone(path, hz, seconds, rate=24000, level=0.4):
    """A steady tone: an answer without pauses, so that silence can only mean that it was stopped."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(struct.pack("<h", int(32767 * level * math.sin(2 * math.pi * hz * i / rate)))
                                  for i in range(int(seconds * rate))))
    return pathlib.Path(path)


class Stage:
    """Namespaces and a work directory. `core` holds data plane, workers and emulator; `lan` holds the callers; a tap joins them."""

    PLANE, CALLERS, PREFIX = "10.77.0.1", "10.77.0.2", 24
    PLANE6, CALLERS6, PREFIX6 = "fd77::1", "fd77::2", 64

    def __init__(self, keep=False, isolated=True):
        self.cleanup = Cleanup()
        atexit.register(self.close)
        self.id = f"{os.getpid()}"
        parent = pathlib.Path("/run" if os.access("/run", os.W_OK) else "/tmp")
        # Every step is registered before it is done: an interrupt may come between any two lines.
        self.directory = parent / f"voxlane-{self.id}-{secrets.token_hex(4)}"
        if not keep:
            self.cleanup.add("work directory", self._remove_directory)
        self.directory.mkdir(mode=0o700)
        self.prefix = f"vl{self.id}"
        self.cleanup.add("DPDK's run-time directory", self._remove_runtime)
        # An AI service outside this machine is only reached from the machine's own namespace.
        self.core = self._namespace("core") if isolated else None
        self.lan = self._namespace("lan")
        self.tap = f"vt{self.id}"[:15]
        self.processes = []

    def _remove_directory(self):
        if self.directory.exists():
            shutil.rmtree(self.directory)

    def _remove_runtime(self):
        for directory in pathlib.Path("/var/run/dpdk").glob(f"{self.prefix}*"):
            shutil.rmtree(directory, ignore_errors=True)

    @staticmethod
    def _delete_namespace(name):
        if os.path.exists(f"/run/netns/{name}"):
            run("ip", "netns", "delete", name)

    def _namespace(self, role):
        name = f"vl{role}{self.id}"
        self.cleanup.add(f"namespace {name}", self._delete_namespace, name)
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def start(self, name, *command, namespace=None, environment=None, stdout=None):
        process = Process(name, command, self.directory / f"{name}.log", namespace, environment, stdout)
        self.processes.append(process)
        self.cleanup.add(name, process.stop)
        return process

    def _join(self, one_queue):
        """What the data plane's port is on: a tap, or a packet socket on a veth pair, which has one queue each way."""
        if not one_queue:
            return f"net_tap0,iface={self.tap}"
        inner = f"vp{self.id}"[:15]
        run("ip", "-n", self.core, "link", "add", self.tap, "type", "veth", "peer", "name", inner)
        run("ip", "-n", self.core, "link", "set", inner, "up")
        return f"net_af_packet0,iface={inner}"

    def start_dataplane(self, config, program="voxlane-dataplane", memory_mb=512, hugepages=False, extra=(), lcores="0,1", one_queue=False):
        """Start the data plane with its port on a tap, wait for its control socket, and give the tap to the callers."""
        # DPDK 22.11 refuses --in-memory together with --no-huge.
        memory = ["--in-memory"] if hugepages else ["--no-huge", "--no-shconf"]
        eal = ["--lcores", lcores, "--no-pci", *memory, "-m", memory_mb, "--file-prefix", self.prefix,
               "--vdev", self._join(one_queue), *extra]
        plane = self.start("dataplane", binary(program), *eal, "--", "--config", config, namespace=self.core)
        control = self.directory / "control.sock"

        def answers():
            if not plane.running():
                raise StageError(f"the data plane ended with {plane.popen.returncode}:\n{plane.tail(30)}")
            try:
                rpc = Rpc(control)
            except OSError:
                return None
            try:
                return rpc.call("system.info")
            finally:
                rpc.close()
        wait_for(answers, 30, "the data plane's control socket")
        move = ["ip"] + (["-n", self.core] if self.core else []) + ["link", "set", self.tap, "netns", self.lan]
        run(*move)
        lan = ["ip", "-n", self.lan]
        # The kernel's end needs a hardware address of its own, net_tap gives both ends the same one.
        run(*lan, "link", "set", self.tap, "address", "02:77:00:00:00:02")
        run(*lan, "address", "add", f"{self.CALLERS}/{self.PREFIX}", "dev", self.tap)
        run(*lan, "-6", "address", "add", f"{self.CALLERS6}/{self.PREFIX6}", "dev", self.tap, "nodad")
        run(*lan, "link", "set", self.tap, "up")
        return plane

    def start_caller(self, name, port, to, *options, address=None, json_name=None, live=False):
        """A caller that speaks from `port`; its report goes to NAME.json."""
        ours = address or self.CALLERS
        bind = f"[{ours}]:{port}" if ":" in ours else f"{ours}:{port}"
        peer = f"[{to['address']}]:{to['port']}" if ":" in to["address"] else f"{to['address']}:{to['port']}"
        report = self.directory / (json_name or f"{name}.json")
        stdout = open(self.directory / f"{name}.live", "wb") if live else None
        caller = self.start(name, binary("voxlane-rtp-caller"), "--bind", bind, "--to", peer, "--json", report,
                            *(["--live-ms", 250] if live else []), *options, namespace=self.lan, stdout=stdout)
        if stdout:
            stdout.close()
        caller.report_path = report
        return caller

    @staticmethod
    def report(caller, seconds=30):
        """Wait for a caller to finish and read its report."""
        status = caller.wait(seconds)
        if status:
            raise StageError(f"{caller.name} ended with {status}: {caller.tail()}")
        return json.loads(caller.report_path.read_text(encoding="utf-8"))

    def rpc(self):
        client = Rpc(self.directory / "control.sock")
        self.cleanup.add("control connection", client.close)
        return client

    def close(self):
        self.cleanup.run()
        return self.cleanup.errors
