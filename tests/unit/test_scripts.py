#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Unit tests of the Python that judges and shows: the counter of test cases, the demo's view, the judge, waiting and cleaning up."""

import contextlib
import io
import pathlib
import sys
import tempfile
import time
import types

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2] / "scripts"), str(pathlib.Path(__file__).resolve().parents[1]),
                str(pathlib.Path(__file__).resolve().parents[1] / "bench")]
import count_tests  # noqa: E402  pylint: disable=wrong-import-position
import demo_view  # noqa: E402  pylint: disable=wrong-import-position
import instructions  # noqa: E402  pylint: disable=wrong-import-position
import oracle  # noqa: E402  pylint: disable=wrong-import-position
import stage  # noqa: E402  pylint: disable=wrong-import-position
import tap  # noqa: E402  pylint: disable=wrong-import-position
import unittest  # noqa: E402  pylint: disable=wrong-import-position


class CountTests(unittest.TestCase):
    def count(self, xml):
        with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
            file.write(xml)
            file.flush()
            return count_tests.count(file.name)

    def test_counts_each_kind(self):
        passed, failed, skipped = self.count(
            '<testsuites><testsuite name="a" errors="1" failures="1"><testcase name="1"/><testcase name="2"><failure/></testcase>'
            '<testcase name="3"><skipped/></testcase><testcase name="4"><error/></testcase></testsuite></testsuites>')
        self.assertEqual((passed, failed, skipped), (1, ["a: 2", "a: 4"], 1))

    def test_a_program_that_dies_counts_as_failed(self):
        self.assertEqual(self.count('<testsuites><testsuite name="a" errors="1" failures="0"><testcase name="1"/></testsuite></testsuites>'),
                         (1, ["a: ended before its cases"], 0))


class Shaky(unittest.TestCase):
    """What tap.run() is run on below; no test of its own."""

    outcomes = []

    def shaky(self):
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            raise outcome


class SecondTry(unittest.TestCase):
    def run_shaky(self, *outcomes, second_try=True, stalls=None):
        Shaky.outcomes = list(outcomes)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            good = tap.run(unittest.TestSuite([Shaky("shaky")]), second_try, stalls)
        return good, len(Shaky.outcomes), out.getvalue()

    def test_one_failure_is_forgiven_and_told(self):
        good, left, text = self.run_shaky(AssertionError("slow"), None)
        self.assertEqual((good, left), (True, 0))
        self.assertIn("slow", text)
        self.assertIn("second try of Shaky.shaky", text)
        self.assertEqual([line for line in text.splitlines() if "ok" in line.split()[:2]], ["ok 1 Shaky.shaky"])

    def test_two_are_not(self):
        self.assertEqual(self.run_shaky(AssertionError("slow"), AssertionError("slow"), None)[:2], (False, 1))

    def test_more_are_while_the_machine_stands_still(self):
        slow = AssertionError("slow")
        for late, outcomes, expected in (
                ([[], [0.3], [], [0.5, 0.2], [], [0.4]], [slow, slow, slow, None], (True, 0)),
                ([[], [0.3], [], []], [slow, slow, None], (False, 1)),
                ([[], [0.3]] * 4, [slow, slow, slow, slow, None], (False, 1)),
                ([[0.3], []] * 2, [slow, slow, None], (False, 1))):
            good, left, text = self.run_shaky(*outcomes, stalls=types.SimpleNamespace(take=iter([*late, [], []]).__next__))
            self.assertEqual((good, left), expected, late)
        self.assertIn("second try of Shaky.shaky: the first failed", text)
        try:
            tap.no_crossing(False, "a key in a log")
        except AssertionError as error:
            self.assertEqual(self.run_shaky(error, None, stalls=types.SimpleNamespace(take=lambda: [0.3]))[:2], (False, 1))

    def test_a_stall_is_seen(self):
        stalls = tap.Stalls()
        time.sleep(0.1)
        stalls.take()
        stalls.LONG_S = -1  # every beat
        self.assertTrue(stage.wait_for(stalls.take, 10, "a beat"))

    def test_none_is_where_it_is_not_wanted(self):
        self.assertEqual(self.run_shaky(AssertionError("slow"), None, second_try=False)[:2], (False, 1))

    def test_functions_have_one_too(self):
        outcomes = [AssertionError("slow"), None]

        def late():
            Shaky.outcomes = outcomes
            Shaky("shaky").shaky()

        with contextlib.redirect_stdout(io.StringIO()):
            self.assertTrue(tap.run(unittest.TestSuite([unittest.FunctionTestCase(late)]), second_try=True))
        self.assertEqual(outcomes, [])

    def test_none_is_when_something_crossed_or_crashed(self):
        tap.no_crash([])
        for check, *arguments in ((tap.no_crossing, False, "a key in a log"), (tap.no_crash, ["dataplane ended by signal 11"])):
            with self.assertRaises(AssertionError) as raised:
                check(*arguments)
            self.assertEqual(self.run_shaky(raised.exception, None)[:2], (False, 1))


