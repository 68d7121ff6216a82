#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The watermark oracle through TLS: real callers, the real data plane, real workers and the emulator of Gemini Live. What each caller says and what the model
answers under each key carries an identity in every 20 ms (tests/tools/tone_mark.h); every window of what each key heard and of what each caller heard is judged.
All callers come from one address with one SSRC and the same sequence numbers, some disordered, some barging in; then all calls end and begin again, from each other's ports.

And the same with an attacker on the link.

VL_TLS_CALLS, VL_TLS_SECONDS: size of it (VL_ORACLE_LONG=1: 160 calls, 60 s each round)."""

import json
import os
import time

from attacker import AttackerOnLink
from harness import SmokeCase, main, measured, no_crossing, scene, stage

LONG = os.environ.get("VL_ORACLE_LONG") == "1"
CALLS = int(os.environ.get("VL_TLS_CALLS", "160" if LONG else "64"))
SECONDS = int(os.environ.get("VL_TLS_SECONDS", "60" if LONG else "14"))
SSRC = 0xca110000  # where every SIPp process begins
SAY_S, PAUSE_MS, ANSWER_S = 2, 5500, 3
FIRST_PORT = 30000
MOST_EDGE = 0.1  # of windows with sound: where it begins, ends or a packet was late
HOP_MS = 10


class Verdicts:
    """Sums of what voxlane-tone-mark said."""

    def __init__(self, results):
        self.total = {key: sum(r[key] for r in results) for key in ("samples", "silent", "own", "edge", "foreign")}
        self.bytes = 2 * self.total["samples"]
        self.wrong = [f"identity {r['identity']}: {r['foreign']} foreign windows, of {r['heard']}" for r in results if r["foreign"]]

    @property
    def edge_share(self):
        return self.total["edge"] / max(1, self.total["own"] + self.total["edge"])


class TlsCalls(SmokeCase):
    """Calls with identities, and the judgement of what each of their ends heard."""

    def judge(self, recordings):
        """`recordings`: (identity, side, file)."""
        arguments = [str(word) for recording in recordings for word in recording]
        return json.loads(stage.run(stage.binary("voxlane-tone-mark"), "judge", *arguments))

    def prepare(self, calls, program="voxlane-dataplane", **configuration):
        """Two workers that share the users; user k says identity 2k and is answered with 2k + 1."""
        s = self.scene
        self.names = [f"u{k}" for k in range(calls)]
        for k in range(calls):
            stage.run(stage.binary("voxlane-tone-mark"), "write", 2 * k, 8000, SAY_S, s.path(f"say-{k}.wav"))
            stage.run(stage.binary("voxlane-tone-mark"), "write", 2 * k + 1, 24000, ANSWER_S, s.path(f"answer-{k}.wav"))
        people = [scene.User(name, answers=[s.path(f"answer-{k}.wav")]) for k, name in enumerate(self.names)]
        s.start_emulator(people)
        s.start_plane(s.configuration(sessions={"max": 2 * calls + 16, "quarantine_s": 1}, **configuration), program=program)
        for number in range(2):
            s.start_worker(f"worker-{number}", people[number::2])

    def place(self, name, seconds, shift):
        """Every user in a call for a while, user k from port k + shift; returns [(k, caller, session)]."""
        s = self.scene
        placed = []
        for k, user in enumerate(self.names):
            port = FIRST_PORT + 2 * ((k + shift) % len(self.names))
            reply = s.create(user, port)
            options = ["--start-delay-ms", 1500 + k * 131 % 3000, "--pause-ms", PAUSE_MS, "--repeat", 0, "--duration-s", seconds, "--seed", k + 1]
            if k % 3 == 0:
                options += ["--reorder", 1, "--duplicate", 1]
            if k % 4 == 1:
                options += ["--talk-when-hearing-ms", 900]
            caller = s.start_caller(f"{name}-{k}", port, reply["local"], "--wav", s.path(f"say-{k}.wav"), "--ssrc", SSRC, "--start-seq", 1,
                                    "--record", s.path(f"{name}-{k}.wav"), *options)
            placed.append((k, caller, reply["session"]))
        return placed

    def finish(self, placed, seconds):
        """Wait for the callers' reports and end the calls."""
        s = self.scene
        reports = [s.report(caller, seconds + 60) for _, caller, _ in placed]
        self.lost_up = 0
        for _, _, session in placed:
            self.lost_up += s.get(session)["receive"]["lost"]
            s.control.call("session.delete", session=session)
        return reports

    def round(self, name, seconds, shift):
        return self.finish(self.place(name, seconds, shift), seconds)

    def heard_by_callers(self, *rounds):
        return self.judge([(2 * k + 1, "right", self.scene.path(f"{name}-{k}.wav")) for name in rounds for k in range(len(self.names))])

    def heard_by_keys(self):
        self.scene.stats()  # brings every file up to date
        files = [(2 * k, "mono", file) for k, name in enumerate(self.names) for file in sorted(self.scene.heard_directory.glob(f"{name}-*.wav"))]
        return self.judge(files)

    def heard_enough(self, up, down):
        """The oracle must have had something to judge, from everybody."""
        for result in up:
            self.assertGreater(result["own"] * HOP_MS, 0.7 * 1000 * SAY_S, f"what identity {result['identity']} said was hardly heard")
        for result in down:
            self.assertGreater(result["own"] * HOP_MS, 500, f"the caller of identity {result['identity']} hardly heard an answer")
        for verdicts in (Verdicts(up), Verdicts(down)):
            self.assertLess(verdicts.edge_share, MOST_EDGE)


