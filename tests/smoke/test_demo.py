#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The demo as a person runs it: a whole run ends with a verdict that passes, and Ctrl-C at any moment leaves nothing behind."""

import glob
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import time
import unittest

from harness import main, stage

DEMO = stage.ROOT / "scripts" / "demo.py"


def things_of_ours():
    """Everything on this machine that a run may leave behind."""
    things = set(glob.glob("/run/voxlane-*") + glob.glob("/var/run/dpdk/vl*") + glob.glob("/sys/class/net/vt*") + glob.glob("/dev/hugepages*/vl*")
                 + glob.glob("/run/netns/vl*"))
    for name in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            command = pathlib.Path(name).read_bytes().split(b"\0")
        except OSError:
            continue
        if command[0].startswith(str(stage.BUILD).encode() + b"/") and b"meson" not in command[0]:
            things.add(f"process {name.split('/')[2]} {command[0].decode()}")
    return things


class Demo(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="voxlane-test-")
        self.addCleanup(self.directory.cleanup)
        self.before = things_of_ours()

    def start(self, *options):
        self.log = open(os.path.join(self.directory.name, "demo.log"), "w+b")
        self.addCleanup(self.log.close)
        return subprocess.Popen(["/usr/bin/python3", DEMO, "--plain", "--output", os.path.join(self.directory.name, "out"), *options],
                                stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)

    def output(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def assert_nothing_left(self, when):
        self.assertEqual(things_of_ours() - self.before, set(), f"left behind {when}:\n{self.output()}")

    def test_whole_run_passes_its_own_verdict(self):
        demo = self.start("--seconds", "24")
        try:
            self.assertEqual(demo.wait(90), 0, self.output())
        finally:
            demo.kill()
        text = self.output()
        self.assertIn("PASS", text)
        self.assertEqual(text.count("Locked RTP session"), 2, text)
        for name in ("admin2.wav", "agent4.wav", "admin2.json", "agent4.json"):
            self.assertGreater(os.path.getsize(os.path.join(self.directory.name, "out", name)), 100)
        self.assert_nothing_left("after a whole run")

    def test_a_real_endpoint_and_users_file(self):
        """The way to Google, with the emulator in its place: outside the namespaces, keys from a users file."""
        directory = pathlib.Path(self.directory.name)
        authority, certificate, key = stage.make_authority(directory)
        people = {"alice": "key-of-alice-0123456789", "bob": "key-of-bob-0123456789"}
        log = directory / "emulator.log"
        emulator = stage.Process("emulator", [stage.binary("gemini-emulator"), "--cert", certificate, "--key", key, "--port", 0,
                                              *(word for name, value in people.items() for word in ("--api-key", f"{value}={name}"))], log)
        self.addCleanup(emulator.stop)
        port = emulator.wait_log(r"listening on port (\d+)", 20)[0].group(1)
        self.before = things_of_ours()
        users = stage.write_json(directory / "users.json", {
            "gemini": {"endpoint": "wss://generativelanguage.googleapis.com", "ca_file": str(authority), "model": "gemini-3.1-flash-live-preview"},
            "users": [{"name": name, "api_key": value} for name, value in people.items()]}, 0o600)
        demo = self.start("--seconds", "16", "--endpoint", f"wss://localhost:{port}", "--users", str(users))
        try:
            self.assertEqual(demo.wait(90), 0, self.output())
        finally:
            demo.kill()
        text = self.output()
        self.assertIn("alice's caller heard an answer", text)
        self.assertIn("PASS", text)
        for value in people.values():
            self.assertNotIn(value, text, "a key was shown")
        self.assert_nothing_left("after a run with an endpoint")

    def test_interrupt_at_any_moment_leaves_nothing(self):
        seed = random.randrange(1 << 32)
        moments = random.Random(seed)
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGINT):
            delay = moments.choice((moments.uniform(0.1, 1), moments.uniform(1, 5), moments.uniform(3, 9)))
            with self.subTest(seed=seed, delay=delay, signal=number):
                demo = self.start("--seconds", "20")
                deadline = time.monotonic() + delay
                stage.wait_for(lambda: time.monotonic() >= deadline or demo.poll() is not None, 20, "the moment", interval=0.01)
                self.assertIsNone(demo.poll(), self.output())
                demo.send_signal(number)
                try:
                    # Before the handlers are set a signal simply ends it.
                    self.assertIn(demo.wait(30), (130, -number), self.output())
                finally:
                    demo.kill()
                self.assert_nothing_left(f"after {delay:.2f} s")


if __name__ == "__main__":
    main()