class Instructions(unittest.TestCase):
    def test_what_passes(self):
        for before, now, good, word in (
                (1000, 1000, True, "+0.0%"), (1000, 1050, True, "+5.0%"), (1000, 950, True, "-5.0%"), (10, 10.9, True, "+9.0%"),
                (1000, 1051, False, "slower"), (1000, 949, False, "cheaper, renew"), (10, 11.1, False, "slower"),
                (None, 10, False, "not recorded"), (10, None, False, "no longer counted")):
            counts = [{} if n is None else {"f": {"instructions": n, "per": "packet"}} for n in (before, now)]
            ((said, name, what),) = instructions.compare(*counts)
            self.assertEqual((said, name), (good, "f"), (before, now))
            self.assertIn(word, what)


class View(unittest.TestCase):
    def test_fit_cuts_and_fills_by_columns(self):
        for text, width, expected in (("abc", 5, "abc  "), ("abcdef", 4, "abc…"), ("日本語", 4, "日… "), ("", 2, "  ")):
            self.assertEqual(demo_view.fit(text, width), expected)
            self.assertEqual(demo_view.width_of(demo_view.fit(text, width)), width)
        self.assertEqual(demo_view.fit("7", 3, right=True), "  7")

    def test_table_lines_have_one_width(self):
        call = {"user": "a" * 40, "caller": "[fd77::2]:18920", "ssrc": 1, "bound": True, "packets_in": 123456, "packets_out": 1, "lost": 0,
                "jitter_ms": None, "state": "talking", "caller_text": "é\x1b[31m" * 80, "model_text": ""}
        lines = demo_view.table([call, call], demo_view.Colours(False))
        self.assertEqual({demo_view.width_of(line) for line in lines}, {demo_view.width_of(lines[0])})
        self.assertFalse(any("\x1b" in line for line in lines), "a transcript may not control the terminal")

    def test_no_escapes_when_it_is_no_terminal(self):
        out = io.StringIO()
        view = demo_view.View(out)
        view.line("text", demo_view.RED)
        call = {"user": "a", "caller": "b", "ssrc": 1, "packets_in": 1, "packets_out": 1, "lost": 0, "state": "ready"}
        view.draw("title", [call], now=100)
        view.draw("title", [call], now=101)
        self.assertFalse(view.verdict([oracle.Check("fine", True, "1"), oracle.Check("broken", False, "2")]))
        self.assertTrue(view.verdict([oracle.Check("fine", True, "1")]))
        self.assertNotIn("\x1b", out.getvalue())
        self.assertEqual(out.getvalue().count("title"), 1)


def finished_call(user="admin2", **report):
    values = {"sequence_gaps": 0, "timestamp_discontinuities": 0, "lost": 0, "received": 10, "jitter_ms": 0.1, "foreign": 0, "ssrcs": [1],
              "spoke": [{"start_us": 0, "end_us": 1000000}], **report}
    return oracle.Call(user, "u-1", "10.77.0.2", 18920, 7, "", "", "", values)


