# SPDX-License-Identifier: Apache-2.0
"""A stopped guest's memory from one process to another over TCP on loopback, natively: by godwit's
engine, beside the bare limit (the same bytes through as many sockets) and QEMU.

tests/bench/transfer is godwit's and the bare limit's program. All take turns, so that whatever else
this machine does meets all of them.
"""
import mmap
import os
import random
import subprocess
import tempfile
from pathlib import Path

from link import Link, NoLink
from movers import move_by_program, move_by_qemu, run_program
from table import Table, median

TOP = Path(__file__).resolve().parents[2]
RUNS, RUNS_QUICK = 5, 2
MIB, MIB_QUICK = 1536, 512
HOLES_MIB = 4096
LINK_MIB, LINK_MIB_QUICK = 256, 64  # on a slow link a second is a lot
FAST_LINK, SLOW_LINK = 1000, 100  # Mb/s
CIPHERS = {"aes": "AES-128-GCM", "chacha": "ChaCha20-Poly1305"}
CHANNELS = (1, 2, 4)
MULTIFD = (2, 4)
MEMFD, HUGE = "memfd", "huge"  # as godwit's guests have it; anonymous in huge pages, as QEMU's
# Who moves it, in which kind of memory.
WAYS = [("godwit", MEMFD, {"way": "godwit"}), ("bare", MEMFD, {"way": "bare"}),
        ("summed", MEMFD, {"way": "bare", "summed": 1}),
        ("godwit", HUGE, {"way": "godwit"}), ("summed", HUGE, {"way": "bare", "summed": 1})]


class Runs:
    """Everything that is measured, by key: what it does, and what came of it so far."""

    def __init__(self):
        self._jobs, self._moves = {}, {}

    def add(self, key, job):
        self._jobs[key] = job
        self._moves[key] = []

    def go_round(self, number, say):
        """In an order of its own: who comes behind whom decides in what memory he finds himself.
        Round 0 does not count."""
        order = list(self._jobs)
        random.Random(number).shuffle(order)
        for done, key in enumerate(order, 1):
            move = self._jobs[key]()
            if number > 0:
                self._moves[key].append(move)
            if done % 10 == 0:
                say(f"round {number}: {done} of {len(order)} moves")

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

    def left_of_text(self):
        """What lz4 leaves of it in blocks of a batch: a part of 1."""
        return median([found["text_permille"] for found in self._found]) / 1000


def touch_memory():
    """Half of what is free, once: a virtual machine's host may find memory at its first touch only,
    which takes ten times as long as any other."""
    with open("/proc/meminfo", encoding="ascii") as file:
        found = dict(line.split(":") for line in file)
    size = int(found["MemAvailable"].split()[0]) // 2 * 1024 // mmap.PAGESIZE * mmap.PAGESIZE
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


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
            for name, kind, words in WAYS:
                runs.add((name, kind, target, count),
                         lambda words=words, kind=kind, target=target, count=count: move_by_program(
                             program, memory="random", target=target, mib=mib, channels=count,
                             backing=kind, **words))
        for count in (0, *MULTIFD):
            runs.add(("QEMU", HUGE, target, count), lambda target=target, count=count:
                     move_by_qemu(folder, mib, content, target_touched=target == "touched",
                                  multifd=count))


def plan_zeros(runs, program, folder, mib, holes_mib):
    for kind in (MEMFD, HUGE):
        for count in CHANNELS[:2]:
            runs.add(("godwit", kind, "zero", count), lambda kind=kind, count=count:
                     move_by_program(program, way="godwit", memory="zero", mib=mib,
                                     channels=count, backing=kind))
    runs.add(("QEMU", HUGE, "zero", 0), lambda: move_by_qemu(folder, mib, source_touched=True))
    runs.add(("godwit", MEMFD, "holes", 1), lambda: move_by_program(
        program, way="godwit", memory="holes", mib=holes_mib, channels=1, backing=MEMFD))
    runs.add(("QEMU", HUGE, "holes", 0), lambda: move_by_qemu(folder, holes_mib))


def plan_tls(runs, program, mib):
    for cipher in CIPHERS:
        runs.add(("godwit", MEMFD, cipher, 1), lambda cipher=cipher: move_by_program(
            program, way="godwit", memory="random", target="touched", mib=mib, channels=1,
            backing=MEMFD, tls=cipher))


