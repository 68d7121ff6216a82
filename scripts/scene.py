# SPDX-License-Identifier: Apache-2.0
"""The whole of Voxlane on a stage: emulator of Gemini Live behind TLS, workers with one key per user, data plane, callers. Used by the demo and the smoke
tests."""

import re
import signal

import stage

SOUNDS = stage.pathlib.Path("/usr/share/asterisk/sounds")
SPEECH = stage.pathlib.Path("/usr/share/pocketsphinx/test/data/librivox")

# Recorded human speech of Debian's packages: who says it, what is said (where a transcript comes with it).
BOOK = [SPEECH / f"sense_and_sensibility_01_austen_64kb-{number}.wav" for number in ("0870", "0880", "0890", "0920", "0930")]
FRENCH = SOUNDS / "fr_CA_f_June" / "demo-echotest.wav"
ENGLISH = SOUNDS / "en_US_f_Allison" / "demo-congrats.wav"
SPANISH = SOUNDS / "es_MX_f_Allison" / "demo-congrats.wav"

LOCK_LINE = re.compile(r"(?P<verb>Locked|Re-locked) RTP session (?P<session>[0-9a-f-]{36}) to SSRC (?P<ssrc>\d+) from \((?P<address>[^,]+), (?P<port>\d+)\)")


class User:
    """A user, the key only their worker knows, and what the emulated model says and hears under it."""

    def __init__(self, name, answers=(), answer_texts=(), transcripts=(), **fields):
        self.name = name
        self.key = f"test-key-of-{name}"
        self.answers, self.answer_texts, self.transcripts = answers, answer_texts, transcripts
        self.fields = fields


