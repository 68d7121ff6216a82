# SPDX-License-Identifier: Apache-2.0
"""A bare RFC 6455 client and a runner of gemini-emulator for its tests. Standard library only; it frames by hand so that it can also send what is wrong."""

import base64
import json
import os
import socket
import ssl
import struct
import subprocess
import time
import urllib.parse

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
# Deadlines are for hangs: a machine may stand still for a while.
PATIENCE = 30
SETUP = {"setup": {"model": "models/gemini-3.8-live"}}


class Closed(Exception):
    """The peer's close frame (or 1006 when there was none)."""

    def __init__(self, code, reason):
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class Refused(Exception):
    """The upgrade was answered with another status than 101."""

    def __init__(self, status, body):
        super().__init__(f"HTTP {status}")
        self.status, self.body = status, body


class Emulator:
    """gemini-emulator as a child process."""

    def __init__(self, binary, *arguments, keys=("key-a=admin2", "key-b=agent4"), tls=None):
        command = [binary, "--stats-port", "0"]
        command += ["--cert", tls[0], "--key", tls[1]] if tls else ["--plain"]
        for key in keys:
            command += ["--api-key", key]
        self.tls = tls
        self.process = subprocess.Popen(command + list(arguments), stdout=subprocess.PIPE, text=True)
        self.stats_port = self._port("statistics on port ")
        self.port = self._port("listening on port ")

    def _port(self, prefix):
        line = self.process.stdout.readline()
        if not line.startswith(prefix):
            raise RuntimeError(f"expected '{prefix}N', got '{line}'")
        return int(line[len(prefix):])

    def connect(self, key="key-a", **options):
        return Client(self.port, key, self.tls[0] if self.tls else None, **options)

    def _ask(self, target):
        with socket.create_connection(("127.0.0.1", self.stats_port), PATIENCE) as plain:
            plain.settimeout(120)
            plain.sendall(f"GET {target} HTTP/1.1\r\nHost: emulator\r\n\r\n".encode())
            data = b""
            while piece := plain.recv(65536):
                data += piece
        head, body = data.split(b"\r\n\r\n", 1)
        return int(head.split()[1]), body

    def stats(self, query=""):
        return json.loads(self._ask(f"/stats{query}")[1])

    def control(self, *settings):
        """("reset", "http-status=429", "now=tcp-reset") in this order. Returns how many connections `now` has hit."""
        status, body = self._ask("/control?" + "&".join(urllib.parse.quote(setting, safe="=") for setting in settings))
        if status != 200:
            raise Refused(status, body)
        return json.loads(body)["hit"]

    def stop(self):
        self.process.terminate()
        self.process.stdout.close()
        return self.process.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        status = self.stop()
        if kind is None and status != 0:
            raise RuntimeError(f"the emulator ended with {status}")


class Client:
    """One WebSocket connection."""

    def __init__(self, port, key="key-a", ca=None, path=PATH, header=True, headers=""):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        if ca:
            self.socket = ssl.create_default_context(cafile=ca).wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.data, self.raw, self.opcodes = b"", [], []
        if key and header:
            headers += f"x-goog-api-key: {key}\r\n"
        elif key:
            path += f"?key={key}"
        nonce = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET {path} HTTP/1.1\r\nHost: emulator\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n").encode())
        while b"\r\n\r\n" not in self.data:
            self._fill(PATIENCE)
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        status = int(head.split()[1])
        if status != 101:
            raise Refused(status, self.data)

    def _fill(self, timeout):
        self.socket.settimeout(max(timeout, 0.001))
        try:
            piece = self.socket.recv(1 << 18)
        except ConnectionError as error:
            raise Closed(1006, "reset") from error
        if not piece:
            raise Closed(1006, "")
        self.socket.settimeout(PATIENCE)
        self.data += piece

    def send_frame(self, opcode, payload, final=True, masked=True):
        size = len(payload)
        head = bytes([(0x80 if final else 0) | opcode])
        bit = 0x80 if masked else 0
        head += bytes([bit | size]) if size < 126 else struct.pack("!BH", bit | 126, size) if size < 65536 else struct.pack("!BQ", bit | 127, size)
        if masked:
            mask = os.urandom(4)
            wide = int.from_bytes(payload, "little") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "little")
            payload = mask + wide.to_bytes(size, "little")
        self.socket.sendall(head + payload)

    def send(self, message):
        text = message if isinstance(message, str) else json.dumps(message)
        self.send_frame(1, text.encode())

    def send_audio(self, pcm, rate=16000):
        self.send({"realtimeInput": {"audio": {"mimeType": f"audio/pcm;rate={rate}", "data": base64.b64encode(pcm).decode()}}})

    def _frame(self, timeout):
        deadline = time.monotonic() + timeout
        while True:
            if len(self.data) >= 2:
                size, head = self.data[1] & 127, 2
                if size >= 126:
                    head = 4 if size == 126 else 10
                    size = int.from_bytes(self.data[2:head], "big") if len(self.data) >= head else 1 << 62
                if len(self.data) >= head + size:
                    first, payload = self.data[0], self.data[head:head + size]
                    self.data = self.data[head + size:]
                    return first, payload
            self._fill(deadline - time.monotonic())

    def receive_frame(self, timeout=PATIENCE):
        first, payload = self._frame(timeout)
        return first & 15, bool(first & 0x80), payload

    def receive(self, timeout=PATIENCE):
        """The next message as an object. Raises Closed or TimeoutError."""
        deadline, message = time.monotonic() + timeout, b""
        while True:
            opcode, final, payload = self.receive_frame(deadline - time.monotonic())
            if opcode == 8:
                raise Closed(int.from_bytes(payload[:2], "big") if payload else 1005, payload[2:].decode())
            if opcode > 8:
                continue
            self.opcodes.append(opcode)
            message += payload
            if final:
                self.raw.append(message)
                return json.loads(message)

    def wait(self, member, timeout=PATIENCE):
        """The next message that has `member` (of the envelope or of serverContent). Others are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.receive(deadline - time.monotonic())
            if member in message or member in message.get("serverContent", {}):
                return message

    def setup(self, **fields):
        self.send({"setup": dict(SETUP["setup"], **fields)})
        return self.wait("setupComplete")

    def close(self, code=1000):
        self.send_frame(8, struct.pack("!H", code))
        try:
            while True:
                self.receive()
        except (Closed, TimeoutError):
            pass
        self.socket.close()
