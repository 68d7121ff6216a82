#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The watermark oracle in reduced size (VL_ORACLE_LONG=1: the long form), and the proof that it finds planted faults. TAP."""

import os
import sys
import traceback

import run

LONG = os.environ.get("VL_ORACLE_LONG") == "1"
REDUCED = ["--calls", "10000", "--seconds", "20", "--pace", "4"] if LONG else ["--calls", "2000", "--seconds", "3", "--pace", "2"]
PLANTED = ["--calls", "600", "--attack", "none", "--quiet"]


def check_product():
    """No byte crosses, no good call suffers, nothing is sent to an attacker."""
    _, wrong = run.run(run.parse(REDUCED))
    return wrong


def check_fault(program, seconds):
    """The same calls through a data plane with a fault: foreign bytes must be found."""
    phases, _ = run.run(run.parse(PLANTED + ["--seconds", str(seconds), "--dataplane", f"tests/oracle/voxlane-dataplane-{program}"]))
    foreign = sum(p["foreign_bytes"] for p in phases)
    print(f"{program}: {foreign} foreign bytes of {sum(p['bytes_checked'] for p in phases)}", flush=True)
    return [] if foreign > 0 else [f"the fault of {program} was not found"]


TESTS = [
    ("the_product_keeps_every_byte_apart", check_product, ()),
    ("finds_ssrc_only_matching", check_fault, ("table-ssrc-only", 1)),
    ("finds_missing_quarantine", check_fault, ("no-quarantine", 3)),
    ("finds_reused_generation", check_fault, ("calls-reused-generation", 6)),
]


class Comments:
    """Whatever is printed, as comments of TAP."""

    def __init__(self, out):
        self.out, self.start = out, True

    def write(self, text):
        for line in text.splitlines(keepends=True):
            self.out.write(("# " if self.start else "") + line)
            self.start = line.endswith("\n")

    def flush(self):
        self.out.flush()


def main():
    out = sys.stdout
    print(f"1..{len(TESTS)}", flush=True)
    failed = 0
    for number, (name, check, arguments) in enumerate(TESTS, 1):
        sys.stdout = Comments(out)
        try:
            wrong = check(*arguments)
        except Exception:  # pylint: disable=broad-except
            wrong = traceback.format_exc().splitlines()
        for line in wrong:
            print(line)
        sys.stdout = out
        print(f"{'not ok' if wrong else 'ok'} {number} {name}", flush=True)
        failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
