#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One call over many connections: real programs, real TLS, a service that sends its client away every quarter of a minute. Every word of the caller and of the model
has tones of its own; what was said at one end is compared with what was heard at the other, word by word and in its length.

VL_CONVERSATION_SECONDS: length of the call (100; VL_CONVERSATION_LONG=1: 1800)."""

import array
import math
import os
import re
import unittest
import wave

import calls
from harness import SmokeCase, main, measured, no_crossing, scene, stage

LONG = os.environ.get("VL_CONVERSATION_LONG") == "1"
SECONDS = int(os.environ.get("VL_CONVERSATION_SECONDS", "1800" if LONG else "100"))
TONES = [400 + 150 * n for n in range(20)]  # Hz
WORDS = [(low, high) for low in range(len(TONES)) for high in range(low + 2, len(TONES))]
WORD_MS, BREATH_MS, FRAME_MS = 350, 70, 10
PHRASE, ANSWERS = 5, 16  # words of an utterance; answers until they repeat
CYCLE_MS = 9000          # 2 s question, 1 s until the answer, 2 s answer, then nobody speaks
LOUD = 1200               # peak to peak
MOST_LOST_MS = 20        # of a word: one frame where it begins or ends


def tone_word(number, rate):
    low, high = (2 * math.pi * TONES[tone] / rate for tone in WORDS[number])
    return array.array("h", (int(5000 * (math.sin(low * i) + math.sin(high * i))) for i in range(rate * WORD_MS // 1000))).tobytes()


def write_speech(path, rate, phrases, cycle_ms=None):
    """A phrase after the other, each word apart from the next; each phrase fills `cycle_ms`."""
    cache = {}
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for phrase in phrases:
            data = b"".join(cache.setdefault(number, tone_word(number, rate)) + bytes(2 * (rate * BREATH_MS // 1000)) for number in phrase)
            file.writeframes(data + (bytes(2 * (rate * cycle_ms // 1000) - len(data)) if cycle_ms else b""))
    return path


def strength(samples, rate, hz):
    factor, a, b = 2 * math.cos(2 * math.pi * hz / rate), 0.0, 0.0
    for sample in samples:
        a, b = sample + factor * a - b, a
    return a * a + b * b - factor * a * b


def words_in(path, side=0):
    """[(number, ms, start_ms)] of a recording's words; number -1: sound that is none of them."""
    with wave.open(str(path), "rb") as file:
        rate, channels = file.getframerate(), file.getnchannels()
        track = array.array("h", file.readframes(file.getnframes()))[side % channels::channels]
    size = rate * FRAME_MS // 1000
    frames = [max(track[at:at + size]) - min(track[at:at + size]) > LOUD for at in range(0, len(track) - size + 1, size)] + [False]
    found, start = [], None
    for index, loud in enumerate(frames):
        if loud and start is None:
            start = index
        elif not loud and start is not None:
            middle = (start + index) // 2 * size
            samples = track[max(start * size, middle - 3 * size):min(index * size, middle + 3 * size)]
            heard = sorted(range(len(TONES)), key=lambda tone: -strength(samples, rate, TONES[tone]))[:2]  # pylint: disable=cell-var-from-loop
            pair = (min(heard), max(heard))
            found.append((WORDS.index(pair) if pair in WORDS else -1, (index - start) * FRAME_MS, start * FRAME_MS))
            start = None
    return found


def compare(said, heard):
    """(missing, extra, shortened): words by their place, aligned in order; each ends with when it happened, [from_ms, to_ms]: on the clock of `said` when its words have times
    (what was heard may be in many recordings, each with a clock of its own), else where in the recording of `heard`."""
    missing, extra, shortened, at, end, before = [], [], [], 0, 0, 0
    for place, (number, ms, *start) in enumerate(said):
        following = [n for n, _, _ in heard[at:at + 8]]
        when = [start[0], start[0] + ms] if start else None
        if number not in following:
            missing.append((place, number, when or [end, heard[at][2] if at < len(heard) else end]))
            continue
        skip = following.index(number)
        _, heard_ms, begin = heard[at + skip]
        extra += [(n, m, [before, when[1]] if when else [b, b + m]) for n, m, b in heard[at:at + skip]]
        if heard_ms < ms - MOST_LOST_MS:
            shortened.append((place, number, heard_ms, when or [begin, begin + ms]))
        at += skip + 1
        end = begin + heard_ms
        before = when[0] if when else 0
    return missing, extra + [(n, m, [before, before + WORD_MS] if before else [b, b + m]) for n, m, b in heard[at:]], shortened


