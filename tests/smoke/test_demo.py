#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The demo as a person runs it: a whole run ends with a verdict that passes, and Ctrl-C at any moment leaves nothing behind."""

import glob
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import time
import unittest

from harness import main, scene, stage

DEMO = stage.ROOT / "scripts" / "demo.py"


def things_of(pid):
    """Everything on this machine that the demo of that process may leave behind; what it names carries its pid. Other runs' things do not count."""
    ours = re.compile(rf"(voxlane-|vl|vlcore|vllan|vt){pid}(?!\d)")
    patterns = ("/run/voxlane-*", "/tmp/voxlane-*", "/var/run/dpdk/vl*", "/sys/class/net/vt*", "/dev/hugepages*/vl*", "/run/netns/vl*")
    things = {path for pattern in patterns for path in glob.glob(pattern) if ours.match(os.path.basename(path))}
    for name in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            command = pathlib.Path(name).read_bytes()
        except OSError:
            continue
        # Every program gets a path in the work directory.
        if f"/voxlane-{pid}-".encode() in command:
            things.add(f"process {name.split('/')[2]} {command.split(bytes(1))[0].decode(errors='replace')}")
    return things


class Demo(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="voxlane-test-")
        self.addCleanup(self.directory.cleanup)

    def start(self, *options, output="out"):
        log = open(os.path.join(self.directory.name, f"{output}.log"), "w+b")
        self.addCleanup(log.close)
        demo = subprocess.Popen(["/usr/bin/python3", DEMO, "--plain", "--output", os.path.join(self.directory.name, output), *options],
                                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        demo.log = log
        return demo

    @staticmethod
    def output(demo):
        demo.log.seek(0)
        return demo.log.read().decode("utf-8", "replace")

    def assert_nothing_left(self, demo, when):
        self.assertEqual(things_of(demo.pid), set(), f"left behind {when}:\n{self.output(demo)}")

    def test_whole_run_passes_its_own_verdict(self):
        demo = self.start("--seconds", "24")
        try:
            self.assertEqual(demo.wait(90), 0, self.output(demo))
        finally:
            demo.kill()
        text = self.output(demo)
        self.assertIn("PASS", text)
        self.assertEqual(text.count("Locked RTP session"), 2, text)
        for name in ("admin2.wav", "agent4.wav", "admin2.json", "agent4.json"):
            self.assertGreater(os.path.getsize(os.path.join(self.directory.name, "out", name)), 100)
        self.assert_nothing_left(demo, "after a whole run")

    def test_endpoint_of_the_command_line(self):
        """--endpoint and --users: passes with good keys, and with a wrong one fails, for that user alone, and says what the service said."""
        service = scene.Scene(isolated=False)
        self.addCleanup(service.close)
        people = [scene.User(name) for name in ("alice", "bob")]
        service.start_emulator(people, "--think-ms", 100)
        # A name that a user may have and a worker may not.
        people[0].name = "alice@example.com"
        good = service.write_users("good", people)
        people[1].key = "not-the-key-of-bob"
        bad = service.write_users("bad", people)
        runs = [(users, self.start("--seconds", "18", "--endpoint", service.endpoint, "--users", str(users), output=users.stem)) for users in (good, bad)]
        try:
            for _, demo in runs:
                demo.wait(60)
        finally:
            for _, demo in runs:
                demo.kill()
        (_, passed), (_, refused) = runs
        self.assertEqual(passed.returncode, 0, self.output(passed))
        self.assertIn("alice@example.com's caller heard an answer", self.output(passed))
        self.assertIn("PASS", self.output(passed))
        text = self.output(refused)
        self.assertEqual(refused.returncode, 1, text)
        self.assertIn("FAIL", text)
        self.assertRegex(text, r"✔ alice@example\.com: the model was ready +yes")
        self.assertRegex(text, r"✔ alice@example\.com's caller heard an answer")
        self.assertRegex(text, r"✘ bob: the model was ready +\w.*(API key|HTTP|40\d|100[78])")
        self.assertRegex(text, r"✘ bob: the model's voice was sent +0 frames, \w")
        self.assertRegex(text, r"✘ bob's caller heard an answer +0\.0 s")
        self.assertRegex(text, r"(?m) bob: .* AI \w+ \(\w", "the table gives no reason")
        for key in (people[0].key, people[1].key, "test-key-of-bob"):
            self.assertNotIn(key, text + self.output(passed), "a key was shown")
        for _, demo in runs:
            self.assert_nothing_left(demo, "after a run with a service")

    def test_bad_users_file_is_one_sentence(self):
        good = {"gemini": {"model": "gemini-3.8-live"}, "users": [{"name": name, "api_key": f"secret-key-of-{name}"} for name in ("admin2", "agent4")]}
        path = pathlib.Path(self.directory.name) / "users.json"
        for value, expected in (({**good, "usrs": []}, "usrs"), ([], "is not an object"), ({**good, "users": good["users"][:1]}, "two users"),
                                ({**good, "users": 7}, "users"), ({**good, "users": [{"name": "admin2", "api_key": 7}]}, "users[0].api_key")):
            with self.subTest(value=value):
                stage.write_json(path, value, 0o600)
                self.refused(path, expected)
        path.write_bytes(b"{\xff")
        self.refused(path, str(path))
        stage.write_json(path, good, 0o600)
        path.chmod(0o644)
        self.refused(path, f"chmod 600 {path}")

    def refused(self, path, expected):
        demo = self.start("--endpoint", "wss://localhost:1", "--users", str(path))
        self.assertEqual(demo.wait(30), 1, self.output(demo))
        self.assertIn(expected, self.output(demo))
        self.assertNotIn("Traceback", self.output(demo))
        self.assertNotIn("secret-key", self.output(demo))
        self.assert_nothing_left(demo, "after a users file that is none")

    def test_interrupt_at_any_moment_leaves_nothing(self):
        seed = random.randrange(1 << 32)
        moments = random.Random(seed)
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGINT):
            delay = moments.choice((moments.uniform(0.1, 1), moments.uniform(1, 5), moments.uniform(3, 9)))
            with self.subTest(seed=seed, delay=delay, signal=number):
                demo = self.start("--seconds", "20")
                deadline = time.monotonic() + delay
                stage.wait_for(lambda: time.monotonic() >= deadline or demo.poll() is not None, 20, "the moment", interval=0.01)
                self.assertIsNone(demo.poll(), self.output(demo))
                demo.send_signal(number)
                try:
                    # Before the handlers are set a signal simply ends it.
                    self.assertIn(demo.wait(30), (130, -number), self.output(demo))
                finally:
                    demo.kill()
                self.assert_nothing_left(demo, f"after {delay:.2f} s")


if __name__ == "__main__":
    main()