def plan_packing(runs, program, folder, mib, zeros_mib):
    """Text, its opposite and zeros: where nothing limits, into memory that is there, since what a host
    takes to find some would decide; and on links that do limit. Returns why there are none, or None."""
    def move(memory, compress, backing=MEMFD, **where):
        return move_by_program(program, way="godwit", memory=memory,
                               mib=zeros_mib if memory == "zero" else mib, channels=1,
                               backing=backing, compress=compress, **where)

    def move_on_link(mbit, mover):
        with Link(mbit) as link:
            return mover(host=link.host, netns=link.netns)

    for memory in ("random", "text", "zero"):
        for compress in ("none", "auto"):
            runs.add(("godwit", HUGE, f"loopback {memory}", compress),
                     lambda memory=memory, compress=compress: move(memory, compress, HUGE,
                                                                   target="touched"))
    try:
        with Link(SLOW_LINK):
            pass
    except NoLink as error:
        return str(error)
    content = write_content(program, folder, "text", mib)
    for mbit in (FAST_LINK, SLOW_LINK):
        for memory in ("text", "random", "zero"):
            for compress in ("none", "auto"):
                runs.add(("godwit", MEMFD, f"{mbit} Mb/s {memory}", compress),
                         lambda mbit=mbit, memory=memory, compress=compress: move_on_link(
                             mbit, lambda **where: move(memory, compress, **where)))
    runs.add(("QEMU", HUGE, f"{SLOW_LINK} Mb/s text", "zstd"), lambda: move_on_link(
        SLOW_LINK, lambda **where: move_by_qemu(folder, mib, content, multifd=2,
                                                compression="zstd", **where)))
    return None


def keys(way, kind, target, counts):
    return [(way, kind, target, count) for count in counts]


def held_to(limit, target, why):
    """What a row says of a limit that this run has measured, if that is below its target."""
    return {"limit": limit, "why": why} if limit < target else {}


def add_row(table, runs, name, ours, floor, at_least, figure="rate"):
    """Where the bare bytes with a CRC32C of each on both sides, through as many sockets into the
    same kind of memory, are below the target beside the same floor, the row is held to them."""
    _, kind, target, count = ours
    proof = {}
    if target in ("touched", "fresh"):
        limit = runs.figure(("summed", kind, target, count), figure) / runs.figure(floor, figure)
        proof = held_to(limit, at_least, "bare with sums")
    table.add(name, runs.figure(ours, figure), runs.figure(floor, figure), "MB/s",
              at_least=at_least, **proof)


def add_random_rows(table, runs):
    """Beside bare sockets in a memfd, as godwit's guests have; beside QEMU in QEMU's kind."""
    add_row(table, runs, "touched, 1 channel, beside bare", ("godwit", MEMFD, "touched", 1),
            ("bare", MEMFD, "touched", 1), 0.92)
    add_row(table, runs, "touched, 1 channel, huge, beside QEMU plain",
            ("godwit", HUGE, "touched", 1), ("QEMU", HUGE, "touched", 0), 1.05)
    for target, at_least, at_least_multifd in (("fresh", 0.95, 1.0), ("touched", 0.9, 1.05)):
        ours = runs.best(keys("godwit", MEMFD, target, CHANNELS))
        add_row(table, runs, f"{target}, {ours[3]} channels, beside bare", ours,
                ("bare", *ours[1:]), at_least)
        ours = runs.best(keys("godwit", HUGE, target, CHANNELS))
        name = f"{target}, {ours[3]} channels, huge, beside QEMU"
        if target == "fresh":
            add_row(table, runs, f"{name} plain", ours, ("QEMU", HUGE, target, 0), 1.5)
        multifd = runs.best(keys("QEMU", HUGE, target, MULTIFD))
        add_row(table, runs, f"{name} multifd {multifd[3]}", ours, multifd, at_least_multifd)


def add_cpu_rows(table, runs):
    def spent(key):
        return runs.figure(key, "cpu_s_per_gib")
    for kind in (MEMFD, HUGE):
        ours = runs.best(keys("godwit", kind, "fresh", CHANNELS))
        table.add(f"CPU a GiB, both sides, fresh, {ours[3]} channels, {kind}, beside QEMU plain",
                  spent(ours), spent(("QEMU", HUGE, "fresh", 0)), "s", at_most=0.8)
        text = "" if kind == HUGE else f"bare {spent(('bare', *ours[1:])):.2f} s, "
        table.note(f"CPU a GiB, fresh, {ours[3]} connections, {kind}: {text}with sums "
                   f"{spent(('summed', *ours[1:])):.2f} s")


def add_zero_rows(table, runs, rates):
    ours = runs.best(keys("godwit", MEMFD, "zero", CHANNELS[:2]))
    read = rates.get("read_rate")
    tracked = 1 / (1 / read + 1 / rates.get("protect_rate"))
    proof = held_to(tracked / read, 0.8, "reading them once and protecting them from writing once")
    table.add(f"zeros that were written, {ours[3]} channels, beside reading them once",
              runs.figure(ours, "rate"), read, "MB/s", at_least=0.8, **proof)
    ours = runs.best(keys("godwit", HUGE, "zero", CHANNELS[:2]))
    add_row(table, runs, f"zeros that were written, {ours[3]} channels, huge, beside QEMU", ours,
            ("QEMU", HUGE, "zero", 0), 1.2)
    add_row(table, runs, "holes, first pass, beside QEMU", ("godwit", MEMFD, "holes", 1),
            ("QEMU", HUGE, "holes", 0), 10, "pass_rate")


