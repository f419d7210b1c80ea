# SPDX-License-Identifier: Apache-2.0
"""A stopped guest's memory from one process to another over TCP on loopback, natively: by godwit's
engine, beside the bare limit (the same bytes through as many sockets) and QEMU.

tests/bench/transfer is godwit's and the bare limit's program. All take turns, so that whatever else
this machine does meets all of them.
"""
import os
import subprocess
import tempfile
from pathlib import Path

from movers import move_by_program, move_by_qemu, run_program
from table import Table, median

TOP = Path(__file__).resolve().parents[2]
RUNS, RUNS_QUICK = 5, 2
MIB, MIB_QUICK = 1536, 512
HOLES_MIB = 4096
CHANNELS = (1, 2, 4)
MULTIFD = (2, 4)


class Runs:
    """Everything that is measured, by key: what it does, and what came of it so far."""

    def __init__(self):
        self._jobs, self._moves = {}, {}

    def add(self, key, job):
        self._jobs[key] = job
        self._moves[key] = []

    def go_round(self, is_kept):
        for key, job in self._jobs.items():
            move = job()
            if is_kept:
                self._moves[key].append(move)

    def figure(self, key, name):
        """The median of one figure of its runs."""
        return median([getattr(move, name) for move in self._moves[key]])

    def best(self, keys):
        """The one with the highest rate."""
        return max(keys, key=lambda key: self.figure(key, "rate"))

    def as_data(self):
        return {" ".join(map(str, key)): {name: self.figure(key, name)
                                          for name in ("rate", "pass_rate", "cpu_s_per_gib")}
                for key in self._jobs}


class Rates:
    """What single steps take in one process, in turn with the rest."""

    def __init__(self, program, mib):
        self._program, self._mib, self._found = program, mib, []

    def measure(self):
        self._found.append(run_program(self._program, "rates", memory="zero", mib=self._mib))

    def get(self, name):
        """MB/s."""
        return median([found[name] for found in self._found]) / 1e6


def build():
    name = "aarch64" if os.uname().machine == "aarch64" else "x86_64-musl"
    subprocess.run([TOP / "tools/build", name, "--", "tests/bench/transfer"], check=True)
    return TOP / "build" / name / "tests/bench/transfer"


def write_content(program, folder, kind, mib):
    path = Path(folder) / kind
    with open(path, "wb") as file:
        subprocess.run([program, "write", f"memory={kind}", f"mib={mib}"], stdout=file, check=True)
    return path


def plan_random(runs, program, folder, mib):
    """Memory that no compression helps with, into memory touched before and into fresh memory."""
    content = write_content(program, folder, "random", mib)
    for target in ("touched", "fresh"):
        for count in CHANNELS:
            for name, way, summed in (("godwit", "godwit", 0), ("bare", "bare", 0),
                                      ("summed", "bare", 1)):
                runs.add((name, target, count), lambda way=way, summed=summed, target=target,
                         count=count: move_by_program(program, way, memory="random", target=target,
                                                      mib=mib, channels=count, summed=summed))
        for count in (0, *MULTIFD):
            runs.add(("QEMU", target, count), lambda target=target, count=count:
                     move_by_qemu(folder, mib, content, target_touched=target == "touched",
                                  multifd=count))


def plan_zeros(runs, program, folder, mib, holes_mib):
    for count in CHANNELS[:2]:
        runs.add(("godwit", "zero", count), lambda count=count: move_by_program(
            program, "godwit", memory="zero", mib=mib, channels=count))
    runs.add(("QEMU", "zero", 0), lambda: move_by_qemu(folder, mib, source_touched=True))
    runs.add(("godwit", "holes", 1), lambda: move_by_program(
        program, "godwit", memory="holes", mib=holes_mib, channels=1))
    runs.add(("QEMU", "holes", 0), lambda: move_by_qemu(folder, holes_mib))


def add_beside(table, runs, name, key, others, figure="rate", unit="MB/s", **target):
    """A row for each of the others: (whom, key, target)."""
    for whom, other, bound in others:
        table.add(f"{name}, beside {whom}", runs.figure(key, figure), runs.figure(other, figure),
                  unit, **{**target, **bound})


def keys(way, target, counts):
    return [(way, target, count) for count in counts]


