# SPDX-License-Identifier: Apache-2.0
"""Base of the smoke tests: one fresh stage per test, TAP output for meson, logs of every process when a test fails, and a look for leftovers after each."""

import glob
import os
import pathlib
import subprocess
import sys
import traceback
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import oracle  # noqa: E402  pylint: disable=wrong-import-position
import scene  # noqa: E402  pylint: disable=wrong-import-position
import stage  # noqa: E402  pylint: disable=wrong-import-position

__all__ = ["SmokeCase", "main", "measured", "no_crossing", "oracle", "scene", "stage"]


class Crossed(AssertionError):
    """Audio or a key where it does not belong: no second try makes that good."""


def no_crossing(fine, text):
    if not fine:
        raise Crossed(text)


def measured(text):
    """A number for people; test.sh shows these lines."""
    print(f"# measured: {text}", flush=True)


class SmokeCase(unittest.TestCase):
    """A test with a scene; `self.scene` is closed and searched for leftovers afterwards."""

    scene_options = {}

    def setUp(self):
        self.scene = scene.Scene(**self.scene_options)
        self.addCleanup(self._close)

    def failed(self):
        outcome = getattr(self, "_outcome", None)
        result = outcome.result if outcome else None
        return bool(result) and any(test is self for test, _ in result.failures + result.errors)

    def _close(self):
        logs = [(p.name, p.tail(40)) for p in self.scene.processes if p.log_path.exists()]
        crashed = [f"{p.name} ended by signal {-p.popen.returncode}" for p in self.scene.processes
                   if (p.popen.poll() or 0) < 0 and not p.expected_to_die]
        sanitizer = [name for name, _ in logs if self.scene.sanitizer_reports(name)]
        errors = self.scene.close()
        left = leftovers(self.scene)
        if crashed or errors or left or sanitizer or self.failed():
            for name, tail in logs:
                print(f"# --- {name}", *(f"#   {line}" for line in tail.splitlines()), sep="\n", flush=True)
        self.assertEqual(crashed, [])
        self.assertEqual(sanitizer, [], "sanitizer reports")
        self.assertEqual(errors, [], "cleanup")
        self.assertEqual(left, [], "left behind")


def leftovers(scene_):
    """What a stage of this id still has on the machine."""
    left = []
    namespaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout.split()
    left += [name for name in namespaces if name.startswith("vl") and name.endswith(scene_.id)]
    left += glob.glob(f"/sys/class/net/{scene_.tap}")
    left += glob.glob(f"/var/run/dpdk/{scene_.prefix}*")
    left += glob.glob(f"/dev/hugepages*/{scene_.prefix}*")
    if scene_.directory.exists():
        left.append(str(scene_.directory))
    for process in scene_.processes:
        if process.running():
            left.append(f"process {process.pid} ({process.name})")
    return left


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
        test.run(result)
        if second_try and not result.passed(test) and test not in result.crossed:
            result.explain(test)
            measured(f"second try of {name_of(test)}: the first failed")
            del result.reports[test]
            result.number -= 1
            test = type(test)(test._testMethodName)  # pylint: disable=protected-access
            test.run(result)
        result.line(test)
        good = good and result.passed(test)
    return good


def main(need_root=True, second_try=False):
    """
    Run the tests of the calling module; the command line may name some of them. `second_try`: of tests of time, which a busy machine can fail;
    a case that fails is run once more, and both are in the log.
    """
    if need_root and os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        sys.exit(0)
    loader = unittest.defaultTestLoader
    module = sys.modules["__main__"]
    names = sys.argv[1:]
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    print(f"1..{suite.countTestCases()}", flush=True)
    sys.exit(0 if run(suite, second_try) else 1)
