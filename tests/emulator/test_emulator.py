#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The emulator's program from outside, over TLS: HTTP, frames, isolation of keys, recordings, fault knobs. What the SDK cannot send or see. Prints TAP.

usage: test_emulator.py EMULATOR [PART_OF_A_TEST_NAME]
"""
import base64
import hashlib
import json
import math
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import wave

from live_client import PATH, PATIENCE, SETUP, Client, Closed, Emulator, Refused

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import tap  # noqa: E402  pylint: disable=wrong-import-position

binary = sys.argv[1]
work = tempfile.TemporaryDirectory(prefix="emulator-test-")
directory = pathlib.Path(work.name)
tls = (str(directory / "cert.pem"), str(directory / "key.pem"))
quick = ("--setup-delay-ms", "50", "--think-ms", "100", "--text-ms", "50")


def emulator(*options, **others):
    return Emulator(binary, *quick, *options, tls=tls, **others)


def voice(pitch, ms):
    """Speech-like: harmonics of a gliding pitch in syllables of 200 ms."""
    out = bytearray()
    for i in range(16 * ms):
        t = i / 16000
        envelope = math.sin(math.pi * (t % 0.24) / 0.2) if t % 0.24 < 0.2 else 0
        phase = 2 * math.pi * (pitch * t + 8 * math.sin(pitch / 50 * t))
        out += struct.pack("<h", int(4000 * envelope * sum(math.sin(h * phase) / h for h in range(1, 9))))
    return bytes(out)


def speak(client, pcm, pace=0.0):
    for at in range(0, len(pcm), 1280):
        client.send_audio(pcm[at:at + 1280])
        time.sleep(pace)


def expect_close(client, code, reason="", timeout=PATIENCE):
    deadline = time.monotonic() + timeout
    try:
        while True:
            client.receive(deadline - time.monotonic())
    except Closed as closed:
        assert closed.code == code and closed.reason.startswith(reason), f"{closed}, expected {code} {reason}"
        return closed


def expect_refusal(port, status, **options):
    try:
        Client(port, ca=tls[0], **options)
    except Refused as refused:
        assert refused.status == status, refused
        return json.loads(refused.body) if refused.body else {}
    raise AssertionError(f"upgraded, expected {status}")


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def expect_silence(client):
    """It answers pings no more. One that was sent in time may still be answered; a second's silence twice is no accident."""
    deadline, silent = time.monotonic() + PATIENCE, 0
    while silent < 2:
        assert time.monotonic() < deadline, "it still answers"
        client.send_frame(9, b"x")
        try:
            client.receive_frame(1)
            silent = 0
        except TimeoutError:
            silent += 1


def write_wav(name, pcm, rate=16000):
    with wave.open(str(directory / name), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)
    return str(directory / name)


def test_paths_and_keys():
    with emulator() as e:
        for path in ("/", "/ws", PATH[1:], PATH + "/", "/ws/google.ai.generativelanguage.v2.GenerativeService.BidiGenerateContent"):
            expect_refusal(e.port, 404, path="/" + path.lstrip("/") if path != PATH[1:] else "/x" + PATH[1:])
        for path in (PATH, "/" + PATH, "/proxy/" + PATH):
            for header in (True, False):
                e.connect(path=path, header=header).setup()
        unknown = e.connect(key="nobody")
        unknown.send(SETUP)
        expect_close(unknown, 1007, "API key not valid")
        nothing = e.connect(key=None)
        nothing.send(SETUP)
        expect_close(nothing, 1007, "API Key not found")
        stats = e.stats()
        assert stats["refused_keys"] == 2 and stats["refused_paths"] == 5 and stats["keys"]["admin2"]["setups"] == 6, stats
        assert "key-a" not in json.dumps(stats)


