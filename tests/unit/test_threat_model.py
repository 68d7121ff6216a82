#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every promise of doc/threat-model.md names tests, and every test it names exists and is run by a suite. TAP.

usage: test_threat_model.py [BUILD_DIRECTORY]"""

import json
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = sys.argv.pop() if len(sys.argv) > 1 else str(ROOT / "build")
SUITES = ("unit", "isolation", "smoke", "model", "fuzz")
# `smoke key_scan` is meson's smoke_key_scan, `isolation attacks` is isolation_attacks, `isolation oracle` is oracle, `model binding` is binding_model.
FORMS = ("{1}", "{0}_{1}", "{1}_{0}")


def promises(text):
    """(line, cell) of the last column of every table whose last column is called "shown by"."""
    found, shown = [], False
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            shown = False
        elif cells[-1] == "shown by":
            shown = True
        elif shown and not set(line) <= set("|- "):
            found.append((number, cells[-1]))
    return found


def named(cell):
    """(suite, test) pairs: words of code behind a suite's name, until the next suite or semicolon; what stands in brackets is about the test before it."""
    found, suite = [], None
    for word in re.findall(r"`[^`]+`|\w+|;", re.sub(r"\([^)]*\)", "", cell)):
        if word in SUITES or word == ";":
            suite = word if word in SUITES else None
        elif word.startswith("`") and suite:
            found.append((suite, word.strip("`")))
    return found


class Known:
    """What there is to name."""

    def __init__(self):
        out = subprocess.run(["meson", "introspect", "--tests", BUILD], capture_output=True, text=True, check=True).stdout
        self.tests = {}
        for test in json.loads(out):
            for suite in test["suite"]:
                self.tests.setdefault(suite.split(":")[-1], set()).add(test["name"])
        self.fuzz = {path.stem[5:] for path in (ROOT / "tests/fuzz").glob("fuzz_*.c")}

    def has(self, suite, name):
        if suite == "fuzz":
            return name in self.fuzz
        return any(form.format(suite, name) in self.tests.get(suite, ()) for form in FORMS)


class ThreatModel(unittest.TestCase):
    def setUp(self):
        self.rows = promises((ROOT / "doc/threat-model.md").read_text(encoding="utf-8"))
        self.known = Known()

    def test_every_promise_names_a_test_that_exists(self):
        self.assertGreater(len(self.rows), 25, "the tables were not found")
        for number, cell in self.rows:
            tests = named(cell)
            self.assertTrue(tests or "bench_" in cell, f"doc/threat-model.md:{number}: names no test: {cell}")
            for suite, name in tests:
                self.assertTrue(self.known.has(suite, name), f"doc/threat-model.md:{number}: there is no {suite} test '{name}'")

    def test_a_test_that_is_gone_is_noticed(self):
        self.assertTrue(self.known.has("unit", "binding") and self.known.has("model", "binding") and self.known.has("isolation", "oracle"))
        self.assertTrue(self.known.has("smoke", "key_scan") and self.known.has("fuzz", "packet") and self.known.has("isolation", "attacks"))
        self.assertFalse(self.known.has("unit", "bindings") or self.known.has("smoke", "attacks") or self.known.has("fuzz", "oracle"))
        self.assertEqual(named("isolation `attacks` (`rtcp-…`), unit `a`, `b`; words"), [("isolation", "attacks"), ("unit", "a"), ("unit", "b")])
        self.assertEqual(promises("| a | shown by |\n|---|---|\n| x | unit `y` |\n\n| not | this |"), [(3, "unit `y`")])


class Result(unittest.TestResult):
    number = 0

    def stopTest(self, test):
        super().stopTest(test)
        self.number += 1
        wrong = [text for case, text in self.failures + self.errors if case is test]
        for text in wrong:
            print(*(f"# {line}" for line in text.splitlines()), sep="\n")
        print(f"{'not ok' if wrong else 'ok'} {self.number} {test.id().split('.', 1)[-1]}", flush=True)


if __name__ == "__main__":
    cases = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    print(f"1..{cases.countTestCases()}", flush=True)
    outcome = Result()
    cases.run(outcome)
    sys.exit(0 if outcome.wasSuccessful() else 1)
