# SPDX-License-Identifier: Apache-2.0
"""Rows of figures, each held to a target: what tools/bench prints, stores and checks."""
import statistics


def percentile(samples, percent):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Row:
    """A figure beside its floor or peer. Ratio: figure / floor.

    at_most, at_least: the target, for the ratio; one of them. limit: a ratio that nobody can do
    better than here and now, as this run measured, with why; --check then holds the row to it.
    """

    def __init__(self, name, figure, floor, unit, at_most=None, at_least=None, limit=None, why=""):
        assert (at_most is None) != (at_least is None), f"{name}: one target"
        assert limit is None or why, f"{name}: a limit has its reason"
        self.name, self.figure, self.floor, self.unit = name, figure, floor, unit
        self.is_most = at_most is not None
        self.target = at_most if self.is_most else at_least
        self.limit, self.why = limit, why

    @property
    def ratio(self):
        return self.figure / self.floor if self.floor else float("inf")

    def _keeps(self, bound):
        """As it is printed: to a hundredth."""
        ratio, bound = round(self.ratio, 2), round(bound, 2)
        return ratio <= bound if self.is_most else ratio >= bound

    @property
    def in_target(self):
        return self._keeps(self.target)

    @property
    def in_limit(self):
        return self.limit is not None and self._keeps(self.limit)

    @property
    def passes(self):
        return self.in_target or self.in_limit

    @property
    def excess(self):
        """How far from the target: 1 is on it, more is worse."""
        if self.is_most:
            return self.ratio / self.target
        return self.target / self.ratio if self.ratio else float("inf")

    def verdict(self):
        if self.in_target:
            return ""
        if self.in_limit:
            return f"at its limit of {self.limit:.2f}: {self.why}"
        if self.limit is not None:
            return f"MISSES, and its limit of {self.limit:.2f} too: {self.why}"
        return "MISSES"

    def bound(self):
        return f"{'<=' if self.is_most else '>='} {self.target:g}"

    def as_data(self):
        return {"name": self.name, "figure": self.figure, "floor": self.floor, "unit": self.unit,
                "ratio": self.ratio, "at_most" if self.is_most else "at_least": self.target,
                "limit": self.limit, "why": self.why, "in_target": self.in_target,
                "passes": self.passes}


class Table:
    """Title, the name of what the rows are held against, rows, and lines that explain."""

    def __init__(self, title, floor_name):
        self.title, self.floor_name = title, floor_name
        self.rows, self.notes = [], []
        self.runs = {}  # what was measured, by name, for whoever reads the JSON

    def add(self, *arguments, **options):
        self.rows.append(Row(*arguments, **options))

    def note(self, text):
        self.notes.append(text)

    @property
    def passes(self):
        return all(row.passes for row in self.rows)

    def lines(self):
        cells = [("", "godwit", self.floor_name, "ratio", "target", "")]
        for row in self.rows:
            cells.append((row.name, f"{show(row.figure)} {row.unit}", f"{show(row.floor)} {row.unit}",
                          f"{row.ratio:.2f}", row.bound(), row.verdict()))
        widths = [max(len(line[i]) for line in cells) for i in range(5)]
        yield self.title
        for name, *columns, verdict in cells:
            shown = "  ".join(text.rjust(width) for text, width in zip(columns, widths[1:]))
            yield f"  {name.ljust(widths[0])}  {shown}  {verdict}".rstrip()
        for note in self.notes:
            yield f"  {note}"

    def summary(self):
        worst = max(self.rows, key=lambda row: row.excess)
        count = sum(row.in_target for row in self.rows)
        return (f"{count} of {len(self.rows)} rows in target; worst: {worst.name} "
                f"{worst.ratio:.2f} (target {worst.bound()})")

    def as_data(self):
        return {"title": self.title, "against": self.floor_name,
                "rows": [row.as_data() for row in self.rows], "notes": self.notes, "runs": self.runs,
                "in_target": sum(row.in_target for row in self.rows), "passes": self.passes}


def show(value):
    """Three digits that mean something."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def median(values):
    return statistics.median(values)