def test_frames():
    with emulator() as e:
        for frame, code in (((1, b"{}", True, False), 1002), ((3, b"x"), 1002), ((9, b"x", False), 1002), ((0, b"x"), 1002), ((1, b"\xff"), 1007)):
            client = e.connect()
            client.send_frame(*frame)
            expect_close(client, code)
        client = e.connect()
        text = json.dumps(SETUP).encode()
        for i in range(0, len(text), 7):
            client.send_frame(1 if i == 0 else 0, text[i:i + 7], final=i + 7 >= len(text))
            client.send_frame(9, b"ping %d" % i)
        client.wait("setupComplete")
        assert client.raw[-1] == b'{\n  "setupComplete": {}\n}\n' and client.opcodes[-1] == 2
        client.send_frame(2, json.dumps({"realtimeInput": {"text": "a binary frame"}}).encode())
        client.wait("turnComplete")
        client.send_frame(1, json.dumps({"realtimeInput": {"audio": {"mimeType": "audio/pcm;rate=16000", "data": base64.b64encode(bytes(200000)).decode()}}}).encode())
        client.send_frame(8, struct.pack("!H", 1001))
        assert expect_close(client, 1001)
        half = e.connect()
        half.send(SETUP)
        half.socket.close()
        wait_for(lambda: e.stats()["keys"]["admin2"]["open"] == 0, "a connection without its client")
        closes = e.stats()["keys"]["admin2"]["closes"]
        assert closes == {"1002": 4, "1007": 1, "1001": 1, "1006": 1}, closes


def test_slow_and_split_requests():
    with emulator() as e:
        client = e.connect(headers="X-Padding: " + "x" * 8000 + "\r\n")
        client.setup()
        expect_refusal(e.port, 400, headers="X-Padding: " + "x" * 20000 + "\r\n")
        with socket.create_connection(("127.0.0.1", e.stats_port), 5) as plain:
            for byte in b"GET /stats HTTP/1.1\r\n\r\n":
                plain.sendall(bytes([byte]))
                time.sleep(0.001)
            assert plain.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        with socket.create_connection(("127.0.0.1", e.stats_port), 5) as plain:
            plain.sendall(f"GET {PATH} HTTP/1.1\r\n\r\n".encode())
            assert plain.recv(1000).startswith(b"HTTP/1.1 404 ")


def test_each_key_hears_its_own_caller():
    said = {"admin2": voice(110, 6000), "agent4": voice(170, 6000)}
    references = sum((["--reference", f"{label}={write_wav(label + '.wav', pcm)}"] for label, pcm in said.items()), [])
    with emulator("--record", str(directory), *references) as e:
        clients = {"admin2": e.connect("key-a"), "agent4": e.connect("key-b")}
        for client in clients.values():
            client.setup()
        for label, client in clients.items():
            speak(client, said[label])
        for label, pcm in said.items():
            wait_for(lambda: e.stats()["keys"][label]["audio_bytes"] >= len(pcm), label)  # pylint: disable=cell-var-from-loop
        keys = e.stats("?heard")["keys"]
        for label, other in (("admin2", "agent4"), ("agent4", "admin2")):
            heard = keys[label]["heard_by_connection"][0]
            assert heard["heard"][label] >= 4500 and heard["heard"][other] == 0 and heard["heard"]["unknown"] <= 100, heard
            assert heard["heard_sha256"] == hashlib.sha256(said[label]).hexdigest()
            assert keys[label]["audio_bytes"] == len(said[label])
            with wave.open(str(directory / f"{label}-1.wav")) as file:
                assert file.readframes(1 << 30) == said[label]
        # The oracle's other side: a caller on the wrong key is found.
        speak(clients["admin2"], said["agent4"])
        both = len(said["admin2"]) + len(said["agent4"])
        wait_for(lambda: e.stats()["keys"]["admin2"]["audio_bytes"] >= both, "both callers")
        heard = e.stats("?heard")["keys"]["admin2"]["heard_by_connection"][0]["heard"]
        assert heard["agent4"] >= 4500, heard


