#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The refusals and moves of the binding table through real packets, on IPv4, IPv6, shared and dedicated ports."""

import calls
from harness import SmokeCase, main, scene, stage


class Binding(SmokeCase):
    def setUp(self):
        super().setUp()
        s = self.scene
        self.people = calls.users("admin2", "agent4")
        self.said = scene.speech(s, "said.wav", scene.BOOK[1])
        s.start_emulator(self.people, "--answer-ms", 1000)

    def start(self, **changes):
        self.scene.start_plane(self.scene.configuration(**changes))
        self.scene.start_worker("worker-1", self.people)

    def drop(self, reason):
        return self.scene.drops()[reason]

    def wait_bound(self, session):
        return stage.wait_for(lambda: self.scene.get(session)["bound"], 10, "the binding")

    def bound_ssrc(self, session):
        bound = self.scene.get(session)["bound"]
        return bound and bound["ssrc"]

    def test_ssrc_from_a_wrong_source_is_refused(self):
        s = self.scene
        self.start()
        session, _, _ = calls.place(s, "admin2", self.said, 18920, 18920, 1234567, "--duration-s", 60)
        self.wait_bound(session)
        reply = {"address": s.PLANE, "port": 5004}
        thief = s.start_caller("thief", 18999, reply, "--ssrc", 1234567, "--wav", self.said, "--duration-s", 2)
        report = s.report(thief)
        self.assertEqual(report["received"], 0, "the thief heard something")
        self.assertGreater(report["sent"], 20)
        # What a late thief sends all at once is more than one address may have looked at.
        stage.wait_for(lambda: self.drop("ssrc_wrong_source") + self.drop("learn_rate") >= 0.9 * report["sent"], 2, "the thief's packets to be refused")
        self.assertGreater(self.drop("ssrc_wrong_source"), 20)
        self.assertEqual(len(s.locks(session)), 1)
        self.assertEqual(s.get(session)["address_switches"], 0)

    def test_second_unknown_port_is_ambiguous(self):
        s = self.scene
        self.start()
        first, _, _ = calls.place(s, "admin2", self.said, 18920, 5004, 11, "--duration-s", 60, name="one")
        second = s.create("agent4", 5004)["session"]
        # The first call binds or not depending on which came first; what may not happen is that a packet reaches a session while two wait.
        stage.wait_for(lambda: self.drop("init_ambiguous") > 10 or s.get(first)["bound"], 10, "a decision")
        third, _, _ = calls.place(s, "agent4", self.said, 18922, 5004, 22, "--duration-s", 60, name="two")
        waiting = [u for u in (first, second, third) if not s.get(u)["bound"]]
        if len(waiting) >= 2:
            before = self.drop("init_ambiguous")
            stage.wait_for(lambda: self.drop("init_ambiguous") > before + 20, 10, "ambiguous drops")
            self.assertEqual([u for u in waiting if s.get(u)["bound"]], [])
        # Signalling resolves it.
        s.control.call("session.update", session=third, remote={"address": s.CALLERS, "port": 18922})
        bound = self.wait_bound(third)
        self.assertEqual((bound["port"], bound["ssrc"]), (18922, 22))

    def test_new_ssrc_from_the_bound_address_relocks(self):
        s = self.scene
        self.start()
        session, caller, call = calls.place(s, "admin2", self.said, 18920, 18920, 1000, "--duration-s", 5, "--ssrc-change-at-ms", 2000,
                                            "--ssrc-change-to", 2000)
        stage.wait_for(lambda: self.bound_ssrc(session) == 2000, 10, "the second lock")
        calls.finish(s, caller, call)
        self.assertEqual([(lock["verb"], int(lock["ssrc"])) for lock in s.locks(session)], [("Locked", 1000), ("Re-locked", 2000)])
        self.assertEqual(call.switches, 0)
        self.assertEqual(call.report["sequence_gaps"], 0)

    def test_hold_and_resume_with_a_new_ssrc(self):
        s = self.scene
        self.start()
        session, caller, call = calls.place(s, "admin2", self.said, 18920, 18920, 1000, "--duration-s", 6, "--ssrc-change-at-ms", 3000)
        self.wait_bound(session)
        s.control.call("session.update", session=session, hold=True)
        stage.wait_for(lambda: self.drop("held") > 20, 10, "held packets")
        stage.wait_for(lambda: self.bound_ssrc(session) == 1001, 10, "the new SSRC")
        s.control.call("session.update", session=session, hold=False)
        calls.finish(s, caller, call)
        self.assertEqual(call.switches, 0)
        self.assertEqual(call.report["sequence_gaps"], 0)

    def test_update_moves_the_remote_port(self):
        s = self.scene
        self.start()
        session, caller, call = calls.place(s, "admin2", self.said, 18920, 18920, 1000, "--duration-s", 6, "--rebind-at-ms", 1500,
                                            "--rebind-port", 18924)
        self.wait_bound(session)
        # The new port is a wrong source until signalling says so.
        stage.wait_for(lambda: self.drop("ssrc_wrong_source") > 10, 10, "the refusal")
        self.assertEqual(s.get(session)["bound"]["port"], 18920)
        s.control.call("session.update", session=session, remote={"address": s.CALLERS, "port": 18924})
        stage.wait_for(lambda: (s.get(session)["bound"] or {}).get("port") == 18924, 10, "the move")
        calls.finish(s, caller, call)
        self.assertEqual(call.switches, 1)
        self.assertEqual(call.report["lost"], 0)
        self.assertEqual(call.report["sequence_gaps"], 0)

    def test_foreign_address_reaches_nobody(self):
        s = self.scene
        self.start()
        stage.run("ip", "-n", s.lan, "address", "add", "10.77.0.66/24", "dev", s.tap)
        session = s.create("admin2", 5004)["session"]
        stranger = s.start_caller("stranger", 18920, {"address": s.PLANE, "port": 5004}, "--wav", self.said, "--duration-s", 2, address="10.77.0.66")
        report = s.report(stranger)
        self.assertEqual(report["received"], 0)
        self.assertGreater(report["sent"], 20)
        stage.wait_for(lambda: self.drop("source_unknown") >= 0.9 * report["sent"], 2, "the stranger's packets to be refused")
        self.assertFalse(s.get(session)["bound"])

    def check_call(self, address, mode):
        """One call from create to delete; returns the session's local port."""
        s = self.scene
        trunk = {"name": "gate-voip", "sources": [f"{s.CALLERS}/32", f"{s.CALLERS6}/128"], "port_mode": mode}
        self.start(trunks=[trunk])
        session, caller, call = calls.place(s, "admin2", self.said, 18920, 5004, 77, "--pause-ms", 4000, "--start-delay-ms", 1000, address=address)
        calls.finish(s, caller, call)
        self.assertGreater(call.report["received"], 200)
        self.assertEqual((call.report["foreign"], call.report["sequence_gaps"], call.switches), (0, 0, 0))
        self.assertEqual([(lock["address"], int(lock["port"])) for lock in s.locks(session)], [(address, 18920)])
        self.assertGreater(len(call.report["heard"]), 0, "no answer was heard")
        key = s.stats()["keys"]["admin2"]
        self.assertGreater(key["audio_ms"], 2500)
        local = s.get(session)["local"]["port"]
        s.control.call("session.delete", session=session)
        self.assertEqual(s.control.call("session.list")["sessions"], [])
        return local

    def test_ipv6_call(self):
        self.assertEqual(self.check_call(self.scene.CALLERS6, "shared"), 5004)

    def test_dedicated_port_call(self):
        self.assertIn(self.check_call(self.scene.CALLERS, "dedicated"), range(20000, 20100, 2))

    def test_two_dedicated_calls_with_unknown_ports_are_not_ambiguous(self):
        s = self.scene
        self.start(trunks=[{"name": "gate-voip", "sources": [f"{s.CALLERS}/32"], "port_mode": "dedicated"}])
        one, _, _ = calls.place(s, "admin2", self.said, 18920, 5004, 5, "--duration-s", 60, name="one")
        two, _, _ = calls.place(s, "agent4", self.said, 18922, 5004, 5, "--duration-s", 60, name="two")
        self.assertEqual([self.wait_bound(u)["port"] for u in (one, two)], [18920, 18922])
        self.assertEqual(self.drop("init_ambiguous"), 0)


if __name__ == "__main__":
    main()
