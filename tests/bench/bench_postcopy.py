# SPDX-License-Identifier: Apache-2.0
"""Postcopy on this machine: from a missing page's touch to its byte, idle and while the bulk channel
is saturated, beside the least that can do it; and the bulk's rate beside precopy's.

tests/bench/postcopy is the program: each run of it moves the embedder's guest once between two fresh
processes, over TCP on loopback.
"""
import os
import subprocess
from pathlib import Path

from table import Table, median, percentile

TOP = Path(__file__).resolve().parents[2]
RUNS, RUNS_QUICK = 15, 4
LOADS = ("idle", "busy")
CHANNELS = (1, 2, 4)
# In turn, so that whatever else this machine does meets all of them: who, what, bulk channels.
TURN = [(way, load, 1) for load in LOADS for way in ("floor", "godwit")] + [
    (way, case, count) for count in CHANNELS
    for way, case in (("godwit", "precopy"), ("godwit", "bulk"), ("floor", "bulk"))]


class Runs:
    """All runs of one program and case."""

    def __init__(self):
        self.rates, self.samples = [], []

    def take(self, output):
        for line in output.splitlines():
            word, *numbers = line.split()
            if word == "bulk":
                self.rates.append(int(numbers[0]) / float(numbers[1]) / 1e6)
            elif word == "samples":
                self.samples.append([int(number) / 1000 for number in numbers])

    def percentile_us(self, percent):
        """The median of the runs' own: one run that something disturbed does not decide."""
        return median([percentile(samples, percent) for samples in self.samples])

    def rate(self):
        return median(self.rates)

    def count(self):
        return sum(len(samples) for samples in self.samples)


def build():
    name = "aarch64" if os.uname().machine == "aarch64" else "x86_64-musl"
    subprocess.run([TOP / "tools/build", name, "--", "tests/bench/postcopy"], check=True)
    return TOP / "build" / name / "tests/bench/postcopy"


def measure(program, count, say):
    found = {key: Runs() for key in TURN}
    for number in range(1, count + 1):
        for key in TURN:
            way, case, channels = key
            words = [way, case, str(number), str(channels)]
            done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"again: {program} {' '.join(words)}: {done.stderr.strip()}")
            found[key].take(done.stdout)
        say(f"run {number} of {count}")
    return found


def add_bulk_row(table, found):
    """Each by the count of channels that is best for it."""
    def best(way, case):
        return max((found[way, case, count].rate(), count) for count in CHANNELS)
    (precopy, precopy_count), (ours, count) = best("godwit", "precopy"), best("godwit", "bulk")
    table.add(f"bulk postcopy, {count} channels, beside precopy, {precopy_count}", ours, precopy, "MB/s",
              at_least=0.7)
    for name, way, case in (("bulk postcopy", "godwit", "bulk"), ("the floor's", "floor", "bulk"),
                            ("precopy", "godwit", "precopy")):
        rates = [f"{found[way, case, count].rate():.0f}" for count in CHANNELS]
        table.note(f"{name} by {', '.join(map(str, CHANNELS))} channels: {', '.join(rates)} MB/s")


def run(options, say):
    say("building the library and the bench as released")
    program = build()
    found = measure(program, RUNS_QUICK if options.quick else RUNS, say)
    table = Table("postcopy: a page somebody waits for, and the bulk behind it", "floor")
    for case in LOADS:
        ours, floor = found["godwit", case, 1], found["floor", case, 1]
        for percent, most in ((50, 1.3), (99, 2)):
            table.add(f"fault to resumed, {case}, p{percent}", ours.percentile_us(percent),
                      floor.percentile_us(percent), "us", at_most=most)
        table.note(f"{case}: {ours.count()} faults in {len(ours.samples)} runs; "
                   f"floor {floor.count()}")
    table.note(f"busy: godwit's bulk channel carried {found['godwit', 'busy', 1].rate():.0f} MB/s "
               f"meanwhile, the floor's {found['floor', 'busy', 1].rate():.0f} MB/s")
    add_bulk_row(table, found)
    return table
