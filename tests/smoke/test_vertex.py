#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The worker with Vertex AI between fake_dataplane and the emulator, over real TLS and with its system call filter: service accounts, access tokens that come late, end, or
are refused. No namespaces, no root."""

import json
import pathlib
import signal
import sys
import threading
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import stage  # noqa: E402  pylint: disable=wrong-import-position
import harness  # noqa: E402  pylint: disable=wrong-import-position
from test_worker import WorkerCase  # noqa: E402  pylint: disable=wrong-import-position

PROJECT = "project-1.iam.gserviceaccount.com"


class VertexCase(WorkerCase):
    def setUp(self):
        super().setUp()
        self.rsa, self.rsa_public = self.directory / "rsa.pem", self.directory / "rsa.pub"
        stage.run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.rsa)
        stage.run("openssl", "pkey", "-in", self.rsa, "-pubout", "-out", self.rsa_public)

    def start_vertex(self, *options):
        accounts = [part for name in ("admin2", "agent4") for part in ("--service-account", f"{name}@{PROJECT}={name}-account")]
        self.start_emulator("--oauth-key", self.rsa_public, *accounts, *options)

    def account(self, name, key=None, **changes):
        path = self.directory / f"{name}.json"
        stage.write_json(path, {"type": "service_account", "project_id": "project-1", "private_key_id": "k1", "private_key": (key or self.rsa).read_text(encoding="ascii"),
                                "client_email": f"{name}@{PROJECT}", "token_uri": f"https://localhost:{self.port}/token", **changes}, 0o600)
        return str(path)

    def vertex_users(self, names=("admin2", "agent4"), **accounts):
        return stage.write_json(self.directory / "users.json", {
            "gemini": {"service": "vertex", "endpoint": f"wss://localhost:{self.port}", "ca_file": str(self.ca), "model": "gemini-3.8-live",
                       "vertex": {"location": "us-central1"}},
            "users": [{"name": name, "voice": "Kore", "language": "de-DE", "vertex": {"service_account_file": accounts.get(name) or self.account(name)}} for name in names]},
            0o600)

    def later(self, seconds, query):
        """Change the emulator's settings while calls run."""
        timer = threading.Timer(seconds, lambda: urllib.request.urlopen(f"http://127.0.0.1:{self.stats_port}/control?{query}", timeout=5).close())
        timer.start()
        return timer

    def converse(self, *options, **more):
        report, keys = super().converse(*options, **more)
        log = self.worker.log()
        self.assertNotIn("ya29.", log)
        self.assertNotIn("ya29.", json.dumps(report))
        self.assertNotIn("PRIVATE", log)
        return report, {name: keys[f"{name}-account"] for name in ("admin2", "agent4")}


class Accounts(VertexCase):
    def test_two_accounts(self):
        self.start_vertex()
        report, keys = self.converse(users=self.vertex_users(), seconds=9, pause_ms=8000)
        self.assert_talks(report)
        for name in ("admin2", "agent4"):
            self.assertEqual(keys[name]["tokens"], 1)
            self.assertEqual(keys[name]["connections"], 1)
            self.assertGreater(keys[name]["audio_ms"], 7000)
            self.assertEqual(keys[name]["closes"], {})
        usage = [e["usage"] for e in report["calls"][0]["events"] if e["event"] == "usage"]
        self.assertTrue(usage and "candidatesTokenCount" in usage[0], report["calls"][0]["events"])

    def test_one_account_has_one_token(self):
        self.start_vertex()
        shared = self.account("admin2")
        report, keys = self.converse(users=self.vertex_users(admin2=shared, agent4=shared), seconds=5)
        self.assert_talks(report, 40)
        self.assertEqual((keys["admin2"]["tokens"], keys["admin2"]["connections"]), (1, 2))
        self.assertEqual(keys["agent4"]["tokens"], 0)

    def test_wrong_key_of_one_harms_no_other(self):
        self.start_vertex()
        other = self.directory / "other.pem"
        stage.run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", other)
        report, keys = self.converse(users=self.vertex_users(agent4=self.account("agent4", other)), seconds=6)
        self.assertGreater(report["calls"][0]["frames"], 60)
        self.assertEqual(report["calls"][1]["frames"], 0)
        self.assertIn("no access token for agent4@", self.states(report, 1)[-1][1])
        self.assertIn("Invalid JWT Signature", self.states(report, 1)[-1][1])
        self.assertEqual(keys["agent4"]["connections"], 0)
        self.assertEqual(report["worker"]["accounts_failing"], 1)

    def test_reload_keeps_the_token(self):
        """The file read again is the same account: neither call nor token is disturbed, and its other user is another one from then on."""
        self.start_vertex()
        users = self.vertex_users()

        def reload():
            self.vertex_users(agent4=self.account("admin2"))
            self.worker.kill(signal.SIGHUP)

        timer = threading.Timer(2.5, reload)
        timer.start()
        report, keys = self.converse(users=users, calls=1, seconds=6)
        timer.join()
        self.assert_talks(report, 40)
        self.assertIn("users file read again", self.worker.log())
        self.assertEqual((keys["admin2"]["tokens"], keys["admin2"]["connections"], keys["agent4"]["tokens"]), (1, 1, 1))

    def test_resumes(self):
        self.start_vertex("--close-after-ms", "2500:1011:Internal error encountered.")
        report, keys = self.converse(users=self.vertex_users(), calls=1, seconds=8)
        self.assertGreaterEqual(keys["admin2"]["resumes"], 1)
        self.assertEqual(keys["admin2"]["tokens"], 1)
        self.assertIn(("reconnecting", "Internal error encountered."), self.states(report))


