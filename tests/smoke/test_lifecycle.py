#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Starting and stopping: SIGTERM gives status 0 with and without calls, a second data plane on the same sockets is refused, and nothing stays behind."""

import ctypes
import os
import pathlib
import signal
import time

import calls
from harness import SmokeCase, main, scene, stage


PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WAIT_ALL = 0x4206, 0x4207, 17, 0x40000000


class StoppedThread:
    """One thread of a process stands still, as on a machine that has no time for it."""

    def __init__(self, pid, name):
        tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
        self.tid = next(int(task.name) for task in tasks if (task / "comm").read_text().strip() == name)
        self._ptrace(PTRACE_SEIZE)
        self._ptrace(PTRACE_INTERRUPT)
        os.waitpid(self.tid, WAIT_ALL)

    def _ptrace(self, request):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(ctypes.c_long(request), ctypes.c_long(self.tid), None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace request {request:#x} of thread {self.tid}")

    def resume(self):
        try:
            self._ptrace(PTRACE_DETACH)
        except ProcessLookupError:
            os.waitpid(self.tid, WAIT_ALL)  # the process has ended without it


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

    def test_sigterm_with_a_late_interrupt_thread(self):
        """The EAL's interrupt thread is woken by the port's end, and comes when its memory is given back, or never."""
        s = self.scene
        link = f"socket={s.path('memif.sock')},socket-abstract=no"
        options = ("-l", "0,1", "--no-pci", "--no-huge", "--no-shconf", "-m", 1500)
        far = s.path("far.json")
        stage.write_json(far, {"listen": {"address": "10.77.9.1", "prefix_length": 24}, "trunks": [{"name": "far", "sources": ["10.77.9.0/24"]}],
                               "sockets": {"control": str(s.path("far-control.sock")), "workers": str(s.path("far-worker.sock"))}})
        near = s.configuration(sessions={"max": 65536})
        for late_ms in (4, 8, 12, 16, 2000):
            plane = s.start(f"near-{late_ms}", stage.binary("voxlane-dataplane"), *options, "--file-prefix", s.prefix, "--vdev",
                            f"net_memif0,role=server,{link}", "--", "--config", near, namespace=s.core)
            plane.wait_log("voxlane .* on DPDK", 20)
            peer = s.start(f"far-{late_ms}", stage.binary("voxlane-dataplane"), *options, "--file-prefix", f"{s.prefix}b", "--vdev",
                           f"net_memif0,role=client,{link}", "--", "--config", far, namespace=s.core)
            stage.wait_for(lambda: stage.telemetry(s.prefix, "/ethdev/link_status,0")["status"] == "UP", 20, "the memory link")
            thread = StoppedThread(plane.pid, "eal-intr-thread")
            plane.kill(signal.SIGTERM)
            stage.wait_for(lambda: "dataplane: ended" in plane.log(), 10, "the end", interval=0.0005)
            time.sleep(late_ms / 1000)
            thread.resume()
            self.assertEqual(plane.wait(10), 0, f"{late_ms} ms: {plane.tail()}")
            self.assertEqual(peer.stop(), 0, peer.tail())

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
