#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Where keys are and where they are not, looked for in the memory of the running programs, in a core file and in all that they say, while calls are up. And that keys
can be changed meanwhile."""

import base64
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile

import calls
from harness import SmokeCase, main, measured, scene, stage

PIECE = 12  # bytes of a key that give it away


def needles(secret):
    """What a secret may look like: any piece of it, its hexadecimal and base64 forms (at every offset to base64's groups of three)."""
    found = {secret[i:i + PIECE] for i in range(len(secret) - PIECE + 1)}
    found |= {secret.hex().encode()[:2 * PIECE], secret.hex().upper().encode()[:2 * PIECE], secret.hex().encode()[-2 * PIECE:]}
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + secret).rstrip(b"=")
        found.add(text[(8 * offset + 5) // 6:][:2 * PIECE])
    return found


def search(data, secrets_):
    """Names of the secrets that are in the data."""
    if not data.strip(b"\0"):
        return set()
    return {name for name, secret in secrets_.items() if any(needle in data for needle in needles(secret))}


def search_file(path, secrets_, start=0, end=None):
    found, position, overlap = set(), start, 64
    with open(path, "rb", buffering=0) as file:
        while end is None or position < end:
            file.seek(position)
            try:
                data = file.read(min(1 << 20, (end or position + (1 << 20)) - position) + overlap)
            except OSError:  # a page that cannot be read, such as a device's
                data = b"\0" * (1 << 12)
            if not data:
                break
            found |= search(data, secrets_)
            position += max(len(data) - overlap, 1 << 12) if end is None or position + len(data) < end else len(data)
    return found


def search_memory(pid, secrets_):
    """Names of the secrets that are anywhere in the memory of a process."""
    found = set()
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
        regions = [line.split()[:2] + [line.rstrip().split(None, 5)[-1]] for line in maps]
    for span, mode, name in regions:
        if "r" in mode and name not in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
            start, end = (int(part, 16) for part in span.split("-"))
            found |= search_file(f"/proc/{pid}/mem", secrets_, start, end)
    return found


class KeyScan(SmokeCase):
    SHARDS = {"a": ("nobody", ["alice", "adam"]), "b": ("daemon", ["bob"])}

    def setUp(self):
        super().setUp()
        s = self.scene
        s.directory.chmod(0o711)
        self.people = {name: scene.User(name) for _, names in self.SHARDS.values() for name in names}
        for person in self.people.values():
            person.key = "AIzaSy" + secrets.token_urlsafe(24)
        self.keys = {name: person.key.encode() for name, person in self.people.items()}
        self.later = scene.User("alice-later")
        self.later.key = "AIzaSy" + secrets.token_urlsafe(24)
        s.start_emulator([*self.people.values(), self.later])
        self.users = s.path("users.d")
        self.users.mkdir()
        self.masters = {}
        for shard, (account, names) in self.SHARDS.items():
            # The tests' own users file; then sealed, and given to the shard's account.
            file = s.write_users(shard, [self.people[name] for name in names]).rename(self.users / f"{shard}.json")
            master = s.path(f"{shard}.master")
            self.tool("new-master", master)
            self.tool("seal", file, "--master-key", master)
            self.masters[f"master key {shard}"] = bytes.fromhex(master.read_text().strip())
            for path in (file, master):
                shutil.chown(path, account)

    def tool(self, *arguments, **options):
        done = subprocess.run([stage.binary("voxlane-keys"), *map(str, arguments)], capture_output=True, check=False, **options)
        self.assertEqual(done.returncode, 0, done.stderr)

    def start(self, **changes):
        s = self.scene
        shards = [{"uid": pwd.getpwnam(account).pw_uid, "users": [f"{names[0][0]}*"]} for account, names in self.SHARDS.values()]
        self.records, self.journal = s.path("calls.jsonl"), s.path("journal")
        s.start_plane(s.configuration(workers={"max": 4, "ring_slots": 4096, "shards": shards}, records={"path": str(self.records), "journal": str(self.journal)},
                                      sockets={"control": str(s.path("control.sock")), "workers": str(s.path("worker.sock")), "mode": "0666"}, **changes))
        self.listener = s.rpc()
        self.addCleanup(self.listener.close)
        self.listener.call("events.subscribe")
        self.workers = {shard: self.start_shard(shard) for shard in self.SHARDS}

    def start_shard(self, shard, *options, wait=True):
        account = self.SHARDS[shard][0]
        return self.scene.start_worker_with(f"worker-{shard}", self.users, "--shard", shard, "--user", account, "--master-key",
                                            self.scene.path(f"{shard}.master"), *options, wait=wait)

    def call(self, user, number):
        session, caller, _ = calls.place(self.scene, user, self.said, 18920 + 2 * number, 18920 + 2 * number, 1000 + number, "--repeat", 0,
                                         "--duration-s", 100, name=f"caller-{user}-{number}")
        self.scene.wait_state(session, ("ready", "talking"))
        return session, caller

    def said_by(self, plane):
        """Everything that is said to the outside: answers, telemetry, logs, command lines, environments."""
        s = self.scene
        texts = {"session.list": s.control.call("session.list"), "worker.list": s.control.call("worker.list"),
                 "system.info": s.control.call("system.info")}
        for session in s.session_ids:
            texts[f"session {session}"] = s.get(session)
            texts[f"/voxlane/session/info,{session}"] = stage.telemetry(s.prefix, f"/voxlane/session/info,{session}")
        workers = [f"{command},{process.name}" for command in ("/voxlane/worker/list", "/voxlane/latency") for process in self.workers.values()]
        for command in [*stage.telemetry(s.prefix, "/"), *workers]:
            if command.startswith("/voxlane/"):
                texts[command] = stage.telemetry(s.prefix, command)
        texts["notifications"] = self.listener.poll_events()
        self.assertGreater(len(texts["notifications"]), 5)
        said = {name: json.dumps(value, ensure_ascii=False).encode() for name, value in texts.items()}
        for file in [self.records, *self.journal.iterdir()]:
            said[f"file {file.name}"] = file.read_bytes()
        for process in s.processes:
            if process is s.emulator or not process.running():
                continue  # the emulator is the service: it is told every key
            said[f"log of {process.name}"] = process.log().encode()
            for name in ("cmdline", "environ"):
                with open(f"/proc/{process.pid}/{name}", "rb") as file:
                    said[f"{name} of {process.name}"] = file.read()
        self.assertIn(b"--config", said[f"cmdline of {plane.name}"])
        return said

    def core_of(self, process):
        """A core file of a running process, as gdb writes it."""
        directory = tempfile.mkdtemp(prefix="voxlane-core-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        subprocess.run(["gcore", "-o", f"{directory}/core", str(process.pid)], capture_output=True, check=True, timeout=120)
        return f"{directory}/core.{process.pid}"

    def test_keys_are_only_where_they_are_used(self):
        s = self.scene
        planted = {"planted": b"AIzaSy" + secrets.token_hex(12).encode()}
        self.start(node=planted["planted"].decode())
        self.said = scene.speech(s, "said.wav", scene.BOOK[1])
        for number, name in enumerate(self.people):
            self.call(name, number)
        ended, _ = self.call("alice", len(self.people))
        s.control.call("session.delete", session=ended)
        s.session_ids.remove(ended)
        stage.wait_for(lambda: self.records.exists() and ended in self.records.read_text(), 5, "the record of a call")
        secret = {**self.keys, **self.masters}

        self.assertEqual(search_memory(s.plane.pid, {**secret, **planted}), {"planted"}, "the data plane's memory")
        said = self.said_by(s.plane)
        self.assertEqual({name: search(text, secret) for name, text in said.items() if search(text, secret)}, {}, "said")
        self.assertEqual(search(said["system.info"], planted), {"planted"}, "the scan of answers finds what is there")
        if shutil.which("gcore"):
            core = self.core_of(s.plane)
            self.assertEqual(search_file(core, {**secret, **planted}), {"planted"}, "a core file of the data plane")
            measured(f"no key in a core file of the data plane of {os.path.getsize(core) >> 20} MiB, nor in {len(said)} answers, logs and command lines")

        # Each worker has its own tenant's keys, which shows that the scan finds keys; and no other's, and no master key any more.
        for shard, (_, names) in self.SHARDS.items():
            self.assertEqual(search_memory(self.workers[shard].pid, secret), set(names), f"memory of the worker of shard {shard}")

    def test_workers_gave_up_their_rights(self):
        s = self.scene
        self.start()
        for shard, (account, _) in self.SHARDS.items():
            pid = self.workers[shard].pid
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
            self.assertEqual(set(status["Uid"].split()), {str(pwd.getpwnam(account).pw_uid)})
            self.assertEqual((int(status["CapPrm"], 16), int(status["CapEff"], 16)), (0, 0))
            self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
            # Not dumpable: the kernel gives its files to root, so the same user cannot look either.
            self.assertEqual(os.stat(f"/proc/{pid}/mem").st_uid, 0)
            looks = subprocess.run(["setpriv", "--reuid", account, "--clear-groups", "head", "-c1", f"/proc/{pid}/environ"], capture_output=True,
                                   check=False)
            self.assertNotEqual(looks.returncode, 0)
            with open(f"/proc/{pid}/limits", encoding="ascii") as file:
                self.assertRegex(file.read(), r"Max core file size +0 +0 ")

    def test_shard_claims_no_other_tenants_users(self):
        """A worker of shard a's account that says it serves bob is turned away; one that serves its own users is not."""
        self.start()
        said = {}
        for users in (["bob"], ["adam", "bob"], ["adam"]):
            hello = json.dumps({"hello": {"abi": 1, "name": "thief", "users": users, "capacity": 10}})
            program = f"import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect({str(self.scene.path('worker.sock'))!r}); " \
                      f"s.send({hello!r}.encode()); s.settimeout(5); print(s.recv(16384).decode())"
            said[users[-1]] = stage.run("setpriv", "--reuid", self.SHARDS["a"][0], "--clear-groups", "/usr/bin/python3", "-c", program)
            if users[-1] == "bob":
                self.assertIn("refused", said["bob"])
        self.assertIn("welcome", said["adam"])

    def test_shard_that_could_read_another_does_not_start(self):
        s = self.scene
        s.start_plane()
        (self.users / "b.json").chmod(0o644)
        worker = self.start_shard("a", wait=False)
        self.assertEqual(worker.wait(10), 1)
        self.assertIn("can also read", worker.tail())
        (self.users / "b.json").chmod(0o600)
        other = s.start_worker_with("worker-c", self.users, "--shard", "b", "--user", "games", "--master-key", s.path("a.master"), wait=False)
        self.assertEqual(other.wait(10), 1)
        self.assertIn("Permission denied", other.tail())

    def test_keys_change_while_calls_are_up(self):
        s = self.scene
        self.start()
        self.said = scene.speech(s, "said.wav", scene.BOOK[1])
        session, _ = self.call("alice", 0)
        worker, file, master = self.workers["a"], self.users / "a.json", s.path("a.master")

        # A broken file changes nothing.
        good = file.read_text(encoding="utf-8")
        file.write_text(good.replace("sealed_key", "sealed", 1), encoding="utf-8")
        worker.kill(signal.SIGHUP)
        worker.wait_log("the one before stays in force", 5)
        self.assertIn("users[0].sealed: no such member", worker.log())
        file.write_text(good, encoding="utf-8")

        # A new key, and a new user.
        self.tool("seal", file, "--master-key", master, "--user", "alice", input=self.later.key.encode())
        value = json.loads(file.read_text(encoding="utf-8"))
        value["users"].append({"name": "anna", "api_key": self.people["adam"].key})
        file.write_text(json.dumps(value), encoding="utf-8")
        worker.kill(signal.SIGHUP)
        worker.wait_log("users file read again: 3 users, 1 new, 0 no longer served; 1 calls go on", 5)
        self.assertIn(s.get(session)["state"], ("ready", "talking"))
        second, _ = self.call("alice", 1)
        third, _ = self.call("anna", 2)
        keys = s.stats()["keys"]
        self.assertEqual({name: keys[name]["connections"] for name in ("alice", "alice-later", "adam")}, {"alice": 1, "alice-later": 1, "adam": 1})
        self.assertEqual(keys["alice"]["closes"], {})
        sent = keys["alice"]["audio_ms"]
        stage.wait_for(lambda: s.stats()["keys"]["alice"]["audio_ms"] > sent + 500, 10, "the first call going on under its own key")

        # Under another master key.
        new = s.path("new.master")
        self.tool("new-master", new)
        self.tool("rotate", file, "--master-key", master, "--new-master", new)
        worker.kill(signal.SIGHUP)
        worker.wait_log(r"users\[0\].sealed_key: is sealed under master key [0-9a-f]{16}, not under the one given", 5)
        shutil.copyfile(new, master)
        worker.kill(signal.SIGHUP)
        worker.wait_log("users file read again", 5, count=2)
        for uuid in (session, second, third):
            self.assertIn(s.get(uuid)["state"], ("ready", "talking"))
        self.assertEqual(worker.stop(), 0, worker.tail())


if __name__ == "__main__":
    main()
