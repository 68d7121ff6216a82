#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Limits of projects and keys: the call that exceeds one is refused at once and by name, over all workers, a reload changes them, and a service that refuses is
not asked by every call again."""

import time

import calls
from harness import SmokeCase, main, scene, stage

PROJECT = "project acme of user"


class Limits(SmokeCase):
    def setUp(self):
        super().setUp()
        self.port = 30000
        self.sessions = []

    def create(self, user):
        self.port += 2
        session = self.scene.create(user, self.port)["session"]
        self.sessions.append(session)
        return session

    def delete(self, session):
        self.sessions.remove(session)
        self.scene.control.call("session.delete", session=session)

    def refused(self, user, limit):
        before = time.monotonic()
        with self.assertRaises(stage.Rpc.Error) as caught:
            self.create(user)
        self.assertLess(time.monotonic() - before, 0.5)
        error = caught.exception.error
        self.assertEqual(error["code"], -32004)
        self.assertEqual(error["data"]["param"], "user")
        self.assertIn(f"{PROJECT} '{user}' has its {limit} calls", error["message"])

    def write(self, worker, users, projects):
        path = self.scene.write_users(worker, users)
        value = stage.json.loads(path.read_text(encoding="utf-8"))
        return stage.write_json(path, {**value, "projects": projects}, 0o600)

    def reload(self, worker, users, projects):
        name = worker.name
        self.write(name, users, projects)
        lines = len(stage.re.findall("users file read again", worker.log()))
        worker.kill(stage.signal.SIGHUP)
        worker.wait_log("users file read again", 10, count=lines + 1)

    def test_calls_of_a_project(self):
        s = self.scene
        alice, bob, zoe = scene.User("alice", project="acme"), scene.User("bob", project="acme"), scene.User("zoe")
        s.start_emulator([alice, bob, zoe])
        s.start_plane()
        one = s.start_worker_with("one", self.write("one", [alice, zoe], [{"name": "acme", "max_calls": 2}]))
        s.start_worker_with("two", self.write("two", [bob], [{"name": "acme", "max_calls": 2}]))
        first = self.create("alice")
        second = self.create("bob")
        self.assertEqual(s.get(first)["project"], "acme")
        self.refused("alice", 2)
        self.refused("bob", 2)
        self.assertIsNone(s.get(self.create("zoe"))["project"])
        for session in self.sessions:
            s.wait_state(session, ("ready", "talking"))
        self.delete(second)
        third = self.create("bob")
        self.refused("alice", 2)
        # A worker that dies takes its calls from nobody's count.
        one.kill(stage.signal.SIGKILL)
        one.expected_to_die = True
        stage.wait_for(lambda: s.get(first)["worker"] is None, 10, "the call to lose its worker")
        self.refused("bob", 2)
        one = s.start_worker_with("one", s.path("one.users.json"))
        stage.wait_for(lambda: s.get(first)["worker"] == "one", 10, "the call to be placed again")
        self.refused("alice", 2)
        # Other limits without a restart.
        self.reload(one, [alice, zoe], [{"name": "acme", "max_calls": 3}])
        self.create("alice")
        self.refused("alice", 3)
        self.refused("bob", 2)  # as its worker says
        self.reload(one, [alice, zoe], [{"name": "acme", "max_calls": 1}])
        self.delete(third)
        self.refused("alice", 1)
        self.reload(one, [scene.User("alice"), zoe], [])
        self.assertIsNone(s.get(self.create("alice"))["project"])
        over = stage.telemetry(s.prefix, "/voxlane/info")["control_calls_over_limit"]
        self.assertEqual(over, 8)

    def wait_failed(self, session, seconds=12):
        self.scene.wait_state(session, "failed", seconds)
        return self.scene.get(session)["reason"]

    def test_a_dead_key_is_not_dialled_again(self):
        s = self.scene
        users = calls.users("admin2", "agent4")
        s.start_emulator(users)
        s.start_plane()
        wrong = scene.User("admin2")
        wrong.key = "a-key-that-was-withdrawn"
        worker = s.start_worker("worker", [wrong, users[1]])
        self.assertRegex(self.wait_failed(self.create("admin2")), "^API [kK]ey")
        for _ in range(5):
            before = time.monotonic()
            self.assertRegex(self.wait_failed(self.create("admin2"), 2), "^the key of admin2 is not dialled for another [0-9]+ s: API [kK]ey")
            self.assertLess(time.monotonic() - before, 1)
        s.wait_state(self.create("agent4"), ("ready", "talking"))
        self.assertEqual(len(stage.re.findall("connection lost", worker.log())), 1)
        s.write_users("worker", users)
        worker.kill(stage.signal.SIGHUP)
        worker.wait_log("users file read again", 10)
        s.wait_state(self.create("admin2"), ("ready", "talking"))

    def test_a_project_over_its_quota_is_left_alone(self):
        s = self.scene
        people = [scene.User("admin2", project="acme"), scene.User("agent4", project="acme"), scene.User("zoe")]
        s.start_emulator(people, "--quota-close")
        s.start_plane()
        s.start_worker_with("worker", self.write("worker", people, [{"name": "acme"}]))
        s.control.call("events.subscribe", events=["session.throttled"])
        before = time.monotonic()
        first = self.create("admin2")
        self.assertRegex(self.wait_failed(first, 2), "^the service refuses the call for quota: ")
        self.assertLess(time.monotonic() - before, 1.5)
        throttled = stage.wait_for(lambda: [e["params"] for e in s.control.poll_events() if e["method"] == "session.throttled"], 5, "the event")
        self.assertEqual([e["session"] for e in throttled], [first])
        self.assertTrue(30 <= throttled[0]["pause_s"] <= 65, throttled)
        before = time.monotonic()
        for user in ("admin2", "agent4", "agent4"):
            self.assertRegex(self.wait_failed(self.create(user), 2), "^project acme is over its quota and not dialled for another [0-9]+ s: ")
        self.assertLess(time.monotonic() - before, 3)
        connections = s.stats()["keys"]
        self.assertEqual(connections["admin2"]["connections"] + connections["agent4"]["connections"], 1)
        def counted():
            worker = stage.telemetry(s.prefix, "/voxlane/worker/list,worker")
            return (worker["quota_refusals"], worker["dials_refused"]) == (1, 3)
        stage.wait_for(counted, 2, "the worker's counters")


if __name__ == "__main__":
    main(second_try=True)
