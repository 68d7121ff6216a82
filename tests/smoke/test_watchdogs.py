#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the worker notices by itself, over real programs: a model that stays mute, an interruption by nobody, a voice that the service does not hear, and the model's own
voice that comes back from the phone."""

import json
import time

import calls
from harness import SmokeCase, main, measured, scene, stage

ANSWER_S = 5


class Watchdogs(SmokeCase):
    def control(self, query):
        stage.http_get_json(self.scene.core, f"http://127.0.0.1:{self.scene.stats_port}/control?{query}")

    def begin(self, *options, barge_in="server", caller=(), seconds=16):
        s = self.scene
        said, answer = stage.write_tone(s.path("said.wav"), 300, 1.2), stage.write_tone(s.path("answer.wav"), 440, ANSWER_S)
        people = [scene.User("admin2", answers=[answer], barge_in=barge_in)]
        self.records = s.path("calls.jsonl")
        s.start_emulator(people, "--think-ms", 100, *options)
        s.start_plane(s.configuration(records={"path": str(self.records), "journal": str(s.path("journal"))}))
        s.control.call("events.subscribe")
        s.start_worker("worker", people)
        session, phone, _ = calls.place(s, "admin2", said, 18920, 18920, 77, "--start-delay-ms", 1500, "--pause-ms", 60000, "--duration-s", seconds, *caller)
        return session, phone

    def events(self, name):
        return [e["params"] for e in self.scene.control.poll_events() if e["method"] == name]

    def wait_event(self, name, seconds):
        return stage.wait_for(lambda: self.events(name), seconds, name)[0]

    def worker(self):
        return stage.telemetry(self.scene.prefix, "/voxlane/worker/list,worker")

    def texts(self):
        return self.scene.stats()["keys"]["admin2"]["texts"]

    def heard_ms(self, report):
        return [(span["end_us"] - span["start_us"]) / 1000 + 20 for span in report["heard"]]

    def assert_unbroken(self, report):
        self.assertEqual((report["sequence_gaps"], report["lost"], report["timestamp_discontinuities"], report["foreign"]), (0, 0, 0, 0))

    def test_mute_model(self):
        """Reminded, another connection, another session; then the platform hears of it, and the record says so."""
        session, phone = self.begin("--mute", seconds=46)
        stage.wait_for(lambda: self.texts() == 1, 16, "the reminder")
        given_up = self.wait_event("session.no_answer", 40)
        measured(f"mute model: given up {given_up['waited_ms']} ms behind the question")
        self.assertEqual(given_up["session"], session)
        self.assertTrue(24000 <= given_up["waited_ms"] <= 40000, given_up)
        self.assertEqual([e["how"] for e in self.events("session.resumed")], ["resumed", "reseeded"])
        stage.wait_for(lambda: self.worker()["unanswered"] == 1, 3, "the worker's counter")
        self.assertIn(self.scene.get(session)["state"], ("ready", "talking"))
        scene.interrupt(phone)
        report = self.scene.report(phone)
        self.assertEqual(report["heard"], [])
        self.assert_unbroken(report)
        self.scene.control.call("session.delete", session=session)
        record = json.loads(stage.wait_for(lambda: self.records.exists() and self.records.read_text(), 5, "the record"))
        self.assertEqual((record["unanswered"], record["gap_count"]), (1, 2))
        self.assertEqual({gap["reason"] for gap in record["gaps"]}, {"no answer from the model in time"})

    def test_answer_that_stops_in_its_middle(self):
        """The connection lives, and half of the answer never comes: the model is reminded, or asked on another connection, and the caller hears an answer whole."""
        _, phone = self.begin("--stall-ms", 600000, seconds=45)
        stage.wait_for(lambda: self.worker()["down_frames"] >= ANSWER_S * 1000 / 20 / 2 - 5, 12, "half of the answer")
        begun = time.monotonic()
        self.control("stall-ms=0")
        stage.wait_for(lambda: self.texts() >= 1, 20, "the reminder")
        reminded = time.monotonic() - begun
        stage.wait_for(lambda: self.worker()["turns"] >= 1, 20, "an answer that is whole")
        answered = time.monotonic() - begun
        report = self.scene.report(phone)
        spans = self.heard_ms(report)
        measured(f"an answer that stops: reminded {reminded:.1f} s, another one whole {answered:.1f} s behind its middle; heard {[round(ms) for ms in spans]} ms of answers of {ANSWER_S} s")
        self.assertTrue(10 < reminded < 20, reminded)  # 13 s where nothing stands still
        self.assertEqual(len(spans), 2)
        self.assertLess(spans[0], ANSWER_S * 1000 / 2 + 100)
        self.assertGreater(spans[1], ANSWER_S * 1000 - 60)
        self.assert_unbroken(report)

    def test_phantom_interruption(self):
        """Nobody interrupted: counted, and the model is asked to go on."""
        _, phone = self.begin()
        self.wait_event("session.transcript", 12)
        stage.wait_for(lambda: self.worker()["down_frames"] > 60, 8, "the answer to be heard")
        # Two seconds behind the caller's voice, or it would be a late one of his own.
        stage.wait_for(lambda: self.worker()["down_frames"] > 150, 8, "the caller to have been silent")
        self.control("now=interrupt")
        self.wait_event("session.phantom_interruption", 3)
        stage.wait_for(lambda: self.texts() == 1, 5, "the model to be asked to go on")
        report = self.scene.report(phone)
        worker = self.worker()
        self.assertEqual((worker["phantoms"], worker["reminders"]), (1, 1))
        spans = self.heard_ms(report)
        measured(f"phantom interruption: heard {[round(ms) for ms in spans]} ms of answers of {ANSWER_S} s")
        self.assertEqual(len(spans), 2, "cut once, and asked again")
        self.assertGreater(spans[1], ANSWER_S * 1000 - 60)
        self.assert_unbroken(report)

    def deaf_during_the_answer(self, session):
        """The service has heard the question to its end (3.2 s), and begins its answer only at 5.7 s."""
        stage.wait_for(lambda: self.scene.get(session)["receive"]["packets"] > 190, 12, "the question to be over")
        self.control("deaf=1")

    def test_barge_in_that_the_service_denies(self):
        """The caller's voice stops the model at once; the service hears nobody, so it goes on from where it stopped and nothing is lost."""
        session, phone = self.begin("--think-ms", 2500, barge_in="local", caller=("--repeat", 2, "--talk-when-hearing-ms", 2000))
        self.deaf_during_the_answer(session)
        report = self.scene.report(phone)
        worker = self.worker()
        spans = self.heard_ms(report)
        measured(f"local barge-in denied by the service: {worker['local_pauses']} pauses, {worker['local_undone']} undone, heard {[round(ms) for ms in spans]} ms")
        self.assertGreaterEqual(worker["local_pauses"], 1)
        self.assertEqual(worker["local_undone"], worker["local_pauses"])
        self.assertEqual(worker["interruptions"], 0)
        self.assertGreaterEqual(len(spans), 2, "it never stopped")
        self.assertGreater(sum(spans), ANSWER_S * 1000 - 60)
        self.assert_unbroken(report)

    def test_echo_of_the_model(self):
        """The phone sends a fifth of what it plays back: the model is not stopped by its own voice."""
        session, phone = self.begin("--think-ms", 2500, barge_in="local", caller=("--echo", 20))
        self.deaf_during_the_answer(session)
        report = self.scene.report(phone)
        worker = self.worker()
        spans = self.heard_ms(report)
        measured(f"echo of 20 %: {worker['local_pauses']} pauses, {worker['local_undone']} undone, heard {[round(ms) for ms in spans]} ms")
        self.assertLessEqual(worker["local_pauses"], 1)  # one that teaches the guard is allowed
        self.assertEqual(worker["local_undone"], worker["local_pauses"])
        self.assertEqual(worker["interruptions"], 0)
        self.assertGreater(sum(spans), ANSWER_S * 1000 - 60)
        self.assertGreater(report["spoke"][-1]["end_us"], report["heard"][0]["start_us"] + 1000000, "there was no echo")
        self.assert_unbroken(report)


if __name__ == "__main__":
    main(second_try=True)
