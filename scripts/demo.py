#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two calls at the same time from one IP address and two ports, as two users with a key each; shown live and judged at the end. Started by demo.sh, which
installs and builds what it needs."""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import demo_view
import oracle
import scene
import stage

CONGRATULATIONS = "Congratulations. You have successfully installed and executed the Asterisk open source PBX."


class Person:
    """A user of the demo: where the call comes from, what is said, what is answered."""

    def __init__(self, name, port, signalled_port, ssrc, said, answer, transcripts, answer_texts, extra=()):
        self.name, self.port, self.signalled_port, self.ssrc = name, port, signalled_port, ssrc
        self.said_parts, self.answer_source = said, answer
        self.transcripts, self.answer_texts, self.extra = transcripts, answer_texts, extra
        self.said = self.answer = self.session = self.caller = None
        self.live = {}
        self.ready = False
        self.trouble = ""  # what kept, or keeps, the call from the model


PEOPLE = [
    # Signalled exactly; lets the model finish.
    Person("admin2", 18920, 18920, 1234567, [scene.BOOK[0]], scene.ENGLISH,
           ["And Mister John Dashwood had then leisure to consider how much there might be prudently in his power to do for them."], [CONGRATULATIONS]),
    # Signalled with the default port, "not known yet"; speaks again while the model still talks.
    Person("agent4", 18922, 5004, 7654321, [scene.FRENCH], scene.SPANISH,
           ["(en français : l'annonce du test d'écho)"], ["(en español: las felicitaciones por instalar Asterisk)"],
           ["--talk-when-hearing-ms", 4500, "--repeat", 0]),
]


def parse_arguments():
    parser = argparse.ArgumentParser(prog="demo.sh", description="Voxlane's demo: two calls at the same time from one IP address, each with a key of its own.")
    parser.add_argument("--seconds", type=int, default=40, metavar="N", help="length of the calls (10 to 3600, default 40)")
    parser.add_argument("--output", default="demo-output", metavar="DIR", help="where the recordings and reports go (default ./demo-output)")
    parser.add_argument("--endpoint", metavar="URL", help="a real Gemini Live service instead of the emulator, with --users")
    parser.add_argument("--users", metavar="FILE", help="users file with real keys; its first two users call")
    parser.add_argument("--model", metavar="NAME", help="model to use with --endpoint instead of the users file's")
    parser.add_argument("--hugepages", action="store_true", help="use hugepages (--in-memory) instead of --no-huge")
    parser.add_argument("--plain", action="store_true", help="plain lines instead of a table that is redrawn")
    parser.add_argument("--keep", action="store_true", help="keep the work directory with all logs")
    arguments = parser.parse_args()
    if not 10 <= arguments.seconds <= 3600:
        parser.error(f"--seconds: {arguments.seconds} is not from 10 to 3600")
    if bool(arguments.endpoint) != bool(arguments.users):
        parser.error("--endpoint and --users go together")
    return arguments


def judge_answered(person, session):
    """The model was reached under the person's key and its voice was sent; where not, why. `session` as session.get shows it."""
    state = session["state"] + (f": {session['reason']}" if session["reason"] else "")
    frames = session["send"]["frames"]
    return [oracle.Check(f"{person.name}: the model was ready", person.ready, "yes" if person.ready else person.trouble or state),
            oracle.Check(f"{person.name}: the model's voice was sent", frames > 0, f"{frames:,} frames" + ("" if frames else f", {person.trouble or state}"))]


