#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Starting and stopping: SIGTERM gives status 0 with and without calls, a second data plane on the same sockets is refused, and nothing stays behind."""

import calls
from harness import SmokeCase, main, scene, stage


class Lifecycle(SmokeCase):
    def test_sigterm_ends_everything_with_status_0(self):
        s = self.scene
        people = calls.users("admin2")
        s.start_emulator(people)
        s.start_plane()
        worker = s.start_worker("worker-1", people)
        said = scene.speech(s, "said.wav", scene.BOOK[1])
        session, caller, _ = calls.place(s, "admin2", said, 18920, 18920, 7, "--duration-s", 60)
        s.wait_state(session, ("ready", "talking"))
        self.assertEqual(worker.stop(), 0, worker.tail())
        self.assertEqual(s.plane.stop(), 0, s.plane.tail())
        self.assertEqual(caller.stop(), 0)
        for name in ("control.sock", "worker.sock"):
            self.assertFalse(s.path(name).exists(), name)

    def test_restart_of_the_data_plane_with_workers_up(self):
        s = self.scene
        people = calls.users("admin2")
        s.start_emulator(people)
        s.start_plane()
        worker = s.start_worker("worker-1", people)
        self.assertEqual(s.plane.stop(), 0, s.plane.tail())
        self.assertTrue(worker.running(), worker.tail())
        s.start_plane()
        s.wait_worker("worker-1", worker)

    def test_second_data_plane_on_the_same_sockets_is_refused(self):
        s = self.scene
        config = s.configuration()
        s.start_plane(config)
        second = s.start("second", stage.binary("voxlane-dataplane"), "-l", "0,1", "--no-pci", "--no-huge", "-m", 256, "--no-shconf",
                         "--file-prefix", f"{s.prefix}b", "--vdev", "net_null0", "--", "--config", config, namespace=s.core)
        self.assertNotEqual(second.wait(30), 0)
        self.assertIn(".sock", second.tail())
        self.assertTrue(s.control.call("system.info"))


if __name__ == "__main__":
    main(second_try=True)
