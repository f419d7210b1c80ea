# SPDX-License-Identifier: Apache-2.0
"""Options that contradict each other, or say what cannot be (see test_cli.py)."""
import json

from test_cli import COMPLETED, Case, in_turn, main


class Migrate(Case):
    def test_contradictions(self):
        for words, said in ((["--postcopy", "--precopy"], "--postcopy and --precopy"),
                            (["--postcopy", "--verify"], "--postcopy and --verify"),
                            (["--deadline", "1s", "--on-deadline", "postcopy", "--verify"],
                             "--on-deadline postcopy and --verify"),
                            (["--on-deadline", "cancel"], "without --deadline"),
                            (["--deadline", "0s"], "--deadline is 0"),
                            (["--channels", "9"], "wanted a number from 1 to 8"),
                            (["--plaintext", "--tls", "psk:k"], "--plaintext and --tls"),
                            (["--tls", "psk:"], "wanted psk:FILE or x509:DIR"),
                            (["--tls", "nonsense"], "wanted psk:FILE or x509:DIR"),
                            (["--compress", "zip"], '"zip"; wanted auto, none or lz4')):
            done = self.control("migrate", "router", "tcp:127.0.0.1:4444", *words, code=2)
            self.assertIn(said, done.stderr)

    def test_nobody_listens_there(self):
        for uri in "tcp:two:0", "vsock:3:0", "vsock:any:5":
            done = self.control("migrate", "router", uri, code=2)
            self.assertIn("wanted the one the target listens on", done.stderr)

    def test_a_short_time_is_not_none(self):
        self.migrate(in_turn(COMPLETED), "--deadline", "500us", "--retry", "1us", code=0)
        self.assertEqual(self.monitor.arguments("migrate"), [{
            "uri": "tcp:127.0.0.1:4444", "__org.godwit_deadline": 1, "__org.godwit_retry": 1}])

    def test_what_fails_is_json_too(self):
        for command in (["migrate", "router", "tcp:127.0.0.1:4444"], ["status", "router"],
                        ["dirty-rate", "router"], ["upgrade", "router"]):
            done = self.control(*command, "--json", code=1)
            self.assertIn("no monitor answers for router", json.loads(done.stdout)["error"])
            self.assertIn("(see godwit list)", done.stderr)


if __name__ == "__main__":
    main()
