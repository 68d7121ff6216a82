#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""voxlanectl against a fake data plane: what it sends, what it prints, how it exits. Prints TAP. Usage: test_voxlanectl.py VOXLANECTL"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

CTL = sys.argv.pop(1) if len(sys.argv) > 1 else "scripts/voxlanectl"
UUID = "89ea2cc7-3216-4d63-be06-db78b493503a"


class FakeDataplane(threading.Thread):
    """Answers requests from a list of functions method, params -> result; raises an error object for a dict with "code"."""

    def __init__(self, path, answer, chunk=65536, after=b""):
        super().__init__(daemon=True)
        self.answer, self.chunk, self.after = answer, chunk, after
        self.requests = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(1)
        self.start()

    def run(self):
        connection, _ = self.listener.accept()
        text = ""
        while True:
            data = connection.recv(65536)
            if not data:
                return
            text += data.decode()
            try:
                request, end = json.JSONDecoder().raw_decode(text)
            except json.JSONDecodeError:
                continue
            text = text[end:]
            self.requests.append((request["method"], request.get("params")))
            result = self.answer(request["method"], request.get("params"))
            if result is None:
                connection.close()
                return
            key = "error" if isinstance(result, dict) and "code" in result else "result"
            answer = json.dumps({"jsonrpc": "2.0", "id": request["id"], key: result}, ensure_ascii=False).encode() + self.after
            for i in range(0, len(answer), self.chunk):
                connection.sendall(answer[i : i + self.chunk])


