#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Call records: what a call's record says against what its events said, a worker and the data plane killed in mid-call, and rotation under load."""

import datetime
import json
import os
import signal
import time

import calls
import fake_worker
from harness import SmokeCase, main, measured, scene, stage


def read_lines(*paths):
    """Every line of the files, parsed; a line that is no JSON is an error."""
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


class Records(SmokeCase):
    def start_plane(self, **records):
        s = self.scene
        self.file, self.journal = s.path("calls.jsonl"), s.path("journal")
        # An ended session rests for a second, and a busy machine makes several hundred in one.
        return s.start_plane(s.configuration(records={"path": str(self.file), "journal": str(self.journal), **records}, sessions={"max": 2048, "quarantine_s": 2}))

    def record_of(self, session, *paths):
        found = [r for r in read_lines(*(paths or (self.file,))) if r["session"] == session]
        self.assertEqual(len(found), 1, found)
        return found[0]

    def wait_record(self, session):
        stage.wait_for(lambda: self.file.exists() and session in self.file.read_text(), 5, f"the record of {session}")
        return self.record_of(session)

    def talk(self, people, seconds, *options):
        s = self.scene
        said = scene.speech(s, "said.wav", scene.BOOK[1])
        return calls.place(s, people[0].name, said, 18920, 18920, 7, "--repeat", 0, "--pause-ms", 4000, "--start-delay-ms", 1000,
                           "--duration-s", seconds, *options)

    def test_a_record_says_what_the_events_said(self):
        s = self.scene
        people = [scene.User("admin2", answer_texts=["The library opens at nine."], transcripts=["When does the library open?"])]
        s.start_emulator(people, "--answer-ms", 1500)
        self.start_plane()
        s.start_worker("worker-1", people)
        listener = s.rpc()
        listener.call("events.subscribe")
        session, caller, call = self.talk(people, 20)
        calls.finish(s, caller, call)
        described = s.get(session)
        s.control.call("session.delete", session=session)
        record = self.wait_record(session)
        stage.wait_for(lambda: any(e["method"] == "session.ended" for e in listener.poll_events()), 5, "session.ended")
        events = [(e["method"], e["params"]) for e in listener.events]
        listener.close()

        for name in ("user", "trunk", "codec", "local", "remote", "bound", "address_switches"):
            self.assertEqual(record[name], described[name], name)
        self.assertEqual((record["record"], record["version"], record["node"], record["end"]), ("call", 1, "stage", "deleted"))
        self.assertEqual(record["workers"], ["worker-1"])
        self.assertEqual(record["receive"]["packets"], described["receive"]["packets"])
        self.assertGreaterEqual(record["send"]["packets"], described["send"]["packets"])
        self.assertFalse(record["truncated"])
        self.assertEqual(record["gaps"], [])
        final = [(p["side"], p["text"]) for name, p in events if name == "session.transcript" and p["final"]]
        self.assertGreaterEqual(len(final), 2)
        self.assertEqual([(t["side"], t["text"]) for t in record["turns"]][:len(final)], final)
        self.compare_with_the_callers_ears(record, call.report)
        turns = [p["turn"] for name, p in events if name == "session.turn"]
        self.assertGreaterEqual(len(turns), 2)
        answers = [t for t in record["turns"] if t["side"] == "model"]
        for told, kept in zip(turns, answers):
            self.assertEqual((told["model_from_ms"], told["model_to_ms"], told.get("response_ms"), told["interrupted"]),
                             (kept["from_ms"], kept["to_ms"], kept["response_ms"], kept["interrupted"]))
        usage = [p["usage"] for name, p in events if name == "session.usage"]
        self.assertEqual(record["usage"]["reports"], len(usage))
        self.assertEqual(record["usage"]["total"], sum(u["totalTokenCount"] for u in usage))
        self.assertEqual(record["interruptions"], sum(name == "session.interrupted" for name, _ in events))
        for name, params in events:
            if name in ("session.transcript", "session.usage", "session.turn", "session.state"):
                self.assertIn("at_ms", params, name)
        self.assertNotIn(people[0].key, self.file.read_text())
        self.assertEqual(os.stat(self.file).st_mode & 0o7777, 0o640)
        self.assertEqual(list(self.journal.iterdir()), [])
        measured(f"record of a call with {len(record['turns'])} turns: {len(json.dumps(record))} bytes")

    def compare_with_the_callers_ears(self, record, report):
        """Turns against the stretches of sound that the caller sent and heard, on one clock."""
        created = datetime.datetime.fromisoformat(record["created"].replace("Z", "+00:00")).timestamp() * 1e3
        zero = created - report["clock"]["realtime_offset_us"] / 1e3
        heard = [(span["start_us"] / 1e3 - zero, span["end_us"] / 1e3 - zero) for span in report["heard"]]
        spoke = [(span["start_us"] / 1e3 - zero, span["end_us"] / 1e3 - zero) for span in report["spoke"]]
        measured(f"turns {[(t['side'], t['from_ms'], t['to_ms'], t.get('response_ms')) for t in record['turns']]}")
        measured(f"spoke {[tuple(map(round, s)) for s in spoke]} heard {[tuple(map(round, s)) for s in heard]}")
        compared = 0
        for turn in record["turns"]:
            if turn["side"] != "model" or turn["response_ms"] is None:
                continue
            begin = min((start for start, _ in heard), key=lambda start: abs(start - turn["from_ms"]))
            asked = max((end for _, end in spoke if end < begin), default=None)
            self.assertLess(abs(begin - turn["from_ms"]), 120, turn)
            self.assertLess(abs(begin - asked - turn["response_ms"]), 250, turn)
            compared += 1
        self.assertGreaterEqual(compared, 2)

    def test_a_killed_worker_loses_nothing_it_reported(self):
        s = self.scene
        people = [scene.User("admin2", answer_texts=["One."], transcripts=["Two?"])]
        s.start_emulator(people, "--answer-ms", 1500)
        self.start_plane()
        victim = s.start_worker("worker-1", people)
        session, caller, call = self.talk(people, 25)
        stage.wait_for(lambda: s.get(session)["transcript"]["model"], 20, "the first answer")
        victim.expected_to_die = True
        victim.kill(signal.SIGKILL)
        victim.wait(5)
        stage.wait_for(lambda: s.get(session)["state"] == "no-worker", 5, "the data plane to notice")
        s.start_worker("worker-2", people)
        s.wait_state(session, ("ready", "talking"))
        calls.finish(s, caller, call)
        s.control.call("session.delete", session=session)
        record = self.wait_record(session)
        self.assertEqual(record["workers"], ["worker-1", "worker-2"])
        self.assertEqual([gap["how"] for gap in record["gaps"]], ["fresh"])
        self.assertIn("worker-1", record["gaps"][0]["reason"])
        self.assertGreater(record["gaps"][0]["ms"], 0)
        self.assertIn("Two?", [turn["text"] for turn in record["turns"] if turn["side"] == "caller"])

    def test_gaps_and_interruptions_are_those_of_the_events(self):
        s = self.scene
        people = [scene.User("admin2", answer_texts=["A long answer that is cut off."], transcripts=["Go on?"])]
        s.start_emulator(people, "--answer-ms", 3000, "--lifetime-ms", 9000, "--go-away-ms", 4000, "--interrupt-every-ms", 700)
        self.start_plane()
        s.start_worker("worker-1", people)
        listener = s.rpc()
        listener.call("events.subscribe")
        session, caller, call = self.talk(people, 24)
        calls.finish(s, caller, call)
        s.control.call("session.delete", session=session)
        record = self.wait_record(session)
        stage.wait_for(lambda: any(e["method"] == "session.ended" for e in listener.poll_events()), 5, "session.ended")
        resumed = [e["params"] for e in listener.events if e["method"] == "session.resumed"]
        listener.close()
        self.assertGreaterEqual(len(resumed), 1)
        over = [(gap["ms"], gap["how"]) for gap in record["gaps"] if gap["how"] != "never"]  # the call may end within one
        self.assertEqual(over, [(r["gap_ms"], r["how"]) for r in resumed])
        self.assertLessEqual(len(record["gaps"]), len(resumed) + 1)
        for gap, told in zip(record["gaps"], resumed):
            self.assertLess(abs(gap["at_ms"] + gap["ms"] - told["at_ms"]), 200)
        for name, member in (("session.interrupted", "interruptions"), ("session.phantom_interruption", "phantom_interruptions")):
            self.assertEqual(record[member], sum(e["method"] == name for e in listener.events), name)
        self.assertGreaterEqual(record["phantom_interruptions"], 1)
        told = [e["params"]["turn"]["interrupted"] for e in listener.events if e["method"] == "session.turn"]
        self.assertEqual(sum(turn.get("interrupted", False) for turn in record["turns"]), sum(told), (told, record["turns"]))
        measured(f"gaps {record['gaps']}, {record['interruptions']} interruptions, {record['phantom_interruptions']} by nobody")

    def test_calls_of_a_killed_data_plane_are_lost_but_not_forgotten(self):
        s = self.scene
        people = [scene.User("admin2", answer_texts=["One."], transcripts=["Two?"])]
        s.start_emulator(people, "--answer-ms", 1500)
        first = self.start_plane()
        s.start_worker("worker-1", people)
        session, caller, _ = self.talk(people, 60)
        ended = s.create("admin2", 18930)["session"]
        s.control.call("session.delete", session=ended)
        self.wait_record(ended)
        stage.wait_for(lambda: s.get(session)["transcript"]["model"], 20, "the first answer")
        bound = s.get(session)["bound"]
        first.expected_to_die = True
        first.kill(signal.SIGKILL)
        first.wait(5)
        caller.stop()
        self.assertNotIn(session, self.file.read_text())
        self.start_plane()
        record = self.wait_record(session)
        self.assertEqual((record["end"], record["receive"], record["workers"]), ("lost", None, ["worker-1"]))
        self.assertEqual(record["bound"], bound)
        self.assertIn("Two?", [turn["text"] for turn in record["turns"]])
        self.assertGreater(record["duration_ms"], 1000)
        self.record_of(ended)
        self.assertEqual(list(self.journal.iterdir()), [])
        self.assertEqual(stage.telemetry(s.prefix, "/voxlane/info")["records_recovered"], 1)

    def churn(self, worker, count, name=None):
        """Create and end calls, 200 a second; returns their UUIDs."""
        s, sessions, begin = self.scene, [], time.monotonic()
        for i in range(count):
            session = s.create("admin2", 20000 + 2 * (i % 5000))["session"]
            worker.pump()
            worker.say(transcript={"session": session, "side": "caller", "text": "word " * (i % 400), "final": True})
            s.control.call("session.delete", session=session)
            sessions.append(session)
            time.sleep(max(0, begin + (i + 1) / 200 - time.monotonic()))
            if name is not None and i % 50 == 49:
                os.rename(self.file, s.path(f"{name}.{i}"))
        measured(f"{count} calls ended in {time.monotonic() - begin:.1f} s")
        return sessions

    def test_rotation_under_load_loses_and_splits_nothing(self):
        s = self.scene
        self.start_plane(max_mb=1)
        worker = fake_worker.FakeWorker(s.path("worker.sock"), "fake", ["admin2"], 1000)
        self.addCleanup(worker.close)
        s.wait_worker("fake")
        sessions = self.churn(worker, 1000)
        self.assertGreater(len(list(s.directory.glob("calls.jsonl-*"))), 0)
        sessions += self.churn(worker, 500, "moved")
        stage.wait_for(lambda: stage.telemetry(s.prefix, "/voxlane/info")["records_written"] == len(sessions), 10, "every record")
        files = [*s.directory.glob("calls.jsonl*"), *s.directory.glob("moved.*")]
        self.assertGreater(len(files), 10)
        self.assertEqual(sorted(r["session"] for r in read_lines(*files)), sorted(sessions))
        info = stage.telemetry(s.prefix, "/voxlane/info")
        self.assertEqual((info["records_lost"], info["records_torn"], info["records_journal_errors"]), (0, 0, 0))
        measured(f"longest turn of the control thread {info['control_longest_turn_us']} us, longest sync {info['records_sync_longest_us']} us")

    def test_kills_under_load_lose_and_double_nothing(self):
        s = self.scene
        sessions = []
        for _ in range(4):
            plane = self.start_plane()
            worker = fake_worker.FakeWorker(s.path("worker.sock"), "fake", ["admin2"], 1000)
            s.wait_worker("fake")
            sessions += self.churn(worker, 150)
            up = [s.create("admin2", 15000 + 2 * i)["session"] for i in range(20)]
            sessions += up
            plane.expected_to_die = True
            plane.kill(signal.SIGKILL)
            plane.wait(5)
            worker.close()
        self.start_plane()
        stage.wait_for(lambda: len(read_lines(self.file)) >= len(sessions), 10, "every record")
        records = read_lines(self.file)
        self.assertEqual(sorted(r["session"] for r in records), sorted(sessions))
        self.assertEqual(sum(r["end"] == "lost" for r in records), 80)


if __name__ == "__main__":
    main(second_try=True)
