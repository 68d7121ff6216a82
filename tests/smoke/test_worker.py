#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The worker alone between fake_dataplane and the emulator, over real TLS: formats the service may choose, certificates that must be refused, every kind of ending,
a data plane that restarts. No namespaces, no root."""

import array
import json
import math
import pathlib
import re
import shutil
import sys
import tempfile
import unittest
import urllib.request
import wave

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import stage  # noqa: E402  pylint: disable=wrong-import-position
import harness  # noqa: E402  pylint: disable=wrong-import-position

KEYS = {"admin2": "SECRET-KEY-OF-ADMIN2", "agent4": "SECRET-KEY-OF-AGENT4"}


def certificate(directory, name, subject, days="2"):
    """A certificate by the CA in `directory` for another name or another time. Returns (certificate, key)."""
    key, request, cert, extensions = (directory / f"{name}.{kind}" for kind in ("key", "csr", "pem", "ext"))
    extensions.write_text(f"subjectAltName=DNS:{subject}\nextendedKeyUsage=serverAuth\n", encoding="ascii")
    stage.run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
              "-subj", f"/CN={subject}")
    stage.run("openssl", "x509", "-req", "-in", request, "-CA", directory / "ca.pem", "-CAkey", directory / "ca.key", "-CAcreateserial",
              "-out", cert, "-days", days, "-extfile", extensions)
    return cert, key


class WorkerCase(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="voxlane-worker-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.ca, self.cert, self.key = stage.make_authority(self.directory)
        self.speech = stage.write_tone(self.directory / "speech.wav", 300, 2, rate=8000)
        self.worker = self.emulator = self.plane = None
        self.emulators = 0

    def start(self, name, *command, stdout=None):
        process = stage.Process(name, command, self.directory / f"{name}.log", stdout=stdout)
        self.addCleanup(process.stop)
        return process

    def start_emulator(self, *options, cert=None, key=None):
        keys = [f"--api-key={secret}={name}" for name, secret in KEYS.items()]
        self.emulators += 1
        self.emulator = self.start(f"emulator-{self.emulators}", stage.binary("gemini-emulator"), "--cert", cert or self.cert, "--key", key or self.key, "--stats-port", "0",
                                   "--seed", "7", *[part for key in keys for part in key.split("=", 1)], *options)
        self.port = int(self.emulator.wait_log(r"listening on port (\d+)", 10)[0].group(1))
        self.stats_port = int(self.emulator.wait_log(r"statistics on port (\d+)", 10)[0].group(1))

    def users(self, keys=None, ca=True, **more):
        gemini = {"endpoint": f"wss://localhost:{self.port}", "model": "gemini-3.8-live"}
        if ca:
            gemini["ca_file"] = str(ca if isinstance(ca, pathlib.Path) else self.ca)
        return stage.write_json(self.directory / "users.json",
                                {"gemini": gemini, "users": [{"name": n, "api_key": k, **more} for n, k in (keys or KEYS).items()]}, 0o600)

    def converse(self, *options, users=None, worker=(), calls=2, seconds=6, pause_ms=2500):
        """Place calls for some seconds. Returns fake_dataplane's report and the emulator's statistics per key; the worker must end well and keep the keys to itself."""
        socket = self.directory / "workers.sock"
        report = self.directory / "report.json"
        with open(report, "wb") as file:
            self.plane = self.start("fake_dataplane", stage.binary("fake_dataplane"), "--socket", socket, "--wav", self.speech, "--calls", calls,
                                    "--seconds", seconds, "--pause-ms", pause_ms, *options, stdout=file)
        stage.wait_for(socket.exists, 5, "the fake data plane's socket")
        self.worker = self.start("worker", stage.binary("voxlane-worker"), "--dataplane", socket, "--users", users or self.users(), "--name", "w1",
                                 "--log", "debug", *worker)
        try:
            self.assertEqual(self.plane.wait(seconds + 20), 0)
        except stage.StageError as error:
            raise stage.StageError(f"{error}\nThe worker {'runs' if self.worker.running() else 'has ended'} and said:\n{self.worker.tail(40)}") from error
        statistics = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{self.stats_port}/stats", timeout=5).read())
        status = self.worker.stop()
        self.assertEqual(status, 0, self.worker.tail(60))
        text = report.read_text(encoding="utf-8")
        everything = self.worker.log() + text
        for secret in KEYS.values():
            harness.no_crossing(secret not in everything, "a key in a log or a report")
        self.assertNotIn("AddressSanitizer", everything)
        self.assertNotIn("runtime error", everything)
        # The emulator closes on anything that its tables of the live protocol do not know.
        self.assertEqual({name: key["invalid_messages"] for name, key in statistics["keys"].items()}, dict.fromkeys(statistics["keys"], 0), self.emulator.tail(20))
        return json.loads(text), statistics["keys"]

    def states(self, report, call=0):
        return [(s["state"], s.get("reason", "")) for s in report["calls"][call]["states"]]

    def assert_talks(self, report, frames=100):
        for call in report["calls"]:
            self.assertGreater(call["frames"], frames, call)
            self.assertGreater(call["loud_samples"], frames * 40, call)
            self.assertEqual(call["overruns"], 0)
            self.assertEqual(call["stale"], 0)


class Talk(WorkerCase):
    def test_two_users(self):
        self.start_emulator()
        report, keys = self.converse(seconds=9, pause_ms=8000)
        self.assert_talks(report)
        for call in report["calls"]:
            self.assertEqual(call["underruns"], 0)
            self.assertGreaterEqual(call["drained"], 1)
            self.assertEqual([s["state"] for s in call["states"]][:4], ["dialling", "setup", "ready", "talking"])
            self.assertTrue([t for t in call["transcripts"] if t["side"] == "model"])
        for name in KEYS:
            self.assertEqual(keys[name]["connections"], 1)
            self.assertGreater(keys[name]["audio_ms"], 7000)
            self.assertEqual(keys[name]["audio_early_bytes"], 0)
            self.assertEqual(keys[name]["closes"], {})

    def test_formats(self):
        for options in (("--fragment",), ("--text-frames",), ("--odd-chunks",), ("--chunk-bytes", "62"), ("--separate-transcript", "--no-noise")):
            with self.subTest(options=options):
                self.start_emulator(*options)
                report, _ = self.converse("--alaw", calls=1, seconds=6)
                self.assert_talks(report, 60)
                self.assertEqual(report["worker"]["messages_bad"], 0)
                self.emulator.stop()

    def test_uplink_choices(self):
        for options in (("--uplink-rate", "8000"), ("--message-ms", "100"), ("--message-ms", "20", "--uplink-rate", "8000")):
            with self.subTest(options=options):
                self.start_emulator()
                report, keys = self.converse(calls=1, seconds=6, worker=options)
                self.assert_talks(report, 60)
                self.assertGreater(keys["admin2"]["audio_ms"], 5000)
                self.emulator.stop()

    def test_loss_and_reordering(self):
        self.start_emulator()
        report, keys = self.converse("--lose-every", "11", "--swap-every", "7", seconds=8)
        self.assert_talks(report)
        self.assertGreater(report["worker"]["up_lost"], 50)
        for name in KEYS:
            self.assertGreater(keys[name]["audio_ms"], 7000)
            self.assertLess(keys[name]["audio_ms"], 8400)

    def test_greeting(self):
        self.start_emulator()
        silence = stage.write_tone(self.directory / "silence.wav", 300, 1, rate=8000, level=0)
        self.speech = silence
        report, _ = self.converse(users=self.users(greeting="Say hello."), seconds=5)
        self.assert_talks(report, 60)

    def test_tool_call_is_answered(self):
        self.start_emulator("--tool-call", "transfer")
        report, keys = self.converse(calls=1, seconds=8)
        # Not declared: the model is told, and the platform is not asked.
        self.assertNotIn("tool_call", [e["event"] for e in report["calls"][0]["events"]])
        self.assertGreaterEqual(keys["admin2"]["tool_responses"], 1)
        self.assert_talks(report, 60)

    def test_barge_in(self):
        self.start_emulator("--interrupt-every-ms", "700")
        report, _ = self.converse(seconds=9)
        for call in report["calls"]:
            self.assertGreaterEqual(call["flushes"], 1)
            self.assertEqual(call["overruns"] + call["stale"], 0)
            self.assertIn("interrupted", [e["event"] for e in call["events"]])
        self.assertGreater(report["worker"]["down_discarded_ms"], 500)


class Certificates(WorkerCase):
    """A service that cannot prove its name never sees a key."""

    def refused(self, users):
        report, keys = self.converse(users=users, calls=1, seconds=3)
        self.assertTrue(all(key["connections"] == 0 for key in keys.values()), keys)
        self.assertEqual(report["calls"][0]["frames"], 0)
        self.assertNotIn("ready", [s for s, _ in self.states(report)])
        self.assertEqual(report["worker"]["sockets_opened"], 0)
        return self.states(report)[-1]

    def test_wrong_name(self):
        cert, key = certificate(self.directory, "other", "gemini.example")
        self.start_emulator(cert=cert, key=key)
        self.assertIn("certificate", self.refused(self.users())[1])

    def test_expired(self):
        cert, key = certificate(self.directory, "old", "localhost", days="-1")
        self.start_emulator(cert=cert, key=key)
        self.assertIn("certificate", self.refused(self.users())[1])

    def test_unknown_authority(self):
        other = self.directory / "other-ca"
        other.mkdir()
        ca, _, _ = stage.make_authority(other)
        self.start_emulator()
        self.assertIn("certificate", self.refused(self.users(ca=ca))[1])

    def test_private_authority_is_not_the_systems(self):
        self.start_emulator()
        self.assertIn("certificate", self.refused(self.users(ca=False))[1])


class Endings(WorkerCase):
    def test_internal_error_is_resumed(self):
        self.start_emulator("--close-after-ms", "3000:1011:Internal error encountered.", "--fault-every", "2")
        report, keys = self.converse(calls=2, seconds=5)
        self.assertTrue(all(key["connections"] == 1 for key in keys.values()))
        self.emulator.stop()
        self.start_emulator("--close-after-ms", "2500:1011:Internal error encountered.")
        report, keys = self.converse(calls=1, seconds=8)
        self.assertGreaterEqual(keys["admin2"]["resumes"], 1)
        self.assertIn(("reconnecting", "Internal error encountered."), self.states(report))
        self.assertIn("closed", [e["event"] for e in report["calls"][0]["events"]])

    def test_reset(self):
        self.start_emulator("--tcp-reset-after-ms", "2000")
        report, keys = self.converse(calls=1, seconds=6)
        self.assertGreaterEqual(keys["admin2"]["connections"], 2)
        self.assertIn("reconnecting", [s for s, _ in self.states(report)])

    def test_refused_resume(self):
        self.start_emulator("--close-after-ms", "2500:1011:Internal error encountered.", "--refuse-resume", "5")
        report, keys = self.converse(calls=1, seconds=9)
        # Twice with the handle, then a new session.
        self.assertGreaterEqual(keys["admin2"]["setups"], 3)
        self.assertGreaterEqual([s for s, _ in self.states(report)].count("ready"), 2)

    def test_go_away_rotates(self):
        self.start_emulator("--lifetime-ms", "9000", "--go-away-ms", "6500", "--resume-lock-ms", "0")
        report, keys = self.converse(calls=2, seconds=7)
        for name in KEYS:
            # The end may come in the middle of a change: the last connection is on its way out, or not set up yet.
            connections = keys[name]["connections"]
            self.assertGreaterEqual(keys[name]["resumes"], 1)
            self.assertIn(keys[name]["resumes"], (connections - 1, connections - 2))
            # Each but the last was closed by us, with words.
            self.assertEqual(set(keys[name]["closes"]), {"1000"})
            self.assertIn(keys[name]["closes"]["1000"], (connections - 1, connections))
        for call in report["calls"]:
            self.assertEqual(call["state"] in ("ready", "talking"), True)
            self.assertIn("go_away", [e["event"] for e in call["events"]])

    def test_wrong_key(self):
        self.start_emulator()
        report, _ = self.converse(users=self.users(keys={"admin2": "WRONG-KEY-WRONG-KEY", "agent4": KEYS["agent4"]}), seconds=6)
        self.assertEqual(self.states(report, 0)[-1][0], "failed")
        self.assertRegex(self.states(report, 0)[-1][1], "API [kK]ey")
        self.assertEqual(report["calls"][0]["frames"], 0)
        self.assertGreater(report["calls"][1]["frames"], 60)  # the neighbour is not harmed

    def test_http_refusals(self):
        for status, state in (("403", "failed"), ("429", "failed"), ("503", "reconnecting")):
            with self.subTest(status=status):
                self.start_emulator("--http-status", status)
                report, _ = self.converse(calls=1, seconds=3)
                self.assertEqual(self.states(report)[-1][0], state)
                self.assertIn(int(status), [e.get("http_status") for e in report["calls"][0]["events"] if e["event"] == "closed"])
                self.emulator.stop()

    def test_quota(self):
        self.start_emulator("--quota-close")
        report, keys = self.converse(calls=1, seconds=4)
        state, reason = self.states(report)[-1]
        self.assertEqual(state, "failed")
        self.assertRegex(reason, "^the service refuses the call for quota: .*quota")
        self.assertEqual(keys["admin2"]["connections"], 1)

    def test_no_setup_complete(self):
        self.start_emulator("--no-setup-complete")
        report, _ = self.converse(calls=1, seconds=10)
        self.assertIn(("reconnecting", "no setupComplete in time"), self.states(report))

    def test_nobody_there(self):
        self.start_emulator()
        users = self.users()
        self.emulator.stop()
        self.start_emulator()
        report, _ = self.converse(users=users, calls=1, seconds=3)
        self.assertEqual(self.states(report)[-1][0], "reconnecting")


def strength(path, hz):
    """How much of a tone there is in a recording's loudest channel: the mean over 20 ms blocks of the tone's amplitude, 0..32767."""
    with wave.open(str(path), "rb") as file:
        rate, channels = file.getframerate(), file.getnchannels()
        samples = array.array("h", file.readframes(file.getnframes()))[::channels]
    block = rate // 50
    factor = 2 * math.cos(2 * math.pi * hz / rate)
    peak = 0.0
    for start in range(0, len(samples) - block + 1, block):
        a = b = 0.0
        for sample in samples[start:start + block]:
            a, b = sample + factor * a - b, a
        peak = max(peak, math.sqrt(max(a * a + b * b - factor * a * b, 0)) * 2 / block)
    return peak


class Isolation(WorkerCase):
    """The highest law, where it is hardest to keep: calls of two users that take each other's place all the time, half of them in the middle of a dial."""

    def test_churn_never_mixes(self):
        says = {"admin2": 400, "agent4": 600}    # Hz; whole numbers of periods in 20 ms, so that one is invisible to a search for the other
        hears = {"admin2": 900, "agent4": 1300}
        recordings = self.directory / "heard"
        recordings.mkdir()
        answers = []
        for name, hz in hears.items():
            answers += ["--answer-wav", f"{name}={stage.write_tone(self.directory / f'answer-{name}.wav', hz, 3)}"]
        self.start_emulator(*answers, "--record", recordings, "--setup-delay-ms", "60", "--interrupt-every-ms", "900")
        speech = [stage.write_tone(self.directory / f"says-{name}.wav", hz, 1, rate=8000) for name, hz in says.items()]
        self.speech = speech[0]
        report, keys = self.converse("--wav", speech[1], "--churn", "--record", self.directory / "caller", calls=12, seconds=40, pause_ms=1000)
        self.assertGreater(report["opened"], 120)
        for name in KEYS:
            other = next(n for n in KEYS if n != name)
            self.assertGreater(keys[name]["connections"], 20)
            tracks = sorted(recordings.glob(f"{name}-*.wav"))
            self.assertTrue(tracks)
            self.assertGreater(max(strength(track, says[name]) for track in tracks), 3000)
            for track in tracks:
                self.assertLess(strength(track, says[other]), 300, f"{track.name} has the other caller's voice")
            heard = self.directory / f"caller-{name}.wav"
            self.assertGreater(strength(heard, hears[name]), 3000)
            self.assertLess(strength(heard, hears[other]), 300, f"{name}'s callers heard the other's answer")
        self.assertLessEqual(report["worker"]["sockets_open"], 24)


class DataPlane(WorkerCase):
    def test_link_lost_and_made_again(self):
        """A data plane that restarts finds the conversation where it was: the same connection, no new session."""
        self.start_emulator()
        report, keys = self.converse("--relink", seconds=10)
        for name in KEYS:
            self.assertEqual(keys[name]["connections"], 1)
        self.assert_talks(report)
        self.assertEqual(len(re.findall("continued", self.worker.log())), 2)

    def test_capacity(self):
        self.start_emulator()
        report, _ = self.converse(calls=3, seconds=3, worker=("--capacity", "2"))
        self.assertEqual(self.states(report, 2), [("failed", "this worker is full")])
        self.assertEqual([c["state"] for c in report["calls"]].count("failed"), 1)


if __name__ == "__main__":
    harness.main(need_root=False, second_try=True)
