# SPDX-License-Identifier: Apache-2.0
"""The judge of a run: from what the emulator and the callers really received, not from what the product says about itself, except for its lock lines and its
count of address switches. Used by the demo's verdict and by the smoke tests, one of which checks that a broken product is found out."""

import dataclasses
import json
import os

import stage

WAV_HEADER = 44  # bytes; a file of that size holds nothing


@dataclasses.dataclass
class Check:
    what: str
    ok: bool
    value: str


@dataclasses.dataclass
class Call:
    """One call of a run. `said` and `answer` are clean WAVs; `recording` is the caller's stereo WAV (right: what it heard)."""

    user: str
    session: str
    address: str
    port: int
    ssrc: int
    said: str
    answer: str
    recording: str
    report: dict
    switches: int = 0
    lost_allowed: int = 0


def match(recording, references, side=""):
    """Milliseconds of sound in which each reference is heard in a recording: {label: ms}, with "unknown" for sound of none of them. `side`: ":left" or ":right"."""
    if os.path.getsize(recording) <= WAV_HEADER:
        return dict.fromkeys([*references, "unknown"], 0)
    command = [stage.binary("voxlane-audio-match")]
    for label, file in references.items():
        command += ["--reference", f"{label}={file}"]
    found = json.loads(stage.run(*command, f"{recording}{side}"))
    return {**found["heard_ms"], "unknown": found["unknown_ms"]}


def strangers(heard):
    """A check that the sound in a recording is somebody's: packets of two voices put into one stream are nobody's. Returns (ok, text)."""
    unknown = heard.get("unknown", 0)
    known = sum(heard.values()) - unknown
    return unknown <= max(600, known * 0.15), f"{unknown:.0f} ms of {unknown + known:.0f} ms of sound"


def judge_locks(call, locks):
    """Locked once, to the right SSRC, from the right place; never switched."""
    mine = [lock for lock in locks if lock["session"] == call.session]
    right = [lock for lock in mine if (int(lock["ssrc"]), lock["address"], int(lock["port"])) == (call.ssrc, call.address, call.port)]
    value = f"{len(mine)} lock" + ("" if len(mine) == 1 else "s")
    if mine:
        value += f", to SSRC {mine[0]['ssrc']} from {mine[0]['address']}:{mine[0]['port']}"
    return [Check(f"{call.user}: locked once, to its own caller", len(mine) == 1 and len(right) == 1, value),
            Check(f"{call.user}: address switches", call.switches == 0, str(call.switches))]


def judge_rtp(call):
    """The stream the caller received is one unbroken stream from one place."""
    report = call.report
    unbroken = report["sequence_gaps"] == 0 and report["timestamp_discontinuities"] == 0 and report["lost"] <= call.lost_allowed
    return [
        Check(f"{call.user}: RTP to the caller without a gap", unbroken and report["received"] > 0,
              f"{report['received']:,} packets, {report['sequence_gaps']} gaps, {report['lost']} lost, jitter {report['jitter_ms']:.2f} ms"),
        Check(f"{call.user}: from one place and one SSRC", report["foreign"] == 0 and len(report["ssrcs"]) == 1,
              f"{report['foreign']} foreign packets, {len(report['ssrcs'])} SSRC"),
    ]


def judge_heard_by_key(call, calls, heard, stats):
    """What the emulator heard under the call's key. `heard` is {label of a caller: ms}."""
    others = sum(ms for label, ms in heard.items() if label not in (call.user, "unknown"))
    said_ms = sum(span["end_us"] - span["start_us"] for span in call.report["spoke"]) / 1000
    key = stats["keys"][call.user]
    checks = [Check(f"{call.user}'s key heard {call.user}'s caller", heard.get(call.user, 0) >= 0.6 * said_ms > 0,
                    f"{heard.get(call.user, 0) / 1000:.1f} s of {said_ms / 1000:.1f} s of speech, {key['audio_bytes']:,} bytes in all")]
    if len(calls) > 1:
        # 16 kHz, 16 bit: 32 bytes a millisecond.
        checks.append(Check(f"{call.user}'s key heard another caller", others == 0, f"{int(others * 32):,} bytes"))
    checks.append(Check(f"{call.user}'s key heard a mixture", *strangers(heard)))
    return checks


def judge_heard_by_caller(call, calls, heard):
    """What the caller heard. `heard` is {label of an answer: ms}."""
    others = sum(ms for label, ms in heard.items() if label not in (call.user, "unknown"))
    checks = [Check(f"{call.user}'s caller heard its own answer", heard.get(call.user, 0) > 500, f"{heard.get(call.user, 0) / 1000:.1f} s")]
    if len(calls) > 1:
        checks.append(Check(f"{call.user}'s caller heard another's answer", others == 0, f"{others:.0f} ms"))
    checks.append(Check(f"{call.user}'s caller heard a mixture", *strangers(heard)))
    return checks


def judge(scene, calls):
    """All checks of a finished run."""
    stats = scene.stats()
    locks = scene.locks()
    callers = {call.user: call.said for call in calls}
    answers = {call.user: call.answer for call in calls}
    checks = []
    for call in calls:
        checks += judge_locks(call, locks)
        heard = {}
        for recording in sorted(scene.heard_directory.glob(f"{call.user}-*.wav")):
            for label, ms in match(recording, callers).items():
                heard[label] = heard.get(label, 0) + ms
        checks += judge_heard_by_key(call, calls, heard, stats)
        checks += judge_heard_by_caller(call, calls, match(call.recording, answers, ":right"))
        checks += judge_rtp(call)
    return checks


def judge_real(calls, locks):
    """What can be known when the model is not ours: its answers are unknown, but no caller may hear what another one said or heard."""
    checks = []
    for call in calls:
        checks += judge_locks(call, locks) + judge_rtp(call)
        heard_ms = sum(span["end_us"] - span["start_us"] for span in call.report["heard"]) / 1000
        checks.append(Check(f"{call.user}'s caller heard an answer", heard_ms > 500, f"{heard_ms / 1000:.1f} s"))
        others = [other for other in calls if other is not call]
        references = {f"{other.user} {side}": f"{other.recording}:{side}" for other in others for side in ("left", "right") if audible(other, side)}
        found = match(call.recording, references, ":right") if references and heard_ms else {}
        foreign = sum(ms for label, ms in found.items() if label != "unknown")
        checks.append(Check(f"{call.user}'s caller heard another's call", foreign == 0, f"{foreign:.0f} ms"))
    return checks


def audible(call, side):
    return bool(call.report["spoke" if side == "left" else "heard"])


def failed(checks):
    return [f"{check.what}: {check.value}" for check in checks if not check.ok]
