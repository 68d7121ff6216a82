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

__all__ = ["SmokeCase", "main", "measured", "oracle", "scene", "stage"]


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

    def _note(self, test, word, text=""):
        if self.reports.get(test, ("ok",))[0] == "ok":
            self.reports[test] = (word, text)

    def addSuccess(self, test):
        self._note(test, "ok")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test, "not ok", "".join(traceback.format_exception(*err)))

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test, "not ok", "".join(traceback.format_exception(*err)))

    def addSkip(self, test, reason):
        self._note(test, "skip", reason)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            super().addSubTest(test, subtest, err)
            self._note(test, "not ok", f"{subtest}\n" + "".join(traceback.format_exception(*err)))

    def stopTest(self, test):
        super().stopTest(test)
        self.number += 1
        word, text = self.reports.get(test, ("ok", ""))
        name = test.id().split(".", 1)[-1]
        for line in text.splitlines() if word == "not ok" else []:
            print(f"# {line}")
        suffix = f" # SKIP {text}" if word == "skip" else ""
        print(f"{'ok' if word == 'skip' else word} {self.number} {name}{suffix}", flush=True)


def main(need_root=True):
    """Run the tests of the calling module; the command line may name some of them."""
    if need_root and os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        sys.exit(0)
    loader = unittest.defaultTestLoader
    module = sys.modules["__main__"]
    names = sys.argv[1:]
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    print(f"1..{suite.countTestCases()}", flush=True)
    result = TapResult()
    suite.run(result)
    sys.exit(0 if result.wasSuccessful() else 1)
