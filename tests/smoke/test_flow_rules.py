#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The port's own rules (listen.flow_rules) on real drivers: whether a driver takes them, refuses them at once, or agrees first and then does not make them, good
calls go on, strangers are dropped by somebody, and what the log says is what system.info says."""

import re
import time

from good_calls import GoodCalls
from harness import main, measured, stage

FALLBACK = r"port 0 \(([^)]+)\): (.+); so packet cores alone drop what comes from no trunk"
MADE = r"port 0 \(([^)]+)\) drops UDP from no trunk's address by (\d+) flow rules"


class FlowRules(GoodCalls):
    def start(self, mode):
        s = self.scene
        config = s.configuration(listen={"address": s.PLANE, "prefix_length": s.PREFIX, "rtp_port": 5004, "flow_rules": mode},
                                 trunks=[{"name": "gate-voip", "sources": [s.CALLERS, s.CALLERS6]}], log={"level": "info"})
        s.start_plane(config)
        self.attach(one="admin2")
        self.calls = [self.call(n) for n in range(2)]
        self.talk(lambda elapsed: elapsed > 1)
        self.judge()
        return s.control.call("system.info")["port"]["flow_rules"], stage.telemetry(s.prefix, "/voxlane/info")

    def stranger(self):
        """A packet from an address of the link that no trunk has is heard by nobody."""
        s = self.scene
        stage.run("ip", "-n", s.lan, "address", "add", "10.77.0.99/24", "dev", s.tap)
        before = s.drops()["source_unknown"]
        script = "import socket;s=socket.socket(2,2);s.bind(('10.77.0.99',18920));s.sendto(bytes([128,0])+bytes(170),('10.77.0.1',5004))"
        stage.run("ip", "netns", "exec", s.lan, "/usr/bin/python3", "-c", script)
        return lambda: s.drops()["source_unknown"] > before or stage.telemetry(s.prefix, "/voxlane/info")["flow_rule_drops"] > 0

    def test_auto_takes_what_the_port_takes(self):
        s = self.scene
        count, info = self.start("auto")
        self.assertEqual(info["flow_rules"], count)
        made, fallback = re.search(MADE, s.plane.log()), re.search(FALLBACK, s.plane.log())
        self.assertTrue(bool(made) != bool(fallback), s.plane.tail())
        self.assertEqual(count, int(made.group(2)) if made else 0)
        measured(f"flow rules on net_tap: {count or fallback.group(2)}")
        if not made:  # a tap that took them lost them again when it went to the callers' namespace
            stage.wait_for(self.stranger(), 3, "the stranger's packet to be dropped")
        self.talk(lambda elapsed: elapsed > 1)
        self.judge()
        self.assertEqual(s.plane.stop(), 0)

    def test_off_asks_nothing_of_the_port(self):
        s = self.scene
        count, info = self.start("off")
        self.assertEqual((count, info["flow_rules"], info["flow_rule_drops"]), (0, 0, 0))
        s.plane.wait_log("listen.flow_rules is off", 1)
        self.assertIsNone(re.search(MADE, s.plane.log()))
        stage.wait_for(self.stranger(), 3, "the stranger's packet to be dropped")
        time.sleep(0.1)
        self.assertEqual(s.plane.stop(), 0)


if __name__ == "__main__":
    main()
