# SPDX-License-Identifier: Apache-2.0
"""Calls that the smoke tests place."""

from harness import oracle, scene, stage

ADDRESS = stage.Stage.CALLERS


def users(*names):
    return [scene.User(name) for name in names]


def place(s, user, said, port, signalled_port, ssrc, *options, local=None, address=ADDRESS, codec="PCMU", name=None, **create):
    """session.create and a caller; returns (session, caller process, oracle.Call without a report)."""
    reply = s.create(user, signalled_port, address=address, codec=codec, **create)
    name = name or f"caller-{user}"
    recording = s.path(f"{name}.wav")
    caller = s.start_caller(name, port, local or reply["local"], "--wav", said, "--ssrc", ssrc, "--codec", codec, "--record", recording,
                            *options, address=address)
    call = oracle.Call(user=user, session=reply["session"], address=address, port=port, ssrc=ssrc, said=str(said), answer="",
                       recording=str(recording), report={})
    return reply["session"], caller, call


def finish(s, caller, call, seconds=60):
    """Wait for the caller's report and read the session's count of switches."""
    call.report = s.report(caller, seconds)
    call.switches = s.get(call.session)["address_switches"]
    return call
