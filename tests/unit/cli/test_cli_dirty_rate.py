# SPDX-License-Identifier: Apache-2.0
"""godwit dirty-rate as a program (see test_cli.py)."""
from test_cli import Case, Monitor, main


class DirtyRate(Case):
    def play(self, *answers):
        left = list(answers)
        self.monitor = Monitor(self.socket, lambda command, _arguments: (
            (left.pop(0) if len(left) > 1 else left[0]) if command == "query-dirty-rate" else {}))
        self.addCleanup(self.monitor.listener.close)

    def test_waits_until_it_is_measured(self):
        self.play({"status": "measuring"}, {"status": "measuring"}, {
            "status": "measured", "dirty-rate": 10, "__org.godwit_pages-per-second": 2560,
            "__org.godwit_page-size": 4096})
        done = self.control("dirty-rate", "router", "--seconds", "3")
        self.assertEqual(self.monitor.arguments("calc-dirty-rate"), [{"calc-time": 3}])
        self.assertEqual(done.stdout, "router: dirties 10.4M/s, 2560 pages of 4096 bytes a second\n")

    def test_a_migration_ends_it(self):
        self.play({"status": "measuring"}, {"status": "unstarted"})
        self.assertIn("a migration began", self.control("dirty-rate", "router", code=1).stderr)

    def test_too_long(self):
        self.play({})
        self.assertIn("wanted a number from 1 to 60",
                      self.control("dirty-rate", "router", "--seconds", "61", code=2).stderr)


if __name__ == "__main__":
    main()
