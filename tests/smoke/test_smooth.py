#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a worker is not heard by the calls it has: a name server that never answers, and a storm of reconnects."""

import pathlib
import time

import calls
from harness import SmokeCase, main, stage

HERE = pathlib.Path(__file__).resolve().parent


class NameServer(SmokeCase):
    def start_name_server(self):
        """`ip netns exec` puts /etc/netns/NAME/resolv.conf in the place of ours."""
        s = self.scene
        directory = pathlib.Path("/etc/netns") / s.core
        s.cleanup.add("resolver's configuration", stage.shutil.rmtree, directory)
        directory.mkdir(parents=True)
        (directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:5 attempts:2\n", encoding="ascii")
        server = s.start("names", "/usr/bin/python3", HERE / "name_server.py", s.path("speak"), namespace=s.core)
        server.wait_log("listening", 10)
        return server

    def test_that_never_answers(self):
        s = self.scene
        people = calls.users("admin2")
        s.start_emulator(people)
        s.endpoint = s.endpoint.replace("localhost", "gemini.test")
        s.start_plane()
        server = self.start_name_server()
        before = time.monotonic()
        worker = s.start_worker("worker", people)
        self.assertLess(time.monotonic() - before, 5)
        server.wait_log("asked", 1)
        session = s.create("admin2", 30000)["session"]
        # Longer than the worker may be silent to the data plane.
        stage.wait_for(lambda: "no address for the service's name" in s.get(session)["reason"], 12, "the reason")
        self.assertEqual([w["worker"] for w in s.control.call("worker.list")["workers"]], ["worker"])
        self.assertLess(stage.telemetry(s.prefix, "/voxlane/worker/list,worker")["loop_longest_us"], 50000)
        # And not so long that a supervisor would lose its patience.
        before = time.monotonic()
        self.assertEqual(worker.stop(), 0, worker.tail())
        self.assertLess(time.monotonic() - before, 5)
        worker = s.start_worker("again", people)
        s.path("speak").touch()
        # The address is there; the certificate of localhost is refused for this name, which is as far as this test goes.
        for attempt in range(3):
            session = s.create("admin2", 30010 + 2 * attempt)["session"]
            s.wait_state(session, ("reconnecting", "failed"))
            if "certificate" in s.get(session)["reason"]:
                break
            time.sleep(4)
        self.assertIn("certificate", s.get(session)["reason"])


if __name__ == "__main__":
    main()