def hear(client):
    """All audio of one turn."""
    audio = b""
    while True:
        message = client.receive()
        for part in message.get("serverContent", {}).get("modelTurn", {}).get("parts", []):
            audio += base64.b64decode(part["inlineData"]["data"])
        if message.get("serverContent", {}).get("turnComplete"):
            return audio


def test_answers_differ_by_key_and_repeat():
    answers = []
    for options in ((), ("--odd-chunks", "--parts", "3"), ("--chunk-bytes", "500")):
        with emulator("--answer-ms", "600", *options) as e:
            for key in ("key-a", "key-b"):
                client = e.connect(key)
                client.setup()
                client.send({"realtimeInput": {"text": "x"}})
                answers.append(hear(client))
    assert answers[0] == answers[2] == answers[4] and answers[1] == answers[3] == answers[5] and answers[0] != answers[1]
    assert len(answers[0]) == 600 * 48


def test_sound_files_and_echo():
    file = write_wav("answer.wav", voice(200, 500), 8000)
    with emulator("--answer-wav", f"admin2={file}") as e:
        client = e.connect()
        client.setup()
        client.send({"realtimeInput": {"text": "x"}})
        assert abs(len(hear(client)) - 1000 * 48) < 1000
    with emulator("--voice", "echo") as e:
        client = e.connect()
        client.setup()
        speak(client, voice(120, 1200) + bytes(32 * 1000))
        assert 1200 * 48 <= len(hear(client)) <= 2500 * 48


def test_faults_of_the_stream():
    with emulator("--fragment", "--text-frames", "--answer-ms", "300") as e:
        client = e.connect()
        client.setup()
        client.send({"realtimeInput": {"text": "x"}})
        hear(client)
        assert set(client.opcodes) == {1, 0}
    with emulator("--answer-ms", "600", "--stall-ms", "900") as e:
        client = e.connect()
        client.setup()
        began = time.monotonic()
        client.send({"realtimeInput": {"text": "x"}})
        client.wait("generationComplete")
        assert time.monotonic() - began > 0.9
    with emulator("--answer-ms", "2400", "--pace", "0.5") as e:
        client = e.connect()
        client.setup()
        began = time.monotonic()
        client.send({"realtimeInput": {"text": "x"}})
        client.wait("generationComplete")
        # No message holds more than 600 ms, so the last one leaves after 3.6 s at this pace, and after half a second at full speed.
        assert time.monotonic() - began > 3.5


def test_faults_of_the_connection():
    with emulator("--close-after-ms", "300:1011:Internal error encountered.") as e:
        expect_close(e.connect(), 1011, "Internal error encountered.")
    with emulator("--close-after-ms", "100:1008:" + "x" * 200) as e:
        assert len(expect_close(e.connect(), 1008, "xxx").reason) == 123
    with Emulator(binary, "--tcp-reset-after-ms", "200") as e:  # without TLS: Python's ssl makes an end of file of it
        assert expect_close(e.connect(), 1006).reason == "reset"
    with emulator("--random-1011", "1") as e:
        expect_close(e.connect(), 1011, "Internal error encountered.")
    for status in (401, 403, 429, 503):
        with emulator("--http-status", str(status)) as e:
            assert expect_refusal(e.port, status)["error"]["code"] == status
    with emulator("--key-status", "403") as e:
        expect_refusal(e.port, 403, key="nobody")
        e.connect().setup()
    with emulator("--strict-order", "--setup-delay-ms", "5000") as e:
        client = e.connect()
        client.send(SETUP)
        client.send_audio(bytes(640))
        expect_close(client, 1007, "Request contains an invalid argument.")
    with emulator("--strict-tool-ids", "--tool-call", "f") as e:
        client = e.connect()
        client.setup()
        client.send({"realtimeInput": {"text": "x"}})
        call = client.wait("toolCall")["toolCall"]["functionCalls"][0]
        client.send({"toolResponse": {"functionResponses": [{"id": call["id"], "name": "f", "response": {}}]}})
        client.wait("modelTurn")
        client.send({"toolResponse": {"functionResponses": [{"id": "call_0", "name": "f", "response": {}}]}})
        expect_close(client, 1008, "Requested entity was not found.")
    with emulator("--pong-delay-ms", "700") as e:
        client = e.connect()
        client.setup()
        began = time.monotonic()
        client.send_frame(9, b"late")
        assert client.receive_frame() == (10, True, b"late")
        assert time.monotonic() - began > 0.6
    with emulator("--half-open-after-ms", "200") as e:
        client = e.connect()
        expect_silence(client)


