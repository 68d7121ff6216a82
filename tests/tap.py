# SPDX-License-Identifier: Apache-2.0
"""TAP output for tests written with unittest, and the second try of those that a busy machine can fail. For the smoke tests and those of the emulator."""

import copy
import os
import sys
import traceback
import unittest


class Crossed(AssertionError):
    """Audio or a key where it does not belong: no second try makes that good."""


def no_crossing(fine, text):
    if not fine:
        raise Crossed(text)


def second_tries():
    """Whether a failed test of time is tried once more; VL_SECOND_TRY=no forbids it, to find those that need it."""
    return os.environ.get("VL_SECOND_TRY") != "no"


def measured(text):
    """A number for people; test.sh shows these lines."""
    print(f"# measured: {text}", flush=True)


class TapResult(unittest.TestResult):
    """One TAP line per test, printed when it ends."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self.reports = {}
        self.crossed = set()

    def _note(self, test, word, text=""):
        if self.reports.get(test, ("ok",))[0] == "ok":
            self.reports[test] = (word, text)

    def _look(self, test, err):
        if issubclass(err[0], Crossed):
            self.crossed.add(test)

    def addSuccess(self, test):
        self._note(test, "ok")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._look(test, err)
        self._note(test, "not ok", "".join(traceback.format_exception(*err)))

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test, "not ok", "".join(traceback.format_exception(*err)))

    def addSkip(self, test, reason):
        self._note(test, "skip", reason)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            super().addSubTest(test, subtest, err)
            self._look(test, err)
            self._note(test, "not ok", f"{subtest}\n" + "".join(traceback.format_exception(*err)))

    def stopTest(self, test):
        super().stopTest(test)
        self.number += 1

    def passed(self, test):
        return self.reports.get(test, ("ok",))[0] != "not ok"

    def explain(self, test):
        for line in self.reports[test][1].splitlines():
            print(f"# {line}")

    def line(self, test):
        word, text = self.reports.get(test, ("ok", ""))
        if word == "not ok":
            self.explain(test)
        suffix = f" # SKIP {text}" if word == "skip" else ""
        print(f"{'ok' if word == 'skip' else word} {self.number} {name_of(test)}{suffix}", flush=True)


def name_of(test):
    return test.id().split(".", 1)[-1]


def cases(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases(item)
        else:
            yield item


def run(suite, second_try=False):
    """Run each case, print a TAP line of each; returns whether all passed."""
    result, good = TapResult(), True
    for test in cases(suite):
        spare = copy.copy(test)
        test.run(result)
        if second_try and not result.passed(test) and test not in result.crossed:
            result.explain(test)
            tried_again(name_of(test))
            del result.reports[test]
            result.number -= 1
            test = spare
            test.run(result)
        result.line(test)
        good = good and result.passed(test)
    return good


def tried_again(name):
    """test.sh counts these lines."""
    measured(f"second try of {name}: the first failed")


def main(suite, second_try=False):
    """`second_try`: of tests of time, which a busy machine can fail; a case that fails is run once more, and both are in the log."""
    print(f"1..{suite.countTestCases()}", flush=True)
    sys.exit(0 if run(suite, second_try and second_tries()) else 1)


def of_main():
    """The tests of the calling program; its command line may name some of them."""
    loader, module, names = unittest.defaultTestLoader, sys.modules["__main__"], sys.argv[1:]
    return loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
