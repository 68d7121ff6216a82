#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bench: Debian's libwebsockets, built on OpenSSL, against the same source built on mbedTLS: what a wss client of each costs a handshake (certificate
verified), a message of 4.3 KB either way and a connection. The server is Debian's for both, once choosing the cipher itself and once bound to TLS 1.2 with
AES-128-GCM, so that libraries are compared and not ciphers. Processor time is the client's alone, the kernel's half of loopback TCP included. Rounds alternate.

The source is not in the tree: VL_LWS_SOURCE names an unpacked one (scripts/bench.sh fetches Debian's); cmake and libmbedtls-dev build it into
BUILD/lws-mbedtls. Without it only Debian's build is measured.

usage: bench_wss.py [--json FILE] [--rounds N]"""

import argparse
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts"))
import report  # noqa: E402  pylint: disable=wrong-import-position
import stage  # noqa: E402  pylint: disable=wrong-import-position

OPENSSL, MBEDTLS = "OpenSSL", "mbedTLS"
FLAGS = "-O2 -g -fno-strict-aliasing -fstack-protector-strong -D_FORTIFY_SOURCE=2"  # Debian's
OPTIONS = ["LWS_WITH_MBEDTLS=ON", "LWS_WITH_LIBUV=ON", "LWS_WITH_EVLIB_PLUGINS=ON", "LWS_UNIX_SOCK=ON", "LWS_IPV6=ON", "LWS_WITH_ZLIB=ON",
           "LWS_WITHOUT_EXTENSIONS=OFF", "LWS_WITHOUT_TESTAPPS=ON", "LWS_WITH_MINIMAL_EXAMPLES=OFF", "LWS_WITH_STATIC=OFF", "DISABLE_WERROR=ON"]
SERVERS = {"own cipher": [], "AES-128-GCM": ["ECDHE-ECDSA-AES128-GCM-SHA256", str(int(ssl.OP_NO_TLSv1_3))]}
# Job, how many, the number in the answer, what it is divided by to be of the unit, what it is called.
JOBS = [("dial", 104, "cpu_s", 1e-3, "handshake", "ms"), ("send", 10000, "cpu_s", 1e-6, "message sent", "us"),
        ("receive", 10000, "cpu_s", 1e-6, "message received", "us"), ("hold", 304, "resident_kb", 1, "connection", "KB")]


def build_mbedtls(source):
    """The other build of the library, once, and a client for it. Returns the client; what the compiler says goes to a log."""
    place = stage.BUILD / "lws-mbedtls"
    prefix, log = place / "installed", stage.BUILD / "lws-mbedtls.log"
    place.mkdir(exist_ok=True)
    client = place / "wss_ends"
    commands = []
    if not (prefix / "lib/libwebsockets.so").exists():
        commands += [["cmake", "-S", source, "-B", place / "objects", "-DCMAKE_BUILD_TYPE=None", f"-DCMAKE_C_FLAGS={FLAGS}", "-DLIB_SUFFIX=",
                      f"-DCMAKE_INSTALL_PREFIX={prefix}", *(f"-D{option}" for option in OPTIONS)],
                     ["cmake", "--build", place / "objects", "--parallel", os.cpu_count()], ["cmake", "--install", place / "objects"]]
    commands.append(["cc", "-O2", "-D_GNU_SOURCE", HERE / "wss_ends.c", "-o", client, f"-I{prefix}/include", f"-L{prefix}/lib", "-lwebsockets",
                     f"-Wl,-rpath,{prefix}/lib"])
    with open(log, "ab") as file:
        for command in commands:
            if subprocess.run([str(word) for word in command], stdout=file, stderr=file, check=False).returncode:
                raise stage.StageError(f"the mbedTLS build of libwebsockets failed, see {log}")
    return client


class Server:
    """wss_ends as server, Debian's build."""

    def __init__(self, directory, program, ciphers):
        self.popen = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", program, "server", directory / "server.pem", directory / "server.key", *ciphers],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        report.prefer(self.popen.pid)
        self.port = self.popen.stdout.readline().decode().strip()
        if not self.port:
            raise stage.StageError("the server did not start")

    def close(self):
        self.popen.kill()
        self.popen.wait()


def take(directory, client, server, job, count):
    """One client's whole life."""
    with subprocess.Popen([client, "client", server.port, directory / "ca.pem", job, str(count)], stdout=subprocess.PIPE, start_new_session=True) as popen:
        report.prefer(popen.pid)
        try:
            out = popen.communicate(timeout=60)[0]
        finally:
            popen.kill()
    if popen.returncode:
        raise stage.StageError(f"{client} could not {job} {count}")
    return json.loads(out)


def rounds_of(clients, rounds):
    """{(library, server, job): samples}"""
    samples = {}
    with tempfile.TemporaryDirectory(prefix="vl-wss-") as name:
        directory = pathlib.Path(name)
        stage.make_authority(directory)
        servers = {}
        try:
            for choice, ciphers in SERVERS.items():
                servers[choice] = Server(directory, clients[OPENSSL], ciphers)
            for number in range(rounds):
                for choice, server in servers.items():
                    for job, count, key, unit, *_ in JOBS:
                        for library in sorted(clients, reverse=number % 2 == 1):
                            answer = take(directory, clients[library], server, job, count)
                            samples.setdefault((library, choice, job), []).append(answer[key] / answer["count"] / unit)
        finally:
            for server in servers.values():
                server.close()
    return samples


def main():
    bench = report.Bench()
    parser = argparse.ArgumentParser(description="wss of libwebsockets on OpenSSL against mbedTLS.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    clients = {OPENSSL: stage.BUILD / "tests/bench/wss_ends"}
    source = os.environ.get("VL_LWS_SOURCE")
    if not source or not shutil.which("cmake"):
        what = "cmake is not installed" if source else "VL_LWS_SOURCE does not name libwebsockets' source (./scripts/bench.sh wss fetches it)"
        print(f"only Debian's build: {what}", flush=True)
    else:
        clients[MBEDTLS] = build_mbedtls(source)
    samples = rounds_of(clients, options.rounds)
    for choice in SERVERS:
        for job, _, _, _, name, unit in JOBS:
            if MBEDTLS in clients:
                pairs = zip(samples[MBEDTLS, choice, job], samples[OPENSSL, choice, job])
                bench.report(f"{name}, {choice}: mbedTLS / OpenSSL", [a / b for a, b in pairs], "times")
            for library in clients:
                bench.report(f"{name}, {choice}: {library}", samples[library, choice, job], unit)
    bench.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