class Judge(unittest.TestCase):
    LOCK = {"session": "u-1", "ssrc": "7", "address": "10.77.0.2", "port": "18920"}

    def test_locks(self):
        call = finished_call()
        self.assertEqual(oracle.failed(oracle.judge_locks(call, [self.LOCK])), [])
        for locks in ([], [self.LOCK] * 2, [{**self.LOCK, "ssrc": "8"}], [{**self.LOCK, "port": "18922"}], [{**self.LOCK, "session": "u-2"}]):
            self.assertEqual(len(oracle.failed(oracle.judge_locks(call, locks))), 1, locks)
        call.switches = 1
        self.assertEqual(len(oracle.failed(oracle.judge_locks(call, [self.LOCK]))), 1)

    def test_rtp(self):
        self.assertEqual(oracle.failed(oracle.judge_rtp(finished_call())), [])
        for bad in ({"sequence_gaps": 1}, {"lost": 1}, {"timestamp_discontinuities": 1}, {"received": 0}, {"foreign": 1}, {"ssrcs": [1, 2]}):
            self.assertEqual(len(oracle.failed(oracle.judge_rtp(finished_call(**bad)))), 1, bad)

    def test_who_heard_whom(self):
        calls = [finished_call(), finished_call("agent4")]
        stats = {"keys": {"admin2": {"audio_bytes": 1}}}
        self.assertEqual(oracle.failed(oracle.judge_heard_by_key(calls[0], calls, {"admin2": 900, "agent4": 0}, stats)), [])
        for heard in ({}, {"admin2": 100}, {"admin2": 900, "agent4": 40}, {"admin2": 900, "unknown": 700}):
            self.assertEqual(len(oracle.failed(oracle.judge_heard_by_key(calls[0], calls, heard, stats))), 1, heard)
        self.assertEqual(oracle.failed(oracle.judge_heard_by_caller(calls[0], calls, {"admin2": 900, "agent4": 0})), [])
        for heard in ({}, {"admin2": 900, "agent4": 40}, {"admin2": 900, "unknown": 700}):
            self.assertEqual(len(oracle.failed(oracle.judge_heard_by_caller(calls[0], calls, heard))), 1, heard)


class Stage(unittest.TestCase):
    def test_wait_for_gives_up_with_a_sentence(self):
        self.assertEqual(stage.wait_for(lambda: 5, 1, "five"), 5)
        with self.assertRaisesRegex(stage.StageError, "waited 0.05 s for rain"):
            stage.wait_for(lambda: False, 0.05, "rain")

    def test_patience_comes_on_top(self):
        self.assertEqual(stage.PATIENCE, 0, "whoever asks for none gets none")
        stage.PATIENCE = 0.1
        self.addCleanup(setattr, stage, "PATIENCE", 0)
        began = time.monotonic()
        with self.assertRaisesRegex(stage.StageError, "waited 0.15"):
            stage.wait_for(lambda: False, 0.05, "rain")
        self.assertGreaterEqual(time.monotonic() - began, 0.15)

    def test_cleanup_runs_backwards_whatever_fails(self):
        done = []
        cleanup = stage.Cleanup()
        cleanup.add("one", done.append, 1)
        cleanup.add("two", lambda: 1 / 0)
        cleanup.add("three", done.append, 3)
        cleanup.run()
        cleanup.run()
        self.assertEqual(done, [3, 1])
        self.assertEqual(cleanup.errors, ["two: division by zero"])

    def test_rpc_reads_values_in_any_pieces(self):
        client = stage.Rpc.__new__(stage.Rpc)
        pieces = [b'{"jsonrpc":"2.0","method":"session.bound","params":{"a":"', '}é'.encode()[:2], '}é'.encode()[2:], b'"}}\n{"jsonrpc":"2.0","id":1,"result":7}']
        client.socket = types.SimpleNamespace(sendall=lambda data: None, recv=lambda size: pieces.pop(0))
        client.buffer, client.number, client.events = b"", 0, []
        self.assertEqual(client.call("x"), 7)
        self.assertEqual(client.events[0]["params"], {"a": "}é"})


if __name__ == "__main__":
    tap.main(tap.of_main())
