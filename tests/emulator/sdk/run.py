#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Installs Google's SDK below the build directory and runs conformance.test.mjs with it against the emulator; prints TAP. Without Node.js 20, or without the
network the first time, it says so and skips.

usage: run.py EMULATOR BUILD_DIRECTORY
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(SOURCE.parents[1]))
import tap  # noqa: E402  pylint: disable=wrong-import-position

NODE_LEAST = 20


def skip(reason):
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)


def find_node():
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        skip(f"Node.js {NODE_LEAST} or later and npm are needed for Google's SDK, and are missing")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    found = re.match(r"v(\d+)\.", version)
    if not found or int(found.group(1)) < NODE_LEAST:
        skip(f"Google's SDK needs Node.js {NODE_LEAST} or later, this is {version or 'broken'}")
    return node, npm


def install(npm, directory):
    """npm ci, once for each state of package-lock.json."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "conformance.test.mjs"):
        shutil.copyfile(SOURCE / name, directory / name)
    stamp, lock = directory / "installed", (directory / "package-lock.json").read_text()
    if stamp.exists() and stamp.read_text() == lock:
        return
    done = subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        skip("npm could not install Google's SDK (no network?)")
    stamp.write_text(lock)


def make_certificate(directory):
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def run_cases(node, directory, emulator, *options):
    """Yields (good, name) of each case as it ends; Node's TAP has them one level down. What else node says goes to stderr."""
    cert, key = make_certificate(directory)
    environment = dict(os.environ, EMULATOR=os.path.abspath(emulator), EMULATOR_CERT=str(cert), EMULATOR_KEY=str(key), NODE_EXTRA_CA_CERTS=str(cert))
    process = subprocess.Popen([node, "--test", "--test-reporter=tap", *options, "conformance.test.mjs"], cwd=directory, env=environment,
                               stdout=subprocess.PIPE, text=True)
    bad = False
    for line in process.stdout:
        case = re.match(r"    (not )?ok \d+ - (.*)", line)
        if case:
            bad = bad or bool(case.group(1))
            yield not case.group(1), case.group(2)
        elif not re.match(r"\s*(ok|#|TAP|\d+\.\.)", line):
            print(line, end="", file=sys.stderr)
    if process.wait() != 0 and not bad:
        yield False, f"node ended with {process.returncode}"


def run(node, directory, emulator):
    """TAP of every case, flat; those that fail are tried once more, alone."""
    failed, count = [], 0

    def line(good, name):
        nonlocal count
        count += 1
        print(f"{'ok' if good else 'not ok'} {count} - {name}", flush=True)
    for good, name in run_cases(node, directory, emulator):
        if good or not tap.second_tries():
            line(good, name)
        else:
            failed.append(name)
            tap.tried_again(name)
    if failed:
        # Later versions match the pattern against the suite's name as well, and earlier ones report what they leave out as skipped.
        patterns = [f"--test-name-pattern=/(^| ){re.escape(name)}$/" for name in failed]
        again = {name: good for good, name in run_cases(node, directory, emulator, *patterns) if "# SKIP" not in name}
        for name in failed:
            line(again.get(name, False), name)
    print(f"1..{count}")


def main():
    emulator, build = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    node, npm = find_node()
    install(npm, build)
    run(node, build, emulator)


if __name__ == "__main__":
    main()
