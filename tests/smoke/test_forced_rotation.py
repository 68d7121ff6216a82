#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The service sends its client away at the worst moments: in the middle of the caller's sentence, and of the model's. Nobody pauses in time, so the connection is changed
while somebody speaks: every word of the caller is with the model, every word of the model with the caller, and his RTP knows nothing of it."""

import re
import time
import urllib.parse

import calls
import test_conversation as words
from harness import SmokeCase, main, measured, no_crossing, scene, stage

CYCLE_MS, LONG_WORDS, START_MS = 9000, 20, 1500
LEFT_MS = 6500  # told by goAway; the last safe moment is 5 s before the end
QUESTIONS = [list(range(words.PHRASE)), list(range(20, 20 + LONG_WORDS)), [], []]
ANSWERS = [list(range(100, 100 + words.PHRASE)), list(range(120, 120 + LONG_WORDS))]


def joined(heard):
    """A word through which a connection ended is in two recordings: its pieces are one word."""
    found = []
    for number, ms, start in heard:
        if found and found[-1][0] == number:
            found[-1] = (number, found[-1][1] + ms, found[-1][2])
        else:
            found.append((number, ms, start))
    return found


class ForcedRotation(SmokeCase):
    def send_away(self, begun, at_s):
        time.sleep(max(0.0, begun + at_s - time.monotonic()))
        stage.http_get_json(self.scene.core, f"http://127.0.0.1:{self.scene.stats_port}/control?{urllib.parse.quote(f'now=go-away:{LEFT_MS}', safe='=')}")

    def test_words_survive_a_rotation_in_speech(self):
        s = self.scene
        said = words.write_speech(s.path("said.wav"), 8000, QUESTIONS, CYCLE_MS)
        answers = [words.write_speech(s.path(f"answer-{n}.wav"), 24000, [answer]) for n, answer in enumerate(ANSWERS)]
        people = [scene.User("u1", answers=answers)]
        s.start_emulator(people, "--think-ms", 300, "--verbose")
        s.start_plane()
        s.start_worker("worker-1", people)
        subscriber = s.rpc()
        subscriber.call("events.subscribe", events=["session.resumed", "session.closed"])
        session, caller, call = calls.place(s, "u1", said, 18920, 18920, 77, "--start-delay-ms", START_MS, "--pause-ms", START_MS)
        begun, sentence_s = time.monotonic(), (START_MS + CYCLE_MS) / 1000
        spoken_s = LONG_WORDS * (words.WORD_MS + words.BREATH_MS) / 1000
        self.send_away(begun, sentence_s + 1.5)
        self.send_away(begun, sentence_s + spoken_s + 3.5)
        call = calls.finish(s, caller, call, len(QUESTIONS) * CYCLE_MS // 1000 + 30)
        events = [event["params"] for event in subscriber.poll_events()]
        s.control.call("session.delete", session=session)
        stage.wait_for(lambda: s.stats()["keys"]["u1"]["open"] == 0, 10, "the last recording to end")
        resumed = [event for event in events if event.get("how")]
        spoken = words.words_in(call.recording, 0)
        files = sorted(s.heard_directory.glob("u1-*.wav"), key=lambda path: int(re.search(r"-(\d+)\.wav", path.name).group(1)))
        recordings = [words.words_in(path) for path in files]
        up = words.compare(spoken, joined([word for recording in recordings for word in recording]))
        down = words.compare([(number, words.WORD_MS) for answer in ANSWERS for number in answer], words.words_in(call.recording, 1))
        measured(f"sent away in the caller's sentence and in the model's: gaps {[event['gap_ms'] for event in resumed]} ms; {len(spoken)} words of the caller over "
                 f"{len(files)} connections ({[len(recording) for recording in recordings]}), {len(up[0])} not heard by the model, {len(up[1])} twice, {len(up[2])} shortened; "
                 f"the model's {len(down[0])}, {len(down[1])}, {len(down[2])}")
        self.assertEqual(len(spoken), words.PHRASE + LONG_WORDS)
        self.assertEqual([event["how"] for event in resumed], ["resumed", "resumed"], events)
        # The first change was in the middle of the sentence: both connections have words of it.
        self.assertTrue(words.PHRASE < len(recordings[0]) < len(spoken), recordings)
        self.assertEqual((up, down), (([], [], []), ([], [], [])))
        self.assertEqual([event["discarded_ms"] for event in resumed], [0, 0])
        no_crossing(call.report["foreign"] == 0, f"{call.report['foreign']} foreign packets")
        self.assertEqual((call.report["sequence_gaps"], call.report["lost"], call.report["timestamp_discontinuities"]), (0, 0, 0))


if __name__ == "__main__":
    main(second_try=True)
