# SPDX-License-Identifier: Apache-2.0
"""TAP output for tests written with unittest, and the second try of those that a busy machine can fail. For the smoke tests and those of the emulator."""

import copy
import os
import sys
import threading
import time
import traceback
import unittest


class Final(AssertionError):
    """What no second try makes good."""


def no_crossing(fine, text):
    """No audio and no key is where it does not belong."""
    if not fine:
        raise Final(text)


def no_crash(reports):
    """No process ended by a signal nobody sent, and no sanitizer said a word: however busy the machine is."""
    if reports:
        raise Final("; ".join(reports))


def second_tries():
    """Whether a failed test of time is tried once more; VL_SECOND_TRY=no forbids it, to find those that need it."""
    return os.environ.get("VL_SECOND_TRY") != "no"


def measured(text):
    """A number for people; test.sh shows these lines."""
    print(f"# measured: {text}", flush=True)


class Stalls:
    """Notes when a CPU gave a thread of ours nothing for long: what runs elsewhere, or a machine that itself is shared, took it away."""

    BEAT_S, LONG_S = 0.02, 0.1

    def __init__(self):
        self.late = []
        for cpu in os.sched_getaffinity(0):
            threading.Thread(target=self._watch, args=(cpu,), daemon=True).start()

    def _watch(self, cpu):
        os.sched_setaffinity(0, {cpu})  # of this thread
        while True:
            due = time.monotonic() + self.BEAT_S
            time.sleep(self.BEAT_S)
            late = time.monotonic() - due
            if late > self.LONG_S:
                self.late.append(late)

    def take(self):
        """How long each was since the last time, in seconds."""
        taken, self.late = self.late, []
        return taken


class TapResult(unittest.TestResult):
    """One TAP line per test, printed when it ends."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self.reports = {}
        self.final = set()

    def _note(self, test, word, text=""):
        if self.reports.get(test, ("ok",))[0] == "ok":
            self.reports[test] = (word, text)

    def _look(self, test, err):
        if issubclass(err[0], Final):
            self.final.add(test)

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


TRIES = ("first", "second", "third", "fourth")


def run(suite, second_try=False, stalls=None):
    """Run each case, print a TAP line of each; returns whether all passed. `stalls`: a Stalls, or what has its take()."""
    result, good = TapResult(), True
    for test in cases(suite):
        spares, tried = [copy.copy(test) for _ in TRIES[1:]], 1
        while True:
            if stalls:
                stalls.take()  # of before
            test.run(result)
            late = stalls.take() if stalls else []
            # Once more in any case; and as long as the machine cannot be said to have done its part.
            if result.passed(test) or not second_try or test in result.final or tried == (len(TRIES) if late else 2):
                break
            result.explain(test)
            tried_again(name_of(test), tried, late)
            tried += 1
            del result.reports[test]
            result.number -= 1
            test = spares.pop()
        result.line(test)
        good = good and result.passed(test)
    return good


def tried_again(name, tried=1, late=()):
    """test.sh counts these lines."""
    stood_still = f"; the machine stood still {len(late)} times, {1000 * max(late):.0f} ms at most" if late else ""
    measured(f"{TRIES[tried]} try of {name}: the {TRIES[tried - 1]} failed{stood_still}")


def main(suite, second_try=False):
    """
    `second_try`: of tests of time, which a busy machine can fail: a case that fails is run once more, and up to four times in all while the machine was seen
    to stand still meanwhile. All of it is in the log. What crossed or crashed is never tried again.
    """
    print(f"1..{suite.countTestCases()}", flush=True)
    second_try = second_try and second_tries()
    sys.exit(0 if run(suite, second_try, Stalls() if second_try else None) else 1)


def of_main():
    """The tests of the calling program; its command line may name some of them."""
    loader, module, names = unittest.defaultTestLoader, sys.modules["__main__"], sys.argv[1:]
    return loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
