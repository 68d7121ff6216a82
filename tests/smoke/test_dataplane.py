#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The data plane alone, between a worker and callers played by the test: first packets are not lost, every byte goes where it belongs, a hostile worker hurts only itself."""

import time

import fake_worker
from harness import SmokeCase, main, scene, stage

BEAT = 0.02


def tagged(tag, number):
    """A 20 ms payload that says whose it is."""
    return bytes([tag]) * 156 + number.to_bytes(4, "big")


class DataPlane(SmokeCase):
    def setUp(self):
        super().setUp()
        self.workers = []

    lcores, one_queue = "0,1", False

    def start(self, **changes):
        self.scene.start_plane(self.scene.configuration(**changes), lcores=self.lcores, one_queue=self.one_queue)
        self.scene.control.call("events.subscribe")

    def worker(self, name, *users, **more):
        worker = fake_worker.FakeWorker(self.scene.path("worker.sock"), name, list(users), **more)
        self.workers.append(worker)
        self.addCleanup(worker.close)
        return worker

    def call(self, worker, user, port, signalled, caller_ssrc, **more):
        """session.create and its two ends: (session, open message, caller)."""
        reply = self.scene.create(user, signalled, **more)
        caller = fake_worker.Caller(self.scene.lan, self.scene.CALLERS, port, caller_ssrc, reply["local"])
        self.addCleanup(caller.close)
        return reply["session"], worker.wait_open(reply["session"]), caller

    def talk(self, callers, seconds, speaker=None):
        """Each caller sends its tag on a 20 ms beat; `speaker(n)` is called on every beat. Everything is pumped."""
        for number in range(int(seconds / BEAT)):
            start = time.monotonic()
            for tag, caller in callers.items():
                caller.send(tagged(tag, number))
                caller.pump()
            for worker in self.workers:
                worker.pump()
            if speaker:
                speaker(number)
            time.sleep(max(0, BEAT - (time.monotonic() - start)))

    @staticmethod
    def wait_heard(caller, tag, count=1):
        stage.wait_for(lambda: sum(r[5][0] == tag for r in caller.pump()) >= count, 2, f"{count} packets of {tag:#x}")

    def events(self, name):
        return [e["params"] for e in self.scene.control.poll_events() if e["method"] == name]

    def test_first_packets_of_an_unknown_port_are_delivered(self):
        s = self.scene
        self.start()
        worker = self.worker("w", "admin2")
        session, opened, caller = self.call(worker, "admin2", 18920, 5004, 1234567)
        self.assertEqual((opened["user"], opened["codec"], opened["held"], opened["generation"]), ("admin2", "PCMU", False, 1))
        self.assertIsNone(s.get(session)["bound"])
        caller.pump()
        self.assertEqual(caller.received, [], "RTP was sent to a port nobody confirmed")
        self.talk({7: caller}, 0.5)
        stage.wait_for(lambda: worker.pump() and len(worker.audio(opened)) == 25, 2, "all 25 packets")
        self.assertEqual(worker.audio(opened), [tagged(7, n) for n in range(25)])
        self.assertEqual(s.locks(session), [{"verb": "Locked", "session": session, "ssrc": "1234567", "address": s.CALLERS, "port": "18920"}])
        described = s.get(session)
        self.assertEqual(described["bound"], {"address": s.CALLERS, "port": 18920, "ssrc": 1234567})
        self.assertEqual((described["receive"]["packets"], described["receive"]["lost"], described["address_switches"]), (25, 0, 0))
        bound = self.events("session.bound")
        self.assertEqual([(b["session"], b["ssrc"], b["first"]) for b in bound], [(session, 1234567, True)])
        # Silence flows back on the beat, with one SSRC that is not the caller's.
        self.talk({7: caller}, 0.5)
        received = stage.wait_for(lambda: len(caller.pump()) > 30 and list(caller.received), 2, "silence on the beat")
        self.assertEqual(len({r[2] for r in received}), 1)
        self.assertNotEqual(received[0][2], 1234567)
        for one, two in zip(received, received[1:]):
            self.assertEqual(((two[0] - one[0]) & 0xffff, (two[1] - one[1]) & 0xffffffff), (1, 160))
        self.assertEqual({r[5] for r in received}, {b"\xff" * 160})
        s.control.call("session.delete", session=session)
        stage.wait_for(lambda: worker.pump() and not worker.opened, 2, "the worker to be told")
        ended = stage.wait_for(lambda: self.events("session.ended"), 2, "session.ended")
        self.assertEqual((ended[0]["session"], ended[0]["reason"], ended[0]["receive"]["packets"]), (session, "deleted", 50))
        caller.send(tagged(7, 99))
        stage.wait_for(lambda: s.drops()["quarantined"] == 1, 5, "a late packet to be refused")

    def test_two_calls_hear_only_their_own(self):
        s = self.scene
        self.start()
        one, two = self.worker("one", "admin2"), self.worker("two", "agent4")
        _, open_one, caller_one = self.call(one, "admin2", 18920, 18920, 0xca110000)
        _, open_two, caller_two = self.call(two, "agent4", 18922, 18922, 0xca110000)  # the same SSRC, as SIPp draws it

        ends, spoken = ((one, open_one, caller_one, 0x51), (two, open_two, caller_two, 0x52)), {0x51: 0, 0x52: 0}

        def heard(caller):
            return [r[5] for r in caller.pump() if r[5] != b"\xff" * 160]

        def speaker(number):
            for worker, opened, caller, tag in ends:
                # No more on its way than the data plane keeps, however late it is.
                if number >= 25 and spoken[tag] - len(heard(caller)) < 8:
                    worker.speak(opened, tagged(tag, spoken[tag]))
                    spoken[tag] += 1
        self.talk({1: caller_one, 2: caller_two}, 2.5, speaker)
        stage.wait_for(lambda: one.pump() and two.pump() and len(one.heard) + len(two.heard) >= 250, 2, "the last packets")
        self.assertEqual(one.audio(open_one), [tagged(1, n) for n in range(125)])
        self.assertEqual(two.audio(open_two), [tagged(2, n) for n in range(125)])
        self.assertEqual((len(one.heard), len(two.heard)), (125, 125), "something arrived that belongs to nobody")
        for _, _, caller, tag in ends:
            stage.wait_for(lambda: len(heard(caller)) >= spoken[tag] > 20, 2, "the last frames")  # pylint: disable=cell-var-from-loop
            self.assertEqual(heard(caller), [tagged(tag, number) for number in range(spoken[tag])])

    def test_flush_drops_the_old_turn_and_mark_reports_the_end(self):
        self.start()
        worker = self.worker("w", "admin2")
        _, opened, caller = self.call(worker, "admin2", 18920, 18920, 5)
        ring = worker.down[opened["lcore"]]
        self.talk({1: caller}, 0.2)
        for number in range(14):
            worker.speak(opened, tagged(0x60, number), 0)
        stage.wait_for(lambda: any(r[5][0] == 0x60 for r in caller.pump()), 2, "the first turn", interval=0.002)
        ring.put(fake_worker.FLUSH, opened["index"], opened["generation"], 1)
        worker.speak(opened, tagged(0x61, 99), 0)  # late: of the flushed turn
        worker.speak(opened, tagged(0x62, 0), 1)
        ring.put(fake_worker.MARK, opened["index"], opened["generation"], 1)
        self.talk({1: caller}, 0.4)
        stage.wait_for(lambda: worker.pump() and any(r["type"] == fake_worker.DRAINED for r in worker.heard), 2, "the mark")
        spoken = [r[5][0] for r in caller.pump() if r[5] != b"\xff" * 160]
        self.assertLess(spoken.count(0x60), 8)
        self.assertEqual((spoken.count(0x61), spoken.count(0x62)), (0, 1))
        drained = [r for r in worker.heard if r["type"] == fake_worker.DRAINED]
        self.assertEqual([(r["session"], r["turn"], r["flags"]) for r in drained], [(opened["index"], 1, 0)])
        self.assertEqual(self.scene.drops()["down_stale_turn"], 1)

    def test_worker_loss_is_silence_and_the_next_worker_continues(self):
        s = self.scene
        self.start()
        first = self.worker("w", "admin2")
        session, opened, caller = self.call(first, "admin2", 18920, 18920, 5)
        first.say(state={"session": session, "state": "ready"})
        s.wait_state(session, "ready")
        # Interrupted once, so its turn is 1; the next worker begins at 0.
        first.down[opened["lcore"]].put(fake_worker.FLUSH, opened["index"], opened["generation"], 1)
        self.talk({1: caller}, 0.3, lambda n: first.speak(opened, tagged(0x51, n), 1))
        self.wait_heard(caller, 0x51)
        first.link.close()
        stage.wait_for(lambda: s.get(session)["state"] == "no-worker", 2, "the loss to be noticed")
        self.workers.remove(first)
        self.talk({1: caller}, 0.3)
        again = self.worker("w", "admin2")
        reopened = again.wait_open(session)
        self.assertEqual((reopened["index"], reopened["generation"]), (opened["index"], opened["generation"]))
        self.talk({1: caller}, 0.4, lambda n: again.speak(reopened, tagged(0x52, n)))
        self.wait_heard(caller, 0x52)
        received = caller.pump()
        self.assertEqual(len({r[2] for r in received}), 1)
        for one, two in zip(received, received[1:]):
            self.assertEqual(((two[0] - one[0]) & 0xffff, (two[1] - one[1]) & 0xffffffff), (1, 160))
        stage.wait_for(lambda: again.pump() and len(again.audio(reopened)) >= 18, 2, "the caller's audio")
        self.assertEqual([(e["worker"], e["calls"]) for e in self.events("worker.lost")], [("w", 1)])

    def test_a_hostile_worker_hurts_only_itself(self):
        s = self.scene
        self.start()
        good, bad = self.worker("good", "admin2"), self.worker("bad", "agent4")
        session, open_good, caller_good = self.call(good, "admin2", 18920, 18920, 5)
        other, open_bad, caller_bad = self.call(bad, "agent4", 18922, 18922, 6)

        def speaker(number):
            good.speak(open_good, tagged(0x51, number))
            # Frames and a flush for the other worker's call, wherever its lcore is.
            for ring in bad.down:
                ring.put(fake_worker.FRAME, open_good["index"], open_good["generation"], 0, tagged(0x66, number))
                ring.put(fake_worker.FLUSH, open_good["index"], open_good["generation"], number)
        self.talk({1: caller_good, 2: caller_bad}, 1, speaker)
        bad.say(state={"session": session, "state": "failed"})
        stage.wait_for(lambda: stage.telemetry(s.prefix, "/voxlane/worker/list,bad")["link_messages_foreign"] == 1, 2, "the false state")
        stage.wait_for(lambda: s.drops()["down_session"] >= 90, 2, "the forged frames to be refused")
        self.wait_heard(caller_good, 0x51, 12)  # a flush that counts would have silenced the rest
        self.assertNotIn(0x66, {r[5][0] for r in caller_good.pump() + caller_bad.pump()})
        self.assertNotEqual(s.get(session)["state"], "failed")
        # Then it breaks its ring: cut off, while the other goes on.
        bad.down[0].put(fake_worker.FRAME, 0, 1, 0, tagged(0x66, 0), slots=200, length=65535)
        stage.wait_for(lambda: s.get(other)["state"] == "no-worker", 5, "the worker to be cut off")
        self.assertFalse(bad.pump())
        self.workers.remove(bad)
        self.assertEqual(s.drops()["down_corrupt"] > 0, True)
        self.talk({1: caller_good}, 0.3)
        stage.wait_for(lambda: good.pump() and len(good.audio(open_good)) == 50 + 15, 2, "all of the good worker's audio")

    def test_calls_nobody_is_heard_on_end(self):
        s = self.scene
        self.start(sessions={"max": 16, "media_timeout_s": 5, "hold_timeout_s": 60, "quarantine_s": 1})
        worker = self.worker("w", "admin2")
        silent, _, _ = self.call(worker, "admin2", 18920, 18920, 5)
        held, opened, caller = self.call(worker, "admin2", 18922, 18922, 6)
        self.talk({1: caller}, 0.2)
        heard = stage.wait_for(lambda: worker.pump() and len(worker.audio(opened)) >= 10 and len(worker.audio(opened)), 2, "the caller's audio")
        s.control.call("session.update", session=held, hold=True)
        stage.wait_for(lambda: worker.pump() and {"hold": {"session": held, "held": True}} in worker.messages, 2, "hold")
        self.talk({1: caller}, 0.2)
        self.assertEqual(len(worker.audio(opened)), heard, "audio of a held call was delivered")
        stage.wait_for(lambda: worker.pump() and self.events("session.ended"), 8, "the silent call to end")
        self.assertEqual([(e["session"], e["reason"]) for e in self.events("session.ended")], [(silent, "media timeout")])
        self.assertTrue(s.get(held)["held"])

    def test_drain_refuses_new_calls_and_ends_with_the_last(self):
        s = self.scene
        self.start(drain={"timeout_s": 60})
        worker = self.worker("w", "admin2")
        session, opened, caller = self.call(worker, "admin2", 18920, 18920, 5)
        s.plane.kill(15)
        stage.wait_for(lambda: s.control.call("system.info")["draining"], 2, "draining")
        with self.assertRaises(stage.Rpc.Error) as caught:
            s.create("admin2", 18922)
        self.assertEqual(caught.exception.error["code"], -32003)
        self.talk({1: caller}, 0.3)
        stage.wait_for(lambda: worker.pump() and len(worker.audio(opened)) == 15, 2, "the audio of a call that goes on")
        s.control.call("session.delete", session=session)
        self.assertEqual(s.plane.wait(5), 0, s.plane.tail())
        for name in ("control.sock", "worker.sock"):
            self.assertFalse(s.path(name).exists(), name)

    def test_refusals_of_create_name_the_reason(self):
        s = self.scene
        self.start(sessions={"max": 2, "quarantine_s": 1},
                   trunks=[{"name": "gate-voip", "sources": [f"{s.CALLERS}/32"]},
                           {"name": "own-ports", "sources": ["10.77.1.0/24"], "port_mode": "dedicated"}],
                   listen={"address": s.PLANE, "prefix_length": s.PREFIX, "dedicated_ports": [20000, 20001]})
        self.worker("w", "admin2", "small", capacity=100)

        def refusal(user, port, **more):
            with self.assertRaises(stage.Rpc.Error) as caught:
                s.create(user, port, **more)
            return caught.exception.error
        error = refusal("nobody", 5004)
        self.assertEqual((error["code"], error["data"]["param"]), (-32003, "user"))
        self.assertIn("workers attached: 1, users they serve: 2", error["message"])
        error = refusal("admin2", 5004, trunk="none")
        self.assertEqual((error["code"], error["data"]["param"]), (-32001, "trunk"))
        error = refusal("admin2", 5004, address="10.77.1.9")
        self.assertEqual((error["code"], error["data"]["param"]), (-32602, "remote.address"))
        s.create("admin2", 7000, trunk="own-ports", address="10.77.1.9")
        self.assertEqual(refusal("admin2", 7002, trunk="own-ports", address="10.77.1.9")["code"], -32004)
        s.create("admin2", 7004)
        self.assertEqual(refusal("admin2", 7006)["code"], -32004)

    def test_caller_with_our_ssrc_makes_us_take_another(self):
        s = self.scene
        self.start()
        worker = self.worker("w", "admin2")
        session, opened, caller = self.call(worker, "admin2", 18920, 18920, 0)
        ours = s.get(session)["send"]["ssrc"]
        ring = worker.down[opened["lcore"]]
        ring.put(fake_worker.FLUSH, opened["index"], opened["generation"], 3)
        self.talk({}, 0.1)
        worker.say(state={"session": session, "state": "ready"})
        before = s.get(session)["send"]["packets"]
        del worker.messages[:]
        caller.ssrc = ours
        caller.send(tagged(1, 0))
        stage.wait_for(lambda: s.get(session)["send"]["ssrc"] != ours, 2, "another SSRC")
        self.talk({}, 0.1)
        caller.pump()
        del caller.received[:]
        self.talk({1: caller}, 0.4, lambda n: ring.put(fake_worker.FRAME, opened["index"], opened["generation"], 3, tagged(0x51, n)))
        self.wait_heard(caller, 0x51)  # the worker's turn goes on
        self.assertEqual({r[2] for r in caller.pump()}, {s.get(session)["send"]["ssrc"]})
        worker.pump()
        self.assertFalse([m for m in worker.messages if "open" in m or "close" in m], "the worker was bothered")
        after = s.get(session)
        self.assertEqual((after["state"], after["worker"]), ("ready", "w"))
        self.assertGreater(after["send"]["packets"], before)

    def test_signalled_ssrc_is_locked_at_once(self):
        s = self.scene
        self.start()
        worker = self.worker("w", "admin2")
        session, opened, caller = self.call(worker, "admin2", 18920, 18920, 77, ssrc=77)
        self.assertEqual(s.get(session)["bound"], {"address": s.CALLERS, "port": 18920, "ssrc": 77})
        caller.send(tagged(1, 0))
        stage.wait_for(lambda: worker.pump() and worker.audio(opened) == [tagged(1, 0)], 2, "the first packet")
        self.assertEqual(stage.telemetry(s.prefix, "/voxlane/info")["control_learned"], 0, "the control thread was asked")

    def test_signalling_takes_a_learned_place_from_another_call(self):
        s = self.scene
        self.start()
        worker = self.worker("w", "admin2", "agent4")
        first, open_first, caller = self.call(worker, "admin2", 18920, 5004, 5)
        self.talk({1: caller}, 0.3)
        self.assertEqual(s.get(first)["bound"]["port"], 18920)
        heard = len(stage.wait_for(lambda: worker.pump() and len(worker.audio(open_first)) == 15 and worker.audio(open_first), 2, "15 packets"))
        # The caller of 18920 is agent4's, says signalling: what was learned from packets gives way.
        second = s.create("agent4", 18920)["session"]
        open_second = worker.wait_open(second)
        self.assertIsNone(s.get(first)["bound"])
        self.talk({2: caller}, 0.3)
        stage.wait_for(lambda: worker.pump() and len(worker.audio(open_second)) > 10, 2, "the second call's audio")
        self.assertEqual(len(worker.audio(open_first)), heard)
        self.assertEqual({p[0] for p in worker.audio(open_second)}, {2})

    def test_several_lcores_share_the_calls(self):
        s = self.scene
        self.lcores = "0@0,1@1,2@1,3@1"
        self.start(lcores={"sleep": True})
        worker = self.worker("w", "admin2")
        self.assertEqual(worker.welcome["lcores"], 3)
        calls = [self.call(worker, "admin2", 18920 + 2 * n, 18920 + 2 * n, 100 + n) for n in range(12)]
        usable = {opened["lcore"] for _, opened, _ in calls}
        self.talk({n: caller for n, (_, _, caller) in enumerate(calls)}, 0.5,
                  lambda number: [worker.speak(opened, tagged(0x50 + n, number)) for n, (_, opened, _) in enumerate(calls)])
        stage.wait_for(lambda: worker.pump() and len(worker.heard) == 300, 2, "every packet")
        for n, (_, opened, caller) in enumerate(calls):
            # A tap moves a flow from queue to queue, which may put its packets in another order, but one lcore handles all of them.
            self.assertEqual(len(worker.rings(opened)), 1)
            self.assertEqual(sorted(worker.audio(opened)), [tagged(n, number) for number in range(25)])
            self.wait_heard(caller, 0x50 + n)
            self.assertEqual({r[5][0] for r in caller.pump()} - {0xff}, {0x50 + n})
        print(f"# calls are sent by lcores {sorted(usable)} of 3", flush=True)
        self.assertGreater(len(set.union(*(worker.rings(opened) for _, opened, _ in calls))), 1)
        usage = stage.telemetry(s.prefix, "/voxlane/lcore/usage")
        self.assertGreater(sum(one["handed_over"] for one in usage.values()), 0)
        self.assertEqual(stage.telemetry(s.prefix, "/voxlane/drops")["handover_full"], 0)
        print(f"# handled by lcores: {[one['rtp'] for one in usage.values()]} of "
              f"{[one['received'] for one in usage.values()]} received", flush=True)

    def test_lcores_send_by_the_one_queue_of_a_port(self):
        """Three packet lcores, one queue each way: every lcore does its calls' beats, every caller hears all of its answer and nothing else."""
        s = self.scene
        self.lcores, self.one_queue = "0@0,1@0,2@1,3@1", True
        self.start(lcores={"sleep": True}, playout={"idle": "none"})
        s.plane.wait_log("1 tx queues for 3 packet lcores", 1)
        worker = self.worker("w", "admin2")
        calls = [self.call(worker, "admin2", 18920 + 2 * n, 18920 + 2 * n, 100 + n) for n in range(12)]
        self.assertEqual([opened["lcore"] for _, opened, _ in calls], [0, 1, 2] * 4)
        # Those of one lcore end; as many others take their places.
        for session, _, _ in calls[1::3]:
            s.control.call("session.delete", session=session)
        calls[1::3] = [self.call(worker, "admin2", 19920 + 2 * n, 19920 + 2 * n, 200 + n) for n in range(4)]
        self.assertEqual(sorted(opened["lcore"] for _, opened, _ in calls), [0] * 4 + [1] * 4 + [2] * 4)
        self.talk({n: caller for n, (_, _, caller) in enumerate(calls)}, 0.6, lambda number: number < 20 and [
            worker.speak(opened, tagged(0x50 + n, number)) for n, (_, opened, _) in enumerate(calls)])
        for n, (_, _, caller) in enumerate(calls):
            stage.wait_for(lambda: len(caller.pump()) >= 20, 2, "the last frames")  # pylint: disable=cell-var-from-loop
            self.assertEqual([r[5] for r in caller.received], [tagged(0x50 + n, number) for number in range(20)])
            self.assertEqual([r[0] for r in caller.received], [(caller.received[0][0] + i) & 0xffff for i in range(20)])
        usage = list(stage.telemetry(s.prefix, "/voxlane/lcore/usage").values())
        self.assertEqual([one["frames"] for one in usage], [80] * 3)
        self.assertEqual([one["sent_over"] for one in usage], [0, 80, 80])
        self.assertGreaterEqual(usage[0]["transmitted"], 240)
        self.assertEqual([one["transmitted"] for one in usage[1:]], [0, 0])
        drops = s.drops()
        self.assertEqual((drops["send_over_full"], drops["tx_full"], drops["handover_full"]), (0, 0, 0))
        # Calls up on every lcore and packets on the way: nothing is left behind, and it ends as it should.
        s.plane.kill(15)
        self.assertEqual(s.plane.wait(5), 0, s.plane.tail())

    def test_telemetry_answers_every_command(self):
        s = self.scene
        self.start()
        worker = self.worker("worker-1", "admin2")
        session, _, caller = self.call(worker, "admin2", 18920, 18920, 5)
        self.talk({1: caller}, 0.2)

        def ask(command):
            return stage.telemetry(s.prefix, command)
        info = ask("/voxlane/info")
        self.assertEqual((info["sessions"], info["workers"], info["bound"], info["table_used"], info["next_hops_known"]), (1, 1, 1, 1, 1))
        self.assertEqual(ask("/voxlane/session/list")["sessions"], [session])
        self.assertEqual(ask(f"/voxlane/session/list,{session}")["sessions"], [])
        self.assertEqual(ask(f"/voxlane/session/info,{session}")["received_packets"], 10)
        self.assertIsNone(ask("/voxlane/session/info,unknown"))
        drops = ask("/voxlane/drops")
        self.assertEqual(drops["ssrc_wrong_source"], 0)
        self.assertEqual(set(ask("/voxlane/drops,control")), set(drops))
        self.assertEqual(set(ask("/voxlane/drops,0")), set(drops))
        self.assertGreaterEqual(ask("/voxlane/lcore/usage")["0"]["delivered"], 10)
        short = ask("/voxlane/worker/list")["0"]
        self.assertEqual((short["worker"], short["calls_given"]), ("worker-1", 1))
        self.assertEqual(ask("/voxlane/worker/list,worker-1")["link_calls_opened"], 1)
        self.assertIn("p999", ask("/voxlane/latency")["beat_error_us"])
        self.assertGreater(sum(ask("/voxlane/latency/buckets,beat_error_us").values()), 0)
        self.assertIsNone(ask("/voxlane/latency/buckets,nothing"))
        self.assertIn("dial_us", ask("/voxlane/latency,worker-1"))
        self.assertIn("beat_error_us", ask("/voxlane/latency,0"))


if __name__ == "__main__":
    main()