class TlsOracle(TlsCalls):
    def test_every_call_hears_only_its_own(self):
        s = self.scene
        self.prepare(CALLS)
        begin = time.monotonic()
        reports = self.round("first", SECONDS, 0)
        time.sleep(1.2)  # the quarantine
        reports += self.round("second", SECONDS, CALLS // 2)
        took = time.monotonic() - begin
        up, down = self.heard_by_keys(), self.heard_by_callers("first", "second")
        keys, callers = Verdicts(up), Verdicts(down)
        refused = {reason: count for reason, count in s.drops().items() if count}
        measured(f"{CALLS} calls through TLS at once, twice, {took:.0f} s: {keys.bytes:,} bytes heard by {CALLS} keys, {keys.total['own']:,} windows their own, "
                 f"{keys.total['edge']:,} at edges, {keys.total['foreign']} foreign")
        measured(f"{callers.bytes:,} bytes heard by callers, {callers.total['own']:,} windows their own, {callers.total['edge']:,} at edges, "
                 f"{callers.total['foreign']} foreign; {sum(r['received'] for r in reports):,} RTP packets, {sum(r['lost'] for r in reports)} lost; refused: {refused}")
        no_crossing(not keys.wrong + callers.wrong, f"{keys.wrong + callers.wrong}")
        no_crossing(sum(r["foreign"] for r in reports) == 0, "RTP from another place or SSRC")
        stats = s.stats()
        no_crossing((stats["refused_keys"], sum(key["foreign_handles"] for key in stats["keys"].values())) == (0, 0), "a key or a session in a wrong place")
        self.assertEqual(len(up), 2 * CALLS, "not every call had one conversation")
        self.heard_enough(up, down)

    def test_oracle_notices_ssrc_alone(self):
        """With a session table that forgets the source, one SSRC for all callers is one call for all of them."""
        self.prepare(6, "voxlane-dataplane-table-ssrc-only")
        self.round("planted", 9, 0)
        wrong = Verdicts(self.heard_by_keys()).wrong
        for line in wrong[:3]:
            print(f"# noticed: {line}")
        no_crossing(wrong, "voices of others went unnoticed")


class TlsAttacks(AttackerOnLink, TlsCalls):
    """The same with an attacker on the link, its attacks one after the other while all calls talk: nobody hears it, nobody loses a packet, it gets nothing."""

    CALLS, RATE, EACH_S, PAUSE_S = 12, 8000, 2, 0.5

    def test_nobody_hears_the_attacker(self):
        s = self.scene
        port, any_port, any_ssrc = FIRST_PORT, "1024-65535", "0-4294967295"
        attacks = [
            ("right-ssrc-wrong-port", "rtp", "ssrc_wrong_source", "--from", s.CALLERS, "--from-port", "50000-60000", "--ssrc", SSRC),
            ("right-port-other-address", "rtp", "source_unknown", "--from", "10.77.0.66", "--from-port", port, "--ssrc", SSRC),
            ("right-port-trunk-address", "rtp", "ssrc_wrong_source", "--from", "10.77.0.9", "--from-port", port, "--ssrc", SSRC),
            ("bleed", "rtp", "source_unknown", "--from", "10.77.0.66", "--from-port", any_port, "--to-port", "4900-5100", "--ssrc", any_ssrc),
            ("blind-ssrc", "rtp", "learn_rate", "--from", s.CALLERS, "--from-port", "50000-60000", "--ssrc", any_ssrc),
            ("bye", "bye", None, "--from", s.CALLERS, "--from-port", port, "--ssrc", SSRC),
            ("forged-sr", "sr", None, "--from", s.CALLERS, "--from-port", port, "--ssrc", SSRC),
            ("bye-elsewhere", "bye", "rtcp_unknown", "--from", s.CALLERS, "--from-port", any_port, "--ssrc", SSRC),
        ]
        seconds = int(5 + len(attacks) * (self.EACH_S + self.PAUSE_S + 0.7))
        # Behind a stall a second of the attack comes at once: without room for it the trunk's own limit would refuse good packets as well.
        self.prepare(self.CALLS, trunks=[{"name": "gate-voip", "sources": [s.CALLERS, "10.77.0.9"], "max_packets_per_second": 1000000}])
        self.add_attacker()
        placed = self.place("attacked", seconds, 0)
        time.sleep(3)
        sessions = [s.get(session) for _, _, session in placed]
        self.assertTrue(all(session["bound"] for session in sessions))
        for name, kind, reason, *options in attacks:
            before = s.drops()
            attacker = self.start_attack(name, kind, self.RATE, self.EACH_S, *options)
            self.assertEqual(attacker.wait(self.EACH_S + 5), 0, attacker.tail())
            time.sleep(self.PAUSE_S)
            moved = {key: value - before[key] for key, value in s.drops().items() if value != before[key]}
            sent = self.attack_sent(name)
            measured(f"{name:26} {sent} frames beside {self.CALLS} calls through TLS; refused: {moved}")
            self.assertGreater(sent, self.RATE * self.EACH_S / 4, "the attacker hardly sent anything")
            if reason:
                self.assertGreater(moved.get(reason, 0), 20, f"{name}: {moved}")
            for (_, _, session), old in zip(placed, sessions):
                now = s.get(session)
                no_crossing((now["bound"], now["address_switches"]) == (old["bound"], 0), f"{name}: {now}")
                self.assertIn(now["state"], ("ready", "talking"), name)
        reports = self.finish(placed, seconds)
        media = [frame.hex() for frame in self.captured()]
        no_crossing(not media, f"the data plane sent media to the attacker: {media}")
        up, down = self.heard_by_keys(), self.heard_by_callers("attacked")
        keys, callers = Verdicts(up), Verdicts(down)
        measured(f"attacked: {keys.bytes:,} bytes heard by keys, {callers.bytes:,} by callers, {keys.total['foreign'] + callers.total['foreign']} windows foreign; "
                 f"{sum(r['received'] for r in reports):,} RTP packets to callers, {sum(r['lost'] for r in reports)} lost")
        no_crossing(not keys.wrong + callers.wrong, f"{keys.wrong + callers.wrong}")
        no_crossing(sum(r["foreign"] for r in reports) == 0, "RTP from another place or SSRC")
        self.assertEqual((self.lost_up, sum(r["lost"] for r in reports)), (0, 0))
        self.heard_enough(up, down)


if __name__ == "__main__":
    main(second_try=True)