class Scene(stage.Stage):
    """A stage that knows Voxlane's programs. Everything is started by an explicit call, so that tests can leave things out."""

    def __init__(self, keep=False, isolated=True):
        super().__init__(keep, isolated)
        self.users = {}
        self.endpoint, self.ca, self.model = None, None, "gemini-3.8-live"
        self.emulator, self.plane = None, None
        self.stats_port = None
        self.heard_directory = self.directory / "heard"
        self.heard_directory.mkdir()
        self.session_ids = []

    def path(self, name):
        return self.directory / name

    # Programs.

    def start_emulator(self, users, *options, references=()):
        """Emulator with a key per user; `references` are (label, WAV) of clean caller speech."""
        self.users.update({user.name: user for user in users})
        self.ca, certificate, key = stage.make_authority(self.directory)
        command = [stage.binary("gemini-emulator"), "--cert", certificate, "--key", key, "--port", 0, "--stats-port", 0,
                   "--record", self.heard_directory, "--seed", 1]
        for user in users:
            command += ["--api-key", f"{user.key}={user.name}"]
        for user in users:
            for option, values in (("--answer-wav", user.answers), ("--answer-text", user.answer_texts), ("--transcript", user.transcripts)):
                for value in values:
                    command += [option, f"{user.name}={value}"]
        for label, file in references:
            command += ["--reference", f"{label}={file}"]
        self.emulator = self.start("emulator", *command, *options, namespace=self.core)
        port = self.emulator.wait_log(r"listening on port (\d+)", 20)[0].group(1)
        self.stats_port = self.emulator.wait_log(r"statistics on port (\d+)", 5)[0].group(1)
        self.endpoint = f"wss://localhost:{port}"
        return self.emulator

    def stats(self, query=""):
        return stage.http_get_json(self.core, f"http://127.0.0.1:{self.stats_port}/stats{query}")

    def write_users(self, name, users):
        gemini = {"endpoint": self.endpoint, "model": self.model}
        if self.ca:
            gemini["ca_file"] = str(self.ca)
        listed = [{"name": user.name, "api_key": user.key, **user.fields} for user in users]
        return stage.write_json(self.path(f"{name}.users.json"), {"gemini": gemini, "users": listed}, 0o600)

    def start_worker(self, name, users, *options, wait=True):
        """A worker for some users, waited for until the data plane lists it."""
        return self.start_worker_with(name, self.write_users(name, users), *options, wait=wait)

    def start_worker_with(self, name, users_file, *options, wait=True):
        worker = self.start(name, stage.binary("voxlane-worker"), "--dataplane", self.path("worker.sock"), "--users", users_file,
                            "--name", name, *options, namespace=self.core)
        if wait:
            self.wait_worker(name, worker)
        return worker

    def wait_worker(self, name, worker=None, seconds=20):
        def listed():
            if worker is not None and not worker.running():
                raise stage.StageError(f"{name} ended with {worker.popen.returncode}:\n{worker.tail(20)}")
            return any(w["worker"] == name for w in self.control.call("worker.list")["workers"])
        stage.wait_for(listed, seconds, f"worker {name} at the data plane")

    def configuration(self, **changes):
        """A configuration that fits the stage; `changes` replace whole members."""
        value = {
            "node": "stage",
            "listen": {"address": self.PLANE, "prefix_length": self.PREFIX, "rtp_port": 5004, "dedicated_ports": [20000, 20099]},
            "listen6": {"address": self.PLANE6, "prefix_length": self.PREFIX6},
            "trunks": [{"name": "gate-voip", "sources": [f"{self.CALLERS}/32", f"{self.CALLERS6}/128"], "port_mode": "shared"}],
            "playout": {"idle": "silence"},
            "sessions": {"max": 256, "quarantine_s": 2},
            "workers": {"max": 4, "ring_slots": 4096},
            "sockets": {"control": str(self.path("control.sock")), "workers": str(self.path("worker.sock"))},
            "drain": {"timeout_s": 0},
        }
        value.update(changes)
        return stage.write_json(self.path("voxlane.json"), value)

    def start_plane(self, config=None, **options):
        self.plane = self.start_dataplane(config or self.configuration(), **options)
        self.control = self.rpc()
        return self.plane

    # Calls.

    def create(self, user, port, trunk="gate-voip", address=None, **more):
        """session.create; a port of 5004 means "not known yet"."""
        more.setdefault("codec", "PCMU")
        reply = self.control.call("session.create", user=user, trunk=trunk, remote={"address": address or self.CALLERS, "port": port}, **more)
        self.session_ids.append(reply["session"])
        return reply

    def get(self, session):
        return self.control.call("session.get", session=session)

    def wait_state(self, session, states, seconds=15):
        states = (states,) if isinstance(states, str) else states
        stage.wait_for(lambda: self.get(session)["state"] in states, seconds, f"session {session} in state {' or '.join(states)}")

    def locks(self, session=None):
        """Lock lines of the data plane's log."""
        found = [match.groupdict() for match in LOCK_LINE.finditer(self.plane.log())]
        return [lock for lock in found if session in (None, lock["session"])]

    def drops(self):
        return stage.telemetry(self.prefix, "/voxlane/drops")

    def sanitizer_reports(self, name):
        """Whether a sanitizer complained in the log of a process."""
        log = self.path(f"{name}.log")
        return log.exists() and re.search(r"ERROR: AddressSanitizer|runtime error:|ERROR: LeakSanitizer", log.read_text(errors="replace"))

    def stop_all(self):
        """SIGTERM to everything that still runs, newest first; returns {name: exit status}."""
        return {process.name: process.stop() for process in reversed(self.processes) if process.running()}


def speech(scene, name, *parts, rate=None, trim=None, gain=None):
    """Prepare a sound file by sox: parts one after the other."""
    target = scene.path(name)
    effects = (["trim", "0", str(trim)] if trim else []) + (["gain", str(gain)] if gain else [])
    stage.run("sox", *parts, *(["-r", rate] if rate else []), "-c", 1, "-b", 16, target, *effects)
    return target


def interrupt(process):
    """SIGINT, as a person's Ctrl-C; callers then write their reports and end."""
    process.kill(signal.SIGINT)
