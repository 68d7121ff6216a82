#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bad configuration, users files and requests are refused with the place named; nothing bad ends a process."""

import json
import os
import socket
import subprocess

import calls
from harness import SmokeCase, main, scene, stage


class Errors(SmokeCase):
    def refused(self, *command):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30, check=False)
        self.assertNotIn(done.returncode, (0, -6, -11), done.stderr)
        return done.stdout + done.stderr

    def check_config(self, text):
        path = self.scene.path("bad.json")
        path.write_text(text, encoding="utf-8")
        return self.refused(stage.binary("voxlane-dataplane"), "--check-config", path)

    def test_configuration(self):
        good = json.loads(self.scene.configuration().read_text(encoding="utf-8"))
        done = subprocess.run([stage.binary("voxlane-dataplane"), "--check-config", str(self.scene.path("voxlane.json"))], capture_output=True,
                              text=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

        def with_source(value):
            return {**good, "trunks": [{"name": "t", "sources": ["10.0.0.0/8", value]}]}
        for change, expected in (
                ({**good, "lisen": 1}, "lisen"),
                (with_source("192.168.50.5o"), "trunks[0].sources[1]"),
                ({**good, "listen": {**good["listen"], "rtp_port": 70000}}, "listen.rtp_port"),
                ({k: v for k, v in good.items() if k != "trunks"}, "trunks"),
                ({**good, "playout": {"idle": "loud"}}, "playout.idle")):
            with self.subTest(expected=expected):
                self.assertIn(expected, self.check_config(json.dumps(change)))
        self.assertTrue(self.check_config('{"listen": '))
        self.assertTrue(self.check_config(""))

    def test_users_file(self):
        s = self.scene
        worker = stage.binary("voxlane-worker")
        good = {"gemini": {"endpoint": "wss://localhost:1", "model": "gemini-3.1-flash-live-preview"}, "users": [{"name": "admin2", "api_key": "secret-key-1"}]}

        def outcome(value, mode=0o600):
            path = stage.write_json(s.path("users.json"), value, mode)
            return self.refused(worker, "--dataplane", s.path("none.sock"), "--users", path)
        for value, expected in (
                ({**good, "usrs": []}, "usrs"),
                ({**good, "users": [{"name": "admin2", "api_key": "secret-key-1", "voise": "x"}]}, "users[0].voise"),
                ({**good, "users": [{"api_key": "secret-key-1"}]}, "users[0].name"),
                ({**good, "users": [{"name": "admin2", "api_key": ""}]}, "users[0].api_key"),
                ({**good, "gemini": {**good["gemini"], "endpoint": "ftp://x"}}, "gemini.endpoint")):
            with self.subTest(expected=expected):
                text = outcome(value)
                self.assertIn(expected, text)
                self.assertNotIn("secret-key-1", text, "a key was shown")
        self.assertTrue(outcome(good, 0o644), "a users file that others can read was accepted")

    def test_requests(self):
        s = self.scene
        people = calls.users("admin2")
        s.start_emulator(people)
        s.start_plane()
        s.start_worker("worker-1", people)
        remote = {"address": s.CALLERS, "port": 5004}
        fine = {"user": "admin2", "trunk": "gate-voip", "remote": remote, "codec": "PCMU"}
        for params, expected in (
                ({**fine, "user": "nobody"}, "user"),
                ({**fine, "trunk": "none"}, "trunk"),
                ({**fine, "codec": "OPUS"}, "codec"),
                ({**fine, "remote": {"address": "10.77.0.2x", "port": 1}}, "remote.address"),
                ({**fine, "remote": {"address": s.CALLERS, "port": 0}}, "remote.port"),
                ({**fine, "remote": {"address": "192.0.2.1", "port": 5004}}, "remote"),
                ({**fine, "colour": "red"}, "colour"),
                ({"user": "admin2"}, "trunk")):
            with self.subTest(expected=expected), self.assertRaises(stage.Rpc.Error) as caught:
                s.control.call("session.create", **params)
            error = caught.exception.error
            self.assertIn(expected, json.dumps(error), params)
        with self.assertRaises(stage.Rpc.Error) as caught:
            s.control.call("session.get", session="no-uuid")
        self.assertIn("session", json.dumps(caught.exception.error))
        with self.assertRaises(stage.Rpc.Error) as caught:
            s.control.call("session.explode")
        self.assertEqual(caught.exception.error["code"], -32601)
        # Garbage of every kind on the sockets; the data plane goes on.
        for garbage in (b"\x00\xff\x00", b"{" * 100000, b'{"jsonrpc": "2.0"}', b"[]", os.urandom(4096), b'"' + b"a" * 70000):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(str(s.path("control.sock")))
                try:
                    client.sendall(garbage)
                except OSError:
                    pass
        for garbage in (b"", b"{}", b'{"hello": {"abi": 99, "name": "x", "users": [], "capacity": 1}}', os.urandom(2048)):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
                client.connect(str(s.path("worker.sock")))
                try:
                    client.send(garbage)
                except OSError:
                    pass
        self.assertEqual(s.control.call("session.list")["sessions"], [])
        self.assertTrue(s.plane.running())


if __name__ == "__main__":
    main()
