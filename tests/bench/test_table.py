# SPDX-License-Identifier: Apache-2.0
"""What tools/bench makes of figures: ratios, targets, limits, the last line, its exit status."""
import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parent))

import main  # noqa: E402
from table import Row, Table, percentile  # noqa: E402


def table_of(*rows):
    table = Table("a title", "floor")
    for row in rows:
        table.add(*row[0], **row[1])
    return table


def row(name, figure, floor, **options):
    return (name, figure, floor, "ms"), options


GOOD = row("good", 10, 10, at_most=1.3)
SLOW = row("slow", 14, 10, at_most=1.3)
FAST_ENOUGH = row("fast enough", 7, 10, at_least=0.7)
TOO_FEW = row("too few", 6, 10, at_least=0.7)
LIMITED = row("limited", 14, 10, at_most=1.3, limit=1.5, why="the wire's own time")
BEYOND = row("beyond", 16, 10, at_most=1.3, limit=1.5, why="the wire's own time")


class Rows(unittest.TestCase):
    def test_a_ratio_on_its_target_is_in_it(self):
        self.assertTrue(Row("a", 13, 10, "ms", at_most=1.3).in_target)
        self.assertFalse(Row("a", 13.1, 10, "ms", at_most=1.3).in_target)
        self.assertTrue(Row("a", 7, 10, "ms", at_least=0.7).in_target)
        self.assertFalse(Row("a", 6.9, 10, "ms", at_least=0.7).in_target)

    def test_a_ratio_counts_as_it_is_printed(self):
        self.assertTrue(Row("a", 13.04, 10, "ms", at_most=1.3).in_target)
        self.assertFalse(Row("a", 13.06, 10, "ms", at_most=1.3).in_target)
        self.assertTrue(Row("a", 6.96, 10, "ms", at_least=0.7).in_target)

    def test_a_floor_of_nothing_is_never_reached(self):
        self.assertFalse(Row("a", 1, 0, "ms", at_most=1.3).in_target)

    def test_a_row_has_one_target_and_a_limit_its_reason(self):
        for options in ({}, {"at_most": 1, "at_least": 1}, {"at_most": 1, "limit": 2}):
            with self.assertRaises(AssertionError):
                Row("a", 1, 1, "ms", **options)

    def test_percentiles(self):
        samples = list(range(100, 0, -1))
        self.assertEqual(percentile(samples, 50), 51)
        self.assertEqual(percentile(samples, 99), 100)
        self.assertEqual(percentile([5], 99), 5)


class Tables(unittest.TestCase):
    def test_the_last_line_counts_and_names_the_worst(self):
        table = table_of(GOOD, SLOW, TOO_FEW, LIMITED)
        self.assertEqual(table.summary(),
                         "1 of 4 rows in target; worst: too few 0.60 (target >= 0.7)")
        self.assertEqual(table_of(GOOD, FAST_ENOUGH).summary(),
                         "2 of 2 rows in target; worst: fast enough 0.70 (target >= 0.7)")

    def test_lines_show_target_limit_and_why(self):
        text = "\n".join(table_of(GOOD, SLOW, LIMITED, BEYOND).lines())
        self.assertIn("<= 1.3  MISSES\n", text)
        self.assertIn("at its limit of 1.50: the wire's own time", text)
        self.assertIn("MISSES, and its limit of 1.50 too", text)


class Check(unittest.TestCase):
    """What `tools/bench NAME --check` ends with."""

    def status(self, *rows, check=True, json_path=None, chart_path=None):
        options = SimpleNamespace(name="some", quick=False, json=json_path, chart=chart_path,
                                  check=check)
        self.shown = io.StringIO()
        with contextlib.redirect_stdout(self.shown):
            return main.report(options, table_of(*rows))

    def test_all_in_target(self):
        self.assertEqual(self.status(GOOD, FAST_ENOUGH), 0)

    def test_a_row_that_misses(self):
        self.assertEqual(self.status(GOOD, SLOW), 1)
        self.assertEqual(self.status(GOOD, TOO_FEW), 1)
        self.assertEqual(self.status(GOOD, SLOW, check=False), 0)

    def test_a_row_is_held_to_its_limit(self):
        self.assertEqual(self.status(GOOD, LIMITED), 0)
        self.assertEqual(self.status(GOOD, BEYOND), 1)

    def test_the_last_line_is_the_summary(self):
        self.status(GOOD, SLOW)
        self.assertTrue(self.shown.getvalue().splitlines()[-1].startswith("1 of 2 rows in target;"))

    def test_json_has_all_of_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "figures.json"
            self.status(GOOD, LIMITED, json_path=path)
            data = json.loads(path.read_text())
        self.assertEqual((data["bench"], data["in_target"], data["passes"]), ("some", 1, True))
        self.assertEqual([one["ratio"] for one in data["rows"]], [1.0, 1.4])
        self.assertEqual(data["rows"][1]["limit"], 1.5)

    def test_the_chart_has_every_row(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "figures.svg"
            self.status(GOOD, SLOW, chart_path=path)
            drawn = ElementTree.parse(path).getroot()
        words = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("good", words)
        self.assertIn("ratio 1.40, target <= 1.3", words)
        widths = [float(element.get("width")) for element in
                  drawn.iter("{http://www.w3.org/2000/svg}rect")][1:]
        self.assertEqual([widths[0], round(widths[2] / widths[3], 3)], [widths[1], 1.4])

    def test_every_bench_says_what_it_measures(self):
        self.assertIn("postcopy", main.names())
        for name in main.names():
            self.assertTrue(main.describe(name), name)


if __name__ == "__main__":
    unittest.main()
