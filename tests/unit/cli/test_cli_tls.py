# SPDX-License-Identifier: Apache-2.0
"""godwit keygen and --tls as a program (see test_cli.py)."""
import os
import tempfile
from pathlib import Path

from test_cli import COMPLETED, Case, in_turn, main


class Keygen(Case):
    def test_makes_a_key_once(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "key"
            said = self.godwit("keygen", path, code=0).stdout
            name, key = path.read_text().strip().split(":")
            self.assertEqual(path.stat().st_mode & 0o7777, 0o600)
            self.assertIn(name, said)
            self.assertNotIn(key, said)
            self.assertEqual(len(bytes.fromhex(key)), 32)
            self.assertIn("there already", self.godwit("keygen", path, code=2).stderr)
            self.assertIn("FILE", self.godwit("keygen", code=2).stderr)
            self.assertIn('making "/nowhere/key" in its directory: No such', self.godwit("keygen", "/nowhere/key", code=2).stderr)
            self.assertIn('making "" in', self.godwit("keygen", "", code=2).stderr)


class Migrate(Case):
    def test_takes_the_key_of_where_it_stands(self):
        self.migrate(in_turn(COMPLETED), "--tls", "psk:key", "--tls-hostname", "two", code=0)
        self.assertEqual(self.monitor.arguments("migrate"), [{
            "uri": "tcp:127.0.0.1:4444", "__org.godwit_tls": f"psk:{os.getcwd()}/key",
            "__org.godwit_tls-hostname": "two"}])


if __name__ == "__main__":
    main()
