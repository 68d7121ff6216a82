#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Functions of the model through the real programs: carried out by the platform on the control socket, the end of a call behind its goodbye, keys both ways."""

import json
import pathlib
import sys

import calls
from harness import SmokeCase, main, measured, scene, stage

PHONE = pathlib.Path(__file__).with_name("dtmf_phone.py")
WEATHER = {"name": "weather", "description": "Tells the weather.",
           "parameters": {"type": "OBJECT", "properties": {"why": {"type": "STRING"}}, "required": ["why"]}}


class Tools(SmokeCase):
    def events(self, name):
        return [e["params"] for e in self.scene.control.poll_events() if e["method"] == name]

    def begin(self, tool, *options):
        """A call whose model calls `tool` in its first turn."""
        s = self.scene
        self.answer = stage.write_tone(s.path("answer.wav"), 700, 3)
        people = [scene.User("admin2", answers=[self.answer], tools=[tool])]
        s.start_emulator(people, "--strict-tool-ids", "--tool-call", tool["name"], *options)
        s.start_plane()
        s.control.call("events.subscribe")
        s.start_worker("worker-1", people)
        said = stage.write_tone(s.path("said.wav"), 300, 1, rate=8000)
        session, caller, _ = calls.place(s, "admin2", said, 18920, 18920, 1234567, "--start-delay-ms", 1500, "--pause-ms", 20000, "--duration-s", 14)
        return session, caller

    def refused(self, method, **params):
        with self.assertRaises(stage.Rpc.Error) as caught:
            self.scene.control.call(method, **params)
        return caught.exception.error["code"]

    def test_platform_answers(self):
        session, caller = self.begin(WEATHER)
        asked = stage.wait_for(lambda: self.events("session.tool_call"), 12, "session.tool_call")[0]
        self.assertEqual((asked["session"], asked["user"], asked["call"]["name"]), (session, "admin2", "weather"))
        self.assertEqual(asked["call"]["args"], {"why": "done"})
        identifier = asked["call"]["id"]
        self.assertEqual(self.refused("tool.result", session=session, id="other", result={}), -32001)
        self.assertEqual(self.refused("tool.result", session=session, id=identifier), -32602)
        self.assertEqual(self.refused("tool.result", session=session, id=identifier, result={"x": "y" * 9000}), -32602)
        self.assertTrue(self.scene.control.call("tool.result", session=session, id=identifier, result={"sun": True}))
        self.assertEqual(self.refused("tool.result", session=session, id=identifier, result={}), -32002)
        stage.wait_for(lambda: self.scene.stats()["keys"]["admin2"]["tool_responses"] == 1, 3, "the emulator's toolResponse")
        report = self.scene.report(caller)
        self.assertEqual(len(self.events("session.tool_call")), 1)
        self.assertTrue(report["heard"], "no answer behind the function")

    def test_no_answer_in_time(self):
        session, caller = self.begin({**WEATHER, "timeout_s": 1})
        asked = stage.wait_for(lambda: self.events("session.tool_call"), 12, "session.tool_call")[0]
        expired = stage.wait_for(lambda: self.events("session.tool_expired"), 4, "session.tool_expired")[0]
        self.assertEqual(expired["id"], asked["call"]["id"])
        self.assertEqual(self.refused("tool.result", session=session, id=expired["id"], result={}), -32002)
        stage.wait_for(lambda: self.scene.stats()["keys"]["admin2"]["tool_responses"] == 1, 3, "the emulator's toolResponse")
        self.assertTrue(self.scene.report(caller)["heard"])

    def test_answer_behind_a_resume(self):
        """The connection changes while the function is carried out: its result reaches the model on the new one, under the old id."""
        session, caller = self.begin({**WEATHER, "timeout_s": 30}, "--lifetime-ms", 9000, "--go-away-ms", 3000)
        asked = stage.wait_for(lambda: self.events("session.tool_call"), 12, "session.tool_call")[0]
        resumed = stage.wait_for(lambda: self.events("session.resumed"), 10, "session.resumed")[0]
        self.assertEqual(resumed["how"], "resumed")
        self.assertEqual(self.scene.stats()["keys"]["admin2"]["tool_responses"], 0)
        self.scene.control.call("tool.result", session=session, id=asked["call"]["id"], result={"sun": True})
        # With --strict-tool-ids another id would not count.
        stage.wait_for(lambda: self.scene.stats()["keys"]["admin2"]["tool_responses"] == 1, 3, "the emulator's toolResponse")
        self.assertTrue(self.scene.report(caller)["heard"])
        self.assertEqual(len(self.events("session.tool_call")), 1)

    def test_call_ends_behind_the_goodbye(self):
        session, caller = self.begin({"name": "end_call"})
        ended = stage.wait_for(lambda: self.events("session.ended"), 14, "session.ended")[0]
        self.assertEqual((ended["session"], ended["reason"]), (session, "the model ended the call"))
        report = self.scene.report(caller)
        heard_ms = sum(h["end_us"] - h["start_us"] for h in report["heard"]) / 1000
        measured(f"goodbye of 3000 ms: {heard_ms:.0f} ms heard before the call ended")
        self.assertGreaterEqual(heard_ms, 2940)
        self.assertEqual(self.refused("session.get", session=session), -32001)

    def test_transfer(self):
        """The platform hears where to; what came of it reaches the model, which tells the caller."""
        session, caller = self.begin({"name": "transfer_call"}, "--tool-args", json.dumps({"destination": "sip:desk@example.com"}))
        asked = stage.wait_for(lambda: self.events("session.transfer_requested"), 12, "session.transfer_requested")[0]
        self.assertEqual((asked["session"], asked["user"], asked["destination"]), (session, "admin2", "sip:desk@example.com"))
        self.assertTrue(self.scene.control.call("tool.result", session=session, id=asked["id"], error="the desk does not answer"))
        self.assertEqual(self.refused("tool.result", session=session, id=asked["id"], result={}), -32002)
        stage.wait_for(lambda: self.scene.stats()["keys"]["admin2"]["tool_responses"] == 1, 3, "the emulator's toolResponse")
        report = self.scene.report(caller)
        self.assertTrue(report["heard"], "no answer behind the transfer")
        self.assertEqual((report["sequence_gaps"], report["lost"]), (0, 0))
        self.assertEqual(len(self.events("session.transfer_requested")), 1)
        self.assertEqual(self.events("session.tool_call"), [])
        self.assertIn(self.scene.get(session)["state"], ("ready", "talking"))

    def test_transfer_to_nowhere(self):
        """Wrong arguments never reach the platform; the model is told."""
        _, caller = self.begin({"name": "transfer_call"})
        stage.wait_for(lambda: self.scene.stats()["keys"]["admin2"]["tool_responses"] == 1, 12, "the emulator's toolResponse")
        self.assertTrue(self.scene.report(caller)["heard"])
        self.assertEqual(self.events("session.transfer_requested"), [])

    def test_hold(self):
        """The model wants the caller on hold: the platform does it, the model hears nothing of him meanwhile, and he comes back."""
        s = self.scene
        session, caller = self.begin({"name": "hold"}, "--tool-args", json.dumps({"on": True}))
        asked = stage.wait_for(lambda: self.events("session.hold_requested"), 12, "session.hold_requested")[0]
        self.assertEqual((asked["session"], asked["user"], asked["hold"]), (session, "admin2", True))
        self.assertTrue(s.control.call("session.update", session=session, hold=True)["held"])
        s.control.call("tool.result", session=session, id=asked["id"], result={"held": True})
        stage.wait_for(lambda: s.stats()["keys"]["admin2"]["tool_responses"] == 1, 3, "the emulator's toolResponse")
        before = s.get(session)["receive"]
        stage.wait_for(lambda: s.get(session)["receive"]["dropped"] > before["dropped"] + 50, 4, "the caller's packets to stay behind")
        self.assertFalse(s.control.call("session.update", session=session, hold=False)["held"])
        back = s.get(session)["receive"]
        stage.wait_for(lambda: s.get(session)["receive"]["packets"] > back["packets"] + 25, 4, "the caller's packets to come")
        self.assertLess(s.get(session)["receive"]["dropped"], back["dropped"] + 5)
        report = s.report(caller)
        # What was to be said was said, and the stream never paused.
        self.assertTrue(report["heard"], "no answer behind the hold")
        self.assertEqual((report["sequence_gaps"], report["lost"], report["timestamp_discontinuities"]), (0, 0, 0))
        self.assertEqual(len(self.events("session.hold_requested")), 1)

    def test_keys_both_ways(self):
        s = self.scene
        people = [scene.User("admin2", tools=[{"name": "send_dtmf"}])]
        s.start_emulator(people)
        s.start_plane()
        s.control.call("events.subscribe")
        s.start_worker("worker-1", people)
        reply = s.create("admin2", 18920, event_payload_type=101)
        session, local = reply["session"], reply["local"]
        with open(s.path("phone.json"), "wb") as file:
            phone = s.start("phone", sys.executable, PHONE, "--bind", f"{s.CALLERS}:18920", "--to", f"{local['address']}:{local['port']}", "--ssrc", 1234567,
                            "--keys", "12#", "--seconds", 9, namespace=s.lan, stdout=file)
        stage.wait_for(lambda: self.events("session.bound"), 5, "session.bound")
        stage.wait_for(lambda: len(self.events("session.dtmf")) == 3, 8, "three keys")
        self.assertEqual([(e["session"], e["digit"], e["duration_ms"]) for e in self.events("session.dtmf")],
                         [(session, "1", 100), (session, "2", 100), (session, "#", 100)])
        stage.wait_for(lambda: s.stats()["keys"]["admin2"]["texts"] == 1, 3, "one text for the model")
        self.assertEqual(self.refused("session.send_dtmf", session=session, digits="1x"), -32602)
        self.assertTrue(s.control.call("session.send_dtmf", session=session, digits="90*"))
        self.assertEqual(phone.wait(20), 0)
        heard = json.loads(s.path("phone.json").read_text(encoding="utf-8"))
        keys = {}
        for event in heard["events"]:
            keys.setdefault(event["timestamp"], []).append(event)
        self.assertEqual("".join(k[0]["key"] for k in keys.values()), "90*")
        for key in keys.values():
            self.assertEqual([e["duration"] for e in key], [160, 320, 480, 640, 800, 800, 800])
            self.assertEqual([e["end"] for e in key], [False] * 4 + [True] * 3)
            self.assertEqual([e["marker"] for e in key], [True] + [False] * 6)
        self.assertEqual(heard["sequence_gaps"], 0)
        plain = s.create("admin2", 18930)["session"]
        self.assertEqual(self.refused("session.send_dtmf", session=plain, digits="1"), -32002)

    def test_keys_before_a_lost_connection(self):
        """The connection goes before the model has said anything about the keys: it is told of them once more, and the platform is not."""
        s = self.scene
        people = [scene.User("admin2")]
        s.start_emulator(people, "--text-ms", 5000)
        s.start_plane()
        s.control.call("events.subscribe")
        s.start_worker("worker-1", people)
        local = s.create("admin2", 18920, event_payload_type=101)["local"]
        phone = s.start("phone", sys.executable, PHONE, "--bind", f"{s.CALLERS}:18920", "--to", f"{local['address']}:{local['port']}", "--ssrc", 1234567,
                        "--keys", "12#", "--seconds", 12, namespace=s.lan)
        stage.wait_for(lambda: s.stats()["keys"]["admin2"]["texts"] == 1, 12, "one text for the model")
        stage.http_get_json(s.core, f"http://127.0.0.1:{s.stats_port}/control?now=tcp-reset")
        self.assertEqual(stage.wait_for(lambda: self.events("session.resumed"), 8, "session.resumed")[0]["how"], "resumed")
        stage.wait_for(lambda: s.stats()["keys"]["admin2"]["texts"] == 2, 3, "the same keys, told again")
        self.assertEqual(phone.wait(20), 0)
        stats = s.stats()["keys"]["admin2"]
        self.assertEqual((stats["texts"], stats["newest_text"]), (2, "Caller pressed 1 2 # before the connection was lost."))
        self.assertEqual([e["digit"] for e in self.events("session.dtmf")], ["1", "2", "#"])


if __name__ == "__main__":
    main(second_try=True)