class Demo:
    def __init__(self, arguments, view):
        self.arguments, self.view = arguments, view
        self.real = bool(arguments.endpoint)
        self.output = pathlib.Path(arguments.output)
        self.scene = scene.Scene(keep=arguments.keep, isolated=not self.real)
        self.people = PEOPLE
        self.shown_locks = 0
        self.steps = 0

    def step(self, text):
        self.steps += 1
        self.view.line(f"  {self.steps}. {text}")

    # Setting up.

    def prepare_sounds(self):
        s = self.scene
        self.output.mkdir(parents=True, exist_ok=True)
        for person in self.people:
            person.said = scene.speech(s, f"said-{person.name}.wav", *person.said_parts, trim=8)
            person.answer = scene.speech(s, f"answer-{person.name}.wav", person.answer_source, rate=24000, trim=8)

    def read_users(self):
        """The users file as the worker understands it; its sentence where it does not. A copy is checked, because the person's file need not be root's."""
        given = self.arguments.users
        copy = self.scene.path("given.users.json")
        shutil.copy(given, copy)
        done = subprocess.run([stage.binary("voxlane-worker"), "--users", copy, "--check-users"], capture_output=True, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, timeout=30, check=False)
        if done.returncode:
            said = done.stderr.strip().replace(str(copy), given).replace("voxlane-worker: ", "")
            raise stage.StageError(said or f"{given}: voxlane-worker --check-users ended with {done.returncode}")
        return json.loads(copy.read_text(encoding="utf-8"))

    def prepare_real_users(self):
        """The first two users of a real users file take the parts; the endpoint is the command line's."""
        try:
            document = self.read_users()
            users = document["users"][:2]
            if len(users) < 2:
                raise stage.StageError(f"{self.arguments.users}: the demo needs two users")
            gemini = {**document["gemini"], "endpoint": self.arguments.endpoint}
            if self.arguments.model:
                gemini["model"] = self.arguments.model
                users = [{name: value for name, value in user.items() if name != "model"} for user in users]
            for person, user in zip(self.people, users):
                person.name = user["name"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # Nothing of the file is repeated: it holds keys.
            raise stage.StageError(f"{self.arguments.users}: is no users file ({type(error).__name__})") from None
        return [stage.write_json(self.scene.path(f"worker-{user['name']}.users.json"), {"gemini": gemini, "users": [user]}, 0o600) for user in users]

    def start(self):
        s = self.scene
        self.step("preparing recorded speech, a private CA and keys")
        files = self.prepare_real_users() if self.real else None
        self.prepare_sounds()
        users = [scene.User(p.name, [p.answer], p.answer_texts, p.transcripts) for p in self.people]
        if not self.real:
            self.step("starting the emulator of Gemini Live behind TLS")
            s.start_emulator(users)
        self.step("starting the data plane; a tap leads to the callers' network namespace")
        s.start_plane(hugepages=self.arguments.hugepages)
        self.step("starting two workers, each with the key of one user")
        for index, user in enumerate(users):
            if files:
                # A user's name may hold more than a worker's.
                s.start_worker_with(f"worker-{index + 1}", files[index])
            else:
                s.start_worker(f"worker-{user.name}", [user])
        s.control.call("events.subscribe", events=["session.state", "session.ready"])
        self.step("two calls from one address: one port signalled, the other not known yet")
        for person in self.people:
            reply = s.create(person.name, person.signalled_port)
            person.session, person.local = reply["session"], reply["local"]
        for person in self.people:
            options = ["--wav", person.said, "--ssrc", person.ssrc, "--start-delay-ms", 2000, "--pause-ms", 11000, "--repeat", 0,
                       "--record", self.output / f"{person.name}.wav", "--duration-s", self.arguments.seconds, *person.extra]
            person.caller = s.start_caller(f"caller-{person.name}", person.port, person.local, *options, live=True)

    # Showing.

    def show_locks(self):
        locks = self.scene.locks()
        for lock in locks[self.shown_locks:]:
            self.view.line(f"{lock['verb']} RTP session {lock['session']} to SSRC {lock['ssrc']} from ({lock['address']}, {lock['port']})", demo_view.GREEN)
        self.shown_locks = len(locks)

    def note_events(self):
        """Which calls have reached the model, and what keeps the others from it."""
        events = self.scene.control.poll_events()
        for event in events:
            told = event["params"]
            for person in self.people:
                if person.session != told.get("session"):
                    continue
                if event["method"] == "session.ready" or told.get("state") in ("ready", "talking"):
                    person.ready, person.trouble = True, ""
                elif told.get("reason"):
                    code = f" {told['code']}" if told.get("code") else ""
                    person.trouble = f"{told['state']}{code}: {told['reason']}"
        events.clear()

    @staticmethod
    def last_live(person, path):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            person.live = json.loads(lines[-1]) if lines else person.live
        except (OSError, ValueError):
            pass

    def rows(self):
        rows = []
        self.note_events()
        for person in self.people:
            state = self.scene.get(person.session)
            if state["state"] in ("ready", "talking"):
                person.ready, person.trouble = True, ""
            self.last_live(person, self.scene.path(f"caller-{person.name}.live"))
            bound, receive = state["bound"], state["receive"]
            rows.append({"user": person.name, "caller": f"{self.scene.CALLERS}:{person.port}", "ssrc": bound["ssrc"] if bound else 0,
                         "bound": bound, "packets_in": receive["packets"], "packets_out": state["send"]["packets"],
                         "lost": receive["lost"] + person.live.get("lost", 0), "jitter_ms": person.live.get("jitter_ms"), "state": state["state"],
                         "trouble": person.trouble or state["reason"], "caller_text": state["transcript"]["caller"], "model_text": state["transcript"]["model"]})
        return rows

    def watch(self):
        started = time.monotonic()
        rows = None
        while any(person.caller.running() for person in self.people):
            elapsed = min(int(time.monotonic() - started), self.arguments.seconds)
            for process in self.scene.processes:
                if not process.running() and not process.name.startswith("caller-"):
                    raise stage.StageError(f"{process.name} ended with {process.popen.returncode}:\n{process.tail()}")
            self.show_locks()
            rows = self.rows()
            title = f"{elapsed // 60:02d}:{elapsed % 60:02d} / {self.arguments.seconds // 60:02d}:{self.arguments.seconds % 60:02d}"
            self.view.draw(f"Voxlane   {title}   {'Gemini Live' if self.real else 'emulated Gemini Live'}   Ctrl-C ends it" if self.view.live else title, rows)
            time.sleep(0.25)
        self.show_locks()
        if rows:
            self.view.draw("Voxlane   the calls have ended" if self.view.live else "at the end", rows)

    # Judging.

    def judge(self):
        finished, answered = [], []
        self.note_events()
        for person in self.people:
            report = self.scene.report(person.caller)
            shutil.copy(person.caller.report_path, self.output / f"{person.name}.json")
            session = self.scene.get(person.session)
            answered += judge_answered(person, session)
            finished.append(oracle.Call(user=person.name, session=person.session, address=self.scene.CALLERS, port=person.port, ssrc=person.ssrc,
                                        said=str(person.said), answer=str(person.answer), recording=str(self.output / f"{person.name}.wav"),
                                        report=report, switches=session["address_switches"]))
        if self.real:
            checks = answered + oracle.judge_real(finished, self.scene.locks())
        else:
            checks = answered + oracle.judge(self.scene, finished)
        good = self.view.verdict(checks)
        self.view.line(f"Recordings (left: said, right: heard) and reports: {self.output}/", demo_view.DIM)
        return good


def main():
    arguments = parse_arguments()
    view = demo_view.View(plain=arguments.plain)
    # SIGTERM and a closed terminal clean up as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    demo = None
    status = 1
    try:
        demo = Demo(arguments, view)
        demo.start()
        demo.watch()
        status = 0 if demo.judge() else 1
    except KeyboardInterrupt:
        view.keep()
        view.line()
        view.line("stopped; cleaning up", demo_view.YELLOW)
        status = 130
    except (stage.StageError, stage.Rpc.Error, OSError) as error:
        view.keep()
        view.line()
        view.line(f"demo: {error}", demo_view.RED)
    finally:
        # A second Ctrl-C may not stop the cleaning.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if demo:
            for error in demo.scene.close():
                view.line(f"cleaning up: {error}", demo_view.RED)
                status = status or 1
            if arguments.keep:
                view.line(f"Logs are in {demo.scene.directory}", demo_view.DIM)
    owner = os.environ.get("SUDO_UID")
    if demo and owner and demo.output.exists():
        for path in [demo.output, *demo.output.iterdir()]:
            os.chown(path, int(owner), int(os.environ.get("SUDO_GID", owner)))
    sys.exit(status)


if __name__ == "__main__":
    main()