def test_faults_hit_whom_they_should():
    with emulator("--quota-close", "--fault-label", "agent4", "--fault-every", "2") as e:
        e.connect("key-a").setup()
        e.connect("key-a").setup()
        e.connect("key-b").setup()
        client = e.connect("key-b")
        client.send(SETUP)
        expect_close(client, 1011, "You exceeded your current quota")
        e.connect("key-b").setup()


def quick_turn(client):
    client.send({"realtimeInput": {"text": "x"}})
    return hear(client)


def test_faults_change_while_connections_are_open():
    with emulator("--answer-ms", "600") as e:
        a, b = e.connect("key-a"), e.connect("key-b")
        for client in (a, b):
            client.setup()
        # Settings reach open connections, both ways.
        e.control("fragment", "odd-chunks", "fault-label=admin2")
        assert len(quick_turn(a)) == len(quick_turn(b)) == 600 * 48
        assert 0 in a.opcodes and 0 not in b.opcodes
        e.control("reset")
        before = len(a.opcodes)
        quick_turn(a)
        assert 0 not in a.opcodes[before:]
        # Each second piece is one sample; without chunk-bytes a large draw could end the answer behind the first of these.
        e.control("tiny-chunks=1", "chunk-bytes=4800")
        a.raw.clear()
        quick_turn(a)
        sizes = [len(base64.b64decode(part["inlineData"]["data"]))
                 for raw in a.raw for part in json.loads(raw).get("serverContent", {}).get("modelTurn", {}).get("parts", [])]
        assert sizes == [4800, 2, 4800, 2, 4800, 2, 4800, 2, 4800, 2, 4790], sizes
        # Messages that say nothing come between others, also when nobody speaks.
        e.control("noise-ms=20", "no-noise")
        for _ in range(10):
            while a.receive():
                pass
        # One blow to every open connection of one key.
        assert e.control("reset", "fault-label=agent4", "now=error:503:The service is currently unavailable.") == 1
        error = b.wait("error")["error"]
        assert error == {"code": 503, "message": "The service is currently unavailable.", "status": "UNAVAILABLE"}
        assert e.control("now=go-away:1500") == 1 and b.wait("goAway")["goAway"]["timeLeft"] == "1.500s"
        assert e.control("fault-label=", "now=close:1011:Internal error encountered.") == 2
        for client in (a, b):
            expect_close(client, 1011, "Internal error encountered.")
            client.close()
        # The upgrade: refused, then late, then as ever.
        e.control("reset", "http-status=429")
        expect_refusal(e.port, 429)
        e.control("reset", "upgrade-delay-ms=400")
        began = time.monotonic()
        e.connect().setup()
        assert time.monotonic() - began > 0.4
        e.control("reset")
        for setting in ("no-such", "http-status=x", "fault-every=0", "port=1", "now=fire", "now=close", "cert=/nonexistent"):
            try:
                e.control(setting)
                raise AssertionError(setting)
            except Refused as refused:
                assert refused.status == 400 and refused.body, setting
        e.connect().setup()
    with emulator("--resume-lock-ms", "0", "--resume-delay-ms", "50") as e:
        client = e.connect()
        client.setup(sessionResumption={})
        handle = client.wait("sessionResumptionUpdate")["sessionResumptionUpdate"]["newHandle"]
        client.close()
        for refusals in (2, 1):  # counted anew each time it is set
            e.control(f"refuse-resume={refusals}")
            for _ in range(refusals):
                client = e.connect()
                client.send({"setup": dict(SETUP["setup"], sessionResumption={"handle": handle})})
                expect_close(client, 1011, "Internal error encountered.")
                client.close()
            client = e.connect()
            client.setup(sessionResumption={"handle": handle})
            client.close()
    with Emulator(binary) as e:
        clients = [e.connect() for _ in range(3)]
        e.control("fault-every=3")
        time.sleep(0.1)
        assert e.control("now=tcp-reset") == 1
        assert expect_close(clients[2], 1006).reason == "reset"
        assert e.control("reset", "fault-every=2", "now=freeze") == 1
        assert e.control("reset", "now=half-open") == 1
        for client in clients[:2]:
            expect_silence(client)