def add_tls_rows(table, runs, rates):
    """Beside the socket and the cipher one after the other, as one CPU on each side has them."""
    bare = runs.figure(("bare", MEMFD, "touched", 1), "rate")
    for cipher, name in CIPHERS.items():
        series = 1 / (1 / bare + 1 / rates.get(f"{cipher}_rate"))
        table.add(f"TLS, {name}, 1 channel, touched, beside cipher and bare in series",
                  runs.figure(("godwit", MEMFD, cipher, 1), "rate"), series, "MB/s", at_least=0.9)


def add_packing_rows(table, runs, rates, mib, zeros_mib, no_link):
    def rate(target, compress, way="godwit", kind=MEMFD):
        return runs.figure((way, kind, target, compress), "rate")
    def add_beside_none(memory, where, target, kind):
        auto, none = [rate(f"{target} {memory}", compress, kind=kind) for compress in ("auto", "none")]
        size = zeros_mib if memory == "zero" else mib
        table.add(f"{memory} of {size} MiB, {where}, auto beside none", auto, none, "MB/s",
                  at_least=0.95)
    for memory in ("random", "text", "zero"):
        add_beside_none(memory, "no limit", "loopback", HUGE)
    if no_link:
        table.note(f"no rows of slow links: {no_link}")
        return
    for memory in ("random", "zero"):
        for link in (f"{FAST_LINK} Mb/s", f"{SLOW_LINK} Mb/s"):
            add_beside_none(memory, link, link, MEMFD)
    fast, slow = f"{FAST_LINK} Mb/s text", f"{SLOW_LINK} Mb/s text"
    table.add(f"text of {mib} MiB, {FAST_LINK} Mb/s, auto beside none", rate(fast, "auto"),
              rate(fast, "none"), "MB/s", at_least=2.0)
    peer = rate(slow, "zstd", "QEMU", HUGE)
    limit = SLOW_LINK / 8 / rates.left_of_text() / peer
    proof = held_to(limit, 0.6, f"lz4 leaves {rates.left_of_text():.0%} of this text, all of which has "
                                "to go over the link")
    table.add(f"text of {mib} MiB, {SLOW_LINK} Mb/s, auto beside QEMU multifd 2 zstd",
              rate(slow, "auto"), peer, "MB/s", at_least=0.6, **proof)


def add_rate_notes(table, rates):
    for name, text in (("crc_memory_rate", "CRC32C, out of memory"),
                       ("crc_cache_rate", "CRC32C, a batch in the cache"),
                       ("zero_rate", "looking whether pages are zero"),
                       ("read_rate", "reading memory once"),
                       ("protect_rate", "protecting its pages from writing, 4 MiB at a time"),
                       ("aes_rate", "AES-128-GCM, records of 16 KiB"),
                       ("chacha_rate", "ChaCha20-Poly1305, the same"),
                       ("populate_rate", "making fresh pages, 256 KiB at a time")):
        table.note(f"one CPU, alone: {text}: {rates.get(name):.0f} MB/s")


def go_rounds(runs, rates, count, say):
    """Returns how many were whole: Ctrl-C ends it with what there is."""
    for number in range(1, count + 1):
        try:
            runs.go_round(number, say)
            rates.measure()
        except KeyboardInterrupt:
            if number == 1:
                raise
            say(f"interrupted: {number - 1} of {count} rounds, and a part of one")
            return number - 1
        say(f"round {number} of {count}")
    return count


def run(options, say):
    count, mib = (RUNS_QUICK, MIB_QUICK) if options.quick else (RUNS, MIB)
    say("building the library and the bench as released")
    program = build()
    say("touching half of the free memory once")
    touch_memory()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        runs, rates = Runs(), Rates(program, mib)
        plan_random(runs, program, folder, mib)
        plan_zeros(runs, program, folder, mib, HOLES_MIB)
        plan_tls(runs, program, mib)
        link_mib = LINK_MIB_QUICK if options.quick else LINK_MIB
        no_link = plan_packing(runs, program, folder, link_mib, mib)
        say("round 0, which does not count: the first ones to touch memory pay for it")
        runs.go_round(0, say)
        count = go_rounds(runs, rates, count, say)
    table = Table(f"transfer: {mib} MiB of a stopped guest, medians of {count}", "beside")
    add_random_rows(table, runs)
    add_cpu_rows(table, runs)
    add_zero_rows(table, runs, rates)
    add_tls_rows(table, runs, rates)
    add_packing_rows(table, runs, rates, link_mib, mib, no_link)
    add_rate_notes(table, rates)
    table.runs = runs.as_data()
    return table
