# SPDX-License-Identifier: Apache-2.0
"""Base of the smoke tests: one fresh stage per test, logs of every process when a test fails, and a look for leftovers after each."""

import glob
import os
import pathlib
import subprocess
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2] / "scripts"), str(pathlib.Path(__file__).resolve().parents[1])]
import oracle  # noqa: E402  pylint: disable=wrong-import-position
import scene  # noqa: E402  pylint: disable=wrong-import-position
import stage  # noqa: E402  pylint: disable=wrong-import-position
import tap  # noqa: E402  pylint: disable=wrong-import-position
from tap import measured, no_crossing  # noqa: E402  pylint: disable=wrong-import-position

stage.PATIENCE = 20

__all__ = ["SmokeCase", "main", "measured", "no_crossing", "oracle", "scene", "stage"]


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
        tap.no_crash(crashed + [f"a sanitizer's report in the log of {name}" for name in sanitizer])
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


def main(need_root=True, second_try=False):
    """tap.main() with the tests of the calling program, most of which need namespaces."""
    if need_root and os.geteuid() != 0:
        print("1..0 # SKIP needs root for network namespaces")
        sys.exit(0)
    tap.main(tap.of_main(), second_try)
