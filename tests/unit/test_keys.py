#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""voxlanectl keys with the real voxlane-keys: what it does to users files, what it prints, and that no key leaves it. Prints TAP.
Usage: test_keys.py VOXLANECTL VOXLANE_KEYS"""

import json
import os
import pathlib
import pty
import stat
import subprocess
import sys
import tempfile
import unittest

CTL, KEYS = sys.argv[1:3]
del sys.argv[1:3]
SECRETS = {"admin2": "AIzaSyD-SECRET-of-admin2-0000000000001", "agent4": "AIzaSyD-SECRET-of-agent4-0000000000002"}


class Keys(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.addCleanup(self.holder.cleanup)
        self.directory = pathlib.Path(self.holder.name)
        self.users = self.directory / "users.json"
        self.master = self.directory / "master"
        self.write({"gemini": {"model": "m", "ca_file": "/ca.pem"},
                    "users": [{"name": name, "api_key": key, "instructions": "Übe \"dich\"."} for name, key in SECRETS.items()]})
        self.run_keys("new-master", self.master)

    def write(self, value, mode=0o600):
        self.users.write_text(json.dumps(value), encoding="utf-8")
        self.users.chmod(mode)

    def read(self):
        return json.loads(self.users.read_text(encoding="utf-8"))

    def run_keys(self, *arguments, given=b"", status=0):
        """voxlanectl keys ...; checks the status and that nothing secret is in its output."""
        done = subprocess.run([sys.executable, CTL, "keys", *map(str, arguments)], input=given, capture_output=True, check=False, timeout=60,
                              env={**os.environ, "PATH": os.path.dirname(KEYS) + ":" + os.environ["PATH"]})
        output = done.stdout.decode() + done.stderr.decode()
        self.assertEqual(done.returncode, status, output)
        self.assertNotIn("SECRET", output)
        if self.master.exists():
            self.assertNotIn(self.master.read_text().strip(), output)
        self.assertEqual([p.name for p in self.directory.iterdir() if p.name.startswith("users.json.")], [], "temporary file left")
        return output

    def seal(self, *more, **options):
        return self.run_keys("seal", self.users, "--master-key", self.master, *more, **options)

    def test_new_master(self):
        self.assertEqual(stat.S_IMODE(self.master.stat().st_mode), 0o600)
        self.assertRegex(self.master.read_text(), r"\A[0-9a-f]{64}\n\Z")
        before = self.master.read_text()
        self.assertIn("File exists", self.run_keys("new-master", self.master, status=1))
        self.assertEqual(self.master.read_text(), before)
        self.run_keys("new-master", self.directory / "second")
        self.assertNotEqual((self.directory / "second").read_text(), before)

    def test_seal_every_key(self):
        self.users.chmod(0o400)
        self.assertIn("sealed 2 keys", self.seal())
        self.assertEqual(stat.S_IMODE(self.users.stat().st_mode), 0o400)
        value = self.read()
        self.assertNotIn("SECRET", self.users.read_text())
        self.assertEqual([list(user) for user in value["users"]], [["name", "sealed_key", "instructions"]] * 2)
        self.assertEqual(value["users"][0]["instructions"], "Übe \"dich\".")
        self.assertEqual(value["gemini"], {"model": "m", "ca_file": "/ca.pem"})
        before = self.users.read_text()
        self.assertIn("sealed 0 keys", self.seal())
        self.assertEqual(self.users.read_text(), before)

    def test_nonces_differ(self):
        nonces = set()
        for _ in range(5):
            self.seal("--user", "admin2", given=SECRETS["admin2"].encode())
            nonces.add(self.read()["users"][0]["sealed_key"].split(":")[2])
        self.assertEqual(len(nonces), 5)

    def test_seal_one_from_standard_input(self):
        self.seal("--user", "agent4", given=b"new-SECRET-key-of-agent4\n")
        value = self.read()["users"]
        self.assertEqual(list(value[0]), ["name", "api_key", "instructions"])
        self.assertEqual(list(value[1]), ["name", "sealed_key", "instructions"])
        for bad in (b"", b"short\n", b"with a SECRET space in it\n", b"SECRET" * 100 + b"\n"):
            before = self.users.read_text()
            self.assertIn("is not 8 to 512 printable", self.seal("--user", "agent4", given=bad, status=1))
            self.assertEqual(self.users.read_text(), before)
        self.assertIn("there is no user nobody", self.seal("--user", "nobody", given=b"12345678\n", status=1))

    def test_seal_replaces_either_form(self):
        value = self.read()
        del value["users"][0]["api_key"]
        self.write(value)
        self.seal("--user", "admin2", given=b"first-SECRET-key")
        first = self.read()["users"][0]
        self.seal("--user", "admin2", given=b"second-SECRET-key")
        second = self.read()["users"][0]
        self.assertEqual(set(second), {"name", "sealed_key", "instructions"})
        self.assertNotEqual(first["sealed_key"], second["sealed_key"])

    def test_list(self):
        self.seal("--user", "agent4", given=b"new-SECRET-key-of-agent4\n")
        master_id = self.read()["users"][1]["sealed_key"].split(":")[1]
        listed = self.run_keys("list", self.users)
        self.assertEqual(listed.splitlines(), ["MASTER KEY        USER", "plain             admin2", f"{master_id}  agent4"])
        self.assertEqual(json.loads(self.run_keys("list", self.users, "--json")),
                         [{"user": "admin2", "key": "plain", "master_key": ""}, {"user": "agent4", "key": "sealed", "master_key": master_id}])

    def test_rotate(self):
        self.seal()
        new = self.directory / "new"
        self.run_keys("new-master", new)
        before = self.read()["users"]
        self.assertIn("sealed 2 keys again", self.run_keys("rotate", self.users, "--master-key", self.master, "--new-master", new))
        after = self.read()["users"]
        self.assertNotEqual(before[0]["sealed_key"].split(":")[1], after[0]["sealed_key"].split(":")[1])
        # The old one opens nothing any more; the new one everything.
        text = self.users.read_text()
        error = self.run_keys("rotate", self.users, "--master-key", self.master, "--new-master", new, status=1)
        self.assertIn("users[0].sealed_key: is sealed under master key " + after[0]["sealed_key"].split(":")[1], error)
        self.assertIn("was not changed", error)
        self.assertEqual(self.users.read_text(), text)
        self.run_keys("rotate", self.users, "--master-key", new, "--new-master", self.master)

    def test_moved_between_users_is_refused(self):
        self.seal()
        value = self.read()
        first, second = value["users"]
        first["sealed_key"], second["sealed_key"] = second["sealed_key"], first["sealed_key"]
        self.write(value)
        error = self.run_keys("rotate", self.users, "--master-key", self.master, "--new-master", self.master, status=1)
        self.assertIn("users[0].sealed_key: does not open", error)

    def test_refusals(self):
        self.users.chmod(0o644)
        self.assertIn("run: chmod 600", self.seal(status=1))
        self.users.chmod(0o600)
        self.master.chmod(0o640)
        self.assertIn("run: chmod 600", self.seal(status=1))
        self.master.chmod(0o600)
        self.users.write_text('{"users": [{"name": "a", "api_key": "AIzaSy-SECRET" "x"}]}')
        self.assertIn("line 1, column", self.seal(status=1))
        self.users.write_text('{"users": [{"name": "a SECRET", "api_key": "AIzaSy-SECRET"}]}')
        self.assertIn("users[0].name: is not a name", self.seal(status=1))
        self.users.write_text('{"users": [{"name": "a", "AIzaSy-SECRET": 1, "AIzaSy-SECRET": 1}]}')
        self.assertIn("a member is given twice", self.seal(status=1))
        self.assertIn("No such file", self.run_keys("list", self.directory / "none", status=1))
        self.run_keys("seal", self.users, status=2)

    def test_symbolic_link_stays(self):
        link = self.directory / "link.json"
        link.symlink_to(self.users)
        self.run_keys("seal", link, "--master-key", self.master)
        self.assertTrue(link.is_symlink())
        self.assertNotIn("SECRET", self.users.read_text())

    def test_writers_take_turns(self):
        both = [subprocess.Popen([KEYS, "seal", self.users, "--master-key", self.master, "--user", name], stdin=subprocess.PIPE,
                                 stdout=subprocess.DEVNULL) for name in SECRETS]
        for process in both:
            process.stdin.write(b"another-SECRET-key")
            process.stdin.close()
        self.assertEqual([process.wait(30) for process in both], [0, 0])
        self.assertEqual([("sealed_key" in user, "api_key" in user) for user in self.read()["users"]], [(True, False)] * 2)

    def test_prompt_shows_nothing(self):
        child, terminal = pty.fork()
        if child == 0:
            os.execv(KEYS, [KEYS, "seal", str(self.users), "--user", "admin2", "--master-key", "prompt"])
        shown = b""
        for question, answer in ((b"master key", self.master.read_bytes()), (b"API key of admin2", b"typed-SECRET-key\n")):
            while question not in shown or not shown.rstrip().endswith(b":"):
                shown += os.read(terminal, 1024)
            os.write(terminal, answer)
        try:
            while True:
                data = os.read(terminal, 1024)
                if not data:
                    break
                shown += data
        except OSError:
            pass
        self.assertEqual(os.waitpid(child, 0)[1], 0, shown)
        os.close(terminal)
        self.assertNotIn(b"SECRET", shown)
        self.assertNotIn(self.master.read_bytes().strip(), shown)
        self.assertIn("sealed_key", self.read()["users"][0])




def main():
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    print(f"1..{suite.countTestCases()}")
    failed = 0
    for number, test in enumerate((t for group in suite for t in group), 1):
        result = unittest.TestResult()
        test.run(result)
        bad = result.failures + result.errors
        failed += bool(bad)
        for _, text in bad:
            print("\n".join("# " + line for line in text.splitlines()))
        print(f"{'not ok' if bad else 'ok'} {number} {test.id().split('.', 1)[-1]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