def limit_by_sums(runs, target, count, floor, at_least):
    """The bare bytes through as many sockets, with a CRC32C of each on both sides and nothing else,
    beside the floor: where that is below the target, nothing that checks can do better."""
    limit = runs.figure(("summed", target, count), "rate") / runs.figure(floor, "rate")
    return {"limit": limit, "why": "bare with sums"} if limit < at_least else {}


def beside(runs, whom, target, count, floor, at_least):
    return (whom, floor, {"at_least": at_least,
                          **limit_by_sums(runs, target, count, floor, at_least)})


def add_random_rows(table, runs):
    add_beside(table, runs, "touched, 1 channel", ("godwit", "touched", 1), [
        beside(runs, "bare", "touched", 1, ("bare", "touched", 1), 0.92),
        beside(runs, "QEMU plain", "touched", 1, ("QEMU", "touched", 0), 1.05)])
    for target, bounds in (("fresh", (0.95, 1.0)), ("touched", (0.9, 1.05))):
        ours = runs.best(keys("godwit", target, CHANNELS))
        count = ours[2]
        multifd = runs.best(keys("QEMU", target, MULTIFD))
        others = [beside(runs, "bare", target, count, ("bare", target, count), bounds[0]),
                  beside(runs, f"QEMU multifd {multifd[2]}", target, count, multifd, bounds[1])]
        if target == "fresh":
            others.insert(1, beside(runs, "QEMU plain", target, count, ("QEMU", target, 0), 1.5))
        add_beside(table, runs, f"{target}, {count} channels, the best", ours, others)
    fresh = runs.best(keys("godwit", "fresh", CHANNELS))
    add_beside(table, runs, f"CPU a GiB, both sides, fresh, {fresh[2]} channels", fresh, [
        ("QEMU plain", ("QEMU", "fresh", 0), {"at_most": 0.8})], "cpu_s_per_gib", "s")
    table.note(f"CPU a GiB, bare, fresh, {fresh[2]} connections: "
               f"{runs.figure(('bare', 'fresh', fresh[2]), 'cpu_s_per_gib'):.2f} s; with sums "
               f"{runs.figure(('summed', 'fresh', fresh[2]), 'cpu_s_per_gib'):.2f} s")


def add_zero_rows(table, runs, rates):
    zero = runs.best(keys("godwit", "zero", CHANNELS[:2]))
    table.add(f"zeros that were written, {zero[2]} channels, beside reading them once",
              runs.figure(zero, "rate"), rates.get("read_rate"), "MB/s", at_least=0.8)
    add_beside(table, runs, f"zeros that were written, {zero[2]} channels", zero, [
        ("QEMU", ("QEMU", "zero", 0), {"at_least": 1.2})])
    add_beside(table, runs, "holes, first pass", ("godwit", "holes", 1), [
        ("QEMU", ("QEMU", "holes", 0), {"at_least": 10})], "pass_rate")


def add_rate_notes(table, rates):
    for name, text in (("crc_memory_rate", "CRC32C, out of memory"),
                       ("crc_cache_rate", "CRC32C, a batch in the cache"),
                       ("zero_rate", "looking whether pages are zero"),
                       ("read_rate", "reading memory once"),
                       ("populate_rate", "making fresh pages, 256 KiB at a time")):
        table.note(f"one CPU, alone: {text}: {rates.get(name):.0f} MB/s")


def run(options, say):
    count, mib = (RUNS_QUICK, MIB_QUICK) if options.quick else (RUNS, MIB)
    say("building the library and the bench as released")
    program = build()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        runs, rates = Runs(), Rates(program, mib)
        plan_random(runs, program, folder, mib)
        plan_zeros(runs, program, folder, mib, HOLES_MIB)
        say("a round that does not count: the first ones to touch memory pay for it")
        runs.go_round(is_kept=False)
        for number in range(1, count + 1):
            runs.go_round(is_kept=True)
            rates.measure()
            say(f"round {number} of {count}")
    table = Table(f"transfer: {mib} MiB of a stopped guest, medians of {count}", "beside")
    add_random_rows(table, runs)
    add_zero_rows(table, runs, rates)
    add_rate_notes(table, rates)
    table.runs = runs.as_data()
    return table