class Tokens(VertexCase):
    def test_late_token_is_waited_for(self):
        self.start_vertex("--token-delay-ms", "1500")
        report, keys = self.converse(users=self.vertex_users(), calls=1, seconds=7)
        self.assert_talks(report, 40)
        self.assertEqual(keys["admin2"]["connections"], 1)
        self.assertNotIn("reconnecting", [s for s, _ in self.states(report)])

    def test_refreshed_ahead_of_time(self):
        self.start_vertex("--token-life-s", "2")
        report, keys = self.converse(users=self.vertex_users(), calls=1, seconds=8)
        self.assert_talks(report, 60)
        self.assertGreaterEqual(keys["admin2"]["tokens"], 4)
        self.assertLessEqual(keys["admin2"]["tokens"], 8)
        self.assertEqual(keys["admin2"]["connections"], 1)

    def test_refused_then_granted(self):
        for number, status in enumerate(("400", "500"), 1):  # the log is of both
            with self.subTest(status=status):
                self.start_vertex("--token-status", status)
                timer = self.later(2.0, "token-status=0")
                report, keys = self.converse(users=self.vertex_users(), calls=1, seconds=14)
                timer.join()
                self.assertIn("no access token for admin2@", " ".join(reason for _, reason in self.states(report)))
                self.assertGreater(report["calls"][0]["frames"], 40)
                self.assertEqual(keys["admin2"]["connections"], 1)
                # The operator: counted each time, said once.
                self.assertGreaterEqual(report["worker"]["tokens_failed"], 2)
                self.assertEqual(report["worker"]["accounts_failing"], 0)
                self.assertEqual(self.worker.log().count(f"account admin2@{PROJECT}: no access token from localhost"), number)
                self.assertRegex(self.worker.log(), f"account admin2@{PROJECT}: localhost gives access tokens again, after [0-9]+ requests that failed")
                self.emulator.stop()

    def test_expired_token_is_replaced_at_the_upgrade(self):
        """Every connection ends after 12 s; before the second one the service forgets all tokens."""
        self.start_vertex("--close-after-ms", "12000:1011:Internal error encountered.")
        timer = self.later(11.0, "now=expire-tokens")
        report, keys = self.converse(users=self.vertex_users(), calls=1, seconds=17)
        timer.join()
        self.assertEqual(keys["admin2"]["tokens"], 2)
        self.assertEqual(keys["admin2"]["connections"], 2)
        self.assertIn("the service refuses its access token", self.worker.log())
        self.assertGreaterEqual([s for s, _ in self.states(report)].count("ready"), 2)
        self.assertNotIn("failed", [s for s, _ in self.states(report)])


if __name__ == "__main__":
    harness.main(need_root=False, second_try=True)
