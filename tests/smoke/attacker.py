# SPDX-License-Identifier: Apache-2.0
"""An attacker with a namespace and a link of its own beside the callers of a scene, and what its link hears of the data plane's media."""

import json
import socket

import fake_worker
from harness import stage


class AttackerOnLink:
    """Of a SmokeCase whose data plane runs. After add_attacker() the callers' addresses are on a bridge and the attacker is behind a port of it."""

    def add_attacker(self):
        """The tap becomes a port of a bridge; callers are on the bridge, the attacker behind a veth."""
        s = self.scene
        s.evil = s._namespace("evil")  # pylint: disable=protected-access
        lan = ["ip", "-n", s.lan]
        stage.run(*lan, "link", "add", "br0", "address", "02:77:00:00:00:02", "type", "bridge", "forward_delay", 0, "mcast_snooping", 0)
        for family, address in ((), f"{s.CALLERS}/{s.PREFIX}"), (("-6",), f"{s.CALLERS6}/{s.PREFIX6}"):
            stage.run(*lan, *family, "address", "delete", address, "dev", s.tap)
            stage.run(*lan, *family, "address", "add", address, "dev", "br0", *(("nodad",) if family else ()))
        stage.run(*lan, "link", "set", s.tap, "address", "02:77:00:00:00:03", "txqueuelen", 20000)
        stage.run(*lan, "link", "set", s.tap, "master", "br0")
        stage.run(*lan, "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", s.evil)
        stage.run(*lan, "link", "set", "v0", "master", "br0", "up")
        stage.run(*lan, "link", "set", "br0", "up")
        stage.run("ip", "-n", s.evil, "link", "set", "v1", "address", "02:77:00:00:00:66", "up")
        self.plane_mac = stage.wait_for(self.find_plane, 5, "the data plane's link address")
        self.capture = fake_worker.socket_in(s.evil, socket.AF_PACKET, socket.SOCK_RAW)
        self.addCleanup(self.capture.close)
        self.capture.bind(("v1", 3))
        self.capture.setblocking(False)

    def find_plane(self):
        s = self.scene
        with fake_worker.socket_in(s.lan, socket.AF_INET, socket.SOCK_DGRAM) as anything:
            anything.sendto(b"", (s.PLANE, 9))
        words = stage.run("ip", "-n", s.lan, "neigh", "show", s.PLANE).split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else None

    def captured(self):
        """Frames with our media that reached the attacker's link."""
        found = []
        while True:
            try:
                frame = self.capture.recv(2048)
            except BlockingIOError:
                return found
            from_plane = frame[6:12] == bytes.fromhex(self.plane_mac.replace(":", ""))
            if from_plane and (frame[12:14], frame[23:24]) in ((b"\x08\x00", b"\x11"),) or (from_plane and frame[12:14] == b"\x86\xdd" and frame[20:21] == b"\x11"):
                found.append(frame)

    def start_attack(self, name, kind, rate, seconds, *options):
        """Start tests/tools/rtp_attacker.c; attack_sent() tells what it sent."""
        s = self.scene
        with open(s.path(f"{name}.json"), "wb") as out:
            return s.start(name, stage.binary("rtp_attacker"), "--interface", "v1", "--to-mac", self.plane_mac, "--to", s.PLANE, "--kind", kind,
                           "--rate", rate, "--seconds", seconds, *options, namespace=s.evil, stdout=out)

    def attack_sent(self, name):
        return json.loads(self.scene.path(f"{name}.json").read_text())["sent"]