class Voxlanectl(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.directory.name, "control.sock")

    def tearDown(self):
        self.directory.cleanup()

    def ctl(self, *arguments):
        done = subprocess.run([CTL, *arguments, "--socket", self.path], capture_output=True, text=True, timeout=30)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def fake(self, answer, **options):
        return FakeDataplane(self.path, answer if callable(answer) else lambda method, params: answer, **options)

    def write_records(self, name, *records):
        path = os.path.join(self.directory.name, name)
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        return path

    def test_record(self):
        record = {"record": "call", "session": UUID, "user": "admin2", "end": "deleted", "usage": {"total": 7},
                  "turns": [{"side": "caller", "from_ms": 500, "to_ms": 900, "text": "Who\nis there?"},
                            {"side": "model", "from_ms": 1700, "to_ms": 2500, "text": "Me.", "response_ms": 800, "interrupted": True}],
                  "tool_calls": [{"at_ms": 100, "name": "book", "outcome": "ok"}], "gaps": []}
        path = self.write_records("calls.jsonl", {"record": "call", "session": "other", "turns": []})
        self.write_records("calls.jsonl-20261122T150309.123Z", "no record", record)
        done = self.ctl("record", UUID, "--file", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("      0.5 s  caller  Who?is there?\n", done.stdout)
        self.assertIn("      1.7 s  model   Me.  (answered in 800 ms, interrupted)\n", done.stdout)
        self.assertIn("tool_call  name=book outcome=ok", done.stdout)
        self.assertEqual(json.loads(self.ctl("record", UUID, "--file", path, "--json").stdout), record)
        done = self.ctl("record", UUID.replace("8", "9"), "--file", path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no record of", done.stderr)

    def test_record_asks_where_the_file_is(self):
        path = self.write_records("calls.jsonl", {"record": "call", "session": UUID, "turns": []})
        fake = self.fake({"records": path})
        self.assertEqual(self.ctl("record", UUID).returncode, 0)
        self.assertEqual(fake.requests, [("system.info", None)])

    def test_record_without_records(self):
        self.fake({"records": None})
        done = self.ctl("record", UUID)
        self.assertEqual(done.returncode, 1)
        self.assertIn("writes no call records", done.stderr)

    def test_record_tail_follows_a_rotation(self):
        path = self.write_records("calls.jsonl", {"record": "call", "session": "before"})
        tail = subprocess.Popen([CTL, "record", "tail", "--json", "--file", path], stdout=subprocess.PIPE, text=True)
        self.addCleanup(tail.stdout.close)
        time.sleep(0.5)
        self.write_records("calls.jsonl", {"record": "call", "session": "one"})
        os.rename(path, path + ".1")
        self.write_records("calls.jsonl", {"record": "other"}, {"record": "call", "session": "two"})
        got = [json.loads(tail.stdout.readline())["session"] for _ in range(2)]
        tail.send_signal(signal.SIGINT)
        self.assertEqual(tail.wait(10), 0)
        self.assertEqual(got, ["one", "two"])

    def test_create(self):
        fake = self.fake({"session": UUID, "local": {"address": "10.77.0.1", "port": 5004}, "worker": "worker-1"})
        done = self.ctl("create", "--user", "admin2", "--trunk", "gate-voip", "--remote", "10.77.0.2:5004", "--ssrc", "0x10")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(
            fake.requests,
            [("session.create", {"user": "admin2", "trunk": "gate-voip", "remote": {"address": "10.77.0.2", "port": 5004}, "codec": "PCMU", "ssrc": 16})],
        )
        self.assertEqual(done.stdout.split(), ["session", UUID, "local", "10.77.0.1:5004", "worker", "worker-1"])

    def test_create_ipv6_and_json(self):
        fake = self.fake({"session": UUID, "local": {"address": "2001:db8::1", "port": 5004}, "worker": None})
        done = self.ctl("create", "--user", "a", "--trunk", "t", "--remote", "[2001:db8::2]:7000", "--codec", "PCMA", "--json")
        self.assertEqual(json.loads(done.stdout)["session"], UUID)
        self.assertEqual(fake.requests[0][1]["remote"], {"address": "2001:db8::2", "port": 7000})
        self.assertEqual(fake.requests[0][1]["codec"], "PCMA")
        self.assertNotIn("ssrc", fake.requests[0][1])
        self.assertNotIn("event_payload_type", fake.requests[0][1])

    def test_create_with_events(self):
        fake = self.fake({"session": UUID, "local": {"address": "10.77.0.1", "port": 5004}, "worker": None})
        done = self.ctl("create", "--user", "a", "--trunk", "t", "--remote", "10.0.0.1:5004", "--event-payload-type", "127")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(fake.requests[0][1]["event_payload_type"], 127)

    def test_list_takes_all_pages(self):
        def answer(method, params):
            first = int(params.get("after", "0"))
            page = [
                {
                    "session": UUID[:-3] + f"{i:03}",
                    "user": "somebody.with.a.long.name@example.com",
                    "state": "talking",
                    "worker": "worker-1",
                    "bound": {"address": "2001:db8:1111:2222:3333:4444:5555:6666", "port": 18920, "ssrc": 4294967295} if i % 2 else None,
                }
                for i in range(first, min(first + params["limit"], 250))
            ]
            return {"sessions": page, "next": str(first + 100)} if first + 100 < 250 else {"sessions": page}

        fake = self.fake(answer, chunk=1000)
        done = self.ctl("list")
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), 251)
        self.assertEqual(len(fake.requests), 3)
        self.assertEqual(lines[0].split(), ["SESSION", "USER", "STATE", "WORKER", "SOURCE", "SSRC"])
        self.assertLessEqual(max(map(len, lines)), 100)
        self.assertTrue(all(line.startswith(UUID[:-3]) for line in lines[1:]))
        self.assertIn("4294967295", lines[2])

    def test_list_ends_on_a_page_that_repeats(self):
        self.fake({"sessions": [], "next": "x"})
        self.assertEqual(self.ctl("list").returncode, 3)

    def test_show(self):
        session = {
            "session": UUID,
            "user": "admin2",
            "held": False,
            "bound": {"address": "10.77.0.2", "port": 18920, "ssrc": 1234567},
            "receive": {"packets": 7, "jitter_ms": 0.25},
            "transcript": {"caller": "¿qué tal?\u001b[2J", "model": ""},
        }
        self.fake(session, chunk=1)  # characters cut in pieces
        lines = dict(line.split(maxsplit=1) for line in self.ctl("show", UUID).stdout.splitlines())
        self.assertEqual(lines["bound.ssrc"], "1234567")
        self.assertEqual(lines["receive.packets"], "7")
        self.assertEqual(lines["held"], "no")
        self.assertEqual(lines["transcript.caller"], "¿qué tal??[2J")
        self.assertEqual(lines["transcript.model"], "-")

    def test_update(self):
        for arguments, params in (
            (["--hold"], {"hold": True}),
            (["--resume"], {"hold": False}),
            (["--remote", "10.0.0.1:6"], {"remote": {"address": "10.0.0.1", "port": 6}}),
        ):
            if os.path.exists(self.path):
                os.unlink(self.path)
            fake = self.fake(True)
            done = self.ctl("update", UUID, *arguments)
            self.assertEqual((done.returncode, done.stdout), (0, ""))
            self.assertEqual(fake.requests, [("session.update", {"session": UUID, **params})])

    def test_workers_info_delete_drain_call(self):
        workers = {"workers": [{"worker": "worker-1", "pid": 12, "users": 2, "calls": 1, "capacity": 1000}]}
        for arguments, result, method, words in (
            (["workers"], workers, "worker.list", "WORKER PID USERS CAPACITY CALLS worker-1 12 2 1000 1".split()),
            (["info"], {"node": "edge-1", "calls": {"live": 2}}, "system.info", ["node", "edge-1", "calls.live", "2"]),
            (["delete", UUID], True, "session.delete", []),
            (["drain"], {"sessions": 3}, "system.drain", ["sessions", "3"]),
            (["call", "a.b", '{"c": [1]}'], {"d": 1}, "a.b", ["{", '"d":', "1", "}"]),
        ):
            if os.path.exists(self.path):
                os.unlink(self.path)
            fake = self.fake(result)
            done = self.ctl(*arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout.split(), words)
            self.assertEqual(fake.requests[0][0], method)

    def test_refused(self):
        error = {"code": -32602, "message": "remote.port: 70000 is not in 1..65535", "data": {"param": "remote.port", "reason": "x"}}
        self.fake(error)
        done = self.ctl("delete", UUID)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, "voxlanectl: remote.port: 70000 is not in 1..65535\n")
        os.unlink(self.path)
        self.fake(error)
        done = self.ctl("--json", "delete", UUID)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(json.loads(done.stdout), {"error": error})

    def test_usage(self):
        for arguments in (
            [],
            ["nothing"],
            ["create", "--user", "a"],
            ["create", "--user", "a", "--trunk", "t", "--remote", "10.0.0.1"],
            ["create", "--user", "a", "--trunk", "t", "--remote", "2001:db8::1:5004"],
            ["create", "--user", "a", "--trunk", "t", "--remote", "10.0.0.1:65536"],
            ["create", "--user", "a", "--trunk", "t", "--remote", "10.0.0.1:5004", "--ssrc", "4294967296"],
            ["create", "--user", "a", "--trunk", "t", "--remote", "10.0.0.1:5004", "--codec", "G729"],
            ["create", "--user", "a", "--trunk", "t", "--remote", "10.0.0.1:5004", "--event-payload-type", "95"],
            ["create", "--user", "a", "--trunk", "t", "--remote", "10.0.0.1:5004", "--event-payload-type", "128"],
            ["update", UUID],
            ["update", UUID, "--hold", "--resume"],
            ["call", "m", "{"],
            ["call", "m", "1"],
        ):
            done = self.ctl(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertTrue(done.stderr.splitlines()[-1].startswith("voxlanectl"), done.stderr)

    def test_no_connection(self):
        done = self.ctl("list")
        self.assertEqual(done.returncode, 3)
        self.assertEqual(done.stderr, f"voxlanectl: no socket at {self.path}; is voxlane-dataplane running?\n")
        stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stale.bind(self.path)
        self.assertIn("nobody listens", self.ctl("list").stderr)
        stale.close()
        os.unlink(self.path)
        self.fake(None)
        done = self.ctl("info")
        self.assertEqual(done.returncode, 3)
        self.assertIn("closed the connection", done.stderr)
        os.unlink(self.path)
        silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        silent.bind(self.path)
        silent.listen(1)
        done = self.ctl("info", "--timeout", "0.2")
        self.assertEqual(done.returncode, 3)
        self.assertIn("no answer", done.stderr)
        silent.close()

    def events(self, stop, *arguments):
        event = b'{"jsonrpc":"2.0","method":"session.bound","params":{"session":"u","remote":{"address":"10.0.0.1","port":9}}}'
        fake = self.fake({"events": ["session.bound"]}, after=event + event)
        process = subprocess.Popen([CTL, "events", *arguments, "--socket", self.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(stop)
        rest, stderr = process.communicate(timeout=30)
        self.assertEqual((process.returncode, rest, stderr), (0, "", ""))
        return fake, lines

    def test_events_until_interrupted(self):
        fake, lines = self.events(signal.SIGINT, "session.bound")
        self.assertEqual(fake.requests, [("events.subscribe", {"events": ["session.bound"]})])
        self.assertEqual(lines[0].split()[1:], ["session.bound", "session=u", "remote=10.0.0.1:9"])
        self.assertEqual(len(lines[1].split()), 4)

    def test_events_json_until_terminated(self):
        fake, lines = self.events(signal.SIGTERM, "--json")
        self.assertEqual(fake.requests, [("events.subscribe", None)])
        self.assertEqual(json.loads(lines[0])["params"]["session"], "u")


class Tap(unittest.TestResult):
    def line(self, word, test, text=""):
        print(f"{word} {self.testsRun} - {test.id().split('.')[-1]}")
        for part in text.splitlines():
            print(f"# {part}")

    def addSuccess(self, test):
        self.line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line("not ok", test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.line("not ok", test, self.errors[-1][1])


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Voxlanectl)
    print(f"1..{suite.countTestCases()}", flush=True)
    result = suite.run(Tap())
    sys.exit(0 if result.wasSuccessful() else 1)