def excuse(faults, stalls):
    """What is left of compare()'s faults when those are taken away that happened while the machine stood still. `stalls`: [(from_ms, to_ms)] of the recording in which
    no packet came at all. A stall hurts the words it touches and no others."""
    left, excused = ([], [], []), 0
    for kind, found in enumerate(faults):
        for fault in found:
            begin, end = fault[-1]
            # A word that is missing altogether was where the next one is now, or just before it.
            reach = WORD_MS + BREATH_MS if kind == 0 else 2 * FRAME_MS
            if any(start <= end + reach and stop >= begin - reach for start, stop in stalls):
                excused += 1
            else:
                left[kind].append(fault)
    return left, excused


class Judge(unittest.TestCase):
    """The comparison finds what is wrong, and only what stood still excuses it."""

    def test_losses(self):
        said = [(number, WORD_MS, 1000 + place * (WORD_MS + BREATH_MS)) for place, number in enumerate(range(10, 20))]
        at = said[4][2]
        lost = said[:4] + said[5:]
        hole = said[:4] + [(14, 160, at), (14, 170, at + 180)] + said[5:]
        self.assertEqual(compare(said, said), ([], [], []))
        for heard in (lost, hole):
            faults = compare(said, heard)
            self.assertTrue(any(faults))
            for stalls in ([], [(at - 2000, at - 1700)], [(at + 2000, at + 2300)]):
                self.assertEqual(excuse(faults, stalls), (faults, 0))
            left, excused = excuse(faults, [(at + 100, at + 250)])
            self.assertEqual(left, ([], [], []))
            self.assertGreater(excused, 0)
        # Where a word was said counts, not where it is in the recording of the connection that brought it.
        elsewhere = [(number, ms, begin % 1000) for number, ms, begin in hole]
        self.assertEqual(excuse(compare(said, elsewhere), [(at + 2000, at + 2300)])[1], 0)
        self.assertEqual(excuse(compare(said, elsewhere), [(at + 100, at + 250)])[0], ([], [], []))
        # The model's words have no time of their own.
        self.assertEqual(excuse(compare([word[:2] for word in said], lost), [(at + 100, at + 250)])[0], ([], [], []))
        self.assertEqual(excuse(compare([word[:2] for word in said], lost), [(at + 2000, at + 2300)])[1], 0)
        # One stall excuses no loss elsewhere.
        both = [word for word in lost if word[0] != 17]
        left, _ = excuse(compare(said, both), [(at + 100, at + 250)])
        self.assertEqual([fault[1] for fault in left[0]], [17])


