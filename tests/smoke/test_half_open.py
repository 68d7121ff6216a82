#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A question into a connection that is dead and looks alive: nothing is heard of the service any more, nothing is refused. It is noticed soon, and every word of the
caller is with the model all the same, or the call says how much of it is lost."""

import re
import time
import urllib.parse

import calls
import test_conversation as words
from harness import SmokeCase, main, measured, no_crossing, scene, stage

TURNS, CYCLE_MS, BROKEN = 3, 15000, 2  # the second question goes into the dead connection
NOTICED_S, FROZEN_S = 9.5, 18.0        # of the end of the question, with its 0.5 s until it counts as one


def mend(path):
    """The service's end of the dead connection is stuck, so the header of its recording says nothing of how long it is."""
    data = bytearray(path.read_bytes())
    begin = data.index(b"data") + 8
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    data[begin - 4:begin] = (len(data) - begin).to_bytes(4, "little")
    path.write_bytes(data)
    return path


class HalfOpen(SmokeCase):
    def test_words_over_a_half_open_socket(self):
        self.break_connection("half-open", NOTICED_S)

    def test_words_over_a_frozen_service(self):
        """Whatever is sent is acknowledged, as by a proxy: only the service's silence tells, and the question is said again all the same."""
        self.break_connection("freeze", FROZEN_S)

    def break_connection(self, how, noticed_s):
        s, cycle_ms = self.scene, CYCLE_MS if how == "half-open" else 22000
        questions = [[(turn * words.PHRASE + n) % len(words.WORDS) for n in range(words.PHRASE)] for turn in range(TURNS)]
        said = words.write_speech(s.path("said.wav"), 8000, questions, cycle_ms)
        answer = words.write_speech(s.path("answer.wav"), 24000, [[100, 101, 102]])
        s.start_emulator([scene.User("u1", answers=[answer])], "--think-ms", 300, "--verbose")
        s.start_plane()
        s.start_worker("worker-1", [scene.User("u1", answers=[answer])])
        subscriber = s.rpc()
        subscriber.call("events.subscribe", events=["session.resumed", "session.closed", "session.turn"])
        _, caller, call = calls.place(s, "u1", said, 18920, 18920, 77, "--start-delay-ms", 1500, "--pause-ms", 1500)

        def events(name):
            return [event["params"] for event in subscriber.poll_events() if event["method"] == name]
        stage.wait_for(lambda: len([turn for turn in events("session.turn") if turn["turn"].get("spoken_ms")]) >= BROKEN - 1, 30, "an answer")
        stage.http_get_json(s.core, f"http://127.0.0.1:{s.stats_port}/control?{urllib.parse.quote(f'now={how}', safe='=')}")
        broken = time.monotonic()
        stage.wait_for(lambda: events("session.closed"), 40, "the dead connection is noticed")
        noticed = time.monotonic()
        stage.wait_for(lambda: events("session.resumed"), 20, "another connection")
        back = time.monotonic()
        call = calls.finish(s, caller, call, TURNS * cycle_ms // 1000 + 30)
        resumed = events("session.resumed")
        begun_s = call.report["clock"]["start_us"] / 1e6
        spoken = words.words_in(call.recording, 0)
        asked = begun_s + (spoken[BROKEN * words.PHRASE - 1][2] + words.WORD_MS) / 1000
        files = sorted(s.heard_directory.glob("u1-*.wav"), key=lambda path: int(re.search(r"-(\d+)\.wav", path.name).group(1)))
        heard = [word for path in files for word in words.words_in(mend(path))]
        missing, extra, shortened = words.compare(spoken, heard)
        measured(f"{how} {asked - broken:.1f} s before the end of a question: noticed {noticed - asked:.1f} s after it, another session {back - asked:.1f} s after it; "
                 f"{len(spoken)} words said, {len(missing)} not heard by the model, {len(extra)} twice, {len(shortened)} shortened; told: {resumed}")
        self.assertEqual(len(spoken), TURNS * words.PHRASE)
        self.assertEqual((missing, extra, shortened), ([], [], []))
        self.assertEqual([(event["how"] in ("resumed", "reseeded"), event["discarded_ms"]) for event in resumed], [(True, 0)])
        self.assertLess(noticed - asked, noticed_s)
        # It counts from when the service was heard last, or from when what is said again began.
        self.assertGreater(resumed[0]["gap_ms"], (back - asked) * 1000 - 500)
        no_crossing(call.report["foreign"] == 0, f"{call.report['foreign']} foreign packets")
        self.assertEqual((call.report["sequence_gaps"], call.report["lost"], call.report["timestamp_discontinuities"]), (0, 0, 0))


if __name__ == "__main__":
    main(second_try=True)
