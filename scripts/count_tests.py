#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the cases of meson's JUnit reports: prints "PASSED FAILED SKIPPED" and, on stderr, the name of each failed case.

usage: count_tests.py testlog.junit.xml...
"""
import sys
import xml.etree.ElementTree


def count(path):
    passed, failed, skipped = 0, [], 0
    for suite in xml.etree.ElementTree.parse(path).getroot().iter("testsuite"):
        cases = list(suite.iter("testcase"))
        for case in cases:
            kinds = {child.tag for child in case}
            if kinds & {"failure", "error"}:
                failed.append(f"{suite.get('name')}: {case.get('name')}")
            elif "skipped" in kinds:
                skipped += 1
            else:
                passed += 1
        # A TAP program that dies says so only in the suite's totals.
        lost = int(suite.get("errors", 0)) + int(suite.get("failures", 0))
        if lost and not any(name.startswith(f"{suite.get('name')}: ") for name in failed):
            failed.append(f"{suite.get('name')}: ended before its cases")
    return passed, failed, skipped


def main():
    totals = [0, 0, 0]
    for path in sys.argv[1:]:
        passed, failed, skipped = count(path)
        for name in failed:
            print(f"      failed: {name}", file=sys.stderr)
        totals = [totals[0] + passed, totals[1] + len(failed), totals[2] + skipped]
    print(*totals)


if __name__ == "__main__":
    main()