class Conversation(SmokeCase):
    def test_every_word_survives_every_rotation(self):
        s = self.scene
        turns = SECONDS * 1000 // CYCLE_MS
        questions = [[(turn * PHRASE + n) % len(WORDS) for n in range(PHRASE)] for turn in range(turns)]
        replies = [[(100 + 7 * answer + n) % len(WORDS) for n in range(PHRASE)] for answer in range(ANSWERS)]
        said = write_speech(s.path("said.wav"), 8000, questions, CYCLE_MS)
        answers = [write_speech(s.path(f"answer-{n}.wav"), 24000, [reply]) for n, reply in enumerate(replies)]
        people = [scene.User("admin2", answers=answers, answer_texts=[f"This is answer {n}." for n in range(ANSWERS)])]
        s.start_emulator(people, "--lifetime-ms", 28000, "--go-away-ms", 13000, "--think-ms", 300, "--verbose")
        s.start_plane()
        s.start_worker("worker-1", people)
        subscriber = s.rpc()
        subscriber.call("events.subscribe", events=["session.resumed", "session.closed"])
        session, caller, call = calls.place(s, "admin2", said, 18920, 18920, 77, "--start-delay-ms", 1500, "--pause-ms", 1500)
        call = calls.finish(s, caller, call, SECONDS + 60)
        stats = s.stats()["keys"]["admin2"]
        events = [event["params"] for event in subscriber.poll_events()]
        s.control.call("session.delete", session=session)
        self.judge(call, stats, events, [(number, WORD_MS) for turn in range(turns) for number in replies[turn % ANSWERS]])

    def judge(self, call, stats, events, expected):
        s = self.scene
        spoken = words_in(call.recording, 0)
        files = sorted(s.heard_directory.glob("admin2-*.wav"), key=lambda path: int(re.search(r"-(\d+)\.wav", path.name).group(1)))
        heard_by_model = [word for path in files for word in words_in(path)]
        heard_by_caller = words_in(call.recording, 1)
        gaps = sorted(event["gap_ms"] for event in events if event.get("how"))
        up, down = compare(spoken, heard_by_model), compare(expected, heard_by_caller)
        begun_us = call.report["clock"]["start_us"]
        stalls = [((stall["start_us"] - begun_us) / 1000, (stall["end_us"] - begun_us) / 1000) for stall in call.report["stalls"]]
        # The caller's own process stood still as well: what it sent late is excused as what it heard late.
        up, excused_up = excuse(up, stalls)
        down, excused_down = excuse(down, stalls)
        log = s.path("worker-1.log").read_text(encoding="utf-8")
        skipped = sum(lcore["skipped_beats"] for lcore in stage.telemetry(s.prefix, "/voxlane/lcore/usage").values())
        measured(f"the machine stood still {len(stalls)} times for more than 100 ms ({', '.join(f'{b - a:.0f}' for a, b in stalls)}), {skipped} beats skipped: "
                 f"{excused_up} words of the caller and {excused_down} of the model excused")
        measured(f"one call of {SECONDS} s over {stats['connections']} connections, {stats['resumes']} resumed: {len(spoken)} words of the caller, "
                 f"{len(up[0])} not heard by the model, {len(up[2])} shortened; {len(expected)} words of the model, {len(down[0])} not heard by the caller, "
                 f"{len(down[2])} shortened")
        measured(f"RTP to the caller: {call.report['received']} packets, p99 {call.report['interarrival_us']['p99'] / 1000:.1f} ms, "
                 f"max {call.report['interarrival_us']['max'] / 1000:.1f} ms apart")
        measured(f"without a session: {len(gaps)} times, min {gaps[0]} ms, p50 {gaps[len(gaps) // 2]} ms, max {gaps[-1]} ms: {gaps}")
        self.assertEqual(len(spoken), len(expected), "the caller did not say what it was to say")
        self.assertEqual((up, down), (([], [], []), ([], [], [])), log)
        self.assertGreaterEqual(len(gaps), SECONDS // 25)
        self.assertEqual({event["how"] for event in events if event.get("how")}, {"resumed"})
        self.assertLess(gaps[-1], 3000)
        # Every connection but the last was left by us, in time, at a quiet moment.
        self.assertEqual(stats["closes"].get("1000"), len(gaps), stats["closes"])
        self.assertEqual(set(stats["closes"]) - {"1000", "1011"}, set(), "1011: a resume that came too early")
        # The caller's RTP knows nothing of it.
        no_crossing(call.report["foreign"] == 0, f"{call.report['foreign']} foreign packets")
        self.assertEqual((call.report["sequence_gaps"], call.report["lost"], call.report["timestamp_discontinuities"]), (0, 0, 0))
        self.assertEqual(stage.telemetry(s.prefix, "/voxlane/latency")["gap_ms"]["count"], len(gaps))


if __name__ == "__main__":
    main(second_try=True)
