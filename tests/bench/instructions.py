#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of the hot functions (instructions_*.c) under callgrind and compares them with instructions.json, as TAP. A count
that is off by more than TOLERANCE fails, upwards as a regression, downwards as a record that is no longer true: renew it, and the change
shows in the diff. What is counted is the machine code of the normal build, so the record names what made it (compiler, target, libraries);
with another compiler nothing is compared and the test is skipped. The processor does not matter as long as it has AVX2: valgrind shows
every program the same one.

usage: instructions.py PROGRAM [--renew] [--record FILE]
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

TOLERANCE = 0.05
LEAST = 1.0  # instructions; small functions move by whole ones
RECORD = pathlib.Path(__file__).with_name("instructions.json")


class Unusable(Exception):
    """Why nothing can be counted here."""


def measure(program):
    """What made the program, and for each function its instructions and their unit."""
    if "avx2" not in pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split():
        raise Unusable("this processor has no AVX2")
    with tempfile.TemporaryDirectory() as directory:
        # Without the caller's environment the stack begins at the same place everywhere, and copies have the same alignment.
        command = ["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={directory}/out", str(program)]
        try:
            run = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=300, check=False)
        except FileNotFoundError as error:
            raise Unusable("valgrind is not installed") from error
        if run.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with {run.returncode}:\n{run.stdout}{run.stderr}")
        counted = {}
        for path in pathlib.Path(directory).iterdir():
            text = path.read_text(encoding="utf-8")
            name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.M)
            if name:
                counted[name[1]] = int(re.search(r"^(?:summary|totals): (\d+)", text, re.M)[1])
    made_by, functions = {}, {}
    for line in run.stdout.splitlines():
        words = line.split("|")
        if len(words) == 2:
            made_by[words[0]] = words[1]
        elif len(words) == 3:
            functions[words[0]] = {"instructions": round(counted[words[0]] / int(words[1]), 2), "per": words[2]}
    return made_by, functions


def as_text(made_by, functions):
    """The record, with a line for each function."""
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(functions[name])}" for name in sorted(functions))
    return f'{{\n  "made_by": {json.dumps(made_by)},\n  "functions": {{\n{lines}\n  }}\n}}\n'


def compare(recorded, functions):
    """For each function (good, name, what to say)."""
    for name in sorted(recorded.keys() | functions.keys()):
        if name not in functions:
            yield False, name, "is recorded but no longer counted: renew the record"
            continue
        now = functions[name]["instructions"]
        text = f"{now:g} instructions per {functions[name]['per']}"
        if name not in recorded:
            yield False, name, f"{text}, not recorded: renew the record"
            continue
        before = recorded[name]["instructions"]
        change = f"{text}, recorded {before:g} ({(now - before) / before:+.1%})"
        limit = max(before * TOLERANCE, LEAST)
        if now > before + limit:
            yield False, name, f"{change}: slower"
        elif now < before - limit:
            yield False, name, f"{change}: cheaper, renew the record"
        else:
            yield True, name, change


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--renew", action="store_true")
    parser.add_argument("--record", type=pathlib.Path, default=RECORD)
    arguments = parser.parse_args()
    try:
        made_by, functions = measure(arguments.program)
    except Unusable as reason:
        if arguments.renew:
            raise SystemExit(f"cannot count: {reason}") from reason
        print(f"1..0 # SKIP {reason}")
        return
    if arguments.renew:
        arguments.record.write_text(as_text(made_by, functions), encoding="utf-8")
        print(f"{len(functions)} functions recorded in {arguments.record}")
        return
    record = json.loads(arguments.record.read_text(encoding="utf-8"))
    other = [f"{what} {made_by.get(what)}, not {version}" for what, version in sorted(record["made_by"].items()) if made_by.get(what) != version]
    if other:
        print(f"1..0 # SKIP the record is of another build ({'; '.join(other)}): renew it with ./scripts/instructions.sh --renew")
        return
    results = list(compare(record["functions"], functions))
    print(f"1..{len(results)}")
    for number, (good, name, what) in enumerate(results, 1):
        print(f"{'ok' if good else 'not ok'} {number} - {name}: {what}".replace("#", ""))
    if not all(good for good, _, _ in results):
        print("# if the change is meant, renew the record with ./scripts/instructions.sh --renew")
        sys.exit(1)


if __name__ == "__main__":
    main()