def make_certificate(name, subject, days):
    """A certificate of its own, also an expired one. Returns its file and its key's."""
    cert, key, request = (str(directory / f"{name}.{kind}") for kind in ("pem", "key", "csr"))
    subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=" + subject, "-keyout", key, "-out", request],
                   check=True, capture_output=True)
    now = time.time()
    start, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(now + 86400 * d)) for d in (min(days, 0) - 1, days))
    (directory / "index").write_text("")
    (directory / "ca.conf").write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={directory}/index\nnew_certs_dir={directory}\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n"
                                       f"x509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName={subject}\n")
    subprocess.run(["openssl", "ca", "-batch", "-notext", "-config", directory / "ca.conf", "-selfsign", "-keyfile", key, "-in", request, "-startdate", start, "-enddate", end,
                    "-out", cert], check=True, capture_output=True)
    return cert, key


def test_certificates_change_while_it_runs():
    with emulator() as e:
        before = e.connect()
        before.setup()
        for name, subject, days, error in (("other", "DNS:elsewhere.example", 2, "IP address mismatch"), ("expired", "IP:127.0.0.1", -1, "certificate has expired")):
            cert, key = make_certificate(name, subject, days)
            e.control(f"cert={cert}", f"key={key}")
            try:
                Client(e.port, ca=cert)
                raise AssertionError(name)
            except ssl.SSLCertVerificationError as refused:
                assert error in str(refused), refused
        before.send({"realtimeInput": {"text": "x"}})
        before.wait("modelTurn")
        e.control("reset")
        e.connect().setup()


def test_many_connections_over_tls():
    with emulator("--answer-ms", "500") as e:
        clients = [e.connect("key-a" if i % 2 else "key-b") for i in range(100)]
        for client in clients:
            client.send(SETUP)
        for client in clients:
            client.wait("setupComplete")
        for client in clients:
            client.send({"realtimeInput": {"text": "x"}})
        for i, client in enumerate(clients):
            assert len(hear(client)) == 500 * 48, i
        keys = e.stats()["keys"]
        assert keys["admin2"]["open"] == keys["agent4"]["open"] == 50
        for client in clients:
            client.close()


def test_options():
    for options, text in (((), "--plain"), (("--plain", "--nonsense"), "--nonsense"), (("--plain", "--port", "x"), "--port"), (("--plain", "--port"), "--port"),
                          (("--plain", "--api-key", "secret=a/b"), "label"), (("--plain", "--transcript", "x=y"), "x=y"),
                          (("--plain", "--close-after-ms", "5"), "--close-after-ms"), (("--cert", "/nonexistent", "--key", "/nonexistent"), "")):
        done = subprocess.run([binary, *options], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode in (1, 2) and text in done.stderr and done.stderr, (options, done)
        assert "secret" not in done.stderr
    done = subprocess.run([binary, "--help"], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert "--half-open-after-ms" in done.stdout


def main():
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tls[1], "-out", tls[0]], check=True, capture_output=True)
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    tests = [unittest.FunctionTestCase(function) for name, function in globals().items() if name.startswith("test_") and wanted in name]
    with work:
        tap.main(unittest.TestSuite(tests), second_try=True)


if __name__ == "__main__":
    main()
